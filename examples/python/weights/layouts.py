"""The names that each layout gives to the parameters of a vision transformer.

The library's own names, without "backbone.", stand in the middle; they are those of DINO, iBOT and DINOv2. A
layout is a table from these names to its own, and serves both directions. {} is a block's number.
Queries, keys and values, and the halves of a gated MLP, are separate tensors in some layouts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch

Weights = dict[str, torch.Tensor]


class Layout(NamedTuple):
    """A table of names; of a name that ends in a dot only the beginning changes."""

    names: dict[str, str]
    splits_qkv: bool = False
    splits_gate: bool = False


def hugging_face(blocks: str, attention: str, output: str, more: dict[str, str]) -> dict[str, str]:
    """The names that the vision transformers of Hugging Face have in common, and `more`."""
    query, key, value = (f"{blocks}.{{}}.attention.{attention.format(*names)}." for names in QKV)
    return {
        "cls_token": "embeddings.cls_token",
        "register_tokens": "embeddings.register_tokens",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
        "blocks.{}.norm1.": f"{blocks}.{{}}.norm1.",
        "blocks.{}.norm2.": f"{blocks}.{{}}.norm2.",
        "blocks.{}.attn.q.": query,
        "blocks.{}.attn.k.": key,
        "blocks.{}.attn.v.": value,
        "blocks.{}.attn.proj.": f"{blocks}.{{}}.attention.{output}.",
        "blocks.{}.ls1.gamma": f"{blocks}.{{}}.layer_scale1.lambda1",
        "blocks.{}.ls2.gamma": f"{blocks}.{{}}.layer_scale2.lambda1",
        "blocks.{}.mlp.fc1.": f"{blocks}.{{}}.mlp.fc1.",
        "blocks.{}.mlp.fc2.": f"{blocks}.{{}}.mlp.fc2.",
        "blocks.{}.mlp.w12.": f"{blocks}.{{}}.mlp.weights_in.",
        "blocks.{}.mlp.w3.": f"{blocks}.{{}}.mlp.weights_out.",
        "norm.": "layernorm.",
        **more,
    }


QKV = (("query", "q"), ("key", "k"), ("value", "v"))
NAMES = """cls_token register_tokens pos_embed patch_embed.proj. norm.
    blocks.{}.norm1. blocks.{}.norm2. blocks.{}.attn.qkv. blocks.{}.attn.proj. blocks.{}.ls1.gamma
    blocks.{}.ls2.gamma blocks.{}.mlp.fc1. blocks.{}.mlp.fc2. blocks.{}.mlp.w12. blocks.{}.mlp.w3."""
HUB = {name: name for name in NAMES.split()}
LAYOUTS = {
    "hub": Layout(HUB),
    "timm": Layout(
        {
            **HUB,
            "register_tokens": "reg_token",
            "blocks.{}.mlp.w12.": "blocks.{}.mlp.fc1.",
            "blocks.{}.mlp.w3.": "blocks.{}.mlp.fc2.",
        }
    ),
    "dinov3": Layout(
        {
            **HUB,
            "register_tokens": "storage_tokens",
            "blocks.{}.mlp.gate.": "blocks.{}.mlp.w1.",
            "blocks.{}.mlp.up.": "blocks.{}.mlp.w2.",
        },
        splits_gate=True,
    ),
    "huggingface-vit": Layout(
        hugging_face(
            "encoder.layer",
            "attention.{0}",
            "output.dense",
            {
                "blocks.{}.norm1.": "encoder.layer.{}.layernorm_before.",
                "blocks.{}.norm2.": "encoder.layer.{}.layernorm_after.",
                "blocks.{}.mlp.fc1.": "encoder.layer.{}.intermediate.dense.",
                "blocks.{}.mlp.fc2.": "encoder.layer.{}.output.dense.",
            },
        ),
        splits_qkv=True,
    ),
    "huggingface-dinov2": Layout(
        hugging_face("encoder.layer", "attention.{0}", "output.dense", {}), splits_qkv=True
    ),
    "huggingface-dinov3": Layout(
        hugging_face(
            "layer",
            "{1}_proj",
            "o_proj",
            {
                "patch_embed.proj.": "embeddings.patch_embeddings.",
                "blocks.{}.mlp.fc1.": "layer.{}.mlp.up_proj.",
                "blocks.{}.mlp.fc2.": "layer.{}.mlp.down_proj.",
                "blocks.{}.mlp.gate.": "layer.{}.mlp.gate_proj.",
                "blocks.{}.mlp.up.": "layer.{}.mlp.up_proj.",
                "blocks.{}.mlp.w3.": "layer.{}.mlp.down_proj.",
                "pos_embed": "",  # rotary positions have no parameters
                "norm.": "norm.",
            },
        ),
        splits_qkv=True,
        splits_gate=True,
    ),
}

# Tensors that change no features: classifiers and heads of other methods, masks, and what others derive.
HARMLESS = re.compile(
    r"(mask_token|head|head_dist|dino_head|ibot_head|fc_norm|local_cls_norm|pooler|classifier|decoder\w*"
    r"|rope_embed|rope)(\..*)?|embeddings\.mask_token|.*\.bias_mask"
)

PLAIN_MLP = ("mlp.fc1", "mlp.fc2")
GATED_MLP = ("mlp.w12", "mlp.w3", "mlp.gate", "mlp.up")


def pattern(template: str) -> re.Pattern[str]:
    """Matches the names of a template; the groups are the block and the end of the name."""
    text = re.escape(template).replace(re.escape("{}"), r"(?P<block>\d+)")
    return re.compile(text + (r"(?P<end>weight|bias)" if template.endswith(".") else "(?P<end>)"))


def renamed(name: str, table: Mapping[str, str]) -> str | None:
    """A name by the first fitting line of a table from templates to templates; None if none fits."""
    for old, new in table.items():
        found = pattern(old).fullmatch(name)
        if found:
            return new.format(found.groupdict().get("block")) + found["end"]
    return None


def table_of(layout: Layout, gated: bool) -> dict[str, str]:
    """The layout's lines for networks with gated or with plain MLPs: some layouts use a name for both."""
    other = PLAIN_MLP if gated else GATED_MLP
    return {
        ours: theirs
        for ours, theirs in layout.names.items()
        if theirs and not any(part in ours for part in other)
    }


def is_gated(weights: Mapping[str, torch.Tensor]) -> bool:
    """Whether the MLPs are gated: by their names, or by a first map twice as wide as the second takes."""
    if any(re.search(r"\.mlp\.(w12|w1|weights_in|gate_proj)\.", name) for name in weights):
        return True
    first = next((name for name in weights if name.endswith(".mlp.fc1.weight")), None)
    if first is None:
        return False
    return weights[first].shape[0] == 2 * weights[first.replace("fc1", "fc2")].shape[1]


def joined(weights: Weights, parts: tuple[str, ...], whole: str) -> Weights:
    """Tensors that are parts of one, one after the other. A missing bias of some parts is 0."""
    result = {name: v for name, v in weights.items() if not any(part in name for part in parts)}
    for name, values in weights.items():
        if parts[0] in name:
            others = (weights.get(name.replace(parts[0], part)) for part in parts[1:])
            pieces = [values, *(torch.zeros_like(values) if v is None else v for v in others)]
            result[name.replace(parts[0], whole)] = torch.cat(pieces)
    return result


def split(weights: Weights, whole: str, parts: tuple[str, ...]) -> Weights:
    """The parts of tensors that hold one after the other. Biases of keys that are 0 are left out."""
    result: Weights = {}
    for name, values in weights.items():
        if whole not in name:
            result[name] = values
            continue
        for part, piece in zip(parts, values.chunk(len(parts))):
            if part != ".attn.k." or name.endswith("weight") or piece.any():
                result[name.replace(whole, part)] = piece.clone()
    return result


ATTENTION = (".attn.q.", ".attn.k.", ".attn.v.")
GATE = (".mlp.gate.", ".mlp.up.")


def masked(weights: Weights) -> Weights:
    """DINOv3's biases of queries, keys and values times their mask."""
    result = dict(weights)
    for name, mask in weights.items():
        if name.endswith(".bias_mask"):
            bias = name.removesuffix("_mask")
            result[bias] = torch.where(mask == 1, weights[bias], 0)
    return result


def library_names(weights: Weights, layout: Layout) -> tuple[Weights, list[str]]:
    """Tensors under the library's names, and the names of those that are not in the layout."""
    table = {theirs: ours for ours, theirs in table_of(layout, is_gated(weights)).items()}
    found: Weights = {}
    unknown = []
    for name, values in masked(weights).items():
        ours = renamed(name, table)
        if ours:
            found[ours] = values
        elif not HARMLESS.fullmatch(name):
            unknown.append(name)
    return joined(joined(found, ATTENTION, ".attn.qkv."), GATE, ".mlp.w12."), unknown


def layout_of(weights: Weights) -> str:
    """The layout with most of the tensors; tensors that are not in it are an error."""
    unknown = {name: library_names(weights, layout)[1] for name, layout in LAYOUTS.items()}
    best = min(unknown, key=lambda name: len(unknown[name]))
    if unknown[best]:
        listed = ", ".join(unknown[best][:5])
        raise ValueError(f"{len(unknown[best])} tensors are of no known layout (nearest: {best}): {listed}")
    return best


def to_library(weights: Weights) -> Weights:
    """Tensors of any layout under the library's names."""
    return library_names(weights, LAYOUTS[layout_of(weights)])[0]


def from_library(weights: Weights, name: str) -> Weights:
    """Tensors with the library's names in a layout."""
    layout = LAYOUTS[name]
    table = table_of(layout, is_gated(weights))
    if layout.splits_qkv:
        weights = split(weights, ".attn.qkv.", ATTENTION)
    if layout.splits_gate:
        weights = split(weights, ".mlp.w12.", GATE)
    found = {renamed(name, table) or name: values for name, values in weights.items()}
    lost = [ours for ours in weights if not renamed(ours, table)]
    if lost:
        raise ValueError(f"the layout {name} has no place for {', '.join(lost[:5])}")
    return found


def hugging_face_layout(weights: Weights) -> str:
    """The layout of Hugging Face's module for a network."""
    if "pos_embed" not in weights:
        return "huggingface-dinov3"
    return "huggingface-dinov2" if "blocks.0.ls1.gamma" in weights else "huggingface-vit"
