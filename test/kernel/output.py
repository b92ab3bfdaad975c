"""What is shown is what was written: characters, streams, errors, values. Asked of a real kernel through Jupyter's own client."""

import json
import pathlib
import re
import tempfile
import unittest

import nbformat
from jupyter_server.services.contents.filemanager import FileContentsManager

from behaviour import WAIT, Kernel

HALF = r"\ud83d"  # the first half of an emoji, as TypeScript writes it
SHOW = "const show = (globalThis as any)[Symbol.for('tunebook.display')];\n"
COMMS = "const comms = (globalThis as any)[Symbol.for('tunebook.comms')];\n"


class HalfCharacters(Kernel):
    """None of them gets into a message; whole ones, and backslashes that only look like halves, arrive as they are."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kc.session.pack = lambda message: json.dumps(message, default=str).encode()  # which sends halves, as browsers do

    # What a cell says, and what of it arrives.
    CELLS = {
        "stream": ("console.log('It works 🙂 well'.slice(0, 10))", "It works \ufffd\n"),
        "both halves": (f"process.stdout.write('a{HALF}'); process.stdout.write('\\ude42b')", "a\ufffd\ufffdb"),
        "stderr": ("console.error('\\udc00 ok')", "\ufffd ok\n"),
        "whole": (r"process.stdout.write('🙂 \\ud83d \\\\udc00 \ud83d\ude42')", "🙂 \\ud83d \\\\udc00 🙂"),
        "value": (f"'{HALF}'", "'\\u"),  # which of the cases of D83D depends on Node
        "bundle": (
            f"({{ [Symbol.for('Jupyter.display')]: () => ({{ 'text/html': '<b>{HALF}</b>', 'application/json': {{ '{HALF}k': ['\\udc00', '\\\\ud83d'] }} }}) }})",
            {"text/html": "<b>\ufffd</b>", "application/json": {"\ufffdk": ["\ufffd", "\\ud83d"]}},
        ),
        "display": (
            SHOW + f"show({{ data: {{ 'text/plain': '{HALF}' }}, metadata: {{ 'a{HALF}': '{HALF}' }}, transient: {{ display_id: 'x{HALF}' }} }})",
            {"text/plain": "\ufffd"},
        ),
        "update": (SHOW + f"show({{ data: {{ 'text/plain': '{HALF}' }}, transient: {{ display_id: 'x' }} }}, true)", {"text/plain": "\ufffd"}),
        "comm": (COMMS + f"comms.open('target{HALF}', {{ '{HALF}': '{HALF}' }}, [], {{ m: '{HALF}' }})", {"\ufffd": "\ufffd"}),
        "error": (f"class Bad extends Error {{ name = 'Bad{HALF}' }}\nthrow new Bad('it{HALF}', {{ cause: '{HALF}' }})", "it\ufffd"),
        "rejection": (f"setTimeout(() => {{ throw new Error('late{HALF}') }}); await new Promise((r) => setTimeout(r, 30))", "late\ufffd"),
        "own code": ("// \ud83d\nconsole.log('own')", "own\n"),
        "type error": (f"const n: number = 'a' as 'a{HALF}'", "is not assignable"),
        "magic": (f"%pip install {chr(0xD83D)}", "is not a magic"),
    }

    def test_messages_and_notebooks(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="tunebook-notebook-"))
        contents = FileContentsManager(root_dir=str(folder))
        for name, (code, expected) in self.CELLS.items():
            with self.subTest(kind=name):
                reply, messages = self.run_cell(code, user_expressions={f"e{chr(0xD83D)}": f"'{HALF}' + '<'"})
                said = json.dumps([reply, messages], ensure_ascii=False)
                said.encode()  # fails where half a character is left
                printed = "".join(content["text"] for kind, content in messages if kind == "stream")  # in one message or in several
                self.assertIn(json.dumps(expected, ensure_ascii=False).strip('"'), said + json.dumps(printed, ensure_ascii=False))
                shown = [(kind, content) for kind, content in messages if kind in ("stream", "display_data", "execute_result", "error")]
                outputs = [
                    nbformat.v4.new_output(kind, **{key: value for key, value in content.items() if key != "transient"}) for kind, content in shown
                ]
                source = next(content["code"] for kind, content in messages if kind == "execute_input")
                book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, outputs=outputs)])
                contents.save({"type": "notebook", "content": book}, "saved.ipynb")
                self.assertEqual(len(nbformat.read(folder / "saved.ipynb", 4).cells[0].outputs), len(shown))

    def test_replies(self):
        self.run_cell(f"const half = '{chr(0xD83D)}'; const o = {{ 'k{HALF}': 1, plain: 2 }}; type Half = 'x{HALF}'")
        code = "// \ud83d\n({} as typeof o).pl"
        for ask in (
            lambda: self.kc.complete(code, len(code)),
            lambda: self.kc.inspect("// \ud83d\nhalf", 6),
            lambda: self.kc.is_complete("'\ud83d"),
            lambda: self.kc.history(hist_access_type="tail", n=3, raw=True),
            lambda: self.kc.comm_info("\ud83d"),
        ):
            asked = ask()
            reply = self.kc.get_shell_msg(timeout=WAIT)
            self.assertEqual(reply["parent_header"]["msg_id"], asked)
            json.dumps(reply["content"], ensure_ascii=False).encode()
        msg_id = self.send(f"await input('{HALF}? ')", allow_stdin=True)
        self.assertEqual(self.kc.get_stdin_msg(timeout=WAIT)["content"]["prompt"], "\ufffd? ")
        self.kc.input("\ud83d")
        json.dumps(self.until_idle(msg_id)[1], ensure_ascii=False).encode()


class Streams(Kernel):
    def out(self, code, name="stdout"):
        reply, messages = self.run_cell(code)
        self.assertEqual(reply["status"], "ok", reply.get("traceback"))
        return self.text(messages, name)

    # Written to process.stdout one after another, and what is shown.
    WRITES = [
        ("Buffer.from([0xe2, 0x89]), Buffer.from([0xa4])", "≤"),
        ("Buffer.from([0xf0]), Buffer.from([0x9f]), Buffer.from([0x99]), Buffer.from([0x82])", "🙂"),
        ("Buffer.from([0xe2, 0x89]), 'x', Buffer.from([0xa4])", "\ufffdx\ufffd"),
        ("Buffer.from([0xe2, 0x89]), '', Buffer.from([0xa4])", "≤"),
        ("Buffer.from([0xe2]), Buffer.from('é')", "\ufffdé"),
        ("Buffer.from([0x80, 0x41, 0xff])", "\ufffdA\ufffd"),
        ("Buffer.from([0xed, 0xa0, 0xbd])", "\ufffd\ufffd\ufffd"),
        ("Buffer.from([0xef, 0xbb, 0xbf, 0x61])", "\ufeffa"),
        ("new Uint8Array([0xc3]), new Uint8Array([0xa9])", "é"),
        ("new Uint8Array(new Uint8Array([9, 0xc3, 0xa9, 9]).buffer, 1, 2)", "é"),
        ("['c3', 'hex'], ['a9', 'hex']", "é"),
        ("['w6k=', 'base64'], ['é', 'latin1'], Buffer.from([0xa9])", "é\ufffd"),
        ("['é', 'latin1']", "\ufffd"),
        ("['Ã©', 'latin1']", "é"),
        ("['é≤🙂', 'utf8'], ['é', 'UTF-8']", "é≤🙂é"),
        ("Buffer.from([0xe2, 0x89])", "\ufffd"),
    ]

    def test_writes(self):
        for name in ("stdout", "stderr"):
            for written, shown in self.WRITES:
                with self.subTest(written=written, stream=name):
                    code = f"for (const one of [{written}] as any[]) process.{name}.write(...(Array.isArray(one) ? one : [one]) as [any])"
                    self.assertEqual(self.out(code, name), shown)

    def test_two_streams_do_not_mix(self):
        code = "process.stdout.write(Buffer.from([0xe2, 0x89])); process.stderr.write(Buffer.from([0xc3]));\n"
        _, messages = self.run_cell(code + "process.stdout.write(Buffer.from([0xa4])); process.stderr.write(Buffer.from([0xa9]))")
        self.assertEqual((self.text(messages), self.text(messages, "stderr")), ("≤", "é"))

    def test_write_is_nodes(self):
        self.assertEqual(self.value("let order = ''; process.stdout.write('a', () => { order += 'done' }); order += 'returned '; await null; await new Promise((r) => setTimeout(r)); order"), "'returned done'")
        self.assertEqual(self.value("await new Promise((done) => process.stdout.write('61', 'hex', done)) === null"), "true")
        self.assertEqual(self.value("process.stdout.write('a')"), "true")
        for wrong, code in (("5", "ERR_INVALID_ARG_TYPE"), ("undefined", "ERR_INVALID_ARG_TYPE"), ("null", "ERR_STREAM_NULL_VALUES"), ("'a', 'no-such'", "ERR_UNKNOWN_ENCODING")):
            said = self.value(f"let code = ''; try {{ (process.stdout as any).write({wrong}) }} catch (error: any) {{ code = error.code }}; code")
            self.assertEqual(said, f"'{code}'", wrong)

    def test_a_cell_keeps_its_half(self):
        """What a cell leaves unfinished is shown under it, and does not glue to the next one's."""
        self.assertEqual(self.out("process.stdout.write(Buffer.from([0xe2, 0x89]))"), "\ufffd")
        self.assertEqual(self.out("process.stdout.write(Buffer.from([0xa4, 0x61]))"), "\ufffda")
        shell = r"import { execSync } from 'node:child_process'; execSync(`printf '%s'`, { stdio: 'inherit' })"
        self.assertEqual(self.out(shell % r"\\342\\211"), "\ufffd")
        self.assertEqual(self.out(shell % r"\\244a"), "\ufffda")
        reply, messages = self.run_cell("process.stdout.write(Buffer.from([0xe2])); process.exit(3)")
        self.assertIn("\ufffd", self.text(messages))

    def test_children(self):
        """300,000 characters of two, three and four bytes, cut anywhere, through each way that a child's output takes."""
        (self.folder / "child.py").write_text(
            "import os\ndata = ''.join(chr(0x2264) + chr(0xe9) + chr(0x1f642) for _ in range(100_000)).encode()\n"
            "at = 0\nwhile at < len(data): at += os.write(1, data[at : at + 4099])\n"
        )
        run = "import { spawn, spawnSync, execFileSync } from 'node:child_process'; import { once } from 'node:events';\n"
        for name, code in {
            "inherited": "await once(spawn('python3', ['child.py'], { stdio: 'inherit' }), 'close')",
            "sync": "execFileSync('python3', ['child.py'], { stdio: 'inherit' })",
            "piped": "const child = spawn('python3', ['child.py']); child.stdout.pipe(process.stdout); await once(child, 'close')",
            "chunks": "const child = spawn('python3', ['child.py']); child.stdout.on('data', (chunk) => process.stdout.write(chunk)); await once(child, 'close')",
        }.items():
            with self.subTest(way=name):
                self.assertEqual(self.out(run + code) == "≤é🙂" * 100_000, True)

    def test_children_across_cells(self):
        """A child that goes on while other cells begin and end: each of its characters arrives whole, and under some cell."""
        (self.folder / "slow.py").write_text(
            "import os, time\ndata = (chr(0x2264) * 3000).encode()\nopen('going', 'w')\n"
            "for at in range(0, len(data), 10):\n    os.write(1, data[at : at + 10])\n    time.sleep(0.001)\n"
        )
        self.value("import { spawn } from 'node:child_process'; import { once } from 'node:events'; import { existsSync, rmSync } from 'node:fs'; let child = spawn('true');")
        for stdio in ("'inherit'", "['ignore', 'pipe', 'ignore']"):
            start = (
                f"rmSync('going', {{ force: true }}); child = spawn('python3', ['slow.py'], {{ stdio: {stdio} }} as any) as any; child.stdout?.pipe(process.stdout);"
                "while (!existsSync('going')) await new Promise((r) => setTimeout(r, 5))"
            )
            end = "if (child.exitCode === null) await once(child, 'close'); await new Promise((r) => setTimeout(r, 50))"
            asked = [self.send(code) for code in (start, *["await new Promise((r) => setTimeout(r, 5))"] * 60, end)]
            parts = []
            while True:
                message = self.kc.get_iopub_msg(timeout=WAIT)
                parent, content = message["parent_header"].get("msg_id"), message["content"]
                if message["msg_type"] == "stream":
                    parts.append((parent, content["text"]))
                if message["msg_type"] == "status" and content["execution_state"] == "idle" and parent == asked[-1]:
                    break
            for _ in asked:
                self.kc.get_shell_msg(timeout=WAIT)
            self.assertEqual("".join(text for _, text in parts), "≤" * 3000)
            self.assertGreater(len({parent for parent, _ in parts}), 5)

    def test_comms_do_not_take_a_cells_output(self):
        self.value(COMMS + "comms.register('busy', (comm: any) => {})")
        msg_id = self.send("import { execSync } from 'node:child_process'; await new Promise((r) => setTimeout(r, 800)); execSync('echo mine', { stdio: 'inherit' })")
        for _ in range(2500):  # more than the kernel keeps in mind
            self.kc.shell_channel.send(self.kc.session.msg("comm_msg", {"comm_id": "none", "data": {}}))
        _, messages = self.until_idle(msg_id)
        self.assertEqual(self.text(messages), "mine\n")


class Errors(Kernel):
    def test_carried_errors(self):
        for code, expected in {
            "throw new AggregateError([new TypeError('a'), new RangeError('b')], 'two')": [
                r"^AggregateError: two\n",
                r"\n  Error 1 of 2: TypeError: a\n      1 \| .*\n      at cell \[\d+\] line 1\n  Error 2 of 2: RangeError: b\n",
            ],
            "await Promise.any([1, 2].map(async (n) => { throw new Error('n' + n) }))": [r"All promises were rejected\n  Error 1 of 2: Error: n1\n", "Error 2 of 2: Error: n2"],
            "throw new AggregateError([new AggregateError([new Error('deep', { cause: new TypeError('why') })]), 'text', { a: 1 }, undefined], 'nested')": [
                r"\n    Error 1 of 1: Error: deep\n",
                r"\n    Caused by: TypeError: why\n",
                r"\n  Error 2 of 4: 'text'\n  Error 3 of 4: \{ a: 1 \}\n  Error 4 of 4: undefined$",
            ],
            "throw new Error('top', { cause: new AggregateError([new TypeError('x')], 'all') })": [r"Caused by: AggregateError: all\n(.*\n)+  Error 1 of 1: TypeError: x"],
            "const c = new Error('round'); c.cause = c; throw c": [r"Caused by: Error: round \(shown above\)$"],
            "const g = new AggregateError([], 'ring'); g.errors.push(g, g); throw g": [r"Error 2 of 2: AggregateError: ring \(shown above\)$"],
            "throw new AggregateError(Array.from({ length: 1000 }, (_, i) => new Error('e' + i)), 'many')": [r"Error 10 of 1000: Error: e9\n", r"\n  Not shown: 990 more$"],
            "let chain = new Error('end'); for (let i = 0; i < 5000; i++) chain = new Error('link', { cause: chain }); throw chain": [r"Not shown: 1 more$"],
            "throw Object.assign(new Error('late'), { name: 'SuppressedError', error: new TypeError('closing'), suppressed: new RangeError('body') })": [
                r"\n  Error: TypeError: closing\n(.*\n)+  Suppressed: RangeError: body\n"
            ],
            "throw Object.assign(new Error('invalid'), { errors: ['a word'] })": [r"^Error: invalid\n.*\n    at cell \[\d+\] line 1$"],
            "import { OptionError } from 'tunebook';\n// @ts-ignore\nthrow Object.assign(new Error('ours'), { name: 'OptionError', cause: new Error('theirs') })": [r"^OptionError: ours\nCaused by: Error: theirs\n"],
            "throw 'a word'": [r"^Error: 'a word'$"],
        }.items():
            with self.subTest(code=code):
                said = self.failure(code)
                for pattern in expected:
                    self.assertRegex(said, pattern)

    def test_of_timers_and_expressions(self):
        _, messages = self.run_cell("setTimeout(() => { throw new AggregateError([new TypeError('in a list')], 'late') }); await new Promise((r) => setTimeout(r, 30))")
        self.assertIn("TypeError\x1b[0m: in a list", self.text(messages, "stderr"))
        reply, _ = self.run_cell("1", user_expressions={"bad": "(() => { throw new AggregateError([new TypeError('in a list')], 'asked') })()", "good": "[1]"})
        self.assertEqual(reply["user_expressions"]["good"], {"status": "ok", "data": {"text/plain": "[ 1 ]"}, "metadata": {}})
        self.assertEqual((reply["user_expressions"]["bad"]["ename"], reply["user_expressions"]["bad"]["evalue"]), ("AggregateError", "asked"))
        self.assertIn("in a list", "\n".join(reply["user_expressions"]["bad"]["traceback"]))


class Values(Kernel):
    def shown(self, code):
        reply, messages = self.run_cell(code)
        self.assertEqual(reply["status"], "ok", reply.get("traceback"))
        return next(content["data"] for kind, content in messages if kind == "execute_result")

    def value_of(self, show):
        return f"({{ [Symbol.for('Jupyter.display')]{show} }})"

    def test_values_that_show_themselves(self):
        html = {"text/html": "<b>1</b>"}
        soon = "await new Promise((r) => setTimeout(r, 20));"
        for show in (
            "() { return { 'text/html': '<b>1</b>' } }",
            ": async () => ({ 'text/html': '<b>1</b>' })",
            f": async () => {{ {soon} return {{ 'text/html': '<b>1</b>' }} }}",
            ": () => ({ 'text/html': Promise.resolve('<b>1</b>') })",
            ": () => ({ then(take: any) { take({ 'text/html': '<b>1</b>' }) } })",
        ):
            with self.subTest(show=show):
                self.assertEqual(self.shown(self.value_of(show)), html)
        inner = "class Inner { async [Symbol.for('Jupyter.display')]() { return { 'text/html': '<b>1</b>' } } }\n"
        outer = "class Outer { inner = new Inner(); [Symbol.for('Jupyter.display')]() { return (this.inner as any)[Symbol.for('Jupyter.display')]() } }\n"
        self.assertEqual(self.shown(inner + outer + "new Outer()"), html)
        self.assertEqual(self.shown("class Whole { static async [Symbol.for('Jupyter.display')]() { return { 'text/html': '<b>1</b>' } } }\nWhole"), html)
        reply, _ = self.run_cell("1", user_expressions={"later": "new Outer()"})
        self.assertEqual(reply["user_expressions"]["later"]["data"], html)

    def test_values_that_cannot(self):
        self.assertIn("Error: not now", self.failure(self.value_of(": async () => { throw new Error('not now') }")))
        self.assertIn("Error: no data", self.failure(self.value_of(": () => ({ 'text/plain': Promise.reject(new Error('no data')) })")))
        for wrong in ("undefined", "5", "'text'", "[1]"):
            self.assertIn(f"must give an object of MIME types and their data, not {wrong.replace('[1]', '[ 1 ]')}", self.failure(self.value_of(f": async () => ({wrong})")))
        self.assertEqual(self.value("1 + 1"), "2")

    def test_one_that_never_does(self):
        never = self.value_of(": () => { console.log('go'); return new Promise(() => {}) }")
        for code, options in ((never, {}), ("1", {"user_expressions": {"never": never}})):
            reply, _ = self.run_cell(code, lambda kind, content: kind == "stream" and self.km.interrupt_kernel(), **options)
            self.assertEqual(reply["ename"], "Interrupted")
            self.assertEqual(self.value("1 + 1"), "2")


del Kernel  # its tests are behaviour.py's
if __name__ == "__main__":
    unittest.main(verbosity=2)
