/* What is said to a hook, and what it says: docs/scep.md. */
#include "keeper/scep_hook.h"

#include "base/text.h"
#include "pki/describe.h"
#include "pki/mac.h"

#include <stdlib.h>

static json_t *text_of(struct bm_rd r)
{
    return json_stringn(r.n != 0 ? (const char *)r.p : "", r.n); /* NULL for what is no UTF-8 */
}

static json_t *facts_of(const struct bm_hook_facts *f, struct bm_rd csr, struct bm_rd subject)
{
    uint8_t sha256[32];
    char key[65];

    bm_udid_of(f->spki, sha256);
    bm_hex(sha256, sizeof sha256, key);
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:o}", "type", "scep-challenge", "id", f->id, "time",
                     (json_int_t)f->time, "batch", f->batch, "product", f->product, "peer", f->peer, "transaction_id",
                     text_of(f->transaction_id), "challenge", text_of(f->challenge), "subject", text_of(subject), "key_sha256", key,
                     "csr", text_of(csr));
}

enum bm_rc bm_hook_body(const struct bm_hook_facts *f, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf csr = { .max = 2 * BM_CSR_MAX }, subject = { .max = BM_CSR_MAX };
    BM_CLEANUP(bm_keeper_jsonp) json_t *all = NULL;
    char *text;

    bm_base64(&csr, f->csr, 0);
    bm_name_text(f->subject, &subject);
    if (csr.bad || subject.bad)
        return bm_fail(e, BM_LIMIT, "a certificate request of %zu bytes", f->csr.n);
    all = facts_of(f, bm_buf_rd(&csr), bm_buf_rd(&subject));
    text = all != NULL ? json_dumps(all, JSON_COMPACT) : NULL;
    if (text == NULL)
        return bm_refuse(e, BM_DENIED, "scep-request", "the challengePassword is no text");
    bm_buf_str(ret, text);
    bm_wipe(text, strlen(text));
    free(text);
    return bm_buf_check(ret, e);
}

enum bm_rc bm_hook_sign(struct bm_rd secret, struct bm_rd body, char ret[BM_HOOK_SIGNATURE_LEN], struct bm_error *e)
{
    const struct bm_mac_alg *hmac = bm_mac_find(bm_rd_str("hmac-sha256"));
    uint8_t mac[BM_MAC_MAX];
    enum bm_rc rc = bm_mac_make(hmac, secret, body, mac, e);

    if (rc != BM_OK)
        return rc;
    memcpy(ret, "sha256=", 7);
    bm_hex(mac, 32, ret + 7);
    return BM_OK;
}

enum bm_rc bm_hook_answer(struct bm_rd body, bool *ret_allow, char ret_reason[BM_HOOK_REASON_LEN], struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *all = json_loadb((const char *)body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
    const json_t *allow = json_object_get(all, "allow"), *reason = json_object_get(all, "reason");

    if (!json_is_boolean(allow) || (reason != NULL && !json_is_string(reason) && !json_is_null(reason)))
        return bm_fail(e, BM_MALFORMED, "the hook's answer is no {\"allow\": true or false, \"reason\": text}");
    *ret_allow = json_is_true(allow);
    bm_text_escape(bm_rd_of(json_string_value(reason), json_string_length(reason)), ret_reason, BM_HOOK_REASON_LEN);
    return BM_OK;
}
