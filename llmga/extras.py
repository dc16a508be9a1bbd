"""Packages that only some programs need, and the extra of `pip install` that brings them."""

from importlib import import_module
from types import ModuleType

from llmga.errors import UserError

EXTRAS: dict[str, tuple[str, ...]] = {  # names to import; a test holds them equal to pyproject.toml
    "serve": (
        "fastapi", "fastapi_offline", "gradio", "h11", "prometheus_client", "pydantic_core", "python_multipart",
        "reportlab", "sqlalchemy", "starlette", "uvicorn",
    ),
    "train": (
        "albumentations", "bitsandbytes", "datasets", "deepspeed", "filelock", "lmdb", "peft", "prodigyopt",
        "psutil", "pyarrow", "tensorboard",
    ),
    "evaluate": ("cv2", "skimage"),
    "single-file": ("clip",),
    "flash-attn": ("flash_attn",),
    "gguf": ("gguf",),
    "heic": ("pillow_heif",),
    "wandb": ("wandb",),
    "watermark": ("imwatermark",),
    "c2pa": ("c2pa", "cryptography"),
    "mcp": ("mcp",),
    "otel": ("opentelemetry",),
    "ray": ("ray",),
}  # fmt: skip
OTHERWISE_NAMED = {
    "c2pa": "c2pa-python",
    "clip": "openai-clip",
    "cv2": "opencv-python-headless",
    "imwatermark": "invisible-watermark",
    "opentelemetry": "opentelemetry-exporter-otlp-proto-http",
    "skimage": "scikit-image",
}


def missing(problem: ModuleNotFoundError, what: str = "this command") -> UserError | None:
    """What a person can do about a package that is not there; None where no extra has it."""
    module = (problem.name or "").partition(".")[0]
    package = OTHERWISE_NAMED.get(module, module.replace("_", "-"))
    extra = next((extra for extra, names in EXTRAS.items() if module in names), None)
    if extra is None:
        return None
    return UserError(f'{what} needs the package {package}, which is not installed; run pip install "llmga[{extra}]".')


def require(name: str, what: str) -> ModuleType:
    """A module of an extra, imported.

    Args:
        name: of the module, such as "reportlab.pdfgen.canvas".
        what: what needs it, such as "a PDF".

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as problem:
        raise missing(problem, what) or problem from None
