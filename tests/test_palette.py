"""The figures' colours for eyes that see fewer of them, for grey printers, and for those who need contrast."""

import itertools

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from course_utils.plots import COLOURS, GREY, LINES, style
from course_utils.plots.theme import THEME

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency", IEEE
# Transactions on Visualization and Computer Graphics 15 (2009), severity 1.0; they act on linear RGB.
DEFICIENCIES = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
APART = 10  # CIE76 difference: about 2 is just noticeable, 10 is seen at a glance
TEXT_CONTRAST, GRAPHICS_CONTRAST = 4.5, 3.0  # WCAG 2.2, criteria 1.4.3 and 1.4.11
TEXT_COLOURS = {
    name: mpl.rcParamsDefault[name]
    for name in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.titlecolor")
}


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def luminance(rgb):
    return float(np.array([0.2126, 0.7152, 0.0722]) @ rgb)


def contrast(colour, other="white"):
    light, dark = sorted((luminance(linear(colour)), luminance(linear(other))), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb):
    """CIE L*a*b* of linear sRGB under D65."""
    xyz = (
        np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        @ rgb
    )
    f = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 0.008856))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def seen(colour, matrix):
    return lab(np.clip(np.array(matrix) @ linear(colour), 0, 1))


def told_apart(one, other, matrix):
    return np.linalg.norm(seen(one["color"], matrix) - seen(other["color"], matrix)) >= APART


def pairs(count):
    return itertools.combinations([style(number) for number in range(count)], 2)


def test_the_simulation_is_what_was_published():
    assert seen("white", DEFICIENCIES["protanopia"]) == pytest.approx(lab(np.ones(3)), abs=0.1)
    red, green = (
        seen(colour, DEFICIENCIES["deuteranopia"])[1] for colour in ("#ff0000", "#00ff00")
    )
    normal = abs(lab(linear("#ff0000"))[1] - lab(linear("#00ff00"))[1])
    assert abs(red - green) < normal / 5, "red against green is what a deuteranope does not see"
    assert contrast("black") == pytest.approx(21)


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_the_first_three_colours_stay_apart_for_every_eye(deficiency):
    assert all(told_apart(*pair, DEFICIENCIES[deficiency]) for pair in pairs(3))


@pytest.mark.parametrize("deficiency", [*DEFICIENCIES, "greyscale"])
def test_curves_whose_colours_come_together_differ_in_their_lines(deficiency):
    grey = [[0.2126, 0.7152, 0.0722]] * 3
    for one, other in pairs(len(COLOURS)):
        same_line = one["linestyle"] == other["linestyle"]
        assert told_apart(one, other, DEFICIENCIES.get(deficiency, grey)) or not same_line


def test_every_colour_has_a_line_of_its_own():
    assert len(set(COLOURS)) == len(set(map(str, LINES))) == len(COLOURS) == len(LINES)


@pytest.mark.parametrize("colour", COLOURS)
def test_curves_stand_out_from_the_page(colour):
    assert contrast(colour) >= GRAPHICS_CONTRAST


def test_captions_can_be_read():
    assert contrast(GREY) >= TEXT_CONTRAST


@pytest.mark.parametrize("name", TEXT_COLOURS)
def test_text_in_figures_has_enough_contrast(name):
    colour = THEME.get(name, TEXT_COLOURS[name])
    colour = THEME.get("text.color", TEXT_COLOURS["text.color"]) if colour == "auto" else colour
    assert contrast(colour, THEME.get("figure.facecolor", "white")) >= TEXT_CONTRAST
