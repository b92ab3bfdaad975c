"""The Jupyter project's own tests of kernels, with samples for this one."""

import unittest

import jupyter_kernel_test as jkt


class Conformance(jkt.KernelTests):
    kernel_name = "tunebook"
    language_name = "typescript"
    file_extension = ".ts"
    code_hello_world = "console.log('hello, world')"
    code_stderr = "console.error('oops')"
    completion_samples = [
        {"text": "conso", "matches": {"console"}},
        {"text": "process.cw", "matches": {"cwd"}},
    ]
    complete_code_samples = ["1", "const a: number = 5", "function f() {\n  return 1;\n}", "`a\nb`", "%time 1"]
    incomplete_code_samples = ["function f() {", "f(1,", "`open", "const a =", "/* open"]
    invalid_code_samples = ["const = 5", "import ;", "'open", ")"]
    code_generate_error = "throw new Error('on purpose')"
    code_execute_result = [{"code": "6 * 7", "result": "42"}, {"code": "'a' + 'b'", "result": "'ab'"}, {"code": "6 * 9", "result": "54"}]
    code_display_data = [
        {"code": "import * as tslab from 'tslab'; tslab.display.html('<b>x</b>')", "mime": "text/html"},
        {"code": "import { display } from 'tslab'; display.png(new Uint8Array([1]))", "mime": "image/png"},
    ]
    code_history_pattern = "6 ? 7"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "parseInt"
    code_clear_output = "clearOutput()"


class Welcome(jkt.IopubWelcomeTests):
    kernel_name = "tunebook"
    support_iopub_welcome = True


if __name__ == "__main__":
    unittest.main(verbosity=2)
