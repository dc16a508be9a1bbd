"""The server under load: nothing lost, nothing mixed up, bounded, flat in memory, and idle where nobody waits.

python benchmarks/server_load.py [--clients 20] [--seconds 120] [--queue 12] [--at-once 4]

Every client has a key of its own and asks, over and over, for a picture that is its alone.  First each asks when nobody
else does: that picture is what it has to get, byte for byte, when all ask at once, and the toy world's oracle reads it.
Every fifth client hangs up in the middle of every answer.  Times are from sending a request that was taken to its first
word and to its picture; `throughput` is pictures a second, of all at once over one alone; `memory` is the server's at
the end over that after a quarter of the time.  Exits with 1 when a picture was lost or mixed up.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from itertools import product
from threading import Thread

import httpx
from PIL import Image

from llmga.toyworld.oracle import read
from llmga.toyworld.scenes import COLOURS

SHAPES, BACKGROUNDS = ("circle", "square", "star"), ("white", "black")
DROPS_EVERY = 5
TRIES = 8  # seeds among which a client finds one with which the toy model paints what was asked
PATIENCE = 600.0  # seconds without a word after which an answer counts as lost


@dataclass
class Client:
    """Somebody who wants one picture, again and again.

    Attributes:
        expected: the picture when nobody else asked, in base64.
        first_words, pictures: seconds.
    """

    number: int
    colour: str
    shape: str
    background: str
    seed: int = 0
    expected: str = ""
    first_words: list[float] = field(default_factory=list)
    pictures: list[float] = field(default_factory=list)
    right: int = 0
    wrong: int = 0
    refused: int = 0
    dropped: int = 0

    @property
    def key(self) -> str:
        return f"sk-client-number-{self.number}"

    @property
    def drops(self) -> bool:
        """Whether this one never waits for the end."""
        return self.number % DROPS_EVERY == DROPS_EVERY - 1

    def body(self) -> dict[str, object]:
        """The request."""
        wish = f"a big {self.colour} {self.shape} on a {self.background} background"
        return {"messages": [{"role": "user", "content": wish}], "seed": self.seed, "stream": True}

    def gets(self, content: str) -> bool:
        """Whether the oracle sees in a picture what was asked for."""
        seen = read(Image.open(io.BytesIO(base64.b64decode(content)))).attributes
        wanted = {"colour": self.colour, "shape": self.shape, "background": self.background}
        return {name: seen.get(name) for name in wanted} == wanted


def clients(count: int) -> list[Client]:
    """Neighbours want other colours; no two want the same picture."""
    wishes = [(colour, *rest) for rest in product(SHAPES, BACKGROUNDS) for colour in COLOURS]
    return [Client(number, *wishes[number % len(wishes)]) for number in range(count)]


@contextmanager
def serving(options: argparse.Namespace, keys: list[str]) -> Iterator[str]:
    """The address of a running server."""
    flags = [
        "--port",
        "0",
        "--queue",
        str(options.queue),
        "--at-once",
        str(options.at_once),
        "--device",
        options.device,
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "llmga.serve.openai_api", *flags],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"LLMGA_SERVER_KEYS": ",".join(keys)},
    )  # fmt: skip
    try:
        told = (json.loads(line) for line in process.stderr if line.startswith("{"))
        address = next(line["url"] for line in told if line["event"] == "ready").removesuffix("/v1")
        Thread(target=lambda: [None for _ in process.stderr], daemon=True).start()
        yield address
    finally:
        process.terminate()
        process.wait()


async def answer(http: httpx.AsyncClient, client: Client) -> AsyncIterator[tuple[str, str]]:
    """("word", …), ("step", …), ("picture", base64) as they come, or ("refused", seconds to wait)."""
    headers = {"Authorization": f"Bearer {client.key}"}
    async with http.stream("POST", "/v1/chat/completions", json=client.body(), headers=headers) as response:
        if response.status_code == 429:
            yield "refused", response.headers["retry-after"]
            return
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith(": painting"):
                yield "step", line
            elif line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    if choice["delta"].get("content"):
                        yield "word", choice["delta"]["content"]
                    for image in choice["delta"].get("images", ()):
                        yield "picture", image["image_url"]["url"].partition(",")[2]


async def alone(http: httpx.AsyncClient, client: Client) -> float:
    """Find a seed with which the picture is what was asked for, and remember the picture; seconds of the last try."""
    for client.seed in range(TRIES):
        began = time.perf_counter()
        found = [content async for kind, content in answer(http, client) if kind == "picture"]
        seconds = time.perf_counter() - began
        if found and client.gets(found[0]):
            client.expected = found[0]
            return seconds
    raise SystemExit(f"the model does not paint {client.body()['messages']}, so nothing can be told from its pictures")


async def ask(http: httpx.AsyncClient, client: Client, chance: random.Random) -> None:
    """One request; the pictures and times that come of it."""
    began, spoke, pictures = time.perf_counter(), False, []
    leaves_at = chance.choice(("word", "step")) if client.drops else None
    async with aclosing(answer(http, client)) as pieces:  # leaving early closes the connection
        async for kind, content in pieces:
            now = time.perf_counter() - began
            if kind == "refused":
                client.refused += 1
                await asyncio.sleep(min(float(content), 2.0) * chance.uniform(0.5, 1))
                return
            if kind in ("word", "picture") and not spoke:
                spoke = True
                client.first_words.append(now)
            if kind == leaves_at:
                client.dropped += 1
                return
            if kind == "picture":
                pictures.append(content)
                client.pictures.append(now)
    if pictures == [client.expected] and client.gets(pictures[0]):
        client.right += 1
    else:
        client.wrong += 1


async def keep_asking(http: httpx.AsyncClient, client: Client, until: float) -> None:
    """Ask until the time is over, and at least until one request was taken."""
    chance = random.Random(client.number)
    while time.monotonic() < until or not (client.right or client.wrong or client.dropped):
        try:
            await ask(http, client, chance)
        except httpx.HTTPError:
            client.wrong += 1


async def figures(http: httpx.AsyncClient) -> dict[str, float]:
    """The server's own."""
    lines = (await http.get("/metrics")).text.splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


async def watch(http: httpx.AsyncClient, memory: list[float]) -> None:
    """The server's memory, every half second."""
    while True:
        memory.append((await figures(http))["process_resident_memory_bytes"])
        await asyncio.sleep(0.5)


async def load(address: str, people: list[Client], seconds: float) -> dict[str, float]:
    """Everything that is measured."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE, limits=limits, trust_env=False) as http:
        single = [await alone(http, client) for client in people]
        memory: list[float] = []
        watching = asyncio.create_task(watch(http, memory))
        began = time.monotonic()
        await asyncio.gather(*(keep_asking(http, client, began + seconds) for client in people))
        took = time.monotonic() - began
        watching.cancel()
        while (last := await figures(http))["llmga_running"]:
            await asyncio.sleep(0.1)
    return judged(people, single, took, memory, last)


def judged(
    people: list[Client], single: list[float], took: float, memory: list[float], last: dict[str, float]
) -> dict[str, float]:
    """What came of it."""
    right, wrong = (sum(getattr(client, name) for client in people) for name in ("right", "wrong"))
    words = [seconds for client in people for seconds in client.first_words]
    pictures = [seconds for client in people for seconds in client.pictures]
    left = last["llmga_steps_after_leaving_count"]
    share = max(1, len(memory) // 10)
    after_quarter, at_end = memory[len(memory) // 4 :][:share], memory[-share:]
    return {
        "clients": len(people),
        "seconds": took,
        "pictures_right": right,
        "lost_or_mixed_up": wrong,
        "refused_with_429": sum(client.refused for client in people),
        "queue_most_over_bound": last["llmga_waiting_most"] / last["llmga_waiting_bound"],
        "dropped": sum(client.dropped for client in people),
        "dropped_that_stopped_within_a_step": last['llmga_steps_after_leaving_bucket{le="1.0"}'] / left
        if left
        else 1.0,
        "memory": statistics.median(at_end) / statistics.median(after_quarter),
        "memory_mb": memory[-1] / 1e6,
        "first_word_p50_s": quantile(words, 0.5),
        "first_word_p95_s": quantile(words, 0.95),
        "picture_p50_s": quantile(pictures, 0.5),
        "picture_p95_s": quantile(pictures, 0.95),
        "throughput": right / took * statistics.median(single),
    }


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Many clients at once, each with a wish of its own.")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--queue", type=int, default=12, help="fewer than clients minus --at-once, so that it fills")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(argv)
    people = clients(options.clients)
    with serving(options, [client.key for client in people]) as address:
        measured = asyncio.run(load(address, people, options.seconds))
    print(json.dumps({name: round(value, 4) for name, value in measured.items()}, indent=2))
    return 1 if measured["lost_or_mixed_up"] else 0


if __name__ == "__main__":
    sys.exit(main())
