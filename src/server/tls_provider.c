#include "server/tls_provider.h"

#include "base/error.h"

#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <string.h>

#define NAME "birthmark-tls"

/* Kinds of client keys, by the first of the names that OpenSSL has for each. */
static const char *const key_kinds[] = { "EC", "RSA", "RSA-PSS", "ED25519", "ED448", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87" };

static OSSL_LIB_CTX *inner; /* where the default provider lives */
static OSSL_PROVIDER *whole, *namesake;
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
    OSSL_PROVIDER_unload(namesake);
    OSSL_PROVIDER_unload(whole);
    OSSL_LIB_CTX_free(inner);
    whole = namesake = NULL;
    inner = NULL;
}

/* --- the same name inside -----------------------------------------------------------------------------------------------------------
 * From OpenSSL 3.5 on, a random number generator is told the name of the provider that it came from, and takes its cipher or digest from the provider of
 * that name in its own context, which is `inner`. */
static const OSSL_ALGORITHM *query_parts(void *ctx, int operation, int *no_cache)
{
    (void)ctx;
    *no_cache = 0;
    if (operation != OSSL_OP_CIPHER && operation != OSSL_OP_DIGEST && operation != OSSL_OP_MAC)
        return NULL;
    return OSSL_PROVIDER_query_operation(whole, operation, no_cache);
}

static int init_namesake(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **ret_ctx)
{
    static const OSSL_DISPATCH parts[] = {
        { OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query_parts },
        { 0, NULL },
    };

    (void)core;
    (void)in;
    *out = parts;
    *ret_ctx = OSSL_PROVIDER_get0_provider_ctx(whole);
    return 1;
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
    if (whole == NULL || OSSL_PROVIDER_add_builtin(inner, NAME, init_namesake) != 1)
        return 0;
    namesake = OSSL_PROVIDER_load(inner, NAME);
    if (namesake == NULL)
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
    uint8_t probe; /* a context without random numbers makes no SSL_CTX */

    if (tried)
        return lib;
    tried = true;
    lib = OSSL_LIB_CTX_new();
    if (lib == NULL || OSSL_PROVIDER_add_builtin(lib, NAME, init) != 1 || OSSL_PROVIDER_load(lib, NAME) == NULL ||
        RAND_bytes_ex(lib, &probe, 1, 0) != 1) {
        OSSL_LIB_CTX_free(lib);
        lib = NULL;
        ERR_clear_error();
    }
    return lib;
}
