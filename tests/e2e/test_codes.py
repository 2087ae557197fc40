"""One-time codes (docs/codes.md) as devices use them: HTTP Basic over EST with curl and with raw requests, the member `code` over Onboard,
and what a crash in the middle leaves behind."""

import base64
import concurrent.futures
import csv
import json
import os
import stat
import subprocess

import pytest

import kit
from kit import EST, KEYS, Device, assert_refused, assert_told, b64u, call, certs_of_pkcs7, make_csr, tls_context, unb64u

TYPE = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(policy=("--self-registration", "yes"))
    s.run("product", "create", "listed", "--org", "oem")
    s.run("batch", "create", "listed-1", "--product", "listed", "--quota", 10)
    s.start()
    return s


def make(server, *words):
    (one,) = server.ask("code", "create", *words)["codes"]
    return one["code"], one["number"]


def used(server, number):
    return next(row["used"] for row in server.ask("code", "list", "--limit", 1000)["rows"] if row["id"] == number)


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def enrol(server, user, code, key=None, op="simpleenroll", context=None):
    key = key or KEYS["P-256"]()
    body = base64.b64encode(make_csr(key, "kit"))
    return call(server, "POST", EST + op, body, {**TYPE, **basic(user, code)}, context), key


def udid_of(key):
    return kit.hashlib.sha256(kit.spki_of(key)).hexdigest()


def test_curl_joins_a_batch(server, tmp_path):
    """The walk of docs/codes.md with curl and openssl: a device nobody has listed gets a certificate over its own key."""
    code, number = make(server, "--batch", "reel-1")
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    tmp_path / "key.pem", "-subj", "/CN=kit", "-outform", "der", "-out", tmp_path / "req.der"], check=True,
                   capture_output=True)
    (tmp_path / "req.b64").write_bytes(base64.b64encode((tmp_path / "req.der").read_bytes()))
    done = subprocess.run(["curl", "--silent", "--show-error", "--fail", "--cacert", server.anchors(), "--user", f"reel-1:{code.lower()}",
                           "--header", "Content-Type: application/pkcs10", "--data-binary", f"@{tmp_path}/req.b64",
                           f"{server.url}{EST}simpleenroll"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (cert,) = certs_of_pkcs7(done.stdout)
    key = kit.serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    assert cert.public_key() == key.public_key()
    device = server.ask("device", "show", udid_of(key))
    assert (device["state"], device["batch"], device["rot"]) == ("active", "reel-1", "software")
    assert used(server, number) == 1
    story = server.run("why", udid_of(key)).stdout
    assert "code.used" in story
    # the certificate is as good as any: it renews itself
    crt = tmp_path / "ldevid.pem"
    crt.write_bytes(cert.public_bytes(kit.PEM))
    answer = call(server, "POST", EST + "simplereenroll", base64.b64encode(make_csr(key, cert.subject)), TYPE,
                  tls_context(server.anchors(), crt, tmp_path / "key.pem"))
    assert answer.status == 200, answer


def test_estclient_with_a_code(server, go_tool, tmp_path):
    """globalsign's estclient, which sends user and password with its first request."""
    code, number = make(server, "--batch", "reel-1")
    key = KEYS["P-256"]()
    (tmp_path / "csr").write_bytes(kit.x509.load_der_x509_csr(make_csr(key, "kit")).public_bytes(kit.PEM))
    subprocess.run([go_tool("estclient"), "enroll", "-server", f"127.0.0.1:{server.port}", "-explicit", server.anchors(), "-user", "reel-1",
                    "-pass", code, "-csr", tmp_path / "csr", "-out", tmp_path / "got.pem"], check=True, capture_output=True, timeout=60)
    assert kit.x509.load_pem_x509_certificate((tmp_path / "got.pem").read_bytes()).public_key() == key.public_key()
    assert used(server, number) == 1


def test_a_401_says_how(server):
    """A client that waits to be asked learns that Basic will do, and where it would not do learns nothing of the kind."""
    body = base64.b64encode(make_csr(KEYS["P-256"](), "kit"))
    answer = assert_refused(server, call(server, "POST", EST + "simpleenroll", body, TYPE), 401, "no-evidence")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="birthmark", charset="UTF-8"'
    answer = assert_refused(server, call(server, "POST", EST + "simplereenroll", body, TYPE), 401, "no-evidence")
    assert answer.headers["WWW-Authenticate"] is None


def test_curl_asks_only_when_asked(server, tmp_path):
    """curl --anyauth sends the code only after the 401, as careful clients do."""
    code, number = make(server, "--batch", "reel-1")
    body = tmp_path / "req.b64"
    body.write_bytes(base64.b64encode(make_csr(KEYS["P-256"](), "kit")))
    done = subprocess.run(["curl", "--silent", "--show-error", "--fail", "--anyauth", "--cacert", server.anchors(), "--user",
                           f"reel-1:{code}", "--header", "Content-Type: application/pkcs10", "--data-binary", f"@{body}",
                           f"{server.url}{EST}simpleenroll"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert used(server, number) == 1


def test_refusals_over_est(server):
    """Each refusal by its code, kept for `why`, with nothing used up."""
    code, number = make(server, "--batch", "reel-1", "--uses", 5)
    other, _ = make(server, "--batch", "listed-1")
    gone, gone_number = make(server, "--batch", "reel-1")
    server.run("code", "revoke", gone_number)
    wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
    rows = [("reel-1", wrong, 401, "code-mistyped"), ("reel-1", other, 401, "code-wrong"), ("listed-1", other, 403, "self-registration-off"),
            ("listed-1", code, 401, "code-wrong"), ("reel-1", gone, 403, "code-revoked"), ("", code, 401, "code-wrong")]
    for user, password, status, word in rows:
        answer, _ = enrol(server, user, password)
        assert_refused(server, answer, status, word)
        if user:
            assert_told(server, answer)
        assert (answer.headers["WWW-Authenticate"] is not None) == (status == 401)
    for value, status, word in (("Bearer abc", 401, "authorization-scheme"), ("Basic !!", 400, "authorization-malformed")):
        body = base64.b64encode(make_csr(KEYS["P-256"](), "kit"))
        assert_refused(server, call(server, "POST", EST + "simpleenroll", body, {**TYPE, "Authorization": value}), status, word)
    assert used(server, number) == 0


def test_a_device_code(server):
    """A registered device without its key at hand: once, and only it."""
    device, other = Device(), Device()
    server.register(device, other, name="m-codes")
    code, number = make(server, "--udid", device.udid)
    answer, _ = enrol(server, other.udid, code)
    assert_refused(server, answer, 401, "code-wrong")
    answer, key = enrol(server, device.udid.upper(), code)
    assert answer.status == 200, answer
    (cert,) = certs_of_pkcs7(answer.body)
    assert cert.public_key() == key.public_key() and device.udid in cert.subject.rfc4514_string()
    answer, _ = enrol(server, device.udid, code)
    assert_refused(server, answer, 403, "code-used-up")
    assert used(server, number) == 1


def test_onboard_with_a_code(server):
    """The member `code`, with the key proven by a signed challenge, and without."""
    device = Device()
    code, _ = make(server, "--batch", "reel-1")
    headers = {"Content-Type": "application/json"}
    challenge = json.loads(call(server, "POST", "/onboard/v1/challenge", b"{}", headers).body)["challenge"]
    csr = make_csr(KEYS["P-256"](), "kit")

    def vec(raw):
        return len(raw).to_bytes(4, "big") + raw

    tbs = (b"birthmark-onboard-v1\0\x02" + vec(unb64u(challenge)) + vec(bytes.fromhex(device.udid)) + vec(b"reel-1") +
           (1).to_bytes(4, "big") + vec(b"") + vec(csr))
    message = {"udid": b64u(bytes.fromhex(device.udid)), "batch": "reel-1", "code": code, "challenge": challenge,
               "key": b64u(device.spki), "signature": b64u(kit.sign_raw(device.key, tbs)), "requests": [{"csr": b64u(csr)}]}
    answer = call(server, "POST", "/onboard/v1/enrol", json.dumps(message), headers)
    assert answer.status == 200, answer
    assert server.state(device) == "active"
    # a key that is only claimed, without challenge and signature, is not believed: then the request's own key counts
    late = Device()
    code, _ = make(server, "--batch", "reel-1")
    message = {"udid": b64u(bytes.fromhex(late.udid)), "batch": "reel-1", "code": code, "key": b64u(late.spki),
               "requests": [{"csr": b64u(csr)}]}
    answer = call(server, "POST", "/onboard/v1/enrol", json.dumps(message), headers)
    assert (answer.status, json.loads(answer.body)["code"]) == (403, "udid-mismatch")


def test_one_use_means_one(server):
    """Twenty devices race with one code of three uses: three certificates, three devices, three uses."""
    code, number = make(server, "--batch", "reel-1", "--uses", 3)
    keys = [KEYS["P-256"]() for _ in range(20)]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda key: enrol(server, "reel-1", code, key)[0], keys))
    won = [key for key, answer in zip(keys, answers) if answer.status == 200]
    assert len(won) == 3 and used(server, number) == 3
    assert {answer.code for answer in answers if answer.status != 200} == {"code-used-up"}
    for key in won:
        assert server.state(udid_of(key)) == "active"


def test_wrong_codes_are_slowed_down(new_server):
    """The eleventh guess of a minute waits, and is told for how long; so does then the right code from there."""
    server = new_server()
    server.init()
    server.furnish(policy=("--self-registration", "yes"))
    server.start()
    code, number = make(server, "--batch", "reel-1")
    statuses = [enrol(server, "reel-1", "0000-0000-0000-0000-0000-0000-0000")[0].status for _ in range(10)]
    assert statuses == [401] * 10
    answer, _ = enrol(server, "reel-1", code)
    assert_refused(server, answer, 429, "too-many-attempts")
    assert answer.headers["Retry-After"] == "60"
    assert used(server, number) == 0


def test_a_crash_never_gives_two_uses(new_server):
    """Killed in full flight, again and again: no code has more uses than it may, and each use has its device and its certificate."""
    server = new_server()
    server.init()
    server.furnish(quota=10000, policy=("--self-registration", "yes"))
    server.start()
    codes = [(one["code"], one["number"]) for one in server.ask("code", "create", "--batch", "reel-1", "--count", 30)["codes"]]
    held = {}

    def use(code):
        key = KEYS["P-256"]()
        try:
            answer, _ = enrol(server, "reel-1", code, key)
        except OSError:
            return
        if answer.status == 200:
            held.setdefault(code, []).append(udid_of(key))

    for some in (codes[:10], codes[10:20], codes[20:]):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            tries = [pool.submit(use, code) for code, _ in some for _ in range(3)]
            concurrent.futures.wait(tries, return_when=concurrent.futures.FIRST_COMPLETED)
            server.kill()
        server.start()
    for code, number in codes:
        use(code)
    for code, number in codes:
        assert used(server, number) <= 1
        assert len(held.get(code, [])) <= 1
        assert used(server, number) >= len(held.get(code, []))
        for udid in held.get(code, []):
            assert server.state(udid) == "active"
    total = sum(used(server, number) for _, number in codes)
    assert server.ask("batch", "show", "reel-1")["used"] == total == server.ask("status")["counts"]["device"]
    server.run("log", "verify")


def test_codes_for_many_devices(server, tmp_path):
    """A file for the label printer: one line each, readable by its owner only; and nothing of it in registry or log."""
    devices = [Device() for _ in range(3)]
    server.register(*devices, name="m-labels")
    (tmp_path / "udids").write_text("".join(d.udid + "\n" for d in devices))
    out = tmp_path / "codes.csv"
    server.run("code", "create", "--devices", tmp_path / "udids", "--out", out, "--valid", "12h")
    assert stat.S_IMODE(os.stat(out).st_mode) == 0o600
    rows = list(csv.DictReader(out.open()))
    assert [row["for"] for row in rows] == [d.udid for d in devices]
    answer, _ = enrol(server, devices[1].udid, rows[1]["code"])
    assert answer.status == 200
    listed = server.run("code", "list", "--udid", devices[1].udid).stdout
    kept = b"".join(p.read_bytes() for p in server.data.glob("registry.db*")) + server.log.read_bytes() + listed.encode()
    for row in rows:
        assert row["code"].encode() not in kept and row["code"].replace("-", "").encode() not in kept


def test_words_of_the_command(server, tmp_path):
    """What cannot be meant is refused, and a file that would be empty is not written."""
    server.run("code", "create", want=2)
    server.run("code", "create", "--batch", "reel-1", "--udid", "0" * 64, want=2)
    server.run("code", "create", "--batch", "nowhere", want=3)
    (tmp_path / "none").write_text("\n")
    server.run("code", "create", "--devices", tmp_path / "none", "--out", tmp_path / "out", want=2)
    assert not (tmp_path / "out").exists()
    server.run("code", "revoke", 999999, want=3)
