"""MobileStyleGAN (Belousov 2021): a student of StyleGAN2 for small devices, with the same W."""

from jaxface.nets.mobile_stylegan.config import MobileGeneratorConfig
from jaxface.nets.mobile_stylegan.generator import MobileGenerator
from jaxface.nets.mobile_stylegan.rows import (
    as_rows_of,
    rows_known,
    student_rows,
    teacher_rows,
    through_teacher,
    to_student,
    to_teacher,
)
from jaxface.nets.mobile_stylegan.synthesis import MobileSynthesis

__all__ = [
    "MobileGenerator",
    "MobileGeneratorConfig",
    "MobileSynthesis",
    "as_rows_of",
    "rows_known",
    "student_rows",
    "teacher_rows",
    "through_teacher",
    "to_student",
    "to_teacher",
]
