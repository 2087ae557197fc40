"""ACME's device-attest-01 in Apple's format (docs/acme.md, "Attestation formats"): certificates of Apple's form under a root of the test's own, which
takes the place that the operator gives to Apple's."""

import hashlib
import json
import secrets

import cbor2
import pytest
from cryptography import x509

import acmekit
import kit
from acmekit import Acme, assert_problem
from kit import KEYS, b64u, make_cert, make_csr, name_of

SERIAL, UDID, SEPOS, FRESHNESS = ("1.2.840.113635.100.8." + x for x in ("9.1", "9.2", "10.2", "11.1"))
ROT = "apple-enclave"


class Maker:
    """Root, intermediate, and leaves over keys that live in a Secure Enclave."""

    def __init__(self, name="Enterprise Attestation", **sub):
        self.key, self.sub_key = KEYS["P-384"](), KEYS["P-384"]()
        self.name, self.sub_name = name_of(name + " Root CA"), name_of(name + " Sub CA 1")
        self.root = make_cert(self.key, self.name, self.key, self.name, ca=True, days=(-10, 3650))
        self.sub = make_cert(self.sub_key, self.sub_name, self.key, self.name, **{"ca": True, "days": (-10, 3650), **sub})

    def pem(self, path):
        path.write_bytes(self.root.public_bytes(kit.PEM))
        return path

    def leaf(self, key, says, **more):
        """says: extensions, which hold bare octets."""
        extensions = [(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), False) for oid, value in says.items() if value is not None]
        subject = name_of(hashlib.sha256(b"leaf").hexdigest())  # looks like a UDID of ours, and is none
        return make_cert(key, subject, more.pop("by", self.sub_key), self.sub_name, **{"ca": False, "extensions": extensions, **more})


class Phone:
    """A device of Apple's: names, and a new key for each certificate."""

    def __init__(self, maker, issuer="chips"):
        self.maker, self.issuer = maker, issuer
        self.serial, self.apple_udid = "F2L" + secrets.token_hex(5).upper(), secrets.token_hex(20)
        parts = (issuer, ROT, self.serial)
        name = b"birthmark-symmetric-udid-v1\0" + b"".join(len(p).to_bytes(4, "big") + p.encode() for p in parts)
        self.udid = hashlib.sha256(name).hexdigest()
        self.key = KEYS["P-256"]()

    def line(self, **over):
        row = {"id": b64u(self.serial.encode()), "rot": ROT, **over}
        return json.dumps({k: v for k, v in row.items() if v is not None}) + "\n"

    def says(self, authorization):
        token = authorization.split(b".")[0]
        return {SERIAL: self.serial.encode(), UDID: self.apple_udid.encode(), SEPOS: b"19.4.0",
                FRESHNESS: hashlib.sha256(token).digest()}

    def statement(self, authorization, x5c=None, says=None, **more):
        leaf = self.maker.leaf(self.key, {**self.says(authorization), **(says or {})}, **more)
        chain = [leaf, self.maker.sub] if x5c is None else x5c(leaf)
        return cbor2.dumps({"fmt": "apple", "attStmt": {"x5c": [acmekit.der(c) for c in chain]}, "authData": b""})


@pytest.fixture(scope="module")
def maker():
    return Maker()


@pytest.fixture(scope="module")
def server(shared_servers, maker):
    s = shared_servers()
    s.init()
    s.furnish()
    s.run("org", "trust", "chips", maker.pem(s.folder / "apple.pem"), "--purpose", "attestation")
    s.start()
    return s


@pytest.fixture(scope="module")
def account(server):
    a = Acme(server)
    a.register(server.ask("eab", "create", "--product", "sensor"))
    return a


counter = iter(range(1000000))


def phone(server, maker, batch="reel-1", **over):
    p = Phone(maker)
    told = server.ask("manifest", "import", server.manifest([p.line(**over)], f"m-apple-{next(counter)}"), "--batch", batch)
    assert told["added"] == 1, told
    return p


def attest(account, order, p, i=0, **more):
    return account.attest(order, p, lambda _, authorization: p.statement(authorization, **more), i)


def test_every_name_of_it(server, account, maker):
    """Serial number and UDID as Apple's certificate has them, and the registry's own; each certificate is for the key that was attested."""
    p = phone(server, maker)
    assert server.ask("device", "show", p.udid)["rot"] == ROT
    for names in ([p.serial], [p.apple_udid], [p.udid], [p.serial, p.apple_udid]):
        p.key = KEYS["P-256"]()
        order = account.order(*(("permanent-identifier", n) for n in names))
        for i in range(len(names)):
            assert attest(account, order, p, i).json["status"] == "valid"
        answer = account.finalize(order, make_csr(p.key, "x"))
        assert answer.json["status"] == "valid", answer
        chain = account.fetch(answer.json)
        assert chain[0].public_key() == p.key.public_key() and p.udid in chain[0].subject.rfc4514_string()
    assert server.state(p) == "active"
    assert {row["udid"] for row in server.ask("cert", "list", "--udid", p.udid)["rows"]} == {p.udid}
    server.run("log", "verify")


def test_fresh_by_the_whole_key_authorization(server, account, maker):
    p = phone(server, maker)
    order = account.order(("permanent-identifier", p.serial))
    make = lambda _, auth: p.statement(auth, says={FRESHNESS: hashlib.sha256(auth).digest()})  # noqa: E731
    assert account.attest(order, p, make).json["status"] == "valid"


def test_a_person_approves(server, maker):
    """What was attested is judged again when the certificate is made."""
    server.run("product", "create", "careful", "--org", "oem", "--approval", "first")
    server.run("batch", "create", "careful-1", "--product", "careful", "--quota", 10)
    a, p = Acme(server), phone(server, maker, "careful-1")
    a.register(server.ask("eab", "create", "--batch", "careful-1"))
    order = a.order(("permanent-identifier", p.serial))
    assert attest(a, order, p).status == 200
    assert a.finalize(order, make_csr(p.key, "x")).json["status"] == "processing"
    (waiting,) = [r for r in server.ask("approval", "list")["rows"] if r["udid"] == p.udid]
    server.run("approval", "approve", waiting["id"])
    assert a.ok(order["url"]).json["status"] == "valid"


EVIL, BIRTH, OTHERS = Maker("Evil"), Maker("Birth"), Maker("Others")
BAD, NO = "badAttestationStatement", "acme-attestation"
UNTRUSTED = "untrusted-birth-certificate"


def by(maker, p, **more):
    """The statement as it would be if this were Apple."""
    def make(auth):
        mine, p.maker = p.maker, maker
        try:
            return p.statement(auth, **more)
        finally:
            p.maker = mine
    return make


ROWS = [
    ("fresh for another challenge", lambda p, auth: p.statement(auth, says={FRESHNESS: hashlib.sha256(b"x" + auth).digest()}), NO),
    ("fresh for another account", lambda p, auth: p.statement(auth, says={FRESHNESS: hashlib.sha256(auth + b"x").digest()}), NO),
    ("not fresh at all", lambda p, auth: p.statement(auth, says={FRESHNESS: None}), NO),
    ("the token itself", lambda p, auth: p.statement(auth, says={FRESHNESS: auth[:32]}), NO),
    ("a short freshness code", lambda p, auth: p.statement(auth, says={FRESHNESS: p.says(auth)[FRESHNESS][:31]}), NO),
    ("a freshness code in DER", lambda p, auth: p.statement(auth, says={FRESHNESS: b"\x04\x20" + p.says(auth)[FRESHNESS]}), NO),
    ("no serial number", lambda p, auth: p.statement(auth, says={SERIAL: None}), NO),
    ("an empty serial number", lambda p, auth: p.statement(auth, says={SERIAL: b""}), NO),
    ("a serial number with a NUL", lambda p, auth: p.statement(auth, says={SERIAL: p.serial.encode() + b"\0"}), NO),
    ("a serial number too long", lambda p, auth: p.statement(auth, says={SERIAL: b"F" * 65}), NO),
    ("a serial number nobody has listed", lambda p, auth: p.statement(auth, says={SERIAL: b"F2LUNKNOWN"}), "unknown-device"),
    ("a serial number that begins like one", lambda p, auth: p.statement(auth, says={SERIAL: p.serial[:-1].encode()}), "unknown-device"),
    ("a stranger's root", lambda p, auth: by(EVIL, p)(auth), UNTRUSTED),
    ("a stranger's root, sent along", lambda p, auth: by(EVIL, p, x5c=lambda leaf: [leaf, EVIL.sub, EVIL.root])(auth), UNTRUSTED),
    ("a root that is trusted for birth certificates alone", lambda p, auth: by(BIRTH, p)(auth), UNTRUSTED),
    ("a root of another organisation", lambda p, auth: by(OTHERS, p)(auth), "unknown-device"),
    ("no intermediate", lambda p, auth: p.statement(auth, x5c=lambda leaf: [leaf]), UNTRUSTED),
    ("another's intermediate", lambda p, auth: p.statement(auth, x5c=lambda leaf: [leaf, EVIL.sub]), None),
    ("signed by another key", lambda p, auth: p.statement(auth, by=EVIL.sub_key), None),
    ("expired", lambda p, auth: p.statement(auth, days=(-10, -1)), None),
    ("not yet valid", lambda p, auth: p.statement(auth, days=(1, 10)), None),
    ("a CA's certificate", lambda p, auth: p.statement(auth, ca=True), NO),
    ("no certificate", lambda p, auth: cbor2.dumps({"fmt": "apple", "attStmt": {}}), NO),
    ("the intermediate alone", lambda p, auth: p.statement(auth, x5c=lambda leaf: [p.maker.sub]), NO),
    ("a certificate that is none", lambda p, auth: cbor2.dumps({"fmt": "apple", "attStmt": {"x5c": [b"\x30\x00"]}}), NO),
]


@pytest.fixture(scope="module")
def others(server):
    server.run("org", "trust", "chips", BIRTH.pem(server.folder / "birth.pem"), "--purpose", "birth")
    server.run("org", "trust", "oem", OTHERS.pem(server.folder / "others.pem"), "--purpose", "attestation")


@pytest.fixture(scope="module")
def one(server, maker):
    return phone(server, maker)


@pytest.mark.parametrize("row", ROWS, ids=[r[0] for r in ROWS])
def test_refused(account, others, one, row):
    """Each thing that makes such a statement worth something, missing alone; the order is over then."""
    _, make, code = row
    order = account.order(("permanent-identifier", one.serial))
    assert_problem(account.attest(order, one, lambda p, auth: make(p, auth)), 400, BAD, code)
    assert account.ok(order["url"]).json["status"] == "invalid"


def test_whose_it_is(server, account, maker, one):
    """An attestation counts for its own device, its own key and its own account's devices."""
    two = phone(server, maker)
    order = account.order(("permanent-identifier", one.serial))
    assert_problem(attest(account, order, two), 400, BAD, NO)
    order = account.order(("permanent-identifier", one.serial), ("permanent-identifier", two.serial))
    assert attest(account, order, one).status == 200
    assert_problem(attest(account, order, two, 1), 400, BAD, NO)
    order = account.order(("permanent-identifier", two.serial))
    assert attest(account, order, two).status == 200
    assert_problem(account.finalize(order, make_csr(KEYS["P-256"](), "x")), 400, "badCSR", "acme-csr")
    server.run("device", "retire", two.udid)
    assert_problem(account.finalize(order, make_csr(two.key, "x")), 403, "unauthorized", "device-retired")
    elsewhere = Acme(server)
    server.run("product", "create", "else", "--org", "oem")
    elsewhere.register(server.ask("eab", "create", "--product", "else"))
    order = elsewhere.order(("permanent-identifier", one.serial))
    assert_problem(attest(elsewhere, order, one), 403, "unauthorized", "acme-eab-scope")


def test_another_format_says_nothing(server, account, maker, one):
    """A listed device has no key of its own: nothing that a key signs can be its."""
    order = account.order(("permanent-identifier", one.udid))
    make = lambda _, auth: acmekit.packed(one, auth, certs=[maker.leaf(one.key, one.says(auth)), maker.sub])  # noqa: E731
    assert_problem(account.attest(order, one, make), 400, BAD, "unknown-device")


@pytest.mark.parametrize("over, code", [
    ({"mac": "hmac-sha256"}, "entry-secret"), ({"root": "lot"}, "entry-secret"), ({"id": ""}, None), ({"rot": "symmetric-chip"}, "entry-mac"),
    ({"rot": "atecc608"}, "entry-rot"), ({"id": None, "key": b64u(Maker().root.public_key().public_bytes(
        kit.DER, kit.serialization.PublicFormat.SubjectPublicKeyInfo))}, "entry-rot"),
])
def test_manifest_entries(server, maker, over, code):
    """Such a device has an identifier and neither key nor secret; nothing else is taken for it."""
    source = server.folder / "bad.lines"
    source.write_text(Phone(maker).line(**over))
    signer = server.folder / "signer"
    done = server.run("manifest", "make", source, "--out", server.folder / "bad.jsonl", "--id", "bad", "--issuer", "chips", "--key",
                      signer / "signer-key.pem", "--cert", signer / "signer-cert.pem", want=None)
    assert done.returncode != 0 and (code is None or code in done.stderr), done
