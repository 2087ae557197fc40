"""SCEP (RFC 8894) as devices use it: strongSwan's pki, certmonger and scepreq, and a client of our own for what they do not do."""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import kit
import scep
from kit import DER, KEYS, PEM, Device, call, make_cert, name_of, wait_for
from scep import CERT_POLL, FAILURE, GET_CERT, GET_CRL, PENDING, PKCS_REQ, RENEWAL_REQ, SUCCESS, Scep


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(services=("telemetry", "updates"), policy=("--self-registration", "yes"))
    s.run("product", "create", "watched", "--org", "oem", "--approval", "always")
    s.run("batch", "create", "watched-1", "--product", "watched", "--quota", 100)
    s.http_port = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{s.http_port}")
    return s


@pytest.fixture(scope="module")
def client(server):
    return Scep(server.http_port)


@pytest.fixture(scope="module")
def ra(client):
    return client.chain()[0]


@pytest.fixture(scope="module")
def register(server):
    count = iter(range(1000))

    def one(batch="reel-1", alg="RSA-2048"):
        d = Device(alg)
        server.register(d, name=f"d-{next(count)}", batch=batch)
        return d

    return one


@pytest.fixture(scope="module")
def device(register):
    return register()


def credentials(server, device):
    return server.ask("cert", "list", "--udid", getattr(device, "udid", device))["rows"]


def code_for(server, *words):
    (one,) = server.ask("code", "create", *words)["codes"]
    return one["code"], one["number"]


def enrol(client, ra, key, cert, subject="unit", challenge=None, csr=None, transaction=None, message_type=PKCS_REQ, over="POST", **more):
    content = scep.envelope(csr or scep.csr(key, subject, challenge), ra, more.pop("cipher", "aes256"))
    raw = scep.message(content, key, cert, message_type, transaction or os.urandom(8).hex(), **more)
    return client.send(raw, ra, over)


def granted(reply, key, cert):
    assert reply.status == SUCCESS, reply
    assert reply.recipient_nonce == b"N" * 16
    return reply.cert(key, cert)


def check_issued(server, device, cert, key=None):
    assert scep_spki(cert) == kit.spki_of(key or device.key)
    assert cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == device.udid
    row = next(row for row in credentials(server, device) if int(row["serial"], 16) == cert.serial_number)
    assert row["protocol"] == "scep" and row["state"] == "active"
    return row


def scep_spki(cert):
    return cert.public_key().public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)


# --- what is told to everybody ----------------------------------------------------------------------------------------------------------------


def test_capabilities(client):
    """One a line, with bare LF (a CR is taken for part of the word by some); nothing that is not taken is offered."""
    answer = client.get("GetCACaps")
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/plain"
    words = answer.body.decode().split("\n")
    assert words.pop() == ""
    assert {"AES", "SHA-256", "SHA-512", "POSTPKIOperation", "Renewal", "SCEPStandard"} <= set(words)
    assert not {"DES3", "SHA-1", "GetNextCACert"} & set(words) and not any("\r" in word for word in words)


def test_ca_and_ra(server, client, ra, tmp_path):
    """The RA's key signs and decrypts and is good for nothing else; openssl builds the chain to the root."""
    chain = client.chain()
    assert [c.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0].value for c in chain] == ["SCEP RA", "Issuing CA", "Root CA"]
    usage = ra.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and usage.key_encipherment and not usage.key_cert_sign
    eku = ra.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [o.dotted_string for o in eku] == ["1.3.6.1.5.5.7.3.28"] and ExtendedKeyUsageOID.CLIENT_AUTH not in eku
    assert ra.public_key().key_size == 2048
    for name, certs in (("ra", chain[:1]), ("ca", chain[1:2])):
        (tmp_path / name).write_bytes(b"".join(c.public_bytes(PEM) for c in certs))
    subprocess.run(["openssl", "verify", "-CAfile", server.anchors(), "-untrusted", tmp_path / "ca", tmp_path / "ra"], check=True,
                   capture_output=True)
    assert client.chain()[0] == ra, "not a new one for each who asks"
    assert any("scep.certificate" in line for line in server.run("log", "entries", "--json").stdout.splitlines() if "scep" in line)


@pytest.mark.parametrize("path, operation, status, code", [
    ("/scep/nowhere", "GetCACert", 404, "unknown-label"), ("/scep/issuing/nowhere", "GetCACaps", 404, "unknown-label"),
    ("/scep/" + "x" * 70, "GetCACert", 404, "unknown-label"), ("/scep", "GetCert", 400, "scep-operation"),
    ("/scep", "", 400, "scep-operation"), ("/scep", "GetNextCACert", 404, "scep-no-next-ca"),
])
def test_questions_refused(client, path, operation, status, code):
    answer = client.at(path).get(operation)
    assert (answer.status, answer.code) == (status, code), answer


def test_places(server, client, ra):
    """The same RA at all paths of the same CA; the argument that clients add for CAs of their own naming is passed over; over TLS too."""
    for path in ("/cgi-bin/pkiclient.exe", "/scep/issuing", "/scep/telemetry", "/scep/issuing/updates"):
        assert client.at(path).chain()[0] == ra
    assert client.get("GetCACert", "MyCA%20ident").body == client.get("GetCACert").body
    assert call(server, "GET", "/scep?operation=GetCACert").body == client.get("GetCACert").body


# --- by a registered key ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cipher, digest, over, path", [
    ("aes128", "sha256", "POST", "/scep"), ("aes192", "sha384", "GET", "/scep"), ("aes256", "sha512", "GET", "/cgi-bin/pkiclient.exe")])
def test_registered_key(server, client, ra, register, cipher, digest, over, path):
    """A self-signed certificate over the key that a manifest lists; the reply comes in the cipher of the request."""
    d = register()
    reply = enrol(client.at(path), ra, d.key, d.cert, cipher=cipher, digest=digest, over=over)
    cert = granted(reply, d.key, d.cert)
    assert reply.cipher == cipher + "_cbc"
    assert check_issued(server, d, cert)["service"] == "telemetry"
    assert server.state(d) == "active"
    told = server.run("log", "entries", "--json").stdout
    assert f"{d.udid}" in told and "scep" in told


def test_service_in_the_path(server, client, ra, device):
    cert = granted(enrol(client.at("/scep/updates"), ra, device.key, device.cert), device.key, device.cert)
    assert check_issued(server, device, cert)["service"] == "updates"
    cert = granted(enrol(client.at("/scep/issuing/updates"), ra, device.key, device.cert), device.key, device.cert)
    assert check_issued(server, device, cert)["service"] == "updates"


@pytest.mark.parametrize("more", [
    {"indefinite": True}, {"sig_alg": scep.RSA_SHA256}, {"ordered": False}, {"signing_time": scep.now()}, {"transaction": "x" * 128},
    {"extra": ((scep.VERISIGN + "77", b"\x05\x00"),)}])
def test_habits_of_clients(server, client, ra, device, more):
    """BER with indefinite lengths and strings in pieces (Apple, BouncyCastle), the newer name of the signature, attributes out of order, ..."""
    content = scep.envelope(scep.csr(device.key), ra, indefinite=more.get("indefinite", False))
    raw = scep.message(content, device.key, device.cert, **{"transaction": os.urandom(8).hex(), **more})
    check_issued(server, device, granted(client.send(raw, ra), device.key, device.cert))


def test_self_signed_by_simple_tools(server, client, ra, device):
    """sscep's certificates have serial numbers of 32 bytes, which RFC 5280 forbids; nothing but the key is taken from them."""
    der = bytearray(device.cert.public_bytes(DER))
    tbs = scep.tlv(0xa0, scep.integer(2)), bytes([2, 32]) + b"5" * 32
    from asn1crypto import x509 as ax509

    parts = ax509.Certificate.load(bytes(der))
    rest = b"".join(parts["tbs_certificate"][f].dump() for f in ("signature", "issuer", "validity", "subject", "subject_public_key_info"))
    long = scep.tlv(0x30, scep.tlv(0x30, *tbs, rest), parts["signature_algorithm"].dump(), parts["signature_value"].dump())

    class Raw:
        issuer, serial_number = device.cert.issuer, int.from_bytes(b"5" * 32, "big")

        def public_bytes(self, _):
            return long

    reply = client.send(scep.message(scep.envelope(scep.csr(device.key), ra), device.key, Raw(), transaction=os.urandom(8).hex()), ra)
    check_issued(server, device, granted(reply, device.key, Raw()))


def test_birth_certificate(server, client, ra, tmp_path):
    """An IDevID of a chip maker the registry trusts, with its intermediate beside it, over another key than the request's."""
    maker, d = kit.ChipMaker("SCEP Chips"), Device("RSA-2048")
    d.birth = maker.birth(d)
    server.run("org", "trust", "chips", maker.pem(tmp_path / "maker.pem"), "--purpose", "birth")
    server.register(d, name="birth", batch="reel-1")
    key = KEYS["RSA-2048"]()
    raw = scep.message(scep.envelope(scep.csr(key), ra), d.key, d.birth, transaction="b", certs=[maker.cert, d.birth])
    check_issued(server, d, granted(client.send(raw, ra), d.key, d.birth), key)


# --- by one-time codes ----------------------------------------------------------------------------------------------------------------------------


def test_code_of_a_batch(server, client, ra):
    """Nobody has listed the key; the code lets it in, once for each use."""
    code, number = code_for(server, "--batch", "reel-1", "--uses", 2)
    for subject, challenge in (("reel-1", code), ("host.example", f"reel-1:{code}")):
        d = Device("RSA-2048")
        cert = granted(enrol(client, ra, d.key, d.cert, subject, challenge), d.key, d.cert)
        check_issued(server, d, cert)
    d = Device("RSA-2048")
    reply = enrol(client, ra, d.key, d.cert, "reel-1", code)
    assert (reply.status, reply.fail) == (FAILURE, scep.BAD_REQUEST) and "code-used-up" in reply.fail_text


@pytest.mark.parametrize("attribute", [NameOID.COMMON_NAME, NameOID.SERIAL_NUMBER])
def test_code_of_a_device(server, client, ra, register, attribute):
    """The code stands for the device, whose own key signs nothing here: the certificate goes to the key of the request."""
    d, key = register(alg="P-256"), KEYS["RSA-2048"]()
    code, number = code_for(server, "--udid", d.udid)
    own = make_cert(key, name_of("any"), key, name_of("any"))
    subject = x509.Name([x509.NameAttribute(attribute, d.udid)])
    check_issued(server, d, granted(enrol(client, ra, key, own, subject, code), key, own), key)


# --- renewal ---------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message_type", [RENEWAL_REQ, PKCS_REQ])
def test_renewal(server, client, ra, register, message_type):
    """By the certificate to be renewed, over the same key and over a new one; older clients know PKCSReq only."""
    d = register()
    first = granted(enrol(client, ra, d.key, d.cert), d.key, d.cert)
    same = granted(enrol(client, ra, d.key, first, first.subject, message_type=message_type), d.key, first)
    key = KEYS["RSA-2048"]()
    raw = scep.message(scep.envelope(scep.csr(key, first.subject), ra), d.key, same, message_type, "r-1")
    new = granted(client.send(raw, ra), d.key, same)
    check_issued(server, d, same)
    check_issued(server, d, new, key)
    assert len(credentials(server, d)) == 3


# --- once is once -----------------------------------------------------------------------------------------------------------------------------------


def test_again_after_a_crash(server, client, ra, register):
    """The answer was lost, the server killed: the same transaction gets the certificate that there is, and the code is not asked for again."""
    d, code = register(), code_for(server, "--batch", "reel-1")
    first = granted(enrol(client, ra, d.key, d.cert, "reel-1", code[0], transaction="same"), d.key, d.cert)
    again = granted(enrol(client, ra, d.key, d.cert, "reel-1", code[0], transaction="same"), d.key, d.cert)
    server.kill()
    server.start("--listen-http", f"127.0.0.1:{server.http_port}")
    client.chain()  # the RA's key and certificate are those of before
    after = granted(enrol(client, ra, d.key, d.cert, "reel-1", code[0], transaction="same"), d.key, d.cert)
    assert first == again == after and len(credentials(server, d)) == 1
    other = enrol(client, ra, d.key, d.cert, "reel-1", code[0], transaction="another")
    assert (other.status, other.fail) == (FAILURE, scep.BAD_REQUEST) and "code-used-up" in other.fail_text
    stranger = Device("RSA-2048")
    other = enrol(client, ra, stranger.key, stranger.cert, "reel-1", code[0], transaction="same")
    assert other.status == FAILURE, "the transaction is the signer's"


def test_same_transaction_id_for_each_renewal(server, client, ra, register):
    """sscep makes it from the key, so a renewal over the same key has the same one: it must get a new certificate all the same."""
    d = register()
    first = granted(enrol(client, ra, d.key, d.cert, transaction="of-key"), d.key, d.cert)
    second = granted(enrol(client, ra, d.key, first, first.subject, transaction="of-key", message_type=RENEWAL_REQ), d.key, first)
    assert granted(enrol(client, ra, d.key, first, first.subject, transaction="of-key", message_type=RENEWAL_REQ), d.key, first) == second
    third = granted(enrol(client, ra, d.key, second, first.subject, transaction="of-key", message_type=RENEWAL_REQ), d.key, second)
    assert len({c.serial_number for c in (first, second, third)}) == 3 == len(credentials(server, d))


def test_not_again_once_revoked(server, client, ra, register):
    """A revoked certificate is no answer; the transaction gets what the registry decides now."""
    d = register()
    first = granted(enrol(client, ra, d.key, d.cert, transaction="rev"), d.key, d.cert)
    server.run("cert", "revoke", f"{first.serial_number:032x}")
    assert granted(enrol(client, ra, d.key, d.cert, transaction="rev"), d.key, d.cert) != first


# --- waiting for a person -----------------------------------------------------------------------------------------------------------------------------


def poll(client, ra, d, transaction, subject="unit", issuer=None):
    content = scep.tlv(0x30, (issuer or ra.issuer).public_bytes(), name_of(subject).public_bytes())
    return client.send(scep.message(scep.envelope(content, ra), d.key, d.cert, CERT_POLL, transaction), ra)


def test_approval(server, client, ra, register):
    """PENDING until somebody approves, over a crash; then the poll brings the certificate, as often as it is asked for."""
    d = register(batch="watched-1")
    assert enrol(client, ra, d.key, d.cert, transaction="wait").status == PENDING
    assert poll(client, ra, d, "wait").status == PENDING
    (waiting,) = server.ask("approval", "list", "--udid", d.udid)["rows"]
    server.kill()
    server.start("--listen-http", f"127.0.0.1:{server.http_port}")
    assert poll(client, ra, d, "wait").status == PENDING
    server.run("approval", "approve", waiting["id"])
    reply = poll(client, ra, d, "wait", "another")
    assert (reply.status, reply.fail) == (FAILURE, scep.BAD_CERT_ID), "it is about another subject"
    cert = granted(poll(client, ra, d, "wait"), d.key, d.cert)
    check_issued(server, d, cert)
    assert granted(poll(client, ra, d, "wait"), d.key, d.cert) == cert
    assert granted(enrol(client, ra, d.key, d.cert, transaction="wait"), d.key, d.cert) == cert


def test_denied(server, client, ra, register):
    d = register(batch="watched-1")
    assert enrol(client, ra, d.key, d.cert, transaction="deny").status == PENDING
    (waiting,) = server.ask("approval", "list", "--udid", d.udid)["rows"]
    server.run("approval", "deny", waiting["id"])
    reply = poll(client, ra, d, "deny")
    assert (reply.status, reply.fail) == (FAILURE, scep.BAD_REQUEST) and "approval-denied" in reply.fail_text


# --- GetCert, GetCRL ------------------------------------------------------------------------------------------------------------------------------------


def ask_for(client, ra, d, cert, message_type, issuer_and_serial):
    return client.send(scep.message(scep.envelope(issuer_and_serial, ra), d.key, cert, message_type, "g"), ra)


def test_get_cert(server, client, ra, register):
    """A device gets its own, by its registered key or by its certificate; of others it learns nothing."""
    d, other = register(), register()
    mine = granted(enrol(client, ra, d.key, d.cert), d.key, d.cert)
    theirs = granted(enrol(client, ra, other.key, other.cert), other.key, other.cert)
    for signer in (d.cert, mine):
        reply = ask_for(client, ra, d, signer, GET_CERT, scep.issuer_and_serial(mine))
        assert reply.cert(d.key, signer) == mine
    for wanted in (scep.issuer_and_serial(theirs), scep.issuer_and_serial(mine, 4711), scep.issuer_and_serial(d.cert, mine.serial_number)):
        reply = ask_for(client, ra, d, d.cert, GET_CERT, wanted)
        assert (reply.status, reply.fail) == (FAILURE, scep.BAD_CERT_ID), reply


def test_get_crl(server, client, ra, register):
    d = register()
    cert = granted(enrol(client, ra, d.key, d.cert), d.key, d.cert)
    server.run("cert", "revoke", f"{cert.serial_number:032x}")
    issuing = client.chain()[1]
    crl = ask_for(client, ra, d, d.cert, GET_CRL, scep.issuer_and_serial(cert)).crl(d.key, d.cert)
    assert crl.is_signature_valid(issuing.public_key()) and crl.get_revoked_certificate_by_serial_number(cert.serial_number)
    root = ask_for(client, ra, d, d.cert, GET_CRL, scep.issuer_and_serial(issuing)).crl(d.key, d.cert)
    assert root.issuer == client.chain()[2].subject
    reply = ask_for(client, ra, d, d.cert, GET_CRL, scep.issuer_and_serial(d.cert))
    assert (reply.status, reply.fail) == (FAILURE, scep.BAD_CERT_ID)


# --- programs of others -----------------------------------------------------------------------------------------------------------------------------------


def run(*words, want=0, **more):
    done = subprocess.run([*map(str, words)], capture_output=True, timeout=60, stdin=subprocess.DEVNULL, **more)
    assert done.returncode == want, f"{words}: {done.returncode}\n{done.stdout!r}\n{done.stderr!r}"
    return done.stdout


def test_strongswan(server, client, tmp_path):
    """pki --scepca and --scep: takes only the RA that the chain leads to, enrols with a code, renews with its certificate."""
    if shutil.which("pki") is None:
        pytest.skip("strongswan-pki is not installed")
    code, number = code_for(server, "--batch", "reel-1")
    (tmp_path / "strongswan.conf").write_text("# nothing of this machine's\n")
    env = {**os.environ, "STRONGSWAN_CONF": str(tmp_path / "strongswan.conf")}
    run("pki", "--scepca", "--url", client.url, "--caout", tmp_path / "ca", "--raout", tmp_path / "ra", "--outform", "pem", env=env)
    run("openssl", "genrsa", "-out", tmp_path / "key", "2048")
    trust = ("--cacert-enc", tmp_path / "ra.pem", "--cacert-sig", tmp_path / "ra.pem", "--cacert", tmp_path / "ca.pem", "--cacert",
             tmp_path / "ca-1.pem")
    got = run("pki", "--scep", "--url", client.url, "--in", tmp_path / "key", "--dn", "CN=reel-1", "--password", code, *trust, "--outform",
              "pem", env=env)
    first = x509.load_pem_x509_certificate(got)
    (tmp_path / "cert").write_bytes(got)
    run("openssl", "genrsa", "-out", tmp_path / "new", "2048")
    dn = ", ".join(f"{a.rfc4514_attribute_name}={a.value}" for a in first.subject)
    got = run("pki", "--scep", "--url", client.url, "--in", tmp_path / "new", "--dn", dn, "--cert", tmp_path / "cert", "--key",
              tmp_path / "key", *trust, "--outform", "pem", env=env)
    second = x509.load_pem_x509_certificate(got)
    new = serialization.load_pem_private_key((tmp_path / "new").read_bytes(), None)
    assert second.subject == first.subject and scep_spki(second) == kit.spki_of(new)


def test_certmonger(server, client, tmp_path):
    """certmonger finds the capabilities and the CA out by itself and keeps the certificate; its daemon runs for this test alone."""
    if not all(map(shutil.which, ("getcert", "dbus-run-session"))):
        pytest.skip("certmonger is not installed")
    code, number = code_for(server, "--batch", "reel-1")
    (tmp_path / "walk").write_text(textwrap.dedent(f"""\
        set -e
        getcert add-scep-ca -s -c birthmark -u {client.url}
        getcert request -s -w -c birthmark -f $HOME/cert.pem -k $HOME/key.pem -G rsa -g 2048 -N CN=unit -L reel-1:{code}
        getcert resubmit -s -w -f $HOME/cert.pem
        """))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DBUS", "XDG"))}
    done = subprocess.run(["dbus-run-session", "--", "bash", tmp_path / "walk"], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, env={**env, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)})
    cert = tmp_path / "cert.pem"
    assert cert.exists(), done.stdout + done.stderr[-3000:]
    udid = x509.load_pem_x509_certificate(cert.read_bytes()).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    wait_for("the certificate of the resubmission", lambda: len(credentials(server, udid)) == 2)


SCEPREQ = r"""
import re, sys, warnings
# oscrypto 1.3.0 does not find the version of an OpenSSL whose last number has two digits
search = re.search
re.search = lambda p, *more: search(p.replace(r"\d\.\d\.\d", r"\d\.\d\.\d+") if isinstance(p, str) else p, *more)
warnings.filterwarnings("ignore")
from scepreq.client import Client
from scepreq.responses import CACertificates
from scepreq.signingrequest import SigningRequest

# it knows RAs with two keys, as Microsoft's has; ours has one certificate for both
CACertificates._CACertificates__recipient = lambda self: self._filter({"key_encipherment"}, set())[0]
client, usage = Client(sys.argv[1]), {"digital_signature", "key_encipherment"}
key = SigningRequest.generate_pair(size=2048)
own, _ = SigningRequest.generate_self_signed(cn="unit", key_usage=usage, private_key=key)
csr, _ = SigningRequest.generate_csr("CN=unit", usage, ["1.3.6.1.5.5.7.3.2"], sys.argv[2], key)
(cert,) = client.enrol(csr, own, key).certificates
(again,) = client.get_cert(cert, key, cert.serial_number).certificates
assert again.to_der() == cert.to_der()
assert client.get_crl(cert, key, cert.serial_number).crl is not None
print(cert.subject.native["common_name"])
"""


def test_scepreq(shared_servers, tmp_path):
    """A client in Python that takes RSA CAs only: enrolment, GetCert and GetCRL under one."""
    s = shared_servers()
    s.init("--ca-alg", "RSA:2048")
    s.furnish(policy=("--self-registration", "yes"))
    port = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{port}")
    code, number = code_for(s, "--batch", "reel-1")
    udid = run(sys.executable, "-c", SCEPREQ, Scep(port).url, f"reel-1:{code}", cwd=tmp_path).decode().split()[-1]
    (row,) = credentials(s, udid)
    assert row["protocol"] == "scep"
    s.stop()
