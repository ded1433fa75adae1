"""Send a prompt to a model, encrypted end to end, and print its completion.

Standard output contains the completion alone; the verdict is one line on
standard error. The argument - in the prompt stands for standard input; without
it, piped input is appended to the prompt. Without a prompt, the command reads
questions from the terminal, and sends each with the conversation so far; Ctrl-D
ends the conversation.

With --policy, a completion is printed only if the policy affirms the server. A
refusal lists the rules that failed, and ends a conversation. By then the prompt
has been sent, since the evidence arrives with the response.

With --evidence-log, the evidence and the verdict of every response, but not the
prompt or the completion, are appended to a file before the completion is
printed or refused. If this fails, the completion is not printed.

Environment variables set the options that are omitted: NOMYO_API_KEY,
NOMYO_BASE_URL, NOMYO_POLICY, NOMYO_EVIDENCE_LOG, NOMYO_MODEL,
NOMYO_SECURITY_TIER, NOMYO_SERVER_KEY_PINS (separated by commas). SSL_CERT_FILE
names the certificate of a private CA.

Exit status: 0; 1 if the response is refused; 2 for wrong usage, or if no usable
response arrives.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from nomyo.cli.connection import add_client, host_of, open_client, print_log_warnings, resolve_base_url
from nomyo.cli.settings import nonempty, read_setting
from nomyo.cli.terminal import require_stdout
from nomyo.config import PAYLOAD_MAX, TIERS
from nomyo_attest.cli.arguments import decimal_number, load_policy, whole_number
from nomyo_attest.cli.console import text_style
from nomyo_attest.cli.errors import EXIT_NOT_AFFIRMED, EXIT_OK, CommandError, print_stderr
from nomyo_attest.cli.files import STANDARD_INPUT, read_input

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.arguments import Parser
    from nomyo_attest.policy import AppraisalPolicy

MODEL: Final = "Qwen/Qwen3-0.6B"

EXAMPLE = """
nomyo chat --format json "Hello" > first.json
nomyo-attest policy learn first.json -o policy.toml
nomyo chat --policy policy.toml "Why is the sky blue?"
git diff | nomyo chat --policy policy.toml "Review this change:" -
nomyo chat --policy policy.toml
# With nomyo router --tpm soft, add --allow-test-keys to policy learn.
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help="the prompt; - is standard input")
    parser.add_argument(
        "--policy", type=nonempty, metavar="P", help="print a completion only if this policy affirms the server"
    )
    parser.add_argument(
        "--evidence-log",
        type=nonempty,
        metavar="FILE",
        help="append the evidence and the verdict of every response to this ledger",
    )
    parser.add_argument("--model", type=nonempty, metavar="NAME", help=f"model to ask; default: {MODEL}")
    parser.add_argument("--system", type=nonempty, metavar="TEXT", help="system message that precedes the prompt")
    parser.add_argument("--tier", choices=TIERS, help=f"requested security tier: {', '.join(TIERS)}")
    parser.add_argument(
        "--max-tokens", type=whole_number, metavar="N", help="maximum number of tokens in the completion"
    )
    parser.add_argument("--temperature", type=decimal_number, metavar="T", help="sampling temperature, 0 to 2")
    add_client(parser)
    parser.add_format()


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    require_stdout()
    if arguments.max_tokens is not None and arguments.max_tokens < 1:
        raise CommandError(f"--max-tokens: expected 1 or more, got {arguments.max_tokens}")
    if arguments.temperature is not None and not 0 <= arguments.temperature <= 2:
        raise CommandError(f"--temperature: expected 0 to 2, got {arguments.temperature:g}")
    options = {
        "model": read_setting("--model", arguments.model, "NOMYO_MODEL").value or MODEL,
        "security_tier": _read_tier(arguments),
        "max_tokens": arguments.max_tokens,
        "temperature": arguments.temperature,
    }
    system = None if arguments.system is None else _decode_argument(arguments.system)
    messages = [] if system is None else [{"role": "system", "content": system}]
    prompt = _read_prompt(arguments)
    for name, text in (("--system", system), ("the prompt", prompt)):
        _check_text(name, text or "")
    policy = _load_policy(arguments)
    evidence_log = read_setting("--evidence-log", arguments.evidence_log, "NOMYO_EVIDENCE_LOG").value
    client = open_client(arguments, policy, evidence_log)

    import asyncio

    from nomyo.cli.connection import command_error
    from nomyo.cli.conversation import Chat, converse
    from nomyo.cli.terminal import refusal_text, stored_evidence_text
    from nomyo.errors import AttestationError, NomyoError

    options = {name: value for name, value in options.items() if value is not None}
    with print_log_warnings(), asyncio.Runner() as runner:
        chat = Chat(runner, client, host_of(resolve_base_url(arguments)), options, as_json=arguments.format == "json")
        try:
            if prompt is None:
                converse(chat, messages)
            else:
                chat.ask([*messages, {"role": "user", "content": prompt}])
        except AttestationError as refusal:
            assert policy is not None  # without a policy there is no gate
            style = text_style(stream=sys.stderr)
            print_stderr(refusal_text(refusal.result, policy, style))
            print_stderr(f"\n{stored_evidence_text(refusal.evidence_log, evidence_log, style)}")
            return EXIT_NOT_AFFIRMED
        except NomyoError as error:
            raise command_error(error, chat.host, keyless=client.api_key is None) from None
        finally:
            runner.run(client.aclose())
    return EXIT_OK


def _read_tier(arguments: argparse.Namespace) -> str | None:
    tier, source = read_setting("--tier", arguments.tier, "NOMYO_SECURITY_TIER")
    if tier is not None and tier not in TIERS:
        raise CommandError(f"{source}: expected one of {', '.join(TIERS)}, got {tier[:40]!r}")
    return tier


def _load_policy(arguments: argparse.Namespace) -> AppraisalPolicy | None:
    name, source = read_setting("--policy", arguments.policy, "NOMYO_POLICY")
    if name is None:
        return None
    try:
        return load_policy(name)
    except CommandError as error:
        raise CommandError(f"{source}: {error}") from None


def _read_prompt(arguments: argparse.Namespace) -> str | None:
    """Return the prompt, or None to start a conversation. Raises `CommandError`."""
    words: list[str] = arguments.prompt
    if not words:
        if sys.stdin is not None and sys.stdin.isatty():
            return None
        words = [STANDARD_INPUT]
    reads_secret = STANDARD_INPUT in (arguments.api_key_file, arguments.key_password_file)
    if STANDARD_INPUT not in words and not reads_secret and sys.stdin is not None and not sys.stdin.isatty():
        words = [*words, STANDARD_INPUT]  # git diff | nomyo chat "Review this change"
    piped = words.count(STANDARD_INPUT)
    if piped + [arguments.api_key_file, arguments.key_password_file].count(STANDARD_INPUT) > 1:
        raise CommandError("standard input (-) can be read only once; pass - only once")
    words = [_decode_argument(word) for word in words]
    prompt = " ".join(words)
    if piped:
        position = words.index(STANDARD_INPUT)
        parts = [" ".join(words[:position]), _read_standard_input(), " ".join(words[position + 1 :])]
        prompt = "\n\n".join(part for part in parts if part)
    if not prompt.strip():
        raise CommandError("the prompt is empty; pass one as an argument or on standard input")
    return prompt


def _decode_argument(word: str) -> str:
    """Decode a command-line argument as UTF-8, whatever encoding the locale has.

    Python decodes arguments with the locale's encoding, and represents invalid bytes as lone surrogates.
    """
    if not any("\ud800" <= character <= "\udfff" for character in word):
        return word
    try:
        return os.fsencode(word).decode("utf-8")
    except UnicodeError:
        return word  # `_check_text` reports it


def _check_text(name: str, text: str) -> None:
    """Refuse text with lone surrogates, with which Python represents bytes that are not valid UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise CommandError(f"{name}: not valid UTF-8; convert it first") from None


def _read_standard_input() -> str:
    content = read_input(STANDARD_INPUT, PAYLOAD_MAX)
    if len(content) > PAYLOAD_MAX:
        raise CommandError(
            f"standard input: expected at most {PAYLOAD_MAX} bytes, the maximum for a prompt; shorten it"
        )
    from nomyo_attest.evidence.content import wrong_encoding

    if problem := wrong_encoding(content[:64]):
        raise CommandError(f"standard input: {problem}")
    try:
        return content.decode("utf-8-sig").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise CommandError(f"standard input: not valid UTF-8 (byte {error.start}); convert it first") from None
