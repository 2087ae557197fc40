/* The keeper's view, as a process that serves devices keeps it: asked for, taken over when it is good, asked for again when the keeper says that it has
 * changed. While a new one is no good, the one before stays. */
#ifndef BM_SERVER_VIEW_HOLDER_H
#define BM_SERVER_VIEW_HOLDER_H

#include "keeper/wire.h"
#include "server/keeper_link.h"

struct bm_view_holder {
    struct bm_link *link; /* set before the first bm_view_ask() */
    /* Makes of a view what is needed to serve; from BM_OK on, view is the one to go by. Its TLS key is wiped afterwards. */
    enum bm_rc (*use)(void *arg, const struct bm_view *view, struct bm_error *e);
    void (*used)(void *arg);
    void (*none)(void *arg); /* there is none, and the reason has been logged */
    void *arg;
    struct bm_view *view; /* NULL: not yet */
    struct bm_buf bytes;
    bool asked, again; /* one is on its way; it changed meanwhile */
};
void bm_view_ask(struct bm_view_holder *h);
void bm_view_drop(struct bm_view_holder *h);

#endif
