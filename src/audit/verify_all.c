/* The logs of all hosts that write, or have written, to one registry. */
#include "audit/log.h"

#include <inttypes.h>

static enum bm_rc key_of(struct bm_store *s, const struct bm_host *h, struct bm_buf *ret, struct bm_error *e)
{
    if (h->id == 1) /* where it stood before there were hosts */
        return bm_meta_get(s, "log-spki", ret, e);
    bm_buf_put(ret, h->log_spki.p, h->log_spki.n);
    return bm_buf_check(ret, e);
}

enum bm_rc bm_audit_verify_host(struct bm_store *s, const struct bm_host *h, struct bm_buf *ret_spki, struct bm_audit_report *ret,
                                struct bm_error *e)
{
    enum bm_rc rc;

    bm_store_use_log(s, h->id);
    rc = ret_spki->n == 0 ? key_of(s, h, ret_spki, e) : BM_OK;
    if (rc == BM_OK && ret_spki->n == 0)
        rc = bm_refuse(e, BM_NOTFOUND, "host-not-joined", "it has no log yet");
    if (rc == BM_OK)
        rc = bm_audit_verify(s, bm_buf_rd(ret_spki), ret, e);
    return rc == BM_OK || h->id == 1 ? rc : bm_wrap(e, rc, "host '%s'", h->name);
}

struct all {
    struct bm_store *store;
    bm_audit_verified_fn *fn;
    void *arg;
    int64_t highest;
};

static enum bm_rc verify_one(void *arg, const struct bm_host *h, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = BM_SPKI_MAX };
    struct all *a = arg;
    struct bm_audit_report report;
    enum bm_rc rc;

    a->highest = h->id;
    if (h->id != 1 && h->log_spki.n == 0)
        return BM_OK; /* expected, and never came */
    rc = bm_audit_verify_host(a->store, h, &spki, &report, e);
    return rc == BM_OK ? a->fn(a->arg, h, &report, e) : rc;
}

enum bm_rc bm_audit_verify_all(struct bm_store *s, bm_audit_verified_fn *fn, void *arg, struct bm_error *e)
{
    struct all a = { .store = s, .fn = fn, .arg = arg };
    int64_t last = 0;
    enum bm_rc rc = bm_host_each(s, verify_one, &a, e);

    bm_store_use_log(s, 1);
    if (rc == BM_OK)
        rc = bm_audit_last_log(s, &last, e);
    if (rc == BM_OK && last > a.highest)
        return bm_refuse(e, BM_DENIED, "log-changed",
                         "audit log: there are entries of a host %" PRId64 ", which the registry does not know", last);
    return rc;
}
