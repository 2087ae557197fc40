/* What `backup`, `restore` and `migrate` share. A backup is a folder:
 *
 *   registry.db       the registry and the audit log, one SQLite file, wherever the registry itself is kept
 *   keys/             the private keys, sealed; what seals them (the secret) is not here
 *   birthmark.conf    if there is one
 *   backup.json       written last: what the others hold, by digest, and where the audit log stood */
#ifndef BM_CLI_BACKUP_H
#define BM_CLI_BACKUP_H

#include "base/config.h"
#include "cli/cli.h"
#include "store/store.h"

#define BM_BACKUP_FORMAT "birthmark-backup-1"
#define BM_BACKUP_MANIFEST "backup.json"
enum { BM_BACKUP_MANIFEST_MAX = 4 * 1024 * 1024, BM_BACKUP_PATH_MAX = 4096 };

/* Size and SHA-256 of a file. */
BM_MUST_USE enum bm_rc bm_file_digest(const char *path, int64_t *ret_size, uint8_t ret[32], struct bm_error *e);
/* Copies a file of any size to one that is not there yet, mode 0600, and fsyncs it. */
BM_MUST_USE enum bm_rc bm_file_copy(const char *from, const char *to, struct bm_error *e);
/* fsync of a file or folder that is complete. */
/* backup_keys.c: are the key-encryption keys that the copied registry needs there? BM_AGAIN backup-keys. */
BM_MUST_USE enum bm_rc bm_backup_check_keys(const char *out, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_file_sync(const char *path, struct bm_error *e);

/* The configuration with `store = dsn`, or without a store when dsn is NULL; the rest stays. */
BM_MUST_USE enum bm_rc bm_cli_config_store(const char *path, const char *dsn, struct bm_error *e);

/* The same for any key of it. */
BM_MUST_USE enum bm_rc bm_cli_config_line(const char *path, const char *key, const char *value, struct bm_error *e);

/* The audit logs of a registry that stands still, computed again and checked against its own key. */
struct bm_proof {
    int64_t leaves, heads;
    char root[65];
    struct bm_content content;
    char sha256[65]; /* of content */
};
BM_MUST_USE enum bm_rc bm_cli_prove(struct bm_store *s, struct bm_proof *ret, struct bm_error *e);
/* The same for an address: opened for reading, at whatever schema it has. */
BM_MUST_USE enum bm_rc bm_cli_prove_at(const char *dsn, struct bm_proof *ret, struct bm_error *e);
/* Every file and every row of a backup, as restore does it before it writes anything. ret_manifest: a new reference, also on failure perhaps. */
BM_MUST_USE enum bm_rc bm_cli_backup_check(const char *from, json_t **ret_manifest, struct bm_proof *ret, struct bm_error *e);
/* Members entries, heads, root, rows, sha256. A new reference, or NULL. */
json_t *bm_cli_proof_json(const struct bm_proof *p);
/* Prints it as the answer of a verb. */
BM_MUST_USE enum bm_rc bm_cli_tell(struct bm_cli *c, json_t *record, struct bm_error *e);

#endif
