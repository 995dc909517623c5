"""Which ingredients help from scratch, without published weights? Networks are trained without labels on the
photographs of all drives but one, each arm for the same CPU time, and the features are scored on the drive
that was left out, by dense retrieval and a linear probe. docs/experiment.md has the results.

    photo_experiment.py run DATA --out DIR [--arms plain stem masked] [--seeds 1 2 3] [--cpu-seconds 300]
    photo_experiment.py run DATA --out DIR --scenes TEST    trains on DATA, scores TEST
    photo_experiment.py table DIR

DATA has the folders images and labels and the file classes.txt; a drive is the beginning of a name up to the
first underscore. With --scenes there are no drives: DATA and TEST are two such folders, as `cribo scenes`
writes them. An arm is one of the names below, or NAME:OPTION,OPTION with options of `cribo pretrain`
(fine:patch-size=4,depth=2). The first steps of an arm are timed on one drive, and every run of the arm gets
the number of steps that fits into the CPU time, schedules included. Finished runs in DIR are not repeated, so
a longer list of seeds, drives or arms continues an earlier one. Runs take one thread each, --jobs of them at
a time.

The floors are one class for all pixels, the mean labels at each place, colour and gradients (HOG) without a
network, and the untrained network. `true shares` gives each patch the true shares of its classes: the most
that features of patches can be expected to reach. The arm `labels` is a network of the default size trained
with labels for the same time; it needs PyTorch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from adapt_experiment import SCORES, call, link_sets, train_with_labels

# The settings without a preset, and one change at a time.
ARMS: dict[str, list[str]] = {
    "plain": [],
    "stem": ["stem=convolution"],
    "masked": ["masked-weight=1"],
    "masked-stem": ["masked-weight=1", "stem=convolution"],
    "global": ["cross-view-weight=0", "cross-image-weight=0"],
    "no-global": ["global-weight=0"],
    "no-images": ["cross-image-weight=0"],
    "objects-1": ["cross-view-weight=1", "cross-image-weight=1"],
    "rate-2": ["learning-rate=0.032"],
    "rate-1/2": ["learning-rate=0.008"],
    "batch-32": ["batch-size=32"],
    "mean-centre": ["sinkhorn-centring=0"],
    "koleo": ["koleo-weight=0.1"],
    "gram": ["gram-weight=2"],
    "local": ["local-crops=4", "local-size=48", "local-weight=4"],
    "small-views": ["image-size=64"],
    "coarse": ["patch-size=16"],
    "small-crops": ["crop-area-min=0.1"],
    "large-crops": ["crop-area-min=0.5"],
    "no-colour-change": ["jitter=0", "grey=0", "solarise=0"],
    "no-blur": ["blur=0"],
    "clusters-16": ["clusters=16"],
    "place-4": ["position-weight=4", "position-weight-final=4"],
    "momentum": ["ema-momentum=0.996"],
    "wide": ["width=192", "heads=3"],
    "deep": ["depth=8"],
    "shallow": ["depth=2"],
}
UNTRAINED, LABELS = "untrained", "labels"
NETWORKS = ("teacher", "student")
FLOORS = {"one class": "constant", "place": "place", "colour + HOG": "floor", "true shares": "shares"}
PILOT = (4, 12)  # steps after which an arm's time is read


class Job(NamedTuple):
    drive: str  # left out of the training
    arm: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.drive},{self.arm.replace('/', '_')},{self.seed}"


def parse_arm(text: str) -> tuple[str, list[str]]:
    name, colon, options = text.partition(":")
    if not colon and name not in (*ARMS, UNTRAINED, LABELS):
        raise argparse.ArgumentTypeError(f"{name}: no such arm; {', '.join(ARMS)}, or NAME:OPTION=VALUE,...")
    return name, options.split(",") if colon else ARMS.get(name, [])


# ---- Runs ----------------------------------------------------------------------------------------


class Experiment:
    """The runs in a folder."""

    def __init__(self, options: argparse.Namespace):
        self.o, self.arms = options, dict(options.arms)
        self.timing: dict[str, Lock] = defaultdict(Lock)
        for folder in ("runs", "scores", "times"):
            (options.out / folder).mkdir(parents=True, exist_ok=True)

    def folder(self, drive: str, part: str) -> Path:
        return Path(self.o.out) / f"{drive}-{part}"

    def pretrain(self, job: Job, run: Path, *more: str) -> float:
        options = [*self.o.set, *self.arms[job.arm], f"seed={job.seed}", *more]
        command = [self.o.cribo, "pretrain", self.folder(job.drive, "train") / "images", "-o", run]
        command += ["--overwrite", "--threads=1", "--workers=1", "--quiet", "--keep=1", "--level=0"]
        return call([*command, *(f"--{option}" for option in options)], run.with_suffix(".log"))

    def steps(self, job: Job) -> int:
        return int(self.o.steps) or max(1, round(self.o.cpu_seconds / self.seconds_per_step(job)))

    def seconds_per_step(self, job: Job) -> float:
        """The CPU time of a step of an arm, measured once for all its runs."""
        name = job.name.split(",")[1]
        path = self.o.out / "times" / f"{name}.json"
        with self.timing[name]:
            if not path.exists():
                run = self.o.out / "runs" / f"pilot,{name}"
                # Schedules as in a long run: none of the losses begins late enough to be missed.
                spent = [
                    self.pretrain(job, run, f"stop-after={n}", "steps=1000", "cross-image-steps=1", "seed=0")
                    for n in PILOT
                ]
                per_step = (spent[1] - spent[0]) / (PILOT[1] - PILOT[0])
                path.write_text(json.dumps({"seconds_per_step": max(per_step, 1e-3)}))
            return float(json.loads(path.read_text())["seconds_per_step"])

    def train(self, job: Job) -> dict[str, Any]:
        """The record of a run, made if it is not there yet."""
        run = self.o.out / "runs" / job.name
        record = self.o.out / "runs" / f"{job.name}.json"
        if not record.exists():
            facts: dict[str, Any] = {"drive": job.drive, "arm": job.arm, "seed": job.seed}
            if job.arm == LABELS:
                facts |= {"weights": f"{job.name}.safetensors", "seconds": self.train_with_labels(job, run)}
            else:
                steps = 1 if job.arm == UNTRAINED else self.steps(job)
                more = ["learning-rate=0"] if job.arm == UNTRAINED else []
                seconds = self.pretrain(job, run, f"steps={steps}", *more)
                facts |= {"weights": job.name, "seconds": seconds, "steps": steps, **self.signs(run)}
                for checkpoint in run.glob("checkpoint-*"):
                    checkpoint.unlink()
            record.write_text(json.dumps(facts))
        return dict(json.loads(record.read_text()))

    def train_with_labels(self, job: Job, run: Path) -> float:
        length = f"--steps={self.o.steps}" if self.o.steps else f"--cpu-seconds={self.o.cpu_seconds}"
        settings = [f"--seed={job.seed}", *self.o.labels, length]
        weights, log = Path(f"{run}.safetensors"), run.with_suffix(".log")
        return train_with_labels(self.folder(job.drive, "train"), weights, settings, log)

    @staticmethod
    def signs(run: Path) -> dict[str, float]:
        """View retrieval at the start and at the end, in per cent, and the entropy of the last [CLS] targets
        as a share of that of uniform ones: at 1 there is nothing to learn from."""
        steps = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        last = [step for step in steps[-20:] if step["uniform_loss"]]
        shares = [step["teacher_entropy"] / step["uniform_loss"] for step in last]
        found = {"entropy": float(np.mean(shares))} if shares else {}
        for step in steps:
            if step["view_retrieval_percent"] is not None:
                found["retrieval_before"] = step["view_retrieval_start_percent"]
                found["retrieval_after"] = step["view_retrieval_percent"]
        return found

    def score(self, job: Job, facts: dict[str, Any], network: str, size: int) -> None:
        """Scores of a run on the drive that was left out, and of the floors, computed if not there yet."""
        path = self.o.out / "scores" / f"{job.name},{network},{size}.json"
        if path.exists():
            return
        partial = path.with_suffix(".partial")
        command = [self.o.cribo, "evaluate", self.o.out / "runs" / facts["weights"]]
        command += [self.folder(job.drive, part) for part in ("train", "test")]
        command += [f"--size={size}", "--threads=1", "--quiet", "--json", partial]
        command += ["--linear"] if self.o.linear else []
        if job.arm == LABELS:
            command += [f"--model=heads={self.o.heads}"]
        floors: dict[str, float] = {}
        if job.arm == UNTRAINED:
            command += ["--floor"]
            train, test = (self.folder(job.drive, part) for part in ("train", "test"))
            floors = floors_of(train, test, size, self.o.patch)
        call(command + (["--student"] if network == "student" else []), path.with_suffix(".log"))
        path.write_text(json.dumps({**facts, "network": network, "size": size, **floors, **chosen(partial)}))
        partial.unlink()

    def finish(self, job: Job) -> None:
        facts = self.train(job)
        for network in self.o.networks if job.arm not in (UNTRAINED, LABELS) else NETWORKS[:1]:
            for size in self.o.sizes:
                self.score(job, facts, network, size)
        print("done:", job.name, flush=True)

    def run(self, drives: Sequence[str]) -> None:
        arms = [UNTRAINED, *(name for name in self.arms if name != UNTRAINED)]
        self.arms.setdefault(UNTRAINED, [])
        jobs = [Job(drive, arm, seed) for seed in self.o.seeds for drive in drives for arm in arms]
        with ThreadPoolExecutor(self.o.jobs) as pool:
            for done in [pool.submit(self.finish, job) for job in jobs]:
                done.result()


def chosen(path: Path) -> dict[str, float]:
    """What the table needs of a file of cribo evaluate --json: mIoU in per cent."""
    found = json.loads(path.read_text())
    scores = {name: 100 * found[name]["mean_iou"] for name in SCORES if name in found}
    return scores | ({"floor": 100 * found["floor"]["mean_iou"]} if "floor" in found else {})


# ---- Floors and the bound from labels alone ------------------------------------------------------


def label_maps(folder: Path, size: int) -> np.ndarray:
    """Label maps [n, S, S] as cribo evaluate scores them: the stored pixel at each pixel's centre."""
    from PIL import Image

    def read(path: Path) -> np.ndarray:
        stored = np.asarray(Image.open(path))
        rows, columns = (((np.arange(size) + 0.5) * n / size).astype(int) for n in stored.shape)
        return stored[np.ix_(rows, columns)]

    return np.stack([read(path) for path in sorted((folder / "labels").iterdir())])


def shares_of(maps: np.ndarray, patch: int, classes: int) -> np.ndarray:
    """The share of each class in each patch, [n, rows, columns, classes]; 0 everywhere without a label."""
    side = maps.shape[1] // patch
    patches = maps.reshape(-1, side, patch, side, patch)
    counts = np.stack([(patches == c).sum((2, 4)) for c in range(classes)], -1).astype(np.float32)
    return counts / np.maximum(counts.sum(-1, keepdims=True), 1)


def enlarged(shares: np.ndarray, size: int) -> np.ndarray:
    """The commonest class of each pixel [n, S, S]; shares are interpolated linearly between centres."""
    side = shares.shape[1]
    place = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    weights = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(side))).astype(np.float32)
    mixed = (np.einsum("yr,rcl,xc->yxl", weights, one, weights, optimize=True) for one in shares)
    return np.stack([one.argmax(-1) for one in mixed])


def mean_iou(maps: np.ndarray, predicted: np.ndarray) -> float:
    """In per cent, over the classes that occur; 255 counts nowhere."""
    maps, predicted = np.broadcast_arrays(maps, predicted)
    known = maps < 255
    maps, predicted = maps[known], predicted[known]
    pairs = [(maps == c, predicted == c) for c in np.unique(maps)]
    return float(100 * np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]))


def floors_of(train: Path, test: Path, size: int, patch: int) -> dict[str, float]:
    """mIoU that needs no picture: the commonest class of `train` everywhere (constant), the mean labels of
    `train` at each place (place), and the true shares of classes in each patch of `test` (shares), the most
    that features of patches can be expected to reach. Nothing without Pillow."""
    try:
        known, asked = (label_maps(folder, size) for folder in (train, test))
    except ImportError:
        return {}
    classes = 1 + int(max(maps[maps < 255].max() for maps in (known, asked)))
    shares = shares_of(known, patch, classes)
    return {
        "constant": mean_iou(asked, np.full((1, 1, 1), np.bincount(known[known < 255]).argmax())),
        "place": mean_iou(asked, enlarged(shares.mean(0, keepdims=True), size)),
        "shares": mean_iou(asked, enlarged(shares_of(asked, patch, classes), size)),
    }


# ---- All runs ------------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> None:
    Experiment(options).run(link_sets(options))


# ---- The table -----------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> str:
    """Mean and deviation over runs; nothing for none."""
    if not values:
        return ""
    deviation = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{deviation}"


def gains(rows: Sequence[dict[str, Any]], before: dict[tuple[str, int], float]) -> str:
    """Retrieval above the untrained network of the same drive and seed."""
    found = [row["retrieval"] - before[key] for row in rows if (key := (row["drive"], row["seed"])) in before]
    return spread(found)


def rows_of(scores: Sequence[dict[str, Any]], drive: str, size: int) -> list[str]:
    """Lines of Markdown for one drive, or for all of them."""
    own = [s for s in scores if s["size"] == size and drive in ("all", s["drive"])]
    untrained = [s for s in own if s["arm"] == UNTRAINED]
    before = {(s["drive"], s["seed"]): s["retrieval"] for s in untrained}
    lines = []
    for name, key in FLOORS.items():
        once = {s["drive"]: s[key] for s in untrained if key in s}
        if once:
            lines.append(
                f"| {drive} | {size} | {name} | | {len(once)} | | | {spread([*once.values()])} | | | | |"
            )
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for s in own:
        groups[s["arm"], s["network"]].append(s)
    order = [UNTRAINED, *ARMS, LABELS]
    for arm, network in sorted(groups, key=lambda g: (order.index(g[0]) if g[0] in order else 99, g)):
        found = groups[arm, network]
        steps = f"{np.mean([s['steps'] for s in found]):.0f}" if "steps" in found[0] else ""
        signs = [f"{np.mean([s[k] for s in found]):.1f}" for k in ("retrieval_before", "retrieval_after")
                 if all(k in s for s in found)]  # fmt: skip
        lines.append(
            f"| {drive} | {size} | {arm} | {network} | {len(found)} | {steps} "
            f"| {np.mean([s['seconds'] for s in found]):.0f} | {spread([s['retrieval'] for s in found])} "
            f"| {gains(found, before)} | {spread([s['linear_probe'] for s in found if 'linear_probe' in s])} "
            f"| {' → '.join(signs)} | {spread([s['entropy'] for s in found if 'entropy' in s])} |"
        )
    return lines


def table(options: argparse.Namespace) -> None:
    scores = [json.loads(path.read_text()) for path in sorted((options.dir / "scores").glob("*.json"))]
    print("| drive | size | arm | network | runs | steps | CPU s | retrieval mIoU | above untrained "
          "| linear probe | view retrieval | [CLS] entropy / uniform |")  # fmt: skip
    print("| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for size in sorted({s["size"] for s in scores}):
        drives = sorted({s["drive"] for s in scores})
        for drive in [*drives, *(["all"] if len(drives) > 1 else [])]:
            print("\n".join(rows_of(scores, drive, size)))


# ---- Arguments -----------------------------------------------------------------------------------


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("run", help="train and score")
    one.add_argument("data", type=Path)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--cribo", default="cribo", help="the program")
    one.add_argument("--drives", nargs="+", help="drives to leave out, a run each; default: all")
    one.add_argument("--scenes", type=Path, metavar="TEST", help="pictures to score, in place of drives")
    one.add_argument("--arms", nargs="+", type=parse_arm, default=[(name, ARMS[name]) for name in ARMS])
    one.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    one.add_argument("--cpu-seconds", type=float, default=300, help="of each run")
    one.add_argument("--steps", type=int, default=0, help="of each run, in place of a CPU time")
    one.add_argument("--sizes", nargs="+", type=int, default=[96], help="sides of the scored pictures")
    one.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    one.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of all arms")
    one.add_argument("--linear", action=argparse.BooleanOptionalAction, default=True, help="the linear probe")
    one.add_argument("--patch", type=int, default=8, help="side of a patch for the floors")
    one.add_argument("--heads", type=int, default=2, help="attention heads of the arm labels")
    one.add_argument("--labels", action="append", default=[], metavar="OPTION", help="of torch_labels.py")
    one.add_argument("--jobs", type=int, default=1)
    one.set_defaults(work=run)
    two = commands.add_parser("table", help="print the scores in Markdown")
    two.add_argument("dir", type=Path)
    two.set_defaults(work=table)
    return parser.parse_args()


def main() -> int:
    options = parsed()
    options.work(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
