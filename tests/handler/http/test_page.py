"""The page in a real Chromium, before the real server and the real ComfyUI."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from axe_core_python.selenium import Axe
from media_support import video
from page_support.browser import start_browser
from page_support.page import DESK, PHONE, Page
from PIL import Image
from places import PROJECT
from platforms_support.http_server import ENDLESS, boot_service
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

import comfyui_runtime.errors
import handler.contract.errors
import handler.http
from comfyui_runtime.errors import ServiceError

pytestmark = pytest.mark.slow

PAGE_FOLDER = Path(handler.http.__file__).parent / "page"
LAKE = PROJECT / "samples" / "lake.jpg"
SMALL = 0.1
TIMES = "\N{MULTIPLICATION SIGN}"
TWO_IMAGES = """
title = "Two"
description = "Takes a second picture."
version = "1"

[images.image]
node = "1"
description = "A photo."

[images.colours]
node = "4"
description = "A picture whose colours are taken."

[parameters.strength]
type = "number"
description = "How much."
default = 0.5
minimum = 0.0
maximum = 1.0

[parameters.words]
type = "string"
description = "What to say."
default = "it's 100 %"

[parameters.sharp]
type = "boolean"
description = "Whether it is sharp."
default = true

[parameters.kind]
type = "choice"
description = "Which kind."
default = "fine"
choices = ["fine", "coarse"]

[parameters.seed]
type = "seed"
description = "Which noise."
"""


@pytest.fixture(scope="module")
def workflows(tmp_path_factory) -> Path:
    """Give the bundled model-free workflow, those of the tests, and some that the page needs."""
    folder = tmp_path_factory.mktemp("page") / "workflows"
    shutil.copytree(PROJECT / "tests" / "workflows", folder)
    shutil.copytree(PROJECT / "workflows" / "illustrate", folder / "illustrate")
    graph = json.loads((folder / "steps" / "graph.json").read_text())
    graph["2"]["class_type"] = "TestPreviews"
    shutil.copytree(folder / "steps", folder / "previews")
    (folder / "previews" / "graph.json").write_text(json.dumps(graph))
    graph = json.loads((folder / "invert" / "graph.json").read_text())
    (folder / "two").mkdir()
    (folder / "two" / "graph.json").write_text(json.dumps(graph | {"4": graph["1"]}))
    (folder / "two" / "manifest.toml").write_text(TWO_IMAGES)
    missing = (folder / "invert" / "manifest.toml").read_text()
    missing += '\n[[models]]\nfolder = "checkpoints"\nfile = "absent.safetensors"\n'
    shutil.copytree(folder / "invert", folder / "lacking")
    (folder / "lacking" / "manifest.toml").write_text(missing)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = start_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def make_page(make_server, workflows, browser):
    def make(**settings: object) -> Page:
        server = make_server(**{"workflows_dir": workflows} | settings)
        return Page(browser, server.url)

    return make


@pytest.fixture
def page(make_page) -> Page:
    return make_page()


def made(page: Page, workflow: str = "illustrate", **parameters: object) -> Page:
    """Make a picture of the lake."""
    page.choose_workflow(workflow)
    if workflow == "illustrate":
        parameters = {"megapixels": SMALL} | parameters
    for name, value in parameters.items():
        page.set_parameter(name, value)
    choose_both(page)
    page.run()
    page.wait_for_state("done")
    return page


def failed(page: Page) -> str:
    """Wait for a failure and return all that it says."""
    page.wait_until(lambda: page.shown("failure"))
    return page.text("failure")


def choose_both(page: Page) -> None:
    """Choose the photo, and the second picture of the workflow that takes two."""
    page.choose_photo(LAKE)
    page.wait_for_state("ready")
    for entry in page.find_all("#extra-images input"):
        entry.send_keys(str(LAKE))
    page.wait_until(lambda: page.text("run-hint") == "")


def button(page: Page, text: str) -> WebElement:
    return page.driver.find_element(By.XPATH, f"//button[.='{text}']")


def position(page: Page) -> int:
    return int(page.by_id("divider").get_property("value"))


class TestMakingAPicture:
    def test_photo_becomes_a_picture_to_compare_and_download(self, page, tmp_path):
        made(page.open())
        with Image.open(page.download(tmp_path)) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert abs(picture.width * picture.height / (SMALL * 2**20) - 1) < 0.05
            width, height = picture.size
        assert next(tmp_path.iterdir()).name == "lake-illustrate.png"
        assert f"{width} {TIMES} {height}" in page.text("result-facts")
        assert page.js("return document.getElementById('after').naturalWidth") == width
        assert (page.text("run"), page.shown("cancel")) == ("Make it again", False)

    def test_server_that_still_starts_says_so(self, make_server, workflows, browser, runtime):
        server = make_server(boot=False, workflows_dir=workflows)
        page = Page(browser, server.url).open()
        page.wait_until(lambda: "starting" in page.text("notice"))
        page.choose_workflow("invert")
        page.choose_photo(LAKE)
        page.wait_for_state("ready")
        page.run()
        boot_service(server.service, runtime)
        page.wait_for_state("done")
        page.wait_until(lambda: not page.shown("notice"))

    def test_sample_is_one_click_away(self, page):
        page.open().choose_workflow("illustrate")
        page.click("sample")
        page.wait_for_state("ready")
        assert "lake.jpg" in page.text("photo-facts")
        assert page.focused() == "run"

    def test_dropped_and_pasted_files_are_taken(self, page):
        page.open()
        for kind, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
            page.js(
                """
                const [kind, holder, done] = [arguments[0], arguments[1]];
                const canvas = new OffscreenCanvas(kind === "drop" ? 30 : 40, 20);
                canvas.getContext("2d").fillRect(0, 0, 9, 9);
                return canvas.convertToBlob().then((blob) => {
                  const transfer = new DataTransfer();
                  transfer.items.add(new File([blob], `${kind}.png`, {type: "image/png"}));
                  const init = {bubbles: true, cancelable: true, [holder]: transfer};
                  const Kind = kind === "drop" ? DragEvent : ClipboardEvent;
                  document.body.dispatchEvent(new Kind(kind, init));
                });
                """,
                kind,
                holder,
            )
            page.wait_until(lambda name=f"{kind}.png": name in page.text("photo-facts"))
            assert f"{30 if kind == 'drop' else 40} {TIMES} 20" in page.text("photo-facts")

    def test_progress_and_previews_are_shown_while_it_works(self, page):
        page.open().choose_workflow("previews")
        page.set_parameter("steps", 80)
        page.set_parameter("seconds", 0.05)
        page.choose_photo(LAKE)
        page.run()
        page.wait_for_state("working")
        page.wait_until(lambda: page.text("percent") not in {"", "0 %"})
        page.wait_until(lambda: re.fullmatch(r"Steps, step \d+ of 80", page.text("node")))
        assert page.text("phase") == "Making the picture"
        assert re.match(r"\d+ % · ", page.driver.title)
        after = page.by_id("after")
        page.wait_until(lambda: after.get_attribute("src").startswith("data:image/jpeg;base64,"))
        page.wait_for_state("done")
        assert after.get_attribute("src").startswith("blob:")
        assert page.driver.title == "Serverless ComfyUI"

    def test_job_is_cancelled(self, page):
        page.open().choose_workflow("steps")
        for name, value in ENDLESS.items():
            page.set_parameter(name, value)
        page.choose_photo(LAKE)
        page.run()
        page.wait_until(lambda: "step" in page.text("node"))
        page.click("cancel")
        page.wait_for_state("ready")
        assert page.js("return document.getElementById('announcer').textContent") == "Cancelled."
        assert not page.shown("failure")
        page.choose_workflow("invert")
        page.run()
        page.wait_for_state("done")

    def test_every_picture_can_be_gone_back_to_with_its_settings(self, page):
        made(page.open(), shades=3)
        page.set_parameter("shades", 12)
        page.run()
        page.wait_until(lambda: len(page.find_all("#strip img")) == 2)
        first, second = page.find_all("#strip button")
        assert second.get_attribute("aria-current") == "true"
        latest = page.by_id("after").get_attribute("src")
        page.click_on(first)
        assert page.by_id("after").get_attribute("src") != latest
        assert page.by_id("parameter-shades").get_property("value") == "3"

    def test_further_outputs_are_offered(self, page):
        made(page.open(), "batch")
        assert len(page.find_all("#strip img")) == 3
        page.choose_workflow("text")
        page.run()
        page.wait_until(lambda: "Download lake-text-4.txt" in page.text("result-actions"))

    def test_photo_over_the_limit_is_made_smaller(self, make_page):
        page = make_page(input_max_bytes=60_000).open()
        made(page, "invert")
        page.click("change-after")
        assert "made smaller" in page.js("return document.getElementById('photo-facts').innerText")

    def test_seed_is_rolled_kept_and_shown(self, page):
        made(page.open(), "invert")
        seed = re.search(r"seed (\d+)", page.text("result-facts"))[1]
        (keep,) = page.find_all("#result-actions .made")
        page.click_on(keep)
        entry = page.by_id("parameter-seed")
        assert (entry.get_property("value"), page.focused()) == (seed, "parameter-seed")
        page.click_on(page.find(".seed button"))
        rolled = entry.get_property("value")
        assert rolled != seed
        page.run()
        page.wait_until(lambda: f"seed {rolled}" in page.text("result-facts"))


class TestMedia:
    @pytest.fixture
    def media_page(self, make_page, tmp_path):
        graphs = {
            "film": (
                '[files.video]\nnode = "1"\nmedia = "video"\ndescription = "A video."\n',
                {
                    "1": {"class_type": "LoadVideo", "inputs": {"file": "a.mp4"}},
                    "2": {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}},
                    "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 2]}},
                    "4": {
                        "class_type": "SaveWEBM",
                        "inputs": {
                            "images": ["2", 0],
                            "filename_prefix": "film",
                            "codec": "vp9",
                            "fps": 8.0,
                            "crf": 32.0,
                        },
                    },
                },
            ),
        }
        folder = tmp_path / "media-workflows"
        for name, (inputs, graph) in graphs.items():
            (folder / name).mkdir(parents=True)
            head = f'title = "{name.title()}"\ndescription = "Media."\nversion = "1"\n'
            (folder / name / "manifest.toml").write_text(head + inputs)
            (folder / name / "graph.json").write_text(json.dumps(graph))
        return make_page(workflows_dir=folder)

    def test_video_goes_in_and_a_player_and_a_text_come_out(self, media_page, tmp_path):
        page = media_page.open()
        page.wait_until(lambda: "Choose a file for" in page.text("run-hint"))
        clip = tmp_path / "clip.mp4"
        clip.write_bytes(video(width=128, height=96))
        page.find("#file-video").send_keys(str(clip))
        page.wait_until(lambda: page.text("run-hint") == "")
        assert "clip.mp4" in page.text("extra-files")
        page.run()
        page.wait_until(lambda: page.shown("result-media"))
        assert page.text("result-media") == "8.0"
        loaded = "const v = document.querySelector('#result-media video'); return v.videoWidth"
        page.wait_until(lambda: page.js(loaded) == 128)
        assert "film-4.webm" in page.text("result-actions")
        assert not Axe().run(page.driver)["violations"]


class TestSettings:
    def test_fields_have_the_manifests_bounds_and_words(self, page):
        page.open().choose_workflow("illustrate")
        slider = page.by_id("parameter-line_threshold-slider")
        bounds = [slider.get_attribute(name) for name in ("min", "max", "step", "value")]
        assert bounds == ["0.05", "0.6", "0.01", "0.22"]
        field = page.find("[data-name=line_threshold]").text
        assert "Line threshold" in field
        assert "lower values draw more outlines" in field

    def test_slider_and_number_move_together_and_go_back(self, page):
        page.open().choose_workflow("illustrate")
        slider = page.by_id("parameter-softness-slider")
        slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        assert page.by_id("parameter-softness").get_property("value") == "0.55"
        page.set_parameter("softness", "0.9")
        assert slider.get_property("value") == "0.9"
        page.click_on(page.find("[aria-label='Reset Softness to 0.4']"))
        assert slider.get_property("value") == "0.4"
        assert not page.shown("reset-all")

    def test_value_out_of_bounds_is_told_and_not_sent(self, page):
        page.open().choose_workflow("illustrate")
        page.choose_photo(LAKE)
        page.wait_for_state("ready")
        page.set_parameter("shades", 99)
        assert page.text("parameter-shades-problem") == "Enter a whole number from 3 to 16."
        page.requests()
        page.run()
        assert page.focused() == "parameter-shades"
        assert not [url for url in page.requests() if "/v1/jobs" in url]

    def test_workflow_that_lacks_a_model_says_which(self, page):
        page.open().choose_workflow("lacking")
        page.choose_photo(LAKE)
        page.wait_for_state("ready")
        page.click("problems-summary")
        assert "absent.safetensors" in page.text("problems-list")
        assert "cannot run here yet" in page.text("run-hint")
        assert page.by_id("run").get_attribute("aria-disabled") == "true"

    def test_every_kind_of_parameter_and_a_second_picture_are_sent(self, page):
        page.open().choose_workflow("two")
        page.choose_photo(LAKE)
        page.wait_for_state("ready")
        assert page.text("run-hint") == "Choose a picture for “Colours” first."
        page.by_id("image-colours").send_keys(str(LAKE))
        page.wait_until(lambda: page.text("run-hint") == "")
        page.set_parameter("words", "don't “stop”")
        page.click("parameter-sharp")
        page.by_id("parameter-kind").send_keys("coarse")
        page.set_parameter("seed", 7)
        page.run()
        page.wait_for_state("done")
        page.click("curl")
        command = page.text("curl-command")
        assert command.count("base64 < 'lake.jpg'") == 2
        assert '"sharp":false' in command
        assert '"kind":"coarse"' in command
        assert run_in_shell(command)["seed"] == 7


def run_in_shell(command: str, **environment: str) -> dict[str, object]:
    ran = subprocess.run(
        ["bash", "-c", command],
        check=True,
        capture_output=True,
        cwd=LAKE.parent,
        env={"PATH": "/usr/bin:/bin", **environment},
        timeout=30,
    )
    return json.loads(ran.stdout)


class TestCurl:
    def test_command_makes_the_same_picture(self, page):
        made(page.open(), shades=5)
        page.click("curl")
        assert "the folder that holds lake.jpg" in page.text("curl-hint")
        command = page.text("curl-command")
        assert len(command) < 500
        response = run_in_shell(command)
        assert response["status"] == "succeeded"
        assert (
            page.js("return document.getElementById('after').naturalWidth")
            == (response["outputs"][0]["width"])
        )

    def test_command_names_the_token_without_giving_it_away(self, make_page):
        page = make_page(api_token=token("secret-token")).open()
        give_token(page, "secret-token")
        made(page)
        page.click("curl")
        command = page.text("curl-command")
        assert "secret-token" not in command
        assert run_in_shell(command, API_TOKEN="secret-token")["status"] == "succeeded"


def token(text: str):
    from pydantic import SecretStr

    return SecretStr(text)


def give_token(page: Page, text: str) -> None:
    page.wait_until(lambda: page.shown("token-dialog"))
    page.by_id("token").send_keys(text, Keys.ENTER)


class TestToken:
    def test_it_is_asked_for_until_it_is_right_and_kept_in_the_tab(self, make_page):
        page = make_page(api_token=token("right-token")).open()
        give_token(page, "wrong-token")
        page.wait_until(lambda: "did not take that token" in page.text("token-text"))
        give_token(page, "right-token")
        made(page)
        page.reload()
        page.wait_until(lambda: page.shown("workflows"))
        assert not page.shown("token-dialog")
        assert page.js("return [sessionStorage.token, localStorage.token]") == ["right-token", None]


class TestFailures:
    def test_text_file_named_png(self, page, tmp_path):
        lie = tmp_path / "holiday.png"
        lie.write_text("this is no picture")
        page.open().choose_photo(lie)
        told = failed(page)
        assert "not a picture that your browser can read" in told
        assert "“holiday.png”" in told
        assert "Choose another photo" in told
        page.choose_photo(LAKE)
        page.wait_for_state("ready")
        assert not page.shown("failure")

    def test_picture_that_only_the_browser_can_read(self, page, tmp_path):
        drawing = tmp_path / "drawing.svg"
        drawing.write_text(
            '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0h9"/></svg>'
        )
        page.open().choose_workflow("invert")
        page.choose_photo(drawing)
        page.wait_for_state("ready")
        page.run()
        told = failed(page)
        assert "This file is not a picture that the service can read." in told
        assert "Choose another photo" in told

    def test_failing_step_is_told_and_can_be_tried_again(self, page):
        page.open().choose_workflow("fail")
        page.by_id("parameter-kind").send_keys("torch.OutOfMemoryError")
        page.choose_photo(LAKE)
        page.wait_for_state("ready")
        page.run()
        assert "There was not enough memory." in failed(page)
        page.by_id("parameter-kind").send_keys("nothing")
        page.click_on(button(page, "Try again"))
        page.wait_for_state("done")

    def test_server_that_goes_away(self, page):
        made(page.open(), "invert")
        page.js("window.fetch = () => Promise.reject(new TypeError('no network'))")
        page.run()
        assert "The service does not answer." in failed(page)
        assert button(page, "Try again").is_displayed()

    @pytest.mark.parametrize("language", ["en", "zh"])
    def test_every_error_of_the_service_has_a_sentence(self, language):
        words = (PAGE_FOLDER / f"strings-{language}.js").read_text(encoding="utf-8")
        told = set(re.findall(r'"error\.(\w+)":', words))
        assert service_codes() <= told


def service_codes() -> set[str]:
    """Codes of what a job or a request can meet; those of the command line are not the page's."""
    found = (*vars(comfyui_runtime.errors).values(), *vars(handler.contract.errors).values())
    return {
        kind.code for kind in found if isinstance(kind, type) and issubclass(kind, ServiceError)
    }


class TestComparing:
    def test_divider_follows_the_keyboard(self, page):
        made(page.open(), "invert")
        page.by_id("divider").send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
        assert position(page) == 48
        assert page.by_id("divider").get_attribute("aria-valuetext") == "48 percent before"
        page.press(Keys.HOME)
        assert position(page) == 0
        page.press(Keys.END)
        assert position(page) == 100

    def test_divider_follows_the_pointer(self, page):
        made(page.open(), "invert")
        picture = page.by_id("picture")
        quarter = picture.size["width"] // 4
        drag = ActionChains(page.driver).move_to_element_with_offset(picture, quarter, 0)
        drag.click_and_hold().move_by_offset(-2 * quarter, 5).release().perform()
        assert position(page) == pytest.approx(25, abs=1)
        ActionChains(page.driver).move_by_offset(quarter, 0).perform()
        assert position(page) == pytest.approx(25, abs=1)
        ActionChains(page.driver).move_to_element_with_offset(picture, quarter, 0).click().perform()
        assert position(page) == pytest.approx(75, abs=1)


class TestLanguageAndAppearance:
    def test_browsers_language_is_used_and_can_be_switched(self, page):
        page.open(language="zh-CN,zh;q=0.9,en;q=0.5").choose_workflow("illustrate")
        assert page.js("return document.documentElement.lang") == "zh-Hans"
        assert page.text("choose") == "选择照片"
        assert "线条浓度" in page.text("fields")
        page.click("language")
        assert page.text("choose") == "Choose a photo"
        assert "Line strength" in page.text("fields")
        page.reload()
        page.wait_until(lambda: page.text("choose") == "Choose a photo")
        assert page.js("return document.documentElement.lang") == "en"

    def test_switch_of_language_keeps_what_was_done(self, page):
        made(page.open(), shades=5)
        page.click("language")
        assert page.js("return document.body.dataset.state") == "done"
        assert page.by_id("parameter-shades").get_property("value") == "5"
        assert page.text("download") == "下载"

    def test_both_languages_have_the_same_texts(self):
        texts = {}
        for language in ("en", "zh"):
            words = (PAGE_FOLDER / f"strings-{language}.js").read_text(encoding="utf-8")
            found = re.findall(r'^  "([\w.]+)":\s+"(.*)",$', words, re.MULTILINE)
            texts[language] = {key: set(re.findall(r"\{\w+\}", text)) for key, text in found}
        assert len(texts["en"]) > 100
        assert texts["en"] == texts["zh"]

    def test_dark_and_light_follow_the_system_and_the_switch(self, page):
        def brightness() -> int:
            colour = page.js("return getComputedStyle(document.documentElement).backgroundColor")
            return int(re.match(r"rgb\((\d+)", colour)[1])

        page.open(dark=True)
        assert brightness() < 50
        assert page.by_id("theme").get_attribute("aria-pressed") == "true"
        page.click("theme")
        assert brightness() > 200
        page.reload()
        assert brightness() > 200
        page.open(dark=False)
        assert brightness() > 200


class TestEveryWhere:
    @pytest.mark.parametrize("language", ["en-US", "zh-CN"])
    def test_phone_never_scrolls_sideways(self, page, language):
        page.open(PHONE, language=language)
        overflow = (
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        page.wait_until(lambda: page.shown("settings"))
        assert page.js(overflow) == 0
        made(page, "two" if language == "zh-CN" else "illustrate")
        assert page.js(overflow) == 0
        page.click("curl")
        assert page.js(overflow) == 0
        page.press(Keys.ESCAPE)
        page.choose_workflow("fail")
        page.run()
        failed(page)
        assert page.js(overflow) == 0

    def test_run_button_stays_within_reach_on_a_phone(self, page):
        page.open(PHONE).choose_workflow("illustrate")
        page.choose_photo(LAKE)
        page.wait_for_state("ready")
        page.js("scrollTo(0, 300)")
        bottom = page.js("return document.getElementById('run').getBoundingClientRect().bottom")
        assert bottom <= PHONE[1]

    def test_keyboard_alone_makes_compares_and_keeps_a_picture(self, page):
        page.open()
        page.wait_until(lambda: page.shown("settings"))
        page.tab_to("choose")
        assert page.focus_is_visible()
        page.tab_to("sample")
        page.press(Keys.ENTER)
        page.wait_until(lambda: page.focused() == "run")
        page.press_backwards()
        page.js("document.getElementById('language').focus()")
        page.tab_to("workflow-batch")
        while page.focused() != "workflow-illustrate":
            page.press(Keys.ARROW_DOWN)
        page.tab_to("parameter-megapixels")
        page.press(Keys.TAB)
        page.press(Keys.HOME)
        assert page.by_id("parameter-megapixels").get_property("value") == "0.1"
        page.tab_to("run")
        page.press(Keys.SPACE)
        page.wait_for_state("done")
        page.wait_until(lambda: page.focused() == "divider")
        assert page.focus_is_visible()
        page.press(Keys.ARROW_RIGHT)
        assert position(page) == 51
        page.tab_to("curl")
        page.press(Keys.ENTER)
        page.wait_until(lambda: page.focused() == "curl-copy")
        page.press(Keys.ESCAPE)
        assert page.focused() == "curl"

    def test_tab_reaches_every_control_and_each_shows_it(self, page):
        made(page.open(), "invert")
        expected = page.controls()
        page.js("document.getElementById(arguments[0]).focus({focusVisible: true})", expected[0])
        reached = []
        for _ in expected:
            reached.append(page.focused())
            assert page.focus_is_visible(), reached[-1]
            page.press(Keys.TAB)
        assert reached == expected

    def test_nothing_leaves_the_origin_and_the_console_stays_silent(self, page):
        made(page.open(), "previews")
        page.click("curl")
        page.press(Keys.ESCAPE)
        page.click("language")
        page.click("theme")
        assert page.console() == []
        elsewhere = [
            url
            for url in page.requests()
            if not url.startswith((f"{page.origin}/", "blob:", "data:"))
        ]
        assert elsewhere == []

    def test_files_are_asked_about_each_time(self, server):
        for path in ("/", "/page/page.js", "/page/page.css"):
            assert server.get(path).headers["cache-control"] == "no-cache"

    def test_inline_scripts_and_styles_are_forbidden_and_absent(self, page):
        page.open()
        page.js(
            "document.body.append(Object.assign(document.createElement('script'),"
            " {textContent: 'window.inlineRan = true'}))"
        )
        assert page.js("return window.inlineRan") is None
        html = (PAGE_FOLDER / "index.html").read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|<script(?![^>]*src=)|\son\w+=|https?://", html)

    @pytest.mark.parametrize(("size", "dark"), [(DESK, False), (PHONE, True)])
    def test_axe_finds_nothing_in_any_state(self, page, size, dark):
        page.open(size, dark=dark)
        page.wait_until(lambda: page.shown("settings"))
        check_accessibility(page, "empty")
        made(page)
        check_accessibility(page, "done")
        page.click("curl")
        check_accessibility(page, "curl")
        page.press(Keys.ESCAPE)
        page.choose_workflow("fail")
        page.run()
        failed(page)
        check_accessibility(page, "failed")


def check_accessibility(page: Page, state: str) -> None:
    violations = Axe().run(page.driver)["violations"]
    found = [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in violations]
    assert found == [], state
