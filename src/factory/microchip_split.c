/* Cuts a Microchip manifest into runs of elements. The JSON library finds where each element ends.
 *
 *   START --[--> FIRST --element--> AFTER --,--> ELEMENT --element--> AFTER
 *                FIRST --]--> OVER  AFTER --]--> OVER
 */
#include "factory/impl.h"

#include "factory/microchip.h"

#include "base/text.h"

enum phase { START, FIRST, AFTER, ELEMENT, OVER };

static enum bm_rc refused(const struct bm_manifest_split *s, struct bm_error *e, const char *what)
{
    return bm_refuse(e, BM_MALFORMED, "manifest-format", "%s element %zu of the array: %s", s->phase == AFTER ? "after" : "at",
                     s->line + s->begun - (s->phase == AFTER ? 1 : 0), what);
}

static struct bm_rd unread(const struct bm_manifest_split *s)
{
    return bm_rd_of(s->in.p + s->scanned, s->in.n - s->scanned);
}

static enum bm_rc lend(struct bm_manifest_split *s, struct bm_manifest_block *ret)
{
    *ret = (struct bm_manifest_block){ bm_buf_rd(&s->out), s->seq++, s->line, s->begun };
    s->line += s->begun;
    s->begun = 0;
    s->n_lines = 0;
    return BM_OK;
}

/* Punctuation, by phase. */
static enum bm_rc punctuation(struct bm_manifest_split *s, uint8_t c, struct bm_error *e)
{
    static const struct {
        enum phase from;
        char c;
        enum phase to;
    } moves[] = { { START, '[', FIRST }, { FIRST, ']', OVER }, { AFTER, ',', ELEMENT }, { AFTER, ']', OVER } };

    for (size_t i = 0; i < BM_COUNT(moves); i++) {
        if (moves[i].from == (enum phase)s->phase && (uint8_t)moves[i].c == c) {
            s->phase = moves[i].to;
            s->scanned++;
            return BM_OK;
        }
    }
    return refused(s, e, s->phase == OVER ? "something follows the array" : "not what a JSON array of objects has there");
}

static enum bm_rc keep(struct bm_manifest_split *s, const json_t *element, struct bm_error *e)
{
    uint8_t *to = bm_buf_room(&s->out, BM_MICROCHIP_ELEMENT_MAX + 1);
    size_t n = to != NULL ? json_dumpb(element, (char *)to, BM_MICROCHIP_ELEMENT_MAX, JSON_COMPACT) : 0;

    if (to == NULL)
        return bm_buf_check(&s->out, e);
    if (n == 0 || n > BM_MICROCHIP_ELEMENT_MAX)
        return refused(s, e, "too long");
    to[n] = '\n';
    s->out.n += n + 1;
    s->begun++;
    s->phase = AFTER;
    return BM_OK;
}

/* A failure before the end of what an element may have can be one for want of bytes. */
static enum bm_rc element(struct bm_manifest_split *s, struct bm_error *e)
{
    BM_JSON_FREE json_t *j = NULL;
    char why[JSON_ERROR_TEXT_LENGTH];
    struct bm_rd in = unread(s);
    json_error_t je;

    j = json_loadb((const char *)in.p, in.n, BM_JSON_FLAGS | JSON_DISABLE_EOF_CHECK, &je);
    if (j == NULL && in.n <= BM_MICROCHIP_ELEMENT_MAX && !s->eof)
        return BM_AGAIN;
    if (j == NULL)
        return refused(s, e, in.n > BM_MICROCHIP_ELEMENT_MAX ? "too long" : bm_text_escape(bm_rd_str(je.text), why, sizeof why));
    s->scanned += (size_t)je.position;
    return keep(s, j, e);
}

static bool full(const struct bm_manifest_split *s)
{
    return s->begun >= BM_MICROCHIP_BLOCK_ELEMENTS || s->out.n > BM_MICROCHIP_BLOCK_MAX - BM_MICROCHIP_ELEMENT_MAX - 2;
}

/* Nothing but blanks is left. */
static enum bm_rc starved(struct bm_manifest_split *s, struct bm_error *e)
{
    s->used = s->scanned;
    s->scanned = 0;
    if (!s->eof)
        return BM_AGAIN;
    if (s->phase == OVER)
        return BM_NOTFOUND;
    return bm_refuse(e, BM_MALFORMED, "manifest-cut-short", "the array ends after element %zu, without its closing bracket",
                     s->line + s->begun - 1);
}

static enum bm_rc step(struct bm_manifest_split *s, struct bm_error *e)
{
    struct bm_rd in = unread(s);
    enum bm_rc rc;

    if ((s->phase == FIRST || s->phase == ELEMENT) && in.p[0] == '{')
        return element(s, e);
    rc = punctuation(s, in.p[0], e);
    if (rc == BM_OK && s->phase == OVER)
        bm_buf_str(&s->out, "]\n");
    return rc;
}

static void skip_blanks(struct bm_manifest_split *s)
{
    while (s->scanned < s->in.n && s->in.p[s->scanned] != '\0' && strchr(" \t\r\n", s->in.p[s->scanned]) != NULL)
        s->scanned++;
}

enum bm_rc bm_microchip_next(struct bm_manifest_split *s, struct bm_manifest_block *ret, struct bm_error *e)
{
    enum phase before;
    enum bm_rc rc;

    if (s->n_lines == 0) /* the block in `out` was lent out */
        s->out.n = 0;
    s->n_lines = 1;
    for (;;) {
        skip_blanks(s);
        if (s->scanned == s->in.n)
            return starved(s, e);
        before = (enum phase)s->phase;
        rc = step(s, e);
        if (rc == BM_AGAIN)
            return starved(s, e);
        if (rc != BM_OK)
            return rc;
        if ((s->phase == OVER && before != OVER) || full(s))
            break;
    }
    s->used = s->scanned;
    s->scanned = 0;
    return lend(s, ret);
}
