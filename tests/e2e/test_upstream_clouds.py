"""Upstream CAs in clouds: AWS Private CA, and CAs whose key is in AWS KMS or Azure Key Vault (cloudkit.py says what stands for them here). What breaks
here: a request is signed otherwise than AWS wants, one request is paid for twice, a certificate that the CA's key has not signed reaches a device,
a secret lies in the registry, or a busy cloud costs a device its certificate."""

import os
import signal
from datetime import datetime, timedelta, timezone

import pytest
from azure.identity import ClientSecretCredential
from azure.keyvault.keys.crypto import CryptographyClient, SignatureAlgorithm
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from cloudkit import ACCESS, SECRET, Aws, Vault
from kit import KEYS, PEM, Device, assert_told, certs_of_pkcs7, est_enrol, until_answered, wait_for


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    it = Aws(tmp_path_factory.mktemp("aws"))
    it.start()
    yield it
    it.gate.set()
    it.stop()


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    it = Vault(tmp_path_factory.mktemp("vault"))
    it.start()
    yield it
    it.gate.set()
    it.stop()


@pytest.fixture(scope="module")
def served(shared_servers, aws, vault, tmp_path_factory):
    """All three, each with a batch of its own."""
    folder, server = tmp_path_factory.mktemp("clouds"), shared_servers()
    server.init()
    server.start("--workers", 1)
    server.furnish()
    server.roots, server.spare = {}, {}
    arn, pca = aws.private_ca()
    kms, root = aws.kms_ca()
    aws_login, vault_login = folder / "aws-login", folder / "vault-login"
    aws_login.write_text(f"{ACCESS}:{SECRET}\n")
    vault_login.write_text(f"{vault.CLIENT}:{vault.SECRET}\n")
    for name, driver, at, login, options, pem in [
        ("pca", "aws-pca", aws, aws_login, f"ca={arn},template=arn:aws:acm-pca:::template/EndEntityCertificate/V1", pca),
        ("kms", "aws-kms", aws, aws_login, f"key={kms}", root),
        ("vault", "azure-vault", vault, vault_login,
         f"key={vault.NAME}/{vault.VERSION},token={vault.url}/{vault.TENANT}/oauth2/v2.0/token", vault.root.public_bytes(PEM).decode()),
    ]:
        chain = folder / f"{name}.pem"
        chain.write_text(pem)
        server.run("ca", "upstream", name, "--driver", driver, "--url", at.url, "--chain", chain, "--trust", at.trust, "--login", login,
                   "--options", options)
        server.run("batch", "create", f"reel-{name}", "--product", "sensor", "--quota", 100)
        server.run("batch", "set", f"reel-{name}", "--ca", name)
        server.roots[name] = x509.load_pem_x509_certificate(pem.encode())
        server.spare[name] = [Device() for _ in range(14)]
        server.register(*server.spare[name], name=f"m-{name}", batch=f"reel-{name}")
    return server


@pytest.fixture(autouse=True)
def calm(aws, vault):
    for it in (aws, vault):
        it.mode, it.asked[:] = "ok", []
        it.gate.set()
    yield
    assert aws.wrong == [], "a request that AWS would not have taken"


def enrol(server, device, folder, key):
    return est_enrol(server, device, folder, key, subject=device.udid)[0]


def poll(server, device, folder, key):
    return until_answered(lambda: enrol(server, device, folder, key))


def signed_by(root, cert):
    cert.verify_directly_issued_by(root)
    return cert


def calls(aws):
    return [call for call, _ in aws.asked]


# --- each as it should be ---------------------------------------------------------------------------------------------------------------

def test_private_ca(served, aws, tmp_path):
    """Breaks when AWS would not take our calls, or the certificate that Private CA made is not given to the device."""
    device, key = served.spare["pca"].pop(), KEYS["P-256"]()
    assert enrol(served, device, tmp_path, key).status == 202
    answer = poll(served, device, tmp_path, key)
    assert answer.status == 200, answer
    cert = signed_by(served.roots["pca"], certs_of_pkcs7(answer.body)[0])
    assert cert.public_key() == key.public_key() and served.state(device) == "active"
    (issue, asked), (get, _) = aws.asked
    assert (issue, get) == ("IssueCertificate", "GetCertificate")
    assert asked["SigningAlgorithm"] == "SHA256WITHRSA" and asked["TemplateArn"].endswith("EndEntityCertificate/V1")
    until = datetime.fromtimestamp(asked["Validity"]["Value"], timezone.utc)
    assert asked["Validity"]["Type"] == "ABSOLUTE" and until <= served.roots["pca"].not_valid_after_utc


@pytest.mark.parametrize("name", ["kms", "vault"])
def test_a_remote_key(served, name, vault, tmp_path):
    """Breaks when the certificate is not the profile's, as it is with a CA of ours, or is not signed by the key that is elsewhere."""
    device, key = served.spare[name].pop(), KEYS["P-256"]()
    assert enrol(served, device, tmp_path, key).status == 202
    answer = poll(served, device, tmp_path, key)
    assert answer.status == 200, answer
    cert = signed_by(served.roots[name], certs_of_pkcs7(answer.body)[0])
    assert cert.public_key() == key.public_key()
    assert device.udid in cert.subject.rfc4514_string() and not cert.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == (
        served.roots[name].extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest)
    assert cert.not_valid_after_utc <= served.roots[name].not_valid_after_utc
    assert served.state(device) == "active"
    again = poll(served, device, tmp_path, KEYS["P-256"]())
    assert again.status == 200 and certs_of_pkcs7(again.body)[0].serial_number != cert.serial_number


@pytest.mark.parametrize("spec,alg", [("ECC_NIST_P384", "P-384"), ("RSA_2048", "RSA-2048")])
def test_other_kinds_of_key(served, aws, tmp_path, spec, alg):
    """Breaks when the digest or the name of the algorithm does not go with the CA's key."""
    arn, pem = aws.kms_ca(spec)
    chain, login, device = tmp_path / "chain.pem", tmp_path / "login", Device()
    chain.write_text(pem)
    login.write_text(f"{ACCESS}:{SECRET}\n")
    name = alg.lower()
    served.run("ca", "upstream", name, "--driver", "aws-kms", "--url", aws.url, "--chain", chain, "--trust", aws.trust, "--login", login,
               "--options", f"key={arn}")
    served.run("batch", "create", f"reel-{name}", "--product", "sensor", "--quota", 5)
    served.run("batch", "set", f"reel-{name}", "--ca", name)
    served.register(device, name=f"m-{name}", batch=f"reel-{name}")
    answer = poll(served, device, tmp_path, KEYS["P-256"]())
    assert answer.status == 200, answer
    signed_by(x509.load_pem_x509_certificate(pem.encode()), certs_of_pkcs7(answer.body)[0])


def test_the_vault_is_asked_as_microsofts_client_asks(served, vault, tmp_path):
    """Breaks when our requests to the vault differ from those of Microsoft's own client library in anything that a vault looks at."""
    assert poll(served, served.spare["vault"].pop(), tmp_path, KEYS["P-256"]()).status == 200
    credential = ClientSecretCredential(vault.TENANT, vault.CLIENT, vault.SECRET, authority=vault.url, disable_instance_discovery=True,
                                        connection_verify=str(vault.trust))
    client = CryptographyClient(f"{vault.url}/keys/{vault.NAME}/{vault.VERSION}", credential, verify_challenge_resource=False,
                                connection_verify=str(vault.trust), api_version="7.4")
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"any text")
    client.sign(SignatureAlgorithm.es256, digest.finalize())
    ours, theirs = ([r[1:] for r in vault.requests if r[0] is who][-1] for who in (True, False))
    assert ours == theirs
    assert "https://vault.azure.net/.default" in vault.scopes and vault.asked[-2:] == [
        f"/{vault.TENANT}/oauth2/v2.0/token", f"/keys/{vault.NAME}/{vault.VERSION}/sign"]


# --- what a cloud may answer ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name,mode,word", [
    ("pca", "denied", "400 AccessDeniedException: you are \\x1b[31mnot"), ("pca", "garbage", "no JSON"), ("pca", "empty", "names no certificate"),
    ("pca", "foreign-arn", "names no certificate of the CA"), ("pca", "oversized", "longer than"),
    ("pca", "GetCertificate:bad-pem", "none is over"), ("pca", "GetCertificate:empty", "no certificate"),
    ("pca", "GetCertificate:other-key", "none is over the device"),
    ("kms", "denied", "AccessDeniedException"), ("kms", "wrong-signature", "no signature of the CA"), ("kms", "no-signature", "holds no signature"),
    ("kms", "garbage", "holds no signature"),
    ("vault", "forbidden", "403 Forbidden: no \\x1b[31msign"), ("vault", "other-key", "no signature of the CA"),
    ("vault", "short", "no signature of the CA"), ("vault", "garbage", "holds no signature"), ("vault", "empty", "holds no signature"),
    ("vault", "expired", "401 Unauthorized: token expired"), ("vault", "oversized", "longer than")])
def test_a_no_or_a_lie_is_told(served, aws, vault, tmp_path, name, mode, word):
    """Breaks when what a cloud sends is believed, is asked again for ever, or its words reach a terminal as they came."""
    device = served.spare[name].pop()
    (vault if name == "vault" else aws).mode = mode
    answer = poll(served, device, tmp_path, KEYS["P-256"]())
    assert answer.status == 403 and answer.code in ("upstream-refused", "outbound-too-long"), answer
    assert word in answer.text, answer.text
    assert_told(served, answer)
    assert served.state(device) == "allocated"


@pytest.mark.parametrize("name,mode", [
    ("pca", "IssueCertificate:throttled"), ("pca", "IssueCertificate:busy"), ("pca", "GetCertificate:progress"), ("kms", "Sign:throttled"),
    ("vault", "throttled:once"), ("vault", "expired:once"), ("vault", "token-busy")])
def test_not_now(served, aws, vault, tmp_path, name, mode):
    """Breaks when a cloud that is busy, still at work, or wants a new token costs a device its certificate."""
    device, key = served.spare[name].pop(), KEYS["P-256"]()
    it = vault if name == "vault" else aws
    it.mode = mode
    answer = poll(served, device, tmp_path, key)
    assert answer.status == 200, answer
    assert it.mode == "ok" and len(it.asked) >= 2
    signed_by(served.roots[name], certs_of_pkcs7(answer.body)[0])


def test_away_and_killed_between_steps(served, aws, vault, tmp_path):
    """Breaks when a request is lost, or paid for twice, as the cloud is away or everything of ours dies in the middle of it."""
    pca, azure, key = served.spare["pca"].pop(), served.spare["vault"].pop(), KEYS["P-256"]()
    aws.stop()
    assert enrol(served, pca, tmp_path, key).status == 202
    aws.gate.clear()  # before it is back: what waits is asked again at any moment
    vault.gate.clear()
    aws.start()
    assert enrol(served, azure, tmp_path, key).status == 202
    wait_for("the first step of both", lambda: aws.asked and vault.asked)
    served.kill()
    aws.gate.set()
    vault.gate.set()
    served.start("--workers", 1)
    for name, device in (("pca", pca), ("vault", azure)):
        answer = poll(served, device, tmp_path, key)
        assert answer.status == 200, answer
        signed_by(served.roots[name], certs_of_pkcs7(answer.body)[0])
    assert calls(aws).count("IssueCertificate") >= 2
    assert len({m["IdempotencyToken"] for c, m in aws.asked if c == "IssueCertificate"}) == 1, "Private CA has made two of one request"


def test_nothing_secret_is_at_rest(served, vault):
    """Breaks when a password, or a bearer token between two steps, can be read in the registry."""
    rest = b"".join(p.read_bytes() for p in served.data.glob("registry.db*"))
    for secret in (SECRET, vault.SECRET, *vault.bearers):
        assert secret.encode() not in rest
    assert vault.bearers


def test_what_is_needed_is_asked_for(served, aws, tmp_path):
    """Breaks when an upstream CA is taken in that can never answer."""
    chain, login = tmp_path / "chain.pem", tmp_path / "login"
    chain.write_bytes(served.roots["pca"].public_bytes(PEM))
    login.write_text("a:b\n")
    common = ("--chain", chain)
    for driver, words, said in [
        ("aws-pca", (), "ACCESS-KEY-ID:SECRET"),
        ("aws-pca", ("--login", login), "wants ca=arn:aws:acm-pca"),
        ("aws-pca", ("--login", login, "--options", "ca=arn:aws:kms:r:1:x"), "no ARN of acm-pca"),
        ("aws-pca", ("--login", login, "--options", "ca=arn:aws:acm-pca:r:1:x,days=none"), "days is a number"),
        ("aws-pca", ("--login", login, "--options", "key=x"), "has no 'key'"),
        ("aws-kms", ("--login", login), "wants key=arn:aws:kms"),
        ("aws-kms", ("--login", login, "--url", aws.url + "/path"), "without a path"),
        ("azure-vault", ("--login", login), "key=NAME/VERSION"),
        ("azure-vault", ("--login", login, "--options", "key=a/b,token=http://x/"), "wants token=https"),
        ("azure-vault", ("--options", "key=a/b,token=https://x/"), "CLIENT-ID:CLIENT-SECRET"),
    ]:
        out = served.run("ca", "upstream", "third", "--driver", driver, *common,
                         *(() if "--url" in words else ("--url", aws.url)), *words, want=None)
        assert out.returncode != 0 and said in out.stdout + out.stderr, (driver, words, out)
    assert "third" not in served.run("ca", "list").stdout
