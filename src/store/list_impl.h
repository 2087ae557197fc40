/* What the files of the lists share with each other and nobody else: a kind of row. */
#ifndef BM_STORE_LIST_IMPL_H
#define BM_STORE_LIST_IMPL_H

#include "store/db.h"

/* How a column becomes JSON. What is not there (NULL, an empty reference, time 0) is null. */
enum as { AS_TEXT, AS_INT, AS_HEX, AS_TIME, AS_JSON, AS_BOOL };

struct member {
    const char *name;
    enum as as;
};

/* clause: takes one value, or two for a UDID or serial number (short key and whole). */
struct filter {
    const char *column, *clause;
    enum filter_value { BY_TEXT, BY_UDID, BY_SERIAL } value;
};

enum { MEMBERS_MAX = 16, FILTERS_MAX = 8 };

/* select: its first column is the id, the rest are the members in order; id: what to page by. */
struct kind {
    const char *name, *select, *id;
    struct member members[MEMBERS_MAX];
    struct filter filters[FILTERS_MAX];
    const char *scope[BM_SCOPES]; /* clause with one `?`, the organisation; NULL: not for them */
};

extern const struct kind bm_list_kinds[];
extern const size_t bm_list_n_kinds;

#endif
