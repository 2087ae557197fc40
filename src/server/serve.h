/* The supervisor: starts the keeper and the workers, restarts workers that die, and takes everything down together.
 *
 *   supervisor --fork--> keeper    gets one end of each worker's socket; the end of its control socket means stop
 *              --fork--> worker xN share the listening sockets; the end of their control socket means stop at once
 *
 * SIGTERM and SIGINT drain: no new connections, requests under way are answered, then the keeper finishes. A second one hurries.
 * SIGHUP reads the configuration again. */
#ifndef BM_SERVER_SERVE_H
#define BM_SERVER_SERVE_H

#include "base/config.h"

/* Returns the exit status: 0 after an orderly stop, 1 when it could not start or the keeper was lost. Says what is wrong on standard error
 * and, when all workers serve, where on standard output. */
int bm_serve(const struct bm_config *config);

#endif
