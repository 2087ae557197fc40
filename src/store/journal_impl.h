/* What the files of the journal's writer share with each other and nobody else. */
#ifndef BM_STORE_JOURNAL_IMPL_H
#define BM_STORE_JOURNAL_IMPL_H

#include "store/journal_format.h"

enum { BM_JOURNAL_PATH_LEN = 4096, BM_JOURNAL_INDEX = 2 * BM_JOURNAL_STATEMENTS_MAX };

/* A statement as the records know it. */
struct bm_journal_known {
    const struct bm_sql *sql;
    uint16_t number;
    bool has_id, leaf;
};

struct bm_journal {
    char dir[BM_JOURNAL_PATH_LEN - 32];
    struct bm_store *store;
    int lock_fd, fd;          /* fd -1: the next record begins a segment */
    uint64_t segment, newest; /* numbers of files: that of fd, and the highest there is */
    int64_t end;              /* of the last good record in fd */
    bool torn;                /* behind that may be more */
    bool suspect;             /* an fsync of fd has failed */
    bool rotate;              /* the next record goes into a new segment */
    uint32_t schema;
    struct bm_journal_place place; /* of the registry: the last transaction that was committed */
    struct bm_journal_place next;  /* of the record written last */
    bool written;                  /* it is on disk, and the database has not said yes */
    int64_t written_len;
    bool quiet; /* what the store is told now is our own */
    enum bm_journal_start start;
    struct bm_journal_known known[BM_JOURNAL_INDEX]; /* open addressing by address */
    uint16_t n_known, n_before;                      /* n_before: when the pending record was begun */
    struct bm_buf record;                            /* the pending one */
    uint32_t n_items;
    int64_t leaves;
};

/* journal.c: they are defined again before their next use; a later definition of a number counts. */
void bm_journal_forget_statements(struct bm_journal *j);

/* --- journal_end.c --- */
enum bm_rc bm_journal_unavailable(struct bm_error *e, const char *what, const char *path); /* and errno says why */
void bm_journal_end_close(struct bm_journal *j);
/* Takes off what stands behind the last good record; one that cannot be taken off is left behind by the next segment. */
enum bm_rc bm_journal_end_mend(struct bm_journal *j, struct bm_error *e);
/* At `end` of this segment; or in a new one. */
BM_MUST_USE enum bm_rc bm_journal_end_open(struct bm_journal *j, uint64_t number, int64_t end, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_journal_end_new(struct bm_journal *j, struct bm_error *e);
/* A segment that takes another record. */
BM_MUST_USE enum bm_rc bm_journal_end_room(struct bm_journal *j, struct bm_error *e);
/* The record written last: on disk; part of history; or whatever the registry says it is, when commit did not say. */
BM_MUST_USE enum bm_rc bm_journal_end_append(struct bm_journal *j, struct bm_error *e);
void bm_journal_end_keep(struct bm_journal *j);
enum bm_rc bm_journal_end_look_back(struct bm_journal *j, struct bm_error *e);

#endif
