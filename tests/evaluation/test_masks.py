"""Whether servers honour masks, asked of one of ours and of servers that play what others do."""

import base64
import io
import json
import re
import threading
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from llmga.evaluation import masks
from llmga.evaluation.mask_honesty import Kept, MaskedEdit, cases


class Painter(BaseHTTPRequestHandler):
    """A server of OpenAI's form; `server.paint(picture, mask)` is what it answers with."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = {
            re.search('name="(.*?)"', part["Content-Disposition"])[1]: part.get_payload(decode=True)
            for part in BytesParser().parsebytes(head + body).get_payload()
        }
        opened = [Image.open(io.BytesIO(parts[name])) for name in ("image", "mask")]
        self.server.asked.append((self.path, parts["prompt"].decode(), opened[1]))
        status, content = 200, {}
        try:
            buffer = io.BytesIO()
            self.server.paint(*opened).save(buffer, self.server.form)
            content = {"data": [{"b64_json": base64.b64encode(buffer.getvalue()).decode()}]}
        except ValueError as problem:
            status, content = 400, {"error": {"message": str(problem)}}
        answer = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@pytest.fixture
def server():
    running = ThreadingHTTPServer(("127.0.0.1", 0), Painter)
    running.asked, running.form = [], "PNG"
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def check(server, *more):
    return masks.main(["--url", f"http://127.0.0.1:{server.server_port}/v1", "--size", "64", "--cases", "2", *more])


def honest(picture, mask):
    red = Image.new("RGB", picture.size, "red")
    return Image.composite(picture, red, mask.getchannel("A"))


def test_a_server_that_pastes_back_is_exact(server, capsys):
    server.paint = honest
    assert check(server) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "masks: exact in 2 of 2, near in 0 of 2, ignored in 0 of 2"
    (path, prompt, mask), _ = server.asked
    assert path == "/v1/images/edits" and prompt == "a red star" and mask.mode == "RGBA"
    assert 0 < (np.asarray(mask)[..., 3] == 0).mean() < 0.5  # transparent is what is painted


def test_a_server_that_drops_the_mask_is_found_out(server, capsys):
    server.paint = lambda picture, mask: Image.new("RGB", picture.size, "red")
    assert check(server, "--json") == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["verdict"] for each in found} == {"ignored"} and all(each["changed"] > 0.9 for each in found)


def test_a_lossy_answer_is_near_and_says_so(server, capsys):
    server.paint, server.form = honest, "JPEG"
    assert check(server) == 1 and "exact in 0 of 2" in capsys.readouterr().out


def test_another_size_and_an_empty_repair_are_told(server, capsys):
    server.paint = lambda picture, mask: picture.resize((96, 96))
    assert check(server) == 1
    assert "(96x96 came back of 64x64)" in capsys.readouterr().out
    server.paint = lambda picture, mask: picture
    assert check(server) == 0 and "nothing was painted where the mask is" in capsys.readouterr().out


def test_a_refusal_is_one_sentence_with_the_servers_words(server, capsys):
    def refuse(picture, mask):
        raise ValueError("masks are not taken here")

    server.paint = refuse
    assert check(server) == 2
    assert "answers with 400 (masks are not taken here)" in capsys.readouterr().err


def test_pictures_are_kept_where_it_is_asked_for(server, tmp_path):
    server.paint = honest
    assert check(server, "--save", str(tmp_path / "seen")) == 0
    assert len(list((tmp_path / "seen").glob("*.png"))) == 6


def test_figures_are_those_of_the_kept_pixels():
    picture, mask = Image.new("RGB", (10, 10), (100, 100, 100)), Image.new("L", (10, 10))
    mask.paste(255, (0, 0, 5, 10))
    answer = picture.copy()
    answer.paste((0, 0, 0), (0, 0, 5, 10))
    answer.putpixel((9, 9), (100, 110, 100))
    found = Kept.of(MaskedEdit(picture, mask), answer)
    assert (found.changed, found.far, found.largest, found.painted) == (0.02, 0.02, 10, 100.0)
    assert found.mean == pytest.approx(10 / 150) and found.verdict == "ignored"


def test_every_case_has_both_kept_and_painted_pixels():
    for case in cases(None, (40, 24), 12):
        assert case.picture.size == case.mask.size == (40, 24)
        assert 0 < (np.asarray(case.mask) == 255).mean() < 1
