#include "factory/microchip.h"

#include "base/text.h"
#include "factory/impl.h"
#include "pki/cert.h"
#include "pki/jws.h"

#include <openssl/obj_mac.h>
#include <stdlib.h>

enum { UNIQUE_ID_CHARS = 18, COORDINATE_LEN = 32, AHEAD_MAX_S = 86400 };

/* --- the JWS around it -------------------------------------------------------------------------------------------------------- */
static const char *const element_members[] = { "payload", "protected", "header", "signature", NULL };
static const char *const header_members[] = { "uniqueId", NULL };
static const char *const algs[] = { "ES256", "RS256", "ES384", "RS384", "ES512", "RS512" };

static enum bm_rc malformed(struct bm_error *e, const char *what)
{
    return bm_refuse(e, BM_MALFORMED, "entry-format", "%s", what);
}

/* protected.payload.signature: the compact form of the same signature. */
static enum bm_rc compact(const json_t *j, struct bm_buf *out, struct bm_rd *ret_unique_id, struct bm_error *e)
{
    static const char *const parts[] = { "protected", "payload", "signature" };
    const json_t *header = json_object_get(j, "header");
    struct bm_rd part;

    if (bm_json_unknown(j, element_members) != NULL || (json_is_object(header) && bm_json_unknown(header, header_members) != NULL))
        return malformed(e, "a member that signed entries do not have");
    if (!bm_json_text(header, "uniqueId", ret_unique_id))
        return malformed(e, "\"header\" must have \"uniqueId\"");
    out->n = 0;
    for (size_t i = 0; i < BM_COUNT(parts); i++) {
        if (!bm_json_text(j, parts[i], &part))
            return malformed(e, "\"payload\", \"protected\" and \"signature\" must be texts");
        bm_buf_str(out, i != 0 ? "." : "");
        bm_buf_put(out, part.p, part.n);
    }
    return bm_buf_check(out, e);
}

static bool alg_allowed(const char *alg)
{
    for (size_t i = 0; i < BM_COUNT(algs); i++)
        if (strcmp(alg, algs[i]) == 0)
            return true;
    return false;
}

static bool kid_is_skid(const char *kid, const struct bm_signer *s)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf want = { .max = 2 * sizeof s->skid };

    bm_base64url(&want, bm_rd_of(s->skid, s->skid_len));
    return s->skid_len != 0 && bm_rd_eq(bm_buf_rd(&want), bm_rd_str(kid));
}

/* The signer stands behind one entry here, not behind a block. */
static enum bm_rc of_entry(enum bm_rc rc, const struct bm_error *why, struct bm_error *e)
{
    return bm_refuse(e, rc, strcmp(why->code, "manifest-signer") == 0 ? "entry-signer" : why->code, "%s", why->what);
}

static enum bm_rc signer_ready(struct bm_manifest_run *run, const struct bm_jws_header *head, struct bm_error *e)
{
    struct bm_error why = { 0 };
    enum bm_rc rc = bm_signer_ready(&run->r->signer, head->x5t_s256, (struct bm_rd){ 0 }, run->now, run->h, &why);

    if (rc != BM_OK)
        return of_entry(rc, &why, e);
    if (!kid_is_skid(head->kid, &run->r->signer))
        return bm_refuse(e, BM_DENIED, "entry-signer", "kid is not the subject key identifier of the log signer's certificate");
    return BM_OK;
}

/* The protected header is checked against the pinned certificate before the signature, as the format demands. */
static enum bm_rc verify(struct bm_manifest_run *run, const struct bm_jws *jws, struct bm_error *e)
{
    BM_CLEANUP(bm_jws_header_done) struct bm_jws_header head = { 0 };
    struct bm_error why = { 0 };
    enum bm_rc rc = bm_jws_header_parse(jws->protected_b64, &head, &why);

    if (rc != BM_OK)
        return bm_refuse(e, rc, "entry-format", "protected header: %s", why.what);
    if (strcmp(head.typ, "JWT") != 0 || !alg_allowed(head.alg) || !head.has_x5t)
        return malformed(e, "protected header: typ must be JWT, alg one of RS256 to RS512 and ES256 to ES512, x5t#S256 be there");
    rc = signer_ready(run, &head, e);
    if (rc != BM_OK)
        return rc;
    rc = bm_jws_verify(jws, run->r->signer.key, &why);
    return rc == BM_OK ? BM_OK : bm_refuse(e, rc, "entry-signature", "the signature is wrong: %s", why.what);
}

/* --- keys --------------------------------------------------------------------------------------------------------------------- */
/* SubjectPublicKeyInfo of a P-256 key up to the coordinates: RFC 5480 section 2. */
static const uint8_t spki_head[] = { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
                                     0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04 };

static bool coordinate(const json_t *jwk, const char *name, struct bm_buf *out)
{
    size_t before = out->n;
    struct bm_rd t;

    return bm_json_text(jwk, name, &t) && t.n == 43 && bm_unbase64url(t, out, NULL) == BM_OK && out->n - before == COORDINATE_LEN;
}

/* RFC 7518 section 6.2.1 */
static enum bm_rc jwk_spki(const json_t *jwk, struct bm_keycheck *keys, struct bm_buf *out, struct bm_error *e)
{
    out->n = 0;
    bm_buf_put(out, spki_head, sizeof spki_head);
    if (!coordinate(jwk, "x", out) || !coordinate(jwk, "y", out))
        return bm_refuse(e, BM_MALFORMED, "entry-key", "x and y must be 32 bytes in base64url");
    return bm_keycheck(keys, bm_buf_rd(out), e);
}

static bool jwk_is_p256(const json_t *jwk)
{
    struct bm_rd kty, crv;

    return bm_json_text(jwk, "kty", &kty) && bm_rd_eq(kty, bm_rd_str("EC")) && bm_json_text(jwk, "crv", &crv) &&
           bm_rd_eq(crv, bm_rd_str("P-256"));
}

/* "0" to "15", one spelling each. */
static bool slot_of(const json_t *jwk, unsigned *ret)
{
    struct bm_rd kid;
    char want[8];

    if (!bm_json_text(jwk, "kid", &kid) || kid.n == 0 || kid.n > 2)
        return false;
    *ret = (unsigned)strtoul((const char *)kid.p, NULL, 10);
    snprintf(want, sizeof want, "%u", *ret);
    return *ret < BM_MICROCHIP_KEYS_MAX && bm_rd_eq(kid, bm_rd_str(want));
}

/* Notes the UDID that the key in this slot would have. */
static enum bm_rc note_key(json_t *udids, unsigned slot, struct bm_rd spki, struct bm_error *e)
{
    uint8_t udid[32];
    char name[8], hex[65];

    snprintf(name, sizeof name, "%u", slot);
    bm_udid_of(spki, udid);
    bm_hex(udid, sizeof udid, hex);
    if (json_object_get(udids, name) != NULL)
        return malformed(e, "two keys in one slot");
    return json_object_set_new(udids, name, json_string(hex)) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "out of memory");
}

/* The identity is the key in slot 0, where the chips keep their primary private key; *ret_identity is its JWK. Keys in other
 * slots are candidates for other uses: their UDIDs become an attribute. Keys that are not P-256 cannot be in these chips' slots
 * and are passed over. */
static enum bm_rc take_keys(struct bm_manifest_run *run, const json_t *payload, json_t *udids, const json_t **ret_identity,
                            struct bm_error *e)
{
    const json_t *keys = json_object_get(json_object_get(payload, "publicKeySet"), "keys");
    BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = 128 };
    enum bm_rc rc = BM_OK;
    unsigned slot;

    if (!json_is_array(keys) || json_array_size(keys) > BM_MICROCHIP_KEYS_MAX)
        return malformed(e, "\"publicKeySet\" must have \"keys\", at most 16");
    *ret_identity = NULL;
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *jwk = json_array_get(keys, i);

        if (!slot_of(jwk, &slot))
            return bm_refuse(e, BM_MALFORMED, "entry-key", "kid of a key must be its slot, 0 to 15");
        if (!jwk_is_p256(jwk))
            continue;
        rc = jwk_spki(jwk, &run->r->keys, &spki, e);
        if (rc == BM_OK)
            rc = note_key(udids, slot, bm_buf_rd(&spki), e);
        if (rc != BM_OK)
            return rc;
        if (slot == 0)
            *ret_identity = jwk;
    }
    return *ret_identity != NULL ? BM_OK : bm_refuse(e, BM_MALFORMED, "entry-key", "no P-256 key in slot 0, which is the identity");
}

/* --- birth certificate -------------------------------------------------------------------------------------------------------- */
static enum bm_rc decode_cert(const json_t *text, struct bm_buf *out, struct bm_cert *ret, struct bm_error *e)
{
    struct bm_error why = { 0 };
    struct bm_rd in;
    enum bm_rc rc;

    if (!json_is_string(text) || json_string_length(text) > BM_CERT_MAX)
        return bm_refuse(e, BM_MALFORMED, "entry-birth", "x5c must hold certificates in base64");
    in = bm_rd_of(json_string_value(text), json_string_length(text));
    out->n = 0;
    rc = bm_unbase64(in, out, &why);
    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(out), ret, &why);
    return rc == BM_OK ? BM_OK : bm_refuse(e, rc, "entry-birth", "x5c: %s", why.what);
}

static enum bm_rc birth_refused(enum bm_rc rc, const struct bm_error *why, struct bm_error *e)
{
    const char *what = why->what[0] != '\0' ? why->what : "not issued by a pinned anchor of birth certificates";

    return bm_refuse(e, rc, bm_rc_is_ours(rc) ? why->code : "entry-birth", "x5c: %s", what);
}

/* x5c is [device, signer]; the signer's own issuer is for the hook to know. The device certificate stays in r->birth. */
static enum bm_rc take_birth(struct bm_manifest_run *run, const json_t *jwk, int64_t at, struct bm_manifest_entry *m,
                             struct bm_error *e)
{
    const json_t *x5c = json_object_get(jwk, "x5c");
    BM_CLEANUP(bm_buf_done) struct bm_buf issuer_der = { .max = BM_CERT_MAX };
    struct bm_cert device = { 0 }, issuer = { 0 };
    struct bm_error why = { 0 };
    bool with_issuer = json_array_size(x5c) == 2;
    enum bm_rc rc;

    if (x5c == NULL)
        return BM_OK;
    if (!with_issuer && json_array_size(x5c) != 1) /* 0 for what is no array */
        return bm_refuse(e, BM_MALFORMED, "entry-birth", "x5c must hold the device's certificate and its issuer's");
    rc = decode_cert(json_array_get(x5c, 0), &run->r->birth, &device, e);
    if (rc == BM_OK && with_issuer)
        rc = decode_cert(json_array_get(x5c, 1), &issuer_der, &issuer, e);
    if (rc != BM_OK)
        return rc;
    m->birth_cert = bm_buf_rd(&run->r->birth);
    if (with_issuer)
        rc = bm_cert_check_link(&device, &issuer, at, &why);
    if (rc == BM_OK && run->h->birth != NULL)
        rc = run->h->birth(run->h->arg, with_issuer ? issuer.whole : device.whole, at, &why);
    return rc == BM_OK ? BM_OK : birth_refused(rc, &why, e);
}

/* --- payload ------------------------------------------------------------------------------------------------------------------ */
static const struct {
    const char *name, *inside; /* inside: the member of the object called name */
    bool required;
} texts[] = {
    { "model", NULL, true },
    { "partNumber", NULL, false },
    { "uniqueId", NULL, true },
    { "manufacturer", "organizationName", false },
    { "provisioner", "organizationName", false },
    { "distributor", "organizationName", false },
    { "groupId", NULL, false },
    { "provisioningTimestamp", NULL, true },
};

static enum bm_rc take_texts(const json_t *payload, json_t *attributes, struct bm_error *e)
{
    for (size_t i = 0; i < BM_COUNT(texts); i++) {
        json_t *v = json_object_get(payload, texts[i].name);

        v = v != NULL && texts[i].inside != NULL ? json_object_get(v, texts[i].inside) : v;
        if (v == NULL && !texts[i].required)
            continue;
        if (!json_is_string(v) || json_string_length(v) > BM_MICROCHIP_TEXT_MAX)
            return bm_refuse(e, BM_MALFORMED, "entry-format", "payload: \"%s\" must be a text of at most %d bytes", texts[i].name,
                             BM_MICROCHIP_TEXT_MAX);
        if (json_object_set(attributes, texts[i].name, v) != 0)
            return bm_fail(e, BM_NOMEM, "out of memory");
    }
    return BM_OK;
}

static bool unique_id_ok(const char *id)
{
    return strlen(id) == UNIQUE_ID_CHARS && strspn(id, "0123456789abcdef") == UNIQUE_ID_CHARS;
}

/* Version, serial number and time: attributes has the texts already. */
static enum bm_rc take_facts(const struct bm_manifest_run *run, const json_t *payload, const json_t *attributes,
                             struct bm_rd unique_id, int64_t *ret_at, struct bm_error *e)
{
    const json_t *version = json_object_get(payload, "version");
    const char *id = json_string_value(json_object_get(attributes, "uniqueId"));

    if (!json_is_integer(version) || json_integer_value(version) != 1)
        return malformed(e, "payload: \"version\" must be 1");
    if (!unique_id_ok(id) || !bm_rd_eq(unique_id, bm_rd_str(id)))
        return malformed(e, "\"uniqueId\" must be 18 lower-case hex digits, the same in header and payload");
    if (!bm_time_parse(json_string_value(json_object_get(attributes, "provisioningTimestamp")), ret_at))
        return malformed(e, "payload: \"provisioningTimestamp\" must be a time as in 2019-01-24T16:35:23.473Z");
    if (*ret_at > run->now + AHEAD_MAX_S)
        return malformed(e, "payload: \"provisioningTimestamp\" lies more than a day ahead of this clock");
    return BM_OK;
}

static const char *rot_of(const json_t *attributes)
{
    const char *model = json_string_value(json_object_get(attributes, "model"));

    return strncmp(model, "ATECC608", 8) == 0 ? "atecc608" : "generic";
}

static enum bm_rc take_identity(struct bm_manifest_run *run, const json_t *jwk, int64_t at, struct bm_manifest_entry *m,
                                struct bm_error *e)
{
    enum bm_rc rc = jwk_spki(jwk, &run->r->keys, &run->r->spki, e);

    if (rc != BM_OK)
        return rc;
    m->spki = bm_buf_rd(&run->r->spki);
    bm_udid_of(m->spki, m->udid);
    return take_birth(run, jwk, at, m, e);
}

static enum bm_rc signer_valid(const struct bm_manifest_run *run, int64_t at, struct bm_error *e)
{
    struct bm_error why = { 0 };
    enum bm_rc rc = bm_signer_valid(&run->r->signer, at, "when the entry was made", &why);

    return rc == BM_OK ? BM_OK : of_entry(rc, &why, e);
}

static enum bm_rc take_payload(struct bm_manifest_run *run, const json_t *payload, struct bm_rd unique_id,
                               struct bm_manifest_entry *m, struct bm_error *e)
{
    BM_JSON_FREE json_t *attributes = json_object();
    json_t *udids = json_object(); /* taken over by attributes */
    const json_t *identity = NULL;
    int64_t at = 0;
    enum bm_rc rc;

    rc = take_texts(payload, attributes, e);
    if (json_object_set_new(attributes, "keys", udids) != 0)
        rc = bm_fail(e, BM_NOMEM, "out of memory");
    if (rc == BM_OK)
        rc = take_facts(run, payload, attributes, unique_id, &at, e);
    if (rc == BM_OK)
        rc = signer_valid(run, at, e);
    if (rc == BM_OK)
        rc = take_keys(run, payload, udids, &identity, e);
    if (rc == BM_OK)
        rc = take_identity(run, identity, at, m, e);
    if (rc == BM_OK)
        rc = bm_entry_attributes(attributes, &run->r->attributes, e);
    if (rc != BM_OK)
        return rc;
    m->attributes = bm_buf_rd(&run->r->attributes);
    snprintf(m->rot, sizeof m->rot, "%s", rot_of(attributes));
    return BM_OK;
}

static enum bm_rc open_payload(struct bm_manifest_run *run, const struct bm_jws *jws, json_t **ret, struct bm_error *e)
{
    struct bm_error why = { 0 };
    enum bm_rc rc;

    run->r->seal.n = 0;
    rc = bm_unbase64url(jws->payload_b64, &run->r->seal, &why);
    if (rc == BM_OK)
        rc = bm_json_object(bm_buf_rd(&run->r->seal), ret, &why);
    return rc == BM_OK ? BM_OK : bm_refuse(e, rc, "entry-format", "payload: %s", why.what);
}

static enum bm_rc parse_element(struct bm_manifest_run *run, struct bm_rd line, struct bm_manifest_entry *ret, struct bm_error *e)
{
    BM_JSON_FREE json_t *j = NULL, *payload = NULL;
    struct bm_error why = { 0 };
    struct bm_rd unique_id;
    struct bm_jws jws;
    enum bm_rc rc;

    if (line.n > BM_MICROCHIP_ELEMENT_MAX)
        return bm_refuse(e, BM_LIMIT, "entry-format", "an entry of %zu bytes; at most %d are taken", line.n,
                         BM_MICROCHIP_ELEMENT_MAX);
    rc = bm_json_object(line, &j, &why);
    if (rc != BM_OK)
        return bm_refuse(e, rc, "entry-format", "%s", why.what);
    rc = compact(j, &run->r->text, &unique_id, e);
    if (rc != BM_OK)
        return rc;
    rc = bm_jws_split(bm_buf_rd(&run->r->text), &jws, &why);
    if (rc != BM_OK)
        return bm_refuse(e, rc, "entry-format", "%s", why.what);
    rc = verify(run, &jws, e);
    if (rc == BM_OK)
        rc = open_payload(run, &jws, &payload, e);
    return rc == BM_OK ? take_payload(run, payload, unique_id, ret, e) : rc;
}

/* --- blocks ------------------------------------------------------------------------------------------------------------------- */
static bool is_end(struct bm_rd line)
{
    return bm_rd_eq(line, bm_rd_str("]"));
}

/* Its own digest names a manifest that has no name. */
static void name_manifest(struct bm_rd raw, struct bm_manifest_header *h)
{
    struct bm_rd line;
    char hex[17];

    (void)bm_line_take(&raw, &line);
    bm_manifest_digest(line, h->digest);
    bm_hex(h->digest, 8, hex);
    snprintf(h->id, sizeof h->id, "microchip-%s", hex);
}

static enum bm_rc hand_out(struct bm_manifest_run *run, struct bm_rd raw, struct bm_error *e)
{
    size_t number = run->s->first_line;
    struct bm_rd line;
    enum bm_rc rc = run->h->sealed != NULL ? run->h->sealed(run->h->arg, run->s, e) : BM_OK;

    while (rc == BM_OK && bm_line_take(&raw, &line) && !is_end(line))
        rc = bm_manifest_run_line(run, line, number++, parse_element, e);
    return rc;
}

/* Counts elements; a line "]" must be the last. */
static bool shape(struct bm_rd raw, size_t *ret_elements, bool *ret_last)
{
    struct bm_rd line;

    *ret_elements = 0;
    *ret_last = false;
    while (bm_line_take(&raw, &line)) {
        if (*ret_last)
            return false;
        *ret_last = is_end(line);
        *ret_elements += !*ret_last;
    }
    return *ret_elements <= BM_MICROCHIP_BLOCK_ELEMENTS;
}

enum bm_rc bm_microchip_block_parse(struct bm_manifest_reader *r, struct bm_rd raw, const struct bm_manifest_state *at, int64_t now,
                                    const struct bm_manifest_hooks *h, struct bm_manifest_summary *ret, struct bm_error *e)
{
    struct bm_manifest_run run = { r, h, now, ret, "" };
    bool last;

    if (raw.n > BM_MICROCHIP_BLOCK_MAX || !shape(raw, &ret->n_lines, &last))
        return bm_refuse(e, BM_LIMIT, "manifest-format", "more than %d elements or %d bytes in a block",
                         BM_MICROCHIP_BLOCK_ELEMENTS, BM_MICROCHIP_BLOCK_MAX);
    ret->seq = at->seq;
    ret->first_line = (size_t)at->entries + 1;
    ret->next = (struct bm_manifest_state){ .seq = at->seq + 1, .entries = at->entries + ret->n_lines, .last = last };
    bm_udid_of(raw, ret->next.prev);
    if (at->seq == 0)
        name_manifest(raw, &ret->header);
    return hand_out(&run, raw, e);
}
