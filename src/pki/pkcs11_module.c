/* Loading a PKCS#11 module, and keeping a session with each token in it. */
#include "pki/pkcs11_impl.h"

#include "base/clock.h"
#include "base/file.h"

#include <dlfcn.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIN_FILE_MAX = 512, SLOTS_MAX = 64, QUIET_AFTER_FAILURE_MS = 1000 };

/* --- what modules answer -------------------------------------------------------------------------------------------------------- */
/* Lost: the session, the token or what we knew of it is gone, and another try may find it again. PKCS#11 has several names for that, and modules
 * use more, so the vague ones count as well. */
static const struct answer {
    CK_RV rv;
    bool lost;
    const char *name;
} answers[] = {
    { CKR_SESSION_HANDLE_INVALID, true, "CKR_SESSION_HANDLE_INVALID" },
    { CKR_SESSION_CLOSED, true, "CKR_SESSION_CLOSED" },
    { CKR_USER_NOT_LOGGED_IN, true, "CKR_USER_NOT_LOGGED_IN" },
    { CKR_DEVICE_REMOVED, true, "CKR_DEVICE_REMOVED" },
    { CKR_DEVICE_ERROR, true, "CKR_DEVICE_ERROR" },
    { CKR_TOKEN_NOT_PRESENT, true, "CKR_TOKEN_NOT_PRESENT" },
    { CKR_TOKEN_NOT_RECOGNIZED, true, "CKR_TOKEN_NOT_RECOGNIZED" },
    { CKR_SLOT_ID_INVALID, true, "CKR_SLOT_ID_INVALID" },
    { CKR_OBJECT_HANDLE_INVALID, true, "CKR_OBJECT_HANDLE_INVALID" },
    { CKR_KEY_HANDLE_INVALID, true, "CKR_KEY_HANDLE_INVALID" },
    { CKR_CRYPTOKI_NOT_INITIALIZED, true, "CKR_CRYPTOKI_NOT_INITIALIZED" },
    { CKR_OPERATION_ACTIVE, true, "CKR_OPERATION_ACTIVE" },
    { CKR_GENERAL_ERROR, true, "CKR_GENERAL_ERROR" },
    { CKR_FUNCTION_FAILED, true, "CKR_FUNCTION_FAILED" },
    { CKR_HOST_MEMORY, false, "CKR_HOST_MEMORY" },
    { CKR_PIN_INCORRECT, false, "CKR_PIN_INCORRECT" },
    { CKR_PIN_INVALID, false, "CKR_PIN_INVALID" },
    { CKR_PIN_LEN_RANGE, false, "CKR_PIN_LEN_RANGE" },
    { CKR_PIN_EXPIRED, false, "CKR_PIN_EXPIRED" },
    { CKR_PIN_LOCKED, false, "CKR_PIN_LOCKED" },
    { CKR_NEED_TO_CREATE_THREADS, false, "CKR_NEED_TO_CREATE_THREADS" },
    { CKR_MECHANISM_INVALID, false, "CKR_MECHANISM_INVALID" },
    { CKR_KEY_TYPE_INCONSISTENT, false, "CKR_KEY_TYPE_INCONSISTENT" },
    { CKR_KEY_FUNCTION_NOT_PERMITTED, false, "CKR_KEY_FUNCTION_NOT_PERMITTED" },
    { CKR_TEMPLATE_INCONSISTENT, false, "CKR_TEMPLATE_INCONSISTENT" },
    { CKR_TOKEN_WRITE_PROTECTED, false, "CKR_TOKEN_WRITE_PROTECTED" },
};

static const struct answer *answer_of(CK_RV rv)
{
    static const struct answer other = { CKR_OK, false, "an error of its own" };

    for (size_t i = 0; i < BM_COUNT(answers); i++)
        if (answers[i].rv == rv)
            return &answers[i];
    return &other;
}

static enum bm_rc module_fail(const struct bm_pkcs11 *p, CK_RV rv, const char *what, struct bm_error *e)
{
    return bm_refuse(e, BM_USAGE, "pkcs11-module", "%.100s: %s: %s (0x%lx)", p->module, what, answer_of(rv)->name, rv);
}

/* --- the module ------------------------------------------------------------------------------------------------------------------ */
/* It may lock in its own way, and makes no threads: a confined process could not have any. */
static CK_RV initialise(struct bm_pkcs11 *p)
{
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_LIBRARY_CANT_CREATE_OS_THREADS | CKF_OS_LOCKING_OK };
    CK_RV rv = p->f->C_Initialize(&args);

    p->initialised = rv == CKR_OK;
    return rv;
}

static void finalise(struct bm_pkcs11 *p)
{
    for (size_t i = 0; i < p->n_tokens; i++)
        p->tokens[i].open = false;
    if (p->initialised)
        (void)p->f->C_Finalize(NULL);
    p->initialised = false;
}

static enum bm_rc load(struct bm_pkcs11 *p, struct bm_error *e)
{
    CK_C_GetFunctionList get = NULL;
    CK_RV rv;

    if (p->module[0] != '/')
        return bm_refuse(e, BM_USAGE, "pkcs11-module", "pkcs11_module: write the whole path of the module, from / on");
    p->so = dlopen(p->module, RTLD_NOW | RTLD_LOCAL);
    if (p->so != NULL)
        *(void **)&get = dlsym(p->so, "C_GetFunctionList"); /* as dlsym(3) shows it */
    if (get == NULL)
        return bm_refuse(e, BM_USAGE, "pkcs11-module", "%.100s is no PKCS#11 module: %.100s", p->module, dlerror());
    rv = get(&p->f);
    if (rv == CKR_OK && (p->f->version.major < 2 || p->f->version.major > 3))
        return bm_refuse(e, BM_USAGE, "pkcs11-module", "%.100s speaks version %d of PKCS#11; 2 and 3 are known", p->module,
                         p->f->version.major);
    if (rv == CKR_OK)
        rv = initialise(p);
    return rv == CKR_OK ? BM_OK : module_fail(p, rv, "it does not begin", e);
}

static enum bm_rc read_pin(struct bm_pkcs11 *p, const char *file, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = PIN_FILE_MAX };
    enum bm_rc rc = bm_file_read(file, &text, e);

    if (rc != BM_OK)
        return bm_wrap(e, rc, "the PIN of the token");
    while (text.n != 0 && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
        text.n--;
    if (text.n == 0)
        return bm_fail(e, BM_USAGE, "%s: there is no PIN in it", file);
    p->pin = OPENSSL_secure_malloc(text.n);
    if (p->pin == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a PIN");
    memcpy(p->pin, text.p, text.n);
    p->pin_len = text.n;
    return BM_OK;
}

static void closep(struct bm_pkcs11 **p)
{
    bm_pkcs11_close(*p);
}

enum bm_rc bm_pkcs11_open(const char *module, const char *pin_file, struct bm_pkcs11 **ret, struct bm_error *e)
{
    BM_CLEANUP(closep) struct bm_pkcs11 *p = calloc(1, sizeof *p);
    enum bm_rc rc;

    if (p == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a PKCS#11 module");
    if ((size_t)snprintf(p->module, sizeof p->module, "%s", module) >= sizeof p->module)
        return bm_fail(e, BM_LIMIT, "%.100s...: path too long", module);
    rc = pin_file != NULL ? read_pin(p, pin_file, e) : BM_OK;
    if (rc == BM_OK)
        rc = load(p, e);
    if (rc == BM_OK)
        *ret = BM_MOVE(p);
    return rc;
}

/* The shared object stays loaded: modules leave exit handlers behind. */
void bm_pkcs11_close(struct bm_pkcs11 *p)
{
    if (p == NULL)
        return;
    finalise(p);
    OPENSSL_secure_clear_free(p->pin, p->pin_len);
    free(p);
}

/* --- finding a token --------------------------------------------------------------------------------------------------------------- */
/* CK_TOKEN_INFO has its texts padded with blanks. */
static bool is_text(const CK_UTF8CHAR *padded, size_t room, const char *want)
{
    size_t n = strlen(want);

    if (n == 0)
        return true;
    if (n > room || memcmp(padded, want, n) != 0)
        return false;
    while (n < room && padded[n] == ' ')
        n++;
    return n == room;
}

static bool is_token(const CK_TOKEN_INFO *i, const struct bm_pkcs11_uri *u)
{
    return (i->flags & CKF_TOKEN_INITIALIZED) != 0 && is_text(i->label, sizeof i->label, u->token) &&
           is_text(i->serialNumber, sizeof i->serialNumber, u->serial) && is_text(i->model, sizeof i->model, u->model) &&
           is_text(i->manufacturerID, sizeof i->manufacturerID, u->manufacturer);
}

static enum bm_rc find_slot(struct bm_pkcs11 *p, const struct bm_token *t, CK_SLOT_ID *ret, CK_FLAGS *ret_flags, struct bm_error *e)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG n = SLOTS_MAX;
    CK_TOKEN_INFO info;
    size_t found = 0;
    CK_RV rv = p->initialised ? p->f->C_GetSlotList(CK_TRUE, slots, &n) : CKR_CRYPTOKI_NOT_INITIALIZED;

    for (CK_ULONG i = 0; rv == CKR_OK && i < n; i++) {
        if (p->f->C_GetTokenInfo(slots[i], &info) != CKR_OK || !is_token(&info, &t->which))
            continue;
        *ret = slots[i];
        *ret_flags = info.flags;
        found++;
    }
    if (found == 1)
        return BM_OK;
    return found == 0 ? bm_refuse(e, BM_AGAIN, "token-unavailable",
                                  "the token '%s' is not there; put it back, or bring it up again", t->which.token)
                      : bm_refuse(e, BM_USAGE, "token-ambiguous", "%zu tokens are called '%s'; add serial=... to the key's URI",
                                  found, t->which.token);
}

/* --- sessions ---------------------------------------------------------------------------------------------------------------------- */
static void session_close(struct bm_pkcs11 *p, struct bm_token *t)
{
    if (t->open)
        (void)p->f->C_CloseSession(t->session);
    t->open = false;
}

static enum bm_rc pin_refused(struct bm_token *t, CK_RV rv, struct bm_error *e)
{
    t->pin_refused = true;
    return bm_refuse(e, BM_AGAIN, "token-pin",
                     "the token '%s' refuses the PIN (%s); it is not tried again before a restart, so that it does not lock",
                     t->which.token, answer_of(rv)->name);
}

static bool blames_pin(CK_RV rv)
{
    return rv == CKR_PIN_INCORRECT || rv == CKR_PIN_INVALID || rv == CKR_PIN_LEN_RANGE || rv == CKR_PIN_EXPIRED ||
           rv == CKR_PIN_LOCKED;
}

static enum bm_rc login(struct bm_pkcs11 *p, struct bm_token *t, CK_FLAGS flags, struct bm_error *e)
{
    CK_RV rv;

    if ((flags & CKF_LOGIN_REQUIRED) == 0)
        return BM_OK;
    if (p->pin == NULL)
        return bm_refuse(e, BM_USAGE, "token-pin", "the token '%s' wants a PIN: name its file as pkcs11_pin_file", t->which.token);
    if (t->pin_refused)
        return pin_refused(t, CKR_PIN_INCORRECT, e);
    rv = p->f->C_Login(t->session, CKU_USER, p->pin, p->pin_len);
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
        return BM_OK;
    return blames_pin(rv) ? pin_refused(t, rv, e)
                          : bm_refuse(e, BM_AGAIN, "token-unavailable", "the token '%s' does not let us in: %s (0x%lx)",
                                      t->which.token, answer_of(rv)->name, rv);
}

static enum bm_rc session_open(struct bm_pkcs11 *p, struct bm_token *t, struct bm_error *e)
{
    CK_SLOT_ID slot = 0;
    CK_FLAGS flags = 0;
    CK_RV rv;
    enum bm_rc rc = t->open ? BM_OK : find_slot(p, t, &slot, &flags, e);

    if (rc != BM_OK || t->open)
        return rc;
    rv = p->f->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &t->session);
    if (rv != CKR_OK)
        return bm_refuse(e, BM_AGAIN, "token-unavailable", "the token '%s' opens no session: %s (0x%lx)", t->which.token,
                         answer_of(rv)->name, rv);
    t->open = true;
    rc = login(p, t, flags, e);
    if (rc != BM_OK) {
        session_close(p, t);
        return rc;
    }
    p->reopened += t->generation++ != 0;
    return BM_OK;
}

static enum bm_rc session_renew(struct bm_pkcs11 *p, struct bm_token *t, struct bm_error *e)
{
    session_close(p, t);
    return session_open(p, t, e);
}

/* Some modules look for tokens only when they begin. */
static enum bm_rc module_renew(struct bm_pkcs11 *p, struct bm_token *t, struct bm_error *e)
{
    CK_RV rv;

    finalise(p);
    rv = initialise(p);
    if (rv != CKR_OK)
        return bm_refuse(e, BM_AGAIN, "token-unavailable", "%.100s does not begin again: %s (0x%lx)", p->module,
                         answer_of(rv)->name, rv);
    return session_open(p, t, e);
}

/* --- running something in a token -------------------------------------------------------------------------------------------------- */
static void gone(struct bm_token *t, const struct bm_error *why)
{
    t->away = true;
    t->failed_ms = bm_clock_steady_ms();
    t->why = *why;
}

static enum bm_rc refused(struct bm_pkcs11 *p, struct bm_token *t, CK_RV rv, const char *what, struct bm_error *e)
{
    const struct answer *a = answer_of(rv);

    session_close(p, t);
    if (rv == CKR_OBJECT_HANDLE_INVALID || rv == CKR_KEY_HANDLE_INVALID)
        return bm_refuse(e, BM_NOTFOUND, "token-no-key", "the token '%s' is there, but the key is not in it", t->which.token);
    return a->lost ? bm_refuse(e, BM_AGAIN, "token-unavailable", "the token '%s' does not %s: %s (0x%lx)", t->which.token, what,
                               a->name, rv)
                   : bm_refuse(e, BM_USAGE, "token-refused", "the token '%s' refuses to %s: %s (0x%lx)", t->which.token, what,
                               a->name, rv);
}

static bool quiet(const struct bm_token *t)
{
    return t->away && bm_clock_steady_ms() - t->failed_ms < QUIET_AFTER_FAILURE_MS;
}

enum bm_rc bm_token_run(struct bm_pkcs11 *p, struct bm_token *t, const char *what, bm_token_act *act, void *arg, struct bm_error *e)
{
    static enum bm_rc (*const ways[])(struct bm_pkcs11 *, struct bm_token *, struct bm_error *) = { session_open, session_renew,
                                                                                                    module_renew };
    struct bm_error why = t->why;
    enum bm_rc rc = quiet(t) ? why.rc : BM_AGAIN;
    CK_RV rv = CKR_OK;

    for (size_t i = 0; !quiet(t) && i < BM_COUNT(ways) && !t->pin_refused; i++) {
        rc = ways[i](p, t, &why);
        rv = rc == BM_OK ? act(p, t, arg) : CKR_TOKEN_NOT_PRESENT;
        if (rv == CKR_OK) {
            t->away = false;
            return BM_OK;
        }
        if ((rc != BM_OK && rc != BM_AGAIN) || !answer_of(rv)->lost)
            break;
    }
    if (rc == BM_OK)
        rc = refused(p, t, rv, what, &why);
    if (rc == BM_AGAIN && !quiet(t))
        gone(t, &why);
    if (e != NULL)
        *e = why;
    return rc;
}

static bool is_free(const struct bm_token *t)
{
    return t->which.token[0] == '\0' && t->which.serial[0] == '\0';
}

static struct bm_token *free_token(struct bm_pkcs11 *p)
{
    for (size_t i = 0; i < p->n_tokens; i++)
        if (is_free(&p->tokens[i]))
            return &p->tokens[i];
    return p->n_tokens < BM_TOKENS_MAX ? &p->tokens[p->n_tokens++] : NULL;
}

static bool is_same(const struct bm_pkcs11_uri *a, const struct bm_pkcs11_uri *b)
{
    return strcmp(a->token, b->token) == 0 && strcmp(a->serial, b->serial) == 0 && strcmp(a->model, b->model) == 0 &&
           strcmp(a->manufacturer, b->manufacturer) == 0;
}

enum bm_rc bm_token_of(struct bm_pkcs11 *p, const struct bm_pkcs11_uri *which, struct bm_token **ret, struct bm_error *e)
{
    struct bm_pkcs11_uri only = *which;

    memset(only.object, 0, sizeof only.object);
    memset(only.id, 0, sizeof only.id);
    only.id_len = 0;
    for (size_t i = 0; i < p->n_tokens; i++) {
        if (!is_same(&p->tokens[i].which, &only))
            continue;
        *ret = &p->tokens[i];
        return BM_OK;
    }
    *ret = free_token(p);
    if (*ret == NULL)
        return bm_fail(e, BM_LIMIT, "keys in more than %d tokens", BM_TOKENS_MAX);
    (*ret)->which = only;
    return BM_OK;
}

/* --- how they are ------------------------------------------------------------------------------------------------------------------ */
bool bm_pkcs11_well(const struct bm_pkcs11 *p)
{
    for (size_t i = 0; p != NULL && i < p->n_tokens; i++)
        if (p->tokens[i].away)
            return false;
    return true;
}

/* No key points to such a token: it would have been opened there. */
void bm_pkcs11_forget(struct bm_pkcs11 *p)
{
    for (size_t i = 0; p != NULL && i < p->n_tokens; i++)
        if (p->tokens[i].generation == 0)
            p->tokens[i] = (struct bm_token){ 0 };
}

uint64_t bm_pkcs11_reopened(const struct bm_pkcs11 *p)
{
    return p != NULL ? p->reopened : 0;
}

/* A session alone proves little: some modules answer for it out of their own memory. There was a private key, so there must be one. */
static CK_RV look_for_keys(struct bm_pkcs11 *p, struct bm_token *t, void *arg)
{
    static const struct bm_pkcs11_uri any = { 0 };
    CK_OBJECT_HANDLE found[2];
    size_t n = 0;
    CK_RV rv = bm_token_find(p, t, BM_TOKEN_PRIVATE, &any, found, &n);

    (void)arg;
    return rv == CKR_OK && n == 0 ? CKR_OBJECT_HANDLE_INVALID : rv;
}

void bm_pkcs11_probe(struct bm_pkcs11 *p)
{
    for (size_t i = 0; p != NULL && i < p->n_tokens; i++)
        if (!is_free(&p->tokens[i]) && bm_token_run(p, &p->tokens[i], "show its keys", look_for_keys, NULL, NULL) != BM_OK)
            continue; /* it has been noted as away */
}
