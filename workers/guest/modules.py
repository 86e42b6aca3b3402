"""The Python files of an executable as modules: imported from memory, as no file of the analyst's is in the root."""

import importlib
import importlib.abc
import importlib.machinery
import linecache
import sys
import types
from collections.abc import Mapping, Sequence
from importlib.util import decode_source, spec_from_loader


class Sources(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds and loads the modules of one executable; its files have the paths they have in the bundle."""

    def __init__(self, files: Mapping[str, bytes], entry: str) -> None:
        self._files = files
        self._entry = module_name(entry)
        self._paths = {module_name(path): path for path in files}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002  the interface of finders
        target: types.ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """A module of the executable's, or None; a folder without `__init__.py` is a package, too."""
        if fullname in self._paths:
            return spec_from_loader(fullname, self, origin=self._paths[fullname], is_package=self.is_package(fullname))
        if self._is_folder(fullname):
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [fullname]
            return spec
        return None

    def is_package(self, fullname: str) -> bool:
        """Whether a module is a folder with `__init__.py`."""
        return self._paths[fullname].endswith("__init__.py")

    def get_source(self, fullname: str) -> str:
        """Its text, for the import and for tracebacks."""
        return decode_source(self._files[self._paths[fullname]])

    def get_code(self, fullname: str) -> types.CodeType:
        """Its code; the name of its file is its path in the bundle."""
        path = self._paths[fullname]
        return self.source_to_code(self._files[path], path)

    def show_lines(self) -> None:
        """Let tracebacks show lines of these files, also of one that could not be compiled."""
        for path, content in self._files.items():
            text = content.decode("utf-8", "replace")
            linecache.cache[path] = (len(content), None, text.splitlines(keepends=True), path)

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def run(self) -> types.ModuleType:
        """Import the entry. Raises whatever its top level raises."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        return importlib.import_module(self._entry)

    def forget(self) -> None:
        """Take what was imported from here out of the interpreter, for another run in the same process."""
        for name in [name for name in sys.modules if name in self._paths or self._is_folder(name)]:
            del sys.modules[name]
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def _is_folder(self, fullname: str) -> bool:
        return any(name.startswith(f"{fullname}.") for name in self._paths)


def module_name(path: str) -> str:
    """What a file of a bundle is imported as."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
