"""transformers' LLaVA, made to run the published weights: a thin subclass."""

from functools import wraps
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava.modeling_llava import LlavaCausalLMOutputWithPast, LlavaModelOutputWithPast
from transformers.utils import can_return_tuple

from llmga.errors import UserError
from llmga.llava.loss import chunked_loss

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from llmga.llava.towers import VisionConfig

CALLS_OF_ANOTHER_HEAD = 16  # the same in all processes, whatever their lengths, as ZeRO-3 needs


class LlmgaConfig(LlavaConfig):
    """A LlavaConfig that knows the projectors of the published models.

    Attributes:
        projector_type: "linear", "mlp<N>x_gelu" or "identity".
        picture_scale: multiplies the projector's output.
        image_token_index: lies outside the vocabulary, so that no word changes its meaning.
        spoken_rows: how many tokens the tokenizer has.  Published vocabularies have rows beyond it, which the original
            cuts off when it opens a checkpoint; here they stay for saving, but are never said. None: all are said.
    """

    model_type = "llmga"

    projector_type: str = "mlp2x_gelu"
    picture_scale: float = 1.0
    spoken_rows: int | None = None

    if TYPE_CHECKING:  # what the library's unions are once a config is made
        text_config: PretrainedConfig
        vision_config: VisionConfig
        vision_feature_layer: int


class LlmgaModel(LlavaModel):
    """Pictures and words to hidden states."""

    config: LlmgaConfig

    def __init__(self, config: LlmgaConfig):
        super().__init__(config)
        if config.projector_type != "mlp2x_gelu":
            self.multi_modal_projector: nn.Module = make_projector(config)  # type: ignore[assignment] # the library's has two layers

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        unseen_pixels: Tensor | None = None,
        **kwargs: Any,
    ) -> LlavaModelOutputWithPast:
        """As LlavaModel, but the image token needs no embedding row.

        Args:
            input_ids: (batch, length).
            pixel_values: (pictures, 3, side, side), the pictures of the whole batch in order.
            unseen_pixels: (pictures, 3, side, side) that no token shows and that change nothing: processes that train
                together must use the same weights in the same order, also where a batch has words only.

        Raises:
            ValueError: when the image tokens do not match the pictures.
        """
        if input_ids is None:
            return super().forward(pixel_values=pixel_values, **kwargs)
        seen = (kwargs.pop("mm_encoder_outputs", None) or {}).get("image")  # generate() encodes pictures beforehand
        kwargs.pop("inputs_embeds", None)
        if pixel_values is not None:
            seen = self.get_image_features(pixel_values)
        is_picture = input_ids == self.config.image_token_id
        unseen: Any = None if unseen_pixels is None else self.get_image_features(unseen_pixels).pooler_output
        embeds = self.get_input_embeddings()(input_ids.masked_fill(is_picture, 0))  # batch, length, width
        input_ids = input_ids.to(embeds.device)  # a model may be spread over several
        if seen is not None:
            features = torch.stack(tuple(seen.pooler_output)).to(embeds)  # pictures, positions, width
            places = self.get_placeholder_mask(cast(torch.LongTensor, input_ids), embeds, features)
            embeds = embeds.masked_scatter(places, features)
        if unseen is not None:
            embeds = embeds + 0.0 * unseen[0].sum().to(embeds)
        return super().forward(inputs_embeds=embeds, **kwargs)

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """(pictures, 3, side, side) -> `pooler_output`: per picture (positions, width), as among word embeddings."""
        kwargs["return_dict"] = True
        if self.config.vision_feature_layer == 0:
            kwargs["output_hidden_states"] = True  # the library takes the number of this layer for "none"
        outputs = super().get_image_features(pixel_values.to(self.vision_tower.dtype), **kwargs)
        outputs.pooler_output = [rows * self.config.picture_scale for rows in outputs.pooler_output]
        return outputs


class OutputLayer(nn.Linear):
    """Hidden states -> logits; -inf where the tokenizer has no token, in the loss as in generation."""

    def __init__(self, config: LlmgaConfig):
        super().__init__(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.config = config

    def forward(self, hidden: Tensor, labels: Tensor | None = None, items: Tensor | int | None = None) -> Tensor:
        """(…, width) -> (…, vocabulary); with labels, their loss (`loss.chunked_loss`).

        The loss is computed in here, so that the layer is called once for each pass, whatever the length: DeepSpeed's
        ZeRO-3 has its weight at hand only within the layer, and all processes must gather it equally often.
        """
        if labels is not None:
            return chunked_loss(self._logits, hidden, labels, self.out_features, items)
        return self._logits(hidden)

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = super().forward(hidden)
        spoken = self.config.spoken_rows
        if spoken is not None and spoken < self.out_features:
            logits[..., spoken:] = -torch.inf
        return logits


class LlmgaForConditionalGeneration(LlavaForConditionalGeneration):
    """The published multimodal language model."""

    config: LlmgaConfig
    # Stay whole when the model is spread over devices; the library adds the decoder layers of the text model.
    _no_split_modules = ["CLIPVisionModel", "SiglipVisionModel", "LlavaMultiModalProjector", "Projector"]

    def __init__(self, config: LlmgaConfig):
        super(LlavaForConditionalGeneration, self).__init__(config)  # the parent would build its own LlavaModel
        self.model: LlmgaModel = LlmgaModel(config)
        self.lm_head: OutputLayer = OutputLayer(config)
        self.post_init()

    @can_return_tuple
    @wraps(LlavaForConditionalGeneration.forward)  # the library reads off the signature what it may give
    def forward(
        self, *args: Any, labels: Tensor | None = None, num_items_in_batch: Tensor | int | None = None, **kwargs: Any
    ) -> LlavaCausalLMOutputWithPast:
        """As LlavaForConditionalGeneration; with labels there is a loss and no logits (`loss.chunked_loss`)."""
        if labels is None:
            return super().forward(*args, **kwargs)
        outputs: Any = self.model(*args, **kwargs)
        return LlavaCausalLMOutputWithPast(
            loss=self._loss(outputs[0], labels, num_items_in_batch),
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
        )

    def _loss(self, hidden: Tensor, labels: Tensor, items: Tensor | int | None) -> Tensor:
        if isinstance(self.lm_head, OutputLayer):
            return self.lm_head(hidden, labels, items)
        rows = self.config.text_config.vocab_size  # of a head with low-rank matrices beside it, which gives logits only
        return chunked_loss(self.lm_head, hidden, labels, rows, items, calls=CALLS_OF_ANOTHER_HEAD)

    if TYPE_CHECKING:  # what the library's modules are here

        def get_input_embeddings(self) -> nn.Embedding: ...
        def get_output_embeddings(self) -> nn.Linear: ...


class Projector(nn.Sequential):
    """Layers that stay on one device."""


def make_projector(config: LlmgaConfig) -> nn.Module:
    """Picture width -> text width: one layer, a stack with GELU between, or nothing.

    Raises:
        UserError: for an unknown type.
    """
    kind, wide = config.projector_type, config.text_config.hidden_size
    if kind == "identity":
        return nn.Identity()
    first = nn.Linear(config.vision_config.hidden_size, wide)
    if kind == "linear":
        return first
    depth = kind.removeprefix("mlp").removesuffix("x_gelu")
    if kind != f"mlp{depth}x_gelu" or not depth.isdecimal() or int(depth) < 1:
        raise UserError(f"unknown projector type {kind!r}; use linear, mlp2x_gelu (any depth) or identity.")
    later = [module for _ in range(int(depth) - 1) for module in (nn.GELU(), nn.Linear(wide, wide))]
    return Projector(first, *later)
