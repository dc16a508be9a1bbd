"""What a shell needs to complete commands and flags: `eval "$(llmga completion bash)"`, or zsh."""

import sys
from collections.abc import Sequence

from llmga.command_line import Parser
from llmga.errors import command_line


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Print the shell's own code, by argcomplete."""
    about = 'Print what a shell needs to complete llmga: eval "$(llmga completion bash)".'
    parser = Parser("python -m llmga.completion", description=about)
    parser.add_argument("shell", choices=("bash", "zsh"), metavar="bash|zsh", help="the shell that is to complete")
    args = parser.parse_args(argv)
    import argcomplete

    print(argcomplete.shellcode(["llmga"], shell=args.shell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
