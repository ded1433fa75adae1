"""The options of a router, which are checked when they are created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from nomyo.config import TIERS, is_loopback
from nomyo.router.errors import RouterError

TPMS: Final = ("auto", "device", "swtpm", "soft", "none")
"""Sources of evidence. ``auto`` is the first of the next three that is available."""

ORIGINAL: Final = "original-firmware"
OTHER: Final = "other-firmware"
BOOTS: Final = (ORIGINAL, OTHER)
"""Firmware whose boot a software TPM can simulate."""

ANY_MODEL: Final = "*"
"""The key in `RouterOptions.models` for all models that are not listed."""

LOG_FORMATS: Final = ("text", "json")
"""Formats of the log on standard error."""

_PORT_MAX: Final = 65535
_GRACE_MAX: Final = 24 * 60 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterOptions:
    """The options of a router. Raises `RouterError` for invalid values.

    Attributes:
        host: address to listen on. The temporary CA is for loopback only; other addresses need `cert` and `key`.
        port: port to listen on; 0 for a free one.
        cert: certificate chain in PEM; None for a certificate of a temporary CA.
        key: private key of `cert` in PEM.
        api_keys: accepted bearer keys; empty to accept every client.
        tpm: one of `TPMS`.
        pcrs: the quoted PCRs, such as ``"sha256:0,7,10"``.
        boot: the firmware that a software TPM boots at start, one of `BOOTS`.
        aik: kind of the attestation key for each request. A hardware TPM takes seconds to create an RSA key.
        models: model → allowed security tiers; `ANY_MODEL` for all others. None: any model at every tier.
        default_tier: security tier of requests that name none.
        upstream: base URL of an OpenAI-compatible server, such as ``"http://127.0.0.1:8080/v1"``; None to repeat
            prompts.
        upstream_api_key: bearer key for `upstream`.
        upstream_timeout: seconds to wait for the upstream's response.
        upstream_concurrency: maximum number of concurrent upstream requests; others wait for up to `upstream_timeout`.
        unsafe_remote_upstream: send prompts over plain HTTP to another machine.
        rate_limit: limit callers to two requests per second, as the service does (`rate_limit`).
        secure_inference: False to respond with 404, like a router on which secure inference is disabled.
        server_key: file of the RSA private key for requests; None to generate one at start.
        server_key_bits: size of a generated key; use less than 4096 only to test that clients refuse it.
        grace: seconds that requests in progress may take after `serve` receives a signal.
        log_format: one of `LOG_FORMATS`, for `serve`.
        ca_out: file to which `serve` writes the certificate of the temporary CA; an existing certificate is replaced.
        print_env: let `serve` print shell commands that configure a client, instead of the JSON line.
        fault: name of an entry of `faults.FAULTS`, for tests of clients.
    """

    host: str = "127.0.0.1"
    port: int = 0
    cert: Path | None = None
    key: Path | None = None
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    tpm: str = "auto"
    pcrs: str = "sha256:0,7,10"
    boot: str = ORIGINAL
    aik: str = "p256"
    models: Mapping[str, frozenset[str]] | None = None
    default_tier: str = "standard"
    upstream: str | None = None
    upstream_api_key: str | None = field(default=None, repr=False)
    upstream_timeout: float = 600.0
    upstream_concurrency: int = 100
    unsafe_remote_upstream: bool = False
    rate_limit: bool = False
    secure_inference: bool = True
    server_key: Path | None = None
    server_key_bits: int = 4096
    grace: float = 30.0
    log_format: str = "text"
    ca_out: Path | None = None
    print_env: bool = False
    fault: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _PORT_MAX:
            raise RouterError(f"port: expected 0 to {_PORT_MAX}, got {self.port}")
        if self.cert is not None and self.key is None:
            raise RouterError("cert: expected a private key as well, got none; name the key file of this certificate")
        if self.cert is None and self.key is not None:
            raise RouterError("key: expected a certificate as well, got none; name the file of the certificate chain")
        if self.cert is not None and self.ca_out is not None:
            raise RouterError(
                "ca_out: expected no certificate of your own, got one, so there is no temporary CA; omit one of the two"
            )
        if self.cert is None and not is_loopback(self.host):
            raise RouterError(
                f"host {self.host!r}: the temporary CA is for loopback only; use a certificate and its key, or listen "
                "on 127.0.0.1"
            )
        for key in self.api_keys:
            if not key.strip() or not (key.isascii() and key.isprintable()):
                raise RouterError("api_keys: expected printable ASCII, got an empty key or one with other characters")
        _check_choice("tpm", self.tpm, TPMS)
        _check_choice("boot", self.boot, BOOTS)
        _check_choice("default_tier", self.default_tier, TIERS)
        for tiers in (self.models or {}).values():
            for tier in tiers:
                _check_choice("models: tier", tier, TIERS)
        if self.upstream is not None:
            _check_upstream(self.upstream, remote=self.unsafe_remote_upstream)
        if not self.upstream_timeout > 0:  # also rejects NaN
            raise RouterError(f"upstream_timeout: expected seconds above 0, got {self.upstream_timeout}")
        if self.upstream_concurrency < 1:
            raise RouterError(f"upstream_concurrency: expected 1 or more, got {self.upstream_concurrency}")
        if not 0 <= self.grace <= _GRACE_MAX:
            raise RouterError(f"grace: expected 0 to {_GRACE_MAX} seconds, got {self.grace:g}")
        _check_choice("log_format", self.log_format, LOG_FORMATS)

    def allows(self, model: str, tier: str) -> bool:
        """Whether a model may be used at a security tier."""
        if self.models is None:
            return True
        return tier in self.models.get(model, self.models.get(ANY_MODEL, frozenset()))


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise RouterError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")


def _check_upstream(url: str, *, remote: bool) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        parts, usable = urlsplit(""), False
    if not usable or parts.username or parts.password or parts.query or parts.fragment:
        raise RouterError(
            "upstream: expected a base URL such as http://127.0.0.1:8080/v1, without user, query and fragment"
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname or "") and not remote:
        raise RouterError(
            f"upstream: prompts would be sent unencrypted to {parts.hostname}; use https, or set unsafe_remote_upstream"
        )
