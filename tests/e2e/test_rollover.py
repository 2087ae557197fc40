"""A root and an issuing CA are rolled over while devices live on: one follows by trust bundles, one by EST cacerts, one sleeps through it, one is made
afterwards, one is the agent. At every step each of them verifies all the others and the server, with nothing but what it trusts by then. OpenSSL
verifies the devices' certificates, Python's ssl the server's."""

import base64
import itertools
import shutil

import pytest
from cryptography import x509

import kit
from kit import EST, PEM, Device, call, certs_of_pkcs7, make_csr, tls_context, wait_for
from test_agent import Agent
from test_est_cas import ca, verifies
from test_trust import follow, says


def is_signed_by(cert, by):
    try:
        cert.verify_directly_issued_by(by)
    except Exception:
        return False
    return True


def spki(cert):
    return cert.public_key().public_bytes(kit.DER, kit.serialization.PublicFormat.SubjectPublicKeyInfo)


class Follower(Device):
    """What it trusts, what it tells its peers beside its certificate, and how it hears of news."""

    def __init__(self, server, name, root, way, folder):
        super().__init__()
        self.server, self.name, self.roots, self.way, self.folder = server, name, [root], way, folder / name
        self.others, self.held = [], None
        self.folder.mkdir()
        self.cert_now = self.key_now = None

    def context(self, *identity):
        anchors = self.folder / "roots.pem"
        anchors.write_bytes(b"".join(c.public_bytes(PEM) for c in self.roots))
        return tls_context(anchors, *identity)

    def get(self, path):
        answer = call(self.server, "GET", path, context=self.context())
        assert answer.status == 200, answer
        return answer

    def sync(self):
        getattr(self, f"by_{self.way}")()
        return self

    def by_bundle(self):
        """By the program of docs/trust.md."""
        jws = self.get("/trust/telemetry.jws").text
        self.roots = follow("telemetry", jws, self.roots, self.held)
        self.held = jws
        certs = [(c["use"], x509.load_der_x509_certificate(base64.b64decode(c["der"]))) for c in says(jws)["certificates"]]
        self.others = [c for use, c in certs if use != "root"]

    def by_cacerts(self):
        """RFC 7030 section 4.1.3: a root counts when a trusted one has signed its key."""
        told = certs_of_pkcs7(self.get(EST + "telemetry/cacerts").body)
        selfsigned = [c for c in told if is_signed_by(c, c)]
        trusted = [c for c in selfsigned if c in self.roots]
        links = [c for c in told if any(is_signed_by(c, t) for t in trusted)]
        self.roots = trusted + [c for c in selfsigned if c not in trusted and any(spki(c) == spki(link) for link in links)]
        self.others = [c for c in told if c not in selfsigned]

    def enrol(self):
        renews = self.cert_now is not None
        context = self.context(*self.files(self.folder, self.cert_now, self.key_now))
        self.key_now = self.key_now or kit.KEYS["P-256"]()
        body = base64.b64encode(make_csr(self.key_now, self.cert_now.subject if renews else None))
        answer = call(self.server, "POST", EST + ("simplereenroll" if renews else "simpleenroll"), body,
                      {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}, context)
        assert answer.status == 200, answer
        (self.cert_now,) = certs_of_pkcs7(answer.body)
        return self


def all_verify_all(devices):
    for one in devices:
        one.get(EST + "cacerts")
    for one, other in itertools.permutations(devices, 2):
        assert any(verifies(one.folder, root, other.others, other.cert_now) for root in one.roots), f"{one.name} does not know {other.name}"


@pytest.fixture
def server(new_server):
    s = new_server()
    s.init()
    s.furnish()
    s.start("--workers", 1)
    return s


def test_everybody_follows(server, build_dir, tmp_path):
    old_root, issuing = ca(server, "root"), ca(server, "issuing")
    by_bundle, by_cacerts, sleeper = (Follower(server, name, old_root, way, tmp_path)
                                      for name, way in (("ann", "bundle"), ("bob", "cacerts"), ("cat", "bundle")))
    agent = Agent(build_dir / "bin" / "birthmark-agent", tmp_path / "agent", server).register()
    devices = [by_bundle, by_cacerts, sleeper]
    server.register(*devices, name="old")
    for d in devices:
        d.enrol().sync()
    agent.run("enrol")
    shutil.copy(agent.out / "current" / "anchors.pem", tmp_path / "learned.pem")
    assert x509.load_pem_x509_certificates((tmp_path / "learned.pem").read_bytes()) == [old_root]
    all_verify_all(devices)
    first = sleeper.held

    # the root gets a new key
    server.run("ca", "rollover", "root", "root-2")
    new_root = ca(server, "root-2")
    wait_for("the view", lambda: new_root in certs_of_pkcs7(call(server, "GET", EST + "telemetry/cacerts").body))
    for d in (by_bundle, by_cacerts):
        assert set(d.sync().roots) == {old_root, new_root} and len(d.others) == 3, "issuing and both links"
    assert [c["use"] for c in says(by_bundle.held)["certificates"]] == ["root", "intermediate", "root", "link", "link"]
    all_verify_all(devices)

    # a CA below it takes over, and the server's own certificate moves with it
    server.run("ca", "create", "issuing-2", "--parent", "root-2")
    assert by_bundle.sync().held == by_bundle.held and says(by_bundle.held)["version"] == 2, "it is nobody's yet"
    server.run("ca", "rotate", "issuing", "--onto", "issuing-2", "--at", "3s")
    issuing_2 = ca(server, "issuing-2")
    wait_for("the announcement", lambda: issuing_2 in by_cacerts.sync().others)
    assert issuing_2 in by_bundle.sync().others, "told before it issues"
    all_verify_all(devices)
    wait_for("the hand-over", lambda: by_bundle.enrol().cert_now.issuer == issuing_2.subject)
    all_verify_all(devices)
    made = Follower(server, "dan", new_root, "cacerts", tmp_path)
    server.register(made, name="new")
    server.run("service", "set", "telemetry", "--title", "Telemetry")  # the workers look again, as they do every quarter of an hour
    wait_for("the server's certificate", lambda: issuer_of_server(server, by_bundle) == issuing_2.subject)
    assert made.enrol().sync().cert_now.issuer == issuing_2.subject
    devices.append(made)
    all_verify_all(devices)

    # the rest renews; the sleeper, with the old root alone, is served and understood all the time
    assert by_cacerts.enrol().sync().cert_now.issuer == issuing_2.subject
    all_verify_all(devices)
    assert sleeper.roots == [old_root] and sleeper.cert_now.issuer == issuing.subject
    assert sleeper.held == first and sleeper.sync().held != first, "the links lead from the old root to whoever signs now"
    assert set(sleeper.roots) == {old_root, new_root}
    assert sleeper.enrol().cert_now.issuer == issuing_2.subject
    all_verify_all(devices)

    # the agent comes with nothing but what it was told at its first enrolment, and is told the new root
    agent.run("enrol", "--anchors", tmp_path / "learned.pem")
    assert x509.load_pem_x509_certificates((agent.out / "current" / "anchors.pem").read_bytes()) == [new_root]
    chain = x509.load_pem_x509_certificates((agent.out / "current" / "telemetry" / "chain.pem").read_bytes())
    leaf = x509.load_pem_x509_certificate((agent.out / "current" / "telemetry" / "cert.pem").read_bytes())
    assert leaf.issuer == issuing_2.subject and verifies(tmp_path, new_root, chain, leaf)
    assert all(any(verifies(d.folder, root, d.others, leaf) for root in d.roots) for d in devices)

    # versions have gone up one by one, for one service
    assert [says(jws)["version"] for jws in (first, by_bundle.held)] == [1, 3]
    assert server.run("log", "verify").returncode == 0


def issuer_of_server(server, device):
    with kit.connect(server, device.context()) as s:
        return x509.load_der_x509_certificate(s.getpeercert(binary_form=True)).issuer
