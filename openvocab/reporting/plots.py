"""Curves of one training or of several in the same plot."""

import io
from collections.abc import Sequence

from openvocab.reporting.runs import Run

WIDTH, HEIGHT, DPI = 6.4, 3.2, 110  # inches, and pixels of each
POINTS = 400
"""Drawn of a curve; where there are more, each is a mean of several."""


def curves(runs: Sequence[Run], names: Sequence[str], labels: Sequence[str], title: str) -> bytes | None:
    """Plots measures over the iterations.

    Args:
        runs: one or more; a colour each.
        names: of measures, as in metrics.json; a line style each.
        labels: of the runs.
        title: of the plot.

    Returns:
        A PNG; None where no run has measured any of them.
    """
    from matplotlib.figure import Figure  # lazily: it takes a second

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    axes, drawn = figure.subplots(), 0
    for number, (run, label) in enumerate(zip(runs, labels, strict=True)):
        for name, style in zip(names, ("-", "--", ":", "-.") * len(names)):
            iterations, values = run.curve(name)
            if not values:
                continue
            step = max(1, len(values) // POINTS)
            starts = range(0, len(values), step)
            axes.plot([iterations[start] for start in starts],
                      [sum(values[start : start + step]) / len(values[start : start + step]) for start in starts],
                      style, color=f"C{number % 10}", marker="o" if len(values) < 12 else None, markersize=3,
                      label=" ".join(filter(None, (label, name if len(names) > 1 else ""))))  # fmt: skip
            drawn += 1
    if not drawn:
        return None
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("iteration", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    if drawn > 1:
        axes.legend(fontsize=7)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
