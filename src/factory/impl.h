/* What the files of src/factory share with each other and nobody else. */
#ifndef BM_FACTORY_IMPL_H
#define BM_FACTORY_IMPL_H

#include "factory/manifest.h"

#include <jansson.h>
#include <openssl/ec.h>

/* --- keycheck.c: is this a public key? The point check without an EVP_PKEY costs a quarter of bm_spki_open() ------------------ */
enum { BM_CURVES_MAX = 3 };
struct bm_keycheck {
    BN_CTX *bn;
    struct {
        EC_GROUP *group;
        EC_POINT *point; /* scratch */
    } curve[BM_CURVES_MAX];
};
BM_MUST_USE enum bm_rc bm_keycheck_init(struct bm_keycheck *c, struct bm_error *e);
void bm_keycheck_done(struct bm_keycheck *c); /* safe on zero state */
/* Strict SubjectPublicKeyInfo, point on its curve, anything else opened by OpenSSL. Code entry-key. */
BM_MUST_USE enum bm_rc bm_keycheck(struct bm_keycheck *c, struct bm_rd spki, struct bm_error *e);

/* --- seen.c: the UDIDs of one block ------------------------------------------------------------------------------------------- */
enum { BM_SEEN_SLOTS = 4 * BM_MANIFEST_BLOCK_ENTRIES }; /* a power of two, never over a quarter full */
struct bm_seen {
    uint8_t udid[BM_SEEN_SLOTS][32];
    uint32_t round[BM_SEEN_SLOTS], now; /* a slot counts when its round is the present one: emptying costs nothing */
};
void bm_seen_clear(struct bm_seen *s);
/* False when it was there already. At most BM_MANIFEST_BLOCK_ENTRIES between two clearings. */
bool bm_seen_add(struct bm_seen *s, const uint8_t udid[32]);

/* --- signer.c: the certificate behind seals, its key opened once -------------------------------------------------------------- */
struct bm_signer {
    bool known;   /* key and what follows belong to sha256 */
    bool allowed; /* the hook has said yes in this block */
    uint8_t sha256[32];
    EVP_PKEY *key;
    int64_t not_before, not_after;
    uint8_t skid[64];
    size_t skid_len;
};
void bm_signer_done(struct bm_signer *s);
/* Asks the hook about the certificate with this digest and makes its key ready. `offered` may be empty. Code manifest-signer. */
BM_MUST_USE enum bm_rc bm_signer_ready(struct bm_signer *s, const uint8_t sha256[32], struct bm_rd offered, int64_t at,
                                       const struct bm_manifest_hooks *h, struct bm_error *e);
/* Within its validity at `at`? what: "now", "when the manifest was made". */
BM_MUST_USE enum bm_rc bm_signer_valid(const struct bm_signer *s, int64_t at, const char *what, struct bm_error *e);

/* --- reader.c ----------------------------------------------------------------------------------------------------------------- */
struct bm_manifest_reader {
    const struct bm_manifest_format *format;
    struct bm_keycheck keys;
    struct bm_signer signer;
    struct bm_seen seen;
    struct bm_buf seal;                    /* decoded payloads of seals and entries */
    struct bm_buf spki, birth, attributes; /* what entries borrow from */
    struct bm_buf text;
    struct bm_buf ident, sealed;
};
/* One block under way; what the parsers of lines hand to each other. */
struct bm_manifest_run {
    struct bm_manifest_reader *r;
    const struct bm_manifest_hooks *h;
    int64_t now;
    struct bm_manifest_summary *s;
    const char *issuer; /* who vouches for what follows */
};
/* Fills *ret from one line; it borrows from line and from the reader's memory. Any refusal of
 * it makes a bad line; bm_rc_is_ours() outcomes stop the block. The checks that all formats share come afterwards. */
typedef enum bm_rc bm_entry_parse(struct bm_manifest_run *run, struct bm_rd line, struct bm_manifest_entry *ret,
                                  struct bm_error *e);
/* Parses one line and hands it to the entry or the bad hook. */
BM_MUST_USE enum bm_rc bm_manifest_run_line(struct bm_manifest_run *run, struct bm_rd line, size_t number, bm_entry_parse *parse,
                                            struct bm_error *e);
/* Takes the first line off, without its LF; false when there is no LF. */
bool bm_line_take(struct bm_rd *r, struct bm_rd *ret);
/* Up to the last LF: number of lines. */
size_t bm_lines_count(struct bm_rd r);
/* An outcome that is nobody's doing but ours. */
bool bm_rc_is_ours(enum bm_rc rc);

/* --- entry.c: native entries -------------------------------------------------------------------------------------------------- */
bm_entry_parse bm_entry_parse_native;
/* What makes an entry whatever its format: the checks that writer and reader share. m->udid is already the key's. */
BM_MUST_USE enum bm_rc bm_entry_check(struct bm_keycheck *keys, const char *issuer, const struct bm_manifest_entry *m,
                                      struct bm_error *e);
/* Compact JSON of an object into out, which is emptied first. Code entry-attributes. */
BM_MUST_USE enum bm_rc bm_entry_attributes(const json_t *object, struct bm_buf *out, struct bm_error *e);
/* One line with its LF. m has been checked. */
BM_MUST_USE enum bm_rc bm_entry_write(const struct bm_manifest_entry *m, struct bm_buf *out, struct bm_error *e);

/* --- symmetric.c: the part of them that devices without a key pair have ------------------------------------------------------- */
BM_MUST_USE enum bm_rc bm_entry_check_symmetric(const char *issuer, const struct bm_manifest_entry *m, struct bm_error *e);
/* Adds to *found the members it took, less one. */
BM_MUST_USE enum bm_rc bm_entry_take_symmetric(const json_t *j, struct bm_manifest_reader *r, struct bm_manifest_entry *m,
                                               size_t *found, struct bm_error *e);
void bm_entry_write_symmetric(const struct bm_manifest_entry *m, struct bm_buf *out);

/* --- header.c ----------------------------------------------------------------------------------------------------------------- */
BM_MUST_USE enum bm_rc bm_header_check(const struct bm_manifest_header *h, struct bm_error *e);
void bm_header_write(const struct bm_manifest_header *h, struct bm_buf *out); /* one line with its LF */

/* --- json.c: members by table ------------------------------------------------------------------------------------------------- */
#define BM_JSON_FLAGS JSON_REJECT_DUPLICATES
void bm_json_freep(json_t **j);
#define BM_JSON_FREE BM_CLEANUP(bm_json_freep)
/* An object, no leftovers, no duplicate member. */
BM_MUST_USE enum bm_rc bm_json_object(struct bm_rd text, json_t **ret, struct bm_error *e);
/* A text member; false when it is absent or no text. */
bool bm_json_text(const json_t *o, const char *name, struct bm_rd *ret);
/* The first member that is none of the names (NULL-ended); NULL. */
const char *bm_json_unknown(const json_t *o, const char *const *names);
/* Text of at most ret_len - 1 bytes, copied; false when it does not fit. */
bool bm_text_copy(struct bm_rd text, char *ret, size_t ret_len);

/* --- the formats' rows -------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_native_next(struct bm_manifest_split *s, struct bm_manifest_block *ret, struct bm_error *e);
enum bm_rc bm_native_parse(struct bm_manifest_reader *r, struct bm_rd raw, const struct bm_manifest_state *at, int64_t now,
                           const struct bm_manifest_hooks *h, struct bm_manifest_summary *ret, struct bm_error *e);

/* --- seal.c: what a seal says ------------------------------------------------------------------------------------------------- */
#define BM_SEAL_TYP "birthmark-manifest+jws"
struct bm_seal {
    char manifest[BM_MANIFEST_ID_LEN];
    uint64_t seq, entries, first, total;
    uint8_t digest[32], prev[32];
    bool has_prev, last;
};
BM_MUST_USE enum bm_rc bm_seal_parse(struct bm_rd json, struct bm_seal *ret, struct bm_error *e);
void bm_seal_write(const struct bm_seal *s, struct bm_buf *out);
/* The compact JWS inside a seal line (without its LF); false when it is none. */
bool bm_seal_line(struct bm_rd line, struct bm_rd *ret_jws);
bool bm_seal_begins(struct bm_rd line); /* as a seal line does */

#endif
