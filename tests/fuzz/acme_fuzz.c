/* targets: bm_acme_jws_read bm_acme_jws_verify bm_acme_jws_verify_mac bm_jwk_read bm_jwk_thumbprint */
#include "pki/acme.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* What was read is bounded, and a key that was read has a thumbprint. */
static void look(struct bm_acme_jws *j, enum bm_acme_jws_kind kind)
{
    uint8_t thumbprint[32];
    struct bm_error e;

    must(j->url[0] != '\0' && (j->kid[0] != '\0') != (j->spki.n != 0));
    must((kind == BM_ACME_OUTER) == (j->nonce[0] != '\0'));
    must(j->body == NULL || json_is_object(j->body));
    must((j->body == NULL) == (j->payload.n == 0));
    if (j->spki.n != 0) {
        must(bm_jwk_thumbprint(bm_buf_rd(&j->spki), thumbprint, NULL) == BM_OK);
        must(bm_acme_jws_verify(j, bm_buf_rd(&j->spki), &e) == BM_OK || e.rc == BM_DENIED || e.rc == BM_MALFORMED);
    }
    if (kind == BM_ACME_BINDING)
        must(bm_acme_jws_verify_mac(j, bm_rd_str("0123456789abcdef0123456789abcdef"), &e) == BM_OK || e.rc == BM_DENIED);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    enum bm_acme_jws_kind kind = n != 0 ? p[0] % 3 : 0;
    struct bm_acme_jws j = { 0 };
    struct bm_error e;

    if (n == 0)
        return 0;
    if (bm_acme_jws_read(bm_rd_of(p + 1, n - 1), kind, &j, &e) == BM_OK)
        look(&j, kind);
    else
        must((e.rc == BM_MALFORMED || e.rc == BM_LIMIT) && e.code[0] != '\0');
    bm_acme_jws_done(&j);
    return 0;
}
