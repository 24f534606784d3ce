"""What may be named as source, output or webhook: the known ways around such checks, and properties."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.daemon.settings import Urls
from stream_guard.daemon.urls import check_url
from stream_guard.errors import ConfigError

PUBLIC = "93.184.215.14"


def answers(*addresses: str) -> Callable[..., list[Any]]:
    """A resolver that knows every name."""
    return lambda host, port, type: [
        (socket.AF_INET6 if ":" in a else socket.AF_INET, type, 6, "", (a, port)) for a in addresses
    ]


def unknown(*_: object, **__: object) -> list[Any]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


ANYWHERE = Urls(hosts=("0.0.0.0/0", "::/0"))
"""As wide as hosts can be set: only what is never allowed is refused."""

BYPASSES = (
    "concat:rtmp://a.example.org/live/x|file:/etc/passwd",
    "subfile,,start,0,end,100,,:/etc/passwd",
    "subfile:/etc/passwd",
    "crypto:http://a.example.org/x",
    "crypto+http://a.example.org/x",
    "data:video/mp4;base64,AAAA",
    "async:http://a.example.org/x",
    "cache:http://a.example.org/x",
    "tee:http://a.example.org/x|/tmp/y",
    "hls+http://a.example.org/x.m3u8",
    "http+tcp://a.example.org/",
    "pipe:0",
    "fd:0",
    "unix:/run/docker.sock",
    "gopher://a.example.org/_x",
    "ftp://a.example.org/x",
    "tcp://a.example.org:25",
    "lavfi:testsrc",
    "x11grab::0",
    "",
    "http://",
    "http:///etc/passwd",
    "http:a.example.org/x",
    "//a.example.org/x",
    "live/x",
    "../etc/passwd",
    "http://a.example.org/x\n",
    "http://a.example.org/x y",
    "http://a.example.org/\tx",
    "http://a.example.org/\x00",
    "rtmp://a.example.org/live/x playpath=y tcUrl=rtmp://127.0.0.1/z",
    "http://127.0.0.1\\@a.example.org/",
    "http://a.example.org\\.127.0.0.1/",
    "http://a.example.org#@127.0.0.1/",
    "http://a.example.org/x#y",
    "http://a@b@a.example.org/",
    "http://a.example.org:80:81/",
    "http://a.example.org:0/",
    "http://a.example.org:65536/",
    "http://a.example.org:-1/",
    "http://a.example.org:8\N{ARABIC-INDIC DIGIT ZERO}/",
    "http://a.example.org:/x:y@/",
    "udp://a.example.org",
    "srt://a.example.org",
    "srt://a.example.org:9000?mode=listener",
    "srt://a.example.org:9000?mode=%6cistener",
    "srt://a.example.org:9000?latency=1&mode=rendezvous",
    "rtsp://a.example.org/x?listen",
    "http://a.example.org/x?listen=1",
    "http://a.example.org/../x",
    "http://a.example.org/live/%2e%2e/x",
    "http://a.example.org/live/..%2fx",
    "http://a.example.org/live%5c..%5cx",
    "http://a.example.org/x%0d%0aHost:b",
    "http://a.example.org/x%00",
    "http://a.example.org./",
    "http://.example.org/",
    "http://a..example.org/",
    "http://a%2eexample.org/",
    "http://①②⑦.0.0.1/",
    "http://a\N{IDEOGRAPHIC FULL STOP}example.org/",
    "http://\N{LATIN SMALL LETTER SHARP S}.example.org/",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://127.0.0.01/",
    "http://127.0.0.1./",
    "http://256.0.0.1/",
    "http://[::1%25lo]/",
    "http://[::1%lo]/",
    "http://[v1.fe80]/",
    "http://[::1/",
    "http://::1/",
    "http://[127.0.0.1]/",
    "http://0.0.0.0/",
    "http://0.1.2.3/",
    "http://[::]/",
    "http://169.254.169.254/latest/meta-data",
    "http://169.254.170.2/v2/credentials",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://255.255.255.255/",
    "http://a.example.org/{x}|y",
    "http://a.example.org/" + "x" * 5000,
)


@pytest.mark.parametrize("purpose", ["source", "output", "webhook"])
@pytest.mark.parametrize("url", BYPASSES)
def test_known_ways_around_are_refused_even_where_every_host_is_allowed(url: str, purpose: Any) -> None:
    with pytest.raises(ConfigError):
        check_url(url, ANYWHERE, purpose, answers(PUBLIC))


NOT_PUBLIC = (
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "::1",
    "fc00::1",
    "fd12::1",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2001:0:7f00:1::",
    "fe80::1%eth0",
)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    for hosts in ((), ("*.example.org",), ("*",)):
        with pytest.raises(ConfigError, match="address"):
            check_url("http://rebind.example.org/x", Urls(hosts=hosts), "source", answers(address))
        with pytest.raises(ConfigError, match="address"):
            check_url("http://rebind.example.org/x", Urls(hosts=hosts), "source", answers(PUBLIC, address))


@pytest.mark.parametrize("address", [a for a in NOT_PUBLIC if "%" not in a])
def test_a_private_address_is_refused_as_it_is(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(ConfigError, match="address"):
        check_url(f"rtmp://{host}/live/x", Urls(), "output", unknown)


@pytest.mark.parametrize(
    ("hosts", "url", "behind"),
    [
        ((), "rtmp://cam.example.org/live/x", PUBLIC),
        (("nginx-rtmp",), "rtmp://nginx-rtmp:1935/live/x", "172.18.0.3"),
        (("localhost",), "rtmp://LOCALHOST/live/x", "127.0.0.1"),
        (("*.example.org",), "https://Cam.Example.org/x", PUBLIC),
        (("*.svc.cluster.local", "10.0.0.0/8"), "http://a.b.svc.cluster.local/x", "10.2.3.4"),
        (("10.0.0.0/8",), "rtsp://10.1.2.3/x", ""),
        (("127.0.0.1",), "rtmp://127.0.0.1/live/x", ""),
        (("127.0.0.1:1935",), "rtmp://127.0.0.1/live/x", ""),
        (("[::1]:1935",), "rtmp://[::1]/live/x", ""),
        (("::1",), "rtmp://[0:0::1]/live/x", ""),
        (("127.0.0.0/8",), "http://[::ffff:127.0.0.1]/x", ""),
        (("169.254.7.8",), "http://169.254.7.8/x", ""),
        (("239.1.1.1",), "udp://@239.1.1.1:5000", ""),
        ((), "rtsp://user:p%40ss@cam.example.org/Streaming/Channels/101?a=b", PUBLIC),
        ((), "http://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:8080/x.flv", ""),
    ],
)
def test_what_is_allowed(hosts: tuple[str, ...], url: str, behind: str) -> None:
    checked = check_url(url, Urls(hosts=hosts), "source", answers(behind) if behind else unknown)
    assert checked.url == url
    assert len(checked.addresses) == 1
    assert ipaddress.ip_address(checked.addresses[0]).version in (4, 6)


@pytest.mark.parametrize(
    ("hosts", "url", "behind"),
    [
        (("cam.example.org",), "rtmp://other.example.org/x", PUBLIC),
        (("*.example.org",), "rtmp://example.org/x", PUBLIC),
        (("*.example.org",), "rtmp://cam.example.org.attacker.net/x", PUBLIC),
        (("cam.example.org",), "rtmp://cam.example.org@evil.net/x", PUBLIC),
        (("127.0.0.1:1935",), "http://127.0.0.1:8642/v1/streams", ""),
        (("10.0.0.0/8",), "rtmp://11.0.0.1/x", ""),
        (("169.254.0.0/16",), "http://169.254.169.254/", ""),
        (("cam.example.org",), "http://cam.example.org/", "169.254.169.254"),
        (("93.184.215.0/24",), "rtmp://cam.example.org/x", "8.8.8.8"),
    ],
)
def test_what_is_not(hosts: tuple[str, ...], url: str, behind: str) -> None:
    with pytest.raises(ConfigError, match="host"):
        check_url(url, Urls(hosts=hosts), "source", answers(behind) if behind else unknown)


def test_a_name_without_address_and_an_entry_that_cannot_be_read_say_so() -> None:
    with pytest.raises(ConfigError, match=r"'nowhere\.example\.org' has no address: Name or service"):
        check_url("http://nowhere.example.org/", Urls(), "source", unknown)
    with pytest.raises(ConfigError, match=r"urls.hosts: '10.0.0.0/99'"):
        check_url("http://a.example.org/", Urls(hosts=("10.0.0.0/99",)), "source", answers(PUBLIC))


def test_paths_are_matched_decoded() -> None:
    urls = Urls(paths=("/live/*",))
    assert check_url("rtmp://a.example.org/live/k%65y", urls, "source", answers(PUBLIC)).scheme == "rtmp"
    for path in ("/admin", "/%61dmin/live/", "", "/live"):
        with pytest.raises(ConfigError, match="path"):
            check_url(f"rtmp://a.example.org{path}", urls, "source", answers(PUBLIC))


def test_schemes_and_purposes() -> None:
    with pytest.raises(ConfigError, match="allowed: http, https"):
        check_url("rtmp://a.example.org/x", Urls(), "webhook", answers(PUBLIC))
    with pytest.raises(ConfigError, match="allowed: https"):
        check_url("http://a.example.org/x", Urls(schemes=("https",)), "source", answers(PUBLIC))


@pytest.mark.parametrize(
    ("url", "whitelist"),
    [
        ("rtmp://h.org/live/x", "rtmp,tcp"),
        ("http://h.org/x.flv", "http,httpproxy,tcp"),
        ("https://h.org/x.M3U8?t=1", "https,httpproxy,tls,tcp,crypto"),
        ("udp://h.org:5000", "udp"),
    ],
)
def test_the_opener_is_told_its_protocols(url: str, whitelist: str) -> None:
    checked = check_url(url, Urls(), "source", answers(PUBLIC))
    assert checked.protocol_whitelist == whitelist
    assert "file" not in checked.protocols


def test_no_secret_is_printed() -> None:
    url = "rtmp://user:hunter2@cam.example.org/live/SECRETKEY?token=SECRETTOKEN"
    assert "SECRET" not in repr(check_url(url, Urls(), "source", answers(PUBLIC)))
    for urls in (Urls(hosts=("x.org",)), Urls(paths=("/other",)), Urls(schemes=("http",))):
        with pytest.raises(ConfigError) as caught:
            check_url(url, urls, "source", answers(PUBLIC))
        assert not any(secret in str(caught.value) for secret in ("SECRET", "hunter2", "user"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "in.mp4").write_bytes(b"x")
    (tmp_path / "secret.mp4").write_bytes(b"x")
    return folder


def test_files_below_a_root(root: Path) -> None:
    urls = Urls(file_roots=(str(root),))
    for name in (f"{root}/in.mp4", f"file:{root}/in.mp4", f"file://{root}/in.mp4", f"file://localhost{root}/i%6e.mp4"):
        checked = check_url(name, urls, "source")
        assert (checked.path, checked.url) == (str(root / "in.mp4"), f"file:{root}/in.mp4")
        assert checked.protocol_whitelist == "file"
    assert check_url(f"{root}/out.mp4", urls, "output").path == str(root / "out.mp4")
    assert check_url(f"{root}/in.mp4", urls, "output").path == str(root / "in.mp4")


def test_files_elsewhere_are_refused(root: Path, tmp_path: Path) -> None:
    urls = Urls(file_roots=(str(root),))
    (root / "way_out.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "folder_out").symlink_to(tmp_path)
    (root / "dangling.mp4").symlink_to(tmp_path / "not_there.mp4")
    os.mkfifo(root / "pipe")
    twin = tmp_path / "media2"
    twin.mkdir()
    (twin / "in.mp4").write_bytes(b"x")
    for name in (
        f"{root}/way_out.mp4",
        f"{root}/folder_out/secret.mp4",
        f"{root}/../secret.mp4",
        f"{root}/%2e%2e/secret.mp4",
        f"file://{root}/%2e%2e/secret.mp4",
        f"{root}/in.mp4\x00.mkv",
        f"file://{root}/in.mp4%00",
        f"{root}/missing.mp4",
        f"{root}/pipe",
        f"{root}",
        f"{twin}/in.mp4",
        "/dev/zero",
        "/proc/self/environ",
        "/etc/passwd",
        "file:in.mp4",
        f"file://evil.example.org{root}/in.mp4",
        f"FILE:{tmp_path}/secret.mp4",
    ):
        with pytest.raises(ConfigError):
            check_url(name, urls, "source")
    for name in (f"{root}/dangling.mp4", f"{root}/folder_out/new.mp4", f"{root}/none/new.mp4", f"{root}/pipe"):
        with pytest.raises(ConfigError):
            check_url(name, urls, "output")
    with pytest.raises(ConfigError, match="file_roots is empty"):
        check_url(f"{root}/in.mp4", Urls(), "source")
    with pytest.raises(ConfigError):
        check_url(f"{root}/in.mp4", urls, "webhook")


@given(st.ip_addresses())
def test_every_address_without_a_list_is_public_or_refused(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    try:
        check_url(f"rtmp://{host}/live/x", Urls(), "source", unknown)
    except ConfigError:
        return
    assert address.is_global
    assert not address.is_link_local


@given(st.ip_addresses(v=4))
def test_an_address_in_other_clothes_is_judged_the_same(address: ipaddress.IPv4Address) -> None:
    def allowed(host: str) -> bool:
        try:
            check_url(f"rtmp://{host}/live/x", Urls(), "source", unknown)
        except ConfigError:
            return False
        return True

    assert allowed(f"[::ffff:{address}]") == allowed(str(address))
    assert allowed(f"[64:ff9b::{address}]") <= allowed(str(address))


@given(st.text(max_size=80) | st.from_regex(r"[a-z]{2,6}:/{0,3}[a-z0-9@:.%\[\]/\\?#-]{0,40}", fullmatch=True))
def test_any_text_is_answered_and_with_no_other_host(text: str) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int, type: int) -> list[Any]:
        asked.append(host)
        return answers(PUBLIC)(host, port, type)

    try:
        checked = check_url(text, Urls(), "source", resolve)
    except ConfigError:
        return
    assert asked in ([], [checked.host])
    authority = text.split("://", 1)[1].split("/", 1)[0].split("?", 1)[0].rpartition("@")[2]
    assert authority.lower().startswith((checked.host, f"[{checked.host}", "["))
