"""What the server tells of itself on listen_metrics: numbers that are right, in a form that Prometheus takes, as docs/metrics.md says, and
nowhere else."""
import http.client
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess

import pytest

import kit
from kit import EST, Device, call, est_enrol, wait_for

TOP = pathlib.Path(__file__).resolve().parents[2]


def ask(server, path, method="GET", headers=None):
    to = http.client.HTTPConnection("127.0.0.1", server.metrics_port, timeout=30)
    try:
        to.request(method, path, headers=headers or {})
        got = to.getresponse()
        return got.status, got.headers, got.read().decode()
    finally:
        to.close()


def value(server, series):
    found = re.search("^" + re.escape(series) + r" (\S+)$", ask(server, "/metrics")[2], re.M)
    return float(found.group(1)) if found else 0.0


@pytest.fixture
def server(new_server):
    s = new_server()
    s.init()
    s.furnish()
    s.metrics_port = kit.free_port()
    s.start("--workers", 2, "--listen-metrics", f"127.0.0.1:{s.metrics_port}")
    return s


def documented():
    rows = re.findall(r"^\| `(birthmark_\w+)`(?: \[([\w, ]+)\])? \| (\w+) \|", (TOP / "docs/metrics.md").read_text(), re.M)
    return {name: (kind, set(labels.split(", ")) - {""}) for name, labels, kind in rows}


def test_the_manual_names_what_is_there(server, tmp_path):
    """Breaks when a metric is added, renamed or relabelled and docs/metrics.md does not know."""
    d = Device()
    server.register(d)
    assert est_enrol(server, d, tmp_path)[0].status == 200
    assert call(server, "GET", "/nothing").status == 404
    text = ask(server, "/metrics")[2]
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    assert types == {name: kind for name, (kind, _) in documented().items()}
    for name, inside in re.findall(r"^(birthmark_\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$", text, re.M):
        labels = set(re.findall(r'(\w+)="', inside)) - {"le"}
        assert labels == documented()[name][1], name


def test_alerts_use_metrics_that_exist():
    """Breaks when an alert could never fire because its metric has gone."""
    used = set(re.findall(r"\b(birthmark_\w+)", (TOP / "docs/alerts.yml").read_text()))
    known = {n + s for n, (kind, _) in documented().items() for s in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))}
    assert used and used <= known
    alerts = re.findall(r"alert: (\w+)", (TOP / "docs/alerts.yml").read_text())
    told = (TOP / "docs/operations.md").read_text()
    assert alerts and [a for a in alerts if f"`{a}`" not in told] == []


def test_prometheus_takes_it(server, tmp_path):
    """Breaks when the text or the rules are not what Prometheus reads; promtool is its own judge."""
    text = ask(server, "/metrics")[2]
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    rules = subprocess.run(["promtool", "check", "rules", TOP / "docs/alerts.yml"], capture_output=True, text=True, timeout=60)
    assert rules.returncode == 0, rules.stdout + rules.stderr
    status, headers, text = ask(server, "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
    assert status == 200 and headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith("\n# EOF\n") and "# TYPE birthmark_requests counter\n" in text


def test_an_enrolment_is_counted_once_everywhere(server, tmp_path):
    """Breaks when a counting point is lost, or one counts what was not committed."""
    good, stranger = Device(), Device()
    server.register(good)
    assert est_enrol(server, good, tmp_path)[0].status == 200
    assert est_enrol(server, stranger, tmp_path)[0].status == 403
    for series, want in [
        ('birthmark_requests_total{operation="est-simpleenroll",status="200"}', 1),
        ('birthmark_requests_total{operation="est-simpleenroll",status="403"}', 1),
        ('birthmark_request_duration_seconds_count{operation="est-simpleenroll"}', 2),
        ('birthmark_refusals_total{code="unknown-device"}', 1),
        ('birthmark_keeper_commands_total{command="enrol",outcome="ok"}', 1),
        ('birthmark_keeper_commands_total{command="enrol",outcome="refused"}', 1),
        ('birthmark_tls_handshakes_total{version="1.3",kind="full"}', 2),
        ('birthmark_connections_accepted_total{listener="tls"}', 2),
        ('birthmark_keeper_commits_failed_total', 0),
    ]:
        assert value(server, series) == want, series
    issued = re.findall(r"^birthmark_certificates_issued_total\{(.*)\} (\d+)$", ask(server, "/metrics")[2], re.M)
    assert issued == [('protocol="est",kind="mqtt"', "1")]
    assert value(server, "birthmark_keeper_commit_duration_seconds_count") >= 1
    wait_for("the devices to be counted", lambda: value(server, 'birthmark_devices{state="active"}') == 1)


def test_only_there_and_only_that(server):
    """Breaks when devices could read the metrics, or the monitoring port served anything else."""
    assert call(server, "GET", "/metrics").status == 404
    assert call(server, "GET", "/readyz").status == 404
    assert [ask(server, p)[0] for p in ("/healthz", "/readyz", "/", EST + "cacerts", "/metrics/")] == [200, 200, 404, 404, 404]
    assert ask(server, "/metrics", "POST")[0] == 405
    status, headers, body = ask(server, "/metrics", "HEAD")
    assert status == 200 and int(headers["Content-Length"]) > 1000 and body == ""


MALFORMED = [b"\x16\x03\x01\x00\x05hello", b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", b"GET /" + b"a" * 9000,
             b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 3000 + b"\r\n"]


@pytest.mark.parametrize("sent", MALFORMED, ids=["no HTTP", "a body", "a long target", "a long header"])
def test_malformed_is_refused(server, sent):
    with socket.create_connection(("127.0.0.1", server.metrics_port), timeout=30) as s:
        s.sendall(sent)
        try:
            got = s.recv(65536)
        except ConnectionError:
            got = b""
        assert got == b"" or got.startswith(b"HTTP/1.1 400 ")
    assert ask(server, "/readyz")[0] == 200


def test_many_that_say_nothing_keep_no_scrape_out(server):
    """Breaks when those who connect and are silent fill the exporter up for good."""
    idle = [socket.create_connection(("127.0.0.1", server.metrics_port), timeout=30) for _ in range(60)]
    for s in idle:
        s.sendall(b"G")

    def scraped():
        try:
            return ask(server, "/metrics")[0] == 200
        except (ConnectionError, http.client.HTTPException):
            return False

    wait_for("a scrape to be let in", scraped, timeout=60)
    for s in idle:
        s.close()


def test_a_dead_worker_goes_on_counting(server):
    """Breaks when a restart is not counted, or takes the counters back."""
    for _ in range(4):
        assert call(server, "GET", EST + "cacerts").status == 200
    before = value(server, 'birthmark_requests_total{operation="est-cacerts",status="200"}')
    others = {server.keeper(), exporter(server)}
    os.kill(next(pid for pid in server.workers() if pid not in others), signal.SIGKILL)
    wait_for("the restart", lambda: value(server, 'birthmark_process_restarts_total{kind="worker"}') == 1)
    assert before == 4 == value(server, 'birthmark_requests_total{operation="est-cacerts",status="200"}')
    wait_for("a second answer", lambda: call(server, "GET", EST + "cacerts").status == 200)
    assert value(server, 'birthmark_requests_total{operation="est-cacerts",status="200"}') >= 5


def exporter(server):
    """The process that holds the metrics port and not the other one."""
    def ports(pid):
        own = {os.readlink(f) for f in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
        rows = [r.split() for r in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return {int(r[1].split(":")[1], 16) for r in rows if f"socket:[{r[9]}]" in own and r[3] == "0A"}

    return next(pid for pid in server.workers() if ports(pid) == {server.metrics_port})


def test_a_dead_exporter_comes_back(server):
    """Breaks when the end of the exporter touches the devices, or nobody starts it again."""
    os.kill(exporter(server), signal.SIGKILL)
    assert call(server, "GET", EST + "cacerts").status == 200

    def back():
        try:
            return value(server, 'birthmark_process_restarts_total{kind="exporter"}') == 1
        except (ConnectionError, http.client.HTTPException):
            return False

    wait_for("the exporter", back)


def test_not_ready_says_why(server, tmp_path):
    """Breaks when a server that cannot write is called ready, or needs a device to find out that it can again."""
    d = Device()
    server.register(d)
    assert ask(server, "/readyz")[0] == 200
    _, hard = resource.prlimit(server.keeper(), resource.RLIMIT_FSIZE)
    resource.prlimit(server.keeper(), resource.RLIMIT_FSIZE, (0, hard))  # no file of the keeper takes a byte
    assert est_enrol(server, d, tmp_path)[0].status == 503
    status, headers, text = ask(server, "/readyz")
    told = json.loads(text)
    assert (status, headers["Content-Type"], told["ready"]) == (503, "application/json", False)
    assert [r["code"] for r in told["reasons"]] == ["registry-not-writable"]
    assert value(server, "birthmark_ready") == 0 == value(server, "birthmark_registry_writable")
    assert value(server, "birthmark_keeper_commits_failed_total") >= 1
    assert "birthmark_certificates_issued_total{" not in ask(server, "/metrics")[2]
    resource.prlimit(server.keeper(), resource.RLIMIT_FSIZE, (hard, hard))
    wait_for("the server to be ready", lambda: ask(server, "/readyz")[0] == 200, timeout=60)
    assert est_enrol(server, d, tmp_path)[0].status == 200


def test_every_reason_is_explained():
    """Breaks when /readyz gives a reason that the operator finds nothing about."""
    codes = re.findall(r'^    \{ \w+, "([a-z-]+)", "', (TOP / "src/server/readiness.c").read_text(), re.M)
    told = (TOP / "docs/metrics.md").read_text()
    assert len(codes) == 7 and [c for c in codes if f"`{c}`" not in told] == []


def test_a_silent_keeper_is_not_ready(server):
    """Breaks when a keeper that hangs is called ready."""
    os.kill(server.keeper(), signal.SIGSTOP)
    try:
        wait_for("the keeper to be missed", lambda: ask(server, "/readyz")[0] == 503, timeout=60)
        assert "keeper-silent" in ask(server, "/readyz")[2]
    finally:
        os.kill(server.keeper(), signal.SIGCONT)
    wait_for("the keeper to be back", lambda: ask(server, "/readyz")[0] == 200, timeout=60)


def test_nothing_listens_unless_told(new_server):
    """Breaks when a server opens a port that its operator did not ask for."""
    s = new_server()
    s.init()
    s.start("--workers", 1)
    assert "metrics" not in s.ready_line
    assert len(s.workers()) == 1
