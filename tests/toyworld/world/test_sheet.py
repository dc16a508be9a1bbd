from PIL import Image

from llmga.toyworld.world import sheet
from llmga.toyworld.world.__main__ import main
from llmga.toyworld.world.drawing import draw
from llmga.toyworld.world.scene import Scene, Thing


def test_pictures_are_in_rows_over_their_captions():
    pictures = [draw(Scene("navy", things=(Thing("star", "yellow"),))), draw(Scene("pink"))]
    made = sheet.contact_sheet(pictures, ["A star.", "Nothing."], columns=1)
    left = made.width // 2
    assert made.getpixel((left, sheet.GAP + sheet.SIDE)) == (252, 214, 24)
    assert made.getpixel((left, made.height - sheet.GAP - sheet.LINE * sheet.LINES - 5)) == (246, 192, 208)
    first_caption = made.crop((0, sheet.GAP + 2 * sheet.SIDE, made.width, sheet.GAP + 2 * sheet.SIDE + sheet.LINE))
    assert first_caption.convert("L").getextrema()[0] < 120


def test_the_command_writes_a_sheet(tmp_path):
    file = tmp_path / "sheet.png"
    assert main(["sheet", "--output", str(file), "--count", "4", "--columns", "2"]) == 0
    assert Image.open(file).width == 2 * (2 * sheet.SIDE + sheet.GAP) + sheet.GAP
