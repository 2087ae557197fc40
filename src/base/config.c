#include "base/config.h"

#include "base/address.h"
#include "base/config_row.h"
#include "base/file.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

static void *member(struct bm_config *c, const struct bm_config_row *r)
{
    return (uint8_t *)c + r->at;
}

static enum bm_rc set_text(struct bm_config *c, const struct bm_config_row *r, const char *value, struct bm_error *e)
{
    size_t n = strlen(value);

    if (n < r->min)
        return bm_fail(e, BM_USAGE, "%s: a value is missing", r->key);
    if (n >= r->room)
        return bm_fail(e, BM_USAGE, "%s: longer than %zu characters", r->key, r->room - 1);
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)value[i] < 0x20 || (unsigned char)value[i] == 0x7f)
            return bm_fail(e, BM_USAGE, "%s: control character at position %zu", r->key, i + 1);
    }
    memcpy(member(c, r), value, n + 1);
    return BM_OK;
}

static enum bm_rc set_number(struct bm_config *c, const struct bm_config_row *r, const char *value, struct bm_error *e)
{
    size_t n = strlen(value);
    unsigned long v = 0;
    unsigned *to = member(c, r);

    if (n >= 1 && n <= 9 && strspn(value, "0123456789") == n)
        v = strtoul(value, NULL, 10);
    else
        return bm_fail(e, BM_USAGE, "%s: write a whole number from %u to %u", r->key, r->min, r->max);
    if (v < r->min || v > r->max)
        return bm_fail(e, BM_USAGE, "%s: %lu is outside %u to %u", r->key, v, r->min, r->max);
    *to = (unsigned)v;
    return BM_OK;
}

static enum bm_rc set_level(struct bm_config *c, const struct bm_config_row *r, const char *value, struct bm_error *e)
{
    if (!bm_log_level_parse(value, member(c, r)))
        return bm_fail(e, BM_USAGE, "%s: write error, warn, info or debug", r->key);
    return BM_OK;
}

static enum bm_rc set_confine(struct bm_config *c, const struct bm_config_row *r, const char *value, struct bm_error *e)
{
    if (!bm_confine_parse(value, member(c, r)))
        return bm_fail(e, BM_USAGE, "%s: write required, auto or off", r->key);
    return BM_OK;
}

static enum bm_rc set_row(struct bm_config *c, const struct bm_config_row *r, const char *value, struct bm_error *e)
{
    static enum bm_rc (*const set[])(struct bm_config *, const struct bm_config_row *, const char *, struct bm_error *) = {
        [TEXT] = set_text, [NUMBER] = set_number, [LEVEL] = set_level, [CONFINE] = set_confine
    };

    return set[r->kind](c, r, value, e);
}

static const struct bm_config_row *row_of(struct bm_rd key)
{
    for (size_t i = 0; i < bm_config_n_rows; i++) {
        if (bm_rd_eq(key, bm_rd_str(bm_config_rows[i].key)))
            return &bm_config_rows[i];
    }
    return NULL;
}

static uint64_t bit_of(const struct bm_config_row *r)
{
    return UINT64_C(1) << (r - bm_config_rows);
}

static enum bm_rc unknown(struct bm_rd key, struct bm_error *e)
{
    char shown[48];

    return bm_fail(e, BM_USAGE, "there is no key '%s'; `birthmark config keys` lists them all",
                   bm_text_escape(key, shown, sizeof shown));
}

static enum bm_rc set_defaults(struct bm_config *c, struct bm_error *e)
{
    for (size_t i = 0; i < bm_config_n_rows; i++) {
        if ((c->fixed & bit_of(&bm_config_rows[i])) != 0)
            continue;
        if (bm_config_rows[i].value[0] == '\0')
            *(char *)member(c, &bm_config_rows[i]) = '\0';
        else if (set_row(c, &bm_config_rows[i], bm_config_rows[i].value, e) != BM_OK)
            return BM_BUG;
    }
    c->seen = 0;
    return BM_OK;
}

enum bm_rc bm_config_init(struct bm_config *c, const char *data_dir, struct bm_error *e)
{
    memset(c, 0, sizeof *c);
    if ((size_t)snprintf(c->data_dir, sizeof c->data_dir, "%s", data_dir) >= sizeof c->data_dir)
        return bm_fail(e, BM_LIMIT, "%s: path too long", data_dir);
    return set_defaults(c, e);
}

static struct bm_rd trimmed(struct bm_rd t)
{
    while (t.n != 0 && (t.p[0] == ' ' || t.p[0] == '\t'))
        t = bm_rd_of(t.p + 1, t.n - 1);
    while (t.n != 0 && (t.p[t.n - 1] == ' ' || t.p[t.n - 1] == '\t' || t.p[t.n - 1] == '\r'))
        t.n--;
    return t;
}

static enum bm_rc parse_pair(struct bm_config *c, struct bm_rd key, struct bm_rd value, struct bm_error *e)
{
    const struct bm_config_row *r = row_of(key);
    struct bm_config scratch; /* a value that the command line overrules must be right all the same */
    char text[BM_CONFIG_PATH_MAX];

    if (r == NULL)
        return unknown(key, e);
    if ((c->seen & bit_of(r)) != 0)
        return bm_fail(e, BM_USAGE, "%s is set twice; keep one of the two lines", r->key);
    c->seen |= bit_of(r);
    if (value.n >= sizeof text)
        return bm_fail(e, BM_USAGE, "%s: longer than %zu characters", r->key, sizeof text - 1);
    if (value.n != 0 && memchr(value.p, '\0', value.n) != NULL)
        return bm_fail(e, BM_USAGE, "%s: contains a zero byte", r->key);
    if (value.n != 0)
        memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    return set_row((c->fixed & bit_of(r)) != 0 ? &scratch : c, r, text, e);
}

static enum bm_rc parse_line(struct bm_config *c, struct bm_rd line, struct bm_error *e)
{
    struct bm_rd rest = bm_rd_cut(&line, '#'), key;
    size_t whole;

    rest = trimmed(rest);
    if (rest.n == 0)
        return BM_OK;
    whole = rest.n;
    key = bm_rd_cut(&rest, '=');
    if (key.n == whole)
        return bm_fail(e, BM_USAGE, "write key = value");
    return parse_pair(c, trimmed(key), trimmed(rest), e);
}

enum bm_rc bm_config_parse(struct bm_config *c, struct bm_rd text, const char *name, struct bm_error *e)
{
    c->seen = 0;
    for (unsigned line = 1; text.n != 0; line++) {
        enum bm_rc rc = parse_line(c, bm_rd_cut(&text, '\n'), e);

        if (rc != BM_OK)
            return bm_wrap(e, rc, "%s:%u", name, line);
    }
    return BM_OK;
}

enum bm_rc bm_config_set(struct bm_config *c, const char *key, const char *value, struct bm_error *e)
{
    const struct bm_config_row *r = row_of(bm_rd_str(key));
    enum bm_rc rc;

    if (r == NULL)
        return unknown(bm_rd_str(key), e);
    rc = set_row(c, r, value, e);
    if (rc == BM_OK)
        c->fixed |= bit_of(r);
    return rc;
}

/* It goes into a Link field as it is. */
static bool url_ok(const char *s)
{
    if (strncmp(s, "https://", 8) != 0 || s[8] == '\0')
        return false;
    for (; *s != '\0'; s++)
        if (*s <= 0x20 || *s >= 0x7f || strchr("<>\"\\^`{|}", *s) != NULL) /* RFC 3986 section 2 has no others */
            return false;
    return true;
}

enum bm_rc bm_config_check(const struct bm_config *c, struct bm_error *e)
{
    struct bm_networks networks;

    if ((c->tls_cert_file[0] == '\0') != (c->tls_key_file[0] == '\0'))
        return bm_fail(e, BM_USAGE, "tls_cert_file and tls_key_file go together: set both or neither");
    if (bm_networks_parse(c->validation_networks, &networks, e) != BM_OK)
        return bm_wrap(e, BM_USAGE, "validation_networks");
    if (c->coap_handshakes > c->coap_sessions)
        return bm_fail(e, BM_USAGE, "coap_handshakes: %u are more than the %u of coap_sessions", c->coap_handshakes,
                       c->coap_sessions);
    if (c->acme_help_url[0] != '\0' && !url_ok(c->acme_help_url))
        return bm_fail(e, BM_USAGE, "acme_help_url: write an https:// URL, with all else than ASCII percent-encoded");
    return BM_OK;
}

static enum bm_rc read_file(struct bm_config *c, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_CONFIG_FILE_MAX };
    enum bm_rc rc = bm_file_read(c->file, &text, e);

    if (rc == BM_NOTFOUND && !c->file_required)
        return BM_OK;
    if (rc == BM_OK)
        rc = bm_config_parse(c, bm_buf_rd(&text), c->file, e);
    return rc == BM_NOTFOUND ? BM_USAGE : rc;
}

enum bm_rc bm_config_load(struct bm_config *c, const char *data_dir, const char *file, struct bm_error *e)
{
    enum bm_rc rc = bm_config_init(c, data_dir, e);

    if (rc != BM_OK)
        return rc;
    c->file_required = file != NULL;
    if (file == NULL)
        rc = bm_path_join(data_dir, "birthmark.conf", c->file, sizeof c->file, e);
    else if ((size_t)snprintf(c->file, sizeof c->file, "%s", file) >= sizeof c->file)
        rc = bm_fail(e, BM_LIMIT, "%s: path too long", file);
    if (rc == BM_OK)
        rc = read_file(c, e);
    return rc == BM_OK ? bm_config_check(c, e) : rc;
}

enum bm_rc bm_config_reload(struct bm_config *c, struct bm_error *e)
{
    struct bm_config fresh = *c;
    enum bm_rc rc = set_defaults(&fresh, e);

    if (rc == BM_OK)
        rc = read_file(&fresh, e);
    if (rc == BM_OK)
        rc = bm_config_check(&fresh, e);
    if (rc == BM_OK)
        *c = fresh;
    return rc;
}
