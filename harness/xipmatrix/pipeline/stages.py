# SPDX-License-Identifier: GPL-2.0-only
"""A cell's way through the stages: series → source → config → build → image → boot → verdict.

Each stage is a function of the cell and of the stages before it; its result is kept
under a key of all its inputs (:mod:`stagecache`). A fault of ours ends as the verdict
``infrastructure``, never as the kernel's.
"""

from __future__ import annotations

import errno
import functools
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from ..build import compile as compiling
from ..build import config as configuring
from ..build import toolchain as toolchains
from ..build.jobserver import Jobserver
from ..build.kconfig import parse_config
from ..build.place import BuildPlace
from ..build.room import Room, builds_at_a_time, needed
from ..core.errors import InfrastructureError, XipmatrixError
from ..core.evidence import CellFailure, Evidence, Verdict
from ..core.files import (
    Say,
    cache_dir,
    find_inside,
    key_of,
    remove,
    sha256_file,
    share,
    write_json,
)
from ..image import static_evidence
from ..kernel import move_to, obtain, source_folder
from ..machine.console import Limits
from ..machine.init import PROGRAMS, build_init, made_of
from ..machine.init.cpio import add_modules, make_cpio
from ..machine.qemu import version as qemu_version
from ..machine.residency import EXECUTED
from ..machine.result import CONSOLE, COUNTS, FLASH_TRACE, QEMU_SCRIPT
from ..matrix.load import LoadedMatrix
from ..matrix.model import Cell
from ..result import WORKING, CellResult, Stage, StageRecord
from ..series.engine import State
from ..stagecache import INPUTS, Kept, StageCache
from ..store import Run, logs
from ..verdict import Judgement, decide, judge
from .digesting import digest_of
from .ground import Checkouts, Ground, Prepared
from .kept_series import applied, readable_sources, series_id
from .normal import NORMAL, against_normal
from .trial import Way, boot_once, forget_dumps

_AS_BUILT = Way()
Tell = Callable[[str, str, str], None]


@dataclass(frozen=True)
class Options:
    """How a run is done. `jobs` is the number of compilers at a time.

    `arguments` go into the command that reproduces a cell. `place` is for one cell at a
    time, over several kernels: what is built there is built incrementally.
    """

    jobs: int
    until: Stage = Stage.VERDICT
    again: bool = False
    ccache: bool = False
    silence_seconds: float | None = None
    boot_seconds: float | None = None
    arguments: str = ""
    place: BuildPlace | None = None


@dataclass
class _Clock:
    """What a stage reports about itself; `waited` in seconds, for other cells."""

    cached: bool = False
    waited: float = 0.0


@dataclass
class Pipeline:
    """What the cells of one run share."""

    loaded: LoadedMatrix
    templates: Path
    run: Run
    options: Options
    tell: Tell
    cache: Path = field(default_factory=cache_dir)

    def __post_init__(self) -> None:
        self._stages = StageCache(self.cache / "stages")
        self._kernels: dict[str, Prepared | XipmatrixError] = {}
        self._kernel_guards: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._room = Room(builds_at_a_time(self.options.jobs))
        self._jobserver = Jobserver(self.options.jobs)
        self._boot_slots = threading.Semaphore(self.options.jobs)
        self._series = readable_sources(self._stages, self.templates)
        self._checkouts = Checkouts(self.cache)

    def run_cell(self, cell: Cell) -> CellResult:
        """All stages of one cell, up to the one that is wanted. Raises KeyboardInterrupt only."""
        result = CellResult.of(cell, self.options.arguments)
        with self.concluding(cell, result):
            self._stages_of(cell, result, self.run.cell_folder(cell))
        return result

    @property
    def cells_at_a_time(self) -> int:
        """How many cells to run at a time: those that build, and one that configures or boots."""
        return builds_at_a_time(self.options.jobs) + 1

    @contextmanager
    def concluding(self, cell: Cell, result: CellResult) -> Iterator[None]:
        """Whatever ends the block becomes the verdict in `result`, which is kept with the run."""
        try:
            yield
        except CellFailure as failure:
            result.verdict, result.reason = failure.verdict, failure.reason
            result.log = failure.log or result.log
        except XipmatrixError as error:
            result.verdict, result.hint = Verdict.INFRASTRUCTURE, error.hint
            result.reason = f"{error.where}: {error.what}" if error.where else error.what
        except OSError as error:
            _no_disk(result, error)
        result.digest = digest_of(cell, result)
        try:
            self.run.save(cell, result)
        except XipmatrixError as error:  # told all the same, with those of the other cells
            result.verdict, result.reason, result.hint = (
                Verdict.INFRASTRUCTURE,
                f"the result cannot be kept: {error.where}: {error.what}",
                error.hint,
            )
            result.digest = digest_of(cell, result)
        except OSError as error:
            _no_disk(result, error)
            result.digest = digest_of(cell, result)
        self.tell(cell.id, str(result.verdict or f"done until {self.options.until}"), "")

    @contextmanager
    def stage(self, cell: Cell, result: CellResult, stage: Stage) -> Iterator[_Clock]:
        """Time a stage; the block says what was kept from before, and what it only waited.

        What other stages took inside the block counts for them.
        """
        self.tell(cell.id, str(stage), "")
        clock = _Clock()
        began, told = time.monotonic(), result.seconds
        try:
            yield clock
        finally:
            inside = result.seconds - told
            seconds = max(0.0, round(time.monotonic() - began - clock.waited - inside, 2))
            result.stages.append(StageRecord(stage, seconds, clock.cached))

    def _stages_of(self, cell: Cell, result: CellResult, folder: Path) -> None:
        until = list(Stage).index(self.options.until)

        def wanted(stage: Stage) -> bool:
            return list(Stage).index(stage) <= until

        with self.stage(cell, result, Stage.SERIES):
            prepared = self.prepared(cell.kernel)
            self.check_series(cell, prepared)
        result.versions |= {
            "kernel": f"{prepared.kernel.release} ({prepared.kernel.origin})",
            "base": prepared.kernel.commit,
            "commit": prepared.tip(cell.series),
            "series": series_id(self._stages, prepared.kernel, prepared.tip(cell.series)),
            "xipmatrix": __version__,
        }
        if not wanted(Stage.SOURCE):
            return
        find_source = self._finding(cell, result, prepared)
        if not wanted(Stage.CONFIG):
            find_source()
            return
        ground = Ground(cell, prepared, find_source, toolchains.of_cell(cell))
        result.versions["compiler"] = ground.toolchain.version
        with self.stage(cell, result, Stage.CONFIG) as clock:
            config = self._config(ground, folder)
            clock.cached = config.cached
        result.paths["config"] = str(config.folder / "config")
        if not wanted(Stage.BUILD):
            return
        with self.stage(cell, result, Stage.BUILD) as clock:
            kept = self._build(ground, config, folder, clock, place=self.options.place)
            clock.cached = kept.cached
            if cell.config_spec.compare is not None:
                normal = self.normal_kernel(ground, folder, clock)
                clock.cached = clock.cached and normal.cached
                result.paths["normal kernel"] = str(normal.folder)
        built = compiling.built(kept.folder)
        result.log = str(kept.folder / "tuxmake" / "build.log")
        result.paths |= {
            "build": str(kept.folder),
            "vmlinux": str(built.vmlinux),
            "build log": result.log,
            "xipImage": str(built.image),
        }
        if not wanted(Stage.IMAGE):
            return
        with self.stage(cell, result, Stage.IMAGE) as clock:
            image = self._image(cell, config, built)
            clock.cached = image.cached
            self.look_at(result, built.image, _read_evidence(image.folder))
        if not wanted(Stage.BOOT):
            return
        with self.stage(cell, result, Stage.BOOT) as clock:
            kept = self._boot(ground, built, result, folder, clock)
            clock.cached = kept.cached
        result.verdict = Verdict.PASS

    def look_at(self, result: CellResult, image: Path, static: list[Evidence]) -> None:
        """Put static evidence of an `image` into `result`. Raises CellFailure where it decides."""
        result.figures["image_bytes"] = image.stat().st_size
        result.evidence = static
        early = decide(static)
        _measure(result, early)
        if early.verdict is not Verdict.PASS:
            raise CellFailure(early.verdict, early.reason, log=result.log)

    def built(self, result: CellResult) -> compiling.Built:
        """What the build stage of `result`, a cell that was built, left."""
        return compiling.built(Path(result.paths["build"]))

    def conclude(self, cell: Cell, result: CellResult, judgement: Judgement, console: Path) -> None:
        """Put the judgement of a boot into `result`, and keep it with the run."""
        _take(result, judgement, console)
        result.verdict, result.reason = judgement.verdict, judgement.reason
        result.digest = digest_of(cell, result)
        self.run.save(cell, result)

    # --- series and source, shared by the cells of a kernel -----------------------------

    def prepared(self, name: str) -> Prepared:
        """A kernel with all series applied, once a run. Raises what `obtain` raises."""
        with self._guard:
            lock = self._kernel_guards.setdefault(name, threading.Lock())
        with lock:
            if name not in self._kernels:
                self._kernels[name] = self._prepare(name)
        found = self._kernels[name]
        if isinstance(found, XipmatrixError):
            raise found
        return found

    def give(self, prepared: Prepared) -> None:
        """Use a kernel that another machine has obtained and applied its series to."""
        with self._guard:
            self._kernels[prepared.kernel.name] = prepared

    def _prepare(self, name: str) -> Prepared | XipmatrixError:
        def say(text: str) -> None:
            self.tell(f"kernel {name}", WORKING, text)

        try:
            kernel = obtain(name, self.loaded.kernels[name], self.cache, say)
            states = applied(self._stages, self._series, kernel, say)
        except XipmatrixError as error:
            return error
        for arch, one in states.items():
            self.tell(f"kernel {name}", "series", f"{arch}: {one.state}")
        return Prepared(kernel, states)

    def check_series(self, cell: Cell, prepared: Prepared) -> None:
        """Raise CellFailure where no series, or none that applies, gives `cell` its kernel."""
        applied = prepared.states.get(cell.series)
        if applied is None or applied.state is State.NONE:
            raise CellFailure(
                Verdict.NOT_APPLICABLE,
                f"{prepared.kernel.release} has no XIP for {cell.series}, and "
                f"templates/{cell.series} has no series for it",
            )
        for name in ("generic", cell.series):
            found = prepared.states.get(name)
            if found is not None and found.state is State.CONFLICT:
                raise CellFailure(Verdict.SERIES_CONFLICT, found.detail)

    def _say(self, cell: Cell) -> Say:
        def say(text: str) -> None:
            waits = text.startswith("waiting ")
            self.tell(cell.id, "waiting" if waits else WORKING, text.removeprefix("waiting "))

        return say

    def source(self, cell: Cell, prepared: Prepared) -> Path:
        """The source folder that `cell` is built from: only to be read."""
        git_dir, series, place = prepared.kernel.git_dir, cell.series, self.options.place
        if place is not None:
            return move_to(git_dir, prepared.tip(series), place.source, self._say(cell))
        return self._checkouts.get(git_dir, prepared.tree(series), self._say(cell))

    def _finding(self, cell: Cell, result: CellResult, prepared: Prepared) -> Callable[[], Path]:
        """What finds the source folder, as a stage of its own; until then it counts as kept."""
        own = self.options.place
        folder = own.source if own else source_folder(self.cache, prepared.tree(cell.series))
        result.paths["source"] = str(folder)
        unread = StageRecord(Stage.SOURCE, 0.0, cached=True)
        result.stages.append(unread)

        def find() -> Path:
            if unread in result.stages:
                result.stages.remove(unread)
            with self.stage(cell, result, Stage.SOURCE):
                return self.source(cell, prepared)

        return find

    # --- config and build ---------------------------------------------------------------

    def initramfs(self, ground: Ground) -> Path:
        """The archive with the test's init, compiled for the cell."""
        cell, toolchain = ground.cell, ground.toolchain
        kept = self._stages.get(
            "init",
            {
                "tree": ground.tree,
                # Not all of arch.yaml: what only the judge reads must not rebuild kernels.
                "arch": [cell.arch_spec.kernel_arch, cell.arch_spec.init.model_dump()],
                "cflags": cell.config_spec.init_cflags,
                "compiler": toolchain.version,
                "prefix": toolchain.prefix,
                "init": made_of(cell),
                "xipmatrix": __version__,
            },
            lambda work: _init(ground, work),
            say=self._say(cell),
        )
        return kept.folder / "initramfs.cpio"

    def normal_kernel(self, ground: Ground, folder: Path, clock: _Clock | None = None) -> Kept:
        """A kernel of the same config without XIP, built and kept like any other."""
        try:
            return self.kernel(ground, folder / NORMAL, clock, xip=False)
        except CellFailure as failure:
            raise CellFailure(
                failure.verdict, f"of the normal kernel: {failure.reason}", log=failure.log
            ) from failure

    def kernel(
        self,
        ground: Ground,
        folder: Path,
        clock: _Clock | None = None,
        *,
        xip: bool = True,
        place: BuildPlace | None = None,
    ) -> Kept:
        """Configure and build. Logs of what fails are in `folder`. Raises what these raise."""
        config = self._config(ground, folder, xip=xip)
        return self._build(ground, config, folder, clock or _Clock(), xip=xip, place=place)

    def _config(self, ground: Ground, folder: Path, *, xip: bool = True) -> Kept:
        cell, toolchain = ground.cell, ground.toolchain
        name = _called(self.initramfs(ground))
        fragment = configuring.render_fragment(
            cell, ground.prepared.kernel.release, name, self.templates
        )
        if not xip:
            fragment = configuring.without_xip(fragment)

        def make(work: Path) -> None:
            folder.mkdir(exist_ok=True)
            log = folder / "config.log"
            log.unlink(missing_ok=True)
            done = configuring.make_config(cell, ground.source, toolchain, fragment, work, log)
            shutil.copy(done.path, work / "config")
            write_json(work / "wanted.json", done.wanted)
            for path in work.iterdir():
                if path.name not in ("config", "wanted.json"):
                    remove(path)

        return self._stages.get(
            "config",
            {
                "tree": ground.tree,
                "base": cell.config_spec.base,
                "fragment": fragment,
                "make": toolchain.make_args,
                "compiler": toolchain.version,
                "xipmatrix": __version__,
            },
            make,
            say=self._say(cell),
        )

    def _build(
        self,
        ground: Ground,
        config: Kept,
        folder: Path,
        clock: _Clock,
        *,
        xip: bool = True,
        place: BuildPlace | None = None,
    ) -> Kept:
        cell, toolchain = ground.cell, ground.toolchain
        tree = cell.board_spec.device_tree.source if cell.board_spec.device_tree else None
        with_modules = "modules" in cell.config_spec.workload

        def carrying(env: Mapping[str, str], work: Path, objects: Path | None) -> Path:
            """The cell's archive with its modules, which are built first."""
            modules = compiling.build_modules(
                ground.source,
                toolchain,
                config.folder / "config",
                work,
                jobs=self.options.jobs,
                timeout=self.loaded.matrix.limits.build,
                ccache=self.options.ccache,
                objects=objects,
                env=env,
            )
            return add_modules(ground.source, self.initramfs(ground), modules, work)

        def compile_in(env: Mapping[str, str], work: Path, objects: Path | None) -> None:
            compiling.build_kernel(
                cell,
                ground.source,
                toolchain,
                config.folder / "config",
                work,
                jobs=self.options.jobs,
                timeout=self.loaded.matrix.limits.build,
                ccache=self.options.ccache,
                xip=xip,
                initramfs=(
                    carrying(env, work, objects) if with_modules else self.initramfs(ground)
                ),
                objects=objects,
                env=env,
            )

        def make(work: Path) -> None:
            _ = ground.source  # before others have to wait for it
            programs = self.initramfs(ground).parent / PROGRAMS
            if programs.is_dir():
                shutil.copytree(programs, work / PROGRAMS)
            began = time.monotonic()
            with self._room.take(needed(cell), self._say(cell)), self._jobserver.build() as env:
                clock.waited += time.monotonic() - began
                what = "compiling" if xip else "compiling the normal kernel"
                self.tell(cell.id, str(Stage.BUILD), what)
                compile_here = functools.partial(compile_in, env)
                try:
                    if place is None:
                        compile_here(work, None)
                    else:
                        place.build(work, compile_here)
                except (CellFailure, InfrastructureError) as error:
                    raise _with_kept_log(error, work, folder) from error

        return self._stages.get(
            "build",
            {
                "tree": ground.tree,
                "config": (config.folder / "config").read_text(),
                # QEMU's is none of the kernel's: boards that change it share a kernel.
                "device tree": None if tree == "qemu" else tree,
                "toolchain": [toolchain.arch, toolchain.name, toolchain.version],
                "tuxmake": _tuxmake(),
                "target": "xipkernel" if xip else cell.arch_spec.normal_image,
                "with modules": with_modules,
                "xipmatrix": __version__,
            },
            make,
            say=self._say(cell),
        )

    # --- image and boot -----------------------------------------------------------------

    def _image(self, cell: Cell, config: Kept, built: compiling.Built) -> Kept:
        """What the built files say, whatever that is."""

        def make(work: Path) -> None:
            options = parse_config((config.folder / "config").read_text())
            files = built.vmlinux, built.image, built.linker_scripts
            _write_evidence(work, static_evidence(cell, options, *files))

        inputs = {"build": built.folder.name, **_specs(cell), "xipmatrix": _own_code()}
        return self._stages.get("image", inputs, make, say=self._say(cell))

    def limits(self) -> Limits:
        """The console limits of this run: command line before matrix.yaml."""
        limits = self.loaded.matrix.limits
        return Limits(
            silence=self.options.silence_seconds or limits.silence,
            total=self.options.boot_seconds or limits.boot,
        )

    def _boot(
        self,
        ground: Ground,
        built: compiling.Built,
        result: CellResult,
        folder: Path,
        clock: _Clock,
    ) -> Kept:
        """Boot and judge. Only a pass is kept: whatever fails is tried again by the next run."""
        cell = ground.cell
        result.versions["qemu"] = qemu_version(cell.board_spec.qemu.binary)
        inputs = {
            "build": built.folder.name,
            **_specs(cell),
            "normal kernel": Path(result.paths.get("normal kernel", "")).name,
            "qemu": result.versions["qemu"],
            "templates": self._boot_templates(cell),
            # A judge that has changed must judge again; that takes seconds.
            "xipmatrix": _own_code(),
        }

        def make(work: Path) -> None:
            _ = ground.source  # which explains what fails
            began = time.monotonic()
            with self._boot_slots:
                clock.waited += time.monotonic() - began
                way = self.comparison(cell, built, result, folder)
                judgement = self.tries(cell, built, result, folder, way)
            if judgement.verdict is not Verdict.PASS:
                raise CellFailure(judgement.verdict, judgement.reason, log=result.log)
            logs.compress(folder)  # once, for all runs that take it from here
            for name in _RAW:
                path = Path(logs.place(str(folder / name)))
                share(path, work / path.name)
            if way is not _AS_BUILT:
                shutil.copytree(folder / NORMAL, work / NORMAL, copy_function=share)
            _write_evidence(work, judgement.evidence)

        kept = self._stages.get("boot", inputs, make, say=self._say(cell), again=self.options.again)
        if kept.cached:
            shutil.copytree(
                kept.folder,
                folder,
                dirs_exist_ok=True,
                copy_function=share,
                ignore=lambda _, names: [one for one in names if one in _OF_THE_STAGE],
            )
            if (folder / NORMAL).is_dir():
                result.paths["normal boot"] = str(folder / NORMAL)
            _take(result, decide(_read_evidence(kept.folder)), folder / CONSOLE)
        return kept

    def comparison(
        self, cell: Cell, built: compiling.Built, result: CellResult, folder: Path
    ) -> Way:
        """How a cell that was built is booted: where its config says so, after its normal
        kernel, whose results it must give too."""
        if cell.config_spec.compare is None:
            return _AS_BUILT
        self.tell(cell.id, str(Stage.BOOT), "the normal kernel")
        result.paths["normal boot"] = str(folder / NORMAL)
        normal, source = (Path(result.paths[name]) for name in ("normal kernel", "source"))
        return against_normal(
            cell, built, normal, source, folder / NORMAL, self.limits(), self.templates
        )

    def tries(
        self,
        cell: Cell,
        built: compiling.Built,
        result: CellResult,
        folder: Path,
        way: Way = _AS_BUILT,
    ) -> Judgement:
        """Boot and judge, with the static evidence that is in `result`.

        Once more where the verdict is not what matrix.yaml expects: two tries that differ are
        `flaky`, never a pass; what the first one left is kept in ``first-try`` beside the
        second's. A fault of our own is not tried again here.
        """
        static = list(result.evidence)
        tries: list[Judgement] = []
        while True:
            seen = boot_once(
                cell,
                built,
                folder,
                self.limits(),
                self.templates,
                extra_args=way.words,
                preload=way.preload,
            )
            judgement = judge(cell, seen, built.vmlinux, [*static, *way.also(seen)])
            _take(result, judgement, seen.console)
            tries.append(judgement)
            if judgement.verdict is Verdict.PASS:
                forget_dumps(seen)
            settled = judgement.verdict in (Verdict.PASS, Verdict.INFRASTRUCTURE)
            if settled or judgement.verdict in cell.expected or len(tries) == _TRIES:
                break
            self.tell(cell.id, str(Stage.BOOT), f"again, after {judgement.verdict}")
            result.paths["first try"] = str(_set_aside(folder))
        return flaky(*tries) if len(tries) == _TRIES else judgement

    def booted(self, cell: Cell, build: Kept, folder: Path) -> Judgement:
        """One boot of a kernel of `cell` that was built, and the verdict on it alone."""
        built = compiling.built(build.folder)
        seen = boot_once(cell, built, folder, self.limits(), self.templates)
        judgement = judge(cell, seen, built.vmlinux)
        if judgement.verdict is Verdict.PASS:
            forget_dumps(seen)
        return judgement

    def _boot_templates(self, cell: Cell) -> str:
        stub = cell.board_spec.reset_stub
        if stub is None:
            return ""
        folders = [self.templates / name for name in cell.template_folders]
        return find_inside(folders, stub).read_text()


def _no_disk(result: CellResult, error: OSError) -> None:
    result.verdict = Verdict.INFRASTRUCTURE
    full = error.errno == errno.ENOSPC
    result.reason = "the disk is full" if full else str(error)
    result.hint = "xipmatrix clean; XIPMATRIX_CACHE and XIPMATRIX_STATE move things" if full else ""


@functools.cache
def _tuxmake() -> str:
    return metadata.version("tuxmake")


@functools.cache
def _own_code() -> str:
    return key_of(_sources_of(Path(__file__).parents[1]))


def _specs(cell: Cell) -> dict[str, Any]:
    """All that the matrix says of a cell, for keys."""
    return {
        "board": cell.board_spec.model_dump(),
        "arch": cell.arch_spec.model_dump(),
        "config": cell.config_spec.model_dump(),
    }


def _write_evidence(folder: Path, evidence: Iterable[Evidence]) -> None:
    write_json(folder / _EVIDENCE, [one.as_dict() for one in evidence])


def _read_evidence(folder: Path) -> list[Evidence]:
    return [Evidence.from_dict(one) for one in json.loads((folder / _EVIDENCE).read_text())]


@functools.cache
def _sources_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".c", ".h", ".py", ".yaml")
    }


def _called(archive: Path) -> Path:
    """What a configuration calls an initramfs: where it or a program beside it differs, another.

    By content, since every file of a kernel includes the whole configuration: a change of
    the kernel that leaves init as it was is none for what ccache has of the other files.
    """
    made = [archive, *sorted((archive.parent / PROGRAMS).glob("*"))]
    return Path(key_of([sha256_file(one) for one in made]), archive.name)


def _init(ground: Ground, work: Path) -> None:
    listing = build_init(ground.source, ground.cell, ground.toolchain, work)
    make_cpio(ground.source, listing, work)


def _set_aside(folder: Path) -> Path:
    """Move what a first try left into a folder of its own."""
    aside = folder / "first-try"
    remove(aside)
    aside.mkdir()
    for path in list(folder.iterdir()):
        if path != aside and path.name not in _OF_THE_BUILD:
            path.rename(aside / path.name)
    return aside


def flaky(first: Judgement, second: Judgement) -> Judgement:
    """The second try's judgement, unless it differs: then neither is to be trusted."""
    if second.verdict is first.verdict or second.verdict is Verdict.INFRASTRUCTURE:
        return second
    reason = (
        f"first {first.verdict} ({first.reason.splitlines()[0]}), "
        f"then {second.verdict} ({second.reason.splitlines()[0]})"
    )
    return Judgement(Verdict.FLAKY, reason, second.evidence)


# How often a boot is tried that does not end as expected.
_TRIES = 2
# What lies in a cell's folder before it is booted.
_OF_THE_BUILD = ("config", "config.log", "build", "result.json", NORMAL)

# What a stage that is kept says of itself.
_EVIDENCE = "evidence.json"
_OF_THE_STAGE = (_EVIDENCE, INPUTS)

# What a boot leaves that a person who doubts can look through.
_RAW = (CONSOLE, COUNTS, FLASH_TRACE, QEMU_SCRIPT, EXECUTED)

_FIGURES = {
    "in_place_bytes": ("image-fits", "read_in_place_bytes"),
    "ram_bytes": ("data-in-ram", "ram_bytes"),
    "mem_total_kb": ("memory", "mem_total_kb"),
    "mem_available_kb": ("memory", "mem_available_kb"),
    "instructions": ("in-place", "total"),
    "normal_instructions": ("normal-kernel", "normal_instructions"),
    "normal_image_bytes": ("normal-kernel", "normal_image_bytes"),
    "normal_mem_available_kb": ("normal-kernel", "normal_mem_available_kb"),
    "kernel_instructions": ("in-place", "kernel_repeatable"),
    "flash_instructions": ("in-place", "flash"),
    "flash_share": ("in-place", "flash_share_of_kernel"),
    "ram_instructions_declared": ("in-place", "kernel_ram_declared"),
    "ram_instructions_undeclared": ("in-place", "kernel_ram_undeclared"),
    "user_instructions": ("in-place", "user"),
}


def _take(result: CellResult, judgement: Judgement, console: Path) -> None:
    result.evidence = list(judgement.evidence)
    _measure(result, judgement)
    result.log = str(console)
    folder = console.parent
    result.paths |= {"console": str(console), "boot": str(folder)}


def _measure(result: CellResult, judgement: Judgement) -> None:
    for name, (evidence, key) in _FIGURES.items():
        value = judgement.figure(evidence, key)
        if isinstance(value, int | float):
            result.figures[name] = value


def _with_kept_log(error: CellFailure | XipmatrixError, work: Path, folder: Path) -> Exception:
    """The same error, with the build's logs moved out of the folder that goes away."""
    target = folder / "build"
    shutil.rmtree(target, ignore_errors=True)
    if (work / "tuxmake").is_dir():
        shutil.copytree(work / "tuxmake", target)
    else:
        for name in ("modules.log", "tuxmake.log"):
            if (work / name).is_file():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(work / name, target / "build.log")
    log = target / "build.log"
    if isinstance(error, CellFailure):
        return CellFailure(error.verdict, error.reason, log=str(log) if log.is_file() else "")
    return InfrastructureError(
        error.what, where=log if log.is_file() else error.where, hint=error.hint
    )
