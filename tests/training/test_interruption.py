import os
import signal
import threading

import pytest

from pyro_decomp.training.interruption import Stopped, ended_by_signals, stop_requests

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_is_remembered_and_handlers_are_put_back(number: int) -> None:
    before = [signal.getsignal(each) for each in NUMBERS]
    with stop_requests() as stop:
        assert not stop.is_set()
        send(number, signal.SIGTERM, signal.SIGHUP)  # as a closing terminal and its shell do
        assert stop.is_set()
        assert stop.signal == number
    assert [signal.getsignal(each) for each in NUMBERS] == before


@pytest.mark.parametrize("number", NUMBERS)
def test_a_further_ctrl_c_does_not_wait(number: int) -> None:
    with stop_requests(), pytest.raises(Stopped) as caught:
        send(number, signal.SIGINT)
    assert caught.value.signal == signal.SIGINT


@pytest.mark.parametrize("number", NUMBERS[1:])
def test_outside_of_training_a_signal_ends_as_ctrl_c_does(number: int) -> None:
    with pytest.raises(Stopped, match="interrupted by SIG") as caught, ended_by_signals():
        send(number)
    assert caught.value.signal == number


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    try:
        with stop_requests() as stop, ended_by_signals():
            send(signal.SIGHUP)
            assert not stop.is_set()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_signals_are_left_alone() -> None:
    found = []

    def look() -> None:
        with stop_requests(), ended_by_signals():
            found.extend(signal.getsignal(each) for each in NUMBERS)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(each) for each in NUMBERS]
