/* A device that proves with a MAC over the challenge that it holds the secret key the registry has for it. To strangers there is one refusal:
 * whether the UDID is unknown, has a key pair, or the MAC is wrong, is for the operator alone ('birthmark why'). */
#include "keeper/symmetric.h"

#include <openssl/rand.h>

struct known {
    struct bm_mac_key key;
    const struct bm_mac_alg *alg;
    struct bm_buf secret;
};

static void known_done(struct known *n)
{
    bm_mac_key_done(&n->key);
    bm_buf_done(&n->secret);
}

static enum bm_rc check_shape(const struct bm_enrol *c, struct bm_error *e)
{
    const struct bm_evidence *v = &c->evidence;

    if (v->cert.n != 0 || v->n_chain != 0 || v->spki.n != 0 || v->handshake.n != 0 || v->verify.n != 0 || v->code.n != 0)
        return bm_refuse(e, BM_MALFORMED, "evidence-ambiguous", "a MAC stands alone: no key and no certificate beside it");
    if (c->claimed_udid.n != BM_UDID_LEN)
        return bm_refuse(e, BM_DENIED, "no-evidence", "a device with a secret key must say its UDID");
    return BM_OK;
}

/* --- the same work for a device that is not there -------------------------------------------------------------------------------- */
static enum bm_rc decoy_make(struct bm_keeper *k, struct bm_secrets *s, const struct bm_kek_row *r, struct bm_error *e)
{
    uint8_t random[32];
    const struct bm_kek *kek;
    enum bm_rc rc = RAND_bytes(random, sizeof random) == 1 ? bm_kek_get(k, r->id, &kek, e) : BM_BUG;

    s->decoy.n = 0;
    s->decoy.max = 256;
    if (rc == BM_OK)
        rc = bm_kek_seal(kek, bm_rd_str(""), bm_rd_of(random, sizeof random), &s->decoy, e);
    s->decoy_kek = rc == BM_OK ? r->id : 0;
    return rc;
}

/* Opening a sealed key and computing a MAC, so that an answer does not come back much sooner for a UDID that nobody has. Lookups in the
 * database take what they take: docs/symmetric.md. */
static void decoy_work(struct bm_keeper *k, struct bm_rd tbs)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf plain = { .max = 256 };
    struct bm_secrets *s;
    struct bm_kek_row r;
    const struct bm_kek *kek;
    uint8_t mac[BM_MAC_MAX];

    if (bm_secrets_get(k, &s, NULL) != BM_OK || bm_kek_in(k->store, BM_KEK_ACTIVE, &r, NULL) != BM_OK)
        return;
    if (s->decoy_kek != r.id && decoy_make(k, s, &r, NULL) != BM_OK)
        return;
    if (bm_kek_get(k, r.id, &kek, NULL) == BM_OK && bm_kek_unseal(kek, bm_rd_str(""), bm_buf_rd(&s->decoy), &plain, NULL) == BM_OK)
        (void)!bm_mac_make(&bm_mac_algs[0], bm_buf_rd(&plain), tbs, mac, NULL);
}

/* --- the judgement -------------------------------------------------------------------------------------------------------------- */
/* BM_NOTFOUND with a sentence for the operator. */
static enum bm_rc find(struct bm_keeper *k, const struct bm_enrol *c, struct bm_proven *who, struct known *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_device_get(k->store, c->claimed_udid.p, &who->device, e);

    if (rc == BM_NOTFOUND)
        return bm_fail(e, rc, "no device with this UDID is registered; was its manifest imported?");
    if (rc == BM_OK)
        rc = bm_mac_key_of(k->store, who->device.id, &ret->key, e);
    if (rc == BM_NOTFOUND)
        return bm_fail(e, rc, "the device of this UDID has a key pair, or a maker that vouches for its keys: it makes no MAC");
    if (rc == BM_OK && (ret->alg = bm_mac_find(bm_rd_str(ret->key.alg))) == NULL)
        return bm_fail(e, BM_NOTFOUND, "its kind of MAC, '%s', is not known to this program", ret->key.alg);
    return rc;
}

static enum bm_rc check(struct bm_keeper *k, const struct bm_enrol *c, struct known *n, struct bm_rd tbs, struct bm_error *e)
{
    enum bm_rc rc;

    n->secret.max = BM_MAC_KEY_MAX;
    rc = bm_mac_open(k, c->claimed_udid.p, &n->key, &n->secret, e);
    if (rc != BM_OK) /* its row or the key-encryption key: one device's trouble must not become everybody's */
        return bm_wrap(e, BM_NOTFOUND, "its key cannot be opened");
    return bm_mac_check(n->alg, bm_buf_rd(&n->secret), tbs, c->evidence.signature, e);
}

/* Wrong MACs are counted for a device and an address together: a stranger who knows a UDID cannot lock the device itself out. UDIDs that nobody
 * has count just the same, so that being limited tells nothing. */
enum { GUESSER_MAX = BM_UDID_LEN + sizeof((struct bm_enrol *)NULL)->peer };

static struct bm_rd guesser_of(const struct bm_enrol *c, uint8_t name[GUESSER_MAX])
{
    struct bm_wr w = bm_wr_of(name, GUESSER_MAX);
    uint8_t room[16];
    struct bm_rd address = bm_attempts_address(c->peer, room);

    bm_wr_put(&w, c->claimed_udid.p, c->claimed_udid.n);
    bm_wr_put(&w, address.p, address.n);
    return bm_wr_rd(&w);
}

static enum bm_rc check_limit(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_error *e)
{
    uint8_t name[GUESSER_MAX];

    if (bm_attempts_of(k, BM_GUESS_MAC, guesser_of(c, name), now) >= BM_MAC_WRONG_MAX)
        return bm_refuse(e, BM_AGAIN, "mac-rate-limited", "too many wrong MACs for this device from this address; wait %d seconds",
                         BM_MAC_WRONG_WINDOW_S);
    return BM_OK;
}

/* The truth goes to the record, and nothing of it outside. */
static enum bm_rc refuse(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_error *e)
{
    struct bm_error told = { 0 };
    uint8_t name[GUESSER_MAX];

    if (e == NULL)
        e = &told;
    k->truth = *e;
    (void)bm_attempts_add(k, BM_GUESS_MAC, guesser_of(c, name), now);
    return bm_refuse(e, BM_DENIED, "mac-refused", "no device with this UDID and this secret key is known here");
}

enum bm_rc bm_evidence_mac(struct bm_keeper *k, uint8_t op, const struct bm_enrol *c, int64_t now, struct bm_proven *ret,
                           struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf tbs = { .max = BM_COMMAND_MAX };
    BM_CLEANUP(known_done) struct known n = { 0 };
    enum bm_rc rc = check_shape(c, e);

    if (rc == BM_OK)
        rc = bm_challenge_check(k, c->evidence.challenge, now, e);
    if (rc == BM_OK)
        rc = check_limit(k, c, now, e);
    if (rc != BM_OK)
        return rc;
    bm_enrol_tbs(&tbs, op, c);
    rc = bm_buf_check(&tbs, e);
    if (rc == BM_OK)
        rc = find(k, c, ret, &n, e);
    if (rc == BM_OK)
        rc = check(k, c, &n, bm_buf_rd(&tbs), e);
    else if (rc == BM_NOTFOUND)
        decoy_work(k, bm_buf_rd(&tbs));
    if (rc == BM_NOTFOUND || rc == BM_DENIED)
        return refuse(k, c, now, e);
    return rc == BM_OK ? bm_challenge_use(k, c->evidence.challenge, now, e) : rc;
}
