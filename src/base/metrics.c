#include "base/metrics.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

typedef _Atomic uint64_t cell;

struct slot {
    struct refusals {
        cell n; /* 0: not used; set after the code */
        char code[BM_METRIC_CODE];
    } refusals[BM_METRIC_REFUSALS_MAX];
    cell refusals_other;
    cell cells[]; /* as many as the table of metrics takes */
};

static struct {
    uint8_t *base; /* NULL: nothing is counted */
    size_t n, room;
    struct slot *own;
    size_t at[BM_METRICS];  /* of each metric's first cell */
    uint64_t cpu_before_us; /* what the process had used that had this slot before us */
} shared;

/* --- layout -------------------------------------------------------------------------------------------------------------------- */

static size_t values_of(const struct bm_metric_label *l)
{
    return l != NULL ? l->n : 1;
}

static size_t cells_of(const struct bm_metric *m)
{
    return values_of(m->labels[0]) * values_of(m->labels[1]) * (m->type == BM_HISTOGRAM ? m->n_buckets + 2 : 1);
}

/* How many cells there are. */
static size_t lay_out(void)
{
    size_t at = 0;

    for (size_t i = 0; i < BM_METRICS; i++) {
        shared.at[i] = at;
        at += cells_of(&bm_metrics[i]);
    }
    return at;
}

static struct slot *slot_at(size_t i)
{
    return (struct slot *)(void *)(shared.base + i * shared.room);
}

enum bm_rc bm_metrics_new(size_t n_workers, struct bm_error *e)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = sizeof(struct slot) + lay_out() * sizeof(cell);
    void *p;

    shared.n = BM_SLOT_WORKER + n_workers;
    shared.room = (whole + page - 1) / page * page; /* a page belongs to one process */
    p = mmap(NULL, shared.n * shared.room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return bm_fail(e, BM_NOMEM, "metrics: out of memory");
    shared.base = p;
    return BM_OK;
}

void bm_metrics_free(void)
{
    if (shared.base != NULL)
        (void)munmap(shared.base, shared.n * shared.room);
    memset(&shared, 0, sizeof shared);
}

static void give_up(size_t from, size_t to)
{
    if (from < to)
        (void)munmap(shared.base + from * shared.room, (to - from) * shared.room);
}

void bm_metrics_own(enum bm_metric_role role, size_t worker)
{
    size_t own = (size_t)role + worker;

    if (shared.base == NULL || own >= shared.n)
        return;
    shared.own = slot_at(own);
    shared.cpu_before_us = atomic_load_explicit(&shared.own->cells[shared.at[BM_M_CPU]], memory_order_relaxed);
    if (role == BM_SLOT_EXPORTER) {
        (void)mprotect(shared.base, own * shared.room, PROT_READ);
        (void)mprotect(shared.base + (own + 1) * shared.room, (shared.n - own - 1) * shared.room, PROT_READ);
    } else if (role != BM_SLOT_SUPERVISOR) {
        give_up(0, own);
        give_up(own + 1, shared.n);
    }
    bm_metrics_alive();
}

/* --- counting ------------------------------------------------------------------------------------------------------------------ */

/* Adds without a locked instruction: nobody else writes here. */
static void add(cell *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

static size_t index_of(enum bm_metric_id m, unsigned a, unsigned b)
{
    const struct bm_metric *d = &bm_metrics[m];
    size_t n = values_of(d->labels[0]), inner = values_of(d->labels[1]);

    a = a < n ? a : (unsigned)n - 1;
    b = b < inner ? b : (unsigned)inner - 1;
    return shared.at[m] + (a * inner + b) * (d->type == BM_HISTOGRAM ? d->n_buckets + 2 : 1);
}

void bm_metric_add(enum bm_metric_id m, unsigned a, unsigned b, uint64_t n)
{
    if (shared.own != NULL)
        add(&shared.own->cells[index_of(m, a, b)], n);
}

void bm_metric_set(enum bm_metric_id m, unsigned a, unsigned b, uint64_t v)
{
    if (shared.own != NULL)
        atomic_store_explicit(&shared.own->cells[index_of(m, a, b)], v, memory_order_relaxed);
}

void bm_metric_observe(enum bm_metric_id m, unsigned a, uint64_t v)
{
    const struct bm_metric *d = &bm_metrics[m];
    size_t i = 0;
    cell *c;

    if (shared.own == NULL)
        return;
    c = &shared.own->cells[index_of(m, a, 0)];
    while (i < d->n_buckets && v > d->buckets[i])
        i++;
    add(&c[i], 1);
    add(&c[d->n_buckets + 1], v);
}

void bm_metric_refusal(const char *code)
{
    if (shared.own == NULL)
        return;
    for (size_t i = 0; i < BM_METRIC_REFUSALS_MAX; i++) {
        struct refusals *r = &shared.own->refusals[i];

        if (atomic_load_explicit(&r->n, memory_order_relaxed) == 0) {
            memset(r->code, 0, sizeof r->code);
            memcpy(r->code, code, strnlen(code, sizeof r->code - 1));
            atomic_store_explicit(&r->n, 1, memory_order_release); /* after the word */
            return;
        }
        if (strncmp(r->code, code, sizeof r->code - 1) == 0) {
            add(&r->n, 1);
            return;
        }
    }
    add(&shared.own->refusals_other, 1);
}

void bm_metrics_alive(void)
{
    struct rusage u;

    if (shared.own == NULL)
        return;
    bm_metric_set(BM_M_HEARTBEAT, 0, 0, (uint64_t)bm_clock_steady_ms());
    bm_metric_set(BM_M_CPU, 0, 0, shared.cpu_before_us + (uint64_t)bm_clock_cpu_us());
    if (getrusage(RUSAGE_SELF, &u) == 0)
        bm_metric_set(BM_M_MEMORY_PEAK, 0, 0, (uint64_t)u.ru_maxrss * 1024);
}

bool bm_metrics_on(void)
{
    return shared.own != NULL;
}

/* --- reading ------------------------------------------------------------------------------------------------------------------- */

size_t bm_metrics_slots(void)
{
    return shared.base != NULL ? shared.n : 0;
}

enum bm_metric_role bm_metrics_role(size_t slot)
{
    return slot < BM_SLOT_WORKER ? (enum bm_metric_role)slot : BM_SLOT_WORKER;
}

uint64_t bm_metric_get(size_t slot, enum bm_metric_id m, unsigned a, unsigned b)
{
    return atomic_load_explicit(&slot_at(slot)->cells[index_of(m, a, b)], memory_order_relaxed);
}

uint64_t bm_metric_bucket(size_t slot, enum bm_metric_id m, unsigned a, size_t i)
{
    return atomic_load_explicit(&slot_at(slot)->cells[index_of(m, a, 0) + i], memory_order_relaxed);
}

/* The slot may be written by an enemy, also while we look: a copy is what is checked. */
bool bm_metric_refusal_get(size_t slot, size_t i, char ret_code[BM_METRIC_CODE], uint64_t *ret_n)
{
    struct slot *s = slot_at(slot);
    size_t n;

    *ret_n = atomic_load_explicit(i < BM_METRIC_REFUSALS_MAX ? &s->refusals[i].n : &s->refusals_other, memory_order_acquire);
    if (*ret_n == 0 || i > BM_METRIC_REFUSALS_MAX)
        return false;
    memcpy(ret_code, i < BM_METRIC_REFUSALS_MAX ? s->refusals[i].code : "other", i < BM_METRIC_REFUSALS_MAX ? BM_METRIC_CODE : 6);
    ret_code[BM_METRIC_CODE - 1] = '\0';
    n = strlen(ret_code);
    return n != 0 && strspn(ret_code, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}
