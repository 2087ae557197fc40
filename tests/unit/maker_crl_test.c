/* Revocation lists of those whom organisations are trusted for: taken in forward only, and heeded wherever such a certificate counts. */
#include "keeper_fixture.h"

#include "keeper/brski.h"
#include "keeper/errand.h"
#include "keeper/maker_crl.h"

extern const struct bm_errand_kind bm_errand_maker_crl;

static struct world w;
static struct party maker, leaf;
static int64_t now;

enum { SERIAL = 4711 }; /* of all that the fixture certifies */

static int open_world(void **state)
{
    (void)state;
    world_open(&w);
    now = bm_clock_s();
    party_keys(&maker, "P-256");
    party_certify(&maker, "Chip root", NULL, true, 86400 * 30);
    party_keys(&leaf, "P-256");
    party_certify(&leaf, "a chip", &maker, false, 86400);
    pin(&w, "chips", "birth", bm_buf_rd(&maker.cert));
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    party_done(&maker);
    party_done(&leaf);
    world_close(&w);
    return 0;
}

/* --- lists by OpenSSL ------------------------------------------------------------------------------------------------------------------ */
static void put_revoked(X509_CRL *crl, long serial)
{
    X509_REVOKED *r = X509_REVOKED_new();
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    ASN1_TIME *at = ASN1_TIME_set(NULL, (time_t)now - 3600);

    assert_true(r != NULL && ASN1_INTEGER_set(number, serial) == 1 && X509_REVOKED_set_serialNumber(r, number) == 1 &&
                X509_REVOKED_set_revocationDate(r, at) == 1 && X509_CRL_add0_revoked(crl, r) == 1);
    ASN1_INTEGER_free(number);
    ASN1_TIME_free(at);
}

static void make_list(const struct party *by, long number, int64_t life_s, long serial, struct bm_buf *ret)
{
    X509_CRL *crl = X509_CRL_new();
    const uint8_t *p = by->cert.p;
    X509 *issuer = d2i_X509(NULL, &p, (long)by->cert.n);
    ASN1_TIME *from = ASN1_TIME_set(NULL, (time_t)now - 7200), *to = ASN1_TIME_set(NULL, (time_t)(now + life_s));
    ASN1_INTEGER *n = ASN1_INTEGER_new();
    uint8_t *der = NULL;
    int len;

    assert_true(X509_CRL_set_version(crl, 1) == 1 && X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer)) == 1 &&
                X509_CRL_set1_lastUpdate(crl, from) == 1 && X509_CRL_set1_nextUpdate(crl, to) == 1 &&
                ASN1_INTEGER_set(n, number) == 1 && X509_CRL_add1_ext_i2d(crl, NID_crl_number, n, 0, 0) == 1);
    if (serial != 0)
        put_revoked(crl, serial);
    assert_true(X509_CRL_sign(crl, by->evp, EVP_sha256()) > 0);
    len = i2d_X509_CRL(crl, &der);
    assert_true(len > 0);
    ret->n = 0;
    ret->max = BM_CRL_MAX;
    bm_buf_put(ret, der, (size_t)len);
    OPENSSL_free(der);
    ASN1_INTEGER_free(n);
    ASN1_TIME_free(from);
    ASN1_TIME_free(to);
    X509_free(issuer);
    X509_CRL_free(crl);
}

static enum bm_rc bring(const char *org, struct bm_rd file, const char *more)
{
    char text[300];

    snprintf(text, sizeof text, "{\"op\":\"org.trust\",\"org\":\"%s\",\"purpose\":\"birth\"%s}", org, more);
    return admin_do(&w, text, file, NULL);
}

static enum bm_rc check_at(const char *org, int64_t at)
{
    struct bm_cert path[2];
    struct bm_org o;

    assert_ok(bm_org_get(w.k->store, org, &o, &err));
    assert_ok(bm_cert_parse(bm_buf_rd(&leaf.cert), &path[0], &err));
    assert_ok(bm_cert_parse(bm_buf_rd(&maker.cert), &path[1], &err));
    return bm_maker_check(w.k, o.id, path, 2, at, &err);
}

/* --- tests ----------------------------------------------------------------------------------------------------------------------------- */
/* Breaks when a list is put back by an older one, or taken from somebody else. */
static void forward_only(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf none = { 0 }, revoked = { 0 }, other = { 0 };
    BM_CLEANUP(party_done) struct party stranger = { 0 };

    (void)state;
    assert_ok(check_at("chips", now));
    make_list(&maker, 5, 86400, SERIAL + 1, &none);
    assert_ok(bring("chips", bm_buf_rd(&none), ""));
    assert_ok(check_at("chips", now));
    make_list(&maker, 6, 86400, SERIAL, &revoked);
    assert_ok(bring("chips", bm_buf_rd(&revoked), ""));
    assert_rc(check_at("chips", now), BM_DENIED);
    assert_string_equal(err.code, "maker-revoked");
    assert_rc(bring("chips", bm_buf_rd(&none), ""), BM_CONFLICT);
    assert_string_equal(err.code, "crl-old");
    make_list(&maker, 6, 99999, 0, &none); /* the number is spent */
    assert_rc(bring("chips", bm_buf_rd(&none), ""), BM_CONFLICT);
    assert_ok(bring("chips", bm_buf_rd(&revoked), "")); /* the same once more */
    assert_rc(check_at("chips", now), BM_DENIED);
    party_keys(&stranger, "P-256");
    party_certify(&stranger, "Chip root", NULL, true, 86400); /* the same name, another key */
    make_list(&stranger, 7, 86400, 0, &other);
    assert_rc(bring("chips", bm_buf_rd(&other), ""), BM_DENIED);
    assert_string_equal(err.code, "bad-crl");
    make_list(&maker, 7, -60, 0, &other);
    assert_rc(bring("chips", bm_buf_rd(&other), ""), BM_DENIED);
    assert_string_equal(err.code, "crl-dates");
    assert_rc(check_at("chips", now), BM_DENIED);
    make_list(&maker, 8, 86400, 0, &other); /* what the maker takes back himself, in a later one */
    assert_ok(bring("chips", bm_buf_rd(&other), ""));
    assert_ok(check_at("chips", now));
}

/* Breaks when one organisation's CA can revoke what another's of that name has issued. */
static void of_its_organisation(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf list = { 0 };
    BM_CLEANUP(party_done) struct party stranger = { 0 };

    (void)state;
    party_keys(&stranger, "P-256");
    party_certify(&stranger, "Chip root", NULL, true, 86400);
    pin(&w, "acme", "birth", bm_buf_rd(&stranger.cert));
    make_list(&stranger, 1, 86400, SERIAL, &list);
    assert_ok(bring("acme", bm_buf_rd(&list), ""));
    assert_ok(check_at("chips", now));
    assert_ok(check_at("acme", now)); /* nor by another key of one organisation's */
    make_list(&stranger, 2, 86400, SERIAL + 1, &list);
    assert_ok(bring("acme", bm_buf_rd(&list), ""));
}

/* Breaks when a list that is over frees whom it names, or stops others where the operator has not said so. */
static void when_over(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf list = { 0 }, pem = { .max = 8192 };
    BM_CLEANUP(json_unref) json_t *status = NULL;

    (void)state;
    bm_pem_write(&pem, "CERTIFICATE", bm_buf_rd(&maker.cert));
    make_list(&maker, 20, 3600, SERIAL + 1, &list);
    assert_ok(bring("chips", bm_buf_rd(&list), ""));
    assert_ok(check_at("chips", now + 3600));
    assert_ok(bring("chips", bm_buf_rd(&pem), ",\"crl_over\":\"refuse\""));
    assert_ok(check_at("chips", now));
    assert_rc(check_at("chips", now + 3600), BM_AGAIN);
    assert_string_equal(err.code, "maker-crl-over");
    assert_ok(bring("chips", bm_buf_rd(&pem), ",\"crl_over\":\"use\""));
    assert_ok(check_at("chips", now + 3600));
    make_list(&maker, 21, 3600, SERIAL, &list);
    assert_ok(bring("chips", bm_buf_rd(&list), ""));
    assert_rc(check_at("chips", now + 3600), BM_DENIED);
    assert_true(bm_held_crls_end(w.k, true) == now + 3600 && bm_held_crls_end(w.k, false) == 0);
    status = json_array();
    assert_ok(bm_held_crls_warn(w.k, now, status, &err));
    assert_int_equal(json_array_size(status), 0);
    assert_ok(bm_held_crls_warn(w.k, now + 3600, status, &err));
    assert_int_equal(json_array_size(status), 1);
}

/* A party's certificate, parsed; borrows. */
static struct bm_cert cert_of(const struct party *p)
{
    struct bm_cert c;

    assert_ok(bm_cert_parse(bm_buf_rd(&p->cert), &c, &err));
    return c;
}

/* Breaks when a CA that its root has revoked still vouches, above a device, an RA or a registrar, or when it is pinned itself. */
static void wherever_it_counts(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf list = { 0 };
    BM_CLEANUP(party_done) struct party between = { 0 }, far = { 0 };
    struct bm_evidence v = { .n_chain = 1 };
    struct bm_cert chain[2], leaf_cert;
    const struct bm_cert *pinned;
    struct bm_org acme;
    int64_t org;

    (void)state;
    party_keys(&between, "P-256");
    party_certify(&between, "Line 7", &maker, true, 86400);
    party_keys(&far, "P-256");
    party_certify(&far, "far chip", &between, false, 86400);
    leaf_cert = chain[0] = cert_of(&far);
    chain[1] = cert_of(&between);
    v.chain[0] = bm_buf_rd(&between.cert);
    assert_ok(bm_org_get(w.k->store, "acme", &acme, &err));
    make_list(&maker, 50, 86400, 0, &list);
    assert_ok(bring("chips", bm_buf_rd(&list), ""));
    pin(&w, "chips", "ra", bm_buf_rd(&maker.cert));
    pin(&w, "acme", "registrar", bm_buf_rd(&between.cert));
    assert_ok(bm_evidence_chain(w.k, BM_TRUST_BIRTH, &v, &leaf_cert, now, &org, &err));
    assert_ok(bm_evidence_chain(w.k, BM_TRUST_RA, &v, &leaf_cert, now, &org, &err));
    assert_ok(bm_masa_domain(w.k, chain, 2, acme.id, now, &org, &pinned, &err));
    make_list(&maker, 51, 86400, SERIAL, &list); /* between's, by maker; the leaf has that number too, by between */
    assert_ok(bring("chips", bm_buf_rd(&list), ""));
    assert_rc(bm_evidence_chain(w.k, BM_TRUST_BIRTH, &v, &leaf_cert, now, &org, &err), BM_DENIED);
    assert_string_equal(err.code, "maker-revoked");
    assert_rc(bm_evidence_chain(w.k, BM_TRUST_RA, &v, &leaf_cert, now, &org, &err), BM_DENIED);
    assert_ok(bm_masa_domain(w.k, chain, 2, acme.id, now, &org, &pinned, &err)); /* no list of chips counts for acme's network */
    pin(&w, "chips", "birth", bm_buf_rd(&between.cert));
    v.n_chain = 0;
    assert_rc(bm_evidence_chain(w.k, BM_TRUST_BIRTH, &v, &leaf_cert, now, &org, &err), BM_DENIED);
    assert_true(bm_maker_refusal(&err));
    make_list(&between, 1, 86400, SERIAL, &list); /* the registrar itself */
    assert_rc(admin_do(&w, "{\"op\":\"org.trust\",\"org\":\"acme\",\"purpose\":\"registrar\"}", bm_buf_rd(&list), NULL), BM_OK);
    assert_rc(bm_masa_domain(w.k, chain, 2, acme.id, now, &org, &pinned, &err), BM_DENIED);
    assert_string_equal(err.code, "maker-revoked");
}

static void words_refused(void **state)
{
    static const struct {
        const char *more;
        enum bm_rc want;
    } rows[] = {
        { ",\"crl\":\"ftp://x.example/a.crl\"", BM_USAGE },
        { ",\"crl\":\"http://u@x.example/a.crl\"", BM_USAGE },
        { ",\"crl\":\"http://x.example/a b.crl\"", BM_USAGE },
        { ",\"crl\":\"http://\\u00e4.example/a.crl\"", BM_USAGE },
        { ",\"crl_over\":\"maybe\"", BM_USAGE },
        { ",\"crl\":\"none\"", BM_OK },
    };
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 8192 }, list = { 0 };

    (void)state;
    bm_pem_write(&pem, "CERTIFICATE", bm_buf_rd(&maker.cert));
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        assert_rc(bring("chips", bm_buf_rd(&pem), rows[i].more), rows[i].want);
    assert_rc(bring("chips", bm_rd_str("nothing of the kind"), ""), BM_USAGE);
    make_list(&w.signer, 1, 86400, 0, &list); /* pinned, and for something else */
    assert_rc(bring("chips", bm_buf_rd(&list), ""), BM_DENIED);
}

/* --- fetching -------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc fetched(int64_t held, uint16_t status, struct bm_rd body)
{
    struct bm_errand x = { .id = 1, .payload.max = 8 };
    struct bm_task_answer a = { .status = status, .body = body };
    struct bm_errand_outcome o = { 0 };
    struct bm_error e, why = { 0 };
    enum bm_rc rc;

    bm_buf_uint(&x.payload, 8, (uint64_t)held);
    assert_ok(bm_keeper_begin(w.k, &err));
    rc = bm_errand_maker_crl.done(w.k, &x, &a, now, &o, &why);
    if (rc != BM_OK && rc != BM_AGAIN)
        assert_ok(bm_errand_maker_crl.failed(w.k, &x, &why, now, &e));
    assert_ok(bm_keeper_settle(w.k, BM_OK, &err));
    bm_buf_done(&x.payload);
    err = why;
    return rc;
}

static int64_t held_id(void)
{
    struct bm_makers *all;

    assert_ok(bm_makers_get(w.k, &all, &err));
    for (size_t i = 0; i < all->n; i++)
        if (all->at[i]->row.url[0] != '\0')
            return all->at[i]->row.id;
    fail();
    return 0;
}

static const char *problem(void)
{
    struct bm_makers *all;

    bm_makers_look_again(w.k);
    assert_ok(bm_makers_get(w.k, &all, &err));
    for (size_t i = 0; i < all->n; i++)
        if (all->at[i]->row.url[0] != '\0')
            return all->at[i]->row.problem;
    return "";
}

/* Breaks when an answer of whatever kind does harm to the list that is there, or nobody learns that none comes. */
static void answers(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 8192 }, list = { 0 }, old = { 0 }, text = { .max = 8192 };
    int64_t id;

    (void)state;
    bm_pem_write(&pem, "CERTIFICATE", bm_buf_rd(&maker.cert));
    assert_ok(bring("chips", bm_buf_rd(&pem), ",\"crl\":\"http://127.0.0.1:1/maker.crl\""));
    id = held_id();
    make_list(&maker, 30, 86400, SERIAL, &list);
    make_list(&maker, 29, 86400, 0, &old);
    bm_pem_write(&text, "X509 CRL", bm_buf_rd(&list));
    assert_rc(fetched(id, 200, bm_buf_rd(&text)), BM_OK); /* some serve PEM */
    assert_rc(check_at("chips", now), BM_DENIED);
    assert_string_equal(problem(), "");
    assert_rc(fetched(id, 503, bm_rd_str("later")), BM_AGAIN);
    assert_rc(fetched(id, 404, bm_buf_rd(&list)), BM_DENIED);
    assert_non_null(strstr(problem(), "404"));
    assert_rc(fetched(id, 200, bm_buf_rd(&list)), BM_OK);
    assert_string_equal(problem(), "");
    assert_rc(fetched(id, 200, bm_buf_rd(&old)), BM_CONFLICT);
    assert_string_equal(err.code, "crl-old");
    assert_rc(fetched(id, 200, bm_rd_str("<html>")), BM_DENIED);
    assert_string_equal(err.code, "bad-crl");
    list.p[list.n - 1] ^= 1;
    assert_rc(fetched(id, 200, bm_buf_rd(&list)), BM_DENIED);
    assert_rc(check_at("chips", now), BM_DENIED);
    assert_string_equal(err.code, "maker-revoked");
}

/* Breaks when lists are asked for all the time, or never. */
static void due(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf pem = { .max = 8192 }, list = { 0 };
    struct bm_error e;

    (void)state;
    bm_pem_write(&pem, "CERTIFICATE", bm_buf_rd(&maker.cert));
    assert_ok(bring("chips", bm_buf_rd(&pem), ",\"crl\":\"none\""));
    assert_rc(bm_chore_maker_crl.look(w.k, now, &e), BM_NOTFOUND);
    assert_ok(bring("chips", bm_buf_rd(&pem), ",\"crl\":\"http://127.0.0.1:1/maker.crl\""));
    assert_rc(bm_chore_maker_crl.look(w.k, now, &e), BM_OK);
    while (bm_chore_step(w.k, &bm_chore_maker_crl, now)) /* as many steps as a slow machine needs */
        ;
    assert_rc(bm_chore_maker_crl.look(w.k, now + 899, &e), BM_NOTFOUND);
    make_list(&maker, 40, 8 * 3600 - 7200, 0, &list); /* eight hours, a quarter of them two */
    assert_rc(fetched(held_id(), 200, bm_buf_rd(&list)), BM_OK);
    assert_rc(bm_chore_maker_crl.look(w.k, now + 7199, &e), BM_NOTFOUND);
    assert_rc(bm_chore_maker_crl.look(w.k, now + 7200, &e), BM_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_only),
        cmocka_unit_test(of_its_organisation),
        cmocka_unit_test(when_over),
        cmocka_unit_test(words_refused),
        cmocka_unit_test(answers),
        cmocka_unit_test(due),
        cmocka_unit_test(wherever_it_counts),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
