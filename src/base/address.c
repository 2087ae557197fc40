#include "base/address.h"

#include "base/bytes.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

enum { V4_BITS = 96 };
static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

struct net {
    uint8_t bytes[16];
    unsigned bits;
};
#define V4(a, b, c, d, bits)                                                                                                       \
    {                                                                                                                              \
        { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d }, V4_BITS + (bits)                                                 \
    }

/* The IPv4 special-purpose registry, and what is not for one host: RFC 6890, RFC 5735, RFC 6598, RFC 5771. */
static const struct net no_v4[] = {
    V4(0, 0, 0, 0, 8),     V4(10, 0, 0, 0, 8),      V4(100, 64, 0, 0, 10),  V4(127, 0, 0, 0, 8),    V4(169, 254, 0, 0, 16),
    V4(172, 16, 0, 0, 12), V4(192, 0, 0, 0, 24),    V4(192, 0, 2, 0, 24),   V4(192, 88, 99, 0, 24), V4(192, 168, 0, 0, 16),
    V4(198, 18, 0, 0, 15), V4(198, 51, 100, 0, 24), V4(203, 0, 113, 0, 24), V4(224, 0, 0, 0, 4),    V4(240, 0, 0, 0, 4),
};
/* IPv6: only 2000::/3 is handed out at all, and not these of it: IETF assignments with Teredo (RFC 2928), documentation (RFC 3849, RFC 9637),
 * 6to4 (RFC 3056), which carries an IPv4 address of anybody's choice. */
static const struct net global_v6 = { { 0x20 }, 3 };
static const struct net no_v6[] = {
    { { 0x20, 0x01 }, 23 },
    { { 0x20, 0x01, 0x0d, 0xb8 }, 32 },
    { { 0x20, 0x02 }, 16 },
    { { 0x3f, 0xff }, 20 },
};

static bool within(const uint8_t a[16], const uint8_t net[16], unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    return memcmp(a, net, whole) == 0 && (rest == 0 || ((a[whole] ^ net[whole]) & (0xff << (8 - rest) & 0xff)) == 0);
}

static bool among(const uint8_t a[16], const struct net *nets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (within(a, nets[i].bytes, nets[i].bits))
            return true;
    return false;
}

static bool bytes_of(const struct sockaddr *a, uint8_t ret[16])
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (a->sa_family == AF_INET) {
        memcpy(&v4, a, sizeof v4);
        memcpy(ret, mapped, sizeof mapped);
        memcpy(ret + sizeof mapped, &v4.sin_addr, 4);
    } else if (a->sa_family == AF_INET6) {
        memcpy(&v6, a, sizeof v6);
        memcpy(ret, &v6.sin6_addr, 16);
    }
    return a->sa_family == AF_INET || a->sa_family == AF_INET6;
}

bool bm_address_reachable(const struct sockaddr *a, const struct bm_networks *also)
{
    uint8_t b[16];

    if (!bytes_of(a, b))
        return false;
    for (size_t i = 0; also != NULL && i < also->n; i++)
        if (within(b, also->at[i].bytes, also->at[i].bits))
            return true;
    if (memcmp(b, mapped, sizeof mapped) == 0) /* IPv4, also in an IPv6 socket */
        return !among(b, no_v4, BM_COUNT(no_v4));
    return within(b, global_v6.bytes, global_v6.bits) && !among(b, no_v6, BM_COUNT(no_v6));
}

/* --- configuration --------------------------------------------------------------------------------------------------------------- */
static bool parse_bits(const char *text, unsigned max, unsigned *ret)
{
    size_t n = strlen(text);

    if (n == 0 || n > 3 || strspn(text, "0123456789") != n)
        return false;
    *ret = (unsigned)strtoul(text, NULL, 10);
    return *ret <= max;
}

static bool parse_one(char *text, struct bm_network *ret)
{
    char *slash = strchr(text, '/');
    bool v4 = strchr(text, ':') == NULL;
    unsigned bits = v4 ? 32 : 128;

    if (slash != NULL)
        *slash = '\0';
    if (slash != NULL && !parse_bits(slash + 1, bits, &bits))
        return false;
    memcpy(ret->bytes, mapped, sizeof mapped);
    ret->bits = bits + (v4 ? V4_BITS : 0);
    return inet_pton(v4 ? AF_INET : AF_INET6, text, v4 ? ret->bytes + sizeof mapped : ret->bytes) == 1;
}

enum bm_rc bm_networks_parse(const char *text, struct bm_networks *ret, struct bm_error *e)
{
    struct bm_networks r = { 0 };

    for (text += strspn(text, ", "); *text != '\0'; text += strspn(text, ", ")) {
        size_t n = strcspn(text, ", ");
        char one[64];

        snprintf(one, sizeof one, "%.*s", (int)n, text);
        if (r.n == BM_NETWORKS_MAX)
            return bm_fail(e, BM_USAGE, "more than %d networks", BM_NETWORKS_MAX);
        if (n >= sizeof one || !parse_one(one, &r.at[r.n]))
            return bm_fail(e, BM_USAGE, "'%.60s' is no network; write 10.0.0.0/8 or fd00::/8", one);
        r.n++;
        text += n;
    }
    *ret = r;
    return BM_OK;
}
