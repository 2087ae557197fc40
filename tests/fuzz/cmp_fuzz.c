/* targets: bm_cmp_parse bm_cmp_protected bm_crmf_parse bm_crmf_spki bm_cmp_confirm_parse bm_cmp_hash_fits bm_cmp_mac_is bm_cmp_mac_parse bm_cmp_mac_put bm_cmp_revocation_parse bm_cmp_question_parse
 * bm_cmp_crl_status_parse bm_cmp_poll_parse bm_crmf_wants_key bm_cmp_nested_parse */
#include "pki/cmp.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

static bool inside(struct bm_rd part, struct bm_rd whole)
{
    return part.n == 0 || (part.p >= whole.p && part.n <= whole.n && (size_t)(part.p - whole.p) <= whole.n - part.n);
}

static void request(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = 1 << 20 };
    const char *alg;
    struct bm_error e;
    struct bm_crmf c;

    if (bm_crmf_parse(in, &c, &e) != BM_OK) {
        must(e.rc == BM_MALFORMED);
        return;
    }
    must(c.n >= 1 && inside(c.request, in) && inside(c.t.subject, in) && inside(c.t.public_key, in) && inside(c.pop_sig, in) &&
         inside(c.old_serial, in) && inside(c.t.extensions, in));
    must(bm_crmf_spki(&c.t, &spki, &e) == (c.t.public_key.n != 0 ? BM_OK : BM_MALFORMED));
    must(spki.n == c.t.public_key.n);
    must(c.t.public_key.n != 0 || bm_crmf_wants_key(&c.t, &alg));
    must(!bm_crmf_wants_key(&c.t, &alg) || c.t.public_key.n == 0 || alg != NULL);
}

static void confirmation(struct bm_rd in)
{
    const struct bm_cert cert = { .whole = in };
    struct bm_cmp_confirm c;
    struct bm_error e;

    if (bm_cmp_confirm_parse(in, &c, &e) != BM_OK)
        must(e.rc == BM_MALFORMED);
    else
        must(inside(c.hash, in) && inside(c.hash_alg, in) && !(c.hash.n == 0 && bm_cmp_hash_fits(&c, &cert)));
}

static void message(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf part = { .max = 1 << 20 };
    struct bm_error e;
    struct bm_cmp m;

    if (bm_cmp_parse(in, &m, &e) != BM_OK) {
        must(e.rc == BM_MALFORMED);
        return;
    }
    must(m.type < BM_CMP_TYPES && inside(m.part, in) && inside(m.content, m.part) && inside(m.protection, in) &&
         inside(m.h.tid, m.part) && m.h.tid.n <= BM_CMP_NONCE_MAX && m.n_certs <= BM_CMP_CERTS_MAX);
    must(bm_cmp_protected(m.part, &part, &e) == BM_OK && bm_der_only(bm_buf_rd(&part), BM_DER_SEQUENCE, NULL));
    request(m.content);
    confirmation(m.content);
}

/* What we take we write to bytes that we take. */
static void mac(struct bm_rd in)
{
    uint8_t room[512];
    struct bm_derw w = bm_derw_of(room, sizeof room);
    struct bm_cmp_mac m, again;
    struct bm_error e;

    if (bm_cmp_mac_parse(in, &m, &e) != BM_OK) {
        must(e.rc == BM_DENIED);
        return;
    }
    must(bm_cmp_mac_is(in) && m.iterations >= 1 && m.iterations <= BM_CMP_ITERATIONS_MAX && m.key_len <= BM_CMP_MAC_MAX);
    bm_cmp_mac_put(&w, &m);
    must(!w.bad && bm_cmp_mac_parse(bm_derw_rd(&w), &again, &e) == BM_OK);
    must(again.mac == m.mac && again.hash == m.hash && again.key_len == m.key_len && again.iterations == m.iterations);
}

static void support(struct bm_rd in)
{
    struct bm_cmp_revocation r;
    struct bm_cmp_crl_status s;
    struct bm_cmp_question q;
    struct bm_cmp_poll p;
    struct bm_rd nested[4];
    size_t n;
    struct bm_error e;

    if (bm_cmp_revocation_parse(in, &r, &e) == BM_OK)
        must(r.n >= 1 && r.reason >= 0 && r.reason <= 10 && inside(r.t.serial, in) && inside(r.t.issuer, in));
    if (bm_cmp_question_parse(in, &q, &e) == BM_OK)
        must(inside(q.value, in));
    if (bm_cmp_nested_parse(in, nested, 4, &n, &e) == BM_OK)
        must(n >= 1 && n <= 4 && inside(nested[n - 1], in));
    if (bm_cmp_poll_parse(in, &p, &e) == BM_OK)
        must(p.n >= 1);
    if (bm_cmp_crl_status_parse(in, &s, &e) == BM_OK)
        must(inside(s.issuer, in));
}

/* The first byte says what it is. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static void (*const parts[])(struct bm_rd) = { message, request, confirmation, mac, support };

    if (n != 0)
        parts[p[0] % BM_COUNT(parts)](bm_rd_of(p + 1, n - 1));
    return 0;
}
