"""Image2StyleGAN: How to Embed Images Into the StyleGAN Latent Space? (Abdal et al., ICCV 2019).

The energy has the form of PIE's synthesis term, which took it over; the optimisation is in W+ from
the first step, from the mean latent, with Adam.
"""

from jaxface.methods import pie

PAPER = pie.Settings(
    # Section 5: L = L_percept(G(w), I) + lambda_mse / N ||G(w) - I||_2^2, lambda_mse = 1, where
    # L_percept = sum_j lambda_j / N_j ||F_j(I1) - F_j(I2)||_2^2 with all lambda_j = 1 over VGG-16's
    # conv1_1, conv1_2, conv3_2 and conv4_2. The paper does not give the range of the pixels: images
    # are in [-1, 1] here, and phi's input is normalised as the network was trained.
    l2_weight=1.0,
    perceptual_weight=1.0,
    layers=tuple((name, 1.0) for name in pie.VGG_LAYERS),
    # Section 5.2: 5000 gradient steps with Adam, learning rate 0.01, beta1 = 0.9, beta2 = 0.999,
    # epsilon = 1e-8, constant.
    optimizer=pie.Adam(b1=0.9, b2=0.999, eps=1e-8),
    w_steps=0,
    w_step_size=0.01,
    w_plus_steps=5000,
    w_plus_step_size=0.01,
    decay_rate=1.0,
    decay_steps=5000,
)
"""As published."""
