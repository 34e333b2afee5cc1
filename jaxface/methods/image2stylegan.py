"""Image2StyleGAN: How to Embed Images Into the StyleGAN Latent Space? (Abdal et al., ICCV 2019).

PIE's synthesis term has the form of its energy (PIE, section 4.1 and equation 7), without PIE's
other terms and without the stage in W (PIE, section 5.3.1): the optimisation is in W+ from the
first step. The weights, the optimiser and the number of steps are those of Abdal et al.; PIE, which
ran the authors' code, quotes none of them. Here it starts at the mean latent.
"""

from jaxface.methods import pie

PAPER = pie.Settings(
    # L = L_percept(G(w), I) + lambda_mse / N ||G(w) - I||_2^2, lambda_mse = 1, where
    # L_percept = sum_j lambda_j / N_j ||F_j(I1) - F_j(I2)||_2^2 with all lambda_j = 1 over the four
    # layers of VGG-16 that PIE names too. Images are in [-1, 1] here, and phi's input is normalised
    # as the network was trained.
    l2_weight=1.0,
    perceptual_weight=1.0,
    layers=tuple((name, 1.0) for name in pie.VGG_LAYERS),
    # 5000 gradient steps with Adam at a constant learning rate.
    optimizer=pie.Adam(b1=0.9, b2=0.999, eps=1e-8),
    w_steps=0,
    w_step_size=0.01,
    w_plus_steps=5000,
    w_plus_step_size=0.01,
    decay_rate=1.0,
    decay_steps=5000,
)
"""Abdal et al.'s weights and schedule."""
