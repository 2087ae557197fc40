"""More than the server can take: every connection gets its right answer or a polite refusal; none hangs, none is lost, and afterwards all is as
before. Nothing here measures time; tests/bench/overload does."""
import contextlib
import os
import select
import signal
import socket
import ssl
import time

import pytest

import kit
from kit import EST, call, connect, read_answer, tls_context, wait_for

BUSY = bytes([21, 3, 3, 0, 2, 2, 80])  # a fatal alert, internal_error


def client_hello(server):
    """What a TLS client sends first."""
    out = ssl.MemoryBIO()
    tls = tls_context(server.anchors()).wrap_bio(ssl.MemoryBIO(), out, server_hostname="127.0.0.1")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def whole_answer(s):
    """"served" when TLS goes on, "busy" for the refusal and nothing else; anything else fails the test."""
    first = s.recv(65536)
    if first[:1] == b"\x16":
        return "served"
    while (more := s.recv(65536)):
        first += more
    assert first == BUSY, first
    return "busy"


def honest_is_served(server):
    assert call(server, "GET", EST + "cacerts").status == 200


@pytest.fixture
def server(new_server):
    s = new_server()
    s.init()
    s.anchors()
    s.metrics_port = kit.free_port()
    s.conf = s.data / "birthmark.conf"
    return s


def start(server, **settings):
    server.conf.write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
    server.start("--workers", 1)
    server.worker = server.workers()[0]


def test_a_standing_queue_is_sent_away(server):
    """Breaks when devices wait in vain behind a queue that cannot be served in time, or are dropped without a word."""
    start(server, connections_per_address=100000)
    hello = client_hello(server)
    os.kill(server.worker, signal.SIGSTOP)
    crowd = []
    for i in range(800):
        s = socket.create_connection(("127.0.0.1", server.port), timeout=60, source_address=(f"127.0.1.{1 + i % 200}", 0))
        s.sendall(hello)
        crowd.append(s)
    for _ in range(8):  # a worker that gets a few milliseconds in every hundred
        os.kill(server.worker, signal.SIGCONT)
        time.sleep(0.004)
        os.kill(server.worker, signal.SIGSTOP)
        time.sleep(0.1)
    os.kill(server.worker, signal.SIGCONT)
    outcomes = [whole_answer(s) for s in crowd]
    for s in crowd:
        s.close()
    assert outcomes.count("served") > 0 and outcomes.count("busy") > 0
    assert outcomes[0] == "served", "first come, first served"
    wait_for("the queue to be empty", lambda: not select.select([], [], [], 0)[0] and can_connect(server))
    honest_is_served(server)


def can_connect(server):
    try:
        connect(server).close()
        return True
    except ssl.SSLError as e:
        assert "internal error" in str(e)
        return False


def test_a_burst_is_served_late_but_served(server):
    """Breaks when everybody who comes at once after a quiet time is sent away."""
    start(server)
    honest_is_served(server)
    hello = client_hello(server)
    os.kill(server.worker, signal.SIGSTOP)
    crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(8)]
    for s in crowd:
        s.sendall(hello)
    time.sleep(1)  # longer than any wait that a standing queue would forgive
    os.kill(server.worker, signal.SIGCONT)
    assert [whole_answer(s) for s in crowd] == ["served"] * 8
    for s in crowd:
        s.close()


def test_no_room_is_said(server):
    """Breaks when those for whom there is no room hang until they give up."""
    start(server, connections=5, idle_seconds=600)
    inside = [connect(server) for _ in range(5)]
    hello = client_hello(server)
    outside = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(30)]
    for s in outside:
        s.sendall(hello)
    assert [whole_answer(s) for s in outside] == ["busy"] * 30
    for s in inside:  # and those who are in are served as before
        s.sendall(b"GET " + EST.encode() + b"cacerts HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(s)[0].status == 200
    inside.pop().close()
    wait_for("room for one", lambda: can_connect(server))
    for s in [*inside, *outside]:
        s.close()


def test_no_room_is_said_without_tls_too(server):
    start(server, connections=2, idle_seconds=600, listen_http=f"127.0.0.1:{server.metrics_port}")
    inside = [connect(server) for _ in range(2)]
    with socket.create_connection(("127.0.0.1", server.metrics_port), timeout=60) as s:
        s.sendall(b"GET /crl/issuing.crl HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = read_answer(s)[0]
        assert (answer.status, answer.code) == (503, "busy") and int(answer.headers["Retry-After"]) > 0
    for s in inside:
        s.close()


def test_what_was_sent_away_is_counted(server):
    start(server, connections=1, listen_metrics=f"127.0.0.1:{server.metrics_port}", idle_seconds=600)
    with connect(server):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as s:
            s.sendall(client_hello(server))
            assert whole_answer(s) == "busy"
    with socket.create_connection(("127.0.0.1", server.metrics_port), timeout=60) as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert 'birthmark_connections_refused_total{reason="busy"} 1\n' in read_answer(s)[0].text


def test_idle_as_long_as_configured(server):
    """Breaks when idle_seconds is not what counts."""
    start(server, idle_seconds=1)
    with connect(server) as s:
        s.sendall(b"GET " + EST.encode() + b"cacerts HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(s)[0].status == 200
        assert s.recv(1) == b""
