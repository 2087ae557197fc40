/* config check, show, keys. */
#include "cli/cli.h"

#include "base/config.h"

#include <unistd.h>

static const char *level_name(enum bm_log_level level)
{
    static const char *const names[] = {
        [BM_LOG_ERROR] = "error",
        [BM_LOG_WARN] = "warn",
        [BM_LOG_INFO] = "info",
        [BM_LOG_DEBUG] = "debug",
    };

    return (size_t)level < BM_COUNT(names) ? names[level] : "?";
}

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
    enum bm_rc rc = bm_config_load(&config, c->data_dir, bm_cli_text(c, "file"), e);

    if (rc != BM_OK)
        return rc;
    r = json_pack("{ss,ss,ss,ss,ss,ss,ss,si,ss,ss,ss,ss,ss,si,si,si,si,ss,ss,ss,ss,ss,ss,si}", "data", config.data_dir, "file",
                  config.file, "listen", config.listen, "listen_http", config.listen_http, "listen_metrics", config.listen_metrics,
                  "listen_api", config.listen_api, "coap_listen", config.coap_listen, "workers", (int)config.workers, "log_level",
                  level_name(config.log_level), "tls_hosts", config.tls_hosts, "tls_cert_file", config.tls_cert_file,
                  "tls_key_file", config.tls_key_file, "secret_file", config.secret_file, "connections", (int)config.connections,
                  "connections_per_address", (int)config.connections_per_address, "idle_seconds", (int)config.idle_seconds,
                  "drain_seconds", (int)config.drain_seconds, "confine", bm_confine_word(config.confine), "keeper_user",
                  config.keeper_user, "worker_user", config.worker_user, "pkcs11_module", config.pkcs11_module, "pkcs11_pin_file",
                  config.pkcs11_pin_file, "pkcs11_paths", config.pkcs11_paths, "pkcs11_sockets", (int)config.pkcs11_sockets);
    if (r == NULL)
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
