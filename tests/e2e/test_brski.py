"""BRSKI (RFC 8995) with a pledge and registrars of our own making in other languages' libraries (brski.py), vouchers checked by openssl."""

import base64
import json
import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import pkcs7

import kit
from brski import BRSKI, JWS_TYPE, TYPE, Pledge, Registrar, b64, der, idevid, now, open_jws, open_voucher, run, sign, sign_jws
from kit import DER, ChipMaker, Device, assert_refused, assert_told, call, certs_of_pkcs7, make_csr

HERE = "masa.example:8443"


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish()
    for org in ("netco", "other"):
        s.run("org", "create", org, "--role", "oem")
    s.run("product", "create", "open", "--org", "oem", "--services", "telemetry", "--voucher-logged", "yes")
    s.run("batch", "create", "open-1", "--product", "open", "--quota", 100)
    s.run("product", "create", "offline", "--org", "netco", "--services", "telemetry", "--voucher-nonceless", "yes", "--voucher-life", "2h")
    s.run("batch", "create", "offline-1", "--product", "offline", "--quota", 100)
    s.run("product", "create", "est-only", "--org", "oem", "--services", "telemetry", "--protocols", "est")
    s.run("batch", "create", "est-only-1", "--product", "est-only", "--quota", 100)
    s.run("product", "create", "net", "--org", "netco", "--services", "telemetry")
    s.run("batch", "create", "net-1", "--product", "net", "--quota", 100)
    s.run("ca", "create", "masa", "--parent", "root", "--profile", "masa-ca")
    s.run("voucher", "masa", "masa", "--url", HERE)
    s.start()
    return s


@pytest.fixture(scope="module")
def anchor(server):
    """What a maker burns into devices: the MASA's CA, and nothing above it."""
    path = server.folder / "masa.pem"
    server.run("ca", "export", "masa", "--out", path, "--quiet")
    return path


@pytest.fixture(scope="module")
def maker(server):
    m = ChipMaker()
    server.run("org", "trust", "chips", m.pem(server.folder / "maker.pem"), "--purpose", "birth")
    return m


@pytest.fixture(scope="module")
def netco(server):
    """A registrar elsewhere, whose network is known to be netco's."""
    r = Registrar("Netco")
    server.run("org", "trust", "netco", r.pem(server.folder / "netco.pem"), "--purpose", "registrar")
    return r


@pytest.fixture(scope="module")
def ship(server, maker, anchor):
    """ship(): a device with an IDevID, listed in its maker's manifest."""
    count = iter(range(1000))

    def one(folder, batch="reel-1", url=None, birth=True):
        d, n = Device(), next(count)
        serial = f"SN-{n:05d}"
        cert = idevid(maker, d, serial, url)
        d.birth = cert if birth else None
        server.register(d, name=f"m-{n}", batch=batch)
        return Pledge(server, d, cert, serial, anchor, folder)

    return one


# --- the whole way -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [BRSKI, "/.well-known/est/"])
def test_from_the_box_to_a_certificate(server, ship, tmp_path, path):
    """Voucher, status, CA certificates, CSR attributes, enrolment on one connection; then the new certificate on another (RFC 8995
    section 2.1). If this breaks, no factory-fresh device gets in."""
    p = ship(tmp_path, url=HERE).connect()
    answer = p.ask(path=path + "requestvoucher")
    assert answer.status == 200 and answer.headers["Content-Type"] == TYPE, answer
    leaves = p.check(answer.body)
    assert leaves["assertion"] == "verified" and "expires-on" not in leaves
    root = x509.load_pem_x509_certificate(server.anchors().read_bytes())
    assert base64.b64decode(leaves["pinned-domain-cert"]) == der(root)
    assert p.tell("voucher_status", {"version": "1", "status": True, "reason": "", "reason-context": {"a": 1}}).status == 200
    p.http.request("GET", kit.EST + "cacerts")
    assert root in certs_of_pkcs7(p.http.getresponse().read())
    p.http.request("GET", kit.EST + "csrattrs")
    assert p.http.getresponse().read()
    key = kit.KEYS["P-256"]()
    answer = p.post(kit.EST + "simpleenroll", base64.b64encode(make_csr(key)), {"Content-Type": "application/pkcs10"})
    assert answer.status == 200, answer
    (ldevid,) = certs_of_pkcs7(answer.body)
    p.connect(ldevid, key, anchors=server.anchors())
    assert p.tell("enrollstatus", {"version": 1, "status": True, "later": 7}).status == 200
    (row,) = server.ask("voucher", "list", "--udid", p.device.udid)["rows"]
    assert (row["told"], row["enrolled"], row["serial_number"], row["org"]) == ("accepted", "accepted", p.serial, "oem")
    assert server.state(p.device) == "active"
    assert "voucher.issued" in server.run("why", p.device.udid).stdout


def test_a_request_made_by_a_library(server, ship, tmp_path):
    """cryptography's own CMS writer: id-data, signing time, S/MIME capabilities."""
    p = ship(tmp_path).connect()
    body = (pkcs7.PKCS7SignatureBuilder().set_data(json.dumps({"ietf-voucher-request:voucher": p.leaves()}).encode())
            .add_signer(p.cert, p.device.key, hashes.SHA256()).sign(DER, [pkcs7.PKCS7Options.Binary]))
    answer = p.ask(body)
    assert answer.status == 200, answer
    p.check(answer.body)


def test_a_request_made_by_openssl(server, ship, tmp_path):
    p = ship(tmp_path).connect()
    (tmp_path / "in.json").write_text(json.dumps({"ietf-voucher-request:voucher": p.leaves()}))
    cert, key = p.device.files(tmp_path, p.cert)
    run("openssl", "cms", "-sign", "-nodetach", "-binary", "-in", tmp_path / "in.json", "-signer", cert, "-inkey", key, "-outform", "DER",
        "-out", tmp_path / "out.cms")
    answer = p.ask((tmp_path / "out.cms").read_bytes())
    assert answer.status == 200, answer
    p.check(answer.body)


def test_the_serial_number_from_the_chain_alone(server, ship, tmp_path):
    """The manifest does not hold the IDevID; its issuer is a trusted chip maker's, and that is enough to say what the device is called."""
    p = ship(tmp_path, birth=False).connect()
    answer = p.ask()
    assert answer.status == 200, answer
    p.check(answer.body)


def test_a_refused_voucher_is_written_down(server, ship, tmp_path):
    p = ship(tmp_path).connect()
    assert p.ask().status == 200
    assert p.tell("voucher_status", {"version": 1, "status": False, "reason": "no \u0007 trust"}).status == 200
    assert p.tell("voucher_status", {"version": 1, "status": True}).status == 200  # what comes again changes nothing
    (row,) = server.ask("voucher", "list", "--udid", p.device.udid)["rows"]
    assert row["told"] == "refused" and row["reason"] == "no \\x07 trust"
    assert "refuses its voucher" in server.tail(20)


# --- what the registrar checks -----------------------------------------------------------------------------------------------------------


def changed(**leaves):
    def make(p):
        all_leaves = p.leaves(**leaves)
        return p.request({k: v for k, v in all_leaves.items() if v is not None})
    return make


def other_server(p):
    key = kit.KEYS["P-256"]()
    name = kit.name_of("127.0.0.1")
    return p.request(p.leaves(**{"proximity-registrar-cert": b64(der(kit.make_cert(key, name, key, name)))}))


def signed_by_another(p):
    thief = Device()
    return p.request(key=thief.key, cert=idevid(ChipMaker(), thief, p.serial))


def claims_anothers_name(p):
    return p.request(cert=kit.make_cert(p.device.key, p.cert.subject, p.device.key, p.cert.subject))


def flip(body, at):
    at %= len(body)
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]


def spoiled_content(p):
    body = p.request()
    return flip(body, body.index(p.nonce.encode()))


REGISTRAR = [
    ("no nonce: section 5.2", changed(nonce=None), 400, "voucher-incomplete"),
    ("no assertion: section 5.2", changed(assertion=None), 400, "voucher-incomplete"),
    ("another assertion: section 5.2", changed(assertion="logged"), 400, "voucher-incomplete"),
    ("no certificate of the server: section 5.2", changed(**{"proximity-registrar-cert": None}), 400, "voucher-incomplete"),
    ("another server: section 5.2", other_server, 401, "proximity-elsewhere"),
    ("another serial number: section 5.5", changed(**{"serial-number": "SN-99999"}), 403, "voucher-serial"),
    ("no serial number", changed(**{"serial-number": None}), 400, None),
    ("signed by another IDevID: section 5.2", signed_by_another, 403, "voucher-signer"),
    ("signed by a certificate of one's own", claims_anothers_name, 403, "voucher-signer"),
    ("content changed after signing", spoiled_content, 403, "bad-signature"),
    ("signature changed", lambda p: flip(p.request(), -1), 403, "bad-signature"),
    ("no certificate in it", lambda p: p.request(spoil=lambda d: d.__setitem__("certificates", [])), 403, "cms-no-signer"),
    ("two signers", lambda p: p.request(spoil=lambda d: d["signer_infos"].append(d["signer_infos"][0])), 400, None),
    ("no signed attributes", lambda p: p.request(attributes=False), 400, None),
    ("digest of SHA-1", lambda p: p.request(digest="sha1"), 400, None),
    ("another content type", lambda p: p.request(content_type="1.2.840.113549.1.9.16.1.4"), 400, None),
    ("a byte left over", lambda p: p.request() + b"\0", 400, None),
    ("cut short", lambda p: p.request()[:-1], 400, None),
    ("empty", lambda p: b"", 400, None),
    ("no CMS", lambda p: b"{}", 400, None),
    ("no JSON in it", lambda p: sign(b"{", p.device.key, [p.cert]), 400, None),
    ("a voucher, not a request", lambda p: sign({"ietf-voucher:voucher": {
        "created-on": now(), "assertion": "logged", "serial-number": p.serial, "pinned-domain-cert": b64(p.seen)}}, p.device.key, [p.cert]),
     400, "voucher-request-wanted"),
    ("a leaf that the model does not have", changed(colour="red"), 400, None),
    ("a nonce of 7 bytes", changed(nonce=b64(os.urandom(7))), 400, None),
    ("a nonce of 33 bytes", changed(nonce=b64(os.urandom(33))), 400, None),
    ("no date", changed(**{"created-on": "yesterday"}), 400, None),
    ("an assertion that there is not", changed(assertion="sworn"), 400, None),
]


@pytest.fixture(scope="module")
def pledge(ship, server):
    return ship(server.folder)


@pytest.mark.parametrize("make, status, code", [row[1:] for row in REGISTRAR], ids=[row[0] for row in REGISTRAR])
def test_what_the_registrar_refuses(server, pledge, make, status, code):
    pledge.connect()
    answer = pledge.ask(make(pledge))
    assert answer.status == status and (code is None or answer.code == code), answer
    assert answer.headers["Content-Type"] == "text/plain"  # section 5.6: plain text for people
    if code is not None:
        assert_refused(server, answer, status, code)
        assert_told(server, answer)


@pytest.mark.parametrize("headers, status", [
    ({"Content-Type": "application/json"}, 415),
    ({"Content-Type": "application/pkcs7-mime"}, 415),
    ({"Accept": "application/voucher-jws+json"}, 200),
    ({"Content-Type": JWS_TYPE}, 400),
    ({"Accept": "text/html, application/voucher-cose+cbor;q=0.5"}, 406),
    ({"Accept": "text/html"}, 415),
    ({"Accept": "text/html, application/voucher-cms+json;q=0.1"}, 200),
    ({"Accept": "*/*"}, 200),
], ids=str)
def test_media_types(ship, tmp_path, headers, status):
    """Section 5.6: 415 for what is not understood, 406 for a kind of voucher that cannot be had."""
    p = ship(tmp_path).connect()
    assert p.ask(**headers).status == status


def test_who_is_between_loses_the_connection(server, pledge):
    """Section 5.2: "the connection MUST be closed after returning an HTTP 401"."""
    pledge.connect()
    answer = pledge.ask(other_server(pledge))
    assert answer.status == 401 and answer.headers["Connection"] == "close"


def test_strangers(server, maker, anchor, tmp_path):
    """A device that the registry does not know: 404 (section 5.3). Nobody in particular: 401."""
    d = Device()
    p = Pledge(server, d, idevid(maker, d, "SN-X"), "SN-X", anchor, tmp_path).connect()
    assert_refused(server, p.ask(), 404, "unknown-device")
    answer = call(server, "POST", BRSKI + "requestvoucher", p.request(), {"Content-Type": TYPE})
    assert_refused(server, answer, 401, "no-evidence")
    assert call(server, "POST", BRSKI + "voucher_status", b"{}", {"Content-Type": "application/json"}).status == 401
    assert call(server, "GET", BRSKI + "requestvoucher").status == 405
    assert p.tell("voucher_status", {"version": 1, "status": True}).status == 404


def test_an_ldevid_is_no_idevid(server, ship, tmp_path):
    p = ship(tmp_path).connect()
    key = kit.KEYS["P-256"]()
    answer = p.post(kit.EST + "simpleenroll", base64.b64encode(make_csr(key)), {"Content-Type": "application/pkcs10"})
    (ldevid,) = certs_of_pkcs7(answer.body)
    p.connect(ldevid, key)
    assert_refused(server, p.ask(p.request(key=key, cert=ldevid)), 403, "idevid-needed")


@pytest.mark.parametrize("act, status, code", [("suspend", 403, "voucher-state"), ("retire", 403, "voucher-state"),
                                               ("compromise", 403, "voucher-state")])
def test_states(server, ship, tmp_path, act, status, code):
    p = ship(tmp_path).connect()
    answer = p.post(kit.EST + "simpleenroll", base64.b64encode(make_csr(kit.KEYS["P-256"]())), {"Content-Type": "application/pkcs10"})
    assert answer.status == 200, answer
    server.run("device", act, p.device.udid)
    assert_refused(server, p.connect().ask(), status, code)


def test_not_allocated(server, ship, tmp_path):
    assert_refused(server, ship(tmp_path, batch=None).connect().ask(), 403, "voucher-state")


def test_a_product_that_takes_no_brski(server, ship, tmp_path):
    assert_refused(server, ship(tmp_path, batch="est-only-1").connect().ask(), 403, "protocol-refused")


@pytest.mark.parametrize("body, status", [
    (b"{", 400), (b"[]", 400), (b"{}", 400), (b'{"version":1}', 400), (b'{"version":1,"status":"true"}', 400),
    (b'{"version":1,"status":true,"reason":7}', 400), (b'{"version":1,"status":true,"status":false}', 400), (b"x" * 5000, 413),
])
def test_telemetry_that_is_none(pledge, body, status):
    pledge.connect()
    assert pledge.post(BRSKI + "voucher_status", body, {"Content-Type": "application/json"}).status == status
    pledge.connect()
    assert pledge.post(BRSKI + "enrollstatus", body, {"Content-Type": "application/json"}).status == status


# --- what the MASA checks ------------------------------------------------------------------------------------------------------------------


def masa(server, body, what="requestvoucher", **headers):
    return call(server, "POST", BRSKI + what, body, {"Content-Type": TYPE, **headers})


@pytest.fixture
def met(server, ship, netco, tmp_path):
    """met(): a device of netco's that has signed for netco's server, as netco's registrar has received it."""

    def one(batch="net-1", registrar=netco):
        p = ship(tmp_path, batch=batch)
        p.seen = der(registrar.tls)
        return p, p.request()

    return one


def test_a_registrar_elsewhere(server, met, netco, tmp_path):
    """Owner and network fit: verified, pinned to the topmost certificate that the registrar has sent (section 5.5.2)."""
    p, prior = met()
    answer = masa(server, netco.request(p.serial, p.nonce, prior))
    assert answer.status == 200, answer
    leaves = open_voucher(answer.body, p.anchor, tmp_path)
    assert (leaves["assertion"], leaves["nonce"], leaves["serial-number"]) == ("verified", p.nonce, p.serial)
    assert base64.b64decode(leaves["pinned-domain-cert"]) == der(netco.ca)
    ee = masa(server, netco.request(p.serial, p.nonce, p.request(p.leaves(**{"proximity-registrar-cert": b64(der(netco.ra))})), certs=[netco.ra]))
    assert ee.status == 200, ee  # its certificate alone, which is also its TLS server's: the tightest pin
    assert base64.b64decode(open_voucher(ee.body, p.anchor, tmp_path)["pinned-domain-cert"]) == der(netco.ra)


def test_nothing_above_what_is_trusted_is_pinned(server, ship, tmp_path):
    """The network's CA is a public one's customer, and the registrar sends the whole chain. Pinned to the top, the voucher would be good for
    everybody whom that CA certifies (section 5.5)."""
    r, public = Registrar("Customer"), Registrar("Public")
    r.ca = kit.make_cert(r.key, r.name, public.key, public.name, ca=True)
    server.run("org", "create", "customer", "--role", "oem")
    server.run("org", "trust", "customer", r.pem(tmp_path / "customer.pem"), "--purpose", "registrar")
    p = ship(tmp_path)
    server.run("device", "transfer", p.device.udid, "customer", "--force")
    p.seen = der(r.tls)
    answer = masa(server, r.request(p.serial, p.nonce, p.request(), certs=[r.ra, public.ca, r.ca, r.tls]))
    assert answer.status == 200, answer
    assert base64.b64decode(open_voucher(answer.body, p.anchor, tmp_path)["pinned-domain-cert"]) == der(r.ca)


def no_ra(p, prior, r):
    other = Registrar("Netco", eku=())
    return other.request(p.serial, p.nonce, prior)


def stale(p, prior, r):
    return r.request(p.serial, p.nonce, prior, **{"created-on": now(-7200)})


def in_the_future(p, prior, r):
    return r.request(p.serial, p.nonce, prior, **{"created-on": now(7200)})


def other_nonce(p, prior, r):
    return r.request(p.serial, b64(os.urandom(16)), prior)


def other_serial(p, prior, r):
    return r.request("SN-00000", p.nonce, prior)


def met_another(p, prior, r):
    p.seen = der(Registrar("Else").tls)
    return r.request(p.serial, p.nonce, p.request())


def smuggled(p, prior, r):
    """The certificate that the device has really seen, put beside the thief's: it is not covered by any signature."""
    theirs = Registrar("Else")
    p.seen = der(theirs.tls)
    return r.request(p.serial, p.nonce, p.request(), certs=[r.ra, r.ca, theirs.tls, theirs.ca])


def not_proximity(p, prior, r):
    return r.request(p.serial, p.nonce, p.request(p.leaves(assertion="logged")))


def both(p, prior, r):
    return r.request(p.serial, p.nonce, prior, **{"proximity-registrar-cert": b64(der(r.tls))})


def prior_forged(p, prior, r):
    return r.request(p.serial, p.nonce, flip(prior, -1))


def prior_of_a_stranger(p, prior, r):
    d = Device()
    cert = idevid(ChipMaker(), d, p.serial)
    return r.request(p.serial, p.nonce, p.request(key=d.key, cert=cert))


def prior_twice(p, prior, r):
    return r.request(p.serial, p.nonce, r.request(p.serial, p.nonce, prior))


def expired(p, prior, r):
    other = Registrar("Netco", days=(-20, -1))
    return other.request(p.serial, p.nonce, prior)


def another_network(p, prior, r):
    other = Registrar("Else")
    p.seen = der(other.tls)
    return other.request(p.serial, p.nonce, p.request())


MASA = [
    ("the signer is no registrar: section 5.5.4", no_ra, 403, "registrar-not-ra"),
    ("an old request: section 5.6", stale, 403, "voucher-request-stale"),
    ("a request from the future", in_the_future, 403, "voucher-request-stale"),
    ("another nonce than the device's: section 5.5.6", other_nonce, 403, "voucher-nonce"),
    ("another serial number than the device's: section 5.5.5", other_serial, 403, "voucher-serial"),
    ("the device has met another: section 5.5.5", met_another, 403, "proximity-mismatch"),
    ("the device's registrar smuggled in", smuggled, 403, "proximity-mismatch"),
    ("the device claims no proximity", not_proximity, 403, "proximity-mismatch"),
    ("a registrar with proximity of its own: section 5.5", both, 400, None),
    ("the device's signature is broken", prior_forged, 403, "bad-signature"),
    ("a device that is not known: section 5.6", prior_of_a_stranger, 404, "masa-unknown-device"),
    ("a registrar's request inside", prior_twice, 400, "voucher-request-wanted"),
    ("the registrar's certificate has expired", expired, 403, "expired"),
    ("a network of nobody known", another_network, 403, "voucher-not-owner"),
]


@pytest.mark.parametrize("make, status, code", [row[1:] for row in MASA], ids=[row[0] for row in MASA])
def test_what_the_masa_refuses(server, met, netco, make, status, code):
    p, prior = met()
    answer = masa(server, make(p, prior, netco))
    assert answer.status == status and (code is None or answer.code == code), answer
    assert server.ask("voucher", "list", "--udid", p.device.udid)["rows"] == []


def test_a_device_cannot_call_itself_by_anothers_name(server, ship, netco, maker, tmp_path):
    """It is genuine, and has made itself a certificate with its neighbour's serial number. A voucher for that would open the neighbour."""
    victim, evil = ship(tmp_path, batch="net-1"), ship(tmp_path, batch="net-1")
    for cert in (kit.make_cert(evil.device.key, victim.cert.subject, evil.device.key, victim.cert.subject),
                 idevid(ChipMaker("Nobody"), evil.device, victim.serial), idevid(maker, evil.device, victim.serial)):
        evil.seen, evil.serial, evil.nonce = der(netco.tls), victim.serial, victim.nonce
        answer = masa(server, netco.request(victim.serial, victim.nonce, evil.request(cert=cert)))
        assert_refused(server, answer, 403, "voucher-serial")
    unlisted = ship(tmp_path, batch="net-1", birth=False)
    cert = kit.make_cert(unlisted.device.key, victim.cert.subject, unlisted.device.key, victim.cert.subject)
    unlisted.seen, unlisted.serial = der(netco.tls), victim.serial
    answer = masa(server, netco.request(victim.serial, unlisted.nonce, unlisted.request(cert=cert)))
    assert_refused(server, answer, 403, "voucher-serial")


def test_only_the_owner_of_today(server, met, netco, tmp_path):
    """A transfer moves the right to a voucher at once; the one who had it can still read the log (section 5.8)."""
    p, prior = met()
    assert masa(server, netco.request(p.serial, p.nonce, prior)).status == 200
    server.run("device", "transfer", p.device.udid, "other", "--force")
    assert_refused(server, masa(server, netco.request(p.serial, p.nonce, prior)), 403, "voucher-not-owner")
    assert masa(server, netco.request(p.serial, p.nonce, prior), "requestauditlog").status == 200
    answer = p.connect().ask()  # the network here is that of organisations that have named no other, and so of the new owner
    assert answer.status == 200, answer


def test_an_owner_with_a_network_of_its_own_is_not_served_by_ours(server, ship, netco, tmp_path):
    assert_refused(server, ship(tmp_path, batch="net-1").connect().ask(), 403, "voucher-not-owner")


def test_logged_when_the_product_allows_it(server, met, tmp_path):
    """A network of nobody known: with the device's own word it is proximity, without it logged (section 5.5.5)."""
    anybody = Registrar("Anybody")
    p, prior = met("open-1", anybody)
    answer = masa(server, anybody.request(p.serial, p.nonce, prior))
    assert answer.status == 200 and open_voucher(answer.body, p.anchor, tmp_path)["assertion"] == "proximity", answer
    answer = masa(server, anybody.request(p.serial, p.nonce))
    assert answer.status == 200 and open_voucher(answer.body, p.anchor, tmp_path)["assertion"] == "logged", answer
    assert_refused(server, masa(server, anybody.request(p.serial)), 403, "voucher-nonceless")
    assert [r["org"] for r in server.ask("voucher", "list", "--udid", p.device.udid)["rows"]] == [None, None]


def test_without_a_nonce(server, met, netco, tmp_path):
    """Only with the product's leave and for a network that is known, and then with an end (sections 5.5.4 and 5.6)."""
    p, prior = met()
    assert_refused(server, masa(server, netco.request(p.device.udid)), 403, "voucher-serial")  # its name is another, on record
    p, prior = met("offline-1")
    assert_refused(server, masa(server, netco.request(p.serial)), 404, "masa-unknown-device")
    assert masa(server, netco.request(p.serial, p.nonce, prior)).status == 200
    answer = masa(server, netco.request(p.serial))
    leaves = open_voucher(answer.body, p.anchor, tmp_path)
    assert "nonce" not in leaves and now(7100) < leaves["expires-on"] < now(7300)


def test_audit_log(server, met, netco, tmp_path):
    """Section 5.8: to the network of the owner, and to those who were given a voucher; for others there is no such device (404)."""
    p, prior = met()
    request = netco.request(p.serial, p.nonce, prior)
    assert json.loads(masa(server, request, "requestauditlog").body)["events"] == []
    assert masa(server, request).status == 200
    answer = masa(server, request, "requestauditlog")
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/json"
    log = json.loads(answer.body)
    skid = netco.ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert log["version"] == 1 and log["truncation"]["arbitrary"] == 0
    (event,) = log["events"]
    assert (event["nonce"], event["assertion"], event["domainID"]) == (p.nonce, "verified", b64(skid)) and event["date"] <= now()
    other = Registrar("Else")
    p.seen = der(other.tls)
    answer = masa(server, other.request(p.serial, p.nonce, p.request()), "requestauditlog")
    assert_refused(server, answer, 404, "masa-unknown-device")
    assert masa(server, b"\x30\x00", "requestauditlog").status == 400
    assert masa(server, no_ra(p, prior, netco), "requestauditlog").status == 403


# --- by hand -------------------------------------------------------------------------------------------------------------------------------


def test_offline(server, ship, anchor, netco, tmp_path):
    p, out = ship(tmp_path, batch="net-1"), tmp_path / "offline.cms"
    server.run("voucher", "issue", p.device.udid, want=1)  # this registry's network is not netco's
    shown = server.ask("voucher", "issue", p.device.udid, "--cert", server.folder / "netco.pem", "--valid", "3d", "--out", out)
    leaves = open_voucher(out.read_bytes(), anchor, tmp_path)
    assert base64.b64decode(leaves["pinned-domain-cert"]) == der(netco.ca)
    assert (leaves["serial-number"], leaves["expires-on"], leaves["assertion"]) == (p.serial, shown["expires_at"], "verified")
    assert server.ask("voucher", "show", shown["number"])["udid"] == p.device.udid


def test_the_masa_needs_a_ca_of_its_own(server):
    """What devices trust for vouchers must not issue anything else: a device's certificate could sign vouchers then."""
    for ca in ("root", "issuing"):
        assert "masa-ca-shared" in server.run("voucher", "masa", ca, want=4).stderr


def test_no_masa_no_voucher(new_server, tmp_path):
    s = new_server()
    s.init()
    s.furnish()
    m, d = ChipMaker(), Device()
    s.run("org", "trust", "chips", m.pem(tmp_path / "maker.pem"), "--purpose", "birth")
    d.birth = cert = idevid(m, d, "SN-1")
    s.register(d)
    s.start()
    p = Pledge(s, d, cert, "SN-1", None, tmp_path).connect()
    assert_refused(s, p.ask(), 403, "no-masa")


# --- a maker and an owner that are two ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(shared_servers, birthmark):
    """two(): the maker's server and the owner's. The maker knows who bought the device; the owner's registrar asks the maker's MASA, by the URL in
    the IDevID, over TLS under an anchor that was pinned for it."""
    makers, owners = shared_servers(), shared_servers()
    m = ChipMaker()
    for s in (makers, owners):
        s.init()
        s.furnish()
        s.run("org", "trust", "chips", m.pem(s.folder / "maker.pem"), "--purpose", "birth")
    makers.run("org", "create", "buyer", "--role", "oem")
    makers.run("org", "trust", "buyer", owners.anchors(), "--purpose", "registrar")
    makers.run("ca", "create", "masa", "--parent", "root", "--profile", "masa-ca")
    makers.run("voucher", "masa", "masa", "--url", f"127.0.0.1:{makers.port}")
    owners.run("org", "trust", "chips", makers.anchors(), "--purpose", "masa")
    (owners.data / "birthmark.conf").write_text("validation_networks = 127.0.0.0/8\n")
    for s in (makers, owners):
        s.start()
    anchor = makers.folder / "masa.pem"
    makers.run("ca", "export", "masa", "--out", anchor, "--quiet")
    count = iter(range(100))

    def one(folder, url=None, sold=True):
        d, n = Device(), next(count)
        serial = f"TWO-{n:04d}"
        d.birth = cert = idevid(m, d, serial, url or f"127.0.0.1:{makers.port}")
        for s in (makers, owners):
            s.register(d, name=f"m-{n}")
        if sold:
            makers.run("device", "transfer", d.udid, "buyer", "--force")
        return Pledge(owners, d, cert, serial, anchor, folder).connect()

    one.makers, one.owners, one.maker = makers, owners, m
    return one


def come_again(p, body, path=BRSKI + "requestvoucher"):
    """As section 5.6 has it: the same request, after a while, for as long as the answer is 202."""
    answers = []

    def done():
        answers.append(p.connect().ask(body, path))
        return answers[-1].status != 202

    p_seen = p.seen
    kit.wait_for("the MASA's answer", done)
    assert p.seen == p_seen
    return answers


def test_a_maker_elsewhere(two, tmp_path):
    """The whole way between two registries: 202 while the maker is asked, then the maker's voucher, and enrolment at the owner's."""
    p = two(tmp_path)
    body = p.request()
    answers = come_again(p, body)
    assert answers[0].status == 202 and 0 < int(answers[0].headers["Retry-After"]) <= 60, answers
    assert answers[-1].status == 200, answers[-1]
    leaves = p.check(answers[-1].body)
    root = x509.load_pem_x509_certificate(two.owners.anchors().read_bytes())
    assert leaves["assertion"] == "verified" and base64.b64decode(leaves["pinned-domain-cert"]) == der(root)
    assert p.ask(body).body == answers[-1].body  # asked once, answered as often as it takes
    assert p.tell("voucher_status", {"version": 1, "status": True}).status == 200
    answer = p.post(kit.EST + "simpleenroll", base64.b64encode(make_csr(kit.KEYS["P-256"]())), {"Content-Type": "application/pkcs10"})
    assert answer.status == 200, answer
    assert [r["told"] for r in two.owners.ask("voucher", "list", "--udid", p.device.udid)["rows"]] == ["accepted"]
    assert [r["org"] for r in two.makers.ask("voucher", "list", "--udid", p.device.udid)["rows"]] == ["buyer"]


def test_a_maker_elsewhere_says_no(two, tmp_path):
    """The device was never sold to this owner; the maker's word reaches the device."""
    p = two(tmp_path, sold=False)
    answer = come_again(p, p.request())[-1]
    assert_refused(two.owners, answer, 403, "masa-refused")
    assert "voucher-not-owner" in answer.text or "registrar-unknown" in answer.text


def test_a_maker_that_nobody_trusts_is_not_asked(two, tmp_path):
    """A device that signs its own IDevID could send the server anywhere."""
    p = two(tmp_path)
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.32"), b"\x16\x09evil.test")
    p.cert = kit.make_cert(p.device.key, p.cert.subject, p.device.key, p.cert.subject, extensions=[(extension, False)])
    assert_refused(two.owners, p.connect().ask(), 403, "masa-untrusted")


def test_a_maker_that_is_not_there(two, tmp_path):
    p = two(tmp_path, url=f"127.0.0.1:{kit.free_port()}")
    answer = p.ask()
    assert answer.status == 202, answer


# --- vouchers as JWS ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent, accept, got", [(JWS_TYPE, JWS_TYPE, JWS_TYPE), (JWS_TYPE, "*/*", JWS_TYPE), (JWS_TYPE, TYPE, TYPE),
                                               (TYPE, f"{JWS_TYPE}, {TYPE}", JWS_TYPE), (TYPE, f"text/html, {TYPE}, {JWS_TYPE}", TYPE)])
def test_jws(server, ship, tmp_path, sent, accept, got):
    """A device asks in one form and says which one it wants; jwcrypto made the one and checks the other."""
    p = ship(tmp_path).connect()
    answer = p.ask(p.request_jws() if sent == JWS_TYPE else p.request(), **{"Content-Type": sent, "Accept": accept})
    assert answer.status == 200 and answer.headers["Content-Type"] == got, answer
    assert (answer.body[:1] == b"{") == (got == JWS_TYPE)
    assert p.check(answer.body)["assertion"] == "verified"


def unsigned(whole):
    whole["signatures"] = []


def twice(whole):
    whole["signatures"] *= 2


def flattened(whole):
    whole.update(whole.pop("signatures")[0])


def other_payload(p):
    def spoil(whole):
        whole["payload"] = kit.b64u(json.dumps({"ietf-voucher-request:voucher": p.leaves(**{"serial-number": "SN-99999"})}).encode())
    return spoil


def no_header(whole):
    del whole["signatures"][0]["protected"]


JWS_ROWS = {
    "no signature": (lambda p: p.request_jws(spoil=unsigned), 400, None),
    "two signatures": (lambda p: p.request_jws(spoil=twice), 400, None),
    "flattened": (lambda p: p.request_jws(spoil=flattened), 400, None),
    "no protected header": (lambda p: p.request_jws(spoil=no_header), 400, None),
    "no certificates": (lambda p: p.request_jws(drop=("x5c",)), 400, None),
    "certificates that are none": (lambda p: p.request_jws(x5c=["AAAA"]), 400, None),
    "nine certificates": (lambda p: p.request_jws(x5c=[b64(der(p.cert))] * 9), 400, None),
    "crit": (lambda p: p.request_jws(crit=["b64"], b64=True), 400, None),
    "another type": (lambda p: p.request_jws(typ="JWT"), 400, None),
    "another payload": (lambda p: p.request_jws(spoil=other_payload(p)), 403, "bad-signature"),
    "signed by another key": (lambda p: p.request_jws(key=kit.KEYS["P-256"]()), 403, "bad-signature"),
    "signed by another certificate": (lambda p: (lambda k: p.request_jws(key=k, cert=kit.make_cert(k, p.cert.subject, k, p.cert.subject)))(
        kit.KEYS["P-256"]()), 403, "voucher-signer"),
    "no voucher": (lambda p: sign_jws({"x": 1}, p.device.key, [p.cert]), 400, None),
    "a voucher, no request": (lambda p: sign_jws({"ietf-voucher:voucher": p.leaves()}, p.device.key, [p.cert]), 400, None),
    "cut short": (lambda p: p.request_jws()[:-1], 400, None),
    "CMS": (lambda p: p.request(), 400, None),
    "no nonce": (lambda p: p.request_jws({k: v for k, v in p.leaves().items() if k != "nonce"}), 400, "voucher-incomplete"),
    "for another server": (lambda p: p.request_jws(p.leaves(**{"proximity-registrar-cert": b64(der(p.cert))})), 401, "proximity-elsewhere"),
}


@pytest.mark.parametrize("name", JWS_ROWS)
def test_jws_refused(server, ship, tmp_path, name):
    make, status, code = JWS_ROWS[name]
    p = ship(tmp_path).connect()
    answer = p.ask(make(p), **{"Content-Type": JWS_TYPE, "Accept": JWS_TYPE})
    assert answer.status == status and code in (None, answer.code), answer
    assert not server.ask("voucher", "list", "--udid", p.device.udid)["rows"]


@pytest.mark.parametrize("outer, inner", [(sign_jws, "jws"), (sign_jws, "cms"), (sign, "jws")])
def test_jws_by_a_registrar_elsewhere(server, met, netco, tmp_path, outer, inner):
    """The device's request inside may be of the other form; audit logs are asked for in either."""
    p, prior = met()
    prior = p.request_jws() if inner == "jws" else prior
    kind = {"Content-Type": JWS_TYPE if outer is sign_jws else TYPE}
    body = netco.request(p.serial, p.nonce, prior, by=outer)
    answer = masa(server, body, **kind)
    assert answer.status == 200, answer
    leaves = (open_jws if outer is sign_jws else open_voucher)(answer.body, p.anchor, tmp_path)
    assert (leaves["assertion"], leaves["nonce"]) == ("verified", p.nonce)
    assert json.loads(masa(server, body, "requestauditlog", **kind).body)["events"]
    foreign = netco.request(p.serial, p.nonce, p.request_jws({**p.leaves(), "nonce": b64(os.urandom(16))}), by=outer)
    assert masa(server, foreign, **kind).status == 403, "the device's nonce is another"


def test_jws_of_a_maker_elsewhere(two, tmp_path):
    """The owner's registrar asks the maker in the form in which the device wants its voucher; in another form it is another question."""
    p = two(tmp_path)
    body = p.request_jws()
    for form in (JWS_TYPE, TYPE):
        headers = {"Content-Type": JWS_TYPE, "Accept": form}
        assert p.connect().ask(body, **headers).status == 202

        def done():
            answer = p.connect().ask(body, **headers)
            return answer if answer.status != 202 else None

        answer = kit.wait_for("the MASA's answer", done)
        assert answer.status == 200 and answer.headers["Content-Type"] == form, answer
        p.check(answer.body)
