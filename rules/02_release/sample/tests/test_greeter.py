import os
import unittest

import greeter


class GreeterTest(unittest.TestCase):
    def test_it_greets_by_name(self):
        self.assertEqual(greeter.greet("Ada"), "hello, Ada")

    def test_the_package_is_of_the_version_that_is_wanted(self):
        wanted = os.environ["RELEASE_VERSION"].partition("rc")[0]
        self.assertEqual(greeter.__version__, wanted)
