"""x509-limbo (C2SP/x509-limbo): chains made to be validated wrongly, through the checks that a birth certificate goes through."""
import base64
import datetime
import itertools
import json
import os
import pathlib
import re
import tempfile

from pkits import names, paths
from suite import BUILD, KEPT, NotHere, Result, ask

# No package registry has it. The lists below go with its commit 8a2e6f41023b.
CASES = pathlib.Path(os.environ.get("BM_LIMBO", KEPT / "limbo.json"))
PATH_MAX = 16  # of path_check
AT = 1767225600  # 2026-01-01, for cases that are valid at any time

# Nothing to ask here: no name is matched by the path check, CRLs of foreign CAs are not read, and the depth is no setting.
NO_SAY = ("webpki::(san|cn)::|rfc5280::san::(ip-in-dns|underscore-dns)|rfc5280::ca-as-leaf-wrong-san|crl::|pathlen::max-chain-depth|"
          "bettertls::|online::")

PROFILE = ("takes: what RFC 5280 section 4 has a CA write, and the path validation of its section 6.1 does not look at (key identifiers that are missing or "
           "critical, basicConstraints not critical, a CA without a name, serial number 0, keyCertSign in a leaf)")
LEAF = "takes: an unknown critical extension counts in CAs alone; nothing but the key is used of a birth certificate, and that key is in the registry"
PURPOSE = "takes: the path check asks for no extended key usage; a protocol that wants one of its clients' certificates asks for it itself"
PUBLIC = "takes: rules of the CA/Browser Forum for public CAs and their subscribers, stricter than RFC 5280; no public CA stands behind a birth certificate"
LEAF_KEY = "takes: a leaf's own key is judged where it is used, not by the path check: DSA, weak RSA and weak curves are refused there"
CONSTRAINED = "refuses: a CA with name constraints, which are not processed, as RFC 5280 section 4.2 has it"
DEPTH = "refuses: below a path length of 0 no CA is taken, not even as the last of the path"
KNOWN = (
    ("rfc5280::(aki::(critical-aki|cross-signed-root-missing-aki|intermediate-missing-aki|leaf-missing-aki)|ca-empty-subject|ee-critical-aia-invalid|"
     "leaf-ku-keycertsign|nc::not-allowed-in-ee-noncritical|root-non-critical-basic-constraints|san::noncritical-with-empty-subject|serial::zero|"
     "ski::(intermediate|root)-missing-ski)$", PROFILE),
    ("rfc5280::(nc::not-allowed-in-ee-critical|unknown-critical-extension-ee)$", LEAF),
    ("rfc5280::eku::ee-wrong-eku$", PURPOSE),
    ("webpki::(aki::root-with-aki-|ca-as-leaf$|ee-basicconstraints-ca$|eku::(ee-anyeku|ee-critical-eku|ee-without-eku|root-has-eku)$|"
     "forbidden-rsa-not-divisible-by-8-in-root$|v1-cert$)", PUBLIC),
    ("webpki::forbidden-(dsa-leaf|p192-leaf|rsa-key-not-divisible-by-8-in-leaf|weak-rsa-in-leaf)$", LEAF_KEY),
    ("rfc5280::nc::(excluded-different-constraint-type|nc-forbids-(alternate-chain-ica|othername-noop)|"
     "nc-permits-email-(domain|exact|literal-(asterisk-exact-match|double-asterisk|mid-asterisk))|"
     "permitted-(different-constraint-type|dn-match|dns-match|dns-match-more|ipv4-match|ipv6-match|self-issued))$|"
     "webpki::nc::(nc-permits-dns-san-pattern|permitted-dns-match-noncritical)$", CONSTRAINED),
    ("pathlen::validation-ignores-pathlen-in-leaf$", DEPTH),
)


def load():
    try:
        return json.loads(CASES.read_bytes())["testcases"]
    except FileNotFoundError as e:
        raise NotHere(f"it is in no package registry; put limbo.json of C2SP/x509-limbo at {CASES}, or say where it is in BM_LIMBO") from e
    except (ValueError, KeyError, TypeError) as e:
        raise NotHere(f"{CASES} is not x509-limbo's limbo.json") from e


def put(folder, name, pem):
    path = folder / name
    path.write_bytes(base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----"))))
    return path


def time_of(case):
    text = case.get("validation_time")
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()) if text else AT


def offered(leaf, between, anchors):
    """Paths to try: those that the names make, and where they make none all that there is in the order given, for the check to say why not."""
    certs = {path: names(path.read_bytes()) for path in (leaf, *between, *anchors)}
    found = list(itertools.islice(paths(leaf, certs, anchors), 64))
    return found or [[*[leaf, *between][:PATH_MAX - 1], anchor] for anchor in anchors]


def judge(folder, case):
    leaf = put(folder, "leaf.der", case["peer_certificate"])
    between = [put(folder, f"ca{i}.der", pem) for i, pem in enumerate(case["untrusted_intermediates"])]
    anchors = [put(folder, f"anchor{i}.der", pem) for i, pem in enumerate(case["trusted_certs"])]
    saw = ["there is nothing to trust"]
    for path in offered(leaf, between, anchors):
        done = ask(BUILD / "conformance/path_check", time_of(case), *path)
        saw.append(done.stdout.strip() or f"path_check ended with {done.returncode}: {done.stderr.strip()}")
        if saw[-1] == "ok":
            break
    return saw[-1]


def known(test):
    return next((why for pattern, why in KNOWN if re.match(pattern, test)), None)


def run():
    result = Result("x509-limbo", "chains")
    for case in load():
        if re.match(NO_SAY, case["id"]):
            result.passed_over += 1
            continue
        with tempfile.TemporaryDirectory(dir=KEPT) as folder:
            saw = judge(pathlib.Path(folder), case)
        want = case["expected_result"]
        if saw.startswith("path_check ended"):
            result.unexpected[case["id"]] = saw
        else:
            result.put(case["id"], (want == "SUCCESS") == (saw == "ok"), f"{want}, and {saw}", known(case["id"]))
    yield result
