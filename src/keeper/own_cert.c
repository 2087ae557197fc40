/* Certificates for keys of our own: the server's, a responder's, a signer's. A device's come about in enrol_plan.c. */
#include "keeper/internal.h"

#include "pki/names.h"

#include <openssl/rand.h>
#include <stdio.h>

enum bm_rc bm_own_cert(struct bm_keeper *k, struct bm_issuer *by, const char *profile_name, struct bm_rd spki,
                       const struct bm_subject_words *words, int64_t now, struct bm_credential *c, struct bm_error *e)
{
    BM_CLEANUP(bm_profile_freep) struct bm_profile *profile = NULL;
    struct bm_issue i = { .issuer_cert = &by->cert, .spki = spki, .words = words, .now = now, .not_after_max = INT64_MAX };
    struct bm_cert made;
    enum bm_rc rc = bm_profile_open(k, profile_name, &profile, e);

    if (rc == BM_OK)
        rc = bm_issuer_key(k, by, e);
    if (rc == BM_OK && RAND_bytes(i.serial, sizeof i.serial) != 1)
        rc = bm_fail(e, BM_BUG, "no random numbers");
    if (rc != BM_OK)
        return rc;
    i.profile = profile;
    i.issuer_key = by->key;
    c->ca_id = by->row.id;
    c->cert.max = BM_CERT_MAX;
    rc = bm_cert_issue(&i, &c->cert, &c->not_before, &c->not_after, e);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&c->cert), &made, e); /* the serial as it stands in the certificate */
    if (rc == BM_OK)
        memcpy(c->serial, made.serial.p, BM_SERIAL_LEN);
    return rc;
}

void bm_own_org(const struct bm_issuer *by, char ret[BM_ORG_LEN])
{
    static const uint8_t oid_o[] = { 0x55, 0x04, 0x0a };
    struct bm_rd o;

    if (bm_name_find(by->cert.subject, bm_rd_of(oid_o, sizeof oid_o), &o) && o.n != 0 && o.n < BM_ORG_LEN)
        snprintf(ret, BM_ORG_LEN, "%.*s", (int)o.n, (const char *)o.p);
    else
        snprintf(ret, BM_ORG_LEN, "Birthmark");
}
