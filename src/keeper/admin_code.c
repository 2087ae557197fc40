/* One-time codes: made, listed without what is secret of them, revoked. docs/codes.md */
#include "keeper/cmp.h"

#include <stdio.h>

enum { VALID_DEFAULT_S = 30 * 86400, USES_MAX = 1000000 };

struct making {
    struct bm_keeper *k;
    struct bm_code_row row; /* the same for all of them, but for device and digest */
    const char *batch;      /* NULL: for devices */
    bool keep;              /* for CMP: its text is the secret of a MAC, so it is kept, sealed */
    json_t *codes;
    int64_t first;
};

static enum bm_rc make_one(struct making *m, const char *udid, struct bm_error *e)
{
    char text[BM_CODE_TEXT_LEN];
    json_t *shown;
    enum bm_rc rc = bm_code_make(BM_CODE_PURPOSE, text, m->row.digest, e);

    m->row.id = 0;
    if (rc == BM_OK)
        rc = bm_code_row_put(m->k->store, &m->row, e);
    if (rc == BM_OK && m->keep)
        rc = bm_cmp_keep_code(m->k, &m->row, text, e);
    if (rc != BM_OK) {
        bm_wipe(text, sizeof text);
        return rc;
    }
    m->first = m->first != 0 ? m->first : m->row.id;
    shown = json_pack("{s:I, s:s, s:s}", "number", (json_int_t)m->row.id, "code", text, m->batch != NULL ? "batch" : "udid",
                      m->batch != NULL ? m->batch : udid);
    bm_wipe(text, sizeof text);
    return json_array_append_new(m->codes, shown) == 0 ? BM_OK : bm_fail(e, BM_NOMEM, "no memory for codes");
}

static enum bm_rc for_device(struct making *m, const char *hex, struct bm_error *e)
{
    BM_CLEANUP(bm_device_done) struct bm_device d = { 0 };
    uint8_t udid[BM_UDID_LEN];
    enum bm_rc rc;

    if (hex == NULL || !bm_unhex(bm_rd_str(hex), udid, sizeof udid))
        return bm_fail(e, BM_USAGE, "a UDID has %d hex digits", 2 * BM_UDID_LEN);
    rc = bm_device_get(m->k->store, udid, &d, e);
    if (rc != BM_OK)
        return bm_wrap(e, rc, "device %.12s...", hex);
    m->row.device_id = d.id;
    return make_one(m, hex, e);
}

static enum bm_rc for_devices(struct making *m, const json_t *in, struct bm_error *e)
{
    const json_t *list = json_object_get(in, "udids"), *udid;
    enum bm_rc rc = BM_OK;
    size_t i;

    if (list == NULL)
        return for_device(m, bm_arg_text(in, "udid"), e);
    if (json_array_size(list) == 0 || json_array_size(list) > BM_CODES_AT_ONCE)
        return bm_fail(e, BM_USAGE, "'udids' must have 1 to %d of them", BM_CODES_AT_ONCE);
    for (i = 0; rc == BM_OK && (udid = json_array_get(list, i)) != NULL; i++)
        rc = for_device(m, json_string_value(udid), e);
    return rc;
}

static enum bm_rc for_batch(struct making *m, const json_t *in, struct bm_error *e)
{
    int64_t count = bm_arg_int(in, "count", 1);
    struct bm_batch b;
    enum bm_rc rc = bm_arg_name(in, "batch", &m->batch, e);

    m->row.uses = bm_arg_int(in, "uses", 1);
    if (rc == BM_OK && (m->row.uses < 1 || m->row.uses > USES_MAX))
        rc = bm_fail(e, BM_USAGE, "'uses' must be from 1 to %d", USES_MAX);
    if (rc == BM_OK && (count < 1 || count > BM_CODES_AT_ONCE))
        rc = bm_fail(e, BM_USAGE, "'count' must be from 1 to %d", BM_CODES_AT_ONCE);
    if (rc == BM_OK)
        rc = bm_batch_get(m->k->store, m->batch, &b, e);
    if (rc != BM_OK)
        return rc;
    m->row.batch_id = b.id;
    for (int64_t i = 0; rc == BM_OK && i < count; i++)
        rc = make_one(m, NULL, e);
    return rc;
}

static enum bm_rc check_words(const json_t *in, struct bm_error *e)
{
    const char *note = bm_arg_text(in, "note");
    bool batch = bm_arg_text(in, "batch") != NULL;

    if (batch + (bm_arg_text(in, "udid") != NULL) + (json_object_get(in, "udids") != NULL) != 1)
        return bm_fail(e, BM_USAGE, "a code is for a batch or for a device: give one of the two");
    if (!batch && (json_object_get(in, "uses") != NULL || json_object_get(in, "count") != NULL))
        return bm_fail(e, BM_USAGE, "a device has one code with one use; 'uses' and 'count' are for batches");
    if (bm_arg_text(in, "for") != NULL && strcmp(bm_arg_text(in, "for"), "cmp") != 0)
        return bm_fail(e, BM_USAGE, "'for' can be cmp; codes for all else need no word");
    if (note != NULL && strlen(note) >= BM_TEXT_MAX)
        return bm_fail(e, BM_LIMIT, "'note' may have %d bytes", BM_TEXT_MAX - 1);
    return BM_OK;
}

/* What was made, by its numbers: the log is for others to read, so no code is in it. */
static enum bm_rc record_made(const struct making *m, const json_t *in, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp)
    json_t *fields =
        json_pack("{s:I, s:I, s:I, s:I}", "first", (json_int_t)m->first, "count", (json_int_t)json_array_size(m->codes), "uses",
                  (json_int_t)m->row.uses, "expires_at", (json_int_t)m->row.expires_at);
    static const char *const named[] = { "batch", "udid", "for", "note" };

    for (size_t i = 0; i < BM_COUNT(named); i++)
        if (json_object_get(in, named[i]) != NULL)
            json_object_set(fields, named[i], json_object_get(in, named[i]));
    return bm_record(m->k, m->row.created_at, "code.created", fields, e);
}

BM_ADMIN_HANDLER(bm_admin_code_create)
{
    struct making m = { .k = k, .row.uses = 1, .keep = bm_arg_text(in, "for") != NULL, .codes = json_array() };
    char until[24];
    enum bm_rc rc;

    (void)blob;
    json_object_set_new(out, "codes", m.codes);
    rc = check_words(in, e);
    if (rc == BM_OK)
        rc = bm_keeper_now(k, &m.row.created_at, e);
    if (rc == BM_OK)
        rc = bm_arg_until(in, "valid", m.row.created_at, VALID_DEFAULT_S, BM_CODE_LIFE_MAX_S, &m.row.expires_at, e);
    if (rc != BM_OK)
        return rc;
    snprintf(m.row.note, sizeof m.row.note, "%s", bm_arg_text(in, "note") != NULL ? bm_arg_text(in, "note") : "");
    rc = bm_arg_text(in, "batch") != NULL ? for_batch(&m, in, e) : for_devices(&m, in, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "uses", json_integer(m.row.uses));
    json_object_set_new(out, "expires_at", json_string(bm_time_text(m.row.expires_at, until)));
    return record_made(&m, in, e);
}

BM_ADMIN_HANDLER(bm_admin_code_list)
{
    static const char *const by[] = { "batch", "udid", NULL };

    (void)blob;
    return bm_admin_list(k, "code", by, in, out, e);
}

BM_ADMIN_HANDLER(bm_admin_code_revoke)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *fields = NULL;
    struct bm_code_row row;
    int64_t now, number = bm_arg_int(in, "number", 0);
    enum bm_rc rc = bm_keeper_now(k, &now, e);

    (void)blob;
    if (rc == BM_OK)
        rc = bm_code_row_by_id(k->store, number, &row, e);
    if (rc == BM_OK && row.revoked_at != 0)
        rc = bm_fail(e, BM_CONFLICT, "code %lld is revoked already", (long long)number);
    if (rc == BM_OK)
        rc = bm_code_row_revoke(k->store, number, now, e);
    if (rc == BM_OK)
        rc = bm_cmp_forget_code(k, number, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(out, "number", json_integer(number));
    fields = json_pack("{s:I, s:I}", "code", (json_int_t)number, "used", (json_int_t)row.used);
    return bm_record(k, now, "code.revoked", fields, e);
}
