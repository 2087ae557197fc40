/* Which of the hosts of a registry we are, and what the others have changed behind our back. With one host, and always in SQLite, none of this
 * costs a query. */
#include "keeper/internal.h"

#include "base/file.h"

#include <stdio.h>

/* --- who we are ---------------------------------------------------------------------------------------------------------------- */
static enum bm_rc check_place(const struct bm_host *h, struct bm_error *e)
{
    if (h->removed_at != 0)
        return bm_refuse(e, BM_DENIED, "host-removed", "host '%s' has been removed from this registry", h->name);
    if (h->id != 1 && h->joined_at == 0)
        return bm_refuse(e, BM_DENIED, "host-not-joined", "host '%s' has not joined yet: run 'birthmark join' in this folder",
                         h->name);
    return BM_OK;
}

static enum bm_rc own_row(struct bm_keeper *k, struct bm_host *ret, struct bm_error *e)
{
    const char *name = k->options.host != NULL ? k->options.host : "";
    enum bm_rc rc = name[0] != '\0' ? bm_host_get(k->store, name, ret, e) : bm_host_by_id(k->store, 1, ret, e);

    return rc == BM_NOTFOUND ? bm_refuse(e, rc, "no-host", "the registry has no host '%s'; see 'host' in the configuration", name)
                             : rc;
}

enum bm_rc bm_host_open(struct bm_keeper *k, struct bm_error *e)
{
    BM_CLEANUP(bm_host_done) struct bm_host h = { 0 };
    enum bm_rc rc = own_row(k, &h, e);

    if (rc == BM_OK)
        rc = check_place(&h, e);
    if (rc == BM_OK)
        rc = bm_store_claim(k->store, h.id, e);
    if (rc == BM_OK)
        rc = bm_host_count(k->store, &k->host.n, e);
    if (rc == BM_OK)
        rc = bm_store_version_now(k->store, &k->host.version, e);
    if (rc == BM_OK)
        k->host.id = h.id;
    return rc;
}

/* A folder with another host's keys would sign heads that nobody can verify. */
enum bm_rc bm_host_check_key(struct bm_keeper *k, struct bm_error *e)
{
    BM_CLEANUP(bm_host_done) struct bm_host h = { 0 };
    enum bm_rc rc = bm_host_by_id(k->store, k->host.id, &h, e);

    if (rc == BM_OK && !bm_rd_eq(bm_buf_rd(&h.log_spki), bm_key_spki(k->log_key)))
        return bm_refuse(e, BM_DENIED, "wrong-host", "the log key in %s is not that of host '%s'", k->options.data_dir, h.name);
    return rc;
}

const char *bm_host_meta(const struct bm_keeper *k, const char *what, char ret[BM_NAME_LEN])
{
    if (k->host.id <= 1)
        snprintf(ret, BM_NAME_LEN, "%s", what);
    else
        snprintf(ret, BM_NAME_LEN, "%s@%lld", what, (long long)k->host.id);
    return ret;
}

/* --- what others have done ------------------------------------------------------------------------------------------------------ */
static enum bm_rc count_again(struct bm_keeper *k, struct bm_error *e)
{
    BM_CLEANUP(bm_host_done) struct bm_host h = { 0 };
    enum bm_rc rc = bm_host_count(k->store, &k->host.n, e);

    if (rc == BM_OK)
        rc = bm_host_by_id(k->store, k->host.id, &h, e);
    if (rc == BM_OK)
        k->host.removed = h.removed_at != 0;
    k->host.look = rc != BM_OK;
    return rc;
}

/* Nothing of what the registry said at an earlier version is believed any more. */
static enum bm_rc look(struct bm_keeper *k, int64_t version, struct bm_error *e)
{
    bool news = version != k->host.version;
    enum bm_rc rc;

    if (news) {
        bm_cache_drop(k);
        bm_revocation_outdated(k);
        k->view_changed = true;
    }
    rc = news || k->host.look ? count_again(k, e) : BM_OK;
    if (rc != BM_OK)
        return rc;
    k->host.version = version;
    if (k->host.removed)
        return bm_refuse(e, BM_IO, "host-removed", "this host has been removed from the registry: stop it");
    return BM_OK;
}

enum bm_rc bm_keeper_begin(struct bm_keeper *k, struct bm_error *e)
{
    enum bm_rc rc = bm_store_begin(k->store, e);

    if (k->n_issuers > BM_ISSUERS_KEPT)
        bm_cache_drop(k);
    if (rc == BM_OK)
        rc = look(k, bm_store_version(k->store), e);
    if (rc != BM_OK)
        bm_store_rollback(k->store);
    return rc;
}

enum bm_rc bm_host_poll(struct bm_keeper *k, struct bm_error *e)
{
    int64_t version = 0;
    enum bm_rc rc = k->host.n > 1 ? bm_store_version_now(k->store, &version, e) : BM_OK;

    return rc == BM_OK && k->host.n > 1 ? look(k, version, e) : rc;
}

enum bm_rc bm_host_tell(struct bm_keeper *k, struct bm_error *e)
{
    return k->host.touched && k->host.n > 1 ? bm_store_version_set(k->store, bm_store_version(k->store) + 1, e) : BM_OK;
}

void bm_host_told(struct bm_keeper *k, bool committed)
{
    if (committed && k->host.touched) {
        k->host.look = bm_store_can_share(k->store); /* there may be more hosts now, or fewer */
        k->host.version += k->host.n > 1;
    }
    k->host.touched = false;
}

/* --- the CAs' keys -------------------------------------------------------------------------------------------------------------- */
static enum bm_rc key_path(const struct bm_keeper *k, const char *name, char *ret, size_t room, struct bm_error *e)
{
    int n = snprintf(ret, room, "%s/%s.key.pem", k->ring.dir, name);

    return n > 0 && (size_t)n < room ? BM_OK : bm_fail(e, BM_LIMIT, "key '%s': path too long", name);
}

static const char *name_of(const char *uri)
{
    return strncmp(uri, "file:", 5) == 0 ? uri + 5 : NULL; /* a key in a token is not ours to hand on */
}

enum bm_rc bm_host_publish_key(struct bm_keeper *k, const char *uri, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = BM_SEALED_KEY_MAX };
    const char *name = name_of(uri);
    char path[640];
    enum bm_rc rc;

    if (name == NULL)
        return BM_OK;
    rc = key_path(k, name, path, sizeof path, e);
    if (rc == BM_OK)
        rc = bm_file_read(path, &pem, e);
    if (rc == BM_NOTFOUND) { /* we never needed it ourselves */
        struct bm_buf there = { .max = BM_SEALED_KEY_MAX };

        rc = bm_sealed_key_get(k->store, name, &there, e);
        bm_buf_done(&there);
        return rc;
    }
    return rc == BM_OK ? bm_sealed_key_put(k->store, name, bm_buf_rd(&pem), e) : rc;
}

enum bm_rc bm_host_fetch_key(struct bm_keeper *k, const char *uri, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = BM_SEALED_KEY_MAX };
    const char *name = name_of(uri);
    char path[640];
    enum bm_rc rc = name != NULL ? bm_sealed_key_get(k->store, name, &pem, e) : BM_NOTFOUND;

    if (rc == BM_OK)
        rc = key_path(k, name, path, sizeof path, e);
    return rc == BM_OK ? bm_file_create(path, bm_buf_rd(&pem), 0600, e) : rc;
}
