"""EST over CoAP (RFC 9148) with clients that share no code with the server, or none but its CoAP library: go-coap on pion's DTLS, libcoap's
client on OpenSSL and on GnuTLS, and aiocoap's codec. What breaks when a test fails: such a device gets no certificate, a wrong one, or one too many."""

import base64
import os
import re
import signal
import subprocess

import pytest

import coapkit
import kit
from coapkit import ATTRS, CERT, CERTS, CSR, GET, KEY_CMS, LINKS, MULTIPART, PKCS8, POST, Code, Go, Session, assert_refused, enrol, libcoap, parts_of
from kit import Device, certs_of_pkcs7, est_enrol, make_csr

ROOTS = (coapkit.EST, "est")
PER_ADDRESS = 100


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(services=("telemetry", "updates"), policy=("--server-keygen", "yes"))
    s.run("product", "create", "careful", "--org", "oem", "--services", "telemetry", "--approval", "always")
    s.run("batch", "create", "careful-1", "--product", "careful", "--quota", 100)
    coapkit.open_door(s, connections_per_address=PER_ADDRESS)
    s.start()
    return s


@pytest.fixture(scope="module")
def register(server):
    count = iter(range(1000))

    def some(*devices, batch="reel-1"):
        devices = devices or (Device(),)
        server.register(*devices, name=f"m-{next(count)}", batch=batch)
        return devices[0]

    return some


@pytest.fixture(scope="module")
def session(server, go_tool, tmp_path_factory):
    """session(device): a DTLS connection with the device's certificate, or with the certificate and key given; all closed at the end."""
    folder, made = tmp_path_factory.mktemp("sessions"), []

    def connect(device=None, cert=None, key=None, **flags):
        made.append(Session(go_tool("dtlspipe"), server, device and device.files(folder, cert, key), **flags))
        return made[-1]

    yield connect
    for s in made:
        s.close()


@pytest.fixture(scope="module")
def device(register):
    """One that asks, and may enrol."""
    return register()


@pytest.fixture(scope="module")
def line(session, device):
    """A connection of that device that many tests use."""
    return session(device)


@pytest.fixture(scope="module")
def bundle(server, line, tmp_path_factory):
    """What /crts gives, as openssl takes it."""
    path = tmp_path_factory.mktemp("bundle") / "cas.pem"
    path.write_bytes(b"".join(c.public_bytes(kit.PEM) for c in line.ask(GET, coapkit.EST + "/crts").certificates()))
    return path


def assert_good(server, bundle, cert, device, key):
    """A certificate of this device and key, good by OpenSSL's judgement under the root, and in the registry."""
    path = bundle.parent / f"{cert.serial_number:x}.pem"
    path.write_bytes(cert.public_bytes(kit.PEM))
    done = subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", server.anchors(), "-untrusted", bundle, path],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert cert.public_key() == key.public_key() and device.udid in cert.subject.rfc4514_string()
    assert f"{cert.serial_number:032x}" in [row["serial"] for row in rows_of(server, device)]


def rows_of(server, device):
    return server.ask("cert", "list", "--udid", device.udid)["rows"]


def the_certificate(answer):
    assert answer.code == "2.04", answer
    (cert,) = answer.certificates()  # RFC 7030 section 4.2.3: only the certificate issued
    return cert


# --- 4.1: discovery ------------------------------------------------------------------------------------------------------------------


def links_of(text):
    return {path: dict(re.findall(r';(\w+)=("[^"]*"|[^;,]*)', rest)) for path, rest in re.findall(r"<([^>]*)>((?:;\w+=(?:\"[^\"]*\"|[^;,]*))*)", text)}


def test_discovery(line):
    """Section 4.1, RFC 6690: where the functions are, and in which content formats; and each is there."""
    answer = line.ask(GET, ".well-known/core", uri_query=("rt=ace.est*",))
    assert (answer.code, answer.format) == ("2.05", LINKS)
    found = {link["rt"].strip('"'): (path, {int(n) for n in link["ct"].strip('"').split()}) for path, link in links_of(answer.text).items()}
    assert set(found) == {f"ace.est.{name}" for name in ("crts", "sen", "sren", "att", "skg", "skc")}
    for name in ("crts", "sen", "sren"):
        assert CERTS in found[f"ace.est.{name}"][1]
    assert found["ace.est.att"][1] == {ATTRS} and found["ace.est.skg"][1] == found["ace.est.skc"][1] == {MULTIPART}
    for name, (path, formats) in found.items():
        for form in formats if name in ("ace.est.crts", "ace.est.att") else ():
            got = line.ask(GET, path.lstrip("/"), accept=form)
            assert (got.code, got.format) == ("2.05", form), (path, form, got)
        if name not in ("ace.est.crts", "ace.est.att"):
            assert line.ask(GET, path.lstrip("/")).code == "4.05", path


@pytest.mark.parametrize("query,wanted", [("rt=ace.est.sen", {"ace.est.sen"}), ("rt=ace.est.s*", {f"ace.est.{n}" for n in ("sen", "sren", "skg", "skc")}),
                                          ("rt=ace.other", set())])
def test_discovery_filters(line, query, wanted):
    """RFC 6690 section 4.1."""
    answer = line.ask(GET, ".well-known/core", uri_query=(query,))
    assert answer.code == "2.05" or (answer.code == "4.04" and not wanted), answer
    found = links_of(answer.text) if answer.code == "2.05" else {}
    assert {link["rt"].strip('"') for link in found.values()} == wanted


# --- 4.3: CA certificates and attributes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("label", ["", "updates/"])
@pytest.mark.parametrize("accept", [None, CERTS])
def test_crts(server, line, root, label, accept):
    """The certificates that EST over HTTPS gives, in binary; 281 also for who does not say what it wants."""
    answer = line.ask(GET, f"{root}/{label}crts", accept=accept)
    assert (answer.code, answer.format) == ("2.05", CERTS), answer
    assert answer.body == base64.b64decode(kit.call(server, "GET", kit.EST + label + "cacerts").body)
    assert kit.x509.load_pem_x509_certificate(server.anchors().read_bytes()) in answer.certificates()


def test_one_root_for_who_can_take_one(server, line):
    """Section 4.3: 287 is a single certificate; what a device has to hold is the root."""
    answer = line.ask(GET, "est/crts", accept=CERT)
    assert (answer.code, answer.format) == ("2.05", CERT), answer
    assert answer.certificates() == [kit.x509.load_pem_x509_certificate(server.anchors().read_bytes())]


@pytest.mark.parametrize("library", ["openssl", "gnutls"])
def test_crts_with_libcoap(server, device, line, library, tmp_path):
    """On another DTLS, in blocks of 64 bytes."""
    got, said = libcoap(library, server, tmp_path, coapkit.EST + "/crts", "-A", CERTS, "-b", 64, files=device.files(tmp_path))
    assert got == line.ask(GET, "est/crts").body, said


@pytest.mark.parametrize("label", ["", "updates/"])
def test_att(server, line, label):
    answer = line.ask(GET, f"est/{label}att")
    assert (answer.code, answer.format) == ("2.05", ATTRS), answer
    assert answer.body == base64.b64decode(kit.call(server, "GET", kit.EST + label + "csrattrs").body)


# --- enrolment ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("szx", [0, 2, 6], ids=["16 bytes", "64 bytes", "1024 bytes"])
@pytest.mark.parametrize("accept", [None, CERTS, CERT])
def test_sen(server, register, session, bundle, szx, accept):
    """Sections 4.3, 4.5, 4.6: block-wise both ways, down to the smallest blocks."""
    d = register()
    answer, key = enrol(session(d), szx=szx, accept=accept)
    assert answer.format == (accept or CERTS), answer
    assert_good(server, bundle, the_certificate(answer), d, key)
    assert len(rows_of(server, d)) == 1


@pytest.mark.parametrize("block", [32, 256, 1024])
def test_sen_with_go_coap(server, register, go_tool, bundle, tmp_path, block):
    d, key = register(), kit.KEYS["P-256"]()
    cert, path = d.files(tmp_path)
    answer = Go(go_tool("coapcall"), server).ask("post", coapkit.EST + "/sen", cert=cert, key=path, format=CSR, accept=CERTS, body=make_csr(key), block=block)
    assert_good(server, bundle, the_certificate(answer), d, key)


@pytest.mark.parametrize("library", ["openssl", "gnutls"])
def test_sen_with_libcoap(server, register, bundle, library, tmp_path):
    d, key = register(), kit.KEYS["P-256"]()
    got, said = libcoap(library, server, tmp_path, "est/sen", "-t", CSR, "-A", CERT, "-b", 128, files=d.files(tmp_path), body=make_csr(key))
    assert got, said
    assert_good(server, bundle, kit.x509.load_der_x509_certificate(got), d, key)


@pytest.mark.parametrize("alg", ["P-384", "Ed25519"])
def test_other_keys(server, register, session, bundle, alg):
    """Of the device itself, and of what it asks for."""
    d, key = register(Device(alg)), kit.KEYS[alg]()
    answer, _ = enrol(session(d), key)
    assert_good(server, bundle, the_certificate(answer), d, key)


@pytest.mark.parametrize("suite", [coapkit.MANDATORY_SUITE, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"])
@pytest.mark.parametrize("curves", ["P-256", None])
def test_cipher_suites(register, session, suite, curves):
    """Section 3: the mandatory suite really is used by who offers nothing else, with secp256r1; the suite everybody has is there too."""
    with session(register(), ciphers=suite, curves=curves) as s:
        assert s.handshake["cipher"] == suite
        assert the_certificate(enrol(s)[0])


def test_openssl_and_gnutls_agree_on_the_mandatory_suite(server, device, tmp_path):
    """A bare handshake: suite, protocol, and a server certificate that both hold for good."""
    files = device.files(tmp_path)
    status, said = coapkit.s_client(server, "-dtls1_2", "-cipher", "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0", "-verify_ip", "127.0.0.1", files=files)
    assert status == 0 and "Cipher is ECDHE-ECDSA-AES128-CCM8" in said and "Verification: OK" in said, said
    assert "Extended master secret: yes" in said
    done = subprocess.run(["gnutls-cli", "--udp", "--priority", "NORMAL:-CIPHER-ALL:+AES-128-CCM-8", "--x509cafile", server.anchors(), "--x509certfile",
                           files[0], "--x509keyfile", files[1], "-p", str(server.coap_port), "127.0.0.1"], input="", capture_output=True, text=True, timeout=20)
    assert "AES-128-CCM-8" in done.stdout and "certificate is trusted" in done.stdout, done.stdout + done.stderr


def test_labels(server, register, session, bundle):
    """Section 4.1: a label chooses the service, as over HTTPS."""
    d = register()
    with session(d) as s:
        for root in ROOTS:
            for label, service in (("telemetry", "telemetry"), ("updates", "updates")):
                answer, key = enrol(s, root=f"{root}/{label}")
                cert = the_certificate(answer)
                assert_good(server, bundle, cert, d, key)
                assert {row["serial"]: row["service"] for row in rows_of(server, d)}[f"{cert.serial_number:032x}"] == service


def test_sren(server, register, session, bundle):
    """Section 4.2, RFC 7030 section 4.2.2: renewed over the certificate itself, under the same name, on a connection of its own."""
    d = register()
    answer, key = enrol(session(d))
    first = the_certificate(answer)
    with session(d, first, key) as s:
        refused, _ = enrol(s, op="sren", subject="another name")
        assert_refused(server, refused, "4.03", "subject-mismatch")
        answer, new = enrol(s, op="sren", subject=first.subject, szx=2)
        second = the_certificate(answer)
    assert_good(server, bundle, second, d, new)
    assert second.subject == first.subject


def test_both_doors_give_the_same(server, register, session, tmp_path):
    """A device's rights do not depend on the door: one certificate over HTTPS, one over CoAP, alike but for key, serial number and time."""
    d = register()
    over_https = certs_of_pkcs7(est_enrol(server, d, tmp_path)[0].body)[0]
    over_coap = the_certificate(enrol(session(d))[0])
    assert over_https.subject == over_coap.subject and over_https.issuer == over_coap.issuer
    skip = {kit.x509.SubjectKeyIdentifier.oid}
    assert [e for e in over_https.extensions if e.oid not in skip] == [e for e in over_coap.extensions if e.oid not in skip]


# --- 4.8: keys made by the server --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op,form", [("skg", CERTS), ("skc", CERT)])
def test_keys_made_here(server, register, session, bundle, op, form):
    """The key in PKCS#8, the certificate as PKCS#7 or alone; not the key that was in the request, whose signature need not even be good."""
    d, dummy = register(), kit.KEYS["P-256"]()
    csr = make_csr(dummy)
    answer, _ = enrol(session(d), op=op, csr=csr[:-1] + bytes([csr[-1] ^ 1]), accept=MULTIPART, szx=3)
    assert (answer.code, answer.format) == ("2.04", MULTIPART), answer
    parts = parts_of(answer.body)
    assert set(parts) == {PKCS8, form}
    key = kit.serialization.load_der_private_key(parts[PKCS8], None)
    (cert,) = coapkit.certificates(parts[form], form)
    assert key.public_key() != dummy.public_key()
    assert_good(server, bundle, cert, d, key)


def test_keys_made_here_come_encrypted_to_who_asks_so(server, register, session, tmp_path):
    """Sections 4.3 and 4.8: 280 in place of 284; OpenSSL opens it with the device's key and finds the CA's signature inside."""
    import hashlib

    from test_serverkeygen import AES256_CBC, ASYMM_DECRYPT_KEY_ID, SMIME_CAPABILITIES, csr_with, tlv
    d = register()
    point = d.key.public_key().public_bytes(kit.serialization.Encoding.X962, kit.serialization.PublicFormat.UncompressedPoint)
    csr = csr_with(kit.KEYS["P-256"](), (SMIME_CAPABILITIES, tlv(0x30, tlv(0x30, AES256_CBC))), (ASYMM_DECRYPT_KEY_ID, tlv(0x04, hashlib.sha1(point).digest())))
    answer, _ = enrol(session(d), op="skc", csr=csr)
    assert (answer.code, answer.format) == ("2.04", MULTIPART), answer
    parts = parts_of(answer.body)
    assert set(parts) == {KEY_CMS, CERT}
    (tmp_path / "sealed").write_bytes(parts[KEY_CMS])
    opened = subprocess.run(["openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", tmp_path / "sealed", "-inkey", d.files(tmp_path)[1]],
                            capture_output=True)
    assert opened.returncode == 0, opened.stderr
    assert kit.x509.load_der_x509_certificate(parts[CERT]).public_key() != d.key.public_key()
    assert opened.stdout[0] == 0x30


# --- 4.7: answers that take time ------------------------------------------------------------------------------------------------------------


def test_approval(server, register, session, bundle):
    """5.03 with Max-Age until a person has said yes; the same request is then granted, on another connection."""
    d, key = register(batch="careful-1"), kit.KEYS["P-256"]()
    csr = make_csr(key)
    with session(d) as s:
        for _ in range(2):
            answer, _ = enrol(s, key, csr=csr, szx=4)
            assert answer.code == "5.03" and 0 < answer.max_age <= 3600, answer
            assert "approval-pending" in answer.text
    (row,) = server.ask("approval", "list", "--state", "waiting", "--udid", d.udid)["rows"]
    server.run("approval", "approve", row["id"])
    with session(d) as s:
        answer, _ = enrol(s, key, csr=csr, szx=4)
        assert_good(server, bundle, the_certificate(answer), d, key)


# --- who does not get any ---------------------------------------------------------------------------------------------------------------------


def test_a_stranger(server, session):
    d = Device()
    with session(d) as s:
        assert_refused(server, enrol(s)[0], "4.03", "unknown-device")


def test_what_was_revoked(server, register, session):
    d = register()
    answer, key = enrol(session(d))
    cert = the_certificate(answer)
    with session(d, cert, key) as s:
        server.run("cert", "revoke", f"{cert.serial_number:032x}")
        assert_refused(server, enrol(s, op="sren", subject=cert.subject)[0], "4.03", "credential-revoked")
    assert len(rows_of(server, d)) == 1


def test_a_product_that_does_not_take_est(server, register, session):
    """To the policy this door is EST's."""
    server.run("product", "create", "cmp-only", "--org", "oem", "--services", "telemetry", "--protocols", "cmp")
    server.run("batch", "create", "cmp-only-1", "--product", "cmp-only", "--quota", 10)
    with session(register(batch="cmp-only-1")) as s:
        assert_refused(server, enrol(s)[0], "4.03", "protocol-refused")


def test_a_product_that_does_not_take_keys_from_here(server, register, session):
    d = register(batch="careful-1")
    with session(d) as s:
        assert_refused(server, enrol(s, op="skg")[0], "4.03", "server-keygen-off")


# --- messages and their order -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [b"", b"\x00", b"12345678"], ids=["none", "zero", "eight bytes"])
def test_tokens(line, token):
    """RFC 7252 section 5.3.1: of up to eight bytes, any bytes; block-wise transfers keep theirs."""
    assert line.ask(GET, "est/crts", token=token, szx=3).code == "2.05"


def test_non_confirmable(line):
    """RFC 7252 section 5.2.3."""
    m = line.message(GET, "est/att", mtype=coapkit.NON)
    got = line.exchange(m)
    assert got.mtype is coapkit.NON and got.code == Code.CONTENT and got.mid != m.mid


def test_observe_is_not_there(line):
    """RFC 7641 section 2: a server that does not offer it answers as if it had not been asked."""
    answer = line.ask(GET, "est/crts", observe=0, szx=2)
    assert answer.code == "2.05" and answer.message.opt.observe is None


def test_a_repeated_message_is_one_request(server, register, session):
    """RFC 7252 section 4.5: the answer got lost, so the device says it again: the same answer, and one certificate, not two."""
    d = register()
    with session(d) as s:
        m = s.message(POST, "est/sen", make_csr(kit.KEYS["P-256"]()), content_format=CSR, accept=CERT)
        first = s.exchange(m)
        assert first.code == Code.CHANGED
        s.send(m)
        second = s.receive()
        assert second is not None and (second.mid, second.token, second.code, second.payload) == (first.mid, first.token, first.code, first.payload)
    assert len(rows_of(server, d)) == 1


def in_turns(ways):
    """Requests block by block in turns; ways: (session, path, token, request). Returns the answers."""
    last, size = [None] * len(ways), 64
    for n in range(max(len(csr) for *_, csr in ways) // size + 1):
        for w, (s, path, token, csr) in enumerate(ways):
            if n * size < len(csr) and (last[w] is None or last[w].code == Code.CONTINUE):
                last[w] = s.exchange(s.message(POST, path, csr[n * size:(n + 1) * size], token=token, content_format=CSR, accept=CERT,
                                               block1=(n, (n + 1) * size < len(csr), 2)))
    return [coapkit.answer_of(s.rest_of(got, POST, path, 2, token, {"content_format": CSR, "accept": CERT}))
            for (s, path, token, _), got in zip(ways, last)]


def test_two_devices_side_by_side(server, register, session, bundle):
    """On two connections, with the same token: neither gets the other's bytes."""
    devices, keys = (register(), register()), [kit.KEYS["P-256"]() for _ in range(2)]
    answers = in_turns([(session(d), "est/sen", b"same", make_csr(k)) for d, k in zip(devices, keys)])
    for d, key, answer in zip(devices, keys, answers):
        assert_good(server, bundle, the_certificate(answer), d, key)


def test_two_transfers_on_one_connection(register, session):
    """RFC 9148 section 6 expects one at a time; who begins another loses the first (4.08), or has both. What was put together is never a mixture."""
    keys, line = [kit.KEYS["P-256"]() for _ in range(2)], session(register())
    answers = in_turns([(line, f"est/{label}/sen", bytes([n]), make_csr(k)) for n, (label, k) in enumerate(zip(("telemetry", "updates"), keys))])
    for key, answer in zip(keys, answers):
        assert answer.code in ("2.04", "4.08"), answer
        assert answer.code == "4.08" or the_certificate(answer).public_key() == key.public_key()


def test_many_devices_at_once(server, register, go_tool, tmp_path):
    devices = [Device() for _ in range(12)]
    register(*devices)
    keys = [kit.KEYS["P-256"]() for _ in devices]
    requests = []
    for d, key in zip(devices, keys):
        cert, path = d.files(tmp_path)
        requests.append({"cert": cert, "key": path, "method": "post", "path": "est/sen", "format": CSR, "body": make_csr(key), "block": 256})
    answers = Go(go_tool("coapcall"), server).many(requests, parallel=6)
    for d, key, answer in zip(devices, keys, answers):
        cert = the_certificate(answer)
        assert cert.public_key() == key.public_key() and d.udid in cert.subject.rfc4514_string()


# --- the network loses, doubles and cuts ------------------------------------------------------------------------------------------------------------


def test_the_first_answer_of_the_handshake_is_lost(server, register, session):
    """RFC 6347 section 4.2.4: the client says its flight again, and gets in."""
    with coapkit.Relay(server, lambda to_server, i, d: [] if not to_server and i == 1 else [d]) as way:
        with session(register(), addr=way.address, flight="200ms") as s:
            assert the_certificate(enrol(s)[0])


def test_everything_comes_twice(server, register, session):
    """RFC 6347 section 4.1.2.6: a record that came before is not a record."""
    d = register()
    with coapkit.Relay(server, lambda to_server, i, datagram: [datagram, datagram]) as way:
        with session(d, addr=way.address) as s:
            assert the_certificate(enrol(s, szx=3)[0])
            assert s.ask(GET, "est/crts").code == "2.05"
    assert len(rows_of(server, d)) == 1
    assert max(map(len, way.down)) <= 1280 - 48  # section 4.6: nothing that IPv6 has to take apart


def test_an_answer_that_takes_long(server, register, session, bundle):
    """Section 4.7, RFC 7252 section 5.2.2: an empty acknowledgement at once, so that the device does not ask again; the answer as a message of its own, which comes
    again (section 4.2) until it is acknowledged."""
    d, key = register(), kit.KEYS["P-256"]()
    line, keeper = session(d), server.keeper()
    m = line.message(POST, "est/sen", make_csr(key), content_format=CSR, accept=CERT)
    os.kill(keeper, signal.SIGSTOP)
    try:
        line.send(m)
        ack = line.receive(5)
        assert ack is not None and (ack.mtype, ack.mid, ack.code) == (coapkit.ACK, m.mid, Code.EMPTY), ack
    finally:
        os.kill(keeper, signal.SIGCONT)
    first, again = line.receive(), line.receive()
    assert (first.mtype, first.token, first.code) == (coapkit.CON, m.token, Code.CHANGED)
    assert again is not None and (again.mtype, again.mid, again.payload) == (coapkit.CON, first.mid, first.payload)
    line.acknowledge(again)
    assert line.alive()
    assert_good(server, bundle, the_certificate(coapkit.answer_of(first)), d, key)


def test_small_handshake_messages(register, session):
    """Section 3: a client on a narrow link cuts its handshake messages into pieces (RFC 6347 section 4.2.3)."""
    with session(register(), mtu=200) as s:
        assert the_certificate(enrol(s, szx=1)[0])


# --- processes ---------------------------------------------------------------------------------------------------------------------------------------


def test_a_crowd_that_says_nothing(server, register, session, go_tool, device, tmp_path):
    """Clients that connect and then are silent, from one address: it gets its share of the places and no more, and whoever comes from elsewhere is served."""
    with Session(go_tool("dtlspipe"), server, device.files(tmp_path), idle=PER_ADDRESS + 10, timeout="1s", **{"from": "127.0.0.3"}) as crowd:
        assert crowd.handshake["idle"] == PER_ADDRESS and crowd.handshake["failed"], crowd.handshake
        with session(register()) as s:
            assert the_certificate(enrol(s)[0])


def reload(server, text):
    seen = server.tail(1000).count("configuration read again")
    (server.data / "birthmark.conf").write_text(text)
    server.process.send_signal(signal.SIGHUP)
    kit.wait_for("the reload", lambda: server.tail(1000).count("configuration read again") > seen)


def test_an_operator_lowers_the_limit(server, session, device):
    """Breaks when `coap_sessions` needs a restart, or when those that are too many stay: who has been silent longest makes room."""
    before = (server.data / "birthmark.conf").read_text()
    reload(server, before + "coap_sessions = 16\ncoap_handshakes = 8\n")
    lines = []
    for _ in range(17):
        lines.append(session(device))
        assert lines[-1].ask(GET, "est/crts").code == "2.05"
    assert lines[1].alive() and not lines[0].alive()
    reload(server, before)


def test_the_process_dies(server, register, session, bundle):
    """It comes back by itself; HTTPS was never away, nothing is lost, and the supervisor had no more to do than that."""
    d = register()
    line = session(d)
    answer, key = enrol(line)
    cert, keeper, was = the_certificate(answer), server.keeper(), coapkit.process_of(server)
    os.kill(was, signal.SIGKILL)
    assert kit.call(server, "GET", kit.EST + "cacerts").status == 200
    kit.wait_for("the CoAP process", lambda: coapkit.process_of(server) not in (None, was))
    assert server.keeper() == keeper
    with session(d, cert, key, timeout="20s") as s:
        answer, new = enrol(s, op="sren", subject=cert.subject)
        assert_good(server, bundle, the_certificate(answer), d, new)
    assert len(rows_of(server, d)) == 2
