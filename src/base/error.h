/* Outcomes. Callers branch on the few kinds in bm_rc; people read the text; machines outside read the code. */
#ifndef BM_BASE_ERROR_H
#define BM_BASE_ERROR_H

#include <stdarg.h>
#include <stddef.h>

#define BM_MUST_USE __attribute__((warn_unused_result))
#define BM_PRINTF(n) __attribute__((format(printf, n, (n) + 1)))
#define BM_CLEANUP(fn) __attribute__((cleanup(fn)))
/* Hands over an owned pointer and clears the old owner, so that its cleanup does nothing. */
#define BM_MOVE(p)                                                                                                                 \
    __extension__({                                                                                                                \
        __typeof__(p) moved_ = (p);                                                                                                \
        (p) = NULL;                                                                                                                \
        moved_;                                                                                                                    \
    })
#define BM_COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum bm_rc {
    BM_OK,
    BM_AGAIN,     /* not now; the same call may succeed later */
    BM_MALFORMED, /* the bytes do not follow their format */
    BM_LIMIT,     /* over one of the limits of base/limits.h or of a quota */
    BM_DENIED,    /* understood, and refused by policy, state or proof */
    BM_NOTFOUND,
    BM_CONFLICT, /* already there with other content, or an illegal move */
    BM_USAGE,    /* the operator's words are off */
    BM_NOMEM,
    BM_IO,  /* disk, socket or database */
    BM_BUG, /* ours; never a peer's doing */
};

/* Fixed size: failing never allocates.
 * code   stable machine-readable word of the refusal ("unknown-device"); "" when the kind says it all. docs/refusals.md
 * what   one sentence for people; text from peers enters it only through bm_text_escape(). */
struct bm_error {
    enum bm_rc rc;
    char code[32];
    char what[224];
};

/* Fill *e (which may be NULL) and return rc, so that `return bm_fail(...)` reads as one line. */
BM_PRINTF(3) enum bm_rc bm_fail(struct bm_error *e, enum bm_rc rc, const char *fmt, ...);
/* The same with a stable code. */
BM_PRINTF(4) enum bm_rc bm_refuse(struct bm_error *e, enum bm_rc rc, const char *code, const char *fmt, ...);
/* Puts "<text>: " in front of what is already in *e; keeps its code. */
BM_PRINTF(3) enum bm_rc bm_wrap(struct bm_error *e, enum bm_rc rc, const char *fmt, ...);

#ifdef __clang_analyzer__
/* The analyser sees one file at a time; this tells it that these three return the rc they are given. */
static inline enum bm_rc bm_given(enum bm_rc rc)
{
    return rc;
}
#define bm_fail(e, rc, ...) (bm_fail((e), (rc), __VA_ARGS__), bm_given(rc))
#define bm_refuse(e, rc, ...) (bm_refuse((e), (rc), __VA_ARGS__), bm_given(rc))
#define bm_wrap(e, rc, ...) (bm_wrap((e), (rc), __VA_ARGS__), bm_given(rc))
#endif

/* The word for a kind: "malformed", "denied" ... ; the default code of an error without one. */
const char *bm_rc_name(enum bm_rc rc);
/* e->code, or the kind's word when the code is empty. */
const char *bm_error_code(const struct bm_error *e);

#endif
