import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import pipelines.__main__ as command
from engine.config import EngineConfig
from engine.errors import UserError
from pipelines import TASKS, cli
from pipelines.cli import read_text, run_app
from tests.pipelines.fake_engine import FakeEngine

Out = pytest.CaptureFixture[str]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """A fake in place of the loaded engine; `configs` on it are what the options asked for."""
    fake = FakeEngine(find=lambda prompt: "Rome")

    def load(config: EngineConfig) -> FakeEngine:
        fake.configs.append(config)
        return fake

    monkeypatch.setattr(cli, "load_engine", load)
    return fake


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


@pytest.mark.usefixtures("engine")
def test_results_go_to_stdout_and_the_rest_to_stderr(capsys: Out) -> None:
    assert run_app(command.app, ["classify", "Some text.", "-l", "a", "-l", "b"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["0.500  a", "0.500  b"]
    assert "fp32 · cpu" in err


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["classify", "Some text."], "label"),
        (["summarize", "Some text to read. It has two sentences."], "summary_text"),
        (["answer", "Where?", "Ben lives in Rome."], "answer"),
        (["generate", "Hello"], "generated_text"),
    ],
)
def test_json_is_one_object_with_the_time_it_took(arguments: list[str], key: str, capsys: Out) -> None:
    assert run_app(command.app, [*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[key] and found["timing"]["prompt_tokens"] > 0 and found["model"] == "fake"


def test_the_same_engine_options_stand_on_every_command(engine: FakeEngine) -> None:
    options = (
        "--model tiny --precision fp32 --threads 1 --no-kv-cache --backend native --device cpu --max-context 99 "
        "--kv-precision half --prefill fp32 --prefix-cache-mb 3 --no-speculation"
    )
    for name in ("classify", "summarize", "generate"):
        assert run_app(command.app, [name, "Some text.", *options.split()]) == 0
    assert run_app(command.app, ["answer", "Where?", "In Rome.", *options.split()]) == 0
    wanted = EngineConfig(
        "tiny", "fp32", "cpu", threads=1, kv_cache=False, backend="native", max_context=99, kv_precision="half",
        prefill="fp32", prefix_cache_mb=3, speculation=False,
    )  # fmt: skip
    assert engine.configs == [wanted] * 4


def test_sampling_options_change_the_preset(engine: FakeEngine) -> None:
    arguments = "generate Hello --preset Creative --max-tokens 9 --seed 3 --temperature 0.2 --stop X --stop Y"
    assert run_app(command.app, arguments.split()) == 0
    [params] = engine.params
    assert (params.max_tokens, params.seed, params.temperature, params.stop, params.min_p) == (
        9,
        3,
        0.2,
        ("X", "Y"),
        0.05,
    )


def test_text_comes_from_a_file_or_a_pipe(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    (tmp_path / "text.txt").write_bytes(b"\xef\xbb\xbfFrom a file.")
    assert run_app(command.app, ["generate", "--mode", "continue", "-f", str(tmp_path / "text.txt")]) == 0
    stdin(monkeypatch, "From ä pipe.".encode())
    assert run_app(command.app, ["generate", "--mode", "continue"]) == 0
    assert engine.prompts == ["From a file.", "From ä pipe."]
    assert capsys.readouterr().out == "A short answer.\n" * 2


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("classify ''", "empty"),
        ("classify x -l a -l a", "more than once"),
        ("summarize x --length huge", "short, medium, long"),
        ("answer '' context", "question is empty"),
        ("generate x --preset Wild", "Deterministic, Balanced, Creative"),
        ("generate x --temperature -1", "temperature"),
        ("generate x --max-tokens 0", "max_tokens"),
        ("generate x --max-tokens 99999", "window"),
        ("classify x --precision int3", "int3"),
        ("classify x --kv-precision int4", "auto, fp32, half, int8"),
        ("classify x --prefill half", "auto, fp32, int16, int8"),
        ("classify x --prefix-cache-mb -1", "prefix_cache_mb"),
        ("classify x --file y", "twice"),
        ("classify --file /no/such/file", "No such file"),
        ("classify --file /", "directory"),
    ],
)
def test_bad_requests_are_one_sentence_and_exit_code_2(arguments: str, word: str, capsys: Out) -> None:
    assert run_app(command.app, shlex.split(arguments)) == 2
    out, err = capsys.readouterr()
    last = err.strip().splitlines()[-1]
    assert out == "" and last.startswith("Error: ") and word in last and "Traceback" not in err


def test_text_that_is_not_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"byte 3"):
        read_text(None, tmp_path / "latin")
    (tmp_path / "huge").write_bytes(b"a" * 1_000_000)
    with pytest.raises(UserError, match="200,000"):
        read_text(None, tmp_path / "huge")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="No context is given"):
        read_text(None, None, "context")


def test_ctrl_c_ends_with_130(engine: FakeEngine) -> None:
    def stopped(prompt: str) -> str:
        raise KeyboardInterrupt

    engine.reply = stopped
    assert run_app(command.app, ["generate", "Hello"]) == 130


def test_a_closed_pipe_is_no_traceback() -> None:
    program = (
        "import sys; import pipelines.__main__ as c; from pipelines import cli;"
        "from tests.pipelines.fake_engine import FakeEngine;"
        "cli.load_engine = lambda config: FakeEngine(reply=lambda prompt: 'word ' * 300);"
        "sys.exit(cli.run_app(c.app, ['generate', 'Hello', '--mode', 'continue', '--max-tokens', '300']))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    error = process.stderr.read().decode()
    assert process.wait(60) == 1
    assert "Traceback" not in error and "Exception ignored" not in error


def test_help_names_the_commands(capsys: Out) -> None:
    assert run_app(command.app, ["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(task.command in shown for task in TASKS.values())
    assert run_app(command.app, ["fly"]) == 2


@pytest.mark.parametrize("arguments", [[], ["generate"]])
def test_help_is_quick(arguments: list[str]) -> None:
    program = (
        "import sys; sys.argv = ['pipelines', *sys.argv[1:], '--help']; import pipelines.__main__ as c;"
        "code = c.main(); heavy = {'torch', 'gradio', 'numba', 'scipy', 'transformers'} & set(sys.modules);"
        "sys.exit(f'{heavy} imported' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "Usage" in done.stdout, done.stderr
