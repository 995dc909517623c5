"""Checkpoints of the authors' code as checkpoints of the library, which a trainer continues."""

from __future__ import annotations

import gzip
import json
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cribo
import torch
from cribo.configs import config_of, config_values

from .files import plain
from .layouts import Weights

HEADS = {"vit_tiny": 3, "vit_small": 6, "vit_base": 12}
PARTS = (
    "student teacher optimizer epoch args dino_loss centroids_queue_cpu cpv_queue_cpu".split()
)  # of a checkpoint of the authors' loop

# Settings whose value is an argument of the authors' code.
ARGUMENTS = {
    "patch_size": "patch_size",
    "drop_path": "drop_path_rate",
    "prototypes": "out_dim",
    "object_prototypes": "out_dim_c",
    "normed_last_layer": "norm_last_layer",
    "clusters": "n_tokens",
    "sinkhorn_lambda": "sinkhorn_lambda",
    "sinkhorn_iterations": "sinkhorn_iterations",
    "cluster_iterations": "n_iter",
    "update_marginal": "update_c",
    "bank_images": "queue_size",
    "object_student_temperature": "student_temp_c",
    "teacher_temperature_start": "warmup_teacher_temp",
    "teacher_temperature": "teacher_temp",
    "object_teacher_temperature_start": "warmup_teacher_temp_c",
    "object_teacher_temperature": "teacher_temp_c",
    "teacher_temperature_epochs": "warmup_teacher_temp_epochs",
    "learning_rate": "lr",
    "learning_rate_final": "min_lr",
    "warmup_epochs": "warmup_epochs",
    "weight_decay": "weight_decay",
    "weight_decay_final": "weight_decay_end",
    "ema_momentum": "momentum_teacher",
    "clip_norm": "clip_grad",
    "freeze_last_layer_epochs": "freeze_last_layer",
    "epochs": "epochs",
    "seed": "seed",
}


def trained_names(student: Weights, normed_last_layer: bool) -> list[str]:
    """The student's parameters in the order of the authors' optimiser: those with weight decay, then biases
    and norms. Gains of last layers that stay 1 are not trained."""
    names = [n for n in student if not (normed_last_layer and re.search(r"last_layer(_c)?\.weight_g$", n))]
    no_decay = [name.endswith(".bias") or student[name].ndim == 1 for name in names]
    return [n for n, no in zip(names, no_decay) if not no] + [n for n, no in zip(names, no_decay) if no]


class Moments(NamedTuple):
    """The state of AdamW of a parameter."""

    first: torch.Tensor
    second: torch.Tensor
    updates: int


def moments_of(optimiser: Mapping[str, Any], student: Weights, normed_last_layer: bool) -> dict[str, Moments]:
    """The state of AdamW by parameter; 0 for those that were frozen so far, of which there is none."""
    numbers = [number for group in optimiser["param_groups"] for number in group["params"]]
    names = trained_names(student, normed_last_layer)
    if len(names) != len(numbers):
        raise ValueError(f"the optimiser has {len(numbers)} parameters, but the student {len(names)}")
    found = {name: Moments(torch.zeros_like(v), torch.zeros_like(v), 0) for name, v in student.items()}
    for name, number in zip(names, numbers):
        state = optimiser["state"].get(number)
        if state:
            if state["exp_avg"].shape != student[name].shape:
                shapes = list(state["exp_avg"].shape), list(student[name].shape)
                raise ValueError(f"moments of {name} have shape {shapes[0]}, but it has {shapes[1]}")
            found[name] = Moments(state["exp_avg"].float(), state["exp_avg_sq"].float(), int(state["step"]))
    return found


def settings_of_run(arguments: Mapping[str, Any], student: Weights, steps_per_epoch: int) -> dict[str, Any]:
    """The settings of a trainer that continues the run."""
    width, _, patch, _ = student["backbone.patch_embed.proj.weight"].shape
    per_process = arguments["batch_size_per_gpu"]
    settings = {ours: arguments[theirs] for ours, theirs in ARGUMENTS.items() if theirs in arguments}
    settings.update(
        image_size=round((student["backbone.pos_embed"].shape[1] - 1) ** 0.5) * patch,
        width=width,
        depth=len({name.split(".")[2] for name in student if name.startswith("backbone.blocks.")}),
        heads=HEADS.get(arguments["arch"].replace("deit", "vit"), max(1, width // 64)),
        head_hidden=len(student["head.mlp.0.bias"]),
        head_bottleneck=len(student["head.mlp.4.bias"]),
        batch_size=per_process * arguments.get("world_size", 1),
        position_weight=arguments["pos_alpha"][1],  # the authors' pair runs backwards
        position_weight_final=arguments["pos_alpha"][0],
        steps_per_epoch=steps_per_epoch,
        batch_cost=1,
        authors_normalisation=1,
        clip_per_tensor=1,
    )
    if any(setting.name == "group_images" for setting in cribo.settings("trainer")):
        settings["group_images"] = per_process if arguments.get("world_size", 1) > 1 else 0
    return settings


def bank_of(checkpoint: Mapping[str, Any]) -> Weights:
    """The memory bank: only the counted objects of the authors' queues are in use."""
    counts, objects = checkpoint["cpv_queue_cpu"].to(torch.int64), checkpoint["centroids_queue_cpu"].float()
    rows = int(counts.sum())
    return {
        "bank.objects_per_image": counts,
        "bank.ids": torch.full_like(counts, -1),
        "bank.view1": objects[0, :rows],
        "bank.view2": objects[1, :rows],
    }


def state_of_run(checkpoint: Mapping[str, Any]) -> tuple[Weights, dict[str, Any], int]:
    """The tensors of a checkpoint of the library, its settings, and the steps done."""
    missing = [name for name in PARTS if name not in checkpoint]
    if missing:
        raise ValueError(f"a run to be continued needs {', '.join(missing)}, which this checkpoint lacks")
    arguments = vars(checkpoint["args"])
    if arguments.get("optimizer", "adamw") != "adamw" or arguments.get("use_bn_in_head"):
        raise ValueError("only runs with AdamW and without batch norms in the heads can be continued")
    student, teacher = plain(checkpoint["student"]), plain(checkpoint["teacher"])
    moments = moments_of(checkpoint["optimizer"], student, arguments["norm_last_layer"])
    steps = max(m.updates for m in moments.values())
    settings = settings_of_run(arguments, student, max(1, steps // checkpoint["epoch"]))
    names = parameter_order(settings)
    loss = plain(checkpoint["dino_loss"])
    tensors = {f"student.{name}": student[name] for name in names}
    tensors.update({f"teacher.{name}": teacher[name] for name in names})
    tensors.update({f"optimiser.first.{name}": moments[name].first for name in names})
    tensors.update({f"optimiser.second.{name}": moments[name].second for name in names})
    tensors["optimiser.updates"] = torch.tensor([moments[name].updates for name in names])
    tensors.update(centre=loss["center"].reshape(-1), object_centre=loss["center_c"].reshape(-1))
    tensors.update(bank_of(checkpoint))
    tensors["collapse.steps"] = torch.zeros(3, dtype=torch.int64)
    return tensors, settings, steps


def parameter_order(settings: Mapping[str, Any]) -> list[str]:
    """The names of the parameters in the library's order."""
    own = {setting.name for setting in cribo.settings("model")}
    with cribo.Model(**{name: value for name, value in settings.items() if name in own}) as model:
        return list(model.parameters())


def setting_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """All settings of a trainer as text."""
    values = config_values(config_of("trainer", (), settings))
    return {name: repr(value) for name, value in values.items()}


def write_checkpoint(tensors: Weights, settings: Mapping[str, Any], steps: int, target: str | Path) -> None:
    """Writes a checkpoint of the library (docs/checkpoints.md)."""
    metadata = {
        "crc32": "0" * 8,
        "format": "pt",
        "cribo": "checkpoint 1",
        "step": str(steps),
        **setting_texts(settings),
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    data, end = [], 0
    for name, values in tensors.items():
        content = values.contiguous().numpy().tobytes()
        dtype = "F32" if values.is_floating_point() else "I64"
        header[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [end, end + len(content)],
        }
        metadata[f"crc32.{name}"] = f"{zlib.crc32(content):08x}"
        data.append(content)
        end += len(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    text = text.replace(b"0" * 8, f"{zlib.crc32(text):08x}".encode(), 1)
    with gzip.open(target, "wb", compresslevel=1) as file:
        file.write(struct.pack("<Q", len(text)))
        file.writelines([text, *data])
