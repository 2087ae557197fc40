/* The scripts of store/migrations/, embedded by migrations.c, one list per driver. A number means the same change in both. */
#ifndef BM_STORE_MIGRATIONS_H
#define BM_STORE_MIGRATIONS_H

#include "store/db.h"

enum { BM_MIGRATIONS_SQLITE = 21, BM_MIGRATIONS_POSTGRES = 21 }; /* how many */
extern const struct bm_migration bm_migrations_sqlite[BM_MIGRATIONS_SQLITE];
extern const struct bm_migration bm_migrations_postgres[BM_MIGRATIONS_POSTGRES];

#endif
