"""One at a time, in order."""

import threading
import time

import pytest

from llmga.assistant.shared_pipeline import FairLock


def test_turns_are_taken_in_the_order_of_coming():
    turns, order, threads = FairLock(), [], []

    def work(number):
        with turns.taken(lambda: None):
            order.append(number)

    with turns.taken(lambda: None):
        for number in range(5):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            while len(turns._line) < number + 2:
                time.sleep(0.001)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_as_many_as_there_are_places_pass_at_once():
    turns = FairLock(2)
    with turns.line() as first, turns.line() as second:
        assert first(0) and second(0)
        with turns.line() as third:
            assert not third(0.01)
    with turns.line() as fourth:
        assert fourth(0)


def test_who_does_not_want_any_more_leaves_the_line():
    turns = FairLock()

    def unwanted():
        raise KeyError("gone")

    with turns.taken(lambda: None), pytest.raises(KeyError), turns.taken(unwanted):
        pass
    with turns.taken(lambda: None):
        pass
