"""Whose word is taken for where a request comes from."""

from ipaddress import ip_network

import pytest

from service.settings import WrongSettings, read_settings
from service.web.proxies import Proxies

OURS = Proxies([ip_network("10.0.0.0/8"), ip_network("127.0.0.1"), ip_network("fd00::/8")])


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        *((each, True) for each in ("10.1.2.3", "127.0.0.1", "fd00::1", "::ffff:10.1.2.3")),
        *((each, False) for each in ("127.0.0.2", "192.0.2.1", "2001:db8::1", "unknown", "", "10.0.0.1.evil.example")),
    ],
)
def test_the_named_networks_are_trusted_and_nobody_else(address, trusted):
    assert OURS.trust(address) is trusted
    assert Proxies([]).trust(address) is False


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 10.0.0.9", "203.0.113.7"),
        ("10.0.0.8, 10.0.0.9", "10.0.0.8"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("nonsense", "10.0.0.1"),
        ("203.0.113.7, nonsense", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
def test_the_last_address_that_is_no_proxy_of_ours_asked(header, client):
    assert OURS.client(header, "10.0.0.1") == client


def test_the_setting_takes_addresses_and_networks_and_says_what_it_does_not(monkeypatch):
    monkeypatch.setenv("STAGEWISE_TRUSTED_PROXIES", " 127.0.0.1, 172.16.5.4/12 ,fd00::/8,")
    assert [str(each) for each in read_settings().trusted_proxies] == ["127.0.0.1/32", "172.16.0.0/12", "fd00::/8"]
    monkeypatch.setenv("STAGEWISE_TRUSTED_PROXIES", "gateway")
    with pytest.raises(WrongSettings, match="STAGEWISE_TRUSTED_PROXIES: 'gateway' does not appear to be an IPv4"):
        read_settings()
