/* What the door answers to an ACME CA that looks for us at a device's name (http-01, RFC 8555 section 8.3): the token it asks for and the thumbprint of our
 * account's key. The same for every token, so workers need nothing but the thumbprint, which is public; whoever asks for a token of his own account gets
 * ours, and his CA takes that for nothing. */
#include "keeper/upstream_acme.h"

#include "base/text.h"

#include <stdio.h>

struct looking {
    struct bm_keeper *k;
    char *ret;
};

static enum bm_rc thumbprint_of(struct bm_keeper *k, const struct bm_upstream *u, char ret[BM_ACME_THUMBPRINT_LEN],
                                struct bm_error *e)
{
    BM_CLEANUP(bm_upstream_secret_done) struct bm_upstream_secret s = { 0 };
    BM_CLEANUP(bm_key_freep) struct bm_key *key = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_ACME_THUMBPRINT_LEN };
    uint8_t thumbprint[32];
    enum bm_rc rc = bm_upstream_open(k, u, &s, e);

    if (rc != BM_OK)
        return rc;
    key = bm_acme_account_key(&s, e);
    if (key == NULL)
        return BM_USAGE;
    rc = bm_jwk_thumbprint(bm_key_spki(key), thumbprint, e);
    bm_base64url(&text, bm_rd_of(thumbprint, sizeof thumbprint));
    if (rc == BM_OK)
        snprintf(ret, BM_ACME_THUMBPRINT_LEN, "%.*s", (int)text.n, (const char *)text.p);
    return rc;
}

/* The first that wants it. A secret that cannot be opened now is not the view's affair. */
static enum bm_rc look(void *arg, const struct bm_ca *ca, struct bm_error *e)
{
    BM_CLEANUP(bm_upstream_done) struct bm_upstream u = { 0 };
    struct looking *l = arg;
    char challenge[32];
    enum bm_rc rc;

    if (l->ret[0] != '\0' || !bm_ca_is_upstream(ca))
        return BM_OK;
    rc = bm_upstream_get(l->k->store, ca->id, &u, e);
    if (rc == BM_OK && strcmp(u.driver, bm_upstream_acme.name) == 0 &&
        bm_cloud_option(&u, "challenge", challenge, sizeof challenge) && strcmp(challenge, "http-01") == 0 &&
        thumbprint_of(l->k, &u, l->ret, NULL) != BM_OK)
        l->ret[0] = '\0';
    return rc == BM_IO ? rc : BM_OK;
}

enum bm_rc bm_upstream_thumbprint(struct bm_keeper *k, char ret[BM_ACME_THUMBPRINT_LEN], struct bm_error *e)
{
    struct looking l = { k, ret };

    ret[0] = '\0';
    return bm_ca_each(k->store, look, &l, e);
}
