//! Memory with secrets in it is for nobody else: not for a core dump, nor for another process of the same user.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// No core is written of this process, and no other of its user may trace it or read its memory and environment (prctl(2),
/// `PR_SET_DUMPABLE`). Where the system refuses, nothing is gained and nothing lost.
pub fn keep() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// As a process is by default: `server.core_dumps`, for who hunts a fault.
pub fn waive() {
    let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
}
