/* Entries of devices without a key pair: an identifier, and the secret key sealed for the registry or the name of the root key it comes from; or an
 * identifier alone, where the maker vouches for each key. Everything here is public; what is sealed stays sealed. */
#include "factory/impl.h"

#include "base/text.h"
#include "pki/jwe.h"

static enum bm_rc key_check(const struct bm_manifest_entry *m, struct bm_error *e)
{
    struct bm_error why = { 0 };
    char hex[65];
    struct bm_jwe j;
    enum bm_rc rc;

    if ((m->sealed.n != 0) == (m->root[0] != '\0'))
        return bm_refuse(e, BM_MALFORMED, "entry-secret", "either \"sealed\" or \"root\" must say what the device's key is");
    if (m->root[0] != '\0')
        return bm_name_ok(m->root) ? BM_OK : bm_refuse(e, BM_MALFORMED, "entry-secret", "\"root\" must be a name");
    rc = bm_jwe_parse(m->sealed, &j, &why);
    if (rc != BM_OK)
        return bm_refuse(e, rc, "entry-secret", "\"sealed\": %s", why.what);
    bm_hex(m->udid, sizeof m->udid, hex);
    if (strcmp(j.sub, hex) != 0)
        return bm_refuse(e, BM_MALFORMED, "entry-secret", "\"sealed\" holds the key of another device");
    return BM_OK;
}

static enum bm_rc no_key_check(const struct bm_manifest_entry *m, struct bm_error *e)
{
    if (m->mac[0] == '\0' && m->sealed.n == 0 && m->root[0] == '\0')
        return BM_OK;
    return bm_refuse(e, BM_MALFORMED, "entry-secret",
                     "a device that its maker vouches for has no secret key: neither \"mac\", \"sealed\" nor \"root\"");
}

enum bm_rc bm_entry_check_symmetric(const char *issuer, const struct bm_manifest_entry *m, struct bm_error *e)
{
    const struct bm_rot_kind *kind = bm_rot_kind_find(bm_rd_str(m->rot));
    uint8_t udid[32];

    if (kind == NULL || (!kind->symmetric && !kind->attested))
        return bm_refuse(e, BM_MALFORMED, "entry-rot", "\"rot\" must be a kind of root of trust without a key pair that stays");
    if (m->ident.n == 0 || m->ident.n > BM_MAC_IDENT_MAX)
        return bm_refuse(e, BM_MALFORMED, "entry-id", "\"id\" must have 1 to %d bytes", BM_MAC_IDENT_MAX);
    if (m->birth_cert.n != 0 || m->spki.n != 0)
        return bm_refuse(e, BM_MALFORMED, "entry-format", "a device with an \"id\" has no \"key\" and no \"birth\"");
    if (kind->symmetric && bm_mac_find(bm_rd_str(m->mac)) == NULL)
        return bm_refuse(e, BM_MALFORMED, "entry-mac", "\"mac\" must be a kind of MAC that is known here");
    bm_udid_symmetric(bm_rd_str(issuer), bm_rd_str(m->rot), m->ident, udid);
    if (memcmp(m->udid, udid, sizeof udid) != 0)
        return bm_refuse(e, BM_MALFORMED, "entry-udid", "\"udid\" is not that of issuer, \"rot\" and \"id\"");
    return kind->symmetric ? key_check(m, e) : no_key_check(m, e);
}

static const char *hex_of(const uint8_t udid[32], char ret[65])
{
    bm_hex(udid, 32, ret);
    return ret;
}

static enum bm_rc take_ident(struct bm_rd text, struct bm_manifest_reader *r, struct bm_manifest_entry *m, struct bm_error *e)
{
    struct bm_error why = { 0 };
    enum bm_rc rc;

    r->ident.n = 0;
    rc = text.n <= 2 * BM_MAC_IDENT_MAX ? bm_unbase64url(text, &r->ident, &why)
                                        : bm_refuse(&why, BM_LIMIT, "", "%zu characters", text.n);
    r->ident.bad = false;
    if (rc != BM_OK)
        return rc == BM_NOMEM ? rc : bm_refuse(e, rc, "entry-id", "\"id\": %s", why.what);
    m->ident = bm_buf_rd(&r->ident);
    return BM_OK;
}

static enum bm_rc take_sealed(const json_t *j, struct bm_manifest_reader *r, struct bm_manifest_entry *m, struct bm_error *e)
{
    struct bm_rd text;

    if (!bm_json_text(j, "sealed", &text) || text.n == 0 || text.n > BM_JWE_MAX)
        return bm_refuse(e, BM_MALFORMED, "entry-secret", "\"sealed\" must be a JWE of at most %d characters", BM_JWE_MAX);
    r->sealed.n = 0;
    bm_buf_put(&r->sealed, text.p, text.n);
    m->sealed = bm_buf_rd(&r->sealed);
    return r->sealed.bad ? bm_fail(e, BM_NOMEM, "out of memory") : BM_OK;
}

enum bm_rc bm_entry_take_symmetric(const json_t *j, struct bm_manifest_reader *r, struct bm_manifest_entry *m, size_t *found,
                                   struct bm_error *e)
{
    struct bm_rd id, mac, root, udid;
    char hex[65];
    enum bm_rc rc;

    if (!bm_json_text(j, "udid", &udid) || udid.n != 64 || !bm_unhex(udid, m->udid, 32) ||
        !bm_rd_eq(udid, bm_rd_str(hex_of(m->udid, hex))))
        return bm_refuse(e, BM_MALFORMED, "entry-udid", "\"udid\" must be 64 lower-case hex digits");
    if (!bm_json_text(j, "id", &id))
        return bm_refuse(e, BM_MALFORMED, "entry-format", "\"id\" must be a text");
    if (json_object_get(j, "mac") != NULL &&
        (!bm_json_text(j, "mac", &mac) || mac.n == 0 || !bm_text_copy(mac, m->mac, sizeof m->mac)))
        return bm_refuse(e, BM_MALFORMED, "entry-mac", "\"mac\" must be a kind of MAC");
    *found += json_object_get(j, "mac") != NULL; /* id and mac, where others have key */
    rc = take_ident(id, r, m, e);
    if (rc == BM_OK && json_object_get(j, "sealed") != NULL)
        rc = take_sealed(j, r, m, e);
    *found += json_object_get(j, "sealed") != NULL;
    if (rc != BM_OK || json_object_get(j, "root") == NULL)
        return rc;
    ++*found;
    if (!bm_json_text(j, "root", &root) || !bm_text_copy(root, m->root, sizeof m->root))
        return bm_refuse(e, BM_MALFORMED, "entry-secret", "\"root\" must be a name");
    return BM_OK;
}

void bm_entry_write_symmetric(const struct bm_manifest_entry *m, struct bm_buf *out)
{
    bm_buf_str(out, "\"id\":\"");
    bm_base64url(out, m->ident);
    if (m->mac[0] == '\0') {
        bm_buf_str(out, "\"");
        return;
    }
    bm_buf_printf(out, "\",\"mac\":\"%s\",", m->mac);
    if (m->root[0] != '\0') {
        bm_buf_printf(out, "\"root\":\"%s\"", m->root);
        return;
    }
    bm_buf_str(out, "\"sealed\":\"");
    bm_buf_put(out, m->sealed.p, m->sealed.n);
    bm_buf_str(out, "\"");
}
