"""One set of weights, many visits."""

import time
from threading import Event, Lock, Thread

import pytest

from llmga.serve.page.painters import Brush


def slow(lock):
    """A generator that tells whether anybody else painted meanwhile."""
    inside = []

    def paint(prompt, *, on_step):
        inside.append(prompt)
        time.sleep(0.05)
        alone = inside == [prompt]
        inside.remove(prompt)
        return alone

    return Brush(paint, lock)


def test_nobody_paints_while_somebody_else_does():
    brush, found = slow(Lock()), []
    threads = [Thread(target=lambda name=name: found.append(brush(name, on_step=lambda *_: None))) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 3


def test_who_waits_for_the_painter_can_be_stopped():
    lock, stopped, waiting = Lock(), Event(), Event()

    class Stopped(Exception):
        pass

    def on_step(step, total):
        assert (step, total) == (0, 1)
        waiting.set()
        if stopped.is_set():
            raise Stopped

    with lock:
        failed = []

        def paint():
            try:
                slow(lock)("x", on_step=on_step)
            except Stopped:
                failed.append("stopped")

        thread = Thread(target=paint)
        thread.start()
        assert waiting.wait(10)
        stopped.set()
        thread.join(10)
    assert failed == ["stopped"]


def test_the_painter_is_free_after_a_mistake():
    lock = Lock()

    def broken(prompt, **options):
        raise ValueError

    with pytest.raises(ValueError):
        Brush(broken, lock)("x", on_step=lambda *_: None)
    assert not lock.locked()
