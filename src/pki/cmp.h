/* CMP messages, RFC 9810 (versions 2 and 3), and the certificate requests in them, CRMF, RFC 4211: as much as the profile of RFC 9483 has. Read
 * strictly, written; nothing here decides anything. Everything parsed borrows from the bytes given. Pure, any thread. */
#ifndef BM_PKI_CMP_H
#define BM_PKI_CMP_H

#include "pki/cert.h"
#include "pki/cmp_mac.h"
#include "pki/der.h"

enum {
    BM_CMP_NONCE_LEN = 16,          /* of nonces we make; RFC 9483 section 3.1 wants 128 bits of all */
    BM_CMP_NONCE_MAX = 64,          /* of nonces and transaction identifiers that we take */
    BM_CMP_CERTS_MAX = 8,           /* extraCerts */
    BM_CMP_INFO_MAX = 16,           /* generalInfo */
    BM_CMP_PROFILE_MAX = 64,        /* bytes of a name in certProfile: services have no longer ones */
    BM_CMP_TEXT_MAX = 320,          /* what an error says */
    BM_CMP_CRL_MAX = 48 * 1024,     /* a CRL in an answer; longer ones are to be had over HTTP */
    BM_CMP_ANSWER_MAX = 128 * 1024, /* a certificate, its root, and four more of BM_CERT_MAX fit */
};

/* PKIBody, RFC 9810 section 5.1.2: the tags. */
enum bm_cmp_type {
    BM_CMP_IR = 0,
    BM_CMP_IP = 1,
    BM_CMP_CR = 2,
    BM_CMP_CP = 3,
    BM_CMP_P10CR = 4,
    BM_CMP_KUR = 7,
    BM_CMP_KUP = 8,
    BM_CMP_RR = 11,
    BM_CMP_RP = 12,
    BM_CMP_PKICONF = 19,
    BM_CMP_NESTED = 20,
    BM_CMP_GENM = 21,
    BM_CMP_GENP = 22,
    BM_CMP_ERROR = 23,
    BM_CMP_CERTCONF = 24,
    BM_CMP_POLLREQ = 25,
    BM_CMP_POLLREP = 26,
    BM_CMP_TYPES = 27,
};

/* PKIStatus and PKIFailureInfo, section 5.2.3. */
enum bm_cmp_status {
    BM_CMP_ACCEPTED = 0,
    BM_CMP_GRANTED_WITH_MODS = 1,
    BM_CMP_REJECTION = 2,
    BM_CMP_WAITING = 3,
    BM_CMP_REVOCATION_NOTIFIED = 5
};
enum bm_cmp_fail {
    BM_CMP_BAD_ALG = 0,
    BM_CMP_BAD_MESSAGE_CHECK = 1,
    BM_CMP_BAD_REQUEST = 2,
    BM_CMP_BAD_TIME = 3,
    BM_CMP_BAD_CERT_ID = 4,
    BM_CMP_BAD_DATA_FORMAT = 5,
    BM_CMP_WRONG_AUTHORITY = 6,
    BM_CMP_BAD_POP = 9,
    BM_CMP_CERT_REVOKED = 10,
    BM_CMP_CERT_CONFIRMED = 11,
    BM_CMP_WRONG_INTEGRITY = 12,
    BM_CMP_BAD_RECIPIENT_NONCE = 13,
    BM_CMP_ADD_INFO_NOT_AVAILABLE = 17,
    BM_CMP_BAD_SENDER_NONCE = 18,
    BM_CMP_BAD_CERT_TEMPLATE = 19,
    BM_CMP_SIGNER_NOT_TRUSTED = 20,
    BM_CMP_TRANSACTION_ID_IN_USE = 21,
    BM_CMP_UNSUPPORTED_VERSION = 22,
    BM_CMP_NOT_AUTHORIZED = 23,
    BM_CMP_SYSTEM_UNAVAIL = 24,
    BM_CMP_SYSTEM_FAILURE = 25,
};

/* --- reading -------------------------------------------------------------------------------------------------------------------- */
/* PKIHeader, section 5.1.1. What is not there is empty. */
struct bm_cmp_header {
    uint64_t pvno;
    struct bm_rd sender;                      /* whole GeneralName */
    struct bm_rd sender_name, recipient_name; /* whole Name, when it is a directoryName; or empty */
    bool has_time;
    int64_t time;                /* messageTime */
    struct bm_rd protection_alg; /* whole AlgorithmIdentifier */
    struct bm_rd sender_kid, tid, sender_nonce, recip_nonce;
    bool implicit_confirm;     /* asked for */
    bool implicit_confirm_odd; /* with a value that is not NULL, or beside a confirmWaitTime */
    struct bm_rd cert_profile; /* what is asked for by its name (section 5.1.1.4) */
    bool cert_profile_odd;     /* several names, an empty or a long one, or it is there twice */
};
struct bm_cmp {
    struct bm_cmp_header h;
    struct bm_rd
        part;     /* header and body as they stand, one after the other: what protection covers, without the SEQUENCE around them */
    uint8_t type; /* enum bm_cmp_type, or another tag up to BM_CMP_TYPES */
    struct bm_rd content; /* of the body, without its tag */
    bool has_protection;
    struct bm_rd protection; /* contents of the BIT STRING, whole bytes */
    size_t n_certs;
    struct bm_rd certs[BM_CMP_CERTS_MAX]; /* extraCerts, each a SEQUENCE of its own; certificates when they are needed */
};
/* BM_MALFORMED; BM_LIMIT (over BM_CMP_CERTS_MAX, BM_CMP_INFO_MAX, BM_CMP_NONCE_MAX). The body's content is not looked into. */
BM_MUST_USE enum bm_rc bm_cmp_parse(struct bm_rd der, struct bm_cmp *ret, struct bm_error *e);
/* ProtectedPart, section 5.1.3: appends the SEQUENCE over part. */
BM_MUST_USE enum bm_rc bm_cmp_protected(struct bm_rd part, struct bm_buf *ret, struct bm_error *e);

/* How a request shows that its sender has the key, RFC 4211 section 4. */
enum bm_crmf_pop { BM_CRMF_POP_NONE, BM_CRMF_POP_RA_VERIFIED, BM_CRMF_POP_SIGNATURE, BM_CRMF_POP_OTHER };
/* CertTemplate, RFC 4211 section 5; what is not there is empty. */
struct bm_crmf_template {
    bool has_version, has_validity;
    uint64_t version;
    struct bm_rd serial;          /* contents of the INTEGER */
    struct bm_rd issuer, subject; /* whole Name */
    struct bm_rd public_key;      /* [6] with its tag: bm_crmf_spki() */
    struct bm_rd extensions;      /* contents of the SEQUENCE of them */
};
/* CertReqMessages: the first one, and how many there are. */
struct bm_crmf {
    size_t n;
    int64_t req_id;
    struct bm_rd request; /* CertRequest, whole: what the proof of possession signs */
    struct bm_crmf_template t;
    enum bm_crmf_pop pop;
    bool pop_input;                /* poposkInput is there */
    struct bm_rd pop_alg, pop_sig; /* whole AlgorithmIdentifier, contents of the BIT STRING */
    struct bm_rd old_issuer;       /* of control oldCertID: whole Name, or empty */
    struct bm_rd old_serial;       /* contents of the INTEGER */
};
BM_MUST_USE enum bm_rc bm_crmf_parse(struct bm_rd content, struct bm_crmf *ret, struct bm_error *e);
BM_MUST_USE bool bm_crmf_template_parse(struct bm_rd in, struct bm_crmf_template *ret); /* in: contents of the SEQUENCE */
/* Appends the template's key as a SubjectPublicKeyInfo of its own: it comes with an implicit tag. */
BM_MUST_USE enum bm_rc bm_crmf_spki(const struct bm_crmf_template *t, struct bm_buf *ret, struct bm_error *e);

/* Is a key to be made (RFC 9483 section 4.1.6): none is there, or one without bits? Then the kind of key, as in bm_spki.alg; NULL: of any kind. Of kinds that
 * are not known here, "this kind". */
BM_MUST_USE bool bm_crmf_wants_key(const struct bm_crmf_template *t, const char **ret_alg);

/* CertConfirmContent, RFC 9810 section 5.3.18: the first one, and how many there are; n 0: the whole is rejected. */
struct bm_cmp_confirm {
    size_t n;
    int64_t req_id;
    struct bm_rd hash, hash_alg; /* hash_alg: whole AlgorithmIdentifier, or empty */
    uint64_t status;             /* enum bm_cmp_status; BM_CMP_ACCEPTED when it says nothing */
    bool has_fail;
};
BM_MUST_USE enum bm_rc bm_cmp_confirm_parse(struct bm_rd content, struct bm_cmp_confirm *ret, struct bm_error *e);
/* Is that the hash of this certificate: by hash_alg, or else the hash that its signature was made with (SHA-512 for Ed25519, RFC 9481)? */
BM_MUST_USE bool bm_cmp_hash_fits(const struct bm_cmp_confirm *c, const struct bm_cert *cert);

/* RevReqContent, section 5.3.9: the first one, and how many there are. */
struct bm_cmp_revocation {
    size_t n;
    struct bm_crmf_template t;
    int reason; /* CRLReason in crlEntryDetails, RFC 5280 section 5.3.1; 0: none */
};
BM_MUST_USE enum bm_rc bm_cmp_revocation_parse(struct bm_rd content, struct bm_cmp_revocation *ret, struct bm_error *e);

/* PollReqContent, section 5.3.22: the first one, and how many there are. */
struct bm_cmp_poll {
    size_t n;
    int64_t req_id;
};
BM_MUST_USE enum bm_rc bm_cmp_poll_parse(struct bm_rd content, struct bm_cmp_poll *ret, struct bm_error *e);

/* NestedMessageContent, section 5.1.3.4: the messages in it, each whole. BM_DENIED "cmp-request": more than there is room for. */
BM_MUST_USE enum bm_rc bm_cmp_nested_parse(struct bm_rd content, struct bm_rd *ret, size_t room, size_t *ret_n, struct bm_error *e);

/* GenMsgContent, section 5.3.19: the first question, and how many there are. value: whole element, or empty. */
enum bm_cmp_info {
    BM_CMP_INFO_OTHER,
    BM_CMP_INFO_CA_CERTS,
    BM_CMP_INFO_CURRENT_CRL,
    BM_CMP_INFO_CRL_STATUS,
    BM_CMP_INFO_ROOT_CA_CERT,
    BM_CMP_INFO_ROOT_CA_KEY_UPDATE, /* answers the one before */
    BM_CMP_INFO_CERT_REQ_TEMPLATE,
};
struct bm_cmp_question {
    size_t n;
    enum bm_cmp_info what;
    struct bm_rd value;
};
BM_MUST_USE enum bm_rc bm_cmp_question_parse(struct bm_rd content, struct bm_cmp_question *ret, struct bm_error *e);
/* CRLStatusListValue, section 5.3.19.17, of one entry. issuer: whole Name of a CRL's issuer; empty: the entry goes by a distribution point. */
struct bm_cmp_crl_status {
    struct bm_rd issuer;
    bool has_time;
    int64_t this_update;
};
BM_MUST_USE enum bm_rc bm_cmp_crl_status_parse(struct bm_rd value, struct bm_cmp_crl_status *ret, struct bm_error *e);

/* --- writing -------------------------------------------------------------------------------------------------------------------- */
/* Bodies, whole, to go into bm_cmp_answer.body. */
void bm_cmp_put_empty(struct bm_derw *w, enum bm_cmp_type type); /* pkiconf */
void bm_cmp_put_error(struct bm_derw *w, enum bm_cmp_fail fail, const char *text);
/* ip, cp, kup or rp with status rejection: RFC 9483 section 3.6.1. */
void bm_cmp_put_rejected(struct bm_derw *w, enum bm_cmp_type type, int64_t req_id, enum bm_cmp_fail fail, const char *text);
/* CertRepMessage with one certificate. ca: of caPubs, or empty. */
struct bm_cmp_granted {
    enum bm_cmp_type type;
    int64_t req_id;
    enum bm_cmp_status status;
    struct bm_rd cert, ca;
    struct bm_rd key; /* made for it: ContentInfo with EnvelopedData; or empty */
};
void bm_cmp_put_granted(struct bm_derw *w, const struct bm_cmp_granted *g);

/* CertRepMessage without one, as it has to wait; pollRep. text: why. */
void bm_cmp_put_waiting(struct bm_derw *w, enum bm_cmp_type type, int64_t req_id, const char *text);
void bm_cmp_put_poll(struct bm_derw *w, int64_t req_id, uint32_t check_after_s, const char *text);
/* Parts of bodies: PKIFreeText; a certReqId, which is -1 when it answers a p10cr (section 5.3.4). */
void bm_cmp_put_text(struct bm_derw *w, const char *text);
void bm_cmp_put_req_id(struct bm_derw *w, int64_t id);

void bm_cmp_put_revoked(struct bm_derw *w);                       /* rp: it is done */
void bm_cmp_put_nested(struct bm_derw *w, struct bm_rd messages); /* one after the other */
/* genp: the value as it is; certificates (caCerts); a CRL in a list (crls), empty: there is no newer one. */
void bm_cmp_put_info(struct bm_derw *w, enum bm_cmp_info what, struct bm_rd value);
void bm_cmp_put_info_certs(struct bm_derw *w, const struct bm_buf *certs, size_t n);
void bm_cmp_put_info_crls(struct bm_derw *w, struct bm_rd crl);
/* rootCaKeyUpdate, section 5.3.19.15: the new root, and the two certified by each other; all empty: there is no new one. */
void bm_cmp_put_info_root(struct bm_derw *w, struct bm_rd new_with_new, struct bm_rd new_with_old, struct bm_rd old_with_new);

/* A message of ours. */
struct bm_cmp_answer {
    uint64_t pvno;
    struct bm_rd sender;    /* whole Name */
    struct bm_rd recipient; /* whole GeneralName; empty: nobody's name */
    int64_t time;
    struct bm_rd sender_kid, tid, sender_nonce, recip_nonce; /* empty: left out */
    bool implicit_confirm;
    int64_t confirm_until; /* 0: not said */
    struct bm_rd body;
    const struct bm_key *key;     /* signs it; or */
    const struct bm_cmp_mac *mac; /* protects it, with the secret */
    struct bm_rd secret;
    size_t n_certs;
    struct bm_rd certs[BM_CMP_CERTS_MAX];
};
BM_MUST_USE enum bm_rc bm_cmp_write(const struct bm_cmp_answer *a, struct bm_buf *out, struct bm_error *e);

#endif
