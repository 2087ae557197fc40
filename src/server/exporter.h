/* The exporter: the process that answers /metrics, /readyz and /healthz on listen_metrics. It has no keeper, no TLS, no key and no file; it reads
 * what the others count. Devices never reach it, and Prometheus never reaches a worker. */
#ifndef BM_SERVER_EXPORTER_H
#define BM_SERVER_EXPORTER_H

#include "server/worker.h"

/* Runs until it is drained or told to stop, by the same orders as a worker. keeper_fd of the setup is -1. Returns the exit status. */
int bm_exporter_run(const struct bm_worker_setup *setup);

#endif
