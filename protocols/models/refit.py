"""Between two rounds: the encoder that makes the next images is reused or fitted anew, and a worse one is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.fitting.options import NoWarmStart
from encoders.fitting.predict import predict_stored
from encoders.fitting.trials import Trials
from encoders.gain import fit_adjustment
from protocols.arrays import Bools
from protocols.disk.locks import alone
from protocols.errors import DataError
from protocols.progress import Reporter
from protocols.project.fitted import Fitted, maker, write_fitted
from protocols.project.folder import Project
from protocols.project.outbox import read_manifest
from protocols.recordings.dataset import Dataset, gather

from .change import paired_change, paired_error_change
from .fit import Weights, fit_on, held_out_of, image_weights
from .pair import Predictor, Record, load_encoder, save_encoder, serving
from .yardstick import regression_check


@alone("fit")
def provide(
    project: Project,
    number: int,
    *,
    mode: str = "",
    force: str = "",
    as_shown: bool = False,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> Record:
    """The encoder and the validator that make round `number`; writes ``fitted/for_round_NN.json``, which names them,
    and returns it.

    Round 1, or whatever has no encoder before it, is fitted. Later ones follow `mode` (default: ``[refit] mode``). A
    refit that predicts the frozen held-out photographs worse by more than the tolerance is refused: the old pair
    serves on, and the record says so; `force` (default: ``[refit] accept_worse``) is the reason to accept it
    nevertheless. With `as_shown` a round that was exported takes no other encoder than the one of its manifest.

    Raises
    ------
    DataError
        D05: no site is reliable enough; T01: the held-out photographs are not those of the last fit; T03: another
        encoder made the images of the round.
    """
    project = project.for_stage()
    settings = project.config.refit
    mode, before = mode or settings.mode, serving(project, number)
    if before is None:
        mode, record = "first", _fitted(project, number, None, device=device, progress=progress).record
    elif mode == "reuse":
        record = before | {"round": number}
    else:
        make = {"full": _fitted, "warm": _warm, "gain": _adjusted}[mode]
        record = _refitted(
            project,
            make(project, number, before, device=device, progress=progress),
            before,
            force=force or settings.accept_worse,
            device=device,
        )
    record["refit"] = {"mode": mode} | record.get("refit", {}) if mode not in ("first", "reuse") else {"mode": mode}
    if as_shown:
        _refuse_another_maker(project, number, record)
    write_fitted(project.fitted, number, record)
    return record


def refuse_shown(project: Project, number: int) -> None:
    """Refuse to fit round `number` anew where its encoder made images already: the record must go on naming that
    encoder. A record that was lost may be fitted again; `_refuse_another_maker` compares it with the round.

    Raises
    ------
    DataError
        T03: the round has a record of its fit and an outbox, or controllers that are not exported.
    """
    recorded = project.fitted_for(number) is not None
    for round_ in (r for r in project.rounds() if r.number == number):
        exported = round_.outbox.is_dir()
        if exported and recorded:
            fix = (
                "run `stimsynth refit` for the encoder of the next round when this one is ingested, or begin a new "
                "project with `stimsynth init`"
            )
        elif round_.controllers_path.is_file() and not exported:
            fix = (
                f"delete the folder {round_.folder.name}, of which nothing was exported, then run `stimsynth fit`; "
                "for another project, `stimsynth init`"
            )
        else:
            continue
        raise _shown(number, "an encoder that made the images of the round", fix=fix)


def _refuse_another_maker(project: Project, number: int, record: Record) -> None:
    """Refuse a new record of an exported round (T03) that names another encoder than the round's manifest."""
    for round_ in (r for r in project.rounds() if r.number == number):
        if not (round_.outbox / "manifest.json").is_file():
            continue
        shown = read_manifest(round_.outbox).get("encoder", {}).get("fingerprint")
        if shown is not None and shown != maker(record):
            found = f"the encoder {maker(record)}, where {shown} made the images of the round"
            raise _shown(number, found, fix="restore the record from a backup; the fit of today is another one")


def _shown(number: int, found: str, *, fix: str) -> DataError:
    return DataError(
        f"fitted/for_round_{number:02d}.json",
        found=found,
        expected="the encoder of a round whose images are not made yet, or the very one that made them",
        cause="the round was fitted again after it had begun",
        fix=fix,
        code="T03",
    )


@alone("refit")
def refit(
    project: Project, *, mode: str = "", force: str = "", device: str = "cpu", progress: Reporter | None = None
) -> Record:
    """The encoder of the round after the last ingested one; see `provide`.

    Raises
    ------
    DataError
        T02: that round's controllers were made already, by the encoder that would be replaced.
    """
    number = max((r.number for r in project.rounds() if r.ingested), default=0) + 1
    made = [r for r in project.rounds() if r.number == number and r.controllers_path.is_file()]
    if made:
        raise DataError(
            str(made[0].controllers_path.relative_to(project.folder)),
            found=f"controllers of round {number}",
            expected="a round that is not generated yet",
            cause="`stimsynth run` has gone on with the encoder at hand",
            fix="go on with it, or delete the round's folder (only if it was not shown) and refit again",
            code="T02",
        )
    return provide(project, number, mode=mode, force=force, device=device, progress=progress)


@dataclass(frozen=True)
class _Made:
    """A new pair, saved, with its record and the data that it was made of."""

    encoder: Predictor
    validator: Predictor
    record: Record
    data: Dataset
    held_out: Bools


def _earlier(project: Project, number: int) -> list[int]:
    return [r.number for r in project.rounds() if 0 < r.number < number]


def _weights(project: Project, data: Dataset, fitted: Bools, *, newest: int) -> Weights:
    settings = project.config.refit
    of = {"recency": settings.recency, "floor": settings.natural_floor, "share": settings.natural_share}
    return image_weights(data, fitted, newest=newest, **of)


def _fitted(
    project: Project,
    number: int,
    before: Record | None,
    *,
    device: str,
    progress: Reporter | None,
    initial: tuple[Predictor, ...] | None = None,
    base: Sequence[int] = (),
) -> _Made:
    """A fit on the baseline and all earlier rounds, going on from `initial`, which was fitted from scratch on the
    rounds `base`.
    """
    earlier = _earlier(project, number)
    data = gather(project, earlier)
    held_out = held_out_of(project, data)
    weights = _weights(project, data, ~held_out, newest=max(earlier, default=0))
    first = first_shown(data)
    added = None if initial is None else np.where(np.isin(first, base), 0, np.maximum(first, 0))
    pair = fit_on(project, data, weights, initial=initial, added=added, device=device, progress=progress)
    record = {
        "schema": "fitted/1",
        "round": number,
        "encoder": save_encoder(project, pair.encoder),
        "validator": save_encoder(project, pair.validator),
        **({"final": save_encoder(project, pair.final)} if pair.final is not None else {}),
        "rounds": [0, *earlier],
        "n_images": len(data.pixels),
        "n_trials": int((data.image_index >= 0).sum()),
        "held_out": [data.source_ids[i] for i in np.flatnonzero(held_out[: data.natural])],
        "refit": {"weights": weights.to_dict()},
        "drift": data.aligned,
        "report": pair.report.to_dict(),
    }
    return _Made(encoder=pair.encoder, validator=pair.validator, record=record, data=data, held_out=held_out)


def _warm(project: Project, number: int, before: Record, *, device: str, progress: Reporter | None) -> _Made:
    """A fit that goes on from the pair that serves; one from scratch, which says why, where it cannot."""
    base = Fitted(before).fitted_rounds
    initial = tuple(load_encoder(project, folder) for folder in Fitted(before).members.values())
    try:
        made = _fitted(project, number, before, device=device, progress=progress, initial=initial, base=base)
    except NoWarmStart as reason:
        made = _fitted(project, number, before, device=device, progress=progress)
        made.record["refit"]["fitted_from_scratch"] = str(reason)
        return made
    made.record["fitted_rounds"] = base
    return made


def first_shown(data: Dataset) -> NDArray[np.int64]:
    """Round in which every image was shown first, (N,); -1 = never."""
    shown = data.image_index >= 0
    first = np.full(len(data.pixels), np.iinfo(np.int64).max)
    np.minimum.at(first, data.image_index[shown], data.trial_rounds[shown])
    return np.where(first == np.iinfo(np.int64).max, -1, first)


def _adjusted(project: Project, number: int, before: Record, *, device: str, progress: Reporter | None) -> _Made:
    """The readouts of the pair that serves, with gain and offset of every site from the rounds that these were
    not fitted to.
    """
    seen = Fitted(before).readout_rounds
    new = [n for n in _earlier(project, number) if n not in seen]
    data = gather(project, _earlier(project, number))
    held_out = held_out_of(project, data)
    since = replace(data, image_index=np.where(np.isin(data.trial_rounds, new), data.image_index, -1))
    weights = _weights(project, since, ~held_out, newest=max(new, default=0))
    shown = ~held_out & np.isin(np.arange(len(data.pixels)), since.image_index)
    record = before | {"round": number, "rounds": [*seen, *new], "readout_rounds": seen, "drift": data.aligned}
    record |= {"fitted_rounds": list(before.get("fitted_rounds", seen))}
    record |= {"n_images": len(data.pixels), "n_trials": int((data.image_index >= 0).sum())}
    adjustments, pair = {}, []
    for name, folder in Fitted(before).members.items():
        old = load_encoder(project, folder).unadjusted()
        recording = _recording(since, shown, [data.site_ids.index(s) for s in old.site_ids])
        predicted = np.zeros((0, len(old.site_ids)))
        if shown.any():
            predicted = predict_stored(old, data.pixels[shown], project.cache, device=device).mean(0).double().numpy()
        found = fit_adjustment(
            predicted,
            recording.means(),
            natural_mean=old.natural_mean.double().numpy(),
            natural_sd=old.natural_sd.double().numpy(),
            weights=recording.counts().mean(1) * (1.0 if weights.factors is None else weights.factors[shown]),
        )
        made = old.adjusted(torch.from_numpy(found.gain), torch.from_numpy(found.offset))
        record[name], adjustments[name] = (
            save_encoder(project, made),
            {"sites": list(old.site_ids)} | found.to_dict(),
        )
        pair.append(made)
    record["refit"] = {"weights": weights.to_dict(), "adjustment": adjustments}
    return _Made(encoder=pair[0], validator=pair[1], record=record, data=data, held_out=held_out)


def _recording(data: Dataset, images: Bools, columns: Sequence[int]) -> Trials:
    """Trials of `images` (N,) and of the sites `columns`, weighted by what is behind them where they are averages."""
    rows = data.image_index >= 0
    trials = np.ones(len(rows)) if data.averaged_over is None else data.averaged_over.astype(np.float64)
    whole = Trials(
        values=data.values[rows], index=data.image_index[rows], repeats=trials[rows], n_images=len(data.pixels)
    )
    return whole.part(images).sites(columns)


def _refitted(project: Project, made: _Made, before: Record, *, force: str, device: str) -> Record:
    """The record of a refit that was judged: its own, or, where it is refused, the old one's."""
    record = dict(made.record)
    pair = (made.encoder, made.validator)
    judge = paired_error_change if "adjustment" in record["refit"] else paired_change
    check = regression_check(project, before, pair, data=made.data, held_out=made.held_out, judge=judge, device=device)
    if check["verdict"] == "refused" and force:
        check |= {"verdict": "forced", "reason": force}
    refit = record.pop("refit") | {"regression_check": check}
    if check["verdict"] != "refused":
        return record | {"refit": refit}
    named = ("encoder", "validator", "final", "rounds", "n_images", "n_trials")
    refused = {name: record[name] for name in named if name in record}
    return before | {"round": record["round"], "refit": refit | {"refused": refused}}


def refit_text(record: Record) -> str:
    """What became of the encoder, in a few lines for a terminal."""
    refit = record.get("refit", {})
    check = refit.get("regression_check")
    lines = {
        "first": ["first fit: nothing to compare it with"],
        "reuse": [f"reused: {maker(record)} serves again"],
    }.get(refit.get("mode", "first"), [])
    if check is None:
        return "\n".join(lines)
    outcome = {
        "accepted": f"refit accepted: {maker(record)} serves",
        "refused": f"REFIT REFUSED: {maker(record)} serves on",
        "forced": f"refit accepted although worse: {check['reason']}",
        "unchecked": f"refit accepted unchecked: {check['reason']}",
    }[check["verdict"]]
    for name in ("encoder", "validator"):
        if name in check:
            c = check[name]
            lines.append(
                f"  {name}: median {c['score']} over {c['sites']} sites on {c['images']} held-out photographs "
                f"{_number(c['median_before'])} -> {_number(c['median_after'])}, "
                f"paired change {_number(c['median_change'], '+')} "
                f"[{_number(c['low'], '+')}, {_number(c['high'], '+')}]; "
                f"refused below {_number(0.0 - check['tolerance'], '+')}"
            )
    if "fitted_from_scratch" in refit:
        lines.append(f"  no warm start: {refit['fitted_from_scratch']}; fitted from scratch")
    return "\n".join([outcome, *lines])


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"
