/* Files and proofs for backup, restore and migrate. */
#include "cli/backup.h"

#include "audit/log.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

enum { PART = 64 * 1024 };

static void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static void md_freep(EVP_MD_CTX **md)
{
    EVP_MD_CTX_free(*md);
}

enum bm_rc bm_file_digest(const char *path, int64_t *ret_size, uint8_t ret[32], struct bm_error *e)
{
    BM_CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    BM_CLEANUP(md_freep) EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t part[PART];
    bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
    int64_t size = 0;
    ssize_t n = 0;

    if (fd < 0)
        return bm_fail(e, errno == ENOENT ? BM_NOTFOUND : BM_IO, "%s: %s", path, strerror(errno));
    for (; ok && (n = read(fd, part, sizeof part)) > 0; size += n)
        ok = EVP_DigestUpdate(md, part, (size_t)n) == 1;
    if (n < 0)
        return bm_fail(e, BM_IO, "%s: %s", path, strerror(errno));
    if (!ok || EVP_DigestFinal_ex(md, ret, NULL) != 1)
        return bm_fail(e, BM_NOMEM, "no digest");
    *ret_size = size;
    return BM_OK;
}

static bool write_all(int fd, const uint8_t *p, size_t n)
{
    while (n != 0) {
        ssize_t w = write(fd, p, n);

        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

static enum bm_rc copy_out(int in, const char *from, const char *to, struct bm_error *e)
{
    BM_CLEANUP(closep) int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    uint8_t part[PART];
    ssize_t n = 0;
    bool ok = true;

    if (out < 0)
        return bm_fail(e, errno == EEXIST ? BM_CONFLICT : BM_IO, "%s: %s", to, strerror(errno));
    while (ok && (n = read(in, part, sizeof part)) > 0)
        ok = write_all(out, part, (size_t)n);
    if (n < 0 || !ok || fsync(out) != 0)
        return bm_fail(e, BM_IO, "%s to %s: %s", from, to, strerror(errno));
    return BM_OK;
}

enum bm_rc bm_file_copy(const char *from, const char *to, struct bm_error *e)
{
    BM_CLEANUP(closep) int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (in < 0)
        return bm_fail(e, errno == ENOENT ? BM_NOTFOUND : BM_IO, "%s: %s", from, strerror(errno));
    return copy_out(in, from, to, e);
}

enum bm_rc bm_file_sync(const char *path, struct bm_error *e)
{
    BM_CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd >= 0 && fsync(fd) == 0 ? BM_OK : bm_fail(e, BM_IO, "%s: %s", path, strerror(errno));
}

/* --- the configuration -------------------------------------------------------------------------------------------------------- */
static bool says(struct bm_rd line, const char *key)
{
    size_t len = strlen(key), n = 0;

    while (n < line.n && (line.p[n] == ' ' || line.p[n] == '\t'))
        n++;
    if (line.n - n <= len || memcmp(line.p + n, key, len) != 0)
        return false;
    for (n += len; n < line.n && (line.p[n] == ' ' || line.p[n] == '\t'); n++)
        ;
    return n < line.n && line.p[n] == '=';
}

static void without(struct bm_rd text, const char *key, struct bm_buf *out)
{
    while (text.n != 0) {
        const uint8_t *end = memchr(text.p, '\n', text.n);
        size_t n = end != NULL ? (size_t)(end - text.p) + 1 : text.n;

        if (!says(bm_rd_of(text.p, n), key)) {
            bm_buf_put(out, text.p, n);
            if (end == NULL)
                bm_buf_str(out, "\n");
        }
        text = bm_rd_of(text.p + n, text.n - n);
    }
}

enum bm_rc bm_cli_config_line(const char *path, const char *key, const char *value, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_CONFIG_FILE_MAX }, out = { .max = BM_CONFIG_FILE_MAX };
    enum bm_rc rc = bm_file_read(path, &text, e);

    if (rc == BM_NOTFOUND && value == NULL)
        return BM_OK;
    if (rc != BM_OK && rc != BM_NOTFOUND)
        return rc;
    if (value != NULL && strpbrk(value, "#\n") != NULL)
        return bm_fail(e, BM_USAGE, "'#' and line ends do not go into the configuration");
    without(bm_buf_rd(&text), key, &out);
    if (value != NULL)
        bm_buf_printf(&out, "%s = %s\n", key, value);
    rc = bm_buf_check(&out, e);
    return rc == BM_OK ? bm_file_write(path, bm_buf_rd(&out), 0600, e) : rc;
}

enum bm_rc bm_cli_config_store(const char *path, const char *dsn, struct bm_error *e)
{
    return bm_cli_config_line(path, "store", dsn, e);
}

/* --- proofs ------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc add_log(void *arg, const struct bm_host *h, const struct bm_audit_report *r, struct bm_error *e)
{
    struct bm_proof *p = arg;

    (void)e;
    p->leaves += r->leaves;
    p->heads += r->heads;
    if (h->id == 1)
        bm_hex(r->root, sizeof r->root, p->root);
    return BM_OK;
}

enum bm_rc bm_cli_prove(struct bm_store *s, struct bm_proof *ret, struct bm_error *e)
{
    enum bm_rc rc;

    *ret = (struct bm_proof){ 0 };
    rc = bm_audit_verify_all(s, add_log, ret, e);
    if (rc == BM_OK)
        rc = bm_store_content(s, &ret->content, e);
    if (rc != BM_OK)
        return rc;
    bm_hex(ret->content.sha256, sizeof ret->content.sha256, ret->sha256);
    return BM_OK;
}

enum bm_rc bm_cli_prove_at(const char *dsn, struct bm_proof *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *s = NULL;
    enum bm_rc rc = bm_store_open(dsn, (struct bm_store_options){ .read_only = true, .as_is = true }, &s, e);

    if (rc == BM_OK)
        rc = bm_store_snapshot(s, e);
    return rc == BM_OK ? bm_cli_prove(s, ret, e) : rc;
}

json_t *bm_cli_proof_json(const struct bm_proof *p)
{
    return json_pack("{sI,sI,ss,sI,ss}", "entries", (json_int_t)p->leaves, "heads", (json_int_t)p->heads, "root", p->root, "rows",
                     (json_int_t)p->content.rows, "sha256", p->sha256);
}

enum bm_rc bm_cli_tell(struct bm_cli *c, json_t *record, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *own = record;

    if (own == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    if (c->json)
        bm_cli_print_json(c, own);
    else if (!c->quiet)
        bm_cli_print_record(c, own);
    return BM_OK;
}
