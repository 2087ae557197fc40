/* A CA whose key is in Azure Key Vault: we write the certificate, the vault signs its digest. First an access token (OAuth 2.0 client credentials,
 * RFC 6749 section 4.4), then the signature. The token is a secret that the next step needs: between the two it is kept sealed under what --login
 * holds, so that nobody reads it who could not have asked for it. */
#include "keeper/cloud.h"

#include "base/text.h"
#include "pki/gcm.h"
#include "pki/mac.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKEN_MAX = BM_TASK_TEXT_MAX - 16, URL_MAX = 600, REFUSED_MAX = 3, REFUSED_NAP_S = 2 };
#define API "?api-version=7.4"
#define SCOPE "https://vault.azure.net/.default"

static const char *const options[] = { "key", "token", "scope", NULL };

static bool url_ok(const char *url)
{
    return strncmp(url, "https://", 8) == 0 && url[8] != '\0' && strpbrk(url, " \t\r\n#@\\\"") == NULL;
}

static enum bm_rc azure_check(const struct bm_upstream *u, const struct bm_upstream_secret *s, struct bm_error *e)
{
    char key[160], token[URL_MAX];

    if (!bm_cloud_option(u, "key", key, sizeof key) || strpbrk(key, "?#@\\\" ") != NULL || strchr(key, '/') == NULL)
        return bm_fail(e, BM_USAGE, "--options: wants key=NAME/VERSION, the key in the vault");
    if (!bm_cloud_option(u, "token", token, sizeof token) || !url_ok(token))
        return bm_fail(e, BM_USAGE, "--options: wants token=https://login.microsoftonline.com/TENANT/oauth2/v2.0/token");
    return bm_cloud_want_login(s, "CLIENT-ID:CLIENT-SECRET", e);
}

/* --- the token, between two steps --------------------------------------------------------------------------------------------------- */
static enum bm_rc seal_key(const struct bm_upstream_job *j, uint8_t ret[BM_GCM_KEY_LEN], struct bm_error *e)
{
    uint8_t root[32];
    enum bm_rc rc;

    bm_udid_of(bm_buf_rd(&j->s->login), root); /* a SHA-256 like any other: the login has any length */
    rc = bm_kdf_derive(bm_kdf_find(bm_rd_str("hkdf-sha256")), bm_rd_of(root, sizeof root), bm_rd_str("birthmark upstream token"),
                       ret, BM_GCM_KEY_LEN, e);
    bm_wipe(root, sizeof root);
    return rc;
}

static enum bm_rc seal_token(const struct bm_upstream_job *j, struct bm_rd token, struct bm_buf *ret, struct bm_error *e)
{
    uint8_t key[BM_GCM_KEY_LEN], nonce[BM_GCM_NONCE_LEN], tag[BM_GCM_TAG_LEN];
    BM_CLEANUP(bm_buf_done) struct bm_buf sealed = { .max = TOKEN_MAX };
    enum bm_rc rc = RAND_bytes(nonce, sizeof nonce) == 1 ? seal_key(j, key, e) : bm_fail(e, BM_BUG, "no random numbers");

    if (rc == BM_OK)
        rc = bm_gcm_seal(key, nonce, bm_rd_str(j->u->url), token, &sealed, tag, e);
    bm_wipe(key, sizeof key);
    bm_buf_put(ret, nonce, sizeof nonce);
    bm_buf_put(ret, tag, sizeof tag);
    bm_buf_put(ret, sealed.p, sealed.n);
    return rc == BM_OK ? bm_buf_check(ret, e) : rc;
}

/* One that does not open, as --login is another since, is none. */
static bool open_token(const struct bm_upstream_job *j, struct bm_rd sealed, struct bm_buf *ret)
{
    uint8_t key[BM_GCM_KEY_LEN], nonce[BM_GCM_NONCE_LEN], tag[BM_GCM_TAG_LEN];
    bool ok = bm_rd_copy(&sealed, nonce, sizeof nonce) && bm_rd_copy(&sealed, tag, sizeof tag) && seal_key(j, key, NULL) == BM_OK;

    ok = ok && bm_gcm_open(key, nonce, bm_rd_str(j->u->url), sealed, tag, ret, NULL) == BM_OK;
    bm_wipe(key, sizeof key);
    return ok;
}

/* --- requests ------------------------------------------------------------------------------------------------------------------------- */
static void post(const struct bm_upstream_job *j, const char *url, const char *type, struct bm_rd bearer, struct bm_rd body,
                 struct bm_buf *ret)
{
    struct bm_task t = {
        .kind = BM_TASK_HTTP,
        .timeout_ms = BM_CLOUD_TIMEOUT_MS,
        .answer_max = BM_TASK_ANSWER_MAX,
        .method = bm_rd_str("POST"),
        .url = bm_rd_str(url),
        .trust = bm_buf_rd(&j->u->trust),
        .body = body,
    };

    t.fields[t.n_fields++] = (struct bm_task_field){ bm_rd_str("Content-Type"), bm_rd_str(type) };
    if (bearer.n != 0)
        t.fields[t.n_fields++] = (struct bm_task_field){ bm_rd_str("Authorization"), bearer };
    bm_task_write(ret, &t);
}

/* application/x-www-form-urlencoded */
static void put_form(struct bm_buf *out, const char *name, struct bm_rd value)
{
    bm_buf_printf(out, "%s%s=", out->n != 0 ? "&" : "", name);
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = value.p[i], lower = c | 0x20;

        if ((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.')
            bm_buf_put(out, &c, 1);
        else
            bm_buf_printf(out, "%%%02X", c);
    }
}

static enum bm_rc ask_token(const struct bm_upstream_job *j, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf form = { .max = 4096 };
    char url[URL_MAX], scope[URL_MAX];
    struct bm_rd user, password;

    if (!bm_cloud_option(j->u, "token", url, sizeof url))
        return bm_fail(e, BM_BUG, "no token endpoint");
    if (!bm_cloud_option(j->u, "scope", scope, sizeof scope))
        snprintf(scope, sizeof scope, SCOPE);
    bm_cloud_login(j->s, &user, &password);
    put_form(&form, "grant_type", bm_rd_str("client_credentials"));
    put_form(&form, "client_id", user);
    put_form(&form, "client_secret", password);
    put_form(&form, "scope", bm_rd_str(scope));
    if (form.bad)
        return bm_fail(e, BM_LIMIT, "the login is too long");
    post(j, url, "application/x-www-form-urlencoded", bm_rd_of(NULL, 0), bm_buf_rd(&form), ret);
    return BM_OK;
}

static enum bm_rc ask_signature(const struct bm_upstream_job *j, const struct bm_cloud_body *b, struct bm_rd token,
                                struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf bearer = { .max = BM_TASK_TEXT_MAX }, body = { .max = 512 };
    struct bm_cloud_signing how;
    char url[sizeof j->u->url + 200], key[160] = "";
    enum bm_rc rc = bm_cloud_signing_of(b, &how, e);

    if (rc != BM_OK)
        return rc;
    if (!bm_cloud_option(j->u, "key", key, sizeof key))
        return bm_fail(e, BM_BUG, "no key in the vault");
    snprintf(url, sizeof url, "%s/keys/%s/sign" API, j->u->url, key);
    bm_buf_str(&bearer, "Bearer ");
    bm_buf_put(&bearer, token.p, token.n);
    bm_buf_printf(&body, "{\"alg\":\"%s\",\"value\":\"", how.jose);
    bm_base64url(&body, bm_rd_of(how.digest, how.digest_len));
    bm_buf_str(&body, "\"}");
    post(j, url, "application/json", bm_buf_rd(&bearer), bm_buf_rd(&body), ret);
    return BM_OK;
}

static enum bm_rc azure_task(const struct bm_upstream_job *j, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf token = { .max = TOKEN_MAX };
    struct bm_cloud_body b;
    enum bm_rc rc = bm_cloud_body_read(j->state, &b, e);

    if (rc != BM_OK)
        return rc;
    return open_token(j, b.more, &token) ? ask_signature(j, &b, bm_buf_rd(&token), ret, e) : ask_token(j, ret, e);
}

/* --- answers -------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc next(const struct bm_cloud_body *b, struct bm_upstream_got *ret, struct bm_error *e)
{
    ret->state.n = 0;
    bm_cloud_body_write(b, &ret->state);
    return bm_refuse(e, BM_AGAIN, "upstream-waits", "the vault is asked step by step");
}

/* RFC 6750 section 2.1, b64token */
static bool token_ok(const char *t)
{
    size_t n = t != NULL ? strlen(t) : 0;

    for (size_t i = 0; i < n; i++) {
        char c = t[i], lower = (char)(c | 0x20);

        if (!((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || strchr("-._~+/=", c) != NULL))
            return false;
    }
    return n != 0 && n <= TOKEN_MAX;
}

static enum bm_rc take_token(const struct bm_upstream_job *j, struct bm_cloud_body *b, const struct bm_task_answer *a,
                             struct bm_upstream_got *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *answer = bm_cloud_json(a->body);
    BM_CLEANUP(bm_buf_done) struct bm_buf sealed = { .max = BM_TASK_TEXT_MAX + 64 };
    const char *token = bm_cloud_text(answer, "access_token");
    enum bm_rc rc;

    if (a->status != 200)
        return bm_cloud_no(j, a, bm_cloud_is_later(a->status), bm_cloud_text(answer, "error"),
                           bm_cloud_words(answer, "error_description"), ret, e);
    if (!token_ok(token))
        return bm_cloud_garbage("it holds no access token, or one that is too long", e);
    rc = seal_token(j, bm_rd_str(token), &sealed, e);
    b->more = bm_buf_rd(&sealed);
    return rc == BM_OK ? next(b, ret, e) : rc;
}

/* 401: the token's time is over, or it never was good; a new one, but not for ever. */
static enum bm_rc not_signed(const struct bm_upstream_job *j, struct bm_cloud_body *b, const struct bm_task_answer *a,
                             struct bm_upstream_got *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *answer = bm_cloud_json(a->body);
    const json_t *error = json_object_get(answer, "error");

    if (a->status != 401 || b->refused + 1 >= REFUSED_MAX)
        return bm_cloud_no(j, a, bm_cloud_is_later(a->status), bm_cloud_text(error, "code"), bm_cloud_words(error, "message"), ret,
                           e);
    b->refused++;
    b->more = bm_rd_of(NULL, 0);
    ret->wait_s = b->refused == 1 ? 0 : REFUSED_NAP_S;
    return next(b, ret, e);
}

static enum bm_rc take_signature(const struct bm_upstream_job *j, struct bm_cloud_body *b, const struct bm_task_answer *a,
                                 struct bm_upstream_got *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *answer = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf sig = { .max = BM_SIGNATURE_MAX };
    const char *text;

    if (a->status != 200)
        return not_signed(j, b, a, ret, e);
    answer = bm_cloud_json(a->body);
    text = bm_cloud_text(answer, "value");
    if (text == NULL || bm_unbase64url(bm_rd_str(text), &sig, NULL) != BM_OK)
        return bm_cloud_garbage("it holds no signature", e);
    return bm_cloud_signed(b, bm_buf_rd(&sig), BM_SIGNATURE_RAW, ret, e);
}

static enum bm_rc azure_read(const struct bm_upstream_job *j, const struct bm_task_answer *a, struct bm_upstream_got *ret,
                             struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf token = { .max = TOKEN_MAX };
    struct bm_cloud_body b;
    enum bm_rc rc = bm_cloud_body_read(j->state, &b, e);

    if (rc != BM_OK)
        return rc;
    return open_token(j, b.more, &token) ? take_signature(j, &b, a, ret, e) : take_token(j, &b, a, ret, e);
}

const struct bm_upstream_driver bm_upstream_azure = {
    .name = "azure-vault",
    .url_form = "https://NAME.vault.azure.net",
    .system_trust = true,
    .options = options,
    .check = azure_check,
    .start = bm_cloud_body_make,
    .task = azure_task,
    .read = azure_read,
    .unrevoked = "no CRL is signed with a key in Azure Key Vault: nobody but this registry knows of it",
};
