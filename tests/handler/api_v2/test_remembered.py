from __future__ import annotations

from handler.api_v2.remembered import Remembered


def test_value_is_forgotten_after_a_while():
    values = Remembered[str](seconds=0.0)
    values.put("a", "one", 3)
    assert values.get("a") is None
    lasting = Remembered[str]()
    lasting.put("a", "one", 3)
    assert lasting.get("a") == "one"
    lasting.pop("a")
    assert lasting.get("a") is None


def test_oldest_values_go_where_all_are_too_large():
    values = Remembered[str](most_bytes=10)
    for key in "abc":
        values.put(key, key, 4)
    assert [values.get(key) for key in "abc"] == [None, "b", "c"]
    values.put("b", "other", 4)
    assert values.get("c") == "c"
    values.put("d", "too large", 11)
    assert [values.get(key) for key in "bcd"] == [None, None, None]
