"""The training step in PyTorch, for pytorch_step.py: clustering, memory bank, losses and the step itself."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_networks
import torch
from step_problem import PHASES, RATES, Outcome, make_bank, make_problem
from torch.nn import functional as F

# ---- Clustering ----------------------------------------------------------------------------------


def nearest_as_published(distances: Any, members: Any) -> Any:
    """Distance of each token [B, 2N] to the nearest other member of each cluster, 0 without one: over all
    [B, 2N, 2N, K] products, as the method's users compute it."""
    products = distances[:, :, :, None] * members[:, None]
    nearest = products.masked_fill_(products == 0, 1e5).amin(2)
    return nearest.masked_fill_(nearest == 1e5, 0)


def nearest_lean(distances: Any, members: Any) -> Any:
    """The same by a reduction over members only, [B, 2N, 2N]; each token is in one cluster or in none."""
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


# ---- Memory bank ---------------------------------------------------------------------------------


class PublishedBank:
    """The newest vectors first; every query normalises the whole bank, and every push moves it."""

    def __init__(self, vectors: Any, counts: Any):
        self.vectors, self.counts = list(vectors), counts

    def nearest(self, objects: Any, view: int) -> Any:
        return (F.normalize(objects, dim=-1) @ F.normalize(self.vectors[view], dim=-1).T).argmax(1)

    def rows(self, view: int, index: Any) -> Any:
        return self.vectors[view][index]

    def push(self, objects: Any, counts: Any) -> None:
        capacity = len(self.counts)
        self.counts = torch.cat([counts, self.counts])[:capacity]
        rows = int(self.counts.sum())
        self.vectors = [torch.cat([new, old])[:rows] for new, old in zip(objects, self.vectors)]


class LeanBank:
    """A ring of vectors with their inverse lengths, searched in pieces that stay in the cache."""

    piece = 4096

    def __init__(self, vectors: Any, counts: Any, most: int):
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
        size, new = self.vectors.shape[1], objects.shape[1]
        gone = sum(self.counts[: len(counts)])
        self.counts = self.counts[len(counts) :] + counts.flip(0).tolist()
        self.first, self.held = (self.first + gone) % size, self.held - gone
        self.write((self.first + self.held + torch.arange(new)) % size, objects.flip(1))
        self.held += new


def query(bank: Any, objects: Any) -> tuple[list[Any], list[Any]]:
    """Of objects [2, R, D]: for each view the rows with a cycle-consistent neighbour, and the neighbours."""
    rows, neighbours = [], []
    unit = F.normalize(objects, dim=-1)
    for v in (0, 1):
        index = bank.nearest(objects[v], v)
        back = (F.normalize(bank.rows(1 - v, index), dim=-1) @ unit[1 - v].T).argmax(1)
        matched = (back == torch.arange(len(index))).nonzero()[:, 0]
        rows.append(matched)
        neighbours.append(bank.rows(v, index[matched]))
    return rows, neighbours


# ---- Losses --------------------------------------------------------------------------------------


def loss_sums(student: Any, teacher: Any, centres: Any, neighbours: Any, rows: Any) -> Any:
    """Sums of the cross-entropies, [4]: [CLS], objects, neighbours of view 1, of view 2. student, teacher:
    logits ([2, B, P], [2, R, P]); neighbours: those of the rows of each view's matched objects."""

    def taught(logits: Any, centre: Any) -> Any:
        return F.softmax((logits.float() - centre) / RATES.teacher_temperature, -1)

    cls, objects = (F.log_softmax(x.float() / RATES.student_temperature, -1) for x in student)
    targets = [taught(x, c) for x, c in zip(teacher, centres)]
    sums = [-(p[0] * s[1]).sum() - (p[1] * s[0]).sum() for p, s in zip(targets, (cls, objects))]
    for v in (0, 1):
        sums.append(-(taught(neighbours[v], centres[1]) * objects[1 - v][rows[v]]).sum())
    return torch.stack(sums)


# ---- The step ------------------------------------------------------------------------------------


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
    """The step in PyTorch. Networks have the library's parameter names."""

    loss_weights = 1.0, 1.0, 1.0, 1.0  # of the sums that loss_sums returns

    def __init__(self, o: argparse.Namespace, weights: str, compiled: bool):
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

    def make_backbone(self) -> Any:
        o = self.o
        return pytorch_networks.Backbone(o.image, o.patch, o.width, o.depth, o.heads)

    def make_networks(self, weights: str) -> None:
        o = self.o
        self.student, self.teacher = (
            pytorch_networks.Network(
                self.make_backbone(),
                pytorch_networks.Heads(o.width, o.hidden, o.bottleneck, o.prototypes, o.prototypes),
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
        return lambda x: F.normalize(network.head.mlp(x), dim=-1)

    @staticmethod
    def layers(network: Any) -> list[Any]:
        """The weights of the two last layers: rows with their gains as lengths."""
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
        clock, start, used = Clock(), time.perf_counter(), time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            self.teach(clock)
            with clock("learn"):
                losses = self.learn()
        with clock("update"):
            self.update()
        clock.ms["step"] = 1e3 * (time.perf_counter() - start)
        clock.ms["cpu"] = 1e3 * (time.process_time() - used)
        matched = sum(len(rows) for rows in self.rows) / max(1, 2 * self.objects.shape[1])
        return Outcome(losses, self.objects.shape[1] / self.o.batch, matched, clock.ms)

    def teach(self, clock: Clock) -> None:
        with torch.no_grad():
            with clock("teacher"):
                tokens = torch.cat([self.tokens(1, images) for images in self.slices()])
            with clock("cluster"), torch.autocast("cpu", enabled=False):
                self.cluster(tokens[:, :, 1:])
            with clock("teacher"), torch.autocast("cpu", enabled=False):
                self.objects = pytorch_networks.pool_objects(tokens[:, :, 1:], self.assignment, self.valid)
            with clock("match"), torch.autocast("cpu", enabled=False):
                none = torch.zeros(0, dtype=torch.long), tokens.new_zeros(0, tokens.shape[-1])
                self.rows, neighbours = (
                    query(self.bank, self.objects) if self.neighbours_now() else map(list, zip(none, none))
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
        o, count = self.o, self.objects.shape[1]
        self.optimiser.zero_grad(set_to_none=True)
        weights = self.layers(self.student)
        leaves = [weight.detach().requires_grad_() for weight in weights]
        with torch.no_grad():
            slow = self.layers(self.teacher)
        sizes = o.batch, count, *map(len, self.rows)
        shares = torch.tensor([w / n if n else 0.0 for w, n in zip(self.loss_weights, sizes)])
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
        cls, all_objects = (taught.unflatten(0, (2, -1)) for taught in self.taught[:2])
        places = [((r >= objects.start) & (r < objects.stop)).nonzero()[:, 0] for r in self.rows]
        with torch.no_grad():
            teacher = F.linear(cls[:, images], slow[0]), F.linear(all_objects[:, objects], slow[1])
            neighbours = [F.linear(taught[place], slow[1]) for taught, place in zip(self.taught[2:], places)]
            for sums, logits in zip(self.logit_sums, teacher):
                sums += logits.sum((0, 1))
        tokens = self.tokens(0, images)
        pooled = pytorch_networks.pool_objects(tokens[:, :, 1:], self.assignment[images], self.valid[images])
        x = self.project[0](torch.cat([tokens[:, :, 0].transpose(0, 1).flatten(0, 1), pooled.flatten(0, 1)]))
        split = 2 * len(tokens)
        student = [F.linear(y, leaf).unflatten(0, (2, -1)) for y, leaf in zip((x[:split], x[split:]), leaves)]
        rows = [r[place] - objects.start for r, place in zip(self.rows, places)]
        return self.loss_sums(student, teacher, self.centres, neighbours, rows)

    def update(self) -> None:
        self.advance(RATES.momentum)

    def neighbours_now(self) -> bool:
        return self.bank is not None

    def advance(self, momentum: float) -> None:
        """All that outlives a step moves."""
        with torch.no_grad():
            for centre, sums, n in zip(self.centres, self.logit_sums, (self.o.batch, self.objects.shape[1])):
                centre.lerp_(sums / max(1, 2 * n), 1 - RATES.centre_momentum)
            self.optimiser.step()
            torch._foreach_lerp_(self.slow_weights, self.weights, 1 - momentum)
            if self.bank:
                self.bank.push(self.objects, self.counts)
