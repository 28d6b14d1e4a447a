# SPDX-License-Identifier: GPL-2.0-only
"""Kernel sources from tarballs, repositories and folders: right, verified, only read, atomic."""

from __future__ import annotations

import functools
import http.server
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernel_trees import (
    add_build_products,
    fingerprint,
    git,
    make_repository,
    make_tarball,
    make_tree,
    sha256,
)
from xipmatrix.core import run
from xipmatrix.core.errors import InfrastructureError, UsageError, XipmatrixError
from xipmatrix.core.files import quiet
from xipmatrix.core.git import Repository
from xipmatrix.core.progress import DiskFull
from xipmatrix.kernel import from_argument, obtain
from xipmatrix.kernel.local import top_patterns
from xipmatrix.kernel.tree import release_of_makefile
from xipmatrix.matrix.model import Kernel


def kernel(*providers: dict[str, dict[str, str]]) -> Kernel:
    return Kernel.model_validate({"providers": list(providers)})


def tarball(url: str | Path, digest: str) -> dict[str, dict[str, str]]:
    return {"tarball": {"url": str(url), "sha256": digest}}


def files_of(git_dir: Path, commit: str) -> dict[str, str]:
    """path -> mode and object of a commit."""
    listed = Repository(git_dir).git("ls-tree", "-r", "-z", commit)
    return {line.split("\t")[1]: line.split("\t")[0] for line in listed.split("\0") if line}


def half_made(folder: Path) -> list[Path]:
    return list(folder.rglob(".partial-*"))


@pytest.mark.parametrize(
    ("makefile", "release"),
    [
        ("VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\nNAME = x\n", "7.3.4"),
        ("VERSION = 7\nPATCHLEVEL = 4\nSUBLEVEL = 0\nEXTRAVERSION = -rc2\n", "7.4.0-rc2"),
        ("VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL =\nEXTRAVERSION =\n", "7.3"),
        ("VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nVERSION = 9\n", "7.3.4"),
        ("all:\n\ttrue\n", None),
        ("", None),
    ],
)
def test_release_is_what_the_makefile_says(makefile: str, release: str | None) -> None:
    assert release_of_makefile(makefile) == release


# --- tarballs ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_a_tarball_becomes_the_same_tree_as_git_makes(tmp_path: Path, suffix: str) -> None:
    if suffix == "tar.bz2" and shutil.which("bzip2") is None:
        pytest.skip("needs bzip2")
    source = make_tree(tmp_path / "source")
    archive = make_tarball(tmp_path / f"linux-7.3.4.{suffix}", source)
    tree = obtain("7.3", kernel(tarball(archive, sha256(archive))), tmp_path / "cache", quiet)
    git(source, "init", "-q")
    git(source, "add", "-A", "-f")
    assert tree.tree == git(source, "write-tree")
    assert tree.release == "7.3.4"
    assert tree.name == "7.3"
    assert str(archive) in tree.origin
    assert files_of(tree.git_dir, tree.commit)["scripts/run.sh"].startswith("100755")
    assert files_of(tree.git_dir, tree.commit)["arch/arm/link"].startswith("120000")


def test_a_tarball_gives_the_same_commit_everywhere_and_is_kept(tmp_path: Path) -> None:
    archive = make_tarball(tmp_path / "linux.tar.gz", make_tree(tmp_path / "source"))
    spec = kernel(tarball(archive, sha256(archive)))
    one = obtain("7.3", spec, tmp_path / "one", quiet)
    two = obtain("7.3", spec, tmp_path / "two", quiet)
    assert one.commit == two.commit
    assert one.git_dir != two.git_dir
    archive.unlink()
    assert obtain("7.3", spec, tmp_path / "one", quiet) == one


def test_hard_links_in_an_archive_are_files(tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    os.link(source / "init" / "main.c", source / "init" / "z.c")
    archive = make_tarball(tmp_path / "linux.tar", source)
    tree = obtain("7.3", kernel(tarball(archive, sha256(archive))), tmp_path / "cache", quiet)
    listed = files_of(tree.git_dir, tree.commit)
    assert listed["init/z.c"] == listed["init/main.c"]


def test_a_wrong_checksum_stops_before_anything_is_used(tmp_path: Path) -> None:
    archive = make_tarball(tmp_path / "linux.tar.gz", make_tree(tmp_path / "source"))
    with pytest.raises(InfrastructureError, match="checksum is wrong") as caught:
        obtain("7.3", kernel(tarball(archive, "0" * 64)), tmp_path / "cache", quiet)
    assert str(archive) in str(caught.value)
    assert not list((tmp_path / "cache" / "kernels").glob("tarball-*"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "."),
        (lambda data: data[:100] + bytes(40) + data[140:], "."),
        (lambda data: b"no archive at all" * 100, "."),
    ],
)
@pytest.mark.parametrize("suffix", ["tar.xz", "tar.gz"])
def test_a_damaged_archive_is_refused_though_its_checksum_fits(
    tmp_path: Path, damage: Callable[[bytes], bytes], message: str, suffix: str
) -> None:
    archive = make_tarball(tmp_path / f"linux.{suffix}", make_tree(tmp_path / "source"))
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(InfrastructureError, match=message):
        obtain("7.3", kernel(tarball(archive, sha256(archive))), tmp_path / "cache", quiet)
    assert not half_made(tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache/kernels").glob("tarball-*") if p.is_dir()]


def test_an_archive_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    archive = tmp_path / "linux.tar"
    subprocess.run(
        ["tar", "-C", source, "-P", "--transform", "s,Kbuild,../../evil,", "-cf", archive, "."],
        check=True,
    )
    with pytest.raises(InfrastructureError, match=r"leaves the archive|several top folders"):
        obtain("7.3", kernel(tarball(archive, sha256(archive))), tmp_path / "cache", quiet)


def test_an_archive_without_a_kernel_is_named(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README").write_text("hello")
    archive = make_tarball(tmp_path / "other.tar.gz", tmp_path / "other")
    with pytest.raises(UsageError, match=r"not a Linux kernel.*no Makefile"):
        obtain("7.3", kernel(tarball(archive, sha256(archive))), tmp_path / "cache", quiet)
    assert not half_made(tmp_path / "cache")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files; one that ends in .cut only by half, though its length is announced."""

    def log_message(self, *_words: object) -> None:
        pass

    def copyfile(self, source: object, outputfile: object) -> None:
        if self.path.endswith(".cut"):
            data = source.read()  # type: ignore[attr-defined]
            outputfile.write(data[: len(data) // 2])  # type: ignore[attr-defined]
        else:
            super().copyfile(source, outputfile)  # type: ignore[arg-type]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Handler, directory=str(folder))
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", folder
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_a_tarball_is_downloaded_and_verified_by_a_file_of_checksums(
    tmp_path: Path, server: tuple[str, Path]
) -> None:
    url, folder = server
    archive = make_tarball(folder / "linux-7.3.4.tar.xz", make_tree(tmp_path / "source"))
    sums = folder / "sha256sums.asc"
    sums.write_text(
        "-----BEGIN PGP SIGNED MESSAGE-----\n\n"
        f"{'0' * 64}  linux-7.3.3.tar.xz\n{sha256(archive)}  {archive.name}\n"
    )
    spec = {"tarball": {"url": f"{url}/{archive.name}", "sha256sums": f"{url}/{sums.name}"}}
    tree = obtain("7.3", kernel(spec), tmp_path / "cache", quiet)
    assert tree.release == "7.3.4"
    assert list((tmp_path / "cache" / "downloads").iterdir()) == []
    sums.write_text(f"{'0' * 64}  {archive.name}\n")
    with pytest.raises(InfrastructureError, match="checksum is wrong"):
        obtain("7.3", kernel(spec), tmp_path / "other", quiet)
    sums.write_text("nothing\n")
    with pytest.raises(UsageError, match=r"does not name linux-7\.3\.4"):
        obtain("7.3", kernel(spec), tmp_path / "other", quiet)


def test_a_truncated_download_is_never_taken_as_done(
    tmp_path: Path, server: tuple[str, Path]
) -> None:
    url, folder = server
    archive = make_tarball(folder / "linux.tar.gz", make_tree(tmp_path / "source"))
    cut = archive.rename(folder / "linux.tar.gz.cut")
    with pytest.raises(InfrastructureError, match=r"ended after \d+ of \d+ bytes|incomplete"):
        obtain("7.3", kernel(tarball(f"{url}/{cut.name}", sha256(cut))), tmp_path / "cache", quiet)
    assert list((tmp_path / "cache" / "downloads").iterdir()) == []


def test_every_provider_that_was_tried_is_named(tmp_path: Path, server: tuple[str, Path]) -> None:
    url, _ = server
    said: list[str] = []
    spec = kernel(
        tarball(f"{url}/absent.tar.xz", "0" * 64),
        {"path": {"path": str(tmp_path / "nowhere")}},
        {"git": {"url": str(tmp_path / "norepo"), "ref": "v7.3"}},
    )
    with pytest.raises(InfrastructureError) as caught:
        obtain("7.3", spec, tmp_path / "cache", said.append)
    text = str(caught.value)
    assert "1. tarball" in text and "HTTP 404" in text
    assert "2. folder" in text and "no such folder" in text
    assert "3. git" in text
    assert any("trying the next" in line for line in said)


def test_the_next_provider_is_used_and_remembered(tmp_path: Path, server: tuple[str, Path]) -> None:
    url, _ = server
    archive = make_tarball(tmp_path / "linux.tar.gz", make_tree(tmp_path / "source"))
    spec = kernel(tarball(f"{url}/absent.tar", "0" * 64), tarball(archive, sha256(archive)))
    said: list[str] = []
    first = obtain("7.3", spec, tmp_path / "cache", said.append)
    assert "404" in " ".join(said)
    said.clear()
    assert obtain("7.3", spec, tmp_path / "cache", said.append) == first
    assert said == []


# --- the user's own trees ----------------------------------------------------------------


def test_a_ref_of_a_local_repository(tmp_path: Path) -> None:
    mine = make_repository(tmp_path / "mine")
    before = fingerprint(mine)
    for ref in ("v7.3", "main", "HEAD", git(mine, "rev-parse", "HEAD")):
        tree = obtain(
            "x", kernel({"git": {"url": str(mine), "ref": ref}}), tmp_path / "cache", quiet
        )
        assert tree.commit == git(mine, "rev-parse", "HEAD")
        assert "name with space.c" in " ".join(files_of(tree.git_dir, tree.commit))
    assert tmp_path / "cache" in tree.git_dir.parents
    assert fingerprint(mine) == before


def test_an_unknown_ref_offers_the_nearest(tmp_path: Path) -> None:
    mine = make_repository(tmp_path / "mine")
    spec = kernel({"git": {"url": str(mine), "ref": "v7.4"}})
    with pytest.raises(UsageError, match=r"no commit 'v7\.4'(.|\n)*did you mean v7\.3"):
        obtain("x", spec, tmp_path / "cache", quiet)


def test_a_shallow_repository_of_the_user(tmp_path: Path) -> None:
    mine = make_repository(tmp_path / "mine")
    for number in range(3):
        git(mine, "commit", "-q", "--allow-empty", "-m", str(number))
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{mine}", str(tmp_path / "shallow"))
    before = fingerprint(tmp_path / "shallow")
    for provider in (
        {"git": {"url": str(tmp_path / "shallow"), "ref": "HEAD"}},
        {"path": {"path": str(tmp_path / "shallow")}},
    ):
        tree = obtain("x", kernel(provider), tmp_path / "cache", quiet)
        assert tree.commit == git(mine, "rev-parse", "HEAD")
    assert fingerprint(tmp_path / "shallow") == before


def test_the_next_commit_of_the_user_is_fetched_too(tmp_path: Path) -> None:
    mine = make_repository(tmp_path / "mine")
    spec = kernel({"git": {"url": str(mine), "ref": "main"}})
    first = obtain("x", spec, tmp_path / "cache", quiet)
    (mine / "init" / "main.c").write_text("int next;\n")
    git(mine, "commit", "-q", "-a", "-m", "next")
    second = obtain("x", spec, tmp_path / "cache", quiet)
    assert second.git_dir == first.git_dir
    assert Repository(second.git_dir).text(f"{second.commit}:init/main.c") == "int next;\n"
    assert Repository(first.git_dir).text(f"{first.commit}:init/main.c") == "int main;\n"
    # The user's repository may go: what was fetched is ours.
    (mine / ".git").rename(tmp_path / "gone")
    assert Repository(second.git_dir).run("fsck", "--full").ok


def test_a_ref_that_looks_like_an_option_is_no_option(tmp_path: Path) -> None:
    mine = make_repository(tmp_path / "mine")
    for url in (str(mine), f"file://{mine}"):
        spec = kernel({"git": {"url": url, "ref": f"--upload-pack=touch {tmp_path}/owned"}})
        with pytest.raises(XipmatrixError):
            obtain("x", spec, tmp_path / "cache", quiet)
    assert not (tmp_path / "owned").exists()


def test_a_url_is_fetched_without_history(tmp_path: Path) -> None:
    mine = make_repository(tmp_path / "mine")
    (mine / "init" / "main.c").write_text("int other;\n")
    git(mine, "commit", "-q", "-a", "-m", "second")
    before = fingerprint(mine)
    spec = kernel({"git": {"url": f"file://{mine}", "ref": "main"}})
    tree = obtain("x", spec, tmp_path / "cache", quiet)
    assert tree.commit == git(mine, "rev-parse", "main")
    assert Repository(tree.git_dir).git("rev-list", "--count", tree.commit) == "1"
    assert fingerprint(mine) == before
    with pytest.raises(InfrastructureError, match="absent"):
        obtain(
            "x",
            kernel({"git": {"url": f"file://{mine}", "ref": "absent"}}),
            tmp_path / "cache",
            quiet,
        )


def test_a_clean_work_tree_is_its_own_commit(tmp_path: Path) -> None:
    mine = make_repository(tmp_path / "mine")
    add_build_products(mine)
    before = fingerprint(mine)
    tree = obtain("x", kernel({"path": {"path": str(mine)}}), tmp_path / "cache", quiet)
    assert tree.commit == git(mine, "rev-parse", "HEAD")
    assert fingerprint(mine) == before


def test_uncommitted_changes_count_and_nothing_is_written(tmp_path: Path) -> None:
    mine = make_repository(tmp_path / "mine")
    add_build_products(mine)
    (mine / "init" / "main.c").write_text("int changed;\n")
    (mine / "init" / "new.c").write_text("int new;\n")
    (mine / "Kconfig").write_text("staged\n")
    git(mine, "add", "Kconfig")
    (mine / "arch" / "arm" / "link").unlink()
    before = fingerprint(mine)
    spec = kernel({"path": {"path": str(mine)}})
    tree = obtain("x", spec, tmp_path / "cache", quiet)
    assert fingerprint(mine) == before
    ours = Repository(tree.git_dir)
    assert ours.text(f"{tree.commit}:init/main.c") == "int changed;\n"
    listed = files_of(tree.git_dir, tree.commit)
    assert "init/new.c" in listed
    assert "arch/arm/link" not in listed
    assert not {"init/main.o", "vmlinux", ".config", "include/generated/autoconf.h"} & set(listed)
    assert ours.git("rev-parse", f"{tree.commit}^") == git(mine, "rev-parse", "HEAD")
    assert "uncommitted" in tree.origin
    assert obtain("x", spec, tmp_path / "cache", quiet) == tree
    # What is new is in our repository, not in the user's.
    blob = ours.git("rev-parse", f"{tree.commit}:init/new.c")
    assert subprocess.run(["git", "-C", mine, "cat-file", "-e", blob], check=False).returncode != 0


def test_a_linked_work_tree_and_a_split_index(tmp_path: Path) -> None:
    mine = make_repository(tmp_path / "mine")
    git(mine, "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "side")
    (tmp_path / "linked" / "init" / "main.c").write_text("int side;\n")
    git(tmp_path / "linked", "update-index", "--split-index")
    before = fingerprint(mine), fingerprint(tmp_path / "linked")
    tree = obtain(
        "x", kernel({"path": {"path": str(tmp_path / "linked")}}), tmp_path / "cache", quiet
    )
    assert Repository(tree.git_dir).text(f"{tree.commit}:init/main.c") == "int side;\n"
    assert (fingerprint(mine), fingerprint(tmp_path / "linked")) == before


def test_a_plain_folder_follows_its_changes(tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    add_build_products(source)
    before = fingerprint(source)
    spec = kernel({"path": {"path": str(source)}})
    one = obtain("x", spec, tmp_path / "cache", quiet)
    assert fingerprint(source) == before
    assert "init/main.o" not in files_of(one.git_dir, one.commit)
    assert obtain("x", spec, tmp_path / "cache", quiet) == one
    (source / "init" / "main.c").unlink()
    (source / "init" / "late.c").write_text("int late;\n")
    (source / ".gitignore").write_text(".*\n!.gitignore\n*.o\nrun.sh\n/vmlinux\n/include/\n")
    listed = files_of(one.git_dir, obtain("x", spec, tmp_path / "cache", quiet).commit)
    assert "init/late.c" in listed
    assert not {"init/main.c", "scripts/run.sh", "init/main.o", "vmlinux"} & set(listed)


@pytest.mark.parametrize("repository", [False, True])
def test_debians_gitignore_does_not_hide_the_kernel(tmp_path: Path, repository: bool) -> None:
    source = make_tree(tmp_path / "source")
    if repository:
        git(source, "init", "-q")
        git(source, "add", "-A")
        git(source, "commit", "-q", "-m", "base")
        (source / "init" / "new.c").write_text("int new;\n")
    add_build_products(source)
    (source / ".gitignore").write_text(".*\n*.o\n/vmlinux\n/include/generated/\n/*\n!/debian/\n")
    tree = obtain("x", kernel({"path": {"path": str(source)}}), tmp_path / "cache", quiet)
    listed = set(files_of(tree.git_dir, tree.commit))
    assert {"Makefile", ".gitignore", "init/main.c"} <= listed
    assert ("init/new.c" in listed) == repository
    assert not {"init/main.o", "vmlinux", ".config", "include/generated/autoconf.h"} & listed


def test_top_patterns_are_anchored_to_the_top() -> None:
    found = top_patterns("# c\n\n*.o\n!tags/\n/vmlinux\n/include/config/\n/*\n")
    assert found[:4] == ["!/*", "/*.o", "!/tags/", "/vmlinux"]
    assert "/include/config/" not in found


# --- --kernel PATH[@REF] -----------------------------------------------------------------


def test_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = make_repository(tmp_path / "linux")
    git(mine, "branch", "my/topic@2")
    monkeypatch.chdir(tmp_path)
    name, spec = from_argument("./linux")
    assert name == "linux"
    assert spec == kernel({"path": {"path": str(mine)}})
    name, spec = from_argument("linux@my/topic@2")
    assert name == "linux@my-topic@2"
    assert spec == kernel({"git": {"url": str(mine), "ref": "my/topic@2"}})
    assert from_argument("linux", taken={"linux"})[0].startswith("linux-")
    name, spec = from_argument("https://user@example.org/a/linux.git@v7.3")
    assert (name, spec.providers[0].git) == (
        "linux@v7.3",
        kernel({"git": {"url": "https://user@example.org/a/linux.git", "ref": "v7.3"}})
        .providers[0]
        .git,
    )
    assert from_argument("https://example.org/linux.git")[1].providers[0].git is not None
    make_tree(tmp_path / "7.3")
    assert from_argument("./7.3")[0].startswith("7.3-")
    make_repository(tmp_path / "at@home")
    assert from_argument("at@home")[0] == "at@home"
    assert from_argument("at@home@v7.3")[0] == "at@home@v7.3"


def test_arguments_that_are_no_kernel(tmp_path: Path) -> None:
    mine = make_repository(tmp_path / "linux")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    git(tmp_path, "clone", "-q", "--bare", str(mine), str(tmp_path / "bare.git"))
    plain = make_tree(tmp_path / "plain")
    for text, message in (
        (tmp_path / "absent", "no such folder"),
        (tmp_path / "empty", r"not a Linux kernel source tree: it has no Makefile"),
        (tmp_path / "file", "this is no folder"),
        (f"{mine}@nosuch", "no commit 'nosuch'"),
        (f"{plain}@main", "no git repository, so it has no 'main'"),
        (tmp_path / "bare.git", "bare repository"),
        (mine / "init", "not a Linux kernel source tree"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            from_argument(str(text))
        assert str(tmp_path) in str(caught.value)
    name, spec = from_argument(f"{tmp_path}/bare.git@v7.3")
    assert name == "bare@v7.3"
    assert obtain(name, spec, tmp_path / "cache", quiet).release == "7.3.4"


# --- killed, at once, full ---------------------------------------------------------------

SCRIPT = """
import sys
from pathlib import Path
from xipmatrix.kernel import obtain
from xipmatrix.matrix.model import Kernel
spec = Kernel.model_validate_json(sys.argv[1])
print(obtain("7.3", spec, Path(sys.argv[2]), lambda text: print(text, flush=True)).commit)
"""


def child(spec: Kernel, cache: Path, **options: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", SCRIPT, spec.model_dump_json(exclude_none=True), str(cache)]
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def big_tarball(tmp_path: Path, megabytes: int = 24) -> Kernel:
    source = make_tree(tmp_path / "source")
    for number in range(megabytes):
        (source / "init" / f"{number}.c").write_bytes(os.urandom(1 << 20))
    archive = make_tarball(tmp_path / "linux.tar", source)
    return kernel(tarball(archive, sha256(archive)))


def test_a_killed_import_is_made_again(tmp_path: Path) -> None:
    spec = big_tarball(tmp_path)
    cache = tmp_path / "cache"
    process = child(spec, cache)
    try:
        # Killed as soon as something half-made is there.
        while process.poll() is None and not list(cache.glob("kernels/.partial-*/git/objects")):
            time.sleep(0.001)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert half_made(cache), "it was not killed in the middle"
    tree = obtain("7.3", spec, cache, quiet)
    assert tree.release == "7.3.4"
    assert Repository(tree.git_dir).run("fsck", "--full").ok
    assert not half_made(cache)


def test_ctrl_c_is_no_fault_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_tarball(tmp_path / "linux.tar", make_tree(tmp_path / "source"))
    spec = kernel(tarball(archive, sha256(archive)))
    # What stop_all() leaves: children that ended without having finished.
    monkeypatch.setattr(run, "stopping", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        obtain("7.3", spec, tmp_path / "cache", quiet)
    monkeypatch.undo()
    assert not half_made(tmp_path / "cache")
    assert obtain("7.3", spec, tmp_path / "cache", quiet).release == "7.3.4"


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    spec = big_tarball(tmp_path, 8)
    both = [child(spec, tmp_path / "cache") for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    commits = {output.splitlines()[-1] for output in outputs}
    assert len(commits) == 1
    assert " ".join(outputs).count("imported Linux") == 1


def test_a_stale_lock_file_blocks_nobody(tmp_path: Path) -> None:
    archive = make_tarball(tmp_path / "linux.tar", make_tree(tmp_path / "source"))
    spec = kernel(tarball(archive, sha256(archive)))
    cache = tmp_path / "cache"
    tree = obtain("7.3", spec, cache, quiet)
    locks = list(cache.rglob("*.lock"))
    assert locks
    for lock in locks:
        lock.write_text("999999")
    for note in cache.glob("kernels/known/*.json"):
        note.unlink()
    assert obtain("7.3", spec, cache, quiet) == tree


def test_a_full_disk_is_ours_and_leaves_nothing(tmp_path: Path) -> None:
    spec = big_tarball(tmp_path)
    cache = tmp_path / "cache"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    process = child(spec, cache, preexec_fn=limit)
    output = process.communicate()[0]
    assert process.returncode != 0
    assert "DiskFull" in output and str(cache) in output
    assert not half_made(cache)
    assert not [
        path
        for path in cache.glob("kernels/*")
        if path.name.startswith("tarball-") and path.is_dir()
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs takes root")
def test_a_really_full_disk(tmp_path: Path) -> None:
    spec = big_tarball(tmp_path)
    cache = tmp_path / "cache"
    cache.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(cache)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(DiskFull) as caught:
            obtain("7.3", spec, cache, quiet)
        assert str(cache) in str(caught.value)
        assert not half_made(cache)
    finally:
        subprocess.run(["umount", str(cache)], check=True)
