"""How much a whole appraisal costs beside the bare signature check: ratios, measured in pairs within one run.

    python benchmarks/appraisal.py                 # print the table
    python benchmarks/appraisal.py --write         # and put it into docs/performance.md

Each pair is timed in turn, A B A B …, and the ratio taken turn by turn, so that it holds on a machine whose speed
drifts. The extra `tpm` adds the comparison with tpm2-pytss.
"""

from __future__ import annotations

import argparse
import base64
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

import nomyo_attest as na
import page
from nomyo_attest.evidence import Evidence
from nomyo_attest.testing import Forge
from nomyo_attest.tpm import (
    TPMS_ECC_POINT,
    TPMS_RSA_UNIQUE,
    TPMS_SIGNATURE_ECC,
    TPMS_SIGNATURE_RSA,
    parse_attest,
    parse_public,
    parse_signature,
)

Work = Callable[[], object]
Row = tuple[str, float, float, float]


def seconds(work: Work, rounds: int) -> float:
    begin = time.perf_counter()
    for _ in range(rounds):
        work()
    return (time.perf_counter() - begin) / rounds


def pair(name: str, work: Work, beside: Work, *, rounds: int, turns: int) -> Row:
    """Median microseconds of both, and the median ratio of the turns."""
    work(), beside()
    measured = [(seconds(work, rounds), seconds(beside, rounds)) for _ in range(turns)]
    ours, theirs = (statistics.median(column) * 1e6 for column in zip(*measured, strict=True))
    return name, ours, theirs, statistics.median(a / b for a, b in measured)


def bare_check(evidence: Evidence) -> Work:
    """Load the key and verify the signature with `cryptography`, and nothing else."""
    key, signature = parse_public(evidence.aik_public).value.unique, parse_signature(evidence.signature).value.signature
    signed = parse_attest(evidence.quote).inner
    if isinstance(key, TPMS_RSA_UNIQUE) and isinstance(signature, TPMS_SIGNATURE_RSA):
        modulus, value = key.modulus, signature.sig

        def check_rsa() -> None:
            loaded = rsa.RSAPublicNumbers(65537, int.from_bytes(modulus, "big")).public_key()
            loaded.verify(value, signed, padding.PKCS1v15(), hashes.SHA256())

        return check_rsa
    assert isinstance(key, TPMS_ECC_POINT)
    assert isinstance(signature, TPMS_SIGNATURE_ECC)
    curve = {32: ec.SECP256R1, 48: ec.SECP384R1}[len(key.x)]
    point = b"\x04" + key.x + key.y
    r, s = (int.from_bytes(number, "big") for number in (signature.signature_r, signature.signature_s))
    digest = {"SHA256": hashes.SHA256, "SHA384": hashes.SHA384}[signature.hash.name]

    def check_ecdsa() -> None:
        loaded = ec.EllipticCurvePublicKey.from_encoded_point(curve(), point)
        loaded.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest()))

    return check_ecdsa


def pytss_check(block: dict[str, str]) -> Work | None:
    """The same with tpm2-pytss: unmarshal three structures and verify the signature; no PCR, no policy."""
    try:
        from tpm2_pytss import TPM2B_PUBLIC, TPMS_ATTEST, TPMT_SIGNATURE
    except (ImportError, RuntimeError):
        return None
    quote, signature, key = (base64.b64decode(block[name]) for name in ("quote_b64", "signature_b64", "aik_pubkey_b64"))

    def check() -> None:
        TPMS_ATTEST.unmarshal(quote)
        public, _ = TPM2B_PUBLIC.unmarshal(key)
        parsed, _ = TPMT_SIGNATURE.unmarshal(signature)
        parsed.verify_signature(public, quote)

    return check


def appraisals(rounds: int, turns: int) -> tuple[list[Row], list[Row]]:
    beside_bare, beside_pytss = [], []
    for name, kind in (("RSA-2048", "rsa2048"), ("RSA-3072", "rsa3072"), ("P-256", "p256"), ("P-384", "p384")):
        forge = Forge(key=kind)
        response, policy = forge.response(), na.AppraisalPolicy.from_dict(forge.policy())

        def whole(response: object = response, policy: na.AppraisalPolicy = policy) -> None:
            if na.appraise(response, policy).verdict is not na.Verdict.AFFIRMING:
                raise SystemExit("the benchmark's evidence is not affirmed: there is nothing to measure")

        beside_bare.append(pair(name, whole, bare_check(Evidence.from_response(response)), rounds=rounds, turns=turns))
        theirs = pytss_check(response["_metadata"]["tpm_attestation"])
        if theirs:
            beside_pytss.append(pair(name, theirs, whole, rounds=rounds, turns=turns // 2))
    return beside_bare, beside_pytss


def start_up(turns: int) -> Row:
    """`nomyo-attest --version` beside a Python that does nothing."""

    def run(*command: str) -> Work:
        return lambda: subprocess.run(command, check=True, capture_output=True)

    program = Path(sys.executable).with_name("nomyo-attest")
    return pair("", run(str(program), "--version"), run(sys.executable, "-c", "pass"), rounds=3, turns=turns)


def table(rounds: int, turns: int) -> str:
    beside_bare, beside_pytss = appraisals(rounds, turns)
    lines = [
        (
            f"Python {platform.python_version()}, cryptography {version('cryptography')}, {platform.machine()}; "
            f"medians of {turns} turns of {rounds}."
        ),
        "",
        "| AIK | `appraise()`, µs | bare load and verify, µs | ratio |",
        "|---|--:|--:|--:|",
        *(f"| {name} | {ours:.0f} | {theirs:.0f} | {ratio:.2f} |" for name, ours, theirs, ratio in beside_bare),
        "",
    ]
    if beside_pytss:
        lines += [
            "| AIK | tpm2-pytss, unmarshal and verify, µs | `appraise()`, µs | ratio |",
            "|---|--:|--:|--:|",
            *(f"| {name} | {theirs:.0f} | {ours:.0f} | {ratio:.2f} |" for name, theirs, ours, ratio in beside_pytss),
            "",
        ]
    _, ours, theirs, ratio = start_up(max(turns // 4, 5))
    lines.append(
        f"`nomyo-attest --version` takes {ours / 1000:.0f} ms, a bare interpreter {theirs / 1000:.0f} ms: "
        f"ratio {ratio:.2f}."
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=200, help="calls in each turn")
    arguments = parser.parse_args()
    made = table(arguments.rounds, arguments.turns)
    print(made)
    if arguments.write:
        page.put(Path(__file__).name, made)


if __name__ == "__main__":
    main()
