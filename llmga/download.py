"""Fetch published weights into the tree that checkpoints/README.md shows.

python -m llmga.download llmga-Qwen2-0.5B-full-finetune
python -m llmga.download clip-vit-large-patch14-336 Qwen2-0.5B-Instruct
python -m llmga.download --list

What was fetched before is not fetched again, and a broken download goes on where it stopped.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmga.command_line import Parser
from llmga.errors import UserError, command_line
from llmga.registry import Registry
from llmga.weight_files import common_variant

CHECKPOINTS = Path("checkpoints")
PATIENCE = 10.0  # seconds in which the hub has to answer at all
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
_OURS = (
    "llmga-vicuna-7b-v1.5-full-finetune",
    "llmga-llama3-8b-it-full-finetune",
    "llmga-mistral_instruct-full-finetune",
    "llmga-Qwen2-0.5B-full-finetune",
    "llmga-Qwen2-1.5B-full-finetune",
    "llmga-Qwen2-7B-full-finetune",
    "llmga-gemma-2b-it-full-finetune",
    "llmga-Phi-3-mini-128k-full-finetune",
    "llmga-llama-2-7b-chat-full-finetune",
    "llmga-cn-vicuna-7b-v1.5-full-finetune",
    "llmga-cn-llama3-8b-it-full-finetune",
    "llmga-cn-gemma-2b-it-full-finetune",
    "llmga-cn-Qwen2-0.5B-full-finetune",
)
_BASES = (
    "lmsys/vicuna-7b-v1.5",
    "lmsys/vicuna-13b-v1.5",
    "meta-llama/Meta-Llama-3-8B-Instruct",
    "mistralai/Mistral-7B-Instruct-v0.2",
    "Qwen/Qwen2-0.5B-Instruct",
    "Qwen/Qwen2-1.5B-Instruct",
    "Qwen/Qwen2-7B-Instruct",
    "google/gemma-2b-it",
    "microsoft/Phi-3-mini-128k-instruct",
    "openai/clip-vit-large-patch14-336",
    "openai/clip-vit-large-patch14",
    "stabilityai/stable-diffusion-xl-base-1.0",
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
)
# Folder name -> (hub id, folder below checkpoints/).
PUBLISHED: Registry[tuple[str, str]] = Registry(
    "published checkpoint",
    {name: (f"binxia/{name}", "Inference") for name in _OURS}
    | {hub_id.rpartition("/")[2]: (hub_id, "Training") for hub_id in _BASES},
)
_SAME_WEIGHTS_AGAIN = ["*.msgpack", "*.h5", "*.onnx", "*.gguf", "original/*", "onnx/*", "*.ot"]


def place(name: str, root: Path = CHECKPOINTS) -> tuple[str, Path]:
    """The hub id and the folder of a name from the table, or of any `owner/name`, which goes to Inference.

    Raises:
        UserError: for another name.
    """
    if is_hub_id(name):
        short = name.partition("/")[2]
        kind = PUBLISHED[short][1] if short in PUBLISHED else "Inference"
        return name, root / kind / short
    hub_id, kind = PUBLISHED[name]
    return hub_id, root / kind / name


def download(name: str, root: Path = CHECKPOINTS) -> Path:
    """Fetch one checkpoint, with progress; the folder it is in.

    Raises:
        UserError: without a network, for a name that the hub lacks, and for one behind a licence.
    """
    from huggingface_hub import HfApi, snapshot_download

    hub_id, folder = place(name, root)
    with hub_errors(hub_id, folder):
        HfApi().model_info(hub_id, timeout=PATIENCE)  # snapshot_download alone would try again and again
        snapshot_download(hub_id, local_dir=folder, ignore_patterns=_SAME_WEIGHTS_AGAIN)
    return folder


def fetch_pipeline(hub_id: str) -> Path:
    """Fetch a diffusion model into the Hugging Face cache: only the files that its pipeline opens; its folder.

    Where a part is there only in a variant, such as fp16, all parts that have it come in it.

    Raises:
        UserError: without a network, for a name that the hub lacks, and for one behind a licence.
    """
    from diffusers import DiffusionPipeline
    from huggingface_hub import HfApi, constants

    with hub_errors(hub_id, Path(constants.HF_HUB_CACHE)):
        there = HfApi().model_info(hub_id, timeout=PATIENCE).siblings or []
        variant = common_variant(file.rfilename for file in there)
        return Path(DiffusionPipeline.download(hub_id, variant=variant, trust_remote_code=False))


def cached(hub_id: str) -> Path | None:
    """The folder in which the Hugging Face cache has it, without asking the network; None when it has not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_files_only=True, ignore_patterns=_SAME_WEIGHTS_AGAIN))
    except LocalEntryNotFoundError:
        return None


def is_hub_id(name: str) -> bool:
    """Whether it is written as owner/name, so that it can be one of the hub; a file of weights is none."""
    return bool(_HUB_ID.fullmatch(name)) and not name.lower().endswith(_FILES)


@contextmanager
def hub_errors(hub_id: str, folder: Path) -> Iterator[None]:
    """What can go wrong with a download into `folder`, each as one sentence.

    Raises:
        UserError: for what went wrong and how to mend it.
    """
    import httpx2
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.errors import RepositoryNotFoundError as NotThere

    try:
        yield
    except GatedRepoError:
        raise UserError(f"{hub_id} asks for its licence; accept it on the hub's page and run hf auth login.") from None
    except NotThere:
        raise UserError(f"the hub has no {hub_id}, or it is private; check the name.") from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, httpx2.TransportError, ConnectionError):
        raise UserError(
            f"{hub_id} cannot be fetched, there is no network (or HF_HUB_OFFLINE is set); copy its files to "
            f"{str(folder)!r}, or run this again with a network: it goes on where it stopped."
        ) from None
    except HfHubHTTPError as problem:
        reason = str(problem).splitlines()[0]
        raise UserError(f"the hub refused {hub_id} ({reason}); run this again later.") from None
    except OSError as problem:
        raise UserError(f"{hub_id} cannot be written to {str(folder)!r} ({problem}); free some space.") from None


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Fetch the named checkpoints, or list them."""
    parser = Parser(prog="python -m llmga.download", description=__doc__.splitlines()[0])
    parser.add_argument("names", metavar="NAME", nargs="*", help="a name of --list, or OWNER/NAME of the hub")
    parser.add_argument("--list", action="store_true", help="print the names and where they go")
    parser.add_argument("--root", type=Path, default=CHECKPOINTS, help="default: checkpoints")
    args = parser.parse_args(argv)
    if args.list or not args.names:
        for name in PUBLISHED:
            hub_id, folder = place(name, args.root)
            print(f"{hub_id}  ->  {folder}", flush=True)
        return 0
    for name in args.names:
        place(name, args.root)  # a wrong name is told before the first gigabyte
    for name in args.names:
        print(download(name, args.root))
    return 0


if __name__ == "__main__":
    sys.exit(main())
