/* Commands and answers between worker and keeper: written and read back, cut short everywhere, over every limit. */
#include "keeper/wire.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static struct bm_error err;

/* Any of the structs, parsed into room for the largest. */
union any {
    struct bm_enrol enrol;
    struct bm_enrolled enrolled;
    struct bm_status status;
    struct bm_view view;
    struct bm_refused refused;
    struct bm_message message;
    struct bm_acme_ask acme_ask;
    struct bm_acme_told acme_told;
    struct bm_scep_told scep_told;
};

static enum bm_rc parse_enrol(struct bm_rd in, union any *ret)
{
    return bm_enrol_parse(in, &ret->enrol, &err);
}
static enum bm_rc parse_enrolled(struct bm_rd in, union any *ret)
{
    return bm_enrolled_parse(in, &ret->enrolled, &err);
}
static enum bm_rc parse_status(struct bm_rd in, union any *ret)
{
    return bm_status_parse(in, &ret->status, &err);
}
static enum bm_rc parse_view(struct bm_rd in, union any *ret)
{
    return bm_view_parse(in, &ret->view, &err);
}
static enum bm_rc parse_refused(struct bm_rd in, union any *ret)
{
    return bm_refused_parse(in, &ret->refused, &err);
}

static enum bm_rc parse_message(struct bm_rd in, union any *ret)
{
    return bm_message_parse(in, &ret->message, &err);
}

static enum bm_rc parse_acme_ask(struct bm_rd in, union any *ret)
{
    return bm_acme_ask_parse(in, &ret->acme_ask, &err);
}

static enum bm_rc parse_acme_told(struct bm_rd in, union any *ret)
{
    return bm_acme_told_parse(in, &ret->acme_told, &err);
}

static void write_enrol(struct bm_buf *out, const union any *v)
{
    bm_enrol_write(out, &v->enrol);
}
static void write_enrolled(struct bm_buf *out, const union any *v)
{
    bm_enrolled_write(out, &v->enrolled);
}
static void write_status(struct bm_buf *out, const union any *v)
{
    bm_status_write(out, &v->status);
}
static void write_view(struct bm_buf *out, const union any *v)
{
    bm_view_write(out, &v->view);
}
static void write_refused(struct bm_buf *out, const union any *v)
{
    struct bm_error e = { .rc = (enum bm_rc)v->refused.rc };

    memcpy(e.code, v->refused.code, sizeof e.code);
    memcpy(e.what, v->refused.what, sizeof e.what);
    bm_refused_write(out, &e, v->refused.retry_after_s);
}

/* --- samples: as little and as much as there may be ------------------------------------------------------------------------------------ */
static uint8_t filler[BM_COMMAND_MAX];

static struct bm_rd bytes(size_t n)
{
    return bm_rd_of(filler, n);
}

static void little_enrol(union any *v)
{
    v->enrol = (struct bm_enrol){ .correlation = "0123456789abcdef", .protocol = "e" };
}

static void full_enrol(union any *v)
{
    struct bm_enrol *c = &v->enrol;

    *c = (struct bm_enrol){ .correlation = "ffffffffffffffff", .protocol = "abcdefghijklmno", .reenrol = true };
    memset(c->peer, ':', sizeof c->peer - 1);
    c->evidence = (struct bm_evidence){ BM_EVIDENCE_CHALLENGE,    bytes(BM_CERT_MAX),      { { 0 } },
                                        BM_TLS_CLIENT_CERTS_MAX,  bytes(BM_SPKI_MAX),      bytes(BM_CHALLENGE_LEN),
                                        bytes(BM_SIGNATURE_MAX),  bytes(BM_HANDSHAKE_MAX), bytes(BM_HANDSHAKE_VERIFY_MAX),
                                        bytes(BM_CODE_TYPED_MAX), bytes(BM_BINDING_MAX),   false };
    for (size_t i = 0; i < BM_TLS_CLIENT_CERTS_MAX; i++)
        c->evidence.chain[i] = bytes(BM_CERT_MAX - i);
    c->claimed_udid = bytes(BM_UDID_LEN);
    c->claimed_batch = bytes(BM_NAME_LEN - 1);
    c->n_requests = BM_SERVICES_MAX;
    for (size_t i = 0; i < BM_SERVICES_MAX; i++)
        c->requests[i] = (struct bm_enrol_request){ .service = bytes(i), .csr = bytes(i == 0 ? BM_CSR_MAX : i) };
}

static void little_enrolled(union any *v)
{
    v->enrolled = (struct bm_enrolled){ .n_credentials = 0 };
}

static void full_enrolled(union any *v)
{
    struct bm_enrolled *r = &v->enrolled;

    *r = (struct bm_enrolled){ .n_credentials = BM_SERVICES_MAX };
    for (size_t i = 0; i < BM_SERVICES_MAX; i++) {
        struct bm_enrolled_credential *c = &r->credentials[i];

        *c = (struct bm_enrolled_credential){
            bytes(BM_NAME_LEN - 1),
            bytes(i == 0 ? BM_CERT_MAX : 1),
            bytes(1024),
            INT64_MAX,
            -1,
            i % 5,
            { { 0 } },
            bytes(BM_KEY_SEALED_MAX),
            BM_KEY_SEALED,
        };
        for (size_t n = 0; n < c->n_chain; n++)
            c->chain[n] = bytes(n == 0 ? 0 : 7);
    }
}

static void little_status(union any *v)
{
    v->status = (struct bm_status){ .n_credentials = 0 };
}

static void full_status(union any *v)
{
    struct bm_status *s = &v->status;

    *s = (struct bm_status){ .n_credentials = BM_STATUS_CREDENTIALS_MAX };
    memset(s->status, 'a', sizeof s->status - 1);
    memset(s->state, 'b', sizeof s->state - 1);
    memset(s->product, 'c', sizeof s->product - 1);
    memset(s->batch, 'd', sizeof s->batch - 1);
    memset(s->owner, 'e', sizeof s->owner - 1);
    for (size_t i = 0; i < s->n_credentials; i++) {
        memset(s->credentials[i].service, 'f', i * 2);
        memset(s->credentials[i].status, 'g', i / 3);
        s->credentials[i].not_after = INT64_MIN;
        s->credentials[i].renew_after = (int64_t)i;
    }
}

static void little_view(union any *v)
{
    v->view = (struct bm_view){ .version = UINT64_MAX };
}

static void full_view(union any *v)
{
    struct bm_view *w = &v->view;

    *w = (struct bm_view){ .n_cas = BM_VIEW_CAS_MAX, .n_labels = BM_VIEW_LABELS_MAX };
    for (size_t i = 0; i < BM_VIEW_CAS_MAX; i++)
        w->cas[i] = bytes(i == 3 ? BM_CERT_MAX : i);
    for (size_t i = 0; i < BM_VIEW_LABELS_MAX; i++)
        w->labels[i] = (struct bm_view_label){ bytes(i), bytes(i == 5 ? BM_CSRATTRS_MAX : 3), i };
    w->tls_chain_pem = bytes(40000);
    w->tls_key = bytes(BM_CERT_MAX);
    w->nonce = bytes(BM_HANDSHAKE_NONCE_LEN);
}

static void little_refused(union any *v)
{
    v->refused = (struct bm_refused){ .rc = BM_AGAIN, .code = "x" };
}

static void full_refused(union any *v)
{
    v->refused = (struct bm_refused){ .rc = BM_BUG, .retry_after_s = UINT32_MAX };
    memset(v->refused.code, 'c', sizeof v->refused.code - 1);
    memset(v->refused.what, 'w', sizeof v->refused.what - 1);
}

static void write_message(struct bm_buf *out, const union any *v)
{
    bm_message_write(out, &v->message);
}

static void little_message(union any *v)
{
    v->message = (struct bm_message){ .correlation = "0123456789abcdef" };
}

static void full_message(union any *v)
{
    struct bm_message *m = &v->message;

    little_message(v);
    memset(m->peer, 'p', sizeof m->peer - 1);
    m->what = m->label = bytes(BM_NAME_LEN - 1);
    m->body = bytes(BM_HTTP_BODY_MAX);
}

static enum bm_rc parse_scep_told(struct bm_rd in, union any *ret)
{
    return bm_scep_told_parse(in, &ret->scep_told, &err);
}

static void write_scep_told(struct bm_buf *out, const union any *v)
{
    bm_scep_told_write(out, &v->scep_told);
}

static void little_scep_told(union any *v)
{
    v->scep_told = (struct bm_scep_told){ .form = BM_SCEP_TEXT };
}

static void full_scep_told(union any *v)
{
    v->scep_told = (struct bm_scep_told){ .form = BM_SCEP_FORMS - 1, .body = bytes(BM_COMMAND_MAX) };
    memset(v->scep_told.code, 'c', sizeof v->scep_told.code - 1);
}

static void write_acme_ask(struct bm_buf *out, const union any *v)
{
    bm_acme_ask_write(out, &v->acme_ask);
}

static void write_acme_told(struct bm_buf *out, const union any *v)
{
    bm_acme_told_write(out, &v->acme_told);
}

static void little_acme_ask(union any *v)
{
    v->acme_ask = (struct bm_acme_ask){ .correlation = "0123456789abcdef", .host = bm_rd_str("a") };
}

static void full_acme_ask(union any *v)
{
    struct bm_acme_ask *a = &v->acme_ask;

    little_acme_ask(v);
    memset(a->peer, 'p', sizeof a->peer - 1);
    a->host = bm_rd_str("[2001:db8::1]:8443");
    a->what = bytes(BM_NAME_LEN - 1);
    a->label = a->query = bytes(BM_HTTP_TARGET_MAX);
    a->body = bytes(BM_HTTP_BODY_MAX);
}

static void little_acme_told(union any *v)
{
    v->acme_told = (struct bm_acme_told){ .status = 200 };
}

static void full_acme_told(union any *v)
{
    struct bm_acme_told *t = &v->acme_told;

    *t = (struct bm_acme_told){ .status = 599, .content = BM_ACME_CONTENTS - 1, .retry_after_s = UINT32_MAX };
    memset(t->code, 'c', sizeof t->code - 1);
    t->nonce = bytes(2 * BM_CHALLENGE_LEN);
    t->location = t->up = t->next = t->help = bytes(1024);
    for (t->n_alternates = 0; t->n_alternates < BM_ACME_ALTERNATES_MAX; t->n_alternates++)
        t->alternates[t->n_alternates] = bytes(1024);
    t->body = bytes(BM_COMMAND_MAX);
}

static const struct kind {
    const char *name;
    void (*little)(union any *v);
    void (*full)(union any *v);
    void (*write)(struct bm_buf *out, const union any *v);
    enum bm_rc (*parse)(struct bm_rd in, union any *ret);
} kinds[] = {
    { "enrol", little_enrol, full_enrol, write_enrol, parse_enrol },
    { "enrolled", little_enrolled, full_enrolled, write_enrolled, parse_enrolled },
    { "status", little_status, full_status, write_status, parse_status },
    { "view", little_view, full_view, write_view, parse_view },
    { "refused", little_refused, full_refused, write_refused, parse_refused },
    { "message", little_message, full_message, write_message, parse_message },
    { "acme ask", little_acme_ask, full_acme_ask, write_acme_ask, parse_acme_ask },
    { "acme told", little_acme_told, full_acme_told, write_acme_told, parse_acme_told },
    { "scep told", little_scep_told, full_scep_told, write_scep_told, parse_scep_told },
};

/* In an allocation of its exact size. */
static enum bm_rc parse_exact(const struct kind *k, struct bm_rd in, union any *ret)
{
    uint8_t *p = malloc(in.n != 0 ? in.n : 1);
    enum bm_rc rc;

    assert_non_null(p);
    if (in.n != 0)
        memcpy(p, in.p, in.n);
    rc = k->parse(bm_rd_of(p, in.n), ret);
    free(p);
    return rc;
}

static void back_and_forth(const struct kind *k, void (*make)(union any *v))
{
    union any *v = calloc(1, sizeof *v), *got = calloc(1, sizeof *got);
    struct bm_buf out = { .max = 1 << 22 }, again = { .max = 1 << 22 };

    make(v);
    k->write(&out, v);
    assert_false(out.bad);
    if (k->parse(bm_buf_rd(&out), got) != BM_OK)
        fail_msg("%s: %s", k->name, err.what);
    k->write(&again, got);
    assert_int_equal(out.n, again.n);
    assert_memory_equal(out.p, again.p, out.n);
    for (size_t n = 0; n < out.n; n += n < 4000 ? 1 : 997)
        if (parse_exact(k, bm_rd_of(out.p, n), got) != BM_MALFORMED)
            fail_msg("%s: %zu of %zu bytes are taken", k->name, n, out.n);
    bm_buf_put(&out, "", 1);
    assert_int_equal(parse_exact(k, bm_buf_rd(&out), got), BM_MALFORMED);
    assert_non_null(strstr(err.what, "left over"));
    bm_buf_done(&out);
    bm_buf_done(&again);
    free(v);
    free(got);
}

static void round_trips(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof filler; i++)
        filler[i] = (uint8_t)(i * 7 + 1);
    for (size_t i = 0; i < BM_COUNT(kinds); i++) {
        back_and_forth(&kinds[i], kinds[i].little);
        back_and_forth(&kinds[i], kinds[i].full);
    }
}

/* --- what must not pass ------------------------------------------------------------------------------------------------------------------ */
static void enrol_refused_(const struct bm_enrol *c, const char *what)
{
    struct bm_buf out = { .max = 1 << 22 };
    struct bm_enrol got;
    enum bm_rc rc;

    bm_enrol_write(&out, c);
    assert_false(out.bad);
    rc = bm_enrol_parse(bm_buf_rd(&out), &got, &err);
    bm_buf_done(&out);
    if (rc != BM_MALFORMED)
        fail_msg("taken: %s", what);
}

#define enrol_refused(...)                                                                                                         \
    do {                                                                                                                           \
        union any v_;                                                                                                              \
        struct bm_enrol *c = &v_.enrol;                                                                                            \
        little_enrol(&v_);                                                                                                         \
        __VA_ARGS__;                                                                                                               \
        enrol_refused_(c, #__VA_ARGS__);                                                                                           \
    } while (0)

static void enrol_limits(void **state)
{
    (void)state;
    enrol_refused(c->correlation[0] = '\0');
    enrol_refused(c->correlation[15] = '\0');
    enrol_refused(c->correlation[3] = 'A');
    enrol_refused(c->correlation[3] = 'g');
    enrol_refused(c->correlation[3] = '\n');
    enrol_refused(c->protocol[0] = '\0');
    enrol_refused(c->protocol[0] = '"');
    enrol_refused(c->protocol[0] = 'E');
    enrol_refused(c->peer[0] = '"');
    enrol_refused(c->peer[0] = '\\');
    enrol_refused(c->peer[0] = '\n');
    enrol_refused(c->peer[0] = 0x7f);
    enrol_refused(c->peer[0] = (char)0x80);
    enrol_refused(c->evidence.kind = BM_EVIDENCE_CODE + 1);
    enrol_refused(c->evidence.kind = 255);
    enrol_refused(c->evidence.cert = bytes(BM_CERT_MAX + 1));
    enrol_refused(c->evidence.spki = bytes(BM_SPKI_MAX + 1));
    enrol_refused(c->evidence.challenge = bytes(BM_CHALLENGE_LEN + 1));
    enrol_refused(c->evidence.signature = bytes(BM_SIGNATURE_MAX + 1));
    enrol_refused(c->evidence.n_chain = 1; c->evidence.chain[0] = bytes(BM_CERT_MAX + 1));
    enrol_refused(c->claimed_udid = bytes(BM_UDID_LEN - 1));
    enrol_refused(c->claimed_udid = bytes(BM_UDID_LEN + 1));
    enrol_refused(c->claimed_udid = bytes(1));
    enrol_refused(c->claimed_batch = bytes(BM_NAME_LEN));
    enrol_refused(c->n_requests = 1; c->requests[0].service = bytes(BM_NAME_LEN));
    enrol_refused(c->n_requests = 1; c->requests[0].csr = bytes(BM_CSR_MAX + 1));
}

/* Bytes put together by hand: counts and texts that the writers cannot write. */
static void by_hand(const struct kind *k, const uint8_t *p, size_t n)
{
    union any *got = calloc(1, sizeof *got);

    assert_int_equal(parse_exact(k, bm_rd_of(p, n), got), BM_MALFORMED);
    free(got);
}

static const struct kind *kind_named(const char *name)
{
    for (size_t i = 0; i < BM_COUNT(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    fail_msg("no kind %s", name);
    return NULL;
}

/* Sets u32 at an offset of the small sample, then parses. */
static void with_u32(const char *name, size_t at, uint32_t v)
{
    const struct kind *k = kind_named(name);
    struct bm_buf out = { .max = 1 << 20 };
    union any *any = calloc(1, sizeof *any);

    k->little(any);
    k->write(&out, any);
    assert_true(at + 4 <= out.n);
    for (size_t i = 0; i < 4; i++)
        out.p[at + i] = (uint8_t)(v >> (24 - 8 * i));
    for (size_t i = 0; i < 200; i++)
        bm_buf_put(&out, "\0\0\0\0", 4); /* enough for empty items, so that the count alone is at fault */
    by_hand(k, out.p, out.n);
    bm_buf_done(&out);
    free(any);
}

static void counts_by_hand(void **state)
{
    static const struct {
        const char *kind;
        size_t at;
        uint32_t v;
    } rows[] = {
        { "enrol", 0, 17 },
        { "enrol", 0, UINT32_MAX },
        { "enrol", 20, 16 }, /* protocol longer than its array */
        { "enrol", 25, 64 }, /* peer */
        { "enrol", 34, BM_TLS_CLIENT_CERTS_MAX + 1 },
        { "enrol", 34, UINT32_MAX },
        { "enrol", 59, BM_SERVICES_MAX + 1 },
        { "enrol", 59, UINT32_MAX },
        { "enrolled", 32, BM_SERVICES_MAX + 1 },
        { "enrolled", 32, UINT32_MAX },
        { "status", 32, 16 },
        { "status", 40, 65 },
        { "status", 52, BM_STATUS_CREDENTIALS_MAX + 1 },
        { "status", 52, UINT32_MAX },
        { "view", 8, BM_VIEW_CAS_MAX + 1 },
        { "view", 12, BM_VIEW_LABELS_MAX + 1 },
        { "view", 12, UINT32_MAX },
        { "refused", 5, 32 },
        { "refused", 10, 224 },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        with_u32(rows[i].kind, rows[i].at, rows[i].v);
}

static void odd_bytes(void **state)
{
    static const uint8_t nul_in_text[] = { BM_DENIED, 0, 0, 0, 0, 0, 0, 0, 3, 'a', 0, 'b', 0, 0, 0, 0 };
    static const uint8_t rc_ok[] = { BM_OK, 0, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 0, 0 };
    static const uint8_t rc_unknown[] = { BM_BUG + 1, 0, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 0, 0 };
    struct bm_buf out = { .max = 1000 };
    union any v;

    (void)state;
    by_hand(kind_named("refused"), nul_in_text, sizeof nul_in_text);
    by_hand(kind_named("refused"), rc_ok, sizeof rc_ok);
    by_hand(kind_named("refused"), rc_unknown, sizeof rc_unknown);
    little_enrol(&v);
    bm_enrol_write(&out, &v.enrol);
    out.p[58] = 2; /* reenrol is yes or no */
    by_hand(kind_named("enrol"), out.p, out.n);
    bm_buf_done(&out);
}

/* docs/onboard.md, "What is signed", byte by byte. */
static void signed_bytes(void **state)
{
    static const uint8_t want[] = "birthmark-onboard-v1\0\x02"
                                  "\0\0\0\x02"
                                  "CH"
                                  "\0\0\0\x01"
                                  "U"
                                  "\0\0\0\0"
                                  "\0\0\0\x02"
                                  "\0\0\0\x04"
                                  "mqtt"
                                  "\0\0\0\x03"
                                  "CSR"
                                  "\0\0\0\0"
                                  "\0\0\0\0";
    struct bm_enrol c = { .n_requests = 2 };
    struct bm_buf out = { .max = 1000 };

    (void)state;
    c.evidence.challenge = bm_rd_str("CH");
    c.claimed_udid = bm_rd_str("U");
    c.requests[0] = (struct bm_enrol_request){ .service = bm_rd_str("mqtt"), .csr = bm_rd_str("CSR") };
    bm_enrol_tbs(&out, BM_CMD_ENROL, &c);
    assert_int_equal(out.n, sizeof want - 1);
    assert_memory_equal(out.p, want, out.n);
    out.n = 0;
    bm_enrol_tbs(&out, BM_CMD_STATUS, &c);
    assert_int_equal(out.p[21], 3);
    bm_buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(round_trips), cmocka_unit_test(enrol_limits),
                                        cmocka_unit_test(counts_by_hand), cmocka_unit_test(odd_bytes),
                                        cmocka_unit_test(signed_bytes) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
