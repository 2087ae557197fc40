/* genm: what anybody may ask for, RFC 9483 section 4.3. All of it is public, but for what a device's request should look like; the
 * answer is signed. */
#include "keeper/cmp.h"
#include "keeper/revocation.h"

enum { TEMPLATE_MAX = 1024 };

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

/* --- certReqTemplate, section 4.3.3 ------------------------------------------------------------------------------------------------------ */
static enum bm_rc batch_of(struct bm_cmp_job *j, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_proven_done) struct bm_proven who = { 0 };
    enum bm_rc rc;

    *ret = j->batch.id;
    if (*ret != 0) /* who has a batch's code */
        return BM_OK;
    if (j->by_mac)
        rc = bm_device_get(j->k->store, j->udid, &who.device, e);
    else
        rc = bm_evidence_judge(j->k, BM_CMD_STATUS, &j->c, j->now, &who, e);
    *ret = who.device.batch_id;
    if (rc == BM_OK && *ret == 0)
        rc = bm_refuse(e, BM_DENIED, "not-allocated", "the device belongs to no batch yet, so nothing is known of its requests");
    return rc;
}

static const struct bm_profile *profile_of(const struct bm_line *l, struct bm_rd service)
{
    for (size_t i = 0; i < l->n_services; i++)
        if (bm_rd_eq(service, bm_rd_str(l->services[i].row.name)) || service.n == 0)
            return l->services[i].profile != NULL ? l->services[i].profile : l->profile;
    return service.n == 0 ? l->profile : NULL;
}

static enum bm_rc request_template(struct bm_cmp_job *j, struct bm_rd value, struct bm_derw *w, struct bm_error *e)
{
    const struct bm_profile *p = NULL;
    uint8_t room[TEMPLATE_MAX];
    struct bm_derw der = bm_derw_of(room, sizeof room);
    struct bm_line *l;
    int64_t batch;
    enum bm_rc rc = no_value(value, e);

    if (rc == BM_OK)
        rc = batch_of(j, &batch, e);
    if (rc == BM_OK)
        rc = bm_line_get(j->k, batch, &l, e);
    if (rc == BM_OK)
        p = profile_of(l, j->in.label);
    if (rc == BM_OK && p == NULL)
        rc = bm_refuse(e, BM_DENIED, "service-refused", "product '%s' has no service of this name", l->product.name);
    if (rc != BM_OK)
        return rc;
    bm_profile_cmp_template(p, &der);
    w->bad = w->bad || der.bad;
    bm_cmp_put_info(w, BM_CMP_INFO_CERT_REQ_TEMPLATE, bm_derw_rd(&der));
    return BM_OK;
}

/* --- rootCaCert, section 4.3.2 ------------------------------------------------------------------------------------------------------------- */
struct update {
    int64_t root, next;
    struct bm_buf new_with_old, old_with_new;
};

static void update_done(struct update *u)
{
    bm_buf_done(&u->new_with_old);
    bm_buf_done(&u->old_with_new);
}

static enum bm_rc take(struct bm_buf *to, const struct bm_buf *from, struct bm_error *e)
{
    to->n = 0;
    to->max = BM_CERT_MAX;
    bm_buf_put(to, from->p, from->n);
    return bm_buf_check(to, e);
}

/* Links come in the order they were made: the key that this root has been followed by is the one of a CA that came after it. */
static enum bm_rc see_link(void *arg, const struct bm_ca_link *l, struct bm_error *e)
{
    struct update *u = arg;

    if (l->by_id == u->root && l->ca_id > u->root) {
        u->next = l->ca_id;
        return take(&u->new_with_old, &l->cert, e);
    }
    return l->ca_id == u->root && l->by_id > u->root ? take(&u->old_with_new, &l->cert, e) : BM_OK;
}

/* The root that is this certificate. */
static enum bm_rc find_root(struct bm_cmp_job *j, struct bm_rd cert, int64_t *ret, struct bm_error *e)
{
    struct bm_revocation *r;
    enum bm_rc rc = bm_authorities(j->k, &r, e);

    if (rc != BM_OK)
        return rc;
    for (size_t i = 0; i < r->n; i++) {
        BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };

        if (r->at[i].parent_id != 0 || r->at[i].revoked)
            continue;
        rc = bm_ca_by_id(j->k->store, r->at[i].ca_id, &ca, e);
        if (rc != BM_OK)
            return rc;
        *ret = ca.id;
        if (bm_rd_eq(bm_buf_rd(&ca.cert), cert))
            return BM_OK;
    }
    return bm_refuse(e, BM_DENIED, "cmp-request", "this certificate is no root that is good here; ask with the one you have");
}

static enum bm_rc root_update(struct bm_cmp_job *j, struct bm_rd value, struct bm_derw *w, struct bm_error *e)
{
    BM_CLEANUP(update_done) struct update u = { 0 };
    BM_CLEANUP(bm_ca_done) struct bm_ca next = { 0 };
    enum bm_rc rc = value.n != 0 ? find_root(j, value, &u.root, e)
                                 : bm_refuse(e, BM_DENIED, "cmp-request", "rootCaCert comes with the root that is known");

    if (rc == BM_OK)
        rc = bm_ca_link_each(j->k->store, see_link, &u, e);
    if (rc == BM_OK && u.next != 0)
        rc = bm_ca_by_id(j->k->store, u.next, &next, e);
    if (rc == BM_OK)
        bm_cmp_put_info_root(w, bm_buf_rd(&next.cert), bm_buf_rd(&u.new_with_old), bm_buf_rd(&u.old_with_new));
    return rc;
}

static const struct {
    enum bm_cmp_info what;
    enum bm_rc (*answer)(struct bm_cmp_job *j, struct bm_rd value, struct bm_derw *w, struct bm_error *e);
} questions[] = {
    { BM_CMP_INFO_CA_CERTS, ca_certs },
    { BM_CMP_INFO_CURRENT_CRL, current_crl },
    { BM_CMP_INFO_CRL_STATUS, crl_update },
    { BM_CMP_INFO_ROOT_CA_CERT, root_update },
    { BM_CMP_INFO_CERT_REQ_TEMPLATE, request_template },
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
