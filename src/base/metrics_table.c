/* Every metric there is. docs/metrics.md is its manual, and a test holds the two together. Names and units by the conventions of Prometheus
 * (https://prometheus.io/docs/practices/naming/): base units, counters end in _total. */
#include "base/metrics.h"

#include "base/bytes.h"

/* What a row does not name is zero, and that is the point. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define VALUES(...) (const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *)

static const char *operations[BM_METRIC_OPERATIONS_MAX];

const struct bm_metric_label bm_label_operation = { "operation", operations, BM_METRIC_OPERATIONS_MAX };
const struct bm_metric_label bm_label_status = { "status", VALUES("200", "202", "204", "304", "400", "401", "403", "404", "405",
                                                                  "408", "409", "411", "413", "414", "415", "417", "429", "431",
                                                                  "500", "503", "505", "other") };
const struct bm_metric_label bm_label_command = { "command",
                                                  VALUES("", "challenge", "enrol", "status", "view", "admin", "changed", "crl",
                                                         "ocsp", "9", "cmp", "scep", "acme", "errand", "brski", "trust", "other") };
const struct bm_metric_label bm_label_tls = { "version", VALUES("1.2", "1.3", "dtls-1.2", "other") };
const struct bm_metric_label bm_label_protocol = { "protocol",
                                                   VALUES("est", "onboard", "internal", "cmp", "scep", "acme", "other") };
const struct bm_metric_label bm_label_kind = { "kind", VALUES("none", "mqtt", "https", "aws-iot", "azure-dps", "lorawan", "generic",
                                                              "other") };
const struct bm_metric_label bm_label_state = { "state", VALUES("registered", "allocated", "active", "suspended", "retired",
                                                                "compromised", "other") };
static const struct bm_metric_label listener = { "listener", VALUES("tls", "http", "coap") };
static const struct bm_metric_label connection_refused = { "reason", VALUES("address-limit", "busy", "no-memory") };
static const struct bm_metric_label handshake_kind = { "kind", VALUES("full", "resumed") };
static const struct bm_metric_label handshake_failure = { "reason", VALUES("refused", "timeout") };
static const struct bm_metric_label outcome = { "outcome", VALUES("ok", "refused") };
const struct bm_metric_label bm_label_revocation = { "state", VALUES("waiting", "asked", "failed", "unable") };
static const struct bm_metric_label process_kind = { "kind", VALUES("worker", "exporter", "courier", "coap") };

static const uint64_t latency_us[] = { 500,    1000,   2000,   5000,    10000,   20000,   50000,
                                       100000, 200000, 500000, 1000000, 2000000, 5000000, 10000000 };
static const uint64_t commit_us[] = { 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 500000, 1000000 };
static const uint64_t batch_n[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256, 512 };

enum {
    SUPERVISOR = 1 << BM_SLOT_SUPERVISOR,
    KEEPER = 1 << BM_SLOT_KEEPER,
    EXPORTER = 1 << BM_SLOT_EXPORTER,
    WORKERS = 1 << BM_SLOT_WORKER | 1 << BM_SLOT_COAP,
    COURIER = 1 << BM_SLOT_COURIER,
    EVERY = SUPERVISOR | KEEPER | EXPORTER | COURIER | WORKERS,
};
#define BUCKETS(b) .buckets = (b), .n_buckets = BM_COUNT(b)

const struct bm_metric bm_metrics[BM_METRICS] = {
    /* processes */
    [BM_M_BUILD] = { "birthmark_build_info", "Which program this is; always 1.", BM_INFO },
    [BM_M_UP] = { "birthmark_ready", "1 while the server is ready: what /readyz says.", BM_GAUGE },
    [BM_M_HEARTBEAT] = { "birthmark_process_heartbeat_age_seconds", "Since this process last said that it lives.", BM_GAUGE,
                         BM_MILLI_STEADY, .per_process = true, .roles = EVERY },
    [BM_M_CPU] = { "birthmark_process_cpu_seconds_total", "CPU time used by this process and those it replaces.", BM_COUNTER,
                   BM_MICRO, .per_process = true, .roles = EVERY },
    [BM_M_MEMORY_PEAK] = { "birthmark_process_memory_peak_bytes", "The most memory this process has held at a time (resident).",
                           BM_GAUGE, .per_process = true, .roles = EVERY },
    [BM_M_RESTARTS] = { "birthmark_process_restarts_total", "Processes that ended and were started anew.", BM_COUNTER,
                        .labels = { &process_kind }, .roles = SUPERVISOR },
    /* connections and TLS */
    [BM_M_CONNECTIONS_OPEN] = { "birthmark_connections_open", "Connections open now.", BM_GAUGE, .per_process = true,
                                .roles = WORKERS },
    [BM_M_CONNECTIONS_ACCEPTED] = { "birthmark_connections_accepted_total", "Connections taken.", BM_COUNTER,
                                    .labels = { &listener }, .roles = WORKERS },
    [BM_M_CONNECTIONS_REFUSED] = { "birthmark_connections_refused_total", "Connections closed at once, before any TLS.", BM_COUNTER,
                                   .labels = { &connection_refused }, .roles = WORKERS },
    [BM_M_HANDSHAKES] = { "birthmark_tls_handshakes_total", "TLS handshakes finished.", BM_COUNTER,
                          .labels = { &bm_label_tls, &handshake_kind }, .roles = WORKERS },
    [BM_M_HANDSHAKES_FAILED] = { "birthmark_tls_handshake_failures_total", "TLS handshakes that came to nothing.", BM_COUNTER,
                                 .labels = { &handshake_failure }, .roles = WORKERS },
    /* requests */
    [BM_M_REQUESTS] = { "birthmark_requests_total", "Requests answered, by operation and HTTP status.", BM_COUNTER,
                        .labels = { &bm_label_operation, &bm_label_status }, .roles = WORKERS, .sparse = true },
    [BM_M_REQUEST_SECONDS] = { "birthmark_request_duration_seconds",
                               "From the last byte of a request to its answer on the way.",
                               BM_HISTOGRAM,
                               BM_MICRO,
                               { &bm_label_operation },
                               BUCKETS(latency_us),
                               .roles = WORKERS,
                               .sparse = true },
    [BM_M_REFUSALS] = { "birthmark_refusals_total", "Requests refused, by the code of docs/refusals.md.", BM_COUNTER,
                        .roles = WORKERS },
    [BM_M_IN_FLIGHT] = { "birthmark_keeper_requests_in_flight", "Commands that a worker waits for.", BM_GAUGE, .per_process = true,
                         .roles = WORKERS },
    /* the keeper */
    [BM_M_COMMANDS] = { "birthmark_keeper_commands_total", "Commands the keeper has run, before their commit.", BM_COUNTER,
                        .labels = { &bm_label_command, &outcome }, .roles = KEEPER, .sparse = true },
    [BM_M_BATCH_COMMANDS] = { "birthmark_keeper_batch_commands", "Commands that share one commit.", BM_HISTOGRAM, BUCKETS(batch_n),
                              .roles = KEEPER },
    [BM_M_COMMIT_SECONDS] = { "birthmark_keeper_commit_duration_seconds", "What a commit takes, until all of it is on disk.",
                              BM_HISTOGRAM, BM_MICRO, BUCKETS(commit_us), .roles = KEEPER },
    [BM_M_COMMITS_FAILED] = { "birthmark_keeper_commits_failed_total",
                              "Batches that could not be written; all in them was refused.", BM_COUNTER, .roles = KEEPER },
    [BM_M_COMMIT_AT] = { "birthmark_keeper_last_commit_age_seconds", "Since the last commit that succeeded.", BM_GAUGE,
                         BM_MILLI_STEADY, .roles = KEEPER },
    [BM_M_ISSUED] = { "birthmark_certificates_issued_total", "Certificates issued to devices, by protocol and kind of service.",
                      BM_COUNTER, .labels = { &bm_label_protocol, &bm_label_kind }, .roles = KEEPER, .sparse = true },
    /* the registry */
    [BM_M_DEVICES] = { "birthmark_devices", "Devices in the registry, by state.", BM_GAUGE, .labels = { &bm_label_state },
                       .roles = KEEPER },
    [BM_M_LOG_ENTRIES] = { "birthmark_audit_log_entries", "Entries of the audit log.", BM_GAUGE, .roles = KEEPER },
    [BM_M_STORE_BYTES] = { "birthmark_registry_bytes", "Size of registry.db; 0 with PostgreSQL.", BM_GAUGE, .roles = KEEPER },
    [BM_M_WAL_BYTES] = { "birthmark_registry_wal_bytes", "Size of registry.db-wal; 0 with PostgreSQL.", BM_GAUGE, .roles = KEEPER },
    [BM_M_STORE_WRITABLE] = { "birthmark_registry_writable", "1 when the last attempt to write to the registry went well.",
                              BM_GAUGE, .roles = KEEPER },
    [BM_M_CLOCK_SANE] = { "birthmark_clock_sane", "0 while the clock is behind the newest entry of the audit log.", BM_GAUGE,
                          .roles = KEEPER },
    [BM_M_CA_CAN_SIGN] = { "birthmark_ca_can_sign", "1 when the default issuing CA is valid and its key is open.", BM_GAUGE,
                           .roles = KEEPER },
    [BM_M_CA_EXPIRES] = { "birthmark_ca_expiry_timestamp_seconds", "When the first of the active CAs expires.", BM_GAUGE,
                          .roles = KEEPER },
    [BM_M_CRL_ENDS] = { "birthmark_held_crl_end_timestamp_seconds",
                        "When the first of the lists of CAs whose key is elsewhere is over; 0: there is none.", BM_GAUGE,
                        .roles = KEEPER },
    [BM_M_MAKER_CRL_ENDS] = { "birthmark_maker_crl_end_timestamp_seconds",
                              "When the first of the lists of those whom organisations are trusted for is over; 0: there is none.",
                              BM_GAUGE, .roles = KEEPER },
    [BM_M_TOKEN_UP] = { "birthmark_token_up", "0 while a PKCS#11 token with keys of CAs does not answer.", BM_GAUGE,
                        .roles = KEEPER },
    [BM_M_TOKEN_REOPENED] = { "birthmark_token_reopened_total", "Tokens that were lost and found again.", BM_COUNTER,
                              .roles = KEEPER },
    [BM_M_TLS_EXPIRES] = { "birthmark_tls_certificate_expiry_timestamp_seconds", "When the server's TLS certificate expires.",
                           BM_GAUGE, .roles = KEEPER },
    [BM_M_UPSTREAM_REVOCATIONS] = { "birthmark_upstream_revocations",
                                    "Certificates revoked here that their upstream CA has not revoked.", BM_GAUGE,
                                    .labels = { &bm_label_revocation }, .roles = KEEPER },
};

enum bm_rc bm_metrics_operations(const char *const *names, size_t n, struct bm_error *e)
{
    if (n >= BM_METRIC_OPERATIONS_MAX)
        return bm_fail(e, BM_BUG, "metrics: more than %d operations", BM_METRIC_OPERATIONS_MAX - 1);
    for (size_t i = 0; i < BM_METRIC_OPERATIONS_MAX; i++)
        operations[i] = i < n ? names[i] : "none";
    return BM_OK;
}

unsigned bm_metric_label_find(const struct bm_metric_label *l, const char *word)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->values[i] != NULL && strcmp(l->values[i], word) == 0)
            return (unsigned)i;
    return (unsigned)(l->n - 1);
}
