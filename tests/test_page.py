"""The page in headless Chromium, against serve.py's server with a model that names the colour of a photo."""
import base64
import io
import json
import re
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

import api
import serve
from api import picture

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; `make test` installs it")
expect = sync_api.expect
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed; on Debian: apt-get install chromium")
# As root, and without the look-ups that Chromium makes for itself.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
MARKUP = "<img src=x onerror=document.title='hit'>"  # as a label, a file's name, an error
GREY, DARK_GREEN = "#808080", "#001e0a"  # not familiar to the model; familiar, but the probability is low
UNFAMILIAR = "This does not look like any of the 3 kinds that this model knows"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """serve.py's server in this process; `url` is its address, `body` what it got last."""
    function = api.load(tmp_path_factory.mktemp("page"), labels=("blue", MARKUP, "red"), confidence_threshold=0.6,
                        familiarity_threshold=0.9, metrics={"test": {"accuracy": 0.875}})

    class Gateway(serve.Gateway):
        def lambda_handler(self, event):
            self.server.body = event["body"]
            return function.lambda_handler(event)
    with serve.Server(("127.0.0.1", 0), Gateway) as server:
        server.url = "http://{}:{}".format(*server.server_address)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, server):
    """visit(path, **settings of the browser's window) -> the page. Afterwards, checks that nothing broke its policy."""
    pages, wrong = [], []

    def visit(path="/", **settings):
        page = browser.new_page(**settings)
        pages.append(page)
        page.set_default_timeout(10_000)
        page.on("filechooser", lambda _: None)  # otherwise one that opens immediately is missed
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: "Content Security Policy" in message.text and wrong.append(message.text))
        page.on("request", lambda request: request.url.startswith((server.url, "data:")) or wrong.append(request.url))
        page.route("**/prod{,/**}", lambda route: route.continue_(  # as behind a stage of API Gateway
            url=server.url + "/" + route.request.url.partition("/prod")[2].lstrip("/")))
        page.goto(server.url + path)
        expect(page.locator("#model")).to_contain_text("knows 3 labels")
        return page
    yield visit
    for page in pages:
        assert [each.title() for each in page.context.pages] == ["What is in the photo?"]
        page.close()
    assert not wrong


def photo(colour="red", name="photo.jpg", **options) -> dict:
    return {"name": name, "mimeType": "image/jpeg", "buffer": picture(colour, **options)}


def choose(page, *photos) -> None:
    page.set_input_files("#files", [*photos])


def card(page):
    return page.locator(".card").first


def heading(page):
    return card(page).locator("h2")


def refuse(page, status: int, body: str) -> None:
    page.route("**/predict*", lambda route: route.fulfill(status=status, body=body, content_type="application/json"))


def sent(server) -> bytes:
    """The file that was sent last."""
    return base64.b64decode(server.body)


@pytest.mark.parametrize("path", ["/", "/prod", "/prod/"])
def test_a_chosen_photo_gets_bars_below_any_path(visit, path):
    page = visit(path)
    choose(page, photo("red", "my shirt.jpg"))
    expect(heading(page)).to_have_text("red")
    expect(card(page).locator(".name")).to_have_text("my shirt.jpg")
    shares = [float(text.rstrip("%")) for text in card(page).locator(".share").all_inner_texts()]
    widths = [bar.bounding_box()["width"] for bar in card(page).locator(".filled").all()]
    full = card(page).locator(".bar").first.bounding_box()["width"]
    assert len(shares) == 3 and shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.2)
    assert [width / full * 100 for width in widths] == pytest.approx(shares, abs=0.5)
    assert page.locator("#health").evaluate("(link) => link.href").endswith(path.rstrip("/") + "/health")
    expect(page.locator("#model")).to_contain_text("87.5% of its test photos")


def test_a_small_photo_is_sent_untouched(visit, server):
    page = visit()
    choose(page, red := photo("red"))
    expect(heading(page)).to_have_text("red")
    assert sent(server) == red["buffer"]


def test_dropped_photos_are_labelled(visit):
    page = visit()
    page.evaluate("addEventListener('drop', (event) => { window.stays = event.defaultPrevented; })")
    page.locator(".drop").drop({"files": [photo("blue"), photo("red")]})
    expect(page.locator("h2")).to_have_text(["blue", "red"])
    expect(page.locator(".drop")).not_to_have_class(re.compile("over"))
    assert page.evaluate("window.stays")  # the browser doesn't open the photo instead of the page


def test_a_pasted_photo_and_a_pasted_address_are_labelled(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("""async (bytes) => navigator.clipboard.write([new ClipboardItem(
        {"image/png": new Blob([new Uint8Array(bytes)], {type: "image/png"})})])""", [*picture("blue", "PNG")])
    page.keyboard.press("Control+v")
    expect(heading(page)).to_have_text("blue")
    page.evaluate("(url) => navigator.clipboard.writeText(url)", "http://127.0.0.1/secret.jpg")
    page.keyboard.press("Control+v")
    expect(card(page).locator(".name")).to_have_text("http://127.0.0.1/secret.jpg")
    page.locator("#url").press("Control+v")
    expect(page.locator("#url")).to_have_value("http://127.0.0.1/secret.jpg")  # in the field, it is pasted as text
    expect(page.locator(".card")).to_have_count(2)


def test_an_address_is_sent_and_its_refusal_is_shown(visit):
    page = visit()
    page.fill("#url", "http://127.0.0.1/secret.jpg")
    with page.expect_response("**/predict*") as answer:
        page.click("text=Look")
    assert json.loads(answer.value.request.post_data) == {"url": "http://127.0.0.1/secret.jpg"}
    assert answer.value.status == 403
    expect(heading(page)).to_have_text("No answer")
    expect(card(page).locator(".note")).to_have_text(answer.value.json()["error"])
    expect(card(page).locator("button")).to_be_hidden()  # trying again would not help


def need_key(page, *answers: str | None) -> list[str]:
    """Let the server need the key "right", and answer the page's questions; None dismisses one. Returns these."""
    questions, answers = [], [*answers]

    def check(route):
        known = route.request.headers.get("x-api-key") == "right"
        route.continue_() if known else route.fulfill(status=401, json={"error": "an API key is needed"})

    def answer(dialog):
        questions.append(dialog.message)
        given = answers.pop(0)
        dialog.dismiss() if given is None else dialog.accept(given)
    page.route("**/predict*", check)
    page.on("dialog", answer)
    return questions


def test_the_page_asks_for_a_needed_api_key_once_per_session(visit):
    page = visit()
    questions = need_key(page, "wrong", "right")
    choose(page, photo("red"), photo("blue"), photo("red"))
    expect(page.locator("h2")).to_have_text(["red", "blue", "red"])
    page.reload()
    choose(page, photo("blue"))
    expect(heading(page)).to_have_text("blue")
    assert questions == ["an API key is needed"] * 2


def test_a_user_without_a_key_is_asked_once_for_all_photos_and_can_try_again(visit):
    page = visit()
    questions = need_key(page, None, "right")
    choose(page, photo("red"), photo("blue"), photo("red"))
    expect(page.locator("h2")).to_have_text(["No answer"] * 3)
    assert len(questions) == 1
    expect(card(page).locator(".note")).to_have_text("an API key is needed")
    card(page).locator("button").click()
    expect(heading(page)).to_have_text("red")


def test_labels_that_are_numbers_are_sorted_by_probability(visit):
    page = visit()
    refuse(page, 200, '{"10": 0.2, "shirt": 0.8}')
    choose(page, photo())
    expect(heading(page)).to_have_text("shirt")
    expect(card(page).locator(".share")).to_have_text(["80.0%", "20.0%"])


def test_several_photos_keep_their_order_and_are_sent_two_at_a_time(visit):
    page, held = visit(), []
    page.route("**/predict*", lambda route: held.append(route))
    colours = ["red", "blue", "red", "blue", "red"]
    choose(page, *map(photo, colours))
    for number in range(5):
        while len(held) < min(number + 2, 5):
            page.wait_for_timeout(20)
        page.wait_for_timeout(50)
        assert len(held) == min(number + 2, 5)
        held[number].continue_()
        expect(page.locator(".busy")).to_have_count(4 - number)
    expect(page.locator("h2")).to_have_text(colours)
    choose(page, photo("blue"))  # when the queue is empty again
    while len(held) < 6:
        page.wait_for_timeout(20)
    held[5].continue_()
    expect(page.locator("h2")).to_have_text(["blue", *colours])


def test_a_large_photo_is_shrunk_and_set_upright_before_it_is_sent(visit, server, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 80, (3000, 4000, 3), np.uint8)
    pixels[:, :2000, 0] += 170  # red on the left, which is the top when upright
    pixels[:, 2000:, 2] += 170
    file, exif = tmp_path / "phone.jpg", Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(file, quality=95, exif=exif)
    assert file.stat().st_size > 6e6
    page = visit()
    page.set_input_files("#files", file)
    expect(heading(page)).not_to_have_text("Looking …", timeout=30_000)
    upload = Image.open(io.BytesIO(content := sent(server)))
    assert upload.format == "JPEG" and upload.size == (900, 1200) and upload.getexif().get(274, 1) == 1
    assert len(content) < 1.5e6
    above, below = upload.getpixel((450, 200)), upload.getpixel((450, 1000))
    assert above[0] > 150 > above[2] and below[2] > 150 > below[0]
    thumbnail = card(page).locator("canvas").evaluate("(canvas) => [canvas.width, canvas.height]")
    assert thumbnail == [180, 240]


def test_a_format_that_the_server_does_not_read_is_sent_as_jpeg_over_white(visit, server):
    page = visit()
    file = io.BytesIO()
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(file, "PNG")
    choose(page, {"name": "x.apng", "mimeType": "image/apng", "buffer": file.getvalue()})
    expect(heading(page)).to_have_text(UNFAMILIAR)
    upload = Image.open(io.BytesIO(sent(server)))
    assert upload.format == "JPEG" and min(upload.getpixel((25, 25))) > 250


@pytest.mark.parametrize("colour, words, note", [
    (GREY, UNFAMILIAR, "The closest kinds:"), (DARK_GREEN, f"Not sure: {MARKUP} or blue", "")])
def test_an_unfamiliar_photo_and_an_unsure_answer_get_different_words(visit, colour, words, note):
    page = visit()
    choose(page, photo(colour))
    expect(heading(page)).to_have_text(words)
    expect(card(page).locator(".note")).to_have_text(note)
    expect(card(page).locator(".bars li")).to_have_count(3)


def test_an_unfamiliar_photo_is_unsure_if_the_thresholds_are_not_known(visit):
    page = visit()
    page.route("**/health", lambda route: route.abort())
    page.reload()
    choose(page, photo(GREY))
    expect(heading(page)).to_contain_text("Not sure: ")


def test_a_file_that_is_not_a_photo_is_not_sent(visit):
    page = visit()
    page.on("request", lambda request: pytest.fail(request.url))
    choose(page, photo() | {"buffer": picture()[:300]})
    expect(card(page).locator(".note")).to_contain_text("can't read this as a photo")


@pytest.mark.parametrize("status, body, words, again", [
    (413, '{"message": "Request Too Long"}', "too large", False), (429, '{"message": "Limit Exceeded"}', "busy", True),
    (504, '{"message": "Endpoint request timed out"}', "too long", True), (500, "<html>", "status 500", True),
    (422, json.dumps({"error": MARKUP}), MARKUP, False), (200, "<html>", "status 200", False)])
def test_an_error_is_shown_in_words(visit, status, body, words, again):
    page = visit()
    refuse(page, status, body)
    choose(page, photo())
    expect(heading(page)).to_have_text("No answer")
    expect(card(page).locator(".note")).to_contain_text(words)
    expect(card(page).locator("button")).to_be_visible(visible=again)


def test_an_unreachable_server_is_reported_and_can_be_tried_again(visit):
    page = visit()
    page.route("**/predict*", lambda route: route.abort("connectionrefused"))
    choose(page, photo("blue"))
    expect(card(page).locator(".note")).to_contain_text("server can't be reached")
    page.unroute_all()
    page.get_by_role("button", name="Try again").focus()
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text("blue")
    expect(heading(page)).to_be_focused()
    expect(card(page).locator("button")).to_be_hidden()


def test_names_and_labels_are_escaped(visit):
    page = visit()
    choose(page, photo("green", MARKUP + ".jpg"))
    expect(heading(page)).to_have_text(MARKUP)
    expect(card(page).locator(".name")).to_have_text(MARKUP + ".jpg")
    expect(page.locator("#model")).to_contain_text(MARKUP)
    assert page.locator("img").count() == 0


def test_results_and_errors_are_announced(visit):
    page = visit()
    log = page.get_by_role("log")
    expect(log).to_have_attribute("aria-live", "polite")
    choose(page, photo("red", "shirt.jpg"), photo(GREY, "wall.jpg"), photo(name="notes.txt") | {"buffer": b"no photo"})
    for words in (r"shirt\.jpg\. red \d\d\.\d%", r"wall\.jpg\. This does not look like any of the 3",
                  r"notes\.txt\. No answer\. Your browser"):
        expect(log).to_contain_text(re.compile(words))


def test_every_control_has_a_name_and_a_visible_focus_and_works_by_keyboard(visit):
    page = visit(has_touch=False)
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent || document.activeElement.id"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", reached
    assert reached == ["Choose photos", "url", "Look", "About the model"]
    names = page.locator("main").aria_snapshot()
    for name in ('button "Choose photos"', 'textbox "Address of a photo"', 'button "Look"'):
        assert name in names
    page.reload()
    page.keyboard.press("Tab")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(photo("red"))
    expect(heading(page)).to_have_text("red")
    page.keyboard.press("Tab")
    page.keyboard.type("http://127.0.0.1/x.jpg")
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text("No answer")


def test_a_phone_needs_no_horizontal_scrolling_and_offers_its_camera(visit):
    page = visit(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    long = "IMG_" + "0" * 200 + ".jpg"
    choose(page, photo("red", long), photo("green", MARKUP), photo(GREY, "wall.jpg"))
    page.fill("#url", "http://127.0.0.1/" + "x" * 300)
    page.press("#url", "Enter")
    expect(page.locator(".busy")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.locator("#camera").get_attribute("capture") == "environment"
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Take a photo").click()
    chooser.value.set_files(photo("blue"))
    expect(heading(page)).to_have_text("blue")


@pytest.mark.parametrize("scheme, darker", [("dark", True), ("light", False)])
def test_the_colours_follow_the_system_and_have_enough_contrast(visit, scheme, darker):
    page = visit(color_scheme=scheme)
    choose(page, photo())
    expect(heading(page)).to_have_text("red")
    for selector, behind in (("h1", "body"), (".soft", "body"), ("h2", ".card"), ("#health", "body")):
        text, ground = (luminance(page.locator(where).first.evaluate(f"(it) => getComputedStyle(it).{what}"))
                        for where, what in ((selector, "color"), (behind, "backgroundColor")))
        assert (ground < text) == darker
        assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5  # WCAG 2.2, 1.4.3


def luminance(colour: str) -> float:
    """Relative luminance of 'rgb(1, 2, 3)', as WCAG 2.2 defines it."""
    values = np.array([int(value) for value in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("motion, animation", [("reduce", "none"), ("no-preference", "breathe")])
def test_the_waiting_animation_follows_the_motion_setting(visit, motion, animation):
    page = visit(reduced_motion=motion)
    page.route("**/predict*", lambda route: None)  # never answered
    choose(page, photo())
    assert page.locator(".busy .thumb").evaluate("(it) => getComputedStyle(it).animationName") == animation
