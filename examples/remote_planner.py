"""The words come from a server that speaks OpenAI's chat protocol, the pictures are painted here.

`python examples/remote_planner.py http://localhost:8000/v1 "a lighthouse in a storm"`
"""

import sys

import llmga

if len(sys.argv) != 3:
    sys.exit(__doc__)
url, wish = sys.argv[1:]
assistant = llmga.load(llmga.Endpoint(url))
reply = assistant.say(wish)
print(reply.text)
for number, (prompt, image) in enumerate(zip(reply.prompts, reply.images, strict=True)):
    image.save(f"picture-{number}.png")
    print(f"picture-{number}.png: {prompt}")
