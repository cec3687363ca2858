"""Where the pages send a browser: never to another server, never without TLS to another machine."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registration.counter_ui.auth import own_path
from registration.counter_ui.sign_in import InsecureAddress, SignIn


@pytest.mark.parametrize("insecure", ["http://sign-in.example", "ftp://127.0.0.1", "sign-in.example"])
def test_addresses_without_tls_are_for_this_machine_only(insecure: str) -> None:
    with pytest.raises(InsecureAddress):
        SignIn(issuer=insecure, client_id="c", client_secret=None, address="https://balie.example")
    with pytest.raises(InsecureAddress):
        SignIn(issuer="https://sign-in.example", client_id="c", client_secret=None, address=insecure)


@pytest.mark.parametrize(
    "elsewhere",
    ["https://elsewhere.example", "//elsewhere.example", "/\\elsewhere.example", "/\t/elsewhere.example",
     "gasten", "javascript:alert(1)", "\\\\elsewhere.example", "/\r\nSet-Cookie: a=b", "", "/" + "a" * 1000],
    ids=range(10),
)  # fmt: skip
def test_the_way_on_is_never_to_another_server(elsewhere: str) -> None:
    assert own_path(elsewhere) == "/"


@given(st.text(alphabet="/\\:@.?#ab \t\r\n\x00", max_size=12))
def test_the_way_on_is_a_path_whatever_was_asked_for(wanted: str) -> None:
    path = own_path(wanted)
    parts = urlsplit(path)
    assert path.startswith("/")
    assert (parts.scheme, parts.netloc) == ("", "")
    assert not path.startswith(("//", "/\\"))
