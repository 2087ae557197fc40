/* What the metrics and /readyz tell of the keeper and the registry. */
#include "keeper/internal.h"
#include "store/upstream.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "base/text.h"

#include <stdio.h>
#include <sys/stat.h>

enum {
    LOOK_MS = 500,          /* what costs nothing */
    LOOK_SLOWLY_MS = 10000, /* what asks the registry */
    QUIET_MS = 60000,       /* without a commit for so long, one is made to see whether that still works */
    FAILED_MS = 2000,       /* the same while it does not */
};

/* --- commits ------------------------------------------------------------------------------------------------------------------- */

void bm_observe_issued(struct bm_keeper *k, const char *protocol, const char *kind)
{
    struct bm_watch *w = &k->watch;

    if (w->n_issued == BM_ISSUED_MAX)
        return;
    w->issued[w->n_issued][0] = bm_metric_label_find(&bm_label_protocol, protocol);
    w->issued[w->n_issued][1] = bm_metric_label_find(&bm_label_kind, kind);
    w->n_issued++;
}

static void count_issued(struct bm_watch *w, bool committed)
{
    for (size_t i = 0; committed && i < w->n_issued; i++)
        bm_metric_add(BM_M_ISSUED, w->issued[i][0], w->issued[i][1], 1);
    w->n_issued = 0;
}

static void written(struct bm_watch *w, bool well)
{
    w->written_ms = bm_clock_steady_ms();
    w->writable = well;
    bm_metric_set(BM_M_STORE_WRITABLE, 0, 0, well);
    if (well)
        bm_metric_set(BM_M_COMMIT_AT, 0, 0, (uint64_t)w->written_ms);
    else
        bm_metric_add(BM_M_COMMITS_FAILED, 0, 0, 1);
}

enum bm_rc bm_observe_settle(struct bm_keeper *k, size_t n, enum bm_rc rc, struct bm_error *e)
{
    int64_t began = bm_clock_steady_us();

    rc = bm_keeper_settle(k, rc, e);
    count_issued(&k->watch, rc == BM_OK);
    if (rc != BM_OK && bm_store_collided(k->store)) /* says nothing about the disk */
        return rc;
    written(&k->watch, rc == BM_OK);
    if (rc != BM_OK)
        return rc;
    bm_metric_observe(BM_M_COMMIT_SECONDS, 0, (uint64_t)(bm_clock_steady_us() - began));
    bm_metric_observe(BM_M_BATCH_COMMANDS, 0, n);
    return BM_OK;
}

/* A full disk is noticed before a device comes; and once it has room again, a balancer that sends us no devices must learn of that. */
static void try_to_write(struct bm_keeper *k, int64_t now_ms)
{
    char at[24], key[BM_NAME_LEN];
    struct bm_error e;
    enum bm_rc rc;

    if (k->watch.written_ms != 0 && now_ms - k->watch.written_ms < (k->watch.writable ? QUIET_MS : FAILED_MS))
        return;
    rc = bm_store_begin(k->store, &e);
    if (rc == BM_OK)
        rc = bm_meta_set(k->store, bm_host_meta(k, "last-seen", key), bm_rd_str(bm_time_text(bm_clock_s(), at)), &e);
    written(&k->watch, bm_keeper_settle(k, rc, &e) == BM_OK);
}

/* --- the registry -------------------------------------------------------------------------------------------------------------- */

static uint64_t size_of(const char *path, const char *suffix)
{
    char whole[1024];
    struct stat st;

    if ((size_t)snprintf(whole, sizeof whole, "%s%s", path, suffix) >= sizeof whole || stat(whole, &st) != 0)
        return 0;
    return (uint64_t)st.st_size;
}

static void look_at_files(const struct bm_keeper *k)
{
    char dsn[1024];
    const char *path = dsn + strlen("sqlite:");

    if (bm_keeper_dsn(k->options.data_dir, k->options.store, dsn, sizeof dsn, NULL) != BM_OK || strncmp(dsn, "sqlite:", 7) != 0)
        return;
    bm_metric_set(BM_M_STORE_BYTES, 0, 0, size_of(path, ""));
    bm_metric_set(BM_M_WAL_BYTES, 0, 0, size_of(path, "-wal"));
}

static void add_state(void *arg, const char *name, int64_t n)
{
    uint64_t *counts = arg;

    counts[bm_metric_label_find(&bm_label_state, name)] += (uint64_t)n;
}

static void look_at_devices(struct bm_keeper *k)
{
    uint64_t counts[32] = { 0 };

    if (bm_store_device_states(k->store, add_state, counts, NULL) != BM_OK)
        return; /* what was known last stands */
    for (unsigned i = 0; i < bm_label_state.n && i < BM_COUNT(counts); i++)
        bm_metric_set(BM_M_DEVICES, i, 0, counts[i]);
}

static void look_at_upstream(struct bm_keeper *k)
{
    int64_t n;

    for (unsigned i = 0; i < bm_label_revocation.n; i++)
        if (bm_upstream_revocation_count(k->store, bm_label_revocation.values[i], &n, NULL) == BM_OK)
            bm_metric_set(BM_M_UPSTREAM_REVOCATIONS, i, 0, (uint64_t)n);
}

struct earliest {
    struct bm_keeper *k;
    int64_t at;
};

/* Of those that issue: one that has handed over may end. */
static enum bm_rc earliest(void *arg, const struct bm_ca *c, struct bm_error *e)
{
    struct earliest *s = arg;
    struct bm_cert cert;

    if (strcmp(c->state, "active") == 0 && bm_cert_parse(bm_buf_rd(&c->cert), &cert, e) == BM_OK && cert.not_after < s->at &&
        !bm_ca_handed_over(s->k, c->id))
        s->at = cert.not_after;
    return BM_OK;
}

static bool can_sign(struct bm_keeper *k)
{
    struct bm_issuer *i;
    struct bm_error e;

    return bm_issuer_default(k, &i, &e) == BM_OK && strcmp(i->row.state, "active") == 0 && i->cert.not_after > bm_clock_s() &&
           bm_issuer_key(k, i, &e) == BM_OK;
}

static void look_at_cas(struct bm_keeper *k)
{
    struct earliest s = { .k = k, .at = INT64_MAX };

    if (bm_ca_each(k->store, earliest, &s, NULL) == BM_OK && s.at != INT64_MAX)
        bm_metric_set(BM_M_CA_EXPIRES, 0, 0, (uint64_t)s.at);
    bm_metric_set(BM_M_CA_CAN_SIGN, 0, 0, can_sign(k));
}

static enum bm_rc first_cert(void *arg, struct bm_rd der, struct bm_error *e)
{
    int64_t *at = arg;
    struct bm_cert cert;

    if (*at == 0 && bm_cert_parse(der, &cert, e) == BM_OK)
        *at = cert.not_after;
    return BM_OK;
}

void bm_observe_tls(struct bm_rd chain_pem)
{
    int64_t at = 0;

    if (bm_pem_parse(chain_pem, "CERTIFICATE", first_cert, &at, NULL) == BM_OK && at > 0)
        bm_metric_set(BM_M_TLS_EXPIRES, 0, 0, (uint64_t)at);
}

void bm_observe(struct bm_keeper *k, int64_t now_ms)
{
    struct bm_error e;
    int64_t now;

    if (!bm_metrics_on() || now_ms - k->watch.looked_ms < LOOK_MS)
        return;
    k->watch.looked_ms = now_ms;
    bm_metrics_alive();
    bm_metric_set(BM_M_CLOCK_SANE, 0, 0, bm_keeper_now(k, &now, &e) == BM_OK);
    bm_metric_set(BM_M_LOG_ENTRIES, 0, 0, (uint64_t)k->audit.on_disk.size);
    try_to_write(k, now_ms);
    bm_observe_tokens(k, now_ms);
    if (k->watch.looked_slowly_ms != 0 && now_ms - k->watch.looked_slowly_ms < LOOK_SLOWLY_MS)
        return;
    k->watch.looked_slowly_ms = now_ms;
    look_at_files(k);
    look_at_devices(k);
    look_at_cas(k);
    look_at_upstream(k);
    bm_metric_set(BM_M_CRL_ENDS, 0, 0, (uint64_t)bm_held_crls_end(k, false));
    bm_metric_set(BM_M_MAKER_CRL_ENDS, 0, 0, (uint64_t)bm_held_crls_end(k, true));
}
