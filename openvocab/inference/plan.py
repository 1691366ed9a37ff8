"""What a run over pictures will do: jobs, the files of each, and how pictures are called in them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from openvocab.inference import marks
from openvocab.inference.batch import Job
from openvocab.inference.coco_folder import WHOLE
from openvocab.inference.inputs import Inputs
from openvocab.inference.naming import outputs_of, stems_for
from openvocab.inference.record import RECORD
from openvocab.inference.result import Result

LOCK = "openvocab_segment.lock"


class Plan:
    """Pictures and the files that they become.

    Attributes:
        jobs: a picture each.
        folder: of the outputs.
        formats: of the outputs.
        several: whether more than one picture was asked for: then the folder is claimed, and what is done noted.
        root: the folder that COCO's names of pictures start from.
        whole: the COCO file of all, or None.
    """

    def __init__(self, found: Inputs, folder: Path, formats: Sequence[str]) -> None:
        """Finds names for all outputs.

        Args:
            found: the pictures.
            folder: of the outputs; need not exist.
            formats: of `openvocab.inference.outputs.FORMATS`.
        """
        stems = stems_for(found.pictures, folder, formats, found.below, (WHOLE, RECORD, LOCK))
        self.jobs = [Job(*job) for job in zip(range(1, len(stems) + 1), found.pictures, stems, strict=True)]
        self.folder, self.formats = folder, tuple(formats)
        self.several = len(found.pictures) + len(found.refused) > 1
        self.root = os.path.commonpath([os.path.abspath(root) for root in found.roots]) if found.roots else ""
        self.whole = folder / WHOLE if "coco" in formats and self.several else None

    def files(self, jobs: Sequence[Job] | None = None) -> Iterator[Path]:
        """Lists the outputs.

        Args:
            jobs: of these; default: of all, and the file of all.
        """
        if jobs is None and self.whole is not None:
            yield self.whole
        yield from outputs_of([job.stem for job in (self.jobs if jobs is None else jobs)], self.folder, self.formats)

    def refuse_foreign(self) -> None:
        """Makes sure that nothing is in the way.

        Raises:
            ValueError: files that no segmentation wrote lie where outputs go.
        """
        marks.refuse_foreign(self.files(), marks.SEGMENTATION)

    def save(self, job: Job, result: Result) -> list[Path]:
        """Writes the outputs of one picture; see `Result.save_all`.

        Args:
            job: the picture.
            result: its segmentation.
        """
        name = os.path.relpath(job.picture, self.root).replace(os.sep, "/")
        return result.save_all(self.folder, job.stem, self.formats, name, job.picture)
