"""Diffusion models saved by another process, loaded, checked against diffusers' own arithmetic, and guided."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synth import exact_statistics, stretch
from synth.diffusion import guide, scheduler
from synth.priors import pretrained
from tests.synth.helpers.gaussian_prior import Linear, generators, samples

diffusers = pytest.importorskip("diffusers")

SAVE = """
import sys, torch
from pathlib import Path
from diffusers import AutoencoderKL, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DConditionModel, UNet2DModel
import json
root = Path(sys.argv[1])
torch.manual_seed(0)
small = dict(sample_size=16, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1, attention_head_dim=4,
             down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"))
for kind in ("epsilon", "sample", "v_prediction"):
    DDPMPipeline(UNet2DModel(**small), DDPMScheduler(prediction_type=kind, beta_schedule="squaredcos_cap_v2")).save_pretrained(root / kind)
UNet2DModel(**small).save_pretrained(root / "alone")
DDPMPipeline(UNet2DModel(**small, out_channels=6), DDPMScheduler(variance_type="learned_range")).save_pretrained(root / "adm")
DDPMPipeline(UNet2DModel(**small, num_class_embeds=5), DDPMScheduler()).save_pretrained(root / "classes")
def latent(name, unet, scheduler):
    vae = AutoencoderKL(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                        norm_num_groups=4, latent_channels=4, sample_size=16, scaling_factor=0.5)
    for part, module in dict(unet=unet, vae=vae, scheduler=scheduler).items():
        module.save_pretrained(root / name / part)
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", type(unet).__name__], "vae": ["diffusers", "AutoencoderKL"],
             "scheduler": ["diffusers", type(scheduler).__name__]}
    (root / name / "model_index.json").write_text(json.dumps(index))
latent("latent", UNet2DModel(**{**small, "sample_size": 8}, in_channels=4, out_channels=4), DDIMScheduler(beta_schedule="scaled_linear", set_alpha_to_one=False))
conditional = dict(sample_size=8, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1, attention_head_dim=4, cross_attention_dim=6,
                   down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"))
latent("text", UNet2DConditionModel(**conditional), DDIMScheduler(beta_schedule="scaled_linear"))
"""
SHAPE = (3, 16, 16)
DISPLAY = exact_statistics(SHAPE, mean=0.45, rms=0.15)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, "-c", SAVE, str(folder)], check=True, capture_output=True, text=True)
    return folder


def noisy(prior: Any, time: int, count: int = 2) -> tuple[torch.Tensor, torch.Tensor, float]:
    """x_t in the units of diffusers, the same in ours, and its noise level."""
    kept = diffusers.DDPMScheduler(**{k: v for k, v in prior.scheduler_config.items() if k in ("beta_schedule", "beta_start", "beta_end")}).alphas_cumprod[time].item()  # fmt: skip
    x_t = torch.stack([torch.randn(prior.shape, generator=g) for g in generators(count)])
    return x_t, x_t / kept**0.5, ((1 - kept) / kept) ** 0.5


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("time", [0, 500, 900])
def test_clean_estimates_are_those_of_diffusers(kind: str, time: int, saved: Path) -> None:
    prior = pretrained(saved / kind)
    x_t, x, sigma = noisy(prior, time)
    assert prior.times(torch.tensor([sigma])).item() == time
    with torch.no_grad():
        found = prior(x, torch.full((2,), sigma))
        predicted = diffusers.UNet2DModel.from_pretrained(saved / kind / "unet")(x_t, time).sample
    reference = diffusers.DDPMScheduler.from_pretrained(saved / kind / "scheduler", clip_sample=False)
    expected = reference.step(predicted, time, x_t, generator=generators(1)[0]).pred_original_sample
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_times_between_those_of_training_are_interpolated(saved: Path) -> None:
    prior = pretrained(saved / "epsilon")
    levels = prior.log_sigmas
    between = ((levels[300] + levels[301]) / 2).exp().float()
    assert prior.times(between[None]).item() == pytest.approx(300.5, abs=1e-3)
    assert prior.times(torch.tensor([1e-9, 1e9])).tolist() == [0, 999]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "adm"])
def test_the_unguided_sample_is_that_of_a_plain_diffusers_loop(kind: str, saved: Path) -> None:
    prior = pretrained(saved / kind)
    found = samples(scheduler("ddim"), prior=prior, steps=6, seeds=range(2))
    network = diffusers.UNet2DModel.from_pretrained(saved / kind / "unet")
    steps = diffusers.DDIMScheduler.from_pretrained(saved / kind / "scheduler", clip_sample=False)
    steps.set_timesteps(6)
    x = torch.stack([torch.randn(prior.shape, generator=g) for g in generators(2)])
    with torch.no_grad():
        for t in steps.timesteps:
            predicted = network(x, t).sample[:, :3]
            x0 = steps.step(predicted, t, x).pred_original_sample
            a = steps.alphas_cumprod[t]
            if prior.prediction == "epsilon":  # our prior confines pixels to [-1.2, 1.2]
                predicted = (x - a.sqrt() * x0.clamp(-1.2, 1.2)) / (1 - a).sqrt()
            else:
                eps = (x - a.sqrt() * x0.clamp(-1.2, 1.2)) / (1 - a).sqrt()
                predicted = a.sqrt() * eps - (1 - a).sqrt() * x0.clamp(-1.2, 1.2)
            x = steps.step(predicted, t, x).prev_sample
    torch.testing.assert_close(found, x, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("name", ["epsilon", "sample", "v_prediction", "adm", "classes", "latent", "text"])
def test_models_saved_by_another_process_are_guided(name: str, saved: Path) -> None:
    more = {"classes": {"label": 3}, "text": {"embedding": torch.ones(1, 2, 6)}}.get(name, {})
    prior = pretrained(saved / name, **more)
    encoder = Linear(SHAPE)
    run = lambda strength, **other: guide(encoder, stretch(encoder.site_ids[:2]), prior, strength=strength, constraints=[DISPLAY], steps=5, **other)  # noqa: E731  # fmt: skip
    plain, through, fast = run(0.0), run(0.5), run(0.5, method="guided_fast")
    if name != "sample":  # untrained, such a network forgets x, and with it what was edited before
        assert (through.scores > plain.scores).all()
        assert (fast.scores > plain.scores).all()
    assert not any(DISPLAY.violations(torch.from_numpy(through.images)))
    record = json.loads(json.dumps(through.settings))["prior"]
    assert len(record["weights"]) == 16
    assert record["diffusers"] == diffusers.__version__


def test_weights_are_frozen_and_the_fingerprint_is_theirs(saved: Path) -> None:
    prior = pretrained(saved / "latent")
    assert not any(p.requires_grad for p in prior.parameters())
    assert not prior.network.training
    assert prior.fingerprint == pretrained(saved / "latent").fingerprint != pretrained(saved / "epsilon").fingerprint


def test_latents_are_decoded_by_the_vae(saved: Path) -> None:
    prior = pretrained(saved / "latent")
    assert (prior.shape, prior.sd, prior.limits) == ((4, 8, 8), 1.0, None)
    code = torch.randn(2, 4, 8, 8, generator=generators(1)[0])
    vae = diffusers.AutoencoderKL.from_pretrained(saved / "latent" / "vae")
    with torch.no_grad():
        torch.testing.assert_close(prior.decode(code), vae.decode(code / 0.5).sample / 2 + 0.5)


def test_memory_options_change_nothing_else(saved: Path) -> None:
    plain = pretrained(saved / "latent")
    lean = pretrained(saved / "latent", gradient_checkpointing=True, vae_slicing=True)
    assert lean.decoder.use_slicing
    assert lean.network.is_gradient_checkpointing
    x = torch.randn(2, 4, 8, 8, generator=generators(1)[0])
    gradients = []
    for prior in (plain, lean):
        leaf = x.clone().requires_grad_()
        images = prior.decode(prior(leaf, torch.full((2,), 0.8)))
        gradients.append(torch.autograd.grad(images.square().sum(), leaf)[0])
    torch.testing.assert_close(*gradients)
    with pytest.raises(ValueError, match="which has no VAE"):
        pretrained(saved / "epsilon", vae_slicing=True)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_guides_in_the_same_direction(dtype: str, saved: Path) -> None:
    """The gradient enters the network with an RMS of 1: a score of tiny unit does not vanish."""
    encoder = Linear(SHAPE)
    tiny = lambda images: 1e-7 * encoder(images)  # noqa: E731
    scores = [guide(tiny, stretch([0]), pretrained(saved / "epsilon", dtype=d), strength=s, constraints=[DISPLAY], steps=5).scores[0] for d, s in (("float32", 0.5), (dtype, 0.5), (dtype, 0.0))]  # fmt: skip
    assert scores[1] > scores[2]
    assert scores[1] - scores[2] == pytest.approx(scores[0] - scores[2], rel=0.3)
    with pytest.raises(ValueError, match="expected one of float32"):
        pretrained(saved / "epsilon", dtype="int8")


def test_float16_keeps_a_vae_that_overflows_in_float32(saved: Path) -> None:
    prior = pretrained(saved / "latent", dtype="float16")
    assert prior.decoder.config.force_upcast
    assert next(prior.decoder.parameters()).dtype == torch.float32
    assert next(prior.network.parameters()).dtype == torch.float16


def test_a_network_alone_needs_its_noise_levels(saved: Path) -> None:
    with pytest.raises(ValueError, match="a U-Net without a scheduler"):
        pretrained(saved / "alone")
    prior = pretrained(
        saved / "alone", noise_schedule={"beta_schedule": "linear", "prediction_type": "v_prediction"}, size=24
    )
    assert (prior.prediction, prior.shape) == ("v_prediction", (3, 24, 24))
    assert prior.sigmas[1] == pytest.approx(157.4, abs=0.1)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("epsilon", {"label": 1}, "takes no class"),
        ("classes", {}, "takes one of 5 classes"),
        ("classes", {"label": 7}, "expected 0 to 4"),
        ("epsilon", {"prompt": "a cat"}, "takes no text"),
        ("epsilon", {"embedding": torch.ones(1, 2, 6)}, "takes no text"),
        ("text", {"embedding": torch.ones(1, 2, 6), "prompt": "a cat"}, "expected one of them"),
        ("text", {}, "holds no text encoder; give embedding="),
    ],
)
def test_wrong_arguments_are_named(name: str, arguments: dict, message: str, saved: Path) -> None:
    with pytest.raises(ValueError, match=message):
        pretrained(saved / name, **arguments)


def changed(saved: Path, tmp_path: Path, name: str, **index: Any) -> Path:
    shutil.copytree(saved / name, tmp_path / "changed")
    path = tmp_path / "changed" / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **index}))
    return tmp_path / "changed"


def test_a_pipeline_without_its_vae_says_so_by_null(saved: Path, tmp_path: Path) -> None:
    assert pretrained(changed(saved, tmp_path, "epsilon", vae=[None, None])).decoder is None


def test_only_known_classes_are_loaded(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unet of .* is of class FluxTransformer2DModel; expected one of UNet2DModel"):
        pretrained(changed(saved, tmp_path, "epsilon", unet=["diffusers", "FluxTransformer2DModel"]))


def test_flow_matching_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = changed(saved, tmp_path, "epsilon", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])
    diffusers.FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    with pytest.raises(ValueError, match="flow-matching or continuous"):
        pretrained(folder)


def test_a_network_that_needs_a_second_image_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = changed(saved, tmp_path, "latent", vae=None)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({k: v for k, v in index.items() if k != "vae"}))
    with pytest.raises(ValueError, match=r"takes 4 channels; expected 3 or 1\. Likely cause: an inpainting"):
        pretrained(folder)


def test_missing_weights_and_folders_are_told(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds neither model_index.json"):
        pretrained(tmp_path)
    folder = changed(saved, tmp_path, "epsilon")
    next((folder / "unet").glob("*.safetensors")).unlink()
    with pytest.raises(ValueError, match=r"unet of .* cannot be loaded"):
        pretrained(folder)


def test_a_hub_id_without_network_tells_the_truth() -> None:
    with pytest.raises(
        ValueError, match=r"no network, .*Way out: a folder with the downloaded model, or an embedded prior"
    ):
        pretrained("someone/a-model", local_files_only=True)


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    asked = []
    original = diffusers.DiffusionPipeline.load_config

    def load_config(source: str, **options: Any) -> Any:
        asked.append(options["local_files_only"])
        return original(source, **options)

    monkeypatch.setattr(diffusers.DiffusionPipeline, "load_config", load_config)
    with pytest.raises(ValueError, match="no network"):
        pretrained("someone/a-model")
    assert asked == [True]  # what lies on the disk, and no second try over the network


@pytest.mark.parametrize(
    ("missing", "message"), [("diffusers", "pip install 'stimsynth"), ("transformers", "pip install transformers")]
)
def test_missing_packages_are_named(
    missing: str, message: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = changed(
        saved,
        tmp_path,
        "text",
        text_encoder=["transformers", "CLIPTextModel"],
        tokenizer=["transformers", "CLIPTokenizer"],
    )
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ValueError, match=message):
        pretrained(folder)
    if missing == "diffusers":
        with pytest.raises(ValueError, match="an optional extra"):
            scheduler("ddim")


def test_images_do_not_depend_on_their_batch(saved: Path) -> None:
    prior, encoder = pretrained(saved / "epsilon"), Linear(SHAPE)
    objective = stretch(encoder.site_ids)
    together = guide(encoder, objective, prior, constraints=[DISPLAY], steps=4, solver=scheduler("ddpm"))
    alone = guide(encoder, objective[1], prior, constraints=[DISPLAY], steps=4, solver=scheduler("ddpm"))
    np.testing.assert_allclose(alone.scores[0], together.scores[1], rtol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_latent_model_is_guided_on_a_gpu(saved: Path) -> None:
    prior, encoder = pretrained(saved / "latent", dtype="bfloat16", gradient_checkpointing=True), Linear(SHAPE)
    plain, guided = (guide(encoder, stretch(encoder.site_ids[:2]), prior, strength=s, constraints=[DISPLAY], steps=6, device="cuda").scores for s in (0, 0.5))  # fmt: skip
    assert (guided > plain).all()
