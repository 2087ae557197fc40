#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

enum bm_rc bm_file_read(const char *path, struct bm_buf *buf, struct bm_error *e)
{
    BM_CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t start = buf->n;
    uint8_t part[4096];
    ssize_t n = 0;

    if (fd < 0)
        return bm_fail(e, errno == ENOENT ? BM_NOTFOUND : BM_IO, "%s: %s", path, strerror(errno));
    while (!buf->bad && (n = read(fd, part, sizeof part)) > 0) /* a device file may have no end */
        bm_buf_put(buf, part, (size_t)n);
    bm_wipe(part, sizeof part);
    if (!buf->bad && n == 0)
        return BM_OK;
    buf->n = start;
    if (!buf->bad)
        return bm_fail(e, BM_IO, "%s: %s", path, strerror(errno));
    return bm_wrap(e, bm_buf_check(buf, e), "%s", path);
}

static enum bm_rc write_all(int fd, struct bm_rd b)
{
    while (b.n != 0) {
        ssize_t n = write(fd, b.p, b.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return BM_IO;
        b = bm_rd_of(b.p + n, b.n - (size_t)n);
    }
    return BM_OK;
}

static enum bm_rc sync_folder_of(const char *path)
{
    BM_CLEANUP(closep) int fd = -1;
    const char *slash = strrchr(path, '/');
    char dir[4096];

    snprintf(dir, sizeof dir, "%.*s", slash == NULL ? 1 : (int)(slash - path) + 1, slash == NULL ? "." : path);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0 ? BM_OK : BM_IO;
}

/* link() in place of rename() fails when the name is taken; either way the name never stands for half a file. */
static int put_in_place(const char *beside, const char *path, bool replace)
{
    if (replace)
        return rename(beside, path);
    return link(beside, path) == 0 ? unlink(beside) : -1;
}

static enum bm_rc write_beside(const char *path, struct bm_rd content, mode_t mode, bool replace, struct bm_error *e)
{
    BM_CLEANUP(closep) int fd = -1;
    char beside[4096];

    if ((size_t)snprintf(beside, sizeof beside, "%s.new.%ld", path, (long)getpid()) >= sizeof beside)
        return bm_fail(e, BM_LIMIT, "%s: path too long", path);
    (void)unlink(beside);
    fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0 || write_all(fd, content) != BM_OK || fsync(fd) != 0 || put_in_place(beside, path, replace) != 0 ||
        sync_folder_of(path) != BM_OK) {
        int why = errno;

        (void)unlink(beside);
        return bm_fail(e, !replace && why == EEXIST ? BM_CONFLICT : BM_IO, "cannot write %s: %s", path, strerror(why));
    }
    return BM_OK;
}

enum bm_rc bm_file_write(const char *path, struct bm_rd content, mode_t mode, struct bm_error *e)
{
    return write_beside(path, content, mode, true, e);
}

enum bm_rc bm_file_create(const char *path, struct bm_rd content, mode_t mode, struct bm_error *e)
{
    return write_beside(path, content, mode, false, e);
}

enum bm_rc bm_dir_make(const char *path, mode_t mode, struct bm_error *e)
{
    struct stat st;

    if (mkdir(path, mode) == 0)
        return BM_OK;
    if (errno != EEXIST)
        return bm_fail(e, BM_IO, "cannot create folder %s: %s", path, strerror(errno));
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return bm_fail(e, BM_CONFLICT, "%s is there and is not a folder", path);
    return BM_OK;
}

enum bm_rc bm_path_join(const char *dir, const char *name, char *ret, size_t ret_len, struct bm_error *e)
{
    int n = snprintf(ret, ret_len, "%s/%s", dir, name);

    if (n < 0 || (size_t)n >= ret_len)
        return bm_fail(e, BM_LIMIT, "%s/%s: path too long", dir, name);
    return BM_OK;
}
