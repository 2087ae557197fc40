/* Completion. The scripts for the shells are short: they ask `birthmark completion words`, which walks the table, so completion
 * always fits the program that is installed. */
#include "cli/cli.h"

#include "factory/manifest.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { COMPLETE_WORDS_MAX = 128, COMPLETE_LINE_MAX = 4096, NAMES_MAX = 500, ANSWER_SECONDS = 1 };

/* --- candidates -------------------------------------------------------------------------------------------------------------- */
/* Words that begin as the typed one does; `kept` is what was typed before it in the same word: "--role=", "a,b,". */
struct typed {
    struct bm_cli *c;
    const char *word;
    const char *start; /* what a candidate must begin with, inside word */
};

static void offer(const struct typed *t, const char *dashes, const char *word, size_t n, const char *help)
{
    size_t n_dashes = strlen(dashes), n_start = strlen(t->start);
    char whole[128];

    if (n + n_dashes >= sizeof whole)
        return;
    snprintf(whole, sizeof whole, "%s%.*s", dashes, (int)n, word);
    if (strncmp(whole, t->start, n_start) == 0)
        fprintf(t->c->out, "%.*s%s\t%s\n", (int)(t->start - t->word), t->word, whole, help);
}

static void offer_values(const struct typed *t, const char *values)
{
    while (*values != '\0') {
        size_t n = strcspn(values, " ");

        offer(t, "", values, n, "");
        values += n + (values[n] == ' ');
    }
}

/* --- names in the registry --------------------------------------------------------------------------------------------------- */
static void too_late(int sig)
{
    (void)sig;
    _exit(0);
}

static void offer_names(const struct typed *t, const char *family)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = NULL;
    BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;
    char op[32];
    const json_t *row;
    size_t i;

    snprintf(op, sizeof op, "%s.list", family);
    request = strcmp(family, "profile") == 0 ? json_pack("{ss}", "op", op) : json_pack("{sssi}", "op", op, "limit", NAMES_MAX);
    signal(SIGALRM, too_late);
    alarm(ANSWER_SECONDS);
    /* Only a server is asked: opening the registry here would lock it, for a mere key stroke. */
    if (request == NULL || (t->c->link == NULL && bm_cli_link_server(t->c->data_dir, &t->c->link, NULL) != BM_OK) ||
        bm_cli_ask(t->c, request, &answer, NULL) != BM_OK)
        return;
    alarm(0);
    json_array_foreach (json_object_get(answer, "rows"), i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));

        if (name != NULL && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-")] == '\0')
            offer(t, "", name, strlen(name), "");
    }
}

/* A word of this name is the name of such a thing, wherever it stands. */
static const char *named_thing(const struct bm_verb *v, const struct bm_word *w)
{
    static const struct {
        const char *word, *family;
    } things[] = {
        { "org", "org" },         { "issuer", "org" },      { "product", "product" },  { "batch", "batch" },
        { "ca", "ca" },           { "parent", "ca" },       { "maker", "org" },        { "token", "token" },
        { "profile", "profile" }, { "service", "service" }, { "services", "service" },
    };

    for (size_t i = 0; i < BM_COUNT(things); i++) {
        if (strcmp(things[i].word, w->name) == 0)
            return things[i].family;
    }
    if (strcmp(w->name, "name") != 0 || strcmp(v->verb, "create") == 0)
        return NULL;
    for (size_t i = 0; i < BM_COUNT(things); i++) {
        if (strcmp(things[i].family, v->family) == 0)
            return v->family;
    }
    return NULL;
}

static void offer_rots(const struct typed *t)
{
    for (const struct bm_rot_kind *k = bm_rot_kinds; k->name != NULL; k++)
        offer(t, "", k->name, strlen(k->name), k->title);
}

static bool is_file(const struct bm_word *w)
{
    const char *value = bm_cli_value_name(w);

    return w->kind == BM_WORD_BLOB || w->kind == BM_WORD_FILE || w->kind == BM_WORD_JSON || strcmp(value, "FILE") == 0 ||
           strcmp(value, "DIR") == 0 || strcmp(w->name, "file") == 0 || strcmp(w->name, "dir") == 0;
}

static void offer_word(const struct typed *t, const struct bm_verb *v, const struct bm_word *w)
{
    const char *comma = w->kind == BM_WORD_LIST ? strrchr(t->start, ',') : NULL;
    struct typed item = { t->c, t->word, comma == NULL ? t->start : comma + 1 };
    const char *thing = v == NULL ? NULL : named_thing(v, w);

    if (is_file(w))
        fputs("@file\n", t->c->out);
    else if (w->kind == BM_WORD_YESNO)
        offer_values(&item, "yes no");
    else if (strcmp(w->name, "rot") == 0)
        offer_rots(&item);
    else if (w->values != NULL)
        offer_values(&item, w->values);
    else if (thing != NULL)
        offer_names(&item, thing);
}

/* --- where in the line we are ------------------------------------------------------------------------------------------------ */
struct place {
    const char *family; /* NULL: not said yet */
    const struct bm_verb *verb;
    const struct bm_word *value_of; /* the option whose value comes next */
    size_t n_args;
    bool lost; /* there is no such command */
    bool help, only_args;
};

static const struct bm_verb *find(const char *family, const char *verb)
{
    for (const struct bm_verb *v = bm_verbs; v->family != NULL; v++) {
        if (strcmp(v->family, family) == 0 && (verb == NULL || *v->verb == '\0' || strcmp(v->verb, verb) == 0))
            return v;
    }
    return NULL;
}

static const struct bm_word *find_in(const struct bm_word *words, const char *name, size_t n)
{
    for (size_t i = 0; i < BM_OPTIONS_MAX && words[i].name != NULL; i++) {
        if (strlen(words[i].name) == n && strncmp(words[i].name, name, n) == 0)
            return &words[i];
    }
    return NULL;
}

static const struct bm_word *find_option(const struct place *p, const char *word)
{
    const char *name = word + 2;
    size_t n = strcspn(name, "=");
    const struct bm_word *w = p->verb == NULL ? NULL : find_in(p->verb->options, name, n);

    return w != NULL ? w : find_in(bm_cli_common, name, n);
}

static void step_plain(struct place *p, const char *word)
{
    if (p->family == NULL && strcmp(word, "help") == 0 && !p->help) {
        p->help = true;
    } else if (p->family == NULL) {
        p->family = word;
        p->verb = find(word, NULL);
        p->verb = p->verb != NULL && *p->verb->verb == '\0' ? p->verb : NULL;
    } else if (p->verb == NULL) {
        p->verb = find(p->family, word);
        p->lost = p->lost || p->verb == NULL;
    } else {
        p->n_args++;
    }
}

static void step(struct bm_cli *c, struct place *p, const char *word)
{
    const struct bm_word *option = p->only_args || strncmp(word, "--", 2) != 0 ? NULL : find_option(p, word);
    const char *value = p->value_of != NULL ? word : strchr(word, '=');

    if (p->value_of != NULL)
        option = p->value_of;
    if (option != NULL && value != NULL && strcmp(option->name, "data") == 0)
        c->data_dir = p->value_of != NULL ? value : value + 1;
    if (option == NULL && !p->only_args && strcmp(word, "--") == 0)
        p->only_args = true;
    else if (option == NULL && (p->only_args || *word != '-'))
        step_plain(p, word);
    p->value_of = option == NULL || value != NULL || *bm_cli_value_name(option) == '\0' ? NULL : option;
}

/* --- what may stand there ---------------------------------------------------------------------------------------------------- */
static void offer_families(const struct typed *t, bool help)
{
    const char *before = "";

    if (!help)
        offer(t, "", "help", 4, "Explain a command");
    for (const struct bm_verb *v = bm_verbs; v->family != NULL; before = v->family, v++) {
        const char *text = *v->verb == '\0' ? v->help : bm_cli_family_help(v->family);

        if (strcmp(before, v->family) != 0)
            offer(t, "", v->family, strlen(v->family), text == NULL ? "" : text);
    }
}

static void offer_verbs(const struct typed *t, const char *family)
{
    for (const struct bm_verb *v = bm_verbs; v->family != NULL; v++) {
        if (strcmp(v->family, family) == 0)
            offer(t, "", v->verb, strlen(v->verb), v->help);
    }
}

static void offer_options(const struct typed *t, const struct bm_word *words)
{
    for (size_t i = 0; i < BM_OPTIONS_MAX && words[i].name != NULL; i++)
        offer(t, "--", words[i].name, strlen(words[i].name), words[i].help);
}

static void offer_option(const struct typed *t, const struct place *p)
{
    const char *eq = strchr(t->word, '=');
    const struct bm_word *w = eq == NULL || t->word[1] != '-' ? NULL : find_option(p, t->word);

    if (w != NULL) {
        offer_word(&(struct typed){ t->c, t->word, eq + 1 }, p->verb, w);
    } else if (eq == NULL) {
        if (p->verb != NULL)
            offer_options(t, p->verb->options);
        offer_options(t, bm_cli_common);
    }
}

void bm_cli_complete(struct bm_cli *c, char **words, size_t n)
{
    struct typed t = { c, words[n - 1], words[n - 1] };
    struct place p = { 0 };

    for (size_t i = 0; i + 1 < n; i++)
        step(c, &p, words[i]);
    if (p.value_of != NULL)
        offer_word(&t, p.verb, p.value_of);
    else if (*t.word == '-' && !p.only_args)
        offer_option(&t, &p);
    else if (p.family == NULL)
        offer_families(&t, p.help);
    else if (p.verb == NULL && !p.lost)
        offer_verbs(&t, p.family);
    else if (p.verb != NULL && !p.help && p.n_args < BM_ARGS_MAX && p.verb->args[p.n_args].name != NULL)
        offer_word(&t, p.verb, &p.verb->args[p.n_args]);
}

/* --- the commands ------------------------------------------------------------------------------------------------------------ */
/* Readline cuts words at '=' and ':' too: they are put together again, and what stands before the last piece is cut from the
 * answer. */
static const char bash[] =
    "# bash completion for birthmark: 'birthmark completion bash' wrote it.\n"
    "_birthmark() {\n"
    "    local words=() word raw=${COMP_WORDS[COMP_CWORD]} before\n"
    "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD}\"; do\n"
    "        if [[ ${#words[@]} -gt 0 && ($word == [:=]* || ${words[-1]} == *[:=]) ]]; then\n"
    "            words[-1]+=$word\n"
    "        else\n"
    "            words+=(\"$word\")\n"
    "        fi\n"
    "    done\n"
    "    [[ $raw == [:=]* ]] && raw=\n"
    "    before=${words[-1]%\"$raw\"}\n"
    "    mapfile -t COMPREPLY < <(printf '%s\\n' \"${words[@]}\" | birthmark completion words 2>/dev/null | cut -f 1)\n"
    "    if [[ ${COMPREPLY[0]} == @file ]]; then\n"
    "        COMPREPLY=()\n"
    "        compopt -o default\n"
    "    fi\n"
    "    COMPREPLY=(\"${COMPREPLY[@]#\"$before\"}\")\n"
    "}\n"
    "complete -F _birthmark birthmark\n";

static const char zsh[] =
    "#compdef birthmark\n"
    "# zsh completion for birthmark: 'birthmark completion zsh' wrote it.\n"
    "_birthmark() {\n"
    "    local -a found\n"
    "    found=(\"${(@f)$(print -rl -- \"${(@Q)words[2,CURRENT-1]}\" \"$PREFIX\" | birthmark completion words 2>/dev/null)}\")\n"
    "    if [[ $found[1] == @file ]]; then\n"
    "        compset -P '--*='\n"
    "        _files\n"
    "        return\n"
    "    fi\n"
    "    found=(\"${(@)found%$'\\t'}\")\n"
    "    found=(\"${(@)found//:/\\\\:}\")\n"
    "    found=(\"${(@)found/$'\\t'/:}\")\n"
    "    _describe -t words birthmark found\n"
    "}\n"
    "if [[ $funcstack[1] == _birthmark ]]; then\n"
    "    _birthmark \"$@\"\n"
    "else\n"
    "    compdef _birthmark birthmark\n"
    "fi\n";

static const char fish[] =
    "# fish completion for birthmark: 'birthmark completion fish' wrote it.\n"
    "function __birthmark_words\n"
    "    set -l before (commandline -opc)\n"
    "    set -l token (commandline -ct)\n"
    "    set -l found (printf '%s\\n' $before[2..-1] \"$token\" | birthmark completion words 2>/dev/null)\n"
    "    if test \"$found[1]\" = @file\n"
    "        set -l option (string match -r '^--[^=]*=' -- $token)\n"
    "        __fish_complete_path (string replace -r '^--[^=]*=' '' -- $token) | string replace -r '^' -- \"$option\"\n"
    "    else\n"
    "        printf '%s\\n' $found\n"
    "    end\n"
    "end\n"
    "complete -c birthmark -f -a '(__birthmark_words)'\n";

static enum bm_rc complete_stdin(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = COMPLETE_WORDS_MAX * COMPLETE_LINE_MAX };
    char *words[COMPLETE_WORDS_MAX], *at, *end;
    enum bm_rc rc = bm_cli_read("-", &text, e);
    size_t n = 0;

    bm_buf_put(&text, "", 1);
    rc = rc == BM_OK ? bm_buf_check(&text, e) : rc;
    if (rc != BM_OK)
        return rc;
    for (at = (char *)text.p; n < BM_COUNT(words) && (end = strchr(at, '\n')) != NULL; at = end + 1) {
        *end = '\0';
        words[n++] = at;
    }
    if (n == 0 || n == BM_COUNT(words))
        return BM_OK; /* nothing to complete, or a line beyond help */
    bm_cli_complete(c, words, n);
    return BM_OK;
}

enum bm_rc bm_cli_completion(struct bm_cli *c, struct bm_error *e)
{
    static const struct {
        const char *shell, *script;
    } scripts[] = { { "bash", bash }, { "zsh", zsh }, { "fish", fish } };

    for (size_t i = 0; i < BM_COUNT(scripts); i++) {
        if (strcmp(scripts[i].shell, c->verb->verb) == 0) {
            fputs(scripts[i].script, c->out);
            return BM_OK;
        }
    }
    return complete_stdin(c, e);
}
