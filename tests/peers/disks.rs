//! Real mounts, in a mount namespace of their own: a spool is refused where nothing lasts, and taken where it does.

use super::support::relay_process::RelayProcess;
use super::support::{Peer, missing};
use std::process::{Command, Stdio};

/// What `serve` says, its spool in `place/spool` after `mounts` were made in its folder. It is ended after some seconds if it runs.
fn serve(mounts: &str, more: &str) -> (bool, String) {
    let config = format!(
        "[server]\nhostname = \"relay.example.com\"\n[listeners.submission]\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n[identities.app]\n\
         networks = [\"127.0.0.0/8\"]\nauthor_domains = [\"example.com\"]\n[spool]\ndirectory = \"place/spool\"\nreserve_octets = \"2 MiB\"\n\
         wal_octets_max = \"1 MiB\"\n{more}\n[admin]\nenabled = false\n"
    );
    let relay = RelayProcess::new(&config);
    std::fs::create_dir_all(relay.path().join("place")).unwrap();
    let script = format!("cd \"$1\"; {mounts}; exec timeout -s TERM 4 \"$2\" serve --config postseal.toml");
    let run = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-ec", &script, "sh"])
        .arg(relay.path())
        .arg(env!("CARGO_BIN_EXE_postseal"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    (text.contains("relay.started"), text)
}

#[test]
fn a_spool_is_refused_where_nothing_lasts_with_three_remedies() {
    if missing(&[Peer::Root, Peer::Mounts]) {
        return;
    }
    let empty_dir = "var/lib/kubelet/pods/5f1c/volumes/kubernetes.io~empty-dir/spool";
    for (mounts, told) in [
        ("mount -t tmpfs none place", "it lies on tmpfs, which does not outlive the machine's power or the pod"),
        (
            "mkdir -p lower upper work; mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work place",
            "it lies on overlayfs, which does not outlive the container",
        ),
        (&format!("mkdir -p {empty_dir}; mount --bind {empty_dir} place"), "it lies on an emptyDir, which does not outlive the pod"),
        // The pod's own view: the kubelet's directory mounted where the container wants it, below another mount.
        (
            &format!("mkdir -p {empty_dir} app; mount -t tmpfs none app; mkdir app/spool; mount --bind {empty_dir} app/spool; mount --bind app/spool place"),
            "it lies on an emptyDir, which does not outlive the pod",
        ),
    ] {
        let (started, text) = serve(mounts, "");
        assert!(!started && text.contains(told), "{mounts}: {text}");
        for remedy in ["PersistentVolumeClaim", "spool.mode = \"through\"", "spool.file_systems = \"volatile\" together with server.upstream"] {
            assert!(text.contains(remedy), "{text}");
        }
        let (started, text) = serve(mounts, "file_systems = \"volatile\"");
        assert!(started && text.contains("this was allowed by setting"), "{mounts}: {text}");
    }
}

#[test]
fn a_volume_that_stays_is_taken_and_through_mode_takes_any() {
    if missing(&[Peer::Root, Peer::Mounts]) {
        return;
    }
    let claim = "var/lib/kubelet/pods/5f1c/volumes/kubernetes.io~csi/pvc-7/mount";
    let (started, text) = serve(&format!("mkdir -p {claim}; mount --bind {claim} place"), "");
    assert!(started && !text.contains("spool.warned"), "{text}");

    let through =
        "mode = \"through\"\n[routes]\ndefault = \"central\"\n[smart_hosts.central]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\nreverse_path = \"keep\"";
    let (started, text) = serve("mount -t tmpfs none place", through);
    assert!(started && !text.contains("spool.warned"), "{text}");
}

/// A backup that finds no room leaves nothing that looks like one, and the spool goes on.
#[test]
fn a_backup_onto_a_full_disk_leaves_nothing_behind() {
    if missing(&[Peer::Root, Peer::Mounts]) {
        return;
    }
    let hop = "[routes]\ndefault = \"hop\"\n[smart_hosts.hop]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\n";
    let config = format!(
        "[server]\nhostname = \"relay.example.com\"\n[listeners.submission]\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n[identities.app]\n\
         networks = [\"127.0.0.0/8\"]\nauthor_domains = [\"example.com\"]\n[spool]\nreserve_octets = \"2 MiB\"\nwal_octets_max = \"1 MiB\"\n{hop}"
    );
    let mut relay = RelayProcess::new(&config);
    relay.start();
    let mut client = super::support::smtp_client::SmtpClient::connect(&relay.address("submission")).unwrap();
    for number in 0..4 {
        let text = super::support::smtp_client::message(&format!("mail-{number}")) + &"Lorem ipsum dolor sit amet.\r\n".repeat(30_000);
        assert!(client.send("app@example.com", &["you@example.net"], &text).unwrap().starts_with("250"));
    }
    let script = "cd \"$1\"; mkdir disk; mount -t tmpfs -o size=1m none disk; code=0; \"$2\" spool backup disk/copy --config postseal.toml || code=$?; \
                  find disk; echo code $code";
    let run = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-ec", script, "sh"])
        .arg(relay.path())
        .arg(env!("CARGO_BIN_EXE_postseal"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (told, error) = (String::from_utf8_lossy(&run.stdout).into_owned(), String::from_utf8_lossy(&run.stderr).into_owned());
    assert_eq!(told.trim(), "disk\ncode 1", "{error}");
    assert!(error.contains("No space left") || error.contains("full"), "{error}");
    let whole = relay.postseal(&["spool", "backup", "copy", "--config", &relay.config().display().to_string()]);
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    assert!(String::from_utf8_lossy(&whole.stdout).starts_with("copy: 4 mails for 4 recipients, 4 bodies, whole and checked"));
    assert!(client.send("app@example.com", &["you@example.net"], &super::support::smtp_client::message("on")).unwrap().starts_with("250"));
}
