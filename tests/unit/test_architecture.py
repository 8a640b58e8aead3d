"""The structure that docs/architecture.md promises and import-linter cannot say."""

import ast
import sys
from pathlib import Path

import pymta

PACKAGE = Path(pymta.__file__).parent

# Each foreign library is imported in exactly one file, so that its traps are known in one place.
FOREIGN = {
    "aiosmtpd": "smtpd/connection.py",
    "dns": "dns/resolver.py",
    "uvloop": "runtime/loop.py",
    "sqlite3": "spool/sqlite.py",
    "cryptography": "auth/keys.py",
    "dkim": "auth/dkim.py",
    "spf": "auth/spf.py",
    "passlib": "auth/passdb.py",
}
PURE = [
    "model",
    "protocol",
    "access",
    "rewrite",
    "delivery/hosts.py",
    "delivery/pool.py",
    "qmgr/scheduler.py",
    "qmgr/backoff.py",
]
IMPURE_MODULES = {"asyncio", "socket", "ssl", "os", "time", "random", "threading", "logging", "sqlite3"}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def _modules(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place] if place.exists() else []


def test_each_foreign_library_is_imported_in_one_file() -> None:
    strangers = []
    for path in _modules(PACKAGE):
        name = path.relative_to(PACKAGE).as_posix()
        for library in _imports(path) - {"pymta"}:
            if library in FOREIGN:
                if FOREIGN[library] != name:
                    strangers.append(f"{name} imports {library}, which belongs in {FOREIGN[library]}")
            elif library not in sys.stdlib_module_names and library != "__future__":
                strangers.append(f"{name} imports {library}, which is not in the list")
    assert strangers == []


def test_pure_modules_import_nothing_that_touches_the_world() -> None:
    touched = [
        f"{path.relative_to(PACKAGE)}: {', '.join(sorted(bad))}"
        for place in PURE
        for path in _modules(PACKAGE / place)
        if (bad := _imports(path) & IMPURE_MODULES)
    ]
    assert touched == []
