"""The page at `/`, in a browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from provence_rag import Provence, PrunedPassage, PruningOptions

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
REQUIRED = os.environ.get("PROVENCE_TEST_BROWSER") == "required"

if not REQUIRED:
    pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium", allow_module_level=True)

from playwright.sync_api import Browser, Page, Request, expect, sync_playwright  # noqa: E402

PATIENCE = 120_000
"""Milliseconds: machines that run tests are busy."""

expect.set_options(timeout=PATIENCE)

QUERY = "Which filter was patented, and where is the umbrella?"
TABLE = "name,year\nfilter,1908\numbrella,1852\nzip,1893\n"
EMOJI = "😀 Filters hold back grounds 👩‍🚀. A filter was patented 🎉.  Tea is hot."
PROSE = "Linen is cloth.\n\nThe filter was patented in 1908. It rains."


@pytest.fixture(scope="module")
def url(serve: Callable[..., str], model: Provence) -> str:
    return serve(model)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page, wide and light; nothing may be wrong on it, and nothing come from elsewhere."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    wrong: list[str] = []
    hosts: set[str] = set()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto(url)
    expect(page.locator("#model")).not_to_be_empty()
    yield page
    context.close()
    assert wrong == []
    assert hosts - {""} == {urlsplit(url).netloc}  # data: has no host


def ask(page: Page, query: str, documents: list[dict[str, str]]) -> None:
    """Fill in the form and wait for the result."""
    page.get_by_label("Question").fill(query)
    for number, document in enumerate(documents, start=1):
        if number > 1:
            page.get_by_role("button", name="Add a document").click()
        page.get_by_label(f"Title of document {number}", exact=True).fill(document.get("title", ""))
        page.get_by_label(f"Text of document {number}", exact=True).fill(document["text"])
    page.get_by_role("button", name="Rerank and prune").click()
    settled(page, len(documents))


def settled(page: Page, count: int) -> None:
    """Wait until the page shows what its options amount to."""
    page.wait_for_timeout(200)  # longer than the pause before it asks again
    expect(page.locator("#result")).to_have_attribute("aria-busy", "false")
    expect(page.locator("article")).to_have_count(count)


def request_of(page: Page) -> dict[str, Any]:
    """What the page asks the server, as it shows it."""
    page.locator("label.tab", has_text="curl").click()
    body: dict[str, Any] = json.loads(
        page.locator("#snippet").inner_text().split("JSON'\n")[1].split("\nJSON")[0]
    )
    return body


def expected(model: Provence, request: dict[str, Any]) -> list[PrunedPassage]:
    """The same without the page."""
    request = dict(request)
    documents, reorder = request.pop("documents"), request.pop("reorder", False)
    return model.process(
        request.pop("query"),
        [one["text"] for one in documents],
        titles=[one.get("title") for one in documents],
        reorder=reorder,
        options=PruningOptions(**request),
    )


def assert_shows(page: Page, passages: list[PrunedPassage]) -> None:
    """The page shows these passages, with the sentences that are kept and those that are not."""
    shown = page.evaluate(
        """() => [...document.querySelectorAll("article")].map((article) => ({
          title: article.querySelector("h3").textContent,
          kept: [...article.querySelectorAll("mark")].map((one) => one.textContent),
          dropped: [...article.querySelectorAll("del")].map((one) => one.textContent),
          whole: article.querySelector(".text").textContent,
        }))"""
    )
    assert shown == [
        {
            "title": passage.title or f"Document {passage.index + 1}",
            "kept": [one.text for one in passage.sentences if one.kept],
            "dropped": [one.text for one in passage.sentences if not one.kept],
            "whole": passage.document[passage.sentences[0].start : passage.sentences[-1].end],
        }
        for passage in passages
    ]
    tokens = [sum(getattr(p, name) for p in passages) for name in ("num_tokens", "num_kept_tokens")]
    expect(page.locator("#summary")).to_contain_text(f"{tokens[0]} → {tokens[1]} tokens")


DOCUMENTS = [{"text": PROSE}, {"text": EMOJI, "title": "Fun 😀"}, {"text": TABLE, "title": "Inventions"}]


def test_sentences_are_marked_as_the_model_decides(page: Page, model: Provence) -> None:
    ask(page, QUERY, DOCUMENTS)
    request = request_of(page)
    assert request == {"query": QUERY, "documents": DOCUMENTS, "reorder": True}
    passages = expected(model, request)
    assert any(one.needs for passage in passages for one in passage.sentences)
    assert_shows(page, passages)
    page.get_by_label("Scores of sentences").check()
    scores = page.locator("article .score").all_inner_texts()
    assert len(scores) == sum(len(passage.sentences) for passage in passages)
    page.get_by_label("Scores of sentences").uncheck()
    page.get_by_label("Pruned text only").check()
    assert page.locator("article .pruned").first.text_content() == passages[0].text
    page.get_by_role("button", name="Copy the pruned text").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    clipboard = page.evaluate("navigator.clipboard.readText()")
    assert clipboard == "\n\n".join(passage.text for passage in passages if passage.text)
    button = page.locator("#copy-text")
    expect(button).to_have_text("Copied")
    button.click()  # once more, before the label is back
    expect(button).to_have_text("Copy the pruned text")
    expect(page.locator("#copied")).to_be_empty()


def test_the_threshold_can_be_moved_by_keyboard(page: Page, model: Provence) -> None:
    ask(page, QUERY, DOCUMENTS)
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    slider = page.get_by_label("Threshold", exact=True)
    slider.focus()
    thresholds, outcomes = [], set()
    for key in ("Home", "PageUp", "PageUp", "ArrowRight", "PageUp", "PageUp", "PageUp", "PageUp", "End"):
        slider.press(key)
        settled(page, len(DOCUMENTS))
        request = request_of(page)
        passages = expected(model, request)
        assert_shows(page, passages)
        thresholds.append(request["threshold"])
        outcomes.add(str([[one.kept for one in passage.sentences] for passage in passages]))
        assert page.locator("#threshold-value").inner_text() == slider.get_attribute("aria-valuetext")
        slider.focus()
    assert thresholds == sorted(thresholds)
    assert (thresholds[0], thresholds[-1]) == (0, 1)
    assert page.get_by_label("By a threshold").is_checked()
    assert len(outcomes) > 1
    assert len(asked) < len(thresholds)  # none where no sentence changes sides


def test_other_rules_and_options(page: Page, model: Provence) -> None:
    ask(page, QUERY, DOCUMENTS)
    page.get_by_label("Share of answers to keep").select_option("0.99")
    settled(page, len(DOCUMENTS))
    assert request_of(page)["keep_answers"] == 0.99
    assert_shows(page, expected(model, request_of(page)))
    page.get_by_label("Budget in tokens").fill("9")
    page.get_by_text("More options").click()
    page.get_by_label("Best document first").uncheck()
    page.get_by_label("Keep what belongs together").uncheck()
    page.get_by_label("At least").fill("1")
    settled(page, len(DOCUMENTS))
    request = request_of(page)
    assert request == {
        "query": QUERY,
        "documents": DOCUMENTS,
        "max_tokens": 9,
        "min_sentences": 1,
        "keep_together": False,
    }
    assert_shows(page, expected(model, request))


@pytest.mark.filterwarnings("ignore:1 query is longer")
def test_warnings_are_shown_and_announced(page: Page, model: Provence) -> None:
    ask(page, "filter " * 600, DOCUMENTS)
    warnings = page.locator("#warnings")
    expect(warnings).to_have_attribute("role", "status")
    limit = model.config.max_length // 2
    expect(warnings).to_contain_text(
        f"Warning: 1 query is longer than half of the window: only the first {limit}"
    )
    page.get_by_label("Budget in tokens").fill("9")  # another answer to the same question
    settled(page, len(DOCUMENTS))
    expect(warnings.locator("p")).to_have_count(1)
    page.get_by_label("Question").fill(QUERY)
    page.get_by_role("button", name="Rerank and prune").click()
    settled(page, len(DOCUMENTS))
    expect(warnings).to_be_empty()


def test_parts_of_sentences_are_not_counted_as_sentences(page: Page) -> None:
    ask(page, QUERY, [{"text": PROSE}])
    summary = page.locator("#summary")
    expect(summary).to_contain_text("of 3 sentences kept")
    page.get_by_label("Budget in tokens").fill("1000")
    settled(page, 1)
    expect(summary).to_contain_text("3 of 3 sentences kept")
    page.get_by_label("Budget in tokens").fill("1")
    settled(page, 1)
    expect(summary).to_contain_text("parts kept")
    expect(page.locator("article .figures")).to_contain_text("parts")
    page.get_by_label("By the model").check()
    settled(page, 1)
    expect(summary).to_contain_text("of 3 sentences kept")


@pytest.mark.parametrize(("name", "least"), [("Budget in tokens", 1), ("At least", 0)])
def test_numbers_that_cannot_be_used_are_not_sent(page: Page, name: str, least: int) -> None:
    ask(page, QUERY, DOCUMENTS)
    field = page.get_by_label(name)
    page.get_by_text("More options").click()
    field.fill("2")
    settled(page, len(DOCUMENTS))
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    request = request_of(page)
    for value in ("", str(least - 1), "1.5", "1e30"):
        field.fill(value)
        settled(page, len(DOCUMENTS))
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(f"Enter a whole number, at least {least}.")
        page.locator("label.tab", has_text="Python").click()
        assert request_of(page) == request  # what is shown
    page.get_by_role("button", name="Rerank and prune").click()
    expect(field).to_be_focused()
    assert asked == []
    field.fill("3")
    settled(page, len(DOCUMENTS))
    expect(field).to_have_attribute("aria-invalid", "false")
    expect(field).to_have_accessible_description("")
    assert len(asked) == 1
    field.fill("")
    page.get_by_label("By a threshold").check()  # which needs no budget
    settled(page, len(DOCUMENTS))
    expect(field).to_have_attribute("aria-invalid", str(name == "At least").lower())


@pytest.mark.parametrize("kind", ["LangChain", "LlamaIndex", "Python", "curl"])
def test_code_that_is_copied_runs_and_gives_the_same(page: Page, model: Provence, kind: str) -> None:
    documents = [
        {"text": PROSE},
        {"text": "It's \\ a 'filter' \"patented\" 😀\n$HOME `x`", "title": "O'Neil"},
    ]
    ask(page, QUERY, documents)
    page.get_by_label("By a threshold").check()
    settled(page, 2)
    texts = [passage.text for passage in expected(model, request_of(page)) if passage.text]
    assert texts
    page.locator("label.tab", has_text=kind).click()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    code = page.evaluate("navigator.clipboard.readText()")
    if kind == "curl":
        if shutil.which("curl") is None:
            pytest.skip("there is no curl")
        done = subprocess.run(["bash", "-c", code], capture_output=True, check=True)
        found = [one["text"] for one in json.loads(done.stdout)["results"]]
    else:
        names: dict[str, Any] = {}
        exec(code, names)
        found = [
            getattr(one, "page_content", None) or getattr(one, "text", "")
            for one in names.get("pruned", names.get("passages"))
        ]
    assert [text for text in found if text] == texts


def test_files_are_read_and_others_refused(page: Page, model: Provence, tmp_path: Path) -> None:
    (tmp_path / "富士山.txt").write_text("富士山は活火山である。", encoding="utf-8")
    (tmp_path / "notes.md").write_text("# Filter\n\nThe filter was patented.\n", encoding="utf-8")
    (tmp_path / "photo.txt").write_bytes(b"\xff\xd8\xff\xe0")
    page.locator("#files").set_input_files(sorted(tmp_path.iterdir()))
    expect(page.get_by_role("alert")).to_have_text("Not a text file in UTF-8: photo.txt")
    titles = page.locator("#documents .title")
    expect(titles).to_have_count(2)  # the blank document has made room
    assert sorted(field.input_value() for field in titles.all()) == ["notes", "富士山"]
    page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["It was dropped."], "dropped.md"));
          const settings = { dataTransfer: data, bubbles: true, cancelable: true };
          document.body.dispatchEvent(new DragEvent("drop", settings));
        }"""
    )
    expect(titles).to_have_count(3)
    page.get_by_label("Question").fill(QUERY)
    page.get_by_label("Question").press("Control+Enter")
    settled(page, 3)
    assert_shows(page, expected(model, request_of(page)))


def test_what_is_missing_is_said_where_it_is_missing(page: Page) -> None:
    run = page.get_by_role("button", name="Rerank and prune")
    run.click()
    expect(page.get_by_role("alert")).to_have_text("Ask a question first.")
    expect(page.get_by_label("Question")).to_be_focused()
    page.get_by_label("Question").fill(QUERY)
    run.click()
    expect(page.get_by_role("alert")).to_have_text("Add a document first.")
    field = page.get_by_label("Text of document 1", exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    page.get_by_role("button", name="Add a document").click()
    expect(page.get_by_label("Text of document 2", exact=True)).to_be_focused()
    page.get_by_role("button", name="Remove document 1").press("Enter")
    expect(page.get_by_label("Text of document 1", exact=True)).to_be_focused()


def test_every_control_has_a_name_and_every_text_contrast(browser: Browser, url: str) -> None:
    contrasts = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
        page.set_default_timeout(PATIENCE)
        page.goto(url)
        page.get_by_role("button", name="English").click()
        settled(page, 3)
        page.get_by_label("Scores of sentences").check()
        page.get_by_text("More options").click()
        found = page.evaluate(contrasts)
        assert len(found["texts"]) > 40
        assert [text for text in found["texts"] if text["contrast"] < 4.5] == []
        assert found["nameless"] == []
        assert found["ids"] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.close()


def test_the_servers_errors_are_shown(browser: Browser, serve: Callable[..., str], model: Provence) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(serve(model, max_document_characters=20))
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("alert")).to_contain_text("characters, and this server takes at most 20")
    page.get_by_label("Text of document 1", exact=True).fill("")  # which is not sent
    page.get_by_label("Text of document 2", exact=True).fill("Tea.")
    page.get_by_label("Title of document 2", exact=True).fill("")
    page.get_by_role("button", name="Rerank and prune").click()
    expect(page.get_by_role("alert")).to_contain_text("Document 3 has ")
    for number, is_wrong in ((1, "false"), (2, "false"), (3, "true")):
        field = page.get_by_label(f"Text of document {number}", exact=True)
        expect(field).to_have_attribute("aria-invalid", is_wrong)
    page.route("**/v1/prune", lambda route: route.fulfill(body="<p>Log in</p>"))
    page.get_by_role("button", name="Rerank and prune").click()
    expect(page.get_by_role("alert")).to_have_text("The server’s answer cannot be read.")
    page.unroute("**/v1/prune")
    page.route("**/v1/prune", lambda route: route.abort())
    page.get_by_role("button", name="Rerank and prune").click()
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached.")
    body: dict[str, Any] = {}
    page.unroute("**/v1/prune")
    full = {"status": 429, "headers": {"Retry-After": "5"}}
    page.route("**/v1/prune", lambda route: route.fulfill(**full, json=body))
    for said, more in (("The queue is full: try again in 5 s", ""), ("It is full.", " Try again in 5 s.")):
        body["error"] = {"message": said}
        page.get_by_role("button", name="Rerank and prune").click()
        expect(page.get_by_role("alert")).to_have_text(f"{said}{more}")
    page.close()


def test_a_key_is_asked_for_and_forgotten(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    key = page.get_by_label("API key")
    expect(key).to_be_focused()
    expect(key).to_have_attribute("type", "password")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("alert")).to_contain_text("this server needs a key")
    for wrong, message in (
        ("wrong", "The server does not accept this API key."),
        ("ключ", "This is no API key: it has spaces, or characters that are not ASCII."),
    ):
        key.fill(wrong)
        page.get_by_role("button", name="Rerank and prune").click()
        expect(page.get_by_role("alert")).to_have_text(message)
        expect(key).to_be_focused()
        expect(key).to_have_attribute("aria-invalid", "true")
    key.fill("secret")
    page.get_by_role("button", name="Rerank and prune").click()
    settled(page, 3)
    expect(page.locator("#problem")).to_be_empty()
    expect(page.locator("#model")).to_contain_text("provence")
    assert page.get_by_label("Share of answers to keep").locator("option").count() == 3
    for kind in ("LangChain", "curl"):
        page.locator("label.tab", has_text=kind).click()
        code = page.locator("#snippet").inner_text()
        assert "PROVENCE_API_KEY" in code
        assert "secret" not in code
    stored = page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length")
    assert stored == 0
    page.reload()
    expect(page.get_by_label("API key")).to_have_value("")
    page.close()


def test_the_page_is_strict_about_what_it_loads(client: Any) -> None:
    for path in ("/", "/playground/app.js", "/playground/style.css"):
        answer = client.get(path)
        assert answer.status_code == 200
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
    for name in ("index.html", "__init__.py", "..%2Finfo.py", "none.js"):
        assert client.get(f"/playground/{name}").status_code == 404
