"""Holds Kubernetes manifests against the API's schemas and the pod security standard "restricted".

usage: manifests.py FILE ...; prints "FILE KIND/NAME: ok" or a fault for each document; exit code 1 where there is a fault.
"""

import sys

import kubernetes_validate
import yaml

# The oldest API server that has every field used here (native sidecars are on from 1.29), and a recent one.
VERSIONS = ["1.29.0", "1.37.0"]
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def pod_of(document):
    """The pod that a workload makes, if it makes one."""
    spec = document.get("spec", {})
    return spec if document["kind"] == "Pod" else spec.get("template", {}).get("spec")


def restricted(pod):
    """What the standard "restricted" (and "baseline" below it) has against a pod."""
    own = pod.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is set"
    for volume in pod.get("volumes", []):
        if not VOLUMES.issuperset(volume.keys() - {"name"}):
            yield f"volume {volume['name']} is of a kind that is not allowed"
    for container in pod.get("initContainers", []) + pod["containers"]:
        name, context = container["name"], container.get("securityContext", {})
        capabilities = context.get("capabilities", {})
        if context.get("privileged"):
            yield f"{name} is privileged"
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: allowPrivilegeEscalation is not false"
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{name}: capabilities are not dropped"
        if context.get("runAsNonRoot", own.get("runAsNonRoot")) is not True:
            yield f"{name}: runAsNonRoot is not true"
        if context.get("runAsUser", own.get("runAsUser")) == 0:
            yield f"{name}: runAsUser is 0"
        profile = context.get("seccompProfile", own.get("seccompProfile", {})).get("type")
        if profile not in ("RuntimeDefault", "Localhost"):
            yield f"{name}: seccompProfile is not RuntimeDefault"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{name}: a hostPort"
        # Not of the standard, but ours.
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{name}: readOnlyRootFilesystem is not true"


def ours(pod):
    """What a pod with postseal in it has to have beside the standard."""
    containers = {container["name"]: container for container in pod.get("initContainers", []) + pod["containers"]}
    postseal = containers["postseal"]
    if pod.get("terminationGracePeriodSeconds", 30) <= 27:
        yield "terminationGracePeriodSeconds is not more than the drain of 20 s and the 7 s after it"
    if pod.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false: Kubernetes makes variables POSTSEAL_… of a service called postseal"
    for volume in pod.get("volumes", []):
        if volume.get("secret", {}).get("defaultMode", 0o440) & 0o007 or "fsGroup" not in pod.get("securityContext", {}):
            yield f"secret {volume['name']} is not readable by a group of the process alone"
    for kind in ("startupProbe", "livenessProbe"):
        if postseal.get(kind, {}).get("exec", {}).get("command", [])[:2] != ["/postseal", "health"]:
            yield f"{kind} does not ask `postseal health`"
    if postseal in pod.get("initContainers", []) and postseal.get("restartPolicy") != "Always":
        yield "an init container without restartPolicy: Always is no sidecar, and the pod never starts"


def faults(document):
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{version}: {'.'.join(map(str, error.path))}: {error.message}"
    pod = pod_of(document)
    if pod:
        yield from restricted(pod)
        yield from ours(pod)


bad = False
for path in sys.argv[1:]:
    for document in yaml.safe_load_all(open(path)):
        found = list(faults(document))
        bad = bad or bool(found)
        for told in found or ["ok"]:
            print(f"{path.rsplit('/', 1)[-1]} {document['kind']}/{document['metadata']['name']}: {told}")
sys.exit(bad)
