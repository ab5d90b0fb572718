"""What of the transparent proxy's command line reaches nft."""

from argparse import ArgumentTypeError

import pytest

from napt_lab.servers.proxy.transparent import Interception


def test_the_rule():
    rules = Interception.parse("lan0:80").ruleset(8080)
    assert 'iifname "lan0" tcp dport 80 redirect to :8080\n' in rules


@pytest.mark.parametrize(
    "text", ["lan0", ":80", "lan0:", "lan0:0", "lan0:65536", "lan0:http", 'l"; flush ruleset:80',
             "a-name-of-sixteen:80", "lan0:80\n", "lan0:\u0668\u0660"]
)  # fmt: skip
def test_what_is_no_interface_and_port(text):
    with pytest.raises(ArgumentTypeError, match="is not INTERFACE:PORT"):
        Interception.parse(text)
