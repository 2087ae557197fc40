"""Manual pages before mandoc, and completion in the shells themselves, with a server to ask for names."""

import contextlib
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from kit import TOP


@pytest.fixture
def in_path(birthmark):
    """The environment of a person who installed it."""
    return {**os.environ, "PATH": f"{birthmark.parent}:{os.environ['PATH']}"}


def shell(env, *words, stdin=None):
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_manual_pages_are_valid_mdoc(cli, tmp_path):
    """Breaks when a text of the table, or a page in docs/man, is something else to roff than what was meant."""
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not here")
    pages = tmp_path / "man"
    pages.mkdir()
    cli("manual", pages)
    found = sorted(pages.iterdir()) + sorted((TOP / "docs/man").iterdir())
    assert len(found) > 20
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *found], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    shown = subprocess.run(["mandoc", "-Tascii", pages / "birthmark-org.1"], capture_output=True, text=True).stdout
    assert "--role TEXT" in "".join(c for i, c in enumerate(shown) if c != "\b" and shown[i + 1:i + 2] != "\b")


def test_manual_needs_a_folder(cli, tmp_path):
    assert "cannot write" in cli("manual", tmp_path / "nowhere", want=5).stderr
    assert "DIR is missing" in cli("manual", want=2).stderr


def test_documents_of_other_programs_name_every_option():
    """Breaks when agent or fleet learns an option that its page does not tell."""
    for page, source, pattern in (("birthmark-agent.1", "device/agent/main.c", r'\{ "([a-z-]+)", (?:required|no)_argument'),
                                  ("birthmark-fleet.1", "device/fleet/main.c", r'\{ "([a-z]+)", (?:true|false), set_')):
        options = re.findall(pattern, (TOP / source).read_text())
        text = (TOP / "docs/man" / page).read_text()
        assert len(options) > 10
        assert [o for o in options if f"Fl \\-{o}" not in text] == []


BASH = r"""
source <(birthmark completion bash)
compopt() { asked_for_files=yes; }   # as bash allows it during completion only
try() { # what readline would pass for these words; the last is the one to complete
    COMP_WORDS=(birthmark "$@"); COMP_CWORD=$#; COMPREPLY=(); asked_for_files=
    _birthmark
    echo "${COMPREPLY[*]}${asked_for_files:+@file}"
}
"""


def test_bash(in_path, server):
    server.run("org", "create", "acme", "--role", "oem")
    env = {**in_path, "BIRTHMARK_DATA": str(server.data)}
    rows = {
        "''": None,
        "org ''": "create list show trust",
        "org cr": "create",
        "org create --ro": "--role",
        "org create --role = o": "oem",
        "org create --role =": "chip-maker contract-manufacturer oem service-operator auditor",
        "org create 'a b' --role o": "oem",
        "ca create x --alg EC : P": "P-256 P-384",
        "org show ''": "acme",
        "product create p --org ''": "acme",
        "org trust acme ''": "@file",
        "nonsense ''": "",
    }
    script = BASH + "".join(f"try {words}\n" for words in rows)
    got = shell(env, "bash", "--norc", "-c", script).splitlines()
    assert set("help init serve org device".split()) <= set(got[0].split())
    assert dict(list(zip(rows, got))[1:]) == dict(list(rows.items())[1:])


def test_bash_without_a_server(in_path, server):
    """Completion never opens the registry: it must not lock it, and be silent."""
    server.stop()
    env = {**in_path, "BIRTHMARK_DATA": str(server.data)}
    assert shell(env, "bash", "--norc", "-c", BASH + "try org show ''").strip() == ""


def test_fish(in_path, server, tmp_path):
    if not shutil.which("fish"):
        pytest.skip("fish is not here")
    server.run("org", "create", "acme", "--role", "oem")
    env = {**in_path, "BIRTHMARK_DATA": str(server.data), "HOME": str(tmp_path)}

    def offered(line):
        script = f"birthmark completion fish | source; complete -C '{line}'"
        return [row.split("\t")[0] for row in shell(env, "fish", "--no-config", "-c", script).splitlines()]

    assert {"org", "device", "status"} <= set(offered("birthmark "))
    assert offered("birthmark org cr") == ["create"]
    assert offered("birthmark org create --role=o") == ["--role=oem"]
    assert offered("birthmark org create --role o") == ["oem"]
    assert offered("birthmark org show ") == ["acme"]
    (tmp_path / "list.pem").touch()
    assert offered(f"birthmark org trust acme {tmp_path}/li") == [f"{tmp_path}/list.pem"]


def test_zsh(in_path, tmp_path):
    if not shutil.which("zsh"):
        pytest.skip("zsh is not here")
    script = tmp_path / "_birthmark"
    script.write_text(shell(in_path, "birthmark", "completion", "zsh"))
    shell(in_path, "zsh", "-n", str(script))


@contextlib.contextmanager
def person_at(env, *words):
    """type_in(keys, wanted): at a terminal with that shell; waits until `wanted` appears."""
    master, slave = pty.openpty()
    process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                               env={**env, "TERM": "dumb", "PS1": "$ "})
    os.close(slave)

    def type_in(keys, wanted):
        seen, deadline = "", time.monotonic() + 30
        os.write(master, keys.encode())
        while wanted not in re.sub(r"[\r\b]", "", seen):
            assert time.monotonic() < deadline, f"{keys!r}: {seen!r}"
            if select.select([master], [], [], 0.1)[0]:
                seen += os.read(master, 4096).decode(errors="replace")

    try:
        yield type_in
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.mark.parametrize("name, words, setup", [
    ("bash", ["--norc", "-i"], ""),
    ("zsh", ["-f", "-i"], "autoload -Uz compinit; compinit -u -D; "),
])
def test_at_a_terminal(in_path, tmp_path, name, words, setup):
    """Breaks when the shell's own completion does not take what the script gives it."""
    if not shutil.which(name):
        pytest.skip(f"{name} is not here")
    (tmp_path / "only.pem").touch()
    with person_at(in_path, name, *words) as type_in:
        type_in(f"{setup}source <(birthmark completion {name}); echo rea''dy\n", "ready")
        for keys, wanted in (("birthmark org create --role=oe\t", "--role=oem "),
                             ("birthmark ca create x --alg EC:P-2\t", "EC:P-256 "),
                             (f"birthmark org trust acme {tmp_path}/on\t", "/only.pem ")):
            type_in("\x15" + keys, wanted)
