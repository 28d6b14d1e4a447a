# SPDX-License-Identifier: GPL-2.0-only
"""apt with its own state: the mirror is found, signatures count, the system is not touched."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import subprocess
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from kernel_trees import make_tarball, make_tree
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.core.files import cache_dir, quiet
from xipmatrix.kernel import checkout, obtain
from xipmatrix.kernel.apt import Apt, Target, debian_mirror, os_release, parse_targets
from xipmatrix.kernel.firmware import firmware_file
from xipmatrix.matrix.load import load_matrix
from xipmatrix.matrix.model import Kernel, PackageFile

PROJECT = Path(__file__).parents[1]
BOOKWORM = {"ID": "debian", "VERSION_CODENAME": "bookworm"}
UBUNTU = {"ID": "ubuntu", "VERSION_CODENAME": "noble"}


def target(uri: str, release: str, origin: str = "", label: str = "") -> Target:
    return Target(uri, release, origin, label, "")


def test_targets_are_parsed_and_unknown_fields_are_empty() -> None:
    text = (
        "http://m/debian/|bookworm|Debian|Debian|/k.gpg\n"
        "http://m/debian/|bookworm|Debian|Debian|/k.gpg\n"
        "http://m/x/|y|$(ORIGIN)|$(LABEL)|$(SIGNED_BY)\nnonsense\n"
    )
    assert parse_targets(text) == [
        Target("http://m/debian/", "bookworm", "Debian", "Debian", "/k.gpg"),
        Target("http://m/x/", "y", "", "", ""),
    ]


@pytest.mark.parametrize(
    ("targets", "system", "wanted"),
    [
        # The main archive, not the security one that stands before it.
        (
            [
                target("http://s/", "bookworm-security", "Debian", "Debian-Security"),
                target("http://m/", "bookworm", "Debian", "Debian"),
            ],
            BOOKWORM,
            "http://m/",
        ),
        # apt has no lists yet: the suite tells, whatever the path is called.
        (
            [target("http://x/y/", "nodistro"), target("http://m/a/b/", "bookworm-updates")],
            BOOKWORM,
            "http://m/a/b/",
        ),
        ([target("http://m/debian-security/", "bookworm-security")], BOOKWORM, None),
        ([target("cdrom:[x]/", "bookworm")], BOOKWORM, None),
        # Ubuntu names no Debian mirror, unless its owner added one.
        ([target("http://u/ubuntu/", "noble", "Ubuntu", "Ubuntu")], UBUNTU, None),
        (
            [
                target("http://u/ubuntu/", "noble", "Ubuntu", "Ubuntu"),
                target("http://m/debian/", "x"),
            ],
            UBUNTU,
            "http://m/debian/",
        ),
        ([target("http://third/", "x", "Third", "Debian")], BOOKWORM, None),
        ([], BOOKWORM, None),
    ],
)
def test_the_mirror_of_debians_main_archive(
    targets: list[Target], system: dict[str, str], wanted: str | None
) -> None:
    found = debian_mirror(targets, system)
    assert (found.uri if found else None) == wanted


def test_os_release(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text('ID=debian\nVERSION_CODENAME="bookworm"\n# x\n')
    assert os_release(path) == BOOKWORM
    assert os_release(tmp_path / "absent") == {}


needs_apt = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "dpkg-deb", "gpg", "gpg-agent"))),
    reason="needs apt, dpkg-deb, gpg, gpg-agent",
)


class Archive:
    """A signed Debian archive with one package, linux-source-7.3, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "gnupg"
        self.home.mkdir(mode=0o700, parents=True)
        self.key = folder / "key.gpg"
        self.gpg("--quick-generate-key", "test <test@localhost>", "ed25519", "sign", "never")
        self.key.write_bytes(self.gpg("--export"))
        self.package("linux-source-7.3", "1:7.3.4-1~t1")
        self.publish()

    @property
    def line(self) -> str:
        return f"deb [signed-by={self.key}] file:{self.folder} test main"

    def gpg(self, *words: str) -> bytes:
        return subprocess.run(
            [
                "gpg",
                "--homedir",
                self.home,
                "--batch",
                "--passphrase",
                "",
                "--pinentry-mode",
                "loopback",
                *words,
            ],
            check=True,
            capture_output=True,
        ).stdout

    def package(self, name: str, version: str) -> None:
        root = self.folder / f"{name}.root"
        (root / "DEBIAN").mkdir(parents=True)
        (root / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
            "Maintainer: t <t@localhost>\nDescription: test\n"
        )
        (root / "usr" / "src").mkdir(parents=True)
        source = make_tree(self.folder / f"{name}.source")
        make_tarball(root / "usr/src" / f"{name}.tar.xz", source, name)
        pool = self.folder / "pool"
        pool.mkdir(exist_ok=True)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-b", root, pool / f"{name}.deb"],
            check=True,
            capture_output=True,
        )

    def publish(self) -> None:
        """Write Packages and a signed InRelease for what lies in the pool."""
        suite = self.folder / "dists" / "test"
        (suite / "main" / "binary-all").mkdir(parents=True, exist_ok=True)
        stanzas = []
        for deb in sorted((self.folder / "pool").glob("*.deb")):
            control = subprocess.run(
                ["dpkg-deb", "-f", deb], check=True, capture_output=True, text=True
            ).stdout
            data = deb.read_bytes()
            stanzas.append(
                f"{control.strip()}\nFilename: pool/{deb.name}\nSize: {len(data)}\n"
                f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
            )
        arch = subprocess.run(
            ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
        ).stdout.strip()
        plain = "\n".join(stanzas).encode()
        sums = ""
        for name in ("all", arch):
            for suffix, data in (("", plain), (".xz", lzma.compress(plain))):
                path = suite / "main" / f"binary-{name}" / f"Packages{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                digest = hashlib.sha256(data).hexdigest()
                sums += f" {digest} {len(data)} {path.relative_to(suite)}\n"
        (suite / "Release").write_text(
            f"Origin: Test\nSuite: test\nCodename: test\nArchitectures: all {arch}\n"
            f"Components: main\nDate: {formatdate(usegmt=True)}\nSHA256:\n{sums}"
        )
        signed = self.gpg("--clearsign", "--output", "-", str(suite / "Release"))
        (suite / "InRelease").write_bytes(signed)
        (suite / "Release").unlink()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    made = Archive(tmp_path / "archive")
    monkeypatch.setattr(Apt, "_source_line", lambda _self: made.line)
    yield made
    # gpg leaves its agent running.
    subprocess.run(["gpgconf", "--homedir", made.home, "--kill", "gpg-agent"], check=True)


def debian(package: str = "linux-source-7.3") -> Kernel:
    return Kernel.model_validate({"providers": [{"debian": {"package": package, "suite": "test"}}]})


@needs_apt
def test_a_package_becomes_a_kernel_and_the_system_is_not_touched(
    archive: Archive, tmp_path: Path
) -> None:
    system = [Path("/etc/apt/sources.list.d"), Path("/var/lib/apt/lists"), Path("/var/cache/apt")]
    before = [path.stat().st_mtime_ns for path in system if path.exists()]
    cache = tmp_path / "cache"
    tree = obtain("7.3", debian(), cache, quiet)
    assert tree.release == "7.3.4"
    assert tree.origin == "Debian linux-source-7.3 1:7.3.4-1~t1 (test)"
    assert [path.stat().st_mtime_ns for path in system if path.exists()] == before
    assert not list(cache.rglob("*.deb"))
    # Kept: the archive may go.
    shutil.rmtree(archive.folder / "dists")
    assert obtain("7.3", debian(), cache, quiet) == tree


@needs_apt
def test_a_package_that_is_gone_names_what_the_suite_has(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError) as caught:
        obtain("7.2", debian("linux-source-7.2"), tmp_path / "cache", quiet)
    assert "suite test has no linux-source-7.2; it has linux-source-7.3" in str(caught.value)


@needs_apt
def test_an_archive_signed_by_another_key_is_refused(archive: Archive, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    archive.home = other
    archive.gpg("--quick-generate-key", "evil <evil@localhost>", "ed25519", "sign", "never")
    archive.publish()
    with pytest.raises(InfrastructureError, match=r"suite test has no linux-source-7\.3") as caught:
        obtain("7.3", debian(), tmp_path / "cache", quiet)
    assert "NO_PUBKEY" in str(caught.value) or "not signed" in str(caught.value)


@needs_apt
def test_a_package_that_was_tampered_with_is_refused(archive: Archive, tmp_path: Path) -> None:
    deb = archive.folder / "pool" / "linux-source-7.3.deb"
    data = bytearray(deb.read_bytes())
    data[len(data) // 2] ^= 1
    deb.write_bytes(data)
    with pytest.raises(InfrastructureError, match="download"):
        obtain("7.3", debian(), tmp_path / "cache", quiet)


@needs_apt
def test_firmware_is_brought_once(archive: Archive, tmp_path: Path) -> None:
    name, cache = "linux-source-7.3", tmp_path / "cache"
    wanted = PackageFile(package=name, suite="test", path=f"usr/src/{name}.tar.xz")
    found = firmware_file(wanted, cache)
    assert (
        found.read_bytes() == (archive.folder / f"{name}.root/usr/src/{name}.tar.xz").read_bytes()
    )
    assert not list(cache.rglob("*.deb"))
    # Kept: the archive may go.
    shutil.rmtree(archive.folder / "dists")
    assert firmware_file(wanted, cache) == found


@needs_apt
def test_a_package_without_the_firmware_is_named(archive: Archive, tmp_path: Path) -> None:
    wanted = PackageFile(package="linux-source-7.3", suite="test", path="usr/lib/fw.bin")
    with pytest.raises(InfrastructureError, match=r"linux-source-7.3 from test has no usr/lib/fw"):
        firmware_file(wanted, tmp_path / "cache")


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["7.3", "6.12"])
def test_the_real_kernels(name: str) -> None:
    loaded = load_matrix(PROJECT / "matrix.yaml", PROJECT / "templates")
    tree = obtain(name, loaded.kernels[name], cache_dir(), print)
    assert tree.release.startswith(f"{name}.")
    source = checkout(tree.git_dir, tree.commit, cache_dir(), print)
    assert (source / "arch" / "riscv" / "Kconfig").is_file()
    assert len(list(source.iterdir())) > 20
