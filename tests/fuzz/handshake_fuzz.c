/* targets: bm_handshake_verify bm_handshake_read bm_handshake_is_fresh */
#include "pki/handshake.h"

#include <stdlib.h>

static bool inside(struct bm_rd part, struct bm_rd whole)
{
    return part.n == 0 ||
           (part.p >= whole.p && (size_t)(part.p - whole.p) <= whole.n && part.n <= whole.n - (size_t)(part.p - whole.p));
}

static void check(const struct bm_handshake *h, struct bm_rd whole)
{
    if (!inside(h->nonce, whole) || !inside(h->session_id, whole) || !inside(h->certificate, whole) || !inside(h->spki, whole) ||
        (h->certificate.n != 0) == (h->spki.n != 0))
        abort();
}

/* A u32 length of the transcript, the transcript, the CertificateVerify. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const uint8_t nonce[BM_HANDSHAKE_NONCE_LEN];
    struct bm_rd in = bm_rd_of(p, n), transcript;
    struct bm_handshake h;
    struct bm_error e;

    if (!bm_rd_vec(&in, BM_HANDSHAKE_MAX, &transcript))
        return 0;
    if (bm_handshake_read(transcript, &h, &e) != BM_OK)
        return 0;
    check(&h, transcript);
    if (bm_handshake_verify(transcript, in, &h, &e) != BM_OK)
        return 0;
    check(&h, transcript);
    (void)bm_handshake_is_fresh(&h, nonce);
    return 0;
}
