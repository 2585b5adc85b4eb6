"""Write the network that the reference describes: `python reference.py reference.tflite`.

It is InceptionV3 up to mixed7, Flatten, Dense 1024, Dense 10: 47.5 million weights in float32, for 150 x 150 pixels in
0..1. Speed doesn't depend on the weights, so they are random.
"""
import sys
from pathlib import Path

import keras
import tensorflow as tf

from training.tflite import frozen_graph

inception = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(150, 150, 3))
features = keras.layers.Flatten()(inception.get_layer("mixed7").output)
hidden = keras.layers.Dense(1024, "relu")(features)
network = keras.Model(inception.input, keras.layers.Dense(10, "softmax")(hidden))
converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen_graph(network)])
Path(sys.argv[1]).write_bytes(converter.convert())
