/* targets: bm_voucher_parse bm_voucher_write bm_voucher_open bm_cms_signed_parse bm_cms_signed_signer bm_cms_signed_verify bm_cms_signed_chain
 * bm_brski_accept bm_brski_ask_parse bm_voucher_jws_check bm_voucher_jws_open */
#include "keeper/brski.h"
#include "protocol/brski.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

static bool inside(struct bm_rd part, struct bm_rd whole)
{
    return part.n == 0 || (part.p >= whole.p && part.n <= whole.n && (size_t)(part.p - whole.p) <= whole.n - part.n);
}

/* What is read can be written, and reads the same. */
static void as_json(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf json = { .max = 4 * BM_VOUCHER_REQUEST_MAX };
    BM_CLEANUP(bm_voucher_done) struct bm_voucher v = { 0 }, again = { 0 };
    struct bm_error e;

    if (bm_voucher_parse(in, &v, &e) != BM_OK) {
        must(e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
        return;
    }
    must(v.serial_number[0] != '\0' && (v.request || v.pinned_domain_cert.n != 0));
    must(bm_voucher_write(&v, &json, &e) == BM_OK);
    must(bm_voucher_parse(bm_buf_rd(&json), &again, &e) == BM_OK);
    must(strcmp(v.nonce, again.nonce) == 0 && strcmp(v.serial_number, again.serial_number) == 0 &&
         v.created_on == again.created_on);
}

static void as_cms(struct bm_rd in)
{
    BM_CLEANUP(bm_voucher_opened_done) struct bm_voucher_opened o = { 0 };
    struct bm_cms_chain chain;
    struct bm_cms_signed s;
    struct bm_error e;

    if (bm_cms_signed_parse(in, &s, &e) != BM_OK) {
        must(e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
        return;
    }
    must(inside(s.content, in) && inside(s.attrs, in) && inside(s.sig, in) && s.n_certs <= BM_CMS_CERTS_MAX);
    for (size_t i = 0; i < s.n_certs; i++)
        must(inside(s.certs[i], in));
    if (bm_voucher_open(in, &o, &e) == BM_OK)
        must(bm_cms_signed_chain(&o.cms, &o.signer, 1700000000, &chain, &e) == BM_OK ? chain.n >= 1 : e.rc == BM_DENIED);
    else
        must(e.rc == BM_MALFORMED || e.rc == BM_LIMIT || e.rc == BM_DENIED);
}

static void as_jws(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf room = { 0 };
    struct bm_cms_signed s;
    struct bm_cert signer;
    struct bm_error e;
    bool form = bm_voucher_jws_check(in, &e) == BM_OK;

    if (bm_voucher_jws_open(in, &room, &s, &signer, &e) != BM_OK)
        return;
    must(form && s.n_certs >= 1 && s.n_certs <= BM_CMS_CERTS_MAX && inside(s.content, bm_buf_rd(&room)));
    for (size_t i = 0; i < s.n_certs; i++)
        must(inside(s.certs[i], bm_buf_rd(&room)));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_rd in = bm_rd_of(p, n);
    enum bm_voucher_form form;
    struct bm_brski_ask a;
    struct bm_error e;

    as_json(in);
    as_cms(in);
    as_jws(in);
    must(bm_brski_accept(in, BM_VOUCHER_CMS, &form, &e) == BM_OK || e.rc == BM_DENIED || e.rc == BM_MALFORMED);
    must(bm_brski_ask_parse(in, &a, &e) == BM_OK || e.rc == BM_MALFORMED);
    return 0;
}
