/* BRSKI (RFC 8995, docs/brski.md): vouchers for devices that have never seen their owner's network. Three roles meet here: the
 * registrar of this registry's own network; the MASA, where the maker says who owns a device; and what both have in common. */
#ifndef BM_KEEPER_BRSKI_H
#define BM_KEEPER_BRSKI_H

#include "keeper/internal.h"
#include "pki/handshake.h"
#include "pki/voucher.h"

enum bm_brski_op {
    BM_BRSKI_VOUCHER = 1,     /* a device's request, or a registrar's: the message itself tells -> the voucher */
    BM_BRSKI_AUDIT = 2,       /* a registrar asks for a device's audit log -> JSON */
    BM_BRSKI_STATUS = 3,      /* a device tells what it made of its voucher -> nothing */
    BM_BRSKI_ENROLLED = 4,    /* ... of its enrolment -> nothing */
    BM_BRSKI_VOUCHER_JWS = 5, /* as BM_BRSKI_VOUCHER, but the voucher is to be a JWS */
    BM_BRSKI_OPS
};

/* What a worker hands on: `who` without requests, its evidence being the TLS handshake, if there was one with a certificate. */
struct bm_brski_ask {
    uint8_t op;
    struct bm_enrol who;
    struct bm_rd body; /* as it came */
};
void bm_brski_ask_write(struct bm_buf *out, const struct bm_brski_ask *a);
BM_MUST_USE enum bm_rc bm_brski_ask_parse(struct bm_rd in, struct bm_brski_ask *ret, struct bm_error *e);

/* --- inside the keeper -------------------------------------------------------------------------------------------------------- */
/* brski_keys.c: a key that lives in this process's memory, and its certificate, made anew at half of its life and at every start.
 * */
struct bm_brski_signer {
    struct bm_key *key;
    struct bm_buf der;
    struct bm_cert cert; /* borrows from der */
    int64_t ca_id;
};
enum bm_brski_role { BM_ROLE_OF_MASA, BM_ROLE_OF_REGISTRAR, BM_BRSKI_ROLES };
/* Lent until the next call. issuer: the CA it is from. BM_DENIED "no-masa" when nobody has named one. */
BM_MUST_USE enum bm_rc bm_brski_signer(struct bm_keeper *k, enum bm_brski_role role, int64_t now, struct bm_brski_signer **ret,
                                       struct bm_issuer **ret_issuer, struct bm_error *e);

/* brski_masa.c. What a registrar asks, taken apart and checked as far as the message alone goes. */
struct bm_masa_request {
    struct bm_voucher_opened registrar, pledge; /* pledge: voucher.serial_number empty when there was none in it */
    struct bm_cms_chain chain;                  /* of the registrar's certificate; the last is what is pinned */
    bool proximity;                             /* the device has seen this very registrar */
};
void bm_masa_request_done(struct bm_masa_request *r);
BM_MUST_USE enum bm_rc bm_masa_request_open(struct bm_rd cms, int64_t now, unsigned max_age_s, struct bm_masa_request *ret,
                                            struct bm_error *e);
/* brski_device.c: BM_NOTFOUND "masa-unknown-device". */
BM_MUST_USE enum bm_rc bm_masa_device(struct bm_keeper *k, const struct bm_masa_request *r, struct bm_device *ret,
                                      struct bm_error *e);
/* BM_DENIED "voucher-serial" when the device has no right to the name that is asked for. *ret_issuer: whose IDevID it is, or empty.
 * */
BM_MUST_USE enum bm_rc bm_masa_check_serial(struct bm_keeper *k, const struct bm_masa_request *r, const struct bm_device *d,
                                            int64_t now, struct bm_rd *ret_issuer, struct bm_error *e);
/* Whose network the chain stands for, as far as owner is concerned: *ret_org its organisation, 0 when nobody knows it; *ret_pin
 * what a voucher is to pin: the highest of the chain, but none above what the organisation is trusted for, as that may be
 * everybody's. BM_DENIED "voucher-not-owner" when it is somebody else's. */
BM_MUST_USE enum bm_rc bm_masa_domain(struct bm_keeper *k, const struct bm_cert *chain, size_t n, int64_t owner, int64_t now,
                                      int64_t *ret_org, const struct bm_cert **ret_pin, struct bm_error *e);
/* The serial number and the issuer (or empty) that the registry has on record for a device; false: none, *ret is its UDID. */
bool bm_masa_serial(const struct bm_device *d, char ret[BM_VOUCHER_SERIAL_MAX + 1], struct bm_rd *ret_issuer);
/* One voucher, signed, written down and logged. */
struct bm_masa_grant {
    const struct bm_device *device;
    const char *serial_number, *nonce, *correlation; /* nonce "": none, then expires_at */
    struct bm_rd idevid_issuer;                      /* or empty */
    const struct bm_cert *pinned;
    enum bm_assertion assertion;
    enum bm_voucher_form form;
    int64_t org_id, expires_at;
};
BM_MUST_USE enum bm_rc bm_masa_issue(struct bm_keeper *k, const struct bm_masa_grant *g, int64_t now, struct bm_buf *out,
                                     int64_t *ret_id, struct bm_error *e);
/* A registrar's request, from the network or from the registrar here. */
BM_MUST_USE enum bm_rc bm_masa_answer(struct bm_keeper *k, struct bm_rd message, enum bm_voucher_form form, const char *correlation,
                                      int64_t now, struct bm_buf *out, struct bm_error *e);
/* brski_audit.c */
BM_MUST_USE enum bm_rc bm_masa_audit(struct bm_keeper *k, struct bm_rd cms, int64_t now, struct bm_buf *out, struct bm_error *e);
/* Does the certificate have the extended key usage of a registration authority? RFC 8995 section 5.5.4 */
bool bm_is_registrar_cert(const struct bm_cert *c);
/* The authority that stands in IDevIDs for this registry's MASA; "" when none was named. */
BM_MUST_USE enum bm_rc bm_masa_url(struct bm_keeper *k, char ret[BM_TEXT_MAX], struct bm_error *e);

/* brski_masa.c: the row of a voucher and its leaf, `event`; BM_IO only. */
BM_MUST_USE enum bm_rc bm_voucher_written(struct bm_keeper *k, const struct bm_masa_grant *g, const char *event, struct bm_rd cms,
                                          int64_t now, int64_t *ret_id, struct bm_error *e);
/* May this device have a voucher at all, as far as its state and product go? */
BM_MUST_USE enum bm_rc bm_voucher_allowed(struct bm_keeper *k, const struct bm_device *d, struct bm_policy *ret,
                                          struct bm_error *e);

/* brski_elsewhere.c: devices whose MASA is another's. */
struct bm_elsewhere {
    const struct bm_device *device;
    struct bm_rd masa; /* as in the IDevID */
    const char *serial, *nonce, *correlation;
    struct bm_rd request; /* the registrar's, signed; its form is that of the voucher that is wanted */
};
static inline enum bm_voucher_form bm_brski_form(const struct bm_brski_ask *a)
{
    return a->op == BM_BRSKI_VOUCHER_JWS ? BM_VOUCHER_JWS : BM_VOUCHER_CMS;
}
struct bm_errand_kind;
extern const struct bm_errand_kind bm_errand_masa;
/* What came of asking for this request of a device: *ret_asked false, and BM_OK: nobody has asked yet. Else the voucher, BM_AGAIN
 * "masa-pending", or the refusal. */
BM_MUST_USE enum bm_rc bm_registrar_answered(struct bm_keeper *k, const struct bm_brski_ask *a, bool *ret_asked, struct bm_buf *out,
                                             struct bm_error *e);
/* Asks: BM_AGAIN "masa-pending" when all is well. */
BM_MUST_USE enum bm_rc bm_registrar_ask(struct bm_keeper *k, const struct bm_elsewhere *w, const struct bm_brski_ask *a,
                                        int64_t now, struct bm_error *e);

/* brski_registrar.c: a device's request, and what it tells. */
BM_MUST_USE enum bm_rc bm_registrar_answer(struct bm_keeper *k, const struct bm_brski_ask *a, struct bm_voucher_opened *o,
                                           int64_t now, struct bm_buf *out, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_registrar_told(struct bm_keeper *k, const struct bm_brski_ask *a, int64_t now, struct bm_error *e);

#endif
