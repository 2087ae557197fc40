"""The key ceremony, played through: a root on an offline host, opened by three of five holders; the online server's issuing CA signed there and taken
in; devices that trust nothing but that root. OpenSSL, not we, says whether it is true."""

import hashlib
import json
import shutil
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import kit
from kit import Device, assert_refused, certs_of_pkcs7, est_enrol, wait_for
from test_rotation import cacerts

PASSPHRASES = ["", "correct horse", "", "battery", ""]


class Offline:
    """A machine with the program and no server."""

    def __init__(self, cli, folder):
        self.cli, self.folder, self.dir, self.shares = cli, folder, folder / "root", folder / "shares"
        folder.mkdir()

    def lines(self, name, lines):
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def begin(self, shares=5, threshold=3, **more):
        return json.loads(self.cli("ceremony", "begin", "--dir", self.dir, "--out", self.shares, "--shares", shares, "--threshold", threshold,
                                   "--organisation", "Example", "--passphrases", self.lines("phrases", PASSPHRASES), "--who", "Ada, CISO",
                                   "--who", "Blaise", "--json", **more).stdout)

    def share(self, n):
        return self.shares / f"share-{n}.txt"

    def sign(self, csr, out, *shares, phrases=None, want=0, more=()):
        words = [w for s in shares for w in ("--share", s)]
        if phrases is not None:
            words += ["--passphrases", self.lines("now", phrases)]
        return self.cli("ceremony", "sign", "--dir", self.dir, "--csr", csr, "--out", out, *words, *more, "--who", "Ada, CISO", want=want)

    def crl(self, out, *words, want=0):
        """By holders without passphrases; words: --revoke FILE and so on."""
        shares = [w for n in (1, 3, 5) for w in ("--share", self.share(n))]
        return self.cli("ceremony", "crl", "--dir", self.dir, "--out", out, *shares, "--who", "Ada, CISO", *words, want=want)


@pytest.fixture
def offline(cli, tmp_path):
    host = Offline(cli, tmp_path / "offline")
    host.begin()
    return host


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_played_through(offline, new_server, tmp_path):
    server = new_server()
    server.init()
    server.start()
    server.furnish()
    csr, signed = tmp_path / "issuing.csr", tmp_path / "issuing.pem"
    server.run("ca", "request", "field", "--out", csr)
    assert "verify OK" in openssl("req", "-in", csr, "-noout", "-verify")
    again = server.run("ca", "request", "field").stdout
    assert x509.load_pem_x509_csr(again.encode()).public_key() == x509.load_pem_x509_csr(csr.read_bytes()).public_key()

    # three of five; two of them under their holders' passphrases
    offline.sign(csr, signed, offline.share(5), offline.share(2), offline.share(4), phrases=["", "correct horse", "battery"])
    root = offline.dir / "root.crt"
    assert f"{signed}: OK" in openssl("verify", "-x509_strict", "-CAfile", root, signed)

    server.run("ca", "import", "field", signed, "--root-name", "vault")
    assert server.ask("ca", "show", "field")["parent"] == "vault" and server.ask("ca", "show", "vault")["key"] == "external:vault"
    server.run("ca", "rotate", "issuing", "--onto", "field")
    device = Device()
    server.register(device)
    answer, _ = wait_for("the hand-over", lambda: enrol_by(server, device, tmp_path, root))
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(certs_of_pkcs7(answer.body)[0].public_bytes(serialization.Encoding.PEM))
    assert f"{leaf}: OK" in openssl("verify", "-x509_strict", "-CAfile", root, "-untrusted", signed, leaf)
    crl = tmp_path / "field.crl"
    server.run("crl", "export", "field", "--out", crl)
    assert "verify OK" in openssl("crl", "-noout", "-CAfile", signed, "-in", crl)

    # the CAs that init made go: nothing was issued by them; what is left stands below the vault
    server.run("ca", "retire", "issuing")
    server.run("ca", "retire", "root")
    wait_for("cacerts of the vault alone", lambda: cacerts(server) == {"Example root CA", "Example field CA"})
    # its root's key is not here, and nobody has brought a list of it
    for words, code in ((("crl", "export", "vault"), "crl-missing"), (("ca", "create", "x", "--parent", "vault"), "key-elsewhere")):
        done = server.run(*words, want=None)
        assert done.returncode != 0 and code in done.stderr, done.stderr

    # what was done is told, and every line is signed
    told = json.loads(offline.cli("ceremony", "show", "--dir", offline.dir, "--json").stdout)
    made, by = told["lines"]
    assert (made["act"], made["who"], made["threshold"]) == ("root.made", ["Ada, CISO", "Blaise"], 3)
    assert (by["act"], by["ca"], sorted(by["shares"])) == ("ca.signed", "field", [2, 4, 5])
    der = x509.load_pem_x509_certificate(signed.read_bytes()).public_bytes(serialization.Encoding.DER)
    assert by["certificate_sha256"] == hashlib.sha256(der).hexdigest()
    assert "Ada, CISO" in offline.cli("ceremony", "show", "--dir", offline.dir).stdout


def enrol_by(server, device, folder, root):
    """An enrolment once the server shows a certificate that this root is above."""
    shutil.copy(root, server.folder / "root.pem")
    try:
        answer, key = est_enrol(server, device, folder)
    except OSError:  # certificate verify failed
        return None
    assert answer.status == 200, answer
    return answer, key


def take_in(server, offline, name, folder):
    """A CA that the offline root has signed, and its certificate alone."""
    csr, signed, alone = (folder / f"{name}.{kind}" for kind in ("csr", "pem", "crt"))
    server.run("ca", "request", name, "--out", csr)
    offline.sign(csr, signed, *(offline.share(n) for n in (1, 3, 5)), more=("--crl-url", "http://pki.example.com/crl/vault.crl"))
    alone.write_bytes(x509.load_pem_x509_certificates(signed.read_bytes())[0].public_bytes(serialization.Encoding.PEM))
    server.run("ca", "import", name, signed, "--root-name", "vault")
    return alone


def refuse(server, code, *words):
    done = server.run(*words, want=None)
    assert done.returncode != 0 and code in done.stderr, done.stderr


def test_offline_root_revokes(offline, cli, new_server, tmp_path):
    """A list of the offline root: published here as it came, and what is on it issues nothing more. Breaks when a CA that its root has revoked goes on
    issuing, or an older list or another root's is taken for it."""
    server = new_server()
    server.init()
    server.start()
    server.furnish()
    field, spare = (take_in(server, offline, name, tmp_path) for name in ("field", "spare"))
    server.anchors().write_bytes(server.anchors().read_bytes() + (offline.dir / "root.crt").read_bytes())  # whatever the server shows
    points = x509.load_pem_x509_certificate(field.read_bytes()).extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [n.value for n in points[0].full_name] == ["http://pki.example.com/crl/vault.crl"]
    assert kit.call(server, "GET", "/crl/vault.crl").status == 404

    first, second, third = (tmp_path / f"{n}.crl" for n in (1, 2, 3))
    offline.crl(first)
    told = server.ask("ca", "import", "vault", first)
    assert (told["number"], told["entries"], told["revoked"]) == (1, 0, [])
    server.run("ca", "import", "vault", first)  # the same once more is no harm
    assert published(server) == x509.load_pem_x509_crl(first.read_bytes())
    verified = lambda crl: openssl("verify", "-x509_strict", "-crl_check", "-CAfile", offline.dir / "root.crt", "-CRLfile", crl, field)
    assert f"{field}: OK" in verified(first)

    server.run("ca", "rotate", "issuing", "--onto", "field")
    offline.crl(second, "--revoke", field, "--reason", "superseded", "--valid", "20d")
    assert "certificate revoked" in verified(second)
    assert "on the list already" in offline.crl(tmp_path / "no.crl", "--revoke", field, want=None).stderr
    assert "cannot revoke itself" in offline.crl(tmp_path / "no.crl", "--revoke", offline.dir / "root.crt", want=None).stderr
    assert "not by this root" in offline.crl(tmp_path / "no.crl", "--revoke", server.anchors(), want=None).stderr

    # nobody is left without a CA by surprise, and nothing of a list that is refused is kept
    refuse(server, "ca-default", "ca", "import", "vault", second)
    assert published(server) == x509.load_pem_x509_crl(first.read_bytes()) and server.ask("ca", "show", "field")["state"] == "active"
    server.run("batch", "set", "reel-1", "--ca", "field")
    assert server.ask("ca", "import", "vault", second, "--default", "spare")["revoked"] == ["field"]
    assert server.ask("ca", "show", "field")["state"] == "revoked"
    assert published(server) == x509.load_pem_x509_crl(second.read_bytes())
    device = Device()
    server.register(device)
    assert_refused(server, est_enrol(server, device, tmp_path)[0], 403, "ca-revoked")
    server.run("ca", "rotate", "field", "--onto", "spare")
    answer, _ = est_enrol(server, device, tmp_path)
    assert answer.status == 200

    # what is not the root's, or is of before, changes nothing
    other = Offline(cli, tmp_path / "other")
    other.begin()
    other.crl(tmp_path / "other.crl")
    der = bytearray(x509.load_pem_x509_crl(second.read_bytes()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    (tmp_path / "changed.crl").write_bytes(der)
    offline.crl(third)
    for name, file, code in (("vault", first, "crl-old"), ("vault", tmp_path / "other.crl", "bad-crl"), ("vault", tmp_path / "changed.crl", "bad-crl"),
                             ("root", third, "crl-made-here"), ("nobody", third, "no such")):
        refuse(server, code, "ca", "import", name, file)
    assert published(server) == x509.load_pem_x509_crl(second.read_bytes())
    # the third has what the second had, and goes by DER as well
    (tmp_path / "3.der").write_bytes(x509.load_pem_x509_crl(third.read_bytes()).public_bytes(serialization.Encoding.DER))
    told = server.ask("ca", "import", "vault", tmp_path / "3.der")
    assert (told["number"], told["entries"], told["revoked"]) == (3, 1, [])
    assert "certificate revoked" in verified(third)
    refuse(server, "unknown-ca", "crl", "export", "vault", "--delta")
    acts = [line["act"] for line in json.loads(offline.cli("ceremony", "show", "--dir", offline.dir, "--json").stdout)["lines"]]
    assert acts == ["root.made", "ca.signed", "ca.signed", "crl.signed", "crl.signed", "crl.signed"]


def published(server):
    answer = kit.call(server, "GET", "/crl/vault.crl")
    assert answer.status == 200, answer
    return x509.load_der_x509_crl(answer.body)


def test_shares_refused(offline, server, cli, tmp_path):
    csr, out = tmp_path / "a.csr", tmp_path / "a.pem"
    server.run("ca", "request", "field", "--out", csr)
    other = Offline(cli, tmp_path / "other")
    other.begin()
    text = offline.share(1).read_text()
    typed, lost, swapped = tmp_path / "typed", tmp_path / "lost", tmp_path / "swapped"
    words = text.split("words:\n")[1].split("\n\n")[0]
    typed.write_text(words.replace(words.split()[5], "babab" if words.split()[5] != "babab" else "dabab", 1))
    lost.write_text(" ".join(words.split()[:-1]))
    swapped.write_text("not words at all")
    one, three, five, two = (offline.share(n) for n in (1, 3, 5, 2))
    for shares, phrases, code in (
        ((one,), None, "shares-too-few"),
        ((one, three), None, "shares-too-few"),
        ((one, three, one), None, "share-twice"),
        ((one, three, other.share(5)), None, "share-foreign"),
        ((other.share(1), other.share(3), other.share(5)), None, "share-foreign"),
        ((one, three, two), None, "share-sealed"),
        ((one, three, two), ["", "", "wrong horse"], "share-passphrase"),
        ((typed, three, five), None, "share-mistyped"),
        ((lost, three, five), None, "share-mistyped"),
        ((swapped, three, five), None, "share-mistyped"),
    ):
        done = offline.sign(csr, out, *shares, phrases=phrases, want=None)
        assert done.returncode != 0 and code in done.stderr, (code, done.stderr)
        assert not out.exists()
    # a request that somebody changed on the way
    der = bytearray(x509.load_pem_x509_csr(csr.read_bytes()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    bad = tmp_path / "bad.csr"
    bad.write_bytes(x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM))
    done = offline.sign(bad, out, one, three, five, want=None)
    assert done.returncode != 0 and "bad-signature" in done.stderr
    assert len(json.loads(offline.cli("ceremony", "show", "--dir", offline.dir, "--json").stdout)["lines"]) == 1

    # the words typed by hand, in capitals, do
    typed.write_text(words.upper().replace(" ", "-"))
    offline.sign(csr, out, typed, three, five)
    assert out.exists()
    # the online side takes only what it asked for
    for change, code in (
        (lambda pem: pem.split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n", "ca-import-chain"),
        (lambda pem: pem + pem, "ca-import-chain"),
        (lambda pem: b"".join(reversed([p + b"-----END CERTIFICATE-----\n" for p in pem.split(b"-----END CERTIFICATE-----\n")[:2]])), "ca-import-chain"),
    ):
        wrong = tmp_path / "wrong.pem"
        wrong.write_bytes(change(out.read_bytes()))
        done = server.run("ca", "import", "field", wrong, want=None)
        assert done.returncode != 0 and code in done.stderr, done.stderr
    done = server.run("ca", "import", "never", out, want=None)
    assert done.returncode != 0 and "ca-not-requested" in done.stderr
    server.run("ca", "request", "elsewhere")
    done = server.run("ca", "import", "elsewhere", out, want=None)
    assert done.returncode != 0 and "wrong-key" in done.stderr
    server.run("ca", "import", "field", out)


def test_transcript_tells_changes(offline, server, tmp_path):
    csr = tmp_path / "a.csr"
    server.run("ca", "request", "field", "--out", csr)
    for n in (1, 2):
        offline.sign(csr, tmp_path / f"{n}.pem", *(offline.share(i) for i in (1, 3, 5)))
    transcript = offline.dir / "transcript.jws"
    lines = transcript.read_text().splitlines(True)
    assert len(lines) == 3
    for changed in (lines[1:], [lines[0], lines[2]], [lines[1], lines[0], lines[2]], [*lines[:2], lines[2][:-9]],
                    [lines[0], lines[1].replace(".", ".A", 1), lines[2]], [*lines, lines[2]]):
        transcript.write_text("".join(changed))
        done = offline.cli("ceremony", "show", "--dir", offline.dir, want=None)
        assert done.returncode != 0 and "transcript-changed" in done.stderr
        # and nothing more is signed on top of it
        done = offline.sign(csr, tmp_path / "no.pem", *(offline.share(i) for i in (1, 3, 5)), want=None)
        assert done.returncode != 0 and not (tmp_path / "no.pem").exists()
    transcript.write_text("".join(lines))
    assert offline.cli("ceremony", "show", "--dir", offline.dir).stdout.count("ca.signed") == 2


def test_begin_refused(cli, tmp_path):
    for words in ((5, 1), (5, 6), (1, 1), (17, 3)):
        host = Offline(cli, tmp_path / f"o-{words[0]}-{words[1]}")
        done = host.cli("ceremony", "begin", "--dir", host.dir, "--out", host.shares, "--shares", words[0], "--threshold", words[1],
                        "--organisation", "X", want=None)
        assert done.returncode != 0 and not host.dir.exists()
    host = Offline(cli, tmp_path / "twice")
    host.begin()
    done = host.cli("ceremony", "begin", "--dir", host.dir, "--out", tmp_path / "s2", "--shares", 3, "--threshold", 2, "--organisation", "X", want=None)
    assert done.returncode != 0 and "already-there" in done.stderr
    assert host.cli("ceremony", "show", "--dir", tmp_path, want=None).returncode != 0
    # the key is under nothing that lies about: not under a passphrase, not in the folder
    key = (host.dir / "root.key.pem").read_text()
    assert "ENCRYPTED PRIVATE KEY" in key
    assert sorted(p.name for p in host.dir.iterdir()) == ["ceremony.json", "root.crt", "root.key.pem", "transcript.jws"]
