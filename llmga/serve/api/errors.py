"""Refusals: each has OpenAI's form, says the cause, and tells nothing of the inside."""

import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from llmga.assistant.settings import SETTINGS
from llmga.errors import UserError
from llmga.inputs import nearest

FIELD = re.compile(r"[\w-]+(\[\])?", re.ASCII)  # and not what pydantic calls a shape
UNROUTED = {
    404: "there is nothing at this path; /docs lists what there is",
    405: "this path takes another method; /docs says which",
}
# What is to be sent, by pydantic's word for what is wrong and with the limits that it names.
WANTED = {
    "greater_than": "more than {gt}", "greater_than_equal": "{ge} or more", "less_than_equal": "at most {le}",
    "finite_number": "a finite number", "float_type": "a number", "float_parsing": "a number",
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number", "bool_type": "true or false", "bool_parsing": "true or false",
    "string_type": "text", "list_type": "a list",
    "dict_type": "an object", "model_attributes_type": "an object", "model_type": "an object",
    "string_pattern_mismatch": "auto, or WIDTHxHEIGHT in pixels such as 1024x768",  # only sizes have one
    "literal_error": "{expected}", "union_tag_invalid": "the type {expected_tags}",
    "union_tag_not_found": "an object with a type",
    "too_short": "a length of {min_length} or more", "too_long": "a length of at most {max_length}",
}  # fmt: skip
SETTING_FIELDS = {row.name: row.request for row in SETTINGS.values() if row.request}
LIMITS = ("le", "max_length")  # that a server may have set lower
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ErrorBody(BaseModel):
    """What went wrong, for a person and for a program."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorBody


class ApiError(Exception):
    """A refusal, which is answered in OpenAI's form.

    Args:
        status: Of HTTP.
        message: One sentence: the value, the limit, the remedy.
        param: The field of the request that it is about.
        code: A word for programs, such as `model_not_found`.
        retry_after: Seconds after which to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers: dict[str, str] = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"

    def body(self) -> dict[str, Any]:
        """Return the JSON object that is sent."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        body = ErrorBody(message=self.message, type=kind, param=self.param, code=self.code)
        return ErrorResponse(error=body).model_dump()

    def response(self) -> JSONResponse:
        """Return the whole answer."""
        return JSONResponse(self.body(), self.status, self.headers)


def internal_error(request_id: str) -> ApiError:
    """Return the refusal for a mistake of ours, of which the log has the rest under the same id."""
    return ApiError(500, f"the server made a mistake; its log has more under request {request_id}.", code="internal")


def add_exception_handlers(app: FastAPI) -> None:
    """Answer exceptions of every kind in one form."""

    @app.exception_handler(ApiError)
    async def _(request: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(UserError)
    async def _(request: Request, error: UserError) -> JSONResponse:
        return ApiError(400, str(error)).response()

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> JSONResponse:
        return _from_validation(error, request).response()

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        detail = UNROUTED.get(error.status_code, "") if error.detail == HTTPStatus(error.status_code).phrase else ""
        answer = ApiError(error.status_code, f"{detail or str(error.detail).rstrip('.')}.")
        answer.headers |= error.headers or {}
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(_methods(request))
        return answer.response()


def _methods(request: Request) -> list[str]:
    """Return the methods of a path by all its routes; Starlette tells those of the first."""
    path, found = request.url.path, set[str]()
    for route in iter_route_contexts(request.app.routes):
        if route.path and route.methods and compile_path(route.path)[0].match(path):
            found |= route.methods
    return sorted(found)


def shown(value: Any) -> str:
    """Return what was sent as it may stand in a refusal: short, and in characters that can be read."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 and value.isprintable() else f"a text of {len(value):,} characters"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return reprlib.repr(value)
    return f"a list of {len(value):,}" if isinstance(value, list) else "what was sent"


def _from_validation(error: RequestValidationError, request: Request) -> ApiError:
    """The complaint that goes deepest into the body: value, limit, remedy."""
    found = error.errors()
    deepest = max(found, key=lambda each: len(each["loc"]))  # of several shapes the one that was nearly met
    param, kind = _param(deepest), str(deepest["type"])
    if kind == "json_invalid":
        packed = request.headers.get("content-encoding")
        how = f" as it is packed ({packed[:20]}); send it plain" if packed else ""
        return ApiError(400, f"the body is not valid JSON{how}.", code=kind)
    if not param and "json" not in request.headers.get("content-type", "") and isinstance(error.body, bytes):
        told = "the body is read as JSON only if that is said; send it with Content-Type: application/json."
        return ApiError(400, told, code=kind)
    if kind == "extra_forbidden":
        fields = request.scope["route"].body_field.field_info.annotation.model_fields
        meant = SETTING_FIELDS.get(param) or nearest(param, fields)
        remedy = f", did you mean {meant}?" if meant else "; leave it out, /docs lists those that there are."
        return ApiError(
            400, f"{param or 'a name in the body'}: there is no such field{remedy}", param=param or None, code=kind
        )
    alike = [each for each in found if _param(each) == param]
    told = reason(alike, request.app.state.service.upper_limits)
    return ApiError(400, f"{param or 'the body'}: {told}.", param=param or None, code=kind)


def _param(problem: Mapping[str, Any]) -> str:
    """Return the field that a complaint is about, "" for the body."""
    return ".".join(part for part in map(str, problem["loc"][1:]) if FIELD.fullmatch(part))


def reason(problems: Sequence[Mapping[str, Any]], upper_limits: Mapping[Any, float]) -> str:
    """Return what is wrong with a field, of which each problem tells what else it could have been.

    Args:
        problems: As pydantic tells them.
        upper_limits: The server's own, by field.
    """
    first = problems[0]
    if first["type"] == "missing":
        return "it is missing; send it"
    if "UploadFile" in first["msg"]:
        return "it is text; send a file"
    if (picture := next((each for each in problems if each["type"] == "invalid_image_url"), None)) is not None:
        return str(picture["msg"])
    wanted = [_wanted(each, upper_limits) for each in problems if each["type"] in WANTED]
    if not wanted:
        return str(first["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{shown(first['input'])} is not possible; use {' or '.join(dict.fromkeys(wanted))}"


def _wanted(problem: Mapping[str, Any], own: Mapping[Any, float]) -> str:
    """Return what is to be sent; of two limits, the schema's and the server's own, the lower one."""
    limits = dict(problem.get("ctx", {}))
    lowest = min([limits[name] for name in LIMITS if name in limits] + [own.get(problem["loc"][-1], math.inf)])
    limits |= {name: f"{lowest:,.15g}" for name in LIMITS if name in limits}
    return WANTED[problem["type"]].format_map(limits)
