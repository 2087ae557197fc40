"""What RFC 7030 and RFC 8951 demand of a server, each violated by one request that is right in all else. A row breaks when such a request is taken,
or refused in another way than it should be; after each the device is as it was, and the operator can ask why."""

import base64
import contextlib
import gzip
import http.client
import socket
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import kit
from kit import EST, Device, assert_refused, assert_told, call, certs_of_pkcs7, est_enrol, make_csr, name_of, tls_context

TYPE = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(services=("telemetry",))
    s.http_port = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{s.http_port}")
    return s


@pytest.fixture(scope="module")
def register(server):
    count = iter(range(1000))

    def one():
        d = Device()
        server.register(d, name=f"m-{next(count)}")
        return d

    return one


@pytest.fixture(scope="module")
def device(register):
    """One for all that is refused: it must not get anywhere."""
    return register()


@pytest.fixture(scope="module")
def holder(server, register, tmp_path_factory):
    """A device with a certificate, for what is about renewal."""
    d = register()
    answer, d.op = est_enrol(server, d, tmp_path_factory.mktemp("holder"))
    (d.ldevid,) = certs_of_pkcs7(answer.body)
    return d


def b64(der):
    return base64.b64encode(der)


def context_of(server, folder, d, cert=None, key=None):
    return tls_context(server.anchors(), *d.files(folder, cert, key))


def post(server, folder, d, body, op="simpleenroll", headers=TYPE, **identity):
    return call(server, "POST", EST + op, body, headers, context_of(server, folder, d, **identity))


def flip(der, at):
    at %= len(der)
    return der[:at] + bytes([der[at] ^ 1]) + der[at + 1:]


GOOD = kit.KEYS["P-256"]()
CSR = make_csr(GOOD, "unit")

# --- 4.2.1, RFC 8951 3.1: the body -------------------------------------------------------------------------------------------------------

BODIES = {
    "nothing at all": (b"", 400, None),
    "not base64": (b"%%%%", 400, None),
    "base64 cut short": (b64(CSR)[:-3], 400, None),
    "base64 with a stray character": (b64(CSR)[:40] + b"!" + b64(CSR)[40:], 400, None),
    "no DER": (b64(b"hello, this is no certificate request"), 400, None),
    "PEM in place of base64": (b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(CSR), 400, None),
    "DER cut short": (b64(CSR[:-1]), 400, None),
    "a byte behind the DER": (b64(CSR + b"\0"), 400, None),
    "two requests": (b64(CSR + CSR), 400, None),
    "a certificate in its place": (None, 400, None),
    "over 16 kB": (b64(CSR + bytes(20000)), 413, None),
    "the signature is another's (3.4, proof of possession)": (b64(flip(CSR, -5)), 403, "bad-signature"),
    "what was signed is another name": (b64(CSR.replace(b"unit", b"tiny")), 403, "bad-signature"),
    "RSA of 1024 bits": (b64(make_csr(rsa.generate_private_key(65537, 1024), "unit")), None, None),
}


@pytest.mark.parametrize("name", BODIES)
def test_body(server, device, tmp_path, name):
    body, status, code = BODIES[name]
    answer = post(server, tmp_path, device, body if body is not None else b64(device.cert.public_bytes(kit.DER)))
    assert answer.status == (status or answer.status) and 400 <= answer.status < 500, answer
    if code is not None:
        assert_refused(server, answer, status, code)
    assert server.state(device) == "allocated"


# --- 3.2.4, 4: header fields -------------------------------------------------------------------------------------------------------------

HEADERS = {
    "another media type": ({**TYPE, "Content-Type": "application/json"}, 415, "unsupported-media-type"),
    "the media type of the answer": ({**TYPE, "Content-Type": "application/pkcs7-mime"}, 415, "unsupported-media-type"),
    "CMC's media type": ({**TYPE, "Content-Type": "application/pkcs7-mime; smime-type=CMC-request"}, 415, "unsupported-media-type"),
    "compressed": ({**TYPE, "Content-Encoding": "gzip"}, 415, "content-encoding"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_header(server, device, tmp_path, name):
    headers, status, code = HEADERS[name]
    body = gzip.compress(b64(CSR)) if "Content-Encoding" in headers else b64(CSR)
    assert_refused(server, post(server, tmp_path, device, body, headers=headers), status, code)


@pytest.mark.parametrize("encoding", [None, "base64", "binary", "8bit", "quoted-printable", "nonsense"])
def test_content_transfer_encoding_is_passed_over(server, register, tmp_path, encoding):
    """RFC 8951 section 3.1: the field says nothing; the body is base64 whatever it claims. The same for how base64 is wrapped."""
    d = register()
    headers = {"Content-Type": "application/pkcs10"}
    if encoding is not None:
        headers["Content-Transfer-Encoding"] = encoding
    for body in (b64(CSR), base64.encodebytes(CSR), base64.encodebytes(CSR).replace(b"\n", b"\r\n"), b64(CSR) + b"\n"):
        answer = post(server, tmp_path, d, body, headers=headers)
        assert answer.status == 200, answer
        assert len(certs_of_pkcs7(answer.body)) == 1  # section 4.2.3: the certificate, and nothing else


# --- 3.2.2: paths and methods --------------------------------------------------------------------------------------------------------------

PATHS = {
    "an operation that is none": ("POST", EST + "enroll", 404, "no-such-path"),
    "in capitals": ("POST", EST + "SimpleEnroll", 404, "no-such-path"),
    "two labels": ("POST", EST + "a/b/simpleenroll", 404, "no-such-path"),
    "an empty label": ("POST", EST + "/simpleenroll", 404, "no-such-path"),
    "a label that is none": ("POST", EST + "nowhere/simpleenroll", 403, "service-refused"),
    "GET to enrol": ("GET", EST + "simpleenroll", 405, "method-not-allowed"),
    "GET to renew": ("GET", EST + "simplereenroll", 405, "method-not-allowed"),
    "POST for cacerts": ("POST", EST + "cacerts", 405, "method-not-allowed"),
    "POST for csrattrs": ("POST", EST + "csrattrs", 405, "method-not-allowed"),
    "GET for fullcmc": ("GET", EST + "fullcmc", 405, "method-not-allowed"),
    "fullcmc (4.3, optional)": ("POST", EST + "fullcmc", 501, "not-implemented"),
    "fullcmc with a label": ("POST", EST + "telemetry/fullcmc", 501, "not-implemented"),
    "cacerts of a label that is none": ("GET", EST + "nowhere/cacerts", 404, "unknown-label"),
    "csrattrs of a label that is none": ("GET", EST + "nowhere/csrattrs", 404, "unknown-label"),
}


@pytest.mark.parametrize("name", PATHS)
def test_path(server, device, tmp_path, name):
    method, path, status, code = PATHS[name]
    body, headers = (b64(CSR), TYPE) if method == "POST" else (None, {})
    assert_refused(server, call(server, method, path, body, headers, context_of(server, tmp_path, device)), status, code)


# --- 3.2.3, 3.3.2, 3.7: who is it ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["simpleenroll", "simplereenroll", "serverkeygen"])
def test_nobody(server, op):
    """Section 4.2: the server MUST authenticate the client. 401, and a challenge where a code would do (3.2.3)."""
    answer = assert_refused(server, call(server, "POST", EST + op, b64(CSR), TYPE), 401, "no-evidence")
    assert ("WWW-Authenticate" in answer.headers) == (op != "simplereenroll")


@pytest.mark.parametrize("op", ["cacerts", "csrattrs"])
def test_these_need_no_client_authentication(server, op):
    """Sections 4.1.1 and 4.5.1."""
    answer = call(server, "GET", EST + op)
    assert answer.status == 200 and base64.b64decode(answer.body, validate=True)


AUTHORIZATION = {
    "a wrong code": (lambda d: b64(d.udid.encode() + b":00000-00000-00000-00000-00000-00000-0"), 401, None),
    "no colon": (lambda d: b64(d.udid.encode()), 400, "authorization-malformed"),
    "not base64": (lambda d: b"%%%", 400, "authorization-malformed"),
}


@pytest.mark.parametrize("name", AUTHORIZATION)
def test_basic(server, device, name):
    make, status, code = AUTHORIZATION[name]
    answer = call(server, "POST", EST + "simpleenroll", b64(CSR), {**TYPE, "Authorization": "Basic " + make(device).decode()})
    assert answer.status == status and answer.code == (code or answer.code), answer
    assert status != 401 or "Basic" in answer.headers["WWW-Authenticate"]


def test_digest_is_not_spoken(server):
    answer = call(server, "POST", EST + "simpleenroll", b64(CSR), {**TYPE, "Authorization": 'Digest username="x"'})
    assert_refused(server, answer, 401, "authorization-scheme")


def test_a_code_does_not_renew(server, holder):
    """Section 4.2.2: a renewal is authenticated by the certificate that it renews."""
    code = server.ask("code", "create", "--udid", holder.udid)["codes"][0]["code"]
    answer = call(server, "POST", EST + "simplereenroll", b64(make_csr(holder.op, holder.ldevid.subject)),
                  {**TYPE, "Authorization": "Basic " + b64(f"{holder.udid}:{code}".encode()).decode()})
    assert_refused(server, answer, 401, "no-evidence")


def test_a_stranger(server, tmp_path):
    d = Device()
    answer = post(server, tmp_path, d, b64(CSR))
    assert_refused(server, answer, 403, "unknown-device")
    assert_told(server, answer, d.udid)


def test_a_copy(server, device, tmp_path):
    """The certificate says one UDID, the key is another's."""
    d = Device()
    d.cert = d.self_signed(device.udid)
    assert_refused(server, post(server, tmp_path, d, b64(CSR)), 403, "udid-mismatch")


def test_no_plain_http(server, device):
    """Section 3.3: HTTP over TLS and nothing else. Where CRLs are served without TLS, EST is not there."""
    for method, op in (("GET", "cacerts"), ("GET", "csrattrs"), ("POST", "simpleenroll"), ("POST", "fullcmc")):
        to = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
        to.request(method, EST + op, b64(CSR) if method == "POST" else None, TYPE)
        got = to.getresponse()
        assert got.status in (403, 404, 405) and "WWW-Authenticate" not in got.headers, (op, got.status)
        to.close()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
        with contextlib.suppress(ConnectionResetError):  # an alert, or not even that: it depends on OpenSSL's version
            s.sendall(b"GET /.well-known/est/cacerts HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not s.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("flags", [("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), ("-tls1", "-cipher", "ALL:@SECLEVEL=0"),
                                   ("-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"), ("-tls1_2", "-cipher", "eNULL:@SECLEVEL=0"),
                                   ("-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384:@SECLEVEL=0"),
                                   ("-tls1_2", "-cipher", "DES-CBC3-SHA:RC4-SHA:NULL-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")],
                         ids=["TLS 1.1", "TLS 1.0", "anonymous", "unencrypted", "no forward secrecy", "old ciphers"])
def test_tls(server, flags):
    """Section 3.3.1 (no NULL, anonymous or export ciphers), RFC 8996 (nothing before TLS 1.2), RFC 9325."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", *flags], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=30)
    assert done.returncode != 0 and b"BEGIN CERTIFICATE" not in done.stdout, done.stdout


# --- 4.2.2: renewal ----------------------------------------------------------------------------------------------------------------------


def renew(server, folder, d, **more):
    return est_enrol(server, d, folder, op="simplereenroll", **{"key": d.op, "subject": d.ldevid.subject, "cert": d.ldevid,
                                                               "cert_key": d.op, **more})[0]


SUBJECTS = {
    "another name": lambda d: name_of("somebody-else"),
    "no name": lambda d: name_of(None),
    "one part less": lambda d: kit.x509.Name(list(d.ldevid.subject)[:-1]),
    "another order": lambda d: kit.x509.Name(list(d.ldevid.subject)[::-1]),
    "one part more": lambda d: kit.x509.Name([*d.ldevid.subject, *name_of("more")]),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_renewal_under_another_name(server, holder, tmp_path, name):
    """Section 4.2.2: subject and subjectAltName MUST be those of the certificate that is renewed."""
    subject = SUBJECTS[name](holder)
    if subject == holder.ldevid.subject:
        pytest.skip("the name has one part")
    assert_refused(server, renew(server, tmp_path, holder, subject=subject), 403, "subject-mismatch")
    assert renew(server, tmp_path, holder).status == 200  # and the very same is fine


def test_renewal_with_what_was_revoked(server, register, tmp_path):
    d = register()
    answer, d.op = est_enrol(server, d, tmp_path)
    (d.ldevid,) = certs_of_pkcs7(answer.body)
    server.run("cert", "revoke", f"{d.ldevid.serial_number:032x}")
    assert_refused(server, renew(server, tmp_path, d), 403, "credential-revoked")


def test_renewal_with_somebody_elses_word(server, holder, tmp_path):
    """A certificate as ours would be, signed by nobody we know."""
    forged = kit.make_cert(holder.op, holder.ldevid.subject, kit.KEYS["P-256"](), holder.ldevid.issuer)
    answer = renew(server, tmp_path, holder, cert=forged)
    assert answer.status == 403, answer


# --- 4.4: keys made here --------------------------------------------------------------------------------------------------------------------


def test_keys_are_made_only_where_that_is_allowed(server, device, tmp_path):
    assert_refused(server, post(server, tmp_path, device, b64(CSR), op="serverkeygen"), 403, "server-keygen-off")


# --- after all of it --------------------------------------------------------------------------------------------------------------------------


def test_nothing_came_of_it(server, device):
    assert server.state(device) == "allocated"
    assert server.ask("cert", "list", "--udid", device.udid)["rows"] == []
