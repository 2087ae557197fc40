"""The server as a process and as a peer: stop, reload, start-up complaints, and clients that are slow, rude or broken. Raw sockets
throughout, so that nothing is tidied up on the way."""

import base64
import contextlib
import os
import pathlib
import random
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest
from cryptography import x509

import kit
from kit import EST, Device, call, connect, est_enrol, read_answer, wait_for

POST_HEAD = b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/pkcs10\r\n"


@pytest.fixture(scope="module")
def shared(shared_servers):
    """For tests that leave the server as it was."""
    s = shared_servers()
    s.init()
    s.furnish()
    s.start("--workers", 2)
    s.anchors()
    return s


@pytest.fixture(scope="module")
def device(shared):
    d = Device()
    shared.register(d)
    return d


def closed(s):
    """True when the peer has closed; data before that is thrown away."""
    try:
        while s.recv(65536):
            pass
        return True
    except (ConnectionError, ssl.SSLError):
        return True


def still_well(server):
    assert call(server, "GET", "/healthz").status == 200
    assert server.process.poll() is None


# --- start ---------------------------------------------------------------------------------------------------------------------------------


def test_ready_line(server):
    assert server.ready_line.startswith(f"birthmark: serving https://127.0.0.1:{server.port} (")
    assert (server.data / "serving").read_text() == f"https://127.0.0.1:{server.port}\n"
    answer = call(server, "GET", "/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")
    assert call(server, "HEAD", "/healthz").body == b""


def test_any_free_port(new_server):
    s = new_server()
    s.init()
    s.start("--listen", "127.0.0.1:0")
    s.port = int(s.ready_line.split("127.0.0.1:")[1].split()[0])
    assert call(s, "GET", "/healthz").status == 200


def test_several_addresses(new_server):
    s, second = new_server(), kit.free_port()
    s.init()
    s.start("--listen", f"127.0.0.1:{s.port},127.0.0.2:{second}")
    assert call(s, "GET", "/healthz").status == 200
    with socket.create_connection(("127.0.0.2", second), timeout=10):
        pass


def test_systemd_is_told(new_server, tmp_path):
    """sd_notify(3): READY=1 once it serves, STOPPING=1 on the way out."""
    s, path = new_server(), tmp_path / "notify"
    s.init()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as n:
        n.bind(str(path))
        n.settimeout(30)
        s.env["NOTIFY_SOCKET"] = str(path)
        s.start()
        assert b"READY=1" in n.recv(4096)
        s.stop()
        assert b"STOPPING=1" in n.recv(4096)


def fails_to_start(server, *words, says):
    server.spawn(*words)
    line = server.read_line(60)
    assert line == "", f"it serves: {line}"
    status = server.ended()
    assert status not in (0, None) and says in server.tail(), f"{status}: {server.tail()}"
    return server.tail()


def test_twice_on_one_registry(server, birthmark, tmp_path):
    other = kit.Server(birthmark, tmp_path / "other", data=server.data)
    other.folder.mkdir()
    fails_to_start(other, says="in-use")
    still_well(server)
    assert server.ask("status")["cas"]  # the first one's socket is still there


def test_port_that_is_taken(server, new_server):
    other = new_server()
    other.init()
    fails_to_start(other, "--listen", f"127.0.0.1:{server.port}", says="taken by another program")
    still_well(server)


@pytest.mark.parametrize("words", [("--listen", "nowhere"), ("--listen", "127.0.0.1:99999"), ("--listen", "127.0.0.1"), ("--listen", ""),
                                   ("--listen", "1.2.3.4:80"), ("--workers", "-1"), ("--workers", "9999999"), ("--log-level", "loud"),
                                   ("--config", "/nowhere/conf")])
def test_wrong_words(new_server, words):
    s = new_server()
    s.init()
    s.spawn(*words)
    assert s.read_line(60) == ""
    assert s.ended() not in (0, None) and s.tail()


def test_secret_that_is_missing(new_server):
    s = new_server()
    s.init()
    secret = (s.data / "secret").read_bytes()
    (s.data / "secret").unlink()
    fails_to_start(s, says="secret")
    (s.data / "secret").write_bytes(os.urandom(32))
    fails_to_start(s, says="wrong-secret")
    (s.data / "secret").write_bytes(b"short")
    fails_to_start(s, says="at least 8 bytes")
    (s.data / "secret").write_bytes(secret)
    s.start()


@pytest.mark.parametrize("name", ["issuing", "log"])
def test_key_that_is_missing_or_spoilt(new_server, name):
    """Without the log's key nothing starts; without a CA's key, what needs it says so."""
    s = new_server()
    s.init()
    path = s.data / "keys" / f"{name}.key.pem"
    whole = path.read_bytes()
    for content in (None, whole.replace(b"A", b"B")):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        assert name in fails_to_start(s, says=name)
    path.write_bytes(whole)
    s.start()


def test_registry_that_is_none(new_server, tmp_path):
    s = new_server()
    fails_to_start(s, says="no-registry")
    s.data.mkdir(exist_ok=True)
    (s.data / "registry.db").write_bytes(os.urandom(8192))
    (s.data / "secret").write_bytes(os.urandom(32))
    fails_to_start(s, says="registry")


def test_registry_that_is_damaged(new_server):
    s = new_server()
    s.init()
    raw = bytearray((s.data / "registry.db").read_bytes())
    raw[4096:4096 * 6] = os.urandom(4096 * 5)
    (s.data / "registry.db").write_bytes(raw)
    fails_to_start(s, says="damaged")


@pytest.mark.skipif(os.geteuid() == 0 and not pathlib.Path("/usr/bin/setpriv").exists(), reason="needs setpriv to be somebody else")
def test_folder_of_somebody_else(new_server, birthmark):
    """Without the right to read, the message names the file."""
    s = new_server()
    s.init()
    if os.geteuid() == 0:
        program = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", birthmark]
        if subprocess.run([*program, "version"], capture_output=True).returncode != 0:
            pytest.skip("another user may not run this build")
        s.env["ASAN_OPTIONS"] = s.env["UBSAN_OPTIONS"] = ""
    else:
        (s.data / "secret").chmod(0)
        program = [birthmark]
    s.spawn(program=program)
    assert s.read_line(60) == ""
    assert s.ended() != 0 and "ermission denied" in s.tail() and str(s.data) in s.tail(), s.tail()


def test_files_are_for_the_owner_alone(server):
    server.furnish()
    for path in [server.data, *server.data.rglob("*")]:
        if path.name == "serving":
            continue
        assert path.stat().st_mode & 0o077 == 0, f"{path} has mode {path.stat().st_mode & 0o777:o}"


# --- stop ---------------------------------------------------------------------------------------------------------------------------------------


def test_stop_waits_for_requests_under_way(server, tmp_path):
    """A request of which a part has come is finished; newcomers are turned away at once."""
    server.furnish()
    d, key = Device(), kit.KEYS["P-256"]()
    server.register(d)
    body = base64.b64encode(kit.make_csr(key))
    request = POST_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connect(server, kit.tls_context(server.anchors(), *d.files(tmp_path))) as s:
        s.sendall(request[:-10])
        time.sleep(0.3)  # nothing tells from outside that it was read
        server.process.send_signal(signal.SIGTERM)

        def refused():
            try:
                socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
            except ConnectionRefusedError:
                return True

        wait_for("newcomers to be turned away", refused)
        s.sendall(request[-10:])
        answer, _ = read_answer(s)
        assert answer.status == 200 and answer.headers["Connection"] == "close", answer
        assert closed(s)
    assert server.ended() == 0
    assert server.state(d) == "active"


def test_stop_with_idle_connections(server):
    """Nobody waits for those who say nothing."""
    idle = [connect(server) for _ in range(5)]
    for s in idle[:3]:
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        read_answer(s)
    (server.data / "birthmark.conf").write_text("drain_seconds = 2\n")
    server.process.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: "configuration read again" in server.tail())
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 15
    assert all(closed(s) for s in idle)


def test_stop_does_not_wait_for_ever(new_server, tmp_path):
    s = new_server()
    s.init()
    (s.data / "birthmark.conf").write_text("drain_seconds = 1\n")
    s.start()
    with connect(s) as c:
        c.sendall(b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        began = time.monotonic()
        s.stop()
        assert time.monotonic() - began < 10
        assert closed(c)


def test_stop_twice_is_now(server):
    with connect(server) as c:
        c.sendall(b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.2)  # as above
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0
        assert time.monotonic() - began < 5


def test_ctrl_c(server):
    """The terminal sends SIGINT to the whole group: the supervisor alone decides."""
    os.killpg(server.process.pid, signal.SIGINT)
    assert server.ended() == 0


# --- reload --------------------------------------------------------------------------------------------------------------------------------------


def reload(server, text):
    (server.data / "birthmark.conf").write_text(text)
    before = server.tail(1000).count(" reload ")
    server.process.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: server.tail(1000).count(" reload ") > before)


def test_reload(server):
    workers = set(server.workers())
    reload(server, "log_level = debug\n")
    call(server, "GET", "/healthz")
    wait_for("a line of level debug", lambda: " debug " in server.tail())
    reload(server, "nonsense = 1\n")
    assert "nothing changed" in server.tail() and "nonsense" in server.tail()
    still_well(server)
    reload(server, "connections_per_address = 1\n")
    assert set(server.workers()) == workers, "a reload replaces nobody"

    def limited():
        held = [kept(server) for _ in range(6)]
        refused = sum(s is None for s in held)
        for s in held:
            if s is not None:
                s.close()
        return refused > 0

    wait_for("the new limit to hold", limited)
    reload(server, "")
    wait_for("the old limit to hold", lambda: not limited())


def kept(server):
    """A connection that answers, or None when it is closed at once."""
    try:
        s = connect(server, timeout=10)
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        read_answer(s)
        return s
    except (OSError, EOFError):
        return None


def test_what_a_reload_cannot_change_is_said(server):
    """New tls_hosts and addresses need a restart; an operator who only reloads must be told."""
    reload(server, "tls_hosts = new.example\nworkers = 7\nlog_level = warn\n")
    wait_for("both to be named", lambda: "workers, tls_hosts: in force only after a restart" in server.tail())
    server.stop()
    server.start()
    cert = x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", server.port)).encode())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["new.example"]


def test_hosts_given_at_init(new_server):
    s = new_server()
    s.run("init", "--tls-host", "reg.example,10.1.2.3,127.0.0.1")
    s.start()
    cert = x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", s.port)).encode())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["reg.example"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["10.1.2.3", "127.0.0.1"]
    assert call(s, "GET", "/healthz").status == 200


def test_own_certificate(new_server, tmp_path):
    """The operator's certificate and key in place of ours."""
    s = new_server()
    s.init()
    key, name = kit.KEYS["P-384"](), kit.name_of("operator")
    san = x509.SubjectAlternativeName([x509.IPAddress(kit.ipaddress("127.0.0.1"))])
    cert = kit.make_cert(key, name, key, name, extensions=[(san, False)])
    (tmp_path / "crt").write_bytes(cert.public_bytes(kit.PEM))
    (tmp_path / "key").write_bytes(kit.key_pem(key))
    (s.data / "birthmark.conf").write_text(f"tls_cert_file = {tmp_path}/crt\ntls_key_file = {tmp_path}/key\n")
    s.start()
    assert ssl.get_server_certificate(("127.0.0.1", s.port)).encode() == cert.public_bytes(kit.PEM)
    s.stop()
    (tmp_path / "key").write_bytes(kit.key_pem(kit.KEYS["P-384"]()))
    fails_to_start(s, says="key")


# --- clients that take their time ------------------------------------------------------------------------------------------------------------------


def test_slow_but_honest(shared, device, tmp_path):
    """A device on a bad line sends a few bytes at a time, and gets its certificate."""
    key = kit.KEYS["P-256"]()
    body = base64.b64encode(kit.make_csr(key))
    request = POST_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connect(shared, kit.tls_context(shared.anchors(), *device.files(tmp_path))) as s:
        for i in range(0, len(request), 11):
            s.sendall(request[i:i + 11])
        answer, _ = read_answer(s)
    assert answer.status == 200 and len(kit.certs_of_pkcs7(answer.body)) == 1


def test_slow_handshake_byte_by_byte(shared):
    """The TLS records cut into single bytes."""
    context = kit.tls_context(shared.anchors())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", shared.port), timeout=30) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def flush():
            for byte in outgoing.read():
                raw.sendall(bytes([byte]))

        def until_done(step):
            while True:
                try:
                    got = step()
                    flush()
                    return got
                except ssl.SSLWantReadError:
                    flush()
                    incoming.write(raw.recv(7))

        until_done(tls.do_handshake)
        until_done(lambda: tls.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
        assert until_done(lambda: tls.read(100)).startswith(b"HTTP/1.1 200")


def test_deadlines(shared):
    """Who never finishes a handshake, a request or a silence is let go in time: 10, 15 and 30 seconds."""
    silent = socket.create_connection(("127.0.0.1", shared.port), timeout=60)
    half_hello = socket.create_connection(("127.0.0.1", shared.port), timeout=60)
    half_hello.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01")
    half_request = connect(shared, timeout=60)
    half_request.sendall(b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
    trickle = connect(shared, timeout=60)
    idle = connect(shared, timeout=60)
    idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    read_answer(idle)
    began = time.monotonic()
    stop = threading.Event()

    def drip():
        with contextlib.suppress(OSError):
            trickle.sendall(b"GET /")
            while not stop.wait(1):
                trickle.sendall(b"a")

    dripping = threading.Thread(target=drip)
    dripping.start()
    ends = {}
    try:
        assert closed(half_hello)
        ends["hello"] = time.monotonic() - began
        answer, _ = read_answer(half_request)
        ends["request"] = time.monotonic() - began
        assert (answer.status, answer.code) == (408, "request-timeout")
        answer, _ = read_answer(trickle)
        ends["trickle"] = time.monotonic() - began
        assert (answer.status, answer.code) == (408, "request-timeout")
        assert closed(idle)
        ends["idle"] = time.monotonic() - began
    finally:
        stop.set()
        dripping.join()
        for s in (silent, half_hello, half_request, trickle, idle):
            s.close()
    assert 5 < ends["hello"] < 14 and 10 < ends["request"] < 20 and ends["trickle"] < 20 and 20 < ends["idle"] < 36, ends
    still_well(shared)


def test_answer_that_nobody_reads(shared):
    """A client that asks a thousand times and reads nothing fills its own buffers, not ours."""
    worker_memory = max(rss(pid) for pid in shared.workers())
    with connect(shared, timeout=5) as s, contextlib.suppress(OSError, ssl.SSLError):
        for _ in range(5000):
            s.sendall(b"GET /.well-known/est/cacerts HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
    assert max(rss(pid) for pid in shared.workers()) < worker_memory + 30
    still_well(shared)


def rss(pid):
    return int(next(line.split()[1] for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))) / 1024


# --- clients that are rude --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_bytes, status, code", [
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 431, "header-too-large"),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 3000 + b"\r\n", 431, "header-too-large"),
    (b"GET /" + b"x" * 600 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "target-too-long"),
    (b"GET /" + b"x" * 20000, 414, "target-too-long"),
    (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "bad-request"),
    (b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", 505, "http-version"),
    (b"GET /healthz\r\n\r\n", 505, "http-version"),
    (b"BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n", None, None),
    (b"DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method-not-allowed"),
    (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", None, None),
    (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", None, None),
    (b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\n\r\n", 411, "length-required"),
    (b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n", 413, "body-too-large"),
    (b"POST /onboard/v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", None, None),
    (b"POST /onboard/v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n", None, None),
    (b"POST /onboard/v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, None),
    (b"POST /onboard/v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, None),
    (b"POST /onboard/v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, None),
    (b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", None, None),
    (b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, None),
    (b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", None, None),
    (b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n1\r\nx\r\n0\r\n\r\n", 413,
     "body-too-large"),
    (b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415,
     "content-encoding"),
    (b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nExpect: a-miracle\r\nContent-Length: 2\r\n\r\n{}", 417, "expectation"),
    (b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n", 400, None),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", None, None),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 400, None),
    (b"GET /health\0z HTTP/1.1\r\nHost: x\r\n\r\n", 400, None),
    (b"\0" * 100, 400, None), (b"\xff" * 100, 400, None), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None, None), (b"SSH-2.0-x\r\n", 400, None),
    (b"\r\n" * 10000, None, None),
])
def test_rude_requests(shared, request_bytes, status, code):
    with connect(shared, timeout=20) as s:
        s.sendall(request_bytes)
        try:
            answer, _ = read_answer(s)
        except (EOFError, OSError):
            assert status is None, "hung up without an answer"
            answer = None
    if answer is not None:
        assert status is None or answer.status == status, answer
        assert code is None or answer.code == code, answer
        assert 200 <= answer.status < 506 and answer.correlation
    still_well(shared)


def test_garbage_instead_of_tls(shared):
    for junk in (b"GET / HTTP/1.0\r\n\r\n", os.urandom(500), b"\x16\x03\x01" + b"\xff" * 500, b"\x80" * 20000, b"\x16\x03\x01\x00\x01\x00"):
        with socket.create_connection(("127.0.0.1", shared.port), timeout=20) as s:
            with contextlib.suppress(OSError):  # it may have hung up already
                s.sendall(junk)
                s.shutdown(socket.SHUT_WR)
            assert closed(s)
    still_well(shared)


def test_garbage_inside_tls_records(shared):
    """Bytes turned over on their way: the connection goes, the worker stays."""
    workers = set(shared.workers())
    for _ in range(20):
        context = kit.tls_context(shared.anchors())
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with socket.create_connection(("127.0.0.1", shared.port), timeout=20) as raw, contextlib.suppress(ssl.SSLError, OSError):
            spoil = random.choice((0, 1))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            hello = bytearray(outgoing.read())
            if spoil == 0:
                hello[random.randrange(5, len(hello))] ^= 1 << random.randrange(8)
            raw.sendall(hello)
            incoming.write(raw.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            tls.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            rest = bytearray(outgoing.read())
            rest[random.randrange(5, len(rest))] ^= 1 << random.randrange(8)
            raw.sendall(rest)
            raw.shutdown(socket.SHUT_WR)
            assert closed(raw)
    assert set(shared.workers()) == workers
    still_well(shared)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version, good", [(ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_1, False),
                                           (ssl.TLSVersion.TLSv1, False)])
def test_tls_versions(shared, version, good):
    context = ssl.create_default_context(cafile=str(shared.anchors()))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    if good:
        assert call(shared, "GET", "/healthz", context=context).status == 200
    else:
        with pytest.raises(OSError):
            call(shared, "GET", "/healthz", context=context)


def test_weak_ciphers(shared):
    for cipher in ("AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA", "NULL-SHA256"):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{shared.port}", "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0"],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
        assert done.returncode != 0, cipher


def test_renegotiation(shared):
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{shared.port}", "-tls1_2", "-CAfile", shared.anchors()], input=b"R\n",
                          capture_output=True, timeout=30)
    assert b"RENEGOTIATING" in done.stdout + done.stderr and done.returncode != 0
    still_well(shared)


def test_client_certificates_that_are_odd(shared, tmp_path):
    """What a client may put where its certificate belongs."""
    d = Device()
    chain = [Device().cert for _ in range(12)]
    d.chain = chain
    answer, _ = est_enrol(shared, d, tmp_path)
    assert answer.status in (400, 403), answer
    d.chain = [kit.make_cert(d.key, kit.name_of("x"), d.key, kit.name_of("x"), extensions=[
        (x509.SubjectAlternativeName([x509.DNSName("a" * 60 + f"{i}.example") for i in range(400)]), False)])]
    with contextlib.suppress(OSError):  # over 16 KiB: the handshake itself may end
        answer, _ = est_enrol(shared, d, tmp_path)
        assert answer.status in (400, 403, 413), answer
    still_well(shared)


def test_no_certificate_is_401(shared):
    answer = call(shared, "POST", EST + "simpleenroll", b"", {"Content-Type": "application/pkcs10"})
    assert (answer.status, answer.code) == (401, "no-evidence")


def test_certificate_without_its_key(shared, device, tmp_path):
    """Somebody else's certificate: the handshake does not come to its end."""
    cert, _ = device.files(tmp_path)
    _, key = Device().files(tmp_path)
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{shared.port}", "-cert", cert, "-key", key], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=20)
    assert done.returncode != 0


# --- several requests on one connection ---------------------------------------------------------------------------------------------------------------


def test_pipelining(shared, device, tmp_path):
    """Twenty requests in one write: as many answers, in order; some of them need the registry and some do not."""
    kinds = [random.choice(("health", "challenge", "enrol", "nowhere")) for _ in range(20)]
    body = base64.b64encode(kit.make_csr(kit.KEYS["P-256"]()))
    parts = {"health": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200), "nowhere": (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
             "challenge": (b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", 200),
             "enrol": (POST_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body, 200)}
    with connect(shared, kit.tls_context(shared.anchors(), *device.files(tmp_path))) as s:
        s.sendall(b"".join(parts[k][0] for k in kinds))
        rest, correlations = b"", set()
        for k in kinds:
            answer, rest = read_answer(s, rest)
            assert answer.status == parts[k][1], (k, answer)
            correlations.add(answer.correlation)
        assert len(correlations) == 20 and rest == b""


def test_hidden_request(shared):
    """What follows a refused body is not taken for a request."""
    with connect(shared, timeout=20) as s:
        s.sendall(b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer, rest = read_answer(s)
        assert (answer.status, answer.headers["Connection"]) == (413, "close")
        rest += b"".join(iter(lambda: s.recv(4096), b""))
        assert b"HTTP/1.1" not in rest


def test_expect_continue(shared):
    with connect(shared) as s:
        s.sendall(b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert s.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"{}")
        assert read_answer(s)[0].status == 200
        s.sendall(b"POST /onboard/v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n")
        assert read_answer(s)[0].status == 413


def test_http_1_0(shared):
    with connect(shared) as s:
        s.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer, _ = read_answer(s)
        assert answer.status == 200 and closed(s)


def test_half_closed(shared):
    """The client shuts its sending side after the request, as netcat does: it still gets its answer."""
    context = kit.tls_context(shared.anchors())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", shared.port), timeout=20) as raw:
        def step(what):
            while True:
                try:
                    return what()
                except ssl.SSLWantReadError:
                    if outgoing.pending:
                        raw.sendall(outgoing.read())
                    got = raw.recv(65536)
                    assert got
                    incoming.write(got)

        step(tls.do_handshake)
        tls.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        raw.sendall(outgoing.read())
        raw.shutdown(socket.SHUT_WR)
        assert step(lambda: tls.read(4096)).startswith(b"HTTP/1.1 200")


def test_reset_in_the_middle(shared, device, tmp_path):
    """RST at any point of an enrolment: no worker minds, and what was issued meanwhile is in the registry."""
    workers = set(shared.workers())
    context = kit.tls_context(shared.anchors(), *device.files(tmp_path))
    body = base64.b64encode(kit.make_csr(kit.KEYS["P-256"]()))
    request = POST_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for part in (0, 10, len(request) // 2, len(request) - 1, len(request), len(request)):
        s = connect(shared, context)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.sendall(request[:part])
        s.close()
    assert set(shared.workers()) == workers
    still_well(shared)


# --- many of them ------------------------------------------------------------------------------------------------------------------------------------


def test_connections_per_address(new_server):
    s = new_server()
    s.init()
    (s.data / "birthmark.conf").write_text("connections_per_address = 10\n")
    s.start("--workers", 1)
    held = [c for c in (kept(s) for _ in range(15)) if c is not None]
    assert len(held) == 10
    held.pop().close()
    wait_for("room for one", lambda: held.append(kept(s)) or held[-1] is not None, 20)
    for c in held:
        if c is not None:
            c.close()
    wait_for("room for all", lambda: (c := kept(s)) is not None and (c.close() or True))


def test_connections_in_all(new_server):
    """More than there is room for wait their turn, or are told to come back; none is lost."""
    s = new_server()
    s.init()
    (s.data / "birthmark.conf").write_text("connections = 5\n")
    s.start("--workers", 1)
    s.anchors()
    done = []

    def until_served():
        while True:
            try:
                done.append(call(s, "GET", "/healthz").status)
                return
            except ssl.SSLError as e:  # the refusal of a server without room, and nothing else
                assert "internal error" in str(e)

    threads = [threading.Thread(target=until_served) for _ in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert done == [200] * 40


def test_half_open_connections(shared):
    """TCP connections that never speak: devices are served all the same."""
    half = []
    try:
        for _ in range(900):
            half.append(socket.create_connection(("127.0.0.1", shared.port), timeout=20))
        still_well(shared)
        for s in half[::2]:
            s.sendall(b"\x16\x03\x01")
        began = time.monotonic()
        still_well(shared)
        assert time.monotonic() - began < 3
    finally:
        for s in half:
            s.close()
    still_well(shared)


def test_workers_hold_no_keys_and_no_registry(shared):
    """What a worker has open: sockets and nothing on disk."""
    if os.geteuid() != 0:
        pytest.skip("only root sees the descriptors of a process that cannot be dumped")
    for pid in shared.workers():
        for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = os.readlink(fd)
                assert str(shared.data) not in target, f"worker has {target} open"


def test_keeper_cannot_be_dumped(shared):
    if os.geteuid() == 0:
        limits = pathlib.Path(f"/proc/{shared.keeper()}/limits").read_text()
        assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")] == [["0", "0"]]
        return
    with pytest.raises(PermissionError):
        pathlib.Path(f"/proc/{shared.keeper()}/mem").open("rb")


def test_worker_may_not_administer(shared):
    """The administrators' socket is root's and the owner's alone."""
    path = shared.data / "admin.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        for junk in (os.urandom(1000), b"\xff" * 100):
            with contextlib.suppress(OSError):
                s.sendall(junk)
    assert shared.ask("status")["cas"]
    still_well(shared)


def test_no_secret_in_the_log(shared, device, tmp_path):
    """Neither keys nor signatures nor whole requests get there, whatever the level."""
    est_enrol(shared, device, tmp_path)
    log = shared.log.read_text()
    assert "PRIVATE KEY" not in log and base64.b64encode((shared.data / "secret").read_bytes()).decode() not in log
    assert (shared.data / "secret").read_bytes().hex() not in log
