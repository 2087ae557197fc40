/* serve: the configuration, what the command line says over it, and the server. */
#include "cli/cli.h"

#include "base/config.h"
#include "server/serve.h"

static enum bm_rc set_options(const struct bm_cli *c, struct bm_config *config, struct bm_error *e)
{
    static const char *const keys[] = { "listen", "listen_http", "listen_metrics", "workers", "log_level" };
    enum bm_rc rc = c->secret_file != NULL ? bm_config_set(config, "secret_file", c->secret_file, e) : BM_OK;

    for (size_t i = 0; i < BM_COUNT(keys) && rc == BM_OK; i++) {
        const char *value = bm_cli_text(c, keys[i]);

        rc = value != NULL ? bm_config_set(config, keys[i], value, e) : BM_OK;
    }
    return rc == BM_OK ? bm_config_check(config, e) : rc;
}

enum bm_rc bm_cli_serve(struct bm_cli *c, struct bm_error *e)
{
    static struct bm_config config; /* as long as the program */
    enum bm_rc rc = bm_config_load(&config, c->data_dir, bm_cli_text(c, "config"), e);

    if (rc == BM_OK)
        rc = set_options(c, &config, e);
    if (rc != BM_OK)
        return rc;
    c->status = bm_serve(&config);
    return BM_OK;
}
