"""The settings of a session: one row each, from which flags, `/set`, the page and the HTTP fields follow.

A row is the annotation of its field: its type, what a file may hold of it (`within`, `row_of`), and a `Setting`, which
is what people are told of it.  A new setting is a field here, and the place that uses it.
"""

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypedDict, Union, cast, get_args, get_origin, get_type_hints

from PIL import Image

from llmga.choices import AREAS, FILLS, RATIO, RESTORER, RESTORERS, SAMPLERS, SKIP
from llmga.diffusers.control import FORM, Control, parse_controls
from llmga.errors import UserError
from llmga.inputs import as_picture
from llmga.limits import LARGEST_GUIDANCE, LARGEST_SEED, LARGEST_SIDE, MOST_VERSIONS, SEEDS, SMALLEST_SIDE
from llmga.registry import Registry, registered
from llmga.typed import Rule, row_of, typed, up_to, within

LONGEST_PROMPT = 8192 * 16  # characters: as many tokens as a language model may write, of as many letters as they have

# What a file may say.
Prompt = Annotated[str, up_to(LONGEST_PROMPT)]
Seed = Annotated[int, within(0, SEEDS - 1)]
AskedSeed = Annotated[int, within(0, LARGEST_SEED)]
Steps = Annotated[int, within(1, 1000)]
Guidance = Annotated[float, within(0, LARGEST_GUIDANCE)]
ClipSkip = Annotated[int, within(0, 31)]
WorkSide = Annotated[int, within(SMALLEST_SIDE, LARGEST_SIDE)]
Share = Annotated[float, within(0, 1)]
SamplerName = Annotated[str, row_of(SAMPLERS, "sampler")]
RestorerName = Annotated[str, row_of(RESTORERS, "restorer")]

ControlText = Annotated[str, Rule(FORM, lambda text: parse_controls(text) is not None)]

_ASKED = {int: "a whole number, ", float: "a number, ", str: "text, ", bool: "True or False",
          tuple: f"(width, height), each {SMALLEST_SIDE} to {LARGEST_SIDE} pixels"}  # fmt: skip

Group = Literal["words", "painting", "region", "editing", "finish"]
Said = tuple[str, str]  # in English and in Chinese


@dataclass(frozen=True)
class Setting:
    """A row of the table of settings.

    The names under which front ends offer it are its own; "" is none, where a front end does not have it.

    Attributes:
        group: what it is about.
        help: a sentence for `--help` and the HTTP document, which add the range and the default.
        label: on the page; None leaves it out there.
        order: its place in the order of use, from 1; 0 is behind all that have one, where the page says "Advanced".
        example: what stands in its empty field on the page, where it is not what the checkpoint would use.
        offered: the least and the greatest that people may choose; None is what a file may hold.
        slider: least, greatest and step of its slider on the page; without one it is typed or picked.
        choices: what the page calls its names; without them they stand for themselves.
        usual: what None amounts to; None where that is the pipeline's own choice.
        default: the value where nobody chose one; of a field of `Settings`, the field's.
        flag: on a command line, without dashes.
        command: in `/set`.
        request: in HTTP.
        record: where the records of pictures have it, such as "words.temperature".
        name: of the field; this and what follows, the annotation says.
        part_of: the field of `Settings` that has it as a key, or "turn" where every turn has its own; "" where it is a
            field itself.
        kind: `int`, `float`, `bool`, `str`, or `tuple` for a width and height.
        names: all that it may be, where these are few or the rows of a table.
        closed: what it may be is the same on every machine, so that a parser can refuse another value by itself.
        hint: the annotation.
    """

    group: Group
    help: str
    label: Said | None = None
    order: int = 0
    example: Said | None = None
    offered: tuple[float, float] | None = None
    slider: tuple[float, float, float] | None = None
    choices: Mapping[str, Said] = field(default_factory=dict, hash=False)
    usual: Any = None
    default: Any = None
    flag: str | None = None
    command: str | None = None
    request: str | None = None
    record: str | None = None
    name: str = ""
    part_of: str = ""
    kind: type = str
    names: tuple[Any, ...] = ()
    closed: bool = False
    hint: Any = None

    def __repr__(self) -> str:
        """As `help` shows it at a field."""
        return f"<{self.help}>"

    @property
    def advanced(self) -> bool:
        """Whether few people ever need it."""
        return not self.order

    @property
    def known(self) -> tuple[Any, ...]:
        """`names`, and those of the rows that a program has registered in the table of this name."""
        return (*self.names, *registered(self.name))

    def checked(self, value: str) -> str:
        """One of the `known` names.

        Raises:
            UserError: for any other.
        """
        return Registry(self.name, {str(name): str(name) for name in self.known})[value]

    def fitting(self, value: Any) -> Any:
        """The value as plain data: numbers of numpy and torch become Python's.

        Raises:
            UserError: it is of another type, or out of the range that a file may hold.
        """
        try:
            return typed(self.hint, _plain(value), where=self.name)
        except UserError:
            raise  # of a rule that says more
        except (TypeError, ValueError):
            if isinstance(value, str) and self.names and not self.closed:
                self.checked(value)  # which knows the nearest
            raise UserError(f"{self.name} is {reprlib.repr(value)}; use {self._allowed}.") from None

    @property
    def _allowed(self) -> str:
        told = next((part.told for part in _parts(self.hint) if isinstance(part, Rule)), "")
        words = " or ".join(map(repr, self.names)) if self.closed else ("" if self.names else _ASKED[self.kind]) + told
        return words if self.default is not None else f"{words}, or None"

    def value(self, chosen: "Settings") -> Any:
        """What is chosen; None where nothing is."""
        return (getattr(chosen, self.part_of) or {}).get(self.name) if self.part_of else getattr(chosen, self.name)


class Changes(TypedDict, total=False):
    """What a pipeline is told of a picture that it changes, beside the picture and the mask."""

    strength: Annotated[Share | None, Setting(
        "region", "how much of what was there is given up", ("Strength of repainting", "重绘强度"),
        offered=(0.01, 1), slider=(0.05, 1, 0.05), usual=1.0, request="",
    )]  # fmt: skip
    area: Annotated[str, row_of(AREAS, "area"), Setting(
        "region", "what is worked on", ("What the painter sees", "画家看到的范围"), default="picture", request="",
        choices={"picture": ("the whole picture", "整张图片"), "mask": ("around the marked part", "涂抹区域附近")},
    )]  # fmt: skip
    soft: Annotated[bool, Setting(
        "region", "gray in the mask mixes old and new", default=False, flag="soft-mask", command="soft-mask",
        request="",
    )]  # fmt: skip
    skip: Annotated[Share, Setting(
        "editing", "more keeps more", ("How much a change keeps", "修改时保留多少"), default=SKIP,
        offered=(0, 0.9), slider=(0, 0.9, 0.05), request="",
    )]  # fmt: skip
    ratio: Annotated[float, within(0, 1000), Setting(
        "editing", "more changes less", ("How small a changed part is", "修改范围多小"), default=RATIO,
        offered=(0.1, 10), slider=(0.1, 10, 0.1), request="",
    )]  # fmt: skip
    picture_guidance: Annotated[Guidance | None, Setting(
        "editing", "how closely InstructPix2Pix keeps to the picture",
        ("Closeness to the picture (InstructPix2Pix)", "贴近原图的程度（InstructPix2Pix）"),
        offered=(1, 20), slider=(1, 5, 0.1), usual=1.5, request="",
    )]  # fmt: skip
    source_prompt: Prompt


Fill = Annotated[str, row_of(FILLS, "fill"), Setting(
    "region", "under what is outpainted", ("Under what is grown", "扩展区域的底色"), default="edge",
    command="", request="", record="fill", part_of="turn",
)]  # fmt: skip

Lock = Annotated[bool, Setting(
    "painting", "every picture is painted with the same seed", ("Keep this seed", "固定种子"), order=4, default=False,
    flag="", command="", request="", record="", part_of="turn",
)]  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """How words are sampled and pictures painted; None leaves the choice to the pipeline.

    An assistant checks every value when the settings are given to it.

    Attributes:
        temperature: of the language model, 0 (greedy) to 5.
        top_p: only the likeliest tokens that together reach this probability are considered, above 0 up to 1.
        max_new_tokens: the longest answer, in tokens, 1 to 1,000,000; flags, page and server offer up to 8192.
        seed: 0 to 4294967295.  Picture k of the session (from 0) is painted with seed + k; None draws a seed at the
            session's start.  Another seed in a running session begins anew with the next picture, None goes on.
        picture: "always" makes every answer ask for a picture; "auto" leaves it to the model.
        steps: of the denoising, 1 to 1000.
        guidance_scale: how closely the prompt is followed, 0 to 100.
        negative_prompt: what should not be in the picture.
        size: (width, height) in pixels, multiples of 8 from 16 to 2048.
        sampler: a row of `llmga.diffusers.samplers.SAMPLERS`.
        repaint: how a masked part is painted: strength, area, soft, as `Inpainter.batch` takes them.
        edit: how a picture is changed: skip, ratio, picture_guidance, as the editors take them; None where pictures are
            not changed.
        restorer: a row of `llmga.diffrir.restorers.RESTORERS` of scale 1; None is the one that the assistant was made
            with.
        upscale: 2 or 4 enlarges every finished picture.
        versions: how many pictures are painted of every prompt, 1 to 10.
        previews: report small pictures of unfinished paintings.
        paint: False leaves prompts to `Assistant.paint`, so that a person can see and change them first.
        clip_skip: layers of the text towers that the prompt leaves out, 0 to 31, for SD1.5 and SDXL.
        control: how pictures guide the painting, as `llmga.diffusers.control.parse_controls` reads it, such as
            "canny:0.6"; "off" is none, None what the pipeline was set up with.
        control_images: the pictures of `control` in its order; None, or one that is left out, is the picture at work,
            else the latest one.
    """

    temperature: Annotated[float, within(0, 5), Setting(
        "words", "how freely words are chosen; 0 is greedy", ("Temperature", "温度"),
        offered=(0, 2), slider=(0, 2, 0.05),
    )] = 0.2  # fmt: skip
    top_p: Annotated[float, Rule("above 0, up to 1", lambda value: 0 < value <= 1), Setting(
        "words", "share of the likeliest words to choose from", ("Top-p", "Top-p"),
        offered=(0.01, 1), slider=(0.01, 1, 0.01),
    )] = 1.0  # fmt: skip
    max_new_tokens: Annotated[int, within(1, 1_000_000), Setting(
        "words", "tokens of an answer", ("Longest answer, in tokens", "回答的最大长度（词元）"),
        offered=(1, 8192), slider=(1, 2048, 1), request="max_tokens",
    )] = 512  # fmt: skip
    seed: Annotated[AskedSeed | None, Setting(
        "painting", "of the first picture, the next has seed + 1 …",
        ("Seed", "随机种子"), order=3, example=("by chance", "随机"), command="",
    )] = None  # fmt: skip
    picture: Annotated[Literal["auto", "always"], Setting(
        "words", "auto: the model decides; always: in every answer", ("Pictures", "图片"),
        choices={"auto": ("when the model wants one", "由模型决定"), "always": ("in every answer", "每次回答都画")},
    )] = "auto"  # fmt: skip
    steps: Annotated[Steps | None, Setting(
        "painting", "denoising steps", ("Steps", "步数"), order=5, slider=(1, 100, 1), request="num_inference_steps",
    )] = None  # fmt: skip
    guidance_scale: Annotated[Guidance | None, Setting(
        "painting", "how closely to follow the prompt", ("Guidance", "引导强度"), order=6, slider=(0, 20, 0.1),
    )] = None  # fmt: skip
    negative_prompt: Annotated[Prompt | None, Setting(
        "painting", "what should not be in the picture", ("Not in the picture", "画面中不要"), order=7,
        example=("such as: text, a frame", "例如：文字、边框"),
    )] = None  # fmt: skip
    size: Annotated[tuple[WorkSide, WorkSide] | None, Setting(
        "painting", "WIDTHxHEIGHT in pixels, multiples of 8",
        ("Size", "尺寸"), order=1, record="work_size",
    )] = None  # fmt: skip
    sampler: Annotated[SamplerName | None, Setting(
        "painting", "how the noise is taken away", ("Sampler", "采样器"), order=8, request="", record="painter.sampler",
    )] = None  # fmt: skip
    repaint: Changes = field(default_factory=Changes)
    edit: Changes | None = None
    restorer: Annotated[RestorerName | None, Setting(
        "finish", "what makes a repainted part agree with the rest", ("Restorer", "修复器"), order=9,
        usual=RESTORER, request="",
    )] = None  # fmt: skip
    upscale: Annotated[Literal[2, 4] | None, Setting(
        "finish", "enlarge every finished picture with DiffRIR", request="", record="upscaler",
    )] = None  # fmt: skip
    versions: Annotated[int, within(1, MOST_VERSIONS), Setting(
        "finish", "pictures of every prompt", ("Pictures at once", "每次张数"), order=2, slider=(1, 8, 1),
        flag="", command="", request="n", record="",
    )] = 1  # fmt: skip
    previews: Annotated[bool, Setting(
        "finish", "small pictures of unfinished ones", flag="", command="", request="", record="",
    )] = False  # fmt: skip
    paint: Annotated[bool, Setting(
        "words", "false: prompts stay in the words, in their tags, and wait",
        ("Show me each prompt before it is painted", "绘制前先让我查看提示词"), flag="", command="", record="",
    )] = True  # fmt: skip
    clip_skip: Annotated[ClipSkip | None, Setting(
        "painting", "layers of the text towers that are left out (SD1.5, SDXL)",
        ("Clip skip", "CLIP 跳过层数"), slider=(0, 11, 1), usual=0,
    )] = None  # fmt: skip
    control: Annotated[ControlText | None, Setting(
        "painting", f"how pictures guide, {FORM}, several with commas; off: not at all",
        ("Guided by the latest picture", "由最近的图片引导"), example=("such as canny:0.6", "例如 canny:0.6"),
    )] = None  # fmt: skip
    control_images: tuple[Image.Image | None, ...] = ()

    @property
    def changes(self) -> Changes:
        """How a pipeline is to change a picture: by words where that is set, else its masked part."""
        if self.edit is None:
            return self.repaint
        changes: Changes = {"source_prompt": ""}
        return {**changes, **self.edit}

    @property
    def controls(self) -> tuple[Control, ...] | None:
        """How pictures guide the painting; None leaves it to the pipeline.

        Raises:
            UserError: there are pictures without controls, or more of them.
        """
        if self.control is not None:
            return parse_controls(self.control, self.control_images)
        if self.control_images:
            raise UserError("control pictures are given without a control; say what is taken from them, such as canny.")
        return None

    def checked(self) -> "Settings":
        """The same as plain data.

        Raises:
            UserError: a value that is of another type than its row says, out of its range, or of no row.
        """
        own: dict[str, Any] = {
            row.name: row.fitting(getattr(self, row.name)) for row in SETTINGS.values() if not row.part_of
        }
        edit = None if self.edit is None else _checked_part("edit", self.edit)
        images = tuple(as_picture(each, "control picture") for each in self.control_images)
        chosen = replace(self, **own, repaint=_checked_part("repaint", self.repaint), edit=edit, control_images=images)
        return chosen if chosen.controls is None else chosen


def settings_given(chosen: Settings | None) -> Settings:
    """What a caller of Python hands in, checked; None is the usual settings.

    Raises:
        UserError: it is none, or a value of it cannot be.
    """
    if not isinstance(chosen, Settings | None):
        raise UserError(f"the settings are of type {type(chosen).__name__}; give llmga.Settings(…).")
    return Settings() if chosen is None else chosen.checked()


def _checked_part(name: str, given: Any) -> Changes:
    rows = Registry(f"key of {name}", {row.name: row for row in SETTINGS.values() if row.part_of == name})
    if not isinstance(given, Mapping):
        raise UserError(f"{name} is {reprlib.repr(given)}; give a dict with some of {', '.join(rows)}.")
    return cast(Changes, {key: rows[key].fitting(value) for key, value in given.items()})


def _plain(value: Any) -> Any:
    """As a file would hold it."""
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value.item() if getattr(value, "ndim", None) == 0 else value


Settings.__init__.__annotations__ = get_type_hints(Settings.__init__)  # a signature that people can read


def usual_edits() -> Changes:
    """How a picture is changed by words where nobody chose."""
    return Changes(skip=SKIP, ratio=RATIO, picture_guidance=None)


PARTS = {"region": "repaint", "editing": "edit"}  # the field of `Settings` that has the rows of a group as keys
RECORDED = {"words": "words.{}", "region": "changes.{}", "editing": "changes.{}"}


def settings_of(kind: Any, **more: Any) -> Registry[Setting]:
    """The rows of a dataclass such as `Settings`, with those of `Changes`, in the order of use.

    Args:
        more: further annotated types by name.
    """
    defaults = {each.name: each.default for each in fields(kind) if each.default is not MISSING}
    hints = {**get_type_hints(kind, include_extras=True), **get_type_hints(Changes, include_extras=True), **more}
    rows = [row for name, hint in hints.items() if (row := _row(name, hint, defaults)) is not None]
    rows.sort(key=lambda row: (row.advanced, row.order))
    return Registry("setting", {row.name: row for row in rows})


def _row(name: str, hint: Any, defaults: Mapping[str, Any]) -> Setting | None:
    parts = list(_parts(hint))
    row = next((part for part in parts if isinstance(part, Setting)), None)
    if row is None:
        return None
    hyphened = name.replace("_", "-")
    rules = [part for part in parts if isinstance(part, Rule)]
    return replace(
        row,
        name=name,
        part_of=PARTS[row.group] if name in Changes.__annotations__ else row.part_of,
        kind=next(part for part in parts if isinstance(part, type)),
        names=next((rule.names for rule in rules if rule.names), ()),
        closed=any(rule.told == "" for rule in rules),
        default=defaults.get(name, row.default),
        offered=row.offered or next((rule.ends for rule in rules if rule.ends), None),
        flag=hyphened if row.flag is None else row.flag,
        command=hyphened if row.command is None else row.command,
        request=name if row.request is None else row.request,
        record=RECORDED.get(row.group, "{}").format(name) if row.record is None else row.record,
        hint=hint,
    )


def _parts(hint: Any) -> Iterator[Any]:
    """The plain type of an annotation, and what is noted at it."""
    origin = get_origin(hint)
    if origin is Annotated:
        yield from _parts(hint.__origin__)
        yield from hint.__metadata__
    elif origin in (Union, UnionType):
        for part in get_args(hint):
            yield from _parts(part)
    elif origin is Literal:
        yield type(get_args(hint)[0])
        yield Rule("", lambda value: True, names=get_args(hint))
    elif hint is not NoneType:
        yield origin or hint


SETTINGS = settings_of(Settings, fill=Fill, lock=Lock)
ASKED_SEED: Setting = replace(SETTINGS["seed"], hint=AskedSeed, default=0)  # where one has to be named
