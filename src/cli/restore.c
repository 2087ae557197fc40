/* restore: a backup into an empty data folder. It is checked from end to end before anything is written. */
#include "cli/backup.h"

#include "base/file.h"
#include "base/text.h"
#include "keeper/keeper.h"
#include "store/journal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
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

static enum bm_rc prove_it(void *arg, struct bm_store *to, struct bm_error *e)
{
    return bm_cli_prove(to, arg, e);
}

/* It counts only when the audit log leads to every head that was signed, those of the journal among them. */
static enum bm_rc move_registry(const char *from_dsn, const char *to_dsn, struct bm_proof *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *s = NULL;
    struct bm_content content;
    enum bm_rc rc = bm_store_open(from_dsn, (struct bm_store_options){ .read_only = true }, &s, e);

    if (rc == BM_OK)
        rc = bm_store_snapshot(s, e);
    return rc == BM_OK ? bm_store_move(s, to_dsn, prove_it, ret, &content, e) : rc;
}

/* --- a copy to work on ---------------------------------------------------------------------------------------------------------- */
static const char *const scratch[] = { "registry.restoring", "registry.restoring-wal", "registry.restoring-shm" };

static void drop_scratch(const char *data_dir)
{
    char path[BM_BACKUP_PATH_MAX];

    for (size_t i = 0; i < BM_COUNT(scratch); i++)
        if (bm_path_join(data_dir, scratch[i], path, sizeof path, NULL) == BM_OK)
            (void)unlink(path);
}

static enum bm_rc take_key(void *arg, const char *name, struct bm_rd content, struct bm_error *e)
{
    const struct bm_cli *c = arg;
    char keys[BM_BACKUP_PATH_MAX], path[BM_BACKUP_PATH_MAX];
    size_t n = strlen(name);
    enum bm_rc rc = bm_path_join(c->data_dir, "keys", keys, sizeof keys, e);

    if (n <= 8 || strcmp(name + n - 8, ".key.pem") != 0)
        return bm_refuse(e, BM_DENIED, "journal-damaged", "the journal holds a file that is no key: %s", name);
    if (rc == BM_OK)
        rc = bm_path_join(keys, name, path, sizeof path, e);
    return rc == BM_OK ? bm_file_write(path, content, 0600, e) : rc;
}

static enum bm_rc read_until(const struct bm_cli *c, uint64_t *ret, struct bm_error *e)
{
    int64_t until = bm_cli_int(c, "until", INT64_MAX);

    if (until < 1)
        return bm_fail(e, BM_USAGE, "--until: records are counted from 1");
    *ret = (uint64_t)until;
    return BM_OK;
}

/* The backup's registry with what the journal holds after it, at this program's schema. */
static enum bm_rc bring_forward(struct bm_cli *c, const char *journal, const char *dsn, struct bm_replayed *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *s = NULL;
    uint64_t until = 0;
    enum bm_rc rc = read_until(c, &until, e);

    if (rc == BM_OK)
        rc = bm_store_open(dsn, (struct bm_store_options){ .as_is = true }, &s, e);
    if (rc == BM_OK && journal != NULL)
        rc = bm_journal_replay(s, journal, until, take_key, c, ret, e);
    return rc == BM_OK ? bm_store_migrate(s, INT64_MAX, e) : rc;
}

static enum bm_rc make_scratch(struct bm_cli *c, const char *from, char *ret_dsn, size_t room, struct bm_replayed *ret,
                               struct bm_error *e)
{
    char there[BM_BACKUP_PATH_MAX], here[BM_BACKUP_PATH_MAX] = "";
    enum bm_rc rc = bm_path_join(from, "registry.db", there, sizeof there, e);

    if (rc == BM_OK)
        rc = bm_path_join(c->data_dir, scratch[0], here, sizeof here, e);
    if (rc == BM_OK)
        rc = bm_file_copy(there, here, e);
    if (rc == BM_OK && (size_t)snprintf(ret_dsn, room, "sqlite:%s", here) >= room)
        return bm_fail(e, BM_LIMIT, "%s: path too long", here);
    return rc == BM_OK ? bring_forward(c, bm_cli_text(c, "journal"), ret_dsn, ret, e) : rc;
}

/* Keys and configuration first, the registry last: until it is there, there is nothing to serve. */
static enum bm_rc write_all(struct bm_cli *c, const char *from, const json_t *files, struct bm_proof *proof,
                            struct bm_replayed *replayed, struct bm_error *e)
{
    const char *store = bm_cli_text(c, "store");
    char config[BM_BACKUP_PATH_MAX], dsn[BM_BACKUP_PATH_MAX], copy[BM_BACKUP_PATH_MAX];
    enum bm_rc rc = bm_path_join(c->data_dir, "birthmark.conf", config, sizeof config, e);

    if (rc == BM_OK)
        rc = copy_rest(from, c->data_dir, files, e);
    if (rc == BM_OK)
        rc = bm_cli_config_store(config, store, e);
    if (rc == BM_OK)
        rc = bm_keeper_dsn(c->data_dir, store, dsn, sizeof dsn, e);
    if (rc == BM_OK)
        rc = make_scratch(c, from, copy, sizeof copy, replayed, e);
    if (rc == BM_OK)
        rc = move_registry(copy, dsn, proof, e);
    drop_scratch(c->data_dir);
    return rc == BM_OK ? bm_file_sync(c->data_dir, e) : rc;
}

/* A restore that failed leaves nothing: the folder was empty, so all that is in it is ours. */
static void empty_folder(const char *dir)
{
    char path[BM_BACKUP_PATH_MAX];
    const struct dirent *entry;
    DIR *d = opendir(dir);

    while (d != NULL && (entry = readdir(d)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            bm_path_join(dir, entry->d_name, path, sizeof path, NULL) == BM_OK)
            (void)unlink(path);
    if (d != NULL)
        closedir(d);
}

static void take_back(const char *data_dir)
{
    char keys[BM_BACKUP_PATH_MAX];

    if (bm_path_join(data_dir, "keys", keys, sizeof keys, NULL) == BM_OK) {
        empty_folder(keys);
        (void)rmdir(keys);
    }
    empty_folder(data_dir);
    (void)rmdir(data_dir);
}

static enum bm_rc make_empty(const char *data_dir, struct bm_error *e)
{
    if (mkdir(data_dir, 0700) == 0 || (errno == EEXIST && rmdir(data_dir) == 0 && mkdir(data_dir, 0700) == 0))
        return BM_OK;
    return errno == EEXIST || errno == ENOTEMPTY
               ? bm_refuse(e, BM_CONFLICT, "already-there", "%s is not empty: restore into a new folder", data_dir)
               : bm_fail(e, BM_IO, "%s: %s", data_dir, strerror(errno));
}

static json_t *replayed_json(const struct bm_replayed *r)
{
    char at[21];

    return json_pack("{sI,sI,sI,ss,sI}", "records", (json_int_t)r->records, "from", (json_int_t)r->from, "to", (json_int_t)r->to,
                     "until", r->records != 0 ? bm_time_text(r->at_ms / 1000, at) : "", "cut_off_bytes",
                     (json_int_t)r->end.torn_len);
}

static enum bm_rc tell(struct bm_cli *c, const struct bm_proof *proof, const struct bm_replayed *r, struct bm_error *e)
{
    json_t *out = bm_cli_proof_json(proof);

    bm_cli_note(c, "Put the secret back as %s/secret (mode 0400), or name it with --secret-file, before you start the server.\n",
                c->data_dir);
    if (r->end.torn != 0)
        bm_cli_note(c,
                    "The journal ends with a record that was cut off while it was written (segment %" PRIu64 ", byte %" PRId64
                    "); nothing in it was acknowledged.\n",
                    r->end.torn, r->end.torn_at);
    if (out != NULL && bm_cli_text(c, "journal") != NULL && json_object_set_new(out, "journal", replayed_json(r)) != 0) {
        json_decref(out);
        out = NULL;
    }
    return bm_cli_tell(c, out, e);
}

enum bm_rc bm_cli_backup_check(const char *from, json_t **ret_manifest, struct bm_proof *ret, struct bm_error *e)
{
    char dsn[BM_BACKUP_PATH_MAX];
    enum bm_rc rc = read_manifest(from, ret_manifest, e);

    if (rc == BM_OK)
        rc = check_files(from, json_object_get(*ret_manifest, "files"), e);
    return rc == BM_OK ? check_registry(from, *ret_manifest, dsn, sizeof dsn, ret, e) : rc;
}

enum bm_rc bm_cli_restore(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *manifest = NULL;
    const char *from = bm_cli_text(c, "from");
    struct bm_proof proof = { 0 };
    struct bm_replayed replayed = { 0 };
    enum bm_rc rc = bm_cli_backup_check(from, &manifest, &proof, e);

    if (rc == BM_OK)
        rc = make_empty(c->data_dir, e);
    if (rc != BM_OK)
        return rc;
    rc = write_all(c, from, json_object_get(manifest, "files"), &proof, &replayed, e);
    if (rc == BM_OK)
        return tell(c, &proof, &replayed, e);
    take_back(c->data_dir);
    return rc;
}
