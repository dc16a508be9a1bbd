from itertools import islice

from llmga.training.stream import StreamBatchSampler, seed_of


def test_seeds_differ_by_every_number_and_repeat():
    seeds = {seed_of(a, b, c) for a in range(3) for b in range(3) for c in range(3)}
    assert len(seeds) == 27 and seed_of(1, 2, 2) in seeds and all(0 <= seed < 2**63 for seed in seeds)


def test_a_pass_may_span_two_epochs_and_a_later_start_goes_on():
    passes = list(islice(StreamBatchSampler(5, 3, seed=0), 4))
    assert [position for each in passes for position, _ in each] == list(range(12))
    assert sorted(record for each in passes for _, record in each)[:2] == [0, 0]
    assert list(islice(StreamBatchSampler(5, 3, seed=0, first_pass=2), 2)) == passes[2:]


def test_processes_share_the_stream():
    alone = [key for each in islice(StreamBatchSampler(8, 4, 1), 3) for key in each]
    halves = [islice(StreamBatchSampler(8, 2, 1, rank=rank, processes=2), 3) for rank in (0, 1)]
    assert sorted(key for half in halves for each in half for key in each) == sorted(alone)
