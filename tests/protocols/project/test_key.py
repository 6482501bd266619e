"""The sealed key survives the disk exactly; edited keys are refused with the line."""

from __future__ import annotations

import csv
import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.project.key import ROLES, Key, KeyRow, SiteRow, read_key, read_sites, write_key

SITES = (
    SiteRow(site_id="v4_001", natural_mean=4.5, natural_sd=2.25, reliability=0.8, is_target=True),
    SiteRow("v4_002", 0.1, 0.3),
)
finite = st.floats(allow_nan=False, allow_infinity=False)
predictions = st.fixed_dictionaries({"v4_001": finite, "v4_002": finite}) | st.just({})
rows = st.builds(
    KeyRow,
    image_id=st.from_regex(r"r[0-9]{2}_[0-9]{4}_[a-z]{4}", fullmatch=True),
    source_id=st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
    role=st.sampled_from(ROLES),
    objective=st.sampled_from(["", "stretch", "one_hot"]),
    target=st.sampled_from(["", "v4_001"]),
    generator=st.sampled_from(["", "gradient"]),
    seed=st.none() | st.integers(0, 2**31),
    confirmatory=st.booleans(),
    reference_for=st.lists(st.tuples(st.sampled_from(["stretch", "one_hot"]), st.just("v4_002")), max_size=2).map(
        tuple
    ),
    started_from=st.sampled_from(["", "img_003"]),
    arm=st.sampled_from(["", "phase_scrambled"]),
    parent=st.sampled_from(["", "ctl_a", "ctl_a ctl_b"]),
    contrast=st.dictionaries(st.sampled_from(["luminance", "luminance_natural", "local"]), finite, max_size=3),
    score=finite | st.just(math.nan),
    validator_score=finite | st.just(math.nan),
    sha256=st.sampled_from(["", "0" * 64]),
    predicted=predictions,
    predicted_sd=predictions,
    validator_predicted=predictions,
)


def same(a: object, b: object) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


@settings(max_examples=40, deadline=None)
@given(st.lists(rows, max_size=5, unique_by=lambda r: r.image_id))
def test_what_is_written_is_read_back(tmp_path_factory, made):
    path = tmp_path_factory.getbasetemp() / "key.csv"
    write_key(path, Key(tuple(made), SITES))
    read = read_key(path)
    assert len(read.rows) == len(made)
    for a, b in zip(made, read.rows, strict=True):
        for field in dataclasses.fields(KeyRow):
            assert same(getattr(a, field.name), getattr(b, field.name)), field.name
    assert read.site_ids == ("v4_001", "v4_002")
    assert read.sites[0] == SITES[0]
    assert math.isnan(read.sites[1].reliability)
    assert read_sites(path.with_name("sites.csv"))[0] == SITES[0]


@settings(max_examples=40, deadline=None)
@given(
    made=st.lists(rows, min_size=1, max_size=4, unique_by=lambda r: r.image_id),
    separator=st.sampled_from([",", ";", "\t"]),
    encoding=st.sampled_from(["utf-8-sig", "utf-16"]),
    yes_no=st.sampled_from([("1", "0"), ("TRUE", "FALSE"), ("1.0", "0.0")]),
    empty=st.integers(0, 2),
)
def test_a_spreadsheet_between_writing_and_reading(tmp_path_factory, made, separator, encoding, yes_no, empty):
    path = tmp_path_factory.getbasetemp() / "spreadsheet" / "key.csv"
    write_key(path, Key(tuple(made), SITES))
    with open(path, newline="", encoding="utf-8") as handle:
        header, *lines = list(csv.reader(handle))
    comma = separator == ";"  # where the comma is the decimal sign
    numbers = {
        i
        for i, name in enumerate(header)
        if name.split("_")[0] in ("score", "validator", "pred", "sd", "val", "contrast")
    }
    for line in lines:
        for i, cell in enumerate(line):
            if header[i] == "confirmatory":
                line[i] = yes_no[cell == "0"]
            elif i in numbers and comma:
                line[i] = cell.replace(".", ",")
            elif header[i] == "seed" and cell:
                line[i] = f"{cell}.0" if not comma else f"{cell},0"
    with open(path, "w", newline="", encoding=encoding) as handle:
        table = csv.writer(handle, delimiter=separator)
        table.writerows([*line, *[""] * empty] for line in [header, *lines, [""] * len(header)])
    read = read_key(path)
    assert len(read.rows) == len(made)
    for a, b in zip(made, read.rows, strict=True):
        for field in dataclasses.fields(KeyRow):
            assert same(getattr(a, field.name), getattr(b, field.name)), field.name


def test_statistics_and_roles(tmp_path):
    key = Key((KeyRow("a", "x", "natural"), KeyRow("b", "y", "blank")), SITES)
    mean, sd = key.natural_statistics()
    assert mean.tolist() == [4.5, 0.1]
    assert sd.tolist() == [2.25, 0.3]
    assert [r.image_id for r in key.of_role("blank")] == ["b"]


def test_a_key_of_strangers_needs_two_columns(tmp_path):
    path = tmp_path / "key.csv"
    path.write_text("image_id,role,pred_v4_001\na,controller,2.5\nb,natural,\n")
    read = read_key(path)
    assert read.sites == ()
    assert read.rows[0].predicted == {"v4_001": 2.5}
    assert read.rows[1].predicted == {}
    assert (read.rows[0].arm, read.rows[0].parents, read.rows[0].contrast) == ("", (), {})


def test_an_image_may_be_the_arm_of_several_controllers():
    assert KeyRow("a", "x", "arm", arm="natural_raised", parent="ctl_a ctl_b").parents == ("ctl_a", "ctl_b")


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("image_id,target\na,b\n", "K01", "also role"),
        ("", "K01", "none"),
        ("image_id,role\na,king\n", "K02", "line 2.*king"),
        ("image_id,role\na,natural\n12,natural\n", "K02", "line 3.*'12'"),
        ("image_id,role\na,natural\na,natural\n", "K02", "twice"),
        ("image_id,role,seed\na,natural,x\n", "K02", "line 2"),
        ("image_id,role,score\na,natural,1;5\n", "K02", "line 2"),
        ("image_id,role\na\n", "K02", "line 2"),
        ("image_id,role,confirmatory\na,controller,ja\n", "K02", "line 2.*'ja' is neither 1"),
        ("image_id,role,outside\na,controller,2\n", "K02", "line 2.*'2' is neither 1"),
        ("image_id,role,seed\na,natural,1.5\n", "K02", "line 2.*no whole number"),
        ("image_id,role,score\na,natural,inf\n", "K02", "line 2.*not finite"),
        ("image_id,role,pred_a,pred_a\na,natural,1,2\n", "K02", "'pred_a' twice"),
        ('image_id,role,score\na,natural,"1,5"\n', "K02", "line 2"),
        ("image_id,role,reference_for\na,reference,stretch\n", "K03", "line 2: 'stretch'"),
    ],
)
def test_edited_keys(tmp_path, text, code, words):
    path = tmp_path / "key.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"\[{code}\].*{words}"):
        read_key(path)


def test_edited_sites(tmp_path):
    write_key(tmp_path / "key.csv", Key((), SITES))
    path = tmp_path / "sites.csv"
    text = path.read_text()
    path.write_text(text.replace("4.5", "4,5x"))
    with pytest.raises(DataError, match=r"\[K02\].*line 2"):
        read_key(tmp_path / "key.csv")
    path.write_text(text.replace("natural_sd", "sd"))
    with pytest.raises(DataError, match=r"\[K01\].*natural_sd"):
        read_sites(path)


def test_the_file_has_these_bytes(tmp_path):
    row = KeyRow(
        image_id="im_0", source_id="r01_s", role="controller", objective="stretch", target="a_1", generator="gradient",
        seed=3, confirmatory=True, reference_for=(("stretch", "a_1"), ("one_hot", "b_2")), started_from="scene",
        score=0.1, outside=False, sha256="ff", predicted={"a_1": 2.0}, contrast={"local": 0.5},
    )  # fmt: skip
    key = Key((row, KeyRow("im_1", "", "blank")), (SiteRow("a_1", 4.0, 2.0, 0.8, True), SiteRow("b_2", 1.0, 0.5)))
    write_key(tmp_path / "key.csv", key)
    assert (tmp_path / "key.csv").read_bytes() == (
        b"image_id,source_id,role,objective,target,generator,seed,confirmatory,reference_for,started_from,arm,parent,score,"
        b"validator_score,distance,outside,sha256,contrast_local,pred_a_1,pred_b_2,sd_a_1,sd_b_2,val_a_1,val_b_2\n"
        b"im_0,r01_s,controller,stretch,a_1,gradient,3,1,stretch:a_1 one_hot:b_2,scene,,,0.1,,,0,ff,0.5,2.0,,,,,\n"
        b"im_1,,blank,,,,,0,,,,,,,,,,,,,,,,\n"
    )
    assert (tmp_path / "sites.csv").read_bytes() == (
        b"site_id,natural_mean,natural_sd,reliability,is_target\na_1,4.0,2.0,0.8,1\nb_2,1.0,0.5,,0\n"
    )
