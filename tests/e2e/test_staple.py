"""OCSP stapling on our own TLS, as openssl, curl and gnutls see it, with TLS 1.2 and 1.3; must-staple (RFC 7633)."""

import json
import ssl
import subprocess

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

import kit
from kit import EST, Device, certs_of_pkcs7, make_csr

VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])


@pytest.fixture(scope="module")
def server(shared_servers, tmp_path_factory):
    """Its own certificate has to be stapled: set before the first start, which makes it."""
    s = shared_servers()
    s.init()
    profile = json.loads(s.run("profile", "show", "tls-server").stdout)
    path = tmp_path_factory.mktemp("staple") / "tls-server.json"
    path.write_text(json.dumps({**profile, "must_staple": True}))
    s.run("profile", "set", "tls-server", path)
    s.furnish()
    s.start()
    return s


def run(*words, want=0, **more):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=60, **{"stdin": subprocess.DEVNULL, **more})
    assert want is None or done.returncode == want, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def status(server, version):
    return run("openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-status", f"-tls{version.replace('.', '_')}", "-CAfile",
               server.anchors(), "-verify_return_error", "-verify_ip", "127.0.0.1")


def own_certificate(server):
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", server.port)).encode())


@VERSIONS
def test_openssl_gets_a_staple(server, version):
    told = status(server, version)
    assert "OCSP Response Status: successful" in told and "Cert Status: good" in told
    assert f"Serial Number: {own_certificate(server).serial_number:032X}" in told


def test_none_for_who_does_not_ask(server):
    told = run("openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", server.anchors())
    assert "OCSP response" not in told


def test_must_staple_is_in_the_certificate(server):
    (feature,) = own_certificate(server).extensions.get_extension_for_class(x509.TLSFeature).value
    assert feature == x509.TLSFeatureType.status_request


@VERSIONS
def test_curl_checks_the_staple_and_enrols(server, tmp_path, version):
    """curl verifies the answer's signature and freshness, and the keeper the handshake with the staple in it."""
    d = Device()
    server.register(d, name=f"m-{version}")
    cert, key = d.files(tmp_path)
    (tmp_path / "csr").write_bytes(make_csr(kit.KEYS["P-256"]()))
    run("openssl", "base64", "-in", tmp_path / "csr", "-out", tmp_path / "csr.b64")
    run("curl", "-sS", "--fail", "--cert-status", "--cacert", server.anchors(), "--cert", cert, "--key", key, f"--tlsv{version}", "--tls-max", version,
        "-H", "Content-Type: application/pkcs10", "--data-binary", f"@{tmp_path / 'csr.b64'}", "-o", tmp_path / "answer",
        f"https://127.0.0.1:{server.port}{EST}simpleenroll")
    assert len(certs_of_pkcs7((tmp_path / "answer").read_bytes())) == 1


@VERSIONS
def test_gnutls_wants_the_staple_that_the_certificate_promises(server, version):
    """gnutls refuses a certificate with the TLS feature extension when nothing is stapled."""
    told = run("gnutls-cli", "--x509cafile", server.anchors(), "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "-p", server.port, "127.0.0.1",
               input="", stdin=None)
    assert "The certificate is trusted" in told and "OCSP status request" in told


def staple_of(server):
    told = run("gnutls-cli", "--x509cafile", server.anchors(), "--save-ocsp", server.folder / "staple.der", "--insecure", "-p", server.port,
               "127.0.0.1", input="", stdin=None, want=None)
    assert (server.folder / "staple.der").exists(), told
    return ocsp.load_der_ocsp_response((server.folder / "staple.der").read_bytes())


def test_the_staple_follows_a_revocation(server):
    """With the next handshakes, in all workers, and without a restart."""
    cert = own_certificate(server)
    before = staple_of(server)
    assert before.certificate_status == ocsp.OCSPCertStatus.GOOD and before.serial_number == cert.serial_number
    assert before.next_update_utc > before.this_update_utc
    server.run("cert", "revoke", f"{cert.serial_number:032x}", "--reason", "keyCompromise")
    kit.wait_for("a staple that says so", lambda: "Cert Status: revoked" in status(server, "1.3"))
    assert all("Cert Status: revoked" in status(server, "1.2") for _ in range(4))
    assert staple_of(server).revocation_reason == x509.ReasonFlags.key_compromise


def test_no_staple_for_somebody_elses_certificate(new_server, tmp_path):
    """The operator's own certificate is of a CA that we cannot answer for: served as ever."""
    key, name = kit.KEYS["P-256"](), kit.name_of("other")
    cert = kit.make_cert(key, name, key, name)
    (tmp_path / "c.pem").write_bytes(cert.public_bytes(kit.PEM))
    (tmp_path / "k.pem").write_bytes(kit.key_pem(key))
    s = new_server()
    s.init()
    (s.data / "birthmark.conf").write_text(f"tls_cert_file = {tmp_path / 'c.pem'}\ntls_key_file = {tmp_path / 'k.pem'}\n")
    s.start()
    assert "OCSP response: no response sent" in run("openssl", "s_client", "-connect", f"127.0.0.1:{s.port}", "-status")
