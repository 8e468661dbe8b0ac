from __future__ import annotations

from handler.settings import Settings


def test_every_variable_is_listed_with_its_meaning(run):
    status, out, _ = run("settings")
    assert status == 0
    rows = [line.strip("| ").split(" | ") for line in out.splitlines()[2:]]
    listed = [row[0].replace("`", "").split(" or ") for row in rows]
    assert listed == [field.validation_alias.choices for field in Settings.model_fields.values()]
    assert all(row[2].endswith(".") for row in rows)


def test_defaults_name_no_folder_of_this_machine(run):
    _, out, _ = run("settings")
    assert "| `COMFYUI_DIR` | `.comfyui/src/ComfyUI` |" in out
    assert "| `COMFYUI_MODEL_DIRS` | `/runpod-volume/models` |" in out
    assert "| `BUCKET_NAME` or `S3_BUCKET` |  |" in out
