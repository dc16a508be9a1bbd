"""Pictures a second with one painter and with two: `python benchmarks/server_replicas.py`.

It starts `llmga serve --engine ray` on the bundled models once for each number of painters, one thread each, and asks
for pictures from several clients at once.  Prints the ratio; two cores that nobody else uses should come near to 2.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def started(port: int, painters: int, more: list[str]) -> subprocess.Popen:
    flags = f"--engine ray --port {port} --device cpu --planners 1 --painters {painters} --at-once 16".split()
    command = [sys.executable, "-m", "llmga.serve.openai_api", *flags, *more]
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    with httpx.Client(trust_env=False) as client:
        while server.poll() is None:
            try:
                if client.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                    return server
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
    raise SystemExit("the server did not start")


def pictures_a_second(url: str, clients: int, pictures: int, steps: int) -> float:
    def paint(client: httpx.Client, seed: int) -> None:
        body = {"model": "llmga-toy-sdxl-t2i", "prompt": "a red circle", "seed": seed, "num_inference_steps": steps}
        client.post("/v1/images/generations", json=body).raise_for_status()

    def work(first: int) -> None:
        with httpx.Client(base_url=url, timeout=600, trust_env=False) as client:
            for seed in range(first, pictures, clients):
                paint(client, seed)

    with httpx.Client(base_url=url, timeout=600, trust_env=False) as client:
        for seed in range(8):  # every painter has painted once
            paint(client, seed)
    threads = [threading.Thread(target=work, args=(first,)) for first in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return pictures / (time.perf_counter() - began)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("flags", nargs="*", help="of the server, after --")
    args = parser.parse_args(argv)
    rates = []
    for painters in (1, 2):
        port = free_port()
        server = started(port, painters, args.flags)
        try:
            rates.append(pictures_a_second(f"http://127.0.0.1:{port}", args.clients, args.pictures, args.steps))
        finally:
            server.terminate()
            server.wait(120)
    figures = {"pictures_a_second_1": rates[0], "pictures_a_second_2": rates[1], "ratio": rates[1] / rates[0]}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
