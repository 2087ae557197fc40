/* A worker in enemy hands, against a real keeper process, confined as in service: the test plays the supervisor (it hands over the sockets) and
 * the worker (it says what it likes). Every row is refused with its code or costs the worker its connection; afterwards the registry
 * counts what it counted before, its history holds, and an honest worker is served. */
#include "keeper_fixture.h"

#include "base/confine.h"
#include "base/fdpass.h"
#include "base/frame.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define DROPPED "(dropped)"
#define WAIT_MS 20000

static struct world w;
static struct dev good, other, stranger, suspended, compromised, spare[2], honest[10];
static struct party twin; /* another certificate over good's key */
static size_t n_honest, n_rows;
static struct bm_buf ldevid, revoked; /* certificates of `good` and `other` */
static pid_t keeper;
static int control = -1;
static char *counts;

/* --- the keeper as a process ------------------------------------------------------------------------------------------------------- */
static void keeper_start(void)
{
    char admin_path[100];
    int pair[2];

    counts = counts_of(&w);
    bm_keeper_close(BM_MOVE(w.k));
    snprintf(admin_path, sizeof admin_path, "%s/admin.sock", w.dir);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    fflush(NULL);
    keeper = fork();
    assert_true(keeper >= 0);
    if (keeper == 0) {
        close(pair[0]);
        w.options.confine = bm_confine_check(&err) == BM_OK ? BM_CONFINE_REQUIRED : BM_CONFINE_OFF;
        _exit(bm_keeper_run(&w.options, pair[1], admin_path));
    }
    close(pair[1]);
    control = pair[0];
}

/* It ends in good order, whatever the rows did, and has the registry as before: `more` devices have enrolled honestly. */
static void keeper_stop(bool same)
{
    int how;
    char *after;

    close(control);
    assert_int_equal(waitpid(keeper, &how, 0), keeper);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    assert_ok(bm_keeper_open(&w.options, &w.k, &err));
    history_holds(&w);
    after = counts_of(&w);
    if (same)
        assert_string_equal(after, counts);
    free(after);
    free(counts);
}

static int connect_worker(void)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_ok(bm_fd_send(control, pair[1], BM_FD_WORKER, &err));
    close(pair[1]);
    return pair[0];
}

static void put(int fd, struct bm_rd b)
{
    while (b.n != 0) {
        ssize_t n = send(fd, b.p, b.n, MSG_NOSIGNAL);

        if (n <= 0)
            return; /* it hung up: get() will see */
        b = bm_rd_of(b.p + n, b.n - (size_t)n);
    }
}

static void put_frame(int fd, uint64_t id, uint8_t type, struct bm_rd payload)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_FRAME_MAX };
    size_t at = bm_frame_begin(&out, id, type);

    bm_buf_put(&out, payload.p, payload.n);
    bm_frame_end(&out, at);
    put(fd, bm_buf_rd(&out));
}

/* The next frame, which stays in `in`; false: the keeper hung up. */
static bool get(int fd, struct bm_buf *in, struct bm_frame *f)
{
    for (;;) {
        struct bm_rd r = bm_buf_rd(in);
        struct pollfd p = { .fd = fd, .events = POLLIN };
        uint8_t *to;
        ssize_t n;

        if (bm_frame_read(&r, BM_FRAME_MAX, f, NULL) == BM_OK)
            return true;
        to = bm_buf_room(in, 65536);
        assert_non_null(to);
        assert_int_equal(poll(&p, 1, WAIT_MS), 1); /* it is never silent */
        n = recv(fd, to, 65536, 0);
        if (n <= 0)
            return false;
        in->n += (size_t)n;
    }
}

/* The code of the answer, "" for one that is no refusal. */
static void answer(int fd, uint64_t id, char code[32])
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { .max = BM_FRAME_MAX };
    struct bm_refused r = { 0 };
    struct bm_frame f;

    if (!get(fd, &in, &f)) {
        snprintf(code, 32, "%s", DROPPED);
        return;
    }
    assert_int_equal(f.id, id);
    if (f.type == BM_REFUSAL)
        assert_ok(bm_refused_parse(f.payload, &r, &err));
    snprintf(code, 32, "%s", r.code);
}

static size_t wrong;

static void check(const char *name, size_t i, const char *got, const char *want)
{
    n_rows++;
    if (strcmp(got, want) == 0)
        return;
    print_error("%s (%zu): '%s', wanted '%s'\n", name, i, got, want);
    wrong++;
}

static void refused(int fd, const char *name, size_t i, uint8_t type, struct bm_rd payload, const char *want)
{
    char code[32];

    put_frame(fd, 1000 + i, type, payload);
    answer(fd, 1000 + i, code);
    check(name, i, code, want);
}

static void ask_tls(struct bm_enrol *c, const struct dev *d)
{
    *c = (struct bm_enrol){ .peer = "192.0.2.7:4711", .protocol = "est", .n_requests = 1 };
    next_correlation(&w, c);
    c->evidence.kind = BM_EVIDENCE_TLS;
    c->evidence.cert = bm_buf_rd(&d->id.cert);
    c->requests[0].csr = bm_buf_rd(&d->csr);
}

/* What the keeper gives workers to serve with. */
static const struct bm_view *view_now(struct bm_buf *bytes)
{
    static struct bm_view view; /* large */
    struct bm_frame f;
    int fd = connect_worker();

    put_frame(fd, 5, BM_CMD_VIEW, NO_BLOB);
    assert_true(get(fd, bytes, &f) && f.type == (BM_CMD_VIEW | BM_ANSWER));
    assert_ok(bm_view_parse(f.payload, &view, &err));
    close(fd);
    return &view;
}

static void payload_of(const struct bm_enrol *asked, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf bytes = { .max = BM_FRAME_MAX };
    struct bm_enrol c = *asked;

    if (wants_proof(&c.evidence))
        prove_by(view_now(&bytes), &c);
    out->n = 0;
    out->max = BM_COMMAND_MAX;
    bm_enrol_write(out, &c);
}

static void honest_worker_is_served(void)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { .max = BM_COMMAND_MAX };
    struct bm_enrol c;
    char code[32];
    int fd = connect_worker();

    assert_true(n_honest < BM_COUNT(honest));
    ask_tls(&c, &honest[n_honest++]);
    payload_of(&c, &in);
    put_frame(fd, 7, BM_CMD_ENROL, bm_buf_rd(&in));
    answer(fd, 7, code);
    assert_string_equal(code, "");
    close(fd);
}

/* Each group: the keeper of its own, nothing counted, and honest service afterwards. */
static void group(void (*rows)(int fd))
{
    int fd;

    wrong = 0;
    keeper_start();
    fd = connect_worker();
    rows(fd);
    close(fd);
    keeper_stop(true);
    assert_int_equal(wrong, 0);
    keeper_start();
    honest_worker_is_served();
    keeper_stop(false);
}

/* --- minting ------------------------------------------------------------------------------------------------------------------------ */
static struct bm_buf scratch, bent; /* of the row under way */

static void bend(struct bm_rd b, size_t at)
{
    bent.n = 0;
    bent.max = BM_COMMAND_MAX;
    bm_buf_put(&bent, b.p, b.n);
    bent.p[at] ^= 1;
}

static void no_proof(struct bm_enrol *c)
{
    c->evidence = (struct bm_evidence){ 0 };
}
static void empty_tls(struct bm_enrol *c)
{
    c->evidence.cert = NO_BLOB;
}
static void unknown_key(struct bm_enrol *c)
{
    c->evidence.cert = bm_buf_rd(&stranger.id.cert);
}
static void key_and_cert(struct bm_enrol *c)
{
    c->evidence.spki = bm_key_spki(good.id.key);
}
static void udid_of_other(struct bm_enrol *c)
{
    c->claimed_udid = bm_rd_of(other.udid, BM_UDID_LEN);
}
static void other_batch(struct bm_enrol *c)
{
    c->claimed_batch = bm_rd_str("elsewhere");
}
static void other_service(struct bm_enrol *c)
{
    c->requests[0].service = bm_rd_str("nothing");
}
static void is_suspended(struct bm_enrol *c)
{
    c->evidence.cert = bm_buf_rd(&suspended.id.cert);
}
static void is_compromised(struct bm_enrol *c)
{
    c->evidence.cert = bm_buf_rd(&compromised.id.cert);
}
static void revoked_cert(struct bm_enrol *c)
{
    c->evidence.cert = bm_buf_rd(&revoked);
}
static void nothing_asked(struct bm_enrol *c)
{
    c->n_requests = 0;
}
static void empty_csr(struct bm_enrol *c)
{
    c->requests[0].csr = NO_BLOB;
}
static void half_csr(struct bm_enrol *c)
{
    c->requests[0].csr.n /= 2;
}
static void csr_signature(struct bm_enrol *c)
{
    bend(c->requests[0].csr, c->requests[0].csr.n - 1);
    c->requests[0].csr = bm_buf_rd(&bent);
}
/* A request over a CA's key, which is public in every chain: nobody but the keeper can sign with it. */
static void csr_of_ca(struct bm_enrol *c)
{
    struct bm_cert cert;
    const uint8_t *at;

    assert_ok(bm_cert_parse(bm_buf_rd(&scratch), &cert, &err));
    bend(c->requests[0].csr, 0);
    bent.p[0] ^= 1;
    at = memmem(bent.p, bent.n, bm_key_spki(good.op.key).p, bm_key_spki(good.op.key).n);
    assert_non_null(at);
    assert_int_equal(cert.spki.n, bm_key_spki(good.op.key).n);
    memcpy(bent.p + (at - bent.p), cert.spki.p, cert.spki.n);
    c->requests[0].csr = bm_buf_rd(&bent);
}
static void forged_cert(struct bm_enrol *c)
{
    bend(bm_buf_rd(&ldevid), ldevid.n - 1);
    c->evidence.cert = bm_buf_rd(&bent);
}
static void cert_is_junk(struct bm_enrol *c)
{
    c->evidence.cert = bm_rd_str("certificate");
}
static void ca_as_device(struct bm_enrol *c)
{
    c->evidence.cert = bm_buf_rd(&scratch);
}
static void other_subject(struct bm_enrol *c)
{
    c->evidence.cert = bm_buf_rd(&ldevid);
    c->reenrol = true;
}
static void challenge_bare(struct bm_enrol *c)
{
    c->evidence.kind = BM_EVIDENCE_CHALLENGE;
}
static void challenge_invented(struct bm_enrol *c)
{
    static const uint8_t made[BM_CHALLENGE_LEN] = { 1, 2, 3 };

    c->evidence.kind = BM_EVIDENCE_CHALLENGE;
    c->evidence.challenge = bm_rd_of(made, sizeof made);
    c->evidence.signature = bm_rd_of(made, sizeof made);
}
/* A worker may say that a code came by; only a code that was made lets anybody in. */
static void code_invented(struct bm_enrol *c)
{
    static const uint8_t made[BM_CODE_LEN] = { 1, 2, 3 };
    static char text[BM_CODE_TEXT_LEN];

    bm_code_write(made, text);
    c->evidence = (struct bm_evidence){ .kind = BM_EVIDENCE_CODE, .code = bm_rd_str(text) };
    c->claimed_udid = bm_rd_of(other.udid, BM_UDID_LEN);
}
static void code_with_cert(struct bm_enrol *c)
{
    c->evidence.kind = BM_EVIDENCE_CODE;
    c->claimed_udid = bm_rd_of(good.udid, BM_UDID_LEN);
}
static void wants_a_key(struct bm_enrol *c)
{
    c->keygen = true;
}
static void code_for_nobody(struct bm_enrol *c)
{
    code_invented(c);
    c->claimed_udid = c->claimed_batch = bm_rd_of(NULL, 0);
}
static void code_to_renew(struct bm_enrol *c)
{
    code_invented(c);
    c->reenrol = true;
}

static const struct {
    const char *name;
    void (*change)(struct bm_enrol *c);
    const char *code;
} minting[] = {
    { "no proof", no_proof, "no-evidence" },
    { "TLS without a certificate", empty_tls, "no-evidence" },
    { "a key nobody listed", unknown_key, "unknown-device" },
    { "key and certificate", key_and_cert, "evidence-ambiguous" },
    { "another's UDID", udid_of_other, "udid-mismatch" },
    { "another batch", other_batch, "wrong-batch" },
    { "no such service", other_service, "service-refused" },
    { "suspended", is_suspended, "device-suspended" },
    { "compromised", is_compromised, "device-compromised" },
    { "a revoked certificate", revoked_cert, "credential-revoked" },
    { "nothing asked for", nothing_asked, "no-requests" },
    { "an empty request", empty_csr, "malformed" },
    { "half a request", half_csr, "malformed" },
    { "a request signed by another key", csr_signature, "bad-signature" },
    { "a request over the CA's key", csr_of_ca, "bad-signature" },
    { "a forged certificate of ours", forged_cert, "udid-mismatch" },
    { "no certificate at all", cert_is_junk, "malformed" },
    { "the CA's certificate as a device's", ca_as_device, "handshake-unproven" },
    { "renewal for another subject", other_subject, "subject-mismatch" },
    { "a challenge that is none", challenge_bare, "challenge-malformed" },
    { "an invented challenge", challenge_invented, "challenge-unknown" },
    { "a key made for it", wants_a_key, "server-keygen-off" },
    { "an invented code", code_invented, "code-wrong" },
    { "a good certificate and an empty code", code_with_cert, "code-mistyped" },
    { "a code for nobody", code_for_nobody, "code-target" },
    { "a code to renew", code_to_renew, "code-not-here" },
};

static void minting_rows(int fd)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { 0 };

    for (size_t i = 0; i < BM_COUNT(minting); i++) {
        struct bm_enrol c;

        ask_tls(&c, &good);
        minting[i].change(&c);
        payload_of(&c, &in);
        refused(fd, minting[i].name, i, BM_CMD_ENROL, bm_buf_rd(&in), minting[i].code);
    }
}

/* --- handshakes that never were ------------------------------------------------------------------------------------------------------- */
static struct bm_tls_peer shaken, shaken_by_other, shaken_12, stale; /* real ones: this hour's, and one without our nonce */

static void a_bit(struct bm_rd *b, size_t at)
{
    bend(*b, at);
    *b = bm_buf_rd(&bent);
}
static void not_at_all(struct bm_enrol *c)
{
    c->evidence.handshake = c->evidence.verify = NO_BLOB;
}
static void no_signature(struct bm_enrol *c)
{
    c->evidence.verify = NO_BLOB;
}
static void someone_elses(struct bm_enrol *c)
{
    c->evidence.handshake = bm_buf_rd(&shaken_by_other.transcript);
    c->evidence.verify = bm_buf_rd(&shaken_by_other.verify);
}
static void signature_of_other(struct bm_enrol *c)
{
    c->evidence.verify = bm_buf_rd(&shaken_by_other.verify);
}
static void of_another_version(struct bm_enrol *c)
{
    c->evidence.handshake = bm_buf_rd(&shaken_12.transcript);
}
static void first_bit(struct bm_enrol *c)
{
    a_bit(&c->evidence.handshake, 40); /* of the client's random */
}
static void bit_of_nonce(struct bm_enrol *c)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf bytes = { .max = BM_FRAME_MAX };
    const struct bm_view *v = view_now(&bytes);
    const uint8_t *at = memmem(c->evidence.handshake.p, c->evidence.handshake.n, v->nonce.p, v->nonce.n);

    assert_non_null(at);
    a_bit(&c->evidence.handshake, (size_t)(at - c->evidence.handshake.p));
}
static void last_bit(struct bm_enrol *c)
{
    a_bit(&c->evidence.verify, c->evidence.verify.n - 1);
}
static void one_too_many(struct bm_enrol *c)
{
    bend(c->evidence.handshake, 0);
    bent.p[0] ^= 1;
    bm_buf_put(&bent, "\x14\0\0\0", 4);
    c->evidence.handshake = bm_buf_rd(&bent);
}
static void cut_short(struct bm_enrol *c)
{
    c->evidence.handshake.n -= 7;
}
static void with_another_server(struct bm_enrol *c)
{
    c->evidence.handshake = bm_buf_rd(&stale.transcript);
    c->evidence.verify = bm_buf_rd(&stale.verify);
}
static void for_another_certificate(struct bm_enrol *c) /* over the same key */
{
    c->evidence.cert = bm_buf_rd(&twin.cert);
}

static const struct {
    const char *name;
    void (*change)(struct bm_enrol *c);
    const char *code;
} handshakes[] = {
    { "no handshake", not_at_all, "handshake-unproven" },
    { "no signature", no_signature, "malformed" },
    { "another device's handshake", someone_elses, "handshake-unproven" },
    { "another device's signature", signature_of_other, "bad-signature" },
    { "messages of TLS 1.2, signature of 1.3", of_another_version, "bad-signature" },
    { "a bit of the messages", first_bit, "bad-signature" },
    { "a bit of the nonce", bit_of_nonce, "bad-signature" },
    { "a bit of the signature", last_bit, "bad-signature" },
    { "a message too many", one_too_many, "malformed" },
    { "messages cut short", cut_short, "malformed" },
    { "a handshake with another server", with_another_server, "handshake-stale" },
    { "another certificate over the same key", for_another_certificate, "handshake-unproven" },
};

static void shake_all(void)
{
    static const uint8_t elsewhere[BM_HANDSHAKE_NONCE_LEN] = { 4, 7, 1, 1 };
    BM_CLEANUP(bm_buf_done) struct bm_buf bytes = { .max = BM_FRAME_MAX };
    struct bm_view v = *view_now(&bytes);

    assert_true(shake_with(&v, bm_buf_rd(&good.id.cert), TLS1_3_VERSION, &shaken));
    assert_true(shake_with(&v, bm_buf_rd(&good.id.cert), TLS1_2_VERSION, &shaken_12));
    assert_true(shake_with(&v, bm_buf_rd(&other.id.cert), TLS1_3_VERSION, &shaken_by_other));
    v.nonce = bm_rd_of(elsewhere, sizeof elsewhere);
    assert_true(shake_with(&v, bm_buf_rd(&good.id.cert), TLS1_3_VERSION, &stale));
}

/* Each row before the honest handshake has been seen, and again after it: having been believed once is no licence. */
static void handshake_rows(int fd)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { 0 };

    shake_all();
    for (size_t i = 0; i < 2 * BM_COUNT(handshakes); i++) {
        size_t row = i % BM_COUNT(handshakes);
        struct bm_enrol c;
        char code[32];

        ask_tls(&c, &good);
        c.evidence.handshake = bm_buf_rd(&shaken.transcript);
        c.evidence.verify = bm_buf_rd(&shaken.verify);
        if (i == BM_COUNT(handshakes)) {
            payload_of(&c, &in);
            put_frame(fd, 6, BM_CMD_STATUS, bm_buf_rd(&in));
            answer(fd, 6, code);
        }
        handshakes[row].change(&c);
        in.n = 0;
        in.max = BM_COMMAND_MAX;
        bm_enrol_write(&in, &c);
        refused(fd, handshakes[row].name, i, BM_CMD_ENROL, bm_buf_rd(&in), handshakes[row].code);
    }
    bm_tls_peer_done(&shaken);
    bm_tls_peer_done(&shaken_12);
    bm_tls_peer_done(&shaken_by_other);
    bm_tls_peer_done(&stale);
}

/* --- challenges copied, moved and replayed -------------------------------------------------------------------------------------------- */
static void challenge(int fd, uint8_t ret[BM_CHALLENGE_LEN])
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { .max = BM_FRAME_MAX };
    struct bm_frame f;

    put_frame(fd, 3, BM_CMD_CHALLENGE, NO_BLOB);
    assert_true(get(fd, &in, &f) && f.payload.n == BM_CHALLENGE_LEN);
    memcpy(ret, f.payload.p, BM_CHALLENGE_LEN);
}

/* what: 0 sent as the other command; 1 another's key signs; 2 another request in place; 3 a bit of the challenge; 4 of the signature;
 * 5 status asked twice with one answer */
static void challenge_row(int fd, int what, const char *name, const char *want)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { 0 }, tbs = { .max = BM_COMMAND_MAX };
    uint8_t nonce[BM_CHALLENGE_LEN], signature[512];
    size_t n = sizeof signature;
    struct bm_enrol c;
    char code[32];

    challenge(fd, nonce);
    ask_tls(&c, &good);
    c.evidence = (struct bm_evidence){ .kind = BM_EVIDENCE_CHALLENGE,
                                       .spki = bm_key_spki(good.id.key),
                                       .challenge = bm_rd_of(nonce, sizeof nonce) };
    if (what == 5)
        c.n_requests = 0;
    bm_enrol_tbs(&tbs, what == 0 || what == 5 ? BM_CMD_STATUS : BM_CMD_ENROL, &c);
    assert_ok(bm_key_sign_raw(what == 1 ? other.id.key : good.id.key, bm_buf_rd(&tbs), signature, &n, &err));
    c.evidence.signature = bm_rd_of(signature, n);
    if (what == 2)
        c.requests[0].csr = bm_buf_rd(&other.csr);
    nonce[5] ^= what == 3;
    signature[5] ^= what == 4;
    payload_of(&c, &in);
    if (what == 5) {
        put_frame(fd, 4, BM_CMD_STATUS, bm_buf_rd(&in));
        answer(fd, 4, code);
        assert_string_equal(code, "");
    }
    refused(fd, name, (size_t)what, what == 5 ? BM_CMD_STATUS : BM_CMD_ENROL, bm_buf_rd(&in), want);
}

static void challenge_rows(int fd)
{
    static const struct {
        const char *name, *code;
    } rows[] = {
        { "signed for a status, used to enrol", "bad-signature" },
        { "signed by another device", "bad-signature" },
        { "another request put in", "bad-signature" },
        { "a bit of the challenge", "challenge-unknown" },
        { "a bit of the signature", "bad-signature" },
        { "an answer used twice", "challenge-used" },
    };

    for (size_t i = 0; i < BM_COUNT(rows); i++)
        challenge_row(fd, (int)i, rows[i].name, rows[i].code);
}

/* --- a secret key that no worker has ---------------------------------------------------------------------------------------------------- */
static struct chip chip;

/* MACs made of everything that a worker does know. */
static void mac_row(int fd, size_t i, struct bm_rd key, const char *want)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { 0 }, tbs = { .max = BM_COMMAND_MAX };
    uint8_t nonce[BM_CHALLENGE_LEN], mac[BM_MAC_MAX];
    struct bm_enrol c;

    challenge(fd, nonce);
    ask_tls(&c, &good);
    snprintf(c.peer, sizeof c.peer, "192.0.2.%zu:1", i); /* a worker may say so, to get round the limit */
    c.claimed_udid = bm_rd_of(chip.udid, BM_UDID_LEN);
    c.evidence = (struct bm_evidence){ .kind = BM_EVIDENCE_MAC, .challenge = bm_rd_of(nonce, sizeof nonce) };
    bm_enrol_tbs(&tbs, BM_CMD_ENROL, &c);
    if (key.n != 0) {
        assert_ok(bm_mac_make(bm_mac_find(bm_rd_str("hmac-sha256")), key, bm_buf_rd(&tbs), mac, &err));
        c.evidence.signature = bm_rd_of(mac, sizeof mac);
    }
    payload_of(&c, &in);
    refused(fd, "a MAC of the worker's own", i, BM_CMD_ENROL, bm_buf_rd(&in), want);
}

/* Other proofs in the name of a device that has only a MAC. */
static void mac_name_rows(int fd)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { 0 };
    uint8_t nonce[BM_CHALLENGE_LEN];
    struct bm_enrol c;

    ask_tls(&c, &good);
    c.claimed_udid = bm_rd_of(chip.udid, BM_UDID_LEN);
    payload_of(&c, &in);
    refused(fd, "another device's certificate under its name", 0, BM_CMD_ENROL, bm_buf_rd(&in), "udid-mismatch");
    c.evidence.kind = BM_EVIDENCE_MAC;
    payload_of(&c, &in);
    refused(fd, "a certificate beside a MAC", 1, BM_CMD_ENROL, bm_buf_rd(&in), "evidence-ambiguous");
    c.evidence = (struct bm_evidence){ .kind = BM_EVIDENCE_MAC };
    payload_of(&c, &in);
    refused(fd, "no challenge", 2, BM_CMD_ENROL, bm_buf_rd(&in), "challenge-malformed");
    challenge(fd, nonce);
    c.evidence.challenge = bm_rd_of(nonce, sizeof nonce);
    c.claimed_udid = NO_BLOB;
    payload_of(&c, &in);
    refused(fd, "no name", 3, BM_CMD_ENROL, bm_buf_rd(&in), "no-evidence");
}

/* What a keeper tells every worker holds no secret of a device. */
static void view_holds_no_secret(int fd)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { .max = BM_FRAME_MAX };
    struct bm_frame f;

    put_frame(fd, 9, BM_CMD_VIEW, NO_BLOB);
    assert_true(get(fd, &in, &f) && f.type == (BM_CMD_VIEW | BM_ANSWER) && f.payload.n > 1000);
    assert_null(memmem(f.payload.p, f.payload.n, chip.secret, sizeof chip.secret));
}

static void mac_rows(int fd)
{
    static const uint8_t zeros[32], short_key[16] = { 0 };
    struct bm_rd known[] = { { 0 }, bm_rd_of(zeros, 32), bm_rd_of(short_key, 16), bm_rd_of(chip.udid, 32), bm_rd_of(ldevid.p, 64) };

    for (size_t i = 0; i < BM_COUNT(known); i++)
        mac_row(fd, i, known[i], "mac-refused");
    mac_name_rows(fd);
    view_holds_no_secret(fd);
}

/* --- types, and an administrator's words from a worker --------------------------------------------------------------------------------- */
static void type_rows(int fd)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { .max = 4096 };

    for (unsigned type = 0; type < 256; type++) {
        if (type != BM_CMD_CHALLENGE && type != BM_CMD_VIEW)
            refused(fd, "type", type, (uint8_t)type, NO_BLOB,
                    type == BM_CMD_ADMIN    ? "not-administrator"
                    : type == BM_CMD_ERRAND ? "not-courier"
                                            : "malformed");
    }
    for (size_t i = 0; bm_admin_ops[i].name != NULL; i++) {
        char text[100];

        snprintf(text, sizeof text, "{\"op\":\"%s\"}", bm_admin_ops[i].name);
        in.n = 0;
        bm_buf_vec(&in, bm_rd_str(text));
        refused(fd, bm_admin_ops[i].name, i, BM_CMD_ADMIN, bm_buf_rd(&in), "not-administrator");
    }
    refused(fd, "challenge with a payload", 1, BM_CMD_CHALLENGE, bm_rd_str("x"), "malformed");
}

/* --- lengths and counts ------------------------------------------------------------------------------------------------------------------ */
/* Where the u32 counts of an enrol command are, in its order: keeper/wire.c. */
static size_t counts_at(struct bm_rd all, size_t at[20])
{
    static const char shape[] = "vvv.vcvvvvvvvvv..cvv"; /* v: counted bytes, c: count, .: one byte */
    struct bm_rd r = all, v;
    size_t n = 0;
    uint32_t count;
    uint8_t byte;

    for (const char *p = shape; *p != '\0'; p++) {
        if (*p != '.')
            at[n++] = all.n - r.n;
        assert_true(*p == 'v' ? bm_rd_vec(&r, BM_COMMAND_MAX, &v) : *p == 'c' ? bm_rd_u32(&r, &count) : bm_rd_u8(&r, &byte));
    }
    assert_int_equal(r.n, 0);
    return n;
}

static void set_u32(uint8_t *p, uint32_t v)
{
    struct bm_wr wr = bm_wr_of(p, 4);

    bm_wr_uint(&wr, 4, v);
}

static void length_rows(int fd)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { 0 };
    size_t at[20], n;
    struct bm_enrol c;

    ask_tls(&c, &good);
    payload_of(&c, &in);
    n = counts_at(bm_buf_rd(&in), at);
    for (size_t i = 0; i < n; i++) {
        struct bm_rd r = bm_rd_of(in.p + at[i], 4);
        uint32_t was = 0;

        assert_true(bm_rd_u32(&r, &was));
        const uint32_t tries[] = { was + 1,      was - 1,    was + 256,  65535,     BM_COMMAND_MAX,
                                   BM_FRAME_MAX, 0x7fffffff, 0x80000000, 0xffffffff };
        for (size_t t = 0; t < BM_COUNT(tries); t++) {
            set_u32(in.p + at[i], tries[t]);
            refused(fd, "count", i * 100 + t, BM_CMD_ENROL, bm_buf_rd(&in), "malformed");
        }
        set_u32(in.p + at[i], was);
    }
    for (size_t len = 0; len < in.n; len++)
        refused(fd, "cut short", len, BM_CMD_ENROL, bm_rd_of(in.p, len), "malformed");
    for (size_t len = 0; len < in.n; len += 7)
        refused(fd, "status cut short", len, BM_CMD_STATUS, bm_rd_of(in.p, len), "malformed");
    bm_buf_uint(&in, 1, 0);
    refused(fd, "one byte left over", 0, BM_CMD_ENROL, bm_buf_rd(&in), "malformed");
}

/* --- text --------------------------------------------------------------------------------------------------------------------------------- */
static const struct {
    int field; /* 0 correlation, 1 protocol, 2 peer */
    const char *text;
    size_t n; /* 0: its length */
} texts[] = {
    { 0, "", 0 },
    { 0, "0123456789abcde", 0 },
    { 0, "0123456789ABCDEF", 0 },
    { 0, "0123456789abcdeg", 0 },
    { 0, "0123456789abcde\0", 16 },
    { 0, "../../etc/passwd", 0 },
    { 0, "0123456789abcdef0", 0 },
    { 0, "\n123456789abcdef", 0 },
    { 1, "", 0 },
    { 1, "est\0x", 5 },
    { 1, "e'st", 0 },
    { 1, "e\"st", 0 },
    { 1, "est\n", 0 },
    { 1, "\xff\xfe", 0 },
    { 1, "../est", 0 },
    { 1, "a-name-that-is-too-long", 0 },
    { 2, "10.0.0.1\"", 0 },
    { 2, "10.0.0.1\n", 0 },
    { 2, "10.0.0.1\r\ncode=none", 0 },
    { 2, "10.0.0.1\0", 9 },
    { 2, "\x1b[2J", 0 },
    { 2, "10.0.0.1\\", 0 },
    { 2, "\x7f", 0 },
    { 2, "0123456789012345678901234567890123456789012345678901234567890123456789", 0 },
};

static void text_rows(int fd)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { 0 }, whole = { .max = BM_COMMAND_MAX };
    struct bm_enrol c;

    ask_tls(&c, &good);
    payload_of(&c, &in);
    for (size_t i = 0; i < BM_COUNT(texts); i++) {
        struct bm_rd rest = bm_buf_rd(&in), v;

        whole.n = 0;
        for (int field = 0; field < 3; field++) {
            assert_true(bm_rd_vec(&rest, BM_COMMAND_MAX, &v));
            bm_buf_vec(&whole, field != texts[i].field ? v
                               : texts[i].n != 0       ? bm_rd_of(texts[i].text, texts[i].n)
                                                       : bm_rd_str(texts[i].text));
        }
        bm_buf_put(&whole, rest.p, rest.n);
        refused(fd, "text", i, BM_CMD_ENROL, bm_buf_rd(&whole), "malformed");
    }
}

/* --- frames: each costs its worker the connection ------------------------------------------------------------------------------------------ */
static void frame_rows(int ignored)
{
    static const uint32_t lengths[] = {
        0, 1, 2, 3, 4, 5, 6, 7, 8, BM_COMMAND_MAX + 1, BM_FRAME_MAX, BM_FRAME_MAX + 1, 0x7fffffff, 0x80000000, 0xffffffff
    };
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { 0 };
    struct bm_enrol c;

    (void)ignored;
    for (size_t i = 0; i < BM_COUNT(lengths); i++) {
        uint8_t head[16] = { 0 };
        int fd = connect_worker();
        char code[32];

        set_u32(head, lengths[i]);
        put(fd, bm_rd_of(head, sizeof head));
        answer(fd, 0, code);
        check("frame length", i, code, DROPPED);
        close(fd);
    }
    ask_tls(&c, &good); /* half a command, and gone: nothing of it is run */
    payload_of(&c, &in);
    for (size_t cut = 1; cut < in.n; cut += in.n / 20) {
        BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_COMMAND_MAX };
        size_t at = bm_frame_begin(&out, 1, BM_CMD_ENROL);
        int fd = connect_worker();

        bm_buf_put(&out, in.p, in.n);
        bm_frame_end(&out, at);
        put(fd, bm_rd_of(out.p, cut));
        close(fd);
        n_rows++;
    }
}

/* Far more at once than a worker of ours ever has under way, none of the answers read meanwhile. */
static void flood_rows(int fd)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { .max = BM_FRAME_MAX };
    struct bm_frame f;

    for (uint64_t id = 1; id <= 2000; id++)
        put_frame(fd, id, BM_CMD_CHALLENGE, NO_BLOB);
    for (uint64_t id = 1; id <= 2000; id++) {
        assert_true(get(fd, &in, &f));
        assert_int_equal(f.id, id);
        bm_buf_drop(&in, BM_FRAME_HEAD + f.payload.n);
    }
}

/* --- races ---------------------------------------------------------------------------------------------------------------------------------- */
/* Two workers, two devices, one place left: one certificate, and the same device twice from two workers is no second device. */
static void one_place_left(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { 0 };
    struct bm_enrol c;
    char code[2][32];
    int fd[2];

    (void)state;
    keeper_start();
    for (int i = 0; i < 2; i++)
        fd[i] = connect_worker();
    for (int i = 0; i < 2; i++) {
        ask_tls(&c, &spare[i]);
        payload_of(&c, &in);
        put_frame(fd[i], 5, BM_CMD_ENROL, bm_buf_rd(&in));
    }
    for (int i = 0; i < 2; i++) {
        answer(fd[i], 5, code[i]);
        close(fd[i]);
    }
    keeper_stop(false);
    assert_int_equal((code[0][0] == '\0') + (code[1][0] == '\0'), 1);
    assert_string_equal(code[0][0] != '\0' ? code[0] : code[1], "quota-exceeded");
}

/* What the rows above left for the operator. */
static void refusals_are_kept(void **state)
{
    json_t *r = admin(&w, "{\"op\":\"refusal.list\",\"limit\":100}");
    char *text = json_dumps(r, JSON_COMPACT);

    (void)state;
    assert_non_null(strstr(text, "quota-exceeded"));
    assert_non_null(strstr(text, "192.0.2.7:4711"));
    assert_true(n_rows >= 200);
    print_message("%zu rows\n", n_rows);
    free(text);
    json_decref(r);
}

static void minting_is_refused(void **state)
{
    (void)state;
    group(minting_rows);
}
static void handshakes_are_refused(void **state)
{
    (void)state;
    group(handshake_rows);
}
static void challenges_are_refused(void **state)
{
    (void)state;
    group(challenge_rows);
}
static void macs_are_refused(void **state)
{
    (void)state;
    group(mac_rows);
}
static void types_are_refused(void **state)
{
    (void)state;
    group(type_rows);
}
static void lengths_are_refused(void **state)
{
    (void)state;
    group(length_rows);
}
static void texts_are_refused(void **state)
{
    (void)state;
    group(text_rows);
}
static void frames_are_refused(void **state)
{
    (void)state;
    group(frame_rows);
}
static void a_flood_is_answered(void **state)
{
    (void)state;
    group(flood_rows);
}

/* --- the world --------------------------------------------------------------------------------------------------------------------------------- */
static void enrol_into(const struct dev *d, struct bm_buf *ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf in = { 0 }, out = { .max = BM_FRAME_MAX };
    struct bm_enrolled got;
    struct bm_enrol c;

    ask_tls(&c, d);
    prove(&w, &c);
    payload_of(&c, &in);
    assert_ok(command(&w, BM_CMD_ENROL, bm_buf_rd(&in), &out));
    assert_ok(bm_enrolled_parse(bm_buf_rd(&out), &got, &err));
    ret->max = scratch.max = BM_CERT_MAX;
    bm_buf_put(ret, got.credentials[0].cert.p, got.credentials[0].cert.n);
    scratch.n = 0;
    bm_buf_put(&scratch, got.credentials[0].chain[0].p, got.credentials[0].chain[0].n);
}

static int open_world(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_FRAME_MAX };
    struct dev *all[] = { &good, &other, &suspended, &compromised };
    struct bm_cert cert;
    char serial[2 * BM_SERIAL_LEN + 1];

    (void)state;
    world_open(&w);
    dev_make(&stranger);
    for (size_t i = 0; i < BM_COUNT(all); i++) {
        dev_make(all[i]);
        register_device(&w, "lot", all[i]);
    }
    for (size_t i = 0; i < BM_COUNT(honest); i++) {
        dev_make(&honest[i]);
        register_device(&w, "lot", &honest[i]);
    }
    admin_ok(&w, "{\"op\":\"product.set\",\"name\":\"meter\",\"policy\":{\"rot\":[\"symmetric-chip\",\"atecc608\"]}}");
    chip_add(&w, &chip, "lot");
    admin_ok(&w, "{\"op\":\"batch.create\",\"name\":\"one\",\"product\":\"meter\",\"quota\":1}");
    for (size_t i = 0; i < BM_COUNT(spare); i++) {
        dev_make(&spare[i]);
        register_device(&w, "one", &spare[i]);
    }
    enrol_into(&suspended, &ldevid);
    ldevid.n = 0;
    enrol_into(&good, &ldevid);
    enrol_into(&other, &revoked);
    assert_ok(bm_cert_parse(bm_buf_rd(&revoked), &cert, &err));
    bm_hex(cert.serial.p, BM_SERIAL_LEN, serial);
    admin_ok(&w, "{\"op\":\"cert.revoke\",\"serial\":\"%s\"}", serial);
    admin_ok(&w, "{\"op\":\"device.suspend\",\"udid\":\"%s\"}", suspended.hex);
    admin_ok(&w, "{\"op\":\"device.compromise\",\"udid\":\"%s\"}", compromised.hex);
    twin.evp = good.id.evp;
    party_certify(&twin, "twin", NULL, false, 86400);
    assert_ok(command(&w, BM_CMD_VIEW, NO_BLOB, &out)); /* makes the TLS certificate, once */
    return 0;
}

static int close_world(void **state)
{
    struct dev *all[] = { &good, &other, &suspended, &compromised, &stranger, &spare[0], &spare[1] };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(all); i++)
        dev_done(all[i]);
    for (size_t i = 0; i < BM_COUNT(honest); i++)
        dev_done(&honest[i]);
    bm_buf_done(&twin.cert);
    bm_buf_done(&ldevid);
    bm_buf_done(&revoked);
    bm_buf_done(&scratch);
    bm_buf_done(&bent);
    world_close(&w);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minting_is_refused), cmocka_unit_test(handshakes_are_refused), cmocka_unit_test(challenges_are_refused),
        cmocka_unit_test(macs_are_refused),   cmocka_unit_test(types_are_refused),      cmocka_unit_test(lengths_are_refused),
        cmocka_unit_test(texts_are_refused),  cmocka_unit_test(frames_are_refused),     cmocka_unit_test(a_flood_is_answered),
        cmocka_unit_test(one_place_left),     cmocka_unit_test(refusals_are_kept),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
