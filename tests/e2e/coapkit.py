"""EST over CoAP (RFC 9148) as clients written by others speak it, and the server as they find it.

  Go         go-coap on pion's DTLS: requests and their answers, block-wise transfer is go-coap's (tests/e2e/go/coapcall)
  libcoap    coap-client of libcoap, on OpenSSL or on GnuTLS
  Session    datagrams over pion's DTLS (tests/e2e/go/dtlspipe), written and read with aiocoap's codec: for whatever a client should not say
  Relay      a middleman who counts, loses and changes datagrams"""

import base64
import contextlib
import json
import os
import pathlib
import re
import select
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass

import cbor2
from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import CON, NON, ACK, RST
from cryptography.hazmat.primitives.serialization import pkcs7

import kit

EST = ".well-known/est"
# RFC 9148 section 8.1, RFC 8710, RFC 6690
KEY_CMS, CERTS, PKCS8, ATTRS, CSR, CERT, MULTIPART, LINKS = 280, 281, 284, 285, 286, 287, 62, 40
GET, POST, PUT, DELETE = Code.GET, Code.POST, Code.PUT, Code.DELETE
MANDATORY_SUITE = "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"  # RFC 9148 section 3
PATIENCE_S = 20


# --- the server ---------------------------------------------------------------------------------------------------------------------


def free_udp_port():
    while True:
        port = kit.free_port()
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", port))
            return port


def open_door(server, **more):
    """Writes into the configuration of a server that is initialised where it serves CoAP; more: other keys beside."""
    server.coap_port = free_udp_port()
    lines = {"coap_listen": f"127.0.0.1:{server.coap_port}", **more}
    with (server.data / "birthmark.conf").open("a") as f:
        f.writelines(f"{key} = {value}\n" for key, value in lines.items())
    return server


def process_of(server):
    """The pid of the process that serves CoAP."""
    return next((pid for pid, name in kit.children(server.process.pid).items() if "coap" in name), None)


def certificates(body, form=CERTS):
    """In whichever of the two content formats."""
    return [kit.x509.load_der_x509_certificate(body)] if form == CERT else pkcs7.load_der_pkcs7_certificates(body)


def parts_of(body):
    """application/multipart-core (RFC 8710 section 2), as a dictionary; the whole of the bytes must be one array of pairs."""
    array = cbor2.loads(body)
    assert cbor2.dumps(array) == body and len(array) % 2 == 0, body.hex()
    assert all(isinstance(f, int) for f in array[::2]) and all(isinstance(p, bytes) for p in array[1::2]), array
    return dict(zip(array[::2], array[1::2]))


# --- answers ------------------------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    code: str  # "2.05"
    format: int | None = None
    body: bytes = b""
    max_age: int | None = None
    error: str | None = None
    message: Message | None = None

    @property
    def text(self):
        return self.body.decode()

    def certificates(self):
        return certificates(self.body, self.format)


def answer_of(message):
    form = message.opt.content_format
    return Answer(message.code.dotted, None if form is None else int(form), message.payload, message.opt.max_age, message=message)


def assert_refused(server, answer, code, why=None):
    """A response code with a diagnostic payload (RFC 7252 section 5.5.2), which is not marked with a format and names our code and the correlation id;
    the operator can ask about it."""
    assert answer.code == code, answer
    if why is not None:
        assert answer.format is None, answer
        assert why in answer.text, answer
        found = re.search(r"\b[0-9a-f]{16}\b", answer.text)
        assert found, answer.text
        assert why in server.run("why", found[0]).stdout
    return answer


# --- go-coap ------------------------------------------------------------------------------------------------------------------------


class Go:
    """tool: the path of coapcall. Each request comes as a dictionary (go/coapcall/main.go: struct request), body in bytes."""

    def __init__(self, tool, server, **flags):
        self.words = [tool, "-addr", f"127.0.0.1:{server.coap_port}", *words_of({"ca": server.anchors(), **flags})]

    def many(self, requests, parallel=1, timeout=120):
        lines = "".join(json.dumps({**r, "body": base64.b64encode(r.get("body", b"")).decode()}, default=str) + "\n" for r in requests)
        done = subprocess.run([*self.words, "-parallel", str(parallel)], input=lines, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        return [Answer(a.get("code", ""), a.get("format"), base64.b64decode(a["body"] or ""), a.get("max_age"), a.get("error")) for a in answers]

    def ask(self, method, path, **more):
        (answer,) = self.many([{"method": method, "path": path, **more}])
        return answer


def words_of(flags):
    """{"no_ems": True, "mtu": 300} as -no-ems -mtu=300; None is left out."""
    return [f"-{name.replace('_', '-')}={value if not isinstance(value, bool) else str(value).lower()}" for name, value in flags.items()
            if value is not None]


# --- libcoap ------------------------------------------------------------------------------------------------------------------------


def libcoap(library, server, folder, path, *words, files=None, body=None, seconds=15):
    """One request with coap-client-<library>; returns the bytes it got and what it said."""
    out, text = folder / "libcoap.out", []
    out.unlink(missing_ok=True)
    if files is not None:
        text += ["-c", files[0], "-j", files[1]]
    if body is not None:
        (folder / "libcoap.in").write_bytes(body)
        text += ["-m", "post", "-f", folder / "libcoap.in"]
    done = subprocess.run([f"coap-client-{library}", "-B", str(seconds), "-R", server.anchors(), "-o", out, *text, *map(str, words),
                           f"coaps://127.0.0.1:{server.coap_port}/{path}"], capture_output=True, text=True, timeout=seconds + 30,
                          stdin=subprocess.DEVNULL)
    return out.read_bytes() if out.exists() else b"", done.stdout + done.stderr


# --- one's own words in another's DTLS --------------------------------------------------------------------------------------------------


class Failed(Exception):
    """The handshake did."""


class Session:
    """A DTLS connection. files: certificate and key of the client, or None. flags: dtlspipe's."""

    def __init__(self, tool, server, files=None, **flags):
        cert, key = files or (None, None)
        address = flags.pop("addr", f"127.0.0.1:{server.coap_port}")
        self.process = subprocess.Popen([tool, *words_of({"addr": address, "ca": server.anchors(), "cert": cert, "key": key, **flags})],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.buffer, self.mid, self.tokens = b"", 0x1000, 0
        first = self.read(PATIENCE_S + 5)
        if first is None:
            self.process.kill()
            said = self.process.communicate()[1].decode()
            raise Failed(said)
        self.handshake = json.loads(first)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    # --- datagrams ---
    def read(self, timeout):
        """One datagram, None when none comes in time or the connection has ended."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self.buffer) >= 4:
                (n,) = struct.unpack(">I", self.buffer[:4])
                if len(self.buffer) >= 4 + n:
                    got, self.buffer = self.buffer[4:4 + n], self.buffer[4 + n:]
                    return got
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                return None
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                return None
            self.buffer += more

    def write(self, datagram):
        self.process.stdin.write(struct.pack(">I", len(datagram)) + datagram)
        self.process.stdin.flush()

    # --- messages ---
    def message(self, method, path, payload=b"", mtype=CON, token=None, **options):
        """options: aiocoap's names: content_format, accept, block1, block2, uri_query, observe."""
        self.mid += 1
        if token is None:
            self.tokens += 1
            token = struct.pack(">H", self.tokens)
        m = Message(code=method, payload=payload, **{k: v for k, v in options.items() if v is not None})
        m.opt.uri_path = tuple(path.split("/")) if isinstance(path, str) else path
        m.mtype, m.mid, m.token = mtype, self.mid, token
        return m

    def send(self, m):
        self.write(m if isinstance(m, bytes) else m.encode())

    def receive(self, timeout=PATIENCE_S):
        got = self.read(timeout)
        return None if got is None else Message.decode(got)

    def exchange(self, m):
        """Sends a message, returns the response to its token, also a separate one (RFC 7252 section 5.2.2), which is acknowledged."""
        self.send(m)
        while True:
            got = self.receive()
            assert got is not None, f"no answer to {m}"
            if got.mtype is RST:
                return got
            if got.mtype is ACK:
                assert got.mid == m.mid, (got, m)  # section 4.2
            if got.code == Code.EMPTY:
                continue
            if got.mtype is CON:
                self.acknowledge(got)
            assert got.token == m.token, (got, m)  # section 5.3.1
            return got

    def acknowledge(self, m):
        ack = Message(code=Code.EMPTY)
        ack.mtype, ack.mid, ack.token = ACK, m.mid, b""
        self.send(ack)

    def ask(self, method, path, body=b"", szx=6, token=None, **options):
        """One operation, block-wise both ways as far as needed (RFC 7959); returns what was put together."""
        size, got = 16 << szx, None
        blocks = [body[i:i + size] for i in range(0, len(body), size)] or [b""]
        for number, block in enumerate(blocks):
            block1 = (number, number + 1 < len(blocks), szx) if len(blocks) > 1 else None
            got = self.exchange(self.message(method, path, block, token=token, block1=block1,
                                             block2=(0, False, szx) if szx != 6 and block is blocks[-1] else None, **options))
            if got.code != Code.CONTINUE:
                break
        return answer_of(self.rest_of(got, method, path, szx, token, options))

    def rest_of(self, first, method, path, szx, token, options):
        whole, got = first.payload, first
        while got.opt.block2 is not None and got.opt.block2.more:
            number = got.opt.block2.block_number + 1
            szx = min(szx, got.opt.block2.size_exponent)
            got = self.exchange(self.message(method, path, token=token, block2=(number, False, szx), **options))
            assert got.opt.block2 is not None and got.opt.block2.block_number == number, got
            assert got.opt.content_format == first.opt.content_format and got.opt.etag == first.opt.etag, got
            whole += got.payload
        first.payload = whole
        return first

    def alive(self):
        """A CoAP ping (RFC 7252 section 4.3): an empty CON is answered by a reset."""
        self.mid += 1
        self.write(struct.pack(">BBH", 0x40, 0, self.mid))
        got = self.receive()
        return got is not None and (got.mtype, got.mid) == (RST, self.mid)


def enrol(session, key=None, op="sen", root=EST, csr=None, subject=None, accept=None, szx=6, **options):
    """One enrolment in a session; returns the answer and the new key."""
    key = key or kit.KEYS["P-256"]()
    answer = session.ask(POST, f"{root}/{op}", csr or kit.make_csr(key, subject), szx=szx, content_format=CSR, accept=accept, **options)
    return answer, key


# --- the way between ----------------------------------------------------------------------------------------------------------------------


class Relay:
    """A UDP middleman between one client and the server. change(to_server, index, datagram): the datagrams to pass on in its place, as a list."""

    def __init__(self, server, change=lambda to_server, index, datagram: [datagram]):
        self.change, self.up, self.down = change, [], []
        self.here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.here.bind(("127.0.0.1", 0))
        self.there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.there.connect(("127.0.0.1", server.coap_port))
        self.address = f"127.0.0.1:{self.here.getsockname()[1]}"
        self.client, self.ended = None, False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.thread.join(5)
        self.here.close()
        self.there.close()

    def run(self):
        while not self.ended:
            for s in select.select([self.here, self.there], [], [], 0.05)[0]:
                with contextlib.suppress(ConnectionRefusedError):
                    self.pass_on(s)

    def pass_on(self, s):
        datagram, sender = s.recvfrom(65536)
        to_server = s is self.here
        if to_server:
            self.client = sender
        seen = self.up if to_server else self.down
        seen.append(datagram)
        for out in self.change(to_server, len(seen) - 1, datagram):
            if to_server:
                self.there.send(out)
            elif self.client is not None:
                self.here.sendto(out, self.client)


def client_hello():
    """The first flight of OpenSSL's client, as it was on the wire: said to a port where nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(10)
        client = subprocess.Popen(["openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{s.getsockname()[1]}"], stdin=subprocess.PIPE,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return s.recv(65536)
        finally:
            client.kill()
            client.wait()
            client.stdin.close()


def s_client(server, *words, files=None, say="Q\n", timeout=20):
    """A bare handshake by OpenSSL, and then what is to be said; returns the exit status and what it said."""
    text = ["-cert", files[0], "-key", files[1]] if files else []
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.coap_port}", "-CAfile", server.anchors(), "-verify_return_error",
                           *map(str, text), *words], input=say, capture_output=True, text=True, timeout=timeout, errors="replace")
    return done.returncode, done.stdout + done.stderr


def rss_kb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


