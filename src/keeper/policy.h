/* A product's policy: what its devices may be and get. JSON in the registry, compiled here; unknown members are BM_USAGE.
 *
 *   {"rot": ["atecc608", "software"],          allowed roots of trust; absent: any with a key pair
 *    "protocols": ["est", "onboard"],          absent: any; acme ... docs/protocols.md
 *    "profile": "ldevid",                      certificate profile; default "ldevid"
 *    "services": ["mqtt", "aws"],              the first is the default; absent or empty: one certificate without a service
 *    "ca": "issuing-2",                        issuing CA; default: the batch's, else the registry's default
 *    "renew_after_percent": 66,                of the validity, 10 to 95
 *    "renew_expired": true,                    a device whose certificate has run out may enrol again with its IDevID key (always) or with the expired certificate's own key (this)
 *    "approval": false,                        "first": a person approves the first certificate; "always": each one (docs/approval.md)
 *    "pop_linked": false,                      EST requests must name the TLS connection they come over (docs/est.md)
 *    "birth_certificate": false,               require that the device shows a birth certificate of a trusted chip maker
 *    "server_keygen": false,                   may its devices have their keys made here? (docs/codes.md, "Keys made by the server")
 *    "server_keygen_encrypted": false,         and then only encrypted to a key of the device
 *    "revoke_unconfirmed": false,              revoke what a device got over CMP and did not confirm in time (docs/cmp.md)
 *    "voucher_logged": false,                  may a network that no organisation here is trusted for get vouchers for its devices? (docs/brski.md)
 *    "voucher_nonceless": false,               vouchers without nonce, for devices that nobody can reach
 *    "voucher_life": "20m",                    and how long those last
 *    "self_registration": false}               may a device with a batch's one-time code register its own key? (docs/codes.md) */
#ifndef BM_KEEPER_POLICY_H
#define BM_KEEPER_POLICY_H

#include "store/store.h"

enum bm_approval_when { BM_APPROVAL_NEVER, BM_APPROVAL_FIRST, BM_APPROVAL_ALWAYS };

struct bm_policy {
    size_t n_rot, n_protocols, n_services; /* 0: any, any, none */
    char rot[16][32], protocols[16][16], services[BM_SERVICES_MAX][BM_NAME_LEN];
    char profile[BM_NAME_LEN], ca[BM_NAME_LEN];
    int renew_after_percent;
    enum bm_approval_when approval;
    bool renew_expired, birth_certificate, pop_linked, self_registration, server_keygen, server_keygen_encrypted,
        revoke_unconfirmed, voucher_logged, voucher_nonceless;
    int64_t voucher_life_s;
};
BM_MUST_USE enum bm_rc bm_policy_parse(struct bm_rd json, struct bm_policy *ret, struct bm_error *e);

#endif
