"""Optimisers that ask and are told: the same again from seed and scores, blind to lost scores, exact by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.evolution.genetic import PRESETS, GeneticSettings
from synth.evolution.optimisers import METHODS, Optimiser, make_optimiser, replayed

SIZES = (1, 2, 20, 320)  # of 300 and more, the library takes another rule for its step size


def run(optimiser: Optimiser, score, generations: int) -> list[np.ndarray]:
    """Ask and tell; the scores that were told."""
    history = []
    for _ in range(generations):
        scores = score(optimiser.ask())
        history.append(scores)
        optimiser.tell(scores)
    return history


def hill(codes: np.ndarray) -> np.ndarray:
    return -np.square(codes - 1).sum(1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_the_codes_are_a_function_of_settings_seed_and_scores(method, size):
    make = partial(make_optimiser, method, np.zeros(size), population=12, seed=3)
    lossy = lambda codes: np.where(np.arange(12) == 2, np.nan, hill(codes))  # noqa: E731
    first = make()
    history = run(first, lossy, 9)
    np.random.seed(5)  # noqa: NPY002 - what must have no influence
    again = replayed(make, history)
    assert np.array_equal(first.ask(), again.ask())
    assert np.array_equal(first.best(), again.best())
    assert (first.generation, first.population, first.size) == (9, 12, size)
    half = replayed(make, history[:4])
    for scores in history[4:]:
        half.tell(scores)
    assert np.array_equal(first.ask(), half.ask())
    other = replayed(partial(make_optimiser, method, np.zeros(size), population=12, seed=4), history)
    assert not np.array_equal(first.ask(), other.ask())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_the_global_generator_is_left_alone(method, size):
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()  # noqa: NPY002
    run(make_optimiser(method, np.zeros(size), population=12, seed=0), hill, 6)
    after = np.random.get_state()  # noqa: NPY002
    assert before[2] == after[2]
    assert np.array_equal(before[1], after[1])


@pytest.mark.parametrize("method", METHODS)
def test_codes_stay_until_they_are_told_and_cannot_be_changed_from_outside(method):
    optimiser = make_optimiser(method, np.zeros(3), population=12, seed=0)
    codes = optimiser.ask()
    assert codes.shape == (12, 3)
    assert codes.dtype == np.float64
    asked = codes.copy()
    codes[:] = 7
    assert np.array_equal(optimiser.ask(), asked)
    optimiser.best()[:] = 7
    assert not (optimiser.best() == 7).any()
    optimiser.tell(np.full(12, np.nan))
    assert optimiser.generation == 1
    kept = optimiser.ask().copy()
    assert np.array_equal(kept, optimiser.ask())
    optimiser.tell(np.arange(12.0))
    assert not np.array_equal(kept, optimiser.ask())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 5, 310])
def test_scores_of_one_value_leave_the_search_where_chance_takes_it(method, size):
    ends = []
    for seed in range(12):
        optimiser = make_optimiser(method, np.zeros(size), population=12, seed=seed)
        run(optimiser, lambda codes: np.full(len(codes), 2.5), 6)
        assert np.isfinite(optimiser.ask()).all()
        ends.append(optimiser.best())
    drift, spread = np.mean(ends, axis=0), np.std(ends, axis=0)  # (D,)
    assert (spread < 6).all()  # 3 SDs of the first generation, at most
    assert np.sqrt(np.mean(np.square(drift / (spread / np.sqrt(12))))) < 4


def test_lost_scores_neither_attract_nor_repel():
    """The weights of the codes in the new mean: those of lost scores are small, whatever they would have scored."""
    for seed in range(5):
        optimiser = make_optimiser("cma", np.zeros(60), population=40, seed=seed)
        codes, random = optimiser.ask(), np.random.default_rng(seed)
        scores = random.standard_normal(40)
        lost = random.choice(40, 5, replace=False)
        scores[lost] = np.nan
        optimiser.tell(scores)
        weights = np.linalg.lstsq(codes.T, optimiser.best(), rcond=None)[0]
        assert np.abs(weights[lost]).max() < 0.015
        assert weights[np.nanargmax(scores)] > 0.1
        assert abs(weights[np.nanargmin(scores)]) < 1e-6


def test_equal_scores_are_ranked_by_chance():
    """Where half of the codes give no spike, their order must not decide which of them count as better."""
    firsts = []
    for seed in range(40):
        optimiser = make_optimiser("cma", np.zeros(60), population=20, seed=seed)
        codes = optimiser.ask()
        optimiser.tell(np.zeros(20))
        firsts.append(np.argmax(np.linalg.lstsq(codes.T, optimiser.best(), rcond=None)[0]))
    assert len(set(firsts)) > 10


def test_a_code_without_a_score_is_carried_over_unchanged_by_the_genetic_algorithm():
    optimiser = make_optimiser("genetic", np.zeros(5), population=20, seed=1)
    codes = optimiser.ask()
    scores = np.arange(20.0)
    scores[[3, 7, 19]] = np.nan
    optimiser.tell(scores)
    after = optimiser.ask()
    assert np.array_equal(after[-3:], codes[[3, 7, 19]])
    assert np.array_equal(after[:10], codes[[18, 17, 16, 15, 14, 13, 12, 11, 10, 9]])  # the elites


@given(lost=st.integers(0, 19), seed=st.integers(0, 99), preset=st.sampled_from(sorted(PRESETS)))
@settings(max_examples=30, deadline=None)
def test_any_number_of_lost_scores_leaves_a_whole_population(lost, seed, preset):
    optimiser = make_optimiser("genetic", np.zeros(3), population=20, seed=seed, settings=preset)
    scores = np.random.default_rng(seed).standard_normal(20)
    scores[:lost] = np.nan
    codes = optimiser.ask()
    optimiser.tell(scores)
    after = optimiser.ask()
    assert after.shape == (20, 3)
    assert np.isfinite(after).all()
    assert lost == 0 or np.array_equal(after[-lost:], codes[:lost])


def by_hand(codes, scores, chosen: GeneticSettings, random) -> np.ndarray:
    """One generation of XDream, gene by gene, with the same draws."""
    ranked = sorted(range(len(scores)), key=lambda i: -scores[i])
    values = [float(scores[i]) for i in ranked]
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5
    temperature = deviation / chosen.selectivity
    if chosen.clip is not None:
        ceiling = np.percentile(values, chosen.clip)
        values = [min(v, ceiling) for v in values]
    weights = [np.exp((v - values[0]) / temperature) for v in values]
    children = len(codes) - chosen.elites

    def parent(u):
        total = 0.0
        for i, weight in enumerate(weights):
            total += weight / sum(weights)
            if u < total:
                return ranked[i]
        return ranked[-1]

    fathers = [parent(u) for u in random.random(children)]
    mothers = [parent(u) for u in random.random(children)]
    size = codes.shape[1]
    inherit = random.random((children, size))
    mutate = random.random((children, size))
    noise = random.standard_normal((children, size))
    following = [codes[i] for i in ranked[: chosen.elites]]
    for k in range(children):
        child = []
        for g in range(size):
            gene = codes[fathers[k]][g] if inherit[k, g] < chosen.heritability else codes[mothers[k]][g]
            child.append(gene + (chosen.mutation_sd * noise[k, g] if mutate[k, g] < chosen.mutation_rate else 0.0))
        following.append(np.array(child))
    return np.array(following)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_one_generation_is_that_of_the_equations(preset):
    for seed in range(10):
        optimiser = make_optimiser("genetic", np.arange(6.0), population=20, sigma=1.5, seed=seed, settings=preset)
        random = np.random.Generator(np.random.PCG64(seed))
        codes = np.arange(6.0) + 1.5 * random.standard_normal((20, 6))
        assert np.array_equal(optimiser.ask(), codes)
        scores = np.random.default_rng(seed).gamma(2.0, size=20)
        optimiser.tell(scores)
        assert np.allclose(optimiser.ask(), by_hand(codes, scores, PRESETS[preset], random), rtol=0, atol=1e-12)


def noisy_best(method: str, seed: int, *, shuffled: bool = False) -> float:
    """The noise-free score of the centre after 30 generations on a hill with a known top, under noise of its height."""
    random = np.random.default_rng([seed, 9])
    top = random.standard_normal(30)
    true = lambda codes: np.exp(-np.square(codes - top).sum(-1) / 60)  # noqa: E731
    optimiser = make_optimiser(method, np.zeros(30), population=20, sigma=1.0, seed=seed)

    def measured(codes):
        scores = true(codes) * (1 + 0.3 * random.standard_normal(len(codes)))
        return random.permutation(scores) if shuffled else scores

    run(optimiser, measured, 30)
    return float(true(optimiser.best()))


def best_of_random(seed: int) -> float:
    """The noise-free score of the code that scored best of as many random codes."""
    random = np.random.default_rng([seed, 9])
    top = random.standard_normal(30)
    codes = random.standard_normal((600, 30))
    true = np.exp(-np.square(codes - top).sum(-1) / 60)
    return float(true[np.argmax(true * (1 + 0.3 * random.standard_normal(600)))])


@pytest.mark.parametrize("method", METHODS)
def test_evolution_beats_random_search_of_as_many_scores_and_shuffled_scores_give_nothing(method):
    seeds = range(8)
    evolved = np.array([noisy_best(method, seed) for seed in seeds])
    drawn = np.array([best_of_random(seed) for seed in seeds])
    blind = np.array([noisy_best(method, seed, shuffled=True) for seed in seeds])
    start = np.exp(-0.5)  # of the code 0, on average
    assert (evolved > drawn).all()
    assert np.mean(evolved - drawn) > 0.05
    assert np.mean(blind) < start + 0.08
    assert np.mean(evolved - blind) > 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "simplex"}, "expected cma or genetic"),
        ({"start": np.zeros((2, 2))}, "expected one finite code"),
        ({"start": [np.nan]}, "expected one finite code"),
        ({"population": 3}, "at least 4 codes"),
        ({"sigma": 0.0}, "finite SD above 0"),
        ({"seed": -1}, "at least 0"),
        ({"settings": "tuned"}, "expected none"),
        ({"method": "genetic", "settings": "best"}, "expected tuned or released"),
        ({"method": "genetic", "population": 10}, "expected fewer than all"),
    ],
)
def test_settings_that_cannot_serve_are_refused(arguments, words):
    given = {"method": "cma", "start": np.zeros(3), "population": 12, "seed": 0} | arguments
    with pytest.raises(ValueError, match=words):
        make_optimiser(given.pop("method"), given.pop("start"), **given)


@pytest.mark.parametrize("scores", [np.zeros(5), np.full(6, np.inf), np.zeros((6, 1))])
def test_scores_that_cannot_be_are_refused(scores):
    with pytest.raises(ValueError, match="expected"):
        make_optimiser("cma", np.zeros(3), population=6, seed=0).tell(scores)
