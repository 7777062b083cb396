"""An export as a Python object: predictions for arrays and image files, evaluation, verification."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_tuner.api import asking, words
from cnn_tuner.api.loading import quiet_tensorflow
from cnn_tuner.api.words import told_in_keywords
from cnn_tuner.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from cnn_tuner.export.served import Served
    from cnn_tuner.export.verification import Step


@dataclass(frozen=True, eq=False)
class Predictions:
    """What an export says of N images.

    Attributes:
        names: the class of each image; for labels a list of those that are present of each; empty for a regression.
        classes: (N,) int, the place of each image's class among the class names; None for labels and regressions.
        probabilities: (N, K) float32, of each class or label; None for a regression.
        values: (N, D) float32, the targets of a regression; None for others.

    Example:
        >>> found = run.exported.predict(data[0][:3])
        >>> print(len(found), found.names, found.probabilities.shape)
    """

    names: list[Any]
    classes: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    values: np.ndarray | None = None

    def __len__(self) -> int:
        found = self.values if self.probabilities is None else self.probabilities
        return 0 if found is None else len(found)


class Export:
    """The folder of an export, which needs neither the run nor its data.

    It is loaded when it is first asked, once its files are known to hold nothing that could run code.

    Example:
        >>> export = cnn_tuner.load(run.exported.path)
        >>> print(export.task, export.class_names, export.image_shape)
    """

    def __init__(self, path: str | Path) -> None:
        """The export in a folder.

        Args:
            path: the folder that holds `saved_model.pb`.

        Raises:
            UsageError: it does not.
        """
        self.path: Path = Path(path).expanduser().absolute()
        """The folder of the export."""
        if not (self.path / "saved_model.pb").is_file():
            raise UsageError(f"{self.path}: no SavedModel here; name the folder that holds saved_model.pb")

    @cached_property
    def _served(self) -> Served:
        with quiet_tensorflow():
            from cnn_tuner.export.served import Served

            return Served(self.path)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # what is loaded cannot be pickled

    @property
    def task(self) -> str:
        """binary, multiclass, multilabel or regression."""
        return self._served.task

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, labels or targets, in the order of probabilities and values."""
        return self._served.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images that it takes."""
        return self._served.image_shape

    @told_in_keywords()
    def predict(self, images: Any, threshold: str | float | None = None) -> Predictions:
        """Say what images show.

        Args:
            images: an array (N, H, W, C) or (N, H, W), or one image (H, W, C) or (H, W), of the export's size: whole
                numbers 0 to 255, or floats 0 to 1 or 0 to 255, by the rule of training data, which the brightest pixel
                of all decides; or the path of an image file, or a list of such, decoded as for training.
            threshold: from which probability on a label is there, or the second of two classes: a number, or `"val"`
                for what the validation part says. None: 0.5.

        Returns:
            The answers in the order of the images.

        Raises:
            UsageError: no images, or a threshold for a task that has none.
            DataError: images of another shape, or a file that cannot be read.
            VerificationError: the export holds what an export must not hold.

        Example:
            >>> found = run.exported.predict(data[0][0])
            >>> print(found.names[0], found.probabilities[0].max())
        """
        with quiet_tensorflow():
            from cnn_tuner.predict import inputs

            served = self._served
            thresholds = words.thresholds(threshold, self.path, served.task, len(served.class_names))
            found = served.decided(inputs.pixels(images, served.image_shape, served.fit), thresholds)
        if "values" in found:
            return Predictions([], values=found["values"])
        probabilities = found["probabilities"]
        if "is_present" in found:
            names = [
                [name for name, is_there in zip(served.class_names, row, strict=True) if is_there]
                for row in found["is_present"]
            ]
            return Predictions(names, probabilities=probabilities)
        import numpy as np

        classes = np.array([served.class_names.index(name.decode()) for name in found["class"]], int)
        return Predictions([served.class_names[each] for each in classes], classes, probabilities)

    @told_in_keywords()
    def evaluate(
        self,
        data: Any,
        *,
        all_parts: bool = False,
        seed: int = 0,
        test_fraction: float = 0.2,
        skip_broken: bool = False,
        follow_links: bool = False,
        leave_out: str | Sequence[str] | None = None,
        image_column: str | None = None,
        label_column: str | Sequence[str] | None = None,
        split_column: str | None = None,
    ) -> dict[str, Any]:
        """Say what the export is worth on any data that has its classes.

        Args:
            data: as for `tune`.
            all_parts: every image, not the test part alone.
            seed, test_fraction: decide the test part that is split off where there is none.
            skip_broken, follow_links, leave_out, image_column, label_column, split_column: as for `tune`.

        Returns:
            `test`: metrics by name; `intervals`: their 95 % intervals; `classes`: precision, recall and F1 of each;
            `images`: how many; `data`, `export`, `parts`.

        Raises:
            DataError: the data cannot be read, or its classes or images are not those of the export.
            VerificationError: the export holds what an export must not hold.

        Example:
            >>> print(run.exported.evaluate(data, all_parts=True)["test"]["accuracy"])
        """
        given = dict(locals())  # every keyword, as `evaluated` has them
        del given["self"]
        return evaluated(self.path, **given, served=self._served)

    @told_in_keywords()
    def verify(self) -> list[Step]:
        """Verify the export by its own files, from checksums to accuracy; each format is read by a new process.

        Returns:
            The steps: `name`, `status` (passed, or skipped where a format's reader is not installed) and `text`.

        Raises:
            VerificationError: a step fails; the message says which file, or which image and by how much.

        Example:
            >>> print([step.status for step in run.exported.verify()])
        """
        return list(verified(self.path))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Export) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"<Export {str(self.path)!r}>"


def verified(folder: Path) -> Iterator[Step]:
    """The steps of a verification, one at a time."""
    with quiet_tensorflow():
        from cnn_tuner.export.verification import verify_folder

        yield from verify_folder(folder)


def evaluated(
    folder: Path,
    data: Any,
    all_parts: bool = False,
    leave_out: str | Sequence[str] | None = None,
    label_column: str | Sequence[str] | None = None,
    served: Served | None = None,
    **given: Any,
) -> dict[str, Any]:
    """What an export says of any data; `given` are fields of `DataOptions`."""
    from cnn_tuner.data.options import DataOptions

    options = DataOptions(leave_out=words.names(leave_out), label_columns=words.names(label_column), **given)
    with quiet_tensorflow():
        from cnn_tuner.predict import evaluating

        return evaluating.evaluate_export(folder, asking.moved(data), options, all_parts, words.cache_options(), served)
