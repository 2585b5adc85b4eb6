"""The standard metadata of TensorFlow Lite models: what the input is, and which file names the labels.

MediaPipe Tasks (Python, Android, iOS, web) and Android Studio read it. It is a flatbuffer inside the network's:
https://github.com/google-ai-edge/mediapipe/blob/master/mediapipe/tasks/metadata/metadata_schema.fbs. No library writes
it for us: tflite-support has no wheels for Python 3.12 and later, and the writer in MediaPipe's wheel imports a C++
module that the wheel lacks.
"""
import flatbuffers
import numpy as np

NAME = "TFLITE_METADATA"
# Values of the schema's enumerations and unions.
RGB, IMAGE_PROPERTIES, NORMALIZATION_OPTIONS, TENSOR_AXIS_LABELS = map(np.uint8, (1, 2, 1, 2))


def add_metadata(model) -> None:
    """Add the metadata of an image classifier to a ModelT: uint8 [1, H, W, 3] in, probabilities of labels.txt out."""
    from tensorflow.lite.python.schema_py_generated import BufferT, MetadataT

    entry, buffer = MetadataT(), BufferT()
    entry.name, entry.buffer = NAME, len(model.buffers)
    buffer.data = np.frombuffer(classifier_metadata(), np.uint8)
    model.metadata = [*(model.metadata or []), entry]
    model.buffers.append(buffer)


def classifier_metadata() -> bytes:
    """The metadata as a flatbuffer. Fields stand in the order of the schema, None for one that is left out."""
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
