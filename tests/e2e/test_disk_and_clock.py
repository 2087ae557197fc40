"""When the machine fails: a full disk, a disk that cannot be written, a clock that jumps. Nothing is issued that is not on disk, the
refusal says what is wrong, and when it is put right the server goes on."""

import contextlib
import json
import os
import pathlib
import resource
import signal
import sqlite3
import ssl
import subprocess
import time

import pytest
from cryptography import x509

import kit
from kit import EST, Device, Server, assert_no_reports, call, est_enrol, wait_for

DAY = 86400


def counts(server):
    c = server.ask("status")["counts"]
    return c["credential"], c["device_states"].get("active", 0)


def in_order(server, certs):
    """At rest: every certificate that a client holds is there, and the log is right."""
    with contextlib.closing(sqlite3.connect(f"file:{server.data}/registry.db?mode=ro", uri=True)) as db:
        stored = {cert for (cert,) in db.execute("SELECT cert FROM credential")}
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert {c.public_bytes(kit.DER) for c in certs} <= stored
    assert server.ask("log", "verify")["good"] is True


# --- a full disk -----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB; returns its folder and a function that fills it to the last byte, and empties it again."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    filler = folder / "filler"

    def fill(full):
        if not full:
            filler.unlink()
            return
        with filler.open("wb", buffering=0) as f:
            with contextlib.suppress(OSError):
                while True:
                    f.write(b"\0" * 65536)
            with contextlib.suppress(OSError):
                while True:
                    f.write(b"\0")

    yield folder, fill
    subprocess.run(["umount", "-l", folder], check=True)


class Limit:
    """Files of the keeper may not grow: to SQLite the same as a full disk, and it needs no rights."""

    def __init__(self, server):
        self.server = server

    def __call__(self, full):
        keeper = self.server.keeper()
        now = max(f.stat().st_size for f in self.server.data.glob("registry.db*"))
        _, hard = resource.prlimit(keeper, resource.RLIMIT_FSIZE)
        resource.prlimit(keeper, resource.RLIMIT_FSIZE, (now if full else hard, hard))


def prepared(server):
    server.init()
    server.furnish()
    server.start(preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    server.anchors()
    devices = [Device() for _ in range(40)]
    server.register(*devices)
    return devices


def refused_in_the_end(server):
    """The first act of an administrator that is refused; some still find room in the blocks that are there already."""
    for i in range(200):
        done = server.run("org", "create", f"early-{i}", "--role", "oem", want=None)
        if done.returncode != 0:
            return done
    return None


def through_a_full_disk(server, devices, fill, folder):
    """Enrol until the disk is full and beyond, make room, go on; the server lives through it."""
    certs, refused = [], 0
    for d in devices[:5]:
        answer, _ = est_enrol(server, d, folder)
        certs += kit.certs_of_pkcs7(answer.body)
    before, pid = counts(server), server.process.pid
    fill(True)
    for d in devices[5:] * 8:  # what has room in the blocks that are there already may still be written
        answer, _ = est_enrol(server, d, folder)
        if answer.status == 200:
            certs += kit.certs_of_pkcs7(answer.body)
            continue
        refused += 1
        assert (answer.status, answer.code) == (503, "storage-unavailable"), answer
        assert int(answer.headers["Retry-After"]) > 0 and "nothing was issued" in answer.text
        if refused == 10:
            break
    assert refused == 10, "the disk was never full"
    assert call(server, "GET", EST + "cacerts").status == 200 and call(server, "GET", "/healthz").status == 200
    done = refused_in_the_end(server)
    assert done is not None and done.stderr.startswith("birthmark: "), done
    assert counts(server)[0] == before[0] + len(certs) - 5
    fill(False)
    for d in devices:
        answer, _ = est_enrol(server, d, folder)
        assert answer.status == 200, answer
        certs += kit.certs_of_pkcs7(answer.body)
    server.run("org", "create", "late", "--role", "oem")
    assert server.process.pid == pid and server.process.poll() is None
    assert counts(server)[1] == len(devices)
    assert "keeper[" in server.tail(500) and " storage the disk " in server.tail(500), server.tail(5)
    server.stop()
    in_order(server, certs)


def test_full_disk(birthmark, small_disk, tmp_path):
    folder, fill = small_disk
    server = Server(birthmark, tmp_path, data=folder / "data")
    try:
        devices = prepared(server)
        through_a_full_disk(server, devices, fill, tmp_path)
    finally:
        server.kill()
    assert_no_reports(tmp_path)


def test_files_that_may_not_grow(new_server, tmp_path):
    server = new_server()
    devices = prepared(server)
    through_a_full_disk(server, devices, Limit(server), tmp_path)


def test_kill_on_a_full_disk(birthmark, small_disk, tmp_path):
    """Out of room and then out of power: the next start has to do with what is there."""
    folder, fill = small_disk
    server, certs = Server(birthmark, tmp_path, data=folder / "data"), []
    try:
        devices = prepared(server)
        fill(True)
        for d in devices:
            answer, _ = est_enrol(server, d, tmp_path)
            if answer.status == 200:
                certs += kit.certs_of_pkcs7(answer.body)
        server.kill()
        server.spawn()
        if not server.read_line(60):  # it may need room to start: then it says so
            assert server.ended() != 0 and "registry" in server.tail(), server.tail()
            fill(False)
            server.start()
        else:
            fill(False)
        answer, _ = est_enrol(server, devices[0], tmp_path)
        assert answer.status == 200, answer
        server.stop()
        in_order(server, certs)
    finally:
        server.kill()


def test_import_on_a_full_disk(birthmark, small_disk, release, tmp_path):
    folder, fill = small_disk
    server = Server(birthmark, tmp_path, data=folder / "data")
    fleet = release("birthmark-fleet")
    try:
        prepared(server)
        subprocess.run([fleet, "keys", "20000", "--out", tmp_path / "keys", "--seed", "disk"], check=True)
        lines = subprocess.run([fleet, "spki", "--keys", tmp_path / "keys"], check=True, capture_output=True, text=True).stdout
        manifest = server.manifest(lines, "large")
        fill(True)
        done = server.run("manifest", "import", manifest, "--batch", "reel-1", want=None, timeout=250)
        assert done.returncode != 0 and "(storage-unavailable)" in done.stderr, done
        fill(False)
        told = server.ask("manifest", "import", manifest, "--batch", "reel-1", timeout=250)
        assert told["complete"] is True
        assert server.ask("status")["counts"]["device"] == 20040
        server.stop()
        in_order(server, [])
    finally:
        server.kill()


def test_init_on_a_full_disk(birthmark, small_disk, tmp_path):
    folder, fill = small_disk
    server = Server(birthmark, tmp_path, data=folder / "data")
    fill(True)
    done = server.run("init", want=None)
    assert done.returncode != 0 and done.stderr.startswith("birthmark: "), done
    fill(False)
    server.init()
    assert server.ask("log", "verify")["good"] is True


# --- a disk that cannot be written --------------------------------------------------------------------------------------------------------------


def test_read_only_disk(birthmark, small_disk, tmp_path):
    folder, _ = small_disk
    server = Server(birthmark, tmp_path, data=folder / "data")
    server.init()
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    server.spawn()
    assert server.read_line(60) == ""
    assert server.ended() != 0
    assert "ead-only file system" in server.tail(), server.tail()
    done = server.run("org", "create", "x", "--role", "oem", want=None)
    assert done.returncode != 0 and "ead-only file system" in done.stderr, done
    assert server.ask("log", "verify")["good"] is True  # looking is possible
    subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    server.start()
    server.stop()


# --- the clock ----------------------------------------------------------------------------------------------------------------------------------


FAKETIME = next((p for p in pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


class Clock:
    """What the server takes for the time: ours, and an offset that a file tells."""

    def __init__(self, folder):
        self.file = folder / "clock"
        self.set(0)

    def set(self, seconds):
        beside = self.file.with_suffix(".new")
        beside.write_text(f"{seconds:+d}\n")
        beside.rename(self.file)

    def env(self):
        return {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "TZ": "UTC"}


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path)


@pytest.fixture
def timed(new_server, clock, birthmark):
    """A server whose clock can be set; only the server's, not the command's."""
    if FAKETIME is None:
        pytest.skip("libfaketime is not installed")
    with contextlib.suppress(subprocess.TimeoutExpired):
        if subprocess.run([birthmark, "version"], env={**os.environ, **kit.sanitizer_env(clock.file.parent), **clock.env()}, capture_output=True, timeout=20).returncode == 0:
            server = new_server()
            clock.set(-30 * DAY)  # a registry that has been there for a while: nothing is issued from before its CAs were
            server.run("init", "--organisation", "Test", "--tls-host", "127.0.0.1", env=clock.env())
            clock.set(0)
            server.furnish()
            server.register(*(devices := [Device() for _ in range(4)]))
            server.anchors()
            server.devices = devices
            server.env.update(clock.env())
            server.start()
            return server
    pytest.skip("libfaketime does not go with this build")


def test_clock_that_jumps_back(timed, clock, tmp_path):
    server, (one, two, three, _) = timed, timed.devices
    answer, _ = est_enrol(server, one, tmp_path)
    assert answer.status == 200, answer
    before = counts(server)
    clock.set(-7200)
    answer, _ = est_enrol(server, two, tmp_path)
    assert (answer.status, answer.code) == (503, "clock-went-back"), answer
    assert "clock accept" in answer.text and int(answer.headers["Retry-After"]) > 0
    refused = call(server, "POST", "/onboard/v1/challenge", b"{}", {"Content-Type": "application/json"})
    assert (refused.status, refused.code) == (503, "clock-went-back")
    assert call(server, "GET", EST + "cacerts").status == 200 and call(server, "GET", "/healthz").status == 200
    assert counts(server) == before and server.state(two) == "allocated"
    told = server.run("why", answer.correlation).stdout
    assert "clock-went-back" in told
    clock.set(0)  # put right: nothing else is needed
    answer, _ = est_enrol(server, two, tmp_path)
    assert answer.status == 200, answer
    clock.set(-7200)  # and now it is right, and was wrong before
    assert est_enrol(server, three, tmp_path)[0].status == 503
    server.run("clock", "accept")
    answer, _ = est_enrol(server, three, tmp_path)
    assert answer.status == 200, answer
    server.stop()
    in_order(server, kit.certs_of_pkcs7(answer.body))
    events = [json.loads(e["data"])["event"] for e in server.ask("log", "entries")["entries"]]
    assert "clock.accepted" in events


def test_clock_that_is_a_little_off(timed, clock, tmp_path):
    """Time synchronisation turns clocks back by seconds; nobody shall notice."""
    assert est_enrol(timed, timed.devices[0], tmp_path)[0].status == 200
    for offset in (-20, -50, 0, -50):
        clock.set(offset)
        answer, _ = est_enrol(timed, timed.devices[1], tmp_path)
        assert answer.status == 200, (offset, answer)


def test_start_with_a_clock_that_went_back(timed, clock, tmp_path):
    """The log remembers the time over a restart. Whatever the server does with it, it says so, and `clock accept` helps."""
    server = timed
    assert est_enrol(server, server.devices[0], tmp_path)[0].status == 200
    server.stop()
    clock.set(-7200)
    server.spawn()
    if server.read_line(60):
        answer, _ = est_enrol(server, server.devices[1], tmp_path)
        assert (answer.status, answer.code) == (503, "clock-went-back")
        server.run("clock", "accept")
    else:
        assert server.ended() != 0 and "clock" in server.tail()
        server.run("clock", "accept")
        server.start()
    answer, _ = est_enrol(server, server.devices[1], tmp_path)
    assert answer.status == 200, answer


def test_clock_far_ahead_and_back(timed, clock, tmp_path):
    """A clock that was a year ahead for a moment, and came back by itself."""
    server = timed
    clock.set(365 * DAY)
    answer, _ = est_enrol(server, server.devices[0], tmp_path)
    assert answer.status == 200, answer
    (cert,) = kit.certs_of_pkcs7(answer.body)
    assert cert.not_valid_before_utc.timestamp() > time.time() + 300 * DAY
    clock.set(0)
    answer, _ = est_enrol(server, server.devices[1], tmp_path)
    assert (answer.status, answer.code) == (503, "clock-went-back"), answer
    server.run("clock", "accept")
    answer, _ = est_enrol(server, server.devices[1], tmp_path)
    assert answer.status == 200, answer
    server.stop()
    assert server.ask("log", "verify")["good"] is True


def test_what_has_expired(timed, clock, tmp_path):
    """An LDevID past its end renews nothing; the IDevID does. A product may be more forgiving."""
    server, d = timed, timed.devices[0]
    answer, key = est_enrol(server, d, tmp_path)
    (cert,) = kit.certs_of_pkcs7(answer.body)
    clock.set(20 * DAY)

    def renew():
        return est_enrol(server, d, tmp_path, op="simplereenroll", cert=cert, cert_key=key, subject=cert.subject)[0]

    def status():
        context = kit.tls_context(server.anchors(), *d.files(tmp_path))
        answer = call(server, "POST", "/onboard/v1/status", json.dumps({"udid": kit.b64u(bytes.fromhex(d.udid))}),
                      {"Content-Type": "application/json"}, context)
        return json.loads(answer.body)

    assert renew().status == 200 and status()["status"] == "enrolled"
    clock.set(31 * DAY)
    answer = renew()
    assert (answer.status, answer.code) == (403, "credential-expired"), answer
    clock.set(51 * DAY)  # the server's own certificate of 90 days is not due yet: it would begin in the future of this client
    assert status()["status"] == "expired" and {c["status"] for c in status()["credentials"]} == {"expired"}
    server.run("product", "set", "sensor", "--renew-expired", "yes")
    assert renew().status == 200
    assert est_enrol(server, d, tmp_path)[0].status == 200


def server_cert(server):
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", server.port)).encode())


def test_the_servers_own_certificate_renews_itself(timed, clock):
    server = timed
    first = server_cert(server)
    clock.set(45 * DAY)
    server.stop()
    server.start()
    assert server_cert(server) == first
    clock.set(75 * DAY)
    server.stop()
    server.start()
    second = server_cert(server)
    assert second.not_valid_after_utc > first.not_valid_after_utc
    assert second.public_key() == first.public_key()
