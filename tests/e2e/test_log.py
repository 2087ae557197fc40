"""The audit log against a verifier that is not ours (transparency-dev/merkle, in tests/e2e/go/logverify) and openssl, and against an
attacker who holds the database."""

import contextlib
import hashlib
import json
import sqlite3
import subprocess

import pytest

import kit
from kit import Device, est_enrol


def grown(server, devices):
    """A log with leaves of several kinds, and heads at several sizes."""
    server.furnish()
    heads = [server.ask("log", "head")]
    server.register(*devices)
    heads.append(server.ask("log", "head"))
    return heads


def fleet_of(server, release, count):
    """More than the 256 leaves from which on subtrees are stored."""
    fleet, keys = release("birthmark-fleet"), server.folder / "keys"
    subprocess.run([fleet, "keys", str(count), "--out", keys, "--seed", "log"], check=True)
    lines = subprocess.run([fleet, "spki", "--keys", keys], check=True, capture_output=True, text=True).stdout
    server.run("manifest", "import", server.manifest(lines, "fleet"), "--batch", "reel-1")
    subprocess.run([fleet, "run", "--server", server.url, "--keys", keys, "--anchors", server.anchors(), "--quiet"], check=True,
                   stdout=subprocess.DEVNULL)
    return {json.loads(line)["udid"] for line in lines.splitlines()}


@pytest.fixture(scope="module")
def server(shared_servers, tmp_path_factory, release):
    s = shared_servers()
    s.init()
    s.start()
    s.devices = [Device() for _ in range(10)]
    s.heads = grown(s, s.devices)
    s.fleet = fleet_of(s, release, 560)
    s.heads.append(s.ask("log", "head"))
    for d in s.devices:
        answer, _ = est_enrol(s, d, tmp_path_factory.mktemp("id"))
        assert answer.status == 200
    s.run("device", "suspend", s.devices[0].udid, "--reason", "keyCompromise")
    s.heads.append(s.ask("log", "head"))
    return s


def logverify(go_tool, claims, want=0):
    done = subprocess.run([go_tool("logverify")], input="".join(json.dumps(c) + "\n" for c in claims), capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == want, done.stdout + done.stderr
    return done.stdout.splitlines()


def leaf(server, index):
    (entry,) = server.ask("log", "entries", index, index + 1)["entries"]
    raw = entry["data"].encode()
    assert hashlib.sha256(b"\0" + raw).hexdigest() == entry["leaf_hash"]
    return raw


def inclusion(server, index, size):
    p = server.ask("log", "inclusion", index, "--size", size)
    return {"kind": "inclusion", "index": p["index"], "size": p["size"], "leaf": leaf(server, index).hex(), "root": p["root"],
            "path": p["path"]}


def consistency(server, a, b):
    p = server.ask("log", "consistency", a, b)
    return {"kind": "consistency", "size1": p["from"], "root1": p["root_from"], "size2": p["to"], "root2": p["root_to"], "path": p["path"]}


def sizes(server):
    n = server.heads[-1]["size"]
    return sorted({1, 2, 3, 8, 9, 255, 256, 257, 512, 513, n - 1, n} & set(range(n + 1)))


def test_inclusion(server, go_tool):
    claims = [inclusion(server, i, n) for n in sizes(server) for i in {0, n // 2, n - 1}]
    assert logverify(go_tool, claims) == ["ok"] * len(claims)
    newest = inclusion(server, server.heads[-1]["size"] - 1, server.heads[-1]["size"])
    assert newest["root"] == server.heads[-1]["root"]
    wrong = [{**newest, "leaf": "00"}, {**newest, "index": 0}, {**newest, "root": "00" * 32}]
    told = logverify(go_tool, wrong, want=1)
    assert "ok" not in told and sum(line.startswith("refused") for line in told) == 3, told


def test_every_leaf_of_the_newest_head(server, go_tool):
    """The whole log, leaf by leaf, hashed here from RFC 9162 section 2.1.1 alone."""
    head = server.heads[-1]
    entries = [e for at in range(0, head["size"], 1000)
               for e in server.ask("log", "entries", at, min(at + 1000, head["size"]))["entries"]]
    hashes = [hashlib.sha256(b"\0" + e["data"].encode()).digest() for e in entries]
    assert [e["index"] for e in entries] == list(range(head["size"]))

    def root(part):
        if len(part) == 1:
            return part[0]
        k = 1 << (len(part) - 1).bit_length() - 1
        return hashlib.sha256(b"\1" + root(part[:k]) + root(part[k:])).digest()

    assert root(hashes).hex() == head["root"]


def test_consistency(server, go_tool):
    all_sizes = sizes(server)
    claims = [consistency(server, a, b) for a in all_sizes for b in all_sizes if a <= b]
    assert logverify(go_tool, claims) == ["ok"] * len(claims)
    kept = [consistency(server, a["size"], b["size"]) for a, b in zip(server.heads, server.heads[1:])]
    for claim, (a, b) in zip(kept, zip(server.heads, server.heads[1:])):
        assert (claim["root1"], claim["root2"]) == (a["root"], b["root"])
    assert logverify(go_tool, [{**kept[0], "root1": kept[0]["root2"]}], want=1)[0].startswith("refused")


@pytest.mark.parametrize("words", [("inclusion", 10**6), ("inclusion", 5, "--size", 5), ("inclusion", 0, "--size", 10**6),
                                   ("consistency", 5, 3), ("consistency", 0, 3), ("consistency", 1, 10**6), ("inclusion", "-1")])
def test_proofs_of_what_is_not_there(server, words):
    done = server.run("log", *words, want=None)
    assert done.returncode != 0 and done.stderr.startswith("birthmark: "), done


def test_tree_heads_with_openssl(server, tmp_path):
    for head in server.heads:
        raw = {k: bytes.fromhex(head[k]) for k in ("tree_head", "signature", "spki")}
        for name, content in raw.items():
            (tmp_path / name).write_bytes(content)
        # RFC 9162 section 4.10: timestamp, size, root, extensions
        tbs = raw["tree_head"]
        assert int.from_bytes(tbs[8:16], "big") == head["size"] and tbs[16] == 32 and tbs[17:49].hex() == head["root"]
        assert tbs[49:] == b"\0\0"
        subprocess.run(["openssl", "pkey", "-pubin", "-inform", "DER", "-in", tmp_path / "spki", "-out", tmp_path / "key.pem"], check=True)
        done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", tmp_path / "key.pem", "-signature", tmp_path / "signature",
                               tmp_path / "tree_head"], capture_output=True, text=True)
        assert done.stdout == "Verified OK\n", done
        (tmp_path / "tree_head").write_bytes(tbs[:-1] + b"\1")
        done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", tmp_path / "key.pem", "-signature", tmp_path / "signature",
                               tmp_path / "tree_head"], capture_output=True, text=True)
        assert done.returncode != 0


def test_what_is_in_the_log(server):
    """Every certificate's digest, and who did what."""
    events = [json.loads(e["data"]) for at in range(0, server.heads[-1]["size"], 1000)
              for e in server.ask("log", "entries", at, at + 1000)["entries"]]
    issued = {e["udid"]: e for e in events if e["event"] == "credential.issued"}
    assert set(issued) == {d.udid for d in server.devices} | server.fleet
    for e in list(issued.values())[:5]:
        der = server.folder / "one.der"
        server.run("cert", "export", e["serial"], "--der", "--out", der)
        assert hashlib.sha256(der.read_bytes()).hexdigest() == e["sha256"]
    assert any(e["event"].startswith("device.suspend") and e["actor"].startswith("local:") for e in events)


# --- tampering -------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def victim(server, tmp_path):
    """A copy of the registry at rest, to spoil."""
    copy = kit.Server(server.program, tmp_path)
    copy.data.mkdir()
    with contextlib.closing(sqlite3.connect(f"file:{server.data}/registry.db?mode=ro", uri=True)) as source, \
            contextlib.closing(sqlite3.connect(copy.data / "registry.db")) as to:
        source.backup(to)
    head = tmp_path / "head.json"
    head.write_text(json.dumps(server.heads[1]))
    copy.kept = head
    assert copy.ask("log", "verify", "--against", head)["good"] is True
    return copy


def spoil(server, *statements):
    with contextlib.closing(sqlite3.connect(server.data / "registry.db")) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        for s in statements:
            assert db.execute(s).rowcount != 0, s
        db.commit()


N = "(SELECT max(idx) FROM audit_leaf)"


@pytest.mark.parametrize("statements, says", [
    (["UPDATE audit_leaf SET data = CAST(replace(CAST(data AS TEXT), 'issued', 'issueb') AS BLOB) WHERE idx = 340"], "leaf"),
    (["UPDATE audit_leaf SET data = CAST(data || ' ' AS BLOB) WHERE idx = 3"], "leaf"),
    ([f"UPDATE audit_leaf SET data = CAST(data || ' ' AS BLOB) WHERE idx = {N}"], None),
    (["DELETE FROM audit_leaf WHERE idx = 20"], None),
    ([f"DELETE FROM audit_leaf WHERE idx = {N}"], None),
    ([f"DELETE FROM audit_leaf WHERE idx >= {N} - 5"], None),
    (["DELETE FROM audit_leaf WHERE idx = 0"], None),
    (["DELETE FROM audit_leaf"], None),
    (["INSERT INTO audit_tile VALUES (8, 5, zeroblob(32))"], None),
    (["UPDATE tree_head SET root = zeroblob(32)"], "head"),
    (["UPDATE tree_head SET signature = zeroblob(70)"], "head"),
    (["UPDATE tree_head SET at_ms = at_ms + 1"], "head"),
    (["UPDATE tree_head SET size = size - 1 WHERE size = (SELECT max(size) FROM tree_head)"], None),
    (["DELETE FROM tree_head"], None),
    (["UPDATE audit_tile SET hash = zeroblob(32) WHERE level = (SELECT max(level) FROM audit_tile)"], None),
    (["UPDATE audit_leaf SET idx = 1000000 WHERE idx = 10", "UPDATE audit_leaf SET idx = 10 WHERE idx = 11",
      "UPDATE audit_leaf SET idx = 11 WHERE idx = 1000000"], None),
])
def test_tampering_is_found(victim, statements, says):
    spoil(victim, *statements)
    done = victim.run("log", "verify", "--against", victim.kept, want=None)
    assert done.returncode not in (0, 2), f"not found: {statements}\n{done.stdout}"
    assert done.stderr.startswith("birthmark: ") and "(" in done.stderr and len(done.stderr.splitlines()[0]) > 30
    assert says is None or says in done.stderr, done.stderr


def test_what_no_head_covers_is_told_apart(victim):
    """Nobody has signed for what comes after the newest head."""
    spoil(victim, f"INSERT INTO audit_leaf VALUES ({N} + 1, 1, x'7b7d')")
    report = victim.ask("log", "verify")
    assert report["entries"] == report["signed"] + 1


def test_history_written_anew(victim, server, tmp_path):
    """An attacker with database and log key writes a log that is right in itself: only a head kept outside tells."""
    other = kit.Server(server.program, tmp_path / "other")
    other.folder.mkdir()
    other.init()
    grown(other, [Device()])
    assert other.ask("log", "verify")["good"] is True
    done = other.run("log", "verify", "--against", victim.kept, want=None)
    assert done.returncode not in (0, 2) and "key" in done.stderr
    # the same, with the key of the old log named in the registry
    with contextlib.closing(sqlite3.connect(other.data / "registry.db")) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'log-spki'", (bytes.fromhex(server.heads[1]["spki"]),))
        db.commit()
    done = other.run("log", "verify", want=None)
    assert done.returncode not in (0, 2), done.stdout


def test_forged_kept_head(victim, server, tmp_path):
    forged = {**server.heads[1], "root": "00" * 32}
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    done = victim.run("log", "verify", "--against", tmp_path / "forged.json", want=None)
    assert done.returncode not in (0, 2) and "head" in done.stderr
    (tmp_path / "forged.json").write_text(json.dumps({**server.heads[1], "size": 10**9}))
    assert victim.run("log", "verify", "--against", tmp_path / "forged.json", want=None).returncode not in (0, 2)


@pytest.mark.parametrize("statement", [
    f"DELETE FROM audit_leaf WHERE idx >= {N} - 3",
    "UPDATE audit_tile SET hash = zeroblob(32) WHERE idx = 1",
])
def test_server_on_a_spoilt_log(victim, server, statement):
    """A registry whose log was cut must not go on as if nothing had been: either it does not start, or verify still tells."""
    for name in ("keys", "secret"):
        source = server.data / name
        subprocess.run(["cp", "-r", source, victim.data / name], check=True)
    before = victim.ask("log", "verify")["entries"]
    with contextlib.closing(sqlite3.connect(victim.data / "registry.db")) as db:
        assert db.execute(statement).rowcount != 0
        db.commit()
    done = victim.run("org", "create", "later", "--role", "oem", want=None)
    if done.returncode == 0:
        verified = victim.run("log", "verify", "--against", victim.kept, want=None)
        assert verified.returncode != 0, f"{before} entries before, and now: {verified.stdout}"
    else:
        assert "log" in done.stderr, done.stderr


def test_verify_while_the_server_runs(server):
    report = server.ask("log", "verify")
    assert report["good"] is True and report["entries"] >= server.heads[-1]["size"]
