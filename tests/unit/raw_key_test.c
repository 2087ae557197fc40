/* Raw public keys (RFC 7250) in handshakes: pki/handshake.h reads them, keeper/evidence.c judges them. If this fails, either a device that shows its
 * registered key without a certificate is locked out, or a worker gets by with a key that took no part in the handshake. */
#include "keeper_enrol.h"
#include "raw_key_handshake.h"

static struct world w;
static struct dev good, other, stranger;
static const uint8_t fresh[BM_HANDSHAKE_NONCE_LEN] = "thirty-two bytes that are fresh.";

static int open_all(void **state)
{
    (void)state;
    world_open(&w);
    dev_make(&good);
    dev_make(&other);
    dev_make(&stranger);
    register_device(&w, "lot", &good);
    register_device(&w, "lot", &other);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    dev_done(&good);
    dev_done(&other);
    dev_done(&stranger);
    world_close(&w);
    return 0;
}

/* --- reading ----------------------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *name;
    struct raw_handshake how;
    enum bm_rc want;
} rows[] = {
    { "DTLS 1.2", { RAW_DTLS12, .client_type = "02" }, BM_OK },
    { "TLS 1.2", { RAW_TLS12, .client_type = "02" }, BM_OK },
    { "TLS 1.3", { RAW_TLS13, .client_type = "02", .entry_end = "0000" }, BM_OK },
    { "TLS 1.3, an extension behind the key", { RAW_TLS13, .client_type = "02", .entry_end = "0004ff010000" }, BM_OK },
    { "the server's type said to be X.509", { RAW_DTLS12, .client_type = "02", .server_type = "00" }, BM_OK },
    { "a key where nobody spoke of one", { RAW_DTLS12 }, BM_MALFORMED },
    { "a key where nobody spoke of one, 1.3", { RAW_TLS13, .entry_end = "0000" }, BM_MALFORMED },
    { "a key where certificates were agreed on", { RAW_DTLS12, .client_type = "00" }, BM_MALFORMED },
    { "a key in the place of a certificate", { RAW_DTLS12, .client_type = "00", .listed = true }, BM_MALFORMED },
    { "a key in a list", { RAW_DTLS12, .client_type = "02", .listed = true }, BM_MALFORMED },
    { "OpenPGP", { RAW_DTLS12, .client_type = "01" }, BM_MALFORMED },
    { "a type that nobody knows", { RAW_DTLS12, .client_type = "03" }, BM_MALFORMED },
    { "two types", { RAW_DTLS12, .client_type = "0200" }, BM_MALFORMED },
    { "no type", { RAW_DTLS12, .client_type = "" }, BM_MALFORMED },
    { "no type, 1.3", { RAW_TLS13, .client_type = "", .entry_end = "0000" }, BM_MALFORMED },
    { "the server with a raw key", { RAW_DTLS12, .client_type = "02", .server_type = "02" }, BM_MALFORMED },
    { "the server with a raw key, 1.3",
      { RAW_TLS13, .client_type = "02", .server_type = "02", .entry_end = "0000" },
      BM_MALFORMED },
    { "no key", { RAW_DTLS12, .client_type = "02", .no_key = true }, BM_MALFORMED },
    { "no key, 1.3", { RAW_TLS13, .client_type = "02", .entry_end = "0000", .no_key = true }, BM_MALFORMED },
    { "a byte behind the key", { RAW_DTLS12, .client_type = "02", .entry_end = "00" }, BM_MALFORMED },
    { "a second key", { RAW_TLS13, .client_type = "02", .entry_end = "0000000001300000" }, BM_MALFORMED },
    { "no extensions behind the key", { RAW_TLS13, .client_type = "02" }, BM_MALFORMED },
};

static void each_form_is_read_or_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        BM_CLEANUP(bm_tls_peer_done) struct bm_tls_peer p;
        struct bm_handshake h;
        enum bm_rc rc;

        raw_handshake(&rows[i].how, fresh, good.id.evp, bm_key_spki(good.id.key), &p);
        rc = bm_handshake_verify(bm_buf_rd(&p.transcript), bm_buf_rd(&p.verify), &h, &err);
        if (rc != rows[i].want)
            fail_msg("%s: %s (%s)", rows[i].name, bm_rc_name(rc), err.what);
        if (rc != BM_OK)
            continue;
        assert_true(bm_rd_eq(h.spki, bm_key_spki(good.id.key)) && h.certificate.n == 0);
        assert_true(bm_rd_eq(h.server, bm_rd_str("cert")) && bm_handshake_is_fresh(&h, fresh));
        assert_int_equal(h.tls13, rows[i].how.over == RAW_TLS13);
    }
}

/* As handshake_test.c has it for certificates. */
static enum bm_rc verify_exact(struct bm_rd transcript, struct bm_rd verify)
{
    uint8_t *t = exact(transcript), *v = exact(verify);
    struct bm_handshake h;
    enum bm_rc rc = bm_handshake_verify(bm_rd_of(t, transcript.n), bm_rd_of(v, verify.n), &h, &err);

    free(t);
    free(v);
    return rc;
}

/* The number of the last message of DTLS says nothing. */
static bool is_number(enum raw_over over, size_t at)
{
    return over == RAW_DTLS12 && (at == 4 || at == 5);
}

static void every_byte_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        BM_CLEANUP(bm_tls_peer_done) struct bm_tls_peer p;
        struct bm_rd t, v;

        raw_handshake(&rows[i].how, fresh, good.id.evp, bm_key_spki(good.id.key), &p);
        t = bm_buf_rd(&p.transcript);
        v = bm_buf_rd(&p.verify);
        assert_ok(verify_exact(t, v));
        for (size_t n = 0; n < t.n; n++) {
            assert_int_not_equal(verify_exact(bm_rd_of(t.p, n), v), BM_OK);
            p.transcript.p[n] ^= 0x40;
            if (verify_exact(t, v) == BM_OK)
                fail_msg("row %zu: byte %zu of %zu does not count", i, n, t.n);
            p.transcript.p[n] ^= 0x40;
        }
        for (size_t n = 0; n < v.n; n++) {
            assert_int_not_equal(verify_exact(t, bm_rd_of(v.p, n)), BM_OK);
            p.verify.p[n] ^= 0x40;
            if (!is_number(rows[i].how.over, n) && verify_exact(t, v) == BM_OK)
                fail_msg("row %zu: byte %zu of the signature does not count", i, n);
            p.verify.p[n] ^= 0x40;
        }
    }
}

static void the_key_itself_has_signed(void **state)
{
    BM_CLEANUP(bm_tls_peer_done) struct bm_tls_peer p;
    struct bm_handshake h;

    (void)state;
    raw_handshake(&rows[0].how, fresh, other.id.evp, bm_key_spki(good.id.key), &p);
    assert_rc(bm_handshake_verify(bm_buf_rd(&p.transcript), bm_buf_rd(&p.verify), &h, &err), BM_DENIED);
    assert_string_equal(err.code, "bad-signature");
    bm_tls_peer_done(&p);
    raw_handshake(&rows[0].how, fresh, other.id.evp, bm_rd_str("a key"), &p);
    assert_rc(bm_handshake_verify(bm_buf_rd(&p.transcript), bm_buf_rd(&p.verify), &h, &err), BM_MALFORMED);
}

/* --- judging ------------------------------------------------------------------------------------------------------------------------- */
static void nonce_now(uint8_t ret[BM_HANDSHAKE_NONCE_LEN])
{
    bm_keeper_nonce(w.k, ret);
}

/* A request with the raw key of `d`, as the worker that saw the handshake would hand it on. */
static void ask_raw(const struct dev *d, struct bm_enrol *c, struct bm_tls_peer *p)
{
    uint8_t nonce[BM_HANDSHAKE_NONCE_LEN];

    nonce_now(nonce);
    raw_handshake(&rows[0].how, nonce, d->id.evp, bm_key_spki(d->id.key), p);
    *c = (struct bm_enrol){ .n_requests = 1 };
    c->evidence = (struct bm_evidence){ .kind = BM_EVIDENCE_TLS,
                                        .spki = bm_key_spki(d->id.key),
                                        .handshake = bm_buf_rd(&p->transcript),
                                        .verify = bm_buf_rd(&p->verify) };
    c->requests[0].csr = bm_buf_rd(&d->csr);
}

/* The same as the self-signed certificate over that key, for the first certificate, the next one and for how it stands. */
static void the_registered_key_is_the_device(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    BM_CLEANUP(bm_tls_peer_done) struct bm_tls_peer p;
    struct bm_enrolled got;
    struct bm_status s;
    struct bm_enrol c;

    (void)state;
    ask_raw(&good, &c, &p);
    keeper_run(&w, BM_CMD_ENROL, &c, BM_OK, &out);
    assert_ok(bm_enrolled_parse(bm_buf_rd(&out), &got, &err));
    assert_memory_equal(got.udid, good.udid, sizeof good.udid);
    c.reenrol = true;
    keeper_run(&w, BM_CMD_ENROL, &c, BM_OK, &out);
    c.reenrol = false;
    c.n_requests = 0;
    keeper_run(&w, BM_CMD_STATUS, &c, BM_OK, &out);
    assert_ok(bm_status_parse(bm_buf_rd(&out), &s, &err));
    assert_string_equal(s.status, "enrolled");
    (void)enrol_as(&w, &good, good.op.key, "", BM_OK); /* and it is no second device: the certificate goes on working */
    status_of(&w, &good, "enrolled", "active");
}

static struct bm_tls_peer by_good, by_other, by_stranger, by_cert, gone;

static void nothing_proves_it(struct bm_enrol *c)
{
    c->evidence.handshake = c->evidence.verify = NO_BLOB;
}
static void key_of_other(struct bm_enrol *c)
{
    c->evidence.spki = bm_key_spki(other.id.key);
}
static void certificate_in_its_place(struct bm_enrol *c) /* over the very key that signed */
{
    c->evidence.spki = NO_BLOB;
    c->evidence.cert = bm_buf_rd(&good.id.cert);
}
static void certificate_beside_it(struct bm_enrol *c)
{
    c->evidence.cert = bm_buf_rd(&good.id.cert);
}
static void key_out_of_a_certificate(struct bm_enrol *c)
{
    c->evidence.handshake = bm_buf_rd(&by_cert.transcript);
    c->evidence.verify = bm_buf_rd(&by_cert.verify);
}
static void handshake_of_other(struct bm_enrol *c)
{
    c->evidence.handshake = bm_buf_rd(&by_other.transcript);
    c->evidence.verify = bm_buf_rd(&by_other.verify);
}
static void of_another_server(struct bm_enrol *c)
{
    c->evidence.handshake = bm_buf_rd(&gone.transcript);
    c->evidence.verify = bm_buf_rd(&gone.verify);
}
static void by_nobody(struct bm_enrol *c)
{
    c->evidence.spki = bm_key_spki(stranger.id.key);
    c->evidence.handshake = bm_buf_rd(&by_stranger.transcript);
    c->evidence.verify = bm_buf_rd(&by_stranger.verify);
}
static void renewal_by_nobody(struct bm_enrol *c) /* as with an LDevID's key */
{
    by_nobody(c);
    c->reenrol = true;
}
static void under_anothers_name(struct bm_enrol *c)
{
    c->claimed_udid = bm_rd_of(other.udid, BM_UDID_LEN);
}
static void a_copy(struct bm_enrol *c)
{
    by_nobody(c);
    under_anothers_name(c);
}
static void as_no_evidence(struct bm_enrol *c)
{
    c->evidence.kind = BM_EVIDENCE_NONE;
}

static const struct {
    const char *name;
    void (*change)(struct bm_enrol *c);
    const char *code;
} lies[] = {
    { "no handshake", nothing_proves_it, "handshake-unproven" },
    { "another's key", key_of_other, "handshake-unproven" },
    { "a certificate over the key", certificate_in_its_place, "handshake-unproven" },
    { "a certificate and the key", certificate_beside_it, "evidence-ambiguous" },
    { "the key of a certificate that was shown", key_out_of_a_certificate, "handshake-unproven" },
    { "another device's handshake", handshake_of_other, "handshake-unproven" },
    { "a handshake with another server", of_another_server, "handshake-stale" },
    { "a key nobody listed", by_nobody, "unknown-device" },
    { "a renewal with a key nobody listed", renewal_by_nobody, "raw-key-not-registered" },
    { "a copy of another device", a_copy, "udid-mismatch" },
    { "another's UDID", under_anothers_name, "udid-mismatch" },
    { "evidence of no kind", as_no_evidence, "no-evidence" },
};

static void handshakes_open(void)
{
    static const uint8_t elsewhere[BM_HANDSHAKE_NONCE_LEN] = { 4, 7, 1, 1 };
    BM_CLEANUP(bm_buf_done) struct bm_buf bytes = { .max = 1 << 20 };
    static struct bm_view view; /* large */
    struct bm_enrol unused;

    ask_raw(&good, &unused, &by_good);
    ask_raw(&other, &unused, &by_other);
    ask_raw(&stranger, &unused, &by_stranger);
    raw_handshake(&rows[0].how, elsewhere, good.id.evp, bm_key_spki(good.id.key), &gone);
    assert_ok(bm_run_view(w.k, bm_clock_s(), &bytes, &err));
    assert_ok(bm_view_parse(bm_buf_rd(&bytes), &view, &err));
    assert_true(shake_with(&view, bm_buf_rd(&good.id.cert), TLS1_2_VERSION, &by_cert));
}

/* As keeper_run(), whatever comes of it; and nothing is added to what the evidence is. */
static void tell(struct bm_enrol *c, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf payload = { .max = BM_COMMAND_MAX };

    snprintf(c->protocol, sizeof c->protocol, "est");
    snprintf(c->peer, sizeof c->peer, "192.0.2.7");
    next_correlation(&w, c);
    bm_enrol_write(&payload, c);
    assert_int_not_equal(command(&w, BM_CMD_ENROL, bm_buf_rd(&payload), out), BM_OK);
}

/* Before the honest handshake has been seen, and again after it: having been believed once is no licence. */
static void lies_are_refused(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 1 << 20 };
    const struct bm_evidence honest = { .kind = BM_EVIDENCE_TLS, .spki = bm_key_spki(good.id.key) };

    (void)state;
    handshakes_open();
    for (size_t i = 0; i < 2 * BM_COUNT(lies); i++) {
        size_t row = i % BM_COUNT(lies);
        struct bm_enrol c = { .n_requests = 1, .evidence = honest };

        c.evidence.handshake = bm_buf_rd(&by_good.transcript);
        c.evidence.verify = bm_buf_rd(&by_good.verify);
        c.requests[0].csr = bm_buf_rd(&good.csr);
        if (i == BM_COUNT(lies))
            keeper_run(&w, BM_CMD_ENROL, &c, BM_OK, &out);
        lies[row].change(&c);
        tell(&c, &out);
        if (strcmp(err.code, lies[row].code) != 0)
            fail_msg("%s (%zu): '%s' (%s), wanted '%s'", lies[row].name, i, err.code, err.what, lies[row].code);
    }
    bm_tls_peer_done(&by_good);
    bm_tls_peer_done(&by_other);
    bm_tls_peer_done(&by_stranger);
    bm_tls_peer_done(&by_cert);
    bm_tls_peer_done(&gone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_is_read_or_refused),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(the_key_itself_has_signed),
        cmocka_unit_test(the_registered_key_is_the_device),
        cmocka_unit_test(lies_are_refused),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}
