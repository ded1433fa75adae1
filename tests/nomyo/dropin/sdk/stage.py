"""A router with a model behind it, and the options of clients for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import nomyo_attest as na
from nomyo.router import RunningRouter
from tests.nomyo.dropin.sdk import scripted_model
from tests.nomyo.router.openai_server import OpenAIServer

MODEL: Final = "Qwen/Qwen3-0.6B"
API_KEY: Final = "bearer-5f1d0c4e9a7b3d62"
PROMPT: Final = "prompt-6c1f4b2d8e0a9357"
MESSAGES: Final = [{"role": "user", "content": PROMPT}]
REPLY: Final = f"reply to {PROMPT}"


@dataclass
class Stage:
    """A router, the model that it forwards to, and a policy that affirms the router's evidence."""

    router: RunningRouter
    model: OpenAIServer
    policy: na.AppraisalPolicy
    _posts: int = 0

    def options(self, **changes: Any) -> dict[str, Any]:
        """Return the options of a client that makes one attempt."""
        options = {"base_url": self.router.url, "api_key": API_KEY, "attestation_policy": self.policy}
        return {**options, "max_retries": 0, "timeout": 30.0, **changes}

    def reset(self) -> None:
        """Let router and model respond correctly, and count from now on."""
        self.router.fault = None
        self.router.boot_original_firmware()
        self.model.answer = scripted_model.reply_to
        self.count_from_now()

    def count_from_now(self) -> None:
        """Set the counts to 0."""
        self.model.asked.clear()
        self._posts = self.router.counts.posts

    @property
    def posts(self) -> int:
        """The number of requests for a completion that the router received."""
        return self.router.counts.posts - self._posts

    @property
    def prompts(self) -> int:
        """The number of prompts that the model received."""
        return len(self.model.asked)

    @property
    def payload(self) -> dict[str, Any]:
        """The last prompt that the model received; the router adds `stream`."""
        return {name: value for name, value in self.model.asked[-1].payload.items() if name != "stream"}
