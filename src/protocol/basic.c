#include "protocol/basic.h"

#include "base/text.h"

#include <strings.h>

static enum bm_rc malformed(struct bm_error *e)
{
    return bm_refuse(e, BM_MALFORMED, "authorization-malformed",
                     "the Authorization field does not hold \"Basic\" and base64 of user, colon and password");
}

/* RFC 9110 section 11.4: scheme, at least one blank, one token68; nothing behind it. */
static enum bm_rc split(struct bm_rd value, struct bm_rd *ret_token, struct bm_error *e)
{
    static const char scheme[] = "Basic";
    enum { SCHEME_LEN = sizeof scheme - 1 };

    if (value.n < SCHEME_LEN || strncasecmp((const char *)value.p, scheme, SCHEME_LEN) != 0 ||
        (value.n > SCHEME_LEN && value.p[SCHEME_LEN] != ' '))
        return bm_refuse(e, BM_DENIED, "authorization-scheme", "the only HTTP authentication here is Basic, with a one-time code");
    value = bm_rd_of(value.p + SCHEME_LEN, value.n - SCHEME_LEN);
    while (value.n != 0 && value.p[0] == ' ')
        value = bm_rd_of(value.p + 1, value.n - 1);
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] <= ' ')
            return malformed(e);
    *ret_token = value;
    return BM_OK;
}

enum bm_rc bm_basic_parse(struct bm_rd value, struct bm_buf *arena, struct bm_rd *ret_user, struct bm_rd *ret_password,
                          struct bm_error *e)
{
    struct bm_rd token, text;
    const uint8_t *colon;
    size_t n;
    enum bm_rc rc = split(value, &token, e);

    if (rc != BM_OK)
        return rc;
    if (bm_unbase64(token, arena, NULL) != BM_OK)
        return malformed(e);
    text = bm_buf_rd(arena);
    colon = text.n != 0 ? memchr(text.p, ':', text.n) : NULL;
    if (colon == NULL)
        return malformed(e);
    n = (size_t)(colon - text.p);
    *ret_user = bm_rd_of(text.p, n);
    *ret_password = bm_rd_of(colon + 1, text.n - n - 1);
    return BM_OK;
}
