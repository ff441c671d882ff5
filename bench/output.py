"""Write the results of a run: samples as JSON, and the report with its plots into a folder."""

import json
import re
import shlex
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.bridges import Bridge
from bench.cells import Cell
from bench.launch import VALUES
from bench.machine import describe_machine
from bench.places import without_folders
from bench.plots import NoPlots, draw
from bench.report import Report
from bench.samples import Results


def _command_lines(bridges: Sequence[Bridge], paths: Container[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield how each bridge is started on each of the `paths`: pairs of a bridge's and a path's name."""
    for bridge in bridges:
        for path, way in bridge.ways().items():
            if way is not None and (bridge.name, path) in paths:
                home = f"bench/.peers/{bridge.name}"
                words = " ".join(way.words).replace("{home}", home)
                environment = "".join(f"{name}={shlex.quote(value)} " for name, value in bridge.environment.items())
                yield f"{bridge.name}, {path}", without_folders(environment + words)
                if way.config:
                    yield (
                        f"{bridge.name}, {path}, {{config}}",
                        " ".join(way.config.format(**{name: f"{{{name}}}" for name in VALUES}).split()),
                    )


class Writer:
    """Knows the run; writes it in the forms that were asked for."""

    def __init__(
        self,
        bridges: Sequence[Bridge],
        cells: Sequence[Cell],
        results: Results,
        *,
        rows: Iterable[tuple[str, str]],
        words: Sequence[str],
        notes: Sequence[str],
    ) -> None:
        self._report = Report(
            bridges=bridges,
            cells=cells,
            results=results,
            machine=describe_machine(),
            command=without_folders(shlex.join(["python", "-m", "bench", *words])),
            command_lines=dict(_command_lines(bridges, {(name, re.split("[-/]", cell)[0]) for name, cell in rows})),
            notes=notes,
        )

    def write_json(self, target: str) -> None:
        """Write every sample to the file `target`; `-` is stdout."""
        report = self._report
        content = {
            "command": report.command,
            "machine": report.machine,
            "notes": list(report.notes),
            "versions": {bridge.name: label for bridge in report.bridges if (label := bridge.version)},
            "samples": [asdict(sample) for sample in report.results.samples],
        }
        text = json.dumps(content, indent=1) + "\n"
        if target == "-":
            sys.stdout.write(text)
        else:
            Path(target).write_text(text)

    def write_report(self, folder: Path) -> str:
        """Write report.md and the plots into `folder`; return what to tell of the plots."""
        folder.mkdir(parents=True, exist_ok=True)
        told, pictures = "", []
        try:
            pictures = draw(folder, self._report.bridges, self._report.results)
        except NoPlots as reason:
            told = str(reason)
        lines = [*self._report.lines(), "", *(f"![{path.stem.replace('-', ' ')}]({path.name})" for path in pictures)]
        (folder / "report.md").write_text("\n".join(lines) + "\n")
        return told

    def markdown(self) -> str:
        """Return the report as text."""
        return "\n".join(self._report.lines())
