"""The module's declarations against the headers: their text, and the layout that a C compiler gives them."""

import ctypes
import dataclasses
import os
import re
import shlex
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import SOURCE, cribo


def header_text() -> str:
    """All public headers without comments, directives and attributes."""
    text = ""
    for name in ("base", "clusterer", "evaluation", "loss", "memory_bank", "model", "trainer"):
        text += (SOURCE / "include" / "cribo" / f"{name}.h").read_text()
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"^#.*(?:\\\n.*)*$", "", text, flags=re.MULTILINE)
    return re.sub(r"CRIBO_API|CRIBO_MUST_CHECK|extern \"C\" \{|^\}$", " ", text, flags=re.MULTILINE)


def declarations(text: str) -> list:
    """Every struct and function as its tokens, enums left out."""
    text = re.sub(r"(typedef )?enum[^;]*?\{.*?\}[^;]*;", " ", text, flags=re.DOTALL)
    found = re.findall(r"(?:typedef struct \w+ \{.*?\} \w+;|[^;{}]+;)", text, flags=re.DOTALL)
    return [" ".join(re.findall(r"\w+|\S", declaration)) for declaration in found]


class Declarations(unittest.TestCase):
    def test_headers_copied_are_the_same(self):
        ours, theirs = declarations(cribo._HEADERS), declarations(header_text())
        self.assertGreater(len(ours), 60)
        self.assertEqual(ours, theirs)

    def test_functions_exported_are_all_declared(self):
        exported = (SOURCE / "tests" / "abi" / "exports.txt").read_text().split()
        self.assertEqual(sorted(cribo._FUNCTIONS), sorted(exported))

    def test_statuses_have_their_numbers(self):
        numbers = dict(re.findall(r"(CRIBO_\w+) = (\d+)", (SOURCE / "include/cribo/base.h").read_text()))
        for status, error in cribo._ERRORS.items():
            name = cribo._library.cribo_status_name(status).decode()
            self.assertEqual(int(numbers[name]), error.status)
        self.assertEqual(len(cribo._ERRORS), 8)

    def test_report_has_the_fields_of_the_struct(self):
        names = [name for name, _ in cribo._STRUCTURES["cribo_report"]._fields_ if name != "struct_size"]
        self.assertEqual([field.name for field in dataclasses.fields(cribo.Report)], names)


class Layout(unittest.TestCase):
    def program(self) -> str:
        """C that prints size and offsets of every struct."""
        lines = ["#include <cribo/cribo.h>", "#include <stdio.h>", "int main(void) {"]
        for name, structure in cribo._STRUCTURES.items():
            lines.append(f'printf("{name} %zu", sizeof({name}));')
            for member, _ in structure._fields_:
                lines.append(f'printf(" %zu", offsetof({name}, {member}));')
            lines.append('printf("\\n");')
        return "\n".join([*lines, "return 0; }"])

    def test_structs_compiled_have_the_same_layout(self):
        with tempfile.TemporaryDirectory() as folder:
            source, binary = Path(folder, "layout.c"), Path(folder, "layout")
            source.write_text(self.program())
            compiler = shlex.split(os.environ.get("CC", "cc"))
            subprocess.run(
                [*compiler, "-std=c11", f"-I{SOURCE / 'include'}", str(source), "-o", str(binary)], check=True
            )
            printed = subprocess.run([str(binary)], check=True, capture_output=True, text=True).stdout
        layouts = {line.split()[0]: [int(n) for n in line.split()[1:]] for line in printed.splitlines()}
        self.assertEqual(set(layouts), set(cribo._STRUCTURES))
        for name, structure in cribo._STRUCTURES.items():
            offsets = [getattr(structure, member).offset for member, _ in structure._fields_]
            self.assertEqual([ctypes.sizeof(structure), *offsets], layouts[name], name)

    def test_crop_dtype_has_the_struct_s_layout(self):
        structure = cribo._STRUCTURES["cribo_crop"]
        self.assertEqual(cribo.CROP.itemsize, ctypes.sizeof(structure))
        for name, (_, offset) in cribo.CROP.fields.items():
            self.assertEqual(offset, getattr(structure, name).offset)

    def test_settings_tables_agree_with_the_structs(self):
        for kind in ("clusterer", "loss", "memory_bank", "model", "probe", "trainer"):
            names = [name for name, _ in cribo._STRUCTURES[f"cribo_{kind}_config"]._fields_[1:]]
            self.assertEqual([setting.name for setting in cribo.settings(kind)], names, kind)


if __name__ == "__main__":
    unittest.main()
