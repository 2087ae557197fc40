"""Serves one registry made for Siemens' CMP test suite, and runs the suite against it. Run by cmpsuite.py, with the Python of the end-to-end tests:

  cmpsuite_serve.py COPY ROBOT FOLDER

COPY is a copy of the suite that may be written to; what came of it is in FOLDER/RUN.xml."""
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import kit  # noqa: E402
from cmpkit import CMC_RA, IMPLICIT_CONFIRM, Authority, Client, cert_req, ctx, seq  # noqa: E402

# The suite holds accepted against grantedWithMods, and asks for one name throughout, its own default: so that is what the profile gives. Which
# device it is, the alternative name says.
SUBJECT = "CN=Hans Mustermann"
COMMON = {"subject": SUBJECT, "san": ["uri:urn:birthmark:udid:{udid}"], "eku": ["clientAuth"], "validity": "30d"}
# The first is the one that all requests are for; the others are for keys that keys made here are encrypted to.
SERVICES = {
    "operation": {"key_usage": ["digitalSignature"], "keys": ["P-256", "P-384", "P-521", "RSA", "Ed25519"]},
    "agreement": {"key_usage": ["digitalSignature", "keyAgreement"], "keys": ["P-256"]},
    "encipherment": {"key_usage": ["digitalSignature", "keyEncipherment"], "keys": ["RSA"]},
}
# Those about keys made here run by themselves: others of the suite take away the certificates they are given. Left out: what repeats the others algorithm by
# algorithm, what needs libraries for post-quantum algorithms, and cross certification, which is not there.
LEFT_OUT = ("verbose-tests", "pq", "pqc", "ccr")
RUNS = {"main": lambda name: name != "kga.robot", "keys": lambda name: name == "kga.robot"}
PASSWORD = b"11111"  # what the suite takes for granted of key files


def furnish(server):
    server.init()
    server.furnish(quota=100000, services=tuple(SERVICES), policy=("--server-keygen", "yes", "--self-registration", "yes"))
    for name, more in SERVICES.items():
        (server.folder / "profile.json").write_text(json.dumps({**COMMON, **more}))
        server.run("profile", "set", name, server.folder / "profile.json")
        server.run("service", "set", name, "--profile", name)
    server.http = kit.free_port()
    server.start("--listen-http", f"127.0.0.1:{server.http}")


def device(server, maker, name):
    d = kit.Device()
    d.birth = d.cert = maker.birth(d)
    server.register(d, name=name)
    return d


def enrolled(server, d, service="operation", alg="P-256"):
    """A certificate for operation, and the key of that."""
    client = Client(server, server.http, d.key, d.cert)
    key = kit.KEYS[alg]()
    answer = client.ask(client.message("ir", seq(cert_req(key)), info=ctx(8, seq(IMPLICIT_CONFIRM))), f"/.well-known/cmp/p/{service}")
    assert answer.type == "ip", answer.text
    return answer.cert, key


def pem(path, *certs):
    path.write_bytes(b"".join(c.public_bytes(kit.PEM) for c in certs))
    return str(path)


def key_file(path, key):
    path.write_bytes(key.private_bytes(kit.PEM, kit.serialization.PrivateFormat.PKCS8, kit.serialization.BestAvailableEncryption(PASSWORD)))
    return str(path)


def signer(folder, name, cert, key, *above):
    """The two files of one who signs."""
    return pem(folder / f"{name}.pem", cert, *above), key_file(folder / f"{name}.key", key)


def settings(server, folder):
    """What the suite has to know of this server; cmpsuite_variables.py reads it."""
    maker = kit.ChipMaker()
    server.run("org", "trust", "chips", maker.pem(server.folder / "maker.pem"), "--purpose", "birth")
    birth, other = device(server, maker, "m-birth"), device(server, maker, "m-issued")
    issued, key = enrolled(server, other)
    ra = Authority(server, "oem", "network").member((CMC_RA,))
    code = server.ask("code", "create", "--batch", "reel-1", "--uses", 10000, "--for", "cmp")["codes"][0]
    return {
        "url": f"http://127.0.0.1:{server.http}/.well-known/cmp", "root": str(server.anchors()), "code": code["code"], "number": code["number"],
        "subject": SUBJECT, "recipient": issued.issuer.rfc4514_string(),
        "issued": signer(folder, "issued", issued, key), "birth": signer(folder, "birth", birth.cert, birth.key, maker.cert),
        "ra": signer(folder, "ra", ra.cert, ra.key, *ra.chain),
        "agrees": signer(folder, "agrees", *enrolled(server, other, "agreement")),
        "enciphers": signer(folder, "enciphers", *enrolled(server, other, "encipherment", "RSA-2048")),
        "rsa": signer(folder, "rsa", *enrolled(server, other, alg="RSA-2048")),
    }


def put_anchors(server, copy):
    """Where the suite looks for them."""
    for name in ("root", "issuing"):
        server.run("ca", "export", name, "--out", copy / "data/cert_logs" / f"{name}.pem", "--quiet")
    server.run("ca", "export", "root", "--out", copy / "data/trustanchors/birthmark.pem", "--quiet")


def exercise(copy, robot, folder):
    for name, wanted in RUNS.items():
        files = [path.relative_to(copy) for path in sorted((copy / "tests").glob("*.robot")) if wanted(path.name)]
        left_out = [word for tag in LEFT_OUT for word in ("--exclude", tag)]
        subprocess.run([robot, "--pythonpath", ".", "--console", "none", "--log", "none", "--report", "none", "--output", folder / f"{name}.xml",
                        "--variable", "environment:birthmark", *left_out, *files],
                       cwd=copy, check=False, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})


def main():
    copy, robot, folder = map(pathlib.Path, sys.argv[1:4])
    (folder / "server").mkdir(parents=True)
    (copy / "data/cert_logs").mkdir(parents=True, exist_ok=True)
    server = kit.Server(pathlib.Path(os.environ["BM_BUILD_DIR"]) / "bin/birthmark", folder / "server")
    try:
        furnish(server)
        (folder / "settings.json").write_text(json.dumps(settings(server, folder)))
        put_anchors(server, copy)
        (copy / "config/birthmark.robot").write_text(
            f"*** Settings ***\nVariables    {HERE / 'cmpsuite_variables.py'}    {folder / 'settings.json'}\nResource    mock_ca.robot\n")
        exercise(copy, robot, folder)
        server.stop()
    finally:
        server.kill()


main()
