"""The experiment's batches, and that its two sides train alike."""

import sys
import unittest

import numpy as np
from support import SOURCE

sys.path.insert(0, str(SOURCE / "examples" / "python"))

import experiment  # noqa: E402

try:
    import torch  # noqa: F401
except ImportError:
    torch = None


def pictures(count=8):
    """Pictures whose red grows to the right and whose green grows downwards, with noise in blue."""
    ramp = np.arange(64) * 4
    red, green = np.meshgrid(ramp, ramp)
    blue = np.random.default_rng(0).integers(0, 256, (count, 64, 64))
    plain = np.broadcast_to(np.stack([red, green], -1), (count, 64, 64, 2))
    return np.concatenate([plain, blue[..., None]], -1).astype(np.uint8)[:, None]


def patchwork(count):
    """Pictures of random squares, no two of which are alike."""
    coarse = np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)[:, None]


def flat(scenes, pictures):
    """Even pictures, brighter by 20 with each scene, and by 100 with each picture of a scene."""
    brightness = 20 * np.arange(scenes)[:, None] + 100 * np.arange(pictures)
    return np.broadcast_to(brightness[..., None, None, None], (scenes, pictures, 64, 64, 3)).astype(np.uint8)


class Backgrounds(unittest.TestCase):
    def test_calm_ones_keep_their_share_of_contrast_and_less_of_colour(self):
        pixels = np.random.default_rng(0).uniform(0, 255, (64, 64, 3))
        np.testing.assert_allclose(experiment.calm(pixels, 0), pixels)
        np.testing.assert_allclose(experiment.calm(pixels, 1), 128)
        found = experiment.calm(pixels, 0.7)
        self.assertAlmostEqual(found.mean(-1).std() / pixels.mean(-1).std(), 0.3)
        self.assertAlmostEqual(np.ptp(found, -1).mean() / np.ptp(pixels, -1).mean(), 0.09)


class Batches(unittest.TestCase):
    def test_are_functions_of_seed_and_step(self):
        first = experiment.batch_of(pictures(), 3, 5, 4, 6)
        again = experiment.batch_of(pictures(), 3, 5, 4, 6)
        other = experiment.batch_of(pictures(), 3, 6, 4, 6)
        for a, b, c in zip(first, again, other):
            np.testing.assert_array_equal(a, b)
            self.assertFalse(np.array_equal(a, c))
        self.assertEqual(first.seeds.shape, (4, 6))

    def test_patch_centres_are_where_the_pixels_come_from(self):
        """Red and green of an uncoloured view give the place."""
        self.addCleanup(setattr, experiment, "recolour", experiment.recolour)
        experiment.recolour = lambda view, random: view
        side = experiment.SIDE // experiment.PATCH
        for step in range(4):
            data = experiment.batch_of(pictures(), 1, step, 2, 6)
            for v in (0, 1):
                for view, centres in zip(data.views[v], data.positions[:, v]):
                    patches = view.reshape(3, side, experiment.PATCH, side, experiment.PATCH).mean((2, 4))
                    inner = np.s_[1:-1, 1:-1]
                    found = patches[:2].transpose(1, 2, 0)[inner] / 4
                    np.testing.assert_allclose(found, centres.reshape(side, side, 2)[inner], atol=0.4)

    def test_an_epoch_has_each_picture_once(self):
        seen = np.concatenate(self.brightness_of_views(flat(8, 1)), 1)
        for view in seen:
            self.assertEqual(sorted(view), [20 * i for i in range(8)])

    def test_each_view_has_its_own_picture_of_the_scene(self):
        for first, second in self.brightness_of_views(flat(8, 2)):
            np.testing.assert_array_equal(second, first + 100)

    def brightness_of_views(self, scenes):
        """Of an epoch of two steps: one number for each view [2, 4]."""
        self.addCleanup(setattr, experiment, "recolour", experiment.recolour)
        experiment.recolour = lambda view, random: view
        return [experiment.batch_of(scenes, 0, step, 4, 6).views[:, :, 0, 0, 0] for step in (0, 1)]


class Settings(unittest.TestCase):
    def test_a_loss_that_the_method_leaves_out_stays_out(self):
        changes = dict(cross_view_weight=0.5, cross_image_weight=0.25)
        weights = {
            method: [experiment.settings_of(method, 0, 40, changes)[name] for name in changes]
            for method in experiment.METHODS
        }
        self.assertEqual(weights, {"global": [0, 0], "views": [0.5, 0], "images": [0.5, 0.25]})


@unittest.skipUnless(torch, "needs PyTorch")
class Sides(unittest.TestCase):
    def agree(self, method):
        changes = dict(cross_image_steps=2, freeze_last_layer_steps=2, warmup_steps=3, batch_size=6)
        settings = experiment.settings_of(method, 0, 40, changes)
        ours, theirs = experiment.Ours(settings), experiment.theirs(settings)
        found = []
        for step in range(6):
            data = experiment.batch_of(patchwork(12), 0, step, 6, int(settings["clusters"]))
            found.append(ours.step(data))
            np.testing.assert_allclose(theirs.step(data), found[-1], rtol=2e-4, atol=1e-6)
        a, b = ours.teacher_model().state_dict(), theirs.teacher_model().state_dict()
        for name, value in a.items():
            np.testing.assert_allclose(b[name], value, atol=2e-4, err_msg=name)
        return np.array(found)

    def test_train_alike_by_all_losses(self):
        losses = self.agree("images")
        self.assertTrue((losses[:, :2] > 0).all() and (losses[:2, 2] == 0).all() and (losses[2:, 2] > 0).any())

    def test_train_alike_without_neighbours(self):
        losses = self.agree("views")
        self.assertTrue((losses[:, :2] > 0).all() and (losses[:, 2] == 0).all())

    def test_train_alike_by_the_global_loss(self):
        losses = self.agree("global")
        self.assertTrue((losses[:, 0] > 0).all() and (losses[:, 1:] == 0).all())


if __name__ == "__main__":
    unittest.main()
