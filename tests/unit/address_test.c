/* base/address.h: what a stranger may send us to. A row that comes out wrong is a way into somebody's inner network. */
#include "base/address.h"

#include "base/bytes.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

static struct bm_error err;

static bool reachable(const char *text, const char *also)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
    struct bm_networks nets;

    assert_int_equal(bm_networks_parse(also, &nets, &err), BM_OK);
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return bm_address_reachable((const struct sockaddr *)&v4, &nets);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return bm_address_reachable((const struct sockaddr *)&v6, &nets);
}

static const struct {
    const char *address, *also;
    bool want;
} rows[] = {
    { "8.8.8.8", "", true },
    { "1.1.1.1", "", true },
    { "172.15.255.255", "", true },
    { "172.32.0.1", "", true },
    { "100.63.255.255", "", true },
    { "2606:4700::1111", "", true },
    { "2a00:1450::1", "", true },
    { "0.0.0.0", "", false },
    { "0.1.2.3", "", false },
    { "10.0.0.1", "", false },
    { "10.255.255.255", "", false },
    { "100.64.0.1", "", false },
    { "100.127.255.255", "", false },
    { "127.0.0.1", "", false },
    { "127.255.255.254", "", false },
    { "169.254.169.254", "", false }, /* the metadata service of clouds */
    { "172.16.0.1", "", false },
    { "172.31.255.255", "", false },
    { "192.0.0.1", "", false },
    { "192.0.2.1", "", false },
    { "192.88.99.1", "", false },
    { "192.168.0.1", "", false },
    { "198.18.0.1", "", false },
    { "198.19.255.255", "", false },
    { "198.51.100.1", "", false },
    { "203.0.113.9", "", false },
    { "224.0.0.1", "", false },
    { "240.0.0.1", "", false },
    { "255.255.255.255", "", false },
    { "::", "", false },
    { "::1", "", false },
    { "::ffff:127.0.0.1", "", false }, /* IPv4 inside IPv6 */
    { "::ffff:10.1.2.3", "", false },
    { "::ffff:8.8.8.8", "", true },
    { "::127.0.0.1", "", false },
    { "64:ff9b::7f00:1", "", false }, /* NAT64 of 127.0.0.1 */
    { "100::1", "", false },
    { "2001::1", "", false }, /* Teredo */
    { "2001:db8::1", "", false },
    { "2002:7f00:1::", "", false }, /* 6to4 of 127.0.0.1 */
    { "3fff::1", "", false },
    { "fc00::1", "", false },
    { "fd12:3456::1", "", false },
    { "fe80::1", "", false },
    { "fec0::1", "", false },
    { "ff02::1", "", false },
    { "127.0.0.1", "127.0.0.0/8", true },
    { "127.0.0.1", "127.0.0.1", true },
    { "127.0.0.2", "127.0.0.1", false },
    { "::ffff:127.0.0.1", "127.0.0.1", true },
    { "::1", "127.0.0.0/8, ::1", true },
    { "fd00::9", "fd00::/8", true },
    { "fe00::9", "fd00::/8", false },
    { "10.9.8.7", "10.8.0.0/13", true },
    { "10.16.0.1", "10.8.0.0/13", false },
    { "8.8.8.8", "10.0.0.0/8", true },
};

static void each_address(void **state)
{
    size_t wrong = 0;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        if (reachable(rows[i].address, rows[i].also) == rows[i].want)
            continue;
        print_error("%s with '%s' is %sreachable\n", rows[i].address, rows[i].also, rows[i].want ? "not " : "");
        wrong++;
    }
    assert_int_equal(wrong, 0);
}

static void other_families(void **state)
{
    const struct sockaddr local = { .sa_family = AF_UNIX };
    struct bm_networks all;

    (void)state;
    assert_int_equal(bm_networks_parse("0.0.0.0/0,::/0", &all, &err), BM_OK);
    assert_false(bm_address_reachable(&local, &all));
}

static void wrong_networks(void **state)
{
    static const char *const texts[] = { "10.0.0.0/33",  "::/129",      "10.0.0/8", "10.0.0.0/",    "10.0.0.0/8x",
                                         "10.0.0.0/-1",  "example.org", "/8",       "10.0.0.0/8/9", "fd00::/8 10.0.0.0/a",
                                         "10.0.0.0/0008" };
    struct bm_networks nets;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(texts); i++)
        if (bm_networks_parse(texts[i], &nets, &err) != BM_USAGE)
            fail_msg("'%s' is taken for a network", texts[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address),
        cmocka_unit_test(other_families),
        cmocka_unit_test(wrong_networks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
