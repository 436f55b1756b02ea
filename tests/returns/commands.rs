//! `postseal classify`.

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_postseal"))
        .arg("classify")
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/returns/files"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()); // the command may have refused before it reads
    child.wait_with_output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

const BOUNCE: &str = "From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n\n<jane@example.net>:\n192.0.2.7 said: 550 5.7.1 not on tuesdays\n";

#[test]
fn each_file_is_an_object_on_a_line() {
    let output = run(&["--json", "postfix/012.eml", "-", "exim/017.eml"], BOUNCE);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let objects: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let files: Vec<_> = objects.iter().map(|object| (object["file"].as_str().unwrap(), object["kind"].as_str().unwrap())).collect();
    assert_eq!(files, [("postfix/012.eml", "bounce"), ("-", "bounce"), ("exim/017.eml", "delayed")]);
    let recipients = objects[0]["recipients"].as_array().unwrap();
    assert_eq!(recipients.len(), 3);
    let first = &recipients[0];
    assert_eq!(first["recipient"], "black@hop.example");
    assert_eq!((&first["action"], &first["status"], &first["reason"]), (&"failed".into(), &"5.7.1".into(), &"reputation".into()));
    assert_eq!((&first["permanent"], &first["remote_mta"]), (&true.into(), &"127.0.0.1".into()));
    assert!(first["reply"].as_str().unwrap().starts_with("554 5.7.1 Service unavailable"));
    assert_eq!(objects[0]["original_message_id"], "<inv-16@sender.example>");
    assert_eq!(objects[1]["recipients"][0]["reason"], "not-understood");
}

#[test]
fn a_person_is_told_in_lines() {
    let output = run(&["postfix/019.eml"], "");
    assert_eq!(
        text(&output.stdout),
        "postfix/019.eml: bounce of <inv-10@sender.example>\n  full@hop.example: failed, mailbox-full\n    127.0.0.1: 452 4.2.2 Mailbox full\n"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_others_are_told_of() {
    let output = run(&["--json", "nowhere.eml", "postfix", "-", "postfix/019.eml"], "\r\n \n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout).lines().count(), 1);
    let said = text(&output.stderr);
    for expect in
        ["nowhere.eml: cannot be opened: No such file", "postfix: is a folder; expected a file that holds one message", "-: is empty; expected a message"]
    {
        assert!(said.contains(expect), "{expect:?} is missing of {said}");
    }
    let none = run(&[], "");
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));
}

#[test]
fn rules_of_a_file_are_asked_first_and_their_faults_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reasons.toml");
    std::fs::write(&path, "[[rule]]\ntext = \"not on tuesdays\"\nreason = \"policy\"\npermanent = false\n").unwrap();
    let output = run(&["--reasons", path.to_str().unwrap(), "-"], BOUNCE);
    assert!(text(&output.stdout).contains("jane@example.net: failed, policy\n"), "{}", text(&output.stdout));
    std::fs::write(&path, "[[rule]]\nreason = \"tuesday\"\n").unwrap();
    let output = run(&["--reasons", path.to_str().unwrap(), "-"], BOUNCE);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("rule 1.reason: found \"tuesday\", expected \"user-unknown\""), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("rule 1.text: found nothing"), "{}", text(&output.stderr));
}
