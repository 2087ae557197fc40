"""Manifests: seals checked and written by other people's JOSE, Microchip's own manifest, every way to spoil one, and imports that are
cut off or large."""

import base64
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from datetime import datetime, timezone

import pytest
from cryptography import x509
from jwcrypto import jwk, jws

import kit
from kit import DER, PEM, TOP, ChipMaker, Device, b64u, unb64u, wait_for

MICROCHIP = TOP / "tests/vectors/microchip"


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish()
    s.run("batch", "create", "reel-2", "--product", "sensor", "--quota", 1000)
    s.run("batch", "create", "reel-3", "--product", "sensor", "--quota", 1000)
    s.start()
    return s


# --- a manifest writer and reader of our own, from docs/manifest.md --------------------------------------------------------------------------


def digest(raw):
    return b64u(hashlib.sha256(raw).digest())


class Signer:
    """Seals blocks with jwcrypto."""

    ALGS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA", "RSA-2048": "RS256"}

    def __init__(self, alg="P-256", days=(-30, 365)):
        self.alg, self.key = self.ALGS[alg], kit.KEYS[alg]()
        self.cert = kit.make_cert(self.key, kit.name_of("signer"), self.key, kit.name_of("signer"), days=days)
        self.jwk = jwk.JWK.from_pem(kit.key_pem(self.key))

    def pem(self, folder):
        path = folder / f"signer-{self.alg}.pem"
        path.write_bytes(self.cert.public_bytes(PEM))
        return path

    def seal(self, payload, **header):
        der = self.cert.public_bytes(DER)
        protected = {"alg": self.alg, "typ": "birthmark-manifest+jws", "x5t#S256": digest(der), "x5c": [base64.b64encode(der).decode()]}
        token = jws.JWS(json.dumps(payload, separators=(",", ":")).encode())
        token.allowed_algs = [*jws.default_allowed_algs, "EdDSA"]
        token.add_signature(self.jwk, None, json.dumps({**protected, **header}))
        return b'{"seal":"' + token.serialize(compact=True).encode() + b'"}\n'


def entry(device, **more):
    members = {"udid": device.udid, "key": b64u(device.spki), "rot": device.rot}
    if device.birth is not None:
        members["birth"] = b64u(device.birth.public_bytes(DER))
    return json.dumps({**members, **more}, separators=(",", ":")).encode() + b"\n"


def written(signer, blocks, name, issuer="chips", sealed_as=lambda n, payload: payload, **header):
    """A manifest as a list of lines. blocks: lists of entry lines. sealed_as may lie in a seal."""
    at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    lines = [json.dumps({"birthmark-manifest": 1, "id": name, "issuer": issuer, "created": at, **header}, separators=(",", ":")).encode()
             + b"\n"]
    total, since, prev = 0, [lines[0]], None
    for seq, block in enumerate(blocks):
        first = len(lines) + (1 if seq else 0)
        lines += block
        since += block
        total += len(block)
        payload = {"manifest": name, "seq": seq, "entries": len(block), "first": 1 if seq == 0 else first, "digest": digest(b"".join(since)),
                   **({} if prev is None else {"prev": prev}), "total": total, **({"last": True} if seq == len(blocks) - 1 else {})}
        seal = signer.seal(sealed_as(seq, payload))
        lines.append(seal)
        since, prev = [], digest(seal)
    return lines


count = iter(range(10**6))


def some_id():
    return f"lot-{next(count)}"


@pytest.fixture(scope="module")
def signer(server):
    s = Signer()
    server.run("org", "trust", "chips", s.pem(server.folder), "--purpose", "manifest")
    return s


def imported(server, lines, *words, want=0, batch="reel-1"):
    path = server.folder / f"file-{next(count)}.jsonl"
    path.write_bytes(b"".join(lines))
    done = server.run("manifest", "import", path, *(("--batch", batch) if batch else ()), "--json", *words, want=want)
    return done, json.loads(done.stdout) if done.stdout.startswith("{") else None


def n_devices(server):
    return server.ask("status")["counts"]["device"]


# --- seals ------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", list(Signer.ALGS))
def test_seals_of_other_peoples_jose(server, tmp_path, alg):
    """Written without a line of our code, taken by the registry and by the offline check."""
    signer = Signer(alg)
    server.run("org", "trust", "chips", signer.pem(tmp_path), "--purpose", "manifest")
    devices = [Device(a) for a in kit.KEYS for _ in range(2)]
    lines = written(signer, [[entry(d) for d in devices[:4]], [entry(d) for d in devices[4:]], []], some_id(), batch="reel-1")
    _, told = imported(server, lines)
    assert told["added"] == len(devices) and told["complete"] is True and told["blocks"] == 3
    assert all(server.state(d) == "allocated" for d in devices)
    (tmp_path / "m").write_bytes(b"".join(lines))
    server.run("manifest", "verify", tmp_path / "m", "--signer", signer.pem(tmp_path))


@pytest.mark.parametrize("alg", ["P-256", "P-384", "Ed25519", "RSA-2048"])
def test_our_seals_in_other_peoples_jose(server, tmp_path, alg):
    """What `manifest make` writes, read from its page alone."""
    key = kit.KEYS[alg]()
    cert = kit.make_cert(key, kit.name_of("maker"), key, kit.name_of("maker"))
    (tmp_path / "key").write_bytes(kit.key_pem(key))
    (tmp_path / "cert").write_bytes(cert.public_bytes(PEM))
    devices = [Device() for _ in range(1030)] if alg == "P-256" else [Device() for _ in range(3)]
    (tmp_path / "lines").write_text("".join(d.line() for d in devices))
    server.run("manifest", "make", tmp_path / "lines", "--out", tmp_path / "m", "--id", some_id(), "--issuer", "chips", "--key",
               tmp_path / "key", "--cert", tmp_path / "cert")
    raw = (tmp_path / "m").read_bytes().splitlines(keepends=True)
    header = json.loads(raw[0])
    assert header["birthmark-manifest"] == 1 and header["issuer"] == "chips"
    since, prev, total, seq, start, seen = b"", None, 0, 0, 1, []
    for number, line in enumerate(raw, 1):
        if not line.startswith(b'{"seal":'):
            since += line
            if number != 1:
                seen.append(json.loads(line))
            continue
        token = jws.JWS()
        token.allowed_algs = [*jws.default_allowed_algs, "EdDSA"]
        token.deserialize(json.loads(line)["seal"], jwk.JWK.from_pem((tmp_path / "cert").read_bytes()))
        protected, payload = json.loads(token.objects["protected"]), json.loads(token.payload)
        assert protected["typ"] == "birthmark-manifest+jws" and protected["x5t#S256"] == digest(cert.public_bytes(DER))
        assert base64.b64decode(protected["x5c"][0]) == cert.public_bytes(DER)
        entries = since.count(b"\n") - (seq == 0)
        total += entries
        last = number == len(raw)
        assert payload == {"manifest": header["id"], "seq": seq, "entries": entries, "first": start, "digest": digest(since), "total": total,
                           **({"prev": prev} if prev else {}), **({"last": True} if last else {})}
        assert entries <= 1024
        since, prev, seq, start = b"", digest(line), seq + 1, number + 1
    assert [e["udid"] for e in seen] == [d.udid for d in devices]
    assert all(hashlib.sha256(unb64u(e["key"])).hexdigest() == e["udid"] for e in seen)


def test_export_is_a_manifest(server, signer, tmp_path):
    server.run("batch", "create", "out", "--product", "sensor", "--quota", 10)
    maker = ChipMaker()
    server.run("org", "trust", "chips", maker.pem(tmp_path / "maker.pem"), "--purpose", "birth")
    devices = [Device() for _ in range(3)]
    devices[0].birth = maker.birth(devices[0])
    imported(server, written(signer, [[entry(d, attributes={"lot": "A", "n": 1}) for d in devices]], some_id()), batch="out")
    (tmp_path / "key").write_bytes(kit.key_pem(signer.key))
    server.run("manifest", "export", "--batch", "out", "--out", tmp_path / "m", "--id", some_id(), "--issuer", "chips", "--key",
               tmp_path / "key", "--cert", signer.pem(tmp_path))
    exported = [json.loads(line) for line in (tmp_path / "m").read_text().splitlines()][1:-1]
    assert {e["udid"]: e.get("birth") for e in exported} == {
        d.udid: b64u(d.birth.public_bytes(DER)) if d.birth else None for d in devices}
    assert all(e["attributes"] == {"lot": "A", "n": 1} for e in exported)
    _, told = imported(server, (tmp_path / "m").read_bytes().splitlines(keepends=True), batch="out")
    assert told["known"] == 3 and told["added"] == 0


# --- who may sign --------------------------------------------------------------------------------------------------------------------------------


def refused(server, lines, code, **more):
    before = n_devices(server)
    done, _ = imported(server, lines, want=None, **more)
    assert done.returncode not in (0, 2) and f"({code})" in done.stderr, done.stderr or done.stdout
    assert n_devices(server) == before
    return done.stderr


def test_signer_that_nobody_pinned(server):
    refused(server, written(Signer(), [[entry(Device())]], some_id()), "manifest-signer")


def test_signer_for_another_organisation(server, tmp_path):
    s = Signer()
    server.run("org", "create", "others", "--role", "chip-maker", want=None)
    server.run("org", "trust", "others", s.pem(tmp_path), "--purpose", "manifest")
    refused(server, written(s, [[entry(Device())]], some_id()), "manifest-issuer")
    refused(server, written(s, [[entry(Device())]], some_id(), issuer="nobody"), "manifest-issuer")
    _, told = imported(server, written(s, [[entry(Device())]], some_id(), issuer="others"))
    assert told["added"] == 1


def test_birth_anchor_is_no_manifest_signer(server, tmp_path):
    s = Signer()
    server.run("org", "trust", "chips", s.pem(tmp_path), "--purpose", "birth")
    refused(server, written(s, [[entry(Device())]], some_id()), "manifest-signer")


def test_signer_issued_by_a_pinned_ca(server, tmp_path):
    maker = ChipMaker("Chips Manifest CA")
    server.run("org", "trust", "chips", maker.pem(tmp_path / "ca.pem"), "--purpose", "manifest")
    s = Signer()
    s.cert = kit.make_cert(s.key, kit.name_of("signer"), maker.key, maker.name)
    _, told = imported(server, written(s, [[entry(Device())]], some_id()))
    assert told["added"] == 1
    impostor = ChipMaker("Chips Manifest CA")
    s.cert = kit.make_cert(s.key, kit.name_of("signer"), impostor.key, impostor.name)
    refused(server, written(s, [[entry(Device())]], some_id()), "manifest-signer")


@pytest.mark.parametrize("days", [(-30, -1), (1, 30)])
def test_signer_out_of_its_time(server, tmp_path, days):
    s = Signer(days=days)
    server.run("org", "trust", "chips", s.pem(tmp_path), "--purpose", "manifest")
    refused(server, written(s, [[entry(Device())]], some_id()), "manifest-signer")


@pytest.mark.parametrize("header", [
    {"typ": "JWT"}, {"alg": "none"}, {"alg": "HS256"}, {"alg": "ES384"}, {"x5t#S256": digest(b"x")}, {"x5c": []}, {"x5c": ["!"]}, {"crit": ["b64"], "b64": False},
    {"jwk": {"kty": "oct", "k": "AA"}},
])
def test_protected_headers_that_lie(server, signer, header):
    """The header is spoilt and signed as it then is, where the library lets us; else put in unsigned."""
    lines = written(signer, [[entry(Device())]], some_id())
    token = json.loads(lines[-1])["seal"].split(".")
    protected = {**json.loads(unb64u(token[0])), **header}
    first = b64u(json.dumps(protected).encode())
    sign = kit.sign_raw(signer.key, f"{first}.{token[1]}".encode())
    lines[-1] = b'{"seal":"' + f"{first}.{token[1]}.{b64u(sign)}".encode() + b'"}\n'
    before = n_devices(server)
    done, _ = imported(server, lines, want=None)
    if header.keys() & {"jwk"} and done.returncode == 0:
        return  # a key in the header is not looked at: the signature was by the pinned one
    assert done.returncode not in (0, 2), done.stdout
    assert n_devices(server) == before


# --- tampering ------------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(signer):
    """Three blocks of three, never imported as they are."""
    return written(signer, [[entry(Device()) for _ in range(3)] for _ in range(3)], some_id())


def swapped(lines, a, b):
    lines = list(lines)
    lines[a], lines[b] = lines[b], lines[a]
    return lines


@pytest.mark.parametrize("spoil, code", [
    (lambda m: swapped(m, 1, 2), "manifest-digest"),
    (lambda m: m[:1] + m[2:], "manifest-digest"),
    (lambda m: m[:2] + m[1:], "manifest-digest"),
    (lambda m: m[:3] + [entry(Device())] + m[4:], "manifest-digest"),
    (lambda m: [m[0].replace(b"chips", b"other")] + m[1:], "manifest-digest"),
    (lambda m: [m[0].replace(b'"id":"', b'"id":"x')] + m[1:], "manifest-digest"),
    (lambda m: m[:1] + m[5:], "manifest-sequence"),
    (lambda m: m[:1] + m[5:9] + m[1:5] + m[9:], "manifest-sequence"),
    (lambda m: m[:1] + m[1:4] + [m[4].replace(b".", b".A", 1)] + m[5:], None),
    (lambda m: m[:4] + [m[4][:-5] + b'A"}\n'] + m[5:], None),
    (lambda m: m[:1] + [m[1].replace(b"software", b"tpm2")] + m[2:], "manifest-digest"),
    (lambda m: m[:1] + [m[1].replace(b",", b", ", 1)] + m[2:], "manifest-digest"),
    (lambda m: [b"\n"] + m, None), (lambda m: [b"\xef\xbb\xbf" + m[0]] + m[1:], None), (lambda m: [], None), (lambda m: [b"\0" * 5000], None),
    (lambda m: [m[0].replace(b":1,", b":2,", 1)] + m[1:], None),
    (lambda m: m[:1] + [b"x" * 20000 + b"\n"] + m[1:], None),
    (lambda m: [b"[" * 100000 + b"\n"], None),
])
def test_tampering_in_the_first_block(server, good, spoil, code):
    before = n_devices(server)
    done, _ = imported(server, spoil(good), want=None)
    assert done.returncode != 0 and done.stderr.startswith("birthmark: "), done
    assert code is None or f"({code})" in done.stderr, done.stderr
    assert n_devices(server) == before


@pytest.mark.parametrize("spoil, code, taken", [
    (lambda m: m[:9], "manifest-cut-short", 6),
    (lambda m: m[:7], "manifest-cut-short", 3),
    (lambda m: m[:-1] + [m[-1][:-1]], None, 6),
    (lambda m: m[:9] + [m[10], m[9]] + m[11:], "manifest-digest", 6),
    (lambda m: m[:5] + m[9:], "manifest-sequence", 3),
    (lambda m: m + [entry(Device())], None, None),
    (lambda m: m + m[-4:], None, None),
])
def test_tampering_further_on(server, signer, spoil, code, taken):
    """What was sealed before the damage is taken; nothing after it is."""
    lines = written(signer, [[entry(Device()) for _ in range(3)] for _ in range(3)], some_id())
    before = n_devices(server)
    done, told = imported(server, spoil(lines), want=None)
    assert done.returncode not in (0, 2), done.stdout
    assert code is None or f"({code})" in done.stderr, done.stderr
    if taken is not None:
        assert n_devices(server) == before + taken
        _, told = imported(server, lines)  # the undamaged file goes on from there
        assert told["complete"] is True and n_devices(server) == before + 9


@pytest.mark.parametrize("lie, code", [
    (lambda n, p: {**p, "entries": 4}, None), (lambda n, p: {**p, "total": p["total"] + 1}, None), (lambda n, p: {**p, "seq": n + 1}, "manifest-sequence"),
    (lambda n, p: {**p, "first": p["first"] + 1}, None), (lambda n, p: {**p, "manifest": "another"}, None), (lambda n, p: {**p, "more": 1}, None),
    (lambda n, p: {**p, "prev": digest(b"")}, None), (lambda n, p: {k: v for k, v in p.items() if k != "digest"}, None),
    (lambda n, p: {**p, "seq": -1}, None), (lambda n, p: {**p, "seq": 2**64}, None), (lambda n, p: {**p, "last": False}, None),
])
def test_seals_that_lie(server, signer, lie, code):
    """Genuine signatures under what is not so."""
    lines = written(signer, [[entry(Device()) for _ in range(3)]], some_id(), sealed_as=lie)
    before = n_devices(server)
    done, _ = imported(server, lines, want=None)
    assert done.returncode not in (0, 2), done.stdout
    assert code is None or f"({code})" in done.stderr, done.stderr
    assert n_devices(server) == before


@pytest.mark.parametrize("make, code", [
    (lambda d: b"{}\n", "entry-format"), (lambda d: b"[]\n", "entry-format"), (lambda d: b"nothing\n", "entry-format"),
    (lambda d: entry(d, more=1), "entry-format"), (lambda d: entry(d, udid="0" * 64), "entry-udid"), (lambda d: entry(d, key="AAAA"), None),
    (lambda d: entry(d, key=b64u(d.spki[:-1] + bytes([d.spki[-1] ^ 1]))), None), (lambda d: entry(d, rot="magic"), "entry-rot"),
    (lambda d: entry(d, birth="AAAA"), "entry-birth"), (lambda d: entry(d, birth=b64u(Device().cert.public_bytes(DER))), "entry-birth"),
    (lambda d: entry(d, attributes=[]), None), (lambda d: entry(d, attributes={"a": "x" * 5000}), "entry-attributes"),
])
def test_bad_entries_are_left_out(server, signer, tmp_path, make, code):
    ok, bad = Device(), Device()
    report = tmp_path / "report"
    done, told = imported(server, written(signer, [[entry(ok), make(bad)]], some_id()), "--report", report, want=1)
    assert (told["added"], told["refused"], told["complete"]) == (1, 1, True), told
    assert "line 3: " in done.stderr and (code is None or f"({code})" in done.stderr)
    (row,) = [json.loads(line) for line in report.read_text().splitlines()]
    assert row["line"] == 3 and row["code"] == (code or row["code"])
    assert server.state(ok) == "allocated"


# --- the same again, and conflicts --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [{"birthmark-manifest": 2}, {"more": 1}, {"id": "a b"}, {"id": "x" * 65}, {"product": "Not A Name"}, {"created": "yesterday"},
                                    {"created": "2999-01-01T00:00:00Z"}, {"issuer": 1}])
def test_headers_that_are_sealed_and_wrong(server, signer, header):
    refused_somehow = imported(server, written(signer, [[entry(Device())]], some_id(), **header), want=None)[0]
    assert refused_somehow.returncode not in (0, 2), refused_somehow.stdout


def test_duplicates(server, signer):
    d, other = Device(), Device()
    done, told = imported(server, written(signer, [[entry(d), entry(d), entry(other)]], some_id()), want=1)
    assert (told["added"], told["refused"]) == (2, 1) and "(entry-duplicate)" in done.stderr
    _, told = imported(server, written(signer, [[entry(d)], [entry(other)]], some_id()))
    assert (told["added"], told["known"]) == (0, 2)


def test_the_same_file_twice(server, signer):
    lines = written(signer, [[entry(Device())] for _ in range(3)], some_id())
    assert imported(server, lines)[1]["added"] == 3
    _, told = imported(server, lines)
    assert told["complete"] is True and told["blocks"] == told["added"] == 0


def test_the_same_file_for_another_batch(server, signer):
    lines = written(signer, [[entry(Device())]], some_id())
    imported(server, lines)
    refused(server, lines, "manifest-batch", batch="reel-2")
    refused(server, written(signer, [[entry(Device())]], some_id(), batch="reel-1"), "manifest-batch", batch="reel-2")


def test_one_device_in_two_batches(server, signer):
    """A chip that two manifests sell to two batches: the first stays, the second is told."""
    d, fresh = Device(), Device()
    imported(server, written(signer, [[entry(d)]], some_id()), batch="reel-2")
    done, told = imported(server, written(signer, [[entry(d), entry(fresh)]], some_id()), batch="reel-3", want=1)
    assert (told["added"], told["conflicts"]) == (1, 1) and "line 2" in done.stderr and "reel-2" in done.stderr
    assert server.ask("device", "show", d.udid)["batch"] == "reel-2"
    assert server.ask("device", "show", fresh.udid)["batch"] == "reel-3"


def test_registered_first_and_allocated_later(server, signer):
    d = Device()
    _, told = imported(server, written(signer, [[entry(d)]], some_id()), batch=None)
    assert told["added"] == 1 and server.state(d) == "registered"
    _, told = imported(server, written(signer, [[entry(d)]], some_id()), batch="reel-2")
    assert (told["added"], told["allocated"]) == (0, 1) and server.state(d) == "allocated"


def test_dry_run(server, signer):
    lines = written(signer, [[entry(Device()), b"{}\n"], [entry(Device())]], some_id())
    before = server.ask("status")
    done, told = imported(server, lines, "--dry-run", want=1)
    assert told["dry_run"] is True and (told["added"], told["refused"]) == (2, 1), told
    after = server.ask("status")
    assert after["counts"] == before["counts"] and after["log_size"] == before["log_size"]
    _, told = imported(server, lines, want=1)
    assert (told["added"], told["refused"]) == (2, 1)


# --- Microchip ----------------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def microchip(server):
    server.run("org", "create", "microchip", "--role", "chip-maker")
    server.run("org", "trust", "microchip", MICROCHIP / "manifest-log-signer-001.pem", "--purpose", "manifest")
    server.run("org", "trust", "microchip", MICROCHIP / "crypto-authentication-root-ca-002.pem", "--purpose", "birth")
    return json.loads((MICROCHIP / "manifest-example.json").read_text())


def microchip_import(server, manifest, want):
    return imported(server, [json.dumps(manifest).encode()], want=want)


@pytest.mark.parametrize("spoil", [
    lambda e: {**e, "payload": e["payload"][:100] + ("A" if e["payload"][100] != "A" else "B") + e["payload"][101:]},
    lambda e: {**e, "signature": e["signature"][:-4] + "AAAA"},
    lambda e: {**e, "signature": ""},
    lambda e: {**e, "protected": b64u(b'{"alg":"none"}')},
    lambda e: {**e, "header": {**e["header"], "uniqueId": "0" * 18}},
    lambda e: {k: v for k, v in e.items() if k != "protected"},
])
def test_microchip_tampered(server, microchip, spoil):
    before = n_devices(server)
    done, _ = microchip_import(server, [spoil(microchip[0])], None)
    assert done.returncode not in (0, 2) and "(" in done.stderr, done
    assert n_devices(server) == before


def test_microchip(server, microchip):
    """As published; the UDID worked out here from the manifest's own key."""
    _, told = microchip_import(server, microchip, 0)
    assert told["added"] == 1 and told["refused"] == 0
    payload = json.loads(unb64u(microchip[0]["payload"]))
    keys = {k["kid"]: k for k in payload["publicKeySet"]["keys"]}
    cert = x509.load_der_x509_certificate(base64.b64decode(keys["0"]["x5c"][0]))
    spki = cert.public_key().public_bytes(DER, kit.serialization.PublicFormat.SubjectPublicKeyInfo)
    shown = server.ask("device", "show", hashlib.sha256(spki).hexdigest())
    assert shown["rot"] == "atecc608" and shown["state"] == "allocated"
    assert shown["attributes"]["uniqueId"] == payload["uniqueId"]
    _, told = microchip_import(server, microchip, 0)
    assert told["added"] == 0


def test_microchip_without_its_root(cli, tmp_path):
    """The birth certificate hangs from a root that nobody here trusts: refused, and the reason says so."""
    data = tmp_path / "data"
    for words in (("init",), ("org", "create", "microchip", "--role", "chip-maker"),
                  ("org", "trust", "microchip", MICROCHIP / "manifest-log-signer-001.pem", "--purpose", "manifest")):
        cli(*words, "--data", data)
    done = cli("manifest", "import", MICROCHIP / "manifest-example.json", "--data", data, want=1)
    assert "(entry-birth)" in done.stderr


# --- large ones ---------------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(release, tmp_path_factory):
    """large(n): a signed manifest of n devices, and the folder of its signer."""
    folder = tmp_path_factory.mktemp("large")
    fleet = release("birthmark-fleet")
    made = {}

    def of(n):
        if n not in made:
            subprocess.run([fleet, "keys", str(n), "--out", folder / "keys", "--seed", "large"], check=True)
            with (folder / "lines").open("wb") as lines:
                subprocess.run([fleet, "spki", "--keys", folder / "keys"], check=True, stdout=lines)
            who = ["--key", folder / "s/signer-key.pem", "--cert", folder / "s/signer-cert.pem"] if made else ["--new-signer", folder / "s"]
            subprocess.run([release("birthmark"), "manifest", "make", folder / "lines", "--out", folder / f"m{n}", "--id", f"large-{n}",
                            "--issuer", "chips", *who, "--quiet"], check=True, capture_output=True)
            made[n] = folder / f"m{n}"
        return made[n]

    yield of
    shutil.rmtree(folder)


@pytest.fixture
def fast(release, new_server, large):
    s = new_server(program=release("birthmark"))
    s.init()
    s.furnish()
    large(2000)
    s.run("org", "trust", "chips", large(2000).parent / "s/signer-cert.pem", "--purpose", "manifest")
    s.start()
    return s


def check_whole(server, manifest, n):
    """Everybody is there once, in the batch, and the log is good; the manifest counts as imported to its end."""
    assert n_devices(server) == n
    status = server.ask("status")
    assert status["counts"]["device_states"] == {"allocated": n}
    (row,) = server.ask("manifest", "list")["rows"]
    assert row["entries"] == n and row["complete"]
    udids = [json.loads(line)["udid"] for line in random.sample([x for x in manifest.read_bytes().splitlines() if x.startswith(b'{"udid"')], 5)]
    assert all(server.state(u) == "allocated" for u in udids)
    assert server.ask("log", "verify")["good"] is True


def begin_import(server, manifest):
    return subprocess.Popen([server.program, "manifest", "import", manifest, "--batch", "reel-1", "--json"], env=server.env,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows_on_disk(server):
    with contextlib.closing(sqlite3.connect(f"file:{server.data}/registry.db?mode=ro", uri=True)) as db:
        return db.execute("SELECT coalesce(max(id), 0) FROM device").fetchone()[0]


def test_import_whose_command_is_killed(fast, large):
    n = 100000
    manifest, seen = large(n), 0
    for part in (0.1, 0.3, 0.5, 0.7):
        process = begin_import(fast, manifest)
        wait_for(f"{part} of the import", lambda: rows_on_disk(fast) >= part * n or process.poll() is not None, 120)
        process.kill()
        process.communicate()
        now = rows_on_disk(fast)
        assert now >= seen
        seen = now
    assert 0 < seen < n, "the import was over before it could be cut off"
    done = begin_import(fast, manifest)
    out, err = done.communicate(timeout=250)
    assert done.returncode == 0, err
    told = json.loads(out)
    assert told["complete"] is True and 0 < told["added"] <= n - seen, f"{seen} were there already: {told}"
    check_whole(fast, manifest, n)


def test_import_whose_server_is_killed(fast, large):
    n = 100000
    manifest, seen, lives = large(n), 0, 0
    for part in (0.05, 0.2, 0.4, 0.6, 0.8):
        process = begin_import(fast, manifest)
        wait_for(f"{part} of the import", lambda: rows_on_disk(fast) >= part * n or process.poll() is not None, 120)
        if random.random() < 0.5:
            fast.kill()
        else:
            family = fast.family()
            os.kill(fast.keeper(), signal.SIGKILL)
            assert fast.ended() != 0
            wait_for("the end of all", lambda: not any(kit.alive(p) for p in family))
        _, err = process.communicate(timeout=60)
        assert process.returncode != 0 and err.startswith("birthmark: "), f"{process.returncode} {err}"
        fast.start()
        assert (now := rows_on_disk(fast)) >= seen
        seen, lives = now, lives + 1
    out, err = (done := begin_import(fast, manifest)).communicate(timeout=250)
    assert done.returncode == 0, err
    assert json.loads(out)["complete"] is True
    check_whole(fast, manifest, n)


def high_water(pid):
    text = (kit.pathlib.Path(f"/proc/{pid}/status")).read_text()
    return {k: int(v.split()[0]) for k, _, v in (line.partition(":") for line in text.splitlines()) if k in ("VmHWM", "VmRSS")}["VmHWM"] / 1024


def watched_import(server, manifest):
    """The outcome, and the most memory (MiB) that command and keeper had meanwhile."""
    keeper, peak = server.keeper(), 0.0
    before = high_water(keeper)
    process = begin_import(server, manifest)
    while process.poll() is None:
        try:
            peak = max(peak, high_water(process.pid))
        except (OSError, KeyError):
            break
        time.sleep(0.01)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return json.loads(out), peak, high_water(keeper), before


def test_memory_of_an_import(fast, large):
    """Two hundred thousand entries need no more memory than two thousand: neither the command nor the keeper holds the file."""
    _, small_cli, small_keeper, _ = watched_import(fast, large(2000))
    told, cli, keeper, _ = watched_import(fast, large(200000))
    assert told["entries"] == 200000 and told["added"] == 198000 and told["known"] == 2000, told
    print(f"MiB at most, 2,000 entries and 200,000: command {small_cli:.1f} {cli:.1f}, keeper {small_keeper:.1f} {keeper:.1f}")
    assert cli < 40 and keeper < 160, f"command {small_cli:.1f} -> {cli:.1f} MiB, keeper {small_keeper:.1f} -> {keeper:.1f} MiB"


def test_devices_do_not_wait_for_an_import(fast, large, tmp_path):
    """While a hundred thousand are imported, a device enrols in the usual time."""
    d = Device()
    fast.register(d, name="one")
    fast.anchors()
    process = begin_import(fast, large(100000))
    slowest, n = 0.0, 0
    while process.poll() is None:
        began = time.monotonic()
        answer, _ = kit.est_enrol(fast, d, tmp_path)
        slowest, n = max(slowest, time.monotonic() - began), n + 1
        assert answer.status == 200, answer
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert n > 5 and slowest < 2, f"{n} enrolments, the slowest took {slowest:.2f} s"
