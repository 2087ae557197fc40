/* targets: bm_unbase64 bm_unbase64url bm_unhex bm_text_escape bm_name_ok bm_time_parse bm_duration_parse */
#include "base/text.h"

#include <stdlib.h>

typedef enum bm_rc decode_fn(struct bm_rd in, struct bm_buf *out, struct bm_error *e);

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* What we decode we can encode; the url form even to the same text. */
static void base64_both_ways(struct bm_rd in, decode_fn *fn, bool url)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = in.n }, text = { .max = 2 * in.n + 4 }, again = { .max = in.n };
    struct bm_error e;

    if (fn(in, &out, &e) != BM_OK) {
        must(e.rc == BM_MALFORMED && out.n == 0);
        return;
    }
    if (url)
        bm_base64url(&text, bm_buf_rd(&out));
    else
        bm_base64(&text, bm_buf_rd(&out), 64);
    must(!text.bad && (!url || bm_rd_eq(bm_buf_rd(&text), in)));
    must(fn(bm_buf_rd(&text), &again, NULL) == BM_OK && bm_rd_eq(bm_buf_rd(&again), bm_buf_rd(&out)));
}

static void hex_both_ways(struct bm_rd in)
{
    uint8_t raw[64];
    char text[2 * sizeof raw + 1], lower[2 * sizeof raw + 1];

    if (in.n > 2 * sizeof raw || !bm_unhex(in, raw, in.n / 2))
        return;
    bm_hex(raw, in.n / 2, text);
    for (size_t i = 0; i < in.n; i++)
        lower[i] = (char)(in.p[i] >= 'A' && in.p[i] <= 'F' ? in.p[i] + 32 : in.p[i]);
    must(memcmp(text, lower, in.n) == 0);
}

static void escape_is_printable(struct bm_rd in)
{
    for (size_t room = 1; room < 40; room += 13) {
        char *out = malloc(room);

        must(out != NULL);
        bm_text_escape(in, out, room);
        for (size_t i = 0; out[i] != '\0'; i++)
            must(out[i] >= 0x20 && out[i] < 0x7f);
        free(out);
    }
}

static void words(struct bm_rd in)
{
    char *s = strndup((const char *)in.p, in.n), again[21];
    int64_t at, seconds;

    must(s != NULL);
    if (bm_time_parse(s, &at))
        must(memcmp(bm_time_text(at, again), s, 19) == 0);
    if (bm_duration_parse(s, &seconds))
        must(seconds >= 0);
    must(!bm_name_ok(s) || (strlen(s) <= 64 && strchr(s, '/') == NULL));
    free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_rd in = bm_rd_of(p, n);

    base64_both_ways(in, bm_unbase64, false);
    base64_both_ways(in, bm_unbase64url, true);
    hex_both_ways(in);
    escape_is_printable(in);
    words(in);
    return 0;
}
