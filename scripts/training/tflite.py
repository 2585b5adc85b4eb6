"""A Keras network as a TensorFlow Lite flatbuffer."""

from training.metadata import with_metadata


def frozen_graph(model):
    """The inference graph of a Keras model for one image, its variables replaced by constants.

    The converter would freeze the graph itself, but leaves some networks with variables that read as NaN.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    pixels = tf.TensorSpec((1, *model.input_shape[1:]), model.inputs[0].dtype)
    graph = tf.function(lambda pixels: model(pixels, training=False)).get_concrete_function(pixels)
    return convert_variables_to_constants_v2(graph)


def to_tflite(model, quantize: str, calibration=()) -> bytes:
    """Convert a Keras model to a flatbuffer that takes uint8 [1, H, W, 3].

    quantize: "int8", "float16" or "float32". calibration: uint8 [N, H, W, 3], photos from which int8 takes the ranges
    of its activations.
    """
    import keras
    import tensorflow as tf

    if quantize != "int8":  # float networks take uint8 by a cast in front
        pixels = keras.Input(model.input_shape[1:], dtype="uint8")
        model = keras.Model(pixels, model(keras.ops.cast(pixels, "float32")))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen_graph(model)])
    if quantize == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None].astype("float32")] for image in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
    elif quantize == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return store_equal_vectors_once(with_metadata(converter.convert()))


def store_equal_vectors_once(network: bytes) -> bytes:
    """Rewrite a flatbuffer with equal vectors shared: a twelfth of an int8 file is zero points, all of them 0."""
    import flatbuffers
    from tensorflow.lite.python.schema_py_generated import ModelT

    class Builder(flatbuffers.Builder):
        written = {}

        def CreateNumpyVector(self, vector):
            key = vector.dtype.str, vector.tobytes()
            if key not in self.written:
                self.written[key] = super().CreateNumpyVector(vector)
            return self.written[key]

        def StartVector(self, size, count, alignment):  # the schema wants weights aligned to 16 bytes
            return super().StartVector(size, count, max(alignment, 16))

    builder = Builder(len(network))
    builder.Finish(ModelT.InitFromPackedBuf(network).Pack(builder), b"TFL3")
    return bytes(builder.Output())
