"""Onboard in JSON and in CBOR, by a client written from docs/onboard.md alone."""

import json
import struct

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import kit
from kit import DER, ChipMaker, Device, assert_told, b64u, call, unb64u

BYTES = {"udid", "challenge", "key", "certificate", "signature", "csr", "chain", "anchors", "serial"}
ENROL, STATUS = 2, 3


class Json:
    type, problem = "application/json", "application/problem+json"

    @staticmethod
    def dump(value):
        def plain(v):
            if isinstance(v, bytes):
                return b64u(v)
            if isinstance(v, dict):
                return {k: plain(w) for k, w in v.items()}
            return [plain(w) for w in v] if isinstance(v, list) else v

        return json.dumps(plain(value)).encode()

    @staticmethod
    def load(raw):
        def rich(v, member=None):
            if isinstance(v, dict):
                return {k: rich(w, k) for k, w in v.items()}
            if isinstance(v, list):
                return [rich(w, member) for w in v]
            return unb64u(v) if isinstance(v, str) and member in BYTES else v

        return rich(json.loads(raw))


class Cbor:
    type = problem = "application/cbor"
    dump, load = staticmethod(cbor2.dumps), staticmethod(cbor2.loads)


FORMS = pytest.mark.parametrize("form", [Json, Cbor], ids=["json", "cbor"])


def post(server, form, path, message, context=None, raw=None):
    answer = call(server, "POST", f"/onboard/v1/{path}", raw if raw is not None else form.dump(message), {"Content-Type": form.type},
                  context)
    answer.told = form.load(answer.body)
    return answer


def challenge(server, form=Cbor):
    answer = post(server, form, "challenge", {})
    assert answer.status == 200, answer
    assert set(answer.told) == {"challenge", "expires_in"} and len(answer.told["challenge"]) == 48
    assert 0 < answer.told["expires_in"] <= 120
    return answer.told["challenge"]


def vec(raw):
    return struct.pack(">I", len(raw)) + raw


def to_be_signed(op, message):
    requests = message.get("requests", [])
    return (b"birthmark-onboard-v1\0" + bytes([op]) + vec(message["challenge"]) + vec(message["udid"])
            + vec(message.get("batch", "").encode()) + struct.pack(">I", len(requests))
            + b"".join(vec(r.get("service", "").encode()) + vec(r["csr"]) for r in requests))


def message_of(device, *requests, **more):
    return {"udid": bytes.fromhex(device.udid), **({"requests": list(requests)} if requests else {}), **more}


def signed(server, op, device, *requests, key=None, certificate=None, form=Cbor, **more):
    """A message with a challenge, answered by the device's key or by the key of the certificate."""
    m = message_of(device, *requests, **more)
    m["challenge"] = challenge(server, form)
    m.update({"certificate": certificate.public_bytes(DER)} if certificate is not None else {"key": device.spki})
    m["signature"] = kit.sign_raw(key or device.key, to_be_signed(op, m))
    return m


def ask(service=None, key=None, csr=None):
    return {**({"service": service} if service is not None else {}), "csr": csr or kit.make_csr(key or kit.KEYS["P-256"]())}


def refused(server, answer, status, code):
    assert (answer.status, answer.code) == (status, code), (answer, answer.told)
    assert answer.headers["Content-Type"] in (Json.problem, Cbor.problem)
    told = answer.told
    assert told["type"] == f"urn:birthmark:refusal:{code}" and told["code"] == code and told["status"] == status
    assert told["correlation"] == answer.correlation and len(answer.correlation) == 16
    assert isinstance(told["title"], str) and len(told["title"]) > 10
    assert set(told) <= {"type", "title", "status", "code", "correlation", "retry_after"}
    return answer


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(services=("telemetry", "updates", "video"))
    s.start()
    return s


@pytest.fixture(scope="module")
def register(server):
    count = iter(range(1000))

    def one(alg="P-256", **more):
        d = Device(alg)
        server.register(d, name=f"m-{next(count)}", **more)
        return d

    return one


def check_enrolled(server, device, answer, keys, services):
    assert answer.status == 200, (answer, answer.told)
    told = answer.told
    assert told["udid"] == bytes.fromhex(device.udid) and told["correlation"] == answer.correlation
    root = x509.load_pem_x509_certificate(server.anchors().read_bytes())
    assert told["anchors"] == [root.public_bytes(DER)]
    assert [c["service"] for c in told["credentials"]] == services
    for got, key in zip(told["credentials"], keys, strict=True):
        cert = x509.load_der_x509_certificate(got["certificate"])
        assert kit.spki_of(key) == cert.public_key().public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        (issuing,) = [x509.load_der_x509_certificate(c) for c in got["chain"]]
        cert.verify_directly_issued_by(issuing)
        issuing.verify_directly_issued_by(root)
        assert got["not_after"] == int(cert.not_valid_after_utc.timestamp())
        assert cert.not_valid_before_utc.timestamp() < got["renew_after"] < got["not_after"]
        assert got["endpoints"] == [f"mqtts://{got['service']}.example:8883"]
    return [x509.load_der_x509_certificate(c["certificate"]) for c in told["credentials"]]


# --- enrolment ---------------------------------------------------------------------------------------------------------------------------


@FORMS
@pytest.mark.parametrize("alg", ["P-256", "P-384", "Ed25519", "RSA-2048"])
def test_signed_challenge(server, register, form, alg):
    d, key = register(alg), kit.KEYS["P-256"]()
    m = signed(server, ENROL, d, ask(key=key), form=form, batch="reel-1")
    (cert,) = check_enrolled(server, d, post(server, form, "enrol", m), [key], ["telemetry"])
    assert server.state(d) == "active"
    # and once more with the LDevID just issued as the proof
    again = kit.KEYS["P-256"]()
    m = signed(server, ENROL, d, ask(key=again), certificate=cert, key=key, form=form)
    check_enrolled(server, d, post(server, form, "enrol", m), [again], ["telemetry"])


@FORMS
def test_tls_client_authentication(server, register, form, tmp_path):
    d, key = register(), kit.KEYS["P-256"]()
    context = kit.tls_context(server.anchors(), *d.files(tmp_path))
    (cert,) = check_enrolled(server, d, post(server, form, "enrol", message_of(d, ask(key=key)), context), [key], ["telemetry"])
    context = kit.tls_context(server.anchors(), *d.files(tmp_path, cert, key))
    again = kit.KEYS["P-256"]()
    check_enrolled(server, d, post(server, form, "enrol", message_of(d, ask(key=again)), context), [again], ["telemetry"])


@FORMS
def test_several_services(server, register, form):
    d = register()
    keys = [kit.KEYS[alg]() for alg in ("P-256", "P-384", "Ed25519", "RSA-2048")]
    services = ["video", "telemetry", "updates", "video"]
    m = signed(server, ENROL, d, *[ask(s, k) for s, k in zip(services, keys)], form=form)
    certs = check_enrolled(server, d, post(server, form, "enrol", m), keys, services)
    assert len({c.serial_number for c in certs}) == 4
    assert server.ask("batch", "show", "reel-1")["used"] <= 1000


@FORMS
def test_sixteen_requests_and_no_more(server, register, form):
    d, keys = register(), [kit.KEYS["P-256"]() for _ in range(17)]
    m = signed(server, ENROL, d, *[ask("telemetry", k) for k in keys], form=form)
    answer = post(server, form, "enrol", m)
    assert answer.status in (400, 413) and server.state(d) == "allocated", answer
    m = signed(server, ENROL, d, *[ask("telemetry", k) for k in keys[:16]], form=form)
    check_enrolled(server, d, post(server, form, "enrol", m), keys[:16], ["telemetry"] * 16)


@FORMS
def test_one_bad_request_spoils_all(server, register, form):
    """Nothing is issued when one of several requests cannot be granted."""
    d = register()
    before = server.ask("status")["counts"]["credential"]
    m = signed(server, ENROL, d, ask("telemetry"), ask("nowhere"), form=form)
    refused(server, post(server, form, "enrol", m), 403, "service-refused")
    assert server.state(d) == "allocated" and server.ask("status")["counts"]["credential"] == before


def test_birth_certificate_as_proof(server, register, tmp_path):
    maker = ChipMaker()
    server.run("org", "trust", "chips", maker.pem(tmp_path / "maker.pem"), "--purpose", "birth")
    d, key = register(), kit.KEYS["P-256"]()
    m = signed(server, ENROL, d, ask(key=key), certificate=maker.birth(d))
    check_enrolled(server, d, post(server, Cbor, "enrol", m), [key], ["telemetry"])
    m = signed(server, ENROL, d, ask(), certificate=ChipMaker("Nobody").birth(d))
    refused(server, post(server, Cbor, "enrol", m), 403, "untrusted-birth-certificate")


def test_json_and_cbor_are_signed_alike(server, register):
    """What is signed does not depend on the form: a message made for one may be sent as the other."""
    d, key = register(), kit.KEYS["P-256"]()
    m = signed(server, ENROL, d, ask(key=key), form=Json)
    check_enrolled(server, d, post(server, Cbor, "enrol", m), [key], ["telemetry"])


# --- status ------------------------------------------------------------------------------------------------------------------------------


def status(server, device, form=Json):
    answer = post(server, form, "status", signed(server, STATUS, device, form=form))
    assert answer.status == 200, (answer, answer.told)
    told = answer.told
    assert told["udid"] == bytes.fromhex(device.udid) and told["correlation"] == answer.correlation
    assert told["product"] == "sensor" and told["batch"] == "reel-1"
    return told


@FORMS
@pytest.mark.parametrize("act, want", [
    (("suspend",), "suspended"), (("retire",), "retired"), (("compromise",), "compromised"), (("transfer", "next-owner", "--force"), "transferred"),
])
def test_status(server, register, form, act, want):
    server.run("org", "create", "next-owner", "--role", "oem", want=None)
    d, key = register(), kit.KEYS["P-256"]()
    told = status(server, d, form)
    assert (told["status"], told["state"], told["credentials"]) == ("not-enrolled", "allocated", [])
    m = signed(server, ENROL, d, ask("telemetry", key), ask("video"), form=form)
    certs = [x509.load_der_x509_certificate(c["certificate"]) for c in post(server, form, "enrol", m).told["credentials"]]
    told = status(server, d, form)
    assert (told["status"], told["state"]) == ("enrolled", "active")
    listed = {c["service"]: c for c in told["credentials"]}
    assert set(listed) == {"telemetry", "video"}
    for cert, service in zip(certs, ("telemetry", "video")):
        assert listed[service]["serial"] == cert.serial_number.to_bytes(16, "big") and listed[service]["status"] == "active"
        assert listed[service]["not_after"] == int(cert.not_valid_after_utc.timestamp())
    server.run("device", act[0], d.udid, *act[1:])
    told = status(server, d, form)
    assert told["status"] == want
    if want == "suspended":
        assert {c["status"] for c in told["credentials"]} == {"active"}
        server.run("device", "resume", d.udid)
        assert status(server, d, form)["status"] == "enrolled"
    else:
        assert {c["status"] for c in told["credentials"]} == {"revoked"}
    if want == "transferred":
        assert told["owner"] == "next-owner"
        m = signed(server, ENROL, d, ask(key=key), form=form)
        assert post(server, form, "enrol", m).status == 200
        assert status(server, d, form)["status"] == "enrolled"


def test_status_revoked(server, register):
    d, key = register(), kit.KEYS["P-256"]()
    answer = post(server, Cbor, "enrol", signed(server, ENROL, d, ask(key=key)))
    cert = x509.load_der_x509_certificate(answer.told["credentials"][0]["certificate"])
    server.run("cert", "revoke", f"{cert.serial_number:032x}")
    told = status(server, d)
    assert told["status"] == "revoked" and told["credentials"][0]["status"] == "revoked"


def test_status_over_tls(server, register, tmp_path):
    d = register()
    answer = post(server, Json, "status", message_of(d), kit.tls_context(server.anchors(), *d.files(tmp_path)))
    assert answer.status == 200 and answer.told["status"] == "not-enrolled"


# --- proofs that prove nothing ------------------------------------------------------------------------------------------------------------


@FORMS
def test_no_proof(server, register, form):
    d = register()
    for path in ("enrol", "status"):
        m = message_of(d, *([ask()] if path == "enrol" else []))
        refused(server, post(server, form, path, m), 401, "no-evidence")
    assert server.state(d) == "allocated"


@FORMS
def test_challenge_is_good_once(server, register, form):
    d = register()
    m = signed(server, ENROL, d, ask(), form=form)
    assert post(server, form, "enrol", m).status == 200
    answer = refused(server, post(server, form, "enrol", m), 403, "challenge-used")
    assert_told(server, answer, d.udid)


def test_answer_of_enrol_is_none_for_status(server, register):
    d = register()
    m = signed(server, ENROL, d)
    refused(server, post(server, Cbor, "status", m), 403, "bad-signature")


def test_challenge_of_nobody(server, register):
    d = register()
    m = signed(server, ENROL, d, ask())
    m["challenge"] = m["challenge"][:-1] + bytes([m["challenge"][-1] ^ 1])
    m["signature"] = kit.sign_raw(d.key, to_be_signed(ENROL, m))
    refused(server, post(server, Cbor, "enrol", m), 403, "challenge-unknown")
    m["challenge"] = m["challenge"][:16] + b"\x7f" * 8 + m["challenge"][24:]  # a later expiry
    m["signature"] = kit.sign_raw(d.key, to_be_signed(ENROL, m))
    refused(server, post(server, Cbor, "enrol", m), 403, "challenge-unknown")


def test_signature_with_the_half_order_twisted(server, register):
    """ECDSA signatures come in pairs; the second of the pair does not make the challenge good a second time."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    d = register()
    m = signed(server, ENROL, d, ask())
    assert post(server, Cbor, "enrol", m).status == 200
    s = order - int.from_bytes(m["signature"][32:], "big")
    m["signature"] = m["signature"][:32] + s.to_bytes(32, "big")
    refused(server, post(server, Cbor, "enrol", m), 403, "challenge-used")


def flipped(raw, at=-1):
    raw = bytearray(raw)
    raw[at] ^= 1
    return bytes(raw)


@pytest.mark.parametrize("spoil, code", [
    (lambda m, d: m.update(signature=flipped(m["signature"])), "bad-signature"),
    (lambda m, d: m.update(signature=b"\0" * 64), "bad-signature"),
    (lambda m, d: m.update(signature=m["signature"][:63]), "bad-signature"),
    (lambda m, d: m.update(signature=m["signature"] + b"\0"), "bad-signature"),
    (lambda m, d: m.update(signature=d.key.sign(to_be_signed(ENROL, m), ec.ECDSA(kit.hashes.SHA256()))), "bad-signature"),
    (lambda m, d: m.update(batch="reel-9"), "bad-signature"),
    (lambda m, d: m["requests"].append(ask()), "bad-signature"),
    (lambda m, d: m["requests"][0].update(service="video"), "bad-signature"),
    (lambda m, d: m["requests"][0].update(csr=kit.make_csr(d.key)), "bad-signature"),
    (lambda m, d: m.update(udid=flipped(m["udid"])), None),
    (lambda m, d: m.update(key=kit.spki_of(kit.KEYS["P-256"]())), None),
    (lambda m, d: m.update(key=flipped(m["key"])), None),
    (lambda m, d: m.update(certificate=kit.Device().cert.public_bytes(DER)), None),
])
def test_spoilt_proof(server, register, spoil, code):
    d = register()
    m = signed(server, ENROL, d, ask())
    spoil(m, d)
    answer = post(server, Cbor, "enrol", m)
    assert answer.status in (400, 403), (answer, answer.told)
    if code is not None:
        refused(server, answer, 403, code)
    assert server.state(d) == "allocated"
    assert_told(server, answer)


@FORMS
@pytest.mark.parametrize("make, code", [
    (lambda s, d: signed(s, ENROL, Device(), ask()), "unknown-device"),
    (lambda s, d: {**signed(s, ENROL, d, ask(), batch="reel-9")}, "wrong-batch"),
    (lambda s, d: signed(s, ENROL, d, ask("nowhere")), "service-refused"),
    (lambda s, d: signed(s, ENROL, d, ask(csr=flipped(kit.make_csr(kit.KEYS["P-256"]())))), "bad-signature"),
], ids=["unknown", "batch", "service", "csr"])
def test_refusals(server, register, form, make, code):
    d = register()
    answer = refused(server, post(server, form, "enrol", make(server, d)), 403, code)
    assert_told(server, answer, "127.0.0.1")
    assert server.state(d) == "allocated"


def test_clone(server, register):
    """The UDID of a genuine device over another key, with a proof that is right for that key."""
    d, clone = register(), Device()
    clone.udid = d.udid
    answer = refused(server, post(server, Json, "enrol", signed(server, ENROL, clone, ask())), 403, "udid-mismatch")
    assert_told(server, answer, d.udid)


def test_one_genuine_device_as_another(server, register):
    d, other = register(), register()
    m = signed(server, ENROL, other, ask())
    m["udid"] = bytes.fromhex(d.udid)
    m["signature"] = kit.sign_raw(other.key, to_be_signed(ENROL, m))
    refused(server, post(server, Cbor, "enrol", m), 403, "udid-mismatch")


def test_tls_certificate_of_one_and_words_of_another(server, register, tmp_path):
    d, other = register(), register()
    context = kit.tls_context(server.anchors(), *d.files(tmp_path))
    refused(server, post(server, Json, "enrol", message_of(other, ask()), context), 403, "udid-mismatch")
    assert server.state(d) == server.state(other) == "allocated"


@FORMS
@pytest.mark.parametrize("act, code", [("suspend", "device-suspended"), ("retire", "device-retired"), ("compromise", "device-compromised")])
def test_barred(server, register, form, act, code):
    d = register()
    server.run("device", act, d.udid, want=None)
    if server.state(d) == "allocated":  # only what is active can be suspended
        assert post(server, form, "enrol", signed(server, ENROL, d, ask())).status == 200
        server.run("device", act, d.udid)
    answer = refused(server, post(server, form, "enrol", signed(server, ENROL, d, ask(), form=form)), 403, code)
    assert_told(server, answer, d.udid)


def test_not_allocated(server, register):
    d = register(batch=None)
    refused(server, post(server, Cbor, "enrol", signed(server, ENROL, d, ask())), 403, "not-allocated")


# --- forms ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [
    b"", b"[]", b"null", b'"x"', b"{", b"{}}", b"{} {}", b'{"a":1}', b'{"udid":1}', b'{"udid":"!!"}', b'{"udid":null}', b"\xff\xfe{}",
    b'{"udid":"AAAA","udid":"AAAA"}', b"[" * 1000, b'{"requests":{}}', b"{\"a\":" * 500, b"\0" * 100, b'{"udid":"' + b"A" * 43 + b'"}',
    b'{"requests":[],"udid":"' + b"A" * 43 + b'"}', b'{"requests":[{}],"udid":"' + b"A" * 43 + b'"}',
    b'{"requests":[{"csr":"AAAA","csr":"AAAA"}],"udid":"' + b"A" * 43 + b'"}',
    b'{"requests":[{"csr":"AAAA","more":1}],"udid":"' + b"A" * 43 + b'"}',
])
def test_malformed_json(server, raw):
    answer = call(server, "POST", "/onboard/v1/enrol", raw, {"Content-Type": Json.type})
    assert answer.status in (400, 401) and answer.code, answer
    assert answer.headers["Content-Type"] == Json.problem and json.loads(answer.body)["code"] == answer.code


UDID = b"\x64udid\x58\x20" + bytes(32)


@pytest.mark.parametrize("raw", [
    b"", b"\xa0\x00", b"\xf6", b"\x80", b"\xbf\xff", b"\xa1", b"\xa1\x61a\x01", b"\xa1\x64udid\x01", b"\xa1\x64udid\x5f\x41a\xff",
    b"\xa1" + UDID[:-1], b"\xa2" + UDID + UDID, b"\xa1\x44udid\x58\x20" + bytes(32), b"\xa1\x64udid\x41\x00",
    b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff", b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", b"\xa1\x64udid\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x81" * 5000, b"\xa1\x61a" * 5000, b"\xc1" * 5000 + b"\xa0", b"\xa2" + UDID + b"\x68requests\x80", b"\xa2" + UDID + b"\x68requests\xa0",
    b"\xa2" + UDID + b"\x68requests\x81\xa0", b"\xa2" + UDID + b"\x68requests\x81\xa1\x63csr\x63abc",
    b"\xa2" + UDID + b"\x68requests\x9a\xff\xff\xff\xff",
])
def test_malformed_cbor(server, raw):
    answer = call(server, "POST", "/onboard/v1/enrol", raw, {"Content-Type": Cbor.type})
    assert answer.status in (400, 401) and answer.code, answer
    assert answer.headers["Content-Type"] == Cbor.type and cbor2.loads(answer.body)["code"] == answer.code


def test_every_prefix_of_a_good_message(server, register):
    d = register()
    m = signed(server, ENROL, d, ask())
    with kit.connect(server) as s:
        rest = b""
        for form in (Json, Cbor):
            whole = form.dump(m)
            for n in range(0, len(whole), 7):
                s.sendall(b"POST /onboard/v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
                          % (form.type.encode(), n) + whole[:n])
                answer, rest = kit.read_answer(s, rest)
                assert answer.status == 400 and answer.code, (n, answer)
    assert post(server, Cbor, "enrol", m).status == 200  # none of them used the challenge up


@FORMS
def test_unknown_members(server, register, form):
    d = register()
    m = signed(server, ENROL, d, ask(), form=form)
    m["surprise"] = 1
    assert post(server, form, "enrol", m).status == 400
    m = signed(server, ENROL, d, {**ask(), "surprise": "x"}, form=form)
    assert post(server, form, "enrol", m).status == 400
    answer = post(server, form, "challenge", {"a": 1})
    assert answer.status == 400
    answer = post(server, form, "status", signed(server, STATUS, d, ask(), form=form))
    assert answer.status == 400
    assert server.state(d) == "allocated"


@pytest.mark.parametrize("given, status", [("text/plain", 415), ("", 415), ("application/jsonx", 415), ("application/json; charset=utf-8", 200),
                                           ("APPLICATION/JSON", 200)])
def test_media_types(server, given, status):
    answer = call(server, "POST", "/onboard/v1/challenge", b"{}", {"Content-Type": given})
    assert answer.status == status, answer
    if status != 200:
        assert answer.code == "unsupported-media-type"


def test_wrong_method(server):
    answer = call(server, "GET", "/onboard/v1/enrol")
    assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "method-not-allowed", "POST")


def test_too_large(server, register):
    d = register()
    m = message_of(d, *[ask(csr=bytes(16000)) for _ in range(5)])
    answer = post(server, Cbor, "enrol", m)
    assert (answer.status, answer.code) == (413, "body-too-large")
    answer = post(server, Cbor, "enrol", message_of(d, ask(csr=bytes(17000))))
    assert answer.status in (400, 401, 413), answer
