"""Files that another file's format reads together with its own: they are no workouts of their own."""

from collections import defaultdict
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache

from hrmodel.workouts.formats.catalog import FORMATS, Format, detect


def read_by_others(names: list[str], head: Callable[[str], bytes]) -> set[str]:
    """Those of the names, with their folders, that another file reads; `head` gives a file's first bytes.

    The other file is in the folder where its format expects it, else, for what somebody has moved, anywhere.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folders[name.rpartition("/")[0]].append(name)

    @cache
    def in_folder(folder: str) -> set[str]:
        return {found.name for name in folders.get(folder, ()) if (found := detect(head(name)))}

    @cache
    def anywhere(format_: Format) -> bool:
        alike = [name for name in names if name.lower().endswith(format_.extensions)]
        return any(detect(head(name)) is format_ for name in alike)

    taken = set()
    for format_ in FORMATS:
        for pattern in format_.beside:
            for name in names:
                folder = _folder_of(name, pattern)
                if folder is not None and (format_.name in in_folder(folder) or anywhere(format_)):
                    taken.add(name)
    return taken


def _folder_of(name: str, pattern: str) -> str | None:
    """The folder from which `pattern` leads to `name`, if it does."""
    parts, depth = name.split("/"), pattern.count("/") + 1
    if len(parts) < depth or not fnmatchcase("/".join(parts[-depth:]).lower(), pattern):
        return None
    return "/".join(parts[:-depth])
