/* init, version. */
#include "cli/cli.h"

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
    enum bm_rc rc = bm_cli_joined(c, "tls_host", hosts, sizeof hosts, e);

    o.ca_alg = o.ca_alg == NULL ? "EC:P-256" : o.ca_alg;
    o.organisation = o.organisation == NULL ? "Birthmark" : o.organisation;
    if (rc == BM_OK)
        rc = bm_keeper_init(&o, e);
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
