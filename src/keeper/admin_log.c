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

BM_ADMIN_HANDLER(bm_admin_log_head)
{
    BM_CLEANUP(bm_tree_head_done) struct bm_tree_head h = { 0 };
    uint8_t tbs[TBS_MAX];
    struct bm_wr w = bm_wr_of(tbs, sizeof tbs);
    char at[24];
    int64_t now;
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    (void)in, (void)blob;
    if (rc == BM_OK)
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
    put_hex(out, "spki", bm_key_spki(k->log_key).p, bm_key_spki(k->log_key).n);
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
    int64_t from = bm_arg_int(in, "from", 0), to = bm_arg_int(in, "to", k->audit.on_disk.size);
    json_t *entries = json_array();

    (void)blob;
    json_object_set_new(out, "entries", entries);
    to = to > k->audit.on_disk.size ? k->audit.on_disk.size : to;
    if (from < 0 || from > to)
        return bm_fail(e, BM_USAGE, "the log has entries 0 to %lld", (long long)k->audit.on_disk.size - 1);
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
    int64_t index = bm_arg_int(in, "index", -1), size = bm_arg_int(in, "size", k->audit.on_disk.size);
    uint8_t path[64][32], root[32];
    struct one_leaf leaf;
    size_t n = 0;
    enum bm_rc rc = BM_OK;

    (void)blob;
    if (index < 0 || index >= size || size > k->audit.on_disk.size)
        return bm_fail(e, BM_USAGE, "the log has %lld entries; 'index' must be below 'size'", (long long)k->audit.on_disk.size);
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
    int64_t from = bm_arg_int(in, "from", -1), to = bm_arg_int(in, "to", -1);
    uint8_t path[64][32], root_from[32], root_to[32];
    size_t n = 0;
    enum bm_rc rc;

    (void)blob;
    if (from < 1 || from > to || to > k->audit.on_disk.size)
        return bm_fail(e, BM_USAGE, "needs 1 <= from <= to <= %lld", (long long)k->audit.on_disk.size);
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
