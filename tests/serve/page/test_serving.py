"""The page as a server, asked without a browser; its models are never opened."""

import asyncio
import re
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import pytest

from llmga.assistant.loading import Models
from llmga.assistant.record import ModelMark
from llmga.diffrir.restorers import RESTORERS
from llmga.errors import UserError
from llmga.serve.gradio_web_server import build_parser, keep_to_itself, page_options


@pytest.fixture(scope="module")
def models() -> Models:
    own = {"sampler_name": "checkpoint", "steps": 3, "guidance_scale": 2.5}
    marks = (ModelMark("language", "words", None), ModelMark("painter", "paint", None))
    return Models(None, SimpleNamespace(describe=lambda: own), RESTORERS["match"], marks)


@pytest.fixture(scope="module")
def running(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    keep_to_itself()
    from llmga.serve.page.serving import launch

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        blocks = launch(models, page_options(build_parser().parse_args(["--port", "0", "--no-library"])), wait=False)
        yield blocks
        blocks.close()


@pytest.fixture
def client(running: object) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.local_url, trust_env=False, timeout=60) as asking:
        yield asking


def test_the_page_is_local_and_names_no_other_host(client: httpx.Client) -> None:
    assert client.base_url.host == "127.0.0.1"
    page = client.get("/").text
    loaded = re.findall(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["'](https?://[^"']+)""", page)
    assert [address for address in loaded if "127.0.0.1" not in address] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/gradio_api/file=/etc/passwd", 403),
        ("/gradio_api/file=pyproject.toml", 403),
        ("/gradio_api/file=http://127.0.0.1:9/x.png", 403),
        ("/gradio_api/file=https://example.com/x.png", 403),
        ("/gradio_api/proxy=https://example.hf.space/x.png", 403),
        ("/docs", 404),
        ("/redoc", 404),
    ],
)
def test_only_what_belongs_to_the_page_is_served(client: httpx.Client, path: str, status: int) -> None:
    assert client.get(path).status_code == status


def test_no_handler_is_offered_as_an_interface(client: httpx.Client) -> None:
    assert client.get("/gradio_api/info").json()["named_endpoints"] == {}


def test_an_upload_is_bounded(client: httpx.Client) -> None:
    huge = {"files": ("x.png", b"\0" * (65 * 1024 * 1024))}
    assert client.post("/gradio_api/upload", files=huge).status_code == 413


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}])
def test_pages_of_other_sites_can_store_nothing(client: httpx.Client, headers: dict[str, str]) -> None:
    small = {"files": ("x.png", b"\0")}
    assert client.post("/gradio_api/upload", files=small, headers=headers).status_code == 403
    assert client.post("/gradio_api/upload", files=small).status_code == 200


def test_an_address_is_not_fetched_for_a_client() -> None:
    import gradio as gr

    from llmga.serve.page.layout import local_files_only

    box = local_files_only(gr.MultimodalTextbox())
    with pytest.raises(UserError, match="not fetched"):
        asyncio.run(box.async_move_resource_to_block_cache("http://127.0.0.1:9/x.png"))


def test_a_taken_port_is_one_sentence(models: Models) -> None:
    from llmga.serve.page.serving import launch

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port} at 127.0.0.1"):
            launch(models, page_options(build_parser().parse_args(["--port", str(port), "--no-library"])), wait=False)


def test_the_flags_of_the_original_are_understood_in_both_spellings() -> None:
    given = "--model_path a --model_base b --sdmodel_id c --port 8334 --concurrency-count 3 --model-list-mode reload"
    args = build_parser().parse_args([*given.split(), "--share", "--embed", "--moderate", "--device", "cpu"])
    assert (args.model_path, args.model_base, args.sdmodel_id, args.port) == ("a", "b", "c", 8334)
    assert (args.at_once, args.model_list_mode, args.share) == (3, "reload", True)
    assert build_parser().parse_args(["--load-4bit"]).load_4bit and build_parser().parse_args(["--load-8bit"]).load_8bit
    usual = build_parser().parse_args([])
    assert (usual.host, usual.share, usual.moderate) == ("127.0.0.1", False, False)
