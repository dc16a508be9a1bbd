"""One session gives the same plan through every transport: our model, a server of it, and transformers' own classes."""

import io
from base64 import b64decode

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPImageProcessorPil, LlavaProcessor

from llmga.assistant.assistant import Assistant
from llmga.assistant.events import PictureReady, PromptFound, TextDelta
from llmga.assistant.loading import BUNDLED_MLLM, bundled
from llmga.assistant.session import Settings, Turn
from llmga.images import open_image
from llmga.llava.chat import Chat
from llmga.llava.conversation import Conversation
from llmga.llava.endpoint.address import Endpoint
from llmga.llava.endpoint.chat import EndpointChat
from llmga.llava.hf_layout.saving import save_hf_layout
from llmga.llava.loading import load_mllm
from llmga.llava.planner import USUAL
from llmga.llava.processor_chat import ProcessorChat
from llmga.llava.sampling import Sampling
from llmga.llava.vlm import load_vlm
from tests.talks import Talk


@pytest.fixture(scope="module")
def mllm():
    return load_mllm(bundled(BUNDLED_MLLM, "--model-path"), device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def stock_folder(mllm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    save_hf_layout(mllm, folder)
    if not (folder / "chat_template.jinja").exists():
        add_processor(mllm, folder)
    return folder


def add_processor(mllm, folder):
    """The processor that the conversion does not write: the picture stretched, the template in Jinja."""
    side = mllm.model.config.vision_config.image_size
    square = {"height": side, "width": side}
    pictures = CLIPImageProcessorPil(
        **{name: getattr(mllm.image_processor, name) for name in ("image_mean", "image_std")},
        size=square,
        resample=Image.Resampling.LANCZOS,
        do_center_crop=False,
    )
    written = (
        "<|im_start|>system\n" + mllm.template.system + "<|im_end|>"
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
        "{% if part.type == 'image' %}{{ '<image>\n' }}{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    LlavaProcessor(
        image_processor=pictures,
        tokenizer=AutoTokenizer.from_pretrained(folder),
        patch_size=mllm.model.config.vision_config.patch_size,
        vision_feature_select_strategy=mllm.model.config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        chat_template=written,
    ).save_pretrained(folder)


def serve_with(mllm):
    """An act that lets this model answer what a request holds."""

    def act(handler, body):
        chat, messages = Talk(Chat(mllm)), [_read(message) for message in body["messages"]]
        for role, text, images in messages[:-1]:
            chat.conversation = chat.conversation.say(role, text, images)
        seed = body.get("seed", USUAL.seed)
        sampling = Sampling(body["temperature"], body.get("top_p", USUAL.top_p), body["max_tokens"], seed)
        handler.head()
        for piece in chat.say(*messages[-1][1:], sampling=sampling):
            handler.event(delta={"content": piece})
        handler.event(delta={}, finish_reason="stop")
        handler.chunk("data: [DONE]\n\n")
        handler.end()

    return act


def _read(message):
    parts = message["content"]
    if isinstance(parts, str):
        return message["role"], parts, ()
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    images = tuple(Image.open(io.BytesIO(b64decode(url.partition(",")[2]))) for url in urls)
    return message["role"], "".join(part.get("text", "") for part in parts), images


@pytest.fixture
def chats(mllm, stock_folder, serving):
    server = serving(serve_with(mllm))
    return {
        "ours": Talk(Chat(mllm)),
        "endpoint": Talk(EndpointChat(Endpoint(server.url, "tiny", system=""))),
        "processor": Talk(ProcessorChat(load_vlm(stock_folder, device="cpu"))),
    }


def plan(events):
    """Events with the words between two others as one."""
    told = []
    for event in events:
        if isinstance(event, TextDelta) and told and isinstance(told[-1], TextDelta):
            told[-1] = TextDelta(told[-1].text + event.text)
        else:
            told.append((event.record, event.image.tobytes()) if isinstance(event, PictureReady) else event)
    return told


def played(chat, generator, settings, turns):
    assistant = Assistant(chat.planner, generator, None, settings)
    events = [plan(assistant.stream(turn)) for turn in turns]
    history = [(message.role, message.text) for message in assistant.session.conversation.messages]
    return {"events": events, "prompts": [call.prompt for call in generator.calls], "history": history}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_same_session_gives_the_same_plan(chats, toy_pipeline_class, temperature):
    scene = open_image(bundled("data/demo/scene.jpg", "--image-file"))
    turns = [
        Turn("a big red circle on a blue background"),
        Turn("make it green"),
        Turn("hello"),
        Turn("describe this picture", (scene,)),
        Turn("make a similar picture"),
    ]
    settings = Settings(temperature=temperature, top_p=0.95, max_new_tokens=80, seed=11)
    found = {name: played(chat, toy_pipeline_class(), settings, turns) for name, chat in chats.items()}
    assert found["endpoint"] == found["ours"]
    assert found["processor"] == found["ours"]
    if temperature == 0:
        assert len(found["ours"]["prompts"]) >= 2
        assert any(isinstance(event, PromptFound) for event in found["ours"]["events"][1])


def test_a_turn_is_answered_again_and_edited_in_the_same_way(chats):
    greedy = Sampling(0, max_new_tokens=40)

    def told(chat):
        list(chat.say("a small green square", sampling=greedy))
        list(chat.say("make it bigger", sampling=greedy))
        again = "".join(chat.regenerate(greedy))
        edited = "".join(chat.edit(0, "a big yellow circle on a red background", sampling=greedy))
        return again, edited, [message.text for message in chat.conversation.messages]

    ours, endpoint, processor = (told(chat) for chat in chats.values())
    assert ours == endpoint == processor


def test_a_converted_model_is_not_taught_what_it_knows(chats):
    assert chats["processor"].vlm.system == ""
    assert chats["processor"].conversation == Conversation()
