/* CAs that hand over to others, and what is left of them. As store.h. */
#ifndef BM_STORE_CA_ROTATE_H
#define BM_STORE_CA_ROTATE_H

#include "store/store.h"

struct bm_ca_successor {
    int64_t ca_id, successor_id;
    int64_t at, created_at; /* at: from when on */
};
BM_MUST_USE enum bm_rc bm_ca_successor_put(struct bm_store *s, const struct bm_ca_successor *c, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_ca_successor_get(struct bm_store *s, int64_t ca_id, struct bm_ca_successor *ret, struct bm_error *e);

/* Certificates that a CA gave to devices and that have not expired, revoked ones among them: until they expire, somebody may ask. Looks
 * through all there are. */
struct bm_ca_left {
    int64_t n, last; /* last: when the last of them expires; 0: none */
};
BM_MUST_USE enum bm_rc bm_ca_left(struct bm_store *s, int64_t ca_id, int64_t now, struct bm_ca_left *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_ca_set_retired(struct bm_store *s, int64_t id, struct bm_error *e);

#endif
