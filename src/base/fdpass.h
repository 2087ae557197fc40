/* Hands open files between our own processes (SCM_RIGHTS). One descriptor per message, one byte of data to carry it. */
#ifndef BM_BASE_FDPASS_H
#define BM_BASE_FDPASS_H

#include "base/error.h"

/* Whose it is, which the byte says. */
#define BM_FD_WORKER 'F'
#define BM_FD_COURIER 'C'

/* Sends a copy of fd over a connected Unix socket; the caller keeps and closes its own. BM_AGAIN: the socket would block; BM_IO. */
BM_MUST_USE enum bm_rc bm_fd_send(int sock, int fd, char whose, struct bm_error *e);
/* Receives one descriptor, close-on-exec, now owned by the caller. -1 with BM_OK at the end of the stream.
 * BM_AGAIN: nothing there yet on a non-blocking socket; BM_MALFORMED: a message that carries anything else (what it carried is closed); BM_IO. */
BM_MUST_USE enum bm_rc bm_fd_recv(int sock, int *ret_fd, char *ret_whose, struct bm_error *e);

#endif
