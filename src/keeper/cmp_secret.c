/* Protection by a shared secret, which is a one-time code: RFC 9483 section 4.1.5. senderKID is the code's number. To check a MAC one has to know the
 * secret, so codes made for CMP are kept: sealed, as devices' secret keys are (docs/symmetric.md). */
#include "keeper/cmp.h"
#include "keeper/symmetric.h"

#include "base/text.h"

#include <stdio.h>

#define SEALED_CODE "one-time-code"

static void name_of(int64_t number, char ret[BM_NAME_LEN])
{
    snprintf(ret, BM_NAME_LEN, "code/%lld", (long long)number); /* no root key can be called so */
}

/* Two hours more than the code itself is good for: what was begun with it is confirmed with it. */
enum bm_rc bm_cmp_keep_code(struct bm_keeper *k, const struct bm_code_row *row, const char *text, struct bm_error *e)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { .alg = SEALED_CODE };
    enum bm_rc rc;

    name_of(row->id, m.name);
    rc = bm_mac_seal_named(k, &m, bm_rd_str(text), row->created_at, e);
    if (rc == BM_OK)
        rc = bm_mac_key_put(k->store, &m, e);
    return rc == BM_OK ? bm_cmp_code_put(k->store, row->id, row->expires_at + 2 * BM_CMP_CLOCK_S, e) : rc;
}

enum bm_rc bm_cmp_forget_code(struct bm_keeper *k, int64_t number, struct bm_error *e)
{
    char name[BM_NAME_LEN];
    enum bm_rc rc;

    name_of(number, name);
    rc = bm_mac_root_drop(k->store, name, e);
    return rc == BM_OK ? bm_cmp_code_drop(k->store, number, e) : rc;
}

static bool number_of(struct bm_rd kid, int64_t *ret)
{
    int64_t n = 0;

    if (kid.n == 0 || kid.n > 18 || kid.p[0] == '0')
        return false;
    for (size_t i = 0; i < kid.n; i++) {
        if (kid.p[i] < '0' || kid.p[i] > '9')
            return false;
        n = n * 10 + (kid.p[i] - '0');
    }
    *ret = n;
    return true;
}

/* BM_NOTFOUND: there is none. */
static enum bm_rc find_code(struct bm_cmp_job *j, struct bm_code_row *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { 0 };
    char name[BM_NAME_LEN];
    int64_t number;
    enum bm_rc rc = number_of(j->m.h.sender_kid, &number) ? bm_code_row_by_id(j->k->store, number, ret, e) : BM_NOTFOUND;

    if (rc != BM_OK)
        return rc;
    name_of(number, name);
    rc = bm_mac_root(j->k->store, name, &m, e);
    j->secret.max = BM_CODE_TYPED_MAX;
    return rc == BM_OK ? bm_mac_open(j->k, NULL, &m, &j->secret, e) : rc;
}

static enum bm_rc verify(struct bm_cmp_job *j, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf part = { .max = BM_HTTP_BODY_MAX + 8 };
    uint8_t mac[BM_CMP_MAC_MAX];
    size_t n;
    enum bm_rc rc = bm_cmp_protected(j->m.part, &part, e);

    if (rc == BM_OK)
        rc = bm_cmp_mac_make(&j->mac, bm_buf_rd(&j->secret), bm_buf_rd(&part), mac, &n, e);
    if (rc == BM_OK && (j->m.protection.n != n || !bm_secret_eq(mac, j->m.protection.p, n)))
        rc = BM_NOTFOUND;
    return rc;
}

/* Whom the code was given to: what would be typed beside it elsewhere. */
static enum bm_rc name_target(struct bm_cmp_job *j, const struct bm_code_row *row, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    enum bm_rc rc;

    if (row->batch_id != 0) {
        rc = bm_batch_by_id(j->k->store, row->batch_id, &j->batch, e);
        j->c.claimed_batch = bm_rd_str(j->batch.name);
        return rc;
    }
    rc = bm_device_by_id(j->k->store, row->device_id, &d, e);
    memcpy(j->udid, d.udid, sizeof j->udid);
    j->c.claimed_udid = bm_rd_of(j->udid, sizeof j->udid);
    return rc;
}

enum bm_rc bm_cmp_check_mac(struct bm_cmp_job *j, struct bm_error *e)
{
    struct bm_rd kid = j->m.h.sender_kid;
    struct bm_code_row row;
    enum bm_rc rc = bm_cmp_mac_parse(j->m.h.protection_alg, &j->mac, e);

    if (rc == BM_OK && kid.n == 0)
        return bm_refuse(e, BM_DENIED, "cmp-sender", "senderKID has to be the number of the code whose text is the secret");
    if (rc == BM_OK) /* before the secret is opened and the key derived */
        rc = bm_code_attempts_check(j->k, j->c.peer, kid, j->now, e);
    if (rc != BM_OK)
        return rc;
    rc = find_code(j, &row, e);
    if (rc == BM_OK)
        rc = verify(j, e);
    if (rc == BM_NOTFOUND) {
        bm_code_attempts_wrong(j->k, j->c.peer, kid, j->now);
        return bm_refuse(e, BM_DENIED, "cmp-protection",
                         "the MAC does not verify with the code that senderKID names, or there is no such code");
    }
    if (rc == BM_OK)
        rc = name_target(j, &row, e);
    if (rc != BM_OK)
        return rc;
    j->c.evidence.kind = BM_EVIDENCE_CODE;
    j->c.evidence.code = bm_buf_rd(&j->secret);
    j->by_mac = true;
    return BM_OK;
}
