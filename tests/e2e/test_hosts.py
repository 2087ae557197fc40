"""Several hosts on one PostgreSQL database: both serve the same devices, share one quota to its last unit, see each other's changes, and lose and
double nothing when one of them or the database dies under load. The database server is the test's own."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

import scep
import test_onboard as onboard
import test_symmetric as symmetric
from kit import Device, assert_refused, est_enrol, free_port, wait_for
from postgres import Postgres
from scep import PENDING, Scep
from test_scep_hook import Hook, Phone


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.end()


class Hosts:
    """The first makes the registry, the others join it."""

    def __init__(self, new_server, dsn, names=("second",), quota=400):
        self.new_server, self.dsn = new_server, dsn
        self.a = new_server()
        self.a.init("--store", dsn)
        self.a.start()
        self.a.furnish(quota=quota)
        self.all = [self.a] + [self.join(name) for name in names]

    def join(self, name):
        self.a.run("host", "add", name)
        s = self.new_server()
        s.data.mkdir()
        shutil.copy(self.a.data / "secret", s.data / "secret")
        s.run("join", name, "--store", self.dsn, "--tls-host", "127.0.0.1")
        s.start()
        s.name = name
        return s


@pytest.fixture
def pair(new_server, postgres):
    return Hosts(new_server, postgres.database())


@pytest.fixture
def fleet(release, tmp_path):
    """fleet.make(server, n): keys of n play devices, registered; fleet.run(server, first, count): they enrol there."""
    program = release("birthmark-fleet")

    class Fleet:
        keys = tmp_path / "keys"
        runs = 0

        def make(self, server, n):
            subprocess.run([program, "keys", str(n), "--out", self.keys], check=True, capture_output=True)
            lines = subprocess.run([program, "spki", "--keys", self.keys, "--count", str(n)], check=True, capture_output=True, text=True)
            return server.ask("manifest", "import", server.manifest(lines.stdout, f"fleet-{n}"), "--batch", "reel-1")

        def run(self, server, first, count, *words):
            """What each device was told: [{"udid", "outcome", ...}]."""
            Fleet.runs += 1
            out = tmp_path / f"told-{Fleet.runs}"
            subprocess.run([program, "run", "--server", server.url, "--keys", self.keys, "--anchors", server.anchors(), "--first",
                            str(first), "--count", str(count), "--jobs", "8", "--out", out, "--certs", "--json", "--quiet", *words],
                           capture_output=True, text=True, timeout=240)
            return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []

        def race(self, runs):
            """Several run() at once; the answers of all."""
            lines = []
            threads = [threading.Thread(target=lambda r=r: lines.extend(self.run(*r))) for r in runs]
            for t in threads:
                t.start()
            return threads, lines

    return Fleet()


def held(lines):
    return [line for line in lines if line["outcome"] == "onboarded"]


def check_books(server, told, quota=None):
    """Whoever was told yes is active, each device counts once, no quota is passed, and every log verifies."""
    batch = server.ask("batch", "show", "reel-1")
    counts = server.ask("status")["counts"]
    active = counts["device_states"].get("active", 0)
    assert batch["used"] == active <= batch["quota"]
    assert quota is None or active == quota
    assert {line["udid"] for line in told} <= {row["udid"] for row in server.ask("device", "list", "--state", "active")["rows"]}
    return server.ask("log", "verify", "--all")["logs"]


def issued_by_logs(server):
    """Serials of the certificates that the logs say were issued, of all hosts."""
    serials = []
    for host in server.ask("host", "list")["rows"]:
        for entry in server.ask("log", "entries", "--log", host["name"])["entries"]:
            data = json.loads(entry["data"])
            if data["event"] == "credential.issued":
                serials.append(data["serial"])
    return serials


def own_certificates(server):
    """What the servers have made for themselves: for TLS, and for those who answer in a CA's name."""
    rows, after = [], 0
    while True:
        page = server.ask("cert", "list", "--after", after, "--limit", 500)["rows"]
        if not page:
            return rows
        after = page[-1]["id"]
        rows += [row for row in page if not row["udid"]]


# --- joining --------------------------------------------------------------------------------------------------------------------------


def test_join_refused(new_server, postgres, tmp_path):
    """Nobody joins unasked, twice, without the secret, or into SQLite; a try that failed leaves nothing in the way of the next."""
    hosts = Hosts(new_server, postgres.database(), names=())
    b = new_server()
    b.data.mkdir()
    assert b.run("join", "second", "--store", hosts.dsn, want=None).returncode != 0  # no secret
    shutil.copy(hosts.a.data / "secret", b.data / "secret")
    assert "no-host" in b.run("join", "second", "--store", hosts.dsn, want=3).stderr
    hosts.a.run("host", "add", "second")
    hosts.a.run("host", "add", "second", want=4)
    os.chmod(b.data / "secret", 0o600)
    (b.data / "secret").write_bytes(b"0" * 32)
    assert "wrong-secret" in b.run("join", "second", "--store", hosts.dsn, want=None).stderr
    shutil.copy(hosts.a.data / "secret", b.data / "secret")
    b.run("join", "second", "--store", hosts.dsn)
    assert "already" in b.run("join", "second", "--store", hosts.dsn, want=4).stderr
    c = new_server()
    c.data.mkdir()
    shutil.copy(hosts.a.data / "secret", c.data / "secret")
    assert "host-taken" in c.run("join", "second", "--store", hosts.dsn, want=4).stderr
    assert "one-host" in c.run("join", "second", "--store", f"sqlite:{tmp_path}/x.db", want=2).stderr
    alone = new_server()
    alone.init()
    assert "one-host" in alone.run("host", "add", "second", want=2).stderr


def test_one_process_per_host(pair, new_server):
    """A copy of a host's folder is turned away while that host runs, and a folder with another host's log key always is."""
    b = pair.all[1]
    copy = new_server()
    shutil.copytree(b.data, copy.data, ignore=shutil.ignore_patterns("*.sock", "serving", "lock"))
    assert "in-use" in copy.run("status", want=4).stderr
    b.stop()
    shutil.copy(pair.a.data / "keys" / "log.key.pem", copy.data / "keys" / "log.key.pem")
    assert "wrong-host" in copy.run("status", want=None).stderr
    b.start()


# --- what one does, the others know ---------------------------------------------------------------------------------------------------


def test_changes_are_seen(pair, tmp_path):
    """Policy, suspension, revocation, a new CA and its key: made on one host, they hold on the other with the next request."""
    a, b = pair.all
    device, other = Device(), Device()
    a.register(device, other)
    answer, cert = est_enrol(b, device, tmp_path)
    assert answer.status == 200
    assert a.state(device) == "active"

    a.run("product", "set", "sensor", "--protocols", "onboard")
    answer, _ = est_enrol(b, other, tmp_path)
    assert_refused(b, answer, 403, "protocol-refused")
    b.run("product", "set", "sensor", "--protocols", "est,onboard")
    answer, _ = est_enrol(a, other, tmp_path)
    assert answer.status == 200

    b.run("device", "suspend", device.udid)
    answer, _ = est_enrol(a, device, tmp_path)
    assert_refused(a, answer, 403, "device-suspended")
    b.run("device", "resume", device.udid)

    a.run("ca", "create", "line-2", "--parent", "root")
    b.run("batch", "set", "reel-1", "--ca", "line-2")
    for s in (a, b):  # b has fetched the key that a has made
        answer, certs = est_enrol(s, device, tmp_path)
        assert answer.status == 200
    serial = a.ask("cert", "list", "--udid", device.udid)["rows"][-1]["serial"]
    before = b.ask("crl", "show", "line-2")
    a.run("cert", "revoke", serial)
    after = b.ask("crl", "show", "line-2")
    assert after["number"] > before["number"] and after["entries"] == before["entries"] + 1
    c = pair.join("third")  # keys that came after the first join
    answer, _ = est_enrol(c, other, tmp_path)
    assert answer.status == 200
    logs = {row["log"]: row for row in c.ask("log", "verify", "--all")["logs"]}
    assert set(logs) == {"host-1", "second", "third"} and all(row["entries"] > 0 for row in logs.values())


def test_logs_of_all(pair, tmp_path):
    """Each host's log is its own: heads, entries and proofs of any are had on every host, and a stop of one hides nothing."""
    a, b = pair.all
    device = Device()
    a.register(device)
    assert est_enrol(b, device, tmp_path)[0].status == 200
    head = b.ask("log", "head")
    assert head["size"] >= 2
    kept = tmp_path / "head.json"
    kept.write_text(json.dumps(head))
    b.stop()
    assert a.ask("log", "head", "--log", "second")["spki"] == head["spki"] != a.ask("log", "head")["spki"]
    assert a.ask("log", "inclusion", "1", "--log", "second")["checked"]
    assert a.ask("log", "consistency", "1", str(head["size"]), "--log", "second")["checked"]
    a.run("log", "verify", "--log", "second", "--against", kept)
    a.run("log", "verify", "--against", kept, want=None)
    told = a.run("why", device.udid).stdout
    assert "issued" in told
    assert "no such host" in a.run("log", "head", "--log", "nobody", want=3).stderr
    b.start()


def test_log_tampered(pair, postgres, tmp_path):
    """A leaf changed in any host's log is found, and so is one of a host that there never was."""
    a, b = pair.all
    device = Device()
    a.register(device)
    assert est_enrol(b, device, tmp_path)[0].status == 200
    b.stop()
    a.stop()
    name = pair.dsn.rsplit("=", 1)[1]
    base = postgres.sql(name, "SELECT min(idx) FROM audit_leaf WHERE idx >= 1099511627776")
    postgres.sql(name, f"INSERT INTO audit_leaf SELECT idx + 3 * 1099511627776, at_ms, data FROM audit_leaf WHERE idx = {base}")
    assert "log-changed" in a.run("log", "verify", "--all", want=None).stderr
    postgres.sql(name, "DELETE FROM audit_leaf WHERE idx > 3 * 1099511627776")
    a.run("log", "verify", "--all")
    postgres.sql(name, f"UPDATE audit_leaf SET data = data || ' '::bytea WHERE idx = {base}")
    a.run("log", "verify")
    assert "log-changed" in a.run("log", "verify", "--all", want=None).stderr
    assert "log-changed" in a.run("log", "verify", "--log", "second", want=None).stderr
    assert a.run("backup", "--out", tmp_path / "backup", want=None).returncode != 0
    assert b.run("status", want=None).returncode != 0  # it does not go on writing


# --- load -----------------------------------------------------------------------------------------------------------------------------


def test_fleet_against_both(pair, fleet):
    """Half the devices on each host, then all of them on both at once: the same device twice is one device."""
    a, b = pair.all
    fleet.make(a, 300)
    threads, told = fleet.race([(a, 0, 150), (b, 150, 150)])
    for t in threads:
        t.join()
    assert len(held(told)) == 300
    check_books(a, told, 300)
    threads, more = fleet.race([(a, 0, 300), (b, 0, 300)])
    for t in threads:
        t.join()
    assert len(held(more)) == 600
    check_books(b, more, 300)
    serials = issued_by_logs(a)
    assert len(serials) == len(set(serials)) == 900
    shown = a.ask("device", "show", held(more)[0]["udid"])
    assert len(shown["credentials"]) == 3  # the chain has lost none


def test_same_device_at_once(pair, fleet):
    """New devices, each on both hosts at the same moment: each is counted once."""
    a, b = pair.all
    fleet.make(a, 60)
    threads, told = fleet.race([(a, 0, 60), (b, 0, 60), (a, 0, 60), (b, 0, 60)])
    for t in threads:
        t.join()
    assert len(held(told)) == 240
    check_books(a, told, 60)
    for line in held(told)[:10]:
        assert len(a.ask("device", "show", line["udid"])["credentials"]) == 4


@pytest.mark.parametrize("quota", [37, 150])
def test_quota_race(new_server, postgres, fleet, quota):
    """More devices than quota, on three hosts at once: never over, and not one unit is left."""
    hosts = Hosts(new_server, postgres.database(), names=("second", "third"), quota=quota)
    fleet.make(hosts.a, 200)
    threads, told = fleet.race([(s, 0 if n == 0 else n * 66, 68) for n, s in enumerate(hosts.all)])
    for t in threads:
        t.join()
    assert len({line["udid"] for line in held(told)}) == quota
    check_books(hosts.a, held(told), quota)
    hosts.a.run("batch", "set", "reel-1", "--quota", quota - 1, want=2)
    hosts.all[1].run("batch", "set", "reel-1", "--quota", quota + 5)
    again = fleet.run(hosts.all[2], 0, 200)
    assert len({line["udid"] for line in held(told + again)}) == quota + 5
    check_books(hosts.a, held(told), quota + 5)


def test_dead_hosts_quota(pair, fleet):
    """What a host had leased when it died is used by the others; it may also be removed, and does not come back."""
    a, b = pair.all
    a.run("batch", "set", "reel-1", "--quota", "120")
    fleet.make(a, 140)
    assert len(held(fleet.run(b, 0, 10))) == 10
    b.kill()
    told = fleet.run(a, 0, 140)
    assert len({line["udid"] for line in held(told)}) == 120
    check_books(a, held(told), 120)
    a.run("host", "remove", "host-1", want=4)
    a.run("host", "remove", "second")
    assert "host-removed" in b.run("status", want=None).stderr
    a.run("batch", "set", "reel-1", "--quota", "140")
    fleet.run(a, 0, 140)
    check_books(a, held(told), 140)


def test_removed_while_it_runs(pair, tmp_path):
    a, b = pair.all
    device = Device()
    a.register(device)
    a.run("host", "remove", "second")
    answer, _ = est_enrol(b, device, tmp_path)
    assert answer.status == 503
    answer, _ = est_enrol(a, device, tmp_path)
    assert answer.status == 200


def test_host_killed_under_load(pair, fleet):
    """kill -9 of one host: the other goes on without a word from anybody, and nothing that was promised is lost."""
    a, b = pair.all
    fleet.make(a, 400)
    threads, told = fleet.race([(a, 0, 400), (b, 0, 400)])
    time.sleep(0.6)
    b.kill()
    for t in threads:
        t.join()
    check_books(a, held(told))
    assert len(held(fleet.run(a, 0, 400))) == 400
    b.start()
    check_books(b, held(told), 400)
    serials = set(issued_by_logs(b))
    assert len(serials) == b.ask("status")["counts"]["credential"] - len(own_certificates(b))


@pytest.mark.parametrize("how", ["immediate", "fast"])
def test_database_restarted_under_load(pair, postgres, fleet, how):
    """Both hosts find their way back by themselves; nothing is lost, nothing counts twice."""
    a, b = pair.all
    fleet.make(a, 400)
    keepers = [s.keeper() for s in pair.all]
    threads, told = fleet.race([(a, 0, 400), (b, 0, 400)])
    time.sleep(0.5)
    postgres.stop(how)
    postgres.start()
    for t in threads:
        t.join()

    def all_in(server):
        told.extend(held(more := fleet.run(server, 0, 400)))
        return len(held(more)) == 400

    wait_for("all devices in over the first", lambda: all_in(a), timeout=120)
    wait_for("all devices in over the second", lambda: all_in(b), timeout=120)
    assert [s.keeper() for s in pair.all] == keepers
    check_books(a, held(told), 400)
    known = set(issued_by_logs(b))
    assert len(known) >= 800


def test_stopped_keeper_holds_nobody_up(pair, fleet):
    """A keeper that stands still in the middle of its work: the other one goes on, within the time the database gives it."""
    a, b = pair.all
    fleet.make(a, 200)
    threads, told = fleet.race([(b, 0, 200)])
    time.sleep(0.3)
    os.kill(b.keeper(), signal.SIGSTOP)
    try:
        wait_for("all devices in over the first", lambda: len(held(fleet.run(a, 0, 200))) == 200, timeout=90)
    finally:
        os.kill(b.keeper(), signal.SIGCONT)
    for t in threads:
        t.join()
    check_books(a, held(told), 200)


# --- the whole ------------------------------------------------------------------------------------------------------------------------


def test_backup_of_all(pair, postgres, fleet, new_server, tmp_path):
    """A backup taken on one host holds every host's log, and is a registry again."""
    a, b = pair.all
    fleet.make(a, 100)
    told = fleet.run(a, 0, 50) + fleet.run(b, 50, 50)
    assert len(held(told)) == 100
    backup = a.ask("backup", "--out", tmp_path / "backup")
    for s in pair.all:
        s.stop()
    back = new_server()
    assert back.ask("restore", "--from", tmp_path / "backup") == backup
    shutil.copy(a.data / "secret", back.data / "secret")
    logs = back.ask("log", "verify", "--all")["logs"]
    assert [row["log"] for row in logs] == ["host-1", "second"]
    back.start()
    check_books(back, told, 100)
    assert len(held(fleet.run(back, 0, 100))) == 100
    back.run("host", "remove", "second")
    back.stop()
    back.start()
    check_books(back, told, 100)


def test_challenge_of_another_host(pair, fleet):
    """A challenge is good where it was made: the other host says so, in a word that means "ask me for one"."""
    a, b = pair.all
    device = Device()
    a.register(device)
    message = onboard.signed(a, onboard.ENROL, device, onboard.ask("telemetry"))
    onboard.refused(b, onboard.post(b, onboard.Cbor, "enrol", message), 403, "challenge-elsewhere")
    assert onboard.post(a, onboard.Cbor, "enrol", message).status == 200  # and b's look at it has not used it up
    onboard.refused(a, onboard.post(a, onboard.Cbor, "enrol", message), 403, "challenge-used")
    fleet.make(a, 40)
    threads, told = fleet.race([(a, 0, 40, "--auth", "challenge"), (b, 0, 40, "--auth", "challenge")])
    for t in threads:
        t.join()
    assert len(held(told)) == 80  # also those whose commands ran twice, because the hosts met at one device


def test_chips_with_a_secret_on_every_host(new_server, postgres):
    """What seals their keys is on each host, whichever took them in; the one key that chip makers seal to is the same everywhere."""
    hosts = Hosts(new_server, postgres.database(), names=())
    a = hosts.a
    a.run("product", "set", "sensor", "--rot", "symmetric-chip,software")
    before = symmetric.Chip()
    symmetric.register(a, before, name="m-before")
    b = hosts.join("second")
    assert symmetric.import_pem(a) == symmetric.import_pem(b)
    here, there = symmetric.Chip(), symmetric.Chip()
    symmetric.register(a, here, name="m-here")
    symmetric.register(b, there, name="m-there")
    for chip in (before, here):
        got = onboard.post(b, onboard.Cbor, "enrol", symmetric.proven(b, onboard.ENROL, chip, onboard.ask()))
        assert got.status == 200, got.told
    got = onboard.post(a, onboard.Cbor, "enrol", symmetric.proven(a, onboard.ENROL, there, onboard.ask()))
    assert got.status == 200, got.told
    assert "one host" in a.run("key", "rotate", want=4).stderr


def test_two_hosts_never_make_a_key_each(new_server, postgres):
    """Also when no device has a secret until there are two hosts."""
    hosts = Hosts(new_server, postgres.database())
    a, b = hosts.all
    a.run("product", "set", "sensor", "--rot", "symmetric-chip,software")
    chip = symmetric.Chip()
    symmetric.register(b, chip, name="m-b")
    got = onboard.post(a, onboard.Cbor, "enrol", symmetric.proven(a, onboard.ENROL, chip, onboard.ask()))
    assert got.status == 200, got.told


def test_scep(new_server, postgres, tmp_path):
    """SCEP on PostgreSQL and over two hosts: one RA for both, whichever made its key; what is asked at one is asked of device management once,
    and fetched at the other; a lost answer is the same certificate there; what comes next is told alike."""
    hosts = Hosts(new_server, postgres.database(), names=())
    a = hosts.a
    hook = Hook(tmp_path)
    a.run("product", "set", "sensor", "--self-registration", "yes")
    a.run("batch", "hook", "reel-1", "--url", hook.url, "--trust", hook.ca)
    ports = [free_port(), free_port()]
    for s, port in ((a, ports[0]), (hosts.join("second"), ports[1])):
        s.stop()
        s.start("--listen-http", f"127.0.0.1:{port}")
    here, there = (Scep(port, "/scep/reel-1") for port in ports)
    ra = there.chain()[0]
    assert here.chain()[0] == ra
    phone, listed = Phone(), Device("RSA-2048")
    assert phone.asks(here, ra).status == PENDING
    cert = phone.hears(there, ra).cert(phone.key, phone.cert)
    assert phone.asks(here, ra).cert(phone.key, phone.cert) == cert and len(hook.asked) == 1
    renewed = there.send(scep.message(scep.envelope(scep.csr(phone.key, cert.subject), ra), phone.key, cert, scep.RENEWAL_REQ, "r"), ra)
    assert renewed.status == scep.SUCCESS
    a.register(listed, name="listed")
    own = scep.message(scep.envelope(scep.csr(listed.key), ra), listed.key, listed.cert, transaction="mine")
    mine = here.send(own, ra).cert(listed.key, listed.cert)
    assert there.send(own, ra).cert(listed.key, listed.cert) == mine
    get = scep.message(scep.envelope(scep.issuer_and_serial(mine), ra), listed.key, listed.cert, scep.GET_CERT, "g")
    assert there.send(get, ra).cert(listed.key, listed.cert) == mine
    a.run("ca", "rotate", "issuing", "--at", "1h")
    assert here.get("GetNextCACert").status == there.get("GetNextCACert").status == 200
    assert len(a.ask("cert", "list", "--limit", 100)["rows"]) >= 3
    hook.server.shutdown()
