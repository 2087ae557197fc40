"""Trust bundles: a device that runs the program of docs/trust.md follows a service to a new root, and nobody takes it back."""

import base64
import json
import re
import time

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from kit import TOP, Device, call, certs_of_pkcs7, est_enrol, sign_raw, wait_for
from test_ceremony import Offline

example = {}
exec(re.search(r"```python\n(.*?)```", (TOP / "docs" / "trust.md").read_text(), re.S).group(1), example)
follow = example["follow"]


def get(server, service="telemetry", **headers):
    return call(server, "GET", f"/trust/{service}.jws", headers=headers)


def bundle(server, service="telemetry"):
    answer = get(server, service)
    assert answer.status == 200, answer
    return answer.text


def says(jws):
    return json.loads(base64.urlsafe_b64decode(jws.split(".")[1] + "=="))


def b64u(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.fixture
def server(new_server):
    s = new_server()
    s.init()
    s.start()
    s.furnish(services=("telemetry", "updates"))
    return s


def root_of(server):
    return x509.load_pem_x509_certificate(server.anchors().read_bytes())


def test_follows_to_a_new_root(server, cli, tmp_path):
    old = [root_of(server)]
    first = bundle(server)
    assert says(first)["version"] == 1 and says(first)["previous"] == ""
    assert [c["use"] for c in says(first)["certificates"]] == ["root", "intermediate"]
    assert follow("telemetry", first, old) == old

    # a new root is made known, below the old one's word
    offline = Offline(cli, tmp_path / "offline")
    offline.begin(shares=2, threshold=2)
    csr, signed = tmp_path / "a.csr", tmp_path / "a.pem"
    server.run("ca", "request", "field", "--out", csr)
    offline.sign(csr, signed, offline.share(1), offline.share(2), phrases=["", "correct horse"])
    server.run("ca", "import", "field", signed, "--root-name", "vault")
    assert bundle(server) == first  # it is nothing to this service yet
    server.run("ca", "rotate", "issuing", "--onto", "field", "--at", "6s")
    second = bundle(server)
    both = follow("telemetry", second, old, first)
    assert says(second)["version"] == 2 and len(both) == 2

    # it takes over, and the old one goes
    wait_for("the moment", lambda: server.run("ca", "retire", "issuing", want=None).returncode == 0)
    server.run("ca", "retire", "root")
    (server.folder / "root.pem").write_bytes((offline.dir / "root.crt").read_bytes())

    def moved():
        try:
            return bundle(server)
        except OSError:  # the server's certificate is still the old one's
            return None

    third = wait_for("the bundle of the new root", moved)
    new = [x509.load_pem_x509_certificate((offline.dir / "root.crt").read_bytes())]
    assert follow("telemetry", third, both, second) == new
    assert says(third)["version"] == 3

    # back again: not with the old root's word, nor with a bundle of days gone by
    for jws, roots, held, why in ((first, both, second, "rolled back"), (second, both, third, "rolled back"), (second, new, third, "lead"),
                                  (first, new, third, "lead"), (third, old, first, "lead")):
        with pytest.raises(ValueError, match=why):
            follow("telemetry", jws, roots, held)
    with pytest.raises(ValueError, match="not now"):
        follow("telemetry", third, new, now=time.time() + 31 * 86400 - 7200)
    with pytest.raises(ValueError, match="not the one after"):
        follow("telemetry", third, both, second + " ")
    assert server.run("log", "verify").returncode == 0


def test_unchanged_and_refused(server, tmp_path):
    roots = [root_of(server)]
    first = bundle(server)
    assert bundle(server) == first  # the same bytes while nothing changes
    etag = get(server).headers["ETag"]
    again = get(server, **{"If-None-Match": etag})
    assert (again.status, again.body) == (304, b"") and again.headers["ETag"] == etag
    assert get(server).headers["Content-Type"] == "application/jose"
    shown = server.ask("trust", "show", "telemetry")
    assert (shown["version"], shown["jws"]) == (1, first) and len(shown["certificates"]) == 2
    assert server.run("trust", "export", "telemetry").stdout.strip() == first
    for name in ("nobody", "x" * 70):
        answer = get(server, name)
        assert (answer.status, answer.code) == (404, "unknown-service")

    # each service has versions of its own, and one's bundle is not the other's
    other = bundle(server, "updates")
    with pytest.raises(ValueError, match="somebody else"):
        follow("telemetry", other, roots)
    head, body, signature = first.split(".")
    changed = {**says(first), "version": 7}
    with pytest.raises(InvalidSignature):
        follow("telemetry", f"{head}.{b64u(json.dumps(changed).encode())}.{signature}", roots)

    # a device's certificate leads to the same root, and signs nothing
    device = Device()
    server.register(device)
    answer, key = est_enrol(server, device, tmp_path)
    leaf = certs_of_pkcs7(answer.body)[0].public_bytes(serialization.Encoding.DER)
    header = b64u(json.dumps({"alg": "ES256", "typ": "birthmark-trust+json", "x5c": [base64.b64encode(leaf).decode()]}).encode())
    forged = f"{header}.{b64u(json.dumps(changed).encode())}"
    with pytest.raises(ValueError, match="may not sign"):
        follow("telemetry", f"{forged}.{b64u(sign_raw(key, forged.encode()))}", roots)

    # any change of its CAs makes the next version, once; what is another service's, or nobody's, is none of its business
    server.run("ca", "create", "more", "--parent", "root")
    assert bundle(server) == first
    server.run("service", "set", "updates", "--ca", "more")
    assert bundle(server) == first and says(bundle(server, "updates"))["version"] == 2
    server.run("batch", "set", "reel-1", "--ca", "more")
    second = bundle(server)
    assert says(second)["version"] == 2 and follow("telemetry", second, roots, first) == roots
    assert bundle(server) == second
    server.run("batch", "set", "reel-1", "--ca", "issuing")
    assert bundle(server) == second  # there are certificates of it out there
    server.run("ca", "revoke", "more")
    assert says(bundle(server))["version"] == 3
    # and it is as good after a restart
    server.stop()
    server.start()
    assert says(bundle(server))["version"] == 3
