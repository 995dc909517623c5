"""`cribo evaluate` beside NumPy: the simple protocol of dense retrieval (docs/algorithm.md, "Evaluation"),
worked out by plain definitions in float64 from the tokens of `cribo embed --dense` and the label maps, on any
weights and labelled pictures. Needs NumPy and Pillow.

    python tests/evaluation/simple_protocol.py WEIGHTS DATA [TEST] --size 224 --cribo PROGRAM

DATA, and TEST if it is given, are in the layout `pairs`: images, labels, classes.txt. With DATA alone every
second picture is scored. Prints the IoU of each class by both, and fails if one differs by more than
--tolerance.

    label map   pixel i of a map resized from h to S pixels is pixel floor((i + 1/2) h / S)
    memory      of each patch the unit token m_j and the shares h_j of the classes in its pixels; pixels of
                value 255 do not count, and patches with only such pixels are left out
    vote        sum of h_j over the 30 greatest cosines c_j, weighted by softmax(c_j / 0.02)
    map         votes interpolated bilinearly between the patches' middles; the first greatest
    score       IoU_c over the pixels of all pictures, and its mean over the classes that occur
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hummingbird import enlarge, patches, unit
from PIL import Image

NEIGHBOURS, TEMPERATURE, VOID = 30, 0.02, 255
SPARE, ROUNDING = 32, 1e-5  # further candidates of the float32 search, and more than its cosines' error
QUERIES = 256


# ---- Data ----------------------------------------------------------------------------------------


def call(command: list[Any]) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"status {done.returncode} of {command}:\n{done.stderr}")


def read_tensor(path: Path) -> np.ndarray:
    """The only tensor of a safetensors file, float32, mapped into memory."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    (entry,) = (value for name, value in header.items() if name != "__metadata__")
    return np.memmap(path, np.float32, "r", 8 + length + entry["data_offsets"][0], tuple(entry["shape"]))


def embed(data: Path, folder: Path, o: argparse.Namespace) -> dict[str, np.ndarray]:
    """The tokens [N, D] of each picture by the name of its file without the ending."""
    out = folder / f"tokens-{len(list(folder.iterdir()))}.safetensors"
    call([o.cribo, "embed", o.weights, data / "images", "-o", out, "--dense", "-q", *model_options(o)])
    names = [json.loads(line) for line in Path(f"{out}.names").read_text().splitlines()]
    return {Path(name).stem: tokens for name, tokens in zip(names, read_tensor(out))}


def model_options(o: argparse.Namespace) -> list[str]:
    found = [f"--size={o.size}", f"--threads={o.threads}"]
    return found + (["--prefix", o.prefix] if o.prefix else [])


def read_labels(data: Path, name: str, size: int) -> np.ndarray:
    labels = np.asarray(Image.open(data / "labels" / f"{name}.png"))
    y, x = (np.floor((np.arange(size) + 0.5) * pixels / size).astype(int) for pixels in labels.shape)
    return labels[y][:, x]


def halves(o: argparse.Namespace, folder: Path) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Tokens and label maps of the pictures to remember and of those to score."""

    def pairs(data: Path) -> list[tuple[np.ndarray, np.ndarray]]:
        tokens = embed(data, folder, o)
        return [(tokens[name], read_labels(data, name, o.size)) for name in sorted(tokens)]

    first = pairs(o.data)
    return [first, pairs(o.test)] if o.test else [first[0::2], first[1::2]]


# ---- The protocol --------------------------------------------------------------------------------


def remember(pictures: list[tuple[np.ndarray, np.ndarray]], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit tokens [E, D] and shares [E, C] of the patches with labels."""
    vectors, histograms = [], []
    for tokens, labels in pictures:
        pixels = patches(labels[None], int(len(tokens) ** 0.5))[0]
        counts = np.stack([(pixels == c).sum(1) for c in range(classes)], 1)
        known = counts.sum(1) > 0
        vectors.append(unit(tokens[known]))
        histograms.append(counts[known] / counts[known].sum(1, keepdims=True))
    return np.concatenate(vectors), np.concatenate(histograms)


def nearest(queries: np.ndarray, memory: np.ndarray, coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The indices and cosines of the nearest entries, by cosines in float64 of candidates in float32."""
    count = min(NEIGHBOURS, len(memory))
    found = queries.astype(np.float32) @ coarse.T
    most = min(len(memory), count + SPARE)
    candidates = np.argpartition(-found, most - 1, axis=1)[:, :most]
    least = np.take_along_axis(found, candidates, 1).min(1)
    cosines = np.einsum("qd,qcd->qc", queries, memory[candidates])
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    index, cosine = np.take_along_axis(candidates, order, 1), np.take_along_axis(cosines, order, 1)
    for q in np.flatnonzero(cosine[:, -1] < least + ROUNDING) if most < len(memory) else ():
        exact = memory @ queries[q]  # a candidate may be missing
        index[q] = np.argsort(-exact, kind="stable")[:count]
        cosine[q] = exact[index[q]]
    return index, cosine


def vote(tokens: np.ndarray, memory: np.ndarray, coarse: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The mixed shares [N, C] of a picture's patches."""
    votes = []
    for first in range(0, len(tokens), QUERIES):
        index, cosine = nearest(unit(tokens[first : first + QUERIES]), memory, coarse)
        weight = np.exp((cosine - cosine[:, :1]) / TEMPERATURE)
        weight /= weight.sum(1, keepdims=True)
        votes.append(np.einsum("qk,qkc->qc", weight, shares[index]))
    return np.concatenate(votes)


def evaluate(
    remembered: list[tuple[np.ndarray, np.ndarray]], scored: list[tuple[np.ndarray, np.ndarray]], classes: int
) -> np.ndarray:
    """The IoU of each class, NaN where it does not occur."""
    memory, shares = remember(remembered, classes)
    coarse = memory.astype(np.float32)
    confusion = np.zeros((classes, classes), np.int64)
    for number, (tokens, labels) in enumerate(scored):
        side = int(len(tokens) ** 0.5)
        grow = enlarge(side, len(labels))
        votes = vote(tokens, memory, coarse, shares).reshape(side, side, classes)
        found = np.einsum("yi,xj,ijc->yxc", grow, grow, votes, optimize=True).argmax(-1)
        counts = labels != VOID
        confusion += np.bincount(
            labels[counts].astype(int) * classes + found[counts], minlength=classes**2
        ).reshape(classes, classes)
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {len(scored)} pictures", end="", file=sys.stderr)
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    return np.where(union > 0, confusion.diagonal() / np.maximum(union, 1), np.nan)


# ---- The comparison ------------------------------------------------------------------------------


def parsed() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("weights", type=Path)
    p.add_argument("data", type=Path)
    p.add_argument("test", type=Path, nargs="?")
    p.add_argument("--size", type=int, required=True)
    p.add_argument("--cribo", default="cribo", help="the program")
    p.add_argument("--prefix", help="of the parameters in the file, as the program has it")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--tolerance", type=float, default=1e-4)
    return p.parse_args()


def main() -> int:
    o = parsed()
    classes = (o.data / "classes.txt").read_text().splitlines()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = [o.data, o.test] if o.test else [o.data]
        call([o.cribo, "evaluate", o.weights, *data, "-q", "--json", folder / "scores", *model_options(o)])
        scores = json.loads((folder / "scores").read_text())["retrieval"]
        iou = evaluate(*halves(o, folder), len(classes))
    theirs = {"mIoU": float(np.nanmean(iou)), **dict(zip(classes, iou.tolist()))}
    ours = {"mIoU": scores["mean_iou"], **{name: scores["iou"][name] for name in classes}}
    worst = 0.0
    print("                      cribo evaluate       NumPy   difference")
    for name, expected in theirs.items():
        found = float("nan") if ours[name] is None else ours[name]
        difference = 0.0 if np.isnan(found) and np.isnan(expected) else abs(found - expected)
        worst = max(worst, difference if difference == difference else np.inf)
        print(f"{name:20} {100 * found:12.4f} % {100 * expected:9.4f} % {difference:12.1e}")
    print(f"size {o.size}: the largest difference is {worst:.1e}, {o.tolerance:g} is allowed")
    return int(worst > o.tolerance)


if __name__ == "__main__":
    sys.exit(main())
