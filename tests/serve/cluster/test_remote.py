"""Models in replicas, under the contracts of those that are here: what is lost is done again, and nothing twice."""

import asyncio
import time

import pytest
from PIL import Image

from llmga.assistant.painting import MeasuredRestorer, restorer_of
from llmga.diffrir.restorers import restorer_name
from llmga.diffusers.families import INPAINTING, TEXT_TO_IMAGE
from llmga.errors import UserError
from llmga.llava.conversation import Conversation
from llmga.llava.planner import ask
from llmga.llava.sampling import Sampling
from llmga.serve.api.errors import ApiError
from llmga.serve.api.metrics import Metrics
from llmga.serve.cluster import calls, replicas
from llmga.serve.cluster.gate import Gate, RemoteQueue
from llmga.serve.cluster.messages import Begun, Ended, Painted, PaintOrder, Step
from llmga.serve.cluster.remote import RemotePipeline, RemotePlanner, RemotePrefixCache, RemoteRestorer, session_of
from llmga.serve.cluster.replicas import PainterReplica, PlannerReplica
from tests.serve.handles import InProcess, loop
from tests.serve.plain import PlainSource

SEEDED = Sampling(seed=3)


class LostError(calls.LateError):
    """As if the process of a replica were gone."""


class Faulty:
    """A replica that is lost after so many items, time after time, and then is well.

    Attributes: calls: how often it was called.
    """

    def __init__(self, *after, items):
        self.after, self.items, self.calls = list(after), items, 0

    async def reply(self, client, asked, sampling):
        async for item in self._items():
            yield item

    async def paint(self, order):
        async for item in self._items():
            yield item

    async def _items(self):
        self.calls += 1
        whole, limit = self.items, self.after.pop(0) if self.after else None
        for item in whole[:limit]:
            yield item
        if limit is not None:
            raise LostError


@pytest.fixture(scope="module")
def planner():
    replica = PlannerReplica(PlainSource())
    return InProcess(replica), asyncio.run(replica.facts())


@pytest.fixture(scope="module")
def painter():
    replica = PainterReplica(PlainSource())
    return InProcess(replica), asyncio.run(replica.facts())


def said(planner, text="hello"):
    return "".join(planner.reply(ask(Conversation(), text), SEEDED))


def test_a_reply_is_the_one_of_the_model(planner):
    remote = RemotePlanner(*planner)
    assert said(remote) == "You said: hello " and remote.ended_by == "marker" and remote.steers


def test_a_reply_ends_once_nobody_wants_it(planner):
    remote = RemotePlanner(*planner)
    list(remote.reply(ask(Conversation(), "hello"), SEEDED, lambda: True))
    assert remote.ended_by == "caller"


def test_a_conversation_comes_to_the_replica_that_has_read_it():
    replica = PlannerReplica(PlainSource())
    handle = InProcess(replica)
    cache = RemotePrefixCache(handle, asyncio.run(replica.facts()))
    first = Conversation().say("user", "hello")
    later = first.say("assistant", "You said: hello ").say("user", "history")
    planner, known = cache.take("anna", first)
    list(planner.reply(known, SEEDED))
    planner, known = cache.take("anna", later)
    list(planner.reply(known, SEEDED))
    assert len(set(handle.sessions)) == 1 and len(replica.cache._kept) == 1
    assert session_of("bert", first) != session_of("anna", first) != session_of("anna", Conversation().say("user", "x"))


def test_what_a_lost_replica_has_said_is_not_said_again(planner):
    faulty = Faulty(3, 1, items=[Begun(), "a ", "red ", "cat", Ended("marker")])
    remote = RemotePlanner(InProcess(faulty), planner[1])
    assert said(remote) == "a red cat" and faulty.calls == 3 and remote.ended_by == "marker"


def test_a_replica_that_says_something_else_is_no_replacement(planner):
    class Other(Faulty):
        async def _items(self):
            async for item in super()._items():
                yield "blue " if item == "red " and self.calls > 1 else item

    remote = RemotePlanner(InProcess(Other(3, items=[Begun(), "a ", "red ", "cat", Ended("marker")])), planner[1])
    with pytest.raises(ApiError) as refused:
        said(remote)
    assert refused.value.status == 503 and "Retry-After" in refused.value.headers


def test_where_replica_after_replica_is_lost_the_request_is_refused(planner):
    faulty = Faulty(*[1] * 10, items=[Begun(), "a"])
    with pytest.raises(ApiError) as refused:
        said(RemotePlanner(InProcess(faulty), planner[1]))
    assert refused.value.status == 503 and faulty.calls == calls.ATTEMPTS


def test_a_replica_that_does_not_begin_is_waited_for_only_so_long(planner, monkeypatch):
    monkeypatch.setattr(calls, "PATIENCE", 0.1)

    class Busy:
        async def reply(self, client, asked, sampling):
            await asyncio.sleep(60)
            yield Begun()

    began = time.monotonic()
    with pytest.raises(ApiError):
        said(RemotePlanner(InProcess(Busy()), planner[1]))
    assert time.monotonic() - began < 10


def test_a_picture_is_the_one_of_the_pipeline(painter):
    steps = []
    image = RemotePipeline.of(*painter)("green", seed=1, on_step=lambda *step: steps.append(step))
    assert image.getpixel((0, 0)) == (0, 250, 0) and steps == [(number, 4) for number in range(1, 5)]


@pytest.mark.parametrize(("previews", "told"), [(False, [1, 4]), (True, [1, 2, 3, 4])])
def test_steps_that_are_taken_fast_are_told_in_few_messages(painter, monkeypatch, previews, told):
    monkeypatch.setattr(replicas, "TELLING", 60)
    order = PaintOrder(TEXT_TO_IMAGE, "green", previews=previews, options={"seed": 1})
    reported = list(painter[0].options(stream=True).paint.remote(order))
    assert [item.number for item in reported if isinstance(item, Step)] == told


def test_a_lost_painter_is_replaced_and_its_steps_are_not_told_twice(painter):
    red = Image.new("RGB", (8, 8), "red")
    faulty = Faulty(3, items=[Begun(), *(Step(number, 4) for number in range(1, 5)), Painted(red, [])])
    steps = []
    image = RemotePipeline.of(InProcess(faulty), painter[1])("x", on_step=lambda *step: steps.append(step[0]))
    assert image.tobytes() == red.tobytes() and steps == [1, 2, 3, 4] and faulty.calls == 2


def test_a_refusal_is_that_of_the_pipeline(painter):
    with pytest.raises(UserError, match="does not paint this forbidden prompt"):
        RemotePipeline.of(*painter)("forbidden", on_step=lambda *_: None)


def test_who_wants_a_picture_no_longer_ends_its_painting(painter):
    replica = painter[0].replica.models.pipeline
    replica.pace, before = 0.05, replica.done

    class Enough(Exception):
        pass

    def on_step(step, total):
        raise Enough

    with pytest.raises(Enough):
        RemotePipeline.of(*painter)("green", on_step=on_step)
    time.sleep(0.3)
    replica.pace = 0.0
    assert replica.done - before <= 2


def test_questions_about_the_pipeline_are_asked_once(painter):
    handle = InProcess(painter[0].replica)
    remote = RemotePipeline.of(handle, painter[1])
    assert [remote.describe(steps=7)["steps"] for _ in range(3)] == [7, 7, 7] and len(handle.sessions) == 1
    assert remote.for_task(INPAINTING).path == "/secret/place/plain"


def test_a_masked_part_is_restored_by_the_painter_and_its_seam_is_known(painter):
    picture, mask = Image.new("RGB", (16, 16), "white"), Image.new("L", (16, 16))
    mask.paste(255, (4, 4, 12, 12))
    restore = MeasuredRestorer(RemoteRestorer(painter[0], "none"), [])
    pipeline = RemotePipeline.of(*painter).for_task(INPAINTING)
    image = pipeline("blue", image=picture, mask=mask, restore=restore, on_step=lambda *_: None)
    assert image.getpixel((8, 8)) == (0, 0, 250) and image.getpixel((0, 0)) == (255, 255, 255)
    assert len(restore.seams) == 1


def test_a_restorer_that_is_chosen_is_a_row_in_the_painter(painter):
    own = RemoteRestorer(painter[0], "none")
    chosen = restorer_of("match", own)
    assert restorer_name(own) == "none" and restorer_name(chosen) == "match" == chosen.asked
    image = Image.new("RGB", (8, 8), "red")
    assert own(image).tobytes() == image.tobytes()
    with pytest.raises(UserError, match="unknown restorer"):
        restorer_of("mach", own)


# The one queue.


def on_loop(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, loop()).result(20)


def queues(gate, count, at_once=2, bound=2):
    return [RemoteQueue(InProcess(gate), at_once, bound, beat=0.02) for _ in range(count)]


def test_the_bounds_are_those_of_all_applications_together():
    async def meet():
        gate = Gate(2, 1)
        first, second = queues(gate, 2, bound=1)
        releases = [await first.acquire("a"), await second.acquire("b")]
        waits = asyncio.ensure_future(first.acquire("c"))
        await asyncio.sleep(0.1)
        with pytest.raises(ApiError) as refused:
            await second.acquire("d")
        assert refused.value.status == 429 and int(refused.value.headers["Retry-After"]) >= 1
        assert (first.running, first.waiting, second.running, second.waiting) == (2, 1, 2, 1)
        releases.pop()()
        releases.append(await waits)
        for release in releases:
            release()
            release()  # more than once does no harm
        await asyncio.sleep(0.1)
        first.close(), second.close()
        return gate.queue.running

    assert on_loop(meet()) == 0


def test_who_leaves_the_queue_leaves_its_place_to_others():
    async def meet():
        gate = Gate(1, 5)
        (queue,) = queues(gate, 1)
        release = await queue.acquire("a")
        waits = asyncio.ensure_future(queue.acquire("b"))
        await asyncio.sleep(0.05)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        release()
        await asyncio.sleep(0.05)
        (await asyncio.wait_for(queue.acquire("c"), 5))()
        await asyncio.sleep(0.05)
        queue.close()
        return gate.queue.running, gate.queue.waiting

    assert on_loop(meet()) == (0, 0)


def test_a_queue_that_ends_lets_nobody_in_and_then_stops_what_is_at_work():
    async def meet():
        gate, told = Gate(1, 5), []
        (queue,) = queues(gate, 1)
        queue.ends = told.append
        release = await queue.acquire("a")
        waits = asyncio.ensure_future(queue.acquire("b"))
        await asyncio.sleep(0.05)
        left = [await gate.end()]
        for refused in (waits, queue.acquire("c")):
            with pytest.raises(ApiError) as problem:
                await refused
            assert problem.value.status == 503 and problem.value.code == "closing"
        await asyncio.sleep(0.1)
        left.append(await gate.end(stop=True))
        await asyncio.sleep(0.1)
        release()
        await asyncio.sleep(0.05)
        queue.close()
        return [*left, await gate.end()], told[0], told[-1]

    assert on_loop(meet()) == ([1, 1, 0], False, True)


def test_places_of_an_application_that_is_lost_fall_back():
    async def meet():
        gate = Gate(1, 5, forgotten=0.1)
        lost, alive = queues(gate, 2)
        await lost.acquire("a")
        lost._beating.cancel()  # as if its process were gone
        alive.start()
        (await asyncio.wait_for(alive.acquire("b"), 5))()
        alive.close()

    on_loop(meet())


def test_who_waits_for_a_picture_leaves_its_place_to_words():
    async def meet():
        gate = Gate(1, 5, line=1)
        (queue,) = queues(gate, 1)
        first = await queue.acquire("a")
        first.step_aside()
        second = await asyncio.wait_for(queue.acquire("b"), 5)
        seen = gate.queue.running, gate.queue.aside, queue.running, queue.aside
        first(), second()
        await asyncio.sleep(0.1)
        queue.close()
        return seen, gate.queue.running, gate.queue.aside

    assert on_loop(meet()) == ((2, 1, 2, 1), 0, 0)


def test_figures_are_those_of_all_applications_and_the_queues_are_one():
    async def meet():
        gate = Gate(2, 5)
        first, second = queues(gate, 2)
        metrics = [Metrics(each) for each in (first, second)]
        first.figures, second.figures = (each.text for each in metrics)
        alone = await first.all_figures()
        for number, each in enumerate(metrics, 1):
            each.pictures.labels("toy").inc(number)
        second.start()
        await asyncio.sleep(0.1)
        release = await first.acquire("a")
        told = await first.all_figures()
        release()
        second.close()
        return alone.decode(), told.decode(), first._holder, second._holder

    alone, told, *holders = on_loop(meet())
    assert "replica" not in alone and "llmga_running 0.0" in alone and "llmga_running 1.0" in told
    for number, holder in enumerate(holders, 1):
        assert f'llmga_pictures_total{{model="toy",replica="{holder}"}} {number}.0' in told
    assert len([line for line in told.splitlines() if line.startswith("llmga_waiting ")]) == 1


def test_a_queue_that_is_started_anew_learns_who_is_at_work():
    async def meet():
        handle = InProcess(Gate(2, 5))
        queue = RemoteQueue(handle, 2, 5, beat=0.02)
        release = await queue.acquire("a")
        handle.replica = fresh = Gate(2, 5)
        await asyncio.sleep(0.1)
        seen = fresh.queue.running
        release()
        await asyncio.sleep(0.1)
        queue.close()
        return seen, fresh.queue.running

    assert on_loop(meet()) == (1, 0)
