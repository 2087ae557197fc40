/* Help is the table, printed. */
#include "cli/cli.h"

#include <ctype.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* as in verbs.c */

const struct bm_word bm_cli_common[] = {
    { "data", "folder of the registry; or BIRTHMARK_DATA; default /var/lib/birthmark", .value = "DIR" },
    { "secret-file", "what seals the keys, when no server runs; default: as configured, else DIR/secret", .value = "FILE" },
    { "json", "print the answer as JSON", .kind = BM_WORD_FLAG },
    { "quiet", "print nothing but what was asked for", .kind = BM_WORD_FLAG },
    { "help", "explain the command", .kind = BM_WORD_FLAG },
    { 0 },
};

const char *bm_cli_value_name(const struct bm_word *w)
{
    static const char *const names[] = {
        [BM_WORD_TEXT] = "TEXT",    [BM_WORD_INT] = "N",     [BM_WORD_FLAG] = "",
        [BM_WORD_YESNO] = "yes|no", [BM_WORD_LIST] = "A,B",  [BM_WORD_MANY] = "TEXT",
        [BM_WORD_JSON] = "JSON",    [BM_WORD_BLOB] = "FILE", [BM_WORD_FILE] = "FILE",
    };

    return w->value != NULL ? w->value : names[w->kind];
}

static void upper(const char *name, char *ret, size_t ret_len)
{
    snprintf(ret, ret_len, "%s", name);
    for (; *ret != '\0'; ret++)
        *ret = (char)toupper((unsigned char)*ret);
}

/* "--role TEXT" or "NAME" */
static void shown(const struct bm_word *w, bool option, char *ret, size_t ret_len)
{
    const char *value = bm_cli_value_name(w);

    if (option)
        snprintf(ret, ret_len, "--%s%s%s", w->name, *value == '\0' ? "" : " ", value);
    else
        upper(w->name, ret, ret_len);
}

static const char *again(const struct bm_word *w)
{
    return w->kind == BM_WORD_LIST || w->kind == BM_WORD_MANY ? "..." : "";
}

void bm_cli_usage(FILE *f, const struct bm_verb *v)
{
    char word[80];
    bool optional = false;

    fprintf(f, "usage: birthmark %s%s%s", v->family, *v->verb == '\0' ? "" : " ", v->verb);
    for (size_t i = 0; i < BM_ARGS_MAX && v->args[i].name != NULL; i++) {
        shown(&v->args[i], false, word, sizeof word);
        fprintf(f, v->args[i].needed ? " %s" : " [%s]", word);
    }
    for (size_t i = 0; i < BM_OPTIONS_MAX && v->options[i].name != NULL; i++) {
        shown(&v->options[i], true, word, sizeof word);
        optional = optional || !v->options[i].needed;
        if (v->options[i].needed)
            fprintf(f, " %s%s", word, again(&v->options[i]));
    }
    fputs(optional ? " [options]\n" : "\n", f);
}

static void word_lines(FILE *f, const struct bm_word *w, size_t max, bool option)
{
    char word[80];

    for (size_t i = 0; i < max && w[i].name != NULL; i++) {
        shown(&w[i], option, word, sizeof word);
        fprintf(f, "  %-26s %s%s\n", word, w[i].help, w[i].needed && option ? " (needed)" : "");
    }
}

static void help_verb(FILE *f, const struct bm_verb *v)
{
    fprintf(f, "%s\n\n", v->help);
    bm_cli_usage(f, v);
    if (v->args[0].name != NULL)
        fputc('\n', f);
    word_lines(f, v->args, BM_ARGS_MAX, false);
    if (v->options[0].name != NULL)
        fputs("\nOptions\n", f);
    word_lines(f, v->options, BM_OPTIONS_MAX, true);
    fputs("\nOptions of every command\n", f);
    word_lines(f, bm_cli_common, BM_OPTIONS_MAX, true);
    if (v->notes != NULL)
        fprintf(f, "\n%s\n", v->notes);
}

static void verb_line(FILE *f, const struct bm_verb *v)
{
    char name[48];

    snprintf(name, sizeof name, "%s%s%s", v->family, *v->verb == '\0' ? "" : " ", v->verb);
    fprintf(f, "  %-22s %s\n", name, v->help);
}

const char *bm_cli_family_help(const char *family)
{
    for (const struct bm_family *f = bm_families; f->name != NULL; f++) {
        if (strcmp(f->name, family) == 0)
            return f->help;
    }
    return NULL;
}

static void help_family(FILE *f, const char *family)
{
    fprintf(f, "birthmark %s: %s\n\nusage: birthmark %s COMMAND\n\n", family, bm_cli_family_help(family), family);
    for (const struct bm_verb *v = bm_verbs; v->family != NULL; v++) {
        if (strcmp(v->family, family) == 0)
            verb_line(f, v);
    }
    fprintf(f, "\n'birthmark help %s COMMAND' says more.\n", family);
}

static void help_all(FILE *f)
{
    const char *family = bm_verbs->family;

    fputs("Birthmark: the identity of connected devices, from the factory to the scrap yard.\n\n"
          "usage: birthmark [options] COMMAND ...\n\n",
          f);
    for (const struct bm_verb *v = bm_verbs; v->family != NULL; v++) {
        if (strcmp(family, v->family) != 0 && *v->verb != '\0' && strcmp(v[1].family == NULL ? "" : v[1].family, v->family) == 0)
            fputc('\n', f);
        family = v->family;
        verb_line(f, v);
    }
    fputs("\nOptions of every command\n", f);
    word_lines(f, bm_cli_common, BM_OPTIONS_MAX, true);
    fputs("\nBegin with 'birthmark init'. 'birthmark help COMMAND' says more about one.\n"
          "Exit status: 0 done, 1 refused or failed, 2 wrong words, 3 not found, 4 conflict, 5 server, disk or network out of "
          "reach.\n",
          f);
}

void bm_cli_help(FILE *f, const char *family, const struct bm_verb *verb)
{
    if (verb != NULL)
        help_verb(f, verb);
    else if (family != NULL)
        help_family(f, family);
    else
        help_all(f);
}
