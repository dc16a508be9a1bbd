"""The assistant as tools of the Model Context Protocol: paint, edit, fill, grow, vary, look.

A picture goes in as the address of one that was painted here (`llmga://pictures/3`), as a `data:` URI, or as the path
of a file in a folder that the server was told to read from.
"""

import base64
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent
from PIL import Image
from pydantic import Field, ValidationError

import llmga
from llmga.assistant.assistant import SIMILAR
from llmga.assistant.events import Denoising, Failed, PictureReady, PromptFound, TextDelta
from llmga.assistant.image_files import encoded
from llmga.assistant.session import Turn
from llmga.diffusers.families import EDITING, INPAINTING, TEXT_TO_IMAGE
from llmga.errors import UserError
from llmga.inputs import nearest
from llmga.llava.passthrough import PassthroughPlanner
from llmga.serve.api.engine import RunningTurn
from llmga.serve.api.errors import ApiError, reason
from llmga.serve.api.image_data import decode_image, from_data_uri
from llmga.serve.api.schemas import PaintingParams
from llmga.serve.api.service import Service
from llmga.serve.api.usage import Meter, measured_by

ABOUT = (
    "Paints pictures from words, changes them by words or where a mask says, makes them larger, and looks at them. "
    "Every picture comes with an address (llmga://pictures/N) that other tools take as `picture`."
)
SCHEME = "llmga://pictures/"
KEPT, OF_ALL = 100, 1000  # pictures whose addresses can be used: of one client, and of all together
CLIENT = "mcp"  # the name of a program that is told by no key and no address

Picture = Annotated[str, Field(description="llmga://pictures/N of an earlier answer, a data: URI, or a file's path")]
Seed = Annotated[int | None, Field(ge=0, le=2**32 - 1, description="the same seed paints the same picture again")]
Size = Annotated[str | None, Field(pattern=r"^(auto|[1-9]\d{1,3}x[1-9]\d{1,3})$", description="WIDTHxHEIGHT in pixels")]
Count = Annotated[int, Field(ge=1, le=4, description="how many pictures")]


class Pictures:
    """The latest pictures of every client, by number; each is found by the client that it was painted for.

    Where there are too many, the client that has the most of them loses its oldest.
    """

    def __init__(self, most: int = KEPT, of_all: int = OF_ALL):
        self._most, self._of_all = most, of_all
        self._numbers = count()
        self._kept: dict[str, OrderedDict[int, tuple[Image.Image, bytes]]] = {}

    def add(self, client: str, image: Image.Image, content: bytes) -> int:
        """Keep a picture and its file; its number."""
        number = next(self._numbers)
        own = self._kept.setdefault(client, OrderedDict())
        own[number] = image, content
        if len(own) > self._most:
            own.popitem(last=False)
        elif sum(map(len, self._kept.values())) > self._of_all:
            richest = max(self._kept, key=lambda name: len(self._kept[name]))
            self._kept[richest].popitem(last=False)
            if not self._kept[richest]:
                del self._kept[richest]
        return number

    def get(self, client: str, name: str) -> tuple[Image.Image, bytes]:
        """The picture of a number, and its file.

        Raises:
            UserError: it is none of this client's, or not kept any more.
        """
        own: Mapping[int, tuple[Image.Image, bytes]] = self._kept.get(client, {})
        with suppress(KeyError, ValueError):
            return own[int(name)]
        there = ", ".join(map(str, list(own)[-10:])) or "none"
        raise UserError(f"there is no picture {SCHEME}{name[:20]}; the latest of yours: {there}.")


class Server(MCPServer[Any]):
    """A server of the protocol that refuses arguments in the API's words."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Context | None = None) -> Any:
        """Call a tool; see `MCPServer.call_tool`."""
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as problem:
            told = str(problem).removeprefix(f"Error executing tool {name}: ")
            if isinstance(problem.__cause__, ValidationError):
                tool = self._tool_manager.get_tool(name)
                known = [] if tool is None else list(tool.parameters["properties"])
                raise ToolError(_misfit(problem.__cause__, known)) from problem.__cause__
            if told == str(problem):
                raise
            raise ToolError(told) from problem.__cause__


def strict(tool: Tool) -> Tool:
    """The tool, which takes no arguments that it does not have."""
    arguments = tool.fn_metadata.arg_model
    arguments.model_config["extra"] = "forbid"
    arguments.model_rebuild(force=True)
    tool.parameters = arguments.model_json_schema(by_alias=True)
    return tool


def _misfit(problem: ValidationError, known: list[str]) -> str:
    """The first thing that is wrong with arguments: its name, what it is, and what it may be."""
    found = problem.errors()
    name = str(found[0]["loc"][0])
    if found[0]["type"] == "extra_forbidden":
        meant = nearest(name, known)
        remedy = f"did you mean {meant}?" if meant else f"those that there are: {', '.join(known)}."
        return f"{name[:40]}: there is no such argument, {remedy}"
    return f"{name}: {reason([each for each in found if each['loc'][0] == name], {})}."


@contextmanager
def root_logger_kept() -> Iterator[None]:
    """What is built here may set up logging for its own program; ours stays as it is, without what people say."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Tools:
    """What the tools do, around the models of a server.

    Args:
        service: Returns opened models with their bounds and queue: those of the moment.
        folders: Files in these may be read.
    """

    def __init__(self, service: Callable[[], Service], folders: tuple[Path, ...] = ()):
        self._service = service
        self.folders = tuple(folder.resolve() for folder in folders)
        self.pictures = Pictures()

    @property
    def service(self) -> Service:
        """What answers now."""
        return self._service()

    def server(self) -> MCPServer[Any]:
        """The tools and the pictures as a server of the protocol, for any of its transports."""
        tools = [
            strict(Tool.from_function(tool, structured_output=False))
            for tool in (self.paint, self.edit, self.fill, self.grow, self.vary, self.look)
        ]
        with root_logger_kept():
            made: MCPServer[Any] = Server(
                "llmga", title="LLMGA", instructions=ABOUT, version=llmga.__version__, tools=tools
            )
        made.resource(SCHEME + "{number}", name="picture", mime_type="image/png", description="a painted picture")(
            self.picture
        )
        return made

    def picture(self, number: str, context: Context) -> bytes:
        """A painted picture as PNG, which says how it was made."""
        try:
            return self.pictures.get(_asking(context)[0], number)[1]
        except UserError as problem:
            raise ResourceNotFoundError(str(problem)) from None

    async def paint(
        self,
        request: Annotated[str, Field(min_length=1, description="what to paint, in any words, English or Chinese")],
        context: Context,
        as_written: Annotated[
            bool, Field(description="paint these very words, without a detailed prompt of them")
        ] = False,
        negative_prompt: str | None = None,
        size: Size = None,
        seed: Seed = None,
        count: Count = 1,
    ) -> CallToolResult:
        """Paint a picture from words."""
        asked: dict[str, Any] = {"negative_prompt": negative_prompt, "size": size, "seed": seed, "versions": count}
        return await self._answer(context, lambda: Turn(request), as_written=as_written, **asked)

    async def edit(
        self,
        picture: Picture,
        instruction: Annotated[
            str, Field(min_length=1, description="what is to be different, such as 'make it green'")
        ],
        context: Context,
        seed: Seed = None,
    ) -> CallToolResult:
        """Change a picture by words alone; what they do not speak of is kept where the painter can."""
        return await self._answer(
            context, lambda: Turn(instruction, (self._opened(picture, context),)), EDITING, edit={}, seed=seed
        )

    async def fill(
        self,
        picture: Picture,
        mask: Annotated[str, Field(description="as picture, of its size: white, or transparent, is painted anew")],
        request: Annotated[str, Field(min_length=1, description="what is to be there")],
        context: Context,
        seed: Seed = None,
    ) -> CallToolResult:
        """Paint a marked part of a picture anew; every other pixel stays as it is."""
        return await self._answer(
            context,
            lambda: Turn(request, (self._opened(picture, context),), self._opened(mask, context)),
            INPAINTING,
            seed=seed,
        )

    async def grow(
        self,
        picture: Picture,
        context: Context,
        extent: Annotated[
            str, Field(description="how far, such as left=25% or top=64,bottom=64 or aspect=16:9 or size=1024x768")
        ] = "left=25%,right=25%,top=25%,bottom=25%",
        request: Annotated[str, Field(description="what is to be there")] = "more of the same",
        seed: Seed = None,
    ) -> CallToolResult:
        """Make a picture larger by painting around it."""
        return await self._answer(
            context, lambda: Turn(request, (self._opened(picture, context),), outpaint=extent), INPAINTING, seed=seed
        )

    async def vary(self, picture: Picture, context: Context, seed: Seed = None, count: Count = 1) -> CallToolResult:
        """Paint a picture like another one."""
        return await self._answer(
            context, lambda: Turn(SIMILAR, (self._opened(picture, context),)), seed=seed, versions=count
        )

    async def look(
        self,
        picture: Picture,
        question: Annotated[str, Field(min_length=1)],
        context: Context,
    ) -> CallToolResult:
        """Ask about a picture."""
        return await self._answer(context, lambda: Turn(question, (self._opened(picture, context),)), paint=False)

    async def _answer(
        self,
        context: Context,
        make_turn: Callable[[], Turn],
        task: str = TEXT_TO_IMAGE,
        *,
        as_written: bool = False,
        paint: bool = True,
        seed: int | None = None,
        **asked: Any,
    ) -> CallToolResult:
        """Wait for a place, answer, and tell the steps meanwhile; leaving early ends the work.

        Raises:
            ToolError: it cannot be done so; the sentence says why.
        """
        service = self.service

        def prepare() -> RunningTurn:
            planner = PassthroughPlanner() if as_written else service.engine.models.new_chat()
            others = {name: asked.pop(name) for name in ("versions", "edit") if name in asked}
            params = PaintingParams(seed=seed, **{name: value for name, value in asked.items() if value is not None})
            picture = "always" if paint and planner.steers else "auto"
            settings = service.settings(params, paint=paint, picture=picture, **others)
            return service.engine.turn(planner, make_turn(), settings, task, insist=paint)

        client, meter = _asking(context)
        try:
            with measured_by(meter):
                turn = await service.scheduler.begin(client, prepare)
                try:
                    content = [block async for block in self._blocks(turn, context)]
                finally:
                    turn.cancel()
        except (ApiError, UserError) as problem:
            raise ToolError(service.engine.public(str(problem))) from None
        if paint and not any(isinstance(block, ImageContent) for block in content):
            said = " ".join(block.text for block in content if isinstance(block, TextContent))
            raise ToolError(said or "no picture came of this; say it anew.")
        return CallToolResult(content=content)

    async def _blocks(self, turn: RunningTurn, context: Context):  # noqa: ANN202  # an async generator of ContentBlock
        words: list[str] = []
        painted = 0
        async for event in turn.events():
            match event:
                case TextDelta(text):
                    words.append(text)
                case PromptFound(prompt):
                    words.append(f"[{prompt}] ")
                case Denoising(step, total):
                    await context.report_progress(painted + step / total, turn.assistant.settings.versions, "painting")
                case PictureReady():
                    painted += 1
                    for block in self._picture(event, _asking(context)[0]):
                        yield block
                case Failed(message):
                    words.append(self.service.engine.public(message))
        if said := "".join(words).strip():
            yield TextContent(type="text", text=said)

    def _picture(self, event: PictureReady, client: str) -> list[ContentBlock]:
        content = encoded(event.image, event.record, signer=self.service.signer, parent=event.parent)
        address = f"{SCHEME}{self.pictures.add(client, event.image, content)}"
        told = f"{event.image.width}x{event.image.height}, seed {event.record.seed}"
        return [
            ImageContent(type="image", data=base64.b64encode(content).decode(), mime_type="image/png"),
            ResourceLink(type="resource_link", uri=address, name=address, mime_type="image/png", description=told),
            TextContent(type="text", text=f"{address} ({told})"),
        ]

    def _opened(self, picture: str, context: Context) -> Image.Image:
        """The picture of an address.

        Raises:
            UserError, ApiError: it is none, too large, or a file that may not be read.
        """
        limits = self.service.limits
        if picture.startswith(SCHEME):
            return self.pictures.get(_asking(context)[0], picture.removeprefix(SCHEME))[0]
        if picture.startswith("data:"):
            return decode_image(from_data_uri(picture, limits), limits, exact=True)
        if picture.startswith(("http://", "https://")):
            raise UserError("addresses of other servers are not fetched; send the picture as a data: URI.")
        return decode_image(self._read(picture), limits, exact=True)

    def _read(self, path: str) -> bytes:
        place = Path(path.removeprefix("file://")).expanduser()
        place = (self.folders[0] / place if self.folders and not place.is_absolute() else place).resolve()
        if not any(place.is_relative_to(folder) for folder in self.folders):
            allowed = ", ".join(map(str, self.folders)) or "none"
            raise UserError(
                f"files are read from these folders only: {allowed}; send the picture as a data: URI, or have the "
                "server started with a folder for files."
            )
        try:
            with place.open("rb") as file:
                return file.read(self.service.limits.picture + 1)
        except OSError as problem:
            raise UserError(f"{path!r} cannot be read ({(problem.strerror or 'no file').lower()}).") from None


def _asking(context: Context) -> tuple[str, Meter | None]:
    """Under whose name a call queues, and what measures it; over standard input there is one program and no key."""
    state = getattr(context.request_context.request, "state", None)
    return getattr(state, "client", CLIENT), getattr(state, "meter", None)
