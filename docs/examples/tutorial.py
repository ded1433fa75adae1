"""A client with a policy, from a first response to a refusal and its fix. It needs no account and no TPM."""

import asyncio
import os
from pathlib import Path
from typing import Any

from nomyo import AttestationError, SecureChatCompletion
from nomyo.router import RouterOptions, RunningRouter
from nomyo_attest.policy import learn

MODEL = "Qwen/Qwen3-0.6B"
QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]


def write_policy(responses: list[dict[str, Any]], names: list[str]) -> None:
    """Learn a policy from responses that you trust, and write it to a file."""
    learned = learn(responses, names=names, policy_id="tutorial", allow_test_keys=True)
    Path("policy.toml").write_text(learned.text, encoding="utf-8")


async def first_response(url: str) -> dict[str, Any]:
    """Call the server without a policy: the evidence is not appraised."""
    async with SecureChatCompletion(base_url=url) as client:
        return await client.create(model=MODEL, messages=QUESTION)


async def ask(url: str) -> None:
    """Call the server with the policy. Print the completion, or the refusal."""
    client = SecureChatCompletion(base_url=url, attestation_policy="policy.toml")
    async with client:
        try:
            response = await client.create(model=MODEL, messages=QUESTION)
        except AttestationError as error:
            print("refused:", error)
            for finding in error.result.findings:
                if finding.rule in error.result.failed:
                    print("  expected", finding.expected["sha256:0"][0].hex()[:8])
                    print("  got     ", finding.got["sha256:0"].hex()[:8])
        else:
            verdict = response["_metadata"]["attestation_result"]["verdict"]
            print(f"released ({verdict}):", response["choices"][0]["message"]["content"])


async def main(router: RunningRouter) -> None:
    """Run steps 2 to 5 of the tutorial."""
    # Step 2: a first response, and a policy learned from it.
    before = await first_response(router.url)
    write_policy([before], ["firmware 1.0"])

    # Step 3: the server has not changed, so the client releases the completion.
    await ask(router.url)

    # Step 4: the server boots other firmware, so the client refuses.
    router.boot_other_firmware()
    await ask(router.url)

    # Step 5: you confirm that the update was planned, and accept both values.
    after = await first_response(router.url)
    write_policy([before, after], ["firmware 1.0", "firmware 1.1"])
    await ask(router.url)


if __name__ == "__main__":
    with RunningRouter(RouterOptions(tpm="soft")) as server:
        # Step 1: the router has its own certificate authority.
        os.environ["SSL_CERT_FILE"] = str(server.ca)
        asyncio.run(main(server))
