/* Keys made for devices that cannot make their own: EST serverkeygen, RFC 7030 section 4.4, and CMP, RFC 9483 section 4.1.6. The key exists in this process for the time of one
 * command: it is written to no file and no row, and every buffer that held it is wiped. */
#include "keeper/revocation.h"

#include "pki/keypkg.h"

void bm_keygen_done(struct bm_keygen *g)
{
    bm_buf_done(&g->spki);
    bm_buf_done(&g->key);
}

static bool shows_certificate(const struct bm_evidence *v)
{
    return v->cert.n != 0 && (v->kind == BM_EVIDENCE_TLS || (v->kind == BM_EVIDENCE_NONE && v->proven));
}

/* The keys of this device that we know: its IDevID key, and that of the certificate which it shows and proves to hold. Beside a one-time code a
 * certificate proves nothing: a worker could put its own there. */
static bool find_recipient(const struct bm_enrol *c, const struct bm_proven *who, struct bm_rd id, struct bm_rd *ret)
{
    struct bm_cert cert;

    *ret = bm_buf_rd(&who->device.spki);
    if (ret->n != 0 && bm_keypkg_is_id_of(id, *ret))
        return true;
    if (!shows_certificate(&c->evidence) || bm_cert_parse(c->evidence.cert, &cert, NULL) != BM_OK)
        return false;
    *ret = cert.spki;
    return bm_keypkg_is_id_of(id, *ret);
}

/* RFC 7030 section 4.4.1.1 (a key we share: we share none) and 4.4.1.2. Nobody in *ret: no encryption is asked for, and none is demanded. */
static enum bm_rc recipient_of(const struct bm_enrol *c, const struct bm_proven *who, const struct bm_line *l,
                               const struct bm_csr *csr, struct bm_keypkg_to *ret, struct bm_error *e)
{
    *ret = c->keygen_to != NULL ? *c->keygen_to : (struct bm_keypkg_to){ .key_id = csr->asymmetric_key_id };
    if (c->keygen_to != NULL)
        return BM_OK;
    if (csr->decrypt_key_id.n != 0)
        return bm_refuse(e, BM_DENIED, "keygen-recipient-unknown",
                         "the request names a secret key to encrypt to (DecryptKeyIdentifier), and no secret is shared here");
    if (csr->asymmetric_key_id.n == 0 && l->policy.server_keygen_encrypted)
        return bm_refuse(
            e, BM_DENIED, "server-keygen-encrypt",
            "product '%s' sends private keys encrypted only: name a key of the device (AsymmetricDecryptKeyIdentifier)",
            l->product.name);
    if (csr->asymmetric_key_id.n != 0 && !find_recipient(c, who, csr->asymmetric_key_id, &ret->spki))
        return bm_refuse(e, BM_DENIED, "keygen-recipient-unknown",
                         "the request names a key to encrypt to that is neither the device's IDevID key nor the one it came with");
    return BM_OK;
}

/* Over EST the CA itself. Over CMP who signs its messages, and whose certificate says that it makes keys (id-kp-cmKGA, RFC 9483 section 4.1.6). */
static enum bm_rc signer_of(struct bm_keeper *k, const struct bm_enrol *c, struct bm_issuer *by, int64_t now,
                            struct bm_keypkg_signer *ret, struct bm_error *e)
{
    struct bm_authority *a = NULL;
    struct bm_revocation *r;
    enum bm_rc rc = bm_issuer_key(k, by, e);

    *ret = (struct bm_keypkg_signer){ .key = by->key, .cert = &by->cert };
    if (rc != BM_OK || c->keygen_to == NULL)
        return rc;
    rc = bm_authorities(k, &r, e);
    if (rc == BM_OK && (a = bm_authority_by_id(r, by->row.id)) == NULL)
        rc = bm_fail(e, BM_BUG, "CA '%s' has nobody to speak for it", by->row.name);
    if (rc == BM_OK)
        rc = bm_delegate_ready(k, a, &bm_delegate_cmp, &a->cmp, by, now, e);
    if (rc == BM_OK)
        *ret = (struct bm_keypkg_signer){ a->cmp.key, &a->cmp.cert, by->chain, by->n_chain, true };
    return rc;
}

/* RFC 7030 section 4.4.2: SignedData by who made the key, in EnvelopedData to who gets it. */
static enum bm_rc seal(struct bm_keeper *k, const struct bm_enrol *c, struct bm_line *l, const struct bm_csr *csr,
                       const struct bm_keypkg_to *recipient, int64_t now, struct bm_keygen *g, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf plain = g->key, package = { .max = BM_KEY_SEALED_MAX };
    int bits = bm_keypkg_cipher(csr->smime_capabilities);
    struct bm_keypkg_signer by;
    enum bm_rc rc = signer_of(k, c, l->issuer, now, &by, e);

    g->key = (struct bm_buf){ .max = BM_KEY_SEALED_MAX };
    if (rc == BM_OK && bits == 0)
        rc = bm_refuse(e, BM_DENIED, "keygen-cipher", "of the ciphers that the client names (SMIMECapabilities) none is AES-CBC");
    if (rc == BM_OK)
        rc = bm_keypkg_sign(bm_buf_rd(&plain), &by, &package, e);
    if (rc == BM_OK)
        rc = bm_keypkg_seal(bm_buf_rd(&package), recipient, bits, &g->key, e);
    g->form = BM_KEY_SEALED;
    return rc;
}

enum bm_rc bm_keygen_check(const struct bm_enrol *c, const struct bm_proven *who, const struct bm_line *l, const struct bm_csr *csr,
                           struct bm_error *e)
{
    struct bm_keypkg_to recipient;

    if (!l->policy.server_keygen)
        return bm_refuse(e, BM_DENIED, "server-keygen-off", "product '%s' wants its devices to make their keys themselves",
                         l->product.name);
    return recipient_of(c, who, l, csr, &recipient, e);
}

enum bm_rc bm_keygen(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_proven *who, struct bm_line *l,
                     const struct bm_csr *csr, int64_t now, struct bm_keygen *ret, struct bm_error *e)
{
    struct bm_keypkg_to recipient;
    struct bm_spki like;
    enum bm_rc rc = recipient_of(c, who, l, csr, &recipient, e);

    if (rc == BM_OK)
        rc = bm_spki_parse(csr->spki, &like, e);
    if (rc != BM_OK)
        return rc;
    ret->spki.max = BM_SPKI_MAX;
    ret->key.max = BM_KEY_SEALED_MAX;
    ret->form = BM_KEY_PLAIN;
    rc = bm_keypkg_make(like.alg, &ret->key, &ret->spki, e);
    return rc == BM_OK && (recipient.spki.n != 0 || recipient.password.n != 0) ? seal(k, c, l, csr, &recipient, now, ret, e) : rc;
}
