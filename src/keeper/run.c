/* The keeper process, from its start to the end of its control socket: opens what it needs, locks itself in, runs its loop. */
#include "keeper/loop.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { TOKEN_PATHS_MAX = 8, SECURE_HEAP = 2 * 1024 * 1024, SECURE_HEAP_LEAST = 32 };

static enum bm_rc listen_admin(const char *path, int *ret, struct bm_error *e)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    mode_t was;
    int fd, bound;

    if (strlen(path) >= sizeof a.sun_path)
        return bm_fail(e, BM_LIMIT, "%s: too long for a socket; choose a shorter data folder", path);
    memcpy(a.sun_path, path, strlen(path));
    (void)unlink(path); /* we hold the lock, so it is nobody's */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    was = umask(0177);
    bound = bind(fd, (struct sockaddr *)&a, sizeof a);
    umask(was);
    if (fd < 0 || bound != 0 || listen(fd, BM_ADMINS_MAX) != 0) {
        bm_fail(e, BM_IO, "cannot listen on %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return BM_IO;
    }
    *ret = fd;
    return BM_OK;
}

static void loop_freep(struct loop **l)
{
    if (*l == NULL)
        return;
    for (size_t i = 0; i < (*l)->n_conns; i++)
        bm_loop_conn_free((*l)->conns[i]);
    if ((*l)->admin_fd >= 0)
        close((*l)->admin_fd);
    bm_keeper_close((*l)->k);
    free(*l);
}

/* OpenSSL keeps the secret numbers of private keys in a heap of its own, which is never swapped out. */
static void lock_keys(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_MEMLOCK, &l) == 0) {
        l.rlim_cur = l.rlim_max;
        (void)setrlimit(RLIMIT_MEMLOCK, &l);
    }
    if (CRYPTO_secure_malloc_init(SECURE_HEAP, SECURE_HEAP_LEAST) != 1)
        bm_log(BM_LOG_WARN, "keys", "private keys are not in locked memory: the limit on that (ulimit -l) is below %d kB",
               SECURE_HEAP / 1024);
}

/* The folder that a file is in, and the one that a link to it is in: certificates are renewed by putting new files there. */
static const char *folder_of(char *path)
{
    return path[0] != '\0' ? dirname(path) : NULL;
}

static enum bm_role role_of(const struct bm_keeper_options *o)
{
    bool on_server = o->store != NULL && strncmp(o->store, "postgres:", 9) == 0;

    if (on_server || o->tokens.sockets)
        return BM_ROLE_KEEPER_DB;
    return o->tokens.module != NULL ? BM_ROLE_KEEPER_TOKEN : BM_ROLE_KEEPER;
}

/* From here on: DATA, and the folders of the operator's TLS certificate, which is read again when it may have changed. */
static enum bm_rc confine(const struct bm_keeper_options *o, struct bm_error *e)
{
    const char *const files[] = { o->tls_cert_file, o->tls_key_file };
    char named[BM_COUNT(files)][PATH_MAX] = { "" }, real[BM_COUNT(files)][PATH_MAX] = { "" };
    char token_room[BM_TOKEN_PATHS_LEN];
    struct bm_confine_path paths[5 + 2 * BM_COUNT(files) + TOKEN_PATHS_MAX] = { { o->data_dir, true },
                                                                                { "/etc/localtime", false },
                                                                                { "/dev/urandom", false } };
    size_t n = 3;

    for (size_t i = 0; i < BM_COUNT(files); i++) {
        if (files[i] == NULL)
            continue;
        snprintf(named[i], sizeof named[i], "%s", files[i]);
        if (realpath(files[i], real[i]) == NULL)
            real[i][0] = '\0';
        paths[n++].path = folder_of(named[i]);
        paths[n++].path = folder_of(real[i]);
    }
    if (o->journal != NULL)
        paths[n++] = (struct bm_confine_path){ o->journal, true };
    if (role_of(o) == BM_ROLE_KEEPER_DB)
        paths[n++].path = "/etc"; /* host and user names are looked up there */
    n += bm_keeper_token_paths(&o->tokens, token_room, paths + n, TOKEN_PATHS_MAX);
    return bm_confine(o->confine, role_of(o), paths, n, e);
}

int bm_keeper_run(const struct bm_keeper_options *o, int control_fd, const char *admin_path)
{
    BM_CLEANUP(loop_freep) struct loop *l = calloc(1, sizeof *l);
    struct bm_error e = { 0 };
    enum bm_rc rc;

    if (l == NULL)
        return 1;
    l->admin_fd = -1;
    l->control_fd = control_fd;
    bm_harden(); /* this process holds the CA keys */
    lock_keys();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is to us like a full disk */
    signal(SIGINT, SIG_IGN);  /* the supervisor says when: the control socket ends */
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    rc = bm_keeper_open(o, &l->k, &e);
    if (rc == BM_OK)
        rc = listen_admin(admin_path, &l->admin_fd, &e);
    if (rc == BM_OK)
        bm_keeper_warm_tokens(l->k);
    if (rc == BM_OK)
        rc = confine(o, &e);
    if (rc != BM_OK) {
        bm_log(BM_LOG_ERROR, "start", "%s (%s)", e.what, bm_error_code(&e));
        return 1;
    }
    l->k->in_server = true;
    (void)fcntl(control_fd, F_SETFL, fcntl(control_fd, F_GETFL) | O_NONBLOCK);
    l->view_at_ms = l->busy_at_ms = bm_clock_steady_ms();
    bm_loop_run(l);
    (void)unlink(admin_path);
    return 0;
}
