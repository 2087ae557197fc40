#include "base/code.h"

enum { DATA_CHARS = 26, CHECK_CHARS = 2, CHARS = DATA_CHARS + CHECK_CHARS, GROUP = 4 };

/* The largest prime below 32 * 32. 32 is a unit of it, so one wrong character always changes the remainder; so does a swap of
 * neighbours, as 31 times a difference of two characters is less than the prime, and not zero. */
enum { CHECK_PRIME = 1021 };

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static int value_of(uint8_t c)
{
    const char *at;

    c = c >= 'a' && c <= 'z' ? (uint8_t)(c - 0x20) : c;
    c = c == 'O' ? '0' : c == 'I' || c == 'L' ? '1' : c;
    at = c != '\0' ? strchr(alphabet, c) : NULL;
    return at != NULL ? (int)(at - alphabet) : -1;
}

static unsigned check_of(const uint8_t values[DATA_CHARS])
{
    unsigned sum = 1; /* so that zeros alone are no code */

    for (size_t i = 0; i < DATA_CHARS; i++)
        sum = (sum * 32 + values[i]) % CHECK_PRIME;
    return sum;
}

void bm_code_write(const uint8_t raw[BM_CODE_LEN], char ret[BM_CODE_TEXT_LEN])
{
    uint8_t values[CHARS];
    unsigned bits = 0, held = 0, check;
    size_t at = 0, n = 0;

    while (n < DATA_CHARS) {
        if (held < 5) {
            bits = bits << 8 | (at < BM_CODE_LEN ? raw[at++] : 0);
            held += 8;
        }
        held -= 5;
        values[n++] = bits >> held & 31;
        bits &= (1u << held) - 1;
    }
    check = check_of(values);
    values[n++] = (uint8_t)(check / 32);
    values[n++] = (uint8_t)(check % 32);
    for (size_t i = 0; i < CHARS; i++) {
        *ret++ = alphabet[values[i]];
        if (i % GROUP == GROUP - 1)
            *ret++ = i + 1 < CHARS ? '-' : '\0';
    }
    bm_wipe(values, sizeof values);
}

static bool read_values(struct bm_rd text, uint8_t ret[CHARS])
{
    size_t n = 0;

    if (text.n > BM_CODE_TYPED_MAX)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        int v;

        if (text.p[i] == '-' || text.p[i] == ' ')
            continue;
        v = value_of(text.p[i]);
        if (v < 0 || n == CHARS)
            return false;
        ret[n++] = (uint8_t)v;
    }
    return n == CHARS;
}

/* The last character has two bits more than the code: zero, so that a code has one text only. */
static bool unpack(const uint8_t values[CHARS], uint8_t ret[BM_CODE_LEN])
{
    unsigned bits = 0, held = 0;
    size_t n = 0;

    for (size_t i = 0; i < DATA_CHARS; i++) {
        bits = bits << 5 | values[i];
        held += 5;
        if (held >= 8 && n < BM_CODE_LEN) {
            held -= 8;
            ret[n++] = (uint8_t)(bits >> held);
            bits &= (1u << held) - 1;
        }
    }
    return bits == 0;
}

enum bm_rc bm_code_read(struct bm_rd text, uint8_t ret[BM_CODE_LEN], struct bm_error *e)
{
    uint8_t values[CHARS], raw[BM_CODE_LEN];
    bool ok =
        read_values(text, values) && check_of(values) == values[DATA_CHARS] * 32u + values[DATA_CHARS + 1] && unpack(values, raw);

    if (ok)
        memcpy(ret, raw, sizeof raw);
    bm_wipe(values, sizeof values);
    bm_wipe(raw, sizeof raw);
    if (!ok)
        return bm_refuse(e, BM_DENIED, "code-mistyped", "this is no code: a character was left out, added or mistyped");
    return BM_OK;
}
