"""Processes that share a list without collectives."""

import pytest

from semiovs.engine.label_shards import ShardWorker, join_shards
from semiovs.errors import UsageError


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
    from torch.distributed import HashStore

    store, asked = HashStore(), []
    assert ShardWorker(1, 3, store).gather_reports({"rank": 1}) == [{"rank": 1}]

    def stop():
        asked.append(1)
        return len(asked) > 2

    assert ShardWorker(0, 3, store).gather_reports({"rank": 0}, stop) == [{"rank": 0}, {"rank": 1}]
    assert len(asked) == 3
    assert ShardWorker(2, 3, store).gather_reports({"rank": 2}) == [{"rank": 2}]
    assert ShardWorker(0, 3, store).gather_reports({"rank": 0}) == [{"rank": r} for r in range(3)]
