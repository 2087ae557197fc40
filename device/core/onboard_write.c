#include "cbor.h"
#include "onboard.h"

const char *bmd_onboard_path(enum bmd_onboard_op op)
{
    switch (op) {
    case BMD_ONBOARD_CHALLENGE:
        return "/onboard/v1/challenge";
    case BMD_ONBOARD_ENROL:
        return "/onboard/v1/enrol";
    case BMD_ONBOARD_STATUS:
        return "/onboard/v1/status";
    }
    return NULL;
}

void bmd_onboard_tbs(struct bmd_wr *w, enum bmd_onboard_op op, const struct bmd_onboard *m)
{
    static const char context[] = "birthmark-onboard-v1"; /* its terminating zero is part of the format */
    size_t i;

    bmd_wr_put(w, context, sizeof context);
    bmd_wr_u8(w, (uint8_t)op);
    bmd_wr_vec(w, m->challenge);
    bmd_wr_vec(w, m->udid);
    bmd_wr_vec(w, m->batch);
    bmd_wr_u32(w, (uint32_t)m->n_requests);
    for (i = 0; i < m->n_requests; i++) {
        bmd_wr_vec(w, m->requests[i].service);
        bmd_wr_vec(w, m->requests[i].csr);
    }
}

static void put_key(struct bmd_wr *w, const char *key)
{
    bmd_cbor_put_text(w, bmd_rd_str(key));
}

static void put_bytes(struct bmd_wr *w, const char *key, struct bmd_rd v)
{
    if (v.n == 0)
        return;
    put_key(w, key);
    bmd_cbor_put_bytes(w, v);
}

static void put_request(struct bmd_wr *w, const struct bmd_onboard_request *r)
{
    bmd_cbor_put_map(w, r->service.n != 0 ? 2 : 1);
    if (r->service.n != 0) {
        put_key(w, "service");
        bmd_cbor_put_text(w, r->service);
    }
    put_bytes(w, "csr", r->csr);
}

static void put_requests(struct bmd_wr *w, const struct bmd_onboard *m)
{
    size_t i;

    put_key(w, "requests");
    bmd_cbor_put_array(w, m->n_requests);
    for (i = 0; i < m->n_requests; i++)
        put_request(w, &m->requests[i]);
}

void bmd_onboard_write(struct bmd_wr *w, enum bmd_onboard_op op, const struct bmd_onboard *m)
{
    size_t pairs;

    if (op == BMD_ONBOARD_CHALLENGE) {
        bmd_cbor_put_map(w, 0);
        return;
    }
    pairs = 1 + (m->challenge.n != 0) + (m->key.n != 0) + (m->certificate.n != 0) + (m->signature.n != 0) + (m->batch.n != 0) +
            (op == BMD_ONBOARD_ENROL);
    bmd_cbor_put_map(w, pairs);
    put_key(w, "udid");
    bmd_cbor_put_bytes(w, m->udid);
    put_bytes(w, "challenge", m->challenge);
    put_bytes(w, "key", m->key);
    put_bytes(w, "certificate", m->certificate);
    put_bytes(w, "signature", m->signature);
    if (m->batch.n != 0) {
        put_key(w, "batch");
        bmd_cbor_put_text(w, m->batch);
    }
    if (op == BMD_ONBOARD_ENROL)
        put_requests(w, m);
}
