"""`birthmark policy test`: what a request would get, asked before the request is made, is what the device then gets."""

import datetime
import json
import ssl
import urllib.request

import pytest
from cryptography import x509

import kit
from kit import PEM, Device, make_csr


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(quota=1)
    s.start()
    return s


def told(server, *words, want=0):
    return json.loads(server.run("policy", "test", *words, "--json", want=want).stdout)


def same(cert, said):
    """The certificate that came is the one that was told of."""
    assert said["certificate"]["subject"] == cert.subject.rfc4514_string()
    assert said["certificate"]["issuer"] == cert.issuer.rfc4514_string()
    san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert said["certificate"]["san"] == [f"uri:{u}" for u in san.get_values_for_type(x509.UniformResourceIdentifier)]
    assert said["certificate"]["eku"] == ["clientAuth"] and said["certificate"]["key_usage"] == ["digitalSignature"]
    assert abs(x509_time(said["certificate"]["not_after"]) - cert.not_valid_after_utc.timestamp()) < 60


def x509_time(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_told_and_then_given(server, tmp_path):
    """PEM and DER, by UDID and by certificate; the last place of the quota is told of twice and is still there; then it is gone."""
    d, late = Device(), Device()
    server.register(d, late)
    key = kit.KEYS["P-256"]()
    csr = make_csr(key)
    (tmp_path / "r.der").write_bytes(csr)
    (tmp_path / "r.pem").write_bytes(x509.load_der_x509_csr(csr).public_bytes(PEM))
    certificate, _ = d.files(tmp_path)
    said = told(server, "--csr", tmp_path / "r.der", "--udid", d.udid)
    assert said["granted"] and said["uses_quota"] and said["quota_left"] == 1 and said["ca"] == "issuing" and said["service"] == "telemetry"
    again = told(server, "--csr", tmp_path / "r.pem", "--certificate", certificate)
    assert again["granted"] and again["quota_left"] == 1
    answer, _ = kit.est_enrol(server, d, tmp_path, key=key, csr=csr)
    assert answer.status == 200, answer
    same(kit.certs_of_pkcs7(answer.body)[0], said)
    refused = told(server, "--csr", tmp_path / "r.der", "--udid", late.udid, want=1)
    assert (refused["granted"], refused["code"]) == (False, "quota-exceeded")
    answer, _ = kit.est_enrol(server, late, tmp_path)
    assert answer.code == refused["code"] and refused["what"] in answer.text


def test_for_people(server, tmp_path):
    (tmp_path / "r.der").write_bytes(make_csr(kit.KEYS["P-256"]()))
    text = server.run("policy", "test", "--csr", tmp_path / "r.der", "--udid", "00" * 32, want=1).stdout
    assert "unknown-device" in text and "granted" in text
    server.run("policy", "test", "--csr", tmp_path / "r.der", want=2)
    server.run("policy", "test", "--csr", tmp_path / "nothing", "--udid", "00" * 32, want=3)


def test_over_the_api(server, tmp_path):
    """With a token that may read; nothing of it is in the audit log."""
    d = Device()
    server.register(d, name="m-api")
    token = server.ask("token", "create", "reader", "--role", "auditor")["token"]
    size = server.ask("log", "head")["size"]
    csr = x509.load_der_x509_csr(make_csr(kit.KEYS["P-256"]())).public_bytes(PEM).decode()
    request = urllib.request.Request(f"https://127.0.0.1:{server.port}/api/v1/policy/test", json.dumps({"csr": csr, "udid": d.udid}).encode(),
                                     {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=server.anchors())) as reply:
        assert json.load(reply)["code"] == "quota-exceeded"
    assert server.ask("log", "head")["size"] == size
