"""The module of nomyo 0.2.9 of this name, for programs that import ``nomyo.nomyo.SecureChatCompletion``."""

from nomyo.chat import SecureChatCompletion

__all__ = ["SecureChatCompletion"]
