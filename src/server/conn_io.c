#include "server/conn_impl.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>

#define SLIM_ABOVE 512 /* with more connections than this, those that wait give their TLS buffers back */

/* Of an older error SSL_get_error() would think that it is its own. There hardly ever is one, and clearing the whole queue costs more than a look. */
static void forget_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

bool bm_conn_say(struct conn *c, const void *p, size_t n)
{
    if (c->ssl != NULL) {
        forget_errors();
        return SSL_write(c->ssl, p, (int)n) > 0;
    }
    bm_buf_put(&c->io.out, p, n);
    return !c->io.out.bad;
}

void bm_conn_say_goodbye(struct conn *c)
{
    if (c->ssl != NULL)
        (void)SSL_shutdown(c->ssl);
}

bool bm_conn_has_more(const struct conn *c)
{
    return c->ssl != NULL && SSL_has_pending(c->ssl);
}

/* Bytes read; 0: none now; -1: the end. */
int bm_conn_hear(struct conn *c, void *p, size_t n)
{
    ssize_t got;
    int done;

    if (c->ssl != NULL) {
        forget_errors();
        done = SSL_read(c->ssl, p, (int)n);
        return done > 0 ? done : SSL_get_error(c->ssl, done) == SSL_ERROR_WANT_READ ? 0 : -1;
    }
    got = recv(c->io.fd, p, n, 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return 0;
    return got > 0 ? (int)got : -1;
}

/* Sends what TLS has put out. BM_AGAIN: the rest waits for the socket; BM_IO: the peer has gone. */
enum bm_rc bm_conn_send(struct conn *c)
{
    struct bm_buf *out = &c->io.out;

    if (out->bad)
        return BM_LIMIT;
    while (out->n != 0) {
        ssize_t n = send(c->io.fd, out->p, out->n, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return BM_AGAIN;
        if (n <= 0)
            return BM_IO;
        bm_buf_drop(out, (size_t)n);
    }
    bm_buf_done(out);
    return BM_OK;
}

/* 33 kB each. Allocating them again for every flight costs 26 us per handshake, so that is done only when there are many. */
void bm_conn_slim(struct conn *c)
{
    if (c->all->n > SLIM_ABOVE && c->ssl != NULL)
        (void)SSL_free_buffers(c->ssl); /* only what is empty */
}

/* A word of TLS itself is due: a handshake flight, an alert, a key update. */
enum next bm_conn_send_and_wait(struct conn *c)
{
    enum bm_rc rc = c->io.out.n != 0 ? bm_conn_send(c) : BM_OK;

    bm_conn_slim(c);
    if (rc == BM_AGAIN)
        return event_add(&c->writable, NULL) == 0 ? WAIT : CLOSE;
    return rc == BM_OK ? WAIT : CLOSE;
}
