"""The server under load: nothing lost, nothing mixed up, bounded, flat in memory, and idle where nobody waits.

python benchmarks/server_load.py [--part load] [--clients 20] [--seconds 120] [--leaving 0.3] [--at-once 8] [--batch 4]

`load`: every client has a key of its own and asks, over and over, for a picture that is its alone.  First each asks
when nobody else does: that picture is what it has to get, byte for byte, when all ask at once, and the toy world's
oracle reads it.  A share of the clients hangs up in the middle of every answer.  Times are from sending a request that
was taken to its first word and to its picture; `throughput` is pictures a second, of all at once over one alone;
`memory` is the server's at the end over that after a quarter of the time.  Exits with 1 when a picture was lost or
mixed up.

`apart`: the same load for a server that is scheduled as version 0.1.0 was, which holds a place at work from the first
word to the picture and paints one by one; `first_word_p95_share` is the p95 of the one over that of the other.

`batching`: `batching_ratio` is pictures a second of eight requests that differ in seed only, denoised together over one
by one; two servers take turns.  `batching_equal` is the share of pictures that are the same to the byte.

`words`: `words_ratio` is the time to the first word of somebody who only talks while eight pictures are painted, over
that when nothing is; and `words_ratio_before` that of the server scheduled as 0.1.0.
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
from dataclasses import dataclass, field, replace
from itertools import product
from threading import Thread

import httpx
from PIL import Image

from llmga.toyworld.oracle import read
from llmga.toyworld.scenes import COLOURS

SHAPES, BACKGROUNDS = ("circle", "square", "star"), ("white", "black")
PAINTER = "llmga-toy-sdxl-t2i"
PARTS = ("load", "apart", "batching", "words")
BEFORE = ("--at-once", "4", "--line", "0", "--batch", "1")  # as 0.1.0 was scheduled
BEFORE_TOO = ("first_word_p50_s", "first_word_p95_s", "picture_p50_s", "pictures_right")
EQUAL = 8  # requests of the batching part
TRIES = 8  # seeds among which a client finds one with which the toy model paints what was asked
PATIENCE = 600.0  # seconds without a word after which an answer counts as lost


@dataclass
class Client:
    """Somebody who wants one picture, again and again.

    Attributes:
        drops: whether it never waits for the end.
        expected: the picture when nobody else asked, in base64.
        first_words, pictures: seconds.
    """

    number: int
    colour: str
    shape: str
    background: str
    drops: bool = False
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

    def anew(self) -> "Client":
        """The same wish of somebody who has not yet got anything."""
        return replace(self, first_words=[], pictures=[], right=0, wrong=0, refused=0, dropped=0)

    def body(self) -> dict[str, object]:
        """The request."""
        wish = f"a big {self.colour} {self.shape} on a {self.background} background"
        return {"messages": [{"role": "user", "content": wish}], "seed": self.seed, "stream": True}

    def gets(self, content: str) -> bool:
        """Whether the oracle sees in a picture what was asked for."""
        seen = read(Image.open(io.BytesIO(base64.b64decode(content)))).attributes
        wanted = {"colour": self.colour, "shape": self.shape, "background": self.background}
        return {name: seen.get(name) for name in wanted} == wanted


def clients(count: int, leaving: float) -> list[Client]:
    """Neighbours want other colours; no two want the same picture.

    Args:
        leaving: the share of those that hang up, evenly among the others.
    """
    wishes = [(colour, *rest) for rest in product(SHAPES, BACKGROUNDS) for colour in COLOURS]
    drops = [int((number + 1) * leaving) > int(number * leaving) for number in range(count)]
    return [Client(number, *wishes[number % len(wishes)], drops[number]) for number in range(count)]


@contextmanager
def serving(options: argparse.Namespace, keys: list[str], *more: str) -> Iterator[str]:
    """The address of a running server, with more flags, the last of which count."""
    said = {"port": 0} | {name: getattr(options, name) for name in ("queue", "at_once", "line", "batch", "device")}
    flags = [part for name, value in said.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    process = subprocess.Popen(
        [sys.executable, "-m", "llmga.serve.openai_api", *flags, *more],
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


def connected(address: str) -> httpx.AsyncClient:
    """What asks a server, by as many connections as it takes."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(base_url=address, timeout=PATIENCE, limits=limits, trust_env=False)


async def load(address: str, people: list[Client], seconds: float) -> dict[str, float]:
    """Everything that is measured."""
    async with connected(address) as http:
        single = [await alone(http, client) for client in people if not client.expected]
        memory: list[float] = []
        watching = asyncio.create_task(watch(http, memory))
        began = time.monotonic()
        await asyncio.gather(*(keep_asking(http, client, began + seconds) for client in people))
        took = time.monotonic() - began
        watching.cancel()
        while (last := await figures(http))["llmga_running"]:
            await asyncio.sleep(0.1)
    return judged(people, single or [0.0], took, memory, last)


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


async def paint(http: httpx.AsyncClient, seed: int) -> str:
    """A picture of words as they stand, in base64."""
    body = {"model": PAINTER, "prompt": "a big red circle on a white background", "seed": seed}
    headers = {"Authorization": f"Bearer sk-client-number-{seed % EQUAL}"}
    answer = await http.post("/v1/images/generations", json=body, headers=headers)
    return str(answer.raise_for_status().json()["data"][0]["b64_json"])


async def paint_all(http: httpx.AsyncClient) -> tuple[float, list[str]]:
    """Seconds for eight pictures that are asked for at once, and the pictures."""
    began = time.perf_counter()
    pictures = await asyncio.gather(*(paint(http, seed) for seed in range(EQUAL)))
    return time.perf_counter() - began, pictures


async def batching(together: str, one_by_one: str, rounds: int) -> dict[str, float]:
    """Pictures a second of one server over that of another, which take turns."""
    spent, pictures = {together: 0.0, one_by_one: 0.0}, {together: [""], one_by_one: [""]}
    async with connected(together) as batched, connected(one_by_one) as plain:
        for number in range(rounds + 1):
            for address, http in ((together, batched), (one_by_one, plain)):
                seconds, pictures[address] = await paint_all(http)
                spent[address] += seconds if number else 0.0  # the first round warms up
    same = [a == b for a, b in zip(pictures[together], pictures[one_by_one], strict=True)]
    return {"batching_ratio": spent[one_by_one] / spent[together], "batching_equal": sum(same) / len(same)}


async def first_word(http: httpx.AsyncClient) -> float:
    """Seconds to the first word of an answer without a picture."""
    body = {"messages": [{"role": "user", "content": "a red circle"}], "paint": False, "max_tokens": 4, "stream": True}
    began, headers = time.perf_counter(), {"Authorization": "Bearer sk-somebody-who-talks"}
    async with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {") and any(
                choice["delta"].get("content") for choice in json.loads(line[6:])["choices"]
            ):
                return time.perf_counter() - began
    raise SystemExit("the server said nothing")


async def words(address: str, rounds: int) -> float:
    """The time to the first word while pictures are painted, over that when none are."""
    idle, busy = [], []
    async with connected(address) as http:
        await first_word(http)
        for _ in range(rounds):
            idle += [await first_word(http) for _ in range(3)]
            painting = asyncio.ensure_future(paint_all(http))
            while (await figures(http))["llmga_running"] < 2:
                await asyncio.sleep(0.05)
            while not painting.done():
                busy.append(await first_word(http))
            await painting
    return statistics.median(busy) / statistics.median(idle)


def measured(options: argparse.Namespace) -> dict[str, float]:
    """The figures of all parts that are asked for."""
    people, found = clients(options.clients, options.leaving), {}
    keys = [client.key for client in people]
    if {"load", "apart"} & set(options.part):
        with serving(options, keys) as address:
            found = asyncio.run(load(address, people, options.seconds))
    if "apart" in options.part:
        with serving(options, keys, *BEFORE) as address:
            before = asyncio.run(load(address, [client.anew() for client in people], options.seconds))
        found["first_word_p95_share"] = found["first_word_p95_s"] / before["first_word_p95_s"]
        found["lost_or_mixed_up"] += before["lost_or_mixed_up"]
        found |= {f"{name}_before": before[name] for name in BEFORE_TOO}
    if {"batching", "words"} & set(options.part):
        keys = [f"sk-client-number-{number}" for number in range(EQUAL)] + ["sk-somebody-who-talks"]
        most = ("--at-once", str(EQUAL), "--batch", str(EQUAL))
        with serving(options, keys, *most) as together, serving(options, keys, *BEFORE) as one_by_one:
            if "batching" in options.part:
                found |= asyncio.run(batching(together, one_by_one, options.rounds))
            if "words" in options.part:
                found["words_ratio"] = asyncio.run(words(together, options.rounds))
                found["words_ratio_before"] = asyncio.run(words(one_by_one, options.rounds))
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Many clients at once, each with a wish of its own.")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="what is measured; all of it")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120, help="of load and apart, each; 600 shows a slow leak")
    parser.add_argument("--leaving", type=float, default=0.3, help="share of the clients that hang up")
    parser.add_argument("--queue", type=int, default=12, help="less than clients, so that it fills")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--line", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="of batching and words")
    parser.add_argument("--device", default="cpu")
    found = measured(parser.parse_args(argv))
    print(json.dumps({name: round(value, 4) for name, value in found.items()}, indent=2))
    return 1 if found.get("lost_or_mixed_up") or found.get("batching_equal", 1) < 1 else 0


if __name__ == "__main__":
    sys.exit(main())
