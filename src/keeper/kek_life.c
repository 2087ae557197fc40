/* The life of key-encryption keys: active, then retiring while rows move to the next one, then ending once none is left, then destroyed. Each
 * state is committed before what follows from it is done, so a crash anywhere leaves every row with its key:
 *
 *   rotate  key file N+1, row "active"; row N "retiring"              (a file without a row is nobody's)
 *   step    rows of N are opened and sealed with N+1, some at a time
 *   step    none is left: N is "ending"
 *   step    after that commit: the file of N is removed, N is "destroyed" (or, after a crash between the two, both again) */
#include "keeper/symmetric.h"
#include "keeper/upstream.h"

#include "base/clock.h"
#include "base/log.h"

#include <openssl/rand.h>
#include <stdio.h>

/* --- opened ones ---------------------------------------------------------------------------------------------------------------- */
static enum bm_rc open_row(struct bm_keeper *k, const struct bm_kek_row *r, const struct bm_kek **ret, struct bm_error *e)
{
    struct bm_secrets *s;
    enum bm_rc rc = bm_secrets_get(k, &s, e);
    size_t i = (size_t)r->id % BM_KEK_SLOTS;
    struct bm_kek *kek = NULL;

    if (rc == BM_OK && s->keks[i].id != r->id) {
        rc = bm_kek_open(&k->ring, r->key_uri, &kek, e);
        if (rc != BM_OK)
            return bm_wrap(e, rc, "the key-encryption key '%s'", r->key_uri);
        bm_kek_close(s->keks[i].kek);
        s->keks[i].kek = kek;
        s->keks[i].id = r->id;
    }
    if (rc == BM_OK)
        *ret = s->keks[i].kek;
    return rc;
}

enum bm_rc bm_kek_get(struct bm_keeper *k, int64_t id, const struct bm_kek **ret, struct bm_error *e)
{
    struct bm_kek_row r;
    struct bm_secrets *s = k->secrets;
    size_t i = (size_t)id % BM_KEK_SLOTS;
    enum bm_rc rc;

    if (s != NULL && s->keks[i].id == id && id != 0) {
        *ret = s->keks[i].kek;
        return BM_OK;
    }
    rc = bm_kek_by_id(k->store, id, &r, e);
    return rc == BM_OK ? open_row(k, &r, ret, e) : rc;
}

static void close_one(struct bm_keeper *k, int64_t id)
{
    struct bm_secrets *s = k->secrets;
    size_t i = (size_t)id % BM_KEK_SLOTS;

    if (s == NULL || s->keks[i].id != id)
        return;
    bm_kek_close(BM_MOVE(s->keks[i].kek));
    s->keks[i].id = 0;
}

/* --- making --------------------------------------------------------------------------------------------------------------------- */
/* A name of its own each time: a file whose row was never committed stays behind, and is in nobody's way. */
static enum bm_rc make(struct bm_keeper *k, int64_t now, struct bm_kek_row *ret, struct bm_error *e)
{
    struct bm_kek_row r = { .state = BM_KEK_ACTIVE, .created_at = now };
    uint8_t name[8];
    enum bm_rc rc = RAND_bytes(name, sizeof name) == 1 ? BM_OK : bm_fail(e, BM_BUG, "no random numbers");

    if (rc != BM_OK)
        return rc;
    snprintf(r.key_uri, sizeof r.key_uri, "file:kek-%02x%02x%02x%02x%02x%02x%02x%02x", name[0], name[1], name[2], name[3], name[4],
             name[5], name[6], name[7]);
    rc = bm_kek_generate(&k->ring, r.key_uri, e);
    if (rc == BM_OK)
        rc = bm_kek_put(k->store, &r, e);
    if (rc == BM_OK)
        rc = bm_keeper_journal_key(k, r.key_uri, e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

static enum bm_rc record(struct bm_keeper *k, int64_t now, const char *event, int64_t id, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = json_pack("{s:I}", "kek", (json_int_t)id);

    return bm_record(k, now, event, fields, e);
}

enum bm_rc bm_kek_current(struct bm_keeper *k, int64_t now, int64_t *ret_id, const struct bm_kek **ret, struct bm_error *e)
{
    struct bm_kek_row r;
    enum bm_rc rc = bm_kek_in(k->store, BM_KEK_ACTIVE, &r, e);

    if (rc == BM_NOTFOUND) {
        rc = make(k, now, &r, e);
        if (rc == BM_OK)
            rc = record(k, now, "kek.created", r.id, e);
    }
    if (rc != BM_OK)
        return rc;
    *ret_id = r.id;
    return open_row(k, &r, ret, e);
}

/* --- rotation ------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc end(struct bm_keeper *k, struct bm_kek_row *r, const char *state, int64_t now, struct bm_error *e)
{
    snprintf(r->state, sizeof r->state, "%s", state);
    r->ended_at = now;
    return bm_kek_put(k->store, r, e);
}

enum bm_rc bm_kek_rotate(struct bm_keeper *k, int64_t now, int64_t *ret_id, struct bm_error *e)
{
    struct bm_kek_row old, other, fresh;
    struct bm_secrets *s;
    enum bm_rc rc = bm_secrets_get(k, &s, e), had;

    if (rc != BM_OK)
        return rc;
    if (k->host.n > 1) /* an old key is destroyed once nothing is sealed with it: that is for one host alone to know */
        return bm_refuse(e, BM_CONFLICT, "one-host",
                         "a rotation is for one host alone; remove the others first, they may join again");
    rc = bm_kek_in(k->store, BM_KEK_RETIRING, &other, e);
    if (rc == BM_OK)
        return bm_refuse(e, BM_CONFLICT, "rotation-running",
                         "keys are still moving from an older key-encryption key; 'birthmark key show'");
    had = rc == BM_NOTFOUND ? bm_kek_in(k->store, BM_KEK_ACTIVE, &old, e) : rc;
    rc = had == BM_NOTFOUND || had == BM_OK ? make(k, now, &fresh, e) : had;
    if (rc == BM_OK && had == BM_OK)
        rc = end(k, &old, BM_KEK_RETIRING, now, e);
    if (rc == BM_OK)
        rc = record(k, now, "kek.rotated", fresh.id, e);
    if (rc != BM_OK)
        return rc;
    s->looked = false;
    *ret_id = fresh.id;
    return BM_OK;
}

struct reseal {
    const struct bm_kek *from, *to;
    int64_t to_id;
};

static enum bm_rc reseal_row(struct bm_keeper *k, const struct reseal *r, const struct bm_mac_key *m, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf aad = { .max = 256 }, plain = { .max = 256 }, sealed = { .max = 256 };
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    enum bm_rc rc = m->device_id != 0 ? bm_device_by_id(k->store, m->device_id, &d, e) : BM_OK;

    if (rc != BM_OK)
        return rc;
    bm_mac_aad(m, m->device_id != 0 ? d.udid : NULL, &aad);
    rc = bm_kek_unseal(r->from, bm_buf_rd(&aad), bm_buf_rd(&m->sealed), &plain, e);
    if (rc == BM_OK)
        rc = bm_kek_seal(r->to, bm_buf_rd(&aad), bm_buf_rd(&plain), &sealed, e);
    if (rc != BM_OK)
        return bm_wrap(e, BM_IO, "sealed key %lld", (long long)m->id);
    return bm_mac_key_reseal(k->store, m->id, r->to_id, &sealed, e);
}

/* BM_NOTFOUND: no row is left. */
static enum bm_rc move_rows(struct bm_keeper *k, const struct bm_kek_row *old, int64_t now, int64_t *ret_moved, struct bm_error *e)
{
    struct reseal r;
    enum bm_rc rc = bm_kek_current(k, now, &r.to_id, &r.to, e);

    if (rc == BM_OK)
        rc = bm_kek_get(k, old->id, &r.from, e);
    while (rc == BM_OK && *ret_moved < BM_KEK_STEP_ROWS) {
        BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { 0 };

        rc = bm_mac_key_next(k->store, old->id, &m, e);
        if (rc == BM_OK)
            rc = reseal_row(k, &r, &m, e);
        *ret_moved += rc == BM_OK;
    }
    return rc;
}

/* With no row to open, the key itself is not needed: also one that is lost ends here. */
static enum bm_rc retire(struct bm_keeper *k, struct bm_kek_row *old, int64_t now, int64_t *ret_moved, struct bm_error *e)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { 0 };
    enum bm_rc rc = bm_upstream_reseal(k, old->id, now, ret_moved, e);

    if (rc == BM_OK)
        rc = bm_mac_key_next(k->store, old->id, &m, e);
    if (rc == BM_OK)
        rc = move_rows(k, old, now, ret_moved, e);
    return rc == BM_NOTFOUND ? end(k, old, BM_KEK_ENDING, now, e) : rc;
}

static enum bm_rc destroy(struct bm_keeper *k, struct bm_kek_row *old, int64_t now, struct bm_error *e)
{
    enum bm_rc rc;

    close_one(k, old->id);
    rc = bm_kek_destroy(&k->ring, old->key_uri, e);
    if (rc == BM_OK)
        rc = end(k, old, BM_KEK_DESTROYED, now, e);
    return rc == BM_OK ? record(k, now, "kek.destroyed", old->id, e) : rc;
}

enum bm_rc bm_kek_step(struct bm_keeper *k, int64_t now, int64_t *ret_moved, bool *ret_more, struct bm_error *e)
{
    struct bm_kek_row r;
    enum bm_rc rc = bm_kek_in(k->store, BM_KEK_ENDING, &r, e);

    *ret_moved = 0;
    *ret_more = true;
    if (rc == BM_OK)
        return destroy(k, &r, now, e);
    if (rc == BM_NOTFOUND)
        rc = bm_kek_in(k->store, BM_KEK_RETIRING, &r, e);
    if (rc == BM_OK)
        return retire(k, &r, now, ret_moved, e);
    *ret_more = false;
    return rc == BM_NOTFOUND ? BM_OK : rc;
}

/* --- in the background ---------------------------------------------------------------------------------------------------------- */
static bool work_left(struct bm_keeper *k)
{
    struct bm_kek_row r;

    return bm_kek_in(k->store, BM_KEK_RETIRING, &r, NULL) == BM_OK || bm_kek_in(k->store, BM_KEK_ENDING, &r, NULL) == BM_OK;
}

bool bm_kek_pending(struct bm_keeper *k)
{
    struct bm_secrets *s;

    if (bm_secrets_get(k, &s, NULL) != BM_OK || bm_clock_steady_ms() < s->again_at_ms)
        return false;
    if (!s->looked)
        s->pending = work_left(k);
    s->looked = true;
    return s->pending;
}

void bm_kek_work(struct bm_keeper *k)
{
    enum { AGAIN_MS = 5000 };
    struct bm_error e = { 0 };
    int64_t now, moved;
    bool more = true;
    enum bm_rc rc;

    if (!bm_kek_pending(k) || bm_keeper_now(k, &now, &e) != BM_OK)
        return;
    rc = bm_keeper_begin(k, &e);
    if (rc == BM_OK)
        rc = bm_kek_step(k, now, &moved, &more, &e);
    rc = bm_keeper_settle(k, rc, &e);
    if (rc == BM_OK) {
        k->secrets->pending = more;
        return;
    }
    bm_log(BM_LOG_WARN, "keys", "rotation: %s", e.what);
    k->secrets->again_at_ms = bm_clock_steady_ms() + AGAIN_MS;
}

/* --- for status ----------------------------------------------------------------------------------------------------------------- */
static enum bm_rc tell_one(void *arg, const struct bm_kek_row *r, struct bm_error *e)
{
    json_t *row;

    (void)e;
    row = json_pack("{s:I, s:s, s:I, s:I}", "kek", (json_int_t)r->id, "state", r->state, "created", (json_int_t)r->created_at,
                    "ended", (json_int_t)r->ended_at);
    return json_array_append_new(arg, row) == 0 ? BM_OK : BM_NOMEM;
}

static enum bm_rc count_rows(struct bm_keeper *k, json_t *rows, struct bm_error *e)
{
    json_t *row;
    size_t i;

    json_array_foreach (rows, i, row) {
        int64_t n, id = json_integer_value(json_object_get(row, "kek"));
        enum bm_rc rc = bm_mac_key_count(k->store, id, &n, e);

        if (rc != BM_OK)
            return rc;
        json_object_set_new(row, "sealed", json_integer(n));
    }
    return BM_OK;
}

enum bm_rc bm_kek_tell(struct bm_keeper *k, json_t *out, struct bm_error *e)
{
    json_t *rows = json_array();
    enum bm_rc rc;

    json_object_set_new(out, "keks", rows);
    rc = bm_kek_each(k->store, tell_one, rows, e);
    return rc == BM_OK ? count_rows(k, rows, e) : rc;
}
