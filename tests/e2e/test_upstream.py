"""A CA whose key is somebody else's: Birthmark judges the device and asks the upstream CA over EST. What breaks here: a certificate that the upstream
should not have given reaches a device, a request is lost or asked for twice, or the device hears something untrue."""

import base64
import http.server
import os
import signal
import ssl
import threading
import time
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from kit import DER, KEYS, PEM, Device, assert_told, certs_of_pkcs7, est_enrol, key_pem, make_cert, make_csr, name_of, until_answered, wait_for


class Upstream:
    """An EST server that is not ours, and does as `mode` says."""

    def __init__(self, folder):
        self.key, self.name = KEYS["P-256"](), name_of("Upstream CA")
        self.cert = make_cert(self.key, self.name, self.key, self.name, ca=True)
        self.other = make_cert(KEYS["P-256"](), self.name, self.key, self.name)
        self.chain = folder / "chain.pem"
        self.chain.write_bytes(self.cert.public_bytes(PEM))
        self.mode, self.asked, self.server, self.port = "ok", [], None, 0
        tls = KEYS["P-256"]()
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        server = make_cert(tls, name_of("est.example"), self.key, self.name, extensions=[(names, False)])
        (folder / "tls.pem").write_bytes(server.public_bytes(PEM) + key_pem(tls))
        self.tls = folder / "tls.pem"
        client = KEYS["P-256"]()
        self.client = folder / "client.pem"
        self.client.write_bytes(make_cert(client, name_of("our RA"), self.key, self.name).public_bytes(PEM) + key_pem(client))
        self.login = folder / "login"
        self.login.write_text("ra:geheim\n")

    def issue(self, csr, **more):
        args = {"key": csr.public_key(), "by": self.key, "issuer": self.name, "subject": csr.subject, "days": (-1, 30), "ca": False, **more}

        class Public:
            def public_key(self):
                return args["key"]

        return make_cert(Public(), args["subject"], args["by"], args["issuer"], ca=args["ca"], days=args["days"],
                         extensions=args.get("extensions", ()))

    def answers(self, csr):
        """status, headers, body"""
        stranger = KEYS["P-256"]()
        certs = {
            "ok": lambda: self.issue(csr),
            "wrong-key": lambda: self.issue(csr, key=stranger.public_key()),
            "other-issuer": lambda: self.issue(csr, by=stranger),
            "other-name": lambda: self.issue(csr, issuer=name_of("Somebody")),
            "a-ca": lambda: self.issue(csr, ca=True),
            "expired": lambda: self.issue(csr, days=(-10, -1)),
            "not-yet": lambda: self.issue(csr, days=(5, 30)),
            "other-subject": lambda: self.issue(csr, subject=name_of("admin")),
            "other-san": lambda: self.issue(csr, extensions=[(x509.SubjectAlternativeName([x509.DNSName("bank.example")]), False)]),
        }
        others = {
            "refuse": (403, {}, b"this \x1b[31mname is not yours"),
            "redirect": (302, {"Location": "file:///etc/passwd"}, b""),
            "garbage": (200, {}, b"\x00\xff not base64"),
            "no-cms": (200, {}, base64.b64encode(b"0\x03\x02\x01\x05")),
            "no-certs": (200, {}, base64.b64encode(pkcs7.serialize_certificates([self.cert], DER))),
            "oversized": (200, {}, b"A" * 200000),
            "empty": (200, {}, b""),
            "wait": (202, {"Retry-After": "1"}, b""),
            "broken": (503, {}, b"down for maintenance"),
        }
        if self.mode in others:
            return others[self.mode]
        return 200, {}, base64.b64encode(pkcs7.serialize_certificates([self.cert, certs[self.mode]()], DER))

    def start(self):
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                csr = x509.load_der_x509_csr(base64.b64decode(self.rfile.read(int(self.headers["Content-Length"]))))
                peer = self.connection.getpeercert()
                upstream.asked.append((self.path, self.headers.get("Authorization"), dict(x[0] for x in peer["subject"]) if peer else None))
                while upstream.mode == "slow":
                    time.sleep(0.05)
                status, headers, body = upstream.answers(csr)
                self.send_response(status)
                for name, value in {"Content-Type": "application/pkcs7-mime", "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

            def handle(self):
                try:
                    super().handle()
                except (ConnectionError, ssl.SSLError):
                    pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.tls)
        context.load_verify_locations(self.chain)
        context.verify_mode = ssl.CERT_OPTIONAL
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    it = Upstream(tmp_path_factory.mktemp("upstream"))
    it.start()
    yield it
    it.mode = "ok"
    it.stop()


@pytest.fixture(scope="module")
def served(shared_servers, upstream):
    server = shared_servers()
    server.init()
    server.start("--workers", 1)
    server.furnish()
    server.run("ca", "upstream", "corporate", "--url", f"https://127.0.0.1:{upstream.port}/.well-known/est/devices", "--chain",
               upstream.chain, "--client", upstream.client, "--login", upstream.login)
    server.run("batch", "set", "reel-1", "--ca", "corporate")
    server.devices = [Device() for _ in range(40)]
    server.register(*server.devices)
    return server


@pytest.fixture
def device(served, upstream):
    upstream.mode = "ok"
    del upstream.asked[:]
    return served.devices.pop()


def enrol(server, device, folder, key, **more):
    return est_enrol(server, device, folder, key, subject=device.udid, **more)[0]


def poll(server, device, folder, key, **more):
    return until_answered(lambda: enrol(server, device, folder, key, **more))


def credentials(server, device):
    return [row for row in server.ask("cert", "list", "--udid", device.udid)["rows"]]


def test_a_device_gets_the_upstreams_certificate(served, upstream, device, tmp_path):
    """Breaks when the RA does not say who it is, the device is not told to wait, or does not get the certificate and its chain."""
    key = KEYS["P-256"]()
    first = enrol(served, device, tmp_path, key)
    assert first.status == 202 and int(first.headers["Retry-After"]) > 0, first
    answer = poll(served, device, tmp_path, key)
    assert answer.status == 200, answer
    cert = certs_of_pkcs7(answer.body)[0]
    assert cert.issuer == upstream.name and cert.public_key() == key.public_key()
    cert.verify_directly_issued_by(upstream.cert)
    assert upstream.asked == [("/.well-known/est/devices/simpleenroll", "Basic " + base64.b64encode(b"ra:geheim").decode(),
                               {"commonName": "our RA"})]
    assert served.state(device) == "active" and len(credentials(served, device)) == 1
    # and it is a credential like any other: renewed with, and listed as of that CA
    new = KEYS["P-256"]()
    renewed = poll(served, device, tmp_path, new, cert=cert, cert_key=key, op="simplereenroll")
    assert renewed.status == 200 and len(credentials(served, device)) == 2
    assert upstream.name in [c.issuer for c in certs_of_pkcs7(renewed.body)]


@pytest.mark.parametrize("mode,word", [
    ("wrong-key", "none is over the device"), ("other-issuer", "not good under the CA"), ("other-name", "not good under the CA"),
    ("a-ca", "made the device a CA"), ("expired", "not good under the CA"), ("not-yet", "not good under the CA"), ("refuse", "answers 403: this \\x1b[31mname"),
    ("redirect", "answers 302"), ("garbage", "no base64"), ("no-cms", "no base64"), ("no-certs", "none is over"), ("empty", "no base64"),
    ("oversized", "longer than")])
def test_a_hostile_answer_is_refused(served, upstream, device, tmp_path, mode, word):
    """Breaks when what the upstream sends is believed, or its words reach a terminal as they came."""
    upstream.mode = mode
    answer = poll(served, device, tmp_path, KEYS["P-256"]())
    assert (answer.status, answer.code) == (403, "upstream-refused"), answer
    assert word in answer.text, answer.text
    assert_told(served, answer)
    assert credentials(served, device) == [] and served.state(device) == "allocated"
    assert len(upstream.asked) == 1


@pytest.mark.parametrize("mode", ["other-subject", "other-san"])
def test_names_are_the_registrys(served, upstream, device, tmp_path, mode):
    """Breaks when a device gets a certificate under a name that is not its own."""
    upstream.mode = mode
    answer = poll(served, device, tmp_path, KEYS["P-256"]())
    assert (answer.status, answer.code) == (403, "upstream-names"), answer


def test_a_device_asks_for_no_other_name(served, upstream, device, tmp_path):
    """Breaks when the upstream is asked for a name that is another's."""
    answer, _ = est_enrol(served, device, tmp_path, subject="admin")
    assert (answer.status, answer.code) == (403, "upstream-names"), answer
    names = x509.SubjectAlternativeName([x509.DNSName("bank.example")])
    answer, _ = est_enrol(served, device, tmp_path, csr=make_csr(KEYS["P-256"](), device.udid, [names]))
    assert (answer.status, answer.code) == (403, "upstream-names"), answer
    assert upstream.asked == []


def test_down_and_back(served, upstream, device, tmp_path):
    """Breaks when an upstream that is away costs a device its certificate."""
    key = KEYS["P-256"]()
    upstream.stop()
    assert enrol(served, device, tmp_path, key).status == 202
    time.sleep(0.5)
    assert enrol(served, device, tmp_path, key).status == 202
    upstream.mode = "wait"
    upstream.start()
    wait_for("a question", lambda: upstream.asked)
    assert enrol(served, device, tmp_path, key).status == 202
    upstream.mode = "ok"
    assert poll(served, device, tmp_path, key).status == 200
    assert len(credentials(served, device)) == 1


def test_killed_in_the_middle(served, upstream, device, tmp_path):
    """Breaks when the death of the courier, or of everything, loses a request or gives two certificates for it."""
    key = KEYS["P-256"]()
    upstream.mode = "slow"
    assert enrol(served, device, tmp_path, key).status == 202
    wait_for("the question", lambda: len(upstream.asked) == 1)
    was = served.courier()
    os.kill(was, signal.SIGKILL)
    wait_for("the next courier's question", lambda: len(upstream.asked) == 2)
    served.kill()
    served.start("--workers", 1)
    wait_for("the question after the start", lambda: len(upstream.asked) == 3)
    upstream.mode = "ok"
    assert poll(served, device, tmp_path, key).status == 200
    assert len(credentials(served, device)) == 1



def test_the_acts_around_it(served, upstream, tmp_path):
    """Breaks when an upstream CA is taken for one of ours, or a half-made one stays behind."""
    key = tmp_path / "other-key.pem"
    key.write_bytes(upstream.cert.public_bytes(PEM) + key_pem(KEYS["P-256"]()))
    url = ("--url", f"https://127.0.0.1:{upstream.port}/.well-known/est")
    for words, said in [
        ((*url, "--chain", upstream.chain, "--client", key), "wants a certificate and its private key"),
        ((*url, "--chain", upstream.chain, "--client", upstream.chain), "wants a certificate and its private key"),
        ((*url, "--chain", upstream.client), "--chain"),
        ((*url, "--chain", upstream.chain, "--login", upstream.chain), "USER:PASSWORD"),
        (("--url", "http://ca.example/est", "--chain", upstream.chain), "https://HOST"),
        (("--url", "https://user@ca.example/est", "--chain", upstream.chain), "https://HOST"),
    ]:
        out = served.run("ca", "upstream", "second", *words, want=None)
        assert out.returncode != 0 and said in out.stdout + out.stderr, out
    assert "second" not in served.run("ca", "list").stdout
    assert "ca-upstream" in served.run("ca", "default", "corporate", want=None).stderr
    assert "ca-upstream" in served.run("ca", "create", "below", "--parent", "corporate", want=None).stderr
    assert "geheim" not in (served.data / "registry.db").read_bytes().decode("latin-1")


def test_another_birthmark_upstream(new_server, tmp_path):
    """Breaks when two of ours do not understand each other: one is the registration authority of the other, and shows its own IDevID."""
    above, below = new_server(), new_server()
    for s in (above, below):
        s.init()
        s.start("--workers", 1)
        s.furnish()
    ra, device = Device(), Device()
    above.register(ra)
    below.register(device)
    client = tmp_path / "ra.pem"
    client.write_bytes(b"".join(p.read_bytes() for p in ra.files(tmp_path)))
    chain = tmp_path / "chain.pem"
    rows = above.ask("ca", "list")["rows"]
    order = sorted((r["name"] for r in rows), key=lambda n: n == "root")
    chain.write_text("".join(above.ask("ca", "show", n)["certificate"] for n in order))
    below.run("ca", "upstream", "above", "--url", f"{above.url}/.well-known/est", "--chain", chain, "--client", client, "--names", "upstream")
    below.run("batch", "set", "reel-1", "--ca", "above")
    key = KEYS["P-256"]()
    answer = poll(below, device, tmp_path, key)
    assert answer.status == 200, answer
    certs = certs_of_pkcs7(answer.body)
    assert certs[0].public_key() == key.public_key()
    assert any(c.issuer == c.subject for c in certs) or len(certs) == 1
