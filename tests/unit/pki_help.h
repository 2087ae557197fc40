/* What the tests of src/pki share. */
#ifndef BM_TESTS_PKI_HELP_H
#define BM_TESTS_PKI_HELP_H

#include "base/file.h"
#include "base/text.h"
#include "pki/cert.h"
#include "pki/der.h"
#include "pki/jws.h"
#include "pki/key.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#define NOW INT64_C(1790000000) /* 2026-09-21 */
#define UDID "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define UNUSED __attribute__((unused))

static UNUSED struct bm_error err;

/* A copy in an allocation of its exact size, so that one byte too far is seen. */
static UNUSED uint8_t *exact(struct bm_rd r)
{
    uint8_t *b = malloc(r.n != 0 ? r.n : 1);

    assert_non_null(b);
    if (r.n != 0)
        memcpy(b, r.p, r.n);
    return b;
}

/* Bytes of hex with blanks. */
static UNUSED struct bm_rd hex(const char *text, uint8_t *room, size_t room_len)
{
    char packed[4096];
    size_t n = 0;

    for (; *text != '\0'; text++)
        if (*text != ' ')
            packed[n++] = *text;
    assert_true(n / 2 <= room_len && n < sizeof packed && bm_unhex(bm_rd_of(packed, n), room, n / 2));
    return bm_rd_of(room, n / 2);
}

#define assert_ok(call) assert_int_equal_msg_((call), BM_OK, #call)
static UNUSED void assert_int_equal_msg_(enum bm_rc got, enum bm_rc want, const char *what)
{
    if (got != want)
        fail_msg("%s: %s (%s: %s)", what, bm_rc_name(got), err.code, err.what);
}

static UNUSED struct bm_key *key_new(const char *type, const char *option)
{
    struct bm_key *k = NULL;
    EVP_PKEY *p;

    if (strcmp(type, "EC") == 0)
        p = EVP_EC_gen(option);
    else if (strcmp(type, "RSA") == 0)
        p = EVP_RSA_gen((unsigned)atoi(option));
    else
        p = EVP_PKEY_Q_keygen(NULL, NULL, type);
    assert_non_null(p);
    assert_ok(bm_key_of_evp(p, &k, &err));
    return k;
}

static UNUSED const char *builtin_json(const char *name)
{
    for (const struct bm_profile_builtin *b = bm_profiles_builtin; b->name != NULL; b++)
        if (strcmp(b->name, name) == 0)
            return b->json;
    fail_msg("no built-in profile %s", name);
    return NULL;
}

static UNUSED struct bm_profile *profile_of(const char *json)
{
    struct bm_profile *p = NULL;

    assert_ok(bm_profile_parse("test", bm_rd_str(json), &p, &err));
    return p;
}

static UNUSED struct bm_profile *builtin(const char *name)
{
    return profile_of(builtin_json(name));
}

static const struct bm_subject_words words_all UNUSED = {
    .udid = UDID,
    .serial = "SN-0001",
    .product = "thermostat",
    .batch = "batch-7",
    .org = "Example GmbH",
    .service = "mqtt",
    .host = "iot.example.com,10.0.0.1,2001:db8::1",
    .attributes = { (const uint8_t *)"{\"colour\":\"red\",\"lot\":42}", 25 },
};

/* A certificate and what it borrows from. */
struct made {
    struct bm_buf der;
    struct bm_cert cert;
};

static UNUSED void made_done(struct made *m)
{
    bm_buf_done(&m->der);
}

static UNUSED void issue(struct made *m, const char *profile, const struct bm_key *issuer, const struct made *ca,
                         const struct bm_key *subject)
{
    struct bm_profile *p = builtin(profile);
    struct bm_issue i = { .profile = p,
                          .issuer_key = issuer,
                          .issuer_cert = ca != NULL ? &ca->cert : NULL,
                          .spki = bm_key_spki(subject),
                          .words = &words_all,
                          .serial = { 0x81, 2, 3 },
                          .now = NOW,
                          .not_after_max = INT64_MAX };

    *m = (struct made){ .der.max = BM_CERT_MAX };
    assert_ok(bm_cert_issue(&i, &m->der, NULL, NULL, &err));
    assert_ok(bm_cert_parse(bm_buf_rd(&m->der), &m->cert, &err));
    bm_profile_free(p);
}

static UNUSED X509 *openssl_x509(struct bm_rd der)
{
    const uint8_t *p = der.p;
    X509 *x = d2i_X509(NULL, &p, (long)der.n);

    assert_non_null(x);
    assert_ptr_equal(p, der.p + der.n);
    return x;
}

/* First PEM block of a file of tests/vectors. */
static UNUSED enum bm_rc keep_first(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct bm_buf *b = arg;

    (void)e;
    if (b->n == 0)
        bm_buf_put(b, der.p, der.n);
    return BM_OK;
}

static UNUSED void pem_file(const char *path, struct bm_buf *ret)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 65536 };

    assert_ok(bm_file_read(path, &text, &err));
    assert_ok(bm_pem_parse(bm_buf_rd(&text), "CERTIFICATE", keep_first, ret, &err));
    assert_true(ret->n != 0);
}

#endif
