"""CrIBo for a network of one's own in PyTorch: cribo.Objective with tensors and gradients.

    objective = Objective(width=D, tokens=N, batch_size=B, steps_per_epoch=E)
    for views, positions, ids in loader:                 # [B, 2, 3, S, S], [B, 2, N, 2], [B]
        with torch.no_grad():
            objective.teach(*both_views(teacher, views), positions, ids)
        loss = objective.learn(*both_views(student, views))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        report = objective.update()
        follow(teacher, student, report.ema_momentum)

A network is any module that turns pixels into dense tokens [n, N, D] and global vectors [n, D].
torch_train.py is a whole program; docs/pytorch.md covers mixed precision, torch.compile, several processes,
gradient accumulation and checkpointing of activations. The objective works on the CPU in float32: tokens of
another device or dtype are copied, and their gradients have the device and dtype of the tokens."""

from __future__ import annotations

import copy
from typing import Any

import cribo
import torch
from torch import Tensor, distributed, nn


class TokenLoss(torch.autograd.Function):
    """A loss with precomputed gradients with respect to tokens."""

    @staticmethod
    def forward(
        ctx: Any, dense: Tensor, vectors: Tensor, loss: Tensor, gradients: tuple[Tensor, Tensor]
    ) -> Tensor:
        ctx.save_for_backward(*gradients)
        ctx.like = [(tokens.device, tokens.dtype) for tokens in (dense, vectors)]
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (scale.float().cpu() * gradient for gradient in ctx.saved_tensors)  # before rounding
        dense, vectors = (g.to(device, dtype) for g, (device, dtype) in zip(scaled, ctx.like))
        return dense, vectors, None, None


def in_backward() -> bool:
    """Whether autograd is at work: checkpointed functions then run for the second time."""
    return bool(torch._C._current_graph_task_id() != -1)


def plain(tokens: Tensor) -> Tensor:
    """Tokens for the library."""
    return tokens.detach().to("cpu", torch.float32)


class Objective:
    """cribo.Objective with tensors. Keyword arguments are its settings; batch_size counts the images of all
    processes. With several processes either `communicator` connects their objectives, which divide the work
    and the memory bank, or (`group`, by default all of torch.distributed) tokens are gathered, and every
    process computes all. Heads and centres are the same on every process."""

    def __init__(
        self,
        *presets: cribo.Preset,
        group: Any = None,
        communicator: cribo.Communicator | None = None,
        **settings: Any,
    ):
        self.parts = cribo.Objective(*presets, communicator=communicator, **settings)
        several = distributed.is_available() and distributed.is_initialized() and not communicator
        self.group = group
        self.rank = distributed.get_rank(group) if several else 0
        self.ranks = distributed.get_world_size(group) if several else 1  # whose tokens are gathered
        self.processes = communicator.size if communicator else self.ranks
        nccl = several and distributed.get_backend(group) == "nccl"
        self.device = torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")
        self._learned: dict[int, tuple[Tensor, tuple[Tensor, Tensor]]] = {}
        self._loss = 0.0

    def _gathered(self, values: Tensor, chunk: int) -> Tensor:
        """Values of the images of all processes, chunk after chunk, in each by rank."""
        if self.ranks == 1:
            return values
        values = values.to(self.device).contiguous()
        parts = [torch.empty_like(values) for _ in range(self.ranks)]
        distributed.all_gather(parts, values, group=self.group)
        return torch.stack([part.unflatten(0, (-1, chunk)) for part in parts], 1).flatten(0, 2).cpu()

    @torch.compiler.disable
    @torch.no_grad()
    def teach(
        self,
        dense: Tensor,
        vectors: Tensor,
        positions: Tensor,
        ids: Tensor | None = None,
        chunk: int | None = None,
        **more: Any,
    ) -> None:
        """The teacher's dense tokens [B, 2, N, D] and global vectors [B, 2, D] of the whole batch, at
        positions [B, 2, N, 2]. chunk: images that `learn` is given at a time, by default the batch."""
        if in_backward():
            return
        chunk = chunk or len(dense)
        tensors = (plain(dense), plain(vectors), plain(positions))
        own = self._gathered(ids.cpu(), chunk) if ids is not None else None
        self.parts.teach(*(self._gathered(tensor, chunk) for tensor in tensors), ids=own, **more)
        self._learned, self._loss = {}, 0.0

    @torch.compiler.disable
    def learn(self, dense: Tensor, vectors: Tensor, first: int = 0) -> Tensor:
        """The loss of the student's tokens [images, 2, N, D] and [images, 2, D] of the images first, first +
        1, ... of this process. Chunks come in order; their losses add up to the loss of the batch."""
        if not (in_backward() and first in self._learned):
            self._learned[first] = self._learn(plain(dense), plain(vectors), first)
        result: Tensor = TokenLoss.apply(dense, vectors, *self._learned[first])
        return result

    def _learn(self, dense: Tensor, vectors: Tensor, first: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        images = len(dense)
        before = self._loss if first else 0.0
        found = self.parts.learn(
            self._gathered(dense, images), self._gathered(vectors, images), first * self.ranks
        )
        self._loss = found.loss
        own = slice(self.rank * images, (self.rank + 1) * images)
        # Data parallelism averages gradients over processes, but losses are those of the whole batch.
        gradients = (
            self.processes * torch.from_numpy(gradient)[own]
            for gradient in (found.dense_gradient, found.global_gradient)
        )
        return torch.tensor(found.loss - before), (next(gradients), next(gradients))

    @torch.compiler.disable
    def update(self) -> cribo.Report:
        """Ends the step: the optimiser's step of the heads, centres and memory bank move, once."""
        self._learned = {}
        return self.parts.update()


def both_views(network: nn.Module, views: Tensor) -> tuple[Tensor, Tensor]:
    """Dense tokens [B, 2, N, D] and global vectors [B, 2, D] of views [B, 2, 3, S, S]."""
    dense, vectors = network(views.flatten(0, 1))
    return dense.unflatten(0, (-1, 2)), vectors.unflatten(0, (-1, 2))


def teacher_of(student: nn.Module) -> nn.Module:
    """A copy of a student that gets no gradients."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Moves the teacher's parameters towards the student's; buffers (of norms) are copied."""
    for slow, fast in zip(teacher.parameters(), student.parameters()):
        slow.lerp_(fast, 1 - momentum)
    for slow, fast in zip(teacher.buffers(), student.buffers()):
        slow.copy_(fast)
