"""A photograph grows by half its width on either side: `python examples/extend_photograph.py photo.jpg wider.png`."""

import sys

from PIL import Image

import llmga

if len(sys.argv) != 3:
    sys.exit(__doc__)
source, target = sys.argv[1:]
assistant = llmga.load(restorer="match+blend")
reply = assistant.say("go on with the same background", images=[Image.open(source)], outpaint="left=50%,right=50%")
reply.images[0].save(target)
print(f"{target}: {reply.images[0].size}, painted from {reply.prompts[0]!r}")
