"""A picture for every line of a table (`name,wish`): `python examples/batch_csv.py wishes.csv out`.

What is in the folder already is not painted again; a wish that fails is told and passed over.
"""

import csv
import sys
from pathlib import Path

import llmga

if len(sys.argv) != 3:
    sys.exit(__doc__)
table, folder = Path(sys.argv[1]), Path(sys.argv[2])
folder.mkdir(exist_ok=True)
assistant = llmga.load(settings=llmga.Settings(picture="always"))
fresh = assistant.session
with table.open(newline="", encoding="utf-8") as lines:
    for row in csv.DictReader(lines):
        target = folder / f"{row['name']}.png"
        if target.exists():
            continue
        assistant.session = fresh  # every line is a conversation of its own
        try:
            assistant.say(row["wish"]).images[0].save(target)
        except llmga.UserError as problem:
            print(f"{row['name']}: {problem}", file=sys.stderr)
        else:
            print(target)
