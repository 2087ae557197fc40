/* The connections of the keeper's loop: workers, the courier, administrators. */
#include "keeper/loop.h"

#include "base/fdpass.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

const char *const bm_loop_party_word[] = { "worker", "courier", "administrator" };

void bm_loop_conn_free(struct conn *c)
{
    close(c->fd);
    bm_buf_done(&c->in);
    bm_buf_done(&c->out);
    free(c);
}

static void conn_add(struct loop *l, int fd, enum party party, const char *actor)
{
    struct conn *c = l->n_conns < LOOP_CONNS_MAX ? calloc(1, sizeof *c) : NULL;

    if (c == NULL) {
        bm_log(BM_LOG_WARN, "connection", "no room for another %s", bm_loop_party_word[party]);
        close(fd);
        return;
    }
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    c->fd = fd;
    c->party = party;
    snprintf(c->actor, sizeof c->actor, "%s", actor);
    c->in.max = (party == ADMINISTRATOR ? BM_FRAME_MAX : party == COURIER ? BM_ERRAND_COMMAND_MAX : BM_API_COMMAND_MAX) + READ_STEP;
    c->out.max = (size_t)BM_FRAME_MAX * 4;
    l->conns[l->n_conns++] = c;
}

void bm_loop_sweep(struct loop *l)
{
    size_t kept = 0;

    for (size_t i = 0; i < l->n_conns; i++) {
        if (l->conns[i]->gone)
            bm_loop_conn_free(l->conns[i]);
        else
            l->conns[kept++] = l->conns[i];
    }
    l->n_conns = kept;
}

void bm_loop_take_worker(struct loop *l)
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
void bm_loop_take_admin(struct loop *l)
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

bool bm_loop_conn_read(struct conn *c)
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

void bm_loop_conn_write(struct conn *c)
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

bool bm_loop_read_more(struct loop *l)
{
    bool any = false;

    for (size_t i = 0; i < l->n_conns; i++)
        any |= !l->conns[i]->gone && bm_loop_conn_read(l->conns[i]);
    return any;
}
