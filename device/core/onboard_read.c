/* Answers are maps with text keys. Each map is a table of members: name, reader, where it goes; one walker reads them all. */
#include "cbor.h"
#include "onboard.h"

struct member {
    const char *name;
    enum bmd_rc (*read)(struct bmd_rd *r, void *to);
    size_t at; /* offset of its place in the struct */
    bool needed;
};

static enum bmd_rc read_bytes(struct bmd_rd *r, void *to)
{
    struct bmd_cbor_item i;

    if (bmd_cbor_take(r, BMD_CBOR_BYTES, &i) != BMD_OK)
        return BMD_MALFORMED;
    *(struct bmd_rd *)to = i.bytes;
    return BMD_OK;
}

static enum bmd_rc read_text(struct bmd_rd *r, void *to)
{
    struct bmd_cbor_item i;

    if (bmd_cbor_take(r, BMD_CBOR_TEXT, &i) != BMD_OK)
        return BMD_MALFORMED;
    *(struct bmd_rd *)to = i.bytes;
    return BMD_OK;
}

static enum bmd_rc read_uint(struct bmd_rd *r, void *to)
{
    struct bmd_cbor_item i;

    if (bmd_cbor_take(r, BMD_CBOR_UINT, &i) != BMD_OK)
        return BMD_MALFORMED;
    *(uint64_t *)to = i.value;
    return BMD_OK;
}

static enum bmd_rc read_udid(struct bmd_rd *r, void *to)
{
    struct bmd_rd v;

    if (read_bytes(r, &v) != BMD_OK || v.n != BMD_UDID_LEN)
        return BMD_MALFORMED;
    memcpy(to, v.p, BMD_UDID_LEN);
    return BMD_OK;
}

static const struct member *find(const struct member *m, size_t n, struct bmd_rd name)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (bmd_rd_is(name, m[i].name))
            return &m[i];
    return NULL;
}

static bool all_there(const struct member *m, size_t n, uint32_t seen)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (m[i].needed && (seen & 1u << i) == 0)
            return false;
    return true;
}

/* One map into *to. A known member twice is refused (RFC 8949 5.6), an unknown one skipped. */
static enum bmd_rc read_map(struct bmd_rd *r, const struct member *m, size_t n, void *to)
{
    struct bmd_cbor_item map, key;
    uint32_t seen = 0;

    if (bmd_cbor_take(r, BMD_CBOR_MAP, &map) != BMD_OK || map.value > r->n)
        return BMD_MALFORMED;
    while (map.value-- != 0) {
        const struct member *found;
        enum bmd_rc rc;

        if (bmd_cbor_take(r, BMD_CBOR_TEXT, &key) != BMD_OK)
            return BMD_MALFORMED;
        found = find(m, n, key.bytes);
        if (found != NULL && (seen & 1u << (found - m)) != 0)
            return BMD_MALFORMED;
        seen |= found != NULL ? 1u << (found - m) : 0;
        rc = found != NULL ? found->read(r, (char *)to + found->at) : bmd_cbor_skip(r);
        if (rc != BMD_OK)
            return rc;
    }
    return all_there(m, n, seen) ? BMD_OK : BMD_MALFORMED;
}

static enum bmd_rc read_whole(struct bmd_rd in, const struct member *m, size_t n, void *to)
{
    enum bmd_rc rc = read_map(&in, m, n, to);

    return rc == BMD_OK && in.n != 0 ? BMD_MALFORMED : rc;
}

#define MEMBERS(t) (sizeof(t) / sizeof((t)[0]))

/* Strings of an array into `slots`; extra ones are refused, or with `drop` skipped. */
static enum bmd_rc read_list(struct bmd_rd *r, enum bmd_cbor_type type, bool drop, struct bmd_rd *slots, size_t room, size_t *ret_n)
{
    struct bmd_cbor_item array, i;
    size_t n = 0;

    if (bmd_cbor_take(r, BMD_CBOR_ARRAY, &array) != BMD_OK || array.value > r->n)
        return BMD_MALFORMED;
    while (array.value-- != 0) {
        if (bmd_cbor_take(r, type, &i) != BMD_OK)
            return BMD_MALFORMED;
        if (n == room && !drop)
            return BMD_NO_SPACE;
        if (n < room)
            slots[n++] = i.bytes;
    }
    *ret_n = n;
    return BMD_OK;
}

/* The list readers get the whole struct (at = 0), because they fill two members. */
static enum bmd_rc read_chain(struct bmd_rd *r, void *to)
{
    struct bmd_credential *c = (struct bmd_credential *)to;

    return read_list(r, BMD_CBOR_BYTES, false, c->chain, BMD_CHAIN_MAX, &c->n_chain);
}

static enum bmd_rc read_endpoints(struct bmd_rd *r, void *to)
{
    struct bmd_credential *c = (struct bmd_credential *)to;

    return read_list(r, BMD_CBOR_TEXT, true, c->endpoints, BMD_ENDPOINTS_MAX, &c->n_endpoints);
}

static enum bmd_rc read_anchors(struct bmd_rd *r, void *to)
{
    struct bmd_enrolled *e = (struct bmd_enrolled *)to;

    return read_list(r, BMD_CBOR_BYTES, false, e->anchors, BMD_ANCHORS_MAX, &e->n_anchors);
}

static const struct member credential_members[] = {
    { "service", read_text, offsetof(struct bmd_credential, service), true },
    { "certificate", read_bytes, offsetof(struct bmd_credential, certificate), true },
    { "chain", read_chain, 0, true },
    { "not_after", read_uint, offsetof(struct bmd_credential, not_after), true },
    { "renew_after", read_uint, offsetof(struct bmd_credential, renew_after), true },
    { "endpoints", read_endpoints, 0, false },
};

static enum bmd_rc read_credentials(struct bmd_rd *r, void *to)
{
    struct bmd_enrolled *e = (struct bmd_enrolled *)to;
    struct bmd_cbor_item array;

    if (bmd_cbor_take(r, BMD_CBOR_ARRAY, &array) != BMD_OK || array.value == 0)
        return BMD_MALFORMED;
    if (array.value > BMD_SERVICES_MAX)
        return BMD_NO_SPACE;
    for (; e->n_credentials < array.value; e->n_credentials++) {
        struct bmd_credential *c = &e->credentials[e->n_credentials];
        enum bmd_rc rc = read_map(r, credential_members, MEMBERS(credential_members), c);

        if (rc != BMD_OK)
            return rc;
        if (c->certificate.n == 0 || c->certificate.n > BMD_CERT_MAX)
            return BMD_MALFORMED;
    }
    return BMD_OK;
}

static const struct member challenge_members[] = {
    { "challenge", read_bytes, offsetof(struct bmd_challenge, challenge), true },
    { "expires_in", read_uint, offsetof(struct bmd_challenge, expires_in), true },
};

enum bmd_rc bmd_challenge_read(struct bmd_rd in, struct bmd_challenge *ret)
{
    struct bmd_challenge c;
    enum bmd_rc rc;

    memset(&c, 0, sizeof c);
    rc = read_whole(in, challenge_members, MEMBERS(challenge_members), &c);
    if (rc != BMD_OK)
        return rc;
    if (c.challenge.n != BMD_CHALLENGE_LEN)
        return BMD_MALFORMED;
    *ret = c;
    return BMD_OK;
}

static const struct member enrolled_members[] = {
    { "udid", read_udid, offsetof(struct bmd_enrolled, udid), true },
    { "credentials", read_credentials, 0, true },
    { "anchors", read_anchors, 0, true },
    { "correlation", read_text, offsetof(struct bmd_enrolled, correlation), true },
};

enum bmd_rc bmd_enrolled_read(struct bmd_rd in, struct bmd_enrolled *ret)
{
    memset(ret, 0, sizeof *ret); /* too large for a copy on a small stack */
    return read_whole(in, enrolled_members, MEMBERS(enrolled_members), ret);
}

static const struct member status_credential_members[] = {
    { "service", read_text, offsetof(struct bmd_status_credential, service), true },
    { "serial", read_bytes, offsetof(struct bmd_status_credential, serial), true },
    { "status", read_text, offsetof(struct bmd_status_credential, status), true },
    { "not_after", read_uint, offsetof(struct bmd_status_credential, not_after), true },
    { "renew_after", read_uint, offsetof(struct bmd_status_credential, renew_after), true },
};

static enum bmd_rc read_status_credentials(struct bmd_rd *r, void *to)
{
    struct bmd_status *s = (struct bmd_status *)to;
    struct bmd_cbor_item array;

    if (bmd_cbor_take(r, BMD_CBOR_ARRAY, &array) != BMD_OK || array.value > r->n)
        return BMD_MALFORMED;
    while (array.value-- != 0) {
        enum bmd_rc rc;

        if (s->n_credentials == BMD_SERVICES_MAX)
            rc = bmd_cbor_skip(r);
        else
            rc = read_map(r, status_credential_members, MEMBERS(status_credential_members), &s->credentials[s->n_credentials++]);
        if (rc != BMD_OK)
            return rc;
    }
    return BMD_OK;
}

static const struct member status_members[] = {
    { "udid", read_udid, offsetof(struct bmd_status, udid), true },
    { "status", read_text, offsetof(struct bmd_status, status), true },
    { "state", read_text, offsetof(struct bmd_status, state), true },
    { "product", read_text, offsetof(struct bmd_status, product), false },
    { "batch", read_text, offsetof(struct bmd_status, batch), false },
    { "owner", read_text, offsetof(struct bmd_status, owner), false },
    { "credentials", read_status_credentials, 0, false },
    { "correlation", read_text, offsetof(struct bmd_status, correlation), true },
};

enum bmd_rc bmd_status_read(struct bmd_rd in, struct bmd_status *ret)
{
    memset(ret, 0, sizeof *ret);
    return read_whole(in, status_members, MEMBERS(status_members), ret);
}

static const struct member problem_members[] = {
    { "code", read_text, offsetof(struct bmd_problem, code), true },
    { "title", read_text, offsetof(struct bmd_problem, title), false },
    { "correlation", read_text, offsetof(struct bmd_problem, correlation), false },
    { "retry_after", read_uint, offsetof(struct bmd_problem, retry_after), false },
};

enum bmd_rc bmd_problem_read(struct bmd_rd in, struct bmd_problem *ret)
{
    memset(ret, 0, sizeof *ret);
    return read_whole(in, problem_members, MEMBERS(problem_members), ret);
}
