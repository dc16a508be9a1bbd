"""A server that is asked to end while something is at work that does not even stop."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

import llmga

ROOT = Path(llmga.__file__).resolve().parent.parent
STUBBORN = """
import sys, time
from llmga.diffrir.restorers import RESTORERS
from llmga.serve.api import logs
from llmga.serve.api.app import build_app
from llmga.serve.api.auth import ApiKeys
from llmga.serve.api.connections import ConnectionLimiter
from llmga.llava.passthrough import PassthroughPlanner
from llmga.serve.api.building import build_service
from llmga.serve.api.options import build_parser, server_options
from llmga.assistant.loading import Models
from llmga.serve.api.server import Server, bind

class Painter:
    path = "stubborn"
    def __call__(self, prompt, **options):
        print("painting", flush=True)
        while True:  # no step ever ends
            time.sleep(0.01)
    def describe(self, **given):
        return {"steps": 1, "guidance_scale": 1.0}
    def report(self, prompt):
        return ""
    def use_sampler(self, name):
        pass

args = build_parser().parse_args(["--port", "0", "--grace", sys.argv[1]])
args.model_path = args.sdmodel_id = "stubborn"
logs.configure()
service = build_service(server_options(args), Models(PassthroughPlanner, Painter(), RESTORERS["none"], ()))
server = Server(build_app(service, ApiKeys()), service.scheduler, args.grace, ConnectionLimiter(9, 9))
server.run(sockets=[bind("127.0.0.1", 0)])
"""


@pytest.mark.parametrize(("grace", "signals"), [("0.1", [signal.SIGTERM]), ("600", [signal.SIGTERM, signal.SIGINT])])
def test_the_end_of_grace_and_a_second_signal_end_it_whatever_goes_on(grace, signals):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", STUBBORN, grace], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, env=environment)  # fmt: skip
    log = []
    for line in process.stderr:
        log.append(line)
        if '"ready"' in line:
            break
    url = json.loads(log[-1])["url"]
    asking = threading.Thread(target=asked, args=(f"{url}/images/generations", process))
    asking.start()
    assert process.stdout.readline() == "painting\n"
    for each in signals:
        process.send_signal(each)
        if each is not signals[-1]:
            log += iter_until(process.stderr, "Shutting down")
    _, rest = process.communicate(timeout=60)
    asking.join()
    last = json.loads(rest.splitlines()[-1])
    assert process.returncode == 128 + signals[-1] == last["code"] and last["event"] == "ended" and last["left"] == 1
    assert "Traceback" not in "".join(log) + rest


def iter_until(lines, word):
    for line in lines:
        yield line
        if word in line:
            return


def asked(url, process):
    with suppress(httpx.HTTPError):  # the connection breaks off
        httpx.post(url, json={"prompt": "red", "model": "stubborn"}, timeout=120, trust_env=False)
        process.kill()  # it was not stubborn at all
