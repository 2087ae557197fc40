/* What the running server counts: one table (metrics_table.c), and memory that the processes share to count in.
 *
 *   supervisor makes the memory --fork--> keeper, workers: each keeps its own slot and gives up the others (bm_metrics_own)
 *                               --fork--> exporter: may read them all, and answers /metrics (server/exporter.c)
 *
 * A slot has one writer, so counting is a load and a store: no lock, no system call. A process in enemy hands can falsify its own slot and reaches
 * no other; the reader takes from a slot only numbers, and words that it checks. A process started anew goes on with its slot, so counters
 * never go back while the server runs. Without bm_metrics_new(), as in the command line and in tests, nothing is counted. */
#ifndef BM_BASE_METRICS_H
#define BM_BASE_METRICS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bm_metric_id {
    BM_M_BUILD,
    BM_M_UP,
    BM_M_HEARTBEAT,
    BM_M_CPU,
    BM_M_MEMORY_PEAK,
    BM_M_RESTARTS,
    BM_M_CONNECTIONS_OPEN,
    BM_M_CONNECTIONS_ACCEPTED,
    BM_M_CONNECTIONS_REFUSED,
    BM_M_HANDSHAKES,
    BM_M_HANDSHAKES_FAILED,
    BM_M_REQUESTS,
    BM_M_REQUEST_SECONDS,
    BM_M_REFUSALS,
    BM_M_IN_FLIGHT,
    BM_M_COMMANDS,
    BM_M_BATCH_COMMANDS,
    BM_M_COMMIT_SECONDS,
    BM_M_COMMITS_FAILED,
    BM_M_COMMIT_AT,
    BM_M_ISSUED,
    BM_M_DEVICES,
    BM_M_LOG_ENTRIES,
    BM_M_STORE_BYTES,
    BM_M_WAL_BYTES,
    BM_M_STORE_WRITABLE,
    BM_M_CLOCK_SANE,
    BM_M_CA_CAN_SIGN,
    BM_M_CA_EXPIRES,
    BM_M_CRL_ENDS,
    BM_M_MAKER_CRL_ENDS,
    BM_M_TOKEN_UP,
    BM_M_TOKEN_REOPENED,
    BM_M_TLS_EXPIRES,
    BM_M_UPSTREAM_REVOCATIONS,
    BM_METRICS,
};

enum bm_metric_type { BM_COUNTER, BM_GAUGE, BM_HISTOGRAM, BM_INFO };
enum bm_metric_unit {
    BM_ONE,
    BM_MICRO,
    BM_MILLI_STEADY
}; /* MICRO: kept in millionths, shown in ones; MILLI_STEADY: shown as seconds ago */

/* A label and all the values it can have; its number is the index into values. */
struct bm_metric_label {
    const char *name;
    const char *const *values;
    size_t n;
};

struct bm_metric {
    const char *name, *help;
    enum bm_metric_type type;
    enum bm_metric_unit unit;
    const struct bm_metric_label *labels[2]; /* NULL: none */
    const uint64_t *buckets;                 /* BM_HISTOGRAM: upper bounds, in the unit it is kept in */
    size_t n_buckets;
    bool per_process; /* one series for each process that has it, with the label `process`; otherwise they are added up */
    unsigned roles;   /* which processes have it: 1 << enum bm_metric_role */
    bool sparse;      /* series that are 0 are left out: the labels make many */
};
extern const struct bm_metric bm_metrics[BM_METRICS];

/* Label values by number; the last value of a set, where it is "other", takes what does not fit. */
enum bm_metric_listener { BM_LISTENER_TLS, BM_LISTENER_HTTP, BM_LISTENER_COAP };
enum bm_metric_tls { BM_TLS_12, BM_TLS_13, BM_TLS_DTLS_12, BM_TLS_OTHER };
enum bm_metric_connection { BM_REFUSED_ADDRESS, BM_REFUSED_BUSY, BM_REFUSED_MEMORY };
enum bm_metric_handshake { BM_HANDSHAKE_FULL, BM_HANDSHAKE_RESUMED };
enum bm_metric_handshake_failure { BM_HANDSHAKE_REFUSED, BM_HANDSHAKE_TIMEOUT };
enum bm_metric_outcome { BM_OUTCOME_OK, BM_OUTCOME_REFUSED };
enum bm_metric_process { BM_PROCESS_WORKER, BM_PROCESS_EXPORTER, BM_PROCESS_COURIER, BM_PROCESS_COAP };

#define BM_METRIC_HTTP_OPERATIONS_MAX 112 /* rows of bm_operations[]; the tables themselves check that they fit */
#define BM_METRIC_COAP_OPERATIONS_MAX 14  /* rows of bm_coap_operations[] */
#define BM_METRIC_OPERATIONS_MAX (BM_METRIC_HTTP_OPERATIONS_MAX + BM_METRIC_COAP_OPERATIONS_MAX + 2) /* and "healthz", "none" */
#define BM_METRIC_REFUSALS_MAX 128 /* different codes of one process; further ones are counted as "other" */
#define BM_METRIC_BUCKETS_MAX 31
#define BM_METRIC_CODE 32

/* The number of a word in a set of label values; the set's last one when it is not there. */
unsigned bm_metric_label_find(const struct bm_metric_label *l, const char *word);
extern const struct bm_metric_label bm_label_operation, bm_label_status, bm_label_command, bm_label_tls, bm_label_protocol,
    bm_label_kind, bm_label_state, bm_label_revocation;
/* The names of all operations, before the first process counts; the strings are borrowed for good. At most BM_METRIC_OPERATIONS_MAX - 1. */
BM_MUST_USE enum bm_rc bm_metrics_operations(const char *const *names, size_t n, struct bm_error *e);

/* --- the shared memory --- */
enum bm_metric_role {
    BM_SLOT_SUPERVISOR,
    BM_SLOT_KEEPER,
    BM_SLOT_EXPORTER,
    BM_SLOT_COURIER,
    BM_SLOT_COAP,
    BM_SLOT_WORKER
}; /* the slots in this order, workers to the end */

/* Once, before the first fork; for the life of the program. */
BM_MUST_USE enum bm_rc bm_metrics_new(size_t n_workers, struct bm_error *e);
void bm_metrics_free(void); /* back to counting nothing */
/* In each process: which slot it writes. worker: from 0, with BM_SLOT_WORKER. The other slots are unmapped for good; the exporter keeps them, read-only,
 * and the supervisor keeps them as they are, for those it starts anew. */
void bm_metrics_own(enum bm_metric_role role, size_t worker);

/* --- counting; does nothing without a slot --- */
void bm_metric_add(enum bm_metric_id m, unsigned a, unsigned b, uint64_t n); /* a, b: label values, 0 where there is no label */
void bm_metric_set(enum bm_metric_id m, unsigned a, unsigned b, uint64_t v);
void bm_metric_observe(enum bm_metric_id m, unsigned a, uint64_t v); /* a histogram */
void bm_metric_refusal(const char *code);
/* This process lives: heartbeat, CPU time, memory. About twice a second. */
void bm_metrics_alive(void);

bool bm_metrics_on(void); /* somebody may read what is counted */

/* --- reading, in the exporter --- */
size_t bm_metrics_slots(void);
enum bm_metric_role bm_metrics_role(size_t slot);
uint64_t bm_metric_get(size_t slot, enum bm_metric_id m, unsigned a, unsigned b);
/* Bucket i of a histogram, not added up; i == n_buckets: over the last bound; i == n_buckets + 1: the sum of all values. */
uint64_t bm_metric_bucket(size_t slot, enum bm_metric_id m, unsigned a, size_t i);
/* The i-th refusal code of a slot; false: none there, or not a code. */
bool bm_metric_refusal_get(size_t slot, size_t i, char ret_code[BM_METRIC_CODE], uint64_t *ret_n);

#endif
