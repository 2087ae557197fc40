/* Bytes as text: hex, base64 (RFC 4648), and making foreign text safe to print. */
#ifndef BM_BASE_TEXT_H
#define BM_BASE_TEXT_H

#include "base/bytes.h"

/* Lower-case hex of n bytes; ret has 2 n + 1 characters of room and is terminated. */
void bm_hex(const void *p, size_t n, char *ret);
/* Exactly n bytes from 2 n hex digits (either case); false leaves ret alone. */
BM_MUST_USE bool bm_unhex(struct bm_rd text, void *ret, size_t n);

/* Base64, RFC 4648 section 4, on one line (line_len 0) or wrapped at line_len characters with LF, last LF included. */
void bm_base64(struct bm_buf *out, struct bm_rd in, size_t line_len);
/* Base64url without padding, RFC 4648 section 5. */
void bm_base64url(struct bm_buf *out, struct bm_rd in);
/* Base64 in either wrapping: blanks and line ends are skipped, padding is checked, anything else is BM_MALFORMED. */
BM_MUST_USE enum bm_rc bm_unbase64(struct bm_rd in, struct bm_buf *out, struct bm_error *e);
/* Strict base64url: no padding, no blanks, no stray bits. */
BM_MUST_USE enum bm_rc bm_unbase64url(struct bm_rd in, struct bm_buf *out, struct bm_error *e);

/* Copies at most what fits of `in` as printable ASCII, everything else as \xNN; always terminated. Returns ret. */
const char *bm_text_escape(struct bm_rd in, char *ret, size_t ret_len);

/* Names of organisations, products, services ...: 1 to 64 of [a-z0-9._-], first a letter or digit. */
BM_MUST_USE bool bm_name_ok(const char *s);

/* "YYYY-MM-DDTHH:MM:SSZ" (RFC 3339) for Unix seconds; ret has 21 characters of room. Returns ret. */
const char *bm_time_text(int64_t at, char *ret);
/* The reverse; also accepts a fraction of a second, which is dropped. */
BM_MUST_USE bool bm_time_parse(const char *s, int64_t *ret);
/* Durations as in "30d", "12h", "90m", "45s", "10y" (y = 365 d); seconds. */
BM_MUST_USE bool bm_duration_parse(const char *s, int64_t *ret);

#endif
