/* The value of an argument or an option: text to a member of the request. */
#include "cli/cli.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum bm_rc bm_cli_read(const char *path, struct bm_buf *ret, struct bm_error *e)
{
    uint8_t part[4096];
    ssize_t n;

    if (strcmp(path, "-") != 0)
        return bm_file_read(path, ret, e);
    while ((n = read(STDIN_FILENO, part, sizeof part)) > 0)
        bm_buf_put(ret, part, (size_t)n);
    if (n < 0)
        return bm_fail(e, BM_IO, "standard input: %s", strerror(errno));
    return bm_buf_check(ret, e) == BM_OK ? BM_OK : bm_wrap(e, BM_LIMIT, "standard input");
}

/* A member that may lie in an object, made as needed. */
static enum bm_rc put(json_t *in, const char *member, json_t *value, struct bm_error *e)
{
    const char *dot = strchr(member, '.');
    char outer[64];
    json_t *object;

    if (dot == NULL)
        return json_object_set_new(in, member, value) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "out of memory");
    snprintf(outer, sizeof outer, "%.*s", (int)(dot - member), member);
    object = json_object_get(in, outer);
    if (object == NULL && json_object_set_new(in, outer, json_object()) == 0)
        object = json_object_get(in, outer);
    return put(object, dot + 1, value, e);
}

static json_t *get(json_t *in, const char *member)
{
    const char *dot = strchr(member, '.');
    char outer[64];

    if (dot == NULL)
        return json_object_get(in, member);
    snprintf(outer, sizeof outer, "%.*s", (int)(dot - member), member);
    return get(json_object_get(in, outer), dot + 1);
}

static void member_of(const struct bm_word *w, char *ret, size_t ret_len)
{
    snprintf(ret, ret_len, "%s", w->member != NULL ? w->member : w->name);
    for (char *p = ret; w->member == NULL && *p != '\0'; p++)
        *p = *p == '-' ? '_' : *p;
}

static enum bm_rc value_text(struct bm_cli *c, const char *text, const char *member, struct bm_error *e)
{
    json_t *v = json_string(text); /* NULL when it is not UTF-8 */

    return v != NULL ? put(c->words, member, v, e) : bm_fail(e, BM_USAGE, "is not UTF-8 text");
}

static enum bm_rc value_int(struct bm_cli *c, const char *text, const char *member, struct bm_error *e)
{
    char *end;
    intmax_t n;

    errno = 0;
    n = strtoimax(text, &end, 10);
    if (errno != 0 || *end != '\0' || text[0] < '0' || text[0] > '9')
        return bm_fail(e, BM_USAGE, "takes a whole number, 0 or more");
    return put(c->words, member, json_integer(n), e);
}

static enum bm_rc value_flag(struct bm_cli *c, const char *text, const char *member, struct bm_error *e)
{
    (void)text;
    return put(c->words, member, json_true(), e);
}

static enum bm_rc value_yesno(struct bm_cli *c, const char *text, const char *member, struct bm_error *e)
{
    if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0)
        return bm_fail(e, BM_USAGE, "takes yes or no");
    return put(c->words, member, json_boolean(*text == 'y'), e);
}

static enum bm_rc value_many(struct bm_cli *c, const char *text, const char *member, struct bm_error *e)
{
    json_t *list = get(c->words, member), *v = json_string(text);

    if (v == NULL)
        return bm_fail(e, BM_USAGE, "is not UTF-8 text");
    if (list != NULL)
        return json_array_append_new(list, v) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "out of memory");
    return put(c->words, member, json_pack("[o]", v), e);
}

/* "" is the empty list: how a list that was set is cleared again. */
static enum bm_rc value_list(struct bm_cli *c, const char *text, const char *member, struct bm_error *e)
{
    enum bm_rc rc = *text == '\0' ? put(c->words, member, json_array(), e) : BM_OK;

    while (*text != '\0' && rc == BM_OK) {
        size_t n = strcspn(text, ",");
        char item[BM_TEXT_MAX];

        if (n == 0 || n >= sizeof item)
            return bm_fail(e, BM_USAGE, "has an item of %zu characters", n);
        snprintf(item, sizeof item, "%.*s", (int)n, text);
        rc = value_many(c, item, member, e);
        text += n + (text[n] == ',');
    }
    return rc;
}

static enum bm_rc value_json(struct bm_cli *c, const char *text, const char *member, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = BM_HTTP_BODY_MAX };
    json_error_t why;
    enum bm_rc rc = BM_OK;
    json_t *v;

    if (*text == '{' || *text == '[')
        bm_buf_str(&raw, text);
    else
        rc = bm_cli_read(text, &raw, e);
    if (rc == BM_OK)
        rc = bm_buf_check(&raw, e);
    if (rc != BM_OK)
        return rc;
    v = json_loadb((const char *)raw.p, raw.n, JSON_REJECT_DUPLICATES, &why);
    if (v == NULL)
        return bm_fail(e, BM_USAGE, "is not JSON: line %d: %s", why.line, why.text);
    return put(c->words, member, v, e);
}

static enum bm_rc value_file(struct bm_cli *c, const char *text, const char *member, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = BM_HTTP_BODY_MAX };
    enum bm_rc rc = bm_cli_read(text, &raw, e);

    if (rc == BM_OK)
        rc = bm_buf_check(&raw, e);
    if (rc != BM_OK)
        return rc;
    return put(c->words, member, json_stringn((const char *)raw.p, raw.n), e);
}

static enum bm_rc value_blob(struct bm_cli *c, const char *text, const char *member, struct bm_error *e)
{
    (void)member;
    bm_buf_done(&c->blob);
    return bm_cli_read(text, &c->blob, e);
}

static enum bm_rc (*const value_of[])(struct bm_cli *c, const char *text, const char *member, struct bm_error *e) = {
    [BM_WORD_TEXT] = value_text,   [BM_WORD_INT] = value_int,   [BM_WORD_FLAG] = value_flag,
    [BM_WORD_YESNO] = value_yesno, [BM_WORD_LIST] = value_list, [BM_WORD_MANY] = value_many,
    [BM_WORD_JSON] = value_json,   [BM_WORD_BLOB] = value_blob, [BM_WORD_FILE] = value_file,
};

enum bm_rc bm_cli_take_value(struct bm_cli *c, const struct bm_word *w, const char *text, const char *dashes, struct bm_error *e)
{
    char member[64];
    enum bm_rc rc;

    member_of(w, member, sizeof member);
    rc = value_of[w->kind](c, text, member, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, rc, "%s%s", dashes, w->name);
}

bool bm_cli_was_given(const struct bm_cli *c, const struct bm_word *w)
{
    char member[64];

    member_of(w, member, sizeof member);
    return w->kind == BM_WORD_BLOB ? c->blob.n != 0 : get(c->words, member) != NULL;
}
