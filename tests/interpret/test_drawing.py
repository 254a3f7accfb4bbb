"""A drawing becomes what MNIST's makers would have made of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet.config import Refusal
from lenet.interpret.drawing import as_mnist
from lenet.training import data

DIGITS = data.load_data("digits", None).test_images.numpy()


def stroke(height: int, width: int) -> np.ndarray:
    """A white bar with a foot, on black, off the middle."""
    image = np.zeros((height, width), np.uint8)
    image[height // 8 : height // 2, width // 3 : width // 2] = 255
    image[height // 2 - 2 : height // 2, width // 3 : width - 3] = 200
    return image


@pytest.mark.slow  # needs MNIST
def test_images_of_mnist_stay_as_they_are(mnist):
    """Which is evidence that this is how they were made: box, scale, middle. One in ten
    has no pixel of 255, and is stretched by one level of grey."""
    images = mnist.test_images.numpy()
    apart = [np.abs(as_mnist(image).astype(int) - image).max() for image in images]
    assert np.mean(np.equal(apart, 0)) > 0.89
    assert np.mean(np.less_equal(apart, 1)) > 0.999


@given(
    st.integers(1, 9),
    st.tuples(*[st.integers(0, 40)] * 4),
    st.integers(0, len(DIGITS) - 1),
)
@settings(max_examples=30, deadline=None)
def test_size_and_place_of_a_digit_do_not_matter(times, around, which):
    """Enlarged in whole steps, with any border, it gives the same image."""
    large = np.kron(DIGITS[which], np.ones((times, times), np.uint8))
    top, bottom, left, right = around
    placed = np.pad(large, ((top, bottom), (left, right)))
    assert np.array_equal(as_mnist(placed), as_mnist(DIGITS[which]))


def test_ink_may_be_dark_or_light():
    """A negative gives the same image, and so does fainter ink on a grey ground."""
    image = stroke(90, 70)
    assert np.array_equal(as_mnist(image), as_mnist(255 - image))
    faint = (40 + image // 5 * 2).astype(np.uint8)
    assert np.array_equal(as_mnist(image), as_mnist(faint))


def test_noise_of_a_photograph_is_no_ink():
    """Grain on the paper changes neither the box nor the background."""
    grain = np.random.default_rng(1).integers(-6, 7, (90, 70))
    photo = (200 - stroke(90, 70) // 2 + grain).astype(np.uint8)
    clean, noisy = as_mnist(stroke(90, 70)), as_mnist(photo)
    assert np.array_equal(clean > 0, noisy > 0)
    assert np.abs(clean.astype(int) - noisy).max() < 40


@pytest.mark.parametrize("shape", [(280, 280), (31, 300), (300, 31), (20, 9), (3, 5)])
def test_box_has_twenty_pixels_and_its_mass_in_the_middle(shape):
    """Proportions are kept, the most ink is 255, and the centre lies at 14, 14."""
    image = np.zeros((400, 400), np.uint8)
    image[7 : 7 + shape[0], 9 : 9 + shape[1]] = 255
    digit = as_mnist(image)
    rows, columns = digit.any(1).sum(), digit.any(0).sum()
    assert (rows, columns) == tuple(
        max(1, int(20 * side / max(shape) + 0.5)) for side in shape
    )
    assert digit.max() == 255
    for axis in (0, 1):
        mass = digit.sum(1 - axis) @ np.arange(28) / digit.sum()
        assert 13.5 <= mass < 14.5


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.full((28, 28), 7, np.uint8), "blank"),
        (np.zeros((28, 28, 3), np.uint8), "grey"),
        (np.zeros((0, 28), np.uint8), "grey"),
        (np.zeros((28, 28)), "bytes"),
    ],
)
def test_what_is_no_picture_of_a_digit_is_refused(image, said):
    """With a message that says what to give."""
    with pytest.raises(Refusal, match=said):
        as_mnist(image)
