/* GetNextCACert, RFC 8894 section 4.7: who comes after this CA, said by this CA itself. That is the CA that it hands over to (docs/rotation.md), before
 * and after the moment; or, when only the root above has a new key, that root. The links between the roots come along, so that whoever knows
 * one of them can verify the other (RFC 9810 section 4.4). */
#include "keeper/scep.h"

#include "pki/cms_signed.h"
#include "store/ca_rotate.h"

#include <stdlib.h>

enum { CERTS_MAX = 1 + BM_CHAIN_MAX + 3, KEPT = 8 };

/* What was signed last, for each of a few CAs: whoever asks again costs no signature. */
struct bm_scep_next {
    struct {
        int64_t ca_id;
        uint8_t inside[32]; /* SHA-256 of the certificates in it */
        struct bm_buf der;
    } kept[KEPT];
};

void bm_scep_next_drop(struct bm_keeper *k)
{
    for (size_t i = 0; k->scep_next != NULL && i < KEPT; i++)
        bm_buf_done(&k->scep_next->kept[i].der);
    free(BM_MOVE(k->scep_next));
}

/* --- who comes next ------------------------------------------------------------------------------------------------------------------ */
struct next {
    int64_t root_id;                                /* of the CA that is asked about */
    int64_t ca_id;                                  /* that it hands over to; 0: to none */
    int64_t new_root_id;                            /* 0: the root has no new key */
    struct bm_buf new_with_old, old_with_new, root; /* root: the new one */
};

static void next_done(struct next *n)
{
    bm_buf_done(&n->new_with_old);
    bm_buf_done(&n->old_with_new);
    bm_buf_done(&n->root);
}

static enum bm_rc keep(struct bm_buf *to, const struct bm_buf *from, struct bm_error *e)
{
    bm_buf_done(to);
    to->max = BM_CERT_MAX;
    bm_buf_put(to, from->p, from->n);
    return bm_buf_check(to, e);
}

/* NewWithOld: the key in it came later than the one that signed it. */
static enum bm_rc see_link(void *arg, const struct bm_ca_link *l, struct bm_error *e)
{
    struct next *n = arg;

    if (l->by_id == n->root_id && l->ca_id > l->by_id) {
        n->new_root_id = l->ca_id;
        return keep(&n->new_with_old, &l->cert, e);
    }
    return l->ca_id == n->root_id && l->by_id > l->ca_id ? keep(&n->old_with_new, &l->cert, e) : BM_OK;
}

static enum bm_rc new_root(struct bm_keeper *k, struct next *n, struct bm_error *e)
{
    BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
    enum bm_rc rc = bm_ca_by_id(k->store, n->new_root_id, &ca, e);

    if (rc == BM_OK && strcmp(ca.state, "active") != 0)
        n->new_root_id = 0;
    return rc == BM_OK ? keep(&n->root, &ca.cert, e) : rc;
}

static enum bm_rc find(struct bm_keeper *k, const struct bm_issuer *by, struct next *n, struct bm_error *e)
{
    struct bm_ca_successor s;
    enum bm_rc rc = bm_ca_successor_get(k->store, by->row.id, &s, e);

    if (rc == BM_OK)
        n->ca_id = s.successor_id;
    else if (rc != BM_NOTFOUND)
        return rc;
    n->root_id = bm_ca_root_of(k, by);
    rc = n->root_id != 0 ? bm_ca_link_each(k->store, see_link, n, e) : BM_OK;
    return rc == BM_OK && n->new_root_id != 0 ? new_root(k, n, e) : rc;
}

static bool anything(const struct next *n)
{
    return n->ca_id != 0 || n->new_root_id != 0;
}

bool bm_scep_has_next(struct bm_keeper *k, int64_t ca_id)
{
    BM_CLEANUP(next_done) struct next n = { 0 };
    struct bm_issuer *by;

    return bm_issuer_get(k, ca_id, &by, NULL) == BM_OK && !bm_ca_is_upstream(&by->row) && find(k, by, &n, NULL) == BM_OK &&
           anything(&n);
}

/* --- certificates -------------------------------------------------------------------------------------------------------------------- */
struct list {
    size_t n;
    struct bm_rd certs[CERTS_MAX];
};

static void add(struct list *l, struct bm_rd der)
{
    for (size_t i = 0; i < l->n; i++)
        if (bm_rd_eq(l->certs[i], der))
            return;
    if (der.n != 0 && l->n < CERTS_MAX)
        l->certs[l->n++] = der;
}

/* As GetCACert would tell of it: its RA's certificate, its own, and those above. */
static enum bm_rc add_ca(struct bm_keeper *k, int64_t ca_id, int64_t now, struct list *l, struct bm_error *e)
{
    struct bm_issuer *by;
    struct bm_ra *ra;
    enum bm_rc rc = bm_ra_get(k, ca_id, now, &ra, e);

    if (rc == BM_OK)
        rc = bm_issuer_get(k, ca_id, &by, e);
    if (rc != BM_OK)
        return rc;
    add(l, ra->cert.whole);
    for (size_t i = 0; i < by->n_chain; i++)
        add(l, bm_buf_rd(&by->chain[i]));
    return BM_OK;
}

static enum bm_rc inside(struct bm_keeper *k, const struct next *n, int64_t now, struct bm_buf *ret, struct bm_error *e)
{
    struct list l = { 0 };
    enum bm_rc rc = n->ca_id != 0 ? add_ca(k, n->ca_id, now, &l, e) : BM_OK;

    if (rc != BM_OK)
        return rc;
    if (n->new_root_id != 0) {
        add(&l, bm_buf_rd(&n->root));
        add(&l, bm_buf_rd(&n->new_with_old));
        add(&l, bm_buf_rd(&n->old_with_new));
    }
    return bm_cms_certs(l.certs, l.n, ret, e);
}

/* --- signed by the current CA ---------------------------------------------------------------------------------------------------------- */
static enum bm_rc sign(struct bm_keeper *k, struct bm_issuer *by, struct bm_rd content, struct bm_buf *ret, struct bm_error *e)
{
    static const uint8_t oid_data[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01 };
    struct bm_cms_sign s = {
        .content_type = bm_rd_of(oid_data, sizeof oid_data), .content = content, .cert = &by->cert, .n_certs = 1
    };
    enum bm_rc rc = bm_issuer_key(k, by, e);

    if (rc != BM_OK)
        return rc;
    s.key = by->key;
    s.certs[0] = by->cert.whole;
    return bm_cms_signed_write(&s, ret, e);
}

static enum bm_rc sign_once(struct bm_keeper *k, struct bm_issuer *by, struct bm_rd content, struct bm_rd *ret, struct bm_error *e)
{
    size_t at = (size_t)by->row.id % KEPT;
    struct bm_buf der = { .max = BM_SCEP_REPLY_MAX };
    uint8_t sha256[32];
    enum bm_rc rc;

    if (k->scep_next == NULL && (k->scep_next = calloc(1, sizeof *k->scep_next)) == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for what is said of the next CA");
    bm_udid_of(content, sha256); /* SHA-256 all the same */
    *ret = bm_buf_rd(&k->scep_next->kept[at].der);
    if (k->scep_next->kept[at].ca_id == by->row.id && memcmp(k->scep_next->kept[at].inside, sha256, sizeof sha256) == 0)
        return BM_OK;
    rc = sign(k, by, content, &der, e);
    if (rc != BM_OK) {
        bm_buf_done(&der);
        return rc;
    }
    bm_buf_done(&k->scep_next->kept[at].der);
    k->scep_next->kept[at].ca_id = by->row.id;
    memcpy(k->scep_next->kept[at].inside, sha256, sizeof sha256);
    k->scep_next->kept[at].der = der;
    *ret = bm_buf_rd(&der);
    return BM_OK;
}

enum bm_rc bm_scep_next(struct bm_keeper *k, int64_t ca_id, int64_t now, struct bm_rd *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf content = { .max = BM_SCEP_REPLY_MAX };
    BM_CLEANUP(next_done) struct next n = { 0 };
    struct bm_issuer *by;
    enum bm_rc rc = bm_issuer_get(k, ca_id, &by, e);

    if (rc == BM_OK && !bm_ca_is_upstream(&by->row))
        rc = find(k, by, &n, e);
    if (rc == BM_OK && !anything(&n))
        return bm_refuse(e, BM_NOTFOUND, "scep-no-next-ca", "no successor of this CA is announced, and its root has no new key");
    if (rc == BM_OK)
        rc = inside(k, &n, now, &content, e);
    if (rc == BM_OK) /* an RA may have been made: what was lent before is asked for again */
        rc = bm_issuer_get(k, ca_id, &by, e);
    return rc == BM_OK ? sign_once(k, by, bm_buf_rd(&content), ret, e) : rc;
}
