"""A cell always ends: whatever it shows, throws, asks or waits for; and the next cell runs."""

import json
import os
import pathlib
import re
import signal
import time
import unittest

from jupyter_client import KernelManager

from behaviour import WAIT, Kernel

REVOKED = "(() => { const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); return proxy })()"
DISPLAY = "[Symbol.for('Jupyter.display')]"
SHOW = "(globalThis as any)[Symbol.for('tunebook.display')]"
COMMS = "(globalThis as any)[Symbol.for('tunebook.comms')]"
CUSTOM = "[Symbol.for('nodejs.util.inspect.custom')]"


def getter(name, body, of="new Error('x')"):
    return f"Object.defineProperty({of}, '{name}', {{ get() {{ {body} }} }})"


class Kernels(Kernel):
    def interrupted(self, code, after=0.15):
        """Seconds from the interrupt of a cell to its end."""
        msg_id = self.send(code)
        time.sleep(after)
        began = time.time()
        self.km.interrupt_kernel()
        reply, _ = self.until_idle(msg_id)
        self.assertEqual(reply.get("ename"), "Interrupted", code)
        return time.time() - began

    def shown(self, code):
        """What a cell shows as its value."""
        reply, messages = self.run_cell(code)
        self.assertEqual(reply["status"], "ok", reply.get("traceback"))
        return next(content["data"] for kind, content in messages if kind == "execute_result")


class Words(Kernels):
    """Values and errors that resist being put into words."""

    VALUES = {
        f"({{ {DISPLAY}() {{ return {{ 'application/json': {{ a: 1n }} }} }} }})": "cannot be shown as application/json: TypeError: Do not know how to serialize a BigInt",
        f"const c: any = {{}}; c.c = c; ({{ {DISPLAY}: () => ({{ 'application/json': c }}) }})": "cannot be shown as application/json: TypeError: Converting circular",
        f"({{ {DISPLAY}: () => ({{ get 'text/html'() {{ throw new Error('no') }} }}) }})": "cannot be shown as text/html: Error: no",
        f"({{ get {DISPLAY}() {{ throw new Error('no') }} }})": "cannot be shown: Error: no",
        f"({{ {DISPLAY}() {{ throw null }} }})": "cannot be shown: null",
        f"({{ {DISPLAY}() {{ throw {REVOKED} }} }})": "cannot be shown: <Revoked Proxy>",
        f"({{ {DISPLAY}: () => {REVOKED} }})": "revoked",
        f"({{ {DISPLAY}: () => new Proxy({{}}, {{ ownKeys() {{ throw new Error('no') }} }}) }})": "cannot be shown: Error: no",
        f"({{ {DISPLAY}: () => ({{ 'application/json': {{ toJSON() {{ throw new Error('no') }} }} }}) }})": "cannot be shown as application/json: Error: no",
        f"({{ {DISPLAY}: () => ({{ 'application/json': () => 1 }}) }})": "what JSON can hold, not [Function",
        f"({{ {DISPLAY}: () => ({{ 'text/html': new Map([[1, 2]]) }}) }})": "it must be text, not Map(1) { 1 => 2 }",
        f"({{ {DISPLAY}: () => ({{ 'text/plain': 'x'.repeat(2 ** 28) }}) }})": "too large for a notebook",
        f"({{ {CUSTOM}() {{ throw new Error('no') }} }})": "The value of the cell cannot be shown: Error: no",
        f"{REVOKED}": "revoked",
        f"{SHOW}()": "display must be given an object",
        f"{SHOW}({{ data: {{ 'application/json': 1n }} }})": "cannot be shown as application/json: TypeError: Do not know how to serialize a BigInt",
        f"{SHOW}({{ data: {{}}, metadata: {{ a: 1n }} }}, true)": "What display was given cannot be shown: TypeError: Do not know how to serialize a BigInt",
        f"{COMMS}.open('t', {{ a: 1n }})": "What the comm t was given cannot be shown: TypeError: Do not know how to serialize a BigInt",
        f"{COMMS}.open('t').send(5)": "its data must be an object, not 5",
        f"{COMMS}.open('t').send({{}}, [5])": "expected buffers of bytes, found number",
        f"console.log({{ {CUSTOM}() {{ throw new Error('no') }} }})": "Error: no",
    }
    ERRORS = {
        "throw null": "Error: null",
        "throw undefined": "Error: undefined",
        "throw Symbol('s')": "Error: Symbol(s)",
        "throw 5n": "Error: 5n",
        f"throw {REVOKED}": "Error: <Revoked Proxy>",
        "throw new Proxy(new Error('x'), { get() { throw new Error('trap') } })": "its message cannot be read: Error: trap",
        "throw Object.assign(new Error('m'), { name: Symbol('odd') })": "Symbol(odd): m",
        "throw Object.assign(new Error('m'), { message: { toString() { throw new Error('no') } } })": "Error: { toString: [Function: toString] }",
        f"throw {getter('message', 'throw 1')}": "Error: (its message cannot be read: 1)",
        f"throw {getter('name', 'throw 1')}": "(its name cannot be read: 1): x",
        f"throw {getter('stack', 'throw 1')}": "Error: x",
        f"throw {getter('cause', 'throw 1')}": "Caused by: '(its cause cannot be read: 1)'",
        f"throw {getter('errors', 'throw 1', 'new AggregateError([], `x`)')}": "AggregateError: x",
        "const a: any = new Error('a'), b: any = new Error('b', { cause: a }); a.cause = b; throw a": "Caused by: Error: a (shown above)",
        f"throw {{ {CUSTOM}() {{ throw new Error('no') }} }}": "(an object that cannot be shown: Error: no)",
        "throw new Error('x'.repeat(2 ** 28))": "more characters",
        "// @ts-nocheck\nError.prepareStackTrace = (_, sites) => sites; try { throw new Error('sites') } finally { setTimeout(() => delete Error.prepareStackTrace) }": "Error: sites",
        "// @ts-nocheck\nError.prepareStackTrace = () => { throw 1 }; try { throw new Error('sites') } finally { setTimeout(() => delete Error.prepareStackTrace) }": "Error: sites",
    }
    ENDLESS = (
        f"({{ {CUSTOM}() {{ while (true) {{}} }} }})",
        f"({{ get {DISPLAY}() {{ while (true) {{}} }} }})",
        f"({{ {DISPLAY}: () => new Promise(() => {{}}) }})",
        f"({{ {DISPLAY}: () => ({{ get 'text/plain'() {{ while (true) {{}} }} }}) }})",
        f"({{ {DISPLAY}: () => ({{ 'application/json': {{ toJSON() {{ while (true) {{}} }} }} }}) }})",
        f"({{ {DISPLAY}: () => new Proxy({{}}, {{ ownKeys() {{ while (true) {{}} }} }}) }})",
        f"{SHOW}({{ data: {{ 'application/json': {{ toJSON() {{ while (true) {{}} }} }} }} }})",
        f"throw {getter('message', 'while (true) {}')}",
        f"throw {getter('stack', 'while (true) {}')}",
        f"throw new Error('x', {{ cause: {getter('name', 'while (true) {}')} }})",
    )

    def test_that_throw(self):
        for table in (self.VALUES, self.ERRORS):
            for code, said in table.items():
                with self.subTest(code=code):
                    self.assertIn(said, self.failure(code))
                    self.assertEqual(self.value("1 + 1"), "2")

    def test_that_never_end(self):
        for code in self.ENDLESS:
            with self.subTest(code=code):
                self.interrupted(code)
                self.assertEqual(self.value("1 + 1"), "2")

    def test_nobody_catches(self):
        for thrown in ("null", "Symbol('s')", REVOKED, f"{{ {CUSTOM}() {{ throw 1 }} }}", getter("message", "throw 1")):
            for code, what in ((f"void Promise.reject({thrown})", "Unhandled rejection"), (f"setTimeout(() => {{ throw {thrown} }})", "Uncaught")):
                with self.subTest(code=code):
                    reply, messages = self.run_cell(f"{code}; await new Promise((r) => setTimeout(r, 20)); 1")
                    self.assertEqual(reply["status"], "ok")
                    self.assertIn(what, self.text(messages, "stderr"))

    def test_bytes(self):
        self.assertEqual(self.shown(f"({{ {DISPLAY}: () => ({{ 'image/png': Buffer.from('abc') }}) }})"), {"image/png": "YWJj"})
        self.assertEqual(len(self.shown("'x'.repeat(2 ** 29 - 30)")["text/plain"]) < 20_000, True)

    def test_expressions(self):
        reply, _ = self.run_cell("1", user_expressions={"bad": f"({{ {CUSTOM}() {{ throw new Error('no') }} }})", "good": "2"})
        self.assertEqual((reply["user_expressions"]["bad"]["ename"], reply["user_expressions"]["good"]["data"]), ("DisplayError", {"text/plain": "2"}))


class Tampering(Kernels):
    """Cells replace what the language and Node bring."""

    CODE = (
        "JSON.stringify = () => { throw new Error('json') }; JSON.parse = JSON.stringify as any",
        "for (const name of ['map', 'flatMap', 'filter', 'forEach', 'join', 'includes', 'slice', 'shift', 'concat', 'reduce', 'find', 'some', 'every']) (Array.prototype as any)[name] = () => { throw new Error(name) }",
        "for (const C of [Map, Set, Promise] as any[]) for (const name of Object.getOwnPropertyNames(C.prototype)) try { if (name !== 'constructor') C.prototype[name] = () => { throw new Error(name) } } catch {}",
        "for (const name of ['slice', 'split', 'match', 'replace', 'startsWith', 'endsWith', 'trim']) (String.prototype as any)[name] = () => { throw new Error(name) }",
        "(Object.prototype as any).toJSON = () => { throw new Error('toJSON') }",
        "for (const name of ['Promise', 'Map', 'Set', 'Atomics', 'queueMicrotask', 'setImmediate', 'setTimeout', 'JSON']) (globalThis as any)[name] = undefined",
        "Object.assign(Buffer, { from: null, alloc: null, allocUnsafe: null, concat: null })",
        "Error.stackTraceLimit = 0",
        "process.stdout.write = () => { throw new Error('stdout') }",
        "process.removeAllListeners()",
        "process.emit = () => { throw new Error('emit') }",
        "const fs = require('node:fs'); fs.writeSync = () => { throw new Error('fs') }",
        "const util = require('node:util'); util.inspect = () => { throw new Error('inspect') }",
    )

    def test_tampering(self):
        for code in self.CODE:
            with self.subTest(code=code):
                reply, _ = self.run_cell(f"// @ts-nocheck\n{code}; 1")
                self.assertEqual(reply["status"], "ok", reply)
                self.assertEqual(self.value("2"), "2")
                self.assertIn("Error: told", self.failure("throw new Error('told', { cause: new Error('why') })"))
                self.interrupted("while (true) {}", 0.1)
                self.interrupted("await null; while (true) await null", 0.1)
                self.value("%reset")

    def test_what_cannot_be_read(self):
        """A cell that writes into the pipe of frames loses its process, not the kernel."""
        said = self.failure("import { writeSync } from 'node:fs'; writeSync(3, '0123456789'.repeat(10)); await new Promise(() => {})")
        self.assertIn("what it sent to the notebook could not be read", said)
        self.assertEqual(self.value("1 + 1"), "2")


class Imports(Kernels):
    def test_interrupted(self):
        """A package that is being evaluated when its cell is interrupted is evaluated anew by the next import."""
        for kind, head, tail in (("commonjs", "require('./part')", "exports.whole = true"), ("module", "import './part.js'", "export const whole = true")):
            package = self.folder / "node_modules" / f"slow-{kind}"
            package.mkdir(parents=True)
            (package / "package.json").write_text(f'{{"name": "slow-{kind}", "type": "{kind}", "main": "index.js"}}')
            (package / "part.js").write_text("globalThis.begun = (globalThis.begun ?? 0) + 1;")
            (package / "index.js").write_text(f"{head};\nif (!globalThis.again) for (globalThis.again = true; ;) ;\n{tail};")
            code = f"// @ts-nocheck\nimport {{ whole }} from 'slow-{kind}';\nwhole"
            self.interrupted(code, 0.5)
            self.assertEqual(self.value(code), "true")
            self.value("// @ts-nocheck\nglobalThis.again = false")

    def test_that_cannot_be_taken_up(self):
        package = self.folder / "node_modules" / "torn"
        package.mkdir(parents=True)
        (package / "package.json").write_text('{"name": "torn", "type": "module", "main": "index.js"}')
        (package / "part.js").write_text("while (true) ;")
        (package / "index.js").write_text("import './part.js'; export const whole = true")
        code = "// @ts-nocheck\nimport { whole } from 'torn';\nwhole"
        self.interrupted(code, 0.5)
        (package / "part.js").write_text("")
        self.assertIn("was interrupted in the middle and cannot be begun again here: %reset", self.failure(code))
        self.value("%reset")
        self.assertEqual(self.value(code), "true")


class Questions(Kernels):
    def ask(self, code):
        msg_id = self.send(code, allow_stdin=True)
        return msg_id, self.kc.get_stdin_msg(timeout=WAIT)

    def ended(self, msg_id):
        reply, messages = self.until_idle(msg_id)
        shown = [content["data"]["text/plain"] for kind, content in messages if kind == "execute_result"]
        return reply.get("ename") or (shown or [None])[0], self.text(messages) + self.text(messages, "stderr")

    def test_interrupted(self):
        for question in ("input('a')", "input('a', { password: true })", "Promise.all([input('a'), input('a')])"):
            msg_id, old = self.ask(f"await {question}")
            self.km.interrupt_kernel()
            self.assertEqual(self.ended(msg_id)[0], "Interrupted")
            msg_id, new = self.ask("await input('b')")
            self.assertEqual(new["content"]["prompt"], "b")
            # JupyterLab says what it answers; the box of the old question is still there
            for value, parent in (("late", old), ("right", new)):
                self.kc.stdin_channel.send(self.kc.session.msg("input_reply", {"value": value}, parent=parent["header"]))
            self.assertEqual(self.ended(msg_id)[0], "'right'")

    def test_without_a_cell(self):
        """Of a cell that failed, of one that ended before the answer, of a process that died: the next answer is the next question's."""
        for code, said in (
            ("void input('a').catch(() => {}); await new Promise((r) => setTimeout(r, 50)); throw new Error('fails')", "Error"),
            ("input('a').catch((e: Error) => console.log(e.message)); await new Promise((r) => setTimeout(r, 50)); 1", "1"),
            ("setTimeout(() => process.kill(process.pid, 'SIGKILL'), 50); await input('a')", "WorkerDied"),
        ):
            msg_id, _ = self.ask(code)
            ended, printed = self.ended(msg_id)
            self.assertEqual(ended, said)
            if said == "1":
                self.assertIn("the cell that asked has ended", printed)
            msg_id, _ = self.ask("await input('b')")
            self.kc.input("B")
            self.assertEqual(self.ended(msg_id)[0], "'B'")
        self.value("setTimeout(() => input('late').catch((e: Error) => globalThis.process.emitWarning = e.message as any), 20)")
        time.sleep(0.2)
        self.assertIn("works while its cell runs", self.value("String(process.emitWarning)"))

    def test_two_at_once(self):
        msg_id, first = self.ask("await Promise.all([input('one'), input('two')])")
        self.kc.input("1")
        second = self.kc.get_stdin_msg(timeout=WAIT)
        self.kc.input("2")
        self.assertEqual([first["content"]["prompt"], second["content"]["prompt"]], ["one", "two"])
        self.assertEqual(self.ended(msg_id)[0], "[ '1', '2' ]")


@unittest.skipUnless(os.path.isdir("/proc/self"), "the system does not list processes")
class Children(Kernels):
    IMPORTS = "import { exec, execFileSync, execSync, spawn, spawnSync } from 'node:child_process'; import { once } from 'node:events'; import { promisify } from 'node:util';"
    WAITED = (
        "execSync('sleep @')",
        "execSync('sleep @; true')",
        "execSync('sh -c \"sh -c \\\\\"sleep @; true\\\\\"; true\"')",
        "execSync('sleep @ | cat')",
        "execSync('sleep @ & echo')",
        "execSync('sleep @', { stdio: 'inherit' })",
        "execSync('trap \"\" INT TERM; sleep @; sleep @')",
        "spawnSync('sleep', ['@'])",
        "execFileSync('sleep', ['@'])",
        "while (true) { try { execSync('sleep @') } catch {} }",
        "await promisify(exec)('sleep @')",
        "await once(spawn('sleep', ['@']), 'exit')",
        "await once(spawn('sh', ['-c', 'sleep @; true']), 'exit')",
    )
    number = 0

    def some(self):
        """Seconds that no other process sleeps."""
        Children.number += 1
        return str(100_000 + os.getpid() % 10_000 * 100 + Children.number)

    def sleeping(self, seconds):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if "sleep" in words[0] and words[1:2] == [seconds] and state != "Z":
                found.append(int(pid))
        return found

    def until(self, seconds, count):
        end = time.time() + WAIT
        while len(self.sleeping(seconds)) != count and time.time() < end:
            time.sleep(0.02)
        self.assertEqual(len(self.sleeping(seconds)), count)

    def test_interrupt(self):
        """What a cell waits for ends with it; what earlier cells started goes on."""
        others = [self.some() for _ in range(4)]
        self.value(
            f"{self.IMPORTS} let a = spawn('sleep', ['{others[0]}']); a = spawn('sh', ['-c', 'sleep {others[1]}; true']);"
            f"execSync('sleep {others[2]} > /dev/null 2>&1 &'); spawn('sleep', ['{others[3]}'], {{ detached: true, stdio: 'ignore' }}).unref()"
        )
        for code in self.WAITED:
            with self.subTest(code=code):
                seconds = self.some()
                msg_id = self.send(code.replace("@", seconds))
                self.until(seconds, 1)
                self.km.interrupt_kernel()
                self.assertEqual(self.until_idle(msg_id)[0].get("ename"), "Interrupted")
                self.until(seconds, 0)
        kept = self.some()
        msg_id = self.send(f"spawn('sleep', ['{kept}'], {{ stdio: 'ignore' }}).unref(); while (true) {{}}")
        self.until(kept, 1)
        self.km.interrupt_kernel()
        self.until_idle(msg_id)
        time.sleep(0.1)
        for seconds in (*others, kept):
            self.until(seconds, 1)
        self.assertIn("exit code 3", self.failure("process.exit(3)"))
        for seconds in (*others[:3], kept):
            self.until(seconds, 0)
        self.until(others[3], 1)
        os.kill(self.sleeping(others[3])[0], signal.SIGKILL)

    def test_death(self):
        """Of a process that ends in any way its children go too, but not those that were to stay, even where they hold its pipes."""
        for end in ("process.exit(0)", "process.kill(process.pid, 'SIGKILL'); while (true) {}", "process.abort()"):
            goes, stays = self.some(), self.some()
            said = self.failure(
                f"{self.IMPORTS}\nspawn('sh', ['-c', 'sleep {goes}; true'], {{ stdio: 'inherit' }}); spawn('sleep', ['{stays}'], {{ stdio: 'inherit', detached: true }});"
                f"while (!execSync('pgrep -cx sleep').toString()) {{}}\n{end}"
            )
            self.assertIn("WorkerDied", said)
            self.until(goes, 0)
            self.until(stays, 1)
            os.kill(self.sleeping(stays)[0], signal.SIGKILL)
            self.assertEqual(self.value("1 + 1"), "2")

    def test_kernel_goes(self):
        """Of a kernel that forgets all, is shut down or is killed, what its cells started goes too."""
        km = KernelManager(kernel_name="tunebook")
        km.start_kernel(cwd=str(self.folder))
        kc = km.client()
        kc.start_channels()
        kc.wait_for_ready(timeout=WAIT)
        ways = {"reset": lambda: kc.execute("%reset"), "restart": lambda: km.restart_kernel(), "kill": lambda: os.kill(km.provisioner.pid, signal.SIGKILL)}
        for way, go in ways.items():
            with self.subTest(way=way):
                seconds = [self.some() for _ in range(3)]
                spawned = "; ".join(f"spawn('sh', ['-c', 'sleep {s}; true'], {{ stdio: 'ignore' }})" for s in seconds[:2])
                kc.execute(f"{self.IMPORTS} {spawned}; execSync('sleep {seconds[2]} > /dev/null 2>&1 &')")
                for s in seconds:
                    self.until(s, 1)
                go()
                for s in seconds:
                    self.until(s, 0)
                if way == "restart":
                    kc.wait_for_ready(timeout=WAIT)
        kc.stop_channels()
        km.cleanup_resources()

    def test_what_cannot_be_interrupted(self):
        """Native code that does not come back: the process is replaced within 2 s, and the notebook says so."""
        self.value("const show = (globalThis as any)[Symbol.for('tunebook.display')]; show({ data: { 'application/vnd.tunebook.run.v1+json': { checkpoints: ['out/checkpoint-7'] } } })")
        msg_id = self.send("import { pbkdf2Sync } from 'node:crypto'; pbkdf2Sync('a', 'b', 2 ** 31 - 1, 64, 'sha512')")
        time.sleep(0.3)
        began = time.time()
        self.km.interrupt_kernel()
        said = self.until_idle(msg_id)[0]["evalue"]
        self.assertLess(time.time() - began, 2)
        self.assertIn("cannot be interrupted", said)
        self.assertIn("The last checkpoint is in out/checkpoint-7", said)
        self.assertEqual(self.value("1 + 1"), "2")


class Ends(Kernels):
    """What the notebook is told of a process that ends, and in whose words."""

    FOREIGN = re.compile(r"debugger|inspector|GCs|stack trace|FATAL|0x[0-9a-f]{4}|node\[", re.I)

    def death(self, code):
        reply, messages = self.run_cell(f"import {{ writeSync }} from 'node:fs';\n{code}")
        self.assertEqual(reply["ename"], "WorkerDied")
        return reply["evalue"], self.text(messages) + self.text(messages, "stderr")

    def test_words(self):
        for code, why, printed in (
            ("writeSync(2, 'last words\\n'); process.exit(3)", "it ended with exit code 3", "last words\n"),
            ("process.exitCode = 4; process.exit()", "it ended with exit code 4", ""),
            ("process.abort()", "it gave up (ended by SIGABRT)", ""),
            ("process.kill(process.pid, 'SIGTERM'); while (true) {}", "it was ended by SIGTERM", ""),
            ("process.kill(process.pid, 'SIGSEGV'); while (true) {}", "native code crashed (ended by SIGSEGV)", ""),
            ("writeSync(2, 'what():  std::bad_alloc\\n'); process.kill(process.pid, 'SIGABRT'); while (true) {}", "SIGABRT", "what():  std::bad_alloc\n"),
            ("writeSync(2, '\\n#\\n# Fatal error in , line 0\\n# Check failed: (location_) != nullptr.\\n#\\n'); process.kill(process.pid, 'SIGABRT'); while (true) {}",
             "it gave up (ended by SIGABRT): Check failed: (location_) != nullptr.", ""),
        ):
            with self.subTest(code=code):
                evalue, text = self.death(code)
                self.assertIn(f"is gone: {why}" if "(" in why else why, evalue)
                self.assertEqual(text, printed)
                self.assertEqual(self.value("1 + 1"), "2")

    def test_out_of_heap(self):
        self.value("import { setFlagsFromString } from 'node:v8'; setFlagsFromString('--max-heap-size=100')")
        evalue, text = self.death("const held: number[][] = []; for (;;) held.push(new Array(1e5).fill(Math.random()))")
        self.assertIn("JavaScript ran out of memory (ended by SIGABRT)", evalue)
        self.assertIn("--max-old-space-size", evalue)
        self.assertNotRegex(text, self.FOREIGN)

    def test_inspector(self):
        _, messages = self.run_cell("import inspector from 'node:inspector'; inspector.open(0); await new Promise((r) => setTimeout(r, 100)); inspector.close()")
        self.assertRegex(self.text(messages, "stderr"), r"^A debugger can attach: ws://127\.0\.0\.1:\d+/[-\w]+\n$")

    def test_tensorflow(self):
        """What it says of itself as it starts is no word to a reader; its warnings and errors are."""
        begin = (
            "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
            "I0000 00:00:1795670012.039747    6790 port.cc:153] oneDNN custom operations are on. You may see other results.\n"
            "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with the appropriate compiler flags.\n"
        )
        rest = "E0000 00:00:1795670012.039747    6790 port.cc:153] wrong\nI01 said\nWARNING: All of it\nTo enable the following\n"
        dated = (
            "2026-01-02 03:04:05.678901: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on. You may see other results.\n"
            "2026-01-02 03:04:05.678901: I tensorflow/core/platform/cpu_feature_guard.cc:210] This TensorFlow binary is optimized to use instructions.\n"
        )
        for said, write in ((dated + begin, "writeSync(2, said)"), (begin, "for (const part of said.match(/[^]{1,5}/g)!) { writeSync(2, part); await new Promise((r) => setImmediate(r)) }")):
            _, messages = self.run_cell(f"import {{ writeSync }} from 'node:fs'; const said = {json.dumps(said + rest)}; {write}")
            self.assertEqual(self.text(messages, "stderr"), rest)

    def test_reset(self):
        """A process that ends because it is asked to says nothing of its debugger, whatever it was at."""
        for code in ("1", "setInterval(() => {}, 1)", "import inspector from 'node:inspector'; import { Session } from 'node:inspector'; new Session().connect()"):
            self.run_cell(code)
            reply, messages = self.run_cell("%reset\nawait new Promise((r) => setTimeout(r, 300))")
            self.assertEqual((reply["status"], self.text(messages, "stderr")), ("ok", ""))

    def test_what_is_like_them(self):
        """Words of native code that only look like a report are shown."""
        said = "a\\n\\nb#\\n#\\nDebugger\\n<--- not\\n"
        _, messages = self.run_cell(f"import {{ writeSync }} from 'node:fs'; for (const c of '{said}') writeSync(1, c)")
        self.assertEqual(self.text(messages), said.encode().decode("unicode_escape"))
        _, messages = self.run_cell("writeSync(2, 'FATAL ERROR: no\\nmore'); await new Promise((r) => setTimeout(r, 2500))")
        self.assertEqual(self.text(messages, "stderr"), "FATAL ERROR: no\nmore")


if __name__ == "__main__":
    unittest.main(verbosity=2)
