"""The web application: its pages, the data that each requests, and how they are rendered."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jinja2
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from multigrey.control.client import ControlError
from multigrey_web import exports, pages
from multigrey_web.acting import MODES, SPANS, Deed, deed_of, own_deed_of
from multigrey_web.answers import Answer, Answers, Ask
from multigrey_web.exports import EXPORTS, exported
from multigrey_web.logins import Logins, User
from multigrey_web.search import search_of, whole, words_of
from multigrey_web.settings import WebSettings
from multigrey_web.words import FILTERS, cut

__all__ = ["FORMS", "Site", "make_app", "static_files"]

logger = logging.getLogger("multigrey.web")  # the daemon logs notes of its own loggers only

DAY = 86_400
_HOUR = 3600
_SLOT = 300
_PATIENCE = 2.0
"""Seconds a page waits for answers; later ones are shown at the next refresh."""
_EXPORT_PATIENCE = 15.0
"""Seconds an export waits for answers: a program cannot see that a table comes later."""
_REFRESH = {"live": 3, "mine": _HOUR, "steer": _HOUR}
"""Seconds between two refreshes of pages that do not follow the settings: a refresh empties forms."""
_ROWS = 100
"""Most rows of each table."""
_LONGEST_NAME = 300
_MOST_WORDS = 10
_LONGEST_SEARCH = 4_000
"""A line of a mail log has to fit; the whole address of a request may have 8 KiB."""
_NOW = 2.0
"""Seconds for which the answer to a search is valid: who searches has just tried something."""
_DECISIONS = 200
"""Most decisions that a search shows."""
_KEY, _KEY_LENGTH = frozenset("0123456789abcdef"), 32

FORMS = frozenset({"/act"})
"""The paths to which forms are sent."""
_MOST_FIELDS = 12

_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

_LATEST = frozenset({"history", "explain", "records.show", "expect-list"})
"""Operations about single mails: their answers are asked for again after `_NOW`."""

Wanted = Mapping[str, tuple[str, Mapping[str, Any]]]
"""Operation and options of each request, by the name that the page has for the answer."""
Wants = Callable[[Request], Awaitable[Wanted]]
Fill = Callable[[Mapping[str, Answer], Mapping[str, str]], dict[str, Any]]


def static_files() -> dict[str, tuple[bytes, str]]:
    """Return the content and media type of every static file, by name."""
    found = {}
    top = files("multigrey_web") / "static"
    for folder in (top, top / "vendor"):
        for file in folder.iterdir():
            kind = _KINDS.get(file.name.rpartition(".")[2])
            if kind is not None:
                found[file.name] = (file.read_bytes(), kind)
    return found


class Site:
    """Renders pages from the daemon's answers."""

    def __init__(
        self,
        answers: Answers,
        settings: WebSettings,
        *,
        host: str,
        redact: bool = False,
        logins: Logins | None = None,
        act: Ask | None = None,
    ) -> None:
        """`host`: the name of this host, on every page: pages of several mail servers look alike.

        `redact`: whether logs must not hold addresses.  `act` carries out what users do, as far as `logins`
        allow it.  Compiles every template, which takes a tenth of a
        second: do not call it in the event loop.
        """
        self._answers = answers
        self._settings = settings
        self._host = host
        self._redact = redact
        self._logins = Logins() if logins is None else logins
        self._act = act
        self.static = static_files()
        self._versions = {name: sha256(data).hexdigest()[:12] for name, (data, _) in self.static.items()}
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("multigrey_web"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(FILTERS)
        for name in self._templates.list_templates():
            self._templates.get_template(name)

    async def page(self, name: str, wants: Wants, fill: Fill, request: Request) -> Response:
        """Return one page, or only its inner part to refresh an open page."""
        if name != "mine" and not self._logins.user(request.headers).may_read:
            return Response(status_code=303, headers={"location": "/mine"})
        query = _query(request)
        state: Wanted = {} if name == "mine" else {"status": ("status", {})}
        answers = await self._gather({**state, **await wants(request)})
        is_fragment = request.headers.get("hx-request") == "true"
        if name == "search" and query.get("q") and not is_fragment:
            self._note(request, "search", query["q"])
        text = self._templates.get_template(f"{name}.html").render(
            **fill(answers, query),
            is_fragment=is_fragment,
            page=name,
            days=pages.days_of(query),
            periods=pages.DAYS,
            refresh=_REFRESH.get(name, round(self._settings.refresh)),
            query_text=urlencode(query, errors="surrogatepass"),
            here=_here(request.url.path, query),
            searched=query.get("q", ""),
            host=self._host,
            **self._of_user(request),
            static=self._static_link,
        )
        body = text.encode("utf-8", "backslashreplace")
        return Response(body, media_type="text/html", headers={"vary": "HX-Request"})

    async def export(self, wants: Wants, fill: Fill, request: Request) -> Response:
        """Return one table for a program."""
        if not self._logins.user(request.headers).may_read:
            raise HTTPException(404)
        name, form = request.path_params["name"], exports.FORMS.get(request.path_params["form"])
        if form is None:
            raise HTTPException(404)
        query = _query(request)
        answers = await self._gather(await wants(request), patience=_EXPORT_PATIENCE)
        for answer in answers.values():
            if answer.value is None:
                why = answer.trouble or "being gathered: try again in a moment"
                return Response(f"{cut(why)}\n", 503, {"retry-after": "10"}, "text/plain")
        text = exported(EXPORTS[name], form, fill(answers, query))
        self._note(request, f"export of {name}", query.get("q") or query.get("name") or "")
        file = f"multigrey-{name}.{request.path_params['form']}"
        headers = {"content-disposition": f'attachment; filename="{file}"'}
        return Response(text.encode(), headers=headers, media_type=form.media_type)

    def _note(self, request: Request, what: str, about: str) -> None:
        """Log who looked for whom."""
        user = self._logins.user(request.headers).name
        who = user or (request.client.host if request.client else "") or "a user of the proxy"
        shown = f": {cut(about)}" if about and not self._redact else ""
        logger.info("[plugins.web]: %s: %s%s", who, what, shown)

    def _of_user(self, request: Request) -> dict[str, Any]:
        """What a page shows to its user."""
        user = self._logins.user(request.headers)
        token = self._logins.token(user, request.headers.get("host", ""))
        acting = {"token": token if user.may else "", "own_token": token}
        return {"user": user, **acting, "spans": SPANS, "modes": MODES}

    async def act(self, request: Request) -> Response:
        """Carry out what a form asks for, if its user may do that and a page of ours has sent it."""
        user = self._logins.user(request.headers)
        body = (await request.body()).decode("utf-8", "replace")
        try:
            fields = dict(parse_qsl(body, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
        except ValueError:
            return self._done(400, "The form has too many fields.")
        act = fields.get("act", "")
        if not self._logins.is_own(request.headers, fields.get("token", ""), user):
            return self._done(403, "This form is old, or not from these pages: load the page again.")
        if act == "mine" and user.addresses and self._act is not None:
            return await self.act_for_oneself(request, user, fields)
        if act not in user.may or self._act is None:
            self._note(request, "refused, not allowed", act)
            return self._done(403, "You may not do this.")
        return await self._do(request, act, partial(deed_of, act, fields, user.name), fields)

    async def act_for_oneself(self, request: Request, user: User, fields: Mapping[str, str]) -> Response:
        """Expect mail to an address of the user."""
        expected = await self._answer("expect-list", {}, _EXPORT_PATIENCE)
        told = await self._answer("origins.providers", {}, _EXPORT_PATIENCE)
        if expected.value is None or told.value is None:
            return self._done(503, expected.trouble or told.trouble or "The daemon does not answer in time.")
        own = partial(own_deed_of, fields, user, expected.value["expected"], pages.providers_of(told.value))
        return await self._do(request, "expect", own, {})

    async def _do(
        self, request: Request, act: str, make: Callable[[], Deed], fields: Mapping[str, str]
    ) -> Response:
        assert self._act is not None
        try:
            deed = make()
        except ValueError as error:
            return self._done(400, str(error), fields)
        self._note(request, f"does {act}", deed.text)
        try:
            found = await self._act(deed.operation, deed.options)
        except ControlError as error:
            self._note(request, f"{act} was not done", str(error))
            return self._done(502, str(error), fields)
        if found.get("records") == 0:
            return self._done(404, "No waiting record matches: it may have passed already.", fields)
        return self._done(200, f"Done: {deed.text}.", fields)

    def _done(self, status: int, text: str, fields: Mapping[str, str] | None = None) -> Response:
        """Say what became of an act."""
        about = (fields or {}).get("recipient", "")
        html = self._templates.get_template("done.html").render(
            static=self._static_link, text=text, about=about, is_done=status == 200
        )
        return Response(html.encode("utf-8", "backslashreplace"), status, media_type="text/html")

    async def help(self, request: Request) -> Response:
        """Return the page for senders, which is always the same, if it is switched on."""
        del request
        if not self._settings.help:
            raise HTTPException(404)
        text = self._templates.get_template("help.html").render()
        headers = {"x-robots-tag": "noindex", "cache-control": "public, max-age=3600"}
        return Response(text, headers=headers, media_type="text/html")

    async def file(self, request: Request) -> Response:
        """Return a static file.  With its current version in the link it may be cached for a year."""
        name = request.path_params["name"]
        if name not in self.static:
            raise HTTPException(404)
        data, kind = self.static[name]
        is_known = _query(request).get("v") == self._versions[name]
        kept = "public, max-age=31536000, immutable" if is_known else "no-store"
        return Response(data, media_type=kind, headers={"cache-control": kept})

    async def missing(self, request: Request, error: Exception) -> Response:
        """Return the error page for addresses that do not exist."""
        del request
        status = error.status_code if isinstance(error, HTTPException) else 404
        text = self._templates.get_template("missing.html").render(static=self._static_link)
        return Response(text, status, media_type="text/html")

    def _static_link(self, name: str) -> str:
        return f"/static/{name}?v={self._versions[name]}"

    async def _gather(self, wanted: Wanted, *, patience: float = _PATIENCE) -> dict[str, Answer]:
        found: dict[str, Answer] = {}

        async def get(name: str, operation: str, options: Mapping[str, Any]) -> None:
            answer = await self._answer(operation, options, patience)
            needs_time = name in {"report", "flow"} and operation == "growth"
            found[name] = Answer(trouble=answer.trouble) if needs_time else answer

        async with trio.open_nursery() as nursery:
            for name, (operation, options) in wanted.items():
                nursery.start_soon(get, name, operation, options)
        return found

    async def _answer(
        self, operation: str, options: Mapping[str, Any], patience: float = _PATIENCE
    ) -> Answer:
        fresh = _NOW if operation in _LATEST else None
        return await self._answers.get(operation, options, patience=patience, fresh=fresh)

    # What each page wants

    async def report(self, request: Request) -> Wanted:
        """The period begins at a full hour of the daemon's clock, so that all browsers share one answer."""
        days = int(pages.days_of(_query(request)))
        told = (await self._answers.get("growth", {}, patience=_PATIENCE)).value
        if told is None:
            return {"report": ("growth", {})}  # its error is shown; without the time no report can be made
        since = max(told["time"] - told["time"] % _HOUR - days * DAY, 0)
        return {"report": ("report", {"since": since, "limit": self._settings.decisions, "rows": _ROWS})}

    async def waiting(self, request: Request) -> Wanted:
        """See `multigrey.control.operations.waiting`."""
        del request
        return {"waiting": ("waiting", {"limit": _ROWS, "order": "wanted"})}

    async def overview(self, request: Request) -> Wanted:
        """All requests of the first page."""
        wanted = {**await self.report(request), **await self.flow(request)}
        return {**wanted, **await self.waiting(request), "growth": ("growth", {})}

    async def flow(self, request: Request) -> Wanted:
        """Figures from samples, which are never those of a part of the mail only."""
        told = (await self._answers.get("growth", {}, patience=_PATIENCE)).value
        if told is None:
            return {"flow": ("growth", {})}
        since = told["time"] - told["time"] % _SLOT - int(pages.days_of(_query(request))) * DAY
        return {"flow": ("flow", {"since": max(since, 0), "origins": _ROWS})}

    async def record(self, request: Request) -> Wanted:
        """The key must be complete, so that the store need not be searched."""
        key = _query(request).get("key", "")
        if len(key) != _KEY_LENGTH or not set(key) <= _KEY:
            raise HTTPException(404)
        shown = "records.show", {"key": key}
        found = (await self._answer(*shown)).value
        if not found or not found["record"]:
            return {"record": shown}
        row = found["record"]
        words = {"sender": row["sender"] or "<>", "recipient": row["recipient"]}
        if not row["client"] and not row["sender"]:  # a key that a client made itself
            words = {"about": row["recipient"]}
        return {"record": shown, "history": _history(words)}

    async def search(self, request: Request) -> Wanted:
        """The stories of the mail that was searched for."""
        wanted = search_of(_query(request).get("q", ""))
        tries = wanted.tries
        if wanted.line:
            line = "explain", {"line": wanted.line}
            told = (await self._answer(*line)).value
            if told is None or told.get("foreign"):
                return {"line": line}
            tries = (words_of(told),)
        found: Wanted = {}
        for words in tries:
            found = {"history": _history(words)}
            items = ((await self._answer(*_history(words))).value or {}).get("items")
            if items is None:  # not there yet, or an error
                break
            if items[0]["decisions"]:
                return {"history": _history(whole(words, items))}
        return found

    async def live(self, request: Request) -> Wanted:
        """The latest decisions about any mail."""
        del request
        return {"history": ("history", {"latest": True, "limit": _ROWS})}

    async def mine(self, request: Request) -> Wanted:
        """What the user waits for; for users with addresses."""
        if not self._logins.user(request.headers).addresses:
            raise HTTPException(404)
        return {"expected": ("expect-list", {})}

    async def nothing(self, request: Request) -> Wanted:
        """Nothing but the state that every page has; only for users who may change it."""
        if "mode" not in self._logins.user(request.headers).may:
            raise HTTPException(404)
        return {}

    async def growth(self, request: Request) -> Wanted:
        """The samples of the store."""
        del request
        return {"growth": ("growth", {})}

    async def decision(self, request: Request) -> Wanted:
        """What was decided under this id, and how it would be judged now."""
        name = _query(request).get("id", "")
        if not name:
            raise HTTPException(404)
        return {"explained": ("explain", {"id": name})}

    async def origin(self, request: Request) -> Wanted:
        """The latest decisions of one origin, and its figures."""
        name = _query(request).get("name", "")
        if not name:
            raise HTTPException(404)
        return {**await self.flow(request), "history": ("history", {"origin": name, "limit": _ROWS})}


def _query(request: Request) -> dict[str, str]:
    """The query of an address; octets that are not UTF-8 become surrogates, as `in_link` writes them."""
    text = request.url.query
    try:
        pairs = parse_qsl(text, errors="surrogatepass", max_num_fields=_MOST_WORDS)
    except UnicodeDecodeError:
        pairs = parse_qsl(text, errors="replace", max_num_fields=_MOST_WORDS)
    except ValueError:
        raise HTTPException(404) from None
    return {name: value[: _LONGEST_SEARCH if name == "q" else _LONGEST_NAME] for name, value in pairs}


def _history(words: Mapping[str, str]) -> tuple[str, Mapping[str, Any]]:
    return "history", {**words, "limit": _DECISIONS}


def _here(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query, errors='surrogatepass')}" if query else path


def make_app(site: Site) -> Starlette:
    """The application."""

    def page(name: str, wants: Wants, fill: Fill) -> Callable[..., Any]:
        async def endpoint(request: Request) -> Response:
            return await site.page(name, wants, fill, request)

        return endpoint

    shown = (
        ("/", page("overview", site.overview, pages.overview)),
        ("/waiting", page("waiting", site.waiting, pages.waiting)),
        ("/origins", page("origins", site.flow, pages.origins)),
        ("/lost", page("lost", site.report, pages.lost)),
        ("/review", page("review", site.report, pages.review)),
        ("/record", page("record", site.record, pages.record)),
        ("/origin", page("origin", site.origin, pages.origin)),
        ("/search", page("search", site.search, pages.search)),
        ("/live", page("live", site.live, pages.live)),
        ("/mine", page("mine", site.mine, pages.mine)),
        ("/steer", page("steer", site.nothing, pages.steer)),
        ("/decision", page("decision", site.decision, pages.decision)),
        ("/help", partial(site.help)),
        ("/static/{name}", partial(site.file)),
    )
    tables: dict[str, tuple[Wants, Fill]] = {
        "waiting": (site.waiting, pages.waiting),
        "origins": (site.flow, pages.origins),
        "lost": (site.report, pages.lost),
        "review": (site.report, pages.review),
        "origin": (site.origin, pages.origin),
        "search": (site.search, pages.search),
        "live": (site.live, pages.live),
        "traffic": (site.flow, pages.values),
        "growth": (site.growth, pages.values),
    }

    async def export(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in tables:
            raise HTTPException(404)
        return await site.export(*tables[name], request)

    every = (*shown, ("/{name}.{form}", export))
    routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in every]
    routes += [Route(path, partial(site.act), methods=["POST"]) for path in FORMS]
    return Starlette(routes=routes, exception_handlers={404: site.missing, 405: site.missing})
