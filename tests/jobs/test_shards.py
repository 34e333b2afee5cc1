"""Shards: each input once, in whichever order, number of processes and however often killed."""

import contextlib
import json
import resource
import uuid

import fsspec
import numpy as np
import pytest

from jaxface.errors import UsageError
from jaxface.jobs import heartbeat
from jaxface.jobs import storage as places
from jaxface.jobs.heartbeat import Heartbeat
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inversion import COLUMNS as ROW_COLUMNS
from jaxface.jobs.launchers import Share, share_of_this_process
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.outputs.rows import Result
from jaxface.jobs.outputs.shard_formats import read_shard, shard_writer
from jaxface.jobs.outputs.shards import ShardsFolder, job_description, results_in, shard_of
from jaxface.jobs.status import describe, merge, overview

SHAPE = (3, 4)
COLUMNS = ("psnr", "ssim", "perceptual", "loss", "steps", "seconds", "key")


def result(item_id: str, status: str = "ok", png: bytes | None = None) -> Result:
    row = {
        "id": item_id,
        "input": item_id.split("#")[0],
        "path": f"/photos/{item_id}",
        "status": status,
        "reason": None if status == "ok" else "because",
        "notes": ["cropped", "greyscale made RGB"],
        "face": {"number": 2, "of": 3} if "#" in item_id else None,
        "transform": {"size": 16, "center": [1.5, 2.5]} if "#" in item_id else None,
        **dict.fromkeys(COLUMNS),
        "latents": None,
        "reconstruction": None,
        "settings": {"preset": "p", "layers": [["a", 1.0]]},
        "versions": {"jaxface": "0"},
    }
    if status != "ok":
        return Result(row)
    row |= {"psnr": 20.25, "steps": 4, "key": "0" * 16}
    number = float(shard_of(item_id, 1000))
    files = {} if png is None else {"reconstruction": png}
    return Result(row, np.full(SHAPE, number, np.float32) + np.arange(4, dtype=np.float32), files)


def items(count: int) -> list[Item]:
    def load():
        raise AssertionError("nothing is read here")

    return [Item(f"photos/{index}.png", f"/photos/{index}.png", load) for index in range(count)]


def job(count: int = 20, shard_size: int = 5, kind: str = "parquet") -> dict:
    described = job_description(items(count), shard_size=shard_size, kind=kind, keep_images=False)
    return {"preset": "p", "seed": 0} | described


def do_shard(folder: ShardsFolder, number: int, count: int = 20) -> None:
    with folder.writer(number) as shard:
        for item in items(count):
            if shard_of(item.id, folder.count) == number:
                shard.add([result(item.id, "corrupt" if item.id == "photos/3.png" else "ok")])


@pytest.mark.parametrize("kind", ["parquet", "array_record"])
def test_what_is_put_in_comes_out(tmp_path, kind):
    path = str(tmp_path / f"shard.{kind}")
    put = [result("a.png", png=b"\x89PNG"), result("b.png#2"), result("c.png", "corrupt")]
    writer = shard_writer(path, kind, w_plus_shape=SHAPE, columns=ROW_COLUMNS)
    writer.append(put[:2])
    writer.append([])
    writer.append(put[2:])
    writer.close()
    got = list(read_shard(path))
    assert [r.row for r in got] == [r.row for r in put]
    assert [r.files.get("reconstruction") for r in got] == [b"\x89PNG", None, None]
    for one, other in zip(got, put, strict=True):
        assert (one.w_plus is None) == (other.w_plus is None)
        if one.w_plus is not None:
            np.testing.assert_array_equal(one.w_plus, other.w_plus)
    empty = str(tmp_path / f"empty.{kind}")
    shard_writer(empty, kind, w_plus_shape=SHAPE, columns=ROW_COLUMNS).close()
    assert list(read_shard(empty)) == []


def test_shard_is_the_ids_alone():
    """Fixed for ever (the numbers are sha256sum's): later versions go on with a folder."""
    assert [shard_of(f"photos/{index}.png", 100) for index in range(4)] == [11, 9, 84, 3]
    counts = np.bincount([shard_of(str(index), 10) for index in range(10_000)])
    # Binomial: the standard deviation is 30, and ten draws stay within four of them.
    assert np.abs(counts - 1000).max() < 120
    forwards, backwards = (
        job_description(listing, shard_size=5, kind="parquet", keep_images=False)
        for listing in (items(20), items(20)[::-1])
    )
    assert forwards == backwards
    assert forwards["shards"]["count"] == 4
    assert forwards["inputs"] != job(19)["inputs"]


@pytest.fixture(params=["local", "remote"])
def out(request, tmp_path):
    """An output folder here, or in fsspec's memory, which stands in for an object store."""
    if request.param == "local":
        yield str(tmp_path / "out")
        return
    name = f"bucket-{uuid.uuid4().hex}"
    yield f"memory://{name}/out"
    fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


@pytest.mark.parametrize("kind", ["parquet", "array_record"])
def test_every_input_once_over_other_numbers_of_processes(out, kind):
    """One process of two does its share and dies in another shard; three others do the rest."""
    with ShardsFolder(out, job(kind=kind), Share(0, 2), SHAPE, columns=ROW_COLUMNS) as folder:
        assert folder.mine() == [0, 2]
        do_shard(folder, 0)
        with contextlib.suppress(RuntimeError), folder.writer(2) as shard:
            shard.add([result("photos/0.png")])
            raise RuntimeError
        assert sorted(folder.finished()) == [0]
    with pytest.raises(UsageError, match="3 of 4 shards are missing"):
        merge(out)
    before = places.read_bytes(f"{out}/shards/00000-of-00004.{kind}")
    done = []
    for index in range(3):
        with ShardsFolder(
            out, job(kind=kind), Share(index, 3), SHAPE, columns=ROW_COLUMNS
        ) as folder:
            for number in set(folder.mine()) - folder.finished().keys():
                do_shard(folder, number)
                done.append(number)
    assert sorted(done) == [1, 2, 3]
    assert places.read_bytes(f"{out}/shards/00000-of-00004.{kind}") == before
    assert merge(out) == {"ok": 19, "corrupt": 1}
    rows = [json.loads(line) for line in places.read_bytes(f"{out}/results.jsonl").splitlines()]
    assert sorted(row["id"] for row in rows) == sorted(item.id for item in items(20))
    for row in rows:
        number = shard_of(row["id"], 4)
        assert row["latents"] in (None, f"shards/{number:05d}-of-00004.{kind}")
        stored = list(results_in(out, number, 4, kind))[row["shard_row"]]
        assert stored.row["id"] == row["id"]
        assert (stored.w_plus is None) == (row["status"] != "ok")


@pytest.mark.parametrize("kind", ["parquet", "array_record"])
def test_a_shard_that_is_damaged_within_is_done_again(tmp_path, kind):
    """Its beginning and end are whole; the job, `status` and `merge` all tell."""
    out = str(tmp_path / "out")
    with ShardsFolder(out, job(kind=kind), Share(), SHAPE, columns=ROW_COLUMNS) as folder:
        for number in range(4):
            do_shard(folder, number)
    path = tmp_path / "out" / "shards" / f"00001-of-00004.{kind}"
    data = bytearray(path.read_bytes())
    data[64 : len(data) // 2] = bytes(len(data) // 2 - 64)
    path.write_bytes(data)
    assert overview(out).shards == (3, 4)
    with pytest.raises(UsageError, match="1 of 4 shards are missing or damaged"):
        merge(out)
    with ShardsFolder(out, job(kind=kind), Share(), SHAPE, columns=ROW_COLUMNS) as folder:
        assert set(folder.finished()) == {0, 2, 3}
        do_shard(folder, 1)
    assert merge(out) == {"ok": 19, "corrupt": 1}


def test_finished_shard_is_never_written_again(out):
    with ShardsFolder(out, job(), Share(), SHAPE, columns=ROW_COLUMNS) as folder:
        do_shard(folder, 1)
        path = f"{out}/shards/00001-of-00004.parquet"
        before = places.read_bytes(path)
        with folder.writer(1) as shard:  # as by two processes at once on an object store
            shard.add([result("other.png")])
        assert places.read_bytes(path) == before
        assert not [n for n in places.names_in(f"{out}/shards") if n.startswith(".")]


def test_other_settings_or_inputs_are_refused_by_name(out):
    with ShardsFolder(out, job(), Share(), SHAPE, columns=ROW_COLUMNS):
        pass
    for changed, message in (
        (job() | {"seed": 1}, "seed was 0 and is now 1"),
        (job(count=21), "inputs.count was 20 and is now 21"),
        (job(shard_size=10), "shards.count was 4 and is now 2"),
        (job(kind="array_record"), "shards.format was 'parquet'"),
    ):
        with (
            pytest.raises(UsageError, match=message),
            ShardsFolder(out, changed, Share(), SHAPE, columns=ROW_COLUMNS),
        ):
            pass


def test_second_job_on_the_folder_is_refused(tmp_path):
    out = str(tmp_path / "out")
    with ShardsFolder(out, job(), Share(0, 2), SHAPE, columns=ROW_COLUMNS):
        for share in (Share(0, 2), Share(0, 3), Share(1, 3)):
            with (
                pytest.raises(UsageError, match="another process is writing there"),
                ShardsFolder(out, job(), share, SHAPE, columns=ROW_COLUMNS),
            ):
                pass
        with (
            pytest.raises(UsageError, match="another process"),
            ResultsFolder(tmp_path / "out", {}),
        ):
            pass
        with ShardsFolder(out, job(), Share(1, 2), SHAPE, columns=ROW_COLUMNS):
            pass
    with ShardsFolder(out, job(), Share(0, 3), SHAPE, columns=ROW_COLUMNS):
        pass


def test_second_job_on_an_object_store_is_refused_while_the_first_is_heard(monkeypatch):
    out = f"memory://bucket-{uuid.uuid4().hex}/out"
    monkeypatch.setattr(heartbeat.socket, "gethostname", lambda: "there")
    with Heartbeat(out, Share(0, 2), total=10, done=0):
        monkeypatch.setattr(heartbeat.socket, "gethostname", lambda: "here")
        for share in (Share(0, 2), Share(0, 3)):
            with (
                pytest.raises(UsageError, match="on there is writing there"),
                ShardsFolder(out, job(), share, SHAPE, columns=ROW_COLUMNS),
            ):
                pass
        with ShardsFolder(out, job(), Share(1, 2), SHAPE, columns=ROW_COLUMNS):
            pass
        now = heartbeat.time.time()
        monkeypatch.setattr(heartbeat.time, "time", lambda: now + heartbeat.HEARTBEAT_TIMEOUT + 1)
        with ShardsFolder(out, job(), Share(0, 2), SHAPE, columns=ROW_COLUMNS):
            pass


def test_status_tells_progress_failures_rate_and_lost_processes(out, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(heartbeat.time, "time", lambda: clock[0])
    monkeypatch.setattr(heartbeat.socket, "gethostname", lambda: "there")
    count = [sum(shard_of(item.id, 4) == n for item in items(20)) for n in range(4)]
    with (
        ShardsFolder(out, job(), Share(0, 2), SHAPE, columns=ROW_COLUMNS) as folder,
        Heartbeat(out, Share(0, 2), total=count[0] + count[2], done=0) as beat,
    ):
        monkeypatch.setattr(heartbeat.socket, "gethostname", lambda: "here")
        do_shard(folder, 0)
        clock[0] += 10
        beat.advance(count[0])
        clock[0] += 10
        beat.advance(1, shard={"number": 2, "inputs": 1, "statuses": {"diverged": 1}})
        seen = overview(out)
        assert (seen.done, seen.total, seen.shards) == (count[0] + 1, 20, (1, 4))
        assert seen.statuses["diverged"] == 1
        assert seen.rate == pytest.approx((count[0] + 1) / 20)
        assert seen.eta == pytest.approx((20 - seen.done) / seen.rate)
        text = describe(seen)
        assert "1 diverged" in text
        assert "process 0 of 2 on there: running" in text
        assert f"about {seen.eta / 60:.0f} min left" in text or " s left" in text
        clock[0] += heartbeat.HEARTBEAT_TIMEOUT + 1
        lost = overview(out)
        assert lost.done == count[0]  # what an unfinished shard held is lost with its process
        assert lost.eta is None
        assert "lost, silent for 1 min" in describe(lost)
    assert "process 0 of 2 on there: finished" in describe(overview(out))
    with pytest.raises(UsageError, match="no output folder"):
        overview(out + "/nowhere")


def test_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    import errno

    out = str(tmp_path / "out")
    with ShardsFolder(out, job(), Share(), SHAPE, columns=ROW_COLUMNS) as folder:

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(places.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            do_shard(folder, 0)
        monkeypatch.undo()
        assert folder.finished() == {}
        assert not [n for n in places.names_in(f"{out}/shards") if not n.endswith(".json")]
        do_shard(folder, 0)
        assert sorted(folder.finished()) == [0]


@pytest.mark.parametrize("kind", ["parquet", "array_record"])
def test_full_disk_is_an_os_error_in_either_format(tmp_path, kind):
    writer = shard_writer(str(tmp_path / "shard"), kind, w_plus_shape=SHAPE, columns=ROW_COLUMNS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write():
        for seed in range(100):
            png = np.random.default_rng(seed).bytes(10_000)  # which does not compress
            writer.append([result(f"{seed}.png", png=png)])
        writer.close()

    # Files that may not grow stand in for a full disk: the write itself fails, with another code.
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"too large|File size|limit"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("flags", "environment", "expected"),
    [
        ((None, None), {}, Share(0, 1)),
        ((1, 4), {"SLURM_PROCID": "2", "SLURM_NTASKS": "8"}, Share(1, 4)),
        ((None, None), {"SLURM_PROCID": "2", "SLURM_NTASKS": "8"}, Share(2, 8)),
        ((None, None), {"TPU_WORKER_ID": "3", "TPU_WORKER_HOSTNAMES": "a,b,c,d"}, Share(3, 4)),
        ((None, None), {"TPU_WORKER_ID": "0"}, Share(0, 1)),
    ],
)
def test_share_is_the_calls_or_the_launchers(flags, environment, expected):
    assert share_of_this_process(*flags, environment) == expected


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        ((1, None), {}, "belong together"),
        ((4, 4), {}, "at least 0 and below"),
        ((None, None), {"SLURM_PROCID": "x", "SLURM_NTASKS": "8"}, "SLURM_PROCID"),
    ],
)
def test_wrong_shares_are_refused(flags, environment, message):
    with pytest.raises(UsageError, match=message):
        share_of_this_process(*flags, environment)
