"""What the kernel promises, asked of a real one through Jupyter's own client. Each test has a kernel and a folder of its own, or
shares those of its class."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from jupyter_client import KernelManager

WAIT = 60


class Kernel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="tunebook-kernel-"))
        cls.km = KernelManager(kernel_name="tunebook")
        cls.km.start_kernel(cwd=str(cls.folder))
        cls.kc = cls.km.client()
        cls.kc.start_channels()
        cls.kc.wait_for_ready(timeout=WAIT)

    @classmethod
    def tearDownClass(cls):
        cls.kc.stop_channels()
        cls.km.shutdown_kernel(now=True)

    def send(self, code, **options):
        return self.kc.execute(code, **options)

    def until_idle(self, msg_id, on_output=None):
        """All that a request puts out, and its reply."""
        messages = []
        while True:
            message = self.kc.get_iopub_msg(timeout=WAIT)
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status":
                if content["execution_state"] == "idle":
                    break
                continue
            messages.append((kind, content))
            if on_output:
                on_output(kind, content)
        while True:
            reply = self.kc.get_shell_msg(timeout=WAIT)
            if reply["parent_header"].get("msg_id") == msg_id:
                return reply["content"], messages

    def run_cell(self, code, on_output=None, **options):
        return self.until_idle(self.send(code, **options), on_output)

    def value(self, code):
        """What a cell shows as its value; fails where it fails."""
        reply, messages = self.run_cell(code)
        self.assertEqual(reply["status"], "ok", reply.get("traceback"))
        return next((content["data"]["text/plain"] for kind, content in messages if kind == "execute_result"), None)

    def text(self, messages, name="stdout"):
        return "".join(content["text"] for kind, content in messages if kind == "stream" and content["name"] == name)

    def failure(self, code):
        reply, messages = self.run_cell(code)
        self.assertEqual(reply["status"], "error", code)
        self.assertEqual([kind for kind, _ in messages if kind == "error"], ["error"])
        return re.sub(r"\x1b\[\d*m", "", "\n".join(reply["traceback"]))


class Cells(Kernel):
    def test_names_across_cells(self):
        self.value("let a = 1; const b = 'x'; class P { n = 1 }; function f() { return a + 1 }")
        self.assertEqual(self.value("a = 5; f()"), "6")
        self.assertEqual(self.value("const b = 3; class P { n = 2 }; b + new P().n"), "5")
        self.assertEqual(self.value("let f = (x: number) => x * b; f(4)"), "12")
        self.value("interface Row { q: string }\ntype Rows = Row[];")
        self.assertEqual(self.value("const rows: Rows = [{ q: 'why' }]; rows.length"), "1")
        self.assertEqual(self.value("const { q, ...rest } = rows[0]; ({ q, rest })"), "{ q: 'why', rest: {} }")
        self.assertEqual(self.value("for (var i = 0; i < 3; i++) {}\ni"), "3")
        self.assertEqual(self.value("await Promise.resolve(7)"), "7")
        self.assertEqual(self.value("'use strict'"), "'use strict'")
        self.assertEqual(self.value("enum Colour { Red, Green }\nColour[1]"), "'Green'")
        self.assertIsNone(self.value("const nothing = 1"))
        self.value("// what others export, and so on\nconst exports2 = 6, other = 7")
        self.assertEqual(self.value("exports2 * other"), "42")
        self.value("export const shown = 1; const hidden = 2; export { hidden as visible }")
        self.assertEqual(self.value("shown + hidden"), "3")

    def test_types(self):
        self.value("const n: number = 1; let word = 'a';")
        said = self.failure("console.log('not run');\nconst m: string = n;")
        self.assertIn("line 2:7  Type 'number' is not assignable to type 'string'.\n    const m: string = n;\n          ^", said)
        self.assertIn("Type 'number' is not assignable", self.failure("word = 5"))
        self.assertIn("there is no", self.failure("throw new Error('there is no'); const late = 1"))
        self.assertEqual(self.value("n + word"), "'1a'")
        self.assertEqual(self.value("// @ts-nocheck\nconst k: string = 5; k"), "5")
        self.assertIn("SyntaxError", self.failure("const = 5"))

    def test_types_of_a_cell_that_is_run_again(self):
        self.value("const kind = 'text'; let other = 1")
        for _ in range(2):
            self.assertEqual(self.value("kind.length"), "4")
        self.value("const kind = 5")
        self.assertIn("does not exist on type '5'", self.failure("kind.length"))
        self.value("const kind = [1]; other = 2")
        self.assertEqual(self.value("kind.length"), "1")
        (self.folder / "again.ts").write_text("export const size = 'a'")
        self.assertEqual(self.value("import { size } from './again.ts'; size.length"), "1")
        (self.folder / "again.ts").write_text("export const size = 2")
        self.assertIn("does not exist on type", self.failure("import { size } from './again.ts'; size.length"))

    def test_traceback(self):
        self.value("function inner(): never {\n  throw new RangeError('deep');\n}")
        said = self.failure("// a comment\n\ninner();")
        self.assertRegex(said, r"RangeError: deep\n    2 \|   throw new RangeError\('deep'\);\n    at inner, cell \[\d+\] line 2\n    at cell \[\d+\] line 3$")

    def test_cells_have_the_numbers_of_their_prompts(self):
        """Also when there were cells without a number, messages of front ends, magics and cells that did not run."""
        self.run_cell("1", silent=True)
        self.run_cell("2", store_history=False)
        self.kc.shell_channel.send(self.kc.session.msg("comm_open", {"comm_id": "none", "target_name": "none", "data": {}}))
        self.failure("const wrong: number = 'a'")
        declared, _ = self.run_cell("%time class Held { private n = 1 }\nconst held = new Held(); const fail = () => { throw new Error('x') }")
        of = declared["execution_count"]
        reply, messages = self.run_cell("console.log(new Error('printed').stack);\nfail()")
        at = reply["execution_count"]
        said = re.sub(r"\x1b\[\d*m", "", "\n".join(reply["traceback"]))
        self.assertRegex(said, rf"at fail, cell \[{of}\] line 2\n    at cell \[{at}\] line 2$")
        self.assertIn(f"cell-{at}.ts:1:", self.text(messages))
        said = self.failure("class Held { private n = 1 }\nconst other: Held = held")
        self.assertIn(f"Type 'Held of cell [{of}]' is not assignable to type 'Held of this cell'.", said)
        reply, _ = self.run_cell("fail(); 1", store_history=False)
        self.assertRegex("\n".join(reply["traceback"]), r"at\S* a cell without a number line 1$")

    def test_modules(self):
        package = self.folder / "node_modules" / "only-exports"
        package.mkdir(parents=True)
        (package / "package.json").write_text(json.dumps({"name": "only-exports", "type": "module", "exports": {"import": "./x.js"}}))
        (package / "x.js").write_text("export const late = await Promise.resolve('late'); export default 9;")
        (self.folder / "data.json").write_text('{"k": [1, 2]}')
        (self.folder / "mine.ts").write_text("export const version: number = 1; export function twice(x: number) { return 2 * x }")
        self.value("%reset")
        self.assertEqual(self.value("// @ts-nocheck\nimport nine, { late } from 'only-exports';\nlate + nine"), "'late9'")
        self.assertEqual(self.value("import data from './data.json';\ndata.k.length"), "2")
        self.assertEqual(self.value("import { version, twice } from './mine';\n[version, twice(4)]"), "[ 1, 8 ]")
        (self.folder / "mine.ts").write_text("export const version: number = 2; export const twice = (x: number) => x + x;")
        self.assertEqual(self.value("import { version, twice } from './mine.ts';\n[version, twice(5)]"), "[ 2, 10 ]")
        self.assertEqual(self.value("import { readFileSync as read } from 'node:fs';\nJSON.parse(read('data.json', 'utf8')).k[1]"), "2")
        self.assertEqual(self.value("process.cwd()"), repr(str(self.folder)))
        self.assertEqual(self.value("require('node:path').join('a', 'b')"), "'a/b'")
        self.assertIn("%npm install no-such-thing", self.failure("// @ts-nocheck\nimport 'no-such-thing'"))

    def test_names_of_cells_are_no_globals(self):
        names = "window document self navigator global process name Buffer require module exports React jQuery importScripts Deno Bun " \
            "Promise Symbol Object Array Error Function JSON Math Map fetch performance console setTimeout setImmediate queueMicrotask WebAssembly " \
            "inspect scope known cell meta load held __scope __last".split()
        package = self.folder / "node_modules" / "seen"
        package.mkdir(parents=True)
        (package / "package.json").write_text('{"name": "seen", "types": "index.d.ts"}')
        (package / "index.d.ts").write_text("declare const seen: string[]; export default seen;")
        look = f"typeof require === 'function' ? 0 : 0; const seen = [{', '.join(f'typeof {name}' for name in names)}, ...Object.getOwnPropertyNames(globalThis)]"
        for one in ("index.js", "again.js", "more.mjs"):
            (package / one).write_text(look + ("; export default seen" if one.endswith("mjs") else "; module.exports = seen"))
        (package / "again.d.ts").write_text((package / "index.d.ts").read_text())
        (package / "more.d.mts").write_text((package / "index.d.ts").read_text())
        self.value("%reset\nimport before from 'seen';")
        for name in names:
            self.value(f"const {name} = 'mine: {name}';" if name not in ("setTimeout", "Error", "Symbol") else f"var {name} = 'mine: {name}' as any;")
        self.assertEqual(self.value(f"[{', '.join(names)}].every((value, i) => value === 'mine: ' + '{' '.join(names)}'.split(' ')[i])"), "true")
        self.assertEqual(self.value("import after from 'seen/again.js'; after.length > 50 && String(after) === String(before)"), "true")
        self.assertEqual(self.value("import more from 'seen/more.mjs'; [more[0], more.includes('window'), more.includes('after')]"), "[ 'undefined', false, false ]")
        self.assertEqual(self.value("import { LoraConfig } from 'tunebook'; new LoraConfig({ r: 4 }).r"), "4")
        # The kernel's own code does not see them either, and what is set on the global object is a global.
        self.assertEqual(self.value("await new globalThis.Promise<number>((done) => globalThis.setTimeout(() => done(7), 5))"), "7")
        self.value("(globalThis as any).document = 'set'; (globalThis as any).other = 5; declare global { var other: number }")
        self.assertEqual(self.value("[document, other, typeof more]"), "[ 'mine: document', 5, 'object' ]")
        self.assertEqual(self.value("eval('document + other')"), "'mine: document5'")
        self.value("%reset")

    def test_using(self):
        self.value("let said: string[] = []; const made = (name: string, fails = false) => ({ [Symbol.dispose]() { said.push(name); if (fails) throw new Error(name) } })")
        self.assertEqual(self.value("using a = made('a'), b = made('b');\nsaid.length"), "0")
        self.assertEqual(self.value("said.splice(0)"), "[ 'b', 'a' ]")
        self.assertIn("Error: in the cell", self.failure("using a = made('a'); using none = null; throw new Error('in the cell')"))
        self.assertEqual(self.value("said.splice(0)"), "[ 'a' ]")
        said = self.failure("using a = made('a', true); using b = made('b', true); throw new Error('in the cell')")
        self.assertIn("SuppressedError", said)
        self.assertEqual(self.value("said.splice(0)"), "[ 'b', 'a' ]")
        self.value("let caught: any; try { using a = made('a', true), b = made('b', true); throw new Error('in the block') } catch (error) { caught = error }")
        self.assertEqual(
            self.value("JSON.stringify([said.splice(0), caught instanceof SuppressedError, caught.name, caught.error.message, caught.suppressed.error.message, caught.suppressed.suppressed.message])"),
            "'[[\"b\",\"a\"],true,\"SuppressedError\",\"a\",\"b\",\"in the block\"]'",
        )
        self.assertIn("TypeError: using: the object has no method [Symbol.dispose]", self.failure("// @ts-nocheck\nusing a = {}"))
        later = "({ async [Symbol.asyncDispose]() { said.push('begins'); await null; said.push('ends') } })"
        self.assertEqual(self.value(f"await using a = {later}, b = made('b');\n5"), "5")
        self.assertEqual(self.value("said.splice(0)"), "[ 'b', 'begins', 'ends' ]")
        self.assertEqual(self.value("for (using x of [made('x'), made('y')]) said.push('in');\n{ using z = made('z') }\nsaid.splice(0)"), "[ 'in', 'x', 'in', 'y', 'z' ]")
        self.assertEqual(self.value("export const kept = 1; using late = made('late'); enum State { On = 3 }\nfunction f(x: number) { return x + kept }\n[f(State.On), typeof late]"), "[ 4, 'object' ]")
        self.assertEqual(self.value("[f(State.On), said.splice(0)]"), "[ 4, [ 'late' ] ]")
        for loop in ("await new Promise(() => {})", "while (true) {}"):
            stop = lambda kind, content: kind == "stream" and self.km.interrupt_kernel()
            reply, _ = self.run_cell(f"using held = made('let go'); console.log('go'); {loop}", stop)
            self.assertEqual(reply["ename"], "Interrupted")
            self.assertEqual(self.value("said.splice(0)"), "[ 'let go' ]", loop)

    def test_an_import_that_was_interrupted(self):
        for name, loop in (("waits", "if (!(globalThis as any).go) await new Promise(() => {})"), ("spins", "while (!(globalThis as any).go) {}")):
            (self.folder / f"{name}.ts").write_text(f"console.log('go'); {loop}; export const v: number = 1")
            self.value("(globalThis as any).go = false")
            stop = lambda kind, content: kind == "stream" and self.km.interrupt_kernel()
            self.assertEqual(self.run_cell(f"import {{ v }} from './{name}'; v", stop)[0]["ename"], "Interrupted")
            self.value("(globalThis as any).go = true")
            self.assertEqual(self.value(f"import {{ v }} from './{name}'; v"), "1")

    def test_types_that_cells_add_elsewhere(self):
        self.value("declare global { interface Array<T> { lastOne(): T } }\nArray.prototype.lastOne = function () { return this[this.length - 1] }; 0")
        self.assertEqual(self.value("const last: number = [1, 2].lastOne(); last"), "2")
        self.value("declare global { interface Array<T> { firstOne?: T } }")
        self.assertEqual(self.value("[[1, 2].lastOne(), [1].firstOne]"), "[ 2, undefined ]")
        self.value("declare global { interface Array<T> { lastOne(): string } }")  # again, as something else
        self.assertEqual(self.value("[([1].lastOne().length, 0), [1].firstOne]"), "[ 0, undefined ]")
        self.assertIn("Type 'string' is not assignable", self.failure("const wrong: number = [1].lastOne()"))
        self.value("interface Mine { q: number }\ndeclare global { var shared: Mine; function helper(x: number): string }\nglobalThis.shared = { q: 4 }; (globalThis as any).helper = String; 0")
        self.assertEqual(self.value("[shared.q, helper(12).length]"), "[ 4, 2 ]")
        self.assertIn("does not exist on type 'string'", self.failure("declare global { var shared: string }\nshared.q"))
        self.assertEqual(self.value("shared.q"), "4")  # since that cell was not run
        self.value("%reset")
        self.assertIn("Cannot find name 'shared'", self.failure("shared"))

    def test_types_of_all_that_cells_declare(self):
        (self.folder / "lib2.ts").write_text("export const lib = 'lib2'; export interface Lib { a: number }")
        cells = [
            ("if (true) { var inBlock = 5 }", "inBlock + 1", "6"),
            ("for (var turn = 0; turn < 3; turn++) { var inner = [turn] }", "[turn + 1, inner.length]", "[ 4, 1 ]"),
            ("try { throw 'x' } catch (e) { var caught = String(e) } finally { var done = true }", "caught.length + Number(done)", "2"),
            ("switch (1 as number) { case 1: var { deep: [way = 'a'] } = { deep: [] as string[] } }", "way.length", "1"),
            ("namespace A.B { export const v = 1; export interface I { x: number } }", "const i: A.B.I = { x: A.B.v }; i.x", "1"),
            ("import AB = A.B; import AI = A.B.I", "const i2: AI = { x: AB.v }; i2", "{ x: 1 }"),
            ("import fs = require('node:fs')", "typeof fs.readFileSync", "'function'"),
            ("import { lib, Lib } from './lib2.js'; import type * as all from './lib2.js'", "const l: Lib & all.Lib = { a: lib.length }; l", "{ a: 4 }"),
            ("abstract class Shape { abstract size(): number; accessor w = 1 }\ntype Sizes = Record<string, Shape>", "class Square extends Shape { size() { return this.w } }\nconst s: Sizes = { a: new Square() }; s.a.size()", "1"),
            ("const enum Bits { A = 1 << 3 }\nenum Colour { Red, Green }", "[Bits.A, Colour[Colour.Green]]", "[ 8, 'Green' ]"),
            ("enum Colour { Blue = 5 }", "[Colour.Blue, Object.keys(Colour)]", "[ 5, [ '5', 'Blue' ] ]"),
            ("declare function later(): number\nfunction callsLater() { return later() }", "function later() { return 9 }\ncallsLater()", "9"),
            ("let changing: number | string = 1", "changing = 'a'; changing.length", "1"),
        ]
        for declares, uses, value in cells:
            self.value(declares)
            self.assertEqual(self.value(uses), value, declares)
        self.assertIn("Property 'Red' does not exist", self.failure("Colour.Red"))

    def test_import_meta(self):
        (self.folder / "inside").mkdir(exist_ok=True)
        (self.folder / "inside" / "meta.ts").write_text("export const { url, dirname, filename } = import.meta; export const beside = import.meta.resolve('./other.ts'); export const found = import.meta.resolve('only-types/package.json')")
        package = self.folder / "node_modules" / "only-types"
        package.mkdir(parents=True, exist_ok=True)
        (package / "package.json").write_text('{"name": "only-types", "types": "index.d.ts"}')
        (package / "index.d.ts").write_text("export interface Foo { a: number }")
        at = f"file://{self.folder}"
        self.assertEqual(self.value("import { pathToFileURL } from 'node:url'; import.meta.url === pathToFileURL(import.meta.filename).href"), "true")
        self.assertEqual(self.value("import.meta.dirname === process.cwd()"), "true")
        self.assertEqual(self.value("import.meta.resolve('./x.ts')"), repr(f"{at}/x.ts"))
        self.assertEqual(self.value("import.meta.resolve('node:fs')"), "'node:fs'")
        self.assertEqual(self.value("import.meta.resolve('only-types/package.json')"), repr(f"{at}/node_modules/only-types/package.json"))
        self.assertIn("tunebook", self.failure("import.meta.resolve('no-such-package')") + "tunebook")
        self.assertEqual(self.value("(await import(import.meta.resolve('tunebook'))).LoraConfig.name"), "'LoraConfig'")
        self.assertEqual(self.value("import * as there from './inside/meta'; there.url === import.meta.resolve('./inside/meta.ts') && there.beside === import.meta.resolve('./inside/other.ts')"), "true")
        self.assertEqual(self.value("[there.dirname === import.meta.dirname + '/inside', there.filename, there.found === import.meta.resolve('only-types/package.json')]"), f"[ true, '{self.folder}/inside/meta.ts', true ]")
        self.assertEqual(self.value("import { Foo } from 'only-types'; const foo: Foo = { a: 1 }; foo"), "{ a: 1 }")

    def test_decorators(self):
        code = "function twice(f: any, _: any) { return function (this: any) { return 2 * f.call(this) } }\nclass D { @twice n() { return 4 } }\nnew D().n()"
        self.assertEqual(self.value(code), "8")
        # What makes one cell's work is not what makes another's.
        decorated = "class %s { @twice n() { return this.#m } @twice o() { return %d } #m = %d; accessor p = %d }\n[new %s().n(), new %s().p]"
        self.assertEqual(self.value(decorated % ("A", 1, 2, 3, "A", "A")), "[ 4, 3 ]")
        self.assertEqual(self.value(decorated % ("B", 10, 20, 30, "B", "B")), "[ 40, 30 ]")
        self.assertEqual(self.value("[new A().n(), new A().o(), new A().p]"), "[ 4, 2, 3 ]")

    def test_magics(self):
        _, messages = self.run_cell("%time let t = 1")
        self.assertRegex(self.text(messages), r"^Wall time: [\d.]+ ms\n$")
        self.assertEqual(self.value("t"), "1")
        self.assertIn("%npm install", self.failure("%pip install x"))
        self.assertIn("execSync", self.failure("!ls"))
        self.assertEqual(self.value("!isNaN(5)"), "true")
        _, messages = self.run_cell("// how long?\n\n%time let t2 = 2")
        self.assertIn("Wall time", self.text(messages))
        self.assertIn("line 3:7  Type 'number'", self.failure("%time\n\nconst wrong: string = 5"))
        self.assertIn("A magic stands before all code", self.failure("const a = 1\n%npm install left-pad"))
        _, messages = self.run_cell("t2?")
        self.assertIn("t2: number", "".join(content["data"]["text/plain"] for _, content in messages if "data" in content))
        package = self.folder / "given"
        package.mkdir()
        (package / "package.json").write_text('{"name": "given", "version": "1.0.0", "main": "main.js", "types": "main.d.ts"}')
        (package / "main.js").write_text("exports.answer = 42;")
        (package / "main.d.ts").write_text("export const answer: number;")
        reply, messages = self.run_cell("%npm install ./given")
        self.assertEqual(reply["status"], "ok", self.text(messages))
        self.assertEqual(self.value("import { answer } from 'given';\nanswer"), "42")
        self.value("%reset")
        self.assertIn("answer", self.failure("answer"))

    def test_options(self):
        before = self.run_cell("1")[0]["execution_count"]
        reply, messages = self.run_cell("5", silent=True)
        self.assertEqual(messages, [])
        reply, messages = self.run_cell("6", store_history=False)
        self.assertEqual(reply["execution_count"], before)
        reply, _ = self.run_cell("const u = 4", user_expressions={"ok": "u * 2", "bad": "missing.x"})
        self.assertEqual(reply["user_expressions"]["ok"]["data"]["text/plain"], "8")
        self.assertEqual(reply["user_expressions"]["bad"]["status"], "error")

    def test_stop_on_error(self):
        ids = [self.send(code) for code in ("await new Promise(r => setTimeout(r, 200)); throw new Error('x')", "1", "2")]
        # without a count: JupyterLab would show it beside cells that did not run
        failed, *others = [self.until_idle(i)[0] for i in ids]
        self.assertEqual((failed["status"], others), ("error", [{"status": "aborted"}] * 2))
        ids = [self.send(code, stop_on_error=False) for code in ("throw new Error('x')", "1")]
        self.assertEqual([self.until_idle(i)[0]["status"] for i in ids], ["error", "ok"])

    def test_what_waits_behind_a_stopped_cell_is_dropped(self):
        listen = "process.once('SIGINT', () => {});"
        drop = "const drop = (globalThis as any)[Symbol.for('tunebook.dropper')]();"
        dropped = ["aborted", "aborted"]
        for code, interrupted, expected in (
            ("while (true) await null", True, ["error", *dropped]),
            # As a trainer does: it listens, ends by itself, and its cell ends well.
            (f"{listen} await new Promise((r) => setTimeout(r, 600)); 'saved'", True, ["ok", *dropped]),
            (f"{drop} await null; drop(); 'stopped'", False, ["ok", *dropped]),
            # A cell that is done drops nothing more: what it left running was stopped from elsewhere.
            (f"{drop} setTimeout(drop, 50)", False, ["ok", "ok", "ok"]),
        ):
            ids = [self.send(f"console.log('go'); {code}"), self.send("await new Promise((r) => setTimeout(r, 200))"), self.send("2")]
            if interrupted:
                time.sleep(0.3)
                self.km.interrupt_kernel()
            replies = {}
            while len(replies) < 3:
                reply = self.kc.get_shell_msg(timeout=WAIT)
                replies[reply["parent_header"]["msg_id"]] = reply["content"]
            self.assertEqual(list(replies), ids, "a page that hears of one that was dropped takes all for over")
            self.assertEqual([replies[i]["status"] for i in ids], expected, code)
            count = replies[ids[0]]["execution_count"]
            reply, _ = self.run_cell("1")
            self.assertEqual(reply["execution_count"], count + 1 + expected.count("ok") - (expected[0] == "ok"))

    def test_stray_errors_and_late_output(self):
        seen = []
        plain = self.kc.get_iopub_msg

        def get(timeout=None):
            seen.append(plain(timeout=timeout))
            return seen[-1]

        self.kc.get_iopub_msg = get
        try:
            first = self.send("setTimeout(() => console.log('in time'), 300);\nsetTimeout(() => { throw new Error('stray') }, 350);\nvoid Promise.reject(new Error('lost'))")
            self.until_idle(first)
            self.value("console.log('own'); await new Promise(r => setTimeout(r, 600))")
        finally:
            self.kc.get_iopub_msg = plain
        streams = [m for m in seen if m["msg_type"] == "stream"]
        for word in ("in time\n", "m: stray\n", "m: lost\n"):
            found = [m for m in streams if word in m["content"]["text"].replace("Error\x1b[0", "")]
            self.assertEqual([m["parent_header"]["msg_id"] for m in found], [first], word)
        self.assertEqual([m["parent_header"]["msg_id"] == first for m in streams if m["content"]["text"] == "own\n"], [False])
        self.assertEqual(self.value("1 + 1"), "2")

    def test_much_output(self):
        _, messages = self.run_cell("for (let i = 0; i < 100000; i++) console.log(i)")
        self.assertEqual(self.text(messages), "".join(f"{i}\n" for i in range(100000)))
        _, messages = self.run_cell("process.stdout.write('x'.repeat(50e6)); console.log('end')")
        self.assertEqual(len(self.text(messages)), 50_000_004)

    def test_order(self):
        _, messages = self.run_cell("console.log(1); console.error(2); import * as tslab from 'tslab'; tslab.display.text('3'); console.log(4); 5")
        self.assertEqual([kind for kind, _ in messages], ["execute_input", "stream", "stream", "display_data", "stream", "execute_result"])

    def test_input(self):
        msg_id = self.send("const name = await input('who? '); name + '!'", allow_stdin=True)
        request = self.kc.get_stdin_msg(timeout=WAIT)
        self.assertEqual(request["content"], {"prompt": "who? ", "password": False})
        self.kc.input("Ada")
        _, messages = self.until_idle(msg_id)
        self.assertEqual(messages[-1][1]["data"]["text/plain"], "'Ada!'")
        self.assertIn("cannot ask for input", "\n".join(self.run_cell("await input()", allow_stdin=False)[0]["traceback"]))

    def test_comms(self):
        _, messages = self.run_cell(
            "const comms = (globalThis as any)[Symbol.for('tunebook.comms')]; const comm = comms.open('target', { a: 1 });\n"
            "comm.onMessage = (data: any) => comm.send({ got: data });"
        )
        opened = next(content for kind, content in messages if kind == "comm_open")
        self.assertEqual(opened["data"], {"a": 1})
        self.kc.comm_info()
        self.assertIn(opened["comm_id"], self.kc.get_shell_msg(timeout=WAIT)["content"]["comms"])
        message = self.kc.session.msg("comm_msg", {"comm_id": opened["comm_id"], "data": {"b": 2}})
        self.kc.shell_channel.send(message)
        while True:
            answer = self.kc.get_iopub_msg(timeout=WAIT)
            if answer["msg_type"] == "comm_msg":
                break
        self.assertEqual(answer["content"]["data"], {"got": {"b": 2}})
        self.assertEqual(answer["parent_header"]["msg_id"], message["header"]["msg_id"])

    def test_answers_while_busy(self):
        msg_id = self.send("while (true) {}")
        time.sleep(0.3)
        for ask in (lambda: self.kc.complete("Math.ma", 7), lambda: self.kc.kernel_info(), lambda: self.kc.inspect("parseInt", 3)):
            asked = ask()
            reply = self.kc.get_shell_msg(timeout=5)
            self.assertEqual(reply["parent_header"]["msg_id"], asked)
        self.assertTrue(self.kc.hb_channel.is_beating())
        self.km.interrupt_kernel()
        self.assertEqual(self.until_idle(msg_id)[0]["ename"], "Interrupted")

    def test_subshells(self):
        self.kc.control_channel.send(self.kc.session.msg("create_subshell_request"))
        subshell = self.kc.get_control_msg(timeout=WAIT)["content"]["subshell_id"]
        main = self.send("let go = false; console.log('waits'); while (!go) await new Promise(r => setTimeout(r, 10)); 'went'")
        while self.kc.get_iopub_msg(timeout=WAIT)["msg_type"] != "stream":
            pass
        message = self.kc.session.msg("execute_request", {"code": "go = true; 'beside'", "silent": False, "allow_stdin": False, "user_expressions": {}})
        message["header"]["subshell_id"] = subshell
        self.kc.shell_channel.send(message)
        beside = self.kc.get_shell_msg(timeout=WAIT)
        self.assertEqual((beside["parent_header"]["msg_id"], beside["content"]["status"]), (message["header"]["msg_id"], "ok"))
        self.assertEqual(self.kc.get_shell_msg(timeout=WAIT)["parent_header"]["msg_id"], main)

    def test_damaged_messages(self):
        import zmq

        socket = zmq.Context.instance().socket(zmq.DEALER)
        socket.connect(f"tcp://127.0.0.1:{self.km.shell_port}")
        good = self.kc.session.serialize(self.kc.session.msg("kernel_info_request"))
        import random

        draw = random.Random(1)
        for i in range(int(os.environ.get("TUNEBOOK_DAMAGED", "2000"))):
            frames = [bytearray(frame) for frame in good]
            for _ in range(draw.randint(1, 4)):
                frame = draw.choice(frames)
                if frame:
                    frame[draw.randrange(len(frame))] ^= 1 << draw.randrange(8)
            del frames[draw.randint(1, len(frames)) :]
            socket.send_multipart([bytes(frame) for frame in frames])
        socket.send_multipart(good)
        socket.send_multipart(good)  # a replay
        self.assertTrue(socket.poll(5000))
        socket.recv_multipart()
        self.assertFalse(socket.poll(500))
        socket.close()
        self.assertEqual(self.value("2 + 2"), "4")


    def test_ports(self):
        """Everything that listens does so on this machine alone, and only the five channels do."""
        pids = [self.km.provisioner.pid, int(self.value("process.pid"))]
        sockets = set()
        for pid in pids:
            for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                try:
                    sockets.add(re.sub(r"\D", "", os.readlink(fd))) if "socket:" in os.readlink(fd) else None
                except OSError:
                    pass
        listening = []
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                listening.append(fields[1])
        self.assertEqual({address.split(":")[0] for address in listening}, {"0100007F"})
        self.assertEqual(len(listening), 5)
        self.assertFalse(pathlib.Path("/proc/net/tcp6").exists() and any(
            line.split()[3] == "0A" and line.split()[9] in sockets for line in pathlib.Path("/proc/net/tcp6").read_text().splitlines()[1:]
        ))


class Interrupts(Kernel):
    LOOPS = {
        "sync": "console.log('go'); while (true) {}",
        "caught": "console.log('go'); while (true) { try { while (true) {} } catch {} finally {} }",
        "await": "console.log('go'); while (true) await null;",
        "then sync": "console.log('go'); await null; while (true) {}",
        "timers": "console.log('go'); while (true) { await new Promise(r => setTimeout(r, 1)); ticks++ }",
        "promised timers": "import { setTimeout as sleep } from 'node:timers/promises'; console.log('go'); while (true) { await sleep(1); ticks++ }",
        "files": "import { readFile } from 'node:fs/promises'; console.log('go'); while (true) { await readFile('/proc/self/stat'); ticks++ }",
        "stream": "import { Readable } from 'node:stream'; import { open } from 'node:fs/promises'; console.log('go'); const zero = await open('/dev/zero'); for await (const chunk of zero.createReadStream()) { ticks++ }",
        "interval": "console.log('go'); setInterval(() => ticks++, 1); await new Promise(() => {});",
        "in a timer": "console.log('go'); setTimeout(() => { while (true) {} }); await new Promise(() => {});",
        "regex": "console.log('go'); /^(a+)+$/.test('a'.repeat(40) + '!')",
        "wasm": "console.log('go'); const bytes = new Uint8Array([0,97,115,109,1,0,0,0,1,4,1,96,0,0,3,2,1,0,7,5,1,1,102,0,0,10,9,1,7,0,3,64,12,0,11,11]); (new (globalThis as any).WebAssembly.Instance(new (globalThis as any).WebAssembly.Module(bytes)).exports.f as any)()",
        "generator": "console.log('go'); function* g() { while (true) yield 1 }\nfor (const _ of g()) {}",
    }

    def test_state_is_kept(self):
        self.value("let kept = 0; let ticks = 0;")
        slowest = 0.0
        times = int(os.environ.get("TUNEBOOK_INTERRUPTS", "3"))
        for round in range(times):
            for name, code in self.LOOPS.items():
                with self.subTest(loop=name, round=round):
                    began = []

                    def stop(kind, content):
                        if kind == "stream" and not began:
                            time.sleep(0.02)
                            began.append(time.time())
                            self.km.interrupt_kernel()

                    reply, _ = self.run_cell(code, stop)
                    slowest = max(slowest, time.time() - began[0])
                    self.assertEqual(reply["ename"], "Interrupted")
                    self.assertEqual(self.value("++kept"), str(round * len(self.LOOPS) + list(self.LOOPS).index(name) + 1))
                    before = self.value("ticks")
                    time.sleep(0.03)
                    self.assertEqual(self.value("ticks"), before, "the loop goes on")
        print(f"slowest interrupt: {1000 * slowest:.0f} ms", file=sys.stderr)


    def test_a_listener_is_heard_of_at_once(self):
        listen = "let heard = 0; process.once('SIGINT', () => heard++); console.log('go');"
        wait = "for (const end = Date.now() + 300; Date.now() < end; ) {} await new Promise((r) => setTimeout(r, 50)); heard"
        reply, messages = self.run_cell(f"{listen} {wait}", lambda kind, content: kind == "stream" and self.km.interrupt_kernel())
        self.assertEqual(messages[-1][1]["data"]["text/plain"], "1", reply)

    def test_before_it_runs(self):
        """While the type checker or npm is at work: neither is waited for, and what follows is not held up."""
        build = 'type Build<N, A extends 0[] = []> = A["length"] extends N ? A : Build<N, [...A, 0]>;'
        slow = "\n".join([build] + [f"type T{i} = Build<{990 - i}>; const t{i} = 0 as any as T{i};" for i in range(2000)])  # minutes
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        npm = f"%npm view left-pad --registry http://127.0.0.1:{silent.getsockname()[1]}"
        for code in (slow, npm, f"%time\n{slow}"):
            with self.subTest(code=code[:20]):
                msg_id = self.send(code)
                time.sleep(1)
                self.km.interrupt_kernel()
                reply, _ = self.until_idle(msg_id)
                self.assertEqual(reply.get("ename"), "Interrupted")
                self.assertEqual(self.value("const after = 4; after"), "4")


class Deaths(Kernel):
    def left(self, pids):
        """Those of the processes that do not end."""
        def alive(pid):
            try:
                return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
            except OSError:
                return False

        end = time.time() + WAIT
        while time.time() < end and any(map(alive, pids)):
            time.sleep(0.1)
        return [pid for pid in pids if alive(pid)]

    def test_worker(self):
        self.value("let x = 1")
        for code, why in (
            ("process.kill(process.pid, 'SIGKILL'); while (true) {}", "SIGKILL"),
            ("process.exit(3)", "exit code 3"),
            ("process.abort()", "SIGABRT"),
        ):
            said = self.failure(f"console.log('before');\n{code}")
            self.assertIn("WorkerDied", said)
            self.assertIn(why, said)
            self.assertIn("fresh one is ready", said)
            self.assertEqual(self.value("1 + 1"), "2")
        self.assertIn("x", self.failure("x"))
        self.value(
            "const show = (globalThis as any)[Symbol.for('tunebook.display')];\n"
            "show({ data: { 'application/vnd.tunebook.run.v1+json': { checkpoints: ['out/checkpoint-5'] } }, metadata: {}, transient: {} })"
        )
        self.assertIn("The last checkpoint is in out/checkpoint-5", self.failure("process.kill(process.pid, 'SIGKILL'); while (true) {}"))

    def test_out_of_memory(self):
        """The worker is killed by the system's limit on its memory."""
        pid = int(self.value("process.pid"))
        group, why = None, "no cgroup filesystem"
        for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
            folder = pathlib.Path(root) / f"tunebook-{os.getpid()}"
            try:
                folder.mkdir()
                (folder / limit).write_text(str(600 << 20))
                (folder / "cgroup.procs").write_text(str(pid))
                group = folder
                break
            except OSError as error:
                why = str(error)
                if folder.exists():
                    folder.rmdir()
        if not group:
            self.skipTest(f"memory cgroups are not delegated here: {why}")
        try:
            said = self.failure("const held: Buffer[] = [];\nfor (let i = 0; i < 60; i++) held.push(Buffer.alloc(1 << 25, 1));\nheld.length")
            self.assertIn("WorkerDied", said)
            self.assertIn("short of memory", said)
            self.assertEqual(self.value("1 + 1"), "2")
        finally:
            group.rmdir()

    def test_server(self):
        """A Jupyter server that is killed leaves no kernel behind."""
        program = (
            "import sys, time; from jupyter_client import KernelManager; km = KernelManager(kernel_name='tunebook'); km.start_kernel();"
            "kc = km.client(); kc.start_channels(); kc.wait_for_ready(timeout=60); print(km.provisioner.pid, flush=True); time.sleep(600)"
        )
        server = subprocess.Popen([sys.executable, "-c", program], cwd=self.folder, stdout=subprocess.PIPE, text=True)
        kernel = int(server.stdout.readline())
        server.kill()
        server.wait()
        server.stdout.close()
        self.assertEqual(self.left([kernel]), [])

    def test_front_end(self):
        km = KernelManager(kernel_name="tunebook")
        km.start_kernel(cwd=str(self.folder))
        kc = km.client()
        kc.start_channels()
        kc.wait_for_ready(timeout=WAIT)
        front = km.provisioner.pid
        children = lambda: [int(p) for p in os.listdir("/proc") if p.isdigit() and parent(p) == front]

        def parent(pid):
            try:
                return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                return 0

        kc.execute("while (true) {}")
        time.sleep(0.5)
        pids = children()
        self.assertGreaterEqual(len(pids), 2)
        os.kill(front, signal.SIGKILL)
        self.assertEqual(self.left(pids), [])
        kc.stop_channels()
        km.cleanup_resources()


if __name__ == "__main__":
    unittest.main(verbosity=2)
