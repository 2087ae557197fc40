#include "server/conn_impl.h"

#include "base/log.h"

#include <openssl/err.h>

static void log_handshake_failure(const struct conn *c)
{
    const char *why = ERR_reason_error_string(ERR_peek_error());
    char peer[64];

    bm_peer_text((const struct sockaddr *)&c->from, peer);
    bm_log(BM_LOG_DEBUG, "handshake-failed", "peer=%s reason=\"%s\"", peer, why != NULL ? why : "the peer left");
}

enum next bm_conn_step_handshake(struct conn *c)
{
    int done;

    ERR_clear_error();
    done = SSL_accept(c->ssl);
    if (done == 1) {
        c->state = READING;
        bm_conn_wait(c, WAIT_IDLE);
        /* TLS 1.2: the client waits for our Finished. With 1.3 there is nothing to send. */
        return c->io.out.n != 0 && bm_conn_send_and_wait(c) == CLOSE ? CLOSE : GO;
    }
    if (SSL_get_error(c->ssl, done) == SSL_ERROR_WANT_READ)
        return bm_conn_send_and_wait(c);
    log_handshake_failure(c);
    (void)bm_conn_send(c); /* the alert that says why */
    return CLOSE;
}
