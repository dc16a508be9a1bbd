"""One command for everything: `llmga COMMAND …`, each the same program as `python -m` of its module."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module

import llmga
from llmga.command_line import Parser
from llmga.errors import UserError, command_line
from llmga.registry import Registry


@dataclass(frozen=True)
class Command:
    """A row of the table of commands.

    Attributes:
        module: its `main(argv)` is the program; it is imported when the command is given.
        help: what it does, in a line.
    """

    module: str
    help: str


COMMANDS = Registry("command", {
    "chat": Command("llmga.serve.chat", "talk in the terminal, with or without a picture"),
    "paint": Command("llmga.serve.paint", "one picture from words, for scripts"),
    "demo": Command("llmga.serve.demo", "the main job on the bundled models"),
    "web": Command("llmga.serve.gradio_web_server", "talk and paint in a browser"),
    "serve": Command("llmga.serve.openai_api", "chat and pictures under OpenAI's paths"),
    "mcp": Command("llmga.serve.mcp_server", "paint and look, as tools of the Model Context Protocol"),
    "keys add": Command("llmga.serve.keys.add", "make an API key of a server, with quotas"),
    "keys list": Command("llmga.serve.keys.show", "the API keys, their quotas and what they used today"),
    "keys revoke": Command("llmga.serve.keys.revoke", "let an API key open nothing any more"),
    "restore": Command("llmga.diffrir.restore", "make painted regions agree with the kept ones, or enlarge pictures"),
    "storybook": Command("llmga.serve.storybook", "a picture book from one request"),
    "replay": Command("llmga.serve.replay", "make a picture again from what stands in its file"),
    "verify": Command("llmga.serve.verify", "what a picture's file says of who or what made it"),
    "c2pa test-key": Command("llmga.serve.test_key", "a certificate and a key to try signing with"),
    "train stage1": Command("llmga.llava.train.train", "teach a language model to see, and to write prompts"),
    "train stage2": Command("llmga.diffusers.train.train", "teach a diffusion model to paint such prompts"),
    "train restorer": Command("llmga.diffrir.train.train", "teach a restoration network"),
    "data": Command("llmga.llava.data", "write records of any readable form in ours"),
    "data view": Command("llmga.llava.data_view", "a page of samples as a model reads them"),
    "doctor": Command("llmga.llava.train.doctor", "look at the data and the machine before stage 1"),
    "inspect": Command("llmga.serve.inspect", "what a file or a folder of weights is, and what opens it"),
    "download": Command("llmga.download", "fetch published weights"),
    "convert": Command("llmga.serve.convert", "write a checkpoint in another layout"),
    "delta": Command("llmga.llava.delta", "the difference between a checkpoint and its base"),
    "evaluate dry-run": Command("llmga.evaluation.dry_run", "what every preset needs, on a GPU that is not there"),
    "evaluate prompts": Command("llmga.evaluation.prompts", "score what prompts keep of benchmark rows"),
    "evaluate restoration": Command("llmga.evaluation.restoration", "score restorers on photographs"),
    "evaluate toyworld": Command("llmga.evaluation.toyworld", "score the bundled models"),
    "evaluate world": Command("llmga.evaluation.world", "score a planner of the larger toy world"),
    "evaluate watermark": Command("llmga.evaluation.watermark", "what of a hidden watermark survives"),
    "evaluate masks": Command("llmga.evaluation.masks", "whether a server keeps what a mask does not mark"),
    "selfcheck": Command("llmga.evaluation.selfcheck", "whether this machine computes what a CPU computes"),
    "completion": Command("llmga.completion", "what bash or zsh needs to complete commands and flags"),
})  # fmt: skip
GROUPS = tuple(dict.fromkeys(name.partition(" ")[0] for name in COMMANDS if " " in name))


def table() -> str:
    """All commands, a line each."""
    width = max(map(len, COMMANDS))
    rows = (f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items())
    return "\n".join(["usage: llmga COMMAND …     (llmga COMMAND --help lists its flags)", "", *rows])


def chosen(words: Sequence[str]) -> str:
    """The command that a command line begins with.

    Raises:
        UserError: there is none; it names the nearest one.
    """
    two = " ".join(words[:2])
    if two in COMMANDS:
        return two
    if words[0] in GROUPS and words[0] not in COMMANDS:
        members = [name.partition(" ")[2] for name in COMMANDS if name.startswith(f"{words[0]} ")]
        raise UserError(f"{two!r} is no command; give {words[0]} one of: {', '.join(members)}.")
    COMMANDS[two if get_close_matches(two, COMMANDS) and not get_close_matches(words[0], COMMANDS) else words[0]]
    return words[0]


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The program of a command, called as it is on its own."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:
        words = _completed_words()
    if not words or words[0] in ("-h", "--help"):
        print(table())
        return 0
    if words[0] == "--version":
        print(f"llmga {llmga.__version__}")
        return 0
    name = chosen(words)
    rest = words[len(name.split()) :]
    sys.argv[:] = [f"llmga {name}", *rest]
    return import_module(COMMANDS[name].module).main(rest)


def _completed_words() -> list[str]:
    """The words of a line that a shell wants completed, for the command's own parser to go on with.

    Exits with what may follow where the command is not whole yet.
    """
    *whole, last = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])].split(" ")[1:] or [""]
    for count in (2, 1):
        if " ".join(whole[:count]) in COMMANDS and len(whole) >= count:
            os.environ["_ARGCOMPLETE"] = str(1 + count)  # so many words are the program's name
            return [*whole, last]
    parser = Parser(prog="llmga", add_help=False)
    for number in range(len(whole)):
        parser.add_argument(f"word {number}")
    rows = [parts[len(whole)] for parts in map(str.split, COMMANDS) if parts[: len(whole)] == whole]
    parser.add_argument("command", choices=tuple(dict.fromkeys(rows)))
    parser.complete()
    return whole


if __name__ == "__main__":
    sys.exit(main())
