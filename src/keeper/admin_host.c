/* The hosts of the registry: who may join, who is in, who is out. */
#include "keeper/symmetric.h"

#include "base/text.h"

static enum bm_rc publish(void *arg, const struct bm_ca *ca, struct bm_error *e)
{
    enum bm_rc rc = strcmp(ca->state, "active") == 0 ? bm_host_publish_key(arg, ca->key_uri, e) : BM_OK;

    return rc == BM_OK ? bm_ra_publish(arg, ca->id, e) : rc;
}

/* What secret keys of devices are sealed with, at the chip makers' and here. Both are made now if there is none yet: so that no two hosts ever
 * make one each. */
static enum bm_rc publish_secrets(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    const struct bm_key *import;
    const struct bm_kek *kek;
    struct bm_kek_row r;
    int64_t id;
    enum bm_rc rc;

    if (bm_kek_in(k->store, BM_KEK_RETIRING, &r, NULL) == BM_OK || bm_kek_in(k->store, BM_KEK_ENDING, &r, NULL) == BM_OK)
        return bm_refuse(e, BM_CONFLICT, "rotation-running",
                         "keys are still moving from an older key-encryption key; 'birthmark key show'");
    rc = bm_import_key(k, true, &import, e);
    if (rc == BM_OK)
        rc = bm_host_publish_key(k, BM_IMPORT_KEY, e);
    if (rc == BM_OK)
        rc = bm_kek_current(k, now, &id, &kek, e);
    if (rc == BM_OK)
        rc = bm_kek_in(k->store, BM_KEK_ACTIVE, &r, e);
    return rc == BM_OK ? bm_host_publish_key(k, r.key_uri, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_host_add)
{
    BM_CLEANUP(bm_host_done) struct bm_host h = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    const char *name;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK && !bm_store_can_share(k->store))
        rc = bm_refuse(e, BM_USAGE, "one-host",
                       "a registry in SQLite is for one host; 'birthmark migrate' moves it into PostgreSQL, which takes several");
    if (rc == BM_OK && k->journal != NULL)
        rc = bm_refuse(e, BM_CONFLICT, "one-host",
                       "there is a journal, which is for a registry of one host: take 'journal' out of the configuration first");
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_host_put(k->store, name, now, e);
    if (rc == BM_OK)
        rc = bm_host_get(k->store, name, &h, e);
    if (rc == BM_OK && h.id > BM_HOSTS_MAX)
        rc = bm_fail(e, BM_LIMIT, "a registry has at most %d hosts in its life", BM_HOSTS_MAX);
    if (rc == BM_OK)
        rc = bm_ca_each(k->store, publish, k, e);
    if (rc == BM_OK)
        rc = publish_secrets(k, now, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "name", json_string(name));
    json_object_set_new(out, "number", json_integer(h.id));
    fields = json_pack("{s:s, s:I}", "name", name, "number", (json_int_t)h.id);
    return bm_record(k, now, "host.added", fields, e);
}

struct listing {
    struct bm_keeper *k;
    json_t *rows;
};

static const char *state_of(const struct bm_host *h)
{
    if (h->removed_at != 0)
        return "removed";
    return h->id == 1 || h->joined_at != 0 ? "joined" : "waiting";
}

/* The last head that is signed tells how far its log is, also for a host that is down. */
static int64_t signed_size(struct bm_keeper *k, int64_t id)
{
    BM_CLEANUP(bm_tree_head_done) struct bm_tree_head head = { 0 };

    bm_store_use_log(k->store, id);
    if (bm_tree_head_last(k->store, &head, NULL) != BM_OK)
        head.size = 0;
    bm_store_use_log(k->store, k->host.id);
    return head.size;
}

static enum bm_rc add_row(void *arg, const struct bm_host *h, struct bm_error *e)
{
    struct listing *l = arg;
    char joined[24] = "", key[65] = "";
    uint8_t digest[32];
    json_t *row;

    if (h->joined_at != 0)
        bm_time_text(h->joined_at, joined);
    if (h->log_spki.n != 0) {
        bm_udid_of(bm_buf_rd(&h->log_spki), digest); /* SHA-256 of the key */
        bm_hex(digest, sizeof digest, key);
    }
    row =
        json_pack("{s:I, s:s, s:s, s:b, s:s, s:I, s:s}", "number", (json_int_t)h->id, "name", h->name, "state", state_of(h), "this",
                  h->id == l->k->host.id, "joined_at", joined, "log_signed", (json_int_t)signed_size(l->k, h->id), "log_key", key);
    return row != NULL && json_array_append_new(l->rows, row) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "no memory");
}

BM_ADMIN_HANDLER(bm_admin_host_list)
{
    struct listing l = { .k = k, .rows = json_array() };

    (void)in, (void)blob;
    json_object_set_new(out, "rows", l.rows);
    json_object_set_new(out, "next", json_null());
    return bm_host_each(k->store, add_row, &l, e);
}

/* The keys stay in the database only while somebody is there to fetch them. */
static enum bm_rc drop_keys_if_alone(struct bm_keeper *k, struct bm_error *e)
{
    int64_t n;
    enum bm_rc rc = bm_host_count(k->store, &n, e);

    return rc == BM_OK && n == 1 ? bm_sealed_key_drop_all(k->store, e) : rc;
}

BM_ADMIN_HANDLER(bm_admin_host_remove)
{
    BM_CLEANUP(bm_host_done) struct bm_host h = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    const char *name;
    int64_t now;
    enum bm_rc rc = bm_arg_name(in, "name", &name, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &now, e);
    if (rc == BM_OK)
        rc = bm_host_get(k->store, name, &h, e);
    if (rc == BM_OK && h.id == k->host.id)
        rc = bm_refuse(e, BM_CONFLICT, "host-self", "a host does not remove itself: run this on another one");
    if (rc == BM_OK && h.removed_at != 0)
        rc = bm_fail(e, BM_CONFLICT, "host '%s' is removed already", name);
    if (rc == BM_OK)
        rc = bm_host_set_removed(k->store, h.id, now, e);
    if (rc == BM_OK)
        rc = drop_keys_if_alone(k, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "name", json_string(name));
    fields = json_pack("{s:s, s:I}", "name", name, "number", (json_int_t)h.id);
    return bm_record(k, now, "host.removed", fields, e);
}
