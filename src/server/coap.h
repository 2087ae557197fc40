/* The CoAP process (EST over CoAP, RFC 9148; docs/coap.md): DTLS sessions over the sockets of `coap_listen`, and what is asked in them. It is a worker in all that
 * counts: no CA key, no database, no file; it learns what it needs from the keeper's view, sends it the same commands, and shows it the same
 * proof of who connected. Its own process, because datagrams need another loop than connections, and so that neither can hold up the other. */
#ifndef BM_SERVER_COAP_H
#define BM_SERVER_COAP_H

#include "server/worker.h"

/* setup->listeners are datagram sockets. Runs until it is drained, told to stop, or its keeper has gone. Returns the exit status. */
int bm_coap_run(const struct bm_worker_setup *setup);

#endif
