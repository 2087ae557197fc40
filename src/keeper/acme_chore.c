/* Orders that nobody asks for any more are dropped, a few at a time. */
#include "keeper/internal.h"

#include "store/acme.h"

enum { AT_ONCE = 100 };

static enum bm_rc look(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    int64_t id;

    return bm_acme_order_due(k->store, now, &id, e);
}

static enum bm_rc drop_some(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    int64_t n = 0;
    enum bm_rc rc = bm_acme_order_sweep(k->store, now, AT_ONCE, &n, e);

    return rc == BM_OK && n < AT_ONCE ? BM_NOTFOUND : rc;
}

const struct bm_chore bm_chore_acme = { "acme", "drop old orders", look, drop_some };
