/* Keys that are somewhere else for good: of a root on an offline host, whose certificate we know. */
#include "pki/impl.h"

static enum bm_rc elsewhere(const struct bm_keyring *ring, const char *name, struct bm_key **ret, struct bm_error *e)
{
    (void)ring, (void)ret;
    return bm_refuse(e, BM_DENIED, "key-elsewhere", "the key of '%s' is not on this server, so nothing can be signed with it here",
                     name);
}

static enum bm_rc never(const struct bm_keyring *ring, const char *name, const char *alg, struct bm_error *e)
{
    (void)alg;
    return elsewhere(ring, name, NULL, e);
}

const struct bm_key_driver bm_key_external = { .scheme = "external", .generate = never, .open = elsewhere };
