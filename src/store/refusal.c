#include "store/db.h"

static const struct bm_sql add = {
    "INSERT INTO refusal (at, correlation, protocol, code, peer, what, udid) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO NOTHING"
};
static const struct bm_sql forget = { "DELETE FROM refusal WHERE id = ?" };
static const struct bm_sql forget_up_to = { "DELETE FROM refusal WHERE id <= ?" };

enum { SWEEP_EVERY = 256 };

/* Each row beyond those kept pushes out exactly the oldest: constant cost, and no two hosts at the same row. Ids of transactions that were
 * rolled back leave gaps, and those leave rows behind: they are swept up now and then. */
enum bm_rc bm_refusal_add(struct bm_store *s, const struct bm_refusal *r, struct bm_error *e)
{
    int64_t id = 0;
    enum bm_rc rc = bm_db_insert(s, &add,
                                 BM_ARGS(bm_arg_int(r->at), bm_arg_text(r->correlation), bm_arg_text(r->protocol),
                                         bm_arg_text(r->code), bm_arg_text(r->peer), bm_arg_text(r->what),
                                         r->has_udid ? bm_arg_blob(r->udid, sizeof r->udid) : bm_arg_ref(0)),
                                 "refusal", &id, e);

    if (rc != BM_OK || id <= BM_REFUSALS_KEPT)
        return rc;
    return bm_db_run(s, id % SWEEP_EVERY == 0 ? &forget_up_to : &forget, BM_ARGS(bm_arg_int(id - BM_REFUSALS_KEPT)), e);
}
