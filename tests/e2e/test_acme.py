"""ACME (docs/acme.md) as clients use it: accounts, orders, device attestation, certificates, revocation, renewal information."""

import hashlib
import json
import subprocess
import types

import cbor2
import josepy
import pytest
from acme import client as acme_client
from acme import messages
from cryptography import x509

import acmekit
import kit
from acmekit import Acme, assert_problem, cert_id, packed, statement
from kit import KEYS, ChipMaker, Device, assert_told, b64u, make_csr


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(services=("telemetry", "control"))
    s.run("product", "create", "other", "--org", "oem")
    s.run("batch", "create", "other-1", "--product", "other", "--quota", 100)
    s.start()
    return s


@pytest.fixture(scope="module")
def maker(server):
    """A chip maker outside, trusted for birth certificates."""
    m = ChipMaker()
    server.run("org", "trust", "chips", m.pem(server.folder / "maker.pem"), "--purpose", "birth")
    return m


def eab(server, *words):
    return server.ask("eab", "create", *(words or ("--batch", "reel-1")), "--uses", 100)


@pytest.fixture(scope="module")
def account(server):
    a = Acme(server)
    a.register(eab(server), contact=["mailto:fleet@example.org"])
    return a


counter = iter(range(1000000))


def device(server, *args, birth=None, attributes=None, batch="reel-1", **more):
    d = Device(*args, **more)
    d.birth = birth.birth(d) if birth else None
    line = json.loads(d.line())
    if attributes:
        line["attributes"] = attributes
    d.line = lambda: json.dumps(line) + "\n"
    server.register(d, name=f"m-acme-{next(counter)}", batch=batch)
    return d


# --- the whole way --------------------------------------------------------------------------------------------------------------------------


def test_directory(server):
    """What a client begins with; breaks when an address in it is not served."""
    a = Acme(server)
    assert a.directory["meta"]["externalAccountRequired"] is True
    assert set(a.directory["meta"]["profiles"]) == {"telemetry", "control"}
    assert {"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo"} < set(a.directory)
    for method, status in (("HEAD", 200), ("GET", 204)):
        answer = a.http(method, "/acme/new-nonce")
        assert answer.status == status and answer.body == b""
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Replay-Nonce"]
        assert 'rel="index"' in answer.headers["Link"]


@pytest.mark.parametrize("alg", ["P-256", "P-384", "P-521", "Ed25519", "RSA-2048"])
def test_account_keys(server, alg):
    """Each kind of account key registers and orders."""
    a = Acme(server, KEYS[alg]())
    answer = a.register(eab(server), contact=["mailto:a@example.org"])
    assert answer.json["status"] == "valid" and answer.json["contact"] == ["mailto:a@example.org"]
    assert a.ok(answer.json["orders"]).json == {"orders": []}


@pytest.mark.parametrize("alg", ["P-256", "P-384", "Ed25519", "RSA-2048"])
def test_a_device_enrols(server, account, alg):
    """The walk of docs/acme.md: from an order to a certificate, the device known by its IDevID key."""
    d = device(server, alg)
    key = KEYS["P-256"]()
    chain, order = account.enrol(d, key)
    assert chain[0].public_key() == key.public_key()
    for cert, issuer in zip(chain, chain[1:]):
        cert.verify_directly_issued_by(issuer)
    assert chain[0].subject.rfc4514_string().count(d.udid) == 1
    assert server.state(d) == "active"
    row = server.ask("cert", "list", "--udid", d.udid)["rows"][0]
    assert row["protocol"] == "acme"
    # who polls it again sees the same
    assert account.ok(order["certificate"].replace("/cert/", "/order/")).json["status"] == "valid"


def test_by_serial_number(server, account):
    """The manufacturer's serial number is an identifier as good as the UDID."""
    d = device(server, attributes={"serial": "SN-0815"})
    order = account.order(("permanent-identifier", "SN-0815"))
    assert account.attest(order, d).status == 200
    assert account.finalize(order, make_csr(KEYS["P-256"](), "x")).json["status"] == "valid"


def test_birth_certificate(server, account, maker):
    """Formats packed and birthmark with a chip maker's certificate: the chain is verified, and names in it are identifiers."""
    for make in (packed, lambda d, auth: statement(d, auth, certs=[d.birth])):
        account.enrol(device(server, birth=maker), make=make)


def hardware_name(serial, oid):
    """HardwareModuleName as an otherName, in DER by hand: short forms only."""
    def tlv(tag, body):
        return bytes([tag, len(body)]) + body
    body = tlv(0x30, tlv(0x06, oid) + tlv(0x04, serial.encode()))
    return x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4"), body)


def permanent_name(value):
    return x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.3"), bytes([0x30, len(value) + 2, 0x0c, len(value)]) + value.encode())


def test_hardware_module(server, account, maker):
    """A hardware module's type and serial number, as the chip maker certified them; together with a permanent identifier."""
    d = Device()
    names = x509.SubjectAlternativeName([hardware_name("HW1", b"\x2a\x03\x04"), permanent_name("PI-7")])
    d.birth = maker.birth(d, extensions=((names, False),))
    server.register(d, name=f"m-acme-{next(counter)}")
    order = account.order(("hardware-module", "HW1/1.2.3.4"), ("permanent-identifier", "PI-7"))
    assert account.attest(order, d, packed, 0).status == 200
    assert account.ok(order["url"]).json["status"] == "pending"
    assert account.attest(order, d, packed, 1).status == 200
    assert account.ok(order["url"]).json["status"] == "ready"
    csr = make_csr(KEYS["P-256"](), "x", extensions=[names])
    assert account.finalize(order, csr).json["status"] == "valid"


class Tpm:
    """What a TPM writes (TPM 2.0 Library, part 2): its attestation key certifies a key it has made."""

    def __init__(self, maker):
        self.device = Device()
        eku = x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.3")])
        self.cert = maker.birth(self.device, extensions=((eku, False),))

    @staticmethod
    def sized(b):
        return len(b).to_bytes(2, "big") + b

    def area(self, key):
        n, null = key.public_key().public_numbers(), b"\x00\x10"
        return (b"\x00\x23\x00\x0b\x00\x04\x00\x72" + self.sized(b"") + null + null + b"\x00\x03" + null +
                self.sized(n.x.to_bytes(32, "big")) + self.sized(n.y.to_bytes(32, "big")))

    def statement(self, key, authorization):
        area = self.area(key)
        name = b"\x00\x0b" + hashlib.sha256(area).digest()
        info = (b"\xffTCG\x80\x17" + self.sized(b"signer") + self.sized(hashlib.sha256(authorization).digest()) + bytes(25) +
                self.sized(name) + self.sized(b"qualified"))
        r, s = kit.decode_dss_signature(self.device.key.sign(info, kit.ec.ECDSA(kit.hashes.SHA256())))
        sig = b"\x00\x18\x00\x0b" + self.sized(r.to_bytes(32, "big")) + self.sized(s.to_bytes(32, "big"))
        return cbor2.dumps({"fmt": "tpm", "attStmt": {"ver": "2.0", "alg": -7, "x5c": [acmekit.der(self.cert)], "sig": sig,
                                                      "certInfo": info, "pubArea": area}})


def test_tpm(server, account, maker):
    """Format tpm: the certificate request must be over the key that the TPM has certified."""
    tpm, key = Tpm(maker), KEYS["P-256"]()
    server.register(tpm.device, name=f"m-acme-{next(counter)}")
    order = account.order_device(tpm.device)
    answer = account.attest(order, tpm.device, lambda _, auth: tpm.statement(key, auth))
    assert answer.status == 200, answer
    assert_problem(account.finalize(order, make_csr(KEYS["P-256"](), "x")), 400, "badCSR", "acme-csr")
    assert account.finalize(order, make_csr(key, "x")).json["status"] == "valid"
    order = account.order_device(tpm.device)
    assert_problem(account.attest(order, tpm.device, lambda _, auth: tpm.statement(key, auth + b"x")), 400, "badAttestationStatement")


def test_a_person_approves(server):
    """An order that waits for somebody is processing, told to come again, and valid once there was a yes; a no ends it: docs/approval.md."""
    server.run("product", "create", "careful", "--org", "oem", "--approval", "always")
    server.run("batch", "create", "careful-1", "--product", "careful", "--quota", 10)
    a = Acme(server)
    a.register(eab(server, "--batch", "careful-1"))
    for word, status in (("approve", "valid"), ("deny", "invalid")):
        d = device(server, batch="careful-1")
        order = a.order_device(d)
        assert a.attest(order, d).status == 200
        answer = a.finalize(order, make_csr(KEYS["P-256"](), "x"))
        assert answer.status == 200 and answer.json["status"] == "processing" and int(answer.headers["Retry-After"]) > 0
        assert a.ok(order["url"]).json["status"] == "processing"
        (row,) = server.ask("approval", "list", "--state", "waiting", "--udid", d.udid)["rows"]
        server.run("approval", word, row["id"])
        done = a.ok(order["url"]).json
        assert done["status"] == status, done
        assert status == "valid" or done["error"]["code"] == "approval-denied"


def test_services(server):
    """Which service a certificate is for: by the directory's label, or by the order's profile."""
    binding = eab(server)
    a = Acme(server, label="control")
    a.register(binding)
    for more, service in (({}, "control"), ({"profile": "telemetry"}, "telemetry")):
        d = device(server)
        _, order = a.enrol(d, **more)
        assert order["profile"] == service
        assert server.ask("cert", "list", "--udid", d.udid)["rows"][0]["service"] == service


def test_renewal_with_ldevid(server, account):
    """A device may show its current certificate instead of its IDevID key."""
    d = device(server)
    key = KEYS["P-256"]()
    chain, _ = account.enrol(d, key)
    account.enrol(d, make=lambda dev, auth: statement(dev, auth, key=key, certs=chain[:1]))
    assert len(server.ask("cert", "list", "--udid", d.udid)["rows"]) == 2


# --- accounts --------------------------------------------------------------------------------------------------------------------------------


def test_account_life(server):
    """Found again by its key, changed, its key changed, deactivated: RFC 8555 sections 7.3.1 to 7.3.6."""
    a = Acme(server)
    a.register(eab(server))
    kid, a.kid = a.kid, None
    found = a.ok(a.directory["newAccount"], {"onlyReturnExisting": True})
    assert found.headers["Location"] == kid
    a.kid = kid
    assert a.ok(kid, {"contact": ["mailto:new@example.org"]}).json["contact"] == ["mailto:new@example.org"]
    old, new = a.key, KEYS["P-256"]()
    url = a.directory["keyChange"]
    inner = acmekit.jws(new, {"alg": "ES256", "jwk": acmekit.jwk_of(new), "url": url}, {"account": kid, "oldKey": acmekit.jwk_of(old)})
    a.ok(url, inner)
    assert_problem(a.post(kid, None), 403, "unauthorized", "acme-signature")  # by the old key
    a.key = new
    assert a.ok(kid, {"status": "deactivated"}).json["status"] == "deactivated"
    assert_problem(a.post(kid, None), 403, "unauthorized", "acme-account-closed")
    a.kid = None
    assert_problem(a.post(a.directory["newAccount"], {}), 403, "unauthorized", "acme-account-closed")
    rows = server.ask("acme-account", "list", "--status", "deactivated")["rows"]
    assert kid.endswith(f"/{rows[-1]['id']}")


def test_orders_are_listed(server, account):
    a = Acme(server)
    a.register(eab(server))
    d = device(server)
    urls = [a.order_device(d)["url"] for _ in range(3)]
    assert a.ok(a.kid + "/orders").json["orders"] == urls
    a.ok(a.order_device(d)["authorizations"][0], {"status": "deactivated"})
    assert a.ok(a.kid + "/orders").json["orders"] == urls  # not what has failed


def test_bindings(server):
    """A binding's uses and revocation, and its scope: one for another product's devices is refused."""
    one = server.ask("eab", "create", "--product", "other")
    a = Acme(server)
    a.register(one)
    b = Acme(server)
    payload = {"externalAccountBinding": b.binding(one)}
    assert_problem(b.post(b.directory["newAccount"], payload), 403, "unauthorized", "acme-eab-used-up")
    d = device(server)
    order = a.order_device(d)
    told = assert_problem(a.attest(order, d), 403, "unauthorized", "acme-eab-scope")
    assert a.ok(order["url"]).json["error"]["code"] == told["code"]
    own = device(server, batch="other-1")
    a.enrol(own)
    server.run("eab", "revoke", one["kid"])
    answer = a.post(a.directory["newOrder"], {"identifiers": [{"type": "permanent-identifier", "value": own.udid}]})
    assert_problem(answer, 403, "unauthorized", "acme-eab-revoked")
    assert_told(server, answer)
    row = next(r for r in server.ask("eab", "list")["rows"] if r["kid"] == one["kid"])
    assert row["used"] == 1 and row["revoked_at"] and "hmac" not in json.dumps(row)


def test_bindings_outlive_the_key_they_are_sealed_with(server):
    """A new key-encryption key takes the keys of bindings along, and they are nobody's root keys: docs/symmetric.md."""
    one = eab(server)
    server.run("key", "rotate")

    def moved():
        keks = server.ask("key", "show")["keks"]
        return [k["state"] for k in keks if k["state"] != "destroyed"] == ["active"] and keks
    kit.wait_for("the move to the new key", moved)
    Acme(server).register(one)
    assert server.ask("key", "show")["roots"] == []


def test_an_account_is_revoked(server):
    a = Acme(server)
    a.register(eab(server))
    server.run("acme-account", "revoke", a.kid.rsplit("/", 1)[1])
    assert_problem(a.post(a.kid, None), 403, "unauthorized", "acme-account-closed")


# --- what becomes of certificates ---------------------------------------------------------------------------------------------------------------


def test_revocation(server, account):
    """By the account that ordered it and by the certificate's own key; OCSP and CRL follow, as for any revocation."""
    url = account.directory["revokeCert"]
    chain, _ = account.enrol(device(server))
    der = acmekit.der(chain[0])
    assert account.ok(url, {"certificate": b64u(der), "reason": 4}).body == b""
    assert_problem(account.post(url, {"certificate": b64u(der)}), 400, "alreadyRevoked")
    row = server.ask("cert", "show", f"{chain[0].serial_number:032x}")
    assert row["state"] == "revoked" and row["reason"] == 4
    key = KEYS["P-256"]()
    chain, _ = account.enrol(device(server), key)
    other = Acme(server, key)
    assert other.ok(url, {"certificate": b64u(acmekit.der(chain[0])), "reason": 1}).status == 200
    assert server.ask("cert", "show", f"{chain[0].serial_number:032x}")["state"] == "revoked"


def test_renewal_information(server, account):
    """RFC 9773: a window within the life; of a revoked certificate one that is over."""
    chain, _ = account.enrol(device(server))
    url = account.directory["renewalInfo"] + "/" + cert_id(chain[0])
    answer = account.http("GET", account.path(url))
    window = json.loads(answer.body)["suggestedWindow"]
    assert answer.status == 200 and int(answer.headers["Retry-After"]) > 0
    assert chain[0].not_valid_before_utc.isoformat()[:19] < window["start"] < window["end"] < chain[0].not_valid_after_utc.isoformat()
    account.ok(account.directory["revokeCert"], {"certificate": b64u(acmekit.der(chain[0]))})
    window = json.loads(account.http("GET", account.path(url)).body)["suggestedWindow"]
    assert window["end"] < kit.datetime.now(kit.timezone.utc).isoformat()
    assert_problem(account.http("GET", account.path(url) + "AA"), 404, "malformed")


def test_an_order_replaces_a_certificate(account, server):
    """RFC 9773 section 5: told back in the order, and once only, unless the order that was to replace it has come to nothing."""
    d = device(server)
    chain, _ = account.enrol(d)
    name = cert_id(chain[0])
    first = account.order_device(d, replaces=name)
    assert first["replaces"] == name and account.ok(first["url"]).json["replaces"] == name
    payload = {"identifiers": [{"type": "permanent-identifier", "value": d.udid}], "replaces": name}
    assert_problem(account.post(account.directory["newOrder"], payload), 409, "alreadyReplaced", "acme-replaced")
    account.ok(first["authorizations"][0], {"status": "deactivated"})
    renewed, order = account.enrol(d, replaces=name)
    assert order["replaces"] == name and renewed[0] != chain[0]
    assert_problem(account.post(account.directory["newOrder"], payload), 409, "alreadyReplaced", "acme-replaced")
    account.enrol(d, replaces=cert_id(renewed[0]))  # the successor has not been replaced yet


# --- chains --------------------------------------------------------------------------------------------------------------------------------------


def test_alternate_chains(server, account):
    """RFC 8555 section 7.4.2: a root with another one's signature gives a chain of its own, which leads who trusts only the other root to the
    certificate; each chain tells where the others are."""
    d = device(server)
    _, order = account.enrol(d)
    url = order["certificate"]
    plain, alternates = account.chain(url)
    assert alternates == []
    told = server.ask("ca", "rollover", "root", "root-2")
    new, link = (x509.load_pem_x509_certificate(told[n].encode()) for n in ("certificate", "old_with_new"))
    same, (alternate,) = account.chain(url)
    longer, back = account.chain(alternate)
    assert same == plain and longer == [*plain, link] and back == [url]
    for cert, issuer in zip(longer, [*longer[1:], new]):
        cert.verify_directly_issued_by(issuer)
    number = alternate.rsplit("-", 1)[1]
    for label in (f"-{int(number) + 1}", f"-{number}-1", "-0", "-", "-x"):  # NewWithOld is the other root's; no link at all
        assert_problem(account.post(url + label), 404, "malformed", "acme-not-found")
    other = Acme(server)
    other.register(eab(server))
    assert_problem(other.post(alternate), 404, "malformed", "acme-not-found")
    # what stands under the new root has NewWithOld
    server.run("ca", "create", "issuing-2", "--parent", "root-2")
    server.run("product", "create", "late", "--org", "oem", "--ca", "issuing-2")
    server.run("batch", "create", "late-1", "--product", "late", "--quota", 10)
    third = Acme(server)
    third.register(eab(server, "--batch", "late-1"))
    _, order = third.enrol(device(server, batch="late-1"))
    _, (alternate,) = third.chain(order["certificate"])
    assert third.chain(alternate)[0][-1] == x509.load_pem_x509_certificate(told["new_with_old"].encode())


# --- what it costs -------------------------------------------------------------------------------------------------------------------------------


def commits(server):
    """How often the registry has gone to disk since its write-ahead log was begun: frames that end a transaction hold the size of the database
    (SQLite file format, section 4.1); those of before have another salt."""
    raw = (server.data / "registry.db-wal").read_bytes()
    size, salt = int.from_bytes(raw[8:12], "big"), raw[16:24]
    frames = [raw[at:at + 16] for at in range(32, len(raw) - size - 23, 24 + size)]
    return salt, sum(f[8:16] == salt and f[4:8] != bytes(4) for f in frames)


def test_a_step_goes_to_disk_once(server):
    """Nonces and accounts cost no writing of their own: a step that changes something is one commit, one that only asks is none."""
    a = Acme(server)
    binding, d, cost = eab(server), device(server), {}

    def step(name, act):
        salt, before = commits(server)
        got = act()
        salt_2, after = commits(server)
        if salt == salt_2:  # the log was not begun anew in between
            cost.setdefault(name, []).append(after - before)
        return got

    step("account", lambda: a.register(binding))
    for _ in range(4):  # the log's head is signed once a second, which is a commit of its own: counted is the cheapest
        step("nonce", lambda: a.http("HEAD", "/acme/new-nonce"))
        step("refused nonce", lambda: a.post(a.kid, None, nonce=b64u(b"x" * 48)))
        order = step("order", lambda: a.order_device(d))
        step("authorization", lambda: a.ok(order["authorizations"][0]))
        url = a.challenge(order)
        obj = b64u(statement(d, a.authorization(url["token"])))
        assert step("challenge", lambda: a.post(url["url"], {"attObj": obj})).status == 200
        step("poll", lambda: a.ok(order["url"]))
        csr = make_csr(KEYS["P-256"](), "x")
        done = step("finalize", lambda: a.finalize(order, csr)).json
        step("certificate", lambda: a.fetch(done))
    writes = {"account": 1, "order": 1, "challenge": 1, "finalize": 1}
    assert {name: min(n) for name, n in cost.items() if name != "account"} == {
        name: writes.get(name, 0) for name in cost if name != "account"}
    assert cost.get("account", [1])[0] <= 2  # only once, so the head may be among it


# --- clients by others ---------------------------------------------------------------------------------------------------------------------------


def test_python_acme(server, tmp_path):
    """certbot's library, with the challenge it does not know answered by hand."""
    binding, d = eab(server), device(server)
    key = josepy.JWKEC(key=KEYS["P-256"]())
    net = acme_client.ClientNetwork(key, alg=josepy.ES256, verify_ssl=str(server.anchors()))
    directory = acme_client.ClientV2.get_directory(f"{server.url}/acme/directory", net)
    client = acme_client.ClientV2(directory, net)
    bound = messages.ExternalAccountBinding.from_data(key.public_key(), binding["kid"], binding["hmac_key"], directory)
    account = client.new_account(messages.NewRegistration.from_data(email="fleet@example.org", external_account_binding=bound))
    assert account.body.status == "valid"
    kind = messages.IdentifierType("permanent-identifier")
    order = messages.NewOrder(identifiers=[messages.Identifier(typ=kind, value=d.udid)])
    answer = client._post(directory["newOrder"], order)
    assert answer.status_code == 201
    body, url = answer.json(), answer.headers["Location"]
    authz = client._post_as_get(body["authorizations"][0]).json()
    (challenge,) = authz["challenges"]
    authorization = f"{challenge['token']}.{b64u(key.thumbprint())}".encode()

    class Attestation(josepy.JSONObjectWithFields):
        obj: str = josepy.field("attObj")

    done = client._post(challenge["url"], Attestation(obj=b64u(statement(d, authorization))))
    assert done.json()["status"] == "valid"
    csr = x509.load_der_x509_csr(make_csr(KEYS["P-256"](), "x"))
    done = client._post(body["finalize"], messages.CertificateRequest(csr=csr)).json()
    assert done["status"] == "valid"
    chain = client._post_as_get(done["certificate"]).text
    assert len(x509.load_pem_x509_certificates(chain.encode())) == 2
    assert client._post_as_get(url).json()["status"] == "valid"


# --- a TPM -----------------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swtpm(tmp_path_factory):
    """A TPM 2.0 in software: libtpms, which virtual machines have for theirs."""
    folder = tmp_path_factory.mktemp("tpm")
    words = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--server", f"type=unixio,path={folder}/tpm", "--ctrl",
             f"type=unixio,path={folder}/control", "--flags", "not-need-init,startup-clear"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kit.wait_for("the TPM", (folder / "tpm").exists)
    yield folder / "tpm"
    process.kill()
    process.wait()


class TpmDevice(Device):
    """Known by its attestation key, which nobody has outside of the TPM."""

    def __init__(self, public):
        self.key, self.rot = types.SimpleNamespace(public_key=lambda: public), "tpm2"
        self.spki = kit.spki_of(self.key)
        self.udid, self.birth = hashlib.sha256(self.spki).hexdigest(), None


@pytest.mark.parametrize("alg", ["ecc", "rsa"])
def test_a_tpm_and_clients_of_others(server, maker, swtpm, go_tool, tmp_path, alg):
    """device-attest-01 with nothing of ours on the device's side: libtpms makes and certifies the key, go-tpm drives it, acmez speaks ACME. Breaks when what
    a TPM writes is not understood, or a key that another attestation key certified passes."""
    words = [go_tool("tpmclient"), "-tpm", swtpm, "-alg", alg]
    d = TpmDevice(kit.serialization.load_pem_public_key(subprocess.run([*words, "-ak"], capture_output=True, check=True, timeout=60).stdout))
    server.register(d, name=f"m-acme-{next(counter)}")
    binding, cert = eab(server), tmp_path / "ak.pem"

    def enrol(of, usage="2.23.133.8.3"):
        purpose = x509.ExtendedKeyUsage([x509.ObjectIdentifier(usage)])
        cert.write_bytes(maker.birth(of, extensions=((purpose, False),)).public_bytes(kit.PEM))
        return subprocess.run([*words, "-cert", cert, "-directory", f"{server.url}/acme/directory", "-roots", server.anchors(), "-kid", binding["kid"],
                               "-hmac", binding["hmac_key"], "-id", d.udid], capture_output=True, text=True, timeout=60)
    done = enrol(d)
    assert done.returncode == 0, done.stderr
    leaf, issuer, *_ = x509.load_pem_x509_certificates(done.stdout.encode())  # alternate chains behind it
    leaf.verify_directly_issued_by(issuer)
    assert server.state(d) == "active" and type(leaf.public_key()) is type(d.key.public_key()) and kit.spki_of(leaf) != d.spki
    for wrong in (enrol(Device("P-256" if alg == "ecc" else "RSA-2048")), enrol(d, "1.3.6.1.5.5.7.3.2")):
        assert wrong.returncode != 0 and "badAttestationStatement" in wrong.stderr, wrong


# --- power cuts ----------------------------------------------------------------------------------------------------------------------------------


def test_a_crash_between_steps(new_server):
    """SIGKILL after each step: what the client was told still holds, and it goes on with a new nonce."""
    s = new_server()
    s.init()
    s.furnish()
    d = Device()
    s.register(d)
    s.start()
    binding = s.ask("eab", "create", "--batch", "reel-1")
    key = KEYS["P-256"]()
    a = Acme(s)

    def crash():
        s.kill()
        s.start()
        a.connection = a.nonce = None

    a.register(binding)
    crash()
    order = a.order_device(d)
    crash()
    assert a.attest(order, d).status == 200
    crash()
    assert a.ok(order["url"]).json["status"] == "ready"
    done = a.finalize(order, make_csr(key, "x")).json
    crash()
    assert a.fetch(done)[0].public_key() == key.public_key()
    assert len(s.ask("cert", "list", "--udid", d.udid)["rows"]) == 1
    s.run("log", "verify")


def test_cbor_library_agrees():
    """The statements here are what other CBOR libraries write; breaks when kit and product drift apart together."""
    d = Device()
    got = cbor2.loads(statement(d, b"x"))
    assert got["fmt"] == "birthmark" and got["attStmt"]["spki"] == d.spki
