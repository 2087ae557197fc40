/* birthmark claim create and take: the code with its QR code, and as many steps as a reel needs. */
#include "cli/cli.h"
#include "cli/qr.h"

#include "base/code.h"
#include "base/file.h"

#include <string.h>

enum { PAYLOAD_MAX = 512, PICTURE_MAX = 4 * 1024 * 1024 };

/* What the QR code says: the prefix and the code. In capitals, as all of it then fits the symbol's alphanumeric mode, and schemes are the
 * same in either case (RFC 3986 section 3.1). */
static const char default_prefix[] = "BIRTHMARK:CLAIM:";

static enum bm_rc payload_of(const struct bm_cli *c, const char *code, char ret[PAYLOAD_MAX], struct bm_error *e)
{
    const char *prefix = bm_cli_text(c, "prefix") != NULL ? bm_cli_text(c, "prefix") : default_prefix;
    size_t n = strlen(prefix);

    if (n == 0 || n + BM_CODE_TEXT_LEN > PAYLOAD_MAX || strchr(":/=#", prefix[n - 1]) == NULL)
        return bm_fail(e, BM_USAGE, "--prefix must be a URI that ends in ':', '/', '=' or '#': the code comes next");
    snprintf(ret, PAYLOAD_MAX, "%s%s", prefix, code);
    return BM_OK;
}

static enum bm_rc put_picture(struct bm_cli *c, const char *payload, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf picture = { .max = PICTURE_MAX };
    const char *form = bm_cli_text(c, "qr"), *path = bm_cli_text(c, "out");
    enum bm_rc rc;

    if (form == NULL)
        return BM_OK;
    rc = bm_qr_write(payload, form, &picture, e);
    if (rc == BM_OK && path != NULL)
        rc = bm_file_write(path, bm_buf_rd(&picture), 0600, e);
    else if (rc == BM_OK)
        fwrite(picture.p, 1, picture.n, c->out);
    return rc;
}

static enum bm_rc check_words(const struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf try = { .max = PICTURE_MAX };
    const char *form = bm_cli_text(c, "qr");
    char payload[PAYLOAD_MAX];
    enum bm_rc rc = payload_of(c, "", payload, e);

    if (rc == BM_OK && form != NULL)
        rc = bm_qr_write(payload, form, &try, e); /* now, not when the claim is made and its code would be lost */
    if (rc == BM_OK && bm_cli_text(c, "out") != NULL && form == NULL)
        rc = bm_fail(e, BM_USAGE, "--out is for the QR code: say --qr text, svg or png");
    if (rc == BM_OK && c->json && form != NULL && bm_cli_text(c, "out") == NULL)
        rc = bm_fail(e, BM_USAGE, "with --json the QR code goes to a file: --out FILE");
    return rc;
}

enum bm_rc bm_cli_claim_create(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_copy(c->words), *answer = NULL;
    static const char *const ours[] = { "prefix", "qr", "out", "devices" };
    char payload[PAYLOAD_MAX] = "";
    enum bm_rc rc = check_words(c, e);

    for (size_t i = 0; i < BM_COUNT(ours); i++)
        json_object_del(request, ours[i]);
    if (rc == BM_OK)
        rc = bm_cli_ask(c, request, &answer, e);
    if (rc == BM_OK)
        rc = payload_of(c, json_string_value(json_object_get(answer, "code")), payload, e);
    if (rc != BM_OK)
        return rc;
    json_object_set_new(answer, "payload", json_string(payload));
    if (c->json)
        bm_cli_print_json(c, answer);
    else
        bm_cli_print_record(c, answer);
    rc = put_picture(c, payload, e);
    bm_wipe(payload, sizeof payload);
    bm_cli_note(c, "This is the only time the code is shown.\n");
    return rc;
}

/* Each step is committed by itself: stopped at any moment, the same command goes on where it was. */
enum bm_rc bm_cli_claim_take(struct bm_cli *c, struct bm_error *e)
{
    for (;;) {
        BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;
        enum bm_rc rc = bm_cli_ask(c, c->words, &answer, e);

        if (rc != BM_OK)
            return rc;
        if (!json_is_true(json_object_get(answer, "done")))
            continue;
        if (c->json)
            bm_cli_print_json(c, answer);
        else if (!c->quiet)
            bm_cli_print_record(c, answer);
        return BM_OK;
    }
}
