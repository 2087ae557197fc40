/* What the files of an open registry share with each other and nobody else. */
#ifndef BM_STORE_DB_IMPL_H
#define BM_STORE_DB_IMPL_H

#include "store/db.h"

enum { BM_STORE_SLOTS = 256 }; /* a power of two, more than twice the statements there are */

struct slot {
    const struct bm_sql *sql;
    struct bm_stmt *st;
    bool busy;
};

/* Rows counted in this transaction, told to the tally table once, at its end. */
enum { BM_STORE_TALLIES = 16 };

struct tally {
    char name[40];
    int64_t n;
};

/* doomed: a statement failed in a way that may have undone the transaction behind our back; only rollback helps. */
struct bm_store {
    const struct bm_db_driver *driver;
    struct bm_db *db;
    bool in_transaction, doomed, read_only, snapshot, created, shared;
    int64_t host, log; /* which we write as; whose log is meant */
    struct slot slots[BM_STORE_SLOTS];
    struct tally tallies[BM_STORE_TALLIES];
    size_t n_tallies;
    struct bm_journal *journal; /* borrowed; NULL: none */
};

/* db_host.c: writes down what was counted in this transaction. */
BM_MUST_USE enum bm_rc bm_db_tell_tallies(struct bm_store *s, struct bm_error *e);

#endif
