"""Responses as dicts whose keys are also attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, Self

from nomyo.types import ChatCompletion

_KEYS_SHOWN = 20


class ChatResponse(ChatCompletion):
    """A response: a dict whose keys can also be read as attributes, in nested objects too. ::

        response.choices[0].message.content == response["choices"][0]["message"]["content"]

    It compares equal to a plain dict with the same content, and can be encoded as JSON, copied and pickled. Attributes
    are read-only.

    Args:
        fields: a JSON object. Nested dicts become objects of this class, and lists are copied.

    Raises:
        AttributeError: on access to an attribute for which there is no key; names up to 20 existing keys.
    """

    __slots__ = ()

    def __init__(self, fields: Mapping[str, Any] = {}) -> None:
        super().__init__(fields)
        unconverted: list[Any] = [self]  # not recursive: a response may have hundreds of levels
        while unconverted:
            container = unconverted.pop()
            for place, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
                if isinstance(value, dict):
                    inner: Any = ChatResponse.__new__(ChatResponse)
                    inner.update(value)
                elif isinstance(value, list):
                    inner = list(value)
                else:
                    continue
                container[place] = inner
                unconverted.append(inner)

    def __getattr__(self, name: str) -> Any:
        # Python and other libraries look up special methods here. A server must not provide them.
        if name in self and not name.startswith("__"):
            return self[name]
        keys = ", ".join(sorted(map(str, self))[:_KEYS_SHOWN])
        raise AttributeError(f"the response has no {name!r} here; it has: {keys or 'nothing'}", name=name)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"attributes of a response are read-only; set the key: response[{name!r}] = …")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"attributes of a response are read-only; delete the key: del response[{name!r}]")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self if name.isidentifier())]

    def copy(self) -> Self:
        """Return a shallow copy."""
        copied = type(self)()
        copied.update(self)
        return copied
