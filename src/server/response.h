/* One response as the bytes that go over the wire, header and body in one buffer, so that it leaves in one write. Pure. */
#ifndef BM_SERVER_RESPONSE_H
#define BM_SERVER_RESPONSE_H

#include "protocol/operation.h"

struct bm_response_head {
    const char *correlation;
    const char *code;  /* Birthmark-Code, or NULL when nothing was refused */
    const char *allow; /* Allow, or NULL */
    int64_t now;       /* Unix seconds, for what caches may keep */
    bool keep_alive;
    bool http_1_0;  /* keeping alive has to be said there */
    bool head_only; /* answer to HEAD: the length of the body, not the body */
};
/* Appends to out; look at out->bad. */
void bm_response_write(struct bm_buf *out, const struct bm_response *r, const struct bm_response_head *h);

/* The reason phrase of a status code; "Status" for one not in the registry. */
const char *bm_http_reason(int status);

#endif
