"""The page of the guestbook: shows the entries and takes new ones. It keeps nothing itself."""

import time
from html import escape
from urllib.parse import parse_qs

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import book
from wit_world.imports.book import Entry
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    Method_Get,
    Method_Head,
    Method_Post,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

SHOWN = 50
FORM_BYTES_MAX = 8192
"""More than the longest name and message that the book takes, each byte written as `%xx`."""

WRITE_BYTES = 4096
"""As much as WASI takes at once."""

HTML = "text/html; charset=utf-8"

POLICY = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'"
"""Nothing but this page and its own style: no script at all, whatever a guest writes."""

Answer = tuple[int, list[tuple[str, str]], str]
"""Status, headers, text."""


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        status, headers, text = answer(request)
        headers += [
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
        ]
        fields = Fields.from_list([(name, value.encode()) for name, value in headers])
        response = OutgoingResponse(fields)
        response.set_status_code(status)
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        data = text.encode()
        with body.write() as stream:
            for start in range(0, len(data), WRITE_BYTES):
                stream.blocking_write_and_flush(data[start : start + WRITE_BYTES])
        OutgoingBody.finish(body, None)


def answer(request: IncomingRequest) -> Answer:
    path = (request.path_with_query() or "/").partition("?")[0]
    method = request.method()
    is_read = isinstance(method, Method_Get | Method_Head)
    if path == "/" and is_read:
        return shown()
    if path == "/style.css" and is_read:
        return 200, [("content-type", "text/css")], STYLE
    if path == "/sign" and isinstance(method, Method_Post):
        return signed(request)
    return 404, [("content-type", "text/plain")], "There is nothing here.\n"


def signed(request: IncomingRequest) -> Answer:
    """Take what the form holds; go back to the page, so that a reload does not sign again."""
    with request.headers() as headers:
        if b"cross-site" in headers.get("sec-fetch-site"):
            return 403, [("content-type", "text/plain")], "Sign on the page of the book itself.\n"
    body = body_of(request)
    if body is None:
        return shown("That is too much for one entry.", status=413)
    form = parse_qs(body.decode(errors="replace"), max_num_fields=10)
    name, message = (form.get(field, [""])[0].strip() for field in ("name", "message"))
    try:
        book.sign(Entry(name=name, message=message, signed_at=int(time.time())))
    except Err as error:
        return shown(error.value, name, message, status=400)
    return 303, [("location", "/")], ""


def shown(problem: str = "", name: str = "", message: str = "", *, status: int = 200) -> Answer:
    """Return the page, with what was written but not taken in its form."""
    entries = "".join(map(article, book.entries(SHOWN)))
    page = PAGE.format(
        problem=f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else "",
        name=escape(name),
        message=escape(message),
        entries=entries or "<p>Nobody has signed yet.</p>",
    )
    return status, [("content-type", HTML)], page


def article(entry: Entry) -> str:
    """Return an entry as HTML. What guests wrote is text: `escape` keeps it that."""
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(entry.signed_at))
    return (
        f"<article><h2>{escape(entry.name)}</h2><time>{when} UTC</time>"
        f"<p>{escape(entry.message)}</p></article>\n"
    )


def body_of(request: IncomingRequest) -> bytes | None:
    """Return the body of a request, or None when it is longer than a form can be."""
    body = b""
    with request.consume() as incoming, incoming.stream() as stream:
        try:
            while len(body) <= FORM_BYTES_MAX:
                body += stream.blocking_read(FORM_BYTES_MAX)
        except Err:  # the end of the stream
            return body
    return None


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Guestbook</title>
<link rel="stylesheet" href="/style.css">
<link rel="icon" href="data:,">
</head>
<body>
<h1>Guestbook</h1>
{problem}<form method="post" action="/sign">
<label>Name <input name="name" value="{name}" maxlength="80" required></label>
<label>Message <textarea name="message" maxlength="500" required>{message}</textarea></label>
<button>Sign</button>
</form>
<main>
{entries}</main>
</body>
</html>
"""

STYLE = """
body { max-width: 40rem; margin: 3rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif;
       color: #222; background: #faf8f3; }
form { display: grid; gap: .75rem; padding: 1rem; border: 1px solid #ddd5c3; border-radius: .5rem;
       background: #fff; }
label { display: grid; gap: .25rem; }
input, textarea, button { font: inherit; padding: .5rem; }
button { justify-self: start; padding: .5rem 1.5rem; }
article { margin-top: 1.5rem; border-top: 1px solid #ddd5c3; }
article h2 { margin: .75rem 0 0; font-size: 1.1rem; overflow-wrap: anywhere; }
article p { margin: .25rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
time { color: #777; font-size: .85rem; }
.problem { color: #a40000; }
"""
