"""What a check found out about a dataset."""

from dataclasses import dataclass, field


@dataclass
class Report:
    """Findings about one dataset, in the order in which they were made.

    Attributes:
        name: of the dataset.
        notes: what is there.
        warnings: what deserves a look but does not change a score, or is known to its maker.
        errors: what makes training or evaluation wrong or impossible.
    """

    name: str
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the dataset can be used."""
        return not self.errors

    def __str__(self) -> str:
        lines = [f"{self.name}: {'ok' if self.ok else 'NOT READY'}"]
        lines += [f"  error: {text}" for text in self.errors]
        lines += [f"  warning: {text}" for text in self.warnings]
        return "\n".join(lines + [f"  {text}" for text in self.notes])
