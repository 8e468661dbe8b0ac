"""A tagger with the borders of wd-v1-4-moat-tagger-v2: its input, its output, its list of tags.

Input: one image, (1, 448, 448, 3) float32, BGR from 0 to 255. Output: (1, 9083) probabilities.
Between them the real one is a deep network; this one looks at the mean colours of a coarse grid.
"""

from __future__ import annotations

import csv
import io
from itertools import islice, product
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from generated_models.atomic_file import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# https://huggingface.co/SmilingWolf/wd-v1-4-moat-tagger-v2; deepghs/wd14_tagger_with_embeddings
# gives the number of tags. The split into general and character tags is the generated file's own.
_IMAGE_SIZE = 448
_RATINGS, _GENERAL, _CHARACTERS = 4, 6947, 2132
_TAGS = _RATINGS + _GENERAL + _CHARACTERS
_CATEGORY_GENERAL, _CATEGORY_CHARACTER, _CATEGORY_RATING = 0, 4, 9

_CELL = 64
_FEATURES = (_IMAGE_SIZE // _CELL) ** 2 * 3
_SPREAD = 1.6  # of the logits, whatever the picture
_BIAS = -5.2  # so that a picture gets some fifteen tags
_SEED = 448

_COLOURS = (
    "red orange yellow green blue purple pink brown black white grey golden silver pale dark "
    "bright striped spotted checkered floral wooden metal glass stone paper silk woollen leather "
    "long short wide narrow tall small tiny large huge round square open closed broken folded "
    "torn wet dry old new soft hard warm cold clean dusty shiny matte glowing floating hanging "
    "standing sitting sleeping running distant near hidden painted carved woven knitted printed "
    "plain fancy simple heavy light thin thick curved straight rusty mossy snowy rainy sunny "
    "misty stormy calm"
)
_THINGS = (
    "sky cloud sun moon star sea river lake hill mountain forest tree leaf flower grass field "
    "road bridge house roof window door wall fence garden town street lamp train boat bicycle cart "
    "cat dog bird fish horse fox rabbit deer butterfly bee hat scarf coat dress shirt skirt shoes "
    "boots gloves ribbon bag basket umbrella book letter pen cup plate bowl spoon bread apple cake "
    "tea lantern candle clock mirror chair table bed blanket pillow curtain hair eyes smile hand"
)
_FIRST_NAMES = (
    "anna bela carl dora emil fina gero hana ivan jana karl lena mina nilo olga paul quin rosa "
    "sven tina udo vera willi xenia yoko zeno alma bruno celia david elsa frida gustav hilda igor "
    "julia kasper lotte marek nora otto petra ralf selma toni ursel"
)
_SERIES = [f"series_{number}" for number in range(1, 51)]


def write_tagger(path: Path) -> None:
    """Write the model."""
    model = helper.make_model(_graph(), opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    with atomic_file(path) as file:
        file.write(model.SerializeToString())


def write_tags(path: Path) -> None:
    """Write the list of tags, one for each of the model's outputs, in the real file's columns."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(("tag_id", "name", "category", "count"))
    for number, (name, category) in enumerate(_tags()):
        rows.writerow((9_999_999 - number, name, category, 1_000_000 // (number + 1)))
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())


def _graph() -> onnx.GraphProto:
    weight = np.random.default_rng(_SEED).standard_normal((_FEATURES, _TAGS), np.float32)
    weight *= _SPREAD / _FEATURES**0.5
    constants = {
        "features": np.array([1, _FEATURES], np.int64),
        "epsilon": np.array(1e-3, np.float32),
        "weight": weight,
        "bias": np.full(_TAGS, _BIAS, np.float32),
    }
    node = helper.make_node
    return helper.make_graph(
        [
            node("Transpose", ["input_1:0"], ["channels_first"], perm=[0, 3, 1, 2]),
            node(
                "AveragePool",
                ["channels_first"],
                ["cells"],
                kernel_shape=[_CELL, _CELL],
                strides=[_CELL, _CELL],
            ),
            node("Reshape", ["cells", "features"], ["flat"]),
            node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=1),
            node("Sub", ["flat", "mean"], ["centred"]),
            node("Mul", ["centred", "centred"], ["squared"]),
            node("ReduceMean", ["squared"], ["variance"], axes=[1], keepdims=1),
            node("Add", ["variance", "epsilon"], ["safe_variance"]),
            node("Sqrt", ["safe_variance"], ["deviation"]),
            node("Div", ["centred", "deviation"], ["normal"]),
            node("Gemm", ["normal", "weight", "bias"], ["logits"]),
            node("Sigmoid", ["logits"], ["predictions_sigmoid"]),
        ],
        "tagger",
        [
            helper.make_tensor_value_info(
                "input_1:0", TensorProto.FLOAT, [1, _IMAGE_SIZE, _IMAGE_SIZE, 3]
            )
        ],
        [helper.make_tensor_value_info("predictions_sigmoid", TensorProto.FLOAT, [1, _TAGS])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )


def _tags() -> Iterator[tuple[str, int]]:
    for rating in ("general", "sensitive", "questionable", "explicit"):
        yield rating, _CATEGORY_RATING
    general = (f"{colour}_{thing}" for colour, thing in product(_COLOURS.split(), _THINGS.split()))
    for name in _first(_GENERAL, general):
        yield name, _CATEGORY_GENERAL
    characters = (f"{first}_({series})" for first, series in product(_FIRST_NAMES.split(), _SERIES))
    for name in _first(_CHARACTERS, characters):
        yield name, _CATEGORY_CHARACTER


def _first(count: int, names: Iterator[str]) -> list[str]:
    chosen = list(islice(names, count))
    if len(chosen) < count:
        raise ValueError(f"{len(chosen)} names are too few for {count} tags; add words")
    return chosen
