"""The C declarations of libcribo as ctypes types, read from its public headers: those in include/ beside this
file, where the package is installed, or those of the source tree."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

TYPES: dict[str, Any] = {
    "void": None,
    "char": ctypes.c_char,
    "int": ctypes.c_int,
    "size_t": ctypes.c_size_t,
    "uint8_t": ctypes.c_uint8,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}


def header_folder() -> Path:
    """The folder of the public headers."""
    here = Path(__file__).resolve().parent
    for folder in (here / "include", here.parents[2] / "include" / "cribo"):
        if (folder / "base.h").is_file():
            return folder
    raise ImportError(
        f"libcribo's headers are missing: copy include/cribo/*.h of libcribo to {here / 'include'}"
    )


def header_text(folder: Path) -> str:
    """All headers without comments, directives, attributes and the frame for C++."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.h")))
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"^[ \t]*#(?:.*\\\n)*.*$", "", text, flags=re.MULTILINE)
    return re.sub(r'\bCRIBO_(?:API|MUST_CHECK)\b|extern "C" \{|^\}$', " ", text, flags=re.MULTILINE)


def c_type(text: str) -> Any:
    """The ctypes type of a type's C text: `const char *` is a string, every other pointer an address."""
    if "*" in text:
        return ctypes.c_char_p if "char" in text and text.count("*") == 1 else ctypes.c_void_p
    return TYPES[text.replace("const", "").strip()]


def c_field(declaration: str) -> tuple[str, Any]:
    """Name and type of a member or a parameter."""
    declaration = " ".join(declaration.split())
    pointer_to_function = re.search(r"\(\*(\w+)\)", declaration)
    if pointer_to_function:
        return pointer_to_function[1], ctypes.c_void_p
    parts = re.fullmatch(r"(.*?)(\w+)(?:\[(\d+)\])?", declaration)
    assert parts, declaration
    kind = c_type(parts[1])
    return parts[2], kind * int(parts[3]) if parts[3] else kind


def structures(text: str) -> dict[str, Any]:
    """A ctypes.Structure for every struct with members, by its C name."""
    found = {}
    for name, members in re.findall(r"typedef\s+struct\s+(\w+)\s*\{(.*?)\}\s*\1\s*;", text, re.DOTALL):
        fields = [c_field(member) for member in members.split(";") if member.strip()]
        TYPES[name] = found[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return found


def name_types(text: str) -> None:
    """Registers the enums and the pointers to functions that the headers name."""
    for name in re.findall(r"typedef\s+enum\s+\w*\s*\{[^}]*\}\s*(\w+)\s*;", text):
        TYPES[name] = ctypes.c_int
    for name in re.findall(r"typedef\s[\w\s*]+\(\*(\w+)\)\s*\(", text):
        TYPES[name] = ctypes.c_void_p


def functions(text: str) -> dict[str, tuple[Any, list[Any]]]:
    """Result and parameter types of every function, by its C name."""
    found = {}
    outside = re.sub(r"\{[^{}]*\}", "", text)
    for declaration in outside.split(";"):
        parts = re.fullmatch(
            r"\s*((?!typedef\b)[\w\s*]+?)\b(cribo_\w+)\s*\((.*)\)\s*", declaration, re.DOTALL
        )
        if parts:
            parameters = re.split(r",(?![^()]*\))", parts[3])
            types = [] if parts[3].strip() == "void" else [c_field(p)[1] for p in parameters]
            found[parts[2]] = (c_type(parts[1]), types)
    return found


def constants(text: str) -> dict[str, int]:
    """The constants of all enums, by their C names."""
    bodies = re.findall(r"\benum\b[^;{]*\{([^}]*)\}", text)
    return {
        name: int(value) for body in bodies for name, value in re.findall(r"(CRIBO_\w+)\s*=\s*(\d+)", body)
    }


def version(folder: Path) -> str:
    """The version to which the headers belong, "major.minor.patch"."""
    text = (folder / "base.h").read_text(encoding="utf-8")
    return ".".join(re.findall(r"^#define CRIBO_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", text, re.MULTILINE))


_FOLDER = header_folder()
_TEXT = header_text(_FOLDER)
name_types(_TEXT)
STRUCTURES = structures(_TEXT)
FUNCTIONS = functions(_TEXT)
CONSTANTS = constants(_TEXT)
VERSION = version(_FOLDER)
