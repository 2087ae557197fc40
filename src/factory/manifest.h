/* Manifests: signed lists of identities that move between organisations, read block by block so that an import streams, resumes
 * where it stopped and can say which lines were tampered with. docs/manifest.md describes the formats. Everything here is pure:
 * bytes in, values out; no files, clocks or registry. One reader, splitter or writer belongs to one thread.
 *
 * Codes of refusals that concern a whole block, of which then nothing is handed out:
 *   manifest-format     the bytes do not follow the format
 *   manifest-cut-short  the file ends before its last seal
 *   manifest-signer     the certificate behind the seal is not trusted
 *   manifest-signature  the seal's signature is wrong
 *   manifest-sequence   a block is missing, repeated or out of place
 *   manifest-digest     the lines are not those that were sealed
 * Codes of refusals that concern one entry, which is skipped:
 *   entry-format entry-udid entry-key entry-rot entry-birth entry-attributes entry-duplicate entry-signer entry-signature
 *   entry-id entry-mac entry-secret */
#ifndef BM_FACTORY_MANIFEST_H
#define BM_FACTORY_MANIFEST_H

#include "base/bytes.h"
#include "base/limits.h"
#include "pki/key.h"
#include "pki/mac.h"

enum {
    BM_MANIFEST_ID_LEN = 65,   /* with the final NUL */
    BM_MANIFEST_NAME_LEN = 65, /* issuer, product and batch follow bm_name_ok() */
    BM_ROT_LEN = 32,
};

/* --- kinds of root of trust --------------------------------------------------------------------------------------------------- */
struct bm_rot_kind {
    const char *name;  /* "atecc608" */
    const char *title; /* "Microchip ATECC608 secure element" */
    bool hardware;     /* the key cannot be read out by software */
    bool symmetric;    /* a secret key that the registry has too, and no key pair: docs/symmetric.md */
    bool attested;     /* no key that stays: its maker vouches for each new one. docs/acme.md, format "apple" */
};
#define BM_ROT_APPLE "apple-enclave"
/* A row without a name ends the table. */
extern const struct bm_rot_kind bm_rot_kinds[];
const struct bm_rot_kind *bm_rot_kind_find(struct bm_rd name); /* NULL: no such kind */

/* --- one identity ------------------------------------------------------------------------------------------------------------- */
/* As handed to hooks: everything borrows and is good until the hook returns. The key is a checked public key (a point is on its
 * curve), udid is its SHA-256, birth_cert is for that key, attributes is a compact JSON object. */
struct bm_manifest_entry {
    uint8_t udid[32];
    struct bm_rd spki;       /* DER */
    char rot[BM_ROT_LEN];    /* of bm_rot_kinds */
    struct bm_rd birth_cert; /* DER, or empty */
    struct bm_rd attributes; /* JSON object, at most BM_MANIFEST_ATTRIBUTES_MAX bytes, or empty */
    /* in place of spki and birth_cert where the kind of root of trust is symmetric or attested; udid is then bm_udid_symmetric()'s: */
    struct bm_rd ident;              /* the chip's identifier, 1 to BM_MAC_IDENT_MAX bytes */
    char mac[BM_MAC_NAME_LEN];       /* of bm_mac_algs; it and what follows: symmetric only */
    struct bm_rd sealed;             /* JWE in compact form with its key, well formed; or empty, and */
    char root[BM_MANIFEST_NAME_LEN]; /* the root key it comes from */
    size_t line;                     /* in its file, from 1; in a JSON array the number of the element, from 1 */
};

struct bm_manifest_header {
    char id[BM_MANIFEST_ID_LEN]; /* printable, no blank, unique per issuer */
    /* The organisation, as it calls itself: compare it with the one that the signer is pinned for. "" in foreign formats */
    char issuer[BM_MANIFEST_NAME_LEN];
    char product[BM_MANIFEST_NAME_LEN]; /* or "" */
    char batch[BM_MANIFEST_NAME_LEN];   /* or "" */
    int64_t created;                    /* Unix seconds; 0 in foreign formats */
    uint8_t digest[32]; /* bm_manifest_digest() of the header line (foreign formats: of the first entry); set by the reader */
};
/* What names a manifest in a registry: SHA-256 of its first line, with or without its line end given, which is left out. */
void bm_manifest_digest(struct bm_rd first_line, uint8_t ret[32]);
/* A native header line, not yet proven by anything. Code manifest-format. */
BM_MUST_USE enum bm_rc bm_manifest_header_parse(struct bm_rd line, struct bm_manifest_header *ret, struct bm_error *e);

/* --- reading ------------------------------------------------------------------------------------------------------------------ */
/* Where an import stands between two blocks; all zero before the first. What a registry stores to resume. */
struct bm_manifest_state {
    uint64_t seq;     /* of the block expected next */
    uint64_t entries; /* entries seen so far, bad ones included */
    uint8_t prev[32]; /* digest of the last seal line (foreign formats: of the last block) */
    bool last;        /* the last block is in: nothing may follow */
    char issuer
        [BM_MANIFEST_NAME_LEN]; /* as the header said; a registry knows it by the organisation of the signer. "" in foreign formats */
};

struct bm_manifest_summary {
    struct bm_manifest_state next;    /* store this, and hand it to the next call */
    uint64_t seq;                     /* of this block */
    size_t first_line, n_lines;       /* seal line included */
    size_t entries, bad;              /* handed to hooks->entry, and to hooks->bad */
    uint8_t signer[32];               /* SHA-256 of the signer's certificate; zero where every entry has its own signature */
    struct bm_manifest_header header; /* in block 0; else zero */
};

/* What a reader asks and tells. A hook that does not answer BM_OK stops the block with that outcome: whatever it did so far is
 * for the caller to undo (one transaction a block). */
struct bm_manifest_hooks {
    void *arg;
    /* May the owner of this certificate sign manifests? sha256 is the certificate's; `offered` is the certificate the manifest
     * brought along, with that digest, or empty. The answer is the certificate to use: `offered` when it is pinned or issued,
     * checked at `at`, by a pinned CA; or a pinned one with that digest. It must stay valid until the next call. BM_DENIED: no.
     * Asked once a block and signer, so that trust taken away ends an import. The reader itself checks the certificate's
     * validity. */
    enum bm_rc (*signer)(void *arg, const uint8_t sha256[32], struct bm_rd offered, int64_t at, struct bm_rd *ret_cert,
                         struct bm_error *e);
    /* Was this certificate, the last of a birth certificate's chain, issued by an anchor of birth certificates, checked at `at`?
     * BM_DENIED: no, and the entry is bad. NULL: that link is not checked. Only foreign formats that bring chains ask. */
    enum bm_rc (*birth)(void *arg, struct bm_rd cert, int64_t at, struct bm_error *e);
    /* The block is genuine and its first entry comes next; entries and bad are not counted yet. May be NULL. The place to see that
     * the signer speaks for header.issuer, and in later blocks for the same organisation as in block 0: another one that is
     * trusted could otherwise go on with a manifest that is not its own. */
    enum bm_rc (*sealed)(void *arg, const struct bm_manifest_summary *s, struct bm_error *e);
    enum bm_rc (*entry)(void *arg, const struct bm_manifest_entry *m, struct bm_error *e);
    /* A line inside a genuine block that is not a good entry. May be NULL. */
    enum bm_rc (*bad)(void *arg, size_t line, const struct bm_error *why, struct bm_error *e);
};

struct bm_manifest_reader; /* what is worth keeping between blocks: the opened key of the signer, curves, memory */
struct bm_manifest_split;
struct bm_manifest_block;

/* One row per format. */
struct bm_manifest_format {
    const char *name; /* "birthmark", "microchip" */
    const char *title;
    uint8_t begins; /* first byte that is not blank, to tell formats apart */
    enum bm_rc (*next)(struct bm_manifest_split *s, struct bm_manifest_block *ret, struct bm_error *e);
    enum bm_rc (*parse)(struct bm_manifest_reader *r, struct bm_rd raw, const struct bm_manifest_state *at, int64_t now,
                        const struct bm_manifest_hooks *h, struct bm_manifest_summary *ret, struct bm_error *e);
};
extern const struct bm_manifest_format bm_manifest_formats[];                      /* a row without a name ends the table */
const struct bm_manifest_format *bm_manifest_format_find(const char *name);        /* NULL: no such format */
const struct bm_manifest_format *bm_manifest_format_guess(struct bm_rd beginning); /* by the first byte that is not blank; NULL */

BM_MUST_USE enum bm_rc bm_manifest_reader_new(const struct bm_manifest_format *f, struct bm_manifest_reader **ret,
                                              struct bm_error *e);
void bm_manifest_reader_free(struct bm_manifest_reader *r); /* NULL is fine */
void bm_manifest_reader_freep(struct bm_manifest_reader **r);

/* Checks one block, as cut by the splitter, against where the import stands, and hands out its entries.
 * raw   borrowed for the call.   now   Unix seconds: the signer must be valid then (Microchip: at the time the entry itself gives).
 * ret   on BM_OK only. A block that is refused has called neither sealed, entry nor bad.
 * Fails with BM_MALFORMED, BM_LIMIT, BM_DENIED and the codes above, with what a hook answered, BM_NOMEM, BM_BUG. */
BM_MUST_USE enum bm_rc bm_manifest_block_parse(struct bm_manifest_reader *r, struct bm_rd raw, const struct bm_manifest_state *at,
                                               int64_t now, const struct bm_manifest_hooks *h, struct bm_manifest_summary *ret,
                                               struct bm_error *e);
/* To be asked when the file is at its end: BM_MALFORMED manifest-cut-short unless the last block was seen. */
BM_MUST_USE enum bm_rc bm_manifest_complete(const struct bm_manifest_state *at, struct bm_error *e);

/* --- cutting a stream into blocks --------------------------------------------------------------------------------------------- */
/* One block in the form bm_manifest_block_parse() takes: whole lines, each ended by LF, at most BM_MANIFEST_BLOCK_MAX bytes. */
struct bm_manifest_block {
    struct bm_rd raw;           /* borrows from the splitter until the next call */
    uint64_t seq;               /* from 0, by counting */
    size_t first_line, n_lines; /* as in bm_manifest_summary */
};

/* Caller memory; holds at most one block and what was put in on top. The members are the splitter's own. */
struct bm_manifest_split {
    const struct bm_manifest_format *format;
    struct bm_buf in, out;
    size_t used;    /* bytes of `in` that the block lent out last takes */
    size_t scanned; /* bytes of `in` already looked at */
    size_t begun;   /* native: start of the line being looked at. Microchip: elements in `out` */
    size_t line, n_lines;
    uint64_t seq;
    int phase;
    bool eof;
};
#define BM_MANIFEST_CHUNK (64 * 1024) /* a good amount to put in at a time, and the most */
void bm_manifest_split_init(struct bm_manifest_split *s, const struct bm_manifest_format *f);
void bm_manifest_split_done(struct bm_manifest_split *s); /* safe on zero state */
/* Takes in up to BM_MANIFEST_CHUNK bytes; to be called only when _next answered BM_AGAIN (or at first). */
BM_MUST_USE enum bm_rc bm_manifest_split_put(struct bm_manifest_split *s, struct bm_rd bytes, struct bm_error *e);
void bm_manifest_split_end(struct bm_manifest_split *s); /* nothing follows */
/* BM_OK: a block. BM_AGAIN: put more in. BM_NOTFOUND: the stream is over. BM_MALFORMED manifest-format or manifest-cut-short,
 * BM_LIMIT. */
BM_MUST_USE enum bm_rc bm_manifest_split_next(struct bm_manifest_split *s, struct bm_manifest_block *ret, struct bm_error *e);

/* --- writing the native format ------------------------------------------------------------------------------------------------ */
struct bm_manifest_writer;
/* Takes whole blocks, in order; not BM_OK stops the writer. */
typedef enum bm_rc bm_manifest_sink(void *arg, struct bm_rd block, struct bm_error *e);
struct bm_manifest_writer_options {
    const struct bm_manifest_header *header; /* digest is not looked at */
    const struct bm_key *key;                /* borrowed until the writer is freed */
    struct bm_rd cert;                       /* of that key, DER; copied */
    size_t block_entries;                    /* 0: BM_MANIFEST_BLOCK_ENTRIES, which is also the most */
    bm_manifest_sink *sink;
    void *arg;
};
/* BM_USAGE when header or certificate will not do. */
BM_MUST_USE enum bm_rc bm_manifest_writer_new(const struct bm_manifest_writer_options *o, struct bm_manifest_writer **ret,
                                              struct bm_error *e);
/* Checks the entry as the reader would; udid may be all zero: it is computed; line is not looked at. */
BM_MUST_USE enum bm_rc bm_manifest_writer_add(struct bm_manifest_writer *w, const struct bm_manifest_entry *m, struct bm_error *e);
/* Writes the last seal; nothing can be added afterwards. Without it the file is "cut short". */
BM_MUST_USE enum bm_rc bm_manifest_writer_end(struct bm_manifest_writer *w, struct bm_error *e);
void bm_manifest_writer_free(struct bm_manifest_writer *w); /* NULL is fine */
void bm_manifest_writer_freep(struct bm_manifest_writer **w);

#endif
