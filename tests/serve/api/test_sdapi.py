"""AUTOMATIC1111's paths, asked by webuiapi, the client that its users have."""

import base64
import io
import threading

import numpy as np
import pytest
from PIL import Image
from webuiapi import WebUIApi

from llmga.choices import SAMPLERS
from llmga.serve.api.errors import ApiError
from llmga.serve.api.sdapi import NAMES, _sampler

RED, BLUE = (250, 0, 0), (0, 0, 250)


def client(server, **more):
    return WebUIApi(baseurl=f"{server.url}/sdapi/v1", **more)


def colours(image):
    return set(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3)))


def test_words_are_painted_as_they_stand_and_say_their_seeds(running):
    server = running()
    found = client(server).txt2img(
        prompt="a red house", negative_prompt="fog", seed=7, steps=3, cfg_scale=4.5, width=48, height=32, n_iter=2
    )
    assert [image.size for image in found.images] == [(48, 32)] * 2 and colours(found.image) == {RED}
    assert found.info["all_seeds"] == [7, 8] and found.info["prompt"] == "a red house"
    assert found.info["steps"] == 3 and found.info["cfg_scale"] == 4.5 and found.parameters["n_iter"] == 2
    asked = server.painter.calls[0]
    assert asked["prompt"].strip() == "a red house" and asked["negative_prompt"] == "fog" and asked["seed"] == 7
    assert "Negative prompt: fog" in found.info["infotexts"][0]


def test_a_seed_of_minus_one_is_drawn_and_told(running):
    api = client(running())
    seeds = {api.txt2img(prompt="red", seed=-1).info["seed"] for _ in range(2)}
    assert len(seeds) == 2 and all(0 <= seed < 2**32 for seed in seeds)


def test_a_picture_is_painted_anew_where_the_mask_is_white(running):
    server = running()
    picture, mask = Image.new("RGB", (32, 16), RED), Image.new("L", (32, 16))
    mask.paste(255, (16, 0, 32, 16))
    how = {"images": [picture], "mask_image": mask, "mask_blur": 0, "prompt": "blue", "width": 32, "height": 16}
    found = client(server).img2img(**how, denoising_strength=0.6)
    assert colours(found.image.crop((0, 0, 16, 16))) == {RED} and colours(found.image.crop((16, 0, 32, 16))) == {BLUE}
    assert server.painter.calls[-1]["strength"] == 0.6 and found.info["denoising_strength"] == 0.6
    turned = client(server).img2img(**how, inpainting_mask_invert=1)
    assert colours(turned.image.crop((16, 0, 32, 16))) == {RED} and colours(turned.image.crop((0, 0, 16, 16))) == {BLUE}


def test_without_a_mask_all_of_it_is_painted_anew_in_the_size_that_is_asked_for(running):
    server = running()
    found = client(server).img2img(images=[Image.new("RGB", (32, 16), RED)], prompt="blue", width=24, height=24)
    assert found.image.size == (24, 24) and colours(found.image) == {BLUE}
    assert server.painter.calls[-1]["strength"] == 0.75
    found = client(server).img2img(images=[Image.new("RGB", (32, 16), RED)], prompt="blue", denoising_strength=1.0)
    assert found.image.size == (512, 512) and colours(found.image) == {BLUE}  # what webuiapi asks for


def test_of_a_picture_of_which_nothing_is_kept_the_size_is(running):
    server = running()
    picture = io.BytesIO()
    Image.new("RGB", (32, 16), RED).save(picture, "PNG")
    body = {"prompt": "blue", "init_images": [base64.b64encode(picture.getvalue()).decode()], "denoising_strength": 1}
    answer = server.http.post("/sdapi/v1/img2img", json=body)
    assert answer.status_code == 200, answer.text
    painted = Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0])))
    assert painted.size == (32, 16) and colours(painted) == {BLUE}


def test_a_scheduler_that_is_none_is_refused_without_a_sampler_too():
    with pytest.raises(ApiError, match="scheduler 'zzz' is not served; use one of: automatic"):
        _sampler(None, "zzz")


def test_what_clients_look_through_is_there(running):
    api = client(running())
    assert api.util_get_current_model() == "plain" and api.util_get_model_names() == ["plain"]
    assert "Euler a" in api.util_get_sampler_names() and api.util_get_scheduler_names() == ["automatic", "karras"]
    assert api.get_loras() == api.get_embeddings() == api.get_upscalers() == []
    api.set_options({"sd_model_checkpoint": "plain", "CLIP_stop_at_last_layers": 1})
    with pytest.raises(AssertionError):
        assert api.set_options({"sd_model_checkpoint": "other"}).get("error") is None
    assert api.get_progress()["progress"] == 0


def test_progress_is_told_and_an_interruption_ends_it(running):
    server = running()
    server.painter.pace = 0.2
    api, ended = client(server), []

    def ask():
        try:
            ended.append(len(api.txt2img(prompt="red", n_iter=4).images))
        except RuntimeError as refused:
            ended.append(refused.args[0])

    work = threading.Thread(target=ask)
    work.start()
    server.wait(lambda: client(server).get_progress()["state"]["sampling_step"] >= 1)
    report = client(server).get_progress()
    assert 0 < report["progress"] < 1 and report["state"]["job_count"] == 4
    assert Image.open(io.BytesIO(base64.b64decode(report["current_image"]))).size == (4, 4)
    client(server).interrupt()
    work.join(20)
    assert ended in ([400], [1], [2], [3]) and server.painter.done < 16
    assert client(server).get_progress()["progress"] == 0


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ({"enable_hr": True}, 400, "'enable_hr' is not served"),
        ({"styles": ["anime"]}, 400, "'styles' is not served"),
        ({"alwayson_scripts": {"ControlNet": {"args": [{"model": "canny"}]}}}, 400, "'ControlNet' is not served"),
        ({"sampler_name": "DPM fast"}, 404, "DPM fast"),
        ({"sampler_name": "Euler", "scheduler": "SGM Uniform"}, 404, "scheduler 'SGM Uniform'"),
        ({"batch_size": 4, "n_iter": 4}, 400, "batch_size × n_iter is 16"),
        ({"override_settings": {"sd_model_checkpoint": "dreamshaper"}}, 404, "there is no model 'dreamshaper'"),
        ({"steps": 0}, 400, "steps"),
        ({"cfg_scale": False}, 400, "cfg_scale: false is not possible; use a number."),
    ],
)
def test_what_is_not_served_is_refused_by_name(running, asked, status, told):
    answer = running().http.post("/sdapi/v1/txt2img", json={"prompt": "red", **asked})
    assert answer.status_code == status and told in answer.json()["error"]["message"]


def test_keys_are_asked_for_and_come_as_a_password(running):
    server = running(keys=("a long key",))
    with pytest.raises(RuntimeError) as refused:
        client(server).txt2img(prompt="red")
    assert refused.value.args[0] == 401
    assert colours(client(server, username="me", password="a long key").txt2img(prompt="red").image) == {RED}


def test_their_names_are_of_samplers_that_there_are():
    assert set(NAMES.values()) <= set(SAMPLERS)
    assert _sampler("DPM++ 2M", "Karras") == _sampler("DPM++ 2M Karras", None) == "dpm++-2m-karras"
    assert _sampler("euler a", "automatic") == "euler-a" and _sampler("lightning", None) == "lightning"
    assert _sampler("Automatic", None) is None


def test_large_pictures_without_the_head_of_a_uri_are_no_json(running):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8))
    found = client(running("--max-json-mb", "0.1")).img2img(images=[noise], prompt="blue", width=700, height=700)
    assert found.image.size == (700, 700)


@pytest.mark.slow
def test_the_bundled_painter_paints_a_whole_picture_anew_and_replays_it(tmp_path, capsys):
    from llmga.assistant.assistant import Turn
    from llmga.assistant.image_files import encoded
    from llmga.assistant.loading import load
    from llmga.assistant.settings import Settings
    from llmga.llava.passthrough import PassthroughPlanner
    from llmga.serve import replay

    picture, mask = Image.new("RGB", (64, 64), "navy"), Image.new("L", (64, 64), 255)
    assistant = load(settings=Settings(seed=3, repaint={"strength": 0.5}, picture="always"))
    assistant.planner = PassthroughPlanner()
    reply = assistant.say(Turn("a red star on a blue background", (picture,), mask))
    (tmp_path / "anew.png").write_bytes(encoded(reply.images[0], reply.records[0]))
    picture.save(tmp_path / "parent.png"), mask.save(tmp_path / "mask.png")
    given = ["--image-file", str(tmp_path / "parent.png"), "--mask-file", str(tmp_path / "mask.png")]
    assert replay.main([str(tmp_path / "anew.png"), *given]) == 0 and "the same bytes" in capsys.readouterr().out
