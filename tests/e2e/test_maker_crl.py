"""Revocation lists of chip makers and signers of manifests: `openssl ca` is the maker, a plain web server its distribution point. Breaks when a certificate
that its maker has revoked still opens the door, or a list can be put back."""

import http.server
import subprocess
import threading
import time

import pytest

from kit import PEM, ChipMaker, Device, assert_refused, est_enrol, key_pem, make_cert, name_of, wait_for

CONFIG = """[ca]
default_ca = d
[d]
database = index.txt
crlnumber = crlnumber
default_md = sha256
crl_extensions = x
unique_subject = no
[x]
authorityKeyIdentifier = keyid
"""


class Maker(ChipMaker):
    """With openssl's way of revoking."""

    def __init__(self, folder, name):
        super().__init__(name)
        self.folder = folder
        folder.mkdir()
        (folder / "ca.cnf").write_text(CONFIG)
        (folder / "index.txt").write_text("")
        (folder / "crlnumber").write_text("1000\n")
        (folder / "ca.key").write_bytes(key_pem(self.key))
        self.pem(folder / "ca.pem")

    def openssl(self, *words):
        done = subprocess.run(["openssl", "ca", "-config", "ca.cnf", "-keyfile", "ca.key", "-cert", "ca.pem", *map(str, words)], cwd=self.folder,
                              capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr

    def revoke(self, cert, reason="keyCompromise"):
        (self.folder / "bad.pem").write_bytes(cert.public_bytes(PEM))
        self.openssl("-revoke", "bad.pem", "-crl_reason", reason)

    def list(self, seconds=86400):
        self.openssl("-gencrl", "-crlsec", seconds, "-out", "list.pem")
        return self.folder / "list.pem"


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish()
    s.start()
    return s


@pytest.fixture(scope="module")
def point():
    """point.content is what /maker.crl gives; point.asked counts."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            point.asked += 1
            self.send_response(200 if self.path == "/maker.crl" else 404)
            self.send_header("Content-Length", str(len(point.content)))
            self.end_headers()
            self.wfile.write(point.content)

        def log_message(self, *args):
            pass

    point = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    point.daemon_threads, point.asked, point.content = True, 0, b""
    point.url = f"http://127.0.0.1:{point.server_address[1]}"
    threading.Thread(target=point.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield point
    point.shutdown()


def anchor(server, org="chips", purpose="birth"):
    return next(t for t in server.ask("org", "show", org)["trust"] if t["purpose"] == purpose and t["crl"] is not None)


def test_fetched(server, point, tmp_path):
    maker = Maker(tmp_path / "maker", "Chips Root")
    good, bad, late = Device(), Device(), Device()
    for device in (good, bad, late):
        device.birth = device.cert = maker.birth(device)
    server.register(good, bad, late)
    pem = maker.pem(tmp_path / "maker.pem")
    trust = lambda *more: server.run("org", "trust", "chips", pem, "--purpose", "birth", *more)

    older = maker.list().read_bytes()
    maker.revoke(bad.cert)
    point.content = newer = maker.list().read_bytes()
    trust("--crl", f"{point.url}/maker.crl")
    wait_for("the list", lambda: anchor(server)["crl_entries"] == 1)
    assert_refused(server, est_enrol(server, bad, tmp_path)[0], 403, "maker-revoked")
    assert est_enrol(server, good, tmp_path)[0].status == 200

    # an older list, another's, or none at all: what is here stays, and the operator is told
    for content, path, word in ((older, "maker.crl", "number"), (Maker(tmp_path / "other", "Chips Root").list().read_bytes(), "maker.crl", "key"),
                                (b"<html>", "maker.crl", "no revocation list"), (newer, "gone", "404")):
        point.content = content
        trust("--crl", f"{point.url}/{path}")
        wait_for(word, lambda: word in (anchor(server)["crl_problem"] or ""))
        assert_refused(server, est_enrol(server, bad, tmp_path)[0], 403, "maker-revoked")
    # an intermediate that its root has revoked takes what it issued along; and who is on no list is heard
    assert est_enrol(server, late, tmp_path)[0].status == 200

    # one that is over: `use` goes on, `refuse` waits for the next
    point.content = maker.list(seconds=2).read_bytes()
    trust("--crl", f"{point.url}/maker.crl", "--crl-over", "refuse")
    wait_for("the short one", lambda: not anchor(server)["crl_problem"])
    answer = wait_for("its end", lambda: (a := est_enrol(server, good, tmp_path)[0]).status == 503 and a)
    assert_refused(server, answer, 503, "maker-crl-over")
    assert_refused(server, est_enrol(server, bad, tmp_path)[0], 403, "maker-revoked")
    assert any("chips" in w for w in server.ask("status")["warnings"])
    trust("--crl-over", "use")
    assert est_enrol(server, good, tmp_path)[0].status == 200
    asked = point.asked
    time.sleep(0.3)
    assert point.asked == asked  # nobody hammers the maker


def test_signer_of_manifests(server, tmp_path):
    """Brought by hand: a manifest whose signer its CA has revoked is not taken in, whatever day it says it was signed."""
    ca = Maker(tmp_path / "line", "Line CA")
    line = Device()  # any key
    signer = make_cert(line.key, name_of("Line 7"), ca.key, ca.name)
    (tmp_path / "s.key").write_bytes(key_pem(line.key))
    (tmp_path / "s.pem").write_bytes(signer.public_bytes(PEM))
    server.run("org", "trust", "chips", ca.pem(tmp_path / "ca.pem"), "--purpose", "manifest")
    manifests = []
    for name in ("a", "b"):
        source, out = tmp_path / f"{name}.lines", tmp_path / f"{name}.jsonl"
        source.write_text(Device().line())
        server.run("manifest", "make", source, "--out", out, "--id", f"line-{name}", "--issuer", "chips", "--key", tmp_path / "s.key", "--cert",
                   tmp_path / "s.pem")
        manifests.append(out)
    server.run("manifest", "import", manifests[0], "--batch", "reel-1")
    ca.revoke(signer)
    assert server.ask("org", "trust", "chips", ca.list(), "--purpose", "manifest")["lists"] == 1
    done = server.run("manifest", "import", manifests[1], "--batch", "reel-1", want=None)
    assert done.returncode != 0 and "maker-revoked" in done.stdout + done.stderr, done
