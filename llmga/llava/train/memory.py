"""What a training needs of each device's memory, and how it is made to fit while every step stays the same size.

Estimates, not measurements.  What a model keeps per parameter: ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054,
section 3).  What a layer keeps per token: Korthikanti et al. 2022 (arXiv:2205.05198, section 4), for attention that
never holds its scores and a gated feed-forward part.  What the loss holds: `llmga.llava.loss`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from torch import nn

from llmga.llava.loss import LOGITS_AT_ONCE
from llmga.llava.modeling import LlmgaForConditionalGeneration
from llmga.training.footprint import MOMENTS
from llmga.training.memory import on_device

GATHERED = 1_000_000_000  # parameters that ZeRO-3 holds at once, stage3_max_live_parameters of scripts/zero3.json
BUCKET = 500_000_000  # elements that ZeRO-2 gathers at once, DeepSpeed's own figure
QUANTISED = {16: 2.0, 8: 1.06, 4: 0.57}  # bytes of a frozen weight with its scales
LOGIT = 16  # bytes of a logit in the loss: the score, its float32 copy, both gradients, the softmax
FILES = {0: "none", 2: "scripts/zero2.json", 3: "scripts/zero3.json"}
OFFLOADED = "scripts/zero3_offload.json"


@dataclass(frozen=True)
class Sizes:
    """How large a model is.

    Attributes:
        text: parameters of the language model.
        projector: of the projector.
        tower: of the vision tower.
        adapted: inputs and outputs of the text model's linear layers, added up: what rank 1 costs.
        width: of its hidden states.
        inner: of its feed-forward parts.
        layers: how many it has.
        rows: of its vocabulary.
        attention: width of its queries.
        untied: the output layer has weights of its own.
        positions: of a picture in the vision tower.
    """

    text: int
    projector: int
    tower: int
    adapted: int
    width: int
    inner: int
    layers: int
    rows: int
    attention: int = 0
    untied: bool = True
    positions: int = 577

    @classmethod
    def of(cls, model: LlmgaForConditionalGeneration) -> "Sizes":
        """Counted in a model, which may be on the meta device."""
        named = list(model.named_parameters())
        tower = sum(weight.numel() for name, weight in named if "vision_tower" in name)
        projector = sum(weight.numel() for name, weight in named if "multi_modal_projector" in name)
        layers = [layer for name, layer in model.named_modules() if "language_model." in name]
        adapted = sum(layer.in_features + layer.out_features for layer in layers if isinstance(layer, nn.Linear))
        text: Any = model.config.text_config
        vision: Any = model.config.vision_config
        width = text.hidden_size
        return cls(
            text=sum(weight.numel() for _, weight in named) - tower - projector,
            projector=projector,
            tower=tower,
            adapted=adapted,
            width=width,
            inner=text.intermediate_size,
            layers=text.num_hidden_layers,
            rows=text.vocab_size,
            attention=text.num_attention_heads * (getattr(text, "head_dim", None) or width // text.num_attention_heads),
            untied=not model.config.tie_word_embeddings,
            positions=(vision.image_size // vision.patch_size) ** 2 + 1,
        )


@dataclass(frozen=True)
class Method:
    """One way to train.

    Attributes:
        tune: projector, full, lora or dora.
        bits: of the frozen text model.
        rank: of low-rank matrices.
        zero: DeepSpeed's stage; 0 is no DeepSpeed.
        offload: weights and moments wait in the main memory.
        half: computing in 16 bits.
        batch: samples per device and pass.
        length: tokens of the longest sample.
        recompute: activations are computed twice.
        tower: the vision tower learns, too.
        accumulated: gradients of one pass wait while the next one runs; the doctor plans for that.
    """

    tune: str
    devices: int
    batch: int
    length: int
    zero: int = 0
    offload: bool = False
    bits: int = 16
    rank: int = 64
    half: bool = True
    recompute: bool = True
    tower: bool = False
    accumulated: bool = True

    @property
    def deepspeed(self) -> str:
        """The value of --deepspeed: "none", or a file of settings."""
        return OFFLOADED if self.offload else FILES[self.zero]


@dataclass(frozen=True)
class Need:
    """Bytes on each device, and in main memory for all devices of a machine together."""

    device: float
    host: float = 0.0


def learning(sizes: Sizes, method: Method) -> int:
    """Parameters that learn."""
    own = {"projector": 0, "full": sizes.text}
    return sizes.projector + sizes.tower * method.tower + own.get(method.tune, method.rank * sizes.adapted)


def need(sizes: Sizes, method: Method) -> Need:
    """The peak of a step."""
    _, host = _states(sizes, method)
    return Need(on_device(tensors(sizes, method)), host)


def tensors(sizes: Sizes, method: Method) -> float:
    """Bytes of all tensors that live at the peak of a step, on each device."""
    states, needed = _states(sizes, method)[0], _activations(sizes, method)
    if method.accumulated or method.zero:
        return states + needed
    return states + max(0, needed - 4 * learning(sizes, method))  # gradients come as activations go


def flops(sizes: Sizes, method: Method, pictures: float = 0) -> float:
    """Floating-point operations of a forward pass and its way back on each device, without the optimiser.

    Every weight multiplies every token twice on the way forward, and as often for each gradient: of the inputs, and of
    the weights where they learn (Kaplan et al. 2020, arXiv:2001.08361, table 1).  Attention counts in full.

    Args:
        pictures: shown in such a pass.
    """
    tokens = method.batch * method.length
    layers = sizes.text - 2 * sizes.rows * sizes.width if sizes.untied else sizes.text - sizes.rows * sizes.width
    low = sizes.adapted * method.rank * (method.tune in ("lora", "dora"))
    scores = 4 * method.length * sizes.attention * sizes.layers
    forward = tokens * (2 * (layers + low) + scores)
    learnt = layers if method.tune == "full" else low
    backward = tokens * (2 * (layers + low) + 2 * learnt + 2.5 * scores)
    chunks = max(1, ceil(tokens * sizes.rows / LOGITS_AT_ONCE))
    head = tokens * 2 * sizes.rows * sizes.width * ((3 if method.tune == "full" else 2) + (chunks - 1) / chunks)
    seen = pictures * 2 * sizes.tower * sizes.positions * (3 if method.tower else 1)
    return forward * (2 if method.recompute else 1) + backward + head + seen


def _states(sizes: Sizes, method: Method) -> tuple[float, float]:
    """Weights, gradients and moments."""
    learns, format_size = learning(sizes, method), 2 if method.half else 4
    frozen = _frozen(sizes, method, format_size)
    if not method.zero:  # weights in single precision, and copies of them in the format of the computation
        copies = format_size if method.half else 0
        return frozen + learns * (4 + copies + 4 + MOMENTS), 0.0
    moments = learns * (MOMENTS + (4 if method.half else 0))  # half-precision weights need an exact copy
    weights, gradients = frozen + format_size * learns, format_size * learns
    if method.zero == 2:
        bucket = format_size * min(BUCKET, learns)
        return weights + (gradients + moments) / method.devices + bucket, 0.0
    gathered = format_size * min(GATHERED, sizes.text + sizes.tower)
    if method.offload:
        return gathered + gradients / method.devices, weights + gradients + moments
    return (weights + gradients + moments) / method.devices + gathered, 0.0


def _frozen(sizes: Sizes, method: Method, format_size: int) -> float:
    text = 0.0 if method.tune == "full" else sizes.text * (QUANTISED[method.bits] if method.bits < 16 else format_size)
    return text + sizes.tower * format_size * (not method.tower)


def _activations(sizes: Sizes, method: Method) -> float:
    """What the backward pass needs of the forward pass."""
    tokens, size = method.batch * method.length, 2 if method.half else 4
    layer = tokens * size * (9 * sizes.width + 4 * sizes.inner)
    scores = min(tokens * sizes.rows, LOGITS_AT_ONCE) * LOGIT + _partial_gradients(sizes, method, tokens)
    if not method.recompute:
        return sizes.layers * layer + scores
    return sizes.layers * tokens * sizes.width * size + max(2 * layer, scores)  # the scores are gone by then


def _partial_gradients(sizes: Sizes, method: Method, tokens: int) -> float:
    """Of the output layer, where the loss adds up those of several chunks: the sum so far and the next one."""
    several = method.tune == "full" and tokens * sizes.rows > LOGITS_AT_ONCE
    return several * sizes.rows * sizes.width * (2 if method.half else 4)


def methods(first: Method, batches: list[int]) -> Iterator[Method]:
    """What may be tried, in the order of preference: what was asked for with the least machinery first, low-rank and
    quantised training last."""
    for tune, bits in dict.fromkeys([(first.tune, first.bits), *_smaller(first)]):
        for zero, offload in ((0, False), (2, False), (3, False), (3, True)):
            if (zero and not offload and first.devices == 1) or (zero == 3 and bits != 16):
                continue
            for batch in batches:
                yield replace(first, tune=tune, bits=bits, zero=zero, offload=offload, batch=batch)


def _smaller(first: Method) -> list[tuple[str, int]]:
    low = first.tune if first.tune in ("lora", "dora") else "lora"
    return [] if first.tune == "projector" else [(low, 16), (low, 4)]


def batches(total: int, devices: int, most: int) -> list[int]:
    """Samples per device and pass that, with a whole accumulation, make `total` in a step; largest first."""
    if total % devices:
        return []
    own = total // devices
    return [batch for batch in range(min(most, own), 0, -1) if own % batch == 0]
