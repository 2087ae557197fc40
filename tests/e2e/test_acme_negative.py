"""Each check that RFC 8555 and the draft of device attestation ask of a server, violated by a request that is right otherwise. Wanted is the
standard's own error (section 6.7), our own code beside it, and that nothing came of it."""

import hashlib
import json

import cbor2
import pytest

import acmekit
import kit
from acmekit import Acme, assert_problem, jwk_of, jws, links, packed, statement
from kit import KEYS, ChipMaker, Device, assert_told, b64u, make_csr


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(policy=("--protocols", "acme"))
    s.run("product", "create", "closed", "--org", "oem", "--protocols", "est")
    s.run("batch", "create", "closed-1", "--product", "closed", "--quota", 10)
    s.run("batch", "create", "tight", "--product", "sensor", "--quota", 1)
    (s.data / "birthmark.conf").write_text("acme_help_url = https://docs.example.org/limits\n")
    s.start()
    return s


@pytest.fixture(scope="module")
def binding(server):
    return server.ask("eab", "create", "--org", "oem", "--uses", 1000)


@pytest.fixture(scope="module")
def account(server, binding):
    a = Acme(server)
    a.register(binding)
    return a


@pytest.fixture
def stranger(server):
    return Acme(server)


counter = iter(range(1000000))


def device(server, batch="reel-1"):
    d = Device()
    server.register(d, name=f"m-neg-{next(counter)}", batch=batch)
    return d


# --- section 6: messages ------------------------------------------------------------------------------------------------------------------------


def spoilt_messages():
    """name, what to make of a good request, type, code. `a` posts to its own account's address."""

    def header(**over):
        return lambda a: a.post(a.kid, None, **over)

    def text(change):
        return lambda a: a.send(a.kid, change(a, jws(a.key, a.header(a.kid), None)))

    def drop(member):
        return text(lambda a, j: {k: v for k, v in j.items() if k != member})

    def raw_header(head):
        return lambda a: a.send(a.kid, jws(a.key, head(a), None))

    other = KEYS["P-256"]()
    return [
        ("another address", header(url="https://127.0.0.1/acme/acct/1"), 403, "unauthorized", "acme-url"),
        ("another resource", lambda a: a.post(a.kid, None, url=a.kid + "/orders"), 403, "unauthorized", "acme-url"),
        ("no address", header(url=None), 400, "malformed", "acme-jws"),
        ("no nonce", header(nonce=None), 400, "badNonce", "acme-nonce"),
        ("a nonce made up", header(nonce=b64u(b"x" * 48)), 400, "badNonce", "acme-nonce"),
        ("a short nonce", header(nonce="AAAA"), 400, "badNonce", "acme-nonce"),
        ("a nonce that is no base64url", header(nonce="not/base64url=="), 400, "malformed", "acme-jws"),
        ("alg none", header(alg="none"), 400, "badSignatureAlgorithm", "acme-algorithm"),
        ("alg HS256", header(alg="HS256"), 400, "badSignatureAlgorithm", "acme-algorithm"),
        ("alg PS256", header(alg="PS256"), 400, "badSignatureAlgorithm", "acme-algorithm"),
        ("alg of another curve", header(alg="ES384"), 400, "badSignatureAlgorithm", "acme-algorithm"),
        ("no alg", header(alg=None), 400, "badSignatureAlgorithm", "acme-algorithm"),
        ("kid and jwk", header(jwk=jwk_of(other)), 400, "malformed", "acme-jws"),
        ("neither kid nor jwk", header(kid=None), 400, "malformed", "acme-jws"),
        ("jwk in place of kid", lambda a: a.post(a.kid, None, kid=None, jwk=jwk_of(a.key)), 400, "malformed", "acme-jws"),
        ("a kid that is none", header(kid="https://127.0.0.1/acme/acct/1"), 400, "accountDoesNotExist", "acme-account-unknown"),
        ("a kid of nobody", lambda a: a.post(a.kid, None, kid=a.kid + "99"), 400, "accountDoesNotExist", "acme-account-unknown"),
        ("crit", header(crit=["b64"]), 400, "malformed", "acme-jws"),
        ("unencoded payload", header(b64=False), 400, "malformed", "acme-jws"),
        ("signed by another key", lambda a: a.post(a.kid, None, key=other), 403, "unauthorized", "acme-signature"),
        ("no protected header", drop("protected"), 400, "malformed", "acme-jws"),
        ("no payload", drop("payload"), 400, "malformed", "acme-jws"),
        ("no signature", drop("signature"), 400, "malformed", "acme-jws"),
        ("an unprotected header", text(lambda a, j: {**j, "header": {}}), 400, "malformed", "acme-jws"),
        ("several signatures", text(lambda a, j: {**j, "signatures": []}), 400, "malformed", "acme-jws"),
        ("padding", text(lambda a, j: {**j, "protected": j["protected"] + "=="}), 400, "malformed", "acme-jws"),
        ("compact form", text(lambda a, j: f'"{j["protected"]}.{j["payload"]}.{j["signature"]}"'), 400, "malformed", "acme-jws"),
        ("no JSON", text(lambda a, j: "{"), 400, "malformed", "acme-jws"),
        ("a member twice", text(lambda a, j: acmekit.dumps(j)[:-1] + ',"payload":""}'), 400, "malformed", "acme-jws"),
        ("two things", text(lambda a, j: acmekit.dumps(j) + "{}"), 400, "malformed", "acme-jws"),
        ("a header that is no object", raw_header(lambda a: b"[]"), 400, "malformed", "acme-jws"),
        ("a header member twice", raw_header(lambda a: acmekit.dumps(a.header(a.kid))[:-1].encode() + b',"alg":"ES256"}'), 400,
         "malformed", "acme-jws"),
        ("a payload that is no object", lambda a: a.post(a.kid, b"[]"), 400, "malformed", "acme-jws"),
        ("a payload cut short", lambda a: a.post(a.kid, b'{"contact"'), 400, "malformed", "acme-jws"),
    ]


ROWS = spoilt_messages()


@pytest.mark.parametrize("row", ROWS, ids=[r[0] for r in ROWS])
def test_messages(account, row):
    """Sections 6.2 to 6.5: a request that is not signed for this address, now, by this account, is refused as the standard says."""
    _, send, status, kind, code = row
    told = assert_problem(send(account), status, kind, code)
    if kind == "badSignatureAlgorithm":
        assert "ES256" in told["algorithms"]
    account.ok(account.kid)  # nothing of it is left in the way


def test_a_nonce_is_good_once(account):
    """Section 6.5: a message that comes again is refused, whatever it says."""
    message = jws(account.key, account.header(account.kid), None)
    assert account.send(account.kid, message).status == 200
    assert_problem(account.send(account.kid, message), 400, "badNonce", "acme-nonce")


def test_media_type(account):
    """Section 6.2: another Content-Type is 415."""
    message = jws(account.key, account.header(account.kid), None)
    for kind in ("application/json", "text/plain", ""):
        answer = account.send(account.kid, message, type=kind)
        assert answer.status == 415 and answer.json["type"] == acmekit.ERROR + "malformed"


def test_only_posts(account):
    """Section 6.3: a GET for what takes signed requests is 405 and malformed; and nothing is served beside the resources."""
    for path, status in ((account.path(account.kid), 405), ("/acme/new-order", 405), ("/acme/order/1", 405), ("/acme/nowhere", 404)):
        answer = account.http("GET", path)
        told = json.loads(answer.body)
        assert (answer.status, told["type"]) == (status, acmekit.ERROR + "malformed"), answer
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_bodies_are_bounded(account):
    answer = account.send(account.kid, b"{" + b" " * (1 << 17))
    assert answer.status == 413 and json.loads(answer.body)["type"] == acmekit.ERROR + "malformed"
    account.connection = None


# --- section 7.3: accounts ----------------------------------------------------------------------------------------------------------------------


def bad_keys():
    good = jwk_of(KEYS["P-256"]())
    rsa = jwk_of(KEYS["RSA-2048"]())
    return [
        ("no object", "x"), ("no kind", {}), ("symmetric", {"kty": "oct", "k": "AAAA"}), ("another curve", {**good, "crv": "P-192"}),
        ("a coordinate short", {**good, "x": good["x"][:-4]}), ("a coordinate missing", {k: v for k, v in good.items() if k != "y"}),
        ("off the curve", {**good, "y": good["x"]}), ("a private key", {**good, "d": good["x"]}),
        ("a small RSA key", {"kty": "RSA", "e": "AQAB", "n": b64u(b"\xc1" * 128)}), ("exponent 3", {**rsa, "e": "Aw"}),
        ("a leading zero", {**rsa, "n": b64u(b"\0" + acmekit.unpad(rsa["n"]))}),
    ]


KEYROWS = bad_keys()


@pytest.mark.parametrize("row", KEYROWS, ids=[r[0] for r in KEYROWS])
def test_account_keys(stranger, row):
    """Section 6.7 badPublicKey; a "jwk" that is no object or no key never makes an account."""
    assert_problem(stranger.post(stranger.directory["newAccount"], {}, jwk=row[1]), 400, "badPublicKey", "acme-key")


def test_new_account_by_kid(account):
    answer = account.post(account.directory["newAccount"], {})
    assert_problem(answer, 400, "malformed", "acme-jws")


@pytest.mark.parametrize("contact, kind", [
    ("mailto:a@example.org", "invalidContact"), ([1], "invalidContact"), (["mailto:"], "invalidContact"),
    (["mailto:a@example.org,b@example.org"], "invalidContact"), (["mailto:a@example.org?subject=x"], "invalidContact"),
    (["mailto:a b@example.org"], "invalidContact"), (["mailto:a@b@c"], "invalidContact"), (["tel:+1234"], "unsupportedContact"),
    (["mailto:a@example.org"] * 11, "invalidContact"), (["mailto:" + "a" * 300 + "@example.org"], "invalidContact"),
])
def test_contacts(stranger, binding, contact, kind):
    """Section 7.3: mailto with one address and no header fields; other schemes are unsupportedContact."""
    url = stranger.directory["newAccount"]
    answer = stranger.post(url, {"contact": contact, "externalAccountBinding": stranger.binding(binding)})
    assert_problem(answer, 400, kind)


def test_bindings(server, stranger, binding):
    """Section 7.3.4, each of its checks; and a refused binding uses nothing up."""
    a, url = stranger, stranger.directory["newAccount"]
    wrong = {**binding, "hmac_key": b64u(b"k" * 32)}
    good = a.binding(binding)
    spoilt = {**good, "signature": good["signature"][:-2] + ("AA" if good["signature"][-2:] != "AA" else "BB")}
    revoked = server.ask("eab", "create", "--batch", "reel-1")
    server.run("eab", "revoke", revoked["kid"])
    rows = [
        (None, 403, "externalAccountRequired", "acme-eab-needed"),
        ("x", 400, "malformed", "acme-jws"),
        (a.binding(wrong), 403, "unauthorized", "acme-eab-wrong"),
        (a.binding({**binding, "kid": "nobody"}), 403, "unauthorized", "acme-eab-wrong"),
        (a.binding({**binding, "kid": "n" * 60}), 403, "unauthorized", "acme-eab-wrong"),
        (spoilt, 403, "unauthorized", "acme-eab-wrong"),
        (a.binding(binding, key=KEYS["P-256"]()), 403, "unauthorized", "acme-eab-wrong"),
        (a.binding(binding, url=url + "x"), 403, "unauthorized", "acme-url"),
        (a.binding(binding, alg="HS512"), 400, "badSignatureAlgorithm", "acme-algorithm"),
        (a.binding(binding, alg="none"), 400, "badSignatureAlgorithm", "acme-algorithm"),
        (a.binding(binding, nonce="AAAA"), 400, "malformed", "acme-jws"),
        (a.binding(binding, jwk=jwk_of(a.key), kid=None), 400, "malformed", "acme-jws"),
        (a.binding(revoked), 403, "unauthorized", "acme-eab-revoked"),
    ]
    before = next(r["used"] for r in server.ask("eab", "list", "--limit", 1000)["rows"] if r["kid"] == binding["kid"])
    for bound, status, kind, code in rows:
        answer = a.post(url, {} if bound is None else {"externalAccountBinding": bound})
        assert_problem(answer, status, kind, code)
    assert_told(server, answer)
    assert before == next(r["used"] for r in server.ask("eab", "list", "--limit", 1000)["rows"] if r["kid"] == binding["kid"])
    assert_problem(a.post(url, {"onlyReturnExisting": True}), 400, "accountDoesNotExist")


def test_other_accounts(server, account, binding):
    """What is another account's is not there: sections 7.1.2 and 10.5."""
    other = Acme(server)
    other.register(binding)
    d = device(server)
    order = account.order_device(d)
    chain, done = account.enrol(device(server))
    urls = [account.kid, account.kid + "/orders", order["url"], order["authorizations"][0], account.challenge(order)["url"],
            done["certificate"], order["url"] + "0" * 3]
    for url in urls:
        assert_problem(other.post(url, None), 404, "malformed", "acme-not-found")
    assert_problem(other.finalize(order, make_csr(KEYS["P-256"](), "x")), 404, "malformed", "acme-not-found")
    answer = other.post(other.directory["revokeCert"], {"certificate": b64u(acmekit.der(chain[0]))})
    assert_problem(answer, 403, "unauthorized", "acme-not-yours")


def test_account_updates(account):
    assert_problem(account.post(account.kid, {"status": "valid"}), 400, "malformed", "acme-payload")
    assert_problem(account.post(account.kid, {"contact": ["tel:1"]}), 400, "unsupportedContact")


def test_key_change(server, account, binding):
    """Section 7.3.5, each of its steps."""
    other = Acme(server)
    other.register(binding)
    url, new = account.directory["keyChange"], KEYS["P-256"]()

    def inner(key=new, jwk=None, **over):
        body = {"account": account.kid, "oldKey": jwk_of(account.key), **over.pop("body", {})}
        head = {"alg": "ES256", "jwk": jwk or jwk_of(key), "url": url, **over}
        return jws(key, {k: v for k, v in head.items() if v is not None}, {k: v for k, v in body.items() if v is not None})

    rows = [
        ({}, 400, "malformed", "acme-jws"),
        (inner(url=url + "x"), 400, "malformed", "acme-rollover"),
        (inner(jwk=jwk_of(KEYS["P-256"]())), 403, "unauthorized", "acme-signature"),
        (inner(kid="x", jwk=None), 400, "malformed", "acme-jws"),
        (inner(nonce="AAAA"), 400, "malformed", "acme-jws"),
        (inner(body={"account": other.kid}), 400, "malformed", "acme-rollover"),
        (inner(body={"account": None}), 400, "malformed", "acme-rollover"),
        (inner(body={"oldKey": jwk_of(new)}), 400, "malformed", "acme-rollover"),
        (inner(body={"oldKey": None}), 400, "malformed", "acme-rollover"),
        (inner(key=other.key), 409, "malformed", "acme-key-in-use"),
        (inner(key=account.key), 409, "malformed", "acme-key-in-use"),
    ]
    for payload, status, kind, code in rows:
        answer = account.post(url, payload)
        assert_problem(answer, status, kind, code)
        if code == "acme-key-in-use":
            assert "/acme/acct/" in answer.headers["Location"]
    account.ok(account.kid)


# --- section 7.4: orders -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload, kind, code", [
    ({}, "malformed", "acme-identifier-form"),
    ({"identifiers": []}, "malformed", "acme-identifier-form"),
    ({"identifiers": {}}, "malformed", "acme-identifier-form"),
    ({"identifiers": ["x"]}, "malformed", "acme-identifier-form"),
    ({"identifiers": [{"type": "permanent-identifier"}]}, "malformed", "acme-identifier-form"),
    ({"identifiers": [{"type": "permanent-identifier", "value": ""}]}, "malformed", "acme-identifier-form"),
    ({"identifiers": [{"type": "permanent-identifier", "value": "a" * 256}]}, "malformed", "acme-identifier-form"),
    ({"identifiers": [{"type": "permanent-identifier", "value": "/1.2.3"}]}, "malformed", "acme-identifier-form"),
    ({"identifiers": [{"type": "permanent-identifier", "value": "a/b"}]}, "malformed", "acme-identifier-form"),
    ({"identifiers": [{"type": "permanent-identifier", "value": "a/1.2/3"}]}, "malformed", "acme-identifier-form"),
    ({"identifiers": [{"type": "permanent-identifier", "value": "a/1.40.3"}]}, "malformed", "acme-identifier-form"),
    ({"identifiers": [{"type": "permanent-identifier", "value": "a/1.02.3"}]}, "malformed", "acme-identifier-form"),
    ({"identifiers": [{"type": "hardware-module", "value": "a"}]}, "malformed", "acme-identifier-form"),
    ({"identifiers": [{"type": "hardware-module", "value": "a/"}]}, "malformed", "acme-identifier-form"),
    ({"identifiers": [{"type": "hardware-module", "value": "/1.2.3"}]}, "malformed", "acme-identifier-form"),
    ({"identifiers": [{"type": "email", "value": "a@example.org"}]}, "unsupportedIdentifier", "acme-identifier-kind"),
    ({"identifiers": [{"type": "permanent-identifier", "value": str(i)} for i in range(3)]}, "rejectedIdentifier", "acme-identifier"),
    ({"identifiers": [{"type": "permanent-identifier", "value": "a"}], "notAfter": "2030-01-01T00:00:00Z"}, "malformed", "acme-payload"),
    ({"identifiers": [{"type": "permanent-identifier", "value": "a"}], "notBefore": "2030-01-01T00:00:00Z"}, "malformed", "acme-payload"),
    ({"identifiers": [{"type": "permanent-identifier", "value": "a"}], "profile": "nowhere"}, "invalidProfile", "acme-profile"),
    ({"identifiers": [{"type": "permanent-identifier", "value": "a"}], "profile": 1}, "invalidProfile", "acme-profile"),
    (None, "malformed", "acme-payload"),
])
def test_orders(account, payload, kind, code):
    """Section 7.4 and the draft's sections 3.1 and 4.1: what cannot be ordered, and how that is called."""
    assert_problem(account.post(account.directory["newOrder"], payload), 400, kind, code)


def test_what_an_order_may_replace(server, account, binding):
    """RFC 9773 section 5: a certificate of this account, with an identifier of the order; strangers learn nothing."""
    d, other = device(server), device(server)
    chain, _ = account.enrol(d)
    name = acmekit.cert_id(chain[0])
    akid, serial = name.split(".")
    stranger = Acme(server)
    stranger.register(binding)
    rows = [
        ("no text", account, d, 7), ("nothing", account, d, ""), ("no name", account, d, "AAAA"), ("padding", account, d, name + "="),
        ("another serial number", account, d, akid + "." + b64u(b"\x40" + b"x" * 15)), ("another key", account, d, "AAAA." + serial),
        ("another device", account, other, name), ("another account's", stranger, d, name),
    ]
    for what, who, of, replaces in rows:
        payload = {"identifiers": [{"type": "permanent-identifier", "value": of.udid}], "replaces": replaces}
        told = assert_problem(who.post(who.directory["newOrder"], payload), 400, "malformed", "acme-replaces")
        assert "replaces" in told["detail"], what
    assert account.order_device(d, replaces=name)["status"] == "pending"  # none of it was taken for a replacement


def test_fetching_takes_no_payload(server, account):
    """Section 6.3: order and certificate are fetched with an empty payload, not with an empty object."""
    _, done = account.enrol(device(server))
    for url in (done["certificate"], done["certificate"].replace("cert", "order")):
        assert_problem(account.post(url, {}), 400, "malformed", "acme-payload")


def test_finalizing(server, account):
    """Section 7.4: only a ready order; a request whose key is proven, is not the account's, and asks for nothing else."""
    key = KEYS["P-256"]()
    csr = make_csr(key, "x")
    order = account.order_device(device(server))
    assert_problem(account.finalize(order, csr), 403, "orderNotReady", "acme-order-state")
    d = device(server)
    order = account.order_device(d)
    assert account.attest(order, d).status == 200
    names = kit.x509.SubjectAlternativeName([kit.x509.DNSName("evil.example")])
    other = kit.x509.SubjectAlternativeName([kit.x509.UniformResourceIdentifier("urn:x:y")])
    spoilt = csr[:-1] + bytes([csr[-1] ^ 1])
    for body in (spoilt, csr + b"\0", csr[:-1], b"", make_csr(account.key, "x"), make_csr(key, "x", extensions=[names]),
                 make_csr(key, "x", extensions=[other])):
        assert_problem(account.finalize(order, body), 400, "badCSR", "acme-csr")
    for payload in ({}, {"csr": 1}, {"csr": b64u(csr) + "="}):
        assert_problem(account.post(order["finalize"], payload), 400, "badCSR", "acme-csr")
    assert_problem(account.post(order["finalize"], None), 400, "malformed", "acme-payload")
    assert server.state(d) == "allocated"
    assert account.finalize(order, csr).json["status"] == "valid"
    assert_problem(account.finalize(order, csr), 403, "orderNotReady", "acme-order-state")


def test_deactivated_authorizations(server, account):
    """Section 7.5.2: then the order is over."""
    order = account.order_device(d := device(server))
    url = order["authorizations"][0]
    assert_problem(account.post(url, {"status": "valid"}), 400, "malformed", "acme-payload")
    assert account.ok(url, {"status": "deactivated"}).json["status"] == "deactivated"
    assert_problem(account.post(url, {"status": "deactivated"}), 403, "orderNotReady")
    assert account.ok(order["url"]).json["status"] == "invalid"
    assert account.attest(order, d).json["status"] == "pending"  # what is over is told as it stands
    assert_problem(account.finalize(order, make_csr(KEYS["P-256"](), "x")), 403, "orderNotReady")


# --- the same rights as at every other door --------------------------------------------------------------------------------------------------------


def test_policy_and_state(server, account):
    """A device's state, batch, quota and its product's policy count here as anywhere; the order stays ready, and can go on once that is mended."""
    csr = make_csr(KEYS["P-256"](), "x")

    def refused(d, code):
        order = account.order_device(d)
        assert account.attest(order, d).status == 200
        answer = account.finalize(order, csr)
        assert_problem(answer, 403, "unauthorized", code)
        assert_told(server, answer, "acme")
        assert account.ok(order["url"]).json["status"] == "ready"
        return order

    d = device(server)
    account.enrol(d)
    server.run("device", "suspend", d.udid)
    order = refused(d, "device-suspended")
    server.run("device", "resume", d.udid)
    assert account.finalize(order, csr).json["status"] == "valid"
    refused(device(server, "closed-1"), "protocol-refused")
    account.enrol(device(server, "tight"))
    refused(device(server, "tight"), "quota-exceeded")
    retired = device(server)
    server.run("device", "retire", retired.udid)
    refused(retired, "device-retired")
    weak = device(server)
    order = account.order_device(weak)
    assert account.attest(order, weak).status == 200
    answer = account.finalize(order, make_csr(kit.ed25519.Ed25519PrivateKey.generate(), "x"))
    assert answer.status in (200, 400)  # as the certificate profile says
    if answer.status == 400:
        assert_problem(answer, 400, "badCSR", "key-algorithm")


# --- device-attest-01 --------------------------------------------------------------------------------------------------------------------------------


def spoilt_attestations(maker):
    other, stranger, ca = Device(), Device(), maker
    evil = ChipMaker("Evil Root")

    def encoded(obj):
        return lambda d, auth: cbor2.dumps(obj(d, auth) if callable(obj) else obj)

    def st(**over):
        return lambda d, auth: statement(d, auth, **over)

    def pk(**over):
        return lambda d, auth: packed(d, auth, **over)

    bad = "badAttestationStatement"
    no = "acme-attestation"
    good = lambda d, auth: cbor2.loads(statement(d, auth))  # noqa: E731
    return [
        ("signed for another challenge", lambda d, auth: statement(d, b"x" + auth), bad, no),
        ("signed for another account", lambda d, auth: statement(d, auth.split(b".")[0] + b"." + acmekit.thumbprint(other.key).encode()), bad, no),
        ("the token alone", lambda d, auth: statement(d, auth.split(b".")[0]), bad, no),
        ("its digest", lambda d, auth: statement(d, hashlib.sha256(auth).digest()), bad, no),
        ("by another key", st(key=other.key), bad, no),
        ("another device", lambda d, auth: statement(other, auth), bad, "unknown-device"),
        ("no signature", st(sig=None), bad, no),
        ("an empty signature", st(sig=b""), bad, no),
        ("a signature in DER", lambda d, auth: statement(d, auth, sig=acmekit.sign_x509(d.key, auth)), bad, no),
        ("no alg", st(alg=None), bad, no),
        ("alg of another kind", st(alg=-257), bad, no),
        ("alg as text", st(alg="ES256"), bad, no),
        ("alg unknown", st(alg=-65535), bad, no),
        ("no key", st(spki=None), bad, no),
        ("a key and a certificate", lambda d, auth: statement(d, auth, x5c=[acmekit.der(d.cert)]), bad, no),
        ("a key that is none", st(spki=b"\x30\x00"), bad, no),
        ("a certificate that is none", st(spki=None, x5c=[b"\x30\x00"]), bad, no),
        ("no certificates", st(spki=None, x5c=[]), bad, no),
        ("too many certificates", lambda d, auth: statement(d, auth, spki=None, x5c=[acmekit.der(d.cert)] * 5), bad, no),
        ("certificates as text", st(spki=None, x5c=["x"]), bad, no),
        ("a certificate of a stranger's CA", lambda d, auth: packed(d, auth, certs=[evil.birth(d)]), bad, "untrusted-birth-certificate"),
        ("an intermediate that is none", lambda d, auth: packed(d, auth, certs=[evil.birth(d), ca.cert]), bad, "bad-issuer"),
        ("a CA's certificate", lambda d, auth: packed(d, auth, certs=[kit.make_cert(d.key, kit.name_of("x"), d.key, kit.name_of("x"), ca=True)]), bad, no),
        ("packed: signature raw", lambda d, auth: packed(d, auth, sig=acmekit.sign(d.key, auth)), bad, no),
        ("packed: for another challenge", lambda d, auth: packed(d, b"x" + auth), bad, no),
        ("packed: without a certificate", pk(x5c=None), bad, no),
        ("packed: by another key", pk(key=other.key), bad, no),
        ("tpm: nothing in it", encoded({"fmt": "tpm", "attStmt": {}}), bad, no),
        ("an unknown format", encoded({"fmt": "android-key", "attStmt": {}}), bad, no),
        ("format none", encoded({"fmt": "none", "attStmt": {}}), bad, no),
        ("no format", encoded({"attStmt": {}}), bad, no),
        ("no statement", encoded({"fmt": "birthmark"}), bad, no),
        ("a statement that is no map", encoded({"fmt": "birthmark", "attStmt": []}), bad, no),
        ("no map", encoded([]), bad, no),
        ("no CBOR", lambda d, auth: b"\xff", bad, no),
        ("nothing", lambda d, auth: b"", bad, no),
        ("a byte more", lambda d, auth: statement(d, auth) + b"\0", bad, no),
        ("a byte less", lambda d, auth: statement(d, auth)[:-1], bad, no),
        ("a member twice", lambda d, auth: b"\xa3" + cbor2.dumps("fmt") + cbor2.dumps("birthmark") + statement(d, auth)[1:], bad, no),
        ("deeper than it may be", encoded(lambda d, auth: {**good(d, auth), "x": [[[[[[]]]]]]}), bad, no),
        ("too long", encoded(lambda d, auth: {**good(d, auth), "authData": b"x" * 33000}), bad, no),
        ("a stranger", lambda d, auth: statement(stranger, auth), bad, "unknown-device"),
    ]


MAKER = ChipMaker()
ATTESTATIONS = spoilt_attestations(MAKER)


@pytest.fixture(scope="module")
def trusted(server):
    server.run("org", "trust", "chips", MAKER.pem(server.folder / "maker.pem"), "--purpose", "birth")


@pytest.fixture(scope="module")
def pool(server):
    """One device for all rows: none of them may change anything about it."""
    return device(server)


@pytest.mark.parametrize("row", ATTESTATIONS, ids=[r[0] for r in ATTESTATIONS])
def test_attestations(server, account, trusted, pool, row):
    """The draft's section 5: what does not prove that this device answered this challenge for this account makes the challenge invalid, with the
    reason in it; and RFC 8555 section 7.1.6: authorization and order with it."""
    _, make, kind, code = row
    order = account.order_device(pool)
    challenge = account.challenge(order)
    told = assert_problem(account.attest(order, pool, make), 400, kind, code)
    after = account.ok(challenge["url"]).json
    assert after["status"] == "invalid" and after["error"]["code"] == told["code"]
    assert account.ok(order["authorizations"][0]).json["status"] == "invalid"
    assert account.ok(order["url"]).json["status"] == "invalid"
    assert account.attest(order, pool).json["status"] == "invalid"  # the right answer comes too late
    assert server.state(pool) == "allocated"


def test_attestation_payloads(account, pool):
    for payload in ({}, {"attObj": 1}, {"attObj": "=="}, {"error": "no TPM here"}):
        order = account.order_device(pool)
        url = account.challenge(order)["url"]
        assert_problem(account.post(url, payload), 400, "badAttestationStatement", "acme-attestation")


def test_another_devices_identifier(server, account, pool):
    """The draft's section 5, step 3: a genuine device cannot answer for another."""
    other = device(server)
    order = account.order_device(pool)
    assert_problem(account.attest(order, other), 400, "badAttestationStatement", "acme-attestation")
    order = account.order(("permanent-identifier", pool.udid.upper()))  # octet for octet
    assert_problem(account.attest(order, pool), 400, "badAttestationStatement", "acme-attestation")
    order = account.order(("permanent-identifier", pool.udid), ("permanent-identifier", other.udid))
    assert account.attest(order, pool, i=0).status == 200
    assert_problem(account.attest(order, other, i=1), 400, "badAttestationStatement", "acme-attestation")


def test_a_revoked_certificate_attests_nothing(server, account):
    """An LDevID that is revoked shows nobody any more."""
    d, key = device(server), KEYS["P-256"]()
    chain, _ = account.enrol(d, key)
    account.ok(account.directory["revokeCert"], {"certificate": b64u(acmekit.der(chain[0]))})
    order = account.order_device(d)
    answer = account.attest(order, d, lambda dev, auth: statement(dev, auth, key=key, certs=chain[:1]))
    if answer.status == 200:
        answer = account.finalize(order, make_csr(KEYS["P-256"](), "x"))
    assert_problem(answer, 403, "unauthorized", "credential-revoked")


# --- section 7.6 and RFC 9773 ----------------------------------------------------------------------------------------------------------------------


def test_revocation(server, account):
    """Section 7.6: a right to it, a reason that is one, a certificate of ours."""
    url = account.directory["revokeCert"]
    chain, _ = account.enrol(device(server))
    der = b64u(acmekit.der(chain[0]))
    for reason in (2, 6, 7, 8, 10, 11, -1, "1", 1.5, None):
        assert_problem(account.post(url, {"certificate": der, "reason": reason}), 400, "badRevocationReason", "acme-reason")
    for payload in ({}, {"certificate": 1}, {"certificate": der + "="}, {"certificate": "AAAA"}):
        assert_problem(account.post(url, payload), 400, "malformed", "acme-payload")
    assert_problem(account.post(url, {"certificate": b64u(acmekit.der(Device().cert))}), 404, "malformed", "acme-not-found")
    assert_problem(account.post(url, {"certificate": b64u(acmekit.der(chain[1]))}), 404, "malformed", "acme-not-found")
    stranger = Acme(server)
    assert_problem(stranger.post(url, {"certificate": der}), 403, "unauthorized", "acme-not-yours")
    assert server.ask("cert", "show", f"{chain[0].serial_number:032x}")["state"] == "active"


@pytest.mark.parametrize("name", ["x", ".", "AA.", ".AA", "AA.AA.AA", "AA.A=", "A" * 40 + "." + "A" * 22])
def test_renewal_information(account, name):
    answer = account.http("GET", "/acme/renewal-info/" + name)
    assert answer.status in (400, 404) and json.loads(answer.body)["type"] == acmekit.ERROR + "malformed"


def test_rate_limits(server, binding):
    """Orders of one account are bounded, and who has too many is told when to come again, and where he can read why."""
    a = Acme(server)
    a.register(binding)
    payload = {"identifiers": [{"type": "permanent-identifier", "value": "x"}]}
    for _ in range(300):
        answer = a.post(a.directory["newOrder"], payload)
        assert answer.status == 201 and links(answer, "help") == []
    answer = a.post(a.directory["newOrder"], payload)
    assert_problem(answer, 429, "rateLimited", "acme-orders")
    assert int(answer.headers["Retry-After"]) > 0
    assert links(answer, "help") == ["https://docs.example.org/limits"]
