"""CMP (RFC 9810, 9483, 9811) as it should go: with OpenSSL's client, and with one made from the ASN.1 of the RFCs for what that one does not
speak (version 3, a certificate that is turned down)."""

import hashlib
import json
import subprocess

import pytest
from cryptography import x509
from pyasn1.codec.der.decoder import decode
from pyasn1.codec.der.encoder import encode
from pyasn1_alt_modules import rfc9810

import kit
from cmpkit import (IMPLICIT_CONFIRM, Client, Mac, Message, cert_hash, cert_req, cert_status, contents, ctx, generalized, integer, octets, oid, seq,
                    tlv, utf8)
from kit import ChipMaker, Device

OPENSSL_QUIET = ("-config", "", "-verbosity", "4")


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(services=("telemetry", "updates"))
    s.http = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{s.http}")
    return s


@pytest.fixture(scope="module")
def maker(server):
    m = ChipMaker()
    server.run("org", "trust", "chips", m.pem(server.folder / "maker.pem"), "--purpose", "birth")
    return m


@pytest.fixture(scope="module")
def register(server, maker):
    count = iter(range(1000))

    def one(alg="P-256", self_signed=None, **more):
        d = Device(alg)
        if self_signed is None:
            d.birth = d.cert = maker.birth(d)
        else:
            d.cert = d.self_signed(self_signed(d))
        server.register(d, name=f"m-{next(count)}", **more)
        return d

    return one


@pytest.fixture
def client(server, register):
    d = register()
    c = Client(server, server.http, d.key, d.cert)
    c.device = d
    return c


def state_of(server, cert):
    return server.ask("cert", "show", f"{cert.serial_number:032x}")["state"]


# --- OpenSSL ------------------------------------------------------------------------------------------------------------------------------


class OpenSSL:
    def __init__(self, server, folder):
        self.server, self.folder = server, folder

    def __call__(self, cmd, *words, path=".well-known/cmp", tls=False, want=0):
        to = ("-tls_used", "-tls_trusted", self.server.anchors()) if tls else ()
        port = self.server.port if tls else self.server.http
        done = subprocess.run(["openssl", "cmp", *OPENSSL_QUIET, "-cmd", cmd, "-server", f"127.0.0.1:{port}", "-path", path,
                               "-trusted", self.server.anchors(), *map(str, to), *map(str, words)],
                              capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        assert done.returncode == want, done.stdout + done.stderr
        return done

    def cert(self, stem):
        return x509.load_pem_x509_certificate((self.folder / stem).read_bytes())


@pytest.fixture
def openssl(server, tmp_path):
    return OpenSSL(server, tmp_path)


@pytest.mark.parametrize("alg", [a for a in kit.KEYS if a != "Ed25519"])  # OpenSSL 3.0 protects no messages with that
def test_openssl_through_a_devices_life(server, register, openssl, tmp_path, alg):
    """First certificate with the IDevID, renewal with what came of it, another one, and one by PKCS#10; confirmed and not."""
    d = register(alg)
    cert, key = d.files(tmp_path)
    op = tmp_path / "op.key"
    op.write_bytes(kit.key_pem(kit.KEYS["P-256"]()))
    got, new = tmp_path / "c1.pem", ("-newkey", op)
    openssl("ir", "-cert", cert, "-key", key, *new, "-subject", "/CN=whatever", "-certout", got, "-chainout", tmp_path / "chain.pem",
            "-cacertsout", tmp_path / "root.pem")
    assert d.udid in openssl.cert("c1.pem").subject.rfc4514_string()
    assert openssl.cert("root.pem") == x509.load_pem_x509_certificate(server.anchors().read_bytes())
    subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", server.anchors(), "-untrusted",
                    tmp_path / "chain.pem", got], check=True, capture_output=True)
    next_key = tmp_path / "next.key"
    next_key.write_bytes(kit.key_pem(kit.KEYS[alg]()))
    openssl("kur", "-cert", got, "-key", op, "-newkey", next_key, "-certout", tmp_path / "c2.pem", "-implicit_confirm", tls=True,
            path=".well-known/cmp/keyupdate")
    assert openssl.cert("c2.pem").subject == openssl.cert("c1.pem").subject
    openssl("cr", "-cert", got, "-key", op, *new, "-subject", "/CN=x", "-certout", tmp_path / "c3.pem", "-implicit_confirm", path="cmp")
    subprocess.run(["openssl", "req", "-new", "-key", op, "-subj", "/CN=z", "-out", tmp_path / "csr"], check=True)
    openssl("p10cr", "-cert", tmp_path / "c2.pem", "-key", next_key, "-csr", tmp_path / "csr", "-certout", tmp_path / "c4.pem",
            path=".well-known/cmp/p/updates/pkcs10")
    assert all(state_of(server, openssl.cert(f"c{n}.pem")) == "active" for n in range(1, 5))
    listed = server.ask("cert", "show", f"{openssl.cert('c4.pem').serial_number:032x}")
    assert (listed["service"], listed["protocol"]) == ("updates", "cmp")


def test_openssl_without_a_certificate_to_send(register, openssl, tmp_path):
    """OpenSSL sends no self-signed certificate along; the sender's common name then says which device it is."""
    d = register(self_signed=lambda d: d.udid)
    cert, key = d.files(tmp_path)
    openssl("ir", "-cert", cert, "-key", key, "-newkey", key, "-subject", "/CN=x", "-certout", tmp_path / "c.pem")
    assert d.udid in openssl.cert("c.pem").subject.rfc4514_string()


def test_openssl_revokes_its_certificate(server, register, openssl, tmp_path):
    """With a reason, which the CRL then has."""
    d = register()
    cert, key = d.files(tmp_path)
    got = tmp_path / "c.pem"
    openssl("ir", "-cert", cert, "-key", key, "-newkey", key, "-subject", "/CN=x", "-certout", got, "-implicit_confirm")
    openssl("rr", "-cert", got, "-key", key, "-oldcert", got, "-revreason", "4", path=".well-known/cmp/revocation")
    assert state_of(server, openssl.cert("c.pem")) == "revoked"
    crl = kit.call(server, "GET", "/crl/issuing.crl")
    entry = x509.load_der_x509_crl(crl.body).get_revoked_certificate_by_serial_number(openssl.cert("c.pem").serial_number)
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason == x509.ReasonFlags.superseded
    done = openssl("rr", "-cert", cert, "-key", key, "-oldcert", got, want=1)
    assert "certRevoked" in done.stdout + done.stderr


@pytest.mark.parametrize("what", ["caCerts", "currentCRL"])
def test_openssl_asks(register, openssl, tmp_path, what):
    cert, key = register().files(tmp_path)
    cas = tmp_path / "cas.pem"
    done = openssl("genm", "-cert", cert, "-key", key, "-infotype", what, "-verbosity", "6", *(("-cacertsout", cas) if what == "caCerts" else ()))
    if cas.exists() and cas.stat().st_size != 0:  # newer ones write there what they got, and say no more than that
        assert x509.load_pem_x509_certificates(cas.read_bytes())
    else:
        assert f"id-it-{what}" in done.stdout + done.stderr


def test_openssl_is_told_why_not(server, openssl, tmp_path):
    """A refusal is a signed message with the code and the sentence; `birthmark why` has the same."""
    stranger = Device()
    stranger.cert = ChipMaker("Other Root").birth(stranger)
    cert, key = stranger.files(tmp_path)
    done = openssl("ir", "-cert", cert, "-key", key, "-newkey", key, "-subject", "/CN=x", "-certout", tmp_path / "c.pem", want=1)
    said = done.stdout + done.stderr
    assert "signerNotTrusted" in said and "unknown-device: no device with this key is registered" in said
    assert "unknown-device" in server.run("why", stranger.udid).stdout


@pytest.mark.parametrize("whose", ["device", "batch"])
def test_openssl_with_a_code(server, register, openssl, tmp_path, whose):
    """Without any certificate: the code's number is the reference, its text the secret. With OpenSSL's default MAC (HMAC-SHA-1)."""
    d = register()
    if whose == "device":
        code = server.ask("code", "create", "--udid", d.udid, "--for", "cmp")["codes"][0]
    else:
        server.run("product", "set", "sensor", "--self-registration", "yes")
        code = server.ask("code", "create", "--batch", "reel-1", "--for", "cmp")["codes"][0]
    key = tmp_path / "new.key"
    key.write_bytes(kit.key_pem(kit.KEYS["P-256"]()))
    words = ("-ref", code["number"], "-secret", f"pass:{code['code']}", "-newkey", key, "-subject", "/CN=x")
    openssl("ir", *words, "-certout", tmp_path / "c.pem", "-cacertsout", tmp_path / "root.pem")
    cert = openssl.cert("c.pem")
    assert (d.udid in cert.subject.rfc4514_string()) == (whose == "device")
    done = openssl("ir", *words, "-certout", tmp_path / "d.pem", want=1)
    assert "code-used-up" in done.stdout + done.stderr
    assert code["code"] not in server.run("log", "entries").stdout + server.log.read_text()


# --- a client of our own ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pvno", [2, 3])
def test_versions(client, pvno):
    """The answer has the version of the question (RFC 9810 section 7), the nonces go to and fro, and the transaction is one."""
    client.pvno = pvno
    tid = b"0123456789abcd-%d" % pvno
    answer, key = client.request(tid=tid)
    assert (answer.type, answer.pvno, answer.tid) == ("ip", pvno, tid)
    assert "1.3.6.1.5.5.7.4.14" in answer.infos  # confirmWaitTime
    assert answer.cert.public_key() == key.public_key()
    hash_alg = ctx(0, seq(oid("2.16.840.1.101.3.4.2.3"))) if pvno == 3 else b""
    digest = cert_hash(answer.cert) if pvno == 2 else hashlib.sha512(answer.cert.public_bytes(kit.DER)).digest()
    done = client.confirm(answer, cert_status(digest, hash_alg=hash_alg))
    assert (done.type, done.pvno, done.tid) == ("pkiconf", pvno, answer.tid)
    assert done.nonce != answer.nonce
    assert done.certs[0] == answer.certs[0]


@pytest.mark.parametrize("alg", list(kit.KEYS))
def test_keys(server, register, alg):
    """Of a device, and to be certified."""
    d = register(alg)
    answer, key = Client(server, server.http, d.key, d.cert).request(key=kit.KEYS[alg]())
    assert answer.cert.public_key() == key.public_key()


def test_implicit_confirm(client):
    answer, _ = client.request(info=ctx(8, seq(IMPLICIT_CONFIRM)))
    assert answer.infos == {"1.3.6.1.5.5.7.4.13"}
    assert client.confirm(answer).fail == {"certConfirmed"}


def test_p10cr(client):
    """Its certReqId is -1 (RFC 9810 section 5.3.4)."""
    answer = client.ask(client.message("p10cr", kit.make_csr(kit.KEYS["P-384"](), "x")))
    assert answer.type == "cp" and int(answer.content["response"][0]["certReqId"]) == -1
    assert client.confirm(answer, cert_status(cert_hash(answer.cert), -1)).type == "pkiconf"


def test_status_tells_whether_something_was_changed(client):
    """accepted when subject and extensions are as asked for, grantedWithMods when the profile made others of them."""
    first, key = client.request(info=ctx(8, seq(IMPLICIT_CONFIRM)))
    assert int(first.content["response"][0]["status"]["status"]) == 1
    update, _ = client.sender_of(first.cert, key).request("kur")
    assert update.type == "kup" and int(update.content["response"][0]["status"]["status"]) == 0
    usage = first.cert.extensions.get_extension_for_class(x509.KeyUsage).value.public_bytes()
    for critical, status in ((tlv(1, b"\xff"), 0), (b"", 1)):
        asked = cert_req(kit.KEYS["P-256"](), subject=first.cert.subject, extensions=seq(oid("2.5.29.15"), critical, octets(usage)))
        answer = client.ask(client.message("ir", seq(asked), info=ctx(8, seq(IMPLICIT_CONFIRM))))
        assert answer.type == "ip" and int(answer.content["response"][0]["status"]["status"]) == status


@pytest.mark.parametrize("how", ["status", "nothing"])
def test_what_the_device_turns_down_is_revoked(server, client, how):
    """certConf with a rejection, or with no CertStatus at all (RFC 9810 section 5.3.18)."""
    answer, _ = client.request()
    status = cert_status(cert_hash(answer.cert), info=seq(integer(2), seq(utf8("not what I meant"))))
    done = client.confirm(answer, content=seq(status) if how == "status" else seq())
    assert done.type == "pkiconf"
    assert state_of(server, answer.cert) == "revoked"
    assert client.confirm(answer).fail == {"certConfirmed"}


def test_extra_certs_may_be_in_any_order(server, client, maker):
    """The first is the signer's (RFC 9483 section 3.3); a chain behind it is put together by names."""
    between = (kit.KEYS["P-256"](), kit.name_of("Chips Sub"))
    sub = kit.make_cert(between[0], between[1], maker.key, maker.name, ca=True)
    device = Device()
    device.cert = device.birth = kit.make_cert(device.key, kit.name_of("chip"), between[0], between[1])
    server.register(device, name="chained")
    other = ChipMaker("Unrelated")
    c = Client(server, server.http, device.key, device.cert, (other.cert, maker.cert, sub))
    answer, _ = c.request()
    assert answer.type == "ip"


def test_addressed_to_a_ca_it_is_answered_by_that_ca(server, client):
    """Also a refusal: recipient names who is meant (RFC 9810 section 5.1.1)."""
    issuing = x509.load_pem_x509_certificate(server.run("ca", "export", "issuing").stdout.encode())
    answer, _ = client.request(recipient=ctx(4, issuing.subject.public_bytes()), nonce=None)
    assert answer.fail == {"badSenderNonce"}
    assert answer.certs[1] == issuing


def test_policy_names_protocols(server, register):
    server.run("product", "create", "est-only", "--org", "oem", "--services", "telemetry", "--protocols", "est")
    server.run("batch", "create", "est-1", "--product", "est-only", "--quota", 10)
    d = register(batch="est-1")
    answer, _ = Client(server, server.http, d.key, d.cert).request()
    assert answer.fail == {"notAuthorized"} and "protocol-refused" in answer.text


def test_same_rights_as_through_other_doors(server, client):
    """Suspended is suspended; what was issued over CMP renews over EST."""
    answer, key = client.request(info=ctx(8, seq(IMPLICIT_CONFIRM)))
    server.run("device", "suspend", client.device.udid)
    refused, _ = client.request()
    assert refused.fail == {"notAuthorized"} and "device-suspended" in refused.text
    server.run("device", "resume", client.device.udid)
    renewed, _ = kit.est_enrol(server, client.device, server.folder, cert=answer.cert, cert_key=key, op="simplereenroll",
                               subject=answer.cert.subject)
    assert renewed.status == 200
    server.run("cert", "revoke", f"{answer.cert.serial_number:032x}")
    refused, _ = client.sender_of(answer.cert, key).request("kur")
    assert refused.fail == {"certRevoked"}


def test_signer_is_replaced_when_it_is_revoked(server, client):
    first, _ = client.request()
    server.run("cert", "revoke", f"{first.certs[0].serial_number:032x}")
    second, _ = client.request()
    assert second.certs[0] != first.certs[0]
    assert "cmp.certificate" in server.run("log", "entries").stdout


def test_transactions_survive_a_crash(new_server):
    """After kill -9 a certificate can still be confirmed, and a request that was answered is not answered again: not even one that bears no
    time, which nothing else would tell from a new one."""
    s = new_server()
    s.init()
    s.furnish()
    s.http = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{s.http}")
    d = Device()
    s.register(d)
    c = Client(s, s.http, d.key, d.cert)
    answer, _ = c.request()
    timeless = c.message("ir", seq(cert_req(kit.KEYS["P-256"]())), time=None, info=ctx(8, seq(IMPLICIT_CONFIRM)))
    assert c.ask(timeless).type == "ip"
    s.kill()
    s.start("--listen-http", f"127.0.0.1:{s.http}")
    assert c.ask(timeless).fail == {"transactionIdInUse"}
    done = c.confirm(answer)
    assert done.type == "pkiconf" and done.certs[0] != answer.certs[0]
    assert state_of(s, answer.cert) == "active"


def test_http(client):
    """RFC 9811: what is no CMP is refused by HTTP; any path that is ours takes a message."""
    assert client.post(b"x", content_type="text/plain").status == 415
    assert client.post(b"x", path="/.well-known/cmp/nowhere").status == 404
    assert client.post(b"x", path="/.well-known/cmp/p//ir").status == 404
    garbage = client.ask(b"\x30\x03\x02\x01\x02")
    assert garbage.fail == {"badDataFormat"} and garbage.tid == b""
    for path in ("/cmp", "/.well-known/cmp", "/.well-known/cmp/p/telemetry", "/.well-known/cmp/initialization",
                 "/.well-known/cmp/p/telemetry/initialization"):
        got = client.post(client.message("ir", seq(cert_req(kit.KEYS["P-256"]()))), path)
        assert Message(got.body, client.anchor).type == "ip" and got.code is None, path
    got = client.post(client.message("ir", b""))
    assert got.code == "malformed" and got.headers["Cache-Control"] == "no-store"


# --- codes --------------------------------------------------------------------------------------------------------------------------------


def code_for(server, device):
    return server.ask("code", "create", "--udid", device.udid, "--for", "cmp")["codes"][0]


@pytest.mark.parametrize("pvno", [2, 3])
@pytest.mark.parametrize("mac", [Mac("pbm"), Mac("pbm", "sha512", "sha512", 10000), Mac("pbmac1"), Mac("pbmac1", "sha512", "sha512", 10000, key_len=64),
                                 Mac("pbmac1", "sha1", "sha256", key_len=32)], ids=str)
def test_macs(server, client, mac, pvno):
    """The answer comes under the same secret and algorithms, with a salt of its own (checked by the client); so does pkiConf."""
    client.pvno = pvno
    c = client.with_code(code_for(server, client.device), mac)
    answer, key = c.request()
    assert answer.type == "ip" and answer.cert.public_key() == key.public_key()
    assert c.confirm(answer).type == "pkiconf"


def test_codes_outlive_a_change_of_the_key_they_are_sealed_with(server, client):
    code = code_for(server, client.device)
    server.run("key", "rotate")
    answer, _ = client.with_code(code, Mac("pbmac1")).request()
    assert answer.type == "ip"
    assert not [r for r in server.ask("key", "show")["roots"] if "code" in r["name"]]


# --- questions ----------------------------------------------------------------------------------------------------------------------------


CA_CERTS, CURRENT_CRL, CRL_STATUS, CRLS, ROOT_CERT, ROOT_UPDATE, TEMPLATE = ("1.3.6.1.5.5.7.4.%d" % n for n in (17, 6, 22, 23, 20, 18, 19))


def ask_for(client, what, value=b"", path=None):
    answer = client.ask(client.message("genm", seq(seq(oid(what), value))), path)
    assert answer.type == "genp", answer.text
    (info,) = answer.content
    value = bytes(info["infoValue"]) if info["infoValue"].isValue else None
    return str(info["infoType"]), value


def test_ca_certificates(server, client):
    """Those between the root and the device (RFC 9483 section 4.3.1)."""
    issuing = server.run("ca", "export", "issuing").stdout.encode()
    kind, value = ask_for(client, CA_CERTS, path="/.well-known/cmp/getcacerts")
    assert (kind, value) == (CA_CERTS, seq(x509.load_pem_x509_certificate(issuing).public_bytes(kit.DER)))


def test_crls(server, client):
    """The current one; and one that is newer than the device's, or none (RFC 9483 section 4.3.4)."""
    issuing = x509.load_pem_x509_certificate(server.run("ca", "export", "issuing").stdout.encode())
    kind, crl = ask_for(client, CURRENT_CRL)
    assert kind == CURRENT_CRL and x509.load_der_x509_crl(crl).is_signature_valid(issuing.public_key())
    source = ctx(1, seq(ctx(4, issuing.subject.public_bytes())))
    at = int(x509.load_der_x509_crl(crl).last_update_utc.timestamp())
    for given, want in ((b"", seq(crl)), (generalized(at - 1), seq(crl)), (generalized(at), None)):
        assert ask_for(client, CRL_STATUS, seq(seq(source, given)), "/.well-known/cmp/getcrls") == (CRLS, want)


def test_anybody_with_a_code_may_ask(server, client):
    c = client.with_code(code_for(server, client.device), Mac("pbm"))
    assert ask_for(c, CA_CERTS)[1] is not None


def test_request_template(server, client):
    """Of the product's profile, or of the service's (RFC 9483 section 4.3.3): an empty subject, no key, and which kinds of keys are taken."""
    profile = json.loads(server.run("profile", "show", "ldevid").stdout)
    (server.folder / "profile.json").write_text(json.dumps({**profile, "keys": ["P-384", "RSA"]}))
    server.run("profile", "set", "rsa-or-p384", server.folder / "profile.json")
    server.run("service", "set", "updates", "--profile", "rsa-or-p384")
    for path, want in (("/.well-known/cmp/p/updates/getcertreqtemplate", ["1.2.840.10045.2.1", 2048]),
                       ("/.well-known/cmp/getcertreqtemplate", ["1.2.840.10045.2.1"])):
        kind, value = ask_for(client, TEMPLATE, path=path)
        content, rest = decode(value, asn1Spec=rfc9810.CertReqTemplateContent())
        assert kind == TEMPLATE and not rest
        assert contents(value).startswith(seq(ctx(5, seq())))
        specs = [(str(s["type"]), bytes(s["value"])) for s in content["keySpec"]]
        assert [s[0] for s in specs][:len(want)] == ["1.3.6.1.5.5.7.5.1.11", "1.3.6.1.5.5.7.5.1.12"][:len(want)]
        assert str(decode(specs[0][1])[0][0]) == want[0] and (len(want) == 1 or int(decode(specs[1][1])[0]) == want[1])
    c = client.with_code(code_for(server, client.device), Mac("pbm"))
    assert ask_for(c, TEMPLATE)[0] == TEMPLATE
    refused = client.ask(client.message("genm", seq(seq(oid(TEMPLATE)))), "/.well-known/cmp/p/nothing")
    assert refused.fail == {"notAuthorized"} and "service-refused" in refused.text


def test_root_update(server, client):
    """No answer while there is no other root; then the new one and the two that lead from one to the other (RFC 9483 section 4.3.2)."""
    old = client.anchor
    ask = lambda cert: ask_for(client, ROOT_CERT, cert.public_bytes(kit.DER), "/.well-known/cmp/getrootupdate")
    assert ask(old) == (ROOT_UPDATE, None)
    server.run("ca", "rollover", "root", "root-2")
    kind, value = ask(old)
    content, rest = decode(value, asn1Spec=rfc9810.RootCaKeyUpdateContent())
    assert kind == ROOT_UPDATE and not rest
    new, new_with_old, old_with_new = (x509.load_der_x509_certificate(contents(encode(content[f])) if f != "newWithNew" else encode(content[f]))
                                       for f in ("newWithNew", "newWithOld", "oldWithNew"))
    new.verify_directly_issued_by(new)
    new_with_old.verify_directly_issued_by(old)
    old_with_new.verify_directly_issued_by(new)
    assert new_with_old.public_key() == new.public_key() and old_with_new.public_key() == old.public_key()
    assert new == x509.load_pem_x509_certificate(server.run("ca", "export", "root-2").stdout.encode())
    assert ask(new) == (ROOT_UPDATE, None)
