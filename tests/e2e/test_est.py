"""EST (RFC 7030) as clients speak it that share no code with us: curl with openssl, globalsign's estclient, strongSwan's pki, and raw
sockets for the habits of libest."""

import base64
import os
import shutil
import ssl
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import kit
from kit import DER, EST, PEM, ChipMaker, Device, assert_refused, assert_told, call, certs_of_pkcs7, est_enrol

TYPE = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(services=("telemetry", "updates"))
    s.run("product", "create", "vouched", "--org", "oem", "--services", "telemetry", "--birth-certificate", "yes")
    s.run("batch", "create", "vouched-1", "--product", "vouched", "--quota", 100)
    s.start()
    return s


@pytest.fixture(scope="module")
def maker(server):
    m = ChipMaker()
    server.run("org", "trust", "chips", m.pem(server.folder / "maker.pem"), "--purpose", "birth")
    return m


@pytest.fixture(scope="module")
def register(server):
    count = iter(range(1000))

    def one(alg="P-256", **more):
        d = Device(alg)
        if "birth" in more:
            d.birth = d.cert = more.pop("birth").birth(d)
        server.register(d, name=f"m-{next(count)}", **more)
        return d

    return one


def run(*words, want=0, **more):
    done = subprocess.run([*map(str, words)], capture_output=True, timeout=60, stdin=subprocess.DEVNULL, **more)
    assert want is None or done.returncode == want, f"{words}: {done.returncode}\n{done.stdout!r}\n{done.stderr!r}"
    return done


def curl(server, path, *words, want=0):
    return run("curl", "--silent", "--show-error", "--max-time", 30, "--cacert", server.anchors(), *words, server.url + path, want=want)


def check_cert(server, cert, device, key):
    """What every LDevID has to be, whoever asked."""
    assert kit.spki_of(key) == cert.public_key().public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert device.udid in cert.subject.rfc4514_string()
    path = server.folder / "ldevid.pem"
    path.write_bytes(cert.public_bytes(PEM))
    server.run("ca", "export", "issuing", "--out", server.folder / "issuing.pem", "--quiet")
    run("openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", server.anchors(), "-untrusted",
        server.folder / "issuing.pem", path)
    listed = server.ask("cert", "show", f"{cert.serial_number:032x}")
    assert listed["state"] == "active"


def enrolled(server, device, answer, key):
    assert answer.status == 200, answer
    (cert,) = certs_of_pkcs7(answer.body)
    check_cert(server, cert, device, key)
    return cert


# --- curl and openssl -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["", "telemetry/", "updates/"])
def test_cacerts(server, tmp_path, label):
    done = curl(server, EST + label + "cacerts", "--dump-header", tmp_path / "head")
    head = (tmp_path / "head").read_text()
    assert "application/pkcs7-mime" in head and "Content-Transfer-Encoding: base64" in head and "Birthmark-Correlation: " in head
    (tmp_path / "p7").write_bytes(base64.b64decode(done.stdout, validate=True))
    shown = run("openssl", "pkcs7", "-inform", "DER", "-in", tmp_path / "p7", "-print_certs").stdout
    certs = x509.load_pem_x509_certificates(shown)
    names = {c.subject.rfc4514_string() for c in certs}
    assert len(certs) == 2 and x509.load_pem_x509_certificate(server.anchors().read_bytes()) in certs, names


def test_csrattrs(server, tmp_path):
    done = curl(server, EST + "csrattrs", "--dump-header", tmp_path / "head")
    assert "application/csrattrs" in (tmp_path / "head").read_text()
    (tmp_path / "der").write_bytes(base64.b64decode(done.stdout))
    assert b"SEQUENCE" in run("openssl", "asn1parse", "-inform", "DER", "-in", tmp_path / "der").stdout


@pytest.mark.parametrize("path, status, code", [
    (EST + "nowhere/cacerts", 404, "unknown-label"),
    (EST + "nowhere/csrattrs", 404, "unknown-label"),
    (EST + "a/b/cacerts", 404, "no-such-path"),
    (EST + "/cacerts", 404, "no-such-path"),
    (EST, 404, "no-such-path"),
    (EST + "cacerts/", 404, "no-such-path"),
    (EST + "fullcmc", 405, "method-not-allowed"),
    (EST + "simpleenroll", 405, "method-not-allowed"),
    (EST + "%63acerts", 404, "no-such-path"),
    (EST + "n%0aowhere/cacerts", 404, "unknown-label"),
    ("/" + "x" * 600, 414, "target-too-long"),
])
def test_paths_that_are_not_there(server, path, status, code):
    assert_refused(server, call(server, "GET", path), status, code)


@pytest.mark.parametrize("tls", ["--tlsv1.3", "--tls-max=1.2"])
@pytest.mark.parametrize("alg", list(kit.KEYS))
def test_curl_and_openssl(server, register, tmp_path, tls, alg):
    """The device's life with nothing but curl and openssl: enrolment with the IDevID, renewal with what came of it."""
    d = register(alg)
    cert, key = d.files(tmp_path)
    flags = ("--tls-max", "1.2", "--tlsv1.2") if tls.endswith("1.2") else (tls,)
    run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", tmp_path / "op.key",
        "-subj", "/CN=whatever", "-outform", "DER", "-out", tmp_path / "csr")
    (tmp_path / "csr.b64").write_bytes(base64.encodebytes((tmp_path / "csr").read_bytes()))

    def post(op, *identity):
        done = curl(server, EST + op, *flags, "--cert", identity[0], "--key", identity[1], "--data-binary", f"@{tmp_path}/csr.b64",
                    "-H", "Content-Type: application/pkcs10", "-H", "Content-Transfer-Encoding: base64", "--write-out",
                    "%{stderr}%{http_code}")
        assert done.stderr == b"200", (done.stderr, done.stdout)
        (tmp_path / "p7").write_bytes(base64.b64decode(done.stdout))
        run("openssl", "pkcs7", "-inform", "DER", "-in", tmp_path / "p7", "-print_certs", "-out", tmp_path / "got.pem")
        return x509.load_pem_x509_certificate((tmp_path / "got.pem").read_bytes())

    first = post("simpleenroll", cert, key)
    operational = serialization.load_pem_private_key((tmp_path / "op.key").read_bytes(), None)
    check_cert(server, first, d, operational)
    subject = first.subject
    (tmp_path / "csr").write_bytes(kit.make_csr(operational, subject))
    (tmp_path / "csr.b64").write_bytes(base64.encodebytes((tmp_path / "csr").read_bytes()))
    shutil.copy(tmp_path / "got.pem", tmp_path / "ldevid.pem")
    second = post("simplereenroll", tmp_path / "ldevid.pem", tmp_path / "op.key")
    check_cert(server, second, d, operational)
    assert second.serial_number != first.serial_number and second.subject == first.subject
    assert server.state(d) == "active"


def test_labels_choose_the_service(server, register, tmp_path):
    d = register()
    for label, service in ((None, "telemetry"), ("telemetry", "telemetry"), ("updates", "updates")):
        answer, key = est_enrol(server, d, tmp_path, label=label)
        cert = enrolled(server, d, answer, key)
        assert server.ask("cert", "show", f"{cert.serial_number:032x}")["service"] == service


def test_a_label_that_is_none(server, register, tmp_path):
    d = register()
    answer, _ = est_enrol(server, d, tmp_path, label="nowhere")
    assert_refused(server, answer, 403, "service-refused")
    assert_told(server, answer, d.udid, "nowhere")
    answer, _ = est_enrol(server, d, tmp_path, label="x" * 65)
    assert_refused(server, answer, 404, "unknown-label")
    assert server.state(d) == "allocated"


# --- evidence ---------------------------------------------------------------------------------------------------------------------------


def test_birth_certificate(server, register, maker, tmp_path):
    d = register(batch="vouched-1", birth=maker)
    answer, key = est_enrol(server, d, tmp_path)
    enrolled(server, d, answer, key)


def test_birth_certificate_with_an_intermediate(server, register, maker, tmp_path):
    d = register(batch="vouched-1")
    middle_key, middle_name = kit.KEYS["P-256"](), kit.name_of("Chips Middle")
    middle = kit.make_cert(middle_key, middle_name, maker.key, maker.name, ca=True)
    d.cert = kit.make_cert(d.key, kit.name_of("chip"), middle_key, middle_name)
    answer, _ = est_enrol(server, d, tmp_path)
    assert_refused(server, answer, 403, "untrusted-birth-certificate")
    d.chain = [middle]
    answer, key = est_enrol(server, d, tmp_path)
    enrolled(server, d, answer, key)


def test_intermediate_that_is_no_ca(server, register, maker, tmp_path):
    """A genuine device's birth certificate must not pass for a CA."""
    d, other = register(batch="vouched-1"), register(batch="vouched-1", birth=maker)
    d.cert = kit.make_cert(d.key, kit.name_of("chip"), other.key, other.cert.subject)
    d.chain = [other.cert]
    answer, _ = est_enrol(server, d, tmp_path)
    assert answer.status == 403, answer
    assert_told(server, answer, d.udid)


def test_birth_certificate_of_a_stranger(server, register, tmp_path):
    d = register()
    d.cert = ChipMaker("Nobody").birth(d)
    answer, _ = est_enrol(server, d, tmp_path)
    assert_refused(server, answer, 403, "untrusted-birth-certificate")
    assert_told(server, answer, d.udid)


def test_birth_certificate_of_an_impostor_with_the_same_name(server, register, maker, tmp_path):
    d = register(batch="vouched-1")
    d.cert = ChipMaker("Chips Root").birth(d)
    answer, _ = est_enrol(server, d, tmp_path)
    assert_refused(server, answer, 403, "untrusted-birth-certificate")


@pytest.mark.parametrize("days", [(-30, -1), (1, 30)])
def test_birth_certificate_out_of_its_time(server, register, maker, tmp_path, days):
    d = register(batch="vouched-1")
    d.cert = maker.birth(d, days=days)
    answer, _ = est_enrol(server, d, tmp_path)
    assert answer.status == 403, answer


def test_birth_certificate_is_needed(server, register, tmp_path):
    d = register(batch="vouched-1")
    answer, _ = est_enrol(server, d, tmp_path)
    assert_refused(server, answer, 403, "birth-certificate-needed")
    assert_told(server, answer, d.udid)


def test_no_certificate(server):
    answer = call(server, "POST", EST + "simpleenroll", base64.b64encode(kit.make_csr(kit.KEYS["P-256"]())), TYPE)
    assert_refused(server, answer, 401, "no-evidence")


def test_unknown_device(server, tmp_path):
    d = Device()
    answer, _ = est_enrol(server, d, tmp_path)
    assert_refused(server, answer, 403, "unknown-device")
    assert_told(server, answer, d.udid, "127.0.0.1")


def test_copy_under_a_genuine_name(server, register, tmp_path):
    d, copy = register(), Device()
    copy.cert = copy.self_signed(d.udid)
    answer, _ = est_enrol(server, copy, tmp_path)
    assert_refused(server, answer, 403, "udid-mismatch")
    assert_told(server, answer)


def test_not_in_a_batch(server, register, tmp_path):
    d = register(batch=None)
    answer, _ = est_enrol(server, d, tmp_path)
    assert_refused(server, answer, 403, "not-allocated")
    assert_told(server, answer, d.udid)


def test_quota(server, register, tmp_path):
    server.run("batch", "create", "small", "--product", "sensor", "--quota", 1)
    one, two = register(batch="small"), register(batch="small")
    answer, key = est_enrol(server, one, tmp_path)
    enrolled(server, one, answer, key)
    answer, _ = est_enrol(server, two, tmp_path)
    assert_refused(server, answer, 403, "quota-exceeded")
    assert_told(server, answer, two.udid)
    answer, key = est_enrol(server, one, tmp_path)  # one that is in stays in
    enrolled(server, one, answer, key)
    assert server.ask("batch", "show", "small")["used"] == 1


def test_closed_batch(server, register, tmp_path):
    server.run("batch", "create", "shut", "--product", "sensor", "--quota", 10)
    d = register(batch="shut")
    server.run("batch", "close", "shut")
    answer, _ = est_enrol(server, d, tmp_path)
    assert_refused(server, answer, 403, "batch-closed")
    assert_told(server, answer, d.udid)


@pytest.mark.parametrize("act, code", [("suspend", "device-suspended"), ("retire", "device-retired"), ("compromise", "device-compromised")])
def test_states(server, register, tmp_path, act, code):
    """Neither the IDevID nor the LDevID helps once the device has been barred."""
    d = register()
    answer, key = est_enrol(server, d, tmp_path)
    ldevid = enrolled(server, d, answer, key)
    server.run("device", act, d.udid)
    for op, cert, cert_key in (("simpleenroll", None, None), ("simplereenroll", ldevid, key)):
        answer, _ = est_enrol(server, d, tmp_path, op=op, cert=cert, cert_key=cert_key, subject=ldevid.subject)
        assert_refused(server, answer, 403, code)
        assert_told(server, answer, d.udid)


def test_revoked_certificate(server, register, tmp_path):
    d = register()
    answer, key = est_enrol(server, d, tmp_path)
    ldevid = enrolled(server, d, answer, key)
    server.run("cert", "revoke", f"{ldevid.serial_number:032x}", "--reason", "keyCompromise")
    answer, _ = est_enrol(server, d, tmp_path, op="simplereenroll", cert=ldevid, cert_key=key, subject=ldevid.subject)
    assert_refused(server, answer, 403, "credential-revoked")
    assert_told(server, answer, d.udid)
    answer, key = est_enrol(server, d, tmp_path)  # the device itself is still good
    enrolled(server, d, answer, key)


def test_reenrolment_keeps_the_subject(server, register, tmp_path):
    d = register()
    answer, key = est_enrol(server, d, tmp_path)
    ldevid = enrolled(server, d, answer, key)
    answer, _ = est_enrol(server, d, tmp_path, op="simplereenroll", cert=ldevid, cert_key=key, subject="somebody else")
    assert_refused(server, answer, 403, "subject-mismatch")
    assert_told(server, answer, d.udid)


def test_someone_elses_ldevid_with_the_same_name(server, register, tmp_path):
    """A CA of the same name, another key: the certificate says it is an LDevID of ours and is none."""
    d = register()
    answer, key = est_enrol(server, d, tmp_path)
    ldevid = enrolled(server, d, answer, key)
    thief, fake_ca = kit.KEYS["P-256"](), kit.KEYS["P-256"]()
    forged = kit.make_cert(thief, ldevid.subject, fake_ca, ldevid.issuer)
    answer, _ = est_enrol(server, d, tmp_path, op="simplereenroll", cert=forged, cert_key=thief, subject=ldevid.subject)
    assert answer.status == 403 and answer.code in ("unknown-device", "udid-mismatch"), answer
    assert_told(server, answer)


def test_server_certificate_is_no_device(server, tmp_path):
    """Certificates we issued for something else than a device prove nothing."""
    key = kit.KEYS["P-256"]()
    pem = ssl.get_server_certificate(("127.0.0.1", server.port))
    own = x509.load_pem_x509_certificate(pem.encode())
    forged = kit.make_cert(key, own.subject, key, own.issuer)
    d = Device()
    answer, _ = est_enrol(server, d, tmp_path, cert=forged, cert_key=key)
    assert (answer.status, answer.code) == (403, "unknown-device")


# --- requests ----------------------------------------------------------------------------------------------------------------------------


def broken_signature():
    der = bytearray(kit.make_csr(kit.KEYS["P-256"]()))
    der[-1] ^= 1
    return bytes(der)


@pytest.mark.parametrize("csr, status, code", [
    (broken_signature(), 403, "bad-signature"),
    (kit.make_csr(kit.KEYS["P-256"]())[:-1], 400, None),
    (kit.make_csr(kit.KEYS["P-256"]()) + b"\0", 400, None),
    (b"0", 400, None),
    (b"", 400, None),
    (kit.make_csr(kit.KEYS["P-256"]()) * 60, 400, None),
    (b"\x30\x80" + b"\0" * 40000, 413, "body-too-large"),
])
def test_bad_requests(server, register, tmp_path, csr, status, code):
    d = register()
    answer, _ = est_enrol(server, d, tmp_path, csr=csr or None, headers=None) if csr else (
        call(server, "POST", EST + "simpleenroll", b"", TYPE, kit.tls_context(server.anchors(), *d.files(tmp_path))), None)
    assert answer.status == status, answer
    assert code is None or answer.code == code
    assert answer.code and answer.correlation
    assert server.state(d) == "allocated"


def test_weak_key_in_the_request(server, register, tmp_path):
    d = register()
    weak = kit.rsa.generate_private_key(65537, 1024)
    answer, _ = est_enrol(server, d, tmp_path, key=weak)
    assert answer.status in (400, 403) and answer.code, answer
    assert_told(server, answer, d.udid)


def test_request_signed_by_another_key(server, register, tmp_path):
    d = register()
    mine, other = kit.make_csr(kit.KEYS["P-256"]()), kit.make_csr(kit.KEYS["P-256"]())
    at = mine.index(b"\x03\x42\x00\x04") + 4
    swapped = mine[:at] + other[at:at + 64] + mine[at + 64:]
    answer, _ = est_enrol(server, d, tmp_path, csr=swapped)
    assert_refused(server, answer, 403, "bad-signature")
    assert_told(server, answer, d.udid)


def test_wrong_media_type(server, register, tmp_path):
    d = register()
    answer, _ = est_enrol(server, d, tmp_path, headers={"Content-Type": "application/json"})
    assert_refused(server, answer, 415, "unsupported-media-type")


@pytest.mark.parametrize("body", [b"!" * 300, b"MIIB=MIIB", b"\xff\xfe" * 50, b"MIIBA"])
def test_body_that_is_no_base64(server, register, tmp_path, body):
    d = register()
    answer = call(server, "POST", EST + "simpleenroll", body, TYPE, kit.tls_context(server.anchors(), *d.files(tmp_path)))
    assert answer.status == 400 and answer.code, answer


def test_what_a_request_asks_for_is_not_what_it_gets(server, register, tmp_path):
    """Subject and extensions come from the profile: nobody becomes a CA or another device by asking."""
    d = register()
    key = kit.KEYS["P-256"]()
    csr = kit.make_csr(key, "0" * 64, extensions=(x509.BasicConstraints(True, None),
                                                 x509.SubjectAlternativeName([x509.DNSName("example.org")])))
    answer, _ = est_enrol(server, d, tmp_path, key=key, csr=csr)
    cert = enrolled(server, d, answer, key)
    assert "0" * 64 not in cert.subject.rfc4514_string()
    assert x509.BasicConstraints not in [type(e.value) for e in cert.extensions]
    assert b"example.org" not in cert.public_bytes(DER)


# --- habits of clients in the field --------------------------------------------------------------------------------------------------------


def raw_post(server, d, folder, head, body, context=None):
    with kit.connect(server, context or kit.tls_context(server.anchors(), *d.files(folder))) as s:
        s.sendall(b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + body)
        answer, rest = kit.read_answer(s)
        return answer


def test_libest(server, register, tmp_path):
    """It wraps at 64, sends a line end that Content-Length does not count, and reads only what is wrapped too."""
    d, key = register(), kit.KEYS["P-256"]()
    text = base64.b64encode(kit.make_csr(key))
    body = b"".join(text[i:i + 64] + b"\n" for i in range(0, len(text), 64))
    answer = raw_post(server, d, tmp_path, b"Content-Type: application/pkcs10\r\nContent-Transfer-Encoding: base64\r\n"
                      b"Content-Length: %d\r\n" % len(body), body + b"\r\n")
    enrolled(server, d, answer, key)
    lines = answer.body.split(b"\n")
    assert len(lines) > 5 and all(len(line.rstrip(b"\r")) <= 64 for line in lines)


def test_libest_cacerts(server):
    answer = call(server, "GET", EST + "cacerts", headers={"User-Agent": "Cisco EST client 1.0 libest"})
    assert max(len(line) for line in answer.body.split(b"\n")) <= 64
    plain = call(server, "GET", EST + "cacerts")
    assert b"\n" not in plain.body.strip() and base64.b64decode(plain.body) == base64.b64decode(answer.body)


def test_one_line_in_one_line_out(server, register, tmp_path):
    d = register()
    answer, key = est_enrol(server, d, tmp_path)
    enrolled(server, d, answer, key)
    assert b"\n" not in answer.body.rstrip()


def test_chunked(server, register, tmp_path):
    d, key = register(), kit.KEYS["P-256"]()
    text = base64.b64encode(kit.make_csr(key))
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(text[i:i + 7]), text[i:i + 7]) for i in range(0, len(text), 7)) + b"0\r\n\r\n"
    answer = raw_post(server, d, tmp_path, b"Content-Type: application/pkcs10\r\nTransfer-Encoding: chunked\r\n", chunks)
    enrolled(server, d, answer, key)


@pytest.mark.parametrize("head, wrap", [
    (b"Content-Type: application/pkcs10\r\n", base64.encodebytes),
    (b"", base64.b64encode),
    (b"Content-Type: application/pkcs10\r\nContent-Transfer-Encoding: binary\r\n", bytes),
    (b"Content-Type: application/pkcs10\r\n", bytes),
    (b"Content-Type: application/pkcs10; charset=us-ascii\r\n", base64.b64encode),
], ids=["no transfer encoding", "no header at all", "DER", "DER unannounced", "parameters"])
def test_forgiven(server, register, tmp_path, head, wrap):
    d, key = register(), kit.KEYS["P-256"]()
    body = wrap(kit.make_csr(key))
    answer = raw_post(server, d, tmp_path, head + b"Content-Length: %d\r\n" % len(body), body)
    enrolled(server, d, answer, key)


def test_two_devices_on_one_connection_after_another(server, register, tmp_path):
    """A connection is one device's; its certificate counts for every request on it."""
    d = register()
    with kit.connect(server, kit.tls_context(server.anchors(), *d.files(tmp_path))) as s:
        rest = b""
        for _ in range(3):
            key = kit.KEYS["P-256"]()
            body = base64.b64encode(kit.make_csr(key))
            s.sendall(b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/pkcs10\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answer, rest = kit.read_answer(s, rest)
            enrolled(server, d, answer, key)


# --- estclient ----------------------------------------------------------------------------------------------------------------------------


def test_estclient(server, register, go_tool, tmp_path):
    client, d = go_tool("estclient"), register()
    host = f"127.0.0.1:{server.port}"
    cert, key = d.files(tmp_path)
    got = run(client, "cacerts", "-server", host, "-explicit", server.anchors(), "-out", tmp_path / "ca.pem")
    assert len(x509.load_pem_x509_certificates((tmp_path / "ca.pem").read_bytes())) == 2, got
    run(client, "csrattrs", "-server", host, "-explicit", server.anchors())
    operational = kit.KEYS["P-256"]()
    (tmp_path / "op.key").write_bytes(kit.key_pem(operational))
    run(client, "csr", "-key", tmp_path / "op.key", "-cn", "unit", "-out", tmp_path / "csr")
    run(client, "enroll", "-server", host, "-explicit", server.anchors(), "-certs", cert, "-key", key, "-csr", tmp_path / "csr", "-out",
        tmp_path / "ldevid.pem")
    ldevid = x509.load_pem_x509_certificate((tmp_path / "ldevid.pem").read_bytes())
    check_cert(server, ldevid, d, operational)
    (tmp_path / "csr").write_bytes(x509.load_der_x509_csr(kit.make_csr(operational, ldevid.subject)).public_bytes(PEM))
    run(client, "reenroll", "-server", host, "-explicit", server.anchors(), "-certs", tmp_path / "ldevid.pem", "-key",
        tmp_path / "op.key", "-csr", tmp_path / "csr", "-out", tmp_path / "again.pem")
    again = x509.load_pem_x509_certificate((tmp_path / "again.pem").read_bytes())
    check_cert(server, again, d, operational)


def test_estclient_with_a_label(server, register, go_tool, tmp_path):
    client, d = go_tool("estclient"), register()
    cert, key = d.files(tmp_path)
    operational = kit.KEYS["P-256"]()
    (tmp_path / "csr").write_bytes(x509.load_der_x509_csr(kit.make_csr(operational, "unit")).public_bytes(PEM))
    run(client, "enroll", "-server", f"127.0.0.1:{server.port}", "-aps", "updates", "-explicit", server.anchors(), "-certs", cert, "-key",
        key, "-csr", tmp_path / "csr", "-out", tmp_path / "ldevid.pem")
    ldevid = x509.load_pem_x509_certificate((tmp_path / "ldevid.pem").read_bytes())
    check_cert(server, ldevid, d, operational)


def test_estclient_is_told_why(server, go_tool, tmp_path):
    d = Device()
    cert, key = d.files(tmp_path)
    (tmp_path / "csr").write_bytes(x509.load_der_x509_csr(kit.make_csr(d.key, "unit")).public_bytes(PEM))
    done = run(go_tool("estclient"), "enroll", "-server", f"127.0.0.1:{server.port}", "-explicit", server.anchors(), "-certs", cert, "-key",
               key, "-csr", tmp_path / "csr", want=None)
    assert done.returncode != 0 and b"unknown-device" in done.stdout + done.stderr


# --- strongSwan -----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pki():
    if shutil.which("pki") is None:
        pytest.skip("strongswan-pki is not installed")
    return "pki"


def test_strongswan(server, register, pki, tmp_path):
    """pki --est sends and wants one line of base64, and renews with --cert."""
    d = register()
    cert, key = d.files(tmp_path)
    (tmp_path / "strongswan.conf").write_text("# nothing of this machine's\n")
    env = {**os.environ, "STRONGSWAN_CONF": str(tmp_path / "strongswan.conf")}
    host = f"https://127.0.0.1:{server.port}"
    run(pki, "--estca", "--url", host, "--cacert", server.anchors(), "--caout", tmp_path / "ca", "--outform", "pem", env=env)
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", tmp_path / "op.key")
    operational = serialization.load_pem_private_key((tmp_path / "op.key").read_bytes(), None)
    csr = run(pki, "--req", "--type", "priv", "--in", tmp_path / "op.key", "--dn", "CN=unit", env=env).stdout
    (tmp_path / "csr").write_bytes(csr)
    server.run("ca", "export", "issuing", "--out", tmp_path / "issuing.pem", "--quiet")
    anchors = ("--cacert", server.anchors(), "--cacert", tmp_path / "issuing.pem")
    got = run(pki, "--est", "--url", host, *anchors, "--in", tmp_path / "csr", "--cert", cert, "--key", key, "--outform", "pem",
              env=env).stdout
    ldevid = x509.load_pem_x509_certificate(got)
    check_cert(server, ldevid, d, operational)
    (tmp_path / "ldevid.pem").write_bytes(got)
    (tmp_path / "csr").write_bytes(kit.make_csr(operational, ldevid.subject))
    got = run(pki, "--est", "--url", host, *anchors, "--in", tmp_path / "csr", "--cert", tmp_path / "ldevid.pem", "--key",
              tmp_path / "op.key", "--outform", "pem", env=env).stdout
    again = x509.load_pem_x509_certificate(got)
    check_cert(server, again, d, operational)
    assert again.serial_number != ldevid.serial_number
