/* What CMP tells a client that asks how its request should look: CertReqTemplateContent, RFC 9810 section 5.3.19.16. DER is written back to front. */
#include "pki/profile_draft.h"

static const struct bm_rd oid_alg_id = BM_LIT(OID_ALG_ID_CONTROL), oid_rsa_key_len = BM_LIT(OID_RSA_KEY_LEN_CONTROL);

/* AttributeTypeAndValue: the algorithm, or for RSA how long a modulus (2048 bits, as for EST). */
static void key_spec_write(struct bm_derw *w, const struct profile_key *k)
{
    size_t mark = bm_derw_mark(w);
    bool rsa = strcmp(k->alg, "RSA") == 0;

    bm_derw_put(w, k->params);
    if (!rsa) {
        bm_derw_tlv(w, BM_DER_OID, k->oid);
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
    }
    bm_derw_tlv(w, BM_DER_OID, rsa ? oid_rsa_key_len : oid_alg_id);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

/* The subject is the profile's to choose, so the template has an empty one for the client to leave as it is. */
void bm_profile_cmp_template(const struct bm_profile *p, struct bm_derw *w)
{
    size_t all = bm_derw_mark(w), mark;

    for (size_t i = p->n_keys; i-- > 0;) {
        const struct profile_key *k = profile_key_find(p->keys[i]);

        if (k != NULL)
            key_spec_write(w, k);
    }
    bm_derw_end(w, all, BM_DER_SEQUENCE);
    mark = bm_derw_mark(w);
    bm_derw_tlv(w, BM_DER_SEQUENCE, bm_rd_of(NULL, 0));
    bm_derw_end(w, mark, BM_DER_CTX_CONS(5));
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, all, BM_DER_SEQUENCE);
}
