/* Whole files, safely: bounded reads, writes that are either all there or not at all. */
#ifndef BM_BASE_FILE_H
#define BM_BASE_FILE_H

#include "base/bytes.h"

#include <sys/types.h>

/* Reads a file of at most buf->max bytes to the end of *buf, which keeps its content on failure. BM_NOTFOUND, BM_LIMIT, BM_IO. */
BM_MUST_USE enum bm_rc bm_file_read(const char *path, struct bm_buf *buf, struct bm_error *e);
/* Writes beside it, fsyncs, renames over it, fsyncs the folder: after a crash the old or the new content is there whole. */
BM_MUST_USE enum bm_rc bm_file_write(const char *path, struct bm_rd content, mode_t mode, struct bm_error *e);
/* The same, but the name must be free: BM_CONFLICT, and what is there stays as it is. */
BM_MUST_USE enum bm_rc bm_file_create(const char *path, struct bm_rd content, mode_t mode, struct bm_error *e);
/* mkdir that is content with an existing folder; never creates parents. BM_CONFLICT when something else is there, BM_IO. */
BM_MUST_USE enum bm_rc bm_dir_make(const char *path, mode_t mode, struct bm_error *e);
/* "<dir>/<name>" into ret; BM_LIMIT when it does not fit. */
BM_MUST_USE enum bm_rc bm_path_join(const char *dir, const char *name, char *ret, size_t ret_len, struct bm_error *e);

#endif
