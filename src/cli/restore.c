/* restore: a backup into an empty data folder. It is checked from end to end before anything is written. */
#include "cli/backup.h"

#include "base/file.h"
#include "base/text.h"
#include "keeper/keeper.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum bm_rc damaged(struct bm_error *e, const char *what, const char *why)
{
    return bm_refuse(e, BM_DENIED, "backup-damaged", "%s: %s; nothing was restored", what, why);
}

/* --- reading it --------------------------------------------------------------------------------------------------------------- */
static enum bm_rc read_manifest(const char *from, json_t **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_BACKUP_MANIFEST_MAX };
    char path[BM_BACKUP_PATH_MAX];
    const char *format;
    enum bm_rc rc = bm_path_join(from, BM_BACKUP_MANIFEST, path, sizeof path, e);

    if (rc == BM_OK)
        rc = bm_file_read(path, &text, e);
    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_NOTFOUND, "no-backup", "%s holds no whole backup: there is no " BM_BACKUP_MANIFEST, from);
    if (rc != BM_OK)
        return rc;
    *ret = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    format = json_string_value(json_object_get(*ret, "format"));
    if (format == NULL || !json_is_array(json_object_get(*ret, "files")) || !json_is_object(json_object_get(*ret, "registry")))
        return damaged(e, path, "not the list of a backup");
    if (strcmp(format, BM_BACKUP_FORMAT) != 0)
        return bm_fail(e, BM_MALFORMED, "%s is in a format this program does not know", path);
    return BM_OK;
}

/* Only what a backup is made of: the list must not lead anywhere else. */
static bool may_hold(const char *name)
{
    size_t n = strlen(name);

    if (strcmp(name, "registry.db") == 0 || strcmp(name, "birthmark.conf") == 0)
        return true;
    return strncmp(name, "keys/", 5) == 0 && name[5] != '.' && strchr(name + 5, '/') == NULL && n > 13 && n < 280 &&
           strcmp(name + n - 8, ".key.pem") == 0;
}

static enum bm_rc check_file(const char *from, const json_t *file, struct bm_error *e)
{
    const char *name = json_string_value(json_object_get(file, "path")), *says = json_string_value(json_object_get(file, "sha256"));
    char path[BM_BACKUP_PATH_MAX], hex[65];
    uint8_t sha256[32];
    int64_t size = -1;
    enum bm_rc rc;

    if (name == NULL || says == NULL || !may_hold(name))
        return damaged(e, BM_BACKUP_MANIFEST, "names a file that does not belong into a backup");
    rc = bm_path_join(from, name, path, sizeof path, e);
    if (rc == BM_OK)
        rc = bm_file_digest(path, &size, sha256, e);
    if (rc == BM_NOTFOUND)
        return damaged(e, path, "is missing");
    if (rc != BM_OK)
        return rc;
    bm_hex(sha256, sizeof sha256, hex);
    if (size != json_integer_value(json_object_get(file, "size")) || strcmp(hex, says) != 0)
        return damaged(e, path, "was changed after the backup was made");
    return BM_OK;
}

static enum bm_rc check_files(const char *from, const json_t *files, struct bm_error *e)
{
    const json_t *file;
    size_t i, registries = 0;
    enum bm_rc rc = BM_OK;

    json_array_foreach (files, i, file) {
        rc = check_file(from, file, e);
        if (rc != BM_OK)
            return rc;
        registries += strcmp(json_string_value(json_object_get(file, "path")), "registry.db") == 0;
    }
    return registries == 1 ? BM_OK : damaged(e, BM_BACKUP_MANIFEST, "names no registry");
}

static bool as_said(const json_t *said, const struct bm_proof *p)
{
    BM_CLEANUP(bm_cli_unref) json_t *is = bm_cli_proof_json(p);

    return is != NULL && json_equal(said, is) == 1;
}

/* The audit log leads to the root that was written down, and every row is what it was. */
static enum bm_rc check_registry(const char *from, const json_t *manifest, char *ret_dsn, size_t room, struct bm_proof *ret,
                                 struct bm_error *e)
{
    enum bm_rc rc;

    if ((size_t)snprintf(ret_dsn, room, "sqlite:%s/registry.db", from) >= room)
        return bm_fail(e, BM_LIMIT, "%s: path too long", from);
    rc = bm_cli_prove_at(ret_dsn, ret, e);
    if (rc == BM_OK && !as_said(json_object_get(manifest, "registry"), ret))
        return damaged(e, from, "the registry is not the one the backup's list tells of");
    return rc;
}

/* --- writing ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc copy_rest(const char *from, const char *data_dir, const json_t *files, struct bm_error *e)
{
    char there[BM_BACKUP_PATH_MAX], here[BM_BACKUP_PATH_MAX];
    const json_t *file;
    size_t i;
    enum bm_rc rc = bm_path_join(data_dir, "keys", here, sizeof here, e);

    if (rc == BM_OK)
        rc = bm_dir_make(here, 0700, e);
    json_array_foreach (files, i, file) {
        const char *name = json_string_value(json_object_get(file, "path"));

        if (rc != BM_OK || strcmp(name, "registry.db") == 0)
            continue;
        rc = bm_path_join(from, name, there, sizeof there, e);
        if (rc == BM_OK)
            rc = bm_path_join(data_dir, name, here, sizeof here, e);
        if (rc == BM_OK)
            rc = bm_file_copy(there, here, e);
    }
    if (rc == BM_OK)
        rc = bm_path_join(data_dir, "keys", here, sizeof here, e);
    return rc == BM_OK ? bm_file_sync(here, e) : rc;
}

static enum bm_rc move_registry(const char *from_dsn, const char *to_dsn, struct bm_error *e)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *s = NULL;
    struct bm_content content;
    enum bm_rc rc = bm_store_open(from_dsn, (struct bm_store_options){ .read_only = true }, &s, e);

    if (rc == BM_OK)
        rc = bm_store_snapshot(s, e);
    return rc == BM_OK ? bm_store_move(s, to_dsn, NULL, NULL, &content, e) : rc;
}

/* Keys and configuration first, the registry last: until it is there, there is nothing to serve. */
static enum bm_rc write_all(struct bm_cli *c, const char *from, const char *from_dsn, const json_t *files, struct bm_error *e)
{
    const char *store = bm_cli_text(c, "store");
    char config[BM_BACKUP_PATH_MAX], dsn[BM_BACKUP_PATH_MAX];
    enum bm_rc rc = bm_path_join(c->data_dir, "birthmark.conf", config, sizeof config, e);

    if (rc == BM_OK)
        rc = copy_rest(from, c->data_dir, files, e);
    if (rc == BM_OK)
        rc = bm_cli_config_store(config, store, e);
    if (rc == BM_OK)
        rc = bm_keeper_dsn(c->data_dir, store, dsn, sizeof dsn, e);
    if (rc == BM_OK)
        rc = move_registry(from_dsn, dsn, e);
    return rc == BM_OK ? bm_file_sync(c->data_dir, e) : rc;
}

static enum bm_rc make_empty(const char *data_dir, struct bm_error *e)
{
    if (mkdir(data_dir, 0700) == 0 || (errno == EEXIST && rmdir(data_dir) == 0 && mkdir(data_dir, 0700) == 0))
        return BM_OK;
    return errno == EEXIST || errno == ENOTEMPTY
               ? bm_refuse(e, BM_CONFLICT, "already-there", "%s is not empty: restore into a new folder", data_dir)
               : bm_fail(e, BM_IO, "%s: %s", data_dir, strerror(errno));
}

enum bm_rc bm_cli_restore(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *manifest = NULL;
    const char *from = bm_cli_text(c, "from");
    char dsn[BM_BACKUP_PATH_MAX];
    struct bm_proof proof = { 0 };
    const json_t *files;
    enum bm_rc rc = read_manifest(from, &manifest, e);

    files = json_object_get(manifest, "files");
    if (rc == BM_OK)
        rc = check_files(from, files, e);
    if (rc == BM_OK)
        rc = check_registry(from, manifest, dsn, sizeof dsn, &proof, e);
    if (rc == BM_OK)
        rc = make_empty(c->data_dir, e);
    if (rc == BM_OK)
        rc = write_all(c, from, dsn, files, e);
    if (rc != BM_OK)
        return rc;
    bm_cli_note(c, "Put the secret back as %s/secret (mode 0400), or name it with --secret-file, before you start the server.\n",
                c->data_dir);
    return bm_cli_tell(c, bm_cli_proof_json(&proof), e);
}
