/* Devices that share a secret key with the registry: taking keys in, keeping them sealed, checking MACs, and changing the key they are sealed
 * with. docs/symmetric.md. Inside of the keeper only; secrets leave these files neither in answers nor in sentences. */
#ifndef BM_KEEPER_SYMMETRIC_H
#define BM_KEEPER_SYMMETRIC_H

#include "keeper/internal.h"
#include "pki/kek.h"
#include "pki/mac.h"
#include "store/mac_key.h"

enum { BM_KEK_SLOTS = 4, BM_KEK_STEP_ROWS = 256 };

struct bm_secrets {
    struct {
        int64_t id; /* 0: free */
        struct bm_kek *kek;
    } keks[BM_KEK_SLOTS];      /* opened, direct-mapped by id */
    struct bm_key *import_key; /* opened on first use */
    bool looked, pending;      /* is there work for bm_kek_step()? */
    int64_t again_at_ms;       /* after a failure, not before this */
    struct bm_buf decoy;       /* a sealed key of nobody */
    int64_t decoy_kek;
};
BM_MUST_USE enum bm_rc bm_secrets_get(struct bm_keeper *k, struct bm_secrets **ret, struct bm_error *e); /* made on first use */

/* --- kek_life.c --------------------------------------------------------------------------------------------------------------- */
/* The one that seals what is new; the first is made when it is first needed. Lent until bm_secrets_forget(). Inside a transaction. */
BM_MUST_USE enum bm_rc bm_kek_current(struct bm_keeper *k, int64_t now, int64_t *ret_id, const struct bm_kek **ret,
                                      struct bm_error *e);
BM_MUST_USE enum bm_rc bm_kek_get(struct bm_keeper *k, int64_t id, const struct bm_kek **ret, struct bm_error *e);
/* Makes the next one; bm_kek_step() moves the rows. BM_CONFLICT "rotation-running". */
BM_MUST_USE enum bm_rc bm_kek_rotate(struct bm_keeper *k, int64_t now, int64_t *ret_id, struct bm_error *e);
/* One step of the rotation under way, of at most BM_KEK_STEP_ROWS rows, in the transaction that is open. That transaction must not be shared
 * with another step: a key is removed from disk only by a step that comes after the commit of the one that emptied it. */
BM_MUST_USE enum bm_rc bm_kek_step(struct bm_keeper *k, int64_t now, int64_t *ret_moved, bool *ret_more, struct bm_error *e);

/* --- mac_keys.c --------------------------------------------------------------------------------------------------------------- */
#define BM_IMPORT_KEY "file:import"
/* The key that chip makers seal secrets to; made on first use. Lent. Inside a transaction when it may have to be made. */
BM_MUST_USE enum bm_rc bm_import_key(struct bm_keeper *k, bool make, const struct bm_key **ret, struct bm_error *e);

/* What a manifest or the administrator says about the key of one device. */
struct bm_mac_given {
    int64_t org_id; /* who says so */
    const uint8_t *udid;
    const char *mac;                 /* bm_mac_alg */
    struct bm_rd ident, sealed_b64u; /* sealed_b64u: JWE, compact */
    const char *root;                /* or the root key it comes from; "" */
    bool dry;                        /* check only: nothing is sealed */
};
/* Opens, checks and seals again: a row without device_id. Code entry-secret or entry-mac when it is no good. */
BM_MUST_USE enum bm_rc bm_mac_take(struct bm_keeper *k, const struct bm_mac_given *g, int64_t now, struct bm_mac_key *ret,
                                   struct bm_error *e);
BM_MUST_USE enum bm_rc bm_mac_take_root(struct bm_keeper *k, const char *name, const char *kdf, int64_t org_id,
                                        struct bm_rd sealed_b64u, int64_t now, struct bm_mac_key *ret, struct bm_error *e);
/* The key itself, in *ret, which the caller wipes (bm_buf_done). */
BM_MUST_USE enum bm_rc bm_mac_open(struct bm_keeper *k, const uint8_t udid[BM_UDID_LEN], const struct bm_mac_key *m,
                                   struct bm_buf *ret, struct bm_error *e);
/* Seals a secret that is no device's into a row without one; name and alg, which say what it is for, are the caller's. */
BM_MUST_USE enum bm_rc bm_mac_seal_named(struct bm_keeper *k, struct bm_mac_key *m, struct bm_rd plain, int64_t now,
                                         struct bm_error *e);
/* What a sealed row belongs to; udid NULL for a root key. */
void bm_mac_aad(const struct bm_mac_key *m, const uint8_t *udid, struct bm_buf *out);

#endif
