#include "pki/pkcs11_uri.h"

#include "base/text.h"

#include <stdlib.h>

/* Text attributes, RFC 7512 section 2.3; `room` is what PKCS#11 gives each, and a terminator. */
#define MEMBER(m) offsetof(struct bm_pkcs11_uri, m), sizeof(((struct bm_pkcs11_uri *)0)->m)
static const struct attribute {
    const char *name;
    size_t at, room;
} attributes[] = {
    { "token", MEMBER(token) },   { "manufacturer", MEMBER(manufacturer) },
    { "model", MEMBER(model) },   { "serial", MEMBER(serial) },
    { "object", MEMBER(object) },
};
enum { ID = BM_COUNT(attributes), TYPE };

static enum bm_rc refuse(struct bm_error *e, const char *why)
{
    return bm_fail(e, BM_USAGE, "PKCS#11 URI: %s; write pkcs11:token=LABEL;object=LABEL", why);
}

/* pk11-pchar of RFC 7512 section 2.3, but for the percent sign. */
static bool plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~:[]@!$'()*+,=&", c) != NULL);
}

/* The value with its percent signs undone; at most `room` bytes. */
static bool decode(struct bm_rd in, uint8_t *ret, size_t room, size_t *ret_n)
{
    size_t n = 0;

    while (in.n != 0) {
        uint8_t c = in.p[0];
        size_t used = c == '%' ? 3 : 1;

        if (n == room || in.n < used || (used == 1 && !plain(c)) || (used == 3 && !bm_unhex(bm_rd_of(in.p + 1, 2), &c, 1)))
            return false;
        ret[n++] = c;
        in = bm_rd_of(in.p + used, in.n - used);
    }
    *ret_n = n;
    return n != 0;
}

static struct bm_rd cut(struct bm_rd *in, char stop)
{
    const uint8_t *at = in->n != 0 ? memchr(in->p, stop, in->n) : NULL;
    size_t n = at != NULL ? (size_t)(at - in->p) : in->n;
    struct bm_rd front = bm_rd_of(in->p, n);

    n += at != NULL;
    *in = n != 0 ? bm_rd_of(in->p + n, in->n - n) : *in;
    return front;
}

static size_t attribute_of(struct bm_rd name)
{
    for (size_t i = 0; i < BM_COUNT(attributes); i++)
        if (bm_rd_eq(name, bm_rd_str(attributes[i].name)))
            return i;
    return bm_rd_eq(name, bm_rd_str("id")) ? ID : bm_rd_eq(name, bm_rd_str("type")) ? TYPE : SIZE_MAX;
}

static enum bm_rc take_text(struct bm_pkcs11_uri *u, const struct attribute *a, struct bm_rd value, struct bm_error *e)
{
    uint8_t *to = (uint8_t *)u + a->at;
    size_t n;

    if (!decode(value, to, a->room - 1, &n) || memchr(to, '\0', n) != NULL)
        return refuse(e, "a value is empty, too long, or holds a character that has to be written as %XX");
    to[n] = '\0';
    return BM_OK;
}

static enum bm_rc take_one(struct bm_pkcs11_uri *u, struct bm_rd pair, unsigned *seen, struct bm_error *e)
{
    struct bm_rd value = pair, name = cut(&value, '=');
    size_t which = attribute_of(name);

    if (name.n == pair.n || which == SIZE_MAX)
        return refuse(e, "attributes are token, serial, manufacturer, model, object, id and type=private");
    if ((*seen & 1U << which) != 0)
        return refuse(e, "an attribute comes twice");
    *seen |= 1U << which;
    if (which == TYPE)
        return bm_rd_eq(value, bm_rd_str("private")) ? BM_OK : refuse(e, "a CA's key has type=private");
    if (which == ID)
        return decode(value, u->id, sizeof u->id, &u->id_len) ? BM_OK : refuse(e, "id is percent-encoded, 1 to 64 bytes");
    return take_text(u, &attributes[which], value, e);
}

enum bm_rc bm_pkcs11_uri_parse(struct bm_rd path, struct bm_pkcs11_uri *ret, struct bm_error *e)
{
    struct bm_pkcs11_uri u = { 0 };
    unsigned seen = 0;
    bool more = true;
    enum bm_rc rc = BM_OK;

    if (path.n != 0 && memchr(path.p, '?', path.n) != NULL)
        return refuse(e, "what follows '?' is not taken, a PIN least of all: that goes into the file of pkcs11_pin_file");
    while (rc == BM_OK && more) {
        size_t whole = path.n;
        struct bm_rd pair = cut(&path, ';');

        more = pair.n != whole;
        rc = take_one(&u, pair, &seen, e);
    }
    if (rc != BM_OK)
        return rc;
    if (u.token[0] == '\0' && u.serial[0] == '\0')
        return refuse(e, "it does not say which token");
    if (u.object[0] == '\0' && u.id_len == 0)
        return refuse(e, "it does not say which key");
    *ret = u;
    return BM_OK;
}
