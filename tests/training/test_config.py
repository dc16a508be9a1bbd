"""Flags, help and checks derive from the dataclass."""

import json
from dataclasses import dataclass
from typing import Literal

import pytest

from llmga.errors import UserError
from llmga.registry import Registry
from llmga.training import config
from llmga.training.config import check, parse_arguments, run, save, setting
from llmga.training.foreign_flags import ForeignFlags


@dataclass(frozen=True)
class Part:
    name: str

    @classmethod
    def parse(cls, text: str) -> "Part":
        return cls(text.upper())


@dataclass(frozen=True)
class Config:
    steps: int = setting(10, help="optimiser steps", minimum=1)
    learning_rate: float = setting(1e-3, help="100% of the peak rate", minimum=0, maximum=1)
    shuffle: bool = setting(True, help="mix the records")
    tune: Literal["projector", "full"] = setting("full", help="what learns")
    size: tuple[int, int] = setting((64, 64), help="width and height")
    parts: tuple[Part, ...] = setting((), help="parts")
    base: str | None = setting(None, help="a folder")
    limit: int | None = setting(None, help="at most", minimum=1)
    output: str = setting("out", help="a folder")
    run: str | None = setting("runs/out", help="a folder beside it", beside="output")

    def check(self) -> None:
        if self.steps == 13:
            raise UserError("13 steps bring bad luck; take 12.")
        if self.steps == 20:
            raise UserError(f"--steps 20 is too much for --size {self.size}; lower one.")


PRESETS = Registry("preset", {"toy": Config(), "long": Config(steps=9000)})


def parse(*argv: str) -> Config:
    return parse_arguments(PRESETS, list(argv))


def test_a_preset_is_taken_as_it_is():
    assert parse("--preset", "long") == Config(steps=9000)


@pytest.mark.parametrize("flag", ["--learning-rate", "--learning_rate"])
def test_a_flag_may_be_written_with_hyphens_or_underscores(flag):
    assert parse("--preset", "toy", flag, "1e-4").learning_rate == 1e-4


def test_every_type_is_read():
    line = "--preset toy --steps 3 --shuffle false --tune projector --size 96,64 --parts a b --base x --limit 5"
    config = parse(*line.split())
    assert config == Config(3, 1e-3, False, "projector", (96, 64), (Part("A"), Part("B")), "x", 5)
    assert parse("--preset", "toy", "--base", "none", "--size", "1", "2").base is None


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--preset", "tay"], "did you mean 'toy'"),
        ([], "--preset is missing; give one of: toy, long"),
        (["--preset", "toy", "--steps", "many"], "--steps is 'many', but must be a whole number"),
        (["--preset", "toy", "--steps", "0"], "--steps is 0, but must be at least 1"),
        (["--preset", "toy", "--learning-rate", "2"], "must be from 0 to 1"),
        (["--preset", "toy", "--learning-rate", "nan"], "must be from 0 to 1"),
        (["--preset", "toy", "--shuffle", "maybe"], "must be true or false"),
        (["--preset", "toy", "--tune", "half"], "must be one of: projector, full"),
        (["--preset", "toy", "--size", "64"], "must be 2 values"),
        (["--preset", "toy", "--stebs", "3"], "unrecognized arguments: --stebs 3; did you mean --steps?"),
        (["--preset", "toy", "--steps", "13"], "take 12"),
    ],
)
def test_a_bad_value_is_told_as_a_sentence(argv, sentence, capsys):
    assert run(print, PRESETS, argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error


def test_what_other_tools_call_a_field_is_understood():
    config = parse_arguments(PRESETS, ["--preset", "toy", "--max_steps", "7"], ForeignFlags({"max-steps": "steps"}))
    assert config.steps == 7


@pytest.mark.parametrize(
    ("line", "note"),
    [("--steps 13", None), ("--steps 20", "(--preset toy sets --size (64, 64).)"), ("--steps 20 --size 9,9", None)],
)
def test_a_complaint_about_flags_that_nobody_gave_says_who_set_them(line, note):
    with pytest.raises(UserError) as told:
        parse("--preset", "toy", *line.split())
    assert str(told.value).endswith(f"; lower one. {note}" if note else ("12." if "13" in line else "; lower one."))


@pytest.mark.parametrize(
    ("line", "run"),
    [("", "runs/out"), ("--output out", "runs/out"), ("--output new", "new"), ("--output new --run old", "old"),
     ("--run none", None)],
)  # fmt: skip
def test_a_folder_beside_another_moves_with_it_unless_it_is_given(line, run):
    assert parse("--preset", "toy", *line.split()).run == run


def test_help_lists_every_field_with_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "100% of the peak rate (default: 0.001)" in text
    assert "--learning-rate" in text
    assert "toy, long" in text


FILES = {
    "a.json": '{"steps": 3, "learning-rate": 0.5, "size": [9, 8], "parts": [{"name": "X"}], "base": null}',
    "b.yaml": "steps: 3\nlearning_rate: 5e-1\nsize: [9, 8]\nparts: x\nbase: none\n",
    "c.yml": "preset: long\nsteps: '3'\nlearning_rate: 0.5\nsize: ['9', '8']\nparts: [x]\n",
    "d.json": '{"settings": {"steps": 3, "learning_rate": 0.5, "size": [9, 8], "parts": ["x"]}, "versions": {}}',
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_settings_is_a_preset_and_flags_win(name, tmp_path):
    (tmp_path / name).write_text(FILES[name])
    words = ("--config", str(tmp_path / name))
    assert parse(*words) == Config(3, 0.5, size=(9, 8), parts=(Part("X"),))
    assert parse(*words, "--steps", "4").steps == 4
    changed = parse("--preset", "long", *words, "--output", "new")
    assert (changed.steps, changed.output, changed.run) == (3, "new", "new")


def test_what_is_printed_and_what_a_run_saves_is_read_again(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--preset", "long", "--parts", "a", "--limit", "7", "--print-config")
    assert stop.value.code == 0
    (tmp_path / "printed.json").write_text(capsys.readouterr().out)
    expected = Config(steps=9000, parts=(Part("A"),), limit=7)
    saved = save(expected, tmp_path)
    for path in (tmp_path / "printed.json", saved):
        assert parse("--config", str(path)) == expected
    assert run(pytest.fail, PRESETS, ["--config", str(saved), "--steps", "0"]) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is no JSON or YAML: "),
        ("[3]", "must hold one object of settings"),
        ('{"stebs": 3}', "has an unknown setting 'stebs'; did you mean 'steps'?"),
        ('{"steps": "many"}', "--steps is 'many', but must be a whole number"),
        ('{"steps": 2.5}', "--steps is 2.5, but must be a whole number"),
        ('{"parts": [{"nome": "x"}]}', "--parts holds {'nome': 'x'}, which is none: "),
        ('{"preset": "tay"}', "did you mean 'toy'"),
        ('{"steps": 20}', "lower one. (--config "),
    ],
)
def test_a_wrong_file_of_settings_is_told(text, sentence, tmp_path, capsys):
    (tmp_path / "a.json").write_text(text)
    for file, told in ((tmp_path / "a.json", sentence), (tmp_path / "gone.json", "cannot be read (No such file")):
        assert run(print, PRESETS, ["--config", str(file)]) == 2
        assert told in capsys.readouterr().err


def test_a_file_alone_says_all_that_has_no_default(tmp_path):
    @dataclass(frozen=True)
    class Needy:
        place: str = setting(help="a folder")
        steps: int = setting(1, help="steps")

    (tmp_path / "a.json").write_text('{"steps": 3}')
    needy = Registry("preset", {"toy": Needy("here")})
    with pytest.raises(UserError, match="a.json' lacks place; add them, or give --preset"):
        parse_arguments(needy, ["--config", str(tmp_path / "a.json")])
    assert parse_arguments(needy, ["--preset", "toy", "--config", str(tmp_path / "a.json")]) == Needy("here", 3)


def test_check_also_holds_for_instances_made_in_code():
    with pytest.raises(UserError, match="--size"):
        check(Config(size=[64, 64]))  # type: ignore[arg-type]


def test_the_run_saves_its_settings_and_versions(tmp_path):
    path = save(Config(parts=(Part("A"),)), tmp_path / "new")
    saved = json.loads(path.read_text())
    assert saved["settings"]["parts"] == [{"name": "A"}]
    assert "torch" in saved["versions"]
    assert path.name == config.FILE_NAME


def test_an_unwritable_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        save(Config(), tmp_path / "file")
