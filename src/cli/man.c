/* The manual pages, in mdoc(7), from the same table as help: what a page says is what the program does. */
#include "cli/cli.h"

#include "base/config.h"
#include "base/file.h"

#include <ctype.h>
#include <limits.h>
#include <string.h>

#define MANUAL_DATE "November 21, 2026"

/* Text for people: what roff would take for its own is escaped. A dash is a minus, so that options can be copied. */
static void text(FILE *f, const char *s)
{
    static const struct {
        char c;
        const char *roff;
    } escapes[] = { { '\\', "\\e" },  { '-', "\\-" },   { '\'', "\\(aq" }, { '`', "\\(ga" },
                    { '"', "\\(dq" }, { '^', "\\(ha" }, { '~', "\\(ti" } };

    for (bool begins = true; *s != '\0'; s++) {
        const char *roff = begins && *s == '.' ? "\\&." : NULL;

        for (size_t i = 0; i < BM_COUNT(escapes); i++)
            roff = escapes[i].c == *s ? escapes[i].roff : roff;
        begins = *s == ' ' && !begins && s[-1] == '.'; /* mdoc wants a sentence to begin on a line of its own */
        if (begins)
            fputc('\n', f);
        else if (roff != NULL)
            fputs(roff, f);
        else
            fputc(*s, f);
    }
}

static void line(FILE *f, const char *s)
{
    text(f, s);
    fputc('\n', f);
}

/* A line of text each: sentences of the pages themselves, which are written as mdoc. */
static void lines(FILE *f, const char *const *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%s\n", s[i]);
}

static void upper(FILE *f, const char *s)
{
    for (; *s != '\0'; s++)
        fputc(toupper((unsigned char)*s), f);
}

static void head(FILE *f, const char *title, const char *section, const char *help)
{
    fprintf(f, ".\\\" Written by 'birthmark manual'.\n.Dd " MANUAL_DATE "\n.Dt ");
    upper(f, title);
    fprintf(f, " %s\n.Os Birthmark\n.Sh NAME\n.Nm %s\n.Nd ", section, title);
    line(f, help);
}

/* " Fl \-role Ar TEXT" */
static void option(FILE *f, const struct bm_word *w)
{
    fputs(" Fl ", f);
    text(f, "-");
    text(f, w->name);
    if (*bm_cli_value_name(w) != '\0')
        fprintf(f, " Ar %s", bm_cli_value_name(w));
}

/* Family, verb, arguments and needed options, as words of one macro line. */
static void synopsis(FILE *f, const struct bm_verb *v)
{
    bool optional = false;

    fprintf(f, " Cm %s%s%s", v->family, *v->verb == '\0' ? "" : " ", v->verb);
    for (size_t i = 0; i < BM_ARGS_MAX && v->args[i].name != NULL; i++) {
        fputs(v->args[i].needed ? " Ar " : " Op Ar ", f);
        upper(f, v->args[i].name);
    }
    for (size_t i = 0; i < BM_OPTIONS_MAX && v->options[i].name != NULL; i++) {
        optional = optional || !v->options[i].needed;
        if (v->options[i].needed)
            option(f, &v->options[i]);
    }
    fputs(optional ? " Op Ar options\n" : "\n", f);
}

static void words(FILE *f, const struct bm_word *w, size_t max, bool options)
{
    if (w->name == NULL)
        return;
    fputs(".Bl -tag -width Ds\n", f);
    for (size_t i = 0; i < max && w[i].name != NULL; i++) {
        fputs(".It", f);
        if (options) {
            option(f, &w[i]);
        } else {
            fputs(" Ar ", f);
            upper(f, w[i].name);
        }
        fputc('\n', f);
        text(f, w[i].help);
        fputs(w[i].needed && options ? " (needed)\n" : "\n", f);
    }
    fputs(".El\n", f);
}

/* Notes have line breaks of their own, for a terminal; here the lines are filled. */
static void notes(FILE *f, const char *s)
{
    char one[256];

    fputs(".Pp\n", f);
    while (*s != '\0') {
        size_t n = strcspn(s, "\n");

        snprintf(one, sizeof one, "%.*s", (int)n, s);
        line(f, one);
        s += n + (s[n] == '\n');
    }
}

static void verb(FILE *f, const struct bm_verb *v)
{
    if (*v->verb != '\0')
        fprintf(f, ".Ss birthmark %s %s\n", v->family, v->verb);
    else
        fputs(".Pp\n", f);
    text(f, v->help);
    fputs(".\n", f);
    words(f, v->args, BM_ARGS_MAX, false);
    words(f, v->options, BM_OPTIONS_MAX, true);
    if (v->notes != NULL)
        notes(f, v->notes);
}

static void family_page(FILE *f, const struct bm_verb *family)
{
    char title[64];
    const struct bm_verb *v;

    snprintf(title, sizeof title, "birthmark-%s", family->family);
    head(f, title, "1", *family->verb == '\0' ? family->help : bm_cli_family_help(family->family));
    fputs(".Sh SYNOPSIS\n", f);
    for (v = family; v->family != NULL && strcmp(v->family, family->family) == 0; v++) {
        fputs(".Nm birthmark", f);
        synopsis(f, v);
    }
    fputs(".Sh DESCRIPTION\nOptions of every command, environment and exit status are in\n.Xr birthmark 1 .\n", f);
    for (v = family; v->family != NULL && strcmp(v->family, family->family) == 0; v++)
        verb(f, v);
    fputs(".Sh SEE ALSO\n.Xr birthmark 1\n", f);
}

static bool first_of_family(const struct bm_verb *v)
{
    return v == bm_verbs || strcmp(v[-1].family, v->family) != 0;
}

/* clang-format off */
static const char *const main_description[] = {
    ".Sh DESCRIPTION",
    ".Nm",
    "is a registry and certification authority for devices, and what looks after it.",
    ".Cm init",
    "makes a registry,",
    ".Cm serve",
    "serves devices; all other commands work the same with a server running and without one.",
    "The commands, each explained in its own page:",
    ".Bl -tag -width Ds",
};
static const char *const main_rest[] = {
    ".Sh ENVIRONMENT",
    ".Bl -tag -width Ds",
    ".It Ev BIRTHMARK_DATA",
    "folder of the registry, when",
    ".Fl \\-data",
    "does not name it",
    ".It Ev NO_COLOR",
    "when set and not empty, no colours on a terminal",
    ".El",
    ".Sh FILES",
    ".Bl -tag -width Ds",
    ".It Pa DIR/birthmark.conf",
    "configuration; see",
    ".Xr birthmark.conf 5",
    ".It Pa DIR/registry.db",
    "the registry",
    ".It Pa DIR/secret",
    "what seals the keys, unless configured otherwise",
    ".It Pa DIR/admin.sock",
    "where a running server takes commands",
    ".El",
    ".Sh EXIT STATUS",
    ".Bl -tag -width Ds",
    ".It 0",
    "done",
    ".It 1",
    "understood and refused, or failed",
    ".It 2",
    "wrong words",
    ".It 3",
    "what was named is not there",
    ".It 4",
    "conflict: the name is taken, the move is illegal, another process holds the registry",
    ".It 5",
    "out of reach: server, disk, network, or no memory left",
    ".El",
    ".Sh EXAMPLES",
    ".Bd -literal",
    "birthmark init \\-\\-organisation Acme \\-\\-tls\\-host identity.acme.example",
    "birthmark serve \\-\\-listen \\(aq[::]:8443\\(aq &",
    "birthmark org create acme \\-\\-role oem",
    "birthmark product create sensor \\-\\-org acme",
    "birthmark batch create b1 \\-\\-product sensor \\-\\-quota 10000",
    ".Ed",
    ".Sh SEE ALSO",
    ".Xr birthmark\\-agent 1 ,",
    ".Xr birthmark\\-fleet 1 ,",
    ".Xr birthmark.conf 5",
};
/* clang-format on */

static void main_page(FILE *f)
{
    head(f, "birthmark", "1", "the identity of connected devices, from the factory to the scrap yard");
    fputs(".Sh SYNOPSIS\n.Nm\n.Op Ar options\n.Ar command\n.Op Ar words ...\n.Nm\n.Cm help\n.Op Ar command\n", f);
    lines(f, main_description, BM_COUNT(main_description));
    for (const struct bm_verb *v = bm_verbs; v->family != NULL; v++) {
        if (first_of_family(v)) {
            fputs(".It Xr birthmark\\-", f);
            fprintf(f, "%s 1\n", v->family);
            line(f, *v->verb == '\0' ? v->help : bm_cli_family_help(v->family));
        }
    }
    fputs(".El\n.Pp\nOptions may stand anywhere; after\n.Fl \\-\nnothing is an option.\n.Pp\nOptions of every command:\n", f);
    words(f, bm_cli_common, BM_OPTIONS_MAX, true);
    lines(f, main_rest, BM_COUNT(main_rest));
}

static void config_page(FILE *f)
{
    struct bm_config_doc d;

    head(f, "birthmark.conf", "5", "configuration of the birthmark server");
    fputs(
        ".Sh DESCRIPTION\nThe server reads\n.Pa birthmark.conf\nin the folder of the registry, or what\n.Fl \\-config\nnames.\n"
        "A line is\n.Ql key = value ;\n.Ql #\nbegins a comment.\nAn unknown key, a key that comes twice or a value out of range is "
        "refused.\n.Bl -tag -width Ds\n",
        f);
    for (size_t i = 0; bm_config_doc(i, &d); i++) {
        fprintf(f, ".It Cm %s\n", d.key);
        line(f, d.doc);
        if (d.reloads)
            fputs("Read again on SIGHUP.\n", f);
        if (d.number)
            fprintf(f, "A whole number from %u to %u.\n", d.min, d.max);
        if (*d.value != '\0') {
            fputs("Default: ", f);
            text(f, d.value);
            fputs(".\n", f);
        }
    }
    fputs(".El\n.Sh SEE ALSO\n.Xr birthmark 1 ,\n.Xr birthmark\\-config 1 ,\n.Xr birthmark\\-serve 1\n", f);
}

bool bm_cli_man_page(FILE *f, const char *page)
{
    char name[64];

    if (strcmp(page, "birthmark.1") == 0) {
        main_page(f);
        return true;
    }
    if (strcmp(page, "birthmark.conf.5") == 0) {
        config_page(f);
        return true;
    }
    for (const struct bm_verb *v = bm_verbs; v->family != NULL; v++) {
        snprintf(name, sizeof name, "birthmark-%s.1", v->family);
        if (strcmp(name, page) == 0) {
            family_page(f, v);
            return true;
        }
    }
    return false;
}

static enum bm_rc write_page(const char *dir, const char *page, struct bm_error *e)
{
    char path[PATH_MAX];
    enum bm_rc rc = bm_path_join(dir, page, path, sizeof path, e);
    FILE *f;
    bool good;

    if (rc != BM_OK)
        return rc;
    f = fopen(path, "we");
    if (f == NULL)
        return bm_fail(e, BM_IO, "cannot write '%s': %m", path);
    good = bm_cli_man_page(f, page) && !ferror(f);
    good = fclose(f) == 0 && good;
    return good ? BM_OK : bm_fail(e, BM_IO, "cannot write '%s'", path);
}

enum bm_rc bm_cli_manual(struct bm_cli *c, struct bm_error *e)
{
    const char *dir = bm_cli_text(c, "dir");
    enum bm_rc rc = write_page(dir, "birthmark.1", e);
    char page[64];

    if (rc == BM_OK)
        rc = write_page(dir, "birthmark.conf.5", e);
    for (const struct bm_verb *v = bm_verbs; rc == BM_OK && v->family != NULL; v++) {
        snprintf(page, sizeof page, "birthmark-%s.1", v->family);
        if (first_of_family(v))
            rc = write_page(dir, page, e);
    }
    return rc;
}
