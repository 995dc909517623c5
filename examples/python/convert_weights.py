"""Weights between libcribo, the authors' checkpoints and timm. Needs PyTorch and safetensors.

    python convert_weights.py from-authors checkpoint.pth weights.safetensors
    python convert_weights.py to-authors weights.safetensors checkpoint.pth
    python convert_weights.py to-timm weights.safetensors vit.safetensors --network teacher

The authors' checkpoint is a dictionary with "student" and "teacher", whose names may carry "module.". A file
of libcribo names them "student." and "teacher." + name, as cribo_trainer_save_weights does; load one with
cribo_model_load(model, path, "teacher."). The backbone's names are timm's, so only prefixes come and go.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

NETWORKS = ("student", "teacher")
Weights = dict[str, torch.Tensor]


def plain(tensors: Mapping[str, torch.Tensor]) -> Weights:
    """Names without "module.", values as contiguous float32."""
    return {
        name.removeprefix("module."): values.detach().float().contiguous() for name, values in tensors.items()
    }


def network_of(file: Weights, network: str) -> Weights:
    """One network of a file of libcribo; of a model saved by itself, the whole file."""
    found = {
        name.removeprefix(network + "."): v for name, v in file.items() if name.startswith(network + ".")
    }
    found = found or file
    if "backbone.cls_token" not in found:
        raise ValueError(f"there is neither {network}.backbone.cls_token nor backbone.cls_token in the file")
    return found


def read_authors(path: str | Path) -> dict[str, Weights]:
    """Student and teacher of a checkpoint of the authors' code. Nothing in it is executed."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    networks = {network: plain(checkpoint[network]) for network in NETWORKS if network in checkpoint}
    if not networks:
        raise ValueError(f"{path} has neither student nor teacher, only {', '.join(map(str, checkpoint))}")
    return networks


def from_authors(source: str | Path, target: str | Path) -> dict[str, Weights]:
    """A checkpoint of the authors' code as a file of libcribo; returns the networks."""
    networks = read_authors(source)
    tensors = {f"{network}.{name}": v for network, weights in networks.items() for name, v in weights.items()}
    safetensors.torch.save_file(tensors, target)
    return networks


def to_authors(source: str | Path, target: str | Path) -> None:
    """A file of libcribo as a checkpoint of the authors' code: the student as they train it, in parallel."""
    file = safetensors.torch.load_file(source)
    student = {"module." + name: values for name, values in network_of(file, "student").items()}
    torch.save({"student": student, "teacher": network_of(file, "teacher")}, target)


def to_timm(source: str | Path, target: str | Path, network: str = "teacher") -> Weights:
    """The backbone of a network for timm's load_state_dict: as safetensors, or for PyTorch where `target`
    ends in .pth or .pt."""
    weights = network_of(safetensors.torch.load_file(source), network)
    backbone = {n.removeprefix("backbone."): v for n, v in weights.items() if n.startswith("backbone.")}
    if str(target).endswith((".pth", ".pt")):
        torch.save(backbone, target)
    else:
        safetensors.torch.save_file(backbone, target)
    return backbone


def settings_of(weights: Weights) -> dict[str, int]:
    """The settings of a cribo.Model that takes these weights. The number of heads leaves no trace in them: as
    published, a head has 64 numbers."""
    width, _, patch, _ = weights["backbone.patch_embed.proj.weight"].shape
    blocks = {name.split(".")[2] for name in weights if name.startswith("backbone.blocks.")}
    found = {
        "image_size": round((weights["backbone.pos_embed"].shape[1] - 1) ** 0.5) * patch,
        "patch_size": patch,
        "width": width,
        "depth": len(blocks),
        "heads": max(1, width // 64),
        "mlp_ratio": len(weights["backbone.blocks.0.mlp.fc1.bias"]) // width,
        "prototypes": 0,
        "object_prototypes": 0,
    }
    if "head.mlp.0.bias" in weights:
        found["head_hidden"] = len(weights["head.mlp.0.bias"])
        found["head_bottleneck"] = len(weights["head.mlp.4.bias"])
        found["prototypes"] = len(weights["head.last_layer.weight_g"])
        found["object_prototypes"] = len(weights["head.last_layer_c.weight_g"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("direction", choices=("from-authors", "to-authors", "to-timm"))
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--network", choices=NETWORKS, default="teacher", help="for to-timm (teacher)")
    chosen = parser.parse_args()
    try:
        if chosen.direction == "from-authors":
            networks = from_authors(chosen.source, chosen.target)
            settings = settings_of(next(iter(networks.values())))
            print("a model for them: cribo.Model(" + ", ".join(f"{n}={v}" for n, v in settings.items()) + ")")
        elif chosen.direction == "to-authors":
            to_authors(chosen.source, chosen.target)
        else:
            to_timm(chosen.source, chosen.target, chosen.network)
    except (OSError, ValueError, KeyError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        sys.exit(f"convert_weights: {error}")


if __name__ == "__main__":
    main()
