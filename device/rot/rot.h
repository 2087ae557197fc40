/* The root of trust: one table of functions per part, one opaque context, integer handles. The core checks everything generic once
 * (rot.c); a driver may trust its arguments. An operation the part lacks is a NULL slot; open, info and id are mandatory, and so is at
 * least one of sign and challenge.
 * Fixed buffers, no allocation. Handles hold until close. One thread at a time unless caps say BMD_CAP_THREADS.
 * Lengths: *ret_len carries the room in and the size out; with BMD_BUFFER_TOO_SMALL the size needed. */
#ifndef BMD_ROT_H
#define BMD_ROT_H

#include "../core/crypto.h"

enum bmd_cap {
    BMD_CAP_SIGN_MESSAGE = 1 << 0, /* sign takes the whole message, not a digest */
    BMD_CAP_AGREE_RAW = 1 << 1,    /* agree gives the shared x; without it, bytes derived with salt and info */
    BMD_CAP_DERIVE = 1 << 2,       /* key_generate can derive from the root */
    BMD_CAP_THREADS = 1 << 3,      /* safe to call from several threads */
    BMD_CAP_HARDWARE = 1 << 4      /* keys never are in the main processor's memory */
};

/* How much one may believe that the key stays inside, weakest first. */
enum bmd_assurance { BMD_ASSURE_SOFTWARE, BMD_ASSURE_ISOLATED, BMD_ASSURE_SECURE_ELEMENT };

struct bmd_rot_info {
    uint32_t caps;              /* of enum bmd_cap */
    uint32_t algs;              /* bit 1 << enum bmd_alg */
    uint16_t slots;             /* how many keys it can hold; 0: no fixed number */
    uint8_t id_len;             /* what id returns */
    uint8_t assurance;          /* enum bmd_assurance */
    uint8_t locked;             /* lifecycle: non-zero after lock */
    const char *kind;           /* as registries name it: "software", "psa", "tpm2" ... */
    const char *vendor, *model; /* static text */
};

typedef uint32_t bmd_key; /* 0: none */

/* A slot number, or a label when label_len is not 0. */
struct bmd_selector {
    uint32_t slot;
    uint8_t label_len;
    char label[BMD_ROT_LABEL_MAX];
};

enum bmd_usage { BMD_USE_SIGN = 1, BMD_USE_AGREE = 2, BMD_USE_CHALLENGE = 4 };
enum bmd_origin { BMD_ORIGIN_GENERATED, BMD_ORIGIN_DERIVED, BMD_ORIGIN_FACTORY, BMD_ORIGIN_IMPORTED };
enum bmd_generate_flag {
    BMD_GEN_REPLACE = 1,   /* overwrite a key that is there; otherwise BMD_EXISTS */
    BMD_GEN_DERIVE = 2,    /* deterministic from the root (PUF, DICE, TPM primary) */
    BMD_GEN_VOLATILE = 4,  /* gone at close */
    BMD_GEN_EXPORTABLE = 8 /* the caller means to take the private key out by the driver's own means */
};

struct bmd_key_attributes {
    enum bmd_alg alg;
    uint8_t usage; /* of enum bmd_usage */
    enum bmd_origin origin;
    bool exportable, persistent;
};

enum bmd_challenge_kind { BMD_CHALLENGE_HMAC_SHA256, BMD_CHALLENGE_CMAC, BMD_CHALLENGE_VENDOR, BMD_CHALLENGE_KINDS };
enum bmd_attest_format {
    BMD_ATTEST_NONE,
    BMD_ATTEST_TPM_CERTIFY,
    BMD_ATTEST_TPM_QUOTE,
    BMD_ATTEST_EAT,
    BMD_ATTEST_DICE_CHAIN,
    BMD_ATTEST_ATECC_INTERNAL_SIGN,
    BMD_ATTEST_SE05X_READ
};

/* salt and info matter only where raw agreement is forbidden. */
struct bmd_agree {
    struct bmd_rd peer, salt, info;
};

struct bmd_rot_driver {
    const char *name;
    size_t ctx_size; /* of the context memory the caller brings */
    /* ctx: zeroed memory of ctx_size. config: the driver's own words, "" for none. May take the boot-time PUF reading. */
    enum bmd_rc (*open)(void *ctx, const char *config);
    void (*close)(void *ctx); /* idempotent */
    enum bmd_rc (*info)(void *ctx, struct bmd_rot_info *ret);
    enum bmd_rc (*id)(void *ctx, uint8_t *ret, size_t *ret_len); /* same for the life of the part, before any key exists */
    enum bmd_rc (*random)(void *ctx, uint8_t *ret, size_t n);
    enum bmd_rc (*key_open)(void *ctx, const struct bmd_selector *s, bmd_key *ret, struct bmd_key_attributes *ret_attr);
    enum bmd_rc (*key_generate)(void *ctx, const struct bmd_selector *s, enum bmd_alg alg, uint8_t usage, uint8_t flags,
                                bmd_key *ret);
    enum bmd_rc (*key_public)(void *ctx, bmd_key k, uint8_t *ret, size_t *ret_len); /* raw point, never DER */
    enum bmd_rc (*sign)(void *ctx, bmd_key k, enum bmd_hash h, struct bmd_rd digest, uint8_t *ret,
                        size_t *ret_len); /* raw r || s */
    enum bmd_rc (*agree)(void *ctx, bmd_key k, const struct bmd_agree *with, uint8_t *ret, size_t *ret_len);
    enum bmd_rc (*challenge)(void *ctx, bmd_key k, enum bmd_challenge_kind kind, struct bmd_rd in, uint8_t *ret, size_t *ret_len);
    enum bmd_rc (*seal)(void *ctx, struct bmd_rd label, struct bmd_rd plain, uint8_t *ret, size_t *ret_len);
    enum bmd_rc (*unseal)(void *ctx, struct bmd_rd label, struct bmd_rd blob, uint8_t *ret, size_t *ret_len);
    enum bmd_rc (*store_read)(void *ctx, uint32_t object, size_t offset, uint8_t *ret, size_t *ret_len);
    enum bmd_rc (*store_write)(void *ctx, uint32_t object, size_t offset, struct bmd_rd data);
    enum bmd_rc (*counter)(void *ctx, uint32_t number, bool increment, uint64_t *ret); /* never goes back */
    enum bmd_rc (*attest)(void *ctx, enum bmd_attest_format kind, struct bmd_rd nonce, bmd_key k,
                          enum bmd_attest_format *ret_format, uint8_t *ret, size_t *ret_len);
    enum bmd_rc (*credential_open)(void *ctx, bmd_key k, struct bmd_rd blob, uint8_t *ret, size_t *ret_len);
    enum bmd_rc (*key_import)(void *ctx, const struct bmd_selector *s, uint32_t format, struct bmd_rd blob, bmd_key *ret);
    enum bmd_rc (*key_erase)(void *ctx, const struct bmd_selector *s);
    enum bmd_rc (*lock)(void *ctx);    /* one way */
    int32_t (*last_detail)(void *ctx); /* the vendor's code of the last failure */
};

struct bmd_rot {
    const struct bmd_rot_driver *driver;
    void *ctx;
    struct bmd_rot_info info;
    bool open;
};

struct bmd_selector bmd_selector_label(const char *label); /* cut at BMD_ROT_LABEL_MAX: BMD_BAD_ARGUMENT later */
struct bmd_selector bmd_selector_slot(uint32_t slot);

/* ctx: memory of d->ctx_size, which stays the caller's; zeroed here. */
BMD_MUST_USE enum bmd_rc bmd_rot_open(struct bmd_rot *r, const struct bmd_rot_driver *d, void *ctx, size_t ctx_len,
                                      const char *config);
void bmd_rot_close(struct bmd_rot *r); /* idempotent; safe on the zero state */

BMD_MUST_USE enum bmd_rc bmd_rot_id(struct bmd_rot *r, uint8_t *ret, size_t *ret_len);
BMD_MUST_USE enum bmd_rc bmd_rot_random(struct bmd_rot *r, uint8_t *ret, size_t n);
BMD_MUST_USE enum bmd_rc bmd_rot_key_open(struct bmd_rot *r, const struct bmd_selector *s, bmd_key *ret,
                                          struct bmd_key_attributes *ret_attr);
BMD_MUST_USE enum bmd_rc bmd_rot_key_generate(struct bmd_rot *r, const struct bmd_selector *s, enum bmd_alg alg, uint8_t usage,
                                              uint8_t flags, bmd_key *ret);
BMD_MUST_USE enum bmd_rc bmd_rot_key_public(struct bmd_rot *r, bmd_key k, uint8_t *ret, size_t *ret_len);
/* data: the digest of hash h, or the message with h BMD_HASH_NONE where caps or the algorithm (Ed25519) say so. */
BMD_MUST_USE enum bmd_rc bmd_rot_sign(struct bmd_rot *r, bmd_key k, enum bmd_hash h, struct bmd_rd data, uint8_t *ret,
                                      size_t *ret_len);
BMD_MUST_USE enum bmd_rc bmd_rot_agree(struct bmd_rot *r, bmd_key k, const struct bmd_agree *with, uint8_t *ret, size_t *ret_len);
BMD_MUST_USE enum bmd_rc bmd_rot_challenge(struct bmd_rot *r, bmd_key k, enum bmd_challenge_kind kind, struct bmd_rd in,
                                           uint8_t *ret, size_t *ret_len);
BMD_MUST_USE enum bmd_rc bmd_rot_seal(struct bmd_rot *r, struct bmd_rd label, struct bmd_rd plain, uint8_t *ret, size_t *ret_len);
BMD_MUST_USE enum bmd_rc bmd_rot_unseal(struct bmd_rot *r, struct bmd_rd label, struct bmd_rd blob, uint8_t *ret, size_t *ret_len);
BMD_MUST_USE enum bmd_rc bmd_rot_store_read(struct bmd_rot *r, uint32_t object, size_t offset, uint8_t *ret, size_t *ret_len);
BMD_MUST_USE enum bmd_rc bmd_rot_store_write(struct bmd_rot *r, uint32_t object, size_t offset, struct bmd_rd data);
BMD_MUST_USE enum bmd_rc bmd_rot_counter(struct bmd_rot *r, uint32_t number, bool increment, uint64_t *ret);
BMD_MUST_USE enum bmd_rc bmd_rot_attest(struct bmd_rot *r, enum bmd_attest_format kind, struct bmd_rd nonce, bmd_key k,
                                        enum bmd_attest_format *ret_format, uint8_t *ret, size_t *ret_len);
BMD_MUST_USE enum bmd_rc bmd_rot_credential_open(struct bmd_rot *r, bmd_key k, struct bmd_rd blob, uint8_t *ret, size_t *ret_len);
BMD_MUST_USE enum bmd_rc bmd_rot_key_import(struct bmd_rot *r, const struct bmd_selector *s, uint32_t format, struct bmd_rd blob,
                                            bmd_key *ret);
BMD_MUST_USE enum bmd_rc bmd_rot_key_erase(struct bmd_rot *r, const struct bmd_selector *s);
BMD_MUST_USE enum bmd_rc bmd_rot_lock(struct bmd_rot *r);
int32_t bmd_rot_last_detail(struct bmd_rot *r);

#endif
