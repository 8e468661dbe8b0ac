from __future__ import annotations

import base64
import signal
import subprocess
import sys

import pytest
from media_support import sound, video
from time_bounds import SOON

from comfyui_runtime.run.cancellation import Cancellation
from handler.contract.errors import (
    ForbiddenAddressError,
    InputError,
    InputTooLargeError,
    NotMediaError,
)
from handler.inputs import job_files
from handler.inputs.media import MediaLimits, check_media
from handler.inputs.time_limit import TimeLimit
from handler.inputs.wanted import Wanted

LIMITS = MediaLimits(seconds=10, frame_pixels=10_000, video_pixels=100_000)


@pytest.fixture
def check(tmp_path):
    def run(data, media="video", limits=LIMITS):
        path = tmp_path / "0"
        path.write_bytes(data)
        wanted = Wanted("clip", 1_000_000, "file")
        return check_media(wanted, path, media, limits, TimeLimit(10, Cancellation()))

    return run


@pytest.fixture
def files(make_fetcher):
    with make_fetcher().job_files() as files:
        yield files


def fetch(files, source, media="video", extension="bin", name="clip"):
    return files.fetch(name, source, media, extension, Cancellation())


def as_base64(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("container", "codec", "extension"),
    [
        ("mp4", "mpeg4", "mp4"),
        ("mov", "mpeg4", "mp4"),
        ("matroska", "mpeg4", "mkv"),
        ("webm", "libvpx", "mkv"),
        ("avi", "mpeg4", "avi"),
        ("mpegts", "mpeg2video", "ts"),
    ],
)
def test_a_video_of_each_format_has_the_extension_of_its_content(
    check, container, codec, extension
):
    rate = 25 if container == "mpegts" else 8
    assert check(video(container=container, codec=codec, rate=rate)) == extension


@pytest.mark.parametrize("container", ["wav", "flac", "mp3"])
def test_a_sound_of_each_format_has_the_extension_of_its_content(check, container):
    assert check(sound(container=container), "audio") == container


@pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"<html>", b"\0" * 5000])
@pytest.mark.parametrize("media", ["video", "audio"])
def test_what_is_no_media_is_refused(check, data, media):
    with pytest.raises(NotMediaError, match="'clip'") as caught:
        check(data, media)
    assert caught.value.details["file"] == "clip"


def test_a_video_without_sound_is_no_sound_and_a_sound_is_no_video(check):
    with pytest.raises(NotMediaError, match="no sound"):
        check(video(), "audio")
    with pytest.raises(NotMediaError):
        check(sound(), "video")


def test_a_file_that_is_cut_short_is_refused(check):
    with pytest.raises(NotMediaError):
        check(video()[:200])


def test_a_playlist_does_not_make_the_worker_open_what_it_names(check, site, tmp_path):
    """FFmpeg would: of the network, and of the disk."""
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(video())
    site.page("/inner.ts", video(container="mpegts", codec="mpeg2video", rate=25))
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n"
    playlists = [
        f"{head}{site.url('/inner.ts')}\n#EXT-X-ENDLIST\n",
        f"{head}file://{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{secret}'\n",
        f"<?xml version='1.0'?><MPD><BaseURL>{site.url('/inner.ts')}</BaseURL></MPD>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    ]
    for playlist in playlists:
        for media in ("video", "audio"):
            with pytest.raises(NotMediaError):
                check(playlist.encode(), media)
    assert site.requests == []


def test_too_long_or_too_large_is_refused_and_the_setting_named(check):
    cases = [
        ({"width": 16, "height": 16, "frames": 100}, "INPUT_MAX_SECONDS"),
        ({"width": 128, "height": 96}, "INPUT_MAX_PIXELS"),
        ({"width": 96, "height": 96, "frames": 12}, "INPUT_MAX_VIDEO_PIXELS"),
    ]
    for how, setting in cases:
        with pytest.raises(InputTooLargeError, match=setting):
            check(video(**how))
    with pytest.raises(InputTooLargeError, match="INPUT_MAX_SECONDS"):
        check(sound(seconds=11), "audio")


def test_what_the_header_says_of_the_length_is_not_believed(check):
    """The length in an mp4's header is changed to nothing."""
    data = bytearray(video(width=16, height=16, frames=100))
    place = data.index(b"mvhd") + 4 + 16
    data[place : place + 4] = bytes(4)
    with pytest.raises(InputTooLargeError, match="INPUT_MAX_SECONDS"):
        check(bytes(data))


# From a source to a file


def test_every_kind_of_source_gives_the_same_file(files, site):
    data = video()
    site.page("/clip", data)
    one = fetch(files, site.url("/clip"))
    other = fetch(files, f"data:video/mp4;base64,{as_base64(data)}")
    assert one.name == other.name == f"{one.digest}.mp4"
    assert one.path.read_bytes() == other.path.read_bytes() == data


def test_files_are_gone_with_the_job(make_fetcher):
    fetcher = make_fetcher()
    with fetcher.job_files() as files:
        path = fetch(files, as_base64(video())).path
        assert path.exists()
    assert not path.parent.exists()


def test_the_bytes_of_a_jobs_files_together_are_limited(make_fetcher):
    data = video()
    with make_fetcher(input_file_max_bytes=len(data) + 10).job_files() as files:
        fetch(files, as_base64(data))
        with pytest.raises(InputTooLargeError, match="INPUT_FILE_MAX_BYTES"):
            fetch(files, as_base64(data))


def test_an_answer_larger_than_allowed_is_not_kept(make_fetcher, site):
    site.page("/clip", b"\0" * 100_000)
    with (
        make_fetcher(input_file_max_bytes=1000).job_files() as files,
        pytest.raises(InputTooLargeError, match="INPUT_FILE_MAX_BYTES"),
    ):
        fetch(files, site.url("/clip"))


def test_an_address_in_a_private_network_is_refused(make_fetcher):
    with make_fetcher(input_allowed_hosts=frozenset()).job_files() as files:
        for host in ("169.254.169.254", "127.0.0.1", "10.0.0.1", "[::1]"):
            with pytest.raises(ForbiddenAddressError, match="File 'clip'"):
                fetch(files, f"http://{host}/clip.mp4")


def test_a_path_on_the_workers_disk_is_not_read(files, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(video())
    for source in (str(path), f"file://{path}"):
        with pytest.raises(InputError):
            fetch(files, source)


def test_a_model_keeps_the_kind_of_its_address_and_nothing_else_does(files, site):
    site.page("/cube.obj", b"v 0 0 0\n")
    site.page("/cube.py", b"print()\n")
    site.page("/cube.glb", b"no glTF")
    assert fetch(files, site.url("/cube.obj"), "file", "glb").extension == "obj"
    assert fetch(files, site.url("/cube.py"), "file", "stl").extension == "stl"
    assert fetch(files, as_base64(b"glTF\2\0\0\0"), "file", "glb").extension == "glb"
    with pytest.raises(NotMediaError, match="binary glTF"):
        fetch(files, site.url("/cube.glb"), "file", "glb")


def test_what_a_killed_worker_left_is_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = (
        "import os, signal; from handler.inputs.job_files import FilesFolder;"
        "folder = FilesFolder(); (folder.for_job() / '0').write_bytes(b'x');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=SOON * 10)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.glob("comfyui-inputs-*")
    monkeypatch.setattr(job_files.tempfile, "tempdir", str(tmp_path))
    folder = job_files.FilesFolder()
    folder.for_job()
    assert not left.exists()
