"""Project Wycheproof (C2SP/wycheproof): signatures made to be checked wrongly, through the checks that certificates and messages go through."""
import json
import pathlib

from suite import BUILD, NotHere, Result, ask

MODULE, VERSION = "github.com/c2sp/wycheproof", "v0.0.0-20260902155932-3fa63dd0344a"
SUM = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c="
FILES = [f"ecdsa_secp{curve}r1_sha{sha}{form}_test" for form in ("", "_p1363") for curve, sha in ((256, 256), (256, 512), (384, 384), (384, 512), (521, 512))]
FILES += [f"rsa_signature_{bits}_sha{sha}_test" for bits in (2048, 3072, 4096, 8192) for sha in (256, 384, 512)]
FILES += ["ed25519_test"]

# (file, tests) -> why
LONG = "refuses: RSA of more than 4096 bits"
EXPONENT = "refuses: RSA with a public exponent under 65537"
KNOWN = {
    **{(f"rsa_signature_8192_sha{sha}_test", tuple(range(1, 8))): LONG for sha in (256, 384, 512)},
    ("rsa_signature_2048_sha256_test", (258, 259)): EXPONENT, ("rsa_signature_2048_sha512_test", (259,)): EXPONENT,
    ("rsa_signature_3072_sha256_test", (259,)): EXPONENT, ("rsa_signature_3072_sha512_test", (260,)): EXPONENT,
}


def fetch():
    """The vectors are published as a Go module, so the Go command fetches them, and knows its sum."""
    done = ask("go", "mod", "download", "-json", f"{MODULE}@{VERSION}", cwd="/")
    told = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    if "Dir" not in told:
        raise NotHere(f"{MODULE} could not be fetched: {' '.join(str(told.get('Error') or done.stderr).split())[:160]}")
    if told["Sum"] != SUM:
        raise NotHere(f"{MODULE} is not what was meant: {told['Sum']}")
    return pathlib.Path(told["Dir"]) / "testvectors_v1"


def known(name, number):
    for (part, numbers), why in KNOWN.items():
        if part == name and number in numbers:
            return why
    return None


def run():
    folder = fetch()
    for name in FILES:
        if not (folder / f"{name}.json").exists():
            continue
        result = Result("wycheproof", name.removesuffix("_test"))
        done = ask(BUILD / "conformance/signature_check", folder / f"{name}.json")
        if done.returncode != 0:
            result.unexpected["all"] = done.stderr.strip() or "no test in the file is of a kind that is verified here"
        for line in done.stdout.splitlines():
            number, want, saw = line.split()
            if want == "acceptable":  # right or wrong by the reader's rules; never unsafe
                result.passed_over += 1
            else:
                result.put(number, (want == "valid") == (saw == "taken"), f"{want}, and {saw}", known(name, int(number)))
        yield result
