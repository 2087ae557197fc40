/* targets: bm_cert_parse bm_cert_check_link bm_name_find bm_name_alike bm_cms_certs bm_pem_parse bm_acme_alpn_check */
#include "pki/acme_alpn.h"
#include "pki/cert.h"

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

static void check(struct bm_rd der)
{
    struct bm_cert c;
    struct bm_error e;
    struct bm_rd v;

    if (bm_cert_parse(der, &c, &e) != BM_OK) {
        must(e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
        return;
    }
    must(inside(c.tbs, der) && inside(c.sig_alg, der) && inside(c.sig, der) && inside(c.serial, c.tbs) && inside(c.issuer, c.tbs));
    must(inside(c.subject, c.tbs) && inside(c.spki, c.tbs) && inside(c.san, c.tbs) && inside(c.skid, c.tbs) &&
         inside(c.akid, c.tbs));
    must(c.not_before <= c.not_after && c.serial.n != 0 && (c.ca || c.path_len == -1));
    must(!bm_name_find(c.subject, bm_rd_of("\x55\x04\x03", 3), &v) || inside(v, c.subject));
    must(bm_name_alike(c.subject, c.issuer) == bm_name_alike(c.issuer, c.subject));
    must(bm_cert_check_link(&c, &c, c.not_before, &e) == BM_OK || e.rc == BM_DENIED || e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
}

static enum bm_rc each(void *arg, struct bm_rd der, struct bm_error *e)
{
    (void)arg, (void)e;
    check(der);
    return BM_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cms = { .max = 65536 };
    struct bm_rd in = bm_rd_of(p, n);

    check(in);
    (void)!bm_acme_alpn_check(in, "alpn.example", bm_rd_str("token.thumbprint"), NULL);
    (void)!bm_cms_certs(&in, 1, &cms, NULL);
    (void)!bm_pem_parse(in, "CERTIFICATE", each, NULL, NULL);
    return 0;
}
