#include "pki/kek.h"

#include "pki/impl.h"

static enum bm_rc find(const char *uri, const struct bm_kek_driver **ret, const char **ret_name, struct bm_error *e)
{
    const struct bm_key_driver *d;
    enum bm_rc rc = bm_key_driver_find(uri, &d, ret_name, e);

    if (rc == BM_OK && d->kek == NULL)
        rc = bm_fail(e, BM_USAGE, "keys of the kind '%s' cannot seal others", d->scheme);
    if (rc == BM_OK)
        *ret = d->kek;
    return rc;
}

enum bm_rc bm_kek_generate(const struct bm_keyring *ring, const char *uri, struct bm_error *e)
{
    const struct bm_kek_driver *d;
    const char *name;
    enum bm_rc rc = find(uri, &d, &name, e);

    return rc != BM_OK ? rc : d->generate(ring, name, e);
}

enum bm_rc bm_kek_open(const struct bm_keyring *ring, const char *uri, struct bm_kek **ret, struct bm_error *e)
{
    const struct bm_kek_driver *d;
    const char *name;
    enum bm_rc rc = find(uri, &d, &name, e);

    return rc != BM_OK ? rc : d->open(ring, name, ret, e);
}

enum bm_rc bm_kek_destroy(const struct bm_keyring *ring, const char *uri, struct bm_error *e)
{
    const struct bm_kek_driver *d;
    const char *name;
    enum bm_rc rc = find(uri, &d, &name, e);

    return rc != BM_OK ? rc : d->destroy(ring, name, e);
}

void bm_kek_close(struct bm_kek *k)
{
    if (k != NULL)
        k->driver->close(k);
}

void bm_kek_closep(struct bm_kek **k)
{
    bm_kek_close(*k);
    *k = NULL;
}

enum bm_rc bm_kek_seal(const struct bm_kek *k, struct bm_rd aad, struct bm_rd plain, struct bm_buf *ret, struct bm_error *e)
{
    return k->driver->seal(k, aad, plain, ret, e);
}

enum bm_rc bm_kek_unseal(const struct bm_kek *k, struct bm_rd aad, struct bm_rd sealed, struct bm_buf *ret, struct bm_error *e)
{
    return k->driver->unseal(k, aad, sealed, ret, e);
}
