//! Completions and manual pages, read by the shells and by the programs that show pages.

use crate::support::{Peer, folder, missing, program, run};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn shells_read_their_completions() {
    if missing(&[Peer::Shells]) {
        return;
    }
    let desk = folder("shells");
    for (shell, option) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = script(desk.path(), shell);
        let (code, said) = run(Command::new(program(shell).unwrap()).arg(option).arg(&script), b"");
        assert_eq!((code, said.as_str()), (0, ""), "{shell}");
        std::fs::write(&script, std::fs::read_to_string(&script).unwrap() + "\nif (\n").unwrap();
        assert_ne!(run(Command::new(program(shell).unwrap()).arg(option).arg(&script), b"").0, 0, "{shell} would not have noticed");
    }
    let (code, said) = run(&mut postseal(&["completions", "csh"]), b"");
    assert!(code == 2 && said.contains("possible values: bash, elvish, fish"), "{said}");
}

#[test]
fn bash_and_fish_complete_commands_options_and_values() {
    if missing(&[Peer::Shells]) {
        return;
    }
    let desk = folder("shells");
    let bash = script(desk.path(), "bash");
    let complete = |words: &[&str]| {
        let last = words.len();
        let script = r#"source "$0"; COMP_CWORD=$1; shift; COMP_WORDS=(postseal "$@"); "$(complete -p postseal | sed 's/.* -F \([^ ]*\).*/\1/')" postseal "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; echo "${COMPREPLY[*]}""#;
        let (code, said) = run(Command::new("bash").args(["--norc", "-c", script]).arg(&bash).arg(last.to_string()).args(words), b"");
        assert_eq!(code, 0, "{said}");
        said.trim().to_owned()
    };
    assert_eq!(complete(&["ser"]), "serve");
    assert_eq!(complete(&["key", "rot"]), "rotate");
    assert_eq!(complete(&["serve", "--con"]), "--config");
    assert_eq!(complete(&["completions", "z"]), "zsh");
    assert_eq!(complete(&["nothing"]), "");
    let fish = script(desk.path(), "fish");
    let (code, said) = run(Command::new("fish").args(["--no-config", "-c", "source $argv[1]; complete -C 'postseal key rot'"]).arg(&fish), b"");
    assert!(code == 0 && said.starts_with("rotate\t"), "{said}");
}

#[test]
fn every_command_has_a_page_and_mandoc_and_groff_find_no_fault() {
    if missing(&[Peer::Mandoc, Peer::Groff]) {
        return;
    }
    let desk = folder("man");
    let pages = desk.path().join("man1");
    assert_eq!(run(postseal(&["man"]).arg(&pages), b"").0, 0);
    let mut names: Vec<String> = std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for expected in ["postseal.1", "postseal-serve.1", "postseal-key.1", "postseal-key-rotate.1", "postseal-dns-publish.1", "postseal-man.1"] {
        assert!(names.iter().any(|name| name == expected), "no {expected} in {names:?}");
    }
    for name in &names {
        let page = pages.join(name);
        let (_, said) = run(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&page), b"");
        assert_eq!(said, "", "{name}");
        let (code, shown) = run(Command::new("groff").args(["-man", "-ww", "-Tutf8", "-P-cbou"]).arg(&page), b"");
        assert!(code == 0 && !shown.contains("warning:") && !shown.contains("error:"), "{name}: {shown}");
        let words = name.trim_end_matches(".1").replacen("postseal-", "postseal ", 1);
        assert!(shown.contains("NAME") && shown.contains("SYNOPSIS") && !words.is_empty(), "{name}: {shown}");
    }
    let (code, printed) = run(&mut postseal(&["man"]), b"");
    assert_eq!((code, printed), (0, std::fs::read_to_string(pages.join("postseal.1")).unwrap()));
}

fn script(desk: &Path, shell: &str) -> PathBuf {
    let path = desk.join(shell);
    let (code, said) = run(&mut postseal(&["completions", shell]), b"");
    assert_eq!(code, 0, "{said}");
    std::fs::write(&path, said).unwrap();
    path
}

fn postseal(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postseal"));
    command.args(arguments).env_remove("POSTSEAL_CONFIG");
    command
}
