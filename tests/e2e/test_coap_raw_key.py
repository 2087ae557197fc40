"""Raw public keys (RFC 7250) over DTLS, in place of the IDevID's certificate: OpenSSL's client and libcoap's on GnuTLS. OpenSSL has them from 3.2 on; with
an older one nothing but the first test runs. What breaks when a test fails: a device whose registered key is all it has gets in nowhere, or another in its
place."""

import os
import select
import subprocess

import pytest

import coapkit
import kit
from coapkit import ATTRS, CERT, CERTS, CSR, GET, MULTIPART, PKCS8, Session, assert_refused, enrol, libcoap, parts_of
from kit import Device, est_enrol, make_csr
from test_coap import assert_good, rows_of, the_certificate

HERE = "enable_client_rpk" in subprocess.run(["openssl", "s_client", "-help"], capture_output=True, text=True).stderr
needs_raw_keys = pytest.mark.skipif(not HERE, reason="OpenSSL before 3.2 has no raw public keys; make check-debian13 runs this")


class Raw(Session):
    """A session of `openssl s_client`, which shows the device's key and no certificate. Requests and answers take turns, so what can be read at once is a
    datagram."""

    def __init__(self, server, key_file, folder):
        key, cert = kit.serialization.load_pem_private_key(key_file.read_bytes(), None), folder / "carrier.pem"
        # s_client wants a certificate beside the key; it does not go over the line
        cert.write_bytes(kit.make_cert(key, kit.name_of("x"), kit.KEYS["P-256"](), kit.name_of("y")).public_bytes(kit.PEM))
        self.process = subprocess.Popen(["openssl", "s_client", "-dtls1_2", "-enable_client_rpk", "-quiet", "-nocommands", "-cert", cert, "-key", key_file,
                                         "-CAfile", server.anchors(), "-verify_return_error", "-connect", f"127.0.0.1:{server.coap_port}"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.mid, self.tokens = 0x2000, 0

    def close(self):
        self.process.kill()  # it would wait for the server to end it
        self.process.communicate()

    def read(self, timeout):
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            return None
        return os.read(self.process.stdout.fileno(), 65536) or None

    def write(self, datagram):
        self.process.stdin.write(datagram)
        self.process.stdin.flush()


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(services=("telemetry", "updates"), policy=("--server-keygen", "yes"))
    s.run("product", "create", "careful", "--org", "oem", "--services", "telemetry", "--approval", "always")
    s.run("batch", "create", "careful-1", "--product", "careful", "--quota", 10)
    s.run("product", "create", "cmp-only", "--org", "oem", "--services", "telemetry", "--protocols", "cmp")
    s.run("batch", "create", "cmp-only-1", "--product", "cmp-only", "--quota", 10)
    coapkit.open_door(s)
    s.start()
    return s


@pytest.fixture(scope="module")
def register(server):
    count = iter(range(1000))

    def some(batch="reel-1"):
        device = Device()
        server.register(device, name=f"m-{next(count)}", batch=batch)
        return device

    return some


@pytest.fixture
def raw(server, tmp_path):
    """raw(key): a session with that key alone."""
    made = []

    def connect(key):
        path = tmp_path / f"key-{len(made)}.pem"
        path.write_bytes(kit.key_pem(key))
        made.append(Raw(server, path, tmp_path))
        return made[-1]

    yield connect
    for s in made:
        s.close()


@pytest.fixture(scope="module")
def bundle(server, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "cas.pem"
    path.write_bytes(b"".join(c.public_bytes(kit.PEM) for c in kit.certs_of_pkcs7(kit.call(server, "GET", "/.well-known/est/cacerts").body)))
    return path


def test_the_server_says_whether_it_takes_them(server):
    (line,) = [line for line in server.log.read_text().splitlines() if "raw_public_keys=" in line]
    assert f"raw_public_keys={'yes' if HERE else 'no'}" in line


@needs_raw_keys
def test_all_functions(server, register, raw, bundle):
    """RFC 9148 section 4: crts, att, sen, sren, skg, skc; the registry has one device and its certificates."""
    d = register()
    s = raw(d.key)
    assert s.ask(GET, coapkit.EST + "/crts").format == CERTS
    assert s.ask(GET, coapkit.EST + "/att").format == ATTRS
    for op, szx in (("sen", 6), ("sen", 2), ("sren", 6)):
        answer, key = enrol(s, op=op, szx=szx)
        assert_good(server, bundle, the_certificate(answer), d, key)
    for op in ("skg", "skc"):
        answer, _ = enrol(s, op=op, accept=MULTIPART)
        parts = parts_of(answer.body)
        (cert,) = coapkit.certificates(parts[CERTS if op == "skg" else CERT], CERTS if op == "skg" else CERT)
        assert_good(server, bundle, cert, d, kit.serialization.load_der_private_key(parts[PKCS8], None))
    assert len(rows_of(server, d)) == 5 and server.state(d) == "active"


@needs_raw_keys
@pytest.mark.parametrize("op", ["sen", "sren"])
def test_libcoap_on_gnutls(server, register, bundle, tmp_path, op):
    d, key = register(), kit.KEYS["P-256"]()
    path = tmp_path / "raw.pem"
    path.write_bytes(d.key.private_bytes(kit.PEM, kit.serialization.PrivateFormat.TraditionalOpenSSL, kit.serialization.NoEncryption()) +
                     d.key.public_key().public_bytes(kit.PEM, kit.serialization.PublicFormat.SubjectPublicKeyInfo))
    got, said = libcoap("gnutls", server, tmp_path, f"est/{op}", "-M", path, "-t", CSR, "-A", CERT, body=make_csr(key))
    assert got, said
    assert_good(server, bundle, kit.x509.load_der_x509_certificate(got), d, key)


@needs_raw_keys
def test_it_is_the_device_of_the_certificate(server, register, raw, bundle, tmp_path):
    """One device, whichever it shows: its state, its chain of certificates, and its quota."""
    d = register()
    first = kit.certs_of_pkcs7(est_enrol(server, d, tmp_path)[0].body)[0]
    active = server.ask("batch", "show", "reel-1")
    answer, key = enrol(raw(d.key))
    second = the_certificate(answer)
    assert_good(server, bundle, second, d, key)
    assert second.subject == first.subject and second.issuer == first.issuer
    assert server.ask("batch", "show", "reel-1") == active
    server.run("device", "suspend", d.udid)
    assert_refused(server, enrol(raw(d.key))[0], "4.03", "device-suspended")


@needs_raw_keys
def test_approval(server, register, raw, bundle, tmp_path):
    """What was approved for the device that showed its certificate is given to the same that shows its key, and once."""
    d, key = register("careful-1"), kit.KEYS["P-256"]()
    csr = make_csr(key)
    assert est_enrol(server, d, tmp_path, key=key)[0].status == 202
    answer, _ = enrol(raw(d.key), key, csr=csr)
    assert answer.code == "5.03" and "approval-pending" in answer.text, answer
    (row,) = server.ask("approval", "list", "--state", "waiting", "--udid", d.udid)["rows"]
    server.run("approval", "approve", row["id"])
    answer, _ = enrol(raw(d.key), key, csr=csr)
    assert_good(server, bundle, the_certificate(answer), d, key)


@needs_raw_keys
def test_who_gets_nothing(server, register, raw):
    """A stranger; an LDevID's key, which is no device's registered one; a product that does not take EST; a device that was marked."""
    assert_refused(server, enrol(raw(kit.KEYS["P-256"]()))[0], "4.03", "unknown-device")
    d = register()
    cert, key = the_certificate((got := enrol(raw(d.key)))[0]), got[1]
    assert_refused(server, enrol(raw(key), op="sren", subject=cert.subject)[0], "4.03", "raw-key-not-registered")
    assert_refused(server, enrol(raw(key))[0], "4.03", "unknown-device")
    assert_refused(server, enrol(raw(register("cmp-only-1").key))[0], "4.03", "protocol-refused")
    server.run("device", "compromise", d.udid)
    assert_refused(server, enrol(raw(d.key))[0], "4.03", "device-compromised")
