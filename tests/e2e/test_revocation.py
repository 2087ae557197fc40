"""Revocation as others see it: CRLs and OCSP read by openssl, curl and python's cryptography, over TLS and plain HTTP (docs/revocation.md)."""

import base64
import email.utils
import hashlib
import http.client
import os
import subprocess
import threading
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

import kit
from kit import DER, PEM, Answer, Device, certs_of_pkcs7, est_enrol


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(quota=100000)
    s.run("org", "create", "buyer", "--role", "service-operator")
    s.http_port = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{s.http_port}")
    return s


@pytest.fixture(scope="module")
def make(server):
    """make(): a device and its certificate, enrolled over EST."""
    count = iter(range(100000))

    def one():
        d = Device()
        server.register(d, name=f"r-{next(count)}")
        answer, _ = est_enrol(server, d, server.folder)
        assert answer.status == 200, answer
        return d, certs_of_pkcs7(answer.body)[0]

    return one


def run(*words, want=0, **more):
    done = subprocess.run([*map(str, words)], capture_output=True, timeout=60, stdin=subprocess.DEVNULL, **more)
    assert want is None or done.returncode == want, f"{words}: {done.returncode}\n{done.stdout!r}\n{done.stderr!r}"
    return done


def get(server, path, method="GET", body=None, headers=None):
    """Over plain HTTP."""
    to = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    try:
        to.request(method, path, body, headers or {})
        got = to.getresponse()
        return Answer(got.status, got.headers, got.read())
    finally:
        to.close()


def serial(cert):
    return f"{cert.serial_number:032x}"


def ca(server, name="issuing"):
    path = server.folder / f"{name}.pem"
    if not path.exists():
        server.run("ca", "export", name, "--out", path, "--quiet")
    return path


def ca_cert(server, name="issuing"):
    return x509.load_pem_x509_certificate(ca(server, name).read_bytes())


def crl(server, name="issuing", delta=False):
    answer = get(server, f"/crl/{name}{'-delta' if delta else ''}.crl")
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == "application/pkix-crl"
    got = x509.load_der_x509_crl(answer.body)
    assert got.is_signature_valid(ca_cert(server, name).public_key())
    return got


def number(c):
    return c.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def write(path, data):
    path.write_bytes(data)
    return path


# --- CRLs ---------------------------------------------------------------------------------------------------------------------------------


def test_revoked_is_on_the_next_crl(server, make):
    _, good = make()
    _, bad = make()
    before = crl(server)
    server.run("cert", "revoke", serial(bad), "--reason", "keyCompromise")
    after = crl(server)
    assert number(after) > number(before)
    entry = after.get_revoked_certificate_by_serial_number(bad.serial_number)
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason == x509.ReasonFlags.key_compromise
    assert after.get_revoked_certificate_by_serial_number(good.serial_number) is None
    assert len(list(after.extensions)) == 2
    assert server.ask("crl", "show", "issuing")["number"] == number(after)


def test_no_reason_means_no_reason_extension(server, make):
    _, bad = make()
    server.run("cert", "revoke", serial(bad))
    assert len(list(crl(server).get_revoked_certificate_by_serial_number(bad.serial_number).extensions)) == 0


def test_openssl_goes_by_the_crl(server, make):
    _, cert = make()
    leaf = write(server.folder / "leaf.pem", cert.public_bytes(PEM))
    chain = server.folder / "chain.pem"

    def verify(want):
        crls = b"".join(crl(server, name).public_bytes(PEM) for name in ("root", "issuing"))
        write(chain, ca(server).read_bytes() + crls)
        write(server.folder / "crls.pem", crls)
        return run("openssl", "verify", "-x509_strict", "-crl_check_all", "-CAfile", server.anchors(), "-untrusted", ca(server), "-CRLfile",
                   server.folder / "crls.pem", leaf, want=want)

    verify(0)
    server.run("cert", "revoke", serial(cert), "--reason", "superseded")
    assert b"certificate revoked" in verify(2).stderr
    text = run("openssl", "crl", "-inform", "DER", "-in", write(server.folder / "i.crl", get(server, "/crl/issuing.crl").body), "-noout", "-text",
               "-CAfile", server.anchors(), "-verify", "-CAfile", ca(server)).stdout.decode()
    assert f"{cert.serial_number:X}" in text and "Superseded" in text


def test_delta_has_what_came_since_its_base(server, make):
    base = crl(server)
    _, cert = make()
    server.run("cert", "revoke", serial(cert), "--reason", "cessationOfOperation")
    full, delta = crl(server), crl(server, delta=True)
    indicator = delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert indicator.critical and indicator.value.crl_number <= number(base)
    assert number(delta) == number(full)  # RFC 5280 section 5.2.3: issued together, the same number
    assert delta.get_revoked_certificate_by_serial_number(cert.serial_number) is not None
    assert {r.serial_number for r in delta} <= {r.serial_number for r in full}


def test_caches_are_told(server):
    first = get(server, "/crl/issuing.crl")
    etag = first.headers["ETag"]
    age = first.headers["Cache-Control"]
    assert "max-age=" in age and 0 < int(age.split("max-age=")[1]) <= 86400
    assert first.headers["Last-Modified"].endswith("GMT")
    said, ends = (email.utils.parsedate_to_datetime(first.headers[n]) for n in ("Date", "Expires"))
    assert (ends - said).total_seconds() == int(age.split("max-age=")[1])
    for tag in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        again = get(server, "/crl/issuing.crl", headers={"If-None-Match": tag})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag), tag
        assert again.headers["Content-Type"] is None
    assert get(server, "/crl/issuing.crl", headers={"If-None-Match": '"something else"'}).body == first.body
    head = get(server, "/crl/issuing.crl", "HEAD")
    assert (head.status, head.body, int(head.headers["Content-Length"])) == (200, b"", len(first.body))


def test_caches_of_ocsp_are_told(server):
    """Without a tag, a cache between us and a thousand devices asks for the whole answer each time the old one ends."""
    der = ocsp.OCSPRequestBuilder().add_certificate(ca_cert(server), ca_cert(server, "root"), hashes.SHA256()).build().public_bytes(DER)
    path = "/ocsp/" + urllib.parse.quote(base64.b64encode(der).decode(), safe="")
    first = get(server, path)
    etag = first.headers["ETag"]
    said, ends = (email.utils.parsedate_to_datetime(first.headers[n]) for n in ("Date", "Expires"))
    assert f"max-age={int((ends - said).total_seconds())}" in first.headers["Cache-Control"]
    again = get(server, path, headers={"If-None-Match": f'"x", {etag}'})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    assert get(server, path, headers={"If-None-Match": '"x"'}).body == first.body
    posted = get(server, "/ocsp", "POST", der, {"Content-Type": "application/ocsp-request", "If-None-Match": etag})
    assert (posted.status, posted.headers["ETag"], posted.headers["Cache-Control"]) == (200, None, "no-store")


def test_same_list_over_tls(server):
    over_tls = kit.call(server, "GET", "/crl/root.crl")
    assert over_tls.status == 200 and over_tls.body == get(server, "/crl/root.crl").body


@pytest.mark.parametrize("path,status,code", [
    ("/crl/nobody.crl", 404, "unknown-ca"),
    ("/crl/nobody-delta.crl", 404, "unknown-ca"),
    ("/crl/" + "x" * 100 + ".crl", 404, "unknown-ca"),
    ("/crl/issuing", 404, "no-such-path"),
    ("/crl/.crl", 404, "no-such-path"),
    ("/crl/a/b.crl", 404, "no-such-path"),
    ("/.well-known/est/cacerts", 403, "tls-required"),
    ("/healthz", 200, None),
])
def test_plain_http_serves_only_what_is_public(server, path, status, code):
    answer = get(server, path)
    assert (answer.status, answer.code) == (status, code), answer


def test_plain_http_takes_no_enrolment(server):
    answer = get(server, "/.well-known/est/simpleenroll", "POST", b"MIIB", {"Content-Type": "application/pkcs10"})
    assert (answer.status, answer.code) == (403, "tls-required")
    answer = get(server, "/onboard/v1/challenge", "POST", b"{}", {"Content-Type": "application/json"})
    assert answer.status == 403


def test_plain_http_is_not_tls_and_back(server):
    assert run("curl", "-sS", "--max-time", 5, "-k", f"https://127.0.0.1:{server.http_port}/crl/root.crl", want=None).returncode != 0
    assert run("curl", "-sS", "--max-time", 5, f"http://127.0.0.1:{server.port}/crl/root.crl", want=None).stdout == b""
    assert run("curl", "-sSf", f"http://127.0.0.1:{server.http_port}/crl/root.crl").stdout[:1] == b"\x30"


def test_several_calls_on_one_plain_connection(server):
    to = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    for _ in range(5):
        to.request("GET", "/crl/issuing.crl")
        assert to.getresponse().read()[:1] == b"\x30"
    to.close()


def test_export_writes_both_forms(server):
    pem = x509.load_pem_x509_crl(server.run("crl", "export", "issuing").stdout.encode())
    der = server.folder / "e.crl"
    server.run("crl", "export", "issuing", "--der", "--out", der)
    assert number(x509.load_der_x509_crl(der.read_bytes())) == number(pem)
    delta = x509.load_pem_x509_crl(server.run("crl", "export", "issuing", "--delta").stdout.encode())
    assert delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    server.run("crl", "show", "nobody", want=3)


# --- OCSP ---------------------------------------------------------------------------------------------------------------------------------


def ask(server, cert, issuer="issuing", algorithm=None, nonce=None, post=True):
    b = ocsp.OCSPRequestBuilder().add_certificate(cert, ca_cert(server, issuer), algorithm or hashes.SHA1())
    if nonce is not None:
        b = b.add_extension(x509.OCSPNonce(nonce), False)
    return send(server, b.build().public_bytes(DER), post)


def send(server, der, post=True):
    if post:
        answer = get(server, "/ocsp", "POST", der, {"Content-Type": "application/ocsp-request"})
    else:
        answer = get(server, "/ocsp/" + urllib.parse.quote(base64.b64encode(der).decode(), safe=""))
    assert answer.headers["Content-Type"] == "application/ocsp-response", answer
    got = ocsp.load_der_ocsp_response(answer.body)
    return got, answer


def issuer_parts(cert):
    """What the two hashes of a CertID go over: the name, and the bits of the key."""
    key = cert.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return cert.subject.public_bytes(), key


def hash_of(data):
    return hashlib.sha256(data).digest()


def check_signature(server, response, issuer="issuing"):
    """By the delegated responder that goes along, which the CA has signed for just that."""
    (responder,) = response.certificates
    responder.verify_directly_issued_by(ca_cert(server, issuer))
    usage = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    assert responder.extensions.get_extension_for_class(x509.OCSPNoCheck)
    from cryptography.hazmat.primitives.asymmetric import ec

    responder.public_key().verify(response.signature, response.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))
    return responder


GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256()], ids=lambda a: a.name)
@pytest.mark.parametrize("post", [True, False], ids=["post", "get"])
def test_good_then_revoked_at_once(server, make, algorithm, post):
    _, cert = make()
    response, answer = ask(server, cert, algorithm=algorithm, post=post)
    assert response.certificate_status == GOOD and response.serial_number == cert.serial_number
    assert ("max-age=" in answer.headers["Cache-Control"]) is not post
    assert ("Expires" in answer.headers) is not post
    check_signature(server, response)
    again, _ = ask(server, cert, algorithm=algorithm, post=post)
    assert again.signature == response.signature  # kept ready
    server.run("cert", "revoke", serial(cert), "--reason", "keyCompromise")
    response, _ = ask(server, cert, algorithm=algorithm, post=post)
    assert response.certificate_status == REVOKED
    assert response.revocation_reason == x509.ReasonFlags.key_compromise
    check_signature(server, response)


@pytest.mark.parametrize("words,reason", [
    (("compromise",), x509.ReasonFlags.key_compromise),
    (("retire",), x509.ReasonFlags.cessation_of_operation),
    (("transfer", "buyer", "--force"), x509.ReasonFlags.affiliation_changed),
])
def test_what_happens_to_the_device_shows_at_once(server, make, words, reason):
    device, cert = make()
    assert ask(server, cert)[0].certificate_status == GOOD
    server.run("device", words[0], device.udid, *words[1:])
    response, _ = ask(server, cert)
    assert (response.certificate_status, response.revocation_reason) == (REVOKED, reason)
    assert crl(server).get_revoked_certificate_by_serial_number(cert.serial_number) is not None


@pytest.mark.parametrize("n", [1, 16, 32, 128])
def test_nonce_comes_back(server, make, n):
    nonce = os.urandom(n)
    for post in (True, False) if n < 100 else (True,):
        response, answer = ask(server, make()[1], nonce=nonce, post=post)
        assert response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce
        assert answer.headers["Cache-Control"] == "no-store"


def test_nonce_too_long(server, make):
    response, _ = ask(server, make()[1], nonce=os.urandom(129))
    assert response.response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_unknown_serial_is_never_good(server):
    key = kit.KEYS["P-256"]()
    stranger = kit.make_cert(key, kit.name_of("stranger"), key, ca_cert(server).subject)
    response, answer = ask(server, stranger)
    assert response.certificate_status == UNKNOWN
    assert answer.headers["Cache-Control"] == "no-store"
    check_signature(server, response)


def test_wrong_issuer_hashes(server, make):
    other = kit.ChipMaker("Somebody else")
    cert = make()[1]
    ours, theirs = ([hash_of(x) for x in issuer_parts(c)] for c in (ca_cert(server), other.cert))
    for name, key in ((ours[0], theirs[1]), (theirs[0], ours[1]), theirs, (ours[1], ours[0])):
        b = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name, key, cert.serial_number, hashes.SHA256())
        response, answer = send(server, b.build().public_bytes(DER))
        assert response.response_status == ocsp.OCSPResponseStatus.UNAUTHORIZED
        assert (answer.status, answer.code) == (200, "ocsp-not-ours")
    b = ocsp.OCSPRequestBuilder().add_certificate(cert, ca_cert(server), hashes.SHA512())
    assert send(server, b.build().public_bytes(DER))[0].response_status == ocsp.OCSPResponseStatus.UNAUTHORIZED


def test_another_ca_does_not_vouch(server, make):
    """A serial number of `issuing` asked for under `root`."""
    root = ca_cert(server, "root")
    b = ocsp.OCSPRequestBuilder().add_certificate_by_hash(*(hash_of(x) for x in issuer_parts(root)), make()[1].serial_number, hashes.SHA256())
    response, _ = send(server, b.build().public_bytes(DER))
    assert response.certificate_status == UNKNOWN
    check_signature(server, response, "root")


@pytest.mark.parametrize("body", [b"", b"0", b"\x30\x00", b"\x30\x03\x02\x01\x00", b"\x30" * 4000, os.urandom(300)])
def test_malformed(server, body):
    response, answer = send(server, body)
    assert response.response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    assert answer.code


def test_malformed_in_the_path(server):
    for text in ("!!!", "AAA%zz", "%", "MEIwQ" + "A" * 100, "a" * 400):
        answer = get(server, "/ocsp/" + text)
        assert (answer.status, answer.body) == (200, bytes.fromhex("30030a0101")), (text, answer)


def test_every_spelling_of_the_path(server, make):
    """GET with "+", "/" and "=" as they are, percent-encoded, or in the URL alphabet without padding."""
    cert = make()[1]
    b = ocsp.OCSPRequestBuilder().add_certificate(cert, ca_cert(server), hashes.SHA256())
    der = b.build().public_bytes(DER)
    plain = base64.b64encode(der).decode()
    for text in (plain, urllib.parse.quote(plain, safe=""), plain.rstrip("="), base64.urlsafe_b64encode(der).decode().rstrip("=")):
        out = run("curl", "-sSf", "--path-as-is", f"http://127.0.0.1:{server.http_port}/ocsp/{text}").stdout
        assert ocsp.load_der_ocsp_response(out).certificate_status == GOOD


def test_wrong_media_type_and_method(server):
    answer = get(server, "/ocsp", "POST", b"\x30\x00", {"Content-Type": "text/plain"})
    assert (answer.status, answer.code) == (200, "unsupported-media-type")
    assert get(server, "/ocsp").status == 405
    big = get(server, "/ocsp", "POST", b"\x30" * 5000, {"Content-Type": "application/ocsp-request"})
    assert (big.status, big.code) == (200, "body-too-large")  # RFC 6960 appendix A: errors are OCSP answers too


def openssl_ocsp(server, *words, url=None, want=0):
    return run("openssl", "ocsp", "-issuer", ca(server), "-CAfile", server.anchors(), "-verify_other", ca(server), "-url",
               url or f"http://127.0.0.1:{server.http_port}/ocsp", *words, want=want)


def test_openssl_asks(server, make):
    _, cert = make()
    _, other = make()
    leaf, leaf2 = (write(server.folder / f"o{i}.pem", c.public_bytes(PEM)) for i, c in enumerate((cert, other)))
    server.run("cert", "revoke", serial(other), "--reason", "superseded")
    for words in ((), ("-no_nonce",), ("-sha256",)):
        done = openssl_ocsp(server, *words, "-cert", leaf, "-cert", leaf2)
        text = done.stdout.decode() + done.stderr.decode()
        assert "Response verify OK" in text and f"{leaf}: good" in text and f"{leaf2}: revoked" in text and "superseded" in text
        assert "nonce" not in text.lower() or words == ("-no_nonce",), text


def test_openssl_with_trailing_slash(server, make):
    leaf = write(server.folder / "o3.pem", make()[1].public_bytes(PEM))
    done = openssl_ocsp(server, "-cert", leaf, url=f"http://127.0.0.1:{server.http_port}/ocsp/")
    assert b": good" in done.stdout


def test_more_than_one_ca_in_a_request(server, make):
    leaf = write(server.folder / "o4.pem", make()[1].public_bytes(PEM))
    done = run("openssl", "ocsp", "-issuer", ca(server), "-cert", leaf, "-issuer", server.anchors(), "-cert", ca(server), "-CAfile", server.anchors(),
               "-url", f"http://127.0.0.1:{server.http_port}/ocsp", want=None)
    assert b"unauthorized" in done.stdout + done.stderr


def test_responder_is_in_the_registry(server, make):
    responder = check_signature(server, ask(server, make()[1])[0])
    assert server.ask("cert", "show", serial(responder))["state"] == "active"
    assert "ocsp.certificate" in server.run("log", "entries").stdout


def test_revoked_responder_is_replaced(server, make):
    cert = make()[1]
    first = check_signature(server, ask(server, cert)[0])
    server.run("cert", "revoke", serial(first), "--reason", "keyCompromise")
    second = check_signature(server, ask(server, cert)[0])
    assert first.serial_number != second.serial_number
    assert crl(server).get_revoked_certificate_by_serial_number(first.serial_number) is not None


# --- CAs ----------------------------------------------------------------------------------------------------------------------------------


def test_revoked_ca_is_on_its_parents_list(server):
    server.run("ca", "create", "doomed", "--parent", "root")
    doomed = ca_cert(server, "doomed")
    assert ask(server, doomed, issuer="root")[0].certificate_status == GOOD
    assert crl(server, "doomed") is not None
    server.run("ca", "revoke", "doomed", "--reason", "cACompromise")
    entry = crl(server, "root").get_revoked_certificate_by_serial_number(doomed.serial_number)
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason == x509.ReasonFlags.ca_compromise
    response, _ = ask(server, doomed, issuer="root")
    assert (response.certificate_status, response.revocation_reason) == (REVOKED, x509.ReasonFlags.ca_compromise)
    refused = get(server, "/crl/doomed.crl")
    assert (refused.status, refused.code) == (403, "ca-revoked")


def test_name_that_would_hide_a_delta(server):
    server.run("ca", "create", "x-delta", "--parent", "root", want=2)


# --- after a crash ------------------------------------------------------------------------------------------------------------------------


def test_numbers_go_up_through_kill_9(server, make):
    """Lists are being asked for and made, and the power goes: no number is ever used for two lists."""
    seen, bodies = [number(crl(server))], {}
    certs = [make()[1] for _ in range(24)]

    def look():
        while not done.is_set():
            try:
                answer = get(server, "/crl/issuing.crl")
            except OSError:
                continue
            except http.client.HTTPException:
                continue
            if answer.status == 200:
                c = x509.load_der_x509_crl(answer.body)
                bodies.setdefault(number(c), set()).add(answer.body)

    for round_ in range(4):
        done = threading.Event()
        lookers = [threading.Thread(target=look) for _ in range(2)]
        for t in lookers:
            t.start()
        for cert in certs[round_ * 6:round_ * 6 + 6]:
            server.run("cert", "revoke", serial(cert), "--reason", "superseded")
        family = server.family()
        server.kill()
        done.set()
        for t in lookers:
            t.join()
        kit.wait_for("the end of all processes", lambda pids=family: not any(kit.alive(p) for p in pids))
        server.start("--listen-http", f"127.0.0.1:{server.http_port}")
        now = crl(server)
        assert number(now) > max([*seen, *bodies]), "a number went back"
        seen.append(number(now))
        bodies.setdefault(number(now), set()).add(now.public_bytes(DER))
        for cert in certs[:round_ * 6 + 6]:
            assert now.get_revoked_certificate_by_serial_number(cert.serial_number) is not None
    assert all(len(b) == 1 for b in bodies.values()), "one number, two lists"
    server.run("log", "verify")
