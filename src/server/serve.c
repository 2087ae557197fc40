#include "server/serve_impl.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/metrics.h"
#include "server/courier.h"
#include "server/router.h"

#include <errno.h>
#include <libgen.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKERS_MAX 256
#define OTHERS_MAX 3        /* courier, exporter, coap */
#define DRAIN_GRACE_MS 1000 /* beyond drain_seconds, which the workers watch themselves */

/* --- the loop ------------------------------------------------------------------------------------------------------------------ */

static void take_signals(struct server *s)
{
    struct signalfd_siginfo i;

    while (read(s->signals, &i, sizeof i) == (ssize_t)sizeof i) {
        if (i.ssi_signo == SIGCHLD)
            bm_serve_reap(s);
        else if (i.ssi_signo == SIGHUP)
            bm_serve_reload(s);
        else if (s->phase == RUNNING)
            bm_serve_stop(s, 0, (int64_t)s->config.drain_seconds * 1000 + DRAIN_GRACE_MS);
        else
            bm_serve_stop(s, 0, 0);
    }
}

static void take_word(struct server *s, struct slot *w)
{
    char word = 0;
    ssize_t n = recv(w->control, &word, 1, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != 1 || word != BM_WORKER_READY) {
        bm_serve_closep(&w->control); /* it is dying; SIGCHLD says the rest */
        return;
    }
    w->ready = w->served = true;
    if (!s->announced && s->phase == RUNNING)
        bm_serve_announce(s);
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
    struct pollfd fds[1 + WORKERS_MAX + OTHERS_MAX];

    while (s->keeper != 0 || bm_serve_alive(s) != 0) {
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
        bm_metrics_alive();
        bm_serve_restart_due(s);
        bm_serve_next_phase(s);
    }
}

/* --- start and end ------------------------------------------------------------------------------------------------------------- */

static void add_slot(struct server *s, enum child_role role)
{
    static const char *const names[] = { [WORKER] = "worker", [COURIER] = "courier", [EXPORTER] = "exporter", [COAP] = "coap" };
    struct slot *w = &s->slots[s->n_slots++];

    w->control = -1;
    w->role = role;
    (void)snprintf(w->name, sizeof w->name, role == WORKER ? "%s-%zu" : "%s", names[role], s->n_slots);
}

static enum bm_rc make_slots(struct server *s, struct bm_error *e)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = s->config.workers != 0 ? s->config.workers : cpus > 0 ? (size_t)cpus : 1;

    n = n > WORKERS_MAX ? WORKERS_MAX : n;
    s->n_workers = n;
    s->slots = calloc(n + OTHERS_MAX, sizeof *s->slots);
    if (s->slots == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        add_slot(s, WORKER);
    add_slot(s, COURIER);
    if (s->config.listen_metrics[0] != '\0')
        add_slot(s, EXPORTER);
    if (s->config.coap_listen[0] != '\0')
        add_slot(s, COAP);
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

/* The supervisor goes on forking, signalling, reading its configuration and writing DATA/serving. What a courier that is started anew may read it has
 * to keep. */
static enum bm_rc confine(struct server *s, struct bm_error *e)
{
    char folder[sizeof s->config.file];
    (void)snprintf(folder, sizeof folder, "%s", s->config.file);
    struct bm_confine_path paths[20] = { { s->config.data_dir, true }, { dirname(folder), false } };
    size_t n = 2;

    for (size_t i = 0; bm_courier_files[i] != NULL && n < BM_COUNT(paths); i++)
        paths[n++].path = bm_courier_files[i];
    bm_harden();
    return bm_confine(s->config.confine, BM_ROLE_SUPERVISOR, paths, n, e);
}

/* Nobody would read it without an exporter, so then nothing is counted. */
static enum bm_rc start_counting(struct server *s, struct bm_error *e)
{
    enum bm_rc rc = s->metrics.n != 0 ? bm_route_count_operations(e) : BM_OK;

    if (rc == BM_OK && s->metrics.n != 0)
        rc = bm_metrics_new(s->n_workers, e);
    if (rc == BM_OK && s->metrics.n != 0)
        bm_metrics_own(BM_SLOT_SUPERVISOR, 0);
    return rc;
}

static enum bm_rc start(struct server *s, struct bm_error *e)
{
    enum bm_rc rc = make_slots(s, e);

    raise_descriptors();
    if (rc == BM_OK)
        rc = check_confinement(s, e);
    if (rc == BM_OK)
        rc = bm_listen(s->config.listen, s->config.listen_api[0] != '\0' ? BM_DOOR_DEVICES : BM_DOOR_ALL, &s->listeners, e);
    if (rc == BM_OK)
        rc = bm_listen(s->config.listen_api, BM_DOOR_API, &s->listeners, e);
    if (rc == BM_OK)
        rc = bm_listen(s->config.listen_http, BM_DOOR_PLAIN, &s->listeners, e);
    if (rc == BM_OK)
        rc = bm_listen(s->config.listen_metrics, BM_DOOR_PLAIN, &s->metrics, e);
    if (rc == BM_OK)
        rc = bm_listen(s->config.coap_listen, BM_DOOR_COAP, &s->coap, e);
    if (rc == BM_OK)
        rc = start_counting(s, e);
    if (rc == BM_OK)
        rc = take_over_signals(s, e);
    if (rc == BM_OK)
        rc = bm_serve_start_keeper(s, e);
    for (size_t i = 0; rc == BM_OK && i < s->n_slots; i++)
        rc = bm_serve_start_worker(s, &s->slots[i], e);
    return rc == BM_OK ? confine(s, e) : rc;
}

static void finish(struct server *s)
{
    char path[BM_CONFIG_PATH_MAX + 16];

    if (s->announced && bm_serve_path(s, path, sizeof path))
        (void)unlink(path);
    bm_listeners_close(&s->listeners);
    bm_listeners_close(&s->metrics);
    bm_listeners_close(&s->coap);
    bm_metrics_free();
    for (size_t i = 0; i < s->n_slots; i++)
        bm_serve_closep(&s->slots[i].control);
    bm_serve_closep(&s->keeper_control);
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
        bm_serve_stop(&s, 1, BM_SERVE_HURRY_MS);
        s.status = 1;
    }
    run(&s);
    finish(&s);
    return s.status;
}
