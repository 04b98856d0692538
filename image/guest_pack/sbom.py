"""The bill of materials (SBOM) of a guest pack, as JSON in the format CycloneDX 1.6."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import (
    AttachedText,
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    XsUri,
)
from cyclonedx.model import component as cyclonedx
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from guest_pack.component import Component

NAME = "guest.cdx.json"

_EPOCH = datetime(1980, 1, 1, tzinfo=UTC)
"""The time in the bill of materials. It is fixed, so that the same pack has the same bill."""


def write(name: str, version: str, components: Sequence[Component]) -> str:
    """Return the bill of materials of a guest pack, as JSON text, given the pack's distribution."""
    pack = cyclonedx.Component(
        name=name,
        version=version,
        type=cyclonedx.ComponentType.FIRMWARE,
        bom_ref=name,
        purl=PackageURL("pypi", None, name, version),
    )
    bom = Bom(
        components=map(_component, components),
        metadata=BomMetaData(component=pack, timestamp=_EPOCH),
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, repr((name, version, *components))),
    )
    bom.register_dependency(pack, bom.components)
    text = JsonV1Dot6(bom).output_as_string()
    return json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


def _component(component: Component) -> cyclonedx.Component:
    references = [
        _reference(ExternalReferenceType.SOURCE_DISTRIBUTION, component.purl, component.source)
    ]
    if component.website:
        references.append(_reference(ExternalReferenceType.WEBSITE, component.website))
    patches = [
        cyclonedx.Patch(
            type=cyclonedx.PatchClassification.UNOFFICIAL,
            diff=cyclonedx.Diff(text=AttachedText(content=patch)),
        )
        for patch in component.patches
    ]
    return cyclonedx.Component(
        name=component.name,
        version=component.version,
        type=cyclonedx.ComponentType.LIBRARY,
        bom_ref=component.purl,
        licenses=[LicenseFactory().make_from_string(component.license)],
        purl=PackageURL.from_string(component.purl),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=component.sha256)]
        if component.sha256
        else None,
        external_references=references,
        pedigree=cyclonedx.Pedigree(patches=patches) if patches else None,
    )


def _reference(kind: ExternalReferenceType, url: str, comment: str = "") -> ExternalReference:
    return ExternalReference(type=kind, url=XsUri(url), comment=comment or None)
