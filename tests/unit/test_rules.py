"""Rules of this tree that no linter has. Each is shown what it allows and what it forbids, so that it can fail."""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).parents[2] / "src/handoff"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def dotted(node: ast.expr) -> str:
    """The name that an expression spells: `asyncio.get_running_loop().create_task` without the brackets."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=owner, attr=name):
            return f"{dotted(owner)}.{name}"
        case ast.Call(func=function):
            return dotted(function)
        case _:
            return ""


def last(node: ast.expr) -> str:
    """The last part of that name."""
    return dotted(node).rpartition(".")[2]


def calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    """The calls of what has one of these names, of whatever it is a part."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and last(node.func) in names:
            yield node


def words(node: ast.expr) -> set[str]:
    """The parts of every name and key in the expression: `callback_url` is callback and url."""
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    names |= {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    return {word for name in names for word in name.lower().split("_")}


def awaits_of(function: ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """What runs in the event loop: the body of the function, without functions that it only makes."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


STATEMENTS: Final = ("text", "exec_driver_sql", "execute", "scalar", "scalars", "executescript", "executemany")


def put_together_sql(tree: ast.AST) -> Iterator[int]:
    """A statement that is put together where it is said: by an f-string, `format`, `%` or `+`."""
    for call in calls(tree, *STATEMENTS):
        match call.args[:1]:
            case [ast.JoinedStr()] | [ast.BinOp(op=ast.Mod() | ast.Add())]:
                yield call.lineno
            case [ast.Call(func=ast.Attribute(attr="format" | "join"))]:
                yield call.lineno


def unseen_parameters(tree: ast.AST) -> Iterator[int]:
    """An engine whose errors show the values of a statement, which end up in a log."""
    for call in calls(tree, "create_engine"):
        hidden = [one for one in call.keywords if one.arg == "hide_parameters"]
        if not hidden or ast.unparse(hidden[0].value) != "True":
            yield call.lineno


UNVERIFIED: Final = {
    ("ssl", "False"),
    ("verify", "False"),
    ("verify_ssl", "False"),
    ("check_hostname", "False"),
    ("verify_mode", "ssl.CERT_NONE"),
    ("cert_reqs", "ssl.CERT_NONE"),
}


def unverified_tls(tree: ast.AST) -> Iterator[int]:
    """A connection whose certificate nobody looks at."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and (node.arg, ast.unparse(node.value)) in UNVERIFIED:
            yield node.value.lineno
        if isinstance(node, ast.Assign) and {(last(one), ast.unparse(node.value)) for one in node.targets} & UNVERIFIED:
            yield node.lineno


def leaving_receivers(tree: ast.AST) -> Iterator[int]:
    """A client that goes where a receiver or the environment sends it."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="allow_redirects" | "follow_redirects" | "trust_env", value=ast.Constant(value=True)):
                yield node.value.lineno


SECRET_WORDS: Final = {"secret", "secrets", "signature", "signatures", "password", "mac", "hmac"}


def compared_secrets(tree: ast.AST) -> Iterator[int]:
    """Two secrets compared by `==`, whose time tells how much of them agrees: hmac.compare_digest does not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            sides = [node.left, *node.comparators]
            if any(words(side) & SECRET_WORDS for side in sides if not isinstance(side, ast.Call)):
                yield node.lineno


LOGGERS: Final = ("debug", "info", "warning", "error", "exception", "critical", "log")
UNTOLD: Final = {
    *("token", "tokens", "secret", "secrets", "password", "authorization", "auth", "headers", "cookie"),
    *("body", "payload", "query", "excerpt", "url", "jti", "key", "keys", "master"),
}


def told_secrets(tree: ast.AST) -> Iterator[int]:
    """A log line with something in it that may be a secret, or what a caller sent."""
    for call in calls(tree, *LOGGERS):
        if dotted(call.func).split(".")[0] not in {"log", "logger"}:
            continue
        values = [*call.args, *(one.value for one in call.keywords)]
        keys = [
            key.value
            for value in values
            for one in ast.walk(value)
            if isinstance(one, ast.Dict)
            for key in one.keys
            if isinstance(key, ast.Constant)
        ]
        said = {word for key in keys for word in str(key).lower().split("_")}
        if (said | {word for value in values for word in words(value)}) & UNTOLD:
            yield call.lineno


def forgotten_tasks(tree: ast.AST) -> Iterator[int]:
    """A task that nobody keeps, which may be collected while it runs and whose error nobody sees."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value
            if last(call.func) in {"create_task", "ensure_future"} and not dotted(call.func).startswith("group."):
                yield node.lineno


BLOCKING: Final = {
    *("sqlite3", "psycopg", "socket", "shutil", "urllib", "os", "tempfile", "fileinput"),
    *("Path", "getaddrinfo", "gethostbyname", "input", "run_until_complete"),
}
BLOCKING_ACTS: Final = {
    *("read_text", "write_text", "read_bytes", "write_bytes", "dispose", "fetchall", "fetchone"),
    *("acquire_lock", "getaddrinfo", "gethostbyname", "shutdown_now"),
}
HARMLESS: Final = {"os.fspath", "os.environ.get", "os.getpid", "psycopg.AsyncConnection.connect"}


def blocked_loops(tree: ast.AST) -> Iterator[int]:
    """Work of the event loop that waits for a disk, a name server or a database."""
    for function in ast.walk(tree):
        if isinstance(function, ast.AsyncFunctionDef):
            for node in awaits_of(function):
                if isinstance(node, ast.Call) and dotted(node.func) not in HARMLESS:
                    name = dotted(node.func)
                    if name.split(".")[0] in BLOCKING or name.rpartition(".")[2] in BLOCKING_ACTS:
                        yield node.lineno


def swallowed_cancellations(tree: ast.AST) -> Iterator[int]:
    """A cancellation that ends where it is caught, so that who cancelled waits for a task that goes on."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            caught = {last(one) for one in ast.walk(node.type) if isinstance(one, ast.Name | ast.Attribute)}
            raises = any(isinstance(one, ast.Raise) for one in ast.walk(node))
            if caught & {"CancelledError", "BaseException"} and not raises:
                yield node.lineno
        if isinstance(node, ast.Call) and last(node.func) == "suppress":
            caught = {last(one) for one in node.args}
            yield from [node.lineno] * bool(caught & {"CancelledError", "BaseException"})


def unpacked_code(tree: ast.AST) -> Iterator[int]:
    """Bytes that become objects of any class, or a program of the machine that is started."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found = {one.name.split(".")[0] for one in names}
            case ast.ImportFrom(module=str(module)):
                found = {module.split(".")[0]}
            case _:
                continue
        if found & {"pickle", "marshal", "shelve", "dill", "yaml", "subprocess", "code", "ctypes"}:
            yield node.lineno


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is forbidden, where it is done all the same and why, and a snippet of each kind."""

    check: Callable[[ast.AST], Iterator[int]]
    good: str
    bad: tuple[str, ...]
    known: Mapping[str, str] = field(default_factory=dict)


RULES: Final[Mapping[str, Rule]] = {
    "no statement is put together where it is said": Rule(
        check=put_together_sql,
        good="connection.execute(text('SELECT * FROM agents WHERE account_id = :account'), {'account': account})",
        bad=(
            "connection.execute(f'SELECT {name}')",
            "text('DELETE FROM {}'.format(name))",
            "text(_ALL + name)",
            "connection.exec_driver_sql('ANALYZE %s' % name)",
        ),
        known={
            "store/accounts.py:accounts_of": "the name of a table of ours",
            "store/callbacks.py:_candidates": "the name of an index of ours, and a state of CallbackState",
            "store/conversations.py:_steps_of": "the name of an index of ours",
            "store/engine_sqlite.py:_configure": "FULL or NORMAL",
            "store/staging.py:look_at": "names of tables of ours",
            "store/wakeups.py:listen": "the name of a channel of ours",
        },
    ),
    "no engine shows values in its errors": Rule(
        check=unseen_parameters,
        good="create_engine(url, hide_parameters=True)",
        bad=("create_engine(url)", "create_engine(url, hide_parameters=False)"),
    ),
    "certificates are looked at": Rule(
        check=unverified_tls,
        good="session.post(url, ssl=context)\ncontext.check_hostname = True",
        bad=(
            "session.post(url, ssl=False)",
            "get(url, verify=False)",
            "context.check_hostname = False",
            "context.verify_mode = ssl.CERT_NONE",
        ),
    ),
    "a client goes where it was told to": Rule(
        check=leaving_receivers,
        good="session.post(url, allow_redirects=False)",
        bad=("session.post(url, allow_redirects=True)", "ClientSession(trust_env=True)"),
    ),
    "secrets are compared in one time": Rule(
        check=compared_secrets,
        good="hmac.compare_digest(given, secret)\nlen(secret) == 32",
        bad=("given == secret", "self.signature != theirs", "given == app.secrets[0]"),
        known={"service/apps.py:_with": "an operator's command, who may see the secrets"},
    ),
    "no log line tells what may be a secret": Rule(
        check=told_secrets,
        good="log.info('listening', extra={'port': port})\nmath.log(body)",
        bad=(
            "log.info('refused', extra={'token': given})",
            "log.warning('refused', extra={'what': request.query})",
            "log.error('sent %s', callback.body)",
            "logger.debug(authorization)",
        ),
        known={
            "cli/serve.py:serve": "the address that the service listens at",
            "metering.py:metering": "the address that the metrics are at",
        },
    ),
    "a task is kept": Rule(
        check=forgotten_tasks,
        good="self._task = loop.create_task(run())\ntasks.add(asyncio.create_task(run()))",
        bad=(
            "asyncio.create_task(run())",
            "asyncio.get_running_loop().create_task(run())",
            "asyncio.ensure_future(run())",
        ),
    ),
    "the event loop waits for no disk": Rule(
        check=blocked_loops,
        good="async def run():\n    await loop.run_in_executor(pool, lambda: path.read_text())",
        bad=(
            "async def run():\n    sqlite3.connect(file)",
            "async def run():\n    with guard:\n        return path.read_text()",
            "async def run():\n    await given(socket.getaddrinfo(host, 80))",
            "async def run():\n    engine.dispose()",
        ),
    ),
    "a cancellation is passed on": Rule(
        check=swallowed_cancellations,
        good="try:\n    run()\nexcept asyncio.CancelledError:\n    close()\n    raise",
        bad=(
            "try:\n    run()\nexcept asyncio.CancelledError:\n    pass",
            "try:\n    run()\nexcept BaseException:\n    log.exception('x')",
            "with contextlib.suppress(asyncio.CancelledError):\n    run()",
        ),
        known={
            "api/assign.py:_handle": "answers, so that the caller knows to repeat the call",
            "api/resource.py:bounded": "answers, so that the caller knows to repeat the call",
            "service/dispatcher.py:_attempt": "ends with it, and gives the message back",
            "service/following.py:stop": "the task that it has cancelled itself",
            "store/wakeups.py:_kept_up": "the task that it has cancelled itself",
        },
    ),
    "nothing is unpickled or started": Rule(
        check=unpacked_code,
        good="import json",
        bad=("import pickle", "from subprocess import run", "import yaml"),
    ),
}


def place_of(tree: ast.AST, line: int) -> str:
    """The innermost function around the line, or nothing."""
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, Function) and node.lineno <= line <= (node.end_lineno or line)
    ]
    return max(around, key=lambda node: node.lineno).name if around else ""


def broken_at(rule: Rule) -> set[str]:
    """Where the source breaks the rule: `store/engine_sqlite.py:_configure`."""
    found = set()
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        found |= {f"{path.relative_to(SOURCE).as_posix()}:{place_of(tree, line)}" for line in rule.check(tree)}
    return found


@pytest.mark.parametrize("name", RULES)
def test_the_source_keeps_the_rule_but_where_it_is_known_why_not(name: str) -> None:
    assert broken_at(RULES[name]) == set(RULES[name].known)


@pytest.mark.parametrize("name", RULES)
def test_what_the_rule_allows_is_allowed(name: str) -> None:
    assert list(RULES[name].check(ast.parse(RULES[name].good))) == []


@pytest.mark.parametrize(("name", "snippet"), [(name, bad) for name, rule in RULES.items() for bad in rule.bad])
def test_what_the_rule_forbids_is_found(name: str, snippet: str) -> None:
    assert list(RULES[name].check(ast.parse(snippet)))
