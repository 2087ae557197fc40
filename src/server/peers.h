/* How many connections each address holds. IPv6 counts by /64, which is what one subscriber gets. */
#ifndef BM_SERVER_PEERS_H
#define BM_SERVER_PEERS_H

#include "base/bytes.h"

#include <sys/socket.h>

struct bm_peers;
struct bm_peer;

BM_MUST_USE enum bm_rc bm_peers_new(struct bm_peers **ret, struct bm_error *e);
void bm_peers_free(struct bm_peers *p); /* NULL is fine; nobody may be in it any more */
/* One more connection from there. NULL: it has max already, or out of memory. */
struct bm_peer *bm_peers_enter(struct bm_peers *p, const struct sockaddr *from, unsigned max);
/* How many it has now. */
unsigned bm_peers_count(const struct bm_peers *p, const struct sockaddr *from);
void bm_peers_leave(struct bm_peers *p, struct bm_peer *peer);

/* The address as text, without port; ret has 64 bytes of room. */
void bm_peer_text(const struct sockaddr *from, char ret[64]);

#endif
