"""SecureCompletionClient: the layer underneath, with the names that users of the published client know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from nomyo import keyfiles, keys, strict_json
from nomyo.call import Request, Service
from nomyo.config import (
    DEFAULT_BASE_URL,
    SERVER_KEY_BITS,
    TIMEOUT,
    check_api_key,
    check_flag,
    check_key_bits,
    check_max_retries,
    check_path,
    check_payload_id,
    check_pins,
    check_tier,
    check_timeout,
    parse_base_url,
)
from nomyo.errors import ArgumentError, ArgumentTypeError, SecurityError
from nomyo.gate import Gate
from nomyo.keyring import KeyPair, Keyring
from nomyo.options import load_log, must_store
from nomyo.rate_limit import CallQueue, check_rate_limit
from nomyo.traceback_scrubbing import guarded, guarded_async
from nomyo.transport import Transport

if TYPE_CHECKING:
    import httpx
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from nomyo_attest.ledger import EvidenceLog
    from nomyo_attest.policy import AppraisalPolicy


class Done:
    """What a finished method returns: nothing, which may also be awaited, since much documentation does."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


class Closing(ABC):
    """What is closed at the end of its context."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close it."""

    async def __aenter__(self) -> Self:
        return self

    @guarded
    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise ArgumentTypeError(
            f"a {type(self).__name__} can be neither copied nor pickled: it holds a private key and open connections. "
            "Make a new one, one in each process; SecureChatCompletion.with_options() makes one with the same key pair"
        )

    @guarded_async
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class SecureCompletionClient(Closing):
    """Encryption, keys and communication with one NOMYO Router.

    Args:
        router_url: base URL of the router; HTTPS. Paths are appended to it. NOMYO_BASE_URL is not read.
        allow_http: take plain HTTP to this machine, for development.
        secure_memory: lock plaintext in memory while it is worked on, where the system allows it. A number in its place
            is taken as `max_retries`, which the service's API reference puts third.
        max_retries: tries after the first, for the statuses in `nomyo.retry.RETRYABLE` and for broken connections.
        key_dir: folder that the key pair is kept in; None for one that lives as long as the client.
        key_password: what the private key there is encrypted with.
        server_key_pins: fingerprints (``sha256/…``) one of which the server's key must have; empty for any key.
        min_server_key_bits: size of the smallest server key taken, 2048 or more.
        timeout: seconds that a call may take in all, its retries included.
        http_client: an `httpx.AsyncClient` to use; it is not closed.
        unsafe_remote_http: with `allow_http`, take plain HTTP to any host.
        evidence_log: the ledger that the evidence of every answer is appended to, a path or an
            `nomyo_attest.EvidenceLog`; None for none.
        rate_limit: requests per second that are sent at most, evenly spaced; `math.inf` for no limit. By default 1.8
            for the public service and no limit for other servers. All clients of the process with the same server and
            API key share one queue. Time in it counts against `timeout`.
        evidence_log_failure: ``"raise"`` to hand over no answer whose evidence could not be kept; ``"warn"`` to log
            that, and to hand the answer over.

    Raises:
        ArgumentError: an argument makes no sense. `InsecureURLError`: plain HTTP where it is not allowed.
        EvidenceLogError: the ledger cannot be appended to, and must be.
    """

    key_size = keys.KEY_BITS

    @guarded
    def __init__(
        self,
        router_url: str = DEFAULT_BASE_URL,
        allow_http: bool = False,
        secure_memory: bool = True,
        max_retries: int = 2,
        *,
        key_dir: str | PathLike[str] | None = None,
        key_password: str | None = None,
        server_key_pins: Iterable[str] = (),
        min_server_key_bits: int = SERVER_KEY_BITS,
        timeout: float = TIMEOUT,
        http_client: httpx.AsyncClient | None = None,
        unsafe_remote_http: bool = False,
        evidence_log: EvidenceLog | str | PathLike[str] | None = None,
        evidence_log_failure: str = "raise",
        rate_limit: float | None = None,
    ) -> None:
        if type(secure_memory) is int:
            secure_memory, max_retries = True, secure_memory
        secure_memory = check_flag("secure_memory", secure_memory)
        allow_http = check_flag("allow_http", allow_http)
        unsafe_remote_http = check_flag("unsafe_remote_http", unsafe_remote_http)
        base = parse_base_url(router_url, allow_http=allow_http, unsafe_remote_http=unsafe_remote_http)
        self.router_url = base.text
        self.origin = base.origin
        self.allow_http = allow_http
        self.max_retries = check_max_retries(max_retries)
        self.timeout = check_timeout(timeout)
        self._policy: AppraisalPolicy | None = None
        self._gated = False
        self.keyring = Keyring(None if key_dir is None else check_path("key_dir", key_dir), key_password)
        self._transport = Transport(http_client, origin=base.origin)
        gate = Gate(
            None if evidence_log is None else load_log(evidence_log),
            must_store=must_store(evidence_log_failure),
            lock_memory=secure_memory,
        )
        self._service = Service(
            base.text,
            self._transport,
            self.keyring,
            gate,
            pins=check_pins(server_key_pins),
            min_server_key_bits=check_key_bits(min_server_key_bits),
            secure_memory=secure_memory,
            queue=CallQueue(base.origin, check_rate_limit(rate_limit)),
        )

    @property
    def private_key(self) -> RSAPrivateKey | None:
        """The client's private key; None until it is made or loaded."""
        return None if self.keyring.pair is None else self.keyring.pair.private

    @property
    def public_key_pem(self) -> str | None:
        """The client's public key, always derived from the private one; None until that is there."""
        return None if self.keyring.pair is None else self.keyring.pair.public_pem

    @guarded
    def generate_keys(
        self, save_to_file: bool = False, key_dir: str | PathLike[str] = "client_keys", password: str | None = None
    ) -> Done:
        """Make a new RSA-4096 key pair and use it. It takes up to some seconds, in which an event loop stands still;
        without this call a pair is made in a thread.

        Args:
            save_to_file: also save it, as ``private_key.pem`` and ``public_key.pem``.
            key_dir: the folder; made with mode 0700 if it is not there.
            password: encrypts the private key.

        Raises:
            KeyStoreError: there is a key already, which is never overwritten, or the files cannot be written.
        """
        folder = check_path("key_dir", key_dir) if save_to_file else None
        private = keys.generate(self.key_size)
        if folder is not None:
            keyfiles.save_new(folder, private, password)
        self.keyring.pair = KeyPair.of(private)
        return Done()

    @guarded
    def load_keys(
        self,
        private_key_path: str | PathLike[str],
        public_key_path: str | PathLike[str] | None = None,
        password: str | None = None,
    ) -> Done:
        """Load a key pair and use it.

        Args:
            private_key_path: PEM file of the private key.
            public_key_path: PEM file of the public key, which must be that of the private one; None to derive it.
            password: what the private key is encrypted with.

        Raises:
            KeyStoreError: the files cannot be used; `KeyFileNotFoundError` if one is not there.
        """
        private = check_path("private_key_path", private_key_path)
        public = None if public_key_path is None else check_path("public_key_path", public_key_path)
        self.keyring.pair = KeyPair.of(keyfiles.load(private, public, password))
        return Done()

    @guarded_async
    async def fetch_server_public_key(self) -> str:
        """Fetch the server's key now, check it, and use it from now on. Returns it in PEM form.

        Raises:
            ServerKeyError: it is weak, malformed or not pinned.
            APIConnectionError, APIStatusError: it could not be fetched.
        """
        return (await self._service.server_keys.renewed()).pem

    @guarded_async
    async def encrypt_payload(self, payload: dict[str, Any]) -> bytes:
        """Encrypt a payload for the server's key, which is fetched if need be: the body of a request.

        Raises:
            ArgumentError: the payload is no dict, is empty, too large, or not JSON.
            ServerKeyError, APIConnectionError, APIStatusError: as of `fetch_server_public_key`.
        """
        payload = _payload(payload)
        return await self._service.encrypt(payload, await self._service.server_keys.get())

    @guarded_async
    async def decrypt_response(self, encrypted_response: bytes, payload_id: str) -> dict[str, Any]:
        """Open the body of an answer, and refuse one that names another request than `payload_id`.

        Raises:
            ResponseError: it cannot be read; the reason is not told.
            ResponseNotBoundError: it is the answer to another request.
            EvidenceLogError: its evidence could not be kept, and must be.
            SecurityError: there is no private key to open it with.
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
        """Send a request and return its response, decrypted.

        The policy gate is that of `SecureChatCompletion`. It is off here, except in the `client` of one that was made
        with ``require_attestation="always"``.

        Args:
            payload: the chat completion's request.
            payload_id: its id, printable ASCII; the same for all tries.
            api_key: bearer token.
            security_tier: ``"standard"``, ``"high"`` or ``"maximum"``.

        Raises:
            ArgumentError: an argument makes no sense; nothing was sent.
            APIStatusError, APIConnectionError, SecurityError: in their kinds, see `nomyo.errors`.
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
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """Send a request, appraise its answer if there is a policy. Not guarded: for the methods that are.

        Where `use_policy` has switched the gate on for good, its policy decides, whatever `policy` and `gated` say.
        """
        if self._gated:
            policy, gated = self._policy, True
        request = Request(
            payload=_payload(payload),
            payload_id=check_payload_id(payload_id),
            api_key=check_api_key(api_key),
            tier=check_tier(tier),
            policy=policy,
            gated=gated,
        )
        limit = self.timeout if seconds is None else check_timeout(seconds)
        return await self._service.run(request, seconds=limit, max_retries=check_max_retries(self.max_retries))

    def use_keyring(self, keyring: Keyring) -> None:
        """Use the key pair of another client from now on; a new one made by either is for both."""
        self.keyring = self._service.keyring = keyring

    def use_policy(self, policy: AppraisalPolicy | None, *, gated: bool) -> None:
        """Set the policy for calls of this client itself; see `admit`.

        Args:
            gated: switch the gate on for good, for every call. Neither it nor the policy can be changed afterwards.

        Raises `ArgumentError` for a change after that, and for a gate without a policy.
        """
        if self._gated or (gated and policy is None):
            raise ArgumentError(
                "require_attestation: the policy of a client whose gate is always on cannot be changed or missing"
            )
        self._policy, self._gated = policy, gated

    @guarded_async
    async def aclose(self) -> None:
        """Close the connections; what is called afterwards raises `ClientClosedError`."""
        await self._service.server_keys.aclose()
        await self._transport.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.router_url}>"


def _payload(payload: object) -> dict[str, Any]:
    """The payload as it is now, whatever becomes of it while the call waits. Raises `ArgumentError`."""
    if not isinstance(payload, dict):
        raise ArgumentError("Payload must be a dictionary")
    if not payload:
        raise ArgumentError("Payload cannot be empty")
    copied: dict[str, Any] = strict_json.snapshot(payload)
    return copied
