"""The optimiser of the networks that are trained on renders."""

import optax


def adam_with_warmup_cosine(
    learning_rate: float, *, warmup_steps: int, steps: int
) -> optax.GradientTransformation:
    """Adam with linear warm-up, cosine decay to zero at `steps`, and gradients clipped at norm 1.

    He-initialised layers without normalisation need the clip: one bad batch must not throw them
    off. The warm-up takes at most half of the steps.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, min(warmup_steps, steps // 2), steps
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
