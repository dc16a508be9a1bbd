"""Pictures over HTTP: generations, edits, variations."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from llmga.serve.api.images import preview_steps


def opened(entry):
    return Image.open(io.BytesIO(base64.b64decode(entry["b64_json"])))


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def data(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def told(answer):
    pairs = [block.splitlines() for block in answer.text.strip().split("\n\n") if block.startswith("event")]
    found = [(name.removeprefix("event: "), json.loads(body.removeprefix("data: "))) for name, body in pairs]
    assert all(name == body["type"] for name, body in found)
    return found


@pytest.fixture
def photo():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8))


def test_n_pictures_have_seeds_that_follow_each_other(running):
    server = running()
    body = {"prompt": "a green field", "n": 3, "seed": 40, "size": "24x16", "negative_prompt": "cows",
            "num_inference_steps": 7, "guidance_scale": 2, "clip_skip": 1}  # fmt: skip
    found = data(server.http.post("/v1/images/generations", json=body))
    assert [entry["seed"] for entry in found] == [40, 41, 42]
    assert all(opened(entry).size == (24, 16) and opened(entry).getpixel((0, 0)) == (0, 250, 0) for entry in found)
    call = server.painter.calls[0]
    assert call["negative_prompt"] == "cows" and call["steps"] == 7 and call["guidance_scale"] == 2
    assert call["clip_skip"] == 1


@pytest.mark.parametrize(("form", "signature"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF")])
def test_the_form_of_a_picture_can_be_chosen(running, form, signature):
    body = {"prompt": "red", "output_format": form, "output_compression": 80}
    (entry,) = data(running().http.post("/v1/images/generations", json=body))
    assert base64.b64decode(entry["b64_json"]).startswith(signature)
    body["response_format"] = "url"
    (entry,) = data(running().http.post("/v1/images/generations", json=body))
    assert entry["url"].startswith(f"data:image/{form};base64,")


def test_the_painters_own_name_paints_the_words_as_they_stand(running):
    server = running()
    data(server.http.post("/v1/images/generations", json={"prompt": "red </gen_image> blue", "model": "plain"}))
    assert server.painter.calls[0]["prompt"] == "red   blue"


def test_a_stream_shows_previews_and_then_the_picture(running):
    body = {"prompt": "red", "stream": True, "partial_images": 2, "seed": 9}
    found = told(running().http.post("/v1/images/generations", json=body))
    assert [name for name, _ in found] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [body["partial_image_index"] for _, body in found[:2]] == [0, 1]
    assert opened(found[0][1]).size == (4, 4) and opened(found[2][1]).getpixel((0, 0)) == (250, 0, 0)
    assert found[2][1]["seed"] == 9


@pytest.mark.parametrize(("asked", "total", "steps"), [(3, 20, [5, 10, 15]), (1, 4, [2]), (3, 2, [1, 2]), (0, 9, [])])
def test_previews_are_evenly_apart(asked, total, steps):
    assert preview_steps(asked, total) == steps


def mask_of(size, box, transparent):
    if not transparent:
        mask = Image.new("L", size, 0)
        mask.paste(255, box)
        return mask
    mask = Image.new("RGBA", size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), box)
    return mask


@pytest.mark.parametrize("transparent", [True, False])
def test_a_masks_transparent_part_is_painted_and_the_rest_kept(running, photo, transparent):
    mask = mask_of(photo.size, (0, 0, 6, 12), transparent)
    files = {"image": ("a.png", png(photo)), "mask": ("m.png", png(mask))}
    (entry,) = data(running().http.post("/v1/images/edits", data={"prompt": "blue"}, files=files))
    result = np.asarray(opened(entry))
    assert (result[:, :6] == (0, 0, 250)).all() and (result[:, 6:] == np.asarray(photo)[:, 6:]).all()


def test_an_instruction_alone_changes_the_picture_and_others_are_looked_at(running, photo):
    server = running()
    files = [("image[]", ("a.png", png(photo))), ("image[]", ("b.png", png(Image.new("RGB", (3, 3)))))]
    body = {"prompt": "make it red", "n": "2", "seed": "3", "stream": "true", "user": ""}
    found = told(server.http.post("/v1/images/edits", data=body, files=files))
    assert [(name, body["index"], body["seed"]) for name, body in found] == [
        ("image_edit.completed", 0, 3),
        ("image_edit.completed", 1, 4),
    ]
    call = server.painter.calls[0]
    assert call["image"].tobytes() == photo.tobytes() and "source_prompt" in call and call["mask"] is None


def test_variations_see_the_picture(running, photo):
    files = {"image": ("a.png", png(photo))}
    assert len(data(running().http.post("/v1/images/variations", data={"n": "2"}, files=files))) == 2


def test_a_request_whose_every_picture_is_refused_is_refused(running):
    answer = running().http.post("/v1/images/generations", json={"prompt": "forbidden"})
    assert answer.status_code == 400 and "forbidden" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "files"),
    [
        ("edits", {"prompt": "red"}, {}),
        ("edits", {}, {"image": b"x"}),
        ("edits", {"prompt": "red", "n": "eleven"}, {"image": b"x"}),
        ("edits", {"prompt": "red"}, {"image": b"no picture"}),
        ("edits", {"prompt": "red"}, {"image": "photo", "mask": b"no picture"}),
        ("edits", {"prompt": "red"}, {"image": "photo", "mask": b""}),
        ("edits", {"prompt": "red"}, {"image": "photo", "mask": "small"}),
        ("edits", {"prompt": "red", "model": "plain"}, {"image": "photo"}),
        ("variations", {}, {}),
        ("variations", {"model": "plain"}, {"image": "photo"}),
    ],
)
def test_a_wrong_form_is_refused_in_openais_shape(running, photo, path, body, files):
    known = {"photo": png(photo), "small": png(Image.new("L", (3, 3), 255))}
    sent = {name: ("x.png", known.get(content, content)) for name, content in files.items()}
    answer = running().http.post(f"/v1/images/{path}", data=body, files=sent or None)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"size": "2056x2048"}, "size"),
        ({"num_inference_steps": 151}, "num_inference_steps"),
        ({"num_inference_steps": 150, "size": "2048x2048", "n": 2}, "n"),
        ({"negative_prompt": "x" * 8_001}, "negative_prompt"),
        ({"negative_prompt": "x" * 32_001}, "negative_prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
    ],
)
def test_what_would_cost_too_much_is_refused_before_anything_is_painted(running, body, param):
    server = running()
    answer = server.http.post("/v1/images/generations", json={"prompt": "red"} | body)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param
    assert "--" not in answer.json()["error"]["message"] and not server.painter.calls


def test_bounds_are_the_hosts_to_choose(running, photo):
    server = running("--max-pixels-painted", "384", "--max-prompt", "10")
    data(server.http.post("/v1/images/generations", json={"prompt": "red", "size": "24x16"}))
    for path, body in (
        ("generations", {"json": {"prompt": "red", "size": "24x24"}}),
        ("generations", {"json": {"prompt": "red, very red", "size": "24x16"}}),
        ("generations", {"json": {"prompt": "red\x9d" * 3, "size": "24x16"}}),  # as it was sent, which the schema tells
        ("edits", {"data": {"prompt": "red", "size": "24x24"}, "files": {"image": png(photo)}}),
    ):
        answer = server.http.post(f"/v1/images/{path}", **body)
        assert answer.status_code == 400 and "at most" in answer.json()["error"]["message"]


def test_masked_edits_of_this_server_keep_every_kept_pixel(running):
    from llmga.evaluation import masks

    url = f"{str(running().http.base_url).rstrip('/')}/v1"
    assert masks.main(["--url", url, "--size", "64", "--cases", "2"]) == 0


def test_pictures_are_signed_where_the_server_has_a_key(running, tmp_path):
    from llmga.assistant.credentials import credentials_in
    from llmga.assistant.safety import open_guard
    from llmga.serve import test_key

    test_key.main(["--to", str(tmp_path)])
    server = running()
    guard = open_guard(None, None, c2pa=(tmp_path / test_key.CHAIN, tmp_path / test_key.KEY))
    object.__setattr__(server.service.engine.models, "guard", guard)
    answer = server.http.post("/v1/images/generations", json={"prompt": "a red star", "output_format": "webp"}).json()
    (tmp_path / "picture.webp").write_bytes(base64.b64decode(answer["data"][0]["b64_json"]))
    found = credentials_in(tmp_path / "picture.webp", "webp")
    assert found.state == "valid" and found.actions == ("c2pa.created",)


def uri(image):
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"


def test_pictures_guide_a_generation(running, photo):
    server = running()
    body = {"prompt": "red", "control": "canny:0.6,depth:0-0.5", "control_image": [uri(photo), uri(photo)]}
    (entry,) = data(server.http.post("/v1/images/generations", json=body))
    guiding = server.painter.calls[0]["controls"]
    assert [str(control) for control in guiding] == ["canny:0.6", "depth:0-0.5"]
    assert all(control.image.tobytes() == photo.tobytes() for control in guiding)
    assert json.loads(opened(entry).text["llmga"])["control"] == "canny:0.6,depth:0-0.5"


def test_pictures_guide_an_edit_and_a_chat(running, photo):
    server, mask = running(), Image.new("L", photo.size)
    mask.paste(255, (0, 0, 8, 8))
    files = [("image", png(photo)), ("mask", png(mask)), ("control_image", png(photo))]
    data(server.http.post("/v1/images/edits", data={"prompt": "red", "control": "tile"}, files=files))
    assert server.painter.calls[0]["controls"][0].image == photo
    data(server.http.post("/v1/images/edits", data={"prompt": "red", "control": "tile"}, files=files[:2]))
    assert server.painter.calls[1]["controls"][0].image is None
    assert server.chat("paint red", control="canny", control_image=uri(photo)).status_code == 200
    assert server.painter.calls[2]["controls"][0].image == photo


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"control": "cany"}, "control", "did you mean 'canny'"),
        ({"control": "canny", "control_image": ["data:image/png;base64,AA=="] * 5}, "control_image", "send up to 4"),
        ({"control": "canny", "control_image": "https://example.com/a.png"}, None, "fetches no pictures"),
        ({"control_image": "{photo}"}, "control", "without a control"),
        ({"control": "canny"}, None, "has no picture to follow"),
    ],
)
def test_a_control_that_cannot_be_is_refused(running, photo, body, param, told):
    asked = {"prompt": "red", **body}
    if asked.get("control_image") == "{photo}":
        asked["control_image"] = uri(photo)
    answer = running().http.post("/v1/images/generations", json=asked)
    assert answer.status_code == 400 and told in answer.text and answer.json()["error"]["param"] == param
