"""What people bring from LLaVA, transformers' Trainer and diffusers' examples starts the run that they mean."""

import pytest

from llmga.diffrir.train import config as restorer
from llmga.diffusers.train import config as stage2
from llmga.diffusers.train.foreign_flags import FLAGS as STAGE2
from llmga.errors import UserError
from llmga.llava.datasets.sources import DataSource
from llmga.llava.train import config as stage1
from llmga.llava.train.foreign_flags import FLAGS as STAGE1
from llmga.training.config import parse_arguments
from llmga.training.foreign_flags import PARTLY, TOLD

LLAVA = """
    --deepspeed ./scripts/zero3.json --version v1 --data_path ./playground/data/llava_v1_5_mix665k.json
    --image_folder ./playground/data --vision_tower openai/clip-vit-large-patch14-336 --mm_projector_type mlp2x_gelu
    --mm_vision_select_layer -2 --mm_use_im_start_end False --mm_use_im_patch_token False --image_aspect_ratio pad
    --bf16 True --output_dir ./checkpoints/out --num_train_epochs 1 --per_device_train_batch_size 16
    --per_device_eval_batch_size 4 --gradient_accumulation_steps 2 --evaluation_strategy no --save_strategy steps
    --save_steps 50000 --save_total_limit 1 --learning_rate 2e-4 --weight_decay 0. --warmup_ratio 0.03
    --lr_scheduler_type cosine --logging_steps 1 --tf32 True --model_max_length 2048 --gradient_checkpointing True
    --dataloader_num_workers 4 --lazy_preprocess True --report_to wandb
"""
LORA = "--lora_enable True --lora_r 128 --lora_alpha 256 --mm_projector_lr 2e-5 --bits 4"


def stage_1(line: str, preset: str = "llmga_7b_s1") -> stage1.Stage1Config:
    return parse_arguments(stage1.PRESETS, ["--preset", preset, *line.split()], STAGE1)


def stage_2(line: str, preset: str = "sdxl") -> stage2.Stage2Config:
    return parse_arguments(stage2.PRESETS, ["--preset", preset, *line.split()], STAGE2)


def test_llavas_low_rank_finetuning_is_ours():
    config = stage_1(f"{LLAVA} {LORA} --model_name_or_path liuhaotian/llava-v1.5-13b")
    assert config.mllm == "liuhaotian/llava-v1.5-13b"
    assert (config.tune, config.lora_rank, config.lora_alpha, config.bits) == ("lora", 128, 256, 4)
    assert config.data == (
        DataSource("vqa", "./playground/data/llava_v1_5_mix665k.json", image_folder="./playground/data"),
    )
    assert (config.lr, config.projector_lr, config.batch, config.accumulation) == (2e-4, 2e-5, 16, 2)
    assert (config.epochs, config.steps, config.warmup, config.workers) == (1.0, None, 0.03, 4)
    assert (config.precision, config.conv_mode, config.max_length) == ("bf16", "v1", 2048)
    assert (config.output_dir, config.deepspeed) == ("./checkpoints/out", "./scripts/zero3.json")
    assert (config.eval_fraction, config.report_to, config.gradient_checkpointing) == (0, ("wandb",), True)


def test_llavas_pretraining_starts_from_a_language_model():
    line = f"{LLAVA} --model_name_or_path lmsys/vicuna-7b-v1.5 --tune_mm_mlp_adapter True"
    config = stage_1(line, "llmga_7b_pretrain")
    assert (config.text_model, config.mllm, config.tune) == ("lmsys/vicuna-7b-v1.5", None, "projector")
    assert config.vision_tower == "openai/clip-vit-large-patch14-336"


def test_hyphens_underscores_and_equals_signs_are_alike():
    for flag in ("--learning_rate=1e-4", "--learning-rate 1e-4", "--learning_rate 1e-4", "--lr=1e-4"):
        assert stage_1(flag).lr == 1e-4


@pytest.mark.parametrize(
    ("line", "steps", "epochs"),
    [
        ("--num_train_epochs 3", None, 3.0),
        ("--num_train_epochs 3 --max_steps 50", 50, 3.0),
        ("--max_steps 50 --num_train_epochs 3", 50, 3.0),
        ("--num_train_epochs 3 --max_steps -1", None, 3.0),
        ("--max_steps 50", 50, 1.0),
        ("--num_train_epochs 3 --steps 7", 7, 3.0),
    ],
)
def test_steps_count_before_epochs(line, steps, epochs):
    config = stage_1(line, "toy_s1")
    assert (config.steps, config.epochs) == (steps, epochs)


@pytest.mark.parametrize(
    ("line", "precision"),
    [("--bf16 True", "bf16"), ("--bf16 False --fp16 True", "fp16"), ("--fp16 True --bf16 False", "fp16"),
     ("--fp16", "fp16"), ("--bf16 False", "fp32"), ("--fp16 False --bf16 True", "bf16")],
)  # fmt: skip
def test_half_precision_is_named_by_two_switches(line, precision):
    assert stage_1(line).precision == precision


def test_our_own_flags_have_the_last_word():
    assert stage_1("--tune dora --lora_enable True").tune == "dora"
    assert stage_1("--report-to wandb tensorboard").report_to == ("wandb", "tensorboard")
    assert stage_1("--report_to none").report_to == ()


SDXL = """
    --pretrained_model_name_or_path=stabilityai/stable-diffusion-xl-base-1.0 --train_data_dir my-pictures
    --caption_column=text --resolution=512 --center_crop --random_flip --proportion_empty_prompts=0.2
    --train_batch_size=1 --gradient_accumulation_steps=4 --gradient_checkpointing --max_train_steps=10000
    --learning_rate=1e-06 --lr_scheduler=constant --lr_warmup_steps=500 --mixed_precision=fp16 --report_to=wandb
    --checkpointing_steps=5000 --checkpoints_total_limit 3 --output_dir=my-model --seed=42 --use_ema --snr_gamma 5.0
    --adam_beta1 0.8 --adam_weight_decay 0.1 --max_grad_norm 2 --noise_offset 0.1 --dataloader_num_workers=8
    --enable_xformers_memory_efficient_attention --resume_from_checkpoint latest --prediction_type v_prediction
"""


def test_diffusers_text_to_image_example_is_ours():
    config = stage_2(SDXL)
    assert config.pipeline == "stabilityai/stable-diffusion-xl-base-1.0"
    assert (config.data, config.originals) == (("my-pictures",), None)
    assert (config.output, config.run, config.resume, config.seed) == ("my-model", "my-model", "latest", 42)
    assert (config.resolution, config.center_crop, config.flip, config.caption_dropout) == (512, True, True, 0.2)
    assert (config.batch_size, config.accumulation, config.steps, config.lr) == (1, 4, 10_000, 1e-6)
    assert (config.schedule, config.warmup) == ("constant", 0)  # the library's constant has no warm-up
    assert (config.checkpoint_every, config.keep, config.workers) == (5000, 3, 8)
    assert (config.beta1, config.weight_decay, config.max_grad_norm) == (0.8, 0.1, 2.0)
    assert (config.mixed_precision, config.snr_gamma, config.noise_offset) == ("fp16", 5.0, 0.1)
    assert (config.prediction, config.gradient_checkpointing) == ("v_prediction", True)


@pytest.mark.parametrize(
    ("presets", "output", "run"),
    [(stage1.PRESETS, "output_dir", "checkpoint_dir"), (stage2.PRESETS, "output", "run"),
     (restorer.PRESETS, "output", "run")],
)  # fmt: skip
def test_another_output_folder_is_another_run(presets, output, run):
    for name, preset in presets.items():
        moved, kept = (
            parse_arguments(presets, ["--preset", name, f"--{output}", folder])
            for folder in ("new", getattr(preset, output))
        )
        assert getattr(moved, run) == "new"
        assert kept == preset


def test_the_originals_schedule_and_the_low_rank_example():
    config = stage_2("--lr_scheduler constant_with_warmup --lr_warmup_steps 1000 --rank 4")
    assert (config.schedule, config.warmup, config.tune, config.lora_rank) == ("constant", 1000, "lora", 4)


KOHYA = """
    --train_data_dir pictures --reg_data_dir others --prior_loss_weight 0.5 --output_dir my-lora --enable_bucket
    --bucket_no_upscale True --caption_dropout_rate 0.1 --caption_tag_dropout_rate 0.2 --shuffle_caption --keep_tokens 2
    --network_dim 32 --network_alpha 16 --optimizer_type AdamW8bit --unet_lr 1e-4 --text_encoder_lr 5e-5
    --train_text_encoder --min_snr_gamma 5 --max_train_steps 2000 --save_every_n_steps 500 --no_half_vae
    --torch_compile --report_to tensorboard
"""


def test_kohyas_low_rank_training_is_ours():
    config = stage_2(KOHYA)
    assert (config.data, config.originals, config.regularisation) == (("pictures",), None, ("others",))
    assert (config.prior_weight, config.output, config.buckets, config.bucket_no_upscale) == (
        0.5,
        "my-lora",
        True,
        True,
    )
    assert (config.caption_dropout, config.tag_dropout, config.shuffle_tags, config.keep_tokens) == (0.1, 0.2, True, 2)
    assert (config.tune, config.lora_rank, config.lora_alpha, config.optimizer) == ("lora", 32, 16.0, "adamw8bit")
    assert (config.lr, config.train_text_encoder, config.text_encoder_lr, config.snr_gamma) == (1e-4, True, 5e-5, 5.0)
    assert (config.steps, config.checkpoint_every, config.torch_compile) == (2000, 500, True)
    assert config.report_to == ("tensorboard",) and stage_2("--report_to none").report_to == ()


@pytest.mark.parametrize(
    ("read", "line", "sentence"),
    [
        (stage_1, "--pretrain_mm_mlp_adapter a.bin", "--pretrain_mm_mlp_adapter is not known here; give the folder"),
        (stage_1, "--image_folder pictures", "--image_folder is not known here; give one source of --data"),
        (stage_1, "--optim adafactor", "--optim adafactor is not known here; the optimizer is always AdamW"),
        (stage_1, "--warmup_steps 100", "--warmup takes the share of the steps"),
        (stage_1, "--max_grad_norm 0.5", "--max_grad_norm 0.5 is not known here; gradients are always clipped to the"),
        (stage_1, "--fsdp full_shard", "--deepspeed takes a JSON"),
        (stage_1, "--lora_target_modules q_proj", "beside every linear layer"),
        (stage_2, "--push_to_hub", "nothing is uploaded"),
        (stage_1, "--evaluation_strategy steps", "--eval-fraction holds out a share of the data"),
        (stage_1, "--lora_enable maybe", "give true or false"),
        (stage_2, "--dataset_name lambdalabs/pokemon", "nothing is downloaded or uploaded"),
        (stage_2, "--num_train_epochs 100", "--steps says how long a run is"),
        (stage_2, "--lr_scheduler polynomial", "give constant or constant_with_warmup or cosine"),
        (stage_2, "--validation_prompt a --validation_epochs 5", "--validation-every paints captions of the data"),
    ],
)
def test_what_means_something_else_here_is_one_sentence_on_ours(read, line, sentence):
    with pytest.raises(UserError, match=sentence):
        read(line)


def test_what_everybody_gives_and_is_so_here_is_taken(capsys):
    line = "--do_train --max_grad_norm 1.0 --adam_beta2 0.999 --load_best_model_at_end False --torch_compile False"
    assert stage_1(f"{line} --overwrite_output_dir --run_name a --logging_dir b") == stage_1("")
    assert [said.split()[0] for said in capsys.readouterr().err.splitlines()] == [
        "--overwrite_output_dir", "--run_name", "--logging_dir"
    ]  # fmt: skip


def test_help_tells_apart_what_is_read_and_what_is_told():
    text = " ".join(STAGE2.help().split())
    read, told = text.split(TOLD)
    assert "--train-data-dir" in read and "--use-ema true" in read and "--use-ema true" not in read.split(PARTLY)[0]
    for name in ("validation-prompt", "dataset-name", "num-train-epochs"):
        assert f"--{name}," in told and f"--{name}," not in read
    assert "--warmup-steps 0" in STAGE1.help() and "--save-strategy steps" in " ".join(STAGE1.help().split())


def test_what_changes_nothing_is_left_out_aloud(capsys):
    stage_1("--per_device_eval_batch_size 4")
    assert capsys.readouterr().err == "--per_device_eval_batch_size is left out: measuring takes --batch, too\n"


def test_an_unknown_flag_gets_the_nearest_of_ours_or_of_theirs(capsys):
    for line, near in (("--acumulation 3", "--accumulation"), ("--learning_rat 1", "--lr")):
        with pytest.raises(SystemExit) as ended:
            stage_1(line)
        assert ended.value.code == 2
        assert f"did you mean {near}?" in capsys.readouterr().err


def test_foreign_flags_need_a_preset_too():
    with pytest.raises(UserError, match="--preset is missing; give one of: llmga_7b_pretrain"):
        parse_arguments(stage1.PRESETS, ["--model_name_or_path", "a"], STAGE1)


@pytest.mark.parametrize(("presets", "flags"), [(stage1.PRESETS, STAGE1), (stage2.PRESETS, STAGE2)])
def test_help_lists_them(presets, flags, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(presets, ["--help"], flags)
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for name in (*flags.aliases, *flags.rows))


@pytest.mark.parametrize(("presets", "flags"), [(stage1.PRESETS, STAGE1), (stage2.PRESETS, STAGE2)])
def test_every_alias_names_a_flag_of_ours(presets, flags):
    known = {name.replace("_", "-") for name in vars(next(iter(presets.values())))}
    assert set(flags.aliases.values()) <= known
    assert not set(flags.aliases) & (known | set(flags.rows))
