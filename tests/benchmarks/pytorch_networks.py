"""Networks of the training step in PyTorch, with the parameter names of the library."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_networks import VisionTransformer


def pool_objects(tokens: Tensor, assignment: Tensor, valid: Tensor) -> Tensor:
    """Objects [2, R, D] of tokens [B, 2, N, D] by an assignment [B, 2, N, K], of the valid [B, K] clusters
    only. Gradients flow to the tokens."""
    objects = torch.einsum("bvnk,bvnd->vbkd", assignment, tokens)
    return objects[:, valid]


class Backbone(VisionTransformer):
    """A vision transformer that gives all tokens [n, 1 + N, D], [CLS] first."""

    def forward(self, pixels: Tensor) -> Tensor:  # type: ignore[override]
        return self.tokens(pixels)


class Prototypes(nn.Module):
    """A linear layer with a separate length for each row (weight norm)."""

    def __init__(self, bottleneck: int, prototypes: int):
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(prototypes, 1), requires_grad=False)
        self.weight_v = nn.Parameter(torch.randn(prototypes, bottleneck) / math.sqrt(bottleneck))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.weight_g * F.normalize(self.weight_v, dim=-1)).T


class Heads(nn.Module):
    """Logits of [CLS] vectors and of objects: one MLP for both, prototypes for each."""

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int, object_prototypes: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last_layer = Prototypes(bottleneck, prototypes)
        self.last_layer_c = Prototypes(bottleneck, object_prototypes)

    def cls(self, x: Tensor) -> Tensor:
        return self.last_layer(F.normalize(self.mlp(x), dim=-1))

    def objects(self, x: Tensor) -> Tensor:
        return self.last_layer_c(F.normalize(self.mlp(x), dim=-1))


class Network(nn.Module):
    """A backbone with heads, named as in the library."""

    def __init__(self, backbone: Backbone, head: Heads):
        super().__init__()
        self.backbone = backbone
        self.head = head

    def tokens(self, views: Tensor) -> Tensor:
        """Tokens [B, 2, 1 + N, D] of views [B, 2, 3, S, S]."""
        return self.backbone(views.flatten(0, 1)).unflatten(0, (len(views), 2))
