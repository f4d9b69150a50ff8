"""Writes answers ahead, in the background, while participants read and choose."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping

from fspo.assistant.backend import Backend, Person, Reply
from fspo.console import say
from fspo.llm.sampling import Sampling
from fspo.preferences.records import Preference
from fspo.study.cleaning import clean
from fspo.study.definition import Study
from fspo.study.queue import Job, Queue

_SECONDS_BETWEEN_LOOKS = 0.5


class Worker:
    """Some threads that empty the queue."""

    def __init__(
        self, queue: Queue, study: Study, backends: Mapping[str, Backend], threads: int = 1
    ) -> None:
        """Prepares; `start` begins.

        Args:
            queue: what is to be written.
            study: says which method answers how.
            backends: of each method, by the method's name.
            threads: how many answers are written at once.
        """
        self._queue, self._study, self._backends = queue, study, backends
        self._count = threads
        self._threads: list[threading.Thread] = []
        self._ended, self._woken = threading.Event(), threading.Event()

    def start(self) -> None:
        """Goes on with what an earlier server left, and then with whatever comes."""
        self._queue.recover()
        self._ended.clear()
        self._threads = [
            threading.Thread(target=self._run, name=f"study-{n}", daemon=True)
            for n in range(self._count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends after the answers that are being written; a slow one is written again later."""
        self._ended.set()
        self._woken.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def wake(self) -> None:
        """Says that something was queued, so that nobody waits for the next look."""
        self._woken.set()

    def work(self) -> bool:
        """Writes the next answer; False where there is none to write."""
        job = self._queue.claim()
        if job is None:
            return False
        start = time.monotonic()
        try:
            text, reason = self._write(job)
        except Exception as error:  # whatever a model or a server may raise
            # The kind alone: a message could hold what a participant read or chose.
            say(f"study: an answer by {job.method} failed ({type(error).__name__})")
            self._queue.failed(job)
            return True
        self._queue.done(job, text, reason, time.monotonic() - start)
        if self._queue.all_written(job.participant):
            for backend in self._backends.values():
                backend.forget(job.key)
        return True

    def _run(self) -> None:
        while not self._ended.is_set():
            self._woken.clear()
            try:
                found = self.work()
            except Exception as error:  # such as a database that is away for a moment
                say(f"study: the queue of answers failed ({type(error).__name__}); trying again")
                found = False
            if not found:
                self._woken.wait(_SECONDS_BETWEEN_LOOKS)

    def _write(self, job: Job) -> tuple[str, str]:
        reply = self._reply(job)
        text = clean("".join(reply.pieces))
        if not text:
            raise ValueError("the answer is empty")
        return text, reply.finish_reason

    def _reply(self, job: Job) -> Reply:
        backend = self._backends[job.method]
        sampling = Sampling(**self._study.answers.model_dump(), seed=self._seed(job))
        question = [{"role": "user", "content": job.question}]
        if self._study.methods[job.method].answers == "plain":
            return backend.plain(question, sampling)
        shots = self._queue.shots(job.participant)
        person = Person(job.key, shots, self._description(backend, job, shots))
        return backend.reply(person, question, sampling)

    def _description(self, backend: Backend, job: Job, shots: list[Preference]) -> str:
        if not backend.abilities.describes:
            return ""
        known = self._queue.description(job)
        if known is None:
            known = backend.describe(Person(job.key, shots))
            self._queue.describe(job, known)
        return known

    def _seed(self, job: Job) -> int:
        """The same for an answer that is written again after a restart, not after a failure."""
        parts = f"{self._study.seed} {job.number} {job.place} {job.method} {job.attempt}"
        return int(hashlib.sha256(parts.encode()).hexdigest()[:8], 16) >> 1
