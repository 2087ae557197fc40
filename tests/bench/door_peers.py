"""Other servers beside ours, at the doors that they have too: ACME with device-attest-01, and SCEP. As in peers.py: the same load, in turns."""
import base64
import statistics

from harness import run
import acme
import doors
import peers
from enrolment import floors_now

SCEP_PATH = "/scep/bench"


class StepAcme(peers.StepCa):
    protocol, kind = "acme-step", "ACME, device-attest-01 (step), 5 requests, new TLS connection"

    def __init__(self, folder, identities):
        super().__init__(folder, identities)
        self.directory = f"{self.url}/acme/bench/directory"

    def provisioners(self):
        root = base64.b64encode((self.ids / "root.pem").read_bytes() + (self.ids / "issuing.pem").read_bytes()).decode()
        return [{"type": "ACME", "name": "bench", "challenges": ["device-attest-01"], "attestationFormats": ["step"], "attestationRoots": root}]

    def start(self):
        super().start()
        self.url = self.directory


class StepScep(peers.StepCa):
    """An RSA issuing CA, as SCEP of step-ca decrypts and signs with it."""
    kind = "SCEP, PKCSReq, RSA-2048, kept connection, plain HTTP"

    def __init__(self, folder, identities):
        super().__init__(folder, identities)
        self.plain = peers.free_port()
        self.http, self.path = f"http://127.0.0.1:{self.plain}", SCEP_PATH
        self.extra = {"insecureAddress": f"127.0.0.1:{self.plain}"}
        self.issuing = (folder / "rsa.pem", folder / "rsa-key.pem")
        self.make_issuing()

    def make_issuing(self):
        cert, key = self.issuing
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=issuing rsa", "-days", 30,
            "-CA", self.ids / "root.pem", "-CAkey", self.ids / "root-key.pem", "-addext", "basicConstraints=critical,CA:TRUE", "-addext",
            "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign,cRLSign")

    def provisioners(self):
        return [{"type": "SCEP", "name": "bench", "minimumPublicKeyLength": 2048, "encryptionAlgorithmIdentifier": 2}]


def furnish(bench):
    identities = acme.identities_of(bench, "acme-identities")
    (identities / "chain.pem").write_text((identities / "issuing.pem").read_text() + (identities / "root.pem").read_text())
    return identities


class AtDoor:
    """One server that messages go to; for ours the same."""

    def __init__(self, server, url, path, door, folder):
        self.server, self.url, self.path, self.door, self.folder = server, url, path, door, folder

    def round(self, n):
        return doors.one_round(self.server, self.url, self.path, self.door, self.folder, n)


def compare(bench, what, ours, theirs, floor_ms):
    """ours, theirs: name -> function that gives ms of CPU for each of n certificates."""
    rounds, n = (3, 200) if bench.options.quick else (5, 600)
    seen, floors = {name: [] for name in (*ours, *theirs)}, []
    for i in range(rounds + 1):
        floors.append(floor_ms(floors_now()))
        for name, ask in {**ours, **theirs}.items():
            ms = ask(n if i else 50)
            seen[name] += [ms] if i else []
    floor, (mine,) = statistics.median(floors), (statistics.median(seen[name]) for name in ours)
    for name in ours:
        bench.row(f"{what} from {name}", mine, "ms CPU", floor)
    for name in theirs:
        bench.row(f"{what} from {name}", statistics.median(seen[name]), "ms CPU", mine, 3 * mine, more_is_better=True)


def measure_acme(bench, identities):
    peer, ours = StepAcme(bench.folder / "peer-acme", identities), acme.Ours(bench, identities)
    ours.start()
    try:
        peer.start()
        compare(bench, "ACME device-attest-01", {"birthmark": lambda n: peers.one_round(ours, identities, n)},
                {"step-ca": lambda n: peers.one_round(peer, identities, n)}, acme.floor_ms)
    finally:
        ours.stop()
        if getattr(peer, "process", None):
            peer.stop()


def measure_scep(bench, identities):
    door = next(d for d in doors.DOORS if d.name == "scep" and d.scheme == "http")
    folder = doors.devices(bench, door)
    server, peer = bench.serve(doors.furnish(bench, "beside-scep")), StepScep(bench.folder / "peer-scep", identities)
    try:
        peer.start()
        ours = AtDoor(server, door.url(server), door.path, door, folder)
        theirs = AtDoor(peer, peer.http, peer.path, door, folder)
        compare(bench, "SCEP PKCSReq", {"birthmark": ours.round}, {"step-ca": theirs.round}, door.floor_ms)
    finally:
        server.stop()
        if getattr(peer, "process", None):
            peer.stop()


def measure(bench):
    for name in ("load", "step-ca"):
        if not peers.install(name):
            return peers.skipped("ACME and SCEP of step-ca", (peers.PEERS / f"{name}.log").read_text()[-300:])
    identities = furnish(bench)
    for part in (measure_acme, measure_scep):
        try:
            part(bench, identities)
        except (RuntimeError, OSError) as e:
            peers.skipped(part.__name__.removeprefix("measure_"), e)
