"""CMP with clients and a registration authority on libraries that others wrote: Siemens' CMP component, the reference implementation of RFC 9483, and
Bouncy Castle's classes for CMP and CRMF (tests/e2e/java). One JVM does all of it. Where one of them is at fault, the test says so."""

import os
import select
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

import kit
from cmpkit import Authority

from kit import TOP, ChipMaker, Device

JAVA = TOP / "build" / "java"
ERROR, IP, KUP, CP, PKICONF, POLLREP, RP = 23, 1, 8, 3, 19, 26, 12


class Java:
    """The program of tests/e2e/java: java("siemens", op="ir", ...) is one line to it and one from it."""

    def __init__(self, folder):
        assert (JAVA / ".built").exists(), "run scripts/install-java-tools"
        self.log = folder / "java.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-cp", f"{JAVA}/classes:{JAVA}/lib/*",
                                             "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "Cmp"],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def hear(self):
        line, deadline = b"", time.monotonic() + 60
        while not line.endswith(b"\n"):
            assert select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0], self.log.read_text()[-3000:]
            line += os.read(self.process.stdout.fileno(), 65536) or pytest.fail(self.log.read_text()[-3000:])
        return line.decode().rstrip("\n")

    def __call__(self, verb, on_wait=None, want="ok", **members):
        self.say("\t".join([verb, *(f"{k}={v}" for k, v in members.items())]))
        answer = self.hear()
        while answer == "waiting":
            on_wait()
            self.say("go")
            answer = self.hear()
        word, *members = answer.split("\t")
        got = dict(m.split("=", 1) for m in members if m)
        assert word == want, (got, self.log.read_text()[-3000:])
        got["types"] = [int(t) for t in got["types"].split()]
        return got

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def java(tmp_path_factory):
    j = Java(tmp_path_factory.mktemp("java"))
    yield j
    j.end()


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(services=("telemetry", "updates"), policy=("--server-keygen", "yes"))
    s.run("product", "create", "watched", "--org", "oem", "--services", "telemetry", "--approval", "always")
    s.run("batch", "create", "watched-1", "--product", "watched", "--quota", 10)
    s.http = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{s.http}")
    return s


@pytest.fixture(scope="module")
def maker(server):
    m = ChipMaker()
    server.run("org", "trust", "chips", m.pem(server.folder / "maker.pem"), "--purpose", "birth")
    return m


@pytest.fixture(scope="module")
def authority(server):
    return Authority(server, "oem", "network")


def issuing_ca(server):
    path = server.folder / "issuing.pem"
    if not path.exists():
        server.run("ca", "export", "issuing", "--out", path, "--quiet")
    return x509.load_pem_x509_certificate(path.read_bytes())


class Unit:
    """A device with files of its own, and the Java program to speak for it."""

    def __init__(self, java, server, maker, folder, alg="P-256", batch="reel-1", extensions=()):
        self.java, self.server, self.folder = java, server, folder
        self.device = Device(alg)
        self.device.birth = self.device.cert = maker.birth(self.device, extensions=extensions)
        server.register(self.device, name=f"m-{self.device.udid[:12]}", batch=batch)
        self.cert, self.key = self.device.files(folder)
        self.udid = self.device.udid
        self.issuing = issuing_ca(server)

    def new_key(self, name, alg="P-256"):
        key = kit.KEYS[alg]()
        path = self.folder / name
        path.write_bytes(kit.key_pem(key))
        path.with_name(name + ".pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return path

    def ask(self, verb, op, path="/.well-known/cmp", port=None, **members):
        members = {"url": f"http://127.0.0.1:{port or self.server.http}{path}", "op": op, "anchors": self.server.anchors(), **members}
        if "secret" not in members:
            members = {"key": self.key, "cert": self.cert, **members}
        return self.java(verb, **members)

    def enrol(self, verb="siemens", op="ir", out="c.pem", **members):
        """The certificate, and what Java says."""
        if "new" not in members and "csr" not in members and op != "p10cr":
            members["new"] = self.new_key(f"{out}.key")
        if members["new" if "new" in members else "csr"] is None:
            del members["new"]
        if op != "kur":
            members = {"subject": "CN=whatever", **members}
        told = self.ask(verb, op, out=self.folder / out, **members)
        cert = x509.load_pem_x509_certificate((self.folder / out).read_bytes())
        with (self.folder / out).open("ab") as f:
            f.write(self.issuing.public_bytes(Encoding.PEM))
        return cert, told


@pytest.fixture
def unit(java, server, maker, tmp_path):
    return Unit(java, server, maker, tmp_path)


def state_of(server, cert):
    return server.ask("cert", "show", f"{cert.serial_number:032x}")["state"]


# --- clients ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["siemens", "bc"])
def test_through_a_devices_life(server, unit, verb):
    """First certificate with the IDevID, confirmed; a key update with what came of it, implicitly confirmed; another certificate; all with
    answers that the library verifies up to the root."""
    first, told = unit.enrol(verb)
    assert unit.udid in first.subject.rfc4514_string() and told["types"] == [IP, PKICONF]
    own = {"key": unit.folder / "c.pem.key", "cert": unit.folder / "c.pem"}
    second, told = unit.enrol(verb, "kur", out="d.pem", old=unit.folder / "c.pem", implicit="yes", **own)
    assert second.subject == first.subject and told["types"] == [KUP]
    third, told = unit.enrol(verb, "cr", out="e.pem", **own)
    assert told["types"] == [CP, PKICONF] and {state_of(server, c) for c in (first, second, third)} == {"active"}
    assert server.ask("cert", "show", f"{third.serial_number:032x}")["protocol"] == "cmp"


def test_by_pkcs10(server, unit):
    """certReqId is -1 in the answer and in what confirms it (RFC 9483 section 4.1.4). Siemens' client of version 4.1.4 insists on 0: its fault. Its
    certificate has been issued, and stays unconfirmed."""
    key = kit.KEYS["P-256"]()
    (unit.folder / "csr").write_bytes(kit.make_csr(key, "x"))
    cert, told = unit.enrol("bc", "p10cr", csr=unit.folder / "csr")
    assert (told["id"], told["types"]) == ("-1", [CP, PKICONF]) and cert.public_key() == key.public_key()
    told = unit.ask("siemens", "p10cr", csr=unit.folder / "csr", out=unit.folder / "c.pem", want="failed")
    assert told["types"] == [CP] and "CertReqId must be 0" in told["why"]


def test_self_signed_siemens(java, server, maker, tmp_path):
    """Its client never sends a self-signed certificate along; then the sender's common name says which device it is."""
    unit = Unit(java, server, maker, tmp_path)
    unit.device.cert = unit.device.self_signed(unit.udid)
    unit.cert, unit.key = unit.device.files(tmp_path, stem="self")
    assert unit.udid in unit.enrol()[0].subject.rfc4514_string()


@pytest.mark.parametrize("alg", ["P-384", "RSA-2048", "Ed25519"])
def test_kinds_of_keys(java, server, maker, tmp_path, alg):
    """Of the device, and to be certified."""
    unit = Unit(java, server, maker, tmp_path, alg)
    cert, _ = unit.enrol(new=unit.new_key("n", alg))
    assert kit.spki_of(load_pem_private_key((tmp_path / "n").read_bytes(), None)) == cert.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


MACS = [("siemens", {"mac": "PASSWORDBASEDMAC"}), ("bc", {"mac": "pbm"}), ("bc", {"mac": "pbmac1", "pvno": 3})]


@pytest.mark.parametrize("verb, how", MACS, ids=lambda v: v if isinstance(v, str) else v["mac"])
def test_with_a_code(server, unit, verb, how):
    """PasswordBasedMac and PBMAC1, and each verifies our answers with it."""
    cert, told = unit.enrol(verb, **code_for(server, unit), **how)
    assert unit.udid in cert.subject.rfc4514_string() and told["types"] == [IP, PKICONF]


def code_for(server, unit):
    code = server.ask("code", "create", "--udid", unit.udid, "--for", "cmp")["codes"][0]
    return {"reference": code["number"], "secret": code["code"]}


def test_siemens_pbmac1_is_not_pbmac1(server, unit):
    """Version 4.1.4 writes the bits of the derived key where RFC 8018 appendix A.2 has octets, so nobody but itself comes to the same MAC: its fault."""
    told = unit.ask("siemens", "ir", new=unit.new_key("n"), subject="CN=x", out=unit.folder / "c.pem", mac="PBMAC1", bits=256, want="failed",
                    **code_for(server, unit))
    assert told["types"] == [ERROR] and "cmp-" in told["said"]


# --- when it takes time -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb, how", [("siemens", {}), ("bc", {"pvno": 2}), ("bc", {"pvno": 3, "implicit": "yes"})], ids=["siemens", "bc-2", "bc-3"])
def test_waiting(java, server, maker, tmp_path, verb, how):
    """A person approves meanwhile. Siemens' client asks at once and then once a minute, so it has its certificate by the first pollReq; the other sees a
    pollRep before."""
    unit = Unit(java, server, maker, tmp_path, batch="watched-1")
    cert, told = unit.enrol(verb, on_wait=lambda: approve(server, unit), **how)
    assert state_of(server, cert) == "active"
    assert told["types"] == [IP, *([POLLREP] if verb == "bc" else []), IP, *([] if "implicit" in how else [PKICONF])]
    assert verb == "siemens" or told["check"] == "60"


def approve(server, unit):
    (row,) = server.ask("approval", "list", "--udid", unit.udid, "--state", "waiting")["rows"]
    server.run("approval", "approve", row["id"])


# --- keys made here ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["P-256", "P-384", "RSA-2048"])
def test_key_made_here(java, server, maker, tmp_path, alg):
    """Siemens' classes open it with the IDevID key. That one's certificate has no key identifier here, so it is named by issuer and serial number (RFC
    9483 section 4.1.6.1, 4.1.6.2). Two faults of theirs: the request says raVerified, where section 4.1.1 wants no proof of possession; and the client
    does not take the AsymmetricKeyPackage apart, so it goes without confirming (tests/e2e/java/src/Siemens.java)."""
    check_key(Unit(java, server, maker, tmp_path, alg))


def check_key(unit, **members):
    cert, told = unit.enrol(op="keygen", new=None, keyout=unit.folder / "made.key", **members)
    made = load_pem_private_key((unit.folder / "made.key").read_bytes(), None)
    assert made.public_key() == cert.public_key() and told["types"] == [IP] and told["n"] == "1"


@pytest.mark.parametrize("alg, want", [("RSA-2048", "ok"), ("P-256", "failed")])
def test_key_identifiers(java, server, maker, tmp_path, alg, want):
    """A certificate with a key identifier is named by that. For key agreement Siemens' client does not find itself then, though RFC 9483 section 4.1.6.2
    wants it so: its fault (it looks for issuer and serial number only)."""
    unit = Unit(java, server, maker, tmp_path, alg)
    ski = x509.SubjectKeyIdentifier.from_public_key(unit.device.key.public_key())
    unit.cert.write_bytes(maker.birth(unit.device, extensions=[(ski, False)]).public_bytes(Encoding.PEM))
    if want == "ok":
        check_key(unit)
    else:
        told = unit.ask("siemens", "keygen", subject="CN=x", want=want)
        assert told["types"] == [IP] and "recipient for certificate not found" in told["why"]


def test_key_made_here_for_a_code(server, unit):
    """Encrypted to the code itself (RFC 9483 section 4.1.6.3)."""
    check_key(unit, mac="PASSWORDBASEDMAC", **code_for(server, unit))


# --- services, questions, revocation ------------------------------------------------------------------------------------------------------------


def test_profile_names_the_service(server, unit):
    """certProfile (RFC 9483 section 3.1) is the service's name; both libraries say it in each message."""
    for verb in ("siemens", "bc"):
        cert, _ = unit.enrol(verb, profile="updates")
        assert server.ask("cert", "show", f"{cert.serial_number:032x}")["service"] == "updates"
    told = unit.ask("siemens", "ir", new=unit.new_key("n"), subject="CN=x", out=unit.folder / "x.pem", profile="nothing", want="failed")
    assert "service-refused" in told["said"]


def test_questions(server, unit):
    """caCerts, certReqTemplate, a CRL and none that is newer, and a root that has no successor."""
    issuing = unit.issuing
    assert unit.ask("siemens", "cacerts", out=unit.folder / "ca.pem")["n"] == "1"
    assert x509.load_pem_x509_certificate((unit.folder / "ca.pem").read_bytes()) == issuing
    assert len(bytes.fromhex(unit.ask("siemens", "template")["template"])) > 4
    issuer = ",".join(rdn.rfc4514_string() for rdn in issuing.subject.rdns)
    assert unit.ask("siemens", "crl", issuer=issuer, out=unit.folder / "crl.pem")["n"] == "1"
    crl = x509.load_pem_x509_crl((unit.folder / "crl.pem").read_bytes())
    assert crl.is_signature_valid(issuing.public_key())
    assert unit.ask("siemens", "crl", issuer=issuer, since=2**31 - 1)["n"] == "0"
    assert unit.ask("siemens", "root", old=server.anchors())["n"] == "0"
    assert int(unit.ask("bc", "crl")["revoked"]) >= 0


@pytest.mark.parametrize("verb", ["siemens", "bc"])
def test_revocation(server, unit, verb):
    """By the device. Siemens' client is told issuer and serial number."""
    cert, _ = unit.enrol(verb)
    told = unit.ask(verb, "rr", **revoked(unit, cert, 4))
    assert told["types"] == [RP] and told.get("revoked", "yes") == "yes" and told.get("status", "0") == "0"
    shown = server.ask("cert", "show", f"{cert.serial_number:032x}")
    assert (shown["state"], shown["reason"]) == ("revoked", 4)


def revoked(unit, cert, reason):
    return {"old": unit.folder / "c.pem", "issuer": cert.issuer.rfc4514_string(), "serial": f"{cert.serial_number:x}", "reason": reason}


# --- registration authorities ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ra(authority, tmp_path):
    """Members that make Java speak as one."""
    member = authority.member()
    cert, key = tmp_path / "ra.crt", tmp_path / "ra.key"
    cert.write_bytes(b"".join(c.public_bytes(Encoding.PEM) for c in (member.cert, authority.cert)))
    key.write_bytes(kit.key_pem(member.key))
    return {"key": key, "cert": cert}


def test_siemens_client_around_its_own(unit, ra):
    """Its client puts its message into one of a registration authority's (RFC 9483 section 5.2.2.1)."""
    cert, told = unit.enrol("siemens", "ir", ra_key=ra["key"], ra_cert=ra["cert"], implicit="yes")
    assert unit.udid in cert.subject.rfc4514_string() and told["types"] == [IP]


def test_bc_in_a_devices_name(unit, ra):
    """raVerified, with a subject that names the device (section 5.2.3.2)."""
    cert, _ = unit.enrol("bc", "ir", subject=f"CN={unit.udid}", ra_verified="yes", **ra)
    assert unit.udid in cert.subject.rfc4514_string()


@pytest.mark.parametrize("verb", ["siemens", "bc"])
def test_revocation_in_a_devices_name(server, unit, ra, verb):
    """Section 5.3.2."""
    cert, _ = unit.enrol(verb)
    assert unit.ask(verb, "rr", **{**revoked(unit, cert, 1), **ra})["types"] == [RP]
    assert server.ask("cert", "show", f"{cert.serial_number:032x}")["reason"] == 1


@pytest.fixture
def through(java, server, unit, maker, ra, tmp_path):
    """through("around"): the port of Siemens' RA component between the device and the server."""
    def start(mode):
        maker.pem(tmp_path / "devices.pem")
        devices = tmp_path / "devices.pem"
        devices.write_bytes(devices.read_bytes() + server.anchors().read_bytes())
        told = java("ra", url=f"http://127.0.0.1:{server.http}/.well-known/cmp", mode=mode, devices=devices, anchors=server.anchors(), udid=unit.udid, **ra)
        return int(told["port"])
    return start


def test_through_siemens_ra(server, unit, through):
    """Messages of devices in messages of the authority: the server answers the device, whose client verifies that up to the root."""
    port = through("around")
    first, told = unit.enrol(port=port)
    assert unit.udid in first.subject.rfc4514_string() and told["types"] == [IP, PKICONF]
    own = {"key": unit.folder / "c.pem.key", "cert": unit.folder / "c.pem", "port": port}
    _, told = unit.enrol("bc", "kur", out="d.pem", **own)
    assert told["types"] == [KUP, PKICONF]
    assert unit.ask("siemens", "rr", **revoked(unit, first, 5), **own)["types"] == [RP]
    assert state_of(server, first) == "revoked"


def test_waiting_through_siemens_ra(java, server, maker, through, tmp_path):
    """In version 2: in version 3 the component takes recipNonce of the request, which section 3.1 wants in the answer that was waited for, for an error."""
    unit = Unit(java, server, maker, tmp_path, batch="watched-1")
    cert, told = unit.enrol("bc", on_wait=lambda: approve(server, unit), port=through("around"))
    assert told["types"] == [IP, POLLREP, IP, PKICONF] and state_of(server, cert) == "active"
    other = Unit(java, server, maker, tmp_path, batch="watched-1")
    told = other.ask("bc", "ir", on_wait=lambda: approve(server, other), port=through("around"), new=other.new_key("n"), subject="CN=x", pvno=3, want="failed")
    assert "nonce mismatch on upstream" in told["said"]


def test_siemens_ra_in_a_devices_name(server, unit, through):
    """The authority replaces the protection, names the device, and says raVerified; revokes likewise; the log has whose word it was."""
    port = through("instead")
    cert, told = unit.enrol(port=port)
    assert unit.udid in cert.subject.rfc4514_string() and told["types"] == [IP, PKICONF]
    own = {"key": unit.folder / "c.pem.key", "cert": unit.folder / "c.pem", "port": port}
    assert unit.ask("siemens", "rr", **revoked(unit, cert, 4), **own)["types"] == [RP]
    assert state_of(server, cert) == "revoked"
    log = server.run("log", "entries").stdout
    assert f'"revoked":"{cert.serial_number:032x}"' in log and '"event":"cmp.vouched"' in log


def test_root_update(server, unit):
    """rootCaCert, when the root has been followed by another (RFC 9483 section 4.3.2). The last test here: all CAs above are the old ones."""
    server.run("ca", "rollover", "root", "root-2")
    assert unit.ask("siemens", "root", old=server.anchors(), out=unit.folder / "roots.pem")["n"] == "3"
    new, new_with_old, old_with_new = x509.load_pem_x509_certificates((unit.folder / "roots.pem").read_bytes())
    old = x509.load_pem_x509_certificate(server.anchors().read_bytes())
    new.verify_directly_issued_by(new)
    new_with_old.verify_directly_issued_by(old)
    old_with_new.verify_directly_issued_by(new)
