/* What the keeper asks of the courier (server/courier.h), the one process that makes connections of its own: a task, and the answer. Structs to bytes
 * and back, pure, as in keeper/wire.h; the parsers believe nothing. The courier knows no protocol beyond these three: what is in a request, and
 * what an answer is worth, is the keeper's to know. All bm_rd members borrow. */
#ifndef BM_KEEPER_TASK_H
#define BM_KEEPER_TASK_H

#include "base/bytes.h"
#include "base/limits.h"

enum bm_task_kind {
    BM_TASK_HTTP = 1,    /* one request, and up to `redirects` more for a GET */
    BM_TASK_DNS_TXT = 2, /* all TXT records of `host` */
    BM_TASK_TLS = 3,     /* a handshake with `host`, `port`, offering `alpn`: its certificate */
};

#define BM_TASK_FIELDS_MAX 16
struct bm_task {
    uint8_t kind;        /* enum bm_task_kind */
    uint32_t timeout_ms; /* for all of it, redirects included; at most BM_TASK_TIMEOUT_MAX_MS */
    bool foreign;        /* a stranger chose where it goes: public addresses only, and what `validation_networks` adds to them */
    /* BM_TASK_HTTP */
    struct bm_rd method; /* GET, POST ... */
    struct bm_rd url;    /* http or https, with no user information and no fragment */
    size_t n_fields;
    struct bm_task_field {
        struct bm_rd name, value;
    } fields[BM_TASK_FIELDS_MAX];
    struct bm_rd body;
    uint8_t redirects;   /* of a GET, each under the same rules as the first address; RFC 8555 section 8.3 wants some */
    uint32_t answer_max; /* bytes of body; more is a failure */
    bool unverified;     /* https without looking at the certificate: redirects of http-01 only */
    struct bm_rd trust;  /* PEM certificates that the server's must lead to; empty: the system's */
    struct bm_rd client_cert, client_key; /* PEM, for TLS client authentication, or empty; the key is a secret */
    /* BM_TASK_DNS_TXT, BM_TASK_TLS */
    struct bm_rd host; /* name or address */
    uint16_t port;
    struct bm_rd sni, alpn; /* sni empty: host */
};
void bm_task_write(struct bm_buf *out, const struct bm_task *t);
BM_MUST_USE enum bm_rc bm_task_parse(struct bm_rd in, struct bm_task *ret, struct bm_error *e);

#define BM_TASK_TEXTS_MAX 32
struct bm_task_answer {
    bool failed, retry; /* failed: there is no answer, and a later attempt may bring one */
    char code[32];      /* of the failure: docs/refusals.md */
    char what[192];     /* one sentence, already escaped */
    /* BM_TASK_HTTP */
    uint16_t status;
    struct bm_rd content_type, retry_after, location, nonce; /* Replay-Nonce; each as it came, or empty */
    struct bm_rd body;
    /* BM_TASK_DNS_TXT: the strings of each record put together (RFC 8555 section 8.4) */
    size_t n_texts;
    struct bm_rd texts[BM_TASK_TEXTS_MAX];
    /* BM_TASK_TLS */
    struct bm_rd cert, alpn; /* DER; what was agreed on, or empty */
};
void bm_task_answer_write(struct bm_buf *out, const struct bm_task_answer *a);
BM_MUST_USE enum bm_rc bm_task_answer_parse(struct bm_rd in, struct bm_task_answer *ret, struct bm_error *e);

/* --- BM_CMD_ERRAND ------------------------------------------------------------------------------------------------------------- */
/* Courier to keeper: answers it has, and how many errands more it can take. The answer: that many at most. */
#define BM_ERRANDS_AT_ONCE 32
struct bm_errand_ask {
    bool fresh;    /* the first word of a courier just started: whatever its predecessor had in hand is to be handed out again */
    uint16_t room; /* at most BM_ERRANDS_AT_ONCE */
    size_t n;
    struct bm_errand_report {
        int64_t id;
        uint32_t token; /* as it was handed out: an answer to an earlier attempt is dropped */
        struct bm_rd answer;
    } reports[BM_ERRANDS_AT_ONCE];
};
void bm_errand_ask_write(struct bm_buf *out, const struct bm_errand_ask *a);
BM_MUST_USE enum bm_rc bm_errand_ask_parse(struct bm_rd in, struct bm_errand_ask *ret, struct bm_error *e);

struct bm_errand_given {
    size_t n;
    struct bm_errand_work {
        int64_t id;
        uint32_t token;
        struct bm_rd task;
    } work[BM_ERRANDS_AT_ONCE];
};
void bm_errand_given_write(struct bm_buf *out, const struct bm_errand_given *g);
BM_MUST_USE enum bm_rc bm_errand_given_parse(struct bm_rd in, struct bm_errand_given *ret, struct bm_error *e);

#endif
