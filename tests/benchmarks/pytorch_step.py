"""A training step of libcribo against the same step in PyTorch: time of its phases, and peak memory.

    CRIBO_LIBRARY=BUILD/lib/libcribo.so.0 python tests/benchmarks/pytorch_step.py --bank 1000 --pairs 10
    ... --precision bf16           PyTorch in bfloat16 where autocast has it
    ... --lean                     PyTorch with better formulas than the method's users have
    ... --check                    only shows that both compute the same
    ... --tiny                     sizes of a smoke test

Each side is a process of its own, with weights, views, patch centres, seed tokens and memory bank that are
the same. First both do --check-steps steps in float32, and their losses must agree to 1e-4 of their size.
Then they take turns, a step each, --pairs times; the table has medians, and medians of the ratios of steps
that stood side by side. libcribo computes in float32 always. docs/performance.md says more.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "python"))

PHASES = {
    "teacher": "teacher, objects",
    "cluster": "clustering",
    "match": "bank search",
    "learn": "student, losses, backward",
    "update": "optimiser, teacher's average, push",
}
LOSSES = ("global", "cross-view", "cross-image")
TOLERANCE = 1e-4  # of a loss, relative
TINY = dict(
    image=32, patch=8, width=48, depth=2, heads=3, hidden=64, bottleneck=16, prototypes=96, clusters=4
)


class Rates(NamedTuple):
    """What the schedules would give, held fast. The moving average is quick so that two steps show it."""

    learning_rate: float = 5e-4
    weight_decay: float = 0.04
    momentum: float = 0.9
    teacher_temperature: float = 0.05
    student_temperature: float = 0.1
    centre_momentum: float = 0.9
    position_weight: float = 1.0
    sharpness: float = 20.0


RATES = Rates()


class Outcome(NamedTuple):
    losses: tuple[float, float, float]
    objects: float  # per image
    matched: float  # share of the objects
    ms: dict[str, float]  # of the phases, and "step"


# ---- The problem ---------------------------------------------------------------------------------


class Problem(NamedTuple):
    """A batch: view1, view2 [B, 3, S, S], patch centres [B, 2, N, 2], seed tokens [B, K]."""

    view1: np.ndarray
    view2: np.ndarray
    positions: np.ndarray
    seeds: np.ndarray


def patch_grid(o: argparse.Namespace) -> int:
    side: int = o.image // o.patch
    return side


def make_problem(o: argparse.Namespace) -> Problem:
    """Smooth pictures with noise, each seen in two crops of a picture of 1.5 S pixels."""
    random, side, grid = np.random.default_rng(1), o.image, patch_grid(o)
    views = np.empty((2, o.batch, 3, side, side), np.float32)
    coarse = random.standard_normal((o.batch, 3, grid, grid)).astype(np.float32)
    smooth = coarse.repeat(o.patch, 2).repeat(o.patch, 3)
    for view in views:
        view[:] = smooth + 0.3 * random.standard_normal(smooth.shape).astype(np.float32)
    span = random.uniform(0.6, 1.4, (o.batch, 2, 1)) * side / grid
    corner = random.uniform(0, 0.4 * side, (o.batch, 2, 2))
    line = (np.arange(grid) + 0.5) * span
    x, y = (corner[:, :, axis, None] + line for axis in (0, 1))
    positions = np.empty((o.batch, 2, grid, grid, 2), np.float32)
    positions[..., 0], positions[..., 1] = x[:, :, None, :], y[:, :, :, None]
    seeds = np.stack([random.permutation(2 * grid * grid)[: o.clusters] for _ in range(o.batch)])
    return Problem(*views, positions.reshape(o.batch, 2, -1, 2), seeds)


def make_bank(o: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [2, V, D] of a full bank, and how many each image has: half as many as clusters."""
    counts = np.full(o.bank, max(1, o.clusters // 2), np.int64)
    return np.random.default_rng(2).standard_normal((2, counts.sum(), o.width), np.float32), counts


# ---- libcribo ------------------------------------------------------------------------------------


class Ours:
    """libcribo by its Python module."""

    def __init__(self, o: argparse.Namespace, weights: str):
        import cribo

        self.trainer = cribo.Trainer(threads=o.threads, **self.settings(o))
        np.savez(weights, **self.trainer.student.state_dict())
        if o.bank:
            self.trainer.memory_bank.import_(*make_bank(o)[0], make_bank(o)[1])
        problem = make_problem(o)
        self.batch = cribo.Batch(
            problem.view1, problem.view2, positions=problem.positions, seed_tokens=problem.seeds
        )

    @staticmethod
    def settings(o: argparse.Namespace) -> dict[str, Any]:
        r = RATES
        return dict(
            image_size=o.image, patch_size=o.patch, width=o.width, depth=o.depth, heads=o.heads, drop_path=0,
            head_hidden=o.hidden, head_bottleneck=o.bottleneck, prototypes=o.prototypes,
            object_prototypes=o.prototypes, clusters=o.clusters, batch_size=o.batch,
            micro_batch=o.micro_batch, bank_images=max(1, o.bank), cross_image_epochs=0 if o.bank else 1e9,
            position_weight=r.position_weight, position_weight_final=r.position_weight,
            sinkhorn_lambda=r.sharpness,
            student_temperature=r.student_temperature, object_student_temperature=r.student_temperature,
            teacher_temperature_start=r.teacher_temperature, teacher_temperature=r.teacher_temperature,
            object_teacher_temperature_start=r.teacher_temperature,
            object_teacher_temperature=r.teacher_temperature, centre_momentum=r.centre_momentum,
            learning_rate=r.learning_rate * 256 / o.batch,
            learning_rate_final=r.learning_rate,
            warmup_epochs=0, weight_decay=r.weight_decay, weight_decay_final=r.weight_decay,
            ema_momentum=r.momentum, ema_momentum_final=r.momentum, freeze_last_layer_epochs=0,
        )  # fmt: skip

    def step(self, _precision: str) -> Outcome:
        start = time.perf_counter()
        report = self.trainer.step(self.batch)
        ms = {
            "step": 1e3 * (time.perf_counter() - start),
            "teacher": report.teach_ms - report.cluster_ms - report.match_ms,
            "cluster": report.cluster_ms,
            "match": report.match_ms,
            "learn": report.learn_ms,
            "update": report.update_ms,
        }
        losses = report.global_loss, report.cross_view_loss, report.cross_image_loss
        return Outcome(losses, report.objects_per_image, report.matched_share, ms)


# ---- PyTorch: clustering -------------------------------------------------------------------------


def nearest_as_published(distances: Any, members: Any) -> Any:
    """Distance of each token [B, 2N] to the nearest other member of each cluster, 0 without one: over all
    [B, 2N, 2N, K] products, as the method's users compute it."""
    products = distances[:, :, :, None] * members[:, None]
    products = products.masked_fill(products == 0, 1e5).amin(2)
    return products.masked_fill(products == 1e5, 0)


def nearest_lean(distances: Any, members: Any) -> Any:
    """The same by a reduction over members only, [B, 2N, 2N]; each token is in one cluster or in none."""
    import torch

    size, clusters = distances.shape, members.shape[-1]
    labels = torch.where(members.amax(-1) > 0, members.argmax(-1), clusters)
    nearest = distances.new_full((*size[:2], clusters + 1), torch.inf)
    others = distances.masked_fill(distances == 0, torch.inf)
    nearest.scatter_reduce_(2, labels[:, None].expand(size), others, "amin")
    return nearest[..., :clusters].masked_fill(nearest[..., :clusters] == torch.inf, 0)


def assign(
    tokens: Any, positions: Any, seeds: Any, nearest: Any, repetitions: int = 5, scalings: int = 5
) -> Any:
    """Members [B, 2N, K] of hard clusters of tokens [B, 2N, D] at positions [B, 2N, 2], from seeds [B, K]."""
    import torch
    from torch.nn import functional as F

    count, clusters = tokens.shape[1], seeds.shape[1]
    z = F.normalize(tokens, dim=-1)
    distances = torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist")
    members = F.one_hot(seeds, count).transpose(1, 2).to(z)
    means = members.transpose(1, 2) @ z
    marginal = z.new_full((len(z), 1, clusters), 1 / clusters)
    for _ in range(repetitions):
        g = nearest(distances, members)
        g = torch.where(g == 0, g.mean((1, 2), keepdim=True), g)
        cost = RATES.position_weight * g / g.amax((1, 2), keepdim=True) - z @ means.transpose(1, 2)
        least, most = cost.amin((1, 2), keepdim=True), cost.amax((1, 2), keepdim=True)
        plan = torch.exp(-RATES.sharpness * (cost - least) / (most - least))
        plan = plan / plan.sum((1, 2), keepdim=True)
        for _ in range(scalings):
            plan = plan * ((1 / count) / plan.sum(2, keepdim=True))
            plan = plan * (marginal / plan.sum(1, keepdim=True))
        members = (plan == plan.amax(2, keepdim=True)).to(z)
        marginal = members.sum(1, keepdim=True) + 0.01
        marginal = marginal / marginal.sum(2, keepdim=True)
        means = F.normalize(members.transpose(1, 2) @ z, dim=-1)
    return members


# ---- PyTorch: memory bank ------------------------------------------------------------------------


class PublishedBank:
    """The newest vectors first; every query normalises the whole bank, and every push moves it."""

    def __init__(self, vectors: Any, counts: Any):
        self.vectors, self.counts = list(vectors), counts

    def nearest(self, objects: Any, view: int) -> Any:
        from torch.nn import functional as F

        return (F.normalize(objects, dim=-1) @ F.normalize(self.vectors[view], dim=-1).T).argmax(1)

    def rows(self, view: int, index: Any) -> Any:
        return self.vectors[view][index]

    def push(self, objects: Any, counts: Any) -> None:
        import torch

        capacity = len(self.counts)
        self.counts = torch.cat([counts, self.counts])[:capacity]
        rows = int(self.counts.sum())
        self.vectors = [torch.cat([new, old])[:rows] for new, old in zip(objects, self.vectors)]


class LeanBank:
    """A ring of vectors with their inverse lengths, searched in pieces that stay in the cache."""

    piece = 4096

    def __init__(self, vectors: Any, counts: Any, most: int):
        import torch

        held = vectors.shape[1]
        self.vectors = vectors.new_zeros(2, len(counts) * most, vectors.shape[2])
        self.scale = vectors.new_zeros(self.vectors.shape[:2])
        self.counts = counts.flip(0).tolist()  # oldest first
        self.first, self.held = 0, held
        self.write(torch.arange(held), vectors.flip(1))

    def write(self, slots: Any, objects: Any) -> None:
        self.vectors[:, slots] = objects
        self.scale[:, slots] = 1 / objects.norm(dim=-1).clamp_min(1e-12)

    def pieces(self) -> Iterator[slice]:
        """The slots in use."""
        size, end = self.vectors.shape[1], self.first + self.held
        for begin, stop in ((self.first, min(end, size)), (0, end - size)):
            for piece in range(begin, stop, self.piece):
                yield slice(piece, min(piece + self.piece, stop))

    def nearest(self, objects: Any, view: int) -> Any:
        import torch

        best = objects.new_full((len(objects),), -torch.inf)
        index = torch.zeros(len(objects), dtype=torch.long)
        for piece in self.pieces():
            found = ((objects @ self.vectors[view, piece].T) * self.scale[view, piece]).max(1)
            better = found.values > best
            best = torch.where(better, found.values, best)
            index = torch.where(better, found.indices + piece.start, index)
        return index

    def rows(self, view: int, index: Any) -> Any:
        return self.vectors[view, index]

    def push(self, objects: Any, counts: Any) -> None:
        import torch

        size, new = self.vectors.shape[1], objects.shape[1]
        gone = sum(self.counts[: len(counts)])
        self.counts = self.counts[len(counts) :] + counts.flip(0).tolist()
        self.first, self.held = (self.first + gone) % size, self.held - gone
        self.write((self.first + self.held + torch.arange(new)) % size, objects.flip(1))
        self.held += new


def query(bank: Any, objects: Any) -> tuple[list[Any], list[Any]]:
    """Of objects [2, R, D]: for each view the rows with a cycle-consistent neighbour, and the neighbours."""
    import torch
    from torch.nn import functional as F

    rows, neighbours = [], []
    unit = F.normalize(objects, dim=-1)
    for v in (0, 1):
        index = bank.nearest(objects[v], v)
        back = (F.normalize(bank.rows(1 - v, index), dim=-1) @ unit[1 - v].T).argmax(1)
        matched = (back == torch.arange(len(index))).nonzero()[:, 0]
        rows.append(matched)
        neighbours.append(bank.rows(v, index[matched]))
    return rows, neighbours


# ---- PyTorch: losses -----------------------------------------------------------------------------


def loss_sums(student: Any, teacher: Any, centres: Any, neighbours: Any, rows: Any) -> Any:
    """Sums of the cross-entropies, [4]: [CLS], objects, neighbours of view 1, of view 2. student, teacher:
    logits ([2, B, P], [2, R, P]); neighbours: those of the rows of each view's matched objects."""
    import torch
    from torch.nn import functional as F

    def taught(logits: Any, centre: Any) -> Any:
        return F.softmax((logits.float() - centre) / RATES.teacher_temperature, -1)

    cls, objects = (F.log_softmax(x.float() / RATES.student_temperature, -1) for x in student)
    targets = [taught(x, c) for x, c in zip(teacher, centres)]
    sums = [-(p[0] * s[1]).sum() - (p[1] * s[0]).sum() for p, s in zip(targets, (cls, objects))]
    for v in (0, 1):
        sums.append(-(taught(neighbours[v], centres[1]) * objects[1 - v][rows[v]]).sum())
    return torch.stack(sums)


# ---- PyTorch: the step ---------------------------------------------------------------------------


class Clock:
    """Time by phase."""

    def __init__(self) -> None:
        self.ms = dict.fromkeys(PHASES, 0.0)

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.ms[phase] += 1e3 * (time.perf_counter() - start)


class PyTorch:
    """The step in PyTorch. Networks are those of torch_cribo, which have the library's parameter names."""

    def __init__(self, o: argparse.Namespace, weights: str, compiled: bool):
        import torch

        torch.set_num_threads(o.threads)
        self.o = o
        self.make_networks(weights)
        self.make_problem()
        compiling = torch.compile if compiled else lambda function, **_: function
        nearest = nearest_lean if o.lean else nearest_as_published
        self.assign = compiling(assign, dynamic=False)
        self.nearest = nearest
        self.see = [compiling(network.backbone, dynamic=False) for network in (self.student, self.teacher)]
        self.project = [
            compiling(self.bottleneck(network), dynamic=True) for network in (self.student, self.teacher)
        ]
        self.loss_sums = compiling(loss_sums, dynamic=True)

    def make_networks(self, weights: str) -> None:
        import torch
        import torch_cribo

        o = self.o
        self.student, self.teacher = (
            torch_cribo.Network(
                torch_cribo.VisionTransformer(o.image, o.patch, o.width, o.depth, o.heads),
                torch_cribo.Heads(o.width, o.hidden, o.bottleneck, o.prototypes, o.prototypes),
            )
            for _ in range(2)
        )
        with np.load(weights) as file:
            values = {name: torch.from_numpy(file[name]) for name in file.files}
        self.student.load_state_dict(values)
        self.teacher.load_state_dict(values)
        self.student.requires_grad_(True)
        self.teacher.requires_grad_(False)
        named = dict(self.student.named_parameters())
        decayed = [p for name, p in named.items() if p.ndim > 1 and not name.endswith(".bias")]
        others = [p for name, p in named.items() if p.ndim <= 1 or name.endswith(".bias")]
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed}, {"params": others, "weight_decay": 0.0}],
            lr=RATES.learning_rate, weight_decay=RATES.weight_decay, fused=True,
        )  # fmt: skip
        self.weights = list(self.student.parameters())
        self.slow_weights = list(self.teacher.parameters())

    def make_problem(self) -> None:
        import torch

        o, problem = self.o, make_problem(self.o)
        self.views = torch.stack([torch.from_numpy(problem.view1), torch.from_numpy(problem.view2)], 1)
        self.positions = torch.from_numpy(problem.positions).flatten(1, 2)
        self.seeds = torch.from_numpy(problem.seeds)
        self.centres = [torch.zeros(o.prototypes) for _ in range(2)]
        self.bank: Any = None
        if o.bank:
            vectors, counts = (torch.from_numpy(array) for array in make_bank(o))
            self.bank = LeanBank(vectors, counts, o.clusters) if o.lean else PublishedBank(vectors, counts)

    @staticmethod
    def bottleneck(network: Any) -> Any:
        from torch.nn import functional as F

        return lambda x: F.normalize(network.head.mlp(x), dim=-1)

    @staticmethod
    def layers(network: Any) -> list[Any]:
        """The weights of the two last layers: rows with their gains as lengths."""
        import torch

        last = network.head.last_layer, network.head.last_layer_c
        return [torch._weight_norm(layer.weight_v, layer.weight_g, 0) for layer in last]

    def slices(self) -> Iterator[slice]:
        for first in range(0, self.o.batch, self.o.torch_micro_batch):
            yield slice(first, min(first + self.o.torch_micro_batch, self.o.batch))

    def tokens(self, network: int, images: slice) -> Any:
        """Tokens [b, 2, 1 + N, D] in float32."""
        views = self.views[images]
        return self.see[network](views.flatten(0, 1)).unflatten(0, (len(views), 2)).float()

    def step(self, precision: str) -> Outcome:
        import torch

        clock, start = Clock(), time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            self.teach(clock)
            with clock("learn"):
                losses = self.learn()
        with clock("update"):
            self.update()
        clock.ms["step"] = 1e3 * (time.perf_counter() - start)
        matched = sum(len(rows) for rows in self.rows) / max(1, 2 * self.objects.shape[1])
        return Outcome(losses, self.objects.shape[1] / self.o.batch, matched, clock.ms)

    def teach(self, clock: Clock) -> None:
        import torch
        import torch_cribo

        with torch.no_grad():
            with clock("teacher"):
                tokens = torch.cat([self.tokens(1, images) for images in self.slices()])
            with clock("cluster"), torch.autocast("cpu", enabled=False):
                self.cluster(tokens[:, :, 1:])
            with clock("teacher"), torch.autocast("cpu", enabled=False):
                self.objects = torch_cribo.pool_objects(tokens[:, :, 1:], self.assignment, self.valid)
            with clock("match"), torch.autocast("cpu", enabled=False):
                none = torch.zeros(0, dtype=torch.long), tokens.new_zeros(0, tokens.shape[-1])
                self.rows, neighbours = (
                    query(self.bank, self.objects) if self.bank else map(list, zip(none, none))
                )
            with clock("teacher"):
                cls = tokens[:, :, 0].transpose(0, 1)
                parts = [cls.flatten(0, 1), self.objects.flatten(0, 1), *neighbours]
                self.taught = self.project[1](torch.cat(parts)).split([len(part) for part in parts])

    def cluster(self, tokens: Any) -> None:
        """Normalised assignment [B, 2, N, K] and clusters seen in both views, [B, K]."""
        members = self.assign(tokens.flatten(1, 2), self.positions, self.seeds, self.nearest)
        members = members.unflatten(1, tokens.shape[1:3])
        sums = members.sum(2, keepdim=True)
        self.valid = (sums > 0).all(1)[:, 0]
        self.assignment = members / sums.clamp_min(1)
        self.counts = self.valid.sum(1)

    def learn(self) -> tuple[float, float, float]:
        """Losses, and the gradients of all parameters. A last layer's weight is a leaf of the slices' graphs,
        so that its norm is taken once."""
        import torch

        o, count = self.o, self.objects.shape[1]
        self.optimiser.zero_grad(set_to_none=True)
        weights = self.layers(self.student)
        leaves = [weight.detach().requires_grad_() for weight in weights]
        with torch.no_grad():
            slow = self.layers(self.teacher)
        shares = torch.tensor([1 / n if n else 0.0 for n in (o.batch, count, *map(len, self.rows))])
        self.logit_sums = [torch.zeros_like(centre) for centre in self.centres]
        ends = [0, *self.counts.cumsum(0).tolist()]
        total = torch.zeros(4)
        for images in self.slices():
            losses = shares * self.slice_sums(
                images, slice(ends[images.start], ends[images.stop]), leaves, slow
            )
            losses.sum().backward()
            total += losses.detach()
        torch.autograd.backward(weights, [leaf.grad for leaf in leaves])
        first, second, *third = total.tolist()
        return first, second, sum(third)

    def slice_sums(self, images: slice, objects: slice, leaves: list[Any], slow: list[Any]) -> Any:
        """The losses' sums over some images and their objects."""
        import torch
        import torch_cribo
        from torch.nn import functional as F

        cls, all_objects = (taught.unflatten(0, (2, -1)) for taught in self.taught[:2])
        places = [((r >= objects.start) & (r < objects.stop)).nonzero()[:, 0] for r in self.rows]
        with torch.no_grad():
            teacher = F.linear(cls[:, images], slow[0]), F.linear(all_objects[:, objects], slow[1])
            neighbours = [F.linear(taught[place], slow[1]) for taught, place in zip(self.taught[2:], places)]
            for sums, logits in zip(self.logit_sums, teacher):
                sums += logits.sum((0, 1))
        tokens = self.tokens(0, images)
        pooled = torch_cribo.pool_objects(tokens[:, :, 1:], self.assignment[images], self.valid[images])
        x = self.project[0](torch.cat([tokens[:, :, 0].transpose(0, 1).flatten(0, 1), pooled.flatten(0, 1)]))
        split = 2 * len(tokens)
        student = [F.linear(y, leaf).unflatten(0, (2, -1)) for y, leaf in zip((x[:split], x[split:]), leaves)]
        rows = [r[place] - objects.start for r, place in zip(self.rows, places)]
        return self.loss_sums(student, teacher, self.centres, neighbours, rows)

    def update(self) -> None:
        import torch

        with torch.no_grad():
            for centre, sums, n in zip(self.centres, self.logit_sums, (self.o.batch, self.objects.shape[1])):
                centre.lerp_(sums / max(1, 2 * n), 1 - RATES.centre_momentum)
            self.optimiser.step()
            torch._foreach_lerp_(self.slow_weights, self.weights, 1 - RATES.momentum)
            if self.bank:
                self.bank.push(self.objects, self.counts)


# ---- Processes -----------------------------------------------------------------------------------


def peak_mib(reset: bool = False) -> float:
    """The most memory that this process had at once since the last reset."""
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def serve(connection: Any, side: str, o: argparse.Namespace, weights: str) -> None:
    """A side's process: answers "step" with an Outcome and "peak" and "reset" with MiB."""
    try:
        worker = Ours(o, weights) if side == "libcribo" else PyTorch(o, weights, side == "compiled")
        connection.send("ready")
        while True:
            verb, *arguments = connection.recv()
            if verb == "step":
                connection.send(worker.step(*arguments))
            elif verb == "end":
                return
            else:
                connection.send(peak_mib(verb == "reset"))
    except Exception:
        connection.send(RuntimeError(f"{side}:\n{traceback.format_exc()}"))


class Side:
    """One implementation in a process of its own."""

    def __init__(self, name: str, o: argparse.Namespace, weights: str):
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, name, o, weights), daemon=True)
        self.process.start()
        theirs.close()
        self.answer()

    def answer(self) -> Any:
        found = self.connection.recv()
        if isinstance(found, Exception):
            raise found
        return found

    def ask(self, *question: Any) -> Any:
        self.connection.send(question)
        return self.answer()

    def end(self) -> None:
        self.connection.send(("end",))
        self.process.join()


# ---- The comparison ------------------------------------------------------------------------------


class Disagreement(Exception):
    """The two implementations do not compute the same."""


def compare(name: str, step: int, ours: Outcome, theirs: Outcome) -> None:
    """Raises where a loss of PyTorch is not ours."""
    for loss, a, b in zip(LOSSES, ours.losses, theirs.losses):
        if not abs(a - b) <= TOLERANCE * max(1.0, abs(a)):
            raise Disagreement(
                f"step {step}: the {loss} loss is {a:.6f} in libcribo, {b:.6f} in {name} PyTorch"
            )


def check(ours: Side, others: list[Side], steps: int) -> None:
    for step in range(steps):
        expected = ours.ask("step", "float32")
        print(
            f"step {step}, libcribo: losses {spoken(expected)}, {expected.objects:.1f} objects per image, "
            f"{100 * expected.matched:.0f} % matched"
        )
        for other in others:
            found = other.ask("step", "float32")
            print(f"step {step}, {other.name}: losses {spoken(found)}, {found.objects:.1f} objects per image")
            compare(other.name, step, expected, found)
    print(f"all losses agree to {TOLERANCE:g} in {steps} steps\n", flush=True)


def spoken(outcome: Outcome) -> str:
    return " ".join(f"{loss:.5f}" for loss in outcome.losses)


def measure(sides: list[Side], o: argparse.Namespace) -> tuple[dict[str, list[Outcome]], dict[str, float]]:
    """Steps in turn, every other round in the other order; outcomes and peak memory of the sides."""
    for side in sides:
        for _ in range(o.warm_up):
            side.ask("step", o.precision)
        side.ask("reset")
    outcomes: dict[str, list[Outcome]] = {side.name: [] for side in sides}
    for pair in range(o.pairs):
        for side in sides if pair % 2 == 0 else sides[::-1]:
            outcomes[side.name].append(side.ask("step", o.precision))
    return outcomes, {side.name: side.ask("peak") for side in sides}


def table(outcomes: dict[str, list[Outcome]], peaks: dict[str, float]) -> str:
    """Medians of the sides, and of PyTorch over libcribo."""
    others = [name for name in outcomes if name != "libcribo"]
    lines = ["| | libcribo |" + "".join(f" PyTorch {name} | ratio |" for name in others)]
    lines.append("| --- | ---: |" + " ---: | ---: |" * len(others))
    for phase, label in {"step": "whole step, ms", **PHASES}.items():
        ms = {name: [outcome.ms[phase] for outcome in found] for name, found in outcomes.items()}
        cells = [f" {statistics.median(ms['libcribo']):.1f} |"]
        for name in others:
            ratios = [b / a if a > 0 else float("nan") for a, b in zip(ms["libcribo"], ms[name])]
            cells.append(f" {statistics.median(ms[name]):.1f} | {statistics.median(ratios):.2f} |")
        lines.append(f"| {label} |" + "".join(cells))
    cells = [f" {peaks['libcribo']:.0f} |"]
    cells += [f" {peaks[name]:.0f} | {peaks[name] / peaks['libcribo']:.2f} |" for name in others]
    lines.append("| peak memory, MiB |" + "".join(cells))
    return "\n".join(lines)


def machine(o: argparse.Namespace) -> str:
    """What the figures were measured on."""
    found = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    flags = found.get("flags", "").split()
    levels = [level for level in ("avx2", "avx512f", "amx_bf16") if level in flags]
    numbers = f"family {found.get('cpu family')}, model {found.get('model')}"
    return (
        f"{found.get('model name', 'unknown CPU')} ({numbers}), "
        f"{os.cpu_count()} cores, {' '.join(levels)}; load {os.getloadavg()[0]:.1f}; "
        f"{o.threads} threads, {o.precision} in PyTorch, batch {o.batch}, bank {o.bank} images"
    )


def images_of_bank(text: str) -> int:
    return 25000 if text == "full" else int(text)


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--against", nargs="+", choices=("eager", "compiled"), default=["eager", "compiled"])
    p.add_argument("--lean", action="store_true", help="PyTorch with better clustering and search formulas")
    p.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="of PyTorch")
    p.add_argument("--check", action="store_true", help="compare the losses, time nothing")
    p.add_argument("--check-steps", type=int, default=3)
    p.add_argument("--pairs", type=int, default=10)
    p.add_argument("--warm-up", type=int, default=2, help="steps of each side before the pairs")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--bank", type=images_of_bank, default=1000, help="images, full: 25000, 0: none")
    p.add_argument("--micro-batch", type=int, default=1, help="of libcribo: images that go together")
    p.add_argument("--torch-micro-batch", type=int, default=0, help="of PyTorch; 0: the whole batch")
    p.add_argument("--tiny", action="store_true", help="sizes of a smoke test")
    sizes = dict(
        image=224, patch=16, width=384, depth=12, heads=6, hidden=2048, bottleneck=256, prototypes=65536
    )
    for name, size in {**sizes, "clusters": 32}.items():
        p.add_argument(f"--{name}", type=int, default=size)
    if "--tiny" in (arguments if arguments is not None else sys.argv):
        p.set_defaults(batch=4, bank=20, **TINY)
    o = p.parse_args(arguments)
    o.torch_micro_batch = o.torch_micro_batch or o.batch
    return o


def main() -> None:
    o = options()
    os.environ["OMP_NUM_THREADS"] = str(o.threads)
    print(machine(o))
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "weights.npz")
        ours = Side("libcribo", o, weights)
        others = [Side(name, o, weights) for name in o.against]
    try:
        check(ours, others, o.check_steps)
        if not o.check:
            print(table(*measure([ours, *others], o)))
    except Disagreement as error:
        sys.exit(f"pytorch_step: {error}")
    for side in (ours, *others):
        side.end()


if __name__ == "__main__":
    main()
