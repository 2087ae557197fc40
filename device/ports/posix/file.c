#include "posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static enum bmd_rc from_errno(void)
{
    switch (errno) {
    case ENOENT:
        return BMD_NOT_FOUND;
    case EEXIST:
        return BMD_EXISTS;
    case ENOSPC:
        return BMD_NO_SPACE;
    case EACCES:
    case EPERM:
        return BMD_DENIED;
    default:
        return BMD_COMM;
    }
}

enum bmd_rc bmd_file_read(const char *path, uint8_t *ret, size_t cap, size_t *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    ssize_t got = -1;

    if (fd < 0)
        return from_errno();
    while (n < cap && (got = read(fd, ret + n, cap - n)) > 0)
        n += (size_t)got;
    close(fd);
    if (got < 0)
        return BMD_COMM;
    if (n == cap)
        return BMD_NO_SPACE;
    *ret_len = n;
    return BMD_OK;
}

static bool write_all(int fd, struct bmd_rd data)
{
    while (data.n != 0) {
        ssize_t n = write(fd, data.p, data.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data = bmd_rd_of(data.p + n, data.n - (size_t)n);
    }
    return true;
}

enum bmd_rc bmd_file_write(int dir, const char *name, mode_t mode, struct bmd_rd data)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    enum bmd_rc rc = BMD_OK;

    if (fd < 0)
        return from_errno();
    if (!write_all(fd, data) || fchmod(fd, mode) != 0 || fsync(fd) != 0) /* fchmod: whatever the umask is */
        rc = from_errno();
    if (close(fd) != 0 && rc == BMD_OK)
        rc = from_errno();
    return rc;
}

enum bmd_rc bmd_dir_make(const char *path, mode_t mode)
{
    char part[4096];
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof part)
        return BMD_BAD_ARGUMENT;
    memcpy(part, path, n + 1);
    for (char *p = part + 1; *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return from_errno();
        *p = '/';
    }
    if (mkdir(part, mode) == 0) /* chmod: whatever the umask is */
        return chmod(part, mode) == 0 ? BMD_OK : from_errno();
    return errno == EEXIST ? BMD_OK : from_errno();
}

static void remove_in(int parent, const char *name, unsigned depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;

    if (d == NULL && fd >= 0)
        close(fd);
    while (d != NULL && (entry = readdir(d)) != NULL) { /* cppcheck-suppress readdirCalled */
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, entry->d_name, 0) != 0 && depth != 0)
            remove_in(fd, entry->d_name, depth - 1);
    }
    if (d != NULL)
        closedir(d);
    (void)unlinkat(parent, name, AT_REMOVEDIR);
}

void bmd_dir_remove(int parent, const char *name)
{
    remove_in(parent, name, 8);
}

enum bmd_rc bmd_link_swap(int dir, const char *name, const char *target)
{
    static const char fresh[] = ".link";

    (void)unlinkat(dir, fresh, 0);
    if (symlinkat(target, dir, fresh) != 0 || renameat(dir, fresh, dir, name) != 0 || fsync(dir) != 0)
        return from_errno();
    return BMD_OK;
}
