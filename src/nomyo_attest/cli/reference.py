"""Commands that print the rules and the JSON Schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nomyo_attest.cli.console import print_json, print_output, text_style
from nomyo_attest.cli.errors import EXIT_OK, CommandError
from nomyo_attest.schemas import SCHEMAS, schema_text

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.arguments import Parser


class Rules:
    """List the rules of an appraisal and the cross-record checks, or explain one.

    With an ID, prints the rule's explanation, the rules it depends on and its
    remediation. docs/rules.md is the output of --format markdown.

    exit status:
      0  the rules were printed
      2  wrong usage, such as an unknown rule
    """

    EXAMPLE = """
    nomyo-attest rules
    nomyo-attest rules pcr.values
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "id", nargs="?", metavar="ID", help="a rule's id, such as pcr.values or claims.security_tier"
        )
        parser.add_format("markdown")

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        from nomyo_attest.appraisal.rules import RULES, Rule, find_rule
        from nomyo_attest.report.rules_page import (
            cross_record_document,
            cross_record_markdown,
            cross_record_text,
            rule_text,
            rules_document,
            rules_markdown,
            rules_text,
        )

        rules: tuple[Rule, ...] = RULES
        if arguments.id is not None:
            try:
                rules = (find_rule(arguments.id),)
            except KeyError:
                return _cross_record_rule(arguments.id, arguments.format)
        if arguments.format == "json":
            print_json(rules_document(rules) | ({} if arguments.id else {"across_records": cross_record_document()}))
        elif arguments.format == "markdown":
            print_output(
                rules_markdown(rules).removesuffix("\n")
                + ("" if arguments.id else f"\n\n{cross_record_markdown()[:-1]}")
            )
        elif arguments.id is not None:
            print_output(rule_text(rules[0], text_style()))
        else:
            print_output(f"{rules_text(rules, text_style())}\n\n{cross_record_text(text_style())}")
        return EXIT_OK


def _cross_record_rule(rule_id: str, output_format: str) -> int:
    """Show one cross-record rule. Raises `CommandError` for an unknown id."""
    from nomyo_attest.appraisal.rules import RULES
    from nomyo_attest.audit.cross_record.rules import CROSS_RECORD_RULES, find_cross_record_rule
    from nomyo_attest.report.rules_page import (
        FORMAT,
        cross_record_document,
        cross_record_rule_markdown,
        cross_record_rule_text,
    )

    try:
        rule = find_cross_record_rule(rule_id)
    except KeyError:
        raise CommandError(
            _unknown_rule(rule_id, [*(rule.id for rule in RULES), *(rule.id for rule in CROSS_RECORD_RULES)])
        ) from None
    if output_format == "json":
        print_json({"format": FORMAT, "across_records": cross_record_document([rule])})
    elif output_format == "markdown":
        print_output(cross_record_rule_markdown(rule))
    else:
        print_output(cross_record_rule_text(rule, text_style()))
    return EXIT_OK


def _unknown_rule(rule_id: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(rule_id, known, 1)
    groups = get_close_matches(rule_id.partition(".")[0], {rule.partition(".")[0] for rule in known}, 1)
    if close and "." in rule_id:
        hint = f"did you mean {close[0]}?"
    elif groups:
        hint = f"the rules of this group are {', '.join(rule for rule in known if rule.startswith(f'{groups[0]}.'))}"
    else:
        hint = "nomyo-attest rules lists all rules"
    return f"unknown rule {rule_id!r}; {hint}"


_SCHEMA_HELP: Final = (
    "policy    an appraisal policy",
    "evidence  a response, or a part of it",
    "result    the result of an appraisal",
    "verdict   a line of the verdicts that audit writes",
    "ledger    a line of an evidence ledger",
)


class Schema:
    """Print a JSON Schema (2020-12).

    exit status:
      0  the schema was printed
      2  wrong usage, such as an unknown name
    """

    EXAMPLE = """
    nomyo-attest schema policy > policy.schema.json
    """

    @staticmethod
    def configure(parser: Parser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", nargs="?", metavar="NAME", help="\n".join(_SCHEMA_HELP))

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Run the command; returns the exit status. Raises `CommandError`."""
        if arguments.name not in SCHEMAS:
            problem = "missing NAME" if arguments.name is None else f"unknown schema {arguments.name[:80]!r}"
            raise CommandError(f"schema: {problem}; choose from {', '.join(SCHEMAS)}")
        print_output(schema_text(arguments.name).rstrip("\n"))
        return EXIT_OK
