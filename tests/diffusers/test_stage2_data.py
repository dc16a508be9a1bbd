import io
import json
import multiprocessing
import pickle
import shutil
import struct
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from llmga.diffusers.datasets.captioned import CaptionedImages
from llmga.diffusers.datasets.framing import frame
from llmga.diffusers.datasets.holes import hole
from llmga.diffusers.datasets.image_stores import LmdbStore
from llmga.diffusers.datasets.shapes import bucketed
from llmga.diffusers.latents import posterior
from llmga.diffusers.long_prompt import LAYOUTS, encode_texts
from llmga.diffusers.train.batches import loader
from llmga.diffusers.train.latent_cache import cached_latents
from llmga.diffusers.train.prompt_embeddings import cached_embeddings
from llmga.diffusers.train.trainer import Stage2Trainer, open_records
from llmga.errors import UserError
from llmga.training.skipped import Unreadable
from llmga.training.stream import BucketBatchSampler, StreamBatchSampler
from tests.faults import PICTURE_FAULTS

NAMES = ["plain-0.png", "plain-1.png", "plain-2.png"]
CAPTIONS = ["first", "second", "third"]
PAIRS = list(zip(NAMES, CAPTIONS, strict=True))


def write_lmdb(folder, world, names=NAMES):
    with lmdb.open(str(folder), map_size=1 << 24) as database, database.begin(write=True) as transaction:
        for name in names:
            transaction.put(name.encode(), (world / name).read_bytes())


def as_json(root, world):
    (root / "list.json").write_text(json.dumps([{"image": n, "caption": c} for n, c in PAIRS]))
    return root / "list.json", (world,)


def as_jsonl(root, world):
    lines = [json.dumps({"image": n, "text": c}) for n, c in PAIRS]
    (root / "list.jsonl").write_text("\n".join(lines) + "\n")
    return root / "list.jsonl", (world,)


def as_conversations_in_lmdb(root, world):
    """As the original has LAION-Aesthetic, in two databases."""
    records = [{"image": n, "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": c}]}
               for n, c in PAIRS]  # fmt: skip
    (root / "list.json").write_text(json.dumps(records))
    write_lmdb(root / "a", world, NAMES[:1])
    write_lmdb(root / "b", world, NAMES[1:])
    return root / "list.json", (root / "a", root / "b")


def as_coco(root, world):
    for number, name in enumerate(NAMES):
        Image.open(world / name).save(root / f"{number:012d}.jpg", quality=100, subsampling=0)
    (root / "coco.json").write_text(json.dumps([{"image_id": i, "caption": c} for i, c in enumerate(CAPTIONS)]))
    return root / "coco.json", (root,)


def as_imagefolder(root, world):
    lines = [json.dumps({"file_name": n, "caption": c}) for n, c in PAIRS]
    for name in NAMES:
        (root / name).write_bytes((world / name).read_bytes())
    (root / "metadata.jsonl").write_text("\n".join(lines))
    return root, ()


def as_imagefolder_of_csv(root, world):
    as_imagefolder(root, world)
    (root / "metadata.jsonl").unlink()
    (root / "metadata.csv").write_text("\n".join(["file_name,text", *(f"{n},{c}" for n, c in PAIRS)]) + "\n")
    return root, ()


def as_texts_beside_pictures(root, world):
    as_imagefolder(root, world)
    (root / "metadata.jsonl").unlink()
    for name, caption in PAIRS:
        (root / name).with_suffix(".txt").write_text(caption + "\n")
    return root, ()


def as_parquet(root, world):
    pictures = [{"bytes": (world / n).read_bytes(), "path": n} for n in NAMES]
    parquet.write_table(pa.table({"image": pictures, "caption": CAPTIONS}), root / "data.parquet")
    return root / "data.parquet", ()


def as_parquet_of_bytes_in_a_folder(root, world):
    pictures = [(world / n).read_bytes() for n in NAMES]
    parquet.write_table(pa.table({"image": pictures[:2], "text": CAPTIONS[:2]}), root / "a.parquet")
    parquet.write_table(pa.table({"image": pictures[2:], "text": CAPTIONS[2:]}), root / "b.parquet")
    return root, ()


def as_parquet_of_names(root, world):
    parquet.write_table(pa.table({"image": NAMES, "caption": CAPTIONS}), root / "data.parquet")
    return root / "data.parquet", (world,)


KINDS = [as_json, as_jsonl, as_conversations_in_lmdb, as_coco, as_imagefolder, as_imagefolder_of_csv,
         as_texts_beside_pictures, as_parquet,
         as_parquet_of_bytes_in_a_folder, as_parquet_of_names]  # fmt: skip


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_every_form_of_data_gives_the_same_pictures_and_captions(make, world, tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    path, places = make(root, world)
    records = CaptionedImages([str(path)], list(map(str, places)), tmp_path / "cache")
    assert [records.caption(i, Random(0)) for i in range(len(records))] == CAPTIONS
    for index, name in enumerate(NAMES):
        drawn = np.asarray(Image.open(world / name).convert("RGB")).astype(int)
        read = records.picture(index)
        assert read.mode == "RGB" and records.size(index) == drawn.shape[:2]
        assert np.abs(np.asarray(read) - drawn).mean() < (3 if make is as_coco else 1e-9)
        assert records.stamp(index)
    assert len({records.name(i) for i in range(3)}) == 3
    again = pickle.loads(pickle.dumps(records))  # as workers get it
    assert again.picture(2).tobytes() == records.picture(2).tobytes()


def test_every_picture_with_texts_beside_needs_one_and_another_picture_is_another_stamp(world, tmp_path):
    (tmp_path / "source").mkdir()
    source, _ = as_texts_beside_pictures(tmp_path / "source", world)
    before = CaptionedImages([str(source)], [], tmp_path / "cache")
    shutil.copy(world / NAMES[0], source / NAMES[1])
    assert CaptionedImages([str(source)], [], tmp_path / "cache").stamp(0) != before.stamp(0)
    (source / NAMES[2]).with_suffix(".txt").unlink()
    with pytest.raises(UserError, match="caption '.*plain-2.txt' of 'plain-2.png' cannot be read; write it as UTF-8"):
        CaptionedImages([str(source)], [], tmp_path / "cache")


def test_sources_are_counted_through_and_picture_names_searched_in_order(world, tmp_path):
    (tmp_path / "one.json").write_text(json.dumps([{"image": "plain-0.png", "caption": "one"}]))
    paths = [str(tmp_path / "one.json"), str(world / "train.json"), str(tmp_path / "one.json")]
    records = CaptionedImages(paths, [str(tmp_path), str(world)], tmp_path / "cache")
    assert len(records) == 8
    assert [records.caption(i, Random(0)) for i in (0, 7)] == ["one", "one"]
    assert records.caption(1, Random(0)) == json.loads((world / "train.json").read_text())[0]["caption"]
    assert records.picture(0).tobytes() == records.picture(1).tobytes()


def test_now_and_then_a_picture_has_the_caption_it_was_found_with(world, tmp_path):
    (tmp_path / "originals.json").write_text(json.dumps({"plain-0.png": "found"}))
    records = CaptionedImages(
        [str(world / "train.json")], [str(world)], tmp_path, originals=str(tmp_path / "originals.json")
    )
    seen = Counter(records.caption(0, Random(seed)) == "found" for seed in range(2000))
    assert seen[True] / 2000 == pytest.approx(0.05, abs=0.015)
    assert {records.caption(1, Random(seed)) for seed in range(100)} == {records.caption(1, Random(0))}
    assert "found" in set(records.captions())


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_an_lmdb_opens_again_in_another_process(world, tmp_path, way):
    write_lmdb(tmp_path / "db", world)
    place = LmdbStore(tmp_path / "db")
    assert place.find("nothing") is None and place.stamp("nothing") == ""
    with ProcessPoolExecutor(1, multiprocessing.get_context(way)) as pool:
        assert pool.submit(place.find, NAMES[0]).result(60) == place.find(NAMES[0]) == (world / NAMES[0]).read_bytes()


def test_a_damaged_lmdb_is_told(tmp_path):
    (tmp_path / "data.mdb").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be opened"):
        LmdbStore(tmp_path).find("a")


BROKEN = ["", "{}", "[]", '[{"image": "a.png"}]', '[{"image": 1.5, "caption": "a"}]', '["a"]',
          '[{"image": "a.png", "caption": "a", "mask": 3}]', '[{"image": "a.png", "conversations": []}]']  # fmt: skip


@pytest.mark.parametrize("text", BROKEN)
def test_wrong_training_lists_are_told(tmp_path, text):
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(UserError, match="train.json"):
        CaptionedImages([str(tmp_path / "train.json")], [str(tmp_path)], tmp_path)


def damaged_parquet(root):
    (root / "data.parquet").write_bytes(b"PAR1 and no more")
    return root / "data.parquet"


def parquet_without_captions(root):
    parquet.write_table(pa.table({"image": ["a.png"], "size": [3]}), root / "data.parquet")
    return root / "data.parquet"


def parquet_of_numbers(root):
    parquet.write_table(pa.table({"image": ["a.png"], "caption": [3]}), root / "data.parquet")
    return root / "data.parquet"


def folder_without_captions(root):
    Image.new("RGB", (8, 8)).save(root / "a.png")
    return root


def unknown_ending(root):
    (root / "data.rows").write_text("image,caption\n")
    return root / "data.rows"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (damaged_parquet, "cannot be read"),
        (parquet_without_captions, "no column `caption`"),
        (parquet_of_numbers, "no texts"),
        (folder_without_captions, "pictures without captions"),
        (unknown_ending, ".rows"),
        (lambda root: root / "nothing.parquet", "not there"),
        (lambda root: root, "holds no pictures, tars or parquet files"),
    ],
)
def test_wrong_tables_are_told(tmp_path, make, message):
    (tmp_path / "source").mkdir()
    path = make(tmp_path / "source")
    with pytest.raises(UserError, match=message):
        CaptionedImages([str(path)], [], tmp_path / "cache")


def test_pictures_that_cannot_be_used_are_named(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    records = [{"image": "bad.png", "caption": "a"}, {"image": "gone.png", "caption": "b"}]
    (tmp_path / "train.json").write_text(json.dumps(records))
    captioned = CaptionedImages([str(tmp_path / "train.json")], [str(tmp_path)], tmp_path)
    for index, name in enumerate(("bad.png", "gone.png")):
        for read in (captioned.picture, captioned.size):
            with pytest.raises(UserError, match=name):
                read(index)


@pytest.mark.parametrize("change", [{}, {"buckets": True}, {"task": "inpainting"}])
def test_a_damaged_picture_is_told_and_another_of_its_shape_takes_its_place(config, world, tmp_path, capsys, change):
    folder = shutil.copytree(world, tmp_path / "world")
    names = [record["image"] for record in json.loads((folder / "mixed.json").read_text())]
    damaged = folder / names[1]
    damaged.write_bytes(damaged.read_bytes()[:200])
    config = replace(config, data=(str(folder / "mixed.json"),), images=(str(folder),), cache_latents=False, **change)
    trainer = Stage2Trainer(config)
    taken, standing_in = (trainer.examples[(5, index)] for index in (1, 2))
    assert taken.captions == standing_in.captions and torch.equal(taken.pixels, standing_in.pixels)
    trainer.fit()
    assert capsys.readouterr().err.count(f"passed over: the training picture '{names[1]}' cannot be used") == 1
    for name in names:
        (folder / name).write_bytes(b"no picture")
    with pytest.raises(UserError, match=f"'{names[4]}' cannot be used"):
        trainer.examples[(0, 4)]


def truncated(path):
    noise(300, 200).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:2000])


def bomb(path):
    """A head that promises 400 megapixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)))


FAULTS = PICTURE_FAULTS | {"truncated": truncated, "a bomb": bomb}


def spoilt(world, tmp_path, faults):
    """The training folder of the mixed list with a fault for each number of a record."""
    folder = shutil.copytree(world, tmp_path / "world", dirs_exist_ok=True)
    names = [record["image"] for record in json.loads((folder / "mixed.json").read_text())]
    for number, fault in faults.items():
        FAULTS[fault](folder / names[number])
    return folder, names


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("change", [{}, {"buckets": True}, {"task": "inpainting"}])
def test_cached_latents_pass_over_what_training_without_a_cache_does(config, world, tmp_path, capsys, fault, change):
    folder, names = spoilt(world, tmp_path, {1: fault})
    config = replace(config, data=(str(folder / "mixed.json"),), images=(str(folder),), **change)
    caching, reading = (
        Stage2Trainer(replace(config, cache_latents=cache, run=str(tmp_path / f"run-{cache}")))
        for cache in (True, False)
    )
    for position, index in enumerate([*range(len(names)), 1]):
        cached, read = (trainer.examples[(position, index)] for trainer in (caching, reading))
        assert cached.captions == read.captions and torch.equal(cached.dropped, read.dropped)
        assert torch.equal(cached.time_ids, read.time_ids)
        posterior_of_read = posterior(reading.pipe.vae, read.pixels)
        torch.testing.assert_close(cached.mean, posterior_of_read[0], atol=1e-5, rtol=0)
    caching.fit()
    told = capsys.readouterr().err
    assert told.count("passed over: the training picture") == 2  # once for each of the two runs
    assert f"1 picture was passed over; {str(tmp_path / 'run-True' / 'left_out.jsonl')!r} says why." in told
    listed = [json.loads(line) for line in (tmp_path / "run-True/left_out.jsonl").read_text().splitlines()]
    assert [line["picture"] for line in listed] == [names[1]]
    Stage2Trainer(replace(config, cache_latents=True, run=str(tmp_path / "run-True"))).examples[(0, 1)]
    assert "passed over" not in capsys.readouterr().err


def test_a_shape_of_damaged_pictures_alone_takes_another_picture(config, world, tmp_path):
    folder, names = spoilt(world, tmp_path, {})
    records = json.loads((folder / "mixed.json").read_text())
    noise(64, 300).save(folder / "tall.png")
    (folder / "tall.png").write_bytes((folder / "tall.png").read_bytes()[:3000])  # its head says its shape
    (folder / "mixed.json").write_text(json.dumps([*records, {"image": "tall.png", "caption": "tall"}]))
    config = replace(config, data=(str(folder / "mixed.json"),), images=(str(folder),), buckets=True, workers=1)
    cached, read = (
        Stage2Trainer(replace(config, cache_latents=cache, run=str(tmp_path / f"run-{cache}")))
        for cache in (True, False)
    )
    last = len(records)
    both = [trainer.examples[(3, last)] for trainer in (cached, read)]
    assert both[0].captions == both[1].captions == [records[0]["caption"]]
    assert both[0].mean.shape[-2:] == tuple(side // 8 for side in read.shapes[last])
    torch.testing.assert_close(both[0].mean, posterior(read.pipe.vae, both[1].pixels)[0], atol=1e-5, rtol=0)
    cached.fit()


@pytest.mark.parametrize("cache", [True, False])
def test_a_run_of_damaged_pictures_alone_stops_with_a_sentence(config, world, tmp_path, capsys, cache):
    faults = list(FAULTS)
    folder, names = spoilt(world, tmp_path, {number: faults[number % len(faults)] for number in range(5)})
    listed = [record for record in json.loads((folder / "mixed.json").read_text()) if record["image"] in names[:5]]
    (folder / "mixed.json").write_text(json.dumps(listed))
    config = replace(config, data=(str(folder / "mixed.json"),), images=(str(folder),), cache_latents=cache)
    with pytest.raises(UserError, match=r"^the training picture '.*Nor can \d more be used") as problem:
        Stage2Trainer(config).fit()
    assert "\n" not in str(problem.value)
    assert not list(Path(config.run).glob("latents-*"))


def test_a_row_without_a_picture_is_passed_over(world, tmp_path):
    image = {"bytes": (world / NAMES[0]).read_bytes(), "path": None}
    rows = pa.table({"image": [None, {"bytes": None, "path": None}, image], "caption": CAPTIONS})
    parquet.write_table(rows, tmp_path / "data.parquet")
    records = CaptionedImages([str(tmp_path / "data.parquet")], [], tmp_path / "cache")
    for index in (0, 1):
        with pytest.raises(Unreadable, match="is empty"):
            records.picture(index)
    assert records.picture(2).size


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_picture_is_one_sentence_whoever_reads_it(config, tmp_path, workers):
    (tmp_path / "train.json").write_text('[{"image": "gone.png", "caption": "b"}]')
    config = replace(config, data=(str(tmp_path / "train.json"),), cache_latents=False)
    trainer = Stage2Trainer(config)
    with pytest.raises(UserError, match="^the training picture 'gone.png' is in none of --images") as problem:
        next(loader(trainer.examples, StreamBatchSampler(1, 1, 0), workers))
    assert "\n" not in str(problem.value)


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def seen(framed):
    return ((framed.pixels + 1) * 127.5).round().permute(1, 2, 0).numpy()


def test_framing_states_the_crop_of_the_picture_that_is_seen():
    image = noise(96, 64)
    for seed in range(8):
        framed = frame(image, (64, 64), center_crop=False, flip=True, rng=Random(seed))
        mirrored = Random(seed).random() < 0.5
        height, width, top, left, *target = framed.time_ids
        cut = (ImageOps.mirror(image) if mirrored else image).crop((left, top, left + 64, top + 64))
        assert (height, width, top, target) == (64, 96, 0, [64, 64])
        assert np.array_equal(np.asarray(cut), seen(framed))
    centred = frame(image, (32, 32), center_crop=True, flip=False, rng=Random(0))
    assert centred.time_ids == (64, 96, 0, 8, 32, 32)


@given(st.integers(8, 90), st.integers(8, 90), st.integers(1, 5), st.integers(1, 5), st.booleans(), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_mask_and_picture_undergo_the_same(width, height, rows, columns, center, seed):
    """A picture that shows its own mask still does after scaling, mirroring and cutting, away from the mask's edge."""
    mask = Image.new("L", (width, height))
    mask.paste(255, (0, 0, width // 2, height // 3))
    shape = 8 * rows, 8 * columns
    framed = frame(Image.merge("RGB", [mask] * 3), shape, center_crop=center, flip=True, rng=Random(seed), mask=mask)
    assert framed.pixels.shape == (3, *shape) and framed.mask.shape == (1, *shape)
    assert set(framed.mask.unique().tolist()) <= {0.0, 1.0}
    clear = framed.pixels[0].abs() > 0.999
    assert torch.equal((framed.pixels[0] > 0)[clear], (framed.mask[0] > 0)[clear])
    height_then, width_then, top, left, *target = framed.time_ids
    assert (height_then, width_then) == (height, width) and tuple(target) == shape and top >= 0 and left >= 0


def test_a_record_may_bring_its_own_mask(config, world, tmp_path):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 64, 16))
    mask.save(tmp_path / "mask.png")
    Image.new("L", (32, 32)).save(tmp_path / "small.png")
    records = [{"image": "plain-0.png", "caption": "a", "mask": name} for name in ("mask.png", "small.png")]
    (tmp_path / "train.json").write_text(json.dumps(records))
    trainer = Stage2Trainer(replace(config, task="inpainting", data=(str(tmp_path / "train.json"),),
                              images=(str(world), str(tmp_path))))  # fmt: skip
    assert torch.equal(trainer.examples[(0, 0)].masks[0, 0], torch.from_numpy(np.asarray(mask) / 255).float())
    with pytest.raises(UserError, match="32x32"):
        trainer.examples[(1, 1)]


def test_masks_of_a_table_lie_in_the_places(world, tmp_path):
    Image.new("L", (64, 64), 255).save(tmp_path / "mask.png")
    picture = (world / "plain-0.png").read_bytes()
    table = pa.table({"image": [picture, picture], "caption": ["a", "b"], "mask": ["mask.png", None]})
    parquet.write_table(table, tmp_path / "data.parquet")
    records = CaptionedImages([str(tmp_path / "data.parquet")], [str(tmp_path)], tmp_path / "cache")
    assert records.mask(0).getextrema() == (255, 255) and records.mask(1) is None


def test_holes_cover_the_same_share_of_every_size_and_sometimes_all():
    def mean(side, **options):
        return np.mean([hole((side, side), np.random.default_rng(i), **options).mean() for i in range(400)])

    assert mean(64, whole=0) == pytest.approx(mean(512, whole=0), abs=0.03)
    assert mean(64, whole=0, scale=2) > mean(64, whole=0) + 0.05
    full = [hole((32, 32), np.random.default_rng(i)).all() for i in range(400)]
    assert np.mean(full) == pytest.approx(0.25, abs=0.06)


def test_every_record_is_seen_once_an_epoch_by_one_process_or_two():
    alone = [key for batch in islice(StreamBatchSampler(8, 2, 0), 8) for key in batch]
    assert sorted(i for _, i in alone[:8]) == sorted(i for _, i in alone[8:]) == list(range(8))
    shared = [
        key
        for rank in (0, 1)
        for batch in islice(StreamBatchSampler(8, 2, 0, rank=rank, processes=2), 4)
        for key in batch
    ]
    assert sorted(shared) == sorted(alone)
    assert next(iter(StreamBatchSampler(8, 2, 0, first_pass=3))) == alone[6:8]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_passes_of_buckets_are_of_one_kind_and_miss_nothing(kinds, size, processes):
    orders = [BucketBatchSampler(kinds, size, 5, rank=rank, processes=processes) for rank in range(processes)]
    epochs = [list(islice(order, 2 * order.passes)) for order in orders]
    for epoch in (0, 1):
        mine = [passes[epoch * orders[0].passes : (epoch + 1) * orders[0].passes] for passes in epochs]
        assert {record for passes in mine for each in passes for _, record in each} == set(range(len(kinds)))
    for each in zip(*epochs, strict=True):
        assert len({kinds[record] for part in each for _, record in part}) == 1
    positions = [position for passes in epochs for each in passes for position, _ in each]
    assert sorted(positions) == list(range(len(positions)))
    later = BucketBatchSampler(kinds, size, 5, first_pass=orders[0].passes, processes=processes)
    assert next(iter(later)) == epochs[0][orders[0].passes]


def test_buckets_suit_the_pictures_and_sizes_are_measured_once(config, world, monkeypatch):
    config = replace(config, data=(str(world / "mixed.json"),))
    records = open_records(config)
    shapes = bucketed(records, 64, 16, Path(config.run))
    for index in range(len(records)):
        height, width = records.size(index)
        best = min(shapes.options, key=lambda shape: abs(shape[0] / shape[1] - height / width))
        assert shapes[index] == best and all(side % 16 == 0 for side in best)
    assert len({shapes[index] for index in range(len(records))}) >= 3
    monkeypatch.setattr(CaptionedImages, "size", None)
    assert list(bucketed(records, 64, 16, Path(config.run)).of) == list(shapes.of)


def test_a_turned_picture_is_measured_as_it_is_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(40, 20).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "train.json").write_text('[{"image": "a.jpg", "caption": "a"}]')
    records = CaptionedImages([str(tmp_path / "train.json")], [str(tmp_path)], tmp_path)
    assert records.size(0) == (40, 20) == records.picture(0).size[::-1]


def test_cached_latents_are_made_once_and_know_their_pictures(config, world, tmp_path, goldens):
    from llmga.diffusers.datasets.shapes import Shapes

    vae, records, cache = goldens.pipeline("sdxl").vae, open_records(config), tmp_path / "cache"
    first = cached_latents(records, vae, Shapes([(64, 64)]), cache)
    again = cached_latents(records, vae, Shapes([(64, 64)]), cache)
    assert len(list(cache.iterdir())) == 1
    assert all(torch.equal(first[i]["mean"], again[i]["mean"]) for i in range(6))
    cached_latents(records, vae, Shapes([(32, 32)]), cache)
    assert len(list(cache.iterdir())) == 2
    turned = json.loads((world / "train.json").read_text())[::-1]
    (tmp_path / "turned.json").write_text(json.dumps(turned))
    swapped = cached_latents(open_records(replace(config, data=(str(tmp_path / "turned.json"),))), vae,
                             Shapes([(64, 64)]), cache)  # fmt: skip
    assert len(list(cache.iterdir())) == 3
    torch.testing.assert_close(swapped[0]["mean"], first[5]["mean"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_cached_captions_are_the_ones_encoded_online(config, goldens, family, layout, tmp_path):
    pipe, records = goldens.pipeline(family), open_records(config)
    words = cached_embeddings(pipe, records, layout, tmp_path / "cache")
    assert cached_embeddings(pipe, records, layout, tmp_path / "cache").hidden.shape == words.hidden.shape
    assert len(list((tmp_path / "cache").iterdir())) == 1
    for some in ([0, 3, 1], [2, 1], [3]):
        texts = [records.caption(index, Random(0)) for index in some] + [""]
        with torch.no_grad():
            online = encode_texts(pipe, texts, layout)
        for ours, theirs in zip(words(texts), online, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_pictures_in_memory_are_told_apart(tmp_path):
    """Two rows with the same bytes are two pictures; what is wrong with one is said by file and row."""
    good = io.BytesIO()
    noise(16, 16).save(good, "PNG")
    table = pa.table({"image": [good.getvalue(), b"broken"], "caption": ["a", "b"]})
    parquet.write_table(table, tmp_path / "data.parquet")
    records = CaptionedImages([str(tmp_path / "data.parquet")], [], tmp_path / "cache")
    with pytest.raises(UserError, match=r"data\.parquet#1"):
        records.picture(1)
