import subprocess
import sys

from llmga.runtime import peak_memory


def test_a_childs_peak_is_its_own():
    held = bytearray(300_000_000)
    held[::4096] = b"1" * len(held[::4096])
    command = [sys.executable, "-c", "from llmga.runtime import peak_memory; print(peak_memory())"]
    lone = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    more = [sys.executable, "-c", "x = bytearray(b'1') * 200_000_000; " + command[-1]]
    loaded = int(subprocess.run(more, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    assert peak_memory() > 300_000_000 and 150_000_000 < loaded - lone < 250_000_000
