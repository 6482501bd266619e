"""Do words without meaning go with the responses of real sites, and do the nulls of `stimsynth describe` tell?

    python scripts/studies/words_null.py PROJECT

PROJECT: a fitted project, such as that of docs/formats/v4_cowley2023.md. The vectors of its photographs are 64 principal components of a
network's features; 252 random vectors stand for words. Printed, for the recorded responses and for responses permuted over photographs: sites
with words against permuted responses; how many of these have one better than the best of as many random directions; the mean percentile of
photographs that the words retrieve, by own words and by other sites' words.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from encoders import backbone, extract_features
from encoders.analysis.neighbours import embed
from encoders.analysis.percentiles import word_test
from encoders.analysis.words import attribute_similarity, best_of_directions, rank_words
from protocols import Project
from protocols.insilico.opened import open_fitted

NETWORK, LAYER = "offline:efficientnet_lite2", "blocks.5.0"
DIMENSIONS, WORDS, LEVEL = 64, 252, 0.05


def main() -> None:
    """Print both lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    opened = open_fitted(Project.open(parser.parse_args().project))
    features = extract_features(backbone(NETWORK, [LAYER]), opened.natural, pool=1)[LAYER].double().numpy()
    vectors = embed((features - features.mean(0)) / (features.std(0) + 1e-6), DIMENSIONS).coordinates + 3.0
    words = np.random.default_rng(7).normal(size=(WORDS, DIMENSIONS))
    similarity = attribute_similarity(vectors, words)
    permuted = np.random.default_rng(1).permutation(len(vectors))
    for name, y in (("recorded", opened.measured), ("permuted", opened.measured[permuted])):
        found = rank_words(similarity, y)
        named = [site for site in range(y.shape[1]) if len(found.words_of(site))]
        past = int((best_of_directions(vectors, words, y)[named] <= LEVEL).sum())
        test = word_test(vectors, words, y)
        others = test.highest[~np.eye(y.shape[1], dtype=bool)].mean()
        print(
            f"{name}: {len(named)} of {y.shape[1]} sites with words, {past} of these past random directions; mean "
            f"percentile {np.diagonal(test.highest).mean():.1f} by own words, {others:.1f} by other sites' words"
        )


if __name__ == "__main__":
    main()
