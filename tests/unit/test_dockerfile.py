"""Dockerfiles as text: lines, words, instructions and stages, by docker's rules and with docker's errors."""

from __future__ import annotations

import random
import re

import pytest

from minidock.build import lines, stages, words
from minidock.build.instructions import Instruction
from minidock.wire.errors import InvalidArgument


def texts(data: str) -> list[str]:
    return [line.text for line in lines.read(data.encode()).lines]


def steps(data: str) -> tuple[Instruction, ...]:
    return stages.load(b"FROM a\n" + data.encode()).stages[0].steps


# Lines


def test_comments_blank_lines_and_continuations() -> None:
    data = "# c\n\n  FROM a\nRUN one \\\n  # inside\n\n  two \\  \n  three\r\n\tENV A=1\\\\\nUSER x"
    assert texts(data) == ["FROM a", "RUN one   two   three", "ENV A=1\\\\", "USER x"]


def test_line_numbers_are_those_of_the_file() -> None:
    found = lines.read(b"\n# c\nFROM a\nRUN x \\\n y\nRUN z\n")
    assert [line.number for line in found.lines] == [3, 4, 6]


def test_the_escape_directive_counts_at_the_very_top_only() -> None:
    found = lines.read(b"# syntax=docker/dockerfile:1\n# ESCAPE = `\nRUN a`\n b \\\n")
    assert found.escape == "`" and [line.text for line in found.lines] == ["RUN a b \\"]
    assert lines.read(b"# a comment\n# escape=`\nRUN a\n").escape == "\\"
    assert lines.read(b"FROM a\n# escape=`\n").escape == "\\"


@pytest.mark.parametrize(
    ("data", "words_of_it"),
    [
        (b"# escape=x\nFROM a", "line 1: invalid escape token 'x'"),
        (b"# escape=`\n# escape=`\nFROM a", "line 2: only one escape parser directive"),
        (b"FROM \xff", "not UTF-8"),
        (b"FROM a\0", "NUL"),
        (b"FROM a\nRUN <<EOF\nx\n", "line 2: unterminated heredoc"),
    ],
)
def test_what_is_no_text_of_a_dockerfile(data: bytes, words_of_it: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(words_of_it)):
        lines.read(data)


def test_a_byte_order_mark_is_no_part_of_the_first_word() -> None:
    assert texts("\ufeffFROM a") == ["FROM a"]


def test_heredocs() -> None:
    data = "RUN cat <<A <<-'B C' > /x\none $X\nA\n\ttwo\n\tB C\nCOPY <<\"E\" /y\n# kept\n\nE\n"
    data += "RUN echo '<<N' a<<N <<<N 1<2\n"
    run, copy, none = lines.read(data.encode()).lines
    assert [(d.name, d.content, d.expand) for d in run.heredocs] == [("A", "one $X\n", True), ("B C", "two\n", False)]
    assert [(d.mark, d.content, d.expand) for d in copy.heredocs] == [('<<"E"', "# kept\n\n", False)]
    assert not none.heredocs


def test_an_apostrophe_in_a_run_is_the_shells_business() -> None:
    assert texts("FROM a\nRUN echo it's <<fine") == ["FROM a", "RUN echo it's <<fine"]


# Words

VALUES = {"A": "1", "EMPTY": "", "B": "two words", "N_1": "n"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A", "1"),
        ("${A}x$A", "1x1"),
        ("$Ax", ""),
        ("$N_1.", "n."),
        ("$nosuch", ""),
        ("'$A'", "$A"),
        ('"$A"', "1"),
        ("\\$A", "$A"),
        ('"\\$A \\n"', "$A \\n"),
        ("a\\ b", "a b"),
        ("$", "$"),
        ("$,", "$,"),
        ("${A:-d}", "1"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NO:-d}", "d"),
        ("${NO-d}", "d"),
        ("${A:+d}", "d"),
        ("${EMPTY:+d}", ""),
        ("${EMPTY+d}", "d"),
        ("${NO:+d}", ""),
        ("${NO:-${A}$B}", "1two words"),
        ("${NO:-'a}b'}", "a}b"),
        ("${A:?why}", "1"),
        ("a'b\"c'\"d'e\"", "ab\"cd'e"),
    ],
)
def test_substitution(text: str, value: str) -> None:
    assert words.expand(text, VALUES) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NO:?it is missing}", "NO: it is missing"),
        ("${EMPTY:?}", "EMPTY: not allowed to be unset"),
        ("${A", "unsupported modifier"),
        ("${A:-x", "missing '}'"),
        ("${}", "bad substitution"),
        ("${A/x/y}", "unsupported modifier (/)"),
        ("'a", "matching single-quote"),
        ('"a', "matching double-quote"),
        ("${A:-" * 50 + "}" * 50, "nested too deeply"),
    ],
)
def test_a_wrong_substitution_is_an_error(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        words.expand(text, VALUES)


def test_words_are_split_outside_of_quotes() -> None:
    assert words.split('a \'b c\'\t"d \'e" f\\ g h="i j"') == ["a", "'b c'", '"d \'e"', "f\\ g", 'h="i j"']
    assert words.expand_all("$B '$B'", VALUES) == ["two", "words", "$B"]
    assert words.expand('C:`"x`" \\d', VALUES, "`") == 'C:"x" \\d'


def test_a_heredocs_text_keeps_its_quotes() -> None:
    assert words.expand_text('it\'s "$A" \\$A\n', VALUES) == 'it\'s "1" $A\n'


# Instructions


def test_flags_forms_and_names() -> None:
    copy, run, shell, volume = steps(
        'copy --from=b --chown=1:2 ["a b", "/c"]\nRUN ["x", "$y"]\nSHELL ["/bin/ash", "-c"]\nVOLUME /a /b'
    )
    assert (copy.name, copy.flags, copy.words) == ("COPY", {"from": "b", "chown": "1:2"}, ("a b", "/c"))
    assert run.is_exec and run.words == ("x", "$y") and run.source == 'RUN ["x", "$y"]'
    assert shell.words == ("/bin/ash", "-c") and volume.words == ("/a", "/b")
    (cmd,) = steps("CMD [not json]")
    assert not cmd.is_exec and cmd.words == ("[not json]",)
    env, old = steps("ENV A=1 B=\"x y\" C='$z'\nENV D e  f")
    assert env.words == ("A", "1", "B", '"x y"', "C", "'$z'") and old.words == ("D", "e  f")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("RUM x", "line 2: unknown instruction: RUM; hint: did you mean RUN?"),
        ("RUN", "line 2: RUN requires at least one argument"),
        ("RUN --mount=type=cache,target=/x y", "the --mount option of RUN requires BuildKit"),
        ("COPY --form=a b c", "unknown flag: --form"),
        ("COPY --from= b c", "missing a value on flag: from"),
        ("COPY --from=a --from=b c d", "duplicate flag specified: from"),
        ("COPY a", "COPY requires at least two arguments"),
        ("ENV A", "must be of the form: name=value"),
        ("ENV A=1 B", "can't find = in 'B'"),
        ("LABEL =x", "names can not be blank"),
        ("SHELL /bin/sh -c", "SHELL requires the arguments to be in JSON form"),
        ('CMD ["a", 1]', "arrays must be comprised of strings only"),
        ("ONBUILD ONBUILD RUN x", "chaining ONBUILD"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD NOSUCH x", "unknown instruction: NOSUCH"),
        ("HEALTHCHECK curl x", "unknown type 'curl' in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK CMD", "missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK NONE x", "takes no arguments"),
        ("ARG =x", "ARG names can not be blank"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a AS 1b", "invalid name for build stage"),
        ("FROM a AS b\nFROM c as B", "line 3: duplicate name b"),
        ("ENV A='x", "matching single-quote"),
    ],
)
def test_an_error_names_its_line_and_what_is_wrong(data: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)) as caught:
        steps(data)
    assert str(caught.value).startswith("dockerfile parse error on line ")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be empty"),
        (b"# only a comment", "cannot be empty"),
        (b"ARG x", "no instructions"),
        (b"RUN x", "no build stage"),
    ],
)
def test_a_dockerfile_begins_with_from(data: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        stages.load(data)


def test_stages_targets_and_labels() -> None:
    found = stages.load(b"ARG V\nFROM a:$V AS Base\nRUN x\nFROM base AS two\nRUN y\nFROM scratch\n")
    assert [stage.name for stage in found.stages] == ["base", "two", ""] and found.count == 6
    assert found.up_to("TWO").count == 5 and found.up_to("0").count == 3 and found.find("2") == 2
    with pytest.raises(InvalidArgument, match="failed to reach build target three.*base, two"):
        found.up_to("three")
    (label,) = found.with_labels({"b": "it's $x", "a": "1"}).stages[-1].steps
    assert label.source == "LABEL a=1 b=it's $x"
    assert [words.expand(word, {"x": "no"}) for word in label.words] == ["a", "1", "b", "it's $x"]


def test_a_dockerfile_has_a_bound() -> None:
    with pytest.raises(InvalidArgument, match="larger than"):
        stages.load(b"#" * (1 << 23))


def test_no_text_makes_it_raise_anything_else() -> None:
    """Thousands of texts made of pieces that mean something."""
    pieces = ["FROM", "RUN", "COPY", "ENV", "ARG", "ONBUILD", "HEALTHCHECK", "CMD", "LABEL", "AS", "a", "0", "E", "<<E"]
    pieces += [" ", " ", "\n", "\t", "\\", "\\\n", "'", '"', "${", "}", ":-", "--from=", "--", "[", "]", "=", "#", "$"]
    chance = random.Random(6)
    for _ in range(3000):
        text = "FROM a\n" + "".join(chance.choice(pieces) for _ in range(chance.randrange(12)))
        try:
            found = stages.load(text.encode())
            for step in found.stages[0].steps:
                for word in step.words:
                    words.expand(word, {"a": "1"})
        except InvalidArgument:
            pass
