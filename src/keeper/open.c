/* Opening and making the data folder:
 *
 *   DATA/registry.db   the store, unless it is elsewhere
 *                            DATA/keys/   private keys, sealed      DATA/secret   what seals them (mode 0400)
 *   DATA/keys/NAME.making  marks of keys whose row is not committed yet (key_mark.c)
 *   DATA/lock          held while open    DATA/admin.sock                        DATA/birthmark.conf (optional)
 *   DATA/init.begun    there while init is at work; what a cut-off init leaves beside it is nobody's yet */
#include "keeper/internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "pki/pkcs11.h"
#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SECRET_LEN = 32, PATH_LEN = 600 };

enum bm_rc bm_keeper_now(struct bm_keeper *k, int64_t *ret, struct bm_error *e)
{
    int64_t now = bm_clock_s();
    char seen[24], says[24];

    if (now + BM_CLOCK_BACK_TOLERANCE_S < k->clock_high)
        return bm_refuse(
            e, BM_AGAIN, "clock-went-back",
            "the clock says %s, but %s has been seen before; set it right, or 'birthmark clock accept' if it was wrong then",
            bm_time_text(now, says), bm_time_text(k->clock_high, seen));
    *ret = now;
    if (now > k->clock_high)
        k->clock_high = now;
    return BM_OK;
}

static const char begun[] = "init.begun";

/* True also for a file that holds nothing, of which `create` makes a store; false for one that does not open. */
static bool log_is_empty(const char *data_dir, bool create)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *s = NULL;
    struct bm_audit log = { 0 };
    char dsn[PATH_LEN + 16];

    snprintf(dsn, sizeof dsn, "sqlite:%s/registry.db", data_dir);
    return bm_store_open(dsn, (struct bm_store_options){ .create = create }, &s, NULL) == BM_OK &&
           bm_audit_open(&log, s, NULL) == BM_OK && log.tree.size == 0;
}

/* The mark alone does not say so: it may be back after a power cut, or come with a copy. A registry whose log has an entry is in use, and so
 * may be one that does not open. Called with the lock held. */
static bool init_cut_off(const char *data_dir)
{
    char path[PATH_LEN];

    return bm_path_join(data_dir, begun, path, sizeof path, NULL) == BM_OK && access(path, F_OK) == 0 &&
           (log_is_empty(data_dir, false) || log_is_empty(data_dir, true));
}

enum bm_rc bm_data_lock(const char *data_dir, int *ret_fd, struct bm_error *e)
{
    char path[PATH_LEN];
    enum bm_rc rc = bm_path_join(data_dir, "lock", path, sizeof path, e);

    if (rc != BM_OK)
        return rc;
    *ret_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*ret_fd < 0) /* a read-only disk can still be looked at */
        return bm_fail(e, errno == ENOENT ? BM_NOTFOUND : BM_IO, "cannot open %s: %s", path, strerror(errno));
    if (flock(*ret_fd, LOCK_EX | LOCK_NB) != 0)
        return bm_refuse(e, BM_CONFLICT, "in-use", "another birthmark process has %s open", data_dir);
    return BM_OK;
}

enum bm_rc bm_keeper_read_secret(struct bm_keeper *k, struct bm_error *e)
{
    char path[PATH_LEN];
    const char *file = k->options.secret_file != NULL && k->options.secret_file[0] != '\0' ? k->options.secret_file : path;
    enum bm_rc rc = bm_path_join(k->options.data_dir, "secret", path, sizeof path, e);

    k->secret.max = 4096;
    if (rc == BM_OK)
        rc = bm_file_read(file, &k->secret, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "the secret that seals the keys");
    (void)mlock(k->secret.p, k->secret.cap); /* best effort: a small limit on locked memory must not stop the server */
    if (k->secret.n != SECRET_LEN)           /* a passphrase in a text file: its line end is not part of it */
        while (k->secret.n != 0 && (k->secret.p[k->secret.n - 1] == '\n' || k->secret.p[k->secret.n - 1] == '\r'))
            k->secret.n--;
    if (k->secret.n < 8)
        return bm_fail(e, BM_USAGE, "%s: a secret needs at least 8 bytes", file);
    k->ring.secret = bm_buf_rd(&k->secret);
    return bm_path_join(k->options.data_dir, "keys", k->ring.dir, sizeof k->ring.dir, e);
}

/* Time only ever went up to the last leaf's. */
static enum bm_rc last_leaf_time(void *arg, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *e)
{
    struct bm_keeper *k = arg;

    (void)index, (void)data, (void)e;
    k->clock_high = at_ms / 1000;
    return BM_OK;
}

static enum bm_rc open_log(struct bm_keeper *k, struct bm_error *e)
{
    enum bm_rc rc = bm_audit_open(&k->audit, k->store, e);

    if (rc == BM_OK && k->audit.tree.size > 0)
        rc = bm_audit_leaf_each(k->store, k->audit.tree.size - 1, k->audit.tree.size, last_leaf_time, k, e);
    return rc;
}

static enum bm_rc make_session_keys(struct bm_keeper *k, struct bm_error *e)
{
    if (RAND_priv_bytes(k->challenge_key, sizeof k->challenge_key) != 1 ||
        RAND_priv_bytes(k->handshake_key, sizeof k->handshake_key) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    return BM_OK;
}

enum bm_rc bm_keeper_dsn(const char *data_dir, const char *store, char *ret, size_t ret_len, struct bm_error *e)
{
    bool given = store != NULL && store[0] != '\0';
    int n = given ? snprintf(ret, ret_len, "%s", store) : snprintf(ret, ret_len, "sqlite:%s/registry.db", data_dir);

    return n >= 0 && (size_t)n < ret_len ? BM_OK : bm_fail(e, BM_LIMIT, "%s: too long", given ? store : data_dir);
}

enum bm_rc bm_keeper_open_store(struct bm_keeper *k, bool create, struct bm_error *e)
{
    char dsn[PATH_LEN];
    enum bm_rc rc = bm_keeper_dsn(k->options.data_dir, k->options.store, dsn, sizeof dsn, e);

    return rc == BM_OK ? bm_store_open(dsn, (struct bm_store_options){ .create = create, .shared = !create }, &k->store, e) : rc;
}

/* Where the registry is our file, its absence has a plain answer. */
static enum bm_rc check_there(const struct bm_keeper_options *o, struct bm_error *e)
{
    char path[PATH_LEN];
    enum bm_rc rc = bm_path_join(o->data_dir, "registry.db", path, sizeof path, e);

    if (rc != BM_OK || (o->store != NULL && o->store[0] != '\0') || access(path, F_OK) == 0)
        return rc;
    return bm_refuse(e, BM_NOTFOUND, "no-registry", "%s holds no registry; make one with 'birthmark init --data %s'", o->data_dir,
                     o->data_dir);
}

enum bm_rc bm_keeper_new(const struct bm_keeper_options *o, struct bm_keeper **ret, struct bm_error *e)
{
    struct bm_keeper *k = calloc(1, sizeof *k);

    if (k == NULL)
        return bm_fail(e, BM_NOMEM, "no memory");
    k->options = *o;
    bm_keeper_limits_fill(&k->options.limits);
    k->lock_fd = -1;
    k->started_at = bm_clock_s();
    k->view_version = 1;
    k->host = (struct bm_host_self){ .id = 1, .n = 1 };
    *ret = k;
    return BM_OK;
}

enum bm_rc bm_keeper_open(const struct bm_keeper_options *o, struct bm_keeper **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_closep) struct bm_keeper *k = NULL;
    enum bm_rc rc = bm_keeper_new(o, &k, e);

    if (rc == BM_OK)
        rc = check_there(o, e);
    if (rc == BM_OK)
        rc = bm_data_lock(k->options.data_dir, &k->lock_fd, e);
    if (rc == BM_OK && init_cut_off(o->data_dir))
        rc = bm_refuse(e, BM_NOTFOUND, "no-registry", "a 'birthmark init' was cut off in %s; run it again", o->data_dir);
    if (rc == BM_OK)
        rc = bm_keeper_read_secret(k, e);
    if (rc == BM_OK)
        rc = bm_keeper_open_tokens(k, &o->tokens, e);
    if (rc == BM_OK)
        rc = bm_keeper_open_store(k, false, e);
    if (rc == BM_OK)
        rc = bm_host_open(k, e);
    if (rc == BM_OK)
        rc = open_log(k, e);
    if (rc == BM_OK)
        rc = bm_keeper_open_journal(k, e);
    if (rc == BM_OK)
        rc = bm_key_open(&k->ring, "file:log", &k->log_key, e);
    if (rc == BM_OK)
        rc = bm_host_check_key(k, e);
    if (rc == BM_OK)
        rc = bm_key_marks_tidy(k, e);
    if (rc == BM_OK)
        rc = make_session_keys(k, e);
    if (rc == BM_OK)
        *ret = BM_MOVE(k);
    return rc;
}

void bm_keeper_close(struct bm_keeper *k)
{
    struct bm_error e;

    if (k == NULL)
        return;
    if (k->store != NULL && k->log_key != NULL && k->audit.tree.size != 0 &&
        bm_keeper_sign_head(k, k->clock_high > bm_clock_s() ? k->clock_high : bm_clock_s(), &e) != BM_OK)
        bm_log(BM_LOG_WARN, "log.head", "no last tree head: %s", e.what);
    bm_imports_drop(k, true);
    bm_cache_drop(k);
    bm_revocation_drop(k);
    bm_brski_drop(k);
    bm_makers_drop(k);
    bm_attempts_drop(k);
    bm_secrets_done(k);
    bm_key_free(k->log_key);
    bm_pkcs11_close(k->ring.pkcs11);
    bm_journal_close(k->journal);
    bm_store_close(k->store);
    EVP_MAC_CTX_free(k->challenge_mac); /* which wipes */
    bm_wipe(k->challenge_key, sizeof k->challenge_key);
    bm_wipe(k->handshake_key, sizeof k->handshake_key);
    free(k->seen);
    bm_buf_done(&k->secret);
    free(k->used);
    free(k->fresh);
    if (k->lock_fd >= 0)
        close(k->lock_fd);
    free(k);
}

void bm_keeper_closep(struct bm_keeper **k)
{
    bm_keeper_close(*k);
}

/* --- init ---------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc make_secret(const struct bm_init_options *o, struct bm_error *e)
{
    uint8_t secret[SECRET_LEN];
    char path[PATH_LEN];
    enum bm_rc rc;

    if (o->secret_file != NULL && o->secret_file[0] != '\0')
        return BM_OK;
    rc = bm_path_join(o->data_dir, "secret", path, sizeof path, e);
    if (rc != BM_OK)
        return rc;
    if (RAND_priv_bytes(secret, sizeof secret) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    rc = bm_file_write(path, bm_rd_of(secret, sizeof secret), 0400, e); /* there was none: check_empty() */
    bm_wipe(secret, sizeof secret);
    return rc;
}

/* What init makes. One of them left over may be all that is left of a registry, and the keys under an old secret are worth keeping. */
static const char *const made[] = { "registry.db",       "registry.db-wal",      "registry.db-shm", "secret",
                                    "keys/root.key.pem", "keys/issuing.key.pem", "keys/log.key.pem" };

static enum bm_rc check_empty(const struct bm_init_options *o, struct bm_error *e)
{
    char path[PATH_LEN];

    for (size_t i = 0; i < BM_COUNT(made); i++) {
        enum bm_rc rc = bm_path_join(o->data_dir, made[i], path, sizeof path, e);

        if (rc != BM_OK)
            return rc;
        if (access(path, F_OK) == 0)
            return bm_refuse(e, BM_CONFLICT, "already-there",
                             "%s already holds a registry or what is left of one (%s); choose another folder, or start it with "
                             "'birthmark serve'",
                             o->data_dir, made[i]);
    }
    return BM_OK;
}

static enum bm_rc make_folders(const struct bm_init_options *o, struct bm_error *e)
{
    char path[PATH_LEN];
    enum bm_rc rc = check_empty(o, e);

    if (rc == BM_OK)
        rc = bm_path_join(o->data_dir, "keys", path, sizeof path, e);
    return rc == BM_OK ? bm_dir_make(path, 0700, e) : rc;
}

static enum bm_rc make_log_key(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    enum bm_rc rc = bm_key_generate(&k->ring, "file:log", "EC:P-256", e);

    if (rc == BM_OK)
        rc = bm_key_open(&k->ring, "file:log", &k->log_key, e);
    if (rc == BM_OK)
        rc = bm_meta_set(k->store, "log-spki", bm_key_spki(k->log_key), e);
    if (rc == BM_OK)
        rc = bm_host_put(k->store, "host-1", now, e);
    return rc == BM_OK ? bm_host_set_joined(k->store, 1, now, bm_key_spki(k->log_key), e) : rc;
}

static enum bm_rc make_cas(struct bm_keeper *k, const struct bm_init_options *o, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca root = { 0 }, issuing = { 0 };
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_pack("{s:s}", "organisation", o->organisation);
    struct bm_ca_spec spec = { .name = "root",
                               .alg = o->ca_alg,
                               .profile = "root-ca",
                               .organisation = o->organisation,
                               .key = o->root_key,
                               .existing_key = o->existing_keys };
    enum bm_rc rc = bm_ca_make(k, &spec, now, &root, e);

    if (rc != BM_OK)
        return rc;
    spec = (struct bm_ca_spec){ .name = "issuing",
                                .parent = "root",
                                .alg = o->ca_alg,
                                .profile = "issuing-ca",
                                .organisation = o->organisation,
                                .key = o->issuing_key,
                                .existing_key = o->existing_keys };
    rc = bm_ca_make(k, &spec, now, &issuing, e);
    if (rc == BM_OK)
        rc = bm_meta_set(k->store, "default-ca", bm_rd_str("issuing"), e);
    if (rc == BM_OK &&
        (bm_json_pem(fields, "root", bm_buf_rd(&root.cert)) != 0 || bm_json_pem(fields, "issuing", bm_buf_rd(&issuing.cert)) != 0))
        rc = bm_fail(e, BM_NOMEM, "no memory");
    return rc == BM_OK ? bm_record(k, now, "registry.created", fields, e) : rc;
}

static enum bm_rc fill(struct bm_keeper *k, const struct bm_init_options *o, struct bm_error *e)
{
    int64_t now = bm_clock_s();
    enum bm_rc rc = bm_store_begin(k->store, e);

    for (const struct bm_profile_builtin *p = bm_profiles_builtin; rc == BM_OK && p->name != NULL; p++)
        rc = bm_profile_put(k->store, p->name, bm_rd_str(p->json), e);
    if (rc == BM_OK && o->tls_hosts != NULL && o->tls_hosts[0] != '\0')
        rc = bm_meta_set(k->store, "tls-hosts", bm_rd_str(o->tls_hosts), e);
    if (rc == BM_OK)
        rc = make_log_key(k, now, e);
    if (rc == BM_OK)
        rc = make_cas(k, o, now, e);
    if (rc == BM_OK)
        rc = bm_audit_sign_head(&k->audit, k->log_key, now * 1000, e);
    if (rc == BM_OK)
        rc = bm_store_commit(k->store, e);
    if (rc == BM_OK)
        bm_audit_committed(&k->audit);
    return rc == BM_OK ? bm_key_marks_tidy(k, e) : rc;
}

/* A half-made registry is worse than none, and in the way of the next try: what init began, a failed init takes away. None of it was there
 * before. */
static void take_back(const struct bm_init_options *o)
{
    char path[PATH_LEN];

    for (size_t i = 0; i < BM_COUNT(made); i++)
        if (bm_path_join(o->data_dir, made[i], path, sizeof path, NULL) == BM_OK)
            (void)unlink(path);
}

static enum bm_rc make_registry(struct bm_keeper *k, const struct bm_init_options *o, struct bm_error *e)
{
    enum bm_rc rc = make_secret(o, e);

    if (rc == BM_OK)
        rc = bm_keeper_read_secret(k, e);
    if (rc == BM_OK)
        rc = bm_keeper_open_tokens(k, &o->tokens, e);
    if (rc == BM_OK)
        rc = bm_keeper_open_store(k, true, e);
    if (rc == BM_OK)
        rc = open_log(k, e);
    return rc == BM_OK ? fill(k, o, e) : rc;
}

/* From here to unmark() everything that init makes may be taken away again. */
static enum bm_rc mark(const struct bm_init_options *o, struct bm_error *e)
{
    char path[PATH_LEN];
    enum bm_rc rc = bm_path_join(o->data_dir, begun, path, sizeof path, e);

    return rc == BM_OK ? bm_file_write(path, bm_rd_str(""), 0600, e) : rc;
}

static enum bm_rc unmark(const struct bm_init_options *o, struct bm_error *e)
{
    char path[PATH_LEN];
    enum bm_rc rc = bm_path_join(o->data_dir, begun, path, sizeof path, e);

    if (rc == BM_OK && unlink(path) != 0)
        return bm_fail(e, BM_IO, "cannot remove %s: %s", path, strerror(errno));
    return rc;
}

enum bm_rc bm_keeper_init(const struct bm_init_options *o, struct bm_error *e)
{
    struct bm_keeper_options ko = {
        .data_dir = o->data_dir, .secret_file = o->secret_file, .tls_hosts = o->tls_hosts, .store = o->store
    };
    BM_CLEANUP(bm_keeper_closep) struct bm_keeper *k = NULL;
    enum bm_rc rc = bm_dir_make(o->data_dir, 0700, e);

    if (rc == BM_OK)
        rc = bm_keeper_new(&ko, &k, e);
    if (rc == BM_OK)
        rc = bm_data_lock(k->options.data_dir, &k->lock_fd,
                          e); /* before the look around: two at once must not take each other's away */
    if (rc == BM_OK && init_cut_off(o->data_dir))
        take_back(o);
    if (rc == BM_OK)
        rc = make_folders(o, e);
    if (rc == BM_OK)
        rc = mark(o, e);
    if (rc != BM_OK)
        return rc;
    rc = make_registry(k, o, e);
    if (rc == BM_OK)
        rc = unmark(o, e);
    bm_token_keys_settled(k, rc != BM_OK);
    if (rc != BM_OK) {
        bm_store_discard(BM_MOVE(k->store));
        take_back(o);
        (void)unmark(o, NULL);
    }
    return rc;
}
