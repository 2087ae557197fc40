"""Siemens' CMP test suite (Robot Framework) against a server that is made for it. The suite is not fetched: CMP_TEST_SUITE names a copy, set up as its
own readme says, with its virtual environment in the same folder. Known deviations: cmpsuite.known."""
import os
import pathlib
import shutil
import xml.etree.ElementTree as ElementTree

from suite import BUILD, KEPT, TOP, NotHere, Result, ask

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = TOP / "build/venv/bin/python"
RUNS = ("main", "keys")


def given():
    """The copy that is named, and its Robot Framework."""
    copy = pathlib.Path(os.environ.get("CMP_TEST_SUITE", ""))
    if not os.environ.get("CMP_TEST_SUITE"):
        raise NotHere("CMP_TEST_SUITE=FOLDER names a copy of github.com/siemens/cmp-test-suite, set up as its readme says (docs/conformance.md)")
    robot = next(iter(sorted(copy.glob("*venv*/bin/robot"))), None)
    if not (copy / "tests/lwcmp.robot").exists() or robot is None:
        raise NotHere(f"{copy} is no copy of the suite with its virtual environment: there is no tests/lwcmp.robot, or no *venv*/bin/robot")
    if not PYTHON.exists():
        raise NotHere("build/venv, the Python of the end-to-end tests, is not there: scripts/pytest --prepare")
    return copy, robot


def known():
    """(suite, test) -> why it differs. A line that begins in the first column is the reason for those below it."""
    found, why = {}, None
    for line in (HERE / "cmpsuite.known").read_text(encoding="utf-8").splitlines():
        if line[:1].isspace():
            found[tuple(line.strip().split(": ", 1))] = why
        elif line and not line.startswith("#"):
            why = line
    return found


def exercise(copy, robot):
    """The suite writes into its own folders, so it runs in a copy of the copy; it is in Python, so that moves."""
    folder = KEPT / "cmp-suite"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(copy, folder / "copy", ignore=shutil.ignore_patterns("*venv*", ".git", "__pycache__", "reports"))
    done = ask(PYTHON, HERE / "cmpsuite_serve.py", folder / "copy", robot.absolute(), folder / "out", seconds=1800, env={**os.environ, "BM_BUILD_DIR": str(BUILD)})
    outputs = [folder / f"out/{name}.xml" for name in RUNS]
    if not all(path.exists() for path in outputs):
        raise NotHere(f"it did not run: {' '.join((done.stdout + done.stderr).split())[-300:]}")
    return [suite for path in outputs for suite in ElementTree.parse(path).iter("suite") if suite.find("test") is not None]


def judge(suite, reasons):
    result = Result("CMP suite", suite.get("name"))
    for test in suite.findall("test"):
        name, status = test.get("name"), test.find("status")
        if status.get("status") == "SKIP":  # not for this server, or a failure that the suite itself passes over
            result.passed_over += 1
        else:
            result.put(name, status.get("status") == "PASS", " ".join((status.text or "").split())[:200], reasons.pop((result.part, name), None))
    return result


def run():
    reasons = known()
    for suite in exercise(*given()):
        yield judge(suite, reasons)
    if reasons:
        gone = Result("CMP suite", "listed")
        gone.unexpected = {f"{suite}: {test}": "listed as a deviation, and not run or passed over" for suite, test in reasons}
        yield gone
