"""Scores of random objectives against plain loops over numbers, and objectives of too few sites, refused at binding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from synth import Objective, ascend, cautious, margin, one_hot, pixels, rate_softmax, stretch, suppress

QUIET = settings(max_examples=100, deadline=None)
NUMBERS = st.floats(-4, 4, width=32)


def by_hand(kind: str, response: list[float], target: int, *, temperature: float, top: int, among: list[int], mean: list[float], sd: list[float]) -> float:  # fmt: skip
    z = [(r - m) / s for r, m, s in zip(response, mean, sd, strict=True)]
    if kind == "stretch":
        return z[target]
    if kind == "suppress":
        return -z[target]
    if kind == "one_hot":
        return math.log(math.exp(z[target] / temperature) / sum(math.exp(z[i] / temperature) for i in among))
    if kind == "rate_softmax":
        return math.exp(response[target]) / sum(math.exp(response[i]) for i in among)
    others = sorted((z[i] for i in among if i != target), reverse=True)
    return z[target] - sum(others[:top]) / top


@QUIET
@given(data=st.data())
def test_scores_are_those_of_plain_loops(data: st.DataObject) -> None:
    """Any kind, any sites in any order and number of rows, members and caution, natural ranges, temperatures, rivals."""
    sites, members = data.draw(st.integers(2, 6), label="sites"), data.draw(st.integers(1, 4), label="members")
    names = data.draw(st.permutations([f"s{i}" for i in range(sites)]), label="names")
    kind = data.draw(st.sampled_from(["stretch", "suppress", "one_hot", "rate_softmax", "margin"]), label="kind")
    rows = data.draw(st.lists(st.integers(0, sites - 1), min_size=1, max_size=4), label="targets")
    named = data.draw(st.booleans(), label="named rivals") and kind in ("one_hot", "rate_softmax", "margin")
    among = list(range(sites))
    if named:
        more = data.draw(st.sets(st.integers(0, sites - 1)), label="among")
        among = data.draw(st.permutations(sorted({*rows, *more})), label="order")
        assume(len(among) >= 2)
    top = data.draw(st.integers(1, len(among) - 1), label="top")
    temperature = data.draw(st.floats(0.3, 4), label="temperature")
    kappa = data.draw(st.sampled_from([0.0, 0.7]), label="kappa")
    mean = data.draw(st.lists(NUMBERS, min_size=sites, max_size=sites), label="mean")
    sd = data.draw(st.lists(st.floats(0.5, 3), min_size=sites, max_size=sites), label="sd")
    shape = (members, len(rows), sites)
    responses = np.random.default_rng(data.draw(st.integers(0, 999), label="seed")).normal(0, 2, shape)

    wanted = [names[i] for i in rows]
    rivals = [names[i] for i in among] if named else None
    makers = {
        "stretch": lambda: stretch(wanted),
        "suppress": lambda: suppress(wanted),
        "one_hot": lambda: one_hot(wanted, temperature, rivals),
        "rate_softmax": lambda: rate_softmax(wanted, rivals),
        "margin": lambda: margin(wanted, top, rivals),
    }
    objective = cautious(makers[kind](), kappa)
    bound = objective.bind(names, torch.tensor(mean), torch.tensor(sd))
    given_ = torch.from_numpy(responses if members > 1 else responses[0])
    found = bound(torch.zeros(len(rows), 1, 1, 1), given_).tolist()
    for row, target in enumerate(rows):
        each = [by_hand(kind, responses[m, row].tolist(), target, temperature=temperature, top=top, among=among, mean=mean, sd=sd) for m in range(members)]  # fmt: skip
        expected = sum(each) / members
        if members > 1:
            expected -= kappa * max(sum((x - expected) ** 2 for x in each) / (members - 1), 1e-12) ** 0.5
        assert found[row] == pytest.approx(expected, rel=1e-4, abs=1e-4)


@settings(QUIET, max_examples=40)
@given(sites=st.integers(1, 4), kind=st.sampled_from(["stretch", "one_hot", "rate_softmax", "margin"]), top=st.integers(1, 4), known=st.sampled_from(["names", "range", "nothing"]))  # fmt: skip
def test_objectives_of_too_few_sites_are_refused_before_the_first_step(sites: int, kind: str, top: int, known: str) -> None:  # fmt: skip
    """Where names or the natural range tell the number of sites, at binding; else when the encoder is asked."""
    names = [f"s{i}" for i in range(sites)] if known == "names" else None
    target = "s0" if names else 0
    makers = {"stretch": stretch, "one_hot": one_hot, "rate_softmax": rate_softmax, "margin": lambda s: margin(s, top)}
    objective = makers[kind](target)
    needs = {"stretch": 1, "margin": top + 1}.get(kind, 2)
    ranges = (torch.zeros(sites), torch.ones(sites)) if known == "range" else (None, None)

    def encoder(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, 3 : 3 + sites]

    if names:
        encoder.site_ids = names

    def run(objective: Objective) -> None:
        if known != "nothing":
            objective.bind(names, *ranges)
        ascend(encoder, objective, pixels((1, 4, 4)), steps=1, transforms=())

    if sites >= needs:
        run(objective)
        return
    with pytest.raises(ValueError, match=rf"{kind}:.* compares a site with others and needs {needs} sites, but there (is|are) {sites}"):  # fmt: skip
        run(objective)


def test_a_site_that_is_named_twice_among_the_rivals_is_refused() -> None:
    for make in (one_hot, rate_softmax):
        with pytest.raises(ValueError, match=r"name b more than once"):
            make("a", among=["a", "b", "b"])
    with pytest.raises(ValueError, match=r"among 3 sites that are 2 columns"):
        one_hot("a", among=["a", "b", 1]).bind(["a", "b", "c"])
    described = one_hot("a", among=["a", "b"]).describe()
    described["rows"][0]["terms"][0] |= {"kind": "margin", "settings": {"top": 2}}
    with pytest.raises(ValueError, match=r"margin:a among 2 sites; expected at least 3"):
        Objective.from_description(described).bind(["a", "b", "c"])


@settings(QUIET, max_examples=100)
@given(names=st.permutations([0, 1, 2, 3]), more=st.sampled_from([0, 1, 7]), asked=st.integers(0, 3), kind=st.sampled_from([int, np.int64, str]))  # fmt: skip
def test_a_number_that_may_be_a_name_or_a_column_is_refused(names: list[int], more: int, asked: int, kind: type) -> None:  # fmt: skip
    """Sites whose names are numbers, in any order: the site of that name, or the column where both are the same."""
    ids = tuple(str(name + more) for name in names)
    site = kind(asked + more) if kind is str else kind(asked)
    if kind is str or str(asked) not in ids or ids[asked] == str(asked):
        expected = ids.index(site) if kind is str else asked
        scores = stretch([site]).bind(ids)(torch.zeros(1, 1, 1, 1), torch.arange(4.0)[None])
        assert scores.tolist() == [float(expected)]
        return
    with pytest.raises(ValueError, match=rf"may be column {asked}, which is named '{ids[asked]}'.*Give the name as text"):  # fmt: skip
        stretch([site]).bind(ids)


@pytest.mark.parametrize("site", [0.0, 1.5, True, None])
def test_what_is_neither_a_name_nor_a_column_is_refused(site: object) -> None:
    described = stretch(["a"]).describe()
    described["rows"][0]["terms"][0]["site"] = site
    with pytest.raises(ValueError, match="expected a name, or an integer column"):
        Objective.from_description(described).bind(["a", "b"])
