"""How long does scikit-learn's grid search take on each backend of joblib, once, in a fresh process?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benches.compare.question import WORKERS, Contest, Figure, Side

if TYPE_CHECKING:
    from collections.abc import Callable


def on(backend: str, jobs: int = WORKERS) -> Callable[[bool], dict[str, float]]:
    def search(quick: bool) -> dict[str, float]:
        began = time.perf_counter()
        import joblib

        if backend == "paceline":
            import paceline  # noqa: F401 - this registers the backend.
        from sklearn.datasets import load_digits
        from sklearn.model_selection import GridSearchCV
        from sklearn.svm import SVC

        digits = load_digits(return_X_y=True)
        grid = {"C": [1, 10], "gamma": [0.001]} if quick else {"C": [1, 3, 10], "gamma": [0.0003, 0.001, 0.003]}
        start = time.perf_counter()
        with joblib.parallel_config(backend=backend, n_jobs=jobs):
            best = GridSearchCV(SVC(), grid, cv=5).fit(*digits).best_score_
        end = time.perf_counter()
        assert best > 0.96
        return {"fit": end - start, "whole": end - began}

    return search


CONTEST = Contest(
    {
        "fit": Figure("`GridSearchCV` of an SVC on the digits, fresh process: `fit`", "s", "less", 2),
        "whole": Figure("the same, with the imports of joblib and scikit-learn", "s", "less", 2),
    },
    {
        "joblib-paceline": Side("Paceline as joblib's backend", on("paceline")),
        "joblib-loky": Side("joblib's `loky`", on("loky")),
        "joblib-multiprocessing": Side("joblib's `multiprocessing`", on("multiprocessing")),
        "joblib-threading": Side("joblib's `threading`", on("threading")),
        "joblib-serial": Side("serial", on("sequential", 1)),
    },
)
