"""What a form calls its files: read whole, or an error, never skipped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.servers.files.form import BadForm, names_of_part

FILE = 'form-data; name="file"; filename='


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ('form-data; name="replace"', ("replace", None)),
        ("form-data; name=f; filename=plain.txt", ("f", "plain.txt")),
        (FILE + '"a;b;c; d.txt"', ("file", "a;b;c; d.txt")),
        (FILE + '"a=b; name=c"', ("file", "a=b; name=c")),
        (FILE + r'"say \"hi\" \\ there"', ("file", r'say "hi" \ there')),
        (FILE + '"say %22hi%22%0D%0A"', ("file", 'say "hi"\r\n')),
        (FILE + r'"C:\temp"', ("file", r"C:\temp")),
        (FILE + '"100%2e 100%"', ("file", "100%2e 100%")),
        (FILE + '"wörter 🐱"', ("file", "wörter 🐱")),
        (FILE + '""', ("file", "")),
        ('Form-Data ;Name="f";FILENAME="x";', ("f", "x")),
    ],
)
def test_what_is_read(field, names):
    assert names_of_part([field]) == names


@pytest.mark.parametrize(
    "field",
    [
        "", "form-data", "attachment; name=f; filename=x", "form-data; filename=x",
        "form-data; name", FILE, FILE + '"open', FILE + 'a b', FILE + '"a" b',
        FILE + '"a"; filename="b"', "form-data; name=f; filename*=UTF-8''x", FILE + '"a\\"',
        'form-data; name="f"; filename="a"b"', 'form-data; =x; name=f', "form-data; name=f;; x",
    ],
)  # fmt: skip
def test_what_cannot_be_read(field):
    with pytest.raises(BadForm):
        names_of_part([field])


@pytest.mark.parametrize("fields", [[], [FILE + "a", FILE + "b"], [FILE + "a"] * 2])
def test_a_part_has_one_line_that_names_it(fields):
    with pytest.raises(BadForm):
        names_of_part(fields)


@given(st.text())
def test_every_name_that_is_escaped_as_browsers_do_comes_back(name):
    escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%25")
    expected = name.replace("%", "%25")
    assert names_of_part([f'{FILE}"{escaped}"']) == ("file", expected)


@given(st.text('"\\;= %2f', max_size=60))
def test_a_hostile_field_takes_no_long_time(text):
    """Many backslashes: a pattern that reads them in two ways would take ages."""
    with pytest.raises(BadForm):
        names_of_part([f'{FILE}"{text}' + "\\\\" * 4000])
