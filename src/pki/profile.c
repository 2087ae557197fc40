#include "base/text.h"
#include "pki/profile_draft.h"

#include <stdlib.h>

/* --- judging: one row per rule, true when it is broken ---------------------------------------------------------------------- */
static const struct bm_rd kp_server = BM_LIT(OID_KP_SERVER), kp_client = BM_LIT(OID_KP_CLIENT), kp_time = BM_LIT(OID_KP_TIME),
                          kp_ocsp = BM_LIT(OID_KP_OCSP);

static bool oids_have(const struct draft_oids *list, struct bm_rd oid)
{
    for (size_t i = 0; i < list->n; i++)
        if (bm_rd_eq(oid, bm_rd_of(list->at[i].der, list->at[i].n)))
            return true;
    return false;
}

static bool san_has(const struct bm_profile *p, enum bm_san_kind kind)
{
    for (size_t i = 0; i < p->n_san; i++)
        if (p->san[i].kind == kind)
            return true;
    return false;
}

static bool time_missing(const struct draft *d)
{
    return d->has_validity == d->has_end;
}

static bool usage_missing(const struct draft *d)
{
    return d->key_usage == 0;
}

static bool ca_cannot_sign(const struct draft *d)
{
    return d->p->ca && (d->key_usage & BM_KU_CERT_SIGN) == 0;
}

static bool leaf_can_sign(const struct draft *d)
{
    return !d->p->ca && (d->key_usage & BM_KU_CERT_SIGN) != 0;
}

static bool ca_without_name(const struct draft *d)
{
    return d->p->ca && d->p->subject.n == 0;
}

static bool nobody_named(const struct draft *d)
{
    return d->p->subject.n == 0 && d->p->n_san == 0;
}

/* A leaf without an end is an IDevID: IEEE 802.1AR-2018 sections 8.6 and 8.7. */
static bool idevid_without_serial(const struct draft *d)
{
    return !d->p->ca && d->has_end && !bm_name_spec_has(&d->p->subject, "serialNumber");
}

static bool hardware_without_type(const struct draft *d)
{
    return san_has(d->p, BM_SAN_HARDWARE) != (d->p->hw_type_len != 0);
}

static bool server_without_host(const struct draft *d)
{
    return oids_have(&d->eku, kp_server) && !d->p->ca && !san_has(d->p, BM_SAN_DNS) && !san_has(d->p, BM_SAN_IP);
}

static bool tls_without_usage(const struct draft *d)
{
    const uint8_t any = BM_KU_DIGITAL_SIGNATURE | BM_KU_KEY_ENCIPHERMENT | BM_KU_KEY_AGREEMENT;

    return !d->p->ca && (oids_have(&d->eku, kp_server) || oids_have(&d->eku, kp_client)) && (d->key_usage & any) == 0;
}

static bool stamp_not_alone(const struct draft *d)
{
    return oids_have(&d->eku, kp_time) && d->eku.n != 1;
}

static bool nocheck_not_responder(const struct draft *d)
{
    return d->ocsp_nocheck && (d->p->ca || !oids_have(&d->eku, kp_ocsp));
}

static bool staple_by_ca(const struct draft *d)
{
    return d->must_staple && d->p->ca;
}

/* A CA has no maker to ask. */
static bool masa_of_a_ca(const struct draft *d)
{
    return d->p->ca && d->masa_url != NULL;
}

/* IEEE 802.1AR-2018 section 8.10.3 and RFC 8995 section 2.3: nobody knows today what the device will be used for. */
static bool idevid_restricted(const struct draft *d)
{
    return !d->p->ca && d->has_end && d->eku.n != 0;
}

static bool usage_not_for_keys(const struct draft *d)
{
    for (size_t i = 0; i < d->p->n_keys; i++) {
        const struct profile_key *k = profile_key_find(d->p->keys[i]);

        if (k != NULL && (k->usage_never & d->key_usage) != 0)
            return true;
    }
    return false;
}

static const struct {
    bool (*broken)(const struct draft *d);
    const char *why;
} rules[] = {
    { time_missing, "give either \"validity\" or \"not_after\"" },
    { usage_missing, "\"key_usage\" is missing" },
    { ca_cannot_sign, "a CA needs key usage keyCertSign (RFC 5280 section 4.2.1.3)" },
    { leaf_can_sign, "key usage keyCertSign needs \"ca\" (RFC 5280 section 4.2.1.9)" },
    { ca_without_name, "a CA needs a subject (RFC 5280 section 4.1.2.6)" },
    { nobody_named, "an empty subject needs \"san\" (RFC 5280 section 4.1.2.6)" },
    { idevid_without_serial,
      "a device certificate without end is an IDevID and needs serialNumber= in its subject (IEEE 802.1AR 8.6)" },
    { idevid_restricted, "an IDevID has no \"eku\": it would rule out what the device may be used for (IEEE 802.1AR 8.10.3)" },
    { masa_of_a_ca, "\"masa_url\" is for devices, not for a CA (RFC 8995 section 2.3.2)" },
    { hardware_without_type, "\"hardware-module\" and \"hw_type\" belong together" },
    { server_without_host, "serverAuth needs a dns: or ip: alternative name (RFC 9525)" },
    { tls_without_usage, "clientAuth and serverAuth need digitalSignature, keyEncipherment or keyAgreement (RFC 5280 4.2.1.12)" },
    { stamp_not_alone, "timeStamping stands alone (RFC 3161 section 2.3)" },
    { nocheck_not_responder,
      "\"ocsp_nocheck\" is for OCSP responders: it needs extended key usage OCSPSigning (RFC 6960 4.2.2.2.1)" },
    { staple_by_ca, "\"must_staple\" is for who speaks TLS, not for a CA (RFC 7633 section 4)" },
    { usage_not_for_keys, "\"key_usage\" does not go with each of \"keys\" (RFC 8813, RFC 9295, RFC 3279)" },
};

enum bm_rc draft_lint(const struct draft *d, struct bm_error *e)
{
    for (size_t i = 0; i < BM_COUNT(rules); i++)
        if (rules[i].broken(d))
            return bm_fail(e, BM_USAGE, "%s", rules[i].why);
    return BM_OK;
}

/* --- compiling: each writes a whole Extension or nothing -------------------------------------------------------------------- */
enum { GN_URI = 6 };

static void put_uri(struct bm_derw *w, const char *uri)
{
    bm_derw_tlv(w, BM_DER_CTX(GN_URI), bm_rd_str(uri));
}

static void aia_put(struct bm_derw *w, const struct draft_uris *list, struct bm_rd method)
{
    for (size_t i = list->n; i-- > 0;) {
        size_t mark = bm_derw_mark(w);

        put_uri(w, list->at[i]);
        bm_derw_tlv(w, BM_DER_OID, method);
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
    }
}

static void ext_aia(struct bm_derw *w, const struct draft *d)
{
    static const struct bm_rd oid = BM_LIT(OID_AIA), ocsp = BM_LIT(OID_AIA_OCSP), issuers = BM_LIT(OID_AIA_ISSUERS);
    size_t mark = bm_derw_mark(w);

    if (d->ocsp.n + d->issuers.n == 0)
        return;
    aia_put(w, &d->issuers, issuers);
    aia_put(w, &d->ocsp, ocsp);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_ext_end(w, mark, oid, false);
}

/* One DistributionPoint per address. */
static void ext_crl(struct bm_derw *w, const struct draft *d)
{
    static const struct bm_rd oid = BM_LIT(OID_CRL_POINTS);
    size_t mark = bm_derw_mark(w);

    if (d->crl.n == 0)
        return;
    for (size_t i = d->crl.n; i-- > 0;) {
        size_t m = bm_derw_mark(w);

        bm_crl_point_put(w, bm_rd_str(d->crl.at[i]));
        bm_derw_end(w, m, BM_DER_SEQUENCE);
    }
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_ext_end(w, mark, oid, false);
}

static void ext_policies(struct bm_derw *w, const struct draft *d)
{
    static const struct bm_rd oid = BM_LIT(OID_POLICIES);
    size_t mark = bm_derw_mark(w);

    if (d->policies.n == 0)
        return;
    for (size_t i = d->policies.n; i-- > 0;) {
        size_t m = bm_derw_mark(w);

        bm_derw_tlv(w, BM_DER_OID, bm_rd_of(d->policies.at[i].der, d->policies.at[i].n));
        bm_derw_end(w, m, BM_DER_SEQUENCE);
    }
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_ext_end(w, mark, oid, false);
}

static void ext_eku(struct bm_derw *w, const struct draft *d)
{
    static const struct bm_rd oid = BM_LIT(OID_EKU);
    size_t mark = bm_derw_mark(w);

    if (d->eku.n == 0)
        return;
    for (size_t i = d->eku.n; i-- > 0;)
        bm_derw_tlv(w, BM_DER_OID, bm_rd_of(d->eku.at[i].der, d->eku.at[i].n));
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_ext_end(w, mark, oid, oids_have(&d->eku, kp_time)); /* RFC 3161 section 2.3 */
}

static void ext_key_usage(struct bm_derw *w, const struct draft *d)
{
    static const struct bm_rd oid = BM_LIT(OID_KEY_USAGE);
    size_t mark = bm_derw_mark(w);
    uint8_t unused = 0;

    while ((d->key_usage >> unused & 1) == 0) /* named bits: trailing zeros are cut, X.690 11.2.2; lint saw that one is set */
        unused++;
    bm_derw_byte(w, d->key_usage);
    bm_derw_byte(w, unused);
    bm_derw_end(w, mark, BM_DER_BIT_STRING);
    bm_ext_end(w, mark, oid, true);
}

static void ext_basic_constraints(struct bm_derw *w, const struct draft *d)
{
    static const struct bm_rd oid = BM_LIT(OID_BASIC_CONSTRAINTS);
    size_t mark = bm_derw_mark(w);

    if (!d->p->ca) /* a leaf says it by leaving it out: an explicit FALSE is no DER */
        return;
    if (d->p->path_len >= 0)
        bm_derw_uint(w, (uint64_t)d->p->path_len);
    bm_derw_tlv(w, BM_DER_BOOLEAN, bm_rd_of("\xff", 1));
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_ext_end(w, mark, oid, true);
}

static void ext_ocsp_nocheck(struct bm_derw *w, const struct draft *d)
{
    static const struct bm_rd oid = BM_LIT(OID_OCSP_NOCHECK);
    size_t mark = bm_derw_mark(w);

    if (!d->ocsp_nocheck)
        return;
    bm_derw_tlv(w, BM_DER_NULL, bm_rd_of(NULL, 0));
    bm_ext_end(w, mark, oid, false);
}

/* Features ::= SEQUENCE OF INTEGER: status_request, RFC 7633 section 4.2.3.1 */
static void ext_must_staple(struct bm_derw *w, const struct draft *d)
{
    static const struct bm_rd oid = BM_LIT(OID_TLS_FEATURE);
    enum { STATUS_REQUEST = 5 };
    size_t mark = bm_derw_mark(w);

    if (!d->must_staple)
        return;
    bm_derw_uint(w, STATUS_REQUEST);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_ext_end(w, mark, oid, false);
}

static void ext_masa_url(struct bm_derw *w, const struct draft *d)
{
    static const struct bm_rd oid = BM_LIT(OID_MASA_URL);
    size_t mark = bm_derw_mark(w);

    if (d->masa_url == NULL)
        return;
    bm_derw_tlv(w, BM_DER_IA5, bm_rd_str(d->masa_url));
    bm_ext_end(w, mark, oid, false);
}

enum bm_rc draft_compile(struct draft *d, struct bm_error *e)
{
    struct bm_derw w = bm_derw_of(d->p->fixed, sizeof d->p->fixed), crl = bm_derw_of(d->p->crl, sizeof d->p->crl);
    struct bm_rd all;

    ext_crl(&crl, d);
    ext_must_staple(&w, d);
    ext_masa_url(&w, d);
    ext_ocsp_nocheck(&w, d);
    ext_aia(&w, d);
    ext_policies(&w, d);
    ext_eku(&w, d);
    ext_key_usage(&w, d);
    ext_basic_constraints(&w, d);
    if (w.bad || crl.bad)
        return bm_fail(e, BM_USAGE, "its fixed extensions are over %zu bytes", sizeof d->p->fixed);
    all = bm_derw_rd(&w);
    memmove(d->p->fixed, all.p, all.n);
    d->p->fixed_len = all.n;
    all = bm_derw_rd(&crl);
    memmove(d->p->crl, all.p, all.n);
    d->p->crl_len = all.n;
    return BM_OK;
}

/* --- the profile ------------------------------------------------------------------------------------------------------------ */
static void json_freep(json_t **v)
{
    json_decref(*v);
}

static enum bm_rc profile_load(struct bm_profile *p, const json_t *json, struct bm_error *e)
{
    struct draft d = { .p = p };
    enum bm_rc rc = draft_read(&d, json, e);

    if (rc == BM_OK)
        rc = draft_lint(&d, e);
    return rc == BM_OK ? draft_compile(&d, e) : rc;
}

enum bm_rc bm_profile_parse(const char *name, struct bm_rd json, struct bm_profile **ret, struct bm_error *e)
{
    BM_CLEANUP(json_freep) json_t *root = NULL;
    BM_CLEANUP(bm_profile_freep) struct bm_profile *p = NULL;
    json_error_t why;
    char safe[160];
    enum bm_rc rc;

    if (!bm_name_ok(name))
        return bm_fail(e, BM_USAGE, "a certificate profile's name has 1 to 64 of a-z 0-9 . _ - and starts with a letter or digit");
    if (json.n > BM_PROFILE_MAX)
        return bm_fail(e, BM_LIMIT, "certificate profile '%s' is over %d bytes", name, BM_PROFILE_MAX);
    root = json_loadb((const char *)json.p, json.n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(root))
        return bm_fail(e, BM_USAGE, "certificate profile '%s': %s", name,
                       root == NULL ? bm_text_escape(bm_rd_str(why.text), safe, sizeof safe) : "not a JSON object");
    p = calloc(1, sizeof *p);
    if (p == NULL)
        return bm_fail(e, BM_NOMEM, "certificate profile");
    memcpy(p->name, name, strlen(name) + 1);
    p->path_len = -1;
    rc = profile_load(p, root, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "certificate profile '%s'", name);
    *ret = BM_MOVE(p);
    return BM_OK;
}

void bm_profile_free(struct bm_profile *p)
{
    free(p);
}

void bm_profile_freep(struct bm_profile **p)
{
    bm_profile_free(*p);
    *p = NULL;
}

int64_t bm_profile_validity_s(const struct bm_profile *p)
{
    return p->validity_s;
}

bool bm_profile_is_ca(const struct bm_profile *p)
{
    return p->ca;
}

const char *bm_profile_name(const struct bm_profile *p)
{
    return p->name;
}
