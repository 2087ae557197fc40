"""What RFC 9148 demands of a server, and what it leans on (RFC 7252, RFC 7959, RFC 6347), each violated by one message that is right in all else. A row
breaks when such a message is taken, or refused in another way than the standard's own; after all of it the device is as it was and the door is open."""

import base64
import random
import socket
import struct
import time

import pytest

import coapkit
import kit
from coapkit import ATTRS, CERT, CERTS, CSR, DELETE, EST, GET, MULTIPART, POST, PUT, Code, Failed, Session, assert_refused
from kit import Device, make_csr

SEED = 9148


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(services=("telemetry",))
    coapkit.open_door(s)
    s.start()
    s.first_process = coapkit.process_of(s)
    return s


@pytest.fixture(scope="module")
def device(server):
    """One for all that is refused: it must not get anywhere."""
    d = Device()
    server.register(d)
    return d


@pytest.fixture(scope="module")
def files(device, tmp_path_factory):
    return device.files(tmp_path_factory.mktemp("device"))


@pytest.fixture(scope="module")
def shared_line(server, files, go_tool):
    with Session(go_tool("dtlspipe"), server, files) as s:
        yield s


@pytest.fixture
def line(shared_line):
    """A connection that many rows use: it has to be good after each."""
    yield shared_line
    assert shared_line.alive()


@pytest.fixture(scope="module")
def connect(server, files, go_tool):
    """connect(...): another connection of the same device, with flags of dtlspipe."""
    return lambda cert=files, **flags: Session(go_tool("dtlspipe"), server, cert, **{"timeout": "4s", "flight": "300ms", **flags})


KEY = kit.KEYS["P-256"]()
REQUEST = make_csr(KEY, "unit")
NO_PROOF = REQUEST[:-3] + bytes([REQUEST[-3] ^ 1]) + REQUEST[-2:]  # its signature is not good: never enough for a certificate

# --- section 3: who is it ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["crts", "att", "sen", "sren", "skg", "skc"])
def test_nobody(connect, op):
    """Section 4: the client MUST be authenticated for all functions, with a certificate in the handshake (section 3)."""
    try:
        with connect(None) as s:
            answer = s.ask(GET, f"{EST}/{op}") if op in ("crts", "att") else s.ask(POST, f"{EST}/{op}", REQUEST, content_format=CSR)
            assert answer.code == "4.01", answer
    except Failed as failed:
        assert "alert" in str(failed).lower(), failed


@pytest.mark.parametrize("flags", [{"psk": "secret", "cert": None}, {"ciphers": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}],
                         ids=["a shared key", "RSA"])
def test_handshake(connect, flags):
    """Section 3: client certificates, and suites with ECDSA: nothing else is spoken."""
    with pytest.raises(Failed):
        connect(**flags)


@pytest.mark.parametrize("flags", [("-dtls1", "-cipher", "ALL:@SECLEVEL=0"), ("-dtls1_2", "-cipher", "aNULL:@SECLEVEL=0"),
                                   ("-dtls1_2", "-cipher", "eNULL:@SECLEVEL=0"), ("-dtls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384:@SECLEVEL=0"),
                                   ("-dtls1_2", "-curves", "secp224r1")],
                         ids=["DTLS 1.0", "anonymous", "unencrypted", "no forward secrecy", "a weak curve"])
def test_handshakes_of_openssl(server, files, flags):
    """RFC 7925 section 4.4, RFC 9325, RFC 8996."""
    try:
        status, said = coapkit.s_client(server, *flags, files=files, timeout=4)
        assert status != 0 or "Cipher is (NONE)" in said, said
    except coapkit.subprocess.TimeoutExpired:
        pass  # no word at all is a refusal too


def test_no_second_handshake_inside_of_one(server, files):
    """RFC 7925 section 17: no renegotiation: who was proven at the beginning is who it is until the end."""
    _, said = coapkit.s_client(server, "-dtls1_2", files=files, say="R\n")
    assert "RENEGOTIATING" in said and "no renegotiation" in said, said


def test_no_session_comes_back(server, files, tmp_path):
    """docs/architecture.md: a resumed handshake has no CertificateVerify, so it would prove nothing."""
    kept = tmp_path / "session"
    first = coapkit.s_client(server, "-dtls1_2", "-sess_out", kept, files=files)
    second = coapkit.s_client(server, "-dtls1_2", "-sess_in", kept, files=files)
    for status, said in (first, second):
        assert status == 0 and "New, TLSv1.2" in said and "Reused" not in said, said


def test_a_proof_that_is_not_ours(server, connect, files):
    """RFC 5246 section 7.4.8: a bit of the signature in CertificateVerify is another: whoever shows a certificate must hold its key."""
    def change(to_server, index, datagram):
        at = certificate_verify(datagram) if to_server else None
        return [datagram if at is None else datagram[:at] + bytes([datagram[at] ^ 1]) + datagram[at + 1:]]

    with coapkit.Relay(server, change) as way, pytest.raises(Failed):
        connect(addr=way.address)
    assert any(certificate_verify(d) is not None for d in way.up)


def certificate_verify(datagram):
    """Where in a datagram the last byte of that message is; None: it is in clear, but not in there."""
    at = 0
    while at + 13 <= len(datagram):
        kind, epoch, size = datagram[at], struct.unpack(">H", datagram[at + 3:at + 5])[0], struct.unpack(">H", datagram[at + 11:at + 13])[0]
        if kind == 22 and epoch == 0 and datagram[at + 13] == 15:
            return at + 13 + size - 1
        at += 13 + size
    return None


def test_no_coap_without_dtls(server):
    """Section 3: there is no CoAP in clear at this port, and no answer to who tries."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.5)
        s.sendto(struct.pack(">BBH", 0x40, 1, 7) + b"\xbb.well-known\x04core", ("127.0.0.1", server.coap_port))
        with pytest.raises(TimeoutError):
            s.recv(2048)


# --- sections 4.1, 4.2: paths and methods ---------------------------------------------------------------------------------------------------

PATHS = {
    "nowhere": (GET, "nowhere", "4.04"),
    "the root": (GET, "", "4.04"),
    "est and nothing": (GET, "est", "4.04"),
    "the long name": (GET, f"{EST}/cacerts", "4.04"),
    "the long name of sen": (POST, f"{EST}/simpleenroll", "4.04"),
    "fullcmc, which is not specified (4.2)": (POST, f"{EST}/fullcmc", "4.04"),
    "in capitals": (GET, f"{EST}/CRTS", "4.04"),
    "a segment more": (GET, f"{EST}/telemetry/crts/x", "4.04"),
    "two labels": (GET, f"{EST}/telemetry/telemetry/crts", "4.04"),
    "an empty label": (GET, f"{EST}//crts", "4.04"),
    "a label that is none": (GET, f"{EST}/nowhere/crts", "4.04"),
    "a slash in a segment": (GET, (".well-known", "est/crts"), "4.04"),
    "dots": (GET, (".well-known", "est", "..", "est", "crts"), "4.04"),
    "GET sen": (GET, f"{EST}/sen", "4.05"),
    "GET sren": (GET, f"{EST}/sren", "4.05"),
    "GET skg": (GET, f"{EST}/skg", "4.05"),
    "GET skc": (GET, f"{EST}/skc", "4.05"),
    "POST crts": (POST, f"{EST}/crts", "4.05"),
    "POST att": (POST, f"{EST}/att", "4.05"),
    "PUT sen": (PUT, f"{EST}/sen", "4.05"),
    "DELETE crts": (DELETE, f"{EST}/crts", "4.05"),
    "POST for discovery": (POST, ".well-known/core", "4.05"),
    "PUT for discovery": (PUT, ".well-known/core", "4.05"),
    "FETCH (RFC 8132)": (Code.FETCH, f"{EST}/crts", "4.05"),
    "a method that is none (RFC 7252 5.8)": (Code(31), f"{EST}/crts", "4.05"),
}


@pytest.mark.parametrize("name", PATHS)
def test_path(line, name):
    method, path, code = PATHS[name]
    body, form = (REQUEST, CSR) if method in (POST, PUT) else (b"", None)
    assert line.ask(method, path, body, content_format=form).code == code


def test_a_label_that_is_none_does_not_enrol(server, line):
    answer = line.ask(POST, f"{EST}/nowhere/sen", REQUEST, content_format=CSR)
    assert_refused(server, answer, "4.03", "service-refused")


# --- sections 4.3, 4.4: formats --------------------------------------------------------------------------------------------------------------

FORMATS = {
    "text": 0, "CBOR": 60, "multipart": MULTIPART, "certificates": CERTS, "a certificate": CERT, "attributes": ATTRS,
    "CMC request": 282, "PKCS#8": 284, "one that nobody has": 65000,
}


@pytest.mark.parametrize("op", ["sen", "sren", "skg"])
@pytest.mark.parametrize("name", FORMATS)
def test_content_format(line, name, op):
    """Section 4.3: the combination MUST be one that EST allows: a request is 286. RFC 7252 section 5.9.2.11: 4.15."""
    if op != "sen" and name != "certificates":
        return
    assert line.ask(POST, f"{EST}/{op}", REQUEST, content_format=FORMATS[name]).code == "4.15"


ACCEPT = [("crts", ATTRS), ("crts", MULTIPART), ("crts", 0), ("crts", 65000), ("att", CERTS), ("sen", MULTIPART), ("sen", CSR), ("sren", 60),
          ("skg", CERTS), ("skg", CERT), ("skc", 284), (".core", CERTS)]


@pytest.mark.parametrize("op,accept", ACCEPT)
def test_accept(server, line, device, op, accept):
    """RFC 7252 section 5.10.4: what cannot be given as the client wants it is 4.06; and nothing has been issued before that was found out."""
    if op in ("crts", "att", ".core"):
        path = ".well-known/core" if op == ".core" else f"{EST}/{op}"
        answer = line.ask(GET, path, accept=accept)
    else:
        answer = line.ask(POST, f"{EST}/{op}", REQUEST, content_format=CSR, accept=accept)
    assert answer.code == "4.06", answer
    assert server.ask("cert", "list", "--udid", device.udid)["rows"] == []


BODIES = {
    "nothing at all": (b"", "4.00", None),
    "base64 (4.3: binary)": (base64.b64encode(REQUEST), "4.00", None),
    "PEM": (b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(REQUEST), "4.00", None),
    "no DER": (b"hello, this is no certificate request", "4.00", None),
    "cut short": (REQUEST[:-1], "4.00", None),
    "a byte more": (REQUEST + b"\0", "4.00", None),
    "two requests": (REQUEST + REQUEST, "4.00", None),
    "no proof of possession": (NO_PROOF, "4.03", "bad-signature"),
}


@pytest.mark.parametrize("name", BODIES)
def test_body(server, line, name):
    body, code, why = BODIES[name]
    assert_refused(server, line.ask(POST, f"{EST}/sen", body, content_format=CSR), code, why)


# --- RFC 7252 section 5.4: options -------------------------------------------------------------------------------------------------------------


def option(line, number, value, method=GET, path=f"{EST}/att", mtype=coapkit.CON, times=1):
    """A good message with one option more, written by hand in the right place."""
    m = line.message(method, path, mtype=mtype)
    head, options = m.encode()[:4 + len(m.token)], [(11, segment.encode()) for segment in m.opt.uri_path] + [(number, value)] * times
    out, last = b"", 0
    for n, v in sorted(options, key=lambda o: o[0]):
        (delta, more_delta), (size, more_size) = nibble(n - last), nibble(len(v))
        out, last = out + bytes([delta << 4 | size]) + more_delta + more_size + v, n
    return head + out, m


def nibble(n):
    return (n, b"") if n < 13 else (13, bytes([n - 13])) if n < 269 else (14, struct.pack(">H", n - 269))


def code_of(line, raw, m):
    """The code of the answer to m."""
    line.send(raw)
    got = line.receive()
    assert got is not None, "no answer"
    assert got.mid == m.mid
    return got.code.dotted if got.mtype is not coapkit.RST else "reset"


CRITICAL = {
    "critical and unknown (5.4.1)": (2049, b"x", "4.02"),
    "critical, unknown and empty": (65001, b"", "4.02"),
    "OSCORE (RFC 8613), which is not here": (9, b"\x09\x00\x01", "4.02"),
    "If-Match, which nothing here has": (1, b"etag", None),
    "Uri-Path of 256 bytes (5.10.1)": (11, b"x" * 256, None),
    "Accept of three bytes (5.10.4)": (17, b"\0\1\x19", "4.02"),
    "Proxy-Uri (5.10.2)": (35, b"coap://example/", "5.05"),
    "Proxy-Scheme (5.10.2)": (39, b"coap", "5.05"),
}


@pytest.mark.parametrize("name", CRITICAL)
def test_critical_option(line, name):
    number, value, want = CRITICAL[name]
    got = code_of(line, *option(line, number, value))
    assert got == want or (want is None and got in ("4.02", "4.04", "4.12")), got


def test_accept_said_twice(line):
    """RFC 7252 section 5.4.5: the second of an option that is not repeatable is as unknown; Accept is critical."""
    assert code_of(line, *option(line, 17, b"\x01\x1d", times=2)) == "4.02"


@pytest.mark.parametrize("number", [2050, 65000, 60, 14])
def test_elective_option(line, number):
    """Section 5.4.1: an elective option that means nothing here is passed over."""
    assert code_of(line, *option(line, number, b"\x05")) == "2.05"


# --- RFC 7252 sections 3 and 4: the form of messages ----------------------------------------------------------------------------------------------

MALFORMED = {
    "a token of nine bytes": b"\x49\x01%s" + b"t" * 9,
    "a token of fifteen bytes": b"\x4f\x01%s" + b"t" * 15,
    "a token cut short": b"\x48\x01%sabc",
    "a payload marker and no payload": b"\x40\x01%s\xb3est\x04crts\xff",
    "an option longer than the message": b"\x40\x01%s\xb3est\x0acrts",
    "an option delta of 15": b"\x40\x01%s\xf1x",
    "an option length of 15": b"\x40\x01%s\xbfx",
    "an extended delta cut short": b"\x40\x01%s\xe0\x01",
    "option numbers past 65535": b"\x40\x01%s\xe0\xff\xff\xe0\xff\xff",
    "an empty message with a token (4.1)": b"\x41\x00%st",
    "an empty message with a payload": b"\x40\x00%s\xffx",
    "a class that is reserved (1.00)": b"\x40\x20%s",
    "a class that is reserved (7.31)": b"\x40\xff%s",
    "an answer to nothing": b"\x40\x45%s",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(line, name):
    """Section 4.2: a confirmable message with a format error is rejected: with a reset, or without a word. In no case it is answered as a request."""
    line.mid += 1
    head, rest = MALFORMED[name].split(b"%s")
    line.write(head + struct.pack(">H", line.mid) + rest)
    got = line.receive(0.3)
    assert got is None or (got.mtype is coapkit.RST and got.mid == line.mid) or (got.code.is_response() and got.code.class_ == 4), got


SILENT = {"version 0": b"\x00\x01\x12\x34\xb3est\x04crts", "version 2": b"\x80\x01\x12\x34\xb3est\x04crts", "three bytes": b"\x40\x01\x12",
          "one byte": b"\x40", "an acknowledgement of nothing": b"\x60\x00\x77\x77", "a reset of nothing": b"\x70\x00\x77\x77",
          "a request in an acknowledgement": b"\x60\x01\x12\x34\xb3est\x04crts"}


@pytest.mark.parametrize("name", SILENT)
def test_passed_over(line, name):
    """Section 3: MUST be silently ignored; section 4.2: acknowledgements and resets are never answered."""
    line.write(SILENT[name])
    assert line.receive(0.3) is None


# --- RFC 7959: blocks ------------------------------------------------------------------------------------------------------------------------------


def put(line, blocks, body=NO_PROOF, token=None, path=f"{EST}/sen", form=CSR, szx=2):
    """Sends blocks of a body, as (number, more) or (number, more, exponent, bytes); returns the last code, the first that is not 2.31."""
    token = token or struct.pack(">I", random.getrandbits(32))
    for number, more, *rest in blocks:
        exponent, payload = rest if rest else (szx, body[number * (16 << szx):(number + 1) * (16 << szx)])
        got = line.exchange(line.message(POST, path, payload, token=token, content_format=form, block1=(number, more, exponent)))
        if got.code != Code.CONTINUE:
            break
    return got.code.dotted


def raw_block(line, number, value, payload=b""):
    """A Block option that the codec would not write."""
    m = line.message(POST if payload else GET, f"{EST}/{'sen' if payload else 'crts'}", payload)
    head, path = m.encode()[:4 + len(m.token)], b"\xbb.well-known\x03est\x03sen" if payload else b"\xbb.well-known\x03est\x04crts"
    form = bytes([0x12, CSR >> 8, CSR & 255]) if payload else b""
    delta = number - (12 if payload else 11)
    size, more = nibble(delta)
    return head + path + form + bytes([size << 4 | len(value)]) + more + value + (b"\xff" + payload if payload else b""), m


N = (len(NO_PROOF) + 63) // 64  # blocks of 64 bytes
ALL = [(i, i + 1 < N) for i in range(N)]
BLOCKS = {
    "all of them (it is the signature that is bad)": (ALL, ("4.03",)),
    "it begins in the middle (2.9.2)": (ALL[1:], ("4.08",)),
    "one is left out": (ALL[:1] + ALL[2:], ("4.08",)),
    "only the last": (ALL[-1:], ("4.08",)),
    "the end twice as far": (ALL[:-1] + [(2 * N, False, 2, NO_PROOF[-64:])], ("4.08",)),
    "more to come, but short (2.3)": ([(0, True, 2, NO_PROOF[:60])], ("4.00",)),
    "more to come, but long": ([(0, True, 2, NO_PROOF[:65])], ("4.00",)),
    "more to come, but empty": ([(0, True, 2, b"")], ("4.00",)),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_block1(line, name):
    """RFC 7959 sections 2.3 and 2.9.2: 4.08 for blocks that are missing, 4.00 for a block that is not one."""
    blocks, codes = BLOCKS[name]
    assert put(line, blocks) in codes


def test_a_block_of_another_transfer(line):
    """Section 2.5: the first block begins anew; what was before does not come into what is after."""
    assert put(line, ALL[:3] + ALL, token=b"same") == "4.03"  # all of the second, and whole: its own signature is judged


def test_too_much(line):
    """Section 2.9.3: 4.13, before the server has taken it all in."""
    sent = 0
    for n in range(200):
        got = line.exchange(line.message(POST, f"{EST}/sen", bytes(1024), token=b"much", content_format=CSR, block1=(n, True, 6)))
        sent += 1024
        if got.code != Code.CONTINUE:
            break
    assert got.code.dotted == "4.13" and sent <= 65536, (got.code, sent)
    assert 0 < got.opt.size1 <= sent  # what would have been taken


def test_size1_says_too_much(line):
    """Section 4: an estimate that cannot be right for us is refused at once, or the transfer when it gets there; memory is not given on its word."""
    m = line.message(POST, f"{EST}/sen", NO_PROOF[:64], content_format=CSR, block1=(0, True, 2), size1=0xffffffff)
    assert line.exchange(m).code.dotted in ("4.13", "2.31")


@pytest.mark.parametrize("option_number", [27, 23], ids=["Block1", "Block2"])
@pytest.mark.parametrize("value,codes", [(b"\x07", ("4.00",)), (b"\x0f", ("4.00",)), (b"\0\0\0\x06", ("4.02", "4.00"))],
                         ids=["exponent 7", "exponent 7 and more", "four bytes"])
def test_block_option(line, option_number, value, codes):
    """Section 2.2: SZX 7 is reserved and MUST be answered by 4.00; a block option has three bytes at most."""
    assert code_of(line, *raw_block(line, option_number, value, NO_PROOF[:64] if option_number == 27 else b"")) in codes


def test_block2_past_the_end(line):
    """Section 2.4: there is no such block."""
    got = line.exchange(line.message(GET, f"{EST}/crts", block2=(4000, False, 2)))
    assert got.code.dotted in ("4.00", "4.02", "4.08", "4.04"), got


def test_many_transfers_that_never_end(line, connect):
    """What was begun and left does not keep anybody from a transfer of his own."""
    for n in range(150):
        m = line.message(POST, f"{EST}/sen", NO_PROOF[:64], token=struct.pack(">I", n), content_format=CSR, block1=(0, True, 2))
        assert line.exchange(m).code.dotted in ("2.31", "4.13", "4.29", "5.03", "4.08")
    assert put(line, ALL) == "4.03"
    with connect() as other:
        assert put(other, ALL) == "4.03"


# --- at the door ------------------------------------------------------------------------------------------------------------------------------------


def with_cookie(hello, cookie):
    """The second ClientHello to a first one (RFC 6347 section 4.2.1): the same with the cookie in it, message 1 in record 1."""
    body = hello[25:]
    at = 34 + 1 + body[34]
    assert body[at] == 0
    body = body[:at] + bytes([len(cookie)]) + cookie + body[at + 1:]
    size = struct.pack(">I", len(body))[1:]
    message = hello[13:14] + size + b"\0\1" + b"\0\0\0" + size + body
    return hello[:10] + b"\1" + struct.pack(">H", len(message)) + message


def cookie_of(answer):
    """Of a HelloVerifyRequest; fails when it is anything else."""
    assert answer[0] == 22 and answer[13] == 3, answer.hex()
    assert answer[25 + 2] == len(answer) - 28
    return answer[28:]


def udp(address="127.0.0.1"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 0))
    s.settimeout(10)
    return s


@pytest.fixture(scope="module")
def hello():
    return coapkit.client_hello()


def gather(sockets, seconds):
    """What arrives within that time."""
    until, got = time.monotonic() + seconds, []
    while (left := until - time.monotonic()) > 0:
        for s in coapkit.select.select(sockets, [], [], left)[0]:
            got.append(s.recv(65536))
    return got


def test_it_does_not_amplify(server, hello, connect):
    """RFC 6347 section 4.2.1: who has not shown that he receives what we send gets one small answer for each datagram, never again by itself, and
    leaves nothing behind: a victim whose address was forged gets less than what the forger sent."""
    sockets = [udp() for _ in range(250)]
    for s in sockets:
        s.sendto(hello, ("127.0.0.1", server.coap_port))
    got = gather(sockets, 2.5)  # retransmission would be after one second
    assert 0 < len(got) <= len(sockets)
    assert all(cookie_of(g) for g in got)
    assert sum(map(len, got)) < len(hello) * len(sockets)
    with connect() as s:
        assert s.alive()
    for s in sockets:
        s.close()


def test_a_cookie_is_for_one_address(server, hello):
    """Another port, another address: he gets a cookie of his own, not the server's flight."""
    to = ("127.0.0.1", server.coap_port)
    with udp() as a, udp() as b, udp("127.0.0.2") as c:
        a.sendto(hello, to)
        cookie = cookie_of(a.recv(2048))
        for other in (b, c):
            other.sendto(with_cookie(hello, cookie), to)
            for got in gather([other], 0.3):
                assert cookie_of(got) != cookie
        a.sendto(with_cookie(hello, cookie), to)
        assert a.recv(2048)[13] == 2  # ServerHello: it was a good cookie


def begin(server, hello, sockets):
    """Says both ClientHellos from each and then no more; returns how many were answered with a ServerHello."""
    to, asked, answered = ("127.0.0.1", server.coap_port), set(), set()

    def hear(patience):
        ready = coapkit.select.select(sockets, [], [], patience)[0]
        for s in ready:
            got = s.recv(2048)
            if got[13] == 3 and s not in asked:
                asked.add(s)
                s.sendto(with_cookie(hello, cookie_of(got)), to)
            elif got[13] == 2:
                answered.add(s)
        return ready

    for i in range(0, len(sockets), 25):  # not all at once: the server's socket has room for so many
        for s in sockets[i:i + 25]:
            s.sendto(hello, to)
        while hear(0.02):
            pass
    while hear(0.7):
        pass
    return len(answered)


def test_handshakes_that_never_end(server, hello, connect):
    """Whoever shows that he receives, and then says no more, takes a place; there are 512, and when they are taken the next who comes gets that of the one silent
    longest. So a device gets in; and when it is time to stop, nobody who never finished holds the server up."""
    sockets = [udp() for _ in range(600)]
    assert begin(server, hello, sockets) > 512
    with connect(timeout="8s") as s:
        assert s.alive()
    for s in sockets:
        s.close()


def mutations(random_, seeds, n):
    for _ in range(n):
        m = bytearray(random_.choice(seeds))
        for _ in range(random_.randrange(1, 6)):
            at = random_.randrange(len(m))
            kind = random_.randrange(4)
            if kind == 0:
                m[at] ^= 1 << random_.randrange(8)
            elif kind == 1:
                m[at] = random_.choice((0, 1, 0x7f, 0x80, 0xff))
            elif kind == 2:
                del m[at:at + random_.randrange(1, 9)]
            else:
                m[at:at] = random_.randbytes(random_.randrange(1, 9))
            if not m:
                m = bytearray(b"\0")
        yield bytes(m)


def test_noise_at_the_port(server, hello, connect):
    """2,000 datagrams that are nearly a handshake, or nothing at all; the same each time."""
    noise, to = random.Random(SEED), ("127.0.0.1", server.coap_port)
    seeds = [hello, with_cookie(hello, b"c" * 32), hello[:13] + b"\x0b" + hello[14:], b"\x17" + hello[1:60], b"\x15\xfe\xfd" + bytes(8) + b"\0\2\2\x28"]
    with udp() as s, udp() as other:
        for n, datagram in enumerate(mutations(noise, seeds, 1900)):
            (other if n % 7 == 0 else s).sendto(datagram, to)
            if n % 50 == 0:
                time.sleep(0.005)  # so that the socket's buffer does not drop most of it
        for _ in range(100):
            s.sendto(noise.randbytes(noise.randrange(0, 1400)), to)
    with connect(timeout="10s") as line:
        assert line.alive()
    assert coapkit.process_of(server) == server.first_process


def test_noise_inside(server, connect, device):
    """400 messages that are nearly right, on a good connection: the connection may end, the server may not."""
    noise = random.Random(SEED)
    line = connect()
    seeds = [line.message(GET, f"{EST}/crts", accept=CERTS).encode(), line.message(POST, f"{EST}/sen", NO_PROOF, content_format=CSR, accept=CERT).encode(),
             line.message(POST, f"{EST}/sen", NO_PROOF[:64], content_format=CSR, block1=(0, True, 2)).encode(),
             line.message(GET, ".well-known/core", uri_query=("rt=ace.est*",)).encode(), line.message(GET, f"{EST}/crts", block2=(1, False, 0)).encode()]
    for n, m in enumerate(mutations(noise, seeds, 400)):
        try:
            line.write(m)
        except BrokenPipeError:
            line.close()
            line = connect()
        if n % 20 == 19:
            while line.read(0.01) is not None:
                pass
    line.close()
    with connect(timeout="10s") as other:
        assert other.alive()
    assert coapkit.process_of(server) == server.first_process
    assert server.ask("cert", "list", "--udid", device.udid)["rows"] == []


# --- after all of it -----------------------------------------------------------------------------------------------------------------------------------


def test_nothing_came_of_it(server, device, connect):
    """No certificate; the same process; and the device may still have what is its own."""
    assert server.state(device) == "allocated"
    assert server.ask("cert", "list", "--udid", device.udid)["rows"] == []
    assert coapkit.process_of(server) == server.first_process
    with connect() as s:
        assert coapkit.enrol(s)[0].code == "2.04"
