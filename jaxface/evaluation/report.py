"""Reports of evaluations, in Markdown."""

from jaxface.evaluation.generator import GeneratorScores
from jaxface.suite import Suite


def generator_report(suite: Suite, scores: GeneratorScores) -> str:
    """A table of what `evaluate_generator` measured, each number with what it should be near to."""
    size = suite.generator.resolution
    ratio = scores.frechet / scores.frechet_floor
    rows = [
        ("Fréchet distance to renders", f"{scores.frechet:.4f}, {ratio:.1f} times the floor"),
        ("the floor: renders to other renders", f"{scores.frechet_floor:.4f}"),
        ("precision", f"{scores.precision:.3f} (renders {scores.precision_floor:.3f})"),
        ("recall", f"{scores.recall:.3f} (renders {scores.recall_floor:.3f})"),
        ("perceptual path length", f"{scores.path_length:.1f}"),
    ]
    for name, found in (
        ("held-out scenes from their factors", scores.factors_psnr),
        (f"{scores.portraits} held-out renders, embedded in W+", scores.w_plus_psnr),
    ):
        if found is not None:
            rows.append((name, f"{found[0]:.1f} dB, lowest {found[1]:.1f}"))
    lines = [
        f"# Generator of the suite {suite.name}, {size} px",
        "",
        f"{scores.samples} items in each set; features are the perceptual network's.",
        "",
        *_table(("measure", "value"), rows),
    ]
    if scores.linear_r2 is not None:
        found = [(name, f"{value:.3f}") for name, value in scores.linear_r2.items()]
        lines += ["", "How linear W is in what it shows, R squared of an affine map from w:", ""]
        lines += _table(("group", "R squared"), found)
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]
