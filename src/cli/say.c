/* Errors for people: what is wrong, the stable code, and what to do next. */
#include "cli/cli.h"

#include <string.h>

enum bm_exit bm_cli_exit_of(enum bm_rc rc)
{
    static const enum bm_exit rows[] = {
        [BM_OK] = BM_EXIT_OK,
        [BM_AGAIN] = BM_EXIT_FAILED,
        [BM_MALFORMED] = BM_EXIT_FAILED,
        [BM_LIMIT] = BM_EXIT_FAILED,
        [BM_DENIED] = BM_EXIT_FAILED,
        [BM_NOTFOUND] = BM_EXIT_NOTFOUND,
        [BM_CONFLICT] = BM_EXIT_CONFLICT,
        [BM_USAGE] = BM_EXIT_USAGE,
        [BM_NOMEM] = BM_EXIT_IO,
        [BM_IO] = BM_EXIT_IO,
        [BM_BUG] = BM_EXIT_FAILED,
    };

    return (size_t)rc < BM_COUNT(rows) ? rows[rc] : BM_EXIT_FAILED;
}

/* By code, which says more than the kind. */
static const struct hint {
    const char *code, *text;
} hints[] = {
    { "no-registry", "is it another folder? --data DIR or BIRTHMARK_DATA names it" },
    { "in-use", "wait for the other command to end; if it is the server, its socket DIR/admin.sock is gone: restart it" },
    { "permission", "run the command as the user the server runs as" },
    { "unreachable", "look at the server's log, then run the same command again" },
    { "busy", "run the same command again in a moment" },
    { "clock-went-back", "set the clock right; if the earlier time was the wrong one, 'birthmark clock accept'" },
    { "wrong-secret", "--secret-file names the right one; it was made, or given, at 'birthmark init'" },
    { "database-unreachable", "is the database running, and is the address right? 'store' in DIR/birthmark.conf" },
    { "database-denied", "let the user connect in pg_hba.conf, and own the database: createdb --owner USER NAME" },
    { "password-in-address",
      "passfile=FILE in the address names a file as of .pgpass, or let the socket's peer authentication do" },
    { "registry-replaced", "restart the server; and find out who else was started on this database" },
    { "backup-damaged", "take another backup, and look after where this one lay" },
    { "newer-schema", "this registry was opened by a newer birthmark: install that one" },
    { "not-a-registry", "bring the registry back from a copy, and look after the disk" },
    { "ca-revoked", "'birthmark ca default NAME' chooses another; 'birthmark ca list' shows which are active" },
    { "issuer-expired",
      "'birthmark ca create NAME --parent PARENT' makes its successor, 'birthmark ca default NAME' puts it in force" },
    { "quota-exhausted", "'birthmark batch set NAME --quota N' raises it" },
    { "quota-exceeded", "'birthmark batch show NAME' tells how many are used already" },
    { "batch-closed", "'birthmark batch open NAME' opens it again" },
    { "illegal-transition", "'birthmark device show UDID' tells the state it is in" },
    { "profile-not-ca", "'birthmark profile list' shows the profiles; one for a CA is issuing-ca" },
    { "manifest-signer",
      "'birthmark org trust ORG CERT.pem --purpose manifest' pins the signer in a registry; --signer names it for "
      "'manifest verify'" },
    { "manifest-issuer", "pin the signer for the organisation that issues the manifest, or have it issued under the right name" },
    { "manifest-batch", "give the batch the manifest is for, or none" },
    { "manifest-signature", "get the file again from where it came; if it is the same, ask its issuer" },
    { "manifest-digest", "lines were changed after they were signed: get the file again, and ask its issuer if it is the same" },
    { "manifest-cut-short", "the end of the file is missing: get it again and run the same command; it goes on where it stopped" },
    { "manifest-sequence", "give the file as a whole, as its issuer sent it" },
    { "manifest-format", "look at the line it names; --format tells the format when it is not recognised" },
    { "log-changed",
      "history was rewritten or the disk is damaged: keep the folder as it is and bring a copy to whoever audits it" },
    { "log-truncated", "the end of the log is gone: keep the folder as it is and bring a copy to whoever audits it" },
};

static const char *hint_of(const struct bm_error *e)
{
    for (size_t i = 0; i < BM_COUNT(hints); i++) {
        if (strcmp(hints[i].code, e->code) == 0)
            return hints[i].text;
    }
    return NULL;
}

/* By family: where a name that is not there can be looked up. */
static void hint_notfound(const struct bm_cli *c)
{
    for (const struct bm_verb *v = bm_verbs; c->family != NULL && v->family != NULL; v++) {
        if (strcmp(v->family, c->family) == 0 && strcmp(v->verb, "list") == 0) {
            fprintf(c->err, "  'birthmark %s list' shows what is there\n", c->family);
            return;
        }
    }
}

void bm_cli_complain(struct bm_cli *c, const struct bm_error *e)
{
    const char *hint = hint_of(e);

    fflush(c->out);
    fputs("birthmark: ", c->err);
    bm_cli_print_text(c->err, *e->what != '\0' ? e->what : "failed");
    fprintf(c->err, e->rc == BM_USAGE && *e->code == '\0' ? "\n" : " (%s)\n", bm_error_code(e));
    if (!c->parsed && c->verb != NULL)
        bm_cli_usage(c->err, c->verb);
    else if (!c->parsed && c->family != NULL)
        bm_cli_help(c->err, c->family, NULL);
    if (hint != NULL)
        fprintf(c->err, "  %s\n", hint);
    else if (e->rc == BM_NOTFOUND)
        hint_notfound(c);
}
