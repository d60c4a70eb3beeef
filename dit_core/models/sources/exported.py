"""What an exported model shares with the bundled model that it was made from."""

from abc import abstractmethod

from dit_core.models import sources
from dit_core.models.sources.base import Missing, ModelSource


class Exported(ModelSource):
    """A model that may be an export. Of a bundled model, it has the reference and the training images."""

    @property
    @abstractmethod
    def made_from(self) -> str:
        """Name of the model that this one was exported from, as its files tell it; empty if they do not."""

    @property
    def reference_images(self) -> str | Missing:
        return self._bundled.reference_images if self._bundled else super().reference_images

    @property
    def training_images(self) -> str | Missing:
        return self._bundled.training_images if self._bundled else super().training_images

    @property
    def origin(self) -> str:
        return self._bundled.name if self._bundled else super().origin

    @property
    def _bundled(self) -> ModelSource | None:
        """The bundled model that this one was exported from, if both draw the same classes."""
        source = sources.find(self.made_from) if self.made_from in sources.bundled_names() else None
        return source if source and source.class_names == self.class_names else None
