#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char hex_digits[] = "0123456789abcdef";

void bm_hex(const void *p, size_t n, char *ret)
{
    const uint8_t *b = p;

    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = hex_digits[b[i] >> 4];
        ret[2 * i + 1] = hex_digits[b[i] & 15];
    }
    ret[2 * n] = '\0';
}

enum { HEX_BAD = 16 };

static unsigned hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : HEX_BAD;
}

bool bm_unhex(struct bm_rd text, void *ret, size_t n)
{
    uint8_t *out = ret;

    if (text.n != 2 * n)
        return false;
    for (size_t i = 0; i < text.n; i++)
        if (hex_value(text.p[i]) == HEX_BAD)
            return false;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(hex_value(text.p[2 * i]) << 4 | hex_value(text.p[2 * i + 1]));
    return true;
}

static const char b64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char b64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void b64_encode(struct bm_buf *out, struct bm_rd in, const char *abc, bool pad, size_t line_len)
{
    size_t chars = pad ? (in.n + 2) / 3 * 4 : in.n / 3 * 4 + (in.n % 3 != 0 ? in.n % 3 + 1 : 0), col = 0;
    uint8_t *to = bm_buf_room(out, chars + (line_len != 0 ? (chars + line_len - 1) / line_len : 0));

    if (to == NULL)
        return;
    for (size_t i = 0; i < in.n; i += 3) {
        size_t k = in.n - i < 3 ? in.n - i : 3;
        uint32_t v = (uint32_t)in.p[i] << 16 | (k > 1 ? (uint32_t)in.p[i + 1] << 8 : 0) | (k > 2 ? in.p[i + 2] : 0);

        for (size_t j = 0; j < 4 && (pad || j <= k); j++) {
            *to++ = j <= k ? (uint8_t)abc[v >> (18 - 6 * j) & 63] : '=';
            if (line_len != 0 && ++col == line_len) {
                *to++ = '\n';
                col = 0;
            }
        }
    }
    if (col != 0)
        *to++ = '\n';
    out->n = (size_t)(to - out->p);
}

void bm_base64(struct bm_buf *out, struct bm_rd in, size_t line_len)
{
    b64_encode(out, in, b64_std, true, line_len);
}

void bm_base64url(struct bm_buf *out, struct bm_rd in)
{
    b64_encode(out, in, b64_url, false, 0);
}

enum { B64_BAD = 64, B64_SKIP = 65, B64_PAD = 66 };

static uint8_t b64_class(uint8_t c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return (uint8_t)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (uint8_t)(c - 'a' + 26);
    if (c >= '0' && c <= '9')
        return (uint8_t)(c - '0' + 52);
    if (c == (url ? '-' : '+'))
        return 62;
    if (c == (url ? '_' : '/'))
        return 63;
    if (!url && (c == '\n' || c == '\r' || c == ' ' || c == '\t'))
        return B64_SKIP;
    return !url && c == '=' ? B64_PAD : B64_BAD;
}

/* 64 entries per alphabet would be two tables by hand; they are made once instead. */
static const uint8_t *b64_table(bool url)
{
    static uint8_t tables[2][256];
    static _Atomic bool made[2]; /* two threads may both make it, of the same bytes */

    if (!made[url]) {
        for (unsigned c = 0; c < 256; c++)
            tables[url][c] = b64_class((uint8_t)c, url);
        made[url] = true;
    }
    return tables[url];
}

static size_t b64_digits(struct bm_rd in, const uint8_t *table)
{
    size_t n = 0;

    for (size_t i = 0; i < in.n; i++)
        n += table[in.p[i]] < B64_BAD;
    return n;
}

/* What the last two or three digits hold; bits beyond the last byte must be zero (RFC 4648 section 3.5). */
static bool b64_tail(uint32_t v, size_t digits, uint8_t *to)
{
    if (digits == 2) {
        to[0] = (uint8_t)(v >> 4);
        return (v & 15) == 0;
    }
    if (digits == 3) {
        to[0] = (uint8_t)(v >> 10);
        to[1] = (uint8_t)(v >> 2);
        return (v & 3) == 0;
    }
    return true;
}

static enum bm_rc b64_decode(struct bm_rd in, bool url, struct bm_buf *out, struct bm_error *e)
{
    const uint8_t *table = b64_table(url);
    size_t total = b64_digits(in, table), rest = total % 4, n = total / 4 * 3 + (rest != 0 ? rest - 1 : 0);
    uint8_t *to = bm_buf_room(out, n); /* no more than the content needs, so that a limit is met exactly */
    size_t digits = 0, pads = 0;
    uint32_t v = 0;

    if (to == NULL)
        return bm_buf_check(out, e);
    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = table[in.p[i]];

        if (c == B64_SKIP)
            continue;
        if (c == B64_BAD || (pads != 0 && c != B64_PAD) || (c == B64_PAD && ++pads > 2))
            return bm_fail(e, BM_MALFORMED, "base64: character 0x%02x at %zu", in.p[i], i);
        if (c == B64_PAD)
            continue;
        v = v << 6 | c;
        if (++digits % 4 == 0) {
            *to++ = (uint8_t)(v >> 16);
            *to++ = (uint8_t)(v >> 8);
            *to++ = (uint8_t)v;
            v = 0;
        }
    }
    if (rest == 1 || (pads != 0 && rest + pads != 4) || (!url && rest != 0 && pads == 0))
        return bm_fail(e, BM_MALFORMED, "base64: cut short");
    if (!b64_tail(v, rest, to))
        return bm_fail(e, BM_MALFORMED, "base64: stray bits at the end");
    out->n += n;
    return BM_OK;
}

enum bm_rc bm_unbase64(struct bm_rd in, struct bm_buf *out, struct bm_error *e)
{
    return b64_decode(in, false, out, e);
}

enum bm_rc bm_unbase64url(struct bm_rd in, struct bm_buf *out, struct bm_error *e)
{
    return b64_decode(in, true, out, e);
}

const char *bm_text_escape(struct bm_rd in, char *ret, size_t ret_len)
{
    size_t n = 0;

    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = in.p[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '\\';

        if (n + (plain ? 1 : 4) >= ret_len)
            break;
        if (plain)
            ret[n++] = (char)c;
        else
            n += (size_t)snprintf(ret + n, ret_len - n, "\\x%02x", c);
    }
    ret[n] = '\0';
    return ret;
}

bool bm_name_ok(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n > 64 || strchr("._-", s[0]) != NULL)
        return false;
    return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

const char *bm_time_text(int64_t at, char *ret)
{
    time_t t = (time_t)at;
    struct tm tm;

    if (gmtime_r(&t, &tm) == NULL || strftime(ret, 21, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        memcpy(ret, "?", 2);
    return ret;
}

/* strptime skips blanks and takes "2026-2-31"; the pattern and the way back to text refuse those. */
bool bm_time_parse(const char *s, int64_t *ret)
{
    static const char pattern[] = "dddd-dd-ddTdd:dd:dd";
    char again[21];
    struct tm tm = { 0 };
    const char *end;
    int64_t at;

    for (size_t i = 0; i < sizeof pattern - 1; i++)
        if (pattern[i] == 'd' ? s[i] < '0' || s[i] > '9' : s[i] != pattern[i])
            return false;
    end = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
    if (end == NULL)
        return false;
    if (end[0] == '.' && end[1] != 'Z')
        end += 1 + strspn(end + 1, "0123456789");
    if (strcmp(end, "Z") != 0)
        return false;
    at = (int64_t)timegm(&tm);
    if (strncmp(bm_time_text(at, again), s, sizeof pattern - 1) != 0)
        return false;
    *ret = at;
    return true;
}

bool bm_duration_parse(const char *s, int64_t *ret)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 }, { 'y', 31536000 } };
    char *end;
    long n = s[0] >= '0' && s[0] <= '9' ? strtol(s, &end, 10) : -1;

    if (n < 0 || n > 100000000 || end[0] == '\0' || end[1] != '\0')
        return false;
    for (size_t i = 0; i < BM_COUNT(units); i++) {
        if (units[i].unit == end[0]) {
            *ret = n * units[i].seconds;
            return true;
        }
    }
    return false;
}
