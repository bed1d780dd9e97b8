"""The service: from an address that is taken to an orderly end."""

from __future__ import annotations

import trio
from multigrey_web import service
from multigrey_web.service import Page
from multigrey_web.settings import WebSettings

from tests.mta.harness import free_port


async def test_an_address_that_is_taken_is_tried_again(monkeypatch, caplog):
    monkeypatch.setattr(service, "_FIRST_PAUSE", 0)
    opened, tries = service.open_socket, []

    def taken_at_first(settings):
        tries.append(settings)
        if len(tries) == 1:
            raise OSError(98, "Address already in use")
        return opened(settings)

    monkeypatch.setattr(service, "open_socket", taken_at_first)
    port = free_port()
    page = Page(WebSettings.model_validate({"address": f"tcp:127.0.0.1:{port}"}), None)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(10):
            await nursery.start(page.run)
            assert "[plugins.web]: tcp:127.0.0.1:" in caplog.text
            assert "Address already in use" in caplog.text
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"GET /waiting HTTP/1.1\r\nHost: localhost\r\n\r\n")
                text = b""
                while b"no control socket" not in text:
                    text += await stream.receive_some()
        nursery.cancel_scope.cancel()
    assert text.startswith(b"HTTP/1.1 200")
