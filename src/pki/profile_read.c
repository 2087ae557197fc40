/* Profile JSON -> draft: one row per member. */
#include "base/text.h"
#include "pki/profile_draft.h"
#include "pki/san.h"
#include "pki/usage.h"

#include <openssl/objects.h>

enum { PATH_LEN_MAX = 8 };
static const int64_t validity_max_s = INT64_C(100) * 365 * 86400, validity_min_s = 60, backdate_max_s = 7 * 86400;

static enum bm_rc list_each(const char *what, const json_t *list, struct draft *d,
                            enum bm_rc (*item)(struct draft *d, const char *text, struct bm_error *e), struct bm_error *e)
{
    size_t i;
    json_t *v;

    if (json_array_size(list) == 0)
        return bm_fail(e, BM_USAGE, "%s: an empty list", what);
    json_array_foreach (list, i, v) {
        enum bm_rc rc;

        if (!json_is_string(v))
            return bm_fail(e, BM_USAGE, "%s: entry %zu is not text", what, i + 1);
        rc = item(d, json_string_value(v), e);
        if (rc != BM_OK)
            return bm_wrap(e, rc, "%s", what);
    }
    return BM_OK;
}

static enum bm_rc unknown(const char *text, const char *what, struct bm_error *e)
{
    char safe[80];

    return bm_fail(e, BM_USAGE, "'%s' is no %s", bm_text_escape(bm_rd_str(text), safe, sizeof safe), what);
}

/* --- time ------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc read_validity(struct draft *d, const json_t *v, struct bm_error *e)
{
    if (!bm_duration_parse(json_string_value(v), &d->p->validity_s))
        return unknown(json_string_value(v), "duration like \"30d\" or \"10y\"", e);
    if (d->p->validity_s < validity_min_s || d->p->validity_s > validity_max_s)
        return bm_fail(e, BM_USAGE, "from one minute to 100 years are taken");
    d->has_validity = true;
    return BM_OK;
}

static enum bm_rc read_not_after(struct draft *d, const json_t *v, struct bm_error *e)
{
    if (strcmp(json_string_value(v), "99991231235959Z") != 0)
        return bm_fail(e, BM_USAGE,
                       "only \"99991231235959Z\" (no end, RFC 5280 section 4.1.2.5) is taken; give \"validity\" instead");
    d->p->validity_s = INT64_MAX;
    d->has_end = true;
    return BM_OK;
}

static enum bm_rc read_backdate(struct draft *d, const json_t *v, struct bm_error *e)
{
    if (!bm_duration_parse(json_string_value(v), &d->p->backdate_s) || d->p->backdate_s > backdate_max_s)
        return unknown(json_string_value(v), "duration of at most 7d", e);
    d->has_backdate = true;
    return BM_OK;
}

/* --- usage ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc usage_item(struct draft *d, const char *text, struct bm_error *e)
{
    for (const struct bm_usage_name *u = bm_usage_names; u->name != NULL; u++) {
        if (strcmp(text, u->name) != 0)
            continue;
        if ((d->key_usage & u->bit) != 0)
            return bm_fail(e, BM_USAGE, "'%s' comes twice", text);
        d->key_usage |= (uint8_t)u->bit;
        return BM_OK;
    }
    return unknown(text, "key usage", e);
}

static enum bm_rc read_key_usage(struct draft *d, const json_t *v, struct bm_error *e)
{
    return list_each("usages", v, d, usage_item, e);
}

static enum bm_rc oid_add(struct draft_oids *list, struct bm_rd der, struct bm_error *e)
{
    for (size_t i = 0; i < list->n; i++)
        if (bm_rd_eq(der, bm_rd_of(list->at[i].der, list->at[i].n)))
            return bm_fail(e, BM_USAGE, "entry %zu comes twice", i + 1);
    if (list->n == DRAFT_OIDS_MAX)
        return bm_fail(e, BM_USAGE, "more than %d entries", DRAFT_OIDS_MAX);
    memcpy(list->at[list->n].der, der.p, der.n);
    list->at[list->n++].n = der.n;
    return BM_OK;
}

static enum bm_rc oid_add_text(struct draft_oids *list, const char *text, const char *what, struct bm_error *e)
{
    uint8_t der[32];
    size_t n;

    return bm_der_oid_of_text(text, der, &n) ? oid_add(list, bm_rd_of(der, n), e) : unknown(text, what, e);
}

static enum bm_rc eku_item(struct draft *d, const char *text, struct bm_error *e)
{
    for (const struct bm_purpose_name *p = bm_purpose_names; p->name != NULL; p++)
        if (strcmp(text, p->name) == 0)
            return oid_add(&d->eku, p->oid, e);
    return oid_add_text(&d->eku, text, "extended key usage, nor a dotted OID", e);
}

static enum bm_rc read_eku(struct draft *d, const json_t *v, struct bm_error *e)
{
    return list_each("usages", v, d, eku_item, e);
}

static enum bm_rc policy_item(struct draft *d, const char *text, struct bm_error *e)
{
    return oid_add_text(&d->policies, text, "dotted OID", e);
}

static enum bm_rc read_policies(struct draft *d, const json_t *v, struct bm_error *e)
{
    return list_each("policies", v, d, policy_item, e);
}

/* --- names ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc read_subject(struct draft *d, const json_t *v, struct bm_error *e)
{
    return bm_name_spec_parse(json_string_value(v), true, &d->p->subject, e);
}

static enum bm_rc san_item(struct draft *d, const char *text, struct bm_error *e)
{
    static const struct {
        const char *prefix;
        enum bm_san_kind kind;
    } kinds[] = { { "uri:", BM_SAN_URI }, { "dns:", BM_SAN_DNS }, { "ip:", BM_SAN_IP } };
    struct bm_profile *p = d->p;

    if (p->n_san == BM_SAN_ENTRIES_MAX)
        return bm_fail(e, BM_USAGE, "more than %d alternative names", BM_SAN_ENTRIES_MAX);
    if (strcmp(text, "hardware-module") == 0) {
        p->san[p->n_san++].kind = BM_SAN_HARDWARE;
        return BM_OK;
    }
    for (size_t i = 0; i < BM_COUNT(kinds); i++) {
        size_t skip = strlen(kinds[i].prefix), n = strlen(text);

        if (strncmp(text, kinds[i].prefix, skip) != 0)
            continue;
        if (n == skip || n - skip >= BM_TEMPLATE_MAX)
            return bm_fail(e, BM_USAGE, "an alternative name has 1 to %d characters after its kind", BM_TEMPLATE_MAX - 1);
        p->san[p->n_san].kind = kinds[i].kind;
        memcpy(p->san[p->n_san++].text, text + skip, n - skip + 1);
        return bm_template_check(text + skip, e);
    }
    return unknown(text, "alternative name: uri:, dns:, ip: or hardware-module", e);
}

static enum bm_rc read_san(struct draft *d, const json_t *v, struct bm_error *e)
{
    return list_each("names", v, d, san_item, e);
}

static enum bm_rc read_hw_type(struct draft *d, const json_t *v, struct bm_error *e)
{
    if (!bm_der_oid_of_text(json_string_value(v), d->p->hw_type, &d->p->hw_type_len))
        return unknown(json_string_value(v), "dotted OID", e);
    return BM_OK;
}

/* --- keys, CA, places to look ----------------------------------------------------------------------------------------------- */
static enum bm_rc key_item(struct draft *d, const char *text, struct bm_error *e)
{
    for (size_t i = 0; i < profile_keys_count; i++) {
        const struct profile_key *k = &profile_keys[i];

        if (strcmp(text, k->name) != 0)
            continue;
        for (size_t j = 0; j < d->p->n_keys; j++)
            if (d->p->keys[j] == k->alg)
                return bm_fail(e, BM_USAGE, "'%s' comes twice", text);
        d->p->keys[d->p->n_keys++] = k->alg;
        return BM_OK;
    }
    return unknown(text, "key algorithm: P-256, P-384, P-521, Ed25519, RSA, ML-DSA-44, ML-DSA-65, ML-DSA-87", e);
}

static enum bm_rc read_keys(struct draft *d, const json_t *v, struct bm_error *e)
{
    return list_each("algorithms", v, d, key_item, e);
}

static enum bm_rc read_ca(struct draft *d, const json_t *v, struct bm_error *e)
{
    const json_t *n = json_object_get(v, "path_len");

    if (json_object_size(v) != (n != NULL))
        return bm_fail(e, BM_USAGE, "only \"path_len\" belongs in it");
    d->p->ca = true;
    if (n == NULL)
        return BM_OK;
    if (!json_is_integer(n) || json_integer_value(n) < 0 || json_integer_value(n) > PATH_LEN_MAX)
        return bm_fail(e, BM_USAGE, "path_len is a number from 0 to %d", PATH_LEN_MAX);
    d->p->path_len = (int)json_integer_value(n);
    return BM_OK;
}

static enum bm_rc uri_add(struct draft_uris *list, const char *text, struct bm_error *e)
{
    if (!bm_san_uri_ok(bm_rd_str(text)) || strlen(text) > BM_TEXT_MAX)
        return unknown(text, "URI", e);
    if (list->n == DRAFT_URIS_MAX)
        return bm_fail(e, BM_USAGE, "more than %d", DRAFT_URIS_MAX);
    list->at[list->n++] = text;
    return BM_OK;
}

static enum bm_rc crl_item(struct draft *d, const char *text, struct bm_error *e)
{
    return uri_add(&d->crl, text, e);
}

static enum bm_rc ocsp_item(struct draft *d, const char *text, struct bm_error *e)
{
    return uri_add(&d->ocsp, text, e);
}

static enum bm_rc issuers_item(struct draft *d, const char *text, struct bm_error *e)
{
    return uri_add(&d->issuers, text, e);
}

static enum bm_rc read_crl(struct draft *d, const json_t *v, struct bm_error *e)
{
    return list_each("addresses", v, d, crl_item, e);
}

static enum bm_rc read_ocsp(struct draft *d, const json_t *v, struct bm_error *e)
{
    return list_each("addresses", v, d, ocsp_item, e);
}

static enum bm_rc read_issuers(struct draft *d, const json_t *v, struct bm_error *e)
{
    return list_each("addresses", v, d, issuers_item, e);
}

/* RFC 8995 section 2.3.2: an authority, or a whole https URL. */
static enum bm_rc read_masa_url(struct draft *d, const json_t *v, struct bm_error *e)
{
    const char *text = json_string_value(v);
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i++)
        if (text[i] <= 0x20 || text[i] >= 0x7f || strchr("<>\"{}|\\^`", text[i]) != NULL)
            n = 0;
    if (n == 0 || n > BM_TEXT_MAX || (strchr(text, '/') != NULL && strncmp(text, "https://", 8) != 0))
        return unknown(text, "authority, nor an https URL", e);
    d->masa_url = text;
    return BM_OK;
}

static enum bm_rc read_ocsp_nocheck(struct draft *d, const json_t *v, struct bm_error *e)
{
    (void)v, (void)e;
    d->ocsp_nocheck = true;
    return BM_OK;
}

static enum bm_rc read_must_staple(struct draft *d, const json_t *v, struct bm_error *e)
{
    (void)v, (void)e;
    d->must_staple = true;
    return BM_OK;
}

static enum bm_rc read_csr_template(struct draft *d, const json_t *v, struct bm_error *e)
{
    (void)v, (void)e;
    d->p->csr_template = true;
    return BM_OK;
}

/* Order does not matter: a member reads only itself. */
static const struct member {
    const char *name;
    json_type type;
    enum bm_rc (*read)(struct draft *d, const json_t *v, struct bm_error *e);
} members[] = {
    { "validity", JSON_STRING, read_validity },
    { "not_after", JSON_STRING, read_not_after },
    { "backdate", JSON_STRING, read_backdate },
    { "key_usage", JSON_ARRAY, read_key_usage },
    { "eku", JSON_ARRAY, read_eku },
    { "subject", JSON_STRING, read_subject },
    { "san", JSON_ARRAY, read_san },
    { "hw_type", JSON_STRING, read_hw_type },
    { "keys", JSON_ARRAY, read_keys },
    { "ca", JSON_OBJECT, read_ca },
    { "policies", JSON_ARRAY, read_policies },
    { "crl", JSON_ARRAY, read_crl },
    { "ocsp", JSON_ARRAY, read_ocsp },
    { "issuers", JSON_ARRAY, read_issuers },
    { "ocsp_nocheck", JSON_TRUE, read_ocsp_nocheck },
    { "must_staple", JSON_TRUE, read_must_staple },
    { "masa_url", JSON_STRING, read_masa_url },
    { "csr_template", JSON_TRUE, read_csr_template },
};

static const struct member *member_find(const char *name)
{
    for (size_t i = 0; i < BM_COUNT(members); i++)
        if (strcmp(name, members[i].name) == 0)
            return &members[i];
    return NULL;
}

enum bm_rc draft_read(struct draft *d, const json_t *profile, struct bm_error *e)
{
    const char *name;
    json_t *v;

    json_object_foreach ((json_t *)profile, name, v) {
        const struct member *m = member_find(name);
        enum bm_rc rc;

        if (m == NULL)
            return unknown(name, "member of a certificate profile", e);
        if (json_typeof(v) != m->type)
            return bm_fail(e, BM_USAGE, "\"%s\" has another JSON type", name);
        rc = m->read(d, v, e);
        if (rc != BM_OK)
            return bm_wrap(e, rc, "\"%s\"", name);
    }
    for (size_t i = 0; d->p->n_keys == 0 && i < profile_keys_count; i++)
        d->p->keys[i] = profile_keys[i].alg;
    d->p->n_keys = d->p->n_keys == 0 ? profile_keys_count : d->p->n_keys;
    if (!d->has_backdate)
        d->p->backdate_s = d->p->ca ? 0 : BM_BACKDATE_S;
    return BM_OK;
}
