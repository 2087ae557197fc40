/* A certificate taken apart for lint.c. */
#ifndef BM_PKI_LINT_IMPL_H
#define BM_PKI_LINT_IMPL_H

#include "pki/impl.h"
#include "pki/lint.h"

enum { LINT_EXTENSIONS_MAX = 32 };

struct lint_time {
    uint8_t tag;
    struct bm_rd text;
    char full[15]; /* YYYYMMDDHHMMSS; "" when the form is wrong */
};
struct lint {
    uint64_t version; /* as written: 2 is v3 */
    struct bm_rd serial, outer_alg, inner_alg, issuer, subject, spki;
    struct lint_time before, after;
    bool unique_ids, has_extensions;
    size_t n;
    struct lint_ext {
        struct bm_rd oid, value;
        bool critical, default_written;
    } ext[LINT_EXTENSIONS_MAX];

    bool ca;
    int path_len; /* -1: none */
    bool has_usage;
    uint8_t usage;      /* enum bm_key_usage, and 1: encipherOnly */
    bool decipher_only; /* the bit in the second byte */
    bool key_ok;
    struct bm_spki key;
};

BM_MUST_USE enum bm_rc lint_parse(struct bm_rd der, struct lint *ret, struct bm_error *e);

/* lint_parse.c: the extension, or NULL; its value without the OCTET STRING, which has to be one SEQUENCE: its contents, or empty */
const struct lint_ext *lint_find(const struct lint *l, struct bm_rd oid);
struct bm_rd lint_list(const struct lint *l, struct bm_rd oid);
bool lint_self_issued(const struct lint *l);
bool lint_eku_has(const struct lint *l, struct bm_rd purpose);
bool lint_no_end(const struct lint *l); /* 99991231235959Z, RFC 5280 section 4.1.2.5 */

typedef bool lint_rule(const struct lint *l, struct bm_rd about);
/* lint_fields.c */
lint_rule lint_version, lint_serial_positive, lint_serial_long, lint_serial_short, lint_alg_differ, lint_alg_weak, lint_alg_params,
    lint_unique_ids, lint_time_form, lint_time_kind, lint_time_order, lint_key, lint_usage_of_key;
/* lint_names.c */
lint_rule lint_issuer_empty, lint_name_form, lint_name_directory, lint_name_printable, lint_name_ia5, lint_name_chars,
    lint_name_empty_value, lint_name_country, lint_name_long, lint_subject_empty, lint_ca_subject_empty;
/* lint_san.c */
lint_rule lint_san_dns, lint_san_ip, lint_san_uri, lint_san_uri_host, lint_san_email, lint_san_hardware, lint_server_names,
    lint_server_cn;
/* lint_exts.c */
lint_rule lint_ext_twice, lint_ext_none, lint_ext_unknown, lint_ext_default, lint_ext_form, lint_critical, lint_ca_critical,
    lint_not_critical, lint_usage_critical, lint_usage_empty, lint_usage_trailing, lint_ca_usage, lint_ca_cannot_sign,
    lint_leaf_can_sign, lint_path_len, lint_only_bits, lint_purpose_usage, lint_stamp_alone, lint_stamp_critical, lint_any_critical,
    lint_nocheck, lint_ski_missing, lint_ski_leaf, lint_aki_missing, lint_aki_key_id, lint_aki_pair, lint_san_critical,
    lint_crl_nowhere, lint_crl_scheme, lint_aia_scheme, lint_policy_twice, lint_ca_only, lint_feature_form, lint_idevid_serial,
    lint_idevid_usage;

#endif
