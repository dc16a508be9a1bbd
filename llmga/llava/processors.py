"""The processor of a vision-language model's folder: tokenizer, picture part and chat template."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoProcessor, PreTrainedTokenizerBase, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from llmga.errors import UserError
from llmga.llava import checkpoints
from llmga.llava.foreign_folders import BROKEN, no_chat, not_opened
from llmga.llava.slow_tokenizers import CONFIG, FAST, match_slow_tokenizer
from llmga.llava.vocabulary import load_tokenizer
from llmga.processors import processor_class
from llmga.quiet import quiet

_NAMING = ("processor_config.json", "preprocessor_config.json", CONFIG)  # files that name a processor's class


@quiet()
def open_processor(folder: Path) -> ProcessorMixin:
    """The folder's processor, with one chat template; no code of the folder is run.

    Raises:
        UserError: for a folder that lacks something, or a model that does not chat.
    """
    try:
        processor = _class(folder).from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except BROKEN as problem:
        raise not_opened(folder, "has no processor that can be opened here", problem) from None
    if not isinstance(processor, ProcessorMixin):
        raise UserError(f"{str(folder)!r} has a processor for words only; give a vision-language model.")
    template = processor.chat_template or processor.tokenizer.chat_template  # older folders keep it with the tokenizer
    processor.chat_template = template.get("default") if isinstance(template, dict) else template
    if not processor.chat_template:
        raise no_chat(folder)
    processor.tokenizer = _tokenizer(processor, folder)
    return processor


def _class(folder: Path) -> Any:
    """What has `from_pretrained`: the class that the folder names, or that its model's type has."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    files = [checkpoints.read_json(folder, file) for file in _NAMING if (folder / file).is_file()]
    named = [file["processor_class"] for file in files if file.get("processor_class")]
    name = next(iter(named), PROCESSOR_MAPPING_NAMES.get(config.model_type, ""))
    return processor_class(name) or AutoProcessor


def _tokenizer(processor: ProcessorMixin, folder: Path) -> PreTrainedTokenizerBase:
    """The processor's own; of a tokenizer.model alone the library makes one for LLaVA that knows no word boundary.

    Raises:
        UserError: when it would give other ids than its files say.
    """
    named = checkpoints.read_json(folder, CONFIG).get("tokenizer_class") if (folder / CONFIG).is_file() else None
    if str(named).startswith("LlamaTokenizer") and not (folder / FAST).is_file():
        return load_tokenizer(folder)
    return match_slow_tokenizer(processor.tokenizer, folder)
