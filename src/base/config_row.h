/* What the files of the configuration share with each other and nobody else: the row of a key. */
#ifndef BM_BASE_CONFIG_ROW_H
#define BM_BASE_CONFIG_ROW_H

#include "base/config.h"

enum bm_config_kind { TEXT, NUMBER, LEVEL, CONFINE };
/* Processes are given most of it at their start, and lock themselves in. What is in force ON_SIGHUP they are told again. */
enum bm_config_when { AT_START, ON_SIGHUP };

struct bm_config_row {
    const char *key;
    enum bm_config_kind kind;
    size_t at, room;   /* of the member in struct bm_config */
    const char *value; /* default */
    unsigned min, max; /* NUMBER; TEXT: 1 in min refuses the empty value */
    enum bm_config_when when;
    const char *doc;
};
extern const struct bm_config_row bm_config_rows[];
extern const size_t bm_config_n_rows; /* at most 64: struct bm_config has a bit for each */

#endif
