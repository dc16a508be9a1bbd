"""Sample answers at intervals: what the model would say by now, beside what it is to learn to say."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from llmga.llava.datasets.mixture import Sample
from llmga.llava.mllm import Mllm
from llmga.llava.tokenization import IGNORED

FILE = "samples.jsonl"


class SampleWriter(TrainerCallback):
    """Appends `{"step", "prompt", "answer", "wanted"}` lines to samples.jsonl every so many steps.

    Answers are greedy and draw no random numbers, so that a run is the same with and without them.

    Args:
        everywhere: all processes must answer together, as where each holds only a part of every weight.
    """

    def __init__(
        self, mllm: Mllm, samples: Sequence[Sample], folder: str | Path, *, every: int, tokens: int, everywhere: bool
    ):
        self._mllm, self._samples, self._file = mllm, samples, Path(folder) / FILE
        self._every, self._tokens, self._everywhere = every, tokens, everywhere

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write samples where they are due."""
        if state.global_step % self._every or not (state.is_world_process_zero or self._everywhere):
            return
        model = self._mllm.model
        learning = model.training
        model.eval()
        try:
            lines = [self._line(sample, state.global_step) for sample in self._samples]
        finally:
            model.train(learning)
        if state.is_world_process_zero:
            with self._file.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    def _line(self, sample: Sample, step: int) -> dict[str, Any]:
        begin = next(index for index, label in enumerate(sample.labels) if label != IGNORED)
        end = next((index for index in range(begin, len(sample.labels)) if sample.labels[index] == IGNORED), None)
        prompt, wanted = sample.input_ids[:begin], sample.labels[begin:end]
        pictures = sample.input_ids[:begin].count(self._mllm.image_token_id) // self._mllm.tokens_per_image
        answer = self._answer(prompt, sample.images[:pictures])
        texts = {"prompt": prompt, "answer": answer, "wanted": wanted}
        return {"step": step, **{name: self._decoded(ids) for name, ids in texts.items()}}

    @torch.no_grad()
    def _answer(self, prompt: list[int], images: Sequence[Any]) -> list[int]:
        device = self._mllm.device
        pictures = {"pixel_values": self._mllm.pixel_values(list(images)).to(device)} if images else {}
        ids = torch.tensor([prompt], device=device)
        model: Any = self._mllm.model
        written = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=self._tokens,
            do_sample=False,
            use_cache=True,
            synced_gpus=self._everywhere,
            eos_token_id=sorted(self._mllm.stop_ids),
            pad_token_id=self._mllm.tokenizer.pad_token_id or 0,
            **pictures,
        )
        return written[0, len(prompt) :].tolist()

    def _decoded(self, ids: Sequence[int]) -> str:
        """Text with one marker per picture."""
        spoken = [token for token in ids if token != self._mllm.image_token_id]
        pictures = (len(ids) - len(spoken)) // self._mllm.tokens_per_image
        return "<image>" * pictures + str(self._mllm.tokenizer.decode(spoken))
