/* key add, key add-root, key import-key, key rotate. A secret comes on standard input and leaves this process only sealed to the registry's
 * import key: the administrator's socket and the keeper's buffers never see it. */
#include "cli/backup.h"
#include "cli/cli.h"

#include "base/file.h"
#include "base/text.h"
#include "pki/cert.h"
#include "pki/jwe.h"
#include "pki/mac.h"

/* --- the registry's import key -------------------------------------------------------------------------------------------------- */
static enum bm_rc import_key(struct bm_cli *c, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_pack("{s:s}", "op", "key.import"), *answer = NULL;
    const char *pem;
    enum bm_rc rc = bm_cli_ask(c, request, &answer, e);

    if (rc != BM_OK)
        return rc;
    pem = json_string_value(json_object_get(answer, "import_key"));
    ret->max = BM_SPKI_MAX;
    rc = pem != NULL ? bm_pem_parse(bm_rd_str(pem), "PUBLIC KEY", bm_pem_keep, ret, e) : BM_OK;
    return rc == BM_OK && ret->n == 0 ? bm_fail(e, BM_MALFORMED, "the answer holds no import key") : rc;
}

enum bm_rc bm_cli_import_key(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_pack("{s:s}", "op", "key.import"), *answer = NULL;
    const char *pem, *path = bm_cli_text(c, "out");
    enum bm_rc rc = bm_cli_ask(c, request, &answer, e);

    if (rc != BM_OK)
        return rc;
    if (c->json && path == NULL) {
        bm_cli_print_json(c, answer);
        return BM_OK;
    }
    pem = json_string_value(json_object_get(answer, "import_key"));
    if (pem == NULL)
        return bm_fail(e, BM_MALFORMED, "the answer holds no import key");
    if (path != NULL && strcmp(path, "-") != 0)
        return bm_file_write(path, bm_rd_str(pem), 0644, e);
    fputs(pem, c->out);
    return BM_OK;
}

/* --- a secret from standard input ----------------------------------------------------------------------------------------------- */
static struct bm_rd trimmed(struct bm_rd text)
{
    while (text.n != 0 && strchr("\r\n ", text.p[text.n - 1]) != NULL && text.p[text.n - 1] != '\0')
        text.n--;
    return text;
}

static enum bm_rc read_secret(uint8_t ret[BM_MAC_KEY_MAX], size_t *ret_n, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 4 * BM_MAC_KEY_MAX };
    enum bm_rc rc = bm_cli_read("-", &text, e);
    struct bm_rd hex;

    if (rc != BM_OK)
        return bm_wrap(e, rc, "the secret on standard input");
    hex = trimmed(bm_buf_rd(&text));
    if (hex.n == 0 || hex.n % 2 != 0 || hex.n > 2 * BM_MAC_KEY_MAX || !bm_unhex(hex, ret, hex.n / 2))
        return bm_fail(e, BM_USAGE, "standard input must hold the secret as hex digits, at most %d bytes", BM_MAC_KEY_MAX);
    *ret_n = hex.n / 2;
    return BM_OK;
}

/* "sealed" of the request: the secret on standard input, for the registry and for `sub` only. */
static enum bm_rc add_sealed(struct bm_cli *c, json_t *request, const char *sub, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf spki = { 0 }, jwe = { .max = BM_JWE_MAX };
    uint8_t secret[BM_MAC_KEY_MAX];
    size_t n = 0;
    enum bm_rc rc = import_key(c, &spki, e);

    if (rc == BM_OK)
        rc = read_secret(secret, &n, e);
    if (rc == BM_OK)
        rc = bm_jwe_make(bm_buf_rd(&spki), bm_rd_str(sub), bm_rd_of(secret, n), &jwe, e);
    bm_wipe(secret, sizeof secret);
    if (rc == BM_OK && json_object_set_new(request, "sealed", json_stringn((const char *)jwe.p, jwe.n)) != 0)
        rc = bm_fail(e, BM_NOMEM, "out of memory");
    return rc;
}

static enum bm_rc send_and_tell(struct bm_cli *c, const json_t *request, struct bm_error *e)
{
    json_t *answer = NULL;
    enum bm_rc rc = bm_cli_ask(c, request, &answer, e);

    return rc == BM_OK ? bm_cli_tell(c, answer, e) : rc;
}

/* --- key add, key add-root ------------------------------------------------------------------------------------------------------ */
/* The identifier as the request has it, and the UDID it makes. */
static enum bm_rc name_device(struct bm_cli *c, json_t *request, char ret_udid[65], struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 4 * BM_MAC_IDENT_MAX };
    const char *hex = bm_cli_text(c, "id");
    uint8_t ident[BM_MAC_IDENT_MAX], udid[32];
    size_t n = strlen(hex) / 2;

    if (n == 0 || n > sizeof ident || strlen(hex) % 2 != 0 || !bm_unhex(bm_rd_str(hex), ident, n))
        return bm_fail(e, BM_USAGE, "the identifier must be hex digits, 1 to %d bytes", BM_MAC_IDENT_MAX);
    bm_base64url(&text, bm_rd_of(ident, n));
    bm_udid_symmetric(bm_rd_str(bm_cli_text(c, "org")), bm_rd_str(bm_cli_text(c, "rot")), bm_rd_of(ident, n), udid);
    bm_hex(udid, sizeof udid, ret_udid);
    if (json_object_set_new(request, "id", json_stringn((const char *)text.p, text.n)) != 0)
        return bm_fail(e, BM_NOMEM, "out of memory");
    return BM_OK;
}

/* Names are hashed with their length; over 64 characters they are none. */
static enum bm_rc check_names(struct bm_cli *c, struct bm_error *e)
{
    return bm_name_ok(bm_cli_text(c, "org")) && bm_name_ok(bm_cli_text(c, "rot"))
               ? BM_OK
               : bm_fail(e, BM_USAGE, "--org and --rot are names of a-z 0-9 . _ -");
}

enum bm_rc bm_cli_key_add(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_copy(c->words);
    char udid[65];
    enum bm_rc rc = check_names(c, e);

    if (rc == BM_OK)
        rc = name_device(c, request, udid, e);
    if (rc == BM_OK && bm_cli_text(c, "root") == NULL)
        rc = add_sealed(c, request, udid, e);
    return rc == BM_OK ? send_and_tell(c, request, e) : rc;
}

enum bm_rc bm_cli_key_add_root(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_copy(c->words);
    enum bm_rc rc = add_sealed(c, request, bm_cli_text(c, "name"), e);

    return rc == BM_OK ? send_and_tell(c, request, e) : rc;
}

/* --- key rotate ----------------------------------------------------------------------------------------------------------------- */
/* A running server goes on by itself, also when this command is interrupted; without one, the steps are taken here. */
enum bm_rc bm_cli_key_rotate(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *rotate = json_pack("{s:s}", "op", "key.rotate"), *step = json_pack("{s:s}", "op", "key.step");
    BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;
    bool more = true;
    enum bm_rc rc = bm_cli_flag(c, "resume") ? BM_OK : bm_cli_ask(c, rotate, &answer, e);

    while (rc == BM_OK && more) {
        BM_CLEANUP(bm_cli_unref) json_t *done = NULL;

        rc = bm_cli_ask(c, step, &done, e);
        more = rc == BM_OK && json_is_true(json_object_get(done, "more"));
    }
    if (rc != BM_OK)
        return rc;
    return bm_cli_tell(c, answer != NULL ? json_incref(answer) : json_pack("{s:b}", "done", 1), e);
}
