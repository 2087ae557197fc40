/* Keys on their way into the registry. The file comes first, then the row that names it; a program that is killed in between leaves a key that
 * is nobody's. A mark "NAME.making" beside the key, written before the key and taken away after the commit, tells such a key from one that somebody put there:
 * only a key with a mark, which no CA names, is taken away. All this with the registry's lock held. */
#include "keeper/internal.h"

#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { PATH_LEN = 640, FILE_LEN = 96 };
static const char mark_end[] = ".making", key_end[] = ".key.pem";

static enum bm_rc path_of(const struct bm_keeper *k, const char *name, const char *end, char ret[PATH_LEN], struct bm_error *e)
{
    char file[FILE_LEN];

    snprintf(file, sizeof file, "%.64s%s", name, end);
    return bm_path_join(k->ring.dir, file, ret, PATH_LEN, e);
}

/* A mark is never put beside a key that is there: it would give that one away. */
enum bm_rc bm_key_mark(struct bm_keeper *k, const char *name, struct bm_error *e)
{
    char key[PATH_LEN], mark[PATH_LEN];
    enum bm_rc rc = path_of(k, name, key_end, key, e);

    if (rc == BM_OK)
        rc = path_of(k, name, mark_end, mark, e);
    if (rc != BM_OK)
        return rc;
    if (access(key, F_OK) == 0)
        return bm_fail(e, BM_CONFLICT, "key '%s' is there already", name);
    snprintf(k->key_made, sizeof k->key_made, "%s", name);
    return bm_file_write(mark, bm_rd_str(""), 0600, e);
}

void bm_key_marks_committed(struct bm_keeper *k)
{
    char mark[PATH_LEN];

    if (k->key_made[0] == '\0')
        return;
    if (path_of(k, k->key_made, mark_end, mark, NULL) == BM_OK && unlink(mark) != 0)
        bm_log(BM_LOG_WARN, "key", "cannot remove %s: %s; the next start will", mark, strerror(errno));
    k->key_made[0] = '\0';
}

struct search {
    char uri[BM_TEXT_MAX];
    bool found;
};

static enum bm_rc see_ca(void *arg, const struct bm_ca *ca, struct bm_error *e)
{
    struct search *s = arg;

    (void)e;
    s->found |= strcmp(ca->key_uri, s->uri) == 0;
    return BM_OK;
}

static enum bm_rc tidy_one(struct bm_keeper *k, const char *name, struct bm_error *e)
{
    char key[PATH_LEN], mark[PATH_LEN];
    struct search s = { .found = strcmp(name, "log") == 0 || strcmp(name, "tls-server") == 0 }; /* those have no row */
    enum bm_rc rc;

    snprintf(s.uri, sizeof s.uri, "file:%s", name);
    rc = bm_ca_each(k->store, see_ca, &s, e);
    if (rc == BM_OK)
        rc = path_of(k, name, key_end, key, e);
    if (rc == BM_OK)
        rc = path_of(k, name, mark_end, mark, e);
    if (rc != BM_OK)
        return rc;
    if (!s.found && unlink(key) == 0)
        bm_log(BM_LOG_INFO, "key", "%s was made for a CA that never came to be; removed", key);
    return unlink(mark) == 0 || errno == ENOENT ? BM_OK : bm_fail(e, BM_IO, "cannot remove %s: %s", mark, strerror(errno));
}

/* The name that a mark is for. */
static bool is_mark(const char *file, char ret[BM_NAME_LEN])
{
    size_t n = strlen(file), end = sizeof mark_end - 1;

    if (n <= end || n - end >= BM_NAME_LEN || strcmp(file + n - end, mark_end) != 0)
        return false;
    memcpy(ret, file, n - end);
    ret[n - end] = '\0';
    return true;
}

/* What cannot be tidied stays for the next start: a disk that is read-only is no reason not to look at the registry. */
enum bm_rc bm_key_marks_tidy(struct bm_keeper *k, struct bm_error *e)
{
    DIR *d = opendir(k->ring.dir);
    const struct dirent *f;
    char name[BM_NAME_LEN];
    struct bm_error why;

    if (d == NULL)
        return bm_fail(e, BM_IO, "cannot look into %s: %s", k->ring.dir, strerror(errno));
    while ((f = readdir(d)) != NULL)
        if (is_mark(f->d_name, name) && tidy_one(k, name, &why) != BM_OK)
            bm_log(BM_LOG_WARN, "key", "%s", why.what);
    closedir(d);
    return BM_OK;
}
