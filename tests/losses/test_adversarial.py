"""StyleGAN2's losses: against known answers, finite differences, and the reference's own run."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.losses import adversarial
from jaxface.weights import load_network

FIXTURES = Path(
    os.environ.get("JAXFACE_FIXTURES") or Path(__file__).parents[2] / ".." / "shared" / "fixtures"
)
# Unoptimised code compiles in half the time.


def test_logistic_losses_at_known_logits():
    logits = jnp.array([[-200.0], [-1.0], [0.0], [1.0], [200.0]])
    real = np.asarray(adversarial.nonsaturating_real(logits))
    fake = np.asarray(adversarial.nonsaturating_fake(logits))
    x = np.array([-1.0, 0.0, 1.0])
    # float32 against float64.
    np.testing.assert_allclose(real[1:4], np.log1p(np.exp(-x)), rtol=1e-6)
    np.testing.assert_allclose(fake[1:4], np.log1p(np.exp(x)), rtol=1e-6)
    assert real[0] == fake[4] == 200  # no overflow
    assert real[4] == fake[0] == 0


def test_r1_of_a_known_discriminator():
    images = jax.random.normal(jax.random.key(0), (3, 4, 4, 3))
    slope = jax.random.normal(jax.random.key(1), (4, 4, 3))

    def discriminate(x):
        return jnp.sum(slope * x + 0.5 * x**2, axis=(1, 2, 3))[:, None]

    penalty, logits = adversarial.r1_penalty(discriminate, images)
    expected = np.sum(np.square(np.asarray(slope + images, np.float64)), axis=(1, 2, 3))
    np.testing.assert_allclose(penalty, expected, rtol=1e-6)  # float32 sums of 48 squares
    np.testing.assert_allclose(logits, discriminate(images))


def test_path_lengths_of_a_linear_generator():
    jacobian = jax.random.normal(jax.random.key(0), (2, 5, 4 * 4 * 3))  # rows, width, pixels
    w_plus = jax.random.normal(jax.random.key(1), (3, 2, 5))
    direction = jax.random.normal(jax.random.key(2), (3, 4, 4, 3))
    lengths = adversarial.path_lengths(
        lambda w: jnp.einsum("nlw,lwp->np", w, jacobian).reshape(-1, 4, 4, 3), w_plus, direction
    )
    y = np.asarray(direction, np.float64).reshape(3, -1) / 4  # sides of 4: root of 16 pixels
    rows = np.einsum("lwp,np->nlw", np.asarray(jacobian, np.float64), y)
    expected = np.sqrt(np.mean(np.sum(rows**2, axis=2), axis=1))
    np.testing.assert_allclose(lengths, expected, rtol=1e-6)  # float32


def test_path_length_mean_takes_the_batch_in_first():
    lengths = jnp.array([1.0, 3.0])
    penalty, mean = adversarial.path_length_penalty(lengths, jnp.array(1.0), decay=0.1)
    assert mean == pytest.approx(1.1)
    np.testing.assert_allclose(penalty, [0.01, 1.9**2], rtol=1e-5)
    # The gradient flows through the mean: d/da of (a - m)^2 with dm/da = 0.1 / 2.
    gradient = jax.grad(
        lambda a: adversarial.path_length_penalty(a, jnp.array(1.0), decay=0.1)[0][0]
    )(lengths)
    np.testing.assert_allclose(gradient, [2 * -0.1 * 0.95, 2 * -0.1 * -0.05], rtol=1e-5)


@pytest.mark.slow
def test_second_derivatives_against_finite_differences():
    with jax.enable_x64(True):
        key = jax.random.key(0)
        images = jax.random.normal(key, (2, 4, 4, 3), jnp.float64)
        weights = jax.random.normal(jax.random.key(1), (48, 6), jnp.float64)

        def discriminate(x, weights):
            return jnp.sum(jnp.tanh(x.reshape(2, -1) @ weights), axis=1, keepdims=True)

        def synthesize(w, weights):
            return jnp.tanh(w.reshape(2, -1) @ weights.T).reshape(2, 4, 4, 3)

        def r1(weights):
            penalty, _ = adversarial.r1_penalty(lambda x: discriminate(x, weights), images)
            return jnp.sum(penalty)

        w_plus = jax.random.normal(jax.random.key(2), (2, 2, 3), jnp.float64)

        def path(weights):
            lengths = adversarial.path_lengths(lambda w: synthesize(w, weights), w_plus, images)
            penalty, _ = adversarial.path_length_penalty(lengths, jnp.array(0.5), decay=0.01)
            return jnp.sum(penalty)

        step = jax.random.normal(jax.random.key(3), weights.shape, jnp.float64)
        for loss in (r1, path):
            found = jnp.sum(jax.grad(loss)(weights) * step)
            e = 1e-5
            difference = (loss(weights + e * step) - loss(weights - e * step)) / (2 * e)
            # Central differences in float64: the error is of the order of e squared.
            np.testing.assert_allclose(found, difference, rtol=1e-7)


@pytest.fixture(scope="module")
def reference():
    path = FIXTURES / "nv_losses_64.npz"
    if not path.is_file():
        pytest.skip(f"no parity fixtures in {FIXTURES} (set JAXFACE_FIXTURES)")
    return np.load(path)


@pytest.fixture(scope="module")
def networks(reference, tmp_path_factory):
    """The reference's generator and discriminator; the generator is G, not its average."""
    from jaxface.convert import convert

    folder, found = tmp_path_factory.mktemp("converted"), []
    for name in ("G", "D"):
        convert("auto", FIXTURES / "nv_stylegan2_ada_64.pkl", folder / name, network=name)
        found.append(load_network(folder / name))
    return found


def _gradients(loss, network, *arguments):
    """(aux, gradients by dotted name) of a mean loss with respect to a network's parameters."""
    graphdef, params, buffers = nnx.split(network, nnx.Param, ...)

    def mean(params, buffers, *arguments):
        items, aux = loss(nnx.merge(graphdef, params, buffers), *arguments)
        return jnp.mean(items), (items, aux)

    compiled = jax.jit(jax.grad(mean, has_aux=True))
    gradients, aux = compiled(params, buffers, *arguments)
    named = {
        ".".join(str(getattr(k, "key", "")) for k in path[:-1]): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
    }
    return aux, named


def _source_name(network, name):
    """A parameter's name in the reference, where blocks are numbered by resolution."""
    parts = name.split(".")
    if parts[0] == "mapping":
        parts = ["mapping", f"fc{parts[2]}", parts[3]]
    elif parts[0] == "synthesis":
        parts = ["synthesis", f"b{4 * 2 ** int(parts[2])}", *parts[3:]]
    elif parts[0] == "blocks":
        parts = [f"b{64 // 2 ** int(parts[1])}", *parts[2:]]
    else:
        parts = ["b4", *parts[1:]]
    return ".".join([network, *parts]).replace("_rgb", "rgb")


def _in_source_layout(array):
    """HWIO to OIHW, HWC to CHW, [in, out] to [out, in]."""
    axes = {4: (3, 2, 0, 1), 3: (2, 0, 1), 2: (1, 0)}.get(array.ndim)
    return array if axes is None else array.transpose(axes)


def _check(phase, reference, gradients, network):
    found = {_source_name(network, name): array for name, array in gradients.items()}
    keys = [key for key in reference.files if key.startswith(f"{phase}|grad {network}.")]
    assert len(keys) >= 5
    for key in keys:
        array, expected = _in_source_layout(found[key.split("grad ")[1]]), reference[key]
        assert array.shape == expected.shape, key
        # Relative to each array's largest value. The reference's own gradients move by some 1e-6
        # of it between runs, second derivatives in float32 by several times that.
        assert np.abs(array - expected).max() < 1e-4 * np.abs(expected).max(), key


def _close(found, expected):
    # Float32 through two networks: 1e-5 of the largest value, a tenth of what converted networks
    # have to reach; a logit near zero is a difference of larger numbers.
    found, expected = np.ravel(found), np.ravel(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def _images(array):
    return np.moveaxis(array, 1, -1)


@pytest.mark.slow
def test_generator_main_phase_is_the_references(reference, networks):
    generator, discriminator = networks

    def loss(generator, discriminator, z):
        images = generator.synthesis(generator.mapping(z), "const")
        logits = discriminator(images)
        return adversarial.nonsaturating_real(logits), logits

    (items, logits), gradients = _gradients(loss, generator, discriminator, reference["z"])
    _close(logits, reference["Gmain|Loss.scores.fake"])
    _close(items, reference["Gmain|Loss.G.loss"])
    _check("Gmain", reference, gradients, "G")


@pytest.mark.slow
def test_path_length_phase_is_the_references(reference, networks):
    direction = _images(reference["pl_noise_standard"])

    def loss(generator, z, direction):
        lengths = adversarial.path_lengths(
            lambda w: generator.synthesis(w, "const"), generator.mapping(z), direction
        )
        penalty, mean = adversarial.path_length_penalty(
            lengths, jnp.float32(reference["pl_mean_before"]), decay=0.01
        )
        return 2 * penalty, (penalty, mean)

    z = reference["z"][: len(direction)]
    (items, (penalty, mean)), gradients = _gradients(loss, networks[0], z, direction)
    _close(penalty, reference["Greg|Loss.pl_penalty"])
    _close(items, reference["Greg|Loss.G.reg"])
    _close(mean, reference["pl_mean_after"])
    _check("Greg", reference, gradients, "G")


@pytest.mark.slow
def test_discriminator_main_phase_is_the_references(reference, networks):
    def loss(discriminator, generator, z, images):
        fakes = generator.synthesis(generator.mapping(z), "const")
        fake, real = discriminator(fakes), discriminator(images)
        return adversarial.nonsaturating_fake(fake) + adversarial.nonsaturating_real(real), (
            fake,
            real,
        )

    (items, (fake, real)), gradients = _gradients(
        loss, networks[1], networks[0], reference["z"], _images(reference["real"])
    )
    _close(fake, reference["Dmain|Loss.scores.fake"])
    _close(real, reference["Dmain|Loss.scores.real"])
    _close(items, reference["Dmain|Loss.D.loss"])
    _check("Dmain", reference, gradients, "D")


def test_r1_phase_is_the_references(reference, networks):
    def loss(discriminator, images):
        penalty, _ = adversarial.r1_penalty(discriminator, images)
        return 10 / 2 * penalty, penalty

    (items, penalty), gradients = _gradients(loss, networks[1], _images(reference["real"]))
    _close(penalty, reference["Dreg|Loss.r1_penalty"])
    _close(items, reference["Dreg|Loss.D.reg"])
    _check("Dreg", reference, gradients, "D")
