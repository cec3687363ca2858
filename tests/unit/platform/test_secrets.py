"""Key files: a mistake is named by its file, and no key is shown."""

import base64
from pathlib import Path

import pytest

from shared.platform.secrets import MalformedKeyFile, read_key_file


@pytest.mark.parametrize("text", ["", "not base64!", base64.b64encode(b"short").decode()])
def test_a_malformed_key_file_is_named_and_never_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master.keys"
    path.write_text(text)

    with pytest.raises(MalformedKeyFile, match=r"master\.keys") as refused:
        read_key_file(path)
    assert not text or text not in str(refused.value)
