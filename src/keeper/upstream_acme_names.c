/* Identifiers of an order (RFC 8555 section 7.1.4, RFC 8738) out of a certificate request. */
#include "keeper/upstream_acme.h"

#include "pki/der.h"
#include "pki/san.h"

#include <arpa/inet.h>

enum { DNS_MAX = 253 };

static json_t *identifier(const char *type, const char *value)
{
    return json_pack("{s:s, s:s}", "type", type, "value", value);
}

static json_t *of_dns(struct bm_rd v)
{
    char text[DNS_MAX + 1];

    if (v.n == 0 || v.n > DNS_MAX || !bm_san_dns_ok(v))
        return NULL;
    for (size_t i = 0; i < v.n; i++)
        text[i] = (char)(v.p[i] | (v.p[i] >= 'A' && v.p[i] <= 'Z' ? 0x20 : 0));
    text[v.n] = '\0';
    return identifier("dns", text);
}

static json_t *of_address(struct bm_rd v)
{
    char text[INET6_ADDRSTRLEN];

    if ((v.n != 4 && v.n != 16) || inet_ntop(v.n == 4 ? AF_INET : AF_INET6, v.p, text, sizeof text) == NULL)
        return NULL;
    return identifier("ip", text);
}

json_t *bm_acme_identifiers_of(struct bm_rd san, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *list = json_array();
    struct bm_rd names = { 0 }, value;
    uint8_t tag;

    if (san.n != 0 && !bm_der_only(san, BM_DER_SEQUENCE, &names))
        names.n = 0;
    while (names.n != 0) {
        json_t *one = NULL;

        if (bm_der_any(&names, &tag, &value, NULL))
            one = tag == BM_DER_CTX(2) ? of_dns(value) : tag == BM_DER_CTX(7) ? of_address(value) : NULL;
        if (json_array_append_new(list, one) != 0) {
            (void)bm_refuse(e, BM_DENIED, "upstream-request",
                            "an ACME CA certifies DNS names and addresses; the request has an alternative name of another kind");
            return NULL;
        }
    }
    if (json_array_size(list) != 0)
        return BM_MOVE(list);
    (void)bm_refuse(e, BM_DENIED, "upstream-request",
                    "an ACME CA certifies DNS names and addresses; the request has neither among its alternative names");
    return NULL;
}
