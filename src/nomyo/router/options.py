"""What a router can be told: everything it is started with, checked before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from nomyo.config import TIERS, is_loopback
from nomyo.router.errors import RouterError

TPMS: Final = ("auto", "device", "swtpm", "soft", "none")
"""Where evidence comes from. ``auto`` is the first of the next three that is there."""

ANY_MODEL: Final = "*"
"""The entry of `RouterOptions.models` for models that have none of their own."""

LOG_FORMATS: Final = ("text", "json")
"""How the log is written on standard error."""

_PORT_MAX: Final = 65535
_GRACE_MAX: Final = 24 * 60 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterOptions:
    """What a router is started with. Raises `RouterError` for what makes no sense.

    Attributes:
        host: address to listen on. A throw-away CA is for loopback only; elsewhere `cert` and `key` must be given.
        port: port to listen on; 0 for a free one.
        cert: certificate chain in PEM; None for one of a throw-away CA.
        key: private key of `cert` in PEM.
        api_keys: bearer keys that are let in; none for an open router.
        tpm: one of `TPMS`.
        pcrs: what is quoted, such as ``"sha256:0,7,10"``.
        aik: kind of the attestation key made for each request. A hardware TPM takes seconds to make an RSA key.
        models: model → security tiers it may be used at; `ANY_MODEL` stands for all others. None: any at every tier.
        default_tier: the tier of requests that name none.
        upstream: base URL of an OpenAI-compatible server, such as ``"http://127.0.0.1:8080/v1"``; None to echo.
        upstream_api_key: bearer key for `upstream`.
        upstream_timeout: seconds to wait for the upstream's answer.
        upstream_concurrency: requests that are at the upstream at a time; others wait, `upstream_timeout` at most.
        unsafe_remote_upstream: send prompts over plain HTTP to another machine.
        rate_limit: two requests a second, as the service has it (`limits`).
        secure_inference: False to answer 404, as a router that has it disabled.
        server_key: file of the RSA private key that requests are sealed to; None to make one at start.
        server_key_bits: size of a key made at start; below 4096 only for tests of clients that must refuse it.
        grace: seconds that requests in progress have to finish when `serve` is asked to stop.
        log_format: one of `LOG_FORMATS`, for `serve`.
        fault: name of an entry of `faults.FAULTS`, for tests of clients.
    """

    host: str = "127.0.0.1"
    port: int = 0
    cert: Path | None = None
    key: Path | None = None
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    tpm: str = "auto"
    pcrs: str = "sha256:0,7,10"
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
    fault: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _PORT_MAX:
            raise RouterError(f"port: expected 0 to {_PORT_MAX}, got {self.port}")
        if (self.cert is None) != (self.key is None):
            raise RouterError("cert and key: expected both or neither, got one of them")
        if self.cert is None and not is_loopback(self.host):
            raise RouterError(
                f"host {self.host!r}: a throw-away CA is for loopback only; give cert and key, or listen on 127.0.0.1"
            )
        for key in self.api_keys:
            if not key.strip() or not (key.isascii() and key.isprintable()):
                raise RouterError("api_keys: expected printable ASCII, got an empty key or one with other characters")
        _one_of("tpm", self.tpm, TPMS)
        _one_of("default_tier", self.default_tier, TIERS)
        for tiers in (self.models or {}).values():
            for tier in tiers:
                _one_of("models: tier", tier, TIERS)
        if self.upstream is not None:
            _check_upstream(self.upstream, remote=self.unsafe_remote_upstream)
        if not self.upstream_timeout > 0:  # nor NaN
            raise RouterError(f"upstream_timeout: expected seconds above 0, got {self.upstream_timeout}")
        if self.upstream_concurrency < 1:
            raise RouterError(f"upstream_concurrency: expected 1 or more requests, got {self.upstream_concurrency}")
        if not 0 <= self.grace <= _GRACE_MAX:
            raise RouterError(f"grace: expected 0 to {_GRACE_MAX} seconds, got {self.grace:g}")
        _one_of("log_format", self.log_format, LOG_FORMATS)

    def allows(self, model: str, tier: str) -> bool:
        """Whether a model may be used at a security tier."""
        if self.models is None:
            return True
        return tier in self.models.get(model, self.models.get(ANY_MODEL, frozenset()))


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
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
            f"upstream: prompts would go to {parts.hostname} in clear; use https, or say unsafe_remote_upstream"
        )
