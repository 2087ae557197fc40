"""ML-DSA (FIPS 204; RFC 9881, RFC 9882) from the device's key to the root, with OpenSSL's command and curl as the device. OpenSSL has it from 3.5 on, which is
Debian 13's; with an older one only the first test runs. What breaks when a test fails: who has moved to post-quantum keys gets no certificates, or
certificates that nobody can verify."""

import base64
import hashlib
import json
import subprocess

import pytest

import kit

SIZES = ["ML-DSA-44", "ML-DSA-65", "ML-DSA-87"]
HERE = "ML-DSA-65" in subprocess.run(["openssl", "list", "-signature-algorithms"], capture_output=True, text=True).stdout
needs_ml_dsa = pytest.mark.skipif(not HERE, reason="OpenSSL before 3.5 has no ML-DSA; make check-debian13 runs this")


def openssl(*words, want=0, input=None):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, input=input, timeout=30)
    assert done.returncode == want, f"openssl {words}: {done.stdout[-2000:]}{done.stderr.decode()}"
    return done.stdout


class Device:
    """A unit with an ML-DSA key for its IDevID, in files."""

    def __init__(self, folder, alg):
        self.folder, self.alg = folder, alg
        self.key, self.cert = folder / "id-key.pem", folder / "id.pem"
        openssl("genpkey", "-algorithm", alg, "-out", self.key)
        openssl("req", "-x509", "-new", "-key", self.key, "-subj", "/CN=unit", "-days", 365, "-out", self.cert)
        self.spki = openssl("pkey", "-in", self.key, "-pubout", "-outform", "DER")
        self.udid = hashlib.sha256(self.spki).hexdigest()

    def line(self):
        return json.dumps({"key": kit.b64u(self.spki), "rot": "software"}) + "\n"

    def request(self, alg, subject="/"):
        """A new key and a certificate request over it, DER."""
        key = self.folder / f"key-{alg}-{len(list(self.folder.iterdir()))}.pem"
        openssl("genpkey", "-algorithm", alg, "-out", key)
        return key, openssl("req", "-new", "-key", key, "-subj", subject, "-outform", "DER")

    def enrol(self, server, csr, op="simpleenroll", cert=None, key=None):
        """With curl; returns the status and the certificate issued, as a file, or the text of the refusal."""
        done = subprocess.run(["curl", "-sS", "--cacert", server.anchors(), "--cert", cert or self.cert, "--key", key or self.key, "-w", "\n%{http_code}",
                               "-H", "Content-Type: application/pkcs10", "--data-binary", "@-", f"{server.url}/.well-known/est/{op}"],
                              input=base64.b64encode(csr), capture_output=True, timeout=60)
        body, status = done.stdout.rsplit(b"\n", 1)
        if status != b"200":
            return status.decode(), body.decode() + done.stderr.decode()
        out = self.folder / f"issued-{len(list(self.folder.iterdir()))}.pem"
        openssl("pkcs7", "-inform", "DER", "-print_certs", "-out", out, input=base64.b64decode(body))
        return "200", out


def curl(server, path, out, *words):
    done = subprocess.run(["curl", "-sSf", "--cacert", server.anchors(), "-o", out, *words, server.url + path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init("--ca-alg", "ML-DSA-65")
    s.furnish()
    s.start()
    return s


@pytest.fixture(scope="module")
def bundle(server):
    path = server.folder / "cas.pem"
    body = subprocess.run(["curl", "-sS", "--cacert", server.anchors(), f"{server.url}/.well-known/est/cacerts"], capture_output=True).stdout
    openssl("pkcs7", "-inform", "DER", "-print_certs", "-out", path, input=base64.b64decode(body))
    return path


@pytest.fixture
def register(server, tmp_path):
    def some(alg="ML-DSA-65"):
        device = Device(tmp_path, alg)
        server.register(device, name=f"m-{device.udid[:12]}")
        return device

    return some


def assert_good(server, bundle, cert, key, signed_by="ML-DSA-65"):
    """OpenSSL builds the chain, finds the CA's signature in it, and the key in the certificate."""
    openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", server.anchors(), "-untrusted", bundle, cert)
    assert openssl("x509", "-in", cert, "-noout", "-pubkey") == openssl("pkey", "-in", key, "-pubout")
    assert f"Signature Algorithm: {signed_by}" in openssl("x509", "-in", cert, "-noout", "-text").decode()


@pytest.mark.skipif(HERE, reason="it is there")
def test_without_it_the_ca_is_refused_in_so_many_words(new_server):
    done = new_server().run("init", "--organisation", "Test", "--ca-alg", "ML-DSA-65", want=None)
    assert done.returncode != 0 and "ML-DSA-65" in done.stderr, done.stderr


@needs_ml_dsa
@pytest.mark.parametrize("alg", SIZES)
def test_a_device_enrols_and_renews(server, bundle, register, alg):
    """The IDevID's key, the key asked for, TLS 1.3 on both, and the CA: all ML-DSA."""
    d = register(alg)
    key, csr = d.request(alg)
    status, cert = d.enrol(server, csr)
    assert status == "200", cert
    assert_good(server, bundle, cert, key)
    subject = openssl("x509", "-in", cert, "-noout", "-subject", "-nameopt", "compat").decode().split("=", 1)[1].strip()
    next_key, next_csr = d.request(alg, subject)
    status, renewed = d.enrol(server, next_csr, "simplereenroll", cert, key)
    assert status == "200", renewed
    assert_good(server, bundle, renewed, next_key)
    assert server.state(d) == "active"


@needs_ml_dsa
def test_both_kinds_side_by_side(server, bundle, register, tmp_path):
    """A device with an EC key under the ML-DSA CA, and an EC key for a device with an ML-DSA IDevID."""
    d = kit.Device()
    server.register(d, name="m-ec")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", tmp_path / "ec.pem")
    csr = openssl("req", "-new", "-key", tmp_path / "ec.pem", "-subj", "/", "-outform", "DER")
    cert, key = d.files(tmp_path, stem="ec-id")
    for device, words in ((register(), {}), (register("ML-DSA-44"), {}), (register(), {"cert": cert, "key": key})):
        status, issued = device.enrol(server, csr, **words)
        assert status == "200", issued
        assert_good(server, bundle, issued, tmp_path / "ec.pem")


@needs_ml_dsa
def test_a_stranger_and_a_forger(server, register, tmp_path):
    d = register()
    (tmp_path / "other").mkdir()
    stranger = Device(tmp_path / "other", "ML-DSA-65")
    status, why = stranger.enrol(server, stranger.request("ML-DSA-65")[1])
    assert status == "403" and "unknown-device" in why
    csr = bytearray(d.request("ML-DSA-65")[1])
    csr[-1] ^= 1
    status, why = d.enrol(server, bytes(csr))
    assert status == "403" and "bad-signature" in why


@needs_ml_dsa
def test_revocation(server, bundle, register, tmp_path):
    """CRL and OCSP answer, signed by the ML-DSA CA and its delegate, verify."""
    d = register()
    key, csr = d.request("ML-DSA-65")
    _, cert = d.enrol(server, csr)
    serial = openssl("x509", "-in", cert, "-noout", "-serial").decode().strip().split("=")[1]
    server.run("cert", "revoke", serial.lower().rjust(32, "0"))
    ca, ask, answer = tmp_path / "issuer.pem", tmp_path / "ask", tmp_path / "answer"
    name = next(c["name"] for c in server.ask("ca", "list")["rows"] if c["name"] != "root")
    server.run("ca", "export", name, "--out", ca, "--quiet")
    openssl("ocsp", "-issuer", ca, "-cert", cert, "-no_nonce", "-reqout", ask)
    curl(server, "/ocsp", answer, "-H", "Content-Type: application/ocsp-request", "--data-binary", f"@{ask}")
    said = subprocess.run(["openssl", "ocsp", "-respin", answer, "-issuer", ca, "-cert", cert, "-CAfile", server.anchors(), "-verify_other", bundle],
                          capture_output=True, text=True)
    assert "Response verify OK" in said.stderr and f"{cert}: revoked" in said.stdout, said
    crl = tmp_path / "crl"
    curl(server, f"/crl/{name}.crl", crl)
    checked = subprocess.run(["openssl", "crl", "-inform", "DER", "-in", crl, "-CAfile", ca, "-noout", "-text"], capture_output=True, text=True)
    assert "verify OK" in checked.stderr and serial in checked.stdout and "ML-DSA-65" in checked.stdout, checked


@needs_ml_dsa
def test_the_history_holds(server):
    """Whatever these keys did, the audit log verifies."""
    server.run("log", "verify")
