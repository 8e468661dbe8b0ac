"""Tagging on a generated model in the real onnxruntime; no ComfyUI."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from generated_models.tagger import write_tagger, write_tags
from hypothesis import given
from hypothesis import strategies as st
from tagging import (
    Category,
    Choice,
    Tag,
    choose_tags,
    load_tagger,
    prompt_text,
    read_tags,
    tags_file,
    to_model_input,
)

RED, WHITE_BGR, RED_BGR = (255, 0, 0), [255.0, 255.0, 255.0], [0.0, 0.0, 255.0]


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("wd14_tagger") / "tagger.onnx"
    write_tagger(file)
    write_tags(tags_file(file))
    return file


@pytest.fixture
def model_file(published, tmp_path) -> Path:
    """A model that no other test has loaded."""
    shutil.copy(tags_file(published), tmp_path)
    return Path(shutil.copy(published, tmp_path))


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def solid(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), RED, np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "inside", "outside"),
    [
        (100, 300, (224, 5), (40, 224)),
        (300, 100, (5, 224), (224, 40)),
        (1, 2000, (224, 224), (0, 224)),
    ],
)
def test_a_picture_is_centred_on_a_white_square_in_bgr(height, width, inside, outside):
    batch = to_model_input(solid(height, width), 448)

    assert batch.shape == (1, 448, 448, 3)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    if height > 1:
        assert batch[0, *inside].tolist() == RED_BGR
    assert batch[0, *outside].tolist() == WHITE_BGR


def test_a_square_picture_of_the_models_size_is_not_resampled():
    pixels = np.random.default_rng(1).integers(0, 256, (448, 448, 3), dtype=np.uint8)

    assert np.array_equal(to_model_input(pixels, 448)[0, :, :, ::-1], pixels)


def test_values_stay_from_0_to_255_where_resampling_overshoots():
    checkers = (np.indices((31, 31)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    batch = to_model_input(checkers, 448)

    assert batch.min() == 0.0
    assert batch.max() == 255.0


def test_only_general_and_character_tags_above_their_thresholds_are_chosen():
    tags = [
        Tag("explicit", Category.RATING),
        Tag("tree", Category.GENERAL),
        Tag("sky", Category.GENERAL),
        Tag("totoro", Category.CHARACTER),
        Tag("somebody", Category.CHARACTER),
        Tag("some_series", 3),
    ]
    probabilities = np.array([0.99, 0.5, 0.35, 0.9, 0.85, 0.99], np.float32)
    choice = Choice(threshold=float(probabilities[2]), character_threshold=float(probabilities[4]))

    assert choose_tags(tags, probabilities, choice) == ["totoro", "tree"]


def test_excluded_tags_are_recognised_in_any_spelling():
    tags = [Tag(name, Category.GENERAL) for name in ("long_hair", "Photo_(medium)", "tree")]
    exclude = frozenset({" Long Hair", "photo_(medium) ", ""})
    chosen = choose_tags(tags, np.ones(3, np.float32), Choice(exclude=exclude))

    assert chosen == ["tree"]


@given(
    st.lists(st.floats(0, 1, width=32), max_size=40),
    st.floats(0, 1, width=32),
)
def test_tags_come_most_probable_first_and_none_is_lost(probabilities, threshold):
    tags = [Tag(str(number), Category.GENERAL) for number in range(len(probabilities))]
    values = np.array(probabilities, np.float32)
    chosen = choose_tags(tags, values, Choice(threshold=threshold))

    assert {int(name) for name in chosen} == {
        number for number, value in enumerate(values) if value > threshold
    }
    assert [values[int(name)] for name in chosen] == sorted(values[values > threshold])[::-1]


def test_parentheses_of_tags_are_not_weights_of_a_prompt():
    text = prompt_text(["anna_(series_1)", "tree"], replace_underscore=False)

    assert text == r"anna_\(series_1\), tree"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("long_hair", "long hair"),
        ("anna_(series_1)", r"anna \(series 1\)"),
        ("^_^", "^_^"),
        ("o_o", "o_o"),
        ("(o)_(o)", r"\(o\)_\(o\)"),
        ("6_9", "6_9"),
    ],
)
def test_words_are_parted_by_spaces_and_faces_keep_their_underscore(name, text):
    assert prompt_text([name], replace_underscore=True) == text


def test_no_tags_make_an_empty_text():
    assert prompt_text([], replace_underscore=True) == ""


def test_a_picture_gets_a_probability_for_each_listed_tag(model_file, picture):
    tagger = load_tagger(model_file)
    probabilities = tagger.probabilities(picture)

    assert probabilities.shape == (9083,) == (len(tagger.tags),)
    assert 0.0 <= probabilities.min() < probabilities.max() <= 1.0


def test_different_pictures_get_different_tags(model_file, picture):
    tagger = load_tagger(model_file)
    first, second = (
        choose_tags(tagger.tags, tagger.probabilities(pixels), Choice())
        for pixels in (picture, picture[:, ::-1])
    )

    assert first
    assert second
    assert first != second


def test_the_order_of_colours_matters(model_file, picture):
    tagger = load_tagger(model_file)
    swapped = np.ascontiguousarray(picture[:, :, ::-1])

    assert not np.allclose(tagger.probabilities(picture), tagger.probabilities(swapped))


def test_a_model_is_loaded_once_however_many_threads_ask(model_file, picture):
    together = threading.Barrier(8)

    def load(_: int):
        together.wait(timeout=10)
        tagger = load_tagger(model_file)
        return tagger, tagger.probabilities(picture)

    with ThreadPoolExecutor(8) as threads:
        loaded = list(threads.map(load, range(8)))

    assert len({id(tagger) for tagger, _ in loaded}) == 1
    assert all(np.array_equal(values, loaded[0][1]) for _, values in loaded)


def test_a_model_that_was_replaced_is_loaded_anew(model_file):
    before = load_tagger(model_file)
    os.utime(model_file, ns=(1, 1))

    assert load_tagger(model_file) is not before


def test_a_gpu_is_not_needed_where_onnxruntime_has_none(model_file, picture):
    expected = load_tagger(model_file).probabilities(picture)

    assert np.array_equal(load_tagger(model_file, cuda_device=0).probabilities(picture), expected)


@pytest.mark.parametrize("missing", ["tagger.onnx", "tagger.csv"])
def test_a_missing_file_is_named(model_file, missing):
    (model_file.parent / missing).unlink()

    with pytest.raises(FileNotFoundError, match=missing) as caught:
        load_tagger(model_file)
    assert str(model_file.parent) in str(caught.value)


def test_a_truncated_model_is_named(model_file):
    model_file.write_bytes(model_file.read_bytes()[:1000])

    with pytest.raises(ValueError, match=r"tagger\.onnx cannot be loaded"):
        load_tagger(model_file)


def test_a_text_in_place_of_a_model_is_named(model_file):
    model_file.write_text("version https://git-lfs.github.com/spec/v1\n")

    with pytest.raises(ValueError, match=r"tagger\.onnx cannot be loaded"):
        load_tagger(model_file)


def test_an_empty_model_is_named(model_file):
    model_file.write_bytes(b"")

    with pytest.raises(ValueError, match=r"tagger\.onnx cannot be loaded"):
        load_tagger(model_file)


def test_another_kind_of_model_is_refused(model_file):
    model = onnx.load(model_file)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.append(onnx.helper.make_node("Sigmoid", ["x"], ["predictions_sigmoid"]))
    model.graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 9083])
    )
    onnx.save(model, model_file)

    with pytest.raises(ValueError, match=r"not a WD14 tagger: its input is \[1, 9083\]"):
        load_tagger(model_file)


def test_a_tag_list_of_another_model_is_refused(model_file):
    tags_file(model_file).write_text("tag_id,name,category,count\n1,tree,0,5\n")

    with pytest.raises(ValueError, match=r"9083 outputs, but tagger\.csv lists 1 tags"):
        load_tagger(model_file)


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        "tag_id,name,category\n1,tree,green\n",
        "tag_id,name,category\n1,tree\n",
        b"\xff\xfe\x00",
    ],
)
def test_a_file_that_is_no_tag_list_is_refused(tmp_path, text):
    file = tmp_path / "tags.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ValueError, match=r"tags\.csv is not a tag list"):
        read_tags(file)


def test_an_empty_tag_list_is_refused(tmp_path):
    file = tmp_path / "tags.csv"
    file.write_text("tag_id,name,category,count\n")

    with pytest.raises(ValueError, match="lists no tags"):
        read_tags(file)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_tag_list_or_a_value_error(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "fuzzed.csv"
    file.write_bytes(content)
    try:
        tags = read_tags(file)
    except ValueError:
        return
    assert all(isinstance(tag.category, int) for tag in tags)
