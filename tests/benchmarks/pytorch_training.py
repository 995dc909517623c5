"""Whole training runs in PyTorch, for examples/python/experiment.py: pytorch_side's step under the schedules of
cribo_trainer_config, on the batches that libcribo gets, from the weights with which libcribo begins."""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import cribo
import numpy as np
import pytorch_side
import torch


def cosine(begin: float, end: float, step: int, first: int, last: int) -> float:
    """From begin at step `first` to end at step `last`."""
    return end + (begin - end) * (1 + math.cos(math.pi * (step - first) / (last - first))) / 2


class FillingBank(pytorch_side.PublishedBank):
    """The published bank, but empty at first."""

    def __init__(self, images: int, width: int):
        super().__init__(torch.zeros(2, 0, width), torch.zeros(0, dtype=torch.long))
        self.images = images

    def push(self, objects: Any, counts: Any) -> None:
        self.counts = torch.cat([counts, self.counts])[: self.images]
        rows = int(self.counts.sum())
        self.vectors = [torch.cat([new, old])[:rows] for new, old in zip(objects, self.vectors)]


class PyTorchTraining(pytorch_side.PyTorch):
    """Constant temperatures, no drop path, gains of 1, clipping of the global norm: what the experiment uses.

    A loss of weight 0 is not computed: without object losses there is no clustering."""

    def __init__(self, settings: dict[str, float]):
        with cribo.Trainer(threads=1, **settings) as trainer:
            self.settings = s = trainer.settings
            first = trainer.student.state_dict()
        expected = dict(drop_path=0, normed_last_layer=1, clip_per_tensor=0, authors_normalisation=0)
        assert all(s[name] == value for name, value in expected.items()), "settings that this side lacks"
        assert s["teacher_temperature_start"] == s["teacher_temperature"]
        pytorch_side.RATES = pytorch_side.RATES._replace(
            teacher_temperature=s["teacher_temperature"], student_temperature=s["student_temperature"],
            centre_momentum=s["centre_momentum"], position_weight=s["position_weight"],
            sharpness=s["sinkhorn_lambda"],
        )  # fmt: skip
        self.number = 0
        self.wants_objects = bool(s["cross_view_weight"] or s["cross_image_weight"])
        o = argparse.Namespace(
            threads=1, image=s["image_size"], patch=s["patch_size"], width=s["width"], depth=s["depth"],
            heads=s["heads"], hidden=s["head_hidden"], bottleneck=s["head_bottleneck"],
            prototypes=s["prototypes"], clusters=s["clusters"], batch=s["batch_size"], bank=0, lean=False,
            torch_micro_batch=s["batch_size"],
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            weights = str(Path(folder) / "weights.npz")
            np.savez(weights, **first)
            super().__init__(o, weights, compiled=False)
        self.loss_weights = tuple(
            s[f"{loss}_weight"] for loss in ("global", "cross_view", "cross_image", "cross_image")
        )
        self.bank = FillingBank(s["bank_images"], s["width"]) if s["cross_image_weight"] else None

    def make_networks(self, weights: str) -> None:
        super().make_networks(weights)
        self.last_layers = self.student.head.last_layer, self.student.head.last_layer_c
        for layer in self.last_layers:
            layer.weight_g.requires_grad_(False)

    def make_problem(self) -> None:
        self.centres = [torch.zeros(self.o.prototypes) for _ in range(2)]
        self.bank = None

    def step(self, data: Any) -> tuple[float, float, float]:  # type: ignore[override]
        """One step on views [2, B, 3, S, S] in bytes, positions [B, 2, N, 2] and seed tokens [B, K]."""
        mean, deviation = (
            torch.tensor(v)[:, None, None] for v in (cribo.IMAGENET_MEAN, cribo.IMAGENET_DEVIATION)
        )
        views = torch.from_numpy(data.views).transpose(0, 1).float()
        self.views = (views / 255 - mean) / deviation
        self.positions = torch.from_numpy(data.positions).flatten(1, 2)
        self.seeds = torch.from_numpy(data.seeds)
        self.teach(pytorch_side.Clock())
        losses = self.learn()
        self.update()
        self.number += 1
        return losses

    def cluster(self, tokens: Any) -> None:
        if self.wants_objects:
            return super().cluster(tokens)
        images, _, count, _ = tokens.shape
        self.valid = torch.zeros(images, self.o.clusters, dtype=torch.bool)
        self.assignment = torch.zeros(images, 2, count, self.o.clusters)
        self.counts = self.valid.sum(1)

    def neighbours_now(self) -> bool:
        return self.bank is not None and self.number >= self.settings["cross_image_steps"]

    def schedule(self) -> float:
        """Sets the rates of this step; the moving average's momentum."""
        s, step = self.settings, self.number
        total, warm = s["total_steps"], s["warmup_steps"]
        peak, final = s["learning_rate"] * s["batch_size"] / 256, s["learning_rate_final"]
        rate = peak * step / max(1, warm - 1) if step < warm else cosine(peak, final, step, warm, total)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        decay = cosine(s["weight_decay"], s["weight_decay_final"], step, 0, total)
        self.optimiser.param_groups[0]["weight_decay"] = decay
        return cosine(s["ema_momentum"], s["ema_momentum_final"], step, 0, total)

    def update(self) -> None:
        momentum = self.schedule()
        if self.number < self.settings["freeze_last_layer_steps"]:
            for layer in self.last_layers:
                layer.weight_v.grad = None
        if self.settings["clip_norm"]:
            torch.nn.utils.clip_grad_norm_(self.student.parameters(), self.settings["clip_norm"])
        self.advance(momentum)

    def teacher_model(self) -> cribo.Model:
        """The teacher in libcribo, which scores both sides by the same code."""
        names = ("image_size", "patch_size", "width", "depth", "heads", "head_hidden", "head_bottleneck",
                 "prototypes", "object_prototypes", "normed_last_layer")  # fmt: skip
        model = cribo.Model(threads=1, **{name: self.settings[name] for name in names})
        model.load_state_dict({name: value.numpy() for name, value in self.teacher.state_dict().items()})
        return model
