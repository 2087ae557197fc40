/* join: the data folder of one more host. */
#include "cli/backup.h"

#include "keeper/keeper.h"

#include <string.h>

static enum bm_rc check_config(const struct bm_config *config, const char *store, struct bm_error *e)
{
    if (config->store[0] != '\0' || config->host[0] != '\0')
        return bm_fail(e, BM_CONFLICT, "%s names a registry already; join with a new data folder", config->file);
    if (strncmp(store, "postgres:", 9) != 0)
        return bm_refuse(e, BM_USAGE, "one-host", "a registry in SQLite is for one host; --store must be postgres:...");
    return strpbrk(store, "#\n") == NULL ? BM_OK
                                         : bm_fail(e, BM_USAGE, "--store: '#' and line ends do not go into the configuration");
}

enum bm_rc bm_cli_join(struct bm_cli *c, struct bm_error *e)
{
    static struct bm_config config;
    char hosts[BM_TEXT_MAX];
    struct bm_join_options o = {
        .data_dir = c->data_dir,
        .secret_file = c->secret_file,
        .store = bm_cli_text(c, "store"),
        .name = bm_cli_text(c, "name"),
        .tls_hosts = hosts,
    };
    enum bm_rc rc = bm_cli_joined(c, "tls_host", hosts, sizeof hosts, e);

    if (rc == BM_OK)
        rc = bm_config_load(&config, c->data_dir, NULL, e);
    if (rc == BM_OK)
        rc = check_config(&config, o.store, e);
    if (rc == BM_OK)
        rc = bm_keeper_join(&o, e);
    if (rc == BM_OK)
        rc = bm_cli_config_line(config.file, "store", o.store, e);
    if (rc == BM_OK)
        rc = bm_cli_config_line(config.file, "host", o.name, e);
    if (rc == BM_OK)
        bm_cli_note(c, "Host '%s' has joined.\nNext: birthmark serve --data %s\n", o.name, c->data_dir);
    return rc;
}
