/* Orders that nobody asks for any more are dropped, a few at a time. */
#include "keeper/internal.h"

#include "base/log.h"
#include "store/acme.h"

enum { AT_ONCE = 100 };

/* A look costs no transaction. */
bool bm_acme_step(struct bm_keeper *k, int64_t now)
{
    struct bm_error e;
    int64_t id, n = 0;
    enum bm_rc rc = bm_acme_order_due(k->store, now, &id, &e);

    if (rc == BM_NOTFOUND)
        return false;
    if (rc == BM_OK)
        rc = bm_keeper_begin(k, &e);
    if (rc == BM_OK)
        rc = bm_keeper_settle(k, bm_acme_order_sweep(k->store, now, AT_ONCE, &n, &e), &e);
    if (rc != BM_OK && !bm_store_collided(k->store)) /* another host is at it too */
        bm_log(BM_LOG_ERROR, "acme", "cannot drop old orders: %s", e.what);
    return rc == BM_OK && n == AT_ONCE;
}
