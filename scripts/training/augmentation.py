"""Random augmentation of a batch of training photos: other cameras and rooms, other poses, hidden parts, and mixup."""
from math import pi

import tensorflow as tf

QUARTER_TURN_CHANCE = 0.1  # by 90, 180 or 270 degrees


def augment(images: tf.Tensor, seed: tf.Tensor | int) -> tf.Tensor:
    """Augment integer or float images [N, H, W, 3] in 0..255; returns float32. The same seed gives the same views."""
    streams = iter(range(100))

    def uniform(low, high, *shape):
        """Random float32 [N, *shape] in low..high; each call has a stream of its own."""
        shape = tf.shape(images)[0], *shape
        return tf.random.stateless_uniform(shape, (tf.cast(seed, tf.int32), next(streams)), low, high)

    images = change_colours(tf.cast(images, tf.float32), uniform)
    return erase(warp(images, uniform), uniform)


def change_colours(images: tf.Tensor, uniform) -> tf.Tensor:
    """Change saturation, contrast, brightness and white balance."""
    grey = tf.image.rgb_to_grayscale(images)
    mean = tf.reduce_mean(grey, (1, 2), keepdims=True)
    saturation, contrast = uniform(0.6, 1.4, 1, 1, 1), uniform(0.7, 1.3, 1, 1, 1)
    brightness, white_balance = uniform(-0.3, 0.3, 1, 1, 1), uniform(-0.08, 0.08, 1, 1, 3)  # natural logarithms
    images = grey + (images - grey) * saturation
    images = mean + (images - mean) * contrast
    return tf.clip_by_value(images * tf.exp(brightness + white_balance), 0, 255)


def affine(*entries) -> tf.Tensor:
    """The first two rows, as six numbers or tensors [N] -> matrices [N, 3, 3]; [1, 3, 3] for scalars."""
    zeros = tf.zeros_like(sum(entries))
    return tf.reshape(tf.stack([zeros + entry for entry in (*entries, 0, 0, 1)], axis=-1), (-1, 3, 3))


def warp(images: tf.Tensor, uniform) -> tf.Tensor:
    """Rotate, shear, zoom, stretch, mirror and shift, all by one affine map about the centre."""
    height, width = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32))
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2

    angle = uniform(-20 * pi / 180, 20 * pi / 180)
    lottery = uniform(0, 3 / QUARTER_TURN_CHANCE)  # below 3: one, two or three quarter turns
    angle += tf.where(lottery < 3, tf.floor(lottery) + 1, 0.0) * pi / 2
    rotation = affine(tf.cos(angle), -tf.sin(angle), 0, tf.sin(angle), tf.cos(angle), 0)
    shear = affine(1, uniform(-0.15, 0.15), 0, 0, 1, 0)
    factor, stretch = uniform(-0.35, 0.35), uniform(-0.1, 0.1)  # natural logarithms
    zoom = affine(tf.exp(factor + stretch), 0, 0, 0, tf.exp(factor - stretch), 0)
    mirror = affine(tf.sign(uniform(-1, 1)), 0, 0, 0, 1, 0)
    shift = affine(1, 0, uniform(-0.1, 0.1) * width, 0, 1, uniform(-0.1, 0.1) * height)
    from_centre = affine(1, 0, centre_x, 0, 1, centre_y)
    to_centre = affine(1, 0, -centre_x, 0, 1, -centre_y)

    # From pixels of the output to pixels of the input, as the operation below wants it.
    matrices = shift @ from_centre @ rotation @ shear @ zoom @ mirror @ to_centre
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.reshape(matrices, (-1, 9))[:, :8],
        output_shape=tf.shape(images)[1:3],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=127.0)  # the grey around a letterboxed photo, as in lambda/preprocess.py


def erase(images: tf.Tensor, uniform) -> tf.Tensor:
    """Fill a rectangle of some images with one random colour."""
    chosen = tf.cast(uniform(0, 1, 1) < 0.4, tf.float32)
    half_side = uniform(0.1, 0.4, 2) / 2 * chosen  # as a share of the height and of the width
    centre = uniform(0, 1, 2)
    colour = uniform(0, 255, 1, 1, 3)

    def inside(axis):
        """bool [N, H] or [N, W]: the rows (axis 0) or columns (axis 1) that the rectangle covers."""
        positions = tf.linspace(0.0, 1.0, tf.shape(images)[1 + axis])
        return tf.abs(positions - centre[:, axis, tf.newaxis]) < half_side[:, axis, tf.newaxis]

    erased = inside(0)[:, :, tf.newaxis] & inside(1)[:, tf.newaxis, :]
    return tf.where(erased[..., tf.newaxis], colour, images)


def mixup(images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor | int) -> tuple:
    """Blend each photo and its one-hot target with another of the batch (Zhang et al. 2018, Beta(0.2, 0.2))."""
    draws = tf.random.stateless_gamma((2, tf.shape(images)[0]), (tf.cast(seed, tf.int32), 200), 0.2)
    share = draws[0] / (draws[0] + draws[1] + 1e-20)
    share = tf.maximum(share, 1 - share)

    def blend(values, share):
        return share * values + (1 - share) * tf.reverse(values, [0])

    return blend(images, share[:, tf.newaxis, tf.newaxis, tf.newaxis]), blend(targets, share[:, tf.newaxis])
