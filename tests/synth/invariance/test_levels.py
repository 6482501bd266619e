"""Level-set traversal: where the level sets are known, against closed forms; at any encoder, what must hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from synth.answers import images_of, z_scores_to
from synth.invariance.levels import PRESETS, Traversal, traverse
from synth.invariance.site import shown
from synth.rules import spectral
from tests.synth.helpers.known_invariance import Bowl, Planes, display, pictures, weights

QUICK = Traversal(step=0.2, steps=40, tolerance=0.25)


def walk(encoder, source, target, settings, constraints=(), sites=None):
    sites = sites or [encoder.site_ids[0]] * len(source)
    names = [f"path {i}" for i in range(len(source))]
    return traverse(encoder, sites, source, target=target, constraints=constraints, settings=settings, names=names)


@pytest.mark.parametrize("smooth", [0.0, 1.5])
def test_of_a_linear_site_the_path_ends_at_the_targets_projection_on_the_plane(smooth: float) -> None:
    encoder, images = Planes(weights(1, seed=1)), pictures(3)
    source, target = images[[0, 0]], images[1:]
    ends = images_of(np.stack([p[-1] for p in walk(encoder, source, target, replace(QUICK, smooth=smooth)).points]))
    w, goal = encoder.weights, images_of(target)
    hold = spectral(smooth)(w, 0.0) if smooth else w  # nearest in the metric of the smoothing
    excess = (goal * w).flatten(1).sum(1) - (images_of(source) * w).flatten(1).sum(1)
    assert float(excess.abs().min()) > 0.5, "the targets themselves are off the plane"
    expected = goal - (excess / float((w * hold).sum()))[:, None, None, None] * hold
    assert 0 < float(expected.min()) < float(expected.max()) < 1
    assert float((ends - expected).abs().max()) < 1.1 / 255


@pytest.mark.parametrize("kind", [Planes, Bowl])
@pytest.mark.parametrize("one_sided", [False, True])
def test_every_point_is_at_the_level_and_on_the_display_in_8_bits(kind: type[Planes], one_sided: bool) -> None:
    encoder, limits = kind(weights(2)), display()
    images = shown(pictures(4, contrast=0.15), limits)
    settings = replace(QUICK, one_sided=one_sided)
    sites = [encoder.site_ids[i] for i in (0, 1, 0)]
    paths = walk(encoder, images[[0, 0, 1]], images[[1, 2, 3]], settings, limits, sites)
    for site, points, target in zip(sites, paths.points, images[[1, 2, 3]], strict=True):
        assert not any(limits[0].violations(torch.from_numpy(points)))
        z = z_scores_to(encoder, points)[:, encoder.site_ids.index(site)]
        assert ((z[0] - z) < settings.tolerance).all()
        assert one_sided or (np.abs(z - z[0]) < settings.tolerance).all()
        far = np.abs(points[[0, -1]].astype(float) - target).mean((1, 2, 3))
        assert far[1] < 0.7 * far[0], "the path leads to the target"


def test_one_sided_lets_a_response_rise_and_two_sided_does_not() -> None:
    """In a bowl a step across the gradient raises the response, and nothing brings it back here."""
    encoder, images = Bowl(weights(1, size=0.5)), pictures(2, contrast=0.15)
    source = images[:1]
    free = Traversal(step=0.5, steps=20, tolerance=0.25, correction=0.0, smooth=0.0)
    high = walk(encoder, source, images[1:], replace(free, one_sided=True))
    held = walk(encoder, source, images[1:], free)
    rise = [z_scores_to(encoder, p.points[0])[:, 0].max() - p.level[0] for p in (high, held)]
    assert rise[0] > 0.5 > 0.25 > rise[1]


def test_a_path_does_not_depend_on_its_batch() -> None:
    encoder, limits = Bowl(weights(2)), display()
    images = shown(pictures(4, contrast=0.15), limits)
    settings = replace(PRESETS["balasubramanian2023"], steps=12)
    arguments = {"constraints": limits, "settings": settings}
    sites, names = ["v4_000", "v4_001", "v4_000"], ["a", "b", "c"]
    whole = traverse(encoder, sites, images[:3], target=images[1:], names=names, **arguments)
    for i in range(3):
        part = slice(i, i + 1)
        alone = traverse(encoder, sites[part], images[part], target=images[1:][part], names=names[part], **arguments)
        apart = np.abs(alone.points[0].astype(int) - whole.points[i])
        assert apart.max() <= 1
        assert (apart > 0).mean() < 0.01
        assert np.array_equal(alone.steps[0], whole.steps[i])


def test_points_are_spaced_in_distance_from_source_to_end() -> None:
    encoder, images = Planes(weights(1)), pictures(2)
    paths = walk(encoder, images[:1], images[1:], QUICK)
    few = paths.spaced(4, images[1:])
    assert len(few.points[0]) == 4
    assert np.array_equal(few.points[0][0], images[0])
    assert np.array_equal(few.points[0][-1], paths.points[0][-1])
    far = [(images_of(p[None]) - images_of(images[1:])).square().mean().sqrt().item() for p in few.points[0]]
    assert far == sorted(far, reverse=True)


def test_the_published_run_by_name() -> None:
    published = PRESETS["balasubramanian2023"]
    assert (published.step, published.steps, published.tolerance, published.correction) == (0.01, 400, 0.2, 0.002)
    assert published.one_sided
    assert published.published_correction
    assert not published.backtracking
    assert published.jitter == pytest.approx(2 / 255)


def test_refusals() -> None:
    encoder, images = Planes(weights(1)), pictures(2)
    with pytest.raises(ValueError, match="unknown site"):
        walk(encoder, images[:1], images[1:], QUICK, sites=["v4_999"])
    with pytest.raises(ValueError, match="as many of each"):
        walk(encoder, images[:1], images, QUICK)
    for name, value in {"tolerance": 0.0, "step": 0.0, "steps": 0, "correction": -1.0, "smooth": 9.0}.items():
        with pytest.raises(ValueError, match=name):
            Traversal(**{name: value})
    with pytest.raises(ValueError, match="expected a finite response"):
        walk(Planes(weights(1) * float("nan")), images[:1], images[1:], QUICK)
