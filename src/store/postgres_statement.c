/* Statements and the values bound to them. */
#include "store/postgres.h"

#include <stdio.h>
#include <stdlib.h>

/* These cannot run into a taken value or a missing row by anything but damage, so they go without a savepoint. */
static const char *const surefooted[] = {
    "INSERT INTO meta ",        "INSERT INTO tally ",     "INSERT INTO audit_leaf ",    "INSERT INTO audit_tile ",
    "INSERT INTO tree_head ",   "INSERT INTO refusal ",   "UPDATE device SET state = ", "UPDATE device SET last_credential = ",
    "UPDATE batch SET used = ", "UPDATE credential SET ", "DELETE FROM refusal ",       "INSERT INTO lease ",
    "UPDATE lease SET ",        "DELETE FROM sealed_key",
};

bool bm_pg_begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool needs_guard(const char *text)
{
    for (size_t i = 0; i < BM_COUNT(surefooted); i++)
        if (bm_pg_begins(text, surefooted[i]))
            return false;
    return true;
}

/* `?` outside of '...' becomes $n. */
static char *number_places(const char *text, int *ret_n)
{
    size_t room = strlen(text) * 3 + sizeof " RETURNING id";
    struct bm_wr w = bm_wr_of(malloc(room), room - 1);
    bool quoted = false;
    char place[16];

    *ret_n = 0;
    if (w.p == NULL)
        return NULL;
    for (const char *p = text; *p != '\0'; p++) {
        quoted ^= *p == '\'';
        if (*p != '?' || quoted) {
            bm_wr_put(&w, p, 1);
            continue;
        }
        snprintf(place, sizeof place, "$%d", ++*ret_n);
        bm_wr_str(&w, place);
    }
    w.p[w.n] = '\0';
    return (char *)w.p;
}

static void unprepare(struct bm_stmt *st)
{
    char sql[64];

    if (st->generation == 0 || bm_pg_gone(st->db) || st->db->queued != 0 || st->generation != st->db->generation)
        return;
    snprintf(sql, sizeof sql, "DEALLOCATE %s", st->name);
    PQclear(PQexec(st->db->c, sql));
}

void bm_pg_reset(struct bm_stmt *st)
{
    char sql[64];

    if (st->cursor && !bm_pg_gone(st->db) && (st->db->snapshot || st->db->bulk) && st->db->queued == 0) {
        snprintf(sql, sizeof sql, "CLOSE %s", st->name);
        PQclear(PQexec(st->db->c, sql));
    }
    PQclear(BM_MOVE(st->r));
    st->row = 0;
    st->cursor = st->ran = st->ended = false;
}

void bm_pg_drop(struct bm_stmt *st)
{
    if (st == NULL)
        return;
    bm_pg_reset(st);
    unprepare(st);
    free(st->text);
    free(st);
}

enum bm_rc bm_pg_prepare(struct bm_db *db, const char *text, struct bm_stmt **ret, struct bm_error *e)
{
    struct bm_stmt *st = calloc(1, sizeof *st);

    if (st != NULL)
        st->text = number_places(text, &st->n_places);
    if (st == NULL || st->text == NULL) {
        free(st);
        return bm_fail(e, BM_NOMEM, "out of memory");
    }
    st->db = db;
    st->writes = bm_pg_begins(text, "INSERT") || bm_pg_begins(text, "UPDATE") || bm_pg_begins(text, "DELETE");
    st->guarded = st->writes && needs_guard(text);
    snprintf(st->name, sizeof st->name, "bm_%llx", (unsigned long long)++db->names);
    *ret = st;
    return BM_OK;
}

/* PostgreSQL's text holds neither zero bytes nor anything but UTF-8 (RFC 3629); better told now than as a lost transaction. */
static bool text_fits(struct bm_rd t)
{
    while (t.n != 0) {
        uint8_t c = t.p[0];
        size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;

        if (c == 0 || n == 0 || n > t.n)
            return false;
        for (size_t i = 1; i < n; i++)
            if ((t.p[i] & 0xc0) != 0x80)
                return false;
        if ((c == 0xe0 && t.p[1] < 0xa0) || (c == 0xed && t.p[1] > 0x9f) || (c == 0xf0 && t.p[1] < 0x90) ||
            (c == 0xf4 && t.p[1] > 0x8f))
            return false;
        t = bm_rd_of(t.p + n, t.n - n);
    }
    return true;
}

static void put_int(uint8_t to[8], int64_t v)
{
    struct bm_wr w = bm_wr_of(to, 8);

    bm_wr_uint(&w, 8, (uint64_t)v);
}

static enum bm_rc bind_one(struct bm_stmt *st, size_t i, const struct bm_arg *a, struct bm_error *e)
{
    static const Oid types[] = { [BM_ARG_NULL] = 0, [BM_ARG_INT] = OID_INT8, [BM_ARG_BLOB] = OID_BYTEA, [BM_ARG_TEXT] = OID_TEXT };

    if (a->kind == BM_ARG_TEXT && !text_fits(a->b))
        return bm_fail(e, BM_MALFORMED, "store: text that is not UTF-8, or holds a zero byte");
    if (a->b.n > INT32_MAX)
        return bm_fail(e, BM_LIMIT, "a value is too large");
    st->types[i] = types[a->kind];
    st->formats[i] = 1;
    st->values[i] = a->b.p != NULL ? (const char *)a->b.p : "";
    st->lengths[i] = (int)a->b.n;
    if (a->kind == BM_ARG_NULL)
        st->values[i] = NULL;
    if (a->kind == BM_ARG_INT) {
        put_int(st->ints[i], a->i);
        st->values[i] = (const char *)st->ints[i];
        st->lengths[i] = 8;
    }
    return BM_OK;
}

enum bm_rc bm_pg_bind(struct bm_stmt *st, struct bm_args args, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    if ((size_t)st->n_places != args.n || args.n > BM_PG_PARAMS_MAX)
        return bm_fail(e, BM_BUG, "store: %zu values for %d places", args.n, st->n_places);
    for (size_t i = 0; rc == BM_OK && i < args.n; i++)
        rc = bind_one(st, i, &args.p[i], e);
    st->n = (int)args.n;
    return rc;
}

/* --- ids of new rows ---------------------------------------------------------------------------------------------------------- */
static enum bm_rc learn_ids(struct bm_db *db, struct bm_error *e)
{
    static const char sql[] = "SELECT ' ' || coalesce(string_agg(c.relname, ' '), '') || ' ' FROM pg_class c JOIN pg_attribute a ON"
                              " a.attrelid = c.oid WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND"
                              " a.attname = 'id' AND a.attidentity <> ''";
    char names[1024] = "";
    enum bm_rc rc = db->with_id == NULL ? bm_pg_ask(db, sql, names, sizeof names, e) : BM_OK;

    if (rc == BM_OK && db->with_id == NULL && (db->with_id = strdup(names)) == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    return rc;
}

enum bm_rc bm_pg_add_returning(struct bm_stmt *st, struct bm_error *e)
{
    static const char into[] = "INSERT INTO ";
    char name[64];
    enum bm_rc rc;

    if (st->gives_id || !bm_pg_begins(st->text, into))
        return BM_OK;
    rc = learn_ids(st->db, e);
    if (rc != BM_OK)
        return rc;
    snprintf(name, sizeof name, " %.*s ", (int)strcspn(st->text + strlen(into), " "), st->text + strlen(into));
    st->gives_id = strstr(st->db->with_id, name) != NULL;
    if (st->gives_id)
        memcpy(st->text + strlen(st->text), " RETURNING id", sizeof " RETURNING id"); /* number_places() left room */
    return BM_OK;
}
