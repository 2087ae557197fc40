/* RFC 7030 section 3.5: a request that holds what names its TLS connection was made, and signed, by somebody at the end of this connection; it is no
 * copy of another device's. The name is base64 of tls-unique with TLS 1.2 (RFC 5929), of tls-exporter with TLS 1.3 (RFC 9266), in the
 * attribute estIdentityLinking (RFC 7894) or in challengePassword.
 *
 * The keys of the connection stay with the worker, so the value to compare with is the worker's word; the handshake's messages that the
 * keeper verifies (handshake.c) do not hold it. Against a worker in enemy hands this check adds nothing: docs/est.md says so. */
#include "keeper/internal.h"

#include "base/text.h"

enum { UNIQUE_LEN = 12, EXPORTER_LEN = 32 };

/* challengePassword has other uses too; of these lengths, and base64, it is taken at its word. */
static bool names_connection(struct bm_rd text)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = BM_BINDING_MAX };

    return text.n != 0 && bm_unbase64(text, &raw, NULL) == BM_OK && (raw.n == UNIQUE_LEN || raw.n == EXPORTER_LEN);
}

static bool is_ours(struct bm_rd text, struct bm_rd binding)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf want = { .max = 2 * BM_BINDING_MAX };

    bm_base64(&want, binding, 0);
    return binding.n != 0 && !want.bad && text.n == want.n && bm_secret_eq(text.p, want.p, text.n);
}

enum bm_rc bm_pop_check(const struct bm_enrol *c, const struct bm_policy *p, const struct bm_csr *csr, bool dry, struct bm_error *e)
{
    bool linking = csr->identity_linking.n != 0;
    struct bm_rd said = linking ? csr->identity_linking : csr->challenge_password;

    if (strcmp(c->protocol, "est") != 0 ||
        c->keygen) /* the others sign the whole message; of keygen's the signature counts for nothing */
        return BM_OK;
    if (!linking && !names_connection(said))
        return p->pop_linked ? bm_refuse(e, BM_DENIED, "pop-unlinked",
                                         "the request must hold the channel binding of its TLS connection (RFC 7030 section 3.5)")
                             : BM_OK;
    if (!dry && !is_ours(said, c->evidence.binding))
        return bm_refuse(e, BM_DENIED, "pop-mismatch",
                         "the request holds the channel binding of another TLS connection: it was made for that one, or copied");
    return BM_OK;
}
