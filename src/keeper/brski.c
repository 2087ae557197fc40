/* The door for BRSKI: what a worker hands on is taken apart here and goes to the registrar or to the MASA; refusals are written
 * down. */
#include "keeper/brski.h"

#include "base/log.h"
#include "base/text.h"

/* --- on the wire between worker and keeper ------------------------------------------------------------------------------------ */
void bm_brski_ask_write(struct bm_buf *out, const struct bm_brski_ask *a)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf who = { .max = BM_COMMAND_MAX };

    bm_enrol_write(&who, &a->who);
    out->bad = out->bad || who.bad;
    bm_buf_uint(out, 1, a->op);
    bm_buf_vec(out, bm_buf_rd(&who));
    bm_buf_vec(out, a->body);
}

enum bm_rc bm_brski_ask_parse(struct bm_rd in, struct bm_brski_ask *ret, struct bm_error *e)
{
    struct bm_brski_ask a = { 0 };
    struct bm_rd who;
    enum bm_rc rc;

    if (!bm_rd_u8(&in, &a.op) || a.op == 0 || a.op >= BM_BRSKI_OPS || !bm_rd_vec(&in, BM_COMMAND_MAX, &who) ||
        !bm_rd_vec(&in, BM_VOUCHER_REQUEST_MAX, &a.body) || in.n != 0)
        return bm_fail(e, BM_MALFORMED, "BRSKI command: cut short, too long or with something left over");
    rc = bm_enrol_parse(who, &a.who, e);
    if (rc == BM_OK && (a.who.n_requests != 0 || strcmp(a.who.protocol, "brski") != 0 ||
                        (a.who.evidence.kind != BM_EVIDENCE_NONE && a.who.evidence.kind != BM_EVIDENCE_TLS)))
        rc = bm_fail(e, BM_MALFORMED, "BRSKI command: with what does not belong to it");
    if (rc == BM_OK)
        *ret = a;
    return rc;
}

/* --- one message -------------------------------------------------------------------------------------------------------------- */
/* Device and registrar use one path. What a registrar sends is signed by one, or has a device's request inside. */
static enum bm_rc voucher(struct bm_keeper *k, const struct bm_brski_ask *a, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_voucher_opened_done) struct bm_voucher_opened o = { 0 };
    enum bm_rc rc = bm_voucher_open(a->body, &o, e);

    if (rc == BM_OK && !o.voucher.request)
        rc = bm_refuse(e, BM_MALFORMED, "voucher-request-wanted", "this is a voucher, not a request for one");
    if (rc != BM_OK)
        return rc;
    if (o.voucher.prior_signed.n != 0 || bm_is_registrar_cert(&o.signer))
        return bm_masa_answer(k, a->body, bm_brski_form(a), a->who.correlation, now, out, e);
    return bm_registrar_answer(k, a, &o, now, out, e);
}

static enum bm_rc audit(struct bm_keeper *k, const struct bm_brski_ask *a, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    return bm_masa_audit(k, a->body, now, out, e);
}

static enum bm_rc told(struct bm_keeper *k, const struct bm_brski_ask *a, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    (void)out;
    return bm_registrar_told(k, a, now, e);
}

typedef enum bm_rc brski_fn(struct bm_keeper *k, const struct bm_brski_ask *a, int64_t now, struct bm_buf *out, struct bm_error *e);
static brski_fn *const ops[BM_BRSKI_OPS] = {
    [BM_BRSKI_VOUCHER] = voucher, [BM_BRSKI_VOUCHER_JWS] = voucher, [BM_BRSKI_AUDIT] = audit,
    [BM_BRSKI_STATUS] = told,     [BM_BRSKI_ENROLLED] = told,
};

enum bm_rc bm_run_brski(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    struct bm_error lost;
    struct bm_brski_ask a;
    enum bm_rc rc = bm_brski_ask_parse(payload, &a, e);

    if (rc != BM_OK)
        return rc;
    rc = ops[a.op](k, &a, now, out, e);
    if (rc == BM_OK || rc == BM_IO || bm_record_refusal(k, &a.who, now, e, &lost) != BM_IO)
        return rc;
    *e = lost;
    return BM_IO;
}
