#include "server/peers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#define BUCKETS 4096

struct bm_peer {
    LIST_ENTRY(bm_peer) link;
    uint8_t key[16];
    unsigned n;
};

struct bm_peers {
    uint64_t seed; /* so that nobody can choose addresses that share a bucket */
    LIST_HEAD(bm_peer_bucket, bm_peer) buckets[BUCKETS];
};

enum bm_rc bm_peers_new(struct bm_peers **ret, struct bm_error *e)
{
    struct bm_peers *p = calloc(1, sizeof *p);

    if (p == NULL || RAND_bytes((unsigned char *)&p->seed, sizeof p->seed) != 1) {
        free(p);
        return bm_fail(e, BM_NOMEM, "peers: out of memory");
    }
    *ret = p;
    return BM_OK;
}

void bm_peers_free(struct bm_peers *p)
{
    free(p);
}

/* IPv4 as ::ffff:a.b.c.d, IPv6 cut to its /64. */
static void key_of(const struct sockaddr *from, uint8_t ret[16])
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

    memset(ret, 0, 16);
    if (from->sa_family == AF_INET) {
        memcpy(ret, mapped, 12);
        memcpy(ret + 12, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    } else if (from->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr;

        memcpy(ret, a, IN6_IS_ADDR_V4MAPPED(a) ? 16 : 8);
    }
}

static size_t bucket_of(const struct bm_peers *p, const uint8_t key[16])
{
    uint64_t h = p->seed;

    for (int i = 0; i < 16; i++)
        h = (h ^ key[i]) * UINT64_C(0x9e3779b97f4a7c15) + (h >> 29);
    return (size_t)(h >> 52) % BUCKETS;
}

static struct bm_peer *find(const struct bm_peers *p, const uint8_t key[16])
{
    struct bm_peer *peer = LIST_FIRST(&p->buckets[bucket_of(p, key)]);

    while (peer != NULL && memcmp(peer->key, key, sizeof peer->key) != 0)
        peer = LIST_NEXT(peer, link);
    return peer;
}

struct bm_peer *bm_peers_enter(struct bm_peers *p, const struct sockaddr *from, unsigned max)
{
    struct bm_peer *peer;
    uint8_t key[16];

    key_of(from, key);
    peer = find(p, key);
    if (peer == NULL) {
        peer = calloc(1, sizeof *peer);
        if (peer == NULL)
            return NULL;
        memcpy(peer->key, key, sizeof key);
        LIST_INSERT_HEAD(&p->buckets[bucket_of(p, key)], peer, link);
    }
    if (peer->n >= max)
        return NULL;
    peer->n++;
    return peer;
}

unsigned bm_peers_count(const struct bm_peers *p, const struct sockaddr *from)
{
    const struct bm_peer *peer;
    uint8_t key[16];

    key_of(from, key);
    peer = find(p, key);
    return peer != NULL ? peer->n : 0;
}

void bm_peers_leave(struct bm_peers *p, struct bm_peer *peer)
{
    (void)p;
    if (peer == NULL || --peer->n != 0)
        return;
    LIST_REMOVE(peer, link);
    free(peer);
}

void bm_peer_text(const struct sockaddr *from, char ret[64])
{
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)from;
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)from;
    const char *text = NULL;

    if (from->sa_family == AF_INET)
        text = inet_ntop(AF_INET, &four->sin_addr, ret, 64);
    else if (from->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
        text = inet_ntop(AF_INET, six->sin6_addr.s6_addr + 12, ret, 64);
    else if (from->sa_family == AF_INET6)
        text = inet_ntop(AF_INET6, &six->sin6_addr, ret, 64);
    if (text == NULL)
        snprintf(ret, 64, "unknown");
}
