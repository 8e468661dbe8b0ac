from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from safetensors.numpy import load_file

from generated_models.fill import Constant, Counting, Noise
from generated_models.safetensors_stream import Tensor, write_safetensors

LARGE = (2300, 2000)  # more elements than the block of noise


class Failing:
    def numbers(self, name: str, size: int) -> Iterator[np.ndarray]:
        yield np.zeros(size - len(name))
        raise OSError("disk full")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("models") / "kind" / "model.safetensors"
    tensors = [
        Tensor("large", LARGE, Noise(0.5)),
        Tensor("other", (100, 20), Noise(0.5)),
        Tensor("salted", (100, 20), Noise(0.5, "salt")),
        Tensor("scalar", (), Constant(4.5)),
        Tensor("empty", (0,), Constant(0.0), "float32"),
        Tensor("ids", (1, 77), Counting(), "int64"),
    ]
    write_safetensors(path, tensors)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return load_file(path)


def test_the_file_is_read_by_the_safetensors_library(written):
    assert written["large"].shape == LARGE
    assert written["large"].dtype == np.float16
    assert written["scalar"] == 4.5
    assert written["empty"].shape == (0,)
    assert written["ids"].tolist() == [list(range(77))]


def test_noise_has_the_scale_that_was_asked_for(written):
    assert written["large"].astype(np.float64).std() == pytest.approx(0.5, rel=0.01)
    assert written["large"].astype(np.float64).mean() == pytest.approx(0.0, abs=0.01)


def test_no_two_rows_and_no_two_tensors_are_alike(written):
    assert len(np.unique(written["large"][:, :8], axis=0)) == LARGE[0]
    assert not np.array_equal(written["other"], written["large"].ravel()[:2000].reshape(100, 20))
    assert not np.array_equal(written["other"], written["salted"])


def test_the_same_tensor_gets_the_same_numbers_in_every_file(written, tmp_path):
    write_safetensors(tmp_path / "again", [Tensor("other", (100, 20), Noise(0.5))])

    assert np.array_equal(load_file(tmp_path / "again")["other"], written["other"])


def test_a_file_that_could_not_be_finished_is_not_there(tmp_path):
    with pytest.raises(OSError, match="disk full"):
        write_safetensors(tmp_path / "model", [Tensor("x", (5,), Failing())])

    assert list(tmp_path.iterdir()) == []
