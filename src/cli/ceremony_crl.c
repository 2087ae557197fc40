/* ceremony crl: the root's revocation list. What is on it, and its number, are in the transcript: there is no second place to keep, and none to change. */
#include "cli/ceremony.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "pki/crl.h"

#include <openssl/evp.h>
#include <string.h>

enum { LIFE_S = 180 * 86400, LIFE_MIN_S = 86400, LIFE_MAX_S = 3 * 365 * 86400, SERIAL_MAX = 20 };

static const char act[] = "crl.signed";

struct crl {
    json_t *lines, *before, *now; /* of the transcript; entries of earlier lists; those that are new */
    int64_t number, this_update, next_update;
    struct bm_crl_writer writer;
    struct bm_buf der;
};

static void crl_done(struct crl *l)
{
    json_decref(l->lines);
    json_decref(l->before);
    json_decref(l->now);
    bm_crl_done(&l->writer);
    bm_buf_done(&l->der);
}

/* --- what has been -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc read_before(const struct bm_ceremony *r, struct crl *l, struct bm_error *e)
{
    const json_t *line;
    char digest[65];
    size_t i;
    enum bm_rc rc = bm_transcript_read(r, l->lines, digest, e);

    if (rc != BM_OK)
        return rc;
    json_array_foreach (l->lines, i, line) {
        if (strcmp(json_string_value(json_object_get(line, "act")), act) != 0)
            continue;
        l->number = json_integer_value(json_object_get(line, "number"));
        if (json_array_extend(l->before, json_object_get(line, "revoked")) != 0)
            return bm_fail(e, BM_MALFORMED, "the transcript's line %zu is not as this program writes them", i + 1);
    }
    return BM_OK;
}

static bool is_on(const json_t *entries, const char *serial)
{
    const json_t *entry;
    size_t i;

    json_array_foreach (entries, i, entry)
        if (strcmp(json_string_value(json_object_get(entry, "serial")), serial) == 0)
            return true;
    return false;
}

/* --- what is new ---------------------------------------------------------------------------------------------------------------------- */
/* Whenever it was valid: what is wanted is that this root has signed it. */
static enum bm_rc check_ours(const struct bm_ceremony *r, const struct bm_cert *cert, const char *path, struct bm_error *e)
{
    enum bm_rc rc = bm_cert_check_link(cert, &r->cert, cert->not_before, e);

    if (rc != BM_OK)
        return bm_wrap(e, rc, "%s is not by this root", path);
    return bm_rd_eq(cert->spki, r->cert.spki) ? bm_fail(e, BM_USAGE, "%s is the root's own: it cannot revoke itself", path) : BM_OK;
}

static enum bm_rc revoke(const struct bm_ceremony *r, struct crl *l, const char *path, int reason, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 16 * BM_CERT_MAX }, der = { .max = BM_CERT_MAX };
    char serial[2 * (SERIAL_MAX + 1) + 1], at[24];
    struct bm_cert cert;
    json_t *entry;
    enum bm_rc rc = bm_cli_read(path, &pem, e);

    if (rc == BM_OK)
        rc = bm_pem_parse(bm_buf_rd(&pem), "CERTIFICATE", bm_ceremony_first, &der, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&der), &cert, e);
    if (rc == BM_OK)
        rc = check_ours(r, &cert, path, e);
    if (rc != BM_OK)
        return rc;
    bm_hex(cert.serial.p, cert.serial.n, serial);
    if (is_on(l->before, serial) || is_on(l->now, serial))
        return bm_fail(e, BM_CONFLICT, "%s is on the list already", path);
    entry = json_pack("{ss,ss,ss}", "serial", serial, "reason", bm_reason_name(reason), "at", bm_time_text(l->this_update, at));
    return json_array_append_new(l->now, entry) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "out of memory");
}

static enum bm_rc revoke_all(struct bm_cli *c, const struct bm_ceremony *r, struct crl *l, struct bm_error *e)
{
    const char *reason = bm_cli_text(c, "reason");
    const json_t *path;
    int code = 0;
    size_t i;
    enum bm_rc rc = reason != NULL ? bm_reason_find(reason, &code, e) : BM_OK;

    json_array_foreach (json_object_get(c->words, "revoke"), i, path)
        if (rc == BM_OK)
            rc = revoke(r, l, json_string_value(path), code, e);
    return rc;
}

/* --- the list ------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc add(struct crl *l, const json_t *entries, struct bm_error *e)
{
    const json_t *entry;
    size_t i;
    enum bm_rc rc = BM_OK;

    json_array_foreach (entries, i, entry) {
        const char *hex = json_string_value(json_object_get(entry, "serial")),
                   *when = json_string_value(json_object_get(entry, "at"));
        const char *reason = json_string_value(json_object_get(entry, "reason"));
        uint8_t serial[SERIAL_MAX + 1];
        size_t n = hex != NULL ? strlen(hex) / 2 : 0, skip;
        int64_t at;
        int code;

        if (n == 0 || n > sizeof serial || !bm_unhex(bm_rd_str(hex), serial, n) || when == NULL || !bm_time_parse(when, &at) ||
            reason == NULL || bm_reason_find(reason, &code, NULL) != BM_OK)
            return bm_fail(e, BM_MALFORMED, "an entry in the transcript is not as this program writes them");
        skip = n > 1 && serial[0] == 0; /* its sign */
        rc = bm_crl_add(&l->writer, bm_rd_of(serial + skip, n - skip), at, code, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc;
}

static enum bm_rc sign(const struct bm_ceremony *r, struct crl *l, struct bm_error *e)
{
    const struct bm_crl_head h = { .key = r->key,
                                   .issuer = &r->cert,
                                   .number = (uint64_t)l->number + 1,
                                   .this_update = l->this_update,
                                   .next_update = l->next_update };
    enum bm_rc rc = add(l, l->before, e);

    l->der.max = BM_CRL_MAX;
    if (rc == BM_OK)
        rc = add(l, l->now, e);
    return rc == BM_OK ? bm_crl_sign(&l->writer, &h, &l->der, e) : rc;
}

/* Months, since everybody has to come together for the next; never past the root's own end. */
static enum bm_rc choose_dates(struct bm_cli *c, const struct bm_ceremony *r, struct crl *l, struct bm_error *e)
{
    const char *valid = bm_cli_text(c, "valid");
    int64_t span = LIFE_S;

    if (valid != NULL && (!bm_duration_parse(valid, &span) || span < LIFE_MIN_S || span > LIFE_MAX_S))
        return bm_fail(e, BM_USAGE, "--valid is a time from 1d to %dd", LIFE_MAX_S / 86400);
    l->this_update = bm_clock_s();
    l->next_update = l->this_update + span < r->cert.not_after ? l->this_update + span : r->cert.not_after;
    return l->next_update > l->this_update ? BM_OK : bm_refuse(e, BM_DENIED, "issuer-expired", "the root is past its end");
}

static enum bm_rc write_down(struct bm_cli *c, const struct bm_ceremony *r, struct crl *l, json_t *numbers, struct bm_error *e)
{
    char from[24], to[24], hex[65];
    uint8_t digest[32] = { 0 };
    BM_CLEANUP(bm_cli_unref) json_t *fields = NULL;

    (void)EVP_Q_digest(NULL, "SHA256", NULL, l->der.p, l->der.n, digest, NULL);
    bm_hex(digest, sizeof digest, hex);
    fields = json_pack("{sI,ss,ss,sO,sI,ss,sO}", "number", (json_int_t)l->number + 1, "this_update",
                       bm_time_text(l->this_update, from), "next_update", bm_time_text(l->next_update, to), "revoked", l->now,
                       "entries", (json_int_t)l->writer.n, "crl_sha256", hex, "shares", numbers);
    return fields != NULL ? bm_transcript_add(c, r, act, fields, e) : bm_fail(e, BM_NOMEM, "out of memory");
}

static enum bm_rc write_out(struct bm_cli *c, const struct crl *l, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 2 * BM_CRL_MAX };

    bm_pem_write(&pem, "X509 CRL", bm_buf_rd(&l->der));
    return bm_buf_check(&pem, e) == BM_OK ? bm_file_create(bm_cli_text(c, "out"), bm_buf_rd(&pem), 0644, e) : BM_NOMEM;
}

/* The transcript comes first: a number that was signed is spent, whatever becomes of the file. */
enum bm_rc bm_cli_ceremony_crl(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_ceremony_done) struct bm_ceremony r = { 0 };
    BM_CLEANUP(crl_done) struct crl l = { .lines = json_array(), .before = json_array(), .now = json_array() };
    BM_CLEANUP(bm_cli_unref) json_t *numbers = json_array();
    char until[24];
    enum bm_rc rc = bm_ceremony_load(&r, bm_cli_text(c, "dir"), e);

    if (rc == BM_OK)
        rc = choose_dates(c, &r, &l, e);
    if (rc == BM_OK)
        rc = read_before(&r, &l, e);
    if (rc == BM_OK)
        rc = revoke_all(c, &r, &l, e);
    if (rc == BM_OK)
        rc = bm_ceremony_open_key(c, &r, numbers, e);
    if (rc == BM_OK)
        rc = sign(&r, &l, e);
    if (rc == BM_OK)
        rc = write_down(c, &r, &l, numbers, e);
    if (rc == BM_OK)
        rc = write_out(c, &l, e);
    return rc == BM_OK ? bm_ceremony_tell(c, &r, "next_update", bm_time_text(l.next_update, until), e) : rc;
}
