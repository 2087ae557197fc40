/* Tokens: private keys that never leave a PKCS#11 module's device. The module is loaded once for the process and asked through its function
 * list; nothing is linked. A token that goes away is looked for again with the next signature, up to asking the module to begin anew, so that one
 * that was pulled, restarted or cut off needs no restart of ours. Meanwhile its keys answer BM_AGAIN "token-unavailable".
 *
 * The PIN is read once, kept in OpenSSL's secure heap, and never tried again on a token that has refused it: three wrong ones lock a card. */
#ifndef BM_PKI_PKCS11_H
#define BM_PKI_PKCS11_H

#include "base/bytes.h"

struct bm_pkcs11;

/* module: absolute path of the shared object. pin_file: its content without line end; NULL: tokens that want no login. BM_USAGE
 * "pkcs11-module" for a module that does not load or cannot work without threads of its own. Call it before the process locks itself in, in
 * the process that signs: a module does not survive a fork. One thread. */
BM_MUST_USE enum bm_rc bm_pkcs11_open(const char *module, const char *pin_file, struct bm_pkcs11 **ret, struct bm_error *e);
void bm_pkcs11_close(struct bm_pkcs11 *p); /* NULL is fine; keys that were opened through it only want to be freed from then on */

/* Did every token that a key was opened in answer when it was last asked? NULL: there is none, which is as well. */
bool bm_pkcs11_well(const struct bm_pkcs11 *p);
/* Asks them; one that is away is looked for. */
void bm_pkcs11_probe(struct bm_pkcs11 *p);
/* Tokens that have never answered count no more: somebody asked for one that is not, and was told so. */
void bm_pkcs11_forget(struct bm_pkcs11 *p);
uint64_t bm_pkcs11_reopened(const struct bm_pkcs11 *p); /* how often one had to be found again */

#endif
