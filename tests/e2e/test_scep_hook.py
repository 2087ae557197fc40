"""Device management vouches for challenges over SCEP (docs/scep.md). What breaks here: a device gets in without its yes, or with a yes to something
else; a question is lost in a crash; the challenge lies about; or a device learns what the hook says to the operator."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import ssl
import threading
import time
from ipaddress import ip_address

import pytest
from cryptography import x509

import kit
import scep
from kit import DER, KEYS, PEM, Device, key_pem, make_cert, name_of, wait_for
from scep import BAD_REQUEST, CERT_POLL, FAILURE, PENDING, RENEWAL_REQ, SUCCESS, Scep

SECRET_OF_THE_DAY = "management-token-0815"


class Hook:
    """What an MDM server does when it is asked about a challenge: as `answer` says."""

    def __init__(self, folder):
        key, name, tls = KEYS["P-256"](), name_of("Hook CA"), KEYS["P-256"]()
        self.ca = folder / "hook-ca.pem"
        ca = make_cert(key, name, key, name, ca=True)
        self.ca.write_bytes(ca.public_bytes(PEM))
        san = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        cert = make_cert(tls, name_of("hook"), key, name, extensions=[(san, False)])
        (folder / "hook.pem").write_bytes(cert.public_bytes(PEM) + key_pem(tls))
        self.asked, self.open = [], threading.Event()
        self.open.set()
        self.answer = lambda said: (200, {"allow": said["challenge"] == SECRET_OF_THE_DAY})
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.asked.append((self.path, self.headers, body))
                hook.open.wait(30)
                status, said = hook.answer(json.loads(body))
                raw = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def handle(self):
                try:
                    super().handle()
                except (ConnectionError, ssl.SSLError):
                    pass

            def log_message(self, *args):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "hook.pem")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}/challenges"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def said(self):
        return [json.loads(body) for _, _, body in self.asked]


@pytest.fixture(scope="module")
def hook(tmp_path_factory):
    h = Hook(tmp_path_factory.mktemp("hook"))
    yield h
    h.open.set()
    h.server.shutdown()
    h.server.server_close()


@pytest.fixture(scope="module")
def server(shared_servers, hook):
    s = shared_servers()
    s.init()
    s.furnish()
    s.run("product", "create", "phone", "--org", "oem", "--services", "telemetry", "--self-registration", "yes")
    s.run("batch", "create", "phones", "--product", "phone", "--quota", 20)
    s.secret = base64.b64decode(s.ask("batch", "hook", "phones", "--url", hook.url, "--trust", hook.ca)["secret"])
    s.run("batch", "hook", "reel-1", "--url", hook.url, "--trust", hook.ca)
    s.http_port = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{s.http_port}")
    return s


@pytest.fixture(autouse=True)
def as_ever(hook):
    was = hook.answer
    hook.asked.clear()
    yield
    hook.answer = was
    hook.open.set()


@pytest.fixture(scope="module")
def client(server):
    return Scep(server.http_port, "/scep/phones")


@pytest.fixture(scope="module")
def ra(client):
    return client.chain()[0]


class Phone(Device):
    """One request, always the same bytes, as a device sends it again and again."""

    def __init__(self, challenge=SECRET_OF_THE_DAY, subject="phone"):
        super().__init__("RSA-2048")
        self.transaction, self.subject = os.urandom(8).hex(), subject
        self.csr = scep.csr(self.key, subject, challenge)

    def asks(self, client, ra, csr=None):
        return client.send(scep.message(scep.envelope(csr or self.csr, ra), self.key, self.cert, transaction=self.transaction), ra)

    def polls(self, client, ra):
        content = scep.tlv(0x30, ra.issuer.public_bytes(), name_of(self.subject).public_bytes())
        return client.send(scep.message(scep.envelope(content, ra), self.key, self.cert, CERT_POLL, self.transaction), ra)

    def hears(self, client, ra):
        """What the end of it is."""
        def reply():
            got = self.polls(client, ra)
            return got if got.status != PENDING else None

        return wait_for("the hook's answer", reply)


def test_allowed(server, client, ra, hook):
    """PENDING, then the certificate; the question is signed, says what it is about, and leaves no challenge behind."""
    phone = Phone()
    assert phone.asks(client, ra).status == PENDING
    cert = phone.hears(client, ra).cert(phone.key, phone.cert)
    assert cert.public_key().public_numbers() == phone.key.public_key().public_numbers()
    row = server.ask("device", "show", phone.udid)
    assert (row["state"], row["batch"], row["rot"]) == ("active", "phones", "software")
    ((path, headers, body),) = hook.asked
    assert path == "/challenges" and headers["Content-Type"] == "application/json"
    assert headers["Birthmark-Signature"] == "sha256=" + hmac.new(server.secret, body, hashlib.sha256).hexdigest()
    said = json.loads(body)
    assert base64.b64decode(said.pop("csr")) == phone.csr and abs(said.pop("time") - time.time()) < 60 and len(said.pop("id")) == 64
    assert said == {"type": "scep-challenge", "batch": "phones", "product": "phone", "peer": said["peer"], "transaction_id": phone.transaction,
                    "challenge": SECRET_OF_THE_DAY, "subject": "CN=phone", "key_sha256": hashlib.sha256(kit.spki_of(phone.key)).hexdigest()}
    assert "127.0.0.1" in said["peer"]
    for file in server.data.rglob("*"):
        assert not file.is_file() or SECRET_OF_THE_DAY.encode() not in file.read_bytes(), f"the challenge is in {file}"
    # the same once more is no second certificate, and no second question; a renewal needs none
    assert phone.asks(client, ra).cert(phone.key, phone.cert) == cert and len(hook.asked) == 1
    raw = scep.message(scep.envelope(scep.csr(phone.key, cert.subject), ra), phone.key, cert, RENEWAL_REQ, "renew")
    assert client.send(raw, ra).status == SUCCESS and len(hook.asked) == 1
    assert any("hook.allowed" in line and phone.udid in line for line in server.run("log", "entries", "--json").stdout.split("},"))


def test_denied(server, client, ra, hook):
    """The operator hears the hook's words, escaped; the device does not, and is not registered."""
    hook.answer = lambda said: (200, {"allow": False, "reason": "not \x1b[31mours", "more": [1]})
    phone = Phone()
    phone.asks(client, ra)
    reply = phone.hears(client, ra)
    assert (reply.status, reply.fail) == (FAILURE, BAD_REQUEST) and reply.fail_text.startswith("scep-hook-denied: ")
    assert "ours" not in reply.fail_text
    correlation = reply.fail_text.rsplit("correlation ", 1)[1].rstrip(")")
    told = server.run("why", correlation).stdout
    assert "not \\x1b[31mours" in told and "\x1b" not in told
    assert server.run("device", "show", phone.udid, want=3)
    assert phone.asks(client, ra).status == FAILURE and len(hook.asked) == 1, "the same request hears the same"


@pytest.mark.parametrize("answer", [
    (200, b""), (200, b"yes"), (200, b'{"allow": "true"}'), (200, b'{"allow": 1}'), (200, b'{"allow": null}'), (200, b"{}"),
    (200, b'{"allow": true, "allow": true}'), (200, b'[{"allow": true}]'), (200, b'{"allow": true} x'), (200, b'{"allow": true, "reason": 7}'),
    (201, b'{"allow": true}'), (302, b'{"allow": true}'), (403, b'{"allow": true}'), (404, b""), (200, b'{"allow": true, "x": "' + b"x" * 20000 + b'"}')])
def test_no_answer_that_counts(server, client, ra, hook, answer):
    """Only 200 and the word `true` open the door."""
    hook.answer = lambda said: answer
    phone = Phone()
    phone.asks(client, ra)
    reply = phone.hears(client, ra)
    assert (reply.status, reply.fail) == (FAILURE, BAD_REQUEST) and reply.fail_text.startswith("scep-hook-unreachable: ")
    assert server.run("device", "show", phone.udid, want=3)


def test_comes_back(server, client, ra, hook):
    """A hook that is down is asked again, with the same id; and a server that was killed meanwhile forgets nothing."""
    hook.answer = lambda said: (503, b"") if len(hook.asked) < 2 else (200, {"allow": True})
    phone, slow = Phone(), Phone("another challenge")
    assert phone.asks(client, ra).status == PENDING
    assert phone.hears(client, ra).status == SUCCESS
    assert len({said["id"] for said in hook.said()}) == 1 and len(hook.asked) == 2
    hook.open.clear()
    assert slow.asks(client, ra).status == PENDING
    wait_for("the question", lambda: len(hook.asked) == 3)
    server.kill()
    server.start("--listen-http", f"127.0.0.1:{server.http_port}")
    hook.open.set()
    assert slow.hears(client, ra).status == SUCCESS
    assert len({said["id"] for said in hook.said()[2:]}) == 1


def test_a_yes_is_for_one_request(server, client, ra, hook):
    """Another request in the same transaction, while the hook thinks about the first: its yes is not good for the second."""
    hook.answer = lambda said: (200, {"allow": said["challenge"] == SECRET_OF_THE_DAY})
    hook.open.clear()
    phone = Phone()
    assert phone.asks(client, ra).status == PENDING
    wait_for("the question", lambda: len(hook.asked) == 1)
    phone.subject = "other"
    assert phone.asks(client, ra, scep.csr(phone.key, "other", "a wrong one")).status == PENDING
    hook.open.set()
    reply = phone.hears(client, ra)
    assert reply.status == FAILURE and "scep-hook-denied" in reply.fail_text
    assert [said["challenge"] for said in hook.said()] == [SECRET_OF_THE_DAY, "a wrong one"]


def test_who_is_not_asked_about(server, client, ra, hook):
    """What is refused for other reasons, or needs nobody's word, costs no question."""
    phone = Phone()
    closed = client.at("/scep/reel-1")  # its product takes only what a manifest lists
    reply = phone.asks(closed, ra)
    assert (reply.status, reply.fail) == (FAILURE, BAD_REQUEST) and "self-registration-off" in reply.fail_text
    assert phone.asks(client.at("/scep"), ra).status == FAILURE  # there it is a code, and none
    listed = Phone()
    server.register(listed, name="listed", batch="phones")
    assert listed.asks(client, ra, scep.csr(listed.key)).status == SUCCESS  # without a challenge: its key is registered
    small = KEYS["RSA-2048"]()
    twice = scep.message(scep.envelope(scep.csr(small, "x", SECRET_OF_THE_DAY), ra), phone.key, phone.cert)
    assert "scep-key-mismatch" in client.send(twice, ra).fail_text
    assert not hook.asked
    assert client.at("/scep/nothing").get("GetCACert").status == 404


def test_settings(server, client, hook, tmp_path):
    for url, trust in (("http://127.0.0.1/x", hook.ca), ("https://", hook.ca), ("https://a b", hook.ca), ("https://u@h/", hook.ca),
                       (hook.url, tmp_path / "nothing.pem")):
        (tmp_path / "nothing.pem").write_text("no certificate")
        assert server.run("batch", "hook", "phones", "--url", url, "--trust", trust, want=2)
    server.run("batch", "create", "spare", "--product", "phone", "--quota", 1)
    server.run("batch", "hook", "spare", "--url", hook.url)
    spare = client.at("/scep/spare")
    assert spare.get("GetCACaps").status == 200
    server.run("batch", "hook", "spare", "--url", "")
    answer = spare.get("GetCACaps")
    assert (answer.status, answer.code) == (404, "unknown-label")
    secrets = {server.ask("batch", "hook", "spare", "--url", hook.url)["secret"] for _ in range(2)}
    assert len(secrets) == 2


def test_who_waits_is_no_stranger(server, client, ra, hook):
    """A device that polls is served when strangers at its address have used up what strangers may."""
    hook.open.clear()
    phone, stranger = Phone(), Device("RSA-2048")
    assert phone.asks(client, ra).status == PENDING
    raw = scep.message(scep.envelope(scep.csr(stranger.key), ra), stranger.key, stranger.cert)
    turned_away = next(i for i in range(302) if client.post(raw).status == 429)
    assert turned_away >= 50  # a hundred in one second, less what came before in it
    assert phone.polls(client, ra).status == PENDING
    hook.open.set()
    assert phone.hears(client, ra).status == SUCCESS
    server.stop()  # which forgets what was counted
    server.start("--listen-http", f"127.0.0.1:{server.http_port}")


def test_who_tries_challenges_out(server, client, ra, hook):
    """Ten that are wrong, and that address waits; the hook is not asked any more. Last, as it counts for all from here."""
    for i in range(12):
        phone = Phone(f"guess {i}")
        answer = client.post(scep.message(scep.envelope(phone.csr, ra), phone.key, phone.cert, transaction=phone.transaction))
        if answer.status != 200:
            break
        phone.hears(client, ra)
    assert (answer.status, answer.code) == (429, "too-many-attempts") and i <= 10 and len(hook.asked) == i
