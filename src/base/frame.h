/* Frames between our own processes: u32 length of what follows, u64 id (chosen by the asker, repeated in the answer), u8 type, payload.
 * Pure: bytes in a buffer, no sockets. */
#ifndef BM_BASE_FRAME_H
#define BM_BASE_FRAME_H

#include "base/bytes.h"
#include "base/limits.h"

#define BM_FRAME_HEAD 13

struct bm_frame {
    uint64_t id;
    uint8_t type;
    struct bm_rd payload; /* borrows from the buffer it was read from */
};

/* Takes the first whole frame of `in`. BM_AGAIN: more bytes are needed; BM_LIMIT: longer than max: close the connection. */
BM_MUST_USE enum bm_rc bm_frame_read(struct bm_rd *in, size_t max, struct bm_frame *ret, struct bm_error *e);
/* Begins a frame at the end of out and returns where; bm_frame_end() fills in the length. */
size_t bm_frame_begin(struct bm_buf *out, uint64_t id, uint8_t type);
void bm_frame_end(struct bm_buf *out, size_t begin);

#endif
