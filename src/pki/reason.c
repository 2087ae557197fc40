#include "pki/crl.h"

/* RFC 5280 section 5.3.1; 7 is not used, 6 and 8 are not for here: a hold is what suspending a device is for. */
static const struct {
    int reason;
    const char *name;
} reasons[] = {
    { 0, "unspecified" }, { 1, "keyCompromise" },        { 2, "cACompromise" },       { 3, "affiliationChanged" },
    { 4, "superseded" },  { 5, "cessationOfOperation" }, { 9, "privilegeWithdrawn" }, { 10, "aACompromise" },
};

const char *bm_reason_name(int reason)
{
    for (size_t i = 0; i < BM_COUNT(reasons); i++)
        if (reasons[i].reason == reason)
            return reasons[i].name;
    return "unspecified";
}

enum bm_rc bm_reason_find(const char *name, int *ret, struct bm_error *e)
{
    for (size_t i = 0; i < BM_COUNT(reasons); i++) {
        if (strcmp(reasons[i].name, name) == 0) {
            *ret = reasons[i].reason;
            return BM_OK;
        }
    }
    return bm_fail(e, BM_USAGE,
                   "no such reason; use unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or "
                   "privilegeWithdrawn");
}

bool bm_crl_url_ok(const char *url)
{
    static const char scheme[] = "http://", plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/[]%";
    size_t n = strlen(url);

    return strncmp(url, scheme, sizeof scheme - 1) == 0 && n > sizeof scheme - 1 && n < BM_TEXT_MAX && strspn(url, plain) == n &&
           url[n - 1] != '/';
}
