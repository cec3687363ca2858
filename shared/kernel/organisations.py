"""The guest libraries, read from one TOML file that both services share.

[organisations.1001]
name = "Biblionet Drenthe"
isils = ["NL-070297"]
strips = true                  # grant free strips at registration (R8); the default is true
branches = { 9453 = "Roden" }
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.kernel.errors import ConfigurationError
from shared.kernel.files import read_file
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
    try:
        content: dict[str, Any] = tomllib.loads(read_file(path))
        return _READER.validate_python(content.get("organisations", {}))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise ConfigurationError(f"{path}: organisations.{where}: {fault['msg']}") from error
