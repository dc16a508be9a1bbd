"""The page shows what a model reads, and in colour exactly what it learns."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from llmga.llava.conversation import Conversation
from llmga.llava.data_view import main
from llmga.llava.empty import load_empty_mllm
from llmga.llava.inspection.page import Shown, page, runs
from llmga.llava.tokenization import IGNORED, decode

RED = Image.new("RGB", (640, 480), "red")
FOLDERS = {"qwen_2": "qwen2/llmga-Qwen2-0.5B-tiny", "v1": "llama/llmga-vicuna-7b-v1.5-tiny",
           "gemma": "gemma/llmga-gemma-2b-it-tiny"}  # fmt: skip


@pytest.fixture(scope="module", params=FOLDERS)
def mllm(request):
    return load_empty_mllm(
        Path(__file__).parents[2] / "fixtures/mllm" / FOLDERS[request.param], conv_mode=request.param
    )


class Reader(HTMLParser):
    """Words, learnt words, and everything that a browser might fetch."""

    def __init__(self, text: str):
        super().__init__()
        self.words, self.learnt, self.fetched, self.inside, self.scripts = "", "", [], 0, 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside += tag == "mark"
        self.scripts += tag == "script"
        self.fetched += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag):
        self.inside -= tag == "mark"

    def handle_data(self, data):
        self.words += data
        self.learnt += data if self.inside else ""


def article(text: str) -> Reader:
    return Reader(re.search(r'<p class="said">(.*)</p>', text, re.DOTALL)[1])


def test_what_is_coloured_is_what_is_supervised(mllm):
    talk = Conversation().say("user", "<b>What</b> & «é» 猫?", (RED,)).say("assistant", "A <i>cat</i>, & 5 years.")
    talk = talk.say("user", "And?").say("assistant", "<gen_image> a cat </gen_image>")
    encoded = mllm.encode(talk)
    found = article(page("t", "a", [Shown("here", talk)], mllm, 4096))
    learnt = decode([label for label in encoded.labels if label != IGNORED], mllm.tokenizer)
    assert "".join(found.learnt.split()) == "".join(learnt.split())
    assert "<b>What</b> & «é» 猫?" in found.words and "A <i>cat</i>, & 5 years." in found.learnt
    assert "<gen_image> a cat </gen_image>" in found.learnt and "And?" not in found.learnt
    assert len(found.fetched) == 1 and found.fetched[0].startswith("data:image/jpeg;base64,")


def test_what_lies_beyond_the_limit_is_told_apart(mllm):
    talk = Conversation().say("user", "q").say("assistant", "one two three four five six")
    encoded = mllm.encode(talk)
    limit = len(encoded.input_ids) - 4
    within = [run for run in runs(encoded, mllm, limit) if not run.beyond]
    whole = "".join(run.text for run in runs(encoded, mllm, limit))
    assert whole == decode(encoded.input_ids, mllm.tokenizer)
    assert "".join(run.text for run in within) == decode(encoded.input_ids[:limit], mllm.tokenizer)


def test_the_command_draws_a_page_that_asks_nobody(tmp_path, fixtures, capsys):
    RED.save(tmp_path / "a.png")
    long = [{"role": role, "content": f"<image>{word}" if not n and role == "user" else word}
            for n in range(12) for role, word in (("user", "And? "), ("assistant", f"Number {n}. " * 9))]  # fmt: skip
    rows = [{"messages": long, "images": ["a.png"]}, {"messages": long[:2], "images": ["gone.png"]},
            {"messages": [{"role": "user", "content": "<script>alert(1)</script>"}, long[1]]}]  # fmt: skip
    (tmp_path / "<x>.json").write_text(json.dumps(rows))
    words = [str(tmp_path / "<x>.json"), "--images", str(tmp_path), "--model", str(fixtures / FOLDERS["qwen_2"]),
             "--conv-mode", "qwen_2", "--max-length", "400", "-o", str(tmp_path / "new/page.html")]  # fmt: skip
    assert main(words) == 0
    text = (tmp_path / "new/page.html").read_text()
    whole, pieces = Reader(text), int(re.search(r"piece 1 of (\d+)", text)[1])
    assert pieces > 2 and f"{pieces + 2} samples of 3 records" in capsys.readouterr().out
    assert len(whole.fetched) == pieces and all(one.startswith("data:") for one in whole.fetched) and not whole.scripts
    assert "default-src 'none'" in text and html.escape("<script>alert(1)</script>") in text
    assert "left out: picture missing or unreadable (picture 'gone.png' is not in" in whole.words
    assert all(whole.learnt.count(f"Number {n}. ") >= 8 for n in range(12))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"--model": "nope"}, "'nope'"),
        ({"--n": "0"}, "out of range"),
        ({"--conv-mode": "cats"}, "cats"),
        (
            {"-o": "/proc/x/page.html"},
            "'/proc/x/page.html' cannot be written (no such file or directory); make room, or",
        ),
        ({"-o": "/tmp"}, "'/tmp' is a folder; give a file, such as '/tmp/page.html'."),
        ({"-o": __file__}, "test_page.py' is there already; give another -o, or move it away."),
    ],
)
def test_a_mistake_is_one_sentence(changed, sentence, tmp_path, fixtures, capsys):
    (tmp_path / "a.json").write_text(json.dumps([{"query": "q", "response": "a"}]))
    flags = {"--model": str(fixtures / FOLDERS["v1"]), "-o": str(tmp_path / "p.html"), **changed}
    assert main([str(tmp_path / "a.json"), *(word for pair in flags.items() for word in pair)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and sentence in told and told.count("\n") == 1
