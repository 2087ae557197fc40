#include "factory/impl.h"

void bm_seen_clear(struct bm_seen *s)
{
    if (++s->now != 0)
        return;
    memset(s->round, 0, sizeof s->round); /* the count has gone round: 4 billion blocks */
    s->now = 1;
}

/* UDIDs are SHA-256 values: any of their bits are a good hash. */
bool bm_seen_add(struct bm_seen *s, const uint8_t udid[32])
{
    size_t at = ((size_t)udid[0] << 8 | udid[1]) % BM_SEEN_SLOTS;

    for (; s->round[at] == s->now; at = (at + 1) % BM_SEEN_SLOTS)
        if (memcmp(s->udid[at], udid, 32) == 0)
            return false;
    memcpy(s->udid[at], udid, 32);
    s->round[at] = s->now;
    return true;
}
