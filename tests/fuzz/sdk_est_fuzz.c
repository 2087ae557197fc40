/* targets: bmd_unbase64 bmd_est_certs_read bmd_est_own_first bmd_cert_read bmd_csr_spki bmd_sig_from_der */
#include "core/est.h"

#include <stdlib.h>

static void certs(struct bmd_rd cms)
{
    struct bmd_est_certs c;
    struct bmd_cert first, last;

    if (bmd_est_certs_read(cms, &c) != BMD_OK)
        return;
    if (bmd_cert_read(c.certs[c.n - 1], &last) != BMD_OK || bmd_est_own_first(&c, last.spki) != BMD_OK)
        return;
    if (bmd_cert_read(c.certs[0], &first) != BMD_OK || !bmd_rd_eq(first.spki, last.spki))
        abort();
}

static void signature(struct bmd_rd in)
{
    uint8_t raw[64], der[BMD_SIG_DER_MAX];
    size_t n = 0, again = 0;

    if (bmd_sig_from_der(in, 32, raw, sizeof raw, &n) != BMD_OK)
        return;
    if (bmd_sig_to_der(bmd_rd_of(raw, n), der, sizeof der, &again) != BMD_OK || !bmd_rd_eq(bmd_rd_of(der, again), in))
        abort(); /* what we accept we can write, to the same bytes */
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    uint8_t *out = malloc(n != 0 ? n : 1);
    struct bmd_rd in = bmd_rd_of(p, n), spki;
    struct bmd_cert c;
    size_t len = 0;

    certs(in);
    signature(in);
    if (bmd_cert_read(in, &c) == BMD_OK && c.serial.n == 0)
        abort();
    if (bmd_csr_spki(in, &spki) == BMD_OK && spki.n < 2)
        abort();
    if (out != NULL && bmd_unbase64(in, out, n, &len) == BMD_OK)
        certs(bmd_rd_of(out, len));
    free(out);
    return 0;
}
