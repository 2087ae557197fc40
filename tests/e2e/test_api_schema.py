"""The Admin API against its own description: the document is good OpenAPI, and what is served is what it says, also for input made up by
a machine."""

import json
import os
import subprocess
import sys

import openapi_spec_validator
import pytest

from kit import assert_no_reports
from test_api import api, token

SEED, EXAMPLES = 20261121, 4
# Acts that would end the run: the token it goes by, and the CA that everything stands on. The tool makes no PEM.
LEFT_OUT = ("token.revoke", "ca.revoke", "ca.compromise", "ca.default", "org.trust", "voucher.issue")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth"


@pytest.fixture
def served(new_server):
    s = new_server()
    s.init()
    s.furnish()
    s.boss = token(s, "boss")
    s.start()
    return s


def test_the_description_is_openapi(served):
    document = api(served, None, "GET", "/openapi.json").json
    openapi_spec_validator.validate(document)
    assert document["openapi"].startswith("3.1")
    assert document == json.loads(served.run("api", "openapi").stdout)


def test_other_methods_are_refused_with_those_that_there_are(served):
    """RFC 9110 section 15.5.6, for each path of the description."""
    paths = api(served, None, "GET", "/openapi.json").json["paths"]
    for path, item in paths.items():
        got = api(served, served.boss, "DELETE", path.removeprefix("/api/v1").replace("{", "").replace("}", ""))
        assert (got.status, got.code) == (405, "method-not-allowed"), (path, got)
        assert set(got.headers["Allow"].split(", ")) >= {method.upper() for method in item}, path


@pytest.mark.timeout(300)
def test_what_is_served_is_what_is_described(served, tmp_path):
    """Breaks when an answer has a status, type or form that the description does not know, when anything ends in a 5xx, or when a call goes
    through without its token."""
    left_out = [word for act in LEFT_OUT for word in ("--exclude-operation-id", act)]
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/api/v1/openapi.json", "--url", served.url, "--tls-verify",
         str(served.anchors()), "-H", f"Authorization: Bearer {served.boss}", "--checks", CHECKS, "--seed", str(SEED), "--max-examples",
         str(EXAMPLES), "--phases", "examples,coverage,fuzzing", "--workers", "1", "--generation-database", "none", "--no-color", *left_out],
        capture_output=True, text=True, timeout=280, cwd=tmp_path, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert_no_reports(served.folder)
    assert api(served, served.boss, "GET", "/status").status == 200
    served.run("log", "verify")
