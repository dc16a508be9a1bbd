"""What LiteLLM gets of a server: python litellm_client.py URL KEY, in an environment that has litellm."""

import asyncio
import sys

import litellm

URL, KEY = sys.argv[1:]
TO = {"api_base": URL, "api_key": KEY}
WORDS = [{"role": "user", "content": "a big red circle on a blue background"}]


def chat() -> str:
    answer = litellm.completion("openai/gpt-4o", WORDS, **TO)
    picture = answer.choices[0].message.images[0]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    return f"{answer.usage.total_tokens} tokens"


def chat_stream() -> str:
    chunks = list(litellm.completion("openai/gpt-4o", WORDS, stream=True, **TO))
    pictures = [image for chunk in chunks for image in getattr(chunk.choices[0].delta, "images", None) or []]
    whole = litellm.stream_chunk_builder(chunks)
    assert whole.choices[0].message.content and len(pictures) == 1
    return f"{len(chunks)} chunks"


async def _later() -> str:
    answer = await litellm.acompletion("openai/gpt-4o", WORDS, **TO)
    return answer.choices[0].finish_reason


def chat_async() -> str:
    assert (ended := asyncio.run(_later())) == "stop"
    return ended


def images() -> str:
    made = litellm.image_generation("a red circle", "openai/gpt-image-1", size="128x128", n=2, **TO)
    assert len(made.data) == 2 and all(image.b64_json for image in made.data)
    return "2 pictures"


def responses() -> str:
    tools = [{"type": "image_generation", "size": "128x128"}]
    made = litellm.responses(model="openai/gpt-4o", input=WORDS[0]["content"], tools=tools, **TO)
    kinds = [item["type"] if isinstance(item, dict) else item.type for item in made.output]
    assert "image_generation_call" in kinds and made.status == "completed"
    return " ".join(kinds)


def refusals() -> str:
    for model, key, wanted in (("gpt-9", KEY, litellm.NotFoundError), ("gpt-4o", "sk-x", litellm.AuthenticationError)):
        try:
            litellm.completion(f"openai/{model}", WORDS, api_base=URL, api_key=key, num_retries=0)
        except wanted:
            continue
        raise AssertionError(f"{model} under {key[:4]}: no {wanted.__name__}")
    return "404, 401"


if __name__ == "__main__":
    failed = 0
    for proof in (chat, chat_stream, chat_async, images, responses, refusals):
        try:
            print(f"ok      {proof.__name__}: {proof()}")
        except Exception as problem:
            failed += 1
            print(f"failed  {proof.__name__}: {type(problem).__name__}: {problem}"[:400])
    sys.exit(bool(failed))
