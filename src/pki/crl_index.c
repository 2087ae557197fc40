/* Which certificates are on a list, found in a few steps however long the list is. */
#include "pki/crl_read.h"

#include <stdlib.h>

static int compare(struct bm_rd a, struct bm_rd b)
{
    if (a.n != b.n) /* minimal INTEGERs: any order will do, as long as it is one */
        return a.n < b.n ? -1 : 1;
    return a.n != 0 ? memcmp(a.p, b.p, a.n) : 0;
}

/* Sorting by places needs what they are places in. */
struct place {
    struct bm_rd serial;
    uint32_t at;
};

static int by_serial(const void *a, const void *b)
{
    return compare(((const struct place *)a)->serial, ((const struct place *)b)->serial);
}

static void free_places(struct place **p)
{
    free(*p);
}

enum bm_rc bm_crl_index_make(const struct bm_crl *crl, struct bm_crl_index *ret, struct bm_error *e)
{
    BM_CLEANUP(free_places) struct place *places = calloc(crl->n != 0 ? crl->n : 1, sizeof *places);
    struct bm_crl_index x = { .at = calloc(crl->n != 0 ? crl->n : 1, sizeof *x.at) };
    struct bm_rd rest = crl->entries;
    struct bm_crl_entry entry;

    if (places == NULL || x.at == NULL) {
        free(x.at);
        return bm_fail(e, BM_NOMEM, "no memory for a revocation list of %zu entries", crl->n);
    }
    for (uint32_t at = 0; x.n < crl->n && bm_crl_next(&rest, &entry); at = (uint32_t)(crl->entries.n - rest.n))
        places[x.n++] = (struct place){ entry.serial, at };
    qsort(places, x.n, sizeof *places, by_serial);
    for (size_t i = 0; i < x.n; i++)
        x.at[i] = places[i].at;
    *ret = x;
    return BM_OK;
}

void bm_crl_index_done(struct bm_crl_index *x)
{
    free(x->at);
    *x = (struct bm_crl_index){ 0 };
}

static bool entry_at(const struct bm_crl *crl, uint32_t at, struct bm_crl_entry *ret)
{
    struct bm_rd from = bm_rd_of(crl->entries.p + at, crl->entries.n - at);

    return bm_crl_next(&from, ret);
}

bool bm_crl_index_find(const struct bm_crl_index *x, const struct bm_crl *crl, struct bm_rd serial, struct bm_crl_entry *ret)
{
    size_t low = 0, high = x->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct bm_crl_entry entry;
        int order = entry_at(crl, x->at[middle], &entry) ? compare(serial, entry.serial) : -1;

        if (order == 0) {
            *ret = entry;
            return true;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}
