"""Every form of captioned pictures, made as its tool makes it, gives the same pictures and captions."""

import base64
import io
import json
import tarfile
from itertools import chain
from pathlib import Path
from random import Random

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image

from llmga.diffusers.datasets.captioned import CaptionedImages
from llmga.diffusers.datasets.framing import frame
from llmga.diffusers.datasets.image_stores import open_image_stores
from llmga.diffusers.datasets.shapes import bucketed
from llmga.diffusers.datasets.sources import FORMS, form_of
from llmga.diffusers.datasets.tags import Tags
from llmga.diffusers.train.batches import Stage2Dataset, collate
from llmga.diffusers.train.objective import DenoisingObjective
from llmga.errors import UserError

NAMES = ["plain-0.png", "plain-1.png", "plain-2.png"]
CAPTIONS = ["first", "second", "third"]
PAIRS = list(zip(NAMES, CAPTIONS, strict=True))


def copied(root, world, names=NAMES):
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).write_bytes((world / name).read_bytes())
    return root


def listed(content, name="list.json"):
    """A list beside pictures that lie elsewhere."""

    def make(root, world):
        (root / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return root / name, (world,)

    return make


def coco_annotations(root, world):
    images = [{"id": number, "file_name": name} for number, name in enumerate(NAMES)]
    annotations = [{"id": 9 - i, "image_id": i, "caption": text} for i, text in enumerate(CAPTIONS)]
    return listed({"info": {}, "licenses": [], "images": images, "annotations": annotations})(root, world)


def kohya_metadata(root, world):
    """As `merge_captions_to_metadata.py` and `merge_dd_tags_to_metadata.py` leave it, keys without endings."""
    content = [{"caption": "first"}, {"tags": "second"}, {"caption": "third", "tags": "", "train_resolution": [64, 64]}]
    return listed({Path(name).stem: each for name, each in zip(NAMES, content, strict=True)})(root, world)


def data_addresses(root, world):
    pictures = [base64.b64encode((world / name).read_bytes()).decode() for name in NAMES]
    records = [{"image": f"data:image/png;base64,{p}", "text": c} for p, c in zip(pictures, CAPTIONS, strict=True)]
    return listed("".join(json.dumps(record) + "\n" for record in records), "list.jsonl")(root, world)[0], ()


def kohya_captions(root, world):
    copied(root, world)
    for name, caption in PAIRS:
        (root / name).with_suffix(".caption").write_text(caption)
    return root, ()


def kohya_folders(root, world):
    """Without a text beside it, a picture is what its folder says."""
    for folder, (name, caption) in zip(("1_first", "1_lies", "1_third"), PAIRS, strict=True):
        copied(root / folder, world, [name])
        if caption == "second":
            (root / folder / name).with_suffix(".txt").write_text("second\n")
    return root, ()


def imagefolder(kind):
    def make(root, world):
        copied(root / "train", world)
        rows = {"file_name": NAMES, "text": CAPTIONS}
        if kind == "parquet":
            parquet.write_table(pa.table(rows), root / "train/metadata.parquet")
        else:
            lines = [json.dumps({"file_name": name, "text": text, "additional": 1}) for name, text in PAIRS]
            (root / "train/metadata.jsonl").write_text("\n".join(lines))
        return root, ()

    return make


def img2dataset_files(root, world):
    """`--output_format files`: shards of pictures, texts and JSON, and a parquet file of addresses beside each."""
    shard = root / "00000"
    copied(shard, world)
    for number, (name, caption) in enumerate(PAIRS):
        (shard / name).rename(shard / f"00000000{number}.png")
        (shard / f"00000000{number}.txt").write_text(caption)
        (shard / f"00000000{number}.json").write_text(json.dumps({"caption": caption, "key": f"00000000{number}"}))
    parquet.write_table(pa.table({"url": ["http://a"] * 3, "caption": CAPTIONS}), root / "00000.parquet")
    (root / "00000_stats.json").write_text("{}")
    return root, ()


def put(tar, name, content):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def img2dataset_tars(root, world):
    """`--output_format webdataset`, in two shards; the second has its captions in the JSON alone."""
    for shard, members in ((0, PAIRS[:2]), (1, PAIRS[2:])):
        with tarfile.open(root / f"0000{shard}.tar", "w") as tar:
            for name, caption in members:
                key = f"{shard:05}{name[6]:>04}"
                put(tar, f"{key}.png", (world / name).read_bytes())
                put(tar, f"{key}.json", json.dumps({"caption": caption, "status": "success"}).encode())
                if not shard:
                    put(tar, f"{key}.txt", caption.encode())
        parquet.write_table(pa.table({"url": ["a"], "caption": ["b"]}), root / f"0000{shard}.parquet")
    return root, ()


def one_tar(root, world):
    """A folder in the tar, and a picture with two endings, as some tools name it."""
    with tarfile.open(root / "data.tar", "w") as tar:
        for name, caption in PAIRS:
            put(tar, f"shard/{Path(name).stem}.image.png", (world / name).read_bytes())
            put(tar, f"shard/{Path(name).stem}.txt", caption.encode())
    return root / "data.tar", ()


def img2dataset_parquet(root, world):
    """`--output_format parquet`: encoded pictures in the column `jpg`, beside their keys and addresses."""
    rows = {"url": ["http://a"] * 3, "key": ["0", "1", "2"], "caption": CAPTIONS, "status": ["success"] * 3,
            "jpg": [(world / name).read_bytes() for name in NAMES]}  # fmt: skip
    parquet.write_table(pa.table(rows), root / "00000.parquet")
    return root, ()


def pictures(world):
    return [{"bytes": (world / name).read_bytes(), "path": None} for name in NAMES]


def parquet_of_the_hub(root, world):
    """`data/train-…` and `data/test-…`, as `push_to_hub` names them."""
    (root / "data").mkdir()
    for split, rows in (("train", slice(None)), ("test", slice(0, 1))):
        table = pa.table({"image": pictures(world)[rows], "text": CAPTIONS[rows]})
        parquet.write_table(table, root / f"data/{split}-00000-of-00001.parquet")
    return root, ()


def saved(root, world):
    rows = {"image": pictures(world), "Caption": CAPTIONS}
    DatasetDict(train=Dataset.from_dict(rows), test=Dataset.from_dict(rows)).save_to_disk(root)
    return root, ()


KINDS = {
    "COCO's annotations": coco_annotations,
    "kohya's metadata": kohya_metadata,
    "names with captions": listed(dict(PAIRS)),
    "one list by name": listed({"version": "1", "data": [{"img_path": n, "prompt": c} for n, c in PAIRS]}),
    "file names": listed(
        "\n".join(json.dumps({"file_name": n, "description": c}) for n, c in PAIRS), "list.ndjson"
    ),
    "messages": listed([{"images": [n], "messages": [{"role": "user", "content": "?"},
                                                     {"role": "assistant", "content": c}]} for n, c in PAIRS]),
    "CSV": listed("Image,Caption\n" + "".join(f'{n},"{c}"\n' for n, c in PAIRS), "list.csv"),
    "open_clip's CSV": listed("filepath\ttitle\n" + "".join(f"{n}\t{c}\n" for n, c in PAIRS), "list.csv"),
    "TSV": listed("filename\tcaption\n" + "".join(f"{n}\t{c}\n" for n, c in PAIRS), "list.tsv"),
    "data addresses": data_addresses,
    "kohya's .caption": kohya_captions,
    "kohya's folders": kohya_folders,
    "imagefolder with parquet": imagefolder("parquet"),
    "imagefolder in a split": imagefolder("jsonl"),
    "img2dataset, files": img2dataset_files,
    "img2dataset, webdataset": img2dataset_tars,
    "img2dataset, parquet": img2dataset_parquet,
    "one webdataset tar": one_tar,
    "parquet of the hub": parquet_of_the_hub,
    "saved by datasets": saved,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_gives_the_same_pictures_and_captions(kind, world, tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    path, places = KINDS[kind](root, world)
    records = CaptionedImages([str(path)], list(map(str, places)), tmp_path / "cache")
    assert [records.caption(i, Random(0)) for i in range(len(records))] == CAPTIONS
    assert set(records.captions()) == set(CAPTIONS)
    for index, name in enumerate(NAMES):
        drawn = np.asarray(Image.open(world / name).convert("RGB"))
        assert np.array_equal(np.asarray(records.picture(index)), drawn) and records.size(index) == drawn.shape[:2]
        assert records.stamp(index) and len(records.name(index)) < 300
    assert len({records.name(i) for i in range(3)}) == 3 and len(records.digest()) == 32


def test_every_row_of_the_table_of_forms_is_read_here(world, tmp_path):
    found = set()
    for number, make in enumerate(KINDS.values()):
        root = tmp_path / str(number)
        root.mkdir()
        found.add(form_of(make(root, world)[0]))
    assert set(FORMS) - found == {"parquet file"}  # read in test_stage2_data.py


def test_pictures_of_a_numbered_folder_are_shown_so_often(world, tmp_path, capsys):
    for folder, names in (("3_a red star", NAMES[:2]), ("1_b", NAMES[2:]), ("spare", NAMES[:1])):
        copied(tmp_path / "data" / folder, world, names)
    (tmp_path / "data/3_a red star/plain-1.txt").write_text("a star, red")
    records = CaptionedImages([str(tmp_path / "data")], [], tmp_path / "cache")
    assert [records.caption(i, Random(0)) for i in range(7)] == ["b", *["a red star"] * 3, *["a star, red"] * 3]
    assert [records.name(1) == records.name(other) for other in (0, 2, 3, 4)] == [False, True, True, False]
    assert "spare' is left out: folders are named as in 10_cat" in capsys.readouterr().err
    alone = CaptionedImages([str(tmp_path / "data/3_a red star")], [], tmp_path / "cache")
    assert len(alone) == 6 and form_of(tmp_path / "data/3_a red star") == "kohya's numbered folders"


def test_folders_that_show_nothing_or_without_end_are_told(world, tmp_path, capsys):
    """Once an IndexError where no picture was left, and a silent table of a hundred million rows."""
    copied(tmp_path / "data/0_name", world)
    for data in (tmp_path / "data", tmp_path / "data/0_name"):
        with pytest.raises(UserError, match="0_name' shows its pictures zero times; rename it, as in 10_name.$"):
            CaptionedImages([str(data)], [], tmp_path / "cache")
    copied(tmp_path / "data/2_x", world)
    assert len(CaptionedImages([str(tmp_path / "data")], [], tmp_path / "cache")) == 6
    assert "0_name' shows its pictures zero times; rename it, as in 10_name, or" in capsys.readouterr().err
    copied(tmp_path / "data/99999999_x", world)
    with pytest.raises(UserError, match="99999999_x' shows its pictures 99999999 times in an epoch, of at most 10000"):
        CaptionedImages([str(tmp_path / "data")], [], tmp_path / "cache")


def test_what_is_missing_is_told_with_the_folder_where_its_path_starts(tmp_path, monkeypatch):
    """Launchers change to the folder of the repository."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"'my/data' is not there in '{tmp_path}'; check --data"):
        form_of(Path("my/data"))
    with pytest.raises(UserError, match=f"'my/data' are not there in '{tmp_path}'; give folders"):
        open_image_stores(["my/data"])
    with pytest.raises(UserError, match="'/my/data' is not there; check"):
        form_of(Path("/my/data"))


def test_a_broken_picture_of_a_table_is_told_by_its_row(tmp_path):
    parquet.write_table(pa.table({"image": [b"no picture"], "caption": ["b"]}), tmp_path / "a.parquet")
    records = CaptionedImages([str(tmp_path / "a.parquet")], [], tmp_path / "cache")
    with pytest.raises(UserError, match="a.parquet#0' cannot be used: it is not a readable picture"):
        records.picture(0)


def test_captions_of_blip_in_txt_files_are_found_without_naming_their_extension(world, tmp_path):
    """bmaltais/kohya_ss 988: "No caption file found for 66 images. Training will continue without captions"."""
    folder = copied(tmp_path / "images/10_girl", world)
    for name, caption in PAIRS:
        (folder / name).with_suffix(".txt").write_text(caption)
    records = CaptionedImages([str(tmp_path / "images")], [], tmp_path / "cache")
    assert len(records) == 30 and set(records.captions()) == set(CAPTIONS)


def test_a_folder_of_pictures_has_its_column_of_texts(world, tmp_path):
    """huggingface/diffusers 3151: "--caption_column' value 'text' needs to be one of: image"."""
    copied(tmp_path / "data", world)
    for name, caption in PAIRS:
        (tmp_path / "data" / name).with_suffix(".txt").write_text(caption)
    assert set(CaptionedImages([str(tmp_path / "data")], [], tmp_path / "cache").captions()) == set(CAPTIONS)


def test_metadata_json1_is_told_to_be_no_jsonl(world, tmp_path):
    """huggingface/diffusers 2099: the files are img1.png, img2.png and metadata.json1, "num_rows: 2", no text."""
    copied(tmp_path / "data", world)
    (tmp_path / "data/metadata.json1").write_text("\n".join(json.dumps({"file_name": n, "text": c}) for n, c in PAIRS))
    with pytest.raises(UserError, match="holds a metadata.json1, which is none of .*; call it metadata.jsonl"):
        form_of(tmp_path / "data")


def test_of_several_captions_one_is_drawn_each_time(world, tmp_path):
    path = listed([{"image": NAMES[0], "captions": ["a", "b"]}, {"image": NAMES[1], "caption": "c"}])(tmp_path, world)[
        0
    ]
    records = CaptionedImages([str(path)], [str(world)], tmp_path / "cache")
    assert {records.caption(0, Random(seed)) for seed in range(20)} == {"a", "b"}
    assert records.caption(1, Random(0)) == "c" and set(records.captions()) == {"a", "b", "c"}
    half = listed([{"image": NAMES[0], "caption": "a\ud800"}], "half.json")(tmp_path, world)[0]
    assert CaptionedImages([str(half)], [str(world)], tmp_path / "cache").caption(0, Random(0)) == "a?"


def lmdb_as_data(root):
    lmdb.open(str(root)).close()
    return root


def archives(root):
    (root / "a.zip").touch()
    return root


def bare_picture(root):
    Image.new("RGB", (8, 8)).save(root / "a.png")
    return root


def listed_folder(root):
    bare_picture(root)
    (root / "train.json").write_text("[]")
    return root


def file(name, content):
    def make(root):
        (root / name).write_bytes(content)
        return root / name

    return make


def table(**columns):
    def make(root):
        parquet.write_table(pa.table(columns), root / "a.parquet")
        return root / "a.parquet"

    return make


def captionless_tar(root):
    with tarfile.open(root / "a.tar", "w") as tar:
        put(tar, "1.jpg", b"x")
    return root / "a.tar"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lmdb_as_data, "is an LMDB of pictures; give it as --images"),
        (archives, r"holds archives \(a.zip\); unpack them"),
        (bare_picture, "pictures without captions; the nearest form is a text beside each, a.txt beside a.png"),
        (listed_folder, "holds a list; give '.*train.json' as --data and the folder as --images"),
        (lambda root: bare_picture(root) / "a.png", "is a picture; give the folder of it"),
        (file("a.jsonn", b"[]"), "ends with '.jsonn', which is none of .*; the nearest is .json"),
        (file("a.xyz", b"PAR1"), "is a parquet file; let its name end with .parquet"),
        (file("a.tar", b"\x1f\x8b\x08"), "is a gzip file: unpack it"),
        (lambda root: file("a.txt", b"words")(root).parent, "texts without pictures; .* as a.png beside a.txt"),
        (lambda root: root, "holds no pictures, tars or parquet files; give a folder of pictures with a text beside"),
        (file("a.csv", b"file;text\na.png;b\n"), "first line with ';'; save it with ',' or tabs between them"),
        (file("a.csv", "file,text\na.png,Sch\u00f6n\n".encode("cp1252")), "is not in UTF-8; save it so"),
        (file("a.csv", "file,text\n".encode("utf-16")), "is a text in UTF-16, not CSV; save it in UTF-8"),
        (file("a.tar", b"no tar"), "a.tar' cannot be read"),
        (captionless_tar, "the picture '1' in .* has no caption; put 1.txt behind it"),
        (file("a.csv", b"picture,words\na.png,b\n"), "no caption .*; it has picture, words"),
        (file("a.json", b'[{"imag": "a", "caption": "b"}]'), "no picture .*; name `imag` `image`"),
        (file("a.json", b'[{"image": "a", "captoin": "b"}]'), "no caption .*; name `captoin` `caption`"),
        (table(url=["http://a"], caption=["b"]), "addresses .`url`. instead of pictures, which img2dataset downloads"),
        (table(image=[3.5], caption=["b"]), "not names, bytes or"),
    ],
)  # fmt: skip
def test_what_is_no_form_is_named_with_the_nearest_one(make, sentence, tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(UserError, match=sentence) as problem:
        CaptionedImages([str(make(tmp_path / "source"))], [str(tmp_path)], tmp_path / "cache")
    assert "\n" not in str(problem.value)


def test_tags_are_mixed_and_thinned_out_behind_those_that_stay():
    caption = "sks, a dog, park , grass"
    assert not Tags(keep=3) and Tags(keep=4, shuffle=True)(caption, Random(0)) == "sks, a dog, park, grass"
    seen = {Tags(shuffle=True, keep=1)(caption, Random(seed)) for seed in range(60)}
    assert len(seen) == 6 and all(text.startswith("sks, ") and len(text.split(", ")) == 4 for text in seen)
    counts = [Tags(dropout=0.25, keep=2)(caption, Random(seed)).split(", ")[2:] for seed in range(2000)]
    assert len(list(chain.from_iterable(counts))) / 4000 == pytest.approx(0.75, abs=0.03)
    assert Tags(dropout=1.0)(caption, Random(0)) == ""


def test_small_pictures_go_to_smaller_buckets_and_none_is_enlarged(tmp_path):
    sizes = [(640, 480), (200, 150), (90, 90), (70, 33), (10, 10)]  # width, height
    for number, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    (tmp_path / "a.json").write_text(json.dumps([{"image": f"{n}.png", "caption": "a"} for n in range(5)]))
    records = CaptionedImages([str(tmp_path / "a.json")], [str(tmp_path)], tmp_path)
    growing, steady = (bucketed(records, 256, 16, tmp_path, upscale=upscale) for upscale in (True, False))
    assert steady[0] == growing[0]
    for index, (width, height) in enumerate(sizes[:4]):
        assert steady[index][0] <= height and steady[index][1] <= width and records.size(index) == (height, width)
        assert steady[index][0] * steady[index][1] >= 0.3 * min(width * height, 256**2)
    assert steady[4] == (32, 32)  # the smallest there is
    framed = frame(records.picture(1), steady[1], center_crop=True, flip=False, rng=Random(0))
    assert framed.pixels.shape[1:] == steady[1]


def test_regularisation_pictures_take_half_of_an_epoch_with_a_weight_of_their_own(config, world, tmp_path):
    from dataclasses import replace

    from llmga.diffusers.datasets.shapes import Shapes

    copied(tmp_path / "prior/1_thing", world, ["any-6.png", "any-7.png"])
    config = replace(config, regularisation=(str(tmp_path / "prior"),), prior_weight=0.25, cache_latents=False)
    records = CaptionedImages(config.data, config.images, tmp_path, prior=config.regularisation)
    assert len(records) == 12 and [records.is_prior(i) for i in (5, 6)] == [False, True]
    assert [records.caption(i, Random(0)) for i in range(6, 12)] == ["thing"] * 6
    assert records.name(6) == records.name(8) == records.name(10) != records.name(7)
    examples = Stage2Dataset(records, config, Shapes([(64, 64)]))
    batch = collate([examples[(0, 0)], examples[(1, 6)]])
    assert batch.weights.tolist() == [1, 0.25]


def test_a_picture_counts_by_its_weight(goldens):
    objective = DenoisingObjective(goldens.pipeline("sdxl").scheduler, snr_gamma=5.0)
    latents, generator = torch.randn(2, 4, 8, 8), torch.Generator().manual_seed(0)
    noise, times = objective.draw(latents.shape, generator)
    of = lambda which, weights=None: objective.loss(  # noqa: E731
        lambda noisy, at: noisy * 0.5, latents[which], noise[which], times[which], weights
    )
    whole = of(slice(None), torch.tensor([1.0, 0.25]))
    torch.testing.assert_close(whole, (of([0]) + 0.25 * of([1])) / 2)
