"""EST serverkeygen (RFC 7030 section 4.4): globalsign's estclient takes the plain form, curl with openssl cms the encrypted one."""

import base64
import email
import hashlib
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import kit
from kit import DER, EST, KEYS, PEM, Device, assert_refused, call, certs_of_pkcs7, make_csr, tls_context

TYPE = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(policy=("--server-keygen", "yes"))
    s.run("product", "create", "sealed", "--org", "oem", "--server-keygen", "yes", "--server-keygen-encrypted", "yes")
    s.run("batch", "create", "sealed-1", "--product", "sealed", "--quota", 100)
    s.run("product", "create", "own-keys", "--org", "oem")
    s.run("batch", "create", "own-keys-1", "--product", "own-keys", "--quota", 100)
    s.start()
    return s


@pytest.fixture(scope="module")
def register(server):
    count = iter(range(1000))

    def one(batch="reel-1", alg="P-256"):
        d = Device(alg)
        server.register(d, name=f"k-{next(count)}", batch=batch)
        return d

    return one


def run(*words, want=0, **more):
    done = subprocess.run([*map(str, words)], capture_output=True, timeout=60, stdin=subprocess.DEVNULL, **more)
    assert done.returncode == want, f"{words}: {done.returncode}\n{done.stdout!r}\n{done.stderr!r}"
    return done.stdout


def parts_of(answer):
    """As any MIME reader splits it."""
    assert answer.status == 200, answer
    assert answer.headers["Cache-Control"] == "no-store"
    message = email.message_from_bytes(b"Content-Type: " + answer.headers["Content-Type"].encode() + b"\r\n\r\n" + answer.body)
    assert message.is_multipart() and not message.defects
    return [(part["Content-Type"], part.get_payload(decode=True), part.get_payload().strip().encode()) for part in message.get_payload()]


def tlv(tag, *contents):
    body = b"".join(contents)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


SMIME_CAPABILITIES = bytes.fromhex("06092a864886f70d01090f")
ASYMM_DECRYPT_KEY_ID = bytes.fromhex("060b2a864886f70d0109100236")
DECRYPT_KEY_ID = bytes.fromhex("060b2a864886f70d0109100225")
AES256_CBC = bytes.fromhex("060960864801650304012a")


def csr_with(key, *attributes):
    """A request with attributes that no tool at hand writes: RFC 7030 section 4.4.1."""
    info = tlv(0x30, b"\x02\x01\x00", tlv(0x30), kit.spki_of(key), tlv(0xa0, *(tlv(0x30, oid, tlv(0x31, value)) for oid, value in attributes)))
    signature = key.sign(info, kit.ec.ECDSA(kit.hashes.SHA256()))
    return tlv(0x30, info, bytes.fromhex("300a06082a8648ce3d040302"), tlv(0x03, b"\x00" + signature))


def ask(server, device, folder, csr):
    context = tls_context(server.anchors(), *device.files(folder))
    return call(server, "POST", EST + "serverkeygen", base64.b64encode(csr), TYPE, context)


def test_estclient_gets_a_key(server, register, go_tool, tmp_path):
    """A client that shares no code with us: key and certificate fit, and the key is not the one in its request."""
    device, dummy = register(), KEYS["P-256"]()
    cert, key = device.files(tmp_path)
    (tmp_path / "csr").write_bytes(x509.load_der_x509_csr(make_csr(dummy, "unit")).public_bytes(PEM))
    run(go_tool("estclient"), "serverkeygen", "-server", f"127.0.0.1:{server.port}", "-explicit", server.anchors(), "-certs", cert,
        "-key", key, "-csr", tmp_path / "csr", "-out", tmp_path / "got.pem", "-keyout", tmp_path / "got.key")
    got = x509.load_pem_x509_certificate((tmp_path / "got.pem").read_bytes())
    made = serialization.load_pem_private_key((tmp_path / "got.key").read_bytes(), None)
    assert got.public_key() == made.public_key() != dummy.public_key()
    assert device.udid in got.subject.rfc4514_string()


def test_the_parts(server, register, tmp_path):
    """multipart/mixed: PKCS#8 and certs-only, both base64; and the key is nowhere on the server."""
    device = register()
    (key_type, pkcs8, _), (cert_type, _, cert_text) = parts_of(ask(server, device, tmp_path, make_csr(KEYS["P-384"](), "unit")))
    assert (key_type, cert_type) == ("application/pkcs8", "application/pkcs7-mime; smime-type=certs-only")
    key = serialization.load_der_private_key(pkcs8, None)
    (cert,) = certs_of_pkcs7(cert_text)
    assert cert.public_key() == key.public_key() and key.curve.name == "secp384r1"
    number = key.private_numbers().private_value.to_bytes(48, "big")
    kept = b"".join(p.read_bytes() for p in server.data.glob("registry.db*")) + server.log.read_bytes()
    assert number not in kept and base64.b64encode(pkcs8) not in kept
    told = server.run("log", "entries", "0").stdout
    assert '"server_keygen":true' in told


def test_encrypted_to_the_device(server, register, tmp_path):
    """curl and openssl: the envelope opens with the device's key only, the CA's signature is inside, and under it the key package."""
    device, other = register("sealed-1"), Device()
    point = device.key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    csr = csr_with(KEYS["P-256"](), (SMIME_CAPABILITIES, tlv(0x30, tlv(0x30, AES256_CBC))),
                   (ASYMM_DECRYPT_KEY_ID, tlv(0x04, hashlib.sha1(point).digest())))
    cert_file, key_file = device.files(tmp_path)
    (tmp_path / "csr").write_bytes(base64.b64encode(csr))
    run("curl", "--silent", "--show-error", "--fail", "--cacert", server.anchors(), "--cert", cert_file, "--key", key_file, "--header",
        "Content-Type: application/pkcs10", "--data-binary", f"@{tmp_path}/csr", "--dump-header", tmp_path / "head", "--output",
        tmp_path / "body", f"{server.url}{EST}serverkeygen")
    head = dict(line.split(": ", 1) for line in (tmp_path / "head").read_text().splitlines() if ": " in line)
    (key_type, sealed, _), (_, _, cert_text) = parts_of(kit.Answer(200, head, (tmp_path / "body").read_bytes()))
    assert key_type == "application/pkcs7-mime; smime-type=server-generated-key"
    (tmp_path / "sealed").write_bytes(sealed)
    _, wrong = other.files(tmp_path, stem="other")
    failed = subprocess.run(["openssl", "cms", "-decrypt", "-inform", "DER", "-in", tmp_path / "sealed", "-inkey", wrong], capture_output=True)
    assert failed.returncode != 0
    signed = run("openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", tmp_path / "sealed", "-inkey", key_file)
    (tmp_path / "signed").write_bytes(tlv(0x30, bytes.fromhex("06092a864886f70d010702"), tlv(0xa0, signed)))
    package = run("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", tmp_path / "signed", "-CAfile", server.anchors(),
                  "-purpose", "any")
    head_len = 2 if package[1] < 128 else 2 + (package[1] & 0x7f)
    key = serialization.load_der_private_key(package[head_len:], None)
    (cert,) = certs_of_pkcs7(cert_text)
    assert cert.public_key() == key.public_key()


def test_refusals(server, register, tmp_path):
    """Each by its code, and the device stays as it was."""
    key = KEYS["P-256"]()
    rows = [("own-keys-1", make_csr(key, "unit"), "server-keygen-off"), ("sealed-1", make_csr(key, "unit"), "server-keygen-encrypt"),
            ("reel-1", csr_with(key, (ASYMM_DECRYPT_KEY_ID, tlv(0x04, b"nobody"))), "keygen-recipient-unknown"),
            ("reel-1", csr_with(key, (DECRYPT_KEY_ID, tlv(0x04, b"shared"))), "keygen-recipient-unknown"),
            ("reel-1", make_csr(KEYS["RSA-2048"](), "unit"), "keygen-algorithm")]
    for batch, csr, code in rows:
        device = register(batch)
        assert_refused(server, ask(server, device, tmp_path, csr), 403, code)
        assert server.state(device) == "allocated"
    answer = assert_refused(server, call(server, "POST", EST + "serverkeygen", base64.b64encode(make_csr(key, "unit")), TYPE), 401, "no-evidence")
    assert answer.headers["WWW-Authenticate"]


def test_with_a_device_code(server, register):
    """A chip without any key at hand: the one-time code says who it is, the server makes the key."""
    device = register()
    (one,) = server.ask("code", "create", "--udid", device.udid)["codes"]
    secret = base64.b64encode(f"{device.udid}:{one['code']}".encode()).decode()
    answer = call(server, "POST", EST + "serverkeygen", base64.b64encode(make_csr(KEYS["P-256"](), "unit")),
                  {**TYPE, "Authorization": f"Basic {secret}"})
    (_, pkcs8, _), (_, _, cert_text) = parts_of(answer)
    (cert,) = certs_of_pkcs7(cert_text)
    assert cert.public_key() == serialization.load_der_private_key(pkcs8, None).public_key()
    assert device.udid in cert.subject.rfc4514_string()
