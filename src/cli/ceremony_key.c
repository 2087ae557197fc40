/* A ceremony's folder, and its key from shares. */
#include "cli/ceremony.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

void bm_ceremony_done(struct bm_ceremony *r)
{
    bm_key_free(r->key);
    bm_buf_done(&r->cert_der);
    json_decref(r->facts);
    bm_wipe(r->secret, sizeof r->secret);
}

/* --- what is there -------------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_ceremony_first(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct bm_buf *to = arg;

    if (to->n == 0)
        bm_buf_put(to, der.p, der.n);
    return bm_buf_check(to, e);
}

static enum bm_rc read_file(const char *dir, const char *name, struct bm_buf *ret, struct bm_error *e)
{
    char path[BM_CEREMONY_PATH_MAX];
    enum bm_rc rc = bm_path_join(dir, name, path, sizeof path, e);

    ret->max = BM_CEREMONY_FILE_MAX;
    if (rc == BM_OK)
        rc = bm_file_read(path, ret, e);
    return rc == BM_NOTFOUND ? bm_refuse(e, rc, "no-ceremony", "%s holds no root: begin with 'birthmark ceremony begin'", dir) : rc;
}

enum bm_rc bm_ceremony_load(struct bm_ceremony *r, const char *dir, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { 0 }, pem = { 0 };
    enum bm_rc rc = read_file(dir, "ceremony.json", &text, e);

    r->dir = dir;
    r->cert_der.max = BM_CERT_MAX;
    snprintf(r->ring.dir, sizeof r->ring.dir, "%s", dir);
    if (rc == BM_OK)
        rc = read_file(dir, "root.crt", &pem, e);
    if (rc == BM_OK)
        rc = bm_pem_parse(bm_buf_rd(&pem), "CERTIFICATE", bm_ceremony_first, &r->cert_der, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&r->cert_der), &r->cert, e);
    if (rc != BM_OK)
        return rc;
    r->facts = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    return json_is_array(json_object_get(r->facts, "shares")) ? BM_OK
                                                              : bm_fail(e, BM_MALFORMED, "%s/ceremony.json is damaged", dir);
}

/* --- shares --------------------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_ceremony_passphrases(struct bm_cli *c, struct bm_buf *text, struct bm_error *e)
{
    const char *path = bm_cli_text(c, "passphrases");

    text->max = 64 * 1024;
    return path != NULL ? bm_file_read(path, text, e) : BM_OK;
}

struct bm_rd bm_ceremony_line(struct bm_rd text, size_t i)
{
    for (;; i--) {
        const uint8_t *end = text.n != 0 ? memchr(text.p, '\n', text.n) : NULL;
        size_t n = end != NULL ? (size_t)(end - text.p) : text.n;

        if (i == 0)
            return bm_rd_of(text.p, n != 0 && text.p[n - 1] == '\r' ? n - 1 : n);
        if (end == NULL)
            return bm_rd_of(NULL, 0);
        text = bm_rd_of(end + 1, text.n - n - 1);
    }
}

/* A share's file as it was printed, or its words alone, or what its QR code says. */
static struct bm_rd words_in(struct bm_rd text)
{
    static const char begin[] = "words:\n", code[] = "birthmark-share:";
    const uint8_t *at = text.n != 0 ? memmem(text.p, text.n, begin, sizeof begin - 1) : NULL, *end;
    size_t skip = sizeof begin - 1;

    if (at == NULL && text.n > sizeof code - 1 && memcmp(text.p, code, sizeof code - 1) == 0) {
        at = text.p;
        skip = sizeof code - 1;
    }
    if (at != NULL)
        text = bm_rd_of(at + skip, text.n - (size_t)(at - text.p) - skip);
    end = text.n != 0 ? memmem(text.p, text.n, "\n\n", 2) : NULL;
    return end != NULL ? bm_rd_of(text.p, (size_t)(end - text.p)) : text;
}

static enum bm_rc read_share(const char *path, struct bm_rd passphrase, struct bm_share *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 64 * 1024 };
    enum bm_rc rc = bm_cli_read(path, &text, e);

    if (rc == BM_OK)
        rc = bm_share_read(words_in(bm_buf_rd(&text)), ret, e);
    if (rc == BM_OK && ret->sealed && passphrase.n != 0)
        rc = bm_share_unseal(ret, passphrase, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, rc, "%s", path);
}

/* A share that was changed with its checksum made anew would only show in the end, and not which one it was. */
static enum bm_rc check_known(const struct bm_ceremony *r, const struct bm_share *s, struct bm_error *e)
{
    const json_t *digests = json_object_get(r->facts, "shares"), *d;
    uint8_t digest[32];
    char hex[65];
    size_t i;

    if (s->sealed) /* bm_share_combine() says so */
        return BM_OK;
    bm_share_digest(s, digest);
    bm_hex(digest, sizeof digest, hex);
    json_array_foreach (digests, i, d)
        if (json_is_string(d) && strcmp(json_string_value(d), hex) == 0)
            return BM_OK;
    return bm_refuse(e, BM_DENIED, "share-foreign", "share %d is not one of this root's, or was changed", s->number);
}

struct shares {
    size_t n;
    struct bm_share of[BM_SHARES_MAX];
};

static void shares_done(struct shares *s)
{
    bm_wipe(s, sizeof *s);
}

static enum bm_rc read_shares(struct bm_cli *c, const struct bm_ceremony *r, struct shares *s, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf passphrases = { 0 };
    const json_t *path;
    size_t i;
    enum bm_rc rc = bm_ceremony_passphrases(c, &passphrases, e);

    json_array_foreach (json_object_get(c->words, "share"), i, path) {
        if (rc == BM_OK && i == BM_SHARES_MAX)
            rc = bm_fail(e, BM_LIMIT, "more than %d shares", BM_SHARES_MAX);
        if (rc == BM_OK)
            rc = read_share(json_string_value(path), bm_ceremony_line(bm_buf_rd(&passphrases), i), &s->of[i], e);
        if (rc == BM_OK)
            rc = check_known(r, &s->of[i], e);
        s->n += rc == BM_OK;
    }
    return rc;
}

static enum bm_rc note_numbers(const struct shares *s, json_t *ret, struct bm_error *e)
{
    for (size_t i = 0; i < s->n; i++)
        if (json_array_append_new(ret, json_integer(s->of[i].number)) != 0)
            return bm_fail(e, BM_NOMEM, "out of memory");
    return BM_OK;
}

enum bm_rc bm_ceremony_open_key(struct bm_cli *c, struct bm_ceremony *r, json_t *ret_numbers, struct bm_error *e)
{
    BM_CLEANUP(shares_done) struct shares s = { 0 };
    enum bm_rc rc = read_shares(c, r, &s, e);

    if (rc == BM_OK)
        rc = bm_share_combine(s.of, s.n, r->secret, e);
    if (rc != BM_OK)
        return rc;
    r->ring.secret = bm_rd_of(r->secret, sizeof r->secret);
    rc = bm_key_open(&r->ring, "file:root", &r->key, e);
    if (rc == BM_OK && !bm_rd_eq(bm_key_spki(r->key), r->cert.spki))
        rc = bm_refuse(e, BM_DENIED, "wrong-key", "the key in %s is not that of the certificate beside it", r->dir);
    return rc == BM_OK ? note_numbers(&s, ret_numbers, e) : rc;
}

/* --- certificates -------------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_ceremony_profile(const char *name, struct bm_profile **ret, struct bm_error *e)
{
    for (const struct bm_profile_builtin *b = bm_profiles_builtin; b->name != NULL; b++)
        if (strcmp(b->name, name) == 0)
            return bm_profile_parse(name, bm_rd_str(b->json), ret, e);
    return bm_fail(e, BM_USAGE, "there is no profile '%s' built in", name);
}

enum bm_rc bm_ceremony_issue(const struct bm_ceremony *r, const char *profile, struct bm_rd spki, const char *organisation,
                             const char *name, const char *crl_url, struct bm_buf *ret_der, struct bm_error *e)
{
    BM_CLEANUP(bm_profile_freep) struct bm_profile *p = NULL;
    struct bm_subject_words words = { .org = organisation, .service = name };
    struct bm_issue i = {
        .issuer_key = r->key,
        .issuer_cert = r->cert_der.n != 0 ? &r->cert : NULL,
        .spki = spki,
        .words = &words,
        .now = bm_clock_s(),
        .not_after_max = INT64_MAX,
        .crl_url = crl_url != NULL ? bm_rd_str(crl_url) : bm_rd_of(NULL, 0),
    };
    enum bm_rc rc = bm_ceremony_profile(profile, &p, e);

    if (rc == BM_OK && !bm_profile_is_ca(p))
        rc = bm_refuse(e, BM_USAGE, "profile-not-ca", "profile '%s' is not one for certification authorities", profile);
    if (rc == BM_OK && RAND_bytes(i.serial, sizeof i.serial) != 1)
        rc = bm_fail(e, BM_BUG, "no random numbers");
    i.profile = p;
    ret_der->max = BM_CERT_MAX;
    return rc == BM_OK ? bm_cert_issue(&i, ret_der, NULL, NULL, e) : rc;
}
