"""Turns at a model: one at a time, answers before predictions, and predictions in the end."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest

from fspo.assistant import turns as module
from fspo.assistant.turns import Turns


def start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def taking(
    turn: Callable[[], AbstractContextManager[None]], name: str, times: int, order: list[str]
) -> Callable[[], None]:
    def work() -> None:
        for _ in range(times):
            with turn():
                order.append(name)

    return work


def test_an_answer_is_finished_before_the_next_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both wait from before the turn ends; the answer's steps follow each other with small gaps."""
    monkeypatch.setattr(module, "_PAUSE", 3.0)  # a busy machine may be long about a small gap
    turns, order = Turns(), list[str]()
    with turns.between_answers():
        threads = [start(taking(turns.between_answers, "prediction", 3, order))]
        time.sleep(0.1)

        def answer() -> None:
            for _ in range(20):
                taking(turns.of_answer, "answer", 1, order)()
                time.sleep(0.01)

        threads.append(start(answer))
        time.sleep(0.5)
    for thread in threads:
        thread.join(20)
    assert order == ["answer"] * 20 + ["prediction"] * 3


def test_a_prediction_comes_to_its_turn_though_answers_never_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    turns, order, done = Turns(), list[str](), threading.Event()

    def answers() -> None:
        while not done.is_set():
            taking(turns.of_answer, "answer", 1, order)()
            time.sleep(0.001)

    threads = [start(answers) for _ in range(3)]
    time.sleep(0.1)
    first = len(order)
    predicting = start(taking(turns.between_answers, "prediction", 1, order))
    predicting.join(20)
    done.set()
    for thread in threads:
        thread.join(20)
    assert order.count("prediction") == 1
    assert order.index("prediction") - first > 3  # answers, which went first


def test_one_at_a_time_and_free_after_a_fault() -> None:
    turns, inside, most = Turns(), 0, 0

    def fail(turn: Callable[[], AbstractContextManager[None]]) -> None:
        nonlocal inside, most
        with turn():
            inside += 1
            most = max(most, inside)
            time.sleep(0)
            inside -= 1
            raise ZeroDivisionError

    def work(turn: Callable[[], AbstractContextManager[None]]) -> None:
        for _ in range(50):
            with pytest.raises(ZeroDivisionError):
                fail(turn)

    kinds = (turns.of_answer, turns.between_answers, turns.of_answer)
    threads = [start(partial(work, kind)) for kind in kinds]
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert (inside, most) == (0, 1)
