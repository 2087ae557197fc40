/* targets: bm_config_parse bm_config_set bm_listen_parse */
#include "base/config.h"
#include "server/listen.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void parse_address(const char *word)
{
    char host[BM_LISTEN_TEXT], port[8];
    struct bm_error e;

    if (bm_listen_parse(word, host, port, &e) == BM_OK)
        must(host[0] != '\0' && strlen(host) < sizeof host && strtoul(port, NULL, 10) <= 65535);
    else
        must(e.rc == BM_USAGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_config c;
    struct bm_error e;
    char word[600];

    must(bm_config_init(&c, "/data", &e) == BM_OK);
    if (bm_config_parse(&c, bm_rd_of(p, n), "fuzz", &e) == BM_OK)
        must(c.listen[0] != '\0' && c.connections >= 1 && c.workers <= 1024 && c.log_level <= BM_LOG_DEBUG);
    else
        must(e.rc == BM_USAGE && strncmp(e.what, "fuzz:", 5) == 0);
    if (n >= sizeof word)
        return 0;
    memcpy(word, p, n);
    word[n] = '\0';
    parse_address(word);
    must(bm_config_init(&c, "/data", &e) == BM_OK);
    if (bm_config_set(&c, "listen", word, &e) == BM_OK)
        must(strcmp(c.listen, word) == 0);
    return 0;
}
