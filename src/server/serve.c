#include "server/serve.h"

#include "base/clock.h"
#include "base/fdpass.h"
#include "base/file.h"
#include "keeper/keeper.h"
#include "server/listen.h"
#include "server/notify.h"
#include "server/worker.h"

#include <errno.h>
#include <libgen.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX 256
#define QUICK_DEATH_MS 5000 /* a worker that lived shorter than this did not do well */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 10000
#define HOPELESS_DEATHS 5   /* in a row, of a worker that has never served: the server cannot start */
#define HURRY_MS 2000       /* how long the workers get when the keeper has gone */
#define DRAIN_GRACE_MS 1000 /* beyond drain_seconds, which the workers watch themselves */
#define KEEPER_STOP_MS 30000

enum phase { RUNNING, DRAINING, CLOSING };

struct slot {
    char name[24];
    pid_t pid;   /* 0: not running */
    int control; /* -1 with it */
    bool ready, served;
    unsigned quick_deaths;
    int64_t started_ms, restart_ms;
};

struct server {
    struct bm_config config;
    struct bm_listeners listeners;
    pid_t keeper;
    int keeper_control, signals;
    struct slot *slots;
    size_t n_slots;
    sigset_t old_mask;
    enum phase phase;
    int64_t deadline_ms; /* of the phase */
    bool announced;
    int status;
    struct bm_user keeper_user, worker_user;
};

/* --- processes ----------------------------------------------------------------------------------------------------------------- */

static void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* What a child must not keep of the supervisor. */
static void forget_supervisor(struct server *s, const struct slot *own)
{
    closep(&s->signals);
    if (own != NULL)
        closep(&s->keeper_control);
    for (size_t i = 0; i < s->n_slots; i++) {
        if (&s->slots[i] != own)
            closep(&s->slots[i].control);
    }
    /* Ctrl-C and service managers signal every process of the group; when to stop, the supervisor tells the children. */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
}

/* In a child: no way back to what the supervisor may do. */
static void become(const struct bm_user *u)
{
    struct bm_error e;

    if (bm_user_become(u, &e) != BM_OK) {
        bm_log(BM_LOG_ERROR, "start", "%s", e.what);
        exit(1);
    }
    bm_harden();
}

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static _Noreturn void keeper_child(struct server *s, int control)
{
    const struct bm_keeper_options o = {
        .data_dir = s->config.data_dir,
        .store = s->config.store,
        .secret_file = or_null(s->config.secret_file),
        .tls_cert_file = or_null(s->config.tls_cert_file),
        .tls_key_file = or_null(s->config.tls_key_file),
        .tls_hosts = or_null(s->config.tls_hosts),
        .confine = s->config.confine,
    };
    char admin[BM_CONFIG_PATH_MAX + 16];

    signal(SIGTERM, SIG_IGN);
    forget_supervisor(s, NULL);
    closep(&s->keeper_control);
    bm_listeners_close(&s->listeners);
    bm_log_init("keeper", s->config.log_level);
    become(&s->keeper_user);
    snprintf(admin, sizeof admin, "%s/admin.sock", s->config.data_dir);
    exit(bm_keeper_run(&o, control, admin));
}

static enum bm_rc start_keeper(struct server *s, struct bm_error *e)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return bm_fail(e, BM_IO, "socketpair: %s", strerror(errno));
    s->keeper_control = pair[0];
    fflush(NULL);
    s->keeper = fork();
    if (s->keeper == 0)
        keeper_child(s, pair[1]);
    close(pair[1]);
    return s->keeper > 0 ? BM_OK : bm_fail(e, BM_IO, "cannot start the keeper: %s", strerror(errno));
}

static struct bm_worker_settings settings_of(const struct bm_config *c)
{
    return (struct bm_worker_settings){
        .log_level = c->log_level,
        .connections = c->connections,
        .per_address = c->connections_per_address,
        .drain_s = c->drain_seconds,
    };
}

static _Noreturn void worker_child(struct server *s, struct slot *w, pid_t parent, int keeper_fd, int control_fd)
{
    const struct bm_worker_setup setup = {
        .name = w->name,
        .listeners = &s->listeners,
        .keeper_fd = keeper_fd,
        .control_fd = control_fd,
        .settings = settings_of(&s->config),
        .confine = s->config.confine,
    };

    bm_log_init(w->name, s->config.log_level);
    become(&s->worker_user); /* before the next line, which the change would undo */
    /* The end of the control socket says so too; this also holds when the loop is stuck. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        exit(1);
    closep(&w->control);
    forget_supervisor(s, w);
    bm_limit_worker();
    int status = bm_worker_run(&setup);
    free(s->slots);
    exit(status);
}

static enum bm_rc start_worker(struct server *s, struct slot *w, struct bm_error *e)
{
    BM_CLEANUP(closep) int keeper_end = -1, link = -1, control = -1;
    int pair[2];
    pid_t self = getpid();
    enum bm_rc rc;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return bm_fail(e, BM_IO, "socketpair: %s", strerror(errno));
    keeper_end = pair[0];
    link = pair[1];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return bm_fail(e, BM_IO, "socketpair: %s", strerror(errno));
    w->control = pair[0];
    control = pair[1];
    rc = bm_fd_send(s->keeper_control, keeper_end, e);
    fflush(NULL);
    w->pid = rc == BM_OK ? fork() : 0;
    if (rc == BM_OK && w->pid == 0) {
        closep(&keeper_end);
        worker_child(s, w, self, link, control);
    }
    if (w->pid > 0) {
        w->started_ms = bm_clock_steady_ms();
        return BM_OK;
    }
    rc = rc == BM_OK ? bm_fail(e, BM_IO, "fork: %s", strerror(errno)) : rc;
    w->pid = 0;
    closep(&w->control);
    return rc;
}

static size_t alive(const struct server *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_slots; i++)
        n += s->slots[i].pid != 0;
    return n;
}

static void kill_workers(struct server *s)
{
    for (size_t i = 0; i < s->n_slots; i++) {
        if (s->slots[i].pid != 0)
            kill(s->slots[i].pid, SIGKILL);
    }
}

static void order(struct server *s, const struct bm_worker_order *o)
{
    for (size_t i = 0; i < s->n_slots; i++) {
        if (s->slots[i].control >= 0)
            (void)send(s->slots[i].control, o, sizeof *o, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

/* --- where we serve ------------------------------------------------------------------------------------------------------------ */

static bool serving_path(const struct server *s, char *ret, size_t ret_len)
{
    return bm_path_join(s->config.data_dir, "serving", ret, ret_len, NULL) == BM_OK;
}

static const char *scheme(const struct bm_listener *l)
{
    return l->plain ? "http" : "https";
}

/* DATA/serving: one URL per line, for the commands that talk to a running server. */
static void write_serving(const struct server *s)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 4096 };
    char path[BM_CONFIG_PATH_MAX + 16];
    struct bm_error e;

    for (size_t i = 0; i < s->listeners.n; i++)
        bm_buf_printf(&text, "%s://%s\n", scheme(&s->listeners.at[i]), s->listeners.at[i].text);
    if (serving_path(s, path, sizeof path) && bm_file_write(path, bm_buf_rd(&text), 0644, &e) != BM_OK)
        bm_log(BM_LOG_WARN, "serving", "%s", e.what);
}

static void announce(struct server *s)
{
    for (size_t i = 0; i < s->n_slots; i++) {
        if (!s->slots[i].ready)
            return;
    }
    s->announced = true;
    write_serving(s);
    printf("birthmark: serving ");
    for (size_t i = 0; i < s->listeners.n; i++)
        printf("%s%s://%s", i == 0 ? "" : ", ", scheme(&s->listeners.at[i]), s->listeners.at[i].text);
    printf(" (%zu worker%s)\n", s->n_slots, s->n_slots == 1 ? "" : "s");
    fflush(stdout);
    bm_notify("READY=1");
}

/* --- phases -------------------------------------------------------------------------------------------------------------------- */

static void begin_stop(struct server *s, int status, int64_t within_ms)
{
    const struct bm_worker_order drain = { .act = BM_WORKER_DRAIN };
    int64_t deadline = bm_clock_steady_ms() + within_ms;

    s->status = status != 0 ? status : s->status;
    if (s->phase == RUNNING) {
        s->phase = DRAINING;
        s->deadline_ms = deadline;
        bm_notify("STOPPING=1");
        bm_listeners_close(&s->listeners); /* the workers close theirs; from then on connections are refused, not queued */
        order(s, &drain);
    }
    s->deadline_ms = deadline < s->deadline_ms ? deadline : s->deadline_ms;
}

static void next_phase(struct server *s)
{
    int64_t now = bm_clock_steady_ms();

    if (s->phase == DRAINING && alive(s) == 0) {
        s->phase = CLOSING;
        s->deadline_ms = now + KEEPER_STOP_MS;
        closep(&s->keeper_control);
    }
    if (s->phase == RUNNING || now < s->deadline_ms)
        return;
    if (s->phase == DRAINING)
        kill_workers(s);
    else if (s->keeper != 0)
        kill(s->keeper, SIGKILL); /* nothing is lost: what it answered is on disk */
    s->deadline_ms = now + HURRY_MS;
}

static void put_if(struct bm_buf *list, bool changed, const char *name)
{
    if (changed)
        bm_buf_printf(list, "%s%s", list->n != 0 ? ", " : "", name);
}

/* Processes hold on to these; whoever changes one and only reloads must not believe that it is in force. */
static void tell_what_waits(const struct bm_config *was, const struct bm_config *is)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf list = { .max = 256 };

    put_if(&list, strcmp(was->listen, is->listen) != 0, "listen");
    put_if(&list, was->workers != is->workers, "workers");
    put_if(&list, strcmp(was->tls_hosts, is->tls_hosts) != 0, "tls_hosts");
    put_if(&list, strcmp(was->tls_cert_file, is->tls_cert_file) != 0, "tls_cert_file");
    put_if(&list, strcmp(was->tls_key_file, is->tls_key_file) != 0, "tls_key_file");
    put_if(&list, strcmp(was->secret_file, is->secret_file) != 0, "secret_file");
    put_if(&list, was->confine != is->confine, "confine");
    put_if(&list, strcmp(was->keeper_user, is->keeper_user) != 0, "keeper_user");
    put_if(&list, strcmp(was->worker_user, is->worker_user) != 0, "worker_user");
    if (list.n != 0 && !list.bad)
        bm_log(BM_LOG_WARN, "reload", "%.*s: in force only after a restart", (int)list.n, (const char *)list.p);
}

static void reload(struct server *s)
{
    struct bm_worker_order o = { .act = BM_WORKER_SETTINGS };
    struct bm_config was = s->config;
    struct bm_error e;

    if (bm_config_reload(&s->config, &e) != BM_OK) {
        bm_log(BM_LOG_ERROR, "reload", "nothing changed: %s", e.what);
        return;
    }
    bm_log_init("supervisor", s->config.log_level);
    bm_log(BM_LOG_INFO, "reload", "configuration read again");
    tell_what_waits(&was, &s->config);
    s->config.confine = was.confine; /* also for workers that are started anew */
    o.settings = settings_of(&s->config);
    order(s, &o);
}

/* --- deaths -------------------------------------------------------------------------------------------------------------------- */

static void how_it_ended(int how, char *ret, size_t ret_len)
{
    if (WIFSIGNALED(how))
        snprintf(ret, ret_len, "killed by signal %d (%s)", WTERMSIG(how), strsignal(WTERMSIG(how)));
    else
        snprintf(ret, ret_len, "exit status %d", WEXITSTATUS(how));
}

static void keeper_ended(struct server *s, int how)
{
    bool expected = s->phase == CLOSING;
    char text[64];

    s->keeper = 0;
    how_it_ended(how, text, sizeof text);
    if (expected && how == 0)
        return;
    bm_log(BM_LOG_ERROR, "keeper", "the keeper ended: %s; %s", text,
           s->announced ? "stopping, because nothing can be issued without it"
                        : "the server cannot start; its own message is above");
    begin_stop(s, 1, HURRY_MS);
    s->status = 1;
}

static void worker_ended(struct server *s, struct slot *w, int how)
{
    int64_t now = bm_clock_steady_ms();
    char text[64];

    w->pid = 0;
    w->ready = false;
    closep(&w->control);
    if (s->phase != RUNNING || s->keeper == 0)
        return;
    w->quick_deaths = now - w->started_ms < QUICK_DEATH_MS ? w->quick_deaths + 1 : 0;
    w->restart_ms = now;
    if (w->quick_deaths > 1) {
        int64_t wait = (int64_t)BACKOFF_FIRST_MS << (w->quick_deaths < 10 ? w->quick_deaths : 10);

        w->restart_ms += wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS;
    }
    how_it_ended(how, text, sizeof text);
    bm_log(BM_LOG_WARN, "worker", "%s ended: %s; restarting in %lld ms", w->name, text, (long long)(w->restart_ms - now));
    if (!w->served && w->quick_deaths >= HOPELESS_DEATHS) {
        bm_log(BM_LOG_ERROR, "worker", "%s has never come up; the server cannot start, the reason is above", w->name);
        begin_stop(s, 1, HURRY_MS);
    }
}

static void reap(struct server *s)
{
    pid_t pid;
    int how;

    while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
        if (pid == s->keeper)
            keeper_ended(s, how);
        for (size_t i = 0; i < s->n_slots; i++) {
            if (s->slots[i].pid == pid)
                worker_ended(s, &s->slots[i], how);
        }
    }
}

/* --- the loop ------------------------------------------------------------------------------------------------------------------ */

static void take_signals(struct server *s)
{
    struct signalfd_siginfo i;

    while (read(s->signals, &i, sizeof i) == (ssize_t)sizeof i) {
        if (i.ssi_signo == SIGCHLD)
            reap(s);
        else if (i.ssi_signo == SIGHUP)
            reload(s);
        else if (s->phase == RUNNING)
            begin_stop(s, 0, (int64_t)s->config.drain_seconds * 1000 + DRAIN_GRACE_MS);
        else
            begin_stop(s, 0, 0);
    }
}

static void take_word(struct server *s, struct slot *w)
{
    char word = 0;
    ssize_t n = recv(w->control, &word, 1, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != 1 || word != BM_WORKER_READY) {
        closep(&w->control); /* it is dying; SIGCHLD says the rest */
        return;
    }
    w->ready = w->served = true;
    if (!s->announced && s->phase == RUNNING)
        announce(s);
}

static void restart_due(struct server *s)
{
    int64_t now = bm_clock_steady_ms();
    struct bm_error e;

    for (size_t i = 0; i < s->n_slots; i++) {
        struct slot *w = &s->slots[i];

        if (s->phase != RUNNING || w->pid != 0 || now < w->restart_ms)
            continue;
        if (start_worker(s, w, &e) == BM_OK)
            continue;
        bm_log(BM_LOG_ERROR, "worker", "cannot start %s: %s", w->name, e.what);
        w->restart_ms = now + BACKOFF_MAX_MS;
    }
}

/* Milliseconds until something is due, at most a second. */
static int due_in(const struct server *s)
{
    int64_t now = bm_clock_steady_ms(), at = now + 1000;

    for (size_t i = 0; i < s->n_slots; i++) {
        if (s->phase == RUNNING && s->slots[i].pid == 0 && s->slots[i].restart_ms < at)
            at = s->slots[i].restart_ms;
    }
    if (s->phase != RUNNING && s->deadline_ms < at)
        at = s->deadline_ms;
    return at > now ? (int)(at - now) : 0;
}

static void run(struct server *s)
{
    struct pollfd fds[1 + WORKERS_MAX];

    while (s->keeper != 0 || alive(s) != 0) {
        fds[0] = (struct pollfd){ .fd = s->signals, .events = POLLIN };
        for (size_t i = 0; i < s->n_slots; i++)
            fds[1 + i] = (struct pollfd){ .fd = s->slots[i].control, .events = POLLIN };
        if (poll(fds, 1 + s->n_slots, due_in(s)) < 0 && errno != EINTR)
            break;
        for (size_t i = 0; i < s->n_slots; i++) {
            if (fds[1 + i].revents != 0 && s->slots[i].control >= 0)
                take_word(s, &s->slots[i]);
        }
        take_signals(s);
        restart_due(s);
        next_phase(s);
    }
}

/* --- start and end ------------------------------------------------------------------------------------------------------------- */

static enum bm_rc make_slots(struct server *s, struct bm_error *e)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = s->config.workers != 0 ? s->config.workers : cpus > 0 ? (size_t)cpus : 1;

    n = n > WORKERS_MAX ? WORKERS_MAX : n;
    s->slots = calloc(n, sizeof *s->slots);
    if (s->slots == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    s->n_slots = n;
    for (size_t i = 0; i < n; i++) {
        s->slots[i].control = -1;
        snprintf(s->slots[i].name, sizeof s->slots[i].name, "worker-%zu", i + 1);
    }
    return BM_OK;
}

static enum bm_rc take_over_signals(struct server *s, struct bm_error *e)
{
    sigset_t ours;

    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGHUP);
    sigaddset(&ours, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &ours, &s->old_mask) != 0 || (s->signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return bm_fail(e, BM_IO, "signals: %s", strerror(errno));
    return BM_OK;
}

/* Each connection is a descriptor: as many as the system lets us have. */
static void raise_descriptors(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
        l.rlim_cur = l.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &l);
    }
}

/* What cannot be had is said before anything starts; what children need of the system is made while files can still be read. */
static enum bm_rc check_confinement(struct server *s, struct bm_error *e)
{
    enum bm_rc rc = bm_user_find(s->config.keeper_user, s->config.data_dir, &s->keeper_user, e);

    if (rc == BM_OK)
        rc = bm_user_find(s->config.worker_user, NULL, &s->worker_user, e);
    if (rc == BM_OK && s->config.confine == BM_CONFINE_REQUIRED)
        rc = bm_confine_check(e);
    if (rc != BM_OK)
        return rc;
    if (s->config.confine == BM_CONFINE_OFF)
        bm_log(BM_LOG_WARN, "confine", "the processes are not confined, because the configuration has confine = off");
    return OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS, NULL) == 1
               ? BM_OK
               : bm_fail(e, BM_IO, "OpenSSL does not start; is its configuration right?");
}

/* The supervisor goes on forking, signalling, reading its configuration and writing DATA/serving. */
static enum bm_rc confine(struct server *s, struct bm_error *e)
{
    char folder[sizeof s->config.file];
    (void)snprintf(folder, sizeof folder, "%s", s->config.file);
    const struct bm_confine_path paths[] = { { s->config.data_dir, true },
                                             { dirname(folder), false },
                                             { "/etc/localtime", false } };

    bm_harden();
    return bm_confine(s->config.confine, BM_ROLE_SUPERVISOR, paths, BM_COUNT(paths), e);
}

static enum bm_rc start(struct server *s, struct bm_error *e)
{
    enum bm_rc rc = make_slots(s, e);

    raise_descriptors();
    if (rc == BM_OK)
        rc = check_confinement(s, e);
    if (rc == BM_OK)
        rc = bm_listen(s->config.listen, false, &s->listeners, e);
    if (rc == BM_OK)
        rc = bm_listen(s->config.listen_http, true, &s->listeners, e);
    if (rc == BM_OK)
        rc = take_over_signals(s, e);
    if (rc == BM_OK)
        rc = start_keeper(s, e);
    for (size_t i = 0; rc == BM_OK && i < s->n_slots; i++)
        rc = start_worker(s, &s->slots[i], e);
    return rc == BM_OK ? confine(s, e) : rc;
}

static void finish(struct server *s)
{
    char path[BM_CONFIG_PATH_MAX + 16];

    if (s->announced && serving_path(s, path, sizeof path))
        (void)unlink(path);
    bm_listeners_close(&s->listeners);
    for (size_t i = 0; i < s->n_slots; i++)
        closep(&s->slots[i].control);
    closep(&s->keeper_control);
    if (s->signals >= 0) {
        close(s->signals);
        sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
    }
    free(s->slots);
}

int bm_serve(const struct bm_config *config)
{
    struct server s = { .config = *config, .keeper_control = -1, .signals = -1 };
    struct bm_error e;

    bm_log_init("supervisor", config->log_level);
    if (start(&s, &e) != BM_OK) {
        bm_log(BM_LOG_ERROR, "start", "%s (%s)", e.what, bm_error_code(&e));
        begin_stop(&s, 1, HURRY_MS);
        s.status = 1;
    }
    run(&s);
    finish(&s);
    return s.status;
}
