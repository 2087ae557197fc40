/* A data folder for one more host of a registry that is there: the CAs' keys out of the database, opened with the same secret, and a log of its
 * own. Whatever fails, the host may try again. */
#include "keeper/symmetric.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static enum bm_rc make_key_folder(struct bm_keeper *k, struct bm_error *e)
{
    if (mkdir(k->ring.dir, 0700) == 0)
        return BM_OK;
    return errno == EEXIST
               ? bm_refuse(e, BM_CONFLICT, "already-there", "%s is there already: join with a new data folder", k->ring.dir)
               : bm_fail(e, BM_IO, "%s: %s", k->ring.dir, strerror(errno));
}

static enum bm_rc find_place(struct bm_keeper *k, const char *name, struct bm_error *e)
{
    BM_CLEANUP(bm_host_done) struct bm_host h = { 0 };
    enum bm_rc rc = bm_host_get(k->store, name, &h, e);

    if (rc == BM_NOTFOUND)
        return bm_refuse(e, rc, "no-host", "the registry expects no host '%s'; run 'birthmark host add %s' on a host that is in",
                         name, name);
    if (rc == BM_OK && (h.joined_at != 0 || h.removed_at != 0 || h.id == 1))
        return bm_refuse(e, BM_CONFLICT, "host-taken", "there is or was a host '%s'; add one with another name", name);
    if (rc == BM_OK)
        rc = bm_store_claim(k->store, h.id, e);
    if (rc == BM_OK)
        k->host.id = h.id;
    return rc == BM_OK ? bm_host_count(k->store, &k->host.n, e) : rc;
}

static enum bm_rc try_key(struct bm_keeper *k, const char *uri, struct bm_error *e)
{
    BM_CLEANUP(bm_key_freep) struct bm_key *key = NULL;
    struct bm_kek *kek = NULL;
    enum bm_rc rc;

    if (strncmp(uri, "file:kek-", 9) != 0)
        return bm_key_open(&k->ring, uri, &key, e);
    rc = bm_kek_open(&k->ring, uri, &kek, e);
    bm_kek_close(kek);
    return rc;
}

/* It must open with the secret we have: better told now than at the first device. */
static enum bm_rc take_key(void *arg, const char *name, struct bm_rd pem, struct bm_error *e)
{
    struct bm_keeper *k = arg;
    char path[640], uri[BM_NAME_LEN + 8];
    enum bm_rc rc;

    if (!bm_name_ok(name))
        return bm_fail(e, BM_MALFORMED, "the registry holds a key with a name that is none");
    if ((size_t)snprintf(path, sizeof path, "%s/%s.key.pem", k->ring.dir, name) >= sizeof path)
        return bm_fail(e, BM_LIMIT, "%s: path too long", k->ring.dir);
    snprintf(uri, sizeof uri, "file:%s", name);
    rc = bm_file_create(path, pem, 0600, e);
    return rc == BM_OK ? try_key(k, uri, e) : rc;
}

static enum bm_rc drop_key(void *arg, const char *name, struct bm_rd pem, struct bm_error *e)
{
    const struct bm_keeper *k = arg;
    char path[640];

    (void)pem, (void)e;
    if (bm_name_ok(name) && (size_t)snprintf(path, sizeof path, "%s/%s.key.pem", k->ring.dir, name) < sizeof path)
        (void)unlink(path);
    return BM_OK;
}

static void take_back(struct bm_keeper *k)
{
    (void)drop_key(k, "log", bm_rd_of(NULL, 0), NULL);
    if (bm_sealed_key_each(k->store, drop_key, k, NULL) == BM_OK)
        (void)rmdir(k->ring.dir);
}

static enum bm_rc write_rows(struct bm_keeper *k, const struct bm_join_options *o, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_pack("{s:s, s:I}", "name", o->name, "number", (json_int_t)k->host.id);
    char key[BM_NAME_LEN];
    enum bm_rc rc = bm_host_set_joined(k->store, k->host.id, now, bm_key_spki(k->log_key), e);

    if (rc == BM_OK && o->tls_hosts != NULL && o->tls_hosts[0] != '\0')
        rc = bm_meta_set(k->store, bm_host_meta(k, "tls-hosts", key), bm_rd_str(o->tls_hosts), e);
    if (rc == BM_OK)
        rc = bm_record(k, now, "host.joined", fields, e);
    return rc == BM_OK ? bm_audit_sign_head(&k->audit, k->log_key, now * 1000, e) : rc;
}

static enum bm_rc enter(struct bm_keeper *k, const struct bm_join_options *o, struct bm_error *e)
{
    enum bm_rc rc = bm_sealed_key_each(k->store, take_key, k, e);

    if (rc == BM_OK)
        rc = bm_key_generate(&k->ring, "file:log", "EC:P-256", e);
    if (rc == BM_OK)
        rc = bm_key_open(&k->ring, "file:log", &k->log_key, e);
    if (rc == BM_OK)
        rc = bm_audit_open(&k->audit, k->store, e);
    if (rc != BM_OK)
        return rc;
    do {
        rc = bm_store_begin(k->store, e);
        k->host.touched = true;
        if (rc == BM_OK)
            rc = write_rows(k, o, bm_clock_s(), e);
        rc = bm_keeper_settle(k, rc, e);
    } while (rc != BM_OK && bm_store_collided(k->store));
    return rc;
}

enum bm_rc bm_keeper_join(const struct bm_join_options *o, struct bm_error *e)
{
    struct bm_keeper_options ko = { .data_dir = o->data_dir, .secret_file = o->secret_file, .store = o->store };
    BM_CLEANUP(bm_keeper_closep) struct bm_keeper *k = NULL;
    enum bm_rc rc = bm_dir_make(o->data_dir, 0700, e);

    if (rc == BM_OK)
        rc = bm_keeper_new(&ko, &k, e);
    if (rc == BM_OK)
        rc = bm_data_lock(o->data_dir, &k->lock_fd, e);
    if (rc == BM_OK)
        rc = bm_keeper_read_secret(k, e);
    if (rc == BM_OK)
        rc = bm_keeper_open_store(k, false, e);
    if (rc == BM_OK && !bm_store_can_share(k->store))
        rc = bm_refuse(e, BM_USAGE, "one-host", "a registry in SQLite is for one host");
    if (rc == BM_OK)
        rc = find_place(k, o->name, e);
    if (rc == BM_OK)
        rc = make_key_folder(k, e);
    if (rc != BM_OK)
        return rc;
    rc = enter(k, o, e);
    if (rc != BM_OK)
        take_back(k);
    return rc;
}
