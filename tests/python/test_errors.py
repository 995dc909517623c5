"""Exceptions that are also those of Python."""

import errno
import os
import tempfile
import unittest
from pathlib import Path

from support import SMALL, cribo


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.model = cribo.Model(**SMALL)
        self.addCleanup(self.model.close)

    def caught(self, call) -> OSError:
        try:
            call()
        except OSError as error:
            return error
        return self.fail("nothing was raised")

    def test_missing_file_is_file_not_found(self):
        path = self.folder / "none"
        for call in (lambda: self.model.load(path), lambda: self.model.save(path / "file")):
            error = self.caught(call)
            self.assertIsInstance(error, FileNotFoundError)
            self.assertIsInstance(error, cribo.IOError_)
            self.assertEqual((error.errno, error.status), (errno.ENOENT, 3))
            self.assertRegex(str(error), f"^{path}.*No such file")

    def test_folder_that_is_a_file_is_not_a_directory(self):
        (self.folder / "file").touch()
        error = self.caught(lambda: self.model.load(self.folder / "file" / "weights"))
        self.assertIsInstance(error, NotADirectoryError)
        self.assertEqual(error.errno, errno.ENOTDIR)

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_forbidden_file_is_permission_error(self):
        self.model.save(self.folder / "file")
        (self.folder / "file").chmod(0)
        error = self.caught(lambda: self.model.load(self.folder / "file"))
        self.assertIsInstance(error, PermissionError)

    def test_other_refusals_have_their_number(self):
        error = self.caught(lambda: self.model.save(self.folder / ("x" * 300)))
        self.assertIs(type(error), cribo.IOError_)
        self.assertEqual(error.errno, errno.ENAMETOOLONG)

    def test_failure_without_a_system_call_has_no_number(self):
        self.caught(lambda: self.model.load(self.folder / "none"))
        error = self.caught(lambda: self.model.load(self.folder))  # opened, but no regular file
        self.assertIs(type(error), cribo.IOError_)
        self.assertIsNone(error.errno)


if __name__ == "__main__":
    unittest.main()
