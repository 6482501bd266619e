"""Small files of known layouts, written by the formats' own libraries, and the table that each must come in as."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat

from tests.protocols.importing.presets.matlab73 import StructArray, save73


@dataclass(frozen=True)
class Layout:
    """Files of one layout in a folder, the settings that its preset needs, and what must come in.

    Parameters
    ----------
    files : names in the folder, as they are given on the command line
    settings : what ``--set`` must say
    photographs : names of the pictures in `pictures`; "" where the layout brings its own
    values : array of shape (T, U), as read back
    image : T file names of photographs, the one shown in each row
    responses, ids : (file, array) of the responses and of what names the images; ids None: sorted file names
    axes : of the responses, in the order in which the program that wrote them shows them
    """

    preset: str
    files: list[str]
    values: np.ndarray
    image: list[str]
    settings: list[str] = field(default_factory=list)
    photographs: list[str] = field(default_factory=list)
    responses: tuple[str, str] = ("", "")
    ids: tuple[str, str] | None = None
    axes: tuple[str, ...] = ()
    averages: bool = False
    unit: str = "au"
    more: dict[str, Any] = field(default_factory=dict)


def pictures(folder: Path, names: list[str]) -> Path:
    """Small pictures of noise, in folders where the names have some."""
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    return folder


def _answers(images: int, sites: int, seed: int = 0) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.uniform(2, 12, (images, sites)), rng


THINGS = [f"object{i // 4:02d}\\object{i // 4:02d}_{i % 4 + 1:02d}b.jpg" for i in range(30)]
THINGS_NAMES = [name.split("\\")[1] for name in THINGS]
TRAIN, TEST = 24, 6
TB = np.arange(-100.0, 200.0, 10.0)


def _things_imgs(folder: Path) -> None:
    def imgs(names: list[str]) -> StructArray:
        return StructArray(**{"class": [n.split("\\")[0] for n in names], "things_path": names, "local_path": names})

    save73(folder / "things_imgs.mat", train_imgs=imgs(THINGS[:TRAIN]), test_imgs=imgs(THINGS[TRAIN:]))


def tvsd_averages(folder: Path) -> Layout:
    """THINGS_normMUA.mat, the photographs that were shown once."""
    mean, rng = _answers(TRAIN, 1024)
    train = rng.normal(mean)  # (stimuli, electrodes)
    test = rng.normal(5, 2, (1024, TEST, 5))
    save73(
        folder / "THINGS_normMUA.mat",
        train_MUA=train.T,
        test_MUA=test.mean(2),
        test_MUA_reps=test,
        tb=TB[None],
        SNR=rng.uniform(0, 3, (1024, 4)),
        SNR_max=rng.uniform(0, 5, (1, 1024)),
        lats=rng.uniform(30, 90, (1024, 4)),
        oracle=rng.uniform(0, 1, (1, 1024)),
        reliab=rng.uniform(0, 1, (1024, 10)),
    )
    _things_imgs(folder)
    return Layout(
        "tvsd_n_train",
        ["THINGS_normMUA.mat", "things_imgs.mat"],
        train[:, 512:768],
        THINGS_NAMES[:TRAIN],
        photographs=THINGS_NAMES,
        responses=("THINGS_normMUA.mat", "train_MUA"),
        axes=("site", "image"),
        ids=("things_imgs.mat", "train_imgs/things_path"),
        averages=True,
        unit="zscore",
        more={"test": test},
    )


def tvsd_repeats(folder: Path) -> Layout:
    """THINGS_normMUA.mat, the photographs that were shown again and again, presentation by presentation."""
    made = tvsd_averages(folder)
    test = made.more["test"][512:768]  # (electrodes, stimuli, repeats)
    return Layout(
        "tvsd_n_test",
        made.files,
        test.transpose(1, 2, 0).reshape(-1, 256),
        [n for n in THINGS_NAMES[TRAIN:] for _ in range(5)],
        photographs=THINGS_NAMES,
        responses=("THINGS_normMUA.mat", "test_MUA_reps"),
        axes=("site", "image", "repeat"),
        ids=("things_imgs.mat", "test_imgs/things_path"),
        unit="zscore",
    )


def tvsd_trials(folder: Path) -> Layout:
    """THINGS_MUA_trials.mat: all correct presentations, electrodes in the order of the recording system."""
    rng = np.random.default_rng(3)
    shown = rng.permutation(np.r_[np.arange(1, TRAIN + 1), -np.repeat(np.arange(1, TEST + 1), 4)])
    trials = len(shown)
    matrix = np.zeros((trials, 7))
    matrix[:, 0] = np.arange(1, trials + 1)
    matrix[:, 1], matrix[:, 2] = np.maximum(shown, 0), np.maximum(-shown, 0)
    matrix[:, 3], matrix[:, 4], matrix[:, 5] = 1, np.arange(trials) % 4 + 1, 1
    matrix[:, 6] = np.sort(np.arange(trials) % 3) + 1
    mapping = np.arange(1024).reshape(16, 64)[rng.permutation(16)].ravel()  # banks in another order
    mua = rng.gamma(4.0, 2.0, (1024, trials, len(TB))).astype(np.float32)
    save73(folder / "THINGS_MUA_trials.mat", ALLMAT=matrix, ALLMUA=mua, tb=TB[None])
    savemat(folder / "1024chns_mapping_20220105.mat", {"mapping": (mapping + 1)[None].astype(float)})
    _things_imgs(folder)
    window = (TB > 50) & (TB <= 150)
    names = [THINGS_NAMES[i - 1] if i > 0 else THINGS_NAMES[TRAIN - i - 1] for i in shown]
    return Layout(
        "tvsd_n_trials",
        ["THINGS_MUA_trials.mat", "things_imgs.mat", "1024chns_mapping_20220105.mat"],
        mua[mapping][512:768][:, :, window].astype(float).mean(2).T,
        names,
        photographs=THINGS_NAMES,
        responses=("THINGS_MUA_trials.mat", "ALLMUA"),
        axes=("site", "trial", "time"),
        ids=("THINGS_MUA_trials.mat", "ALLMAT"),
        unit="au",
    )


SHARED = [f"shared_{i + 1:04d}.png" for i in range(1000)]


def triple_n(folder: Path) -> Layout:
    """ses01_240629_M1_2.h5 as h5write makes it, and its info file; 1001 to 1072 are localizer images."""
    rng = np.random.default_rng(4)
    sites = 6
    shown = rng.permutation(np.r_[np.repeat(np.arange(1, 13), 4), np.repeat(np.arange(1001, 1005), 3)])
    shown[0], shown[1] = 1000, 1  # the last photograph and the first are among them
    rate = rng.uniform(0.01, 0.12, (sites, 1073))
    raster = rng.poisson(rate[:, shown][:, :, None], (sites, len(shown), 450)).astype(np.uint8)
    with h5py.File(folder / "ses01_240629_M1_2.h5", "w") as file:
        file["raster_matrix_img"] = raster.T  # MATLAB's unit x trial x time
        file.create_dataset("response_matrix_img", data=np.zeros((450, 1072, sites), np.float32), compression="gzip")
        file["LFP_Data"] = np.zeros((4, 2, len(shown)))
    units = np.zeros((1, sites), dtype=[("unittype", "O"), ("spikepos", "O")])
    savemat(
        folder / "ses01_240629_M1_2_info.mat",
        {
            "img_idx": shown[None].astype(float),
            "global_params": {"pre_onset": 50.0, "post_onset": 400.0, "PsthRange": np.arange(-49.0, 401)[None]},
            "meta_data": {"trial_valid_idx": np.r_[0, shown][None].astype(float)},
            "GoodUnitStrc": units,
        },
    )
    kept = shown <= 1000
    return Layout(
        "triple_n",
        ["ses01_240629_M1_2.h5", "ses01_240629_M1_2_info.mat"],
        raster[:, kept, 120:220].sum(2).T.astype(float),
        [SHARED[i - 1] for i in shown[kept]],
        photographs=SHARED,
        responses=("ses01_240629_M1_2.h5", "raster_matrix_img"),
        axes=("time", "trial", "site"),
        ids=("ses01_240629_M1_2_info.mat", "img_idx"),
        unit="spikes",
    )


def triple_n_processed(folder: Path) -> Layout:
    """Processed_ses01_240629_M1_2.mat: mean rates in the fixed window 69 to 220 ms and in each unit's own window."""
    mean, rng = _answers(1072, 5)
    save = {
        "UnitNum": 5.0,
        "response_basic": rng.normal(mean, 0.1).clip(0).T,
        "response_best": rng.normal(mean, 0.1).clip(0).T,
        "UnitType": np.array([[1.0, 1, 2, 2, 3]]),
        "pos": np.array([[100.0, 200, 300, 400, 500]]),
        "mean_psth": rng.uniform(0, 30, (5, 450)),
        "reliability_basic": np.array([[0.9, 0.5, 0.1, 0.6, 0.7]]),
        "reliability_best": np.array([[0.95, 0.6, 0.2, 0.7, 0.8]]),
        "snr": rng.uniform(0, 5, (1, 5)),
        "best_r_time1": np.full((1, 5), 90.0),
        "best_r_time2": np.full((1, 5), 200.0),
    }
    savemat(folder / "Processed_ses01_240629_M1_2.mat", save)
    return Layout(
        "triple_n_processed",
        ["Processed_ses01_240629_M1_2.mat"],
        save["response_basic"][:, :1000].T,
        SHARED,
        settings=["responses.averaged_over=4"],
        photographs=SHARED,
        responses=("Processed_ses01_240629_M1_2.mat", "response_basic"),
        axes=("site", "image"),
        averages=True,
        unit="spikes/s",
    )


HVM = [hashlib.sha1(bytes([i])).hexdigest() for i in range(12)]


def brainio(folder: Path) -> Layout:
    """An assembly as brainio writes it: netCDF-4, presentation x neuroid x time_bin, coordinates beside it."""
    import xarray

    mean, rng = _answers(len(HVM), 8)
    shown = rng.permutation(np.repeat(np.arange(len(HVM)), 5))
    values = rng.normal(mean[shown]).astype(np.float32)
    regions = np.array(["V4"] * 5 + ["IT"] * 3)
    array = xarray.DataArray(
        values[:, :, None],
        dims=("presentation", "neuroid", "time_bin"),
        coords={
            "stimulus_id": ("presentation", [HVM[i] for i in shown]),
            "repetition": ("presentation", np.arange(len(shown)) % 5),
            "neuroid_id": ("neuroid", [f"Chabo_L_M_{i}_9" for i in range(8)]),
            "region": ("neuroid", regions),
            "time_bin_start": ("time_bin", [70]),
            "time_bin_end": ("time_bin", [170]),
        },
        name="dicarlo.MajajHong2015.public",
        attrs={"stimulus_set_identifier": "hvm-public", "identifier": "dicarlo.MajajHong2015.public"},
    )
    array.to_netcdf(folder / "assy_dicarlo_MajajHong2015_public.nc", engine="h5netcdf")
    return Layout(
        "brainio",
        ["assy_dicarlo_MajajHong2015_public.nc"],
        values.astype(float),
        [f"{HVM[i]}.png" for i in shown],
        settings=["responses.array=dicarlo.MajajHong2015.public", "unit=au"],
        photographs=[f"{i}.png" for i in HVM],
        responses=("assy_dicarlo_MajajHong2015_public.nc", "dicarlo.MajajHong2015.public"),
        axes=("trial", "site", "one"),
        ids=("assy_dicarlo_MajajHong2015_public.nc", "stimulus_id"),
        unit="au",
    )


NSD = [f"nsd_{i:05d}.png" for i in (0, 1, 2948, 2949, 13, 14, 71230, 72999)]


def nsd(folder: Path) -> Layout:
    """betas_session01.hdf5 of a mask's voxels and responses.tsv, whose ids count from 1."""
    ids = np.array([int(n[4:9]) + 1 for n in NSD])
    mean, rng = _answers(len(ids), 7)
    shown = rng.permutation(np.repeat(np.arange(len(ids)), 3))
    betas = np.round(300 * rng.normal(mean[shown] - 6)).astype(np.int16)
    with h5py.File(folder / "betas_session01.hdf5", "w") as file:
        file["betas"] = betas
    with (folder / "responses.tsv").open("w", newline="") as stream:
        table = csv.writer(stream, delimiter="\t")
        table.writerow(["SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "TIME", "ISOLD", "ISCORRECT"])
        for t, i in enumerate(shown):
            table.writerow([1, 1, t // 12 + 1, t % 12 + 1, ids[i], i + 1, f"{0.4 + t * 4 / 86400:.9f}", 0, 1])
    return Layout(
        "nsd",
        ["betas_session01.hdf5", "responses.tsv"],
        betas / 300.0,
        [NSD[i] for i in shown],
        settings=["subject=subj01"],
        photographs=NSD,
        responses=("betas_session01.hdf5", "betas"),
        axes=("trial", "site"),
        ids=("responses.tsv", "73KID"),
        unit="beta",
    )


def bashivan(folder: Path) -> Layout:
    """npc_v4_data.h5: (repetition, image, site), padded with NaN; the images lie in the file."""
    images, repeats, sites = 16, 6, 5
    mean, rng = _answers(images, sites)
    values = rng.normal(mean, 1.0, (repeats, images, sites))
    counts = rng.integers(3, repeats + 1, images)
    for i, count in enumerate(counts):
        values[count:, i] = np.nan
    grey = rng.integers(0, 256, (images, 8, 8), np.uint8)
    with h5py.File(folder / "npc_v4_data.h5", "w") as file:
        file["images/naturalistic"] = grey
        for monkey, setting in (("monkey_m", "stretch"), ("monkey_n", "stretch")):
            file[f"neural/naturalistic/{monkey}/{setting}/session_1"] = values
            file[f"neural/synthetic/{monkey}/{setting}/session_1"] = values[:, :4]
            file[f"images/synthetic/{monkey}/{setting}/session_1"] = grey[:4]
            file[f"target_inds/{monkey}/{setting}/session_1"] = np.arange(2)
    rows = values.transpose(1, 0, 2).reshape(-1, sites)
    names = [f"natural_{i:03d}.png" for i in range(images) for _ in range(repeats)]
    kept = ~np.isnan(rows).all(1)
    return Layout(
        "bashivan",
        ["npc_v4_data.h5"],
        rows[kept],
        [n for n, k in zip(names, kept, strict=True) if k],
        settings=["subject=monkey_m", "responses.array=neural/naturalistic/monkey_m/stretch/session_1"],
        photographs=[f"natural_{i:03d}.png" for i in range(images)],
        responses=("npc_v4_data.h5", "neural/naturalistic/monkey_m/stretch/session_1"),
        axes=("repeat", "image", "site"),
        unit="au",
        more={"pictures": grey},
    )


def cowley(folder: Path) -> Layout:
    """responses_raw/responses_210325.npy: (site, image, repeat), spike counts, NaN where a repeat is missing."""
    images, sites, repeats = 60, 4, 5
    mean, rng = _answers(images, sites)
    raw = rng.poisson(mean.T[:, :, None], (sites, images, repeats)).astype(float)
    counts = rng.integers(2, repeats + 1, images)
    for i, count in enumerate(counts):
        raw[:, i, count:] = np.nan
    np.save(folder / "responses_210325.npy", raw)
    names = [f"image{i:05d}.jpg" for i in range(images)]
    rows = raw.transpose(1, 2, 0).reshape(-1, sites)
    kept = ~np.isnan(rows).all(1)
    image = np.repeat(names, repeats)
    return Layout(
        "v4_cowley2023",
        ["responses_210325.npy"],
        rows[kept],
        image[kept].tolist(),
        photographs=names,
        responses=("responses_210325.npy", ""),
        axes=("site", "image", "repeat"),
        unit="spikes",
        more={"raw": raw},
    )


def cowley_averages(folder: Path) -> Layout:
    """responses_repeat_averaged/responses_210322.npy: (site, image), mean counts."""
    mean, rng = _answers(24, 4)
    averages = rng.poisson(mean.T * 4).astype(float) / 4
    np.save(folder / "responses_210322.npy", averages)
    names = [f"image{i:05d}.jpg" for i in range(24)]
    return Layout(
        "v4_cowley2023_averages",
        ["responses_210322.npy"],
        averages.T,
        names,
        settings=["responses.averaged_over=4"],
        photographs=names,
        responses=("responses_210322.npy", ""),
        axes=("site", "image"),
        averages=True,
        unit="spikes",
    )


def xdream(folder: Path) -> Layout:
    """block000.mat, block001.mat: `stimulusID` (cell of paths) and `tEvokedResp`, as XDream waits for them."""
    ids = [f"gen000_{i:06d}" for i in range(8)]
    mean, rng = _answers(8, 5)
    rows, names = [], []
    for block in range(2):
        order = rng.permutation(np.tile(np.arange(8), 3))
        files = [f"block{block:03d}_{k:03d}_{ids[i]}.png" for k, i in enumerate(order)]
        values = rng.normal(mean[order] * 10)
        save73(
            folder / f"block{block:03d}.mat",
            stimulusID=[f"C:\\Stimuli\\today\\{f}" for f in files],
            tEvokedResp=values.T,
        )
        rows.append(values)
        names += [f"{ids[i]}.png" for i in order]
    return Layout(
        "xdream",
        ["block000.mat", "block001.mat"],
        np.concatenate(rows),
        names,
        settings=["unit=au", "window_ms=[70, 200]"],
        photographs=[f"{i}.png" for i in ids],
        responses=("block000.mat", "tEvokedResp"),
        axes=("site", "trial"),
        ids=("block000.mat", "stimulusID"),
        unit="au",
    )


def monkeylogic(folder: Path) -> Layout:
    """Beto-01012020-001_formatted.mat: `rasters` (unit x 200 ms x image), `Trials.imageName`, `meta.spikeID`."""
    names = [f"norm_328_PC2_{i * 18}_PC3_{i}" for i in range(9)]
    mean, rng = _answers(9, 4)
    shown = rng.permutation(np.repeat(np.arange(9), 6))
    rasters = rng.gamma(2.0, mean[shown].T[:, None, :], (4, 200, len(shown)))
    save73(
        folder / "Beto-01012020-001_formatted.mat",
        rasters=rasters,
        meta={"spikeID": np.array([[1.0], [1.0], [7.0], [12.0]]), "unitID": np.array([[1.0], [2.0], [1.0], [1.0]])},
        Trials={"imageName": [names[i] for i in shown]},
    )
    return Layout(
        "monkeylogic",
        ["Beto-01012020-001_formatted.mat"],
        rasters[:, 50:200].mean(1).T,
        [f"{names[i]}.bmp" for i in shown],
        settings=["unit=spikes/s"],
        photographs=[f"{n}.bmp" for n in names],
        responses=("Beto-01012020-001_formatted.mat", "rasters"),
        axes=("site", "time", "trial"),
        ids=("Beto-01012020-001_formatted.mat", "Trials/imageName"),
        unit="spikes/s",
    )


LAYOUTS: dict[str, Callable[[Path], Layout]] = {
    "tvsd_n_train": tvsd_averages,
    "tvsd_n_test": tvsd_repeats,
    "tvsd_n_trials": tvsd_trials,
    "triple_n": triple_n,
    "triple_n_processed": triple_n_processed,
    "brainio": brainio,
    "nsd": nsd,
    "bashivan": bashivan,
    "v4_cowley2023": cowley,
    "v4_cowley2023_averages": cowley_averages,
    "xdream": xdream,
    "monkeylogic": monkeylogic,
}
"""How each layout is written, by the name of its preset."""
