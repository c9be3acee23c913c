"""The example of Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", 2006, JMLR 7, Table 6.

Areas under the curve of four variants of C4.5 on 14 data sets. The table prints 0.975 twice for `voting` but ranks one
of them before the other; here the fifth decimal does that.
"""

VARIANTS = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
AREAS = {
    "adult (sample)": (0.763, 0.768, 0.771, 0.798),
    "breast cancer": (0.599, 0.591, 0.590, 0.569),
    "breast cancer wisconsin": (0.954, 0.971, 0.968, 0.967),
    "cmc": (0.628, 0.661, 0.654, 0.657),
    "ionosphere": (0.882, 0.888, 0.886, 0.898),
    "iris": (0.936, 0.931, 0.916, 0.931),
    "liver disorders": (0.661, 0.668, 0.609, 0.685),
    "lung cancer": (0.583, 0.583, 0.563, 0.625),
    "lymphography": (0.775, 0.838, 0.866, 0.875),
    "mushroom": (1.000, 1.000, 1.000, 1.000),
    "primary tumor": (0.940, 0.962, 0.965, 0.962),
    "rheum": (0.619, 0.666, 0.614, 0.669),
    "voting": (0.972, 0.981, 0.97501, 0.975),
    "wine": (0.957, 0.978, 0.946, 0.970),
}
BLOCKS = [(dataset, 0) for dataset in AREAS]
SCORES = {variant: [areas[column] for areas in AREAS.values()] for column, variant in enumerate(VARIANTS)}


def scores_of(*variants):
    return {variant: SCORES[variant] for variant in variants}
