"""Drop-ins: programs written for OpenAI's chat completions, encrypted and gated."""
