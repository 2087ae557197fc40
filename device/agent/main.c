#include "agent.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <time.h>

static int usage(FILE *f)
{
    fputs("usage: birthmark-agent COMMAND [--conf FILE] [--SETTING VALUE ...]\n"
          "  identity   makes the root key when there is none; prints UDID and public key as a line for a manifest\n"
          "  enrol      gets certificates now, once\n"
          "  run        gets certificates and keeps renewing them (SIGHUP: now)\n"
          "  status     what this device holds; with --ask, also what the server says\n"
          "settings, in agent.conf as KEY = VALUE: server protocol state out service anchors pin batch hook algorithm\n"
          "no-client-cert key-file; the last two take yes or no there and nothing here. docs/device.md explains them.\n"
          "exit status: 0 done, 1 failed and may succeed later, 2 wrong use, 3 refused by the server\n",
          f);
    return f == stdout ? 0 : 2;
}

static const char default_conf[] = "/etc/birthmark/agent.conf";

enum { OPT_CONF = 1, OPT_ASK, OPT_FLAG, OPT_VALUE };

static const struct option longs[] = {
    { "conf", required_argument, NULL, OPT_CONF },
    { "ask", no_argument, NULL, OPT_ASK },
    { "no-client-cert", no_argument, NULL, OPT_FLAG },
    { "key-file", no_argument, NULL, OPT_FLAG },
    { "server", required_argument, NULL, OPT_VALUE },
    { "protocol", required_argument, NULL, OPT_VALUE },
    { "state", required_argument, NULL, OPT_VALUE },
    { "out", required_argument, NULL, OPT_VALUE },
    { "service", required_argument, NULL, OPT_VALUE },
    { "anchors", required_argument, NULL, OPT_VALUE },
    { "pin", required_argument, NULL, OPT_VALUE },
    { "batch", required_argument, NULL, OPT_VALUE },
    { "hook", required_argument, NULL, OPT_VALUE },
    { "algorithm", required_argument, NULL, OPT_VALUE },
    { NULL, 0, NULL, 0 },
};

/* The file first, whatever the order of the words; the words win. */
static const char *find_conf(int argc, char **argv)
{
    const char *conf = NULL;
    int c, i;

    opterr = 0;
    while ((c = getopt_long(argc, argv, "", longs, &i)) != -1)
        conf = c == OPT_CONF ? optarg : conf;
    optind = 1;
    opterr = 1;
    return conf;
}

static int read_options(int argc, char **argv, struct agent_config *cfg, bool *ret_ask)
{
    const char *conf = find_conf(argc, argv);
    bool services_given = false;
    int c, i = 0, rc;

    agent_config_defaults(cfg);
    rc = agent_config_read(cfg, conf != NULL ? conf : default_conf, conf != NULL);
    while (rc == 0 && (c = getopt_long(argc, argv, "", longs, &i)) != -1) {
        if (c == OPT_ASK)
            *ret_ask = true;
        else if (c == OPT_FLAG)
            rc = agent_config_set(cfg, longs[i].name, "yes");
        else if (c == OPT_VALUE) {
            if (strcmp(longs[i].name, "service") == 0 && !services_given) {
                cfg->n_services = 0; /* words replace the file's list */
                services_given = true;
            }
            rc = agent_config_set(cfg, longs[i].name, optarg);
        } else if (c != OPT_CONF)
            rc = -1;
    }
    return rc == 0 && optind < argc ? -1 : rc;
}

/* --- commands -------------------------------------------------------------------------------------------------------------------------- */

static int do_identity(struct agent *a, bool ask)
{
    (void)ask;
    return agent_identity_print(a, stdout) == 0 ? 0 : 1;
}

static int do_enrol(struct agent *a, bool ask)
{
    uint32_t retry_s;
    enum agent_outcome out = agent_enrol(a, &retry_s);

    (void)ask;
    if (out == AGENT_OK)
        agent_hook(&a->cfg);
    return out == AGENT_OK ? 0 : out == AGENT_LATER ? 1 : 3;
}

static int do_run(struct agent *a, bool ask)
{
    (void)ask;
    return agent_loop(a);
}

static const char *date(int64_t at, char ret[24])
{
    time_t t = (time_t)at;
    struct tm tm;

    if (gmtime_r(&t, &tm) == NULL || strftime(ret, 24, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(ret, 24, "%" PRId64, at);
    return ret;
}

static int do_status(struct agent *a, bool ask)
{
    struct agent_enrolment e;
    char udid[2 * BMD_UDID_LEN + 1], x[24], y[24];
    bool have = agent_enrolment_read(&a->cfg, &e) == 0;

    bmd_hex(a->udid, BMD_UDID_LEN, udid);
    printf("udid     %s\n", udid);
    if (!have)
        puts("not enrolled");
    for (size_t i = 0; have && i < e.n_services; i++)
        printf("service  %s %s until %s, renewal from %s\n", e.services[i].name,
               e.services[i].not_after > bmd_now() ? "valid" : "EXPIRED", date(e.services[i].not_after, x),
               date(e.services[i].renew_after, y));
    if (have)
        printf("files    %s/current\n", a->cfg.out);
    if (ask && agent_status_ask(a) != 0)
        return 1;
    return have ? 0 : 1;
}

static const struct command {
    const char *name;
    int (*run)(struct agent *a, bool ask);
    bool enrols; /* needs a server, writes */
} commands[] = {
    { "identity", do_identity, false },
    { "enrol", do_enrol, true },
    { "run", do_run, true },
    { "status", do_status, false },
};

static int run(const struct command *command, int argc, char **argv)
{
    static struct agent a;
    bool ask = false;
    int rc;

    if (read_options(argc, argv, &a.cfg, &ask) != 0)
        return usage(stderr);
    if (agent_config_finish(&a.cfg, command->enrols || ask) != 0)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    rc = agent_open(&a, command->enrols) == 0 ? command->run(&a, ask) : 1;
    agent_close(&a);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
        return usage(argc < 2 ? stderr : stdout);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return run(&commands[i], argc - 1, argv + 1);
    return usage(stderr);
}
