/* base/metrics.h, and what the exporter makes of it: the table is sound, each process reaches its own slot only, and a slot that an enemy has
 * written spoils no line of the text. */
#include "base/metrics.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "keeper/state.h"
#include "protocol/operation.h"
#include "server/metrics_text.h"
#include "server/readiness.h"
#include "server/router.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct bm_error err;

static int fresh(void **state)
{
    (void)state;
    bm_metrics_free();
    assert_int_equal(bm_route_count_operations(&err), BM_OK);
    assert_int_equal(bm_metrics_new(2, &err), BM_OK);
    return 0;
}

static int gone(void **state)
{
    (void)state;
    bm_metrics_free();
    return 0;
}

/* Runs `act` in a process that owns that slot; returns how it ended. */
static int in_process(enum bm_metric_role role, size_t worker, void (*act)(void))
{
    pid_t pid = fork();
    int how = 0;

    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* not the sanitizer's */
        signal(SIGBUS, SIG_DFL);
        bm_metrics_own(role, worker);
        act();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &how, 0), pid);
    return how;
}

static char *text(bool open_metrics, bool ready)
{
    static struct bm_buf out;

    bm_buf_done(&out);
    out = (struct bm_buf){ .max = 1024 * 1024 };
    bm_metrics_text(&out, open_metrics, ready, bm_clock_steady_ms());
    bm_buf_put(&out, "", 1);
    assert_false(out.bad);
    return (char *)out.p;
}

static bool says(const char *line)
{
    const char *all = text(false, true), *at = strstr(all, line);

    return at != NULL && at != all && at[-1] == '\n' && at[strlen(line)] == '\n'; /* the first line is a comment */
}

/* --- the table ------------------------------------------------------------------------------------------------------------------ */

static bool ends(const char *name, const char *with)
{
    return strlen(name) > strlen(with) && strcmp(name + strlen(name) - strlen(with), with) == 0;
}

/* Breaks when a metric is named against the conventions, or a row was forgotten. */
static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_METRICS; i++) {
        const struct bm_metric *m = &bm_metrics[i];

        assert_non_null(m->name);
        assert_memory_equal(m->name, "birthmark_", 10);
        assert_int_equal(strspn(m->name, "abcdefghijklmnopqrstuvwxyz_"), strlen(m->name));
        assert_true(ends(m->help, ".") && strchr(m->help, '\n') == NULL);
        assert_int_equal(m->type == BM_COUNTER, ends(m->name, "_total"));
        assert_int_equal(m->type == BM_HISTOGRAM, m->n_buckets != 0);
        assert_true(m->n_buckets <= BM_METRIC_BUCKETS_MAX);
        assert_true(m->unit == BM_ONE || strstr(m->name, "_seconds") != NULL);
        for (size_t b = 1; b < m->n_buckets; b++)
            assert_true(m->buckets[b - 1] < m->buckets[b]);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(m->name, bm_metrics[k].name);
    }
}

/* Breaks when a state, an operation or a command is new and would be counted as "other" or "none". */
static void labels(void **state)
{
    (void)state;
    for (int s = 0; s < BM_STATES; s++)
        assert_int_not_equal(bm_metric_label_find(&bm_label_state, bm_state_name((enum bm_state)s)), bm_label_state.n - 1);
    for (const struct bm_operation *op = bm_operations; op->name != NULL; op++) {
        struct bm_exchange x = { .op = op };

        assert_string_equal(bm_label_operation.values[bm_route_operation(&x)], op->name);
        assert_true(op->command < bm_label_command.n - 1);
        if (op->command == BM_CMD_ENROL)
            assert_string_equal(bm_label_protocol.values[bm_metric_label_find(&bm_label_protocol, op->protocol)], op->protocol);
    }
    assert_string_equal(bm_label_command.values[BM_CMD_OCSP], "ocsp");
    assert_int_equal(bm_metric_label_find(&bm_label_status, "299"), bm_label_status.n - 1);
}

/* --- counting ------------------------------------------------------------------------------------------------------------------- */

static void count_some(void)
{
    bm_metric_add(BM_M_CONNECTIONS_ACCEPTED, BM_LISTENER_TLS, 0, 2);
    bm_metric_observe(BM_M_REQUEST_SECONDS, 0, 500);
    bm_metric_observe(BM_M_REQUEST_SECONDS, 0, 501);
    bm_metric_observe(BM_M_REQUEST_SECONDS, 0, 60000000);
    bm_metric_refusal("no-such-path");
    bm_metric_refusal("no-such-path");
    bm_metric_set(BM_M_CONNECTIONS_OPEN, 0, 0, 7);
}

static void sums(void **state)
{
    (void)state;
    assert_int_equal(in_process(BM_SLOT_WORKER, 0, count_some), 0);
    assert_int_equal(in_process(BM_SLOT_WORKER, 1, count_some), 0);
    assert_int_equal(in_process(BM_SLOT_WORKER, 1, count_some), 0); /* started anew: it goes on counting */
    assert_true(says("birthmark_connections_accepted_total{listener=\"tls\"} 6"));
    assert_true(says("birthmark_connections_open{process=\"worker-2\"} 7"));
    assert_true(says("birthmark_request_duration_seconds_bucket{operation=\"healthz\",le=\"0.0005\"} 3"));
    assert_true(says("birthmark_request_duration_seconds_bucket{operation=\"healthz\",le=\"0.001\"} 6"));
    assert_true(says("birthmark_request_duration_seconds_bucket{operation=\"healthz\",le=\"10.0\"} 6"));
    assert_true(says("birthmark_request_duration_seconds_bucket{operation=\"healthz\",le=\"+Inf\"} 9"));
    assert_true(says("birthmark_request_duration_seconds_sum{operation=\"healthz\"} 180.003003"));
    assert_true(says("birthmark_request_duration_seconds_count{operation=\"healthz\"} 9"));
    assert_true(says("birthmark_refusals_total{code=\"no-such-path\"} 6"));
}

static void open_metrics(void **state)
{
    const char *t = text(true, false);

    (void)state;
    assert_non_null(strstr(t, "# TYPE birthmark_requests counter\n"));
    assert_non_null(strstr(t, "\nbirthmark_ready 0\n"));
    assert_string_equal(t + strlen(t) - 6, "# EOF\n");
}

/* Breaks when the command line or a test, which have no slot, would write somewhere. */
static void without_memory(void **state)
{
    (void)state;
    bm_metrics_free();
    count_some();
    bm_metrics_own(BM_SLOT_KEEPER, 0);
    assert_int_equal(bm_metrics_slots(), 0);
    assert_false(bm_metrics_on());
}

/* --- enemies -------------------------------------------------------------------------------------------------------------------- */

static void read_keeper(void)
{
    (void)bm_metric_get(BM_SLOT_KEEPER, BM_M_CPU, 0, 0);
}
static void read_other_worker(void)
{
    (void)bm_metric_get(BM_SLOT_WORKER + 1, BM_M_CPU, 0, 0);
}
static void read_own(void)
{
    (void)bm_metric_get(BM_SLOT_WORKER, BM_M_CPU, 0, 0);
}
static void read_all(void)
{
    for (size_t i = 0; i < bm_metrics_slots(); i++)
        (void)bm_metric_get(i, BM_M_CPU, 0, 0);
}
static bool ends_badly(int how)
{
    return WIFSIGNALED(how) || WEXITSTATUS(how) != 0;
}

/* Breaks when a worker in enemy hands reaches what others count. */
static void slots_are_apart(void **state)
{
    (void)state;
    assert_int_equal(in_process(BM_SLOT_WORKER, 0, read_own), 0);
    assert_true(ends_badly(in_process(BM_SLOT_WORKER, 0, read_keeper)));
    assert_true(ends_badly(in_process(BM_SLOT_WORKER, 0, read_other_worker)));
    assert_true(ends_badly(in_process(BM_SLOT_KEEPER, 0, read_own)));
    assert_int_equal(in_process(BM_SLOT_EXPORTER, 0, read_all), 0);
}

static void write_nonsense(void)
{
    char code[32];

    bm_metric_refusal("quote\"} 1\nbirthmark_ready 0");
    bm_metric_refusal("Upper");
    bm_metric_refusal("\xff\xfe");
    bm_metric_refusal("a-code-that-is-longer-than-there-is-room-for-in-a-slot");
    for (int i = 0; i < 2 * BM_METRIC_REFUSALS_MAX; i++) {
        snprintf(code, sizeof code, "code-%d", i);
        bm_metric_refusal(code);
    }
    for (int m = 0; m < BM_METRICS; m++) {
        bm_metric_set((enum bm_metric_id)m, 1000, 1000, UINT64_MAX); /* labels out of range fall on the last */
        if (bm_metrics[m].type == BM_HISTOGRAM)
            bm_metric_observe((enum bm_metric_id)m, 1000, UINT64_MAX);
    }
}

static bool is_line(const char *line, size_t n)
{
    if (n > 2 && line[0] == '#')
        return true;
    return n > 10 && memcmp(line, "birthmark_", 10) == 0 && memchr(line, ' ', n) != NULL && memchr(line, '\\', n) == NULL;
}

/* Breaks when what a slot holds can forge a line, or run the reader over. */
static void hostile_slot(void **state)
{
    size_t n;

    (void)state;
    assert_int_equal(in_process(BM_SLOT_WORKER, 0, write_nonsense), 0);
    assert_int_equal(in_process(BM_SLOT_WORKER, 1, write_nonsense), 0);
    for (const char *line = text(false, true); *line != '\0'; line += n + 1) {
        n = strcspn(line, "\n");
        assert_true(is_line(line, n));
        assert_false(n > 17 && memcmp(line, "birthmark_ready 0", 17) == 0);
    }
    assert_null(strstr(text(false, true), "Upper"));
    assert_null(strstr(text(false, true), "quote"));
    assert_true(says("birthmark_refusals_total{code=\"code-0\"} 2"));
    assert_non_null(strstr(text(false, true), "birthmark_refusals_total{code=\"other\"} "));
}

/* --- readiness ------------------------------------------------------------------------------------------------------------------ */

#define NOW INT64_C(1800000000)

static void keeper_well(void)
{
    bm_metric_set(BM_M_STORE_WRITABLE, 0, 0, 1);
    bm_metric_set(BM_M_CLOCK_SANE, 0, 0, 1);
    bm_metric_set(BM_M_CA_CAN_SIGN, 0, 0, 1);
    bm_metric_set(BM_M_TOKEN_UP, 0, 0, 1);
    bm_metric_set(BM_M_TLS_EXPIRES, 0, 0, NOW + 1);
}
static void not_writable(void)
{
    bm_metric_set(BM_M_STORE_WRITABLE, 0, 0, 0);
}
static void clock_back(void)
{
    bm_metric_set(BM_M_CLOCK_SANE, 0, 0, 0);
}
static void ca_out(void)
{
    bm_metric_set(BM_M_CA_CAN_SIGN, 0, 0, 0);
}
static void token_away(void)
{
    bm_metric_set(BM_M_TOKEN_UP, 0, 0, 0);
}
static void tls_over(void)
{
    bm_metric_set(BM_M_TLS_EXPIRES, 0, 0, NOW);
}
static void nothing(void)
{
}

static const struct {
    void (*keeper)(void);
    int64_t later_ms;
    const char *reason; /* NULL: ready */
} ready_rows[] = {
    { nothing, 0, NULL },
    { nothing, BM_SILENT_MS - 1000, NULL },
    { not_writable, 0, "\"registry-not-writable\"" },
    { clock_back, 0, "\"clock-went-back\"" },
    { ca_out, 0, "\"ca-cannot-sign\"" },
    { token_away, 0, "\"token-unavailable\"" },
    { tls_over, 0, "\"tls-certificate-expired\"" },
    { nothing, BM_SILENT_MS + 1000, "\"keeper-silent\"" },
    { nothing, BM_SILENT_MS + 1000, "\"no-worker\"" },
};

static void readiness(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf json = { .max = 4096 };

    (void)state;
    assert_false(bm_ready(bm_clock_steady_ms(), NOW, NULL)); /* nobody has said anything yet */
    assert_int_equal(in_process(BM_SLOT_WORKER, 1, nothing), 0);
    for (size_t i = 0; i < BM_COUNT(ready_rows); i++) {
        assert_int_equal(in_process(BM_SLOT_KEEPER, 0, keeper_well), 0);
        assert_int_equal(in_process(BM_SLOT_KEEPER, 0, ready_rows[i].keeper), 0);
        json.n = 0;
        assert_int_equal(bm_ready(bm_clock_steady_ms() + ready_rows[i].later_ms, NOW, &json), ready_rows[i].reason == NULL);
        bm_buf_put(&json, "", 1);
        assert_non_null(strstr((const char *)json.p, ready_rows[i].reason != NULL ? ready_rows[i].reason : "{\"ready\":true}"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(table, fresh, gone),          cmocka_unit_test_setup_teardown(labels, fresh, gone),
        cmocka_unit_test_setup_teardown(sums, fresh, gone),           cmocka_unit_test_setup_teardown(open_metrics, fresh, gone),
        cmocka_unit_test_setup_teardown(without_memory, fresh, gone), cmocka_unit_test_setup_teardown(slots_are_apart, fresh, gone),
        cmocka_unit_test_setup_teardown(hostile_slot, fresh, gone),   cmocka_unit_test_setup_teardown(readiness, fresh, gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
