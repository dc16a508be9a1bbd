"""Schemas of /sdapi/v1, the paths of AUTOMATIC1111's web UI, as its clients (Open WebUI, Krita, webuiapi) use them.

What would change the picture and is not served is refused, unless its value asks for nothing.
"""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonValue

from llmga.serve.api.schemas import LongText, Text
from llmga.serve.api.setting_fields import NUMBER, Refusing

# Fields that would change the picture, beside values that ask for nothing.
NOT_SERVED: dict[str, tuple[Any, ...]] = {
    "styles": (),
    "subseed_strength": (),
    "seed_resize_from_h": (-1,),
    "seed_resize_from_w": (-1,),
    "restore_faces": (),
    "tiling": (),
    "enable_hr": (),
    "refiner_checkpoint": (),
    "script_name": (),
}
NO_SCRIPTS: tuple[Any, ...] = ({}, [], None)
# Fields that ask for nothing here: how a sampler of theirs is tuned, what their machine keeps.
UNUSED = (
    "subseed", "sampler_index", "do_not_save_samples", "do_not_save_grid", "eta", "s_min_uncond", "s_churn", "s_tmax",
    "s_tmin", "s_noise", "override_settings_restore_afterwards", "disable_extra_networks", "send_images", "save_images",
    "script_args", "force_task_id", "comments", "firstpass_image", "firstphase_width", "firstphase_height", "hr_scale",
    "hr_upscaler", "hr_second_pass_steps", "hr_resize_x", "hr_resize_y", "hr_checkpoint_name", "hr_sampler_name",
    "hr_scheduler", "hr_prompt", "hr_negative_prompt", "refiner_switch_at", "image_cfg_scale", "include_init_images",
    "latent_mask", "mask_round", "inpaint_full_res_padding", "infotext", "initial_noise_multiplier", "mask_blur_x",
    "mask_blur_y", "inpainting_fill",
)  # fmt: skip


Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64", "format": "base64-picture"})]
Side = Annotated[int, Field(ge=16, le=4096), NUMBER]
PaintedSide = Annotated[int, Field(ge=16, le=2048), NUMBER]
Count = Annotated[int, Field(ge=1, le=10), NUMBER]


MOST = 10  # pictures
AT_MOST: list[JsonValue] = [
    {"properties": {"batch_size": {"maximum": rows}, "n_iter": {"maximum": MOST // rows}}} for rows in (1, 2, 3, 5, 10)
]


class _Painting(Refusing):
    """What both ways of painting are told."""

    not_served = NOT_SERVED
    # Their own server passes over what it does not know, and clients rely on it.
    model_config = ConfigDict(extra="ignore", json_schema_extra={"anyOf": AT_MOST})

    prompt: LongText = ""
    negative_prompt: LongText = ""
    seed: Annotated[int, Field(ge=-1, le=2**63), NUMBER] = Field(
        default=-1, description="-1: by chance; of greater ones the lower 32 bits count"
    )
    steps: Annotated[int, Field(ge=1, le=1000), NUMBER] | None = None
    cfg_scale: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), NUMBER] | None = None
    width: Side | None = None
    height: Side | None = None
    batch_size: Count = 1
    n_iter: Count = 1
    sampler_name: Text | None = Field(
        default=None, description="one of /sdapi/v1/samplers, or the server's own name of one"
    )
    scheduler: Text | None = Field(default=None, description="Automatic or Karras")
    override_settings: dict[str, Any] | None = Field(
        None, description="sd_model_checkpoint, CLIP_stop_at_last_layers 1"
    )
    alwayson_scripts: Any = None

    @model_validator(mode="before")
    @classmethod
    def _check_served(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        scripts = values.get("alwayson_scripts")
        if isinstance(scripts, dict):
            asking = [name for name, what in scripts.items() if not _idle(what)]
            if asking:
                raise ValueError(f"the script {asking[0]!r} is not served here; leave it out")
        return values

    @property
    def count(self) -> int:
        """How many pictures are asked for."""
        return self.batch_size * self.n_iter


def _idle(script: Any) -> bool:
    """Whether a script is sent along that does nothing."""
    args = script.get("args") if isinstance(script, dict) else script
    return args in NO_SCRIPTS or args == [False]


class Txt2Img(_Painting):
    """Words to be painted as they stand."""

    width: PaintedSide | None = None
    height: PaintedSide | None = None


class Img2Img(_Painting):
    """A picture to be painted anew, whole or where a mask is white."""

    init_images: list[Base64] = Field(min_length=1, max_length=1, description="base64, with or without data:image/…")
    mask: Base64 | None = Field(default=None, description="base64; white is painted")
    mask_blur: Annotated[int, Field(ge=0, le=64), NUMBER] | None = Field(
        default=None, description="pixels over which old and new mix"
    )
    inpainting_mask_invert: int | bool = Field(default=0, description="1: black is painted")
    inpaint_full_res: bool | int = Field(
        default=False, description="paint what is around the mask in the painter's own size"
    )
    denoising_strength: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), NUMBER] = 0.75
    resize_mode: Annotated[int, Field(ge=0, le=1), NUMBER] = Field(
        default=0, description="0: stretch to width × height; 1: crop to it"
    )


class Painted(BaseModel):
    """Pictures."""

    images: list[str] = Field(description="base64 of PNG files")
    parameters: dict[str, Any] = Field(description="what was asked for")
    info: str = Field(description="JSON: what was used")


class Card(BaseModel):
    """The painter as their list has it."""

    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None = None


class SamplerCard(BaseModel):
    """A sampler."""

    name: str
    aliases: list[str]
    options: dict[str, str]


class Scheduler(BaseModel):
    """How the noise levels are spread."""

    name: str
    label: str
    aliases: list[str] | None = None
    default_rho: float = -1
    need_inner_model: bool = False


class ProgressState(BaseModel):
    """What is at work."""

    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = ""
    job_count: int = 0
    job_timestamp: str = "0"
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0


class ProgressReport(BaseModel):
    """How far the client's latest request is."""

    nullable: ClassVar[tuple[str, ...]] = ("current_image", "textinfo")

    progress: float = 0.0
    eta_relative: float = 0.0
    state: ProgressState = ProgressState()
    current_image: str | None = None
    textinfo: str | None = None


class Options(BaseModel):
    """Of their many options, those that mean something here."""

    model_config = ConfigDict(extra="ignore")

    sd_model_checkpoint: str | None = None
