"""Weights of priors as people have them: wrapped, in one variant, cut, damaged; the same estimate, or refused in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from synth.priors import blind, natural, pretrained

diffusers = pytest.importorskip("diffusers")
NAME = "diffusion_pytorch_model"
QUIET = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PARTS = st.lists(st.sampled_from(["module", "_orig_mod", "model", "unet", "ema", "net_1"]), min_size=1, max_size=3)
SMALL = {"block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1, "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of latents: a U-Net, a VAE and a scheduler."""
    folder = tmp_path_factory.mktemp("pipeline")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = diffusers.UNet2DModel(sample_size=8, in_channels=4, out_channels=4, **SMALL)
        vae = diffusers.AutoencoderKL(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=4, scaling_factor=0.5)  # fmt: skip
    for name, part in {"unet": unet, "vae": vae, "scheduler": diffusers.DDPMScheduler()}.items():
        part.save_pretrained(folder / name)
    index = {name: ["diffusers", type(part).__name__] for name, part in {"unet": unet, "vae": vae, "scheduler": diffusers.DDPMScheduler()}.items()}  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def answers(prior: Any) -> tuple[Tensor, Tensor]:
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return prior(z, torch.tensor([0.8])), prior.decode(z)


@pytest.fixture
def fresh(saved: Path, tmp_path: Path) -> Callable[[], Path]:
    """A copy of the pipeline for every example."""

    def copy() -> Path:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        return Path(shutil.copytree(saved, tmp_path / "copy"))

    return copy


@QUIET
@given(prefix=PARTS, part=st.sampled_from(["unet", "vae"]), suffix=st.sampled_from(["safetensors", "bin"]), variant=st.sampled_from([None, "fp16", "ema"]), how=st.sampled_from(["found", "named"]))  # fmt: skip
def test_wrapped_weights_and_variants_give_the_same_estimate(prefix: list[str], part: str, suffix: str, variant: str | None, how: str, saved: Path, fresh: Callable[[], Path]) -> None:  # fmt: skip
    folder = fresh()
    state = load_file(folder / part / f"{NAME}.safetensors")
    (folder / part / f"{NAME}.safetensors").unlink()
    state = {".".join([*prefix, name]): value for name, value in state.items()}
    name = folder / part / (f"{NAME}.{variant}.{suffix}" if variant else f"{NAME}.{suffix}")
    save_file(state, name) if suffix == "safetensors" else torch.save(state, name)
    more = {}
    if how == "named" and variant:
        for other in ("unet", "vae"):
            plain = folder / other / f"{NAME}.safetensors"
            if plain.exists():
                plain.rename(folder / other / f"{NAME}.{variant}.safetensors")
        more = {"variant": variant}
    for found, expected in zip(answers(pretrained(folder, **more)), answers(pretrained(saved)), strict=True):
        assert torch.equal(found, expected)


def _lacks(folder: Path, part: str, data: st.DataObject) -> str:
    path = folder / part / f"{NAME}.safetensors"
    state = load_file(path)
    gone = data.draw(st.sets(st.sampled_from(sorted(state)), min_size=1, max_size=5), label="gone")
    prefix = data.draw(st.sampled_from(["", "module."]), label="prefix")
    save_file({prefix + k: v for k, v in state.items() if k not in gone}, path)
    return "lacks|do not fit"


def _cut(folder: Path, part: str, data: st.DataObject) -> str:
    path = folder / part / f"{NAME}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1), label="bytes")])
    return "cannot be loaded"


def _not_finite(folder: Path, part: str, data: st.DataObject) -> str:
    path = folder / part / f"{NAME}.safetensors"
    state = load_file(path)
    name = data.draw(st.sampled_from(sorted(state)), label="name")
    value = data.draw(st.sampled_from([float("nan"), float("inf"), -float("inf")]), label="value")
    state[name].view(-1)[data.draw(st.integers(0, state[name].numel() - 1), label="place")] = value
    save_file(state, path)
    return f"NaN or infinity in {name}"


def _coded(folder: Path, part: str, data: st.DataObject) -> str:
    """Integers of a quantised export, without their scale."""
    path = folder / part / f"{NAME}.safetensors"
    state = load_file(path)
    dtype = data.draw(st.sampled_from([torch.int8, torch.uint8, torch.int32]), label="type")
    names = data.draw(st.sets(st.sampled_from(sorted(state)), min_size=1), label="names")
    state = {k: (100 * v).to(dtype) if k in names else v for k, v in state.items()}
    path.unlink()
    if data.draw(st.booleans(), label="safetensors"):
        save_file(state, path)
    else:
        torch.save(state, path.with_suffix(".bin"))
    return "quantised"


def _gone(folder: Path, part: str, data: st.DataObject) -> str:
    for path in data.draw(st.sampled_from([[folder / part / f"{NAME}.safetensors"], [folder / part / "config.json"], sorted((folder / part).iterdir())]), label="files"):  # fmt: skip
        path.unlink()
    return "cannot be loaded"


def _json(folder: Path, part: str, data: st.DataObject) -> str:
    path = folder / data.draw(st.sampled_from(["model_index.json", f"{part}/config.json", "scheduler/scheduler_config.json"]), label="file")  # fmt: skip
    text = path.read_text()
    broken = data.draw(st.sampled_from([text[: len(text) // 2], "", "[]", "null", "\x00", text + "}"]), label="text")
    path.write_text(broken)
    return "cannot be|holds a"


def _scheduler(folder: Path, part: str, data: st.DataObject) -> str:
    shutil.rmtree(folder / "scheduler")
    return "scheduler of .* cannot be loaded.*noise_schedule="


def _statistics(folder: Path, part: str, data: st.DataObject) -> str:
    path = folder / "vae" / "config.json"
    odd = data.draw(st.sampled_from([{"latents_mean": [0, 0, 0, 0]}, {"latents_std": [1, 1, 1, 1]}, {"latents_mean": [0, 0], "latents_std": [1, 1]}, {"latents_mean": [0, 0, 0, 0], "latents_std": [1, 1, 0, 1]}, {"latents_mean": [0, 0, 0, 0], "latents_std": [1, 1, 1, 1], "shift_factor": 0.1}, {"scaling_factor": 0}, {"scaling_factor": None}, {"shift_factor": "0.1"}, {"shift_factor": float("nan")}, {"shift_factor": [0.1]}]), label="config")  # fmt: skip
    path.write_text(json.dumps({**json.loads(path.read_text()), **odd}))
    return "latents_mean|scaling_factor|shift_factor"


def _conditions(folder: Path, part: str, data: st.DataObject) -> str:
    path = folder / "model_index.json"
    name = data.draw(st.sampled_from(["unet", "vae", "scheduler"]), label="component")
    path.write_text(json.dumps({**json.loads(path.read_text()), name: data.draw(st.sampled_from(["UNet2DModel", ["diffusers"], {}, 3]), label="entry")}))  # fmt: skip
    return r"expected \[library, class\]"


@settings(QUIET, max_examples=24)
@given(damage=st.sampled_from([_lacks, _cut, _not_finite, _coded, _gone, _json, _scheduler, _statistics, _conditions]), part=st.sampled_from(["unet", "vae"]), data=st.data())  # fmt: skip
def test_damaged_folders_are_refused_by_a_value_error(damage: Callable[..., str], part: str, data: st.DataObject, fresh: Callable[[], Path]) -> None:  # fmt: skip
    folder = fresh()
    message = damage(folder, part, data)
    with pytest.raises(ValueError, match=message) as caught:
        pretrained(folder)
    assert type(caught.value) is ValueError


@QUIET
@given(mean=st.lists(st.floats(-3, 3), min_size=4, max_size=4), sd=st.lists(st.floats(0.1, 4), min_size=4, max_size=4), scaling=st.floats(0.1, 2))  # fmt: skip
def test_latents_with_statistics_are_decoded_as_the_pipeline_does(mean: list[float], sd: list[float], scaling: float, saved: Path, fresh: Callable[[], Path]) -> None:  # fmt: skip
    """StableDiffusionXLPipeline: latents * latents_std / scaling_factor + latents_mean, then the VAE."""
    folder = fresh()
    config = json.loads((folder / "vae" / "config.json").read_text())
    config |= {"latents_mean": mean, "latents_std": sd, "scaling_factor": scaling}
    (folder / "vae" / "config.json").write_text(json.dumps(config))
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    codes = torch.empty_like(z)
    for c in range(4):
        codes[:, c] = z[:, c] * sd[c] / scaling + mean[c]
    vae = diffusers.AutoencoderKL.from_pretrained(saved / "vae")
    with torch.no_grad():
        expected = (vae.decode(codes).sample + 1) / 2
        found = pretrained(folder).decode(z)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "more",
    [{"addition_embed_type": "text", "addition_embed_type_num_heads": 2}, {"addition_embed_type": "text_time", "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 32}, {"time_cond_proj_dim": 8}, {"class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": 8}],
)  # fmt: skip
def test_networks_that_need_more_than_text_are_refused(more: dict, fresh: Callable[[], Path]) -> None:
    folder = fresh()
    with torch.random.fork_rng():
        unet = diffusers.UNet2DConditionModel(sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1, cross_attention_dim=8, attention_head_dim=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), encoder_hid_dim=8, encoder_hid_dim_type="text_proj", **more)  # fmt: skip
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "unet": ["diffusers", "UNet2DConditionModel"]}))
    with pytest.raises(ValueError, match=rf"has {next(iter(more))} .* and needs"):
        pretrained(folder, embedding=torch.zeros(1, 3, 8))


def test_an_overflow_of_float16_and_a_wrong_schedule_are_told(fresh: Callable[[], Path]) -> None:
    folder = fresh()
    path = folder / "unet" / f"{NAME}.safetensors"
    state = load_file(path)
    state["conv_in.bias"][0] = 1e6
    save_file(state, path)
    assert pretrained(folder).shape == (4, 8, 8)
    with pytest.raises(ValueError, match=r"in float16 holds NaN or infinity in conv_in\.bias.*use dtype bfloat16"):
        pretrained(folder, dtype="float16")
    for wrong in ({"beta": 1}, {"beta_schedule": "steep"}, {"num_train_timesteps": "many"}):
        with pytest.raises(ValueError, match=r"noise_schedule .* is refused"):
            pretrained(folder, noise_schedule=wrong)


def _denoiser() -> dict[str, Tensor]:
    """The weights of a bias-free DnCNN of two hidden layers."""
    g = torch.Generator().manual_seed(0)
    state = {"first_layer.weight": torch.randn(4, 1, 3, 3, generator=g), "last_layer.weight": torch.randn(1, 4, 3, 3, generator=g)}  # fmt: skip
    for i in range(2):
        state[f"hidden_layer_list.{i}.weight"] = torch.randn(4, 4, 3, 3, generator=g) / 6
        state[f"bn_layer_list.{i}.weight"] = torch.rand(4, generator=g)
        state[f"bn_layer_list.{i}.running_var"] = 1 + torch.rand(4, generator=g)
    return state


@settings(QUIET, max_examples=60)
@given(wrappers=st.lists(st.sampled_from(["module.", "_orig_mod."]), max_size=3), nested=st.sampled_from([None, "state_dict", "model_state_dict"]), suffix=st.sampled_from([".safetensors", ".pt"]), damage=st.sampled_from(["none", "cut", "nan", "other"]), data=st.data())  # fmt: skip
def test_denoisers_are_read_in_any_dressing_or_refused(wrappers: list[str], nested: str | None, suffix: str, damage: str, data: st.DataObject, tmp_path: Path) -> None:  # fmt: skip
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    save_file(_denoiser(), tmp_path / "plain.safetensors")
    expected = blind(tmp_path / "plain.safetensors", (1, 8, 8))(x, torch.tensor([0.1]))
    state: Any = {"".join(wrappers) + name: value for name, value in _denoiser().items()}
    if damage == "nan":
        state[data.draw(st.sampled_from(sorted(state)))].view(-1)[0] = torch.nan
    if damage == "other":
        state.pop(data.draw(st.sampled_from(sorted(state))))
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({nested: state} if nested else state, path)
    if damage == "cut":
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 8))])
    if damage == "none":
        assert torch.equal(blind(path, (1, 8, 8))(x, torch.tensor([0.1])), expected)
        return
    with pytest.raises(ValueError, match=r"cannot be read|holds NaN|not a bias-free DnCNN|does not hold a state dict"):
        blind(path, (1, 8, 8))


@settings(QUIET, max_examples=30)
@given(damage=st.sampled_from(["cut", "nan", "record", "config", "lacks"]), data=st.data())
def test_damaged_natural_priors_are_refused(damage: str, data: st.DataObject, tmp_path: Path) -> None:
    whole = natural({"widths": [8]}, (3, 16, 16))
    state = {k: v.clone().contiguous() for k, v in whole.learned.state_dict().items()}
    record = json.dumps({"config": {"widths": [8]}})
    if damage == "nan":
        state[data.draw(st.sampled_from(sorted(state)))].view(-1)[0] = torch.inf
    if damage == "lacks":
        state.pop(data.draw(st.sampled_from(sorted(state))))
    if damage == "record":
        record = data.draw(st.sampled_from(["", "{", "[]", "null", '{"config": 3}', '{"config": {}}']))
    if damage == "config":
        record = json.dumps({"config": data.draw(st.sampled_from([{"widths": [8], "curve": 1}, {"widths": 8}, {"widths": [None]}, {"widths": [16]}]))})  # fmt: skip
    path = tmp_path / "prior.safetensors"
    save_file(state, path, metadata={"prior": record})
    if damage == "cut":
        content = path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=r"prior|does not fit|NaN or infinity"):
        natural(path, (3, 16, 16))
