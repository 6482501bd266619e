"""Simulated subjects and the rig's process: determinism, noise statistics, file layout, and what the process may open."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from protocols.errors import DataError
from protocols.recordings.readers.hdf5 import read_responses
from protocols.simulate import v4 as v4_models
from protocols.simulate.command import main
from protocols.simulate.lite2 import choose_diverse, receptive_fields
from protocols.simulate.make import V4Choice, make_lite2_subject, make_v4_subject
from protocols.simulate.rig import Rig, answer, read_outbox, simulate_counts
from protocols.simulate.subject import Noise, Subject, as_seen, calibrated, expected_responses, regression, saturate

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "v4_cowley2023"
SITES, NOISE_SITES = 4, 1


def photographs(count: int, side: int = 48, seed: int = 0) -> np.ndarray:
    """Smooth coloured noise, uint8 (count, side, side, 3)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = sum(
        torch.nn.functional.interpolate(
            torch.randn(count, 3, n, n, generator=generator), size=side, mode="bilinear", align_corners=False
        )
        for n in (3, 6, 12, 24)
    )
    pixels = (128 + 40 * coarse).clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hidden") / "subject"
    return make_lite2_subject(folder, photographs(60), n_sites=SITES, n_noise_sites=NOISE_SITES, seed=3)


def write_outbox(outbox: Path, images: np.ndarray, *, repeats: int = 10, number: int = 1) -> Path:
    """An outbox written by hand: two blocks, every image in each."""
    (outbox / "images").mkdir(parents=True)
    ids = [f"r{number:02d}_{i + 1:04d}_x{i}y" for i in range(len(images))]
    for image_id, pixels in zip(ids, images, strict=True):
        Image.fromarray(pixels.squeeze()).save(outbox / "images" / f"{image_id}.png")
    generator = np.random.default_rng(0)
    rows, shown = [], dict.fromkeys(ids, 0)
    for block in range(2):
        for _ in range(repeats // 2):
            for i in generator.permutation(len(ids)):
                image = ids[i]
                rows.append([len(rows), block, shown[image], image, f"images/{image}.png", 100, 100])
                shown[image] += 1
    with open(outbox / "order.csv", "w", newline="") as handle:
        csv.writer(handle).writerows([["trial", "block", "rep", "image_id", "filename", "on_ms", "off_ms"], *rows])
    with open(outbox / "images.csv", "w", newline="") as handle:
        csv.writer(handle).writerows([["image_id", "filename"], *([i, f"images/{i}.png"] for i in ids)])
    manifest = {"schema": "manifest/1", "session": "ses_20261121", "round": number}
    (outbox / "manifest.json").write_text(json.dumps(manifest))
    seal(outbox)
    return outbox


def seal(outbox: Path) -> None:
    files = sorted(p for p in outbox.rglob("*") if p.is_file() and p.name not in ("checksums.sha256", "_READY"))
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(outbox).as_posix()}\n" for p in files]
    (outbox / "checksums.sha256").write_text("".join(lines))
    (outbox / "_READY").touch()


@pytest.fixture
def project(tmp_path) -> Path:
    """A project's round with an outbox and a sealed folder; returns the round's folder."""
    folder = tmp_path / "project" / "sessions" / "ses_20261121" / "round_01"
    write_outbox(folder / "outbox", photographs(6, seed=9))
    (folder / "sealed").mkdir()
    (folder / "sealed" / "key.csv").write_text("image_id,role\n")
    return folder


def test_subject_is_the_same_from_the_same_seed(subject, tmp_path) -> None:
    again = make_lite2_subject(tmp_path / "a", photographs(60), n_sites=SITES, n_noise_sites=NOISE_SITES, seed=3)
    other = make_lite2_subject(tmp_path / "b", photographs(60), n_sites=SITES, n_noise_sites=NOISE_SITES, seed=4)
    probe = photographs(5, seed=1)
    assert np.array_equal(expected_responses(subject, probe), expected_responses(again, probe))
    assert not np.allclose(expected_responses(subject, probe), expected_responses(other, probe))


def test_subject_has_the_promised_natural_statistics(subject) -> None:
    loaded = Subject.load(subject)
    natural, driven = loaded.natural_expected, slice(0, SITES)
    assert "easy transfer" in loaded.label
    assert len(loaded.site_ids) == SITES + NOISE_SITES == len(set(loaded.site_ids))
    assert np.array_equal(expected_responses(subject, photographs(60)), natural)  # known by their hash
    assert np.allclose(calibrated(loaded.drive(photographs(60)), loaded.tensors), natural, atol=1e-4)
    assert ((natural[:, driven].mean(0) > 2.5) & (natural[:, driven].mean(0) < 6.5)).all()
    assert ((natural[:, driven].std(0) > 1.0) & (natural[:, driven].std(0) < 3.3)).all()
    correlation = np.corrcoef(natural[:, driven].T)[np.triu_indices(SITES, 1)]
    assert np.abs(correlation).max() < 0.8
    blank = loaded.expected(np.full((1, 48, 48, 3), 128, np.uint8))[0]
    assert (blank[driven] < natural[:, driven].mean(0)).all()
    assert (natural[:, SITES:] == blank[SITES:]).all()  # the noise site sees nothing
    assert (natural >= 0).all()


def test_subject_answers_images_one_by_one_as_in_a_batch(subject) -> None:
    probe = photographs(5, seed=1)
    alone = np.concatenate([expected_responses(subject, probe[i : i + 1]) for i in range(5)])
    assert np.allclose(alone, expected_responses(subject, probe), atol=1e-4)


def test_subject_folder_is_never_overwritten_and_an_altered_one_is_refused(subject, tmp_path) -> None:
    with pytest.raises(DataError, match="Y02"):
        make_lite2_subject(subject, photographs(60), n_sites=SITES)
    copy = tmp_path / "copy"
    shutil.copytree(subject, copy)
    weights = (copy / "subject.safetensors").read_bytes()
    (copy / "subject.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(DataError, match="Y03"):
        Subject.load(copy)
    with pytest.raises(DataError, match="Y03"):
        Subject.load(tmp_path / "nothing")


def test_saturation_formula() -> None:
    maximum = np.array([4.0])
    x = np.array([[0.0], [3.0], [4.0], [6.0], [1e6]])
    assert saturate(x, maximum)[:, 0] == pytest.approx([0, 3, 4, 4 + 4 * np.tanh(0.5), 8])
    step = np.array([[4 - 1e-6], [4 + 1e-6]])
    assert np.diff(saturate(step, maximum)[:, 0])[0] == pytest.approx(2e-6, rel=1e-3)  # smooth: slope 1 on both sides


def test_as_seen_resizes_and_refuses_another_aspect() -> None:
    grey = np.full((2, 32, 64, 1), 77, np.uint8)
    assert as_seen(grey, (16, 32)).shape == (2, 16, 32, 3)
    assert (as_seen(grey, (16, 32)) == 77).all()
    with pytest.raises(ValueError, match="aspect"):
        as_seen(grey, (32, 32))
    with pytest.raises(ValueError, match="uint8"):
        as_seen(grey.astype(float), (32, 64))


def test_receptive_fields_sum_to_one_and_peak_at_their_centre() -> None:
    fields = receptive_fields(torch.tensor([[0.25, 0.75]]), torch.tensor([0.1]), (20, 20))
    assert fields.sum().item() == pytest.approx(1, abs=1e-5)
    row, column = divmod(int(fields[0].argmax()), 20)
    assert (row, column) in {(4, 14), (4, 15), (5, 14), (5, 15)}


def test_choose_diverse_leaves_out_copies() -> None:
    x = np.random.default_rng(0).standard_normal((200, 4))
    x[:, 1] = x[:, 0] + 0.01 * x[:, 1]
    assert choose_diverse(x, np.arange(4), 3, largest=0.5).tolist() == [0, 2, 3]
    with pytest.raises(ValueError, match="only 3"):
        choose_diverse(x, np.arange(4), 4, largest=0.5)


# ---- single trials -------------------------------------------------------------------------------------------------------------


def counts_of(noise: Noise, *, trials: int = 40_000, mean: float = 6.0, sites: int = 3) -> np.ndarray:
    return simulate_counts(
        np.full((trials, sites), mean), np.arange(trials) * 0.2, noise, generator=np.random.default_rng(5)
    )


def test_counts_have_the_fano_factor() -> None:
    still = {"shared_sd": 0.0, "drift_sd": 0.0, "round_sd": 0.0}
    for fano in (1.0, 1.3, 2.0):
        counts = counts_of(Noise(fano=fano, **still))
        assert counts.mean(0) == pytest.approx(6.0, rel=0.02)
        assert counts.var(0) / counts.mean(0) == pytest.approx(fano, rel=0.04)
    assert (counts == np.round(counts)).all()
    silent = simulate_counts(np.zeros((50, 2)), np.arange(50.0), Noise(), generator=np.random.default_rng(0))
    assert silent.sum() == 0


def test_shared_gain_correlates_the_sites() -> None:
    counts = counts_of(Noise(drift_sd=0.0, round_sd=0.0))
    covariance = np.cov(counts.T)[np.triu_indices(3, 1)]
    assert covariance == pytest.approx(36 * 0.1**2, rel=0.15)  # (mean * SD of the gain)^2
    expected = 0.36 / (1.3 * 6 + 0.36)
    assert np.corrcoef(counts.T)[np.triu_indices(3, 1)] == pytest.approx(expected, abs=0.015)
    assert np.abs(np.corrcoef(counts_of(Noise(shared_sd=0, drift_sd=0)).T)[np.triu_indices(3, 1)]).max() < 0.02


def test_gain_drifts_slowly_with_time() -> None:
    counts = counts_of(Noise(fano=1.0, shared_sd=0.0, round_sd=0.0), mean=400.0)
    gain = counts.reshape(200, 200, 3).mean(1) / 400  # averages over 200 neighbouring trials
    assert gain.std(0) == pytest.approx(0.05, rel=0.1)
    assert np.abs(np.diff(gain, axis=0)).max() < 0.02


# ---- the rig -------------------------------------------------------------------------------------------------------------------


def content(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        names = ["responses", "image_id", "site_id", *(f"trial/{name}" for name in file["trial"])]
        return {n: file[n].asstr()[()] if file[n].dtype == object else file[n][()] for n in names}


def test_rig_writes_the_shown_trials(subject, project) -> None:
    written, shown = answer(subject, project / "outbox", project / "inbox", rig=Rig(seed=1))
    assert (written, shown) == (57, 60)  # 5 % missing
    assert sorted(p.name for p in (project / "inbox").iterdir()) == ["responses.h5", "responses.h5.done"]
    responses = read_responses(project / "inbox" / "responses.h5")
    assert responses.values.shape == (57, SITES + NOISE_SITES)
    assert (responses.unit, responses.window_ms) == ("spikes", (70.0, 170.0))
    with open(project / "outbox" / "order.csv", newline="") as handle:
        order = list(csv.DictReader(handle))
    planned = {(r["image_id"], int(r["block"]), int(r["rep"])): int(r["trial"]) for r in order}
    keys = zip(responses.image_ids, responses.block, responses.rep, strict=True)
    trials = [planned[str(i), int(b), int(r)] for i, b, r in keys]
    assert len(set(trials)) == 57
    assert trials != sorted(trials)  # shuffled
    before = ["", *(r["image_id"] for r in order)]
    assert [before[t] for t in trials] == list(responses.prev_image_ids)
    onsets = dict(zip(trials, responses.onset_s, strict=True))
    assert [onsets[t] for t in sorted(trials)] == sorted(onsets.values())
    assert responses.source_site_ids != tuple(sorted(responses.source_site_ids))
    with h5py.File(project / "inbox" / "responses.h5") as file:
        manifest = (project / "outbox" / "manifest.json").read_bytes()
        assert file.attrs["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
        assert (file.attrs["round"], file.attrs["session_id"]) == (1, "ses_20261121")


def test_layouts_hold_the_same_trials_and_matlab_is_transposed(subject, project, tmp_path) -> None:
    for layout in ("python", "matlab"):
        answer(subject, project / "outbox", tmp_path / layout, rig=Rig(layout=layout))
    one, two = (content(tmp_path / layout / "responses.h5") for layout in ("python", "matlab"))
    assert one["responses"].shape == (57, SITES + NOISE_SITES)
    assert two["responses"].shape == (SITES + NOISE_SITES, 57)
    assert np.array_equal(one["responses"], two["responses"].T)
    for name in set(one) - {"responses"}:
        assert two[name].shape == (1, len(one[name]))
        assert np.array_equal(two[name][0], one[name])
    read = [read_responses(tmp_path / layout / "responses.h5") for layout in ("python", "matlab")]
    assert np.array_equal(read[0].values, read[1].values)
    assert read[0].site_ids == read[1].site_ids
    with pytest.raises(ValueError, match="layout"):
        answer(subject, project / "outbox", tmp_path / "other", rig=Rig(layout="fortran"))


def test_order_of_rows_and_sites_changes_no_count(subject, project, tmp_path) -> None:
    answer(subject, project / "outbox", tmp_path / "plain", rig=Rig(shuffle=False, permute_sites=False))
    answer(subject, project / "outbox", tmp_path / "mixed")
    plain, mixed = (content(tmp_path / n / "responses.h5") for n in ("plain", "mixed"))
    assert list(plain["site_id"]) == list(Subject.load(subject).site_ids)
    assert (np.diff(plain["trial/onset_s"]) > 0).all()
    rows = np.argsort(mixed["trial/onset_s"])
    columns = [list(mixed["site_id"]).index(s) for s in plain["site_id"]]
    assert np.array_equal(mixed["responses"][np.ix_(rows, columns)], plain["responses"])


def test_rounds_and_seeds_differ(subject, tmp_path) -> None:
    images = photographs(6, seed=9)
    first, second = (write_outbox(tmp_path / f"out{n}", images, number=n) for n in (1, 2))
    seen = []
    for outbox, seed in ((first, 0), (first, 1), (second, 0)):
        folder = tmp_path / f"in{len(seen)}"
        answer(subject, outbox, folder, rig=Rig(seed=seed, shuffle=False, permute_sites=False, missing=0.0))
        seen.append(content(folder / "responses.h5")["responses"])
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])


def test_the_first_blocks_are_the_same_when_a_look_changes_the_later_ones(subject, project) -> None:
    outbox, inbox = project / "outbox", project / "inbox"
    assert answer(subject, outbox, inbox, rig=Rig(first_blocks=1)) == (29, 30)  # 3 of all 60 trials are lost
    early = read_responses(inbox / "responses_before_block_01.h5")
    assert set(early.block.tolist()) == {0}
    with open(outbox / "order.csv", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["block"] == "1"]
    kept = [row for row in rows if row["image_id"].startswith(("r01_0001", "r01_0002"))]
    with open(outbox / "order_from_block_01.csv", "w", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        table.writerows(kept)
    unfinished = read_outbox(outbox)
    assert len(unfinished.block) == 60
    (outbox / "order_from_block_01.json").write_text("{}")
    assert len(read_outbox(outbox).block) == 30 + len(kept) < 60
    answer(subject, outbox, inbox, rig=Rig(missing=0.05))
    late = read_responses(inbox / "responses.h5")
    assert set(late.image_ids[late.block == 1]) == {row["image_id"] for row in kept}

    def counts(responses) -> dict[tuple[str, int], list[float]]:
        columns = [responses.site_ids.index(s) for s in sorted(responses.site_ids)]
        trials = zip(responses.image_ids, responses.rep.tolist(), responses.block, strict=True)
        return {(str(i), rep): responses.values[t, columns].tolist() for t, (i, rep, b) in enumerate(trials) if b == 0}

    assert counts(late) == counts(early)
    with pytest.raises(DataError, match="Y08"):
        answer(subject, outbox, inbox, rig=Rig(first_blocks=1))


def test_averages_approach_the_truth(subject, tmp_path) -> None:
    images = photographs(6, seed=9)
    outbox = write_outbox(tmp_path / "outbox", images, repeats=400)
    answer(subject, outbox, tmp_path / "inbox")
    responses = read_responses(tmp_path / "inbox" / "responses.h5").sites(Subject.load(subject).site_ids)
    shown = read_outbox(outbox)
    means, expected = responses.mean(list(shown.image_ids)), expected_responses(subject, shown.images)
    assert np.abs(means - expected).max() < 0.1 * expected.max() + 0.3  # a round's gain has an SD of 3 %


def test_invalid_trials_are_marked(subject, project) -> None:
    answer(subject, project / "outbox", project / "inbox", rig=Rig(missing=0.0, invalid=0.1))
    responses = read_responses(project / "inbox" / "responses.h5")
    assert (len(responses.values), int((~responses.valid).sum())) == (60, 6)


ENTRY = """
import json, os, runpy, sys
opened = []
listening = True
def hear(event, args):
    if listening and event in ("open", "os.listdir", "os.scandir"):
        opened.append(str(args[0]))
sys.addaudithook(hear)
sys.argv[0] = "protocols.simulate"
def run():
    runpy.run_module("protocols.simulate", run_name="__main__", alter_sys=True)
try:
    run()
except SystemExit as stop:
    if stop.code:
        raise
finally:
    listening = False
    with open(os.environ["OPENED"], "w") as log:
        json.dump(opened, log)
sys.argv[0] = "protocols.simulate"
run()
"""


def rig_words(subject: Path, folder: Path) -> list[str]:
    places = ["--subject", subject, "--outbox", folder / "outbox", "--inbox", folder / "inbox"]
    return ["rig", *map(str, places), "--seed", "2"]


def rig_process_twice(subject: Path, folder: Path, log: Path) -> subprocess.CompletedProcess[str]:
    """The rig as its process runs it, then once more; `log` lists what the first run opened."""
    command = [sys.executable, "-c", ENTRY, *rig_words(subject, folder)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"OPENED": str(log)}
    )


@pytest.mark.thorough
@pytest.mark.slow
def test_rig_process_opens_only_outbox_and_subject(subject, project, tmp_path) -> None:
    done = rig_process_twice(subject, project, tmp_path / "log.json")
    assert "57 of 60 trials written" in done.stdout
    assert done.returncode == 3  # the inbox holds an answer already
    assert "error[Y08]" in done.stderr
    assert "Traceback" not in done.stderr
    root = tmp_path / "project"
    opened = [Path(p) for p in json.loads((tmp_path / "log.json").read_text())]
    of_project = [p for p in opened if p.is_relative_to(root)]
    assert of_project
    assert all(p.is_relative_to(project / "outbox") or p.is_relative_to(project / "inbox") for p in of_project)
    first = (project / "inbox" / "responses.h5").read_bytes()
    shutil.rmtree(project / "sealed")  # the answer does not change by a byte without it, nor in another process
    shutil.rmtree(project / "inbox")
    assert main(["-q", *rig_words(subject, project)]) == 0
    assert (project / "inbox" / "responses.h5").read_bytes() == first


def test_outbox_that_is_not_as_exported_is_refused(subject, project) -> None:
    outbox, inbox = project / "outbox", project / "inbox"
    image = next((outbox / "images").iterdir())
    original = image.read_bytes()
    Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(image)
    with pytest.raises(DataError, match=r"Y05.*SHA-256 differs"):
        answer(subject, outbox, inbox)
    image.unlink()
    with pytest.raises(DataError, match=r"Y05.*missing"):
        answer(subject, outbox, inbox)
    image.write_bytes(original)
    (outbox / "_READY").unlink()
    with pytest.raises(DataError, match="Y04"):
        answer(subject, outbox, inbox)
    assert not inbox.exists()


def test_command_line(subject, project, tmp_path, capsys) -> None:
    arguments = ["--subject", str(subject), "--outbox", str(project / "outbox")]
    assert main(["-q", "truth", *arguments, "--out", str(tmp_path / "truth.npz")]) == 0
    with np.load(tmp_path / "truth.npz", allow_pickle=False) as truth:
        assert truth["expected"].shape == (6, SITES + NOISE_SITES)
        assert truth["natural_expected"].shape == (60, SITES + NOISE_SITES)
        assert tuple(truth["site_ids"]) == Subject.load(subject).site_ids
        shown = read_outbox(project / "outbox")
        assert tuple(truth["image_ids"]) == shown.image_ids
        assert np.allclose(truth["expected"], expected_responses(subject, shown.images), atol=1e-4)
    assert main(["-q", "rig", *arguments, "--inbox", str(project / "inbox"), "--missing", "0.5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "simulated rig: 30 of 60 trials written (python layout)"
    with pytest.raises(SystemExit) as usage:
        main(["rig", *arguments, "--inbox", "x", "--missing", "1.5"])
    assert usage.value.code == 2


def test_lite2_command_makes_a_subject_of_a_folder(tmp_path) -> None:
    folder = tmp_path / "data" / "natural"
    folder.mkdir(parents=True)
    for i, pixels in enumerate(photographs(60, side=32)):
        Image.fromarray(pixels).save(folder / f"nat_{i:03d}.png")
    arguments = ["lite2", "--subject", str(tmp_path / "subject"), "--sites", "3", "--noise-sites", "0"]
    assert main(["-q", *arguments, "--images", str(tmp_path / "data")]) == 0
    assert Subject.load(tmp_path / "subject").natural_expected.shape == (60, 3)
    (tmp_path / "empty").mkdir()
    assert main(["-q", *arguments, "--images", str(tmp_path / "empty")]) == 3


# ---- V4 models -----------------------------------------------------------------------------------------------------------------


def random_state(channels: tuple[int, ...] = (3, 4, 5, 4, 3, 2)) -> dict[str, torch.Tensor]:
    """A site model of the published architecture with random weights."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(*shape, generator=generator)

    state = {}
    for layer in range(5):
        inputs, outputs, name = channels[layer], channels[layer + 1], f"layer{layer}_"
        if layer:
            state[f"{name}conv_depth.weight"] = draw(inputs, 1, 5, 5)
        mix, side = (f"{name}conv_point", 1) if layer else (f"{name}conv", 5)
        state[f"{mix}.weight"], state[f"{mix}.bias"] = draw(outputs, inputs, side, side), draw(outputs)
        for part in ("weight", "bias", "running_mean"):
            state[f"{name}bn.{part}"] = draw(outputs)
        state[f"{name}bn.running_var"] = draw(outputs).abs() + 0.5
    state["Beta.weight"], state["Beta.bias"] = draw(1, 28 * 28 * channels[-1]), draw(1)
    return state


def test_folded_site_equals_the_published_architecture() -> None:
    """Against torch modules put together from the written description, batch norm not folded."""
    state, images = random_state(), photographs(2, side=112)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() - torch.tensor(v4_models.CHANNEL_MEAN).view(1, 3, 1, 1)
    for layer in range(5):
        name = f"layer{layer}_"
        if layer == 0:
            x = torch.conv2d(x, state[f"{name}conv.weight"], state[f"{name}conv.bias"], padding=2)
        else:
            depth = state[f"{name}conv_depth.weight"]
            x = torch.nn.functional.pad(x, (1, 3, 1, 3) if layer < 3 else (2, 2, 2, 2))
            x = torch.conv2d(x, depth, stride=2 if layer < 3 else 1, groups=len(depth))
            x = torch.conv2d(x, state[f"{name}conv_point.weight"], state[f"{name}conv_point.bias"])
        norm = torch.nn.BatchNorm2d(x.shape[1]).eval()
        norm.load_state_dict({part: state[f"{name}bn.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}, strict=False)  # fmt: skip
        x = torch.relu(norm(x))
    assert x.shape[2:] == (28, 28)
    expected = x.permute(0, 2, 3, 1).flatten(1) @ state["Beta.weight"].T + state["Beta.bias"]
    found = v4_models.model_responses(images, [v4_models.fold(state)])
    assert np.allclose(found, expected.detach().numpy(), rtol=1e-4, atol=1e-3 * expected.abs().max().item())
    with pytest.raises(ValueError, match="112"):
        v4_models.model_responses(photographs(1, side=64), [])


def test_unknown_session_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"Y01.*201025"):
        v4_models.read_images(tmp_path, "210322")


@pytest.fixture(scope="module")
def recordings() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"no recordings at {SHARED.name} beside the repository: the V4 subject is NOT checked")
    return SHARED


@pytest.mark.thorough
@pytest.mark.shared_data
@pytest.mark.slow
@pytest.mark.parametrize(("session", "stated", "median"), [("201025", 0.697, 0.633), ("210225", 0.580, 0.589)])
def test_v4_models_agree_with_the_recorded_averages(recordings, session, stated, median) -> None:
    """First 8 sites, last 120 images. The data's page states medians over 120 images without saying which."""
    images = v4_models.read_images(recordings, session)[-120:]
    averages = v4_models.read_averages(recordings, session)[-120:]
    states = v4_models.read_models(recordings, session)
    sites = sorted(states)[:8]
    r = regression(v4_models.model_responses(images, [v4_models.fold(states[s]) for s in sites]), averages[:, sites])[2]
    assert np.median(r) == pytest.approx(median, abs=0.002)
    assert np.median(r) == pytest.approx(stated, abs=0.1)


@pytest.mark.thorough
@pytest.mark.shared_data
@pytest.mark.slow
def test_v4_subject_is_calibrated_to_the_recorded_counts(recordings, tmp_path, monkeypatch) -> None:
    images, averages = (read(recordings, "210225")[::5] for read in (v4_models.read_images, v4_models.read_averages))
    monkeypatch.setattr(v4_models, "read_images", lambda *_: images)
    monkeypatch.setattr(v4_models, "read_averages", lambda *_: averages)
    folder = make_v4_subject(tmp_path / "subject", recordings, "210225", choice=V4Choice(sites=[2, 3], minimum_r=0.62))
    with pytest.raises(ValueError, match=r"1 sites .* expected 2"):
        make_v4_subject(tmp_path / "two", recordings, "210225", choice=V4Choice(sites=[2, 3], count=2, minimum_r=0.62))
    subject = Subject.load(folder)
    assert subject.site_ids == ("v4_003",)  # the model of site 2 is too far from the recording
    assert subject.natural_expected.mean(0) == pytest.approx(averages[:, [3]].mean(0), rel=0.05)
    assert (subject.tensors["model_r"].numpy() >= 0.62).all()
    probe = images[:4]
    recomputed = calibrated(subject.drive(probe), subject.tensors)
    assert np.allclose(recomputed, subject.natural_expected[:4], atol=1e-4)
    assert np.array_equal(subject.expected(probe), subject.natural_expected[:4])
    assert (subject.natural_expected <= 2 * subject.saturation).all()
    assert ((subject.natural_expected > subject.saturation).mean(0) < 0.009).all()  # 0.5 % of 240 images
