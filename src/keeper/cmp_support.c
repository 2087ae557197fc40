/* genm: what anybody may ask for, RFC 9483 section 4.3. All of it is public; the answer is signed. */
#include "keeper/cmp.h"
#include "keeper/revocation.h"

static enum bm_rc no_value(struct bm_rd value, struct bm_error *e)
{
    return value.n == 0 ? BM_OK : bm_refuse(e, BM_DENIED, "cmp-request", "this question comes without a value");
}

/* The CAs between the root and the devices of whoever is asked (section 4.3.1); the root itself has to come another way. */
static enum bm_rc ca_certs(struct bm_cmp_job *j, struct bm_rd value, struct bm_derw *w, struct bm_error *e)
{
    struct bm_authority *a;
    struct bm_issuer *by;
    enum bm_rc rc = no_value(value, e);

    if (rc == BM_OK)
        rc = bm_cmp_authority(j, &a, &by, e);
    if (rc == BM_OK)
        bm_cmp_put_info_certs(w, by->chain, by->n_chain - 1);
    return rc;
}

static enum bm_rc fits(const struct bm_authority *a, const struct bm_crl_list *l, struct bm_error *e)
{
    if (l->full.der.n > BM_CMP_CRL_MAX)
        return bm_refuse(e, BM_DENIED, "cmp-crl-large", "the CRL of '%s' has %zu bytes, too many for CMP: get it over HTTP",
                         a->name, l->full.der.n);
    return BM_OK;
}

/* The list of the whole CA, whether it is in parts or not. */
static enum bm_rc fresh(struct bm_cmp_job *j, const char *ca, struct bm_crl_list **ret, struct bm_error *e)
{
    struct bm_authority *a;
    enum bm_rc rc = bm_crl_fresh(j->k, bm_rd_str(ca), j->now, &a, ret, e);

    return rc == BM_OK ? fits(a, *ret, e) : rc;
}

/* RFC 9810 section 5.3.19.6 */
static enum bm_rc current_crl(struct bm_cmp_job *j, struct bm_rd value, struct bm_derw *w, struct bm_error *e)
{
    struct bm_authority *a;
    struct bm_crl_list *l;
    struct bm_issuer *by;
    enum bm_rc rc = no_value(value, e);

    if (rc == BM_OK)
        rc = bm_cmp_authority(j, &a, &by, e);
    if (rc == BM_OK)
        rc = fresh(j, a->name, &l, e);
    if (rc == BM_OK)
        bm_cmp_put_info(w, BM_CMP_INFO_CURRENT_CRL, bm_buf_rd(&l->full.der));
    return rc;
}

/* Section 4.3.4: the CRL of that issuer, unless the one that is there is it. */
static enum bm_rc crl_update(struct bm_cmp_job *j, struct bm_rd value, struct bm_derw *w, struct bm_error *e)
{
    struct bm_cmp_crl_status s;
    struct bm_revocation *r;
    struct bm_authority *a = NULL;
    struct bm_crl_list *l;
    uint8_t digest[32];
    enum bm_rc rc = bm_cmp_crl_status_parse(value, &s, e);

    if (rc == BM_OK)
        rc = bm_authorities(j->k, &r, e);
    if (rc != BM_OK)
        return rc;
    if (s.issuer.n != 0) {
        bm_udid_of(s.issuer, digest); /* SHA-256 all the same */
        a = bm_authority_of(r, digest);
    }
    if (a == NULL)
        return bm_refuse(e, BM_DENIED, "cmp-request", "no CA here has that name; CRLs go by their issuer");
    rc = fresh(j, a->name, &l, e);
    if (rc == BM_OK)
        bm_cmp_put_info_crls(w, s.has_time && s.this_update >= l->row.this_update ? bm_rd_of(NULL, 0) : bm_buf_rd(&l->full.der));
    return rc;
}

static const struct {
    enum bm_cmp_info what;
    enum bm_rc (*answer)(struct bm_cmp_job *j, struct bm_rd value, struct bm_derw *w, struct bm_error *e);
} questions[] = {
    { BM_CMP_INFO_CA_CERTS, ca_certs },
    { BM_CMP_INFO_CURRENT_CRL, current_crl },
    { BM_CMP_INFO_CRL_STATUS, crl_update },
};

enum bm_rc bm_cmp_genm(struct bm_cmp_job *j, struct bm_derw *w, struct bm_error *e)
{
    struct bm_cmp_question q;
    enum bm_rc rc = bm_cmp_question_parse(j->m.content, &q, e);

    if (rc == BM_OK && q.n != 1)
        rc = bm_refuse(e, BM_DENIED, "cmp-request", "one message asks one question");
    if (rc != BM_OK)
        return rc;
    for (size_t i = 0; i < BM_COUNT(questions); i++)
        if (questions[i].what == q.what)
            return questions[i].answer(j, q.value, w, e);
    return bm_refuse(e, BM_DENIED, "cmp-request", "this is not a question that is answered here");
}
