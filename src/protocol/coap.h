/* CoAP messages (RFC 7252) as datagrams carry them, with the options of block-wise transfer (RFC 7959). libcoap reads and writes the options;
 * what they mean, and what is too much, is decided here. Pure. */
#ifndef BM_PROTOCOL_COAP_H
#define BM_PROTOCOL_COAP_H

#include "base/bytes.h"
#include "base/limits.h"

enum bm_coap_type { BM_COAP_CON, BM_COAP_NON, BM_COAP_ACK, BM_COAP_RST };

#define BM_COAP_CODE(c, dd) ((uint8_t)((c) << 5 | (dd)))
enum {
    BM_COAP_EMPTY = 0,
    BM_COAP_GET = 1,
    BM_COAP_POST = 2,
    BM_COAP_METHODS_END = 1 << 5, /* requests are class 0 */
};

#define BM_COAP_SZX_MAX 6 /* blocks of 1024 bytes; 7 is not for datagrams */
struct bm_coap_block {
    bool present, more;
    uint8_t szx; /* blocks of 16 << szx bytes */
    uint32_t num;
};
static inline size_t bm_coap_block_len(uint8_t szx)
{
    return (size_t)16 << szx;
}

struct bm_coap_message {
    enum bm_coap_type type;
    uint8_t code;
    uint16_t mid;
    uint8_t token_len;
    uint8_t token[8];
    size_t n_path, n_query;
    struct bm_rd path[BM_COAP_SEGMENTS_MAX], query[BM_COAP_QUERIES_MAX];
    int32_t content_format, accept;  /* -1: not said */
    int64_t max_age_s, size1, size2; /* -1: not said */
    struct bm_coap_block block1, block2;
    uint16_t unknown; /* number of a critical option that we do not know, or that is not as it should be; 0: none */
    bool proxy;       /* Proxy-Uri or Proxy-Scheme is in it */
    bool bad_block;   /* a block of the size that is reserved: RFC 7959 section 2.2 */
    bool too_long;    /* more segments or queries than we look at */
    struct bm_rd payload;
};
/* A message with a code, and nothing said in it yet. */
struct bm_coap_message bm_coap_message_of(enum bm_coap_type type, uint8_t code, uint16_t mid);

/* ret borrows from in. BM_MALFORMED: a message format error (RFC 7252 section 4.2); type and mid are set when the header could be read, and
 * *ret_header says so. */
BM_MUST_USE enum bm_rc bm_coap_parse(struct bm_rd in, struct bm_coap_message *ret, bool *ret_header, struct bm_error *e);
void bm_coap_write(struct bm_buf *out, const struct bm_coap_message *m);

#endif
