/* What a process gives up before it reads the first foreign byte: rights, core dumps, system calls, the file system.
 *
 *   open -> fork -> bm_user_become() -> bm_harden() -> ... open the last files ... -> bm_confine() -> serve
 *
 * Each role has a table of system calls (confine_seccomp.c); anything else kills the process, except the few that libraries try and can do
 * without, which get EPERM. Landlock (confine_landlock.c) closes the file system but for the paths given, and TCP, abstract sockets and
 * signals as far as the kernel knows how. A build with sanitizers cannot be confined, because these read /proc and trace their own process. */
#ifndef BM_BASE_CONFINE_H
#define BM_BASE_CONFINE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum bm_confine_mode {
    BM_CONFINE_OFF,      /* for debugging; a warning is logged */
    BM_CONFINE_AUTO,     /* what the kernel has; a warning for the rest */
    BM_CONFINE_REQUIRED, /* all of it, or BM_IO "confine-unavailable" */
};
/* "required" but in a build with sanitizers. */
extern const char bm_confine_default[];
bool bm_confine_parse(const char *word, enum bm_confine_mode *ret);
const char *bm_confine_word(enum bm_confine_mode mode);

/* KEEPER_DB: a keeper whose registry is a database server, to which it must be able to connect again, or its tokens. KEEPER_TOKEN: one with a
 * PKCS#11 module, which may try to tell syslog what is wrong; it cannot, and lives. COURIER: makes connections, and reads a few files of the
 * system. */
enum bm_role {
    BM_ROLE_SUPERVISOR,
    BM_ROLE_KEEPER,
    BM_ROLE_KEEPER_DB,
    BM_ROLE_KEEPER_TOKEN,
    BM_ROLE_WORKER,
    BM_ROLE_COURIER,
    BM_ROLES
};

struct bm_confine_path {
    const char *path; /* NULL or missing: no rule; a file or a folder with all below it */
    bool write;       /* make, change and remove files there; otherwise read only */
};

/* For the life of this process; it cannot be undone. Call it with one thread only. n_paths may be 0: no file at all. */
BM_MUST_USE enum bm_rc bm_confine(enum bm_confine_mode mode, enum bm_role role, const struct bm_confine_path *paths, size_t n_paths,
                                  struct bm_error *e);
/* Whether bm_confine() could do all of it here; says what is missing. Changes nothing. */
BM_MUST_USE enum bm_rc bm_confine_check(struct bm_error *e);

/* No core dump, no debugger (of the same user), no rights gained by starting programs. */
void bm_harden(void);
/* Limits of the worker: no new process, and no file grows. */
void bm_limit_worker(void);

/* --- users --- */
struct bm_user {
    bool change; /* false: stay who we are */
    uid_t uid;
    gid_t gid;
    char name[64];
};
/* Who `name` is, or, when that is empty, the owner of `folder`, or, without a folder, `nobody`. Unless we are root: nobody can change then, and
 * a name that is not ours is BM_USAGE "user-not-changeable". */
BM_MUST_USE enum bm_rc bm_user_find(const char *name, const char *folder, struct bm_user *ret, struct bm_error *e);
/* For good, with no supplementary groups and no capability left. */
BM_MUST_USE enum bm_rc bm_user_become(const struct bm_user *u, struct bm_error *e);

/* --- between the files of this part --- */
BM_MUST_USE enum bm_rc bm_seccomp_apply(enum bm_role role, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_seccomp_check(struct bm_error *e);
int bm_landlock_abi(void); /* 0: the kernel has none */
BM_MUST_USE enum bm_rc bm_landlock_apply(enum bm_role role, const struct bm_confine_path *paths, size_t n_paths,
                                         struct bm_error *e);

#endif
