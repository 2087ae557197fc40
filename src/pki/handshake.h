/* Proof that a TLS client held the key of its certificate, or the raw public key in place of one (RFC 7250), for somebody who was not there: the handshake's messages as they went over
 * the line, and the client's signature over them (CertificateVerify: RFC 8446 section 4.4.3, RFC 5246 section 7.4.8). The end of TLS
 * hands both on; this checks them and believes nothing else. */
#ifndef BM_PKI_HANDSHAKE_H
#define BM_PKI_HANDSHAKE_H

#include "base/bytes.h"
#include "base/limits.h"

#define BM_HANDSHAKE_NONCE_LEN 32
/* Extension of the CertificateRequest (TLS 1.3) in which the server sends its nonce; from the range for private use, RFC 8446 section
 * 11. Clients ignore what they do not know there (section 4.3.2). */
#define BM_HANDSHAKE_EXTENSION 0xffb1
/* TLS 1.2 has no such place: there it is the session id of the ServerHello, 16 random bytes and 16 of a MAC over them. */
#define BM_HANDSHAKE_ID_LEN 32
void bm_handshake_session_id(const uint8_t nonce[BM_HANDSHAKE_NONCE_LEN], const uint8_t random[16],
                             uint8_t ret[BM_HANDSHAKE_ID_LEN]);

struct bm_handshake {
    bool tls13;
    struct bm_rd nonce;       /* TLS 1.3: the extension's content, or empty */
    struct bm_rd session_id;  /* TLS 1.2: of the ServerHello, or empty */
    struct bm_rd certificate; /* the client's own, DER; or empty, and */
    struct bm_rd spki;        /* what it showed in place of a certificate: SubjectPublicKeyInfo, DER */
    struct bm_rd server;      /* what the server showed it, DER */
};
/* TLS 1.2, TLS 1.3 or DTLS 1.2; `tls13` false, and a session id, with the last as with the first.
 * transcript: whole handshake messages, from the ClientHello to the last before the client's CertificateVerify; those of DTLS with headers as if each had
 * come in one piece, without the first ClientHello and the HelloVerifyRequest (RFC 6347 section 4.2.6). verify: that message.
 * BM_MALFORMED, or BM_DENIED "bad-signature" when the client's key did not sign this transcript. What ret says is then what the client
 * has seen. */
BM_MUST_USE enum bm_rc bm_handshake_verify(struct bm_rd transcript, struct bm_rd verify, struct bm_handshake *ret,
                                           struct bm_error *e);
/* What the messages say, with no signature checked: for who has been there. */
BM_MUST_USE enum bm_rc bm_handshake_read(struct bm_rd transcript, struct bm_handshake *ret, struct bm_error *e);
/* Did the server that has this nonce take part? */
bool bm_handshake_is_fresh(const struct bm_handshake *h, const uint8_t nonce[BM_HANDSHAKE_NONCE_LEN]);

#endif
