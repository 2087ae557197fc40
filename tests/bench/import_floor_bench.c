/* import_floor_bench SCRATCH.DB N: what taking in N identities costs with nothing around it: one JSON object parsed, its key decoded and hashed, one
 * row with a unique index written, all in one transaction. Prints devices per second of CPU time. */
#include "base/clock.h"
#include "base/text.h"

#include <jansson.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum { SPKI_LEN = 91 };

static void must(bool ok)
{
    if (ok)
        return;
    fprintf(stderr, "import_floor_bench: failed\n");
    exit(1);
}

static char *line_of(void)
{
    struct bm_buf text = { .max = 1024 }, key = { .max = 256 };
    uint8_t spki[SPKI_LEN], udid[32];
    char hex[65];

    must(RAND_bytes(spki, sizeof spki) == 1);
    SHA256(spki, sizeof spki, udid);
    bm_hex(udid, sizeof udid, hex);
    bm_base64url(&key, bm_rd_of(spki, sizeof spki));
    bm_buf_printf(&text, "{\"udid\":\"%s\",\"key\":\"%.*s\",\"rot\":\"software\"}", hex, (int)key.n, (const char *)key.p);
    bm_buf_put(&text, "", 1);
    must(!text.bad);
    bm_buf_done(&key);
    return (char *)text.p;
}

static void take(const char *line, sqlite3_stmt *insert)
{
    struct bm_buf spki = { .max = 256 };
    json_t *j = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    uint8_t udid[32];

    must(j != NULL && bm_unbase64url(bm_rd_str(json_string_value(json_object_get(j, "key"))), &spki, NULL) == BM_OK);
    SHA256(spki.p, spki.n, udid);
    must(sqlite3_bind_blob(insert, 1, udid, sizeof udid, SQLITE_STATIC) == SQLITE_OK &&
         sqlite3_bind_blob(insert, 2, spki.p, (int)spki.n, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(insert) == SQLITE_DONE &&
         sqlite3_reset(insert) == SQLITE_OK);
    json_decref(j);
    bm_buf_done(&spki);
}

int main(int argc, char **argv)
{
    long n = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    char **lines = calloc(n > 0 ? (size_t)n : 1, sizeof *lines);
    sqlite3_stmt *insert;
    sqlite3 *db;
    int64_t from;

    must(n > 0 && lines != NULL && sqlite3_open(argv[1], &db) == SQLITE_OK);
    for (long i = 0; i < n; i++)
        lines[i] = line_of();
    must(sqlite3_exec(db,
                      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE d (id INTEGER PRIMARY KEY, udid BLOB UNIQUE, "
                      "spki BLOB)",
                      NULL, NULL, NULL) == SQLITE_OK);
    must(sqlite3_prepare_v2(db, "INSERT INTO d (udid, spki) VALUES (?, ?)", -1, &insert, NULL) == SQLITE_OK);
    from = bm_clock_cpu_us();
    must(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK);
    for (long i = 0; i < n; i++)
        take(lines[i], insert);
    must(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK);
    printf("%.0f\n", (double)n * 1e6 / (double)(bm_clock_cpu_us() - from));
    sqlite3_finalize(insert);
    sqlite3_close(db);
    return 0;
}
