"""The OpenAPI document: FastAPI's own, as this server keeps to it."""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI

from llmga.diffusers.control import LONGEST_TEXT
from llmga.serve.api.schemas import ADDRESS, SENT
from llmga.serve.api.service import Service
from llmga.serve.api.setting_fields import UNSAID

Schema = dict[str, Any]
STEPS = "num_inference_steps"
OTHER_NAMES = {"steps": STEPS}  # of /sdapi
URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
FILES = ("image", "image[]", "mask", "control_image")


def described(app: FastAPI, openapi: Callable[[], Schema]) -> Callable[[], Schema]:
    """Return `openapi`, whose document says what is sent and taken here.

    It is without FastAPI's own kind of refusal, which is never sent.  Forms are as they can be sent: none of their
    fields can be null, and pictures are files.  Bounds are this server's, where they are below those of the schema.
    """

    def document() -> Schema:
        if app.openapi_schema is None:
            made = openapi()
            schemas = made["components"]["schemas"]
            for name in _forms(made):
                _as_form(schemas[name])
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            _as_served(schemas, app.state.service)
            app.openapi_schema = made
        return app.openapi_schema

    return document


def _forms(document: Schema) -> set[str]:
    """The schemas of forms, which have files; takes the refusals away on the way."""
    forms = set[str]()
    for operation in (each for path in document["paths"].values() for each in path.values()):
        operation["responses"].pop("422", None)
        content = operation.get("requestBody", {}).get("content", {})
        if URLENCODED in content:
            content[MULTIPART] = content.pop(URLENCODED)
        if MULTIPART in content:
            forms.add(content[MULTIPART]["schema"]["$ref"].split("/")[-1])
    return forms


def _as_form(schema: Schema) -> None:
    fields = schema["properties"]
    for field in fields.values():
        others = [each for each in field.get("anyOf", ()) if each.get("type") != "null"]
        if others and len(others) < len(field["anyOf"]):
            del field["anyOf"]
            field.update(others[0] if len(others) == 1 else {"anyOf": others})
    for name in FILES:
        if name in fields:
            field = fields[name].get("items", fields[name])
            field.pop("contentMediaType", None)
            field["format"] = "binary"
    if "image[]" in fields:  # one of both names
        schema["anyOf"] = [{"required": ["image"]}, {"required": ["image[]"]}]
        for name in ("image", "image[]"):
            fields[name]["minItems"] = 1
            fields[name].pop("default", None)


def _as_served(schemas: Schema, service: Service) -> None:
    limits = service.upper_limits
    for schema in schemas.values():
        for name, field in schema.get("properties", {}).items():
            own = limits.get(name, limits.get(OTHER_NAMES.get(name, "")))
            for each in _alternatives(field):
                for limit in ("maximum", "maxLength"):
                    if own is not None and own < each.get(limit, own):
                        each[limit] = int(own)
                if isinstance(most := each.get("maximum"), float) and most.is_integer():
                    each["maximum"] = int(most)  # whose digits are all told
                if name == "control" and each.get("type") == "string":
                    each |= {"format": "control", "maxLength": LONGEST_TEXT}
                if each.get("pattern") == ADDRESS and service.fetcher is None:
                    each["pattern"] = SENT
    if not service.ignore_tools:
        for name in ("tools", "functions"):
            schemas["ChatRequest"]["properties"][name]["enum"] = UNSAID
        schemas["ImageTool"]["properties"]["type"]["enum"] = ["image_generation"]


def _alternatives(field: Schema) -> Iterator[Schema]:
    yield field
    for each in field.get("anyOf", ()):
        yield from _alternatives(each)
    if isinstance(field.get("items"), dict):
        yield from _alternatives(field["items"])
