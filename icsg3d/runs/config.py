"""Configuration files: the options of a training, named and checked, read from YAML and written beside the result."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML, YAMLError

from icsg3d.errors import InputError
from icsg3d.files import saving, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CONFIG_FILE = "config.yaml"


class RunConfig(BaseModel):
    """Options of a run. Unknown names and values out of range are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def load(cls, path: Path | None, assignments: Sequence[str] = (), given: Mapping[str, Any] | None = None) -> Self:
        """Return the options of a file, changed by assignments and by options given on their own.

        Args:
            path: A YAML file of names and values, such as one that an earlier run wrote; None for the defaults.
            assignments: Further values, each as ``name=value``, the value as in YAML.
            given: Values that count before all others; those that are None were not given.

        Raises:
            InputError: if the file cannot be read, or a name or value is none.
        """
        values = {} if path is None else _read(path)
        values |= dict(_assignment(text) for text in assignments)
        values |= {name: value for name, value in (given or {}).items() if value is not None}
        try:
            return cls(**values)
        except ValidationError as error:
            raise InputError(cls._explain(error, path)) from error

    @classmethod
    def _explain(cls, error: ValidationError, path: Path | None) -> str:
        """Return the first fault in a sentence that names the option and the way out."""
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        where = "" if path is None else f" (in {path} or given)"
        if first["type"] == "extra_forbidden":
            return f"there is no option {name}{where}; there are {', '.join(cls.model_fields)}"
        if first["type"] == "missing":
            return f"the option {name} is missing{where}; give it"
        return f"the option {name} cannot be {first['input']!r}{where}: {first['msg'][0].lower()}{first['msg'][1:]}"

    def write(self, folder: Path) -> None:
        """Write the options with their meanings into a folder, so that ``--config`` can repeat the run."""
        text = io.StringIO()
        yaml = YAML()
        for name, field in type(self).model_fields.items():
            text.write(f"# {field.description}\n")
            yaml.dump({name: self.model_dump(mode="json")[name]}, text)
        with saving(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / CONFIG_FILE, text.getvalue().encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text())
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the configuration {path} cannot be read ({reason}); give a YAML file") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InputError(f"the configuration {path} is no list of names and values; see the {CONFIG_FILE} of a run")
    return content


def _assignment(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise InputError(f"--set takes name=value, such as batch_size=32; got {text!r}")
    try:
        return name.strip().replace("-", "_"), YAML(typ="safe", pure=True).load(value)
    except YAMLError as error:
        raise InputError(f"the value of {text!r} is none that YAML knows; quote it") from error
