"""Fixtures of the end-to-end tests: the built programs, the foreign tools, and a running server of one's own (kit.py).

BM_BUILD_DIR says which build is tested; scripts/pytest sets it."""

import os
import pathlib
import subprocess

import pytest

from kit import TOP, Server, assert_no_reports, sanitizer_env


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
def release(build_dir):
    """release("birthmark-fleet"): the optimised build beside the one under test, if there is one. For what needs speed, and for what
    the sanitizers would be in the way of."""

    def path_of(name):
        path = build_dir.parent / "release" / "bin" / name
        return path if path.exists() else build_dir / "bin" / name

    return path_of


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


def server_factory(program, folder):
    made = []

    def make(env=None, program=program):
        own = folder / f"server-{len(made)}"
        own.mkdir()
        made.append(Server(program, own, env))
        return made[-1]

    yield make
    try:
        for server in made:
            server.stop()
    finally:
        for server in made:
            server.kill()


@pytest.fixture
def new_server(birthmark, tmp_path):
    """new_server(): a Server of its own folder, not initialised yet; as many as the test wants, all stopped at its end."""
    yield from server_factory(birthmark, tmp_path)


@pytest.fixture(scope="module")
def shared_servers(birthmark, tmp_path_factory):
    """The same for all tests of a file: stopped after the last."""
    yield from server_factory(birthmark, tmp_path_factory.mktemp("shared"))


@pytest.fixture
def server(new_server):
    """A server that is initialised and listens."""
    s = new_server()
    s.init()
    s.start()
    return s

