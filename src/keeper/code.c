/* One-time codes as evidence: docs/codes.md. A device's code stands for that device. A batch's code lets a key that nobody has listed into
 * that batch, where the product's policy allows it; the key itself must still be proven. */
#include "keeper/internal.h"

#include "store/cmp.h"

#include <openssl/rand.h>

/* SHA-256 alone is enough: a slow hash buys time against guessing what people choose, and nobody guesses 128 random bits. The name in front
 * keeps a claim from being taken for a code. */
void bm_code_digest(const char *purpose, const uint8_t raw[BM_CODE_LEN], uint8_t ret[32])
{
    uint8_t text[64];
    struct bm_wr w = bm_wr_of(text, sizeof text);

    bm_wr_put(&w, purpose, strlen(purpose) + 1);
    bm_wr_put(&w, raw, BM_CODE_LEN);
    bm_udid_of(bm_wr_rd(&w), ret); /* SHA-256 all the same */
    bm_wipe(text, sizeof text);
}

enum bm_rc bm_code_make(const char *purpose, char ret_text[BM_CODE_TEXT_LEN], uint8_t ret_digest[32], struct bm_error *e)
{
    uint8_t raw[BM_CODE_LEN];

    if (RAND_priv_bytes(raw, sizeof raw) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    bm_code_write(raw, ret_text);
    bm_code_digest(purpose, raw, ret_digest);
    bm_wipe(raw, sizeof raw);
    return BM_OK;
}

enum bm_rc bm_code_read_digest(const char *purpose, struct bm_rd text, uint8_t ret[32], struct bm_error *e)
{
    uint8_t raw[BM_CODE_LEN];
    enum bm_rc rc = bm_code_read(text, raw, e);

    if (rc != BM_OK)
        return rc;
    bm_code_digest(purpose, raw, ret);
    bm_wipe(raw, sizeof raw);
    return BM_OK;
}

/* --- the code itself -------------------------------------------------------------------------------------------------------------- */
static enum bm_rc wrong_code(struct bm_error *e)
{
    return bm_refuse(e, BM_DENIED, "code-wrong", "this code is not good for the device or batch it was given with");
}

/* Is this the code of what it was given with? On BM_OK a device's code has its device in *ret. */
static enum bm_rc match(struct bm_keeper *k, const struct bm_enrol *c, struct bm_proven *ret, struct bm_error *e)
{
    struct bm_batch b;
    enum bm_rc rc;

    if (ret->code.batch_id != 0) {
        rc = bm_batch_by_id(k->store, ret->code.batch_id, &b, e);
        return rc != BM_OK || bm_rd_eq(c->claimed_batch, bm_rd_str(b.name)) ? rc : wrong_code(e);
    }
    rc = bm_device_by_id(k->store, ret->code.device_id, &ret->device, e);
    if (rc != BM_OK || bm_rd_eq(c->claimed_udid, bm_rd_of(ret->device.udid, BM_UDID_LEN)))
        return rc;
    bm_device_done(&ret->device);
    return wrong_code(e);
}

static enum bm_rc find(struct bm_keeper *k, const struct bm_enrol *c, struct bm_proven *ret, struct bm_error *e)
{
    uint8_t digest[32];
    enum bm_rc rc = bm_code_read_digest(BM_CODE_PURPOSE, c->evidence.code, digest, e);

    if (rc == BM_OK)
        rc = bm_code_row_find(k->store, digest, &ret->code, e);
    if (rc == BM_OK)
        rc = match(k, c, ret, e);
    return rc == BM_NOTFOUND ? wrong_code(e) : rc;
}

static enum bm_rc still_good(const struct bm_code_row *r, int64_t now, struct bm_error *e)
{
    if (r->revoked_at != 0)
        return bm_refuse(e, BM_DENIED, "code-revoked", "this code has been revoked");
    if (r->expires_at <= now)
        return bm_refuse(e, BM_DENIED, "code-expired", "this code's time is over; ask for another");
    if (r->used >= r->uses)
        return bm_refuse(e, BM_DENIED, "code-used-up", "this code has been used as often as it may be");
    return BM_OK;
}

/* --- a batch's code: whose key is it? --------------------------------------------------------------------------------------------- */
/* Nothing but the certificate requests shows a key. Each is signed by its own key, so all of them must be over one, or a request copied
 * from another device would carry that device's name over to a stranger's key. */
static enum bm_rc key_of_requests(const struct bm_enrol *c, struct bm_rd *ret, struct bm_error *e)
{
    struct bm_csr csr;
    enum bm_rc rc;

    *ret = bm_rd_of(NULL, 0);
    if (c->keygen) /* RFC 7030 section 4.4.1: the request's key and signature count for nothing */
        return bm_refuse(e, BM_DENIED, "key-unproven",
                         "who has its keys made here must show a key of its own to join a batch: TLS with a certificate");
    for (size_t i = 0; i < c->n_requests; i++) {
        rc = c->requests[i].spki.n != 0 ? BM_OK : bm_csr_parse(c->requests[i].csr, &csr, e);
        if (rc != BM_OK)
            return bm_wrap(e, rc, "certificate request");
        if (c->requests[i].spki.n != 0)
            csr.spki = c->requests[i].spki;
        if (i != 0 && !bm_rd_eq(csr.spki, *ret))
            return bm_refuse(e, BM_DENIED, "key-unproven",
                             "requests over several keys do not show which is the device's own: sign a challenge, or come "
                             "with a TLS client certificate");
        *ret = csr.spki;
    }
    if (ret->n == 0)
        return bm_refuse(e, BM_MALFORMED, "no-requests", "at least one certificate request is needed");
    return BM_OK;
}

/* What will be registered if all goes well; not yet in the registry, so id 0. Nothing vouches for hardware, so it counts as software. */
static enum bm_rc newcomer(int64_t batch_id, struct bm_rd spki, int64_t now, struct bm_device *ret, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_spki parsed;
    enum bm_rc rc = bm_spki_parse(spki, &parsed, e);

    if (rc == BM_OK)
        rc = bm_spki_open(&parsed, &key, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "the device's key");
    *ret = (struct bm_device){ .batch_id = batch_id, .created_at = now, .rot = "software", .spki.max = BM_SPKI_MAX };
    snprintf(ret->state, sizeof ret->state, "%s", bm_state_name(BM_ALLOCATED));
    bm_udid_of(spki, ret->udid);
    bm_buf_put(&ret->spki, spki.p, spki.n);
    return bm_buf_check(&ret->spki, e);
}

/* By a key that is shown and proven (signed challenge, finished TLS handshake), as without a code; a key nobody knows is new here. */
static enum bm_rc by_shown_key(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_proven *ret,
                               struct bm_error *e)
{
    struct bm_rd spki;
    enum bm_rc rc = bm_evidence_shown(k, BM_CMD_ENROL, c, now, ret, &spki, e);

    return rc == BM_NOTFOUND ? newcomer(ret->code.batch_id, spki, now, &ret->device, e) : rc;
}

static enum bm_rc by_request_key(struct bm_keeper *k, int64_t batch_id, const struct bm_enrol *c, int64_t now,
                                 struct bm_proven *ret, struct bm_error *e)
{
    uint8_t udid[BM_UDID_LEN];
    struct bm_rd spki;
    enum bm_rc rc = key_of_requests(c, &spki, e);

    if (rc != BM_OK)
        return rc;
    bm_udid_of(spki, udid);
    rc = bm_device_get(k->store, udid, &ret->device, e);
    return rc == BM_NOTFOUND ? newcomer(batch_id, spki, now, &ret->device, e) : rc;
}

static enum bm_rc check_open(struct bm_keeper *k, int64_t batch_id, struct bm_error *e)
{
    struct bm_line *l;
    enum bm_rc rc = bm_line_get(k, batch_id, &l, e);

    if (rc == BM_OK && !l->policy.self_registration)
        return bm_refuse(e, BM_DENIED, "self-registration-off",
                         "product '%s' takes only devices that a manifest lists; its policy can allow self-registration",
                         l->product.name);
    return rc;
}

static enum bm_rc join_batch(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_proven *ret, struct bm_error *e)
{
    const struct bm_evidence *v = &c->evidence;
    enum bm_rc rc = check_open(k, ret->code.batch_id, e);

    if (rc != BM_OK)
        return rc;
    return v->cert.n != 0 || v->spki.n != 0 ? by_shown_key(k, c, now, ret, e)
                                            : by_request_key(k, ret->code.batch_id, c, now, ret, e);
}

enum bm_rc bm_code_join(struct bm_keeper *k, int64_t batch_id, const struct bm_enrol *c, int64_t now, struct bm_proven *ret,
                        struct bm_error *e)
{
    enum bm_rc rc = check_open(k, batch_id, e);

    return rc == BM_OK ? by_request_key(k, batch_id, c, now, ret, e) : rc;
}

/* --- all together ------------------------------------------------------------------------------------------------------------------ */
enum bm_rc bm_code_judge(struct bm_keeper *k, uint8_t op, const struct bm_enrol *c, int64_t now, struct bm_proven *ret,
                         struct bm_error *e)
{
    struct bm_rd target = c->claimed_batch.n != 0 ? c->claimed_batch : c->claimed_udid;
    enum bm_rc rc;

    if (op != BM_CMD_ENROL || c->reenrol)
        return bm_refuse(e, BM_DENIED, "code-not-here", "a code is good for enrolling only");
    if (target.n == 0)
        return bm_refuse(e, BM_MALFORMED, "code-target", "name the batch or the UDID that the code is for");
    rc = bm_code_attempts_check(k, c->peer, target, now, e);
    if (rc != BM_OK)
        return rc;
    rc = find(k, c, ret, e);
    if (rc == BM_DENIED)
        bm_code_attempts_wrong(k, c->peer, target, now);
    if (rc == BM_OK)
        rc = still_good(&ret->code, now, e);
    return rc == BM_OK && ret->code.batch_id != 0 ? join_batch(k, c, now, ret, e) : rc;
}

bool bm_code_udid(const struct bm_enrol *c, uint8_t ret[BM_UDID_LEN])
{
    struct bm_rd spki;

    bool by_request = c->evidence.kind == BM_EVIDENCE_CODE || c->evidence.kind == BM_EVIDENCE_HOOK;

    if (!by_request || key_of_requests(c, &spki, NULL) != BM_OK)
        return false;
    bm_udid_of(spki, ret);
    return true;
}

/* The use, and the newcomer's row: with the credentials, in one transaction. A refusal leaves nothing written. */
enum bm_rc bm_code_spend(struct bm_keeper *k, const struct bm_enrol *c, struct bm_proven *who, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char udid[2 * BM_UDID_LEN + 1];
    bool joins = who->device.id == 0;
    enum bm_rc rc;

    if (who->code.id == 0)
        return BM_OK;
    rc = bm_code_row_use(k->store, who->code.id, now, e);
    if (rc != BM_OK)
        return rc;
    if (who->code.used + 1 >= who->code.uses) /* over CMP, the answer may still have to be confirmed with it */
        rc = bm_cmp_code_until(k->store, who->code.id, now + 2 * BM_CMP_CLOCK_S, e);
    if (rc == BM_OK && joins)
        rc = bm_device_put(k->store, &who->device, e);
    bm_hex(who->device.udid, BM_UDID_LEN, udid);
    fields = json_pack("{s:s, s:s, s:I, s:b, s:s, s:s}", "actor", "device", "udid", udid, "code", (json_int_t)who->code.id,
                       "registered", joins, "protocol", c->protocol, "correlation", c->correlation);
    if (rc == BM_OK)
        rc = bm_record(k, now, "code.used", fields, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "using a code");
}
