/* The two forms of an Onboard message, JSON and CBOR, behind one table of functions, so that each message is read and written once.
 * Values are the libraries' own trees (json_t, cbor_item_t), held as void. */
#ifndef BM_PROTOCOL_FORM_H
#define BM_PROTOCOL_FORM_H

#include "base/bytes.h"

struct bm_form {
    const char *content_type, *problem_type; /* of answers, of refusals */

    /* Reading. `load` takes the whole input or nothing: leftovers, duplicate members, indefinite lengths and nesting beyond four levels are
     * refused. Values borrow from the tree, bytes from `arena`, which must have room for the input. */
    enum bm_rc (*load)(struct bm_rd in, void **ret, struct bm_error *e);
    void (*free)(void *tree);
    bool (*each)(const void *map, bool (*fn)(void *arg, struct bm_rd key, const void *value),
                 void *arg); /* false: no map, or fn said so */
    size_t (*array_size)(const void *array, bool *ret_is);
    const void *(*array_at)(const void *array, size_t i);
    bool (*get_bytes)(const void *value, struct bm_buf *arena, struct bm_rd *ret);
    bool (*get_text)(const void *value, struct bm_rd *ret);

    /* Writing. Makers answer NULL when out of memory; setters take the value over, also when it is NULL, and then spoil the tree. */
    void *(*map)(size_t n);
    void *(*array)(size_t n);
    void *(*bytes)(struct bm_rd b);
    void *(*text)(struct bm_rd b);
    void *(*integer)(int64_t v);
    bool (*set)(void *map, const char *key, void *take);
    bool (*append)(void *array, void *take);
    bool (*store)(void *tree, struct bm_buf *out);
};

extern const struct bm_form bm_form_json, bm_form_cbor;
/* By media type; parameters are ignored. NULL: neither. */
const struct bm_form *bm_form_of(struct bm_rd content_type);

#endif
