"""What a figure says, and whether its texts keep apart."""

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lenet.figures.canvas import STYLE


def visible_texts(figure):
    """Every text of the figure that is drawn, with its extent in pixels."""
    with matplotlib.style.context(["default", STYLE]):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        texts = list(figure.texts)
        for legend in figure.legends:
            texts += legend.get_texts()
        for axes in figure.axes:
            for axis, (low, high) in (
                (axes.xaxis, sorted(axes.get_xlim())),
                (axes.yaxis, sorted(axes.get_ylim())),
            ):
                ticks = [
                    t for t in axis.get_major_ticks() if low <= t.get_loc() <= high
                ]
                labels = [label for t in ticks for label in (t.label1, t.label2)]
                texts += [label for label in labels if label.get_visible()]
        return [
            (text.get_text(), text.get_window_extent(renderer))
            for text in texts
            if text.get_text()
        ]


def content(figure):
    """All that the figure says, in one string."""
    return " ".join(text for text, _ in visible_texts(figure))


def check_texts(figure):
    """Fail where two texts overlap or one leaves the canvas."""
    width, height = figure.get_size_inches() * figure.dpi
    texts, boxes = zip(*visible_texts(figure), strict=True)
    x0, y0, x1, y1 = np.array([box.extents for box in boxes]).T
    for text, inside in zip(
        texts, (x0 >= 0) & (y0 >= 0) & (x1 <= width) & (y1 <= height), strict=True
    ):
        assert inside, text
    apart = (x0[:, None] >= x1 - 1) | (y0[:, None] >= y1 - 1)  # pixels
    for i, j in np.argwhere(~(apart | apart.T)):
        assert i == j, (texts[i], texts[j])
