/* birthmark cert lint: the linter that profiles have to pass, over any certificate. It asks no keeper. */
#include "cli/cli.h"

#include "pki/describe.h"
#include "pki/lint.h"

#include <string.h>

enum { FILE_MAX = 4 * 1024 * 1024 };

struct run {
    json_t *rows;
    json_int_t certificates, errors, recommendations;
};

static enum bm_rc add_finding(void *arg, const struct bm_lint_rule *r, struct bm_error *e)
{
    struct run *run = arg;
    json_t *row = json_pack("{s:I, s:s, s:s, s:s, s:s}", "certificate", run->certificates, "level",
                            r->should ? "recommendation" : "error", "rule", r->name, "section", r->section, "what", r->what);

    run->errors += !r->should;
    run->recommendations += r->should;
    return json_array_append_new(run->rows, row) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "out of memory");
}

static enum bm_rc lint_one(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct run *run = arg;
    enum bm_rc rc;

    run->certificates++;
    rc = bm_cert_lint(der, add_finding, run, e);
    return rc == BM_OK ? BM_OK : bm_wrap(e, rc, "certificate %lld", (long long)run->certificates);
}

static enum bm_rc lint_file(struct run *run, const char *path, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = FILE_MAX };
    enum bm_rc rc = bm_cli_read(path, &raw, e);

    if (rc != BM_OK)
        return rc;
    if (raw.n != 0 && raw.p[0] == 0x30) /* a SEQUENCE: DER */
        return lint_one(run, bm_buf_rd(&raw), e);
    rc = bm_pem_parse(bm_buf_rd(&raw), "CERTIFICATE", lint_one, run, e);
    return rc == BM_OK && run->certificates == 0 ? bm_fail(e, BM_USAGE, "'%s' holds no certificate", path) : rc;
}

static void show(struct bm_cli *c, const struct run *run)
{
    struct bm_cli_table t = { .c = c, .rows = c->verb->rows, .columns = c->verb->columns };

    bm_cli_table_rows(&t, run->rows);
    bm_cli_table_end(&t, NULL);
    if (json_array_size(run->rows) == 0)
        bm_cli_note(c, "nothing is wrong with %lld certificate%s\n", (long long)run->certificates,
                    run->certificates == 1 ? "" : "s");
}

enum bm_rc bm_cli_cert_lint(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *rows = json_array();
    struct run run = { .rows = rows };
    enum bm_rc rc = rows != NULL ? lint_file(&run, bm_cli_text(c, "file"), e) : bm_fail(e, BM_NOMEM, "out of memory");

    if (rc != BM_OK)
        return rc;
    show(c, &run);
    c->status = run.errors != 0 ? BM_EXIT_FAILED : BM_EXIT_OK;
    return BM_OK;
}
