"""The Linux agent and the fleet of play devices against the real server. What lies in the agent's output directory is judged by openssl,
which shares no code with either side."""

import base64
import contextlib
import ipaddress
import itertools
import json
import os
import pathlib
import random
import re
import select
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import kit
from kit import DER, PEM, assert_no_reports, sanitizer_env, wait_for

KILLS = 48
NO_TLS_AUTH = "EST needs TLS client authentication, which this build of Mbed TLS cannot do with a key it may not see"
names = itertools.count(1)

# --- the agent as a process ----------------------------------------------------------------------------------------------------------------


class Agent:
    """One device: state and output directory of its own."""

    def __init__(self, program, folder, server, *settings):
        self.program, self.folder, self.server, self.settings = program, folder, server, settings
        folder.mkdir()
        self.state, self.out = folder / "state", folder / "out"
        self.env = {**os.environ, **sanitizer_env(folder)}
        self.running = []
        self.udid = None

    def words(self, command, *more):
        trust = () if {"--anchors", "--pin"} & {*more, *self.settings} else ("--anchors", self.server.anchors())
        where = () if "--server" in (*more, *self.settings) else ("--server", self.server.url)
        return [str(w) for w in (self.program, command, "--state", self.state, "--out", self.out, *where, *trust, *self.settings, *more)]

    def run(self, command, *more, want=0):
        done = subprocess.run(self.words(command, *more), capture_output=True, text=True, stdin=subprocess.DEVNULL, env=self.env,
                              timeout=60)
        assert_no_reports(self.folder)
        assert want is None or done.returncode == want, f"{command} {more}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def identity(self):
        line = self.run("identity").stdout
        self.udid = json.loads(line)["udid"]
        return line

    def register(self):
        """Into the registry by the line that `identity` prints, as a factory would do it."""
        name = f"agents-{next(names)}"
        got = self.server.ask("manifest", "import", self.server.manifest(self.identity(), name), "--batch", "reel-1")
        assert got["added"] == 1, got
        return self

    def spawn(self, command, *more):
        process = subprocess.Popen(self.words(command, *more), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, env=self.env)
        self.running.append(process)
        return process

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert_no_reports(self.folder)

    def kill(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stderr.close()

    def slot_scalar(self, key_id):
        """The private key as PSA keeps it: the end of the file that is named after the key."""
        return (self.state / f"{key_id:016x}.psa_its").read_bytes()[-32:]

    def scalars(self):
        return [p.read_bytes()[-32:] for p in self.state.glob("*.psa_its")]


def says(process, pattern, timeout=40):
    """Waits for a line of the agent that has `pattern` in it."""
    line, deadline, fd = b"", time.monotonic() + timeout, process.stderr.fileno()
    seen = []
    while select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
        got = os.read(fd, 1)
        if not got:
            break
        line += got
        if got == b"\n":
            seen.append(line.decode())
            line = b""
            if re.search(pattern, seen[-1]):
                return seen[-1]
    return pytest.fail(f"the agent did not say {pattern!r} within {timeout} s; it said {seen}")


# --- what an output directory must be ------------------------------------------------------------------------------------------------------


def public_of(scalar):
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1()).public_key()


def spki(public):
    return public.public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_of(agent, folder):
    """The public half of the key that a service's directory holds or points at."""
    if (folder / "key.pem").exists():
        return serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None).public_key()
    told = json.loads((folder / "key.json").read_text())
    assert (told["store"], told["directory"]) == ("psa", str(agent.state))
    return public_of(agent.slot_scalar(told["id"]))


def holds(agent, services=("telemetry",)):
    """The current set is whole, and its parts belong together. Returns the certificates by service."""
    current = (agent.out / "current").resolve(strict=True)
    assert current.parent == agent.out.resolve()
    kinds = {"cert.pem", "chain.pem", "endpoints.json"}
    assert {p.name for p in current.iterdir()} - {".hooked"} == {"anchors.pem", "enrolment", *services}
    told = (current / "enrolment").read_text()
    assert told.startswith(f"udid {agent.udid}\n") and told.endswith("\n")
    found = {}
    for name in services:
        folder = current / name
        assert {p.name for p in folder.iterdir()} - {"key.json", "key.pem"} == kinds
        (cert,) = x509.load_pem_x509_certificates((folder / "cert.pem").read_bytes())
        assert spki(cert.public_key()) == spki(key_of(agent, folder)), f"{name}: the certificate is for another key"
        chain = x509.load_pem_x509_certificates((folder / "chain.pem").read_bytes())
        roots = x509.load_pem_x509_certificates((current / "anchors.pem").read_bytes())
        cert.verify_directly_issued_by(chain[0])
        assert any(chain[-1].issuer == root.subject for root in roots)
        assert f"service {name} slot " in told and f" not_after {int(cert.not_valid_after_utc.timestamp())} " in told
        found[name] = cert
    return found


def openssl_agrees(agent, name="telemetry"):
    folder = agent.out / "current" / name
    done = subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", folder.parent / "anchors.pem",
                           "-untrusted", folder / "chain.pem", folder / "cert.pem"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.rstrip().endswith(": OK"), done.stdout + done.stderr


def mode(path):
    return path.stat().st_mode & 0o7777


def assert_no_private_key_in_output(agent):
    """Neither as PEM nor raw, in hex or in Base64 at any of its three alignments."""
    scalars = agent.scalars()
    assert len(scalars) >= 2, "root key and one more were expected"
    forms = [f for s in scalars for f in (s, s.hex().encode(), *(base64.b64encode(bytes(n) + s)[4:-4] for n in range(3)))]
    for path in agent.out.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            assert b"PRIVATE KEY" not in text and not any(f in text for f in forms), path


# --- fixtures ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(shared_servers, tmp_path_factory):
    """A server with two services: certificates for telemetry live a month, those for brief 100 seconds. Both are to be renewed at a tenth
    of that."""
    server = shared_servers()
    server.init()
    server.start()
    server.furnish(policy=("--renew-after-percent", "10"))
    profile = json.loads(server.run("profile", "show", "ldevid").stdout)
    path = tmp_path_factory.mktemp("profile") / "brief.json"
    path.write_text(json.dumps({**profile, "validity": "100s"}))
    server.run("profile", "set", "brief", path)
    server.run("service", "create", "brief", "--kind", "generic", "--profile", "brief")
    server.run("product", "set", "sensor", "--services", "telemetry,brief")
    server.run("batch", "create", "reel-9", "--product", "sensor", "--quota", 1)
    return server


@pytest.fixture(scope="module")
def agent_program(build_dir):
    path = build_dir / "bin" / "birthmark-agent"
    assert path.exists(), f"{path} is not built"
    return path


@pytest.fixture
def new_agent(agent_program, site, tmp_path):
    made = []

    def make(*settings, server=site):
        made.append(Agent(agent_program, tmp_path / f"agent-{len(made)}", server, *settings))
        return made[-1]

    yield make
    for agent in made:
        agent.kill()


@pytest.fixture(scope="module")
def tls_auth(agent_program, tmp_path_factory):
    """Whether the Mbed TLS it was built with can authenticate with a key that stays outside; the agent itself says."""
    folder = tmp_path_factory.mktemp("capable")
    done = subprocess.run([agent_program, "enrol", "--protocol", "est", "--server", "https://127.0.0.1:1", "--anchors", "/dev/null",
                           "--state", folder / "state", "--out", folder / "out"], capture_output=True, text=True, timeout=30)
    assert (done.returncode == 2) == (NO_TLS_AUTH in done.stderr), done.stderr
    return done.returncode != 2


def est_or_told(agent, tls_auth):
    """EST is told to be impossible where it is; True when the test has to go on."""
    if not tls_auth:
        assert NO_TLS_AUTH in agent.run("enrol", "--protocol", "est", want=2).stderr
        assert not agent.out.exists()
    return tls_auth


# --- enrolment -----------------------------------------------------------------------------------------------------------------------------

WAYS = {"client certificate": (), "signed challenge": ("--no-client-cert",), "est": ("--protocol", "est")}


@pytest.mark.parametrize("way", WAYS)
def test_enrolment_every_way(site, new_agent, tls_auth, way):
    """Breaks when a device cannot get from its factory line to files that an application can use."""
    agent = new_agent(*WAYS[way]) if way != "est" else new_agent()
    agent.register()
    if way == "est":
        if not est_or_told(agent, tls_auth):
            return
        agent.settings = WAYS[way]
    assert "not enrolled" in agent.run("status", want=1).stdout
    told = agent.run("enrol").stderr
    assert re.search(r"enrolled for 1 service \(correlation [0-9a-f]{16}\)", told)
    service = "telemetry" if way != "est" else "default"
    cert = holds(agent, (service,))[service]
    openssl_agrees(agent, service)
    serials = [c.serial_number for c in (cert, holds_again(agent, service))]
    assert serials[0] != serials[1]
    shown = json.dumps(site.ask("device", "show", agent.udid))
    assert site.state(agent) == "active" and all(f"{s:x}" in shown for s in serials)


def holds_again(agent, service):
    """A second enrolment: another key, another certificate, and the old set is gone."""
    before = holds(agent, (service,))[service]
    agent.run("enrol")
    after = holds(agent, (service,))[service]
    assert spki(before.public_key()) != spki(after.public_key())
    assert len(list(agent.out.glob(".set-*"))) == 1
    return after


def test_files_and_their_modes(site, new_agent):
    """Breaks when others can read a key, or an application of another user cannot read its certificate."""
    os.umask(0o022)
    agent = new_agent("--service", "telemetry", "--service", "brief").register()
    agent.run("enrol")
    holds(agent, ("telemetry", "brief"))
    current = agent.out / "current"
    assert os.readlink(current).startswith(".set-")
    assert json.loads((current / "telemetry/endpoints.json").read_text()) == ["mqtts://telemetry.example:8883"]
    assert json.loads((current / "brief/endpoints.json").read_text()) == []
    assert {mode(p) for p in (agent.out, current, current / "telemetry", current / "brief")} == {0o755}
    assert {mode(p) for p in current.rglob("*") if p.is_file()} == {0o644}
    assert mode(agent.state) == 0o700
    assert {mode(p) for p in agent.state.iterdir()} == {0o600}
    assert_no_private_key_in_output(agent)


def test_key_file_only_when_asked_for(site, new_agent):
    """Breaks when a key leaves PSA's storage unasked, or key.pem is not the certificate's key, or is for everybody to read."""
    agent = new_agent().register()
    agent.run("enrol")
    assert not list(agent.out.rglob("key.pem"))
    assert_no_private_key_in_output(agent)
    agent.run("enrol", "--key-file")
    holds(agent)
    folder = agent.out / "current/telemetry"
    assert mode(folder / "key.pem") == 0o600 and not (folder / "key.json").exists()
    public = [subprocess.run(["openssl", *words], capture_output=True, check=True).stdout for words in (
        ("pkey", "-in", folder / "key.pem", "-pubout"), ("x509", "-in", folder / "cert.pem", "-noout", "-pubkey"))]
    assert public[0] == public[1]
    agent.run("enrol")
    holds(agent)
    assert_no_private_key_in_output(agent)


def test_identity_is_lasting_and_nothing_else(new_agent):
    agent = new_agent()
    first = agent.identity()
    assert first == agent.identity() and json.loads(first).keys() == {"udid", "key", "rot"}
    public = serialization.load_der_public_key(kit.unb64u(json.loads(first)["key"]))
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki(public))
    assert digest.finalize().hex() == agent.udid
    assert spki(public_of(agent.scalars()[0])) == spki(public)
    assert not agent.out.exists()
    (agent.state / next(p.name for p in agent.state.glob("*.psa_its"))).write_bytes(b"damaged")
    assert "cannot be used" in agent.run("identity", want=1).stderr, "a damaged root key was replaced: another device"


def test_settings_file_and_p384(new_agent):
    """The file's settings count, and the command line wins over them."""
    agent = new_agent("--algorithm", "p384").register()
    conf = agent.folder / "agent.conf"
    conf.write_text(f"# a device\nserver = https://127.0.0.1:1\nanchors = {agent.server.anchors()}\nservice = nothing\n")
    agent.run("enrol", "--conf", conf, "--service", "brief")
    (cert,) = x509.load_pem_x509_certificates((agent.out / "current/brief/cert.pem").read_bytes())
    assert cert.public_key().curve.name == "secp384r1"
    openssl_agrees(agent, "brief")


def test_status(site, new_agent):
    agent = new_agent().register()
    agent.run("enrol")
    told = agent.run("status", "--ask").stdout
    assert f"udid     {agent.udid}\n" in told and re.search(r"service  telemetry valid until \d{4}-", told)
    assert re.search(r"^server   \S+ \(device active\)$", told, re.M), told
    site.run("device", "suspend", agent.udid)
    done = agent.run("status", "--ask", want=None)
    assert "suspended" in done.stdout + done.stderr, done


# --- refusals ------------------------------------------------------------------------------------------------------------------------------

REFUSED = [
    ("unknown-device", (), None),
    ("unknown-device", ("--no-client-cert",), None),
    ("wrong-batch", ("--batch", "reel-9"), ""),
    ("service-refused", ("--service", "espionage"), ""),
    ("device-suspended", (), "suspend"),
    ("device-compromised", (), "compromise"),
]


@pytest.mark.parametrize("code, more, act", REFUSED, ids=[f"{c}{'-'.join(m)}" for c, m, _ in REFUSED])
def test_refusals_are_told(site, new_agent, code, more, act):
    """Breaks when the person at the device cannot tell the operator what to look for."""
    agent = new_agent(*more)
    agent.register() if act is not None else agent.identity()
    if act:
        agent.run("enrol")
        site.run("device", act, agent.udid)
        before = holds(agent)
    told = re.search(rf"refused: {code} \(HTTP 403, correlation ([0-9a-f]{{16}})\)", agent.run("enrol", want=3).stderr)
    assert told, f"no {code}"
    assert code in site.run("why", told[1]).stdout
    assert holds(agent) == before if act else not agent.out.exists()


def test_refused_over_est(site, new_agent, tls_auth):
    agent = new_agent()
    agent.identity()
    if est_or_told(agent, tls_auth):
        told = re.search(r"refused: unknown-device \(HTTP 403, correlation ([0-9a-f]{16})\)",
                         agent.run("enrol", "--protocol", "est", want=3).stderr)
        assert told and "unknown-device" in site.run("why", told[1]).stdout


WRONG = [
    (("--server", "http://127.0.0.1"), "given as https://HOST"),
    (("--server", "https://127.0.0.1/onboard"), "without a path"),
    (("--pin", "12"), "64 hex digits"),
    (("--service", "../../etc"), "a service name"),
    (("--protocol", "scep"), "onboard or est"),
    (("--protocol", "est", "--no-client-cert"), "EST needs TLS client authentication"),
    (("--conf", "/nonexistent/agent.conf"), "cannot open"),
    (("--colour", "blue"), "usage:"),
    (("word",), "usage:"),
]


@pytest.mark.parametrize("words, sentence", WRONG, ids=[w[0][-1].replace("/", "_") for w in WRONG])
def test_wrong_use(new_agent, words, sentence):
    agent = new_agent()
    assert sentence in agent.run("enrol", *words, want=2).stderr
    assert not agent.out.exists()


# --- whom the agent trusts -----------------------------------------------------------------------------------------------------------------


def pin_of(cert):
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki(cert.public_key()))
    return digest.finalize().hex()


class Impostor(threading.Thread):
    """A TLS server of the right name and a foreign CA; keeps what clients send it."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        ca, key = kit.KEYS["P-256"](), kit.KEYS["P-256"]()
        self.root = kit.make_cert(ca, kit.name_of("Other Root"), ca, kit.name_of("Other Root"), ca=True)
        cert = kit.make_cert(key, kit.name_of("127.0.0.1"), ca, kit.name_of("Other Root"), extensions=(
            (x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False),))
        (folder / "impostor.pem").write_bytes(cert.public_bytes(PEM) + kit.key_pem(key))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "impostor.pem")
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url, self.got, self.met = f"https://127.0.0.1:{self.socket.getsockname()[1]}", b"", 0
        self.start()

    def run(self):
        while True:
            try:
                raw, _ = self.socket.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), raw, self.context.wrap_socket(raw, server_side=True) as s:
                self.met += 1
                s.settimeout(20)
                self.got += s.recv(65536)


def test_wrong_anchor_and_wrong_pin(site, new_agent, tmp_path):
    """Breaks when a device tells anything to a server it has no reason to trust, or takes anything from it."""
    impostor = Impostor(tmp_path)
    other = tmp_path / "other.pem"
    other.write_bytes(impostor.root.public_bytes(PEM))
    agent = new_agent().register()
    try:
        rows = [("--anchors", other), ("--pin", "00" * 32), ("--anchors", other, "--pin", "00" * 32),
                ("--server", impostor.url), ("--server", impostor.url, "--pin", "00" * 32),
                ("--server", f"https://localhost:{site.port}", "--anchors", site.anchors())]
        for row in rows:
            assert "the server is not trusted" in agent.run("enrol", *row, want=1).stderr, row
        wait_for("the impostor to be called", lambda: impostor.met == 2)
        assert impostor.got == b"", "the agent spoke to an impostor"
    finally:
        impostor.socket.shutdown(socket.SHUT_RDWR)
        impostor.socket.close()
    assert not agent.out.exists()


def sent_by(server):
    """The certificates that the server shows: its own first."""
    shown = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-showcerts"], stdin=subprocess.DEVNULL,
                           capture_output=True, check=False).stdout
    return x509.load_pem_x509_certificates(b"".join(re.findall(rb"-----BEGIN CERT.*?-----END CERTIFICATE-----\n", shown, re.S)))


def test_pins_that_hold(site, new_agent):
    """Of the server's own key; and of a CA that it sends. The CA's covers only the names that its certificates give the server."""
    own, issuing, *_ = sent_by(site)
    for cert in (own, issuing):
        agent = new_agent("--pin", pin_of(cert)).register()
        agent.run("enrol")
        holds(agent)
    elsewhere = ("--server", f"https://localhost:{site.port}", "--pin", pin_of(issuing))
    assert "the server is not trusted" in new_agent().run("enrol", *elsewhere, want=1).stderr


# --- over time -----------------------------------------------------------------------------------------------------------------------------


def hook_of(agent, status=0):
    """A hook that notes what it was called with, and whether the certificate was there."""
    path, log = agent.folder / "hook", agent.folder / "hook.log"
    path.write_text(f'#!/bin/sh\necho "$# $1 $(grep -c BEGIN "$1"/*/cert.pem)" >>{log}\nexit {status}\n')
    path.chmod(0o755)
    return path, lambda: log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize("protocol", ["onboard", "est"])
def test_renewal_by_timer_with_hook(site, new_agent, tls_auth, protocol):
    """Breaks when a device's certificate runs out although it is on-line, or its programs do not hear of the new one."""
    agent = new_agent().register()
    if protocol == "est" and not est_or_told(agent, tls_auth):
        return
    hook, calls = hook_of(agent)
    agent.settings = ("--service", "brief", "--hook", hook, "--protocol", protocol)
    process = agent.spawn("run")
    says(process, "enrolled for 1 service")
    wait_for("the hook", calls)
    first = holds(agent, ("brief",))["brief"]
    start = time.monotonic()
    if protocol == "est":  # at two thirds: not waited for, but it must not come earlier
        time.sleep(2)
        assert len(calls()) == 1 and holds(agent, ("brief",))["brief"] == first, "it renews without a pause"
        process.send_signal(signal.SIGHUP)
    says(process, "enrolled for 1 service", 30)
    took = time.monotonic() - start
    assert protocol == "est" or 7 < took < 20, f"a tenth of 100 s took {took} s"
    wait_for("the hook again", lambda: len(calls()) == 2)
    second = holds(agent, ("brief",))["brief"]
    assert first.serial_number != second.serial_number and first.not_valid_after_utc < second.not_valid_after_utc
    assert set(calls()) == {f"1 {agent.out}/current 1"}
    assert "another birthmark-agent works in" in agent.run("enrol", want=1).stderr
    assert agent.run("status").returncode == 0
    agent.stop(process)
    holds(agent, ("brief",))


def test_hook_that_fails_runs_again(site, new_agent):
    agent = new_agent().register()
    hook, calls = hook_of(agent, status=1)
    assert "the hook" in agent.run("enrol", "--hook", hook).stderr
    holds(agent)
    process = agent.spawn("run", "--hook", hook)
    says(process, "the hook .* failed")
    assert len(calls()) == 2
    agent.stop(process)
    hook, calls = hook_of(agent)
    for _ in range(2):  # the second time nothing is left to do
        process = agent.spawn("run", "--hook", hook)
        wait_for("the note that the hook has run", (agent.out / "current/.hooked").exists)
        time.sleep(0.3)
        agent.stop(process)
    assert len(calls()) == 3


def test_server_down_then_up(new_server, new_agent):
    """Breaks when a device gives up on a server that was away, or hammers it."""
    server = new_server()
    server.init()
    server.furnish()
    agent = new_agent(server=server).register()
    process = agent.spawn("run")
    says(process, "birthmark-agent: .")
    began = time.monotonic()
    server.start()
    says(process, "enrolled for 1 service", 30)
    assert 5 < time.monotonic() - began < 28, "the first pause is about 15 seconds"
    holds(agent)
    server.kill()
    process.send_signal(signal.SIGHUP)
    says(process, "birthmark-agent: .")
    holds(agent)
    agent.stop(process)


def test_clock_far_ahead(site, new_agent):
    """Breaks when a device whose fresh certificate seems due already, because its clock is wrong, floods the server with requests."""
    faketime = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    assert faketime, "libfaketime is not there: run scripts/install-deps"
    agent = new_agent("--pin", pin_of(sent_by(site)[0])).register()
    hook, calls = hook_of(agent)
    agent.env |= {"LD_PRELOAD": str(faketime), "FAKETIME": "+20d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    process = agent.spawn("run", "--hook", hook)
    says(process, "to be renewed already; is the clock right")
    time.sleep(2)
    assert len(calls()) == 1
    agent.stop(process)
    holds(agent)


def sets_of(agent):
    return {name for name in os.listdir(agent.out) if name.startswith(".set-")}


def test_killed_at_any_moment(site, new_agent):
    """Breaks when a power cut leaves a device with half a set of files, or with a certificate whose key is lost."""
    agent = new_agent().register()
    agent.run("enrol")
    holds(agent)
    agent.env["ASAN_OPTIONS"] += ":detect_leaks=0"  # the search for leaks is a process of its own that complains when killed halfway
    began = time.monotonic()
    agent.run("enrol")
    life = time.monotonic() - began
    seen, killed, over_files, deadline = set(), 0, 0, time.monotonic() + 40
    for i in itertools.count():
        if (killed >= KILLS and over_files >= KILLS // 3) or time.monotonic() > deadline:
            break
        old = sets_of(agent)
        process = agent.spawn("enrol")
        if i % 3:  # while the files are written
            while process.poll() is None and sets_of(agent) <= old:
                pass
            time.sleep(random.random() * 0.006)
        else:
            time.sleep(random.random() * life)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        over_files += process.returncode == -signal.SIGKILL and not sets_of(agent) <= old
        seen.add(holds(agent)["telemetry"].serial_number)
    assert killed >= 40 and over_files >= 10, f"{killed} killed, {over_files} of them over the files"
    assert len(seen) > 1, "no renewal came through before its kill"
    assert_no_reports(agent.folder)
    agent.run("enrol")
    holds(agent)
    openssl_agrees(agent)
    assert len(list(agent.out.glob(".set-*"))) == 1, "leavings of killed runs stay"


# --- the fleet -----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fleet(site, build_dir, tmp_path_factory):
    """fleet("run", ...): its exit status and summary; 8 devices of it are registered, the ninth is not."""
    folder = tmp_path_factory.mktemp("fleet")
    program = build_dir / "bin" / "birthmark-fleet"

    def call(*words, want=0):
        out = folder / "out.jsonl"
        done = subprocess.run([str(w) for w in (program, "run", "--server", site.url, "--keys", folder / "keys", "--anchors", site.anchors(),
                                                "--json", "--out", out, *words)],
                              capture_output=True, text=True, timeout=60, env={**os.environ, **sanitizer_env(folder)})
        assert_no_reports(folder)
        assert done.returncode == want, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return (json.loads(done.stdout), [json.loads(x) for x in out.read_text().splitlines()]) if want != 2 else (None, done.stderr)

    subprocess.run([program, "keys", "9", "--out", folder / "keys"], check=True, capture_output=True)
    lines = subprocess.run([program, "spki", "--keys", folder / "keys", "--count", "8"], check=True, capture_output=True, text=True).stdout
    site.run("manifest", "import", site.manifest(lines, "fleet"), "--batch", "reel-1")
    return call


MODES = [("new",), ("kept", "--repeat", "2"), ("kept", "--repeat", "2", "--auth", "challenge"), ("renew", "--repeat", "2"),
         ("renew", "--protocol", "est"), ("new", "--protocol", "est"), ("new", "--auth", "challenge")]


@pytest.mark.parametrize("words", MODES, ids="-".join)
def test_fleet_modes(fleet, words):
    summary, rows = fleet("--count", "3", "--mode", *words)
    assert (summary["onboarded"], summary["refused"], summary["errors"]) == (3, 0, 0)
    assert [r["outcome"] for r in rows] == ["onboarded"] * 3
    repeat = int(words[words.index("--repeat") + 1]) if "--repeat" in words else 1
    assert summary["operations"] >= 3 * repeat


ATTACKS = [
    ("unknown-key", "unknown-device", ()),
    ("clone", "udid-mismatch", ()),
    ("wrong-batch", "wrong-batch", ("--batch", "reel-9")),
    ("replay", "challenge-used", ("--auth", "challenge")),
    ("stolen-cert", "bad-signature", ()),
    ("forged-csr", "bad-signature", ()),
    ("no-service", "service-refused", ()),
]


@pytest.mark.parametrize("attack, code, words", ATTACKS, ids=[a[0] for a in ATTACKS])
def test_fleet_attacks(site, fleet, attack, code, words):
    """Exit status 0 says that every impostor was refused; each of them with a code that the operator finds again."""
    summary, rows = fleet("--count", "2", "--attack", attack, *words)
    assert (summary["onboarded"], summary["refused"], summary["by_code"]) == (0, 2, {code: 2})
    assert {r["code"] for r in rows} == {code}
    assert code in site.run("why", rows[0]["correlation"]).stdout


def test_fleet_exit_status(fleet):
    summary, rows = fleet("--first", "7", "--count", "2", want=1)
    assert (summary["onboarded"], summary["refused"]) == (1, 1) and {r["code"] for r in rows} == {"", "unknown-device"}
    for words in (("--attack", "flattery"), ("--attack", "replay"), ("--mode", "fast"), ("--protocol", "est", "--auth", "challenge"),
                  ("--jobs", "0"), ("--colour", "blue"), ("word",)):
        assert fleet(*words, want=2)[1]
