/* ceremony begin, sign, show. No registry, no server: these run on a machine that has never been in a network. */
#include "cli/ceremony.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/qr.h"
#include "pki/crl.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum bm_rc write_file(const char *dir, const char *name, struct bm_rd content, mode_t mode, struct bm_error *e)
{
    char path[BM_CEREMONY_PATH_MAX];
    enum bm_rc rc = bm_path_join(dir, name, path, sizeof path, e);

    return rc == BM_OK ? bm_file_create(path, content, mode, e) : rc;
}

static void digest_hex(struct bm_rd in, char ret[65])
{
    uint8_t d[32] = { 0 };

    (void)EVP_Q_digest(NULL, "SHA256", NULL, in.p, in.n, d, NULL);
    bm_hex(d, sizeof d, ret);
}

/* --- begin: the shares ---------------------------------------------------------------------------------------------------------------- */
static void put_words(struct bm_buf *out, const char *words)
{
    for (size_t i = 0; words[i] != '\0'; i++) {
        char c = words[i] == ' ' && i / 6 % 6 == 5 ? '\n' : words[i];

        bm_buf_put(out, &c, 1);
    }
    bm_buf_str(out, "\n\n");
}

static enum bm_rc put_code(struct bm_buf *out, const char *words, struct bm_error *e)
{
    char text[BM_SHARE_TEXT_MAX + 32];

    snprintf(text, sizeof text, "birthmark-share:%s", words);
    for (char *p = text; *p != '\0'; p++)
        *p = (char)(*p == ' ' ? '-' : *p);
    enum bm_rc rc = bm_qr_write(text, "text", out, e);

    bm_wipe(text, sizeof text);
    return rc;
}

/* One sheet of paper. */
static enum bm_rc write_share(const struct bm_ceremony *r, const char *out_dir, const struct bm_share *s, size_t n,
                              struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf sheet = { .max = 64 * 1024 };
    char words[BM_SHARE_TEXT_MAX], name[32], digest[65];
    enum bm_rc rc = bm_share_write(s, words, e);

    digest_hex(r->cert.spki, digest);
    snprintf(name, sizeof name, "share-%d.txt", s->number);
    bm_buf_printf(&sheet,
                  "Birthmark: share %d of %zu of a root's key. Any %d of them open it.\nSHA-256 of the root's public key: %s\n",
                  s->number, n, s->threshold, digest);
    bm_buf_str(&sheet, s->sealed ? "It is under its holder's passphrase.\n\nwords:\n" : "It is under no passphrase.\n\nwords:\n");
    put_words(&sheet, words);
    if (rc == BM_OK)
        rc = put_code(&sheet, words, e);
    bm_wipe(words, sizeof words);
    if (rc == BM_OK)
        rc = bm_buf_check(&sheet, e);
    return rc == BM_OK ? write_file(out_dir, name, bm_buf_rd(&sheet), 0600, e) : rc;
}

static enum bm_rc note_share(const struct bm_share *s, json_t *digests, struct bm_error *e)
{
    uint8_t digest[32];
    char hex[65];

    bm_share_digest(s, digest);
    bm_hex(digest, sizeof digest, hex);
    return json_array_append_new(digests, json_string(hex)) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "out of memory");
}

struct shares {
    size_t n, threshold;
    struct bm_share of[BM_SHARES_MAX];
};

static void shares_done(struct shares *s)
{
    bm_wipe(s, sizeof *s);
}

static enum bm_rc hand_out(struct bm_cli *c, const struct bm_ceremony *r, struct shares *s, json_t *digests, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf passphrases = { 0 };
    const char *out = bm_cli_text(c, "out");
    enum bm_rc rc = bm_ceremony_passphrases(c, &passphrases, e);

    for (size_t i = 0; rc == BM_OK && i < s->n; i++) {
        struct bm_rd passphrase = bm_ceremony_line(bm_buf_rd(&passphrases), i);

        rc = note_share(&s->of[i], digests, e);
        if (rc == BM_OK && passphrase.n != 0)
            rc = bm_share_seal(&s->of[i], passphrase, e);
        if (rc == BM_OK)
            rc = write_share(r, out, &s->of[i], s->n, e);
    }
    return rc;
}

/* --- begin: the root -------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc make_root(struct bm_cli *c, struct bm_ceremony *r, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 2 * BM_CERT_MAX };
    const char *alg = bm_cli_text(c, "alg"), *organisation = bm_cli_text(c, "organisation"), *name = bm_cli_text(c, "name");
    enum bm_rc rc;

    if (RAND_priv_bytes(r->secret, sizeof r->secret) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    r->ring.secret = bm_rd_of(r->secret, sizeof r->secret);
    snprintf(r->ring.dir, sizeof r->ring.dir, "%s", r->dir);
    rc = bm_key_generate(&r->ring, "file:root", alg != NULL ? alg : "EC:P-384", e);
    if (rc == BM_OK)
        rc = bm_key_open(&r->ring, "file:root", &r->key, e);
    if (rc == BM_OK)
        rc =
            bm_ceremony_issue(r, "root-ca", bm_key_spki(r->key), organisation, name != NULL ? name : "root", NULL, &r->cert_der, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&r->cert_der), &r->cert, e);
    if (rc != BM_OK)
        return rc;
    bm_pem_write(&pem, "CERTIFICATE", bm_buf_rd(&r->cert_der));
    return write_file(r->dir, "root.crt", bm_buf_rd(&pem), 0644, e);
}

static enum bm_rc write_facts(struct bm_cli *c, const struct bm_ceremony *r, const struct shares *s, json_t *digests,
                              struct bm_error *e)
{
    char at[24], cert[65], *text;
    BM_CLEANUP(bm_cli_unref) json_t *fields = NULL, *facts = NULL;
    enum bm_rc rc;

    digest_hex(bm_buf_rd(&r->cert_der), cert);
    facts = json_pack("{ss,ss,ss,sI,sO}", "format", "birthmark-ceremony-1", "made_at", bm_time_text(bm_clock_s(), at),
                      "organisation", bm_cli_text(c, "organisation"), "threshold", (json_int_t)s->threshold, "shares", digests);
    fields = json_pack("{ss,sI,sI,sO}", "certificate_sha256", cert, "threshold", (json_int_t)s->threshold, "shares",
                       (json_int_t)s->n, "share_sha256", digests);
    text = facts != NULL && fields != NULL ? json_dumps(facts, JSON_INDENT(1)) : NULL;
    rc = text != NULL ? write_file(r->dir, "ceremony.json", bm_rd_str(text), 0600, e) : bm_fail(e, BM_NOMEM, "out of memory");
    free(text);
    return rc == BM_OK ? bm_transcript_add(c, r, "root.made", fields, e) : rc;
}

static enum bm_rc new_folder(const char *dir, struct bm_error *e)
{
    if (mkdir(dir, 0700) == 0 || (errno == EEXIST && rmdir(dir) == 0 && mkdir(dir, 0700) == 0))
        return BM_OK;
    return errno == EEXIST || errno == ENOTEMPTY ? bm_refuse(e, BM_CONFLICT, "already-there", "%s is not empty", dir)
                                                 : bm_fail(e, BM_IO, "%s: %s", dir, strerror(errno));
}

enum bm_rc bm_ceremony_tell(struct bm_cli *c, const struct bm_ceremony *r, const char *more, const char *value, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *lines = json_array(), *out = NULL;
    char digest[65], cert[65];
    enum bm_rc rc = bm_transcript_read(r, lines, digest, e);

    if (rc != BM_OK)
        return rc;
    digest_hex(bm_buf_rd(&r->cert_der), cert);
    out = json_pack("{ss,ss,sI,ss*}", "root_sha256", cert, "transcript_sha256", digest, "transcript_lines",
                    (json_int_t)json_array_size(lines), more, value);
    if (out == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    if (c->json)
        bm_cli_print_json(c, out);
    else if (!c->quiet)
        bm_cli_print_record(c, out);
    return BM_OK;
}

enum bm_rc bm_cli_ceremony_begin(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_ceremony_done) struct bm_ceremony r = { .dir = bm_cli_text(c, "dir") };
    BM_CLEANUP(shares_done)
    struct shares s = { .n = (size_t)bm_cli_int(c, "shares", 0), .threshold = (size_t)bm_cli_int(c, "threshold", 0) };
    BM_CLEANUP(bm_cli_unref) json_t *digests = json_array();
    uint8_t set[32];
    enum bm_rc rc;

    if (s.threshold < 2 || s.threshold > s.n || s.n > BM_SHARES_MAX)
        return bm_fail(e, BM_USAGE, "2 to %d shares, of which at least 2 and at most all are needed", BM_SHARES_MAX);
    rc = new_folder(r.dir, e);
    if (rc == BM_OK)
        rc = new_folder(bm_cli_text(c, "out"), e);
    if (rc == BM_OK)
        rc = make_root(c, &r, e);
    if (rc != BM_OK)
        return rc;
    bm_udid_of(r.cert.spki, set);
    rc = bm_share_split(r.secret, set, s.n, s.threshold, s.of, e);
    if (rc == BM_OK)
        rc = hand_out(c, &r, &s, digests, e);
    if (rc == BM_OK)
        rc = write_facts(c, &r, &s, digests, e);
    if (rc != BM_OK)
        return rc;
    bm_cli_note(c,
                "The shares are in %s: print each for its holder, then destroy the files. Without %zu of them nobody signs with "
                "this root.\n",
                bm_cli_text(c, "out"), s.threshold);
    return bm_ceremony_tell(c, &r, "certificate", "root.crt", e);
}

/* --- sign --------------------------------------------------------------------------------------------------------------------------------- */
/* A CA's request: signed by its own key, with the CA's name as CN. */
static enum bm_rc read_csr(struct bm_cli *c, struct bm_buf *ret_der, struct bm_csr *ret, char ret_name[65], struct bm_error *e)
{
    static const uint8_t cn[] = { 0x55, 0x04, 0x03 };
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 64 * 1024 };
    struct bm_rd name;
    enum bm_rc rc = bm_cli_read(bm_cli_text(c, "csr"), &pem, e);

    ret_der->max = BM_CSR_MAX;
    if (rc == BM_OK)
        rc = bm_pem_parse(bm_buf_rd(&pem), "CERTIFICATE REQUEST", bm_ceremony_first, ret_der, e);
    if (rc == BM_OK)
        rc = bm_csr_parse(bm_buf_rd(ret_der), ret, e);
    if (rc == BM_OK)
        rc = bm_csr_verify(ret, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "the request");
    if (!bm_name_find(ret->subject, bm_rd_of(cn, sizeof cn), &name) || name.n >= 65)
        return bm_fail(e, BM_USAGE, "the request does not name a CA (CN)");
    snprintf(ret_name, 65, "%.*s", (int)name.n, (const char *)name.p);
    return bm_name_ok(ret_name) ? BM_OK : bm_fail(e, BM_USAGE, "the request's CN is not the name of a CA");
}

static enum bm_rc write_cert(struct bm_cli *c, const struct bm_ceremony *r, struct bm_rd der, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 4 * BM_CERT_MAX };

    bm_pem_write(&pem, "CERTIFICATE", der);
    bm_pem_write(&pem, "CERTIFICATE", bm_buf_rd(&r->cert_der)); /* what `ca import` wants: up to the root */
    return bm_file_create(bm_cli_text(c, "out"), bm_buf_rd(&pem), 0644, e);
}

static enum bm_rc write_down(struct bm_cli *c, const struct bm_ceremony *r, const char *name, struct bm_rd csr, struct bm_rd cert,
                             json_t *numbers, struct bm_error *e)
{
    char csr_hex[65], cert_hex[65];
    BM_CLEANUP(bm_cli_unref) json_t *fields = NULL;

    digest_hex(csr, csr_hex);
    digest_hex(cert, cert_hex);
    fields = json_pack("{ss,ss,ss,sO}", "ca", name, "request_sha256", csr_hex, "certificate_sha256", cert_hex, "shares", numbers);
    return fields != NULL ? bm_transcript_add(c, r, "ca.signed", fields, e) : bm_fail(e, BM_NOMEM, "out of memory");
}

/* The transcript comes before the certificate is out: what was signed is written down. */
enum bm_rc bm_cli_ceremony_sign(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_ceremony_done) struct bm_ceremony r = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf csr_der = { 0 }, cert = { 0 };
    BM_CLEANUP(bm_cli_unref) json_t *numbers = json_array();
    const char *profile = bm_cli_text(c, "profile"), *crl_url = bm_cli_text(c, "crl_url"), *organisation;
    struct bm_csr csr;
    char name[65];
    enum bm_rc rc = bm_ceremony_load(&r, bm_cli_text(c, "dir"), e);

    if (rc == BM_OK && crl_url != NULL && !bm_crl_url_ok(crl_url))
        rc = bm_fail(e, BM_USAGE, "--crl-url is an http:// address, as in http://pki.example.com/crl/vault.crl");
    if (rc == BM_OK)
        rc = read_csr(c, &csr_der, &csr, name, e);
    if (rc == BM_OK)
        rc = bm_ceremony_open_key(c, &r, numbers, e);
    if (rc != BM_OK)
        return rc;
    organisation = json_string_value(json_object_get(r.facts, "organisation"));
    rc = bm_ceremony_issue(&r, profile != NULL ? profile : "issuing-ca", csr.spki,
                           organisation != NULL ? organisation : "Birthmark", name, crl_url, &cert, e);
    if (rc == BM_OK)
        rc = write_down(c, &r, name, bm_buf_rd(&csr_der), bm_buf_rd(&cert), numbers, e);
    if (rc == BM_OK)
        rc = write_cert(c, &r, bm_buf_rd(&cert), e);
    return rc == BM_OK ? bm_ceremony_tell(c, &r, "ca", name, e) : rc;
}

/* --- show -------------------------------------------------------------------------------------------------------------------------------- */
static void print_line(struct bm_cli *c, const json_t *line)
{
    const char *key;
    json_t *v;

    fprintf(c->out, "%s  %s\n", json_string_value(json_object_get(line, "at")), json_string_value(json_object_get(line, "act")));
    json_object_foreach ((json_t *)(uintptr_t)line, key, v) {
        char *text = strcmp(key, "at") != 0 && strcmp(key, "act") != 0 ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

        if (text != NULL) {
            fprintf(c->out, "    %-20s ", key);
            bm_cli_print_text(c->out, text);
            fputs("\n", c->out);
        }
        free(text);
    }
}

enum bm_rc bm_cli_ceremony_show(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_ceremony_done) struct bm_ceremony r = { 0 };
    BM_CLEANUP(bm_cli_unref) json_t *lines = json_array(), *all = NULL;
    const json_t *line;
    char digest[65];
    size_t i;
    enum bm_rc rc = bm_ceremony_load(&r, bm_cli_text(c, "dir"), e);

    if (rc == BM_OK)
        rc = bm_transcript_read(&r, lines, digest, e);
    if (rc != BM_OK)
        return rc;
    if (c->json) {
        all = json_pack("{sO,ss}", "lines", lines, "transcript_sha256", digest);
        bm_cli_print_json(c, all);
        return BM_OK;
    }
    json_array_foreach (lines, i, line)
        print_line(c, line);
    fprintf(c->out, "transcript %s\n", digest);
    return BM_OK;
}
