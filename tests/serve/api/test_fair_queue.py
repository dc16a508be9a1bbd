"""Who is served next."""

import asyncio

import pytest

from llmga.serve.api.errors import ApiError
from llmga.serve.api.fair_queue import FairQueue


class Visits:
    """Clients at a queue; `served` is the order in which they were let in."""

    def __init__(self, *bounds):
        self.queue, self.served, self.leaves, self.tasks = FairQueue(*bounds), [], [], []

    async def come(self, clients):
        tasks = [asyncio.ensure_future(self._visit(client)) for client in clients]
        self.tasks += tasks  # which nothing else may hold
        await self.settle()
        return tasks

    async def _visit(self, client):
        self.leaves.append(await self.queue.acquire(client))
        self.served.append(client)

    async def settle(self):
        for _ in range(5):
            await asyncio.sleep(0)

    async def serve_all(self):
        await self.settle()
        while self.leaves:
            self.leaves.pop(0)()
            await self.settle()


def on_a_loop(test):
    def run():
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


@on_a_loop
async def test_clients_come_round_in_turn_whatever_each_has_waiting():
    visits = Visits(1, 20)
    await visits.come("aaaaabbc")
    await visits.serve_all()
    assert "".join(visits.served) == "aabcabaa"  # the first one came when nobody was there


@on_a_loop
async def test_no_more_are_at_work_than_may_be():
    visits = Visits(3, 20)
    queue = visits.queue
    await visits.come("a" * 9)
    assert queue.running == 3 and queue.waiting == 6 and queue.most_waiting == 6
    await visits.serve_all()
    assert queue.running == 0 and queue.waiting == 0 and len(visits.served) == 9


@on_a_loop
async def test_a_full_queue_tells_when_to_come_again():
    visits = Visits(1, 2)
    queue = visits.queue
    await visits.come("a" * 3)
    with pytest.raises(ApiError) as told:
        await queue.acquire("a")
    assert told.value.status == 429 and int(told.value.headers["Retry-After"]) >= 1
    assert queue.waiting == 2


@on_a_loop
async def test_nobody_fills_the_queue_against_others():
    visits = Visits(1, 4)
    queue = visits.queue
    greedy = await visits.come(["greedy"] * 5)
    others = await visits.come("bcb")
    refused = [task for task in (*greedy, *others) if task.done() and task.exception()]
    assert refused == [greedy[3], greedy[4], others[2]]
    assert queue.waiting == 4 == queue.bound


@on_a_loop
async def test_who_leaves_while_waiting_gives_up_the_place():
    visits = Visits(1, 5)
    _, waiting, _ = await visits.come("abc")
    waiting.cancel()
    await visits.serve_all()
    assert visits.served == ["a", "c"] and visits.queue.running == 0


@on_a_loop
async def test_who_leaves_just_when_called_gives_the_place_on():
    visits = Visits(1, 5)
    _, called, _ = await visits.come("abc")
    visits.leaves.pop()()
    called.cancel()
    await visits.serve_all()
    assert visits.served == ["a", "c"] and visits.queue.running == 0


@on_a_loop
async def test_who_waits_for_the_painter_lets_others_work_up_to_a_bound():
    visits = Visits(1, 20, 2)
    queue = visits.queue
    await visits.come("abcd")
    for served in ("ab", "abc", "abc"):
        visits.leaves[-1].step_aside()
        visits.leaves[-1].step_aside()  # for the second picture of an answer
        await visits.settle()
        assert "".join(visits.served) == served
    assert (queue.running, queue.aside, queue.waiting) == (3, 3, 1)
    await visits.serve_all()
    assert "".join(visits.served) == "abcd" and (queue.running, queue.aside) == (0, 0)


@on_a_loop
async def test_a_place_is_given_back_once():
    queue = FairQueue(1, 1)
    leave = await queue.acquire("a")
    leave()
    leave()
    assert queue.running == 0


@on_a_loop
async def test_a_closed_queue_sends_everybody_away():
    visits = Visits(1, 5)
    queue = visits.queue
    _, waiting = await visits.come("ab")
    queue.close()
    with pytest.raises(ApiError, match="about to end"):
        await waiting
    with pytest.raises(ApiError) as told:
        await queue.acquire("c")
    assert told.value.status == 503
