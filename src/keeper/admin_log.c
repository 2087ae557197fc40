/* The audit log for those who check it. */
#include "keeper/internal.h"

#include "base/text.h"

enum { ENTRIES_MAX = 1000, TBS_MAX = 128 };

static void put_hex(json_t *out, const char *member, const void *p, size_t n)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 64 * 1024 };
    uint8_t *to = bm_buf_room(&text, 2 * n + 1);

    if (to == NULL)
        return;
    bm_hex(p, n, (char *)to);
    json_object_set_new(out, member, json_string((const char *)to));
}

static void put_path(json_t *out, const uint8_t (*path)[32], size_t n)
{
    json_t *a = json_array();
    char text[65];

    for (size_t i = 0; i < n; i++) {
        bm_hex(path[i], 32, text);
        json_array_append_new(a, json_string(text));
    }
    json_object_set_new(out, "path", a);
}

/* --- whose log ------------------------------------------------------------------------------------------------------------------- */
/* While a handler reads another host's log. */
struct reading {
    struct bm_keeper *k;
    bool own;
    int64_t size;
    struct bm_buf spki;
};

static void reading_done(struct reading *r)
{
    if (r->k != NULL)
        bm_store_use_log(r->k->store, r->k->host.id);
    bm_buf_done(&r->spki);
}

static enum bm_rc reading_start(struct bm_keeper *k, const json_t *in, struct reading *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_host_done) struct bm_host h = { 0 };
    const char *name = NULL;
    enum bm_rc rc = json_object_get(in, "log") != NULL ? bm_arg_name(in, "log", &name, e) : BM_OK;

    if (rc == BM_OK)
        rc = name != NULL ? bm_host_get(k->store, name, &h, e) : bm_host_by_id(k->store, k->host.id, &h, e);
    if (rc != BM_OK)
        return rc;
    ret->k = k;
    ret->own = h.id == k->host.id;
    ret->size = k->audit.on_disk.size;
    ret->spki = h.log_spki;
    h.log_spki = (struct bm_buf){ 0 };
    bm_store_use_log(k->store, h.id);
    return ret->own ? BM_OK : bm_audit_leaf_count(k->store, &ret->size, e);
}

BM_ADMIN_HANDLER(bm_admin_log_head)
{
    BM_CLEANUP(reading_done) struct reading log = { 0 };
    BM_CLEANUP(bm_tree_head_done) struct bm_tree_head h = { 0 };
    uint8_t tbs[TBS_MAX];
    struct bm_wr w = bm_wr_of(tbs, sizeof tbs);
    char at[24];
    int64_t now;
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    (void)blob;
    if (rc == BM_OK)
        rc = reading_start(k, in, &log, e);
    if (rc == BM_OK && log.own)
        rc = bm_audit_sign_head(&k->audit, k->log_key, now * 1000, e);
    if (rc == BM_OK)
        rc = bm_tree_head_last(k->store, &h, e);
    if (rc != BM_OK)
        return rc;
    bm_tree_head_tbs(&h, &w);
    json_object_set_new(out, "size", json_integer(h.size));
    json_object_set_new(out, "at", json_string(bm_time_text(h.at_ms / 1000, at)));
    put_hex(out, "root", h.root, sizeof h.root);
    put_hex(out, "tree_head", tbs, w.n);
    put_hex(out, "signature", h.signature.p, h.signature.n);
    put_hex(out, "spki", log.spki.p, log.spki.n);
    return BM_OK;
}

static enum bm_rc add_leaf(void *arg, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *e)
{
    json_t *row = json_object();
    uint8_t hash[32];
    char at[24];

    (void)e;
    bm_merkle_leaf_hash(data, hash);
    json_object_set_new(row, "index", json_integer(index));
    json_object_set_new(row, "at", json_string(bm_time_text(at_ms / 1000, at)));
    put_hex(row, "leaf_hash", hash, sizeof hash);
    json_object_set_new(row, "data", json_stringn((const char *)data.p, data.n));
    return json_array_append_new(arg, row) == 0 ? BM_OK : BM_NOMEM;
}

BM_ADMIN_HANDLER(bm_admin_log_entries)
{
    BM_CLEANUP(reading_done) struct reading log = { 0 };
    int64_t from = bm_arg_int(in, "from", 0), to = bm_arg_int(in, "to", INT64_MAX);
    json_t *entries = json_array();
    enum bm_rc rc = reading_start(k, in, &log, e);

    (void)blob;
    json_object_set_new(out, "entries", entries);
    if (rc != BM_OK)
        return rc;
    to = to > log.size ? log.size : to;
    if (from < 0 || from > to)
        return bm_fail(e, BM_USAGE, "the log has entries 0 to %lld", (long long)log.size - 1);
    to = to - from > ENTRIES_MAX ? from + ENTRIES_MAX : to;
    return bm_audit_leaf_each(k->store, from, to, add_leaf, entries, e);
}

struct one_leaf {
    uint8_t hash[32];
};

static enum bm_rc hash_leaf(void *arg, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *e)
{
    struct one_leaf *l = arg;

    (void)index, (void)at_ms, (void)e;
    bm_merkle_leaf_hash(data, l->hash);
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_log_inclusion)
{
    BM_CLEANUP(reading_done) struct reading log = { 0 };
    uint8_t path[64][32], root[32];
    int64_t index = bm_arg_int(in, "index", -1), size;
    struct one_leaf leaf;
    size_t n = 0;
    enum bm_rc rc = reading_start(k, in, &log, e);

    (void)blob;
    if (rc != BM_OK)
        return rc;
    size = bm_arg_int(in, "size", log.size);
    if (index < 0 || index >= size || size > log.size)
        return bm_fail(e, BM_USAGE, "the log has %lld entries; 'index' must be below 'size'", (long long)log.size);
    rc = bm_audit_prove_inclusion(k->store, index, size, path, &n, e);
    if (rc == BM_OK)
        rc = bm_audit_root_at(k->store, size, root, e);
    if (rc == BM_OK)
        rc = bm_audit_leaf_each(k->store, index, index + 1, hash_leaf, &leaf, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "index", json_integer(index));
    json_object_set_new(out, "size", json_integer(size));
    put_hex(out, "leaf_hash", leaf.hash, sizeof leaf.hash);
    put_hex(out, "root", root, sizeof root);
    put_path(out, (const uint8_t(*)[32])path, n);
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_log_consistency)
{
    BM_CLEANUP(reading_done) struct reading log = { 0 };
    int64_t from = bm_arg_int(in, "from", -1), to = bm_arg_int(in, "to", -1);
    uint8_t path[64][32], root_from[32], root_to[32];
    size_t n = 0;
    enum bm_rc rc = reading_start(k, in, &log, e);

    (void)blob;
    if (rc != BM_OK)
        return rc;
    if (from < 1 || from > to || to > log.size)
        return bm_fail(e, BM_USAGE, "needs 1 <= from <= to <= %lld", (long long)log.size);
    rc = bm_audit_prove_consistency(k->store, from, to, path, &n, e);
    if (rc == BM_OK)
        rc = bm_audit_root_at(k->store, from, root_from, e);
    if (rc == BM_OK)
        rc = bm_audit_root_at(k->store, to, root_to, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "from", json_integer(from));
    json_object_set_new(out, "to", json_integer(to));
    put_hex(out, "root_from", root_from, sizeof root_from);
    put_hex(out, "root_to", root_to, sizeof root_to);
    put_path(out, (const uint8_t(*)[32])path, n);
    return BM_OK;
}
