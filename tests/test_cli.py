"""What scripts share: exit codes, one sentence for the user's mistakes, progress."""

import io
import subprocess
import sys
import time

import pytest
from absl import flags

from dbp_tf import cli, progress
from dbp_tf.errors import InputError


@pytest.fixture
def values():
    values = flags.FlagValues()
    flags.DEFINE_integer("number", 3, "A number.", lower_bound=1, flag_values=values)
    flags.DEFINE_float("rate", None, "A rate.", lower_bound=0, flag_values=values)
    cli.finite("rate", values)
    return values


def test_the_code_that_main_returns_is_handed_on(values):
    assert cli.run(lambda: None, values, ["script"]) == 0
    assert cli.run(lambda: 1, values, ["script"]) == 1
    assert cli.run(lambda: values.number, values, ["script", "--number=5"]) == 5


def test_flags_fall_back_to_their_defaults_from_run_to_run(values):
    assert cli.run(lambda: values.number, values, ["script", "--number=5"]) == 5
    assert cli.run(lambda: values.number, values, ["script"]) == 3


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--number=0", "--number"),
        ("--number=many", "--number"),
        ("--numbr=2", "numbr"),
        ("photo.jpg", "photo.jpg"),
        ("--rate=nan", "--rate=nan: give a finite number"),
        ("--rate=inf", "--rate=inf: give a finite number"),
    ],
)
def test_bad_flags_are_one_sentence_and_exit_code_2(values, capsys, argument, said):
    assert cli.run(lambda: pytest.fail("main ran"), values, ["script", argument]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1


def test_a_finite_number_passes(values):
    assert cli.run(lambda: values.rate == 1e300, values, ["script", "--rate=1e300"]) == 1


def test_main_takes_words_where_it_asks_for_them(values):
    heard = []
    command = ["script", "a.jpg", "--number=5", "b.jpg"]
    assert cli.run(heard.append, values, command, words=True) == 0
    assert heard == [["a.jpg", "b.jpg"]] and values.number == 5
    assert cli.run(len, values, command, words=True) == 2
    assert cli.run(len, values, ["script"], words=True) == 0


@pytest.mark.parametrize("error", [InputError("no such thing"), OSError(28, "No space", "a.png")])
def test_bad_input_and_a_full_disk_are_one_sentence_and_exit_code_2(values, capsys, error):
    def main():
        raise error

    assert cli.run(main, values, ["script"]) == 2
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_bug_keeps_its_traceback(values):
    def main():
        return {}["missing"]

    with pytest.raises(KeyError):
        cli.run(main, values, ["script"])


def test_ctrl_c_is_no_traceback(values, capsys):
    def main():
        raise KeyboardInterrupt

    assert cli.run(main, values, ["script"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_help_prints_the_docstring_and_the_flags(values, capsys):
    def main():
        pytest.fail("main ran")

    assert cli.run(main, values, ["script", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(__doc__) and "--number: A number." in text


@pytest.mark.parametrize(("level", "seen"), [(None, False), ("3", False), ("2", True), ("0", True)])
def test_tensorflow_says_what_the_log_level_asks_for(tmp_path, monkeypatch, capfd, level, seen):
    (tmp_path / "tensorflow.py").write_text(
        "import os\n"
        "from types import SimpleNamespace as Bag\n"
        "os.write(2, b'chatter')\n"
        "config = Bag(list_physical_devices=lambda kind: [])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    # Put in first, so that whatever was there comes back after the test.
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    del sys.modules["tensorflow"]
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", str(level))
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    assert cli.import_tensorflow().__file__ == str(tmp_path / "tensorflow.py")
    sys.stderr.write("after")
    assert capfd.readouterr().err == ("chatter" if seen else "") + "after"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_is_told_what_goes_on_after_ten_seconds_of_silence(monkeypatch):
    now, out = [100.0], io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress.say("begun", out)
    for passed, text in ((9, "one"), (2, "two "), (9, "three"), (2, "four")):
        now[0] += passed
        progress.status(text, out)
    assert out.getvalue() == "begun\ntwo\nfour\n"


def test_progress_replaces_its_line_on_a_terminal_only():
    terminal, file = Terminal(), io.StringIO()
    for out in (terminal, file):
        progress.status("reading", out)
        progress.say("done", out)
    assert terminal.getvalue() == "\r\x1b[Kreading\r\x1b[Kdone\n"
    assert file.getvalue() == "done\n"


@pytest.mark.parametrize(
    ("elapsed", "done", "total", "said"),
    [
        (10, 2, 10, "40 s left"),
        (60, 1, 11, "10 min left"),
        (3600, 1, 4, "3.0 h left"),
        (5, 3, 3, "0 s left"),
    ],
)
def test_time_left(elapsed, done, total, said):
    assert progress.time_left(time.monotonic() - elapsed, done, total) == said


@pytest.mark.parametrize("code", [0, 2])
def test_leaving_says_everything_and_the_code(code):
    script = f"from dbp_tf import cli; print('said', end=''); cli.leave({code})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "said", "")


def test_leaving_with_nobody_to_read_is_no_success():
    script = "from dbp_tf import cli; input(); print('said'); cli.leave(0)"
    # Isolated (-I) from PYTHONUNBUFFERED, with which nothing is left for the end.
    command = [sys.executable, "-I", "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(timeout=30) == cli.EXIT_BAD_INPUT
        assert process.stderr.read() == b""
