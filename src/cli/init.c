/* init, version. */
#include "cli/backup.h"

#include "keeper/keeper.h"

#include <openssl/crypto.h>
#include <sqlite3.h>

#ifndef BM_VERSION
#define BM_VERSION "0.1.0"
#endif

static void say_done(struct bm_cli *c, const struct bm_init_options *o)
{
    bm_cli_note(c, "The registry is in %s. Keep a copy of %s%s apart from it: without it no key can be opened.\n", o->data_dir,
                o->secret_file != NULL ? o->secret_file : o->data_dir, o->secret_file != NULL ? "" : "/secret");
    bm_cli_note(c, "Next: birthmark serve --data %s\n      birthmark org create NAME --role oem --data %s\n", o->data_dir,
                o->data_dir);
}

/* *ret_write: --store says what the file does not say yet. */
static enum bm_rc choose_store(struct bm_cli *c, struct bm_config *config, bool *ret_write, struct bm_error *e)
{
    const char *store = bm_cli_text(c, "store");
    enum bm_rc rc = bm_config_load(config, c->data_dir, NULL, e);

    *ret_write = false;
    if (rc != BM_OK || store == NULL)
        return rc;
    if (config->store[0] != '\0' && strcmp(config->store, store) != 0)
        return bm_fail(e, BM_CONFLICT, "%s says store = %s; change it there, or leave --store out", config->file, config->store);
    if (strpbrk(store, "#\n") != NULL)
        return bm_fail(e, BM_USAGE, "--store: '#' and line ends do not go into the configuration");
    *ret_write = config->store[0] == '\0';
    return bm_config_set(config, "store", store, e);
}

static enum bm_rc make(const struct bm_init_options *o, const struct bm_config *config, bool write, struct bm_error *e)
{
    enum bm_rc rc = bm_keeper_init(o, e);

    return rc == BM_OK && write ? bm_cli_config_store(config->file, o->store, e) : rc;
}

/* Making it and opening it are two things: what is printed has been read back. */
enum bm_rc bm_cli_init(struct bm_cli *c, struct bm_error *e)
{
    char hosts[BM_TEXT_MAX];
    struct bm_init_options o = {
        .data_dir = c->data_dir,
        .secret_file = c->secret_file,
        .ca_alg = bm_cli_text(c, "ca_alg"),
        .organisation = bm_cli_text(c, "organisation"),
        .tls_hosts = hosts,
    };
    BM_CLEANUP(bm_cli_unref) json_t *status = NULL;
    struct bm_cli_table t = { .c = c, .rows = "cas", .columns = "name state not_after=EXPIRES" };
    static struct bm_config config;
    bool write = false;
    enum bm_rc rc = bm_cli_joined(c, "tls_host", hosts, sizeof hosts, e);

    o.ca_alg = o.ca_alg == NULL ? "EC:P-256" : o.ca_alg;
    o.organisation = o.organisation == NULL ? "Birthmark" : o.organisation;
    if (rc == BM_OK)
        rc = choose_store(c, &config, &write, e);
    o.store = config.store;
    o.root_key = bm_cli_text(c, "root_key");
    o.issuing_key = bm_cli_text(c, "issuing_key");
    o.existing_keys = bm_cli_flag(c, "existing_keys");
    o.tokens = bm_keeper_tokens_of(&config);
    if (rc == BM_OK)
        rc = make(&o, &config, write, e);
    if (rc == BM_OK)
        rc = bm_cli_ask1(c, "status", NULL, NULL, &status, e);
    if (rc != BM_OK)
        return rc;
    if (!c->quiet) {
        bm_cli_table_rows(&t, json_object_get(status, "cas"));
        bm_cli_table_end(&t, NULL);
    }
    say_done(c, &o);
    return BM_OK;
}

enum bm_rc bm_cli_version(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref)
    json_t *versions = json_pack("{ss,ss,ss,ss}", "birthmark", BM_VERSION, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING),
                                 "sqlite", sqlite3_libversion(), "jansson", jansson_version_str());

    if (versions == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    if (c->json)
        bm_cli_print_json(c, versions);
    else
        bm_cli_print_record(c, versions);
    return BM_OK;
}
