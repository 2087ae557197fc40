"""Manual approval as a device and an operator see it: EST answers 202 with Retry-After (RFC 7030 section 4.2.3) until somebody has said yes,
over the command or over the Admin API; and the row survives a server that is killed."""

import base64
import json

import pytest

import kit
from kit import EST, Device, assert_refused, call, certs_of_pkcs7, est_enrol, spki_of


@pytest.fixture(scope="module")
def server(shared_servers):
    s = shared_servers()
    s.init()
    s.furnish(policy=("--approval", "always", "--server-keygen", "yes"))
    s.start()
    return s


@pytest.fixture
def device(server, request):
    d = Device()
    server.register(d, name=f"m-{abs(hash(request.node.name)) % 10**8}")
    return d


def pending(answer):
    assert answer.status == 202 and answer.code == "approval-pending", answer
    assert int(answer.headers["Retry-After"]) > 0  # RFC 7030 section 4.2.3: MUST be there
    assert "approval approve" in answer.text
    return answer


def waiting(server, device):
    (row,) = server.ask("approval", "list", "--state", "waiting", "--udid", device.udid)["rows"]
    return row


def test_waits_for_a_yes(server, device, tmp_path):
    answer, key = est_enrol(server, device, tmp_path)
    pending(answer)
    row = waiting(server, device)
    assert row["correlation"] == answer.correlation and row["batch"] == "reel-1" and row["service"] == "telemetry"
    assert "approval-pending" in server.run("why", answer.correlation).stdout
    pending(est_enrol(server, device, tmp_path, key=key)[0])
    assert waiting(server, device)["id"] == row["id"]
    assert any("wait for approval" in w for w in server.ask("status")["warnings"])
    assert server.state(device) == "allocated"
    server.run("approval", "approve", row["id"])
    answer, _ = est_enrol(server, device, tmp_path, key=key)
    assert answer.status == 200, answer
    (cert,) = certs_of_pkcs7(answer.body)
    assert cert.public_key().public_numbers() == key.public_key().public_numbers()
    pending(est_enrol(server, device, tmp_path, key=key)[0])
    assert "approval.approved" in server.run("why", device.udid).stdout


def test_denied(server, device, tmp_path):
    _, key = est_enrol(server, device, tmp_path)
    number = waiting(server, device)["id"]
    server.run("approval", "deny", number)
    assert_refused(server, est_enrol(server, device, tmp_path, key=key)[0], 403, "approval-denied")
    assert "denied already" in server.run("approval", "deny", number, want=4).stderr
    server.run("approval", "approve", number)
    assert est_enrol(server, device, tmp_path, key=key)[0].status == 200
    assert server.run("approval", "approve", 999999, want=3).stderr


def test_keys_made_here(server, device, tmp_path):
    """RFC 7030 section 4.4: no key is known yet, so the yes is for device and service."""
    pending(est_enrol(server, device, tmp_path, op="serverkeygen")[0])
    server.run("approval", "approve", waiting(server, device)["id"])
    answer, _ = est_enrol(server, device, tmp_path, op="serverkeygen")
    assert answer.status == 200 and b"multipart/mixed" in answer.headers["Content-Type"].encode(), answer


def test_renewal_waits_too(server, device, tmp_path):
    _, key = est_enrol(server, device, tmp_path)
    server.run("approval", "approve", waiting(server, device)["id"])
    (cert,) = certs_of_pkcs7(est_enrol(server, device, tmp_path, key=key)[0].body)
    renew = dict(op="simplereenroll", subject=cert.subject, cert=cert, cert_key=key, key=key)
    pending(est_enrol(server, device, tmp_path, **renew)[0])
    server.run("approval", "approve", waiting(server, device)["id"])
    assert est_enrol(server, device, tmp_path, **renew)[0].status == 200


def test_over_the_admin_api(server, device, tmp_path):
    """An operator's token decides; an auditor's looks; an OEM's reaches its own."""
    def token(name, *more):
        return server.ask("token", "create", f"{name}-{device.udid[:8]}", "--role", name, *more)["token"]

    def api(who, method, path):
        answer = call(server, method, "/api/v1/" + path, b"{}" if method == "POST" else None,
                      {"Authorization": f"Bearer {who}", "Content-Type": "application/json"})
        return answer.status, json.loads(answer.body)

    _, key = est_enrol(server, device, tmp_path)
    server.run("org", "create", f"other-{device.udid[:8]}", "--role", "oem")
    auditor, oem = token("auditor"), token("oem", "--org", "oem")
    other = server.ask("token", "create", f"x-{device.udid[:8]}", "--role", "oem", "--org", f"other-{device.udid[:8]}")["token"]
    kit.wait_for("the API", lambda: api(auditor, "GET", "status")[0] == 200)
    status, rows = api(auditor, "GET", f"approvals?udid={device.udid}")
    number = rows["rows"][0]["id"]
    assert status == 200 and api(other, "GET", f"approvals?udid={device.udid}")[1]["rows"] == []
    assert api(auditor, "POST", f"approvals/{number}/approve")[0] == 403
    assert api(other, "POST", f"approvals/{number}/approve")[0] == 404
    status, said = api(oem, "POST", f"approvals/{number}/approve")
    assert status == 200 and said["number"] == number and said["state"] == "approved"
    assert est_enrol(server, device, tmp_path, key=key)[0].status == 200


def test_a_code_is_not_used_up_by_waiting(server, device, tmp_path):
    code = server.ask("code", "create", "--udid", device.udid)["codes"][0]["code"]
    key = kit.KEYS["P-256"]()
    basic = base64.b64encode(f"{device.udid}:{code}".encode()).decode()

    def enrol():
        return call(server, "POST", EST + "simpleenroll", base64.b64encode(kit.make_csr(key)),
                    {"Content-Type": "application/pkcs10", "Authorization": f"Basic {basic}"})

    pending(enrol())
    pending(enrol())
    server.run("approval", "approve", waiting(server, device)["id"])
    answer = enrol()
    assert answer.status == 200, answer
    (cert,) = certs_of_pkcs7(answer.body)
    assert cert.public_key().public_numbers() == key.public_key().public_numbers() and spki_of(key)
    assert_refused(server, enrol(), 403, "code-used-up")


def test_survives_a_kill(server, device, tmp_path):
    _, key = est_enrol(server, device, tmp_path)
    number = waiting(server, device)["id"]
    server.kill()
    server.start()
    pending(est_enrol(server, device, tmp_path, key=key)[0])
    assert waiting(server, device)["id"] == number
    server.run("approval", "approve", number)
    server.kill()
    server.start()
    assert est_enrol(server, device, tmp_path, key=key)[0].status == 200
