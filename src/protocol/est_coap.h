/* EST over CoAP: RFC 9148. The very operations of EST over HTTP (protocol/est.h) under short names; DER goes as it is, and answers come in
 * Content-Formats. Pure. */
#ifndef BM_PROTOCOL_EST_COAP_H
#define BM_PROTOCOL_EST_COAP_H

#include "protocol/coap.h"
#include "protocol/operation.h"

/* IANA, CoAP Content-Formats */
enum bm_coap_format {
    BM_COAP_LINK_FORMAT = 40,
    BM_COAP_MULTIPART = 62,   /* application/multipart-core, RFC 8710 */
    BM_COAP_SEALED_KEY = 280, /* application/pkcs7-mime; smime-type=server-generated-key */
    BM_COAP_CERTS_ONLY = 281, /* application/pkcs7-mime; smime-type=certs-only */
    BM_COAP_PKCS8 = 284,
    BM_COAP_CSRATTRS = 285,
    BM_COAP_PKCS10 = 286,
    BM_COAP_PKIX_CERT = 287,
};

#define BM_COAP_FORMATS 2
struct bm_coap_operation {
    const char *name;       /* "coap-est-sen": logs, metrics */
    const char *short_name; /* last segment of the path; NULL ends the table */
    uint8_t method;
    uint8_t command;                   /* enum bm_command, or 0: answered from the view alone */
    uint16_t formats[BM_COAP_FORMATS]; /* of the answer, the default first; 0: there is no second */
    enum bm_rc (*prepare)(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
    /* Appends the answer's payload in the format; BM_NOTFOUND "not-acceptable" when it cannot be said in that one. */
    enum bm_rc (*render)(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, uint16_t format,
                         struct bm_buf *body, struct bm_error *e);
};
extern const struct bm_coap_operation bm_coap_operations[];

/* Finds the operation and checks what a message's options alone decide: path, method, Content-Format, Accept. ret_label borrows from m.
 * ret_format: what the answer is to be in. ret_op is set also when it is refused for another reason than its path. */
BM_MUST_USE enum bm_rc bm_coap_admit(const struct bm_coap_message *m, const struct bm_coap_operation **ret_op,
                                     struct bm_rd *ret_label, uint16_t *ret_format, struct bm_error *e);
/* Links for /.well-known/core (RFC 6690), those that all queries fit. */
void bm_coap_links(const struct bm_coap_message *m, struct bm_buf *out);

/* Response code of a refusal. */
uint8_t bm_coap_code_of(const struct bm_error *e);

#endif
