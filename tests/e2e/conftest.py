"""What every end-to-end test starts from: the built programs, the foreign tools, and a running server of its own.

BM_BUILD_DIR says which build is tested; scripts/pytest sets it."""

import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 30


def pytest_addoption(parser):
    parser.addoption("--soak-seconds", type=int, default=600, help="how long each soak test runs")


def pytest_configure(config):
    config.addinivalue_line("markers", "soak: runs for minutes or hours; make soak")


def find_build():
    if "BM_BUILD_DIR" in os.environ:
        return pathlib.Path(os.environ["BM_BUILD_DIR"])
    for preset in ("asan", "release", "dev"):
        if (TOP / "build" / preset / "bin").is_dir():
            return TOP / "build" / preset
    raise pytest.UsageError("nothing is built: run `make` or `scripts/build asan` first")


def free_port():
    """A port that nobody listens on now. Somebody may a moment later; the program then says so and the test fails."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def sanitizer_env(folder):
    """Sanitizer reports go to files, where a test cannot overlook them; faketime may be loaded ahead of the sanitizer."""
    return {
        "ASAN_OPTIONS": f"log_path={folder}/sanitizer:verify_asan_link_order=0:detect_stack_use_after_return=1",
        "LSAN_OPTIONS": "report_objects=1",
        "UBSAN_OPTIONS": f"log_path={folder}/sanitizer:print_stacktrace=1",
    }


def assert_no_reports(folder):
    for report in sorted(pathlib.Path(folder).glob("sanitizer.*")):
        pytest.fail(f"sanitizer report:\n{report.read_text(errors='replace')[:8000]}")


@pytest.fixture(scope="session")
def build_dir():
    return find_build()


@pytest.fixture(scope="session")
def birthmark(build_dir):
    """The path of the program under test."""
    path = build_dir / "bin" / "birthmark"
    assert path.exists(), f"{path} is not built"
    return path


@pytest.fixture(scope="session")
def go_tool():
    """go_tool("zlint"): the path of one of the programs scripts/install-go-tools builds."""

    def path_of(name):
        path = TOP / "build" / "go" / name
        assert path.exists(), f"{path} is not there: run scripts/install-go-tools"
        return path

    return path_of


@pytest.fixture
def cli(birthmark, tmp_path):
    """cli("device", "show", ..., data=DIR): runs one subcommand to its end; fails the test unless it exits with `want`."""

    def run(*words, want=0, stdin=None, env=None, timeout=120):
        done = subprocess.run([birthmark, *map(str, words)], input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
                              capture_output=True, text=True, timeout=timeout,
                              env={**os.environ, **sanitizer_env(tmp_path), **(env or {})})
        assert_no_reports(tmp_path)
        if want is not None:
            assert done.returncode == want, f"birthmark {' '.join(map(str, words))}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    return run


class Server:
    """One data folder and the program that serves it; may be stopped and started again, also with SIGKILL."""

    def __init__(self, program, folder, env=None):
        self.program = program
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.port = free_port()
        self.env = {**os.environ, **sanitizer_env(self.folder), **(env or {})}
        self.log = self.folder / "server.log"
        self.process = None

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def run(self, *words, want=0, **more):
        done = subprocess.run([self.program, *map(str, words)], capture_output=True, text=True, env=self.env, timeout=120,
                              stdin=subprocess.DEVNULL, **more)
        assert want is None or done.returncode == want, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def init(self, *words):
        return self.run("init", "--data", self.data, "--organisation", "Test", "--tls-host", "127.0.0.1", *words)

    def start(self, *words):
        assert self.process is None, "already running"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}", *map(str, words)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.env, start_new_session=True)
        self._wait_until_it_listens()

    def _wait_until_it_listens(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                pytest.fail(f"the server ended with {self.process.returncode} before it listened:\n{self.tail()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.kill()
        pytest.fail(f"the server did not listen within {START_TIMEOUT_S} s:\n{self.tail()}")

    def tail(self, n=60):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-n:]) if self.log.exists() else ""

    def kill(self):
        """The whole group at once, as a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self):
        """In good order; a stop that hangs, an exit status or a sanitizer report fails the test."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                pytest.fail(f"the server did not stop within {STOP_TIMEOUT_S} s of SIGTERM:\n{self.tail()}")
            assert_no_reports(self.folder)
            assert status == 0, f"the server ended with {status}:\n{self.tail()}"
        assert_no_reports(self.folder)


@pytest.fixture
def new_server(birthmark, tmp_path):
    """new_server(): a Server of its own folder, not initialised yet; as many as the test wants, all stopped at its end."""
    made = []

    def make(env=None):
        folder = tmp_path / f"server-{len(made)}"
        folder.mkdir()
        made.append(Server(birthmark, folder, env))
        return made[-1]

    yield make
    try:
        for server in made:
            server.stop()
    finally:
        for server in made:
            server.kill()


@pytest.fixture
def server(new_server):
    """A server that is initialised and listens."""
    s = new_server()
    s.init()
    s.start()
    return s
