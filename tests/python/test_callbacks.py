"""Log and progress: their arguments, and the exceptions that they raise."""

import ctypes
import signal
import threading
import traceback
import unittest

import numpy as np
from support import cribo, small_batch, small_trainer


def state(trainer: cribo.Trainer) -> list:
    return [trainer.step_count(), trainer.memory_bank.count(), *trainer.student.state_dict().values()]


class Progress(unittest.TestCase):
    def assert_unchanged_by(self, trainer, error):
        before = state(trainer)
        try:
            trainer.step(small_batch())
            self.fail("the step went through")
        except error as raised:
            caught = raised
        for was, now in zip(before, state(trainer)):
            np.testing.assert_array_equal(was, now)
        return caught

    def test_progress_hears_of_every_phase(self):
        heard = []
        with small_trainer(progress=lambda phase, share: heard.append((phase, share))) as trainer:
            trainer.step(small_batch())
        self.assertTrue(all(0 <= share <= 1 for _, share in heard))
        self.assertGreaterEqual(len({phase for phase, _ in heard}), 2)

    def test_true_result_cancels(self):
        with small_trainer(progress=lambda phase, share: phase == "learn") as trainer:
            self.assert_unchanged_by(trainer, cribo.Cancelled)

    def test_exception_comes_home_and_changes_nothing(self):
        class Tired(Exception):
            pass

        def progress(phase, share):
            if phase == "learn" and tired:
                raise Tired(share)

        tired = True
        with small_trainer(progress=progress) as trainer, small_trainer() as other:
            raised = self.assert_unchanged_by(trainer, Tired)
            self.assertIn("progress", [frame.name for frame in traceback.extract_tb(raised.__traceback__)])
            tired = False
            self.assertEqual(trainer.step(small_batch()).loss, other.step(small_batch()).loss)

    def test_interrupt_ends_a_step_without_callbacks(self):
        # A shell's background commands begin with the signal ignored, and Python then leaves it so.
        self.addCleanup(
            signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)
        )
        with small_trainer() as trainer:
            interrupt = ctypes.pythonapi.PyErr_SetInterrupt
            trainer._hooks.progress = lambda phase, share: interrupt() and None
            self.assert_unchanged_by(trainer, KeyboardInterrupt)

    def test_callback_cannot_use_its_own_handle(self):
        with small_trainer(progress=lambda phase, share: trainer.close()) as trainer:
            self.assertRegex(str(self.assert_unchanged_by(trainer, cribo.WrongState)), "in use")
            trainer._hooks.progress = None

    def test_other_threads_are_refused_meanwhile(self):
        refused = []

        def other():
            try:
                trainer.student.features(np.zeros((1, 3, 32, 32), np.float32))
            except cribo.WrongState as error:
                refused.append(str(error))

        def progress(phase, share):
            if not refused:
                thread = threading.Thread(target=other)
                thread.start()
                thread.join()

        with small_trainer(progress=progress) as trainer:
            trainer.step(small_batch())
        self.assertRegex(refused[0], "in use")

    def test_two_trainers_in_two_threads_do_as_one_by_one(self):
        losses = {}

        def train(name):
            with small_trainer(threads=1) as trainer:
                losses[name] = [trainer.step(small_batch(seed)).loss for seed in range(5)]

        threads = [threading.Thread(target=train, args=(name,)) for name in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(losses[0], losses[1])


class Log(unittest.TestCase):
    def hooks(self, log):
        hooks = cribo.callbacks.Hooks(1, log, None)
        call = ctypes.cast(hooks.runtime.log, cribo.callbacks.LOG_CALLBACK)
        return hooks, call

    def test_log_gets_level_and_message(self):
        heard = []
        hooks, call = self.hooks(lambda level, message: heard.append((level, message)))
        call(None, cribo.LOG_WARNING, "naïve".encode())
        hooks.check(0)
        self.assertEqual(heard, [(cribo.LOG_WARNING, "naïve")])

    def test_collapse_is_logged(self):
        heard = []
        equal = np.ones((4, 3, 32, 32), np.float32)
        with small_trainer(log=lambda level, message: heard.append((level, message))) as trainer:
            for _ in range(25):
                trainer.step(small_batch(view1=equal, view2=equal))
        self.assertTrue(
            [message for level, message in heard if level == cribo.LOG_WARNING and "collapse" in message]
        )

    def test_exception_in_log_comes_home(self):
        def log(level, message):
            raise LookupError(message)

        hooks, call = self.hooks(log)
        call(None, cribo.LOG_INFO, b"one")
        call(None, cribo.LOG_INFO, b"two")
        self.assertEqual(hooks.on_progress(None, b"learn", 0.5), 1)
        with self.assertRaisesRegex(LookupError, "one"):
            hooks.check(0)
        hooks.check(0)


if __name__ == "__main__":
    unittest.main()
