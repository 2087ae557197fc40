/* The rows of store_test.c over PostgreSQL. */
#define STORE_TEST_POSTGRES
#include "store_test.c"
