"""What the tests build on: the server as a process, and devices, chip makers and clients that share no code with it."""

import atexit
import base64
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import random
import select
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address as ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

TOP = pathlib.Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60


# --- processes ----------------------------------------------------------------------------------------------------------------------


def free_port():
    """A port that nobody listens on now, below those that the kernel gives to outgoing connections: one of our own clients could
    otherwise take it while the server is down, or even connect to itself. Test programs that run side by side have ranges of their own, for
    the same reason: BM_TEST_LANE, set by scripts/check."""
    lowest = 20000 + 2000 * (int(os.environ.get("BM_TEST_LANE", "0")) % 6)
    for _ in range(200):
        port = random.randrange(lowest, lowest + 2000)
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


REPORTS = pathlib.Path(tempfile.mkdtemp(prefix="birthmark-sanitizers-"))
REPORTS.chmod(0o1777)  # pytest's folders are closed to the users that a server started as root gives its processes
atexit.register(shutil.rmtree, REPORTS, ignore_errors=True)


def report_stem(folder):
    return hashlib.sha256(str(pathlib.Path(folder)).encode()).hexdigest()[:16]


def sanitizer_env(folder):
    """Sanitizer reports go to files, where a test cannot overlook them; faketime may be loaded ahead of the sanitizer."""
    path = REPORTS / report_stem(folder)
    return {
        "ASAN_OPTIONS": f"log_path={path}:verify_asan_link_order=0:detect_stack_use_after_return=1",
        "LSAN_OPTIONS": "report_objects=1",
        "UBSAN_OPTIONS": f"log_path={path}:print_stacktrace=1",
    }


def assert_no_reports(folder):
    """Of what ran with sanitizer_env(folder)."""
    for report in sorted(REPORTS.glob(f"{report_stem(folder)}.*")):
        pytest.fail(f"sanitizer report:\n{report.read_text(errors='replace')[:8000]}")


def wait_for(what, condition, timeout=30.0):
    """For what announces itself in no other way."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        got = condition()
        if got:
            return got
        time.sleep(0.02)
    pytest.fail(f"{what}: not within {timeout} s")


def children(pid):
    """The processes below pid, as {pid: name}; not those that wait to be reaped."""
    found = {}
    for process in pathlib.Path("/proc").glob("[0-9]*"):  # any of them may be gone before it is read
        with contextlib.suppress(OSError):
            text = (process / "stat").read_text()
            fields = text.rsplit(") ", 1)[1].split()
            if int(fields[1]) == pid and fields[0] not in "ZX":
                found[int(process.name)] = text[text.index("(") + 1:text.rindex(")")]
    return found


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except OSError:
        return False


class Server:
    """One data folder and the program that serves it; may be stopped and started again, also with SIGKILL."""

    def __init__(self, program, folder, env=None, data=None):
        self.program = program
        self.folder = pathlib.Path(folder)
        self.data = data or self.folder / "data"
        self.port = free_port()
        self.env = {**os.environ, **sanitizer_env(self.folder), "BIRTHMARK_DATA": str(self.data), **(env or {})}
        self.log = self.folder / "server.log"
        self.process = None

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    # --- the command ---
    def run(self, *words, want=0, env=None, timeout=120, **more):
        done = subprocess.run([self.program, *map(str, words)], capture_output=True, text=True, env={**self.env, **(env or {})},
                              timeout=timeout, **({} if "input" in more else {"stdin": subprocess.DEVNULL}), **more)
        assert want is None or done.returncode == want, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def ask(self, *words, **more):
        return json.loads(self.run(*words, "--json", **more).stdout)

    def init(self, *words):
        return self.run("init", "--organisation", "Test", "--tls-host", "127.0.0.1", *words)

    # --- life ---
    def spawn(self, *words, program=None, **more):
        """Starts without waiting; standard output is a pipe on which the ready line comes."""
        assert self.process is None, "already running"
        listen = () if "--listen" in words else ("--listen", f"127.0.0.1:{self.port}")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*(program or [self.program]), "serve", *listen, *map(str, words)],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self.env,
                                            start_new_session=True, **more)
        return self.process

    def start(self, *words, **more):
        self.spawn(*words, **more)
        self.ready_line = self.read_line(START_TIMEOUT_S)
        if "serving" not in self.ready_line:
            status = self.process.wait(STOP_TIMEOUT_S)
            self.process = None
            pytest.fail(f"the server ended with {status} before it served:\n{self.tail()}")

    def read_line(self, timeout):
        out, line, deadline = self.process.stdout.fileno(), b"", time.monotonic() + timeout
        while not line.endswith(b"\n"):
            if not select.select([out], [], [], max(0, deadline - time.monotonic()))[0]:
                self.kill()
                pytest.fail(f"the server said nothing for {timeout} s:\n{self.tail()}")
            got = os.read(out, 1)
            if not got:
                break
            line += got
        return line.decode()

    def tail(self, n=60):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-n:]) if self.log.exists() else ""

    def keeper(self):
        """Its pid: the keeper is started first, and never anew."""
        born = {}
        for pid in children(self.process.pid):
            with contextlib.suppress(OSError):
                born[pid] = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[19])
        return min(born, key=lambda pid: (born[pid], pid)) if born else None

    def workers(self):
        keeper = self.keeper()
        return [pid for pid, name in children(self.process.pid).items() if pid != keeper and name != "bm-courier"]

    def courier(self):
        return next((pid for pid, name in children(self.process.pid).items() if name == "bm-courier"), None)

    def family(self):
        return [self.process.pid, *children(self.process.pid)]

    def kill(self):
        """The whole group at once, as a power cut would."""
        if self.process is not None:
            family = self.family()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process.stdout.close()
            self.process = None
            wait_for("the end of all processes", lambda: not any(alive(pid) for pid in family))

    def ended(self, timeout=STOP_TIMEOUT_S):
        """The exit status of a server that is on its way out."""
        status = self.process.wait(timeout)
        self.process.stdout.close()
        self.process = None
        return status

    def stop(self):
        """In good order; a stop that hangs, an exit status or a sanitizer report fails the test."""
        process = self.process
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                status = self.ended()
            except subprocess.TimeoutExpired:
                self.kill()
                pytest.fail(f"the server did not stop within {STOP_TIMEOUT_S} s of SIGTERM:\n{self.tail()}")
            assert_no_reports(self.folder)
            assert status == 0, f"the server ended with {status}:\n{self.tail()}"
        assert_no_reports(self.folder)

    # --- furnishing ---
    def anchors(self):
        path = self.folder / "root.pem"
        if not path.exists():
            self.run("ca", "export", "root", "--out", path, "--quiet")
        return path

    def furnish(self, quota=1000, services=("telemetry",), policy=()):
        """A chip maker, a device maker, services, the product `sensor` and its batch `reel-1`."""
        self.run("org", "create", "chips", "--role", "chip-maker")
        self.run("org", "create", "oem", "--role", "oem", "--title", "Device Maker")
        for name in services:
            self.run("service", "create", name, "--kind", "mqtt", "--endpoint", f"mqtts://{name}.example:8883")
        self.run("product", "create", "sensor", "--org", "oem", "--services", ",".join(services), *policy)
        self.run("batch", "create", "reel-1", "--product", "sensor", "--quota", quota)

    def manifest(self, lines, name="m-1"):
        """The path of a signed manifest of these lines; the signer is made and pinned the first time."""
        source, out, signer = self.folder / f"{name}.lines", self.folder / f"{name}.jsonl", self.folder / "signer"
        source.write_text(lines if isinstance(lines, str) else "".join(lines))
        who = ("--key", signer / "signer-key.pem", "--cert", signer / "signer-cert.pem") if signer.exists() else ("--new-signer", signer)
        self.run("manifest", "make", source, "--out", out, "--id", name, "--issuer", "chips", *who, timeout=300)
        if who[0] == "--new-signer":
            self.run("org", "trust", "chips", signer / "signer-cert.pem", "--purpose", "manifest")
        return out

    def register(self, *devices, name="m-1", batch="reel-1"):
        return self.ask("manifest", "import", self.manifest([d.line() for d in devices], name), *(("--batch", batch) if batch else ()))

    def state(self, device):
        return self.ask("device", "show", getattr(device, "udid", device))["state"]


# --- keys and certificates -----------------------------------------------------------------------------------------------------------

DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM

KEYS = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
}


def hash_for(key):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    return hashes.SHA384() if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size == 384 else hashes.SHA256()


def spki_of(key):
    return key.public_key().public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_pem(key):
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def name_of(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def make_cert(key, subject, issuer_key, issuer, ca=None, days=(-1, 365), extensions=()):
    now = datetime.now(timezone.utc)
    b = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
         .serial_number(x509.random_serial_number()).not_valid_before(now + timedelta(days=days[0]))
         .not_valid_after(now + timedelta(days=days[1])))
    if ca is not None:
        b = b.add_extension(x509.BasicConstraints(ca, None), True)
    if ca:
        b = b.add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
        b = b.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    for extension, critical in extensions:
        b = b.add_extension(extension, critical)
    return b.sign(issuer_key, hash_for(issuer_key))


def make_csr(key, subject=None, extensions=()):
    """DER. subject: text of a common name, or an x509.Name."""
    name = subject if isinstance(subject, x509.Name) else name_of(subject)
    b = x509.CertificateSigningRequestBuilder().subject_name(name)
    for extension in extensions:
        b = b.add_extension(extension, False)
    return b.sign(key, hash_for(key)).public_bytes(DER)


def b64u(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unb64u(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sign_raw(key, data):
    """As docs/onboard.md wants it: ECDSA as r || s."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    size = (key.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hash_for(key))))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


class ChipMaker:
    """A CA outside of Birthmark that writes birth certificates."""

    def __init__(self, name="Chips Root"):
        self.key, self.name = KEYS["P-256"](), name_of(name)
        self.cert = make_cert(self.key, self.name, self.key, self.name, ca=True, days=(-10, 3650))

    def pem(self, path):
        path.write_bytes(self.cert.public_bytes(PEM))
        return path

    def birth(self, device, **more):
        return make_cert(device.key, name_of(f"chip {device.udid[:12]}"), self.key, self.name, **more)


class Device:
    """A unit with its IDevID key."""

    def __init__(self, alg="P-256", rot="software"):
        self.key, self.rot = KEYS[alg](), rot
        self.spki = spki_of(self.key)
        self.udid = hashlib.sha256(self.spki).hexdigest()
        self.chain = []
        self.cert = self.self_signed()
        self.birth = None

    def self_signed(self, common_name="unit"):
        return make_cert(self.key, name_of(common_name), self.key, name_of(common_name))

    def line(self):
        members = {"key": b64u(self.spki), "rot": self.rot}
        if self.birth is not None:
            members["birth"] = b64u(self.birth.public_bytes(DER))
        return json.dumps(members) + "\n"

    def files(self, folder, cert=None, key=None, stem="id"):
        """Certificate and key in PEM; returns the two paths."""
        cert_path, key_path = folder / f"{stem}-{self.udid[:8]}.crt", folder / f"{stem}-{self.udid[:8]}.key"
        chain = self.chain if cert is None else []
        cert_path.write_bytes(b"".join(c.public_bytes(PEM) for c in (cert or self.cert, *chain)))
        key_path.write_bytes(key_pem(key or self.key))
        return cert_path, key_path


# --- a plain HTTPS client ---------------------------------------------------------------------------------------------------------------


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.code = headers.get("Birthmark-Code")
        self.correlation = headers.get("Birthmark-Correlation")

    def __repr__(self):
        return f"{self.status} {self.code} {self.body[:300]!r}"

    @property
    def text(self):
        return self.body.decode()


def tls_context(anchors, cert=None, key=None, version=None):
    context = ssl.create_default_context(cafile=str(anchors))
    if cert is not None:
        context.load_cert_chain(str(cert), str(key))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def connect(server, context=None, timeout=30):
    """A TLS connection as a raw socket."""
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=timeout)
    return (context or tls_context(server.anchors())).wrap_socket(raw, server_hostname="127.0.0.1")


def call(server, method, path, body=None, headers=None, context=None, timeout=60):
    to = http.client.HTTPSConnection("127.0.0.1", server.port, context=context or tls_context(server.anchors()), timeout=timeout)
    try:
        to.request(method, path, body, headers or {})
        got = to.getresponse()
        return Answer(got.status, got.headers, got.read())
    finally:
        to.close()


def read_answer(s, buffer=b""):
    """One answer off a raw connection, and what came after it."""
    while b"\r\n\r\n" not in buffer:
        got = s.recv(65536)
        if not got:
            raise EOFError(f"the connection ended after {buffer!r}")
        buffer += got
    head, buffer = buffer.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    headers = http.client.HTTPMessage()
    for line in lines[1:]:
        headers[line.split(":", 1)[0]] = line.split(":", 1)[1].strip()
    length = int(headers.get("Content-Length", "0"))
    while len(buffer) < length:
        got = s.recv(65536)
        if not got:
            raise EOFError("the body was cut short")
        buffer += got
    return Answer(int(lines[0].split()[1]), headers, buffer[:length]), buffer[length:]


def certs_of_pkcs7(body):
    """The certificates of an EST answer."""
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))


EST = "/.well-known/est/"


def until_answered(ask, seconds=60):
    """As a device does that is told to come again: the same request, until it is 200 or a refusal."""
    got = []

    def once():
        got.append(ask())
        return got[-1].status not in (202, 503)

    wait_for("the answer", once, seconds)
    return got[-1]


def est_enrol(server, device, folder, key=None, op="simpleenroll", label=None, subject=None, cert=None, cert_key=None, headers=None,
              csr=None, version=None):
    """One EST enrolment with the device's own certificate, or the one given; returns the answer and the new key."""
    key = key or KEYS["P-256"]()
    context = tls_context(server.anchors(), *device.files(folder, cert, cert_key), version)
    body = base64.b64encode(csr or make_csr(key, subject))
    answer = call(server, "POST", EST + (f"{label}/" if label else "") + op, body,
                  {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64", **(headers or {})}, context)
    return answer, key


def assert_refused(server, answer, status, code):
    """Status, headers and sentence of a refusal, and that the operator can ask about it afterwards."""
    assert (answer.status, answer.code) == (status, code), answer
    assert answer.correlation and len(answer.correlation) == 16
    assert code in answer.text and answer.correlation in answer.text
    return answer


def assert_told(server, answer, *more):
    """`birthmark why` knows the refusal by its correlation id."""
    told = server.run("why", answer.correlation).stdout
    for word in (answer.code, *more):
        assert word in told, f"{word} not in: {told}"
    return told
