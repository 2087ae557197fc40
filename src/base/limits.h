/* Every limit on what a stranger can make us hold or do, in one place. Bytes unless the name says otherwise. */
#ifndef BM_BASE_LIMITS_H
#define BM_BASE_LIMITS_H

enum {
    /* HTTP and TLS, per connection */
    BM_HTTP_HEADER_MAX = 8 * 1024,       /* request line and all header fields */
    BM_HTTP_BODY_MAX = 64 * 1024,        /* decoded request body */
    BM_HTTP_TARGET_MAX = 512,            /* request target up to its query */
    BM_HTTP_QUERY_MAX = 6 * 1024,        /* all of the request target: a SCEP message may come in it */
    BM_TLS_CLIENT_CHAIN_MAX = 16 * 1024, /* client certificate message */
    BM_TLS_CLIENT_CERTS_MAX = 4,         /* certificates in it that are handed on */
    BM_HANDSHAKE_MAX = 48 * 1024,        /* all messages of a handshake that the keeper is shown */
    BM_HANDSHAKE_VERIFY_MAX = 6 * 1024,  /* the client's CertificateVerify; ML-DSA-87 signs with 4.6 kB */
    BM_HANDSHAKE_EPOCH_S = 3600,         /* how long a nonce goes into handshakes; the one before it is still taken */
    BM_BINDING_MAX = 64,                 /* what names a TLS connection: 12 bytes with TLS 1.2, 32 with 1.3 */
    BM_CONNECTION_AGE_MS = 1800000,      /* then "Connection: close", so that no handshake outlives its nonce */
    BM_HANDSHAKE_DEADLINE_MS = 10000,    /* TCP accept to TLS finished */
    BM_REQUEST_DEADLINE_MS = 15000,      /* first byte of a request to its last */
    BM_REPLY_DEADLINE_MS = 15000,        /* reply ready to reply taken by the peer */
    BM_IDLE_DEADLINE_MS = 30000,         /* between requests on a kept connection; the configuration may say otherwise */
    BM_CONNECTIONS_MAX = 10240,          /* per worker */
    BM_CONNECTIONS_PER_ADDRESS = 1024,   /* per worker and peer address; the configuration may lower or raise it */
    BM_REQUESTS_PER_CONNECTION = 10000,  /* then "Connection: close" */

    /* more connections than can be served (server/admission.h) */
    BM_QUEUE_STANDING_MS = 500, /* a queue that has not been empty for so long is a standing one */
    BM_QUEUE_WAIT_MS = 20,      /* who has waited longer in a standing queue is sent away */
    BM_QUEUE_WAIT_FEW_MS = 250, /* the same, from an address with few connections */
    BM_QUEUE_FEW = 4,           /* so many are not few, per worker */

    /* worker to keeper */
    BM_FRAME_MAX = 8 * 1024 * 1024,                        /* one frame, either way (a manifest block is the largest) */
    BM_COMMAND_MAX = 256 * 1024,                           /* a worker's command; the administrator's may reach BM_FRAME_MAX */
    BM_API_REQUEST_MAX = BM_COMMAND_MAX / 2,               /* an API request as JSON */
    BM_API_COMMAND_MAX = 4 * 1024 * 1024 + BM_COMMAND_MAX, /* with a manifest block beside it; only BM_CMD_API may be so large */
    BM_IN_FLIGHT_MAX = 256,                                /* commands of one worker the keeper has not answered; more get 503 */
    BM_BATCH_COMMANDS = 512,                               /* commands in one commit */
    BM_BATCH_MS = 20,                                      /* a commit that a device waits for is not put off longer than this */
    BM_IMPORT_BATCH_MS = 400,                              /* nor one that only an import waits for */
    BM_ADMINS_MAX = 16,                                    /* connections to the administrator's socket */
    BM_WORKERS_MAX = 256,
    BM_CHORE_MS = 10, /* what the keeper does of its own accord (rentals, jobs) holds up devices no longer than this at a time */
    BM_CHORE_EVERY_MS = 100,     /* and while devices wait, no more often than this */
    BM_JOB_PAGE = 64,            /* devices that a job takes in hand at a time */
    BM_JOB_REFUSALS_MAX = 10000, /* of a job that are kept word by word; the rest is counted */
    BM_HEAD_EVERY_MS = 1000,     /* a changed log gets a signed head this often */

    /* PKI */
    BM_KEY_SEALED_MAX = 24 * 1024,    /* a private key made for a device, with what is signed and encrypted around it */
    BM_CSR_MAX = 16 * 1024,           /* one PKCS#10 request */
    BM_CHALLENGE_PASSWORD_MAX = 4096, /* in one: RFC 2985 has 255, device management puts signed tokens there */
    BM_CERT_MAX = 16 * 1024,          /* one certificate */
    BM_NAME_DER_MAX = 1024,           /* subject or issuer, DER */
    BM_EXTENSIONS_MAX = 4 * 1024,     /* all extensions of a certificate we write */
    BM_SPKI_MAX = 8 * 1024,           /* SubjectPublicKeyInfo; ML-DSA-87 has 2.6 kB, RSA-4096 0.6 kB */
    BM_SIGNATURE_MAX = 5 * 1024,      /* ML-DSA-87 has 4.6 kB */
    BM_CSRATTRS_MAX = 1024,           /* what EST csrattrs says for one label */
    BM_SERVICES_MAX = 16,             /* services of one product, and so CSRs in one Onboard answer */

    /* revocation */
    BM_CRL_MAX = 5 * 1024 * 1024,     /* one CRL: about 100,000 entries; more want parts (docs/revocation.md), or OCSP */
    BM_MAKER_CRLS_MAX = 32,           /* CRLs of others that are held and kept in memory (docs/revocation.md) */
    BM_CRL_PARTS_MAX = 256,           /* parts of one CA's list */
    BM_CRL_LIFE_S = 24 * 3600,        /* thisUpdate to nextUpdate; a new one at half of it */
    BM_OCSP_REQUEST_MAX = 4 * 1024,   /* one request, DER */
    BM_OCSP_IDS_MAX = 16,             /* certificates in it */
    BM_OCSP_NONCE_MAX = 128,          /* RFC 9654 section 2.1 */
    BM_OCSP_RESPONSE_MAX = 40 * 1024, /* what we answer: 16 answers, a nonce, the responder's certificate, one signature */
    BM_OCSP_LIFE_S = 3600,            /* thisUpdate to nextUpdate; what is kept ready is made anew at half of it */
    BM_OCSP_READY_MAX = 8192,         /* answers without nonce that the keeper keeps ready, about 1 kB each */
    BM_OCSP_RESPONDERS_MAX = 1024,    /* CAs we answer for */

    /* SCEP */
    BM_SCEP_MESSAGE_MAX = 32 * 1024,    /* a pkiMessage */
    BM_SCEP_REPLY_MAX = 512 * 1024,     /* what we answer; a CRL is the largest */
    BM_SCEP_CRL_MAX = 256 * 1024,       /* a CRL that is sealed for one device; larger ones are to be fetched from /crl/ */
    BM_SCEP_CERTS_MAX = 8,              /* certificates that come with a message */
    BM_SCEP_RECIPIENTS_MAX = 4,         /* of an envelope */
    BM_SCEP_TRANSACTION_MAX = 128,      /* characters of a transactionID */
    BM_SCEP_NONCE_MAX = 64,             /* RFC 8894 section 3.2.1.5 has 16 */
    BM_SCEP_CLOCK_S = 24 * 3600,        /* how far a message's signingTime may be off */
    BM_SCEP_TRANSACTION_S = 90 * 86400, /* how long a transaction is remembered */
    BM_SCEP_COUNTED_S = 60,             /* messages are counted this long */
    BM_SCEP_STRANGERS_ADDRESS = 300,    /* of strangers at one address (IPv6: its /64), in that time */
    BM_SCEP_STRANGERS_SECOND = 100,     /* of all strangers, each second */
    BM_SCEP_KNOWN_KEY = 120,            /* of one known key, in that time: what it signed can be sent again by anybody */
    BM_SCEP_HOOKS_OPEN = 256,           /* questions to one batch's hook that are not answered yet */
    /* vouchers (BRSKI) */
    BM_CMS_CERTS_MAX = 8,                /* certificates beside a signature */
    BM_CMS_CHAIN_MAX = 5,                /* of those, one above the other */
    BM_VOUCHER_MAX = 32 * 1024,          /* a voucher or a pledge's request for one, signed */
    BM_VOUCHER_REQUEST_MAX = 48 * 1024,  /* a registrar's request, with the pledge's in it as base64 */
    BM_VOUCHER_SERIAL_MAX = 64,          /* serialNumber of an IDevID: RFC 5280 appendix A.1, ub-serial-number */
    BM_VOUCHER_NONCE_MAX = 64,           /* a nonce as text: 32 bytes are 44 characters */
    BM_VOUCHER_REQUEST_AGE_S = 3600,     /* a registrar's request is stale after this */
    BM_VOUCHER_LIFE_MAX_S = 365 * 86400, /* of a voucher without nonce */
    BM_VOUCHER_EVENTS_MAX = 1000,        /* in one audit log response, the newest */
    BM_BRSKI_REASON_MAX = 256,           /* what a device says of a voucher that is kept */

    /* CoAP over DTLS */
    BM_COAP_DATAGRAM_MAX = 17 * 1024,      /* one datagram: a DTLS record is at most that */
    BM_COAP_MTU = 1200,                    /* ours, so that nothing on the way has to take them apart (IPv6: 1280) */
    BM_COAP_OPTIONS_MAX = 32,              /* in one message */
    BM_COAP_SEGMENTS_MAX = 5,              /* of a path: .well-known, est, label, function; one more to be told from them */
    BM_COAP_QUERIES_MAX = 4,               /* of a query, which discovery alone has */
    BM_COAP_SESSIONS_MAX = 2048,           /* DTLS sessions, handshakes among them */
    BM_COAP_HANDSHAKES_MAX = 512,          /* of these, not finished */
    BM_COAP_BODY_MAX = 128 * 1024,         /* an answer in blocks */
    BM_COAP_BODIES_MAX = 32 * 1024 * 1024, /* requests and answers in blocks, of all sessions */
    BM_COAP_HANDSHAKE_MS = 60000,          /* cookie to Finished: radios are slow, and retransmissions double their wait */
    BM_COAP_IDLE_MS = 120000,              /* a session without a request */
    BM_COAP_BODY_MS = 247000,              /* a body in blocks without a next one: EXCHANGE_LIFETIME of RFC 7252 */
    BM_COAP_ACK_MS = 1000,                 /* then a request is acknowledged before its answer is there */
    BM_COAP_RETRY_MS = 2500,               /* an answer that is not acknowledged: ACK_TIMEOUT with its random factor */
    BM_COAP_RETRIES_MAX = 4,               /* MAX_RETRANSMIT */
    BM_COAP_COOKIE_S = 300,                /* how long a cookie's key is used; the one before it is still taken */

    /* Onboard */
    BM_CHALLENGE_LEN = 48, /* random 16, expiry 8, HMAC-SHA256 truncated to 24 */
    BM_CHALLENGE_TTL_S = 120,
    BM_CHALLENGES_USED_MAX = 1000000, /* remembered until they expire; over it Onboard answers try-again */

    /* CMP */
    BM_CMP_CLOCK_S = 3600, /* how far messageTime may be off, and how long we wait for a certConf */

    /* one-time codes and claims */
    BM_CODE_TRIES_S = 60,           /* wrong codes are counted this long, and so long is the wait */
    BM_CODE_TRIES_ADDRESS = 10,     /* of one address (IPv6: its /64), whatever they were for */
    BM_CODE_TRIES_TARGET = 50,      /* for one batch or device, from all addresses */
    BM_CODE_TYPED_MAX = 64,         /* longest text that is looked at for a code */
    BM_CLAIM_LIST_MAX = 5000,       /* devices listed one by one in a claim; a reel of more is a batch */
    BM_CODES_AT_ONCE = 1000,        /* made by one act */
    BM_CODE_LIFE_MAX_S = 315360000, /* ten years */
    BM_APPROVALS_PER_DEVICE = 16,   /* requests that wait for a person's approval */
    BM_APPROVALS_MAX = 100000,      /* of all devices */
    BM_APPROVAL_LIFE_S = 2592000,   /* 30 days to be decided, and as long to be used */
    BM_APPROVAL_RETRY_S = 60,       /* when the device is to ask again */
    BM_MAC_WRONG_MAX = 10,          /* wrong MACs for one device from one address ... */
    BM_MAC_WRONG_WINDOW_S = 60,     /* ... within this time; more are not looked at */

    /* ACME */
    BM_ACME_DOCUMENT_MAX = 96 * 1024,   /* an order as it is kept */
    BM_ACME_DEVICE_IDENTIFIERS_MAX = 2, /* of one device, in one order */
    BM_ACME_NAMES_MAX = 16,             /* names and addresses in one order */
    BM_ACME_ORDERS_OPEN = 300,          /* of one account, neither valid nor invalid */
    BM_ACME_ORDERS_PER_MINUTE = 600,    /* of one account */
    BM_ACME_ORDER_LIFE_S = 7 * 86400,   /* from newOrder to finalize */
    BM_ACME_ORDER_KEPT_S = 86400,       /* and then its end can still be read */
    BM_ACME_CERT_KEPT_S = 366 * 86400,  /* how long a certificate can be fetched by its order's address */
    BM_ACME_ALTERNATES_MAX = 4,         /* other chains of one certificate that are told of */
    BM_ACME_RETRY_S = 5,                /* Retry-After where something is under way */
    BM_ACME_RENEWAL_S = 6 * 3600,       /* the same of renewalInfo */

    /* several hosts */
    BM_HOSTS_MAX = 1000,           /* in the life of a registry; a challenge has room for 65,535 */
    BM_SEALED_KEY_MAX = 64 * 1024, /* a private key as it is on disk */
    BM_COLLISIONS_MS = 5000,       /* how long a batch that other hosts' changes undo is tried again */

    /* errands: what is asked of others, keeper/errand.h */
    BM_ERRANDS_MAX = 5000,                   /* unfinished at a time; more are refused */
    BM_ERRAND_LEASE_S = 180,                 /* how long a host has one in hand before another may take it */
    BM_TASK_TIMEOUT_MAX_MS = 60000,          /* what one may take in all, less than the lease */
    BM_TASK_MAX = 96 * 1024,                 /* one task, with certificates to trust and a request in it */
    BM_TASK_BODY_MAX = 32 * 1024,            /* of a request */
    BM_TASK_ANSWER_MAX = 64 * 1024,          /* body of an answer */
    BM_TASK_TEXT_MAX = 4096,                 /* a URL, a header field, a TXT record */
    BM_ACME_THUMBPRINT_LEN = 44,             /* RFC 8555 section 8.1, base64url of a SHA-256, with its terminator */
    BM_TASK_REDIRECTS_MAX = 10,              /* RFC 8555 says nothing; ten are what the large CAs follow */
    BM_ERRAND_COMMAND_MAX = 6 * 1024 * 1024, /* what the courier reports at a time */
    BM_TASK_LARGE_MAX = 5 * 1024 * 1024,     /* body of an answer that the keeper wants large: a CRL, BM_CRL_MAX */

    /* manifests */
    BM_MANIFEST_LINE_MAX = 16 * 1024, /* one entry */
    BM_MANIFEST_BLOCK_ENTRIES = 1024, /* entries under one seal */
    BM_MANIFEST_BLOCK_MAX = 4 * 1024 * 1024,
    BM_MANIFEST_ATTRIBUTES_MAX = 4096, /* the attributes of one entry as JSON */
    BM_JSON_DEPTH_MAX = 16,

    /* registry */
    BM_TEXT_MAX = 256,            /* titles, endpoints and other short text */
    BM_PROFILE_MAX = 8 * 1024,    /* a certificate profile as JSON */
    BM_REFUSALS_KEPT = 100000,    /* rows `birthmark why` can look back on */
    BM_REFUSALS_PER_SECOND = 500, /* written; more are counted only */

    /* Admin API */
    BM_API_LARGE_BODIES = 8,    /* requests over BM_HTTP_BODY_MAX that one worker takes in at a time; more get 503 */
    BM_API_WRONG_TOKENS = 10,   /* from one address that get a reason and a row ... */
    BM_API_WRONG_TOKENS_S = 60, /* ... within this time; more get 429 */

    /* clock */
    BM_CLOCK_BACK_TOLERANCE_S = 60, /* how far the clock may jump back before nothing is issued */
    BM_BACKDATE_S = 300,            /* notBefore lies this far back, for devices whose clock is slow */
};

#endif
