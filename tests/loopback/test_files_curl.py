"""The file server as the real curl sees it."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess

import pytest

from tests.loopback.running import curl, names_in, running

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with running(
        "napt_lab.servers.files", "--folder", str(tmp_path_factory.mktemp("files"))
    ) as server:
        yield server


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def stored(server, source, request):
    """A file on the server, of a name of the test's own."""
    url = f"{server.url}/{request.node.name.translate(str.maketrans('[]/%', '____'))}"
    assert curl("-T", str(source), url).status == 201
    return url


def test_upload_and_download(server, source):
    answer = curl("-T", str(source), f"{server.url}/")  # curl appends the file's name
    assert answer.status == 201
    assert answer.json["sha256"] == SHA256
    etag = answer.headers["etag"]
    assert answer.headers["location"] == "/source.bin"
    answer = curl(f"{server.url}/source.bin")
    assert answer.status == 200
    assert answer.body == CONTENT
    assert answer.headers["etag"] == etag
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_upload_of_unknown_length(server):
    answer = curl("-T", "-", f"{server.url}/chunked", stdin=CONTENT)
    assert answer.status == 201
    assert curl(f"{server.url}/chunked").body == CONTENT


def test_an_empty_file(server, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert curl("-T", str(tmp_path / "empty"), f"{server.url}/").status == 201
    answer = curl(f"{server.url}/empty")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def test_head_says_what_get_would(stored):
    head, get = curl("-I", stored), curl(stored)
    assert (head.status, head.body) == (200, b"")
    for field in ("etag", "content-length", "last-modified", "accept-ranges"):
        assert head.headers[field] == get.headers[field]


def test_a_range(stored):
    answer = curl("-r", "1000-1999", stored)
    assert answer.status == 206
    assert answer.body == CONTENT[1000:2000]
    assert answer.headers["content-range"] == f"bytes 1000-1999/{len(CONTENT)}"
    assert curl("-r", "-5", stored).body == CONTENT[-5:]


def test_a_range_outside(stored):
    answer = curl("-r", "300000-", stored)
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"


def test_ranges_that_are_ignored(stored):
    several = curl("-r", "0-1,5-6", stored)
    assert (several.status, several.body) == (200, CONTENT)
    unit = curl("-H", "Range: lines=1-2", stored)  # RFC 9110, section 14.2: must ignore it
    assert (unit.status, unit.body) == (200, CONTENT)
    head = curl("-I", "-r", "0-9", stored)  # the same: ranges are defined for GET only
    assert (head.status, head.headers["content-length"]) == (200, str(len(CONTENT)))


def test_a_range_of_the_version_that_was_seen(stored, tmp_path):
    etag = curl("-I", stored).headers["etag"]
    seen = curl("-r", "0-9", "-H", f"If-Range: {etag}", stored)
    assert (seen.status, seen.body) == (206, CONTENT[:10])
    other = curl("-r", "0-9", "-H", 'If-Range: "other"', stored)
    assert (other.status, other.body) == (200, CONTENT)
    dated = curl("-r", "0-9", "-H", "If-Range: Thu, 01 Jan 2037 00:00:00 GMT", stored)
    assert dated.status == 200
    (tmp_path / "other").write_bytes(CONTENT[::-1])  # another version of the same size
    replaced = curl("-T", str(tmp_path / "other"), "-H", f"If-Match: {etag}", stored)
    assert replaced.status == 200
    other = curl("-r", "0-9", "-H", f"If-Range: {etag}", stored)
    assert (other.status, other.body) == (200, CONTENT[::-1])
    assert curl("-r", "0-9", "-H", f"If-Match: {etag}", stored).status == 412


def test_a_download_is_resumed(stored, tmp_path):
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:123_456])
    subprocess.run(["curl", "-sS", "-C", "-", "-o", str(part), stored], check=True, timeout=20)
    assert part.read_bytes() == CONTENT


def test_not_sent_again_when_known(stored):
    etag = curl("-I", stored).headers["etag"]
    answer = curl("-H", f"If-None-Match: {etag}", stored)
    assert (answer.status, answer.body) == (304, b"")
    assert curl("-H", 'If-None-Match: "other"', stored).status == 200
    date = curl("-I", stored).headers["last-modified"]
    assert curl("-H", f"If-Modified-Since: {date}", stored).status == 304
    assert curl("-H", "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", stored).status == 412
    assert curl("-H", 'If-Match: "other"', stored).status == 412


def test_no_overwriting_without_asking(server, stored, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"other")
    refused = curl("-T", str(other), "-H", "Expect: 100-continue", stored)
    assert refused.status == 409
    assert refused.interim == []  # refused before the body was asked for
    assert curl("-T", str(other), "-H", "If-None-Match: *", stored).status == 412
    assert curl("-T", str(other), "-H", 'If-Match: "other"', stored).status == 412
    assert curl(stored).body == CONTENT
    etag = curl("-I", stored).headers["etag"]
    replaced = curl(
        "-T", str(other), "-H", f"If-Match: {etag}", "-H", "Expect: 100-continue", stored
    )
    assert (replaced.status, replaced.interim) == (200, [100])
    assert curl(stored).body == b"other"
    assert curl("-T", str(other), "-H", "If-Match: *", f"{server.url}/none").status == 412


def test_a_form(server, source):
    form = ("-F", f"file=@{source};filename=from a form.bin")
    answer = curl(*form, f"{server.url}/")
    assert answer.status == 201
    assert answer.json["files"][0]["sha256"] == SHA256
    assert curl(f"{server.url}/from%20a%20form.bin").body == CONTENT
    assert curl(*form, f"{server.url}/").status == 409
    assert curl("-F", "replace=on", *form, f"{server.url}/").status == 201
    browser = curl("-H", "Accept: text/html", "-F", "replace=on", *form, f"{server.url}/")
    assert (browser.status, browser.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    ("body", "boundary"),
    [
        (b"--x\r\n", "x"),
        (b"--x\r\nContent-Disposition: form-data; name=f; filename=cut\r\n\r\nhalf", "x"),
        (b"--x\r\nContent-Disposition: form-data; name=f; filename=cut\r\n\r\nhalf\r\n--y--", "x"),
        (b"nothing", "x"),
        (b"", "x"),
        (b"--x\r\n" + b"A: b\r\n" * 1000, "x"),
        (b"--x\r\nContent-Disposition: form-data; name=f; filename=../up\r\n\r\nx\r\n--x--", "x"),
        (b"--x\r\nContent-Disposition: form-data; name=f; filename=.up\r\n\r\nx\r\n--x--", "x"),
        (b"--x\r\nContent-Disposition: form-data; name=f\r\n\r\nx\r\n--x--", "x"),
        (b"--x\r\nContent-Disposition: form-data; name=f; filename*=x\r\n\r\nx\r\n--x--", "x"),
        (b"--x--", "y" * 100),
        (b"--x\r\n\r\nno Content-Disposition\r\n--x--", "x"),
        (
            b"--x\r\nContent-Disposition: form-data; name=f; filename=one\r\n"
            b"Content-Disposition: form-data; name=f; filename=two\r\n\r\nx\r\n--x--",
            "x",
        ),
        (b"--x\r\nContent-Disposition: form-data; name=f; filename=a b\r\n\r\nx\r\n--x--", "x"),
        (b'--x\r\nContent-Disposition: form-data; name=f; filename=""\r\n\r\nx\r\n--x--', "x"),
    ],
)
def test_a_bad_form_stores_nothing(server, body, boundary):
    before = curl(f"{server.url}/?format=json").json["files"]
    media_type = f"Content-Type: multipart/form-data; boundary={boundary}"
    answer = curl("-H", media_type, "--data-binary", "@-", f"{server.url}/", stdin=body)
    assert answer.status == 400, answer
    assert curl(f"{server.url}/?format=json").json["files"] == before


@pytest.mark.parametrize("name", ["a;b;c; d.bin", 'say "hi";.bin', "a=b; filename=c;;.bin"])
def test_a_file_of_a_form_keeps_its_name(server, source, name):
    quoted = name.replace('"', '\\"')
    answer = curl("-F", f'file=@{source};filename="{quoted}"', f"{server.url}/")
    assert answer.status == 201
    assert [file["name"] for file in answer.json["files"]] == [name]
    assert curl(server.url + answer.json["files"][0]["path"]).body == CONTENT


@pytest.mark.parametrize(
    ("second", "status", "why"),
    [
        ("taken", 409, "taken: there is a file of this name already"),
        (".hidden", 400, "a name does not begin with a dot"),
        ("new", 400, "the form has two files of the name new"),
    ],
    ids=["taken", "hidden", "twice"],
)
def test_a_form_that_is_refused_at_a_later_file_stores_none(tmp_path, second, status, why):
    folder, source = tmp_path / "served", tmp_path / "source"
    source.write_bytes(CONTENT)
    folder.mkdir()
    (folder / "taken").write_bytes(b"taken")

    def post(url, *names):
        form = [word for name in names for word in ("-F", f"file=@{source};filename={name}")]
        return curl(*form, f"{url}/")

    with running("napt_lab.servers.files", "--folder", str(folder)) as served:
        answer = post(served.url, "new", second)
        assert answer.status == status
        assert why in answer.json["error"]
        assert names_in(folder) == ["taken"]
        assert (
            post(served.url, "new", "newer").status == 201
        )  # the control: such a form without that file
        assert names_in(folder) == ["new", "newer", "taken"]


def test_the_list_for_programs(server, stored):
    answer = curl(f"{server.url}/?format=json")
    assert answer.headers["content-type"].startswith("application/json")
    name = stored.rpartition("/")[2]
    (entry,) = [file for file in answer.json["files"] if file["name"] == name]
    assert (entry["size"], entry["path"]) == (len(CONTENT), f"/{name}")
    assert answer.json["used"] == sum(file["size"] for file in answer.json["files"])
    assert curl(f"{server.url}/").headers["content-type"].startswith("application/json")


def test_the_list_for_people(server, stored):
    answer = curl("-H", "Accept: text/html,*/*;q=0.8", f"{server.url}/")
    assert answer.headers["content-type"].startswith("text/html")
    assert stored.rpartition("/")[2].encode() in answer.body
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"http://" not in answer.body
    assert b"https://" not in answer.body


def test_a_name_that_looks_like_html_stays_a_name(server, source):
    name = "<img src=x onerror=alert(1)>&\"'.txt"
    url = f"{server.url}/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%26%22%27.txt"
    assert curl("-T", str(source), url).json["name"] == name
    page = curl("-H", "Accept: text/html", f"{server.url}/").body
    assert b"<img" not in page
    assert b"&lt;img src=x onerror=alert(1)&gt;&amp;&#34;&#39;.txt" in page


@pytest.mark.parametrize(
    "path",
    ["..", "../../etc/passwd", "%2e%2e%2fetc%2fpasswd", "a/b", "a%5Cb", ".hidden", "a%00b",
     "%ff", "%zz", "a%0ab", "a" * 256],
)  # fmt: skip
def test_bad_names(server, source, path):
    assert curl(f"{server.url}/{path}").status == 400
    # Not -T: with it, curl itself replaces a last ".." by the source's name.
    put = ("-X", "PUT", "--data-binary", f"@{source}", "-H", "Expect: 100-continue")
    answer = curl(*put, f"{server.url}/{path}")
    assert (answer.status, answer.interim) == (400, [])
    assert answer.json["error"]


def test_utf8_as_it_is(server, source):
    assert curl("-T", str(source), f"{server.url}/wörter-%F0%9F%90%B1").status == 201
    assert curl(f"{server.url}/w%C3%B6rter-🐱").body == CONTENT


def test_other_methods(server, stored):
    for method in ("DELETE", "OPTIONS", "PATCH", "POST"):
        answer = curl("-X", method, "-d", "x", stored)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, PUT")
    answer = curl("-X", "PUT", "-d", "x", f"{server.url}/")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert curl("-X", "POST", "-d", "x", f"{server.url}/").status == 415


def test_a_file_is_stored_as_it_was_sent(server, source):
    encoded = curl("-T", str(source), "-H", "Content-Encoding: gzip", f"{server.url}/gz")
    assert encoded.status == 415
    part = curl("-T", str(source), "-H", "Content-Range: bytes 0-9/20", f"{server.url}/part")
    assert part.status == 400


def test_no_other_site_may_write(server, source):
    def put(*headers):
        name = base64.urlsafe_b64encode(os.urandom(9)).decode()
        fields = [word for header in headers for word in ("-H", header)]
        return curl("-T", str(source), *fields, f"{server.url}/{name}").status

    assert put() == 201
    assert put("Sec-Fetch-Site: same-origin", f"Origin: {server.url}") == 201
    assert put(f"Origin: {server.url}") == 201
    assert put("Sec-Fetch-Site: cross-site", "Origin: http://evil.example") == 403
    assert put("Sec-Fetch-Site: same-site", f"Origin: {server.url}") == 403
    assert put("Origin: http://evil.example") == 403
    assert put("Origin: null") == put("Origin: http://[x") == 403
    form = ("-F", f"file=@{source};filename=evil", "-H", "Origin: http://evil.example")
    assert curl(*form, f"{server.url}/").status == 403


def test_no_other_site_may_read(server, stored):
    for url in (stored, f"{server.url}/", f"{server.url}/none"):
        answer = curl("-H", "Origin: http://evil.example", url)
        assert not [field for field in answer.headers if field.startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_an_old_client_without_a_host_field(server, stored):
    answer = curl("--http1.0", "-H", "Host:", stored)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert curl("--http1.0", "-H", "Host:", "-H", "Accept: text/html", server.url).status == 200


def test_through_a_proxy_that_passes_the_absolute_form(server, stored):
    name = stored.rpartition("/")[2]
    answer = curl("--proxy", server.url, f"http://203.0.113.5/{name}")
    assert (answer.status, answer.body) == (200, CONTENT)


def test_each_request_is_told_with_the_endpoint_that_the_server_saw(server, stored):
    done = subprocess.run(
        ["curl", "-sS", "-o", "/dev/null", "-w", "%{local_ip}:%{local_port}", f"{stored}?told"],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    path = "/" + stored.rpartition("/")[2]
    event = server.event("request", path=f"{path}?told")
    assert event["peer"] == done.stdout
    assert (event["method"], event["status"], event["bytes"]) == ("GET", 200, len(CONTENT))
    upload = server.event("request", path=path, method="PUT")
    assert (upload["status"], upload["bytes"]) == (201, len(CONTENT))


def test_read_only(tmp_path, source):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "here").write_bytes(b"here")
    with running(
        "napt_lab.servers.files", "--folder", str(tmp_path / "served"), "--read-only"
    ) as server:
        put = curl("-T", str(source), f"{server.url}/a")
        assert (put.status, put.headers["allow"]) == (405, "GET, HEAD")
        assert curl("-F", f"file=@{source}", f"{server.url}/").status == 405
        answer = curl(f"{server.url}/here")
        assert (answer.status, answer.body) == (200, b"here")
        assert b"<form" not in curl("-H", "Accept: text/html", server.url).body


def test_bounds(tmp_path, source):
    flags = ("--max-file", "300000", "--max-total", "600100", "--max-files", "3")
    with running("napt_lab.servers.files", "--folder", str(tmp_path / "served"), *flags) as server:
        (tmp_path / "large").write_bytes(CONTENT + b"x")
        large = str(tmp_path / "large")
        answer = curl("-T", large, "-H", "Expect: 100-continue", f"{server.url}/")
        assert (answer.status, answer.interim) == (413, [])
        assert curl("-T", "-", f"{server.url}/large", stdin=CONTENT + b"x").status == 413
        assert curl("-F", f"file=@{large}", f"{server.url}/").status == 413
        assert curl("-T", str(source), f"{server.url}/a").status == 201
        assert curl("-T", str(source), f"{server.url}/b").status == 201
        assert curl("-T", str(source), f"{server.url}/c").status == 507
        assert curl("-T", "-", f"{server.url}/c", stdin=b"x" * 101).status == 507
        assert curl("-T", "-", f"{server.url}/c", stdin=b"x" * 100).status == 201
        assert curl("-T", "-", f"{server.url}/d", stdin=b"").status == 507
        assert names_in(tmp_path / "served") == ["a", "b", "c"]


def test_header_bounds(server):
    assert curl("-H", f"X-Long: {'x' * 10_000}", server.url).status == 400
    many = [word for number in range(100) for word in ("-H", f"X-{number}: y")]
    assert curl(*many, server.url).status == 400
    assert curl(f"{server.url}/?{'x' * 10_000}").status == 400
