/* Secret keys that devices share with the registry, sealed, and the key-encryption keys they are sealed with: docs/symmetric.md. As
 * store/store.h says for all rows. */
#ifndef BM_STORE_MAC_KEY_H
#define BM_STORE_MAC_KEY_H

#include "store/store.h"

#define BM_KEK_ACTIVE "active"       /* seals what is new; the last one */
#define BM_KEK_RETIRING "retiring"   /* rows are still sealed with it */
#define BM_KEK_ENDING "ending"       /* none is; its file is to be removed */
#define BM_KEK_DESTROYED "destroyed" /* it is gone */
struct bm_kek_row {
    int64_t id;
    char key_uri[BM_TEXT_MAX]; /* pki/kek.h: "file:NAME" */
    char state[16];
    int64_t created_at, ended_at; /* ended_at: not active any more since; 0 */
};
BM_MUST_USE enum bm_rc bm_kek_put(struct bm_store *s, struct bm_kek_row *r, struct bm_error *e); /* id != 0: update */
BM_MUST_USE enum bm_rc bm_kek_by_id(struct bm_store *s, int64_t id, struct bm_kek_row *ret, struct bm_error *e);
/* The newest one in that state (active), or the oldest (others). */
BM_MUST_USE enum bm_rc bm_kek_in(struct bm_store *s, const char *state, struct bm_kek_row *ret, struct bm_error *e);
typedef enum bm_rc bm_kek_fn(void *arg, const struct bm_kek_row *r, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_kek_each(struct bm_store *s, bm_kek_fn *fn, void *arg, struct bm_error *e); /* by id */

struct bm_mac_key {
    int64_t id, device_id, org_id, root_id,
        kek_id;                  /* device_id 0: a root key; root_id 0: the key is here; kek_id 0: nothing is sealed */
    char name[BM_NAME_LEN];      /* of a root key */
    char alg[32];                /* pki/mac.h: MAC of a device's, derivation of a root key */
    struct bm_buf ident, sealed; /* chip's identifier; empty for a root key */
};
void bm_mac_key_done(struct bm_mac_key *m);
BM_MUST_USE enum bm_rc bm_mac_key_put(struct bm_store *s, struct bm_mac_key *m, struct bm_error *e); /* new only; sets m->id */
BM_MUST_USE enum bm_rc bm_mac_key_of(struct bm_store *s, int64_t device_id, struct bm_mac_key *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_mac_key_by_id(struct bm_store *s, int64_t id, struct bm_mac_key *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_mac_root(struct bm_store *s, const char *name, struct bm_mac_key *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_mac_root_drop(struct bm_store *s, const char *name, struct bm_error *e); /* nothing may come from it */
/* The next one, by id, that is sealed with this key-encryption key. */
BM_MUST_USE enum bm_rc bm_mac_key_next(struct bm_store *s, int64_t kek_id, struct bm_mac_key *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_mac_key_reseal(struct bm_store *s, int64_t id, int64_t kek_id, const struct bm_buf *sealed,
                                         struct bm_error *e);
BM_MUST_USE enum bm_rc bm_mac_key_drop(struct bm_store *s, int64_t id, struct bm_error *e); /* one that nothing refers to */
BM_MUST_USE enum bm_rc bm_mac_key_count(struct bm_store *s, int64_t kek_id, int64_t *ret,
                                        struct bm_error *e); /* counts them: slow */
/* Those of organisations: what a protocol keeps here has none. */
typedef enum bm_rc bm_mac_key_fn(void *arg, const struct bm_mac_key *m, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_mac_root_each(struct bm_store *s, bm_mac_key_fn *fn, void *arg, struct bm_error *e);

#endif
