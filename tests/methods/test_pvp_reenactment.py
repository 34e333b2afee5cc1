"""PVP behind the common seam, on the embedded suite: adapt by many frames, drive by motion."""

import dataclasses
from fractions import Fraction

import jax
import numpy as np
import pytest

import jaxface
from jaxface.errors import UsageError
from jaxface.evaluation.pvp_protocol import world_clip
from jaxface.jobs.avatars import read_avatar, write_avatar
from jaxface.keys import item_keys
from jaxface.media.images import from_uint8
from jaxface.methods.pvp import EMBEDDED, PVPReenactment
from jaxface.methods.reenactment import Driving, drive_chunks
from jaxface.morphable.worlds import world
from jaxface.suite import load_suite

QUICK = {
    "key_frames__count": 8,
    "tuning__steps": 1,
    "tuning_batch": 4,
    "mappers__steps": 10,
    "mappers__batch_size": 2,
}


@pytest.mark.slow
def test_one_line_makes_an_avatar_that_is_kept(tmp_path):
    images = world_clip(0, 20, size=64, of=world("2.0.0")).images
    avatar = jaxface.personalise(images, held_out=0.0, **QUICK).avatar
    assert avatar.drawn(avatar.clip[:3]).shape == (3, 64, 64, 3)
    assert len(avatar.training) == 20
    times = [Fraction(frame, 25) for frame in range(20)]
    write_avatar(tmp_path / "kept", avatar, times, range(8), told={})
    known = read_avatar(tmp_path / "kept").avatar
    np.testing.assert_array_equal(known.drawn(known.clip[:3]), avatar.drawn(avatar.clip[:3]))
    with pytest.raises(UsageError, match=r"did you mean 'embedded'"):
        jaxface.personalise(images, preset="embeded")


@pytest.mark.slow
def test_the_common_seam():
    suite = load_suite("embedded")
    frames = np.asarray(from_uint8(world_clip(0, 16, size=64, of=world("2.0.0")).images))
    settings = dataclasses.replace(
        EMBEDDED,
        key_frames=dataclasses.replace(EMBEDDED.key_frames, count=8),
        tuning=dataclasses.replace(EMBEDDED.tuning, steps=1),
        tuning_batch=4,
        mappers=dataclasses.replace(EMBEDDED.mappers, steps=5, batch_size=2),
        gap=0.0,
    )
    method = PVPReenactment(settings)
    suite.require(method.roles())
    keys = item_keys(jax.random.key(0), [f"frame-{n}" for n in range(16)])
    avatar = method.adapt(suite, frames, keys=keys)
    replay = avatar.drawn(avatar.clip)
    drawn = np.concatenate(list(drive_chunks(method, avatar, Driving(motion=avatar.clip))))
    np.testing.assert_allclose(drawn, replay, atol=1e-4)
    one = Driving(motion=avatar.clip[:1])
    with pytest.raises(UsageError, match=r"own_proportions=False"):
        method.drive(avatar, one)
    alone = dataclasses.replace(method, own_proportions=False).drive(avatar, one)
    np.testing.assert_allclose(alone, replay[:1], atol=1e-4)
