"""EST requests that name their TLS connection (RFC 7030 section 3.5, RFC 7894, RFC 9266): with TLS 1.2 through Python's ssl, with TLS 1.3 through
`openssl s_client`, which share no code with us. Breaks when a request made for one connection is taken on another."""

import base64
import http.client
import json
import re
import socket
import ssl
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AttributeOID, ObjectIdentifier

import kit
from kit import DER, EST, Device, assert_refused, assert_told, call, certs_of_pkcs7, tls_context

LINKING = ObjectIdentifier("1.2.840.113549.1.9.16.2.58")  # RFC 7894 section 3.3
TEMPLATE = bytes.fromhex("060b2a864886f70d010910023d")  # id-aa-certificationRequestInfoTemplate
CHALLENGE_PASSWORD = bytes.fromhex("06092a864886f70d010907")


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(policy=("--pop-linked", "yes"))
    s.run("service", "create", "plain", "--kind", "mqtt")
    s.run("product", "create", "loose", "--org", "oem", "--services", "plain")
    s.run("batch", "create", "loose-1", "--product", "loose", "--quota", 100)
    s.start()
    return s


@pytest.fixture(scope="module")
def register(server):
    count = iter(range(1000))

    def one(batch="reel-1"):
        d = Device()
        server.register(d, name=f"m-{next(count)}", batch=batch)
        return d

    return one


def csr(key, said, oid=AttributeOID.CHALLENGE_PASSWORD):
    b = x509.CertificateSigningRequestBuilder().subject_name(kit.name_of("unit"))
    return b.add_attribute(oid, said.encode()).sign(key, hashes.SHA256()).public_bytes(DER)


class Line12:
    """A connection of TLS 1.2."""

    def __init__(self, server, device, folder):
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        context = tls_context(server.anchors(), *device.files(folder), ssl.TLSVersion.TLSv1_2)
        self.s = context.wrap_socket(raw, server_hostname="127.0.0.1")
        self.binding = base64.b64encode(self.s.get_channel_binding("tls-unique")).decode()

    def post(self, body):
        self.s.sendall(b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/pkcs10\r\n"
                       b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return kit.read_answer(self.s)[0]

    def close(self):
        self.s.close()


class Line13:
    """A connection of TLS 1.3; openssl tells the exporter's value (RFC 9266) before anything is sent."""

    def __init__(self, server, device, folder):
        cert, key = device.files(folder)
        self.p = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_3", "-CAfile", server.anchors(),
                                   "-cert", cert, "-key", key, "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32",
                                   "-servername", "localhost", "-ign_eof"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL)
        told = b""
        while b"---\n" not in told.partition(b"Keying material: ")[2]:
            line = self.p.stdout.readline()
            assert line, told
            told += line
        self.binding = base64.b64encode(bytes.fromhex(re.search(rb"Keying material: ([0-9A-F]+)", told)[1].decode())).decode()

    def post(self, body):
        self.p.stdin.write(b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/pkcs10\r\n"
                           b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.p.stdin.flush()
        said = self.p.communicate(timeout=30)[0]
        at = said.index(b"HTTP/1.1 ")  # before it: session tickets, if there were any
        head, _, rest = said[at:].partition(b"\r\n\r\n")
        headers = http.client.HTTPMessage()
        for line in head.decode().split("\r\n")[1:]:
            headers[line.split(":", 1)[0]] = line.split(":", 1)[1].strip()
        return kit.Answer(int(head.split()[1]), headers, rest[:int(headers["Content-Length"])])

    def close(self):
        self.p.stdin.close()
        self.p.stdout.close()
        self.p.terminate()
        self.p.wait()


LINES = [Line12, Line13]


@pytest.fixture
def line(server, tmp_path):
    opened = []

    def one(kind, device):
        opened.append(kind(server, device, tmp_path))
        return opened[-1]

    yield one
    for each in opened:
        each.close()


@pytest.mark.parametrize("oid", [AttributeOID.CHALLENGE_PASSWORD, LINKING], ids=["challengePassword", "RFC 7894"])
@pytest.mark.parametrize("kind", LINES)
def test_linked(server, register, line, kind, oid):
    key, on = kit.KEYS["P-256"](), line(kind, register())
    answer = on.post(base64.b64encode(csr(key, on.binding, oid)))
    assert answer.status == 200, answer
    (cert,) = certs_of_pkcs7(answer.body)
    assert cert.public_key().public_numbers() == key.public_key().public_numbers()


@pytest.mark.parametrize("kind", LINES)
def test_of_another_connection(server, register, line, kind):
    """A request that was made for one connection of the very device, brought over another one."""
    d, key = register(), kit.KEYS["P-256"]()
    first, second = line(kind, d), line(kind, d)
    assert first.binding != second.binding
    answer = second.post(base64.b64encode(csr(key, first.binding)))
    assert_refused(server, answer, 403, "pop-mismatch")
    assert_told(server, answer, d.udid)


def test_not_linked(server, register, line):
    answer = line(Line12, register()).post(base64.b64encode(kit.make_csr(kit.KEYS["P-256"](), "unit")))
    assert_refused(server, answer, 403, "pop-unlinked")


def test_a_password_of_another_kind_is_no_link(server, register, line):
    answer = line(Line12, register()).post(base64.b64encode(csr(kit.KEYS["P-256"](), "open sesame")))
    assert_refused(server, answer, 403, "pop-unlinked")


def test_where_nobody_asks_for_it(server, register, line):
    """A product that does not ask: what is there must be right all the same, and a password of another kind does no harm."""
    d, key = register("loose-1"), kit.KEYS["P-256"]()
    wrong = base64.b64encode(bytes(12)).decode()
    assert_refused(server, line(Line12, d).post(base64.b64encode(csr(key, wrong))), 403, "pop-mismatch")
    assert line(Line12, d).post(base64.b64encode(csr(key, "open sesame"))).status == 200


def test_csrattrs_asks_for_it(server):
    """RFC 7030 section 3.5: the client learns from csrattrs that it is wanted; only where it is."""
    def attrs(label):
        return base64.b64decode(call(server, "GET", EST + label + "csrattrs").body)

    assert CHALLENGE_PASSWORD in attrs("telemetry/") and CHALLENGE_PASSWORD in attrs("")
    assert CHALLENGE_PASSWORD not in attrs("plain/")


def test_policy_can_be_tried_out(server, register, tmp_path):
    d = register()
    path = tmp_path / "csr.pem"
    request = x509.load_der_x509_csr(csr(kit.KEYS["P-256"](), base64.b64encode(bytes(12)).decode()))
    path.write_bytes(request.public_bytes(kit.PEM))
    assert server.ask("policy", "test", "--udid", d.udid, "--csr", path)["granted"]
    path.write_bytes(x509.load_der_x509_csr(kit.make_csr(kit.KEYS["P-256"](), "x")).public_bytes(kit.PEM))
    assert server.ask("policy", "test", "--udid", d.udid, "--csr", path, want=None).get("code") == "pop-unlinked"


def test_template(server, tmp_path):
    """RFC 9908 section 3.4: the template says the kind of key, and which parts of the name are fixed."""
    profile = server.ask("profile", "show", "ldevid")
    profile = profile.get("profile", profile)
    profile["csr_template"] = True
    profile["subject"] = "CN={udid},OU=Meters"
    (tmp_path / "p.json").write_text(json.dumps(profile))
    server.run("profile", "set", "templated", tmp_path / "p.json")
    server.run("service", "set", "plain", "--profile", "templated")
    der = kit.wait_for("the template", lambda: (lambda d: d if TEMPLATE in d else None)(
        base64.b64decode(call(server, "GET", EST + "plain/csrattrs").body)))
    shown = subprocess.run(["openssl", "asn1parse", "-inform", "DER"], input=der, capture_output=True, check=True).stdout.decode()
    inside = shown[shown.index("1.2.840.113549.1.9.16.2.61"):]
    assert ":Meters" in inside and "commonName" in inside and "prime256v1" in inside and "cont [ 1 ]" in inside
    assert "INTEGER           :00" in inside
    assert shown.index("ecdsa-with-SHA256") < shown.index("1.2.840.113549.1.9.16.2.61")  # clients that know no template go on as before
