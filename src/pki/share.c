#include "pki/share.h"

#include "pki/gcm.h"
#include "pki/impl.h"

#include <ctype.h>
#include <libgfshare.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

enum {
    VERSION = 1,
    SEALED = 1, /* flag */
    HEAD_LEN = 8,
    SUM_LEN = 4,
    PLAIN_LEN = HEAD_LEN + BM_SHARE_SECRET_LEN + SUM_LEN,
    SEALED_LEN = PLAIN_LEN + 32, /* salt and tag */
    ITERATIONS = 600000,         /* OWASP Password Storage Cheat Sheet, PBKDF2-HMAC-SHA256 */
};

void bm_share_done(struct bm_share *s)
{
    bm_wipe(s, sizeof *s);
}

/* --- the library -------------------------------------------------------------------------------------------------------------------- */
static bool no_random;

/* libgfshare takes no for no answer. */
static void fill_random(unsigned char *p, unsigned n)
{
    if (RAND_priv_bytes(p, (int)n) == 1)
        return;
    memset(p, 0, n);
    no_random = true;
}

enum bm_rc bm_share_split(const uint8_t secret[BM_SHARE_SECRET_LEN], const uint8_t set[4], size_t n, size_t threshold,
                          struct bm_share *ret, struct bm_error *e)
{
    uint8_t numbers[BM_SHARES_MAX], copy[BM_SHARE_SECRET_LEN];
    gfshare_ctx *g;

    if (threshold < 2 || threshold > n || n > BM_SHARES_MAX)
        return bm_fail(e, BM_USAGE, "2 to %d shares, of which at least 2 and at most all are needed", BM_SHARES_MAX);
    for (size_t i = 0; i < n; i++)
        numbers[i] = (uint8_t)(i + 1);
    no_random = false;
    gfshare_fill_rand = fill_random;
    g = gfshare_ctx_init_enc(numbers, (unsigned)n, (unsigned char)threshold, BM_SHARE_SECRET_LEN);
    if (g == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for shares");
    memcpy(copy, secret, sizeof copy);
    gfshare_ctx_enc_setsecret(g, copy);
    for (size_t i = 0; i < n; i++) {
        ret[i] = (struct bm_share){ .number = numbers[i], .threshold = (uint8_t)threshold };
        memcpy(ret[i].set, set, sizeof ret[i].set);
        gfshare_ctx_enc_getshare(g, (unsigned char)i, ret[i].body);
    }
    gfshare_ctx_free(g); /* writes over what it held */
    bm_wipe(copy, sizeof copy);
    return no_random ? bm_fail(e, BM_BUG, "no random numbers") : BM_OK;
}

static enum bm_rc check_together(const struct bm_share *s, size_t n, struct bm_error *e)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i].sealed)
            return bm_refuse(e, BM_DENIED, "share-sealed", "share %d is under a passphrase, which is not given", s[i].number);
        if (memcmp(s[i].set, s[0].set, sizeof s[i].set) != 0 || s[i].threshold != s[0].threshold)
            return bm_refuse(e, BM_DENIED, "share-foreign", "share %d belongs to another key than share %d", s[i].number,
                             s[0].number);
        for (size_t j = 0; j < i; j++)
            if (s[j].number == s[i].number)
                return bm_refuse(e, BM_DENIED, "share-twice", "share %d is there twice; it counts once", s[i].number);
    }
    if (n == 0 || n < s[0].threshold)
        return bm_refuse(e, BM_DENIED, "shares-too-few", "%zu shares are there, %d are needed", n, n != 0 ? s[0].threshold : 2);
    return BM_OK;
}

enum bm_rc bm_share_combine(const struct bm_share *shares, size_t n, uint8_t ret[BM_SHARE_SECRET_LEN], struct bm_error *e)
{
    uint8_t numbers[BM_SHARES_MAX], body[BM_SHARE_SECRET_LEN];
    size_t used = n > BM_SHARES_MAX ? BM_SHARES_MAX : n;
    gfshare_ctx *g;
    enum bm_rc rc = check_together(shares, used, e);

    if (rc != BM_OK)
        return rc;
    used = shares[0].threshold; /* more say nothing more */
    for (size_t i = 0; i < used; i++)
        numbers[i] = shares[i].number;
    gfshare_fill_rand = fill_random; /* its end writes random numbers over what it held */
    g = gfshare_ctx_init_dec(numbers, (unsigned)used, BM_SHARE_SECRET_LEN);
    if (g == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for shares");
    for (size_t i = 0; i < used; i++) {
        memcpy(body, shares[i].body, sizeof body);
        gfshare_ctx_dec_giveshare(g, (unsigned char)i, body);
    }
    gfshare_ctx_dec_extract(g, ret);
    gfshare_ctx_free(g);
    bm_wipe(body, sizeof body);
    return BM_OK;
}

/* --- passphrases --------------------------------------------------------------------------------------------------------------------- */
static void head_of(const struct bm_share *s, uint8_t ret[HEAD_LEN])
{
    ret[0] = VERSION;
    memcpy(ret + 1, s->set, 4);
    ret[5] = s->number;
    ret[6] = s->threshold;
    ret[7] = s->sealed ? SEALED : 0;
}

static bool stretch(struct bm_rd passphrase, const uint8_t salt[16], uint8_t ret[BM_GCM_KEY_LEN])
{
    return passphrase.n != 0 && PKCS5_PBKDF2_HMAC((const char *)passphrase.p, (int)passphrase.n, salt, 16, ITERATIONS, EVP_sha256(),
                                                  BM_GCM_KEY_LEN, ret) == 1;
}

enum bm_rc bm_share_seal(struct bm_share *s, struct bm_rd passphrase, struct bm_error *e)
{
    static const uint8_t nonce[BM_GCM_NONCE_LEN] = { 0 }; /* the key is of this share alone: its salt is random */
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4 * BM_SHARE_SECRET_LEN };
    uint8_t key[BM_GCM_KEY_LEN], head[HEAD_LEN];
    enum bm_rc rc;

    if (RAND_bytes(s->salt, sizeof s->salt) != 1 || !stretch(passphrase, s->salt, key))
        return bm_fail(e, BM_USAGE, "a passphrase has at least one character");
    s->sealed = true;
    head_of(s, head);
    rc = bm_gcm_seal(key, nonce, bm_rd_of(head, sizeof head), bm_rd_of(s->body, BM_SHARE_SECRET_LEN), &out,
                     s->body + BM_SHARE_SECRET_LEN, e);
    bm_wipe(key, sizeof key);
    if (rc == BM_OK)
        memcpy(s->body, out.p, BM_SHARE_SECRET_LEN);
    return rc;
}

enum bm_rc bm_share_unseal(struct bm_share *s, struct bm_rd passphrase, struct bm_error *e)
{
    static const uint8_t nonce[BM_GCM_NONCE_LEN] = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4 * BM_SHARE_SECRET_LEN };
    uint8_t key[BM_GCM_KEY_LEN], head[HEAD_LEN];
    enum bm_rc rc = BM_DENIED;

    head_of(s, head);
    if (stretch(passphrase, s->salt, key))
        rc = bm_gcm_open(key, nonce, bm_rd_of(head, sizeof head), bm_rd_of(s->body, BM_SHARE_SECRET_LEN),
                         s->body + BM_SHARE_SECRET_LEN, &out, e);
    bm_wipe(key, sizeof key);
    if (rc == BM_DENIED)
        return bm_refuse(e, BM_DENIED, "share-passphrase", "the passphrase does not open share %d", s->number);
    if (rc != BM_OK)
        return rc;
    memset(s->body, 0, sizeof s->body);
    memcpy(s->body, out.p, BM_SHARE_SECRET_LEN);
    s->sealed = false;
    return BM_OK;
}

/* --- words --------------------------------------------------------------------------------------------------------------------------- */
static const char consonants[] = "bdfghjklmnprstvz", vowels[] = "aiou";

static size_t bytes_of(const struct bm_share *s, uint8_t ret[SEALED_LEN])
{
    struct bm_wr w = bm_wr_of(ret, SEALED_LEN);
    uint8_t head[HEAD_LEN], sum[BM_DIGEST_MAX];

    head_of(s, head);
    bm_wr_put(&w, head, sizeof head);
    if (s->sealed)
        bm_wr_put(&w, s->salt, sizeof s->salt);
    bm_wr_put(&w, s->body, s->sealed ? sizeof s->body : BM_SHARE_SECRET_LEN);
    (void)bm_digest_of(BM_SHA256, bm_wr_rd(&w), sum);
    bm_wr_put(&w, sum, SUM_LEN);
    return w.n;
}

void bm_share_digest(const struct bm_share *s, uint8_t ret[32])
{
    uint8_t bytes[SEALED_LEN], d[BM_DIGEST_MAX];

    (void)bm_digest_of(BM_SHA256, bm_rd_of(bytes, bytes_of(s, bytes)), d);
    memcpy(ret, d, 32);
    bm_wipe(bytes, sizeof bytes);
}

enum bm_rc bm_share_write(const struct bm_share *s, char ret[BM_SHARE_TEXT_MAX], struct bm_error *e)
{
    uint8_t bytes[SEALED_LEN];
    size_t n = bytes_of(s, bytes);
    char *at = ret;

    (void)e;
    _Static_assert(SEALED_LEN / 2 * 6 <= BM_SHARE_TEXT_MAX, "words of five letters and a blank");
    for (size_t i = 0; i < n; i += 2) {
        unsigned v = (unsigned)bytes[i] << 8 | bytes[i + 1];

        *at++ = consonants[v >> 12];
        *at++ = vowels[v >> 10 & 3];
        *at++ = consonants[v >> 6 & 15];
        *at++ = vowels[v >> 4 & 3];
        *at++ = consonants[v & 15];
        *at++ = ' ';
    }
    at[-1] = '\0';
    bm_wipe(bytes, sizeof bytes);
    return BM_OK;
}

static enum bm_rc mistyped(struct bm_error *e, size_t word)
{
    return bm_refuse(e, BM_DENIED, "share-mistyped",
                     word != 0 ? "word %zu of the share is none" : "the words are not a whole share (%zu)", word);
}

/* The letter's place in its alphabet times `weight`, added to *v. */
static bool add_letter(const char *alphabet, uint8_t letter, unsigned weight, unsigned *v)
{
    const char *at = letter != '\0' ? strchr(alphabet, tolower(letter)) : NULL;

    *v += at != NULL ? (unsigned)(at - alphabet) * weight : 0;
    return at != NULL;
}

static bool is_gap(uint8_t c)
{
    return c == ' ' || c == '-' || c == '\n' || c == '\r' || c == '\t';
}

static bool take_word(struct bm_rd *in, unsigned *ret)
{
    static const unsigned weights[] = { 1U << 12, 1U << 10, 1U << 6, 1U << 4, 1 };
    unsigned v = 0;

    if (in->n < 5 || (in->n > 5 && !is_gap(in->p[5])))
        return false;
    for (size_t i = 0; i < 5; i++)
        if (!add_letter(i % 2 == 0 ? consonants : vowels, in->p[i], weights[i], &v))
            return false;
    *in = bm_rd_of(in->p + 5, in->n - 5);
    *ret = v;
    return true;
}

static enum bm_rc share_of(struct bm_rd bytes, struct bm_share *ret, struct bm_error *e)
{
    struct bm_share s = { 0 };
    uint8_t again[SEALED_LEN], head[HEAD_LEN];
    bool ok = bm_rd_copy(&bytes, head, sizeof head);
    size_t n = bytes.n + sizeof head;

    s.sealed = ok && head[7] == SEALED;
    ok = ok && head[0] == VERSION && head[7] <= SEALED && n == (s.sealed ? SEALED_LEN : PLAIN_LEN);
    if (ok && s.sealed)
        ok = bm_rd_copy(&bytes, s.salt, sizeof s.salt);
    ok = ok && bm_rd_copy(&bytes, s.body, s.sealed ? sizeof s.body : BM_SHARE_SECRET_LEN);
    if (ok) {
        memcpy(s.set, head + 1, 4);
        s.number = head[5];
        s.threshold = head[6];
    }
    ok = ok && s.number != 0 && s.number <= BM_SHARES_MAX && s.threshold >= 2 && s.threshold <= BM_SHARES_MAX &&
         bytes_of(&s, again) == n && bm_rd_eq(bytes, bm_rd_of(again + n - SUM_LEN, SUM_LEN));
    if (ok)
        *ret = s;
    bm_share_done(&s);
    bm_wipe(again, sizeof again);
    return ok ? BM_OK : mistyped(e, 0);
}

enum bm_rc bm_share_read(struct bm_rd text, struct bm_share *ret, struct bm_error *e)
{
    uint8_t bytes[SEALED_LEN];
    size_t n = 0;
    enum bm_rc rc = BM_OK;

    for (;;) {
        unsigned v;

        while (text.n != 0 && is_gap(text.p[0]))
            text = bm_rd_of(text.p + 1, text.n - 1);
        if (text.n == 0 || rc != BM_OK)
            break;
        if (n == SEALED_LEN || !take_word(&text, &v)) {
            rc = mistyped(e, n / 2 + 1);
            break;
        }
        bytes[n++] = (uint8_t)(v >> 8);
        bytes[n++] = (uint8_t)v;
    }
    if (rc == BM_OK)
        rc = share_of(bm_rd_of(bytes, n), ret, e);
    bm_wipe(bytes, sizeof bytes);
    return rc;
}
