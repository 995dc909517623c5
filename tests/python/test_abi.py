"""The declarations that the package reads from the headers: complete, and with a C compiler's layout."""

import ctypes
import dataclasses
import os
import shlex
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import SOURCE, cribo

INCLUDE = SOURCE / "include" / "cribo"
CONSTANTS, FUNCTIONS, STRUCTURES = (
    getattr(cribo.declarations, name) for name in ("CONSTANTS", "FUNCTIONS", "STRUCTURES")
)


class Declarations(unittest.TestCase):
    def test_every_function_of_the_headers_is_read(self):
        declared = sum(path.read_text().count("CRIBO_API ") for path in INCLUDE.glob("*.h"))
        self.assertEqual(len(FUNCTIONS), declared - 1)  # one is the macro's definition

    def test_every_struct_of_the_headers_is_read(self):
        structs = sum(path.read_text().count("typedef struct") for path in INCLUDE.glob("*.h"))
        opaque = sum(path.read_text().count("_free(cribo_") for path in INCLUDE.glob("*.h"))
        self.assertEqual(len(STRUCTURES), structs - opaque)

    def test_parameters_have_their_types(self):
        u64, size, address = ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p
        expected = ctypes.c_int, [u64, u64, u64, size, address]
        self.assertEqual(FUNCTIONS["cribo_random_uniform"], expected)
        expected = ctypes.c_int, [address, ctypes.c_char_p, address, ctypes.c_int64]
        self.assertEqual(FUNCTIONS["cribo_model_write_parameter"], expected)
        self.assertEqual(FUNCTIONS["cribo_loss_free"], (None, [address]))
        self.assertEqual(FUNCTIONS["cribo_default_threads"], (ctypes.c_int64, []))

    def test_pointers_to_functions_are_addresses(self):
        text = """typedef int (*cribo_reader)(void *user, char *bytes);
            cribo_status cribo_load(cribo_reader reader, void (*done)(int a, int b), const char *name);"""
        cribo.declarations.name_types(text)
        types = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p]
        self.assertEqual(cribo.declarations.functions(text), {"cribo_load": (ctypes.c_int, types)})

    def test_functions_exported_are_all_declared(self):
        exported = (SOURCE / "tests" / "abi" / "exports.txt").read_text().split()
        self.assertEqual(sorted(FUNCTIONS), sorted(exported))

    def test_constants_have_their_numbers(self):
        name_of = cribo.library.native.cribo_status_name
        statuses = [status for status in range(1, 100) if name_of(status) != name_of(100)]
        self.assertEqual(sorted(cribo.errors.ERRORS), statuses)
        for status in statuses:
            self.assertEqual(CONSTANTS[name_of(status).decode()], status)
        self.assertEqual(cribo.LOG_WARNING, CONSTANTS["CRIBO_LOG_WARNING"])
        self.assertEqual(cribo.LOG_INFO, CONSTANTS["CRIBO_LOG_INFO"])

    def test_report_has_the_fields_of_the_struct(self):
        names = [name for name, _ in STRUCTURES["cribo_report"]._fields_ if name != "struct_size"]
        self.assertEqual([field.name for field in dataclasses.fields(cribo.Report)], names)


class Layout(unittest.TestCase):
    def program(self) -> str:
        """C that prints size and offsets of every struct."""
        lines = ["#include <cribo/cribo.h>", "#include <stdio.h>", "int main(void) {"]
        for name, structure in STRUCTURES.items():
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
        self.assertEqual(set(layouts), set(STRUCTURES))
        for name, structure in STRUCTURES.items():
            offsets = [getattr(structure, member).offset for member, _ in structure._fields_]
            self.assertEqual([ctypes.sizeof(structure), *offsets], layouts[name], name)

    def test_crop_dtype_has_the_struct_s_layout(self):
        structure = STRUCTURES["cribo_crop"]
        self.assertEqual(cribo.CROP.itemsize, ctypes.sizeof(structure))
        for name, (_, offset) in cribo.CROP.fields.items():
            self.assertEqual(offset, getattr(structure, name).offset)

    def test_settings_tables_agree_with_the_structs(self):
        for kind in ("clusterer", "loss", "memory_bank", "model", "probe", "trainer"):
            names = [name for name, _ in STRUCTURES[f"cribo_{kind}_config"]._fields_[1:]]
            self.assertEqual([setting.name for setting in cribo.settings(kind)], names, kind)


if __name__ == "__main__":
    unittest.main()
