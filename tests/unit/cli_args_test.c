/* From argv to the keeper's request: rows of command lines with the request they make, or the exit status they end with. A function
 * stands in for the keeper. */
#include "cli/cli.h"
#include "keeper/admin.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 24

struct heard {
    char asked[4096]; /* requests, one a line */
    char blob[256];
    const char *answer; /* JSON; NULL: refuse */
    struct bm_error refuse;
};

static enum bm_rc keeper(void *arg, const json_t *request, struct bm_rd blob, json_t **ret, struct bm_error *e)
{
    struct heard *h = arg;
    char *text = json_dumps(request, JSON_COMPACT | JSON_SORT_KEYS);
    size_t n = strlen(h->asked);

    snprintf(h->asked + n, sizeof h->asked - n, "%s%s", n == 0 ? "" : "\n", text);
    snprintf(h->blob, sizeof h->blob, "%.*s", (int)blob.n, (const char *)blob.p);
    free(text);
    if (h->answer == NULL) {
        *e = h->refuse;
        return e->rc;
    }
    *ret = json_loads(h->answer, 0, NULL);
    assert_non_null(*ret);
    return BM_OK;
}

struct run {
    struct heard heard;
    bool terminal;
    char out[16384], err[4096];
};

/* line: words separated by blanks, in which "_" stands for a blank and "~" for an empty word. */
static int run(struct run *r, const char *line)
{
    char words[1024], *argv[WORDS_MAX + 1] = { (char[]){ "birthmark" } }, *save = NULL;
    struct bm_cli c = { .terminal = r->terminal };
    int argc = 1, status;

    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok_r(words, " ", &save); w != NULL && argc < WORDS_MAX; w = strtok_r(NULL, " ", &save)) {
        for (char *p = w; *p != '\0'; p++)
            *p = *p == '_' ? ' ' : *p;
        argv[argc++] = *w == '~' ? w + 1 : w;
    }
    c.out = fmemopen(r->out, sizeof r->out, "w");
    c.err = fmemopen(r->err, sizeof r->err, "w");
    assert_non_null(c.out);
    assert_non_null(c.err);
    assert_int_equal(bm_cli_link_of(keeper, &r->heard, NULL, &c.link, NULL), BM_OK);
    status = bm_cli_main(&c, argc, argv);
    bm_cli_done(&c);
    fclose(c.out);
    fclose(c.err);
    return status;
}

/* --- good lines -------------------------------------------------------------------------------------------------------------- */
static void asks_what_was_said(void **state)
{
    static const struct {
        const char *line, *asked;
    } cases[] = {
        { "status", "{\"op\":\"status\"}" },
        { "org create acme --role oem", "{\"name\":\"acme\",\"op\":\"org.create\",\"role\":\"oem\"}" },
        { "org create --role=oem acme", "{\"name\":\"acme\",\"op\":\"org.create\",\"role\":\"oem\"}" },
        { "--json org --data /x create acme --quiet --role oem", "{\"name\":\"acme\",\"op\":\"org.create\",\"role\":\"oem\"}" },
        { "org create acme --role oem --title Two_words",
          "{\"name\":\"acme\",\"op\":\"org.create\",\"role\":\"oem\",\"title\":\"Two words\"}" },
        { "org create --role oem -- --acme", "{\"name\":\"--acme\",\"op\":\"org.create\",\"role\":\"oem\"}" },
        { "batch create b1 --product p --quota 10", "{\"name\":\"b1\",\"op\":\"batch.create\",\"product\":\"p\",\"quota\":10}" },
        { "batch close b1", "{\"name\":\"b1\",\"op\":\"batch.set\",\"state\":\"closed\"}" },
        { "batch open b1", "{\"name\":\"b1\",\"op\":\"batch.set\",\"state\":\"open\"}" },
        { "service create s --kind mqtt --endpoint mqtts://a,b --endpoint mqtts://c",
          "{\"endpoints\":[\"mqtts://a,b\",\"mqtts://c\"],\"kind\":\"mqtt\",\"name\":\"s\",\"op\":\"service.create\"}" },
        { "product create p --org o --rot a,b --rot c --renew-expired no",
          "{\"name\":\"p\",\"op\":\"product.create\",\"org\":\"o\",\"policy\":{\"renew_expired\":false,\"rot\":[\"a\",\"b\",\"c\"]}"
          "}" },
        { "product create p --org o --policy {\"rot\":[\"a\"],\"ca\":\"c\"} --rot b",
          "{\"name\":\"p\",\"op\":\"product.create\",\"org\":\"o\",\"policy\":{\"ca\":\"c\",\"rot\":[\"b\"]}}" },
        { "product create p --org o --rot ~", "{\"name\":\"p\",\"op\":\"product.create\",\"org\":\"o\",\"policy\":{\"rot\":[]}}" },
        { "device list --state active --limit 5 --after 7",
          "{\"after\":7,\"limit\":5,\"op\":\"device.list\",\"state\":\"active\"}" },
        { "device transfer 00 acme --force", "{\"force\":true,\"op\":\"device.transfer\",\"org\":\"acme\",\"udid\":\"00\"}" },
        { "device offer 00 acme --as b --until 3d",
          "{\"as\":\"b\",\"op\":\"device.offer\",\"org\":\"acme\",\"udid\":\"00\",\"until\":\"3d\"}" },
        { "cert revoke 00 --reason superseded", "{\"op\":\"cert.revoke\",\"reason\":\"superseded\",\"serial\":\"00\"}" },
        { "why 00 --limit 3", "{\"id\":\"00\",\"limit\":3,\"op\":\"why\"}" },
        { "clock accept", "{\"op\":\"clock.accept\"}" },
        { "refusals list --code unknown-device", "{\"code\":\"unknown-device\",\"op\":\"refusal.list\"}" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        struct run r = { .heard.answer = "{}" };

        print_message("%s\n", cases[i].line);
        assert_int_equal(run(&r, cases[i].line), BM_EXIT_OK);
        assert_string_equal(r.heard.asked, cases[i].asked);
    }
}

static void policy_set_keeps_the_rest(void **state)
{
    struct run r = { .heard.answer = "{\"policy\":{\"rot\":[\"a\"],\"profile\":\"x\"}}" };

    (void)state;
    assert_int_equal(run(&r, "product set p --rot b"), BM_EXIT_OK);
    assert_string_equal(r.heard.asked, "{\"name\":\"p\",\"op\":\"product.show\"}\n"
                                       "{\"name\":\"p\",\"op\":\"product.set\",\"policy\":{\"profile\":\"x\",\"rot\":[\"b\"]}}");
}

static void file_goes_along(void **state)
{
    char path[] = "/tmp/birthmark-cli-XXXXXX", line[128];
    struct run r = { .heard.answer = "{\"added\":1}" };
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(write(fd, "PEM", 3), 3);
    close(fd);
    snprintf(line, sizeof line, "org trust acme %s --purpose manifest", path);
    assert_int_equal(run(&r, line), BM_EXIT_OK);
    assert_string_equal(r.heard.asked, "{\"op\":\"org.trust\",\"org\":\"acme\",\"purpose\":\"manifest\"}");
    assert_string_equal(r.heard.blob, "PEM");
    unlink(path);
}

/* --- wrong words ------------------------------------------------------------------------------------------------------------- */
static void wrong_words(void **state)
{
    static const struct {
        const char *line, *says; /* part of the message */
    } cases[] = {
        { "", "'birthmark help'" },
        { "ogr list", "did you mean 'org'?" },
        { "devcie list", "did you mean 'device'?" },
        { "prod list", "did you mean 'product'?" },
        { "xyzzy", "'birthmark help' shows them" },
        { "org", "wants another word" },
        { "org creat acme", "did you mean 'create'?" },
        { "org frobnicate", "'birthmark help org' shows them" },
        { "ca ceremony", "'birthmark ceremony' wants another word" },
        { "ca ceremony bgin", "did you mean 'begin'?" },
        { "ca ceremony begin", "is missing" },
        { "org ceremony begin", "'birthmark help org' shows them" },
        { "org create", "NAME is missing" },
        { "org create acme", "--role is missing" },
        { "org create acme more --role oem", "'more' is one word too many" },
        { "org create acme --role", "--role needs a value" },
        { "org create acme --rule oem", "did you mean 'role'?" },
        { "org create acme -r oem", "is no option here" },
        { "org list --json=yes", "takes no value" },
        { "org list --data", "--data needs a value" },
        { "org list --role oem", "is no option here" },
        { "batch create b --product p --quota ten", "whole number" },
        { "batch create b --product p --quota -1", "whole number" },
        { "batch create b --product p --quota 99999999999999999999", "whole number" },
        { "batch create b --product p --quota 1x", "whole number" },
        { "product create p --org o --renew-expired maybe", "takes yes or no" },
        { "product create p --org o --rot a,,b", "an item of 0 characters" },
        { "product create p --org o --policy {", "is not JSON" },
        { "product create p --org o --policy {\"a\":1,\"a\":2}", "is not JSON" },
        { "org create \xff --role oem", "is not UTF-8" },
        { "manifest make /dev/null --out /tmp/x --id a --issuer b", "--new-signer" },
        { "manifest make /dev/null --out /tmp/x --id a --issuer b --key k", "--new-signer" },
        { "ca export root --chain --der", "leave out --der" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        struct run r = { .heard.answer = "{}" };

        print_message("%s\n", cases[i].line);
        assert_int_equal(run(&r, cases[i].line), BM_EXIT_USAGE);
        assert_string_equal(r.heard.asked, "");
        assert_string_equal(r.out, "");
        assert_int_equal(strncmp(r.err, "birthmark: ", 11), 0);
        assert_non_null(strstr(r.err, cases[i].says));
    }
}

static void missing_file_is_not_found(void **state)
{
    struct run r = { .heard.answer = "{}" };

    (void)state;
    assert_int_equal(run(&r, "profile set p /nonexistent/profile.json"), BM_EXIT_NOTFOUND);
    assert_string_equal(r.heard.asked, "");
}

/* --- refusals ---------------------------------------------------------------------------------------------------------------- */
static void refusals_have_their_status(void **state)
{
    static const struct {
        struct bm_error e;
        int status;
        const char *says;
    } cases[] = {
        { { BM_DENIED, "batch-closed", "no" }, BM_EXIT_FAILED, "birthmark batch open" },
        { { BM_LIMIT, "quota-exhausted", "no" }, BM_EXIT_FAILED, "--quota N" },
        { { BM_NOTFOUND, "", "no batch" }, BM_EXIT_NOTFOUND, "'birthmark batch list'" },
        { { BM_CONFLICT, "", "there" }, BM_EXIT_CONFLICT, "birthmark: there (conflict)" },
        { { BM_USAGE, "", "words" }, BM_EXIT_USAGE, "birthmark: words\n" },
        { { BM_IO, "", "disk" }, BM_EXIT_IO, "(io)" },
        { { BM_AGAIN, "clock-went-back", "clock" }, BM_EXIT_FAILED, "birthmark clock accept" },
        { { BM_BUG, "", "" }, BM_EXIT_FAILED, "birthmark: failed (internal)" },
        { { BM_DENIED, "", "\x1b[2Jgone" }, BM_EXIT_FAILED, "\\x1b[2Jgone" },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        struct run r = { .heard.refuse = cases[i].e };

        assert_int_equal(run(&r, "batch show b"), cases[i].status);
        assert_string_equal(r.out, "");
        assert_non_null(strstr(r.err, cases[i].says));
        assert_null(strchr(r.err, '\x1b'));
    }
}

/* --- the table itself -------------------------------------------------------------------------------------------------------- */
static const struct bm_admin_op *op_of(const char *name)
{
    const struct bm_admin_op *op = bm_admin_ops;

    while (op->name != NULL && strcmp(op->name, name) != 0)
        op++;
    return op->name != NULL ? op : NULL;
}

static bool takes(const struct bm_admin_op *op, const char *member)
{
    char padded[256], word[80];

    snprintf(padded, sizeof padded, " %s ", op->members);
    snprintf(word, sizeof word, " %s ", member);
    return strstr(padded, word) != NULL;
}

/* What a verb with code of its own keeps to itself. */
static bool is_own(const struct bm_verb *v, const char *member)
{
    static const char *const own[] = { "file", "dry_run", "detach" };

    for (size_t i = 0; v->run == bm_cli_device_bulk && i < BM_COUNT(own); i++)
        if (strcmp(own[i], member) == 0)
            return true;
    return false;
}

static void member_is_taken(const struct bm_verb *v, const struct bm_word *w)
{
    char member[64];

    snprintf(member, sizeof member, "%s", w->member != NULL ? w->member : w->name);
    for (char *p = member; w->member == NULL && *p != '\0'; p++)
        *p = *p == '-' ? '_' : *p;
    if (w->kind == BM_WORD_BLOB || strncmp(member, "change.", 7) == 0 || v->run == bm_cli_export || v->run == bm_cli_crl_export ||
        v->run == bm_cli_ca_request || v->run == bm_cli_trust_export || v->run == bm_cli_code_create ||
        v->run == bm_cli_claim_create || v->run == bm_cli_import_key || v->run == bm_cli_voucher_issue ||
        v->run == bm_cli_key_rotate || is_own(v, member))
        return;
    print_message("%s: %s\n", v->op, member);
    assert_true(takes(op_of(v->op), member));
}

/* A word of the command that the keeper would refuse is a mistake nobody would see before a user. */
static void rows_fit_the_keeper(void **state)
{
    (void)state;
    for (const struct bm_verb *v = bm_verbs; v->family != NULL; v++) {
        assert_true(v->help != NULL && strlen(v->help) < 90);
        assert_true(v->op != NULL || v->run != NULL);
        if (v->op == NULL)
            continue;
        print_message("%s %s\n", v->family, v->verb);
        assert_non_null(op_of(v->op));
        for (size_t i = 0; i < BM_ARGS_MAX && v->args[i].name != NULL; i++)
            member_is_taken(v, &v->args[i]);
        for (size_t i = 0; i < BM_OPTIONS_MAX && v->options[i].name != NULL; i++)
            member_is_taken(v, &v->options[i]);
        assert_true(v->options[BM_OPTIONS_MAX - 1].name == NULL);
    }
}

static void every_act_has_a_verb(void **state)
{
    (void)state;
    for (const struct bm_admin_op *op = bm_admin_ops; op->name != NULL; op++) {
        const struct bm_verb *v = bm_verbs;

        while (v->family != NULL && (v->op == NULL || strcmp(v->op, op->name) != 0))
            v++;
        print_message("%s\n", op->name);
        assert_true(v->family != NULL || strncmp(op->name, "manifest.", 9) == 0 || strcmp(op->name, "bulk.dry") == 0 ||
                    strcmp(op->name, "bulk.add") == 0 || strcmp(op->name, "bulk.work") == 0 || strcmp(op->name, "key.step") == 0);
    }
}

static void help_for_every_row(void **state)
{
    (void)state;
    for (const struct bm_verb *v = bm_verbs; v->family != NULL; v++) {
        struct run r = { .heard.answer = NULL };
        char line[128];

        snprintf(line, sizeof line, "%s %s --help", v->family, v->verb);
        assert_int_equal(run(&r, line), BM_EXIT_OK);
        assert_non_null(strstr(r.out, v->help));
        assert_non_null(strstr(r.out, "usage: birthmark "));
        memset(r.out, 0, sizeof r.out);
        snprintf(line, sizeof line, "help %s", v->family);
        assert_int_equal(run(&r, line), BM_EXIT_OK);
        assert_non_null(strstr(r.out, v->help));
        assert_string_equal(r.heard.asked, "");
    }
}

/* --- what is printed --------------------------------------------------------------------------------------------------------- */
static void printed_as(const char *line, bool terminal, const char *answer, const char *want)
{
    struct run r = { .heard.answer = answer, .terminal = terminal };

    assert_int_equal(run(&r, line), BM_EXIT_OK);
    assert_string_equal(r.out, want);
}

static void prints(void **state)
{
    static const char rows[] =
        "{\"rows\":[{\"name\":\"acme\",\"role\":\"oem\",\"title\":null,\"created_at\":\"T\"},"
        "{\"name\":\"b\",\"role\":\"auditor\",\"title\":\"\xc3\xa4\\u001b[1m\",\"created_at\":\"T\"}],\"next\":null}";

    (void)state;
    printed_as("org list", false, rows, "acme\toem\t-\tT\nb\tauditor\t\xc3\xa4\\x1b[1m\tT\n");
    printed_as("org list", true, rows,
               "NAME  ROLE     TITLE     CREATED\nacme  oem      -         T\nb     auditor  \xc3\xa4\\x1b[1m  T\n");
    printed_as("org list --json", false, "{\"rows\":[],\"next\":null}", "{\"rows\": [], \"next\": null}\n");
    printed_as("org list", false, "{\"rows\":[],\"next\":null}", "");
    printed_as("org show a", false, "{\"name\":\"a\",\"n\":3,\"ok\":true,\"list\":[1,\"b\"],\"none\":null,\"created_at\":\"T\"}",
               "name        a\nn           3\nok          yes\nlist        1, b\nnone        -\ncreated at  T\n");
    printed_as("org show a", false, "{\"policy\":{\"rot\":[\"x\"]},\"rows\":[{\"a\":1},{\"a\":22}],\"pem\":\"A\\nB\\n\"}",
               "policy\n  rot  x\n\nrows\nA\n1\n22\nA\nB\n");
    printed_as("org show a --quiet", false, "{\"name\":\"a\"}", "");
    printed_as("org show a --json", false, "{\"name\":\"a\"}", "{\n  \"name\": \"a\"\n}\n");
    printed_as("ca export a", false, "{\"certificate\":\"PEM\\n\",\"parent\":null}", "PEM\n");
    printed_as("why 00", false, "{\"id\":\"00\",\"what\":\"udid\",\"story\":[{\"at\":\"T\",\"event\":\"e\",\"text\":\"t\"}]}",
               "udid 00\n  T                     e  t\n");
}

/* next says there are more; the list asks for them, and no more than were wanted. */
static void lists_page_by_page(void **state)
{
    static const char page[] = "{\"rows\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"next\":2}";
    struct run r = { .heard.answer = page };

    (void)state;
    assert_int_equal(run(&r, "org list --limit 4 --json"), BM_EXIT_OK);
    assert_string_equal(r.heard.asked, "{\"limit\":4,\"op\":\"org.list\"}\n{\"after\":2,\"limit\":2,\"op\":\"org.list\"}");
    assert_string_equal(r.out,
                        "{\"rows\": [\n{\"name\":\"a\"},\n{\"name\":\"b\"},\n{\"name\":\"a\"},\n{\"name\":\"b\"}], \"next\": 2}\n");
}

static void proofs_are_checked(void **state)
{
    struct run r = { .heard.answer = "{\"index\":0,\"size\":1,\"path\":[],"
                                     "\"leaf_hash\":\"0000000000000000000000000000000000000000000000000000000000000000\","
                                     "\"root\":\"0000000000000000000000000000000000000000000000000000000000000001\"}" };

    (void)state;
    assert_int_equal(run(&r, "log inclusion 0"), BM_EXIT_FAILED);
    r.heard.answer = "{\"index\":0,\"size\":1,\"path\":[],"
                     "\"leaf_hash\":\"0000000000000000000000000000000000000000000000000000000000000001\","
                     "\"root\":\"0000000000000000000000000000000000000000000000000000000000000001\"}";
    assert_int_equal(run(&r, "log inclusion 0"), BM_EXIT_OK);
    r.heard.answer = "{\"path\":[\"xx\"]}";
    assert_int_equal(run(&r, "log consistency 1 2"), BM_EXIT_FAILED);
}

static void nearest_words(void **state)
{
    static const char *const words[] = { "org", "product", "batch", "manifest", "log" };
    static const struct {
        const char *typed, *near;
    } cases[] = { { "orgs", "org" },         { "prodcut", "product" },
                  { "manfest", "manifest" }, { "lgo", "log" },
                  { "bach", "batch" },       { "q", NULL },
                  { "certificate", NULL },   { "", NULL },
                  { "mani", "manifest" },    { "a-word-that-is-much-longer-than-any-command-could-be", NULL } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        const char *near = bm_cli_nearest(cases[i].typed, words, BM_COUNT(words));

        print_message("%s\n", cases[i].typed);
        if (cases[i].near == NULL)
            assert_null(near);
        else
            assert_string_equal(near, cases[i].near);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_what_was_said),
        cmocka_unit_test(policy_set_keeps_the_rest),
        cmocka_unit_test(file_goes_along),
        cmocka_unit_test(wrong_words),
        cmocka_unit_test(missing_file_is_not_found),
        cmocka_unit_test(refusals_have_their_status),
        cmocka_unit_test(rows_fit_the_keeper),
        cmocka_unit_test(every_act_has_a_verb),
        cmocka_unit_test(help_for_every_row),
        cmocka_unit_test(prints),
        cmocka_unit_test(lists_page_by_page),
        cmocka_unit_test(proofs_are_checked),
        cmocka_unit_test(nearest_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
