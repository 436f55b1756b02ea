//! `docker/compose.yaml`: an application, its sidecar and a receiving server, by one command.

use super::engine::{Engine, text, wait};
use super::running::Arrived;
use std::process::{Command, Stdio};

struct Project<'e> {
    name: String,
    variables: [(&'e str, String); 2],
}

impl Project<'_> {
    fn compose(&self, arguments: &[&str]) -> String {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/compose.yaml");
        let ran = compose().unwrap().args(["--project-name", &self.name, "--file", file]).args(arguments).envs(self.variables.clone()).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", text(&ran));
        text(&ran)
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        let down = || self.compose(&["down", "--volumes", "--remove-orphans"]);
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(down));
    }
}

/// The plug-in, or the older program.
fn compose() -> Option<Command> {
    let mut plug_in = Command::new("docker");
    plug_in.arg("compose");
    [plug_in, Command::new("docker-compose")].into_iter().find_map(|mut command| {
        let asked = Command::new(command.get_program()).args(command.get_args()).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        command.stdin(Stdio::null());
        asked.is_ok_and(|status| status.success()).then_some(command)
    })
}

#[test]
fn one_command_brings_an_application_its_sidecar_and_a_receiver() {
    let Some(engine) = Engine::begin() else { return };
    if compose().is_none() {
        println!("skipped: there is no docker-compose (Debian: docker-compose)");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "in CI nothing may be missing");
        return;
    }
    let variables = [("POSTSEAL_IMAGE", engine.image()), ("PYTHON_IMAGE", engine.python())];
    let project = Project { name: engine.name("compose"), variables };
    project.compose(&["up", "--detach", "--no-build"]);

    let log = |service: &str| project.compose(&["logs", "--no-color", service]);
    // Older ones write `service_1  | ` before each line.
    let plain = |service: &str| log(service).lines().map(|line| line.split_once("| ").map_or(line, |(_, line)| line).to_owned() + "\n").collect::<String>();
    let arrived = wait(|| Arrived::read(&plain("receiver")), || project.compose(&["logs", "--no-color"]));
    let key = plain("key");
    arrived.verify(key.lines().find(|line| line.contains("_domainkey")).unwrap());
    assert!(arrived.reverse_path.ends_with("@b.example.com"), "{}", arrived.reverse_path);
    assert!(plain("application").contains("sent"), "{}", log("application"));

    project.compose(&["stop"]);
    assert!(plain("postseal").contains("relay.stopped"), "{}", log("postseal"));
}
