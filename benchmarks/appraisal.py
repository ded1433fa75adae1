"""Compare the time of a whole appraisal with that of a bare signature check, in pairs within one run.

    python benchmarks/appraisal.py                 # print the table
    python benchmarks/appraisal.py --write         # and write it to docs/performance.md

The two functions of a pair alternate, and each ratio is that of one turn, so the ratios hold on a machine whose speed
varies. The extra `tpm` adds the comparison with tpm2-pytss.
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

Function = Callable[[], object]
Row = tuple[str, float, float, float]


def seconds(function: Function, rounds: int) -> float:
    """Return the mean time of a call."""
    begin = time.perf_counter()
    for _ in range(rounds):
        function()
    return (time.perf_counter() - begin) / rounds


def pair(name: str, first: Function, second: Function, *, rounds: int, turns: int) -> Row:
    """Return the median microseconds of both functions, and the median ratio of the turns."""
    first(), second()
    measured = [(seconds(first, rounds), seconds(second, rounds)) for _ in range(turns)]
    first_median, second_median = (statistics.median(column) * 1e6 for column in zip(*measured, strict=True))
    return name, first_median, second_median, statistics.median(a / b for a, b in measured)


def bare_check(evidence: Evidence) -> Function:
    """Return a function that only loads the key and verifies the signature, with `cryptography`."""
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


def pytss_check(block: dict[str, str]) -> Function | None:
    """Return a function that unmarshals the structures and verifies the signature with tpm2-pytss, if installed."""
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
    """Compare `appraise` with the bare check, and tpm2-pytss with `appraise`."""
    bare_rows, pytss_rows = [], []
    for name, kind in (("RSA-2048", "rsa2048"), ("RSA-3072", "rsa3072"), ("P-256", "p256"), ("P-384", "p384")):
        forge = Forge(key=kind)
        response, policy = forge.response(), na.AppraisalPolicy.from_dict(forge.policy())

        def appraise(response: object = response, policy: na.AppraisalPolicy = policy) -> None:
            if na.appraise(response, policy).verdict is not na.Verdict.AFFIRMING:
                raise SystemExit("the benchmark's evidence is not affirmed")

        bare_rows.append(pair(name, appraise, bare_check(Evidence.from_response(response)), rounds=rounds, turns=turns))
        check = pytss_check(response["_metadata"]["tpm_attestation"])
        if check:
            pytss_rows.append(pair(name, check, appraise, rounds=rounds, turns=turns // 2))
    return bare_rows, pytss_rows


def start_up(turns: int) -> Row:
    """Compare `nomyo-attest --version` with a Python that does nothing."""

    def run(*command: str) -> Function:
        return lambda: subprocess.run(command, check=True, capture_output=True)

    program = Path(sys.executable).with_name("nomyo-attest")
    return pair("", run(str(program), "--version"), run(sys.executable, "-c", "pass"), rounds=3, turns=turns)


def table(rounds: int, turns: int) -> str:
    """Run the benchmark; return the tables as Markdown."""
    bare_rows, pytss_rows = appraisals(rounds, turns)
    lines = [
        (
            f"Python {platform.python_version()}, cryptography {version('cryptography')}, {platform.machine()}; "
            f"medians of {turns} turns of {rounds}."
        ),
        "",
        "| AIK | `appraise()`, µs | bare load and verify, µs | ratio |",
        "|---|--:|--:|--:|",
        *(f"| {name} | {ours:.0f} | {theirs:.0f} | {ratio:.2f} |" for name, ours, theirs, ratio in bare_rows),
        "",
    ]
    if pytss_rows:
        lines += [
            "| AIK | tpm2-pytss, unmarshal and verify, µs | `appraise()`, µs | ratio |",
            "|---|--:|--:|--:|",
            *(f"| {name} | {theirs:.0f} | {ours:.0f} | {ratio:.2f} |" for name, theirs, ours, ratio in pytss_rows),
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
    parser.add_argument("--write", action="store_true", help="write the tables to docs/performance.md")
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=200, help="calls in each turn")
    arguments = parser.parse_args()
    text = table(arguments.rounds, arguments.turns)
    print(text)
    if arguments.write:
        page.write_table(Path(__file__).name, text)


if __name__ == "__main__":
    main()
