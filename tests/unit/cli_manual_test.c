/* Manual and completion against the table they are made from: nothing may be left out, and what is offered must be what a verb takes. */
#include "base/config.h"
#include "cli/cli.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static char *page_of(const char *page)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    assert_non_null(f);
    if (!bm_cli_man_page(f, page))
        fail_msg("no page %s", page);
    fclose(f);
    return text;
}

/* "dry-run" as roff has it: "dry\-run" */
static const char *roff(const char *name, char *to, size_t room)
{
    size_t n = 0;

    for (; *name != '\0' && n + 3 < room; name++) {
        if (*name == '-')
            to[n++] = '\\';
        to[n++] = *name;
    }
    to[n] = '\0';
    return to;
}

static void every_option_is_there(const char *page, const struct bm_word *w)
{
    char name[64], line[96];

    for (size_t i = 0; i < BM_OPTIONS_MAX && w[i].name != NULL; i++) {
        snprintf(line, sizeof line, "\n.It Fl \\-%s", roff(w[i].name, name, sizeof name));
        if (strstr(page, line) == NULL)
            fail_msg("--%s is missing", w[i].name);
    }
}

static void manual_has_every_verb_and_option(void **state)
{
    char page[64], line[96];
    char *all = page_of("birthmark.1");

    (void)state;
    every_option_is_there(all, bm_cli_common);
    for (const struct bm_verb *v = bm_verbs; v->family != NULL; v++) {
        char *text;

        print_message("%s %s\n", v->family, v->verb);
        snprintf(page, sizeof page, "birthmark-%s.1", v->family);
        text = page_of(page);
        snprintf(line, sizeof line, ".Nm birthmark Cm %s%s%s", v->family, *v->verb == '\0' ? "" : " ", v->verb);
        assert_non_null(strstr(text, line));
        every_option_is_there(text, v->options);
        snprintf(line, sizeof line, ".It Xr birthmark\\-%s 1\n", v->family);
        assert_non_null(strstr(all, line));
        assert_true(*v->verb == '\0' || bm_cli_family_help(v->family) != NULL);
        free(text);
    }
    free(all);
}

static void manual_has_every_key(void **state)
{
    char *text = page_of("birthmark.conf.5"), line[96];
    struct bm_config_doc d;
    size_t n = 0;

    (void)state;
    for (; bm_config_doc(n, &d); n++) {
        snprintf(line, sizeof line, "\n.It Cm %s\n", d.key);
        assert_non_null(strstr(text, line));
    }
    assert_true(n >= 10);
    free(text);
}

static void no_such_page(void **state)
{
    static const char *const pages[] = {
        "", "birthmark", "birthmark-.1", "birthmark-orgs.1", "birthmark-org.5", "birthmark.conf.1"
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(pages); i++)
        assert_false(bm_cli_man_page(stderr, pages[i]));
}

/* --- completion -------------------------------------------------------------------------------------------------------------- */
static enum bm_rc keeper(void *arg, const json_t *request, struct bm_rd blob, json_t **ret, struct bm_error *e)
{
    const char *op = json_string_value(json_object_get(request, "op"));

    (void)blob;
    if (arg == NULL)
        return bm_fail(e, BM_IO, "gone");
    /* one name is a foreign one, and must not reach the shell */
    *ret = json_pack("{s[{ss},{ss},{ss}]}", "rows", "name", op, "name", "b-two", "name", "evil$(reboot)\n");
    return BM_OK;
}

/* line: words separated by blanks; it ends with one when a new word begins. ret: the words offered, separated by blanks. */
static void complete(const char *line, void *arg, char *ret, size_t room)
{
    char copy[256], *words[32], *save = copy, *text = NULL, *w;
    struct bm_cli c = { .data_dir = "/nowhere" };
    size_t n = 0, text_n;

    snprintf(copy, sizeof copy, "%s", line);
    while ((w = strsep(&save, " ")) != NULL && n < BM_COUNT(words))
        words[n++] = w;
    c.out = open_memstream(&text, &text_n);
    assert_int_equal(bm_cli_link_of(keeper, arg, NULL, &c.link, NULL), BM_OK);
    bm_cli_complete(&c, words, n);
    bm_cli_done(&c);
    fclose(c.out);
    *ret = '\0';
    for (save = text; (w = strsep(&save, "\n")) != NULL;) {
        size_t at = strlen(ret);

        w[strcspn(w, "\t")] = '\0';
        snprintf(ret + at, room - at, "%s%s", at == 0 || *w == '\0' ? "" : " ", w);
    }
    free(text);
}

static void completion_offers_what_fits(void **state)
{
    static const struct {
        const char *line, *offered;
    } cases[] = {
        { "pro", "product profile" },
        { "help pro", "product profile" },
        { "help he", "" },
        { "org ", "create list show trust" },
        { "--json org ", "create list show trust" },
        { "--data /x org s", "show" },
        { "org --data=/x s", "show" },
        { "nonsense ", "" },
        { "org nonsense ", "" },
        { "org create --ro", "--role" },
        { "org --q", "--quiet" },
        { "org create --role ", "chip-maker contract-manufacturer oem service-operator auditor" },
        { "org create --role=o", "--role=oem" },
        { "org create --role oem ", "" },
        { "org create x --nonsense=", "" },
        { "org create -", "--role --title --data --secret-file --json --quiet --help" },
        { "org create -- -", "" },
        { "org show ", "org.list b-two" },
        { "help org show ", "" },
        { "org show b", "b-two" },
        { "org show b ", "" },
        { "org trust acme ", "@file" },
        { "batch create ", "" },
        { "batch create b --product ", "product.list b-two" },
        { "batch set b --ca=c", "--ca=ca.list" },
        { "device transfer 00 ", "org.list b-two" },
        { "device list --state re", "registered retired" },
        { "batch set b --state ", "open closed" },
        { "product set p --services x,", "x,service.list x,b-two" },
        { "product set p --rot=tpm2,atec", "--rot=tpm2,atecc608" },
        { "product set p --renew-expired ", "yes no" },
        { "product set p --policy ", "@file" },
        { "ca create x --alg EC:", "EC:P-256 EC:P-384" },
        { "manifest import ", "@file" },
        { "manifest make f --new-signer ", "@file" },
        { "status --data ", "@file" },
        { "status x y z a b ", "" },
    };
    char offered[1024];
    int yes;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        print_message("%s\n", cases[i].line);
        complete(cases[i].line, &yes, offered, sizeof offered);
        assert_string_equal(offered, cases[i].offered);
    }
}

/* Whatever the table says: each verb and each option of it can be completed. */
static void completion_knows_every_verb_and_option(void **state)
{
    char line[128], offered[1024], want[64];

    (void)state;
    for (const struct bm_verb *v = bm_verbs; v->family != NULL; v++) {
        snprintf(line, sizeof line, "%s %s", v->family, v->verb);
        complete(*v->verb == '\0' ? v->family : line, NULL, offered, sizeof offered);
        assert_non_null(strstr(offered, *v->verb == '\0' ? v->family : v->verb));
        for (size_t i = 0; i < BM_OPTIONS_MAX && v->options[i].name != NULL; i++) {
            snprintf(line, sizeof line, "%s %s --%s", v->family, v->verb, v->options[i].name);
            snprintf(want, sizeof want, "--%s", v->options[i].name);
            if (*v->verb == '\0')
                snprintf(line, sizeof line, "%s --%s", v->family, v->options[i].name);
            complete(line, NULL, offered, sizeof offered);
            assert_non_null(strstr(offered, want));
        }
    }
}

/* Whatever stands before: no line is beyond it. */
static void completion_takes_any_line(void **state)
{
    static const char *const lines[] = { "-",
                                         "--",
                                         "---",
                                         "-- --",
                                         "=",
                                         "--=",
                                         "--data=",
                                         "--data",
                                         "help help help ",
                                         "why --limit -- ",
                                         "org create --role --role --",
                                         "product set p --rot ,,,,",
                                         "product set p --rot=,",
                                         "@file" };
    char offered[1024];

    (void)state;
    for (size_t i = 0; i < BM_COUNT(lines); i++) {
        complete(lines[i], NULL, offered, sizeof offered);
        assert_null(strchr(offered, '$'));
    }
}

static void silent_without_a_keeper(void **state)
{
    char offered[1024];

    (void)state;
    complete("org show ", NULL, offered, sizeof offered);
    assert_string_equal(offered, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manual_has_every_verb_and_option),
        cmocka_unit_test(manual_has_every_key),
        cmocka_unit_test(no_such_page),
        cmocka_unit_test(completion_offers_what_fits),
        cmocka_unit_test(completion_knows_every_verb_and_option),
        cmocka_unit_test(completion_takes_any_line),
        cmocka_unit_test(silent_without_a_keeper),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
