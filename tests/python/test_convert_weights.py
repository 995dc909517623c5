"""Weights between files and layouts, and runs of the authors' code."""

import argparse
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

import numpy as np
from support import SMALL, SOURCE, cribo, small_batch, small_trainer

try:
    import convert_weights
    import safetensors.torch
    import test_peers
    import torch
    from weights import files, layouts
except ImportError:
    raise unittest.SkipTest("needs PyTorch and safetensors") from None

PROGRAM = [sys.executable, str(SOURCE / "examples" / "python" / "convert_weights.py")]


def vision_transformer():
    """timm's vit_small_patch16_224, if timm is there."""
    if test_peers.timm is None:
        raise unittest.SkipTest("needs timm")
    return test_peers.timm.create_model("vit_small_patch16_224", num_classes=0).eval()


def hugging_face():
    """transformers, if it is there."""
    if test_peers.transformers is None:
        raise unittest.SkipTest("needs transformers")
    test_peers.transformers.logging.set_verbosity_error()
    test_peers.transformers.logging.disable_progress_bar()
    return test_peers.transformers


class Loss(torch.nn.Module):
    """The state that the authors' loss has."""

    def __init__(self, centre, object_centre):
        super().__init__()
        self.register_buffer("center", torch.from_numpy(centre)[None])
        self.register_buffer("center_c", torch.from_numpy(object_centre)[None])


def optimiser_of(trainer: cribo.Trainer) -> torch.optim.AdamW:
    """A trainer's optimiser as the authors' code has it: two groups, rates that are NumPy's numbers, and no
    state of tensors that were frozen."""
    decayed, others = [], []
    for name, shape in trainer.student.parameters().items():
        if trainer.settings["normed_last_layer"] and "last_layer" in name and name.endswith("_g"):
            continue
        parameter = torch.nn.Parameter(torch.from_numpy(trainer.student.read(name)))
        (others if name.endswith(".bias") or len(shape) == 1 else decayed).append((name, parameter))
    groups = [{"params": [p for _, p in group]} for group in (decayed, others)]
    optimiser = torch.optim.AdamW([groups[0], {**groups[1], "weight_decay": 0.0}])
    for group in optimiser.param_groups:
        group["lr"] = np.linspace(1e-4, 1e-5, 5)[1]
    optimiser.param_groups[0]["weight_decay"] = np.float64(0.04)
    for name, parameter in decayed + others:
        first, second, updates = trainer.moments(name)
        if updates:
            optimiser.state[parameter] = {
                "step": torch.tensor(float(updates)),
                "exp_avg": torch.from_numpy(first),
                "exp_avg_sq": torch.from_numpy(second),
            }
    return optimiser


def arguments_of(settings: dict) -> argparse.Namespace:
    """The command line of a run with these settings."""
    return argparse.Namespace(
        arch="vit_tiny", patch_size=settings["patch_size"], out_dim=settings["prototypes"],
        out_dim_c=settings["object_prototypes"], norm_last_layer=bool(settings["normed_last_layer"]),
        momentum_teacher=settings["ema_momentum"], use_bn_in_head=False, use_fp16=True,
        warmup_teacher_temp=settings["teacher_temperature_start"],
        teacher_temp=settings["teacher_temperature"],
        warmup_teacher_temp_c=settings["object_teacher_temperature_start"],
        teacher_temp_c=settings["object_teacher_temperature"], student_temp=1.0,
        student_temp_c=settings["object_student_temperature"],
        warmup_teacher_temp_epochs=settings["teacher_temperature_epochs"], optimizer="adamw",
        weight_decay=settings["weight_decay"], weight_decay_end=settings["weight_decay_final"],
        clip_grad=settings["clip_norm"], batch_size_per_gpu=settings["batch_size"], world_size=1, gpu=0,
        epochs=settings["epochs"], freeze_last_layer=settings["freeze_last_layer_epochs"],
        lr=settings["learning_rate"], min_lr=settings["learning_rate_final"],
        warmup_epochs=settings["warmup_epochs"], drop_path_rate=settings["drop_path"],
        sinkhorn_lambda=settings["sinkhorn_lambda"], sinkhorn_iterations=settings["sinkhorn_iterations"],
        pos_alpha=[settings["position_weight_final"], settings["position_weight"]],
        n_tokens=settings["clusters"], queue_size=settings["bank_images"],
        n_iter=settings["cluster_iterations"],
        update_c=True, seed=settings["seed"], output_dir=Path("."), global_crops_scale=(0.25, 1.0),
    )  # fmt: skip


def authors_checkpoint(trainer: cribo.Trainer, epoch: int) -> dict:
    """The dictionary that the authors' loop would save for a trainer's state at the end of an epoch."""
    student, teacher = (
        {n: torch.from_numpy(v) for n, v in m.state_dict().items()}
        for m in (trainer.student, trainer.teacher)
    )
    bank, images = trainer.memory_bank.export(), trainer.settings["bank_images"]
    objects = torch.rand(2, images * trainer.settings["clusters"], trainer.settings["width"])
    objects[:, : len(bank.view1)] = torch.from_numpy(np.stack([bank.view1, bank.view2]))
    return {
        "student": {f"module.{name}": values for name, values in student.items()},
        "teacher": teacher,
        "optimizer": optimiser_of(trainer).state_dict(),
        "epoch": epoch,
        "args": arguments_of(trainer.settings),
        "dino_loss": Loss(*trainer.centres()).state_dict(),
        "centroids_queue_cpu": objects,
        "cls_queue_cpu": torch.rand(2, images, trainer.settings["width"]),
        "cpv_queue_cpu": torch.from_numpy(bank.objects_per_image).to(torch.int32),
        "fp16_scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 3},
    }


class Temporary(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


class Runs(Temporary):
    """Checkpoints of the authors' loop."""

    def trained(self, steps=6, **settings):
        chosen = {"batch_cost": 1, "authors_normalisation": 1, "clip_per_tensor": 1, "clip_norm": 0.5,
                  "steps_per_epoch": 3, "epochs": 5, "cross_image_epochs": 1, "bank_images": 8,
                  "position_weight": 2.0, **settings}  # fmt: skip
        trainer = small_trainer(**chosen)
        self.addCleanup(trainer.close)
        for step in range(steps):
            trainer.step(small_batch(step))
        return trainer

    def continued(self, trainer, epoch):
        source, target = self.folder / "checkpoint.pth", self.folder / "run.checkpoint"
        torch.save(authors_checkpoint(trainer, epoch), source)
        convert_weights.convert_run(source, target)
        other = cribo.Trainer(**cribo.checkpoint_settings(target))
        self.addCleanup(other.close)
        other.load(target)
        return other

    def test_run_is_continued_with_the_same_bits(self):
        for settings in ({}, {"normed_last_layer": 1, "freeze_last_layer_epochs": 3}):
            with self.subTest(settings):
                trainer = self.trained(**settings)
                other = self.continued(trainer, 2)
                for name in trainer.student.parameters():
                    for ours, theirs in zip(trainer.moments(name), other.moments(name)):
                        np.testing.assert_array_equal(ours, theirs, name)
                self.assertEqual(other.step_count(), 6)
                for step in range(6, 9):
                    ours, theirs = trainer.step(small_batch(step)), other.step(small_batch(step))
                    self.assertEqual(ours.loss, theirs.loss)
                    self.assertGreater(ours.cross_image_on, 0)
                for name, values in trainer.teacher.state_dict().items():
                    np.testing.assert_array_equal(values, other.teacher.read(name), name)

    def test_numbers_of_an_older_numpy_are_read(self):
        source = self.folder / "checkpoint.pth"
        torch.save(authors_checkpoint(self.trained(3), 1), source)
        with zipfile.ZipFile(source) as archive:
            parts = {info: archive.read(info) for info in archive.infolist()}
        with zipfile.ZipFile(source, "w") as archive:
            for info, content in parts.items():
                archive.writestr(info, content.replace(b"numpy._core.", b"numpy.core."))
        self.assertIn(b"numpy.core.multiarray", source.read_bytes())
        rate = files.read(source)["optimizer"]["param_groups"][0]["lr"]
        self.assertEqual(rate, np.linspace(1e-4, 1e-5, 5)[1])

    def test_missing_parts_are_named(self):
        checkpoint = authors_checkpoint(self.trained(3), 1)
        del checkpoint["cpv_queue_cpu"], checkpoint["optimizer"]
        torch.save(checkpoint, self.folder / "a.pth")
        with self.assertRaisesRegex(ValueError, "needs optimizer, cpv_queue_cpu, which"):
            convert_weights.convert_run(self.folder / "a.pth", self.folder / "b")

    def test_another_optimiser_is_refused(self):
        checkpoint = authors_checkpoint(self.trained(3), 1)
        checkpoint["optimizer"]["param_groups"][1]["params"].pop()
        torch.save(checkpoint, self.folder / "a.pth")
        with self.assertRaisesRegex(ValueError, "the optimiser has .* parameters, but the student"):
            convert_weights.convert_run(self.folder / "a.pth", self.folder / "b")

    def test_weights_are_loaded_by_the_library(self):
        trainer = self.trained(3)
        source, target = self.folder / "checkpoint.pth", self.folder / "weights.safetensors"
        torch.save(authors_checkpoint(trainer, 1), source)
        convert_weights.convert(source, target)
        with cribo.Model(**SMALL) as model:
            for network, expected in (("student.", trainer.student), ("teacher.", trainer.teacher)):
                model.load(target, network)
                for name, values in expected.state_dict().items():
                    np.testing.assert_array_equal(model.read(name), values, name)
        weights = {n.removeprefix("teacher."): v for n, v in safetensors.torch.load_file(target).items()}
        self.assertEqual({**convert_weights.settings_of(weights), "heads": 3}, {**SMALL, "mlp_ratio": 4})

    def test_code_in_a_checkpoint_is_not_executed(self):
        class Malicious:
            def __reduce__(self):
                return print, ("executed",)

        torch.save({"teacher": {}, "extra": Malicious()}, self.folder / "bad.pth")
        with self.assertRaisesRegex(Exception, "[Ww]eights.only"):
            convert_weights.convert(self.folder / "bad.pth", self.folder / "out")


class Files(Temporary):
    """Kinds of files."""

    def network(self) -> dict:
        with cribo.Model(**SMALL) as model:
            return {name: torch.randn(shape) for name, shape in model.parameters().items()}

    def assert_same(self, found, expected):
        self.assertEqual(set(found), set(expected))
        for name, values in expected.items():
            self.assertTrue(torch.equal(found[name], values), name)

    def test_bare_state_dicts_are_read(self):
        network = self.network()
        backbone = {n.removeprefix("backbone."): v for n, v in network.items() if n.startswith("backbone.")}
        more = {"head.weight": torch.randn(10, 48), "mask_token": torch.randn(1, 48)}
        source, target = self.folder / "hub.pth", self.folder / "weights.safetensors"
        for content in (
            {**backbone, **more},
            {"state_dict": {f"module.{name}": values for name, values in backbone.items()}},
            {
                "model": {f"_orig_mod.backbone.{name}": values for name, values in backbone.items()},
                "epoch": 7,
            },
        ):
            torch.save(content, source)
            convert_weights.convert(source, target)
            self.assert_same(safetensors.torch.load_file(target), backbone)
            with cribo.Model(**SMALL) as model:
                model.load(target, heads=False, plain_names=True)

    def test_dino_s_checkpoint_is_read(self):
        network = {n: v for n, v in self.network().items() if "last_layer_c" not in n}
        checkpoint = {
            "student": {f"module.{name}": values for name, values in network.items()},
            "teacher": network,
            "optimizer": {"state": {}, "param_groups": [{"lr": np.float64(0.1), "params": []}]},
            "epoch": 100,
            "args": argparse.Namespace(arch="vit_small", patch_size=8),
            "dino_loss": {"center": torch.zeros(1, 40)},
        }
        source, target = self.folder / "dino.pth", self.folder / "weights.safetensors"
        torch.save(checkpoint, source)
        convert_weights.convert(source, target)
        with cribo.Model(**{**SMALL, "prototypes": 0, "object_prototypes": 0}) as model:
            model.load(target, "teacher.")
            self.assert_same(
                {n: torch.from_numpy(v) for n, v in model.state_dict().items()},
                {n: v for n, v in network.items() if n.startswith("backbone.")},
            )

    def test_half_precision_is_widened(self):
        network = {name: values.half() for name, values in self.network().items()}
        torch.save({"teacher": network}, self.folder / "a.pth")
        convert_weights.convert(self.folder / "a.pth", self.folder / "b.safetensors", "cribo")
        found = safetensors.torch.load_file(self.folder / "b.safetensors")
        self.assert_same(found, {f"teacher.{name}": values.float() for name, values in network.items()})

    def test_library_s_checkpoint_is_read(self):
        with small_trainer() as trainer:
            trainer.step(small_batch())
            trainer.save(self.folder / "run.checkpoint")
            trainer.save_weights(self.folder / "weights.safetensors")
        for name in ("run.checkpoint", "weights.safetensors"):
            convert_weights.convert(self.folder / name, self.folder / f"{name}.pth", "authors")
        one, other = (
            torch.load(self.folder / f"{name}.pth", weights_only=True)
            for name in ("run.checkpoint", "weights.safetensors")
        )
        self.assertTrue(all(name.startswith("module.") for name in one["student"]))
        for network in ("student", "teacher"):
            self.assert_same(one[network], other[network])
        convert_weights.convert(self.folder / "run.checkpoint.pth", self.folder / "back.safetensors", "cribo")
        back = safetensors.torch.load_file(self.folder / "back.safetensors")
        self.assert_same(back, safetensors.torch.load_file(self.folder / "weights.safetensors"))

    def test_written_files_say_that_they_are_pytorch_s(self):
        torch.save({"teacher": self.network()}, self.folder / "a.pth")
        convert_weights.convert(self.folder / "a.pth", self.folder / "b.safetensors", "timm")
        with safetensors.safe_open(self.folder / "b.safetensors", "pt") as file:
            self.assertEqual(file.metadata(), {"format": "pt"})

    def test_unknown_tensors_are_named(self):
        weights = {"cls_token": torch.zeros(1, 1, 8), "blocks.0.attn.q_norm.weight": torch.zeros(8)}
        torch.save(weights, self.folder / "a.pth")
        with self.assertRaisesRegex(ValueError, r"1 tensors .*: blocks\.0\.attn\.q_norm\.weight$"):
            convert_weights.convert(self.folder / "a.pth", self.folder / "b")
        torch.save({"conv.weight": torch.zeros(1)}, self.folder / "a.pth")
        with self.assertRaisesRegex(ValueError, "no cls_token in it, only conv.weight"):
            convert_weights.convert(self.folder / "a.pth", self.folder / "b")

    def test_command_line_converts_and_explains(self):
        torch.save({"teacher": self.network()}, self.folder / "a.pth")
        arguments = ["a.pth", "vit.safetensors", "--layout", "timm"]
        subprocess.run([*PROGRAM, *arguments], check=True, cwd=self.folder)
        self.assertIn("cls_token", safetensors.torch.load_file(self.folder / "vit.safetensors"))
        arguments = ["a.pth", "b", "--layout", "hub", "--network", "student"]
        refused = subprocess.run([*PROGRAM, *arguments], cwd=self.folder, capture_output=True, text=True)
        self.assertEqual(refused.returncode, 1)
        self.assertRegex(
            refused.stderr, "^convert_weights: a.pth: there is no student in the file, only teacher"
        )


def family(**choices) -> dict:
    """A backbone of two blocks under the library's names; docs/backbones.md lists them."""
    random = torch.Generator().manual_seed(0)
    shapes = {"cls_token": (1, 1, 16),
              "patch_embed.proj.weight": (16, 3, 4, 4), "patch_embed.proj.bias": (16,),
              "norm.weight": (16,), "norm.bias": (16,)}  # fmt: skip
    if not choices.get("rope"):
        shapes["pos_embed"] = (1, 17, 16)
    if choices.get("registers"):
        shapes["register_tokens"] = (1, 4, 16)
    for i in range(2):
        parts = {"norm1.weight": (16,), "norm1.bias": (16,), "norm2.weight": (16,), "norm2.bias": (16,),
                 "attn.qkv.weight": (48, 16), "attn.qkv.bias": (48,), "attn.proj.weight": (16, 16),
                 "attn.proj.bias": (16,)}  # fmt: skip
        if choices.get("scale"):
            parts.update({"ls1.gamma": (16,), "ls2.gamma": (16,)})
        if choices.get("gate"):
            parts.update(
                {
                    "mlp.w12.weight": (96, 16),
                    "mlp.w12.bias": (96,),
                    "mlp.w3.weight": (16, 48),
                    "mlp.w3.bias": (16,),
                }
            )
        else:
            parts.update(
                {
                    "mlp.fc1.weight": (64, 16),
                    "mlp.fc1.bias": (64,),
                    "mlp.fc2.weight": (16, 64),
                    "mlp.fc2.bias": (16,),
                }
            )
        shapes.update({f"blocks.{i}.{name}": shape for name, shape in parts.items()})
    weights = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    if choices.get("rope"):
        for i in range(2):
            weights[f"blocks.{i}.attn.qkv.bias"][16:32] = 0
    return weights


class Layouts(Temporary):
    FAMILIES = {
        "hub": ({}, {"scale": 1, "registers": 1}, {"scale": 1, "gate": 1}),
        "timm": ({}, {"scale": 1, "registers": 1}, {"scale": 1, "gate": 1}),
        "dinov3": ({"rope": 1, "scale": 1, "registers": 1},
                   {"rope": 1, "scale": 1, "registers": 1, "gate": 1}),
        "huggingface": ({}, {"scale": 1, "registers": 1}, {"scale": 1, "gate": 1},
                        {"rope": 1, "scale": 1, "registers": 1}, {"rope": 1, "scale": 1, "gate": 1}),
    }  # fmt: skip

    def test_every_layout_and_back_is_the_same(self):
        source, target, back = (self.folder / name for name in ("a.safetensors", "b.pth", "c.safetensors"))
        for layout, families in self.FAMILIES.items():
            for choices in families:
                with self.subTest(layout, **choices):
                    weights = family(**choices)
                    safetensors.torch.save_file(weights, source)
                    convert_weights.convert(source, target, layout)
                    convert_weights.convert(target, back, "cribo")
                    found = safetensors.torch.load_file(back)
                    self.assertEqual(set(found), {f"backbone.{name}" for name in weights})
                    for name, values in weights.items():
                        self.assertTrue(torch.equal(found[f"backbone.{name}"], values), name)

    def test_bias_mask_of_dinov3_is_applied(self):
        weights = layouts.from_library(family(rope=1, scale=1), "dinov3")
        expected = {name: values.clone() for name, values in layouts.to_library(weights).items()}
        for i in range(2):
            weights[f"blocks.{i}.attn.qkv.bias_mask"] = torch.ones(48)
            weights[f"blocks.{i}.attn.qkv.bias_mask"][16:32] = torch.nan
            weights[f"blocks.{i}.attn.qkv.bias"][16:32] = 7
        found = layouts.to_library(weights)
        for name, values in expected.items():
            self.assertTrue(torch.equal(found[name], values), name)

    def test_layout_without_a_place_is_refused(self):
        with self.assertRaisesRegex(ValueError, "huggingface-dinov3 has no place for pos_embed"):
            layouts.from_library(family(scale=1), "huggingface-dinov3")

    def test_hugging_face_s_modules_take_the_names(self):
        transformers = hugging_face()
        sizes = {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 4,
        }
        sizes["intermediate_size"] = 64
        for kind, choices, more in (
            ("ViT", {}, {}),
            ("Dinov2", {"scale": 1}, {}),
            ("Dinov2WithRegisters", {"scale": 1, "registers": 1}, {}),
            ("Dinov2", {"scale": 1, "gate": 1}, {"use_swiglu_ffn": True}),
            ("DINOv3ViT", {"rope": 1, "scale": 1, "registers": 1}, {"num_register_tokens": 4}),
        ):
            with self.subTest(kind, **choices):
                config = getattr(transformers, f"{kind}Config")(**sizes, **more)
                source = self.folder / "a.safetensors"
                safetensors.torch.save_file(family(**choices), source)
                target = self.folder / "model.safetensors"
                convert_weights.convert(source, target, "huggingface")
                config.save_pretrained(self.folder)
                _, found = getattr(transformers, f"{kind}Model").from_pretrained(
                    self.folder, output_loading_info=True
                )
                self.assertEqual(set(found["unexpected_keys"]), set())
                self.assertEqual(set(found["mismatched_keys"]), set())
                self.assertLessEqual(
                    {name for name in found["missing_keys"] if not name.startswith("pooler.")},
                    {"embeddings.mask_token"},
                )

    def test_hugging_face_s_files_are_read(self):
        transformers = hugging_face()
        config = transformers.Dinov2Config(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4
        )
        network = transformers.Dinov2Model(config).eval()
        network.save_pretrained(self.folder)
        convert_weights.convert(self.folder / "model.safetensors", self.folder / "b.safetensors", "cribo")
        found = safetensors.torch.load_file(self.folder / "b.safetensors")
        self.assertEqual(set(found), {f"backbone.{name}" for name in family(scale=1)})


def write_graph(path: Path, weights: dict) -> None:
    """An ONNX graph with Hugging Face's weights, as an exporter writes it: transposed weights and positions
    have names without a meaning. A decoder is in it as well."""
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError:
        raise unittest.SkipTest("needs onnx") from None
    tensors, nodes = [], []

    def node(operator, name, values, operand):
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(values), operand))
        nodes.append(helper.make_node(operator, ["x", operand], [name], name=f"/{name}"))

    for number, (name, values) in enumerate(weights.items()):
        module = "backbone/" + "/".join(name.split(".")[:-1]).replace("layer/", "layer.")
        if name.endswith("position_embeddings"):
            node("Concat", module + "/Concat", values[:, :1].numpy(), "onnx::Concat_1")
            node("Reshape", module + "/Reshape", values[:, 1:].numpy(), "onnx::Reshape_2")
        elif name.endswith(".weight") and values.ndim == 2:
            node("MatMul", module + "/MatMul", values.T.numpy(), f"onnx::MatMul_{number}")
        else:
            node("Add", module + "/Add", values.numpy(), "backbone." + name)
    node("Conv", "decoder/conv/Conv", np.zeros((1, 1), np.float32), "decoder.conv.weight")
    onnx.save(helper.make_model(helper.make_graph(nodes, "graph", [], [], tensors)), path)


class Onnx(Temporary):
    def test_parameters_are_found_through_the_nodes(self):
        weights = layouts.from_library(family(scale=1), "huggingface-dinov2")
        path = self.folder / "model.onnx"
        write_graph(path, weights)
        convert_weights.convert(path, self.folder / "b.safetensors")
        found = safetensors.torch.load_file(self.folder / "b.safetensors")
        self.assertEqual(set(found), set(weights))
        for name, values in weights.items():
            self.assertTrue(torch.equal(found[name], values), name)


class Timm(Temporary):
    def test_timm_gives_the_same_features(self):
        network = vision_transformer()
        weights = self.folder / "weights.safetensors"
        pixels = torch.randn(2, 3, 224, 224)
        with cribo.Model(prototypes=0, object_prototypes=0, seed=3) as model, torch.no_grad():
            model.save(weights)
            found = model.features(pixels)
            convert_weights.convert(weights, self.folder / "vit.pth", "timm")
            network.load_state_dict(torch.load(self.folder / "vit.pth", weights_only=True))
            tokens = network.forward_features(pixels)
        np.testing.assert_allclose(found.cls, tokens[:, 0].numpy(), rtol=0, atol=1e-4)
        np.testing.assert_allclose(found.dense, tokens[:, 1:].numpy(), rtol=0, atol=1e-4)


if __name__ == "__main__":
    unittest.main()
