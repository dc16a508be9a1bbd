"""Kinds of training records.  A new kind is one file beside these and one line here."""

from llmga.llava.datasets import edit, inpainting, sg, t2i, text, vqa
from llmga.registry import Registry

KINDS = Registry(
    "kind of data",
    {
        "vqa": vqa.KIND,
        "inpainting": inpainting.KIND,
        "sg": sg.KIND,
        "edit": edit.KIND,
        "t2i": t2i.KIND,
        "text": text.KIND,
    },
)
