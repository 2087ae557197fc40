/* How the command reaches the keeper: over DATA/admin.sock when a server runs, and by opening the registry itself when none does.
 * The caller cannot tell the difference. Answers come in the order of the questions. One thread. */
#ifndef BM_CLI_LINK_H
#define BM_CLI_LINK_H

#include "base/bytes.h"

#include <jansson.h>

struct bm_cli_link;

#define BM_CLI_LINK_WINDOW 8 /* questions on their way at once */

/* secret_file: for the case without a server; NULL: DATA/secret. BM_IO when a server is there and cannot be reached, otherwise what
 * bm_keeper_open() says. */
BM_MUST_USE enum bm_rc bm_cli_link_open(const char *data_dir, const char *secret_file, struct bm_cli_link **ret,
                                        struct bm_error *e);
/* The same, but a server or nothing: BM_NOTFOUND when none runs. */
BM_MUST_USE enum bm_rc bm_cli_link_server(const char *data_dir, struct bm_cli_link **ret, struct bm_error *e);
/* Anything that answers questions: the keeper in this process, or a test. done (may be NULL) is called with arg at the end. */
typedef enum bm_rc bm_cli_link_fn(void *arg, const json_t *request, struct bm_rd blob, json_t **ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_cli_link_of(bm_cli_link_fn *fn, void *arg, void (*done)(void *arg), struct bm_cli_link **ret,
                                      struct bm_error *e);
void bm_cli_link_close(struct bm_cli_link *l); /* NULL is fine */
void bm_cli_link_closep(struct bm_cli_link **l);

/* Asks and waits. ret: a new reference. */
BM_MUST_USE enum bm_rc bm_cli_link_ask(struct bm_cli_link *l, const json_t *request, struct bm_rd blob, json_t **ret,
                                       struct bm_error *e);
/* Asks without waiting; at most BM_CLI_LINK_WINDOW may be pending. */
BM_MUST_USE enum bm_rc bm_cli_link_send(struct bm_cli_link *l, const json_t *request, struct bm_rd blob, struct bm_error *e);
size_t bm_cli_link_pending(const struct bm_cli_link *l);
/* Waits for the answer to the oldest pending question. */
BM_MUST_USE enum bm_rc bm_cli_link_receive(struct bm_cli_link *l, json_t **ret, struct bm_error *e);

#endif
