"""The parts that both clients share: a context manager that cannot be copied, and a method that may be awaited."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from types import TracebackType
from typing import NoReturn, Self

from nomyo.errors import ArgumentTypeError
from nomyo.traceback_scrubbing import guarded, guarded_async


class AwaitableNone:
    """Return value of a synchronous method that can also be awaited, as in the documentation of nomyo 0.2.9."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


class BaseClient(ABC):
    """Base class of both clients: an asynchronous context manager that can be neither copied nor pickled."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections."""

    async def __aenter__(self) -> Self:
        return self

    @guarded
    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise ArgumentTypeError(
            f"a {type(self).__name__} can be neither copied nor pickled: it holds a private key and open connections. "
            "Create one in each process; SecureChatCompletion.with_options() creates one with the same key pair"
        )

    @guarded_async
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
