"""Appraise many recorded responses by a policy, and check them against each other.

A SOURCE is a file (.json, .jsonl, .ndjson, each also .gz or .zst; .parquet), a
folder of such files, or - for standard input (JSON Lines). A record is a
response, its _metadata, a tpm_attestation block, a line of an evidence ledger,
or a verdict written with --keep-evidence. A record that cannot be read is
counted as unreadable and reported with the reason; the audit continues.

The summary is printed. The files of --out and the reports are written
atomically after the last record, and never over an existing file without
--force. Their content does not depend on the number of processes.

With --out FILE or --state, an audit that was interrupted or killed can be
resumed by repeating the command with --resume. Until the audit is complete, its
state is in FILE.audit-state, a private folder of the user (mode 0700), which
--resume trusts.

exit status:
  0    no failures, or no more than --max-failures tolerates
  1    more failures, as --fail-on defines them; no record was appraised;
       or no record has evidence (unless --allow-no-evidence is set)
  2    wrong usage, an unusable policy, an output that could not be written,
       or a source that could not be read (unless --fail-on omits unreadable)
  130  interrupted by Ctrl-C
  143  ended by SIGTERM
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from nomyo_attest.cli.arguments import TIMES, load_policy, web_address, whole_number
from nomyo_attest.cli.audit_options import Reports, read_settings
from nomyo_attest.cli.errors import EXIT_TERMINATED, CommandError, print_error
from nomyo_attest.report.formats import FORMATS

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.audit.run import Audit
    from nomyo_attest.cli.arguments import Parser

EXAMPLE: Final = """
nomyo-attest audit fleet/recorded --policy fleet/policy.toml
nomyo-attest audit recorded/ --policy policy.toml --out verdicts.jsonl
nomyo-attest audit recorded/ --policy policy.toml --html report.html
zcat old.gz | nomyo-attest audit - --policy policy.toml --format json
"""

_RESUME_HINT: Final = "repeat the command with --resume to continue"


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a file, a folder, or - for standard input")
    parser.add_policy()
    parser.hints |= _HINTS
    out = parser.add_argument_group("output")
    out.add_argument(
        "--out",
        action="append",
        default=[],
        metavar="FILE",
        help="write a row for each record, in the format of the extension: .jsonl, .ndjson or .csv (each also .gz or"
        " .zst), .parquet (extra parquet); - is standard output; may be repeated",
    )
    for report in FORMATS.values():
        out.add_argument(f"--{report.name.replace('_', '-')}", metavar="FILE", help=f"write {report.about}")
    out.add_argument(
        "--docs-url",
        type=web_address,
        metavar="URL",
        help="the address of docs/rules.md, for the links to rules in SARIF",
    )
    out.add_argument("--cross-record", metavar="FILE", help="write every finding across records, as JSON Lines")
    out.add_argument("--affected", metavar="FILE", help="write every record in these findings, as JSON Lines")
    out.add_argument("--github", action="store_true", help="also print annotations for GitHub Actions")
    parser.add_format(group=out)
    out.add_argument("--verbose", action="store_true", help="print whole digests and whole lists")
    out.add_argument("--force", action="store_true", help="overwrite existing files; without --resume start again")
    records = parser.add_argument_group("records")
    records.add_argument("--at", metavar="TIME", help=f"appraise at this time, not now: {TIMES}")
    records.add_argument(
        "--since",
        metavar="TIME",
        help="omit records before this time: `recorded_at` of a ledger line, or `processed_at` of another record,"
        " which is an unsigned value of the server",
    )
    records.add_argument("--until", metavar="TIME", help="omit records at this time or later")
    records.add_argument(
        "--select",
        metavar="VERDICT,...",
        help="write only rows with these verdicts (all records are still counted): affirming, warning,"
        " contraindicated, none, unreadable",
    )
    records.add_argument("--column", metavar="NAME", help="the column of Parquet files that contains the records")
    records.add_argument("--follow-links", action="store_true", help="follow symbolic links that lead out of a folder")
    records.add_argument(
        "--keep-evidence", action="store_true", help="store the evidence in each row, so that it can be appraised again"
    )
    records.add_argument(
        "--max-gap", metavar="DURATION", help="report gaps in time longer than this, such as 90s, 15m, 6h or 2d"
    )
    failures = parser.add_argument_group("failures")
    failures.add_argument("--fail-on", metavar="VALUE,...", help=_FAIL_ON_HELP)
    failures.add_argument(
        "--max-failures",
        type=whole_number,
        default=0,
        metavar="N",
        help="tolerate this number of failed records; default: 0",
    )
    failures.add_argument(
        "--allow-no-evidence",
        action="store_true",
        help="accept an audit in which no record has evidence; otherwise the exit status is 1, regardless of --fail-on",
    )
    failures.add_argument(
        "--allow-undated",
        action="store_true",
        help="accept cross-record checks that could not be evaluated because records have no usable `processed_at`",
    )
    execution = parser.add_argument_group("execution")
    execution.add_argument(
        "--processes", type=whole_number, metavar="N", help="number of worker processes; default: the available cores"
    )
    execution.add_argument(
        "--state", metavar="DIR", help="folder of the audit's state; default: FILE.audit-state beside --out FILE"
    )
    execution.add_argument("--resume", action="store_true", help="resume this audit where it was interrupted")


_FAIL_ON_HELP: Final = """\
what makes the audit fail, separated by commas:
  warning          a rule that the policy made a warning
  contraindicated  a required rule does not hold
  none             no evidence, or an undecided rule
  unreadable       a record or source cannot be read
  cross-record     a finding across records, or a cross-
                   record check that was not evaluated
  released         a ledger says that a completion was
                   released though not affirmed
  outside          `processed_at` of a record is outside
                   --since and --until
  nothing          none of these; cannot be combined
default: contraindicated,none,unreadable,cross-record"""

_HINTS: Final = {
    "-o": "did you mean --out FILE?",
    "--output": "did you mean --out FILE?",
    "--csv": "did you mean --out FILE.csv?",
    "--jsonl": "did you mean --out FILE.jsonl?",
    "--json": "did you mean --format json, or --out FILE.jsonl?",
    "--parquet": "did you mean --out FILE.parquet?",
    "--series": "did you mean --cross-record FILE, or --fail-on cross-record?",
    "--report": "did you mean --html FILE?",
}


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    reports = Reports(arguments)
    settings = read_settings(arguments, reports)
    reports.refuse_conflicts(arguments.sources, arguments.policy)
    if not arguments.resume:
        reports.refuse_existing(force=arguments.force)
    policy = load_policy(arguments.policy)

    from nomyo_attest.audit.run import Audit, AuditRequest, count_available_cores
    from nomyo_attest.audit.state import StateDamagedError, StateError
    from nomyo_attest.audit.store import StoreDamagedError, StoreError
    from nomyo_attest.cli.audit_reports import print_summary, summarize_audit, write_all
    from nomyo_attest.cli.progress import track_audit
    from nomyo_attest.errors import NomyoAttestError

    request = AuditRequest(
        names=arguments.sources,
        policy=policy,
        column=arguments.column,
        follow_links=arguments.follow_links,
        at=settings.at,
        since=settings.since,
        until=settings.until,
        select=settings.select,
        keep_evidence=arguments.keep_evidence,
        processes=arguments.processes or count_available_cores(),
        rows=bool(arguments.out),
        command=arguments.typed,
    )
    try:
        with (
            _ended_by_sigterm(),
            Audit.begin(
                request,
                reports.state,
                resume=arguments.resume,
                force=arguments.force,
                allow_temporary=arguments.state is None,
            ) as audit,
        ):
            if reports.state is not None and audit.state.folder != reports.state:
                print_error(
                    f"notice: {reports.state} cannot be made a private folder, so the audit's state is in"
                    f" {audit.state.folder}; --state names another place"
                )
            if arguments.resume:
                if not audit.has_begun_outputs(reports.files):
                    _refuse_existing_to_resume(reports, is_resumed=audit.state.resumed, force=arguments.force)
                if not audit.state.resumed:
                    print_error("notice: found no audit to resume; starting from the beginning")
            try:
                for _ in track_audit(audit.appraise()):
                    pass
                has_begun = audit.has_begun_outputs(reports.files)
                if not has_begun:
                    _refuse_created_meanwhile(audit, reports, force=arguments.force)
                audit.begin_outputs(reports.files)
                replace = arguments.force or has_begun
                summary = summarize_audit(audit, reports, settings, replace=replace)
                write_all(audit, summary, reports, replace=replace)
            except (KeyboardInterrupt, SystemExit):
                if audit.is_resumable:
                    print_error(f"interrupted; {_RESUME_HINT}")
                raise
            except (StateDamagedError, StoreDamagedError):
                raise
            except (StateError, StoreError) as error:
                raise CommandError(f"{error}; {_RESUME_HINT}" if audit.is_resumable else str(error)) from None
            audit.finish()
            print_summary(audit, summary, reports, arguments)
    except CommandError:
        raise
    except NomyoAttestError as error:
        raise CommandError(str(error)) from None
    return summary.status


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that a canceled job leaves no files in the temporary folder."""

    def end(*_: object) -> None:
        raise SystemExit(EXIT_TERMINATED)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread, which is the only one that can set handlers
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _refuse_existing_to_resume(reports: Reports, *, is_resumed: bool, force: bool) -> None:
    """Refuse existing outputs. If no audit was interrupted, the outputs are usually those of a complete one.

    Raises `CommandError`.
    """
    try:
        reports.refuse_existing(force=force)
    except CommandError as error:
        if is_resumed:
            raise
        raise CommandError(
            f"--resume: found no interrupted audit; if the audit is complete, there is nothing to resume. {error}"
        ) from None


def _refuse_created_meanwhile(audit: Audit, reports: Reports, *, force: bool) -> None:
    """Refuse output files that were created by other programs since the audit began.

    Once this audit has started to write its outputs, files with these names count as its own. Raises `CommandError`.
    """
    try:
        reports.refuse_existing(force=force)
    except CommandError as error:
        raise CommandError(f"{error}; then {_RESUME_HINT}" if audit.is_resumable else str(error)) from None
