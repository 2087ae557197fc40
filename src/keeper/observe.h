/* What the metrics and /readyz tell of the keeper and the registry (base/metrics.h). Nothing is counted outside of a server. */
#ifndef BM_KEEPER_OBSERVE_H
#define BM_KEEPER_OBSERVE_H

#include "base/bytes.h"
#include "base/limits.h"

struct bm_keeper;

#define BM_ISSUED_MAX (BM_BATCH_COMMANDS * 4)

struct bm_watch {
    unsigned issued[BM_ISSUED_MAX][2]; /* protocol and kind, of certificates not committed yet */
    size_t n_issued;
    int64_t looked_ms, looked_slowly_ms, token_ms, written_ms; /* when we last looked, and last tried to write */
    bool writable, token_away;
};

/* bm_keeper_settle(), timed; n: the commands of the batch. */
BM_MUST_USE enum bm_rc bm_observe_settle(struct bm_keeper *k, size_t n, enum bm_rc rc, struct bm_error *e);
void bm_observe_issued(struct bm_keeper *k, const char *protocol, const char *kind); /* counted once it is committed */
void bm_observe_tls(struct bm_rd chain_pem);                                         /* what the workers are given */
/* Between batches; looks at what changes slowly now and then. now_ms: bm_clock_steady_ms(). */
void bm_observe(struct bm_keeper *k, int64_t now_ms);

#endif
