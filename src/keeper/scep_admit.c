/* Who may have a private RSA operation of ours. Each message costs two, one to open its envelope and one to sign the answer; anybody can send one, and a
 * message that was right once can be sent again. So those whose key the registry does not know share a small part of the keeper's time, one
 * address a small part of that, and each known key has a count of its own. What it takes to find out is one RSA verification. */
#include "keeper/scep.h"

/* Who is waiting for something has been let in once, and polls. */
static bool waits(struct bm_scep_case *c)
{
    BM_CLEANUP(bm_scep_row_done) struct bm_scep_row row = { 0 };

    bm_scep_name_transaction(c);
    return bm_scep_row_find(c->k->store, c->digest, &row, NULL) == BM_OK && row.waits;
}

/* A registered key, or a certificate that is byte for byte one of ours. The message's signature has been verified with it. */
static bool is_known(struct bm_scep_case *c)
{
    BM_CLEANUP(bm_credential_done) struct bm_credential cr = { 0 };
    uint8_t id[BM_UDID_LEN], serial[BM_SERIAL_LEN];
    int64_t device, batch;

    bm_udid_of(c->signer.spki, id);
    if (bm_device_peek(c->k->store, id, &device, &batch, NULL) == BM_OK || waits(c))
        return true;
    if (c->self_signed)
        return false;
    bm_cert_serial_key(c->signer.serial, serial);
    return bm_credential_get(c->k->store, serial, &cr, NULL) == BM_OK && bm_rd_eq(bm_buf_rd(&cr.cert), c->signer.whole);
}

static enum bm_rc turn_away(const char *whom, struct bm_error *e)
{
    return bm_refuse(e, BM_AGAIN, "scep-busy", "too many SCEP messages %s; come again a little later", whom);
}

static bool is_budget_spent(struct bm_keeper *k, int64_t now)
{
    if (k->scep_second != now) {
        k->scep_second = now;
        k->scep_tokens = k->options.limits.scep_strangers_second;
    }
    return k->scep_tokens-- <= 0;
}

static enum bm_rc admit_stranger(struct bm_scep_case *c, struct bm_error *e)
{
    uint8_t room[16];

    if (bm_attempts_add(c->k, BM_GUESS_SCEP_ADDRESS, bm_attempts_address(c->in->peer, room), c->now) >
        c->k->options.limits.scep_strangers_address)
        return turn_away("of strangers from this address", e);
    return is_budget_spent(c->k, c->now) ? turn_away("of strangers", e) : BM_OK;
}

enum bm_rc bm_scep_admit(struct bm_scep_case *c, bool is_signed, struct bm_error *e)
{
    if (!is_signed || !is_known(c))
        return admit_stranger(c, e);
    return bm_attempts_add(c->k, BM_GUESS_SCEP_KEY, c->signer.spki, c->now) > c->k->options.limits.scep_known_key
               ? turn_away("signed by this key", e)
               : BM_OK;
}
