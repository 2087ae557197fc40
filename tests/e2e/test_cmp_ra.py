"""Registration authorities over CMP (RFC 9483 section 5): around one message, around several, and in a device's name; and each rule of that broken by itself."""

import hashlib
import os

import pytest
from cryptography import x509
from pyasn1.codec.der.encoder import encode

import kit
from cmpkit import (BODIES, CMC_RA, IMPLICIT_CONFIRM, NULL, Authority, Client, Mac, Message, cert_req, ctx, octets, oid, rev_details, seq,
                    template)
from kit import Device, name_of

@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(policy=("--server-keygen", "yes"))
    s.run("org", "create", "other", "--role", "oem")
    s.run("product", "create", "toy", "--org", "other", "--services", "telemetry")
    s.run("batch", "create", "toys", "--product", "toy", "--quota", 10)
    s.http = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{s.http}")
    return s


@pytest.fixture(scope="module")
def authority(server):
    return Authority(server, "oem", "network")


@pytest.fixture
def ra(authority):
    return authority.member()


@pytest.fixture
def client(server):
    d = Device()
    server.register(d, name=f"m-{d.udid[:12]}")
    c = Client(server, server.http, d.key, d.cert)
    c.device = d
    return c


def key():
    return kit.KEYS["P-256"]()


def ir(client, tid=None, nonce=None, **more):
    return client.message("ir", seq(cert_req(key())), tid=tid or os.urandom(16), nonce=ctx(5, octets(nonce or os.urandom(16))),
                          **{"info": ctx(8, seq(IMPLICIT_CONFIRM)), **more})


def around(ra, inner, **header):
    """A message around one: with its transactionID and nonces."""
    h = Message(inner).header
    fields = {"tid_field": ctx(4, encode_octets(h["transactionID"])), "nonce": ctx(5, encode_octets(h["senderNonce"]))}
    if h["recipNonce"].isValue:
        fields["recip"] = ctx(6, encode_octets(h["recipNonce"]))
    return ra.message("nested", seq(inner), **{**fields, **header})


def encode_octets(value):
    return octets(bytes(value))


# --- around messages --------------------------------------------------------------------------------------------------------------------


def test_around_one(ra, client):
    """The answer is the one to the message in it, for the device to read (section 5.2.2.1); so it is for all that follows."""
    inner = client.message("ir", seq(cert_req(key())), tid=b"0123456789abcdef", nonce=ctx(5, octets(b"fedcba9876543210")))
    answer = ra.ask(around(ra, inner), "/.well-known/cmp/nested")
    assert answer.type == "ip" and client.device.udid in answer.cert.subject.rfc4514_string()
    assert (answer.tid, answer.recip_nonce) == (b"0123456789abcdef", b"fedcba9876543210")
    confirm = client.message("certConf", seq(), tid=answer.tid, recip=ctx(6, octets(answer.nonce)))
    assert ra.ask(around(ra, confirm)).type == "pkiconf"


def test_around_one_with_its_general_info(ra, client):
    """Some authorities repeat it."""
    answer = ra.ask(around(ra, ir(client), info=ctx(8, seq(IMPLICIT_CONFIRM))))
    assert answer.type == "ip" and answer.infos == {"1.3.6.1.5.5.7.4.13"}


def test_around_one_with_a_code(server, ra, client):
    """Protected with the secret inside, the answer is too."""
    code = server.ask("code", "create", "--udid", client.device.udid, "--for", "cmp")["codes"][0]
    c = client.with_code(code, Mac("pbmac1"))
    got = Message(ra.post(around(ra, ir(c))).body)
    got.check_mac(c.mac, c.secret)
    assert got.type == "ip"


def test_around_several(server, ra, client):
    """Each is answered by itself, in the same order; a refusal is one of the answers (section 5.2.2.2)."""
    stranger = Device()
    other = Client(server, server.http, stranger.key, stranger.cert)
    inner = [ir(client), ir(other), ir(client)]
    answer = ra.ask(ra.message("nested", seq(*inner), tid=b"fedcba9876543210"))
    assert answer.type == "nested" and answer.tid == b"fedcba9876543210"
    got = [Message(encode(m), client.anchor) for m in answer.content]
    assert [m.type for m in got] == ["ip", "error", "ip"] and got[1].fail == {"signerNotTrusted"}
    assert [m.tid for m in got] == [Message(m).tid for m in inner]
    assert len({m.cert.serial_number for m in (got[0], got[2])}) == 2


def test_rules_around_messages(server, authority, ra, client):
    """Each broken by itself."""
    one = lambda **header: around(ra, ir(client), **header)
    shared = os.urandom(16)
    rows = [
        ("another transactionID", one(tid_field=ctx(4, octets(bytes(16)))), "badRequest"),
        ("another senderNonce", one(nonce=ctx(5, octets(bytes(16)))), "badSenderNonce"),
        ("a recipNonce", one(recip=ctx(6, octets(bytes(16)))), "badRecipientNonce"),
        ("implicitConfirm that is not in it", around(ra, ir(client, info=None), info=ctx(8, seq(IMPLICIT_CONFIRM))), "badRequest"),
        ("implicitConfirm around several", ra.message("nested", seq(ir(client), ir(client)), info=ctx(8, seq(IMPLICIT_CONFIRM))), "badRequest"),
        ("no protection", one(protection=b""), "badMessageCheck"),
        ("another key", one(key=key()), "badMessageCheck"),
        ("nothing in it", ra.message("nested", seq()), "badDataFormat"),
        ("no message in it", ra.message("nested", seq(NULL)), "badDataFormat"),
        ("nine in it", ra.message("nested", seq(*[ir(client) for _ in range(9)])), "badRequest"),
        ("the same transactionID twice", ra.message("nested", seq(ir(client, tid=shared), ir(client, tid=shared))), "badRequest"),
        ("the transactionID of one of them", ra.message("nested", seq(ir(client, tid=shared), ir(client)), tid=shared), "badRequest"),
        ("the same senderNonce twice", ra.message("nested", seq(ir(client, nonce=shared), ir(client, nonce=shared))), "badSenderNonce"),
        ("a recipNonce around several", ra.message("nested", seq(ir(client), ir(client)), recip=ctx(6, octets(bytes(16)))), "badRecipientNonce"),
        ("a message around a message around a message", around(ra, one()), "badRequest"),
    ]
    for what, message, fail in rows:
        assert ra.ask(message).fail == {fail}, what
    wrong = around(ra, ir(client, spoil=lambda s: s[:-1] + bytes([s[-1] ^ 1])))
    assert ra.ask(wrong).fail == {"badMessageCheck"}  # whoever puts what around it
    code = server.ask("code", "create", "--udid", client.device.udid, "--for", "cmp")["codes"][0]
    c = client.with_code(code, Mac("pbm"))
    assert c.ask(around(c, ir(client))).fail == {"wrongIntegrity"}


def test_who_is_no_registration_authority(server, authority, client):
    strange = Authority(server, None, "strange")
    own, own_key = client.request(info=ctx(8, seq(IMPLICIT_CONFIRM)))
    rows = [("unknown", strange.member()), ("not for this", authority.member(extensions=())), ("over", authority.member(days=(-9, -1))),
            ("a device", client.sender_of(own.cert, own_key)), ("a device's IDevID", client)]
    for what, who in rows:
        got = who.ask(around(who, ir(client)))
        assert got.fail == {"notAuthorized"} and "cmp-not-ra" in got.text, what
    forged = strange.member()
    forged.cert = kit.make_cert(forged.key, name_of("ra"), strange.key, authority.name, extensions=(CMC_RA,))
    forged.chain = (authority.cert,)
    assert forged.ask(around(forged, ir(client))).fail == {"notAuthorized"}


# --- in a device's name -----------------------------------------------------------------------------------------------------------------


def vouched(ra, udid, body="ir", pop="raVerified", **more):
    content = seq(cert_req(key(), pop=pop, subject=udid, **more))
    return ra.ask(ra.message(body, content, info=ctx(8, seq(IMPLICIT_CONFIRM))))


@pytest.mark.parametrize("pop", ["raVerified", "signature"])
def test_in_a_devices_name(server, ra, client, pop):
    """It names the device by its UDID; the log has both."""
    answer = vouched(ra, client.device.udid, pop=pop)
    assert answer.type == "ip" and client.device.udid in answer.cert.subject.rfc4514_string()
    log = server.run("log", "entries").stdout
    assert '"event":"cmp.vouched"' in log and client.device.udid in log
    answer = ra.ask(ra.message("p10cr", kit.make_csr(key(), client.device.udid)))
    assert answer.type == "cp" and ra.confirm(answer, content=seq()).type == "pkiconf"


def test_what_it_cannot_do_in_a_devices_name(server, ra, client):
    toy = Device()
    server.register(toy, name="m-toy", batch="toys")
    loose = Device()
    server.register(loose, name="m-loose", batch=None)
    own = vouched(ra, client.device.udid).cert
    rows = [
        ("another organisation's device", vouched(ra, toy.udid), "notAuthorized"),
        ("a device of no batch", vouched(ra, loose.udid), "notAuthorized"),
        ("a device that nobody knows", vouched(ra, Device().udid), "badCertTemplate"),
        ("no UDID", vouched(ra, "somebody"), "badCertTemplate"),
        ("a key that is made here", ra.ask(ra.message("ir", seq(cert_req(None, pop="none", template_der=template(subject=client.device.udid))),
                                                      pvno=b"\x02\x01\x03")), "notAuthorized"),
        ("a wrong proof of possession", vouched(ra, client.device.udid, pop="signature", pop_key=key()), "badPOP"),
        ("none", vouched(ra, client.device.udid, pop="none"), "badPOP"),
        ("a key update", ra.ask(ra.message("kur", seq(cert_req(key(), pop="raVerified", subject=own.subject)))), "badCertId"),
        ("raVerified from the device", client.ask(client.message("ir", seq(cert_req(key(), pop="raVerified")))), "notAuthorized"),
        ("raVerified in a message it carries",
         ra.ask(around(ra, client.message("ir", seq(cert_req(key(), pop="raVerified")), tid=os.urandom(16)))), "notAuthorized"),
    ]
    for what, got, fail in rows:
        assert got.fail == {fail}, (what, got.text)
    server.run("device", "transfer", client.device.udid, "other", "--force")  # sold: its new owner's device, of the same product
    sold = vouched(ra, client.device.udid)
    assert sold.fail == {"notAuthorized"} and "cmp-not-ra" in sold.text
    server.run("device", "transfer", client.device.udid, "oem", "--force")
    assert vouched(ra, client.device.udid).type == "ip"
    server.run("device", "suspend", client.device.udid)
    assert "device-suspended" in vouched(ra, client.device.udid).text
    assert BODIES["nested"] == 20


# --- revoking what a device has (section 5.3.2) ---------------------------------------------------------------------------------------------


def rr(ra, cert, reason=4, **more):
    return ra.ask(ra.message("rr", seq(rev_details(cert, [reason])), **more), "/.well-known/cmp/revocation")


def test_revocation_in_a_devices_name(server, authority, ra, client):
    """Also of a certificate that another has asked for, and of a device that is suspended: its certificates are what has to go. The log has whose word it was."""
    own = vouched(ra, client.device.udid).cert
    server.run("device", "suspend", client.device.udid)
    other = authority.member()
    assert rr(other, own, 1).type == "rp"
    shown = server.ask("cert", "show", f"{own.serial_number:032x}")
    assert (shown["state"], shown["reason"]) == ("revoked", 1)
    log = server.run("log", "entries").stdout
    (leaf,) = [line for line in log.splitlines() if "cmp.vouched" in line and f'"revoked":"{own.serial_number:032x}"' in line]
    assert client.device.udid in leaf and hashlib.sha256(other.cert.public_bytes(kit.DER)).hexdigest() in leaf
    assert rr(ra, own).fail == {"certRevoked"}
    assert client.device.udid in server.run("why", client.device.udid).stdout


def test_what_it_cannot_revoke(server, authority, ra, client):
    """And nothing of this has revoked anything."""
    toy, sold = Device(), Device()
    server.register(toy, name="m-toy-2", batch="toys")
    server.register(sold, name="m-sold")
    toys = Client(server, server.http, toy.key, toy.cert).ask(ir(Client(server, server.http, toy.key, toy.cert))).cert
    gone = vouched(ra, sold.udid).cert
    server.run("device", "transfer", sold.udid, "other", "--force")
    answer = vouched(ra, client.device.udid)
    own, signer = answer.cert, answer.certs[0]
    code = server.ask("code", "create", "--udid", client.device.udid, "--for", "cmp")["codes"][0]
    strange = Authority(server, None, "stranger").member()
    rows = [
        ("another organisation's device's", rr(ra, toys), "notAuthorized"),
        ("one of a device that has been sold", rr(ra, gone), "notAuthorized"),
        ("one of the server's own", rr(ra, signer), "badCertId"),
        ("one that nobody has", ra.ask(ra.message("rr", seq(rev_details(own, [4], serial=bytes(range(1, 17)))))), "badCertId"),
        ("one of another issuer", ra.ask(ra.message("rr", seq(rev_details(own, [4], issuer="somebody")))), "badCertId"),
        ("for a while", rr(ra, own, 6), "badRequest"),
        ("lifting a revocation", rr(ra, own, 8), "badRequest"),
        ("as if it were a CA's", rr(ra, own, 2), "badRequest"),
        ("two at once", ra.ask(ra.message("rr", seq(rev_details(own, [4]), rev_details(gone, [4])))), "badRequest"),
        ("with another key", rr(ra, own, key=key()), "badMessageCheck"),
        ("trusted by nobody", rr(strange, own), "signerNotTrusted"),
        ("not for this", rr(authority.member(extensions=()), own), "signerNotTrusted"),
        ("over", rr(authority.member(days=(-9, -1)), own), "signerNotTrusted"),
        ("with a code", rr(client.with_code(code, Mac("pbm")), own), "wrongIntegrity"),
    ]
    for what, got, fail in rows:
        assert got.fail == {fail}, (what, got.type, got.text)
        assert got.type == ("error" if fail in ("badMessageCheck", "signerNotTrusted") else "rp"), what
    assert {server.ask("cert", "show", f"{c.serial_number:032x}")["state"] for c in (toys, own, signer)} == {"active"}


def test_path_length_above_it_counts(server, authority, client):
    """Breaks when a CA of the network's that was allowed none below it makes itself one, and that one a registration authority."""
    for path_length, fail in ((2, None), (1, "notAuthorized")):
        made, above, by = [], authority.name, authority.key
        for common_name, allowed in (("high", path_length), ("middle", None), ("low", None)):
            of = key()
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            made.insert(0, kit.make_cert(of, name_of(common_name), by, above, extensions=[(x509.BasicConstraints(True, allowed), True), (usage, True)]))
            above, by = made[0].subject, of
        own = key()
        who = Client(server, server.http, own, kit.make_cert(own, name_of("ra"), by, above, extensions=(CMC_RA,)), (*made, authority.cert), 2)
        got = who.ask(around(who, ir(client)))
        assert got.type == "ip" if fail is None else got.fail == {fail} and "cmp-not-ra" in got.text
