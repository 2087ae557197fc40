#include "pki/crl.h"

#include "pki/impl.h"

#include <stdlib.h>

enum { HEAD_ROOM = 2 * BM_NAME_DER_MAX + 4 * BM_TEXT_MAX + 512 };

void bm_crl_done(struct bm_crl_writer *w)
{
    bm_buf_done(&w->entries);
    *w = (struct bm_crl_writer){ 0 };
}

/* crlEntryExtensions with a reasonCode, RFC 5280 section 5.3.1 */
static void reason_write(struct bm_derw *w, int reason)
{
    static const struct bm_rd oid = BM_LIT(OID_CRL_REASON);
    size_t mark = bm_derw_mark(w);
    uint8_t code = (uint8_t)reason;

    if (reason == 0)
        return;
    bm_derw_tlv(w, BM_DER_ENUMERATED, bm_rd_of(&code, 1));
    bm_ext_end(w, mark, oid, false);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

enum bm_rc bm_crl_add(struct bm_crl_writer *w, struct bm_rd serial, int64_t revoked_at, int reason, struct bm_error *e)
{
    uint8_t room[96];
    struct bm_derw d = bm_derw_of(room, sizeof room);
    size_t mark = bm_derw_mark(&d);
    struct bm_rd entry;

    if (serial.n == 0 || serial.n > 20 || reason < 0 || reason > 10)
        return bm_fail(e, BM_BUG, "CRL entry with a serial of %zu bytes and reason %d", serial.n, reason);
    reason_write(&d, reason);
    bm_derw_time(&d, revoked_at);
    bm_derw_unsigned(&d, serial);
    bm_derw_end(&d, mark, BM_DER_SEQUENCE);
    entry = bm_derw_rd(&d);
    if (d.bad)
        return bm_fail(e, BM_BUG, "CRL entry revoked at %lld", (long long)revoked_at);
    w->entries.max = BM_CRL_MAX - HEAD_ROOM - BM_SIGNATURE_MAX;
    bm_buf_put(&w->entries, entry.p, entry.n);
    w->n++;
    return w->entries.bad ? bm_refuse(e, BM_LIMIT, "crl-too-large",
                                      "a CRL of more than %zu entries; keep the CA's list in parts (birthmark ca set), or spread "
                                      "devices over more CAs",
                                      w->n - 1)
                          : BM_OK;
}

static void number_ext(struct bm_derw *w, uint64_t number, struct bm_rd oid, bool critical)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_uint(w, number);
    bm_ext_end(w, mark, oid, critical);
}

void bm_crl_point_put(struct bm_derw *w, struct bm_rd uri)
{
    enum { GN_URI = 6 };
    size_t mark = bm_derw_mark(w);

    bm_derw_tlv(w, BM_DER_CTX(GN_URI), uri);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
}

void bm_crl_points_put(struct bm_derw *w, struct bm_rd oid, struct bm_rd uri)
{
    size_t mark = bm_derw_mark(w);

    bm_crl_point_put(w, uri);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_ext_end(w, mark, oid, false);
}

/* issuingDistributionPoint: section 5.2.5; the delta of a part has the same one (5.2.4). freshestCRL: 5.2.6, in complete lists only. */
static void point_ext(struct bm_derw *w, const struct bm_crl_head *h)
{
    static const struct bm_rd point = BM_LIT(OID_CRL_ISSUING_POINT), freshest = BM_LIT(OID_FRESHEST_CRL);
    size_t mark;

    if (h->fresh.n != 0 && h->base == 0)
        bm_crl_points_put(w, freshest, h->fresh);
    mark = bm_derw_mark(w);
    if (h->point.n == 0)
        return;
    bm_crl_point_put(w, h->point);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_ext_end(w, mark, point, true);
}

/* crlExtensions [0]: authorityKeyIdentifier and cRLNumber always, deltaCRLIndicator (critical) in a delta; sections 5.2.1, 5.2.3, 5.2.4.
 * The list of the whole CA has no issuingDistributionPoint: it covers all that its CA has issued, so nothing is left out that it could tell of. */
static void extensions_write(struct bm_derw *w, const struct bm_crl_head *h)
{
    static const struct bm_rd akid = BM_LIT(OID_AKID), number = BM_LIT(OID_CRL_NUMBER), delta = BM_LIT(OID_CRL_DELTA);
    size_t all = bm_derw_mark(w), mark;

    point_ext(w, h);
    if (h->base != 0)
        number_ext(w, h->base, delta, true);
    number_ext(w, h->number, number, false);
    mark = bm_derw_mark(w);
    bm_derw_tlv(w, BM_DER_CTX(0), h->issuer->skid);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_ext_end(w, mark, akid, false);
    bm_derw_end(w, all, BM_DER_SEQUENCE);
    bm_derw_end(w, all, BM_DER_CTX_CONS(0));
}

/* TBSCertList, section 5.1.2: back to front. */
static void tbs_write(struct bm_derw *w, const struct bm_crl_writer *c, const struct bm_crl_head *h)
{
    size_t mark = bm_derw_mark(w), list;

    extensions_write(w, h);
    list = bm_derw_mark(w);
    bm_derw_put(w, bm_buf_rd(&c->entries));
    if (c->n != 0) /* section 5.1.2.6: absent when there are none */
        bm_derw_end(w, list, BM_DER_SEQUENCE);
    bm_derw_time(w, h->next_update);
    bm_derw_time(w, h->this_update);
    bm_derw_put(w, h->issuer->subject);
    bm_derw_put(w, bm_key_sig_alg(h->key));
    bm_derw_uint(w, 1); /* v2 */
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

static void free_room(uint8_t **p)
{
    free(*p);
}

enum bm_rc bm_crl_sign(struct bm_crl_writer *w, const struct bm_crl_head *h, struct bm_buf *ret_der, struct bm_error *e)
{
    size_t cap = w->entries.n + HEAD_ROOM;
    BM_CLEANUP(free_room) uint8_t *room = NULL;
    struct bm_derw d;

    if (!bm_rd_eq(h->issuer->spki, bm_key_spki(h->key)))
        return bm_fail(e, BM_USAGE, "the issuing key is not the one in the issuer's certificate");
    if (!h->issuer->ca || (h->issuer->has_key_usage && (h->issuer->key_usage & BM_KU_CRL_SIGN) == 0))
        return bm_refuse(e, BM_DENIED, "bad-issuer",
                         "the issuer's certificate is not one of a CA that signs CRLs (RFC 5280 section 6.3.3)");
    if (w->entries.bad || h->issuer->skid.n == 0)
        return bm_fail(e, BM_BUG, "a CRL without all its entries, or of a CA without key identifier");
    room = malloc(cap);
    if (room == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a CRL of %zu entries", w->n);
    d = bm_derw_of(room, cap);
    tbs_write(&d, w, h);
    return d.bad ? bm_fail(e, BM_LIMIT, "a CRL's issuer and times over %d bytes", HEAD_ROOM)
                 : bm_signed_put(h->key, bm_derw_rd(&d), ret_der, e);
}
