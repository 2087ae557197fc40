"""What one certificate costs over CMP and SCEP, beside the signatures and decryptions that the protocol itself asks for, and beside other servers."""
import json
import statistics
import subprocess
import sys

from enrolment import floors_now
from harness import BIN, BUILD, birthmark, run

JOBS = 16


class Door:
    """path: where the messages go; devices: how many have a key, each asks many times; floor: of the operations in floor_bench; limit: for the ratio to it."""

    def __init__(self, name, scheme, path, devices, floor, what, limit=None):
        self.name, self.scheme, self.path, self.devices, self.floor_of, self.what, self.limit = name, scheme, path, devices, floor, what, limit

    def url(self, server):
        return server.url if self.scheme == "https" else f"http://{server.http}"

    def floor_ms(self, floors):
        return sum(n * floors[what] for what, n in self.floor_of.items())


# CMP: the message's signature, the proof of possession; the certificate, and the answer's signature.
CMP = {"csr_verify": 2, "sign": 2}
# SCEP: the message, the request inside, and the key of the answer, sealed with the same arithmetic; the envelope's key; the certificate, the answer.
SCEP = {"rsa_verify": 3, "rsa_decrypt": 1, "sign": 1, "rsa_sign": 1}
DOORS = (
    Door("cmp", "https", "/.well-known/cmp", 256, {**CMP, "handshake_server": 1}, "CMP ir, new TLS 1.3 connection", 1.4),
    Door("cmp", "http", "/.well-known/cmp", 256, CMP, "CMP ir, kept connection, plain HTTP"),
    Door("scep", "https", "/scep", 32, {**SCEP, "handshake_server": 1}, "SCEP PKCSReq, RSA-2048, new TLS 1.3 connection", 1.4),
    Door("scep", "http", "/scep", 32, SCEP, "SCEP PKCSReq, RSA-2048, kept connection, plain HTTP", 1.4),
)


def devices(bench, door):
    """A folder with keys, and the manifest that lists them."""
    folder = bench.folder / f"{door.name}-devices"
    if not folder.exists():
        folder.mkdir()
        run(BUILD / "bench/messages_bench", "devices", door.name, folder, door.devices)
        run(BIN / "birthmark", "manifest", "make", folder / "identities.jsonl", "--out", folder / "manifest", "--id", door.name, "--issuer", "maker",
            "--key", bench.signer / "signer-key.pem", "--cert", bench.signer / "signer-cert.pem")
    return folder


class Load:
    """Requests are made before `ready`, and sent when told."""

    def __init__(self, door, url, path, folder, n):
        self.process = subprocess.Popen([BUILD / "bench/messages_bench", door.name, url, path, folder, str(n), str(JOBS)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{door.name}: no requests could be made")

    def go(self):
        out, _ = self.process.communicate("\n", timeout=300)
        if self.process.returncode != 0:
            raise RuntimeError(f"not all certificates came: {out}")
        return json.loads(out)["operations"]


def one_round(server, url, path, door, folder, n):
    """ms of CPU for each certificate"""
    load = Load(door, url, path, folder, n)
    before = server.cpu()
    done = load.go()
    return (server.cpu() - before) / done * 1000


def furnish(bench, name="doors"):
    data = bench.registry(name)
    for door in {d.name: d for d in DOORS}.values():
        birthmark(data, "manifest", "import", devices(bench, door) / "manifest", "--batch", "b")
    return data


def measure(bench):
    rounds, n = bench.rounds, bench.each // 2
    server = bench.serve(furnish(bench))
    spent, floors = [[] for _ in DOORS], []
    try:
        for i in range(rounds + 1):
            floors.append(floors_now())
            for door, of_door in zip(DOORS, spent):
                ms = one_round(server, door.url(server), door.path, door, devices(bench, door), n if i else 100)
                of_door += [ms] if i else []  # the first is for warming up
    except RuntimeError as e:
        sys.exit(f"bench: {e}")
    server.stop()
    for door, of_door in zip(DOORS, spent):
        ms, floor = statistics.median(of_door), statistics.median(door.floor_ms(f) for f in floors)
        bench.row(door.what, ms, "ms CPU", floor, limit=door.limit)
        if door.scheme == "https":
            bench.row("  the same beside a bare TCP connection as well", ms, "ms CPU", floor + statistics.median(f["connection"] for f in floors))
