"""Reports of PCR values: their layout is read once, their values from each."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence import parse_selection, pcrs, read_evidence
from nomyo_attest.evidence.pcrs import INDICES, read_report
from nomyo_attest.testing import Forge


class Text(str):
    """A str that is none of JSON's."""

    __slots__ = ()


ZEROS, ONES = "00" * 32, "ff" * 32


def test_reports_of_the_same_pcrs_have_one_layout_and_each_its_own_values() -> None:
    pcrs._report.cache_clear()  # a report of an earlier test may have a layout that is no longer stored
    one = read_report("sha256:0", {"sha256": {"0": ZEROS}}, "")
    other = read_report("sha256:0", {"sha256": {"0": ONES}}, "")
    assert one.layout is other.layout
    assert one.values == {"sha256": {0: bytes(32)}}
    assert other.values == {"sha256": {0: b"\xff" * 32}}
    assert one != other
    assert one is read_report("sha256:0", {"sha256": {"0": ZEROS}}, "")


def test_reports_whose_text_or_pcrs_differ_in_content_or_order_have_different_layouts() -> None:
    given = [
        ("sha256:0", {"sha256": {"0": ZEROS}}),
        ("sha256:7", {"sha256": {"7": ZEROS}}),
        ("sha256:0,7", {"sha256": {"0": ZEROS, "7": ONES}}),
        ("sha256:7,0", {"sha256": {"0": ZEROS, "7": ONES}}),
        ("sha256:0,7", {"sha256": {"7": ONES, "0": ZEROS}}),
        ("sha3_256:0", {"sha3_256": {"0": ZEROS}}),
        ("sha256:0+sha3_256:0", {"sha256": {"0": ZEROS}, "sha3_256": {"0": ONES}}),
        ("sha256:0+sha3_256:0", {"sha3_256": {"0": ONES}, "sha256": {"0": ZEROS}}),
    ]
    for _ in range(2):
        reports = [read_report(banks, values, "") for banks, values in given]
        assert len({report.layout for report in reports}) == len(given)
        for report, (banks, values) in zip(reports, given, strict=True):
            assert report.banks == banks
            plain = {bank: {str(i): value.hex() for i, value in of.items()} for bank, of in report.values.items()}
            assert plain == values
            assert report.layout.indices == {bank: tuple(of) for bank, of in report.values.items()}


def test_a_stored_report_does_not_make_a_malformed_one_pass() -> None:
    read_report("sha256:0", {"sha256": {"0": ZEROS}}, "")
    for banks, values in (
        (Text("sha256:0"), {"sha256": {"0": ZEROS}}),
        ("sha256:0", {Text("sha256"): {"0": ZEROS}}),
        ("sha256:0", {"sha256": {Text("0"): ZEROS}}),
        ("sha256:0", {"sha256": {"0": Text(ZEROS)}}),
    ):
        with pytest.raises(EvidenceError):
            read_report(banks, values, "")


def test_many_reports_of_one_layout_are_all_read_correctly() -> None:
    for _ in range(2):
        for number in range(600):
            value = number.to_bytes(32, "big")
            report = read_report("sha256:0", {"sha256": {"0": value.hex()}}, "")
            assert report.values == {"sha256": {0: value}}


def test_a_report_is_refused_each_time_it_is_read() -> None:
    for _ in range(3):
        with pytest.raises(EvidenceError) as caught:
            read_report("sha256:0", {"sha256": {"0": ZEROS[:-1]}}, "here.")
        assert caught.value.where == "here.pcr_values.sha256.0"
        with pytest.raises(EvidenceError) as caught:
            read_report("sha256:0", {"sha256": {"0": ZEROS[:-1]}}, "there.")
        assert caught.value.where == "there.pcr_values.sha256.0"


def test_a_report_does_not_change_with_the_dict_it_was_read_from() -> None:
    given = {"sha256": {"0": ZEROS}}
    report = read_report("sha256:0", given, "")
    given["sha256"]["0"] = ONES
    assert report.values == {"sha256": {0: bytes(32)}}
    assert read_report("sha256:0", given, "").values == {"sha256": {0: b"\xff" * 32}}


def test_the_repr_of_a_report_does_not_show_its_values() -> None:
    assert repr(read_report("sha256:0", {"sha256": {"0": ONES}}, "")) == "<PcrReport sha256:0>"


def test_a_response_and_its_block_have_the_same_report() -> None:
    response = Forge().response()
    block = response["_metadata"]["tpm_attestation"]
    assert read_evidence(response).pcrs.values == read_evidence(block).pcrs.values
    assert pcrs.NO_PCRS.values == {}


@pytest.mark.parametrize(
    ("banks", "values"),
    [
        ("sha1:+sha256:0", {"sha256": {"0": "11" * 32}}),
        ("sha1:+sha256:0", {"sha1": {}, "sha256": {"0": "11" * 32}}),
        ("sha256:0", {"sha1": {}, "sha256": {"0": "11" * 32}}),
    ],
)
def test_the_error_for_a_bank_without_pcrs_says_to_leave_it_out(banks: str, values: object) -> None:
    with pytest.raises(EvidenceError) as caught:
        read_report(banks, values, "")
    assert (
        caught.value.expected == "at least one PCR of bank sha1; omit a bank without any from pcr_banks and pcr_values"
    )


def test_the_error_for_other_pcrs_than_the_reported_ones_mentions_the_signed_ones() -> None:
    with pytest.raises(EvidenceError) as caught:
        read_report("sha1:0+sha256:0", {"sha256": {"0": "11" * 32}}, "")
    assert "which names the PCRs that were signed" in caught.value.expected


@pytest.mark.parametrize("at", [1, 33, 64])
def test_a_value_with_a_wrong_character_names_it_and_its_place(at: int) -> None:
    text = "a" * (at - 1) + "g" + "a" * (64 - at)
    with pytest.raises(EvidenceError) as caught:
        read_report("sha256:0", {"sha256": {"0": text}}, "")
    assert caught.value.got == f"'g' as character {at}"


BANKS = ["sha1", "sha256", "sha384", "sha512", "sm3_256", "sha3_256", "sha3_384", "sha3_512"]
some_selections = st.dictionaries(
    st.sampled_from(BANKS), st.lists(st.integers(0, 23), min_size=1, unique=True), min_size=1
)


def written(selection: dict[str, list[int]]) -> str:
    return "+".join(f"{bank}:{','.join(map(str, indices))}" for bank, indices in selection.items())


@given(some_selections)
def test_a_selection_is_parsed_in_its_order(selection: dict[str, list[int]]) -> None:
    parsed = parse_selection(written(selection))
    assert list(parsed.items()) == [(bank, tuple(indices)) for bank, indices in selection.items()]


def test_the_indices_are_0_to_23_in_one_spelling() -> None:
    assert {str(index): index for index in range(24)} == INDICES


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "''"),
        ("+", "''"),
        ("sha256", "sha256 without a PCR"),
        ("sha256:", "sha256 without a PCR"),
        ("sha256:,", "''"),
        ("sha256:0,", "''"),
        ("sha256:,0", "''"),
        ("sha256:0,,7", "''"),
        ("sha256:0+", "''"),
        ("+sha256:0", "''"),
        (":0", "''"),
        ("sha256:24", "'24'"),
        ("sha256:-1", "'-1'"),
        ("sha256:+7", "sha256 without a PCR"),
        ("sha256:00", "'00'"),
        ("sha256:07", "'07'"),
        ("sha256:0x7", "'0x7'"),
        ("sha256:7.0", "'7.0'"),
        ("sha256: 7", "' 7'"),
        ("sha256:7 ", "'7 '"),
        ("sha256:7\n", r"'7\\n'"),
        ("sha256:1_0", "'1_0'"),
        ("sha256:\u0667", "'\u0667'"),
        ("sha256:\uff17", "'\uff17'"),
        ("sha256:\u00b2", "'\u00b2'"),
        ("sha256:0-7", "'0-7'"),
        ("sha256:all", "'all'"),
        ("sha256:0:7", "'0:7'"),
        ("sha256;0", "'sha256;0'"),
        ("SHA256:0", "'SHA256'"),
        ("sha256 :0", "'sha256 '"),
        (" sha256:0", "' sha256'"),
        ("sha-256:0", "'sha-256'"),
        ("sha2:0", "'sha2'"),
        ("md5:0", "'md5'"),
        ("0x000b:0", "'0x000b'"),
        ("sha\u0662\u0665\u0666:0", "'sha\u0662\u0665\u0666'"),
        ("sha256:0+sha256:7", "the duplicate bank sha256"),
        ("sha256:0+sha1:0+sha256:0", "the duplicate bank sha256"),
        ("sha256:0,7,0", "the duplicate index 0"),
        ("sha256:0\x00", r"'0\\x00'"),
    ],
)
def test_a_malformed_selection_is_refused_and_shown(text: str, got: str) -> None:
    with pytest.raises(EvidenceError, match=f"got {got}$") as caught:
        parse_selection(text, "here")
    assert caught.value.where == "here"


def test_a_malformed_selection_is_shown_shortened() -> None:
    for text, shown in (("x" * 1000, "x" * 20), ("sha256:" + "9" * 1000, "9" * 20)):
        with pytest.raises(EvidenceError) as caught:
            parse_selection(text)
        assert caught.value.got == repr(shown)


@pytest.mark.parametrize(("bank", "got"), [("sha224", "'sha224'"), (7, "a number")])
def test_the_error_for_an_unknown_bank_shows_its_name_or_its_type(bank: object, got: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        read_report("sha256:0", {bank: {"0": ZEROS}}, "")
    assert caught.value.got == got


@given(st.one_of(st.text(), st.from_regex(re.compile(r"(sha[0-9_]{1,6}:[0-9,]{0,9}\+?){1,4}"))))
def test_every_selection_has_one_spelling(text: str) -> None:
    try:
        selection = parse_selection(text)
    except EvidenceError:
        return
    assert written({bank: list(indices) for bank, indices in selection.items()}) == text


def test_the_numbers_of_layouts_and_reports_that_are_stored_are_bounded() -> None:
    for one in range(24):
        for other in range(24):
            banks = f"sha256:{one}+sha384:{other}"
            read_report(banks, {"sha256": {str(one): ZEROS}, "sha384": {str(other): "00" * 48}}, "")
    assert pcrs._layout.cache_info().currsize == 256
    assert pcrs._report.cache_info().currsize == 512
