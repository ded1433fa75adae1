"""Import the SDKs that an environment of tox installs; the tests of one that is not installed are skipped."""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from typing import Any, Final

import pytest

VARIABLE: Final = "NOMYO_REQUIRE_SDK"
"""Environment variable with the environment's name: its SDKs must be installed, otherwise its tests fail."""

ENVIRONMENTS: Final = {
    "openai1": ("openai",),
    "openai2": ("openai", "llama_index"),
    "openai3": ("openai", "langchain_openai", "langchain_core", "agents", "pydantic_ai"),
    "litellm": ("litellm", "tenacity", "dspy"),
    "instructor": ("instructor",),
}
"""Environment → modules of its SDKs."""


def sdk(name: str) -> Any:
    """Import a module of an SDK. Skips the test file if the SDK is not installed."""
    package = name.partition(".")[0]
    required = package in ENVIRONMENTS.get(os.environ.get(VARIABLE, ""), ())
    if importlib.util.find_spec(package) is None and not required:
        environments = ", ".join(f"sdk-{key}" for key, packages in ENVIRONMENTS.items() if package in packages)
        pytest.skip(f"{package} is not installed; run tox -e {environments}", allow_module_level=True)
    with warnings.catch_warnings():
        # Modules of an SDK and of its dependencies warn about each other when they are imported.
        warnings.simplefilter("ignore")
        return importlib.import_module(name)
