"""The `birthmark` command as a person uses it: every verb once for good, and what it refuses. The same words must work with a server
running and without one."""

import base64
import hashlib
import http.client
import json
import os
import pathlib
import pty
import re
import socket
import sqlite3
import ssl
import subprocess
import tempfile
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from datetime import datetime, timedelta, timezone

OK, FAILED, USAGE, NOT_FOUND, CONFLICT, UNREACHABLE = range(6)
NOBODY = "0" * 64


# --- identities and manifests -------------------------------------------------------------------------------------------------------


def b64u(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class Device:
    """A unit with its IDevID key, made outside of Birthmark."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.spki = self.key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.udid = hashlib.sha256(self.spki).hexdigest()

    def line(self, **more):
        return json.dumps({"key": b64u(self.spki), "rot": "software", **more}) + "\n"

    def pem(self, path):
        """Key and a self-signed certificate over it, for TLS."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "unit")])
        now = datetime.now(timezone.utc)
        cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
                .not_valid_after(now + timedelta(days=1)).sign(self.key, hashes.SHA256()))
        path.write_bytes(cert.public_bytes(serialization.Encoding.PEM) + self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return path

    def enrol(self, server, anchors, folder):
        """EST simpleenroll, RFC 7030 section 4.2; returns the HTTP status."""
        context = ssl.create_default_context(cafile=str(anchors))
        context.load_cert_chain(self.pem(folder / f"{self.udid}.pem"))
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(self.key, hashes.SHA256())
        body = base64.encodebytes(csr.public_bytes(serialization.Encoding.DER))
        to = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=30)
        to.request("POST", "/.well-known/est/simpleenroll", body,
                   {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"})
        answer = to.getresponse()
        answer.read()
        to.close()
        return answer.status


@pytest.fixture
def data(cli, tmp_path):
    """A registry of its own with an organisation, a product and a batch, and no server."""
    folder = tmp_path / "data"
    cli("init", "--data", folder, "--tls-host", "127.0.0.1")
    furnish(lambda *words, **more: cli(*words, "--data", folder, **more))
    return folder


def furnish(run):
    run("org", "create", "acme", "--role", "oem", "--title", "Acme, Inc.")
    run("service", "create", "telemetry", "--kind", "mqtt", "--endpoint", "mqtts://broker.example:8883")
    run("product", "create", "sensor", "--org", "acme", "--services", "telemetry")
    run("batch", "create", "b1", "--product", "sensor", "--quota", 10)


@pytest.fixture
def bm(cli, data):
    """bm("org", "list"): a subcommand on that registry."""
    return lambda *words, **more: cli(*words, "--data", data, **more)


def asked(done):
    return json.loads(done.stdout)


def make_manifest(run, folder, devices, name="m-1", signer=None, **more):
    """(manifest, certificate of its signer)"""
    out, lines = folder / name, folder / f"{name}.jsonl"
    lines.write_text("".join(d if isinstance(d, str) else d.line() for d in devices))
    signer = signer or folder / "signer"
    who = ["--key", signer / "signer-key.pem", "--cert", signer / "signer-cert.pem"] if signer.exists() else ["--new-signer", signer]
    run("manifest", "make", lines, "--out", out, "--id", name, "--issuer", "acme", *who, **more)
    return out, signer / "signer-cert.pem"


def import_devices(run, folder, devices, batch="b1", name="m-1"):
    manifest, cert = make_manifest(run, folder, devices, name)
    run("org", "trust", "acme", cert, "--purpose", "manifest")
    return run("manifest", "import", manifest, *(["--batch", batch] if batch else []), "--json")


# --- beginning ---------------------------------------------------------------------------------------------------------------------------


def test_init_makes_a_registry_once(cli, tmp_path):
    folder = tmp_path / "data"
    done = cli("init", "--data", folder, "--organisation", "Acme", "--ca-alg", "EC:P-384", "--tls-host", "a.example,10.0.0.1")
    assert "birthmark serve --data" in done.stderr and "root" in done.stdout
    assert (folder / "secret").stat().st_mode & 0o777 == 0o400
    assert folder.stat().st_mode & 0o777 == 0o700
    root = x509.load_pem_x509_certificate(cli("ca", "export", "root", "--data", folder).stdout.encode())
    assert "Acme" in root.subject.rfc4514_string() and root.public_key().curve.name == "secp384r1"
    again = cli("init", "--data", folder, want=CONFLICT)
    assert "already" in again.stderr


def test_secret_outside_the_folder(cli, tmp_path):
    folder, secret = tmp_path / "data", tmp_path / "secret"
    secret.write_bytes(os.urandom(32))
    secret.chmod(0o400)
    cli("init", "--data", folder, "--secret-file", secret)
    assert not (folder / "secret").exists()
    cli("status", "--data", folder, "--secret-file", secret)
    cli("status", "--data", folder, want=NOT_FOUND)
    (folder / "birthmark.conf").write_text(f"secret_file = {secret}\n")
    cli("status", "--data", folder)
    other = tmp_path / "other"
    other.write_bytes(os.urandom(32))
    other.chmod(0o400)
    assert cli("status", "--data", folder, "--secret-file", other, want=None).returncode == FAILED


def test_no_registry(cli, tmp_path):
    done = cli("status", "--data", tmp_path / "nowhere", want=NOT_FOUND)
    assert "no-registry" in done.stderr and "birthmark init" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_data_from_the_environment(cli, data):
    assert asked(cli("org", "show", "acme", "--json", env={"BIRTHMARK_DATA": str(data)}))["role"] == "oem"


# --- words -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, says", [
    ((), "birthmark help"),
    (("ogr", "list"), "did you mean 'org'?"),
    (("org",), "org create"),
    (("org", "creat", "x"), "did you mean 'create'?"),
    (("org", "create"), "NAME is missing"),
    (("org", "create", "x"), "--role is missing"),
    (("org", "create", "x", "--role"), "needs a value"),
    (("org", "list", "--colour"), "no option here"),
    (("batch", "create", "b", "--product", "p", "--quota", "many"), "whole number"),
])
def test_wrong_words(cli, words, says):
    done = cli(*words, want=USAGE)
    assert says in done.stderr and done.stdout == ""


def test_help(cli):
    everything = cli("help").stdout
    for line in re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", everything, re.M):
        words = line.split()
        assert f"usage: birthmark {line}" in cli(*words, "--help").stdout
        assert f"usage: birthmark {line}" in cli("help", *words).stdout
    assert cli("--help").stdout == everything
    assert "org trust" in cli("org", "--help").stdout


def test_version(cli):
    assert re.fullmatch(r"\d+\.\d+\.\d+", asked(cli("version", "--json"))["birthmark"])


# --- organisations, products, batches, services, profiles ---------------------------------------------------------------------------------------


def test_organisations(bm, data, tmp_path):
    assert bm("org", "list").stdout.split("\t")[:3] == ["acme", "oem", "Acme, Inc."]
    bm("org", "create", "acme", "--role", "oem", want=CONFLICT)
    bm("org", "create", "Not a name", "--role", "oem", want=USAGE)
    bm("org", "create", "x", "--role", "boss", want=USAGE)
    assert "birthmark org list" in bm("org", "show", "nobody", want=NOT_FOUND).stderr
    _, cert = make_manifest(bm, tmp_path, [Device()])
    assert asked(bm("org", "trust", "acme", cert, "--purpose", "manifest", "--json"))["added"] == 1
    bm("org", "trust", "acme", cert, "--purpose", "birth")
    assert {t["purpose"] for t in asked(bm("org", "show", "acme", "--json"))["trust"]} == {"manifest", "birth"}
    bm("org", "trust", "nobody", cert, "--purpose", "manifest", want=NOT_FOUND)
    bm("org", "trust", "acme", cert, "--purpose", "fun", want=USAGE)
    bm("org", "trust", "acme", data / "secret", "--purpose", "manifest", want=None)
    bm("org", "trust", "acme", tmp_path / "nothing.pem", "--purpose", "manifest", want=NOT_FOUND)


def test_products(bm):
    bm("product", "set", "sensor", "--renew-after-percent", 50, "--title", "A sensor")
    shown = asked(bm("product", "show", "sensor", "--json"))
    assert shown["policy"] == {"services": ["telemetry"], "renew_after_percent": 50} and shown["title"] == "A sensor"
    bm("product", "set", "sensor", "--policy", '{"rot": ["software"]}')
    assert asked(bm("product", "show", "sensor", "--json"))["policy"] == {"rot": ["software"]}
    bm("product", "set", "sensor", "--policy", '{"no-such-member": 1}', want=USAGE)
    bm("product", "set", "sensor", "--renew-after-percent", 5, want=USAGE)
    bm("product", "set", "nothing", "--title", "x", want=NOT_FOUND)
    bm("product", "create", "p2", "--org", "nobody", want=NOT_FOUND)
    bm("product", "create", "sensor", "--org", "acme", want=CONFLICT)
    assert bm("product", "list").stdout.startswith("sensor\tacme\tA sensor\t")


def test_batches(bm):
    bm("batch", "close", "b1")
    assert asked(bm("batch", "show", "b1", "--json"))["state"] == "closed"
    bm("batch", "open", "b1")
    bm("batch", "set", "b1", "--quota", 20, "--ca", "issuing")
    shown = asked(bm("batch", "show", "b1", "--json"))
    assert (shown["state"], shown["quota"], shown["ca"]) == ("open", 20, "issuing")
    assert bm("batch", "list", "--product", "sensor").stdout.startswith("b1\tsensor\topen\t20\t0\tissuing\t")
    bm("batch", "set", "b1", "--state", "ajar", want=USAGE)
    bm("batch", "set", "b1", "--ca", "nothing", want=NOT_FOUND)
    bm("batch", "close", "nothing", want=NOT_FOUND)
    bm("batch", "create", "b1", "--product", "sensor", "--quota", 1, want=CONFLICT)
    bm("batch", "create", "b2", "--product", "nothing", "--quota", 1, want=NOT_FOUND)


def test_services(bm):
    bm("service", "set", "telemetry", "--endpoint", "https://a", "--endpoint", "https://b", "--kind", "https")
    shown = asked(bm("service", "show", "telemetry", "--json"))
    assert (shown["endpoints"], shown["kind"]) == (["https://a", "https://b"], "https")
    assert bm("service", "list").stdout == "telemetry\thttps\t-\t-\thttps://a, https://b\t-\n"
    bm("service", "create", "telemetry", "--kind", "mqtt", want=CONFLICT)
    bm("service", "set", "nothing", "--kind", "mqtt", want=NOT_FOUND)


def test_profiles(bm, tmp_path):
    assert "ldevid" in bm("profile", "list").stdout.split()
    mine = tmp_path / "profile.json"
    mine.write_text(bm("profile", "show", "ldevid").stdout)
    bm("profile", "set", "mine", mine)
    assert asked(bm("profile", "show", "mine")) == asked(bm("profile", "show", "ldevid"))
    mine.write_text('{"validity": "for ever"}')
    bm("profile", "set", "mine", mine, want=USAGE)
    bm("profile", "show", "nothing", want=NOT_FOUND)


# --- certification authorities ------------------------------------------------------------------------------------------------------------------------


def test_cas(bm, tmp_path):
    bm("ca", "create", "issuing-2", "--parent", "root", "--alg", "EC:P-384")
    assert [row.split("\t")[:3] for row in bm("ca", "list").stdout.splitlines()] == [
        ["root", "-", "active"], ["issuing", "root", "active"], ["issuing-2", "root", "active"]]
    chain = x509.load_pem_x509_certificates(bm("ca", "export", "issuing-2", "--chain").stdout.encode())
    chain[0].verify_directly_issued_by(chain[1])
    assert len(chain) == 2
    der = tmp_path / "issuing-2.der"
    bm("ca", "export", "issuing-2", "--der", "--out", der)
    assert x509.load_der_x509_certificate(der.read_bytes()) == chain[0]
    bm("ca", "default", "issuing-2")
    bm("ca", "default", "issuing")
    bm("ca", "revoke", "issuing-2", "--reason", "superseded")
    assert asked(bm("ca", "show", "issuing-2", "--json"))["state"] == "revoked"
    bm("ca", "export", "issuing-2", "--der", "--chain", want=USAGE)
    bm("ca", "create", "issuing-2", "--parent", "root", want=CONFLICT)
    bm("ca", "create", "x", "--parent", "nothing", want=NOT_FOUND)
    bm("ca", "create", "x", "--parent", "root", "--alg", "EC:P-0", want=USAGE)
    bm("ca", "revoke", "issuing", "--reason", "boredom", want=USAGE)
    bm("ca", "default", "nothing", want=NOT_FOUND)
    bm("ca", "show", "nothing", want=NOT_FOUND)


# --- manifests --------------------------------------------------------------------------------------------------------------------------------------------


def test_manifest_from_make_to_export(bm, tmp_path):
    devices = [Device() for _ in range(5)]
    manifest, cert = make_manifest(bm, tmp_path, devices)
    assert asked(bm("manifest", "verify", manifest, "--signer", cert, "--json"))["entries"] == 5
    assert "--purpose manifest" in bm("manifest", "import", manifest, "--batch", "b1", want=FAILED).stderr
    bm("org", "trust", "acme", cert, "--purpose", "manifest")
    dry = asked(bm("manifest", "import", manifest, "--batch", "b1", "--dry-run", "--json"))
    assert (dry["added"], dry["dry_run"]) == (5, True) and bm("device", "list").stdout == ""
    done = asked(bm("manifest", "import", manifest, "--batch", "b1", "--json"))
    assert (done["added"], done["refused"], done["complete"]) == (5, 0, True)
    again = asked(bm("manifest", "import", "-", "--batch", "b1", "--json", stdin=manifest.read_text()))
    assert (again["added"], again["complete"]) == (0, True)
    assert {row.split("\t")[1] for row in bm("device", "list").stdout.splitlines()} == {d.udid for d in devices}
    assert bm("manifest", "list").stdout.split("\t")[1:7] == ["acme", "b1", "birthmark", "5", "0", "yes"]
    copy, signer = tmp_path / "copy", tmp_path / "signer"
    bm("manifest", "export", "--batch", "b1", "--out", copy, "--id", "m-2", "--issuer", "acme",
       "--key", signer / "signer-key.pem", "--cert", cert)
    assert asked(bm("manifest", "verify", copy, "--signer", cert, "--json"))["entries"] == 5
    bm("manifest", "export", "--batch", "nothing", "--out", copy, "--id", "m", "--issuer", "acme", "--new-signer", tmp_path / "n",
       want=NOT_FOUND)


def test_manifest_make_names_bad_lines(bm, tmp_path):
    good = Device()
    lines = [good.line(udid=good.udid), "not json\n", Device().line(udid="1" * 64), good.line(), '{"rot": "software"}\n',
             Device().line(rot="cheese"), Device().line(surprise=1), "\n", Device().line(attributes={"lot": 7}),
             Device().line(udid=NOBODY)]
    manifest, cert = make_manifest(bm, tmp_path, lines, want=FAILED)
    assert asked(bm("manifest", "verify", manifest, "--signer", cert, "--json"))["entries"] == 2
    done = bm("manifest", "make", tmp_path / "m-1.jsonl", "--out", manifest, "--id", "m-1", "--issuer", "acme",
              "--key", tmp_path / "signer" / "signer-key.pem", "--cert", cert, want=FAILED)
    assert [int(n) for n in re.findall(r"^line (\d+):", done.stderr, re.M)] == [2, 3, 4, 5, 6, 7, 10]


def test_manifest_make_says_who_must_sign(bm, tmp_path):
    manifest, cert = make_manifest(bm, tmp_path, [Device()])
    lines, words = tmp_path / "m-1.jsonl", ("--out", tmp_path / "m", "--id", "m", "--issuer", "acme")
    bm("manifest", "make", lines, *words, want=USAGE)
    bm("manifest", "make", lines, *words, "--new-signer", tmp_path / "signer", want=CONFLICT)
    bm("manifest", "make", lines, *words, "--key", cert, "--cert", cert, want=USAGE)
    bm("manifest", "make", tmp_path / "none", *words, "--new-signer", tmp_path / "s2", want=NOT_FOUND)
    bm("manifest", "make", lines, "--out", tmp_path / "m", "--id", "with blank", "--issuer", "acme", "--new-signer", tmp_path / "s3",
       want=USAGE)
    assert not (tmp_path / "m").exists() and not (tmp_path / "m.part").exists()
    assert (tmp_path / "signer" / "signer-key.pem").stat().st_mode & 0o777 == 0o600


def test_manifest_that_was_touched(bm, tmp_path):
    manifest, cert = make_manifest(bm, tmp_path, [Device() for _ in range(3)])
    bm("org", "trust", "acme", cert, "--purpose", "manifest")
    text = manifest.read_text()
    other, _ = make_manifest(bm, tmp_path, [Device()], "m-2", tmp_path / "stranger-signer")
    for name, content, code in [("changed", text.replace("software", "atecc608", 1), "manifest-digest"),
                                ("cut", text[: len(text) // 2], "manifest-cut-short"),
                                ("noise", "hello\n", "manifest-format"), ("empty", "", "manifest-cut-short"),
                                ("stranger", other.read_text(), "manifest-signer")]:
        touched = tmp_path / name
        touched.write_text(content)
        for words in (("import", touched, "--batch", "b1"), ("verify", touched, "--signer", cert)):
            assert code in bm("manifest", *words, want=FAILED).stderr
    assert bm("device", "list").stdout == ""
    bm("manifest", "import", tmp_path / "nothing", want=NOT_FOUND)
    bm("manifest", "import", manifest, "--batch", "nothing", want=NOT_FOUND)
    bm("manifest", "import", manifest, "--format", "excel", want=USAGE)
    bm("manifest", "verify", manifest, "--signer", manifest, want=USAGE)


def test_import_goes_on_where_it_stopped(bm, tmp_path):
    devices = [Device() for _ in range(2500)]
    manifest, cert = make_manifest(bm, tmp_path, devices)
    bm("org", "trust", "acme", cert, "--purpose", "manifest")
    cut = tmp_path / "cut"
    cut.write_bytes(manifest.read_bytes()[: manifest.stat().st_size * 3 // 4])
    first = bm("manifest", "import", cut, "--batch", "b1", "--json", want=FAILED)
    assert asked(first)["added"] == 1024 and "manifest-cut-short" in first.stderr
    second = asked(bm("manifest", "import", manifest, "--batch", "b1", "--json"))
    assert (second["added"], second["complete"]) == (2500 - 1024, True)
    assert len(bm("device", "list").stdout.splitlines()) == 2500


def test_conflicts_are_told(bm, tmp_path):
    shared = Device()
    import_devices(bm, tmp_path, [shared, Device()])
    bm("batch", "create", "b2", "--product", "sensor", "--quota", 5)
    second, _ = make_manifest(bm, tmp_path, [shared, Device()], "m-2")
    report = tmp_path / "report"
    done = bm("manifest", "import", second, "--batch", "b2", "--report", report, "--json", want=FAILED)
    assert (asked(done)["conflicts"], asked(done)["added"]) == (1, 1)
    assert "b1" in done.stderr and "entries-refused" in done.stderr
    assert [json.loads(line)["udid"] for line in report.read_text().splitlines()] == [shared.udid]


# --- devices and certificates --------------------------------------------------------------------------------------------------------------------------------------


def test_life_of_a_device(new_server, tmp_path):
    server = new_server()
    server.init("--tls-host", "127.0.0.1")
    server.start()

    def run(*words, **more):
        return server.run(*words, "--data", server.data, **more)

    furnish(run)
    unit, spare, stranger = Device(), Device(), Device()
    import_devices(run, tmp_path, [unit, spare])
    anchors = tmp_path / "root.pem"
    run("ca", "export", "root", "--out", anchors)
    assert unit.enrol(server, anchors, tmp_path) == 200
    assert stranger.enrol(server, anchors, tmp_path) in (401, 403)

    shown = asked(run("device", "show", unit.udid, "--json"))
    assert shown["state"] == "active" and len(shown["credentials"]) == 1
    serial = asked(run("cert", "list", "--udid", unit.udid, "--json"))["rows"][0]["serial"]
    cert = x509.load_pem_x509_certificate(run("cert", "export", serial).stdout.encode())
    assert f"{cert.serial_number:032x}" == serial
    assert asked(run("cert", "show", serial, "--json"))["state"] == "active"

    refused = asked(run("refusals", "list", "--json"))["rows"]
    assert refused[0]["code"] == "unknown-device" and refused[0]["udid"] == stranger.udid
    assert "unknown-device" in run("why", refused[0]["correlation"]).stdout
    assert "issued" in run("why", unit.udid).stdout and "issued" in run("why", serial).stdout

    run("device", "suspend", unit.udid, "--reason", "privilegeWithdrawn")
    assert unit.enrol(server, anchors, tmp_path) == 403
    run("device", "resume", unit.udid)
    run("device", "resume", unit.udid, want=CONFLICT)
    run("cert", "revoke", serial, "--reason", "superseded")
    assert run("cert", "list", "--state", "revoked").stdout.split("\t")[1] == serial
    run("org", "create", "second", "--role", "service-operator")
    run("device", "transfer", unit.udid, "second", "--force")
    assert asked(run("device", "show", unit.udid, "--json"))["owner"] == "second"
    run("device", "transfer", unit.udid, "nobody", "--force", want=NOT_FOUND)
    run("device", "compromise", unit.udid, "--reason", "keyCompromise")
    assert unit.enrol(server, anchors, tmp_path) == 403
    run("device", "retire", unit.udid)
    assert asked(run("device", "show", unit.udid, "--json"))["state"] == "retired"
    assert "device show" in run("device", "resume", unit.udid, want=CONFLICT).stderr
    assert asked(run("status", "--json"))["counts"]["device"] == 2
    run("clock", "accept")
    run("log", "verify")
    server.stop()
    assert asked(run("device", "show", unit.udid, "--json"))["state"] == "retired"  # the same words, nobody serves


def test_allocate(bm, tmp_path):
    unit = Device()
    import_devices(bm, tmp_path, [unit], batch=None)
    assert asked(bm("device", "show", unit.udid, "--json"))["state"] == "registered"
    bm("device", "allocate", unit.udid, "nothing", want=NOT_FOUND)
    bm("device", "allocate", unit.udid, "b1")
    assert bm("device", "list", "--batch", "b1", "--state", "allocated").stdout.split("\t")[1] == unit.udid
    bm("device", "suspend", unit.udid, want=CONFLICT)


@pytest.mark.parametrize("words, want", [
    (("device", "show", NOBODY), NOT_FOUND), (("device", "show", "xyz"), USAGE), (("device", "suspend", NOBODY), NOT_FOUND),
    (("device", "retire", NOBODY), NOT_FOUND), (("device", "compromise", NOBODY), NOT_FOUND),
    (("cert", "show", "0" * 32), NOT_FOUND), (("cert", "show", "0"), USAGE), (("cert", "revoke", "0" * 32), NOT_FOUND),
    (("cert", "export", "0" * 32), NOT_FOUND), (("why", "0" * 16), NOT_FOUND), (("why", "?"), USAGE),
])
def test_what_is_not_there(bm, words, want):
    assert bm(*words, want=want).stdout == ""


def test_lists_in_pages(bm, tmp_path):
    import_devices(bm, tmp_path, [Device() for _ in range(7)])
    rows = bm("device", "list").stdout.splitlines()
    part = bm("device", "list", "--limit", 3)
    assert part.stdout.splitlines() == rows[:3]
    after = re.search(r"--after (\d+)", part.stderr).group(1)
    assert bm("device", "list", "--after", after).stdout.splitlines() == rows[3:]
    assert len(asked(bm("device", "list", "--json"))["rows"]) == 7


# --- the log ---------------------------------------------------------------------------------------------------------------------------------------------------------------


def test_log(bm, data, tmp_path):
    head = tmp_path / "head.json"
    head.write_text(bm("log", "head", "--json").stdout)
    size = json.loads(head.read_text())["size"]
    entries = bm("log", "entries").stdout.splitlines()
    assert len(entries) == size and all(json.loads(e.split("\t")[2])["event"] for e in entries)
    assert bm("log", "entries", 1, 3).stdout.splitlines() == entries[1:3]
    assert asked(bm("log", "inclusion", 1, "--json"))["checked"] is True
    assert asked(bm("log", "inclusion", 1, "--size", 2, "--json"))["size"] == 2
    assert asked(bm("log", "consistency", 1, size, "--json"))["checked"] is True
    bm("org", "create", "later", "--role", "auditor")
    done = asked(bm("log", "verify", "--against", head, "--json"))
    assert done["good"] and done["entries"] == size + 1 and done["continues_the_head_kept"]
    bm("log", "inclusion", size + 100, want=USAGE)
    bm("log", "consistency", 2, 1, want=USAGE)
    bm("log", "entries", 3, 1, want=USAGE)
    bm("log", "verify", "--against", tmp_path / "nothing", want=NOT_FOUND)


def test_log_verify_with_the_key_from_elsewhere(bm, tmp_path):
    spki = bytes.fromhex(asked(bm("log", "head", "--json"))["spki"])
    key, other = tmp_path / "log.pem", tmp_path / "other.pem"
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    key.write_bytes(serialization.load_der_public_key(spki).public_bytes(*pem))
    other.write_bytes(Device().key.public_key().public_bytes(*pem))
    bm("log", "verify", "--key", key)
    assert "bad-signature" in bm("log", "verify", "--key", other, want=FAILED).stderr
    bm("log", "verify", "--key", tmp_path / "nothing", want=NOT_FOUND)


def test_log_verify_finds_what_was_changed(bm, data, tmp_path):
    head = tmp_path / "head.json"
    head.write_text(bm("log", "head", "--json").stdout)
    forged = json.loads(head.read_text())
    forged["root"] = "00" * 32
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    assert "log-head" in bm("log", "verify", "--against", tmp_path / "forged.json", want=FAILED).stderr
    with sqlite3.connect(data / "registry.db") as db:
        db.execute("UPDATE audit_leaf SET data = CAST(replace(CAST(data AS TEXT), 'acme', 'evil') AS BLOB) WHERE idx = 1")
    db.close()
    assert "log-changed" in bm("log", "verify", want=FAILED).stderr


def test_log_of_another_registry_is_no_continuation(bm, cli, tmp_path):
    head = tmp_path / "head.json"
    head.write_text(bm("log", "head", "--json").stdout)
    cli("init", "--data", tmp_path / "other")
    assert "log-key" in cli("log", "verify", "--data", tmp_path / "other", "--against", head, want=FAILED).stderr


# --- configuration, serving --------------------------------------------------------------------------------------------------------------------------------------------------


def test_configuration(bm, data, tmp_path):
    bm("config", "check")
    conf = data / "birthmark.conf"
    conf.write_text("workers = 3\n")
    assert asked(bm("config", "show", "--json"))["workers"] == 3
    conf.write_text("wrokers = 3\n")
    assert f"{conf}:1" in bm("config", "check", want=USAGE).stderr
    bm("serve", want=USAGE)
    conf.unlink()
    conf.write_text(bm("config", "keys").stdout)
    bm("config", "check")
    bm("config", "check", tmp_path / "nothing", want=NOT_FOUND)
    bm("serve", "--workers", "many", want=USAGE)
    bm("serve", "--listen", "", want=USAGE)


def test_over_the_socket_as_without(new_server, tmp_path):
    server = new_server()
    server.init()

    def run(*words, **more):
        return server.run(*words, "--data", server.data, **more)

    furnish(run)
    alone = [run(*w).stdout for w in (("org", "show", "acme"), ("batch", "list"), ("product", "show", "sensor"), ("ca", "list"))]
    server.start()
    served = [run(*w).stdout for w in (("org", "show", "acme"), ("batch", "list"), ("product", "show", "sensor"), ("ca", "list"))]
    assert alone == served
    assert "there" in run("org", "create", "acme", "--role", "oem", want=CONFLICT).stderr
    devices = [Device() for _ in range(3000)]
    assert asked(import_devices(run, tmp_path, devices))["added"] == 3000
    assert asked(run("log", "verify", "--json"))["good"]
    server.kill()  # the socket stays behind, and soon nobody answers on it
    for _ in range(100):
        if run("status", want=None).returncode == OK:
            break
        time.sleep(0.1)
    assert len(run("device", "list").stdout.splitlines()) == 3000
    run("log", "verify")


def test_registry_in_use(bm, data):
    """Somebody holds the registry and serves no socket."""
    import fcntl

    with open(data / "lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "in-use" in bm("status", want=CONFLICT).stderr
    bm("status")


def test_socket_that_may_not_be_used(birthmark):
    """Somebody else's server: no fallback behind its back, and a word on what to do."""
    if os.geteuid() != 0:
        pytest.skip("needs another user")
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as s:
        os.chmod(folder, 0o755)
        s.bind(f"{folder}/admin.sock")
        s.listen()
        os.chmod(f"{folder}/admin.sock", 0o600)
        done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", birthmark, "status", "--data", folder],
                              capture_output=True, text=True)
    if "setpriv" in done.stderr:
        pytest.skip("the program is in a folder that is closed to others")
    assert done.returncode == UNREACHABLE and "(permission)" in done.stderr


# --- on a terminal -----------------------------------------------------------------------------------------------------------------------------------------------------------------


def on_a_terminal(birthmark, *words, env=None):
    main, side = pty.openpty()
    done = subprocess.Popen([birthmark, *map(str, words)], stdout=side, stderr=side, stdin=subprocess.DEVNULL,
                            env={**os.environ, "NO_COLOR": "", **(env or {})})
    os.close(side)
    out = b""
    try:
        while part := os.read(main, 4096):
            out += part
    except OSError:
        pass  # how a terminal ends on Linux
    os.close(main)
    assert done.wait(30) == 0
    return out.decode().replace("\r\n", "\n")


def test_terminal(birthmark, data, bm):
    table = on_a_terminal(birthmark, "batch", "list", "--data", data)
    assert table.startswith("\x1b[1mNAME  PRODUCT  STATE") and "\nb1    sensor   open" in table
    plain = on_a_terminal(birthmark, "batch", "list", "--data", data, env={"NO_COLOR": "1"})
    assert plain.startswith("NAME  PRODUCT") and "\x1b" not in plain
    assert "Next: birthmark batch create" in on_a_terminal(birthmark, "product", "create", "p2", "--org", "acme", "--data", data)
    assert "\x1b" not in bm("batch", "list").stdout
    bm("org", "create", "o2", "--role", "oem", "--title", "red \x1b[31m alert\x07")
    assert "\x1b[31m" not in on_a_terminal(birthmark, "org", "list", "--data", data)


def test_output_that_cannot_be_written(birthmark, data):
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run([birthmark, "org", "list", "--data", data], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == UNREACHABLE and "cannot write" in done.stderr
