"""An ACME client that does what it is told, right or wrong, and the attestations of devices. It shares no code with Birthmark."""

import base64
import hashlib
import hmac
import http.client
import json

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

import kit
from kit import KEYS, b64u, sign_raw, tls_context, unb64u

COSE = {"P-256": -7, "P-384": -35, "P-521": -36, "Ed25519": -8, "RSA-2048": -257}
ERROR = "urn:ietf:params:acme:error:"


def dumps(o):
    return json.dumps(o, separators=(",", ":"))


def number(n, size=None):
    return b64u(n.to_bytes(size or (n.bit_length() + 7) // 8, "big"))


def jwk_of(key):
    pub = key.public_key()
    if isinstance(pub, ec.EllipticCurvePublicKey):
        n, size = pub.public_numbers(), (pub.key_size + 7) // 8
        return {"crv": f"P-{pub.key_size}", "kty": "EC", "x": number(n.x, size), "y": number(n.y, size)}
    if isinstance(pub, ed25519.Ed25519PublicKey):
        raw = pub.public_bytes(kit.serialization.Encoding.Raw, kit.serialization.PublicFormat.Raw)
        return {"crv": "Ed25519", "kty": "OKP", "x": b64u(raw)}
    n = pub.public_numbers()
    return {"e": number(n.e), "kty": "RSA", "n": number(n.n)}


def alg_of(key):
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {256: "ES256", 384: "ES384", 521: "ES512"}[key.key_size]
    return "EdDSA" if isinstance(key, ed25519.Ed25519PrivateKey) else "RS256"


def thumbprint(key):
    """RFC 7638: the members above stand in their order already."""
    return b64u(hashlib.sha256(dumps(jwk_of(key)).encode()).digest())


def sign(key, data):
    """As kit.sign_raw(), with the hash of the curve."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size == 521:
        r, s = kit.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA512())))
        return r.to_bytes(66, "big") + s.to_bytes(66, "big")
    return sign_raw(key, data)


def jws(key, header, payload, mac=None):
    """Flattened JSON. payload: an object, None for POST-as-GET, or bytes as they are. mac: HS256 with this key in place of a signature."""
    raw = b"" if payload is None else payload if isinstance(payload, bytes) else dumps(payload).encode()
    head = b64u(header if isinstance(header, bytes) else dumps(header).encode())
    signed = f"{head}.{b64u(raw)}".encode()
    signature = hmac.digest(mac, signed, "sha256") if mac is not None else sign(key, signed)
    return {"protected": head, "payload": b64u(raw), "signature": b64u(signature)}


class Acme:
    """One account key, one connection."""

    def __init__(self, server, key=None, label=""):
        self.server, self.key = server, key or KEYS["P-256"]()
        self.context = tls_context(server.anchors())
        self.kid = self.nonce = None
        self.connection = None
        self.directory = json.loads(self.http("GET", f"/acme/{label + '/' if label else ''}directory").body)

    # --- transport ---
    def http(self, method, path, body=None, headers=None):
        if self.connection is None:
            self.connection = http.client.HTTPSConnection("127.0.0.1", self.server.port, context=self.context, timeout=60)
        try:
            self.connection.request(method, path, body, headers or {})
            got = self.connection.getresponse()
            answer = kit.Answer(got.status, got.headers, got.read())
        except (http.client.HTTPException, OSError):
            self.connection = None
            raise
        self.nonce = answer.headers.get("Replay-Nonce") or self.nonce
        return answer

    def path(self, url):
        base = f"https://127.0.0.1:{self.server.port}"
        assert url.startswith(base), url
        return url[len(base):]

    def fresh(self):
        if self.nonce is None:
            self.http("HEAD", "/acme/new-nonce")
        nonce, self.nonce = self.nonce, None
        return nonce

    def header(self, url, **over):
        """A protected header; members given as None are left out."""
        who = {"kid": self.kid} if self.kid else {"jwk": jwk_of(self.key)}
        head = {"alg": alg_of(self.key), "nonce": None, "url": url, **who, **over}
        if "nonce" not in over:
            head["nonce"] = self.fresh()
        return {k: v for k, v in head.items() if v is not None}

    def send(self, url, body, type="application/jose+json"):
        raw = body if isinstance(body, (bytes, str)) else dumps(body)
        answer = self.http("POST", self.path(url), raw, {"Content-Type": type})
        answer.json = json.loads(answer.body) if answer.body[:1] == b"{" else None
        return answer

    def post(self, to, payload=None, key=None, **over):
        """over: members of the protected header in place of the right ones."""
        return self.send(to, jws(key or self.key, self.header(**{"url": to, **over}), payload))

    def ok(self, to, payload=None, want=200, **more):
        answer = self.post(to, payload, **more)
        assert answer.status == want, answer
        assert answer.headers.get("Replay-Nonce"), "an answer without a fresh nonce"
        return answer

    # --- steps ---
    def binding(self, eab, key=None, url=None, **over):
        """externalAccountBinding of a key made by `birthmark eab create`."""
        head = {"alg": "HS256", "kid": eab["kid"], "url": url or self.directory["newAccount"], **over}
        return jws(None, {k: v for k, v in head.items() if v is not None}, jwk_of(key or self.key), mac=unb64u(eab["hmac_key"]))

    def register(self, eab, want=201, **more):
        payload = {"termsOfServiceAgreed": True, "externalAccountBinding": self.binding(eab), **more}
        answer = self.ok(self.directory["newAccount"], payload, want=want)
        self.kid = answer.headers["Location"]
        return answer

    def order(self, *identifiers, **more):
        """identifiers: (type, value). Answers the order, with its address as "url"."""
        payload = {"identifiers": [{"type": t, "value": v} for t, v in identifiers], **more}
        answer = self.ok(self.directory["newOrder"], payload, want=201)
        return {**answer.json, "url": answer.headers["Location"]}

    def order_device(self, device, **more):
        return self.order(("permanent-identifier", device.udid), **more)

    def challenge(self, order, i=0, kind="device-attest-01"):
        authz = self.ok(order["authorizations"][i]).json
        return next(c for c in authz["challenges"] if c["type"] == kind)

    def authorization(self, token):
        return f"{token}.{thumbprint(self.key)}".encode()

    def attest(self, order, device, make=None, i=0):
        """Answers device-attest-01; the answer is the caller's to look at."""
        challenge = self.challenge(order, i)
        obj = (make or statement)(device, self.authorization(challenge["token"]))
        return self.post(challenge["url"], {"attObj": b64u(obj)})

    def finalize(self, order, csr):
        return self.post(order["finalize"], {"csr": b64u(csr)})

    def enrol(self, device, key=None, make=None, **more):
        """All of it; the certificate and the order."""
        key = key or KEYS["P-256"]()
        order = self.order_device(device, **more)
        assert (answer := self.attest(order, device, make)).status == 200, answer
        answer = self.finalize(order, kit.make_csr(key, "kit"))
        assert answer.status == 200 and answer.json["status"] == "valid", answer
        return self.fetch(answer.json), answer.json

    def fetch(self, order):
        return self.chain(order["certificate"])[0]

    def chain(self, url):
        """The certificates, and where the alternate chains are (RFC 8555 section 7.4.2)."""
        answer = self.ok(url)
        assert answer.headers["Content-Type"] == "application/pem-certificate-chain"
        return x509.load_pem_x509_certificates(answer.body), links(answer, "alternate")


def links(answer, rel):
    return [field[1:field.index(">")] for field in answer.headers.get_all("Link") if field.endswith(f'rel="{rel}"')]


def alg_name(key):
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return f"P-{key.key_size}"
    return "Ed25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "RSA-2048"


def sign_x509(key, data):
    """ECDSA as DER, as WebAuthn has it."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(data, ec.ECDSA({256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.key_size]))


def der(cert):
    return cert.public_bytes(kit.DER)


def statement(device, authorization, key=None, certs=None, **over):
    """Format "birthmark": the IDevID key signs the key authorization, raw; with its bare key, or with certificates."""
    key = key or device.key
    who = {"spki": device.spki} if certs is None else {"x5c": [der(c) for c in certs]}
    parts = {"alg": COSE[alg_name(key)], "sig": sign(key, authorization), **who, **over}
    return cbor2.dumps({"fmt": "birthmark", "attStmt": {k: v for k, v in parts.items() if v is not None}})


def packed(device, authorization, certs=None, key=None, **over):
    """Format "packed": the attestation certificate's key signs."""
    key = key or device.key
    certs = certs or [device.birth or device.cert]
    parts = {"alg": COSE[alg_name(key)], "sig": sign_x509(key, authorization), "x5c": [der(c) for c in certs], **over}
    return cbor2.dumps({"fmt": "packed", "attStmt": {k: v for k, v in parts.items() if v is not None}})


def assert_problem(answer, status, kind, code=None):
    """A refusal as RFC 8555 section 6.7 has it, with a fresh nonce and our own code."""
    assert answer.headers.get("Content-Type") == "application/problem+json", answer
    told = json.loads(answer.body)
    assert (answer.status, told["type"], told["status"]) == (status, ERROR + kind, status), answer
    assert told["detail"] and told["correlation"] == answer.correlation
    assert told["code"] == answer.code
    assert code is None or answer.code == code, answer
    return told


def cert_id(cert):
    """RFC 9773 section 4.1"""
    akid = cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    serial = cert.serial_number
    return b64u(akid) + "." + b64u(serial.to_bytes(serial.bit_length() // 8 + 1, "big"))


def unpad(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
