/* Microchip Trust Platform manifests ("TrustPlatform Manifest File Format", 2019-09-26): a JSON array whose elements are
 * flattened JWS (RFC 7515 section 7.2.2), each signed by a short-lived "log signer". There is no seal over several elements, so
 * a missing element cannot be noticed; everything within one is as genuine as its signature.
 * A block is a bounded run of elements, each on a line of its own as compact JSON; a line "]" stands for the end of the array.
 * docs/manifest.md says what is taken from an element and what is not. */
#ifndef BM_FACTORY_MICROCHIP_H
#define BM_FACTORY_MICROCHIP_H

#include "factory/manifest.h"

enum {
    BM_MICROCHIP_ELEMENT_MAX = 64 * 1024,
    BM_MICROCHIP_BLOCK_ELEMENTS = 256,
    BM_MICROCHIP_BLOCK_MAX = 1024 * 1024,
    BM_MICROCHIP_KEYS_MAX = 16,  /* slots of the chip */
    BM_MICROCHIP_TEXT_MAX = 128, /* one of the texts that become attributes */
};

/* The row of bm_manifest_formats; the contracts are those of bm_manifest_split_next() and bm_manifest_block_parse(). In
 * particular:
 * - hooks->signer is asked with an empty `offered`: the log signer's certificate must be pinned. It must have been valid at the
 *   element's provisioningTimestamp; that it has expired since is as intended.
 * - hooks->birth is asked about the last certificate of the key's x5c at provisioningTimestamp: pin "Crypto Authentication Root
 * CA 002".
 * - hooks->sealed comes before anything was verified, as nothing vouches for the block.
 * - an element whose signature is wrong is one bad line. */
enum bm_rc bm_microchip_next(struct bm_manifest_split *s, struct bm_manifest_block *ret, struct bm_error *e);
enum bm_rc bm_microchip_block_parse(struct bm_manifest_reader *r, struct bm_rd raw, const struct bm_manifest_state *at, int64_t now,
                                    const struct bm_manifest_hooks *h, struct bm_manifest_summary *ret, struct bm_error *e);

#endif
