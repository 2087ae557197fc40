/* A root's key on an offline host (docs/ceremony.md). Its folder:
 *
 *   root.key.pem     the key, sealed under 32 random bytes that are nowhere: only in the shares
 *   root.crt         its certificate
 *   ceremony.json    which shares there are, by digest; written once
 *   transcript.jws   what was done, by whom, when: a line for each act, signed by the root's key and chained by digest */
#ifndef BM_CLI_CEREMONY_H
#define BM_CLI_CEREMONY_H

#include "cli/cli.h"
#include "pki/cert.h"
#include "pki/share.h"

enum { BM_CEREMONY_PATH_MAX = 1024, BM_CEREMONY_FILE_MAX = 4 * 1024 * 1024 };

struct bm_ceremony {
    const char *dir;
    struct bm_keyring ring;
    uint8_t secret[BM_SHARE_SECRET_LEN];
    struct bm_key *key; /* open between shares and the end of an act */
    struct bm_buf cert_der;
    struct bm_cert cert; /* borrows from it */
    json_t *facts;       /* ceremony.json */
};
void bm_ceremony_done(struct bm_ceremony *r); /* wipes */

/* For bm_pem_parse(): the first block goes to the bm_buf arg, and no other. */
BM_MUST_USE enum bm_rc bm_ceremony_first(void *arg, struct bm_rd der, struct bm_error *e);
/* The certificate and the facts of a ceremony that was begun. BM_NOTFOUND "no-ceremony". */
BM_MUST_USE enum bm_rc bm_ceremony_load(struct bm_ceremony *r, const char *dir, struct bm_error *e);
/* The root's key, by the shares in the files of --share, with their passphrases in the lines of --passphrases. */
BM_MUST_USE enum bm_rc bm_ceremony_open_key(struct bm_cli *c, struct bm_ceremony *r, json_t *ret_numbers, struct bm_error *e);
/* Line i (from 0) of the file of --passphrases; empty when there is no such file or line. Borrows from text. */
BM_MUST_USE enum bm_rc bm_ceremony_passphrases(struct bm_cli *c, struct bm_buf *text, struct bm_error *e);
struct bm_rd bm_ceremony_line(struct bm_rd text, size_t i);
BM_MUST_USE enum bm_rc bm_ceremony_profile(const char *name, struct bm_profile **ret, struct bm_error *e);
/* A certificate by the root; for itself when r->cert is not there yet. crl_url: where the root's revocation list will be, or NULL. */
BM_MUST_USE enum bm_rc bm_ceremony_issue(const struct bm_ceremony *r, const char *profile, struct bm_rd spki,
                                         const char *organisation, const char *name, const char *crl_url, struct bm_buf *ret_der,
                                         struct bm_error *e);
/* What each act ends with: the root's digest, the transcript's, and one thing more. ceremony.c */
BM_MUST_USE enum bm_rc bm_ceremony_tell(struct bm_cli *c, const struct bm_ceremony *r, const char *more, const char *value,
                                        struct bm_error *e);

/* --- ceremony_transcript.c --- */
/* Adds a line: fields (borrowed) with "act", "at", "who" and "previous". */
BM_MUST_USE enum bm_rc bm_transcript_add(struct bm_cli *c, const struct bm_ceremony *r, const char *act, const json_t *fields,
                                         struct bm_error *e);
/* Every line, verified; appended to ret_lines. BM_DENIED "transcript-changed". ret_digest: of the last line, hex. */
BM_MUST_USE enum bm_rc bm_transcript_read(const struct bm_ceremony *r, json_t *ret_lines, char ret_digest[65], struct bm_error *e);

#endif
