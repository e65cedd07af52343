"""Go templates of --format: what they print, and what they refuse by name. The texts are what docker prints."""

from __future__ import annotations

import pytest

from minidock.cli.gotemplate import Template, TemplateError

DATA = {
    "Name": "/web",
    "State": {"Running": True, "Pid": 12, "Health": None},
    "Config": {"Labels": {"b": "2", "a": "1"}, "Env": ["A=1", "B=<2>"], "Cmd": []},
    "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": None},
    "Size": 1.5,
    "Big": 1984399,
    "Label": lambda name: f"label {name}",
}


def render(template: str) -> str:
    return Template(template).render(DATA)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{.Name}}", "/web"),
        ("{{ .State.Pid }}/{{.State.Running}}", "12/true"),
        ("{{$.Name}}", "/web"),
        ("{{.Size}} {{.Big}}", "1.5 1984399"),
        ("{{.Config.Env}}", "[A=1 B=<2>]"),
        ("{{.Config.Labels}}", "map[a:1 b:2]"),
        ("{{.State.Health}}", "<no value>"),
        ("{{.Config.Labels.nosuch}}", "<no value>"),
        ('{{index .Config.Labels "a"}}|{{index .Config.Labels "nosuch"}}|', "1||"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ("{{index .Config.Env 1}}", "B=<2>"),
        ("{{json .Config.Env}}", '["A=1","B=\\u003c2\\u003e"]'),
        ("{{json .State}}", '{"Running":true,"Pid":12,"Health":null}'),
        ("{{.State | json}}", '{"Running":true,"Pid":12,"Health":null}'),
        ('{{.Label "x"}}', "label x"),
        ("{{len .Config.Env}} {{len .State.Health}}", "2 0"),
        ('{{join .Config.Env ","}} {{split "a-b" "-"}}', "A=1,B=<2> [a b]"),
        ('{{upper "ab"}}{{lower "AB"}}{{title "ab cd"}}', "ABabAb Cd"),
        ('{{pad "x" 1 2}}|{{truncate "abcdef" 3}}', " x  |abc"),
        ('{{"q\\t\\"\\x41"}}{{`raw\\n`}}', 'q\t"Araw\\n'),
        ("{{println 1 .Name}}", "1 /web\n"),
        ('{{print 1 2 "a" "b" 3}}', "1 2ab3"),
        ("{{true}}{{false}}{{nil}}{{-3}}", "truefalse<no value>-3"),
    ],
)
def test_values(template: str, text: str) -> None:
    assert render(template) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.Health}}well{{end}}", ""),
        ("{{if .Nosuch}}a{{else if .Name}}b{{else}}c{{end}}", "b"),
        ("{{if .Config.Cmd}}a{{else}}empty{{end}}", "empty"),
        ("{{with .State}}{{.Pid}} {{$.Name}}{{end}}", "12 /web"),
        ("{{with .Nosuch}}a{{else}}b{{end}}", "b"),
        ("{{with $x := .State}}{{$x.Pid}}{{end}}", "12"),
        ("{{range .Config.Env}}[{{.}}]{{end}}", "[A=1][B=<2>]"),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        ("{{range .Nosuch}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $e := .Config.Env}}{{if $i}}, {{end}}{{$e}}{{end}}", "A=1, B=<2>"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
        ("{{range $v := .Config.Labels}}{{$v}}{{end}}", "12"),
        ("{{$x := .Name}}{{$x}}{{$x = 3}}{{$x}}", "/web3"),
        ("{{and .Name .State.Pid}} {{and .Nosuch .State.Nosuch.More}}|{{or .Config.Cmd 7}}", None),
        ("{{if and .Name (gt .State.Pid 3)}}y{{end}}{{if not .Nosuch}}n{{end}}", "yn"),
        ("{{eq .State.Pid 12}} {{eq .Name 1 2}}", None),
        ('{{eq .Name "x" "/web"}}{{ne 1 2}}{{lt 1 2}}{{le 2 2}}{{gt 1 2}}{{ge "b" "a"}}', "truetruetruetruefalsetrue"),
        ("a  {{- 1 -}}  b", "a1b"),
        ("{{1 -}}  a  {{- 2 }} b {{3}}", "1a2 b 3"),
        ("a {{/* said nothing */}} b", "a  b"),
        ("a {{- /* trimmed */ -}} b", "ab"),
    ],
)
def test_control(template: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(TemplateError):
            render(template)
    else:
        assert render(template) == text


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ('"%s" .Name', "/web"),
        ('"%v|%v" .Config.Env true', "[A=1 B=<2>]|true"),
        ('"%-6s|%6s|" .Name .Name', "/web  |  /web|"),
        ('"%d %5d %-5d| %05d %+d" 7 7 7 7 7', "7     7 7    | 00007 +7"),
        ('"%x %X %x" 255 255 "az"', "ff FF 617a"),
        ('"%.2f %8.3f" .Size .Size', "1.50    1.500"),
        ('"%q" "a\\"b"', '"a\\"b"'),
        ('"%t %%" .State.Running', "true %"),
        ('"%s"', "%!s(MISSING)"),
        ('"a" 1', "a%!(EXTRA 1)"),
    ],
)
def test_printf(verb: str, text: str) -> None:
    assert render(f"{{{{printf {verb}}}}}") == text


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{.Nosuch}}", "Nosuch"),
        ("{{.State.Health.Status}}", "Status"),
        ("{{.Name.First}}", "First"),
        ("{{", "}}"),
        ("{{.Name}", "}}"),
        ("{{if .Name}}", "{{end}}"),
        ("{{end}}", "{{end}}"),
        ("{{else}}", "{{else}}"),
        ("{{.Name | }}", "missing"),
        ('{{("a"}}', "parenthesis"),
        ("{{nosuch .}}", "nosuch"),
        ("{{html .Name}}", "html"),
        ('{{template "x"}}', "template"),
        ('{{define "x"}}{{end}}', "define"),
        ("{{range .Config.Env}}{{break}}{{end}}", "break"),
        ("{{$x}}", "$x"),
        ("{{.Name 1}}", "no function"),
        ("{{json}}", "json"),
        ("{{index .Config.Env 9}}", "out of range"),
        ('{{lt 1 "a"}}', "lt"),
        ('{{printf "%d" "x"}}', "printf"),
        ("{{range .State.Pid.Nosuch}}{{end}}", "Nosuch"),
        ('{{"\\q"}}', "bad string"),
        ("{{.Name}} {{ & }}", "&"),
        ("{{if .Name extra}}{{end}}", "extra"),
    ],
)
def test_what_is_wrong_is_named(template: str, complaint: str) -> None:
    with pytest.raises(TemplateError) as raised:
        render(template)
    assert complaint in str(raised.value)


def test_a_bad_template_is_found_before_anything_is_rendered() -> None:
    with pytest.raises(TemplateError):
        Template("{{if false}}{{nosuch}}{{end}}")


def test_and_and_or_stop_early() -> None:
    assert render("{{or .Name (index .Config.Env 9)}}") == "/web"
    assert render("{{and .Config.Cmd (index .Config.Env 9)}}") == "[]"
