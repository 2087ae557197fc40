"""A pledge and a registrar for BRSKI (RFC 8995) that share no code with the server: CMS by asn1crypto, signatures by cryptography, the voucher's
own check by openssl."""

import base64
import hashlib
import http.client
import json
import os
import ssl
import subprocess
from datetime import datetime, timedelta, timezone

from asn1crypto import algos, cms, core
from asn1crypto import x509 as a1x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier
from jwcrypto import jwk, jws

import kit
from kit import DER, PEM

TYPE = "application/voucher-cms+json"
JWS_TYPE = "application/voucher-jws+json"
JSON_VOUCHER = "1.2.840.113549.1.9.16.1.40"
MASA_URL = ObjectIdentifier("1.3.6.1.5.5.7.1.32")
CMC_RA = ObjectIdentifier("1.3.6.1.5.5.7.3.28")
BRSKI = "/.well-known/brski/"


def b64(raw):
    return base64.b64encode(raw).decode()


def now(seconds=0):
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def der(cert):
    return cert.public_bytes(DER)


def idevid_name(serial):
    return x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, serial), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Chips")])


def idevid(maker, device, serial, url=None):
    """An IDevID by IEEE 802.1AR, from a chip maker outside."""
    extensions = [(x509.AuthorityKeyIdentifier.from_issuer_public_key(maker.key.public_key()), False)]
    if url is not None:
        extensions.append((x509.UnrecognizedExtension(MASA_URL, b"\x16" + bytes([len(url)]) + url.encode()), False))
    return kit.make_cert(device.key, idevid_name(serial), maker.key, maker.name, extensions=extensions)


def sign(content, key, certs, content_type=JSON_VOUCHER, spoil=lambda signed: None, attributes=True, digest="sha256"):
    """CMS SignedData; the first certificate is the signer's. spoil: changes the SignedData before it is encoded."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    signer = a1x509.Certificate.load(der(certs[0]))
    info = cms.SignerInfo({
        "version": "v1",
        "sid": cms.SignerIdentifier({"issuer_and_serial_number": cms.IssuerAndSerialNumber(
            {"issuer": signer.issuer, "serial_number": signer.serial_number})}),
        "digest_algorithm": algos.DigestAlgorithm({"algorithm": digest}),
        "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
    })
    tbs = raw
    if attributes:
        info["signed_attrs"] = cms.CMSAttributes([
            cms.CMSAttribute({"type": "content_type", "values": [content_type]}),
            cms.CMSAttribute({"type": "message_digest", "values": [hashlib.new(digest, raw).digest()]}),
        ])
        tbs = info["signed_attrs"].untag().dump(force=True)
    info["signature"] = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    data = cms.SignedData({
        "version": "v3",
        "digest_algorithms": [algos.DigestAlgorithm({"algorithm": digest})],
        "encap_content_info": {"content_type": content_type, "content": core.ParsableOctetString(raw)},
        "certificates": [cms.CertificateChoices({"certificate": a1x509.Certificate.load(der(c))}) for c in certs],
        "signer_infos": [info],
    })
    spoil(data)
    return cms.ContentInfo({"content_type": "signed_data", "content": data}).dump(force=True)


class Registrar:
    """A network outside of Birthmark: a CA, a registrar's certificate, and the certificate of its TLS server."""

    def __init__(self, name="Net", eku=(CMC_RA,), days=(-1, 365)):
        self.key, self.name = kit.KEYS["P-256"](), kit.name_of(f"{name} CA")
        self.ca = kit.make_cert(self.key, self.name, self.key, self.name, ca=True, days=(-10, 3650))
        self.ra_key = kit.KEYS["P-256"]()
        usage = [(x509.ExtendedKeyUsage(list(eku)), False)] if eku else []
        self.ra = kit.make_cert(self.ra_key, kit.name_of(f"{name} registrar"), self.key, self.name, extensions=usage, days=days)
        self.tls = kit.make_cert(kit.KEYS["P-256"](), kit.name_of(f"{name} server"), self.key, self.name)

    def pem(self, path):
        path.write_bytes(self.ca.public_bytes(PEM))
        return path

    def request(self, serial, nonce=None, prior=None, drop=(), certs=None, key=None, by=sign, **more):
        leaves = {"created-on": now(), "serial-number": serial, **more}
        if nonce is not None:
            leaves["nonce"] = nonce
        if prior is not None:
            leaves["prior-signed-voucher-request"] = b64(prior)
        for name in drop:
            del leaves[name]
        return by({"ietf-voucher-request:voucher": leaves}, key or self.ra_key, certs or [self.ra, self.ca, self.tls])


class Pledge:
    """A device that trusts nothing but its maker's anchor, on one TLS connection."""

    def __init__(self, server, device, cert, serial, anchor, folder, chain=()):
        self.server, self.device, self.cert, self.serial, self.anchor, self.folder = server, device, cert, serial, anchor, folder
        self.chain = chain
        self.nonce = b64(os.urandom(16))
        self.http = None

    def connect(self, cert=None, key=None, anchors=None):
        """Provisionally: whoever answers is believed later, or not (RFC 8995 section 5.1)."""
        context = ssl.create_default_context(cafile=anchors) if anchors else ssl._create_unverified_context()
        context.load_cert_chain(*map(str, self.device.files(self.folder, cert or self.cert, key)))
        self.http = http.client.HTTPSConnection("127.0.0.1", self.server.port, context=context, timeout=60)
        self.http.connect()
        self.seen = self.http.sock.getpeercert(True)
        return self

    def leaves(self, **more):
        return {"assertion": "proximity", "created-on": now(), "nonce": self.nonce, "serial-number": self.serial,
                "proximity-registrar-cert": b64(self.seen), **more}

    def request(self, leaves=None, key=None, cert=None, **more):
        return sign({"ietf-voucher-request:voucher": leaves or self.leaves()}, key or self.device.key, [cert or self.cert, *self.chain], **more)

    def request_jws(self, leaves=None, key=None, cert=None, **more):
        return sign_jws({"ietf-voucher-request:voucher": leaves or self.leaves()}, key or self.device.key, [cert or self.cert, *self.chain], **more)

    def post(self, path, body, headers):
        self.http.request("POST", path, body, headers)
        got = self.http.getresponse()
        return kit.Answer(got.status, got.headers, got.read())

    def ask(self, body=None, path=BRSKI + "requestvoucher", **headers):
        return self.post(path, self.request() if body is None else body, {"Content-Type": TYPE, "Accept": TYPE, **headers})

    def tell(self, what, body):
        return self.post(BRSKI + what, json.dumps(body), {"Content-Type": "application/json"})

    def check(self, voucher):
        """As section 5.6.1 and 5.6.2 have it: signature under the maker's anchor, our number, our nonce, and the pinned certificate above the
        server that we are connected to. Answers the leaves."""
        leaves = (open_jws if voucher.startswith(b"{") else open_voucher)(voucher, self.anchor, self.folder)
        assert leaves["serial-number"] == self.serial and leaves.get("nonce") == self.nonce
        issuer = self.cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert base64.b64decode(leaves["idevid-issuer"]) == issuer  # RFC 8366 section 5.3: a pledge MUST compare it
        pinned, seen, between = self.folder / "pinned", self.folder / "seen", self.folder / "between"
        pinned.write_bytes(x509.load_der_x509_certificate(base64.b64decode(leaves["pinned-domain-cert"])).public_bytes(PEM))
        seen.write_bytes(x509.load_der_x509_certificate(self.seen).public_bytes(PEM))
        self.server.run("ca", "export", "issuing", "--out", between, "--quiet")  # Python's ssl does not hand out the chain it was sent
        run("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-partial_chain", "-CAfile", pinned, "-untrusted", between, seen)
        return leaves


def run(*words, want=0, **more):
    done = subprocess.run([*map(str, words)], capture_output=True, timeout=60, stdin=subprocess.DEVNULL, **more)
    assert done.returncode == want, f"{words}: {done.returncode}\n{done.stdout!r}\n{done.stderr!r}"
    return done


def open_voucher(voucher, anchor, folder):
    """The leaves of a voucher, after openssl has checked it and asn1crypto has read its frame."""
    path = folder / "voucher.cms"
    path.write_bytes(voucher)
    text = run("openssl", "cms", "-verify", "-inform", "DER", "-in", path, "-CAfile", anchor, "-partial_chain", "-purpose", "any",
               "-binary").stdout
    data = cms.ContentInfo.load(voucher, strict=True)["content"]
    assert data["encap_content_info"]["content_type"].dotted == JSON_VOUCHER  # RFC 8366 section 5.4
    assert len(data["signer_infos"]) == 1 and data["version"].native == "v3"
    body = json.loads(text)
    assert list(body) == ["ietf-voucher:voucher"]
    return body["ietf-voucher:voucher"]


# --- the same as JWS: draft-ietf-anima-jws-voucher, by jwcrypto ---------------------------------------------------------------------------


def sign_jws(content, key, certs, spoil=lambda whole: None, drop=(), **header):
    """General JSON serialization with one signature. spoil: changes the object before it is written out."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    members = {"alg": "ES256", "typ": "voucher-jws+json", "x5c": [b64(der(c)) for c in certs], **header}
    token = jws.JWS(raw)
    token.allowed_algs = ["ES256", "HS256"]
    token.add_signature(jwk.JWK.from_pem(kit.key_pem(key)), None, json.dumps({k: v for k, v in members.items() if k not in drop}))
    flat = json.loads(token.serialize())
    whole = {"payload": flat["payload"], "signatures": [{"protected": flat["protected"], "signature": flat["signature"]}]}
    spoil(whole)
    return json.dumps(whole).encode()


def open_jws(voucher, anchor, folder):
    """The leaves, after jwcrypto has checked the signature by the first certificate, and openssl that it leads to the maker's anchor."""
    whole = json.loads(voucher)
    assert set(whole) == {"payload", "signatures"} and [set(s) for s in whole["signatures"]] == [{"protected", "signature"}]
    header = json.loads(kit.unb64u(whole["signatures"][0]["protected"]))
    assert header["typ"] == "voucher-jws+json"
    certs = [x509.load_der_x509_certificate(base64.b64decode(c)) for c in header["x5c"]]
    token = jws.JWS()
    token.deserialize(voucher.decode(), jwk.JWK.from_pem(certs[0].public_bytes(PEM)))
    (folder / "signer.pem").write_bytes(certs[0].public_bytes(PEM))
    run("openssl", "verify", "-x509_strict", "-partial_chain", "-CAfile", anchor, folder / "signer.pem")
    body = json.loads(token.payload)
    assert list(body) == ["ietf-voucher:voucher"]
    return body["ietf-voucher:voucher"]
