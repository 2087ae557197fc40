"""An issuing CA gets a new key while devices go on: OpenSSL verifies what both have issued, both answer for revocation, EST shows both, devices renew
to the new one, and the old one retires when nothing of it is valid. On one host, and on two that share a registry."""

import json
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization

from kit import EST, Device, call, certs_of_pkcs7, est_enrol, wait_for
from postgres import Postgres
from test_disk_and_clock import clock  # noqa: F401
from test_hosts import Hosts

SHORT = 60  # seconds a certificate of the short profile is good for


def issuer_of(answer):
    assert answer.status == 200, answer
    return certs_of_pkcs7(answer.body)[0].issuer.rfc4514_string()


def pem(cert):
    return cert.public_bytes(serialization.Encoding.PEM)


def openssl(*words, want=0):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    assert want is None or done.returncode == want, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def verify(server, cert, ca, folder):
    """With the root as the only anchor, that CA's certificate and its CRL."""
    leaf, chain, crl = folder / "leaf.pem", folder / f"{ca}.pem", folder / f"{ca}.crl"
    leaf.write_bytes(pem(cert))
    server.run("ca", "export", ca, "--out", chain, "--quiet")
    server.run("crl", "export", ca, "--out", crl, "--quiet")
    return openssl("verify", "-x509_strict", "-crl_check", "-CRLfile", crl, "-CAfile", server.anchors(), "-untrusted", chain, leaf, want=None)


def ocsp(server, cert, ca, folder):
    leaf, chain, ask, answer = folder / "leaf.pem", folder / f"{ca}.pem", folder / "ask.der", folder / "answer.der"
    leaf.write_bytes(pem(cert))
    server.run("ca", "export", ca, "--out", chain, "--quiet")
    openssl("ocsp", "-issuer", chain, "-cert", leaf, "-no_nonce", "-reqout", ask)
    got = call(server, "POST", "/ocsp", ask.read_bytes(), {"Content-Type": "application/ocsp-request"})
    answer.write_bytes(got.body)
    return openssl("ocsp", "-respin", answer, "-issuer", chain, "-cert", leaf, "-CAfile", server.anchors(), "-verify_other", chain, want=None)


def cacerts(server):
    certs = certs_of_pkcs7(call(server, "GET", EST + "cacerts").body)
    return {c.subject.rfc4514_string().split("CN=")[1].split(",")[0] for c in certs}


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.start()
    s.furnish()
    return s


def test_devices_follow(server, tmp_path):
    early, late = Device(), Device()
    server.register(early, late, name="rotation")

    first, key = est_enrol(server, early, tmp_path)
    (old_cert,) = certs_of_pkcs7(first.body)
    assert "issuing CA" in issuer_of(first) and "OK" in verify(server, old_cert, "issuing", tmp_path)

    # announced: shown to everybody, but it does not issue yet
    told = server.ask("ca", "rotate", "issuing", "--at", "2s", "--alg", "EC:P-384")
    assert told["successor"] == "issuing-2" and told["key"] == "file:issuing-2"
    wait_for("both CAs in cacerts", lambda: {"Test issuing CA", "Test issuing-2 CA"} <= cacerts(server))
    renewed, _ = est_enrol(server, early, tmp_path, op="simplereenroll", cert=old_cert, cert_key=key, subject=old_cert.subject)
    assert "issuing CA" in issuer_of(renewed)

    # from the moment on, without a word from anybody
    def on_the_new_one():
        answer, own = est_enrol(server, early, tmp_path, op="simplereenroll", cert=old_cert, cert_key=key, subject=old_cert.subject)
        return "issuing-2 CA" in issuer_of(answer) and (answer, own)

    answer, new_key = wait_for("the hand-over", on_the_new_one)
    (new_cert,) = certs_of_pkcs7(answer.body)
    assert "OK" in verify(server, new_cert, "issuing-2", tmp_path)
    assert "OK" in verify(server, old_cert, "issuing", tmp_path)
    assert "issuing-2 CA" in issuer_of(est_enrol(server, late, tmp_path)[0])
    row = server.ask("ca", "show", "issuing")
    assert (row["state"], row["successor"], server.ask("ca", "show", "issuing-2")["alg"]) == ("active", "issuing-2", "P-384")

    # both answer for what they issued, and revoking on either side is seen
    assert ": good" in ocsp(server, old_cert, "issuing", tmp_path) and ": good" in ocsp(server, new_cert, "issuing-2", tmp_path)
    server.run("cert", "revoke", f"{certs_of_pkcs7(renewed.body)[0].serial_number:032x}")
    assert "revoked" in verify(server, certs_of_pkcs7(renewed.body)[0], "issuing", tmp_path)
    assert ": revoked" in ocsp(server, certs_of_pkcs7(renewed.body)[0], "issuing", tmp_path)
    assert "OK" in verify(server, new_cert, "issuing-2", tmp_path)

    # a device that renews with the certificate of the new one stays there
    assert "issuing-2 CA" in issuer_of(est_enrol(server, early, tmp_path, op="simplereenroll", cert=new_cert, cert_key=new_key,
                                                 subject=new_cert.subject)[0])
    for words, code in ((("rotate", "issuing"), "ca-rotated"), (("rotate", "root"), "root"), (("retire", "issuing"), "ca-in-use"),
                        (("retire", "issuing-2"), "ca-not-rotated"), (("rotate", "issuing-2", "--successor", "x-delta"), "delta"),
                        (("rotate", "issuing-2", "--successor", "root"), "already"), (("rotate", "nobody"), "no such")):
        done = server.run("ca", *words, want=None)
        assert done.returncode != 0 and code in done.stderr, done.stderr


def test_retire(shared_servers, clock, tmp_path):
    """Not before the last certificate has expired, the revoked ones too: they must stay in the CRL. Then it is out of cacerts, and its successor's
    successor issues."""
    s = shared_servers(env=clock.env())
    s.init()
    s.start()
    profile = json.loads(s.run("profile", "show", "ldevid").stdout)
    profile["validity"] = f"{SHORT}s"
    (tmp_path / "short.json").write_text(json.dumps(profile))
    s.run("profile", "set", "short", tmp_path / "short.json")
    s.furnish(policy=("--profile", "short", "--renew-expired", "yes"))
    device = Device()
    s.register(device)
    answer, key = est_enrol(s, device, tmp_path)
    (cert,) = certs_of_pkcs7(answer.body)
    s.run("cert", "revoke", f"{certs_of_pkcs7(est_enrol(s, device, tmp_path)[0].body)[0].serial_number:032x}")
    s.run("ca", "rotate", "issuing")
    s.run("ca", "rotate", "issuing-2", "--successor", "third")
    assert "third CA" in issuer_of(est_enrol(s, device, tmp_path)[0])
    done = s.run("ca", "retire", "issuing", want=None)
    assert done.returncode != 0 and "2 certificates" in done.stderr
    s.run("ca", "retire", "issuing-2")  # it never issued anything
    clock.set(SHORT + 30)
    wait_for("the end of the last certificate", lambda: s.run("ca", "retire", "issuing", want=None).returncode == 0)
    assert s.ask("ca", "show", "issuing")["state"] == "retired"
    wait_for("cacerts without them", lambda: cacerts(s) == {"Test root CA", "Test third CA"})
    # the parent's CRL does not say that it was revoked: it was not
    s.run("crl", "export", "root", "--out", tmp_path / "root.crl")
    assert "No Revoked Certificates" in openssl("crl", "-noout", "-text", "-in", tmp_path / "root.crl")
    # who slept through all of it comes back with its old certificate, as the product allows
    again, _ = est_enrol(s, device, tmp_path, op="simplereenroll", cert=cert, cert_key=key, subject=cert.subject)
    assert "third CA" in issuer_of(again)
    assert s.run("log", "verify").returncode == 0


def test_two_hosts(shared_servers, tmp_path):
    """Rotated on one, the other issues from the new CA at the same moment, with the key it fetched itself."""
    postgres = Postgres()
    try:
        pair = Hosts(shared_servers, postgres.database())
        a, b = pair.all
        devices = [Device(), Device()]
        a.register(*devices)
        assert "issuing CA" in issuer_of(est_enrol(b, devices[0], tmp_path)[0])
        a.run("ca", "rotate", "issuing")
        for host in (b, a):
            for device in devices:
                assert "issuing-2 CA" in issuer_of(est_enrol(host, device, tmp_path)[0])
        done = b.run("ca", "retire", "issuing", want=None)
        assert done.returncode != 0 and "ca-in-use" in done.stderr
        b.run("ca", "rotate", "issuing-2", "--at", "1s")
        wait_for("both on the third", lambda: all("issuing-3 CA" in issuer_of(est_enrol(h, devices[1], tmp_path)[0]) for h in (a, b)))
        b.stop()
        a.stop()
    finally:
        postgres.end()
