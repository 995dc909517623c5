"""Real signals during calls of the library: each handler runs once, and no exception of a handler is lost."""

import os
import signal
import threading
import time
import unittest

from support import cribo, small_batch, small_trainer

TRIALS = 12


class Signals(unittest.TestCase):
    def handle(self, number, handler):
        """Installs a handler for the test. A shell's background jobs begin with SIGINT ignored."""
        self.addCleanup(signal.signal, number, signal.signal(number, handler))

    def interrupted(self, call, number=signal.SIGINT, delay=0.02) -> BaseException:
        """The exception of repeated calls during which this process gets a signal."""
        sender = threading.Timer(delay, os.kill, (os.getpid(), number))
        end = time.monotonic() + 30
        try:
            sender.start()
            while time.monotonic() < end:
                call()
        except BaseException as error:
            return error
        finally:
            sender.join()
        return self.fail("no exception came")

    def test_interrupt_arrives_as_keyboard_interrupt(self):
        self.handle(signal.SIGINT, signal.default_int_handler)
        batch = small_batch()
        with small_trainer() as trainer:
            for trial in range(TRIALS):
                error = self.interrupted(lambda: trainer.step(batch), delay=0.01 + 0.003 * trial)
                self.assertIs(type(error), KeyboardInterrupt)
            trainer.step(batch)

    def test_interrupt_within_the_program_s_callbacks_arrives(self):
        self.handle(signal.SIGINT, signal.default_int_handler)
        batch = small_batch()
        with small_trainer(progress=lambda phase, share: time.sleep(0.002)) as trainer:
            for trial in range(TRIALS):
                error = self.interrupted(lambda: trainer.step(batch), delay=0.01 + 0.003 * trial)
                self.assertIs(type(error), KeyboardInterrupt)

    def test_interrupted_step_changes_nothing(self):
        self.handle(signal.SIGINT, signal.default_int_handler)
        batch = small_batch()
        with small_trainer() as trainer, small_trainer() as other:
            self.interrupted(lambda: trainer.step(batch))
            for _ in range(trainer.step_count()):
                other.step(batch)
            self.assertEqual(trainer.step(batch).loss, other.step(batch).loss)

    def test_creation_is_interrupted_too(self):
        self.handle(signal.SIGINT, signal.default_int_handler)
        error = self.interrupted(lambda: small_trainer().close())
        self.assertIs(type(error), KeyboardInterrupt)

    def test_other_signals_raise_their_handlers_exceptions(self):
        class TimeIsUp(Exception):
            pass

        def handler(number, frame):
            raise TimeIsUp

        self.handle(signal.SIGALRM, handler)
        batch = small_batch()
        with small_trainer() as trainer:
            for _ in range(TRIALS):
                error = self.interrupted(lambda: trainer.step(batch), signal.SIGALRM)
                self.assertIs(type(error), TimeIsUp)

    def test_handler_without_exception_lets_the_call_go_on(self):
        seen = []
        self.handle(signal.SIGINT, lambda number, frame: seen.append(number))
        batch = small_batch()
        with small_trainer() as trainer, small_trainer() as other:
            sender = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
            sender.start()
            while not seen:
                trainer.step(batch)
            sender.join()
            for _ in range(trainer.step_count()):
                other.step(batch)
            self.assertEqual(trainer.step(batch).loss, other.step(batch).loss)
        self.assertEqual(seen, [signal.SIGINT])

    def test_handlers_are_those_of_before(self):
        self.handle(signal.SIGINT, signal.default_int_handler)
        self.handle(signal.SIGUSR1, signal.SIG_IGN)
        with small_trainer() as trainer:
            trainer.step(small_batch())
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
        self.assertIs(signal.getsignal(signal.SIGUSR1), signal.SIG_IGN)

    def test_handler_may_install_another_one(self):
        def first(number, frame):
            signal.signal(signal.SIGINT, second)

        def second(number, frame):
            raise AssertionError("one signal came")

        self.handle(signal.SIGINT, first)
        progress = [lambda: os.kill(os.getpid(), signal.SIGINT)]
        with small_trainer(progress=lambda phase, share: progress and progress.pop()()) as trainer:
            trainer.step(small_batch())
        self.assertIs(signal.getsignal(signal.SIGINT), second)

    def test_call_of_another_thread_is_left_alone(self):
        self.handle(signal.SIGINT, signal.default_int_handler)
        losses = []

        def train():
            with small_trainer() as trainer:
                losses.extend(trainer.step(small_batch()).loss for _ in range(5))

        thread = threading.Thread(target=train)
        thread.start()
        with self.assertRaises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        thread.join()
        self.assertEqual(len(losses), 5)


class Order(unittest.TestCase):
    """The replacement of handlers by itself."""

    def setUp(self):
        self.signals = cribo.callbacks.Signals()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            self.addCleanup(signal.signal, number, signal.signal(number, self.record))
        self.seen = []

    def record(self, number, frame):
        self.seen.append(number)
        if number == signal.SIGTERM:
            raise SystemExit

    def test_signals_are_kept_until_exceptions_are_caught(self):
        self.signals.replace()
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        self.assertEqual(self.seen, [])
        self.signals.restore()
        with self.assertRaises(SystemExit):
            self.signals.run_kept()
        self.assertEqual(sorted(self.seen), [signal.SIGUSR1, signal.SIGTERM])  # each once

    def test_exception_ends_the_time_in_which_handlers_run_at_once(self):
        self.signals.replace()
        self.addCleanup(self.signals.restore)
        self.signals.caught = True
        os.kill(os.getpid(), signal.SIGUSR1)
        self.assertTrue(self.signals.caught)
        with self.assertRaises(SystemExit):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        self.assertEqual(self.seen, [signal.SIGUSR1, signal.SIGTERM])
        self.assertFalse(self.signals.caught)


if __name__ == "__main__":
    unittest.main()
