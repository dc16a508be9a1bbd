"""The command: prompts of a file, of a model and of a server against rows; figures, misses, resumption, mistakes."""

import json

import pytest

from llmga.errors import UserError
from llmga.evaluation import prompt_scores
from llmga.evaluation.prompt_answers import AnswerFile, Asking, ask_planner, read_prompts
from llmga.evaluation.prompt_rules.rows import read_rows
from llmga.evaluation.prompts import main
from llmga.llava.sampling import Sampling
from tests.evaluation import benchmark_rows as own
from tests.toys import ToyChat

GOOD = "A cat to the left of a couch."
ROWS = (own.COUCH_AND_CAT, own.FOUR_APPLES, own.GREEN_VASE_AND_RED_CLOCK)
WRITTEN = (GOOD, "Five shiny apples on a plate.", "A red vase and a green clock.")


@pytest.fixture
def rows(tmp_path):
    return own.json_lines(tmp_path / "evaluation_metadata.jsonl", *ROWS)


@pytest.fixture
def written(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(WRITTEN) + "\n", "utf-8")
    return file


def test_prompts_of_a_file(rows, written, tmp_path, capsys):
    output, misses = tmp_path / "figures.json", tmp_path / "misses.jsonl"
    assert main([str(rows), "--prompts", str(written), "--output", str(output), "--misses", str(misses)]) == 0
    report = json.loads(output.read_text("utf-8"))
    figures = report["figures"]
    assert figures["geneval.en.rows"] == {"right": 1, "of": 3, "share": 0.3333, "low": 0.0615, "high": 0.7923}
    right = {kind: (figures[f"geneval.en.{kind}"]["right"], figures[f"geneval.en.{kind}"]["of"])
             for kind in ("object", "count", "colour", "position", "exclusion")}  # fmt: skip
    assert right == {"object": (5, 5), "count": (4, 5), "colour": (0, 2), "position": (1, 1), "exclusion": (0, 1)}
    assert figures["geneval.en.rows, counting"]["right"] == 0
    assert report["requests themselves"]["geneval.en.rows"]["share"] == 1.0
    told = [json.loads(line) for line in misses.read_text("utf-8").splitlines()]
    assert [(each["row"], len(each["lost"])) for each in told] == [("1", 2), ("2", 2)]
    assert told[0]["lost"][0]["reason"] == "4 apple wanted, said: 5" and told[0]["prompt"] == WRITTEN[1]
    shown = capsys.readouterr().out
    assert "geneval.en.position" in shown and "1/1" in shown and "a lower bound" in shown


def test_prompts_by_what_was_asked(rows, tmp_path):
    file = tmp_path / "p.jsonl"
    lines = [{"asked": ROWS[2]["prompt"], "prompt": "c"}, {"asked": ROWS[0]["prompt"], "prompts": ["a", "b"]},
             {"asked": ROWS[1]["prompt"], "prompts": []}]  # fmt: skip
    own.json_lines(file, *lines)
    assert read_prompts(file, read_rows(rows)) == ["a", None, "c"]
    own.json_lines(file, *lines[1:])
    with pytest.raises(UserError, match="1 of 3 rows are missing"):
        read_prompts(file, read_rows(rows))


def asking():
    return Asking("toy", "Paint {}!", Sampling(temperature=0, seed=0))


def reply(prompt):
    return f"Here: <gen_image> {prompt} </gen_image>"


def test_a_run_that_was_ended_goes_on(rows, tmp_path):
    found, path, asked = read_rows(rows), tmp_path / "answers.jsonl", []

    class Ends(ToyChat):
        def _answer(self, conversation, sampling, cancelled):
            asked.append(conversation.messages[-1].text)
            if len(asked) == 3:
                raise UserError("the server is gone.")
            return super()._answer(conversation, sampling, cancelled)

    def run(planner):
        return ask_planner(found, lambda: lambda: planner, asking(), AnswerFile(path, asking().header))

    with pytest.raises(UserError, match="gone"):
        run(Ends(reply("one"), "no prompt"))
    assert asked[0] == f"Paint {ROWS[0]['prompt']}!"
    with path.open("a") as stream:
        stream.write('{"asked": "half a li')  # as a kill leaves it
    assert run(ToyChat(reply("three"))) == ["one", None, "three"]
    assert [json.loads(line).get("prompts") for line in path.read_text().splitlines()] == [None, ["one"], [], ["three"]]
    assert ask_planner(found, pytest.fail, asking(), AnswerFile(path, asking().header)) == ["one", None, "three"]


def test_answers_of_another_planner_are_not_mixed_in(tmp_path):
    path = tmp_path / "answers.jsonl"
    AnswerFile(path, asking().header)
    with pytest.raises(UserError, match="holds other answers"):
        AnswerFile(path, asking().header | {"planner": "another"})
    path.write_text("[1]\n")
    with pytest.raises(UserError, match="no JSON object"):
        AnswerFile(path, asking().header)
    other = Asking("toy", "Draw {}", Sampling(temperature=0, seed=0))
    assert other.file("f") != asking().file("f")


def test_a_server(rows, tmp_path, serving, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMGA_API_KEY", "secret")
    server = serving(*(reply(prompt) for prompt in WRITTEN))
    output = tmp_path / "figures.json"
    line = [str(rows), "--server", server.url, "--output", str(output)]
    assert main(line) == 0
    assert json.loads(output.read_text())["figures"]["geneval.en.rows"]["right"] == 1
    assert [body["messages"][-1]["content"] for body in server.requests] == [row["prompt"] for row in ROWS]
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert main(line) == 0 and len(server.requests) == 3  # everything was there already
    (kept,) = (tmp_path / "outputs/prompts").iterdir()
    assert "secret" not in kept.read_text()


@pytest.mark.slow
def test_the_bundled_model(rows, tmp_path):
    answers, output = tmp_path / "a.jsonl", tmp_path / "figures.json"
    line = [str(rows), "--limit", "2", "--answers", str(answers), "--output", str(output), "--device", "cpu"]
    assert main(line) == 0
    assert json.loads(output.read_text())["rows"] == 2
    assert [json.loads(each).get("asked") for each in answers.read_text().splitlines()][1:] == [
        row["prompt"] for row in ROWS[:2]
    ]


def test_two_languages_are_compared(tmp_path, capsys):
    english = own.table(tmp_path / "en.csv", "en", own.ENGLISH, own.ENGLISH)
    chinese = own.table(tmp_path / "zh.csv", "zh", own.CHINESE, own.CHINESE)
    prompts, output = tmp_path / "p.txt", tmp_path / "figures.json"
    prompts.write_text("\n".join((own.ENGLISH["prompt"], "A map.", own.CHINESE["prompt"], own.ENGLISH["prompt"])))
    assert main([str(english), str(chinese), "--prompts", str(prompts), "--output", str(output)]) == 0
    report = json.loads(output.read_text("utf-8"))
    found = report["parity"]["unigenbench"]
    assert {name: found[name] for name in ("both", "only en", "only zh", "neither")} == {
        "both": 1, "only en": 0, "only zh": 1, "neither": 0,
    }  # fmt: skip
    assert found["verdict"] == "not told apart"  # two rows tell nothing
    assert report["figures"]["unigenbench.en.test point, Attribute"]["of"] == 4
    assert report["unseen"]["unigenbench.zh.test point, Grammar"] == 1  # the English prompt of a Chinese row
    assert "parity, unigenbench" in capsys.readouterr().out


def test_a_prompt_in_the_other_language_is_not_judged_without_its_rows(tmp_path):
    chinese = read_rows(own.table(tmp_path / "zh.csv", "zh", own.CHINESE))
    (judged,) = prompt_scores.judge_all(chinese, [own.ENGLISH["prompt"]])
    assert judged.kept is None and {verdict.kept for verdict in judged.verdicts} == {None}


def test_parity_speaks_of_intervals_that_are_apart():
    pairs = [(True, False)] * 30 + [(True, True)] * 10
    assert prompt_scores._compared(pairs)["verdict"] == "apart"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--prompts", "p.txt", "--server", "http://localhost:1/v1"], "--server, --prompts each say whose"),
        (["--server-model", "x"], "needs a server"),
        (["--ask", "Paint it"], "has no place"),
        (["--prompts", "nope.txt"], "cannot be read"),
        (["--prompts", "short.txt"], "has 1 lines for 3 rows"),
        (["--prompts", "p.txt", "--clip", "."], "has no CLIP vocabulary"),
        (["--prompts", "p.txt", "--output", "nope/figures.json"], "cannot be written"),
        (["rows.jsonl", "--prompts", "p.txt"], "is given twice"),
        (["--limit", "0"], "out of range"),
        (["--model-path", "no-such-model"], "no-such-model"),
    ],
)
def test_mistakes_are_one_sentence_and_2(rows, tmp_path, monkeypatch, capsys, flags, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("\n".join(WRITTEN))
    (tmp_path / "short.txt").write_text("one")
    (tmp_path / "rows.jsonl").write_bytes(rows.read_bytes())
    assert main([str(rows), *flags]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
