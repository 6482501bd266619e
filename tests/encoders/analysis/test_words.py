"""Words: BrainSCUBA's projection, planted attributes, noise sites."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from encoders.analysis.words import (
    attribute_similarity,
    best_of_directions,
    description,
    group_means,
    project_weights,
    rank_words,
)


def planted(seed: int = 0, *, sites: int = 12, noise: int = 20, images: int = 400) -> tuple[np.ndarray, ...]:
    """Images and words of one model, apart from each other as in CLIP; site u likes word 2u and dislikes word 2u + 1.

    The last `noise` sites like nothing.
    """
    rng = np.random.default_rng(seed)
    words = np.linalg.qr(rng.normal(size=(60, 60)))[0][:40]
    activity = rng.normal(size=(images, 60))
    embeddings = activity + 4 * rng.normal(size=60) / np.sqrt(60)
    attribute = activity @ words.T
    wanted = np.zeros((sites, 40))
    wanted[np.arange(sites), 2 * np.arange(sites)] = 1.0
    wanted[np.arange(sites), 2 * np.arange(sites) + 1] = -0.7
    responses = np.concatenate([attribute @ wanted.T, np.zeros((images, noise))], 1)
    responses += 1.5 * rng.normal(size=responses.shape)
    return embeddings, words + 2 * rng.normal(size=60) / np.sqrt(60), responses, wanted


def test_planted_words_come_first_and_noise_sites_have_none() -> None:
    embeddings, words, responses, _wanted = planted()
    found = rank_words(attribute_similarity(embeddings, words), responses, n_permutations=199)
    assert np.linalg.norm(words.mean(0)) > 0.5  # what words share must not count
    for site in range(12):
        first = found.words_of(site)[:2]
        assert first.tolist() == [2 * site, 2 * site + 1]
        assert np.sign(found.correlation[site, first]).tolist() == [1, -1]
        assert 0.6 < found.shrunken[site, first[0]] / found.correlation[site, first[0]] < 1
    noise = [bool(len(found.words_of(site))) for site in range(12, 32)]
    assert sum(noise) <= 2  # a false discovery rate of 5 % among 12 sites with words: 0.6 expected
    assert np.abs(found.shrunken[12:]).max() < 0.12


def test_noise_sites_alone_have_words_no_more_often_than_the_level_allows() -> None:
    """At a false discovery rate of 5 % and no true word, at most 5 % of whole recordings have any."""
    rng, several = np.random.default_rng(1), 0
    for draw in range(40):
        found = rank_words(rng.normal(size=(60, 20)), rng.normal(size=(60, 10)), n_permutations=399, seed=draw)
        several += any(len(found.words_of(site)) for site in range(10))
    assert several <= 6  # binomial: P(> 6 of 40 at 5 %) = 0.003


def test_the_best_word_is_compared_with_random_directions() -> None:
    embeddings, words, responses, _ = planted(images=300)
    assert best_of_directions(embeddings, words, responses, n_draws=39)[:12].max() <= 2 / 40
    rng = np.random.default_rng(2)  # words without meaning: every one is a random direction itself
    p = best_of_directions(embeddings, rng.normal(size=(40, 60)), responses[:, :12], n_draws=39)
    assert np.median(p) > 0.15


def test_the_projection_is_that_of_an_independent_implementation() -> None:
    rng = np.random.default_rng(0)
    w, e = rng.normal(size=(3, 8)), rng.normal(size=(20, 8)) * rng.uniform(0.5, 2, (20, 1))
    found = project_weights(w, e)
    for site in range(3):
        unit = torch.nn.functional.normalize(torch.from_numpy(w[site]), dim=0)
        scores = torch.stack([torch.dot(unit, torch.from_numpy(x)) / float(np.linalg.norm(x)) * 150 for x in e])
        share = torch.softmax(scores, 0).numpy()
        norm = sum(s * np.linalg.norm(x) for s, x in zip(share, e, strict=True))
        direction = sum(s * x / np.linalg.norm(x) for s, x in zip(share, e, strict=True))
        np.testing.assert_allclose(found[site], norm * direction / np.linalg.norm(direction), rtol=1e-10)


def test_limits_of_the_temperature_and_the_norm_of_the_weights() -> None:
    rng = np.random.default_rng(0)
    w, e = rng.normal(size=(4, 6)), rng.normal(size=(30, 6))
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    nearest = (w @ unit.T).argmax(1)
    np.testing.assert_allclose(project_weights(w, e, temperature=1e-6), e[nearest], rtol=1e-9)
    mean = unit.mean(0) / np.linalg.norm(unit.mean(0)) * np.linalg.norm(e, axis=1).mean()
    np.testing.assert_allclose(project_weights(w, e, temperature=1e9), np.tile(mean, (4, 1)), rtol=1e-6)
    np.testing.assert_allclose(project_weights(w * 1e3, e), project_weights(w, e))
    assert np.isnan(project_weights(np.zeros((1, 6)), e)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_the_scale_of_a_site_and_photographs_given_twice_change_nothing(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(12, 5)), rng.normal(size=(12, 3))
    once = rank_words(x, y, n_permutations=19, seed=seed)
    again = rank_words(x, scale * y + shift * scale, n_permutations=19, seed=seed)
    np.testing.assert_allclose(again.correlation, once.correlation, atol=1e-6)
    np.testing.assert_array_equal(again.word_p, once.word_p)
    twice = rank_words(
        np.concatenate([x, x]), np.concatenate([y, y]), groups=[*range(12), *range(12)], n_permutations=19, seed=seed
    )
    np.testing.assert_allclose(twice.word_p, once.word_p)
    assert twice.n == 12


def test_the_adjustment_over_sites_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    found = rank_words(rng.normal(size=(50, 6)), rng.normal(size=(50, 15)), n_permutations=99)
    np.testing.assert_allclose(found.site_p, false_discovery_control(found.word_p.min(1)))


def test_constant_sites_and_words_have_no_correlation() -> None:
    rng = np.random.default_rng(0)
    e, y = rng.normal(size=(20, 4)), rng.normal(size=(20, 2))
    e[:, 0], y[:, 0] = 0.0, 7.0
    similarity = attribute_similarity(e, np.eye(4))
    found = rank_words(similarity, y, n_permutations=19)
    assert (similarity[:, 0] == 0).all()
    assert (found.correlation[0] == 0).all()
    assert found.site_p[0] == 1
    assert not np.isnan(found.shrunken).any()


def test_a_description_keeps_the_strongest_words_and_groups_are_averaged_in_their_order() -> None:
    np.testing.assert_array_equal(description(np.array([[0.1, -0.9, 0.5]]), 2), [[0.0, -0.9, 0.5]])
    np.testing.assert_array_equal(group_means(np.array([[1.0], [2.0], [3.0]]), ["b", "a", "b"]), [[2.0], [2.0]])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: project_weights(np.ones((1, 3)), np.ones((4, 2))), "of one model"),
        (lambda: project_weights(np.ones((1, 3)), np.ones((4, 3)), temperature=0), "above 0"),
        (lambda: attribute_similarity(np.zeros((2, 3)), np.ones((1, 3))), "row 0 is all zero"),
        (lambda: attribute_similarity(np.ones((2, 3)), np.ones((1, 4))), "vectors of one model"),
        (lambda: rank_words(np.ones((4, 2)), np.ones((5, 2))), "one row per photograph"),
        (lambda: rank_words(np.ones((4, 2)), np.ones((4, 2)), groups=[1, 1, 2, 2]), "at least 3"),
        (lambda: rank_words(np.full((4, 2), np.nan), np.ones((4, 2))), "finite numbers"),
    ],
)
def test_what_is_refused(call, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=words):
        call()
