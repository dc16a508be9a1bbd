"""Our chat formats in the language in which other engines read them."""

import json
from dataclasses import asdict
from importlib.resources import files

from llmga.llava.conversation import IMAGE_MARKER
from llmga.llava.templates import NO_PLACE, ChatTemplate


def jinja_template(template: ChatTemplate, *, begins: bool = False, picture: str = IMAGE_MARKER) -> str:
    """A Jinja chat template that renders the messages of an OpenAI-style request as `template.render` does.

    Without `add_generation_prompt` it is the text that training sees.

    Args:
        begins: the tokenizer puts a begin token in front; other engines expect the template to write it.
        picture: what a picture's place looks like; it holds "<image>".
    """
    no_place = "" if template.places_system else f"{NO_PLACE}; say it in the first message"
    form = json.dumps(
        asdict(template) | {"begins": begins, "picture": picture, "no_place": no_place}
    )  # a JSON object is a Jinja literal
    return "{%- set form = " + form + " -%}\n" + files(__package__).joinpath("chat.jinja").read_text("utf-8")
