/* api openapi. */
#include "cli/cli.h"

#include "protocol/api.h"

enum bm_rc bm_cli_api_openapi(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *doc = bm_api_openapi();

    if (doc == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    bm_cli_print_json(c, doc);
    return BM_OK;
}
