"""Programs on the fake GPU, each with its own mistake or placement: `python -m tests.evaluation.on_fake_gpu NAME …`.

They run in a process of their own, since the fake device stays known to torch.  Prints JSON: name -> what came out.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from llmga.evaluation.call_sites import Mistake
from llmga.evaluation.fake_gpu import fake_gpu

BUNDLED = Path("checkpoints/Inference")
PICTURE = Image.new("RGB", (64, 64), "grey")
HALF_MASK = Image.new("L", (64, 64), 0)
HALF_MASK.paste(255, (0, 0, 32, 64))


def objective():
    """A loss of the product on the device, and what it is called with."""
    from diffusers import DDPMScheduler

    from llmga.diffusers.train.objective import DenoisingObjective

    whole = DenoisingObjective(DDPMScheduler(), snr_gamma=5.0)
    latents = torch.randn(2, 4, 8, 8)
    noise, times = whole.draw(latents.shape, torch.Generator().manual_seed(0))
    return whole, [one.to("fakegpu") for one in (latents, noise, times)]


def nothing_wrong(gpu):
    whole, given = objective()
    whole.loss(lambda noisy, at: noisy, *given)
    return [*gpu.trace.doubles]


def mask_on_the_cpu(gpu):
    whole, given = objective()
    mask = torch.ones(2, 1, 8, 8)  # MISTAKE mask_on_the_cpu
    whole.loss(lambda noisy, at: noisy * mask, *given)


def double_precision(gpu):
    whole, given = objective()
    share = torch.full((2, 1, 1, 1), 0.5, dtype=torch.float64, device="fakegpu")  # MISTAKE double_precision
    whole.loss(lambda noisy, at: noisy * share, *given)
    return [line for _, line in gpu.trace.doubles]


def forgotten_move(gpu):
    whole, (latents, noise, times) = objective()
    noise = torch.zeros_like(noise, device="cpu")  # MISTAKE forgotten_move
    whole.loss(lambda noisy, at: noisy, latents, noise, times)


def single_precision(gpu):
    layer = torch.nn.Linear(64, 64).to("fakegpu")
    with torch.autocast("fakegpu", torch.bfloat16):
        hidden = layer(torch.ones(2, 64, device="fakegpu"))
    layer(hidden.float())  # MISTAKE single_precision
    return [line for _, line in gpu.trace.islands]


def generator_of_the_cpu(gpu):
    torch.zeros(3, device="fakegpu").normal_(generator=torch.Generator())  # MISTAKE generator_of_the_cpu


def read_in_a_loop(gpu):
    values = torch.ones(3, device="fakegpu")
    for one in values:
        one.item()  # MISTAKE read_in_a_loop
    return [[line, count] for (_, line), count in gpu.trace.waits.items()]


def on_two_devices(gpu):
    """A planner on one device, a painter on another, as the page and the server hold them."""
    import llmga
    from llmga.assistant.assistant import Assistant
    from llmga.assistant.session import Settings
    from llmga.llava.chat import Chat

    mllm = llmga.load_mllm(BUNDLED / "llmga-toy-mllm", device="fakegpu:0", dtype="fp16")
    pipeline = llmga.load_pipeline(BUNDLED / "llmga-toy-sdxl-t2i", device="fakegpu:1", dtype="fp16")
    settings = Settings(picture="always", max_new_tokens=40, steps=2)
    assistant = Assistant(Chat(mllm), pipeline, lambda image, reference, mask: image, settings)
    events = [type(event).__name__ for event in assistant.stream("Paint a red circle.")]
    used = sorted(str(device) for device, peak in gpu.trace.peak.items() if peak)
    return [events[-1], used]


def spread(gpu):
    import llmga
    from llmga.llava.chat import Chat
    from llmga.llava.conversation import Conversation
    from llmga.llava.sampling import Sampling

    places = {"model.vision_tower": "fakegpu:0", "model.multi_modal_projector": "fakegpu:0",
              "model.language_model": "fakegpu:1", "lm_head": "fakegpu:1"}  # fmt: skip
    mllm = llmga.load_mllm(BUNDLED / "llmga-toy-mllm", device="cpu", dtype="fp16")
    from accelerate import dispatch_model

    mllm.model = dispatch_model(mllm.model, places, main_device="fakegpu:0", force_hooks=True)
    list(Chat(mllm).reply(Conversation().say("user", "What is this?", (PICTURE,)), Sampling(max_new_tokens=3, seed=0)))
    return sorted(str(device) for device, peak in gpu.trace.peak.items() if peak)


def mapped(gpu):
    """As `load_mllm` places a model whose parts are told where to be; the answer comes from both devices."""
    import llmga
    from llmga.llava.chat import Chat
    from llmga.llava.conversation import Conversation
    from llmga.llava.sampling import Sampling

    places = {"model.vision_tower": "fakegpu:0", "model.multi_modal_projector": "fakegpu:0",
              "model.language_model": "fakegpu:1", "lm_head": "fakegpu:1"}  # fmt: skip
    mllm = llmga.load_mllm(BUNDLED / "llmga-toy-mllm", device="fakegpu", dtype="fp16", device_map=places)
    list(Chat(mllm).reply(Conversation().say("user", "What is this?", (PICTURE,)), Sampling(max_new_tokens=3, seed=0)))
    return sorted(str(device) for device, peak in gpu.trace.peak.items() if peak)


MODELS = (
    "--model-path", "checkpoints/Inference/llmga-toy-mllm", "--sdmodel_id", "checkpoints/Inference/llmga-toy-sdxl-t2i",
    "--device", "fakegpu", "--dtype", "fp16",
)  # fmt: skip


def served(gpu):
    """Requests to the server, whose work is done in threads of its own."""
    from fastapi.testclient import TestClient

    from llmga.assistant.loading import Models
    from llmga.serve.api.app import build_app
    from llmga.serve.api.auth import ApiKeys
    from llmga.serve.api.building import build_service
    from llmga.serve.api.options import build_parser, server_options

    options = server_options(build_parser().parse_args(MODELS))
    app = build_app(build_service(options, Models.load(options.spec)), ApiKeys())
    with TestClient(app) as client:
        gpu.trace.begin()
        asked = [{"role": "user", "content": "Paint a red circle."}]
        said = client.post("/v1/chat/completions", json={"model": "llmga-toy-mllm", "messages": asked, "max_tokens": 9})
        painted = client.post("/v1/images/generations", json={"prompt": "a red circle", "num_inference_steps": 2})
    return [said.status_code, painted.status_code, sorted(gpu.trace.flops)]


def on_the_page(gpu):
    """What the page's buttons do: say something, and paint it again."""
    from llmga.assistant.loading import Models
    from llmga.assistant.session import Settings
    from llmga.serve.api.options import build_parser, server_options
    from llmga.serve.page.controls import Chosen
    from llmga.serve.page.mask_editor import EditorValue
    from llmga.serve.page.model_pool import ModelPool
    from llmga.serve.page.options import PageOptions
    from llmga.serve.page.user_session import UserSession

    spec = server_options(build_parser().parse_args(MODELS)).spec
    assistant = ModelPool(PageOptions(spec), Models.load(spec)).assistant()
    chosen = Chosen(Settings(picture="always", max_new_tokens=20, steps=2))
    with tempfile.TemporaryDirectory() as folder:
        session = UserSession(assistant, folder)
        gpu.trace.begin()
        list(session.say("Paint a red circle.", (), chosen, EditorValue()))
        list(session.repaint(chosen))
        return [len(session.assistant.exchanges[0].paintings), sorted(gpu.trace.flops)]


def offloaded_by_layer(gpu):
    """The painting's own layers come to the device one by one."""
    import llmga

    pipeline = llmga.load_pipeline(BUNDLED / "llmga-toy-sdxl-t2i", device="fakegpu", dtype="fp16", offload="sequential")
    before = gpu.trace.live.total()
    size = pipeline("a red circle", seed=0, steps=2).size
    return [before, size, gpu.trace.peak.total()]


def offloaded(gpu):
    """Before the first picture, nothing is on the device."""
    import llmga

    pipeline = llmga.load_pipeline(BUNDLED / "llmga-toy-sdxl-t2i", device="fakegpu", dtype="fp16", offload="model")
    before = gpu.trace.live.total()
    return [before, pipeline("a red circle", seed=0, steps=2).size]


def inpainted_with_a_vae_in_single_precision(gpu):
    """As SDXL's own says of itself."""
    import llmga

    pipeline = llmga.load_pipeline(BUNDLED / "llmga-toy-sdxl-inpainting", device="fakegpu", dtype="fp16")
    pipeline.pipe.vae.register_to_config(force_upcast=True)
    size = pipeline("a red circle", PICTURE, HALF_MASK, seed=0, steps=2).size
    return [size, sorted(gpu.trace.flops)]


def restored_in_bfloat16(gpu):
    from llmga.diffrir.restorer import open_diffrir

    restorer = open_diffrir(BUNDLED / "llmga-toy-diffrir-x1", device="fakegpu", dtype="bf16")
    size = restorer(PICTURE, PICTURE, HALF_MASK).size
    return [size, sorted(gpu.trace.flops), [*gpu.trace.islands]]


def main(names):
    found = {}
    for name in names:
        with fake_gpu() as gpu, tempfile.TemporaryDirectory():
            try:
                found[name] = globals()[name](gpu)
            except Mistake as problem:
                found[name] = str(problem)
            except Exception as problem:
                if os.environ.get("SHOWN"):
                    raise
                found[name] = f"{type(problem).__name__}: {str(problem)[:300]}"
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
