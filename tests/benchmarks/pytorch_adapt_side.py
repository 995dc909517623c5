"""The step of adapting published weights in PyTorch, for pytorch_adapt.py: a transformer with LayerScale
whose first blocks are frozen, run by teacher and student each ("plain"), or once for both ("shared")."""

from __future__ import annotations

import argparse
from typing import Any

import pytorch_networks
import pytorch_side
import torch
import torch_networks
from torch import Tensor, nn


class LayerScale(nn.Module):
    """A gain for each component."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x


class ScaledBlock(torch_networks.Block):
    """A block whose two branches end with a LayerScale, as in DINOv2."""

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads)
        self.ls1, self.ls2 = LayerScale(width), LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class FrozenBackbone(pytorch_networks.Backbone):
    """A transformer in two parts: the trunk, which is not trained, and the blocks above it."""

    def __init__(self, o: argparse.Namespace):
        super().__init__(o.image, o.patch, o.width, o.depth, o.heads)
        self.frozen = o.frozen_blocks
        self.blocks = nn.Sequential(*(ScaledBlock(o.width, o.heads) for _ in range(o.depth)))

    def frozen_parameters(self) -> list[nn.Parameter]:
        if not self.frozen:
            return []
        parts = (self.patch_embed, self.blocks[: self.frozen])
        return [self.cls_token, self.pos_embed, *(p for part in parts for p in part.parameters())]

    def trunk(self, pixels: Tensor) -> Tensor:
        """The tokens after the frozen blocks; without any, the embedding is trained as well."""
        return self.embed_frozen(pixels) if self.frozen else pixels

    def crown(self, x: Tensor) -> Tensor:
        x = x if self.frozen else self.embed_frozen(x)
        return self.norm(self.blocks[self.frozen :](x))

    def embed_frozen(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embed(pixels)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1) + self.pos_embed
        return self.blocks[: self.frozen](x)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.crown(self.trunk(pixels))


class Plain(pytorch_side.PyTorch):
    """Teacher and student run all blocks; `requires_grad_(False)` on the student's trunk is all that differs
    from training the whole network."""

    def make_backbone(self) -> FrozenBackbone:
        return FrozenBackbone(self.o)

    def make_networks(self, weights: str) -> None:
        super().make_networks(weights)
        for layer in (self.student.head.last_layer, self.student.head.last_layer_c):
            layer.weight_g.requires_grad_(False)
        for parameter in self.student.backbone.frozen_parameters():
            parameter.requires_grad_(False)


class Shared(Plain):
    """The trunk runs once, without a graph; teacher and student continue from its tokens. Only trained
    weights take part in the teacher's average."""

    def make_networks(self, weights: str) -> None:
        super().make_networks(weights)
        self.trunks: dict[tuple[int, int], Any] = {}
        pairs = [(w, s) for w, s in zip(self.weights, self.slow_weights) if w.requires_grad]
        self.weights, self.slow_weights = (list(side) for side in zip(*pairs))

    def tokens(self, network: int, images: slice) -> Any:
        key = images.start, images.stop
        if network == 1:  # the teacher sees the views first
            with torch.no_grad():
                self.trunks[key] = self.student.backbone.trunk(self.views[images].flatten(0, 1))
        trunk = self.trunks[key] if network == 1 else self.trunks.pop(key)
        crown = (self.student, self.teacher)[network].backbone.crown
        return crown(trunk).unflatten(0, (-1, 2)).float()
