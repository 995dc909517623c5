"""Reading and writing files of weights of all kinds. Nothing in a file is executed."""

from __future__ import annotations

import argparse
import collections
import gzip
import pathlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from .layouts import Weights

NETWORKS = ("student", "teacher")
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "network")
PICKLED = (".pth", ".pt", ".bin", ".ckpt")


# ---- Kinds of files ------------------------------------------------------------------------------


def allowed() -> list[Any]:
    """The types that a checkpoint may hold besides tensors: command lines, and numbers of NumPy under their
    old and new names."""
    core = getattr(np, "_core", None) or np.core
    scalar, rebuild = core.multiarray.scalar, core.multiarray._reconstruct
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    named = [(scalar, f"{module}.scalar") for module in modules]
    named += [(rebuild, f"{module}._reconstruct") for module in modules]
    dtypes = [type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "?", "u1")]
    paths = [pathlib.PosixPath, pathlib.PurePosixPath]
    return [argparse.Namespace, collections.defaultdict, np.dtype, np.ndarray, *dtypes, *paths, *named]


def read_pickle(path: str | Path) -> Any:
    """A file of torch.save."""
    with torch.serialization.safe_globals(allowed()):
        return torch.load(path, map_location="cpu", weights_only=True)


def read_safetensors(path: str | Path, content: bytes) -> Weights:
    """A safetensors file; also one that gzip has compressed, as the library's checkpoints are."""
    if content.startswith(b"\x1f\x8b"):
        return safetensors.torch.load(gzip.decompress(Path(path).read_bytes()))
    return safetensors.torch.load_file(path)


def read_onnx(path: str | Path) -> Weights:
    """The parameters of an ONNX graph. Exporters fold transpositions and give folded tensors names that say
    nothing; the node that multiplies by one, or adds positions, says to which module it belongs."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise ValueError(f"{path}: ONNX files need the package onnx (pip install onnx)") from None
    graph = onnx.load(str(path)).graph
    tensors = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer
    }
    named: Weights = {}
    positions: dict[str, list[torch.Tensor]] = {}
    for node in graph.node:
        module = node.name.strip("/").replace("/", ".")
        for operand in node.input:
            values = tensors.get(operand)
            if values is None:
                continue
            if not operand.startswith("onnx::"):
                named[operand] = values
            elif node.op_type == "MatMul":
                named[module.removesuffix(".MatMul") + ".weight"] = values.T.contiguous()
            elif node.op_type == "Gemm":
                named[module.removesuffix(".Gemm") + ".weight"] = values
            elif values.ndim == 3 and ".embeddings." in f".{module}":
                positions.setdefault(f".{module}".split(".embeddings.")[0].lstrip("."), []).append(values)
    for module, parts in positions.items():  # [CLS] first: its part has one row
        name = f"{module}.embeddings.position_embeddings".lstrip(".")
        named[name] = torch.cat(sorted(parts, key=lambda part: part.shape[1]), 1)
    return named


def read(path: str | Path) -> Any:
    """The content of a file: tensors by name, or a dictionary of dictionaries with them."""
    with open(path, "rb") as file:
        content = file.read(4)
    if Path(path).suffix == ".onnx":
        return read_onnx(path)
    if content.startswith((b"PK", b"\x80")):
        return read_pickle(path)
    return read_safetensors(path, content)


def write(tensors: Weights, target: str | Path) -> None:
    """Tensors for safetensors, or for torch.load where the file's name ends in .pth, .pt, .bin or .ckpt."""
    if Path(target).suffix in PICKLED:
        torch.save(tensors, target)
    else:
        own = {n: v.contiguous().clone() for n, v in tensors.items()}  # networks may share memory
        safetensors.torch.save_file(own, target, {"format": "pt"})


# ---- Networks in a file --------------------------------------------------------------------------


def plain(tensors: Mapping[str, Any]) -> Weights:
    """The tensors of a dictionary, without what data parallelism, compilation and training put before their
    names; floats as float32."""
    named: Weights = {}
    for name, values in tensors.items():
        if isinstance(values, torch.Tensor):
            for wrapper in ("module.", "_orig_mod."):
                name = name.replace(wrapper, "")
            named[name] = values.detach().float() if values.is_floating_point() else values
    return named


def networks_of(content: Mapping[str, Any]) -> dict[str, Weights]:
    """The networks of a file by name; "" is the only one of a file that names none."""
    nested = {
        network: plain(content[network]) for network in NETWORKS if isinstance(content.get(network), Mapping)
    }
    if nested:
        return nested
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            return networks_of(content[wrapper])
    tensors = plain(content)
    found = {
        network: {n.removeprefix(network + "."): v for n, v in tensors.items() if n.startswith(network + ".")}
        for network in NETWORKS
    }
    found = {network: weights for network, weights in found.items() if weights}
    if not found and not tensors:
        raise ValueError(f"there are no tensors in it, only {', '.join(map(str, content))}")
    return found or {"": tensors}


def parts_of(weights: Weights) -> tuple[Weights, Weights]:
    """The backbone of a network, without the prefix of its names, and the projection heads."""
    token = next((name for name in weights if name.split(".")[-1] == "cls_token"), None)
    if token is None:
        raise ValueError(f"there is no cls_token in it, only {', '.join(list(weights)[:5])}")
    prefix = token.removesuffix("cls_token").removesuffix("embeddings.")
    backbone = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
    heads = {n: v for n, v in weights.items() if n.startswith("head.") and prefix}
    return backbone, heads
