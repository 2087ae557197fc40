/* The keeper process: one loop, group commit. It reads what has come from all workers, runs it in one transaction, commits, and only then
 * lets the answers go. If the commit fails, every answer of the batch becomes a refusal. */
#include "keeper/errand.h"

#include "base/clock.h"
#include "base/fdpass.h"
#include "base/frame.h"
#include "base/log.h"
#include "base/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONNS_MAX = BM_WORKERS_MAX + BM_ADMINS_MAX, READ_STEP = 256 * 1024, IDLE_TIDY_MS = 3000, VIEW_EVERY_MS = 900 * 1000 };
enum { TOKEN_PATHS_MAX = 8 };
enum { SECURE_HEAP = 2 * 1024 * 1024, SECURE_HEAP_LEAST = 32 };

enum party { WORKER, COURIER, ADMINISTRATOR };
static const char *const party_words[] = { "worker", "courier", "administrator" };

struct conn {
    int fd;
    enum party party;
    bool gone;
    char actor[32];
    struct bm_buf in, out;
    size_t mark;  /* length of out before this batch */
    bool secret;  /* what was taken is not for keeping */
    size_t taken; /* of `in`, by this batch, which may have to give it back */
};

struct waiting {
    struct conn *conn;
    uint64_t id;
    char correlation[17]; /* of a device's request, when the log is to tell of its commit; or "" */
};

struct loop {
    struct bm_keeper *k;
    int control_fd, admin_fd;
    bool stop;
    struct conn *conns[CONNS_MAX];
    size_t n_conns;
    struct waiting batch[BM_BATCH_COMMANDS];
    size_t n_batch;
    bool in_transaction, lost;
    bool alone; /* a command that stands alone has run: what it did is committed, so no later failure may be told as its own */
    struct bm_error why_lost;
    int64_t collides_since_ms;               /* batches have been lost to other hosts' since then; 0: the last one was not */
    unsigned halved;                         /* a batch is smaller by that power of two, until one gets through */
    int64_t batch_began_ms, device_since_ms; /* 0: no device waits */
    int64_t head_at_ms, busy_at_ms, view_at_ms;
    int64_t head_size;
    int64_t chores_at_ms;
    bool tidy, more_chores;
};

/* --- connections --------------------------------------------------------------------------------------------------------------- */
static void conn_free(struct conn *c)
{
    close(c->fd);
    bm_buf_done(&c->in);
    bm_buf_done(&c->out);
    free(c);
}

static void conn_add(struct loop *l, int fd, enum party party, const char *actor)
{
    struct conn *c = l->n_conns < CONNS_MAX ? calloc(1, sizeof *c) : NULL;

    if (c == NULL) {
        bm_log(BM_LOG_WARN, "connection", "no room for another %s", party_words[party]);
        close(fd);
        return;
    }
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    c->fd = fd;
    c->party = party;
    snprintf(c->actor, sizeof c->actor, "%s", actor);
    c->in.max = (party == ADMINISTRATOR ? BM_FRAME_MAX : BM_API_COMMAND_MAX) + READ_STEP;
    c->out.max = (size_t)BM_FRAME_MAX * 4;
    l->conns[l->n_conns++] = c;
}

static void sweep_gone(struct loop *l)
{
    size_t kept = 0;

    for (size_t i = 0; i < l->n_conns; i++) {
        if (l->conns[i]->gone)
            conn_free(l->conns[i]);
        else
            l->conns[kept++] = l->conns[i];
    }
    l->n_conns = kept;
}

static void take_worker(struct loop *l)
{
    struct bm_error e;
    int fd = -1;
    char whose = 0;
    enum bm_rc rc = bm_fd_recv(l->control_fd, &fd, &whose, &e);

    if (rc == BM_AGAIN)
        return;
    if (rc != BM_OK || fd < 0) {
        if (rc != BM_OK)
            bm_log(BM_LOG_ERROR, "control", "%s", e.what);
        l->stop = true;
        return;
    }
    conn_add(l, fd, whose == BM_FD_COURIER ? COURIER : WORKER, "worker");
}

/* Only root and the keeper's own user administer; the socket's mode says the same, this is the second lock. */
static void take_admin(struct loop *l)
{
    struct ucred peer;
    socklen_t n = sizeof peer;
    size_t admins = 0;
    char actor[32];
    int fd = accept4(l->admin_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    for (size_t i = 0; i < l->n_conns; i++)
        admins += l->conns[i]->party == ADMINISTRATOR;
    if (admins >= BM_ADMINS_MAX || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0 ||
        (peer.uid != 0 && peer.uid != geteuid())) {
        bm_log(BM_LOG_WARN, "administrator", "connection refused");
        close(fd);
        return;
    }
    snprintf(actor, sizeof actor, "local:uid=%u", (unsigned)peer.uid);
    conn_add(l, fd, ADMINISTRATOR, actor);
}

static bool conn_read(struct conn *c)
{
    bool any = false;

    while (c->in.n + READ_STEP <= c->in.max) {
        uint8_t *to = bm_buf_room(&c->in, READ_STEP);
        ssize_t n = to != NULL ? read(c->fd, to, READ_STEP) : -1;

        if (n > 0) {
            c->in.n += (size_t)n;
            any = true;
            if ((size_t)n < READ_STEP)
                return any;
            continue;
        }
        if (to == NULL || n == 0 || (errno != EAGAIN && errno != EINTR))
            c->gone = true;
        return any;
    }
    return any;
}

static void conn_write(struct conn *c)
{
    while (c->out.n != 0 && !c->gone) {
        ssize_t n = send(c->fd, c->out.p, c->out.n, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            c->gone = errno != EAGAIN;
            return;
        }
        bm_buf_drop(&c->out, (size_t)n);
    }
    if (c->out.bad)
        c->gone = true;
}

/* --- batches ------------------------------------------------------------------------------------------------------------------- */
static void put_refusal(struct conn *c, uint64_t id, const struct bm_error *why)
{
    size_t at = bm_frame_begin(&c->out, id, BM_REFUSAL);

    bm_refused_write(&c->out, why, bm_retry_after(why));
    bm_frame_end(&c->out, at);
}

/* Another host has changed what this batch changes: its commands go back into the queue and run again, on what there is now. They come in
 * smaller and smaller batches, down to one command, where nobody can deadlock. */
static bool give_back(struct loop *l)
{
    int64_t now = bm_clock_steady_ms();

    if (!bm_store_collided(l->k->store))
        return false;
    if (l->collides_since_ms != 0 && now - l->collides_since_ms > BM_COLLISIONS_MS) {
        bm_log(BM_LOG_WARN, "hosts", "other hosts' changes have undone what was asked here for %d ms", BM_COLLISIONS_MS);
        return false;
    }
    l->collides_since_ms = l->collides_since_ms != 0 ? l->collides_since_ms : now;
    l->halved += BM_BATCH_COMMANDS >> l->halved > 1;
    for (size_t i = 0; i < l->n_conns; i++) {
        l->conns[i]->taken = 0;
        l->conns[i]->out.n = l->conns[i]->mark;
    }
    return true;
}

/* Nobody will ask for these commands again. */
static void drop_taken(struct conn *c)
{
    if (c->secret)
        bm_wipe(c->in.p, c->taken);
    c->secret = false;
    bm_buf_drop(&c->in, c->taken);
    c->taken = 0;
    if (c->in.n == 0 && c->party != ADMINISTRATOR && c->in.cap > BM_COMMAND_MAX + READ_STEP)
        bm_buf_done(&c->in); /* manifests come seldom */
}

static void take_for_good(struct loop *l)
{
    for (size_t i = 0; i < l->n_conns; i++)
        drop_taken(l->conns[i]);
}

/* The operator reads the cause in the log; the device learns only that nothing was stored. */
static void lose(struct loop *l, const struct bm_error *why)
{
    if (!l->lost && !bm_store_collided(l->k->store))
        bm_log(BM_LOG_ERROR, "storage", "%s", why->what);
    l->lost = true;
    if (strcmp(bm_error_code(why), "journal-unavailable") == 0)
        bm_refuse(&l->why_lost, BM_IO, "journal-unavailable",
                  "the server cannot write to its journal right now, so nothing was issued or changed; try again later");
    else
        bm_refuse(&l->why_lost, BM_IO, "storage-unavailable",
                  "the server cannot write to its registry right now, so nothing was issued or changed; try again later");
}

static void begin_batch(struct loop *l)
{
    for (size_t i = 0; i < l->n_conns; i++)
        l->conns[i]->mark = l->conns[i]->out.n;
    l->n_batch = 0;
    l->in_transaction = l->lost = l->alone = false;
    l->device_since_ms = 0;
    l->batch_began_ms = bm_clock_steady_ms();
}

/* Together with the worker's lines and "judged", the trace of a request. */
static void log_committed(const struct loop *l)
{
    for (size_t i = 0; i < l->n_batch; i++)
        if (l->batch[i].correlation[0] != '\0')
            bm_log(BM_LOG_DEBUG, "committed", "correlation=%s commands=%zu", l->batch[i].correlation, l->n_batch);
}

static void refuse_all(struct loop *l, const struct bm_error *why)
{
    if (!l->lost)
        lose(l, why);
    for (size_t i = 0; i < l->n_conns; i++)
        l->conns[i]->out.n = l->conns[i]->mark < l->conns[i]->out.n ? l->conns[i]->mark : l->conns[i]->out.n;
    for (size_t i = 0; i < l->n_batch; i++)
        put_refusal(l->batch[i].conn, l->batch[i].id, &l->why_lost);
}

static void end_batch(struct loop *l)
{
    struct bm_error e;
    enum bm_rc rc = l->in_transaction ? bm_observe_settle(l->k, l->n_batch, l->lost ? BM_IO : BM_OK, &e) : BM_OK;

    if (rc != BM_OK && give_back(l))
        return;
    take_for_good(l);
    if (l->in_transaction) {
        l->collides_since_ms = 0;
        l->halved = 0;
    }
    if (rc != BM_OK)
        refuse_all(l, &e);
    else if (l->in_transaction)
        log_committed(l);
}

static bool batch_full(const struct loop *l)
{
    int64_t now = bm_clock_steady_ms();

    return l->n_batch == (size_t)BM_BATCH_COMMANDS >> l->halved || l->lost || l->alone ||
           (l->device_since_ms != 0 && now - l->device_since_ms >= BM_BATCH_MS) || now - l->batch_began_ms >= BM_IMPORT_BATCH_MS;
}

static bool open_transaction(struct loop *l)
{
    struct bm_error e;

    if (l->in_transaction)
        return true;
    l->in_transaction = true; /* also when it fails: end_batch() then rolls back what may be half begun */
    if (bm_keeper_begin(l->k, &e) == BM_OK)
        return true;
    lose(l, &e);
    return false;
}

static struct waiting waiting_for(struct conn *c, const struct bm_frame *f)
{
    struct waiting w = { .conn = c, .id = f->id };

    if (bm_log_on(BM_LOG_DEBUG) && (f->type == BM_CMD_ENROL || f->type == BM_CMD_STATUS))
        bm_enrol_correlation(f->payload, w.correlation);
    return w;
}

static void run_frame(struct loop *l, struct conn *c, const struct bm_frame *f)
{
    struct bm_command_in cmd = { .type = f->type,
                                 .admin = c->party == ADMINISTRATOR,
                                 .courier = c->party == COURIER,
                                 .actor = c->actor,
                                 .payload = f->payload };
    size_t at = c->out.n;
    struct bm_error e = { 0 };
    enum bm_rc rc;

    l->batch[l->n_batch++] = waiting_for(c, f);
    if (c->party != ADMINISTRATOR && l->device_since_ms == 0)
        l->device_since_ms = bm_clock_steady_ms();
    if (bm_command_needs_transaction(l->k, &cmd) && !open_transaction(l))
        return;
    at = bm_frame_begin(&c->out, f->id, (uint8_t)(f->type | BM_ANSWER));
    rc = bm_command_run(l->k, &cmd, &c->out, &e);
    bm_metric_add(BM_M_COMMANDS, f->type, rc == BM_OK ? BM_OUTCOME_OK : BM_OUTCOME_REFUSED, 1);
    if (rc == BM_OK) {
        bm_frame_end(&c->out, at);
        return;
    }
    c->out.n = at;
    if (rc == BM_IO && l->in_transaction)
        lose(l, &e);
    else
        put_refusal(c, f->id, &e);
}

/* How large the frame may be that begins here. Only an API call may bring a manifest block; what else is so long is not waited for. */
static size_t frame_max(const struct conn *c, struct bm_rd in)
{
    if (c->party == ADMINISTRATOR)
        return BM_FRAME_MAX;
    if (c->party == COURIER)
        return BM_ERRAND_COMMAND_MAX;
    return in.n < BM_FRAME_HEAD || in.p[BM_FRAME_HEAD - 1] == BM_CMD_API ? BM_API_COMMAND_MAX : BM_COMMAND_MAX;
}

static struct bm_rd untaken(const struct conn *c)
{
    return c->taken != 0 ? bm_rd_of(c->in.p + c->taken, c->in.n - c->taken) : bm_buf_rd(&c->in);
}

/* Runs frames of one connection until it has none, the batch is full, or a command comes up that wants the store for itself. */
static bool run_conn(struct loop *l, struct conn *c)
{
    struct bm_rd in = untaken(c);
    struct bm_error e;
    struct bm_frame f;
    enum bm_rc rc = BM_OK;
    bool any = false;

    while (!c->gone && !batch_full(l) && c->out.n < c->out.max / 2) {
        struct bm_rd before = in;
        bool alone;

        rc = bm_frame_read(&in, frame_max(c, in), &f, &e);
        if (rc != BM_OK)
            break;
        alone = bm_command_stands_alone(l->k, &(struct bm_command_in){ .type = f.type, .payload = f.payload });
        if (alone && l->n_batch != 0) {
            in = before;
            any = true; /* so that another batch follows */
            break;
        }
        run_frame(l, c, &f);
        c->secret = c->secret || f.type == BM_CMD_API; /* there is a token in it */
        l->alone = alone;
        any = true;
    }
    if (rc == BM_LIMIT) {
        bm_log(BM_LOG_ERROR, "frame", "%s from a %s; hanging up", e.what, party_words[c->party]);
        c->gone = true;
    }
    c->taken = c->in.n - in.n;
    if (l->k->host.n <= 1) /* nobody to collide with: room for more right away */
        drop_taken(c);
    return any;
}

static bool read_more(struct loop *l)
{
    bool any = false;

    for (size_t i = 0; i < l->n_conns; i++)
        any |= !l->conns[i]->gone && conn_read(l->conns[i]);
    return any;
}

/* One batch; false when nothing was there to do. */
static bool run_batch(struct loop *l)
{
    bool any = false;

    begin_batch(l);
    do {
        for (size_t i = 0; i < l->n_conns; i++)
            any |= run_conn(l, l->conns[i]);
    } while (l->in_transaction && !batch_full(l) && l->device_since_ms == 0 && read_more(l));
    end_batch(l);
    if (any)
        l->busy_at_ms = bm_clock_steady_ms();
    return any;
}

/* --- the loop ------------------------------------------------------------------------------------------------------------------ */
static void tell_workers(struct loop *l)
{
    if (!l->k->view_changed)
        return;
    l->k->view_changed = false;
    l->k->view_version++;
    for (size_t i = 0; i < l->n_conns; i++)
        if (l->conns[i]->party == WORKER)
            bm_frame_end(&l->conns[i]->out, bm_frame_begin(&l->conns[i]->out, 0, BM_CMD_CHANGED));
}

/* There is something to do for it. */
static void wake_courier(struct loop *l)
{
    int64_t now;

    if (bm_keeper_now(l->k, &now, NULL) != BM_OK || !bm_errands_wake(l->k, now))
        return;
    for (size_t i = 0; i < l->n_conns; i++)
        if (l->conns[i]->party == COURIER)
            bm_frame_end(&l->conns[i]->out, bm_frame_begin(&l->conns[i]->out, 0, BM_CMD_CHANGED));
}

static void sign_head(struct loop *l)
{
    struct bm_error e;
    int64_t now;

    if (l->head_size == l->k->audit.tree.size || bm_keeper_now(l->k, &now, &e) != BM_OK)
        return;
    if (bm_keeper_sign_head(l->k, now, &e) == BM_OK)
        l->head_size = l->k->audit.tree.size;
    else
        bm_log(BM_LOG_WARN, "log.head", "%s", e.what);
}

static void look_at_others(struct loop *l)
{
    struct bm_error e;

    if (bm_host_poll(l->k, &e) != BM_OK)
        bm_log(BM_LOG_WARN, "hosts", "%s", e.what);
}

static void housekeeping(struct loop *l)
{
    int64_t now = bm_clock_steady_ms();

    if (now - l->head_at_ms >= BM_HEAD_EVERY_MS) {
        l->head_at_ms = now;
        look_at_others(l);
        sign_head(l);
    }
    if (now - l->view_at_ms >= VIEW_EVERY_MS) {
        l->view_at_ms = now;
        l->k->view_changed = true; /* for the handshakes' nonce, and so that the TLS certificate is looked at */
    }
    if (now - l->busy_at_ms < IDLE_TIDY_MS) {
        l->tidy = false;
    } else if (!l->tidy) {
        l->tidy = true;
        bm_store_tidy(l->k->store);
    }
    bm_observe(l->k, now);
    tell_workers(l);
    wake_courier(l);
}

/* One piece of what the keeper does of its own accord. While devices wait it comes between two of their batches, now and then. */
static void chores(struct loop *l, bool busy)
{
    int64_t at = bm_clock_steady_ms(), now;
    struct bm_error e;

    if (at - l->chores_at_ms < (busy || !l->more_chores ? BM_CHORE_EVERY_MS : 0) || bm_keeper_now(l->k, &now, &e) != BM_OK)
        return;
    l->more_chores = bm_chores_step(l->k, now);
    l->chores_at_ms = bm_clock_steady_ms();
}

static void wait_for_something(struct loop *l)
{
    struct pollfd p[CONNS_MAX + 2];
    size_t n = 0;

    p[n++] = (struct pollfd){ .fd = l->control_fd, .events = POLLIN };
    p[n++] = (struct pollfd){ .fd = l->admin_fd, .events = POLLIN };
    for (size_t i = 0; i < l->n_conns; i++) {
        struct conn *c = l->conns[i];
        bool room = c->in.n + READ_STEP <= c->in.max;

        p[n++] = (struct pollfd){ .fd = c->fd, .events = (short)((room ? POLLIN : 0) | (c->out.n != 0 ? POLLOUT : 0)) };
    }
    if (poll(p, n, l->more_chores ? 0 : BM_HEAD_EVERY_MS) <= 0)
        return;
    for (size_t i = 0; i < l->n_conns; i++)
        if ((p[i + 2].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
            (void)conn_read(l->conns[i]);
    if (p[0].revents != 0)
        take_worker(l);
    if (p[1].revents != 0)
        take_admin(l);
}

static void run_loop(struct loop *l)
{
    while (!l->stop) {
        wait_for_something(l);
        while (run_batch(l)) {
            for (size_t i = 0; i < l->n_conns; i++)
                conn_write(l->conns[i]);
            chores(l, true);
        }
        chores(l, false);
        housekeeping(l);
        for (size_t i = 0; i < l->n_conns; i++)
            conn_write(l->conns[i]);
        sweep_gone(l);
    }
}

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
        conn_free((*l)->conns[i]);
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
    run_loop(l);
    (void)unlink(admin_path);
    return 0;
}
