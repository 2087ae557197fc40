/* Refusals as problem documents (RFC 7807) with the types of RFC 8555 section 6.7. Our own code is a member, since it says more. */
#include "keeper/acme.h"

#include "base/text.h"

#include <stdio.h>

static const struct problem {
    const char *code, *type;
    int status;
} problems[] = {
    { "acme-jws", "malformed", 400 },
    { "acme-payload", "malformed", 400 },
    { "acme-algorithm", "badSignatureAlgorithm", 400 },
    { "acme-key", "badPublicKey", 400 },
    { "acme-nonce", "badNonce", 400 },
    { "acme-url", "unauthorized", 403 },
    { "acme-signature", "unauthorized", 403 },
    { "acme-not-found", "malformed", 404 },
    { "acme-account-unknown", "accountDoesNotExist", 400 },
    { "acme-account-closed", "unauthorized", 403 },
    { "acme-key-in-use", "malformed", 409 },
    { "acme-rollover", "malformed", 400 },
    { "acme-contact", "invalidContact", 400 },
    { "acme-contact-kind", "unsupportedContact", 400 },
    { "acme-eab-needed", "externalAccountRequired", 403 },
    { "acme-eab-wrong", "unauthorized", 403 },
    { "acme-eab-expired", "unauthorized", 403 },
    { "acme-eab-revoked", "unauthorized", 403 },
    { "acme-eab-used-up", "unauthorized", 403 },
    { "acme-eab-scope", "unauthorized", 403 },
    { "acme-identifier-form", "malformed", 400 },
    { "acme-identifier-kind", "unsupportedIdentifier", 400 },
    { "acme-identifier", "rejectedIdentifier", 400 },
    { "acme-profile", "invalidProfile", 400 },
    { "acme-incorrect", "incorrectResponse", 403 },
    { "outbound-no-name", "dns", 400 },
    { "outbound-dns", "dns", 400 },
    { "outbound-tls", "tls", 400 },
    { "outbound-unreachable", "connection", 400 },
    { "outbound-timeout", "connection", 400 },
    { "outbound-http", "connection", 400 },
    { "outbound-private", "connection", 400 },
    { "outbound-redirect", "connection", 400 },
    { "outbound-url", "connection", 400 },
    { "outbound-too-long", "connection", 400 },
    { "acme-orders", "rateLimited", 429 },
    { "acme-replaces", "malformed", 400 },
    { "acme-replaced", "alreadyReplaced", 409 },
    { "acme-order-state", "orderNotReady", 403 },
    { "acme-csr", "badCSR", 400 },
    { "key-algorithm", "badCSR", 400 },
    { "acme-attestation", "badAttestationStatement", 400 },
    { "unknown-device", "badAttestationStatement", 400 }, /* the draft's section 5: whatever is wrong with what was shown */
    { "udid-mismatch", "badAttestationStatement", 400 },
    { "untrusted-birth-certificate", "badAttestationStatement", 400 },
    { "bad-issuer", "badAttestationStatement", 400 },
    { "bad-signature", "badAttestationStatement", 400 },
    { "expired", "badAttestationStatement", 400 },
    { "not-yet-valid", "badAttestationStatement", 400 },
    { "acme-revoked", "alreadyRevoked", 400 },
    { "acme-reason", "badRevocationReason", 400 },
    { "quota-exceeded", "unauthorized", 403 },
};

static const struct problem *find(const struct bm_error *e)
{
    static const struct problem malformed = { "", "malformed", 400 }, unauthorized = { "", "unauthorized", 403 },
                                missing = { "", "malformed", 404 }, busy = { "", "serverInternal", 503 },
                                limit = { "", "malformed", 413 };

    for (size_t i = 0; i < BM_COUNT(problems); i++)
        if (strcmp(problems[i].code, e->code) == 0)
            return &problems[i];
    switch (e->rc) {
    case BM_AGAIN:
        return &busy;
    case BM_LIMIT:
        return &limit;
    case BM_NOTFOUND:
        return &missing;
    case BM_DENIED:
        return &unauthorized;
    default:
        return &malformed;
    }
}

int bm_acme_status(const struct bm_error *e)
{
    return find(e)->status;
}

bool bm_acme_is_limit(const struct bm_error *e)
{
    return strcmp(find(e)->type, "rateLimited") == 0;
}

json_t *bm_acme_problem(const struct bm_error *e, const char *correlation)
{
    const struct problem *p = find(e);
    char type[80];
    json_t *j, *algs;

    snprintf(type, sizeof type, "urn:ietf:params:acme:error:%s", p->type);
    j = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", type, "detail", e->what, "status", p->status, "code", bm_error_code(e),
                  "correlation", correlation);
    if (j == NULL || strcmp(p->type, "badSignatureAlgorithm") != 0)
        return j;
    algs = json_array(); /* section 6.2 */
    for (size_t i = 0; bm_acme_algs[i] != NULL; i++)
        json_array_append_new(algs, json_string(bm_acme_algs[i]));
    json_object_set_new(j, "algorithms", algs);
    return j;
}

json_t *bm_acme_time(int64_t at)
{
    char text[24];

    return json_string(bm_time_text(at, text));
}
