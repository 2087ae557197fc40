/* birthmark policy test: files into the request, and the answer into an exit status. */
#include "cli/cli.h"

#include "pki/cert.h"

#include <string.h>

enum { FILE_MAX = 64 * 1024 };

/* The file that `member` names takes its place, as PEM. */
static enum bm_rc inline_file(struct bm_cli *c, const char *member, const char *label, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf raw = { .max = FILE_MAX }, pem = { .max = 2 * FILE_MAX };
    const char *path = bm_cli_text(c, member);
    enum bm_rc rc = path != NULL ? bm_cli_read(path, &raw, e) : BM_OK;

    if (rc != BM_OK || path == NULL)
        return rc;
    if (raw.n != 0 && raw.p[0] == 0x30) /* a SEQUENCE: DER */
        bm_pem_write(&pem, label, bm_buf_rd(&raw));
    else
        bm_buf_put(&pem, raw.p, raw.n);
    rc = bm_buf_check(&pem, e);
    if (rc == BM_OK && json_object_set_new(c->words, member, json_stringn((const char *)pem.p, pem.n)) != 0)
        rc = bm_fail(e, BM_USAGE, "'%s' is neither PEM nor DER", path);
    return rc;
}

enum bm_rc bm_cli_policy_test(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;
    enum bm_rc rc = inline_file(c, "csr", "CERTIFICATE REQUEST", e);

    if (rc == BM_OK)
        rc = inline_file(c, "certificate", "CERTIFICATE", e);
    if (rc == BM_OK)
        rc = bm_cli_ask(c, c->words, &answer, e);
    if (rc != BM_OK)
        return rc;
    if (c->json)
        bm_cli_print_json(c, answer);
    else
        bm_cli_print_record(c, answer);
    c->status = json_is_true(json_object_get(answer, "granted")) ? BM_EXIT_OK : BM_EXIT_FAILED;
    return BM_OK;
}
