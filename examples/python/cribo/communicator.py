"""Communicators: several processes, or threads of one, that train as one (docs/distributed.md)."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .arrays import natural
from .library import check, native, new

SEND = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_int64),
)
TEST = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
CANCEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


class Communicator:
    """Connects this rank with the others; give it to a Trainer or an Objective.

    A subclass moves bytes between two ranks: `send` and `receive` start a transfer of an array of uint8 and
    return a request, `ended` says whether it has ended, `cancel` gives it up. None of them waits. Transfers
    between two ranks in one direction arrive in the order in which they were started. An exception in one
    of them makes the trainer's call fail; `raised` then has it."""

    def __init__(self, rank: int, size: int, deadline: float = 0):
        self.rank, self.size, self.deadline = natural("rank", rank), natural("size", size), float(deadline)
        self.raised: BaseException | None = None
        self._requests: dict[int, Any] = {}
        self._next = 0
        self._callbacks = (
            SEND(lambda _user, peer, data, n, request: self._start(self.send, peer, data, n, request)),
            SEND(lambda _user, peer, data, n, request: self._start(self.receive, peer, data, n, request)),
            TEST(self._test),
            CANCEL(self._cancel),
        )

    def send(self, peer: int, data: np.ndarray) -> Any:
        """Starts to send the bytes, which stay unchanged until the request has ended."""
        raise NotImplementedError

    def receive(self, peer: int, data: np.ndarray) -> Any:
        """Starts to receive bytes into the array."""
        raise NotImplementedError

    def ended(self, request: Any) -> bool:
        """Whether the request has ended."""
        raise NotImplementedError

    def cancel(self, request: Any) -> None:
        """Gives a request up."""

    def struct(self) -> Any:
        """The C struct, which refers to this object."""
        send, receive, test, cancel = (ctypes.cast(callback, ctypes.c_void_p) for callback in self._callbacks)
        return new(
            "cribo_communicator",
            rank=self.rank,
            size=self.size,
            deadline=self.deadline,
            send=send,
            receive=receive,
            test=test,
            cancel=cancel,
        )

    def _start(
        self, start: Callable[[int, np.ndarray], Any], peer: int, address: int, count: int, request: Any
    ) -> int:
        try:
            data = np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address))
            self._next += 1
            self._requests[self._next] = start(peer, data)
            request[0] = self._next
        except BaseException as error:
            self.raised = error
            return 1
        return 0

    def _test(self, _user: Any, number: int) -> int:
        try:
            if not self.ended(self._requests[number]):
                return 0
        except BaseException as error:
            self.raised = error
            del self._requests[number]
            return -1
        del self._requests[number]
        return 1

    def _cancel(self, _user: Any, number: int) -> None:
        try:
            self.cancel(self._requests.pop(number))
        except BaseException as error:
            self.raised = error


class ThreadGroup:
    """Ranks that are threads of this process: `communicator(rank)` for each. Keep it until the trainers are
    closed."""

    def __init__(self, size: int):
        self._pointer = ctypes.c_void_p()
        check(native.cribo_thread_group_create(ctypes.byref(self._pointer), natural("size", size)))

    def communicator(self, rank: int, deadline: float = 0) -> _ThreadCommunicator:
        """The communicator of a rank."""
        struct = new("cribo_communicator")
        check(
            native.cribo_thread_group_communicator(self._pointer, natural("rank", rank), ctypes.byref(struct))
        )
        struct.deadline = deadline
        return _ThreadCommunicator(struct, self)

    def close(self) -> None:
        """Frees the group; a second call does nothing."""
        pointer, self._pointer = self._pointer, ctypes.c_void_p()
        native.cribo_thread_group_free(pointer)

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            self.close()


class _ThreadCommunicator(Communicator):
    """A communicator whose functions are the library's own."""

    def __init__(self, struct: Any, group: ThreadGroup):
        super().__init__(struct.rank, struct.size, struct.deadline)
        self._struct, self._group = struct, group

    def struct(self) -> Any:
        return self._struct


class TorchCommunicator(Communicator):
    """The ranks of a torch.distributed process group with point-to-point transfers on the CPU (gloo); None:
    the default group. Each transfer is awaited by a separate thread, because the requests of gloo cannot be
    polled."""

    def __init__(self, group: Any = None, deadline: float = 0):
        import torch
        import torch.distributed

        self._torch, self._distributed, self._process_group = torch, torch.distributed, group
        self._tags: dict[tuple[str, int], int] = {}
        super().__init__(torch.distributed.get_rank(group), torch.distributed.get_world_size(group), deadline)

    def _tag(self, kind: str, peer: int) -> int:
        """Transfers in one direction have tags in turn, so that they cannot be exchanged."""
        tag = self._tags.get((kind, peer), 0)
        self._tags[kind, peer] = (tag + 1) % 2**20
        return tag

    def _await(self, work: Any, tensor: Any) -> Any:
        outcome: dict[str, BaseException] = {}

        def wait() -> None:
            try:
                work.wait()
            except BaseException as error:
                outcome["error"] = error

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread, outcome, tensor

    def _global(self, peer: int) -> int:
        group = self._process_group
        return peer if group is None else int(self._distributed.get_global_rank(group, peer))

    def send(self, peer: int, data: np.ndarray) -> Any:
        tensor = self._torch.from_numpy(data)
        work = self._distributed.isend(
            tensor, self._global(peer), self._process_group, self._tag("send", peer)
        )
        return self._await(work, tensor)

    def receive(self, peer: int, data: np.ndarray) -> Any:
        tensor = self._torch.from_numpy(data)
        work = self._distributed.irecv(
            tensor, self._global(peer), self._process_group, self._tag("receive", peer)
        )
        return self._await(work, tensor)

    def ended(self, request: Any) -> bool:
        thread, outcome, _tensor = request
        if thread.is_alive():
            return False
        if "error" in outcome:
            raise outcome["error"]
        return True


class MpiCommunicator(Communicator):
    """The ranks of an mpi4py communicator, which is duplicated."""

    def __init__(self, comm: Any, deadline: float = 0):
        self._comm = comm.Dup()
        super().__init__(self._comm.Get_rank(), self._comm.Get_size(), deadline)

    def send(self, peer: int, data: np.ndarray) -> Any:
        return self._comm.Isend(data, peer)

    def receive(self, peer: int, data: np.ndarray) -> Any:
        return self._comm.Irecv(data, peer)

    def ended(self, request: Any) -> bool:
        return bool(request.Test())

    def cancel(self, request: Any) -> None:
        request.Cancel()
        request.Free()
