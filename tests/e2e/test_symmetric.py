"""Devices with a secret key and no key pair, by a client written from docs/symmetric.md, docs/onboard.md and docs/manifest.md alone."""

import hashlib
import hmac
import json
import os
import random
import sqlite3
import struct
import subprocess
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import cmac
from cryptography.hazmat.primitives.ciphers import algorithms
from jwcrypto import jwe, jwk

import kit
from kit import Device, assert_refused, assert_told, b64u, wait_for
from test_onboard import ENROL, FORMS, STATUS, Cbor, Json, ask, challenge, message_of, post, refused, signed, to_be_signed, vec

LABEL = b"birthmark-device-key-v1"


def hmac_of(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def cmac_of(key, data):
    c = cmac.CMAC(algorithms.AES(key))
    c.update(data)
    return c.finalize()


MACS = {
    "hmac-sha256": hmac_of,
    "hmac-sha256-digest": lambda key, data: hmac_of(key, hashlib.sha256(data).digest()),
    "aes-cmac": cmac_of,
    "aes-cmac-digest": lambda key, data: cmac_of(key, hashlib.sha256(data).digest()),
}
DERIVED = {"hmac-sha256": 32, "hmac-sha256-digest": 32, "aes-cmac": 16, "aes-cmac-digest": 16}


def counter_mode(prf):
    """SP 800-108 section 4.1: one or more blocks of PRF(root, [i] || label || 0x00 || context || [L])."""
    def derive(root, ident, n):
        blocks = (prf(root, struct.pack(">I", i) + LABEL + b"\0" + ident + struct.pack(">I", 8 * n)) for i in (1, 2))
        return b"".join(blocks)[:n]
    return derive


def hkdf(root, ident, n):
    return hmac_of(hmac_of(bytes(32), root), LABEL + b"\0" + ident + b"\1")[:n]


KDFS = {"sp800-108-hmac-sha256": counter_mode(hmac_of), "sp800-108-aes-cmac": counter_mode(cmac_of), "hkdf-sha256": hkdf}


class Chip:
    """An authenticator chip: an identifier, a secret, and one thing it can do."""

    def __init__(self, mac="hmac-sha256", rot="symmetric-chip", issuer="chips", secret=None, ident=None):
        self.mac, self.rot, self.ident = mac, rot, ident or os.urandom(9)
        self.secret = secret or os.urandom(DERIVED[mac])
        name = b"birthmark-symmetric-udid-v1\0" + vec(issuer.encode()) + vec(rot.encode()) + vec(self.ident)
        self.udid = hashlib.sha256(name).hexdigest()

    def answer(self, data):
        return MACS[self.mac](self.secret, data)

    def sealed(self, pem, **header):
        """As a chip maker's own tools would do it, with another implementation of JOSE."""
        key = jwk.JWK.from_pem(pem)
        head = {"alg": "ECDH-ES", "enc": "A256GCM", "sub": self.udid, **header}
        return jwe.JWE(self.secret, protected=json.dumps(head), recipient=key).serialize(compact=True)

    def line(self, **member):
        return json.dumps({"udid": self.udid, "id": b64u(self.ident), "mac": self.mac, "rot": self.rot, **member}) + "\n"


def proven(server, op, chip, *requests, form=Cbor, **more):
    m = message_of(chip, *requests)
    m["challenge"] = challenge(server, form)
    m["mac"] = chip.answer(to_be_signed(op, m))
    return {**m, **more}


def import_pem(server):
    return server.run("key", "import-key").stdout.encode()


def furnish(server, *rot):
    server.furnish(policy=("--rot", ",".join(rot or ("symmetric-chip", "symmetric-software", "software"))))


def register(server, *chips, name, batch="reel-1", **more):
    pem = import_pem(server)
    lines = [c.line(sealed=c.sealed(pem)) for c in chips]
    return server.ask("manifest", "import", server.manifest(lines, name), "--batch", batch, **more)


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    furnish(s)
    s.start()
    return s


@pytest.fixture(scope="module")
def fresh(server):
    count = iter(range(1000))

    def one(**more):
        c = Chip(**more)
        told = register(server, c, name=f"c-{next(count)}")
        assert told["added"] == 1 and told["refused"] == 0, told
        return c

    return one


# --- enrolment -----------------------------------------------------------------------------------------------------------------------


@FORMS
@pytest.mark.parametrize("mac", MACS)
def test_a_chip_gets_a_certificate_for_a_key_of_its_own(server, fresh, mac, form):
    chip, key = fresh(mac=mac), kit.KEYS["P-256"]()
    answer = post(server, form, "enrol", proven(server, ENROL, chip, ask(key=key), form=form))
    assert answer.status == 200, (answer, answer.told)
    cert = x509.load_der_x509_certificate(answer.told["credentials"][0]["certificate"])
    assert cert.public_key() == key.public_key() and chip.udid in cert.subject.rfc4514_string()
    status = post(server, form, "status", proven(server, STATUS, chip, form=form))
    assert status.told["status"] == "enrolled" and server.state(chip) == "active"
    # from then on its LDevID key renews as any other
    renewed = post(server, form, "enrol", signed(server, ENROL, chip, ask(key=key), key=key, certificate=cert, form=form))
    assert renewed.status == 200, renewed.told


def test_unknown_device_and_wrong_mac_look_the_same(server, fresh):
    """A stranger must not learn which UDIDs are registered; the operator must."""
    chip, impostor, nobody, other = fresh(), None, Chip(), Device()
    server.register(other, name="other")
    impostor = Chip(ident=chip.ident)
    assert impostor.udid == chip.udid
    pair = Chip()
    pair.udid = other.udid
    answers = [post(server, Json, "enrol", proven(server, ENROL, c, ask(), form=Json)) for c in (impostor, nobody, pair)]
    told = [{k: v for k, v in a.told.items() if k != "correlation"} for a in answers]
    assert told[0] == told[1] == told[2] and told[0]["code"] == "mac-refused", told
    hidden = ("correlation", "birthmark-correlation", "date")
    heads = [sorted((k.lower(), v) for k, v in a.headers.items() if k.lower() not in hidden) for a in answers]
    assert heads[0] == heads[1] == heads[2]
    assert_told(server, answers[0], "the MAC is wrong")
    assert_told(server, answers[1], "no device with this UDID")
    assert_told(server, answers[2], "has a key pair")
    assert post(server, Json, "enrol", proven(server, ENROL, chip, ask(), form=Json)).status == 200


def test_a_challenge_is_good_once(server, fresh):
    chip = fresh()
    m = proven(server, ENROL, chip, ask())
    assert post(server, Cbor, "enrol", m).status == 200
    refused(server, post(server, Cbor, "enrol", m), 403, "challenge-used")


def test_the_mac_covers_everything(server, fresh):
    chip = fresh()
    good = proven(server, ENROL, chip, ask())
    for change in ({"batch": "reel-1"}, {"requests": [ask()]}, {"challenge": challenge(server)}, {"mac": good["mac"][:-1]},
                   {"mac": good["mac"] + b"\0"}):
        refused(server, post(server, Cbor, "enrol", {**good, **change}), 403, "mac-refused")
    refused(server, post(server, Cbor, "enrol", proven(server, STATUS, chip, ask())), 403, "mac-refused")  # the other operation's
    assert post(server, Cbor, "enrol", good).status == 200


def test_a_mac_stands_alone(server, fresh):
    chip, device = fresh(), Device()
    good = proven(server, ENROL, chip, ask())
    for more in ({"key": device.spki}, {"signature": bytes(64)}, {"certificate": b"0"}):
        refused(server, post(server, Cbor, "enrol", {**good, **more}), 400, "evidence-ambiguous")
    del good["challenge"]
    refused(server, post(server, Cbor, "enrol", good), 400, "evidence-ambiguous")


def test_wrong_macs_are_limited_for_known_and_unknown_alike(server, fresh):
    for chip in (fresh(), Chip()):
        wrong = Chip(ident=chip.ident)
        codes = [post(server, Cbor, "status", proven(server, STATUS, wrong)).code for _ in range(12)]
        assert codes == ["mac-refused"] * 10 + ["mac-rate-limited"] * 2
        refused(server, post(server, Cbor, "status", proven(server, STATUS, chip)), 503, "mac-rate-limited")


def test_a_product_must_name_the_kind(new_server):
    """The registry holds the key too: nobody gets such devices by default."""
    s = new_server()
    s.init()
    s.furnish()
    s.start()
    chip = Chip()
    register(s, chip, name="m-1")
    refused(s, post(s, Cbor, "enrol", proven(s, ENROL, chip, ask())), 403, "symmetric-refused")
    s.run("product", "set", "sensor", "--rot", "symmetric-software")
    refused(s, post(s, Cbor, "enrol", proven(s, ENROL, chip, ask())), 403, "root-of-trust-refused")
    s.run("product", "set", "sensor", "--rot", "symmetric-chip")
    assert post(s, Cbor, "enrol", proven(s, ENROL, chip, ask())).status == 200


def test_states_count_for_chips_too(server, fresh):
    chip = fresh()
    assert post(server, Cbor, "enrol", proven(server, ENROL, chip, ask())).status == 200
    server.run("device", "suspend", chip.udid)
    refused(server, post(server, Cbor, "enrol", proven(server, ENROL, chip, ask())), 403, "device-suspended")
    server.run("device", "compromise", chip.udid)
    refused(server, post(server, Cbor, "enrol", proven(server, ENROL, chip, ask())), 403, "device-compromised")


# --- how keys come in ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kdf", KDFS)
def test_keys_from_a_root_key(server, kdf):
    root, name = os.urandom(16), f"lot-{kdf}"
    server.run("key", "add-root", name, "--org", "chips", "--kdf", kdf, input=root.hex() + "\n")
    chips = [Chip(mac=mac) for mac in MACS]
    for c in chips:
        c.secret = KDFS[kdf](root, c.ident, DERIVED[c.mac])
    told = server.ask("manifest", "import", server.manifest([c.line(root=name) for c in chips], name), "--batch", "reel-1")
    assert told["added"] == len(chips), told
    for c in chips:
        assert post(server, Cbor, "enrol", proven(server, ENROL, c, ask())).status == 200
    assert {"name": name, "org": "chips", "kdf": kdf} in [{k: r[k] for k in ("name", "org", "kdf")} for r in server.ask("key", "show")["roots"]]


def test_another_makers_root_key_is_not_for_the_taking(server):
    server.run("org", "create", "others", "--role", "chip-maker")
    server.run("key", "add-root", "theirs", "--org", "others", "--kdf", "hkdf-sha256", input=os.urandom(32).hex())
    told = server.ask("manifest", "import", server.manifest([Chip().line(root="theirs")], "steal"), "--batch", "reel-1", want=1)
    assert told["added"] == 0 and told["refused"] == 1


def test_one_chip_by_hand(server):
    """The secret comes on standard input, and only there."""
    chip = Chip(mac="aes-cmac")
    told = server.ask("key", "add", chip.ident.hex(), "--org", "chips", "--rot", chip.rot, "--mac", chip.mac, "--batch", "reel-1",
                      input=chip.secret.hex() + "\n")
    assert told["udid"] == chip.udid
    assert post(server, Cbor, "enrol", proven(server, ENROL, chip, ask())).status == 200
    for secret in ("", "00", "zz" * 16, "00" * 15, "00" * 65):
        server.run("key", "add", os.urandom(4).hex(), "--org", "chips", "--rot", chip.rot, "--mac", chip.mac, input=secret, want=None)
    again = server.run("key", "add", chip.ident.hex(), "--org", "chips", "--rot", chip.rot, "--mac", chip.mac,
                       input=os.urandom(16).hex(), want=4)
    assert "already" in again.stderr
    assert post(server, Cbor, "enrol", proven(server, ENROL, chip, ask())).status == 200  # its key is as it was


def test_manifest_make_seals_what_comes_on_standard_input(server, tmp_path):
    chip, pem = Chip(), tmp_path / "import.pem"
    pem.write_bytes(import_pem(server))
    signer = server.folder / "signer"
    words = ("--id", "pipe", "--issuer", "chips", "--key", signer / "signer-key.pem", "--cert", signer / "signer-cert.pem")
    line = json.dumps({"id": b64u(chip.ident), "mac": chip.mac, "rot": chip.rot, "secret": b64u(chip.secret)}) + "\n"
    out = tmp_path / "pipe.jsonl"
    server.run("manifest", "make", "-", "--out", out, "--encrypt-to", pem, *words, input=line)
    assert b64u(chip.secret) not in out.read_text() and chip.udid in out.read_text()
    server.run("manifest", "import", out, "--batch", "reel-1")
    assert post(server, Cbor, "enrol", proven(server, ENROL, chip, ask())).status == 200
    lying = tmp_path / "lines"
    lying.write_text(line)
    for source, more, text in ((lying, ("--encrypt-to", pem), None), ("-", (), line)):
        bad = server.run("manifest", "make", source, "--out", tmp_path / "x", *more, *words, want=1, **({"input": text} if text else {}))
        assert "entry-secret" in bad.stderr


def test_entries_that_are_no_good(server):
    """Each is refused on its own, with its code, and the good one among them is taken."""
    pem, other = import_pem(server), Chip()
    foreign = jwk.JWK.generate(kty="EC", crv="P-256").export_to_pem()

    def parts(c):
        return c.sealed(pem).split(".")

    rows = [  # each of a chip of its own: the second of a block would be a duplicate
        (lambda c: c.line(sealed=other.sealed(pem)), "entry-secret"),  # another device's key
        (lambda c: c.line(sealed=c.sealed(foreign)), "entry-secret"),  # another registry's import key
        (lambda c: c.line(sealed=c.sealed(pem, apu="AA")), "entry-secret"),
        (lambda c: c.line(sealed=c.sealed(pem, zip="DEF")), "entry-secret"),
        (lambda c: c.line(sealed=c.sealed(pem, kid="someone-else")), "entry-secret"),
        (lambda c: c.line(sealed=".".join([*parts(c)[:3], "AAAA", parts(c)[4]])), "entry-secret"),
        (lambda c: c.line(sealed=".".join([parts(c)[0], "AA", *parts(c)[2:]])), "entry-secret"),
        (lambda c: c.line(sealed=c.sealed(pem) + "."), "entry-secret"),
        (lambda c: c.line(sealed=Chip(ident=c.ident, secret=b"short").sealed(pem)), "entry-secret"),
        (lambda c: c.line(sealed=c.sealed(pem), root="lot"), "entry-secret"),
        (lambda c: c.line(), "entry-secret"),
        (lambda c: c.line(root="nowhere"), "entry-secret"),
        (lambda c: c.line(sealed=c.sealed(pem), mac="hmac-md5"), "entry-mac"),
        (lambda c: c.line(sealed=c.sealed(pem), id=""), "entry-id"),
        (lambda c: c.line(sealed=c.sealed(pem), id=b64u(bytes(65))), "entry-id"),
        (lambda c: c.line(sealed=c.sealed(pem), id=b64u(b"another")), "entry-udid"),
        (lambda c: c.line(sealed=c.sealed(pem), udid=c.udid.upper()), "entry-udid"),
        (lambda c: c.line(sealed=c.sealed(pem), rot="tpm2"), "entry-rot"),
        (lambda c: c.line(sealed=c.sealed(pem), key="AA"), "entry-format"),
        (lambda c: keyed("symmetric-chip"), "entry-rot"),
    ]
    good = Chip()
    lines = [*(line(Chip()) for line, _ in rows), good.line(sealed=good.sealed(pem))]
    report = server.folder / "report.jsonl"
    told = server.ask("manifest", "import", raw_manifest(server, lines, "bad"), "--batch", "reel-1", "--report", report, want=1)
    assert told["added"] == 1 and told["refused"] == len(rows), told
    codes = {json.loads(line)["line"]: json.loads(line)["code"] for line in report.read_text().splitlines()}
    assert [codes[i + 2] for i in range(len(rows))] == [code for _, code in rows]
    assert post(server, Cbor, "enrol", proven(server, ENROL, good, ask())).status == 200


def keyed(rot):
    """A key pair under a kind that has none."""
    device = Device(rot=rot)
    return json.dumps({"udid": device.udid, "key": b64u(device.spki), "rot": rot}) + "\n"


def raw_manifest(server, lines, name):
    """Sealed as a maker would who does not check what he seals."""
    server.manifest([Device().line()], f"{name}-signer")  # makes sure that there is a signer
    folder = server.folder / "signer"
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    key = load_pem_private_key((folder / "signer-key.pem").read_bytes(), None)
    cert = x509.load_pem_x509_certificate((folder / "signer-cert.pem").read_bytes()).public_bytes(kit.DER)
    head = json.dumps({"birthmark-manifest": 1, "id": name, "issuer": "chips", "created": kit_now()}) + "\n"
    body = head + "".join(lines)
    import base64
    protected = {"alg": "ES256", "typ": "birthmark-manifest+jws", "x5t#S256": b64u(hashlib.sha256(cert).digest()),
                 "x5c": [base64.b64encode(cert).decode()]}
    payload = {"manifest": name, "seq": 0, "entries": len(lines), "first": 1, "digest": b64u(hashlib.sha256(body.encode()).digest()),
               "total": len(lines), "last": True}
    signed_part = b64u(json.dumps(protected).encode()) + "." + b64u(json.dumps(payload).encode())
    out = server.folder / f"{name}.jsonl"
    out.write_text(body + json.dumps({"seal": signed_part + "." + b64u(kit.sign_raw(key, signed_part.encode()))}, separators=(",", ":")) + "\n")
    return out


def kit_now():
    import datetime
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_dry_run_makes_nothing(new_server):
    s = new_server()
    s.init()
    furnish(s)
    chip, pem = Chip(), import_pem(s)
    path = s.manifest([chip.line(sealed=chip.sealed(pem))])
    assert s.ask("manifest", "import", path, "--batch", "reel-1", "--dry-run")["added"] == 1
    assert s.ask("key", "show")["keks"] == []
    assert [p.name for p in (s.data / "keys").glob("kek-*")] == []


# --- what is shown and kept ----------------------------------------------------------------------------------------------------------


def test_nothing_shows_a_secret(server, fresh):
    chip = fresh()
    for words in (("device", "show", chip.udid), ("device", "list"), ("key", "show"), ("status",), ("why", chip.udid), ("log", "entries"),
                  ("manifest", "list")):
        text = server.run(*words, "--json").stdout
        assert chip.secret.hex() not in text and b64u(chip.secret) not in text
    signer, out = server.folder / "signer", server.folder / "export.jsonl"
    done = server.run("manifest", "export", "--batch", "reel-1", "--out", out, "--id", "out", "--issuer", "oem", "--key",
                      signer / "signer-key.pem", "--cert", signer / "signer-cert.pem", want=1)
    assert "left out" in done.stderr and chip.udid not in out.read_text()


def test_a_changed_row_opens_for_nobody(new_server):
    """Somebody with the disk moves a sealed key from one device to another, or flips a bit: the device is refused, and others are not."""
    s = new_server()
    s.init()
    furnish(s)
    chips = [Chip(), Chip(), Chip()]
    register(s, *chips, name="m-1")
    db = sqlite3.connect(s.data / "registry.db")
    rows = db.execute("SELECT id, sealed FROM mac_key ORDER BY id").fetchall()
    db.execute("UPDATE mac_key SET sealed = ? WHERE id = ?", (rows[1][1], rows[0][0]))
    flipped = bytearray(rows[1][1])
    flipped[20] ^= 1
    db.execute("UPDATE mac_key SET sealed = ? WHERE id = ?", (bytes(flipped), rows[1][0]))
    db.commit()
    db.close()
    s.start()
    for chip in chips[:2]:
        answer = post(s, Cbor, "enrol", proven(s, ENROL, chip, ask()))
        refused(s, answer, 403, "mac-refused")
        assert_told(s, answer, "cannot be opened")
    assert post(s, Cbor, "enrol", proven(s, ENROL, chips[2], ask())).status == 200


# --- rotation ------------------------------------------------------------------------------------------------------------------------


def keks(server):
    return {k["kek"]: (k["state"], k["sealed"]) for k in server.ask("key", "show")["keks"]}


def kek_files(server):
    return sorted(p.name for p in (server.data / "keys").glob("kek-*"))


def test_rotation_moves_every_key_and_destroys_the_old_one(new_server):
    s = new_server()
    s.init()
    furnish(s)
    s.start()
    chips = [Chip() for _ in range(20)]
    register(s, *chips, name="m-1")
    s.run("key", "add-root", "root", "--org", "chips", "--kdf", "hkdf-sha256", input="11" * 32)
    before = kek_files(s)
    assert keks(s) == {1: ("active", 21)} and len(before) == 1
    s.run("key", "rotate")
    wait_for("the end of the rotation", lambda: keks(s) == {1: ("destroyed", 0), 2: ("active", 21)})
    assert len(kek_files(s)) == 1 and kek_files(s) != before
    for chip in chips[:5]:
        assert post(s, Cbor, "enrol", proven(s, ENROL, chip, ask())).status == 200
    events = [json.loads(e["data"])["event"] if isinstance(e["data"], str) else e["data"]["event"]
              for e in s.ask("log", "entries", "0")["entries"]]
    assert "kek.created" in events and "kek.rotated" in events and "kek.destroyed" in events


def test_rotation_without_a_server(new_server):
    s = new_server()
    s.init()
    furnish(s)
    chip = Chip()
    register(s, chip, name="m-1")
    s.run("key", "rotate")
    assert keks(s) == {1: ("destroyed", 0), 2: ("active", 1)} and len(kek_files(s)) == 1
    s.start()
    assert post(s, Cbor, "enrol", proven(s, ENROL, chip, ask())).status == 200


def test_killed_at_any_moment_of_a_rotation_every_device_still_works(new_server):
    """kill -9 of everything while rows move, while devices enrol: afterwards each device is who it was, and the rotation goes on to its end."""
    s = new_server()
    s.init()
    furnish(s)
    chips = [Chip() for _ in range(1500)]
    register(s, *chips, name="m-1")
    pause = random.Random(7)
    last = 1
    for _ in range(6):
        s.start()
        rotating = subprocess.Popen([s.program, "key", "rotate"], env=s.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stop = threading.Event()
        stop.wait(pause.uniform(0.0, 0.25))
        for chip in pause.sample(chips, 2):
            try:
                assert post(s, Cbor, "status", proven(s, STATUS, chip)).status == 200
            except (OSError, KeyError):
                pass
        s.kill()
        rotating.wait(30)
        told = keks(s)
        assert sum(n for _, n in told.values()) == len(chips), told
        assert all(n == 0 for state, n in told.values() if state in ("ending", "destroyed")), told
        files = len(kek_files(s))
        assert files >= sum(state in ("active", "retiring") for state, _ in told.values())
        last = max(told)
    s.start()
    wait_for("the end of the rotation", lambda: sorted(v for v in keks(s).values() if v[0] != "destroyed") == [("active", len(chips))])
    assert last > 1
    for chip in pause.sample(chips, 40):
        assert post(s, Cbor, "enrol", proven(s, ENROL, chip, ask())).status == 200
    s.stop()


# --- backup --------------------------------------------------------------------------------------------------------------------------


def test_backup_and_restore_keep_the_keys_usable(new_server, tmp_path):
    s = new_server()
    s.init()
    furnish(s)
    s.start()
    chip = Chip()
    register(s, chip, name="m-1")
    s.run("key", "rotate")
    wait_for("the end of the rotation", lambda: keks(s) == {1: ("destroyed", 0), 2: ("active", 1)})
    s.run("backup", "--out", tmp_path / "b")
    other = new_server()
    other.data = other.folder / "restored"
    other.env["BIRTHMARK_DATA"] = str(other.data)
    other.run("restore", "--from", tmp_path / "b")
    (other.data / "secret").write_bytes((s.data / "secret").read_bytes())
    (other.data / "secret").chmod(0o400)
    s.stop()
    other.start()
    assert post(other, Cbor, "enrol", proven(other, ENROL, chip, ask())).status == 200
