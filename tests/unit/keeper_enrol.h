/* A device of keeper_fixture.h at the keeper: it enrols, and asks how it stands. */
#ifndef BM_TESTS_KEEPER_ENROL_H
#define BM_TESTS_KEEPER_ENROL_H

#include "keeper_fixture.h"

static UNUSED void keeper_run(struct world *w, uint8_t type, struct bm_enrol *c, enum bm_rc want, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX };

    snprintf(c->protocol, sizeof c->protocol, "est");
    snprintf(c->peer, sizeof c->peer, "192.0.2.7");
    next_correlation(w, c);
    prove(w, c);
    bm_enrol_write(&payload, c);
    assert_false(payload.bad);
    assert_rc(command(w, type, bm_buf_rd(&payload), out), want);
}

/* With its IDevID key, for `service` ("": the first); wants the outcome `want`. Answers when the certificate ends, or 0. */
static UNUSED int64_t enrol_as(struct world *w, const struct dev *d, const struct bm_key *key, const char *service, enum bm_rc want)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 }, csr = { .max = BM_CSR_MAX };
    struct bm_enrol c = { .n_requests = 1 };
    struct bm_enrolled got;

    assert_ok(bm_csr_make(key, "CN=device", &csr, &err));
    c.evidence.kind = BM_EVIDENCE_TLS;
    c.evidence.cert = bm_buf_rd(&d->id.cert);
    c.requests[0].service = bm_rd_str(service);
    c.requests[0].csr = bm_buf_rd(&csr);
    keeper_run(w, BM_CMD_ENROL, &c, want, &out);
    if (want != BM_OK)
        return 0;
    assert_ok(bm_enrolled_parse(bm_buf_rd(&out), &got, &err));
    return got.credentials[0].not_after;
}

static UNUSED void status_of(struct world *w, const struct dev *d, const char *status, const char *device_state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    struct bm_enrol c = { .n_requests = 0 };
    struct bm_status s;

    c.evidence.kind = BM_EVIDENCE_TLS;
    c.evidence.cert = bm_buf_rd(&d->id.cert);
    keeper_run(w, BM_CMD_STATUS, &c, BM_OK, &out);
    assert_ok(bm_status_parse(bm_buf_rd(&out), &s, &err));
    assert_string_equal(s.status, status);
    assert_string_equal(s.state, device_state);
}

#endif
