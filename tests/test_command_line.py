"""A parser that understands how others write a flag, and says in one sentence what is wrong."""

import pytest

from llmga.command_line import Parser, number, size
from llmga.errors import command_line


@pytest.fixture
def parser():
    made = Parser(prog="a test", aliases={"output-dir": "save-path", "num-images": "pictures"})
    made.add_argument("--save-path", default="here")
    made.add_argument("--sdmodel_id")
    made.add_argument("--steps", type=int)
    made.add_argument("--pictures", type=int)
    return made


@pytest.mark.parametrize("word", ["--save-path", "--save_path", "--output-dir", "--output_dir"])
@pytest.mark.parametrize("joined", [False, True])
def test_a_flag_is_understood_in_hyphens_in_underscores_and_by_its_other_name(parser, word, joined):
    assert parser.parse_args([f"{word}=x_y"] if joined else [word, "x_y"]).save_path == "x_y"


def test_a_flag_that_is_declared_in_underscores_may_be_typed_in_hyphens(parser):
    assert parser.parse_args(["--sdmodel-id", "x"]).sdmodel_id == "x"


def test_words_between_flags_and_after_two_dashes_stay_what_they_are(parser):
    parser.add_argument("words", nargs="*")
    assert parser.parse_args(["--", "--output_dir", "a_b"]).words == ["--output_dir", "a_b"]
    given = parser.parse_intermixed_args(["a_b", "--output_dir", "x", "c"])
    assert (given.words, given.save_path) == (["a_b", "c"], "x")


def test_a_flag_is_never_guessed_from_its_beginning(parser, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(["--save", "x"])
    assert capsys.readouterr().err == "error: unrecognized arguments: --save x; did you mean --save-path?\n"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--stebs 3", "error: unrecognized arguments: --stebs 3; did you mean --steps?"),
        ("--Save_Paht=x", "error: unrecognized arguments: --Save_Paht=x; did you mean --save-path?"),
        ("--output_dri x --stepz 1", "--output_dri x --stepz 1; did you mean --save-path, --steps?"),
        ("--zebra 3", "error: unrecognized arguments: --zebra 3; --help lists the flags."),
        ("--steps many", "error: argument --steps: invalid int value: 'many'."),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_2(parser, line, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(line.split())
    shown = capsys.readouterr().err
    assert ended.value.code == 2 and sentence in shown and shown.count("\n") == 1


def test_one_of_what_is_needed_must_be_given_unless_it_comes_from_elsewhere(parser, capsys):
    parser.needed.append(("sdmodel_id", "pictures"))
    parser.add_argument("--session")
    assert parser.parse_args(["--num-images", "1"]).pictures == 1
    assert parser.parse_args(["--session", "s"]).sdmodel_id is None
    with pytest.raises(SystemExit):
        parser.parse_args([])
    assert capsys.readouterr().err == "error: the following argument is required: --sdmodel_id or --pictures.\n"


def test_other_names_stand_once_below_the_flags(parser):
    told = "other names that are understood: --output-dir (--save-path), --num-images\n(--pictures)\n"
    assert parser.format_help().count("output-dir") == 1 and parser.format_help().endswith(told)


def test_a_command_line_hands_the_parsers_code_on(parser, capsys):
    assert command_line(lambda argv: parser.parse_args(argv) and 0)(["--zebra", "3"]) == 2
    with pytest.raises(SystemExit) as ended:
        command_line(lambda argv: parser.parse_args(argv) and 0)(["--help"])
    assert ended.value.code == 0


@pytest.mark.parametrize(("text", "value"), [("64", (64, 64)), ("64x48", (64, 48)), ("48X64", (48, 64))])
def test_a_size_is_one_side_or_two(text, value):
    assert size(text) == value


def test_a_number_has_both_its_limits():
    assert [number(int, 1, 3)(text) for text in "13"] == [1, 3]
