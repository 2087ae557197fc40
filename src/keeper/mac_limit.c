/* A bound on wrong MACs for one device from one address. Guessing a MAC of 128 bits is hopeless with or without it; it keeps a stranger from
 * filling the record of a device with refusals. It counts per address, so that a stranger who knows a UDID cannot lock the device itself out,
 * and for UDIDs that nobody has just the same, so that being limited tells nothing. The table has a fixed size: on a collision the newcomer
 * takes the slot. */
#include "keeper/symmetric.h"

#include <openssl/hmac.h>

/* The address without its port, which a stranger may choose. */
static struct bm_rd address_of(const char *peer)
{
    const char *colon = strrchr(peer, ':');

    return bm_rd_of(peer, colon != NULL ? (size_t)(colon - peer) : strlen(peer));
}

static uint64_t tag_of(const struct bm_keeper *k, const struct bm_enrol *c)
{
    uint8_t text[BM_UDID_LEN + sizeof c->peer], mac[32];
    struct bm_wr w = bm_wr_of(text, sizeof text);
    struct bm_rd address = address_of(c->peer), head;
    uint64_t tag = 0;
    unsigned n = sizeof mac;

    bm_wr_put(&w, c->claimed_udid.p, c->claimed_udid.n);
    bm_wr_put(&w, address.p, address.n);
    if (HMAC(EVP_sha256(), k->challenge_key, sizeof k->challenge_key, text, w.n, mac, &n) == NULL)
        return 0;
    head = bm_rd_of(mac, sizeof tag);
    (void)bm_rd_u64(&head, &tag);
    return tag;
}

enum bm_rc bm_mac_limit_check(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_error *e)
{
    struct bm_secrets *s;
    uint64_t tag = tag_of(k, c);
    enum bm_rc rc = bm_secrets_get(k, &s, e);
    size_t i = tag % BM_MAC_LIMIT_SLOTS;

    if (rc != BM_OK || s->wrong[i].tag != tag || now - s->wrong[i].since >= BM_MAC_WRONG_WINDOW_S ||
        s->wrong[i].n < BM_MAC_WRONG_MAX)
        return rc;
    return bm_refuse(e, BM_AGAIN, "mac-rate-limited", "too many wrong MACs for this device from this address; wait %d seconds",
                     BM_MAC_WRONG_WINDOW_S);
}

void bm_mac_limit_count(struct bm_keeper *k, const struct bm_enrol *c, int64_t now)
{
    struct bm_secrets *s;
    uint64_t tag = tag_of(k, c);
    size_t i = tag % BM_MAC_LIMIT_SLOTS;

    if (bm_secrets_get(k, &s, NULL) != BM_OK)
        return;
    if (s->wrong[i].tag != tag || now - s->wrong[i].since >= BM_MAC_WRONG_WINDOW_S) {
        s->wrong[i].tag = tag;
        s->wrong[i].since = now;
        s->wrong[i].n = 0;
    }
    s->wrong[i].n++;
}
