/* The journal: what was committed, written to another disk before the registry is told, so that a backup and the journal since then make
 * the registry again. A logical redo log, the same for every database driver: the statements that changed something, with their values and
 * the id a new row got.
 *
 *   DIR/lock              held by the one writer
 *   DIR/00000001.journal  segments; a new one at each backup, over BM_JOURNAL_SEGMENT_MAX, after an error, and for another schema
 *
 * A segment is a head and records; a record is one committed transaction. Integers are big-endian, vectors have a 32-bit length.
 *
 *   head     "BMJRNL1\n" chain[16] first(8) prev[32] schema(4) at_ms(8) sha256[32] of all before it
 *   record   "BMJr" body_len(4) body sha256[32] of all before it
 *   body     seq(8) prev[32] at_ms(8) log_before(8) log_after(8) n_items(4) items
 *   item     1 number(2) has_id(1) text        a statement, before its first use in a segment; a later one of the same number replaces it
 *            2 number(2) id(8) changes(8) n(1) values     it was run; id: of the new row, when has_id
 *            3 name content                    a file of the data folder's keys/, sealed
 *   value    0 | 1 int(8) | 2 bytes | 3 text
 *
 * seq goes up by one; prev is the sha256 of the record before. A segment's head says which record it follows (first - 1, prev): records of an
 * older segment from `first` on did not become history. The registry holds its place in meta("journal"), written by the same transaction, so a
 * backup knows its place too.
 *
 * Not sealed and not signed: it holds what a backup holds. The bytes are read and written in journal_format.h. One thread at a time. */
#ifndef BM_STORE_JOURNAL_H
#define BM_STORE_JOURNAL_H

#include "store/store.h"

enum {
    BM_JOURNAL_HEAD_LEN = 8 + 16 + 8 + 32 + 4 + 8 + 32,
    BM_JOURNAL_FRAME_LEN = 8,                     /* marker and length */
    BM_JOURNAL_BODY_MIN = 8 + 32 + 8 + 8 + 8 + 4, /* before the items */
    BM_JOURNAL_RECORD_MAX = 64 * 1024 * 1024,     /* one transaction */
    BM_JOURNAL_SEGMENT_MAX = 64 * 1024 * 1024,    /* begins another one; a record may reach beyond it */
    BM_JOURNAL_STATEMENTS_MAX = 512,              /* different ones in a segment */
    BM_JOURNAL_SQL_MAX = 2048,
    BM_JOURNAL_ARGS_MAX = 40,
    BM_JOURNAL_SEGMENTS_MAX = 100000, /* in one folder */
    BM_JOURNAL_FILE_MAX = 64 * 1024,  /* a key, sealed */
};

struct bm_journal_head {
    uint8_t chain[16]; /* which history; another one begins when the registry has changed without its journal */
    uint64_t first;    /* seq of the first record */
    uint8_t prev[32];  /* sha256 of the one before it; zeros for the first of all */
    uint32_t schema;   /* what the statements are written for */
    int64_t at_ms;
};

/* Borrows from the bytes it was read from. */
struct bm_journal_record {
    uint64_t seq;
    uint8_t prev[32], sha256[32];
    int64_t at_ms, log_before, log_after; /* leaves of the audit log */
    uint32_t n_items;
    struct bm_rd items;
};

/* --- journal_folder.c ----------------------------------------------------------------------------------------------------------- */
/* A registry's place in its journal: the last record it holds. In meta("journal"). */
struct bm_journal_place {
    uint8_t chain[16];
    uint64_t seq; /* 0: the chain begins here */
    uint8_t sha256[32];
    int64_t log_size;
};
BM_MUST_USE enum bm_rc bm_journal_place_get(struct bm_store *s, struct bm_journal_place *ret, struct bm_error *e); /* BM_NOTFOUND */
BM_MUST_USE enum bm_rc bm_journal_place_set(struct bm_store *s, const struct bm_journal_place *p, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_journal_place_drop(struct bm_store *s, struct bm_error *e);

struct bm_journal_segment {
    uint64_t number; /* of the file */
    struct bm_journal_head head;
    bool bad; /* no head in it */
    int64_t size;
};
struct bm_journal_folder {
    const char *dir; /* borrowed */
    size_t n;
    struct bm_journal_segment *of; /* by number */
};
BM_MUST_USE enum bm_rc bm_journal_folder_read(const char *dir, struct bm_journal_folder *ret, struct bm_error *e);
void bm_journal_folder_done(struct bm_journal_folder *f);
void bm_journal_path(const char *dir, uint64_t number, char *ret, size_t room); /* of a segment */

/* Records of one segment, one after the other. */
struct bm_journal_reader {
    int fd;
    int64_t at, size; /* the next record begins at */
    uint64_t seq;     /* and has this number */
    uint8_t prev[32];
    struct bm_buf buf;
};
BM_MUST_USE enum bm_rc bm_journal_reader_open(const char *dir, const struct bm_journal_segment *s, struct bm_journal_reader *ret,
                                              struct bm_error *e);
/* BM_NOTFOUND at the end; BM_MALFORMED: no record that follows the one before is there, r->at says where. Lent until the next call. */
BM_MUST_USE enum bm_rc bm_journal_reader_next(struct bm_journal_reader *r, struct bm_journal_record *ret, struct bm_error *e);
/* After BM_MALFORMED: whether the rest is a record that was cut off while it was written, with none after it. */
bool bm_journal_reader_torn(struct bm_journal_reader *r);
void bm_journal_reader_done(struct bm_journal_reader *r);

/* Every record of a chain that became history, in order, after seq `from`, up to seq `until`; and those before it in the same segment, whose
 * statements are still in use. prev: the sha256 of `from`. What does not join, is missing or damaged is BM_DENIED "journal-damaged" or "journal-gap", with segment and place named; a cut-off end is not an error. */
typedef enum bm_rc bm_journal_fn(void *arg, const struct bm_journal_segment *s, const struct bm_journal_record *r,
                                 struct bm_error *e);
struct bm_journal_end {
    uint64_t last;    /* seq of the last record told, or `from` */
    uint64_t torn;    /* the file with the cut-off end; 0: none */
    int64_t torn_at;  /* where it begins */
    int64_t torn_len; /* how many bytes are not taken */
};
BM_MUST_USE enum bm_rc bm_journal_each(const struct bm_journal_folder *f, const uint8_t chain[16], uint64_t from,
                                       const uint8_t prev[32], uint64_t until, bm_journal_fn *fn, void *arg,
                                       struct bm_journal_end *ret, struct bm_error *e);

/* --- journal.c: the writer ------------------------------------------------------------------------------------------------------ */
struct bm_journal;
/* Finds the place of s in the journal and takes the writer's lock; from then on every commit of s goes through it. What stands in the journal
 * and did not become history is taken off its end. dir exists; borrowed: s, which outlives it. BM_CONFLICT "in-use"; "journal-ahead": it
 * goes on where s ends. */
BM_MUST_USE enum bm_rc bm_journal_open(const char *dir, struct bm_store *s, struct bm_journal **ret, struct bm_error *e);
void bm_journal_close(struct bm_journal *j); /* NULL is fine */
/* For a registry that has no journal any more: forgets the place, as it goes on without. */
BM_MUST_USE enum bm_rc bm_journal_forget(struct bm_store *s, struct bm_error *e);
/* In a transaction: a file of the keys' folder goes with it. */
BM_MUST_USE enum bm_rc bm_journal_file(struct bm_journal *j, const char *name, struct bm_rd content, struct bm_error *e);
void bm_journal_rotate(struct bm_journal *j); /* the next record begins a segment */
enum bm_journal_start {
    BM_JOURNAL_JOINED, /* it goes on where it ended */
    BM_JOURNAL_MENDED, /* and an end that was never acknowledged was taken off */
    BM_JOURNAL_BEGUN, /* the registry has changed without a journal, or never had one: a new chain; only a backup made now leads on */
    BM_JOURNAL_GAP    /* records up to here are not in the folder: the same */
};
struct bm_journal_state {
    struct bm_journal_place place;
    uint64_t segment; /* number of the file */
    enum bm_journal_start start;
};
struct bm_journal_state bm_journal_state(const struct bm_journal *j);

/* --- journal_replay.c ----------------------------------------------------------------------------------------------------------- */
typedef enum bm_rc bm_journal_file_fn(void *arg, const char *name, struct bm_rd content, struct bm_error *e);
struct bm_replayed {
    uint64_t from, to; /* places */
    int64_t records, statements, files, at_ms;
    struct bm_journal_end end;
};
/* Runs on s, which nobody else has and whose schema is as it was when it was copied, what the journal holds after its place, up to seq
 * `until`. Ids, numbers of rows and the size of the audit log must come out as they were: BM_DENIED "journal-mismatch". Names handed to fn are
 * plain file names. On failure s is to be thrown away. */
BM_MUST_USE enum bm_rc bm_journal_replay(struct bm_store *s, const char *dir, uint64_t until, bm_journal_file_fn *fn, void *arg,
                                         struct bm_replayed *ret, struct bm_error *e);

#endif
