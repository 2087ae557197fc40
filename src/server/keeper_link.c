#include "server/keeper_link.h"

#include "base/metrics.h"
#include "keeper/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_ROOM (64 * 1024)
#define SLOT_BITS 16
_Static_assert(BM_IN_FLIGHT_MAX <= 1 << SLOT_BITS, "a slot's number fits into the ticket");

struct bm_link {
    int fd;
    struct event_base *base;
    struct event *readable, *writable, *flush;
    struct bm_link_events events;
    struct bm_buf in, out;
    bool blocked; /* the socket took no more; `writable` is waiting */
    bool ended;
    size_t in_flight;
    struct slot {
        uint64_t ticket;    /* 0: free */
        bm_link_answer *cb; /* NULL: forgotten */
        void *arg;
    } slots[BM_IN_FLIGHT_MAX];
    uint16_t free_slots[BM_IN_FLIGHT_MAX]; /* the first BM_IN_FLIGHT_MAX - in_flight are free */
    uint64_t serial;
};

static void end(struct bm_link *l)
{
    if (l->ended)
        return;
    l->ended = true;
    event_del(l->readable);
    event_del(l->writable);
    event_del(l->flush);
    for (size_t i = 0; i < BM_IN_FLIGHT_MAX; i++) {
        struct slot s = l->slots[i];

        l->slots[i] = (struct slot){ 0 };
        if (s.ticket != 0 && s.cb != NULL)
            s.cb(s.arg, 0, bm_rd_of(NULL, 0));
    }
    l->events.ended(l->events.arg);
}

/* Writes what the socket takes. False: the link is broken. */
static bool write_out(struct bm_link *l)
{
    while (l->out.n != 0) {
        ssize_t n = send(l->fd, l->out.p, l->out.n, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            l->blocked = true;
            event_add(l->writable, NULL);
            return true;
        }
        if (n <= 0)
            return false;
        bm_buf_drop(&l->out, (size_t)n);
    }
    l->blocked = false;
    if (l->out.cap > (size_t)4 * BM_COMMAND_MAX) /* a manifest block was in it */
        bm_buf_done(&l->out);
    return true;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct bm_link *l = arg;

    (void)fd;
    (void)what;
    if (!write_out(l))
        end(l);
}

static void answer(struct bm_link *l, const struct bm_frame *f)
{
    struct slot *s = &l->slots[f->id & ((1 << SLOT_BITS) - 1)];
    struct slot was;

    if ((f->id & ((1 << SLOT_BITS) - 1)) >= BM_IN_FLIGHT_MAX || f->id == 0 || s->ticket != f->id)
        return; /* an id we never gave out: nobody waits for it */
    was = *s;
    *s = (struct slot){ 0 };
    l->in_flight--;
    bm_metric_set(BM_M_IN_FLIGHT, 0, 0, l->in_flight);
    l->free_slots[BM_IN_FLIGHT_MAX - 1 - l->in_flight] = (uint16_t)(s - l->slots);
    if (was.cb != NULL)
        was.cb(was.arg, f->type, f->payload);
}

/* False: the keeper's bytes make no sense. */
static bool take_frames(struct bm_link *l)
{
    struct bm_rd in = bm_buf_rd(&l->in);
    struct bm_frame f;
    enum bm_rc rc;

    while ((rc = bm_frame_read(&in, BM_FRAME_MAX, &f, NULL)) == BM_OK) {
        if (f.id == 0 && f.type == BM_CMD_CHANGED)
            l->events.changed(l->events.arg);
        else
            answer(l, &f);
    }
    /* The view carries keys; nothing of what was taken stays behind. */
    bm_wipe(l->in.p, l->in.n - in.n);
    bm_buf_drop(&l->in, l->in.n - in.n);
    if (l->in.n == 0 && l->in.cap > 4 * READ_ROOM)
        bm_buf_done(&l->in);
    return rc == BM_AGAIN;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct bm_link *l = arg;
    uint8_t *room = bm_buf_room(&l->in, READ_ROOM);
    ssize_t n;

    (void)what;
    if (room == NULL) {
        end(l);
        return;
    }
    n = recv(fd, room, READ_ROOM, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n <= 0) {
        end(l);
        return;
    }
    l->in.n += (size_t)n;
    if (!take_frames(l))
        end(l);
}

enum bm_rc bm_link_new(struct event_base *base, int fd, struct bm_link_events events, struct bm_link **ret, struct bm_error *e)
{
    struct bm_link *l = calloc(1, sizeof *l);

    if (l == NULL)
        return bm_fail(e, BM_NOMEM, "keeper link: out of memory");
    l->fd = fd;
    l->base = base;
    l->events = events;
    l->in.max = BM_FRAME_MAX + 2 * READ_ROOM;
    l->out.max = (size_t)(BM_IN_FLIGHT_MAX + 1) * BM_COMMAND_MAX;
    for (size_t i = 0; i < BM_IN_FLIGHT_MAX; i++)
        l->free_slots[i] = (uint16_t)(BM_IN_FLIGHT_MAX - 1 - i);
    l->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, l);
    l->writable = event_new(base, fd, EV_WRITE, on_writable, l);
    l->flush = event_new(base, -1, 0, on_writable, l);
    if (l->readable == NULL || l->writable == NULL || l->flush == NULL || event_add(l->readable, NULL) != 0) {
        bm_link_free(l);
        return bm_fail(e, BM_NOMEM, "keeper link: out of memory");
    }
    *ret = l;
    return BM_OK;
}

static void event_freep(struct event *ev)
{
    if (ev != NULL)
        event_free(ev);
}

void bm_link_free(struct bm_link *l)
{
    if (l == NULL)
        return;
    event_freep(l->readable);
    event_freep(l->writable);
    event_freep(l->flush);
    bm_buf_done(&l->in);
    bm_buf_done(&l->out);
    close(l->fd);
    free(l);
}

/* The first command of a quiet moment leaves at once; those that come while the keeper is at work leave together, at the end of this turn
 * of the loop. */
static void leave(struct bm_link *l)
{
    if (l->blocked)
        return;
    if (l->in_flight > 1 || !write_out(l)) /* a broken link is reported from the loop, never from bm_link_send() */
        event_active(l->flush, 0, 0);
}

static size_t command_max(uint8_t type)
{
    return type == BM_CMD_API ? BM_API_COMMAND_MAX : type == BM_CMD_ERRAND ? BM_ERRAND_COMMAND_MAX : BM_COMMAND_MAX;
}

enum bm_rc bm_link_send(struct bm_link *l, uint8_t type, struct bm_rd payload, bm_link_answer *cb, void *arg, uint64_t *ret_ticket,
                        struct bm_error *e)
{
    size_t at, slot;

    if (l->ended)
        return bm_refuse(e, BM_AGAIN, "try-again", "the server is stopping");
    if (l->in_flight == BM_IN_FLIGHT_MAX)
        return bm_refuse(e, BM_AGAIN, "try-again", "the server is busy");
    if (payload.n > command_max(type) - BM_FRAME_HEAD)
        return bm_fail(e, BM_LIMIT, "command of %zu bytes", payload.n);
    slot = l->free_slots[BM_IN_FLIGHT_MAX - 1 - l->in_flight];
    l->serial++;
    l->slots[slot] = (struct slot){ l->serial << SLOT_BITS | slot, cb, arg };
    at = bm_frame_begin(&l->out, l->slots[slot].ticket, type);
    bm_buf_put(&l->out, payload.p, payload.n);
    bm_frame_end(&l->out, at);
    if (l->out.bad) {
        l->slots[slot] = (struct slot){ 0 };
        (void)shutdown(l->fd, SHUT_RDWR); /* half a frame may be in `out`: the line is lost, and the loop will see that */
        return bm_fail(e, BM_NOMEM, "keeper link: out of memory");
    }
    l->in_flight++;
    bm_metric_set(BM_M_IN_FLIGHT, 0, 0, l->in_flight);
    if (ret_ticket != NULL)
        *ret_ticket = l->slots[slot].ticket;
    leave(l);
    return BM_OK;
}

void bm_link_forget(struct bm_link *l, uint64_t ticket)
{
    struct slot *s = &l->slots[ticket & ((1 << SLOT_BITS) - 1)];

    if (ticket != 0 && s->ticket == ticket)
        s->cb = NULL;
}
