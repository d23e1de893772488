"""A real Chromium that a test drives: pages of programs that need clicks, cookies and keys. See `browser` below."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest


@contextlib.contextmanager
def open_browser(profile, executable=None):
    """A headless Chromium, asked over two pipes (Chrome DevTools Protocol); no port, no further package.

    Args:
        profile (Path): an empty folder for its cookies and cache.
        executable (str | None): None: the one that is installed; the test is skipped where there is none.

    Yields:
        Browser: with one empty tab.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = executable or next(filter(None, map(shutil.which, names)), None)
    if executable is None or os.name != "posix":
        pytest.skip("no Chromium: nobody has looked at the page")
    to_browser, from_browser = os.pipe(), os.pipe()
    flags = "--headless --no-sandbox --disable-gpu --remote-debugging-pipe --no-first-run --window-size=1400,900"
    # The browser reads its descriptor 3 and writes to its 4.
    shell = f'exec "$0" "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
    process = subprocess.Popen(
        ["bash", "-c", shell, executable, *flags.split(), f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(to_browser[0], from_browser[1]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(to_browser[0])
    os.close(from_browser[1])
    browser = Browser(to_browser[1], from_browser[0])
    try:
        browser.attach()
        yield browser
    finally:
        with contextlib.suppress(Exception):
            browser.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        os.close(to_browser[1])
        os.close(from_browser[0])


class Browser:
    """One tab. Everything waits until it is so, or fails."""

    def __init__(self, writer, reader):
        self.writer, self.reader, self.rest = writer, reader, b""
        self.number, self.session, self.dialogs = 0, None, []

    def attach(self):
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        self.call("Page.enable")

    def call(self, method, seconds=60, **parameters):
        """Send a command; its result."""
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self._read()
            if answer.get("method") == "Page.javascriptDialogOpening":
                self.dialogs.append(answer["params"]["message"])
                self._accept_dialog()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
        raise TimeoutError(method)

    def _accept_dialog(self):
        """An alert holds the page until it is answered."""
        self.number += 1
        message = {"id": self.number, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
        os.write(self.writer, json.dumps({**message, "sessionId": self.session}).encode() + b"\0")

    def _read(self):
        while b"\0" not in self.rest:
            data = os.read(self.reader, 1 << 16)
            if not data:
                raise RuntimeError("the browser has ended")
            self.rest += data
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    # -------------------------------------------------------------------------------------------- what a person does

    def open(self, address):
        self.call("Page.navigate", url=address)

    def run(self, code):
        """The value of an expression in the page; promises are waited for."""
        answer = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{code}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, code, seconds=40):
        """Wait until an expression is true; its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(RuntimeError):  # the page is being changed
                value = self.run(code)
                if value:
                    return value
            time.sleep(0.1)
        raise AssertionError(f"never so: {code}\n{self.text()}")

    def text(self):
        """What can be read."""
        return self.run("document.body ? document.body.innerText : ''")

    def until_text(self, text, seconds=40):
        self.until(f"document.body && document.body.innerText.includes({json.dumps(text)})", seconds)

    def click(self, selector, number=0):
        """Click in the middle of an element, as soon as it is there and stands still."""
        element = f"document.querySelectorAll({json.dumps(selector)})[{number}]"
        place = f"""(() => {{ const it = {element}; if (!it) return null; it.scrollIntoView({{block: "center"}});
            const box = it.getBoundingClientRect();
            return box.width ? [box.x + box.width / 2, box.y + box.height / 2] : null; }})()"""
        self.until(place)
        time.sleep(0.3)
        x, y = self.until(place)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text):
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key, code=None):
        """Press a key, such as Enter."""
        known = {"Enter": 13, "Escape": 27, "Tab": 9}
        number = known.get(key) or (ord(key.upper()) if len(key) == 1 else 0)
        event = {"key": key, "code": code or key, "windowsVirtualKeyCode": number}
        if key == "Enter":
            event["text"] = "\r"
        self.call("Input.dispatchKeyEvent", type="keyDown", **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **{**event, "text": ""})

    def screenshot(self, path):
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
