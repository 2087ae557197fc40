/* birthmark code create: codes for a batch or for many devices, asked for in portions, shown once or written to a file. */
#include "cli/cli.h"

#include "base/code.h"
#include "base/file.h"

#include <string.h>

enum { FILE_MAX = 64 * 1024 * 1024 };

/* What all portions have in common. */
static json_t *portion_of(const struct bm_cli *c)
{
    json_t *request = json_copy(c->words);

    json_object_del(request, "out");
    json_object_del(request, "devices");
    return request;
}

static enum bm_rc ask_portion(struct bm_cli *c, const json_t *request, json_t *codes, json_t **last, struct bm_error *e)
{
    json_t *answer = NULL;
    enum bm_rc rc = bm_cli_ask(c, request, &answer, e);

    if (rc != BM_OK)
        return rc;
    json_array_extend(codes, json_object_get(answer, "codes"));
    json_decref(*last);
    *last = answer;
    return BM_OK;
}

static enum bm_rc ask_for_batch(struct bm_cli *c, json_t *codes, json_t **last, struct bm_error *e)
{
    enum bm_rc rc = BM_OK;

    for (int64_t left = bm_cli_int(c, "count", 1); rc == BM_OK && left > 0; left -= BM_CODES_AT_ONCE) {
        BM_CLEANUP(bm_cli_unref) json_t *request = portion_of(c);

        if (json_object_get(request, "count") != NULL)
            json_object_set_new(request, "count", json_integer(left < BM_CODES_AT_ONCE ? left : BM_CODES_AT_ONCE));
        rc = ask_portion(c, request, codes, last, e);
    }
    return rc;
}

/* UDIDs, one a line; blank lines are passed over. */
static enum bm_rc read_udids(const char *path, json_t *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = FILE_MAX };
    enum bm_rc rc = bm_cli_read(path, &text, e);
    struct bm_rd rest = bm_buf_rd(&text);

    while (rc == BM_OK && rest.n != 0) {
        struct bm_rd line = bm_rd_line(&rest);

        if (line.n != 0 && json_array_append_new(ret, json_stringn((const char *)line.p, line.n)) != 0)
            return bm_fail(e, BM_USAGE, "'%s': line %zu is no UDID", path, json_array_size(ret) + 1);
    }
    if (rc == BM_OK && json_array_size(ret) == 0)
        return bm_fail(e, BM_USAGE, "'%s' holds no UDIDs", path);
    return rc;
}

static enum bm_rc ask_for_devices(struct bm_cli *c, json_t *codes, json_t **last, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *udids = json_array();
    enum bm_rc rc = read_udids(bm_cli_text(c, "devices"), udids, e);

    for (size_t at = 0; rc == BM_OK && at < json_array_size(udids);) {
        BM_CLEANUP(bm_cli_unref) json_t *request = portion_of(c);
        json_t *some = json_array();

        for (size_t i = 0; i < BM_CODES_AT_ONCE && at < json_array_size(udids); i++, at++)
            json_array_append(some, json_array_get(udids, at));
        json_object_set_new(request, "udids", some);
        rc = ask_portion(c, request, codes, last, e);
    }
    return rc;
}

static const char *text_of(const json_t *o, const char *member)
{
    const char *s = json_string_value(json_object_get(o, member));

    return s != NULL ? s : "";
}

/* For a printer: a heading and a line for each; nobody else may read it. */
static enum bm_rc write_file(const char *path, const json_t *codes, const char *until, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = FILE_MAX };
    const json_t *one;
    size_t i;

    bm_buf_str(&out, "number,for,code,expires\n");
    json_array_foreach (codes, i, one) {
        const char *whom = json_object_get(one, "batch") != NULL ? text_of(one, "batch") : text_of(one, "udid");

        bm_buf_printf(&out, "%lld,%s,%s,%s\n", (long long)json_integer_value(json_object_get(one, "number")), whom,
                      text_of(one, "code"), until);
    }
    return bm_buf_check(&out, e) == BM_OK ? bm_file_write(path, bm_buf_rd(&out), 0600, e) : BM_LIMIT;
}

static void show(struct bm_cli *c, json_t *codes, const json_t *last)
{
    bool batch = json_object_get(json_array_get(codes, 0), "batch") != NULL;
    struct bm_cli_table t = { .c = c, .rows = "codes", .columns = batch ? "number batch code" : "number udid code" };

    bm_cli_table_rows(&t, codes);
    bm_cli_table_end(&t, NULL);
    bm_cli_note(c, "Good until %s. This is the only time they are shown.\n", text_of(last, "expires_at"));
}

enum bm_rc bm_cli_code_create(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *codes = json_array(), *last = NULL;
    const char *path = bm_cli_text(c, "out");
    bool devices = bm_cli_text(c, "devices") != NULL;
    enum bm_rc rc;

    if (devices && (bm_cli_text(c, "batch") != NULL || bm_cli_text(c, "udid") != NULL))
        return bm_fail(e, BM_USAGE, "--devices names whom the codes are for; leave out --batch and --udid");
    rc = devices ? ask_for_devices(c, codes, &last, e) : ask_for_batch(c, codes, &last, e);
    if (json_array_size(codes) != 0 && path != NULL) { /* also when a later portion failed: what was made is not lost */
        enum bm_rc wrote = write_file(path, codes, text_of(last, "expires_at"), e);

        return rc == BM_OK ? wrote : rc;
    }
    if (rc != BM_OK || last == NULL)
        return rc != BM_OK ? rc : bm_fail(e, BM_USAGE, "--count must be at least 1");
    json_object_set(last, "codes", codes);
    if (c->json)
        bm_cli_print_json(c, last);
    else
        show(c, codes, last);
    return BM_OK;
}
