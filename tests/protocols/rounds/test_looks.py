"""An interim look: what it decides, the order that it writes, what it leaves alone, what it refuses, and the verdict at the end."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from protocols.disk.files import sha256_file
from protocols.errors import DataError
from protocols.loop import State, evaluate_round, step
from protocols.project.folder import Project, Round
from protocols.project.key import Key, KeyRow, read_key
from protocols.project.outbox import PlannedTrial, order_path, planned_trials, read_order
from protocols.recordings.blocks import look_due, poll_blocks, read_blocks
from protocols.recordings.ingest import ingest
from protocols.rounds.looks.look import make_look
from protocols.rounds.looks.reallocate import MOST, new_counts, pairs_of, reallocate
from protocols.rounds.looks.record import made_decisions, made_looks
from protocols.stats.stages import repeated_p
from protocols.status import status_lines, status_of
from protocols.verdict.control_report import ControlReport
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.looked_round import answer, make, only


@pytest.fixture(scope="module")
def looked(tmp_path_factory, lab) -> tuple[Project, Round, dict[str, bytes], str]:
    """A round that was looked at after two of four blocks; the exported files before it, and the status then."""
    project, round_ = make(tmp_path_factory.mktemp("looked") / "mylab", lab)
    before = {p.name: p.read_bytes() for p in (*round_.outbox.glob("*.*"), round_.key_path)}
    status = status_lines(status_of(project))
    answer(round_, "responses_before_block_02", blocks=2)
    told: list[str] = []
    state = State(project=project, stage="look", number=1, round=round_)
    step(project, state, tell=told.append)
    return project, round_, before, f"{status}\n{told[0]}"


def test_the_operator_is_told_what_is_due_and_what_was_made(looked):
    project, round_, before, told = looked
    assert "an interim look is due, by responses_before_block_02.h5" in told
    assert "look 1, before block 2: 1 controllers stopped for success, 1 as futile, 1 go on" in told
    assert "show outbox/order_from_block_02.csv from here on" in told
    assert b"after block 1 (counted from 0) write all trials so far" in before["README.txt"]
    line = status_lines(status_of(project))
    assert (
        "look before block 2: 1 stopped for success, 1 as futile, 1 go on; order_from_block_02.csv is in force" in line
    )
    assert "due" not in line
    assert look_due(round_) == ""


def test_what_was_exported_stays_as_it_was(looked):
    _, round_, before, _ = looked
    assert {name: data for name, data in before.items() if name != "key.csv"} == {
        name: (round_.outbox / name).read_bytes() for name in before if name != "key.csv"
    }
    assert round_.key_path.read_bytes() == before["key.csv"]


def test_presentations_of_decided_controllers_go_to_undecided_ones(looked):
    _, round_, _, _ = looked
    old, new = read_order(round_.outbox), planned_trials(round_.outbox)
    key = {r.image_id: r for r in read_key(round_.key_path).rows}
    assert [t for t in new if t.block < 2] == [t for t in old if t.block < 2]
    assert [t.trial for t in new] == list(range(len(new)))
    then, now = (Counter(key[t.image_id].source_id for t in order if t.block >= 2) for order in (old, new))
    gone = {f"{kind}_{site}" for kind in "cgr" for site in ("v4_007", "v4_003")}
    assert gone & now.keys() == set()
    released = sum(then[name] for name in gone)
    assert released == 2 * (12 + 12 + 4)
    assert now["c_v4_012"] == now["r_v4_012"] == MOST * 12  # 12 + 28 and not more than three times
    for name in ("g_v4_012", "n_0", "n_3", "blank"):
        assert now[name] == then[name]
    report = made_looks(round_)[0]
    assert (report.released, report.given, report.presentations) == (released, 48, now.total())


def test_the_new_order_keeps_the_rules_of_an_order(looked):
    _, round_, _, _ = looked
    order = planned_trials(round_.outbox)
    assert all(a.image_id != b.image_id for a, b in pairwise(order))
    for image in {t.image_id for t in order}:
        mine = [t for t in order if t.image_id == image]
        assert [t.rep for t in mine] == list(range(len(mine)))
        counts = Counter(t.block for t in mine)
        assert abs(counts[2] - counts[3]) <= 1


def test_nothing_new_in_the_outbox_tells_a_role_or_a_decision(looked):
    _, round_, _, _ = looked
    for path in round_.outbox.glob("order_from_block_02.*"):
        text = path.read_text()
        assert not any(word in text for word in ("v4_", "stretch", "controller", "success", "futile", "c_"))


def test_a_repeated_look_changes_nothing(looked, capsys):
    project, round_, _, _ = looked
    files = [*round_.outbox.glob("order_from_*"), *round_.sealed.glob("look_*"), round_.log_path]
    before = {p: p.read_bytes() for p in files}
    code, out, _ = stimsynth(capsys, "--json", "interim", project.folder, "--round", 1)
    assert (code, json.loads(out)["status"]) == (0, "unchanged")
    assert {p: p.read_bytes() for p in files} == before


def test_a_look_that_was_killed_is_made_again(looked, tmp_path, lab, monkeypatch):
    project, round_ = make(tmp_path / "mylab", lab)
    answer(round_, "responses_before_block_02", blocks=2)
    with monkeypatch.context() as patch:
        patch.setattr("protocols.project.outbox.write_json", lambda *_: 1 / 0)  # the record of the order, written last
        with pytest.raises(ZeroDivisionError):
            make_look(project, round_)
    assert planned_trials(round_.outbox) == read_order(round_.outbox)
    assert poll_blocks(round_) is not None
    make_look(project, round_)
    for name in ("order_from_block_02.csv", "order_from_block_02.json"):
        mine, other = ((r.outbox / name).read_text().splitlines() for r in (round_, looked[1]))
        assert [line for line in mine if "manifest" not in line] == [line for line in other if "manifest" not in line]


def test_the_verdict_combines_the_stages_and_names_the_look(looked, tmp_path):
    project, round_, _, _ = looked
    report = ingest(round_, answer(round_))
    assert report.planned == report.used == len(planned_trials(round_.outbox))
    evaluation = evaluate_round(project, round_)
    rows = {r.site: r for r in evaluation.confirmatory()}
    assert {s: (r.verdict, r.stopped) for s, r in rows.items()} == {
        "v4_007": ("control", "look 1: success"),
        "v4_003": ("no control", "look 1: futile"),
        "v4_012": ("control", ""),
    }
    assert {s: list(r.stage_p) for s, r in rows.items()} == {
        "v4_007": ["1"], "v4_003": ["1"], "v4_012": ["1", "2"]
    }  # fmt: skip
    for row in rows.values():
        assert row.p == pytest.approx(repeated_p(list(row.stage_p.values()), (0.5, 1.0), "obrien_fleming"))
    made = json.loads((round_.sealed / "look_before_block_02.json").read_text())["decisions"]
    for decision in made:
        assert decision["stage_p"][0] == rows[decision["site"]].stage_p["1"]
    summary = evaluation.objectives[0]
    assert (summary.tested, summary.successes, summary.listed) == (3, 2, 2)
    assert any("interim looks" in note for note in evaluation.notes)
    assert "look 1: success" in evaluation.summary()
    evaluation.to_json(tmp_path / "again.json")
    assert ControlReport.from_json(tmp_path / "again.json") == evaluation
    assert look_due(round_) == ""
    with pytest.raises(DataError, match="another file than that of look 1") as late:
        make_look(project, round_, answer(round_, "responses_before_block_02", blocks=1))
    assert late.value.code == "L03"


def test_a_round_may_go_on_without_its_look(tmp_path, lab):
    project, round_ = make(tmp_path / "mylab", lab, permutations=999, spending="pocock")
    ingest(round_, answer(round_))
    with pytest.raises(DataError, match="the last block is over") as caught:
        make_look(project, round_, answer(round_, "responses_before_block_02", blocks=2))
    assert caught.value.code == "L01"
    rows = {r.site: r for r in evaluate_round(project, round_).confirmatory()}
    assert all(list(r.stage_p) == ["1", "2"] for r in rows.values())
    assert {s for s, r in rows.items() if r.verdict == "control"} >= {"v4_007"}
    assert {r.stopped for r in rows.values()} == {""}  # all were shown to the end


def test_a_later_order_that_was_altered_is_refused(tmp_path, lab):
    project, round_ = make(tmp_path / "mylab", lab, permutations=999, spending="pocock")
    answer(round_, "responses_before_block_02", blocks=2)
    make_look(project, round_)
    path = order_path(round_.outbox, 2)
    path.write_text(path.read_text() + "\n")
    with pytest.raises(DataError, match="order_from_block_02") as caught:
        planned_trials(round_.outbox)
    assert caught.value.code == "X07"
    path.with_suffix(".json").unlink()  # killed before the record: the order does not count
    assert planned_trials(round_.outbox) == read_order(round_.outbox)


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def waiting(tmp_path_factory, lab) -> tuple[Project, Round]:
    """A round whose look is due; nothing may be changed in it."""
    return make(tmp_path_factory.mktemp("waiting") / "mylab", lab)


def refused(project: Project, round_: Round, file: Path | None) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        make_look(project, round_, file)
    assert not list(round_.outbox.glob("order_from_*"))
    assert not list(round_.sealed.glob("look_*"))
    return caught.value.code, str(caught.value)


def test_a_look_without_its_file(waiting):
    assert refused(*waiting, None)[0] == "L05"


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (lambda rows: only(rows, rows["block"] < 1), "L02", "0 usable trials of "),
        (lambda rows: only(rows, (rows["block"] < 1) | (rows["rep"] < 8)), "L02", "in block 1"),
        (lambda rows: {**rows, "block": rows["block"] + 1}, "L02", "rows of block 2"),
        (lambda rows: {**rows, "round": 2}, "I06", "round"),
    ],
)
def test_a_look_at_what_is_not_its_blocks(waiting, change, code, told):
    project, round_ = waiting
    path = answer(round_, "part", blocks=2, change=change)
    assert refused(project, round_, path)[0] == code
    assert told in refused(project, round_, path)[1]


def test_a_round_without_looks(tmp_path, lab):
    project, round_ = make(tmp_path / "mylab", lab, looks=0)
    assert "interim" not in (round_.outbox / "README.txt").read_text().lower()
    assert refused(project, round_, None)[0] == "L01"
    assert poll_blocks(round_) is None


def test_a_second_look_may_be_made_without_the_first(tmp_path, lab):
    project, round_ = make(tmp_path / "mylab", lab, looks=2, permutations=999, spending="pocock")
    answer(round_, "responses_before_block_03", blocks=3)
    assert poll_blocks(round_)[0] == 3
    report = make_look(project, round_)
    assert (report.number, report.before_block) == (2, 3)
    assert report.success + report.futile + report.undecided == 3
    assert len(read_blocks(round_, answer(round_, "again", blocks=3), 3).values) == sum(
        t.block < 3 for t in planned_trials(round_.outbox)
    )
    assert poll_blocks(round_) is None  # the first look is over
    assert {d.look for d in made_decisions(round_)} == {2}
    (round_.sealed / "look_before_block_03.json").write_text("{}")  # an edited record marks nobody as stopped
    assert made_decisions(round_) == []


# --- the division ------------------------------------------------------------------------------------------------------


def small_key() -> Key:
    rows = [KeyRow("b", "blank", "blank"), KeyRow("n", "n", "natural"), KeyRow("t", "t", "reference")]
    for site in ("s1", "s2", "s3"):
        rows += [
            KeyRow(f"c_{site}", f"c_{site}", "controller", objective="stretch", target=site, confirmatory=True),
            KeyRow(f"a_{site}", f"a_{site}", "arm", objective="stretch", target=site, arm="mask", parent=f"c_{site}"),
        ]
    rows.append(KeyRow("r1", "r1", "reference", reference_for=(("stretch", "s1"), ("stretch", "s2"))))
    rows.append(KeyRow("r3", "r3", "reference", reference_for=(("stretch", "s3"),)))
    rows.append(KeyRow("x", "x", "arm", arm="mask", parent="c_s1 c_s2"))
    return Key(tuple(rows))


def test_an_image_stays_while_one_of_its_pairs_is_undecided():
    key = small_key()
    planned = {r.image_id: 10 for r in key.rows if r.role != "blank"}
    counts, released, given = new_counts(planned, key, {("stretch", "s1"), ("stretch", "s3")})
    assert set(planned) - set(counts) == {"c_s1", "a_s1", "c_s3", "a_s3", "r3"}
    assert (counts["x"], counts["a_s2"], counts["n"], counts["t"]) == (10, 10, 10, 10)
    assert (released, given) == (50, 40)  # at most three times as often
    assert (counts["c_s2"], counts["r1"]) == (30, 30)
    assert pairs_of(key)["x"] == {("stretch", "s1"), ("stretch", "s2")}


def test_nothing_is_given_where_all_or_none_is_decided():
    key = small_key()
    planned = {r.image_id: 10 for r in key.rows if r.role != "blank"}
    everything = {("stretch", s) for s in ("s1", "s2", "s3")}
    assert new_counts(planned, key, everything) == ({"n": 10, "t": 10}, 90, 0)
    assert new_counts(planned, key, ()) == (planned, 0, 0)


def order_of(each: dict[str, int], blocks: int) -> list[PlannedTrial]:
    """Each image so often in every block, in any order."""
    rows = [(block, image) for block in range(blocks) for image, n in each.items() for _ in range(n)]
    done: Counter[str] = Counter()
    order = []
    for number, (block, image) in enumerate(rows):
        order.append(
            PlannedTrial(
                trial=number, block=block, rep=done[image], image_id=image, filename=image, on_ms=100, off_ms=100
            )
        )
        done[image] += 1
    return order


@pytest.mark.parametrize("seed", range(6))
def test_any_decision_gives_an_order_with_the_counts_asked_for(seed):
    rng, key = np.random.default_rng(seed), small_key()
    order = order_of({r.image_id: int(rng.integers(1, 5)) for r in key.rows}, 3)
    decided = {("stretch", s) for s in ("s1", "s2", "s3") if rng.random() < 0.5}
    new = reallocate(order, key, decided, before=1, seed=seed)
    rest = Counter(t.image_id for t in order if t.block and t.image_id != "b")
    wanted = new_counts(rest, key, decided)[0]
    shown = Counter(t.image_id for t in new.trials if t.image_id != "b")
    assert shown == wanted
    assert shown.total() <= rest.total()
    assert {t.block for t in new.trials} == {1, 2}
    assert new.trials == reallocate(order, key, decided, before=1, seed=seed).trials
    first = sum(t.block < 1 for t in order)
    assert [t.trial for t in new.trials] == list(range(first, first + len(new.trials)))


@pytest.mark.parametrize("seed", range(20))
def test_unequal_pairs_keep_what_was_planned_and_the_report_says_what_was_shown(seed):
    """Pairs of unequal numbers that share a reference: whoever is decided, nobody who goes on has less than planned."""
    rng, key = np.random.default_rng(100 + seed), small_key()
    number = {s: int(rng.integers(2, 12)) for s in ("s1", "s2", "s3")}
    each = {r.image_id: int(rng.integers(1, 4)) for r in key.rows}
    each |= {f"c_{s}": n for s, n in number.items()}
    each |= {"r1": max(number["s1"], number["s2"]), "r3": int(rng.integers(2, 12)), "b": 2, "n": 4, "t": 4}
    order = order_of(each, 4)
    decided = {("stretch", s) for s in number if rng.random() < 0.6}
    new = reallocate(order, key, decided, before=2, seed=seed)
    rest = Counter(t.image_id for t in order if t.block >= 2)
    shown = Counter(t.image_id for t in new.trials)
    pairs = pairs_of(key)
    going = {i for i in rest if not pairs[i] or not pairs[i] <= decided}
    assert set(shown) == going
    assert all(rest[i] <= shown[i] <= MOST * rest[i] for i in going)
    assert new.released == sum(rest[i] for i in set(rest) - going)
    assert new.given == shown.total() - sum(rest[i] for i in going) <= new.released
    for row in key.of_role("reference"):
        its = [shown[f"c_{site}"] for objective, site in set(row.reference_for) - decided]
        if row.image_id in going and its:
            assert shown[row.image_id] <= max(rest[row.image_id], *its)
    assert all(a.image_id != b.image_id for a, b in pairwise([order[len(order) // 2 - 1], *new.trials]))
    for image in going:
        counts = Counter(t.block for t in new.trials if t.image_id == image)
        assert abs(counts[2] - counts[3]) <= 1


def test_a_reference_that_is_also_an_arm_stays_with_its_controller():
    rows = [
        KeyRow("c1", "s1", "controller", objective="stretch", target="a", confirmatory=True),
        KeyRow("c2", "s2", "controller", objective="stretch", target="b", confirmatory=True),
        KeyRow("r1", "p1", "reference", reference_for=(("stretch", "a"),), arm="predicted_natural", parent="s2"),
        KeyRow("r2", "p2", "reference", reference_for=(("stretch", "b"),)),
    ]
    planned = {r.image_id: 10 for r in rows}
    assert new_counts(planned, Key(tuple(rows)), {("stretch", "a")}) == ({"c2": 15, "r1": 10, "r2": 15}, 10, 10)
    assert "r1" not in new_counts(planned, Key(tuple(rows)), {("stretch", "a"), ("stretch", "b")})[0]


def test_files_are_known_by_their_sums(looked):
    _, round_, _, _ = looked
    record = json.loads((round_.outbox / "order_from_block_02.json").read_text())
    assert record["order_sha256"] == sha256_file(round_.outbox / "order_from_block_02.csv")
    assert record["manifest_sha256"] == sha256_file(round_.outbox / "manifest.json")
