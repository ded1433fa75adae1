"""The table of faults: whole, and each fault a fault."""

from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path

import pytest

import nomyo_attest as na
import nomyo_attest.testing
from nomyo_attest.testing import FAULTS, VARIANTS, Fault
from nomyo_attest.testing.faults import RULES
from nomyo_attest.testing.faults.model import DEPENDENT_RULES

FOLDER = Path(nomyo_attest.testing.__file__).parent


def by_name(fault: Fault) -> str:
    return fault.name


def test_names_are_unique_and_fit_a_file_name() -> None:
    for names in ([fault.name for fault in FAULTS], [variant.name for variant in VARIANTS]):
        assert [name for name, count in Counter(names).items() if count > 1] == []
        assert [name for name in names if not name.isascii() or set(name) & set(' /\\:."')] == []


def test_reasons_are_sentences() -> None:
    reasons = [fault.reason for fault in FAULTS] + [variant.reason for variant in VARIANTS]
    assert [reason for reason in reasons if not reason.endswith(".") or len(reason) < 8] == []


def test_the_rules_are_those_of_the_verifier() -> None:
    assert (*RULES, "claims.*") == tuple(sorted((rule.id for rule in na.RULES), key=[*RULES, "claims.*"].index))


def test_every_rule_has_a_fault_that_it_alone_refuses() -> None:
    alone = set()
    for fault in FAULTS:
        expect = fault.expect()
        caught = expect["failed"] == [fault.rule] or (not expect["failed"] and fault.rule in expect["undecided"])
        if caught and set(expect["undecided"]) <= {fault.rule, *DEPENDENT_RULES.get(fault.rule, ())}:
            alone.add("claims.*" if fault.rule.startswith("claims.") else fault.rule)
    assert alone == {*RULES, "claims.*"}


def test_no_fault_is_expected_to_be_affirmed() -> None:
    for fault in FAULTS:
        expect = fault.expect()
        assert expect["verdict"] in ("contraindicated", "none")
        assert fault.rule in (expect["undecided"] if fault.undecided else expect["failed"])


@pytest.mark.parametrize("fault", FAULTS, ids=by_name)
def test_a_fault_changes_the_answer_the_policy_or_what_is_asked(fault: Fault) -> None:
    before = fault.base()
    case = fault.case()
    answer = before.build()
    untouched = answer.text if fault.as_text else answer.response
    # As JSON, where true is not 1.
    assert case.arguments or json.dumps([case.response, case.policy]) != json.dumps([untouched, before.policy()])


def test_the_worlds_before_the_faults_are_affirmed() -> None:
    """So what a fault is refused for is the fault."""
    seen = set()
    for fault in FAULTS:
        forge = fault.base()
        answer = forge.build()
        if answer.text not in seen:
            seen.add(answer.text)
            result = na.appraise(answer.response, na.AppraisalPolicy.from_dict(forge.policy()))
            assert result.verdict is na.Verdict.AFFIRMING, (fault.name, result.failed, result.undecided)
    assert len(seen) > 10


def test_a_fault_acts_out_the_same_twice() -> None:
    for fault in FAULTS[:: len(FAULTS) // 50]:
        assert fault.case() == fault.case()


def test_the_forge_shares_only_errors_the_names_of_rules_and_the_writing_of_files_with_the_verifier() -> None:
    """A reader's mistake must not be a writer's too."""
    imported = set()
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    own = {name for name in imported if name.startswith("nomyo") and not name.startswith("nomyo_attest.testing")}
    assert own == {"nomyo_attest.errors", "nomyo_attest._files", "nomyo_attest.rules"}  # none of them reads evidence
