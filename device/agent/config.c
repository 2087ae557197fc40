#include "agent.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void agent_config_defaults(struct agent_config *c)
{
    *c = (struct agent_config){ .state = "/var/lib/birthmark-agent", .out = "/etc/birthmark", .alg = BMD_P256 };
}

static bool set_text(char *to, size_t room, const char *v)
{
    size_t n = strlen(v);

    if (n == 0 || n >= room)
        return false;
    memcpy(to, v, n + 1);
    return true;
}

/* The names the server gives out; they become directories here. */
static bool name_ok(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789._-");

    return n != 0 && n <= BMD_NAME_MAX && s[n] == '\0' && isalnum((unsigned char)s[0]);
}

static bool set_server(struct agent_config *c, const char *v)
{
    return set_text(c->server, sizeof c->server, v);
}
static bool set_state(struct agent_config *c, const char *v)
{
    return set_text(c->state, sizeof c->state, v);
}
static bool set_out(struct agent_config *c, const char *v)
{
    return set_text(c->out, sizeof c->out, v);
}
static bool set_anchors(struct agent_config *c, const char *v)
{
    return set_text(c->anchors, sizeof c->anchors, v);
}
static bool set_hook(struct agent_config *c, const char *v)
{
    return set_text(c->hook, sizeof c->hook, v);
}
static bool set_batch(struct agent_config *c, const char *v)
{
    return name_ok(v) && set_text(c->batch, sizeof c->batch, v);
}

static bool set_service(struct agent_config *c, const char *v)
{
    if (!name_ok(v) || c->n_services == BMD_SERVICES_MAX)
        return false;
    return set_text(c->services[c->n_services++], sizeof c->services[0], v);
}

static bool set_flag(bool *to, const char *v)
{
    *to = strcmp(v, "yes") == 0;
    return *to || strcmp(v, "no") == 0;
}

static bool set_no_client_cert(struct agent_config *c, const char *v)
{
    return set_flag(&c->no_client_cert, v);
}
static bool set_key_file(struct agent_config *c, const char *v)
{
    return set_flag(&c->key_file, v);
}

static bool set_protocol(struct agent_config *c, const char *v)
{
    c->est = strcmp(v, "est") == 0;
    return c->est || strcmp(v, "onboard") == 0;
}

static bool set_algorithm(struct agent_config *c, const char *v)
{
    c->alg = strcmp(v, "p384") == 0 ? BMD_P384 : BMD_P256;
    return c->alg == BMD_P384 || strcmp(v, "p256") == 0;
}

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

static bool set_pin(struct agent_config *c, const char *v)
{
    c->has_pin = strlen(v) == 2 * sizeof c->pin;
    for (size_t i = 0; c->has_pin && i < sizeof c->pin; i++) {
        int high = hex_digit(v[2 * i]), low = hex_digit(v[2 * i + 1]);

        c->has_pin = high >= 0 && low >= 0;
        c->pin[i] = (uint8_t)(high * 16 + low);
    }
    return c->has_pin;
}

static const struct row {
    const char *key;
    bool (*set)(struct agent_config *c, const char *v);
    const char *form;
} rows[] = {
    { "server", set_server, "https://HOST[:PORT]" },
    { "protocol", set_protocol, "onboard or est" },
    { "state", set_state, "a directory" },
    { "out", set_out, "a directory" },
    { "service", set_service, "a service name; at most 16 of them" },
    { "anchors", set_anchors, "a PEM file" },
    { "pin", set_pin, "64 hex digits" },
    { "batch", set_batch, "a batch name" },
    { "hook", set_hook, "a program" },
    { "algorithm", set_algorithm, "p256 or p384" },
    { "no-client-cert", set_no_client_cert, "yes or no" },
    { "key-file", set_key_file, "yes or no" },
};

int agent_config_set(struct agent_config *c, const char *key, const char *value)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].key, key) != 0)
            continue;
        if (rows[i].set(c, value))
            return 0;
        agent_say("%s = '%.80s': it is %s", key, value, rows[i].form);
        return -1;
    }
    agent_say("there is no setting '%.40s'", key);
    return -1;
}

static char *trim(char *s)
{
    size_t n;

    while (isspace((unsigned char)*s))
        s++;
    for (n = strlen(s); n != 0 && isspace((unsigned char)s[n - 1]); n--)
        s[n - 1] = '\0';
    return s;
}

static int read_line(struct agent_config *c, char *line)
{
    char *key = trim(line), *value = strchr(key, '=');

    if (key[0] == '\0' || key[0] == '#')
        return 0;
    if (value == NULL) {
        agent_say("'%.40s': a line is KEY = VALUE", key);
        return -1;
    }
    *value++ = '\0';
    return agent_config_set(c, trim(key), trim(value));
}

int agent_config_read(struct agent_config *c, const char *path, bool must_exist)
{
    char line[PATH_MAX + 64];
    FILE *f = fopen(path, "re");
    unsigned number = 0;
    int rc = 0;

    if (f == NULL) {
        if (errno == ENOENT && !must_exist)
            return 0;
        agent_say("cannot open '%s': %s", path, strerror(errno));
        return -1;
    }
    while (rc == 0 && fgets(line, sizeof line, f) != NULL) {
        number++;
        rc = read_line(c, line);
    }
    fclose(f);
    if (rc != 0)
        agent_say("%s, line %u", path, number);
    return rc;
}

/* https://HOST[:PORT], HOST a name, an IPv4 address, or an IPv6 address in brackets. */
static bool split_server(struct agent_config *c)
{
    const char *s = strncmp(c->server, "https://", 8) == 0 ? c->server + 8 : "";
    bool v6 = s[0] == '[';
    size_t n = v6 ? strcspn(s + 1, "]") : strcspn(s, ":/");
    const char *rest = v6 ? s + 1 + n + (s[1 + n] == ']') : s + n;
    size_t digits = rest[0] == ':' ? strspn(rest + 1, "0123456789") : 0;
    const char *end = rest + (rest[0] == ':' ? 1 + digits : 0);

    if (n == 0 || n > BMD_HTTP_HOST_MAX || digits > 5 || (rest[0] == ':' && digits == 0) || strspn(end, "/") != strlen(end))
        return false;
    snprintf(c->host, sizeof c->host, "%.*s", (int)n, s + v6);
    snprintf(c->port, sizeof c->port, "%.*s", digits != 0 ? (int)digits : 3, digits != 0 ? rest + 1 : "443");
    snprintf(c->authority, sizeof c->authority, v6 ? "[%s]:%s" : "%s:%s", c->host, c->port);
    return true;
}

/* The agent moves into its state directory, so no path may depend on where it was started. */
static int make_absolute(char path[PATH_MAX])
{
    char cwd[PATH_MAX], given[PATH_MAX];

    if (path[0] == '\0' || path[0] == '/')
        return 0;
    memcpy(given, path, PATH_MAX);
    if (getcwd(cwd, sizeof cwd) == NULL || (size_t)snprintf(path, PATH_MAX, "%s/%s", cwd, given) >= PATH_MAX) {
        agent_say("the path '%.80s' is too long", given);
        return -1;
    }
    return 0;
}

static const char *complaint(struct agent_config *c)
{
    if (c->server[0] == '\0')
        return "no server: set 'server = https://HOST'";
    if (!split_server(c))
        return "the server is given as https://HOST[:PORT], without a path";
    if (c->anchors[0] == '\0' && !c->has_pin)
        return "whom to trust? set 'anchors = FILE.pem' or 'pin = SHA-256 of the server's or its CA's public key'";
    if (c->est && c->no_client_cert)
        return "EST needs TLS client authentication; no-client-cert goes with protocol = onboard";
    if (c->est && !bmd_tls_client_certs())
        return "EST needs TLS client authentication, which this build of Mbed TLS cannot do with a key it may not see: use "
               "protocol = onboard";
    return NULL;
}

int agent_config_finish(struct agent_config *c, bool needs_server)
{
    const char *why = needs_server ? complaint(c) : NULL;

    if (why != NULL) {
        agent_say("%s", why);
        return -1;
    }
    c->no_client_cert = c->no_client_cert || !bmd_tls_client_certs();
    if (c->n_services == 0)
        c->n_services = 1; /* "": the product's first */
    return make_absolute(c->state) | make_absolute(c->out) | make_absolute(c->anchors) | make_absolute(c->hook);
}
