"""Each check that RFC 9483 (section 3.5 and 4.1) asks of a server, violated by one row that is right in everything else, and the failInfo that
the RFC names. A row that is let through, or refused for another reason, fails."""

import hashlib
import os
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import kit
from cmpkit import (IMPLICIT_CONFIRM, NULL, Client, Mac, cert_hash, cert_req, cert_status, ctx, generalized, integer, name, octets, oid,
                    old_cert_id, rev_details, seq, template, tlv)
from kit import DER, Device, spki_of


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish()
    s.http = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{s.http}")
    return s


@pytest.fixture(scope="module")
def device(server):
    d = Device()
    server.register(d)
    return d


@pytest.fixture(scope="module")
def idevid(server, device):
    return Client(server, server.http, device.key, device.cert)


@pytest.fixture(scope="module")
def ldevid(idevid):
    answer, key = idevid.request(info=ctx(8, seq(IMPLICIT_CONFIRM)))
    return idevid.sender_of(answer.cert, key)


def key():
    return ec.generate_private_key(ec.SECP256R1())


def ir(**more):
    return seq(cert_req(key(), **more))


def CERT_PROFILE(*names):
    """RFC 9810 section 5.1.1.4"""
    return seq(oid("1.3.6.1.5.5.7.4.21"), seq(*(tlv(0x0c, n.encode()) for n in names)))


# --- header and protection, section 3.1 to 3.5: fields of an ir that is otherwise good --------------------------------------------------------

HEADER = [
    ("version 1", {"pvno": integer(1)}, "unsupportedVersion"),
    ("version 4", {"pvno": integer(4)}, "unsupportedVersion"),
    ("no transactionID", {"tid_field": None}, "badDataFormat"),
    ("empty transactionID", {"tid_field": ctx(4, octets(b""))}, "badDataFormat"),
    ("endless transactionID", {"tid_field": ctx(4, octets(bytes(65)))}, "badDataFormat"),
    ("no senderNonce", {"nonce": None}, "badSenderNonce"),
    ("senderNonce of 15 bytes", {"nonce": ctx(5, octets(bytes(15)))}, "badSenderNonce"),
    ("recipNonce in the first message", {"recip": ctx(6, octets(bytes(16)))}, "badRecipientNonce"),
    ("messageTime in an hour and a bit", {"time": lambda: ctx(0, generalized(time.time() + 3700))}, "badTime"),
    ("messageTime long ago", {"time": ctx(0, generalized(1000000000))}, "badTime"),
    ("messageTime is a UTCTime", {"time": ctx(0, tlv(0x17, b"261121100000Z"))}, "badDataFormat"),
    ("sender is somebody else", {"sender": ctx(4, name("somebody else"))}, "badMessageCheck"),
    ("sender is no directoryName", {"sender": tlv(0x81, b"a@example")}, "badMessageCheck"),
    ("sender is nobody", {"sender": ctx(4, seq())}, "badMessageCheck"),
    ("no protectionAlg", {"alg": None}, "badMessageCheck"),
    ("protectionAlg of another hash", {"alg": ctx(1, seq(oid("1.2.840.10045.4.3.3")))}, "badMessageCheck"),
    ("protectionAlg with SHA-1", {"alg": ctx(1, seq(oid("1.2.840.10045.4.1")))}, "badAlg"),
    ("protectionAlg of another kind of key", {"alg": ctx(1, seq(oid("1.2.840.113549.1.1.11"), NULL))}, "badAlg"),
    ("implicitConfirm with a value", {"info": ctx(8, seq(seq(oid("1.3.6.1.5.5.7.4.13"), integer(1))))}, "badRequest"),
    ("implicitConfirm without its NULL", {"info": ctx(8, seq(seq(oid("1.3.6.1.5.5.7.4.13"))))}, "badRequest"),
    ("implicitConfirm and confirmWaitTime",
     {"info": ctx(8, seq(IMPLICIT_CONFIRM, seq(oid("1.3.6.1.5.5.7.4.14"), generalized(2000000000))))}, "badRequest"),
    ("confirmWaitTime is a UTCTime", {"info": ctx(8, seq(seq(oid("1.3.6.1.5.5.7.4.14"), tlv(0x17, b"261121100000Z"))))},
     "badDataFormat"),
    ("certProfile of nothing that is there", {"info": ctx(8, seq(CERT_PROFILE("nothing")))}, "notAuthorized"),
    ("two names in certProfile", {"info": ctx(8, seq(CERT_PROFILE("telemetry", "telemetry")))}, "badRequest"),
    ("certProfile twice", {"info": ctx(8, seq(*[CERT_PROFILE("telemetry")] * 2))}, "badRequest"),
    ("a long certProfile", {"info": ctx(8, seq(CERT_PROFILE("x" * 65)))}, "badRequest"),
    ("certProfile without a name", {"info": ctx(8, seq(CERT_PROFILE()))}, "badDataFormat"),
    ("generalInfo without end", {"info": ctx(8, seq(*[seq(oid("1.2.3"), NULL)] * 17))}, "badDataFormat"),
    ("no protection", {"protection": b""}, "badMessageCheck"),
    ("neither protectionAlg nor protection", {"protection": b"", "alg": None}, "badMessageCheck"),
    ("a bit of the signature", {"spoil": lambda s: s[:-1] + bytes([s[-1] ^ 1])}, "badMessageCheck"),
    ("signed with another key", {"key": kit.KEYS["P-256"]()}, "badMessageCheck"),
    ("no extraCerts", {"certs": b""}, "signerNotTrusted"),
    ("a plain HMAC, and no extraCerts", {"alg": ctx(1, seq(oid("1.2.840.113549.2.9"))), "certs": b""}, "badAlg"),
    ("extraCerts with something else", {"certs": ctx(1, seq(seq(integer(1))))}, "badDataFormat"),
    ("extraCerts without end", {"certs": ctx(1, seq(*[seq()] * 9))}, "badDataFormat"),
]


@pytest.mark.parametrize("what, wrong, fail", HEADER, ids=[r[0] for r in HEADER])
def test_header_and_protection(idevid, what, wrong, fail):
    made = {k: v() if k == "time" and callable(v) else v for k, v in wrong.items()}
    assert idevid.ask(idevid.message("ir", ir(), **made)).fail == {fail}


def test_sender_kid(ldevid):
    """Of a certificate that has a key identifier."""
    assert ldevid.ask(ldevid.message("ir", ir(), kid=ctx(2, octets(bytes(20))))).fail == {"badMessageCheck"}


def test_signer_behind_another_certificate(idevid, device):
    """Section 3.3: the first of extraCerts is the signer's."""
    other = Device().cert.public_bytes(DER)
    certs = ctx(1, seq(other, device.cert.public_bytes(DER)))
    assert idevid.ask(idevid.message("ir", ir(), certs=certs)).fail == {"badMessageCheck"}


def test_what_was_signed_is_what_is_there(idevid):
    """Any byte of header and body: the protection is over all of them."""
    good = idevid.message("ir", ir())
    part = good.rindex(b"\xa0")  # where the body may begin; what follows it is changed one byte at a time
    for at in range(len(good) // 8, len(good) - 500, 97):
        bad = good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1:]
        answer = idevid.ask(bad)
        assert answer.type == "error" and answer.fail <= {"badMessageCheck", "badDataFormat", "badAlg", "badTime", "signerNotTrusted",
                                                          "unsupportedVersion", "badRequest", "badSenderNonce"}, (at, answer.text)
    assert part > 0


# --- who it is --------------------------------------------------------------------------------------------------------------------------------


def test_unknown_signer(server, idevid):
    stranger = Device()
    c = Client(server, server.http, stranger.key, stranger.cert)
    assert c.ask(c.message("ir", ir())).fail == {"signerNotTrusted"}


def test_copy_of_a_device(server, device):
    """Another key under the name of a device."""
    copy = Device()
    copy.cert = copy.self_signed(device.udid)
    answer = Client(server, server.http, copy.key, copy.cert)
    got = answer.ask(answer.message("ir", ir()))
    assert got.fail == {"signerNotTrusted"} and "udid-mismatch" in got.text
    nameless = answer.ask(answer.message("ir", ir(), certs=b""))
    assert nameless.fail == {"badMessageCheck"}  # the name leads to the genuine one's key


def test_signer_that_may_not_sign(server, device):
    """keyUsage without digitalSignature."""
    from cryptography import x509
    usage = x509.KeyUsage(False, False, True, False, False, False, False, False, False)
    cert = kit.make_cert(device.key, kit.name_of("unit"), device.key, kit.name_of("unit"), extensions=[(usage, True)])
    c = Client(server, server.http, device.key, cert)
    assert c.ask(c.message("ir", ir())).fail == {"signerNotTrusted"}


# --- requests, section 4.1 ------------------------------------------------------------------------------------------------------------------------


def two():
    return seq(cert_req(key()), cert_req(key(), req_id=1))


def small_rsa():
    return seq(cert_req(rsa.generate_private_key(65537, 1024)))


def off_curve():
    spki = bytearray(spki_of(key()))
    spki[-1] ^= 1
    return seq(cert_req(key(), template_der=template(bytes(spki))))


BODY = [
    ("two requests", two, "badRequest"),
    ("no request", lambda: seq(), "badDataFormat"),
    ("not a request", lambda: seq(integer(1)), "badDataFormat"),
    ("certReqId 1", lambda: ir(req_id=1), "badRequest"),
    ("certReqId -1", lambda: ir(req_id=-1), "badRequest"),
    ("no subject", lambda: ir(subject=None), "badCertTemplate"),
    ("version 1", lambda: ir(version=b"\0"), "badCertTemplate"),
    ("a serial number", lambda: ir(serial=b"\5"), "badCertTemplate"),
    ("no key, and a proof of possession of it", lambda: ir(template_der=template()), "badPOP"),
    ("a small RSA key", small_rsa, "badCertTemplate"),
    ("a point off the curve", off_curve, "badCertTemplate"),
    ("no proof of possession", lambda: ir(pop="none"), "badPOP"),
    ("proof with another key", lambda: ir(pop_key=kit.KEYS["P-256"]()), "badPOP"),
    ("proof with another kind of key", lambda: ir(pop_key=kit.KEYS["Ed25519"]()), "badPOP"),
    ("poposkInput beside a full template", lambda: ir(pop_input=tlv(0xa0, seq())), "badPOP"),
    ("proof by encryption", lambda: ir(pop="keyEncipherment"), "badPOP"),
    ("raVerified from a device", lambda: ir(pop="raVerified"), "notAuthorized"),
    ("fields of the template out of order", lambda: ir(template_der=seq(b"\xa6" + spki_of(key())[1:], ctx(5, name("x")))),
     "badDataFormat"),
    ("something left over", lambda: seq(cert_req(key()) + NULL), "badDataFormat"),
]


@pytest.mark.parametrize("what, content, fail", BODY, ids=[r[0] for r in BODY])
def test_request(idevid, what, content, fail):
    assert idevid.ask(idevid.message("ir", content())).fail == {fail}


def test_who_says_no(ldevid):
    """RFC 9483 section 3.6.1: a client waits for the answer to its request there; an error message says what is wrong with the message around it."""
    csr = bytearray(kit.make_csr(key(), "x"))
    csr[-1] ^= 1
    update = seq(cert_req(key(), subject=ldevid.cert.subject, controls=[old_cert_id(ldevid.cert, serial=5)]))
    rows = [("ir", ir(pop="none"), "ip", 0), ("cr", ir(pop="none"), "cp", 0), ("kur", update, "kup", 0), ("p10cr", bytes(csr), "cp", -1),
            ("rr", seq(rev_details(ldevid.cert, [6])), "rp", None)]
    for asked, content, answered, number in rows:
        answer = ldevid.ask(ldevid.message(asked, content))
        assert answer.type == answered and answer.fail and "(correlation " in answer.text, (asked, answer.type)
        assert number is None or int(answer.content["response"][0]["certReqId"]) == number
        spoilt = ldevid.message(asked, content, spoil=lambda s: s[:-1] + bytes([s[-1] ^ 1]))
        assert ldevid.ask(spoilt).type == "error", asked
    assert ldevid.ask(ldevid.message("genm", seq(seq()))).type == "error"


def test_pkcs10_with_a_wrong_signature(idevid):
    csr = bytearray(kit.make_csr(key(), "x"))
    csr[-1] ^= 1
    assert idevid.ask(idevid.message("p10cr", bytes(csr))).fail == {"badPOP"}


def test_transaction_id_in_use(idevid):
    """By anybody: it names one transaction (section 3.5)."""
    answer, _ = idevid.request()
    again, _ = idevid.request(tid=answer.tid)
    assert again.fail == {"transactionIdInUse"}


def test_played_again(idevid):
    """A message that was answered, byte for byte."""
    message = idevid.message("ir", ir())
    assert idevid.ask(message).type == "ip"
    assert idevid.ask(message).fail == {"transactionIdInUse"}


def test_a_refused_transaction_may_be_tried_again(idevid):
    """Only what was done is remembered: a flood of refusals costs no rows."""
    tid = os.urandom(16)
    assert idevid.ask(idevid.message("ir", ir(pop="none"), tid=tid)).fail == {"badPOP"}
    assert idevid.request(tid=tid)[0].type == "ip"


UPDATE = [
    ("serial number of oldCertID", lambda c: [old_cert_id(c.cert, serial=5)], "badCertId"),
    ("issuer of oldCertID", lambda c: [old_cert_id(c.cert, issuer="nobody")], "badCertId"),
    ("oldCertID twice", lambda c: [old_cert_id(c.cert)] * 2, "badDataFormat"),
]


@pytest.mark.parametrize("what, controls, fail", UPDATE, ids=[r[0] for r in UPDATE])
def test_key_update(ldevid, what, controls, fail):
    content = seq(cert_req(key(), subject=ldevid.cert.subject, controls=controls(ldevid)))
    assert ldevid.ask(ldevid.message("kur", content)).fail == {fail}


def test_key_update_with_another_subject(ldevid):
    assert ldevid.ask(ldevid.message("kur", ir())).fail == {"badCertTemplate"}


def test_key_update_of_a_certificate_from_elsewhere(idevid):
    content = seq(cert_req(key(), subject=idevid.cert.subject))
    assert idevid.ask(idevid.message("kur", content)).fail == {"badCertId"}


def test_path_names_another_operation(idevid):
    for path in ("/.well-known/cmp/keyupdate", "/.well-known/cmp/p/telemetry/pkcs10", "/.well-known/cmp/revocation"):
        assert idevid.ask(idevid.message("ir", ir()), path).fail == {"badRequest"}


def test_path_and_profile_name_different_services(idevid):
    """Both may say it; neither goes before the other."""
    info = ctx(8, seq(IMPLICIT_CONFIRM, CERT_PROFILE("telemetry")))
    assert idevid.ask(idevid.message("ir", ir(), info=info), "/.well-known/cmp/p/telemetry").type == "ip"
    assert idevid.ask(idevid.message("ir", ir(), info=info), "/.well-known/cmp/p/updates").fail == {"badRequest"}


@pytest.mark.parametrize("body", ["ip", "pkiconf", "error", "pollRep"])
def test_bodies_that_are_no_requests(idevid, body):
    assert idevid.ask(idevid.message(body, NULL if body == "pkiconf" else seq())).fail == {"badRequest"}


# --- certConf -------------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def issued(idevid):
    """Nothing in these rows changes it."""
    return idevid.request()[0]


def sha512(cert):
    return hashlib.sha512(cert.public_bytes(DER)).digest()


SHA512 = ctx(0, seq(oid("2.16.840.1.101.3.4.2.3")))
CONFIRM = [
    ("another hash", lambda a: {"status": cert_status(bytes(32))}, "badCertId"),
    ("empty hash", lambda a: {"status": cert_status(b"")}, "badCertId"),
    ("hash of another algorithm", lambda a: {"status": cert_status(sha512(a.cert))}, "badCertId"),
    ("hashAlg in version 2", lambda a: {"status": cert_status(sha512(a.cert), hash_alg=SHA512)}, "badCertId"),
    ("certReqId", lambda a: {"status": cert_status(cert_hash(a.cert), 1)}, "badRequest"),
    ("two of them", lambda a: {"content": seq(cert_status(cert_hash(a.cert)), cert_status(cert_hash(a.cert), 1))}, "badRequest"),
    ("accepted with failInfo",
     lambda a: {"status": cert_status(cert_hash(a.cert), info=seq(integer(0), tlv(3, b"\5\x20")))}, "badRequest"),
    ("a status that is none", lambda a: {"status": cert_status(cert_hash(a.cert), info=seq(integer(7)))}, "badRequest"),
    ("not a list", lambda a: {"content": octets(b"")}, "badDataFormat"),
    ("recipNonce is not ours", lambda a: {"recip": ctx(6, octets(bytes(16)))}, "badRecipientNonce"),
    ("no recipNonce", lambda a: {"recip": None}, "badRecipientNonce"),
    ("no senderNonce", lambda a: {"nonce": None}, "badSenderNonce"),
    ("no transactionID", lambda a: {"tid_field": None}, "badDataFormat"),
    ("another transactionID", lambda a: {"tid_field": ctx(4, octets(os.urandom(16)))}, "badRequest"),
    ("implicitConfirm", lambda a: {"info": ctx(8, seq(IMPLICIT_CONFIRM))}, "badRequest"),
    ("no protection", lambda a: {"protection": b""}, "badMessageCheck"),
]


@pytest.mark.parametrize("what, wrong, fail", CONFIRM, ids=[r[0] for r in CONFIRM])
def test_confirmation(server, idevid, issued, what, wrong, fail):
    given = wrong(issued)
    content = given.pop("content", None) or seq(given.pop("status", cert_status(cert_hash(issued.cert))))
    message = idevid.message("certConf", content, **{"tid_field": ctx(4, octets(issued.tid)), "recip": ctx(6, octets(issued.nonce)), **given})
    assert idevid.ask(message).fail == {fail}


def test_confirmed_by_somebody_else(server, idevid, ldevid, issued):
    """By another certificate, even of the same device, or with the new one."""
    assert ldevid.confirm(issued).fail == {"wrongAuthority"}


def test_refusals_left_the_certificate_alone(server, idevid, issued):
    """After all of the above it is still there to be confirmed."""
    assert server.ask("cert", "show", f"{issued.cert.serial_number:032x}")["state"] == "active"
    assert idevid.confirm(issued).type == "pkiconf"
    assert idevid.confirm(issued).fail == {"certConfirmed"}


# --- protection by a code, section 4.1.5 -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def code(server, device):
    """One that no row uses up."""
    return server.ask("code", "create", "--udid", device.udid, "--for", "cmp")["codes"][0]


MACS = [
    ("10,001 iterations", Mac("pbm", count=10001), "badAlg"),
    ("no iteration", Mac("pbm", count=0), "badAlg"),
    ("10,001 iterations of PBKDF2", Mac("pbmac1", count=10001), "badAlg"),
    ("SHA-1 as one-way function", Mac("pbm", "sha1"), "badAlg"),
    ("salt of seven bytes", Mac("pbm", salt=bytes(7)), "badAlg"),
    ("salt of 65 bytes", Mac("pbm", salt=bytes(65)), "badAlg"),
    ("a short key", Mac("pbmac1", key_len=15), "badAlg"),
    ("a MAC that nobody knows", Mac("pbm", hmac_oid="1.2.840.113549.2.99"), "badAlg"),
]


@pytest.mark.parametrize("what, mac, fail", MACS, ids=[r[0] for r in MACS])
def test_mac_algorithms(idevid, code, what, mac, fail):
    c = idevid.with_code(code, mac)
    assert c.ask(c.message("ir", ir())).fail == {fail}


WRONG = [
    ("a bit of the MAC", {"spoil": lambda m: m[:-1] + bytes([m[-1] ^ 1])}, "badMessageCheck"),
    ("half of it", {"spoil": lambda m: m[:16]}, "badMessageCheck"),
    ("no senderKID", {"kid": None}, "badMessageCheck"),
    ("another number", {"kid": ctx(2, octets(b"4711"))}, "badMessageCheck"),
    ("not a number", {"kid": ctx(2, octets(b"1 "))}, "badMessageCheck"),
]


@pytest.mark.parametrize("what, wrong, fail", WRONG, ids=[r[0] for r in WRONG])
def test_mac(idevid, code, what, wrong, fail):
    c = idevid.with_code(code, Mac("pbm"))
    assert c.ask(c.message("ir", ir(), **wrong)).fail == {fail}


def test_code_that_is_not_for_cmp(server, device, idevid):
    """Its text is nowhere here, so nothing can be checked with it."""
    other = server.ask("code", "create", "--udid", device.udid)["codes"][0]
    c = idevid.with_code(other, Mac("pbm"))
    assert c.ask(c.message("ir", ir())).fail == {"badMessageCheck"}


def test_key_update_with_a_code(idevid, code):
    c = idevid.with_code(code, Mac("pbm"))
    assert c.ask(c.message("kur", ir())).fail == {"wrongIntegrity"}


def test_begun_with_a_code_and_confirmed_by_signature(server, device, idevid):
    """And the other way round."""
    c = idevid.with_code(server.ask("code", "create", "--udid", device.udid, "--for", "cmp")["codes"][0], Mac("pbm"))
    by_code, _ = c.request()
    by_key, _ = idevid.request()
    assert idevid.confirm(by_code).fail == {"wrongIntegrity"}
    assert c.confirm(by_key).fail == {"wrongIntegrity"}
    assert c.confirm(by_code).type == idevid.confirm(by_key).type == "pkiconf"


# --- rr, section 4.2, and genm, section 4.3 ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strangers_cert(server):
    """Of another device."""
    d = Device()
    server.register(d, name="m-stranger")
    return Client(server, server.http, d.key, d.cert).request(info=ctx(8, seq(IMPLICIT_CONFIRM)))[0].cert


REVOKE = [
    ("two of them", lambda c: seq(rev_details(c), rev_details(c)), "badRequest"),
    ("none", lambda c: seq(), "badDataFormat"),
    ("no issuer", lambda c: seq(rev_details(c, issuer=None)), "addInfoNotAvailable"),
    ("no serial number", lambda c: seq(rev_details(c, serial=None)), "addInfoNotAvailable"),
    ("another issuer", lambda c: seq(rev_details(c, issuer="somebody")), "badCertId"),
    ("another serial number", lambda c: seq(rev_details(c, serial=bytes(range(1, 17)))), "badCertId"),
    ("another subject", lambda c: seq(rev_details(c, subject="somebody")), "badCertId"),
    ("another key", lambda c: seq(rev_details(c, spki=spki_of(key()))), "badCertId"),
    ("another version", lambda c: seq(rev_details(c, version=b"\1")), "badRequest"),
    ("a reason that is none", lambda c: seq(rev_details(c, [7])), "badDataFormat"),
    ("two reasons", lambda c: seq(rev_details(c, [1, 4])), "badDataFormat"),
    ("removeFromCRL", lambda c: seq(rev_details(c, [8])), "badRequest"),
    ("certificateHold", lambda c: seq(rev_details(c, [6])), "badRequest"),
    ("cACompromise", lambda c: seq(rev_details(c, [2])), "badRequest"),
]


@pytest.mark.parametrize("what, content, fail", REVOKE, ids=[r[0] for r in REVOKE])
def test_revocation(ldevid, what, content, fail):
    assert ldevid.ask(ldevid.message("rr", content(ldevid.cert))).fail == {fail}


def test_revocation_of_what_is_not_ones_own(server, ldevid, strangers_cert):
    """Nor of the server's own certificates."""
    signer = ldevid.request()[0].certs[0]
    for cert in (strangers_cert, signer):
        assert ldevid.ask(ldevid.message("rr", seq(rev_details(cert)))).fail == {"badCertId"}
        assert server.ask("cert", "show", f"{cert.serial_number:032x}")["state"] == "active"


def test_revocation_with_a_code(ldevid, code):
    c = ldevid.with_code(code, Mac("pbm"))
    assert c.ask(c.message("rr", seq(rev_details(ldevid.cert)))).fail == {"wrongIntegrity"}


def test_revocation_by_a_stranger(server, ldevid):
    stranger = Device()
    c = Client(server, server.http, stranger.key, stranger.cert)
    assert c.ask(c.message("rr", seq(rev_details(ldevid.cert)))).fail == {"signerNotTrusted"}


def test_revoked_certificates_do_nothing_any_more(server, idevid):
    """Revoked once, by itself; then it neither signs nor is revoked again."""
    answer, k = idevid.request(info=ctx(8, seq(IMPLICIT_CONFIRM)))
    own = idevid.sender_of(answer.cert, k)
    assert own.ask(own.message("rr", seq(rev_details(answer.cert, [1])))).type == "rp"
    for body, content, fail in (("rr", seq(rev_details(answer.cert)), "signerNotTrusted"), ("ir", ir(), "certRevoked")):
        assert own.ask(own.message(body, content)).fail == {fail}  # of an rr, certRevoked is about the certificate that it names
    assert idevid.ask(idevid.message("rr", seq(rev_details(answer.cert)))).fail == {"certRevoked"}


ASK = [
    ("a question with a value", seq(seq(oid("1.3.6.1.5.5.7.4.17"), NULL)), "badRequest"),
    ("current CRL with a value", seq(seq(oid("1.3.6.1.5.5.7.4.6"), NULL)), "badRequest"),
    ("two questions", seq(*[seq(oid("1.3.6.1.5.5.7.4.17"))] * 2), "badRequest"),
    ("no question", seq(), "badRequest"),
    ("an unknown question", seq(seq(oid("1.2.3"))), "badRequest"),
    ("not a question", seq(NULL), "badDataFormat"),
    ("CRL of nobody", seq(seq(oid("1.3.6.1.5.5.7.4.22"), seq(seq(ctx(1, seq(ctx(4, name("nobody")))))))), "badRequest"),
    ("CRL of a place", seq(seq(oid("1.3.6.1.5.5.7.4.22"), seq(seq(ctx(0, ctx(0, tlv(0x86, b"http://x"))))))), "badRequest"),
    ("root without saying which", seq(seq(oid("1.3.6.1.5.5.7.4.20"))), "badRequest"),
    ("root that is none of ours", seq(seq(oid("1.3.6.1.5.5.7.4.20"), kit.ChipMaker().cert.public_bytes(DER))), "badRequest"),
    ("root that is no certificate", seq(seq(oid("1.3.6.1.5.5.7.4.20"), NULL)), "badRequest"),
    ("template with a value", seq(seq(oid("1.3.6.1.5.5.7.4.19"), NULL)), "badRequest"),
    ("an answer as a question", seq(seq(oid("1.3.6.1.5.5.7.4.18"))), "badRequest"),
    ("CRL without saying of whom", seq(seq(oid("1.3.6.1.5.5.7.4.22"))), "badDataFormat"),
]


@pytest.mark.parametrize("what, content, fail", ASK, ids=[r[0] for r in ASK])
def test_question(idevid, what, content, fail):
    assert idevid.ask(idevid.message("genm", content)).fail == {fail}


def test_guessing_is_slowed_down(server, device, idevid):
    """The last test of this file, as the address is turned away for a while afterwards."""
    c = idevid.with_code({"code": "wrong", "number": 4711}, Mac("pbm"))
    seen = {c.ask(c.message("ir", ir())).text.split(":")[0] for _ in range(12)}
    assert seen == {"cmp-protection", "too-many-attempts"}
    assert idevid.request()[0].type == "ip"  # who signs is not concerned
