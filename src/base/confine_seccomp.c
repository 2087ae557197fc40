/* The system calls of each role. Names, not numbers: libseccomp knows them for every architecture, and those it does not know are left out. */
#include "base/confine.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    W = 1 << BM_ROLE_WORKER,
    D = 1 << BM_ROLE_KEEPER_DB,
    T = 1 << BM_ROLE_KEEPER_TOKEN,
    K = 1 << BM_ROLE_KEEPER | D | T,
    S = 1 << BM_ROLE_SUPERVISOR,
    C = 1 << BM_ROLE_COURIER,
    ALL = W | K | S | C
};

/* A worker or courier that is started anew has the supervisor's filter besides its own: S has everything that W and C have. */
static const struct call {
    unsigned roles;
    const char *names; /* with blanks between */
} calls[] = {
    /* memory, time, chance, end */
    { ALL, "brk munmap mremap madvise futex restart_syscall exit exit_group sched_yield membarrier rseq set_robust_list" },
    { ALL, "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrandom getrusage" },
    { ALL, "getpid gettid getppid getuid geteuid getgid getegid uname sched_getaffinity" },
    { ALL, "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack sigreturn sigaction sigprocmask" },
    /* sockets and descriptors one has */
    { ALL, "read write readv writev close shutdown recvfrom recvmsg sendto sendmsg getsockopt setsockopt getsockname getpeername" },
    { ALL, "accept4 accept poll ppoll fcntl fcntl64 fstat fstat64" },
    { W | S | C, "epoll_wait epoll_pwait epoll_pwait2 epoll_ctl timerfd_settime select pselect6" },
    /* files, where Landlock lets them be; SQLite and base/file.h */
    { K | S | C, "open openat lseek _llseek pread64 getcwd getdents64" },
    { K | S, "pwrite64 preadv pwritev fsync fdatasync ftruncate ftruncate64 fallocate flock" },
    { K | S | C, "stat lstat stat64 lstat64 statx access faccessat faccessat2 readlink readlinkat statfs fstatfs fadvise64" },
    { K | S, "unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir link linkat umask fchmod fchown dup" },
    { K, "mlock mlock2 munlock" },
    { D | C | S, "connect sendmmsg recvmmsg" },
    /* children: fork, another user, confine */
    { S,
      "clone clone3 fork wait4 waitid kill tgkill socketpair pipe2 eventfd2 epoll_create1 epoll_create timerfd_create signalfd4" },
    { S, "setresuid setresgid setgroups setuid setgid prctl prlimit64 setrlimit getrlimit ugetrlimit seccomp getgroups "
         "set_tid_address" },
    { S, "landlock_create_ruleset landlock_add_rule landlock_restrict_self" },
};

/* Tried by libraries that can do without: refused, without an end of the process. A worker opens nothing at all. */
static const struct call refused[] = {
    { ALL, "ioctl sysinfo getcpu sched_setaffinity get_mempolicy utimensat utime chmod fchmodat fchownat chown lchown getxattr "
           "readahead" },
    { T, "socket connect" },
    { K | W | C, "prctl getrlimit prlimit64 setrlimit" },
    { C, "umask mlock munlock dup" },
    { W, "open openat stat lstat access faccessat readlink readlinkat getcwd lseek dup umask mlock munlock" },
};

static int each_name(const struct call *table, size_t n, enum bm_role role, scmp_filter_ctx ctx, uint32_t action)
{
    int rc = 0;

    for (size_t i = 0; i < n; i++) {
        const char *p = (table[i].roles & 1U << role) != 0 ? table[i].names : "";

        while (rc == 0 && *p != '\0') {
            char name[32];
            size_t len = strcspn(p, " ");
            int nr;

            snprintf(name, sizeof name, "%.*s", (int)len, p);
            nr = seccomp_syscall_resolve_name(name);
            if (nr >= 0) /* below zero: unknown to this library, or not on this machine */
                rc = seccomp_rule_add(ctx, action, nr, 0);
            p += len;
            p += strspn(p, " ");
        }
    }
    return rc;
}

/* Calls that are allowed for some arguments only. */
static int add_shaped(scmp_filter_ctx ctx, enum bm_role role)
{
    static const scmp_datum_t outward[] = { AF_UNIX, AF_INET, AF_INET6,
                                            AF_NETLINK }; /* the last: name resolution asks what there is */
    bool goes_out = role == BM_ROLE_KEEPER_DB || role == BM_ROLE_COURIER || role == BM_ROLE_SUPERVISOR;
    const uint64_t stat_fd = AT_EMPTY_PATH;
    int rc = 0;

    /* No memory becomes code. */
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (role == BM_ROLE_WORKER) /* fstat() of a newer C library */
        rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1, SCMP_A3(SCMP_CMP_MASKED_EQ, stat_fd, stat_fd));
    else
        rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 0);
    /* The supervisor tells the service manager over a local socket; the rest it keeps for the couriers it starts. */
    for (size_t i = role == BM_ROLE_COURIER; goes_out && i < BM_COUNT(outward); i++)
        rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, outward[i], 0));
    if (role != BM_ROLE_SUPERVISOR) /* abort() reaches ourselves only */
        rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
    return rc;
}

enum bm_rc bm_seccomp_apply(enum bm_role role, struct bm_error *e)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int rc = ctx != NULL ? 0 : -ENOMEM;

    if (rc == 0)
        rc = each_name(calls, BM_COUNT(calls), role, ctx, SCMP_ACT_ALLOW);
    if (rc == 0)
        rc = each_name(refused, BM_COUNT(refused), role, ctx, SCMP_ACT_ERRNO(EPERM));
    if (rc == 0)
        rc = add_shaped(ctx, role) != 0 ? -EINVAL : 0;
    if (rc == 0)
        (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree; older libraries make a list */
    if (rc == 0)
        rc = seccomp_load(ctx);
    if (ctx != NULL)
        seccomp_release(ctx);
    return rc == 0 ? BM_OK : bm_refuse(e, BM_IO, "confine-unavailable", "seccomp: %s", strerror(-rc));
}

enum bm_rc bm_seccomp_check(struct bm_error *e)
{
    const uint32_t action = SECCOMP_RET_KILL_PROCESS;

    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0U, &action) != 0)
        return bm_refuse(e, BM_IO, "confine-unavailable", "this kernel, or the container we run in, has no seccomp filters: %s",
                         strerror(errno));
    return BM_OK;
}
