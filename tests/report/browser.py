"""Opens report.html in headless Chromium and uses it: no errors on the console, no request, every control works.

    pip install websocket-client
    python tests/report/browser.py runs/.../report.html [folder for screenshots]

Needs `chromium` on the path (Debian: apt-get install chromium). Speaks the DevTools protocol; fails with an AssertionError.
"""

import base64
import itertools
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import xml.etree.ElementTree

import websocket

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--remote-allow-origins=*", "--remote-debugging-port=0", "--hide-scrollbars"]


class Page:
    """One tab; every event is kept."""

    def __init__(self, port):
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        self.socket, self.number, self.events = websocket.create_connection(address, timeout=120), itertools.count(1), []

    def call(self, method, **params):
        number = next(self.number)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.events.append(answer)

    def js(self, code):
        answer = self.call("Runtime.evaluate", expression=f"(() => {{ {code} }})()", returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def key(self, name):
        for kind in ("keyDown", "keyUp"):
            codes = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "Tab": 9, " ": 32, "End": 35, "Enter": 13}
            text = {" ": " ", "Enter": "\r"}.get(name, "") if kind == "keyDown" else ""
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code="Space" if name == " " else name,
                      windowsVirtualKeyCode=codes[name], text=text)

    def size(self, wide, high, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=wide, height=high, deviceScaleFactor=1, mobile=mobile)
        self.js("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def scheme(self, name, media=""):
        self.call("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": name}])

    def shot(self, path, clip=None):
        extra = {"clip": {**clip, "scale": 1}} if clip else {}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=clip is not None, **extra)["data"]
        path.write_bytes(base64.b64decode(data))


def use(page):
    """Uses every control, and reports the observations."""
    assert page.js("return !document.querySelector('.explore').hidden"), "the explorer shows"
    lines = "document.querySelector('.plot.live').querySelectorAll(':scope > path.line').length"
    first = page.js(f"return {lines}")
    variants = page.js("return document.querySelector('.readings').querySelectorAll('li').length")
    assert first == variants > 1, (first, variants)

    # A variant is hidden everywhere and shown again, by keyboard.
    page.js("document.querySelector('.readings input').focus()")
    page.key(" ")
    assert page.js(f"return {lines}") == variants - 1
    group = "document.querySelector('.explore').closest('[data-group]')"  # one page may hold several
    gone = f"[...{group}.querySelectorAll('[data-variant=\"0\"]')].every((part) => getComputedStyle(part).display === 'none')"
    assert page.js(f"return {gone}"), "row, lines, map and section of the variant are hidden"
    page.key(" ")
    assert page.js(f"return {lines}") == variants and not page.js(f"return {gone}")

    # Seeds: without one of several, medians and ranges change; rows of its runs are hidden.
    seeds = page.js("return [...document.querySelectorAll('.explore fieldset')][1].querySelectorAll('input').length")
    shape = "[...document.querySelector('.plot.live').querySelectorAll(':scope > path.line')].map((path) => path.getAttribute('d')).join('|')"
    before = page.js(f"return {shape}")
    seed = "document.querySelectorAll('.explore fieldset')[1].querySelector('input').click()"
    page.js(seed)
    assert page.js(f"return {shape}") != before
    rows = f"{group}.querySelectorAll('tr[data-seed]')"
    assert page.js(f"return [...{rows}].filter((row) => row.classList.contains('off')).length") == variants
    page.js(seed)
    assert page.js(f"return {shape}") == before

    # Axes.
    for axis in (0, 1):
        click = f"document.querySelectorAll('.explore fieldset')[0].querySelectorAll('input')[{axis}].click()"
        page.js(click)
        assert page.js(f"return {shape}") != before
        page.js(click)

    # The slider, by keyboard.
    page.js("document.querySelector('.explore input[type=range]').focus()")
    page.key("End")
    assert "the end" in page.js("return document.querySelector('.explore figcaption').textContent")
    assert page.js(f"return {shape}") != before
    page.key("Home")

    # Values under the cursor, by keyboard and by pointer.
    page.js("document.querySelector('.plot.live').focus()")
    page.key("ArrowRight"), page.key("ArrowRight")
    data = "JSON.parse(document.querySelector('.explore script').textContent)"
    read = page.js("return document.querySelector('.readings .value').textContent")
    exact = page.js(f"const d = {data}; return [d.lags[1], ...d.variants[0].runs.map((run) => run.profiles.h.norms[0][1])]")
    assert read and page.js("return document.querySelector('.cursor.tick').textContent") == f"lag {exact[0]}"
    middle = sorted(exact[1:])[len(exact[1:]) // 2]
    assert abs(float(read.split()[0].split("–")[0]) / middle - 1) < 0.2 or seeds % 2 == 0, (read, exact)
    box = page.js("const chart = document.querySelector('.plot.live'); chart.scrollIntoView({ behavior: 'instant', block: 'center' });"
                  "const { x, y, width, height } = chart.getBoundingClientRect(); return [x + width / 2, y + height / 2]")
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    assert page.js("return document.querySelector('.cursor.tick').textContent") != f"lag {exact[0]}"
    heat = page.js("const map = document.querySelector('figure[data-heat] > svg'); if (!map) return null;"
                   "map.scrollIntoView({ behavior: 'instant', block: 'center' });"
                   "const { x, y, width, height } = map.getBoundingClientRect(); return [x + width / 2, y + height / 2]")
    if heat:
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=heat[0], y=heat[1])
        assert page.js("return document.querySelector('figure[data-heat] > .value').textContent").startswith("lag ")

    # Every view draws.
    for index in range(page.js("return document.querySelector('.explore select').options.length")):
        page.js(f"const s = document.querySelector('.explore select'); s.value = {index}; s.dispatchEvent(new Event('change'))")
        assert page.js(f"return {lines}") > 0, index
        drawn = page.js(f"return {shape}")
        assert "NaN" not in drawn and "Infinity" not in drawn, drawn[:200]
    page.js("const s = document.querySelector('.explore select'); s.value = 0; s.dispatchEvent(new Event('change'))")

    # Sorting, up, down and back, by keyboard.
    names = "[...document.querySelector('table.summary').querySelectorAll('tbody th')].map((head) => head.textContent)"
    order = page.js(f"return {names}")
    page.js("document.querySelector('table.summary th button').focus()")
    page.key("Enter")
    assert page.js("return document.querySelector('table.summary th:has(button)').ariaSort") == "ascending"
    up = page.js(f"return {names}")
    page.key("Enter")
    assert page.js(f"return {names}") == up[::-1] != up
    page.key("Enter")
    assert page.js(f"return {names}") == order
    # The focus is visible, and moves through the heads in their order.
    page.key("Tab")
    outline = page.js("const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement); return [outlineStyle, outlineWidth]")
    assert outline[0] == "solid" and outline[1] != "0px", outline
    places = page.js("return [...document.querySelector('table.summary').querySelectorAll('th button')].map((one) => one.getBoundingClientRect().x)")
    assert places == sorted(places), f"the order of tabs is not that of the columns: {places}"
    read_aloud = page.js("return document.querySelector('table.summary .first button').textContent")
    assert ", start" in read_aloud, read_aloud
    wide = page.js("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide[0] <= wide[1], f"the page scrolls sideways: {wide}"
    return variants, seeds


def keep(page, report):
    """The address holds the reader's choices, and restores them."""
    choose = "const s = document.querySelector('.explore select'); s.value = s.options.length - 1; s.dispatchEvent(new Event('change'));"
    page.js(f"{choose} document.querySelector('.readings input').click()")
    state = "const e = document.querySelector('.explore'); return [e.querySelector('figcaption').textContent, " \
            "[...e.querySelectorAll('.readings input')].map((input) => input.checked), document.querySelector('.compare select:last-of-type').value]"
    page.js("const s = document.querySelectorAll('.compare select')[1]; s.value = 0; s.dispatchEvent(new Event('change'))")
    chosen, address = page.js(state), page.js("return location.href")
    assert "#view:" in address and "hide=" in address, address
    load(page, "about:blank")
    load(page, address)
    assert page.js(state) == chosen, (page.js(state), chosen)
    load(page, "about:blank")
    load(page, report.resolve().as_uri())
    assert page.js("return document.querySelector('.readings input').checked")


def save(page, folder):
    """Every plot saves its picture and its numbers from the page alone."""
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    links = page.js("return document.querySelectorAll('main figure > .downloads > *').length")
    assert links > 8 and links % 2 == 0, links
    for figure in ("figure[data-csv=profile]", "figure[data-csv=series]", "figure[data-csv=heat]", ".explore figure", ".compare figure"):
        for place in (0, 1):
            page.js(f"document.querySelectorAll('{figure} > .downloads > *')[{place}].click()")
    for _ in range(100):
        files = {path.name: path for path in folder.iterdir() if path.suffix in (".svg", ".csv")}
        if len(files) >= 9:
            break
        time.sleep(0.1)
    assert len(files) >= 9, sorted(files)
    for name, path in files.items():
        text = path.read_text()
        if path.suffix == ".svg":
            assert "prefers-color-scheme: dark" in text and 'class="title"' in text, name
            xml.etree.ElementTree.fromstring(text)
        else:
            head, *rows = text.splitlines()
            assert head in ("line,lag,median,low,high", "line,step,median,low,high", "step,lag,norm"), (name, head)
            assert len(rows) > 5 and all("NaN" not in row for row in rows), (name, len(rows))
    own = (folder / "profiles-h-init.csv").read_text().splitlines()
    still_own = (pathlib.Path(page.report.parent) / "plots" / "profiles-h-init.csv")
    if still_own.exists():
        written = still_own.read_text().splitlines()
        assert len(own) == len(written), "the page and the file beside it have the same numbers"
        for one, other in zip(own[1:], written[1:]):
            ones, others = one.rsplit(",", 4), other.rsplit(",", 4)
            assert ones[:2] == others[:2], (one, other)
            assert all(abs(float(a) - float(b)) <= 2e-3 * abs(float(b)) for a, b in zip(ones[2:], others[2:])), (one, other)


def load(page, url):
    seen = len(page.events)
    page.call("Page.navigate", url=url)
    while not any(event.get("method") == "Page.loadEventFired" for event in page.events[seen:]):
        page.events.append(json.loads(page.socket.recv()))


def still(page, variants):
    """Without JavaScript the page is complete except for the explorer."""
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    seen = len(page.events)
    page.call("Page.reload")
    while not any(event.get("method") == "Page.loadEventFired" for event in page.events[seen:]):
        page.events.append(json.loads(page.socket.recv()))
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    count = lambda selector: len(page.call("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"])
    assert count(".explore[hidden]") == count(".explore") > 0
    assert count("table.summary tbody tr") >= variants and count("figure > svg") > variants
    assert count(".off") == count("button") == 0


def main(report, shots):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "chromium: expected on the path, found nothing"
    with tempfile.TemporaryDirectory() as profile:
        browser = subprocess.Popen([chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.DEVNULL)
        try:
            port = pathlib.Path(profile, "DevToolsActivePort")
            for _ in range(600):
                if port.exists() and port.read_text().strip():
                    break
                time.sleep(0.1)
            page = Page(port.read_text().split()[0])
            for domain in ("Page", "Runtime", "Log", "Network"):
                page.call(f"{domain}.enable")
            page.size(1280, 900)
            page.scheme("light")
            page.report = report.resolve()
            load(page, page.report.as_uri())
            variants, seeds = use(page)
            keep(page, report)
            saved = pathlib.Path(profile, "saved")
            saved.mkdir()
            save(page, saved)
            for name, wide, high, scheme in [("light", 1280, 1000, "light"), ("dark", 1280, 1000, "dark"), ("phone", 390, 844, "light"),
                                             ("phone-dark", 390, 844, "dark")]:
                page.scheme(scheme)
                page.size(wide, high, wide < 500)
                over = page.js("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert over <= 0, f"{name}: the page scrolls sideways by {over} pixels"
                if shots:
                    shots.mkdir(parents=True, exist_ok=True)
                    top = page.js("return document.querySelector('.explore').getBoundingClientRect().top + scrollY")
                    page.shot(shots / f"{name}-top.png", {"x": 0, "y": 0, "width": wide, "height": high})
                    page.shot(shots / f"{name}-explore.png", {"x": 0, "y": top - 20, "width": wide, "height": high + 200})
            if shots:
                page.scheme("light")
                pdf = page.call("Page.printToPDF", printBackground=True)["data"]
                (shots / "print.pdf").write_bytes(base64.b64decode(pdf))
            still(page, variants)
            wrong = [event for event in page.events if event.get("method") == "Runtime.exceptionThrown"
                     or event.get("method") == "Runtime.consoleAPICalled" and event["params"]["type"] in ("error", "warning", "assert")
                     or event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] in ("error", "warning")]
            assert not wrong, wrong
            asked = [event["params"]["request"]["url"] for event in page.events if event.get("method") == "Network.requestWillBeSent"]
            outside = [url for url in asked if not url.startswith(("file:", "blob:", "about:"))]
            assert not outside and all(page.report.as_uri() in url for url in asked if url.startswith("file:")), asked
            print(f"{report}: {report.stat().st_size} bytes, {variants} variants, {seeds} seeds, no error, no request, all controls work, whole without JavaScript")
        finally:
            browser.terminate()
            browser.wait()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else None)
