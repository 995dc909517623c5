"""Features against timm's and Hugging Face's own modules with random weights, at the published shapes.

Skipped where timm or transformers is not installed. `python test_peers.py --errors` prints the errors.
"""

import importlib.abc
import importlib.machinery
import sys
import types
import unittest

import numpy as np
from support import cribo


class Names(type):
    """A class whose attributes are their own names."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class Stub(types.ModuleType):
    """A module of which only names are needed."""

    __path__: list = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Names(name, (), {})


class Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stub for torchvision and its parts: timm imports them, but its transformers use none."""

    def find_spec(self, name, _path, _target=None):
        if name.split(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Stub(spec.name)

    def exec_module(self, module):
        pass


try:
    import torch
except ImportError:
    torch = None
try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError):  # RuntimeError: a torchvision of another torch
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    sys.meta_path.insert(0, Stubs())
try:
    import timm
except ImportError:
    timm = None
try:
    import transformers
except ImportError:
    transformers = None

TOLERANCE = 1e-5  # of the largest element
HEADLESS = {"prototypes": 0, "object_prototypes": 0}
SMALL = {"width": 384, "depth": 12, "heads": 6}
TIMM = {"position_offset": 0.0, "position_antialias": 1}
HUGGING_FACE = {"position_offset": 0.0}
DINOV2 = {**SMALL, "patch_size": 14, "image_size": 518, "layer_scale": 1.0}
DINOV3 = {
    **SMALL,
    "layer_scale": 1.0,
    "registers": 4,
    "position_embedding": "rope",
    "norm_epsilon": 1e-5,
}
SWIGLU = {"mlp": "swiglu", "mlp_hidden": 1024}


def randomise(network) -> None:
    """Gives every parameter values under which it makes a difference."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            matrix = value.ndim > 1 and not any(part in name for part in ("token", "pos"))
            value.copy_(noise * (value[0].numel() ** -0.5 if matrix else 0.3))
            if "gamma" in name or "lambda" in name or ("norm" in name and name.endswith("weight")):
                value.add_(1)


TIMM_NAMES = [
    ("reg_token", "register_tokens"),
]
HUGGING_FACE_NAMES = [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.register_tokens", "register_tokens"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.patch_embeddings.", "patch_embed.proj."),
    ("encoder.layer.", "blocks."),
    ("model.layer.", "blocks."),
    ("layers.", "blocks."),
    ("layer.", "blocks."),
    ("attention.output.dense.", "attn.proj."),
    ("attention.o_proj.", "attn.proj."),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("mlp.weights_in.", "mlp.w12."),
    ("mlp.weights_out.", "mlp.w3."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("intermediate.dense.", "mlp.fc1."),
    ("mlp.up_proj.", "mlp.fc1."),
    ("mlp.down_proj.", "mlp.fc2."),
    ("layernorm.", "norm."),
    ("output.dense.", "mlp.fc2."),
]


def renamed(state: dict, table: list) -> dict:
    found = {}
    for name, value in state.items():
        for theirs, ours in table:
            if theirs in name:
                name = name.replace(theirs, ours)
        found[name] = value.detach().numpy()
    return found


def fuse(values: dict, parts: list[str], whole: str, zeros: int = 0) -> None:
    """Joins tensors called ...parts[i]... along their first axis; a missing one is zeros."""
    for name in [name for name in values if parts[0] in name]:
        names = [name.replace(parts[0], part) for part in parts]
        first = values[names[0]]
        arrays = [values.pop(n) if n in values else np.zeros_like(first) for n in names]
        values[name.replace(parts[0], whole)] = np.concatenate(arrays)


def from_timm(network, swiglu: bool) -> dict:
    values = renamed(network.state_dict(), TIMM_NAMES)
    if swiglu and any(".mlp.fc1_g." in name for name in values):
        fuse(values, [".mlp.fc1_g.", ".mlp.fc1_x."], ".mlp.w12.")
    elif swiglu:
        values = {name.replace(".mlp.fc1.", ".mlp.w12."): value for name, value in values.items()}
    if swiglu:
        values = {name.replace(".mlp.fc2.", ".mlp.w3."): value for name, value in values.items()}
    values = {
        name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma"): v for name, v in values.items()
    }
    fuse(values, [".attn.q_bias", ".attn.k_bias", ".attn.v_bias"], ".attn.qkv.bias")
    return values


def from_hugging_face(network, swiglu: bool) -> dict:
    state = network.state_dict()
    if any(".gate_proj." in name for name in state):
        state = {name.replace(".mlp.down_proj.", ".mlp.w3."): value for name, value in state.items()}
        fuse(
            state := {n: v.detach().numpy() for n, v in state.items()}, [".gate_proj.", ".up_proj."], ".w12."
        )
        state = {name: torch.from_numpy(value) for name, value in state.items()}
    values = renamed(state, HUGGING_FACE_NAMES)
    for start in (".attention.attention.", ".attention."):
        for names in (("query.", "key.", "value."), ("q_proj.", "k_proj.", "v_proj.")):
            fuse(values, [start + name for name in names], ".attn.qkv.")
    return values


def timm_features(network, pixels):
    shares = []
    attention = network.blocks[-1].attn
    attention.fused_attn = False
    hook = attention.attn_drop.register_forward_hook(lambda _m, inputs, _o: shares.append(inputs[0]))
    tokens = network.forward_features(torch.from_numpy(pixels))
    hook.remove()
    return tokens.numpy(), shares[0].numpy()


def hugging_face_features(network, pixels):
    inputs = {"interpolate_pos_encoding": True} if type(network).__name__ == "ViTModel" else {}
    output = network(torch.from_numpy(pixels), output_attentions=True, **inputs)
    return output.last_hidden_state.numpy(), output.attentions[-1].numpy()


class Peers(unittest.TestCase):
    errors: dict = {}

    def compare(self, label, settings, network, convert, features, sizes):
        torch.set_num_threads(2)
        randomise(network)
        network.eval()
        with torch.no_grad(), cribo.Model(**HEADLESS, **settings) as model:
            values = convert(network, settings.get("mlp") == "swiglu")
            for name in model.parameters():
                model.write(name, values[name.removeprefix("backbone.")].reshape(model.shape(name)))
            before = 1 + settings.get("registers", 0)
            for size in sizes:
                pixels = np.random.default_rng(1).standard_normal((2, 3, *size)).astype(np.float32)
                found = model.features(pixels, attention=True)
                tokens, shares = features(network, pixels)
                expected = {
                    "dense": tokens[:, before:],
                    "cls": tokens[:, 0],
                    "attention": shares[:, :, 0, before:],
                }
                for name, theirs in expected.items():
                    error = float(np.abs(getattr(found, name) - theirs).max() / np.abs(theirs).max())
                    self.errors[label, size, name] = error
                    with self.subTest(label=label, size=size, part=name):
                        self.assertLess(error, TOLERANCE)

    @unittest.skipUnless(timm and torch, "timm is not installed")
    def test_features_are_those_of_timm(self):
        plain = {"pretrained": False, "num_classes": 0, "dynamic_img_size": True}
        for name, settings, options, sizes in (
            ("vit_small_patch16_224.dino", {**SMALL, **TIMM}, {}, [(224, 224), (160, 288)]),
            ("vit_small_patch8_224.dino", {**SMALL, **TIMM, "patch_size": 8}, {}, [(224, 224), (136, 200)]),
            ("vit_small_patch16_224.augreg_in21k", {**SMALL, **TIMM}, {}, [(224, 224), (320, 192)]),
            ("vit_small_patch14_dinov2", {**DINOV2, **TIMM}, {}, [(518, 518), (224, 308)]),
            (
                "vit_small_patch14_reg4_dinov2",
                {**DINOV2, **TIMM, "registers": 4, "cls_position": 0},
                {},
                [(518, 518), (308, 224)],
            ),
            (
                "vit_small_patch14_dinov2",
                {**DINOV2, **TIMM, **SWIGLU, "image_size": 224},
                {
                    "mlp_layer": timm.layers.SwiGLUPacked,
                    "act_layer": torch.nn.SiLU,
                    "mlp_ratio": 2048 / 384,
                    "img_size": 224,
                },
                [(224, 224), (168, 280)],
            ),
            ("vit_small_patch16_dinov3", {**DINOV3, "qkv_bias": "none"}, {}, [(256, 256), (160, 288)]),
            ("vit_small_patch16_dinov3_qkvb", {**DINOV3}, {}, [(256, 256), (160, 288)]),
            (
                "vit_small_plus_patch16_dinov3",
                {**DINOV3, "qkv_bias": "none", "mlp": "swiglu", "mlp_hidden": 1536},
                {},
                [(256, 256), (160, 288)],
            ),
        ):
            network = timm.create_model(name, **plain, **options)
            self.compare("timm " + name, settings, network, from_timm, timm_features, sizes)

    @unittest.skipUnless(transformers and torch, "transformers is not installed")
    def test_features_are_those_of_hugging_face(self):
        eager = {"attn_implementation": "eager"}
        small = {"hidden_size": 384, "num_attention_heads": 6, **eager}
        dinov2 = {**small, "patch_size": 14, "image_size": 518}
        dinov3 = {**small, "num_register_tokens": 4, "intermediate_size": 1536}
        t = transformers
        for label, settings, kind, configuration, sizes in (
            (
                "ViT S/8 (DINO)",
                {**SMALL, **HUGGING_FACE, "patch_size": 8},
                t.ViTModel,
                t.ViTConfig(patch_size=8, intermediate_size=1536, layer_norm_eps=1e-6, **small),
                [(224, 224), (136, 200)],
            ),
            (
                "ViT S/16 (DINO)",
                {**SMALL, **HUGGING_FACE},
                t.ViTModel,
                t.ViTConfig(intermediate_size=1536, layer_norm_eps=1e-6, **small),
                [(224, 224), (160, 288)],
            ),
            (
                "DINOv2 S/14",
                {**DINOV2, **HUGGING_FACE},
                t.Dinov2Model,
                t.Dinov2Config(**dinov2),
                [(518, 518), (224, 308)],
            ),
            (
                "DINOv2 S/14, registers",
                {**DINOV2, **TIMM, "registers": 4},
                t.Dinov2WithRegistersModel,
                t.Dinov2WithRegistersConfig(num_register_tokens=4, **dinov2),
                [(518, 518), (308, 224)],
            ),
            (
                "DINOv2 S/14, SwiGLU",
                {**DINOV2, **HUGGING_FACE, **SWIGLU, "image_size": 224},
                t.Dinov2Model,
                t.Dinov2Config(**{**dinov2, "image_size": 224}, use_swiglu_ffn=True, mlp_ratio=4),
                [(224, 224), (168, 280)],
            ),
            (
                "DINOv3 S/16",
                {**DINOV3, "qkv_bias": "no_key"},
                t.DINOv3ViTModel,
                t.DINOv3ViTConfig(**dinov3),
                [(224, 224), (160, 288)],
            ),
            (
                "DINOv3 S+/16",
                {**DINOV3, "qkv_bias": "no_key", "mlp": "swiglu", "mlp_hidden": 1536},
                t.DINOv3ViTModel,
                t.DINOv3ViTConfig(**dinov3, use_gated_mlp=True, hidden_act="silu"),
                [(224, 224), (160, 288)],
            ),
        ):
            network = kind(configuration)
            self.compare(
                "Hugging Face " + label, settings, network, from_hugging_face, hugging_face_features, sizes
            )

    @classmethod
    def tearDownClass(cls):
        if "--errors" in sys.argv:
            for (label, size, name), error in cls.errors.items():
                print(f"{label:50} {size!s:11} {name:10} {error:.1e}")


if __name__ == "__main__":
    unittest.main(argv=[argument for argument in sys.argv if argument != "--errors"])
