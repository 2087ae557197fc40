#include "store/migrations.h"

/* The assembler finds the files through the compiler's -I; a build whose link step assembles (LTO) names the folder instead. */
#ifndef BM_MIGRATIONS_DIR
#define BM_MIGRATIONS_DIR "store/migrations"
#endif

#define EMBED(symbol, file)                                                                                                        \
    __asm__(".pushsection .rodata\n.globl " #symbol "\n.type " #symbol ", %object\n" #symbol ":\n.incbin \"" BM_MIGRATIONS_DIR     \
            "/" file "\"\n.byte 0\n.size " #symbol ", . - " #symbol "\n.popsection\n");                                            \
    extern const char symbol[]

EMBED(bm_sql_0001_registry, "0001_registry.sql");
EMBED(bm_sql_0002_revocation, "0002_revocation.sql");
EMBED(bm_sql_0003_lifecycle, "0003_lifecycle.sql");
EMBED(bm_sql_0004_codes, "0004_codes.sql");
EMBED(bm_sql_0005_api, "0005_api.sql");
EMBED(bm_sql_0006_symmetric, "0006_symmetric.sql");
EMBED(bm_sql_0007_hosts, "0007_hosts.sql");
EMBED(bm_sql_0008_claims, "0008_claims.sql");
EMBED(bm_sql_0009_est, "0009_est.sql");
EMBED(bm_sql_0010_errand, "0010_errand.sql");
EMBED(bm_sql_0011_rotation, "0011_rotation.sql");
EMBED(bm_sql_0012_cmp, "0012_cmp.sql");
EMBED(bm_sql_0013_scep, "0013_scep.sql");
EMBED(bm_sql_0014_voucher, "0014_voucher.sql");
EMBED(bm_sql_0015_acme, "0015_acme.sql");
EMBED(bm_sql_0016_upstream, "0016_upstream.sql");
EMBED(bm_sql_0017_crl_parts, "0017_crl_parts.sql");
EMBED(bm_sql_0018_upstream_options, "0018_upstream_options.sql");
EMBED(bm_sql_0019_cmp_waiting, "0019_cmp_waiting.sql");
EMBED(bm_sql_0020_upstream_revocation, "0020_upstream_revocation.sql");
EMBED(bm_sql_0021_held_crl, "0021_held_crl.sql");
EMBED(bm_sql_pg_0001_registry, "postgres/0001_registry.sql");
EMBED(bm_sql_pg_0002_revocation, "postgres/0002_revocation.sql");
EMBED(bm_sql_pg_0003_lifecycle, "postgres/0003_lifecycle.sql");
EMBED(bm_sql_pg_0004_codes, "postgres/0004_codes.sql");
EMBED(bm_sql_pg_0005_api, "postgres/0005_api.sql");
EMBED(bm_sql_pg_0006_symmetric, "postgres/0006_symmetric.sql");
EMBED(bm_sql_pg_0007_hosts, "postgres/0007_hosts.sql");
EMBED(bm_sql_pg_0008_claims, "postgres/0008_claims.sql");
EMBED(bm_sql_pg_0009_est, "postgres/0009_est.sql");
EMBED(bm_sql_pg_0010_errand, "postgres/0010_errand.sql");
EMBED(bm_sql_pg_0011_rotation, "postgres/0011_rotation.sql");
EMBED(bm_sql_pg_0012_cmp, "postgres/0012_cmp.sql");
EMBED(bm_sql_pg_0013_scep, "postgres/0013_scep.sql");
EMBED(bm_sql_pg_0014_voucher, "postgres/0014_voucher.sql");
EMBED(bm_sql_pg_0015_acme, "postgres/0015_acme.sql");
EMBED(bm_sql_pg_0016_upstream, "postgres/0016_upstream.sql");
EMBED(bm_sql_pg_0017_crl_parts, "postgres/0017_crl_parts.sql");
EMBED(bm_sql_pg_0018_upstream_options, "postgres/0018_upstream_options.sql");
EMBED(bm_sql_pg_0019_cmp_waiting, "postgres/0019_cmp_waiting.sql");
EMBED(bm_sql_pg_0020_upstream_revocation, "postgres/0020_upstream_revocation.sql");
EMBED(bm_sql_pg_0021_held_crl, "postgres/0021_held_crl.sql");

const struct bm_migration bm_migrations_sqlite[BM_MIGRATIONS_SQLITE] = {
    { 1, bm_sql_0001_registry },     { 2, bm_sql_0002_revocation },
    { 3, bm_sql_0003_lifecycle },    { 4, bm_sql_0004_codes },
    { 5, bm_sql_0005_api },          { 6, bm_sql_0006_symmetric },
    { 7, bm_sql_0007_hosts },        { 8, bm_sql_0008_claims },
    { 9, bm_sql_0009_est },          { 10, bm_sql_0010_errand },
    { 11, bm_sql_0011_rotation },    { 12, bm_sql_0012_cmp },
    { 13, bm_sql_0013_scep },        { 14, bm_sql_0014_voucher },
    { 15, bm_sql_0015_acme },        { 16, bm_sql_0016_upstream },
    { 17, bm_sql_0017_crl_parts },   { 18, bm_sql_0018_upstream_options },
    { 19, bm_sql_0019_cmp_waiting }, { 20, bm_sql_0020_upstream_revocation },
    { 21, bm_sql_0021_held_crl },
};

const struct bm_migration bm_migrations_postgres[BM_MIGRATIONS_POSTGRES] = {
    { 1, bm_sql_pg_0001_registry },     { 2, bm_sql_pg_0002_revocation },
    { 3, bm_sql_pg_0003_lifecycle },    { 4, bm_sql_pg_0004_codes },
    { 5, bm_sql_pg_0005_api },          { 6, bm_sql_pg_0006_symmetric },
    { 7, bm_sql_pg_0007_hosts },        { 8, bm_sql_pg_0008_claims },
    { 9, bm_sql_pg_0009_est },          { 10, bm_sql_pg_0010_errand },
    { 11, bm_sql_pg_0011_rotation },    { 12, bm_sql_pg_0012_cmp },
    { 13, bm_sql_pg_0013_scep },        { 14, bm_sql_pg_0014_voucher },
    { 15, bm_sql_pg_0015_acme },        { 16, bm_sql_pg_0016_upstream },
    { 17, bm_sql_pg_0017_crl_parts },   { 18, bm_sql_pg_0018_upstream_options },
    { 19, bm_sql_pg_0019_cmp_waiting }, { 20, bm_sql_pg_0020_upstream_revocation },
    { 21, bm_sql_pg_0021_held_crl },
};

_Static_assert(BM_MIGRATIONS_SQLITE == BM_MIGRATIONS_POSTGRES, "each change of the schema needs its script for both databases");
