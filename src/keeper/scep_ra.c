/* The RA of each issuing CA: its key is made when SCEP is first asked for, its certificate anew when a third of its life is left, or it was
 * revoked. The key stays the same, so that what a device sealed to an older certificate still opens. */
#include "keeper/scep.h"

#include <stdlib.h>

#define RA_KEY_ALG "RSA:2048"
enum { META_LEN = 32 };

static void ra_free(struct bm_ra *ra)
{
    if (ra == NULL)
        return;
    bm_key_free(ra->key);
    bm_buf_done(&ra->der);
    free(ra);
}

static void ra_freep(struct bm_ra **ra)
{
    ra_free(*ra);
}

void bm_ra_drop(struct bm_keeper *k)
{
    for (size_t i = 0; i < BM_COUNT(k->ras); i++)
        ra_free(BM_MOVE(k->ras[i]));
    bm_scep_next_drop(k);
}

static const char *meta_of(const char *what, int64_t ca_id, char ret[META_LEN])
{
    snprintf(ret, META_LEN, "scep-%s-%lld", what, (long long)ca_id);
    return ret;
}

/* --- the key -------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc key_uri(struct bm_keeper *k, int64_t ca_id, char ret[BM_TEXT_MAX], struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf uri = { .max = BM_TEXT_MAX - 1 };
    char meta[META_LEN];
    enum bm_rc rc = bm_meta_get(k->store, meta_of("key", ca_id, meta), &uri, e);

    if (rc == BM_OK)
        snprintf(ret, BM_TEXT_MAX, "%.*s", (int)uri.n, (const char *)uri.p);
    return rc;
}

/* The file comes before the row that names it, and may outlive it. Its name is the CA's number and the host's, so that nobody else uses it, and it is
 * taken up again when it is there. */
static enum bm_rc make_key(struct bm_keeper *k, int64_t ca_id, struct bm_key **ret, struct bm_error *e)
{
    char uri[BM_TEXT_MAX], meta[META_LEN];
    enum bm_rc rc;

    snprintf(uri, sizeof uri, "file:scep-ra-%lld-%lld", (long long)ca_id, (long long)k->host.id);
    rc = bm_key_open(&k->ring, uri, ret, e);
    if (rc == BM_NOTFOUND) {
        rc = bm_key_generate(&k->ring, uri, RA_KEY_ALG, e);
        rc = rc == BM_OK ? bm_key_open(&k->ring, uri, ret, e) : rc;
    }
    if (rc == BM_OK)
        rc = bm_keeper_journal_key(k, uri, e);
    if (rc == BM_OK)
        rc = bm_meta_set(k->store, meta_of("key", ca_id, meta), bm_rd_str(uri), e);
    return rc == BM_OK && k->host.n > 1 ? bm_host_publish_key(k, uri, e) : rc;
}

static enum bm_rc open_key(struct bm_keeper *k, int64_t ca_id, struct bm_key **ret, struct bm_error *e)
{
    char uri[BM_TEXT_MAX];
    enum bm_rc rc = key_uri(k, ca_id, uri, e);

    if (rc == BM_NOTFOUND)
        return make_key(k, ca_id, ret, e);
    if (rc == BM_OK)
        rc = bm_key_open(&k->ring, uri, ret, e);
    if (rc == BM_NOTFOUND && k->host.n > 1) { /* made on another host */
        rc = bm_host_fetch_key(k, uri, e);
        rc = rc == BM_OK ? bm_key_open(&k->ring, uri, ret, e) : rc;
    }
    return rc;
}

enum bm_rc bm_ra_publish(struct bm_keeper *k, int64_t ca_id, struct bm_error *e)
{
    char uri[BM_TEXT_MAX];
    enum bm_rc rc = key_uri(k, ca_id, uri, e);

    return rc == BM_OK ? bm_host_publish_key(k, uri, e) : rc == BM_NOTFOUND ? BM_OK : rc;
}

/* --- the certificate -------------------------------------------------------------------------------------------------------------------- */
static bool still_good(struct bm_keeper *k, const struct bm_ra *ra, int64_t now)
{
    const struct bm_cert *c = &ra->cert;
    struct bm_revoked row;

    return bm_rd_eq(c->spki, bm_key_spki(ra->key)) && now >= c->not_before &&
           c->not_after - now > (c->not_after - c->not_before) / 3 && c->serial.n == BM_SERIAL_LEN &&
           bm_credential_peek(k->store, c->serial.p, &row, NULL) == BM_OK && strcmp(row.state, "active") == 0;
}

static enum bm_rc load(struct bm_keeper *k, struct bm_ra *ra, struct bm_error *e)
{
    char meta[META_LEN];
    enum bm_rc rc;

    ra->der.max = BM_CERT_MAX;
    rc = bm_meta_get(k->store, meta_of("cert", ra->ca_id, meta), &ra->der, e);
    return rc == BM_OK ? bm_cert_parse(bm_buf_rd(&ra->der), &ra->cert, e) : rc;
}

static enum bm_rc write_down(struct bm_keeper *k, struct bm_credential *c, const char *ca, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_pack("{s:s}", "ca", ca);
    char meta[META_LEN];
    enum bm_rc rc = bm_credential_put(k->store, c, e);

    if (rc == BM_OK)
        rc = bm_meta_set(k->store, meta_of("cert", c->ca_id, meta), bm_buf_rd(&c->cert), e);
    if (rc == BM_OK && bm_json_pem(fields, "certificate", bm_buf_rd(&c->cert)) != 0)
        rc = bm_fail(e, BM_NOMEM, "no memory");
    return rc == BM_OK ? bm_record(k, now, "scep.certificate", fields, e) : rc;
}

static enum bm_rc certify(struct bm_keeper *k, struct bm_issuer *by, struct bm_ra *ra, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done)
    struct bm_credential c = { .ca_id = ra->ca_id, .state = "active", .protocol = "internal", .issued_at = now };
    char org[BM_ORG_LEN];
    enum bm_rc rc;

    bm_own_org(by, org);
    rc = bm_own_cert(k, by, "scep-ra", bm_key_spki(ra->key), &(struct bm_subject_words){ .org = org, .service = by->row.name }, now,
                     &c, e);
    if (rc == BM_OK)
        rc = write_down(k, &c, by->row.name, now, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_done(&ra->der);
    ra->der = c.cert;
    c.cert = (struct bm_buf){ 0 };
    return bm_cert_parse(bm_buf_rd(&ra->der), &ra->cert, e);
}

/* --- both ------------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc make(struct bm_keeper *k, struct bm_issuer *by, int64_t now, struct bm_ra *ra, struct bm_error *e)
{
    enum bm_rc rc = open_key(k, ra->ca_id, &ra->key, e);

    if (rc == BM_OK)
        rc = load(k, ra, e);
    if (rc == BM_NOTFOUND || (rc == BM_OK && !still_good(k, ra, now)))
        rc = certify(k, by, ra, now, e);
    return rc;
}

static bool fresh(const struct bm_ra *ra, int64_t now)
{
    return now >= ra->cert.not_before && ra->cert.not_after - now > (ra->cert.not_after - ra->cert.not_before) / 3;
}

enum bm_rc bm_ra_get(struct bm_keeper *k, int64_t ca_id, int64_t now, struct bm_ra **ret, struct bm_error *e)
{
    struct bm_ra **slot = &k->ras[(size_t)ca_id % BM_COUNT(k->ras)];
    BM_CLEANUP(ra_freep) struct bm_ra *ra = NULL;
    struct bm_issuer *by;
    enum bm_rc rc = bm_issuer_get(k, ca_id, &by, e);

    if (rc != BM_OK)
        return rc;
    if (*slot != NULL && (*slot)->ca_id == ca_id && fresh(*slot, now)) {
        *ret = *slot;
        return BM_OK;
    }
    ra = calloc(1, sizeof *ra);
    if (ra == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for an RA");
    ra->ca_id = ca_id;
    rc = make(k, by, now, ra, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "SCEP RA of CA '%s'", by->row.name);
    ra_free(*slot);
    *slot = *ret = BM_MOVE(ra);
    return BM_OK;
}

/* --- whose envelope is it? -------------------------------------------------------------------------------------------------------------- */
/* An older certificate of an RA of ours, which has the same key. */
static enum bm_rc by_serial(struct bm_keeper *k, const struct bm_scep_who *who, int64_t now, struct bm_ra **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential row = { 0 };
    struct bm_cert cert;
    enum bm_rc rc = who->serial.n == BM_SERIAL_LEN ? bm_credential_get(k->store, who->serial.p, &row, e) : BM_NOTFOUND;

    if (rc != BM_OK)
        return rc;
    if (row.device_id != 0 || strcmp(row.state, "active") != 0 || bm_cert_parse(bm_buf_rd(&row.cert), &cert, NULL) != BM_OK ||
        !bm_scep_is(who, &cert))
        return BM_NOTFOUND;
    rc = bm_ra_get(k, row.ca_id, now, ret, e);
    return rc == BM_OK && !bm_rd_eq((*ret)->cert.spki, cert.spki) ? BM_NOTFOUND : rc;
}

enum bm_rc bm_ra_of_envelope(struct bm_keeper *k, int64_t likely_ca, const struct bm_scep_envelope *v, int64_t now,
                             struct bm_ra **ret, const struct bm_scep_recipient **ret_to, struct bm_error *e)
{
    for (size_t i = 0; i < v->n; i++) {
        enum bm_rc rc = bm_ra_get(k, likely_ca, now, ret, e);

        *ret_to = &v->to[i];
        if (rc == BM_OK && !bm_scep_is(&v->to[i].who, &(*ret)->cert))
            rc = by_serial(k, &v->to[i].who, now, ret, e);
        if (rc != BM_NOTFOUND)
            return rc;
    }
    return bm_refuse(e, BM_DENIED, "scep-recipient",
                     "the message is not encrypted to an RA certificate of this server; ask for it with GetCACert");
}
