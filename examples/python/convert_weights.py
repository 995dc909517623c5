"""Converts files of weights from one kind and layout to another. Needs PyTorch and safetensors.

    python convert_weights.py checkpoint.pth weights.safetensors
    python convert_weights.py model.onnx weights.safetensors
    python convert_weights.py weights.safetensors checkpoint.pth --layout authors
    python convert_weights.py run.checkpoint vit.safetensors --layout timm --network teacher
    python convert_weights.py checkpoint.pth run.checkpoint --run

A source is a file of torch.save (.pth, .pt, .bin), ONNX (which needs the package onnx), safetensors, or a
checkpoint of libcribo; its layout is found by the names in it. A target whose name ends in .pth, .pt, .bin or
.ckpt is for torch.load, another one is safetensors.

Layouts: that of the source without prefixes (default); cribo ("backbone." and "head." + name, as cribo.Model
and the program read them); hub (DINO, iBOT, DINOv2); timm; dinov3; huggingface (ViTModel, Dinov2Model or
DINOv3ViTModel, by the network); authors (a checkpoint of CrIBo's code). Files of training have a student and
a teacher: the layouts cribo and authors keep both, the others the network that --network names.

--run makes a checkpoint of libcribo of one that the loop of CrIBo's code saved, with the optimiser's moments,
counters, centres and the memory bank: a trainer with cribo.checkpoint_settings(path) continues the run."""

from __future__ import annotations

import argparse
import pickle
import sys
from pathlib import Path

import safetensors
import torch
from weights import files, layouts
from weights.layouts import Weights

LAYOUTS = ("source", "cribo", "hub", "timm", "dinov3", "huggingface", "authors")


def library_network(weights: Weights) -> Weights:
    """A network under the library's names."""
    backbone, heads = files.parts_of(weights)
    return {**{f"backbone.{name}": v for name, v in layouts.to_library(backbone).items()}, **heads}


def chosen_network(networks: dict[str, Weights], network: str) -> Weights:
    """The only network of a file, or the chosen one."""
    if network not in networks and "" not in networks:
        raise ValueError(f"there is no {network} in the file, only {', '.join(networks)}")
    return networks.get(network) or networks[""]


def in_layout(networks: dict[str, Weights], layout: str, network: str) -> Weights:
    """The tensors of a file in a layout."""
    if layout == "cribo":
        return {
            (f"{name}." if name else "") + tensor: values
            for name, weights in networks.items()
            for tensor, values in library_network(weights).items()
        }
    backbone, _ = files.parts_of(chosen_network(networks, network))
    if layout == "source":
        layouts.layout_of(backbone)
        return {name: v for name, v in backbone.items() if not layouts.HARMLESS.fullmatch(name)}
    ours = layouts.to_library(backbone)
    return layouts.from_library(
        ours, layouts.hugging_face_layout(ours) if layout == "huggingface" else layout
    )


def authors_checkpoint(networks: dict[str, Weights]) -> dict[str, Weights]:
    """A checkpoint for CrIBo's code, where the student is trained in parallel."""
    student = library_network(chosen_network(networks, "student"))
    teacher = library_network(chosen_network(networks, "teacher"))
    return {"student": {f"module.{name}": values for name, values in student.items()}, "teacher": teacher}


def convert(source: str | Path, target: str | Path, layout: str = "source", network: str = "teacher") -> None:
    """Converts a file of weights."""
    content = files.read(source)
    networks = files.networks_of(content)
    if layout == "source" and set(networks) != {""} and "args" in content:
        layout = "cribo"
    if layout == "authors":
        torch.save(authors_checkpoint(networks), target)
    else:
        files.write(in_layout(networks, layout, network), target)


def convert_run(source: str | Path, target: str | Path) -> None:
    """Makes a checkpoint of the library of one that the authors' loop saved. This alone needs the library."""
    from weights.authors import state_of_run, write_checkpoint

    write_checkpoint(*state_of_run(files.read(source)), target)


def settings_of(weights: Weights) -> dict[str, int]:
    """The settings of a cribo.Model that takes these weights, of the original vision transformer. The number
    of heads leaves no trace in them: as published, a head has 64 numbers."""
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
    if "head.last_layer_c.weight_g" in weights:
        found["head_hidden"] = len(weights["head.mlp.0.bias"])
        found["head_bottleneck"] = len(weights["head.mlp.4.bias"])
        found["prototypes"] = len(weights["head.last_layer.weight_g"])
        found["object_prototypes"] = len(weights["head.last_layer_c.weight_g"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--layout", choices=LAYOUTS, default="source", help="names in the target (source)")
    parser.add_argument("--network", choices=files.NETWORKS, default="teacher", help="(teacher)")
    parser.add_argument("--run", action="store_true", help="make a checkpoint that continues a run")
    chosen = parser.parse_args()
    try:
        if chosen.run:
            convert_run(chosen.source, chosen.target)
        else:
            convert(chosen.source, chosen.target, chosen.layout, chosen.network)
    except (OSError, ValueError, KeyError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        sys.exit(f"convert_weights: {chosen.source}: {error}")


if __name__ == "__main__":
    main()
