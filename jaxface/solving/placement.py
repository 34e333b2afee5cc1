"""Where arrays lie: rows split over a mesh's axis "data", networks whole on each device."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxface.runtime.topologies import is_described

DATA_AXIS = "data"


@dataclasses.dataclass(frozen=True)
class Placement:
    """How pytrees are put on the devices.

    Attributes:
      mesh: with an axis "data" over which rows are split; None: one device, JAX's default.

    Raises:
      ValueError: a mesh without the axis.
    """

    mesh: Mesh | None = None

    def __post_init__(self):
        if self.mesh is not None and DATA_AXIS not in self.mesh.axis_names:
            raise ValueError(
                f"Solver: the mesh needs an axis {DATA_AXIS!r}, got {self.mesh.axis_names}."
            )

    def place(self, tree: Any) -> Any:
        """Puts a pytree of [N, ...] arrays on the devices, rows split over the mesh."""
        return jax.device_put(tree, self.row_sharding)

    def replicate(self, tree: Any) -> Any:
        """Puts a pytree of arrays on the devices, whole on each; on devices that are described only
        (`jaxface.runtime.topologies`) it gives shapes with that placement."""
        sharding = self._sharding(PartitionSpec())
        if self.is_described:
            return jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
            )
        return jax.device_put(tree, sharding)

    def unplaced(self, tree: Any) -> Any:
        """The values of what `replicate` placed, free to go with arrays that lie elsewhere."""
        return jax.tree.map(lambda leaf: jax.numpy.asarray(np.asarray(leaf)), tree)

    def abstract_rows(self, tree: Any) -> Any:
        """Shapes [N, ...] with the placement that `place` would give them."""
        sharding = self.row_sharding
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
        )

    @property
    def is_described(self) -> bool:
        """Whether there are no devices, only their description: programs are compiled, not run."""
        return self.mesh is not None and is_described(self.mesh.devices.flat[0])

    @property
    def row_sharding(self) -> NamedSharding | None:
        """Of [N, ...] arrays: rows split over the mesh; None without a mesh."""
        return self._sharding(PartitionSpec(DATA_AXIS))

    @property
    def devices(self) -> int:
        """Devices that the rows are split over."""
        return 1 if self.mesh is None else self.mesh.shape[DATA_AXIS]

    def _sharding(self, spec: PartitionSpec) -> NamedSharding | None:
        return None if self.mesh is None else NamedSharding(self.mesh, spec)
