"""The vision transformer's family in NumPy, in float64: what the library's features are compared with.

It is written from the published equations, with names and settings of docs/backbones.md, and shares no code with
the library.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

_erf = np.vectorize(math.erf, otypes=[np.float64])


class Output(NamedTuple):
    dense: np.ndarray  # [B, N, D]
    cls: np.ndarray  # [B, D]
    attention: np.ndarray  # [B, H, N] from [CLS] in the last block


class Transformer:
    """A transformer with these settings (all of cribo_model_config's) and parameters by their plain names."""

    def __init__(self, settings: dict[str, Any], parameters: dict[str, np.ndarray]):
        self.settings = settings
        self.parameters = {name: np.asarray(value, np.float64) for name, value in parameters.items()}

    def __call__(self, pixels: np.ndarray) -> Output:
        s = self.settings
        x, rows, columns = self._embed(np.asarray(pixels, np.float64))
        before = 1 + s["registers"]
        angles = self._angles(rows, columns) if s["position_embedding"] == "rope" else None
        for i in range(s["depth"]):
            x, shares = self._block(f"blocks.{i}.", x, angles, before)
        x = self._norm("norm", x)
        return Output(x[:, before:], x[:, 0], shares[:, :, 0, before:])

    def _embed(self, pixels: np.ndarray):
        p, s = self.parameters, self.settings
        size, (images, channels, height, width) = s["patch_size"], pixels.shape
        rows, columns = height // size, width // size
        patches = pixels.reshape(images, channels, rows, size, columns, size).transpose(0, 2, 4, 1, 3, 5)
        weight = p["patch_embed.proj.weight"].reshape(s["width"], -1)
        x = patches.reshape(images, rows * columns, -1) @ weight.T + p["patch_embed.proj.bias"]
        cls = np.broadcast_to(p["cls_token"], (images, 1, s["width"]))
        if s["position_embedding"] == "learned":
            positions = p["pos_embed"][0]
            if s["cls_position"]:
                cls = cls + positions[0]
                positions = positions[1:]
            x = x + self._resampled(positions, rows, columns)
        tokens = [cls, x]
        if s["registers"]:
            tokens.insert(1, np.broadcast_to(p["register_tokens"], (images, s["registers"], s["width"])))
        return np.concatenate(tokens, axis=1), rows, columns

    def _resampled(self, positions: np.ndarray, rows: int, columns: int) -> np.ndarray:
        s, grid = self.settings, math.isqrt(len(positions))
        if rows == columns == grid:
            return positions
        weights = sampling_antialiased if s["position_antialias"] else sampling
        down, across = (weights(grid, length, s["position_offset"]) for length in (rows, columns))
        square = positions.reshape(grid, grid, -1)
        return np.einsum("rg,ch,ghd->rcd", down, across, square).reshape(rows * columns, -1)

    def _angles(self, rows: int, columns: int) -> np.ndarray:
        """[N, d / 2] of a head's width d."""
        s = self.settings
        quarter = s["width"] // s["heads"] // 4
        if s["rope_max_period"]:
            periods = np.geomspace(s["rope_min_period"], s["rope_max_period"], quarter)
        else:
            periods = s["rope_base"] ** (np.arange(quarter) / quarter)
        sides = {
            "separate": (rows, columns),
            "min": (min(rows, columns),) * 2,
            "max": (max(rows, columns),) * 2,
        }[s["rope_coordinates"]]
        y, x = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
        centres = np.stack([y.ravel() / sides[0], x.ravel() / sides[1]], axis=1) * 2 - 1
        return (2 * np.pi * centres[:, :, None] / periods).reshape(rows * columns, -1)

    def _block(self, name: str, x: np.ndarray, angles: np.ndarray | None, before: int):
        y, shares = self._attention(name + "attn.", self._norm(name + "norm1", x), angles, before)
        x = x + self._scale(name + "ls1.gamma", y)
        y = self._mlp(name + "mlp.", self._norm(name + "norm2", x))
        return x + self._scale(name + "ls2.gamma", y), shares

    def _scale(self, name: str, y: np.ndarray) -> np.ndarray:
        return y * self.parameters[name] if self.settings["layer_scale"] else y

    def _attention(self, name: str, x: np.ndarray, angles: np.ndarray | None, before: int):
        s, p = self.settings, self.parameters
        images, tokens, width = x.shape
        qkv = x @ p[name + "qkv.weight"].T
        if s["qkv_bias"] != "none":
            qkv = qkv + p[name + "qkv.bias"]
        q, k, v = qkv.reshape(images, tokens, 3, s["heads"], -1).transpose(2, 0, 3, 1, 4)
        if angles is not None:
            for matrix in (q, k):
                a, b = np.split(matrix[:, :, before:].copy(), 2, axis=-1)
                matrix[:, :, before:] = np.concatenate(
                    [a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)],
                    axis=-1,
                )
        logits = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = (shares @ v).transpose(0, 2, 1, 3).reshape(images, tokens, width)
        return self._linear(name + "proj", mixed), shares

    def _mlp(self, name: str, x: np.ndarray) -> np.ndarray:
        if self.settings["mlp"] == "swiglu":
            gated, factor = np.split(self._linear(name + "w12", x), 2, axis=-1)
            return self._linear(name + "w3", gated / (1 + np.exp(-gated)) * factor)
        hidden = self._linear(name + "fc1", x)
        return self._linear(name + "fc2", hidden * (1 + _erf(hidden / math.sqrt(2))) / 2)

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.parameters[name + ".weight"].T + self.parameters[name + ".bias"]

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        deviation = np.sqrt(x.var(axis=-1, keepdims=True) + self.settings["norm_epsilon"])
        return centred / deviation * self.parameters[name + ".weight"] + self.parameters[name + ".bias"]


def keys_kernel(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel."""
    t = np.abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def sampling(grid: int, length: int, offset: float) -> np.ndarray:
    """The matrix [length, grid] of PyTorch's bicubic interpolation; the grid's edge lines go on for ever."""
    matrix = np.zeros((length, grid))
    places = (np.arange(length) + 0.5) * grid / (length + offset) - 0.5
    for line in range(-2, grid + 2):
        matrix[:, min(max(line, 0), grid - 1)] += keys_kernel(places - line, -0.75)
    return matrix


def sampling_antialiased(grid: int, length: int, offset: float) -> np.ndarray:
    """The same with antialiasing: the kernel is stretched, and cut off at the grid's edges."""
    step = grid / (length + offset)
    places = (np.arange(length) + 0.5) * step - 0.5
    matrix = keys_kernel((places[:, None] - np.arange(grid)) / max(step, 1), -0.5)
    return matrix / matrix.sum(axis=1, keepdims=True)
