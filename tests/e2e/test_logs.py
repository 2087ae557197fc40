"""What is written down: one request can be followed through the log by its correlation id, and no secret is in log or registry."""

import base64
import re

import pytest

import kit
from kit import Device, est_enrol
from test_onboard import ENROL, Json, ask, post, signed
from test_symmetric import Chip, proven

PASSPHRASE = "planted-passphrase-4c1d9e"


@pytest.fixture(scope="module")
def talkative(shared_servers):
    """Opening a registry whose secret is a passphrase costs a second or two of key derivation: one server for all, and once it runs, nobody else does it.
    The last test stops it."""
    s = shared_servers()
    s.secret = s.folder / "passphrase"
    s.secret.write_text(PASSPHRASE + "\n")
    s.secret.chmod(0o400)
    s.init("--secret-file", s.secret)
    (s.data / "birthmark.conf").write_text(f"secret_file = {s.secret}\nlog_level = debug\n")
    s.start()
    s.furnish()
    return s


def lines_of(server, correlation):
    return [line for line in server.log.read_text().splitlines() if f"correlation={correlation} " in line]


def programs(lines):
    return {re.sub(r"\[.*", "", line.split()[2]).split("-")[0] for line in lines}


def test_one_enrolment_is_traced_through_worker_and_keeper(talkative, tmp_path):
    """Breaks when one of the two stops naming the request."""
    device = Device()
    talkative.register(device)
    answer, _ = est_enrol(talkative, device, tmp_path)
    assert answer.status == 200, answer
    lines = lines_of(talkative, answer.correlation)
    assert programs(lines) == {"worker", "keeper"}, lines
    assert any(" judged " in line and "outcome=ok" in line for line in lines), lines
    # in the order in which it happened, whatever the order in which processes wrote; nothing was answered before it was on disk
    times = {line.split()[3]: line.split()[0] for line in lines}
    assert sorted(times, key=["asked", "judged", "committed", "answered"].index) == sorted(times, key=times.get), lines
    assert len(times) == 4, lines


def test_one_refusal_is_traced_with_its_code(talkative, tmp_path):
    answer, _ = est_enrol(talkative, Device(), tmp_path)
    assert answer.code == "unknown-device", answer
    lines = lines_of(talkative, answer.correlation)
    assert programs(lines) == {"worker", "keeper"}, lines
    assert [line.split()[3] for line in sorted(lines) if "unknown-device" in line] == ["judged", "refused"], lines


def spellings(raw):
    """As a log line or a database might show it."""
    return {raw, raw.hex().encode(), raw.hex().upper().encode(), base64.b64encode(raw), kit.b64u(raw).encode()}


def written(server):
    """Everything the server has written: log, registry with its write-ahead log, keys."""
    files = [server.log, *(p for p in server.data.rglob("*") if p.is_file())]
    return {p: p.read_bytes() for p in files}


def test_no_secret_is_written_down(talkative, tmp_path):
    """Plants secrets, makes the server use and refuse them at log level debug, and looks for them in all it wrote."""
    device, fresh = Device(), kit.KEYS["P-256"]()
    talkative.register(device, name="m-2")
    good = signed(talkative, ENROL, device, ask(key=fresh), form=Json)
    assert post(talkative, Json, "enrol", good).status == 200
    assert post(talkative, Json, "enrol", good).code == "challenge-used"
    bad = signed(talkative, ENROL, device, ask(key=fresh), key=fresh, form=Json)
    assert post(talkative, Json, "enrol", bad).code == "bad-signature"
    est_enrol(talkative, device, tmp_path)
    chip, root = Chip(), b"planted-root-key-77d0c2e1"
    talkative.run("product", "set", "sensor", "--rot", "software,symmetric-chip")
    talkative.run("key", "add", chip.ident.hex(), "--org", "chips", "--rot", chip.rot, "--mac", chip.mac, "--batch", "reel-1",
                  input=chip.secret.hex())
    talkative.run("key", "add-root", "lot", "--org", "chips", "--kdf", "hkdf-sha256", input=root.hex())
    proof = proven(talkative, ENROL, chip, ask(key=fresh), form=Json)
    assert post(talkative, Json, "enrol", proof).status == 200
    assert post(talkative, Json, "enrol", {**proof, "mac": bytes(32)}).code == "challenge-used"
    wrong = proven(talkative, ENROL, Chip(ident=chip.ident), ask(key=fresh), form=Json)
    assert post(talkative, Json, "enrol", wrong).code == "mac-refused"
    talkative.run("key", "rotate")
    talkative.stop()

    scalars = [key.private_numbers().private_value.to_bytes(32, "big") for key in (device.key, fresh)]
    secrets = {"passphrase": [PASSPHRASE.encode()], "private key": scalars,
               "challenge": [good["challenge"], bad["challenge"]], "signature": [good["signature"], bad["signature"]],
               "secret key": [chip.secret, root], "MAC": [proof["mac"], wrong["mac"]]}
    wrote = written(talkative)
    assert b" judged " in wrote[talkative.log]  # the log was on
    assert any(device.spki in text for text in wrote.values())  # the search does find what is there
    found = [(kind, path.name) for kind, raws in secrets.items() for raw in raws for path, text in wrote.items()
             for spelling in spellings(raw) if spelling in text]
    assert found == []
    for path, text in wrote.items():  # a private key only where keys are kept, and there only sealed
        held = set(re.findall(rb"BEGIN ([A-Z ]*)PRIVATE KEY", text))
        assert held <= ({b"ENCRYPTED "} if path.parent.name == "keys" else set()), path.name
