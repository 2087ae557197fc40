"""Upstream CAs over CMP (RFC 9810, 9483) and SCEP (RFC 8894): Birthmark as registration authority in front of OpenSSL's CMP server, a SCEP CA made of
smallstep's library, step-ca, another Birthmark, and a CA that does each thing wrong. What breaks here: an answer of somebody who may not speak for the
CA is believed, a request is lost between two steps, or the device hears something untrue."""

import base64
import contextlib
import hashlib
import http.client
import http.server
import json
import subprocess
import threading
import time
import urllib.parse
import warnings

import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID
from pyasn1.codec.der.encoder import encode

import scep
from cmpkit import BODIES, IMPLICIT_CONFIRM, Mac, Message, bits, cert_hash, contents, ctx, generalized, integer, name, octets, seq, sig_alg, sign, utf8
from kit import (DER, KEYS, PEM, TOP, ChipMaker, Device, assert_told, certs_of_pkcs7, est_enrol, free_port, key_pem, make_cert, make_csr, name_of,
                 until_answered, wait_for)

CMC_RA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")
SECRET = b"a long secret between two authorities"


class Authority:
    """A CA, an RA that may speak for it, and a device of its that may not. RSA, as SCEP knows nothing else."""

    def __init__(self, folder, common_name):
        self.folder, self.name = folder, name_of(common_name)
        self.key = KEYS["RSA-2048"]()
        self.cert = make_cert(self.key, self.name, self.key, self.name, ca=True)
        self.ra_key, self.device_key, self.stranger = KEYS["RSA-2048"](), KEYS["RSA-2048"](), KEYS["RSA-2048"]()
        self.ra = self.holder(self.ra_key, "RA of the CA", [(x509.ExtendedKeyUsage([CMC_RA]), False)])
        self.device = self.holder(self.device_key, "RA of the CA", [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)])
        self.alien = make_cert(self.stranger, self.name, self.stranger, self.name, ca=True)
        self.chain = self.file("chain.pem", self.cert)
        client = KEYS["RSA-2048"]()
        self.client_cert = self.holder(client, "our RA")
        self.client = self.file("client.pem", self.client_cert, client)
        self.mode, self.asked, self.server, self.port = "ok", [], None, 0

    def holder(self, key, common_name, extensions=()):
        return make_cert(key, name_of(common_name), self.key, self.name, ca=False, extensions=extensions)

    def file(self, stem, *parts):
        path = self.folder / stem
        path.write_bytes(b"".join(p.public_bytes(PEM) if isinstance(p, x509.Certificate) else key_pem(p) for p in parts))
        return path

    def issue(self, csr):
        """What the mode says, and otherwise as it should be."""
        public = self.stranger.public_key() if self.mode == "wrong-key" else csr.public_key()

        class Public:
            def public_key(self):
                return public

        return make_cert(Public(), csr.subject, self.stranger if self.mode == "wrong-ca" else self.key, self.name,
                         ca=self.mode == "a-ca", days=(-10, -1) if self.mode == "expired" else (-1, 30))

    # --- HTTP ---
    def start(self):
        authority = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, body):
                try:
                    status, headers, out = authority.serve(self.path, body)
                except Exception as e:  # of an assertion: the device hears of it at once
                    status, headers, out = 400, {}, f"the test: {e!r}".encode()
                self.send_response(status)
                for field, value in {"Content-Length": str(len(out)), **headers}.items():
                    self.send_header(field, value)
                self.end_headers()
                self.wfile.write(out)

            def do_GET(self):
                self.answer(None)

            def do_POST(self):
                self.answer(self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *args):
                pass

            def handle(self):
                with contextlib.suppress(ConnectionError):
                    super().handle()

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


# --- CMP ----------------------------------------------------------------------------------------------------------------------------------


class CmpAuthority(Authority):
    """Transactions are told apart by their ID; each gets what the mode says."""

    def __init__(self, folder, common_name):
        super().__init__(folder, common_name)
        self.given, self.secret = {}, None
        self.login = folder / "login"
        self.login.write_bytes(b"ref-7:" + SECRET + b"\n")

    def status(self, n, text=None, fail=None):
        return seq(integer(n), seq(utf8(text)) if text else b"", fail or b"")

    def granted(self, cert, **more):
        return "cp", seq(seq(seq(integer(-1), self.status(0), seq(ctx(0, cert.public_bytes(DER))))))

    def answer(self, request):
        """body, content"""
        kind, mode = request.type, self.mode
        if kind == "p10cr":
            csr = x509.load_der_x509_csr(contents(encode(request.content)))
            self.given[request.tid] = self.issue(csr)
            if mode in ("poll", "poll-forgotten"):
                return "cp", seq(seq(seq(integer(-1), self.status(3))))
            if mode == "refuse":
                return "cp", seq(seq(seq(integer(-1), self.status(2, "this \x1b[31mname is not yours", b"\x03\x02\x05\x20"))))
            if mode in ("error", "bare"):
                return "error", seq(self.status(2, "go away", b"\x03\x03\x00\x00\x80"))
            if mode == "no-cert":
                return "cp", seq(seq(seq(integer(-1), self.status(0))))
            if mode == "two":
                one = contents(contents(self.granted(self.given[request.tid])[1]))
                return "cp", seq(seq(one, one))
        if kind == "pollReq":
            if mode == "late-cert":
                return self.granted(self.given[request.tid])
            if mode == "confirm-late" and sum(a == "pollReq" for a, _ in self.asked) > 1:
                return "pkiconf", b"\x05\x00"
            if self.mode == "poll-forgotten":
                self.mode = "ok"
                return "error", seq(self.status(2, "which transaction?", b"\x03\x02\x05\x20"))
            self.mode = "ok" if sum(a == "pollReq" for a, _ in self.asked) > 1 and mode != "slow-poll" else mode
            if self.mode != "ok":
                return "pollRep", seq(seq(integer(-1), integer(1), seq(utf8("soon"))))
        if kind == "certConf":
            assert bytes(request.content[0]["certHash"]) == cert_hash(self.given[request.tid])
            if mode in ("confirm-late", "late-cert"):
                return "error", seq(self.status(3))
            if mode == "forget-once":
                self.mode = "confirm"
                return "error", seq(self.status(2, "which transaction?", b"\x03\x02\x05\x20"))
            if mode == "never-confirmed":
                return "error", seq(self.status(2, "not taken", b"\x03\x02\x05\x20"))
            return "pkiconf", b"\x05\x00"
        if mode == "pkiconf":
            return "pkiconf", b"\x05\x00"
        return self.granted(self.given[request.tid])

    def message(self, request, body, content):
        mode = self.mode
        key, signer = {"device": (self.device_key, self.device), "stranger": (self.stranger, self.alien),
                       "ca": (self.key, self.cert)}.get(mode, (self.ra_key, self.ra))
        mac = Mac("pbm" if self.secret is None or self.secret[0] == "pbm" else "pbmac1", count=300) if self.secret else None
        implicit = mode not in ("confirm", "confirm-late", "late-cert", "forget-once", "never-confirmed")
        head = seq(integer(9 if mode == "version" else 2), ctx(4, signer.subject.public_bytes()), ctx(4, name("anybody")),
                   ctx(0, generalized(time.time() - (7300 if mode == "old" else 0))),
                   ctx(1, mac.alg() if mac else sig_alg(key)), ctx(4, octets(b"x" * 16 if mode == "other-transaction" else request.tid)),
                   ctx(5, octets(b"n" * 16)), ctx(6, octets(b"y" * 16 if mode == "other-nonce" else request.nonce)),
                   ctx(8, seq(IMPLICIT_CONFIRM)) if implicit else b"")
        inner = ctx(BODIES[body], content)
        if mode == "bare" or mode == "unprotected":
            return seq(head, inner)
        protection = mac.make(b"another" if mode == "other-secret" else self.secret[1], seq(head, inner)) if mac else sign(key, seq(head, inner))
        if mode == "bad-signature":
            protection = protection[:-1] + bytes([protection[-1] ^ 1])
        return seq(head, inner, ctx(0, bits(protection)), ctx(1, seq(signer.public_bytes(DER))))

    def serve(self, path, body):
        request = Message(body)
        self.asked.append((request.type, request))
        if self.mode == "busy":
            return 503, {"Retry-After": "1"}, b"later"
        if self.mode == "forbidden":
            return 403, {}, b"not \x1b[31myou"
        answer = self.message(request, *self.answer(request))
        out = {"garbage": b"\x00\xff" * 40, "cut": answer[:-5], "longer": answer + b"\0", "oversized": b"0" * 200000}.get(self.mode, answer)
        return 200, {"Content-Type": "application/pkixcmp"}, out


# --- SCEP ---------------------------------------------------------------------------------------------------------------------------------


class ScepAuthority(Authority):
    def __init__(self, folder, common_name):
        super().__init__(folder, common_name)
        self.ra = self.holder(self.ra_key, "RA of the CA", [(x509.ExtendedKeyUsage([CMC_RA]), False), (self.usage(), True)])
        self.device = self.holder(self.device_key, "a device", [(self.usage(), True)])
        self.caps, self.waiting = b"AES\r\nPOSTPKIOperation\r\nSHA-256\r\nSCEPStandard\r\n", {}

    @staticmethod
    def usage():
        return x509.KeyUsage(True, False, True, False, False, False, False, False, False)

    def open(self, raw):
        """type, transaction, nonce, who signed, what is inside"""
        signed = cms.ContentInfo.load(raw, strict=True)["content"]
        (info,) = signed["signer_infos"]
        (signer,) = (x509.load_der_x509_certificate(c.chosen.dump()) for c in signed["certificates"])
        attributes = {a["type"].dotted: a["values"][0] for a in info["signed_attrs"]}
        encoded = [a.dump() for a in info["signed_attrs"]]
        assert encoded == sorted(encoded)
        signer.public_key().verify(info["signature"].native, scep.tlv(0x31, *encoded), padding.PKCS1v15(), scep.hashes.SHA256())
        content = signed["encap_content_info"]["content"].native
        assert attributes[scep.MESSAGE_DIGEST].native == hashlib.sha256(content).digest()
        inner = cms.ContentInfo.load(content, strict=True)["content"]
        (to,) = inner["recipient_infos"]
        assert to.chosen["rid"].chosen["serial_number"].native == self.ra.serial_number
        cek = self.ra_key.decrypt(to.chosen["encrypted_key"].native, padding.PKCS1v15())
        sealed = inner["encrypted_content_info"]
        d = Cipher(algorithms.AES(cek), modes.CBC(sealed["content_encryption_algorithm"]["parameters"].native)).decryptor()
        plain = d.update(sealed["encrypted_content"].native) + d.finalize()
        return (int(attributes[scep.MESSAGE_TYPE].native), attributes[scep.TRANSACTION_ID].native,
                attributes[scep.SENDER_NONCE].native, signer, plain[:-plain[-1]])

    def reply(self, transaction, nonce, signer, status, content=None, fail=None, text=None):
        mode = self.mode
        key, cert = {"device": (self.device_key, self.device), "stranger": (self.stranger, self.alien)}.get(mode, (self.ra_key, self.ra))
        extra = [(scep.PKI_STATUS, scep.printable(status)), (scep.RECIPIENT_NONCE, scep.octets(b"y" * 16 if mode == "other-nonce" else nonce))]
        extra += [(scep.FAIL_INFO, scep.printable(fail))] if fail else []
        extra += [(scep.FAIL_TEXT, scep.tlv(0x0c, text.encode()))] if text else []
        sealed = None
        if content is not None:
            sealed = scep.envelope(content, self.ra if mode == "sealed-to-another" else signer, cipher="3des" if mode == "3des" else "aes256")
        return scep.message(sealed, key, cert, message_type=19 if mode == "no-certrep" else 3,
                            transaction="another" if mode == "other-transaction" else transaction, extra=extra,
                            digest="sha1" if mode.startswith("sha1") else "sha256", spoil=mode in ("bad-signature", "sha1-spoilt"), indefinite=mode == "ber")

    def certrep(self, raw):
        kind, transaction, nonce, signer, plain = self.open(raw)
        self.asked.append((kind, transaction, signer))
        if kind == scep.CERT_POLL:
            asked = self.waiting[transaction]
            assert plain == scep.tlv(0x30, self.name.public_bytes(), asked.subject.public_bytes())
        else:
            asked = self.waiting[transaction] = x509.load_der_x509_csr(plain)
        if self.mode == "pending":
            return self.reply(transaction, nonce, signer, scep.PENDING)
        if self.mode == "refuse":
            return self.reply(transaction, nonce, signer, scep.FAILURE, fail="2", text="this \x1b[31mname is not yours")
        content = b"\x30\x03\x02\x01\x05" if self.mode == "no-cms" else pkcs7.serialize_certificates([self.issue(asked)], DER)
        return self.reply(transaction, nonce, signer, scep.SUCCESS, content)

    def ca_certs(self):
        if self.mode == "stranger-ca":
            return self.alien.public_bytes(DER)
        if self.mode == "device-ra":
            return pkcs7.serialize_certificates([self.device, x509.load_der_x509_certificate(self.cert.public_bytes(DER))][:1], DER)
        if self.mode == "ca-garbage":
            return b"\x30\x80\xff"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pkcs7.serialize_certificates([self.cert, self.ra], DER)

    def serve(self, path, body):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)
        (operation,) = query["operation"]
        if self.mode == "busy":
            self.asked.append((operation, None, None))
            return 503, {"Retry-After": "1"}, b"later"
        if operation == "GetCACaps":
            return 200, {}, self.caps
        if operation == "GetCACert":
            return 200, {"Content-Type": "application/x-x509-ca-ra-cert"}, self.ca_certs()
        if body is None:
            self.by_get = True
            body = base64.b64decode(query["message"][0])
        answer = self.certrep(body)
        out = {"garbage": b"\x00\xff" * 40, "cut": answer[:-5], "longer": answer + b"\0", "oversized": b"0" * 200000}.get(self.mode, answer)
        return 200, {"Content-Type": "application/x-pki-message"}, out


# --- ours ---------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(shared_servers):
    server = shared_servers()
    server.init()
    server.start("--workers", 1)
    server.furnish()
    server.devices = [Device() for _ in range(90)]
    server.register(*server.devices)
    server.current, server.refused = None, set()
    return server


def use(server, upstream, *words, driver, chain=None, label="ca"):
    """Makes this upstream CA the one of the batch."""
    if not hasattr(upstream, "known_as"):
        upstream.known_as = f"{label}-{len(label)}-{id(upstream)}"
        server.run("ca", "upstream", upstream.known_as, "--driver", driver, "--chain", chain or upstream.chain, *words)
    if server.current != upstream.known_as:
        server.run("batch", "set", "reel-1", "--ca", upstream.known_as)
        server.current = upstream.known_as


def hosted(kind, tmp_path_factory, common_name):
    it = kind(tmp_path_factory.mktemp("upstream"), common_name)
    it.start()
    yield it
    it.stop()


@pytest.fixture(scope="module")
def cmp_authority(tmp_path_factory):
    yield from hosted(CmpAuthority, tmp_path_factory, "CMP CA")


@pytest.fixture(scope="module")
def mac_authority(tmp_path_factory):
    yield from hosted(CmpAuthority, tmp_path_factory, "CMP CA with a secret")


@pytest.fixture(scope="module")
def scep_authority(tmp_path_factory):
    yield from hosted(ScepAuthority, tmp_path_factory, "SCEP CA")


def ready(server, authority, *words, **more):
    authority.mode = "ok"
    del authority.asked[:]
    use(server, authority, *words, **more)
    return authority


@pytest.fixture
def over_cmp(served, cmp_authority):
    return ready(served, cmp_authority, "--url", f"http://127.0.0.1:{cmp_authority.port}/.well-known/cmp", "--client", cmp_authority.client,
                 driver="cmp")


@pytest.fixture
def over_scep(served, scep_authority):
    return ready(served, scep_authority, "--url", f"http://127.0.0.1:{scep_authority.port}/scep", "--options", "poll=1", driver="scep")


@pytest.fixture
def device(served):
    return served.devices.pop()


def enrol(server, device, folder, key, **more):
    return est_enrol(server, device, folder, key, subject=device.udid, **more)[0]


def poll(server, device, folder, key, **more):
    return until_answered(lambda: enrol(server, device, folder, key, **more), 25)


def credentials(server, device):
    return server.ask("cert", "list", "--udid", device.udid)["rows"]


def enrolled(server, device, folder, issuer, key=None):
    """Through to the certificate, which is this CA's."""
    key = key or KEYS["P-256"]()
    answer = poll(server, device, folder, key)
    assert answer.status == 200, answer
    cert = certs_of_pkcs7(answer.body)[0]
    assert cert.public_key() == key.public_key()
    cert.verify_directly_issued_by(issuer)
    assert len(credentials(server, device)) == 1 and server.state(device) == "active"
    return cert


def refused(server, device, folder, word):
    answer = poll(server, device, folder, KEYS["P-256"]())
    assert (answer.status, answer.code) == (403, "upstream-refused"), answer
    assert word in answer.text, answer.text
    server.refused.add(device.udid)
    return answer


# --- CMP ----------------------------------------------------------------------------------------------------------------------------------


def test_cmp(served, over_cmp, device, tmp_path):
    """Breaks when the request is not the device's own, not protected by our certificate, or not addressed to the CA."""
    enrolled(served, device, tmp_path, over_cmp.cert)
    ((kind, request),) = over_cmp.asked
    assert kind == "p10cr" and request.pvno == 2 and "1.3.6.1.5.5.7.4.13" in request.infos
    assert encode(request.header["recipient"]) == ctx(4, over_cmp.name.public_bytes())
    signer = request.certs[0]
    assert signer.subject == name_of("our RA") and encode(request.header["sender"]) == ctx(4, signer.subject.public_bytes())
    signer.public_key().verify(request.whole["protection"].asOctets(), seq(encode(request.header), encode(request.body)), padding.PKCS1v15(),
                               scep.hashes.SHA256())


@pytest.mark.parametrize("mode,kinds", [
    ("confirm", ["p10cr", "certConf"]), ("confirm-late", ["p10cr", "certConf", "pollReq", "pollReq"]), ("poll", ["p10cr", "pollReq", "pollReq"]), ("ca", ["p10cr"]),
    ("forget-once", ["p10cr", "certConf", "p10cr", "certConf"]), ("poll-forgotten", ["p10cr", "pollReq", "p10cr"])])
def test_cmp_in_steps(served, over_cmp, device, tmp_path, mode, kinds):
    """Breaks when a certificate is not confirmed, not waited for, or a transaction that the CA has lost is not begun anew."""
    over_cmp.mode = mode
    enrolled(served, device, tmp_path, over_cmp.cert)
    assert [kind for kind, _ in over_cmp.asked] == kinds
    for (_, before), (kind, after) in zip(over_cmp.asked, over_cmp.asked[1:]):
        assert (after.tid == before.tid) == (kind != "p10cr") and after.nonce != before.nonce
        assert after.recip_nonce == (b"" if kind == "p10cr" else b"n" * 16)


@pytest.mark.parametrize("mode,word", [
    ("wrong-key", "none is over the device"), ("wrong-ca", "not good under the CA"), ("a-ca", "made the device a CA"),
    ("expired", "not good under the CA"), ("refuse", "this \\x1b[31mname is not yours (badRequest)"), ("error", "go away (wrongAuthority"),
    ("no-cert", "sends none"), ("two", "2 certificates"), ("pkiconf", "does not go here"), ("late-cert", "does not go here"), ("never-confirmed", "not taken"),
    ("device", "neither a CA"), ("stranger", "does not lead to"), ("bad-signature", "does not verify"), ("unprotected", "not protected"),
    ("other-transaction", "transactionID"), ("other-nonce", "recipNonce"), ("old", "messageTime"), ("version", "version"),
    ("garbage", "no CMP message"), ("cut", "no CMP message"), ("longer", "no CMP message"), ("oversized", "longer than"),
    ("forbidden", "answers 403: not \\x1b[31myou")])
def test_cmp_refused(served, over_cmp, device, tmp_path, mode, word):
    """Each check of RFC 9483 section 3.5 violated once. Breaks when somebody who may not speak for the CA is believed."""
    over_cmp.mode = mode
    if mode == "error":
        word = "go away ("
    refused(served, device, tmp_path, word)
    assert len(over_cmp.asked) == {"never-confirmed": 6, "late-cert": 3}.get(mode, 1)


def test_cmp_a_refusal_that_anybody_could_have_written(served, over_cmp, device, tmp_path):
    """Breaks when a bare error, over plain HTTP, ends a request."""
    key = KEYS["P-256"]()
    over_cmp.mode = "bare"
    assert enrol(served, device, tmp_path, key).status == 202
    wait_for("a question", lambda: over_cmp.asked)
    assert enrol(served, device, tmp_path, key).status == 202
    over_cmp.mode = "ok"
    enrolled(served, device, tmp_path, over_cmp.cert, key)


def test_cmp_a_code_does_not_go_in_clear(served, over_cmp, device, tmp_path):
    """Breaks when a challengePassword, which may be a one-time code, is sent over plain HTTP."""
    key = KEYS["P-256"]()
    got = poll(served, device, tmp_path, key, csr=scep.csr(key, device.udid, "a code"))
    assert (got.status, got.code) == (403, "upstream-refused") and "has to be https" in got.text, got
    assert over_cmp.asked == []


@pytest.mark.parametrize("kind", ["pbm", "pbmac1"])
def test_cmp_with_a_secret(served, tmp_path_factory, device, tmp_path, kind):
    """Breaks when the MAC is not by the secret, or one by another secret is taken."""
    it = CmpAuthority(tmp_path, f"CMP CA {kind}")
    it.secret = (kind, SECRET)
    it.start()
    try:
        ready(served, it, "--url", f"http://127.0.0.1:{it.port}/cmp", "--login", it.login, *(("--options", f"mac={kind}") if kind == "pbmac1" else ()),
              driver="cmp", label=kind)
        enrolled(served, device, tmp_path, it.cert)
        ((_, request),) = it.asked
        assert bytes(request.header["senderKID"]) == b"ref-7" and not request.certs
        assert encode(request.header["sender"]) == ctx(4, name("ref-7"))
        Mac(kind, count=2000, key_len=32 if kind == "pbmac1" else None)
        request.check_mac(Mac(kind, count=2000, key_len=32 if kind == "pbmac1" else None), SECRET)
        it.mode = "other-secret"
        refused(served, served.devices.pop(), tmp_path, "not by our secret")
    finally:
        it.stop()
    assert SECRET.decode() not in (served.data / "registry.db").read_bytes().decode("latin-1")


def test_cmp_down_busy_and_back(served, over_cmp, device, tmp_path):
    """Breaks when an upstream that is away, or asks for time, costs a device its certificate."""
    key = KEYS["P-256"]()
    over_cmp.stop()
    assert enrol(served, device, tmp_path, key).status == 202
    time.sleep(0.3)
    assert enrol(served, device, tmp_path, key).status == 202
    over_cmp.mode = "busy"
    over_cmp.start()
    wait_for("a question", lambda: over_cmp.asked)
    assert enrol(served, device, tmp_path, key).status == 202
    over_cmp.mode = "ok"
    enrolled(served, device, tmp_path, over_cmp.cert, key)


def test_cmp_killed_between_steps(served, over_cmp, device, tmp_path):
    """Breaks when the transaction does not outlive the keeper: the same one is polled for after its death."""
    key = KEYS["P-256"]()
    over_cmp.mode = "slow-poll"
    over_cmp.answer, plain = (lambda request: ("cp", seq(seq(seq(integer(-1), over_cmp.status(3))))) if request.type == "p10cr" and
                              not over_cmp.given.update({request.tid: over_cmp.issue(x509.load_der_x509_csr(contents(encode(request.content))))}) else
                              plain(request)), over_cmp.answer
    try:
        assert enrol(served, device, tmp_path, key).status == 202
        wait_for("a poll", lambda: "pollReq" in [kind for kind, _ in over_cmp.asked])
        served.kill()
        served.start("--workers", 1)
        before = len(over_cmp.asked)
        wait_for("a poll after the start", lambda: len(over_cmp.asked) > before)
        over_cmp.mode = "ok"
        enrolled(served, device, tmp_path, over_cmp.cert, key)
        assert [kind for kind, _ in over_cmp.asked].count("p10cr") == 1 and len({r.tid for _, r in over_cmp.asked}) == 1
    finally:
        del over_cmp.answer


class Program:
    """A server of somebody else's."""

    def __init__(self, port, *words, **more):
        self.process = subprocess.Popen([*map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
        wait_for("the port", lambda: self.answers(port))

    def answers(self, port):
        assert self.process.poll() is None, self.process.stdout.read()
        to = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError):
            to.connect()
            to.close()
            return True
        return False

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.process.kill()
        self.process.communicate()


class OneConnection(Authority):
    """Hands on what comes, over one connection: OpenSSL's server forgets a transaction with its connection, and ours are one for each message."""

    def __init__(self, folder, common_name, port):
        super().__init__(folder, common_name)
        self.to, self.lock = http.client.HTTPConnection("127.0.0.1", port, timeout=20), threading.Lock()

    def serve(self, path, body):
        with self.lock:
            self.to.request("POST", "/", body, {"Content-Type": "application/pkixcmp", "Connection": "keep-alive"})
            got = self.to.getresponse()
            return got.status, {"Content-Type": got.headers["Content-Type"]}, got.read()


@pytest.mark.parametrize("how,words", [("implicit", ("-grant_implicitconf",)), ("confirmed", ()), ("polled", ("-poll_count", "2", "-check_after", "1")),
                                       ("secret", ("-grant_implicitconf",))])
def test_cmp_openssl(served, device, tmp_path, how, words):
    """OpenSSL's CMP server, which gives what it was started with: breaks when two readings of the RFCs differ."""
    key, port = KEYS["P-256"](), free_port()
    it = OneConnection(tmp_path, f"OpenSSL CA {how}", port)
    given = it.file("given.pem", it.issue(x509.load_der_x509_csr(make_csr(key, device.udid))))
    login = tmp_path / "login"
    login.write_text("ref:openssl says so\n")
    by_secret = how == "secret"
    who = ("-srv_ref", "ref", "-srv_secret", "pass:openssl says so") if by_secret else \
        ("-srv_cert", it.file("ra.pem", it.ra), "-srv_key", it.file("ra.key", it.ra_key), "-srv_trusted", it.chain)
    with Program(port, "openssl", "cmp", "-config", "", "-port", port, *who, "-rsp_cert", given, *words), contextlib.ExitStack() as stack:
        it.start()
        stack.callback(it.stop)
        use(served, it, "--url", f"http://127.0.0.1:{it.port}", *(("--login", login) if by_secret else ("--client", it.client)), driver="cmp",
            label=how)
        enrolled(served, device, tmp_path, it.cert, key)


def test_cmp_openssl_refuses(served, device, tmp_path):
    it, port = Authority(tmp_path, "OpenSSL CA that refuses"), free_port()
    with Program(port, "openssl", "cmp", "-config", "", "-port", port, "-srv_cert", it.file("ra.pem", it.ra), "-srv_key",
                 it.file("ra.key", it.ra_key), "-srv_trusted", it.chain, "-rsp_cert", it.chain, "-pkistatus", "2", "-failure", "23",
                 "-statusstring", "no more today"):
        use(served, it, "--url", f"http://127.0.0.1:{port}", "--client", it.client, driver="cmp", label="no")
        assert_told(served, refused(served, device, tmp_path, "no more today (notAuthorized)"), "no more today")


# --- SCEP ---------------------------------------------------------------------------------------------------------------------------------


def test_scep(served, over_scep, device, tmp_path):
    """Breaks when the request is not the device's own, or not signed by the certificate that was made for this registry."""
    enrolled(served, device, tmp_path, over_scep.cert)
    ((kind, _, signer),) = over_scep.asked
    assert kind == scep.PKCS_REQ and signer.subject == name_of("Birthmark registration authority") and signer.issuer == signer.subject


@pytest.mark.parametrize("how", ["by-get", "no-caps", "ber", "renewed"])
def test_scep_variants(served, over_scep, device, tmp_path, how):
    """Servers without POST, messages in BER, and the renewal of what came of it."""
    over_scep.by_get, caps = False, over_scep.caps
    over_scep.mode = how if how == "ber" else "ok"
    over_scep.caps = {"by-get": b"AES\nSHA-256\n", "no-caps": b""}.get(how, caps)
    try:
        cert = enrolled(served, device, tmp_path, over_scep.cert, key := KEYS["P-256"]())
    finally:
        over_scep.caps = caps
    assert over_scep.by_get == (how in ("by-get", "no-caps"))
    if how == "renewed":
        answer = poll(served, device, tmp_path, KEYS["P-256"](), cert=cert, cert_key=key, op="simplereenroll")
        assert answer.status == 200 and len(credentials(served, device)) == 2


def test_scep_waits(served, over_scep, device, tmp_path):
    """PENDING, and the keeper dies: breaks when the transaction is lost. CertPoll names the CA and the request's subject."""
    key = KEYS["P-256"]()
    over_scep.mode = "pending"
    assert enrol(served, device, tmp_path, key).status == 202
    wait_for("a CertPoll", lambda: [a for a in over_scep.asked if a[0] == scep.CERT_POLL])
    served.kill()
    served.start("--workers", 1)
    over_scep.mode = "ok"
    enrolled(served, device, tmp_path, over_scep.cert, key)
    assert len({transaction for _, transaction, _ in over_scep.asked}) == 1
    assert [kind for kind, _, _ in over_scep.asked].count(scep.PKCS_REQ) == 1


@pytest.mark.parametrize("mode,word", [
    ("wrong-key", "none is over the device"), ("wrong-ca", "not good under the CA"), ("a-ca", "made the device a CA"),
    ("expired", "not good under the CA"), ("refuse", "badRequest: this \\x1b[31mname is not yours"), ("no-cms", "does not open"),
    ("device", "neither a CA"), ("stranger", "does not lead to"), ("bad-signature", "signer's certificate"), ("sha1", "SHA-256"),
    ("other-transaction", "no CertRep of our transaction"), ("no-certrep", "no CertRep of our transaction"), ("other-nonce", "nonce"),
    ("sealed-to-another", "not sealed to us"), ("3des", "AES"), ("garbage", "no SCEP message"), ("cut", "no SCEP message"),
    ("longer", "no SCEP message"), ("oversized", "longer than"), ("stranger-ca", "does not lead to"), ("device-ra", "neither a CA"),
    ("ca-garbage", "holds no certificate")])
def test_scep_refused(served, over_scep, device, tmp_path, mode, word):
    """Breaks when somebody who may not speak for the CA is believed, or gets to read the request."""
    over_scep.mode = mode
    refused(served, device, tmp_path, word)
    assert len(over_scep.asked) == (0 if mode in ("stranger-ca", "device-ra", "ca-garbage") else 1)


def test_scep_sha1_by_name(served, device, tmp_path):
    """Breaks when what is allowed by name is not taken, or is taken without a look at the signature."""
    it = ScepAuthority(tmp_path, "SCEP CA of old")
    it.start()
    try:
        ready(served, it, "--url", f"http://127.0.0.1:{it.port}/scep", "--options", "sha1=yes", "--client", it.client, driver="scep", label="sha1")
        it.mode = "sha1"
        enrolled(served, device, tmp_path, it.cert)
        ((_, _, signer),) = it.asked
        assert signer == it.client_cert
        it.mode = "sha1-spoilt"
        refused(served, served.devices.pop(), tmp_path, "does not verify")
    finally:
        it.stop()


def test_scep_down_busy_and_back(served, over_scep, device, tmp_path):
    key = KEYS["P-256"]()
    over_scep.stop()
    assert enrol(served, device, tmp_path, key).status == 202
    time.sleep(0.3)
    over_scep.mode = "busy"
    over_scep.start()
    wait_for("a question", lambda: over_scep.asked)
    assert enrol(served, device, tmp_path, key).status == 202
    over_scep.mode = "ok"
    enrolled(served, device, tmp_path, over_scep.cert, key)


@pytest.mark.parametrize("path,word", [("scep", None), ("deny", "badRequest")])
def test_scep_smallstep(served, go_tool, device, tmp_path, path, word):
    """A SCEP CA of smallstep's library, found by the fingerprint of its certificate: breaks when two readings of the RFC differ."""
    it, port = Authority(tmp_path, f"smallstep CA {path}"), free_port()
    fingerprint = hashlib.sha256(it.cert.public_bytes(DER)).hexdigest()
    with Program(port, go_tool("scepserver"), "-listen", f"127.0.0.1:{port}", "-ca", it.file("ca.pem", it.cert, it.key)):
        use(served, it, "--url", f"http://127.0.0.1:{port}/{path}", "--options", f"fingerprint={fingerprint}", "--trust",
            it.file("alien.pem", it.alien), driver="scep", label=path)
        if word is None:
            enrolled(served, device, tmp_path, it.cert)
        else:
            refused(served, device, tmp_path, word)


STEP_CA = TOP / "build" / "peers" / "step-ca"


@pytest.mark.skipif(not STEP_CA.exists(), reason="scripts/install-peers step-ca")
def test_scep_step_ca(served, device, tmp_path):
    """step-ca, which signs its answers with SHA-1 whatever it is asked: that has to be allowed by name."""
    root = Authority(tmp_path, "step root")
    key = KEYS["RSA-2048"]()
    middle = make_cert(key, name_of("step CA"), root.key, root.name, ca=True)
    port, tls = free_port(), free_port()
    config = {"root": str(root.chain), "crt": str(root.file("middle.pem", middle)), "key": str(root.file("middle.key", key)),
              "address": f"127.0.0.1:{tls}", "insecureAddress": f"127.0.0.1:{port}", "dnsNames": ["127.0.0.1"],
              "authority": {"provisioners": [{"type": "SCEP", "name": "ra", "encryptionAlgorithmIdentifier": 2, "includeRoot": True}]}}
    (tmp_path / "ca.json").write_text(json.dumps(config))
    chain = root.file("both.pem", middle, root.cert)
    with Program(port, STEP_CA, tmp_path / "ca.json", env={"HOME": str(tmp_path), "STEPPATH": str(tmp_path)}):
        use(served, root, "--url", f"http://127.0.0.1:{port}/scep/ra", "--options", "sha1=yes", "--names", "upstream", driver="scep", chain=chain,
            label="step")
        enrolled(served, device, tmp_path, middle)


# --- both ---------------------------------------------------------------------------------------------------------------------------------


def test_the_acts_around_it(served, over_cmp, over_scep, tmp_path):
    """Breaks when a way that cannot work is taken in."""
    ec = KEYS["P-256"]()
    small = over_cmp.file("ec.pem", over_cmp.holder(ec, "EC"), ec)
    plain, cmp = ("--url", "http://ca.example/cmp"), ("--driver", "cmp", "--chain", over_cmp.chain)
    with_client, over = ("--client", over_cmp.client), ("--driver", "scep", "--chain", over_scep.chain)
    for words, said in [
        ((*plain, *cmp), "wants --client"), ((*cmp, "--url", "ftp://ca.example/", *with_client), "http[s]://HOST"),
        ((*plain, *cmp, *with_client, "--options", "mac=md5"), "pbm or pbmac1"), ((*plain, *cmp, *with_client, "--options", "poll=1"), "has no 'poll'"),
        ((*plain, *cmp, *with_client, "--options", "tls-client=perhaps"), "yes or no"),
        ((*plain, *cmp, *with_client, "--options", "fingerprint=abc"), "64 hex digits"),
        ((*plain, *over, "--login", over_cmp.login), "nobody can add it here"), ((*plain, *over, "--client", small), "RSA"),
        ((*plain, *over, "--options", "poll=0"), "1 to"), ((*plain, *over, "--options", "poll=5x"), "1 to"),
        ((*plain, *over, "--options", "ident=a&b"), "letters, digits"), ((*plain, *over, "--options", "sha1=maybe"), "yes or no"),
    ]:
        out = served.run("ca", "upstream", "second", *words, want=None)
        assert out.returncode != 0 and said in out.stdout + out.stderr, (words, out)
    assert "second" not in served.run("ca", "list").stdout


def test_nobody_who_was_refused_has_a_certificate(served, over_cmp, device, tmp_path):
    """Of all the tests above."""
    enrolled(served, device, tmp_path, over_cmp.cert)
    rows = served.ask("cert", "list", "--limit", 1000)["rows"]
    assert device.udid in {row["udid"] for row in rows} and not served.refused & {row["udid"] for row in rows}
    assert served.state(served.devices[-1]) == "allocated"


@pytest.mark.parametrize("driver,path", [("cmp", "/.well-known/cmp"), ("scep", "/scep")])
def test_another_birthmark_upstream(new_server, served, tmp_path, driver, path):
    """Breaks when two of ours do not understand each other: one is the registration authority of the other, and shows its own IDevID."""
    above, port = new_server(), free_port()
    above.init()
    above.start("--workers", 1, "--listen-http", f"127.0.0.1:{port}")
    above.furnish()
    ra, device, maker = Device("RSA-2048"), served.devices.pop(), ChipMaker()
    ra.cert = ra.birth = maker.birth(ra)
    above.run("org", "trust", "chips", maker.pem(tmp_path / "maker.pem"), "--purpose", "birth")
    above.register(ra)
    client, chain = tmp_path / "ra.pem", tmp_path / "chain.pem"
    client.write_bytes(b"".join(p.read_bytes() for p in ra.files(tmp_path)))
    rows = above.ask("ca", "list")["rows"]
    order = sorted((r["name"] for r in rows), key=lambda n: n == "root")
    chain.write_text("".join(above.ask("ca", "show", n)["certificate"] for n in order))
    served.run("ca", "upstream", f"above-{driver}", "--driver", driver, "--url", f"http://127.0.0.1:{port}{path}", "--chain", chain, "--client", client,
               "--names", "upstream")
    served.run("batch", "set", "reel-1", "--ca", f"above-{driver}")
    served.current = None
    key = KEYS["P-256"]()
    answer = poll(served, device, tmp_path, key)
    assert answer.status == 200, answer
    certs = certs_of_pkcs7(answer.body)
    assert certs[0].public_key() == key.public_key() and above.ask("cert", "list")["rows"]
