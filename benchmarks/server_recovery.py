"""What becomes of requests when processes of a server on Ray Serve are killed: `python benchmarks/server_recovery.py`.

It starts `llmga serve --engine ray`, asks for pictures from several clients, and kills (SIGKILL) a painter, a planner
and the application in the midst of it.  Every request has to be answered with the very picture that it was answered
with before, or refused with a status after which one comes again (429, 503).  With `--url` and `--pid` it asks a
server that is there already.
"""

import argparse
import collections
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("Painter", "Planner", "Ingress")
RETRYABLE = (429, 503)
MOST = 900.0  # seconds
PROMPTS = ["a big red circle on a blue background", "a small green square", "a yellow triangle on a black background"]


def replicas(root: int, kind: str) -> list[int]:
    """Processes of a deployment below a process."""
    parents, found = {}, []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            title = (place / "cmdline").read_bytes().partition(b"\0")[0].decode()
        except (OSError, ValueError):
            continue
        if title.startswith("ray::ServeReplica:") and title.split(":")[4].startswith(kind):
            found.append(int(place.name))
    return [pid for pid in found if is_below(pid, root, parents)]


def is_below(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        if pid == root:
            return True
        pid = parents.get(pid, 0)
    return False


def ask(client: httpx.Client, number: int) -> tuple[int, object]:
    """One request: its status, and the picture with its words."""
    body = {"messages": [{"role": "user", "content": PROMPTS[number % len(PROMPTS)]}], "seed": number % 6,
            "picture": "always", "num_inference_steps": 4}  # fmt: skip
    answer = client.post("/v1/chat/completions", json=body)
    if answer.status_code != 200:
        return answer.status_code, answer.headers.get("retry-after")
    message = answer.json()["choices"][0]["message"]
    return 200, (message["content"], [image["image_url"]["url"] for image in message["images"] or ()])


class Run:
    """All requests of a run.

    Attributes:
        seen: how often each outcome came.  `done`: requests that are over.
        figures: seconds, by what they were waited for.
    """

    def __init__(self, url: str, clients: int, requests: int):
        self.url, self.clients = url, clients
        self.waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(requests):
            self.waiting.put(number)
        self.seen: collections.Counter[str] = collections.Counter()
        self.done, self.lock = 0, threading.Lock()
        self.figures: dict[str, float] = {}
        self.latest = time.monotonic()
        with httpx.Client(base_url=url, timeout=600, trust_env=False) as client:
            self.reference = [ask(client, number)[1] for number in range(6)]

    def work(self) -> None:
        with httpx.Client(base_url=self.url, timeout=600, trust_env=False) as client:
            while True:
                try:
                    number = self.waiting.get_nowait()
                except queue.Empty:
                    return
                outcome, wait = self.outcome(client, number)
                with self.lock:
                    self.seen[outcome] += 1
                    self.done += 1
                if outcome == "answered":
                    self.latest = time.monotonic()
                time.sleep(wait)

    def outcome(self, client: httpx.Client, number: int) -> tuple[str, float]:
        try:
            status, told = ask(client, number)
        except httpx.HTTPError as problem:
            return f"broken ({type(problem).__name__})", 0.1
        if status == 200:
            return ("answered" if told == self.reference[number % 6] else "wrong"), 0
        if status in RETRYABLE and told is not None:
            return f"refused ({status})", min(float(str(told)), 2)
        return f"failed ({status})", 0


def kill_in_turn(run: Run, root: int, requests: int) -> None:
    """Kill one process of each kind as the requests go on; ends once all are replaced."""
    watches = []
    for part, kind in enumerate(KINDS, 1):
        while run.done < requests * part // (len(KINDS) + 1):
            time.sleep(0.02)
        before = replicas(root, kind)
        os.kill(before[0], signal.SIGKILL)
        print(f"killed {kind}, one of {len(before)}, after {run.done} requests", file=sys.stderr, flush=True)
        watches.append(threading.Thread(target=watch, args=(run, root, kind, before)))
        watches[-1].start()
    for thread in watches:
        thread.join()


def watch(run: Run, root: int, kind: str, before: list[int]) -> None:
    """Note how long the next answer took, and how long a new process."""
    began = time.monotonic()
    while run.latest < began and time.monotonic() < began + MOST:
        time.sleep(0.02)
    answered = time.monotonic() - began
    while not set(replicas(root, kind)) - set(before) and time.monotonic() < began + MOST:
        time.sleep(0.2)
    run.figures |= {f"{kind}_next_answer": answered, f"{kind}_new_process": time.monotonic() - began}


def started(port: int, more: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "llmga.serve.openai_api", "--engine", "ray", "--port", str(port), *more]
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    with httpx.Client(trust_env=False) as client:
        while True:
            if server.poll() is not None:
                raise SystemExit("the server did not start")
            try:
                if client.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                    return server
            except httpx.HTTPError:
                pass
            time.sleep(0.5)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--url", help="of a server that is there")
    parser.add_argument("--pid", type=int, help="of the process below which its replicas are")
    parser.add_argument("flags", nargs="*", help="of the server, after --")
    args = parser.parse_args(argv)
    server = None
    if args.url is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = started(port, args.flags or ["--config", str(ROOT / "deploy" / "serve-cpu.yaml")])
        args.url, args.pid = f"http://127.0.0.1:{port}", server.pid
    try:
        run = Run(args.url, args.clients, args.requests)
        threads = [threading.Thread(target=run.work) for _ in range(args.clients)]
        killer = threading.Thread(target=kill_in_turn, args=(run, args.pid, args.requests), daemon=True)
        began = time.monotonic()
        for thread in (*threads, killer):
            thread.start()
        for thread in threads:
            thread.join()
        killer.join(MOST)
        run.figures["seconds"] = time.monotonic() - began
    finally:
        if server is not None:
            server.terminate()
            server.wait(120)
    good = all(name == "answered" or name.startswith("refused") for name in run.seen)
    print(json.dumps(dict(run.seen) | {name: round(value, 1) for name, value in run.figures.items()}))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
