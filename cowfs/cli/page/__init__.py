"""A self-contained page for a browser: data that the page's own script shows.

Used by ``cowfs report`` and ``cowdiff report``. Names and contents come from whoever made an image or ran in one, so
they never become markup: the data are JSON in which no tag can begin or end, the script sets text only, and the page
allows no script but its own, by its digest (Content-Security-Policy). This package has what the pages share; each
brings markup, style and script of its own.
"""

import base64
import hashlib
import json
import os
import re
import secrets
from importlib import resources
from pathlib import Path

from cowfs.errors import UsageError

_SHARED = "cowfs.cli.page"


def page(brand: str, title: str, package: str, name: str, data: object) -> str:
    """The page that ``name``.html, .css and .js of ``package`` make of ``data``, which is for JSON."""
    script = _part(_SHARED, "page.js") + _part(package, f"{name}.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "BRAND": brand,
        "TITLE": title,
        "POLICY": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        "STYLE": _part(_SHARED, "page.css") + _part(package, f"{name}.css"),
        "MAIN": _part(package, f"{name}.html"),
        "DATA": _embedded(data),
        "SCRIPT": script,
    }
    # All in one pass: what is put in is not searched for the other names.
    return re.sub(f"@({'|'.join(parts)})@", lambda found: parts[found[1]], _part(_SHARED, "page.html"))


def save(text: str, output: Path) -> None:
    """Write the page, in place of what is there. Raises UsageError where it cannot be written."""
    new = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        new.write_text(text, encoding="utf-8")
        os.replace(new, output)
    except OSError as failure:
        raise UsageError(f"{output}: cannot be written: {failure.strerror}") from None
    finally:
        new.unlink(missing_ok=True)


def _embedded(value: object) -> str:
    """JSON for a script element: nothing in it opens or ends a tag or a comment."""
    text = json.dumps(value, separators=(",", ":"))  # ASCII
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _part(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
