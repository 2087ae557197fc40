#include "base/text.h"
#include "pki/impl.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>

enum { PEM_LINE = 64 }; /* RFC 7468 section 2 */

void bm_pem_write(struct bm_buf *out, const char *label, struct bm_rd der)
{
    bm_buf_printf(out, "-----BEGIN %s-----\n", label);
    bm_base64(out, der, PEM_LINE);
    bm_buf_printf(out, "-----END %s-----\n", label);
}

/* BM_AGAIN: that was not the end. */
static enum bm_rc pem_next(BIO *in, const char *label, bm_pem_fn *fn, void *arg, struct bm_error *e)
{
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    long n = 0;
    enum bm_rc rc = BM_OK;

    if (PEM_read_bio(in, &name, &header, &der, &n) != 1) {
        int why = ERR_GET_REASON(ERR_peek_last_error());

        ERR_clear_error();
        return why == PEM_R_NO_START_LINE ? BM_OK : bm_fail(e, BM_MALFORMED, "PEM: a block does not decode");
    }
    if (strcmp(name, label) == 0 && header[0] != '\0')
        rc = bm_fail(e, BM_MALFORMED, "PEM: a %s block has header fields", label);
    else if (strcmp(name, label) == 0)
        rc = fn(arg, bm_rd_of(der, (size_t)n), e);
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(der, (size_t)n);
    return rc == BM_OK ? BM_AGAIN : rc;
}

enum bm_rc bm_pem_parse(struct bm_rd text, const char *label, bm_pem_fn *fn, void *arg, struct bm_error *e)
{
    BIO *in = text.n <= INT_MAX ? BIO_new_mem_buf(text.n != 0 ? (const void *)text.p : "", (int)text.n) : NULL;
    enum bm_rc rc = in != NULL ? BM_AGAIN : bm_fail(e, BM_LIMIT, "PEM text of %zu bytes", text.n);

    while (rc == BM_AGAIN)
        rc = pem_next(in, label, fn, arg, e);
    BIO_free(in);
    return rc;
}

enum bm_rc bm_pem_keep(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct bm_buf *to = arg;

    to->n = 0;
    bm_buf_put(to, der.p, der.n);
    return bm_buf_check(to, e);
}
