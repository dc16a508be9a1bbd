"""IP-Adapters: a picture as a prompt beside the words; which kind a file is, and the encoder that it was made with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmga.diffusers.control_networks import read_tensors
from llmga.errors import UserError, reason
from llmga.quiet import quiet
from llmga.typed import read_json

PROJECTION, RESAMPLER, FULL_FACE = "proj.weight", "proj_in.weight", "proj.0.weight"


@dataclass(frozen=True)
class PicturePrompt:
    """An IP-Adapter that was opened.

    Attributes:
        file: of its weights.
        state: `image_proj` and `ip_adapter`, as diffusers takes them.
        width: of the text that the denoiser reads beside it.
        pooled: whether it reads the encoder's one projected vector; a plus one reads its hidden states.
        read: width of what it reads.
    """

    file: Path
    state: dict[str, dict[str, Tensor]]
    width: int
    pooled: bool
    read: int

    def encoder(self, dtype: torch.dtype) -> Any:
        """The image encoder with which it was made.

        Raises:
            UserError: it is not there, or another one is.
        """
        from transformers import CLIPVisionModelWithProjection

        folder = self._folder()
        with quiet():
            try:
                return CLIPVisionModelWithProjection.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False, dtype=dtype
                )
            except (OSError, ValueError, RuntimeError) as problem:
                raise UserError(
                    f"the image encoder {str(folder)!r} cannot be opened: {reason(problem)[:200]}."
                ) from None

    def _folder(self) -> Path:
        beside = (self.file.parent, self.file.parent.parent, self.file.parent.parent / "models")
        folders = [place / "image_encoder" for place in beside if (place / "image_encoder/config.json").is_file()]
        if not folders:
            raise UserError(f"IP-Adapter {str(self.file)!r} needs the folder image_encoder beside it; copy it there.")
        widths = {folder: self._width_of(folder) for folder in folders}
        found = next((folder for folder, width in widths.items() if width == self.read), None)
        if found is None:
            raise UserError(f"IP-Adapter {str(self.file)!r} reads pictures {self.read} wide, but the encoder in "
                            f"{str(folders[0])!r} gives {widths[folders[0]]}; copy the one that it was made "
                            "with beside it.")  # fmt: skip
        return found

    def _width_of(self, folder: Path) -> int | None:
        try:
            config: Mapping[str, Any] = read_json(folder / "config.json")
            return config.get("projection_dim", 512) if self.pooled else config.get("hidden_size", 768)
        except (OSError, ValueError, AttributeError):
            return None


def open_picture_prompt(file: Path) -> PicturePrompt:
    """Read an IP-Adapter.

    Raises:
        UserError: when it is missing, damaged, or reads vectors of a face.
    """
    state: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, tensor in read_tensors(file, "IP-Adapter").items():
        part, _, name = key.partition(".")
        state.setdefault(part, {})[name] = tensor
    head, layers = state["image_proj"], state["ip_adapter"]
    widths = {tensor.shape[1] for key, tensor in layers.items() if key.endswith("to_k_ip.weight")}
    of_face = FULL_FACE in head and "proj.3.weight" not in head  # its own vectors, and no pictures
    if of_face or "perceiver_resampler.proj_in.weight" in head or any("_lora." in key for key in layers):
        raise UserError(f"{str(file)!r} is an IP-Adapter FaceID, which reads vectors of a face that another program "
                        "has to find, and is not applied; give a plain or plus one.")  # fmt: skip
    first = next((key for key in (PROJECTION, RESAMPLER, FULL_FACE) if key in head), None)
    if first is None or len(widths) != 1 or set(state) != {"image_proj", "ip_adapter"}:
        raise UserError(f"{str(file)!r} is no IP-Adapter for SD1.5 or SDXL; give its .safetensors file.")
    return PicturePrompt(file, state, widths.pop(), first == PROJECTION, head[first].shape[1])
