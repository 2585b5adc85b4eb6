"""A Keras network as a TensorFlow Lite flatbuffer, with the standard metadata of an image classifier."""
import re
from collections import Counter

import flatbuffers
import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.util import modify_model_io_type
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

# Values of the metadata schema's enumerations and unions.
RGB, IMAGE_PROPERTIES, NORMALIZATION_OPTIONS, TENSOR_AXIS_LABELS = map(np.uint8, (1, 2, 1, 2))


def frozen_graph(model):
    """The inference graph of a Keras model for one image, its variables replaced by constants.

    The converter would freeze the graph itself, but leaves some networks with variables that read as NaN.
    """
    pixels = tf.TensorSpec((1, *model.input_shape[1:]), model.inputs[0].dtype)
    graph = tf.function(lambda pixels: model(pixels, training=False)).get_concrete_function(pixels)
    return convert_variables_to_constants_v2(graph)


def to_tflite(model, quantize: str, calibration=()) -> bytes:
    """Convert a Keras model to a flatbuffer that takes uint8 [1, H, W, 3]; quantize: "int8", "float16" or "float32".

    calibration: uint8 [N, H, W, 3], photos from which int8 takes the ranges of its activations.
    """
    if quantize == "int8":
        return finish(to_int8(model, calibration))
    pixels = keras.Input(model.input_shape[1:], dtype="uint8")  # float networks take uint8 by a cast in front
    model = keras.Model(pixels, model(keras.ops.cast(pixels, "float32")))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen_graph(model)])
    if quantize == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return finish(converter.convert())


def to_int8(model, calibration) -> bytes:
    """Quantise the backbone. What follows the pooled features stays in float32, so that probabilities are smooth."""
    # EfficientNet-Lite normalises its pixels first. The input's quantisation takes that over at no cost: uint8 p then
    # stands for (p - 127) / 128, and the layer itself does nothing.
    inputs = np.array(calibration, np.float32)
    inputs[0, 0, :2] = [[0], [255]]  # the whole range, so that the input's scale is exact
    layers = {layer.name: layer for layer in model.get_layer("backbone").layers}
    normalise = layers.get("normalise", keras.layers.Rescaling(1.0))  # other networks normalise in another way
    scale, offset = normalise.scale, normalise.offset
    inputs = inputs * scale + offset
    normalise.scale, normalise.offset = 1.0, 0.0
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen_graph(model)])
    normalise.scale, normalise.offset = scale, offset
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=names_behind_pooling(converter.convert()))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[np.newaxis]] for image in inputs)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    quantizer = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=converter.representative_dataset, debug_options=options)
    return modify_model_io_type(quantizer.get_nondebug_quantized_model(), tf.uint8, tf.float32)


def names_behind_pooling(network: bytes) -> list[str]:
    """The names of the tensors behind the global average pooling, the last MEAN operator of a float network."""
    model = schema.ModelT.InitFromPackedBuf(network)
    graph = model.subgraphs[0]
    kinds = [model.operatorCodes[operator.opcodeIndex].builtinCode for operator in graph.operators]
    last = max(position for position, kind in enumerate(kinds) if kind == schema.BuiltinOperator.MEAN)
    return [graph.tensors[operator.outputs[0]].name.decode() for operator in graph.operators[last + 1:]]


def finish(network: bytes) -> bytes:
    """Rewrite a flatbuffer with the standard metadata, with short and unique names, and with equal vectors shared.

    A twelfth of an int8 file is zero points, all of them 0. The converter names a tensor after all the operations that
    it merged, each with its path.
    """
    class Builder(flatbuffers.Builder):
        written = {}

        def CreateNumpyVector(self, vector):
            key = vector.dtype.str, vector.tobytes()
            if key not in self.written:
                self.written[key] = super().CreateNumpyVector(vector)
            return self.written[key]

        def StartVector(self, size, count, alignment):  # the schema wants weights aligned to 16 bytes
            return super().StartVector(size, count, max(alignment, 16))

    model = schema.ModelT.InitFromPackedBuf(network)
    model.metadata.append(schema.MetadataT("TFLITE_METADATA", len(model.buffers)))
    model.buffers.append(schema.BufferT(np.frombuffer(metadata(), np.uint8)))
    uses = Counter()
    graph = model.subgraphs[0]
    for output, name in zip(graph.outputs, (b"probabilities", b"familiarity")):
        graph.tensors[output].name = name
    for tensor in reversed(graph.tensors):  # activations, which come last, keep the plain name
        name = re.sub(rb"_1(?=/)|functional[_\d]*/|;.*", b"", tensor.name)
        tensor.name = b"%s/%d" % (name, uses[name]) if uses[name] else name
        uses[name] += 1
    builder = Builder(len(network))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def metadata() -> bytes:
    """The metadata, which MediaPipe Tasks reads. Fields stand in the schema's order, None for one that is left out.

    https://github.com/google-ai-edge/mediapipe/blob/master/mediapipe/tasks/metadata/metadata_schema.fbs. tflite-support
    and MediaPipe have writers, but no wheels in which these work on Python 3.12 and later.
    """
    builder = flatbuffers.Builder()
    text = builder.CreateString

    def numbers(*values: float) -> int:
        return builder.CreateNumpyVector(np.array(values, np.float32))

    def tables(*tables: int) -> int:
        builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            builder.PrependUOffsetTRelative(table)
        return builder.EndVector()

    def table(*fields: int | np.uint8 | None) -> int:
        builder.StartObject(len(fields))
        for slot, value in enumerate(fields):
            if isinstance(value, np.uint8):
                builder.PrependUint8Slot(slot, int(value), 0)
            elif value is not None:
                builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        return builder.EndObject()

    content = table(IMAGE_PROPERTIES, table(RGB))
    unchanged = table(NORMALIZATION_OPTIONS, table(numbers(0), numbers(1)))  # mean, standard deviation
    image = table(text("image"), text("RGB, 0 to 255; the network normalises them"), None, content, tables(unchanged),
                  table(numbers(255), numbers(0)))  # maximum, minimum
    labels = table(text("labels.txt"), text("The labels, one per line"), TENSOR_AXIS_LABELS)
    probability = table(text("probability"), text("Of each label"), None, None, None, table(numbers(1), numbers(0)),
                        tables(labels))
    familiarity = table(text("familiarity"), text("How much the photo resembles the training photos, 0 to 1"), None,
                        None, None, table(numbers(1), numbers(0)))
    subgraph = table(None, None, tables(image), tables(probability, familiarity))
    builder.Finish(table(text("ImageClassifier"), text("Labels what a photo shows"), None, tables(subgraph), None, None,
                         None, text("1.0.0")), b"M001")
    return bytes(builder.Output())
