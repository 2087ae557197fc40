/* What is written down about what happened: leaves of the audit log, and the refusals that `birthmark why` tells. */
#include "keeper/internal.h"

#include "base/log.h"
#include "base/text.h"

#include <stdlib.h>

enum bm_rc bm_record_raw(struct bm_keeper *k, int64_t now, struct bm_rd json, struct bm_error *e)
{
    return bm_audit_add(&k->audit, now * 1000, json, e);
}

static void free_text(char **p)
{
    free(*p);
}

enum bm_rc bm_record(struct bm_keeper *k, int64_t now, const char *event, const json_t *fields, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp)
    json_t *leaf = json_pack("{s:s, s:s}", "event", event, "actor", k->actor != NULL ? k->actor : "system");
    BM_CLEANUP(free_text) char *text = NULL;

    if (leaf == NULL || (fields != NULL && json_object_update_missing(leaf, (json_t *)(uintptr_t)fields) != 0))
        return bm_fail(e, BM_NOMEM, "no memory for the audit log");
    text = json_dumps(leaf, JSON_COMPACT);
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for the audit log");
    return bm_record_raw(k, now, bm_rd_str(text), e);
}

/* A token bucket, so that a flood of impostors does not become a flood of disk writes. */
static bool may_write(struct bm_keeper *k, int64_t now)
{
    if (k->refusal_second != now) {
        k->refusal_second = now;
        k->refusal_tokens = BM_REFUSALS_PER_SECOND;
    }
    if (k->refusal_tokens == 0)
        return false;
    if (--k->refusal_tokens == 0)
        bm_log(BM_LOG_WARN, "refusals", "more than %d refusals in this second; the rest of them is not kept",
               BM_REFUSALS_PER_SECOND);
    return true;
}

enum bm_rc bm_record_refused(struct bm_keeper *k, int64_t now, const struct bm_refusal *r, struct bm_error *e)
{
    return may_write(k, now) ? bm_refusal_add(k->store, r, e) : BM_OK;
}

enum bm_rc bm_record_refusal(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, const struct bm_error *why,
                             struct bm_error *e)
{
    struct bm_refusal r = { .at = now };
    const struct bm_error truth = k->truth;
    bool told = k->told;

    k->truth.rc = BM_OK;
    k->told = false;
    if (told)
        return BM_OK;
    memcpy(r.correlation, c->correlation, sizeof r.correlation);
    memcpy(r.protocol, c->protocol, sizeof r.protocol);
    memcpy(r.peer, c->peer, sizeof r.peer);
    snprintf(r.code, sizeof r.code, "%s", bm_error_code(why));
    snprintf(r.what, sizeof r.what, "%s", truth.rc != BM_OK ? truth.what : why->what);
    r.has_udid = bm_evidence_udid(k, c, r.udid);
    return bm_record_refused(k, now, &r, e);
}

enum bm_rc bm_keeper_settle(struct bm_keeper *k, enum bm_rc rc, struct bm_error *e)
{
    bool never = rc != BM_OK;

    if (rc == BM_OK)
        rc = bm_host_tell(k, e);
    if (rc == BM_OK)
        rc = bm_store_commit(k->store, e);
    /* of a commit that failed in another way nobody knows for sure that it did not come through, and a key that is gone is gone for good */
    bm_token_keys_settled(k, never || (rc != BM_OK && bm_store_collided(k->store)));
    bm_host_told(k, rc == BM_OK);
    bm_challenges_settled(k, rc != BM_OK && bm_store_collided(k->store));
    if (rc == BM_OK) {
        bm_audit_committed(&k->audit);
        bm_key_marks_committed(k);
        return BM_OK;
    }
    k->key_made[0] = '\0'; /* the mark stays: whether the commit came through, the registry says when it is opened next */
    bm_store_rollback(k->store);
    bm_audit_rolled_back(&k->audit);
    bm_imports_drop(k, false);
    bm_revocation_drop(k);
    bm_brski_drop(k);
    bm_cache_drop(k);
    bm_secrets_forget(k);
    return rc;
}

enum bm_rc bm_keeper_sign_head(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    enum bm_rc rc = bm_store_begin(k->store, e);

    if (rc == BM_OK)
        rc = bm_audit_sign_head(&k->audit, k->log_key, now * 1000, e);
    return bm_keeper_settle(k, rc, e);
}
