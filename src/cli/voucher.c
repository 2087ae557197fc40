/* birthmark voucher issue: the voucher into a file, as a device takes it. */
#include "cli/cli.h"

#include "base/file.h"
#include "base/text.h"

#include <string.h>

static enum bm_rc write_file(const char *path, const char *base64, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf cms = { .max = BM_VOUCHER_MAX };
    enum bm_rc rc =
        base64 != NULL ? bm_unbase64(bm_rd_str(base64), &cms, e) : bm_fail(e, BM_MALFORMED, "the answer holds no voucher");

    return rc == BM_OK ? bm_file_write(path, bm_buf_rd(&cms), 0644, e) : rc;
}

enum bm_rc bm_cli_voucher_issue(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_copy(c->words), *answer = NULL;
    const char *path = bm_cli_text(c, "out");
    enum bm_rc rc;

    json_object_del(request, "out");
    json_object_del(request, "cert");
    rc = bm_cli_ask(c, request, &answer, e);
    if (rc == BM_OK && path != NULL)
        rc = write_file(path, json_string_value(json_object_get(answer, "voucher")), e);
    if (rc != BM_OK)
        return rc;
    if (path != NULL)
        json_object_del(answer, "voucher");
    if (c->json)
        bm_cli_print_json(c, answer);
    else if (!c->quiet)
        bm_cli_print_record(c, answer);
    return BM_OK;
}
