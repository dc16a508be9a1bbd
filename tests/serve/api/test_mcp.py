"""The Model Context Protocol, spoken by its official client."""

import asyncio
import base64
import contextlib
import io
import json
import logging
import sys

import numpy as np
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError
from PIL import Image

from llmga.errors import UserError
from llmga.serve.api.logs import NAME, configure
from llmga.serve.api.mcp_tools import Pictures, Tools
from llmga.serve.api.server import with_mcp
from tests.serve.plain import painter_of

RED, BLUE = (250, 0, 0), (0, 0, 250)


def colours(image):
    return set(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3)))


def pictures(result):
    assert not result.is_error, result.content
    return [Image.open(io.BytesIO(base64.b64decode(each.data))) for each in result.content if each.type == "image"]


def addresses(result):
    return [str(each.uri) for each in result.content if each.type == "resource_link"]


def words(result):
    return " ".join(each.text for each in result.content if each.type == "text")


def uri(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def talked(service, acts, folders=()):
    """What `acts(client)` returns, spoken with a server in this process."""

    async def talk():
        async with Client(Tools(lambda: service, folders).server()) as client:
            return await acts(client)

    return asyncio.run(talk())


@pytest.fixture
def served(service):
    made = service()
    yield made
    made.engine.close()


def test_its_tools_say_what_they_do_and_take(served):
    async def acts(client):
        return await client.list_tools(), await client.list_resource_templates()

    tools, templates = talked(served, acts)
    known = {tool.name: tool for tool in tools.tools}
    assert set(known) == {"paint", "edit", "fill", "grow", "vary", "look"} and all(
        tool.description for tool in tools.tools
    )
    assert known["fill"].input_schema["required"] == ["picture", "mask", "request"]
    assert templates.resource_templates[0].uri_template == "llmga://pictures/{number}"


def test_it_paints_tells_its_steps_and_gives_addresses_to_go_on_with(served):
    steps = []

    async def acts(client):
        async def on_progress(progress, total, message):
            steps.append((progress, total, message))

        asked = {"request": "a red house", "seed": 5, "size": "48x32", "count": 2}
        painted = await client.call_tool("paint", asked, progress_callback=on_progress)
        kept = await client.read_resource(addresses(painted)[1])
        seen = await client.call_tool("look", {"picture": addresses(painted)[0], "question": "what is it?"})
        return painted, kept, seen

    painted, kept, seen = talked(served, acts)
    images = pictures(painted)
    assert [image.size for image in images] == [(48, 32)] * 2 and colours(images[0]) == {RED}
    assert json.loads(images[1].text["llmga"])["seed"] == 6  # the file says how it was made
    assert kept.contents[0].mime_type == "image/png"
    assert base64.b64decode(kept.contents[0].blob) == base64.b64decode(painted.content[3].data)
    assert words(seen).split() == ["250", "0", "0"]
    assert steps[0] == (0.25, 2, "painting") and [step for step, _, _ in steps] == sorted(step for step, _, _ in steps)


def test_it_paints_where_a_mask_says_and_keeps_the_rest(served, tmp_path):
    picture, mask = Image.new("RGB", (32, 16), RED), Image.new("L", (32, 16))
    mask.paste(255, (16, 0, 32, 16))
    mask.save(tmp_path / "mask.png")

    async def acts(client):
        return await client.call_tool("fill", {"picture": uri(picture), "mask": "mask.png", "request": "blue"})

    (changed,) = pictures(talked(served, acts, (tmp_path,)))
    assert colours(changed.crop((0, 0, 16, 16))) == {RED} and colours(changed.crop((16, 0, 32, 16))) == {BLUE}


def test_it_makes_a_picture_larger(served):
    async def acts(client):
        return await client.call_tool("grow", {"picture": uri(Image.new("RGB", (32, 16), RED)), "extent": "right=16"})

    (grown,) = pictures(talked(served, acts))
    assert grown.size == (48, 16) and colours(grown.crop((0, 0, 32, 16))) == {RED}


@pytest.mark.parametrize(
    ("tool", "asked", "told"),
    [
        ("look", {"picture": "/etc/passwd", "question": "what?"}, "files are read from these folders only: none"),
        ("look", {"picture": "llmga://pictures/7", "question": "what?"}, "there is no picture llmga://pictures/7"),
        ("look", {"picture": "data:image/png;base64,AAAA", "question": "what?"}, "picture"),
        ("paint", {"request": "a forbidden thing"}, "'plain' does not paint this forbidden prompt"),
        (
            "paint",
            {"request": "red", "size": "big"},
            "size: 'big' is not possible; use auto, or WIDTHxHEIGHT in pixels",
        ),
        ("paint", {"request": "red", "count": 9}, "count: 9 is not possible; use at most 4."),
        ("paint", {"request": 5}, "request: 5 is not possible; use text."),
        ("paint", {"prompt": "red"}, "request: it is missing; send it."),
        ("paint", {"request": "red", "sed": 1}, "sed: there is no such argument, did you mean seed?"),
        (
            "paint",
            {"request": "red", "foo": 1},
            "foo: there is no such argument, those that there are: request, as_writ",
        ),
        ("look", {"picture": "http://127.0.0.1/a.png", "question": "?"}, "addresses of other servers are not fetched"),
    ],
)
def test_what_cannot_be_is_a_tools_error_in_one_sentence(served, tool, asked, told):
    async def acts(client):
        return await client.call_tool(tool, asked)

    result = talked(served, acts)
    assert (
        result.is_error and told in words(result) and "/secret" not in words(result) and "pydantic" not in words(result)
    )


def test_a_picture_that_is_not_there_is_told_so(served, caplog):
    async def acts(client):
        with pytest.raises(MCPError) as refused:
            await client.read_resource("llmga://pictures/7")
        return str(refused.value)

    assert "there is no picture llmga://pictures/7; the latest of yours: none" in talked(served, acts)
    assert "Traceback" not in caplog.text


@pytest.fixture
def configured():
    loggers = [logging.getLogger(name) for name in (NAME, "uvicorn", "asyncio", "mcp")]
    before = [(each, each.handlers, each.propagate, each.level) for each in loggers]
    configure()
    yield
    for each, handlers, propagate, level in before:
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)


def test_what_people_say_is_not_logged(served, configured, capfd):
    root = logging.getLogger()
    before = root.handlers[:], root.level

    async def acts(client):
        await client.call_tool("grow", {"picture": uri(Image.new("RGB", (8, 8))), "extent": "a secret"})
        await client.call_tool("paint", {"request": 5, "another secret": 1})
        with contextlib.suppress(MCPError):
            await client.read_resource("file:///etc/secret")

    talked(served, acts)
    assert (root.handlers, root.level) == before
    assert "secret" not in capfd.readouterr().err


def test_a_client_that_paints_much_loses_its_own_pictures_first():
    kept, image = Pictures(most=3, of_all=4), Image.new("RGB", (1, 1))
    first = kept.add("anna", image, b"0")
    for _ in range(5):
        kept.add("eve", image, b"x")
    assert kept.get("anna", str(first))[1] == b"0" and len(kept._kept["eve"]) == 3
    with pytest.raises(UserError, match="latest of yours: 3, 4, 5"):
        kept.get("eve", str(first))
    kept.add("bob", image, b"1")
    assert kept.get("anna", str(first))[1] == b"0" and len(kept._kept["eve"]) == 2


def test_a_file_outside_of_the_folders_is_not_read_whatever_its_path(served, tmp_path):
    (tmp_path / "inside").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    (tmp_path / "inside/link.png").symlink_to(tmp_path / "outside.png")

    async def acts(client):
        paths = ("../outside.png", str(tmp_path / "outside.png"), "link.png")
        return [await client.call_tool("look", {"picture": path, "question": "?"}) for path in paths]

    results = talked(served, acts, (tmp_path / "inside",))
    assert all(result.is_error and "files are read from these folders only" in words(result) for result in results)


def test_who_gives_up_ends_the_painting(served):
    painter = painter_of(served)
    painter.pace = 0.2

    async def acts(client):
        work = asyncio.ensure_future(client.call_tool("paint", {"request": "red", "count": 4}))
        while not painter.started.is_set():
            await asyncio.sleep(0.01)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await asyncio.sleep(1.5)

    talked(served, acts)
    assert painter.done <= 3 and not served.scheduler.turns


def test_beside_the_api_it_is_under_the_same_keys(running):
    server = running(keys=("a long key",), beside=lambda app, service: with_mcp(app, service, ()))

    async def talk(key):
        async with (
            create_mcp_http_client(headers={"Authorization": f"Bearer {key}"}) as http,
            Client(streamable_http_client(f"{server.url}/v1/mcp/", http_client=http)) as client,
        ):
            return await client.call_tool("paint", {"request": "a red house"})

    assert colours(pictures(asyncio.run(talk("a long key")))[0]) == {RED}
    with pytest.raises(BaseException):  # noqa: B017  # the client's own, which says nothing of the status
        asyncio.run(talk("another key"))
    assert server.http.post("/v1/mcp/", json={}).status_code == 401


@pytest.mark.parametrize("slash", ["", "/"])
def test_every_key_has_its_own_pictures_and_every_call_is_one_request(running, slash):
    keys = ("key number one", "key number two")
    server = running(keys=keys, beside=lambda app, service: with_mcp(app, service, ()))

    async def talk(key, act):
        async with (
            create_mcp_http_client(headers={"Authorization": f"Bearer {key}"}) as http,
            Client(streamable_http_client(f"{server.url}/v1/mcp{slash}", http_client=http)) as client,
        ):
            return await act(client)

    async def paint(client):
        painted = await client.call_tool("paint", {"request": "a red house"})
        (address,) = addresses(painted)
        await client.read_resource(address)
        return address

    async def steal(client, address):
        looked = await client.call_tool("look", {"picture": address, "question": "what?"})
        with pytest.raises(MCPError, match="there is no picture"):
            await client.read_resource(address)
        return looked

    address = asyncio.run(talk(keys[0], paint))
    stolen = asyncio.run(talk(keys[1], lambda client: steal(client, address)))
    assert stolen.is_error and "the latest of yours: none" in words(stolen)
    counted = [
        line for line in server.http.get("/metrics").text.splitlines() if line.startswith("llmga_requests_total{")
    ]
    routes = {line.partition('route="')[2].partition('"')[0] for line in counted}
    assert (
        "/v1/mcp" in routes and not routes & {"other", "/", "/v1/mcp/"} and not any('"307"' in line for line in counted)
    )


@pytest.mark.slow
def test_a_program_starts_it_and_paints_with_the_bundled_models(tmp_path):
    async def talk():
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "llmga.serve.mcp_server", "--device", "cpu"]
        )
        async with Client(command) as client:
            return await client.call_tool("paint", {"request": "a large red star on a white background", "seed": 1})

    (painted,) = pictures(asyncio.run(talk()))
    assert painted.size == (64, 64) and len(colours(painted)) > 10
