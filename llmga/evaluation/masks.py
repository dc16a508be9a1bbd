"""Whether a server keeps what a mask does not mark: `python -m llmga.evaluation.masks --url URL`.

It asks for masked edits as OpenAI's `/v1/images/edits` takes them (the mask transparent where it is to be painted) and
counts the kept pixels that came back changed.  Exit code 0 where none did, else 1.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from llmga.command_line import Parser, number, size
from llmga.errors import UserError, command_line
from llmga.images import check_file
from llmga.llava.endpoint.keys import KEYS, key_of_environment

PROMPT = "a red star"


def build_parser() -> Parser:
    """The flags."""
    parser = Parser(prog="python -m llmga.evaluation.masks", description="Check that a server honours masks.")
    parser.add_argument("--url", required=True, help="of a server, such as http://localhost:8000/v1")
    parser.add_argument("--key", help=f"its key; left out: from {' or '.join(KEYS)}")
    parser.add_argument("--model", metavar="NAME", help="left out: none is named")
    parser.add_argument("--prompt", default=PROMPT, help=f"what to paint (default: {PROMPT!r})")
    parser.add_argument("--image", metavar="FILE", help="picture to change; left out: a drawn one")
    parser.add_argument("--size", type=size, default=(512, 512), metavar="WxH", help="of the drawn one (default: 512)")
    parser.add_argument("--cases", type=number(int, 1, 100), default=3, metavar="N", help="requests (default: 3)")
    parser.add_argument("--timeout", type=number(float, 1, 3600), default=600.0, metavar="SECONDS", help="default: 600")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keeps pictures, masks and answers")
    parser.add_argument("--json", action="store_true", help="a JSON object a case")
    return parser


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = build_parser().parse_args(argv)
    if args.image is not None:
        check_file(args.image, f"picture {args.image!r}")
    from llmga.evaluation.mask_honesty import EditServer, Kept, cases, summary
    from llmga.images import open_image, to_rgb
    from llmga.llava.endpoint.address import Endpoint

    server = EditServer(Endpoint(args.url, args.model, args.key or key_of_environment(), timeout=args.timeout))
    picture = None if args.image is None else to_rgb(open_image(args.image))
    found: list[Kept] = []
    for number_, case in enumerate(cases(picture, args.size, args.cases)):
        answer = server.edited(case, args.prompt)
        found.append(Kept.of(case, answer))
        if args.save is not None:
            _save(args.save, number_, case.picture, case.mask, answer)
        print(found[-1].to_json() if args.json else f"case {number_ + 1}: {found[-1].told()}", flush=True)
    if not args.json:
        print(summary(found))
    return 0 if all(each.exact for each in found) else 1


def _save(folder: Path, number_: int, *pictures: object) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in zip(("picture", "mask", "answer"), pictures, strict=True):
            picture.save(folder / f"{number_ + 1:02d}-{name}.png")  # type: ignore[attr-defined]
    except OSError as problem:
        raise UserError(f"{str(folder)!r} cannot be written ({problem.strerror}); give another --save.") from None


if __name__ == "__main__":
    sys.exit(main())
