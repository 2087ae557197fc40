/* manifest make, manifest export: entries from lines of JSON or from the registry, through the same writer. */
#include "cli/manifest.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "pki/cert.h"
#include "pki/jwe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINES_NAMED = 20, EXPORT_PAGE = 500, OUT_PATH_MAX = 1024 };

struct making {
    struct bm_cli *c;
    struct bm_cli_signer signer;
    struct bm_manifest_writer *writer;
    struct bm_cli_progress progress;
    FILE *out;
    char path[OUT_PATH_MAX], part[OUT_PATH_MAX + 8]; /* written beside and renamed; part "" for standard output */
    int64_t entries, bad;
    struct bm_buf spki, birth, attributes, ident, sealed; /* what an entry borrows */
    struct bm_buf import_key;                             /* SubjectPublicKeyInfo of --encrypt-to */
    bool from_stdin, exporting;
    const char *issuer;
};

/* --- the file ---------------------------------------------------------------------------------------------------------------- */
static enum bm_rc sink(void *arg, struct bm_rd block, struct bm_error *e)
{
    struct making *m = arg;

    if (fwrite(block.p, 1, block.n, m->out) != block.n)
        return bm_fail(e, BM_IO, "cannot write %s: %s", m->path, strerror(errno));
    return BM_OK;
}

static enum bm_rc out_open(struct making *m, const char *path, struct bm_error *e)
{
    int fd;

    if ((size_t)snprintf(m->path, sizeof m->path, "%s", path) >= sizeof m->path)
        return bm_fail(e, BM_LIMIT, "--out: path too long");
    if (strcmp(path, "-") == 0) {
        m->out = m->c->out;
        return BM_OK;
    }
    snprintf(m->part, sizeof m->part, "%s.part", path);
    (void)unlink(m->part);
    fd = open(m->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    m->out = fd < 0 ? NULL : fdopen(fd, "wb");
    if (m->out != NULL)
        return BM_OK;
    m->part[0] = '\0';
    return bm_fail(e, BM_IO, "cannot write %s.part: %s", path, strerror(errno));
}

/* A manifest that is there is whole. */
static enum bm_rc out_finish(struct making *m, struct bm_error *e)
{
    FILE *f = BM_MOVE(m->out);
    bool good;

    if (m->part[0] == '\0')
        return BM_OK;
    good = fflush(f) == 0 && fsync(fileno(f)) == 0;
    good = fclose(f) == 0 && good;
    if (!good || rename(m->part, m->path) != 0)
        return bm_fail(e, BM_IO, "cannot write %s: %s", m->path, strerror(errno));
    m->part[0] = '\0';
    return BM_OK;
}

static void making_done(struct making *m)
{
    bm_manifest_writer_free(m->writer);
    bm_cli_signer_done(&m->signer);
    if (m->out != NULL && m->out != m->c->out)
        fclose(m->out);
    if (m->part[0] != '\0')
        (void)unlink(m->part);
    bm_buf_done(&m->spki);
    bm_buf_done(&m->birth);
    bm_buf_done(&m->attributes);
    bm_buf_done(&m->ident);
    bm_buf_done(&m->sealed);
    bm_buf_done(&m->import_key);
}

/* --- header ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc header_of(const struct bm_cli *c, struct bm_manifest_header *ret, struct bm_error *e)
{
    const struct {
        const char *member;
        char *to;
        size_t room;
    } rows[] = {
        { "id", ret->id, sizeof ret->id },
        { "issuer", ret->issuer, sizeof ret->issuer },
        { "product", ret->product, sizeof ret->product },
        { "batch", ret->batch, sizeof ret->batch },
    };

    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        const char *text = bm_cli_text(c, rows[i].member);

        if (text != NULL && (size_t)snprintf(rows[i].to, rows[i].room, "%s", text) >= rows[i].room)
            return bm_fail(e, BM_USAGE, "--%s: longer than %zu characters", rows[i].member, rows[i].room - 1);
    }
    ret->created = bm_clock_s();
    return BM_OK;
}

static enum bm_rc making_begin(struct making *m, struct bm_cli *c, struct bm_error *e)
{
    struct bm_manifest_header header = { 0 };
    struct bm_manifest_writer_options o = { .header = &header, .sink = sink, .arg = m };
    enum bm_rc rc;

    m->c = c;
    m->spki.max = BM_SPKI_MAX;
    m->birth.max = BM_CERT_MAX;
    m->attributes.max = BM_MANIFEST_LINE_MAX;
    m->ident.max = BM_MANIFEST_LINE_MAX;
    m->sealed.max = BM_MANIFEST_LINE_MAX;
    m->issuer = bm_cli_text(c, "issuer");
    bm_cli_progress_begin(&m->progress, c);
    rc = header_of(c, &header, e);
    if (rc == BM_OK)
        rc = bm_cli_signer_open(c, &m->signer, e);
    if (rc == BM_OK)
        rc = out_open(m, bm_cli_text(c, "out"), e);
    if (rc != BM_OK)
        return rc;
    o.key = m->signer.key;
    o.cert = bm_buf_rd(&m->signer.cert);
    return bm_manifest_writer_new(&o, &m->writer, e);
}

/* --- an entry: a line of JSON and a row of device.list have the same members ------------------------------------------------- */
static enum bm_rc take_bytes(const json_t *row, const char *member, struct bm_buf *ret, struct bm_error *e)
{
    const json_t *v = json_object_get(row, member);
    enum bm_rc rc;

    ret->n = 0;
    if (v == NULL || json_is_null(v))
        return BM_OK;
    if (!json_is_string(v))
        return bm_refuse(e, BM_MALFORMED, "entry-format", "\"%s\" must be text: base64url", member);
    rc = bm_unbase64url(bm_rd_of(json_string_value(v), json_string_length(v)), ret, e);
    ret->bad = false;
    return rc == BM_OK ? rc : bm_wrap(e, rc, "\"%s\"", member);
}

static enum bm_rc take_attributes(const json_t *row, struct bm_buf *ret, struct bm_error *e)
{
    const json_t *v = json_object_get(row, "attributes");
    char *text;

    ret->n = 0;
    if (v == NULL || json_is_null(v))
        return BM_OK;
    if (!json_is_object(v))
        return bm_refuse(e, BM_MALFORMED, "entry-attributes", "\"attributes\" must be an object");
    text = json_dumps(v, JSON_COMPACT);
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    bm_buf_str(ret, text);
    free(text);
    if (!ret->bad)
        return BM_OK;
    ret->bad = false;
    return bm_refuse(e, BM_LIMIT, "entry-attributes", "\"attributes\" are longer than %zu bytes", ret->max);
}

/* --- a device without a key pair --------------------------------------------------------------------------------------------- */
static enum bm_rc copy_word(const json_t *row, const char *member, char *ret, size_t room, const char *code, struct bm_error *e)
{
    const json_t *v = json_object_get(row, member);

    if (v == NULL)
        return BM_OK;
    if (!json_is_string(v) || (size_t)snprintf(ret, room, "%s", json_string_value(v)) >= room)
        return bm_refuse(e, BM_MALFORMED, code, "\"%s\" must be text of at most %zu characters", member, room - 1);
    return BM_OK;
}

/* A secret in clear is sealed on the spot, and wiped also where the JSON parser has put it. */
static enum bm_rc seal_secret(struct making *m, const json_t *row, const struct bm_manifest_entry *entry, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf secret = { .max = 2 * BM_MAC_KEY_MAX };
    const json_t *v = json_object_get(row, "secret");
    const struct bm_mac_alg *mac = bm_mac_find(bm_rd_str(entry->mac));
    uint8_t udid[32];
    char hex[65];
    enum bm_rc rc;

    if (v == NULL)
        return BM_OK;
    if (!m->from_stdin || m->import_key.n == 0 || m->sealed.n != 0 || entry->root[0] != '\0')
        return bm_refuse(e, BM_MALFORMED, "entry-secret",
                         "\"secret\" is taken on standard input only, with --encrypt-to, and alone");
    rc = take_bytes(row, "secret", &secret, e);
    if (json_is_string(v))
        bm_wipe((char *)(uintptr_t)json_string_value(v), json_string_length(v));
    if (rc != BM_OK || mac == NULL || !bm_mac_key_fits(mac, secret.n) || entry->ident.n == 0 || entry->ident.n > BM_MAC_IDENT_MAX)
        return bm_refuse(e, BM_MALFORMED, "entry-secret", "\"secret\" must be base64url of a key that fits \"mac\"");
    bm_udid_symmetric(bm_rd_str(m->issuer), bm_rd_str(entry->rot), entry->ident, udid);
    bm_hex(udid, sizeof udid, hex);
    return bm_jwe_make(bm_buf_rd(&m->import_key), bm_rd_str(hex), bm_buf_rd(&secret), &m->sealed, e);
}

static enum bm_rc take_sealed(struct making *m, const json_t *row, struct bm_error *e)
{
    const json_t *v = json_object_get(row, "sealed");

    m->sealed.n = 0;
    if (v == NULL)
        return BM_OK;
    if (!json_is_string(v) || json_string_length(v) > BM_JWE_MAX)
        return bm_refuse(e, BM_MALFORMED, "entry-secret", "\"sealed\" must be a JWE of at most %d characters", BM_JWE_MAX);
    bm_buf_put(&m->sealed, json_string_value(v), json_string_length(v));
    return bm_buf_check(&m->sealed, e);
}

static enum bm_rc take_symmetric(struct making *m, const json_t *row, struct bm_manifest_entry *entry, struct bm_error *e)
{
    enum bm_rc rc = take_bytes(row, "id", &m->ident, e);

    entry->ident = bm_buf_rd(&m->ident);
    if (rc == BM_OK)
        rc = copy_word(row, "mac", entry->mac, sizeof entry->mac, "entry-mac", e);
    if (rc == BM_OK)
        rc = copy_word(row, "root", entry->root, sizeof entry->root, "entry-secret", e);
    if (rc == BM_OK)
        rc = take_sealed(m, row, e);
    if (rc == BM_OK)
        rc = seal_secret(m, row, entry, e);
    entry->sealed = bm_buf_rd(&m->sealed);
    return rc;
}

static enum bm_rc add_entry(struct making *m, const json_t *row, struct bm_error *e)
{
    static const uint8_t zero[sizeof((struct bm_manifest_entry *)0)->udid]; /* the writer's word for "not given" */
    struct bm_manifest_entry entry = { 0 };
    const char *udid = json_string_value(json_object_get(row, "udid")), *rot = json_string_value(json_object_get(row, "rot"));
    enum bm_rc rc = take_bytes(row, "key", &m->spki, e);
    bool symmetric = !m->exporting && json_object_get(row, "id") != NULL; /* a row of the registry has a number there */

    if (rc == BM_OK)
        rc = take_bytes(row, "birth", &m->birth, e);
    if (rc == BM_OK)
        rc = take_attributes(row, &m->attributes, e);
    if (rc != BM_OK)
        return rc;
    if (m->spki.n == 0 && !symmetric)
        return bm_refuse(e, BM_MALFORMED, "entry-key", "\"key\" is missing: the device's SubjectPublicKeyInfo as base64url");
    if (rot == NULL || (size_t)snprintf(entry.rot, sizeof entry.rot, "%s", rot) >= sizeof entry.rot)
        return bm_refuse(e, BM_MALFORMED, "entry-rot",
                         "\"rot\" is missing: the kind of root of trust, as \"atecc608\" or \"software\"");
    if (udid != NULL && (!bm_unhex(bm_rd_str(udid), entry.udid, sizeof entry.udid) || memcmp(entry.udid, zero, sizeof zero) == 0))
        return bm_refuse(e, BM_MALFORMED, "entry-udid", "\"udid\" must be 64 hex digits, or absent");
    entry.spki = bm_buf_rd(&m->spki);
    entry.birth_cert = bm_buf_rd(&m->birth);
    entry.attributes = bm_buf_rd(&m->attributes);
    rc = symmetric ? take_symmetric(m, row, &entry, e) : BM_OK;
    if (rc == BM_OK)
        rc = bm_manifest_writer_add(m->writer, &entry, e);
    m->entries += rc == BM_OK;
    return rc;
}

/* --- the end ----------------------------------------------------------------------------------------------------------------- */
static enum bm_rc making_end(struct making *m, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref)
    json_t *totals = json_pack("{ss,sI,sI}", "manifest", m->path, "entries", (json_int_t)m->entries, "refused", (json_int_t)m->bad);
    enum bm_rc rc = bm_manifest_writer_end(m->writer, e);

    if (rc == BM_OK)
        rc = out_finish(m, e);
    if (rc != BM_OK)
        return rc;
    bm_cli_progress_end(&m->progress, totals);
    if (strcmp(m->path, "-") == 0)
        bm_cli_note(m->c, "%lld entries\n", (long long)m->entries);
    else if (m->c->json)
        bm_cli_print_json(m->c, totals);
    else if (!m->c->quiet)
        bm_cli_print_record(m->c, totals);
    if (m->bad != 0)
        return bm_refuse(e, BM_DENIED, "entries-refused", "%lld lines were left out", (long long)m->bad);
    return BM_OK;
}

/* --- make -------------------------------------------------------------------------------------------------------------------- */
static const char *unknown_member(const json_t *row)
{
    static const char *const known[] = { "udid", "key", "rot", "birth", "attributes", "id", "mac", "sealed", "root", "secret" };
    const char *member;
    const json_t *v;

    json_object_foreach ((json_t *)row, member, v) {
        bool found = false;

        for (size_t i = 0; i < BM_COUNT(known); i++)
            found = found || strcmp(known[i], member) == 0;
        if (!found)
            return member;
    }
    return NULL;
}

static enum bm_rc add_line(struct making *m, const char *line, size_t n, struct bm_error *e)
{
    json_error_t why;
    BM_CLEANUP(bm_cli_unref) json_t *row = json_loadb(line, n, JSON_REJECT_DUPLICATES, &why);
    const char *unknown;
    char safe[64];

    if (!json_is_object(row))
        return bm_refuse(e, BM_MALFORMED, "entry-format", "not a JSON object%s%s", row == NULL ? ": " : "",
                         row == NULL ? why.text : "");
    unknown = unknown_member(row);
    if (unknown != NULL)
        return bm_refuse(e, BM_MALFORMED, "entry-format", "unknown member \"%s\"",
                         bm_text_escape(bm_rd_str(unknown), safe, sizeof safe));
    return add_entry(m, row, e);
}

/* Is the line wrong, or do we have trouble of our own? */
static bool line_is_bad(enum bm_rc rc)
{
    return rc == BM_MALFORMED || rc == BM_LIMIT || rc == BM_DENIED || rc == BM_CONFLICT || rc == BM_USAGE;
}

static enum bm_rc one_line(struct making *m, const char *line, size_t n, int64_t number, struct bm_error *e)
{
    enum bm_rc rc = n > BM_MANIFEST_LINE_MAX ? bm_refuse(e, BM_LIMIT, "entry-format", "longer than %d bytes", BM_MANIFEST_LINE_MAX)
                                             : add_line(m, line, n, e);

    bm_cli_progress_add(&m->progress, 1);
    if (!line_is_bad(rc))
        return rc;
    if (m->bad++ < LINES_NAMED) {
        fprintf(m->c->err, "line %lld: ", (long long)number);
        bm_cli_print_text(m->c->err, e->what);
        fprintf(m->c->err, " (%s)\n", bm_error_code(e));
    }
    return BM_OK;
}

static void freep(char **p)
{
    free(*p);
}

/* getline() would take in a line of any length: a limit on the way keeps memory bounded. */
static ssize_t read_line(FILE *in, char *line, size_t room)
{
    size_t n = 0;
    int ch;

    while ((ch = getc_unlocked(in)) != EOF && ch != '\n') {
        if (n < room)
            line[n] = (char)ch;
        n++;
    }
    return ch == EOF && n == 0 ? -1 : (ssize_t)n;
}

static bool is_blank(const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return false;
    }
    return true;
}

static enum bm_rc all_lines(struct making *m, FILE *in, struct bm_error *e)
{
    BM_CLEANUP(freep) char *line = malloc(BM_MANIFEST_LINE_MAX);
    int64_t number = 0;
    enum bm_rc rc = BM_OK;
    ssize_t n;

    if (line == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    while (rc == BM_OK && (n = read_line(in, line, BM_MANIFEST_LINE_MAX)) >= 0) {
        number++;
        if (n > BM_MANIFEST_LINE_MAX || !is_blank(line, (size_t)n))
            rc = one_line(m, line, (size_t)n, number, e);
    }
    if (rc == BM_OK && ferror(in))
        rc = bm_fail(e, BM_IO, "cannot read the lines: %s", strerror(errno));
    bm_wipe(line, BM_MANIFEST_LINE_MAX); /* may have held secrets */
    return rc;
}

static enum bm_rc read_import_key(struct making *m, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 4 * BM_SPKI_MAX };
    const char *path = bm_cli_text(m->c, "encrypt_to");
    enum bm_rc rc;

    if (path == NULL)
        return BM_OK;
    m->import_key.max = BM_SPKI_MAX;
    rc = bm_file_read(path, &pem, e);
    if (rc == BM_OK)
        rc = bm_pem_parse(bm_buf_rd(&pem), "PUBLIC KEY", bm_pem_keep, &m->import_key, e);
    if (rc == BM_OK && m->import_key.n == 0)
        rc = bm_fail(e, BM_USAGE, "--encrypt-to %s: no public key in PEM", path);
    return rc;
}

enum bm_rc bm_cli_manifest_make(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(making_done) struct making m = { .c = c };
    const char *path = bm_cli_text(c, "file");
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    enum bm_rc rc;

    if (in == NULL)
        return bm_fail(e, errno == ENOENT ? BM_NOTFOUND : BM_IO, "%s: %s", path, strerror(errno));
    m.from_stdin = in == stdin;
    rc = making_begin(&m, c, e);
    if (rc == BM_OK)
        rc = read_import_key(&m, e);
    if (rc == BM_OK)
        rc = all_lines(&m, in, e);
    if (in != stdin)
        fclose(in);
    return rc == BM_OK ? making_end(&m, e) : rc;
}

/* --- export ------------------------------------------------------------------------------------------------------------------ */
/* One whose key the registry has not, or shall not tell. */
static bool has_no_key(const json_t *row)
{
    const char *rot = json_string_value(json_object_get(row, "rot"));
    const struct bm_rot_kind *kind = rot != NULL ? bm_rot_kind_find(bm_rd_str(rot)) : NULL;

    return kind != NULL && (kind->symmetric || kind->attested);
}

static enum bm_rc add_rows(struct making *m, const json_t *rows, struct bm_error *e)
{
    const json_t *row;
    size_t i;

    json_array_foreach (rows, i, row) {
        enum bm_rc rc;

        if (has_no_key(row)) { /* it stays where it is, sealed: whoever imports this list could not check the device */
            m->bad++;
            continue;
        }
        rc = add_entry(m, row, e);

        if (rc != BM_OK)
            return bm_wrap(e, rc, "device %.64s", json_string_value(json_object_get(row, "udid")));
    }
    bm_cli_progress_add(&m->progress, (int64_t)json_array_size(rows));
    return BM_OK;
}

enum bm_rc bm_cli_manifest_export(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(making_done) struct making m = { .c = c, .exporting = true };
    BM_CLEANUP(bm_cli_unref)
    json_t *request =
        json_pack("{ss,ss,sb,si}", "op", "device.list", "batch", bm_cli_text(c, "batch"), "full", 1, "limit", EXPORT_PAGE);
    BM_CLEANUP(bm_cli_unref) json_t *batch = NULL;
    bool more = true;
    enum bm_rc rc =
        bm_cli_ask1(c, "batch.show", "name", bm_cli_text(c, "batch"), &batch, e); /* an unknown batch is not an empty one */

    if (rc == BM_OK)
        rc = making_begin(&m, c, e);
    while (rc == BM_OK && more) {
        BM_CLEANUP(bm_cli_unref) json_t *page = NULL;

        rc = bm_cli_ask(c, request, &page, e);
        if (rc == BM_OK)
            rc = add_rows(&m, json_object_get(page, "rows"), e);
        more = rc == BM_OK && json_is_integer(json_object_get(page, "next"));
        if (more && json_object_set(request, "after", json_object_get(page, "next")) != 0)
            rc = bm_fail(e, BM_NOMEM, "out of memory");
    }
    return rc == BM_OK ? making_end(&m, e) : rc;
}
