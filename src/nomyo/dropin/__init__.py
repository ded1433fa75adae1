"""Drop-ins: encrypt the chat completions of programs written for OpenAI's SDK and the frameworks on top of it. ::

from nomyo.dropin import openai_client

client = openai_client(api_key="…", attestation_policy="policy.toml")
client.chat.completions.create(model="…", messages=[…])
"""

from __future__ import annotations

from nomyo.dropin.clients import (
    async_http_client,
    async_openai_client,
    http_client,
    http_clients,
    openai_client,
    refusal,
)
from nomyo.dropin.transport import BASE_URL, EncryptedTransport

__all__ = [
    "BASE_URL",
    "EncryptedTransport",
    "async_http_client",
    "async_openai_client",
    "http_client",
    "http_clients",
    "openai_client",
    "refusal",
]
