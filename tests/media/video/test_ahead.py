"""Reading ahead of whoever works on frames."""

import threading

import pytest

from jaxface.media.video.ahead import read_ahead


def test_items_come_in_order_and_few_are_ahead():
    read = []

    def items():
        for item in range(20):
            read.append(item)
            yield item

    with read_ahead(items(), ahead=3) as coming:
        for item in coming:
            assert len(read) <= item + 1 + 3 + 1  # those that wait, and one in the thread's hand
            assert threading.active_count() >= 2
    assert read == list(range(20))


def test_an_error_comes_where_its_item_was_due():
    def items():
        yield 1
        yield 2
        raise ValueError("damaged")

    with read_ahead(items()) as coming:
        assert [next(coming), next(coming)] == [1, 2]
        with pytest.raises(ValueError, match="damaged"):
            next(coming)


def test_the_thread_has_ended_when_the_block_is_left():
    before = threading.active_count()

    def endless():
        while True:
            yield 0

    def leave():
        with read_ahead(endless()) as coming:
            next(coming)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert threading.active_count() == before
