"""The guest libraries, read from one TOML file that both services share.

[organisations.1001]
name = "Biblionet Drenthe"
isils = ["NL-070297"]
strips = true                  # grant free strips at registration (R8); the default is true
branches = { 9453 = "Roden" }
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from shared.kernel.library_card import Isil, MalformedIsil
from shared.kernel.text import tidy
from shared.kernel.toml_file import TomlFile

Name = Annotated[str, AfterValidator(tidy)]


def _isil(text: str) -> str:
    try:
        return str(Isil.parse(text))
    except MalformedIsil:
        raise ValueError("must be an ISIL, NL- and six digits or ten") from None


class OrganisationSetting(BaseModel):
    """A guest library: its name, its own ISILs (R11), its branches (code -> name), free strips (R8)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    isils: frozenset[Annotated[str, AfterValidator(_isil)]] = frozenset()
    branches: Mapping[str, Name] = Field(default_factory=dict)
    strips: bool = True


_READER = TypeAdapter(dict[str, OrganisationSetting])


def read_organisations(file: Path | TomlFile) -> dict[str, OrganisationSetting]:
    """Return organisation code -> setting. Raises Mistakes or OSError."""
    content = file if isinstance(file, TomlFile) else TomlFile.read(file)
    content.require_tables("organisations")
    return content.table("organisations", _READER)
