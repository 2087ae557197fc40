/* path_check TIME FILE...: does this path lead to its last certificate, the trust anchor? Leaf first, DER; TIME in Unix seconds. The checks are those
 * that a birth certificate goes through. Prints "ok", or the code of the refusal. */
#include "base/file.h"
#include "pki/cert.h"

#include <stdio.h>
#include <stdlib.h>

enum { PATH_MAX_HERE = 16 };

static enum bm_rc check(int64_t at, char **files, size_t n, struct bm_error *e)
{
    static struct bm_buf der[PATH_MAX_HERE];
    struct bm_cert path[PATH_MAX_HERE];
    enum bm_rc rc = BM_OK;

    for (size_t i = 0; rc == BM_OK && i < n; i++) {
        der[i].max = BM_CERT_MAX;
        rc = bm_file_read(files[i], &der[i], e);
        if (rc == BM_OK)
            rc = bm_cert_parse(bm_buf_rd(&der[i]), &path[i], e);
    }
    for (size_t i = 1; rc == BM_OK && i < n; i++)
        rc = bm_cert_check_above(path, i, &path[i], at, e);
    return rc;
}

int main(int argc, char **argv)
{
    struct bm_error e = { 0 };

    if (argc < 4 || argc - 2 > PATH_MAX_HERE) {
        fprintf(stderr, "usage: path_check TIME FILE...\n");
        return 2;
    }
    if (check(strtoll(argv[1], NULL, 10), argv + 2, (size_t)argc - 2, &e) == BM_OK)
        printf("ok\n");
    else
        printf("%s: %s\n", bm_error_code(&e), e.what);
    return 0;
}
