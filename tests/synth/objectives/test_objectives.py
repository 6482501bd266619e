from __future__ import annotations

import json
import math

import pytest
import torch

from synth import Objective, against, cautious, one_hot, stretch
from synth.objectives import CATALOGUE, term

SITES = tuple(f"v4_{i:03d}" for i in range(31))


def score(objective: Objective, responses: torch.Tensor, **standardisation: torch.Tensor) -> torch.Tensor:
    bound = objective.bind(SITES[: responses.shape[-1]], **standardisation)
    return bound(torch.zeros(len(objective), 1, 2, 2), responses)


def every(kind: str, n: int) -> Objective:
    """An objective of the catalogue on `n` sites, everything else by default."""
    if kind == "groups":
        return CATALOGUE[kind](list(SITES[: n - 1]), SITES[n - 1])
    return CATALOGUE[kind](list(SITES[:n]))


def images_for(objective: Objective) -> torch.Tensor:
    return torch.rand(len(objective), 1, 2, 2, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize(("factor", "expected"), [(0.5, 0.13), (1.0, 0.40), (2.0, 0.93)])
def test_softmax_of_a_target_three_units_above_thirty_others(factor: float, expected: float) -> None:
    responses = torch.zeros(1, 31)
    responses[0, 4] = 3.0
    assert score(one_hot(SITES[4]), factor * responses).exp().item() == pytest.approx(expected, abs=0.005)
    # the same by temperature, and by the natural SD: units are natural SDs whatever the encoder's unit is
    assert score(one_hot(SITES[4], 1 / factor), responses).exp().item() == pytest.approx(expected, abs=0.005)
    standardised = score(
        one_hot(SITES[4]), 7 * factor * responses + 2, mean=torch.full((31,), 2.0), sd=torch.full((31,), 7.0)
    )
    assert standardised.exp().item() == pytest.approx(expected, abs=0.005)


def test_four_units_above_eleven_others_is_083() -> None:
    responses = torch.zeros(1, 12)
    responses[0, 0] = 4.0
    assert score(one_hot(SITES[0]), responses).exp().item() == pytest.approx(0.83, abs=0.005)


def test_stretch_is_z_of_the_target() -> None:
    responses = torch.arange(10.0).reshape(2, 5)
    got = score(stretch([SITES[1], SITES[3]]), responses, mean=torch.ones(5), sd=torch.full((5,), 2.0))
    assert torch.equal(got, torch.tensor([(1 - 1) / 2, (8 - 1) / 2]))


def test_composition_matches_arithmetic() -> None:
    responses = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    a, b = stretch(SITES[:2]), one_hot(SITES[2:4], temperature=2.0)
    combined = 0.5 * a - b * 2 + a
    expected = 1.5 * score(a, responses) - 2 * score(b, responses)
    assert torch.allclose(score(combined, responses), expected, atol=1e-6)
    assert torch.allclose(score(-a, responses), -score(a, responses))


def test_rows_concatenate_slice_take_repeat() -> None:
    objective = stretch(SITES[:2]) | one_hot(SITES[:3])
    assert len(objective) == 5
    assert objective.row_names == (
        "stretch:v4_000", "stretch:v4_001", "one_hot:v4_000", "one_hot:v4_001", "one_hot:v4_002",
    )  # fmt: skip
    assert objective.kinds[1:3] == ("stretch", "one_hot")
    assert objective.targets == ("v4_000", "v4_001", "v4_000", "v4_001", "v4_002")
    assert objective[1:3] == objective.take([1, 2]) == objective[1] | objective[2]
    assert objective[:1].repeat(2).row_names == ("stretch:v4_000",) * 2
    assert [len(row) for row in objective] == [1] * 5


def test_a_slice_scores_as_the_whole() -> None:
    objective = stretch(SITES[:2]) | one_hot(SITES[:3]) | (stretch(SITES[4]) - 0.3 * stretch(SITES[0]))
    responses = torch.randn(len(objective), 7, generator=torch.Generator().manual_seed(1))
    whole = score(objective, responses)
    for i in range(len(objective)):
        assert torch.equal(score(objective[i], responses[i : i + 1]), whole[i : i + 1])


def test_cautious_is_mean_minus_kappa_sd_over_members() -> None:
    responses = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(2))
    objective = stretch(SITES[:2]) | one_hot(SITES[2])
    each = torch.stack([score(objective, r) for r in responses])
    assert torch.allclose(score(objective, responses), each.mean(0), atol=1e-6)
    expected = each.mean(0) - 0.7 * each.std(0)
    assert torch.allclose(score(cautious(objective, 0.7), responses), expected, atol=1e-6)
    mixed = objective[:1] | cautious(objective[1:], 0.7)
    assert torch.allclose(score(mixed, responses), torch.cat([each.mean(0)[:1], expected[1:]]), atol=1e-6)


def test_cautious_has_a_gradient_where_members_agree() -> None:
    one = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(3))
    responses = one.repeat(3, 1, 1).requires_grad_()
    score(cautious(stretch(SITES[:2]), 1.0), responses).sum().backward()
    assert torch.isfinite(responses.grad).all()


def test_one_member_is_not_charged() -> None:
    responses = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(3))
    objective = stretch(SITES[:2])
    assert torch.equal(score(cautious(objective, 1.0), responses), score(objective, responses[0]))


@pytest.mark.parametrize("kind", CATALOGUE)
def test_description_survives_json(kind: str) -> None:
    objective = cautious(0.25 * every(kind, 3) | one_hot([1, 2, 3], temperature=3.0), 0.5) | against(every(kind, 2))
    again = Objective.from_description(json.loads(json.dumps(objective.describe())))
    assert again == objective
    responses = torch.randn(2, len(objective), 9, generator=torch.Generator().manual_seed(4))
    standard = {"mean": torch.linspace(-1, 1, 9), "sd": torch.linspace(0.5, 2, 9)}
    bound = [o.bind(SITES[:9], **standard) for o in (objective, again)]
    scores = [b(images_for(objective), responses) for b in bound]
    assert torch.equal(*scores)
    assert torch.isfinite(scores[0]).all()


@pytest.mark.parametrize("kind", CATALOGUE)
def test_gradients_of_the_catalogue(kind: str) -> None:
    objective = every(kind, 2)
    bound = objective.bind(SITES[:4])
    draw = torch.Generator().manual_seed(5)
    responses = torch.randn(len(objective), 4, dtype=torch.float64, generator=draw).requires_grad_()
    images = images_for(objective).double()
    assert torch.autograd.gradcheck(lambda r: bound(images, r), responses)


@pytest.mark.parametrize("kind", CATALOGUE)
def test_every_span_scores_as_in_the_whole(kind: str) -> None:
    objective = stretch(SITES[4]) | every(kind, 3).repeat(2) | one_hot(SITES[1])
    responses = torch.randn(len(objective), 6, generator=torch.Generator().manual_seed(6))
    images = images_for(objective)
    whole = objective.bind(SITES[:6])(images, responses)
    assert [i for span in objective.spans for i in range(*span)] == list(range(len(objective)))
    for begin, end in objective.spans:
        part = objective[begin:end].bind(SITES[:6])(images[begin:end], responses[begin:end])
        assert torch.allclose(part, whole[begin:end], atol=1e-6)


@pytest.mark.parametrize("kind", CATALOGUE)
def test_row_names_tell_the_rows_apart(kind: str) -> None:
    names = every(kind, 3).row_names
    assert len(set(names)) == len(names)


def test_integer_columns_need_no_names() -> None:
    responses = torch.arange(8.0).reshape(2, 4)
    bound = stretch([3, 0]).bind()
    assert bound(torch.zeros(2, 1, 1, 1), responses).tolist() == [3.0, 4.0]
    assert stretch(3).targets == ("column_3",)


def test_own_terms_join_the_grammar() -> None:
    def dark(images: torch.Tensor, z: torch.Tensor, columns: torch.Tensor, settings: object) -> torch.Tensor:
        return (-images.mean((1, 2, 3))).expand(z.shape[:-1])

    objective = stretch(SITES[:2]) + 2.0 * term("dark", SITES[:2], dark)
    bound = objective.bind(SITES[:3])
    images = torch.stack([torch.full((1, 2, 2), v) for v in (0.25, 0.5)])
    assert torch.allclose(bound(images, torch.ones(2, 3)), torch.tensor([0.5, 0.0]))
    assert torch.allclose(bound(images, torch.ones(4, 2, 3)), torch.tensor([0.5, 0.0]))


def test_own_terms_of_one_name_keep_their_own_functions() -> None:
    def times(factor: float):
        return lambda images, z, columns, settings: factor * z.gather(-1, columns[:, None])[..., 0]

    both = term("mine", [0], times(10.0)) | term("mine", [1], times(20.0))
    assert both.bind()(torch.zeros(2, 1, 1, 1), torch.ones(2, 2)).tolist() == [10.0, 20.0]
    with pytest.raises(ValueError, match="'stretch' is the name of an objective of the catalogue"):
        term("stretch", [0], times(1.0))


def test_unknown_site_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown site 'v4_01'; did you mean 'v4_0"):
        stretch("v4_01").bind(SITES)
    with pytest.raises(ValueError, match="has no site_ids; use its integer column"):
        stretch("v4_001").bind()
    with pytest.raises(ValueError, match="column 31; expected a column from 0 below 31"):
        stretch(31).bind(SITES)


def test_wrong_numbers_are_named() -> None:
    bound = stretch(SITES[:2]).bind(SITES[:3])
    with pytest.raises(ValueError, match="3 images and responses to 3 for an objective of 2 rows"):
        bound(torch.zeros(3, 1, 1, 1), torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"responses of shape \(3,\)"):
        bound(torch.zeros(2, 1, 1, 1), torch.zeros(3))
    with pytest.raises(ValueError, match="more than column 1"):
        bound(torch.zeros(2, 1, 1, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="cannot add objectives of 2 and 1 rows"):
        stretch(SITES[:2]) + stretch(SITES[0])
    with pytest.raises(ValueError, match=r"apply cautious\(\)"):
        cautious(stretch(SITES[0]), 1.0) + stretch(SITES[1])
    with pytest.raises(ValueError, match="at least one site"):
        stretch([])
    with pytest.raises(ValueError, match="temperature 0"):
        one_hot(SITES[0], temperature=0)
    with pytest.raises(ValueError, match="kappa -1"):
        cautious(stretch(SITES[0]), -1)
    with pytest.raises(TypeError):
        stretch(SITES[0]) * "2"  # type: ignore[operator]


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_a_site_that_never_varied_is_refused(bad: float) -> None:
    sd = torch.ones(3)
    sd[1] = bad
    with pytest.raises(ValueError, match=r"natural SD is .* for v4_001"):
        stretch(SITES[0]).bind(SITES[:3], torch.zeros(3), sd)
    with pytest.raises(ValueError, match="one value per site"):
        stretch(SITES[0]).bind(SITES[:3], torch.zeros(2), torch.ones(3))


def test_unknown_kind_and_schema_in_a_description() -> None:
    described = stretch(SITES[0]).describe()
    described["rows"][0]["terms"][0]["kind"] = "strech"
    with pytest.raises(ValueError, match="unknown objective 'strech'; did you mean 'stretch'"):
        Objective.from_description(described)
    with pytest.raises(ValueError, match="expected 'objective/1'"):
        Objective.from_description({"rows": []})
