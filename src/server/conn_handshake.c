#include "server/conn_impl.h"

#include "base/log.h"
#include "base/metrics.h"

#include <openssl/err.h>

static void count_handshake(const struct conn *c)
{
    int version = SSL_version(c->ssl);

    bm_metric_add(BM_M_HANDSHAKES,
                  version == TLS1_2_VERSION   ? BM_TLS_12
                  : version == TLS1_3_VERSION ? BM_TLS_13
                                              : BM_TLS_OTHER,
                  SSL_session_reused(c->ssl) ? BM_HANDSHAKE_RESUMED : BM_HANDSHAKE_FULL, 1);
}

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
        count_handshake(c);
        c->state = READING;
        bm_conn_wait(c, WAIT_IDLE);
        /* TLS 1.2: the client waits for our Finished. With 1.3 there is nothing to send. */
        return c->io.out.n != 0 && bm_conn_send_and_wait(c) == CLOSE ? CLOSE : GO;
    }
    if (SSL_get_error(c->ssl, done) == SSL_ERROR_WANT_READ) {
        if (c->io.out.n != 0) /* our ServerHello: what it has cost is not to be in vain */
            (void)event_priority_set(&c->ev, BM_CONN_INSIDE);
        return bm_conn_send_and_wait(c);
    }
    bm_metric_add(BM_M_HANDSHAKES_FAILED, BM_HANDSHAKE_REFUSED, 0, 1);
    log_handshake_failure(c);
    (void)bm_conn_send(c); /* the alert that says why */
    return CLOSE;
}
