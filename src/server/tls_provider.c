#include "server/tls_provider.h"

#include "base/error.h"

#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <stdbool.h>
#include <string.h>

#define NAME "birthmark-tls"

/* Kinds of client keys, by the first of the names that OpenSSL has for each. */
static const char *const key_kinds[] = { "EC", "RSA", "RSA-PSS", "ED25519", "ED448", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87" };

static OSSL_LIB_CTX *inner; /* where the default provider lives */
static OSSL_PROVIDER *whole;
static OSSL_ALGORITHM decoders[32]; /* those that stay; a row of zeros ends them */

static bool stays(const OSSL_ALGORITHM *a)
{
    size_t n = strcspn(a->algorithm_names, ":");

    if (strstr(a->property_definition, "input=der") == NULL ||
        strstr(a->property_definition, "structure=SubjectPublicKeyInfo") == NULL)
        return false;
    for (size_t i = 0; i < BM_COUNT(key_kinds); i++) {
        if (strlen(key_kinds[i]) == n && strncmp(a->algorithm_names, key_kinds[i], n) == 0)
            return true;
    }
    return false;
}

static void choose_decoders(void)
{
    int no_cache;
    const OSSL_ALGORITHM *a = OSSL_PROVIDER_query_operation(whole, OSSL_OP_DECODER, &no_cache);
    size_t n = 0;

    for (; a != NULL && a->algorithm_names != NULL && n + 1 < BM_COUNT(decoders); a++) {
        if (stays(a))
            decoders[n++] = *a;
    }
}

static const OSSL_ALGORITHM *query(void *ctx, int operation, int *no_cache)
{
    (void)ctx;
    *no_cache = 0;
    if (operation == OSSL_OP_DECODER)
        return decoders;
    if (operation == OSSL_OP_ENCODER || operation == OSSL_OP_STORE)
        return NULL;
    return OSSL_PROVIDER_query_operation(whole, operation, no_cache);
}

static int capabilities(void *ctx, const char *capability, OSSL_CALLBACK *cb, void *arg)
{
    (void)ctx;
    return OSSL_PROVIDER_get_capabilities(whole, capability, cb, arg);
}

static void teardown(void *ctx)
{
    (void)ctx;
    OSSL_PROVIDER_unload(whole);
    OSSL_LIB_CTX_free(inner);
    whole = NULL;
    inner = NULL;
}

static int init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **ret_ctx)
{
    static const OSSL_DISPATCH ours[] = {
        { OSSL_FUNC_PROVIDER_TEARDOWN, (void (*)(void))teardown },
        { OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query },
        { OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))capabilities },
        { 0, NULL },
    };

    (void)core;
    (void)in;
    inner = OSSL_LIB_CTX_new();
    whole = inner != NULL ? OSSL_PROVIDER_load(inner, "default") : NULL;
    if (whole == NULL)
        return 0;
    choose_decoders();
    *out = ours;
    *ret_ctx = OSSL_PROVIDER_get0_provider_ctx(whole); /* what its algorithms expect to be given */
    return decoders[0].algorithm_names != NULL;
}

OSSL_LIB_CTX *bm_tls_library(void)
{
    static OSSL_LIB_CTX *lib;
    static bool tried;

    if (tried)
        return lib;
    tried = true;
    lib = OSSL_LIB_CTX_new();
    if (lib == NULL || OSSL_PROVIDER_add_builtin(lib, NAME, init) != 1 || OSSL_PROVIDER_load(lib, NAME) == NULL) {
        OSSL_LIB_CTX_free(lib);
        lib = NULL;
        ERR_clear_error();
    }
    return lib;
}
