/* The audit log: entries, proofs that are checked here and not only shown, and the whole computed again. */
#include "cli/cli.h"

#include "audit/log.h"
#include "base/config.h"
#include "base/text.h"
#include "keeper/keeper.h"
#include "pki/cert.h"
#include "pki/key.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- entries: block after block ---------------------------------------------------------------------------------------------- */
enum bm_rc bm_cli_log_entries(struct bm_cli *c, struct bm_error *e)
{
    struct bm_cli_table t = { .c = c, .rows = c->verb->rows, .columns = c->verb->columns };
    int64_t from = bm_cli_int(c, "from", 0);
    size_t n = 1;
    enum bm_rc rc = BM_OK;

    if (bm_cli_int(c, "to", INT64_MAX) < from)
        return bm_fail(e, BM_USAGE, "TO must not be below FROM");
    while (rc == BM_OK && n != 0) {
        BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;

        json_object_set_new(c->words, "from", json_integer(from));
        rc = bm_cli_ask(c, c->words, &answer, e);
        n = json_array_size(json_object_get(answer, "entries"));
        if (n != 0)
            bm_cli_table_rows(&t, json_object_get(answer, "entries"));
        from += (int64_t)n;
    }
    if (rc == BM_OK)
        bm_cli_table_end(&t, NULL);
    return rc;
}

/* --- proofs ------------------------------------------------------------------------------------------------------------------ */
struct proof {
    uint8_t path[64][32], leaf[32], root[32], root_from[32], root_to[32];
    size_t n_path;
};

static enum bm_rc take_hash(const json_t *v, const char *what, uint8_t ret[32], struct bm_error *e)
{
    const char *text = json_string_value(v);

    if (text == NULL || !bm_unhex(bm_rd_str(text), ret, 32))
        return bm_fail(e, BM_MALFORMED, "the answer's '%s' is no SHA-256 in hex", what);
    return BM_OK;
}

static enum bm_rc take_path(const json_t *answer, struct proof *p, struct bm_error *e)
{
    const json_t *list = json_object_get(answer, "path"), *node;
    enum bm_rc rc = BM_OK;
    size_t i;

    if (json_array_size(list) > 64)
        return bm_fail(e, BM_LIMIT, "a proof of %zu hashes; 64 are enough for any log", json_array_size(list));
    json_array_foreach (list, i, node) {
        rc = take_hash(node, "path", p->path[i], e);
        if (rc != BM_OK)
            return rc;
    }
    p->n_path = json_array_size(list);
    return BM_OK;
}

static int64_t number(const json_t *answer, const char *member)
{
    return json_integer_value(json_object_get(answer, member));
}

static enum bm_rc check_inclusion(const json_t *answer, struct proof *p, struct bm_error *e)
{
    enum bm_rc rc = take_hash(json_object_get(answer, "leaf_hash"), "leaf_hash", p->leaf, e);

    if (rc == BM_OK)
        rc = take_hash(json_object_get(answer, "root"), "root", p->root, e);
    return rc != BM_OK ? rc
                       : bm_merkle_check_inclusion(p->leaf, number(answer, "index"), number(answer, "size"), p->root,
                                                   (const uint8_t(*)[32])p->path, p->n_path, e);
}

static enum bm_rc check_consistency(const json_t *answer, struct proof *p, struct bm_error *e)
{
    enum bm_rc rc = take_hash(json_object_get(answer, "root_from"), "root_from", p->root_from, e);

    if (rc == BM_OK)
        rc = take_hash(json_object_get(answer, "root_to"), "root_to", p->root_to, e);
    return rc != BM_OK ? rc
                       : bm_merkle_check_consistency(number(answer, "from"), p->root_from, number(answer, "to"), p->root_to,
                                                     (const uint8_t(*)[32])p->path, p->n_path, e);
}

enum bm_rc bm_cli_log_proof(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;
    bool inclusion = strcmp(c->verb->verb, "inclusion") == 0;
    struct proof p = { .n_path = 0 };
    enum bm_rc rc = bm_cli_ask(c, c->words, &answer, e);

    if (rc == BM_OK)
        rc = take_path(answer, &p, e);
    if (rc == BM_OK)
        rc = inclusion ? check_inclusion(answer, &p, e) : check_consistency(answer, &p, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(answer, "checked", json_true());
    if (c->json)
        bm_cli_print_json(c, answer);
    else if (!c->quiet)
        bm_cli_print_record(c, answer);
    return BM_OK;
}

/* --- verify ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc put_once(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct bm_buf *to = arg;

    if (to->n != 0)
        return bm_fail(e, BM_USAGE, "holds more than one key");
    bm_buf_put(to, der.p, der.n);
    return bm_buf_check(to, e);
}

static enum bm_rc key_of_file(const char *path, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 64 * 1024 };
    enum bm_rc rc = bm_cli_read(path, &text, e);

    if (rc == BM_OK)
        rc = bm_pem_parse(bm_buf_rd(&text), "PUBLIC KEY", put_once, ret, e);
    if (rc == BM_OK && ret->n == 0)
        rc = bm_fail(e, BM_USAGE, "holds no public key in PEM");
    return rc == BM_OK ? rc : bm_wrap(e, rc, "--key %s", path);
}

/* A head that was kept outside. */
struct kept {
    struct bm_tree_head head;
    struct bm_buf tbs, spki;
};

static void kept_done(struct kept *k)
{
    bm_tree_head_done(&k->head);
    bm_buf_done(&k->tbs);
    bm_buf_done(&k->spki);
}

static enum bm_rc take_hex(const json_t *in, const char *member, struct bm_buf *ret, struct bm_error *e)
{
    const char *text = json_string_value(json_object_get(in, member));
    size_t n = text == NULL ? 0 : strlen(text) / 2;
    uint8_t *to;

    ret->max = BM_SPKI_MAX;
    to = n != 0 ? bm_buf_room(ret, n) : NULL;
    if (to == NULL || !bm_unhex(bm_rd_str(text), to, n))
        return bm_fail(e, BM_USAGE, "has no '%s' in hex: is it what 'birthmark log head --json' printed?", member);
    ret->n = n;
    return BM_OK;
}

static enum bm_rc kept_read(const char *path, struct kept *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 64 * 1024 };
    BM_CLEANUP(bm_cli_unref) json_t *j = NULL;
    enum bm_rc rc = bm_cli_read(path, &text, e);

    if (rc != BM_OK)
        return rc;
    j = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(j) || !json_is_integer(json_object_get(j, "size")))
        return bm_fail(e, BM_USAGE, "%s is not what 'birthmark log head --json' prints", path);
    ret->head.size = number(j, "size");
    rc = take_hash(json_object_get(j, "root"), "root", ret->head.root, e);
    if (rc == BM_OK)
        rc = take_hex(j, "signature", &ret->head.signature, e);
    if (rc == BM_OK)
        rc = take_hex(j, "tree_head", &ret->tbs, e);
    if (rc == BM_OK)
        rc = take_hex(j, "spki", &ret->spki, e);
    return rc == BM_OK ? rc : bm_wrap(e, rc, "--against %s", path);
}

/* RFC 9162 section 4.10 TreeHeadDataV2: timestamp, tree_size, root_hash as a vector with one byte of length, extensions. What is
 * signed must be what the JSON beside it says. */
static bool says_the_same(const struct kept *k)
{
    struct bm_rd r = bm_buf_rd(&k->tbs), root;
    uint64_t at, size;
    uint8_t n;

    return bm_rd_u64(&r, &at) && bm_rd_u64(&r, &size) && bm_rd_u8(&r, &n) && n == 32 && bm_rd_take(&r, n, &root) &&
           size == (uint64_t)k->head.size && memcmp(root.p, k->head.root, 32) == 0;
}

/* The hash that goes with the log's key; NULL: the algorithm has its own. */
static const char *digest_of(const struct bm_spki *k)
{
    static const struct {
        const char *alg, *digest;
    } rows[] = { { "P-256", "SHA256" }, { "P-384", "SHA384" }, { "P-521", "SHA512" }, { "RSA", "SHA256" } };

    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        if (strcmp(rows[i].alg, k->alg) == 0)
            return rows[i].digest;
    }
    return NULL;
}

static enum bm_rc verify_head(EVP_PKEY *key, const char *digest, struct bm_rd tbs, struct bm_rd sig, struct bm_error *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx != NULL && EVP_DigestVerifyInit_ex(ctx, NULL, digest, NULL, NULL, key, NULL) == 1 &&
                EVP_DigestVerify(ctx, sig.p, sig.n, tbs.p, tbs.n) == 1;

    EVP_MD_CTX_free(ctx);
    return good ? BM_OK : bm_refuse(e, BM_DENIED, "bad-signature", "the head kept is not signed by the log's key");
}

static enum bm_rc kept_signature(const struct kept *k, struct bm_rd spki, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_spki parsed;
    enum bm_rc rc;

    if (!bm_rd_eq(spki, bm_buf_rd(&k->spki)))
        return bm_refuse(e, BM_DENIED, "log-key", "the head kept was signed by another key than this log's");
    if (!says_the_same(k))
        return bm_refuse(e, BM_DENIED, "log-head", "the head kept does not say what its signature covers");
    rc = bm_spki_parse(spki, &parsed, e);
    if (rc == BM_OK)
        rc = bm_spki_open(&parsed, &key, e);
    return rc == BM_OK ? verify_head(key, digest_of(&parsed), bm_buf_rd(&k->tbs), bm_buf_rd(&k->head.signature), e) : rc;
}

/* After bm_audit_verify() every tile is known to be right: the root at the earlier size tells whether the log still begins so. */
static enum bm_rc check_against(struct bm_store *s, const char *path, struct bm_rd spki, int64_t leaves, struct bm_error *e)
{
    BM_CLEANUP(kept_done) struct kept k = { 0 };
    uint8_t root[32];
    enum bm_rc rc = kept_read(path, &k, e);

    if (rc == BM_OK)
        rc = kept_signature(&k, spki, e);
    if (rc != BM_OK)
        return rc;
    if (k.head.size > leaves)
        return bm_refuse(e, BM_DENIED, "log-truncated", "the log has %" PRId64 " entries, the head kept says %" PRId64, leaves,
                         k.head.size);
    rc = bm_audit_root_at(s, k.head.size, root, e);
    if (rc == BM_OK && memcmp(root, k.head.root, 32) != 0)
        rc = bm_refuse(e, BM_DENIED, "log-changed", "the first %" PRId64 " entries are not those of the head kept", k.head.size);
    return rc;
}

/* ret: the host whose log is meant. */
static enum bm_rc open_store(const struct bm_cli *c, struct bm_store **ret, struct bm_host *ret_host, struct bm_error *e)
{
    struct bm_config config = { 0 };
    const char *name = bm_cli_text(c, "log");
    char dsn[1024];
    enum bm_rc rc = bm_config_load(&config, c->data_dir, NULL, e);

    if (rc == BM_OK)
        rc = bm_keeper_dsn(c->data_dir, config.store, dsn, sizeof dsn, e);
    if (rc == BM_OK)
        rc = bm_store_open(dsn, (struct bm_store_options){ .read_only = true }, ret, e);
    if (rc == BM_OK)
        rc = bm_store_snapshot(*ret, e); /* the server may be writing on */
    if (rc != BM_OK)
        return rc;
    name = name != NULL ? name : config.host;
    return name[0] != '\0' ? bm_host_get(*ret, name, ret_host, e) : bm_host_by_id(*ret, 1, ret_host, e);
}

static enum bm_rc tell_report(struct bm_cli *c, const struct bm_audit_report *r, bool against, struct bm_error *e)
{
    char root[65];
    BM_CLEANUP(bm_cli_unref) json_t *out = NULL;

    bm_hex(r->root, 32, root);
    out = json_pack("{sI,sI,sI,ss,sb}", "entries", (json_int_t)r->leaves, "signed", (json_int_t)r->covered, "heads",
                    (json_int_t)r->heads, "root", root, "good", 1);
    if (out == NULL || (against && json_object_set_new(out, "continues_the_head_kept", json_true()) != 0))
        return bm_fail(e, BM_NOMEM, "out of memory");
    if (c->json)
        bm_cli_print_json(c, out);
    else if (!c->quiet)
        bm_cli_print_record(c, out);
    return BM_OK;
}

static enum bm_rc add_log(void *arg, const struct bm_host *h, const struct bm_audit_report *r, struct bm_error *e)
{
    char root[65];
    json_t *row;

    bm_hex(r->root, 32, root);
    row = json_pack("{ss,sI,sI,sI,ss}", "log", h->name, "entries", (json_int_t)r->leaves, "signed", (json_int_t)r->covered, "heads",
                    (json_int_t)r->heads, "root", root);
    return row != NULL && json_array_append_new(arg, row) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "out of memory");
}

static enum bm_rc verify_all(struct bm_cli *c, struct bm_store *s, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *out = json_object();
    struct bm_cli_table t = { .c = c, .rows = "logs", .columns = "log entries signed heads root" };
    json_t *logs = json_array();
    enum bm_rc rc;

    json_object_set_new(out, "logs", logs);
    rc = bm_audit_verify_all(s, add_log, logs, e);
    if (rc != BM_OK)
        return rc;
    if (c->json) {
        bm_cli_print_json(c, out);
    } else if (!c->quiet) {
        bm_cli_table_rows(&t, logs);
        bm_cli_table_end(&t, NULL);
    }
    return BM_OK;
}

enum bm_rc bm_cli_log_verify(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_store_closep) struct bm_store *s = NULL;
    BM_CLEANUP(bm_host_done) struct bm_host h = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = BM_SPKI_MAX };
    const char *key = bm_cli_text(c, "key"), *against = bm_cli_text(c, "against");
    struct bm_audit_report report;
    enum bm_rc rc = open_store(c, &s, &h, e);

    if (rc == BM_OK && bm_cli_flag(c, "all"))
        return key == NULL && against == NULL ? verify_all(c, s, e) : bm_fail(e, BM_USAGE, "--key and --against are for one log");
    if (rc == BM_OK && key != NULL)
        rc = key_of_file(key, &spki, e);
    if (rc == BM_OK)
        rc = bm_audit_verify_host(s, &h, &spki, &report, e);
    if (rc == BM_OK && against != NULL)
        rc = check_against(s, against, bm_buf_rd(&spki), report.leaves, e);
    return rc == BM_OK ? tell_report(c, &report, against != NULL, e) : rc;
}
