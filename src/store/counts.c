/* How many there are of what. */
#include "store/db.h"

#include <jansson.h>
#include <stdlib.h>

static void json_freep(json_t **j)
{
    json_decref(*j);
}

static void text_freep(char **p)
{
    free(*p);
}

static const struct bm_sql count_rows = {
    "SELECT 'org', count(*) FROM org UNION ALL SELECT 'trust', count(*) FROM trust UNION ALL SELECT 'ca', count(*) FROM ca"
    " UNION ALL SELECT 'profile', count(*) FROM profile UNION ALL SELECT 'service', count(*) FROM service"
    " UNION ALL SELECT 'product', count(*) FROM product UNION ALL SELECT 'batch', count(*) FROM batch"
    " UNION ALL SELECT 'device', CAST(COALESCE(sum(n), 0) AS BIGINT) FROM tally WHERE name LIKE 'device:%'"
    " UNION ALL SELECT 'credential', CAST(COALESCE(sum(n), 0) AS BIGINT) FROM tally WHERE name = 'credential' OR name LIKE "
    "'credential@%'"
    " UNION ALL SELECT 'manifest', count(*) FROM manifest UNION ALL SELECT 'refusal', count(*) FROM refusal"
};
static const struct bm_sql count_states = { "SELECT substr(name, 8), n FROM tally WHERE name LIKE 'device:%' ORDER BY name" };

/* Of each host a row: "active", "active@2". */
static void count_one(json_t *to, char *name, int64_t n)
{
    json_int_t sum;

    name[strcspn(name, "@")] = '\0';
    sum = json_integer_value(json_object_get(to, name)) + n;
    json_object_set_new(to, name, json_integer(sum));
}

static void drop_zeros(json_t *counts)
{
    const char *name;
    json_t *n;
    void *next;

    json_object_foreach_safe(counts, next, name, n)
    {
        if (json_integer_value(n) == 0)
            json_object_del(counts, name);
    }
}

static enum bm_rc count_into(struct bm_store *s, const struct bm_sql *sql, json_t *to, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, sql, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);
        char name[32];

        BM_COL_TEXT(&c, name);
        rc = bm_cols_check(&c, "count", e);
        if (rc == BM_OK)
            count_one(to, name, bm_col_int(&c));
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_store_device_states(struct bm_store *s, bm_tally_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    enum bm_rc rc = bm_query_start(s, &count_states, BM_NO_ARGS, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);
        char name[32];

        BM_COL_TEXT(&c, name);
        rc = bm_cols_check(&c, "count", e);
        name[strcspn(name, "@")] = '\0'; /* each host has a row of its own */
        if (rc == BM_OK)
            fn(arg, name, bm_col_int(&c));
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

enum bm_rc bm_store_counts(struct bm_store *s, struct bm_buf *ret_json, struct bm_error *e)
{
    BM_CLEANUP(json_freep) json_t *counts = json_object();
    BM_CLEANUP(text_freep) char *text = NULL;
    json_t *states = json_object();
    enum bm_rc rc = count_into(s, &count_rows, counts, e);

    if (rc == BM_OK)
        rc = count_into(s, &count_states, states, e);
    drop_zeros(states);
    json_object_set_new(counts, "device_states", states);
    if (rc != BM_OK)
        return rc;
    text = json_dumps(counts, JSON_COMPACT);
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "store: out of memory");
    if (ret_json->max == 0)
        ret_json->max = strlen(text);
    bm_buf_str(ret_json, text);
    return bm_buf_check(ret_json, e);
}
