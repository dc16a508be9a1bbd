"""Repainted pictures are fitted to their originals: `python examples/restore_folder.py painted originals masks out`.

The three folders hold pictures of the same names; a mask is white where the picture was painted anew.
"""

import sys
from pathlib import Path

from PIL import Image

import llmga

if len(sys.argv) != 5:
    sys.exit(__doc__)
painted, originals, masks, output = map(Path, sys.argv[1:])
output.mkdir(exist_ok=True)
restorer = llmga.load_restorer("match+blend")
for path in sorted(painted.glob("*.png")):
    image, reference = Image.open(path), Image.open(originals / path.name)
    restorer(image, reference, Image.open(masks / path.name)).save(output / path.name)
    print(output / path.name)
