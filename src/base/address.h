/* Addresses that a stranger may send us to. A server that connects wherever it is told reaches what only it can reach: itself, its neighbours, the
 * cloud's metadata service. Pure. */
#ifndef BM_BASE_ADDRESS_H
#define BM_BASE_ADDRESS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define BM_NETWORKS_MAX 32
struct bm_networks {
    size_t n;
    struct bm_network {
        uint8_t bytes[16]; /* IPv4: as ::ffff:a.b.c.d */
        unsigned bits;     /* of the 128 */
    } at[BM_NETWORKS_MAX];
};
/* "10.0.0.0/8, fd00::/8, 192.0.2.7": an address alone is itself. Empty: none. BM_USAGE. */
BM_MUST_USE enum bm_rc bm_networks_parse(const char *text, struct bm_networks *ret, struct bm_error *e);

/* Global unicast as IANA's registries of special-purpose addresses leave it (RFC 6890), or in one of `also`. Not IPv4 or IPv6: false. */
bool bm_address_reachable(const struct sockaddr *a, const struct bm_networks *also);

#endif
