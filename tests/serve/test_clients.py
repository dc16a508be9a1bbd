"""Programs of others against a server of ours, each where it is found on the PATH.

`npm install openai @modelcontextprotocol/inspector` (its folder in NODE_PATH, its `.bin` in PATH) and environments with
`litellm` and `llm` (their `bin` in PATH); then `pytest -m long tests/serve/test_clients.py`.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
SCRIPTS = Path(__file__).parent / "clients"
WORDS = "a big red circle on a blue background"


def called(*words, **environment):
    """What a program of others says; it lives in an environment of its own."""
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(words, capture_output=True, text=True, timeout=600, env=usual | environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def program(name):
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="module")
def server(server_class, tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys.db"
    made = called("python", "-m", "llmga", "keys", "add", "client", "--keys", str(keys), PYTHONPATH=os.getcwd())
    names = ("--served-name", "gpt-4o", "--served-name", "gpt-image-1")
    with server_class("--keys", str(keys), "--mcp", *names) as running:
        running.key = made.strip()
        yield running


def test_openai_for_node(server):
    node = program("node")
    if subprocess.run([node, "-e", "require('openai')"], capture_output=True).returncode:
        pytest.skip("no openai in NODE_PATH")
    assert "failed" not in called(node, str(SCRIPTS / "openai_node.js"), server.url, server.key)


def test_litellm(server):
    python = Path(program("litellm")).with_name("python")
    said = called(str(python), str(SCRIPTS / "litellm_client.py"), server.url, server.key,
                  LITELLM_LOCAL_MODEL_COST_MAP="True")  # fmt: skip
    assert "failed" not in said


def test_llm(server, tmp_path):
    llm = program("llm")
    row = {"model_id": "llmga", "model_name": "llmga-toy-mllm", "api_base": server.url, "api_key_name": "llmga",
           "vision": True}  # fmt: skip
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([row]))  # of which YAML is more
    (tmp_path / "keys.json").write_text(json.dumps({"llmga": server.key}))
    for words in ((WORDS,), ("--no-stream", WORDS), ("what is this?", "-a", "docs/images/page.png")):
        assert called(llm, "-m", "llmga", *words, LLM_USER_PATH=str(tmp_path)).strip()


def test_the_inspector_of_the_model_context_protocol(server_class):
    inspector = program("mcp-inspector")
    with server_class("--mcp") as server:  # without keys: its command line sends none

        def ask(method, *words):
            told = called(inspector, "--cli", f"{server.url}/mcp", "--transport", "http", "--method", method, *words)
            return json.loads(told)

        assert {"paint", "edit", "look"} <= {tool["name"] for tool in ask("tools/list")["tools"]}
        painted = ask("tools/call", "--tool-name", "paint", "--tool-arg", f"request={WORDS}", "seed=3")
        assert {"image", "resource_link", "text"} <= {block["type"] for block in painted["content"]}
        assert ask("resources/read", "--uri", "llmga://pictures/0")["contents"][0]["mimeType"] == "image/png"
