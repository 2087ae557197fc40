/* config check, show, keys. */
#include "cli/cli.h"

#include "base/config.h"

#include <unistd.h>

enum bm_rc bm_cli_config_check(struct bm_cli *c, struct bm_error *e)
{
    struct bm_config config = { 0 };
    enum bm_rc rc = bm_config_load(&config, c->data_dir, bm_cli_text(c, "file"), e);

    if (rc == BM_OK)
        bm_cli_note(
            c, access(config.file, F_OK) == 0 ? "%s is good.\n" : "There is no %s: the defaults are in force, and that is fine.\n",
            config.file);
    return rc;
}

enum bm_rc bm_cli_config_show(struct bm_cli *c, struct bm_error *e)
{
    struct bm_config config = { 0 };
    BM_CLEANUP(bm_cli_unref) json_t *r = NULL;
    struct bm_config_value v;
    int bad = 0;
    enum bm_rc rc = bm_config_load(&config, c->data_dir, bm_cli_text(c, "file"), e);

    if (rc != BM_OK)
        return rc;
    r = json_pack("{ss,ss}", "data", config.data_dir, "file", config.file);
    for (size_t i = 0; bad == 0 && bm_config_value(&config, i, &v); i++)
        bad = json_object_set_new(r, v.key, v.text != NULL ? json_string(v.text) : json_integer(v.number));
    if (r == NULL || bad != 0)
        return bm_fail(e, BM_NOMEM, "out of memory, or a setting that is not UTF-8");
    if (c->json)
        bm_cli_print_json(c, r);
    else
        bm_cli_print_record(c, r);
    return BM_OK;
}

enum bm_rc bm_cli_config_keys(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_CONFIG_FILE_MAX };

    bm_config_help(&text);
    fwrite(text.p, 1, text.n, c->out);
    return bm_buf_check(&text, e);
}
