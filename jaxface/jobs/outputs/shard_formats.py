"""How a shard's results lie in one file: as Parquet or as array_record.

Parquet: one row per portrait with the columns of `results.jsonl`. ``w_plus`` is a list of
``L * w_dim`` float32 (row-major; ``w_plus_shape`` in the schema's metadata), null for a failure;
``reconstruction_png`` the PNG's bytes, if they are kept; ``transform`` is JSON; ``settings`` and
``versions``, which are the same in every row, are JSON in the schema's metadata.

array_record: one record per portrait, the bytes of a safetensors file: the tensors ``w_plus``
float32 [L, w_dim] and ``reconstruction_png`` uint8 [bytes], where there are any, and the row as
JSON in the metadata's ``row``.

Both are written piece by piece, so that a large shard is never in memory as a whole.
"""

import errno
import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import safetensors.numpy

from jaxface.jobs.outputs.results import Result

W_PLUS = "w_plus"
PNG = "reconstruction_png"
SUFFIXES = {"parquet": "parquet", "array_record": "array_record"}
"""Formats by name, with the file's suffix."""

_SHARED = ("settings", "versions")  # columns that hold the same in every row of a job
_STORED = ("latents", "reconstruction")  # columns that name files; here the data are beside them


class ShardWriter(Protocol):
    """Takes results in any number of pieces; both methods raise `OSError` on a full disk."""

    def append(self, results: Sequence[Result]) -> None: ...

    def close(self) -> None: ...


def shard_writer(path: str, kind: str, *, w_plus_shape: tuple[int, int]) -> ShardWriter:
    """A writer of a local file.

    Args:
      path: the file, which must not exist.
      kind: one of `SUFFIXES`.
      w_plus_shape: (L, w_dim).
    """
    return _Parquet(path, w_plus_shape) if kind == "parquet" else _ArrayRecord(path)


def read_shard(path: str) -> Iterator[Result]:
    """The results in a local shard file, in their stored order; `image` is left None.

    `Result.png` holds the reconstruction where it was kept.
    """
    return _read_parquet(path) if path.endswith(SUFFIXES["parquet"]) else _read_records(path)


class _Parquet:
    def __init__(self, path: str, w_plus_shape: tuple[int, int]):
        self._path, self._shape = path, w_plus_shape
        self._file = open(path, "xb")  # noqa: SIM115 (closed in `close`)
        self._writer: Any = None  # begun with the first results, whose settings it records

    def append(self, results: Sequence[Result]) -> None:
        import pyarrow as pa

        if not results:
            return
        schema = self._begin({name: results[0].row[name] for name in _SHARED})
        columns = {name: [] for name in schema.names}
        for result in results:
            row = result.row
            for name in schema.names:
                columns[name].append(row.get(name))
            transform = row["transform"]
            columns["transform"][-1] = None if transform is None else json.dumps(transform)
            columns[PNG][-1] = result.png
            columns[W_PLUS][-1] = None
        arrays = [
            _latents([result.w_plus for result in results], self._shape)
            if field.name == W_PLUS
            else pa.array(columns[field.name], field.type)
            for field in schema
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))

    def close(self) -> None:
        # Where nothing was put in, no item fell into the shard: its file is an empty table.
        try:
            self._begin({name: {} for name in _SHARED})
            self._writer.close()
        finally:
            self._file.close()

    def _begin(self, shared: dict[str, Any]) -> Any:
        if self._writer is None:
            import pyarrow.parquet as pq

            metadata = {name: json.dumps(value) for name, value in shared.items()}
            metadata["w_plus_shape"] = json.dumps(self._shape)
            schema = _schema(self._shape).with_metadata(metadata)
            self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")
        return self._writer.schema


def _schema(w_plus_shape: tuple[int, int]) -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    return pa.schema(
        {
            "id": text,
            "input": text,
            "path": text,
            "status": text,
            "reason": text,
            "notes": pa.list_(text),
            "face": pa.struct({"number": pa.int32(), "of": pa.int32()}),
            "transform": text,
            "psnr": number,
            "ssim": number,
            "perceptual": number,
            "loss": number,
            "steps": pa.int32(),
            "seconds": number,
            "key": text,
            W_PLUS: pa.list_(pa.float32(), int(np.prod(w_plus_shape))),
            PNG: pa.binary(),
        }
    )


def _latents(found: Sequence[np.ndarray | None], shape: tuple[int, int]) -> Any:
    import pyarrow as pa

    flat = np.zeros((len(found), int(np.prod(shape))), np.float32)
    for row, w_plus in zip(flat, found, strict=True):
        if w_plus is not None:
            row[:] = w_plus.ravel()
    missing = pa.array([w_plus is None for w_plus in found])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1], mask=missing)


def _read_parquet(path: str) -> Iterator[Result]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        metadata = {k.decode(): v.decode() for k, v in (file.schema_arrow.metadata or {}).items()}
        shared = {name: json.loads(metadata[name]) for name in _SHARED}
        shape = tuple(json.loads(metadata["w_plus_shape"]))
        for batch in file.iter_batches(batch_size=64):
            latents = batch.column(W_PLUS)
            names = [name for name in batch.schema.names if name != W_PLUS]
            for index, row in enumerate(batch.select(names).to_pylist()):
                png, transform = row.pop(PNG), row["transform"]
                row["transform"] = None if transform is None else json.loads(transform)
                row |= dict.fromkeys(_STORED) | shared
                value = latents[index]
                w_plus = value.values.to_numpy().reshape(shape) if value.is_valid else None
                yield Result(row, w_plus, png=png)


class _ArrayRecord:
    def __init__(self, path: str):
        from array_record.python.array_record_module import ArrayRecordWriter

        # Records of some kilobytes each: groups of one give random access without reading others.
        self._writer: Any = _os_errors(ArrayRecordWriter, path, "group_size:1")

    def append(self, results: Sequence[Result]) -> None:
        for result in results:
            tensors = {}
            if result.w_plus is not None:
                tensors[W_PLUS] = np.ascontiguousarray(result.w_plus, np.float32)
            if result.png is not None:
                tensors[PNG] = np.frombuffer(result.png, np.uint8)
            row = json.dumps(result.row, allow_nan=False)
            _os_errors(self._writer.write, safetensors.numpy.save(tensors, {"row": row}))

    def close(self) -> None:
        _os_errors(self._writer.close)


def _os_errors(call: Any, *args: Any) -> Any:
    """Calls array_record, whose writer reports a full disk as a RuntimeError."""
    try:
        return call(*args)
    except RuntimeError as error:
        full = "No space left" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error).split(";")[0]) from error


def _read_records(path: str) -> Iterator[Result]:
    from array_record.python.array_record_module import ArrayRecordReader

    reader: Any = ArrayRecordReader(path)
    try:
        for index in range(reader.num_records()):
            data = reader.read([index])[0]
            tensors = safetensors.numpy.load(data)
            # safetensors gives a buffer's tensors but not its metadata: the header is read here.
            size = int.from_bytes(data[:8], "little")
            row = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["row"])
            png = tensors.get(PNG)
            yield Result(row, tensors.get(W_PLUS), png=None if png is None else png.tobytes())
    finally:
        reader.close()
