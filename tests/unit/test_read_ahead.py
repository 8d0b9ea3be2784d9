"""Work ahead of the one who asks: in order, bounded, cancelled when nobody asks any more."""

import threading
import time

import pytest

from semiovs.read_ahead import read_ahead


def counted(numbers, taken):
    for number in numbers:
        taken.append(number)
        yield number


def test_results_come_in_order_whoever_is_first():
    def slow_first(number):
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number

    assert list(read_ahead(range(20), slow_first, threads=4)) == list(range(20))
    assert list(read_ahead([], slow_first, threads=4)) == []


@pytest.mark.parametrize(("least", "most"), [(1, 4), (7, 7)])
def test_no_more_waits_than_is_said(least, most):
    taken = []
    results = read_ahead(counted(range(50), taken), lambda n: n, threads=2, least=least)
    ahead = [len(taken) - number - 1 for number in results]
    assert max(ahead) == most
    assert len(ahead) == 50


@pytest.mark.parametrize(("limit", "least", "most"), [(10**9, 1, 4), (1, 1, 1), (1, 3, 3), (250, 1, 3)])
def test_what_waits_is_bounded_by_its_size(limit, least, most):
    taken = []
    results = read_ahead(counted(range(50), taken), bytes, threads=2, least=least, limit=limit, size=lambda _: 100)
    ahead = [len(taken) - number - 1 for number, _ in enumerate(results)]
    assert max(ahead) == most
    assert len(ahead) == 50


def test_an_error_stands_where_it_belongs_and_cancels_the_rest():
    begun = []

    def fails(number):
        begun.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    found, results = [], read_ahead(range(1000), fails, threads=2)
    with pytest.raises(ValueError, match="three"):
        found.extend(results)
    assert found == [0, 1, 2]
    assert len(begun) < 20


def test_who_stops_asking_stops_the_work():
    begun, held = [], threading.Event()

    def one(number):
        begun.append(number)
        if number:
            held.wait(5)
        return number

    results = read_ahead(range(1000), one, threads=1, least=100)
    assert next(results) == 0
    threading.Timer(0.1, held.set).start()
    results.close()
    assert len(begun) <= 3
