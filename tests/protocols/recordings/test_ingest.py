"""Round trips, and every refusal of ingest; a refused answer leaves the round as it was."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from protocols.disk.files import sha256_file
from protocols.errors import DataError
from protocols.recordings.ingest import IngestReport, ingest, poll_inbox
from protocols.recordings.readers.hdf5 import read_responses


def digest(folder: Path) -> str:
    """Hash over the names and bytes of everything in `folder` but the inbox."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.parent.name != "inbox"):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


def hand_in(round_, answer, layout="python"):
    """Write the answer into the inbox as a rig does."""
    part = answer.write(round_.inbox / "responses.h5.part", layout)
    os.replace(part, round_.inbox / "responses.h5")
    (round_.inbox / "responses.h5.done").touch()
    return round_.inbox / "responses.h5"


def refused(round_, code, **options):
    """Ingest must raise `code` and change nothing."""
    before = digest(round_.folder)
    with pytest.raises(DataError) as caught:
        ingest(round_, **options)
    assert caught.value.code == code, caught.value
    assert digest(round_.folder) == before
    return caught.value


def clear(round_):
    """Forget an ingest."""
    for path in (round_.responses_path, round_.ingest_path):
        path.unlink(missing_ok=True)


def test_a_faithful_answer(exported, lab):
    hand_in(exported, lab.record(exported))
    report = ingest(exported)
    assert (report.status, report.planned, report.found, report.used) == ("ingested", 36, 36, 36)
    assert report.missing == {}
    assert report.dropped == {}
    assert report.notes == []
    assert exported.state == "ingested"
    table = read_responses(exported.responses_path)
    assert table.site_ids == lab.sites
    assert table.attributes["round"] == 1
    assert table.attributes["session_id"] == "ses_20261121"
    keys = list(zip(table.block, table.rep, table.image_ids, strict=True))
    assert keys == sorted(keys)
    assert IngestReport.from_json(exported.ingest_path) == report
    assert str(exported.folder) not in exported.ingest_path.read_text() + exported.log_path.read_text()


def test_any_layout_gives_the_same_bytes(exported, lab):
    answer = lab.record(exported)
    shuffled = np.random.default_rng(3).permutation(len(answer.images))
    variants = [
        (answer, "python"),
        (answer, "matlab"),
        (answer.rows(shuffled), "python"),
        (answer.permute_sites([4, 2, 0, 1, 3]).rows(shuffled), "matlab"),
    ]
    found = set()
    for variant, layout in variants:
        clear(exported)
        hand_in(exported, variant, layout)
        ingest(exported)
        found.add(sha256_file(exported.responses_path))
    assert len(found) == 1


def test_values_follow_their_image_and_repeat(exported, lab):
    answer = lab.record(exported)
    hand_in(exported, answer.permute_sites([1, 0, 4, 3, 2]).rows(np.arange(36)[::-1]), "matlab")
    ingest(exported)
    table = read_responses(exported.responses_path)
    expected = {(i, r): v for i, r, v in zip(answer.images, answer.rep, answer.values, strict=True)}
    for image, rep, row in zip(table.image_ids, table.rep, table.values, strict=True):
        np.testing.assert_array_equal(row, expected[str(image), int(rep)])


def test_missing_trials_are_counted(exported, lab):
    answer = lab.record(exported)
    first = [i for i, (image, rep) in enumerate(zip(answer.images, answer.rep, strict=True)) if rep == 1][:3]
    hand_in(exported, answer.rows(np.setdiff1d(np.arange(36), first)))
    report = ingest(exported)
    assert report.used == 33
    assert sum(report.missing.values()) == 3
    assert set(report.missing) == {answer.images[i] for i in first}
    assert "fewer repeats" in report.summary()


def test_invalid_and_empty_rows_are_dropped_and_counted(exported, lab):
    answer = lab.record(exported)
    valid = np.ones(36, dtype=bool)
    valid[4] = False
    answer.values[9] = np.nan
    hand_in(exported, replace(answer, valid=valid))
    report = ingest(exported)
    assert report.used == 34
    assert sum(report.dropped.values()) == 2
    assert set(report.dropped) == {answer.images[4], answer.images[9]}


def test_block_and_rep_from_onset_or_row_order(exported, lab):
    answer = lab.record(exported)
    hand_in(exported, answer)
    ingest(exported)
    stated = read_responses(exported.responses_path)
    shuffled = np.random.default_rng(0).permutation(36)
    for variant in (
        replace(answer, stated=False),
        replace(answer.rows(shuffled), stated=False, timed=True),
    ):
        clear(exported)
        hand_in(exported, variant)
        report = ingest(exported)
        assert any("k-th usable showing" in n for n in report.notes)
        table = read_responses(exported.responses_path)
        np.testing.assert_array_equal(table.values, stated.values)
        np.testing.assert_array_equal(table.rep, stated.rep)
        np.testing.assert_array_equal(table.block, stated.block)


def test_missing_trials_without_block_and_rep_are_called_approximate(exported, lab):
    hand_in(exported, replace(lab.record(exported).rows(slice(2, None)), stated=False))
    assert any("approximate" in n for n in ingest(exported).notes)


def test_aborted_showings_that_were_shown_again(exported, lab):
    answer = lab.record(exported)
    again = answer.rows(np.concatenate([np.arange(36), [0, 1]]))
    valid = np.ones(38, dtype=bool)
    valid[:2] = False
    hand_in(exported, replace(again, valid=valid, stated=False))
    report = ingest(exported)
    assert (report.found, report.used, report.missing) == (38, 36, {})
    assert sum(report.dropped.values()) == 2


@pytest.mark.parametrize("name", ["", "fixation_break", "NaN", "-1"])
def test_aborted_trials_need_not_name_an_image(exported, lab, name):
    answer = lab.record(exported)
    hand_in(exported, answer)
    ingest(exported)
    faithful = read_responses(exported.responses_path)
    clear(exported)
    more = answer.rows(np.concatenate([np.arange(36), [5, 9]]))
    valid = np.arange(38) < 36
    path = hand_in(exported, replace(more, valid=valid))
    with h5py.File(path, "r+") as file:
        names = file["image_id"].asstr()[()].astype(object)
        names[36:] = name
        del file["image_id"]
        file.create_dataset("image_id", data=names, dtype=h5py.string_dtype())
        file["trial/block"][36:], file["trial/rep"][36:] = -1, -1
    report = ingest(exported)
    assert (report.found, report.used, sum(report.dropped.values())) == (38, 36, 2)
    table = read_responses(exported.responses_path)
    np.testing.assert_array_equal(table.values, faithful.values)
    clear(exported)
    with h5py.File(path, "r+") as file:
        file["trial/valid"][36:] = 1
    refused(exported, {"fixation_break": "I07"}.get(name, "R08"))


@pytest.mark.parametrize("column", ["block", "rep"])
def test_one_column_that_the_order_of_the_rows_contradicts(exported, lab, column):
    """Rows that were sorted in another way, with one of both columns: not taken by their order as if it were not there."""
    answer = lab.record(exported)
    for rows, agrees in ((np.arange(36), True), (np.arange(36)[::-1], False)):
        clear(exported)
        path = hand_in(exported, replace(answer.rows(rows), timed=False))
        with h5py.File(path, "r+") as file:
            del file["trial/rep" if column == "block" else "trial/block"]
        if agrees:
            assert ingest(exported).used == 36
        else:
            assert f"trial/{column} that contradicts" in str(refused(exported, "I11"))


def test_averages_are_accepted_and_marked(exported, lab):
    answer = lab.record(exported)
    images = sorted(set(answer.images))
    means = np.array([answer.values[np.array(answer.images) == i].mean(0) for i in images])
    path = hand_in(exported, replace(answer.rows(np.arange(len(images))), images=images, values=means, stated=False))
    with h5py.File(path, "a") as file:
        file["trial/averaged_over"] = np.full(len(images), 4)
    report = ingest(exported)
    assert report.missing == {}
    assert any("averages" in n for n in report.notes)
    table = read_responses(exported.responses_path)
    assert table.averaged_over is not None
    assert table.block is None
    assert list(table.image_ids) == images


def test_odd_sites_are_reported_not_fatal(exported, lab):
    answer = lab.record(exported)
    answer.values[:, 0], answer.values[:, 1], answer.values[:, 2] = np.nan, 0, 7
    hand_in(exported, answer)
    report = ingest(exported)
    assert report.sites == {lab.sites[0]: "no value (all NaN)", lab.sites[1]: "all zero", lab.sites[2]: "constant (7)"}


def test_foreign_site_names_and_new_sites(project, lab):
    round_ = project.new_round(0, "ses_20261120")
    lab.export(round_, stimuli=lab.photographs(), sites=[], predict=None, manifest={})
    answer = lab.record(round_)
    hand_in(round_, replace(answer, sites=["Site-0012", "12", "b", "a", "c"]))
    report = ingest(round_)
    assert any("Site-0012" in n for n in report.notes)
    assert read_responses(round_.responses_path).site_ids == ("a", "b", "c", "site_0012", "site_12")


def test_extra_sites_are_kept_behind_those_of_the_encoder(exported, lab):
    answer = lab.record(exported)
    wide = replace(answer, sites=[*answer.sites, "aaa"], values=np.column_stack([answer.values, answer.values[:, 0]]))
    hand_in(exported, wide)
    report = ingest(exported, encoder_sites=lab.sites)
    assert any("aaa" in n for n in report.notes)
    assert read_responses(exported.responses_path).site_ids == (*lab.sites, "aaa")


def test_the_same_file_twice_changes_nothing(exported, lab):
    hand_in(exported, lab.record(exported))
    first = ingest(exported)
    before = digest(exported.folder)
    second = ingest(exported)
    assert second == replace(first, status="unchanged")
    assert digest(exported.folder) == before


def test_another_file_needs_replace(exported, lab):
    hand_in(exported, lab.record(exported))
    ingest(exported)
    before = sha256_file(exported.responses_path)
    hand_in(exported, lab.record(exported, seed=1))
    refused(exported, "I03")
    assert ingest(exported, replace="corrected").status == "ingested"
    assert sha256_file(exported.responses_path) != before


def test_killed_between_the_two_files_is_done_again(exported, lab):
    hand_in(exported, lab.record(exported))
    ingest(exported)
    table = exported.responses_path.read_bytes()
    exported.ingest_path.unlink()
    assert exported.state == "exported"
    ingest(exported)
    assert exported.responses_path.read_bytes() == table


def test_a_damaged_trial_table_is_made_again(exported, lab):
    hand_in(exported, lab.record(exported))
    ingest(exported)
    table = exported.responses_path.read_bytes()
    exported.responses_path.write_bytes(table[:100])
    assert ingest(exported).status == "ingested"
    assert exported.responses_path.read_bytes() == table


def test_poll_waits_for_the_done_file(exported, lab):
    assert poll_inbox(exported) is None
    answer = lab.record(exported)
    part = answer.write(exported.inbox / "responses.h5.part")
    assert poll_inbox(exported) is None
    refused(exported, "I01")
    os.replace(part, exported.inbox / "responses.h5")
    assert poll_inbox(exported) is None
    (exported.inbox / "responses.h5.done").touch()
    assert poll_inbox(exported) == exported.inbox / "responses.h5"


def _set(name, value):
    def change(answer):
        answer.attrs[name] = value
        return answer

    return change


def _unknown(answer):
    return replace(answer, images=[f"r07{i[3:]}" for i in answer.images])


def _duplicate(answer):
    return answer.rows(np.append(np.arange(36), 5))


def _not_shown(answer):
    return answer.rows(np.array([i != answer.images[0] for i in answer.images]))


def _negative(answer):
    answer.values[0, 0] = -1
    return answer


def _rates(answer):
    answer.values *= 0.7
    return answer


def _hundredfold(answer):
    answer.values = answer.values * 100 + 1  # not all of them multiples of one number, which R21 refuses
    return answer


def _silent(answer):
    answer.values[:] = 0
    return answer


def _renamed(answer):
    return replace(answer, sites=["v4_07", *answer.sites[1:]])


def _invalid(answer):
    """Half of the rows, every other presentation of each image: the limit is about rows, not about images."""
    return replace(answer, valid=answer.rep % 2 == 1)


def _contradiction(answer):
    return replace(answer, block=1 - answer.block)


def _from_one(answer):
    return replace(answer, block=answer.block + 1, rep=answer.rep + 1)


def _too_many(answer):
    return replace(_duplicate(answer), stated=False)


def _same_onset(answer):
    answer.onset_s[3] = answer.onset_s[8]
    return replace(answer, stated=False, timed=True)


REFUSALS = {
    "manifest of another round": (_set("manifest_sha256", "0" * 64), "I05", "0000"),
    "another round": (_set("round", 2), "I06", "round"),
    "another day": (_set("session_id", "ses_20261120"), "I06", "session_id"),
    "unknown images": (_unknown, "I07", "wrong round"),
    "another unit": (_set("units", "zscore"), "I08", "zscore"),
    "window long after the image": (_set("window_ms", [5000.0, 5100.0]), "I17", "onset"),
    "renamed site": (_renamed, "I09", "v4_007 -> v4_07"),
    "duplicated row": (_duplicate, "I10", "twice"),
    "more rows than planned": (_too_many, "I10", "more usable rows"),
    "two rows at one time": (_same_onset, "I10", "same onset"),
    "block contradicts the order": (_contradiction, "I11", "contradict"),
    "counted from one": (_from_one, "I11", "counted from 1"),
    "an image was never shown": (_not_shown, "I12", "without a usable row"),
    "too many invalid rows": (_invalid, "I13", "50%"),
    "negative counts": (_negative, "I14", "-1"),
    "rates as counts": (_rates, "I14", "Hz"),
    "a hundred times too large": (_hundredfold, "I15", "ms or s"),
    "nothing but zeros": (_silent, "I16", "all zero"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_leave_the_round_untouched(exported, lab, name):
    change, code, words = REFUSALS[name]
    hand_in(exported, change(lab.record(exported)))
    assert words in str(refused(exported, code))


def test_copied_rows_of_real_numbers(project, lab):
    round_ = project.new_round(1, "ses_20261121")
    lab.export(round_, manifest={"encoder": {**lab.encoder["encoder"], "unit": "dff"}})
    answer = _set("units", "dff")(lab.record(round_))
    answer.values += np.random.default_rng(0).normal(size=answer.values.shape)
    same = [i for i, image in enumerate(answer.images) if image == answer.images[0]]
    answer.values[same[1]] = answer.values[same[0]]
    hand_in(round_, replace(answer, stated=False))
    assert "equal values" in str(refused(round_, "I10"))


def test_limits_can_be_widened(exported, lab):
    hand_in(exported, _invalid(lab.record(exported)))
    assert ingest(exported, max_dropped=0.5).used == 18
    clear(exported)
    hand_in(exported, _not_shown(lab.record(exported)))
    assert ingest(exported, max_unseen=0.2).missing


def test_scale_and_window_are_noted(exported, lab):
    answer = lab.record(exported)
    answer.values = answer.values * 10 + 1
    answer.attrs["window_ms"] = [0.0, 200.0]
    del answer.attrs["manifest_sha256"]
    hand_in(exported, answer)
    notes = " ".join(ingest(exported).notes)
    assert "times those" in notes
    assert "70-170 ms was planned" in notes
    assert "does not name its manifest" in notes


def test_files_that_are_no_answer(exported, lab):
    path = exported.inbox / "responses.h5"
    lab.record(exported).write(path)
    whole = path.read_bytes()
    (exported.inbox / "responses.h5.done").touch()
    for data, code in ((whole[: len(whole) // 2], "R03"), (b"trial,image\n1,2\n", "R01"), (b"", "R01")):
        path.write_bytes(data)
        refused(exported, code)
    refused(exported, "R16", path=exported.inbox / "answer.h5")


def test_an_altered_outbox_is_refused(exported, lab):
    hand_in(exported, lab.record(exported))
    image = next((exported.outbox / "images").glob("*.png"))
    whole = image.read_bytes()
    image.chmod(0o644)
    image.write_bytes(whole + b"x")
    assert image.name in str(refused(exported, "X07"))
    image.unlink()
    refused(exported, "X07")
    image.write_bytes(whole)
    extra = image.with_name("r01_9999_zzzz.png")
    extra.write_bytes(whole)
    assert "added" in str(refused(exported, "X07"))
    extra.unlink()
    ready = exported.outbox / "_READY"
    ready.unlink()
    refused(exported, "X06")
    ready.touch()
    ingest(exported)


def test_an_altered_key_is_refused(exported, lab):
    hand_in(exported, lab.record(exported))
    key = exported.key_path.read_text()
    exported.key_path.write_text(key.replace("controller", "natural"))
    refused(exported, "I18")
    exported.key_path.write_text(key)
    shutil.copy(exported.key_path, exported.sealed / "sites.csv")
    refused(exported, "I18")


def test_a_round_that_was_not_exported(round_, lab, tmp_path):
    (tmp_path / "a.h5").touch()
    before = digest(round_.folder)
    with pytest.raises(DataError, match=r"\[X06\]"):
        ingest(round_, tmp_path / "a.h5")
    assert digest(round_.folder) == before


def test_a_broken_record_is_named(exported, lab):
    hand_in(exported, lab.record(exported))
    ingest(exported)
    exported.ingest_path.write_text("[]")
    refused(exported, "I19")
