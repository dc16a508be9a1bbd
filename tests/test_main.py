"""One command whose subcommands are the programs of the modules."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import llmga
from llmga import __main__ as command
from llmga.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


def call(*words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )


def functions(module: str) -> set[str]:
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8")
    return {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}


@pytest.fixture
def run(monkeypatch, capsys):
    """What `llmga …` says and ends with, in this process."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["llmga", *words])
        code = command.main()
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_the_main_of_its_module(name):
    assert "main" in functions(COMMANDS[name].module)


def test_alone_it_prints_its_table(run):
    for words in ((), ("--help",)):
        code, out, _ = run(*words)
        assert code == 0 and all(f"  {name} " in out for name in COMMANDS)


def test_it_tells_its_version(run):
    assert run("--version") == (0, f"llmga {llmga.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["chta"], "unknown command 'chta', did you mean 'chat'?"),
        (["trian", "stage1", "--preset", "toy"], "unknown command 'trian stage1', did you mean 'train stage1'?"),
        (["train"], "'train' is no command; give train one of: stage1, stage2, restorer."),
        (["train", "stage3"], "'train stage3' is no command; give train one of: stage1, stage2, restorer."),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest_one(run, words, sentence):
    code, out, err = run(*words)
    assert (code, out) == (2, "") and err.startswith(f"error: {sentence}") and err.count("\n") == 1


@pytest.mark.parametrize("name", ["chat", "evaluate toyworld"])
def test_help_shows_what_was_typed(name):
    shown = call("llmga", *name.split(), "--help").stdout
    twin = call(COMMANDS[name].module, "--help").stdout
    assert shown.startswith(f"usage: llmga {name} [-h]") and twin.startswith(
        f"usage: python -m {COMMANDS[name].module} "
    )
    assert shown.partition("options:")[2] == twin.partition("options:")[2] != ""


@pytest.mark.parametrize("line", ["chat --zebra", "restore", "delta make a b", "completion fish", "replay nothing.png"])
def test_a_command_ends_as_its_twin_does(line):
    name, *rest = line.split()
    ours, twin = call("llmga", name, *rest), call(COMMANDS[name].module, *rest)
    assert (ours.returncode, ours.stdout, ours.stderr) == (twin.returncode, twin.stdout, twin.stderr)
    assert ours.returncode == 2 and ours.stderr.startswith("error: ")


def test_the_flags_of_a_task_are_those_of_its_own_command_line():
    assert "--outpaint" not in call("llmga", "chat", "--help").stdout
    assert "--outpaint" in call("llmga", "chat", "--task", "inpainting", "--help").stdout
    assert (
        call("llmga", "chat", "--task", "editing").stderr
        == "error: the following argument is required: --image-file.\n"
    )


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("llmga tr", ["train"]),
        ("llmga train ", ["stage1", "stage2", "restorer"]),
        ("llmga restore --scale ", ["1", "2", "4"]),
        ("llmga chat --sam", ["--sampler"]),
        ("llmga evaluate restoration --hid", ["--hidden"]),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="a shell reads from a descriptor of POSIX")
def test_a_shell_is_told_what_may_follow(line, offered, tmp_path):
    told = tmp_path / "told"
    asking = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    call("llmga", **asking, _ARGCOMPLETE_STDOUT_FILENAME=str(told))
    assert told.read_text().split() == offered


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_gets_code_of_its_own(run, shell):
    code, out, _ = run("completion", shell)
    assert code == 0 and "llmga" in out and ("compdef" in out or shell == "bash")
