import pytest
from PIL import Image

from llmga.diffrir.restorers import RESTORERS
from llmga.errors import UserError


def test_none_leaves_the_picture():
    image = Image.new("RGB", (8, 8), "red")
    assert RESTORERS["none"](image, None, None).tobytes() == image.tobytes()


def test_unknown_restorer_is_named():
    with pytest.raises(UserError, match="none"):
        RESTORERS["nope"]
