"""Owners, rentals, resets and acts on many devices, seen from the command line and from the device; in SQLite and in PostgreSQL."""

import json
import time
from datetime import datetime

import pytest

import kit
from kit import Device, wait_for
from postgres import Postgres
from test_onboard import ENROL, STATUS, Json, ask, post, signed

DENIED, NOT_FOUND = 1, 3
MANY = 4000


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.end()


@pytest.fixture(params=["sqlite", "postgres"])
def server(new_server, request):
    s = new_server()
    s.init(*(("--store", request.getfixturevalue("postgres").database()) if request.param == "postgres" else ()))
    s.start()
    s.furnish(quota=5000)
    s.run("org", "create", "buyer", "--role", "service-operator")
    return s


def status(server, device):
    answer = post(server, Json, "status", signed(server, STATUS, device, form=Json))
    assert answer.status == 200, answer
    return answer.told["status"]


def enrol(server, device, want=200):
    answer = post(server, Json, "enrol", signed(server, ENROL, device, ask(), form=Json))
    assert answer.status == want, (answer, answer.told)
    return answer.told if want == 200 else answer.code


def owner(server, device):
    return server.ask("device", "show", device.udid)["owner"]


def live(server, device):
    return len(server.ask("cert", "list", "--udid", device.udid, "--state", "active")["rows"])


def history(server, device):
    return [(r["how"], r["from"], r["to"]) for r in server.ask("device", "history", device.udid)["rows"]]


# --- owners ---------------------------------------------------------------------------------------------------------------------------


def test_transfer_takes_both_sides(server):
    """Were one side enough, a thief with one organisation's say would own the device; were the old certificates left, the seller would."""
    d = Device()
    server.register(d)
    enrol(server, d)
    assert "consent-needed" in server.run("device", "transfer", d.udid, "buyer", want=None).stderr
    server.run("device", "offer", d.udid, "buyer", "--as", "oem", "--until", "1d")
    assert status(server, d) == "enrolled" and live(server, d) == 1
    assert [r["taker"] for r in server.ask("device", "offers")["rows"]] == ["buyer"]
    for words in (("accept", d.udid, "--as", "oem"), ("accept", d.udid, "--as", "chips"), ("withdraw", d.udid, "--as", "buyer")):
        assert "not-your-offer" in server.run("device", *words, want=None).stderr
    assert status(server, d) == "enrolled"
    server.run("device", "accept", d.udid, "--as", "buyer")
    assert status(server, d) == "transferred" and live(server, d) == 0 and owner(server, d) == "buyer"
    enrol(server, d)
    assert status(server, d) == "enrolled"
    assert history(server, d) == [("transfer", "oem", "buyer")]
    server.run("device", "accept", d.udid, "--as", "buyer", want=NOT_FOUND)
    server.run("log", "verify")


def until(server, device):
    (row,) = server.ask("device", "rentals")["rows"]
    assert row["udid"] == device.udid
    return datetime.fromisoformat(row["until"].replace("Z", "+00:00")).timestamp()


def test_rental_ends_by_itself(server):
    """A tenant whose time is up has neither the device nor a certificate that still works, whether the server ran at that moment or not."""
    d = Device()
    server.register(d)
    enrol(server, d)
    for down in (False, True):
        server.run("device", "rent", d.udid, "buyer", "--as", "oem", "--until", "6s")
        assert status(server, d) == "transferred" and owner(server, d) == "buyer"
        told = enrol(server, d)
        end = until(server, d)
        assert told["credentials"][0]["not_after"] <= end
        if down:
            server.kill()
            time.sleep(max(0, end - time.time()) + 1)
            server.start()
        wait_for("the device to come home", lambda: history(server, d)[-1] == ("return", "buyer", "oem"))
        assert time.time() >= end
        assert live(server, d) == 0 and status(server, d) == "transferred"
        assert enrol(server, d)["credentials"][0]["not_after"] > end + 86400
    assert server.ask("device", "rentals")["rows"] == []
    server.run("log", "verify")


def test_factory_reset(server):
    d = Device()
    server.register(d)
    enrol(server, d)
    server.run("batch", "set", "reel-1", "--quota", 1, "--state", "closed")
    server.run("device", "reset", d.udid)
    assert (status(server, d), live(server, d), server.state(d)) == ("not-enrolled", 0, "allocated")
    enrol(server, d)
    assert status(server, d) == "enrolled" and server.ask("batch", "show", "reel-1")["used"] == 1


# --- many -------------------------------------------------------------------------------------------------------------------------------


def register_many(server, n):
    udids, lines = [], []
    for _ in range(n):
        spki = kit.spki_of(kit.KEYS["P-256"]())
        udids.append(kit.hashlib.sha256(spki).hexdigest())
        lines.append(json.dumps({"key": kit.b64u(spki), "rot": "software"}) + "\n")
    assert server.ask("manifest", "import", server.manifest(lines, "many"), "--batch", "reel-1")["added"] == n
    return udids


def job_of(server, job):
    return server.ask("bulk", "show", job)


def test_killed_in_the_middle_of_many(server):
    """kill -9 while a job runs: nothing is lost, nothing is done twice, and devices that enrol meanwhile do not wait for it to end."""
    register_many(server, MANY)
    devices = [Device() for _ in range(5)]
    server.register(*devices, name="others", batch=None)
    server.run("product", "create", "other", "--org", "oem")
    server.run("batch", "create", "other-1", "--product", "other", "--quota", 10)
    for d in devices:
        server.run("device", "allocate", d.udid, "other-1")
    dry = server.ask("device", "bulk", "retire", "--batch", "reel-1", "--dry-run")
    assert (dry["done"], dry["refused"]) == (MANY, 0)
    assert server.ask("device", "list", "--state", "retired", "--limit", 1)["rows"] == []
    started = server.ask("device", "bulk", "retire", "--batch", "reel-1", "--detach")
    wait_for("the first step", lambda: job_of(server, started["job"])["done"] > 0)
    enrol(server, devices[0])
    server.kill()
    cut = job_of(server, started["job"])  # nobody serves: the command looks itself
    assert cut["state"] == "running" and 0 < cut["done"] < MANY, "the job was over before it could be cut off: raise MANY"
    server.start()
    enrol(server, devices[1])
    wait_for("the job's end", lambda: job_of(server, started["job"])["state"] == "done", timeout=120)
    end = job_of(server, started["job"])
    assert (end["done"], end["already"], end["refused"]) == (MANY, 0, 0)
    assert server.ask("status")["counts"]["device_states"]["retired"] == MANY
    told = [e for e in all_entries(server) if e.get("event") == "device.retired"]
    assert len(told) == MANY and len({e["udid"] for e in told}) == MANY
    assert all(f"job {started['job']}" in e["actor"] for e in told)
    server.run("log", "verify")


def all_entries(server):
    data = [e["data"] for e in server.ask("log", "entries", timeout=300)["entries"]]
    return [d if isinstance(d, dict) else json.loads(d) for d in data]


def test_list_of_devices(server, tmp_path):
    """Each device that refuses is named; the others are done. A list with a line that is no UDID does nothing at all."""
    devices = [Device() for _ in range(4)]
    server.register(*devices)
    for d in devices[:3]:
        enrol(server, d)
    path = tmp_path / "list"
    path.write_text("".join(d.udid + "\n" for d in devices) + "00" * 32 + "\n")
    for words in (("--dry-run",), ()):
        done = server.run("device", "bulk", "suspend", "--file", path, *words, want=DENIED)
        assert "illegal-transition" in done.stderr and "unknown-device" in done.stderr and devices[3].udid in done.stderr
        assert "2 devices were refused" in done.stderr
    assert [server.state(d) for d in devices] == ["suspended"] * 3 + ["allocated"]
    path.write_text(devices[0].udid + "\nnonsense\n")
    assert "no UDID" in server.run("device", "bulk", "resume", "--file", path, want=None).stderr
    assert server.state(devices[0]) == "suspended"
    assert server.ask("bulk", "list")["rows"][-1]["state"] == "cancelled"
    server.stop()
    server.run("device", "bulk", "resume", "--batch", "reel-1", "--state", "suspended")  # also where no server runs
    assert [server.state(d) for d in devices] == ["active"] * 3 + ["allocated"]


def test_compromised_batch(server):
    devices = [Device() for _ in range(3)]
    server.register(*devices)
    for d in devices[:2]:
        enrol(server, d)
    server.run("batch", "compromise", "reel-1")
    assert {status(server, d) for d in devices} == {"compromised"}
    assert all(live(server, d) == 0 for d in devices)
    assert enrol(server, devices[2], 403) == "device-compromised"


def test_compromised_ca(server, tmp_path):
    """Devices learn that what they hold is worth nothing and come back under the new CA, with the key that nobody else has."""
    d = Device()
    server.register(d)
    old = enrol(server, d)["credentials"][0]
    assert "ca-default" in server.run("ca", "compromise", "issuing", want=None).stderr
    server.run("ca", "create", "issuing-2", "--parent", "root")
    server.run("ca", "compromise", "issuing", "--default", "issuing-2")
    wait_for("the server's new certificate", lambda: status(server, d) == "revoked")
    assert live(server, d) == 0
    new = enrol(server, d)["credentials"][0]
    assert new["chain"] != old["chain"] and status(server, d) == "enrolled"
    rows = {r["name"]: r for r in server.ask("ca", "list")["rows"]}
    assert (rows["issuing"]["state"], rows["issuing"]["reason"]) == ("revoked", 2)
    server.run("log", "verify")
