"""A SCEP client (RFC 8894) that shares no code with the server, and can do each thing wrong that a client can do wrong."""

import base64
import hashlib
import http.client
import os
import warnings
from datetime import datetime, timezone
from urllib.parse import quote

from asn1crypto import cms, core
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import AttributeOID

import kit
from kit import DER

PKCS_REQ, RENEWAL_REQ, CERT_POLL, GET_CERT, GET_CRL = 19, 17, 20, 21, 22
SUCCESS, FAILURE, PENDING = "0", "2", "3"
BAD_ALG, BAD_MESSAGE_CHECK, BAD_REQUEST, BAD_TIME, BAD_CERT_ID = "01234"


# --- DER --------------------------------------------------------------------------------------------------------------------------------


def tlv(tag, *contents):
    body = b"".join(contents)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def oid(text):
    return core.ObjectIdentifier(text).dump()


def printable(text):
    return tlv(0x13, text.encode())


def octets(raw):
    return tlv(0x04, raw)


def alg(text, parameters=b"\x05\x00"):
    return tlv(0x30, oid(text), parameters)


def integer(n):
    return core.Integer(n).dump()


def issuer_and_serial(cert, serial=None):
    return tlv(0x30, cert.issuer.public_bytes(), integer(serial or cert.serial_number))


VERISIGN = "2.16.840.1.113733.1.9."
MESSAGE_TYPE, PKI_STATUS, FAIL_INFO, SENDER_NONCE, RECIPIENT_NONCE, TRANSACTION_ID = (VERISIGN + str(n) for n in range(2, 8))
FAIL_TEXT = "1.3.6.1.5.5.7.24.1"
CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME = (f"1.2.840.113549.1.9.{n}" for n in (3, 4, 5))
DATA, SIGNED_DATA, ENVELOPED_DATA = (f"1.2.840.113549.1.7.{n}" for n in (1, 2, 3))
RSA, RSA_SHA256 = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.11"
DIGESTS = {"sha1": ("1.3.14.3.2.26", hashes.SHA1()), "sha256": ("2.16.840.1.101.3.4.2.1", hashes.SHA256()),
           "sha384": ("2.16.840.1.101.3.4.2.2", hashes.SHA384()), "sha512": ("2.16.840.1.101.3.4.2.3", hashes.SHA512())}
CIPHERS = {"aes128": ("2.16.840.1.101.3.4.1.2", 16), "aes192": ("2.16.840.1.101.3.4.1.22", 24),
           "aes256": ("2.16.840.1.101.3.4.1.42", 32), "3des": ("1.2.840.113549.3.7", 24)}


def utc(when):
    return tlv(0x17, when.astimezone(timezone.utc).strftime("%y%m%d%H%M%SZ").encode())


# --- writing ----------------------------------------------------------------------------------------------------------------------------


def csr(key, subject="unit", challenge=None):
    b = x509.CertificateSigningRequestBuilder().subject_name(subject if isinstance(subject, x509.Name) else kit.name_of(subject))
    if challenge is not None:
        b = b.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    return b.sign(key, hashes.SHA256()).public_bytes(DER)


def envelope(content, ra, cipher="aes256", key_alg=RSA, recipient=None, wrapped=None, padded=None, indefinite=False):
    """A pkcsPKIEnvelope. padded: the plaintext with its padding, in place of content's own; wrapped: in place of the encrypted key."""
    cipher_oid, size = CIPHERS[cipher]
    cek, iv = os.urandom(size), os.urandom(8 if cipher == "3des" else 16)
    pad = len(iv) - len(content) % len(iv)
    plain = padded if padded is not None else content + bytes([pad]) * pad
    if cipher == "3des":
        sealed = os.urandom(len(plain))  # never looked at
    else:
        e = Cipher(algorithms.AES(cek), modes.CBC(iv)).encryptor()
        sealed = e.update(plain) + e.finalize()
    info = tlv(0x30, integer(0), recipient or issuer_and_serial(ra), alg(key_alg),
               octets(wrapped or ra.public_key().encrypt(cek, padding.PKCS1v15())))
    sealed = tlv(0x80, sealed) if not indefinite else b"\xa0\x80" + octets(sealed[:100]) + octets(sealed[100:]) + b"\0\0"
    inner = tlv(0x30, oid(DATA), alg(cipher_oid, octets(iv)), sealed)
    return tlv(0x30, oid(ENVELOPED_DATA), tlv(0xa0, tlv(0x30, integer(0), tlv(0x31, info), inner)))


def message(content, key, cert, message_type=PKCS_REQ, transaction="t-1", nonce=b"N" * 16, digest="sha256", sig_alg=RSA, certs=None,
            signer=None, drop=(), extra=(), signing_time=None, content_type=DATA, message_digest=None, spoil=False, ordered=True,
            indefinite=False):
    """A pkiMessage around an envelope (None: without content)."""
    digest_oid, hash_ = DIGESTS[digest]
    h = hashes.Hash(hash_)
    h.update(content or b"")
    rows = [(CONTENT_TYPE, oid(content_type)), (MESSAGE_DIGEST, octets(message_digest or h.finalize())),
            (MESSAGE_TYPE, printable(str(message_type))), (SENDER_NONCE, octets(nonce)), (TRANSACTION_ID, printable(transaction))]
    rows += [(SIGNING_TIME, utc(signing_time))] if signing_time else []
    attributes = [tlv(0x30, oid(name), tlv(0x31, value)) for name, value in (*rows, *extra) if name not in drop]
    attributes = b"".join(sorted(attributes) if ordered else attributes)
    sign = {"padding": padding.PKCS1v15(), "algorithm": hash_} if not isinstance(key, ec.EllipticCurvePrivateKey) else \
        {"signature_algorithm": ec.ECDSA(hash_)}
    signature = key.sign(tlv(0x31, attributes), **sign)
    if spoil:
        signature = signature[:-1] + bytes([signature[-1] ^ 1])
    info = tlv(0x30, integer(1), signer or issuer_and_serial(cert), alg(digest_oid), tlv(0xa0, attributes), alg(sig_alg), octets(signature))
    whole = b"".join(c.public_bytes(DER) for c in ([cert] if certs is None else certs))
    if indefinite:  # as BouncyCastle and Apple write it
        half = len(content) // 2
        held = b"\x30\x80" + oid(DATA) + b"\xa0\x80\x24\x80" + octets(content[:half]) + octets(content[half:]) + b"\0\0" * 3
        return (b"\x30\x80" + oid(SIGNED_DATA) + b"\xa0\x80\x30\x80" + integer(1) + tlv(0x31, alg(digest_oid)) + held +
                b"\xa0\x80" + whole + b"\0\0" + tlv(0x31, info) + b"\0\0" * 3)
    held = tlv(0x30, oid(DATA), *([tlv(0xa0, octets(content))] if content is not None else []))
    return tlv(0x30, oid(SIGNED_DATA), tlv(0xa0, tlv(0x30, integer(1), tlv(0x31, alg(digest_oid)), held, tlv(0xa0, whole), tlv(0x31, info))))


# --- reading ----------------------------------------------------------------------------------------------------------------------------


class Reply:
    """A CertRep, its signature checked against the RA."""

    def __init__(self, raw, ra):
        signed = cms.ContentInfo.load(raw, strict=True)["content"]
        (info,) = signed["signer_infos"]
        assert info["signature_algorithm"]["algorithm"].native == "rsassa_pkcs1v15"
        content = signed["encap_content_info"]["content"].native
        attributes = {a["type"].dotted: a["values"][0] for a in info["signed_attrs"]}
        encoded = [a.dump() for a in info["signed_attrs"]]
        assert encoded == sorted(encoded), "signed attributes must be in the order of DER"
        ra.public_key().verify(info["signature"].native, tlv(0x31, *encoded), padding.PKCS1v15(), hashes.SHA256())
        digest = hashlib.sha256(content or b"").digest()
        assert attributes[MESSAGE_DIGEST].native == digest

        def text(name):
            return attributes[name].native if name in attributes else None

        assert text(MESSAGE_TYPE) == "3"
        self.content, self.certs = content, [x509.load_der_x509_certificate(c.chosen.dump()) for c in signed["certificates"]]
        assert self.certs == [ra]
        self.status, self.fail, self.fail_text = text(PKI_STATUS), text(FAIL_INFO), text(FAIL_TEXT)
        self.transaction, self.sender_nonce, self.recipient_nonce = text(TRANSACTION_ID), text(SENDER_NONCE), text(RECIPIENT_NONCE)
        assert (self.status == SUCCESS) == (content is not None), "an envelope is for success alone"
        assert len(self.sender_nonce) == 16

    def __repr__(self):
        return f"status {self.status} failInfo {self.fail} {self.fail_text!r}"

    def open(self, key, cert):
        """What is in the envelope: certs-only SignedData."""
        content = cms.ContentInfo.load(self.content, strict=True)["content"]
        (info,) = content["recipient_infos"]
        assert info.chosen["rid"].chosen["serial_number"].native == cert.serial_number
        cek = key.decrypt(info.chosen["encrypted_key"].native, padding.PKCS1v15())
        sealed = content["encrypted_content_info"]
        parameters = sealed["content_encryption_algorithm"]
        d = Cipher(algorithms.AES(cek), modes.CBC(parameters["parameters"].native)).decryptor()
        plain = d.update(sealed["encrypted_content"].native) + d.finalize()
        self.cipher = parameters["algorithm"].native
        return plain[:-plain[-1]]

    def cert(self, key, cert):
        (one,) = pkcs7.load_der_pkcs7_certificates(self.open(key, cert))
        return one

    def crl(self, key, cert):
        (one,) = cms.ContentInfo.load(self.open(key, cert), strict=True)["content"]["crls"]
        return x509.load_der_x509_crl(one.chosen.dump())


# --- talking ----------------------------------------------------------------------------------------------------------------------------


class Scep:
    """One server as SCEP clients reach it: over plain HTTP."""

    def __init__(self, port, path="/scep"):
        self.port, self.path = port, path

    def at(self, path):
        return Scep(self.port, path)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{self.path}"

    def ask(self, method, target, body=None, headers=None):
        to = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            to.request(method, target, body, headers or {})
            got = to.getresponse()
            return kit.Answer(got.status, got.headers, got.read())
        finally:
            to.close()

    def get(self, operation, argument=None):
        return self.ask("GET", f"{self.path}?operation={operation}" + ("" if argument is None else f"&message={argument}"))

    def post(self, body):
        return self.ask("POST", f"{self.path}?operation=PKIOperation", body, {"Content-Type": "application/x-pki-message"})

    def chain(self):
        """RA, issuing CA ... root."""
        answer = self.get("GetCACert")
        assert answer.status == 200 and answer.headers["Content-Type"] == "application/x-x509-ca-ra-cert", answer
        with warnings.catch_warnings():  # the RA comes first, whatever the order of DER would be
            warnings.simplefilter("ignore")
            left = pkcs7.load_der_pkcs7_certificates(answer.body)
        chain = [c for c in left if not any(o.issuer == c.subject for o in left)]
        while chain[-1].issuer != chain[-1].subject:
            chain.append(next(c for c in left if c.subject == chain[-1].issuer))
        assert len(chain) == len(left)
        return chain

    def send(self, raw, ra=None, over="POST"):
        """One pkiMessage; its CertRep."""
        answer = self.post(raw) if over == "POST" else self.get("PKIOperation", quote(base64.b64encode(raw), safe=""))
        assert answer.status == 200 and answer.headers["Content-Type"] == "application/x-pki-message", answer
        reply = Reply(answer.body, ra or self.chain()[0])
        assert (answer.code is not None) == (reply.status == FAILURE), "the code of a refusal is in the header too"
        return reply


def now():
    return datetime.now(timezone.utc)
