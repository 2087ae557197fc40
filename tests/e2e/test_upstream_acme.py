"""An upstream CA over ACME: pebble, the test server of the people of the standard, and another Birthmark. What breaks here: a CA of others does not
understand our client, a nonce that is not taken ends a request, a device's name cannot be proven, or what a CA says of another place is followed."""

import contextlib
import json
import os
import signal
import socketserver
import ssl
import struct
import subprocess
import threading
import types
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from acmekit import ERROR
from cloudkit import Served
from kit import KEYS, PEM, Device, assert_told, b64u, certs_of_pkcs7, est_enrol, free_port, key_pem, make_cert, make_csr, name_of, unb64u, until_answered, wait_for
from test_acme_names import Names
from werkzeug.wrappers import Request, Response

ACCOUNT = KEYS["P-256"]()  # of both CAs that look for us: the door answers for one key
EAB = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")


class Questions(socketserver.BaseRequestHandler):
    """RFC 1035 section 4.2.2: pebble asks over TCP, Birthmark over UDP."""

    def handle(self):
        with contextlib.suppress(OSError, IndexError, ValueError, struct.error):
            (n,) = struct.unpack(">H", self.request.recv(2))
            answer = self.server.names.answer(self.request.recv(n))
            self.request.sendall(struct.pack(">H", len(answer)) + answer)


class Pebble:
    """In its own process; validates for good, at the port where Birthmark serves plain HTTP, with the test's name server."""

    def __init__(self, program, folder, http_port, names):
        self.folder, self.port, self.manage = folder, free_port(), free_port()
        it = Served(folder, "pebble")
        self.trust = it.trust
        self.config = folder / "pebble.json"
        self.config.write_text(json.dumps({"pebble": {
            "listenAddress": f"127.0.0.1:{self.port}", "managementListenAddress": f"127.0.0.1:{self.manage}", "certificate": str(it.tls),
            "privateKey": str(it.tls_key), "httpPort": http_port, "tlsPort": 1, "retryAfter": {"authz": 1, "order": 1},
            "externalAccountBindingRequired": True, "externalAccountMACKeys": dict([EAB]), "certificateValidityPeriod": 86400}}))
        self.words = [str(program), "-config", str(self.config), "-strict", "-dnsserver", f"127.0.0.1:{names.port}"]
        self.process = None

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}/dir"

    def start(self):
        # one nonce in five is refused, and no authorization is used twice
        env = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20", "PEBBLE_AUTHZREUSE": "0"}
        self.process = subprocess.Popen(self.words, env=env, stdout=(self.folder / "pebble.log").open("ab"), stderr=subprocess.STDOUT)
        wait_for("pebble", lambda: self.get("/roots/0"))

    def get(self, path):
        context = ssl.create_default_context(cafile=self.trust)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python's own idea from 3.13 on; the certificate of the test's is plainer
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"https://127.0.0.1:{self.manage}{path}", context=context, timeout=5).read()

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log(self):
        return (self.folder / "pebble.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def names():
    n = Names()
    n.start()
    tcp = socketserver.ThreadingTCPServer(("127.0.0.1", n.port), Questions)
    tcp.names, tcp.daemon_threads = n, True
    threading.Thread(target=tcp.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield n
    tcp.shutdown()
    tcp.server_close()


@pytest.fixture(scope="module")
def ra(shared_servers):
    """Birthmark in front: everything under gw.test leads to its plain HTTP."""
    s = shared_servers()
    s.http_port = free_port()
    s.init()
    s.start("--workers", 1, "--listen-http", f"127.0.0.1:{s.http_port}")
    s.furnish(quota=100)
    s.devices = [Device() for _ in range(40)]
    s.register(*s.devices)
    return s


def upstream(ra, folder, name, url, chain, trust, *more, key=None):
    key_file = folder / f"{name}-account.pem"
    key_file.write_bytes(key_pem(key or KEYS["P-256"]()))
    ra.run("ca", "upstream", name, "--driver", "acme", "--url", url, "--chain", chain, "--trust", trust, "--client", key_file, "--names",
           "upstream", *more)
    ra.run("batch", "set", "reel-1", "--ca", name)


def poll(server, device, folder, key, *wanted):
    """wanted: its DNS names."""
    san = [x509.SubjectAlternativeName([x509.DNSName(n) for n in wanted])] if wanted else []
    return until_answered(lambda: est_enrol(server, device, folder, csr=make_csr(key, None, san))[0])


def dns_of(cert):
    return cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


# --- pebble -----------------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def pebble(ra, names, go_tool, tmp_path_factory):
    program = go_tool("logverify").with_name("pebble")
    if not program.exists():
        pytest.skip("pebble is not built: it needs Go 1.24 (scripts/install-go-tools)")
    folder = tmp_path_factory.mktemp("pebble")
    p = Pebble(program, folder, ra.http_port, names)
    p.start()
    p.login, p.chain = folder / "login", folder / "chain.pem"
    p.login.write_text(":".join(EAB) + "\n")
    p.chain.write_bytes(p.get("/intermediates/0") + p.get("/roots/0"))
    p.root = x509.load_pem_x509_certificate(p.get("/intermediates/0"))
    upstream(ra, folder, "pebble", p.url, p.chain, p.trust, "--login", p.login, "--options", "challenge=http-01",
             key=ACCOUNT)
    yield p
    p.stop()


def test_pebble(ra, pebble, tmp_path):
    """Breaks when a strict server of others does not understand us, http-01 does not lead to our account, or a refused nonce is the end."""
    for n, alg in enumerate(("P-256", "RSA-2048")):
        device, key = ra.devices.pop(), KEYS[alg]()
        answer = poll(ra, device, tmp_path, key, f"unit-{n}.gw.test", f"alias-{n}.gw.test")
        assert answer.status == 200, (answer, pebble.log()[-3000:])
        cert = certs_of_pkcs7(answer.body)[0]
        cert.verify_directly_issued_by(pebble.root)
        assert sorted(dns_of(cert)) == [f"alias-{n}.gw.test", f"unit-{n}.gw.test"] and cert.public_key() == key.public_key()
        assert ra.state(device) == "active"
    assert pebble.log().count("There are now 1 accounts") == 1 and "There are now 2 accounts" not in pebble.log()


def test_pebble_says_no(ra, pebble, tmp_path):
    """Breaks when a name that leads elsewhere, or one that the CA refuses, is not told to the device in the CA's words."""
    answer = poll(ra, ra.devices.pop(), tmp_path, KEYS["P-256"](), "unit.elsewhere.test")
    assert (answer.status, answer.code) == (403, "upstream-refused") and "has made the authorization invalid" in answer.text, answer
    assert_told(ra, answer)


def test_pebble_away_and_killed_between_steps(ra, pebble, tmp_path):
    """Breaks when a CA that is away, or our own death between two of the steps, costs a device its certificate."""
    device, key, finalized = ra.devices.pop(), KEYS["P-256"](), pebble.log().count("POST /finalize-order/")
    pebble.process.send_signal(signal.SIGSTOP)  # it takes connections and says nothing
    try:
        san = [x509.SubjectAlternativeName([x509.DNSName("killed.gw.test")])]
        assert est_enrol(ra, device, tmp_path, csr=make_csr(key, None, san))[0].status == 202
    finally:
        pebble.process.send_signal(signal.SIGCONT)
    # not while pebble looks for us: what it does not find then is invalid for good
    wait_for("the order to be finalized", lambda: pebble.log().count("POST /finalize-order/") > finalized)
    ra.kill()
    ra.start("--workers", 1, "--listen-http", f"127.0.0.1:{ra.http_port}")
    answer = poll(ra, device, tmp_path, key, "killed.gw.test")
    assert answer.status == 200, (answer, pebble.log()[-3000:])


# --- dns-01 through a hook ---------------------------------------------------------------------------------------------------------------

class Hook(Served):
    """Writes the records of dns-01 into the test's name server, asked in the form of lego's provider "httpreq"."""

    LOGIN = "dns:right-password"

    def __init__(self, folder, names):
        super().__init__(folder, "hook")
        self.names, self.asked_by = names, []

    def __call__(self, environ, start_response):
        request = Request(environ)
        said = request.get_json(force=True)
        good = request.authorization and f"{request.authorization.username}:{request.authorization.password}" == self.LOGIN
        self.asked.append((request.path, said["fqdn"]))
        self.asked_by.append((request.method, request.content_type, tuple(sorted(said)), bool(good)))
        return self.answer(request.path, said["fqdn"].rstrip("."), said["value"])(environ, start_response)

    def answer(self, path, name, value):
        if self.mode == "busy!":
            self.mode = "ok"
            return Response("later", 503, {"Retry-After": "1"})
        if self.mode == "forbidden":
            return Response("no \x1b[31mzone", 403)
        kept = self.names.txt.setdefault(name, set())
        if path.endswith("/present") and self.mode != "idle":
            kept.add(value)
            self.gate.wait(20)
        if path.endswith("/cleanup"):
            kept.discard(value)
        return Response("")


@pytest.fixture(scope="module")
def hook(ra, pebble, names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hook")
    it = Hook(folder, names)
    it.start()
    login = folder / "login"
    login.write_text(Hook.LOGIN + "\n")
    upstream(ra, folder, "dns", pebble.url, pebble.chain, pebble.trust, "--login", pebble.login, "--hook-login", login, "--hook-trust",
             it.trust, "--options", f"challenge=dns-01,hook={it.url}/of/us,under=dns.gw.test,wait=0")
    yield it
    it.stop()


@pytest.fixture
def told(ra, hook):
    ra.run("batch", "set", "reel-1", "--ca", "dns")
    hook.mode, hook.asked[:], hook.asked_by[:] = "ok", [], []
    return hook.asked


def test_dns_hook(ra, pebble, hook, told, tmp_path):
    """Breaks when names that lead nowhere, or wildcards, cannot be proven; when a hook that is busy, or our own death after it was told to write a record,
    costs a device its certificate; when a record stays."""
    hook.mode = "busy!"
    hook.gate.clear()
    device, key, wanted = ra.devices.pop(), KEYS["P-256"](), ["*.w.dns.gw.test", "unit.dns.gw.test"]
    assert est_enrol(ra, device, tmp_path, csr=make_csr(key, None, [x509.SubjectAlternativeName([x509.DNSName(n) for n in wanted])]))[0].status == 202
    wait_for("the record", lambda: any(hook.names.txt.values()))
    ra.kill()
    hook.gate.set()
    ra.start("--workers", 1, "--listen-http", f"127.0.0.1:{ra.http_port}")
    answer = poll(ra, device, tmp_path, key, *wanted)
    assert answer.status == 200, (answer, told, pebble.log()[-3000:])
    cert = certs_of_pkcs7(answer.body)[0]
    cert.verify_directly_issued_by(pebble.root)
    assert sorted(dns_of(cert)) == wanted and cert.public_key() == key.public_key()
    acts = [(path, f"_acme-challenge.{name}.dns.gw.test.") for name in ("w", "unit") for path in ("/of/us/present", "/of/us/cleanup")]
    assert sorted(told[2:]) == sorted(acts) and told[0] == told[1] == told[2] and told[0] in acts  # busy; written, and we dead; written again
    assert told.index(("/of/us/cleanup", told[0][1])) == 3  # one record at a time
    assert not any(hook.names.txt.values())
    assert set(hook.asked_by) == {("POST", "application/json", ("fqdn", "value"), True)}


def test_lego_asks_the_same_hook(pebble, hook, told, tmp_path):
    """Breaks when our form is not that of the client whose it is."""
    env = {**os.environ, "LEGO_CA_CERTIFICATES": str(pebble.trust), "SSL_CERT_FILE": str(hook.trust), "HTTPREQ_ENDPOINT": f"{hook.url}/of/lego",
           "HTTPREQ_POLLING_INTERVAL": "1"}
    env["HTTPREQ_USERNAME"], env["HTTPREQ_PASSWORD"] = Hook.LOGIN.split(":")
    words = ["lego", "--server", pebble.url, "--accept-tos", "--email", "a@example.org", "--eab", "--kid", EAB[0], "--hmac", EAB[1], "--domains",
             "lego.gw.test", "--path", str(tmp_path), "--dns", "httpreq", "--dns.disable-cp", "run"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    name = "_acme-challenge.lego.gw.test."
    assert told == [("/of/lego/present", name), ("/of/lego/cleanup", name)]
    assert set(hook.asked_by) == {("POST", "application/json", ("fqdn", "value"), True)}


@pytest.mark.parametrize("mode,name,word,acts", [
    ("forbidden", "unit.dns.gw.test", "answers 403: no \\x1b[31mzone", ["present"]),
    ("idle", "unit.dns.gw.test", "has made the authorization invalid", ["present", "cleanup"]),
    ("ok", "unit.gw.test", "is not under 'dns.gw.test'", [])])
def test_dns_hook_says_no(ra, hook, told, tmp_path, mode, name, word, acts):
    """Breaks when a record is asked for outside of the domain, stays after a refusal, or the reason does not reach the device."""
    hook.mode = mode
    answer = poll(ra, ra.devices.pop(), tmp_path, KEYS["P-256"](), name)
    assert (answer.status, answer.code) == (403, "upstream-refused") and word in answer.text, answer
    assert_told(ra, answer)
    assert [path.rsplit("/", 1)[1] for path, _ in told] == acts


# --- another Birthmark ------------------------------------------------------------------------------------------------------------------

def test_another_birthmark(ra, new_server, names, tmp_path):
    """Breaks when two of ours do not understand each other over ACME."""
    above = new_server()
    above.init()
    above.furnish()
    (above.data / "birthmark.conf").write_text(f"dns_servers = 127.0.0.1:{names.port}\nvalidation_networks = 127.0.0.0/8\n"
                                               f"acme_http_port = {ra.http_port}\n")
    above.start("--workers", 1)
    eab = above.ask("eab", "create", "--org", "oem", "--names", "*.gw.test", "--uses", 1)
    login, chain = tmp_path / "login", tmp_path / "chain.pem"
    login.write_text(f"{eab['kid']}:{eab['hmac_key']}\n")
    order = sorted((r["name"] for r in above.ask("ca", "list")["rows"]), key=lambda n: n == "root")
    chain.write_text("".join(above.ask("ca", "show", n)["certificate"] for n in order))
    upstream(ra, tmp_path, "above", f"{above.url}/acme/directory", chain, above.anchors(), "--login", login, "--options", "challenge=http-01",
             key=ACCOUNT)
    first = KEYS["P-256"]()
    answer = poll(ra, ra.devices.pop(), tmp_path, first, "twin-0.gw.test")
    assert answer.status == 200, (answer, above.tail(20))
    assert certs_of_pkcs7(answer.body)[0].public_key() == first.public_key()


# --- a CA that means no good ------------------------------------------------------------------------------------------------------------

class Hostile(Served):
    """ACME as far as it takes to lie: each order is valid at once, as with names that a CA knows as ours."""

    def __init__(self, folder):
        super().__init__(folder, "acme")
        self.ca = KEYS["P-256"]()
        self.root = make_cert(self.ca, name_of("ACME CA"), self.ca, name_of("ACME CA"), ca=True)
        self.accounts = 0

    def issue(self, csr, by=None):
        return make_cert(types.SimpleNamespace(public_key=csr.public_key), csr.subject, by or self.ca, self.root.subject, ca=False, days=(-1, 20),
                              extensions=[(e.value, False) for e in csr.extensions])

    def problem(self, kind, status=400, **headers):
        return Response(json.dumps({"type": ERROR + kind, "detail": f"{kind} \x1b[31mtold"}), status,
                        {k.replace("_", "-"): v for k, v in headers.items()}, content_type="application/problem+json")

    def say(self, body, status=200, **headers):
        return Response(json.dumps(body), status, {k.replace("_", "-"): v for k, v in headers.items()}, content_type="application/json")

    def __call__(self, environ, start_response):
        request = Request(environ)
        raw = request.get_data()
        payload = {}
        if request.method == "POST":
            jws = json.loads(raw)
            text = unb64u(jws["payload"])
            payload = json.loads(text) if text else None
        self.asked.append((request.method, request.path, payload))
        answer = self.answer(request.path[1:], payload)
        if self.mode != "no-nonce":
            answer.headers["Replay-Nonce"] = b64u(os.urandom(12))
        return answer(environ, start_response)

    def answer(self, path, payload):
        of, _, name = self.mode.rpartition(":")
        if of == path:
            self.mode = "ok" if name.endswith("!") else self.mode
            return getattr(self, "say_" + name.rstrip("!"))()
        return getattr(self, "do_" + path)(payload)

    def do_dir(self, payload):
        return self.say({n: f"{self.url}/{n}" for n in ("newNonce", "newAccount", "newOrder")})

    def do_newNonce(self, payload):
        return Response("", 200)

    def do_newAccount(self, payload):
        if payload.get("onlyReturnExisting") and not self.accounts:
            return self.problem("accountDoesNotExist")
        self.accounts = 1
        return self.say({"status": "valid"}, 200, Location=f"{self.url}/account")

    def order(self, status, **more):
        return {"status": status, "authorizations": [f"{self.url}/authz"], "finalize": f"{self.url}/finalize", **more}

    def do_newOrder(self, payload):
        self.ordered = payload["identifiers"]
        return self.say(self.order("ready"), 201, Location=f"{self.url}/order")

    def do_finalize(self, payload):
        self.csr = x509.load_der_x509_csr(unb64u(payload["csr"]))
        return self.say(self.order("processing"), Retry_After="1")

    def do_order(self, payload):
        return self.say(self.order("valid", certificate=f"{self.url}/certificate"))

    def do_certificate(self, payload):
        return Response(self.issue(self.csr).public_bytes(PEM), content_type="application/pem-certificate-chain")

    # --- lies and refusals ---
    def say_elsewhere(self):
        return self.say({n: "https://127.0.0.2:1/" + n for n in ("newNonce", "newAccount", "newOrder")})

    def say_prefix(self):
        return self.say({n: f"{self.url}0/" + n for n in ("newNonce", "newAccount", "newOrder")})

    def say_eab(self):
        return self.say({**{n: f"{self.url}/{n}" for n in ("newNonce", "newAccount", "newOrder")}, "meta": {"externalAccountRequired": True}})

    def say_garbage(self):
        return Response(b"\x00\xff{")

    def say_bare(self):
        return self.say({})

    def say_limited(self):
        return self.problem("rateLimited", 429, Retry_After="1")

    def say_busy(self):
        return Response("busy", 503)

    def say_rejected(self):
        return self.problem("rejectedIdentifier", 403)

    def say_notready(self):
        return self.problem("orderNotReady", 403)

    def say_pending(self):
        return self.say(self.order("pending"), 201, Location=f"{self.url}/order")

    def do_authz(self, payload):
        return self.say({"status": "pending", "identifier": self.ordered[0], "challenges": [
            {"type": "http-01", "url": "https://127.0.0.2:1/chall", "token": "x", "status": "pending"}]})

    def say_invalid(self):
        return self.say(self.order("invalid", error={"type": ERROR + "caa", "detail": "CAA \x1b[31mforbids"}))

    def say_otherissuer(self):
        return Response(self.issue(self.csr, KEYS["P-256"]()).public_bytes(PEM))

    def say_othername(self):
        other = x509.load_der_x509_csr(make_csr(KEYS["P-256"](), None))
        return Response(self.issue(other).public_bytes(PEM))

    def say_long(self):
        return Response(b"A" * 200000)


@pytest.fixture(scope="module")
def hostile(ra, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    it = Hostile(folder)
    it.start()
    it.chain = folder / "chain.pem"
    it.chain.write_bytes(it.root.public_bytes(PEM))
    upstream(ra, folder, "hostile", f"{it.url}/dir", it.chain, it.trust)
    yield it
    it.stop()


@pytest.fixture
def asked(ra, hostile):
    ra.run("batch", "set", "reel-1", "--ca", "hostile")
    hostile.mode, hostile.asked[:], hostile.accounts = "ok", [], 0
    return hostile.asked


def test_pre_authorised(ra, hostile, asked, tmp_path):
    """Breaks when an order that is ready at once is not finished at once, or an account is made anew for each."""
    for n in range(2):
        answer = poll(ra, ra.devices.pop(), tmp_path, KEYS["P-256"](), f"ready-{n}.example")
        assert answer.status == 200, answer
        assert dns_of(certs_of_pkcs7(answer.body)[0]) == [f"ready-{n}.example"]
    assert sum(p == "/newAccount" and "onlyReturnExisting" not in body for _, p, body in asked) == 1
    assert [m for m, p, _ in asked if p in ("/dir", "/newNonce")] == ["GET", "HEAD"] * 2


@pytest.mark.parametrize("mode,word", [
    ("dir:elsewhere", "on another server: newNonce"), ("dir:prefix", "on another server: newNonce"), ("dir:eab", "KID:HMAC"),
    ("newAccount:bare", "without an address"), ("newOrder:rejected", "403 rejectedIdentifier: rejectedIdentifier \\x1b[31m"),
    ("newOrder:bare", "without its addresses"), ("newOrder:pending", "does not know it as ours"), ("order:invalid", "CAA \\x1b[31mforbids"),
    ("certificate:garbage", "no certificates in PEM"), ("certificate:otherissuer", "not good under the CA"),
    ("certificate:othername", "none is over the device"), ("certificate:long", "longer than")])
def test_a_lie_or_a_no_is_told(ra, hostile, asked, tmp_path, mode, word):
    """Breaks when what an ACME server says is believed or followed to another place, or its words reach a terminal as they came."""
    hostile.mode = mode
    device = ra.devices.pop()
    answer = poll(ra, device, tmp_path, KEYS["P-256"](), "unit.example")
    assert answer.status == 403 and word in answer.text, answer
    assert_told(ra, answer)
    assert ra.state(device) == "allocated"


@pytest.mark.parametrize("mode", ["newOrder:limited!", "dir:busy!", "finalize:notready!"])
def test_not_now(ra, hostile, asked, tmp_path, mode):
    """Breaks when a CA that is busy, or has finalized before we could write it down, costs a device its certificate."""
    hostile.mode = mode
    if mode.startswith("finalize"):
        hostile.csr = None
        hostile.do_order = lambda payload, was=hostile.do_order: was(payload) if hostile.csr else hostile.say(hostile.order("ready"))
    answer = poll(ra, ra.devices.pop(), tmp_path, KEYS["P-256"](), "later.example")
    assert answer.status == 200 and hostile.mode == "ok", answer


def test_what_acme_cannot_order(ra, hostile, asked, tmp_path):
    """Breaks when the CA is asked for what it has no words for."""
    answer = poll(ra, ra.devices.pop(), tmp_path, KEYS["P-256"]())
    assert (answer.status, answer.code) == (403, "upstream-request") and asked == [], answer


def test_what_is_needed_is_asked_for(ra, hostile, tmp_path):
    """Breaks when an account is taken in that can never sign."""
    key, other, login = tmp_path / "key.pem", tmp_path / "other.pem", tmp_path / "login"
    key.write_bytes(key_pem(KEYS["P-256"]()))
    other.write_bytes(key_pem(ec.generate_private_key(ec.SECP256K1())))
    login.write_text("kid:not base64url!\n")
    common = ("--driver", "acme", "--url", f"{hostile.url}/dir", "--chain", hostile.chain)
    for words, said in [((), "private key of the ACME account"), (("--client", hostile.chain), "wants a private key"), (("--client", other), "--client"),
                        (("--client", key, "--login", login), "KID:HMAC"), (("--client", key, "--options", "challenge=dns-01"), "wants hook=https"),
                        (("--client", key, "--hook-login", login), "go with --options challenge=dns-01")]:
        out = ra.run("ca", "upstream", "third", *common, *words, want=None)
        assert out.returncode != 0 and said in out.stdout + out.stderr, (words, out)
