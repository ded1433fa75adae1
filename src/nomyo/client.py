"""SecureCompletionClient: encryption, keys and requests, with the names of nomyo 0.2.9."""

from __future__ import annotations

import uuid
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from nomyo import client_keys, keys, strict_json
from nomyo.base_client import AwaitableNone, BaseClient
from nomyo.call import Request, Service
from nomyo.client_keys import KeyPair, Keyring
from nomyo.config import (
    check_api_key,
    check_max_retries,
    check_path,
    check_payload_id,
    check_tier,
    check_timeout,
)
from nomyo.errors import HELD, ArgumentError, ArgumentTypeError, AttestationError, NomyoError, SecurityError
from nomyo.gate import Gate
from nomyo.options import ConstructorSignature, Options, SharedOptions
from nomyo.preflight import CANARY, Account, Admission, Admissions, Affirmed, Target
from nomyo.rate_limit import CallQueue
from nomyo.traceback_scrubbing import guarded, guarded_async
from nomyo.transport import Transport

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from nomyo_attest.appraisal import AttestationResult
    from nomyo_attest.policy import AppraisalPolicy


_SIGNATURE: Final = ConstructorSignature(
    {
        "router_url": "base_url",
        "allow_http": "allow_http",
        "secure_memory": "secure_memory",
        "max_retries": "max_retries",
    },
    SharedOptions.__annotations__,
)


class SecureCompletionClient(BaseClient):
    """Encryption, keys and communication with one NOMYO Router.

    Args:
        router_url: base URL of the router; HTTPS. Paths are appended to it.
        allow_http: accept plain HTTP to this machine, for development.
        secure_memory: lock plaintext in memory while it is processed, where the system allows it. An int is taken as
            `max_retries`, which is the third parameter in the service's API reference.
        max_retries: retries of a request after retryable statuses (`nomyo.status.STATUSES`) and broken connections.
        options: the other options of `SecureChatCompletion`, except those of the gate and `api_key`.

    Attributes:
        router_url: the base URL, without a trailing slash.
        origin: scheme, host and port.

    Raises:
        ArgumentError: an argument is invalid.
        InsecureURLError: the base URL uses plain HTTP, which is not allowed.
        EvidenceLogError: the ledger cannot be written, and `evidence_log_failure` is ``"raise"``.
    """

    key_size = keys.KEY_BITS

    @_SIGNATURE.declare
    @guarded
    def __init__(
        self,
        router_url: str = Options.base_url,
        allow_http: bool = Options.allow_http,
        secure_memory: bool = Options.secure_memory,
        max_retries: int = Options.max_retries,
        **options: Unpack[SharedOptions],
    ) -> None:
        _SIGNATURE.check_names(type(self).__name__, options)
        if type(secure_memory) is int:
            secure_memory, max_retries = True, secure_memory
        self._set_up(
            Options(
                base_url=router_url,
                allow_http=allow_http,
                secure_memory=secure_memory,
                max_retries=max_retries,
                **options,
            )
        )

    @classmethod
    def from_options(
        cls, options: Options, keyring: Keyring | None = None, admissions: Admissions | None = None
    ) -> Self:
        """Create a client from checked options.

        Args:
            options: their `policy` applies to every call. If they are `is_always_gated`, no call can switch the gate
                off.
            keyring: keyring of another client to share; None to create one.
            admissions: refusals and affirmed responses of another client to share; None to create them.
        """
        client = cls.__new__(cls)
        client._set_up(options, keyring, admissions)
        return client

    def _set_up(self, options: Options, keyring: Keyring | None = None, admissions: Admissions | None = None) -> None:
        self.router_url = options.base.text
        self.origin = options.base.origin
        self.allow_http = options.allow_http
        self.max_retries = options.max_retries
        self.timeout = options.timeout
        self._policy = options.policy
        self._gated = options.is_always_gated
        self._refusal_hold, self._preflight = options.refusal_hold, options.preflight
        self.admissions = Admissions() if admissions is None else admissions
        self.keyring = Keyring(options.key_dir, options.key_password) if keyring is None else keyring
        self._transport = Transport(options.http_client, origin=self.origin)
        self._service = Service(
            self.router_url,
            self._transport,
            self.keyring,
            Gate(
                options.log,
                must_store=options.evidence_log_failure == "raise",
                lock_memory=options.secure_memory,
            ),
            pins=options.pins,
            min_server_key_bits=options.min_server_key_bits,
            secure_memory=options.secure_memory,
            queue=CallQueue(self.origin, options.rate_limit),
        )

    @property
    def private_key(self) -> RSAPrivateKey | None:
        """The client's private key; None until it is generated or loaded."""
        return None if self.keyring.pair is None else self.keyring.pair.private

    @property
    def public_key_pem(self) -> str | None:
        """The client's public key in PEM, derived from the private key; None until that is generated or loaded."""
        return None if self.keyring.pair is None else self.keyring.pair.public_pem

    @guarded
    def generate_keys(
        self, save_to_file: bool = False, key_dir: str | PathLike[str] = "client_keys", password: str | None = None
    ) -> AwaitableNone:
        """Generate an RSA-4096 key pair and use it.

        This takes up to a few seconds and blocks the event loop. Without this call, the client generates a pair in a
        background thread.

        Args:
            save_to_file: also save the pair, as ``private_key.pem`` and ``public_key.pem``.
            key_dir: the folder, which is created with mode 0700 if it does not exist.
            password: encrypts the private key.

        Raises:
            KeyStoreError: a key file exists, since key files are never overwritten, or the files cannot be written.
        """
        folder = check_path("key_dir", key_dir) if save_to_file else None
        private = keys.generate(self.key_size)
        if folder is not None:
            client_keys.save_new(folder, private, password)
        self.keyring.pair = KeyPair.of(private)
        return AwaitableNone()

    @guarded
    def load_keys(
        self,
        private_key_path: str | PathLike[str],
        public_key_path: str | PathLike[str] | None = None,
        password: str | None = None,
    ) -> AwaitableNone:
        """Load a key pair and use it.

        Args:
            private_key_path: PEM file of the private key.
            public_key_path: PEM file of the public key, which must match the private one; None to derive it.
            password: password of the private key.

        Raises:
            KeyStoreError: a file cannot be used; `KeyFileNotFoundError` if one does not exist.
        """
        private = check_path("private_key_path", private_key_path)
        public = None if public_key_path is None else check_path("public_key_path", public_key_path)
        self.keyring.pair = KeyPair.of(client_keys.load(private, public, password))
        return AwaitableNone()

    @guarded_async
    async def fetch_server_public_key(self) -> str:
        """Fetch and check the server's key, use it from now on, and return it in PEM.

        Raises:
            ServerKeyError: it is weak, malformed or not pinned.
            APIConnectionError, APIStatusError: it could not be fetched.
        """
        return (await self._service.server_keys.refresh()).pem

    @guarded_async
    async def encrypt_payload(self, payload: dict[str, Any]) -> bytes:
        """Encrypt a payload to the server's key, which is fetched if necessary, and return the body of a request.

        Raises:
            ArgumentError: the payload is not a dict, is empty or too large, or cannot be encoded as JSON.
            ServerKeyError, APIConnectionError, APIStatusError: as `fetch_server_public_key`.
        """
        payload = _payload(payload)
        return await self._service.encrypt(payload, await self._service.server_keys.get())

    @guarded_async
    async def decrypt_response(self, encrypted_response: bytes, payload_id: str) -> dict[str, Any]:
        """Decrypt the body of a response, and refuse it if it is not for the request `payload_id`.

        Raises:
            ResponseError: the response cannot be decrypted and parsed; the reason is withheld.
            ResponseNotBoundError: the response is for a different request.
            EvidenceLogError: the evidence could not be stored, and `evidence_log_failure` is ``"raise"``.
            SecurityError: the client has no private key yet.
        """
        if not isinstance(encrypted_response, bytes):
            raise ArgumentError("Encrypted response must be bytes")
        check_payload_id(payload_id)
        if self.keyring.pair is None:
            raise SecurityError("Private key not initialized. Call generate_keys() or load_keys() first.")
        return await self._service.gate.release(
            encrypted_response, self.keyring.pair.private, payload_id, policy=self._policy, gated=self._gated
        )

    @guarded_async
    async def send_secure_request(
        self,
        payload: dict[str, Any],
        payload_id: str,
        api_key: str | None = None,
        security_tier: str | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the decrypted response.

        The policy gate is off, except in the `client` of a `SecureChatCompletion` that was created with
        ``require_attestation="always"``.

        Args:
            payload: the request for a chat completion.
            payload_id: id of the request, printable ASCII; the same for all attempts.
            api_key: bearer token.
            security_tier: ``"standard"``, ``"high"`` or ``"maximum"``.

        Raises:
            ArgumentError: an argument is invalid; nothing was sent.
            APIStatusError, APIConnectionError, SecurityError: see `nomyo.errors`.
        """
        return await self.complete(
            payload,
            payload_id=payload_id,
            api_key=api_key,
            tier=security_tier,
            policy=self._policy,
            gated=self._gated,
        )

    async def complete(
        self,
        payload: dict[str, Any],
        *,
        payload_id: str,
        api_key: str | None = None,
        tier: str | None = None,
        policy: AppraisalPolicy | None,
        gated: bool,
        time_limit: float | None = None,
    ) -> dict[str, Any]:
        """Send a request and return its completion. Call it from guarded methods only (see `traceback_scrubbing`).

        If the client's gate is always on, its own policy applies, and `policy` and `gated` are ignored.
        """
        if self._gated:
            policy, gated = self._policy, True
        payload = _payload(payload)
        api_key, tier, payload_id = check_api_key(api_key), check_tier(tier), check_payload_id(payload_id)
        account = Account.of(self.origin, api_key)
        request = Request(
            payload=payload,
            payload_id=payload_id,
            api_key=api_key,
            tier=tier,
            policy=policy,
            gated=gated,
            admission=self._admission(account, payload.get("model"), api_key, tier),
            on_affirmed=lambda server_key, result: self.admissions.affirmed(
                Target(account, result.policy_digest, server_key, str(payload.get("model")), tier), payload_id
            ),
        )
        try:
            return await self._run(request, time_limit)
        except AttestationError as error:
            if (
                error.payload_id == payload_id and error.code != HELD
            ):  # not the refusal of a canary or of an earlier call
                self.admissions.refused(account, error)
            raise

    async def attest(
        self, model: str, *, api_key: str | None, tier: str | None, time_limit: float | None = None
    ) -> AttestationResult:
        """Send a canary and return the result of its appraisal. Call it in guarded methods only.

        Raises the errors of `complete`; `ArgumentError` without a policy.
        """
        if self._policy is None:
            raise ArgumentError("attest: there is no policy to appraise by; pass attestation_policy")
        if not isinstance(model, str):
            raise ArgumentTypeError(f"model: expected a str, got {type(model).__name__}")
        return (await self._send_canary(model, api_key, tier, time_limit))[0]

    async def _send_canary(
        self, model: str, api_key: str | None, tier: str | None, time_limit: float | None = None
    ) -> tuple[AttestationResult, Affirmed | None]:
        """Send a canary. The second value is None if a refusal while it was in flight invalidates its response."""
        api_key, tier = check_api_key(api_key), check_tier(tier)
        account, sent_at, payload_id = Account.of(self.origin, api_key), self.admissions.clock(), str(uuid.uuid4())
        outcome: list[tuple[AttestationResult, Affirmed | None]] = []

        def record(server_key: str, result: AttestationResult) -> None:
            target = Target(account, result.policy_digest, server_key, model, tier)
            outcome.append((result, self.admissions.affirmed(target, payload_id, canary_sent_at=sent_at)))

        request = Request(
            payload={"model": model, **CANARY},
            payload_id=payload_id,
            api_key=api_key,
            tier=tier,
            policy=self._policy,
            gated=True,
            canary=True,
            on_affirmed=record,
        )
        try:
            await self._run(request, time_limit)
        except NomyoError as error:
            error.prompt_sent = False
            if isinstance(error, AttestationError):
                self.admissions.refused(account, error)
            raise
        return outcome[0]

    async def _run(self, request: Request, time_limit: float | None) -> dict[str, Any]:
        seconds = self.timeout if time_limit is None else check_timeout(time_limit)
        return await self._service.run(request, time_limit=seconds, max_retries=check_max_retries(self.max_retries))

    def _admission(self, account: Account, model: object, api_key: str | None, tier: str | None) -> Admission | None:
        """Return the admission of a prompt; None if neither `refusal_hold` nor `preflight` is in use."""
        if not self._refusal_hold and self._preflight is None:
            return None
        if not isinstance(model, str):
            raise ArgumentTypeError(f"model: expected a str, got {type(model).__name__}")

        @guarded_async  # so that a defect is a NomyoError, which every waiting call gets
        async def send() -> Affirmed | None:
            return (await self._send_canary(model, api_key, tier))[1]

        return Admission(
            self.admissions,
            account,
            policy_digest="" if self._policy is None else self._policy.digest,
            model=model,
            tier=tier,
            hold=self._refusal_hold,
            preflight=self._preflight,
            send=send,
        )

    @guarded_async
    async def aclose(self) -> None:
        """Close the connections; later calls raise `ClientClosedError`."""
        await self._service.server_keys.aclose()
        await self._transport.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.router_url}>"


def _payload(payload: object) -> dict[str, Any]:
    """Return a copy of the payload, so that later changes by the caller have no effect. Raises `ArgumentError`."""
    if not isinstance(payload, dict):
        raise ArgumentError("Payload must be a dictionary")
    if not payload:
        raise ArgumentError("Payload cannot be empty")
    copied: dict[str, Any] = strict_json.snapshot(payload)
    return copied
