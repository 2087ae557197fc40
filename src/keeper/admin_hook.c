/* The hook of a batch: where it is, and the secret that signs what it is asked. */
#include "keeper/scep_hook.h"
#include "keeper/symmetric.h"

#include "base/text.h"

#include <openssl/rand.h>
#include <stdio.h>

enum { HOOK_MAX = 32 * 1024 };

static enum bm_rc check_url(const char *url, struct bm_error *e)
{
    size_t n = strlen(url);

    if (strncmp(url, "https://", 8) != 0 || n < 10 || n > 511 || strpbrk(url, " \t\r\n#@\\\"") != NULL)
        return bm_fail(e, BM_USAGE, "'url': https://HOST[:PORT]/PATH, or \"\" for none");
    for (const char *p = url; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7f)
            return bm_fail(e, BM_USAGE, "'url' is not text");
    return BM_OK;
}

static enum bm_rc take_trust(const char *pem, struct bm_buf *ret, struct bm_error *e)
{
    enum bm_rc rc = pem != NULL ? bm_pem_parse(bm_rd_str(pem), "CERTIFICATE", bm_admin_add_pem, ret, e) : BM_OK;

    if (rc == BM_OK && pem != NULL && ret->n == 0)
        rc = bm_fail(e, BM_USAGE, "no certificate in it");
    if (rc == BM_OK)
        rc = bm_buf_check(ret, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_USAGE, "'trust'");
}

/* 32 random bytes; shown this once, in base64, and sealed as devices' keys are (docs/symmetric.md). */
static enum bm_rc make_secret(struct bm_keeper *k, const struct bm_batch *b, int64_t now, json_t *out, int64_t *ret_id,
                              struct bm_error *e)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { .alg = "scep-hook" };
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 64 };
    uint8_t secret[BM_HOOK_SECRET_LEN], nonce[8];
    char hex[17];
    enum bm_rc rc;

    if (RAND_priv_bytes(secret, sizeof secret) != 1 || RAND_bytes(nonce, sizeof nonce) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    bm_hex(nonce, sizeof nonce, hex);
    snprintf(m.name, sizeof m.name, "scep-hook/%lld/%s", (long long)b->id, hex); /* no root key can be called so */
    rc = bm_mac_seal_named(k, &m, bm_rd_of(secret, sizeof secret), now, e);
    if (rc == BM_OK)
        rc = bm_mac_key_put(k->store, &m, e);
    bm_base64(&text, bm_rd_of(secret, sizeof secret), 0);
    bm_wipe(secret, sizeof secret);
    if (rc == BM_OK && json_object_set_new(out, "secret", json_stringn((const char *)text.p, text.n)) != 0)
        rc = bm_fail(e, BM_NOMEM, "no memory");
    *ret_id = m.id;
    return rc;
}

static enum bm_rc write_hook(struct bm_keeper *k, const struct bm_batch *b, const char *url, const struct bm_buf *trust,
                             int64_t secret_id, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = HOOK_MAX };
    char key[BM_NAME_LEN];

    snprintf(key, sizeof key, "scep-hook-%lld", (long long)b->id);
    if (url[0] == '\0')
        return bm_meta_set(k->store, key, bm_rd_of("", 0), e);
    bm_buf_vec(&text, bm_rd_str(url));
    bm_buf_vec(&text, bm_buf_rd(trust));
    bm_buf_uint(&text, 8, (uint64_t)secret_id);
    return bm_buf_check(&text, e) == BM_OK ? bm_meta_set(k->store, key, bm_buf_rd(&text), e) : BM_LIMIT;
}

/* One at a time: the secret of the one before is good for nothing any more. */
static enum bm_rc forget_secret(struct bm_keeper *k, const struct bm_batch *b, struct bm_error *e)
{
    BM_CLEANUP(bm_hook_done) struct bm_hook was = { 0 };
    enum bm_rc rc = bm_hook_get(k, b->id, &was, e);

    return rc == BM_OK ? bm_mac_key_drop(k->store, was.secret_id, e) : rc == BM_NOTFOUND ? BM_OK : rc;
}

BM_ADMIN_HANDLER(bm_admin_batch_hook)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf trust = { .max = HOOK_MAX / 2 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    const char *name, *url = bm_arg_text(in, "url");
    struct bm_batch b;
    int64_t now, secret_id = 0;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_batch_get(k->store, name, &b, e);
    if (rc == BM_OK && url[0] != '\0')
        rc = check_url(url, e);
    if (rc == BM_OK)
        rc = take_trust(bm_arg_text(in, "trust"), &trust, e);
    if (rc == BM_OK)
        rc = forget_secret(k, &b, e);
    if (rc == BM_OK && url[0] != '\0')
        rc = make_secret(k, &b, now, out, &secret_id, e);
    if (rc == BM_OK)
        rc = write_hook(k, &b, url, &trust, secret_id, e);
    if (rc != BM_OK)
        return rc;
    fields = json_pack("{s:s, s:s}", "name", name, "url", url);
    json_object_update_missing(out, fields);
    return bm_record(k, now, url[0] != '\0' ? "hook.set" : "hook.removed", fields, e);
}
