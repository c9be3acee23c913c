"""Scores and blocks for tests of comparisons."""

import numpy as np


def on(dataset, count):
    return [(dataset, repetition) for repetition in range(count)]


def over(datasets, repetitions=1):
    return [(f"data {number}", repetition) for number in range(datasets) for repetition in range(repetitions)]


def random_scores(treatments, count, seed=0, step=0.0):
    """Normal scores about 0.5, of which each treatment's are a step higher than the last one's."""
    chance = np.random.default_rng(seed)
    base = 0.5 + 0.05 * chance.normal(size=count)
    return {
        name: base + 0.02 * chance.normal(size=count) + step * number
        for number, name in enumerate("abcdefgh"[:treatments])
    }


def warned(comparison, words):
    return [warning for warning in comparison.warnings if words in warning]
