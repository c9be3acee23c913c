"""Many JSON files into one HDF5 file, with a progress bar; then the most correlated pair of columns, as a picture.

Workers read and check the files, many at a time; this process writes what they return, because an HDF5 file has one
writer. `imap` gives the records in the order of the files while later ones are still being read, so memory stays small
however many there are. The files here are made of scikit-learn's breast cancer data, one for each patient.

    python examples/json_to_hdf5.py [FILES [FOLDER]]
"""

import json
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import h5py
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer
from tqdm import tqdm

from paceline import Pool


def write_json_files(folder: Path, count: int) -> list[Path]:
    """What a clinic might have: a file for each patient, with its measurements by name."""
    data = load_breast_cancer()
    names = data.feature_names.tolist()
    paths = []
    for number, values in enumerate(data.data[:count].tolist()):
        path = folder / f"patient-{number:04}.json"
        path.write_text(json.dumps(dict(zip(names, values, strict=True))), encoding="utf-8")
        paths.append(path)
    return paths


def read_record(path: Path) -> dict[str, float]:
    """The measurements in one file; raises `ValueError` for what is not a number."""
    record = json.loads(path.read_text(encoding="utf-8"))
    return {name: float(value) for name, value in record.items()}


def convert(pool: Pool, paths: list[Path], target: Path) -> None:
    """Has the workers read the files, and writes a row for each and a column for each measurement."""
    names = list(read_record(paths[0]))
    with h5py.File(target, "w") as file:
        table = file.create_dataset("measurements", shape=(len(paths), len(names)), dtype="f8")
        table.attrs["names"] = names
        records = pool.imap(read_record, paths, chunksize=16)
        for row, record in enumerate(tqdm(records, total=len(paths), unit="file", desc="converting")):
            table[row] = [record[name] for name in names]


def correlation(source: Path, left: int, right: int) -> float:
    """The correlation of two columns; each worker opens the file for itself."""
    with h5py.File(source) as file:
        table = file["measurements"]
        return float(np.corrcoef(table[:, left], table[:, right])[0, 1])


def most_correlated(pool: Pool, source: Path) -> tuple[int, int, float]:
    """The two columns whose correlation is the strongest, and the correlation."""
    with h5py.File(source) as file:
        columns = file["measurements"].shape[1]
    pairs = list(combinations(range(columns), 2))
    found = pool.starmap(correlation, [(source, left, right) for left, right in pairs])
    strongest = max(range(len(pairs)), key=lambda index: abs(found[index]))
    return *pairs[strongest], found[strongest]


def plot(source: Path, left: int, right: int, picture: Path) -> str:
    """Draws two columns, one against the other; their names."""
    with h5py.File(source) as file:
        table = file["measurements"]
        names = list(table.attrs["names"])
        figure = Figure(figsize=(5, 4), layout="constrained")
        axes = figure.add_subplot(xlabel=names[left], ylabel=names[right])
        axes.scatter(table[:, left], table[:, right], s=6)
    figure.savefig(picture)
    return f"{names[left]} and {names[right]}"


def main(count: int, folder: Path) -> None:
    """Makes the files, converts them, and draws the most correlated columns."""
    paths = write_json_files(folder, count)
    target = folder / "measurements.h5"
    with Pool() as pool:
        convert(pool, paths, target)
        left, right, strength = most_correlated(pool, target)
    picture = folder / "most-correlated.png"
    names = plot(target, left, right, picture)
    print(f"{len(paths)} files in {target.name}; the most correlated: {names}, {strength:.4f}")
    print(f"drawn in {picture.name}")


if __name__ == "__main__":
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 569
    if len(sys.argv) > 2:
        main(files, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(files, Path(temporary))
