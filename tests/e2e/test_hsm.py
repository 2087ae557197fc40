"""Keys of CAs in a token: a server whose root and issuing CA live in SoftHSM2. OpenSC's pkcs11-tool and OpenSSL say whether it is true."""

import concurrent.futures
import http.client
import json
import os
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kit import Device, assert_refused, certs_of_pkcs7, est_enrol, free_port, wait_for

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN, SO_PIN = "ca-4711", "12345678"


class Token:
    """A SoftHSM2 store of its own with the token `ca`."""

    def __init__(self, folder):
        self.store, self.conf, self.pin_file = folder / "tokens", folder / "softhsm2.conf", folder / "pin"
        self.store.mkdir(parents=True)
        self.conf.write_text(f"directories.tokendir = {self.store}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.pin_file.write_text(PIN + "\n")
        self.env = {"SOFTHSM2_CONF": str(self.conf)}
        self.tool("softhsm2-util", "--init-token", "--free", "--label", "ca", "--pin", PIN, "--so-pin", SO_PIN)

    def tool(self, *words, want=0):
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **self.env}, timeout=60)
        assert done.returncode == want, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def pkcs11(self, *words, want=0):
        return self.tool("pkcs11-tool", "--module", MODULE, "--token-label", "ca", "--login", "--pin", PIN, *words, want=want)

    def private_keys(self):
        """Their labels, and what pkcs11-tool says of their access."""
        text = self.pkcs11("--list-objects", "--type", "privkey")
        return {part.split("label:")[1].split("\n")[0].strip(): part for part in text.split("Private Key Object")[1:]}

    def take_away(self):
        self.store.rename(self.store.with_suffix(".away"))

    def bring_back(self):
        self.store.with_suffix(".away").rename(self.store)


def uri(label):
    return f"pkcs11:token=ca;object={label}"


def configure(server, token, **more):
    server.data.mkdir(mode=0o700, exist_ok=True)
    lines = {"pkcs11_module": MODULE, "pkcs11_pin_file": token.pin_file, "pkcs11_paths": f"{token.store}, {token.conf}", **more}
    (server.data / "birthmark.conf").write_text("".join(f"{k} = {v}\n" for k, v in lines.items()))


@pytest.fixture(scope="module")
def token(tmp_path_factory):
    return Token(tmp_path_factory.mktemp("token"))


@pytest.fixture(scope="module")
def server(shared_servers, token):
    s = shared_servers(env=token.env)
    s.metrics = free_port()
    configure(s, token, listen_metrics=f"127.0.0.1:{s.metrics}")
    s.init("--root-key", uri("root"), "--issuing-key", uri("issuing"))
    s.start()
    s.furnish(quota=100000)
    return s


def readyz(server):
    to = http.client.HTTPConnection("127.0.0.1", server.metrics, timeout=10)
    to.request("GET", "/readyz")
    got = json.loads(to.getresponse().read())
    to.close()
    return got


def metric(server, name):
    to = http.client.HTTPConnection("127.0.0.1", server.metrics, timeout=10)
    to.request("GET", "/metrics")
    text = to.getresponse().read().decode()
    to.close()
    return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(name + " ")))


def openssl_verify(server, cert, folder):
    """By OpenSSL, from the root of the token down."""
    chain, leaf = folder / "issuing.pem", folder / "leaf.pem"
    server.run("ca", "export", "issuing", "--out", chain, "--quiet")
    leaf.write_bytes(cert)
    return subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", server.anchors(), "-untrusted", chain, leaf], capture_output=True,
                          text=True).stdout


def pem_of(answer):
    (cert,) = certs_of_pkcs7(answer.body)
    return cert.public_bytes(serialization.Encoding.PEM)


def test_issues_with_keys_in_the_token(server, token, tmp_path):
    """Nothing of the CAs' keys is on our disk; the token holds them and does not give them away; what it signs OpenSSL verifies."""
    keys = token.private_keys()
    assert set(keys) == {"root", "issuing"}
    for said in keys.values():
        assert "sensitive" in said and "never extractable" in said
    assert sorted(p.name for p in (server.data / "keys").iterdir() if p.name.endswith(".key.pem")) == ["log.key.pem", "tls-server.key.pem"]
    shown = server.ask("ca", "show", "issuing")
    assert shown["key"] == uri("issuing") and shown["alg"] == "P-256"
    assert PIN not in json.dumps(server.ask("config", "show")) and PIN not in server.log.read_text()

    device = Device()
    server.register(device, name="one")
    answer, _ = est_enrol(server, device, tmp_path)
    assert answer.status == 200, answer
    assert "OK" in openssl_verify(server, pem_of(answer), tmp_path)
    crl, issuing = tmp_path / "issuing.crl", tmp_path / "issuing.pem"
    server.run("crl", "export", "issuing", "--out", crl)
    assert "verify OK" in token.tool("openssl", "crl", "-noout", "-CAfile", str(issuing), "-in", str(crl))


def test_cas_are_made_in_the_token(server, token):
    """ca create with a new key, with one that others made, and with those that are no good."""
    server.run("ca", "create", "made", "--parent", "root", "--key", uri("made"), "--alg", "RSA:3072")
    assert "made" in token.private_keys()
    assert server.ask("ca", "show", "made")["alg"] == "RSA"
    token.pkcs11("--keypairgen", "--key-type", "EC:secp384r1", "--label", "theirs", "--id", "77", "--usage-sign", "--sensitive")
    server.run("ca", "create", "theirs", "--parent", "root", "--key", uri("theirs"), "--existing-key")
    assert server.ask("ca", "show", "theirs")["alg"] == "P-384"

    token.pkcs11("--keypairgen", "--key-type", "EC:prime256v1", "--label", "leaky", "--id", "78", "--usage-sign", "--extractable")
    for words, code in (
        (("--key", uri("made")), "token-key-exists"),
        (("--key", uri("made"), "--existing-key"), "key-in-use"),
        (("--key", uri("leaky"), "--existing-key"), "token-key-leaks"),
        (("--key", uri("nobody"), "--existing-key"), "token-no-key"),
        (("--key", "pkcs11:token=elsewhere;object=x"), "token-unavailable"),
        (("--key", "pkcs11:token=ca;object=x?pin-value=1"), "usage"),
        (("--key", "file:x"), "usage"),
    ):
        done = server.run("ca", "create", "never", "--parent", "root", *words, want=None)
        assert done.returncode != 0 and (code in done.stderr or code == "usage"), done.stderr
    # a CA that does not come to be leaves no key: the profile is refused after the key was made
    server.run("ca", "create", "never", "--parent", "root", "--key", uri("never"), "--profile", "ldevid", want=None)
    assert "never" not in token.private_keys()
    wait_for("the token to be well again", lambda: readyz(server)["ready"])


def test_token_taken_away_under_load(server, token, tmp_path):
    """Devices get certificates, or 503 token-unavailable, and nothing else; readiness and metrics tell; when the token is back all goes on by
    itself, and every certificate that anybody was given is in the registry."""
    devices = [Device() for _ in range(12)]
    server.register(*devices, name="load")
    issued, refused, other = [], [], []
    stop = time.monotonic() + 60

    def ask_on(device):
        mine = 0
        while time.monotonic() < stop and not (back and mine >= goal):
            answer, _ = est_enrol(server, device, tmp_path)
            if answer.status == 200:
                issued.append(pem_of(answer))
                mine += bool(back)
            elif answer.status == 503 and answer.code == "token-unavailable" and answer.headers["Retry-After"]:
                refused.append(answer)
            else:
                other.append(answer)

    back, goal = [], 2
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for device in devices[:4]:
            pool.submit(ask_on, device)
        wait_for("some certificates", lambda: len(issued) >= 8 or other)
        token.take_away()
        try:
            wait_for("some refusals", lambda: len(refused) >= 4 or other)
            wait_for("readiness", lambda: "token-unavailable" in [r["code"] for r in readyz(server).get("reasons", [])])
            assert metric(server, "birthmark_token_up") == 0
            done = server.run("ca", "create", "meanwhile", "--parent", "root", want=None)
            assert done.returncode != 0 and "token-unavailable" in done.stderr
        finally:
            token.bring_back()
        back.append(True)
    assert not other, other
    assert len(issued) > 12 and refused
    wait_for("readiness", lambda: readyz(server)["ready"])
    assert metric(server, "birthmark_token_up") == 1 and metric(server, "birthmark_token_reopened_total") >= 1
    for pem in issued[:3] + issued[-3:]:
        assert "OK" in openssl_verify(server, pem, tmp_path)
    for pem in issued:
        serial = f"{x509.load_pem_x509_certificate(pem).serial_number:032x}"
        assert server.ask("cert", "show", serial)["state"] == "active"
    assert_refused(server, refused[0], 503, "token-unavailable")


def test_backup_and_restore(server, token, tmp_path, new_server):
    """A backup holds no key of a token; restored beside the same token, the registry issues as before, under the same CA."""
    out = tmp_path / "backup"
    server.run("backup", "--out", out)
    assert sorted(p.name for p in (out / "keys").iterdir()) == ["log.key.pem", "tls-server.key.pem"]
    other = new_server(env=token.env)
    other.run("restore", "--from", out)
    (other.data / "secret").write_bytes((server.data / "secret").read_bytes())
    (other.data / "birthmark.conf").write_text("".join(
        line for line in (other.data / "birthmark.conf").read_text().splitlines(True) if "listen_metrics" not in line))
    other.start()
    assert other.ask("ca", "show", "issuing") == server.ask("ca", "show", "issuing")
    other.run("crl", "export", "issuing")
    made = other.ask("ca", "create", "after", "--parent", "root", "--key", uri("after"))
    assert "BEGIN CERTIFICATE" in made["certificate"]


def test_wrong_pin_starts_and_says_so(token, new_server, tmp_path):
    """The PIN is tried once: SoftHSM's count of failures would lock a real token. Init refuses; nothing is left behind."""
    wrong = tmp_path / "wrong-pin"
    wrong.write_text("0000")
    s = new_server(env=token.env)
    configure(s, token, pkcs11_pin_file=wrong)
    done = s.run("init", "--root-key", uri("r2"), "--issuing-key", uri("i2"), want=None)
    assert done.returncode != 0 and "token-pin" in done.stderr
    assert "0000" not in done.stderr
    assert not (s.data / "registry.db").exists() and "r2" not in token.private_keys()
    configure(s, token, pkcs11_module="/nonexistent.so")
    done = s.run("init", "--root-key", uri("r2"), want=None)
    assert done.returncode != 0 and "pkcs11-module" in done.stderr


def test_confined(release, token, shared_servers, tmp_path):
    """Under seccomp and Landlock as shipped: signs, loses the token, begins the module anew and signs again, with no more than the paths it was
    given."""
    program = release("birthmark")
    s = shared_servers(env=token.env, program=program)
    configure(s, token)
    s.init("--root-key", uri("root3"), "--issuing-key", uri("issuing3"))
    s.start()
    s.furnish()
    device = Device()
    s.register(device)
    assert est_enrol(s, device, tmp_path)[0].status == 200
    token.take_away()
    try:
        answer, _ = est_enrol(s, device, tmp_path)
        assert (answer.status, answer.code) == (503, "token-unavailable")
    finally:
        token.bring_back()
    wait_for("a certificate", lambda: est_enrol(s, device, tmp_path)[0].status == 200)
    assert "killed by signal" not in s.log.read_text()
