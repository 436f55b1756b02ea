//! A spool that may not be written: at the start, and from the middle of a load on.

use super::clients::Mix;
use super::rig::{Rig, rounds, skipped};
use super::table;
use super::volume::Volume;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn a_start_on_a_spool_that_cannot_be_written_says_so() {
    let mut rig = Rig::new("");
    rig.relay.start();
    rig.sink.hold();
    rig.promise(20, Mix::OURS);
    rig.kill();
    let spool = rig.spool().display().to_string();
    let mount = format!("mount --bind {spool} {spool} && mount -o remount,ro,bind {spool} && exec \"$@\"");
    let mut mounted = rig.serve_within("unshare", &["-m", "sh", "-c", &mount, "sh"]);
    match mounted.stdin(Stdio::null()).output() {
        Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("unshare failed") => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("spool") && said.contains("Read-only file system"), "{said}");
        }
        _ => skipped("no mount namespace (root, Debian: util-linux)"),
    }
    // As a user to whom it does not belong, in a place that any user may enter, wherever the tests' own folder is.
    open_to_all(&rig);
    let folder = rig.relay.path().display();
    let become_nobody = format!("mount --bind {folder} /mnt && exec setpriv --reuid=65534 --regid=65534 --clear-groups /mnt/postseal \"$@\"");
    let stranger = ["-m", "sh", "-c", &become_nobody, "sh", "serve", "--config", "/mnt/postseal.toml"];
    let output = Command::new("unshare").args(stranger).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    if said.contains("unshare:") || said.contains("mount:") || said.contains("setpriv:") {
        skipped("setpriv cannot become nobody in a mount namespace (root, Debian: util-linux)");
    } else {
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("spool") || said.contains("keys"), "{said}");
        assert!(said.contains("ermission denied") || said.contains("may not"), "{said}");
    }
    // Neither start has touched anything.
    rig.relay.start();
    let balance = rig.finish();
    table::row("spool read-only, or another user's, at the start", 2, &balance, "none there");
}

/// The folder, the configuration and a program in it, so that it is the spool that is in the way.
fn open_to_all(rig: &Rig) {
    std::fs::copy(env!("CARGO_BIN_EXE_postseal"), rig.relay.path().join("postseal")).unwrap();
    for path in [rig.relay.path().to_owned(), rig.relay.config()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_disk_that_becomes_read_only_stops_the_spool_loudly_and_loses_nothing() {
    let mut rig = Rig::new("");
    let Some(volume) = Volume::new(&rig, 96) else { return skipped("no ext4 in a loop device (root, Debian: e2fsprogs, util-linux)") };
    let rounds = rounds(1, 6);
    for _ in 0..rounds {
        rig.relay.start_by(&mut volume.serve(&rig, "loop", ""));
        rig.promise(30, Mix::OURS);
        rig.sink.pace(200);
        let load = rig.load(Mix { pause: Duration::from_millis(5), ..Mix::OURS });
        std::thread::sleep(Duration::from_millis(300));
        // What ext4 does of itself when its disk fails (errors=remount-ro).
        assert!(Volume::within(&rig, "mount -o remount,abort \"$SPOOL\" || mount -o remount,ro \"$SPOOL\""), "the disk does not become read-only");
        rig.until("the failure is told", Duration::from_mins(1), || rig.relay.log().iter().any(|line| line["event"] == "spool.failed"));
        // What was taken by the sink and could not be written down is sent again.
        rig.ledger.died();
        let refused = rig.ledger.refused_with("45");
        rig.until("clients are put off", Duration::from_mins(1), || rig.ledger.refused_with("45") > refused + 3);
        let promised = rig.ledger.promised();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(rig.ledger.promised(), promised, "promised on a disk that cannot be written");
        load.stop();
        rig.sink.pace(0);
        rig.kill();
    }
    // Mended, as after a boot.
    rig.relay.start_by(&mut volume.serve(&rig, "loop", ""));
    let balance = rig.finish();
    assert_eq!(rig.told("commits.lost") + rig.told("mail.quarantined"), 0, "{:#?}", rig.alarms);
    table::row("disk becomes read-only under load", rounds, &balance, "none there");
}
