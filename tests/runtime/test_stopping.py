"""Graceful shutdown: what signals do within the block, and after it."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxface.runtime.stopping import stop_requests

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def ctrl_c():
    """Python's own handler of SIGINT, which the tests' process may have been started without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_a_signal_is_a_request_and_a_second_one_is_not():
    before = [signal.getsignal(number) for number in BOTH]
    with stop_requests(BOTH, grace=None) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        assert (stop.number, stop.name) == (signal.SIGINT, "SIGINT")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in BOTH] == before


@pytest.mark.usefixtures("ctrl_c")
def test_a_first_ctrl_c_is_a_request_even_deep_inside_a_compilation():
    reader, writer = os.pipe()

    def press():  # this thread gets the signal, so that the main one is not woken
        time.sleep(0.1)  # it reads by then
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        for _ in range(2000):
            if stop():
                break
            time.sleep(0.001)
        os.write(writer, b"." if stop() else b"?")

    with stop_requests(BOTH, grace=60.0) as stop:
        pressing, answer = threading.Thread(target=press), ctypes.create_string_buffer(1)
        pressing.start()
        ctypes.CDLL(None).read(reader, answer, 1)  # C code, after which Python runs its handler
        pressing.join()
        assert answer.raw == b"."
        assert stop.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    os.close(reader)
    os.close(writer)


def test_jobs_are_asked_by_sigterm_alone():
    before = [signal.getsignal(number) for number in BOTH]
    with stop_requests() as stop:
        assert signal.getsignal(signal.SIGINT) == before[1]
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.name == "SIGTERM"
    assert [signal.getsignal(number) for number in BOTH] == before


def test_other_threads_change_nothing():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def ask():
        with stop_requests() as stop:
            seen.append((stop(), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_the_process_ends_when_its_time_is_up():
    program = """
import os, signal, time
from jaxface.runtime.stopping import stop_requests
with stop_requests(grace=0.1):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(100)
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=90, check=False)
    assert ended.returncode == 143
