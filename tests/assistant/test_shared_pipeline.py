"""One set of weights, many sessions."""

import time
from threading import Event, Thread

import pytest

from llmga.assistant.fair_lock import FairLock
from llmga.assistant.shared_pipeline import SharedPipeline


def slow(turns):
    """A generator that tells whether anybody else painted meanwhile."""
    inside = []

    def paint(prompt, *, on_step):
        inside.append(prompt)
        time.sleep(0.05)
        alone = inside == [prompt]
        inside.remove(prompt)
        return alone

    return SharedPipeline(paint, turns)


def test_nobody_paints_while_somebody_else_does():
    brush, found = slow(FairLock()), []
    threads = [Thread(target=lambda name=name: found.append(brush(name, on_step=lambda *_: None))) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 3


def test_who_waits_for_the_painter_can_be_stopped():
    turns, stopped, waiting = FairLock(), Event(), Event()

    class Stopped(Exception):
        pass

    def on_step(step, total):
        assert (step, total) == (0, 1)
        waiting.set()
        if stopped.is_set():
            raise Stopped

    with turns.taken(lambda: None):
        failed = []

        def paint():
            try:
                slow(turns)("x", on_step=on_step)
            except Stopped:
                failed.append("stopped")

        thread = Thread(target=paint)
        thread.start()
        assert waiting.wait(10)
        stopped.set()
        thread.join(10)
    assert failed == ["stopped"]


def test_the_painter_is_free_after_a_mistake():
    turns = FairLock()

    def broken(prompt, **options):
        raise ValueError

    with pytest.raises(ValueError):
        SharedPipeline(broken, turns)("x", on_step=lambda *_: None)
    with turns.taken(lambda: pytest.fail("still taken")):
        pass
