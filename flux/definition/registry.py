"""The workflows that an engine knows, by name and version."""

from collections.abc import Callable, Sequence

from flux.definition.builder import Workflow
from flux.definition.workflow import WorkflowDefinition
from flux.errors import UnknownWorkflowError, WorkflowConflictError


class Registry:
    """Workflows by name and version; of one name, the one registered last is the newest.

    `check` raises for one that cannot run here.
    """

    def __init__(self, check: Callable[[WorkflowDefinition], None] = lambda _: None) -> None:
        self._check = check
        self._versions: dict[str, dict[str, WorkflowDefinition]] = {}

    def register(self, workflow: Workflow | WorkflowDefinition) -> WorkflowDefinition:
        """Build the workflow if need be and keep it, and with it the workflows of its children.

        Registering it again changes nothing. Another one of the same shape takes its place: only
        its handlers and policies can differ. One of another shape is refused with
        `WorkflowConflictError`, since instances of both would bear one version.
        """
        definition = workflow.build() if isinstance(workflow, Workflow) else workflow
        if not isinstance(definition, WorkflowDefinition):
            raise TypeError(
                f"{workflow!r} is no Workflow; give one, or the name of a registered one"
            )
        known = self._versions.get(definition.name, {}).get(definition.version)
        if known is definition:
            return definition
        self._check(definition)
        for child in definition.children:
            self.register(child)
        versions = self._versions.setdefault(definition.name, {})
        if known is not None and known.shape != definition.shape:
            raise WorkflowConflictError(definition.name, definition.version)
        versions[definition.version] = definition
        return definition

    def find(self, workflow: Workflow | WorkflowDefinition | str) -> WorkflowDefinition:
        """The definition meant: registered if it was not, or looked up by its name."""
        return self.newest(workflow) if isinstance(workflow, str) else self.register(workflow)

    def newest(self, name: str) -> WorkflowDefinition:
        """The one registered last under this name, or `UnknownWorkflowError`."""
        if name not in self._versions:
            raise UnknownWorkflowError(name, self._versions)
        return next(reversed(self._versions[name].values()))

    def named(self, name: str, version: str | None) -> WorkflowDefinition:
        """The one of this version, the newest for None; `UnknownWorkflowError` for neither."""
        return self.newest(name) if version is None else self.of_instance(name, version)

    def of_instance(self, name: str, version: str) -> WorkflowDefinition:
        """The instance's own version where it is registered, otherwise the newest."""
        return self._versions.get(name, {}).get(version) or self.newest(name)

    def versions(self, name: str, version: str) -> Sequence[WorkflowDefinition]:
        """Those of this name, the one of this version first, then the newest first.

        `UnknownWorkflowError` if there is none.
        """
        own = self.of_instance(name, version)
        others = reversed(self._versions[name].values())
        return [own, *(definition for definition in others if definition is not own)]

    def known(self, name: str, version: str) -> WorkflowDefinition | None:
        """As `of_instance`, but None for a name that nobody registered."""
        return self.of_instance(name, version) if name in self._versions else None

    @property
    def all(self) -> Sequence[WorkflowDefinition]:
        """Every version of every workflow."""
        return [known for versions in self._versions.values() for known in versions.values()]

    def knows(self, name: str) -> bool:
        """Whether a workflow of this name is registered."""
        return name in self._versions

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._versions)
