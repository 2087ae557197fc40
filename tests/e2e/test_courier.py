"""The process that goes out, as part of the server: it is there, locked in, replaced when it dies, and costs nobody anything."""

import os
import signal

import pytest

from kit import call, children, wait_for


@pytest.fixture(scope="module")
def served(shared_servers, release):
    server = shared_servers(program=release("birthmark"))
    server.init()
    server.start("--workers", 1)
    return server


def test_it_is_there_and_has_nothing_it_does_not_need(served):
    """Breaks when the courier holds a file or listens, or the keeper's lock-up does not hold for it."""
    pid = served.courier()
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert not any(str(served.data) in f for f in files), files
    own = {f[8:-1] for f in files if f.startswith("socket:[")}
    rows = [line.split() for line in open("/proc/net/tcp").read().splitlines()[1:]]
    assert not any(row[9] in own and row[3] == "0A" for row in rows)


def test_it_comes_back(served):
    """Breaks when a courier started below the supervisor's own confinement cannot do its work, or its death touches the devices."""
    keeper, workers, was = served.keeper(), served.workers(), served.courier()
    os.kill(was, signal.SIGKILL)
    wait_for("another courier", lambda: served.courier() not in (None, was))
    assert call(served, "GET", "/.well-known/est/cacerts").status == 200
    assert (keeper, workers) == (served.keeper(), served.workers())
    now = served.courier()
    wait_for("the end of its start", lambda: "Seccomp:\t2" in open(f"/proc/{now}/status").read())
    assert now == served.courier() and "killed by signal 31" not in served.tail(400)


def test_it_is_light(served):
    """Breaks when an idle courier costs as much as it would if it had been loaded with what it only may need. Memory that it shares with its
    siblings counts once (PSS)."""
    def kb(pid):
        return next(int(line.split()[1]) for line in open(f"/proc/{pid}/smaps_rollup") if line.startswith("Pss:"))

    family = [served.process.pid, *children(served.process.pid)]
    memory = {pid: kb(pid) for pid in family}
    print("PSS in kB:", memory, "courier:", served.courier())
    assert sum(memory.values()) < 30 * 1024
