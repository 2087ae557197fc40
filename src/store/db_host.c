/* One of several hosts on a database: who we are, whose log is meant, what version of the registry we have seen, and what we have counted. */
#include "store/db_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOG_BITS = 40 }; /* of a leaf's row; above them stands whose log it is in */

enum bm_rc bm_store_claim(struct bm_store *s, int64_t host_id, struct bm_error *e)
{
    enum bm_rc rc = s->driver->claim != NULL ? s->driver->claim(s->db, host_id, e) : BM_OK;

    if (rc == BM_OK)
        s->host = s->log = host_id;
    return rc;
}

bool bm_store_can_share(const struct bm_store *s)
{
    return s->driver->claim != NULL;
}

void bm_store_use_log(struct bm_store *s, int64_t host_id)
{
    s->log = host_id;
}

int64_t bm_db_log_base(const struct bm_store *s)
{
    return (s->log - 1) * ((int64_t)1 << LOG_BITS);
}

int64_t bm_db_log_end(const struct bm_store *s)
{
    return s->log * ((int64_t)1 << LOG_BITS);
}

int64_t bm_db_log_of(int64_t row)
{
    return row / ((int64_t)1 << LOG_BITS) + 1;
}

bool bm_store_collided(const struct bm_store *s)
{
    return s->driver->collided != NULL && s->driver->collided(s->db);
}

int64_t bm_store_version(const struct bm_store *s)
{
    return s->driver->version != NULL ? s->driver->version(s->db) : 0;
}

enum bm_rc bm_store_version_now(struct bm_store *s, int64_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 24 };
    enum bm_rc rc = bm_meta_get(s, "version", &text, e);

    bm_buf_put(&text, "", 1);
    if (rc == BM_NOTFOUND)
        rc = BM_OK;
    if (rc == BM_OK)
        rc = bm_buf_check(&text, e);
    if (rc == BM_OK)
        *ret = strtoll((const char *)text.p, NULL, 10);
    return rc;
}

enum bm_rc bm_store_version_set(struct bm_store *s, int64_t version, struct bm_error *e)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, version);
    return bm_meta_set(s, "version", bm_rd_str(text), e);
}

/* --- tallies ------------------------------------------------------------------------------------------------------------------ */
static const struct bm_sql add_tally = {
    "INSERT INTO tally (name, n) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = tally.n + excluded.n"
};

enum bm_rc bm_db_tell_tallies(struct bm_store *s, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    for (size_t i = 0; rc == BM_OK && i < s->n_tallies; i++)
        if (s->tallies[i].n != 0)
            rc = bm_db_run(s, &add_tally, BM_ARGS(bm_arg_text(s->tallies[i].name), bm_arg_int(s->tallies[i].n)), e);
    s->n_tallies = 0;
    return rc;
}

/* Each host counts in rows of its own, so that no two wait for each other: "device:active", "device:active@2". */
enum bm_rc bm_db_tally(struct bm_store *s, const char *what, int64_t n, struct bm_error *e)
{
    char name[sizeof s->tallies[0].name];
    enum bm_rc rc = BM_OK;
    size_t i = 0;

    if (s->host == 1)
        snprintf(name, sizeof name, "%s", what);
    else
        snprintf(name, sizeof name, "%s@%" PRId64, what, s->host);

    while (i < s->n_tallies && strcmp(s->tallies[i].name, name) != 0)
        i++;
    if (i == BM_STORE_TALLIES) {
        rc = bm_db_tell_tallies(s, e);
        i = 0;
    }
    if (i == s->n_tallies) {
        snprintf(s->tallies[i].name, sizeof s->tallies[i].name, "%s", name);
        s->tallies[i].n = 0;
        s->n_tallies++;
    }
    s->tallies[i].n += n;
    return rc;
}
