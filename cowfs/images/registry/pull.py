"""From a reference to an image in the store. Used by ``cowfs pull`` and by whoever needs an image that is not there.

    reference -> mirrors, then the registry itself: manifest or index -> platform -> manifest, config
              -> layers that the store lacks, several at once, unpacked while they come (cowfs.images.importer)

Documents that the store has are not fetched. Foreign layers (``urls``) are never fetched from elsewhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from cowfs.errors import BrokenImage, NotFound, RegistryError, StoreError
from cowfs.images import limits
from cowfs.images.importer import import_image
from cowfs.images.manifest import INDEXES, MANIFESTS, Descriptor
from cowfs.images.plan import Plan, Stream, digest, plan_image, verified
from cowfs.images.platforms import Platform
from cowfs.images.progress import Progress
from cowfs.images.reference import Reference
from cowfs.images.registry import credentials
from cowfs.images.registry.download import Download
from cowfs.images.registry.patience import Patience
from cowfs.images.registry.repository import Repository
from cowfs.images.registry.settings import Endpoint, Settings, load
from cowfs.images.registry.tokens import Authorizer
from cowfs.images.registry.wire import Limits, Wire
from cowfs.store import Store
from cowfs.store.records import StoredImage

Result = TypeVar("Result")


@dataclass(slots=True)
class Registries:
    """What all requests of a command share: configuration, connections, tokens."""

    settings: Settings
    environ: Mapping[str, str]
    limits: Limits = field(default_factory=Limits)
    patience: Callable[[], Patience] = Patience
    wire: Wire = field(init=False)
    authorizer: Authorizer = field(init=False)

    def __post_init__(self) -> None:
        self.wire = Wire(self.limits)
        self.authorizer = Authorizer(self.wire, self._find, self.patience)

    @classmethod
    def configured(cls, environ: Mapping[str, str]) -> "Registries":
        """As the files say. Raises UsageError."""
        return cls(load(environ), environ)

    def repository(self, endpoint: Endpoint, actions: str = "pull") -> Repository:
        """A repository to pull from, or to push to."""
        return Repository(self.wire, self.authorizer, endpoint, actions=actions, patience=self.patience)

    def _find(self, registry: str, path: str) -> credentials.Credentials | None:
        return credentials.find(self.environ, registry, path)


def pull(
    registries: Registries,
    store: Store,
    reference: Reference,
    *,
    platform: Platform | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> StoredImage:
    """The image in the store, as the registry has it now. ``say`` gets a line where a mirror fails.

    Raises NotFound, RegistryError, BrokenImage, StoreError, PrivilegeError, UsageError.
    """

    def get(repository: Repository) -> StoredImage:
        plan = _plan_from(repository, store, reference, platform)
        return import_image(store, plan, str(reference), progress)

    return _from_the_first(registries, reference, get, say)


def plan_pull(
    registries: Registries, store: Store, reference: Reference, platform: Platform | None, say: Callable[[str], None]
) -> Plan:
    """What a pull would bring. Raises as it."""

    def get(repository: Repository) -> Plan:
        return _plan_from(repository, store, reference, platform)

    return _from_the_first(registries, reference, get, say)


def _from_the_first(
    registries: Registries, reference: Reference, get: Callable[[Repository], Result], say: Callable[[str], None]
) -> Result:
    """What the first mirror that can gives, or the registry itself. What a mirror sent of a blob is gone on with."""
    *mirrors, last = registries.settings.endpoints(reference.domain, reference.path)
    for endpoint in mirrors:
        try:
            return get(registries.repository(endpoint))
        except (NotFound, RegistryError, BrokenImage) as error:
            say(f"the mirror {endpoint.name} is left out: {error}")
    return get(registries.repository(last))


def _plan_from(repository: Repository, store: Store, reference: Reference, platform: Platform | None) -> Plan:
    name = reference.digest or reference.tag
    data, media_type = repository.manifest(name)
    where = f"{repository.endpoint.name}/{repository.endpoint.path}"
    if media_type not in (*MANIFESTS, *INDEXES):
        raise BrokenImage(f"what {where} has as {name} is no image but {media_type[:100] or 'of no type'!r}")
    if reference.digest and digest(data) != reference.digest:
        raise BrokenImage(f"what {where} has as {name} is damaged: its digest is {digest(data)}")
    descriptor = Descriptor(media_type, digest(data), len(data))
    try:
        return plan_image(_Remote(repository, store, descriptor, data), descriptor, platform)
    except BrokenImage as error:
        raise BrokenImage(f"{where}: {error}") from error


class _Remote:
    """A plan's source: documents of the store where it has them, everything else from the repository."""

    def __init__(self, repository: Repository, store: Store, descriptor: Descriptor, data: bytes) -> None:
        self._repository = repository
        self._store = store
        self._documents = {descriptor.digest: data}

    def document(self, descriptor: Descriptor, what: str) -> bytes:
        data = self._documents.get(descriptor.digest)
        if data is None:
            data = self._stored(descriptor) or self._fetched(descriptor, what)
        return verified(data, descriptor)

    def open(self, descriptor: Descriptor) -> Stream:
        return Download(self._repository, descriptor, self._store.part(descriptor.digest))

    def _stored(self, descriptor: Descriptor) -> bytes | None:
        try:
            return self._store.blob(descriptor.digest, limits.DOCUMENT)
        except StoreError:
            return None

    def _fetched(self, descriptor: Descriptor, what: str) -> bytes:
        if descriptor.size > limits.DOCUMENT:
            raise BrokenImage(f"the {what} is larger than {limits.DOCUMENT} bytes")
        if descriptor.media_type not in (*MANIFESTS, *INDEXES):
            return self._repository.document(descriptor.digest)
        data, media_type = self._repository.manifest(descriptor.digest)
        if media_type != descriptor.media_type:
            raise BrokenImage(f"the {what} comes as {media_type[:100]!r} and was named as {descriptor.media_type!r}")
        return data
