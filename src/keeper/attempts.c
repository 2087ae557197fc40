/* Wrong guesses, counted for a while by the name they go by, in memory of fixed size. Nothing that is guessed at here can be guessed (codes and
 * MACs have 128 bits, tokens 256); this keeps the guessing cheap for us and visible. A restart forgets all. */
#include "keeper/internal.h"

#include <arpa/inet.h>
#include <stdlib.h>

enum { SETS = 1024, WAYS = 4, KEY_LEN = 16 };

struct tries {
    uint8_t key[KEY_LEN];
    int64_t since; /* Unix seconds of the first wrong one; 0: free */
    uint32_t wrong;
};

struct bm_attempts {
    struct tries of[SETS][WAYS];
};

static const int window_s[BM_GUESSES] = {
    [BM_GUESS_CODE_ADDRESS] = BM_CODE_TRIES_S,
    [BM_GUESS_CODE_TARGET] = BM_CODE_TRIES_S,
    [BM_GUESS_TOKEN] = BM_API_WRONG_TOKENS_S,
    [BM_GUESS_MAC] = BM_MAC_WRONG_WINDOW_S,
    [BM_GUESS_ACME_ORDER] = 60,
    [BM_GUESS_SCEP_ADDRESS] = BM_SCEP_COUNTED_S,
    [BM_GUESS_SCEP_KEY] = BM_SCEP_COUNTED_S,
};

/* Keyed, so that nobody can choose names that fall into one set. */
static void key_of(struct bm_keeper *k, struct bm_rd name, uint8_t ret[KEY_LEN])
{
    uint8_t whole[32];

    bm_challenge_mac(k, name, whole);
    memcpy(ret, whole, KEY_LEN);
}

/* The slot of this name: its own, or else the one to be taken for it, which is free, over, or the oldest of its set. NULL: out of memory. */
static struct tries *slot_of(struct bm_keeper *k, enum bm_guess what, struct bm_rd name, int64_t now)
{
    uint8_t key[KEY_LEN];
    struct tries *set, *oldest;
    uint16_t at;

    if (k->attempts[what] == NULL && (k->attempts[what] = calloc(1, sizeof *k->attempts[what])) == NULL)
        return NULL;
    key_of(k, name, key);
    memcpy(&at, key, sizeof at);
    set = oldest = k->attempts[what]->of[at % SETS];
    for (size_t i = 0; i < WAYS; i++) {
        if (now - set[i].since >= window_s[what] || set[i].since > now)
            set[i] = (struct tries){ .since = 0 };
        if (set[i].since != 0 && memcmp(set[i].key, key, KEY_LEN) == 0)
            return &set[i];
        oldest = set[i].since < oldest->since ? &set[i] : oldest;
    }
    *oldest = (struct tries){ .since = 0 };
    memcpy(oldest->key, key, KEY_LEN);
    return oldest;
}

uint32_t bm_attempts_of(struct bm_keeper *k, enum bm_guess what, struct bm_rd name, int64_t now)
{
    const struct tries *t = slot_of(k, what, name, now);

    return t != NULL ? t->wrong : UINT32_MAX;
}

uint32_t bm_attempts_add(struct bm_keeper *k, enum bm_guess what, struct bm_rd name, int64_t now)
{
    struct tries *t = slot_of(k, what, name, now);

    if (t == NULL)
        return UINT32_MAX;
    t->since = t->since != 0 ? t->since : now;
    t->wrong += t->wrong < UINT32_MAX;
    return t->wrong;
}

struct bm_rd bm_attempts_address(const char *peer, uint8_t room[16])
{
    size_t n = strspn(peer, "0123456789.");

    if (inet_pton(AF_INET6, peer, room) == 1)
        return bm_rd_of(room, 8);
    return bm_rd_of(peer, n != 0 && peer[n] == ':' ? n : strlen(peer)); /* IPv4 without a port */
}

void bm_attempts_drop(struct bm_keeper *k)
{
    for (size_t i = 0; i < BM_GUESSES; i++)
        free(BM_MOVE(k->attempts[i]));
}

/* --- codes ----------------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_code_attempts_check(struct bm_keeper *k, const char *peer, struct bm_rd target, int64_t now, struct bm_error *e)
{
    uint8_t room[16];
    uint32_t own = bm_attempts_of(k, BM_GUESS_CODE_ADDRESS, bm_attempts_address(peer, room), now);

    if (own >= BM_CODE_TRIES_ADDRESS || (own != 0 && bm_attempts_of(k, BM_GUESS_CODE_TARGET, target, now) >= BM_CODE_TRIES_TARGET))
        return bm_refuse(e, BM_AGAIN, "too-many-attempts", "too many wrong codes; wait %d seconds before the next one",
                         BM_CODE_TRIES_S);
    return BM_OK;
}

void bm_code_attempts_wrong(struct bm_keeper *k, const char *peer, struct bm_rd target, int64_t now)
{
    uint8_t room[16];

    (void)bm_attempts_add(k, BM_GUESS_CODE_ADDRESS, bm_attempts_address(peer, room), now);
    (void)bm_attempts_add(k, BM_GUESS_CODE_TARGET, target, now);
}
