/* The keeper's side of the journal (store/journal.h): opening it, the keys that go into it, and what the administrator may ask of it. */
#include "keeper/internal.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "store/journal.h"

#include <inttypes.h>

/* What the operator must know of how the journal goes on. */
static void tell_start(const struct bm_keeper *k)
{
    struct bm_journal_state s = bm_journal_state(k->journal);

    if (s.start == BM_JOURNAL_MENDED)
        bm_log(BM_LOG_WARN, "journal",
               "what was being written when the server ended, and was not acknowledged, is taken off its end");
    if (s.start == BM_JOURNAL_BEGUN || s.start == BM_JOURNAL_GAP)
        bm_log(BM_LOG_WARN, "journal", "%s: it leads on from backups made from now on only, so make one",
               s.start == BM_JOURNAL_BEGUN ? "a journal is begun" : "the journal until now is not in its folder");
}

enum bm_rc bm_keeper_open_journal(struct bm_keeper *k, struct bm_error *e)
{
    enum bm_rc rc;

    if (k->options.journal == NULL || k->options.journal[0] == '\0')
        return bm_journal_forget(k->store, e);
    if (k->host.n > 1) /* a record would not say what other hosts wrote between it and the next */
        return bm_refuse(
            e, BM_USAGE, "one-host",
            "a journal is for a registry of one host; several hosts use PostgreSQL's own archive of its log in its place");
    rc = bm_journal_open(k->options.journal, k->store, &k->journal, e);
    if (rc == BM_OK)
        tell_start(k);
    return rc;
}

enum bm_rc bm_keeper_journal_key(struct bm_keeper *k, const char *uri, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf sealed = { .max = BM_JOURNAL_FILE_MAX };
    char name[BM_TEXT_MAX + 16], path[1024];
    enum bm_rc rc;

    if (k->journal == NULL || strncmp(uri, "file:", 5) != 0)
        return BM_OK;
    snprintf(name, sizeof name, "%s.key.pem", uri + 5);
    rc = bm_path_join(k->ring.dir, name, path, sizeof path, e);
    if (rc == BM_OK)
        rc = bm_file_read(path, &sealed, e);
    return rc == BM_OK ? bm_journal_file(k->journal, name, bm_buf_rd(&sealed), e) : rc;
}

static enum bm_rc tell_state(const struct bm_keeper *k, json_t *out, struct bm_error *e)
{
    struct bm_journal_state s;
    char chain[33];

    if (k->journal == NULL)
        return bm_refuse(e, BM_NOTFOUND, "no-journal", "this server keeps no journal: 'journal' is not set in its configuration");
    s = bm_journal_state(k->journal);
    bm_hex(s.place.chain, sizeof s.place.chain, chain);
    if (json_object_set_new(out, "dir", json_string(k->options.journal)) != 0 ||
        json_object_set_new(out, "chain", json_string(chain)) != 0 ||
        json_object_set_new(out, "record", json_integer((json_int_t)s.place.seq)) != 0 ||
        json_object_set_new(out, "segment", json_integer((json_int_t)s.segment)) != 0)
        return bm_fail(e, BM_NOMEM, "no memory");
    return BM_OK;
}

enum bm_rc bm_admin_journal_show(struct bm_keeper *k, const json_t *in, struct bm_rd blob, json_t *out, struct bm_error *e)
{
    (void)in, (void)blob;
    return tell_state(k, out, e);
}

enum bm_rc bm_admin_journal_rotate(struct bm_keeper *k, const json_t *in, struct bm_rd blob, json_t *out, struct bm_error *e)
{
    (void)in, (void)blob;
    if (k->journal != NULL)
        bm_journal_rotate(k->journal);
    return tell_state(k, out, e);
}
