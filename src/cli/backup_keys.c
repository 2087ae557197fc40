/* A backup copies the registry first and the keys after it. A CA's key is there before its row and stays, but a key-encryption key may be
 * destroyed between the two, and what the copy holds under it would open for nobody. */
#include "cli/backup.h"

#include "base/file.h"
#include "store/mac_key.h"

#include <unistd.h>

static enum bm_rc check_one(void *arg, const struct bm_kek_row *r, struct bm_error *e)
{
    const char *out = arg, *name = strchr(r->key_uri, ':');
    char file[BM_TEXT_MAX + 32], path[BM_BACKUP_PATH_MAX];
    enum bm_rc rc;

    if (strncmp(r->key_uri, "file:", 5) != 0 || strcmp(r->state, BM_KEK_DESTROYED) == 0 || strcmp(r->state, BM_KEK_ENDING) == 0)
        return BM_OK;
    snprintf(file, sizeof file, "keys/%s.key.pem", name + 1);
    rc = bm_path_join(out, file, path, sizeof path, e);
    if (rc != BM_OK || access(path, F_OK) == 0)
        return rc;
    return bm_refuse(e, BM_AGAIN, "backup-keys", "a key was destroyed while the backup was made; remove %s and make it again", out);
}

enum bm_rc bm_backup_check_keys(const char *out, struct bm_error *e)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *s = NULL;
    char dsn[BM_BACKUP_PATH_MAX + 32];
    enum bm_rc rc;

    snprintf(dsn, sizeof dsn, "sqlite:%s/registry.db", out);
    rc = bm_store_open(dsn, (struct bm_store_options){ .read_only = true }, &s, e);
    return rc == BM_OK ? bm_kek_each(s, check_one, (void *)(uintptr_t)out, e) : rc;
}
