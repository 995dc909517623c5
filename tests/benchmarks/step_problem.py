"""Common parts of both sides of pytorch_step.py: rates, a batch, the bank's first content, results."""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

PHASES = {
    "teacher": "teacher, objects",
    "cluster": "clustering",
    "match": "bank search",
    "learn": "student, losses, backward",
    "update": "optimiser, teacher's average, push",
}


class Rates(NamedTuple):
    """Constant values in place of the schedules'. The moving average is fast so that two steps show it."""

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
    """Vectors [2, V, D] of a full bank, and the number for each image: half the number of clusters."""
    counts = np.full(o.bank, max(1, o.clusters // 2), np.int64)
    return np.random.default_rng(2).standard_normal((2, counts.sum(), o.width), np.float32), counts
