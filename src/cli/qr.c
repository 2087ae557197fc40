#include "cli/qr.h"

#include <png.h>
#include <qrencode.h>
#include <stdlib.h>

enum { QUIET = 4, PIXELS = 8 }; /* modules of white around it, as the standard has it; pixels of one module */

static void qr_freep(QRcode **q)
{
    QRcode_free(*q);
}

static bool dark(const QRcode *q, int x, int y)
{
    return x >= 0 && y >= 0 && x < q->width && y < q->width && (q->data[y * q->width + x] & 1) != 0;
}

/* Two modules in one character, upper and lower half; light is the drawn one, for dark terminals and for light ones alike. */
static enum bm_rc write_text(const QRcode *q, struct bm_buf *out, struct bm_error *e)
{
    static const char *const halves[] = { "\xe2\x96\x88", "\xe2\x96\x80", "\xe2\x96\x84",
                                          " " }; /* both light, upper, lower, none */

    for (int y = -QUIET; y < q->width + QUIET; y += 2) {
        for (int x = -QUIET; x < q->width + QUIET; x++)
            bm_buf_str(out, halves[(dark(q, x, y) ? 2 : 0) + (dark(q, x, y + 1) ? 1 : 0)]);
        bm_buf_str(out, "\n");
    }
    return bm_buf_check(out, e);
}

static enum bm_rc write_svg(const QRcode *q, struct bm_buf *out, struct bm_error *e)
{
    int side = q->width + 2 * QUIET;

    bm_buf_printf(out,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" shape-rendering=\"crispEdges\">"
                  "<path fill=\"#fff\" d=\"M0 0h%dv%dH0z\"/><path d=\"",
                  side, side, side, side);
    for (int y = 0; y < q->width; y++)
        for (int x = 0; x < q->width; x++)
            if (dark(q, x, y))
                bm_buf_printf(out, "M%d %dh1v1h-1z", x + QUIET, y + QUIET);
    bm_buf_str(out, "\"/></svg>\n");
    return bm_buf_check(out, e);
}

static void paint(const QRcode *q, uint8_t *pixels, int side)
{
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            pixels[y * side + x] = dark(q, x / PIXELS - QUIET, y / PIXELS - QUIET) ? 0 : 255;
}

static enum bm_rc write_png(const QRcode *q, struct bm_buf *out, struct bm_error *e)
{
    int side = (q->width + 2 * QUIET) * PIXELS;
    png_image image = {
        .version = PNG_IMAGE_VERSION, .format = PNG_FORMAT_GRAY, .width = (png_uint_32)side, .height = (png_uint_32)side
    };
    BM_CLEANUP(bm_buf_done) struct bm_buf pixels = { .max = (size_t)side * (size_t)side };
    png_alloc_size_t n = PNG_IMAGE_PNG_SIZE_MAX(image);
    uint8_t *from = bm_buf_room(&pixels, pixels.max), *to = bm_buf_room(out, n);

    if (from == NULL || to == NULL)
        return bm_fail(e, BM_LIMIT, "no room for a picture of %d pixels a side", side);
    paint(q, from, side);
    if (png_image_write_to_memory(&image, to, &n, 0, from, side, NULL) == 0)
        return bm_fail(e, BM_BUG, "the picture cannot be written: %s", image.message);
    out->n += n;
    return BM_OK;
}

static const struct {
    const char *name;
    enum bm_rc (*write)(const QRcode *q, struct bm_buf *out, struct bm_error *e);
} forms[] = { { "text", write_text }, { "svg", write_svg }, { "png", write_png } };

enum bm_rc bm_qr_write(const char *text, const char *form, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(qr_freep) QRcode *q = NULL;

    for (size_t i = 0; i < BM_COUNT(forms); i++) {
        if (strcmp(forms[i].name, form) != 0)
            continue;
        q = QRcode_encodeString(text, 0, QR_ECLEVEL_M, QR_MODE_8, 1); /* parts of it still go as alphanumeric */
        if (q == NULL)
            return bm_fail(e, BM_LIMIT, "%zu characters are too many for a QR code", strlen(text));
        return forms[i].write(q, out, e);
    }
    return bm_fail(e, BM_USAGE, "a QR code is written as text, svg or png");
}
