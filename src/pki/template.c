/* Templates of subjects and alternative names: text with words in braces. "{serial|udid}" takes the first that is there,
 * "{service|=Device}" falls back to the text after '='. */
#include "base/text.h"
#include "pki/impl.h"

#include <jansson.h>
#include <stddef.h>

enum { WORD_MAX = 64 };
static const char attr_prefix[] = "attr:";

static const struct {
    const char *name;
    size_t offset;
} word_table[] = {
    { "udid", offsetof(struct bm_subject_words, udid) },       { "serial", offsetof(struct bm_subject_words, serial) },
    { "product", offsetof(struct bm_subject_words, product) }, { "batch", offsetof(struct bm_subject_words, batch) },
    { "org", offsetof(struct bm_subject_words, org) },         { "service", offsetof(struct bm_subject_words, service) },
    { "host", offsetof(struct bm_subject_words, host) },
};

static bool starts(struct bm_rd r, const char *prefix)
{
    size_t n = strlen(prefix);

    return r.n >= n && memcmp(r.p, prefix, n) == 0;
}

static bool word_known(struct bm_rd word)
{
    if (word.n == 0 || word.n > WORD_MAX)
        return false;
    if (word.p[0] == '=')
        return word.n > 1;
    if (starts(word, attr_prefix))
        return word.n > strlen(attr_prefix);
    for (size_t i = 0; i < BM_COUNT(word_table); i++)
        if (bm_rd_eq(word, bm_rd_str(word_table[i].name)))
            return true;
    return false;
}

/* The part of *r before the first c, or all of it; *r moves past the c. */
static struct bm_rd cut(struct bm_rd *r, char c, bool *ret_found)
{
    const uint8_t *at = r->n != 0 ? memchr(r->p, c, r->n) : NULL;
    struct bm_rd head = bm_rd_of(r->p, at != NULL ? (size_t)(at - r->p) : r->n);
    size_t skip = head.n + (at != NULL);

    *ret_found = at != NULL;
    *r = bm_rd_of(r->p + skip, r->n - skip);
    return head;
}

static enum bm_rc braces_check(struct bm_rd word, struct bm_error *e)
{
    char safe[80];
    bool more = true;

    while (more) {
        struct bm_rd one = cut(&word, '|', &more);

        if (!word_known(one))
            return bm_refuse(e, BM_USAGE, "profile-template", "template: there is no word '{%s}'",
                             bm_text_escape(one, safe, sizeof safe));
    }
    return BM_OK;
}

enum bm_rc bm_template_check(const char *text, struct bm_error *e)
{
    struct bm_rd r = bm_rd_str(text);

    while (r.n != 0) {
        bool open, close;
        struct bm_rd literal = cut(&r, '{', &open), word;
        enum bm_rc rc;

        if (memchr(literal.p, '}', literal.n) != NULL)
            return bm_refuse(e, BM_USAGE, "profile-template", "template: '}' without '{'");
        if (!open)
            return BM_OK;
        word = cut(&r, '}', &close);
        if (!close || memchr(word.p, '{', word.n) != NULL)
            return bm_refuse(e, BM_USAGE, "profile-template", "template: '{' without '}'");
        rc = braces_check(word, e);
        if (rc != BM_OK)
            return rc;
    }
    return BM_OK;
}

bool bm_template_has(const char *text, const char *word)
{
    const char *at = strchr(text, '{');

    for (; at != NULL; at = strchr(at + 1, '{')) {
        struct bm_rd inner = bm_rd_of(at + 1, strcspn(at + 1, "}"));

        for (bool more = true; more;)
            if (bm_rd_eq(cut(&inner, '|', &more), bm_rd_str(word)))
                return true;
    }
    return false;
}

/* --- filling ---------------------------------------------------------------------------------------------------------------- */
static void put_percent(struct bm_wr *out, struct bm_rd v)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];

        if (c != 0 && strchr(plain, c) != NULL)
            bm_wr_put(out, &v.p[i], 1);
        else
            bm_wr_put(out, (char[]){ '%', hex[c >> 4], hex[c & 15] }, 3);
    }
}

static void put_styled(struct bm_wr *out, struct bm_rd v, enum bm_template_style style)
{
    if (style == BM_TEMPLATE_URI)
        put_percent(out, v);
    else
        bm_wr_put(out, v.p, v.n);
}

/* {host} may list several with commas; a template sees the first. */
static struct bm_rd host_first(const char *host)
{
    return bm_rd_of(host, strcspn(host, ", "));
}

static bool put_attribute(struct bm_wr *out, struct bm_rd name, struct bm_rd json, enum bm_template_style style)
{
    json_t *all = json.n != 0 ? json_loadb((const char *)json.p, json.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    json_t *v = all != NULL ? json_object_getn(all, (const char *)name.p, name.n) : NULL;
    char number[32];
    bool found = true;

    if (json_is_string(v) && json_string_length(v) != 0)
        put_styled(out, bm_rd_of(json_string_value(v), json_string_length(v)), style);
    else if (json_is_integer(v))
        put_styled(out, bm_rd_of(number, (size_t)snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(v))),
                   style);
    else
        found = false;
    json_decref(all);
    return found;
}

static bool put_word(struct bm_wr *out, struct bm_rd word, const struct bm_subject_words *words, enum bm_template_style style)
{
    if (word.p[0] == '=') {
        put_styled(out, bm_rd_of(word.p + 1, word.n - 1), style);
        return true;
    }
    if (starts(word, attr_prefix))
        return put_attribute(out, bm_rd_of(word.p + strlen(attr_prefix), word.n - strlen(attr_prefix)), words->attributes, style);
    for (size_t i = 0; i < BM_COUNT(word_table); i++) {
        const char *v;

        if (!bm_rd_eq(word, bm_rd_str(word_table[i].name)))
            continue;
        memcpy(&v, (const char *)words + word_table[i].offset, sizeof v);
        if (v == NULL || v[0] == '\0')
            return false;
        put_styled(out, strcmp(word_table[i].name, "host") == 0 ? host_first(v) : bm_rd_str(v), style);
        return true;
    }
    return false;
}

static enum bm_rc put_braces(struct bm_wr *out, struct bm_rd inner, const struct bm_subject_words *words,
                             enum bm_template_style style, struct bm_error *e)
{
    struct bm_rd rest = inner;
    char safe[80];
    bool more = true;

    while (more) {
        struct bm_rd one = cut(&rest, '|', &more);

        if (one.n != 0 && put_word(out, one, words, style))
            return BM_OK;
    }
    return bm_refuse(e, BM_DENIED, "profile-template", "the certificate profile needs '{%s}' and nothing is known for it",
                     bm_text_escape(inner, safe, sizeof safe));
}

enum bm_rc bm_template_fill(const char *text, const struct bm_subject_words *words, enum bm_template_style style, struct bm_wr *out,
                            struct bm_error *e)
{
    struct bm_rd r = bm_rd_str(text);
    size_t start = out->n;

    if (words == NULL) {
        bm_wr_put(out, r.p, r.n);
        r.n = 0;
    }
    while (r.n != 0) {
        bool open, close;
        struct bm_rd literal = cut(&r, '{', &open);
        enum bm_rc rc = BM_OK;

        bm_wr_put(out, literal.p, literal.n);
        if (open)
            rc = put_braces(out, cut(&r, '}', &close), words, style, e);
        if (rc != BM_OK)
            return rc;
    }
    if (out->bad || out->n == start)
        return bm_refuse(e, BM_DENIED, "profile-template", "'%s' comes out %s", text, out->bad ? "too long" : "empty");
    return BM_OK;
}
