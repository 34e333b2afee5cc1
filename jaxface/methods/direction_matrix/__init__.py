"""Finding Directions in GAN's Latent Space for Neural Face Reenactment.

Bounareli, Argyriou and Tzimiropoulos, BMVC 2022. One matrix A maps a change of head pose and
expression to a change of the first rows of W+, dw = A dp (equation 2). It is learnt without labels:
a source takes the pose and expression of a target, and a face reconstruction network says what
became of it. The losses are equations 3 to 7:

* L_sh, the 3D shape of the result against the source's identity in the target's pose; L_eye and
  L_mouth, how far its eyes and mouth are open;
* L_id and L_per, what of the source's looks is left;
* L_pix beside them where source and target are frames of one clip.

Every number of the pose is rescaled from its range to [-a, a], and half of a batch changes one
number alone. A portrait is embedded by an encoder, the generator is tuned to it, and each driving
frame moves its latent by A (p_driver - p_source).

The paper and the authors' code (StelaBou/stylegan_directions_face_reenactment) differ in much; both
readings are here, as `PAPER` and `CODE`. "Directions" alone are InterFaceGAN's and GANSpace's
(`jaxface.methods.linear_directions`).
"""

from jaxface.methods.direction_matrix.columns import (
    column_names,
    column_values,
    columns_given,
    direction_sets,
    latent_directions,
)
from jaxface.methods.direction_matrix.faces import Faces, FlameFaces, PieFaces, faces_of
from jaxface.methods.direction_matrix.losses import Cases, Models, matrix_losses
from jaxface.methods.direction_matrix.settings import (
    CODE,
    CODE_LOSSES,
    EMBEDDED,
    PAPER,
    PAPER_LOSSES,
    Losses,
    MatrixSettings,
    MatrixStage,
)
from jaxface.methods.direction_matrix.training import (
    draw_cases,
    frozen_models,
    initial_state,
    matrix_phase,
)

__all__ = [
    "CODE",
    "CODE_LOSSES",
    "EMBEDDED",
    "PAPER",
    "PAPER_LOSSES",
    "Cases",
    "Faces",
    "FlameFaces",
    "Losses",
    "MatrixSettings",
    "MatrixStage",
    "Models",
    "PieFaces",
    "column_names",
    "column_values",
    "columns_given",
    "direction_sets",
    "draw_cases",
    "faces_of",
    "frozen_models",
    "initial_state",
    "latent_directions",
    "matrix_losses",
    "matrix_phase",
]
