"""Does it learn? The same small transformer, trained with random weights kept (random), with the global loss
only (global), with the loss of objects between views added (views), and with all three losses (images), on
scenes of clothes on photographs; scored by dense nearest-neighbour retrieval. docs/experiment.md describes it,
examples/experiment does all of it.

    experiment.py backgrounds --scenes DIR/train --out DIR2/train
    experiment.py run --scenes DIR --out RUN.jsonl --seed 0 [--side libcribo pytorch]
    experiment.py table RUN.jsonl ...

All methods, and both sides, get the same first weights, views, patch centres and seed tokens in the same order.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cribo
import numpy as np

SIDE, PATCH, CLASSES = 48, 8, 11  # of the views; scenes have sides of 64
FRACTIONS = (1, 8, 64)
MEMORY, QUERIES = 300, 150  # scenes whose patches are remembered, and scenes that are scored
PICTURES = ("images", "images2")  # folders of a scene's pictures: a training view is taken of each
CHECKS = 4  # how often a run is scored

METHODS: dict[str, dict[str, float]] = {
    "global": dict(cross_view_weight=0, cross_image_weight=0),
    "views": dict(cross_image_weight=0),
    "images": {},
}


def settings_of(method: str, seed: int, steps: int, changes: dict[str, float]) -> dict[str, float]:
    shares = dict(
        total_steps=steps,
        warmup_steps=steps // 10,
        cross_image_steps=max(1, steps // 2),  # neighbours mean nothing at first, and early ones did harm
        freeze_last_layer_steps=max(1, steps // 20),
    )
    with cribo.Trainer("mini", threads=1, steps_per_epoch=1) as trainer:
        preset = trainer.settings
    return {**preset, **shares, "seed": seed, **changes, **METHODS[method]}  # a loss left out stays out


# ---- Scenes and views ----------------------------------------------------------------------------


class Scenes(NamedTuple):
    pictures: np.ndarray  # [S, V, 64, 64, 3] bytes: V pictures of each scene, alike where the clothes are
    labels: np.ndarray  # [S, 64, 64] int32, 255 where neither


def load(folder: Path, most: int = 1 << 30) -> Scenes:
    from PIL import Image

    names = sorted(path.name for path in (folder / "images").iterdir())[:most]

    def read(kind: str) -> np.ndarray:
        return np.stack([np.asarray(Image.open(folder / kind / name)) for name in names])

    pictures = [read(kind) for kind in PICTURES if (folder / kind).exists()]
    return Scenes(np.stack(pictures, 1), read("labels").astype(np.int32))


def normalised(pictures: np.ndarray) -> np.ndarray:
    """Bytes [B, S, S, 3] as the networks see them, [B, 3, S, S]."""
    pixels = (pictures / np.float32(255) - np.float32(cribo.IMAGENET_MEAN)) / np.float32(
        cribo.IMAGENET_DEVIATION
    )
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)


def resampling(start: float, length: float, full: int, flip: bool) -> np.ndarray:
    """The matrix [SIDE, full] that resamples a stretch linearly, antialiased, mirrored where asked."""
    scale = length / SIDE
    centres = start + (np.arange(SIDE) + 0.5) * scale
    distance = np.abs(np.arange(full) + 0.5 - centres[:, None])
    weights = np.maximum(0, 1 - distance / max(scale, 1))
    weights /= weights.sum(1, keepdims=True)
    return (weights[::-1] if flip else weights).astype(np.float32)


TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def recolour(view: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The published jitter of brightness, contrast, saturation and hue with probability 0.8, and grey with 0.2;
    neither blur nor negatives, since views are small."""
    turn, saturation = random.uniform(-0.2 * np.pi, 0.2 * np.pi), random.uniform(0.8, 1.2)
    contrast, brightness = random.uniform(0.6, 1.4, 2)
    jitter, grey = random.random(2) < (0.8, 0.2)
    if jitter:
        mean = view.mean((0, 1))
        yiq = np.diag((1.0, saturation, saturation))
        yiq[1:, 1:] @= np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        view = brightness * (contrast * (view - mean) + mean)
        view = view @ (np.linalg.inv(TO_YIQ) @ yiq @ TO_YIQ).T
    return np.repeat(view @ TO_YIQ[0, :, None], 3, 2) if grey else view


def view_of(picture: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A view [3, SIDE, SIDE] of a random crop, and its patch centres [N, 2] in pixels of the picture."""
    full = len(picture)
    area, ratio = random.uniform(0.25, 1), np.exp(random.uniform(-0.288, 0.288))
    width, height = (min(full, full * np.sqrt(area * r)) for r in (ratio, 1 / ratio))
    x, y = random.uniform(0, full - width), random.uniform(0, full - height)
    flip = random.random() < 0.5
    rows, columns = resampling(y, height, full, False), resampling(x, width, full, flip)
    pixels = picture.astype(np.float32) / 255
    view = np.tensordot(columns, np.tensordot(rows, pixels, (1, 0)), (1, 1)).transpose(1, 0, 2)
    grid = (np.arange(SIDE // PATCH) + 0.5) * PATCH / SIDE
    across = x + (grid[::-1] if flip else grid) * width - 0.5
    centres = np.stack(np.meshgrid(across, y + grid * height - 0.5), -1).reshape(-1, 2)
    return (255 * np.clip(recolour(view, random), 0, 1) + 0.5).astype(np.uint8).transpose(2, 0, 1), centres


class Step(NamedTuple):
    views: np.ndarray  # [2, B, 3, SIDE, SIDE] bytes
    positions: np.ndarray  # [B, 2, N, 2]
    seeds: np.ndarray  # [B, K] tokens that start the clusters


def batch_of(pictures: np.ndarray, seed: int, step: int, size: int, clusters: int) -> Step:
    """The batch of step number `step`: a function of its arguments."""
    epoch, place = divmod(step, len(pictures) // size)
    order = np.random.default_rng((seed, 1, epoch)).permutation(len(pictures))
    random = np.random.default_rng((seed, 2, step))
    tokens = (SIDE // PATCH) ** 2
    views = np.empty((2, size, 3, SIDE, SIDE), np.uint8)
    positions = np.empty((size, 2, tokens, 2), np.float32)
    for i, picture in enumerate(order[place * size : (place + 1) * size]):
        for v in (0, 1):
            views[v, i], positions[i, v] = view_of(pictures[picture, v % pictures.shape[1]], random)
    seeds = np.stack([random.permutation(2 * tokens)[:clusters] for _ in range(size)])
    return Step(views, positions, seeds.astype(np.int64))


# ---- Backgrounds ---------------------------------------------------------------------------------


def photographs() -> list[Path]:
    """The wallpapers that `cribo scenes` takes, as its source lists them, where they are installed."""
    source = Path(__file__).resolve().parents[1] / "cribo" / "pools.c"
    names = re.findall(r'"((?:backgrounds|lxqt|wallpapers)/[^"]+)"', source.read_text())
    return [path for path in (Path("/usr/share", name) for name in names) if path.exists()]


def patch_of(photograph: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A small piece of a photograph as [64, 64, 3], perhaps mirrored, its colours mixed and shifted."""
    from PIL import Image

    side = int(random.uniform(64, 160))
    y, x = (random.integers(length - side + 1) for length in photograph.shape[:2])
    piece = Image.fromarray(photograph[y : y + side, x : x + side]).resize((64, 64), Image.Resampling.BILINEAR)
    pixels = np.asarray(piece).astype(float)
    if random.random() < 0.5:
        pixels = pixels[:, ::-1]
    mixing = 0.5 * np.eye(3) + 0.5 * random.dirichlet(np.ones(3), 3)
    return pixels @ mixing.T * random.uniform(0.6, 1.3) + random.uniform(-30, 30, 3)


def calm(background: np.ndarray, much: float) -> np.ndarray:
    """Less contrast, and colour less still: 0 leaves a background as it is, 1 leaves an even grey."""
    grey = background.mean(-1, keepdims=True)
    return 128 + (1 - much) * (grey + (1 - much) * (background - grey) - 128)


def change_backgrounds(o: argparse.Namespace) -> None:
    """Copies scenes with separate backgrounds: with whole photographs there are too few of them. A scene
    to train on gets two, one for each view, so that views share the clothes alone: networks learn to tell
    scenes apart by what is easiest, and that was the background."""
    from PIL import Image

    def read(path: Path) -> np.ndarray:
        picture = Image.open(path)
        picture.draft("RGB", (800, 800))
        scale = 640 / min(picture.size)
        size = int(picture.width * scale), int(picture.height * scale)
        return np.array(picture.convert("RGB").resize(size, Image.Resampling.BOX))

    validation = o.scenes.name == "val"
    chosen = [path for i, path in enumerate(photographs()) if (i % 5 in (1, 3)) == validation]
    pool, random = [read(path) for path in chosen], np.random.default_rng(6 if validation else 5)
    kinds = PICTURES[: 1 if validation else o.pictures]
    for kind in (*kinds, "labels"):
        (o.out / kind).mkdir(parents=True, exist_ok=True)
    for path in sorted((o.scenes / "images").iterdir()):
        pixels = np.array(Image.open(path)).astype(float)
        labels = np.array(Image.open(o.scenes / "labels" / path.name))
        for kind in kinds:
            background = calm(patch_of(pool[random.integers(len(pool))], random), o.calm)
            edge = (labels == 255) & (random.random(labels.shape) < 0.5)
            mixed = np.where(((labels == 0) | edge)[..., None], background, pixels)
            Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).save(o.out / kind / path.name)
        Image.fromarray(labels).save(o.out / "labels" / path.name)


# ---- Scores --------------------------------------------------------------------------------------


def score(teacher: cribo.Model, memory: Scenes, queries: Scenes) -> dict[str, Any]:
    kept, asked = (tokens_of(teacher, scenes) for scenes in (memory, queries))
    return {**shape_of(kept), **retrieve(kept, asked, memory, queries)}


def retrieve(kept: np.ndarray, asked: np.ndarray, memory: Scenes, queries: Scenes) -> dict[str, Any]:
    """Retrieval from all patches of the memory, and from 1/8 and 1/64 of them, by tokens [B, rows, columns, D]."""
    result: dict[str, Any] = {}
    patches = kept.shape[0] * kept.shape[1] * kept.shape[2]
    for fraction in FRACTIONS:
        with cribo.Probe(
            threads=1, width=kept.shape[-1], classes=CLASSES, memory_patches=patches // fraction
        ) as probe:
            probe.add(kept, memory.labels)
            found = probe.predict(asked, *queries.labels.shape[1:]).labels
        confusion = cribo.Confusion(CLASSES)
        confusion.add(queries.labels, found)
        scores = confusion.scores()
        result[f"1/{fraction}"] = 100 * scores.mean_iou
        if fraction == 1:
            result["iou"] = [round(100 * float(value), 1) for value in scores.iou]
    return result


def shape_of(tokens: np.ndarray) -> dict[str, float]:
    """Measures of normalised tokens: the share of their variance explained by their scenes' means (at 1 a token
    shows only its scene), and the effective rank of their covariance (Roy and Vetterli 2007)."""
    unit = tokens.reshape(len(tokens), -1, tokens.shape[-1])
    unit = unit / np.linalg.norm(unit, axis=-1, keepdims=True)
    share = unit.mean(1).var(0).sum() / unit.var((0, 1)).sum()
    spectrum = np.maximum(np.linalg.eigvalsh(np.cov(unit.reshape(-1, unit.shape[-1]).T)), 1e-12)
    spectrum /= spectrum.sum()
    return dict(scene=round(float(share), 3), rank=round(float(np.exp(-(spectrum * np.log(spectrum)).sum())), 2))


def tokens_of(teacher: cribo.Model, scenes: Scenes) -> np.ndarray:
    side = scenes.pictures.shape[2] // PATCH
    dense = teacher.features(normalised(scenes.pictures[:, 0]), cls=False).dense
    return dense.reshape(len(dense), side, side, -1)


def plain(pictures: np.ndarray, more: bool) -> np.ndarray:
    """Mean colours of patches; with more, deviations and mean gradients, too. A constant tells their lengths."""
    side = pictures.shape[1] // PATCH
    pixels = (pictures / 255).reshape(-1, side, PATCH, side, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
    grey = pixels.mean(-1)
    features = [pixels.mean((3, 4)), np.ones(grey.shape[:3] + (1,))]
    if more:
        gradients = [np.abs(np.diff(grey, axis=axis)).mean((3, 4))[..., None] for axis in (3, 4)]
        features += [2 * pixels.std((3, 4)), *(4 * gradient for gradient in gradients)]
    return np.concatenate(features, -1).astype(np.float32)


def floors(o: argparse.Namespace) -> None:
    """The scores of features without any learning."""
    memory, queries = load(o.scenes / "train", MEMORY), load(o.scenes / "val", QUERIES)
    confusion = cribo.Confusion(CLASSES)
    confusion.add(queries.labels, np.zeros_like(queries.labels))
    present = np.unique(queries.labels[queries.labels != 255])
    print(f"background everywhere: {100 * confusion.scores().mean_iou:.2f} ({len(present)} classes)")
    for name, more in (("mean colour", False), ("mean colour, deviation, gradients", True)):
        kept, asked = (plain(scenes.pictures[:, 0], more) for scenes in (memory, queries))
        found = retrieve(kept, asked, memory, queries)
        print(f"{name}: " + " ".join(f"{found[f'1/{f}']:.2f}" for f in FRACTIONS), found["iou"])


# ---- The two sides -------------------------------------------------------------------------------


class Ours:
    """libcribo."""

    def __init__(self, settings: dict[str, float]):
        self.trainer = cribo.Trainer(threads=1, **settings)

    def step(self, data: Step) -> tuple[float, float, float]:
        report = self.trainer.step(
            cribo.Batch(*data.views, positions=data.positions, seed_tokens=data.seeds)
        )
        return report.global_loss, report.cross_view_loss, report.cross_image_loss

    def teacher_model(self) -> cribo.Model:
        return self.trainer.teacher


def theirs(settings: dict[str, float]) -> Any:
    """PyTorch, which needs the benchmark's side of it."""
    sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "benchmarks"))
    from pytorch_training import PyTorchTraining

    return PyTorchTraining(settings)


class Run:
    """One method on one side, and what it has come to."""

    def __init__(self, side: str, method: str, o: argparse.Namespace):
        self.settings = settings_of(method, o.seed, o.steps, dict(o.set))
        self.head = dict(side=side, method=method, seed=o.seed)
        self.side = theirs(self.settings) if side == "pytorch" else Ours(self.settings)
        self.seconds, self.losses = 0.0, np.zeros(3)

    def step(self, data: Step) -> None:
        start = time.process_time()
        self.losses += self.side.step(data)
        self.seconds += time.process_time() - start

    def report(self, step: int, steps: int, memory: Scenes, queries: Scenes) -> dict[str, Any]:
        """A line for the log: losses are means since the last."""
        losses = [round(float(loss), 4) for loss in self.losses / max(1, steps)]
        self.losses[:] = 0
        found = score(self.side.teacher_model(), memory, queries)
        return dict(self.head, step=step, seconds=round(self.seconds, 2), losses=losses, **found)


def train(o: argparse.Namespace) -> None:
    """Trains all methods of one seed side by side, each step on one batch for all. A line of JSON for the
    settings, then one for each time that a run is scored."""
    pictures = load(o.scenes / "train").pictures
    memory, queries = load(o.scenes / "train", MEMORY), load(o.scenes / "val", QUERIES)
    runs = [Run(side, method, o) for side in o.side for method in o.method]
    size, clusters = int(runs[0].settings["batch_size"]), int(runs[0].settings["clusters"])
    marks = [round(o.steps * i / CHECKS) for i in range(CHECKS + 1)]
    with o.out.open("w") as log:

        def write(**line: Any) -> None:
            print(json.dumps(line), file=log, flush=True)

        write(settings=settings_of("images", o.seed, o.steps, dict(o.set)), pictures=len(pictures))
        write(**dict(runs[0].report(0, 0, memory, queries), side="both", method="random"))
        for step in range(o.steps):
            data = batch_of(pictures, o.seed, step, size, clusters)
            for run in runs:
                run.step(data)
            if step + 1 in marks:
                since = step + 1 - marks[marks.index(step + 1) - 1]
                for run in runs:
                    write(**run.report(step + 1, since, memory, queries))


# ---- The tables ----------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> str:
    """Mean and deviation over the seeds."""
    deviation = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{deviation}"


def table(paths: Iterable[Path]) -> str:
    """The results of runs. points[side, method][step]: the lines of all seeds."""
    points: dict[tuple[str, str], dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for path in paths:
        for line in map(json.loads, path.read_text().splitlines()[1:]):
            lines = points[line["side"], line["method"]][line["step"]]
            if line["seed"] not in [known["seed"] for known in lines]:  # random weights: once for both sides
                lines.append(line)
    order = ["random", *METHODS]
    keys = sorted(points, key=lambda key: (key[0] == "pytorch", order.index(key[1])))
    return "\n".join([*final_rows(points, keys), "", *curve_rows(points, keys)])


def final_rows(points: Any, keys: Any) -> list[str]:
    rows = ["| side | losses | seeds | steps | CPU seconds | mIoU, memory 1 | 1/8 | 1/64 |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for side, method in keys:
        step, last = max(points[side, method].items())
        cells = [spread([line[f"1/{fraction}"] for line in last]) for fraction in FRACTIONS]
        seconds = f"{np.mean([line['seconds'] for line in last]):.0f}"
        rows.append(f"| {side} | {method} | {len(last)} | {step} | {seconds} | {' | '.join(cells)} |")
    return rows


def curve_rows(points: Any, keys: Any) -> list[str]:
    """mIoU with the whole memory during training, and its CPU seconds."""
    rows = ["| side | losses | mIoU (CPU seconds) as training goes on |", "| --- | --- | --- |"]
    for side, method in keys:
        cells = [
            f"{np.mean([line['1/1'] for line in lines]):.2f} ({np.mean([line['seconds'] for line in lines]):.0f})"
            for _, lines in sorted(points[side, method].items())
        ]
        rows.append(f"| {side} | {method} | {' → '.join(cells)} |")
    return rows


def setting(text: str) -> tuple[str, float]:
    name, value = text.split("=")
    number = float(value)
    return name, int(number) if number.is_integer() else number


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = p.add_subparsers(required=True)
    run = verbs.add_parser("run", help="all methods of one seed, side by side")
    run.add_argument("--scenes", type=Path, required=True, help="folder with train and val")
    run.add_argument("--out", type=Path, required=True)
    run.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    run.add_argument("--side", nargs="+", choices=("libcribo", "pytorch"), default=["libcribo"])
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--steps", type=int, default=1200)
    run.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE")
    run.set_defaults(do=train)
    floor = verbs.add_parser("floors", help="scores without any learning")
    floor.add_argument("--scenes", type=Path, required=True, help="folder with train and val")
    floor.set_defaults(do=floors)
    change = verbs.add_parser("backgrounds", help="gives scenes backgrounds of their own")
    change.add_argument("--scenes", type=Path, required=True, help="a folder, train or val")
    change.add_argument("--out", type=Path, required=True)
    change.add_argument(
        "--calm", type=float, default=0.7, metavar="SHARE", help="of backgrounds' contrast that goes"
    )
    change.add_argument("--pictures", type=int, choices=(1, 2), default=2, help="of a scene to train on")
    change.set_defaults(do=change_backgrounds)
    show = verbs.add_parser("table", help="what runs came to, in Markdown")
    show.add_argument("runs", type=Path, nargs="+")
    show.set_defaults(do=lambda o: print(table(o.runs)))
    return p.parse_args(arguments)


def main() -> None:
    o = options()
    action: Callable[[argparse.Namespace], None] = o.do
    action(o)


if __name__ == "__main__":
    main()
