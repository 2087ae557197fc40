"""SCEP's required checks (RFC 8894 sections 2 to 4), each violated by a message that is right in all else, and the failInfo that the standard has
for it. After all of them no certificate is there that should not be."""

import os
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import padding

import kit
import scep
from kit import KEYS, Device, make_cert, name_of
from scep import (BAD_ALG, BAD_CERT_ID, BAD_MESSAGE_CHECK, BAD_REQUEST, BAD_TIME, CERT_POLL, FAILURE, GET_CERT, GET_CRL, PKCS_REQ, RENEWAL_REQ,
                  Scep)


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(policy=("--self-registration", "yes"))
    s.run("product", "create", "est-only", "--org", "oem", "--protocols", "est")
    s.run("batch", "create", "est-only-1", "--product", "est-only", "--quota", 10)
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
def world(server, client, ra):
    """Devices that are right in all but what a row does."""

    class World:
        d, other, other_key, est_only = Device("RSA-2048"), Device("RSA-2048"), KEYS["RSA-2048"](), Device("RSA-2048")
        ec = Device("P-256")
        unknown = Device("RSA-2048")

    World.ra, World.chain = ra, client.chain()
    server.register(World.d, World.other, World.ec, name="all")
    server.register(World.est_only, name="est-only", batch="est-only-1")
    World.ldevid = client.send(scep.message(scep.envelope(scep.csr(World.d.key), ra), World.d.key, World.d.cert), ra).cert(
        World.d.key, World.d.cert)
    return World


def pkcs_req(w, envelope=None, csr=None, key=None, cert=None, kind=PKCS_REQ, sealed=None, **more):
    """The right message with what a row changes."""
    key, cert = key or w.d.key, cert or w.d.cert
    sealed = sealed or scep.envelope(csr or scep.csr(key), w.ra, **(envelope or {}))
    return scep.message(sealed, key, cert, kind, os.urandom(8).hex(), **more)


def spoiled_csr(w):
    der = scep.csr(w.d.key)
    return der[:-1] + bytes([der[-1] ^ 1])


def issuer_and_subject(w, subject="unit"):
    return scep.tlv(0x30, w.ra.issuer.public_bytes(), name_of(subject).public_bytes())


def flipped(raw, at=-1):
    return raw[:at] + bytes([raw[at] ^ 1]) + (raw[at + 1:] if at != -1 else b"")


INTEGRITY, ALGORITHM, REQUEST, TIME, ID = ((BAD_MESSAGE_CHECK, "scep-integrity"), (BAD_ALG, "scep-algorithm"), (BAD_REQUEST, "scep-request"),
                                           (BAD_TIME, "scep-time"), (BAD_CERT_ID, "scep-not-found"))
ENVELOPE = (BAD_MESSAGE_CHECK, "does not hold a certificate request signed by its own key")

ROWS = {
    # section 3.2: the message and who signed it
    "signature spoiled": (INTEGRITY, lambda w: pkcs_req(w, spoil=True)),
    "signed by another key": (INTEGRITY, lambda w: pkcs_req(w, key=w.other_key, cert=w.d.cert, csr=scep.csr(w.d.key))),
    "digest of other content": (INTEGRITY, lambda w: pkcs_req(w, message_digest=b"\0" * 32)),
    "content type attribute is another": (INTEGRITY, lambda w: pkcs_req(w, content_type=scep.SIGNED_DATA)),
    "no content type attribute": (INTEGRITY, lambda w: pkcs_req(w, drop=(scep.CONTENT_TYPE,))),
    "no message digest": (INTEGRITY, lambda w: pkcs_req(w, drop=(scep.MESSAGE_DIGEST,))),
    "signer's certificate is not there": (INTEGRITY, lambda w: pkcs_req(w, certs=[w.other.cert])),
    "no certificate": (INTEGRITY, lambda w: pkcs_req(w, certs=[])),
    "signer named by key identifier that nobody has": (INTEGRITY, lambda w: pkcs_req(w, signer=b"\x80\x14" + b"k" * 20)),
    "SHA-1": (ALGORITHM, lambda w: pkcs_req(w, digest="sha1")),
    "signature algorithm of another digest": (ALGORITHM, lambda w: pkcs_req(w, digest="sha512", sig_alg=scep.RSA_SHA256)),
    "signature with PSS": (ALGORITHM, lambda w: pkcs_req(w, sig_alg="1.2.840.113549.1.1.10")),
    "EC key, which opens no reply": (ALGORITHM, lambda w: pkcs_req(w, key=w.ec.key, cert=w.ec.cert, csr=scep.csr(w.ec.key))),
    # section 3.2.1: the attributes
    "no messageType": (REQUEST, lambda w: pkcs_req(w, drop=(scep.MESSAGE_TYPE,))),
    "messageType of a reply": (REQUEST, lambda w: pkcs_req(w, kind=3)),
    "messageType of drafts": (REQUEST, lambda w: pkcs_req(w, kind=18)),
    "messageType that is no number": (REQUEST, lambda w: pkcs_req(w, kind="PKCSReq")),
    "no senderNonce": (REQUEST, lambda w: pkcs_req(w, drop=(scep.SENDER_NONCE,))),
    "empty senderNonce": (REQUEST, lambda w: pkcs_req(w, nonce=b"")),
    "signed two days ago": (TIME, lambda w: pkcs_req(w, signing_time=scep.now() - timedelta(days=2))),
    "signed in two days": (TIME, lambda w: pkcs_req(w, signing_time=scep.now() + timedelta(days=2))),
    # section 3.1: the envelope
    "no content": (INTEGRITY, lambda w: scep.message(None, w.d.key, w.d.cert)),
    "content is no envelope": (INTEGRITY, lambda w: pkcs_req(w, sealed=scep.csr(w.d.key))),
    "envelope cut short": (INTEGRITY, lambda w: pkcs_req(w, sealed=scep.envelope(scep.csr(w.d.key), w.ra)[:-5])),
    "3DES": (ALGORITHM, lambda w: pkcs_req(w, {"cipher": "3des"})),
    "key wrapped with OAEP": (ALGORITHM, lambda w: pkcs_req(w, {"key_alg": "1.2.840.113549.1.1.7"})),
    "to somebody else": ((BAD_CERT_ID, "scep-recipient"), lambda w: pkcs_req(w, {"recipient": scep.issuer_and_serial(w.other.cert)})),
    "to the CA": ((BAD_CERT_ID, "scep-recipient"), lambda w: pkcs_req(w, {"recipient": scep.issuer_and_serial(w.chain[1])})),
    "to a device of ours": ((BAD_CERT_ID, "scep-recipient"), lambda w: pkcs_req(w, {"recipient": scep.issuer_and_serial(w.ldevid)})),
    # what is inside: all of these must look the same
    "no padding": (ENVELOPE, lambda w: pkcs_req(w, {"padded": b"\0" * 32})),
    "padding longer than a block": (ENVELOPE, lambda w: pkcs_req(w, {"padded": b"\x11" * 32})),
    "padding of unequal bytes": (ENVELOPE, lambda w: pkcs_req(w, {"padded": b"x" * 13 + b"\x02\x03\x03"})),
    "key's padding is wrong": (ENVELOPE, lambda w: pkcs_req(w, {"wrapped": b"\0" * 255 + b"\2"})),
    "key is none": (ENVELOPE, lambda w: pkcs_req(w, {"wrapped": b"x"})),
    "key of another length": (ENVELOPE, lambda w: pkcs_req(w, {"wrapped": w.ra.public_key().encrypt(b"k" * 31, padding.PKCS1v15())})),
    "key of another message": (ENVELOPE, lambda w: pkcs_req(w, {"wrapped": w.ra.public_key().encrypt(b"k" * 32, padding.PKCS1v15())})),
    "rubbish inside": (ENVELOPE, lambda w: pkcs_req(w, csr=b"rubbish")),
    "request cut short": (ENVELOPE, lambda w: pkcs_req(w, csr=scep.csr(w.d.key)[:-1])),
    "request with a byte more": (ENVELOPE, lambda w: pkcs_req(w, csr=scep.csr(w.d.key) + b"\0")),
    "request not signed by its key": (ENVELOPE, lambda w: pkcs_req(w, csr=spoiled_csr(w))),
    # section 2.2 and 2.3: whose request it is
    "self-signed over another key than the request's": ((BAD_REQUEST, "scep-key-mismatch"), lambda w: pkcs_req(w, csr=scep.csr(w.other_key))),
    "somebody else's request passed on": ((BAD_REQUEST, "scep-key-mismatch"), lambda w: pkcs_req(
        w, key=w.unknown.key, cert=w.unknown.cert, csr=scep.csr(w.d.key))),
    "somebody else's request passed on by a device": ((BAD_REQUEST, "subject-mismatch"), lambda w: pkcs_req(
        w, key=w.d.key, cert=w.ldevid, csr=scep.csr(w.other.key, "other"))),
    "renewal with a self-signed certificate": (REQUEST, lambda w: pkcs_req(w, kind=RENEWAL_REQ)),
    "a key that nobody has registered": ((BAD_REQUEST, "unknown-device"), lambda w: pkcs_req(w, key=w.unknown.key, cert=w.unknown.cert)),
    "a device's name over a stranger's key": ((BAD_REQUEST, "udid-mismatch"), lambda w: pkcs_req(
        w, key=w.unknown.key, cert=make_cert(w.unknown.key, name_of(w.d.udid), w.unknown.key, name_of(w.d.udid)))),
    "a copy of a device's certificate": (INTEGRITY, lambda w: pkcs_req(w, key=w.unknown.key, cert=w.ldevid, csr=scep.csr(w.unknown.key))),
    "a certificate of an unknown CA": ((BAD_REQUEST, "untrusted-birth-certificate"), lambda w: pkcs_req(
        w, cert=make_cert(w.d.key, name_of("unit"), w.other_key, name_of("nobody's CA")))),
    "a product that does not take SCEP": ((BAD_REQUEST, "protocol-refused"), lambda w: pkcs_req(
        w, key=w.est_only.key, cert=w.est_only.cert)),
    "a code that is none": ((BAD_REQUEST, "code-mistyped"), lambda w: pkcs_req(w, csr=scep.csr(w.d.key, "reel-1", "secret"))),
    "a code for nothing": ((BAD_REQUEST, "code-wrong"), lambda w: pkcs_req(w, csr=scep.csr(w.d.key, kit.x509.Name([]), "secret"))),
    "a target without a code": ((BAD_REQUEST, "code-wrong"), lambda w: pkcs_req(w, csr=scep.csr(w.d.key, "x", "reel-1:"))),
    # sections 3.3.3 to 3.3.5
    "CertPoll of an unknown transaction": (ID, lambda w: pkcs_req(w, csr=issuer_and_subject(w), kind=CERT_POLL)),
    "CertPoll without names": (INTEGRITY, lambda w: pkcs_req(w, csr=b"\x30\0", kind=CERT_POLL)),
    "GetCert of an unknown certificate": (ID, lambda w: pkcs_req(w, csr=scep.issuer_and_serial(w.ldevid, 1 << 120), kind=GET_CERT)),
    "GetCert with a request in it": (INTEGRITY, lambda w: pkcs_req(w, kind=GET_CERT)),
    "GetCert by a stranger": ((BAD_REQUEST, "unknown-device"), lambda w: pkcs_req(
        w, csr=scep.issuer_and_serial(w.ldevid), kind=GET_CERT, key=w.unknown.key, cert=w.unknown.cert)),
    "GetCRL of an unknown CA": (ID, lambda w: pkcs_req(w, csr=scep.issuer_and_serial(w.other.cert), kind=GET_CRL)),
    "GetCRL with more in it": (INTEGRITY, lambda w: pkcs_req(w, csr=scep.issuer_and_serial(w.ldevid) + b"\0", kind=GET_CRL)),
}


@pytest.mark.parametrize("name", ROWS)
def test_refused(server, client, world, name):
    (fail, code), make = ROWS[name]
    reply = client.send(make(world), world.ra)
    assert (reply.status, reply.fail) == (FAILURE, fail), reply
    assert code in reply.fail_text
    assert reply.recipient_nonce in (b"N" * 16, None) and reply.transaction
    correlation = reply.fail_text.rsplit("correlation ", 1)[1].rstrip(")")
    assert reply.fail_text.split(":")[0] in server.run("why", correlation).stdout


def test_one_answer_for_all_that_is_wrong_inside(server, client, world):
    """Word for word: whether padding, key or content was wrong is for the operator alone ('birthmark why')."""
    told = set()
    for name, ((_, code), make) in ROWS.items():
        if code == ENVELOPE[1]:
            told.add(client.send(make(world), world.ra).fail_text.split(" (correlation")[0])
    assert len(told) == 1


GOOD = b"\x30\x03\x02\x01\x00"


@pytest.mark.parametrize("name, status, code, make", [
    ("not CMS", 400, "scep-malformed", lambda w: b"rubbish"),
    ("empty", 400, "scep-malformed", lambda w: b""),
    ("a number", 400, "scep-malformed", lambda w: GOOD),
    ("cut short", 400, "scep-malformed", lambda w: pkcs_req(w)[:-1]),
    ("a byte left over", 400, "scep-malformed", lambda w: pkcs_req(w) + b"\0"),
    ("no transactionID", 400, "scep-malformed", lambda w: pkcs_req(w, drop=(scep.TRANSACTION_ID,))),
    ("transactionID too long", 400, "scep-malformed", lambda w: scep.message(b"x", w.d.key, w.d.cert, transaction="x" * 129)),
    ("transactionID twice", 400, "scep-malformed", lambda w: pkcs_req(w, extra=((scep.TRANSACTION_ID, scep.printable("two")),))),
    ("transactionID of control characters", 400, "scep-malformed", lambda w: scep.message(b"x", w.d.key, w.d.cert, transaction="a\nb")),
    ("nine certificates", 400, "scep-malformed", lambda w: pkcs_req(w, certs=[w.d.cert] * 9)),
    ("nested without end", 400, "scep-malformed", lambda w: b"\x30\x80" * 2000),
    ("over the limit", 413, "body-too-large", lambda w: b"\x30" * 33000),
])
def test_no_message_at_all(client, world, name, status, code, make):
    """Where not even a transactionID can be read there is nothing to sign an answer for: HTTP says it (section 4.1)."""
    answer = client.post(make(world))
    assert (answer.status, answer.code) == (status, code), answer


@pytest.mark.parametrize("method, query, status, code", [
    ("GET", "operation=PKIOperation", 400, "scep-malformed"),
    ("GET", "operation=PKIOperation&message=%zz", 400, "scep-operation"),
    ("GET", "operation=PKIOperation&message=a*b", 400, "scep-malformed"),
    ("GET", "operation=GetCACert&operation=GetCACaps", 400, "scep-operation"),
    ("GET", "message=x", 400, "scep-operation"),
    ("POST", "operation=GetCACert", 400, "scep-operation"),
    ("POST", "", 400, "scep-operation"),
    ("GET", "operation=PKIOperation&message=" + "A" * 7000, 414, "target-too-long"),
])
def test_http(client, method, query, status, code):
    answer = client.ask(method, f"/scep?{query}", b"" if method == "POST" else None)
    assert (answer.status, answer.code) == (status, code), answer


def test_only_the_right_one_got_a_certificate(server, world):
    """After all that was refused above."""
    rows = server.ask("cert", "list", "--limit", 1000)["rows"]
    assert [row["udid"] for row in rows if row["protocol"] == "scep"] == [world.d.udid]


def test_strangers_share(server, client, world):
    """What strangers at one address can make us compute has an end, which an honest device there does not notice; what a device has signed, and
    somebody else sends again and again, has one too. Last, as it counts for all that comes from here."""
    raw = pkcs_req(world, key=world.unknown.key, cert=world.unknown.cert)
    for i in range(310):
        answer = client.post(raw)
        if answer.status != 200:
            break
    assert (answer.status, answer.code) == (429, "scep-busy") and "Retry-After" in answer.headers, (i, answer)
    assert 50 <= i <= 300  # a hundred in one second, less what came before in it
    d, again = world.other, None
    assert client.send(scep.message(scep.envelope(scep.csr(d.key), world.ra), d.key, d.cert, transaction="here"), world.ra).status == "0"
    raw = scep.message(scep.envelope(scep.csr(d.key), world.ra), d.key, d.cert, transaction="again")
    for i in range(125):
        again = client.post(raw)
        if again.status != 200:
            break
    assert (again.status, again.code) == (429, "scep-busy") and i >= 100
    assert client.post(pkcs_req(world)).status == 200, "another device is not held up by that"
