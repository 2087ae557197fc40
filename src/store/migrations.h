/* The scripts of store/migrations/, embedded by migrations.c, one list per driver. */
#ifndef BM_STORE_MIGRATIONS_H
#define BM_STORE_MIGRATIONS_H

#include "store/db.h"

enum { BM_MIGRATIONS_SQLITE = 2 }; /* how many */
extern const struct bm_migration bm_migrations_sqlite[BM_MIGRATIONS_SQLITE];

#endif
