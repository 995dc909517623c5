"""A training step's losses in PyTorch, in float64, from a trainer's parameters: what the library's losses and
gradients are compared with.

It is written from the equations of docs/algorithm.md and shares no code with the library; autograd computes
the gradients.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def parameters_of(model, gradients: bool) -> dict[str, torch.Tensor]:
    """A model's parameters by name."""
    return {
        name: torch.tensor(model.read(name), dtype=torch.float64).requires_grad_(gradients)
        for name in model.parameters()
    }


def _linear(p, name, x):
    return F.linear(x, p[name + ".weight"], p[name + ".bias"])


def _norm(p, name, x):
    return F.layer_norm(x, x.shape[-1:], p[name + ".weight"], p[name + ".bias"], 1e-6)


def embed(p, pixels: torch.Tensor) -> torch.Tensor:
    """The patches' embeddings [V, N, D]."""
    x, layer = pixels, 0
    while f"backbone.patch_embed.stem.{layer}.conv.weight" in p:
        name = f"backbone.patch_embed.stem.{layer}."
        x = F.conv2d(x, p[name + "conv.weight"], stride=2, padding=1)
        x = F.gelu(_norm(p, name + "norm", x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        layer += 1
    weight = p["backbone.patch_embed.proj.weight"]
    x = F.conv2d(x, weight, p["backbone.patch_embed.proj.bias"], stride=weight.shape[-1])
    return x.flatten(2).transpose(1, 2)


def tokens(p, settings, pixels: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """The tokens [V, 1 + N, D] of views [V, 3, S, S]; mask [V, N] marks the patches that are not seen."""
    x = embed(p, pixels)
    if mask is not None:
        x = torch.where(mask[..., None], p["backbone.mask_token"], x)
    cls = p["backbone.cls_token"].expand(len(x), 1, x.shape[-1])
    x = torch.cat([cls, x], dim=1) + p["backbone.pos_embed"]
    for i in range(settings["depth"]):
        x = x + _attention(p, f"backbone.blocks.{i}.", x, settings["heads"])
        hidden = F.gelu(_linear(p, f"backbone.blocks.{i}.mlp.fc1", _norm(p, f"backbone.blocks.{i}.norm2", x)))
        x = x + _linear(p, f"backbone.blocks.{i}.mlp.fc2", hidden)
    return _norm(p, "backbone.norm", x)


def _attention(p, block, x, heads):
    views, count, width = x.shape
    qkv = _linear(p, block + "attn.qkv", _norm(p, block + "norm1", x))
    q, k, v = qkv.reshape(views, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
    return _linear(p, block + "attn.proj", y)


def logits(p, rows: torch.Tensor, layer: str) -> torch.Tensor:
    """The logits [R, P] of rows [R, D] by a last layer."""
    x = F.gelu(_linear(p, "head.mlp.0", rows))
    x = F.gelu(_linear(p, "head.mlp.2", x))
    x = F.normalize(_linear(p, "head.mlp.4", x), dim=-1, eps=1e-12)
    direction = F.normalize(p[f"head.{layer}.weight_v"], dim=-1, eps=0)
    return x @ (p[f"head.{layer}.weight_g"] * direction).T


def balanced(teacher: torch.Tensor, temperature: float, iterations: int) -> torch.Tensor:
    """The targets of Sinkhorn-Knopp centring."""
    e = torch.exp(teacher / temperature)
    u = torch.ones(len(e), 1, dtype=e.dtype)
    for _ in range(iterations):
        v = 1 / (u * e).sum(dim=0, keepdim=True)
        last, u = u, 1 / (v * e).sum(dim=1, keepdim=True)
    return F.normalize(last * v * e, p=1, dim=1)


def cross_entropy(targets: torch.Tensor, student: torch.Tensor, temperature: float) -> torch.Tensor:
    """H(targets, softmax(student / temperature)) of each row."""
    return -(targets * F.log_softmax(student / temperature, dim=-1)).sum(dim=-1)
