"""What all suites share: where public vectors come from, and how a result is written down."""
import hashlib
import os
import pathlib
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BM_BUILD_DIR", TOP / "build/release"))
KEPT = TOP / "build/conformance"


class NotHere(Exception):
    """The suite could not be had; its text says why."""


class Result:
    """known: test -> why it differs, for good; unexpected: test -> what was seen. Those named as known that agree are unexpected too."""

    def __init__(self, suite, part):
        self.suite, self.part, self.agree, self.known, self.unexpected, self.passed_over = suite, part, 0, {}, {}, 0

    def put(self, test, good, saw, why_known=None):
        if good and why_known is None:
            self.agree += 1
        elif good:
            self.unexpected[test] = f"agrees, though listed as a deviation ({why_known})"
        elif why_known is not None:
            self.known[test] = why_known
        else:
            self.unexpected[test] = saw


def ask(*words, seconds=600, **how):
    try:
        return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=seconds, check=False, **how)
    except FileNotFoundError as e:
        raise NotHere(f"there is no {words[0]} here") from e


def checked(path, digest):
    """The file, if it is the one that is meant."""
    seen = hashlib.sha256(path.read_bytes()).hexdigest()
    if seen != digest:
        raise NotHere(f"{path.name} is not the file that was meant: SHA-256 {seen}")
    return path
