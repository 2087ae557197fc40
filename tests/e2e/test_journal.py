"""The journal: a server dies, its registry is gone, and a backup from before with the journal since then gives back what every client holds.
A journal that is damaged, does not join or cannot be written is told as that."""

import contextlib
import json
import resource
import shutil
import sqlite3
import subprocess
import threading
import time

import pytest
from cryptography import x509

import kit
from kit import Device, Server, assert_refused, call, est_enrol, wait_for
from postgres import Postgres
from test_crash import check_registry


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.end()


@pytest.fixture
def journal(tmp_path):
    folder = tmp_path / "journal"
    folder.mkdir(mode=0o700)
    return folder


def configure(server, journal):
    with (server.data / "birthmark.conf").open("a") as f:
        f.write(f"journal = {journal}\n")


@pytest.fixture
def served(new_server, journal):
    """A running server with a journal, and a backup of its first minute."""
    s = new_server()
    s.init()
    configure(s, journal)
    s.start()
    s.furnish()
    s.run("backup", "--out", s.folder / "backup")
    return s


def elsewhere(server, name="restored"):
    """The server that a restore makes."""
    return Server(server.program, server.folder, data=server.folder / name)


def restore(server, *words, name="restored", backup="backup", want=0):
    s = elsewhere(server, name)
    done = s.run("restore", "--from", server.folder / backup, "--json", *words, want=want)
    if want == 0:
        shutil.copy(server.data / "secret", s.data / "secret")
        return s, json.loads(done.stdout)
    assert not s.data.exists(), "a restore that failed leaves nothing"
    return s, done.stderr


def cert_of(answer):
    return kit.certs_of_pkcs7(answer.body)[0].public_bytes(kit.DER)


def enrol(server, folder, n=1, name="m-1"):
    devices = [Device() for _ in range(n)]
    server.register(*devices, name=name)
    certs = []
    for d in devices:
        answer, _ = est_enrol(server, d, folder)
        assert answer.status == 200, answer
        certs.append(cert_of(answer))
    return certs


def stored(server):
    with contextlib.closing(sqlite3.connect(f"file:{server.data}/registry.db?mode=ro", uri=True)) as db:
        return {cert for (cert,) in db.execute("SELECT cert FROM credential")}


# --- the promise ------------------------------------------------------------------------------------------------------------------------


class Fleet(threading.Thread):
    """Devices that enrol and renew, over each protocol, until told to end; keeps every certificate that any of them was given."""

    RUNS = (("--protocol", "onboard"), ("--protocol", "est"), ("--protocol", "onboard", "--mode", "renew"))

    def __init__(self, program, server, keys, count):
        super().__init__()
        self.program, self.server, self.keys, self.count = program, server, keys, count
        self.certs, self.over = {}, threading.Event()
        self.start()

    def run(self):
        turn = 0
        while not self.over.is_set():
            out = self.server.folder / f"fleet-{turn}.jsonl"
            subprocess.run([self.program, "run", "--server", self.server.url, "--keys", self.keys, "--anchors", self.server.anchors(),
                            "--first", str(turn * 37 % (self.count - 40)), "--count", "40", "--jobs", "8", "--retries", "0", "--certs",
                            "--out", out, "--quiet", *self.RUNS[turn % 3]], stdout=subprocess.DEVNULL, check=False, timeout=120)
            for line in out.read_text().splitlines():
                got = json.loads(line)
                if "certificate" in got:
                    self.certs[got["serial"]] = (got["udid"], bytes.fromhex(got["certificate"]))
            turn += 1


def under_load(server, release, seconds):
    """Furnished, backed up, then under load until everything is killed at once. Returns what the clients hold."""
    program, keys, count = release("birthmark-fleet"), server.folder / "keys", 400
    subprocess.run([program, "keys", str(count), "--out", keys], check=True, capture_output=True)
    lines = subprocess.run([program, "spki", "--keys", keys, "--count", str(count)], check=True, capture_output=True, text=True).stdout
    server.furnish(quota=300)
    server.run("manifest", "import", server.manifest(lines), "--batch", "reel-1")
    server.anchors()
    fleet = Fleet(program, server, keys, count)
    wait_for("first certificates", lambda: len(fleet.certs) >= 40, 120)
    server.run("backup", "--out", server.folder / "backup")
    before = len(fleet.certs)
    wait_for("certificates after the backup", lambda: len(fleet.certs) >= before + 80, 120)
    time.sleep(seconds)
    server.kill()
    fleet.over.set()
    fleet.join()
    return fleet.certs


def test_registry_gone(new_server, journal, release):
    """SQLite: the data folder's registry is deleted."""
    s = new_server()
    s.init()
    configure(s, journal)
    s.start("--workers", "2")
    certs = under_load(s, release, 0.3)
    for f in s.data.glob("registry.db*"):
        f.unlink()
    back, said = restore(s, "--journal", journal)
    assert said["journal"]["records"] > 0 and len(certs) > 100
    issued = check_registry(back, certs)
    print(f"{len(certs)} certificates with clients, {issued} in the registry, journal: {said['journal']}")
    back.start()  # it goes on, in the same journal
    assert call(back, "GET", "/healthz").status == 200
    answer, _ = est_enrol(back, (d := Device()), back.folder)
    assert_refused(back, answer, 403, "unknown-device")
    back.register(d, name="m-2")
    assert est_enrol(back, d, back.folder)[0].status == 200
    back.stop()
    assert back.ask("journal", "verify")["chains"][0]["last"] > said["journal"]["to"]


def test_database_gone(new_server, journal, release, postgres):
    """PostgreSQL: the database is dropped. Its ids have gaps where statements came to nothing; the rows come back with those they had."""
    s = new_server()
    dsn = postgres.database()
    s.init("--store", dsn)
    configure(s, journal)
    s.start("--workers", "2")
    certs = under_load(s, release, 0.3)
    database = dsn.rsplit("dbname=", 1)[1].split()[0]
    wait_for("the database without a user", lambda: postgres.sql(
        "postgres", f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'").strip() == "0", 30)
    postgres.sql("postgres", f'DROP DATABASE "{database}"')
    into_file, one = restore(s, "--journal", journal, name="file")
    check_registry(into_file, certs)
    into_server, other = restore(s, "--journal", journal, "--store", postgres.database(), name="server")
    assert one["sha256"] == other["sha256"] and one["root"] == other["root"]
    into_server.start()
    d = Device()
    into_server.register(d, name="m-2")
    assert est_enrol(into_server, d, into_server.folder)[0].status == 200
    into_server.stop()


def test_everything_else_comes_back(served, journal, tmp_path):
    """A CA made after the backup comes with its sealed key; refusals, profiles and a device barred after the backup are as they were."""
    s = served
    s.run("ca", "create", "line", "--parent", "root")
    s.run("batch", "set", "reel-1", "--ca", "line")
    (cert,) = enrol(s, tmp_path)
    barred = Device()
    s.register(barred, name="m-2")
    assert est_enrol(s, barred, tmp_path)[0].status == 200
    s.run("device", "compromise", barred.udid)
    answer, _ = est_enrol(s, barred, tmp_path)
    assert answer.status == 403
    s.stop()
    back, _ = restore(s, "--journal", journal)
    assert cert in stored(back)
    whole = [json.dumps(x.ask("log", "verify")) for x in (s, back)]
    assert whole[0] == whole[1]
    back.start()
    assert back.state(barred) == "compromised"
    (again,) = enrol(back, tmp_path, name="m-3")
    issuers = {x509.load_der_x509_certificate(c).issuer for c in (cert, again)}
    assert len(issuers) == 1, "the key of the CA that was made after the backup is there"
    back.stop()


# --- journals that are not good ---------------------------------------------------------------------------------------------------------


def segments(journal):
    return sorted(journal.glob("*.journal"))


def test_cut_off_end(served, journal, tmp_path):
    """A record half written is what a power cut leaves: everything before it counts, and it is said where it ends."""
    enrol(served, tmp_path, 3)
    served.kill()
    last = segments(journal)[-1]
    whole = last.read_bytes()
    last.write_bytes(whole[:-7])
    _, said = restore(served, "--journal", journal)
    assert said["journal"]["cut_off_bytes"] > 0
    last.write_bytes(whole + b"BMJr" + bytes(500))
    _, more = restore(served, "--journal", journal, name="again")
    assert more["journal"]["cut_off_bytes"] == 504 and more["journal"]["to"] == said["journal"]["to"] + 1


def test_damaged(served, journal, tmp_path):
    """One bit in the middle: refused, with the place named; up to there it can still be had."""
    enrol(served, tmp_path, 3)
    served.stop()
    last = segments(journal)[-1]
    whole = bytearray(last.read_bytes())
    whole[len(whole) // 2] ^= 1
    last.write_bytes(whole)
    _, said = restore(served, "--journal", journal, want=1)
    assert "journal-damaged" in said and last.name in said and "at byte" in said
    assert "journal-damaged" in served.run("journal", "verify", want=1).stderr
    assert "damaged" in served.run("journal", "list").stdout
    good = json.loads(served.run("journal", "list", "--json").stdout)["segments"][-1]["last"]
    _, some = restore(served, "--journal", journal, "--until", good)
    assert some["journal"]["to"] == good


def test_missing(served, journal, tmp_path):
    """A segment that is not there, another registry's journal, and a backup from before there was a journal."""
    enrol(served, tmp_path)
    served.run("journal", "rotate")
    enrol(served, tmp_path, name="m-2")
    served.run("journal", "rotate")
    enrol(served, tmp_path, name="m-3")
    served.stop()
    whole = segments(journal)
    aside = tmp_path / "aside"
    whole[-2].rename(aside)
    _, said = restore(served, "--journal", journal, want=1)
    assert "journal-gap" in said
    aside.rename(whole[-2])
    other = tmp_path / "other"
    other.mkdir()
    _, said = restore(served, "--journal", other, want=3)
    assert "no-journal" in said
    restore(served, "--journal", journal)


def test_registry_behind_its_journal(served, journal, tmp_path):
    """A backup put back without its journal must not go on as if nothing had been issued since."""
    enrol(served, tmp_path)
    served.stop()
    back, _ = restore(served)
    done = back.run("status", want=4)
    assert "journal-ahead" in done.stderr and "--journal" in done.stderr
    for f in segments(journal):
        f.rename(tmp_path / f.name)
    back.run("status")


def test_off_and_on_again(served, journal, tmp_path):
    """What happens while there is no journal is in none: it begins anew, and does not join the backup from before."""
    enrol(served, tmp_path)
    served.stop()
    conf = served.data / "birthmark.conf"
    with_journal = conf.read_text()
    conf.write_text("\n".join(x for x in with_journal.splitlines() if "journal" not in x) + "\n")
    served.run("org", "create", "unseen", "--role", "oem")
    conf.write_text(with_journal)
    served.run("org", "create", "seen", "--role", "oem")
    served.run("backup", "--out", served.folder / "later")
    served.run("org", "create", "after", "--role", "oem")
    _, said = restore(served, "--journal", journal)
    assert said["journal"]["records"] > 0
    back, _ = restore(served, "--journal", journal, name="second", backup="later")
    with contextlib.closing(sqlite3.connect(back.data / "registry.db")) as db:
        names = {n for (n,) in db.execute("SELECT name FROM org")}
    assert {"unseen", "seen", "after"} <= names


def test_segments_go_with_backups(served, journal, tmp_path):
    enrol(served, tmp_path)
    served.run("backup", "--out", served.folder / "second")
    enrol(served, tmp_path, name="m-2")
    assert len(segments(journal)) >= 2
    assert served.ask("journal", "prune", "--backup", served.folder / "second")["removed"] >= 1
    served.stop()
    restore(served, "--journal", journal, backup="second")
    _, said = restore(served, "--journal", journal, name="old", want=1)
    assert "journal-gap" in said


# --- a journal that cannot be written ---------------------------------------------------------------------------------------------------


def limit(server, size):
    """Files of the keeper may not grow beyond that: the same as a full disk, and it needs no rights. None: no limit."""
    keeper = server.keeper()
    _, hard = resource.prlimit(keeper, resource.RLIMIT_FSIZE)
    resource.prlimit(keeper, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def refused_while(server, folder, spoil, mend):
    """Nothing is issued while the journal cannot be written, and nothing is lost; it goes on when it can be."""
    devices = [Device() for _ in range(6)]
    server.register(*devices, name="m-full")
    spoil()
    answers = [est_enrol(server, d, folder)[0] for d in devices]  # the first may find room in the last page of the file
    assert_refused(server, answers[-1], 503, "journal-unavailable")
    said = [server.run("org", "create", f"late-{n}", "--role", "oem", want=None).stderr for n in range(8)]
    assert "journal-unavailable" in said[-1], said
    certs = [cert_of(a) for a in answers if a.status == 200]
    assert server.ask("status")["counts"]["device_states"].get("active", 0) == len(certs)
    assert call(server, "GET", "/healthz").status == 200
    mend()
    certs.append(cert_of(wait_for("service", lambda: (a := est_enrol(server, devices[-1], folder)[0]).status == 200 and a)))
    server.run("org", "create", "late", "--role", "oem")
    server.stop()
    assert set(certs) <= stored(server)
    server.run("log", "verify")
    return certs


def backed_up(server, journal):
    server.init()
    configure(server, journal)
    server.start()
    server.furnish()
    server.run("backup", "--out", server.folder / "backup")


def test_journal_may_not_grow(new_server, journal):
    s = new_server()
    backed_up(s, journal)
    certs = refused_while(s, s.folder, lambda: limit(s, segments(journal)[-1].stat().st_size), lambda: limit(s, None))
    back, _ = restore(s, "--journal", journal)
    assert set(certs) <= stored(back) and stored(back) == stored(s)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", folder], capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_journal_disk_full(new_server, small_disk):
    s = new_server()
    backed_up(s, small_disk)
    filler = small_disk / "filler"

    def fill():
        with filler.open("wb", buffering=0) as f, contextlib.suppress(OSError):
            while f.write(bytes(4096)) == 4096:
                pass

    certs = refused_while(s, s.folder, fill, filler.unlink)
    back, _ = restore(s, "--journal", small_disk)
    assert set(certs) <= stored(back) and stored(back) == stored(s)


def test_journal_read_only(new_server, small_disk):
    """A start without its journal is refused: what it did would be in none."""
    s = new_server()
    backed_up(s, small_disk)
    s.stop()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "journal-unavailable" in s.run("org", "create", "late", "--role", "oem", want=5).stderr
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    s.start()
    enrol(s, s.folder, name="m-9")
    s.stop()
    back, _ = restore(s, "--journal", small_disk)
    assert stored(back) == stored(s)


def test_two_writers(served, journal, new_server):
    """Two registries do not write to one folder at once."""
    other = new_server()
    other.init()
    configure(other, journal)
    assert "in-use" in other.run("org", "create", "x", "--role", "oem", want=4).stderr
