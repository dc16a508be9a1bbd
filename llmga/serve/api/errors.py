"""Refusals: each has OpenAI's form, says the cause, and tells nothing of the inside."""

import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from llmga.errors import UserError

FIELD = re.compile(r"[\w-]+(\[\])?", re.ASCII)  # and not what pydantic calls a shape
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
        return _from_validation(error).response()

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        answer = ApiError(error.status_code, f"{str(error.detail).rstrip('.')}.")
        answer.headers |= error.headers or {}
        return answer.response()


def _from_validation(error: RequestValidationError) -> ApiError:
    """The complaint that goes deepest into the body; values that were sent are not sent back."""
    deepest = max(error.errors(), key=lambda each: len(each["loc"]))  # of several shapes the one that was nearly met
    kind, path = str(deepest["type"]), [str(part) for part in deepest["loc"][1:]]
    if kind == "json_invalid":
        return ApiError(400, "the body is not valid JSON.", code="json_invalid")
    param = ".".join(part for part in path if FIELD.fullmatch(part))
    reason = deepest["msg"].removeprefix("Value error, ").rstrip(".")
    return ApiError(400, f"{param or 'the body'}: {reason}.", param=param or None, code=kind)
