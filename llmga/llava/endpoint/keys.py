"""A server's key, from the environment."""

import os

KEYS = ("LLMGA_API_KEY", "OPENAI_API_KEY")  # variables, the first that is set counts


def key_of_environment() -> str | None:
    """What opens a server that talks; None where no variable says it."""
    return next((os.environ[name] for name in KEYS if os.environ.get(name)), None)
