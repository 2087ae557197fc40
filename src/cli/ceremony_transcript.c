/* What was done with a root's key: lines of JWS, each signed by the root's key and holding the digest of the line before. */
#include "cli/ceremony.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "pki/jws.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static const char typ[] = "birthmark-ceremony+json";

static enum bm_rc read_all(const struct bm_ceremony *r, struct bm_buf *ret, struct bm_error *e)
{
    char path[BM_CEREMONY_PATH_MAX];
    enum bm_rc rc = bm_path_join(r->dir, "transcript.jws", path, sizeof path, e);

    ret->max = BM_CEREMONY_FILE_MAX;
    if (rc == BM_OK)
        rc = bm_file_read(path, ret, e);
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

static void digest_of(struct bm_rd line, char ret[65])
{
    uint8_t d[32] = { 0 };

    (void)EVP_Q_digest(NULL, "SHA256", NULL, line.p, line.n, d, NULL);
    bm_hex(d, sizeof d, ret);
}

static enum bm_rc changed(struct bm_error *e, size_t line, const char *why)
{
    return bm_refuse(e, BM_DENIED, "transcript-changed", "line %zu of the transcript: %s", line, why);
}

static enum bm_rc read_line(const struct bm_ceremony *r, struct bm_rd line, size_t n, const char *previous, json_t *ret_lines,
                            struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_CEREMONY_FILE_MAX };
    BM_CLEANUP(bm_cli_unref) json_t *j = NULL;
    BM_EVP_FREE EVP_PKEY *pub = NULL;
    const char *says;
    struct bm_spki spki;
    struct bm_jws jws;
    enum bm_rc rc = bm_spki_parse(r->cert.spki, &spki, e);

    if (rc == BM_OK)
        rc = bm_spki_open(&spki, &pub, e);
    if (rc != BM_OK)
        return rc;
    if (bm_jws_split(line, &jws, NULL) != BM_OK || bm_jws_verify(&jws, pub, NULL) != BM_OK ||
        bm_unbase64url(jws.payload_b64, &payload, NULL) != BM_OK)
        return changed(e, n, "not signed by the root's key");
    j = json_loadb((const char *)payload.p, payload.n, JSON_REJECT_DUPLICATES, NULL);
    says = json_string_value(json_object_get(j, "previous"));
    if (says == NULL || strcmp(says, previous) != 0)
        return changed(e, n, "the one before it is missing or another");
    return json_array_append(ret_lines, j) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "out of memory");
}

enum bm_rc bm_transcript_read(const struct bm_ceremony *r, json_t *ret_lines, char ret_digest[65], struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { 0 };
    struct bm_rd rest;
    size_t n = 0;
    enum bm_rc rc = read_all(r, &text, e);

    ret_digest[0] = '\0';
    for (rest = bm_buf_rd(&text); rc == BM_OK && rest.n != 0; n++) {
        const uint8_t *end = memchr(rest.p, '\n', rest.n);
        struct bm_rd line = bm_rd_of(rest.p, end != NULL ? (size_t)(end - rest.p) : rest.n);

        if (end == NULL)
            return changed(e, n + 1, "it is cut off");
        rc = read_line(r, line, n + 1, ret_digest, ret_lines, e);
        digest_of(line, ret_digest);
        rest = bm_rd_of(rest.p + line.n + 1, rest.n - line.n - 1);
    }
    return rc;
}

static enum bm_rc sign_line(const struct bm_ceremony *r, const json_t *line, struct bm_buf *out, struct bm_error *e)
{
    char *text = json_dumps(line, JSON_COMPACT | JSON_SORT_KEYS);
    enum bm_rc rc = text != NULL ? bm_jws_sign(r->key, typ, bm_buf_rd(&r->cert_der), false, bm_rd_str(text), out, e)
                                 : bm_fail(e, BM_NOMEM, "out of memory");

    free(text);
    bm_buf_str(out, "\n");
    return rc == BM_OK ? bm_buf_check(out, e) : rc;
}

/* The whole file is written anew, so that after a power cut the old or the new one is there. */
enum bm_rc bm_transcript_add(struct bm_cli *c, const struct bm_ceremony *r, const char *act, const json_t *fields,
                             struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { 0 };
    BM_CLEANUP(bm_cli_unref) json_t *lines = json_array(), *line = json_deep_copy(fields);
    char previous[65], at[24], path[BM_CEREMONY_PATH_MAX];
    const json_t *who = json_object_get(c->words, "who");
    enum bm_rc rc = bm_transcript_read(r, lines, previous, e);

    if (rc == BM_OK && (line == NULL || json_object_set_new(line, "act", json_string(act)) != 0 ||
                        json_object_set_new(line, "at", json_string(bm_time_text(bm_clock_s(), at))) != 0 ||
                        json_object_set_new(line, "program", json_string("birthmark " BM_VERSION)) != 0 ||
                        json_object_set_new(line, "who", who != NULL ? json_deep_copy(who) : json_array()) != 0 ||
                        json_object_set_new(line, "previous", json_string(previous)) != 0))
        rc = bm_fail(e, BM_NOMEM, "out of memory");
    if (rc == BM_OK)
        rc = read_all(r, &text, e);
    if (rc == BM_OK)
        rc = sign_line(r, line, &text, e);
    if (rc == BM_OK)
        rc = bm_path_join(r->dir, "transcript.jws", path, sizeof path, e);
    return rc == BM_OK ? bm_file_write(path, bm_buf_rd(&text), 0600, e) : rc;
}
