"""A small project with a fitted pair of random networks: cheap to make, for experiments on an encoder alone."""

from __future__ import annotations

from pathlib import Path

import torch

from encoders import Encoder, EncoderInfo, FactorisedReadout, backbone
from encoders.backbones.features import to_images
from protocols.project.fitted import write_fitted
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImages
from tests.protocols.helpers.checked_project import DISPLAY, SITES
from tests.protocols.helpers.checked_project import make as make_recorded

LAYER = "features.3"
TARGETS = SITES[:2]


def make(folder: Path) -> Project:
    """`checked_project.make` with an encoder and a validator of random weights; two sites may be controlled."""
    project = make_recorded(folder)
    photographs = to_images(NaturalImages.load(project.data).pixels(), torch.device("cpu"))
    names = [_encoder(project, photographs, seed) for seed in (1, 2)]
    scores = dict.fromkeys(("held_out_r", "held_out_r_nc", "held_out_feve", "validator_r"), 0.5)
    sites = [{"site_id": s, "eligible_fit": True, "eligible_target": s in TARGETS, **scores} for s in SITES]
    record = {"round": 1, "encoder": names[0], "validator": names[1], "rounds": [], "report": {"sites": sites}}
    record |= {"n_images": len(photographs), "n_trials": 6 * len(photographs)}
    write_fitted(project.fitted, 1, record)
    return project


def _encoder(project: Project, photographs: torch.Tensor, seed: int) -> str:
    network = backbone("torchvision:squeezenet1_1", [LAYER], weights="random", seed=seed)
    with torch.no_grad():
        shape = tuple(network(torch.zeros(1, *DISPLAY.shape))[LAYER].shape[1:])
    readout = FactorisedReadout({LAYER: shape}, len(SITES))
    generator = torch.Generator().manual_seed(seed)
    for parameter in readout.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    info = EncoderInfo(
        site_ids=SITES,
        target_ids=TARGETS,
        response_unit="spikes",
        image_shape=DISPLAY.shape,
        field_of_view_deg=DISPLAY.size_deg,
        background=DISPLAY.background,
        colour=DISPLAY.colour,
        scores={"reliability": [0.9] * len(SITES)},
        settings={"layers": [LAYER], "readout": {"kind": "factorised", "pool": None}},
    )
    ones = torch.ones(len(SITES))
    raw = Encoder(network, readout, info, natural_mean=ones, natural_sd=ones)
    with torch.no_grad():
        answers = raw(photographs)
    answers = answers if answers.dim() == 2 else answers.mean(0)
    fitted = Encoder(network, readout, info, natural_mean=answers.mean(0), natural_sd=answers.std(0))
    return fitted.save(project.fitted).name
