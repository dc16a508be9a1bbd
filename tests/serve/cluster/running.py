"""A small cluster with plain models: `python -m tests.serve.cluster.running PORT BOARDS`; a signal ends it."""

import argparse
import sys
from pathlib import Path

from llmga.serve.api import logs
from llmga.serve.cluster.launch import run
from tests.serve.cluster.flags import GIVEN, PlainFlags

SMALL = {"ray_actor_options": {"num_cpus": 0.01, "num_gpus": 0}}
OVERRIDES = {"Ingress": SMALL, "Gate": SMALL, "Planner": {"num_replicas": 2, **SMALL},
             "Painter": {"num_replicas": 2, **SMALL}}  # fmt: skip

if __name__ == "__main__":
    logs.configure()
    port, boards = sys.argv[1:]
    place = {"host": "127.0.0.1", "port": int(port)}
    ending = argparse.Namespace(ray_address=None, grace=60.0)
    sys.exit(run(PlainFlags(GIVEN, Path(boards)), OVERRIDES, place, "HeadOnly", ending))
