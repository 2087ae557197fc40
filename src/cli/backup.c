/* backup: a consistent copy of a registry, running or not, that has been read back before it is called one. */
#include "cli/backup.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "keeper/keeper.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct making {
    const char *data_dir, *out;
    json_t *files;
};

static void making_done(struct making *m)
{
    json_decref(m->files);
}

static void closedirp(DIR **d)
{
    if (*d != NULL)
        closedir(*d);
}

/* Notes a file that is complete, under its name in the backup. */
static enum bm_rc note(struct making *m, const char *name, struct bm_error *e)
{
    char path[BM_BACKUP_PATH_MAX], hex[65];
    uint8_t sha256[32];
    int64_t size;
    enum bm_rc rc = bm_path_join(m->out, name, path, sizeof path, e);

    if (rc == BM_OK)
        rc = bm_file_sync(path, e);
    if (rc == BM_OK)
        rc = bm_file_digest(path, &size, sha256, e);
    if (rc != BM_OK)
        return rc;
    bm_hex(sha256, sizeof sha256, hex);
    if (json_array_append_new(m->files, json_pack("{ss,sI,ss}", "path", name, "size", (json_int_t)size, "sha256", hex)) != 0)
        return bm_fail(e, BM_NOMEM, "out of memory");
    return BM_OK;
}

static enum bm_rc take_file(struct making *m, const char *name, struct bm_error *e)
{
    char from[BM_BACKUP_PATH_MAX], to[BM_BACKUP_PATH_MAX];
    enum bm_rc rc = bm_path_join(m->data_dir, name, from, sizeof from, e);

    if (rc == BM_OK)
        rc = bm_path_join(m->out, name, to, sizeof to, e);
    if (rc == BM_OK)
        rc = bm_file_copy(from, to, e);
    return rc == BM_OK ? note(m, name, e) : rc;
}

static bool is_key(const char *name)
{
    size_t n = strlen(name);

    return n > 8 && strcmp(name + n - 8, ".key.pem") == 0 && name[0] != '.';
}

/* After the registry: a CA that is in the copy has had its key on disk before. */
static enum bm_rc take_keys(struct making *m, struct bm_error *e)
{
    char path[BM_BACKUP_PATH_MAX], name[300];
    BM_CLEANUP(closedirp) DIR *d = NULL;
    const struct dirent *entry;
    enum bm_rc rc = bm_path_join(m->out, "keys", path, sizeof path, e);

    if (rc == BM_OK)
        rc = bm_dir_make(path, 0700, e);
    if (rc == BM_OK)
        rc = bm_path_join(m->data_dir, "keys", path, sizeof path, e);
    if (rc != BM_OK)
        return rc;
    d = opendir(path);
    if (d == NULL)
        return bm_fail(e, BM_IO, "%s: %s", path, strerror(errno));
    while (rc == BM_OK && (entry = readdir(d)) != NULL) {
        snprintf(name, sizeof name, "keys/%s", entry->d_name);
        rc = is_key(entry->d_name) ? take_file(m, name, e) : BM_OK;
    }
    if (rc == BM_OK)
        rc = bm_path_join(m->out, "keys", path, sizeof path, e);
    return rc == BM_OK ? bm_file_sync(path, e) : rc;
}

static enum bm_rc take_registry(struct making *m, const char *dsn, struct bm_proof *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *s = NULL;
    char path[BM_BACKUP_PATH_MAX], copy[BM_BACKUP_PATH_MAX + 8];
    enum bm_rc rc = bm_path_join(m->out, "registry.db", path, sizeof path, e);

    if (rc == BM_OK)
        rc = bm_store_open(dsn, (struct bm_store_options){ .read_only = true }, &s, e);
    if (rc == BM_OK)
        rc = bm_store_backup(s, path, e);
    if (rc == BM_OK && chmod(path, 0600) != 0)
        rc = bm_fail(e, BM_IO, "%s: %s", path, strerror(errno));
    if (rc != BM_OK)
        return rc;
    snprintf(copy, sizeof copy, "sqlite:%s", path);
    rc = bm_cli_prove_at(copy, ret, e);
    return rc == BM_OK ? note(m, "registry.db", e) : rc;
}

static enum bm_rc take_config(struct making *m, struct bm_error *e)
{
    enum bm_rc rc = take_file(m, "birthmark.conf", e);

    return rc == BM_NOTFOUND ? BM_OK : rc;
}

static enum bm_rc write_manifest(struct making *m, const struct bm_proof *p, struct bm_error *e)
{
    char path[BM_BACKUP_PATH_MAX], at[21], *text;
    BM_CLEANUP(bm_cli_unref)
    json_t *j = json_pack("{ss,ss,ss,so,sO}", "format", BM_BACKUP_FORMAT, "made_at", bm_time_text(bm_clock_s(), at), "program",
                          BM_VERSION, "registry", bm_cli_proof_json(p), "files", m->files);
    enum bm_rc rc = bm_path_join(m->out, BM_BACKUP_MANIFEST, path, sizeof path, e);

    if (rc != BM_OK)
        return rc;
    text = j != NULL ? json_dumps(j, JSON_INDENT(1)) : NULL;
    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    rc = bm_file_write(path, bm_rd_str(text), 0600, e);
    free(text);
    return rc;
}

/* A folder of its own: a backup never grows into an older one. */
static enum bm_rc make_folder(const char *out, struct bm_error *e)
{
    if (mkdir(out, 0700) == 0 || (errno == EEXIST && rmdir(out) == 0 && mkdir(out, 0700) == 0))
        return BM_OK;
    return errno == EEXIST || errno == ENOTEMPTY
               ? bm_refuse(e, BM_CONFLICT, "already-there", "%s is there already: each backup needs a new folder", out)
               : bm_fail(e, BM_IO, "%s: %s", out, strerror(errno));
}

/* Before the copy is made, so that the segments until now are all in it and can go with the backups before. Without a server there is nobody
 * to tell, and no harm: the segment only grows longer. */
static void begin_segment(struct bm_cli *c)
{
    BM_CLEANUP(bm_cli_link_closep) struct bm_cli_link *link = NULL;
    BM_CLEANUP(bm_cli_unref) json_t *request = json_pack("{ss}", "op", "journal.rotate"), *answer = NULL;
    struct bm_error e = { 0 };
    enum bm_rc rc = bm_cli_link_server(c->data_dir, &link, &e);

    if (rc == BM_OK)
        rc = bm_cli_link_ask(link, request, bm_rd_of(NULL, 0), &answer, &e);
    if (rc != BM_OK && rc != BM_NOTFOUND)
        bm_cli_note(c, "The journal goes on in the same segment: %s\n", e.what);
}

enum bm_rc bm_cli_backup(struct bm_cli *c, struct bm_error *e)
{
    static struct bm_config config;
    BM_CLEANUP(making_done) struct making m = { .data_dir = c->data_dir, .out = bm_cli_text(c, "out"), .files = json_array() };
    char dsn[BM_CONFIG_PATH_MAX + 32];
    struct bm_proof proof = { 0 };
    enum bm_rc rc = bm_config_load(&config, c->data_dir, NULL, e);

    if (rc == BM_OK)
        rc = bm_keeper_dsn(c->data_dir, config.store, dsn, sizeof dsn, e);
    if (rc == BM_OK)
        rc = make_folder(m.out, e);
    if (rc == BM_OK && config.journal[0] != '\0')
        begin_segment(c);
    if (rc == BM_OK)
        rc = take_registry(&m, dsn, &proof, e);
    if (rc == BM_OK)
        rc = take_keys(&m, e);
    if (rc == BM_OK)
        rc = bm_backup_check_keys(m.out, e);
    if (rc == BM_OK)
        rc = take_config(&m, e);
    if (rc == BM_OK)
        rc = write_manifest(&m, &proof, e);
    if (rc != BM_OK)
        return rc;
    bm_cli_note(c, "The secret is not in the backup; without it none of its keys can be opened.\n");
    if (config.pkcs11_module[0] != '\0')
        bm_cli_note(c, "Nor are keys in tokens: back those up by the tokens' own means.\n");
    return bm_cli_tell(c, bm_cli_proof_json(&proof), e);
}
