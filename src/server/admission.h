/* Who is let in when more connections come than can be served. They wait in the kernel's queue, first come first served, with their ClientHello. While that queue
 * is now and then empty, everybody is let in: bursts are served late, but served. A queue that has not been empty for BM_QUEUE_STANDING_MS is a
 * standing one: to serve it in order would make everybody wait as long as it is, and then nobody is served in time. From then on only those are let in
 * that have not waited long, and the others are sent away before their handshake costs anything. The idea is CoDel's (RFC 8289, section 3), with
 * the adaptive limit of "Fail at Scale" (ACM Queue 13, 2015).
 *
 * Fairness: an address with few connections open may have waited longer, so one that floods us crowds itself out first. */
#ifndef BM_SERVER_ADMISSION_H
#define BM_SERVER_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

struct bm_admission {
    int64_t since_ms; /* when the queue was first seen not empty; 0: it was empty when last seen */
};

void bm_admission_waiting(struct bm_admission *a, int64_t now_ms); /* somebody is in the queue */
void bm_admission_empty(struct bm_admission *a);                   /* nobody is */
bool bm_admission_standing(const struct bm_admission *a, int64_t now_ms);
/* With a standing queue: whether one is let in that has waited so long, from an address with so many connections. Pure. */
bool bm_admission_lets_in(unsigned waited_ms, unsigned connections_of_address);

/* How long the bytes on an accepted connection have been waiting for us, in ms; 0 when the kernel does not say. */
unsigned bm_admission_waited(int fd);
/* How many are in the queue of a listening socket. */
unsigned bm_admission_queue(int listen_fd);
/* Sends away and closes: the alert internal_error (RFC 8446 section 6.2: nothing the peer did wrong), or without TLS a 503 that says when to come
 * back. Costs no cryptography. */
void bm_admission_refuse(int fd, bool plain);

#endif
