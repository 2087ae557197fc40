#define OPENSSL_SUPPRESS_DEPRECATED
#include "fleet.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char magic[8] = { 'B', 'M', 'F', 'L', 'E', 'E', 'T', '1' };

static void put_u64(uint8_t *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        p[i] = (uint8_t)v;
}

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static int sayf(const char *what, const char *path)
{
    fprintf(stderr, "birthmark-fleet: %s '%s': %s\n", what, path, strerror(errno));
    return -1;
}

/* --- making ------------------------------------------------------------------------------------------------------------------------ */

/* HKDF (RFC 5869) over the seed; info is device number and attempt. */
struct maker {
    const char *seed;
    EVP_KDF_CTX *kdf;
    EC_GROUP *group;
    EC_POINT *point;
    BIGNUM *scalar;
    BN_CTX *bn;
};

static void maker_done(struct maker *m)
{
    EVP_KDF_CTX_free(m->kdf);
    EC_POINT_free(m->point);
    EC_GROUP_free(m->group);
    BN_clear_free(m->scalar);
    BN_CTX_free(m->bn);
}

static bool maker_init(struct maker *m, const char *seed)
{
    EVP_KDF *hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);

    *m = (struct maker){ .seed = seed };
    m->kdf = hkdf != NULL ? EVP_KDF_CTX_new(hkdf) : NULL;
    EVP_KDF_free(hkdf);
    m->group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    m->point = m->group != NULL ? EC_POINT_new(m->group) : NULL;
    m->scalar = BN_new();
    m->bn = BN_CTX_new();
    return m->kdf != NULL && m->point != NULL && m->scalar != NULL && m->bn != NULL;
}

static bool derive(struct maker *m, uint64_t i, uint8_t attempt, uint8_t *scalar)
{
    uint8_t info[9];
    char salt[] = "birthmark-fleet device key";
    OSSL_PARAM params[5];

    put_u64(info, i);
    info[8] = attempt;
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){ "SHA256" }, 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)m->seed, strlen(m->seed));
    params[2] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt, sizeof salt - 1);
    params[3] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof info);
    params[4] = OSSL_PARAM_construct_end();
    return EVP_KDF_derive(m->kdf, scalar, FLEET_SCALAR, params) == 1;
}

static bool make_scalar(struct maker *m, uint64_t i, uint8_t *scalar)
{
    for (uint8_t attempt = 0; attempt < 8; attempt++) {
        bool got = m->seed != NULL ? derive(m, i, attempt, scalar) : RAND_priv_bytes(scalar, FLEET_SCALAR) == 1;

        if (!got || BN_bin2bn(scalar, FLEET_SCALAR, m->scalar) == NULL)
            return false;
        if (!BN_is_zero(m->scalar) && BN_cmp(m->scalar, EC_GROUP_get0_order(m->group)) < 0)
            return true;
    }
    return false;
}

static bool make_record(struct maker *m, uint64_t i, uint8_t *r)
{
    uint8_t spki[BMD_SPKI_MAX];
    size_t n = 0;

    if (!make_scalar(m, i, r) || EC_POINT_mul(m->group, m->point, m->scalar, NULL, NULL, m->bn) != 1 ||
        EC_POINT_point2oct(m->group, m->point, POINT_CONVERSION_UNCOMPRESSED, r + FLEET_SCALAR, FLEET_POINT, m->bn) != FLEET_POINT)
        return false;
    if (bmd_spki(BMD_P256, bmd_rd_of(r + FLEET_SCALAR, FLEET_POINT), spki, sizeof spki, &n) != BMD_OK)
        return false;
    return SHA256(spki, n, r + FLEET_SCALAR + FLEET_POINT) != NULL;
}

static bool make_range(uint8_t *map, const char *seed, uint64_t from, uint64_t to)
{
    struct maker m;
    bool ok = maker_init(&m, seed);

    for (uint64_t i = from; ok && i < to; i++)
        ok = make_record(&m, i, map + FLEET_HEAD + i * FLEET_RECORD);
    maker_done(&m);
    return ok;
}

static bool make_all(uint8_t *map, uint64_t n, const char *seed, unsigned jobs)
{
    bool ok = true;
    int status;

    for (unsigned j = 0; j < jobs; j++) {
        pid_t pid = fork();

        if (pid == 0)
            _exit(make_range(map, seed, n * j / jobs, n * (j + 1) / jobs) ? 0 : 1);
        ok = ok && pid > 0;
    }
    while (wait(&status) > 0)
        ok = ok && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return ok;
}

int fleet_keys_make(const char *path, uint64_t n, const char *seed, unsigned jobs)
{
    size_t len = FLEET_HEAD + (size_t)n * FLEET_RECORD;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint8_t *map = MAP_FAILED;
    bool ok;

    if (fd < 0 || ftruncate(fd, (off_t)len) != 0 ||
        (map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
        (void)sayf("cannot make", path);
        if (fd >= 0)
            close(fd);
        return 2;
    }
    close(fd);
    ok = make_all(map, n, seed, jobs);
    if (ok) { /* last, so that a file cut short is none */
        memcpy(map, magic, sizeof magic);
        put_u64(map + sizeof magic, n);
    }
    ok = msync(map, len, MS_SYNC) == 0 && ok;
    munmap(map, len);
    return ok ? 0 : 1;
}

/* --- reading ----------------------------------------------------------------------------------------------------------------------- */

static bool keys_valid(const uint8_t *map, size_t len)
{
    uint64_t n;

    if (len < FLEET_HEAD || memcmp(map, magic, sizeof magic) != 0)
        return false;
    n = get_u64(map + sizeof magic);
    return n <= (len - FLEET_HEAD) / FLEET_RECORD && len == FLEET_HEAD + n * FLEET_RECORD;
}

int fleet_keys_open(const char *path, struct fleet_keys *ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *map;

    if (fd < 0)
        return sayf("cannot open", path);
    if (fstat(fd, &st) != 0 || st.st_size < FLEET_HEAD) {
        close(fd);
        errno = EINVAL;
        return sayf("is no file of device keys:", path);
    }
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return sayf("cannot map", path);
    if (!keys_valid(map, (size_t)st.st_size)) {
        munmap(map, (size_t)st.st_size);
        errno = EINVAL;
        return sayf("is no file of device keys:", path);
    }
    *ret = (struct fleet_keys){ map, (size_t)st.st_size, get_u64((const uint8_t *)map + sizeof magic) };
    return 0;
}

void fleet_keys_close(struct fleet_keys *k)
{
    if (k->map != NULL)
        munmap((void *)(uintptr_t)k->map, k->map_len);
    *k = (struct fleet_keys){ 0 };
}

struct fleet_record fleet_keys_at(const struct fleet_keys *k, uint64_t i)
{
    const uint8_t *p = k->map + FLEET_HEAD + i * FLEET_RECORD;

    return (struct fleet_record){ p, p + FLEET_SCALAR, p + FLEET_SCALAR + FLEET_POINT };
}

int fleet_spki_print(const struct fleet_keys *k, uint64_t first, uint64_t count, FILE *out)
{
    for (uint64_t i = first; i < first + count; i++) {
        struct fleet_record r = fleet_keys_at(k, i);
        uint8_t spki[BMD_SPKI_MAX], text[2 * BMD_SPKI_MAX];
        char udid[2 * BMD_UDID_LEN + 1];
        struct bmd_wr w = bmd_wr_of(text, sizeof text);
        size_t n = 0;

        if (bmd_spki(BMD_P256, bmd_rd_of(r.point, FLEET_POINT), spki, sizeof spki, &n) != BMD_OK)
            return 1;
        bmd_base64url(&w, bmd_rd_of(spki, n));
        bmd_hex(r.udid, BMD_UDID_LEN, udid);
        fprintf(out, "{\"udid\":\"%s\",\"key\":\"%.*s\",\"rot\":\"software\"}\n", udid, (int)w.n, (const char *)text);
    }
    return fflush(out) == 0 && !ferror(out) ? 0 : 1;
}
