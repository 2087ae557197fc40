"""Other servers beside ours: the same client asks each for certificates in the same way, in turns, and the CPU time of all processes of the
server is divided by the certificates. Each peer is a folder with its configuration, a command, and what has to be known to read its figure."""
import atexit
import json
import os
import pathlib
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time

from harness import BIN, TOP, birthmark, end, free_port, run
import enrolment

PEERS = TOP / "build/peers"
CLIENTS = 8
TICK = os.sysconf("SC_CLK_TCK")


def cpu_of(pid):
    """CPU seconds of a process, all its threads, also those that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Peer:
    """name: of the program that scripts/install-peers builds; protocol: what `load` speaks; kind: EST or its own; durable: what is on the disk
    before the answer leaves, as strace shows it."""
    name = protocol = kind = durable = None

    def __init__(self, folder, identities):
        self.folder, self.ids, self.port = folder, identities, free_port()
        folder.mkdir()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"https://{self.address}"

    def write(self, name, what):
        path = self.folder / name
        path.write_text(what if isinstance(what, str) else json.dumps(what))
        return path

    def start(self):
        words = [str(w) for w in self.command()]
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen([PEERS / self.name, *words], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(self.folder))})
        atexit.register(end, self.process)
        for _ in range(100):
            if self.process.poll() is not None:
                break
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} did not start: {(self.folder / 'log').read_text()[-300:]}")

    def cpu(self):
        return cpu_of(self.process.pid)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Est(Peer):
    name, protocol, kind = "estserver", "est", "EST, new TLS connection with client certificate"
    durable = "nothing: an example CA without database"

    def command(self):
        chain = self.write("chain.pem", (self.ids / "issuing.pem").read_text() + (self.ids / "root.pem").read_text())
        return ["-config", self.write("conf.json", {
            "mock_ca": {"certificates": str(chain), "private_key": str(self.ids / "issuing-key.pem")},
            "tls": {"listen_address": self.address, "certificates": str(self.ids / "server.pem"), "private_key": str(self.ids / "server-key.pem"),
                    "client_cas": [str(self.ids / "issuing.pem"), str(self.ids / "root.pem")]},
            "allowed_hosts": ["127.0.0.1", self.address], "rate_limit": 1000000, "timeout": 30, "log_file": str(self.folder / "requests")})]


class StepCa(Peer):
    name, protocol, kind = "step-ca", "step", "its own /rekey, new TLS connection with client certificate"
    durable = "Badger database, no fsync before the answer"
    extra = {}

    def __init__(self, folder, identities):
        super().__init__(folder, identities)
        self.issuing = (identities / "issuing.pem", identities / "issuing-key.pem")

    def provisioners(self):
        return [{"type": "JWK", "name": "bench", "key": json.loads((self.ids / "provisioner.jwk").read_text())}]

    def command(self):
        cert, key = (str(path) for path in self.issuing)
        return [self.write("ca.json", {
            "root": str(self.ids / "root.pem"), "crt": cert, "key": key, "address": self.address,
            "dnsNames": ["127.0.0.1", "localhost"], "logger": {"format": "text"},
            "db": {"type": "badgerv2", "dataSource": str(self.folder / "db")},
            "authority": {"provisioners": self.provisioners()}, **self.extra})]


class Cfssl(Peer):
    name, protocol, kind = "cfssl", "cfssl", "its own authsign, new TLS connection with client certificate"
    durable = "SQLite, three fsyncs for each certificate"
    TABLE = ("CREATE TABLE certificates (serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, ca_label blob, status blob NOT NULL, "
             "reason int, expiry timestamp, revoked_at timestamp, pem blob NOT NULL, issued_at timestamp, not_before timestamp, metadata blob, "
             "sans blob, common_name blob, PRIMARY KEY (serial_number, authority_key_identifier))")

    def command(self):
        base = sqlite3.connect(self.folder / "certs.db")
        base.execute(self.TABLE)
        base.close()
        conf = self.write("conf.json", {
            "signing": {"default": {"usages": ["digital signature", "client auth"], "expiry": "8760h", "auth_key": "bench"}},
            "auth_keys": {"bench": {"type": "standard", "key": b"0123456789abcdef".hex()}}})
        db = self.write("db.json", {"driver": "sqlite3", "data_source": str(self.folder / "certs.db")})
        return ["serve", "-address", "127.0.0.1", "-port", self.port, "-ca", self.ids / "issuing.pem", "-ca-key", self.ids / "issuing-key.pem",
                "-config", conf, "-db-config", db, "-tls-cert", self.ids / "server.pem", "-tls-key", self.ids / "server-key.pem",
                "-mutual-tls-ca", self.ids / "chain.pem", "-loglevel", 2]


class Caddy(Peer):
    name, protocol, kind = "caddy", "acme", "ACME with http-01 (7 requests), new TLS connection, no client certificate"
    durable = "bbolt database, some 50 fdatasyncs for each certificate"

    def __init__(self, folder, identities):
        super().__init__(folder, identities)
        self.url = f"https://localhost:{self.port}/acme/local/directory"

    def command(self):
        return ["run", "--adapter", "caddyfile", "--config", self.write("Caddyfile", f"""{{
    admin off
    auto_https disable_redirects
    skip_install_trust
    http_port {free_port()}
    https_port {self.port}
}}
localhost:{self.port} {{
    tls {self.ids}/server.pem {self.ids}/server-key.pem
    acme_server {{
        challenges http-01
    }}
}}
""")]


ALL = (Est, StepCa, Cfssl, Caddy)


class Ours:
    name, protocol, kind = "birthmark", "est", "EST, new TLS connection with client certificate, which is a birth certificate whose chain is checked"
    durable = "SQLite, certificate and audit leaf with fsync before the answer, in groups of those who ask at the same time"

    def __init__(self, bench, identities):
        data = bench.registry(f"beside-{self.protocol}")
        manifest = bench.folder / f"beside-{self.protocol}.manifest"
        run(BIN / "birthmark", "manifest", "make", identities / "identities.jsonl", "--out", manifest, "--id", f"beside-{self.protocol}", "--issuer", "maker",
            "--key", bench.signer / "signer-key.pem", "--cert", bench.signer / "signer-cert.pem")
        birthmark(data, "manifest", "import", manifest, "--batch", "b")
        birthmark(data, "org", "trust", "maker", identities / "issuing.pem", "--purpose", "birth")
        self.bench, self.data = bench, data

    def start(self):
        self.server = self.bench.serve(self.data)
        self.url = self.server.url

    def cpu(self):
        return self.server.cpu()

    def stop(self):
        self.server.stop()


class Load:
    """`load` says ready when what is not measured is over, and goes on when told."""

    def __init__(self, peer, identities, n):
        self.process = subprocess.Popen([PEERS / "load", peer.protocol, peer.url, identities, str(n)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.line()

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.stderr.read()[-300:])
        return line

    def go(self):
        out, err = self.process.communicate("\n", timeout=300)
        if self.process.returncode != 0:
            raise RuntimeError(err[-300:])
        return json.loads(out)


def one_round(peer, identities, n):
    load = Load(peer, identities, n)
    before = peer.cpu()
    done = load.go()
    return (peer.cpu() - before) / done["operations"] * 1000


def install(name):
    return subprocess.run([TOP / "scripts/install-peers", name], check=False).returncode == 0


def skipped(name, why):
    print(f"{name}: not measured: {' '.join(str(why).split())[:200]}", flush=True)


def start(peer, identities):
    if isinstance(peer, Peer) and not install(peer.name):
        raise RuntimeError((PEERS / f"{peer.name}.log").read_text()[-300:])
    peer.start()
    one_round(peer, identities, 5 * CLIENTS)


def start_all(bench, identities):
    """Those that can be had; of the others it is said why not."""
    running = []
    for peer in (Ours(bench, identities), *(c(bench.folder / f"peer-{c.name}", identities) for c in ALL)):
        try:
            start(peer, identities)
            running.append(peer)
        except (RuntimeError, OSError) as e:
            skipped(peer.name, e)
            if getattr(peer, "process", None):
                peer.stop()
    return running


def measure(bench):
    if not install("load"):
        return skipped("peers", (PEERS / "load.log").read_text()[-300:])
    rounds, n = (3, 200) if bench.options.quick else (5, 1000)
    identities = bench.folder / "identities"
    identities.mkdir()
    run(PEERS / "load", "identities", identities, CLIENTS)
    (identities / "chain.pem").write_text((identities / "issuing.pem").read_text() + (identities / "root.pem").read_text())
    running, seen, floors = start_all(bench, identities), {}, []
    for _ in range(rounds):
        floors.append(enrolment.floors_now())
        for peer in running:
            seen.setdefault(peer.name, []).append(one_round(peer, identities, n))
    for peer in running:
        peer.stop()
    if "birthmark" not in seen:
        sys.exit("bench: our own server could not be measured")
    floor = statistics.median(f["handshake_stock"] + f["issue"] for f in floors)
    ours = statistics.median(seen["birthmark"])
    for peer in running:
        ms = statistics.median(seen[peer.name])
        bench.row(f"one certificate from {peer.name}", ms, "ms CPU", floor)
        print(f"    {ms / ours:.2f} x ours; {peer.kind}; on disk: {peer.durable}")
