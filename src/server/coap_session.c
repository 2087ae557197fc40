#include "server/coap_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "server/shown.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdlib.h>

#define MESSAGES_PER_TURN 16

/* --- finding ------------------------------------------------------------------------------------------------------------------------- */
static size_t bucket_of(const struct coap *c, const struct bm_coap_key *key)
{
    uint64_t h = c->seed;

    for (size_t i = 0; i < key->n; i++)
        h = (h ^ key->bytes[i]) * UINT64_C(0x9e3779b97f4a7c15) + (h >> 29);
    return (size_t)(h >> 52) % BM_COAP_BUCKETS;
}

static struct coap_session *find(struct coap *c, const struct bm_coap_key *key)
{
    struct coap_session *s = LIST_FIRST(&c->buckets[bucket_of(c, key)]);

    while (s != NULL && (s->key.n != key->n || memcmp(s->key.bytes, key->bytes, key->n) != 0))
        s = LIST_NEXT(s, bucket);
    return s;
}

/* --- life ---------------------------------------------------------------------------------------------------------------------------- */
static void session_send(void *arg, struct bm_rd datagram)
{
    const struct coap_session *s = arg;

    bm_coap_send(s->all, &s->ends, datagram);
}

void bm_coap_session_free(struct coap_session *s)
{
    struct coap *c = s->all;

    LIST_REMOVE(s, bucket);
    TAILQ_REMOVE(&c->sessions, s, link);
    if (s->ticket != 0)
        bm_link_forget(c->link, s->ticket);
    c->n--;
    c->n_open -= s->open;
    bm_metric_set(BM_M_CONNECTIONS_OPEN, 0, 0, c->n);
    bm_peers_leave(c->peers, s->peer);
    SSL_free(s->ssl);
    bm_tls_peer_done(&s->shown);
    bm_coap_line_done(&s->line);
    free(s);
}

static void say_goodbye(struct coap_session *s)
{
    ERR_clear_error();
    if (s->open)
        (void)SSL_shutdown(s->ssl);
    bm_coap_session_free(s);
}

static struct coap_session *refused(struct coap *c, struct bm_peer *peer, unsigned why)
{
    bm_peers_leave(c->peers, peer);
    bm_metric_add(BM_M_CONNECTIONS_REFUSED, why, 0, 1);
    return NULL;
}

/* Which of two gives way first: one that has shown nothing, as none has before its handshake is over; then the one silent longest. */
static bool is_less(const struct coap_session *a, const struct coap_session *b)
{
    bool known = bm_shown_any(&a->q);

    if (b == NULL || known != bm_shown_any(&b->q))
        return b == NULL || !known;
    return a->heard_ms < b->heard_ms;
}

/* Among those that are open, or those in their handshake. Whoever has shown a good cookie comes before somebody who is silent: else a few clients that
 * say nothing would keep everybody out. What is with the keeper goes on. */
static bool make_way(struct coap *c, bool open)
{
    struct coap_session *least = NULL;

    for (struct coap_session *s = TAILQ_FIRST(&c->sessions); s != NULL; s = TAILQ_NEXT(s, link))
        if (s->open == open && s->ticket == 0 && is_less(s, least))
            least = s;
    if (least != NULL)
        say_goodbye(least);
    return least != NULL;
}

/* More than one has to go only when the operator has lowered a limit. */
static bool has_room(struct coap *c)
{
    while (c->n - c->n_open >= c->handshakes_max && make_way(c, false))
        continue;
    while (c->n >= c->sessions_max && make_way(c, true))
        continue;
    return c->n < c->sessions_max && c->n - c->n_open < c->handshakes_max;
}

/* The side at the door becomes a session. NULL: there is no room. */
static struct coap_session *let_in(struct coap *c, struct bm_rd random)
{
    struct bm_peer *peer = bm_peers_enter(c->peers, (const struct sockaddr *)&c->door_ends.peer, c->per_address);
    struct coap_session *s;
    uint16_t mid;

    if (peer == NULL)
        return refused(c, peer, BM_REFUSED_ADDRESS);
    if (!has_room(c))
        return refused(c, peer, BM_REFUSED_BUSY);
    if (RAND_bytes((unsigned char *)&mid, sizeof mid) != 1 || (s = calloc(1, sizeof *s)) == NULL)
        return refused(c, peer, BM_REFUSED_MEMORY);
    s->all = c;
    s->ends = c->door_ends;
    s->key = c->door_key;
    s->peer = peer;
    s->since_ms = s->heard_ms = bm_clock_steady_ms();
    s->shown = (struct bm_tls_peer){ .der.max = 2 * BM_TLS_CLIENT_CHAIN_MAX,
                                     .transcript.max = BM_HANDSHAKE_MAX,
                                     .verify.max = BM_HANDSHAKE_VERIFY_MAX };
    memcpy(s->random, random.p, sizeof s->random);
    bm_coap_line_init(&s->line, &c->budget, mid);
    LIST_INSERT_HEAD(&c->buckets[bucket_of(c, &s->key)], s, bucket);
    TAILQ_INSERT_TAIL(&c->sessions, s, link);
    c->n++;
    bm_metric_set(BM_M_CONNECTIONS_OPEN, 0, 0, c->n);
    bm_metric_add(BM_M_CONNECTIONS_ACCEPTED, BM_LISTENER_COAP, 0, 1);
    return s;
}

/* --- handshake ----------------------------------------------------------------------------------------------------------------------- */
static void failed(struct coap_session *s)
{
    const char *why = ERR_reason_error_string(ERR_peek_error());
    char peer[64];

    bm_peer_text((const struct sockaddr *)&s->ends.peer, peer);
    bm_log(BM_LOG_DEBUG, "handshake-failed", "peer=%s reason=\"%s\"", peer, why != NULL ? why : "the peer left");
    bm_metric_add(BM_M_HANDSHAKES_FAILED, BM_HANDSHAKE_REFUSED, 0, 1);
    bm_coap_session_free(s);
}

/* What the client has shown is the same for all of its requests. */
static bool take_shown(struct coap_session *s)
{
    struct bm_request *q = &s->q;
    struct bm_error e;

    if (bm_tls_peer_certs(s->ssl, &s->shown, &e) != BM_OK || bm_tls_binding(s->ssl, &s->shown, &e) != BM_OK)
        return false;
    q->raw = true;
    bm_shown_fill(&s->shown, q);
    q->binding = bm_rd_of(s->shown.binding, s->shown.binding_len);
    bm_peer_text((const struct sockaddr *)&s->ends.peer, q->peer);
    return true;
}

/* False: it is gone. */
static bool shake(struct coap_session *s)
{
    int done;

    ERR_clear_error();
    done = SSL_accept(s->ssl);
    if (done != 1 && SSL_get_error(s->ssl, done) == SSL_ERROR_WANT_READ)
        return true;
    if (done != 1 || !take_shown(s)) {
        failed(s);
        return false;
    }
    s->open = true;
    s->all->n_open++;
    bm_metric_add(BM_M_HANDSHAKES, BM_TLS_DTLS_12, BM_HANDSHAKE_FULL, 1);
    return true;
}

/* --- messages ------------------------------------------------------------------------------------------------------------------------ */
void bm_coap_session_say(struct coap_session *s)
{
    struct bm_buf *out = &s->all->out;

    ERR_clear_error();
    if (out->n != 0 && !out->bad && s->open)
        (void)SSL_write(s->ssl, out->p, (int)out->n);
    bm_wipe(out->p, out->n);
    out->n = 0;
    out->bad = false;
}

/* False: it is gone. */
static bool read_messages(struct coap_session *s)
{
    struct coap *c = s->all;
    int n = 0, why;

    for (int i = 0; i < MESSAGES_PER_TURN; i++) {
        ERR_clear_error();
        n = SSL_read(s->ssl, c->plain, sizeof c->plain);
        if (n <= 0)
            break;
        s->heard_ms = bm_clock_steady_ms();
        bm_coap_request(s, bm_rd_of(c->plain, (size_t)n));
    }
    why = n <= 0 ? SSL_get_error(s->ssl, n) : SSL_ERROR_NONE;
    if (why == SSL_ERROR_NONE || why == SSL_ERROR_WANT_READ)
        return true;
    if (why == SSL_ERROR_ZERO_RETURN)
        say_goodbye(s);
    else
        bm_coap_session_free(s);
    return false;
}

static void hear(struct coap_session *s, struct bm_rd datagram)
{
    s->io.in = datagram;
    if (!s->open && (!shake(s) || !s->open))
        return;
    if (read_messages(s))
        s->io.in = bm_rd_of(NULL, 0);
}

/* --- the door ------------------------------------------------------------------------------------------------------------------------ */
static void door_send(void *arg, struct bm_rd datagram)
{
    const struct coap *c = arg;

    bm_coap_send(c, &c->door_ends, datagram);
}

static bool door_ready(struct coap *c)
{
    if (c->door == NULL) {
        c->door_io = (struct bm_dtls_io){ .send = door_send, .arg = c };
        c->door = bm_dtls_new(c->tls, &c->door_io);
    }
    return c->door != NULL;
}

/* The side at the door has heard a good cookie: it goes on as the session's own. */
static void take_over(struct coap *c, struct coap_session *s)
{
    s->ssl = BM_MOVE(c->door);
    s->io = c->door_io;
    s->io.send = session_send;
    s->io.arg = s;
    s->io.address = bm_rd_of(s->key.bytes, s->key.n);
    s->io.peer = &s->shown;
    BIO_set_data(SSL_get_rbio(s->ssl), &s->io);
    SSL_set_msg_callback_arg(s->ssl, &s->io);
}

/* Someone without a session, or with one from an earlier life (RFC 6347 section 4.2.8). Nothing of this is kept unless the cookie is right. */
static void at_the_door(struct coap *c, struct coap_session *before, const struct bm_coap_ends *ends, const struct bm_coap_key *key,
                        struct bm_rd datagram)
{
    struct bm_tls_peer none = { 0 };
    struct coap_session *s;
    struct bm_rd random;
    uint8_t own[32];

    if (c->tls == NULL || c->draining || !bm_dtls_hello_random(datagram, &random) || !door_ready(c))
        return;
    memcpy(own, random.p, sizeof own);
    c->door_ends = *ends;
    c->door_key = *key;
    c->door_io.address = bm_rd_of(c->door_key.bytes, c->door_key.n);
    c->door_io.in = datagram;
    if (!bm_dtls_listen(c->door, &c->door_io, &none))
        return;
    if (before != NULL)
        bm_coap_session_free(before);
    s = let_in(c, bm_rd_of(own, sizeof own));
    if (s == NULL) {
        SSL_free(BM_MOVE(c->door));
        return;
    }
    take_over(c, s);
    (void)shake(s);
}

/* A ClientHello that is not the one its session began with. */
static bool begins_anew(const struct coap_session *s, struct bm_rd datagram)
{
    struct bm_rd random;

    return bm_dtls_hello_random(datagram, &random) && memcmp(random.p, s->random, sizeof s->random) != 0;
}

void bm_coap_datagram(struct coap *c, const struct bm_coap_ends *ends, struct bm_rd datagram)
{
    struct bm_coap_key key = bm_coap_key_of(ends);
    struct coap_session *s = find(c, &key);

    if (datagram.n == 0)
        return;
    if (s != NULL && !begins_anew(s, datagram))
        hear(s, datagram);
    else
        at_the_door(c, s, ends, &key, datagram);
}

/* --- time ---------------------------------------------------------------------------------------------------------------------------- */
/* A handshake's flight once more, or its end: by its time, or because we are about to end; whoever has left it must not hold us up. */
static void sweep_handshake(struct coap_session *s, int64_t now_ms)
{
    ERR_clear_error();
    if (!s->all->draining && now_ms - s->since_ms < BM_COAP_HANDSHAKE_MS && DTLSv1_handle_timeout(s->ssl) >= 0)
        return;
    bm_metric_add(BM_M_HANDSHAKES_FAILED, BM_HANDSHAKE_TIMEOUT, 0, 1);
    bm_coap_session_free(s);
}

static bool is_over(const struct coap_session *s, int64_t now_ms)
{
    if (s->ticket != 0)
        return false;
    return now_ms - s->heard_ms >= s->all->idle_ms ||
           (!bm_coap_line_busy(&s->line) && (s->all->draining || now_ms - s->since_ms >= BM_CONNECTION_AGE_MS));
}

static void sweep_open(struct coap_session *s, int64_t now_ms)
{
    if (s->ticket != 0 && bm_clock_steady_us() - s->asked_us >= BM_REQUEST_DEADLINE_MS * INT64_C(1000))
        bm_coap_request_expire(s);
    bm_coap_line_tick(&s->line, now_ms, &s->all->out);
    bm_coap_session_say(s);
    if (is_over(s, now_ms))
        say_goodbye(s);
}

void bm_coap_sweep(struct coap *c, int64_t now_ms)
{
    struct coap_session *s, *after;

    bm_dtls_cookies_turn(&c->cookies, now_ms);
    for (s = TAILQ_FIRST(&c->sessions); s != NULL; s = after) {
        after = TAILQ_NEXT(s, link);
        if (s->open)
            sweep_open(s, now_ms);
        else
            sweep_handshake(s, now_ms);
    }
}

void bm_coap_drain(struct coap *c)
{
    c->draining = true;
    bm_coap_sweep(c, bm_clock_steady_ms());
}
