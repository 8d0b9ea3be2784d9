"""Processes that share a list without collectives."""

from datetime import timedelta

import pytest
from torch.distributed import HashStore

from semiovs.engine import label_shards
from semiovs.engine.label_shards import ShardWorker, join_shards
from semiovs.errors import DataError, UsageError


@pytest.mark.parametrize("shard", [(0, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_parts_of_all_ranks_are_the_shard(shard, size):
    items = [*range(100)]
    parts = [ShardWorker(rank, size).take_shard(shard) for rank in range(size)]
    assert all(0 <= index < count for index, count in parts)
    found = [item for index, count in parts for item in items[index::count]]
    assert sorted(found) == items[shard[0] :: shard[1]]


def test_alone():
    with join_shards({}) as alone:
        assert (alone.rank, alone.size, alone.is_main) == (0, 1, True)
        assert alone.gather_reports({"a": 1}) == [{"a": 1}]


def test_half_of_a_launch_is_told(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(UsageError, match=r"WORLD_SIZE is set, but .*; start with torchrun"),
        join_shards({"WORLD_SIZE": "2"}),
    ):
        pass


def test_rank_0_waits_until_it_is_told_to_stop():
    store, asked = HashStore(), []
    assert ShardWorker(1, 3, store).gather_reports({"rank": 1}) == [{"rank": 1}]

    def stop():
        asked.append(1)
        return len(asked) > 2

    assert ShardWorker(0, 3, store).gather_reports({"rank": 0}, stop) == [{"rank": 0}, {"rank": 1}]
    assert len(asked) == 3
    assert ShardWorker(2, 3, store).gather_reports({"rank": 2}) == [{"rank": 2}]
    assert ShardWorker(0, 3, store).gather_reports({"rank": 0}) == [{"rank": r} for r in range(3)]


def test_a_process_is_waited_for_as_long_as_it_gives_signs_of_life(monkeypatch):
    monkeypatch.setattr(label_shards, "PATIENCE", 0.2)
    monkeypatch.setattr(label_shards, "_BEAT", 0.02)
    monkeypatch.setattr(label_shards, "_EVERY", 0.01)
    store = HashStore()
    main, other = ShardWorker(0, 2, store), ShardWorker(1, 2, store)
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 60

    with other.beating():
        assert main.gather_reports({"rank": 0}, stop) == [{"rank": 0}]
    assert len(asked) > 60
    with pytest.raises(DataError, match=r"process 1 of 2 has given no sign of life.*the same command does the rest"):
        main.gather_reports({"rank": 0})


def test_a_main_process_that_has_ended_is_told():
    class Gone:
        def __getattr__(self, _):
            raise RuntimeError("Broken pipe\nand a page of frames")

    worker = ShardWorker(1, 2, Gone())
    with worker.beating(), pytest.raises(DataError, match=r"process 0 of 2 has ended; .* does the rest"):
        worker.gather_reports({})


def test_processes_that_do_not_come_are_not_waited_for_forever(monkeypatch):
    monkeypatch.setattr(label_shards, "_MEETING", timedelta(seconds=1))
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "0")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"did not meet: .*--shard I/N") as told, join_shards({"WORLD_SIZE": "2"}):
        pass
    assert "\n" not in str(told.value)
