"""A CMP client (RFC 9810 in the profile of RFC 9483) that shares no code with the server. It writes DER piece by piece, so that a test can
make any one piece wrong, and reads answers with the ASN.1 modules that others made from the RFCs."""

import hashlib
import hmac
import http.client
import os
import time
from datetime import datetime, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from pyasn1.codec.der.decoder import decode
from pyasn1.codec.der.encoder import encode
from pyasn1_alt_modules import rfc9810

import kit
from kit import DER, Answer, hash_for, name_of, spki_of

# --- DER ----------------------------------------------------------------------------------------------------------------------------------


def tlv(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = (len(body).bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + len(body).to_bytes(size, "big") + body


def contents(der):
    return der[2 + (der[1] & 0x7f if der[1] & 0x80 else 0):]


def seq(*parts):
    return tlv(0x30, *parts)


def ctx(n, *parts):
    return tlv(0xa0 | n, *parts)


def integer(n):
    return tlv(2, n.to_bytes(n.bit_length() // 8 + 1, "big", signed=True))


def octets(raw):
    return tlv(4, raw)


def bits(raw):
    return tlv(3, b"\0" + raw)


def utf8(text):
    return tlv(0x0c, text.encode())


def generalized(at):
    return tlv(0x18, datetime.fromtimestamp(at, timezone.utc).strftime("%Y%m%d%H%M%SZ").encode())


def oid(dotted):
    arcs = [int(a) for a in dotted.split(".")]
    out = bytearray()
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        part = [arc & 0x7f]
        while arc > 0x7f:
            arc >>= 7
            part.append(arc & 0x7f | 0x80)
        out += bytes(reversed(part))
    return tlv(6, bytes(out))


NULL = b"\x05\x00"
IMPLICIT_CONFIRM = seq(oid("1.3.6.1.5.5.7.4.13"), NULL)
BODIES = {"ir": 0, "ip": 1, "cr": 2, "cp": 3, "p10cr": 4, "kur": 7, "kup": 8, "rr": 11, "rp": 12, "pkiconf": 19, "nested": 20,
          "genm": 21, "genp": 22, "error": 23, "certConf": 24, "pollReq": 25, "pollRep": 26}


def name(text):
    return (text if isinstance(text, x509.Name) else name_of(text)).public_bytes()


# --- signatures ------------------------------------------------------------------------------------------------------------------------------


def sig_alg(key):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return seq(oid("1.3.101.112"))
    if isinstance(key, rsa.RSAPrivateKey):
        return seq(oid("1.2.840.113549.1.1.11"), NULL)
    return seq(oid("1.2.840.10045.4.3.3" if key.key_size == 384 else "1.2.840.10045.4.3.2"))


def sign(key, data):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(data, ec.ECDSA(hash_for(key)))


# --- MACs ------------------------------------------------------------------------------------------------------------------------------------


class Mac:
    """PasswordBasedMac (RFC 9810 section 5.1.3.1) or PBMAC1 (RFC 8018 section 7.1)."""

    OWF = {"sha1": "1.3.14.3.2.26", "sha256": "2.16.840.1.101.3.4.2.1", "sha512": "2.16.840.1.101.3.4.2.3"}
    HMAC = {"sha1": "1.2.840.113549.2.7", "sha256": "1.2.840.113549.2.9", "sha512": "1.2.840.113549.2.11"}

    def __init__(self, kind, hash="sha256", mac="sha256", count=500, salt=None, key_len=None, hmac_oid=None):
        self.kind, self.hash, self.mac, self.count, self.key_len = kind, hash, mac, count, key_len
        self.salt = os.urandom(16) if salt is None else salt
        self.hmac_oid = hmac_oid or self.HMAC[mac]

    def alg(self):
        mac = seq(oid(self.hmac_oid), NULL)
        if self.kind == "pbm":
            return seq(oid("1.2.840.113533.7.66.13"), seq(octets(self.salt), seq(oid(self.OWF[self.hash])), integer(self.count), mac))
        kdf = seq(octets(self.salt), integer(self.count), integer(self.key_len) if self.key_len else b"",
                  seq(oid(self.HMAC[self.hash]), NULL) if self.hash != "sha1" else b"")
        return seq(oid("1.2.840.113549.1.5.14"), seq(seq(oid("1.2.840.113549.1.5.12"), kdf), mac))

    def make(self, secret, data):
        if self.kind == "pbm":
            key = secret + self.salt
            for _ in range(self.count):
                key = hashlib.new(self.hash, key).digest()
        else:
            key = hashlib.pbkdf2_hmac(self.hash, secret, self.salt, self.count, self.key_len or hashlib.new(self.mac).digest_size)
        return hmac.new(key, data, self.mac).digest()

    def answered(self, alg, secret, data):
        """The MAC of an answer whose algorithm is `alg`: it must be this one but for the salt."""
        salt = contents(alg)
        at = salt.index(b"\x04\x10") + 2
        theirs = Mac(self.kind, self.hash, self.mac, self.count, salt[at:at + 16], self.key_len)
        assert theirs.salt != self.salt
        return theirs.make(secret, data)


# --- bodies ------------------------------------------------------------------------------------------------------------------------------------


def template(spki=None, subject="anything", version=None, serial=None, extensions=None, issuer=None):
    parts = []
    if version is not None:
        parts.append(tlv(0x80, version))
    if serial is not None:
        parts.append(tlv(0x81, serial))
    if issuer is not None:
        parts.append(ctx(3, name(issuer)))
    if subject is not None:
        parts.append(ctx(5, name(subject)))
    if spki is not None:
        parts.append(b"\xa6" + spki[1:])
    if extensions is not None:
        parts.append(ctx(9, extensions))
    return seq(*parts)


def old_cert_id(cert, serial=None, issuer=None):
    return seq(oid("1.3.6.1.5.5.7.5.1.5"),
               seq(ctx(4, name(issuer) if issuer else cert.issuer.public_bytes()), integer(serial or cert.serial_number)))


def cert_req(key, req_id=0, controls=(), pop="signature", pop_key=None, pop_input=b"", template_der=None, **more):
    """CertReqMsg, RFC 4211 section 3."""
    request = seq(integer(req_id), template_der or template(spki_of(key), **more), *([seq(*controls)] if controls else []))
    popo = {
        "signature": lambda: tlv(0xa1, pop_input, sig_alg(pop_key or key), bits(sign(pop_key or key, request))),
        "raVerified": lambda: b"\x80\x00",
        "keyEncipherment": lambda: ctx(2, b"\x81\x01\x00"),
        "none": lambda: b"",
    }[pop]()
    return seq(request, popo)


def rev_details(cert, reasons=(), **given):
    """RevDetails, RFC 9810 section 5.3.9."""
    what = {"subject": None, "issuer": cert.issuer, "serial": contents(integer(cert.serial_number)), **given}
    entry = seq(*(seq(oid("2.5.29.21"), octets(tlv(10, bytes([r])))) for r in reasons)) if reasons else b""
    return seq(template(**what), entry)


def cert_hash(cert):
    algorithm = cert.signature_hash_algorithm or hashes.SHA512()
    return hashlib.new(algorithm.name, cert.public_bytes(DER)).digest()


def cert_status(digest, req_id=0, info=b"", hash_alg=b""):
    return seq(octets(digest), integer(req_id), info, hash_alg)


# --- answers -----------------------------------------------------------------------------------------------------------------------------------


class Message:
    """A PKIMessage of the server, its signature checked against the trust anchor."""

    def __init__(self, der, anchor=None):
        self.whole, rest = decode(der, asn1Spec=rfc9810.PKIMessage())
        assert not rest and encode(self.whole) == der
        self.header, self.body = self.whole["header"], self.whole["body"]
        self.type = self.body.getName()
        self.content = self.body.getComponent()
        self.tid, self.nonce, self.recip_nonce = (bytes(self.header[f]) if self.header[f].isValue else b""
                                                  for f in ("transactionID", "senderNonce", "recipNonce"))
        self.pvno = int(self.header["pvno"])
        self.certs = [x509.load_der_x509_certificate(encode(c)) for c in self.whole["extraCerts"]]
        if anchor is not None:
            self.check_signature(anchor)

    def check_mac(self, mac, secret):
        made = mac.answered(encode(self.header["protectionAlg"]), secret, seq(encode(self.header), encode(self.body)))
        assert self.whole["protection"].asOctets() == made

    def check_signature(self, anchor):
        signer = self.certs[0]
        signer.public_key().verify(self.whole["protection"].asOctets(), seq(encode(self.header), encode(self.body)),
                                   ec.ECDSA(hashes.SHA256()))
        assert bytes(self.header["senderKID"]) == signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        assert encode(self.header["sender"]) == ctx(4, signer.subject.public_bytes())
        chain = [*self.certs, anchor]
        for cert, issuer in zip(chain, chain[1:]):
            cert.verify_directly_issued_by(issuer)

    @property
    def infos(self):
        return {str(i["infoType"]) for i in self.header["generalInfo"]} if self.header["generalInfo"].isValue else set()

    @property
    def rejection(self):
        """PKIStatusInfo of a refusal: an error message, or what the request itself is answered with (RFC 9483 section 3.6.1)."""
        if self.type == "error":
            return self.content["pKIStatusInfo"]
        said = self.content["status"][0] if self.type == "rp" else self.content["response"][0]["status"]
        assert int(said["status"]) == 2, self.type
        return said

    @property
    def fail(self):
        """The names of what is set in failInfo."""
        info = self.rejection["failInfo"]
        names = {int(info.namedValues[n]): n for n in info.namedValues}
        return {names[i] for i, bit in enumerate(info) if bit}

    @property
    def text(self):
        return str(self.rejection["statusString"][0])

    @property
    def waits(self):
        """The seconds to wait, of a pollRep; True for an ip, cp or kup with status waiting."""
        if self.type == "pollRep":
            return int(self.content[0]["checkAfter"])
        response = self.content["response"][0]
        return int(response["status"]["status"]) == 3 and not response["certifiedKeyPair"].isValue

    @property
    def cert(self):
        response = self.content["response"][0]
        assert int(response["status"]["status"]) in (0, 1), self.text
        return x509.load_der_x509_certificate(contents(encode(response["certifiedKeyPair"]["certOrEncCert"])))


class Client:
    """One device, or who says that it is one."""

    def __init__(self, server, port, key, cert, chain=(), pvno=2, path="/.well-known/cmp"):
        self.server, self.port, self.key, self.cert, self.chain, self.pvno, self.path = server, port, key, cert, chain, pvno, path
        self.mac = None
        self.anchor = x509.load_pem_x509_certificate(server.anchors().read_bytes())

    def kid(self):
        try:
            return self.cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        except x509.ExtensionNotFound:
            return None

    def header(self, **given):
        """Each field may be given: as DER of the whole field, or None to leave it out."""
        kid = self.kid()
        if self.mac is not None:
            given = {"alg": ctx(1, self.mac.alg()), "kid": ctx(2, octets(self.reference)),
                     "sender": ctx(4, name(self.reference.decode())), **given}
        fields = {
            "pvno": integer(self.pvno),
            "sender": ctx(4, self.cert.subject.public_bytes()),
            "recipient": ctx(4, name("whoever")),
            "time": ctx(0, generalized(time.time())),
            "alg": ctx(1, sig_alg(self.key)),
            "kid": ctx(2, octets(kid)) if kid else None,
            "tid_field": ctx(4, octets(os.urandom(16))),
            "nonce": ctx(5, octets(os.urandom(16))),
            "recip": None,
            "info": None,
        }
        assert set(given) <= set(fields), given
        return seq(*(f for f in {**fields, **given}.values() if f is not None))

    def message(self, body, content, tid=None, key=None, protection=None, certs=None, spoil=None, **header):
        """protection, certs: DER in place of what belongs there."""
        if tid is not None:
            header["tid_field"] = ctx(4, octets(tid))
        head, inner = self.header(**header), ctx(BODIES[body], content)
        if protection is None:
            data = seq(head, inner)
            signature = sign(key or self.key, data) if self.mac is None else self.mac.make(self.secret, data)
            protection = ctx(0, bits(spoil(signature) if spoil else signature))
        if certs is None and self.mac is not None:
            certs = b""
        if certs is None:
            certs = ctx(1, seq(*(c.public_bytes(DER) for c in (self.cert, *self.chain))))
        return seq(head, inner, protection, certs)

    def post(self, der, path=None, content_type="application/pkixcmp"):
        to = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            to.request("POST", path or self.path, der, {"Content-Type": content_type})
            got = to.getresponse()
            return Answer(got.status, got.headers, got.read())
        finally:
            to.close()

    def ask(self, der, path=None):
        """An answer that is a message: its signature and nonce are checked."""
        got = self.post(der, path)
        assert got.status == 200 and got.headers["Content-Type"] == "application/pkixcmp", got
        answer = Message(got.body)
        if self.mac is None or answer.certs[0].subject.rfc4514_string().startswith("CN=issuing,OU=CMP"):
            answer.check_signature(self.anchor)  # a wrong MAC cannot be answered with one
        else:
            answer.check_mac(self.mac, self.secret)
        return answer

    def with_code(self, code, mac):
        """Who has a code in place of a certificate."""
        c = Client(self.server, self.port, self.key, self.cert, (), self.pvno, self.path)
        c.mac, c.secret, c.reference = mac, code["code"].encode(), str(code["number"]).encode()
        return c

    def request(self, body="ir", key=None, tid=None, **header):
        """One request for a certificate, as it should be; returns the answer and the new key."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = self.cert.subject if body == "kur" else "anything"
        return self.ask(self.message(body, seq(cert_req(key, subject=subject)), tid=tid, **header)), key

    def confirm(self, answer, status=None, content=None, **header):
        header = {"recip": ctx(6, octets(answer.nonce)), **header}
        content = seq(status or cert_status(cert_hash(answer.cert))) if content is None else content
        return self.ask(self.message("certConf", content, tid=answer.tid, **header))

    def poll_message(self, answer, content=None, req_id=0, **header):
        header = {"recip": ctx(6, octets(answer.nonce)), "tid_field": ctx(4, octets(answer.tid)), **header}
        return self.message("pollReq", seq(seq(integer(req_id))) if content is None else content, **header)

    def poll(self, answer, **more):
        """The next question after one that was answered with `answer`."""
        return self.ask(self.poll_message(answer, **more))

    def sender_of(self, cert, key):
        """The same device with another certificate."""
        return Client(self.server, self.port, key, cert, (), self.pvno, self.path)


# --- registration authorities ----------------------------------------------------------------------------------------------------------------

CMC_RA = (x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")]), False)


class Authority:
    """A network's CA, and registration authorities under it."""

    def __init__(self, server, org, name):
        self.server, self.key, self.name = server, kit.KEYS["P-256"](), name_of(name)
        self.cert = kit.make_cert(self.key, self.name, self.key, self.name, ca=True)
        path = server.folder / f"{name}.pem"
        path.write_bytes(self.cert.public_bytes(kit.serialization.Encoding.PEM))
        if org:
            server.run("org", "trust", org, path, "--purpose", "ra")

    def member(self, extensions=(CMC_RA,), days=(-1, 365)):
        key = kit.KEYS["P-256"]()
        cert = kit.make_cert(key, name_of("ra"), self.key, self.name, days=days, extensions=extensions)
        return Client(self.server, self.server.http, key, cert, (self.cert,), 2)
