"""The published client's module of this name, for programs that import ``nomyo.nomyo.SecureChatCompletion``."""

from nomyo.chat import SecureChatCompletion

__all__ = ["SecureChatCompletion"]
