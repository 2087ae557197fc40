/* Landlock through its system calls: glibc has no wrappers, and the headers of Debian 12 end at the second version. Numbers and bits are
 * the kernel's ABI (Documentation/userspace-api/landlock.rst). */
#include "base/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    FS_V1 = (1 << 13) - 1,  /* EXECUTE to MAKE_SYM */
    FS_REFER = 1 << 13,     /* version 2 */
    FS_TRUNCATE = 1 << 14,  /* version 3 */
    FS_IOCTL_DEV = 1 << 15, /* version 5 */
    READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
    WRITE = READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
            LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK | FS_TRUNCATE,
    ON_FILES = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE,
    NET_BIND = 1, /* TCP, version 4 */
    NET_CONNECT = 2,
    SCOPES = 3, /* abstract sockets and signals, version 6 */
};

struct ruleset {
    uint64_t fs, net, scoped;
};

int bm_landlock_abi(void)
{
    long v = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);

    return v > 0 ? (int)v : 0;
}

/* Everything this version of the kernel can refuse; the size says which version we speak. The supervisor signals its children. */
static int make_ruleset(int abi, enum bm_role role, struct ruleset *r)
{
    static const uint64_t net[BM_ROLES] = { [BM_ROLE_SUPERVISOR] = NET_BIND, /* it starts couriers anew */
                                            [BM_ROLE_COURIER] = NET_BIND,
                                            [BM_ROLE_KEEPER] = NET_BIND | NET_CONNECT,
                                            [BM_ROLE_KEEPER_TOKEN] = NET_BIND | NET_CONNECT,
                                            [BM_ROLE_WORKER] = NET_BIND | NET_CONNECT };
    size_t n = abi >= 6 ? 3 * sizeof(uint64_t) : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);

    *r = (struct ruleset){ .fs = FS_V1 | (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) | (abi >= 5 ? FS_IOCTL_DEV : 0) };
    r->net = abi >= 4 ? net[role] : 0;
    r->scoped = abi >= 6 && role != BM_ROLE_SUPERVISOR ? SCOPES : 0;
    return (int)syscall(SYS_landlock_create_ruleset, r, n, 0U);
}

static enum bm_rc allow(int ruleset, uint64_t handled, const struct bm_confine_path *p, struct bm_error *e)
{
    struct landlock_path_beneath_attr rule = { .allowed_access = (p->write ? WRITE : READ) & handled };
    struct stat st;
    long rc;
    int fd = p->path != NULL && p->path[0] != '\0' ? open(p->path, O_PATH | O_CLOEXEC) : -1;

    if (fd < 0)
        return BM_OK; /* what is not there needs no leave */
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed_access &= ON_FILES;
    rule.parent_fd = fd;
    rc = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0U);
    if (rc != 0)
        (void)bm_refuse(e, BM_IO, "confine-unavailable", "Landlock: %s: %s", p->path, strerror(errno));
    close(fd);
    return rc == 0 ? BM_OK : BM_IO;
}

enum bm_rc bm_landlock_apply(enum bm_role role, const struct bm_confine_path *paths, size_t n_paths, struct bm_error *e)
{
    struct ruleset r;
    enum bm_rc rc = BM_OK;
    int abi = bm_landlock_abi();
    int fd = abi > 0 ? make_ruleset(abi, role, &r) : -1;

    if (fd < 0)
        return bm_refuse(e, BM_IO, "confine-unavailable", "this kernel, or the container we run in, has no Landlock");
    for (size_t i = 0; i < n_paths && rc == BM_OK; i++)
        rc = allow(fd, r.fs, &paths[i], e);
    if (rc == BM_OK && syscall(SYS_landlock_restrict_self, fd, 0U) != 0)
        rc = bm_refuse(e, BM_IO, "confine-unavailable", "Landlock: %s", strerror(errno));
    close(fd);
    return rc;
}
