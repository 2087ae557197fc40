/* The audit log that a MASA keeps for each device, RFC 8995 section 5.8: which networks were given a voucher for it, and why. */
#include "keeper/brski.h"
#include "keeper/ownership.h"

#include "base/text.h"

#include <stdlib.h>

struct telling {
    json_t *events;
    const struct bm_cms_chain *asks;
    bool known; /* has had a voucher */
};

/* It may have been pinned by any certificate of its chain. */
static bool is_asking(const struct telling *t, const struct bm_voucher_row *v)
{
    uint8_t room[32];
    struct bm_rd domain;

    for (size_t i = 0; i < t->asks->n; i++) {
        bm_domain_id(&t->asks->at[i], room, &domain);
        if (bm_rd_eq(bm_rd_of(v->domain_id, v->domain_id_len), domain))
            return true;
    }
    return false;
}

static enum bm_rc tell_event(void *arg, const struct bm_voucher_row *v, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf domain = { .max = 2 * BM_DOMAIN_ID_MAX };
    struct telling *t = arg;
    char at[24];
    json_t *event;

    bm_base64(&domain, bm_rd_of(v->domain_id, v->domain_id_len), 0);
    event = json_pack("{s:s, s:s%, s:s, s:s?}", "date", bm_time_text(v->created_at, at), "domainID", (const char *)domain.p,
                      domain.n, "assertion", v->assertion, "nonce", v->nonce[0] != '\0' ? v->nonce : NULL);
    t->known = t->known || is_asking(t, v);
    return json_array_append_new(t->events, event) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "no memory for an audit log");
}

static void free_text(char **p)
{
    free(*p);
}

/* "arbitrary": those that are too many to tell. */
static enum bm_rc write_log(const struct telling *t, int64_t count, struct bm_buf *out, struct bm_error *e)
{
    int64_t left_out = count - (int64_t)json_array_size(t->events);
    BM_CLEANUP(bm_keeper_jsonp)
    json_t *log = json_pack("{s:i, s:O, s:{s:i, s:i, s:I}}", "version", 1, "events", t->events, "truncation", "nonced duplicates",
                            0, "nonceless duplicates", 0, "arbitrary", (json_int_t)left_out);
    BM_CLEANUP(free_text) char *text = json_dumps(log, JSON_COMPACT);

    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for an audit log");
    bm_buf_str(out, text);
    return bm_buf_check(out, e);
}

/* For the network of its owner, and for those that it has had a voucher for; for others it is as if there were no such device. */
static enum bm_rc may_read(struct bm_keeper *k, const struct bm_masa_request *r, const struct bm_device *d, const struct telling *t,
                           int64_t now, struct bm_error *e)
{
    const struct bm_cert *pin;
    int64_t owner = 0, org = 0;
    enum bm_rc rc = bm_owner_of(k, d, &owner, e);

    if (rc != BM_OK || t->known)
        return rc;
    rc = owner != 0 ? bm_masa_domain(k, r->chain.at, r->chain.n, owner, now, &org, &pin, e) : BM_DENIED;
    if (rc == BM_DENIED || (rc == BM_OK && org != owner))
        return bm_refuse(e, BM_NOTFOUND, "masa-unknown-device", "this MASA has no log of such a device for this registrar");
    return rc;
}

enum bm_rc bm_masa_audit(struct bm_keeper *k, struct bm_rd cms, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_masa_request_done) struct bm_masa_request r = { 0 };
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *events = json_array();
    struct telling t = { .events = events, .asks = &r.chain };
    int64_t count = 0;
    enum bm_rc rc = bm_masa_request_open(cms, now, k->options.limits.voucher_request_age_s, &r, e);

    if (rc == BM_OK)
        rc = bm_masa_device(k, &r, &d, e);
    if (rc != BM_OK)
        return rc;
    rc = bm_voucher_row_count(k->store, d.id, &count, e);
    if (rc == BM_OK)
        rc = bm_voucher_row_each(k->store, d.id, k->options.limits.voucher_events, tell_event, &t, e);
    if (rc == BM_OK)
        rc = may_read(k, &r, &d, &t, now, e);
    return rc == BM_OK ? write_log(&t, count, out, e) : rc;
}
