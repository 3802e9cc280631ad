"""The report in a real browser: nothing is asked of the network, all is drawn, it fits a phone, it zooms, it prints."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Request, ViewportSize, sync_playwright

from tests.report.conftest import Made

PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
OVERFLOWING = """() => [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.wide, .equations, pre'))
    .map(e => e.tagName + ' ' + e.textContent.trim().slice(0, 40))"""
PIXELS = "() => document.querySelector('canvas').toDataURL()"


@pytest.fixture(scope="module")
def tab(made: Made, chromium: str) -> Iterator[tuple[Page, list[str], list[str]]]:
    """The report in a tab, with every request and every complaint."""
    asked: list[str] = []
    complaints: list[str] = []
    # root may not use the browser's sandbox; the page is our own
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport=DESKTOP)

        def note(request: Request) -> None:
            asked.append(request.url)

        page.on("request", note)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(made.page.as_uri())
        page.wait_for_selector("canvas")
        yield page, asked, complaints
        browser.close()


@pytest.fixture
def page(tab) -> Iterator[Page]:
    shown = tab[0]
    yield shown
    shown.emulate_media(media="screen", color_scheme="light")
    shown.set_viewport_size(DESKTOP)
    shown.get_by_role("button", name="all").click()


def settled(page: Page) -> str:
    """Return the raster's pixels after the next frame."""
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    return page.evaluate(PIXELS)


def window_of(page: Page) -> tuple[float, float]:
    settled(page)
    first, _, last, *_ = page.locator("output").inner_text().split()
    return float(first), float(last)


def test_the_page_asks_for_itself_only_and_nothing_complains(tab, made):
    _, asked, complaints = tab
    assert [url for url in asked if not url.startswith("data:")] == [made.page.as_uri()]
    assert complaints == []


def test_every_picture_has_a_size(page):
    sizes = page.evaluate(
        """() => [...document.querySelectorAll('main svg, main canvas')].filter(e => !e.closest('.still') && !e.closest('details'))
        .map(e => [e.getBoundingClientRect().width, e.getBoundingClientRect().height])"""
    )
    assert len(sizes) > 15
    assert all(width > 100 and height > 50 for width, height in sizes)


def test_equations_are_rendered_as_mathematics(page):
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('.equations math')].map(e => {
            const box = e.getBoundingClientRect(); return [box.width, box.height, e.querySelectorAll('mfrac').length] })"""
    )
    assert len(boxes) >= 8 and all(width > 0 for width, _, _ in boxes)
    plain = min(height for _, height, fractions in boxes if not fractions)
    assert all(height > 1.3 * plain for _, height, fractions in boxes if fractions), (
        "fractions are stacked"
    )


def test_text_of_figures_has_the_font_of_the_page(page):
    fonts = page.evaluate(
        "() => [...document.querySelectorAll('.plot text')].map(e => getComputedStyle(e).fontFamily)"
    )
    assert set(fonts) == {page.evaluate("() => getComputedStyle(document.body).fontFamily")}


@pytest.mark.parametrize(
    "viewport", [PHONE, {"width": 768, "height": 1024}, DESKTOP], ids=["phone", "tablet", "desktop"]
)
def test_nothing_is_wider_than_the_screen(page, viewport):
    page.set_viewport_size(viewport)
    settled(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= viewport["width"]
    assert page.evaluate(OVERFLOWING) == []


def test_letters_on_a_phone_are_large_enough_to_read(page):
    page.set_viewport_size(PHONE)
    settled(page)
    heights = page.evaluate(
        "() => [...document.querySelectorAll('.panel .plot text')].map(e => e.getBoundingClientRect().height)"
    )
    assert min(heights) > 8


def test_buttons_change_the_raster_and_lead_back(page):
    whole = settled(page)
    assert window_of(page) == (0, 1)
    page.get_by_role("button", name="zoom in").click()
    assert window_of(page) == (0.25, 0.75)
    zoomed = settled(page)
    page.get_by_role("button", name="later").click()
    assert window_of(page) == (0.5, 1)
    assert len({whole, zoomed, settled(page)}) == 3
    page.get_by_role("button", name="earlier").click()
    page.get_by_role("button", name="zoom out").click()
    assert settled(page) == whole


def test_the_raster_is_moved_by_keys_wheel_and_dragging(page):
    canvas = page.locator("canvas")
    canvas.scroll_into_view_if_needed()
    canvas.focus()
    page.keyboard.press("+")
    assert window_of(page) == (0.25, 0.75)
    page.keyboard.press("ArrowRight")
    assert window_of(page) == (0.5, 1)
    page.keyboard.press("0")
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.mouse.wheel(0, -300)
    first, last = window_of(page)
    assert last - first == pytest.approx(0.37, abs=0.03) and 0.2 < first < last < 0.8
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 200, box["y"] + 60, steps=4)
    page.mouse.up()
    assert window_of(page)[0] < first - 0.03


def test_the_wheel_scrolls_the_page_where_the_raster_was_not_chosen(page):
    canvas = page.locator("canvas")
    canvas.scroll_into_view_if_needed()
    page.evaluate("() => document.activeElement.blur()")
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 60)
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(100)
    assert window_of(page) == (0, 1)


def test_two_fingers_zoom_the_raster(page):
    page.evaluate(
        """() => { const canvas = document.querySelector('canvas'), box = canvas.getBoundingClientRect();
            const at = (type, id, x) => canvas.dispatchEvent(
                new PointerEvent(type, {pointerId: id, clientX: box.left + x, clientY: box.top + 60, bubbles: true}));
            canvas.setPointerCapture = () => {};
            at('pointerdown', 1, 300); at('pointerdown', 2, 400); at('pointermove', 2, 500);
            at('pointerup', 1, 300); at('pointerup', 2, 500); }"""
    )
    first, last = window_of(page)
    assert last - first == pytest.approx(0.5, abs=0.02)


def test_on_paper_there_are_no_controls_but_a_still_raster(page):
    page.emulate_media(media="print")
    seen = {
        name: page.locator(name).first.is_visible()
        for name in (".controls", "nav", "canvas", ".still svg", "h1")
    }
    assert seen == {
        ".controls": False,
        "nav": False,
        "canvas": False,
        ".still svg": True,
        "h1": True,
    }
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_the_dark_page_has_light_letters_also_in_its_figures(page):
    page.emulate_media(color_scheme="dark")
    lightness = """(name) => {
        const c = getComputedStyle(document.querySelector(name));
        const v = s => s.match(/\\d+/g).slice(0, 3).map(Number);
        return [v(c.color), v(c.fill), v(c.backgroundColor)].map(x => x.reduce((a, b) => a + b, 0) / 3) }"""
    assert page.evaluate(lightness, "body")[2] < 40 and page.evaluate(lightness, "body")[0] > 200
    assert page.evaluate(lightness, ".plot text")[1] > 200


def test_without_script_the_spikes_are_still_there(made, tab):
    browser = tab[0].context.browser
    assert browser is not None
    context = browser.new_context(java_script_enabled=False, viewport=PHONE)
    page = context.new_page()
    page.goto(made.page.as_uri())
    assert page.locator(".still svg").is_visible() and not page.locator(".controls").is_visible()
    context.close()
