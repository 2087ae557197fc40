/* The server's configuration: DATA/birthmark.conf, which may be missing, or the file the operator names. Lines `key = value`; `#` begins
 * a comment; a value runs to the end of its line. One table of rows says what keys there are (config_table.c). Anything unknown, doubled or out of
 * range is BM_USAGE with file, line and what to write instead: a setting that is silently ignored is worse than a server that does not start. */
#ifndef BM_BASE_CONFIG_H
#define BM_BASE_CONFIG_H

#include "base/bytes.h"
#include "base/confine.h"
#include "base/log.h"

#define BM_CONFIG_PATH_MAX 512
#define BM_CONFIG_FILE_MAX (64 * 1024)

struct bm_config {
    char data_dir[BM_CONFIG_PATH_MAX];
    char file[BM_CONFIG_PATH_MAX]; /* what was read; re-read on SIGHUP */
    bool file_required;            /* the operator named it */
    uint64_t fixed;                /* rows set by bm_config_set(): the file does not change them */
    uint64_t seen;                 /* rows the file being read has set */

    char listen[512], listen_http[512], listen_metrics[512], listen_api[512], coap_listen[512];
    unsigned workers; /* 0: one per processor */
    enum bm_log_level log_level;
    char tls_hosts[512];
    char tls_cert_file[BM_CONFIG_PATH_MAX], tls_key_file[BM_CONFIG_PATH_MAX]; /* "": our own CA's certificate */
    char host[72];                                                            /* "": the one that made the registry */
    char store[BM_CONFIG_PATH_MAX];                                           /* "": sqlite:DATA/registry.db */
    char secret_file[BM_CONFIG_PATH_MAX];                                     /* "": DATA/secret */
    unsigned connections, connections_per_address;
    unsigned idle_seconds, drain_seconds;
    unsigned coap_sessions, coap_handshakes, coap_idle_seconds, coap_bodies_mb;
    unsigned scep_strangers_per_second, scep_strangers_per_minute, scep_known_per_minute;
    unsigned voucher_request_seconds, voucher_log_entries;
    enum bm_confine_mode confine;
    char journal[BM_CONFIG_PATH_MAX]; /* "": none */
    char pkcs11_module[BM_CONFIG_PATH_MAX], pkcs11_pin_file[BM_CONFIG_PATH_MAX], pkcs11_paths[BM_CONFIG_PATH_MAX];
    unsigned pkcs11_sockets;
    char dns_servers[256];         /* "": the system's */
    char validation_networks[512]; /* base/address.h */
    unsigned acme_http_port, acme_tls_port;
    char acme_help_url[256];
    char keeper_user[64], worker_user[64]; /* "": the data folder's owner, and `nobody` */
};

/* All defaults. BM_LIMIT when data_dir is too long. */
BM_MUST_USE enum bm_rc bm_config_init(struct bm_config *c, const char *data_dir, struct bm_error *e);
/* Defaults, then the file: `file`, or DATA/birthmark.conf if there is one when NULL. Options of the command line come after it through
 * bm_config_set(), and then bm_config_check(). */
BM_MUST_USE enum bm_rc bm_config_load(struct bm_config *c, const char *data_dir, const char *file, struct bm_error *e);
/* The file's text over *c; name is for messages. Pure. *c is to be thrown away on failure. */
BM_MUST_USE enum bm_rc bm_config_parse(struct bm_config *c, struct bm_rd text, const char *name, struct bm_error *e);
/* One key from the command line; it wins over the file, now and when that is read again. */
BM_MUST_USE enum bm_rc bm_config_set(struct bm_config *c, const char *key, const char *value, struct bm_error *e);
/* What no row can say alone: keys that need each other. bm_config_load() does it too. */
BM_MUST_USE enum bm_rc bm_config_check(const struct bm_config *c, struct bm_error *e);
/* Reads the file of *c again, keeping what the command line said. On failure *c is as it was. */
BM_MUST_USE enum bm_rc bm_config_reload(struct bm_config *c, struct bm_error *e);
/* Every key with its default, range and meaning, as a file that could be used as it stands. */
void bm_config_help(struct bm_buf *out);
/* Row i of the same, for a manual. */
struct bm_config_doc {
    const char *key, *value, *doc; /* value: the default */
    bool number;                   /* from min to max */
    bool reloads;                  /* SIGHUP brings it into force */
    unsigned min, max;
};
bool bm_config_doc(size_t i, struct bm_config_doc *ret); /* false: there are not so many */
/* What row i is set to. */
struct bm_config_value {
    const char *key, *text; /* text NULL: a number; else borrowed from *c */
    unsigned number;
};
bool bm_config_value(const struct bm_config *c, size_t i, struct bm_config_value *ret);
/* The keys in which the two differ and that are in force only after a restart, with commas. */
void bm_config_waiting(const struct bm_config *was, const struct bm_config *is, struct bm_buf *out);

#endif
