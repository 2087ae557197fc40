"""Devices that are slow, many, or malformed: they get a refusal or are hung up on, and honest ones are served meanwhile. Nothing here measures
time; the attackers come from 127.0.0.2, because limits are per address."""

import contextlib
import select
import socket
import ssl

import pytest

from kit import EST, call, read_answer, tls_context

PER_ADDRESS = 40


@pytest.fixture
def server(new_server):
    s = new_server()
    s.init()
    (s.data / "birthmark.conf").write_text(f"connections_per_address = {PER_ADDRESS}\n")
    s.start("--workers", "1")
    return s


def attacker(server, tls=True):
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=60, source_address=("127.0.0.2", 0))
    return tls_context(server.anchors()).wrap_socket(raw, server_hostname="127.0.0.1") if tls else raw


def honest_is_served(server, times=5):
    for _ in range(times):
        assert call(server, "GET", EST + "cacerts").status == 200


def ended(s):
    """Whether the other side has hung up; waits for it."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        return s.recv(1) == b""
    return True


HELLO = bytes.fromhex("16030100ff010000fb0303")  # the beginning of a ClientHello

SLOW = [
    ("nothing at all", False, b""),
    ("one byte of TLS", False, b"\x16"),
    ("half a ClientHello", False, HELLO),
    ("one byte of a request", True, b"G"),
    ("half a header", True, b"GET /.well-known/est/cacerts HTTP/1.1\r\nHost: x\r\nX-Slow: "),
    ("half a body", True, b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/pkcs10\r\nContent-Length: 4000\r\n\r\nMII"),
]


@pytest.mark.parametrize("name, tls, sent", SLOW, ids=[row[0] for row in SLOW])
def test_slow_ones_hold_nobody_up(server, name, tls, sent):
    with contextlib.ExitStack() as open_ones:
        for _ in range(PER_ADDRESS - 5):
            s = open_ones.enter_context(attacker(server, tls))
            s.sendall(sent)
        honest_is_served(server)
    honest_is_served(server)


def test_a_slow_handshake_ends(server):
    with attacker(server, tls=False) as s:
        s.sendall(HELLO)
        assert ended(s)
    honest_is_served(server)


def test_a_flood_of_connections_is_cut_off(server):
    with contextlib.ExitStack() as open_ones:
        flood = [open_ones.enter_context(attacker(server, tls=False)) for _ in range(3 * PER_ADDRESS)]
        for s in flood:  # silent ones are not even accepted (TCP_DEFER_ACCEPT)
            with contextlib.suppress(ConnectionError):
                s.sendall(b"\x16")
        honest_is_served(server)  # also makes sure that those above have been looked at
        gone, _, _ = select.select(flood, [], [], 0)
        assert len(gone) >= 2 * PER_ADDRESS and all(ended(s) for s in gone)
    honest_is_served(server)


REFUSED = [
    ("a long target", b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("a long header", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20000 + b"\r\n\r\n"),
    ("many headers", b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 5000 + b"\r\n"),
    ("a long body", b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"),
    ("a length that overflows", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
    ("two lengths", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("length and chunks", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a chunk without end", b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
    ("no HTTP", b"\x00\x01\x02\x03\r\n\r\n"),
    ("another version", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n"),
]


@pytest.mark.parametrize("name, sent", REFUSED, ids=[row[0] for row in REFUSED])
def test_malformed_is_refused(server, name, sent):
    with attacker(server) as s:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            s.sendall(sent)
        with contextlib.suppress(ConnectionError, ssl.SSLError, EOFError):  # the answer may be lost behind the reset
            assert 400 <= read_answer(s)[0].status < 600
    honest_is_served(server, 1)


def test_split_into_bytes_is_taken(server):
    with attacker(server) as s:
        for byte in b"GET /.well-known/est/cacerts HTTP/1.1\r\nHost: x\r\n\r\n":
            s.sendall(bytes([byte]))
        assert read_answer(s)[0].status == 200


def test_half_open(server):
    for _ in range(PER_ADDRESS * 3):
        with attacker(server, tls=False) as s:
            s.sendall(b"\x16")
            s.shutdown(socket.SHUT_WR)
            assert ended(s)
    honest_is_served(server)
