/* One peer's side of CoAP over datagrams: what RFC 7252 section 4 asks of a server (acknowledgements, messages that come twice, answers that
 * come later), and block-wise transfer both ways (RFC 7959). Pure: no socket, no clock; the caller gives the time and sends what is in `out`.
 *
 *   datagram -> bm_coap_line_take() -> REQUEST -> bm_coap_line_body() -> REQUEST, whole -> ... -> bm_coap_line_answer()
 *                     \-> answered, or nothing to do          \-> answered: more to come
 *
 * One request at a time (NSTART is 1); one request in blocks, one answer in blocks, the last few answers: that is all it holds. */
#ifndef BM_SERVER_COAP_LINE_H
#define BM_SERVER_COAP_LINE_H

#include "protocol/coap.h"

/* What all lines together hold of bodies; max may change at any time, also to less than is held. */
struct bm_coap_budget {
    size_t held, max;
};

#define BM_COAP_RECENT 4
#define BM_COAP_KEY_MAX 300
struct bm_coap_line {
    struct bm_coap_budget *budget;
    uint16_t mid; /* of our next message */
    struct bm_coap_recent {
        bool used;
        uint16_t mid;
        int64_t until_ms;
        struct bm_buf reply; /* empty: not answered yet, or not to be */
    } recent[BM_COAP_RECENT];
    size_t at; /* the next of them to be overwritten */
    struct bm_coap_asked {
        bool on, acked;
        struct bm_coap_message m; /* without what it borrows */
        int64_t ack_ms;           /* when it is to be acknowledged */
        char key[BM_COAP_KEY_MAX];
    } asked; /* the request that is to be answered */
    struct bm_coap_body {
        bool on;
        struct bm_buf bytes;
        int64_t until_ms;
        char key[BM_COAP_KEY_MAX]; /* method, path and query that it belongs to */
        uint8_t code;
        int32_t content_format;
    } up, down;
    struct bm_coap_sent {
        bool on;
        uint16_t mid;
        unsigned tries;
        int64_t due_ms;
        struct bm_buf bytes;
    } sent; /* an answer of its own, not acknowledged yet */
};
/* mid: where our numbers begin, by chance. */
void bm_coap_line_init(struct bm_coap_line *l, struct bm_coap_budget *budget, uint16_t mid);
void bm_coap_line_done(struct bm_coap_line *l);

enum bm_coap_next {
    BM_COAP_DONE,    /* send what is in out, if anything */
    BM_COAP_REQUEST, /* go on with it, and answer */
};
/* ret_m borrows from datagram. */
enum bm_coap_next bm_coap_line_take(struct bm_coap_line *l, struct bm_rd datagram, int64_t now_ms, struct bm_buf *out,
                                    struct bm_coap_message *ret_m);
/* The rest of a request that is admitted: puts its blocks together, up to max. *ret borrows from the line, until the next call, or from m. */
enum bm_coap_next bm_coap_line_body(struct bm_coap_line *l, const struct bm_coap_message *m, size_t max, int64_t now_ms,
                                    struct bm_buf *out, struct bm_rd *ret);

struct bm_coap_reply {
    uint8_t code;
    int32_t content_format; /* -1: none */
    int64_t max_age_s;      /* -1: none */
    int64_t size1;          /* -1: none */
    struct bm_rd payload;
};
/* Answers the request under way; does nothing when there is none. The payload may not be borrowed from the line. */
void bm_coap_line_answer(struct bm_coap_line *l, const struct bm_coap_reply *r, int64_t now_ms, struct bm_buf *out);
/* A refusal that the line has made itself: "bad-option" and the like, as diagnostic payload. */
void bm_coap_line_refuse(struct bm_coap_line *l, const struct bm_error *e, int64_t retry_after_s, const char *correlation,
                         int64_t now_ms, struct bm_buf *out);
/* What time brings: an acknowledgement, or an answer once more. One datagram at most; call it until out stays empty. */
void bm_coap_line_tick(struct bm_coap_line *l, int64_t now_ms, struct bm_buf *out);
/* Is anything under way? */
bool bm_coap_line_busy(const struct bm_coap_line *l);

#endif
