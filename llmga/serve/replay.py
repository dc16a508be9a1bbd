"""Make a picture again from what stands in its file: `python -m llmga.serve.replay FILE [--out FILE]`."""

import sys
from collections.abc import Sequence

from llmga.command_line import Parser, quiet_libraries
from llmga.errors import command_line
from llmga.serve import args as flags
from llmga.serve.parsed_args import check_files


def build_parser() -> Parser:
    """The flags."""
    parser = Parser(prog="python -m llmga.serve.replay", description="Make a picture again.")
    parser.add_argument("file", metavar="FILE", help="a picture that llmga saved")
    parser.add_argument("--out", metavar="FILE", help="where it goes; left out: FILE with -again in its name")
    parser.add_argument("--session", metavar="PATH", help="session (folder or .zip) that has the picture's parent")
    parser.add_argument("--image-file", metavar="FILE", help="the parent itself")
    parser.add_argument("--mask-file", metavar="FILE", help="the mask itself")
    parser.add_argument("--sdmodel_id", "--sdmodel-id", metavar="PATH", help="painter, if it lies elsewhere")
    flags.add_parts(parser)
    parser.add_argument("--lora", action="append", default=[], metavar="FILE[:WEIGHT]", help="low-rank weights")
    parser.add_argument("--embedding", action="append", default=[], metavar="FILE[:TOKEN]", help="textual inversion")
    parser.add_argument("--painter-quant", metavar="FILE", help="the .gguf file of the painter's denoiser")
    flags.add_guides(parser)
    parser.add_argument(
        "--control-image", action="append", metavar="FILE", help="a picture that guided, itself; repeats"
    )
    parser.add_argument("--restorer-path", metavar="PATH", help="weights of the restorer, if they lie elsewhere")
    parser.add_argument("--upscaler-path", metavar="PATH", help="weights of the upscaler, if they lie elsewhere")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:N or mps; left out: the recorded one")
    return parser


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = build_parser().parse_args(argv)
    check_files(args)
    quiet_libraries()
    from llmga.serve.reproduction import replay

    return replay(args)


if __name__ == "__main__":
    sys.exit(main())
