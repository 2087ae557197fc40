"""The registry in PostgreSQL: the same server, a keeper killed, a database restarted under load, a second keeper turned away; migration,
backup and restore. The database server is the test's own."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from acmekit import Acme, der
from kit import Device, assert_refused, b64u, est_enrol, wait_for
from postgres import Postgres


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.end()


@pytest.fixture
def served(new_server, postgres):
    """A running server whose registry is in a new database."""
    s = new_server()
    s.dsn = postgres.database()
    s.init("--store", s.dsn)
    s.start()
    s.furnish(quota=400)
    return s


@pytest.fixture
def fleet(release, tmp_path):
    """fleet(server, first, count): play devices that enrol, until none is left; their keys are in the manifest."""
    program = release("birthmark-fleet")

    class Fleet:
        keys = tmp_path / "keys"

        def make(self, server, n):
            subprocess.run([program, "keys", str(n), "--out", self.keys], check=True, capture_output=True)
            lines = subprocess.run([program, "spki", "--keys", self.keys, "--count", str(n)], check=True, capture_output=True, text=True)
            return server.ask("manifest", "import", server.manifest(lines.stdout), "--batch", "reel-1")

        def run(self, server, first, count, out):
            done = subprocess.run([program, "run", "--server", server.url, "--keys", self.keys, "--anchors", server.anchors(), "--first",
                                   str(first), "--count", str(count), "--jobs", "8", "--out", out, "--json", "--quiet"],
                                  capture_output=True, text=True, timeout=240)
            return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else [], done

    return Fleet()


def test_acme(served):
    """Each statement of ACME's rows in this database; docs/acme.md."""
    d = Device()
    served.register(d)
    a = Acme(served)
    a.register(served.ask("eab", "create", "--batch", "reel-1"), contact=["mailto:a@example.org"])
    chain, order = a.enrol(d)
    a.order_device(d)
    assert len(a.ok(a.kid + "/orders").json["orders"]) == 2
    a.ok(a.directory["revokeCert"], {"certificate": b64u(der(chain[0]))})
    a.ok(a.kid, {"status": "deactivated"})
    assert served.ask("acme-account", "list")["rows"][0]["status"] == "deactivated"
    assert served.ask("eab", "list")["rows"][0]["used"] == 1


def held(lines):
    return [line["udid"] for line in lines if line["outcome"] == "onboarded"]


def check_books(server, told):
    """Whoever was told yes is active; the quota counts each device once; the log adds up."""
    batch = server.ask("batch", "show", "reel-1")
    active = server.ask("status")["counts"]["device_states"].get("active", 0)
    assert batch["used"] == active <= batch["quota"]
    for udid in told:
        assert server.state(udid) == "active"
    server.run("log", "verify")


# --- the same server ------------------------------------------------------------------------------------------------------------------


def test_serves(served, tmp_path):
    device, stranger = Device(), Device()
    served.register(device)
    answer, _ = est_enrol(served, device, tmp_path)
    assert answer.status == 200
    answer, _ = est_enrol(served, stranger, tmp_path)
    assert_refused(served, answer, 403, "unknown-device")
    assert served.state(device) == "active"
    assert not (served.data / "registry.db").exists()
    served.run("log", "verify")  # while the server runs
    served.stop()
    served.run("log", "verify")
    assert served.ask("status")["counts"]["device"] == 1


def test_one_keeper(served, new_server, birthmark):
    """A second server on the same database, from another folder, is turned away, and so is a command."""
    other = new_server()
    shutil.copytree(served.data, other.data, ignore=shutil.ignore_patterns("*.sock", "serving", "lock"))
    assert "in-use" in other.run("status", want=4).stderr
    other.spawn()
    assert other.ended() != 0
    assert "another birthmark process has this registry open" in other.tail()
    served.run("org", "create", "still-here", "--role", "oem")


def test_init_again(served, new_server):
    other = new_server()
    done = other.run("init", "--store", served.dsn, want=None)
    assert done.returncode != 0
    served.stop()
    done = other.run("init", "--store", served.dsn, want=4)
    assert "there is a registry already" in done.stderr
    assert not (other.data / "secret").exists()
    served.start()
    served.run("log", "verify")


# --- crashes --------------------------------------------------------------------------------------------------------------------------


def test_keeper_killed_under_load(served, fleet, tmp_path):
    fleet.make(served, 400)
    told, after = [], 0
    for round_, delay in enumerate((0.15, 0.3, 0.6)):
        lines = []
        load = threading.Thread(target=lambda r=round_, to=lines: to.extend(fleet.run(served, 0, 400, tmp_path / f"out{r}")[0]))
        load.start()
        time.sleep(delay)
        os.kill(served.keeper(), signal.SIGKILL)
        served.ended()
        load.join()
        told += held(lines)
        served.start()
        check_books(served, set(told))
    lines, _ = fleet.run(served, 0, 400, tmp_path / "last")
    assert len(held(lines)) == 400
    check_books(served, set(told) | set(held(lines)))
    assert served.ask("batch", "show", "reel-1")["used"] == 400


@pytest.mark.parametrize("how", ["immediate", "fast"])
def test_database_restarted_under_load(served, postgres, fleet, tmp_path, how):
    """Nothing that was promised is lost, nothing counts twice; the server goes on by itself."""
    fleet.make(served, 400)
    keeper, lines = served.keeper(), []
    load = threading.Thread(target=lambda: lines.extend(fleet.run(served, 0, 400, tmp_path / "out")[0]))
    load.start()
    time.sleep(0.3)
    postgres.stop(how)
    postgres.start()
    load.join()
    told = set(held(lines))

    def again():
        more, _ = fleet.run(served, 0, 400, tmp_path / "more")
        told.update(held(more))
        (tmp_path / "more").unlink()
        return len(held(more)) == 400

    wait_for("all devices enrolled after the database came back", again, timeout=120)
    assert served.keeper() == keeper
    check_books(served, told)
    assert served.ask("batch", "show", "reel-1")["used"] == 400


def test_connections_cut_under_load(served, postgres, fleet, tmp_path):
    fleet.make(served, 400)
    done, lines = threading.Event(), []

    def cut():
        while not done.wait(0.1):
            postgres.sql("postgres", "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'birthmark'")

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        for n in range(3):
            lines += fleet.run(served, 0, 400, tmp_path / f"out{n}")[0]
    finally:
        done.set()
        cutter.join()
    wait_for("the server has its database back", lambda: served.run("status", want=None).returncode == 0)
    check_books(served, set(held(lines)))


# --- migration, backup, restore -------------------------------------------------------------------------------------------------------


def furnished(new_server, tmp_path):
    s = new_server()
    s.init()
    s.start()
    s.furnish()
    s.device = Device()
    s.register(s.device)
    assert est_enrol(s, s.device, tmp_path)[0].status == 200
    return s


def test_migrate(new_server, postgres, tmp_path):
    s = furnished(new_server, tmp_path)
    dsn = postgres.database()
    assert "in-use" in s.run("migrate", "--to", dsn, want=4).stderr  # not while it is served
    s.stop()
    head = s.run("log", "head", "--json").stdout
    (tmp_path / "head.json").write_text(head)
    moved = s.ask("migrate", "--to", dsn)
    assert moved["entries"] == json.loads(head)["size"]
    assert (s.data / "registry.db.migrated").exists() and not (s.data / "registry.db").exists()
    s.run("log", "verify", "--against", tmp_path / "head.json")
    s.start()
    answer, _ = est_enrol(s, s.device, tmp_path)
    assert answer.status == 200
    assert s.state(s.device) == "active"
    s.stop()
    s.run("migrate", "--to", dsn, want=2)  # it is there
    s.run("migrate", "--to", f"sqlite:{s.data}/registry.db")  # and back
    s.run("log", "verify", "--against", tmp_path / "head.json")


def test_migrate_refused(new_server, postgres, tmp_path):
    s = furnished(new_server, tmp_path)
    s.stop()
    dsn = postgres.database()
    postgres.sql(dsn.rsplit("=", 1)[1], "CREATE TABLE address_book (name TEXT)")
    for to, word in ((dsn, "not-a-registry"), ("postgres:host=/nowhere dbname=x", "database-unreachable"),
                     ("postgres:host=x password=hidden", "password-in-address"), ("mysql:x", "must look like")):
        done = s.run("migrate", "--to", to, want=None)
        assert done.returncode != 0 and word in done.stderr and "hidden" not in done.stderr
    s.start()  # it is where it was
    assert s.state(s.device) == "active"


@pytest.mark.parametrize("kept", ["sqlite", "postgres"])
def test_backup_while_serving(new_server, postgres, fleet, tmp_path, kept):
    """Taken under load, restored into the other kind of database, and served."""
    s = new_server()
    s.init(*(("--store", postgres.database()) if kept == "postgres" else ()))
    s.start()
    s.furnish(quota=400)
    fleet.make(s, 400)
    lines = []
    load = threading.Thread(target=lambda: lines.extend(fleet.run(s, 0, 400, tmp_path / "out")[0]))
    load.start()
    time.sleep(0.3)
    backup = s.ask("backup", "--out", tmp_path / "backup")
    load.join()
    assert len(held(lines)) == 400
    s.stop()
    assert not list((tmp_path / "backup").glob("**/secret"))

    back = new_server()
    to = ("--store", postgres.database()) if kept == "sqlite" else ()
    assert back.ask("restore", "--from", tmp_path / "backup", *to) == backup
    shutil.copy(s.data / "secret", back.data / "secret")
    back.start()
    check_books(back, ())
    again, _ = fleet.run(back, 0, 400, tmp_path / "again")
    assert len(held(again)) == 400
    check_books(back, held(again))


def test_damaged_backup(new_server, tmp_path):
    s = furnished(new_server, tmp_path)
    s.run("backup", "--out", tmp_path / "backup")
    assert "already-there" in s.run("backup", "--out", tmp_path / "backup", want=4).stderr
    whole = tmp_path / "backup"
    names = [p.relative_to(whole) for p in sorted(whole.glob("**/*")) if p.is_file()]
    assert len(names) >= 5
    for n, name in enumerate(names):
        for change in ("flip", "cut", "remove"):
            bad, data = tmp_path / f"bad-{n}-{change}", tmp_path / f"data-{n}-{change}"
            shutil.copytree(whole, bad)
            raw = bytearray((bad / name).read_bytes())
            raw[len(raw) * 2 // 3] ^= 0x01
            (bad / name).write_bytes(raw if change == "flip" else raw[:-1])
            if change == "remove":
                (bad / name).unlink()
            done = s.run("restore", "--from", bad, "--data", data, want=None)
            if name.name == "backup.json" and change == "flip" and done.returncode == 0:
                continue  # a blank or the time it was made
            assert done.returncode != 0, (name, change)
            assert not data.exists(), (name, change)
    for path in ("../evil", "keys/../../evil.key.pem", "/etc/passwd", "secret", "keys/.x.key.pem"):
        bad = tmp_path / "lead"
        shutil.copytree(whole, bad)
        listed = json.loads((bad / "backup.json").read_text())
        listed["files"][1]["path"] = path
        (bad / "backup.json").write_text(json.dumps(listed))
        assert "backup-damaged" in s.run("restore", "--from", bad, "--data", tmp_path / "nowhere", want=None).stderr
        shutil.rmtree(bad)
    assert "no-backup" in s.run("restore", "--from", tmp_path, "--data", tmp_path / "nowhere", want=3).stderr
    assert "already-there" in s.run("restore", "--from", whole, want=4).stderr  # the folder in use
