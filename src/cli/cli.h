/* The `birthmark` command: a table of verbs (verbs.c) and one engine. A row says which words a verb takes and which administrator's
 * act (keeper/admin.h) they become; parse.c turns argv into the request, link.c brings it to the keeper, print.c shows the answer,
 * help.c explains the row. Only verbs that do more have code of their own. */
#ifndef BM_CLI_CLI_H
#define BM_CLI_CLI_H

#include "base/bytes.h"
#include "base/limits.h"
#include "cli/link.h"

#include <jansson.h>
#include <stdio.h>

enum { BM_ARGS_MAX = 4, BM_OPTIONS_MAX = 28 };

enum bm_word_kind {
    BM_WORD_TEXT,
    BM_WORD_INT,   /* not negative */
    BM_WORD_FLAG,  /* --word; takes no value */
    BM_WORD_YESNO, /* yes or no */
    BM_WORD_LIST,  /* repeated, or separated by commas: an array of texts */
    BM_WORD_MANY,  /* repeated only: texts that may hold commas */
    BM_WORD_JSON,  /* in place when it starts with { or [, else a file, "-" for standard input */
    BM_WORD_FILE,  /* a text file, whose contents are the member */
    BM_WORD_BLOB,  /* a file that goes along with the request, "-" for standard input */
};

/* An argument or an option of a verb. */
struct bm_word {
    const char *name; /* "name" is shown as NAME for an argument and as --name for an option */
    const char *help;
    enum bm_word_kind kind;
    bool needed;
    const char *member; /* of the request; NULL: the name with "_" for "-"; "change.rot": inside an object */
    const char *value;  /* how help shows an option's value; NULL: by kind */
    const char *values; /* some or all it may be, separated by blanks, for completion; NULL: completion.c tells by the name */
};
extern const struct bm_word bm_cli_common[]; /* options of every command; a row without name ends them */

struct bm_family {
    const char *name, *help;
};
extern const struct bm_family bm_families[]; /* those of more than one word; NULL ends them */

struct bm_cli;
typedef enum bm_rc bm_verb_fn(struct bm_cli *c, struct bm_error *e);

struct bm_verb {
    const char *family, *verb;                                 /* verb "": the family alone is the command */
    const char *op;                                            /* the administrator's act; NULL: run does it all */
    const char *help;                                          /* one line */
    struct bm_word args[BM_ARGS_MAX], options[BM_OPTIONS_MAX]; /* a row without name ends them */
    const char *fixed;                                         /* members that are always the same: "state=closed" */
    const char *rows;    /* the answer's member that is a list, printed as a table; NULL: the answer is a record */
    const char *columns; /* of that table: members separated by blanks, or member=HEADER */
    const char *next;    /* what a person may want to do then; "{}" stands for the first argument */
    bm_verb_fn *prepare; /* changes the request before it is sent */
    bm_verb_fn *run;     /* in place of asking and printing */
    const char *notes;   /* more help, whole lines */
};
extern const struct bm_verb bm_verbs[]; /* NULL family ends it; verbs of a family stand together */

/* One run of the command. */
struct bm_cli {
    FILE *out, *err;
    bool terminal; /* out is one */
    bool colour;   /* and colours are welcome there */
    bool json, quiet, help;
    const char *data_dir;
    const char *secret_file; /* NULL: DATA/secret */
    bool parsed;             /* argv was understood */
    const struct bm_verb *verb;
    const char *family;       /* what help is wanted for; NULL: for all */
    json_t *words;            /* what argv said, as members of the request */
    const char *first_arg;    /* as it was typed */
    struct bm_buf blob;       /* contents of the BM_WORD_BLOB file */
    struct bm_cli_link *link; /* opened by the first bm_cli_ask() */
    int status;               /* exit status of a verb that ends with one of its own */
};

enum bm_exit { BM_EXIT_OK, BM_EXIT_FAILED, BM_EXIT_USAGE, BM_EXIT_NOTFOUND, BM_EXIT_CONFLICT, BM_EXIT_IO };

/* Runs argv to its end and returns the exit status. c: out, err, terminal, colour and perhaps link are set; the rest is zero. */
int bm_cli_main(struct bm_cli *c, int argc, char **argv);
void bm_cli_done(struct bm_cli *c);

/* --- for the verbs ----------------------------------------------------------------------------------------------------------- */
const char *bm_cli_text(const struct bm_cli *c, const char *member); /* NULL: not given */
int64_t bm_cli_int(const struct bm_cli *c, const char *member, int64_t otherwise);
bool bm_cli_flag(const struct bm_cli *c, const char *member);
/* Items of a list word joined by commas into ret; "" when not given. BM_LIMIT. */
BM_MUST_USE enum bm_rc bm_cli_joined(const struct bm_cli *c, const char *member, char *ret, size_t ret_len, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_cli_open(struct bm_cli *c, struct bm_error *e); /* c->link, if it is not open */
/* Asks the keeper. ret: a new reference. */
BM_MUST_USE enum bm_rc bm_cli_ask(struct bm_cli *c, const json_t *request, json_t **ret, struct bm_error *e);
/* The same for an act with one member. */
BM_MUST_USE enum bm_rc bm_cli_ask1(struct bm_cli *c, const char *op, const char *member, const char *value, json_t **ret,
                                   struct bm_error *e);
/* A remark for people: to err, and only when it does not disturb (--quiet, --json). */
BM_PRINTF(2) void bm_cli_note(struct bm_cli *c, const char *fmt, ...);
static inline void bm_cli_unref(json_t **j)
{
    json_decref(*j);
}

/* --- parse.c ----------------------------------------------------------------------------------------------------------------- */
/* Sets family, verb, words, blob and the common options of c. BM_USAGE. */
BM_MUST_USE enum bm_rc bm_cli_parse(struct bm_cli *c, int argc, char **argv, struct bm_error *e);
/* The word of `words` (n of them) that is nearest to `typed`, or NULL when none is near. */
const char *bm_cli_nearest(const char *typed, const char *const *words, size_t n);
/* Reads a file, or standard input for "-". */
BM_MUST_USE enum bm_rc bm_cli_read(const char *path, struct bm_buf *ret, struct bm_error *e);
/* parse_value.c. One word's value into the request (or c->blob); dashes: "--" for an option, in messages. */
BM_MUST_USE enum bm_rc bm_cli_take_value(struct bm_cli *c, const struct bm_word *w, const char *text, const char *dashes,
                                         struct bm_error *e);
bool bm_cli_was_given(const struct bm_cli *c, const struct bm_word *w);

/* --- help.c ------------------------------------------------------------------------------------------------------------------ */
void bm_cli_help(FILE *f, const char *family, const struct bm_verb *verb); /* NULL family: everything */
void bm_cli_usage(FILE *f, const struct bm_verb *verb);                    /* one line: "usage: birthmark org create NAME ..." */
const char *bm_cli_value_name(const struct bm_word *w);                    /* of an option: "FILE"; "": it takes no value */
const char *bm_cli_family_help(const char *family);                        /* NULL: no family of more than one word */

/* --- man.c ------------------------------------------------------------------------------------------------------------------- */
/* Writes one page, in mdoc: "birthmark.1", "birthmark-org.1", "birthmark.conf.5". False: there is no such page. */
bool bm_cli_man_page(FILE *f, const char *page);

/* --- completion.c ------------------------------------------------------------------------------------------------------------ */
/* What may stand in place of the last of n words (n > 0), a line each to c->out. Asks c->link, or a running server, for names. */
void bm_cli_complete(struct bm_cli *c, char **words, size_t n);

/* --- print.c: foreign text loses its control characters on the way ----------------------------------------------------------- */
void bm_cli_print_text(FILE *f, const char *text);
void bm_cli_print_record(struct bm_cli *c, const json_t *record);
void bm_cli_print_json(struct bm_cli *c, const json_t *j);
/* Rows that come page by page. Widths follow the first page. */
struct bm_cli_table {
    struct bm_cli *c;
    const char *rows, *columns; /* as in struct bm_verb */
    bool in_record;             /* neat even in a pipe */
    int64_t n_rows;
    size_t width[16];
};
void bm_cli_table_rows(struct bm_cli_table *t, const json_t *rows);
void bm_cli_table_end(struct bm_cli_table *t, const json_t *next);

/* --- say.c: errors for people ------------------------------------------------------------------------------------------------ */
enum bm_exit bm_cli_exit_of(enum bm_rc rc);
void bm_cli_complain(struct bm_cli *c, const struct bm_error *e); /* "birthmark: <sentence> (code)" and what to do next */

/* --- verbs with code of their own -------------------------------------------------------------------------------------------- */
bm_verb_fn bm_cli_ceremony_begin, bm_cli_ceremony_sign, bm_cli_ceremony_crl, bm_cli_ceremony_show;
bm_verb_fn bm_cli_ca_request, bm_cli_trust_export;
bm_verb_fn bm_cli_join;
bm_verb_fn bm_cli_backup, bm_cli_restore, bm_cli_migrate;
bm_verb_fn bm_cli_journal_list, bm_cli_journal_show, bm_cli_journal_verify, bm_cli_journal_prune;
bm_verb_fn bm_cli_init, bm_cli_serve, bm_cli_version, bm_cli_config_check, bm_cli_config_show, bm_cli_config_keys;
bm_verb_fn bm_cli_device_bulk, bm_cli_follow, bm_cli_bulk_resume;
bm_verb_fn bm_cli_completion, bm_cli_manual;
bm_verb_fn bm_cli_list, bm_cli_export, bm_cli_crl_export, bm_cli_profile_show, bm_cli_why, bm_cli_status, bm_cli_merge_policy;
bm_verb_fn bm_cli_policy_test, bm_cli_cert_lint;
bm_verb_fn bm_cli_code_create, bm_cli_claim_create, bm_cli_claim_take;
bm_verb_fn bm_cli_voucher_issue;
bm_verb_fn bm_cli_import_key, bm_cli_key_add, bm_cli_key_add_root, bm_cli_key_rotate;
bm_verb_fn bm_cli_log_entries, bm_cli_log_proof, bm_cli_log_verify;
bm_verb_fn bm_cli_manifest_make, bm_cli_manifest_import, bm_cli_manifest_export, bm_cli_manifest_verify;
bm_verb_fn bm_cli_api_openapi;

#endif
