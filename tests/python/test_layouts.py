"""Files of weights in published layouts: settings derived from the file, features of the module that wrote
it, and a round trip file -> model -> file, bit-equal.

Skipped where timm or transformers is not installed.
"""

import json
import tempfile
import unittest
from pathlib import Path

import numpy as np
from support import cribo
from test_peers import hugging_face_features, randomise, timm, timm_features, torch, transformers

SMALL = {"width": 128, "depth": 2, "heads": 2}


def write_safetensors(path: Path, tensors: dict, metadata: dict | None = None) -> None:
    """Writes arrays as their types are; torch's bfloat16 is not needed here."""
    types = {"float32": "F32", "float16": "F16", "float64": "F64"}
    header: dict = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, array in tensors.items():
        header[name] = {
            "dtype": types[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def read_safetensors(path: Path) -> dict:
    """Arrays of float32."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    data = content[8 + length :]
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
        for name, entry in header.items()
    }


def arrays_of(network) -> dict:
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


class Layouts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def check_features(self, model, network, features, registers):
        size = [2 * model.settings["image_size"], model.settings["image_size"]]
        pixels = np.random.default_rng(1).standard_normal((1, 3, *size)).astype(np.float32)
        with torch.no_grad():
            tokens, _ = features(network, pixels)
        found = model.features(pixels)
        for mine, theirs in ((found.cls, tokens[:, 0]), (found.dense, tokens[:, 1 + registers :])):
            self.assertLess(float(np.abs(mine - theirs).max() / np.abs(theirs).max()), 1e-5)

    def check_round_trip(self, model, path, layout, harmless=()):
        again = self.folder / "again.safetensors"
        model.export(again, layout)
        expected = {name: values for name, values in read_safetensors(path).items() if values.size}
        found = read_safetensors(again)
        for name in harmless:
            expected.pop(name, None)
        self.assertEqual(sorted(found), sorted(expected))
        for name, values in expected.items():
            self.assertEqual(found[name].tobytes(), values.tobytes(), name)

    def test_mask_tokens(self):
        token = np.arange(128, dtype=np.float32)[None]
        rope = {"position_embedding": "rope", "qkv_bias": "no_key", "layer_scale": 1.0, "registers": 1}
        names = {
            "cribo": ("backbone.mask_token", (1, 128), {}),
            "dino": ("mask_token", (1, 128), {}),
            "dinov3": ("mask_token", (1, 128), {"registers": 1}),
            "hf-dinov2": ("embeddings.mask_token", (1, 128), {"layer_scale": 1.0}),
            "hf-dinov3": ("embeddings.mask_token", (1, 1, 128), rope),
            "timm": (None, None, {}),
            "hf-vit": (None, None, {}),
        }
        for layout, (name, shape, settings) in names.items():
            with self.subTest(layout):
                path = self.folder / f"{layout}.safetensors"
                model = cribo.Model(**SMALL, prototypes=0, object_prototypes=0, mask_token=1, **settings)
                model.write("backbone.mask_token", token)
                model.export(path, layout)
                found = read_safetensors(path)
                self.assertEqual([key for key in found if "mask_token" in key], [name] if name else [])
                if name:
                    self.assertEqual(found[name].shape, shape)
                self.assertNotIn("backbone.mask_token", cribo.Model.open(path).parameters())
                opened = cribo.Model.open(path, mask_token=1)
                expected = token if name else np.zeros_like(token)
                np.testing.assert_array_equal(opened.read("backbone.mask_token"), expected)

    def test_mask_token_of_ibot(self):
        path = self.folder / "ibot.safetensors"
        model = cribo.Model(**SMALL, prototypes=0, object_prototypes=0, mask_token=1)
        model.write("backbone.mask_token", np.full((1, 128), 2, np.float32))
        model.export(path, "dino")
        arrays = read_safetensors(path)
        arrays["masked_embed"] = arrays.pop("mask_token")
        write_safetensors(path, arrays)
        cribo.Model.open(path)
        opened = cribo.Model.open(path, mask_token=1)
        np.testing.assert_array_equal(opened.read("backbone.mask_token"), model.read("backbone.mask_token"))

    @unittest.skipUnless(timm and torch, "timm is not installed")
    def test_files_of_timm(self):
        plain = {
            "pretrained": False,
            "num_classes": 0,
            "dynamic_img_size": True,
            "depth": 2,
            "embed_dim": 128,
        }
        offset = {"position_offset": 0.0, "position_antialias": 1}
        for name, options, layout, expected in (
            ("vit_small_patch16_224", {"num_heads": 2, "img_size": 64}, "dino", {}),
            (
                "vit_small_patch14_reg4_dinov2",
                {"num_heads": 2, "img_size": 56},
                "timm",
                {"registers": 4, "cls_position": 0, "patch_size": 14, "image_size": 56},
            ),
            (
                "vit_small_patch14_dinov2",
                {
                    "num_heads": 2,
                    "img_size": 56,
                    "mlp_layer": timm and timm.layers.SwiGLUPacked,
                    "act_layer": torch and torch.nn.SiLU,
                    "mlp_ratio": 2,
                },
                "timm",
                {"mlp": 1, "mlp_ratio": 1, "cls_position": 1},
            ),
            ("vit_small_patch16_dinov3", {"num_heads": 2}, "timm-eva", {"qkv_bias": 2, "registers": 4}),
            ("vit_small_patch16_dinov3_qkvb", {"num_heads": 2}, "timm-eva", {"qkv_bias": 1}),
        ):
            with self.subTest(name=name):
                network = timm.create_model(name, **plain, **options)
                randomise(network)
                network.eval()
                path = self.folder / "timm.safetensors"
                write_safetensors(path, arrays_of(network))
                info = cribo.weights_info(path)
                self.assertEqual((info.layout, info.prefix, info.dtype), (layout, "", "F32"))
                self.assertIn("heads = 2", info.assumed)
                chosen = offset if layout == "dino" else {}
                with cribo.Model.open(path, **chosen) as model:
                    for setting, value in {**SMALL, **expected}.items():
                        self.assertEqual(model.settings[setting], value, setting)
                    self.check_features(model, network, timm_features, model.settings["registers"])
                    self.check_round_trip(model, path, layout)

    @unittest.skipUnless(transformers and torch, "transformers is not installed")
    def test_files_of_hugging_face(self):
        t = transformers
        small = {
            "hidden_size": 128,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "attn_implementation": "eager",
        }
        dinov2 = {**small, "patch_size": 14, "image_size": 56}
        dinov3 = {**small, "num_register_tokens": 4, "intermediate_size": 512}
        vit = t.ViTConfig(patch_size=8, image_size=32, intermediate_size=512, layer_norm_eps=1e-4, **small)
        for label, kind, configuration, layout, expected in (
            ("ViT", t.ViTModel, vit, "hf-vit", {"norm_epsilon": 1e-4, "patch_size": 8}),
            ("DINOv2", t.Dinov2Model, t.Dinov2Config(**dinov2), "hf-dinov2", {"layer_scale": 1e-5}),
            (
                "DINOv2, SwiGLU",
                t.Dinov2Model,
                t.Dinov2Config(**dinov2, use_swiglu_ffn=True, mlp_ratio=4),
                "hf-dinov2",
                {"mlp": 1},
            ),
            (
                "DINOv2, registers",
                t.Dinov2WithRegistersModel,
                t.Dinov2WithRegistersConfig(num_register_tokens=3, **dinov2),
                "hf-dinov2",
                {"registers": 3},
            ),
            ("DINOv3", t.DINOv3ViTModel, t.DINOv3ViTConfig(**dinov3), "hf-dinov3", {"qkv_bias": 1}),
            (
                "DINOv3 without registers",
                t.DINOv3ViTModel,
                t.DINOv3ViTConfig(**{**dinov3, "num_register_tokens": 0}),
                "hf-dinov3",
                {"registers": 0},
            ),
            (
                "DINOv3, gated",
                t.DINOv3ViTModel,
                t.DINOv3ViTConfig(**dinov3, use_gated_mlp=True, hidden_act="silu"),
                "hf-dinov3",
                {"mlp": 1, "position_embedding": 1},
            ),
        ):
            with self.subTest(label=label):
                network = kind(configuration)
                randomise(network)
                network.eval()
                network.save_pretrained(self.folder)
                path = self.folder / "model.safetensors"
                info = cribo.weights_info(path)
                self.assertEqual((info.layout, info.assumed), (layout, ""))
                with cribo.Model.open(path) as model:
                    for setting, value in {**SMALL, "heads": 4, **expected}.items():
                        self.assertEqual(model.settings[setting], value, setting)
                    self.check_features(model, network, hugging_face_features, model.settings["registers"])
                    harmless = [
                        name for name in read_safetensors(path) if "mask_token" in name or "pooler" in name
                    ]
                    self.check_round_trip(model, path, layout, harmless)

    def own_file(self, **settings):
        path = self.folder / "own.safetensors"
        model = cribo.Model(
            image_size=32, patch_size=8, prototypes=0, object_prototypes=0, **SMALL, **settings
        )
        model.export(path, "dino")
        return model, path, read_safetensors(path)

    def test_every_type_of_number_is_read(self):
        model, path, tensors = self.own_file()
        for kind in (np.float16, np.float64):
            write_safetensors(path, {name: array.astype(kind) for name, array in tensors.items()})
            with cribo.Model.open(path) as opened:
                for name, values in opened.state_dict().items():
                    expected = model.read(name).astype(kind).astype(np.float32)
                    self.assertEqual(values.tobytes(), expected.tobytes(), name)
        model.close()

    def test_a_tensor_that_would_change_the_features_is_named(self):
        model, path, tensors = self.own_file()
        width = np.ones(128, np.float32)
        for name in (
            "blocks.1.attn.q_norm.weight",
            "norm_pre.weight",
            "blocks.1.ls1.gamma",
            "blocks.7.norm1.weight",
        ):
            write_safetensors(path, {**tensors, name: width})
            with self.assertRaisesRegex(cribo.InvalidArgument, name):
                cribo.Model.open(path)
            with self.assertRaisesRegex(cribo.InvalidArgument, name):
                model.load(path, heads=False, plain_names=True)
        write_safetensors(
            path, {**tensors, "mask_token": width, "head.weight": np.ones((9, 128), np.float32)}
        )
        cribo.Model.open(path).close()
        model.close()

    def test_a_tensor_that_is_missing_or_misshapen_is_named(self):
        model, path, tensors = self.own_file(layer_scale=0.1)
        for name, other in (
            ("blocks.1.ls2.gamma", None),
            ("blocks.1.mlp.fc2.weight", np.ones((128, 511), np.float32)),
            ("norm.bias", np.ones(127, np.float32)),
        ):
            broken = dict(tensors)
            del broken[name]
            if other is not None:
                broken[name] = other
            write_safetensors(path, broken)
            with self.assertRaisesRegex(cribo.InvalidArgument, name):
                cribo.Model.open(path)
        model.close()

    def test_own_files_open_by_themselves(self):
        path = self.folder / "model.safetensors"
        settings = {"heads": 4, "norm_epsilon": 1e-4, "registers": 2, "layer_scale": 0.5, "prototypes": 8}
        with cribo.Model(
            **{**SMALL, "image_size": 32, "patch_size": 8, "object_prototypes": 9, **settings}
        ) as model:
            model.save(path)
            with cribo.Model.open(path, with_heads=True) as opened:
                self.assertEqual(opened.settings, {**model.settings, "seed": opened.settings["seed"]})
                for name, values in model.state_dict().items():
                    self.assertEqual(values.tobytes(), opened.read(name).tobytes(), name)
            with cribo.Model.open(path) as opened:
                self.assertEqual(opened.settings["prototypes"], 0)
            self.assertEqual(cribo.weights_info(path).kind, "model 1")
            self.assertTrue(cribo.weights_info(path).heads)

    def test_every_layout_round_trips(self):
        for layout in cribo.layouts():
            rope = layout in ("dinov3", "timm-eva", "hf-dinov3")
            settings = {"position_embedding": "rope", "norm_epsilon": 1e-5} if rope else {}
            if layout not in ("hf-vit", "timm"):
                settings["layer_scale"] = 0.5
            if layout not in ("dino", "cribo", "hf-vit", "hf-dinov2"):
                settings["registers"] = 4
            with self.subTest(layout=layout):
                model, path, _ = self.own_file(**settings)
                model.export(path, layout)
                self.assertEqual(cribo.weights_info(path).layout, layout)
                with cribo.Model.open(path) as opened:
                    for name, values in model.state_dict().items():
                        self.assertEqual(values.tobytes(), opened.read(name).tobytes(), name)
                    self.check_round_trip(opened, path, layout)
                model.close()


if __name__ == "__main__":
    unittest.main()
