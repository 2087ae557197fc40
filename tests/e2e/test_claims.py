"""Claims: the QR code on the box, scanned by a reader that shares no code with us, and the reel that changes hands with it."""

import os
import re
import stat
import subprocess

import pytest

from kit import Device, wait_for


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(quota=5000)
    s.run("org", "create", "buyer", "--role", "service-operator")
    s.run("org", "create", "rival", "--role", "service-operator")
    s.start()
    return s


def scan(path):
    done = subprocess.run(["zbarimg", "--quiet", "--raw", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def register(server, n, name, batch="reel-1"):
    devices = [Device() for _ in range(n)]
    server.register(*devices, name=name, batch=batch)
    return devices


def test_a_picture_is_scanned_and_taken(server, tmp_path):
    """PNG: zbar reads the payload, and the payload as it is takes the device."""
    (device,) = register(server, 1, "q-1")
    picture = tmp_path / "claim.png"
    made = server.ask("claim", "create", "--udid", device.udid, "--qr", "png", "--out", picture)
    assert stat.S_IMODE(os.stat(picture).st_mode) == 0o600
    payload = scan(picture)
    assert payload == made["payload"] == f"BIRTHMARK:CLAIM:{made['code']}"
    taken = server.ask("claim", "take", payload, "--as", "buyer")
    assert (taken["moved"], taken["passed"], taken["done"]) == (1, 0, True)
    assert server.ask("device", "show", device.udid)["owner"] == "buyer"
    assert "device.claimed" in server.run("why", device.udid).stdout
    server.run("claim", "take", made["code"], "--as", "rival", want=4)


def pgm(path, rows):
    """Dark modules as a picture, eight pixels each."""
    wide = [[pixel for pixel in row for _ in range(8)] for row in rows for _ in range(8)]
    path.write_bytes(b"P5 %d %d 255\n" % (len(wide[0]), len(wide)) + bytes(0 if dark else 255 for row in wide for dark in row))


def test_svg_and_text_say_the_same(server, tmp_path):
    """The other two forms, drawn by other means than ours and scanned."""
    (device,) = register(server, 1, "q-2")
    svg = tmp_path / "claim.svg"
    made = server.ask("claim", "create", "--udid", device.udid, "--qr", "svg", "--out", svg, "--prefix", "https://claim.example/c#")
    text = svg.read_text()
    side = int(re.search(r'viewBox="0 0 (\d+) ', text).group(1))
    rows = [[False] * side for _ in range(side)]
    for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", text):
        rows[int(y)][int(x)] = True
    pgm(tmp_path / "svg.pgm", rows)
    assert scan(tmp_path / "svg.pgm") == f"https://claim.example/c#{made['code']}"
    shown = tmp_path / "claim.txt"
    made = server.ask("claim", "create", "--udid", device.udid, "--qr", "text", "--out", shown)
    rows = []
    for line in shown.read_text().splitlines():
        rows.append([c in "\u2584 " for c in line])
        rows.append([c in "\u2580 " for c in line])
    pgm(tmp_path / "text.pgm", rows)
    assert scan(tmp_path / "text.pgm") == made["payload"]


def test_a_reel_killed_in_the_middle(new_server):
    """A claim over a batch, the command killed between its steps and the server with kill -9: run again, it goes on; nobody else can."""
    server = new_server()
    server.init()
    server.furnish(quota=5000)
    for name in ("buyer", "rival"):
        server.run("org", "create", name, "--role", "service-operator")
    server.start()
    devices = register(server, 900, "reel")
    code = server.ask("claim", "create", "--batch", "reel-1")["code"]
    taking = subprocess.Popen([server.program, "claim", "take", code, "--as", "buyer"], env=server.env, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    wait_for("the first step", lambda: server.ask("claim", "list")["rows"][0]["moved"] or taking.poll() is not None)
    taking.kill()
    taking.wait()
    server.kill()
    server.start()
    assert server.ask("claim", "list")["rows"][0]["moved"] > 0
    server.run("claim", "take", code, "--as", "rival", want=4)
    taken = server.ask("claim", "take", code, "--as", "buyer")
    assert (taken["moved"], taken["passed"]) == (900, 0)
    for device in (devices[0], devices[450], devices[-1]):
        assert server.ask("device", "show", device.udid)["owner"] == "buyer"
    told = server.run("log", "entries", "0").stdout
    assert told.count('"device.claimed"') == 900 and told.count('"claim.taken"') == 1 and told.count('"claim.done"') == 1
    server.run("log", "verify")
    assert code not in told and code.encode() not in b"".join(p.read_bytes() for p in server.data.glob("registry.db*"))


def test_words_of_the_command(server, tmp_path):
    """What cannot be meant is refused before a claim is made whose code would be lost."""
    before = len(server.ask("claim", "list", "--limit", 1000)["rows"])
    server.run("claim", "create", want=2)
    server.run("claim", "create", "--batch", "reel-1", "--qr", "gif", want=2)
    server.run("claim", "create", "--batch", "reel-1", "--out", tmp_path / "x", want=2)
    server.run("claim", "create", "--batch", "reel-1", "--prefix", "no-end", want=2)
    server.run("claim", "create", "--batch", "reel-1", "--prefix", "x" * 600 + ":", want=2)
    server.run("claim", "take", "nonsense", "--as", "buyer", want=1)
    assert len(server.ask("claim", "list", "--limit", 1000)["rows"]) == before
