#include "base/confine.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED true
#endif
#ifdef SANITIZED
const char bm_confine_default[] = "off";
#else
#define SANITIZED false
const char bm_confine_default[] = "required";
#endif

static const char *const words[] = {
    [BM_CONFINE_OFF] = "off",
    [BM_CONFINE_AUTO] = "auto",
    [BM_CONFINE_REQUIRED] = "required",
};

bool bm_confine_parse(const char *word, enum bm_confine_mode *ret)
{
    for (size_t i = 0; i < BM_COUNT(words); i++) {
        if (strcmp(word, words[i]) == 0) {
            *ret = (enum bm_confine_mode)i;
            return true;
        }
    }
    return false;
}

const char *bm_confine_word(enum bm_confine_mode mode)
{
    return (size_t)mode < BM_COUNT(words) ? words[mode] : "?";
}

enum bm_rc bm_confine_check(struct bm_error *e)
{
    if (SANITIZED)
        return bm_refuse(e, BM_IO, "confine-unavailable", "a build with sanitizers cannot be confined");
    if (bm_landlock_abi() < 1)
        return bm_refuse(e, BM_IO, "confine-unavailable", "this kernel, or the container we run in, has no Landlock");
    return bm_seccomp_check(e);
}

/* The error of what could not be had, and whether we go on without. */
static enum bm_rc without(enum bm_confine_mode mode, enum bm_rc rc, const char *what, struct bm_error *e)
{
    if (rc == BM_OK || mode == BM_CONFINE_REQUIRED)
        return rc;
    bm_log(BM_LOG_WARN, "confine", "going on without %s, because the configuration has confine = auto: %s", what, e->what);
    return BM_OK;
}

enum bm_rc bm_confine(enum bm_confine_mode mode, enum bm_role role, const struct bm_confine_path *paths, size_t n_paths,
                      struct bm_error *e)
{
    enum bm_rc rc;

    if (mode == BM_CONFINE_OFF)
        return BM_OK;
    if (SANITIZED)
        return without(mode, bm_confine_check(e), "confinement", e);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return bm_fail(e, BM_IO, "no_new_privs: %s", strerror(errno));
    rc = without(mode, bm_landlock_apply(role, paths, n_paths, e), "Landlock", e);
    return rc == BM_OK ? without(mode, bm_seccomp_apply(role, e), "seccomp", e) : rc;
}

void bm_harden(void)
{
    const struct rlimit none = { 0, 0 };

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)prctl(PR_SET_DUMPABLE, SANITIZED); /* their search for leaks traces the process, also after a change of its user */
}

void bm_limit_worker(void)
{
    const struct rlimit none = { 0, 0 };
    struct stat log;

    if (!SANITIZED) /* it is a process of its own, too */
        (void)setrlimit(RLIMIT_NPROC, &none);
    /* A log that goes to a file must still grow; no other file is open, and none can be opened. */
    if (fstat(STDERR_FILENO, &log) != 0 || !S_ISREG(log.st_mode))
        (void)setrlimit(RLIMIT_FSIZE, &none);
}

/* --- users --------------------------------------------------------------------------------------------------------------------- */

static enum bm_rc user_named(const char *name, struct bm_user *ret, struct bm_error *e)
{
    struct passwd entry, *found = NULL;
    char room[4096];

    if (getpwnam_r(name, &entry, room, sizeof room, &found) != 0 || found == NULL)
        return bm_refuse(e, BM_USAGE, "no-such-user", "there is no user '%s' on this machine", name);
    *ret = (struct bm_user){ .change = true, .uid = entry.pw_uid, .gid = entry.pw_gid };
    snprintf(ret->name, sizeof ret->name, "%s", name);
    return BM_OK;
}

static enum bm_rc owner_of(const char *folder, struct bm_user *ret, struct bm_error *e)
{
    struct stat st;

    if (stat(folder, &st) != 0 && errno == ENOENT) {
        *ret = (struct bm_user){ 0 }; /* the keeper tells what to do */
        return BM_OK;
    }
    if (stat(folder, &st) != 0)
        return bm_fail(e, BM_IO, "%s: %s", folder, strerror(errno));
    *ret = (struct bm_user){ .change = st.st_uid != 0, .uid = st.st_uid, .gid = st.st_gid };
    snprintf(ret->name, sizeof ret->name, "uid %u", (unsigned)st.st_uid);
    return BM_OK;
}

enum bm_rc bm_user_find(const char *name, const char *folder, struct bm_user *ret, struct bm_error *e)
{
    enum bm_rc rc;

    if (geteuid() == 0) {
        if (name[0] == '\0' && folder != NULL)
            return owner_of(folder, ret, e);
        return user_named(name[0] != '\0' ? name : "nobody", ret, e);
    }
    *ret = (struct bm_user){ .uid = geteuid(), .gid = getegid(), .name = "" };
    if (name[0] == '\0')
        return BM_OK;
    rc = user_named(name, ret, e);
    if (rc == BM_OK && ret->uid != geteuid())
        return bm_refuse(e, BM_USAGE, "user-not-changeable",
                         "only root can start a process as '%s'; start as root, or leave the key out", name);
    ret->change = false;
    return rc;
}

enum bm_rc bm_user_become(const struct bm_user *u, struct bm_error *e)
{
    if (!u->change)
        return BM_OK;
    if (setgroups(0, NULL) != 0 || setresgid(u->gid, u->gid, u->gid) != 0 || setresuid(u->uid, u->uid, u->uid) != 0)
        return bm_fail(e, BM_IO, "cannot become %s: %s", u->name, strerror(errno));
    if (u->uid != 0 && setuid(0) == 0)
        return bm_fail(e, BM_BUG, "%s can become root again", u->name);
    return BM_OK;
}
