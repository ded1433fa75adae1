"""Keyword arguments that look like an option are refused; parameters of real servers are sent."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import nomyo
from nomyo.client import SecureCompletionClient
from nomyo.errors import ArgumentTypeError
from nomyo.option_names import CALL_OPTIONS, CHAT_ONLY_OPTIONS, FOREIGN_NAMES, FUZZY_LENGTH_MIN
from tests.nomyo.client_calls import MODEL, Wire

OPTIONS = tuple(inspect.signature(nomyo.SecureChatCompletion).parameters)
SECRET = "a-value-that-no-message-quotes"
MESSAGES = [{"role": "user", "content": "Hello"}]

OPENAI = """
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens metadata
    modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_retention
    reasoning_effort response_format safety_identifier seed service_tier stop store stream_options temperature
    tool_choice tools top_logprobs top_p user verbosity web_search_options
"""
VLLM = """
    add_generation_prompt add_special_tokens allowed_token_ids bad_words best_of cache_salt chat_template
    chat_template_kwargs continue_final_message documents echo guided_choice guided_decoding_backend guided_grammar
    guided_json guided_regex guided_whitespace_pattern ignore_eos include_reasoning include_stop_str_in_output
    kv_transfer_params length_penalty logits_processors media_io_kwargs min_p min_tokens mm_processor_kwargs priority
    prompt_logprobs repetition_penalty request_id return_token_ids return_tokens_as_token_ids skip_special_tokens
    spaces_between_special_tokens stop_token_ids structured_outputs thinking_token_budget top_k truncate_prompt_tokens
    use_beam_search vllm_xargs
"""
LLAMA_CPP = """
    cache_prompt dry_allowed_length dry_base dry_multiplier dry_penalty_last_n dry_sequence_breakers dynatemp_exponent
    dynatemp_range grammar grammar_lazy grammar_triggers id_slot json_schema lora min_keep mirostat mirostat_eta
    mirostat_tau n_discard n_indent n_keep n_predict n_probs parse_tool_calls post_sampling_probs preserved_tokens
    reasoning_budget reasoning_format repeat_last_n repeat_penalty response_fields return_progress return_tokens
    samplers t_max_predict_ms thinking_forced_open timings_per_token top_n_sigma typical_p xtc_probability xtc_threshold
"""
SGLANG = """
    bootstrap_host bootstrap_port bootstrap_room custom_logit_processor custom_params data_parallel_rank ebnf extra_key
    input_ids lora_path max_dynamic_patch no_stop_trim regex return_cached_tokens_details return_hidden_states
    return_routed_experts rid routed_dp_rank separate_reasoning session_params stop_regex stream_reasoning
    tool_call_parser use_audio_in_video
"""
OPENROUTER = """
    cache_control debug fallbacks image_config max_price models plugins provider reasoning route session_id top_a trace
    transforms usage
"""
REAL = sorted({*(OPENAI + VLLM + LLAMA_CPP + SGLANG + OPENROUTER).split()})


def refused(wire: Wire, **arguments: Any) -> str:
    """The message of a call that is refused before anything is sent."""
    client = wire.client()
    with pytest.raises(ArgumentTypeError) as caught:
        wire.run(client.create(MODEL, MESSAGES, **arguments))
    assert wire.router.requests == []
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tier", "security_tier"),
        ("require_atestation", "require_attestation"),
        ("requireAttestation", "require_attestation"),
        ("Require-Attestation", "require_attestation"),
        ("requires_attestation", "require_attestation"),
        ("requir\u0435_attestation", "require_attestation"),
        ("securtiy_tier", "security_tier"),
        ("policy", "attestation_policy"),
        ("attestation_polcy", "attestation_policy"),
        ("pins", "server_key_pins"),
        ("server_key_pin", "server_key_pins"),
        ("attestation", "require_attestation"),
        ("verify_attestation", "require_attestation"),
        ("require_attested", "require_attestation"),
        ("must_attest", "require_attestation"),
        ("attestation_mode", "require_attestation"),
        ("attestation_policies", "attestation_policy"),
        ("request_timeout", "timeout"),
        ("requestTimeout", "timeout"),
        ("Timeout", "timeout"),
        ("num_retries", "max_retries"),
        ("maxRetries", "max_retries"),
        ("apiKey", "api_key"),
        ("base_uri", "base_url"),
        ("evidenceLog", "evidence_log"),
        ("extraBody", "extra_body"),
    ],
)
def test_a_name_that_looks_like_an_option_is_refused_with_the_option_meant(name: str, meant: str, wire: Wire) -> None:
    message = refused(wire, **{name: SECRET})
    assert message.startswith(f"{name}: create() has no such option; did you mean {meant}")
    assert message.endswith("put it into extra_body")


@pytest.mark.parametrize("name", ["require_attestation" + "_" * 30, "require_attestation_of_the_evidence_of_all"])
def test_a_long_name_that_contains_an_option_is_refused(name: str, wire: Wire) -> None:
    assert "did you mean require_attestation?" in refused(wire, **{name: SECRET})


@pytest.mark.parametrize("name", sorted(FOREIGN_NAMES))
def test_every_borrowed_name_is_refused(name: str, wire: Wire) -> None:
    assert refused(wire, **{name: SECRET}).startswith(f"{name}: ")


def test_the_table_suggests_options_that_exist_or_gives_a_reason() -> None:
    for name, meant in FOREIGN_NAMES.items():
        assert meant in {*OPTIONS, *CALL_OPTIONS} or " " in meant, name
        assert name not in {*OPTIONS, *CALL_OPTIONS}


def test_options_of_a_call_and_of_the_gate_are_those_of_the_client() -> None:
    assert {*CALL_OPTIONS} - {*OPTIONS} == {"extra_body", "security_tier"}
    assert {*CHAT_ONLY_OPTIONS} == {*OPTIONS} - {*inspect.signature(SecureCompletionClient).parameters} - {
        "base_url", "api_key",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted({*OPTIONS} - {*CALL_OPTIONS}))
def test_an_option_of_the_constructor_is_refused_in_a_call_and_the_message_says_where_it_belongs(
    name: str, wire: Wire
) -> None:
    message = refused(wire, **{name: SECRET})
    assert "set it in the constructor or in client.with_options()" in message


@pytest.mark.parametrize("name", ["headers", "extra_headers", "extra_query", "organization", "payload_id", "verify"])
def test_a_borrowed_name_without_a_counterpart_is_refused_with_the_reason(name: str, wire: Wire) -> None:
    assert f"{name}: create() does not support this argument: " in refused(wire, **{name: SECRET})


def test_an_argument_is_refused_in_acreate_and_with_a_base_url_too(wire: Wire) -> None:
    refused(wire, tier="maximum", base_url=wire.router.url)
    client = wire.client()
    with pytest.raises(ArgumentTypeError, match="tier: create"):
        wire.run(client.acreate(MODEL, MESSAGES, tier="maximum"))
    assert wire.router.requests == []


def test_extra_body_sends_any_name(wire: Wire) -> None:
    more = dict.fromkeys((*FOREIGN_NAMES, "require_atestation", "apiKey"), 1)
    wire.ask(extra_body=more)
    plaintext = wire.posts[-1].plaintext
    assert plaintext is not None
    assert {name: plaintext[name] for name in more} == more


def test_parameters_of_real_servers_are_sent(wire: Wire) -> None:
    parameters: dict[str, Any] = dict.fromkeys(REAL, 1)
    wire.ask(**parameters)
    plaintext = wire.posts[-1].plaintext
    assert plaintext is not None
    assert {*REAL} <= plaintext.keys()


def test_no_option_is_within_two_edits_of_a_parameter_of_a_real_server() -> None:
    # Guards the future: a new option that resembles a real parameter would make that parameter impossible to send.
    assert {name for name in REAL if name in {*OPTIONS, *FOREIGN_NAMES}} == set()
    assert all(len(option) >= FUZZY_LENGTH_MIN or option in {"api_key", "key_dir", "timeout"} for option in OPTIONS)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("policy", "unknown option 'policy'; did you mean attestation_policy?"),
        ("requireAttestation", "unknown option 'requireAttestation'; did you mean require_attestation?"),
        ("headers", "unknown option 'headers'; the protocol defines the HTTP headers"),
        ("temperature", "unknown option 'temperature' (options: base_url, "),
    ],
)
def test_with_options_suggests_the_option_meant(name: str, end: str) -> None:
    client = nomyo.SecureChatCompletion("https://h")
    with pytest.raises(ArgumentTypeError) as caught:
        client.with_options(**{name: SECRET})
    assert end in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name", "end"),
    [
        (nomyo.SecureChatCompletion, "policy", "; did you mean attestation_policy?"),
        (nomyo.SecureChatCompletion, "require_atestation", "; did you mean require_attestation?"),
        (nomyo.SecureChatCompletion, "router_url", "; did you mean base_url?"),
        (nomyo.SecureChatCompletion, "headers", "; the protocol defines the HTTP headers"),
        (nomyo.SecureChatCompletion, "unlike_anything", "'unlike_anything'"),
        (SecureCompletionClient, "base_url", "; did you mean router_url?"),
        (SecureCompletionClient, "pins", "; did you mean server_key_pins?"),
        (SecureCompletionClient, "policy", "; attestation_policy is an option of SecureChatCompletion"),
        (SecureCompletionClient, "require_attestation", "; require_attestation is an option of SecureChatCompletion"),
    ],
)
def test_constructors_suggest_the_option_meant(kind: type[Any], name: str, end: str) -> None:
    with pytest.raises(ArgumentTypeError) as caught:
        kind(**{name: SECRET})
    assert str(caught.value).endswith(end)
    assert f"got an unexpected keyword argument '{name}'" in str(caught.value)
    assert SECRET not in str(caught.value)
