/* A worker's line to the keeper: frames both ways on one socket, answers matched by id, nothing ever blocks. */
#ifndef BM_SERVER_KEEPER_LINK_H
#define BM_SERVER_KEEPER_LINK_H

#include "base/frame.h"

#include <event2/event.h>

struct bm_link;

/* type: of the keeper's frame; payload borrows for the call. type 0: the link has ended, there will be no answer. */
typedef void bm_link_answer(void *arg, uint8_t type, struct bm_rd payload);
struct bm_link_events {
    void (*changed)(void *arg); /* BM_CMD_CHANGED came */
    void (*ended)(void *arg);   /* end of stream or a frame that cannot be: the link is of no more use */
    void *arg;
};

/* Takes fd, a non-blocking stream socket. */
BM_MUST_USE enum bm_rc bm_link_new(struct event_base *base, int fd, struct bm_link_events events, struct bm_link **ret,
                                   struct bm_error *e);
void bm_link_free(struct bm_link *l); /* NULL is fine; calls nothing back */
/* Sends a command; cb is called once, later, never from here. BM_AGAIN at once when BM_IN_FLIGHT_MAX are unanswered.
 * ret_ticket, which may be NULL, names it for bm_link_forget(). */
BM_MUST_USE enum bm_rc bm_link_send(struct bm_link *l, uint8_t type, struct bm_rd payload, bm_link_answer *cb, void *arg,
                                    uint64_t *ret_ticket, struct bm_error *e);
/* The asker has gone: its answer will be dropped. */
void bm_link_forget(struct bm_link *l, uint64_t ticket);

#endif
