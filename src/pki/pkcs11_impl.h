/* What pkcs11_module.c, pkcs11_object.c and key_pkcs11.c share. */
#ifndef BM_PKI_PKCS11_IMPL_H
#define BM_PKI_PKCS11_IMPL_H

#include "pki/impl.h"
#include "pki/pkcs11.h"
#include "pki/pkcs11_uri.h"

#include <p11-kit/pkcs11.h>

/* A token that keys were opened in, and the one session that all of them use: the keeper is one thread, so a second would wait for the first.
 * Whoever is logged in is so for all sessions of the process. */
struct bm_token {
    struct bm_pkcs11_uri which; /* only what tells tokens apart */
    bool open, away, pin_refused;
    CK_SESSION_HANDLE session;
    uint64_t generation; /* goes up with each session: object handles of an older one mean nothing */
    int64_t failed_ms;
    struct bm_error why; /* it is away */
};
enum { BM_TOKENS_MAX = 8 };

struct bm_pkcs11 {
    void *so;
    CK_FUNCTION_LIST *f;
    char module[512];
    bool initialised;
    uint8_t *pin; /* secure heap; NULL: none */
    size_t pin_len;
    struct bm_token tokens[BM_TOKENS_MAX];
    size_t n_tokens;
    uint64_t reopened;
};

/* --- pkcs11_module.c --- */
BM_MUST_USE enum bm_rc bm_token_of(struct bm_pkcs11 *p, const struct bm_pkcs11_uri *which, struct bm_token **ret,
                                   struct bm_error *e);
/* Runs `act` with an open, logged-in session. When what it answers means that token or session are gone, a new session is tried, then a module
 * that begins anew, each with the act run again; after that it is BM_AGAIN "token-unavailable", and for a second nothing is tried. */
typedef CK_RV bm_token_act(struct bm_pkcs11 *p, struct bm_token *t, void *arg);
BM_MUST_USE enum bm_rc bm_token_run(struct bm_pkcs11 *p, struct bm_token *t, const char *what, bm_token_act *act, void *arg,
                                    struct bm_error *e);

/* --- pkcs11_object.c --- */
enum bm_token_class { BM_TOKEN_PRIVATE, BM_TOKEN_PUBLIC };
/* Handles of what the URI names, at most two; *ret_n 0: none. */
BM_MUST_USE CK_RV bm_token_find(struct bm_pkcs11 *p, const struct bm_token *t, enum bm_token_class class,
                                const struct bm_pkcs11_uri *u, CK_OBJECT_HANDLE ret[2], size_t *ret_n);
struct bm_token_facts { /* of a private key */
    bool sensitive, extractable, signs;
    CK_KEY_TYPE type;
    size_t spki_len;
    uint8_t spki[BM_SPKI_MAX]; /* length 0: no public half is there, or it is of a kind we do not take */
};
BM_MUST_USE CK_RV bm_token_facts(struct bm_pkcs11 *p, const struct bm_token *t, CK_OBJECT_HANDLE key, const struct bm_pkcs11_uri *u,
                                 struct bm_token_facts *ret);
struct bm_token_alg {
    const char *alg; /* as at `ca create --alg` */
    CK_KEY_TYPE type;
    CK_ULONG bits;      /* RSA */
    struct bm_rd curve; /* DER of the parameters */
};
const struct bm_token_alg *bm_token_alg(const char *alg); /* NULL: not one that we make in tokens */
BM_MUST_USE CK_RV bm_token_generate(struct bm_pkcs11 *p, CK_SESSION_HANDLE s, const struct bm_token_alg *a,
                                    const struct bm_pkcs11_uri *u);

#endif
