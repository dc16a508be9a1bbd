"""The libraries keep their progress and their advice to themselves: while models are loaded, or for good."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import RLock

_LOADING = RLock()  # two at once would each take the other's quiet for what was there before


def silence() -> ExitStack:
    """From now on torch's libraries tell nothing but errors; closing what this returns leaves them as they were."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    restored = ExitStack()
    for library in (transformers_logging, diffusers_logging):
        restored.callback(library.set_verbosity, library.get_verbosity())
        library.set_verbosity_error()
        if library.is_progress_bar_enabled():
            restored.callback(library.enable_progress_bar)
            library.disable_progress_bar()
    advice = logging.getLogger("bitsandbytes")
    restored.callback(advice.setLevel, advice.level)
    advice.setLevel(logging.ERROR)
    return restored


@contextmanager
def quiet() -> Iterator[None]:
    """The same for as long as something is loaded."""
    with _LOADING, silence():
        yield
