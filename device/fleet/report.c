#include "fleet.h"

#include <stdlib.h>
#include <unistd.h>

static void bar(uint64_t done, uint64_t all, double seconds)
{
    static const char full[] = "########################################";
    int width = (int)(all != 0 ? done * 40 / all : 40);

    fprintf(stderr, "\r  [%-40.*s] %llu/%llu devices, %.0f/s ", width, full, (unsigned long long)done, (unsigned long long)all,
            seconds > 0 ? (double)done / seconds : 0);
}

/* On a terminal a bar; elsewhere a line per tenth. */
void fleet_progress(uint64_t done, uint64_t all, double seconds, bool last)
{
    static uint64_t tenth;
    uint64_t now = all != 0 ? done * 10 / all : 10;

    if (isatty(STDERR_FILENO)) {
        bar(done, all, seconds);
        if (last)
            putc('\n', stderr);
        return;
    }
    if (now > tenth)
        fprintf(stderr, "  %llu/%llu devices, %.1f s\n", (unsigned long long)done, (unsigned long long)all, seconds);
    tenth = now > tenth ? now : tenth;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static double at(const struct fleet_summary *s, double share)
{
    return s->n_us == 0 ? 0 : s->us[(uint64_t)((double)(s->n_us - 1) * share)] / 1000.0;
}

static const char *const mode_names[] = { "new", "kept", "renew" };

static void report_json(const struct fleet_options *o, const struct fleet_summary *s)
{
    const uint64_t *n = s->tally.outcomes;

    printf("{\"protocol\":\"%s\",\"auth\":\"%s\",\"mode\":\"%s\",\"attack\":\"%s\",\"devices\":%llu,\"repeat\":%u,\"jobs\":%u,",
           o->est ? "est" : "onboard", o->challenge ? "challenge" : "tls", mode_names[o->mode], fleet_attack_names[o->attack],
           (unsigned long long)o->count, o->repeat, o->jobs);
    printf("\"onboarded\":%llu,\"refused\":%llu,\"errors\":%llu,\"operations\":%llu,\"by_code\":{",
           (unsigned long long)n[FLEET_ONBOARDED], (unsigned long long)n[FLEET_REFUSED], (unsigned long long)n[FLEET_ERROR],
           (unsigned long long)s->tally.operations);
    for (size_t i = 0; i < FLEET_CODES_MAX && s->tally.codes[i].n != 0; i++)
        printf("%s\"%s\":%llu", i != 0 ? "," : "", s->tally.codes[i].code, (unsigned long long)s->tally.codes[i].n);
    printf("},\"seconds\":%.3f,\"rate_per_s\":%.1f,\"latency_ms\":{\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"max\":%.3f},\"client_"
           "cpu_seconds\":%.3f}\n",
           s->seconds, s->seconds > 0 ? (double)s->tally.operations / s->seconds : 0, at(s, 0.5), at(s, 0.9), at(s, 0.99), at(s, 1),
           s->cpu_seconds);
}

static void report_text(const struct fleet_options *o, const struct fleet_summary *s)
{
    const uint64_t *n = s->tally.outcomes;

    printf("%llu onboarded, %llu refused, %llu errors", (unsigned long long)n[FLEET_ONBOARDED],
           (unsigned long long)n[FLEET_REFUSED], (unsigned long long)n[FLEET_ERROR]);
    if (o->attack != ATTACK_NONE)
        printf("; attack %s %s", fleet_attack_names[o->attack], n[FLEET_REFUSED] == o->count ? "held off" : "NOT held off");
    putchar('\n');
    for (size_t i = 0; i < FLEET_CODES_MAX && s->tally.codes[i].n != 0; i++)
        printf("  %-32s %llu\n", s->tally.codes[i].code, (unsigned long long)s->tally.codes[i].n);
    printf("%.2f s, %.0f operations/s; latency ms p50 %.2f p90 %.2f p99 %.2f max %.2f; client CPU %.2f s\n", s->seconds,
           s->seconds > 0 ? (double)s->tally.operations / s->seconds : 0, at(s, 0.5), at(s, 0.9), at(s, 0.99), at(s, 1),
           s->cpu_seconds);
}

void fleet_report(const struct fleet_options *o, struct fleet_summary *s)
{
    qsort(s->us, s->n_us, sizeof s->us[0], compare);
    if (o->json)
        report_json(o, s);
    else
        report_text(o, s);
    fflush(stdout);
}
