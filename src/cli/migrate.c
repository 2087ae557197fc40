/* migrate: the registry of this data folder into another database, whole or not at all. */
#include "cli/backup.h"

#include "base/file.h"
#include "keeper/keeper.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void unlockp(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static enum bm_rc prove_it(void *arg, struct bm_store *to, struct bm_error *e)
{
    return bm_cli_prove(to, arg, e);
}

static enum bm_rc move_all(const char *from, const char *to, struct bm_proof *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *s = NULL;
    struct bm_content content;
    enum bm_rc rc = bm_store_open(from, (struct bm_store_options){ 0 }, &s, e);

    if (rc == BM_OK)
        rc = bm_store_snapshot(s, e);
    return rc == BM_OK ? bm_store_move(s, to, prove_it, ret, &content, e) : rc;
}

/* So that nobody goes on with it by mistake, and two histories come of one. */
static enum bm_rc put_aside(const char *data_dir, struct bm_error *e)
{
    char path[BM_BACKUP_PATH_MAX], aside[BM_BACKUP_PATH_MAX];
    enum bm_rc rc = bm_path_join(data_dir, "registry.db", path, sizeof path, e);

    if (rc == BM_OK)
        rc = bm_path_join(data_dir, "registry.db.migrated", aside, sizeof aside, e);
    if (rc == BM_OK && rename(path, aside) != 0)
        rc = bm_fail(e, BM_IO, "%s: %s", path, strerror(errno));
    return rc == BM_OK ? bm_file_sync(data_dir, e) : rc;
}

enum bm_rc bm_cli_migrate(struct bm_cli *c, struct bm_error *e)
{
    static struct bm_config config;
    BM_CLEANUP(unlockp) int lock = -1;
    const char *to = bm_cli_text(c, "to");
    char from[BM_CONFIG_PATH_MAX + 32];
    struct bm_proof proof = { 0 };
    enum bm_rc rc = bm_config_load(&config, c->data_dir, NULL, e);

    if (rc == BM_OK)
        rc = bm_keeper_dsn(c->data_dir, config.store, from, sizeof from, e);
    if (rc == BM_OK && strcmp(from, to) == 0)
        rc = bm_fail(e, BM_USAGE, "the registry is there already");
    if (rc == BM_OK)
        rc = bm_config_set(&config, "store", to, e); /* would it go into the configuration? */
    if (rc == BM_OK)
        rc = bm_data_lock(c->data_dir, &lock, e);
    if (rc == BM_OK)
        rc = move_all(from, to, &proof, e);
    if (rc == BM_OK)
        rc = bm_cli_config_store(config.file, to, e);
    if (rc == BM_OK && strncmp(from, "sqlite:", 7) == 0 && strncmp(from + 7, c->data_dir, strlen(c->data_dir)) == 0)
        rc = put_aside(c->data_dir, e);
    return rc == BM_OK ? bm_cli_tell(c, bm_cli_proof_json(&proof), e) : rc;
}
