"""A headless Chromium for tests, driven over WebDriver (W3C) with the standard library alone."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MISSING = "needs Chromium and its driver: apt-get install chromium chromium-driver"

# Keys as WebDriver sends them.
KEYS = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "ArrowRight": "\ue014",
    "End": "\ue010",
    "Home": "\ue011",
}
# The driver is on this machine: no proxy of the environment is to be asked for it.
_LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """One session: pages, scripts, keys, screenshots."""

    def __init__(self, session):
        self._session = session

    def _call(self, path, **body):
        return _request(f"{self._session}/{path}", body)

    def open(self, path):
        """Opens a file."""
        self._call("url", url=path.resolve().as_uri())

    def run(self, script, *arguments):
        """What a script's body returns; it sees `arguments`."""
        return self._call("execute/sync", script=script, args=list(arguments))

    def wait(self, condition):
        """Waits until a JavaScript expression holds; fails after ten seconds."""
        script = (
            "const done = arguments[0]; const end = Date.now() + 10000;"
            f"(function look() {{ if ({condition}) done(true);"
            "else if (Date.now() > end) done(false); else setTimeout(look, 20); })();"
        )
        assert self._call("execute/async", script=script, args=[]), f"never came: {condition}"

    def press(self, *keys):
        """Presses keys, by name, one after another, on whatever has the focus."""
        actions = []
        for key in keys:
            actions += [{"type": kind, "value": KEYS[key]} for kind in ("keyDown", "keyUp")]
        self._call("actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def click(self, selector, share=0.5):
        """Clicks an element, at a share of its width from its left edge."""
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        left, top, width, height = self.run(
            "const r = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [r.left, r.top, r.width, r.height]",
            selector,
        )
        x, y = round(left + share * width), round(top + height / 2)
        actions = [
            {"type": "pointerMove", "duration": 0, "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "actions": actions}
        self._call("actions", actions=[mouse])

    def emulate(self, columns, rows, dark=False, phone=False):
        """The size of the page, its colour scheme, and whether it is a phone's."""
        screen = {"width": columns, "height": rows, "deviceScaleFactor": 2 if phone else 1}
        self._devtools("Emulation.setDeviceMetricsOverride", **screen, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", features=[scheme])

    def _devtools(self, command, **parameters):
        return self._call("goog/cdp/execute", cmd=command, params=parameters)

    def complaints(self):
        """What the page's scripts have logged as warnings and errors since the last call."""
        logged = self._call("se/log", type="browser")
        return [entry["message"] for entry in logged if entry["level"] in ("WARNING", "SEVERE")]

    def requests(self):
        """Every address that a page has asked for since the last call."""
        entries = self._call("se/log", type="performance")
        messages = (json.loads(entry["message"])["message"] for entry in entries)
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def screenshot(self, path):
        """Writes what is seen as PNG."""
        path.write_bytes(base64.b64decode(_request(f"{self._session}/screenshot")))


def _request(url, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with _LOCAL.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(json.load(error)["value"]["message"]) from None


@contextlib.contextmanager
def started():
    """A `Browser` without a network."""
    command = [DRIVER, "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        try:
            port = next(
                match[1]
                for line in driver.stdout
                if (match := re.search(r"started successfully on port (\d+)", line))
            )
            arguments = [
                "--headless=new",
                # Chromium refuses to run as root, which containers often do, with its sandbox.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--host-resolver-rules=MAP * ~NOTFOUND",
            ]
            options = {"binary": CHROMIUM, "args": arguments}
            logs = {"browser": "ALL", "performance": "ALL"}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": logs}
            wanted = {"alwaysMatch": wanted}
            server = f"http://127.0.0.1:{port}/session"
            session = f"{server}/{_request(server, {'capabilities': wanted})['sessionId']}"
            try:
                yield Browser(session)
            finally:
                _request(session, method="DELETE")
        finally:
            driver.terminate()
