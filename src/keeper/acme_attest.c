/* device-attest-01: whose key has signed the key authorization, and is that device what was ordered for? The device is the registry's to know, as at
 * any other door: keeper/evidence.c. */
#include "keeper/acme.h"

#include "base/text.h"
#include "pki/attest.h"

static enum bm_rc read_object(struct bm_acme *a, struct bm_buf *raw, struct bm_attest *ret, struct bm_error *e)
{
    const json_t *v = json_object_get(a->jws.body, "attObj");

    if (!json_is_string(v) || bm_unbase64url(bm_rd_of(json_string_value(v), json_string_length(v)), raw, NULL) != BM_OK)
        return bm_refuse(e, BM_MALFORMED, "acme-attestation", "attestation: \"attObj\" is missing, too long, or no base64url");
    return bm_attest_parse(bm_buf_rd(raw), ret, e);
}

static void fill_evidence(const struct bm_attest *x, const struct bm_attested *got, struct bm_evidence *ret)
{
    *ret = (struct bm_evidence){ .proven = true, .kind = got->by_maker ? BM_EVIDENCE_ATTESTED : BM_EVIDENCE_NONE };
    if (x->n_x5c == 0) {
        ret->spki = got->signer;
        return;
    }
    ret->cert = x->x5c[0];
    for (size_t i = 1; i < x->n_x5c; i++)
        ret->chain[ret->n_chain++] = x->x5c[i];
}

/* What keeps its place in the order until it is finalized, when it is judged once more. */
static enum bm_rc remember(struct bm_acme_work *w, const struct bm_device *d, const struct bm_evidence *v,
                           const struct bm_attested *got, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_ATTEST_MAX * 2 };
    char udid[2 * BM_UDID_LEN + 1], key[65] = "";
    json_t *certs = json_array(), *who;
    uint8_t digest[32];

    bm_hex(d->udid, BM_UDID_LEN, udid);
    bm_udid_of(bm_buf_rd(&got->attested), digest);
    if (got->attested.n != 0)
        bm_hex(digest, sizeof digest, key);
    for (size_t i = 0; v->cert.n != 0 && i <= v->n_chain; i++) {
        text.n = 0;
        bm_base64url(&text, i == 0 ? v->cert : v->chain[i - 1]);
        json_array_append_new(certs, json_stringn((const char *)text.p, text.n));
    }
    text.n = 0;
    bm_base64url(&text, v->spki);
    who = json_pack("{s:s, s:s, s:o, s:b, s:s%}", "udid", udid, "key", key, "certs", certs, "attested", got->by_maker, "spki",
                    text.n != 0 ? (char *)text.p : "", text.n);
    return who != NULL && json_object_set_new(w->doc, "who", who) == 0 ? bm_buf_check(&text, e)
                                                                       : bm_fail(e, BM_NOMEM, "no memory for an order");
}

/* With several identifiers, all of them must be of one device. */
static enum bm_rc check_same(const struct bm_acme_work *w, const struct bm_device *d, struct bm_error *e)
{
    const char *before = json_string_value(json_object_get(json_object_get(w->doc, "who"), "udid"));
    char udid[2 * BM_UDID_LEN + 1];

    bm_hex(d->udid, BM_UDID_LEN, udid);
    if (before != NULL && strcmp(before, udid) != 0)
        return bm_refuse(e, BM_DENIED, "acme-attestation", "attestation: another device than that of the order's other identifier");
    return BM_OK;
}

/* Serial number or UDID, as the maker's certificate has it. */
static bool maker_says(const struct bm_acme_identifier *id, struct bm_rd cert)
{
    struct bm_cert leaf;
    struct bm_apple says;

    return strcmp(id->type, "permanent-identifier") == 0 && bm_cert_parse(cert, &leaf, NULL) == BM_OK &&
           bm_apple_read(&leaf, &says, NULL) == BM_OK &&
           (bm_rd_eq(says.serial, bm_rd_str(id->value)) || bm_rd_eq(says.udid, bm_rd_str(id->value)));
}

static enum bm_rc check_identifier(const struct bm_acme_work *w, int64_t i, const struct bm_proven *who,
                                   const struct bm_evidence *v, struct bm_error *e)
{
    struct bm_acme_identifier id = bm_acme_identifier_of(w, i);

    if (bm_acme_identifier_is(&id, &who->device, v->cert, who->birth_certificate) ||
        (v->kind == BM_EVIDENCE_ATTESTED && maker_says(&id, v->cert)))
        return BM_OK;
    return bm_refuse(e, BM_DENIED, "acme-attestation", "attestation: the device that signed is not the %s that was ordered for",
                     id.type);
}

static enum bm_rc judge(struct bm_acme *a, struct bm_acme_work *w, int64_t i, const struct bm_attest *x,
                        const struct bm_attested *got, struct bm_error *e)
{
    BM_CLEANUP(bm_proven_done) struct bm_proven who = { 0 };
    struct bm_enrol c = { .protocol = "acme" };
    struct bm_acme_eab eab;
    enum bm_rc rc;

    fill_evidence(x, got, &c.evidence);
    a->has_udid = !got->by_maker && bm_evidence_udid(a->k, &c, a->udid);
    rc = bm_evidence_judge(a->k, BM_CMD_ENROL, &c, a->now, &who, e);
    if (rc == BM_OK && got->by_maker) { /* whose it is, no key tells */
        memcpy(a->udid, who.device.udid, sizeof a->udid);
        a->has_udid = true;
    }
    if (rc == BM_OK)
        rc = check_identifier(w, i, &who, &c.evidence, e);
    if (rc == BM_OK)
        rc = check_same(w, &who.device, e);
    if (rc == BM_OK)
        rc = bm_acme_eab_of(a, &eab, e);
    if (rc == BM_OK)
        rc = bm_acme_eab_covers(a->k, &eab, &who.device, e);
    return rc == BM_OK ? remember(w, &who.device, &c.evidence, got, e) : rc;
}

enum bm_rc bm_acme_attest(struct bm_acme *a, struct bm_acme_work *w, int64_t i, const char *token, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = BM_ATTEST_MAX }, authorization = { .max = 128 };
    BM_CLEANUP(bm_attest_done) struct bm_attest x = { 0 };
    BM_CLEANUP(bm_attested_done) struct bm_attested got = { 0 };
    enum bm_rc rc = read_object(a, &raw, &x, e);

    bm_acme_key_authorization(token, a->thumbprint, &authorization);
    if (rc == BM_OK)
        rc = bm_attest_verify(&x, bm_buf_rd(&authorization), &got, e);
    return rc == BM_OK ? judge(a, w, i, &x, &got, e) : rc;
}
