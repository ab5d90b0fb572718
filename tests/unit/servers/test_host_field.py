"""Which Host fields a request may have."""

import pytest

from napt_lab.servers.shared.host_field import host_fault


@pytest.mark.parametrize(
    "value",
    ["", "x", "a.test", "a.test:", "a.test:80", "151.101.1.69:8080", "[2001:db8::1]:80", "a%2e_b"],
)
def test_a_host_and_a_port(value):
    assert host_fault([value], is_required=True) is None


@pytest.mark.parametrize(
    "value",
    ["a b", "a,\tb", "http://a.test", "a.test/", "u@a.test", "a:80:80", "a:x", "[::1", "%2", "é"],
)
def test_what_is_no_host_is_shown(value):
    fault = host_fault([value], is_required=False)
    assert fault == f"the Host header field is not valid: {value!r}"


def test_there_is_one_field_and_only_http_1_0_may_have_none():
    assert host_fault([], is_required=False) is None
    assert host_fault([], is_required=True) == "no Host header fields"
    assert host_fault(["x", "x"], is_required=False) == "2 Host header fields"
