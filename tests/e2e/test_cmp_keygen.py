"""Keys made for devices over CMP (RFC 9483 section 4.1.6): taken apart with others' ASN.1 modules and opened with `openssl cms`."""

import json
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key
from pyasn1.codec.der.decoder import decode
from pyasn1.codec.der.encoder import encode
from pyasn1_alt_modules import rfc5652, rfc5958

import kit
from cmpkit import IMPLICIT_CONFIRM, Client, Mac, cert_req, contents, ctx, oid, seq, template, tlv
from kit import ChipMaker, Device, spki_of

ENVELOPED, SIGNED, KEY_PACKAGE = "1.2.840.113549.1.7.3", "1.2.840.113549.1.7.2", "2.16.840.1.101.2.1.2.78.5"
CMC_RA, CM_KGA = "1.3.6.1.5.5.7.3.28", "1.3.6.1.5.5.7.3.32"


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(services=("telemetry", "updates"), policy=("--server-keygen", "yes", "--self-registration", "yes"))
    profile = json.loads(s.run("profile", "show", "ldevid").stdout)
    (s.folder / "profile.json").write_text(json.dumps({**profile, "key_usage": ["digitalSignature", "keyAgreement"], "keys": ["P-256", "P-384"]}))
    s.run("profile", "set", "for-agreement", s.folder / "profile.json")
    s.run("service", "set", "updates", "--profile", "for-agreement")
    s.http = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{s.http}")
    return s


@pytest.fixture
def client(server, request):
    d = Device(getattr(request, "param", "P-256"))
    server.register(d, name=f"m-{d.udid[:12]}")
    c = Client(server, server.http, d.key, d.cert, pvno=3)
    c.device = d
    return c


def spki_without_key(alg):
    """AlgorithmIdentifier and an empty BIT STRING."""
    whole = spki_of(kit.KEYS[alg]())
    size = whole[3] + 2 if whole[1] < 128 else whole[4 + (whole[1] & 0x7f) - 1] + 2
    start = 2 if whole[1] < 128 else 2 + (whole[1] & 0x7f)
    return seq(whole[start:start + size], b"\x03\x01\x00")


def wanted(alg=None, **more):
    spki = spki_without_key(alg) if alg else None
    return seq(cert_req(None, pop="none", template_der=template(spki, **more)))


def ask(client, content, body="ir", path=None, **header):
    return client.ask(client.message(body, content, info=ctx(8, seq(IMPLICIT_CONFIRM)), **header), path)


def openssl(folder, *words):
    done = subprocess.run(["openssl", "cms", "-inform", "DER", "-binary", *map(str, words)], capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def content_info(kind, der):
    return seq(oid(kind), ctx(0, der))


def check_recipient(client, data, info):
    """The signer's certificate is named by its key identifier, or else by issuer and serial number (section 4.1.6.1, 4.1.6.2; RFC 5652 section 6.1, 6.2)."""
    how, kid = info.getName(), client.kid()
    if how == "pwri":
        assert int(data["version"]) == 3 and int(info["pwri"]["version"]) == 0
        return
    rid = info["kari"]["recipientEncryptedKeys"][0]["rid"] if how == "kari" else info["ktri"]["rid"]
    serial = rid["issuerAndSerialNumber"]["serialNumber"] if kid is None else None
    assert int(data["version"]) == (0 if how == "ktri" and kid is None else 2)
    assert kid is not None or int(serial) == client.cert.serial_number
    assert kid is None or kid in (bytes(rid["subjectKeyIdentifier"]) if how == "ktri" else bytes(rid["rKeyId"]["subjectKeyIdentifier"]),)


def unpack(server, client, answer, folder):
    """Every step that RFC 9483 describes; returns the key."""
    pair = answer.content["response"][0]["certifiedKeyPair"]
    enveloped = pair["privateKey"]["envelopedData"]
    der = seq(contents(encode(enveloped)))
    data, rest = decode(der, asn1Spec=rfc5652.EnvelopedData())
    assert not rest and str(data["encryptedContentInfo"]["contentType"]) == SIGNED
    (info,) = data["recipientInfos"]
    check_recipient(client, data, info)
    (folder / "enveloped").write_bytes(content_info(ENVELOPED, der))
    (folder / "key.pem").write_bytes(kit.key_pem(client.key))
    by = ("-pwri_password", client.secret.decode()) if client.mac is not None else ("-inkey", folder / "key.pem")
    signed = openssl(folder, "-decrypt", "-in", folder / "enveloped", *by)
    data, rest = decode(signed, asn1Spec=rfc5652.SignedData())
    assert not rest and int(data["version"]) == 3 and str(data["encapContentInfo"]["eContentType"]) == KEY_PACKAGE
    certs = [x509.load_der_x509_certificate(encode(c["certificate"])) for c in data["certificates"]]
    (signer,) = data["signerInfos"]
    kid = certs[0].extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert int(signer["version"]) == 3 and bytes(signer["sid"]["subjectKeyIdentifier"]) == kid
    assert CM_KGA in [o.dotted_string for o in certs[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value]
    (folder / "signed").write_bytes(content_info(SIGNED, signed))
    package = openssl(folder, "-verify", "-in", folder / "signed", "-CAfile", server.anchors(), "-purpose", "any")
    (key,), rest = decode(package, asn1Spec=rfc5958.AsymmetricKeyPackage())
    assert not rest
    return info.getName(), load_der_private_key(encode(key), None)


@pytest.mark.parametrize("client, how", [("P-256", "kari"), ("P-384", "kari"), ("RSA-2048", "ktri")], indirect=["client"])
@pytest.mark.parametrize("alg", [None, "P-384"])
def test_key_made_here(server, client, tmp_path, how, alg):
    """By key agreement or key transport to the key that signs the request; no kind of key named means P-256."""
    answer = ask(client, wanted(alg))
    assert answer.type == "ip" and answer.pvno == 3
    used, key = unpack(server, client, answer, tmp_path)
    assert used == how and key.public_key() == answer.cert.public_key()
    assert key.curve.name == {None: "secp256r1", "P-384": "secp384r1"}[alg]
    assert '"server_keygen":true' in server.run("log", "entries").stdout


def test_key_update(server, client, tmp_path):
    """The old certificate may be encrypted to, as its profile says keyAgreement; so the new key comes to the old one. Confirmed as any other."""
    own_key = kit.KEYS["P-256"]()
    first = client.ask(client.message("ir", seq(cert_req(own_key)), info=ctx(8, seq(IMPLICIT_CONFIRM))), "/.well-known/cmp/p/updates")
    own = client.sender_of(first.cert, own_key)
    answer = own.ask(own.message("kur", wanted("P-256", subject=own.cert.subject)), "/.well-known/cmp/p/updates")
    _, key = unpack(server, own, answer, tmp_path)
    assert answer.type == "kup" and key.public_key() == answer.cert.public_key()
    assert own.confirm(answer).type == "pkiconf"


def certificate_for(usage, alg="P-256"):
    """A chip maker's certificate with this keyUsage alone."""
    def make(server, device, maker):
        names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
                 "encipher_only", "decipher_only")
        ku = x509.KeyUsage(*(n in usage for n in names))
        return kit.make_cert(device.key, kit.name_of("chip"), maker.key, maker.name, extensions=[(ku, True)])
    return make


def test_signer_that_only_signs(server, client):
    """keyUsage decides what its key is for."""
    maker = ChipMaker("Careful")
    server.run("org", "trust", "chips", maker.pem(server.folder / "careful.pem"), "--purpose", "birth")
    for usage, fine in ((("digital_signature",), False), (("digital_signature", "key_agreement"), True),
                        (("digital_signature", "key_encipherment"), False)):
        client.cert = certificate_for(usage)(server, client.device, maker)
        answer = ask(client, wanted())
        assert answer.type == "ip" if fine else answer.fail == {"notAuthorized"} and "keygen-recipient-unfit" in answer.text


@pytest.mark.parametrize("client", ["Ed25519"], indirect=True)
def test_signer_that_can_only_sign(client):
    assert "keygen-recipient-unfit" in ask(client, wanted()).text


@pytest.mark.parametrize("mac", ["pbm", "pbmac1"])
def test_for_a_code(server, client, tmp_path, mac):
    """Encrypted to the code (section 4.1.6.3), by PBKDF2 under a salt that is not the MAC's; another one does not open it."""
    code = server.ask("code", "create", "--udid", client.device.udid, "--for", "cmp")["codes"][0]
    c = client.with_code(code, Mac(mac))
    answer = ask(c, wanted("P-384"))
    how, key = unpack(server, c, answer, tmp_path)
    assert how == "pwri" and key.public_key() == answer.cert.public_key() and client.device.udid in answer.cert.subject.rfc4514_string()
    wrong = ["openssl", "cms", "-inform", "DER", "-decrypt", "-in", tmp_path / "enveloped", "-pwri_password", "7ZQK-0M3D-81RV-ETXW-4N2J-C9PA-60KB"]
    assert subprocess.run(list(map(str, wrong)), capture_output=True, stdin=subprocess.DEVNULL).returncode != 0


def test_ra_verified_of_a_key_that_is_not_there(client):
    """Some clients say so; it says nothing."""
    assert ask(client, seq(cert_req(None, pop="raVerified", template_der=template()))).type == "ip"


WRONG = [
    ("RSA", lambda: seq(cert_req(None, pop="none", template_der=template(seq(seq(oid("1.2.840.113549.1.1.1"), b"\x05\0"), b"\x03\x01\0")))),
     {"badCertTemplate"}),
    ("an unknown kind", lambda: seq(cert_req(None, pop="none", template_der=template(seq(seq(oid("1.2.3")), b"\x03\x01\0")))), {"badCertTemplate"}),
    ("a kind that the profile does not take", lambda: wanted("Ed25519"), {"badCertTemplate"}),
    ("bits that are no key", lambda: seq(cert_req(None, pop="none", template_der=template(seq(seq(oid("1.2.840.10045.2.1")), b"\x03\x02\0\4")))),
     {"badPOP", "badCertTemplate"}),
    ("a proof of possession", lambda: seq(cert_req(None, pop_key=kit.KEYS["P-256"](), template_der=template())), {"badPOP"}),
    ("an unused bit", lambda: seq(cert_req(None, pop="none", template_der=template(seq(seq(oid("1.3.101.112")), b"\x03\x01\1")))),
     {"badPOP", "badCertTemplate"}),
]


def test_what_is_refused(server, client):
    for what, content, fail in WRONG:
        got = ask(client, content(), path="/.well-known/cmp/p/updates")
        assert got.fail <= fail, (what, got.text)
    client.pvno = 2  # EncryptedKey with EnvelopedData came with version 3 (RFC 9810 section 7)
    assert ask(client, wanted()).fail == {"unsupportedVersion"}
    client.pvno = 3
    code = server.ask("code", "create", "--batch", "reel-1", "--for", "cmp")["codes"][0]  # who has a batch's code shows by a key of its own who it is
    got = ask(client.with_code(code, Mac("pbm")), wanted())
    assert got.fail == {"notAuthorized"} and "key-unproven" in got.text
    code = server.ask("code", "create", "--udid", client.device.udid, "--for", "cmp")["codes"][0]
    client.pvno = 2
    assert ask(client.with_code(code, Mac("pbm")), wanted()).fail == {"unsupportedVersion"}
    client.pvno = 3
    server.run("product", "set", "sensor", "--server-keygen", "no")
    got = ask(client, wanted())
    server.run("product", "set", "sensor", "--server-keygen", "yes")
    assert got.fail == {"notAuthorized"} and "server-keygen-off" in got.text
