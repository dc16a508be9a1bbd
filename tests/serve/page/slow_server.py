"""The page with a painter that takes its time, so that paintings can be interrupted on any machine.

python -m tests.serve.page.slow_server [the flags of the page]
"""

from time import sleep
from unittest.mock import patch

from llmga.assistant.loading import Models
from llmga.serve.gradio_web_server import main

A_STEP = 0.3  # seconds that every step takes longer


def slow(load):
    """`Models.load`, with models that paint slowly."""

    def loaded(*given, **named) -> Models:
        models = load(*given, **named)
        models.pipeline.denoiser.register_forward_pre_hook(lambda *_: sleep(A_STEP))
        return models

    return loaded


if __name__ == "__main__":
    with patch.object(Models, "load", slow(Models.load)):
        main()
