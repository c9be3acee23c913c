"""Made-up histories, for the tests of what is drawn and written of them."""

from paceline.history import Ending, Stretch


def stretch(worker, began, took, **fields):
    known = {
        "function": "simulate",
        "first_item": 0,
        "items": 1,
        "merged": 1,
        "attempt": 0,
        "ending": Ending.DONE,
        "submitted": 0.0,
        "busy": took,
        "longest": took,
    }
    return Stretch(worker=worker, began=began, ended=began + took, **(known | fields))
