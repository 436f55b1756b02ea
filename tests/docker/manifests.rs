//! `docker/kubernetes/`: what the API's schemas, the pod security standard "restricted" and postseal itself ask of them.

use super::engine::text;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each document with what is said of it, and whether all is well; `None` where the checker is missing.
fn judge(files: &[PathBuf]) -> Option<(String, bool)> {
    let tools = std::env::var_os("POSTSEAL_TOOLS").map(PathBuf::from);
    let tools = tools.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache/postseal-tools"))).unwrap_or_default();
    let python = std::env::var_os("POSTSEAL_PYTHON").map_or_else(|| tools.join("python/bin/python3"), PathBuf::from);
    let has_it = Command::new(&python).args(["-c", "import kubernetes_validate, yaml"]).output().is_ok_and(|output| output.status.success());
    if !has_it {
        println!("skipped: kubernetes-validate is missing (PyPI: kubernetes-validate, pyyaml; tests/run installs them)");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "in CI nothing may be missing");
        return None;
    }
    let judged = Command::new(python).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/manifests.py")).args(files).output().unwrap();
    Some((text(&judged), judged.status.success()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/kubernetes")
}

#[test]
fn manifests_are_valid_and_restricted() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let Some((said, is_well)) = judge(&files) else { return };
    assert!(is_well, "{said}");
    for document in
        ["relay.yaml StatefulSet/postseal", "relay.yaml PodDisruptionBudget/postseal", "relay.yaml NetworkPolicy/postseal", "sidecar.yaml Deployment/shop"]
    {
        assert!(said.contains(&format!("{document}: ok\n")), "{said}");
    }
}

/// The checker finds what is wrong.
#[test]
fn manifests_that_ask_for_more_are_found_out() {
    let breaks = [
        ("relay.yaml", "capabilities: { drop: [ALL] }", "capabilities: { drop: [ALL], add: [NET_ADMIN] }", "postseal: capabilities are not dropped"),
        ("relay.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "postseal: runAsNonRoot is not true"),
        ("relay.yaml", "seccompProfile: { type: RuntimeDefault }", "supplementalGroups: [1]", "postseal: seccompProfile is not RuntimeDefault"),
        ("relay.yaml", "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 27", "terminationGracePeriodSeconds is not more"),
        ("relay.yaml", "serviceName: postseal-pods", "serviceNames: postseal-pods", "serviceNames"),
        ("relay.yaml", "replicas: 1", "replicas: \"one\"", "replicas"),
        ("sidecar.yaml", "restartPolicy: Always\n", "restartPolicy: Sometimes\n", "without restartPolicy: Always is no sidecar"),
        ("sidecar.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "readOnlyRootFilesystem is not true"),
        ("sidecar.yaml", "defaultMode: 0440", "defaultMode: 0444", "secret key is not readable by a group of the process alone"),
        ("sidecar.yaml", "enableServiceLinks: false", "enableServiceLinks: true", "enableServiceLinks is not false"),
    ];
    let folders: Vec<tempfile::TempDir> = breaks.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let broken = breaks.iter().zip(&folders).map(|((name, right, wrong, _), broken)| {
        let text = std::fs::read_to_string(folder().join(name)).unwrap();
        assert!(text.contains(right), "{name} has no {right}");
        let file = broken.path().join(name);
        std::fs::write(&file, text.replacen(right, wrong, 1)).unwrap();
        file
    });
    let Some((said, is_well)) = judge(&broken.collect::<Vec<_>>()) else { return };
    assert!(!is_well);
    for (name, _, wrong, told) in breaks {
        assert!(said.lines().any(|line| line.starts_with(name) && line.contains(told)), "{wrong}: {said}");
    }
}

/// The configuration in the manifest is one that the relay takes.
#[test]
fn the_configuration_of_the_manifest_has_no_faults() {
    let text = std::fs::read_to_string(folder().join("relay.yaml")).unwrap();
    let (_, toml) = text.split_once("postseal.toml: |\n").unwrap();
    let (toml, _) = toml.split_once("\n---").unwrap();
    let toml: String = toml.lines().map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n").collect();
    let config =
        postseal::config::Document::of(&toml, Path::new("/etc/postseal/postseal.toml"), []).and_then(|document| postseal::config::Config::of(&document));
    let config = config.unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.warnings().collect::<Vec<_>>(), [""; 0]);
    assert_eq!(config.listeners[0].address.port(), 2525);
}
