"""Talk, and save what is painted: `python examples/chat_and_paint.py`."""

import llmga

assistant = llmga.load(settings=llmga.Settings(seed=7))

reply = assistant.say("a big red circle on a blue background")
print(reply.text, reply.prompts)
reply.images[0].save("circle.png")

for event in assistant.stream("make it green"):
    match event:
        case llmga.TextDelta(text):
            print(text, end="", flush=True)
        case llmga.Denoising(step=step, total=total):
            print(f"\rstep {step} of {total}", end="", flush=True)
        case llmga.PictureReady(image, record):
            image.save("green-circle.png")
            print(f"\nseed {record.seed}: {record.prompt}")
        case llmga.Failed(message):
            print(message)
