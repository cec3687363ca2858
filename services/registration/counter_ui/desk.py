"""The first page: the scan field, and beneath it what matters at the desk today."""

from fastapi import Request, Response

from registration.counter_ui.pages import pages
from registration.counter_ui.rendering import page
from registration.counter_ui.session import TheCounterClerk

router = pages()


@router.get("/")
async def desk(request: Request, _clerk: TheCounterClerk) -> Response:
    """Ready for a card."""
    return page(request, "desk.html")
