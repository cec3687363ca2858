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

from shared.kernel.files import read_table
from shared.kernel.text import tidy

Name = Annotated[str, AfterValidator(tidy)]


class OrganisationSetting(BaseModel):
    """A guest library: its name, its own ISILs (R11), its branches (code -> name), free strips (R8)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    isils: frozenset[str] = frozenset()
    branches: Mapping[str, Name] = Field(default_factory=dict)
    strips: bool = True


_READER = TypeAdapter(dict[str, OrganisationSetting])


def read_organisations(path: Path) -> dict[str, OrganisationSetting]:
    """Return organisation code -> setting. Raises ConfigurationError or OSError."""
    return read_table(path, "organisations", _READER)
