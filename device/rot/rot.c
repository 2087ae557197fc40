#include "rot.h"

struct bmd_selector bmd_selector_label(const char *label)
{
    struct bmd_selector s;
    size_t n = strlen(label);

    memset(&s, 0, sizeof s);
    s.label_len = (uint8_t)(n > BMD_ROT_LABEL_MAX ? BMD_ROT_LABEL_MAX + 1 : n); /* too long: refused by selector_ok() */
    memcpy(s.label, label, n > BMD_ROT_LABEL_MAX ? BMD_ROT_LABEL_MAX : n);
    return s;
}

struct bmd_selector bmd_selector_slot(uint32_t slot)
{
    struct bmd_selector s;

    memset(&s, 0, sizeof s);
    s.slot = slot;
    return s;
}

static bool driver_ok(const struct bmd_rot_driver *d)
{
    return d != NULL && d->open != NULL && d->info != NULL && d->id != NULL && (d->sign != NULL || d->challenge != NULL);
}

enum bmd_rc bmd_rot_open(struct bmd_rot *r, const struct bmd_rot_driver *d, void *ctx, size_t ctx_len, const char *config)
{
    enum bmd_rc rc;

    memset(r, 0, sizeof *r);
    if (!driver_ok(d) || (ctx == NULL && d->ctx_size != 0))
        return BMD_BAD_ARGUMENT;
    if (ctx_len < d->ctx_size)
        return BMD_BUFFER_TOO_SMALL;
    if (ctx != NULL)
        memset(ctx, 0, ctx_len);
    r->driver = d;
    r->ctx = ctx;
    rc = d->open(ctx, config != NULL ? config : "");
    if (rc == BMD_OK)
        rc = d->info(ctx, &r->info);
    if (rc == BMD_OK && (r->info.id_len > BMD_ROT_ID_MAX || r->info.kind == NULL))
        rc = BMD_INTERNAL;
    r->open = true;
    if (rc != BMD_OK)
        bmd_rot_close(r);
    return rc;
}

void bmd_rot_close(struct bmd_rot *r)
{
    if (r->open && r->driver->close != NULL)
        r->driver->close(r->ctx);
    memset(r, 0, sizeof *r);
}

/* The checks that every operation starts with: open, in the driver, arguments there. */
static enum bmd_rc may(const struct bmd_rot *r, bool has_slot, bool args_ok)
{
    if (r == NULL || !r->open)
        return BMD_BAD_ARGUMENT;
    if (!has_slot)
        return BMD_NOT_SUPPORTED;
    return args_ok ? BMD_OK : BMD_BAD_ARGUMENT;
}

/* And the one that every operation with output ends with: no driver may claim more than there was room for. */
static enum bmd_rc checked(enum bmd_rc rc, size_t room, size_t len)
{
    return rc == BMD_OK && len > room ? BMD_INTERNAL : rc;
}

static bool rd_ok(struct bmd_rd b, size_t max)
{
    return b.n <= max && (b.p != NULL || b.n == 0);
}

static bool selector_ok(const struct bmd_rot *r, const struct bmd_selector *s)
{
    if (s == NULL || s->label_len > BMD_ROT_LABEL_MAX)
        return false;
    return s->label_len != 0 || r->info.slots == 0 || s->slot < r->info.slots;
}

#define HAS(r, op) ((r) != NULL && (r)->open && (r)->driver->op != NULL)

enum bmd_rc bmd_rot_id(struct bmd_rot *r, uint8_t *ret, size_t *ret_len)
{
    enum bmd_rc rc = may(r, HAS(r, id), ret != NULL && ret_len != NULL);
    size_t room;

    if (rc != BMD_OK)
        return rc;
    room = *ret_len;
    if (room < r->info.id_len) {
        *ret_len = r->info.id_len;
        return BMD_BUFFER_TOO_SMALL;
    }
    rc = r->driver->id(r->ctx, ret, ret_len);
    return checked(rc, room, *ret_len);
}

enum bmd_rc bmd_rot_random(struct bmd_rot *r, uint8_t *ret, size_t n)
{
    enum bmd_rc rc = may(r, HAS(r, random), ret != NULL && n <= BMD_ROT_RANDOM_MAX);

    return rc == BMD_OK ? r->driver->random(r->ctx, ret, n) : rc;
}

enum bmd_rc bmd_rot_key_open(struct bmd_rot *r, const struct bmd_selector *s, bmd_key *ret, struct bmd_key_attributes *ret_attr)
{
    enum bmd_rc rc = may(r, HAS(r, key_open), ret != NULL && ret_attr != NULL);

    if (rc != BMD_OK)
        return rc;
    return selector_ok(r, s) ? r->driver->key_open(r->ctx, s, ret, ret_attr) : BMD_BAD_ARGUMENT;
}

enum bmd_rc bmd_rot_key_generate(struct bmd_rot *r, const struct bmd_selector *s, enum bmd_alg alg, uint8_t usage, uint8_t flags,
                                 bmd_key *ret)
{
    enum bmd_rc rc = may(r, HAS(r, key_generate), ret != NULL && usage != 0);

    if (rc != BMD_OK)
        return rc;
    if (!selector_ok(r, s))
        return BMD_BAD_ARGUMENT;
    if ((unsigned)alg >= BMD_ALGS || (r->info.algs & 1u << alg) == 0)
        return BMD_NOT_SUPPORTED;
    if ((flags & BMD_GEN_DERIVE) != 0 && (r->info.caps & BMD_CAP_DERIVE) == 0)
        return BMD_NOT_SUPPORTED;
    return r->driver->key_generate(r->ctx, s, alg, usage, flags, ret);
}

static bool point_ok(const uint8_t *p, size_t n)
{
    return n == 32 || ((n == 65 || n == 97) && p[0] == 0x04);
}

enum bmd_rc bmd_rot_key_public(struct bmd_rot *r, bmd_key k, uint8_t *ret, size_t *ret_len)
{
    enum bmd_rc rc = may(r, HAS(r, key_public), k != 0 && ret != NULL && ret_len != NULL);
    size_t room;

    if (rc != BMD_OK)
        return rc;
    room = *ret_len;
    rc = checked(r->driver->key_public(r->ctx, k, ret, ret_len), room, *ret_len);
    return rc == BMD_OK && !point_ok(ret, *ret_len) ? BMD_INTERNAL : rc;
}

/* A hash takes exactly its length; none means a message, of which at least one byte. */
static bool sign_input_ok(const struct bmd_rot *r, enum bmd_hash h, struct bmd_rd data)
{
    if (data.p == NULL || data.n == 0)
        return false;
    if (h == BMD_HASH_NONE)
        return (r->info.caps & BMD_CAP_SIGN_MESSAGE) != 0 || (r->info.algs & 1u << BMD_ED25519) != 0;
    return data.n == bmd_hash_len(h);
}

enum bmd_rc bmd_rot_sign(struct bmd_rot *r, bmd_key k, enum bmd_hash h, struct bmd_rd data, uint8_t *ret, size_t *ret_len)
{
    enum bmd_rc rc = may(r, HAS(r, sign), k != 0 && ret != NULL && ret_len != NULL);
    size_t room;

    if (rc != BMD_OK)
        return rc;
    if (!sign_input_ok(r, h, data))
        return BMD_BAD_ARGUMENT;
    room = *ret_len;
    rc = checked(r->driver->sign(r->ctx, k, h, data, ret, ret_len), room, *ret_len);
    return rc == BMD_OK && *ret_len != 64 && *ret_len != 96 ? BMD_INTERNAL : rc;
}

enum bmd_rc bmd_rot_agree(struct bmd_rot *r, bmd_key k, const struct bmd_agree *with, uint8_t *ret, size_t *ret_len)
{
    enum bmd_rc rc = may(r, HAS(r, agree), k != 0 && with != NULL && ret != NULL && ret_len != NULL);
    size_t room;

    if (rc != BMD_OK)
        return rc;
    if (with->peer.p == NULL || !point_ok(with->peer.p, with->peer.n))
        return BMD_BAD_ARGUMENT;
    room = *ret_len;
    return checked(r->driver->agree(r->ctx, k, with, ret, ret_len), room, *ret_len);
}

enum bmd_rc bmd_rot_challenge(struct bmd_rot *r, bmd_key k, enum bmd_challenge_kind kind, struct bmd_rd in, uint8_t *ret,
                              size_t *ret_len)
{
    enum bmd_rc rc = may(r, HAS(r, challenge), k != 0 && ret != NULL && ret_len != NULL && rd_ok(in, BMD_ROT_CHALLENGE_MAX));
    size_t room;

    if (rc != BMD_OK)
        return rc;
    if ((unsigned)kind >= BMD_CHALLENGE_KINDS || in.n == 0)
        return BMD_BAD_ARGUMENT;
    room = *ret_len;
    return checked(r->driver->challenge(r->ctx, k, kind, in, ret, ret_len), room, *ret_len);
}

enum bmd_rc bmd_rot_seal(struct bmd_rot *r, struct bmd_rd label, struct bmd_rd plain, uint8_t *ret, size_t *ret_len)
{
    bool ok = ret != NULL && ret_len != NULL && rd_ok(label, BMD_ROT_LABEL_MAX) && rd_ok(plain, BMD_ROT_SEAL_PLAIN_MAX);
    enum bmd_rc rc = may(r, HAS(r, seal), ok);
    size_t room;

    if (rc != BMD_OK)
        return rc;
    room = *ret_len;
    return checked(r->driver->seal(r->ctx, label, plain, ret, ret_len), room, *ret_len);
}

enum bmd_rc bmd_rot_unseal(struct bmd_rot *r, struct bmd_rd label, struct bmd_rd blob, uint8_t *ret, size_t *ret_len)
{
    bool ok = ret != NULL && ret_len != NULL && rd_ok(label, BMD_ROT_LABEL_MAX) &&
              rd_ok(blob, BMD_ROT_SEAL_PLAIN_MAX + BMD_ROT_SEAL_OVERHEAD) && blob.n != 0;
    enum bmd_rc rc = may(r, HAS(r, unseal), ok);
    size_t room;

    if (rc != BMD_OK)
        return rc;
    room = *ret_len;
    return checked(r->driver->unseal(r->ctx, label, blob, ret, ret_len), room, *ret_len);
}

enum bmd_rc bmd_rot_store_read(struct bmd_rot *r, uint32_t object, size_t offset, uint8_t *ret, size_t *ret_len)
{
    enum bmd_rc rc = may(r, HAS(r, store_read), ret != NULL && ret_len != NULL);
    size_t room;

    if (rc != BMD_OK)
        return rc;
    room = *ret_len;
    return checked(r->driver->store_read(r->ctx, object, offset, ret, ret_len), room, *ret_len);
}

enum bmd_rc bmd_rot_store_write(struct bmd_rot *r, uint32_t object, size_t offset, struct bmd_rd data)
{
    enum bmd_rc rc = may(r, HAS(r, store_write), data.p != NULL && data.n != 0 && offset <= SIZE_MAX - data.n);

    return rc == BMD_OK ? r->driver->store_write(r->ctx, object, offset, data) : rc;
}

enum bmd_rc bmd_rot_counter(struct bmd_rot *r, uint32_t number, bool increment, uint64_t *ret)
{
    enum bmd_rc rc = may(r, HAS(r, counter), ret != NULL);

    return rc == BMD_OK ? r->driver->counter(r->ctx, number, increment, ret) : rc;
}

enum bmd_rc bmd_rot_attest(struct bmd_rot *r, enum bmd_attest_format kind, struct bmd_rd nonce, bmd_key k,
                           enum bmd_attest_format *ret_format, uint8_t *ret, size_t *ret_len)
{
    bool ok = ret_format != NULL && ret != NULL && ret_len != NULL && rd_ok(nonce, BMD_ROT_CHALLENGE_MAX);
    enum bmd_rc rc = may(r, HAS(r, attest), ok);
    size_t room;

    if (rc != BMD_OK)
        return rc;
    room = *ret_len;
    return checked(r->driver->attest(r->ctx, kind, nonce, k, ret_format, ret, ret_len), room, *ret_len);
}

enum bmd_rc bmd_rot_credential_open(struct bmd_rot *r, bmd_key k, struct bmd_rd blob, uint8_t *ret, size_t *ret_len)
{
    bool ok = k != 0 && ret != NULL && ret_len != NULL && rd_ok(blob, BMD_ROT_BLOB_MAX) && blob.n != 0;
    enum bmd_rc rc = may(r, HAS(r, credential_open), ok);
    size_t room;

    if (rc != BMD_OK)
        return rc;
    room = *ret_len;
    return checked(r->driver->credential_open(r->ctx, k, blob, ret, ret_len), room, *ret_len);
}

enum bmd_rc bmd_rot_key_import(struct bmd_rot *r, const struct bmd_selector *s, uint32_t format, struct bmd_rd blob, bmd_key *ret)
{
    enum bmd_rc rc = may(r, HAS(r, key_import), ret != NULL && rd_ok(blob, BMD_ROT_BLOB_MAX) && blob.n != 0);

    if (rc != BMD_OK)
        return rc;
    return selector_ok(r, s) ? r->driver->key_import(r->ctx, s, format, blob, ret) : BMD_BAD_ARGUMENT;
}

enum bmd_rc bmd_rot_key_erase(struct bmd_rot *r, const struct bmd_selector *s)
{
    enum bmd_rc rc = may(r, HAS(r, key_erase), true);

    if (rc != BMD_OK)
        return rc;
    return selector_ok(r, s) ? r->driver->key_erase(r->ctx, s) : BMD_BAD_ARGUMENT; /* what lock forbids, the part knows */
}

enum bmd_rc bmd_rot_lock(struct bmd_rot *r)
{
    enum bmd_rc rc = may(r, HAS(r, lock), true);

    if (rc == BMD_OK)
        rc = r->driver->lock(r->ctx);
    if (rc == BMD_OK)
        r->info.locked = 1;
    return rc;
}

int32_t bmd_rot_last_detail(struct bmd_rot *r)
{
    return HAS(r, last_detail) ? r->driver->last_detail(r->ctx) : 0;
}
