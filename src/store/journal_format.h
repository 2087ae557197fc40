/* The journal's bytes (journal.h draws them), and what db.c tells the writer. Parsing is bounded and pure. */
#ifndef BM_STORE_JOURNAL_FORMAT_H
#define BM_STORE_JOURNAL_FORMAT_H

#include "store/db.h"
#include "store/journal.h"

struct bm_journal_item {
    enum bm_journal_kind { BM_JOURNAL_DEFINE = 1, BM_JOURNAL_RUN = 2, BM_JOURNAL_FILE = 3 } kind;
    uint16_t number;                         /* DEFINE, RUN */
    bool has_id;                             /* DEFINE */
    struct bm_rd text;                       /* DEFINE: SQL; FILE: its name */
    int64_t id, changes;                     /* RUN */
    size_t n_args;                           /* RUN */
    struct bm_arg args[BM_JOURNAL_ARGS_MAX]; /* RUN */
    struct bm_rd content;                    /* FILE */
};

/* Exactly BM_JOURNAL_HEAD_LEN bytes. BM_MALFORMED. */
BM_MUST_USE enum bm_rc bm_journal_head_parse(struct bm_rd in, struct bm_journal_head *ret, struct bm_error *e);
void bm_journal_head_write(const struct bm_journal_head *h, uint8_t ret[BM_JOURNAL_HEAD_LEN]);
/* Of the frame that a record begins with: how many bytes the record has in all. */
BM_MUST_USE enum bm_rc bm_journal_frame_parse(struct bm_rd in, size_t *ret_len, struct bm_error *e);
/* One whole record, every item of which is well-formed, and nothing after it. BM_MALFORMED. */
BM_MUST_USE enum bm_rc bm_journal_record_parse(struct bm_rd in, struct bm_journal_record *ret, struct bm_error *e);
/* Takes the first item off *in. */
BM_MUST_USE enum bm_rc bm_journal_item_take(struct bm_rd *in, struct bm_journal_item *ret, struct bm_error *e);
void bm_journal_item_put(struct bm_buf *out, const struct bm_journal_item *i);
/* out: empty at first; items are put behind what _begin leaves room for, then _end fills that in from r (all but sha256, which it sets). */
void bm_journal_record_begin(struct bm_buf *out);
void bm_journal_record_end(struct bm_buf *out, struct bm_journal_record *r);
/* A statement that may stand in a journal: one INSERT INTO, UPDATE or DELETE FROM. */
bool bm_journal_sql_ok(struct bm_rd text);

/* --- the writer, for db.c ------------------------------------------------------------------------------------------------------- */
/* What db.c tells it. noted: a statement has changed n rows. write: all of it on disk, or BM_IO "journal-unavailable"; then commit or rollback
 * says what came of it. */
BM_MUST_USE enum bm_rc bm_journal_noted(struct bm_journal *j, const struct bm_sql *sql, struct bm_args args, int64_t changes,
                                        int64_t id, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_journal_write(struct bm_journal *j, struct bm_error *e);
void bm_journal_committed(struct bm_journal *j);
void bm_journal_rolled_back(struct bm_journal *j);

#endif
