//! What is in the image: a program, two folders, and how it is run.

use super::engine::{Engine, docker, text, wait};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// What is published; a program built without optimisation is larger, and `POSTSEAL_STATIC_PROFILE` tells.
const OCTETS_MAX: u64 = 30_000_000;

#[test]
fn the_image_is_one_static_program_without_privileges() {
    let Some(engine) = Engine::begin() else { return };
    let image = engine.image();
    let about = inspect(&image);
    let config = &about["Config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/postseal"]));
    assert_eq!(config["Cmd"], json!(["serve"]));
    assert_eq!(config["WorkingDir"], "/etc/postseal");
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "/postseal", "health"]));
    assert_eq!(config["StopSignal"], "SIGTERM");
    let label = |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].as_str().unwrap_or_default().to_owned();
    assert_eq!((label("title").as_str(), label("version").as_str()), ("postseal", env!("CARGO_PKG_VERSION")));
    assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
    assert!(!label("description").is_empty() && !label("revision").is_empty());
    assert_eq!(files(&engine, &image), ["etc/postseal/", "postseal", "var/lib/postseal/", "var/lib/postseal/README"]);

    // That it runs at all where there is nothing else says that it is static.
    let (code, said) = engine.run(&image, &["--network", "none", "--read-only", "--cap-drop", "ALL"], &["--version"]);
    assert_eq!((code, said.as_str()), (Some(0), concat!("postseal ", env!("CARGO_PKG_VERSION"), "\n")));

    let octets = about["Size"].as_u64().unwrap();
    println!("the image has {octets} octets");
    let is_published = std::env::var("POSTSEAL_STATIC_PROFILE").as_deref() == Ok("image");
    assert!(octets < if is_published { OCTETS_MAX } else { 4 * OCTETS_MAX }, "{octets}");
}

#[test]
fn both_builders_make_the_same_image() {
    let Some(engine) = Engine::begin() else { return };
    let classic = engine.image();
    // The command line may be too new to have BuildKit built in and yet lack buildx; Debian's has it.
    let (tag, mut said) = (engine.name("image"), String::new());
    let built = ["docker", "/usr/bin/docker"].into_iter().any(|program| {
        let is_there = Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
        let build = is_there.then(|| engine.build(program, "1", &tag));
        said.push_str(&build.as_ref().map(text).unwrap_or_default());
        build.is_some_and(|build| build.status.success())
    });
    if !built && said.contains("buildx") {
        println!("skipped: no command line here has BuildKit (docker-buildx is missing)");
        return;
    }
    assert!(built, "{said}");
    let config = |image: &str| {
        let mut config = inspect(image)["Config"].clone();
        ["User", "Entrypoint", "Cmd", "WorkingDir", "Healthcheck", "StopSignal", "Labels", "ExposedPorts"].map(|key| config[key].take())
    };
    assert_eq!(config(&tag), config(&classic));
    assert_eq!(files(&engine, &tag), files(&engine, &classic));
}

/// The stage that is built first must not need another one's image: the classic builder makes all stages up to its target.
#[test]
fn the_stage_of_a_built_program_stands_before_every_image_of_others() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docker/Dockerfile")).unwrap();
    let stages: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    let local = stages.iter().position(|stage| stage.ends_with(" AS local")).unwrap();
    let foreign = stages.iter().position(|stage| !stage.starts_with("scratch ") && !stage.starts_with("bare ")).unwrap();
    assert!(local < foreign, "{stages:?}");
    assert_eq!(stages.last(), Some(&"bare AS published"), "what is built when no target is named");
    assert!(text.contains(&format!("ARG VERSION={}\n", env!("CARGO_PKG_VERSION"))));
}

fn inspect(image: &str) -> Value {
    serde_json::from_str::<Value>(&docker(&["image", "inspect", image])).unwrap()[0].clone()
}

/// Everything that is in it, but for the folders above and what the engine lays into every container.
fn files(engine: &Engine, image: &str) -> Vec<String> {
    let container = docker(&["create", "--label", &engine.label(), image]).trim().to_owned();
    let script = format!("docker export {container} | tar -t");
    let listed = Command::new("sh").args(["-c", &script]).output().unwrap();
    docker(&["rm", &container]);
    wait(|| listed.status.success().then_some(()), || text(&listed));
    let ours = |name: &&str| ["etc/postseal", "postseal", "var/lib/"].iter().any(|ours| name.starts_with(ours)) && *name != "var/lib/";
    let mut files: Vec<String> = text(&listed).lines().filter(ours).map(str::to_owned).collect();
    let rest: Vec<String> = text(&listed).lines().filter(|name| !ours(name) && !ENGINES_OWN.contains(name)).map(str::to_owned).collect();
    assert_eq!(rest, [""; 0], "not ours");
    files.sort();
    files
}

/// Mount points, and the folders above ours.
const ENGINES_OWN: &[&str] = &[
    ".dockerenv",
    "dev/",
    "dev/console",
    "dev/pts/",
    "dev/shm/",
    "etc/",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc/",
    "sys/",
    "var/",
    "var/lib/",
];
