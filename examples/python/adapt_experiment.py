"""Does adapting help? Published weights are adapted to the photographs of all drives but one, without labels,
by some of the losses; the features are scored on the labelled photographs of the drive that was left out, by
dense retrieval and a linear probe. docs/adapt.md has the results.

    adapt_experiment.py run DATA WEIGHTS --out DIR [--arms b c d] [--seeds 1 2 3] [--steps 240] [--sizes 224]
    adapt_experiment.py run DATA WEIGHTS --out DIR --scenes TEST    adapts to DATA, scores TEST
    adapt_experiment.py matches DATA MODEL [--drive NAME]   how often matched objects share a class
    adapt_experiment.py table DIR

DATA has the folders images and labels and the file classes.txt; a drive is the beginning of a name up to the
first underscore. With --scenes there are no drives: DATA and TEST are two such folders, as `cribo scenes`
writes them. Finished runs in DIR are not repeated. Runs take one thread each, --jobs of them at a time.

--follow N also scores the networks, and counts the matched objects of the scored pictures that share a class,
before training and after every N steps: the weights of these steps are kept until then. Needs Pillow.

Arms: a, the weights as they are; b, the global loss only; c, with the loss of objects between views; d, all
three losses; e, without the global loss; l, with labels in place of these losses, as an estimate of what the
others can reach (torch_labels.py; needs PyTorch and timm).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ARMS: dict[str, list[str]] = {
    "b": ["--cross-view-weight=0", "--cross-image-weight=0"],
    "c": ["--cross-image-weight=0"],
    "d": [],
    "e": ["--global-weight=0"],
}
LABELS = "l"
SCORES = ("retrieval", "linear_probe")
SCENES = "scenes"  # the name in place of a drive's


# ---- Data ----------------------------------------------------------------------------------------


def drive_of(path: Path) -> str:
    return path.name.split("_")[0]


def pictures(data: Path) -> list[Path]:
    return sorted(path for path in (data / "images").iterdir() if path.suffix in (".jpg", ".png"))


def link(data: Path, out: Path, chosen: Iterable[Path]) -> Path:
    """A folder of links to some pictures and their labels."""
    for folder in ("images", "labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for picture in chosen:
        label = data / "labels" / (picture.stem + ".png")
        for source, target in (
            (picture, out / "images" / picture.name),
            (label, out / "labels" / label.name),
        ):
            if not target.exists():
                target.symlink_to(source.resolve())
    classes = out / "classes.txt"
    if not classes.exists():
        classes.symlink_to((data / "classes.txt").resolve())
    return out


# ---- Runs ----------------------------------------------------------------------------------------


class Job(NamedTuple):
    drive: str  # left out of the training
    arm: str
    seed: int
    steps: int

    @property
    def name(self) -> str:
        return (
            f"{self.drive}-{self.arm}"
            if self.arm == "a"
            else f"{self.drive}-{self.arm}-{self.steps}-{self.seed}"
        )


def call(command: Sequence[str | Path], log: Path) -> float:
    """Runs a command; its CPU seconds, those of its threads included."""
    with log.open("a") as file:
        print("$", *command, file=file, flush=True)
        process = subprocess.Popen([str(word) for word in command], stdout=file, stderr=file)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"status {process.returncode}: see {log}")
    return used.ru_utime + used.ru_stime


def train(job: Job, options: argparse.Namespace) -> Path:
    """The weights of a run, trained if they are not there yet."""
    run: Path = options.out / "runs" / job.name
    weights = run / "weights.safetensors"
    log = run.with_suffix(".log")
    if log.exists() and "done\n" in log.read_text():
        return weights
    if job.arm == LABELS:
        run.mkdir(exist_ok=True)
        settings = [f"--steps={job.steps}", f"--seed={job.seed}", f"--size={options.train_size}", "--batch=8"]
        settings += ["--rate=3e-5", f"--weights={options.weights}", *options.labels]
        train_with_labels(options.out / f"{job.drive}-train", weights, settings, log)
    else:
        adapt(job, run, log, options)
    with log.open("a") as file:
        print("done", file=file)
    return weights


def train_with_labels(pictures: Path, weights: Path, settings: Iterable[str], log: Path) -> float:
    """Runs torch_labels.py; its CPU seconds."""
    script = Path(__file__).with_name("torch_labels.py")
    return call([sys.executable, script, pictures, "-o", weights, *settings], log)


def adapt(job: Job, run: Path, log: Path, options: argparse.Namespace) -> None:
    settings = [f"--steps={job.steps}", f"--seed={job.seed}", f"--image-size={options.train_size}"]
    every = options.follow
    settings += [f"--save-every={every}", f"--keep={job.steps}"] if every else ["--keep=1"]
    settings += ["--threads=1", "--workers=1", "--level=0", "--quiet"]
    call(
        [
            options.cribo,
            "pretrain",
            options.out / f"{job.drive}-train" / "images",
            "-o",
            run,
            "--preset=adapt",
        ]
        + ["--weights", options.weights, *settings, *(f"--{text}" for text in options.set), *ARMS[job.arm]],
        log,
    )
    for checkpoint in sorted(run.glob("checkpoint-*")):
        step = int(checkpoint.name.split("-")[1].split(".")[0])
        # The ends of epochs may be saved as well.
        for network in options.networks if every and (step % every == 0 or step == job.steps) else ():
            record_matches(job, step, checkpoint, network, options)
            if step < job.steps:
                curve = options.out / "curves" / f"{job.name}-{network}-{step}.json"
                score(job.drive, checkpoint, options.sizes[0], network, curve, options)
        checkpoint.unlink()  # large


def score(
    drive: str, weights: Path, size: int, network: str, result: Path, options: argparse.Namespace
) -> None:
    """Scores a model on the drive that was left out, if the result is not there yet."""
    if result.exists():
        return
    partial = result.with_suffix(".partial")
    command = [options.cribo, "evaluate", weights]
    command += [options.out / f"{drive}-{part}" for part in ("train", "test")]
    command += [f"--size={size}", "--linear", "--threads=1", "--quiet", "--json", partial]
    call(command + (["--student"] if network == "student" else []), result.with_suffix(".log"))
    partial.rename(result)


def record_matches(job: Job, step: int, model: Path, network: str, options: argparse.Namespace) -> None:
    """Counts the matched objects of the scored pictures, if they are not counted yet."""
    result = options.out / "matches" / f"{job.name}-{network}-{step}.json"
    if result.exists():
        return
    data = options.out / f"{job.drive}-test"
    counted = count_matches(data, pictures(data), model, network, Counting(size=options.sizes[0]))
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(counted._asdict()))
    partial.rename(result)


def finish(job: Job, options: argparse.Namespace) -> None:
    weights = options.weights if job.arm == "a" else train(job, options)
    networks = ["weights"] if job.arm in ("a", LABELS) else options.networks
    for size in options.sizes:
        for network in networks:
            result = options.out / "scores" / f"{job.name}-{network}-{size}.json"
            score(job.drive, weights, size, network, result, options)
    if job.arm == "a" and options.follow:
        record_matches(job, 0, weights, "weights", options)
        first = options.out / "scores" / f"{job.name}-weights-{options.sizes[0]}.json"
        shutil.copy(first, options.out / "curves" / f"{job.name}-weights-0.json")
    print("done:", job.name, flush=True)


def link_sets(options: argparse.Namespace) -> list[str]:
    """The folders NAME-train and NAME-test of each drive that is left out; the names."""
    all_pictures = pictures(options.data)
    if options.scenes:
        link(options.data, options.out / f"{SCENES}-train", all_pictures)
        link(options.scenes, options.out / f"{SCENES}-test", pictures(options.scenes))
        return [SCENES]
    drives = options.drives or sorted({drive_of(path) for path in all_pictures})
    for drive in drives:
        link(options.data, options.out / f"{drive}-train", (p for p in all_pictures if drive_of(p) != drive))
        link(options.data, options.out / f"{drive}-test", (p for p in all_pictures if drive_of(p) == drive))
    return drives


def run(options: argparse.Namespace) -> None:
    for folder in ("runs", "scores", "curves", "matches"):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    drives = link_sets(options)
    jobs = [Job(drive, "a", 0, 0) for drive in drives]
    jobs += [
        Job(drive, arm, seed, options.steps)
        for seed in options.seeds
        for drive in drives
        for arm in options.arms
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        for done in [pool.submit(finish, job, options) for job in jobs]:
            done.result()


# ---- The table -----------------------------------------------------------------------------------


def scores_of(path: Path) -> list[float]:
    """mIoU in per cent by retrieval and by the linear probe."""
    result = json.loads(path.read_text())
    return [100 * result[name]["mean_iou"] for name in SCORES]


def split_name(stem: str) -> tuple[str, str, int, str, str]:
    """Drive, arm, steps, network and the last word of the name of a result."""
    *words, network, last = stem.split("-")
    return words[0], words[1], int(words[2]) if len(words) > 2 else 0, network, last


def table(options: argparse.Namespace) -> None:
    score_table(options.dir / "scores", "size")
    if any((options.dir / "curves").glob("*.json")):
        print("\nduring the runs:")
        score_table(options.dir / "curves", "step")
    found = sorted((options.dir / "matches").glob("*.json"))
    if found:
        print()
        match_table(found)


def match_table(paths: list[Path]) -> None:
    """The matched objects by step, means over the runs; step 0 is before training."""
    rows: dict[tuple[str, int, str, str, int], list[Matched]] = defaultdict(list)
    for path in paths:
        drive, arm, steps, network, last = split_name(path.stem)
        rows[drive, steps, arm, network, int(last)].append(Matched(**json.loads(path.read_text())))
    print("matched objects of the scored pictures; the same class:")
    print("drive    steps  arm  network   step  runs  objects  pass     of those  of all    by chance")
    for (drive, steps, arm, network, step), found in sorted(rows.items()):
        means = [100 * float(np.nanmean(values)) for values in list(zip(*found))[1:]]
        texts = "  ".join(f"{mean:6.2f} %" for mean in means)
        objects = np.mean([one.objects for one in found])
        print(f"{drive:8} {steps:5}  {arm:3}  {network:7} {step:6}  {len(found):4}  {objects:7.0f}  {texts}")


def score_table(folder: Path, last: str) -> None:
    """Means and deviations over the runs, and gains over the weights before; last: what a name ends with."""
    rows: dict[tuple[str, int, int, str, str], list[list[float]]] = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        drive, arm, steps, network, number = split_name(path.stem)
        rows[drive, int(number), steps, arm, network].append(scores_of(path))
    print(f"drive    {last}  steps  arm  network  runs   retrieval mIoU          linear probe mIoU")
    for (drive, end, steps, arm, network), values in sorted(rows.items()):
        means, deviations = np.mean(values, 0), np.std(values, 0, ddof=1) if len(values) > 1 else (0, 0)
        before = np.mean(
            rows.get((drive, 0 if last == "step" else end, 0, "a", "weights"), [[np.nan] * 2]), 0
        )
        texts = [f"{m:6.2f} ± {d:4.2f} ({m - b:+5.2f})" for m, d, b in zip(means, deviations, before)]
        print(f"{drive:8} {end:4}  {steps:5}  {arm:3}  {network:7}  {len(values):4}   {'   '.join(texts)}")


# ---- Matched objects -----------------------------------------------------------------------------


def crops(rng: np.random.Generator, width: int, height: int) -> tuple[int, int, int, int]:
    """A random box of a quarter to the whole of a picture: left, top, right, bottom."""
    area, ratio = rng.uniform(0.25, 1) * width * height, np.exp(rng.uniform(np.log(0.75), np.log(4 / 3)))
    w, h = min(width, round((area * ratio) ** 0.5)), min(height, round((area / ratio) ** 0.5))
    left, top = rng.integers(width - w + 1), rng.integers(height - h + 1)
    return int(left), int(top), int(left + w), int(top + h)


def view(
    picture: Any, label: Any, box: tuple[int, int, int, int], size: int, patch: int
) -> tuple[Any, Any, Any]:
    """Pixels [3, S, S], the majority label of each patch [N], and its place in the picture [N, 2]."""
    import cribo
    from PIL import Image

    pixels = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box), np.float32) / 255
    pixels = (pixels - np.float32(cribo.IMAGENET_MEAN)) / np.float32(cribo.IMAGENET_DEVIATION)
    side = size // patch
    labels = np.asarray(label.crop(box).resize((size, size), Image.Resampling.NEAREST))
    labels = labels.reshape(side, patch, side, patch).swapaxes(1, 2).reshape(side * side, -1)
    middles = (np.arange(side) + 0.5) / side
    x, y = box[0] + middles * (box[2] - box[0]), box[1] + middles * (box[3] - box[1])
    places = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2).astype(np.float32)
    return pixels.transpose(2, 0, 1), [majority(patch_labels) for patch_labels in labels], places


def majority(labels: Sequence[int] | np.ndarray) -> int:
    """The commonest label; 255, for none, counts as well."""
    return int(np.bincount(labels, minlength=256).argmax())


def objects_of(
    model: Any, batch: list[tuple[Any, Any]], rng: np.random.Generator, size: int, clusters: int
) -> Any:
    """The objects of pictures: vectors in both views [R, D], labels [R, 2], objects per image [B]."""
    import cribo

    patch = model.settings["patch_size"]
    views = [
        [view(picture, label, crops(rng, *picture.size), size, patch) for _ in range(2)]
        for picture, label in batch
    ]
    pixels = np.ascontiguousarray([v[0] for pair in views for v in pair], np.float32)
    labels = np.array([[v[1] for v in pair] for pair in views])
    places = np.ascontiguousarray([[v[2] for v in pair] for pair in views], np.float32)
    dense = model.features(pixels, cls=False).dense
    tokens = dense.reshape(len(batch), 2, *dense.shape[1:])
    shape = (len(batch), *tokens.shape[2:])
    with cribo.Clusterer(*shape, clusters=clusters, threads=1) as clusterer:
        found = clusterer.run(tokens, places, call=int(rng.integers(1 << 30)))
    of = [
        [
            [majority(labels[i, v][found.labels[i, v] == k]) for v in range(2)]
            for k in np.flatnonzero(found.valid[i])
        ]
        for i in range(len(batch))
    ]
    vectors = [np.ascontiguousarray(found.objects[:, v][found.valid.astype(bool)]) for v in range(2)]
    return (
        vectors,
        np.concatenate([np.array(x, np.int64).reshape(-1, 2) for x in of]),
        np.array([len(x) for x in of]),
    )


class Counting(NamedTuple):
    """Settings of count_matches."""

    clusters: int = 12
    size: int = 224
    seed: int = 0


class Matched(NamedTuple):
    """Shares of the objects: those that pass the cycle test, and those whose class is that of the nearest
    object, of those that pass, of all, and by chance."""

    objects: int
    passed: float
    same_of_passed: float
    same_of_all: float
    by_chance: float


def share(x: np.ndarray) -> float:
    return float(x.mean()) if len(x) else float("nan")


def count_matches(
    data: Path, chosen: list[Path], model_path: Path, network: str, counting: Counting
) -> Matched:
    """Matches the objects of one half of the pictures with those of the other half."""
    import cribo
    from PIL import Image

    opened = [(Image.open(p).convert("RGB"), Image.open(data / "labels" / (p.stem + ".png"))) for p in chosen]
    rng = np.random.default_rng(counting.seed)
    order = rng.permutation(len(opened))
    halves = [[opened[i] for i in order[h::2]] for h in range(2)]
    prefix = None if network == "weights" else network + ".backbone."
    with cribo.Model.open(model_path, prefix=prefix, threads=1) as model:
        (bank1, bank2), bank_labels, bank_counts = objects_of(
            model, halves[0], rng, counting.size, counting.clusters
        )
        (view1, view2), labels, counts = objects_of(model, halves[1], rng, counting.size, counting.clusters)
    with cribo.MemoryBank(
        width=view1.shape[1],
        bank_images=len(bank_counts),
        objects_per_image=counting.clusters,
        max_objects=max(len(view1), len(bank1)),
        threads=1,
    ) as bank:
        bank.push(bank1, bank2, bank_counts)
        found = bank.query(view1, view2, counts)
    own, theirs = labels[:, 0], bank_labels[found.index1, 0]
    known = (own < 255) & (theirs < 255)
    same, passed = own == theirs, found.match1.astype(bool)
    shares = [
        np.bincount(x[x < 255], minlength=255) / max(1, (x < 255).sum()) for x in (own, bank_labels[:, 0])
    ]
    return Matched(
        len(own), share(passed), share(same[known & passed]), share(same[known]), float(shares[0] @ shares[1])
    )


def matches(options: argparse.Namespace) -> None:
    chosen = [p for p in pictures(options.data) if options.drive in (None, drive_of(p))]
    counting = Counting(options.clusters, options.size, options.seed)
    found = count_matches(options.data, chosen, options.model, options.network, counting)
    print(
        f"{found.objects} objects, {100 * found.passed:.1f} % pass the cycle test; the same class: "
        f"{100 * found.same_of_passed:.1f} % of those that pass, "
        f"{100 * found.same_of_all:.1f} % of all, {100 * found.by_chance:.1f} % by chance"
    )


# ---- Arguments -----------------------------------------------------------------------------------


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("run", help="train and score")
    one.add_argument("data", type=Path)
    one.add_argument("weights", type=Path)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--cribo", default="cribo", help="the program")
    sets = one.add_mutually_exclusive_group()
    sets.add_argument("--drives", nargs="+", help="drives to leave out, a run each; default: all")
    sets.add_argument("--scenes", type=Path, metavar="TEST", help="folder to score; DATA has no drives then")
    one.add_argument("--arms", nargs="+", default=["b", "c", "d"], choices=(*ARMS, LABELS))
    one.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    one.add_argument("--steps", type=int, default=240)
    one.add_argument("--train-size", type=int, default=168, help="side of the views in pixels")
    one.add_argument("--sizes", nargs="+", type=int, default=[224], help="sides of the scored pictures")
    one.add_argument("--networks", nargs="+", default=["student"], choices=("student", "teacher"))
    one.add_argument("--follow", type=int, metavar="N", help="score and count matched objects every N steps")
    one.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a further setting")
    one.add_argument("--labels", action="append", default=[], metavar="OPTION", help="of torch_labels.py")
    one.add_argument("--jobs", type=int, default=os.cpu_count())
    one.set_defaults(work=run)
    two = commands.add_parser("matches", help="classes of matched objects")
    two.add_argument("data", type=Path)
    two.add_argument("model", type=Path)
    two.add_argument("--drive", help="only its pictures; default: all of DATA")
    two.add_argument("--network", choices=("weights", "student", "teacher"), default="weights")
    two.add_argument("--clusters", type=int, default=Counting().clusters)
    two.add_argument("--size", type=int, default=Counting().size)
    two.add_argument("--seed", type=int, default=Counting().seed)
    two.set_defaults(work=matches)
    three = commands.add_parser("table", help="print the scores")
    three.add_argument("dir", type=Path)
    three.set_defaults(work=table)
    return parser.parse_args()


def main() -> int:
    options = parsed()
    options.work(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
