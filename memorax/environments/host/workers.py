"""Batches of environments stepped by processes of their own."""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack, closing
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import jax
import numpy as np

from memorax.environments.host.batch import HostBatch, HostStep
from memorax.types import PyTree

PROGRAM = "import sys; from memorax.environments.host.workers import serve; serve(int(sys.argv[1]))"
PATIENCE = 5.0
"""Seconds that a worker has to close its environments before it is ended."""


class WorkerBatch(HostBatch):
    """A batch whose environments are divided between processes, in their order.

    Which process steps an environment changes nothing of what it does. The processes are new interpreters, not forks,
    since JAX runs threads: what they make must be importable by them.

    Args:
        name: name of the environment, for messages.
        make_batch: makes a batch of that many environments; it is sent to the processes.
        num_workers: processes, at most one for each environment.
        num_envs: number of environments.

    Raises:
        ValueError: if the environments cannot be made in another process.
    """

    def __init__(self, name: str, make_batch: Callable[[int], HostBatch], num_workers: int, num_envs: int) -> None:
        self.workers: list[Worker] = []
        self.first = np.linspace(0, num_envs, min(num_workers, num_envs) + 1).astype(int)
        try:
            description = pickle.dumps(make_batch)
        except Exception as error:
            raise _not_importable(name, error) from error
        try:
            for size in np.diff(self.first):
                self.workers.append(Worker(name, description, int(size)))
            for worker in self.workers:
                worker.receive()
        except BaseException:
            self.close()
            raise

    def reset(self, seeds: np.ndarray) -> PyTree:
        return _joined(self._ask("reset", self._divided(seeds)))

    def step(self, action: PyTree) -> HostStep:
        answers = self._ask("step", self._divided(action))
        self.reported = _joined([reported for _, reported in answers])
        return _joined([step for step, _ in answers])

    def info(self) -> dict[str, np.ndarray]:
        return self.reported

    def render(self, index: int) -> np.ndarray:
        worker = int(np.searchsorted(self.first, index, side="right")) - 1
        self.workers[worker].send("render", index - int(self.first[worker]))
        return self.workers[worker].receive()

    def close(self) -> None:
        with ExitStack() as stack:
            for worker in self.workers:
                stack.callback(worker.close)

    def _divided(self, tree: PyTree) -> list[PyTree]:
        shares = zip(self.first[:-1], self.first[1:], strict=True)
        return [jax.tree.map(lambda x, a=a, b=b: x[a:b], tree) for a, b in shares]

    def _ask(self, method: str, arguments: list[PyTree]) -> list[Any]:
        for worker, argument in zip(self.workers, arguments, strict=True):
            worker.send(method, argument)
        return [worker.receive() for worker in self.workers]


class Worker:
    """A process that holds a batch.

    Args:
        name: name of the environment, for messages.
        description: pickled function that makes the batch.
        num_envs: number of environments in the batch.
    """

    def __init__(self, name: str, description: bytes, num_envs: int) -> None:
        self.name = name
        self.connection, theirs = Pipe()
        surroundings = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            "JAX_PLATFORMS": "cpu",  # no accelerator's memory for what only steps environments
        }
        command = [sys.executable, "-c", PROGRAM, str(theirs.fileno())]
        # In a session of its own, so that the interrupt of a terminal reaches only the process that decides what to do.
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=surroundings, start_new_session=True, stdin=subprocess.DEVNULL
        )
        theirs.close()
        self.connection.send((description, num_envs))

    def send(self, method: str, argument: Any) -> None:
        """Ask for something; `receive` has the answer."""
        try:
            self.connection.send((method, argument))
        except OSError as error:
            raise self._gone() from error

    def receive(self) -> Any:
        """The answer to what was asked last.

        Raises:
            Exception: what the environment raised, with its own traceback as a note.
            RuntimeError: if the process has ended.
        """
        try:
            succeeded, answer = self.connection.recv()
        except (EOFError, OSError) as error:
            raise self._gone() from error
        if succeeded:
            return answer
        if isinstance(answer, NotImportable):
            raise _not_importable(self.name, answer) from answer
        raise answer

    def close(self) -> None:
        """Let the process close its environments, and end it."""
        self.connection.close()  # which it hears as the end of its work
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _gone(self) -> RuntimeError:
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return RuntimeError(f"a worker of {self.name} does not answer")
        return RuntimeError(f"a worker of {self.name} ended by itself, with exit code {code}")


class NotImportable(Exception):
    """What a worker answers that cannot read the function that makes its environments."""


def serve(descriptor: int) -> None:
    """The program of a worker: make a batch, answer until the connection ends, and close it."""
    connection = Connection(descriptor)
    try:
        description, num_envs = connection.recv()
        try:
            make_batch = pickle.loads(description)
        except Exception as error:
            connection.send((False, NotImportable(f"{type(error).__name__}: {error}")))
            return
        batch = _answer(connection, functools.partial(make_batch, num_envs), returned=False)
        if batch is not None:
            with closing(batch):
                while True:
                    _answer(connection, functools.partial(_call, batch, *connection.recv()))
    except (EOFError, OSError):
        pass  # the process that asked is gone, or wants no more


def _call(batch: HostBatch, method: str, argument: Any) -> Any:
    match method:
        case "step":
            return batch.step(argument), batch.info()
        case "reset":
            return batch.reset(argument)
        case _:
            return batch.render(argument)


def _answer(connection: Connection, function: Callable[[], Any], returned: bool = True) -> Any:
    """Send what a function returns, or that it did, or what it raised; its result, or None where it raised."""
    try:
        result = function()
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError("".join(traceback.format_exception(error)))
        connection.send((False, error))
        return None
    connection.send((True, result if returned else None))
    return result


def _joined(parts: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def _not_importable(name: str, error: Exception) -> ValueError:
    return ValueError(
        f"num_workers of {name} needs an environment that other processes can import: register it in a module and name "
        f"that, 'module:Id' ({' '.join(str(error).split())})"
    )
