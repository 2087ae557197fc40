/* How the registry is. */
#include "keeper/internal.h"
#include "store/upstream.h"

#include "base/clock.h"
#include "pki/pkcs11.h"

struct cas {
    struct bm_keeper *k;
    json_t *list, *warnings;
    int64_t now;
};

static enum bm_rc add_ca(void *arg, const struct bm_ca *c, struct bm_error *e)
{
    enum { WARN_S = 90 * 86400 };
    struct cas *s = arg;
    char until[24];
    struct bm_cert cert;
    enum bm_rc rc = bm_cert_parse(bm_buf_rd(&c->cert), &cert, e);

    if (rc != BM_OK)
        return rc;
    bm_time_text(cert.not_after, until);
    json_array_append_new(s->list, json_pack("{s:s, s:s, s:s}", "name", c->name, "state", c->state, "not_after", until));
    if (strcmp(c->state, "active") == 0 && cert.not_after - s->now < WARN_S && !bm_ca_handed_over(s->k, c->id))
        json_array_append_new(s->warnings, json_sprintf("CA '%s' expires at %s: birthmark ca rotate %s", c->name, until, c->name));
    return BM_OK;
}

/* What waits for a person. */
static enum bm_rc warn_of_work(struct bm_keeper *k, json_t *warnings, struct bm_error *e)
{
    int64_t waiting = 0, failed = 0;
    enum bm_rc rc = bm_approval_waiting(k->store, &waiting, e);

    if (rc == BM_OK)
        rc = bm_upstream_revocation_count(k->store, BM_UPSTREAM_FAILED, &failed, e);
    if (rc == BM_OK && waiting != 0)
        json_array_append_new(warnings,
                              json_sprintf("%lld requests wait for approval: birthmark approval list", (long long)waiting));
    if (rc == BM_OK && failed != 0)
        json_array_append_new(warnings, json_sprintf("%lld certificates are revoked here and not at their upstream CA: birthmark "
                                                     "cert list --upstream failed",
                                                     (long long)failed));
    return rc;
}

BM_ADMIN_HANDLER(bm_admin_status)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf counts = { .max = 64 * 1024 };
    struct cas s = { .k = k, .list = json_array(), .warnings = json_array(), .now = bm_clock_s() };
    char at[24];
    int64_t now;
    struct bm_error clock;
    json_t *j;
    enum bm_rc rc = bm_store_counts(k->store, &counts, e);

    (void)in, (void)blob;
    json_object_set_new(out, "cas", s.list);
    json_object_set_new(out, "warnings", s.warnings);
    if (rc == BM_OK)
        rc = bm_ca_each(k->store, add_ca, &s, e);
    if (rc == BM_OK)
        rc = bm_held_crls_warn(k, s.now, s.warnings, e);
    if (rc != BM_OK)
        return rc;
    if (!bm_pkcs11_well(k->ring.pkcs11))
        json_array_append_new(s.warnings, json_string("a PKCS#11 token with keys of CAs does not answer: bring it back"));
    if (bm_keeper_now(k, &now, &clock) != BM_OK)
        json_array_append_new(s.warnings, json_string(clock.what));
    rc = warn_of_work(k, s.warnings, e);
    if (rc != BM_OK)
        return rc;
    j = json_loadb((const char *)counts.p, counts.n, 0, NULL);
    json_object_set_new(out, "counts", j != NULL ? j : json_object());
    rc = bm_kek_tell(k, out, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "log_size", json_integer(k->audit.on_disk.size));
    json_object_set_new(out, "clock", json_string(bm_time_text(s.now, at)));
    json_object_set_new(out, "since", json_string(bm_time_text(k->started_at, at)));
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_refusal_list)
{
    static const char *const by[] = { "udid", "code", NULL };

    (void)blob;
    return bm_admin_list(k, "refusal", by, in, out, e);
}

BM_ADMIN_HANDLER(bm_admin_clock_accept)
{
    int64_t now = bm_clock_s();
    char at[24];

    (void)in, (void)blob;
    k->clock_high = now;
    json_object_set_new(out, "clock", json_string(bm_time_text(now, at)));
    return bm_record(k, now, "clock.accepted", NULL, e); /* the last leaf's time is what the next start goes by */
}
