#include "server/serve_impl.h"

#include "base/clock.h"
#include "base/fdpass.h"
#include "base/metrics.h"
#include "keeper/keeper.h"
#include "server/coap.h"
#include "server/courier.h"
#include "server/exporter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

void bm_serve_closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* What a child must not keep of the supervisor. */
static void forget_supervisor(struct server *s, const struct slot *own)
{
    bm_serve_closep(&s->signals);
    if (own != NULL)
        bm_serve_closep(&s->keeper_control);
    for (size_t i = 0; i < s->n_slots; i++) {
        if (&s->slots[i] != own)
            bm_serve_closep(&s->slots[i].control);
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
        .journal = or_null(s->config.journal),
        .secret_file = or_null(s->config.secret_file),
        .tls_cert_file = or_null(s->config.tls_cert_file),
        .tls_key_file = or_null(s->config.tls_key_file),
        .tls_hosts = or_null(s->config.tls_hosts),
        .host = or_null(s->config.host),
        .acme_http_port = s->config.acme_http_port,
        .acme_tls_port = s->config.acme_tls_port,
        .acme_help_url = or_null(s->config.acme_help_url),
        .confine = s->config.confine,
        .tokens = bm_keeper_tokens_of(&s->config),
        .limits = bm_keeper_limits_of(&s->config),
    };
    char admin[BM_CONFIG_PATH_MAX + 16];

    signal(SIGTERM, SIG_IGN);
    forget_supervisor(s, NULL);
    bm_serve_closep(&s->keeper_control);
    bm_listeners_close(&s->listeners);
    bm_listeners_close(&s->metrics);
    bm_listeners_close(&s->coap);
    bm_metrics_own(BM_SLOT_KEEPER, 0);
    bm_log_init("keeper", s->config.log_level);
    become(&s->keeper_user);
    snprintf(admin, sizeof admin, "%s/admin.sock", s->config.data_dir);
    exit(bm_keeper_run(&o, control, admin));
}

enum bm_rc bm_serve_start_keeper(struct server *s, struct bm_error *e)
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

struct bm_worker_settings bm_serve_settings(const struct bm_config *c)
{
    return (struct bm_worker_settings){
        .log_level = c->log_level,
        .connections = c->connections,
        .per_address = c->connections_per_address,
        .idle_s = c->idle_seconds,
        .drain_s = c->drain_seconds,
        .coap_sessions = c->coap_sessions,
        .coap_handshakes = c->coap_handshakes,
        .coap_idle_s = c->coap_idle_seconds,
        .coap_bodies_mb = c->coap_bodies_mb,
    };
}

static int run_role(const struct server *s, enum child_role role, const struct bm_worker_setup *setup)
{
    const struct bm_courier_setup courier = {
        .name = setup->name,
        .keeper_fd = setup->keeper_fd,
        .control_fd = setup->control_fd,
        .confine = setup->confine,
        .dns_servers = s->config.dns_servers,
        .validation_networks = s->config.validation_networks,
    };

    switch (role) {
    case COURIER:
        return bm_courier_run(&courier);
    case EXPORTER:
        return bm_exporter_run(setup);
    case COAP:
        return bm_coap_run(setup);
    default:
        return bm_worker_run(setup);
    }
}

static _Noreturn void worker_child(struct server *s, struct slot *w, pid_t parent, int keeper_fd, int control_fd)
{
    const struct bm_worker_setup setup = {
        .name = w->name,
        .listeners = w->role == EXPORTER ? &s->metrics
                     : w->role == COAP   ? &s->coap
                                         : &s->listeners,
        .keeper_fd = keeper_fd,
        .control_fd = control_fd,
        .settings = bm_serve_settings(&s->config),
        .confine = s->config.confine,
    };

    static const enum bm_metric_role slots[] = {
        [WORKER] = BM_SLOT_WORKER, [COURIER] = BM_SLOT_COURIER, [EXPORTER] = BM_SLOT_EXPORTER, [COAP] = BM_SLOT_COAP
    };

    bm_log_init(w->name, s->config.log_level);
    become(&s->worker_user); /* before the next line, which the change would undo */
    /* The end of the control socket says so too; this also holds when the loop is stuck. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        exit(1);
    bm_serve_closep(&w->control);
    forget_supervisor(s, w);
    if (w->role != WORKER)
        bm_listeners_close(&s->listeners);
    if (w->role != EXPORTER)
        bm_listeners_close(&s->metrics);
    if (w->role != COAP)
        bm_listeners_close(&s->coap);
    bm_metrics_own(slots[w->role], w->role == WORKER ? (size_t)(w - s->slots) : 0);
    bm_limit_worker();
    int status = run_role(s, w->role, &setup);
    free(s->slots);
    exit(status);
}

/* The two ends of a new line to the keeper; an exporter has none. */
static enum bm_rc link_keeper(struct server *s, const struct slot *w, int *ret_link, struct bm_error *e)
{
    BM_CLEANUP(bm_serve_closep) int keeper_end = -1;
    int pair[2];

    if (w->role == EXPORTER)
        return BM_OK;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return bm_fail(e, BM_IO, "socketpair: %s", strerror(errno));
    keeper_end = pair[0];
    *ret_link = pair[1];
    return bm_fd_send(s->keeper_control, keeper_end, w->role == COURIER ? BM_FD_COURIER : BM_FD_WORKER, e);
}

enum bm_rc bm_serve_start_worker(struct server *s, struct slot *w, struct bm_error *e)
{
    BM_CLEANUP(bm_serve_closep) int link = -1, control = -1;
    int pair[2];
    pid_t self = getpid();
    enum bm_rc rc = link_keeper(s, w, &link, e);

    if (rc == BM_OK && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        rc = bm_fail(e, BM_IO, "socketpair: %s", strerror(errno));
    if (rc != BM_OK)
        return rc;
    w->control = pair[0];
    control = pair[1];
    fflush(NULL);
    w->pid = fork();
    if (w->pid == 0)
        worker_child(s, w, self, link, control);
    if (w->pid > 0) {
        w->started_ms = bm_clock_steady_ms();
        return BM_OK;
    }
    w->pid = 0;
    bm_serve_closep(&w->control);
    return bm_fail(e, BM_IO, "fork: %s", strerror(errno));
}
