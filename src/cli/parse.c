/* argv to a request, by the rows of the table. */
#include "cli/cli.h"

#include "base/text.h"

#include <ctype.h>
#include <string.h>

#define NEAREST_LEN 32

/* --- the word that was meant ------------------------------------------------------------------------------------------------- */
static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits that lead from a to b, a swap of neighbours being one (optimal string alignment), for words up to NEAREST_LEN. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][NEAREST_LEN + 1], *now = rows[0], n = strlen(b);

    if (strlen(a) > NEAREST_LEN || n > NEAREST_LEN)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        now[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        const size_t *above = rows[(i - 1) % 3], *before = rows[(i + 1) % 3];

        now = rows[i % 3];
        now[0] = i;
        for (size_t j = 1; j <= n; j++) {
            now[j] = least(above[j - 1] + (a[i - 1] != b[j - 1]), least(above[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
    }
    return now[n];
}

const char *bm_cli_nearest(const char *typed, const char *const *words, size_t n)
{
    size_t best = strlen(typed) < 5 ? 2 : 3; /* fewer edits than this */
    const char *ret = NULL;

    for (size_t i = 0; i < n; i++) {
        size_t d = distance(typed, words[i]);
        bool starts = strlen(typed) >= 2 && strncmp(words[i], typed, strlen(typed)) == 0;

        if (d < best || (starts && ret == NULL)) {
            best = d < best ? d : best;
            ret = words[i];
        }
    }
    return ret;
}

/* "'deivce' is no command; did you mean 'device'? <else_do>" */
static enum bm_rc unknown(const char *typed, const char *what, const char *const *words, size_t n, const char *help,
                          struct bm_error *e)
{
    const char *near = bm_cli_nearest(typed, words, n);
    char safe[48];

    bm_text_escape(bm_rd_str(typed), safe, sizeof safe);
    if (near != NULL)
        return bm_fail(e, BM_USAGE, "'%s' is no %s; did you mean '%s'?", safe, what, near);
    return bm_fail(e, BM_USAGE, "'%s' is no %s; '%s' shows them", safe, what, help);
}

/* --- the words of argv, one after the other ---------------------------------------------------------------------------------- */
struct words {
    int argc, at;
    char **argv;
    bool only_args; /* after "--" */
};

static const char *const common_options[] = { "data", "secret-file", "json", "quiet", "help" };

/* The value of an option: after "=", or the next word. */
static enum bm_rc option_value(struct words *w, const char *name, const char *eq, const char **ret, struct bm_error *e)
{
    if (eq == NULL && w->at >= w->argc)
        return bm_fail(e, BM_USAGE, "--%s needs a value after it", name);
    *ret = eq != NULL ? eq + 1 : w->argv[w->at++];
    return BM_OK;
}

/* BM_NOTFOUND: not one of those that every verb takes. */
static enum bm_rc common_option(struct bm_cli *c, struct words *w, const char *name, const char *eq, struct bm_error *e)
{
    const struct {
        const char *name;
        bool *flag;
        const char **text;
    } rows[] = {
        { "data", NULL, &c->data_dir }, { "secret-file", NULL, &c->secret_file },
        { "json", &c->json, NULL },     { "quiet", &c->quiet, NULL },
        { "help", &c->help, NULL },
    };

    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        if (strcmp(rows[i].name, name) != 0)
            continue;
        if (rows[i].text != NULL)
            return option_value(w, name, eq, rows[i].text, e);
        if (eq != NULL)
            return bm_fail(e, BM_USAGE, "--%s takes no value", name);
        *rows[i].flag = true;
        return BM_OK;
    }
    return BM_NOTFOUND;
}

static enum bm_rc unknown_option(const struct bm_cli *c, const char *name, struct bm_error *e)
{
    const char *known[BM_COUNT(common_options) + BM_OPTIONS_MAX];
    char help[80] = "birthmark help";
    size_t n = 0;

    for (; n < BM_COUNT(common_options); n++)
        known[n] = common_options[n];
    for (size_t i = 0; c->verb != NULL && i < BM_OPTIONS_MAX && c->verb->options[i].name != NULL; i++)
        known[n++] = c->verb->options[i].name;
    if (c->verb != NULL)
        snprintf(help, sizeof help, "birthmark help %s%s%s", c->verb->family, *c->verb->verb == '\0' ? "" : " ", c->verb->verb);
    return unknown(name, "option here", known, n, help, e);
}

static const struct bm_word *find_option(const struct bm_verb *v, const char *name)
{
    for (size_t i = 0; v != NULL && i < BM_OPTIONS_MAX && v->options[i].name != NULL; i++) {
        if (strcmp(v->options[i].name, name) == 0)
            return &v->options[i];
    }
    return NULL;
}

/* word: "--name" or "--name=value". */
static enum bm_rc take_option(struct bm_cli *c, struct words *w, const char *word, struct bm_error *e)
{
    const char *eq = strchr(word, '='), *value = "";
    const struct bm_word *o;
    char name[64];
    enum bm_rc rc;

    snprintf(name, sizeof name, "%.*s", eq == NULL ? (int)strlen(word + 2) : (int)(eq - word - 2), word + 2);
    o = find_option(c->verb, name);
    if (o == NULL) {
        rc = common_option(c, w, name, eq, e);
        return rc == BM_NOTFOUND ? unknown_option(c, name, e) : rc;
    }
    if (o->kind == BM_WORD_FLAG && eq != NULL)
        return bm_fail(e, BM_USAGE, "--%s takes no value", name);
    rc = o->kind == BM_WORD_FLAG ? BM_OK : option_value(w, name, eq, &value, e);
    return rc == BM_OK ? bm_cli_take_value(c, o, value, "--", e) : rc;
}

/* The next word that is not an option, or NULL at the end; options on the way are taken. */
static enum bm_rc next_plain(struct bm_cli *c, struct words *w, const char **ret, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    *ret = NULL;
    while (w->at < w->argc && rc == BM_OK) {
        const char *word = w->argv[w->at++];

        if (w->only_args || word[0] != '-' || word[1] == '\0') {
            *ret = word;
            return BM_OK;
        }
        if (strcmp(word, "--") == 0)
            w->only_args = true;
        else if (strcmp(word, "-h") == 0)
            c->help = true;
        else if (word[1] == '-')
            rc = take_option(c, w, word, e);
        else
            rc = unknown_option(c, word, e);
    }
    return rc;
}

/* --- family and verb --------------------------------------------------------------------------------------------------------- */
static const struct bm_verb *find_family(const char *family)
{
    for (const struct bm_verb *v = bm_verbs; v->family != NULL; v++) {
        if (strcmp(v->family, family) == 0)
            return v;
    }
    return NULL;
}

static enum bm_rc unknown_family(const char *typed, struct bm_error *e)
{
    const char *known[128];
    size_t n = 0;

    known[n++] = "help";
    for (const struct bm_verb *v = bm_verbs; v->family != NULL && n < BM_COUNT(known); v++) {
        if (strcmp(known[n - 1], v->family) != 0)
            known[n++] = v->family;
    }
    return unknown(typed, "command", known, n, "birthmark help", e);
}

static enum bm_rc unknown_verb(const struct bm_verb *family, const char *typed, struct bm_error *e)
{
    const char *known[32];
    char what[48], help[64];
    size_t n = 0;

    for (const struct bm_verb *v = family; v->family != NULL && strcmp(v->family, family->family) == 0 && n < BM_COUNT(known); v++)
        known[n++] = v->verb;
    snprintf(what, sizeof what, "command of 'birthmark %s'", family->family);
    snprintf(help, sizeof help, "birthmark help %s", family->family);
    return unknown(typed, what, known, n, help, e);
}

static enum bm_rc find_verb(struct bm_cli *c, const struct bm_verb *family, const char *typed, struct bm_error *e)
{
    for (const struct bm_verb *v = family; v->family != NULL && strcmp(v->family, family->family) == 0; v++) {
        if (strcmp(v->verb, typed) == 0) {
            c->verb = v;
            return BM_OK;
        }
    }
    return unknown_verb(family, typed, e);
}

/* A family that is looked for below another, too: birthmark ca ceremony begin. */
static const struct bm_verb *find_below(const struct bm_verb *family, const char *word)
{
    return strcmp(family->family, "ca") == 0 && strcmp(word, "ceremony") == 0 ? find_family(word) : NULL;
}

/* Sets c->verb; leaves it NULL when help is all that is wanted. */
static enum bm_rc take_verb(struct bm_cli *c, struct words *w, struct bm_error *e)
{
    const struct bm_verb *family, *below;
    const char *word;
    enum bm_rc rc = next_plain(c, w, &word, e);

    if (rc == BM_OK && word != NULL && strcmp(word, "help") == 0) {
        c->help = true;
        rc = next_plain(c, w, &word, e);
    }
    if (rc != BM_OK || word == NULL)
        return rc != BM_OK || c->help ? rc : bm_fail(e, BM_USAGE, "what shall I do? 'birthmark help' shows all commands");
    family = find_family(word);
    if (family == NULL)
        return unknown_family(word, e);
    c->family = family->family;
    if (*family->verb == '\0') {
        c->verb = family;
        return BM_OK;
    }
    rc = next_plain(c, w, &word, e);
    below = rc == BM_OK && word != NULL ? find_below(family, word) : NULL;
    if (below != NULL) {
        family = below;
        c->family = family->family;
        rc = next_plain(c, w, &word, e);
    }
    if (rc != BM_OK || (word == NULL && c->help))
        return rc;
    if (word == NULL)
        return bm_fail(e, BM_USAGE, "'birthmark %s' wants another word", c->family);
    return find_verb(c, family, word, e);
}

static enum bm_rc take_args(struct bm_cli *c, struct words *w, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    for (size_t i = 0; rc == BM_OK; i++) {
        const struct bm_word *a = i < BM_ARGS_MAX && c->verb->args[i].name != NULL ? &c->verb->args[i] : NULL;
        const char *word;
        char safe[48];

        rc = next_plain(c, w, &word, e);
        if (rc != BM_OK || word == NULL || c->help)
            return rc;
        if (a == NULL)
            return bm_fail(e, BM_USAGE, "'%s' is one word too many", bm_text_escape(bm_rd_str(word), safe, sizeof safe));
        c->first_arg = i == 0 ? word : c->first_arg;
        rc = bm_cli_take_value(c, a, word, "", e);
    }
    return rc;
}

static enum bm_rc arg_missing(const struct bm_word *w, struct bm_error *e)
{
    char name[64];

    snprintf(name, sizeof name, "%s", w->name);
    for (char *p = name; *p != '\0'; p++)
        *p = (char)toupper((unsigned char)*p);
    return bm_fail(e, BM_USAGE, "%s is missing: %s", name, w->help);
}

static enum bm_rc check_needed(const struct bm_cli *c, struct bm_error *e)
{
    const struct bm_verb *v = c->verb;

    for (size_t i = 0; i < BM_ARGS_MAX && v->args[i].name != NULL; i++) {
        if (v->args[i].needed && !bm_cli_was_given(c, &v->args[i]))
            return arg_missing(&v->args[i], e);
    }
    for (size_t i = 0; i < BM_OPTIONS_MAX && v->options[i].name != NULL; i++) {
        if (v->options[i].needed && !bm_cli_was_given(c, &v->options[i]))
            return bm_fail(e, BM_USAGE, "--%s is missing: %s", v->options[i].name, v->options[i].help);
    }
    return BM_OK;
}

enum bm_rc bm_cli_parse(struct bm_cli *c, int argc, char **argv, struct bm_error *e)
{
    struct words w = { .argc = argc, .at = 1, .argv = argv };
    enum bm_rc rc;

    c->words = json_object();
    if (c->words == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    rc = take_verb(c, &w, e);
    if (rc != BM_OK || c->verb == NULL)
        return rc;
    rc = take_args(c, &w, e);
    return rc == BM_OK && !c->help ? check_needed(c, e) : rc;
}
