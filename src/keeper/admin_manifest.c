/* Taking in manifests, block by block. The seal is checked here and not by whoever brought the block; an import resumes from the row that
 * each block leaves behind in the transaction that adds its devices. */
#include "keeper/symmetric.h"

#include "base/text.h"
#include "factory/manifest.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAMED_MAX = 200 }; /* lines and conflicts named in one answer; the rest is counted */

struct bm_import {
    struct bm_manifest_row row; /* id < 0: a dry run */
    const struct bm_manifest_format *format;
    struct bm_manifest_reader *reader;
    struct bm_manifest_state state;
    struct bm_buf signer; /* the pinned certificate that vouched last */
    int64_t org_id;
    char batch[BM_NAME_LEN];
};

static void import_free(struct bm_import *i)
{
    if (i == NULL)
        return;
    bm_manifest_reader_free(i->reader);
    bm_buf_done(&i->signer);
    free(i);
}

static void import_freep(struct bm_import **i)
{
    import_free(*i);
}

void bm_imports_drop(struct bm_keeper *k, bool all)
{
    for (size_t i = 0; i < BM_IMPORTS_MAX; i++)
        if (k->imports[i] != NULL && (all || k->imports[i]->row.id > 0))
            import_free(BM_MOVE(k->imports[i]));
}

static enum bm_rc import_open(struct bm_keeper *k, const struct bm_manifest_row *row, struct bm_import **ret, struct bm_error *e)
{
    BM_CLEANUP(import_freep) struct bm_import *i = calloc(1, sizeof *i);
    struct bm_batch b = { 0 };
    struct bm_org issuer = { 0 }; /* sealed() has compared its name with the header's */
    enum bm_rc rc = i != NULL ? BM_OK : bm_fail(e, BM_NOMEM, "no memory for an import");

    if (rc == BM_OK && (i->format = bm_manifest_format_find(row->format)) == NULL)
        rc = bm_fail(e, BM_USAGE, "no manifest format '%s'", row->format);
    if (rc == BM_OK)
        rc = bm_manifest_reader_new(i->format, &i->reader, e);
    if (rc == BM_OK && row->batch_id != 0)
        rc = bm_batch_by_id(k->store, row->batch_id, &b, e);
    if (rc == BM_OK && row->org_id != 0)
        rc = bm_org_by_id(k->store, row->org_id, &issuer, e);
    if (rc != BM_OK)
        return rc;
    i->row = *row;
    memcpy(i->batch, b.name, sizeof i->batch);
    i->state =
        (struct bm_manifest_state){ .seq = (uint64_t)row->next_seq, .entries = (uint64_t)row->entries, .last = row->complete };
    memcpy(i->state.prev, row->prev, sizeof i->state.prev);
    memcpy(i->state.issuer, issuer.name, sizeof i->state.issuer);
    k->next_import = (k->next_import + 1) % BM_IMPORTS_MAX;
    import_free(k->imports[k->next_import]);
    k->imports[k->next_import] = *ret = BM_MOVE(i);
    return BM_OK;
}

static struct bm_import *import_find(struct bm_keeper *k, int64_t id)
{
    for (size_t i = 0; i < BM_IMPORTS_MAX; i++)
        if (k->imports[i] != NULL && k->imports[i]->row.id == id)
            return k->imports[i];
    return NULL;
}

enum bm_rc bm_import_batch(struct bm_keeper *k, int64_t id, int64_t *ret, struct bm_error *e)
{
    const struct bm_import *i = import_find(k, id);
    struct bm_manifest_row row = { 0 };
    enum bm_rc rc = i != NULL ? BM_OK : id > 0 ? bm_manifest_by_id(k->store, id, &row, e) : BM_NOTFOUND;

    if (rc == BM_OK)
        *ret = i != NULL ? i->row.batch_id : row.batch_id;
    return rc;
}

/* --- begin ---------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc begin_row(struct bm_keeper *k, const json_t *in, struct bm_rd first_line, struct bm_manifest_row *ret,
                            struct bm_error *e)
{
    const char *format = bm_arg_text(in, "format"), *batch = bm_arg_text(in, "batch");
    struct bm_batch b = { 0 };
    enum bm_rc rc = bm_keeper_now(k, &ret->created_at, e);

    if (rc == BM_OK && (format == NULL || bm_manifest_format_find(format) == NULL))
        rc = bm_fail(e, BM_USAGE, "no manifest format '%.30s'; there are birthmark and microchip", format != NULL ? format : "");
    if (rc == BM_OK && first_line.n == 0)
        rc = bm_fail(e, BM_USAGE, "the first line of the manifest is needed");
    if (rc != BM_OK)
        return rc;
    if (batch != NULL)
        rc = bm_batch_get(k->store, batch, &b, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "batch '%.64s'", batch);
    bm_manifest_digest(first_line, ret->digest);
    snprintf(ret->format, sizeof ret->format, "%s", format);
    ret->batch_id = b.id;
    return BM_OK;
}

BM_ADMIN_HANDLER(bm_admin_manifest_begin)
{
    struct bm_manifest_row row = { 0 }, found;
    struct bm_import *import;
    bool dry = json_is_true(json_object_get(in, "dry_run"));
    enum bm_rc rc = begin_row(k, in, blob, &row, e);

    if (rc != BM_OK)
        return rc;
    rc = bm_manifest_by_digest(k->store, row.digest, &found, e);
    if (rc == BM_OK && found.batch_id != row.batch_id)
        return bm_refuse(e, BM_CONFLICT, "manifest-batch", "this manifest has been imported before, for another batch");
    if (rc == BM_OK)
        row = found;
    else if (rc == BM_NOTFOUND)
        rc = dry ? BM_OK : bm_manifest_put(k->store, &row, e);
    if (rc != BM_OK)
        return rc;
    if (dry)
        row = (struct bm_manifest_row){ .id = -++k->dry_runs, .batch_id = row.batch_id, .created_at = row.created_at };
    if (dry)
        snprintf(row.format, sizeof row.format, "%s", bm_arg_text(in, "format")), bm_manifest_digest(blob, row.digest);
    rc = import_find(k, row.id) != NULL ? BM_OK : import_open(k, &row, &import, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "manifest", json_integer(row.id));
    json_object_set_new(out, "next_seq", json_integer(row.next_seq));
    json_object_set_new(out, "complete", json_boolean(row.complete));
    return BM_OK;
}

/* --- block ---------------------------------------------------------------------------------------------------------------------- */
struct taking {
    struct bm_keeper *k;
    struct bm_import *import;
    bool dry, began;
    int64_t now, added, known, allocated, n_bad, n_conflicts;
    json_t *bad, *conflicts, *known_names;
};

static enum bm_rc ask_signer(void *arg, const struct bm_trust *t, struct bm_error *e);

/* The list says what counts now, whatever time the manifest gives: who has the key of a revoked signer dates it as he likes. */
static enum bm_rc check_list(const struct taking *t, const struct bm_trust *by, struct bm_rd cert, struct bm_error *e)
{
    struct bm_cert path[2];
    enum bm_rc rc = bm_cert_parse(cert, &path[0], e);

    if (rc == BM_OK)
        rc = bm_cert_parse(bm_buf_rd(&by->der), &path[1], e);
    return rc == BM_OK ? bm_maker_check(t->k, by->org_id, path, 2, t->now, e) : rc;
}

struct signer_search {
    const struct taking *taking;
    struct bm_import *import;
    const uint8_t *sha256;
    struct bm_rd offered, answer;
    int64_t at;
    bool found;
};

static enum bm_rc ask_signer(void *arg, const struct bm_trust *t, struct bm_error *e)
{
    struct signer_search *s = arg;
    struct bm_cert offered, pinned;
    bool same = memcmp(t->sha256, s->sha256, sizeof t->sha256) == 0;
    enum bm_rc rc;

    if (s->found)
        return BM_OK;
    if (!same &&
        (s->offered.n == 0 || bm_cert_parse(s->offered, &offered, NULL) != BM_OK ||
         bm_cert_parse(bm_buf_rd(&t->der), &pinned, NULL) != BM_OK || bm_cert_check_link(&offered, &pinned, s->at, NULL) != BM_OK))
        return BM_OK;
    s->found = true;
    rc = check_list(s->taking, t, same ? bm_buf_rd(&t->der) : s->offered, e);
    if (rc != BM_OK)
        return rc;
    s->import->org_id = t->org_id;
    s->import->signer.n = 0;
    s->import->signer.max = BM_CERT_MAX;
    bm_buf_put(&s->import->signer, same ? t->der.p : s->offered.p, same ? t->der.n : s->offered.n);
    return bm_buf_check(&s->import->signer, e);
}

static enum bm_rc hook_signer(void *arg, const uint8_t sha256[32], struct bm_rd offered, int64_t at, struct bm_rd *ret_cert,
                              struct bm_error *e)
{
    struct taking *t = arg;
    struct signer_search s = { .taking = t, .import = t->import, .sha256 = sha256, .offered = offered, .at = at };
    char digest[65];
    enum bm_rc rc = bm_trust_each(t->k->store, BM_TRUST_MANIFEST, ask_signer, &s, e);

    if (rc != BM_OK)
        return rc;
    bm_hex(sha256, 32, digest);
    if (!s.found)
        return bm_refuse(
            e, BM_DENIED, "manifest-signer",
            "no organisation here is trusted for the signer %.16s...; add it with 'birthmark org trust ORG --purpose manifest'",
            digest);
    *ret_cert = bm_buf_rd(&t->import->signer);
    return BM_OK;
}

struct birth_search {
    const struct taking *taking;
    struct bm_rd cert;
    int64_t at;
    bool found;
};

static enum bm_rc ask_birth(void *arg, const struct bm_trust *t, struct bm_error *e)
{
    struct birth_search *s = arg;
    struct bm_cert cert, anchor;

    if (s->found || bm_cert_parse(s->cert, &cert, NULL) != BM_OK || bm_cert_parse(bm_buf_rd(&t->der), &anchor, NULL) != BM_OK)
        return BM_OK;
    s->found = bm_rd_eq(cert.whole, anchor.whole) || bm_cert_check_link(&cert, &anchor, s->at, NULL) == BM_OK;
    return s->found ? check_list(s->taking, t, s->cert, e) : BM_OK;
}

static enum bm_rc hook_birth(void *arg, struct bm_rd cert, int64_t at, struct bm_error *e)
{
    struct taking *t = arg;
    struct birth_search s = { .taking = t, .cert = cert, .at = at };
    enum bm_rc rc = bm_trust_each(t->k->store, BM_TRUST_BIRTH, ask_birth, &s, e);

    if (rc != BM_OK || s.found)
        return rc;
    return bm_refuse(e, BM_DENIED, "entry-birth",
                     "its birth certificate's issuer is not anchored here; add the chip maker's root with 'birthmark org trust ORG "
                     "--purpose birth'");
}

static enum bm_rc hook_sealed(void *arg, const struct bm_manifest_summary *s, struct bm_error *e)
{
    static const uint8_t no_signer[32]; /* foreign formats sign each entry */
    struct taking *t = arg;
    struct bm_import *i = t->import;
    struct bm_org o;
    enum bm_rc rc;

    if (s->seq == 0 && memcmp(s->header.digest, i->row.digest, sizeof s->header.digest) != 0)
        return bm_refuse(e, BM_DENIED, "manifest-sequence", "this block belongs to another manifest than the one begun");
    if (s->seq == 0 && s->header.batch[0] != '\0' && i->batch[0] != '\0' && strcmp(s->header.batch, i->batch) != 0)
        return bm_refuse(e, BM_DENIED, "manifest-batch", "the manifest says it is for batch '%s', not '%s'", s->header.batch,
                         i->batch);
    if (s->seq == 0 && s->header.issuer[0] != '\0') {
        rc = bm_org_by_id(t->k->store, i->org_id, &o, e);
        if (rc != BM_OK)
            return rc;
        if (strcmp(o.name, s->header.issuer) != 0)
            return bm_refuse(e, BM_DENIED, "manifest-issuer",
                             "the manifest says it is from '%s', but its signer is trusted for '%s'", s->header.issuer, o.name);
    }
    /* The chain of seals names its predecessor, which anybody can read: only who began a manifest may go on with it. */
    if (s->seq != 0 && memcmp(s->signer, no_signer, sizeof no_signer) != 0 && i->org_id != i->row.org_id)
        return bm_refuse(e, BM_DENIED, "manifest-issuer",
                         "this block is signed for another organisation than the one that began the manifest");
    t->began = true;
    return BM_OK;
}

static void name_conflict(struct taking *t, const struct bm_manifest_entry *m, const char *reason)
{
    char udid[2 * BM_UDID_LEN + 1];

    t->n_conflicts++;
    if (json_array_size(t->conflicts) >= NAMED_MAX)
        return;
    bm_hex(m->udid, BM_UDID_LEN, udid);
    json_array_append_new(t->conflicts, json_pack("{s:I, s:s, s:s}", "line", (json_int_t)m->line, "udid", udid, "reason", reason));
}

static void name_known(struct taking *t, const struct bm_manifest_entry *m)
{
    char udid[2 * BM_UDID_LEN + 1];

    t->known++;
    if (json_array_size(t->known_names) >= NAMED_MAX)
        return;
    bm_hex(m->udid, BM_UDID_LEN, udid);
    json_array_append_new(t->known_names, json_pack("{s:I, s:s}", "line", (json_int_t)m->line, "udid", udid));
}

/* A device without a batch gets this one, unless its life has gone another way: one that was marked compromised stays so. */
static enum bm_rc allocate(struct taking *t, const struct bm_manifest_entry *m, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    enum bm_state from;
    char reason[64];
    enum bm_rc rc = bm_device_get(t->k->store, m->udid, &d, e);

    if (rc != BM_OK)
        return rc;
    if (!bm_state_parse(d.state, &from) || from != BM_REGISTERED) {
        snprintf(reason, sizeof reason, "the device is %s", d.state);
        name_conflict(t, m, reason);
        return BM_OK;
    }
    t->allocated++;
    return t->dry ? BM_OK : bm_device_set_batch(t->k->store, d.id, t->import->row.batch_id, bm_state_name(BM_ALLOCATED), e);
}

/* The device is in the registry. The same batch: imported before. None yet: this manifest gives it one. Another: somebody sold it twice. */
static enum bm_rc meet_again(struct taking *t, const struct bm_manifest_entry *m, struct bm_error *e)
{
    struct bm_batch other = { 0 };
    int64_t id, batch_id;
    char reason[128];
    enum bm_rc rc = bm_device_peek(t->k->store, m->udid, &id, &batch_id, e);

    if (rc != BM_OK)
        return rc;
    if (batch_id == t->import->row.batch_id || t->import->row.batch_id == 0) {
        name_known(t, m);
        return BM_OK;
    }
    if (t->k->scope != NULL) { /* whose it is, and what became of it, is nothing for this organisation */
        name_conflict(t, m, "is registered already, and not in this batch");
        return BM_OK;
    }
    if (batch_id == 0)
        return allocate(t, m, e);
    rc = bm_batch_by_id(t->k->store, batch_id, &other, e);
    if (rc != BM_OK)
        return rc;
    snprintf(reason, sizeof reason, "already belongs to batch '%s'", other.name);
    name_conflict(t, m, reason);
    return BM_OK;
}

static struct bm_buf lend(struct bm_rd b)
{
    return (struct bm_buf){ .p = (uint8_t *)(uintptr_t)b.p, .n = b.n, .cap = b.n, .max = b.n };
}

static void name_bad(struct taking *t, size_t line, const struct bm_error *why)
{
    t->n_bad++;
    if (json_array_size(t->bad) < NAMED_MAX)
        json_array_append_new(
            t->bad, json_pack("{s:I, s:s, s:s}", "line", (json_int_t)line, "code", bm_error_code(why), "reason", why->what));
}

/* The secret key of a device without a key pair, sealed for the registry's own keeping. What is wrong with it makes a bad entry. */
static enum bm_rc take_secret(struct taking *t, const struct bm_manifest_entry *m, struct bm_mac_key *ret, struct bm_error *e)
{
    const struct bm_mac_given given = { .org_id = t->import->org_id,
                                        .udid = m->udid,
                                        .mac = m->mac,
                                        .ident = m->ident,
                                        .sealed_b64u = m->sealed,
                                        .root = m->root,
                                        .dry = t->dry };

    return m->mac[0] == '\0' ? BM_OK : bm_mac_take(t->k, &given, t->now, ret, e);
}

static enum bm_rc put_device(struct taking *t, struct bm_device *d, struct bm_mac_key *secret, struct bm_error *e)
{
    enum bm_rc rc = bm_device_put(t->k->store, d, e);

    if (rc != BM_OK || secret->alg[0] == '\0')
        return rc;
    secret->device_id = d->id;
    return bm_mac_key_put(t->k->store, secret, e);
}

static enum bm_rc hook_entry(void *arg, const struct bm_manifest_entry *m, struct bm_error *e)
{
    struct taking *t = arg;
    struct bm_device d = {
        .batch_id = t->import->row.batch_id,
        .manifest_id = t->import->row.id,
        .spki = lend(m->spki),
        .birth_cert = lend(m->birth_cert),
        .attributes = lend(m->attributes),
        .created_at = t->now,
    };
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key secret = { 0 };
    int64_t id, batch_id;
    enum bm_rc rc = BM_OK;

    if (t->dry || m->ident.n != 0) /* others are found there by the attempt */
        rc = bm_device_peek(t->k->store, m->udid, &id, &batch_id, e) == BM_OK ? BM_CONFLICT : BM_OK;
    if (rc == BM_OK)
        rc = take_secret(t, m, &secret, e);
    if (rc == BM_MALFORMED || rc == BM_LIMIT || rc == BM_DENIED || rc == BM_USAGE) {
        name_bad(t, m->line, e);
        return BM_OK;
    }
    memcpy(d.udid, m->udid, sizeof d.udid);
    memcpy(d.rot, m->rot, sizeof d.rot);
    snprintf(d.state, sizeof d.state, "%s", bm_state_name(d.batch_id != 0 ? BM_ALLOCATED : BM_REGISTERED));
    if (rc == BM_OK && !t->dry)
        rc = put_device(t, &d, &secret, e);
    if (rc == BM_CONFLICT)
        return meet_again(t, m, e);
    t->added += rc == BM_OK;
    return rc;
}

static enum bm_rc hook_bad(void *arg, size_t line, const struct bm_error *why, struct bm_error *e)
{
    (void)e;
    name_bad(arg, line, why);
    return BM_OK;
}

static enum bm_rc write_block(struct taking *t, const struct bm_manifest_summary *s, struct bm_error *e)
{
    struct bm_import *i = t->import;
    struct bm_manifest_row row = i->row;
    char digest[65], seal[65];
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    enum bm_rc rc;

    row.org_id = i->org_id;
    row.next_seq = (int64_t)s->next.seq;
    row.entries = (int64_t)s->next.entries;
    row.bad += t->n_bad;
    row.complete = s->next.last;
    memcpy(row.prev, s->next.prev, sizeof row.prev);
    if (!t->dry) {
        rc = bm_manifest_put(t->k->store, &row, e);
        if (rc != BM_OK)
            return rc;
        bm_hex(row.digest, sizeof row.digest, digest);
        bm_hex(row.prev, sizeof row.prev, seal);
        fields =
            json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:s}", "manifest", digest, "seq", (json_int_t)s->seq, "seal", seal,
                      "added", (json_int_t)t->added, "known", (json_int_t)t->known, "allocated", (json_int_t)t->allocated, "bad",
                      (json_int_t)t->n_bad, "conflicts", (json_int_t)t->n_conflicts, "batch", i->batch);
        rc = bm_record(t->k, t->now, "manifest.block", fields, e);
        if (rc != BM_OK)
            return rc;
    }
    i->row = row;
    i->state = s->next;
    return BM_OK;
}

static void tell(const struct taking *t, const struct bm_manifest_summary *s, json_t *out)
{
    json_object_set_new(out, "seq", json_integer((json_int_t)s->seq));
    json_object_set_new(out, "first_line", json_integer((json_int_t)s->first_line));
    json_object_set_new(out, "entries", json_integer((json_int_t)s->entries + (json_int_t)s->bad));
    json_object_set_new(out, "added", json_integer(t->added));
    json_object_set_new(out, "known", json_integer(t->known));
    json_object_set_new(out, "allocated", json_integer(t->allocated));
    json_object_set_new(out, "n_bad", json_integer(t->n_bad));
    json_object_set_new(out, "n_conflicts", json_integer(t->n_conflicts));
    json_object_set_new(out, "last", json_boolean(s->next.last));
}

static enum bm_rc import_of(struct bm_keeper *k, int64_t id, struct bm_import **ret, struct bm_error *e)
{
    struct bm_manifest_row row;
    enum bm_rc rc;

    *ret = import_find(k, id);
    if (*ret != NULL)
        return BM_OK;
    rc = id > 0 ? bm_manifest_by_id(k->store, id, &row, e) : BM_NOTFOUND;
    if (rc == BM_OK)
        rc = import_open(k, &row, ret, e);
    return rc == BM_NOTFOUND ? bm_fail(e, BM_NOTFOUND, "no such import; begin it again") : rc;
}

BM_ADMIN_HANDLER(bm_admin_manifest_block)
{
    struct taking t = { .k = k, .dry = json_is_true(json_object_get(in, "dry_run")) };
    struct bm_manifest_hooks hooks = { &t, hook_signer, hook_birth, hook_sealed, hook_entry, hook_bad };
    struct bm_manifest_summary s;
    enum bm_rc rc = bm_keeper_now(k, &t.now, e);

    if (rc == BM_OK)
        rc = import_of(k, bm_arg_int(in, "manifest", 0), &t.import, e);
    if (rc != BM_OK)
        return rc;
    if (t.dry && t.import->row.id > 0) /* where the import stands would move on without its rows */
        return bm_fail(e, BM_USAGE, "this import was not begun as a dry run");
    t.dry = t.import->row.id < 0;
    json_object_set_new(out, "bad", t.bad = json_array());
    json_object_set_new(out, "conflicts", t.conflicts = json_array());
    json_object_set_new(out, "duplicates", t.known_names = json_array());
    rc = bm_manifest_block_parse(t.import->reader, blob, &t.import->state, t.now, &hooks, &s, e);
    if (rc == BM_OK)
        rc = write_block(&t, &s, e);
    if (rc == BM_OK)
        tell(&t, &s, out);
    else if (t.began && !t.dry)
        rc = bm_wrap(e, BM_IO, "import"); /* rows may have been written: the transaction must go */
    return rc;
}

BM_ADMIN_HANDLER(bm_admin_manifest_list)
{
    (void)blob;
    return bm_admin_list(k, "manifest", NULL, in, out, e);
}
