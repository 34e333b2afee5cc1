"""Pivots of avatars: one key frame's code, moved to the pose and expression of the others."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxface.errors import SuiteError
from jaxface.evaluation.pvp_protocol import world_clip
from jaxface.media.images import to_uint8
from jaxface.methods import encoder
from jaxface.methods.pvp import PAPER, PRETRAINED
from jaxface.methods.pvp.key_frames import middle
from jaxface.methods.pvp.personalise import Personalisation, see, split_frames
from jaxface.morphable.motion import Motion
from jaxface.morphable.worlds import world
from jaxface.suite import Suite, load_suite


def test_the_middle_is_nearest_to_the_mean_in_deviations():
    rotation = np.zeros((4, 3))
    rotation[:, 1] = [-1.0, -0.2, 0.3, 1.0]
    rotation[:, 2] = [0.0, 5.0, 0.0, -5.0]  # of two angles it is of no matter
    expression = np.zeros((4, 64))
    motion = Motion(rotation, None, expression, basis="embedded")
    assert middle(motion, angles=2) == 1
    assert middle(motion, angles=3) == 2


def test_who_lacks_rignets_is_told_the_other_way():
    shipped = load_suite("embedded")
    files = {name: file for name, file in shipped.files.items() if "rignet" not in name}
    suite = Suite("mine", files)
    with pytest.raises(SuiteError, match=r"rignet_pose(.|\n)*pivots=inverted"):
        suite.require(PRETRAINED.roles())
    suite.require(dataclasses.replace(PRETRAINED, pivots="inverted").roles())
    assert not any(role.startswith("rignet") for role in PAPER.roles())


@pytest.mark.slow
def test_moved_pivots_show_the_pose_of_their_frames():
    suite = load_suite("embedded")
    images = world_clip(2, 100, size=64, of=world("2.0.0")).images[::10]
    settings = dataclasses.replace(PRETRAINED, held_out=0.0)
    seen = see(suite, images)
    split = split_frames(settings, np.arange(10) / 25)
    rows = np.arange(10)

    def misses(changed):
        job = Personalisation(changed, suite, images, seen, split, key=jax.random.key(0))
        drawn = suite.generator.synthesis(job.pivots(rows))
        shown = see(suite, np.asarray(to_uint8(np.clip(drawn, -1, 1)))).motion
        return np.abs(shown.rotation - seen.motion.rotation).mean(axis=0)

    moved = misses(settings)
    encoded = misses(dataclasses.replace(settings, pivot=encoder.Settings(), pivots="inverted"))
    assert (moved < encoded).all()
    assert moved.mean() < 0.6 * encoded.mean()
