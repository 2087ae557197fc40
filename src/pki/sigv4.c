#include "pki/sigv4.h"

#include "base/text.h"
#include "pki/impl.h"

#include <openssl/hmac.h>

enum { HASH_LEN = 32, HASH_TEXT = 2 * HASH_LEN + 1, CANONICAL_MAX = 16 * 1024, SECRET_MAX = 256 };

const char *bm_sigv4_date(int64_t at, char ret[BM_SIGV4_DATE_LEN])
{
    char text[21];
    size_t n = 0;

    bm_time_text(at, text);
    for (const char *p = text; *p != '\0' && n + 1 < BM_SIGV4_DATE_LEN; p++)
        if (*p != '-' && *p != ':')
            ret[n++] = *p;
    ret[n] = '\0';
    return ret;
}

static bool hash_text(struct bm_rd in, char ret[HASH_TEXT])
{
    uint8_t digest[BM_DIGEST_MAX];

    if (bm_digest_of(BM_SHA256, in, digest) != HASH_LEN)
        return false;
    bm_hex(digest, HASH_LEN, ret);
    return true;
}

static void put_names(const struct bm_sigv4 *s, struct bm_buf *out)
{
    for (size_t i = 0; i < s->n; i++)
        bm_buf_printf(out, "%s%s", i == 0 ? "" : ";", s->fields[i].name);
}

/* method, path, query, fields, their names, the body's hash */
static bool put_request(const struct bm_sigv4 *s, struct bm_buf *out)
{
    char body[HASH_TEXT];

    bm_buf_str(out, "POST\n/\n\n");
    for (size_t i = 0; i < s->n; i++) {
        bm_buf_printf(out, "%s:", s->fields[i].name);
        bm_buf_put(out, s->fields[i].value.p, s->fields[i].value.n);
        bm_buf_str(out, "\n");
    }
    bm_buf_str(out, "\n");
    put_names(s, out);
    bm_buf_str(out, "\n");
    if (!hash_text(s->body, body))
        return false;
    bm_buf_str(out, body);
    return !out->bad;
}

static void put_scope(const struct bm_sigv4 *s, const char *date, struct bm_buf *out)
{
    bm_buf_put(out, date, 8);
    bm_buf_str(out, "/");
    bm_buf_put(out, s->region.p, s->region.n);
    bm_buf_str(out, "/");
    bm_buf_put(out, s->service.p, s->service.n);
    bm_buf_str(out, "/aws4_request");
}

static bool put_to_sign(const struct bm_sigv4 *s, const char *date, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf request = { .max = CANONICAL_MAX };
    char hash[HASH_TEXT];

    if (!put_request(s, &request) || !hash_text(bm_buf_rd(&request), hash))
        return false;
    bm_buf_printf(out, "AWS4-HMAC-SHA256\n%s\n", date);
    put_scope(s, date, out);
    bm_buf_printf(out, "\n%s", hash);
    return !out->bad;
}

static bool mac(uint8_t key[HASH_LEN], struct bm_rd text)
{
    uint8_t out[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    bool ok = HMAC(bm_digest_md(BM_SHA256), key, HASH_LEN, text.p, text.n, out, &n) != NULL && n == HASH_LEN;

    memcpy(key, out, HASH_LEN);
    bm_wipe(out, sizeof out);
    return ok;
}

/* A key for this day, region and service only, and then the signature in its place. */
static bool sign(const struct bm_sigv4 *s, const char *date, struct bm_rd to_sign, uint8_t ret[HASH_LEN])
{
    BM_CLEANUP(bm_buf_done) struct bm_buf first = { .max = SECRET_MAX };
    uint8_t out[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    bool ok;

    bm_buf_str(&first, "AWS4");
    bm_buf_put(&first, s->secret.p, s->secret.n);
    ok = !first.bad && HMAC(bm_digest_md(BM_SHA256), first.p, (int)first.n, (const uint8_t *)date, 8, out, &n) != NULL &&
         n == HASH_LEN;
    memcpy(ret, out, HASH_LEN);
    bm_wipe(out, sizeof out);
    return ok && mac(ret, s->region) && mac(ret, s->service) && mac(ret, bm_rd_str("aws4_request")) && mac(ret, to_sign);
}

static bool in_order(const struct bm_sigv4 *s)
{
    for (size_t i = 1; i < s->n; i++)
        if (strcmp(s->fields[i - 1].name, s->fields[i].name) >= 0)
            return false;
    return s->n != 0 && s->n <= BM_SIGV4_FIELDS_MAX;
}

enum bm_rc bm_sigv4_sign(const struct bm_sigv4 *s, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf to_sign = { .max = CANONICAL_MAX };
    uint8_t signature[HASH_LEN];
    char date[BM_SIGV4_DATE_LEN], text[HASH_TEXT];

    if (!in_order(s))
        return bm_fail(e, BM_USAGE, "header fields to be signed are not in the order of their names");
    bm_sigv4_date(s->at, date);
    if (!put_to_sign(s, date, &to_sign) || !sign(s, date, bm_buf_rd(&to_sign), signature))
        return bm_fail(e, BM_NOMEM, "the request cannot be signed");
    bm_hex(signature, sizeof signature, text);
    bm_buf_str(ret, "AWS4-HMAC-SHA256 Credential=");
    bm_buf_put(ret, s->access.p, s->access.n);
    bm_buf_str(ret, "/");
    put_scope(s, date, ret);
    bm_buf_str(ret, ", SignedHeaders=");
    put_names(s, ret);
    bm_buf_printf(ret, ", Signature=%s", text);
    return bm_buf_check(ret, e);
}
