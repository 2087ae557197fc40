/* A registry from one database into another, row by row, and what is in one as a digest. Tables and columns are those the database has, so a
 * migration that adds some needs no word here. Columns go by name, so that drivers may order them as suits them. */
#include "store/db.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum { TABLES_MAX = 64, COLUMNS_MAX = 40, NAME_MAX_LEN = 64, SQL_MAX = 4096 };

struct table {
    char name[NAME_MAX_LEN];
    size_t n;
    char columns[COLUMNS_MAX][NAME_MAX_LEN];
};

struct tables {
    size_t n;
    struct table of[TABLES_MAX];
};

static void tables_freep(struct tables **t)
{
    free(*t);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Text of the first column of each row. */
static enum bm_rc read_names(struct bm_store *s, const char *sql, struct bm_args args, char (*ret)[NAME_MAX_LEN], size_t room,
                             size_t *ret_n, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    size_t n = 0;
    enum bm_rc rc = bm_query_start_once(s, sql, args, &q, e);

    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);

        if (n == room)
            return bm_fail(e, BM_LIMIT, "store: more than %zu tables or columns", room);
        BM_COL_TEXT(&c, ret[n]);
        n++;
        rc = bm_cols_check(&c, "schema", e);
        if (rc != BM_OK)
            return rc;
    }
    *ret_n = n;
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

static enum bm_rc read_tables(struct bm_store *s, struct tables **ret, struct bm_error *e)
{
    BM_CLEANUP(tables_freep) struct tables *t = calloc(1, sizeof *t);
    char names[TABLES_MAX][NAME_MAX_LEN] = { 0 }; /* compared whole: nothing of the stack behind a name */
    const struct bm_db_driver *d;
    enum bm_rc rc;

    if (t == NULL)
        return bm_fail(e, BM_NOMEM, "store: out of memory");
    (void)bm_store_db(s, &d);
    rc = read_names(s, d->tables, BM_NO_ARGS, names, TABLES_MAX, &t->n, e);
    for (size_t i = 0; rc == BM_OK && i < t->n; i++) {
        struct table *of = &t->of[i];

        memcpy(of->name, names[i], sizeof of->name);
        rc = read_names(s, d->columns, BM_ARGS(bm_arg_text(of->name)), of->columns, COLUMNS_MAX, &of->n, e);
        if (rc == BM_OK)
            qsort(of->columns, of->n, sizeof of->columns[0], by_name);
    }
    if (rc == BM_OK)
        *ret = BM_MOVE(t);
    return rc;
}

static bool has(const struct table *t, const char *column)
{
    return bsearch(column, t->columns, t->n, sizeof t->columns[0], by_name) != NULL;
}

static void put_columns(struct bm_wr *w, const struct table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        bm_wr_str(w, i == 0 ? "\"" : ", \"");
        bm_wr_str(w, t->columns[i]);
        bm_wr_str(w, "\"");
    }
}

static enum bm_rc end_sql(struct bm_wr *w, struct bm_error *e)
{
    bm_wr_put(w, "", 1);
    return w->bad ? bm_fail(e, BM_BUG, "store: the statement does not fit") : BM_OK;
}

/* In the order of the key, which is the same everywhere: an id, an index, or else what the columns say. */
static enum bm_rc select_sql(const struct table *t, char *ret, struct bm_error *e)
{
    struct bm_wr w = bm_wr_of(ret, SQL_MAX);

    bm_wr_str(&w, "SELECT ");
    put_columns(&w, t);
    bm_wr_str(&w, " FROM \"");
    bm_wr_str(&w, t->name);
    bm_wr_str(&w, "\" ORDER BY ");
    if (has(t, "id"))
        bm_wr_str(&w, "\"id\"");
    else if (has(t, "idx"))
        bm_wr_str(&w, has(t, "level") ? "\"level\", \"idx\"" : "\"idx\"");
    else
        put_columns(&w, t);
    return end_sql(&w, e);
}

static enum bm_rc insert_sql(const struct table *t, char *ret, struct bm_error *e)
{
    struct bm_wr w = bm_wr_of(ret, SQL_MAX);

    bm_wr_str(&w, "INSERT INTO ");
    bm_wr_str(&w, t->name);
    bm_wr_str(&w, " (");
    put_columns(&w, t);
    bm_wr_str(&w, ") VALUES (");
    for (size_t i = 0; i < t->n; i++)
        bm_wr_str(&w, i == 0 ? "?" : ", ?");
    bm_wr_str(&w, ")");
    return end_sql(&w, e);
}

/* --- rows --------------------------------------------------------------------------------------------------------------------- */
typedef enum bm_rc row_fn(void *arg, const struct table *t, const struct bm_arg *values, struct bm_error *e);

/* What a database says of itself and not of the registry: each has its own. */
static bool of_database(const struct table *t, const struct bm_arg *values)
{
    return strcmp(t->name, "meta") == 0 && strcmp(t->columns[0], "key") == 0 &&
           (bm_rd_eq(values[0].b, bm_rd_str("schema")) || (values[0].b.n >= 6 && memcmp(values[0].b.p, "writer", 6) == 0));
}

static enum bm_rc each_row(struct bm_store *s, const struct table *t, row_fn *fn, void *arg, struct bm_error *e)
{
    BM_CLEANUP(bm_query_done) struct bm_query q = { 0 };
    char sql[SQL_MAX];
    enum bm_rc rc = select_sql(t, sql, e);

    if (rc == BM_OK)
        rc = bm_query_start_once(s, sql, BM_NO_ARGS, &q, e);
    while (rc == BM_OK && (rc = bm_query_next(&q, e)) == BM_OK) {
        struct bm_cols c = bm_query_cols(&q);
        struct bm_arg values[COLUMNS_MAX];

        for (size_t i = 0; i < t->n; i++)
            values[i] = bm_col_any(&c);
        if (!of_database(t, values))
            rc = fn(arg, t, values, e);
        if (rc != BM_OK)
            return rc;
    }
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

/* --- what is in it ------------------------------------------------------------------------------------------------------------ */
struct tally_up {
    EVP_MD_CTX *md;
    struct bm_content content;
    bool bad;
};

static void tally_done(struct tally_up *u)
{
    EVP_MD_CTX_free(u->md);
}

static enum bm_rc tally_start(struct tally_up *u, struct bm_error *e)
{
    u->md = EVP_MD_CTX_new();
    return u->md != NULL && EVP_DigestInit_ex(u->md, EVP_sha256(), NULL) == 1 ? BM_OK
                                                                              : bm_fail(e, BM_NOMEM, "store: out of memory");
}

static void hash(struct tally_up *u, const void *p, size_t n)
{
    u->bad = u->bad || EVP_DigestUpdate(u->md, p, n) != 1;
}

/* Kind, length or value, bytes: no two rows have the same text. */
static enum bm_rc tally_row(void *arg, const struct table *t, const struct bm_arg *values, struct bm_error *e)
{
    struct tally_up *u = arg;
    uint8_t head[9];

    for (size_t i = 0; i < t->n; i++) {
        struct bm_wr w = bm_wr_of(head, sizeof head);

        bm_wr_uint(&w, 1, values[i].kind);
        bm_wr_uint(&w, 8, values[i].kind == BM_ARG_INT ? (uint64_t)values[i].i : values[i].b.n);
        hash(u, head, w.n);
        if (values[i].kind != BM_ARG_INT && values[i].b.n != 0)
            hash(u, values[i].b.p, values[i].b.n);
    }
    u->content.rows++;
    return u->bad ? bm_fail(e, BM_NOMEM, "store: no digest") : BM_OK;
}

static void tally_table(struct tally_up *u, const struct table *t)
{
    u->content.tables++;
    hash(u, t->name, strlen(t->name) + 1);
    for (size_t i = 0; i < t->n; i++)
        hash(u, t->columns[i], strlen(t->columns[i]) + 1);
}

static enum bm_rc tally_end(struct tally_up *u, struct bm_content *ret, struct bm_error *e)
{
    if (u->bad || EVP_DigestFinal_ex(u->md, u->content.sha256, NULL) != 1)
        return bm_fail(e, BM_NOMEM, "store: no digest");
    *ret = u->content;
    return BM_OK;
}

static int by_table(const void *a, const void *b)
{
    return strcmp(((const struct table *)a)->name, ((const struct table *)b)->name);
}

enum bm_rc bm_store_content(struct bm_store *s, struct bm_content *ret, struct bm_error *e)
{
    BM_CLEANUP(tables_freep) struct tables *t = NULL;
    BM_CLEANUP(tally_done) struct tally_up u = { 0 };
    enum bm_rc rc = tally_start(&u, e);

    if (rc == BM_OK)
        rc = read_tables(s, &t, e);
    if (rc != BM_OK)
        return rc;
    qsort(t->of, t->n, sizeof t->of[0], by_table);
    for (size_t i = 0; rc == BM_OK && i < t->n; i++) {
        tally_table(&u, &t->of[i]);
        rc = each_row(s, &t->of[i], tally_row, &u, e);
    }
    return rc == BM_OK ? tally_end(&u, ret, e) : rc;
}

/* --- copying ------------------------------------------------------------------------------------------------------------------ */
struct into {
    const struct bm_db_driver *driver;
    struct bm_stmt *insert;
};

static enum bm_rc copy_row(void *arg, const struct table *t, const struct bm_arg *values, struct bm_error *e)
{
    const struct into *to = arg;
    bool row;
    enum bm_rc rc = to->driver->bind(to->insert, (struct bm_args){ values, t->n }, e);

    if (rc == BM_OK)
        rc = to->driver->step(to->insert, &row, e);
    to->driver->reset(to->insert);
    return rc;
}

static enum bm_rc copy_table(struct bm_store *from, struct bm_store *to, const struct table *t, struct bm_error *e)
{
    struct into into = { 0 };
    struct bm_db *db = bm_store_db(to, &into.driver);
    char sql[SQL_MAX];
    enum bm_rc rc = insert_sql(t, sql, e);

    if (rc == BM_OK)
        rc = into.driver->prepare(db, sql, &into.insert, e);
    if (rc != BM_OK)
        return rc;
    rc = each_row(from, t, copy_row, &into, e);
    into.driver->drop(into.insert);
    return rc == BM_OK ? BM_OK : bm_wrap(e, rc, "table %s", t->name);
}

static enum bm_rc same_tables(const struct tables *a, const struct tables *b, struct bm_error *e)
{
    size_t found = 0;

    for (size_t i = 0; i < a->n; i++)
        for (size_t k = 0; k < b->n; k++)
            found += a->of[i].n == b->of[k].n && memcmp(&a->of[i], &b->of[k], sizeof a->of[i]) == 0;
    return found == a->n && a->n == b->n ? BM_OK
                                         : bm_fail(e, BM_CONFLICT, "the two databases do not have the same tables and columns");
}

enum bm_rc bm_store_copy(struct bm_store *from, struct bm_store *to, struct bm_error *e)
{
    BM_CLEANUP(tables_freep) struct tables *t = NULL, *there = NULL;
    const struct bm_db_driver *d;
    struct bm_db *db = bm_store_db(to, &d);
    enum bm_rc rc = bm_db_may_change(to, e);

    if (rc == BM_OK)
        rc = read_tables(from, &t, e);
    if (rc == BM_OK)
        rc = read_tables(to, &there, e);
    if (rc == BM_OK)
        rc = same_tables(t, there, e);
    if (rc == BM_OK && d->bulk != NULL)
        d->bulk(db);
    for (size_t i = 0; rc == BM_OK && i < t->n; i++)
        rc = copy_table(from, to, &t->of[i], e);
    return rc == BM_OK && d->copied != NULL ? d->copied(db, e) : rc;
}

/* --- a whole registry elsewhere ----------------------------------------------------------------------------------------------- */
static enum bm_rc move_in(struct bm_store *from, struct bm_store *to, bm_store_check_fn *check, void *arg, struct bm_content *ret,
                          struct bm_error *e)
{
    struct bm_content was = { 0 }, is = { 0 };
    enum bm_rc rc = bm_store_begin(to, e);

    if (rc == BM_OK)
        rc = bm_store_copy(from, to, e);
    if (rc == BM_OK)
        rc = bm_store_content(from, &was, e);
    if (rc == BM_OK)
        rc = bm_store_content(to, &is, e);
    if (rc == BM_OK && (was.rows != is.rows || memcmp(was.sha256, is.sha256, sizeof was.sha256) != 0))
        rc = bm_refuse(e, BM_IO, "copy-differs", "the copy does not read back as it was written");
    if (rc == BM_OK && check != NULL)
        rc = check(arg, to, e);
    if (rc == BM_OK)
        rc = bm_store_commit(to, e);
    if (rc == BM_OK)
        *ret = is;
    return rc;
}

enum bm_rc bm_store_move(struct bm_store *from, const char *dsn, bm_store_check_fn *check, void *arg, struct bm_content *ret,
                         struct bm_error *e)
{
    struct bm_store *to = NULL;
    enum bm_rc rc = bm_store_open(dsn, (struct bm_store_options){ .create = true }, &to, e);

    if (rc != BM_OK)
        return rc;
    rc = move_in(from, to, check, arg, ret, e);
    if (rc == BM_OK)
        bm_store_close(to);
    else
        bm_store_discard(to); /* all or nothing */
    return rc;
}

enum bm_rc bm_store_backup(struct bm_store *s, const char *path, struct bm_error *e)
{
    const struct bm_db_driver *d;
    struct bm_db *db = bm_store_db(s, &d);
    struct bm_content content;
    char dsn[4096];
    enum bm_rc rc;

    if (d->backup != NULL)
        return d->backup(db, path, e);
    if ((size_t)snprintf(dsn, sizeof dsn, "sqlite:%s", path) >= sizeof dsn)
        return bm_fail(e, BM_LIMIT, "%s: path too long", path);
    rc = bm_store_snapshot(s, e);
    if (rc != BM_OK)
        return rc;
    rc = bm_store_move(s, dsn, NULL, NULL, &content, e);
    bm_store_rollback(s);
    return rc;
}
