"""What one certificate costs over ACME with device-attest-01: five requests on one new connection, beside the signatures that are in them."""
import json
import statistics
import sys

from enrolment import floors_now
from harness import BIN, birthmark, run
import peers

# The handshake; the JWS of newOrder, authorization, challenge, finalize and certificate; the attestation, the request; the certificate. Each client
# is one device, which comes again and again: the signature under its birth certificate is verified once. A device that comes once costs that one more.
FLOOR = {"handshake_server": 1, "csr_verify": 7, "sign": 1}


def floor_ms(floors):
    return sum(n * floors[what] for what, n in FLOOR.items())


class Ours(peers.Ours):
    protocol, kind = "acme-packed", "ACME, device-attest-01 (packed), 5 requests, new TLS connection"
    durable = "SQLite, each step with fsync before the answer, in groups of those who ask at the same time"

    def __init__(self, bench, identities):
        super().__init__(bench, identities)
        made = json.loads(run(BIN / "birthmark", "eab", "create", "--batch", "b", "--uses", 1000, "--json", "--data", self.data))
        (identities / "eab.json").write_text(json.dumps({"kid": made["kid"], "hmac_key": made["hmac_key"]}))

    def start(self):
        super().start()
        self.url += "/acme/directory"


def identities_of(bench, name):
    folder = bench.folder / name
    if not folder.exists():
        folder.mkdir()
        run(peers.PEERS / "load", "identities", folder, peers.CLIENTS)
    return folder


def measure(bench):
    if not peers.install("load"):
        return peers.skipped("ACME", (peers.PEERS / "load.log").read_text()[-300:])
    rounds, n = bench.rounds, bench.each // 4
    identities = identities_of(bench, "acme-identities")
    ours, spent, floors = Ours(bench, identities), [], []
    ours.start()
    try:
        for i in range(rounds + 1):
            floors.append(floor_ms(floors_now()))
            spent.append(peers.one_round(ours, identities, n if i else 50))
    except RuntimeError as e:
        sys.exit(f"bench: {e}")
    ours.stop()
    bench.row("ACME device-attest-01, new TLS 1.3 connection", statistics.median(spent[1:]), "ms CPU", statistics.median(floors), limit=1.4)
