"""ACME for names and addresses (docs/acme.md): http-01, dns-01 and tls-alpn-01 by clients of others, with a name server and web servers of the
test's own on this machine."""

import contextlib
import hashlib
import http.server
import os
import socket
import ssl
import stat
import struct
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
from cryptography import x509

import acmekit
import kit
from acmekit import Acme, assert_problem
from kit import KEYS, Device, b64u, free_port, make_csr, wait_for


class Names(threading.Thread):
    """A name server: everything under gw.test is this machine; TXT records as the test puts them; nothing else is there."""

    def __init__(self):
        super().__init__(daemon=True)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.txt = {}

    def run(self):
        while True:
            with contextlib.suppress(OSError, IndexError, ValueError):
                query, peer = self.sock.recvfrom(4096)
                self.sock.sendto(self.answer(query), peer)

    def answer(self, query):
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        name, (kind,) = ".".join(labels), struct.unpack(">H", query[at + 1:at + 3])
        data = []
        if kind == 1 and name.endswith("gw.test"):
            data = [socket.inet_aton("127.0.0.1")]
        if kind == 16:
            data = [bytes([len(t)]) + t.encode() for t in self.txt.get(name, [])]
        known = name.endswith("gw.test")
        head = query[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, len(data), 0, 0)
        records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 1, len(d)) + d for d in data)
        return head + query[12:at + 5] + records


@pytest.fixture(scope="module")
def ports():
    return {"http": free_port(), "tls": free_port()}


@pytest.fixture(scope="module")
def names():
    n = Names()
    n.start()
    return n


@pytest.fixture(scope="module")
def server(shared_servers, names, ports):
    s = shared_servers()
    s.init()
    s.furnish()
    (s.data / "birthmark.conf").write_text(
        f"dns_servers = 127.0.0.1:{names.port}\nvalidation_networks = 127.0.0.0/8\n"
        f"acme_http_port = {ports['http']}\nacme_tls_port = {ports['tls']}\n")
    s.run("ca", "rollover", "root", "root-2")  # so that there are alternate chains
    s.start()
    return s


@pytest.fixture(scope="module")
def binding(server):
    return server.ask("eab", "create", "--org", "oem", "--names", "*.gw.test 127.0.0.1/32", "--uses", 100)


@pytest.fixture(scope="module")
def account(server, binding):
    a = Acme(server)
    a.register(binding)
    return a


@pytest.fixture
def web(ports):
    """Our own web server at the port that http-01 looks at, for one test: the clients of others bring their own."""
    w = types.SimpleNamespace()
    pages = w.pages = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = pages.get(self.path.rsplit("/", 1)[1], (404, b""))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", body.decode())
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    http.server.ThreadingHTTPServer.allow_reuse_address = True
    w.server = http.server.ThreadingHTTPServer(("127.0.0.1", ports["http"]), Handler)
    threading.Thread(target=w.server.serve_forever, daemon=True).start()
    yield w
    w.server.shutdown()
    w.server.server_close()


def decided(account, url):
    """A challenge that is not under way any more."""
    def look():
        got = account.ok(url).json
        return got if got["status"] not in ("pending", "processing") else None
    return wait_for("the challenge's end", look, 20)


def names_of(cert):
    return sorted(str(n.value) for n in cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


# --- clients of others --------------------------------------------------------------------------------------------------------------------------


def run(words, env, **more):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=90, env={**os.environ, **env}, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_certbot(server, binding, ports, tmp_path):
    """certbot: a new account with a binding, http-01 for two names, a renewal, and a revocation."""
    pytest.importorskip("acme")
    folders = ("--config-dir", tmp_path / "c", "--work-dir", tmp_path / "w", "--logs-dir", tmp_path / "l")
    common = ("--server", f"{server.url}/acme/directory", "-n", *folders)
    env = {"REQUESTS_CA_BUNDLE": str(server.anchors())}
    run(["certbot", "certonly", "--standalone", "--http-01-address", "127.0.0.1", "--http-01-port", ports["http"], "--agree-tos", "-m",
         "a@example.org", "--eab-kid", binding["kid"], "--eab-hmac-key", binding["hmac_key"], "-d", "a.gw.test,b.gw.test", "--key-type",
         "ecdsa", *common], env)
    live = tmp_path / "c/live/a.gw.test"
    chain = x509.load_pem_x509_certificates((live / "fullchain.pem").read_bytes())
    assert names_of(chain[0]) == ["a.gw.test", "b.gw.test"]
    chain[0].verify_directly_issued_by(chain[1])
    run(["certbot", "revoke", "--cert-path", live / "cert.pem", "--reason", "superseded", "--no-delete-after-revoke", *common], env)
    assert server.ask("cert", "show", f"{chain[0].serial_number:032x}")["state"] == "revoked"


@pytest.mark.parametrize("how", ["http", "tls", "dns"])
def test_lego(server, binding, names, ports, tmp_path, how):
    """lego: each of the three challenges, a wildcard by DNS."""
    domain = "*.wild.gw.test" if how == "dns" else f"{how}.gw.test"
    env = {"LEGO_CA_CERTIFICATES": str(server.anchors())}
    words = ["lego", "--server", f"{server.url}/acme/directory", "--accept-tos", "--email", "a@example.org", "--eab", "--kid", binding["kid"],
             "--hmac", binding["hmac_key"], "--domains", domain, "--path", tmp_path]
    if how == "dns":
        store = tmp_path / "txt"
        hook = tmp_path / "hook"
        hook.write_text(f'#!/bin/sh\n[ "$1" = present ] && echo "$2 $3" > {store}\nexit 0\n')
        hook.chmod(stat.S_IRWXU)
        env |= {"EXEC_PATH": str(hook), "EXEC_POLLING_INTERVAL": "1"}
        words += ["--dns", "exec", "--dns.disable-cp", "--dns.resolvers", f"127.0.0.1:{names.port}"]
        names.txt = Lookup(store)
    else:
        words += [f"--{how}", f"--{how}.port", f"127.0.0.1:{ports[how]}"]
    run([*words, "run"], env)
    leaf, *chain = x509.load_pem_x509_certificates((tmp_path / f"certificates/{domain.replace('*', '_')}.crt").read_bytes())
    assert names_of(leaf) == [domain]
    leaf.verify_directly_issued_by(chain[0])


class Lookup:
    """TXT records that a hook has written to a file."""

    def __init__(self, path):
        self.path = path

    def get(self, name, otherwise):
        if not self.path.exists():
            return otherwise
        fqdn, value = self.path.read_text().split()
        return [value] if fqdn.rstrip(".").lower() == name else otherwise


def served(folder, port):
    """python's web server with this folder, for clients that put their answers into files."""
    words = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder), str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kit.wait_for("the web server", lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    return process


def test_dehydrated(server, binding, ports, tmp_path):
    """dehydrated: a shell script around curl and openssl. A new account, a certificate, a revocation."""
    answers = tmp_path / ".well-known/acme-challenge"
    answers.mkdir(parents=True)
    (tmp_path / "config").write_text(f'''CA="{server.url}/acme/directory"
CURL_OPTS="--cacert {server.anchors()}"
EAB_KID={binding["kid"]}
EAB_HMAC_KEY={binding["hmac_key"]}
BASEDIR="{tmp_path}"
WELLKNOWN="{answers}"
KEY_ALGO=prime256v1
''')
    words = ["dehydrated", "--config", tmp_path / "config"]
    web = served(tmp_path, ports["http"])
    try:
        run([*words, "--register", "--accept-terms"], {})
        run([*words, "--cron", "-d", "d.gw.test"], {})
    finally:
        web.kill()
        web.wait()
    made = tmp_path / "certs/d.gw.test"
    leaf, *chain = x509.load_pem_x509_certificates((made / "fullchain.pem").read_bytes())
    assert names_of(leaf) == ["d.gw.test"] and len(chain) == 1
    leaf.verify_directly_issued_by(chain[0])
    run([*words, "--revoke", made / "cert.pem"], {})
    assert server.ask("cert", "show", f"{leaf.serial_number:032x}")["state"] == "revoked"


def test_uacme(server, binding, ports, tmp_path):
    """uacme, in C, with its own hook: an account with a binding, a certificate, a new account key, a renewal, a revocation, the account's end. It asks the
    system's trust alone, so that is another file for it."""
    if subprocess.run(["unshare", "--mount", "--map-root-user", "true"], check=False).returncode != 0:
        pytest.skip("no mount namespace to be had here, so uacme cannot be told to trust the server")
    answers = tmp_path / ".well-known/acme-challenge"
    answers.mkdir(parents=True)
    system, kept = Path("/etc/ssl/certs/ca-certificates.crt"), tmp_path / "conf"
    inside = ["unshare", "--mount", "--map-root-user", "sh", "-c", f'mount --bind {server.anchors()} {system} && exec "$@"', "sh"]
    words = [*inside, "uacme", "-v", "-y", "-c", kept, "-a", f"{server.url}/acme/directory", "-e", f"{binding['kid']}:{binding['hmac_key']}",
             "-t", "EC", "-h", "/usr/share/uacme/uacme.sh", "-o"]
    env, web = {"UACME_CHALLENGE_PATH": str(answers)}, served(tmp_path, ports["http"])

    def issued():
        leaf, issuer = x509.load_pem_x509_certificates((kept / "u.gw.test/cert.pem").read_bytes())
        leaf.verify_directly_issued_by(issuer)
        assert names_of(leaf) == ["u.gw.test", "v.gw.test"]
        return f"{leaf.serial_number:032x}"
    try:
        run([*words, "new", "a@example.org"], env)
        run([*words, "issue", "u.gw.test", "v.gw.test"], env)
        first = issued()
        run([*words, "newkey"], env)
        run([*words, "--force", "issue", "u.gw.test", "v.gw.test"], env)
        second = issued()
        run([*words, "revoke", kept / "u.gw.test/cert.pem"], env)
        run([*words, "deactivate"], env)
    finally:
        web.kill()
        web.wait()
    assert [server.ask("cert", "show", n)["state"] for n in (first, second)] == ["active", "revoked"]


def test_go(server, binding, ports, go_tool):
    """golang.org/x/crypto/acme, which Caddy and others stand on: an account with a binding, http-01, the alternate chains, a new account key,
    revocation by the certificate's key, the account's end."""
    words = [go_tool("acmeclient"), "-directory", f"{server.url}/acme/directory", "-roots", server.anchors(), "-kid", binding["kid"], "-hmac",
             binding["hmac_key"], "-listen", f"127.0.0.1:{ports['http']}", "-domain", "go.gw.test"]
    plain, other = (x509.load_pem_x509_certificates(part.encode()) for part in run(words, {}).stdout.strip().split("\n\n"))
    assert names_of(plain[0]) == ["go.gw.test"] and other[:-1] == plain
    other[-2].verify_directly_issued_by(other[-1])
    assert server.ask("cert", "show", f"{plain[0].serial_number:032x}")["state"] == "revoked"
    assert "deactivated" in {row["status"] for row in server.ask("acme-account", "list", "--kid", binding["kid"])["rows"]}


# --- the three challenges, right and wrong ---------------------------------------------------------------------------------------------------------


def answer_http(account, web, order, i=0, body=None, status=200):
    challenge = account.challenge(order, i, "http-01")
    web.pages[challenge["token"]] = (status, account.authorization(challenge["token"]) if body is None else body)
    told = account.post(challenge["url"], {})
    assert told.status == 200 and told.json["status"] in ("processing", "valid"), told
    assert 'rel="up"' in told.headers.get_all("Link")[1]
    return decided(account, challenge["url"])


def test_names_and_addresses(server, account, web):
    """An order of a name and an address; RSA as web servers have it; the certificate belongs to no device."""
    order = account.order(("dns", "mixed.gw.test"), ("ip", "127.0.0.1"))
    assert account.finalize(order, make_csr(KEYS["P-256"](), "x")).status == 403  # not yet
    kinds = {c["type"] for c in account.ok(order["authorizations"][1]).json["challenges"]}
    assert kinds == {"http-01", "tls-alpn-01"}  # RFC 8738 section 4
    for i in (0, 1):
        assert answer_http(account, web, order, i)["status"] == "valid"
    alt = x509.SubjectAlternativeName([x509.DNSName("mixed.gw.test"), x509.IPAddress(kit.ipaddress("127.0.0.1"))])
    done = account.finalize(order, make_csr(KEYS["RSA-2048"](), "mixed.gw.test", extensions=[alt])).json
    (cert, *_) = account.fetch(done)
    assert names_of(cert) == ["127.0.0.1", "mixed.gw.test"]
    row = server.ask("cert", "show", f"{cert.serial_number:032x}")
    assert row["udid"] is None and row["protocol"] == "acme"
    server.run("log", "verify")


@pytest.mark.parametrize("scope", [("--product", "gateway"), ("--batch", "gateway-1"), ("--batch", "gateway-2")])
def test_by_another_ca(server, web, gateways, scope):
    """Certificates for names come from the CA of the binding's product or batch."""
    a = Acme(server)
    a.register(server.ask("eab", "create", *scope, "--names", "*.gw.test"))
    order = a.order(("dns", "own.gw.test"))
    assert answer_http(a, web, order)["status"] == "valid"
    alt = x509.SubjectAlternativeName([x509.DNSName("own.gw.test")])
    leaf, issuer = a.fetch(a.finalize(order, make_csr(KEYS["P-256"](), "own.gw.test", extensions=[alt])).json)
    assert issuer.subject == gateways[scope[1]].subject
    leaf.verify_directly_issued_by(issuer)


@pytest.fixture(scope="module")
def gateways(server):
    cas = {}
    for name in ("fleet", "reel"):
        server.run("ca", "create", name, "--parent", "root")
        cas[name] = x509.load_pem_x509_certificate(server.ask("ca", "show", name)["certificate"].encode())
    server.run("product", "create", "gateway", "--org", "oem", "--ca", "fleet")
    server.run("batch", "create", "gateway-1", "--product", "gateway", "--quota", 1)
    server.run("batch", "create", "gateway-2", "--product", "gateway", "--quota", 1, "--ca", "reel")
    return {"gateway": cas["fleet"], "gateway-1": cas["fleet"], "gateway-2": cas["reel"]}


def test_wildcards(account):
    """RFC 8555 section 7.1.4: told apart from its name, and proven by DNS alone."""
    order = account.order(("dns", "*.a.gw.test"))
    authz = account.ok(order["authorizations"][0]).json
    assert authz["identifier"] == {"type": "dns", "value": "a.gw.test"} and authz["wildcard"] is True
    assert [c["type"] for c in authz["challenges"]] == ["dns-01"]


@pytest.mark.parametrize("status, body", [(200, b"nonsense"), (200, b""), (404, b""), (200, b"token.only"), (500, None)])
def test_http_refused(account, web, status, body):
    """Section 8.3: anything but the key authorization makes challenge, authorization and order invalid, and says why."""
    order = account.order(("dns", "bad.gw.test"))
    got = answer_http(account, web, order, body=body, status=status)
    assert got["status"] == "invalid" and got["error"]["type"] == acmekit.ERROR + "incorrectResponse"
    assert account.ok(order["authorizations"][0]).json["status"] == "invalid"
    assert account.ok(order["url"]).json["status"] == "invalid"


def test_another_accounts_answer(server, account, binding, web):
    """A key authorization is of one account: what answers another's challenge answers nothing."""
    order = account.order(("dns", "mine.gw.test"))
    token = account.challenge(order, 0, "http-01")["token"]
    other = f"{token}.{acmekit.thumbprint(KEYS['P-256']())}".encode()
    assert answer_http(account, web, order, body=other)["status"] == "invalid"


def test_redirects(account, web, ports):
    """Section 8.3: redirects are followed."""
    order = account.order(("dns", "moved.gw.test"))
    token = account.challenge(order, 0, "http-01")["token"]
    web.pages["elsewhere"] = (200, account.authorization(token) + b"\n")
    got = answer_http(account, web, order, body=f"http://other.gw.test:{ports['http']}/x/elsewhere".encode(), status=302)
    assert got["status"] == "valid", got


def test_dns(account, names):
    """Section 8.4: the digest, beside records of others."""
    order = account.order(("dns", "txt.gw.test"))
    challenge = account.challenge(order, 0, "dns-01")
    digest = b64u(hashlib.sha256(account.authorization(challenge["token"])).digest())
    names.txt = {"_acme-challenge.txt.gw.test": ["other", digest]}
    account.ok(challenge["url"], {})
    assert decided(account, challenge["url"])["status"] == "valid"


def alpn_server(port, cert, key, alpn=("acme-tls/1",)):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(list(alpn))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(4)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                peer, _ = sock.accept()
                with contextlib.suppress(OSError, ssl.SSLError):
                    context.wrap_socket(peer, server_side=True).close()

    threading.Thread(target=serve, daemon=True).start()
    return sock


def alpn_cert(name, digest, critical=True, oid="1.3.6.1.5.5.7.1.31", more=()):
    key = KEYS["P-256"]()
    alt = x509.SubjectAlternativeName([x509.DNSName(n) for n in (name, *more)])
    own = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\x04" + bytes([len(digest)]) + digest)
    return kit.make_cert(key, kit.name_of("x"), key, kit.name_of("x"), extensions=((alt, False), (own, critical))), key


@pytest.mark.parametrize("name, spoil, good", [
    ("right", {}, True),
    ("another digest", {"digest": b"x" * 32}, False),
    ("not critical", {"critical": False}, False),
    ("another extension", {"oid": "1.3.6.1.5.5.7.1.30", "critical": False}, False),
    ("another name", {"name": "else.gw.test"}, False),
    ("one name more", {"more": ("else.gw.test",)}, False),
    ("another protocol", {"alpn": ("http/1.1",)}, False),
])
def test_tls_alpn(account, ports, tmp_path, name, spoil, good):
    """RFC 8737 section 3, each of its checks."""
    order = account.order(("dns", "alpn.gw.test"))
    challenge = account.challenge(order, 0, "tls-alpn-01")
    parts = {"name": "alpn.gw.test", "digest": hashlib.sha256(account.authorization(challenge["token"])).digest(), **spoil}
    alpn = parts.pop("alpn", ("acme-tls/1",))
    cert, key = alpn_cert(**parts)
    (tmp_path / "c.pem").write_bytes(cert.public_bytes(kit.PEM))
    (tmp_path / "k.pem").write_bytes(kit.key_pem(key))
    sock = alpn_server(ports["tls"], tmp_path / "c.pem", tmp_path / "k.pem", alpn)
    try:
        account.ok(challenge["url"], {})
        got = decided(account, challenge["url"])
    finally:
        sock.shutdown(socket.SHUT_RDWR)
        sock.close()
    assert got["status"] == ("valid" if good else "invalid"), got


# --- what may be ordered --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier, kind", [
    (("dns", "gw.test"), "rejectedIdentifier"), (("dns", "evil.example"), "rejectedIdentifier"), (("dns", "notgw.test"), "rejectedIdentifier"),
    (("dns", "*.evil.test"), "rejectedIdentifier"), (("ip", "127.0.0.2"), "rejectedIdentifier"), (("ip", "::1"), "rejectedIdentifier"),
    (("dns", "A.gw.test"), "malformed"), (("dns", "a..gw.test"), "malformed"), (("dns", "a.gw.test."), "malformed"),
    (("dns", "-a.gw.test"), "malformed"), (("dns", "a_b.gw.test"), "malformed"), (("dns", "a.*.gw.test"), "malformed"),
    (("dns", "127.0.0.1"), "malformed"), (("dns", "localhost"), "malformed"), (("ip", "127.1"), "malformed"), (("ip", "::0001"), "malformed"),
    (("ip", "a.gw.test"), "malformed"),
])
def test_what_may_be_ordered(account, identifier, kind):
    """The binding's patterns, and RFC 8555 section 7.1.4, RFC 8738 section 3 on how a name is written."""
    payload = {"identifiers": [{"type": identifier[0], "value": identifier[1]}]}
    assert_problem(account.post(account.directory["newOrder"], payload), 400, kind)


def test_devices_and_names_apart(server, account):
    """A binding without names orders for none; nobody orders for a device and a name at once."""
    payload = {"identifiers": [{"type": "dns", "value": "a.gw.test"}, {"type": "permanent-identifier", "value": "x"}]}
    assert_problem(account.post(account.directory["newOrder"], payload), 400, "rejectedIdentifier")
    plain = Acme(server)
    plain.register(server.ask("eab", "create", "--batch", "reel-1"))
    payload = {"identifiers": [{"type": "dns", "value": "a.gw.test"}]}
    assert_problem(plain.post(plain.directory["newOrder"], payload), 400, "rejectedIdentifier")
    d = Device()
    server.register(d)
    account.enrol(d)
    for bad in ("a b.test *", "*", "gw", "10.0.0.0/40", "A.test"):
        server.run("eab", "create", "--org", "oem", "--names", bad, want=2)


def test_requests_for_names(account, web):
    """RFC 8555 section 7.4: the request has the names of the order, all of them and no others."""
    order = account.order(("dns", "one.gw.test"), ("dns", "two.gw.test"))
    for i in (0, 1):
        assert answer_http(account, web, order, i)["status"] == "valid"

    def csr(cn, *alt):
        extension = [x509.SubjectAlternativeName([x509.DNSName(n) for n in alt])] if alt else []
        return make_csr(KEYS["P-256"](), cn, extensions=extension)

    for bad in (csr(None, "one.gw.test"), csr(None, "one.gw.test", "two.gw.test", "three.gw.test"), csr("one.gw.test"),
                csr("evil.example", "one.gw.test", "two.gw.test"), csr(None)):
        assert_problem(account.finalize(order, bad), 400, "badCSR", "acme-csr")
    assert account.finalize(order, csr("one.gw.test", "TWO.gw.test")).json["status"] == "valid"
