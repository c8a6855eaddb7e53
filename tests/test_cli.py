"""What commands share: exit codes, help, one sentence for the user's mistakes, progress."""

import errno
import importlib
import io
import os
import pathlib
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from absl import flags

from dbp_tf import cli, environment, progress
from dbp_tf.errors import InputError


@pytest.fixture
def values():
    values = flags.FlagValues()
    flags.DEFINE_integer("number", 3, "A number.", lower_bound=1, flag_values=values)
    cli.define(values, flags.DEFINE_float, "rate", None, "A rate.", lower_bound=0)
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


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("no such thing"), "no such thing"),
        (InputError("\udcff\n\x1b: no raw file"), r"\xff\n\x1b: no raw file"),
        (OSError(errno.ENOSPC, "No space", "a.png"), "a.png: the disk is full: make room"),
        (OSError(errno.EACCES, "No", b"\xff.png"), r"\xff.png: permission denied: change"),
        (OSError(errno.EISDIR, "Is a directory", "a"), "a: Is a directory"),
        (OSError("no reason"), "no reason"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "no"), r"the name a\xff is not UTF-8"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--traceback"]])
def test_what_can_be_mended_is_one_sentence_and_exit_code_2(values, capsys, error, said, more):
    def main():
        raise error

    assert cli.run(main, values, ["script", *more]) == 2
    *before, last = capsys.readouterr().err.splitlines()
    assert last.startswith(f"error: {said}")
    assert bool(before) == bool(more) and all("main" not in line for line in before[:1])
    assert not more or before[0].startswith("Traceback")


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


def test_help_is_the_docstring_and_the_flags_by_topic(capsys):
    values = flags.FlagValues()
    for topic, name in (("Input", "second"), ("Output", "first"), ("Input", "third")):
        cli.define(values, flags.DEFINE_integer, name, None, f"The {name}.", topic=topic)

    def main():
        pytest.fail("main ran")

    assert cli.run(main, values, ["script", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(__doc__) and "--second: The second." in text
    order = ["Input:", "--second", "--third", "Output:", "--first", "Help:", "--traceback"]
    assert sorted(order, key=text.index) == order
    assert "flagfile" not in text and "dbp_tf" not in text


def test_a_missing_flag_is_asked_for_in_one_sentence(values, capsys):
    for name in ("short", "long"):
        text = f"Folder of the {name} exposures. More of it."
        cli.define(values, cli.DEFINE_path, name, None, text, required=True)
    assert cli.run(lambda: pytest.fail("main ran"), values, ["script"]) == 2
    assert capsys.readouterr().err == (
        "error: --short (Folder of the short exposures) and --long (Folder of the long exposures) "
        "are missing: give them; --help tells more\n"
    )


@pytest.mark.parametrize("twice", [["--number=1", "--number=1"], ["--number=1", "--number", "2"]])
def test_a_flag_given_twice_is_refused(values, capsys, twice):
    assert cli.run(lambda: pytest.fail("main ran"), values, ["script", *twice]) == 2
    assert capsys.readouterr().err == "error: --number is given 2 times: give it once\n"


def test_a_flag_that_takes_several_may_be_repeated(values):
    flags.DEFINE_multi_string("word", [], "Words.", flag_values=values)
    flags.DEFINE_list("list", [], "Words.", flag_values=values)
    command = ["script", "--word=a", "--word=b", "--list=c,d"]
    assert cli.run(lambda: len(values.word + values.list), values, command) == 4


@pytest.mark.parametrize(
    ("given", "dark", "flat"),
    [
        ("--dark a b --flat c d --out x", ["a", "b"], ["c", "d"]),
        ("--out x --dark=a b --dark c", ["a", "b", "c"], None),
        ("--dark a,b.dng --number=1 --out=x", ["a,b.dng"], None),
        ("-dark ~/a* --flat=b --out x", ["~/a*"], ["b"]),
    ],
)
def test_words_belong_to_the_flag_before_them(values, given, dark, flat):
    for name in ("dark", "flat"):
        cli.define(values, cli.DEFINE_words, name, None, "Files.")
    cli.define(values, cli.DEFINE_path, "out", None, "A path.")
    assert cli.run(lambda: None, values, ["script", *given.split()]) == 0
    assert (values.dark, values.flat, values.out) == (dark, flat, pathlib.Path("x"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--dark --flat a", "--dark: no word follows it"),
        ("--dark a --flat", "--flat: no word follows it"),
        ("a --dark b", "'a' is not a flag"),
        ("--dark b --number=1 a", "'a' is not a flag"),
        ("--flat a", "--dark is missing (Files): give it"),
    ],
)
def test_words_without_a_flag_and_flags_without_words_are_refused(values, capsys, given, said):
    cli.define(values, cli.DEFINE_words, "dark", None, "Files.", required=True)
    cli.define(values, cli.DEFINE_words, "flat", None, "Files.")
    assert cli.run(lambda: pytest.fail("main ran"), values, ["script", *given.split()]) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("given", "got"),
    [("~", ""), ("~/a [1]*", "a [1]*"), ("/a/~", None), ("a~b", None), ("\udcff\n", None)],
)
def test_paths_know_the_home_folder_and_are_taken_as_they_are(monkeypatch, values, given, got):
    monkeypatch.setenv("HOME", "/home/someone")
    cli.define(values, cli.DEFINE_path, "out", None, "A path.")
    wanted = pathlib.Path(given if got is None else os.path.join("/home/someone", got))
    assert cli.run(lambda: values.out == wanted, values, ["script", "--out", given]) == 1


@pytest.mark.parametrize(
    ("must_be", "given", "said"),
    [
        ("folder", "nowhere", "there is no such folder"),
        ("file", ".", "there is no such file"),
        ("folder", "a" * 300, "the name is too long"),
        (None, "--number=2", "a path is missing"),
        (None, "", "--out is missing (A path): give it"),
    ],
)
def test_paths_that_cannot_be_are_refused(values, capsys, must_be, given, said):
    cli.define(values, cli.DEFINE_path, "out", None, "A path.", must_be=must_be, required=True)
    assert cli.run(lambda: pytest.fail("main ran"), values, ["script", "--out", given]) == 2
    assert said in capsys.readouterr().err


def test_without_a_home_folder_the_tilde_is_refused(monkeypatch, values, capsys):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    cli.define(values, cli.DEFINE_path, "out", None, "A path.")
    assert cli.run(lambda: pytest.fail("main ran"), values, ["script", "--out=~/a"]) == 2
    assert "home folder" in capsys.readouterr().err


FAKE_TENSORFLOW = """
import os
from types import SimpleNamespace as Bag
os.write(2, b'I0000 00:00:1.2 3 cudart_stub.cc:31] Could not find cuda drivers\\n')
os.write(2, b'E0000 00:00:1.2 3 cuda_fft.cc:485] Unable to register cuFFT factory\\n')
os.write(2, b'F0000 compiled to use AVX instructions\\n')
{last}
config = Bag(list_physical_devices=lambda kind: [])
"""


@pytest.mark.parametrize(("level", "seen"), [(None, False), ("3", False), ("2", True), ("0", True)])
def test_tensorflow_says_what_the_log_level_asks_for(tmp_path, monkeypatch, capfd, level, seen):
    (tmp_path / "tensorflow.py").write_text(FAKE_TENSORFLOW.format(last=""))
    monkeypatch.syspath_prepend(tmp_path)
    # Put in first, so that whatever was there comes back after the test.
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    del sys.modules["tensorflow"]
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", str(level))
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    assert environment.import_tensorflow().__file__ == str(tmp_path / "tensorflow.py")
    sys.stderr.write("after")
    out, err = capfd.readouterr()
    assert out.startswith("Computing on the CPU")
    assert ("cudart" in err) == ("cuFFT" in err) == seen
    assert "AVX" in err and err.endswith("after")


OPTIONAL = """
class Bag:
    def __init__(self, **content):
        self.__dict__.update(content)
found = []
for name in ("matplotlib", "sklearn"):
    try:
        found.append(__import__(name).__file__)
    except ImportError:
        found.append(None)
config = Bag(list_physical_devices=lambda kind: [])
"""


@pytest.mark.parametrize("imported", [False, True])
def test_what_keras_imports_besides_is_left_out_and_can_be_imported_later(
    tmp_path, monkeypatch, imported
):
    (tmp_path / "tensorflow.py").write_text(OPTIONAL)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("tensorflow", "matplotlib", "sklearn"):
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
    paths = [tmp_path / f"{name}.py" for name in ("matplotlib", "sklearn")]
    for path in paths:
        path.write_text("")
        if imported:
            importlib.import_module(path.stem)
    wanted = [*map(str, paths)] if imported else [None, None]
    assert environment.import_tensorflow().found == wanted
    for path in paths:
        assert importlib.import_module(path.stem).__file__ == str(path)


def test_a_crash_of_tensorflow_keeps_its_last_words(tmp_path):
    (tmp_path / "tensorflow.py").write_text(FAKE_TENSORFLOW.format(last="os.abort()"))
    script = "from dbp_tf import environment; environment.import_tensorflow()"
    there = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": there},
    )
    assert done.returncode < 0 and done.stderr.startswith("F0000 compiled to use AVX")


@pytest.mark.parametrize(
    ("gpus", "all_gpus", "said"),
    [
        (1, False, "Computing on the GPU: Card 0."),
        (2, False, "Computing on the first of 2 GPUs: Card 0."),
        (2, True, "Computing on the GPU: Card 0, Card 1."),
    ],
)
def test_the_gpu_is_named(monkeypatch, capsys, gpus, all_gpus, said):
    experimental = SimpleNamespace(
        set_memory_growth=lambda gpu, grows: None,
        get_device_details=lambda gpu: {"device_name": gpu},
    )
    config = SimpleNamespace(
        list_physical_devices=lambda kind: [f"Card {number}" for number in range(gpus)],
        experimental=experimental,
    )
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    environment.import_tensorflow(all_gpus)
    assert capsys.readouterr().out == said + "\n"


def test_a_plot_backend_that_exists_is_left_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib", raising=False)
    for backend, stays in (
        ("agg", True),
        ("QtAgg", True),
        ("nonsense", False),
        ("module://json.decoder", True),
        ("module://of_a_notebook.inline", False),
    ):
        monkeypatch.setenv("MPLBACKEND", backend)
        environment.prepare()
        assert ("MPLBACKEND" in os.environ) == stays


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


def test_a_log_is_told_how_far_a_loop_is_every_ten_seconds(monkeypatch):
    now, out = [100.0], io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stdout", out)
    progress.say("begun")
    for _ in progress.counted(range(6), "Report: {} bursts looked through"):
        now[0] += 4
    assert out.getvalue() == "begun\nReport: 3 of 6 bursts looked through; 12 s left\n"


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


def test_nobody_to_read_is_no_success():
    script = "from dbp_tf import cli; from absl.flags import FlagValues; input(); "
    script += "raise SystemExit(cli.run(lambda: print('said'), FlagValues(), ['script']))"
    # Isolated (-I) from PYTHONUNBUFFERED, with which nothing is left for the end.
    command = [sys.executable, "-I", "-c", f"import sys; sys.path = {sys.path}; {script}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(timeout=60) == cli.EXIT_BAD_INPUT
        assert process.stderr.read() == b""
