"""One at a time, in order."""

import threading
import time

import pytest

from llmga.assistant.fair_lock import Company, FairLock


def test_turns_are_taken_in_the_order_of_coming():
    turns, order, threads = FairLock(), [], []

    def work(number):
        with turns.taken(lambda: None):
            order.append(number)

    with turns.taken(lambda: None):
        for number in range(5):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            while turns.waiting < number + 2:
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


def served(turns, names):
    """Who gets it in which order, all having come while somebody else held it."""
    order, threads = [], []

    def work(name):
        with turns.taken(lambda: None, who=name):
            order.append(name)

    with turns.taken(lambda: None, who=names[0]):
        for number, name in enumerate(names):
            threads.append(threading.Thread(target=work, args=(name,)))
            threads[-1].start()
            while turns.waiting < number + 2:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    return "".join(order)


def test_whoever_comes_often_lets_others_come_round_in_turn():
    turns = FairLock()
    assert served(turns, "aaaabbc") == "bcabaaa"
    assert served(turns, "ab") == "ba", "and no other name is remembered for ever"
    assert len(turns._turns) <= 3


def test_company_is_held_together_up_to_its_bound():
    turns, party = FairLock(), Company("the same", 2)
    with turns.line(company=party) as first, turns.line(company=party) as second, turns.line(company=party) as third:
        assert first(0) and second(0) and not third(0)
        with turns.line(company=Company("another", 2)) as stranger:
            assert not stranger(0.01)


def test_who_wants_it_alone_is_not_overtaken_by_company():
    turns, party = FairLock(), Company("the same", 9)
    with turns.line() as alone, turns.line(company=party) as later:
        assert alone(0) and not later(0)
    with turns.line(company=party) as first, turns.line() as alone, turns.line(company=party) as late:
        assert first(0) and not alone(0) and not late(0.01)
