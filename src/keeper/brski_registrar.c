/* The registrar of this registry's own network, RFC 8995 section 5.2 to 5.7: lets a device in that proves its IDevID, gets it a
 * voucher, and writes down what the device makes of it. */
#include "keeper/brski.h"

#include "base/log.h"
#include "base/text.h"

#include <stdio.h>

/* --- who asks ----------------------------------------------------------------------------------------------------------------- */
static enum bm_rc judge(struct bm_keeper *k, const struct bm_brski_ask *a, int64_t now, struct bm_proven *ret, struct bm_error *e)
{
    if (a->who.evidence.kind != BM_EVIDENCE_TLS || a->who.evidence.cert.n == 0)
        return bm_refuse(e, BM_DENIED, "no-evidence", "a device shows its IDevID as TLS client certificate");
    return bm_evidence_judge(k, BM_CMD_ENROL, &a->who, now, ret, e);
}

/* Section 5.2: the request is signed with the IDevID, which is the certificate of the TLS connection. */
static enum bm_rc check_signer(const struct bm_brski_ask *a, const struct bm_voucher_opened *o, const struct bm_proven *who,
                               struct bm_error *e)
{
    if (who->credential.id != 0)
        return bm_refuse(e, BM_DENIED, "idevid-needed",
                         "a voucher is for a device's IDevID; this is a certificate of its operation");
    if (!bm_rd_eq(o->signer.whole, a->who.evidence.cert))
        return bm_refuse(e, BM_DENIED, "voucher-signer",
                         "the request is signed by another certificate than that of the TLS connection");
    return BM_OK;
}

/* --- what it asks ------------------------------------------------------------------------------------------------------------- */
static enum bm_rc check_complete(const struct bm_voucher *v, struct bm_error *e)
{
    if (v->nonce[0] == '\0')
        return bm_refuse(e, BM_MALFORMED, "voucher-incomplete", "a device's request needs a nonce (RFC 8995 section 5.2)");
    if (v->assertion != BM_ASSERTION_PROXIMITY || v->proximity_registrar_cert.n == 0)
        return bm_refuse(
            e, BM_MALFORMED, "voucher-incomplete",
            "a device's request has the assertion 'proximity' and the certificate of the server (RFC 8995 section 5.2)");
    return BM_OK;
}

/* The certificate that the device saw in this very handshake: its own signature covers it, so no worker and nobody on the way can
 * put another in its place. */
static enum bm_rc check_proximity(const struct bm_brski_ask *a, const struct bm_voucher *v, struct bm_rd *ret_server,
                                  struct bm_error *e)
{
    struct bm_handshake h;
    enum bm_rc rc = bm_handshake_verify(a->who.evidence.handshake, a->who.evidence.verify, &h, e);

    if (rc == BM_OK && !bm_rd_eq(h.server, bm_buf_rd(&v->proximity_registrar_cert)))
        return bm_refuse(e, BM_DENIED, "proximity-elsewhere",
                         "the device has signed for another server than this one: somebody is between");
    *ret_server = h.server;
    return rc;
}

/* Section 5.5: the number is taken from the certificate; what the request says is only held against it. */
static enum bm_rc check_serial(const struct bm_voucher_opened *o, char ret[BM_VOUCHER_SERIAL_MAX + 1], struct bm_error *e)
{
    if (!bm_idevid_serial(&o->signer, ret))
        return bm_refuse(e, BM_DENIED, "idevid-serial", "the IDevID's subject has no serialNumber of at most %d characters",
                         BM_VOUCHER_SERIAL_MAX);
    if (strcmp(ret, o->voucher.serial_number) != 0)
        return bm_refuse(e, BM_DENIED, "voucher-serial", "the request names another serial number than the IDevID");
    return BM_OK;
}

/* Is it another's? BM_DENIED "masa-untrusted" when nobody whom we trust says so. */
static enum bm_rc find_masa(struct bm_keeper *k, const struct bm_voucher_opened *o, const struct bm_proven *who,
                            bool *ret_elsewhere, struct bm_error *e)
{
    const struct bm_cert *idevid = &o->signer;
    char own[BM_TEXT_MAX];
    enum bm_rc rc = idevid->masa_url.n != 0 ? bm_masa_url(k, own, e) : BM_OK;
    bool whole = idevid->masa_url.n != 0 && memchr(idevid->masa_url.p, '/', idevid->masa_url.n) != NULL;

    *ret_elsewhere = rc == BM_OK && idevid->masa_url.n != 0 && !bm_rd_eq(idevid->masa_url, bm_rd_str(own));
    if (rc != BM_OK || !*ret_elsewhere)
        return rc;
    if (!who->birth_certificate && !bm_rd_eq(bm_buf_rd(&who->device.birth_cert), idevid->whole))
        return bm_refuse(
            e, BM_DENIED, "masa-untrusted",
            "the certificate that names the device's MASA is of nobody trusted here; see 'birthmark org trust --purpose birth'");
    if (whole &&
        (idevid->masa_url.n < 8 || memcmp(idevid->masa_url.p, "https://", 8) != 0)) /* section 2.3.2: HTTPS and nothing else */
        return bm_refuse(e, BM_DENIED, "masa-untrusted", "the IDevID names a MASA that is not to be asked over https");
    return BM_OK;
}

static enum bm_rc check_request(struct bm_keeper *k, const struct bm_brski_ask *a, const struct bm_voucher_opened *o,
                                const struct bm_proven *who, char ret_serial[BM_VOUCHER_SERIAL_MAX + 1], struct bm_rd *ret_server,
                                bool *ret_elsewhere, struct bm_error *e)
{
    enum bm_rc rc = check_signer(a, o, who, e);

    if (rc == BM_OK)
        rc = check_complete(&o->voucher, e);
    if (rc == BM_OK)
        rc = check_proximity(a, &o->voucher, ret_server, e);
    if (rc == BM_OK)
        rc = check_serial(o, ret_serial, e);
    return rc == BM_OK ? find_masa(k, o, who, ret_elsewhere, e) : rc;
}

/* --- what is asked of the MASA ------------------------------------------------------------------------------------------------ */
static void put(struct bm_buf *to, struct bm_rd from)
{
    to->max = from.n;
    bm_buf_put(to, from.p, from.n);
}

/* The chain up to the root, which is what is to be pinned, and the TLS certificate, so that any MASA finds what the device saw (RFC
 * 8995 section 5.5.5). */
static enum bm_rc seal(struct bm_keeper *k, const struct bm_voucher *v, enum bm_voucher_form form, struct bm_rd server, int64_t now,
                       struct bm_buf *out, struct bm_error *e)
{
    struct bm_rd certs[BM_CMS_CERTS_MAX];
    struct bm_brski_signer *signer;
    struct bm_issuer *by;
    struct bm_cert tls;
    size_t n = 0;
    enum bm_rc rc = bm_brski_signer(k, BM_ROLE_OF_REGISTRAR, now, &signer, &by, e);

    if (rc == BM_OK)
        rc = bm_cert_parse(server, &tls, e);
    if (rc == BM_OK && bm_cert_check_link(&tls, &by->cert, now, NULL) != BM_OK)
        rc = bm_refuse(e, BM_DENIED, "registrar-foreign-tls",
                       "the server's TLS certificate is not from its own CA, so no voucher can lead to it; leave out tls_cert");
    if (rc != BM_OK)
        return rc;
    certs[n++] = signer->cert.whole;
    for (size_t i = 0; i < by->n_chain; i++)
        certs[n++] = bm_buf_rd(&by->chain[i]);
    certs[n++] = server;
    return bm_voucher_seal(v, form, signer->key, certs, n, out, e);
}

static enum bm_rc make_request(struct bm_keeper *k, const struct bm_brski_ask *a, const struct bm_voucher_opened *o,
                               const char *serial, struct bm_rd server, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_voucher_done) struct bm_voucher v = { .request = true, .created_on = now };

    snprintf(v.serial_number, sizeof v.serial_number, "%s", serial);
    snprintf(v.nonce, sizeof v.nonce, "%s", o->voucher.nonce);
    put(&v.idevid_issuer, o->signer.akid);
    put(&v.prior_signed, a->body);
    return seal(k, &v, bm_brski_form(a), server, now, out, e);
}

/* The device's own registry says whether it may come in; its maker, somewhere else, whether it may trust us. */
static enum bm_rc ask_elsewhere(struct bm_keeper *k, const struct bm_brski_ask *a, const struct bm_voucher_opened *o,
                                const struct bm_proven *who, const char *serial, struct bm_rd server, int64_t now,
                                struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf request = { .max = BM_VOUCHER_REQUEST_MAX };
    struct bm_elsewhere w = { .device = &who->device,
                              .masa = o->signer.masa_url,
                              .serial = serial,
                              .nonce = o->voucher.nonce,
                              .correlation = a->who.correlation };
    struct bm_policy policy;
    bool asked = false;
    enum bm_rc rc = bm_voucher_allowed(k, &who->device, &policy, e);

    if (rc == BM_OK)
        rc = bm_registrar_answered(k, a, &asked, out, e);
    if (rc != BM_OK || asked)
        return rc;
    rc = make_request(k, a, o, serial, server, now, &request, e);
    w.request = bm_buf_rd(&request);
    return rc == BM_OK ? bm_registrar_ask(k, &w, a, now, e) : rc;
}

enum bm_rc bm_registrar_answer(struct bm_keeper *k, const struct bm_brski_ask *a, struct bm_voucher_opened *o, int64_t now,
                               struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf request = { .max = BM_VOUCHER_REQUEST_MAX };
    BM_CLEANUP(bm_proven_done) struct bm_proven who = { 0 };
    char serial[BM_VOUCHER_SERIAL_MAX + 1];
    struct bm_rd server = { 0 };
    bool elsewhere = false;
    enum bm_rc rc = judge(k, a, now, &who, e);

    if (rc == BM_OK)
        rc = check_request(k, a, o, &who, serial, &server, &elsewhere, e);
    if (rc != BM_OK)
        return rc;
    if (elsewhere)
        return ask_elsewhere(k, a, o, &who, serial, server, now, out, e);
    rc = make_request(k, a, o, serial, server, now, &request, e);
    return rc == BM_OK ? bm_masa_answer(k, bm_buf_rd(&request), bm_brski_form(a), a->who.correlation, now, out, e) : rc;
}

/* --- what it tells, section 5.7 and 5.9.4 ------------------------------------------------------------------------------------- */
struct told {
    bool good;
    char reason[BM_BRSKI_REASON_MAX];
};

/* "version" is a number in the CDDL and a text in the examples; what is not known is passed over, as the section says. */
static enum bm_rc read_told(struct bm_rd body, struct told *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *in = json_loadb((const char *)body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
    const json_t *version = json_object_get(in, "version"), *status = json_object_get(in, "status"),
                 *reason = json_object_get(in, "reason");

    if (!json_is_boolean(status) || (!json_is_integer(version) && !json_is_string(version)) ||
        (reason != NULL && !json_is_string(reason)))
        return bm_fail(e, BM_MALFORMED, "a status is a JSON object with \"version\", \"status\" and perhaps \"reason\"");
    ret->good = json_is_true(status);
    if (reason != NULL)
        bm_text_escape(bm_rd_of(json_string_value(reason), json_string_length(reason)), ret->reason, sizeof ret->reason);
    return BM_OK;
}

/* Once for each voucher: what comes again changes nothing, so that a device cannot fill the log. */
static bool take(struct bm_voucher_row *row, uint8_t op, const struct told *t, int64_t now)
{
    char *field = op == BM_BRSKI_STATUS ? row->told : row->enrolled;

    if (field[0] != '\0')
        return false;
    snprintf(field, sizeof row->told, "%s", t->good ? "accepted" : "refused");
    *(op == BM_BRSKI_STATUS ? &row->told_at : &row->enrolled_at) = now;
    if (t->reason[0] != '\0')
        snprintf(row->reason, sizeof row->reason, "%s", t->reason);
    return true;
}

static enum bm_rc write_told(struct bm_keeper *k, const struct bm_brski_ask *a, const struct bm_proven *who,
                             const struct bm_voucher_row *row, const struct told *t, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    char udid[2 * BM_UDID_LEN + 1];
    enum bm_rc rc = bm_voucher_row_tell(k->store, row, e);

    bm_hex(who->device.udid, BM_UDID_LEN, udid);
    fields = json_pack("{s:s, s:I, s:b, s:s, s:b, s:s}", "udid", udid, "voucher", (json_int_t)row->id, "good", t->good, "reason",
                       t->reason, "idevid", who->credential.id == 0, "correlation", a->who.correlation);
    if (rc == BM_OK)
        rc = fields != NULL ? bm_record(k, now, a->op == BM_BRSKI_STATUS ? "voucher.status" : "voucher.enrolled", fields, e)
                            : bm_fail(e, BM_NOMEM, "no memory");
    return rc == BM_OK ? BM_OK : bm_wrap(e, BM_IO, "what a device said of its voucher");
}

enum bm_rc bm_registrar_told(struct bm_keeper *k, const struct bm_brski_ask *a, int64_t now, struct bm_error *e)
{
    BM_CLEANUP(bm_proven_done) struct bm_proven who = { 0 };
    struct bm_voucher_row row;
    struct told t = { 0 };
    enum bm_rc rc = judge(k, a, now, &who, e);

    if (rc == BM_OK)
        rc = read_told(a->body, &t, e);
    if (rc == BM_OK)
        rc = bm_voucher_row_last(k->store, who.device.id, &row, e);
    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_NOTFOUND, "no-voucher", "this device has had no voucher here");
    if (rc != BM_OK || !take(&row, a->op, &t, now))
        return rc;
    if (!t.good)
        bm_log(BM_LOG_WARN, "brski", "a device refuses its %s: correlation=%s reason=%s",
               a->op == BM_BRSKI_STATUS ? "voucher" : "certificate", a->who.correlation, t.reason);
    return write_told(k, a, &who, &row, &t, now, e);
}
