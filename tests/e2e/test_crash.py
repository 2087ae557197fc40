"""Promise one: nothing is issued that is not on disk. Processes are killed at random moments under load; what the clients hold afterwards
is compared with what the registry and its log say."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

import kit
from kit import Device, Server, alive, children, est_enrol, wait_for

KILLS = 500
DEVICES, QUOTA = 1500, 1100
ACTS = {"retire": "retired", "compromise": "compromised"}


class Load(threading.Thread):
    """Devices that enrol and renew without end, over every protocol; keeps every certificate that any of them was given."""

    RUNS = (("--protocol", "onboard"), ("--protocol", "onboard", "--auth", "challenge"), ("--protocol", "est"),
            ("--protocol", "onboard", "--mode", "renew"), ("--protocol", "onboard", "--mode", "kept", "--auth", "challenge"))

    def __init__(self, program, server, keys):
        super().__init__()
        self.program, self.server, self.keys = program, server, keys
        self.certs, self.outcomes, self.trouble = {}, {}, None
        self.over = False
        self.start()

    def run(self):
        try:
            while not self.over:
                self.one_run()
        except Exception as e:  # told when the load is joined
            self.trouble = e

    def one_run(self):
        out = self.server.folder / "fleet.jsonl"
        count = random.randint(50, 300)
        subprocess.run([self.program, "run", "--server", self.server.url, "--keys", self.keys, "--anchors", self.server.anchors(),
                        "--first", str(random.randint(0, DEVICES - count)), "--count", str(count), "--jobs", "12", "--retries", "4", "--certs",
                        "--out", out, "--quiet", *random.choice(self.RUNS)], stdout=subprocess.DEVNULL, check=False, timeout=250)
        for line in out.read_text().splitlines():
            got = json.loads(line)
            self.outcomes[got["outcome"] + got["code"]] = self.outcomes.get(got["outcome"] + got["code"], 0) + 1
            if "certificate" in got:
                self.certs[got["serial"]] = (got["udid"], bytes.fromhex(got["certificate"]))

    def finish(self):
        self.over = True
        self.join()
        if self.trouble is not None:
            raise self.trouble


def rows(server, query):
    with contextlib.closing(sqlite3.connect(f"file:{server.data}/registry.db?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def issued_by_log(server):
    """serial -> (udid, digest), and who was barred at which entry; the log's own account of what happened, in its order."""
    issued, barred, late = {}, {}, []
    for index, data in rows(server, "SELECT idx, data FROM audit_leaf ORDER BY idx"):
        leaf = json.loads(data)
        if leaf["event"] == "credential.issued":
            issued[leaf["serial"]] = (leaf["udid"], leaf["sha256"])
            if leaf["udid"] in barred:
                late.append((index, leaf))
        elif leaf["event"] in ("device.retire", "device.compromise", "device.retired", "device.compromised"):
            barred[leaf["udid"]] = index
    return issued, barred, late


def check_registry(server, certs, acts=()):
    """The registry at rest. certs: serial -> (udid, DER) as clients hold them; acts: (udid, act) that were acknowledged."""
    credentials = {serial.hex(): (udid.hex() if udid else None, cert, state) for serial, udid, cert, state in rows(
        server, "SELECT c.serial, d.udid, c.cert, c.state FROM credential c LEFT JOIN device d ON d.id = c.device_id")}
    devices = {udid.hex(): (state, active) for udid, state, active in rows(server, "SELECT udid, state, activated_at FROM device")}
    missing = [s for s, (udid, cert) in certs.items() if credentials.get(s, (None, None))[:2] != (udid, cert)]
    assert not missing, f"{len(missing)} of {len(certs)} certificates that clients hold are not in the registry as they are: {missing[:5]}"

    holders = {udid for udid, _, _ in credentials.values() if udid is not None}
    idle = [u for u in holders if devices[u][0] not in ("active", *ACTS.values()) or not devices[u][1]]
    assert not idle, f"devices with a certificate are not active: {[(u, devices[u]) for u in idle[:5]]}"
    activated = {u for u, (_, at) in devices.items() if at}
    assert activated == holders, "activated devices and holders of certificates are not the same"
    ((used, quota),) = rows(server, "SELECT used, quota FROM batch WHERE name = 'reel-1'")
    assert used == len(activated) <= quota

    for udid, act in acts:
        assert devices[udid][0] == ACTS[act], f"{act} of {udid} was acknowledged, but it is {devices[udid][0]}"
    live = [s for s, (udid, _, state) in credentials.items() if udid and devices[udid][0] in ACTS.values() and state == "active"]
    assert not live, f"certificates of barred devices are active: {live[:5]}"

    tally = dict(rows(server, "SELECT name, n FROM tally"))
    assert tally.pop("credential") == len(credentials)
    states = [s for s, _ in devices.values()]
    assert {k: n for k, n in tally.items() if n} == {f"device:{s}": states.count(s) for s in set(states)}

    issued, barred, late = issued_by_log(server)
    assert barred.keys() == {udid for udid, (state, _) in devices.items() if state in ACTS.values()}
    assert not late, f"issued after the device was barred: {late[:3]}"
    assert issued == {s: (udid, hashlib.sha256(cert).hexdigest()) for s, (udid, cert, _) in credentials.items() if udid}
    assert rows(server, "PRAGMA integrity_check") == [("ok",)] and rows(server, "PRAGMA foreign_key_check") == []
    assert server.ask("log", "verify")["good"] is True
    return len(credentials)


# --- the long one --------------------------------------------------------------------------------------------------------------------------


def bar_somebody(server, udids, barred):
    """An administrator's act that may well fall together with the kill; returns it and its process."""
    udid, act = random.choice([u for u in udids if u not in barred]), random.choice(list(ACTS))
    barred.add(udid)
    return (udid, act), subprocess.Popen([server.program, "device", act, udid], env=server.env, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_quietly(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_workers(server):
    """Each worker at most twice in a life; the supervisor puts others in their place meanwhile."""
    kills = 0
    for _ in range(random.randint(0, 3)):
        workers = server.workers()
        if workers:
            kill_quietly(random.choice(workers))
            kills += 1
        time.sleep(random.uniform(0, 0.08))
    return kills


def end_life(server, how):
    """Kills what holds the server together, and sees that nothing is left behind."""
    family, process = server.family(), server.process
    if how == "everything":
        server.kill()
    else:
        kill_quietly(server.keeper() or process.pid if how == "keeper" else process.pid)
        status = server.ended()
        assert status != 0, f"the server went on without its {how}"
    wait_for(f"the end of all processes after the {how} was killed", lambda: not any(alive(p) for p in family), 20)


def life_and_death(server, udids, barred, acts):
    """One life of the server; returns how many processes were killed."""
    server.start("--workers", random.choice((1, 2, 3)), "--log-level", "warn")
    time.sleep(random.uniform(0, 0.35))
    kills = kill_workers(server)
    act = bar_somebody(server, udids, barred) if random.random() < 0.2 else None
    time.sleep(random.uniform(0, 0.25) if act else random.uniform(0, 0.05))
    end_life(server, random.choice(("keeper", "supervisor", "everything")))
    if act is not None and act[1].wait(30) == 0:
        acts.append(act[0])
    return kills + 1


def crash_rounds(server, release, enough):
    keys = server.folder / "keys"
    fleet = release("birthmark-fleet")
    subprocess.run([fleet, "keys", str(DEVICES), "--out", keys, "--seed", "crash"], check=True)
    lines = subprocess.run([fleet, "spki", "--keys", keys], check=True, capture_output=True, text=True).stdout
    udids = [json.loads(line)["udid"] for line in lines.splitlines()]
    server.init()
    server.furnish(quota=QUOTA)
    server.run("manifest", "import", server.manifest(lines), "--batch", "reel-1")
    server.anchors()
    load, kills, lives, barred, acts = Load(fleet, server, keys), 0, 0, set(), []
    try:
        while not enough(kills):
            kills += life_and_death(server, udids, barred, acts)
            lives += 1
        server.start()
    finally:
        load.over = True
    load.finish()  # to the end, now that nobody disturbs it
    server.stop()
    issued = check_registry(server, load.certs, acts)
    print(f"{kills} kills in {lives} lives, {len(load.certs)} certificates with clients, {issued} in the registry, {len(acts)} acts, "
          f"outcomes {load.outcomes}")
    assert len(load.certs) > 200 and any("quota" in o for o in load.outcomes), load.outcomes


@pytest.fixture
def fast(release, new_server):
    return new_server(program=release("birthmark"))


@pytest.mark.timeout(600)
def test_kill_at_any_moment(fast, release):
    crash_rounds(fast, release, lambda kills: kills >= KILLS)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_kill_at_any_moment_for_long(fast, release, request):
    until = time.monotonic() + request.config.getoption("--soak-seconds")
    crash_rounds(fast, release, lambda kills: kills >= KILLS and time.monotonic() > until)


# --- one death at a time --------------------------------------------------------------------------------------------------------------------


def test_dead_worker_is_replaced(server, tmp_path):
    server.furnish()
    d = Device()
    server.register(d)
    before = set(server.workers())
    for victim in before:
        os.kill(victim, signal.SIGKILL)
    after = wait_for("new workers", lambda: len(set(server.workers()) - before) == len(before) and set(server.workers()))
    assert not after & before and server.process.poll() is None
    answer, _ = est_enrol(server, d, tmp_path)
    assert answer.status == 200, answer
    log = server.tail()
    assert "killed by signal 9" in log and "restarting" in log


def test_worker_that_keeps_dying(server):
    """The supervisor goes on trying, ever more slowly, and does not give up a server that has served."""
    first = server.process.pid
    for _ in range(6):
        victims = wait_for("a worker", server.workers)
        for victim in victims:
            kill_quietly(victim)
    wait_for("workers again", lambda: kit.call(server, "GET", "/healthz").status == 200 if server.workers() else False, 60)
    assert server.process.pid == first and server.process.poll() is None


def test_dead_keeper_stops_everything(server):
    family = server.family()
    os.kill(server.keeper(), signal.SIGKILL)
    assert server.ended() not in (0, None)
    assert not any(alive(pid) for pid in family)
    log = server.tail()
    assert "keeper" in log and "killed by signal 9" in log and "nothing can be issued without it" in log
    server.start()
    assert kit.call(server, "GET", "/healthz").status == 200


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGABRT])
def test_dead_supervisor_leaves_nothing(server, how):
    family = server.family()
    os.kill(server.process.pid, how)
    server.ended()
    wait_for("the end of all processes", lambda: not any(alive(pid) for pid in family), 10)
    server.start()
    assert kit.call(server, "GET", "/healthz").status == 200


def test_stopped_keeper_is_no_dead_keeper(server, tmp_path):
    """A keeper that hangs for a moment: requests wait, and are answered once it goes on."""
    server.furnish()
    d = Device()
    server.register(d)
    server.anchors()
    keeper = server.keeper()
    os.kill(keeper, signal.SIGSTOP)
    got = []
    asking = threading.Thread(target=lambda: got.append(est_enrol(server, d, tmp_path)[0]))
    asking.start()
    assert kit.call(server, "GET", "/healthz").status == 200
    asking.join(1)
    assert asking.is_alive()
    os.kill(keeper, signal.SIGCONT)
    asking.join(30)
    assert got[0].status == 200, got


def test_killed_before_it_served(new_server):
    """A start that is cut off anywhere leaves a registry that starts."""
    s = new_server()
    s.init()
    for _ in range(12):
        s.spawn()
        time.sleep(random.uniform(0, 0.12))
        family = s.family()
        s.kill()
        wait_for("the end", lambda: not any(alive(pid) for pid in family), 10)
    s.start()
    assert kit.call(s, "GET", "/healthz").status == 200
    s.stop()
    assert s.ask("log", "verify")["good"] is True


def test_killed_init(birthmark, tmp_path):
    """init that is cut off: what is there afterwards is a registry, or init can be run again."""
    for n in range(15):
        s = Server(birthmark, tmp_path / f"n{n}")
        s.folder.mkdir()
        process = subprocess.Popen([birthmark, "init"], env=s.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, 0.12))
        process.kill()
        process.wait()
        done = s.run("init", want=None)
        if done.returncode != 0:
            assert "already" in done.stderr, done.stderr
            done = s.run("status", want=None)
        if done.returncode != 0:
            assert "no-registry" in done.stderr and "init" in done.stderr, done.stderr
            shutil.rmtree(s.data)
            s.run("init")
        assert {c["name"] for c in s.ask("status")["cas"]} == {"root", "issuing"}
        assert s.ask("log", "verify")["good"] is True


def test_init_never_takes_a_registry_that_is_in_use(new_server):
    """A mark that init left may come back with a power cut, or with a copy: the keys of a registry that works stay where they are."""
    s = new_server()
    s.init()
    s.furnish()
    whole = {p: p.read_bytes() for p in [*s.data.glob("keys/*"), s.data / "secret"]}
    for mark in ("init.begun", "keys/root.key.pem.new.1", "registry.db.new.1"):
        (s.data / mark).write_bytes(b"")
    done = s.run("init", want=None)
    assert done.returncode != 0 and "already" in done.stderr, done
    assert {p: p.read_bytes() for p in whole} == whole
    (s.data / "init.begun").unlink()
    s.start()
    assert len(s.ask("org", "list")["rows"]) == 2
