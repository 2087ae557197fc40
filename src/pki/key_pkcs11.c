/* Keys in PKCS#11 tokens. What a token signs is verified with the key's public half before it is used (key.c), so that a token that answers with
 * another key, or wrongly, never yields a certificate. */
#include "pki/pkcs11_impl.h"

#include <openssl/rand.h>
#include <stdlib.h>

enum { NEW_ID_LEN = 16 };

struct token_key {
    struct bm_pkcs11 *p;
    struct bm_token *t;
    struct bm_pkcs11_uri uri;
    CK_KEY_TYPE type;
    uint64_t generation; /* of the session that `handle` is good in */
    CK_OBJECT_HANDLE handle;
};

/* --- which -------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc place(const struct bm_keyring *ring, const char *path, struct token_key *ret, struct bm_error *e)
{
    enum bm_rc rc = bm_pkcs11_uri_parse(bm_rd_str(path), &ret->uri, e);

    if (rc == BM_OK && ring->pkcs11 == NULL)
        rc = bm_refuse(e, BM_USAGE, "pkcs11-module", "a key in a token needs pkcs11_module in the configuration");
    ret->p = ring->pkcs11;
    return rc == BM_OK ? bm_token_of(ret->p, &ret->uri, &ret->t, e) : rc;
}

/* --- signing ------------------------------------------------------------------------------------------------------------------------ */
struct job {
    struct token_key *k;
    struct bm_rd in;
    uint8_t *out;
    CK_ULONG out_len;
};

/* The handle for the session that is open now. It was found before, so when it is not there the token is not what it was. */
static CK_RV renew_handle(struct bm_pkcs11 *p, const struct bm_token *t, struct token_key *k)
{
    CK_OBJECT_HANDLE found[2];
    size_t n = 0;
    CK_RV rv = k->generation == t->generation ? CKR_OK : bm_token_find(p, t, BM_TOKEN_PRIVATE, &k->uri, found, &n);

    if (rv != CKR_OK || k->generation == t->generation)
        return rv;
    if (n != 1)
        return CKR_OBJECT_HANDLE_INVALID;
    k->handle = found[0];
    k->generation = t->generation;
    return CKR_OK;
}

static CK_RV sign_there(struct bm_pkcs11 *p, struct bm_token *t, void *arg)
{
    struct job *j = arg;
    CK_MECHANISM how = { .mechanism = j->k->type == CKK_EC ? CKM_ECDSA : CKM_RSA_PKCS };
    CK_ULONG n = j->out_len;
    CK_RV rv = renew_handle(p, t, j->k);

    if (rv == CKR_OK)
        rv = p->f->C_SignInit(t->session, &how, j->k->handle);
    if (rv == CKR_OK)
        rv = p->f->C_Sign(t->session, (CK_BYTE *)(uintptr_t)j->in.p, j->in.n, j->out, &n);
    if (rv == CKR_OK)
        j->out_len = n;
    return rv;
}

/* What an RSA signature is over: RFC 8017 section 9.2, DigestInfo for SHA-256. */
static struct bm_rd digest_info(struct bm_rd digest, uint8_t room[64])
{
    static const uint8_t front[] = { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                     0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20 };

    memcpy(room, front, sizeof front);
    memcpy(room + sizeof front, digest.p, 32);
    return bm_rd_of(room, sizeof front + 32);
}

static enum bm_rc remote_sign(void *arg, struct bm_rd digest, uint8_t *ret, size_t *ret_len, struct bm_error *e)
{
    struct token_key *k = arg;
    uint8_t info[64], raw[512];
    struct job j = { .k = k, .in = k->type == CKK_EC ? digest : digest_info(digest, info), .out = raw, .out_len = sizeof raw };
    struct bm_derw w = bm_derw_of(ret, *ret_len);
    enum bm_rc rc = bm_token_run(k->p, k->t, "sign", sign_there, &j, e);

    if (rc != BM_OK) /* whatever it is, it is not the doing of whoever asked for a signature */
        return bm_wrap(e, BM_AGAIN, "signing");
    if (k->type != CKK_EC)
        bm_derw_put(&w, bm_rd_of(raw, j.out_len));
    else if (!bm_ec_raw_to_der(bm_rd_of(raw, j.out_len), j.out_len / 2, &w))
        w.bad = true;
    if (w.bad)
        return bm_refuse(e, BM_AGAIN, "token-signature", "the token '%s' made a signature of %lu bytes that is none",
                         k->t->which.token, j.out_len);
    *ret_len = bm_derw_rd(&w).n;
    memmove(ret, bm_derw_rd(&w).p, *ret_len);
    return BM_OK;
}

static const struct bm_key_remote remote = { remote_sign, free };

/* --- opening ------------------------------------------------------------------------------------------------------------------------ */
struct look {
    struct token_key *k;
    size_t n;
    struct bm_token_facts facts;
};

static CK_RV look_there(struct bm_pkcs11 *p, struct bm_token *t, void *arg)
{
    struct look *l = arg;
    CK_OBJECT_HANDLE found[2];
    CK_RV rv = bm_token_find(p, t, BM_TOKEN_PRIVATE, &l->k->uri, found, &l->n);

    if (rv == CKR_OK && l->n == 0)
        return CKR_OBJECT_HANDLE_INVALID;
    if (rv != CKR_OK || l->n != 1)
        return rv;
    l->k->handle = found[0];
    l->k->generation = t->generation;
    return bm_token_facts(p, t, found[0], &l->k->uri, &l->facts);
}

static enum bm_rc check_facts(const struct look *l, struct bm_error *e)
{
    const struct bm_token_facts *f = &l->facts;

    if (l->n != 1)
        return bm_refuse(e, BM_USAGE, "token-ambiguous", "more than one key of the token fits the URI; add id=... to it");
    if (f->extractable || !f->sensitive)
        return bm_refuse(
            e, BM_USAGE, "token-key-leaks",
            "the token would give this key away (CKA_EXTRACTABLE, or not CKA_SENSITIVE); a CA's key has to stay in it");
    if (!f->signs || (f->type != CKK_EC && f->type != CKK_RSA))
        return bm_refuse(e, BM_USAGE, "token-key-unfit", "the key in the token does not sign, or is neither EC nor RSA");
    if (f->spki_len == 0)
        return bm_refuse(e, BM_USAGE, "token-key-unfit", "the token has no public key beside the private one (same CKA_ID)");
    return BM_OK;
}

static enum bm_rc pkcs11_open(const struct bm_keyring *ring, const char *path, struct bm_key **ret, struct bm_error *e)
{
    struct token_key *k = calloc(1, sizeof *k);
    struct look l = { .k = k };
    enum bm_rc rc = k != NULL ? place(ring, path, k, e) : bm_fail(e, BM_NOMEM, "no memory for a key");

    if (rc == BM_OK)
        rc = bm_token_run(k->p, k->t, "show its keys", look_there, &l, e);
    if (rc == BM_OK)
        rc = check_facts(&l, e);
    if (rc != BM_OK) {
        free(k);
        return rc;
    }
    k->type = l.facts.type;
    return bm_key_of_remote(bm_rd_of(l.facts.spki, l.facts.spki_len), &remote, k, ret, e);
}

/* --- making and destroying ---------------------------------------------------------------------------------------------------------- */
struct making {
    const struct token_key *k;
    struct bm_pkcs11_uri made; /* the same with an id, which joins the two halves */
    const struct bm_token_alg *alg;
    bool there;
};

/* Objects of the token are written in a session of its own, for reading and writing. */
static CK_RV open_to_write(struct bm_pkcs11 *p, const struct bm_token *t, CK_SESSION_HANDLE *ret)
{
    CK_SESSION_INFO info;
    CK_RV rv = p->f->C_GetSessionInfo(t->session, &info);

    return rv == CKR_OK ? p->f->C_OpenSession(info.slotID, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, ret) : rv;
}

static CK_RV generate_there(struct bm_pkcs11 *p, struct bm_token *t, void *arg)
{
    struct making *m = arg;
    CK_OBJECT_HANDLE found[2];
    CK_SESSION_HANDLE s;
    size_t n = 0;
    CK_RV rv = bm_token_find(p, t, BM_TOKEN_PRIVATE, &m->k->uri, found, &n);

    m->there = n != 0;
    if (rv != CKR_OK || m->there)
        return rv;
    rv = open_to_write(p, t, &s);
    if (rv != CKR_OK)
        return rv;
    rv = bm_token_generate(p, s, m->alg, &m->made);
    (void)p->f->C_CloseSession(s);
    return rv;
}

static enum bm_rc pkcs11_generate(const struct bm_keyring *ring, const char *path, const char *alg, struct bm_error *e)
{
    struct token_key k = { 0 };
    struct making m = { .k = &k, .alg = bm_token_alg(alg) };
    enum bm_rc rc = place(ring, path, &k, e);

    if (rc != BM_OK)
        return rc;
    if (m.alg == NULL)
        return bm_fail(e, BM_USAGE, "keys in tokens are EC:P-256, EC:P-384, RSA:2048, RSA:3072 or RSA:4096");
    if (k.uri.object[0] == '\0')
        return bm_fail(e, BM_USAGE, "a new key needs a label: object=... in its URI");
    m.made = k.uri;
    if (k.uri.id_len == 0 && RAND_bytes(m.made.id, NEW_ID_LEN) != 1)
        return bm_fail(e, BM_BUG, "no random numbers");
    m.made.id_len = k.uri.id_len == 0 ? NEW_ID_LEN : k.uri.id_len;
    rc = bm_token_run(k.p, k.t, "make a key", generate_there, &m, e);
    return rc == BM_OK && m.there ? bm_fail(e, BM_CONFLICT, "the token has such a key already") : rc;
}

static CK_RV destroy_there(struct bm_pkcs11 *p, struct bm_token *t, void *arg)
{
    const struct token_key *k = arg;
    CK_SESSION_HANDLE s;
    CK_RV rv = open_to_write(p, t, &s);

    if (rv != CKR_OK)
        return rv;
    for (int class = BM_TOKEN_PRIVATE; rv == CKR_OK && class <= BM_TOKEN_PUBLIC; class ++) {
        CK_OBJECT_HANDLE found[2];
        size_t n = 0;

        rv = bm_token_find(p, t, (enum bm_token_class) class, &k->uri, found, &n);
        if (rv == CKR_OK && n == 1) /* of two that fit nobody knows which is meant */
            rv = p->f->C_DestroyObject(s, found[0]);
    }
    (void)p->f->C_CloseSession(s);
    return rv;
}

static enum bm_rc pkcs11_destroy(const struct bm_keyring *ring, const char *path, struct bm_error *e)
{
    struct token_key k = { 0 };
    enum bm_rc rc = place(ring, path, &k, e);

    return rc == BM_OK ? bm_token_run(k.p, k.t, "destroy a key", destroy_there, &k, e) : rc;
}

const struct bm_key_driver bm_key_pkcs11 = {
    .scheme = "pkcs11", .generate = pkcs11_generate, .open = pkcs11_open, .destroy = pkcs11_destroy
};
