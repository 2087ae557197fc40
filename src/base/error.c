#include "base/error.h"

#include <stdio.h>
#include <string.h>

#undef bm_fail
#undef bm_refuse
#undef bm_wrap

static const char *const names[] = {
    [BM_OK] = "ok",
    [BM_AGAIN] = "try-again",
    [BM_MALFORMED] = "malformed",
    [BM_LIMIT] = "limit",
    [BM_DENIED] = "denied",
    [BM_NOTFOUND] = "not-found",
    [BM_CONFLICT] = "conflict",
    [BM_USAGE] = "usage",
    [BM_NOMEM] = "no-memory",
    [BM_IO] = "io",
    [BM_BUG] = "internal",
};

__attribute__((format(printf, 4, 0))) static void fill(struct bm_error *e, enum bm_rc rc, const char *code, const char *fmt,
                                                       va_list ap)
{
    if (e == NULL)
        return;
    e->rc = rc;
    snprintf(e->code, sizeof e->code, "%s", code);
    vsnprintf(e->what, sizeof e->what, fmt, ap);
}

enum bm_rc bm_fail(struct bm_error *e, enum bm_rc rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fill(e, rc, "", fmt, ap);
    va_end(ap);
    return rc;
}

enum bm_rc bm_refuse(struct bm_error *e, enum bm_rc rc, const char *code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fill(e, rc, code, fmt, ap);
    va_end(ap);
    return rc;
}

enum bm_rc bm_wrap(struct bm_error *e, enum bm_rc rc, const char *fmt, ...)
{
    char front[sizeof e->what], whole[2 * sizeof e->what + 3] = { 0 };
    va_list ap;

    if (e == NULL)
        return rc;
    va_start(ap, fmt);
    vsnprintf(front, sizeof front, fmt, ap);
    va_end(ap);
    snprintf(whole, sizeof whole, "%s: %s", front, e->what);
    memcpy(e->what, whole, sizeof e->what - 1);
    e->what[sizeof e->what - 1] = '\0';
    e->rc = rc;
    return rc;
}

const char *bm_rc_name(enum bm_rc rc)
{
    return (size_t)rc < BM_COUNT(names) ? names[rc] : "internal";
}

const char *bm_error_code(const struct bm_error *e)
{
    return e->code[0] != '\0' ? e->code : bm_rc_name(e->rc);
}
