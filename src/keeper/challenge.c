/* Challenges carry their own proof: random, host and expiry, and a MAC under a key that lives as long as this process. Nothing is stored until one has
 * been answered with a good signature; from then on it is remembered until it expires. A restart makes a new key, so no challenge
 * of before is good after. */
#include "keeper/internal.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>

enum { RANDOM_LEN = 16, MAC_LEN = 24, HEAD_LEN = RANDOM_LEN + 8 };
_Static_assert(HEAD_LEN + MAC_LEN == BM_CHALLENGE_LEN, "parts add up");

static EVP_MAC_CTX *keyed(const struct bm_keeper *k)
{
    OSSL_PARAM digest[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){ "SHA256" }, 0), OSSL_PARAM_END };
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *c = EVP_MAC_CTX_new(hmac);

    EVP_MAC_free(hmac); /* the context holds its own */
    if (c == NULL || EVP_MAC_init(c, k->challenge_key, sizeof k->challenge_key, digest) != 1)
        abort();
    return c;
}

/* HMAC-SHA-256. Its context is kept, since looking the algorithm up costs several times what it does. Out of memory here, nothing sensible is
 * left to do. */
void bm_challenge_mac(struct bm_keeper *k, struct bm_rd in, uint8_t ret[32])
{
    size_t n;

    if (k->challenge_mac == NULL)
        k->challenge_mac = keyed(k);
    else if (EVP_MAC_init(k->challenge_mac, NULL, 0, NULL) != 1)
        abort();
    if (EVP_MAC_update(k->challenge_mac, in.p, in.n) != 1 || EVP_MAC_final(k->challenge_mac, ret, &n, 32) != 1 || n != 32)
        abort();
}

static void mac(struct bm_keeper *k, const uint8_t head[HEAD_LEN], uint8_t ret[MAC_LEN])
{
    uint8_t whole[32];

    bm_challenge_mac(k, bm_rd_of(head, HEAD_LEN), whole);
    memcpy(ret, whole, MAC_LEN);
}

void bm_challenge_make(struct bm_keeper *k, int64_t now, uint8_t ret[BM_CHALLENGE_LEN])
{
    struct bm_wr w = bm_wr_of(ret + RANDOM_LEN, 8);

    if (RAND_bytes(ret, RANDOM_LEN) != 1)
        abort();
    bm_wr_uint(&w, 2, (uint64_t)k->host.id);
    bm_wr_uint(&w, 6, (uint64_t)(now + BM_CHALLENGE_TTL_S));
    mac(k, ret, ret + HEAD_LEN);
}

static struct bm_used_challenge *slot_of(struct bm_used_challenge *table, size_t cap, const uint8_t random[RANDOM_LEN])
{
    size_t i;

    memcpy(&i, random, sizeof i);
    for (i &= cap - 1; table[i].expires_at != 0 && memcmp(table[i].random, random, RANDOM_LEN) != 0; i = (i + 1) & (cap - 1))
        ;
    return &table[i];
}

static uint64_t number_at(struct bm_rd challenge, size_t at, size_t n)
{
    struct bm_rd r = bm_rd_of(challenge.p + at, n);
    uint64_t v = 0;

    return bm_rd_uint(&r, n, &v) ? v : 0;
}

static int64_t host_of(struct bm_rd challenge)
{
    return (int64_t)number_at(challenge, RANDOM_LEN, 2);
}

static int64_t expiry_of(struct bm_rd challenge)
{
    return (int64_t)number_at(challenge, RANDOM_LEN + 2, 6);
}

static bool is_used(const struct bm_keeper *k, const uint8_t random[RANDOM_LEN])
{
    const struct bm_used_challenge *u = k->used_cap != 0 ? slot_of(k->used, k->used_cap, random) : NULL;

    return u != NULL && u->expires_at != 0 && !u->undone;
}

enum bm_rc bm_challenge_check(struct bm_keeper *k, struct bm_rd challenge, int64_t now, struct bm_error *e)
{
    uint8_t want[MAC_LEN];

    if (challenge.n != BM_CHALLENGE_LEN)
        return bm_refuse(e, BM_MALFORMED, "challenge-malformed", "a challenge has %d bytes, this one %zu", BM_CHALLENGE_LEN,
                         challenge.n);
    if (k->host.n > 1 && host_of(challenge) != k->host.id)
        return bm_refuse(e, BM_DENIED, "challenge-elsewhere",
                         "another host of this registry made this challenge; ask this one for a new one");
    mac(k, challenge.p, want);
    if (!bm_secret_eq(want, challenge.p + HEAD_LEN, MAC_LEN))
        return bm_refuse(e, BM_DENIED, "challenge-unknown",
                         "this server did not make this challenge, or has been restarted since; ask for a new one");
    if (expiry_of(challenge) < now)
        return bm_refuse(e, BM_DENIED, "challenge-expired", "the challenge is older than %d seconds; ask for a new one",
                         BM_CHALLENGE_TTL_S);
    if (is_used(k, challenge.p))
        return bm_refuse(e, BM_DENIED, "challenge-used", "this challenge has been answered before; ask for a new one");
    return BM_OK;
}

/* Into a fresh table: expired ones are left behind, and it doubles while still more than half full. */
static enum bm_rc rehash(struct bm_keeper *k, int64_t now, struct bm_error *e)
{
    struct bm_used_challenge *table;
    size_t live = 0, cap = 1024;

    for (size_t i = 0; i < k->used_cap; i++)
        live += k->used[i].expires_at >= now && k->used[i].expires_at != 0;
    if (live >= BM_CHALLENGES_USED_MAX)
        return bm_refuse(e, BM_AGAIN, "busy", "too many challenges have been answered within %d seconds", BM_CHALLENGE_TTL_S);
    while (cap < 4 * live)
        cap *= 2;
    table = calloc(cap, sizeof *table);
    if (table == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for challenges");
    for (size_t i = 0; i < k->used_cap; i++)
        if (k->used[i].expires_at != 0 && k->used[i].expires_at >= now)
            *slot_of(table, cap, k->used[i].random) = k->used[i];
    free(k->used);
    k->used = table;
    k->used_cap = cap;
    k->used_n = live;
    return BM_OK;
}

/* Only where hosts collide are commands run twice. */
static enum bm_rc note_fresh(struct bm_keeper *k, const uint8_t random[RANDOM_LEN], struct bm_error *e)
{
    void *more;

    if (k->host.n <= 1)
        return BM_OK;
    if (k->n_fresh == k->fresh_cap) {
        more = reallocarray(k->fresh, k->fresh_cap + BM_BATCH_COMMANDS, sizeof *k->fresh);
        if (more == NULL)
            return bm_fail(e, BM_NOMEM, "no memory for challenges");
        k->fresh = more;
        k->fresh_cap += BM_BATCH_COMMANDS;
    }
    memcpy(k->fresh[k->n_fresh++], random, RANDOM_LEN);
    return BM_OK;
}

void bm_challenges_settled(struct bm_keeper *k, bool undo)
{
    for (size_t i = 0; undo && i < k->n_fresh; i++)
        slot_of(k->used, k->used_cap, k->fresh[i])->undone = true;
    k->n_fresh = 0;
}

enum bm_rc bm_challenge_use(struct bm_keeper *k, struct bm_rd challenge, int64_t now, struct bm_error *e)
{
    struct bm_used_challenge *u;

    if (2 * (k->used_n + 1) > k->used_cap) {
        enum bm_rc rc = rehash(k, now, e);

        if (rc != BM_OK)
            return rc;
    }
    u = slot_of(k->used, k->used_cap, challenge.p);
    k->used_n += u->expires_at == 0;
    memcpy(u->random, challenge.p, RANDOM_LEN);
    u->expires_at = expiry_of(challenge);
    u->undone = false;
    return note_fresh(k, challenge.p, e);
}
