"""How each method of training changes a weight, from the tensors that its trainer saves for a layer.

The names are those of kohya's scripts and of LyCORIS (Yeh et al. 2024, arXiv:2309.14859).  Everything is float32.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
Difference = Callable[[Tensor], Tensor]  # a layer's own weight -> what is added to it


@dataclass(frozen=True)
class Method:
    """A row of the table of methods.

    Attributes:
        said: what messages call it.
        shown_by: tensors that no other method has, one of which is there.
        difference: (the tensors, the weight, alpha / rank) -> what is added to the weight, of its shape.
        needed: tensors that have to be there.
        rank: (tensor, axis) whose length alpha is divided by; no alpha scales it without one.
        also: tensors that may be there, beside alpha and a magnitude.
        of: the layer's parameter that it changes.
    """

    said: str
    shown_by: tuple[str, ...]
    difference: Callable[[Tensors, Tensor, float], Tensor]
    needed: tuple[str, ...]
    rank: tuple[tuple[str, int], ...] = ()
    also: tuple[str, ...] = ()
    of: str = "weight"

    def scale(self, tensors: Tensors) -> float | None:
        """alpha / rank; None where the file does not state it."""
        if not any(name in tensors for name, _ in self.rank):
            return 1.0
        return float(tensors["alpha"]) / self.rank_of(tensors) if "alpha" in tensors else None

    def rank_of(self, tensors: Tensors) -> int:
        """That of its smaller matrices."""
        return next(tensors[name].shape[axis] for name, axis in self.rank if name in tensors)

    def knows(self, names: Iterable[str]) -> bool:
        """Whether all tensors of a layer have a place in it, and none lacks."""
        names = set(names)
        return set(self.needed) <= names <= {*self.needed, *self.also, "alpha", *MAGNITUDES}


MAGNITUDES = ("dora_scale", "lora_magnitude_vector")


def low_rank(tensors: Tensors, weight: Tensor, scale: float) -> Tensor:
    """Two matrices, with a core between them where a convolution has a kernel (Tucker)."""
    down, up = tensors["lora_down"], tensors["lora_up"].flatten(1)
    if "lora_mid" in tensors:
        down = torch.einsum("mn...,ni->mi...", tensors["lora_mid"], down.flatten(1))
    return scale * (up @ down.flatten(1)).reshape(weight.shape)


def hadamard(tensors: Tensors, weight: Tensor, scale: float) -> Tensor:
    """The product, element by element, of two low-rank matrices."""
    one, two = (_factored(tensors, f"hada_w{n}_a", f"hada_w{n}_b", f"hada_t{n}") for n in (1, 2))
    return scale * _shaped(one * two, weight)


def kronecker(tensors: Tensors, weight: Tensor, scale: float) -> Tensor:
    """A small matrix, each of its elements times a larger one; either may be of low rank."""
    one, two = (
        tensors[f"lokr_w{n}"]
        if f"lokr_w{n}" in tensors
        else _factored(tensors, f"lokr_w{n}_a", f"lokr_w{n}_b", f"lokr_t{n}")
        for n in (1, 2)
    )
    return scale * _shaped(torch.kron(one.reshape(*one.shape, *(1 for _ in two.shape[2:])), two), weight)


def _shaped(matrix: Tensor, weight: Tensor) -> Tensor:
    """The same as a weight, whose kernel may be in the columns.

    Raises:
        ValueError: it is of a layer with other outputs.
    """
    if len(matrix) != len(weight):
        raise ValueError(f"{len(matrix)} outputs for a layer of {len(weight)}")
    return matrix.reshape(weight.shape)


def _factored(tensors: Tensors, left: str, right: str, core: str) -> Tensor:
    """(out, rank) @ (rank, in) or, with a core (rank, rank, *kernel), (rank, out) and (rank, in) around it."""
    if core in tensors:
        return torch.einsum("ij...,ip,jr->pr...", tensors[core], tensors[left], tensors[right]).contiguous()
    return tensors[left] @ tensors[right].flatten(1)


def scaled_activations(tensors: Tensors, weight: Tensor, _: float) -> Tensor:
    """(IA)^3: inputs or outputs are scaled, one factor each."""
    axis = 1 if float(tensors["on_input"]) else 0
    shape = [1] * weight.ndim
    shape[axis] = weight.shape[axis]
    return weight * tensors["weight"].reshape(shape)


def generalised(tensors: Tensors, weight: Tensor, scale: float) -> Tensor:
    """GLoRA: the weight times a low-rank matrix, and another one."""
    a1, a2, b1, b2 = (tensors[name].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    within = torch.einsum("oi...,ij->oj...", weight, a1 @ a2)
    return scale * (within + _shaped(b1 @ b2, weight))


def rotated(tensors: Tensors, weight: Tensor, _: float) -> Tensor:
    """OFT: blocks of outputs are rotated; alpha bounds by how much."""
    blocks = _rotations(tensors, weight)
    rows = weight.reshape(*blocks.shape[:2], -1)
    return _rescaled(tensors, torch.einsum("knm,knr->kmr", blocks, rows), weight)


def butterfly(tensors: Tensors, weight: Tensor, _: float) -> Tensor:
    """BOFT: several rounds of rotations, between which the outputs change their blocks."""
    rows = weight.flatten(1)
    for number, blocks in enumerate(_rotations(tensors, weight)):
        groups = (-1, 2, 2**number * (blocks.shape[-1] // 2))
        mixed = rows.unflatten(0, groups).transpose(1, 2).reshape(*blocks.shape[:2], -1)
        mixed = torch.einsum("kij,kjr->kir", blocks, mixed)
        rows = mixed.reshape(-1, groups[2], 2, rows.shape[1]).transpose(1, 2).flatten(0, 2)
    return _rescaled(tensors, rows, weight)


def _rotations(tensors: Tensors, weight: Tensor) -> Tensor:
    """Cayley's transform of what was learnt: (..., size, size)."""
    skew = tensors["oft_blocks"] - tensors["oft_blocks"].transpose(-1, -2)
    most = tensors.get("alpha", torch.zeros(())).to(skew) * len(weight)  # nought is no bound
    length = skew.norm() + 1e-8
    skew = skew * torch.where(most > 0, (most / length).clamp(max=1), 1)
    one = torch.eye(skew.shape[-1], dtype=skew.dtype, device=skew.device)
    return (one + skew) @ torch.linalg.inv(one - skew)


def _rescaled(tensors: Tensors, changed: Tensor, weight: Tensor) -> Tensor:
    changed = changed.reshape(weight.shape)
    if "rescale" in tensors:
        changed = changed * tensors["rescale"].reshape(-1, *(1 for _ in weight.shape[1:]))
    return changed - weight


def embedded(tensors: Tensors, weight: Tensor, scale: float) -> Tensor:
    """peft's form for a table of embeddings, (words, width)."""
    return scale * (tensors["lora_embedding_B"] @ tensors["lora_embedding_A"]).T


def _whole(name: str, scaled: bool = False) -> Callable[[Tensors, Tensor, float], Tensor]:
    """The difference itself, of the weight's shape."""
    return lambda tensors, weight, scale: tensors[name] * (scale if scaled else 1)


LORA = Method(
    "LoRA", ("lora_down",), low_rank, ("lora_down", "lora_up"), (("lora_down", 0),), ("lora_mid", "lora_up.bias")
)
METHODS = (
    LORA,
    Method("LoHa", ("hada_w1_a",), hadamard, tuple(f"hada_w{n}_{side}" for n in (1, 2) for side in "ab"),
           (("hada_w1_b", 0),), ("hada_t1", "hada_t2")),
    Method("LoKr", ("lokr_w1", "lokr_w1_a"), kronecker, (), (("lokr_w1_b", 0), ("lokr_w2_b", 0)),
           ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t1", "lokr_t2")),
    Method("(IA)^3", ("on_input",), scaled_activations, ("weight", "on_input")),
    Method("GLoRA", ("a1",), generalised, ("a1", "a2", "b1", "b2"), (("a2", 0),)),
    Method("full differences", ("diff",), _whole("diff"), ("diff",), (), ("diff_b",)),
    Method("full differences", ("diff_b",), _whole("diff_b"), ("diff_b",), (), ("diff",), "bias"),
    Method("differences of norms", ("w_norm",), _whole("w_norm"), ("w_norm",), (), ("b_norm",)),
    Method("differences of norms", ("b_norm",), _whole("b_norm"), ("b_norm",), (), ("w_norm",), "bias"),
    Method("OFT", ("oft_blocks",), rotated, ("oft_blocks",), (), ("rescale",)),
    Method("low-rank embeddings", ("lora_embedding_A",), embedded, ("lora_embedding_A", "lora_embedding_B"),
           (("lora_embedding_A", 0),)),
    Method("differences of biases", ("lora_up.bias",), _whole("lora_up.bias", scaled=True),
           ("lora_down", "lora_up", "lora_up.bias"), (("lora_down", 0),), of="bias"),
)  # fmt: skip
BOFT = Method("BOFT", ("oft_blocks",), butterfly, ("oft_blocks",), (), ("rescale",))
ROLES = tuple(
    dict.fromkeys(
        [*(name for row in METHODS for name in (*row.needed, *row.also) if name != "weight"), "alpha", *MAGNITUDES]
    )
)


def methods_of(tensors: Tensors) -> list[Method]:
    """What a layer's tensors are of: a row for each parameter that they change; none for a mixture, or a half."""
    shown = [row for row in METHODS if any(name in row.shown_by for name in tensors)]
    if "oft_blocks" in tensors and tensors["oft_blocks"].ndim == 4:
        shown = [BOFT]
    halves = shown and shown[0].said == "LoKr" and not _both_factors(tensors)
    return [] if halves or not all(row.knows(tensors) for row in shown) else shown


def _both_factors(tensors: Tensors) -> bool:
    return all(f"lokr_w{n}" in tensors or {f"lokr_w{n}_a", f"lokr_w{n}_b"} <= set(tensors) for n in (1, 2))


def decomposed(changed: Tensor, magnitude: Tensor) -> Tensor:
    """A changed weight with the lengths that were learnt (DoRA, Liu et al. 2024, arXiv:2402.09353).

    Args:
        magnitude: of the shape of the weight but for ones: where only the second axis is none, the lengths are those of
            inputs, else those of outputs.
    """
    inputs = magnitude.ndim > 1 and magnitude.shape[0] == 1 and magnitude.shape[1] == changed.shape[1]
    axis = 1 if inputs else 0
    others = [other for other in range(changed.ndim) if other != axis]
    length = torch.linalg.vector_norm(changed, dim=others, keepdim=True) + torch.finfo(changed.dtype).eps
    shape = [1] * changed.ndim
    shape[axis] = changed.shape[axis]
    return changed * magnitude.reshape(shape) / length
