"""GetNextCACert (RFC 8894 section 4.7): what comes after a CA, in its own words, verified by openssl with nothing but what a client had before."""

import subprocess
import warnings

import pytest
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

import kit
import scep
from kit import PEM, Device
from scep import SUCCESS, Scep


@pytest.fixture(scope="module", params=["EC:P-256", "RSA:2048"])
def server(shared_servers, request):
    s = shared_servers()
    s.init("--ca-alg", request.param)
    s.furnish()
    s.http_port = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{s.http_port}")
    yield s
    s.stop()


ORDER = ["SCEP RA", "Issuing CA", "Root CA"]


def next_of(client, ca, folder):
    """The certificates, once the signature is found to be the CA's own."""
    answer = client.get("GetNextCACert")
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/x-x509-next-ca-cert", answer
    (folder / "next.der").write_bytes(answer.body)
    (folder / "ca.pem").write_bytes(ca.public_bytes(PEM))
    words = ("openssl", "cms", "-verify", "-inform", "DER", "-in", folder / "next.der", "-binary", "-purpose", "any", "-partial_chain",
             "-CAfile", folder / "ca.pem", "-nointern", "-certfile", folder / "ca.pem")
    inside = subprocess.run(words, capture_output=True)
    assert inside.returncode == 0, inside.stderr
    with warnings.catch_warnings():  # the RA's comes first, whatever the order of DER would be
        warnings.simplefilter("ignore")
        return sorted(pkcs7.load_der_pkcs7_certificates(inside.stdout), key=lambda c: (ORDER.index(unit(c)), c.not_valid_before_utc))


def unit(cert):
    return cert.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0].value


def words_of(client):
    return client.get("GetCACaps").body.decode().split()


def test_next(server, tmp_path):
    client = Scep(server.http_port)
    ra, ca, root = client.chain()
    answer = client.get("GetNextCACert")
    assert (answer.status, answer.code) == (404, "scep-no-next-ca") and "GetNextCACert" not in words_of(client)

    # announced, an hour before: the same answer for all, and no new signature for each
    server.run("ca", "rotate", "issuing", "--at", "1h")
    told = next_of(client, ca, tmp_path)
    assert [unit(c) for c in told] == ORDER and told[2] == root
    assert told[0].issuer == told[1].subject != ca.subject and told[0] != ra
    assert client.get("GetNextCACert").body == client.get("GetNextCACert").body == (tmp_path / "next.der").read_bytes()
    assert "GetNextCACert" in words_of(client) and client.chain() == [ra, ca, root]

    # the root gets a new key: it and both links come along
    server.run("ca", "rollover", "root", "root-2")
    told = next_of(client, ca, tmp_path)
    new_root = next(c for c in told if unit(c) == "Root CA" and c != root and is_signed_by(c, c))
    links = [c for c in told[2:] if c not in (root, new_root)]
    assert len(told) == 6 and len(links) == 2
    assert any(is_signed_by(c, root) and keys(c) == keys(new_root) for c in links), "NewWithOld"
    assert any(is_signed_by(c, new_root) and keys(c) == keys(root) for c in links), "OldWithNew"

    # another CA, with no successor, but under that root
    server.run("ca", "create", "other", "--parent", "root")
    other = Scep(server.http_port, "/scep/other")
    assert {keys(c) for c in next_of(other, other.chain()[1], tmp_path)} == {keys(new_root), keys(root)}

    # a device that knows the successor's RA beforehand can use it
    device = Device("RSA-2048")
    server.register(device)
    content = scep.envelope(scep.csr(device.key), told[0])
    reply = client.send(scep.message(content, device.key, device.cert), told[0])
    assert reply.status == SUCCESS


def test_from_then_on(shared_servers, tmp_path):
    """After the moment the default path is the successor's; the old one's path still says who followed it, in its own words."""
    s = shared_servers()
    s.init()
    port = kit.free_port()
    s.start("--listen-http", f"127.0.0.1:{port}")
    client = Scep(port)
    old = client.chain()
    s.run("ca", "rotate", "issuing")
    assert client.chain()[1] != old[1]
    assert client.get("GetNextCACert").code == "scep-no-next-ca" and "GetNextCACert" not in words_of(client)
    told = next_of(client.at("/scep/issuing"), old[1], tmp_path)
    assert told == client.chain()
    s.stop()


def keys(cert):
    return cert.public_key().public_bytes(kit.DER, kit.serialization.PublicFormat.SubjectPublicKeyInfo)


def is_signed_by(cert, by):
    try:
        cert.verify_directly_issued_by(by)
    except Exception:
        return False
    return True
