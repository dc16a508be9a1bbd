"""Processes that train together: how many there are, and DeepSpeed's launcher, which starts them on several nodes.

`python -m llmga.training.launch --hostfile hosts … --module llmga.llava.train.train …` takes what `deepspeed` takes.
The other nodes get the environment and the flags of this one: over ssh DeepSpeed hands on few variables, and what a
shell reads in their values and in flags is lost.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from llmga.command_line import quiet_libraries
from llmga.errors import UserError, command_line

# Beside those that DeepSpeed hands on: places of models and data, keys, threads, and how processes talk.
HANDED = ("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TOKENIZERS_", "WANDB_", "OMP_", "NCCL_", "TORCH_", "GLOO_")
SAYS_NO_COMMAND = ("--log_level", "warning")  # the command holds keys, and would be printed


@dataclass(frozen=True)
class Processes:
    """How many processes train together.

    Attributes:
        world: on all machines.
        here: on this machine.
        rank: number of this process, from 0.
    """

    world: int = 1
    here: int = 1
    rank: int = 0

    @classmethod
    def launched(cls) -> "Processes":
        """As torchrun and deepspeed say in the environment, or PROCESSES before they are started."""
        planned = max(1, int(os.environ.get("PROCESSES", 1)))
        nodes = int(os.environ.get("NODES", 1))
        world = int(os.environ.get("WORLD_SIZE", planned * nodes))
        last = int(os.environ.get("LOCAL_RANK", planned - 1))
        here = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("LOCAL_SIZE", last + 1)))
        return cls(world, max(here, last + 1), int(os.environ.get("RANK", 0)))


def spelled(word: str) -> str:
    """A word for pdsh to carry to a shell: one word there, whatever is in it."""
    return shlex.quote(word).replace("%", "%%")  # %n and others mean something to pdsh


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 2 for a launcher or a node that is not there, else that of the run."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] in (["-h"], ["--help"]):
        print(f"usage: python -m llmga.training.launch …\n\n{__doc__}\n`deepspeed --help` lists the flags.")
        return 0
    quiet_libraries()
    from deepspeed.launcher import multinode_runner, runner

    from llmga.runtime import free_port

    class Runner(multinode_runner.PDSHRunner):
        name = "pdsh"

        def add_export(self, key: str, var: str) -> None:
            if os.environ.get(key) == var:
                self.exports[key] = spelled(var)
            else:  # DeepSpeed's own, and lines of .deepspeed_env, which may mean the node's variables
                super().add_export(key, var)

        def parse_user_args(self) -> list[str]:
            return [spelled(word) for word in self.args.user_args]

    if "--hostfile" not in given:  # on one machine several runs may stand side by side
        given = ["--master_port", str(free_port()), *given]
    runner.PDSHRunner, runner.EXPORT_ENVS = Runner, [*runner.EXPORT_ENVS, *HANDED]
    try:
        runner.main([*SAYS_NO_COMMAND, *given])
    except (RuntimeError, FileNotFoundError) as problem:
        raise UserError(f"the nodes cannot be reached: {str(problem).rstrip('.')}.") from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
