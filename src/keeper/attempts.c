/* Wrong codes, counted by the address they come from and by the name they are tried on, in memory of fixed size. A code cannot be guessed
 * anyhow (base/code.h); this keeps the guessing cheap for us and visible. Who names a target cannot lock others out of it: once a target
 * has had too many wrong codes, only addresses that have sent wrong ones themselves are turned away. A restart forgets all. */
#include "keeper/internal.h"

#include <arpa/inet.h>
#include <openssl/hmac.h>
#include <stdlib.h>

enum { SETS = 1024, WAYS = 4, KEY_LEN = 16 };

struct tries {
    uint8_t key[KEY_LEN];
    int64_t since; /* Unix seconds of the first wrong one; 0: free */
    uint32_t wrong;
};

struct bm_attempts {
    struct tries by_address[SETS][WAYS], by_target[SETS][WAYS];
};

/* Keyed, so that nobody can choose names that fall into one set. */
static void key_of(const struct bm_keeper *k, struct bm_rd name, uint8_t ret[KEY_LEN])
{
    uint8_t whole[32];
    unsigned n = sizeof whole;

    if (HMAC(EVP_sha256(), k->challenge_key, sizeof k->challenge_key, name.p, name.n, whole, &n) == NULL)
        abort(); /* out of memory at 32 bytes: nothing sensible is left to do */
    memcpy(ret, whole, KEY_LEN);
}

/* The slot of this name: its own, or else the one to be taken for it, which is free, over, or the oldest of its set. */
static struct tries *slot_of(const struct bm_keeper *k, struct tries table[SETS][WAYS], struct bm_rd name, int64_t now)
{
    uint8_t key[KEY_LEN];
    struct tries *set, *oldest;
    uint16_t at;

    key_of(k, name, key);
    memcpy(&at, key, sizeof at);
    set = oldest = table[at % SETS];
    for (size_t i = 0; i < WAYS; i++) {
        if (now - set[i].since >= BM_CODE_TRIES_S || set[i].since > now)
            set[i] = (struct tries){ .since = 0 };
        if (set[i].since != 0 && memcmp(set[i].key, key, KEY_LEN) == 0)
            return &set[i];
        oldest = set[i].since < oldest->since ? &set[i] : oldest;
    }
    *oldest = (struct tries){ .since = 0 };
    memcpy(oldest->key, key, KEY_LEN);
    return oldest;
}

/* One who has an IPv6 network has 2^64 addresses: its first half counts. */
static struct bm_rd address_of(const char *peer, struct in6_addr *room)
{
    return inet_pton(AF_INET6, peer, room) == 1 ? bm_rd_of(room, 8) : bm_rd_str(peer);
}

static bool ready(struct bm_keeper *k)
{
    if (k->attempts == NULL)
        k->attempts = calloc(1, sizeof *k->attempts);
    return k->attempts != NULL;
}

enum bm_rc bm_attempts_check(struct bm_keeper *k, const char *peer, struct bm_rd target, int64_t now, struct bm_error *e)
{
    struct in6_addr room;
    uint32_t own;

    if (!ready(k))
        return bm_fail(e, BM_NOMEM, "no memory to count wrong codes in");
    own = slot_of(k, k->attempts->by_address, address_of(peer, &room), now)->wrong;
    if (own >= BM_CODE_TRIES_ADDRESS ||
        (own != 0 && slot_of(k, k->attempts->by_target, target, now)->wrong >= BM_CODE_TRIES_TARGET))
        return bm_refuse(e, BM_AGAIN, "too-many-attempts", "too many wrong codes; wait %d seconds before the next one",
                         BM_CODE_TRIES_S);
    return BM_OK;
}

static void count(struct tries *t, int64_t now)
{
    t->since = t->since != 0 ? t->since : now;
    t->wrong += t->wrong < UINT32_MAX;
}

void bm_attempts_wrong(struct bm_keeper *k, const char *peer, struct bm_rd target, int64_t now)
{
    struct in6_addr room;

    if (!ready(k))
        return;
    count(slot_of(k, k->attempts->by_address, address_of(peer, &room), now), now);
    count(slot_of(k, k->attempts->by_target, target, now), now);
}

void bm_attempts_drop(struct bm_keeper *k)
{
    free(BM_MOVE(k->attempts));
}
