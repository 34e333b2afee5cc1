"""Times that the papers state, with the hardware they name, to stand beside the measured ones.

PIE's is in its section 5 (implementation details), PVP's are in section 5.4, Transfer's in section
4.3. The other two papers state no time.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class PublishedTime:
    """One figure.

    Attributes:
        system: what was timed, and by whom.
        figure: as the paper states it.
        seconds: per image and iteration (or per image), computed from it.
        hardware: as the paper states it.
        workload, method, resolution: the nearest measurement here.
        difference: how that one is not the same.
    """

    system: str
    figure: str
    seconds: float
    hardware: str
    workload: str
    method: str
    resolution: int
    difference: str


PIE = "PIE (Tewari et al. 2020)"
PVP = "PVP (Lin et al. 2023)"

# Figures of the papers' text. Where a workload was not measured, there is nothing to put beside the
# figure, and the table says so.
PUBLISHED: tuple[PublishedTime, ...] = (
    PublishedTime(
        f"{PIE}: embedding",
        "about 10 min for 3000 iterations",
        600 / 3000,
        "V100",
        "pie",
        "energy_gradient",
        1024,
        "one energy and gradient, without the optimiser's update",
    ),
    PublishedTime(
        f"{PVP}: pivotal tuning",
        "about 3 h for 200 pivots of 350 steps",
        3 * 3600 / (200 * 350),
        "RTX 3080",
        "pvp",
        "tune",
        1024,
        "350 updates are taken for each pivot, though PVP ends earlier at an LPIPS of 0.03",
    ),
    PublishedTime(
        f"{PVP}: mappers",
        "about 4 h for 50,000 steps",
        4 * 3600 / 50_000,
        "A10",
        "pvp",
        "map",
        1024,
        "DECA reads the middle of the image here, in place of a crop",
    ),
    PublishedTime(
        f"{PVP}: rendering",
        "54 frames/s",
        1 / 54,
        "RTX 3080",
        "synthesis",
        "forward",
        1024,
        "synthesis alone, without PVP's mappers; PVP reduces 1024 px to 512 px at the end",
    ),
    PublishedTime(
        "Transfer (Jahoda and Cech 2023): reenactment",
        "up to 20 frames/s",
        1 / 20,
        '"a modern GPU"',
        "transfer",
        "frames",
        1024,
        "frames that are aligned already, as the paper's; after half a second for the identity",
    ),
)
