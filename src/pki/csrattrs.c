/* What EST tells a client that asks what its request should hold: RFC 7030 section 4.5.2 in the ASN.1 of RFC 8951, and the same as a template
 * (RFC 9908). DER is written back to front. */
#include "pki/profile_draft.h"

static const struct bm_rd oid_challenge_password = BM_LIT(OID_CHALLENGE_PASSWORD), oid_template = BM_LIT(OID_CRI_TEMPLATE);

/* The kind of key: an algorithm with what tells of curve or size, AttrOrOID. */
static void key_write(struct bm_derw *w, const struct profile_key *k)
{
    size_t mark = bm_derw_mark(w);

    if (k->params.n != 0)
        bm_derw_tlv(w, BM_DER_SET, k->params);
    bm_derw_tlv(w, BM_DER_OID, k->oid);
    if (k->params.n != 0)
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* SubjectPublicKeyInfoTemplate, [0] IMPLICIT: the AlgorithmIdentifier, without a key. An RSA modulus of some length would have to be made up to
 * ask for that length; any that the profile takes will do, so it is left out. */
static void key_template_write(struct bm_derw *w, const struct profile_key *k)
{
    static const uint8_t null[] = { 0x05, 0x00 }; /* RFC 3279 section 2.3.1 */
    size_t mark = bm_derw_mark(w);
    bool rsa = strcmp(k->alg, "RSA") == 0;

    bm_derw_put(w, rsa ? bm_rd_of(null, sizeof null) : k->params);
    bm_derw_tlv(w, BM_DER_OID, k->oid);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
}

/* Attributes, [1] IMPLICIT SET: a challengePassword whose value the client fills in. */
static void attributes_template_write(struct bm_derw *w, bool linked)
{
    size_t mark = bm_derw_mark(w);

    if (linked) {
        bm_derw_tlv(w, BM_DER_SET, bm_rd_of(NULL, 0));
        bm_derw_tlv(w, BM_DER_OID, oid_challenge_password);
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
    }
    bm_derw_end(w, mark, BM_DER_CTX_CONS(1));
}

/* CertificationRequestInfoTemplate in its Attribute, RFC 9908 section 3.4. */
static void template_write(struct bm_derw *w, const struct bm_profile *p, const struct profile_key *k, bool linked)
{
    size_t mark = bm_derw_mark(w);

    attributes_template_write(w, linked);
    key_template_write(w, k);
    bm_name_template_write(w, &p->subject);
    bm_derw_uint(w, 0); /* v1 */
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SET);
    bm_derw_tlv(w, BM_DER_OID, oid_template);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

enum bm_rc bm_profile_csrattrs(const struct bm_profile *p, bool linked, struct bm_buf *ret_der, struct bm_error *e)
{
    const struct profile_key *k = profile_key_find(p->keys[0]);
    uint8_t room[BM_CSRATTRS_MAX];
    struct bm_derw w = bm_derw_of(room, sizeof room);
    size_t mark = bm_derw_mark(&w);

    if (k == NULL)
        return bm_fail(e, BM_BUG, "profile '%s' has no key we know", p->name);
    if (p->csr_template)
        template_write(&w, p, k, linked);
    if (k->signature.n != 0)
        bm_derw_tlv(&w, BM_DER_OID, k->signature);
    key_write(&w, k);
    if (linked)
        bm_derw_tlv(&w, BM_DER_OID, oid_challenge_password);
    bm_derw_end(&w, mark, BM_DER_SEQUENCE);
    if (w.bad)
        return bm_fail(e, BM_LIMIT, "profile '%s': CSR attributes over %d bytes", p->name, BM_CSRATTRS_MAX);
    bm_buf_put(ret_der, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    return bm_buf_check(ret_der, e);
}
