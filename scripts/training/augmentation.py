"""Random augmentation of a batch of photos in training: geometry, light and colour, and erased patches.

The families are the reference's (rotation, shift, shear, zoom, horizontal flip), and what stands for another camera or
room: brightness, contrast, saturation, white balance, a hidden part, and a photo that lies on its side or upside down.
"""
import tensorflow as tf

ROTATION, SHIFT, SHEAR, ZOOM, STRETCH = 20.0, 0.1, 0.15, 0.35, 0.1  # degrees, and fractions
TURN_CHANCE = 0.1  # by 90, 180 or 270 degrees
BRIGHTNESS, CONTRAST, SATURATION, WHITE_BALANCE = 0.3, 0.3, 0.4, 0.08
ERASE_CHANCE, ERASE_SIDE = 0.4, (0.1, 0.4)
PAD = 127.0  # the grey around a letterboxed photo, as in lambda/preprocess.py


def augment(images: tf.Tensor, seed: tf.Tensor | int) -> tf.Tensor:
    """[N, H, W, 3] in 0..255, integers or floats -> float32 of the same shape and range; the same seed, the same."""
    count, height, width = tf.unstack(tf.shape(images))[:3]
    draws = iter(range(100))

    def uniform(low, high, *shape):
        return tf.random.stateless_uniform((count, *shape), (tf.cast(seed, tf.int32), next(draws)), low, high)

    images = tf.cast(images, tf.float32)
    grey = tf.image.rgb_to_grayscale(images)
    images = grey + (images - grey) * uniform(1 - SATURATION, 1 + SATURATION, 1, 1, 1)
    mean = tf.reduce_mean(grey, (1, 2), keepdims=True)
    images = mean + (images - mean) * uniform(1 - CONTRAST, 1 + CONTRAST, 1, 1, 1)
    images *= tf.exp(uniform(-BRIGHTNESS, BRIGHTNESS, 1, 1, 1) + uniform(-WHITE_BALANCE, WHITE_BALANCE, 1, 1, 3))
    images = tf.clip_by_value(images, 0, 255)

    # One affine map from output to input pixels, about the centre: input = A (output - centre) + centre + shift.
    angle, shear = uniform(-ROTATION, ROTATION) * 0.0174533, uniform(-SHEAR, SHEAR)
    zoom, stretch = uniform(-ZOOM, ZOOM), uniform(-STRETCH, STRETCH)
    mirror = tf.sign(uniform(-1, 1))
    shift_right, shift_down = uniform(-SHIFT, SHIFT), uniform(-SHIFT, SHIFT)
    half = uniform(*ERASE_SIDE, 2) / 2 * tf.cast(uniform(0, 1, 1) < ERASE_CHANCE, tf.float32)
    centre, colour = uniform(0, 1, 2), uniform(0, 255, 1, 1, 3)
    turn = uniform(0, 3 / TURN_CHANCE)
    angle += tf.where(turn < 3, tf.floor(turn) + 1, 0.0) * 1.5707963
    across, down = mirror * tf.exp(zoom + stretch), tf.exp(zoom - stretch)
    a, b = tf.cos(angle) * across, (tf.cos(angle) * shear - tf.sin(angle)) * down
    c, d = tf.sin(angle) * across, (tf.sin(angle) * shear + tf.cos(angle)) * down
    x, y = tf.cast(width - 1, tf.float32) / 2, tf.cast(height - 1, tf.float32) / 2
    right = x - a * x - b * y + shift_right * tf.cast(width, tf.float32)
    below = y - c * x - d * y + shift_down * tf.cast(height, tf.float32)
    zero = tf.zeros_like(a)
    images = tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=tf.stack([a, b, right, c, d, below, zero, zero], 1), output_shape=(height, width),
        interpolation="BILINEAR", fill_mode="CONSTANT", fill_value=PAD)

    rows = tf.abs(tf.linspace(0.0, 1.0, height)[tf.newaxis] - centre[:, :1]) < half[:, :1]
    columns = tf.abs(tf.linspace(0.0, 1.0, width)[tf.newaxis] - centre[:, 1:]) < half[:, 1:]
    erased = (rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :])[..., tf.newaxis]
    return tf.where(erased, colour, images)


def mixup(images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor | int, alpha: float = 0.2) -> tuple:
    """Blend each photo and its one-hot target with another of the batch (Zhang et al. 2018, Beta(alpha, alpha))."""
    draw = tf.random.stateless_gamma((2, tf.shape(images)[0]), (tf.cast(seed, tf.int32), 200), alpha)
    share = draw[0] / (draw[0] + draw[1] + 1e-20)
    share = tf.maximum(share, 1 - share)
    blend = lambda values, share: share * values + (1 - share) * tf.reverse(values, [0])
    return blend(images, share[:, None, None, None]), blend(targets, share[:, None])
