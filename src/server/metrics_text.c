#include "server/metrics_text.h"

#include "base/metrics.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#define MILLION 1000000

struct text {
    struct bm_buf *out;
    bool open_metrics, ready;
    int64_t now_ms;
};

static const char *const type_words[] = {
    [BM_COUNTER] = "counter", [BM_GAUGE] = "gauge", [BM_HISTOGRAM] = "histogram", [BM_INFO] = "gauge"
};

/* OpenMetrics names the family without the suffix of its samples. */
static void header(const struct text *t, const struct bm_metric *m)
{
    size_t n = strlen(m->name);

    if (t->open_metrics && m->type == BM_COUNTER && n > 6)
        n -= 6; /* _total */
    bm_buf_printf(t->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)n, m->name, m->help, (int)n, m->name, type_words[m->type]);
}

static void value(const struct text *t, const struct bm_metric *m, uint64_t v)
{
    int64_t age = t->now_ms - (int64_t)v;

    if (m->unit == BM_MICRO)
        bm_buf_printf(t->out, " %" PRIu64 ".%06u\n", v / MILLION, (unsigned)(v % MILLION));
    else if (m->unit == BM_MILLI_STEADY)
        bm_buf_printf(t->out, " %" PRId64 ".%03d\n", age > 0 ? age / 1000 : 0, (int)(age > 0 ? age % 1000 : 0));
    else
        bm_buf_printf(t->out, " %" PRIu64 "\n", v);
}

static bool has(const struct bm_metric *m, size_t slot)
{
    return (m->roles & 1U << bm_metrics_role(slot)) != 0;
}

static void process_name(size_t slot, char ret[32])
{
    static const char *const names[] = { [BM_SLOT_SUPERVISOR] = "supervisor",
                                         [BM_SLOT_KEEPER] = "keeper",
                                         [BM_SLOT_EXPORTER] = "exporter",
                                         [BM_SLOT_COURIER] = "courier",
                                         [BM_SLOT_COAP] = "coap" };

    if (slot < BM_SLOT_WORKER)
        snprintf(ret, 32, "%s", names[slot]);
    else
        snprintf(ret, 32, "worker-%zu", slot - BM_SLOT_WORKER + 1);
}

/* --- series -------------------------------------------------------------------------------------------------------------------- */

static void each_process(const struct text *t, const struct bm_metric *m, enum bm_metric_id id)
{
    for (size_t s = 0; s < bm_metrics_slots(); s++) {
        uint64_t v = has(m, s) ? bm_metric_get(s, id, 0, 0) : 0;
        char name[32];

        if (!has(m, s) || bm_metric_get(s, BM_M_HEARTBEAT, 0, 0) == 0) /* it has not lived yet */
            continue;
        process_name(s, name);
        bm_buf_printf(t->out, "%s{process=\"%s\"}", m->name, name);
        value(t, m, v);
    }
}

/* Values that stand for the one that follows, and empty ones, are no series of their own. */
static bool is_value(const struct bm_metric_label *l, size_t i)
{
    if (l == NULL)
        return true;
    return l->values[i] != NULL && l->values[i][0] != '\0' && (i + 1 == l->n || l->values[i] != l->values[i + 1]);
}

/* {a="..",b="..",le="..", or nothing; le may be NULL. */
static void labels(const struct text *t, const struct bm_metric *m, size_t a, size_t b, const char *le)
{
    const size_t at[2] = { a, b };
    const char *before = "{";

    for (int i = 0; i < 2; i++) {
        if (m->labels[i] == NULL)
            continue;
        bm_buf_printf(t->out, "%s%s=\"%s\"", before, m->labels[i]->name, m->labels[i]->values[at[i]]);
        before = ",";
    }
    if (le != NULL)
        bm_buf_printf(t->out, "%sle=\"%s\"", before, le);
    if (le != NULL || before[0] == ',')
        bm_buf_str(t->out, "}");
}

static void one(const struct text *t, const struct bm_metric *m, enum bm_metric_id id, unsigned a, unsigned b)
{
    uint64_t sum = 0;

    for (size_t s = 0; s < bm_metrics_slots(); s++)
        sum += has(m, s) ? bm_metric_get(s, id, a, b) : 0;
    if (sum == 0 && (m->sparse || m->unit == BM_MILLI_STEADY))
        return;
    bm_buf_str(t->out, m->name);
    labels(t, m, a, b, NULL);
    value(t, m, sum);
}

/* Bounds as OpenMetrics wants floats: with a point. */
static void bound(const struct bm_metric *m, size_t i, char ret[32])
{
    if (i == m->n_buckets)
        snprintf(ret, 32, "+Inf");
    else if (m->unit == BM_MICRO)
        snprintf(ret, 32, "%g", (double)m->buckets[i] / MILLION);
    else
        snprintf(ret, 32, "%" PRIu64, m->buckets[i]);
    if (i != m->n_buckets && strchr(ret, '.') == NULL)
        memcpy(ret + strlen(ret), ".0", 3);
}

static uint64_t bucket_sum(const struct bm_metric *m, enum bm_metric_id id, unsigned a, size_t i)
{
    uint64_t sum = 0;

    for (size_t s = 0; s < bm_metrics_slots(); s++)
        sum += has(m, s) ? bm_metric_bucket(s, id, a, i) : 0;
    return sum;
}

static void histogram(const struct text *t, const struct bm_metric *m, enum bm_metric_id id, unsigned a)
{
    uint64_t n[BM_METRIC_BUCKETS_MAX + 1] = { 0 }, count = 0;
    char le[32];

    for (size_t i = 0; i <= m->n_buckets; i++)
        count += n[i] = bucket_sum(m, id, a, i);
    if (count == 0 && m->sparse)
        return;
    count = 0;
    for (size_t i = 0; i <= m->n_buckets; i++) {
        count += n[i];
        bound(m, i, le);
        bm_buf_printf(t->out, "%s_bucket", m->name);
        labels(t, m, a, 0, le);
        bm_buf_printf(t->out, " %" PRIu64 "\n", count);
    }
    bm_buf_printf(t->out, "%s_sum", m->name);
    labels(t, m, a, 0, NULL);
    value(t, m, bucket_sum(m, id, a, m->n_buckets + 1));
    bm_buf_printf(t->out, "%s_count", m->name);
    labels(t, m, a, 0, NULL);
    bm_buf_printf(t->out, " %" PRIu64 "\n", count);
}

/* --- refusals: the label's values are found as they come -------------------------------------------------------------------------- */

struct codes {
    size_t n;
    struct {
        char code[BM_METRIC_CODE];
        uint64_t n;
    } at[BM_METRIC_REFUSALS_MAX + 1]; /* the last one takes what does not fit */
};

static void count_code(struct codes *c, const char *code, uint64_t n)
{
    size_t i = 0;

    while (i < c->n && strcmp(c->at[i].code, code) != 0)
        i++;
    if (i == c->n && c->n == BM_METRIC_REFUSALS_MAX) {
        snprintf(c->at[i].code, BM_METRIC_CODE, "other");
    } else if (i == c->n) {
        memcpy(c->at[i].code, code, BM_METRIC_CODE);
        c->n++;
    }
    c->at[i].n += n;
}

static void refusals(const struct text *t, const struct bm_metric *m)
{
    struct codes c = { 0 };
    char code[BM_METRIC_CODE];
    uint64_t n;

    for (size_t s = 0; s < bm_metrics_slots(); s++)
        for (size_t i = 0; has(m, s) && i <= BM_METRIC_REFUSALS_MAX; i++)
            if (bm_metric_refusal_get(s, i, code, &n))
                count_code(&c, code, n);
    for (size_t i = 0; i < BM_COUNT(c.at); i++)
        if (c.at[i].n != 0)
            bm_buf_printf(t->out, "%s{code=\"%s\"} %" PRIu64 "\n", m->name, c.at[i].code, c.at[i].n);
}

/* --- all of it ----------------------------------------------------------------------------------------------------------------- */

static void every_value(const struct text *t, const struct bm_metric *m, enum bm_metric_id id)
{
    size_t n = m->labels[0] != NULL ? m->labels[0]->n : 1, inner = m->labels[1] != NULL ? m->labels[1]->n : 1;

    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < inner && is_value(m->labels[0], a); b++) {
            if (!is_value(m->labels[1], b))
                continue;
            if (m->type == BM_HISTOGRAM)
                histogram(t, m, id, (unsigned)a);
            else
                one(t, m, id, (unsigned)a, (unsigned)b);
        }
}

void bm_metrics_text(struct bm_buf *out, bool open_metrics, bool ready, int64_t now_ms)
{
    const struct text t = { out, open_metrics, ready, now_ms };

    for (int id = 0; id < BM_METRICS; id++) {
        const struct bm_metric *m = &bm_metrics[id];

        header(&t, m);
        if (id == BM_M_BUILD)
            bm_buf_printf(out, "%s{version=\"%s\",openssl=\"%s\"} 1\n", m->name, BM_VERSION,
                          OpenSSL_version(OPENSSL_VERSION_STRING));
        else if (id == BM_M_UP)
            bm_buf_printf(out, "%s %d\n", m->name, ready);
        else if (id == BM_M_REFUSALS)
            refusals(&t, m);
        else if (m->per_process)
            each_process(&t, m, (enum bm_metric_id)id);
        else
            every_value(&t, m, (enum bm_metric_id)id);
    }
    if (open_metrics)
        bm_buf_str(out, "# EOF\n");
}
