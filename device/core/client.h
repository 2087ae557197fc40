/* One enrolment exchange as a machine without input or output: it says what to send, takes what came, and ends done or failed. Transport,
 * TLS, clock and memory are the caller's. Over one connection as many exchanges may follow each other as the server lets.
 *
 *   init -> SEND -> RECV -> (with a signed challenge: SEND -> RECV ->) DONE | FAILED
 */
#ifndef BMD_CLIENT_H
#define BMD_CLIENT_H

#include "est.h"
#include "http.h"
#include "onboard.h"

enum bmd_client_op {
    BMD_OP_ONBOARD_ENROL,
    BMD_OP_ONBOARD_STATUS,
    BMD_OP_EST_ENROL,
    BMD_OP_EST_REENROL,
    BMD_OP_EST_CACERTS,
    BMD_CLIENT_OPS
};

/* Everything is borrowed until the exchange ends; answers point into rx. */
struct bmd_client_config {
    enum bmd_client_op op;
    const char *host;                /* Host header */
    const char *label;               /* EST label, "" for none */
    bool signed_challenge;           /* Onboard: prove by signature instead of by the TLS client certificate */
    bool close;                      /* ask the server to close afterwards */
    const struct bmd_signer *signer; /* with signed_challenge: whose key signs */
    struct bmd_rd certificate;       /* with signed_challenge: certificate of that key; empty: the bare key is sent */
    struct bmd_rd udid, batch;
    const struct bmd_onboard_request *requests; /* EST takes the first one */
    size_t n_requests;
    uint8_t *tx, *rx;
    size_t tx_cap, rx_cap;
};

enum bmd_step { BMD_STEP_SEND, BMD_STEP_RECV, BMD_STEP_DONE, BMD_STEP_FAILED };

union bmd_answer {
    struct bmd_enrolled enrolled; /* BMD_OP_ONBOARD_ENROL */
    struct bmd_status status;     /* BMD_OP_ONBOARD_STATUS */
    struct bmd_est_certs certs;   /* EST; after enrolment our certificate is the first */
};

struct bmd_client {
    struct bmd_client_config cfg;
    enum bmd_step step;
    enum bmd_rc rc;   /* why it failed: BMD_REFUSED when the server said no */
    bool challenging; /* the exchange under way fetches the challenge */
    uint8_t challenge[BMD_CHALLENGE_LEN];
    size_t tx_len;
    struct bmd_http http; /* of the last answer: status, retry_after_s, code, correlation, keep_alive */
    union bmd_answer answer;
};

BMD_MUST_USE enum bmd_rc bmd_client_init(struct bmd_client *c, const struct bmd_client_config *cfg);
/* In BMD_STEP_SEND: all bytes to send. Then call bmd_client_sent(). */
struct bmd_rd bmd_client_output(const struct bmd_client *c);
void bmd_client_sent(struct bmd_client *c);
/* In BMD_STEP_RECV: bytes as they come, n = 0 for the end of the connection. Returns the step that follows. */
enum bmd_step bmd_client_input(struct bmd_client *c, const uint8_t *p, size_t n);

#endif
