/* What the manifest verbs share: who signs, a file cut into blocks, and how far it is. */
#ifndef BM_CLI_MANIFEST_H
#define BM_CLI_MANIFEST_H

#include "cli/cli.h"
#include "factory/manifest.h"

/* --- signer.c ---------------------------------------------------------------------------------------------------------------- */
struct bm_cli_signer {
    struct bm_key *key;
    struct bm_buf cert; /* DER */
};
/* By --key and --cert, or made by --new-signer. BM_USAGE without either. */
BM_MUST_USE enum bm_rc bm_cli_signer_open(struct bm_cli *c, struct bm_cli_signer *ret, struct bm_error *e);
void bm_cli_signer_done(struct bm_cli_signer *s);

/* --- source.c: a manifest file, block by block ------------------------------------------------------------------------------- */
struct bm_cli_source {
    int fd;
    bool eof;
    const struct bm_manifest_format *format;
    struct bm_manifest_split split;
};
/* path "-": standard input. format: a name, or NULL or "auto" to tell by the first byte. */
BM_MUST_USE enum bm_rc bm_cli_source_open(const char *path, const char *format, struct bm_cli_source *ret, struct bm_error *e);
void bm_cli_source_done(struct bm_cli_source *s);
/* BM_NOTFOUND: that was the last. The block is good until the next call. */
BM_MUST_USE enum bm_rc bm_cli_source_next(struct bm_cli_source *s, struct bm_manifest_block *ret, struct bm_error *e);

/* --- progress: on a terminal, ten times a second ----------------------------------------------------------------------------- */
struct bm_cli_progress {
    struct bm_cli *c;
    bool shown;
    int64_t began_ms, told_ms, n;
};
void bm_cli_progress_begin(struct bm_cli_progress *p, struct bm_cli *c);
void bm_cli_progress_add(struct bm_cli_progress *p, int64_t n);
/* Wipes the line. Adds "seconds" and "per_second" to totals. */
void bm_cli_progress_end(struct bm_cli_progress *p, json_t *totals);

#endif
