/* Listening sockets from the words of the configuration. One socket per address, shared by all workers: whichever is free takes the next
 * connection, so a worker that is busy, full or dead holds nobody up; with one socket per worker (SO_REUSEPORT) the kernel would go on dealing
 * it its share. */
#ifndef BM_SERVER_LISTEN_H
#define BM_SERVER_LISTEN_H

#include "base/error.h"
#include "server/door.h"

#include <stdbool.h>
#include <stddef.h>

#define BM_LISTEN_MAX 16
#define BM_LISTEN_TEXT 80

struct bm_listeners {
    size_t n;
    struct bm_listener {
        int fd;
        enum bm_door door;
        char text[BM_LISTEN_TEXT]; /* as bound: "127.0.0.1:8443", "[::]:8443" */
    } at[BM_LISTEN_MAX];
};

/* One "host:port" or "[v6]:port" into its parts. Pure. */
BM_MUST_USE enum bm_rc bm_listen_parse(const char *word, char ret_host[BM_LISTEN_TEXT], char ret_port[8], struct bm_error *e);
/* Binds every address of a list with commas, added to *ret, which is closed whole when one fails; an empty list adds none. BM_DOOR_COAP is a datagram socket,
 * and its port may be left out: 5684 (RFC 7252 section 6.2). */
BM_MUST_USE enum bm_rc bm_listen(const char *list, enum bm_door door, struct bm_listeners *ret, struct bm_error *e);
void bm_listeners_close(struct bm_listeners *l);

#endif
